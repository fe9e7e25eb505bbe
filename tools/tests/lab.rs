//! `compare` and `capacity` from end to end. What the machine makes of a run is never asserted: only what has to be true of any.

mod common;

use common::Place;
use serde_json::Value;

/// A place with a small capture, and one real result of it.
fn prepared() -> (Place, Value) {
    let place = Place::new();
    place.run("gen -o a.tape --events 20000 --symbols 10 --duration 10s").exits(0);
    let result = place.replay("a.tape --driver threads --shards 1");
    (place, result)
}

/// Writes results like `result`, a line each, with these medians of the service time; p99 is five times as long.
fn write(place: &Place, name: &str, result: &Value, p50s: impl IntoIterator<Item = u64>) {
    let lines = p50s.into_iter().map(|p50| {
        let mut result = result.clone();
        result["latency_ns"]["service"]["p50"] = p50.into();
        result["latency_ns"]["service"]["p99"] = (p50 * 5).into();
        result["events_per_second"] = (1e9 / p50 as f64).into();
        format!("{result}\n")
    });
    place.write(name, lines.collect::<String>());
}

fn names(list: &Value, field: &str) -> Vec<String> {
    let text = |item: &Value| item[field].as_str().unwrap_or_default().to_owned();
    list.as_array().unwrap_or_else(|| panic!("no list: {list}")).iter().map(text).collect()
}

#[test]
fn files_of_results_are_compared() {
    let (place, result) = prepared();
    write(&place, "a.json", &result, 1_000..1_010);
    write(&place, "b.json", &result, 1_300..1_310);
    write(&place, "few.json", &result, [1_000, 1_001]);

    let slower = place.run("compare a.json b.json --format json").exits(1).json();
    assert_eq!((&slower["command"], &slower["verdict"]), (&"compare".into(), &"slower".into()), "{slower}");
    assert_eq!((&slower["regression"], &slower["outputs"]), (&true.into(), &"equal".into()), "{slower}");
    assert_eq!(names(&slower["metrics"], "name"), ["throughput", "p50", "p99", "p99.9", "p99.99"]);
    place.run("compare a.json b.json --gate p50=50%,p99=50%,throughput=50%").exits(0);

    let faster = place.run("compare b.json a.json").exits(0);
    assert!(faster.stdout.starts_with("FASTER: throughput by +"), "{}", faster.stdout);
    let same = place.run("compare a.json a.json").exits(0);
    assert!(same.stdout.starts_with("SAME: no metric has changed by more than its gate\n"), "{}", same.stdout);
    let unknown = place.run("compare a.json few.json").exits(0);
    assert!(
        unknown.stdout.starts_with("CANNOT TELL: throughput: runs that tell it: 10 of A and 2 of B"),
        "{}",
        unknown.stdout
    );
}

#[test]
fn outputs_that_differ_fail_unless_they_are_allowed() {
    let (place, mut result) = prepared();
    write(&place, "a.json", &result, 1_000..1_010);
    result["digest"] = "0000000000000001".into();
    result["manifest"]["captures"][0]["sha256"] = "ff".into();
    write(&place, "b.json", &result, 1_000..1_010);
    let ran = place.run("compare a.json b.json").exits(1);
    assert!(ran.stdout.contains("outputs     DIFFERENT: digest "), "{}", ran.stdout);
    assert!(ran.stdout.contains("differs     captures: sha256 "), "{}", ran.stdout);
    place.run("compare a.json b.json --allow-different-outputs").exits(0);
}

#[test]
fn invalid_runs_are_left_out_unless_they_are_asked_for() {
    let (place, mut result) = prepared();
    write(&place, "a.json", &result, 1_000..1_010);
    result["verdict"]["valid"] = false.into();
    write(&place, "b.json", &result, 1_000..1_010);
    let left_out = place.run("compare a.json b.json --format json").exits(0).json();
    assert_eq!((&left_out["verdict"], &left_out["b"]["used"]), (&"cannot tell".into(), &0.into()), "{left_out}");
    let taken = place.run("compare a.json b.json --allow-invalid --format json").exits(0).json();
    assert_eq!((&taken["verdict"], &taken["b"]["used"]), (&"same".into(), &10.into()), "{taken}");
}

#[test]
fn what_is_no_result_is_refused_with_its_place() {
    let (place, result) = prepared();
    write(&place, "a.json", &result, 1_000..1_010);
    place.write("text.json", "VALID\n");
    place.write("other.json", "{\"tool\":\"tapeline\",\"command\":\"doctor\"}\n");
    place.write("empty.json", "\n\n");
    let mut cut = place.read("a.json");
    cut.truncate(cut.len() - 100);
    place.write("cut.json", &cut);
    for (line, code, parts) in [
        ("compare a.json text.json", 2, ["text.json", "line 1"]),
        ("compare other.json a.json", 2, ["other.json", "`tapeline doctor`"]),
        ("compare a.json empty.json", 2, ["empty.json", "nothing is there"]),
        ("compare a.json missing.json", 2, ["missing.json", "cannot read"]),
        ("compare a.json a.tape", 2, ["a.tape", "line 1"]),
        ("compare a.json", 2, ["1 files", "--run"]),
        ("compare - -", 2, ["standard input", "both"]),
        ("compare a.json a.json --gate p50=3", 2, ["--gate", "no %"]),
        ("compare a.json a.json --shards 2", 2, ["--shards=2", "--run"]),
        ("compare --run - --repeats 1", 2, ["-:", "many replays"]),
        ("compare --run missing.tape --repeats 1", 2, ["missing.tape", "error"]),
        ("compare --run a.tape --b-binary no/binary --repeats 1 --speed max", 2, ["no/binary", "error"]),
    ] {
        let ran = place.run(line).exits(code);
        assert!(ran.stdout.is_empty(), "{line}: {}", ran.stdout);
        for part in parts {
            assert!(ran.stderr.contains(part), "{line}: no {part:?} in {}", ran.stderr);
        }
    }
    // What stands before the damage is compared.
    let ran = place.run("compare a.json cut.json --format json").exits(3).says_once(&[
        "cut.json",
        "line 10, byte ",
        "9 results",
    ]);
    assert_eq!(ran.json()["b"]["runs"], 9);
}

#[test]
fn two_configurations_are_replayed_in_turn() {
    let (place, result) = prepared();
    let ran = place.run(
        "compare --run a.tape --repeats 2 --speed max --driver threads --a-set engine.shards=1 --b-set engine.shards=2 --format json",
    );
    assert!(ran.stderr.contains("4 of 4 replays"), "{}", ran.stderr);
    let found = ran.exits(0).json();
    assert_eq!((&found["verdict"], &found["basis"]), (&"cannot tell".into(), &"service".into()), "two are too few");
    assert_eq!((&found["a"]["runs"], &found["b"]["runs"]), (&2.into(), &2.into()));
    assert_eq!((&found["a"]["name"], &found["b"]["name"]), (&"engine.shards=1".into(), &"engine.shards=2".into()));
    assert_eq!((&found["outputs"], &found["a"]["digests"][0]), (&"equal".into(), &result["digest"]));
    assert!(names(&found["differences"], "what").contains(&"shards".to_owned()), "{found}");
    // A capture that is damaged is compared as far as it goes.
    let mut cut = place.read("a.tape");
    cut.truncate(cut.len() / 2);
    place.write("cut.tape", &cut);
    let found = place.run("compare --run cut.tape --repeats 1 --speed max --driver threads --shards 1 --format json");
    assert_eq!(found.exits(3).json()["outputs"], "equal");
}

/// What could not be done comes before damage, an interrupt before all.
#[test]
fn of_several_exit_codes_the_first_of_the_design_is_told() {
    let (place, mut result) = prepared();
    write(&place, "a.json", &result, 1_000..1_003);
    let mut cut = place.read("a.json");
    cut.truncate(cut.len() - 100);
    place.write("cut.json", &cut);
    // Damaged, and not to be compared with what has a schedule.
    result["latency_ns"]["response"] = result["latency_ns"]["service"].clone();
    write(&place, "paced.json", &result, 1_000..1_003);
    let ran = place.run("compare paced.json cut.json").exits(2);
    assert!(ran.stderr.contains("by a schedule") && ran.stderr.contains("cut.json"), "{}", ran.stderr);
    place.run("compare a.json cut.json").exits(3);
}

#[test]
fn so_many_messages_are_replayed_whatever_the_passes() {
    let (place, whole) = prepared();
    let replay = |most: u64, passes: u64| {
        let report = place.replay(&format!("a.tape --driver threads --shards 1 --messages {most} --loop {passes}"));
        assert!(report["manifest"]["captures"][0]["sha256"].is_string(), "{report}");
        (report["events"]["offered"].as_u64().unwrap(), report["digest"].clone())
    };
    // A message has one event at least.
    for (most, passes) in [(1, 1), (5_000, 1), (5_000, 4), (50_000, 4)] {
        let (offered, digest) = replay(most, passes);
        assert!((most..20_000 * passes).contains(&offered), "{offered} events of {most} messages, {passes} passes");
        assert_ne!(digest, whole["digest"]);
    }
    assert_eq!(replay(20_000, 1), (20_000, whole["digest"].clone()), "there are no more");
    assert_eq!(replay(90_000, 4).0, 80_000, "nor in four passes");
    assert!(place.replay("a.tape --no-sha256")["manifest"]["captures"][0]["sha256"].is_null());
    place.run("replay a.tape --messages 0").exits(2);
}

#[test]
fn a_capacity_has_an_answer_and_a_curve() {
    let (place, _) = prepared();
    let line = "capacity a.tape --slo max<3600s --from 5000 --to 20000 --time 100ms --driver threads --shards 1 --csv c.csv --html c.html --format json";
    let ran = place.run(line);
    let found = ran.json();
    assert_eq!((&found["tool"], &found["command"]), (&"tapeline".into(), &"capacity".into()), "{found}");
    assert_eq!(found["slo"]["text"], "max<3600s");
    assert_eq!(ran.code, Some(i32::from(found["answer"]["rate"].is_null())), "{found}");
    assert!(found["max_events_per_second"].as_f64().unwrap() > 0.0 && found["complete"] == true, "{found}");
    let points = found["points"].as_array().unwrap();
    let rates: Vec<f64> = points.iter().map(|point| point["offered"].as_f64().unwrap()).collect();
    assert!(rates.windows(2).all(|two| two[0] < two[1]) && [5_000.0, 20_000.0].iter().all(|end| rates.contains(end)));
    for point in points {
        assert!(point["p50"].is_f64() || point["valid"] == false, "{point}");
        assert!(
            point["holds"] != "no" || point["saturated"] == true || point["achieved"] != point["offered"],
            "{point}"
        );
    }
    let csv = String::from_utf8(place.read("c.csv")).unwrap();
    assert_eq!(csv.lines().count(), points.len() + 1, "{csv}");
    let page = String::from_utf8(place.read("c.html")).unwrap();
    assert_eq!(page.matches("<tr>").count(), points.len() + 1, "{page}");
    assert!(page.contains("a.tape - tapeline capacity") && page.contains(">max below "), "{page}");
    place.run(line).exits(2).says_once(&["c.csv"]);
    // The other file cannot be made: the one that was made goes, and nothing runs.
    std::fs::remove_file(place.path("c.csv")).unwrap();
    place.run(line).exits(2).says_once(&["c.html"]);
    assert!(!place.path("c.csv").exists());

    // Nobody answers within a nanosecond; and a percentile needs its samples. Whatever else a busy machine makes of it.
    for (slo, time) in [("p50<1ns", "100ms"), ("p99.99<1s", "400ms")] {
        let flags = format!("--from 5000 --to 5000 --time {time} --driver threads --shards 1");
        let none = place.run(&format!("capacity a.tape --slo {slo} {flags}")).exits(1);
        assert!(none.stdout.starts_with(&format!("NO RATE holds {slo}\n\nbecause     ")), "{}", none.stdout);
        assert!(none.stdout.contains(" 5.00 k messages/s: "), "{}", none.stdout);
    }
}

#[test]
fn mistakes_of_a_capacity_are_told_before_anything_runs() {
    let place = Place::new();
    place.write("a.tape", "no tape");
    for (line, parts) in [
        ("capacity a.tape --slo p99.9<200", ["--slo", "at character 10"]),
        ("capacity a.tape --slo p95<1ms", ["\"p95\" is no percentile", "at character 1 "]),
        ("capacity a.tape --slo p50<1ms --time 0s", ["--time", "some time"]),
        ("capacity a.tape --slo p50<1ms --from 10 --to 5", ["--from 10", "--to 5"]),
        ("capacity - --slo p50<1ms", ["-:", "many replays"]),
        ("capacity a.tape --slo p50<1ms --csv a.tape --force", ["a.tape", "itself"]),
        ("capacity a.tape --slo p50<1ms --html a.tape --force", ["a.tape", "itself"]),
    ] {
        place.run(line).exits(2).says_once(&parts);
    }
    let ran = place.run("capacity a.tape --slo p50<1ms --csv c.csv").exits(2);
    assert!(ran.stderr.contains("a.tape") && !place.path("c.csv").exists(), "{}", ran.stderr);
}
