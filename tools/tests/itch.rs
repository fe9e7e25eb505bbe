//! ITCH files through the binary: counts, digests, days, cuts.

mod common;

use common::{Place, assert_balanced};
use std::io::Write;
use tapeline_core::testing::itch::{Session, frame};
use tapeline_core::wire::itch::Message;

const NAME: &str = "01302020.NASDAQ_ITCH50";
const MESSAGES: u64 = 20_000;

fn session() -> Session {
    Session::new(7, MESSAGES, 30).live_max(2_000)
}

/// What the messages of the session give, by kind.
fn kinds() -> [(&'static str, u64); 3] {
    let (mut orders, mut trades, mut statuses) = (0, 0, 0);
    for draft in session() {
        match Message::parse(draft.bytes()).unwrap() {
            Message::StockDirectory(_) | Message::AddOrder(_) | Message::AddOrderMpid(_) => orders += 1,
            Message::OrderCancel(_) | Message::OrderDelete(_) => orders += 1,
            Message::OrderReplace(_) => orders += 2,
            Message::OrderExecuted(_) => (orders, trades) = (orders + 2, trades + 1),
            Message::OrderExecutedWithPrice(done) => {
                orders += 2;
                trades += u64::from(done.printable() == b'Y');
            }
            Message::Trade(_) => trades += 1,
            Message::CrossTrade(cross) => trades += u64::from(cross.shares() > 0),
            Message::StockTradingAction(_) | Message::RegShoRestriction(_) | Message::MwcbStatus(_) => statuses += 1,
            Message::OperationalHalt(halt) => statuses += u64::from(halt.market_code() == b'Q'),
            _ => {}
        }
    }
    [("book_order", orders), ("trade", trades), ("status", statuses)]
}

#[test]
fn a_file_its_packed_forms_and_its_tape_are_one_session() {
    let place = Place::new();
    let plain = session().binary_file();
    place.write(NAME, &plain);
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gz.write_all(&plain).unwrap();
    place.write(&format!("{NAME}.gz"), gz.finish().unwrap());
    place.write(&format!("{NAME}.zst"), zstd::encode_all(&plain[..], 1).unwrap());

    let info = place.run(&format!("info {NAME} --format json")).exits(0).json();
    assert_eq!((&info["format"], &info["symbols"], &info["generated"]), (&"itch".into(), &30.into(), &false.into()));
    let messages: u64 = info["messages"].as_object().unwrap().values().map(|count| count.as_u64().unwrap()).sum();
    assert_eq!(messages, MESSAGES);
    // 04:00 in New York, and the first event is that of the second message at the earliest.
    let four = 1_580_360_400_000_000_000 + 4 * 3_600_000_000_000u64;
    let first = info["first_ts"].as_u64().unwrap();
    assert!((four..four + 1_000_000).contains(&first), "{first}");
    let skipped = &info["skipped"];
    assert!(skipped["noii"].as_u64().unwrap() > 1 && skipped["broken_trade"].as_u64().unwrap() > 1, "{skipped}");

    let run = |file: &str| {
        let report = place.run(&format!("replay {file} --speed max --format json")).exits(0).json();
        assert_balanced(&report);
        for (kind, count) in kinds() {
            assert_eq!(report["kinds"][kind], count, "{file}: {kind}");
            assert_eq!(info["kinds"][kind], count, "{kind}");
        }
        assert_eq!(report["events"]["refused"], 0, "{file}");
        report["digest"].clone()
    };
    let digest = run(NAME);
    assert_eq!(run(&format!("{NAME}.gz")), digest);
    assert_eq!(run(&format!("{NAME}.zst")), digest);
    let told = place.run(&format!("import {NAME} -o day.tape --stats")).exits(0).stdout;
    for part in ["import in ", "  messages ", "  events ", "  bytes in ", "  memory "] {
        assert!(told.contains(part), "{part}: {told}");
    }
    place.run("verify day.tape").exits(0);
    assert_eq!(run("day.tape"), digest);
    assert_eq!(run("day.tape --shards 2"), digest);
}

#[test]
fn the_day_is_in_the_name_or_told() {
    let place = Place::new();
    let bytes = session().binary_file();
    for name in ["S081321-v50.txt", "day.itch"] {
        place.write(name, &bytes);
    }
    let first = |line: &str| {
        let line = place.run(&format!("dump --limit 1 {line}")).exits(0).stdout;
        let event: serde_json::Value = serde_json::from_str(line.trim()).unwrap();
        let text = event.to_string();
        let at = text.find("\"ts_event\"").unwrap_or_else(|| panic!("{text}"));
        text[at..].chars().filter(char::is_ascii_digit).take(10).collect::<String>().parse::<u64>().unwrap()
    };
    let four = 4 * 3_600;
    assert_eq!(first("S081321-v50.txt"), 1_628_827_200 + four);
    assert_eq!(first("day.itch --date 2020-01-30"), 1_580_360_400 + four);
    place.run("info day.itch --date tomorrow").exits(2).says_once(&["tomorrow", "2020-01-30"]);
    // Nothing tells it: the first day of the epoch.
    let info = place.run("info day.itch --format json").exits(0).json();
    assert!(info["first_ts"].as_u64().unwrap() < 24 * 3_600_000_000_000);
}

#[test]
fn a_cut_inside_a_message_exits_3_and_one_between_two_is_a_whole_file() {
    let place = Place::new();
    let mut bytes = Vec::new();
    for draft in session().take(5_000) {
        frame(&mut bytes, draft.bytes());
    }
    place.write("whole", &bytes);
    let whole = place.run("info whole --format json").exits(0).json();
    let end = bytes.len();
    frame(&mut bytes, b"D\0\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x05");
    place.write("cut", &bytes[..bytes.len() - 1]);
    let at = format!("cut: offset {end}: the last message is cut short: 18 of 19 bytes");
    let cut = place.run("info cut --format json").exits(3).says_once(&[&at]).json();
    assert_eq!((&cut["kinds"], &cut["messages"]), (&whole["kinds"], &whole["messages"]));
    for verb in ["dump", "import -o cut.tape --force", "replay --speed max --driver threads"] {
        place.run(&format!("{verb} cut")).exits(3).says_once(&[&at]);
    }
    let replayed = place.replay("whole");
    assert_eq!(place.replay("cut.tape")["digest"], replayed["digest"]);
}
