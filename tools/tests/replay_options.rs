//! What the flags of `replay` do: outputs and `diff`, passes, parts, refusal under load, `.hgrm`, `--strict`.

mod common;

use common::{Place, assert_balanced};
use serde_json::Value;

fn count(report: &Value, at: &str) -> u64 {
    report.pointer(at).and_then(Value::as_u64).unwrap_or_else(|| panic!("no {at}: {report}"))
}

#[test]
fn outputs_of_one_and_two_shards_are_equal_and_those_of_another_seed_are_not() {
    let place = Place::new();
    for seed in [1, 2] {
        place.run(&format!("gen -o {seed}.tape --seed {seed} --events 40000 --symbols 20 --duration 60s")).exits(0);
    }
    for form in ["ndjson", "tape"] {
        let run = |capture: u32, shards: u32| {
            let name = format!("{capture}-{shards}.{form}");
            let report = place.replay(&format!("{capture}.tape --driver threads --shards {shards} --outputs {name}"));
            let made: u64 = report["outputs"].as_object().unwrap().values().filter_map(Value::as_u64).sum();
            assert!(made > 500, "{made} outputs");
            let dumped = if form == "tape" {
                place.run(&format!("verify {name}")).exits(0);
                place.run(&format!("dump {name}")).exits(0).stdout
            } else {
                String::from_utf8(place.read(&name)).unwrap()
            };
            assert_eq!(dumped.lines().count() as u64, made, "{name}: every output is written");
            for line in dumped.lines() {
                serde_json::from_str::<Value>(line).unwrap_or_else(|error| panic!("{name}: {error}: {line}"));
            }
            name
        };
        let (one, two, other) = (run(1, 1), run(1, 2), run(2, 1));
        place.run(&format!("diff {one} {two}")).exits(0);
        let difference = place.run(&format!("diff {one} {other}")).exits(1).stdout;
        assert!(difference.contains("GEN:SYM"), "the first difference of a symbol is named: {difference}");
    }
    // The two forms say the same.
    let equal = place.run("diff 1-1.ndjson 1-2.tape").exits(0).stdout;
    assert!(equal.starts_with("equal: ") && equal.ends_with("symbols\n"), "{equal:?}");
}

#[test]
fn a_loop_offers_everything_again_in_a_later_epoch() {
    let place = Place::new();
    place.run("gen -o a.tape --events 5000 --symbols 10 --duration 10s").exits(0);
    let digests: Vec<Value> = ["--shards 1", "--shards 2", "--shards 3 --no-pin"]
        .iter()
        .map(|way| {
            let report = place.replay(&format!("a.tape --loop 3 --driver threads {way}"));
            assert_eq!(count(&report, "/events/offered"), 15_000);
            assert_eq!(count(&report, "/manifest/loops"), 3);
            report["digest"].clone()
        })
        .collect();
    assert!(digests.iter().all(|digest| *digest == digests[0]), "{digests:?}");
    assert_ne!(digests[0], place.replay("a.tape")["digest"]);
}

/// `--start` replays what is before it without measuring it, so that the outputs are those of the whole; `--end` stops
/// before the first event of its time or later.
#[test]
fn start_and_end_choose_what_is_measured_and_what_is_replayed() {
    let place = Place::new();
    place.run("gen -o a.tape --events 20000 --symbols 10 --duration 60s").exits(0);
    let whole = place.replay("a.tape --driver threads");
    let first = count(&whole, "/manifest/captures/0/first_ts");
    let (start, end) = (first + 20_000_000_000, first + 40_000_000_000);
    let times: Vec<u64> = place
        .run("dump a.tape")
        .exits(0)
        .stdout
        .lines()
        .map(|line| {
            let event: Value = serde_json::from_str(line).expect("a line of JSON");
            let ts = &event["ts_recv"];
            ts.as_u64().or_else(|| ts.as_str()?.parse().ok()).unwrap_or_else(|| panic!("no ts_recv: {line}"))
        })
        .collect();
    let before_start = times.iter().position(|ts| *ts >= start).unwrap() as u64;
    let before_end = times.iter().position(|ts| *ts >= end).unwrap() as u64;
    assert!(before_start > 1_000 && before_end > before_start + 1_000 && before_end < 19_000);

    for way in ["--shards 1", "--shards 2"] {
        let started = place.replay(&format!("a.tape --driver threads {way} --start {start}"));
        assert_eq!(started["digest"], whole["digest"], "{way}: state was built by what is before");
        assert_eq!(count(&started, "/events/offered"), 20_000);
        assert_eq!(count(&started, "/latency_ns/service/count"), 20_000 - before_start, "{way}");
        let paced =
            place.run(&format!("replay a.tape --driver threads {way} --start {start} --speed 100 --format json"));
        let paced = paced.exits(0).json();
        assert_balanced(&paced);
        assert_eq!(paced["digest"], whole["digest"], "{way}");
        assert_eq!(count(&paced, "/latency_ns/response/count"), 20_000 - before_start, "{way}");
    }
    let ended: Vec<Value> = ["--shards 1", "--shards 2", "--shards 1 --start 0"]
        .iter()
        .map(|way| place.replay(&format!("a.tape --driver threads {way} --end {end}")))
        .collect();
    for report in &ended {
        assert_eq!(count(report, "/events/offered"), before_end);
        assert_eq!(report["digest"], ended[0]["digest"]);
    }
    assert_ne!(ended[0]["digest"], whole["digest"]);
    let both = place.replay(&format!("a.tape --driver threads --start {start} --end {end}"));
    assert_eq!(both["digest"], ended[0]["digest"]);
    assert_eq!(count(&both, "/latency_ns/service/count"), before_end - before_start);
    // Nothing is left of it: no events, and no error.
    assert_eq!(count(&place.replay("a.tape --end 1"), "/events/offered"), 0);
}

/// A rate that no engine keeps: with `live` the topics' policies act and every event is accounted for by topic; with `wait`, nothing is lost.
#[test]
fn req_3454_3486_overload_live_lets_policies_act_and_wait_loses_nothing() {
    let place = Place::new();
    place.run("gen -o a.tape --events 100000 --symbols 20 --duration 60s").exits(0);
    let run = |overload: &str| {
        let line = format!(
            "replay a.tape --rate 1000000000 --overload {overload} --ring-slots 256 --driver threads --shards 1 --format json"
        );
        let report = place.run(&line).exits(0).json();
        assert_balanced(&report);
        assert_eq!(count(&report, "/events/offered"), 100_000);
        report
    };
    let live = run("live");
    // Quotes are conflated; trades block, and the source waits for them.
    assert!(count(&live, "/events/coalesced") > 0, "{}", live["events"]);
    let topics = live["topics"].as_array().unwrap();
    let sum = |column: &str| topics.iter().map(|topic| topic[column].as_u64().unwrap()).sum::<u64>();
    let columns = ["offered", "accepted", "refused", "delivered", "coalesced", "expired", "refused_after_admission"];
    for column in columns {
        assert_eq!(sum(column), count(&live, &format!("/events/{column}")), "{column} of all topics");
    }
    let trades = topics.iter().find(|topic| topic["topic"] == "trades").unwrap();
    assert_eq!((&trades["policy"], &trades["offered"]), (&"block".into(), &trades["delivered"]));
    let marks = live["watermarks"].as_array().unwrap();
    let crowded: Vec<_> = marks.iter().map(|mark| &mark["mark"]).collect();
    assert_eq!(crowded.iter().filter(|mark| **mark == "high").count() as u64, sum("crowded").min(256), "{marks:?}");
    assert_eq!((&live["digest_scope"], &live["manifest"]["overload"]), (&"this_run".into(), &"live".into()));
    let wait = run("wait");
    assert_eq!((count(&wait, "/events/refused"), &wait["digest_scope"]), (0, &"any".into()));
    assert_eq!(wait["digest"], place.replay("a.tape")["digest"], "waiting does not show in the outputs");
    // Whose the lag is depends on which of the two is slower here; that there is one must show.
    let lags = ["pacer_lag", "backpressure"].map(|stage| count(&wait, &format!("/latency_ns/stages/{stage}/count")));
    assert_eq!(lags.iter().sum::<u64>(), 100_000, "every event's lag is charged to one side: {lags:?}");
    assert!(count(&wait, "/latency_ns/response/max") > 1_000_000, "{}", wait["latency_ns"]);
    let is_told = wait["saturated"] == true || wait["verdict"]["valid"] == false;
    assert!(is_told, "a schedule of a billion a second was not kept: {}", wait["verdict"]);
}

#[test]
fn an_hgrm_file_has_the_four_columns_of_the_plotter() {
    let place = Place::new();
    place.run("gen -o a.tape --events 20000 --symbols 10 --duration 20s").exits(0);
    for speed in ["max", "100"] {
        let report =
            place.run(&format!("replay a.tape --speed {speed} --hgrm r.hgrm --force --format json")).exits(0).json();
        let text = String::from_utf8(place.read("r.hgrm")).unwrap();
        let mut lines = text.lines();
        let head: Vec<&str> = lines.next().unwrap().split_whitespace().collect();
        assert_eq!(head, ["Value", "Percentile", "TotalCount", "1/(1-Percentile)"]);
        let rows: Vec<Vec<f64>> = lines
            .filter(|line| !line.is_empty() && !line.starts_with('#'))
            .map(|line| {
                line.split_whitespace()
                    .map(|cell| if cell == "inf" { f64::INFINITY } else { cell.parse().unwrap() })
                    .collect()
            })
            .collect();
        assert!(rows.len() > 10 && rows.iter().all(|row| row.len() == 4 || row.len() == 3), "{text}");
        for pair in rows.windows(2) {
            assert!((0..3).all(|column| pair[0][column] <= pair[1][column]), "{pair:?}");
        }
        let last = rows.last().unwrap();
        let of = if speed == "max" { "service" } else { "response" };
        assert_eq!((last[1], last[2]), (1.0, 20_000.0));
        let max_us = count(&report, &format!("/latency_ns/{of}/max")) as f64 / 1_000.0;
        assert!((last[0] - max_us).abs() <= max_us / 500.0 + 0.001, "{speed}: {} and {max_us}", last[0]);
        assert!(text.contains("#[Mean") && text.contains("#[Max") && text.contains("#[Buckets"), "{text}");
    }
}

#[test]
fn strict_makes_an_invalid_run_a_failed_check() {
    let place = Place::new();
    place.run("gen -o a.tape --events 60000 --symbols 10 --duration 60s").exits(0);
    // Whatever the machine, exit code and verdict agree; source and shard in turns on one unpinned core rarely keep a
    // schedule, but may.
    for way in ["--speed 60 --shards 3 --no-pin", "--speed max --no-pin", "--speed 100"] {
        let strict = place.run(&format!("replay a.tape --format json --strict {way}"));
        let report = strict.json();
        let is_valid = report["verdict"]["valid"].as_bool().unwrap();
        assert_eq!(report["verdict"]["reasons"].as_array().unwrap().is_empty(), is_valid, "{way}: {report}");
        strict.exits(if is_valid { 0 } else { 1 });
        place.run(&format!("replay a.tape --format json {way}")).exits(0);
    }
}

#[test]
fn dump_stops_at_its_limit_and_doctor_names_the_driver() {
    let place = Place::new();
    place.run("gen -o a.tape --events 5000 --symbols 10").exits(0);
    let all = place.run("dump a.tape").exits(0).stdout;
    let some = place.run("dump a.tape --limit 17").exits(0).stdout;
    assert_eq!(some.lines().count(), 17);
    assert!(all.starts_with(&some));
    let doctor = place.run("doctor --probe 10ms --matrix 20ms --format json").exits(0);
    let found = doctor.json();
    assert_eq!((doctor.stdout.lines().count(), &found["command"]), (1, &"doctor".into()));
    let cores = found["core_to_core"]["cores"].as_array().unwrap().len();
    assert_eq!(found["core_to_core"]["ns"].as_array().unwrap().len(), cores);
    assert!(!found["idle_cores"].as_array().unwrap().is_empty() && found["score"].is_u64(), "{found}");
    let without = place.run("doctor --probe 0s --matrix 0s --format json").exits(0).json();
    assert!(without["core_to_core"].is_null() && without["idle_cores"].as_array().unwrap().is_empty(), "{without}");
}

#[test]
fn cores_are_taken_in_the_order_of_the_list() {
    let place = Place::new();
    place.run("gen -o a.tape --events 2000 --symbols 10").exits(0);
    let all = place.replay("a.tape --driver threads --shards 1")["manifest"]["cores"].clone();
    let [first, second] = &all.as_array().unwrap()[..] else {
        eprintln!("skipped: one core");
        return;
    };
    for (source, shard) in [(first, second), (second, first)] {
        let line =
            format!("replay a.tape --speed max --format json --driver threads --cores {source},{shard},{source}");
        let ran = place.run(&line).exits(0);
        assert!(ran.stderr.contains(&format!("core {source}: source, core {shard}: shard 0")), "{}", ran.stderr);
        assert_eq!(ran.json()["manifest"]["cores"], serde_json::json!([source, shard]));
    }
}

#[test]
fn req_l1_one_event_is_traced_through_the_engine_by_its_identity_as_text_and_as_json() {
    let place = Place::new();
    place.run("gen -o a.tape --events 3000 --symbols 3 --duration 10s").exits(0);
    let dumped = place.run("dump a.tape").exits(0).stdout;
    let quote = dumped
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .filter(|event| event["kind"] == "quote")
        .nth(100)
        .expect("there are quotes");
    let (seq, source, symbol) = (&quote["seq"], quote["source"].as_str().unwrap(), quote["symbol"].as_str().unwrap());
    let event = format!("{seq}@{source}/{symbol}");
    let plain = place.replay("a.tape --shards 2 --driver threads");

    let run = place.run(&format!(
        "replay a.tape --speed max --shards 2 --driver threads --format json --log-level off --log-format json --follow {event}"
    ));
    let run = run.exits(0);
    assert_eq!(run.json()["digest"], plain["digest"], "who is followed changes nothing");
    let lines: Vec<Value> = run
        .stderr
        .lines()
        .filter(|line| line.starts_with('{'))
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let told: Vec<&str> = lines.iter().map(|line| line["message"].as_str().unwrap()).collect();
    assert_eq!((told.first(), told.last()), (Some(&"admitted"), Some(&"done")), "{told:?}");
    let handlers: Vec<&str> = lines.iter().filter_map(|line| line["handler"].as_str()).collect();
    assert!(handlers.contains(&"features"), "{handlers:?}");
    for line in &lines {
        assert_eq!(
            (&line["seq"], &line["source"], &line["symbol"]),
            (seq, &quote["source"], &quote["symbol"]),
            "{line}"
        );
    }
    assert_eq!(count(&run.json(), "/log/written"), lines.len() as u64);
    assert_eq!(count(&run.json(), "/log/dropped"), 0);

    let text = place.run(&format!("replay a.tape --speed max --shards 1 --log-level off --follow {event}")).exits(0);
    let lines: Vec<&str> = text.stderr.lines().filter(|line| line.contains("TRACE")).collect();
    assert_eq!(lines.len(), told.len(), "{}", text.stderr);
    assert!(lines[0].contains("admitted") && lines[0].contains(symbol), "{}", lines[0]);

    let refused = place.run("replay a.tape --follow quote-7").exits(2);
    assert!(refused.stderr.contains("SEQ@SOURCE"), "{}", refused.stderr);
}

#[test]
fn events_for_symbols_of_other_shards_have_a_hop() {
    let place = Place::new();
    place.run("gen -o a.tape --events 20000 --symbols 12 --duration 20s").exits(0);
    let followers: Vec<String> = (2..=12).map(|number| format!("\"GEN:SYM{number:05}\"")).collect();
    place.write(
        "a.toml",
        format!("[correlation]\nbenchmark = \"GEN:SYM00001\"\nfollowers = [{}]\n", followers.join(", ")),
    );
    let stages = |shards: u64| {
        let flags = format!("--config a.toml --shards {shards} --speed 20 --driver threads --no-pin --format json");
        let report = place.run(&format!("replay a.tape {flags}")).exits(0).json();
        assert_balanced(&report);
        report["latency_ns"]["stages"].clone()
    };
    let (one, two) = (stages(1), stages(2));
    assert!(one["hop"].is_null(), "one shard has no other: {one}");
    let hops = two["hop"]["count"].as_u64().unwrap();
    assert!(hops > 50, "the benchmark's bars go to eleven others: {two}");
    // Timers close bars: they were due at no time of the schedule.
    assert!(two["end_to_end"].is_null(), "{two}");
}

#[test]
fn a_paced_run_tells_stages_timeline_and_the_slowest_events_in_every_form() {
    let place = Place::new();
    place.run("gen -o a.tape --events 60000 --symbols 20 --duration 6s").exits(0);
    let flags = "a.tape --rate 40000 --arrivals poisson --warmup 1s --trace 7 --driver threads --no-pin";
    let report =
        place.run(&format!("replay {flags} --format json --html a.html --csv a.csv --hlog a.hlog")).exits(0).stdout;
    let report: Value = serde_json::from_str(report.lines().last().unwrap()).unwrap();
    assert_balanced(&report);
    assert_eq!(report["manifest"]["arrivals"], "poisson");
    let samples = count(&report, "/latency_ns/response/count");
    assert!((40_000..60_000).contains(&samples), "a sixth is warm-up: {samples}");
    for stage in ["pacer_lag", "ring_wait", "admission", "dispatch", "handlers"] {
        assert!(count(&report, &format!("/latency_ns/stages/{stage}/count")) > 0, "{stage}");
    }
    // Book changes come as messages of several events.
    let messages = count(&report, "/latency_ns/stages/message/count");
    assert!(messages > samples / 2 && messages < samples, "{messages} of {samples}");
    assert_eq!(count(&report, "/latency_ns/stages/message/max"), count(&report, "/latency_ns/response/max"));
    assert!(report["latency_ns"]["stages"]["hop"].is_null(), "nobody publishes for another symbol");
    let points = report["timeline"]["points"].as_array().unwrap();
    let step_ns = count(&report, "/timeline/step_ns") as f64;
    let due: f64 = points.iter().map(|point| point["rate"].as_f64().unwrap() * step_ns / 1e9).sum();
    assert!((due - samples as f64).abs() < 1.0, "each sample was due in one step: {due} of {samples}");
    let slowest = report["slowest"].as_array().unwrap();
    assert_eq!(slowest.len(), 7);
    let times: Vec<u64> = slowest.iter().map(|slow| slow["response_ns"].as_u64().unwrap()).collect();
    assert!(times.is_sorted_by(|a, b| a >= b), "{times:?}");
    let slowest_of_all = count(&report, "/latency_ns/response/max");
    assert!(times[0].abs_diff(slowest_of_all) <= slowest_of_all / 500, "{times:?} {slowest_of_all}");
    for slow in slowest {
        let parts: u64 =
            ["lag_ns", "ring_wait_ns", "service_ns"].iter().map(|part| slow[*part].as_u64().unwrap_or(0)).sum();
        assert_eq!(parts, slow["response_ns"].as_u64().unwrap(), "{slow}");
    }
    let text = |name| String::from_utf8(place.read(name)).unwrap();
    assert!(text("a.html").contains("Slowest events") && text("a.hlog").contains("Tag=shard0.handlers,"));
    assert!(text("a.csv").lines().any(|line| line.starts_with("shard0.admission,50,")));
    // Nothing is overwritten, and what cannot be is told before anything runs.
    place.run(&format!("replay {flags} --html a.html")).exits(2);
    place.run("replay a.tape --arrivals poisson").exits(2);
    place.run("replay a.tape --speed max --trace 5").exits(2);
    let unpaced = place.replay("a.tape --warmup 1s --driver threads");
    assert!(unpaced["timeline"].is_null() && unpaced["latency_ns"]["stages"]["ring_wait"].is_null(), "{unpaced}");
    let table = place.run(&format!("replay {flags}")).exits(0).stdout;
    assert!(table.contains("\nslowest ") && table.contains("poisson arrivals at 40.0 k"), "{table}");
}

#[test]
fn symbols_that_are_asked_for_are_replayed_alone_whatever_the_number_of_shards() {
    let place = Place::new();
    place.run("gen -o a.tape --events 20000 --symbols 10 --duration 10s").exits(0);
    let all = place.replay("a.tape --driver threads");
    let one = place.replay("a.tape --driver threads --symbols GEN:SYM00001,GEN:SYM00002,NONE");
    let two = place.replay("a.tape --driver threads --shards 2 --symbols GEN:SYM00002,GEN:SYM00001,NONE");
    assert_eq!(one["digest"], two["digest"]);
    assert_ne!(one["digest"], all["digest"]);
    let (some, every) = (count(&one, "/events/offered"), count(&all, "/events/offered"));
    let note = one["verdict"]["notes"].to_string();
    assert!(0 < some && some < every && note.contains("2 of 3 symbols"), "{some} of {every}: {note}");
}
