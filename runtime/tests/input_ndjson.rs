//! NDJSON as an input: what is written is read back as the same events, for every kind of market data; damage; lines written by hand.

#[allow(dead_code)]
mod line_suite;

use line_suite::{cut_everywhere, flip_everywhere, has_flag, read, same};
use serde_json::{Value, json};
use tapeline_core::catalog::Catalog;
use tapeline_core::event::events;
use tapeline_runtime::input::detect::OpenOptions;
use tapeline_runtime::input::generate::{Config, GenerateInput};
use tapeline_runtime::input::{Input, MESSAGE_SLOTS_MAX, SlotBuf, Status};
use tapeline_runtime::ndjson;

fn options() -> OpenOptions {
    OpenOptions::default()
}

/// A session with every kind of market data, as lines, and the slots that they are of.
fn session(events_max: u64) -> (Vec<u8>, Vec<Value>) {
    let config = Config { events: events_max, symbols: 20, bar_symbols: 8, ..Config::default() };
    let mut input = GenerateInput::new(&config).unwrap();
    let (mut catalog, mut out) = (Catalog::new(1 << 10), SlotBuf::with_capacity(MESSAGE_SLOTS_MAX));
    let (mut text, mut all) = (Vec::new(), Vec::new());
    loop {
        out.clear();
        let status = input.read(&mut catalog, &mut out).unwrap();
        for event in events(out.slots()).filter(|event| !event.kind().is_control()) {
            let from = text.len();
            ndjson::write_event(&catalog, event, &mut text);
            all.push(serde_json::from_slice(&text[from..]).unwrap());
        }
        if status == Status::End {
            return (text, all);
        }
    }
}

#[test]
fn what_is_written_is_read_back_for_every_kind() {
    let (text, written) = session(60_000);
    for kind in ["trade", "quote", "book_level", "book_order", "book_depth", "bar", "news", "status", "gap"] {
        assert!(written.iter().any(|event| event["kind"] == kind), "the session has a {kind}");
    }
    let got = read(&text, &options());
    assert_eq!((got.format, got.tally.bad_lines), ("ndjson", 0), "{:?}", got.tally.first_bad_lines);
    same(&got.events, &written, "read back");
    assert_eq!(got.tally.lines, written.len() as u64);
    assert_eq!(got.tally.messages.values().sum::<u64>(), written.len() as u64);
}

/// What a generated session has not: wide quotes, undefined prices, codes without a word, texts with escapes.
const ODD: &str = r#"{"kind":"quote","symbol":"A","source":"s","ts_recv":1,"ts_event":null,"seq":7,"part":0,"flags":["wide"],"bid_px":null,"bid_sz":"5000000000.5","ask_px":"-1.5","ask_sz":"0","bid_ct":3,"ask_ct":4,"price":"2","size":"0.25","side":"ask","action":"T","source_flags":130,"depth":2,"ts_in_delta":-5,"interval_ns":60}
{"kind":"quote","symbol":"A","source":"s","ts_recv":1,"ts_event":2,"seq":7,"part":1,"flags":["last"],"bid_px":"1","bid_sz":"1.5","ask_px":null,"ask_sz":"0"}
{"kind":"trade","symbol":"Ä\"\\","source":"s","ts_recv":2,"ts_event":2,"seq":0,"part":0,"flags":["last","snapshot","unsequenced"],"price":null,"size":"0.0000000000000000001","side":"none","action":7,"source_flags":1,"depth":3,"ts_in_delta":9}
{"kind":"book_level","symbol":"A","source":"s","ts_recv":3,"ts_event":3,"seq":8,"part":0,"flags":["snapshot"],"action":"clear","side":"none","price":"0","size":"0","order_count":0,"depth":0,"source_flags":0}
{"kind":"book_level","symbol":"A","source":"s","ts_recv":3,"ts_event":3,"seq":8,"part":1,"flags":["last","snapshot"],"action":9,"side":"bid","price":"9223372036.854775806","size":"18446744073709551615","order_count":4294967295,"depth":255,"source_flags":255}
{"kind":"news","symbol":"","source":"s","ts_recv":4,"ts_event":4,"seq":9,"part":0,"flags":["last"],"id":18446744073709551615,"provider":"00ff00ff00ff00ff","urgency":255,"sentiment":-100,"text":"a\nb \u0001 \"ü\""}
{"kind":"status","symbol":"A","source":"s","ts_recv":5,"ts_event":5,"seq":10,"part":0,"flags":["last","historical"],"action":7,"reason":1,"trading_event":2,"is_trading":"N","is_quoting":null,"is_short_sell_restricted":200}
{"kind":"bar","symbol":"A","source":"s","ts_recv":6,"ts_event":5,"seq":11,"part":0,"flags":["last"],"open":"1","high":"2","low":"0.5","close":null,"volume":"0.125","interval_ns":60000000000,"trades":null,"vwap":null}
"#;

#[test]
fn rare_values_are_read_back() {
    let got = read(ODD.as_bytes(), &options());
    assert_eq!(got.tally.bad_lines, 0, "{:?}", got.tally.first_bad_lines);
    let written: Vec<Value> = ODD.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    same(&got.events, &written, "odd");
}

#[test]
fn lines_written_by_hand_need_little() {
    let text = "{\"price\":1.5,\"kind\":\"trade\",\"size\":2e-3,\"symbol\":\"X\",\"ts_event\":7}\n\n{\"kind\":\"book_level\",\"symbol\":\"X\",\"ts_recv\":8,\"price\":\"1\",\"size\":0,\"side\":\"bid\",\"seq\":3}\n";
    let got = read(text.as_bytes(), &options());
    assert_eq!(got.tally.bad_lines, 0, "{:?}", got.tally.first_bad_lines);
    let trade = &got.events[0];
    assert_eq!((&trade["price"], &trade["size"], &trade["source"]), (&json!("1.5"), &json!("0.002"), &json!("ndjson")));
    assert_eq!((&trade["ts_recv"], &trade["flags"]), (&json!(7), &json!(["last", "unsequenced"])));
    let level = &got.events[1];
    assert_eq!(
        (&level["action"], &level["flags"], &level["ts_event"]),
        (&json!("delete"), &json!(["last"]), &Value::Null)
    );
}

#[test]
fn what_has_no_number_is_unsequenced_whatever_its_flags() {
    let line = |rest: &str| format!("{{\"kind\":\"gap\",\"symbol\":\"X\",\"ts_recv\":7,\"flags\":[\"last\"]{rest}}}\n");
    let text = line("") + &line(",\"seq\":null") + &line(",\"seq\":0");
    let got = read(text.as_bytes(), &options());
    let flags: Vec<bool> = got.events.iter().map(|event| has_flag(event, "unsequenced")).collect();
    assert_eq!((flags, got.tally.bad_lines), (vec![true, true, false], 0));
}

#[test]
fn other_kinds_are_counted_and_bad_lines_named() {
    let good = "{\"kind\":\"gap\",\"symbol\":\"X\",\"ts_recv\":7}";
    for (line, skipped) in [
        ("{\"kind\":\"alert\",\"symbol\":\"X\",\"ts_recv\":7}", Some("alert")),
        ("{\"kind\":\"mine\",\"symbol\":\"X\"}", Some("mine")),
        ("{\"kind\":\"trade\",\"cause\":{}}", Some("trade with a cause")),
        ("{\"kind\":\"trade\",\"symbol\":\"X\",\"ts_recv\":7}", None),
        ("{\"kind\":\"gap\",\"symbol\":\"X\"}", None),
        ("{\"kind\":\"gap\",\"symbol\":\"X\",\"ts_recv\":18446744073709551615}", None),
        ("{\"kind\":\"gap\",\"symbol\":\"X\",\"ts_recv\":7,\"part\":65536}", None),
        ("{\"kind\":\"gap\",\"symbol\":\"X\",\"ts_recv\":7,\"flags\":[\"lost\"]}", None),
        ("{\"kind\":\"gap\",\"symbol\":\"X\",\"ts_recv\":7,\"source\":\"\"}", None),
        ("{\"kind\":\"book_order\",\"symbol\":\"X\",\"ts_recv\":7,\"order_id\":1,\"size\":\"4294967296\"}", None),
        ("{\"kind\":\"trade\",\"symbol\":\"X\",\"ts_recv\":7,\"size\":1,\"side\":\"up\"}", None),
        ("{\"symbol\":\"X\"}", None),
        ("[]", None),
        ("x", None),
    ] {
        let text = format!("{good}\n{line}\n{good}\n");
        let got = read(text.as_bytes(), &options());
        assert_eq!(got.events.len(), 2, "{line}");
        assert_eq!(got.tally.bad_lines, u64::from(skipped.is_none()), "{line}");
        assert_eq!(got.tally.skipped.keys().next().map(String::as_str), skipped, "{line}");
    }
}

#[test]
fn a_message_is_whole_whatever_ends_it() {
    let line = |flags: &str| format!("{{\"kind\":\"gap\",\"symbol\":\"X\",\"ts_recv\":7,\"flags\":[{flags}]}}\n");
    // The file ends in the middle of a message.
    let got = read((line("\"last\"") + &line("") + &line("")).as_bytes(), &options());
    let lasts: Vec<bool> = got.events.iter().map(|event| has_flag(event, "last")).collect();
    assert_eq!(lasts, [true, false, true]);
    // A message that never ends.
    let many = line("").repeat(MESSAGE_SLOTS_MAX + 10);
    let got = read(many.as_bytes(), &options());
    let lasts: Vec<usize> = (0..got.events.len()).filter(|at| has_flag(&got.events[*at], "last")).collect();
    assert_eq!((got.events.len(), got.tally.bad_lines), (MESSAGE_SLOTS_MAX + 10, 0));
    assert_eq!(lasts, [MESSAGE_SLOTS_MAX - 1, MESSAGE_SLOTS_MAX + 9]);
    // One that is too long by its last event.
    let got = read((line("").repeat(MESSAGE_SLOTS_MAX) + &line("\"last\"")).as_bytes(), &options());
    let lasts: Vec<usize> = (0..got.events.len()).filter(|at| has_flag(&got.events[*at], "last")).collect();
    assert_eq!((got.events.len(), got.tally.bad_lines), (MESSAGE_SLOTS_MAX + 1, 0));
    assert_eq!(lasts, [MESSAGE_SLOTS_MAX - 1, MESSAGE_SLOTS_MAX]);
}

#[test]
fn cut_at_every_byte_and_flipped() {
    let header = "{\"kind\"".len();
    cut_everywhere(ODD.as_bytes(), header, &options());
    flip_everywhere(ODD.as_bytes(), ODD.find('\n').unwrap(), &options(), 13);
}
