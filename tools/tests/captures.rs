//! Real captures, counted against numbers that other programs found.

mod common;

use common::{Place, captures};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// Name, then messages: bookTicker, depth, trade. From the README of the data folder; each file holds one depth snapshot.
const BINANCE: [(&str, u64, u64, u64); 4] = [
    ("spot_ethusdt_20240808.gz", 24_077, 3_434, 6_106),
    ("spot_btcusdt_20240808.gz", 28_040, 3_451, 9_757),
    ("usdm_ethusdt_20240808.gz", 53_992, 6_586, 14_076),
    ("cm_btcusd_perp_20240808.gz", 19_136, 26_847, 2_286),
];

#[test]
fn binance_captures_hold_what_others_counted() {
    let Some(folder) = captures("binance") else { return };
    let place = Place::new();
    for (name, quotes, depths, trades) in BINANCE {
        let path = folder.join(name);
        let info = place.run(&format!("info {} --format json", path.display())).exits(0).json();
        let expected = serde_json::json!({
            "bookTicker": quotes, "depth": depths, "trade": trades, "depthSnapshot": 1,
        });
        assert_eq!(info["messages"], expected, "{name}");
        assert_eq!((&info["kinds"]["quote"], &info["kinds"]["trade"]), (&quotes.into(), &trades.into()), "{name}");
        assert_eq!((&info["skipped"], &info["bad_lines"]), (&serde_json::json!({}), &0.into()), "{name}");
        assert_eq!((&info["format"], &info["symbols"]), (&"binance".into(), &1.into()), "{name}");
        let sum: u64 = info["kinds"].as_object().unwrap().values().filter_map(Value::as_u64).sum();
        assert_eq!(info["events"], sum, "{name}");
        let text = place.run(&format!("info {}", path.display())).exits(0).stdout;
        assert!(text.contains("bookTicker") && text.contains("depthSnapshot"), "{text}");
    }
}

fn dbn_files(folder: &Path) -> Vec<PathBuf> {
    let (mut files, mut folders) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder of samples") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.to_str().is_some_and(|path| path.contains(".dbn") || path.ends_with(".dbz")) {
                files.push(path);
            }
        }
    }
    files.sort();
    files
}

/// Whether anything follows the header, by the length that the header gives: some samples of daily bars are empty.
fn has_records(path: &Path) -> bool {
    let bytes = std::fs::read(path).expect("a sample");
    if path.extension().is_some_and(|extension| extension == "dbz") {
        // Its header is a skippable frame.
        return !zstd::decode_all(&bytes[..]).expect("zstd").is_empty();
    }
    let plain = if bytes.starts_with(b"DBN") { bytes } else { zstd::decode_all(&bytes[..]).expect("zstd") };
    let header = u32::from_le_bytes(plain[4..8].try_into().expect("four bytes"));
    plain.len() > 8 + header as usize
}

/// Every sample of DBN and DBZ opens, holds records, and a tape of it dumps as it does itself. Fragments have no header by
/// which their format could be told: they are refused as unknown.
#[test]
fn dbn_samples_are_read_and_dump_the_same_as_their_tapes() {
    let Some(folder) = captures("databento") else { return };
    let (place, mut read) = (Place::new(), 0);
    for path in dbn_files(&folder) {
        let name = path.display();
        if name.to_string().contains(".frag") {
            place.run(&format!("info {name}")).exits(2).says_once(&["format not recognised"]);
            continue;
        }
        let info = place.run(&format!("info {name} --format json")).exits(0).json();
        let number = |value: &Value| value.as_object().unwrap().values().filter_map(Value::as_u64).sum::<u64>();
        let records = number(&info["messages"]) + number(&info["skipped"]);
        let has_records = has_records(&path);
        assert_eq!(records > 0, has_records, "{name}: {info}");
        let is_data =
            ["mbo", "mbp", "trades", "tbbo", "bbo", "ohlcv"].iter().any(|schema| name.to_string().contains(schema));
        assert!(!is_data || !has_records || info["events"].as_u64() > Some(0), "{name}: {info}");
        place.run(&format!("import {name} -o s.tape --force")).exits(0);
        place.run("verify s.tape").exits(0);
        let (of_dbn, of_tape) = (place.run(&format!("dump {name}")).exits(0), place.run("dump s.tape").exits(0));
        assert_eq!(of_dbn.stdout, of_tape.stdout, "{name}");
        assert_eq!(of_dbn.stdout.lines().count() as u64, info["events"].as_u64().unwrap(), "{name}");
        for line in of_dbn.stdout.lines() {
            serde_json::from_str::<Value>(line).unwrap_or_else(|error| panic!("{name}: {error}: {line}"));
        }
        read += 1;
    }
    assert!(read >= 100, "only {read} samples: the folder is not what its README says");
}
