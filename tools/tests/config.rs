//! One configuration: file, environment, flags, in that order; what is wrong is told where it stands; what is set acts.

mod common;

use common::{Place, Ran, assert_balanced, wait};
use serde_json::Value;

/// Runs with variables.
fn run(place: &Place, line: &str, variables: &[(&str, &str)]) -> Ran {
    let mut command = place.command(line);
    command.envs(variables.iter().copied());
    wait(command.spawn().expect("the binary starts"), line)
}

/// The line of a key in what `--print-config` says.
fn line<'a>(printed: &'a str, key: &str) -> Vec<&'a str> {
    let line = printed.lines().find(|line| line.starts_with(&format!("{key} = ")));
    let line = line.unwrap_or_else(|| panic!("no {key}:\n{printed}"));
    line.splitn(2, '#').map(str::trim).collect()
}

#[test]
fn req_w2_default_file_environment_flag_each_over_the_one_before() {
    let place = Place::new();
    place.write("a.toml", "[engine]\nshards = 2\nseed = 7\n\n[scanner]\nspike_factor = 2.5\n");
    let printed = |line: &str, variables: &[(&str, &str)]| run(&place, line, variables).exits(0).stdout;

    let bare = printed("replay --print-config", &[]);
    assert_eq!(line(&bare, "shards"), ["shards = \"auto\"", "default"]);
    let file = printed("replay --print-config --config a.toml", &[]);
    assert_eq!(line(&file, "shards"), ["shards = 2", "a.toml:2:1"]);
    assert_eq!(line(&file, "spike_factor"), ["spike_factor = 2.5", "a.toml:6:1"]);
    assert_eq!(printed("replay --print-config", &[("TAPELINE_CONFIG", "a.toml")]), file);
    let variables = [("TAPELINE_ENGINE_SHARDS", "3"), ("TAPELINE_DEDUP_WINDOW", "5ms")];
    let over = printed("replay --print-config --config a.toml", &variables);
    assert_eq!(line(&over, "shards"), ["shards = 3", "TAPELINE_ENGINE_SHARDS"]);
    assert_eq!(line(&over, "window"), ["window = \"5ms\"", "TAPELINE_DEDUP_WINDOW"]);
    assert_eq!(line(&over, "seed"), ["seed = 7", "a.toml:3:1"]);
    let flags = "replay --print-config --config a.toml --shards 4 --no-pin --set dedup.window=1s";
    let flags = printed(flags, &variables);
    assert_eq!(line(&flags, "shards"), ["shards = 4", "--shards"]);
    assert_eq!(line(&flags, "pin"), ["pin = false", "--no-pin"]);
    assert_eq!(line(&flags, "window"), ["window = \"1s\"", "--set"]);

    // What is printed is a configuration, and the same one.
    place.write("b.toml", &flags);
    let again = printed("replay --print-config --config b.toml", &[]);
    let values = |text: &str| -> Vec<String> {
        text.lines().map(|line| line.split('#').next().unwrap_or_default().trim().to_owned()).collect()
    };
    assert_eq!(values(&again), values(&flags));
}

#[test]
fn every_mistake_is_a_line_with_its_place_and_nothing_runs() {
    let place = Place::new();
    place.write("bad.toml", "[engine]\nshard = 2\nring_slots = 1000\n[scanner]\nspike_factor = 0.5\n");
    let ran = place.run("replay --config bad.toml --speed fast").exits(2);
    assert!(ran.stdout.is_empty());
    let errors = ran.errors();
    for (error, told) in errors.iter().zip([
        "bad.toml:2:1: engine.shard is no key; the nearest is engine.shards",
        "bad.toml:3:1: engine.ring_slots = 1000: a power of two, 256 to 16777216",
        "bad.toml:5:1: scanner.spike_factor = 0.5: a number, 1 to 1000000",
        "--speed: replay.speed = fast: a number above 0; or \"max\"",
    ]) {
        assert!(error.contains(told), "{error}");
    }
    assert_eq!(errors.len(), 4);
    // `check` looks at the file alone, and is a check that failed.
    let ran = place.run("config check bad.toml").exits(1);
    assert_eq!(ran.errors().len(), 3, "{}", ran.stderr);
    place.write("good.toml", "[engine]\nshards = 2");
    place.run("config check good.toml").exits(0);
    run(&place, "replay", &[("TAPELINE_ENGINE_SHARD", "2")])
        .exits(2)
        .says_once(&["TAPELINE_ENGINE_SHARD: no key has this variable; the nearest is TAPELINE_ENGINE_SHARDS"]);
    place.write("bytes.toml", [b'a', 0xff]);
    place.write("large.toml", vec![b'#'; (1 << 20) + 1]);
    for (file, why) in [("bytes.toml", "byte 1"), ("large.toml", "larger than"), ("none.toml", "No such file")] {
        place.run(&format!("replay --config {file}")).exits(2).says_once(&[file, why]);
        place.run(&format!("config check {file}")).exits(2).says_once(&[file, why]);
    }
    place.run("replay --set engine.shards").exits(2).says_once(&["--set", "no ="]);
    place.run("replay - --config -").exits(2).says_once(&["stdin"]);
}

#[test]
fn req_3387_capacities_that_the_machine_has_no_room_for_are_refused_by_key() {
    let place = Place::new();
    place.run("gen -o a.tape --events 1000 --symbols 5 --duration 1s").exits(0);
    let replay = "replay a.tape --speed max --driver threads --shards 200 --no-pin";
    for (key, value) in [
        ("requests.capacity", "268435456"),
        ("dead_letters.entries", "268435456"),
        ("engine.timers_max", "1073741824"),
        ("engine.symbols_max", "16777216"),
        ("history.size", "64GiB"),
        ("engine.ring_slots", "16777216"),
    ] {
        let ran = place.run(&format!("{replay} --set {key}={value} --outputs out.tape")).exits(2);
        ran.says_once(&[key, "on 200 shards", "there is"]);
        assert!(!place.path("out.tape").exists(), "{key}");
    }
}

#[test]
fn req_3454_topics_of_the_configuration_act_with_overload_live() {
    let place = Place::new();
    place.run("gen -o a.tape --events 20000 --symbols 10 --duration 20s").exits(0);
    place.write("t.toml", "[topics.fast]\nkinds = [\"status\", \"news\"]\nlane = \"critical\"\n[topics.news]\nkinds = []\n[topics.status]\nkinds = []\n");
    let line = "replay a.tape --speed 1000 --overload live --driver threads --shards 1 --format json --config t.toml";
    let report = place.run(line).exits(0).json();
    assert_balanced(&report);
    let topics = report["topics"].as_array().expect("topics");
    let names: Vec<&str> = topics.iter().filter_map(|topic| topic["topic"].as_str()).collect();
    assert!(names.contains(&"fast") && !names.contains(&"news") && !names.contains(&"status"), "{names:?}");
    let fast = topics.iter().find(|topic| topic["topic"] == "fast").expect("it is there");
    let of = |kind: &str| report["kinds"][kind].as_u64().unwrap_or_default();
    assert_eq!((&fast["lane"], fast["offered"].as_u64()), (&"critical".into(), Some(of("news") + of("status"))));
    place
        .run("replay a.tape --set topics.quotes.policy=spill")
        .exits(2)
        .says_once(&["topics.quotes.policy", "spill.folders"]);
}

#[test]
fn init_writes_a_sample_once() {
    let place = Place::new();
    place.run("init").exits(0);
    place.run("config check tapeline.toml").exits(0);
    place.run("init").exits(2).says_once(&["tapeline.toml", "--force"]);
    place.run("init --force").exits(0);
    assert_eq!(place.run("init -").exits(0).stdout.as_bytes(), place.read("tapeline.toml"));
    let default = place.run("replay --print-config").exits(0).stdout;
    assert_eq!(place.run("replay --print-config --config tapeline.toml").exits(0).stdout, default);
    for format in ["text", "markdown"] {
        let reference = place.run(&format!("config reference --format {format}")).exits(0).stdout;
        assert!(reference.contains("spike_factor") && reference.contains("TAPELINE_SCANNER_SPIKE_FACTOR"));
    }
}

#[test]
fn the_configuration_of_the_readme_is_a_good_one() {
    let readme = concat!(env!("CARGO_MANIFEST_DIR"), "/../README.md");
    let readme = std::fs::read_to_string(readme).expect("the README");
    let block = readme.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next());
    let place = Place::new();
    place.write("readme.toml", block.expect("it shows a configuration"));
    place.run("config check readme.toml").exits(0);
}

#[test]
fn what_is_configured_acts_and_the_report_has_its_hash() {
    let place = Place::new();
    place.run("gen -o a.tape --events 20000 --symbols 10 --duration 60s").exits(0);
    let replay = |rest: &str| place.replay(&format!("a.tape --driver threads --shards 1 {rest}"));
    let alerts = |report: &Value| report["outputs"]["alert"].as_u64().expect("a count");
    let hash = |report: &Value| report["manifest"]["config_sha256"].as_str().expect("a hash").to_owned();

    let default = replay("");
    place.write("eager.toml", "[scanner]\nbreakout_bars = 2\nspike_bars = 3\nspike_factor = 1.5\n");
    let eager = replay("--config eager.toml");
    assert!(alerts(&eager) > alerts(&default), "{} and {} alerts", alerts(&eager), alerts(&default));
    assert_ne!(hash(&eager), hash(&default));
    assert_ne!(eager["digest"], default["digest"]);
    let set = "--set scanner.breakout_bars=2 --set scanner.spike_bars=3 --set scanner.spike_factor=1.5";
    let flags = replay(set);
    assert_eq!((hash(&flags), &flags["digest"]), (hash(&eager), &eager["digest"]), "whatever says it");

    // A file merged with itself: its events come twice, and are duplicates where anything is remembered.
    let refused = |rest: &str| {
        let report = replay(&format!("a.tape {rest}"));
        report["events"]["refused_by"]["duplicate"].as_u64().unwrap_or(0)
    };
    assert!(refused("") > 0);
    assert_eq!(refused("--set dedup.capacity=0"), 0);
}
