//! The example runs: its signals are in the report and among the outputs, whatever the number of shards; what it failed on is told,
//! exported, listed, redriven and purged.

use serde_json::Value;
use std::fs::Permissions;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

/// Runs the binary in `folder` and returns its exit code and what it wrote to stdout and stderr.
fn start(folder: &Path, line: &str) -> (Option<i32>, String, String) {
    let ran = Command::new(env!("CARGO_BIN_EXE_news-momentum"))
        .args(line.split_whitespace())
        .current_dir(folder)
        .output()
        .expect("the binary starts");
    let text = |bytes| String::from_utf8(bytes).expect("output is UTF-8");
    let (stdout, stderr) = (text(ran.stdout), text(ran.stderr));
    assert!(!stderr.contains("panicked"), "{line}: {stderr}");
    (ran.status.code(), stdout, stderr)
}

/// Runs the binary in `folder`, which ends well, and returns what it wrote to stdout.
fn run(folder: &Path, line: &str) -> String {
    let (code, stdout, stderr) = start(folder, line);
    assert_eq!(code, Some(0), "{line}: {stderr}");
    stdout
}

fn json(text: &str) -> Value {
    serde_json::from_str(text.lines().last().unwrap_or_default()).expect("an object on the last line")
}

#[test]
fn the_built_in_session_gives_signals_in_the_report_and_among_the_outputs() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let replay = "replay --speed max --format json --driver threads";
    let report = json(&run(folder.path(), &format!("{replay} --outputs a.ndjson")));
    assert_eq!(report["ledger_balanced"], true);
    let signals = report["outputs"]["signal"].as_u64().expect("signals are counted");
    assert!(signals > 20, "{}", report["outputs"]);

    let outputs = std::fs::read_to_string(folder.path().join("a.ndjson")).expect("the outputs");
    let written: Vec<Value> =
        outputs.lines().map(|line| serde_json::from_str(line).expect("a line is an object")).collect();
    let all: Vec<&Value> = written.iter().filter(|output| output["kind"] == "signal").collect();
    assert_eq!(all.len() as u64, signals);
    // The default pipeline has a strategy, too.
    let (ours, others): (Vec<&Value>, Vec<&Value>) =
        all.into_iter().partition(|signal| signal["source"] == "handler.news_momentum");
    assert!(ours.len() > 20, "{}", ours.len());
    assert!(others.iter().all(|signal| signal["source"] == "handler.crossover"), "{others:?}");
    for signal in &ours {
        assert!(signal["strength"].as_f64().is_some_and(|strength| strength.abs() <= 1.0), "{signal}");
    }
    // The default pipeline is there as well: the strategy stands behind it, and lives on its features.
    assert!(report["outputs"]["features"].as_u64() > Some(10_000), "{}", report["outputs"]);

    let handlers = report["handlers"].as_array().expect("handlers");
    let names: Vec<&str> = handlers.iter().filter_map(|handler| handler["name"].as_str()).collect();
    assert_eq!(names.last(), Some(&"news_momentum"), "{names:?}");
    let ours = handlers.last().expect("it is there");
    assert!(ours["calls"].as_u64() > Some(10_000) && ours["timed_calls"] == ours["calls"], "{ours}");
    assert_eq!(ours["budget_ns"], 5_000, "{ours}");
    // News of symbols without a price are parked, news in the second after a position are tried again.
    assert!(ours["failed"].as_u64() > Some(0), "{ours}");
    let retries = &report["retries"];
    assert!(retries["parked_by"]["failed"].as_u64() > Some(0), "{retries}");
    assert_eq!(retries["parked"], report["events"]["dead_lettered"], "{retries}");

    // Each text that it took was scored by a worker, and every request came to its end.
    let (requests, scorer) = (&report["requests"], &report["requests"]["workers"]["kinds"][0]);
    assert_eq!((&scorer["name"], &scorer["job"]), (&"news_scorer".into(), &16.into()), "{scorer}");
    let scored = scorer["done"].as_u64().expect("a count");
    assert!(scored > 20, "{scorer}");
    assert_eq!(scorer["events"], scored, "a score a text");
    for count in ["failed", "panicked", "overran", "unserved", "replaced"] {
        assert_eq!(scorer[count], 0, "{scorer}");
    }
    assert_eq!(requests["jobs"]["replies_lost"], 0, "{requests}");
    let findings = report["health"]["findings"].as_array().expect("findings");
    assert!(findings.iter().all(|finding| finding["component"] != "job"), "{findings:?}");

    // As many signals come of it with two shards and another number of workers, and the same ones.
    std::fs::write(folder.path().join("workers.toml"), "[requests]\nworkers = 5\n").expect("a file");
    let sharded = json(&run(folder.path(), &format!("{replay} --shards 2 --config workers.toml")));
    assert_eq!(sharded["digest"], report["digest"]);
    assert_eq!(sharded["outputs"], report["outputs"]);
}

#[test]
fn req_3385_a_strategy_goes_on_without_its_model_and_health_says_so() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    std::fs::write(folder.path().join("hasty.toml"), "[requests]\njob_deadline = \"1ns\"\n").expect("a file");
    let replay = "replay --speed max --format json --driver threads --config hasty.toml";
    let report = json(&run(folder.path(), replay));
    let scorer = &report["requests"]["workers"]["kinds"][0];
    assert!(scorer["overran"].as_u64() > Some(0), "{scorer}");
    assert_eq!(report["ledger_balanced"], true);
    assert_eq!(report["digest_scope"], "this_run");
    // The texts' own sentiment counts then.
    assert!(report["outputs"]["signal"].as_u64() > Some(20), "{}", report["outputs"]);
    let findings = report["health"]["findings"].as_array().expect("findings");
    let of_job = findings.iter().find(|finding| finding["component"] == "job").expect("it is told");
    assert_eq!((&of_job["name"], &of_job["state"]), (&"news_scorer".into(), &"degraded".into()), "{of_job}");
    assert_eq!((&of_job["reason"], &of_job["number"]), (&"overrun".into(), &16.into()), "{of_job}");
}

#[test]
fn every_verb_is_there() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    run(folder.path(), "gen -o day.tape --events 10000 --symbols 5 --duration 5s");
    assert!(run(folder.path(), "info day.tape").contains("10,000"));
    let table = run(folder.path(), "replay day.tape --speed max");
    assert!(table.contains("news_momentum"), "{table}");
}

/// Letters that `dlq list` gives for these arguments, over all pages.
fn list(folder: &Path, rest: &str) -> Vec<Value> {
    let (mut letters, mut after) = (Vec::new(), 0);
    loop {
        let page = json(&run(folder, &format!("dlq list {rest} --format json --limit 7 --after {after}")));
        let of_page = page["letters"].as_array().expect("letters").clone();
        assert!(of_page.len() <= 7, "{page}");
        letters.extend(of_page);
        match page["next"].as_u64() {
            Some(next) => after = next,
            None => {
                assert_eq!(page["matching"], letters.len(), "every letter is on one page");
                return letters;
            }
        }
    }
}

#[test]
fn req_redrive_dead_letters_are_listed_shown_redriven_and_purged() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let folder = folder.path();
    run(folder, "gen -o day.tape --events 600000 --symbols 200 --duration 60s --seed 1");
    let replay = "replay day.tape --speed max --format json --driver threads";
    let report = json(&run(folder, &format!("{replay} --dead-letters a.tape")));
    let parked = report["retries"]["parked"].as_u64().expect("a count");
    assert!(parked > 10, "{}", report["retries"]);
    // The same file from two shards, to the byte.
    run(folder, &format!("{replay} --dead-letters b.tape --shards 2"));
    let bytes = |name: &str| std::fs::read(folder.join(name)).expect("a file");
    assert!(bytes("a.tape") == bytes("b.tape"), "the file does not depend on the number of shards");

    // Listed in the order of last failures, numbered, each once over all pages.
    let all = list(folder, "a.tape");
    assert_eq!(all.len() as u64, parked);
    assert!(all.iter().enumerate().all(|(index, letter)| letter["id"] == index + 1), "{all:?}");
    assert!(all.is_sorted_by_key(|letter| letter["last_failure_ns"].as_u64()), "{all:?}");
    for letter in &all {
        assert_eq!((&letter["handler"], &letter["kind"]), (&"news_momentum".into(), &"news".into()), "{letter}");
        let is_last_attempt = letter["cause"] == "attempts";
        assert!(is_last_attempt || letter["cause"] == "failed", "{letter}");
        assert_eq!(
            (&letter["error"], &letter["attempts"]),
            (&(if is_last_attempt { 2 } else { 1 }).into(), &(if is_last_attempt { 5 } else { 1 }).into()),
            "{letter}"
        );
    }

    // Filters choose what they say, and together cover all.
    let no_price = list(folder, "a.tape --error 1");
    let resting = list(folder, "a.tape --error 2");
    assert_eq!(no_price.len() + resting.len(), all.len());
    assert!(!no_price.is_empty() && no_price.iter().all(|letter| letter["error"] == 1));
    let middle = all[all.len() / 2]["last_failure_ns"].as_u64().expect("a time");
    let (before, after) =
        (list(folder, &format!("a.tape --until {middle}")), list(folder, &format!("a.tape --since {middle}")));
    assert!(!before.is_empty() && before.len() + after.len() == all.len());
    let symbol = all[0]["symbol"].as_str().expect("a symbol");
    assert!(list(folder, &format!("a.tape --symbol {symbol}")).iter().all(|letter| letter["symbol"] == symbol));
    assert!(list(folder, "a.tape --kind trade").is_empty() && list(folder, "a.tape --handler nobody").is_empty());

    // Shown with its event, which is the one of the capture.
    let shown = json(&run(folder, "dlq show a.tape 1 --format json"));
    assert_eq!((&shown["event"]["symbol"], &shown["event"]["kind"]), (&all[0]["symbol"], &"news".into()));
    let event = shown["event"].to_string();
    let event: Value = serde_json::from_str(&event).unwrap();
    let is_it = |line: &str| serde_json::from_str::<Value>(line).is_ok_and(|line| line == event);
    assert!(run(folder, "dump day.tape").lines().any(is_it), "{event}");
    assert!(run(folder, "dlq show a.tape 1").contains("parked: "));
    assert_eq!(start(folder, "dlq show a.tape 99999").0, Some(2));

    // Redriven: a dry run writes nothing, a real one gives a tape that replay takes, with the events as they were.
    let (code, _, told) = start(folder, "dlq redrive a.tape --error 1 --dry-run -o r.tape");
    assert!(code == Some(0) && told.contains(&format!("{} events", no_price.len())), "{told}");
    assert!(!folder.join("r.tape").exists());
    run(folder, "dlq redrive a.tape --error 1 -o r.tape");
    assert_eq!(start(folder, "dlq redrive a.tape --error 1 -o r.tape").0, Some(2), "it does not overwrite");
    let redriven = run(folder, "dump r.tape");
    assert_eq!(redriven.lines().count(), no_price.len());
    let day = run(folder, "dump day.tape");
    let day: std::collections::HashSet<&str> = day.lines().collect();
    assert!(redriven.lines().all(|line| day.contains(line)), "an event is not as it was");
    let again = json(&run(folder, "replay r.tape --speed max --format json"));
    assert_eq!(again["events"]["offered"], no_price.len());
    run(folder, "dlq redrive a.tape --rate 10 -o spaced.tape");
    let spaced = run(folder, "dump spaced.tape");
    let times: Vec<u64> = spaced
        .lines()
        .map(|line| {
            serde_json::from_str::<Value>(line).expect("a line is an object")["ts_recv"].as_u64().expect("a time")
        })
        .collect();
    assert!(times.len() == all.len() && times.windows(2).all(|pair| pair[1] - pair[0] == 100_000_000), "{times:?}");

    // Replayed with their letters, those that fail again keep their history; without, they begin anew.
    run(folder, "replay r.tape --speed max --dead-letters afresh.tape");
    assert!(list(folder, "afresh.tape").iter().all(|letter| letter["redrives"] == 0 && letter["failures"] == 1));
    run(folder, "replay r.tape --speed max --dead-letters again.tape --redriven a.tape");
    let again = list(folder, "again.tape");
    assert_eq!(again.len(), no_price.len(), "no price is known in a tape of news");
    for letter in &again {
        assert_eq!((&letter["redrives"], &letter["failures"], &letter["attempts"]), (&1.into(), &2.into(), &1.into()));
        let is_it = |old: &&Value| ["symbol", "seq", "part"].iter().all(|key| old[key] == letter[key]);
        let old = no_price.iter().find(is_it).expect("it failed before");
        assert_eq!(letter["first_failure_ns"], old["first_failure_ns"]);
    }
    for (line, why) in [
        ("dlq redrive a.tape --rate 1e-300 -o no.tape", "in the year 2554"),
        ("replay r.tape --dead-letters no.tape --redriven day.tape", "--dead-letters"),
        ("replay r.tape --dead-letters no.tape --redriven -", "name a file"),
        ("replay r.tape --dead-letters a.tape --redriven a.tape --force", "itself"),
        ("replay r.tape --redriven a.tape", "--dead-letters"),
    ] {
        let (code, _, told) = start(folder, line);
        assert!(code == Some(2) && told.contains(why) && !folder.join("no.tape").exists(), "{line}: {told}");
    }

    purge_changes_the_letters_only(folder);

    // Purged: a dry run moves nothing, none at all is chosen by mistake, numbers stay.
    assert_eq!(start(folder, "dlq purge a.tape").0, Some(2), "nothing was named");
    run(folder, "dlq purge a.tape --error 1 --dry-run");
    assert!(bytes("a.tape") == bytes("b.tape"));
    run(folder, "dlq purge a.tape --error 1");
    assert_eq!(list(folder, "a.tape"), resting);
    run(folder, "dlq purge a.tape --all");
    assert!(list(folder, "a.tape").is_empty());
    assert!(run(folder, "verify a.tape").contains("a.tape"));

    // What is no such file is told as such.
    let (code, _, told) = start(folder, "dlq list day.tape");
    assert!(code == Some(2) && told.contains("--dead-letters"), "{told}");
}

/// What else a file is, a purge leaves as it was, or is refused. `b.tape` of the folder is a copy of `a.tape`.
fn purge_changes_the_letters_only(folder: &Path) {
    let path = |name: &str| folder.join(name);
    let bytes = |name: &str| std::fs::read(path(name)).expect("a file");
    let before = bytes("b.tape");
    let refused = |line: &str, why: &str| {
        let (code, _, told) = start(folder, line);
        assert!(code == Some(2) && told.contains(why), "{line}: {told}");
        assert!(bytes("b.tape") == before, "{line}");
    };
    refused("dlq purge - --all", "standard input");
    assert!(!path("-").exists());

    // A compressed file would not be one any more, nor would a second name name the same letters.
    let zipped = Command::new("gzip").args(["-k", "b.tape"]).current_dir(folder).status().expect("gzip");
    assert!(zipped.success() && !list(folder, "b.tape.gz").is_empty());
    let gz = bytes("b.tape.gz");
    refused("dlq purge b.tape.gz --all", "unpack it first");
    assert!(bytes("b.tape.gz") == gz);
    std::fs::hard_link(path("b.tape"), path("second.tape")).expect("a link");
    refused("dlq purge b.tape --all", "hard links");
    std::fs::remove_file(path("second.tape")).expect("a link");

    // Another one is at work, or something else has the name; what a purge that was cut short left is no hindrance.
    let busy = std::fs::File::create(path(".b.tape.purge")).expect("a file");
    busy.lock().expect("a lock");
    refused("dlq purge b.tape --error 1", "another process");
    drop(busy);
    std::fs::write(path(".b.tape.purge"), "mine").expect("a file");
    refused("dlq purge b.tape --error 1", "in the way");
    assert_eq!(bytes(".b.tape.purge"), b"mine");
    std::fs::write(path(".b.tape.purge"), &before[..5_000]).expect("a file");

    // Through a link, with the permissions that it had.
    std::fs::set_permissions(path("b.tape"), Permissions::from_mode(0o640)).expect("a mode");
    symlink("b.tape", path("link.tape")).expect("a link");
    let (all, gone) = (list(folder, "b.tape").len(), list(folder, "b.tape --error 1").len());
    run(folder, "dlq purge link.tape --error 1");
    assert_eq!(list(folder, "b.tape").len(), all - gone);
    assert!(std::fs::symlink_metadata(path("link.tape")).expect("a link").is_symlink());
    assert_eq!(std::fs::metadata(path("b.tape")).expect("a file").permissions().mode() & 0o7777, 0o640);
    assert!(!path(".b.tape.purge").exists());
    std::fs::write(path("b.tape"), before).expect("a file");
}
