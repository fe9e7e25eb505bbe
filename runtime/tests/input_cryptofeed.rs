//! cryptofeed's captures: the real ones against counts of another program and a naive twin over `serde_json`'s tree; damage; what is rare.

#[allow(dead_code)]
mod line_suite;

use line_suite::{cut_everywhere, flip_everywhere, has_flag, read, same};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::io::Read as _;
use std::path::PathBuf;
use tapeline_runtime::input::MESSAGE_SLOTS_MAX;
use tapeline_runtime::input::detect::OpenOptions;

fn options() -> OpenOptions {
    OpenOptions::default()
}

/// One of each message, shaped as in the real captures, which tell the exchange by their content.
const SAMPLE: &str = r#"wss://ws-feed.pro.coinbase.com <-> 1618677816.8434298
wss://ws-feed.pro.coinbase.com <- 1618677817.020616: {"type":"subscribe","product_ids":["SKL-USD"],"channels":["level2"]}
1618677817.061845: {"type":"subscriptions","channels":[{"name":"level2","product_ids":["SKL-USD"]}]}
1618677817.077736: {"type":"snapshot","product_id":"SKL-USD","asks":[["0.7910","450.0"],["0.7911","2635.4"]],"bids":[["0.7909","3.00"]]}
1618677817.0797621: {"type":"last_match","trade_id":1568267,"side":"sell","size":"1338.3","price":"0.7904","product_id":"SKL-USD","sequence":201390042,"time":"2021-04-17T16:43:37.056746Z"}
1618677817.118783: {"type":"l2update","product_id":"SKL-USD","changes":[["sell","0.7910","0.0"],["buy","0.7908","660.5"]],"time":"2021-04-17T16:43:37.075687Z"}
1618677817.1295161: {"type":"match","trade_id":1568268,"side":"sell","size":"985","price":"0.7909","product_id":"SKL-USD","sequence":201390043,"time":"2021-04-17T16:43:37.089723Z"}
1618677817.2: {"type":"ticker","sequence":201390043,"product_id":"SKL-USD","price":"0.7902","best_bid":"0.7901","best_ask":"0.7905","side":"sell","time":"2021-04-17T16:44:06.669388Z","trade_id":1568319,"last_size":"18"}
1626994927.583642: {"event":"info","version":1}
1626994927.6892228: {"event":"subscribed","feed":"book","product_ids":["PI_LTCUSD"]}
1626994927.690547: {"feed":"book_snapshot","product_id":"PI_LTCUSD","timestamp":1626994925378,"seq":91192,"tickSize":null,"bids":[{"price":439.3,"qty":20108.0}],"asks":[{"price":439.6,"qty":50.0}]}
1626994928.037677: {"feed":"book","product_id":"PI_LTCUSD","side":"sell","seq":91193,"price":439.6,"qty":0.0,"timestamp":1626994927744}
1626994928.1: {"feed":"book","product_id":"PI_LTCUSD","side":"buy","seq":91196,"price":439.25,"qty":1e3,"timestamp":1626994927745}
1626994929.92945: {"feed":"trade","product_id":"PI_LTCUSD","uid":"e2429e31","side":"buy","type":"fill","seq":5956,"time":1626994929946,"qty":320.0,"price":119.44}
1626994930: {"feed":"ticker_lite","product_id":"PI_LTCUSD","bid":439.3,"ask":439.6,"change":2.640803926150981,"volume":3413476.0}
1626993370.0327702: {"table":"quote","action":"partial","data":[{"timestamp":"2021-07-22T22:35:53.978Z","symbol":"XRPU21","bidSize":15,"bidPrice":0.00001814,"askPrice":0.00001819,"askSize":1703}]}
1626993370.146127: {"table":"orderBookL2","action":"partial","filter":{"symbol":"XRPU21"},"data":[{"symbol":"XRPU21","id":56799989301,"side":"Sell","size":3000,"price":0.00010699},{"symbol":"XRPU21","id":56799992101,"side":"Buy","size":7,"price":1e-5}]}
1626993370.4317188: {"table":"orderBookL2","action":"update","data":[{"symbol":"XRPU21","id":56799992101,"side":"Buy","size":123},{"symbol":"XRPU21","id":1,"side":"Buy","size":5}]}
1626993370.5: {"table":"orderBookL2","action":"insert","data":[{"symbol":"XRPU21","id":3,"side":"Buy","size":9,"price":0.00001},{"symbol":"XBTUSD","id":4,"side":"Sell","size":2,"price":31964}]}
1626993370.6: {"table":"orderBookL2","action":"delete","data":[{"symbol":"XRPU21","id":56799992101,"side":"Buy"}]}
1626993370.7: {"table":"trade","action":"insert","data":[{"timestamp":"2021-07-22T22:36:10.014Z","symbol":"UNIUSDT","side":"Buy","size":52,"price":17.297,"trdMatchID":"39744121"}]}
"#;

/// A number as the events' lines show it.
fn decimal(value: &Value) -> String {
    let text = match value {
        Value::String(text) => text.clone(),
        // The shortest text of an f64 is what was written.
        other => format!("{}", other.as_f64().unwrap()),
    };
    match text.split_once('.') {
        Some((whole, fraction)) => {
            let fraction = fraction.trim_end_matches('0');
            if fraction.is_empty() { whole.to_owned() } else { format!("{whole}.{fraction}") }
        }
        None => text,
    }
}

/// ns of `<seconds>.<fraction>`.
fn seconds(text: &str) -> u64 {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    format!("{whole}{fraction:0<9}").parse().unwrap()
}

/// ns of `2021-04-17T16:43:37.075687Z`.
fn instant(text: &str) -> u64 {
    let number = |from: usize, to: usize| text[from..to].parse::<i64>().unwrap();
    let (year, month, day) = (number(0, 4), number(5, 7), number(8, 10));
    // Days from civil (H. Hinnant, "chrono-Compatible Low-Level Date Algorithms").
    let year = if month <= 2 { year - 1 } else { year };
    let of_era = year % 400;
    let of_year = (153 * (month + if month > 2 { -3 } else { 9 }) + 2) / 5 + day - 1;
    let days = year / 400 * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468;
    let second = days * 86_400 + number(11, 13) * 3_600 + number(14, 16) * 60 + number(17, 19);
    let fraction = text[19..].trim_start_matches('.').trim_end_matches('Z');
    format!("{second}{fraction:0<9}").parse().unwrap()
}

#[derive(Default)]
struct Twin {
    events: Vec<Value>,
    messages: BTreeMap<String, u64>,
    skipped: BTreeMap<String, u64>,
    next: BTreeMap<String, u64>,
    prices: BTreeMap<(String, u64), Value>,
    unfit: BTreeSet<String>,
    part: u64,
}

impl Twin {
    fn line(&mut self, line: &str) {
        self.part = 0;
        if line.trim().is_empty() {
            return;
        }
        if line.starts_with("wss") {
            let sign = line.split(' ').nth(1).unwrap();
            *self.skipped.entry(sign.to_owned()).or_default() += 1;
            return;
        }
        let (time, text) = line.split_once(": ").unwrap();
        let Value::Object(message) = serde_json::from_str(text).unwrap() else { panic!("{line}") };
        let ts_recv = seconds(time);
        let name = if message.contains_key("table") {
            self.bitmex(ts_recv, &message)
        } else if message.contains_key("feed") {
            self.kraken(ts_recv, &message)
        } else if message.contains_key("type") {
            self.coinbase(ts_recv, &message)
        } else if let Some(event) = message.get("event") {
            Err(format!("event.{}", event.as_str().unwrap()))
        } else {
            Err(if message.contains_key("success") { "reply" } else { "info" }.to_owned())
        };
        match name {
            Ok(name) => {
                self.end();
                *self.messages.entry(name.to_owned()).or_default() += 1;
            }
            Err(name) => *self.skipped.entry(name).or_default() += 1,
        }
    }

    fn end(&mut self) {
        if let Some(last) = self.events.last_mut().filter(|event| !has_flag(event, "last")) {
            last["flags"].as_array_mut().unwrap().insert(0, "last".into());
        }
        self.part = 0;
    }

    fn push(
        &mut self,
        kind: &str,
        names: (&str, &str, &str),
        times: (u64, Option<u64>),
        seq: Option<u64>,
        rest: Value,
    ) {
        let (exchange, symbol, source) = names;
        let flags = if seq.is_some() { vec![] } else { vec!["unsequenced"] };
        let mut event = json!({
            "kind": kind, "symbol": format!("{exchange}:{symbol}"), "source": source, "ts_recv": times.0, "ts_event": times.1,
            "seq": seq.unwrap_or(0), "part": self.part, "flags": flags,
        });
        event.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
        self.part += 1;
        self.events.push(event);
    }

    fn snapshot(&mut self, from: usize) {
        for event in &mut self.events[from..] {
            event["flags"].as_array_mut().unwrap().insert(0, "snapshot".into());
        }
    }

    fn coinbase(&mut self, ts_recv: u64, message: &Map<String, Value>) -> Result<&'static str, String> {
        let text = |name: &str| message[name].as_str().unwrap();
        let kind = text("type");
        if !["snapshot", "l2update", "ticker", "match"].contains(&kind) {
            return Err(kind.to_owned());
        }
        let at = message.get("time").map(|time| instant(time.as_str().unwrap()));
        let (symbol, from) = (text("product_id"), self.events.len());
        let names = |source| ("COINBASE", symbol, source);
        match kind {
            "snapshot" => {
                self.push("book_level", names("coinbase.level2"), (ts_recv, at), None, clear());
                for (side, name) in [("bid", "bids"), ("ask", "asks")] {
                    for row in message[name].as_array().unwrap() {
                        self.push(
                            "book_level",
                            names("coinbase.level2"),
                            (ts_recv, at),
                            None,
                            level(side, &row[0], &row[1]),
                        );
                    }
                }
                self.snapshot(from);
                Ok("snapshot")
            }
            "l2update" => {
                for row in message["changes"].as_array().unwrap() {
                    let side = if row[0] == "buy" { "bid" } else { "ask" };
                    self.push(
                        "book_level",
                        names("coinbase.level2"),
                        (ts_recv, at),
                        None,
                        level(side, &row[1], &row[2]),
                    );
                }
                Ok("l2update")
            }
            "ticker" => {
                let zero = json!("0");
                let rest = quote((&message["best_bid"], &zero), (&message["best_ask"], &zero));
                self.push("quote", names("coinbase.ticker"), (ts_recv, at), message["sequence"].as_u64(), rest);
                Ok("ticker")
            }
            _ => {
                let side = if text("side") == "buy" { "ask" } else { "bid" };
                let rest = trade(side, &message["price"], &message["size"]);
                self.push("trade", names("coinbase.matches"), (ts_recv, at), message["trade_id"].as_u64(), rest);
                Ok("match")
            }
        }
    }

    fn kraken(&mut self, ts_recv: u64, message: &Map<String, Value>) -> Result<&'static str, String> {
        let text = |name: &str| message[name].as_str().unwrap();
        if let Some(event) = message.get("event") {
            return Err(format!("event.{}", event.as_str().unwrap()));
        }
        let feed = text("feed");
        let ms = |name: &str| message.get(name).map(|ms| ms.as_u64().unwrap() * 1_000_000);
        let side = |side: &Value| if side == "buy" { "bid" } else { "ask" };
        let seq = message.get("seq").and_then(Value::as_u64);
        let symbol = text("product_id");
        let names = |source| ("KRAKEN_FUTURES", symbol, source);
        match feed {
            "book_snapshot" => {
                let (from, at) = (self.events.len(), ms("timestamp"));
                self.push("book_level", names("kraken_futures.book_snapshot"), (ts_recv, at), seq, clear());
                for (side, name) in [("bid", "bids"), ("ask", "asks")] {
                    for row in message[name].as_array().unwrap() {
                        let rest = level(side, &row["price"], &row["qty"]);
                        self.push("book_level", names("kraken_futures.book_snapshot"), (ts_recv, at), seq, rest);
                    }
                }
                self.snapshot(from);
                self.next.insert(symbol.to_owned(), seq.unwrap() + 1);
                Ok("book_snapshot")
            }
            "book" => {
                let (seq, at) = (seq.unwrap(), ms("timestamp"));
                let next = self.next.insert(symbol.to_owned(), seq + 1).unwrap_or(seq);
                if seq > next {
                    let rest =
                        json!({"expected": next, "received": seq, "missing": seq - next, "part": 65_535, "seq": next});
                    self.push("gap", names("kraken_futures.book"), (ts_recv, at), None, rest);
                    self.part = 0;
                }
                let rest = level(side(&message["side"]), &message["price"], &message["qty"]);
                self.push("book_level", names("kraken_futures.book"), (ts_recv, at), Some(seq), rest);
                Ok("book")
            }
            "trade" => {
                let rest = trade(side(&message["side"]), &message["price"], &message["qty"]);
                self.push("trade", names("kraken_futures.trade"), (ts_recv, ms("time")), seq, rest);
                Ok("trade")
            }
            "ticker_lite" => {
                let zero = json!("0");
                let rest = quote((&message["bid"], &zero), (&message["ask"], &zero));
                self.push("quote", names("kraken_futures.ticker"), (ts_recv, None), None, rest);
                Ok("ticker")
            }
            other => Err(other.to_owned()),
        }
    }

    fn bitmex(&mut self, ts_recv: u64, message: &Map<String, Value>) -> Result<&'static str, String> {
        let (table, action) = (message["table"].as_str().unwrap(), message["action"].as_str().unwrap());
        if (table, action) == ("trade", "partial") {
            return Err("trade.partial".to_owned());
        }
        let (from, mut before) = (self.events.len(), None);
        let rows = message["data"].as_array().unwrap();
        let is_fine = |row: &&Value| {
            row.get("price").is_some_and(|price| decimal(price).len() > 11 && price.as_f64() < Some(1.0))
        };
        if (table, action) == ("orderBookL2", "partial") {
            self.unfit.retain(|symbol| rows.iter().all(|row| row["symbol"] != **symbol));
        }
        if table == "orderBookL2" {
            // No capture has a book that becomes unfit later.
            self.unfit.extend(rows.iter().filter(is_fine).map(|row| row["symbol"].as_str().unwrap().to_owned()));
        }
        for row in rows {
            let symbol = row["symbol"].as_str().unwrap();
            let at = row.get("timestamp").map(|time| instant(time.as_str().unwrap()));
            let is_first = before.replace(symbol) != Some(symbol);
            if is_first && self.events.len() > from {
                self.end();
            }
            let side = if row["side"] == "Buy" { "bid" } else { "ask" };
            match table {
                "quote" if decimal(&row["bidPrice"]).len() > 11 || decimal(&row["askPrice"]).len() > 11 => {
                    *self.skipped.entry("bitmex.quote finer than 1e-9".to_owned()).or_default() += 1;
                }
                "orderBookL2" if self.unfit.contains(symbol) => {
                    if is_first && action == "partial" {
                        let rest = json!({"expected": 0, "received": 0, "missing": 0});
                        self.push("gap", ("BITMEX", symbol, "bitmex.orderBookL2"), (ts_recv, at), None, rest);
                    }
                    let name = "orderBookL2 of a book finer than 1e-9".to_owned();
                    *self.skipped.entry(name).or_default() += 1;
                }
                "quote" => {
                    let rest = quote((&row["bidPrice"], &row["bidSize"]), (&row["askPrice"], &row["askSize"]));
                    self.push("quote", ("BITMEX", symbol, "bitmex.quote"), (ts_recv, at), None, rest);
                }
                "trade" => {
                    let rest = trade(side, &row["price"], &row["size"]);
                    self.push("trade", ("BITMEX", symbol, "bitmex.trade"), (ts_recv, at), None, rest);
                }
                _ => {
                    let names = ("BITMEX", symbol, "bitmex.orderBookL2");
                    if is_first && action == "partial" {
                        self.push("book_level", names, (ts_recv, at), None, clear());
                    }
                    let key = (symbol.to_owned(), row["id"].as_u64().unwrap());
                    if let Some(price) = row.get("price") {
                        self.prices.insert(key.clone(), price.clone());
                    }
                    match self.prices.get(&key).cloned() {
                        None => *self.skipped.entry("orderBookL2 of an unknown id".to_owned()).or_default() += 1,
                        Some(price) => {
                            let size = row.get("size").cloned().unwrap_or(json!("0"));
                            self.push("book_level", names, (ts_recv, at), None, level(side, &price, &size));
                        }
                    }
                    if action == "delete" {
                        self.prices.remove(&key);
                    }
                }
            }
        }
        if table == "orderBookL2" && action == "partial" && self.events[from]["kind"] != "gap" {
            self.snapshot(from);
        }
        Ok(["quote", "trade", "orderBookL2"].into_iter().find(|name| *name == table).unwrap())
    }
}

fn clear() -> Value {
    json!({"action": "clear", "side": "none", "price": "0", "size": "0", "order_count": 0, "depth": 0, "source_flags": 0})
}

fn level(side: &str, price: &Value, size: &Value) -> Value {
    let size = decimal(size);
    let action = if size == "0" { "delete" } else { "set" };
    json!({"action": action, "side": side, "price": decimal(price), "size": size, "order_count": 0, "depth": 0, "source_flags": 0})
}

fn trade(side: &str, price: &Value, size: &Value) -> Value {
    json!({"price": decimal(price), "size": decimal(size), "side": side, "action": null, "source_flags": 0, "depth": 0, "ts_in_delta": 0})
}

fn quote(bid: (&Value, &Value), ask: (&Value, &Value)) -> Value {
    json!({"bid_px": decimal(bid.0), "bid_sz": decimal(bid.1), "ask_px": decimal(ask.0), "ask_sz": decimal(ask.1)})
}

fn expect(text: &str) -> Twin {
    let mut twin = Twin::default();
    text.lines().for_each(|line| twin.line(line));
    twin
}

fn capture(name: &str) -> Option<Vec<u8>> {
    let folder = std::env::var_os("TAPELINE_TEST_DATA").map(|data| PathBuf::from(data).join("cryptofeed"));
    let Some(folder) = folder.filter(|folder| folder.is_dir()) else {
        eprintln!("skipped: no capture data");
        return None;
    };
    Some(std::fs::read(folder.join(name)).unwrap())
}

/// Name, lines, messages and what is skipped, as another program counted them.
type Counts = (&'static str, u64, &'static [(&'static str, u64)], &'static [(&'static str, u64)]);

const CAPTURES: [Counts; 3] = [
    (
        "COINBASE.ws.28.0.gz",
        9_952,
        &[("l2update", 9_719), ("match", 97), ("snapshot", 10), ("ticker", 107)],
        &[("<-", 3), ("<->", 1), ("last_match", 10), ("subscriptions", 3)],
    ),
    (
        "KRAKEN_FUTURES.ws.1.0.gz",
        7_179,
        &[("book", 7_014), ("book_snapshot", 10), ("ticker", 107), ("trade", 3)],
        &[("<-", 3), ("<->", 1), ("event.info", 1), ("event.subscribed", 30), ("trade_snapshot", 10)],
    ),
    (
        "BITMEX.ws.1.0.gz",
        2_124,
        &[("orderBookL2", 1_979), ("quote", 93), ("trade", 7)],
        &[("<-", 3), ("<->", 1), ("info", 1), ("reply", 30), ("trade.partial", 10)],
    ),
];

#[test]
fn the_real_captures_are_counted_and_every_event_is_the_twins() {
    for (name, lines, messages, skipped) in CAPTURES {
        let Some(bytes) = capture(name) else { return };
        let got = read(&bytes, &options());
        assert!(got.error.is_none() && got.tally.bad_lines == 0, "{name}: {:?}", got.tally.first_bad_lines);
        assert_eq!((got.format, got.tally.lines), ("cryptofeed", lines), "{name}");
        let counts = |of: &[(&str, u64)]| {
            of.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect::<BTreeMap<_, _>>()
        };
        assert_eq!(got.tally.messages, counts(messages), "{name}");
        let mut told = got.tally.skipped.clone();
        told.retain(|name, _| !name.contains("1e-9"));
        assert_eq!(told, counts(skipped), "{name}");
        let mut text = String::new();
        flate2::read::MultiGzDecoder::new(&bytes[..]).read_to_string(&mut text).unwrap();
        let twin = expect(&text);
        assert_eq!((&got.tally.messages, &got.tally.skipped), (&twin.messages, &twin.skipped), "{name}");
        same(&got.events, &twin.events, name);
    }
}

#[test]
fn the_sample_is_the_twins() {
    let (got, twin) = (read(SAMPLE.as_bytes(), &options()), expect(SAMPLE));
    assert_eq!(got.tally.bad_lines, 0, "{:?}", got.tally.first_bad_lines);
    same(&got.events, &twin.events, "sample");
    assert_eq!((&got.tally.messages, &got.tally.skipped), (&twin.messages, &twin.skipped));
    let kinds = |kind: &str| got.events.iter().filter(|event| event["kind"] == kind).count();
    assert_eq!((kinds("trade"), kinds("quote"), kinds("gap")), (3, 3, 1));
    // What the twin could have wrong in the same way.
    let trade = got.events.iter().find(|event| event["kind"] == "trade").unwrap();
    assert_eq!(
        (&trade["side"], &trade["seq"], &trade["ts_recv"]),
        (&json!("bid"), &json!(1_568_268), &json!(1_618_677_817_129_516_100_u64))
    );
    let gap = got.events.iter().find(|event| event["kind"] == "gap").unwrap();
    assert_eq!((&gap["expected"], &gap["missing"]), (&json!(91_194), &json!(2)));
    let deleted = got.events.iter().rfind(|event| event["action"] == "delete").unwrap();
    assert_eq!((&deleted["price"], &deleted["source"]), (&json!("0.00001"), &json!("bitmex.orderBookL2")));
    assert_eq!(got.tally.skipped["orderBookL2 of an unknown id"], 1);
}

#[test]
fn cut_at_every_byte_and_flipped() {
    // The marker line tells the format before its end.
    let header = "wss://ws-feed.pro.coinbase.com <-> ".len();
    cut_everywhere(SAMPLE.as_bytes(), header, &options());
    flip_everywhere(SAMPLE.as_bytes(), SAMPLE.find('\n').unwrap(), &options(), 11);
}

#[test]
fn bad_lines_are_named() {
    for (line, why) in [
        ("1618677817.1 {}", "does not begin with a time"),
        ("1618677817.0123456789: {\"type\":\"x\"}", "does not begin with a time"),
        ("hello", "does not begin with a time"),
        ("1.5: {\"type\":\"l2update\"", "the text ends inside a value"),
        (
            "1.5: {\"type\":\"l2update\",\"product_id\":\"A\",\"changes\":[[\"up\",\"1\",\"1\"]]}",
            "`changes` is no side",
        ),
        ("1.5: {\"type\":\"l2update\",\"product_id\":\"\",\"changes\":[]}", "a symbol that is empty"),
        ("1.5: {\"type\":\"l2update\",\"product_id\":\"A\"}", "`changes` is missing"),
        (
            "1.5: {\"type\":\"match\",\"product_id\":\"A\",\"side\":\"buy\",\"price\":\"0.0000000001\",\"size\":\"1\",\"trade_id\":1}",
            "`price`: more than 9",
        ),
        (
            "1.5: {\"feed\":\"book\",\"product_id\":\"A\",\"side\":\"buy\",\"price\":1,\"qty\":-1,\"seq\":1}",
            "`qty`: negative",
        ),
        (
            "1.5: {\"table\":\"quote\",\"action\":\"insert\",\"data\":[{\"symbol\":\"A\",\"timestamp\":\"now\"}]}",
            "`timestamp` is no time",
        ),
        ("1.5: {\"table\":\"quote\",\"action\":\"other\",\"data\":[]}", "`action` is not what it should be"),
    ] {
        let text = format!("1.0: {{\"type\":\"hello\"}}\n{line}\n");
        let got = read(text.as_bytes(), &options());
        assert_eq!((got.events.len(), got.tally.bad_lines), (0, 1), "{line}");
        assert!(got.tally.first_bad_lines[0].1.starts_with(why), "{line}: {:?}", got.tally.first_bad_lines);
    }
}

#[test]
fn a_bad_line_changes_nothing_of_a_book_that_is_known_by_ids() {
    let line = |action: &str, rows: &str| {
        format!("1.5: {{\"table\":\"orderBookL2\",\"action\":\"{action}\",\"data\":[{rows}]}}\n")
    };
    let row = |symbol: &str, id: u64, rest: &str| {
        format!(
            "{{\"symbol\":\"{symbol}\",\"id\":{id},\"side\":\"Buy\",\"timestamp\":\"2021-04-17T16:00:00.000Z\"{rest}}}"
        )
    };
    let (first, update) = (row("A", 1, ",\"size\":5,\"price\":10"), row("A", 1, ",\"size\":6"));
    let begin = line("partial", &first);
    for bad in [
        line("delete", &format!("{},{}", row("A", 1, ""), row("", 2, ""))),
        line("insert", &format!("{},{}", row("A", 1, ",\"size\":1,\"price\":99"), row("A", 2, ",\"size\":-1"))),
        line("partial", &format!("{},{}", row("A", 2, ",\"size\":1,\"price\":9"), row("A", 3, ",\"size\":\"x\""))),
        line("insert", &format!("{},{}", row("A", 2, ",\"size\":1,\"price\":0.00000000001"), row("A", 3, ""))),
    ] {
        let got = read((begin.clone() + &bad + &line("update", &update)).as_bytes(), &options());
        assert_eq!((got.events.len(), got.tally.bad_lines), (3, 1), "{bad}{:?}", got.tally.first_bad_lines);
        assert_eq!((&got.events[2]["price"], &got.events[2]["size"]), (&"10".into(), &"6".into()), "{bad}");
    }
}

#[test]
fn a_book_that_is_longer_than_a_message_is_several() {
    let levels = 2 * MESSAGE_SLOTS_MAX + 100;
    let mut line = "1.5: {\"type\":\"snapshot\",\"product_id\":\"A\",\"bids\":[".to_owned();
    for level in 0..levels {
        let _ = write!(line, "{}[\"{}\",\"1\"]", if level == 0 { "" } else { "," }, level + 1);
    }
    line.push_str(
        "],\"asks\":[]}\n2.5: {\"type\":\"l2update\",\"product_id\":\"A\",\"changes\":[[\"buy\",\"1\",\"2\"]]}\n",
    );
    for slots in [MESSAGE_SLOTS_MAX, MESSAGE_SLOTS_MAX + 5, 4 * MESSAGE_SLOTS_MAX] {
        let mut input = line_suite::open(line.as_bytes(), &options()).unwrap();
        let got = line_suite::drain(&mut *input, slots);
        assert_eq!((got.events.len(), got.tally.bad_lines), (levels + 2, 0), "{slots}");
        let lasts: Vec<usize> = (0..got.events.len()).filter(|at| has_flag(&got.events[*at], "last")).collect();
        assert_eq!(lasts, [MESSAGE_SLOTS_MAX - 1, 2 * MESSAGE_SLOTS_MAX - 1, levels, levels + 1]);
        let mut prices = got.events[1..=levels].iter().map(|event| event["price"].as_str().unwrap().parse::<usize>());
        assert!((1..=levels).all(|price| prices.next() == Some(Ok(price))), "in order");
    }
}
