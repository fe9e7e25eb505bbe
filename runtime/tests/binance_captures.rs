//! The real captures: counts against the data folder's oracle, and every event against the naive twin.

#[allow(dead_code)]
mod binance_twin;

use binance_twin::{Decoded, captures, decode, drain, expect, first_lines};
use std::collections::{BTreeMap, BTreeSet};
use tapeline_core::catalog::Catalog;
use tapeline_runtime::input::bytes::RawSha256;
use tapeline_runtime::input::detect::{OpenOptions, open};
use tapeline_runtime::input::{MESSAGE_SLOTS_MAX, SlotBuf, Status};

/// Name, symbol, quotes, depth messages, trades, levels of the depth messages. All but the last from the data folder's
/// README; the levels by a count of the JSON arrays in another language. Each file holds one snapshot of 2 x 1000 levels.
const CAPTURES: [(&str, &str, u64, u64, u64, usize); 4] = [
    ("spot_ethusdt_20240808.gz", "BINANCE_SPOT:ETHUSDT", 24_077, 3_434, 6_106, 106_814),
    ("spot_btcusdt_20240808.gz", "BINANCE_SPOT:BTCUSDT", 28_040, 3_451, 9_757, 124_090),
    ("usdm_ethusdt_20240808.gz", "BINANCE_USDM:ETHUSDT", 53_992, 6_586, 14_076, 428_662),
    ("cm_btcusd_perp_20240808.gz", "BINANCE_COINM:BTCUSD_PERP", 19_136, 26_847, 2_286, 296_013),
];

fn open_and_drain(path: &std::path::Path) -> Decoded {
    let mut input = open(path.to_str().unwrap(), &OpenOptions::default()).unwrap();
    assert_eq!(input.format(), "binance");
    drain(&mut *input, MESSAGE_SLOTS_MAX)
}

#[test]
fn every_message_of_the_real_captures_is_counted() {
    let Some(folder) = captures() else { return };
    for (name, symbol, quotes, depth, trades, levels) in CAPTURES {
        let Decoded { events, tally, error } = open_and_drain(&folder.join(name));
        assert!(error.is_none(), "{name}: {error:?}");
        assert_eq!((tally.bad_lines, tally.skipped.len()), (0, 0), "{name}");
        let messages = [("bookTicker", quotes), ("trade", trades), ("depth", depth), ("depthSnapshot", 1)];
        let messages: BTreeMap<String, u64> = messages.map(|(name, count)| (name.to_owned(), count)).into();
        assert_eq!(tally.messages, messages, "{name}");
        let count = |kind: &str| events.iter().filter(|event| event.kind == kind).count();
        assert_eq!(count("quote") as u64, quotes, "{name}");
        assert_eq!(count("trade") as u64, trades, "{name}");
        assert_eq!(count("gap"), 0, "{name}");
        assert_eq!(count("book_level"), levels + 1 + 2_000, "{name}");
        let symbols: BTreeSet<&str> = events.iter().map(|event| &event.symbol[..]).collect();
        assert_eq!(symbols, BTreeSet::from([symbol]), "{name}");
        let sources: BTreeSet<&str> = events.iter().map(|event| &event.source[..]).collect();
        assert_eq!(sources.len(), 4, "{name}: {sources:?}");
        let snapshot = events.iter().filter(|event| event.flags.contains(&"snapshot")).count();
        assert_eq!(snapshot, 2_001, "{name}");
    }
}

#[test]
fn every_field_of_the_first_lines_is_the_twins() {
    let Some(folder) = captures() else { return };
    for (name, ..) in CAPTURES {
        let text = first_lines(&folder.join(name), 10_000);
        let expected = expect(&text);
        let decoded = decode(&text);
        assert!(expected.bad_lines.is_empty() && expected.unknown.is_empty(), "{name}");
        assert!(expected.messages.len() == 4, "{name} shows every type of message in its first lines");
        assert_eq!(decoded.tally.messages, expected.messages, "{name}");
        assert_eq!(decoded.events.len(), expected.events.len(), "{name}");
        for (index, (ours, twins)) in decoded.events.iter().zip(&expected.events).enumerate() {
            assert_eq!(ours, twins, "{name}, event {index}");
        }
    }
}

#[test]
fn the_buffers_size_changes_no_event() {
    let Some(folder) = captures() else { return };
    for (name, ..) in CAPTURES {
        let text = first_lines(&folder.join(name), 500);
        let whole = decode(&text).events;
        for slots in [2_001, 2_500, 4_000] {
            assert_eq!(binance_twin::decode_in(&text, slots).events, whole, "{name} in buffers of {slots}");
        }
        // Too small for the snapshot: that line is bad, and nothing else is lost.
        let small = binance_twin::decode_in(&text, 2_000);
        assert_eq!(small.tally.bad_lines, 1, "{name}");
        let without_snapshot: Vec<_> = whole.into_iter().filter(|event| !event.flags.contains(&"snapshot")).collect();
        assert_eq!(small.events, without_snapshot, "{name}");
    }
}

#[test]
fn the_hash_is_that_of_the_file_as_it_is_stored() {
    let Some(folder) = captures() else { return };
    let path = folder.join(CAPTURES[0].0);
    let sha256 = RawSha256::default();
    let options = OpenOptions { sha256: Some(sha256.clone()), ..OpenOptions::default() };
    let mut input = open(path.to_str().unwrap(), &options).unwrap();
    assert_eq!(sha256.get(), None, "the file is not read yet");
    drain(&mut *input, MESSAGE_SLOTS_MAX);
    use sha2::Digest;
    assert_eq!(sha256.get(), Some(sha2::Sha256::digest(std::fs::read(path).unwrap()).into()));
}

/// Prints lines a second; a number for the eye, in no report.
#[test]
#[ignore = "soak: cargo test --release -p tapeline-runtime --test binance_captures -- --ignored --nocapture"]
fn lines_a_second() {
    let Some(folder) = captures() else { return };
    for (name, _, quotes, depth, trades, _) in CAPTURES {
        let (mut catalog, mut out) = (Catalog::new(1 << 10), SlotBuf::with_capacity(2 * MESSAGE_SLOTS_MAX));
        let path = folder.join(name);
        let start = std::time::Instant::now();
        let mut input = open(path.to_str().unwrap(), &OpenOptions::default()).unwrap();
        let mut slots = 0;
        while input.read(&mut catalog, &mut out).unwrap() == Status::More {
            slots += out.slots().len();
            out.clear();
        }
        slots += out.slots().len();
        let seconds = start.elapsed().as_secs_f64();
        let lines = (quotes + depth + trades + 1) as f64;
        println!("{name}: {:.0} lines/s, {:.0} slots/s", lines / seconds, slots as f64 / seconds);
    }
}
