//! Dead letters of events that break their schema, through the binary: kept, listed, shown, redriven, purged.

mod common;

use common::{AUGUST, Place};
use serde_json::Value;
use std::fs::File;
use tapeline_core::catalog::{Catalog, SeqRule};
use tapeline_core::event::payload::Trade;
use tapeline_core::event::{EventBuf, Flags, Kind, KindVersion};
use tapeline_core::units::UnixNanos;
use tapeline_runtime::tape::{TapeOptions, TapeWriter};

const TRADES: u64 = 300;
/// Every tenth trade has a scale that nothing has, every 25th (but not the 50th) a version that nobody knows.
const WILD: u64 = TRADES / 10;
const STRANGE: u64 = TRADES / 50;

/// A tape of trades of three symbols, some of which break their schema.
fn tape(place: &Place) {
    let mut catalog = Catalog::new(8);
    let source = catalog.source(b"feed", SeqRule::Increasing).unwrap();
    let file = File::create(place.path("day.tape")).unwrap();
    let mut tape = TapeWriter::new(file, TapeOptions::default()).unwrap();
    for seq in 1..=TRADES {
        let mut event = EventBuf::new(&Trade { price: 1_000 + seq as i64, size: 1, ..Trade::default() });
        event.flag(Flags::LAST);
        let head = event.head_mut();
        let at = UnixNanos(AUGUST + seq * 1_000_000);
        (head.ts_recv, head.ts_event, head.seq, head.source) = (at, at, seq, source);
        head.symbol = catalog.symbol(["D:ONE", "D:TWO", "D:THREE"][seq as usize % 3].as_bytes()).unwrap();
        if seq.is_multiple_of(10) {
            head.scale = 200;
        } else if seq.is_multiple_of(25) {
            head.kind = KindVersion::new(Kind::TRADE, 9);
        }
        tape.write(&catalog, event.slots()).unwrap();
    }
    tape.finish().unwrap();
}

fn letters(listing: &Value) -> Vec<(u64, String, u64)> {
    let all = listing["letters"].as_array().expect("letters").iter();
    all.map(|letter| {
        let name = letter["error_name"].as_str().expect("a name").to_owned();
        (letter["seq"].as_u64().expect("a number"), name, letter["redrives"].as_u64().expect("a number"))
    })
    .collect()
}

#[test]
fn schema_faults_are_kept_listed_shown_redriven_and_purged() {
    let place = Place::new();
    tape(&place);
    let replay = "day.tape --driver threads";
    // Unless the topic says so, they are refused, each with its reason.
    let refused = place.replay(&format!("{replay} --dead-letters none.tape"));
    assert_eq!(refused["events"]["refused_by"]["out_of_range"], WILD);
    assert_eq!(refused["events"]["refused_by"]["unknown_version"], STRANGE);
    assert_eq!(place.run("dlq list none.tape").exits(0).stdout, "0 dead letters\n");

    place.write("keep.toml", "[topics.trades]\non_invalid = \"dead_letter\"\n");
    let kept = place.replay(&format!("{replay} --config keep.toml --dead-letters a.tape"));
    assert_eq!((&kept["events"]["refused"], &kept["events"]["dead_lettered"]), (&0.into(), &(WILD + STRANGE).into()));
    assert_eq!(kept["digest"], refused["digest"], "no handler has seen them, either way");
    place.replay(&format!("{replay} --config keep.toml --dead-letters b.tape --shards 2"));
    assert!(place.read("a.tape") == place.read("b.tape"), "whatever the number of shards");

    // Listed in order, with their names; by name and by number.
    let all = letters(&place.run("dlq list a.tape --limit 1000 --format json").exits(0).json());
    let expected = (1..=TRADES).filter_map(|seq| match seq {
        seq if seq.is_multiple_of(10) => Some((seq, "out_of_range".to_owned(), 0)),
        seq if seq.is_multiple_of(25) => Some((seq, "unknown_version".to_owned(), 0)),
        _ => None,
    });
    assert_eq!(all, expected.collect::<Vec<_>>());
    let list = |rest: &str| place.run(&format!("dlq list a.tape --format json {rest}")).exits(0).json();
    assert_eq!(list("--error unknown_version")["matching"], STRANGE);
    let code = list("--error out_of_range --limit 1")["letters"][0]["error"].as_u64().expect("a code");
    assert_eq!(list(&format!("--error {code}"))["matching"], WILD);
    assert_eq!(list("--handler schema")["matching"], WILD + STRANGE);
    assert_eq!(list("--handler features")["matching"], 0);
    place.run("dlq list a.tape --error out_of_rage").exits(2);
    // Columns stand under their headings, however long a name is.
    let table = place.run("dlq list a.tape --limit 5").exits(0).stdout;
    let cause = table.lines().next().and_then(|heading| heading.find("cause")).expect("a heading");
    for row in table.lines().skip(1).take(5) {
        assert_eq!(row.get(cause..cause + 6), Some("failed"), "{table}");
    }

    // Shown, with the event as it came: what this build cannot read, as bytes.
    let wild = place.run("dlq show a.tape 1 --format json").exits(0).json();
    assert_eq!((&wild["error_name"], &wild["event"]["price"]), (&"out_of_range".into(), &"0.00000101".into()));
    let strange = list("--error unknown_version --limit 1")["letters"][0]["id"].as_u64().expect("an id");
    let strange = place.run(&format!("dlq show a.tape {strange} --format json")).exits(0).json();
    assert_eq!((&strange["event"]["version"], &strange["event"]["number"]), (&9.into(), &8.into()));
    assert!(strange["event"]["payload"].is_string(), "{strange}");
    assert!(place.run("dlq show a.tape 1").exits(0).stdout.contains("error     out_of_range"));

    // Redriven to the same build they break the same schema: that is said beforehand, and they keep their history.
    let told = place.run("dlq redrive a.tape --dry-run -o r.tape").exits(0).stderr;
    assert!(told.contains("36 of the letters break their schema"), "{told}");
    assert!(!place.path("r.tape").exists());
    place.run("dlq redrive a.tape --error out_of_range -o r.tape").exits(0);
    let again = place.replay("r.tape --driver threads");
    assert_eq!(again["events"]["refused_by"]["out_of_range"], WILD);
    let again = place.replay("r.tape --driver threads --config keep.toml --dead-letters again.tape --redriven a.tape");
    assert_eq!(again["events"]["dead_lettered"], WILD);
    let again = letters(&place.run("dlq list again.tape --limit 1000 --format json").exits(0).json());
    assert_eq!(again.len() as u64, WILD);
    assert!(again.iter().all(|(_, name, redrives)| name == "out_of_range" && *redrives == 1), "{again:?}");

    // Purged by name, then all; what stays is a whole file.
    place.run("dlq purge a.tape --error out_of_range --dry-run").exits(0);
    assert!(place.read("a.tape") == place.read("b.tape"));
    place.run("dlq purge a.tape --error out_of_range").exits(0);
    assert_eq!(list("")["total"], STRANGE);
    place.run("dlq purge a.tape --handler schema").exits(0);
    assert_eq!(place.run("dlq list a.tape").exits(0).stdout, "0 dead letters\n");
    place.run("verify a.tape").exits(0);
}
