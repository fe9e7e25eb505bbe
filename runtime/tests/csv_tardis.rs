//! The data sets of Tardis: each field against a naive twin over the `csv` crate and texts, damage, and lines without an end.

#[allow(dead_code)]
mod line_suite;

use line_suite::{Random, cut_everywhere, drain, flip_everywhere, gz, open, read, same, zst};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use tapeline_runtime::input::MESSAGE_SLOTS_MAX;
use tapeline_runtime::input::bytes::{ByteSource, LINE_BYTES_DEFAULT};
use tapeline_runtime::input::detect::{OpenOptions, open_source};

const TRADES: &str = "exchange,symbol,timestamp,local_timestamp,id,side,price,amount
bitmex,XBTUSD,1585699200245000,1585699200290000,fc7ea24f-5d4b-9a3b-bc0c-4a4d3e5f1d6a,sell,6425.5,10
binance,BTCUSDT,1585699201000000,1585699201010123,291312345,buy,6428.13,0.02337500
binance,BTCUSDT,1585699201000000,1585699201010123,291312345,buy,6428.14,1e-7
binance,BTCUSDT,1585699201000000,1585699201010123,291312346,unknown,6428.15,123456789.12345678

deribit,BTC-PERPETUAL,1585699202000000,1585699202000500,,buy,6430,40
";

const QUOTES: &str = "exchange,symbol,timestamp,local_timestamp,ask_amount,ask_price,bid_price,bid_amount
binance-futures,BTCUSDT,1598918403696000,1598918403810979,8.714,11658.07,11658.06,10.917
binance-futures,BTCUSDT,1598918403713000,1598918403835158,8.714,11658.07,11658.06,50000000.917
binance-futures,ETHUSDT,1598918403713000,1598918403835159,,,434.1,3
binance-futures,ETHUSDT,1598918403713000,1598918403835159,2.5,434.25,,
";

const LEVELS: &str = "exchange,symbol,timestamp,local_timestamp,is_snapshot,side,price,amount
deribit,BTC-PERPETUAL,1585699200245000,1585699200270000,true,bid,6420.5,18640
deribit,BTC-PERPETUAL,1585699200245000,1585699200270000,true,ask,6421,0.5
deribit,BTC-PERPETUAL,1585699200245000,1585699200270500,true,ask,6421.5,7
deribit,BTC-PERPETUAL,1585699200300000,1585699200310000,false,ask,6421,0
deribit,BTC-PERPETUAL,1585699200300000,1585699200310000,false,bid,6420,1
deribit,ETH-PERPETUAL,1585699200300000,1585699200310000,false,bid,132.05,10
deribit,BTC-PERPETUAL,1585699200400000,1585699200410000,false,bid,6420.5,0
deribit,BTC-PERPETUAL,1585699200500000,1585699200510000,true,bid,6419,3
";

/// A snapshot of three levels, the third of which a book need not have.
const BOOKS: &str = "exchange,symbol,timestamp,local_timestamp,asks[0].price,asks[0].amount,bids[0].price,bids[0].amount,\
asks[1].price,asks[1].amount,bids[1].price,bids[1].amount,asks[2].price,asks[2].amount,bids[2].price,bids[2].amount
binance-futures,BTCUSDT,1598918400277000,1598918400316223,11657.08,0.0145,11657.07,6.433,11657.44,1.000001,11656.53,0.85,11660,5,11650,2
binance-futures,BTCUSDT,1598918400290000,1598918400331000,11657.08,0.0145,11657.07,6.433,11657.44,1,11656.53,0.85,,,11650,5000000000.5
";

const SAMPLES: [(&str, &str); 4] =
    [("trades", TRADES), ("quotes", QUOTES), ("incremental_book_L2", LEVELS), ("book_snapshot", BOOKS)];

/// A decimal as the events' lines show it: exact, no superfluous zeros.
fn decimal(text: &str) -> String {
    let (text, shift) = match text.split_once('e') {
        Some((text, shift)) => (text, shift.parse::<i32>().unwrap()),
        None => (text, 0),
    };
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits: i128 = format!("{whole}{fraction}").parse().unwrap();
    let mut scale = fraction.len() as i32 - shift;
    let mut digits = digits;
    while scale > 0 && digits % 10 == 0 {
        (digits, scale) = (digits / 10, scale - 1);
    }
    while scale < 0 {
        (digits, scale) = (digits * 10, scale + 1);
    }
    let digits = format!("{digits:0>width$}", width = scale as usize + 1);
    let (whole, fraction) = digits.split_at(digits.len() - scale as usize);
    if fraction.is_empty() { whole.to_owned() } else { format!("{whole}.{fraction}") }
}

/// The twin: every row by names, through the `csv` crate and maps.
fn expect(text: &str) -> Vec<Value> {
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let mut events: Vec<Value> = Vec::new();
    let mut snapshots = BTreeMap::new();
    let mut numbers: BTreeMap<String, (String, u64)> = BTreeMap::new();
    let mut message: Option<(Vec<String>, u64)> = None;
    for row in reader.deserialize::<BTreeMap<String, String>>() {
        let row = row.unwrap();
        let get = |name: &str| row[name].as_str();
        let ns = |name: &str| get(name).parse::<u64>().unwrap() * 1_000;
        let symbol = format!("{}:{}", get("exchange"), get("symbol"));
        let event = |kind: &str, stream: &str, seq: u64, part: u64, flags: &[&str]| {
            json!({
                "kind": kind, "symbol": symbol, "source": format!("tardis.{}.{stream}", get("exchange")),
                "ts_recv": ns("local_timestamp"), "ts_event": ns("timestamp"), "seq": seq, "part": part, "flags": flags,
            })
        };
        let with = |mut event: Value, rest: Value| {
            let more = rest.as_object().unwrap().clone();
            event.as_object_mut().unwrap().extend(more);
            event
        };
        let level = |event: Value, action: &str, side: &str, price: String, size: String, depth: usize| {
            with(
                event,
                json!({"action": action, "side": side, "price": price, "size": size, "order_count": 0,
                       "depth": depth, "source_flags": 0}),
            )
        };
        let action = |size: &str| if size == "0" { "delete" } else { "set" };
        if row.contains_key("id") {
            let seq = get("id").parse::<u64>().ok();
            let before = numbers.get(&symbol).filter(|(id, _)| id == get("id") && seq.is_some());
            let part = before.map_or(0, |(_, part)| part + 1);
            numbers.clear();
            numbers.insert(symbol.clone(), (get("id").to_owned(), part));
            let flags: &[&str] = if seq.is_some() { &["last"] } else { &["last", "unsequenced"] };
            let side = match get("side") {
                "buy" => "bid",
                "sell" => "ask",
                _ => "none",
            };
            events.push(with(
                event("trade", "trades", seq.unwrap_or(0), part, flags),
                json!({"price": decimal(get("price")), "size": decimal(get("amount")), "side": side, "action": null,
                       "source_flags": 0, "depth": 0, "ts_in_delta": 0}),
            ));
        } else if row.contains_key("ask_price") {
            let size = |name: &str| if get(name).is_empty() { "0".to_owned() } else { decimal(get(name)) };
            // A side of nothing for nothing is empty.
            let price = |name: &str, of: &str| match get(name) {
                "" => Value::Null,
                price if decimal(price) == "0" && size(of) == "0" => Value::Null,
                price => decimal(price).into(),
            };
            let mut quote = json!({"bid_px": price("bid_price", "bid_amount"), "bid_sz": size("bid_amount"),
                                   "ask_px": price("ask_price", "ask_amount"), "ask_sz": size("ask_amount")});
            let scale = ["bid_amount", "ask_amount"].map(|name| size(name).split_once('.').map_or(0, |(_, f)| f.len()));
            let scale = scale[0].max(scale[1]) as u32;
            let mantissa = |name: &str| {
                let size = size(name);
                let (whole, fraction) = size.split_once('.').unwrap_or((&size, ""));
                format!("{whole}{fraction:0<width$}", width = scale as usize).parse::<u64>().unwrap()
            };
            let is_wide = mantissa("bid_amount").max(mantissa("ask_amount")) > u32::MAX.into();
            if is_wide {
                quote = with(
                    quote,
                    json!({"bid_ct": 0, "ask_ct": 0, "price": null, "size": "0", "side": "none", "action": null,
                           "source_flags": 0, "depth": 0, "ts_in_delta": 0, "interval_ns": 0}),
                );
            }
            let flags: &[&str] = if is_wide { &["last", "unsequenced", "wide"] } else { &["last", "unsequenced"] };
            events.push(with(event("quote", "quotes", 0, 0, flags), quote));
        } else if row.contains_key("is_snapshot") {
            let is_snapshot = get("is_snapshot") == "true";
            let flags: &[&str] = if is_snapshot { &["snapshot", "unsequenced"] } else { &["unsequenced"] };
            let key =
                ["exchange", "symbol", "timestamp", "local_timestamp", "is_snapshot"].map(|name| row[name].clone());
            let mut part = match &message {
                Some((before, part)) if *before == key => *part,
                _ => {
                    end(&mut events);
                    0
                }
            };
            let begins = is_snapshot && !snapshots.insert(symbol.clone(), is_snapshot).unwrap_or(false);
            snapshots.insert(symbol.clone(), is_snapshot);
            if begins {
                let clear = event("book_level", "incremental_book_L2", 0, part, flags);
                events.push(level(clear, "clear", "none", "0".into(), "0".into(), 0));
                part += 1;
            }
            let size = decimal(get("amount"));
            let one = event("book_level", "incremental_book_L2", 0, part, flags);
            events.push(level(one, action(&size), get("side"), decimal(get("price")), size.clone(), 0));
            message = Some((key.to_vec(), part + 1));
        } else {
            let flags = ["snapshot", "unsequenced"];
            let one = |part: usize| event("book_level", "book_snapshot", 0, part as u64, &flags);
            let mut book = vec![level(one(0), "clear", "none", "0".into(), "0".into(), 0)];
            for (side, sides) in [("bid", "bids"), ("ask", "asks")] {
                for depth in 0..3 {
                    let field = |name: &str| row[&format!("{sides}[{depth}].{name}")].clone();
                    if !field("price").is_empty() {
                        let size = decimal(&field("amount"));
                        let part = book.len();
                        book.push(level(one(part), action(&size), side, decimal(&field("price")), size.clone(), depth));
                    }
                }
            }
            events.extend(book);
            end(&mut events);
        }
    }
    if message.is_some() {
        end(&mut events);
    }
    events
}

/// The last event is the last of its message.
fn end(events: &mut [Value]) {
    if let Some(last) = events.last_mut() {
        last["flags"].as_array_mut().unwrap().insert(0, "last".into());
    }
}

fn options() -> OpenOptions {
    OpenOptions::default()
}

/// Bytes of the first line.
fn header(text: &str) -> usize {
    text.find('\n').unwrap()
}

#[test]
fn every_field_of_every_data_set_is_the_twins() {
    for (name, text) in SAMPLES {
        let expected = expect(text);
        assert!(expected.len() >= 4, "{name}");
        for bytes in [text.as_bytes().to_vec(), gz(text.as_bytes()), zst(text.as_bytes())] {
            let got = read(&bytes, &options());
            assert!(got.error.is_none() && got.tally.bad_lines == 0, "{name}: {:?}", got.tally);
            assert_eq!(got.format, "tardis");
            same(&got.events, &expected, name);
            let lasts = got.events.iter().filter(|event| line_suite::has_flag(event, "last")).count();
            assert_eq!(got.tally.messages, BTreeMap::from([(name.to_owned(), lasts as u64)]));
            assert_eq!(got.tally.lines, text.lines().count() as u64 - 1, "{name}");
        }
    }
    // What the twin could have wrong in the same way.
    let trades = read(TRADES.as_bytes(), &options()).events;
    assert_eq!(
        (&trades[2]["size"], &trades[2]["part"], &trades[2]["seq"]),
        (&json!("0.0000001"), &json!(1), &json!(291312345))
    );
    assert_eq!((&trades[0]["ts_recv"], &trades[0]["side"]), (&json!(1_585_699_200_290_000_000_u64), &json!("ask")));
    let levels = read(LEVELS.as_bytes(), &options()).events;
    let actions: Vec<&str> = levels.iter().map(|level| level["action"].as_str().unwrap()).collect();
    assert_eq!(actions, ["clear", "set", "set", "set", "delete", "set", "set", "delete", "clear", "set"]);
}

#[test]
fn columns_are_found_by_name_in_any_order_and_further_ones_passed() {
    let text = "price,local_timestamp,amount,x,symbol,timestamp,side,exchange,id\r\n\
                1.5,2000000,3,\"a,\"\"b\",S,1000000,buy,e,7\r\n";
    let got = read(text.as_bytes(), &options());
    assert_eq!(got.events.len(), 1, "{:?}", got.tally);
    assert_eq!(
        (&got.events[0]["price"], &got.events[0]["symbol"], &got.events[0]["seq"]),
        (&json!("1.5"), &json!("e:S"), &json!(7))
    );
    let marked = format!("\u{feff}{text}");
    assert_eq!(read(marked.as_bytes(), &options()).events, got.events);
}

#[test]
fn random_files_are_the_twins_whatever_the_buffer() {
    for seed in 0..40 {
        let mut random = Random(seed);
        let mut text = header_of(&mut random);
        let kind = text.clone();
        let mut at = 1_600_000_000_000_000u64;
        for _ in 0..300 {
            at += random.below(3) * random.below(1_000);
            let symbol = ["A", "B", "C"][random.below(3) as usize];
            let decimals = |random: &mut Random, digits: u32| {
                let digits = 1 + random.below(u64::from(digits)) as u32;
                let number = random.below(10u64.pow(digits));
                let scale = random.below(9) as usize;
                let digits = format!("{number:0>width$}", width = scale + 1);
                let (whole, fraction) = digits.split_at(digits.len() - scale);
                if scale == 0 { whole.to_owned() } else { format!("{whole}.{fraction}") }
            };
            let (price, size) = (decimals(&mut random, 9), decimals(&mut random, 11));
            let side = ["bid", "ask"][random.below(2) as usize];
            let row = if kind.contains("id,side") {
                let id = ["", "x-1", "5", "6"][random.below(4) as usize];
                format!("{id},{},{price},{size}", ["buy", "sell", "unknown"][random.below(3) as usize])
            } else if kind.contains("is_snapshot") {
                format!("{},{side},{price},{size}", ["true", "false"][random.below(2) as usize])
            } else {
                format!("{size},{price},{},{}", decimals(&mut random, 9), decimals(&mut random, 4))
            };
            text.push_str(&format!("ex,{symbol},{},{at},{row}\n", at - 500));
        }
        let expected = expect(&text);
        for slots in [400, 607, MESSAGE_SLOTS_MAX] {
            let got = drain(&mut *open(text.as_bytes(), &options()).unwrap(), slots);
            assert_eq!(got.tally.bad_lines, 0, "seed {seed}: {:?}", got.tally.first_bad_lines);
            same(&got.events, &expected, &format!("seed {seed} in buffers of {slots}"));
        }
    }
}

fn header_of(random: &mut Random) -> String {
    let (_, text) = SAMPLES[random.below(3) as usize];
    text[..=header(text)].to_owned()
}

#[test]
fn cut_at_every_byte() {
    for (_, text) in SAMPLES {
        cut_everywhere(text.as_bytes(), header(text), &options());
        // Every line has an end, so that a last one without is told, and nothing of it taken.
        let cut = read(&text.as_bytes()[..text.len() - 1], &options());
        assert_eq!(cut.tally.bad_lines, 1);
        assert!(cut.tally.first_bad_lines[0].1.starts_with("the last line has no end"), "{:?}", cut.tally);
    }
}

#[test]
fn flipped_bytes() {
    for (index, (_, text)) in SAMPLES.into_iter().enumerate() {
        flip_everywhere(text.as_bytes(), header(text), &options(), 100 + index as u64);
    }
}

#[test]
fn bad_rows_are_named_and_the_others_stay() {
    let start = &TRADES[..=header(TRADES)];
    let good = "e,S,1000000,2000000,1,buy,1.5,2\n";
    for (bad, why) in [
        ("e,S,1000000,2000000,1,buy,1.5", "7 fields, not 8"),
        ("e,S,1000000,2000000,1,buy,1.5,2,", "9 fields, not 8"),
        ("e,S,1000000,2000000,1,buy,,2", "price: digits are missing"),
        ("e,S,1000000,2000000,1,buy,1.0000000001,2", "price: more than 9 decimals"),
        ("e,S,1000000,2000000,1,buy,1.5,-2", "size: negative"),
        ("e,S,1000000,2000000,1,buyer's,1.5,2", "side: neither a buyer's word nor a seller's"),
        ("e,S,x,2000000,1,buy,1.5,2", "time: byte 0 is no digit"),
        ("e,S,,,1,buy,1.5,2", "time: it is empty"),
        ("e,S,1,99999999999999999999,1,buy,1.5,2", "recv_time: out of range"),
        ("e,,1000000,2000000,1,buy,1.5,2", "a symbol that is empty"),
        (",S,1000000,2000000,1,buy,1.5,2", "an exchange whose name is empty"),
        ("e,\"S,1000000,2000000,1,buy,1.5,2", "a quoted field does not end on its line"),
    ] {
        let text = format!("{start}{good}{bad}\n{good}");
        let got = read(text.as_bytes(), &options());
        assert_eq!((got.events.len(), got.tally.bad_lines), (2, 1), "{bad}");
        let (line, told) = &got.tally.first_bad_lines[0];
        assert_eq!(*line, 3);
        let offset = format!("(at offset {})", start.len() + good.len());
        assert!(told.starts_with(why) && told.ends_with(&offset), "{bad}: {told}");
    }
    // An unknown data set, and one without its columns, are not recognised.
    for text in ["exchange,symbol,timestamp,local_timestamp,funding_rate\n", "exchange,symbol,timestamp,side,price\n"] {
        let error = open(text.as_bytes(), &options()).err().unwrap();
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().contains("[csv]"), "{error}");
    }
}

/// A header, a row, then `bytes` bytes of one line.
struct Endless {
    start: Vec<u8>,
    bytes: u64,
}

impl std::io::Read for Endless {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        if !self.start.is_empty() {
            let count = std::io::Read::read(&mut &self.start[..], out)?;
            self.start.drain(..count);
            return Ok(count);
        }
        let count = out.len().min(usize::try_from(self.bytes).unwrap_or(usize::MAX));
        out[..count].fill(b'7');
        self.bytes -= count as u64;
        Ok(count)
    }
}

#[test]
fn a_line_of_4_gib_is_told_and_not_held() {
    let start = format!("{}e,S,1000000,2000000,1,buy,1.5,2\n", &TRADES[..=header(TRADES)]);
    let offset = start.len();
    let reader = Endless { start: start.into_bytes(), bytes: 4 << 30 };
    let mut got = None;
    let used = allocation_counter::measure(|| {
        let source = ByteSource::new(Box::new(reader), "f", None).unwrap();
        got = Some(drain(&mut *open_source(source, &options()).unwrap(), MESSAGE_SLOTS_MAX));
    });
    let got = got.unwrap();
    assert_eq!((got.events.len(), got.tally.bad_lines), (1, 1));
    let told = format!("a line of 4294967296 bytes is longer than the limit (at offset {offset})");
    assert_eq!(got.tally.first_bad_lines, [(3, told)]);
    assert!(used.bytes_max < 4 * LINE_BYTES_DEFAULT as u64, "{} bytes at once", used.bytes_max);
}
