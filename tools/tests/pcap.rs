//! Captures of packets through the binary: counts, digests, cuts, bad packets, what a full table says.

mod common;
#[path = "../../runtime/tests/pcap_twin/mod.rs"]
mod pcap_twin;

use common::{Place, captures};
use pcap_twin::{DEEP, Order, SESSION, START, Wrap, classic, deep_segments, level, ng, packets, segment, trade};
use serde_json::Value;
use std::io::Write;

const SEGMENTS: u64 = 60;

/// The same packets in a file of each format.
fn write_all(place: &Place) -> [&'static str; 4] {
    let datagrams = deep_segments(SEGMENTS);
    let plain = classic(Order::Little, 1, 1, &packets(Wrap::Vlan, false, &datagrams));
    place.write("deep.pcap", &plain);
    place.write("deep.pcapng", ng(Order::Big, 276, &packets(Wrap::Cooked2, true, &datagrams)));
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gz.write_all(&plain).unwrap();
    place.write("deep.gz", gz.finish().unwrap());
    place.write("deep.zst", zstd::encode_all(&plain[..], 1).unwrap());
    ["deep.pcap", "deep.pcapng", "deep.gz", "deep.zst"]
}

fn digest(place: &Place, file: &str) -> (Value, Value) {
    let report = place.replay(&format!("{file} --driver threads --shards 2"));
    (report["digest"].clone(), report["events"]["offered"].clone())
}

#[test]
fn every_form_of_a_capture_and_its_tape_are_one() {
    let place = Place::new();
    let mut all = Vec::new();
    for file in write_all(&place) {
        let info = place.run(&format!("info {file} --format json")).exits(0).json();
        let format = if file.ends_with("ng") { "pcapng" } else { "pcap" };
        assert_eq!((&info["format"], &info["symbols"]), (&format.into(), &4.into()), "{info}");
        assert_eq!(info["packets"], serde_json::json!({ "iex-tp": SEGMENTS }));
        assert_eq!(info["messages"]["deep T trade_report"], info["kinds"]["trade"]);
        assert_eq!(info["skipped"]["deep heartbeat"], SEGMENTS / 5);
        assert_eq!((&info["bad_packets"], &info["first_ts"]), (&0.into(), &START.into()));
        let text = place.run(&format!("info {file}")).exits(0).stdout;
        assert!(text.contains("packets") && text.contains("deep 8 price_level_update_buy"), "{text}");
        let imported = place.run(&format!("import {file} -o {file}.tape")).exits(0);
        assert!(imported.stderr.contains(&format!("{file}: packets: iex-tp {SEGMENTS}")), "{}", imported.stderr);
        place.run(&format!("verify {file}.tape")).exits(0);
        let dumped = place.run(&format!("dump {file}")).exits(0).stdout;
        assert_eq!(dumped, place.run(&format!("dump {file}.tape")).exits(0).stdout);
        let of_capture = digest(&place, file);
        assert_eq!(of_capture, digest(&place, &format!("{file}.tape")));
        all.push((dumped, of_capture));
    }
    assert!(all.iter().all(|one| *one == all[0]));
}

/// Numbers that are missing, that come twice, that begin anew within a session, and another session: the tape tells the same.
#[test]
fn gaps_and_epochs_are_on_the_tape() {
    let place = Place::new();
    let (mut datagrams, mut next) = (Vec::new(), 1);
    for index in 0..400u64 {
        match index {
            50 | 130 | 260 => next += 5,
            200 | 300 => next = 1,
            _ => {}
        }
        let (ns, session) = (START + index * 1_000_000, if index < 300 { SESSION } else { SESSION + 1 });
        let symbol = format!("S{}", index % 50);
        let messages = [
            level(b'8', 0, ns - 5, &symbol, 100, 500_000 - index as i64 % 7 * 100),
            level(b'5', 1, ns - 4, &symbol, 100, 500_100),
            trade(b'T', ns - 3, &symbol, 5, 500_050, index as i64),
        ];
        let bytes = segment(DEEP, session, next, ns, &messages);
        next += 3;
        datagrams.extend([(ns, bytes.clone())]);
        if index % 9 == 0 {
            datagrams.push((ns + 100, bytes));
        }
    }
    place.write("e.pcap", classic(Order::Big, 1, 1, &packets(Wrap::Ethernet, false, &datagrams)));
    let info = place.run("info e.pcap --format json").exits(0).json();
    // Three gaps, each told to all 50 symbols of its epoch.
    assert_eq!((&info["kinds"]["trade"], &info["kinds"]["gap"]), (&400.into(), &150.into()), "{info}");
    assert_eq!((&info["messages"]["deep epoch"], &info["skipped"]["deep missing"]), (&2.into(), &15.into()));
    assert_eq!(info["skipped"]["deep duplicate"], 45 * 3);
    place.run("import e.pcap -o e.tape").exits(0);
    let replay = |run: &str| place.replay(&format!("{run} --driver threads --set books.pages=4096"));
    let expected = replay("e.pcap --shards 2")["digest"].clone();
    for run in ["e.pcap --shards 1", "e.tape --shards 1", "e.tape --shards 2"] {
        let report = replay(run);
        assert_eq!((&report["digest"], &report["events"]["offered"]), (&expected, &1_500.into()), "{run}");
        assert_eq!(report["events"]["refused"], 0, "{run}: what has the same number in two epochs is no duplicate");
    }
}

#[test]
fn a_capture_cut_short_delivers_what_was_there_and_exits_3_with_the_offset() {
    let place = Place::new();
    for file in ["deep.pcap", "deep.pcapng"] {
        write_all(&place);
        let whole = place.read(file);
        let lines = place.run(&format!("dump {file}")).exits(0).stdout;
        place.write("cut", &whole[..whole.len() - 5]);
        for verb in ["info", "dump", "import -o cut.tape --force", "replay --speed max --driver threads"] {
            let ran = place.run(&format!("{verb} cut")).exits(3).says_once(&["cut: offset ", "cut short"]);
            if verb == "dump" {
                assert!(lines.starts_with(&ran.stdout) && ran.stdout.len() > lines.len() / 2);
            }
        }
        let of_tape = place.run("dump cut.tape").exits(0).stdout;
        assert_eq!(of_tape, place.run("dump cut").exits(3).stdout);
    }
}

#[test]
fn bad_packets_are_named_and_the_others_replayed() {
    let place = Place::new();
    let datagrams = [
        (START, segment(DEEP, SESSION, 1, START, &[level(b'8', 1, START, "AAPL", 5, 100)])),
        (START + 9, segment(DEEP, SESSION, 2, START + 9, &[level(b'8', 1, START, "AA PL", 5, 100)])),
        (START + 20, segment(DEEP, SESSION, 3, START + 20, &[level(b'8', 1, START, "AAPL", 6, 100)])),
    ];
    place.write("bad.pcap", classic(Order::Little, 1, 1, &packets(Wrap::Ethernet, false, &datagrams)));
    for verb in ["info", "dump", "import -o bad.tape --force"] {
        let ran = place.run(&format!("{verb} bad.pcap")).exits(3);
        assert!(ran.stderr.contains("bad.pcap: packet 2 at offset "), "{}", ran.stderr);
        assert!(ran.stderr.contains("message 2: a symbol that is empty or not printable"), "{}", ran.stderr);
    }
    assert_eq!(place.run("dump bad.tape").exits(0).stdout.lines().count(), 3, "a clear and two levels");
    let report = place.run("replay bad.pcap --speed max --driver threads --format json").exits(3).json();
    assert_eq!((&report["tally"][0]["bad_packets"], &report["events"]["offered"]), (&1.into(), &3.into()));
    assert_eq!(report["tally"][0]["first_bad_packets"][0]["packet"], 2);
    assert!(place.run("replay bad.pcap --speed max --driver threads").exits(3).stdout.contains("bad packet"));
}

#[test]
fn a_full_table_of_symbols_says_which_limit_to_raise() {
    let place = Place::new();
    write_all(&place);
    for verb in ["info", "dump", "import -o full.tape --force", "replay --speed max --driver threads"] {
        let ran = place.run(&format!("{verb} deep.pcap --symbols-max 3")).exits(2);
        ran.says_once(&["deep.pcap: offset ", "the symbol table is full (3 symbols)", "--symbols-max"]);
    }
    place.run("info deep.pcap --symbols-max 5").exits(0);
}

/// 512 MiB of zeros in a block that nobody wants, packed into some KiB, with packets before and behind it.
#[test]
fn a_bomb_is_read_past_in_less_than_256_mib() {
    const ZEROS: u32 = 512 << 20;
    let place = Place::new();
    let frames = packets(Wrap::Ethernet, false, &deep_segments(SEGMENTS));
    let (order, half) = (Order::Little, frames.len() / 2);
    let behind = blocks(order, &frames[half..]);
    let mut zst = zstd::Encoder::new(Vec::new(), 1).unwrap();
    zst.write_all(&ng(order, 1, &frames[..half])).unwrap();
    let length = order.u32(ZEROS + 12);
    zst.write_all(&[&order.u32(0x0bad)[..], &length].concat()).unwrap();
    let zeros = vec![0; 1 << 20];
    (0..ZEROS >> 20).for_each(|_| zst.write_all(&zeros).unwrap());
    zst.write_all(&[&length[..], &behind].concat()).unwrap();
    let packed = zst.finish().unwrap();
    assert!(packed.len() < 1 << 20, "{}", packed.len());
    place.write("bomb", packed);
    place.write("plain", ng(order, 1, &frames));
    let ran = place.run("import bomb -o bomb.tape --stats").exits(0);
    let line = ran.stdout.lines().find(|line| line.contains("resident")).expect("the memory that it took");
    let bytes: u64 = line.chars().filter(char::is_ascii_digit).collect::<String>().parse().unwrap();
    assert!((1 << 20..256 << 20).contains(&bytes), "{line}");
    place.run("import plain -o plain.tape").exits(0);
    assert_eq!(place.run("dump bomb.tape").exits(0).stdout, place.run("dump plain.tape").exits(0).stdout);
}

/// Packet blocks of interface 1, without a section of their own.
fn blocks(order: Order, frames: &[pcap_twin::Captured]) -> Vec<u8> {
    frames.iter().flat_map(|packet| pcap_twin::packet_block(order, 6, 1, packet.ns, packet)).collect()
}

/// Counts that another program found: see the README of the data folder.
#[test]
fn the_capture_of_iex_is_what_others_counted_and_its_tape_has_its_digest() {
    let Some(folder) = captures("iex") else { return };
    let place = Place::new();
    let file = folder.join("iex_cppparser_test.pcap.gz").display().to_string();
    let info = place.run(&format!("info {file} --format json")).exits(0).json();
    for (name, count) in [
        ("deep T trade_report", 37),
        ("deep 8 price_level_update_buy", 1_526),
        ("deep 5 price_level_update_sell", 1_226),
        ("deep D security_directory", 3),
    ] {
        assert_eq!(info["messages"][name], count, "{name}");
    }
    assert_eq!(
        (&info["skipped"]["deep heartbeat"], &info["skipped"]["deep S system_event"]),
        (&1_264.into(), &2.into())
    );
    assert_eq!((&info["packets"]["iex-tp"], &info["symbols"]), (&5_000.into(), &11_309.into()));
    place.run(&format!("import {file} -o iex.tape")).exits(0);
    assert_eq!(digest(&place, &file), digest(&place, "iex.tape"));
}
