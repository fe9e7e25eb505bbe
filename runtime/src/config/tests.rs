//! The configuration as a whole: every key has a reader, layers go over each other, mistakes are told where they stand.

use super::key::Stored;
use super::*;
use tapeline_core::route::RouteTable;
use tapeline_core::scanner::Rule;

/// Everything that the engine gets from a configuration.
fn effect(config: &Config) -> String {
    let setup = config.setup(Vec::new());
    let shard = setup.shard_config(0, RouteTable::new(1));
    // A key whose field is not in this list is told as one that nothing reads.
    let Setup {
        passes,
        pace,
        max_gap_ns,
        arrivals,
        warmup_ns,
        overload,
        start,
        end,
        shards,
        cores,
        is_pinned,
        driver,
        symbols_max,
        ring_slots,
        mesh_ring_slots,
        idle,
        log,
        backfill,
        buses,
        jobs,
        spill,
        symbols,
        ..
    } = setup;
    format!(
        "{:?}",
        (
            (passes, pace, max_gap_ns, arrivals, warmup_ns, overload, start, end, shards, cores),
            (is_pinned, driver, symbols_max, ring_slots, mesh_ring_slots, idle, buses),
            (log.filter, log.format),
            shard,
            (backfill, jobs, spill, symbols),
            &config.pipeline,
            // The report's: `tapeline replay` hands it on.
            &config.health,
            // Of who opens captures: see `tests/csv_map.rs`.
            (config.csv_map(), &config.parquet),
        )
    )
}

/// Another legal value for a setting of this configuration.
fn another(setting: &Setting, config: &Config) -> Value {
    let value = setting.value(config);
    let is_of_topics = setting.section.path.starts_with("topics.");
    match setting.key.name {
        // What is legal here depends on the topic's other keys.
        "kinds" if is_of_topics => Value::Words(Vec::new()),
        "policy" if is_of_topics => Value::Word("dead_letter".to_owned()),
        "high" if is_of_topics => Value::Whole(config.topics.topic(&setting.name).capacity as u64),
        "low" if is_of_topics => Value::Whole(1),
        // Tiers are in rising order.
        "enter" if setting.section.path.starts_with("publisher.tier") => {
            Value::Number(if setting.name == "first" { 2.5 } else { 3.5 })
        }
        "leave" if setting.section.path.starts_with("publisher.tier") => Value::Number(1.5),
        "after" if setting.section.path.starts_with("publisher.tier") => {
            Value::Whole(if setting.name == "first" { 9 } else { 61 } * 1_000_000_000)
        }
        // The one name that there is beside the default.
        _ => setting.key.form.another(&value).unwrap_or(Value::Word("other".to_owned())),
    }
}

/// Settings of this configuration that the engine does not notice when each is set to another value.
fn silent(settings: &[Setting], config: &Config) -> Vec<String> {
    let before = effect(config);
    let is_silent = |setting: &&Setting| {
        let another = another(setting, config);
        let mut changed = config.clone();
        setting.set(&mut changed, another.clone());
        assert_eq!(setting.value(&changed), another, "{setting} keeps what it is set to");
        let wrong = changed.check();
        assert!(wrong.is_empty(), "{setting} = {another:?}: {wrong:?}");
        effect(&changed) == before
    };
    settings.iter().filter(is_silent).map(ToString::to_string).collect()
}

/// Keys under which every other one matters: a policy that differs from the standard one, a time of day, and topics that may lose what
/// they hold.
const BASE: [(&str, &str); 30] = [
    ("retry.policy.other.attempts", "2"),
    ("mapper.hours.open.from", "\"09:30\""),
    ("topics.trades.lossy", "true"),
    ("topics.books.lossy", "true"),
    ("publisher.breaker.share", "900"),
    ("correlation.benchmark", "\"XBT\""),
    // Without a tape nobody reads.
    ("backfill.tapes", "[\"a.tape\"]"),
    // A map that any kind finds its columns in, with and without a header.
    ("csv.kind", "\"trade\""),
    ("csv.symbol", "3"),
    ("csv.time", "4"),
    ("csv.recv_time", "5"),
    ("csv.date", "6"),
    ("csv.seq", "7"),
    ("csv.price", "8"),
    ("csv.size", "9"),
    ("csv.side", "10"),
    ("csv.snapshot", "11"),
    ("csv.orders", "12"),
    ("csv.bid_px", "13"),
    ("csv.bid_sz", "14"),
    ("csv.ask_px", "15"),
    ("csv.ask_sz", "16"),
    ("csv.open", "17"),
    ("csv.high", "18"),
    ("csv.low", "19"),
    ("csv.close", "20"),
    ("csv.volume", "21"),
    ("csv.trade_count", "22"),
    ("csv.vwap", "23"),
    // Without a folder nothing spills.
    ("spill.folders", "[\"spilled\"]"),
];

/// [`BASE`] without a path, as a file.
fn base_without(path: &str) -> String {
    BASE.iter().filter(|(key, _)| *key != path).map(|(key, value)| format!("{key} = {value}\n")).collect()
}

fn with_another_policy() -> Loaded {
    let mut layers = Layers::default();
    layers.file("t.toml", &base_without(""));
    layers.finish().unwrap()
}

#[test]
fn req_c1_every_key_changes_what_the_engine_gets() {
    let loaded = with_another_policy();
    let settings = loaded.settings();
    assert!(settings.len() > 60, "{} settings", settings.len());
    assert_eq!(silent(&settings, &loaded.config), [""; 0], "keys that nothing reads");

    // The same look finds a key that nothing reads: this one sets the factor of a backoff that does not grow.
    static MUTE: Key = Key::new(
        "mute",
        Form::Number { min: 1.0, max: 9.0 },
        "Nothing reads it.",
        |config, _| Stored::value(&config.retry.policy("other").factor),
        |config, _, value| config.retry.policy_mut("other").factor = Stored::stored(value),
    );
    let mut config = loaded.config.clone();
    config.retry.policy_mut("other").backoff = Growth::Fixed;
    let mute = Setting { section: &SECTIONS[0], key: &MUTE, name: String::new() };
    assert_eq!(silent(&[mute], &config), ["engine.mute"]);

    // Handlers get no ticks and no definitions, so that no retry of one can come about.
    for kind in tapeline_core::event::Kind::ALL {
        let path = format!("retry.kinds.{}", kind.name());
        assert_eq!(setting(&path).is_some(), !kind.is_control(), "{path}");
    }
}

/// Fields of a structure of the engine's own that no line of these sources looks at, as `config.<field>`, `setup.<field>` or
/// `self.<field>`, or by taking the structure apart.
fn unread(of: &str, name: &str, sources: &[&str]) -> Vec<String> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
    let read = |path: &str| {
        let text =
            std::fs::read_to_string(format!("{folder}/{path}")).unwrap_or_else(|error| panic!("{path}: {error}"));
        text.split("#[cfg(test)]").next().unwrap_or_default().to_owned()
    };
    let source = read(of);
    let (_, rest) = source.split_once(&format!("pub struct {name} {{\n")).expect("the structure");
    let (body, rest) = rest.split_once("\n}\n").expect("its end");
    let text = sources.iter().map(|path| if *path == of { rest.to_owned() } else { read(path) }).collect::<String>();
    let ends = |rest: &str| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_');
    let is_set = |rest: &str| rest.starts_with(" = ");
    let is_looked_at = |field: &str| {
        ["config.", "setup.", "self."].iter().any(|of| {
            let look = format!("{of}{field}");
            text.match_indices(&look).any(|(at, _)| {
                let rest = &text[at + look.len()..];
                ends(rest) && !is_set(rest)
            })
        })
    };
    let is_taken_apart = |field: &str| {
        let patterns = text.split("let Config {").skip(1).filter_map(|rest| rest.split_once("} ="));
        let mut fields = patterns.flat_map(|(fields, _)| fields.split(','));
        fields.any(|part| part.split(':').next().unwrap_or_default().trim() == field)
    };
    let fields =
        body.lines().filter_map(|line| line.strip_prefix("    pub ")?.split_once(": ").map(|(field, _)| field));
    let fields: Vec<&str> = fields.collect();
    assert!(fields.len() > 4, "{of}: {fields:?}");
    fields.into_iter().filter(|field| !is_looked_at(field) && !is_taken_apart(field)).map(str::to_owned).collect()
}

#[test]
fn req_c1_every_field_that_a_key_sets_is_read() {
    for (of, name, sources) in [
        ("runtime/src/engine.rs", "Setup", &["runtime/src/engine.rs"][..]),
        (
            "core/src/shard/config.rs",
            "Config",
            &[
                "core/src/shard.rs",
                "core/src/shard/inlet.rs",
                "core/src/shard/invalid.rs",
                "core/src/shard/letters.rs",
                "core/src/shard/poll.rs",
                "core/src/shard/admission.rs",
            ],
        ),
        ("core/src/dead/mod.rs", "Config", &["core/src/dead/mod.rs"]),
        (
            "core/src/requests/config.rs",
            "Config",
            &[
                "core/src/requests/mod.rs",
                "core/src/requests/jobs.rs",
                "core/src/requests/pending.rs",
                "core/src/requests/places.rs",
            ],
        ),
        (
            "core/src/scanner/config.rs",
            "Config",
            &[
                "core/src/scanner/breakout.rs",
                "core/src/scanner/gap.rs",
                "core/src/scanner/momentum.rs",
                "core/src/scanner/spread.rs",
                "core/src/scanner/volatility.rs",
                "core/src/scanner/volume_spike.rs",
                "core/src/scanner/mod.rs",
            ],
        ),
        ("core/src/bridge/config.rs", "Config", &["core/src/bridge/mod.rs", "core/src/bridge/config.rs"]),
        ("core/src/publisher/config.rs", "Config", &["core/src/publisher/mod.rs", "core/src/publisher/config.rs"]),
    ] {
        assert_eq!(unread(of, name, sources), [""; 0], "{of}");
    }
    // The same look at a source that reads nothing of it.
    let all = unread("core/src/shard/config.rs", "Config", &["core/src/dead/mod.rs"]);
    assert!(all.contains(&"has_dues".to_owned()) && all.contains(&"history_age_ns".to_owned()), "{all:?}");
}

/// The value of a key as a variable or a flag has it.
fn plain(setting: &Setting, value: &Value) -> String {
    setting.key.show(value).trim_matches('"').to_owned()
}

#[test]
fn each_layer_goes_over_the_one_before() {
    let base = with_another_policy().config;
    for setting in with_another_policy().settings() {
        let path = setting.to_string();
        let (default, another) = (setting.value(&base), another(&setting, &base));
        // The origins count here: values alternate between two, so that no layer repeats the one before.
        let values = [&another, &default, &another];
        let mut layers = Layers::default();
        let file = format!("{}{path} = {}", base_without(&path), setting.key.show(values[0]));
        layers.file("t.toml", &file);
        let told = |layers: Layers| {
            let loaded = layers.finish().unwrap_or_else(|faults| panic!("{path}: {faults}"));
            (setting.value(&loaded.config), loaded.origin(&path).to_string())
        };
        let (line, column) = (file.lines().count(), path.len() - setting.leaf().len() + 1);
        let mut now = Layers::default();
        now.file("t.toml", &file);
        assert_eq!(told(now), (values[0].clone(), format!("t.toml:{line}:{column}")));
        let variable = (setting.variable(), plain(&setting, values[1]));
        let mut now = Layers::default();
        now.file("t.toml", &file);
        now.environment([variable.clone(), ("HOME".to_owned(), "x".to_owned())]);
        assert_eq!(told(now), (values[1].clone(), variable.0.clone()), "{path}");
        layers.environment([variable]);
        layers.flag("--set", &path, &plain(&setting, values[2]));
        assert_eq!(told(layers), (values[2].clone(), "--set".to_owned()), "{path}");
    }
}

#[test]
fn a_table_without_keys_is_there() {
    let mut layers = Layers::default();
    layers.file("t.toml", "[retry.policy.fast]\n[mapper.hours.open]\n[topics.mine]\n[retry.kinds]\ntrade = \"fast\"");
    let config = layers.finish().unwrap().config;
    assert_eq!(config.retry.policies[1], ("fast".to_owned(), RetryPolicy::default()));
    assert_eq!((config.hours.len(), config.pipeline.mapper.hours.len()), (1, 1));
    assert_eq!(config.topics.0.last(), Some(&("mine".to_owned(), TopicKeys::default())));
    let mut layers = Layers::default();
    layers.file("t.toml", "[retry.policy.Fast]");
    let told = layers.finish().unwrap_err().to_string();
    assert!(told.contains("[retry.policy.Fast] is no table"), "{told}");
}

#[test]
fn what_a_message_repeats_moves_no_cursor_and_ends_no_line() {
    let mut layers = Layers::default();
    layers.file("a\u{1b}[2J.toml", "\"\\u001b[2J\\n\" = 1\n[engine]\ndriver = \"\\u001b]\"");
    layers.environment([("TAPELINE_\n".to_owned(), "x".to_owned())]);
    layers.flag("--set", "engine.driver", "\u{1b}c\n");
    let told = layers.finish().unwrap_err();
    assert_eq!(told.0.len(), 4);
    assert_eq!(told.to_string().lines().count(), 4, "{told:?}");
    assert!(told.to_string().chars().all(|c| c == '\n' || !c.is_control()), "{told:?}");
    let mut layers = Layers::default();
    layers.file("a\n.toml", "[engine]\nseed = 3");
    let printed = layers.finish().unwrap().print();
    assert!(printed.contains("# a\\n.toml:2:1"), "{printed}");
}

#[test]
fn fifty_mistakes_are_told_and_the_others_counted() {
    let mut layers = Layers::default();
    let file: String = (0..1_000).map(|key| format!("key{key} = 1\n")).collect();
    layers.file("t.toml", &file);
    let told = layers.finish().unwrap_err();
    assert_eq!((told.0.len(), told.1), (FAULTS_TOLD_MAX, 950));
    assert_eq!(told.to_string().lines().last(), Some("and 950 mistakes more"));
}

#[test]
fn what_is_printed_reads_as_the_same_configuration() {
    let mut layers = Layers::default();
    let file = r#"
replay = { rate = 1_000, start = 2024-01-02T14:30:08Z, max_gap = "5ms" }
history.size = "64MiB"
history.age = "never"
[engine]
cores = [2, 3, 0]
seed = 0xffffffffffffffff
[retry.policy.fast]
backoff = "fixed"
delay = "250us"
[retry.kinds]
trade = "fast"
"#;
    layers.file("t.toml", file);
    layers.flag("--set", "scanner.spike_factor", "2.5");
    let loaded = layers.finish().unwrap();
    let config = &loaded.config;
    assert_eq!(config.engine.cores, Some(vec![2, 3, 0]));
    assert_eq!((config.engine.seed, config.history.slots, config.history.age_ns), (u64::MAX, Some(1 << 20), None));
    assert_eq!(config.replay.pace(), Pace::Rate(1000.0));
    let printed = loaded.print();
    for line in [
        "cores = \"2-3,0\"",
        "# t.toml:6:1",
        "size = \"64MiB\"",
        "start = \"2024-01-02T14:30:08Z\"",
        "[retry.policy.fast]",
        "delay = \"250us\"",
        "# --set",
    ] {
        assert!(printed.contains(line), "{line}:\n{printed}");
    }
    let mut again = Layers::default();
    again.file("printed.toml", &printed);
    let again = again.finish().unwrap();
    assert_eq!(again.config, loaded.config);
    assert_eq!(again.sha256(), loaded.sha256());
    assert_ne!(again.sha256(), Loaded::default().sha256());
}

#[test]
fn rate_and_speed_are_two_words_for_one_thing() {
    let pace = |layers: Layers| layers.finish().map(|loaded| loaded.config.replay.pace());
    let mut layers = Layers::default();
    layers.file("t.toml", "[replay]\nrate = 10");
    layers.flag("--speed", "replay.speed", "max");
    assert_eq!(pace(layers), Ok(Pace::Max), "a flag goes over a file, whichever way it says it");
    let mut layers = Layers::default();
    layers.file("t.toml", "[replay]\nspeed = 2");
    layers.environment([("TAPELINE_REPLAY_RATE".to_owned(), "10".to_owned())]);
    assert_eq!(pace(layers), Ok(Pace::Rate(10.0)));
    let mut layers = Layers::default();
    layers.file("t.toml", "[replay]\nspeed = 2\nrate = \"none\"");
    assert_eq!(pace(layers), Ok(Pace::Speed(2.0)));
    // Who takes the rate back has the speed of before, with its origin.
    let mut layers = Layers::default();
    layers.file("t.toml", "[replay]\nspeed = 2");
    layers.environment([("TAPELINE_REPLAY_RATE".to_owned(), "10".to_owned())]);
    layers.flag("--rate", "replay.rate", "none");
    let loaded = layers.finish().unwrap();
    assert_eq!(loaded.config.replay.pace(), Pace::Speed(2.0));
    assert_eq!(loaded.origin("replay.speed").to_string(), "t.toml:2:1");
    let mut layers = Layers::default();
    layers.flag("--speed", "replay.speed", "2");
    layers.flag("--rate", "replay.rate", "3");
    assert_eq!(pace(layers).unwrap_err().to_string(), "--rate: replay.rate and replay.speed exclude each other");
}

#[test]
fn mistakes_are_told_where_they_stand_all_of_them() {
    let mut layers = Layers::default();
    let file = r#"top = 1
[engine]
shard = 2
shards = "two"
symbols_max = 1
 pin = "true"
ring_slots.size = 5
[engin]
shards = 2
[scanner]
breakout_bars = 5_000
spike_factor = nan
capacity = 5
[retry.policy.fast]
atempts = 3
cap = "1ns"
[retry.policy.Fast]
attempts = 3
[retry.kinds]
trade = "fats"
trades = "fast"
[replay]
overload = "live"
speed = "max"
max_gap = 5
[[history]]
size = "1MB"
[requests]
jobs_min = 5
jobs_max = 4
"#;
    layers.file("t.toml", file);
    layers.environment([("TAPELINE_ENGIN_SHARDS".to_owned(), "2".to_owned())]);
    layers.environment([("TAPELINE_ENGINE_SHARDS".to_owned(), "0".to_owned())]);
    layers.environment([("TAPELINE_CONFIG".to_owned(), "x".to_owned()), ("PATH".to_owned(), "y".to_owned())]);
    layers.flag("--set", "dedup.windw", "5ms");
    layers.flag("--symbols-max", "engine.symbols_max", "1");
    let told = layers.finish().unwrap_err().to_string();
    let expected = r#"t.toml:1:1: top is no key; the nearest is csv.open
t.toml:3:1: engine.shard is no key; the nearest is engine.shards
t.toml:4:1: engine.shards = "two": an integer, 1 to 256; or "auto": one for each core but one
t.toml:5:1: engine.symbols_max = 1: an integer, 2 to 16777216
t.toml:6:2: engine.pin = "true": true or false
t.toml:7:1: engine.ring_slots is a table: a power of two, 256 to 16777216
t.toml:8:2: [engin] is no table; the nearest is [engine]
t.toml:11:1: scanner.breakout_bars = 5000: an integer, 1 to 32
t.toml:12:1: scanner.spike_factor = NaN: a number, 1 to 1000000
t.toml:13:1: scanner.capacity is no key; the nearest is dedup.capacity
t.toml:15:1: retry.policy.fast.atempts is no key; the nearest is retry.policy.fast.attempts
t.toml:17:15: [retry.policy.Fast] is no table; the nearest is [retry.policy.<name>]
"#;
    for line in expected.lines() {
        assert!(told.lines().any(|fault| fault == line), "{line}\nis not in\n{told}");
    }
    for part in [
        "retry.kinds.trades is no key; the nearest is retry.kinds.trade",
        "replay.max_gap = 5: a time with its unit, at least 0s; or \"none\"",
        "t.toml:26:3: history = [",
        "TAPELINE_ENGIN_SHARDS: no key has this variable; the nearest is TAPELINE_ENGINE_SHARDS",
        "TAPELINE_ENGINE_SHARDS: engine.shards = 0: an integer",
        "--set: dedup.windw is no key; the nearest is dedup.window",
        "--symbols-max: engine.symbols_max = 1: ",
        "t.toml:16:1: retry.policy.fast.cap = \"1ns\": a cap of 1 ns is below the first delay of 100000000 ns",
        "t.toml:20:1: retry.kinds.trade = \"fats\": no [retry.policy.fats]; there is standard, fast",
        "t.toml:23:1: replay.overload = \"live\": live needs a schedule",
        "t.toml:29:1: requests.jobs_min = 5: 5 is more than requests.jobs_max, 4",
    ] {
        assert!(told.lines().any(|fault| fault.contains(part)), "{part}\nis not in\n{told}");
    }
    assert_eq!(told.lines().count(), 23, "{told}");
}

#[test]
fn a_text_that_is_no_toml_is_refused_with_the_place_of_each_mistake() {
    let mut layers = Layers::default();
    layers.file("t.toml", "[engine]\nshards = \nseed = 1\nseed = 2\n[engine]\npin = yes\n");
    let told = layers.finish().unwrap_err();
    let places: Vec<String> = told.0.iter().map(|fault| fault.origin.to_string()).collect();
    assert!(places.iter().all(|place| place.starts_with("t.toml:")), "{places:?}");
    for line in [2, 4, 6] {
        assert!(places.iter().any(|place| place.starts_with(&format!("t.toml:{line}:"))), "line {line}: {told}");
    }
    // One line each.
    assert_eq!(told.to_string().lines().count(), told.0.len());
}

/// The sample with every key in force.
fn filled() -> String {
    let is_key = |line: &str| line.strip_prefix('#').is_some_and(|rest| rest.starts_with(|c: char| c.is_alphabetic()));
    let uncommented = sample()
        .lines()
        .map(|line| if is_key(line) { &line[1..] } else { line })
        .map(str::to_owned)
        .collect::<Vec<_>>();
    uncommented.join("\n")
}

#[test]
fn the_sample_says_every_key_and_sets_none() {
    let load = |text: &str| {
        let mut layers = Layers::default();
        layers.file("sample.toml", text);
        layers.finish().unwrap_or_else(|faults| panic!("{faults}"))
    };
    assert_eq!(load(&sample()), Loaded::default());
    let all = load(&filled());
    assert_eq!(all.config, Config::default(), "what it says are the defaults");
    for setting in all.settings() {
        let path = setting.to_string();
        assert!(matches!(all.origin(&path), Origin::File { .. }), "{path} is in the sample");
    }
    assert!(sample().lines().all(|line| line.chars().count() <= 120), "lines are short");
}

#[test]
fn the_reference_says_every_key_with_its_default_and_its_ways() {
    let default = Loaded::default();
    for style in [Style::Text, Style::Markdown] {
        let reference = reference(style);
        for section in SECTIONS {
            assert!(reference.contains(&format!("[{}]", section.path)));
            for key in section.keys {
                assert!(reference.contains(key.name), "{}", key.name);
                assert!(key.doc.ends_with('.') && key.doc.len() > 10, "{}: a sentence", key.name);
                assert!(key.flag.is_none_or(|flag| reference.contains(&format!("--{flag}"))), "{}", key.name);
            }
        }
        for setting in default.settings().iter().filter(|setting| setting.name.is_empty()) {
            assert!(reference.contains(&setting.variable()), "{setting}");
        }
    }
}

#[test]
fn every_key_has_a_variable_of_its_own() {
    let mut seen = std::collections::BTreeMap::new();
    for setting in with_another_policy().settings() {
        let path = setting.to_string();
        assert_eq!(key::find(SECTIONS, &path).map(|found| found.to_string()), Some(path.clone()));
        let variable = setting.variable();
        assert_eq!(key::find_variable(SECTIONS, &variable).map(|found| found.to_string()), Some(path.clone()));
        assert_eq!(seen.insert(variable, path), None);
    }
    // A name with a key's name at its end is still the name of one policy.
    let found = key::find_variable(SECTIONS, "TAPELINE_RETRY_POLICY_NO_JITTER_ATTEMPTS").unwrap();
    assert_eq!(found.to_string(), "retry.policy.no_jitter.attempts");
}

#[test]
fn the_hash_is_that_of_the_values_whatever_said_them() {
    let with = |layers: &mut dyn FnMut(&mut Layers)| {
        let mut all = Layers::default();
        layers(&mut all);
        all.finish().unwrap().sha256()
    };
    let default = Loaded::default().sha256();
    assert_eq!(default.len(), 64);
    assert_eq!(with(&mut |layers| layers.file("t.toml", "[engine]\nseed = 0")), default);
    let file = with(&mut |layers| layers.file("t.toml", "[engine]\nseed = 1"));
    assert_ne!(file, default);
    assert_eq!(with(&mut |layers| layers.flag("--set", "engine.seed", "1")), file);
    for setting in with_another_policy().settings() {
        let mut loaded = with_another_policy();
        let before = loaded.sha256();
        let value = setting.value(&loaded.config);
        let another = setting.key.form.another(&value).unwrap_or(Value::Word("other".to_owned()));
        setting.set(&mut loaded.config, another);
        assert_ne!(loaded.sha256(), before, "{setting}");
    }
}

/// Whatever stands in a file: an answer, no panic. Every cut of the whole sample, and many damaged ones.
#[test]
fn damaged_files_are_refused_or_read_and_never_panic() {
    let text = filled();
    let load = |text: &str| {
        let mut layers = Layers::default();
        layers.file("t.toml", text);
        layers.finish()
    };
    for cut in (0..text.len()).step_by(7) {
        let _ = load(&text[..cut]);
    }
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let (mut refused, mut read) = (0, 0);
    for _ in 0..500 {
        let mut bytes = text.clone().into_bytes();
        for _ in 0..3 {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            let at = (random >> 16) as usize % bytes.len();
            bytes[at] = b"=\"[]{}.,#'0a-\n\0 "[(random & 15) as usize];
        }
        match load(&String::from_utf8(bytes).unwrap()) {
            Ok(loaded) => {
                let _ = loaded.setup(Vec::new());
                read += 1;
            }
            Err(faults) => {
                assert!(!faults.0.is_empty());
                refused += 1;
            }
        }
    }
    assert!(refused > 50 && read > 20, "{refused} refused, {read} read");
    let deep = "[".repeat(100_000);
    assert!(load(&format!("engine.shards = {deep}")).is_err());
    assert!(load(&format!("{}x = 1", "a.".repeat(100_000))).is_err());
}

#[test]
fn conditions_of_the_publisher_are_named_by_their_features() {
    let mut layers = Layers::default();
    let file = "[publisher.condition.atr]\nenter = 2.5\nmargin = 0.5\n[publisher.condition.spread_bps]\nweight = 0\n\
                [publisher]\nenter = 2\nrules = [\"gap\", \"breakout\"]\n[features]\nzone = \"America/New_York\"";
    layers.file("t.toml", file);
    let config = layers.finish().unwrap().config;
    let conditions: Vec<_> =
        config.pipeline.publisher.conditions.iter().map(|of| (&of.feature[..], of.weight)).collect();
    assert_eq!(conditions, [("trades_bar", 1.0), ("ewma_volatility", 1.0), ("spread_bps", 0.0), ("atr", 1.0)]);
    assert_eq!(config.pipeline.publisher.conditions[3].leave(), 2.0);
    let counts = |rule: Rule| config.pipeline.publisher.rules & rule.bit() != 0;
    assert!(counts(Rule::Gap) && counts(Rule::Breakout) && !counts(Rule::Spread));
    assert!(config.pipeline.publisher.rules >> 31 == 1, "a rule of a user's own");
    assert_eq!(config.pipeline.features.zone.offset_s(UnixNanos(0)), -5 * 3_600);

    let told = |file: &str| {
        let mut layers = Layers::default();
        layers.file("t.toml", file);
        layers.finish().unwrap_err().to_string()
    };
    let unknown = told("[publisher.condition.luck]\nweight = 3");
    assert_eq!(unknown, "t.toml:2:1: publisher.condition.luck.weight = 3.0: no set of features has \"luck\"");
    let apart = told("[publisher.condition.beta]\nweight = 3");
    assert!(
        apart.contains("t.toml:2:1: publisher.condition.beta.weight = 3.0: no set of features has all of trades_bar, "),
        "{apart}"
    );
    assert!(told("[publisher.condition.atr]\nmargin = -1").contains("margin = -1: a number, 0 to "));
}

#[test]
fn tiers_breaker_and_benchmark_are_told_apart_where_they_are_wrong() {
    let load = |text: &str| {
        let mut layers = Layers::default();
        layers.file("t.toml", text);
        layers.finish().map(|loaded| loaded.config).map_err(|faults| faults.to_string())
    };
    let good = "[publisher.tier.second]\nenter = 4.0\n[publisher.tier.hot]\nafter = \"5m\"\n\
                [publisher.breaker]\nfailures = 0\nshare = 250\nshare_calls = 8\n\
                [correlation]\nbenchmark = \"BTC/USD\"\nfollowers = [\"ETH/USD\", \"SOL/USD\"]";
    let config = load(good).unwrap();
    let tiers = &config.pipeline.publisher.tiers;
    let second = 1_000_000_000;
    let told: Vec<_> = tiers.iter().map(|tier| (tier.enter, tier.leave, tier.after_ns / second)).collect();
    assert_eq!(told, [(3.0, 2.0, 10), (4.0, 2.0, 60), (4.0, 2.0, 300)]);
    let breaker = config.pipeline.publisher.breaker;
    assert_eq!((breaker.failures_in_row, breaker.share.map(|share| share.failures_per_mille)), (0, Some(250)));
    assert_eq!(config.setup(Vec::new()).symbols, ["BTC/USD", "ETH/USD", "SOL/USD"]);
    for (text, path) in [
        ("[publisher.tier.first]\nenter = 9.0", "publisher.tier.second.enter"),
        ("[publisher.tier.hot]\nafter = \"1s\"", "publisher.tier.hot.enter"),
        ("[publisher.tier.first]\nleave = 3.5", "publisher.tier.first.enter"),
        ("[publisher.breaker]\nfailures = 0", "publisher.breaker.failures"),
        ("[publisher.breaker]\nopen = \"2m\"", "publisher.breaker.failures"),
        ("[correlation]\nbenchmark = \"A\"\nfollowers = [\"B\", \"A\"]", "correlation.followers"),
        ("[correlation]\nfollowers = [\"B\"]", "correlation.followers"),
        ("[engine]\nsymbols_max = 2\n[correlation]\nbenchmark = \"A\"\nfollowers = [\"B\"]", "correlation.followers"),
        ("[correlation]\nbenchmark = \"\"", "correlation.benchmark"),
    ] {
        let error = load(text).unwrap_err();
        assert!(error.contains(path), "{text}: {error}");
    }
}
