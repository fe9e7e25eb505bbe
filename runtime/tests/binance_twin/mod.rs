//! The naive twin of the Binance decoder: the same mapping over `serde_json`'s tree, with decimals as texts and `i128`.
//! Also what the tests of captures share.

use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::io::{Cursor, Read};
use tapeline_core::catalog::Catalog;
use tapeline_core::event::payload::{BookLevel, Gap, Quote, Trade};
use tapeline_core::event::{Kind, events};
use tapeline_runtime::input::binance::BinanceInput;
use tapeline_runtime::input::bytes::{ByteSource, LINE_BYTES_DEFAULT};
use tapeline_runtime::input::{Input, InputError, MESSAGE_SLOTS_MAX, SlotBuf, Status, Tally};

/// An event by its meaning: names instead of ids, all sizes with their scale.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Event {
    pub(crate) kind: &'static str,
    pub(crate) symbol: String,
    pub(crate) source: String,
    pub(crate) ts_recv: u64,
    pub(crate) ts_event: u64,
    pub(crate) seq: u64,
    pub(crate) part: u16,
    pub(crate) flags: Vec<&'static str>,
    pub(crate) prices: Vec<i64>,
    pub(crate) sizes: Vec<u64>,
    pub(crate) scale: u8,
    pub(crate) side: u8,
    pub(crate) action: u8,
}

/// All that an input gave.
pub(crate) struct Decoded {
    pub(crate) events: Vec<Event>,
    pub(crate) tally: Tally,
    pub(crate) error: Option<InputError>,
}

/// Reads `input` to its end into buffers of `slots` slots.
pub(crate) fn drain(input: &mut dyn Input, slots: usize) -> Decoded {
    let (mut catalog, mut out, mut all) = (Catalog::new(1 << 10), SlotBuf::with_capacity(slots), Vec::new());
    let error = loop {
        let status = input.read(&mut catalog, &mut out);
        let mut whole = 0;
        for event in events(out.slots()) {
            whole += event.slots().len();
            all.push(named(event, &catalog));
        }
        assert_eq!(whole, out.slots().len(), "only whole events are appended");
        let last = out.slots().is_empty() || all.last().is_some_and(|event: &Event| event.flags.contains(&"last"));
        assert!(last, "only whole messages are appended");
        match status {
            Ok(Status::More) => assert!(!out.slots().is_empty(), "`More` with nothing in an empty buffer never ends"),
            Ok(Status::End) => break None,
            Err(error) => {
                out.clear();
                let again = input.read(&mut catalog, &mut out);
                assert!(matches!(again, Ok(Status::End)) && out.slots().is_empty(), "after an error comes the end");
                break Some(error);
            }
        }
        out.clear();
    };
    Decoded { events: all, tally: input.tally(), error }
}

/// Decodes bytes, compressed or not, that come as one file.
pub(crate) fn decode(bytes: &[u8]) -> Decoded {
    decode_in(bytes, MESSAGE_SLOTS_MAX)
}

/// As [`decode`], with a buffer of `slots` slots.
pub(crate) fn decode_in(bytes: &[u8], slots: usize) -> Decoded {
    let source = ByteSource::new(Box::new(Cursor::new(bytes.to_vec())), "sample", None).unwrap();
    drain(&mut BinanceInput::new(source, LINE_BYTES_DEFAULT), slots)
}

fn named(event: tapeline_core::event::EventRef<'_>, catalog: &Catalog) -> Event {
    let head = event.head();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let mut named = Event {
        kind: event.kind().name(),
        symbol: text(catalog.symbol_text(head.symbol)),
        source: text(catalog.source_name(head.source)),
        ts_recv: head.ts_recv.0,
        ts_event: head.ts_event.0,
        seq: head.seq,
        part: head.part,
        flags: head.flags.names().collect(),
        scale: head.scale,
        ..Event::default()
    };
    match event.kind() {
        Kind::QUOTE => {
            let quote = event.get::<Quote>().unwrap();
            let (bid, ask) = Quote::sizes(event);
            named.prices = vec![quote.bid_px, quote.ask_px];
            named.sizes = vec![bid, ask];
        }
        Kind::TRADE => {
            let trade = event.get::<Trade>().unwrap();
            (named.prices, named.sizes) = (vec![trade.price], vec![trade.size]);
            (named.side, named.action) = (trade.side, trade.action);
            assert_eq!((trade.source_flags, trade.depth, trade.ts_in_delta), (0, 0, 0));
        }
        Kind::BOOK_LEVEL => {
            let level = event.get::<BookLevel>().unwrap();
            (named.prices, named.sizes) = (vec![level.price], vec![level.size]);
            (named.side, named.action) = (level.side, level.action);
            assert_eq!((level.order_count, level.source_flags, level.depth), (0, 0, 0));
        }
        Kind::GAP => {
            let gap = event.get::<Gap>().unwrap();
            named.sizes = vec![gap.expected, gap.received, gap.missing];
        }
        other => panic!("Binance has no {}", other.name()),
    }
    named
}

/// What the twin makes of one line.
#[derive(Debug)]
pub(crate) enum Line {
    Events(&'static str, Vec<Event>),
    Skipped(String),
    Bad(String),
    Blank,
    /// A number beyond `f64`, which `serde_json` refuses though it is JSON.
    Unknown,
}

/// The twin: what it knows from one line to the next is the symbols of each market, and the next update of each book.
#[derive(Default)]
pub(crate) struct Twin {
    next: BTreeMap<String, u64>,
    symbols: BTreeMap<&'static str, Vec<String>>,
}

type Bad<T> = Result<T, String>;

impl Twin {
    pub(crate) fn line(&mut self, line: &[u8]) -> Line {
        if line.trim_ascii().is_empty() {
            return Line::Blank;
        }
        match self.good_line(line) {
            Ok(line) => line,
            Err(why) if why.contains("number out of range") => Line::Unknown,
            Err(why) => Line::Bad(why),
        }
    }

    fn good_line(&mut self, line: &[u8]) -> Bad<Line> {
        let text = std::str::from_utf8(line).map_err(|error| error.to_string())?;
        let text = text.trim_matches(|c: char| c.is_ascii_whitespace());
        let (time, json) = text.split_once(|c: char| c.is_ascii_whitespace()).ok_or("no space")?;
        if !time.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err("no time".to_owned());
        }
        let ts_recv: u64 = time.parse().map_err(|_| "no time")?;
        if ts_recv == u64::MAX {
            return Err("no time".to_owned());
        }
        let tree: Value = serde_json::from_str(json).map_err(|error| error.to_string())?;
        let mut fields = Map::new();
        if let Value::Object(members) = tree {
            for (key, value) in members {
                match value {
                    Value::Object(inner) if key == "data" => fields.extend(inner),
                    value => drop(fields.insert(key, value)),
                }
            }
        }
        let stream = fields.get("stream").and_then(Value::as_str).unwrap_or("").to_owned();
        let stream =
            if stream.starts_with('!') { &stream[..] } else { stream.split_once('@').map_or(&stream[..], |s| s.1) };
        if let Some(levels) = stream.strip_prefix("depth") {
            let digits: String = levels.chars().take_while(char::is_ascii_digit).collect();
            if !digits.is_empty() {
                return Ok(skipped(&format!("depth{digits}")));
            }
        }
        let update_and_size = fields.contains_key("u") && (fields.contains_key("B") || fields.contains_key("A"));
        match fields.get("e") {
            Some(Value::String(name)) => match name.as_str() {
                "bookTicker" => self.book_ticker(ts_recv, &fields),
                "trade" => self.trade(ts_recv, &fields),
                "depthUpdate" => self.depth(ts_recv, &fields),
                name => Ok(skipped(name)),
            },
            Some(_) => Err("`e` is no text".to_owned()),
            None if fields.contains_key("lastUpdateId") => self.snapshot(ts_recv, &fields),
            None if stream == "bookTicker" || update_and_size => self.book_ticker(ts_recv, &fields),
            None if stream == "trade" || stream.starts_with("depth") => Err("`e` is missing".to_owned()),
            None if !stream.is_empty() => Ok(skipped(stream)),
            None if fields.contains_key("id") || fields.contains_key("result") => Ok(skipped("reply")),
            None => Ok(skipped("unknown")),
        }
    }

    fn book_ticker(&mut self, ts_recv: u64, fields: &Map<String, Value>) -> Bad<Line> {
        let market = market(fields.contains_key("e"), fields)?;
        let mut event = head("quote", market, "bookTicker", ts_recv, fields, "u")?;
        event.symbol = self.symbol(market, string(fields, "s")?)?;
        let (bid, ask) = (decimal(string(fields, "B")?)?, decimal(string(fields, "A")?)?);
        event.scale = bid.1.max(ask.1);
        for (name, size) in [("b", bid), ("a", ask)] {
            let price = price(string(fields, name)?)?;
            event.prices.push(if price == 0 && size.0 == 0 { i64::MAX } else { price });
            event.sizes.push(u64::try_from(size.0 * 10i128.pow((event.scale - size.1).into())).map_err(|_| "range")?);
        }
        event.flags =
            if event.sizes.iter().any(|size| *size > u32::MAX.into()) { vec!["last", "wide"] } else { vec!["last"] };
        self.know(market, &event.symbol);
        Ok(Line::Events("bookTicker", vec![event]))
    }

    fn trade(&mut self, ts_recv: u64, fields: &Map<String, Value>) -> Bad<Line> {
        if !fields.contains_key("X") && !fields.contains_key("M") {
            return Err("no market".to_owned());
        }
        if fields.contains_key("X") {
            let execution = string(fields, "X")?;
            if execution != "MARKET" {
                return Ok(skipped(&format!("trade.{execution}")));
            }
        }
        let market = market(fields.contains_key("X"), fields)?;
        let mut event = head("trade", market, "trade", ts_recv, fields, "t")?;
        event.symbol = self.symbol(market, string(fields, "s")?)?;
        event.prices = vec![price(string(fields, "p")?)?];
        let (size, scale) = decimal(string(fields, "q")?)?;
        (event.sizes, event.scale) = (vec![u64::try_from(size).map_err(|_| "range")?], scale);
        event.side = if fields.get("m").and_then(Value::as_bool).ok_or("`m`")? { 2 } else { 1 };
        event.flags = vec!["last"];
        self.know(market, &event.symbol);
        Ok(Line::Events("trade", vec![event]))
    }

    fn depth(&mut self, ts_recv: u64, fields: &Map<String, Value>) -> Bad<Line> {
        let market = market(fields.contains_key("pu"), fields)?;
        let mut template = head("book_level", market, "depth", ts_recv, fields, "u")?;
        template.symbol = self.symbol(market, string(fields, "s")?)?;
        let number = |name: &str| fields.get(name).map(|value| value.as_u64().ok_or("update")).transpose();
        let (first, previous, last) = (number("U")?, number("pu")?, template.seq);
        let mut events = Vec::new();
        levels(fields, &template, &mut events)?;
        let from = match (previous, first) {
            (Some(previous), _) => previous.checked_add(1).filter(|from| *from <= last),
            (None, Some(first)) if market == "spot" => Some(first).filter(|from| *from <= last),
            _ => Some(0),
        };
        if let Some(from) = from.filter(|_| last < u64::MAX) {
            let expected = self.next.get(&template.symbol).copied().unwrap_or(u64::MAX);
            if from > expected {
                let missing = if previous.is_some() { 0 } else { from - expected };
                let sizes = vec![expected, from, missing];
                let flags = vec!["unsequenced"];
                let gap = Event { kind: "gap", seq: expected, part: u16::MAX, flags, sizes, ..template.clone() };
                events.insert(0, gap);
            }
            self.settle(&template.symbol, last);
        }
        if let Some(last) = events.last_mut() {
            last.flags.insert(0, "last");
        }
        self.know(market, &template.symbol);
        Ok(Line::Events("depth", events))
    }

    fn snapshot(&mut self, ts_recv: u64, fields: &Map<String, Value>) -> Bad<Line> {
        let futures = fields.contains_key("E") || fields.contains_key("T");
        let named = fields.contains_key("symbol");
        let market = match (named, futures) {
            (true, _) => market(futures, fields)?,
            (false, true) => "usdm",
            (false, false) => "spot",
        };
        let mut template = head("book_level", market, "depthSnapshot", ts_recv, fields, "lastUpdateId")?;
        template.flags = vec!["snapshot"];
        template.symbol = if named {
            self.symbol(market, string(fields, "symbol")?)?
        } else {
            match self.symbols.get(market).map_or(&[][..], Vec::as_slice) {
                [] => return Err("too early".to_owned()),
                [only] => only.clone(),
                several => panic!("the twin does not choose between {several:?}"),
            }
        };
        let mut events = vec![Event { prices: vec![0], sizes: vec![0], action: 2, ..template.clone() }];
        levels(fields, &template, &mut events)?;
        self.settle(&template.symbol, template.seq);
        events.last_mut().unwrap().flags.insert(0, "last");
        self.know(market, &template.symbol);
        Ok(Line::Events("depthSnapshot", events))
    }

    fn settle(&mut self, symbol: &str, through: u64) {
        if let Some(end) = through.checked_add(1) {
            let next = self.next.entry(symbol.to_owned()).or_default();
            *next = end.max(*next);
        }
    }

    fn symbol(&self, market: &str, name: &str) -> Bad<String> {
        let symbol = format!("BINANCE_{}:{name}", market.to_uppercase());
        let printable = name.bytes().all(|byte| byte > b' ' && byte != 0x7f);
        if name.is_empty() || !printable || symbol.len() > 96 { Err("symbol".to_owned()) } else { Ok(symbol) }
    }

    fn know(&mut self, market: &'static str, symbol: &str) {
        let known = self.symbols.entry(market).or_default();
        if !known.iter().any(|known| known == symbol) {
            known.push(symbol.to_owned());
        }
    }
}

fn skipped(name: &str) -> Line {
    Line::Skipped(if name.len() > 64 { "other" } else { name }.to_owned())
}

fn market(futures: bool, fields: &Map<String, Value>) -> Bad<&'static str> {
    if fields.contains_key("ps") || fields.contains_key("pair") {
        return Ok("coinm");
    }
    let name =
        string(fields, if fields.contains_key("lastUpdateId") && !fields.contains_key("e") { "symbol" } else { "s" })?;
    let coin_margined = name.split_once('_').is_some_and(|(pair, contract)| {
        contract == "PERP" || pair == "BNBUSD" || (pair.ends_with("USD") && !pair.ends_with("BUSD"))
    });
    Ok(if !futures {
        "spot"
    } else if coin_margined {
        "coinm"
    } else {
        "usdm"
    })
}

fn head(
    kind: &'static str,
    market: &str,
    stream: &str,
    ts_recv: u64,
    fields: &Map<String, Value>,
    seq: &str,
) -> Bad<Event> {
    let ts_event = match fields.get("T").or(fields.get("E")) {
        None => u64::MAX,
        Some(time) => {
            let time = time.as_u64().ok_or("time")?;
            time.checked_mul(1_000_000).or(time.checked_mul(1_000)).ok_or("time")?
        }
    };
    Ok(Event {
        kind,
        source: format!("binance.{market}.{stream}"),
        ts_recv,
        ts_event,
        seq: fields.get(seq).and_then(Value::as_u64).ok_or("seq")?,
        ..Event::default()
    })
}

fn levels(fields: &Map<String, Value>, template: &Event, events: &mut Vec<Event>) -> Bad<()> {
    for (side, short, long) in [(1, "b", "bids"), (2, "a", "asks")] {
        for level in fields.get(short).or(fields.get(long)).and_then(Value::as_array).ok_or("levels")? {
            let level = level.as_array().ok_or("level")?;
            let text = |index: usize| level.get(index).and_then(Value::as_str).ok_or("level");
            let (size, scale) = decimal(text(1)?)?;
            events.push(Event {
                part: events.len() as u16,
                prices: vec![price(text(0)?)?],
                sizes: vec![u64::try_from(size).map_err(|_| "range")?],
                scale,
                side,
                action: u8::from(size == 0),
                ..template.clone()
            });
        }
    }
    Ok(())
}

fn string<'a>(fields: &'a Map<String, Value>, name: &str) -> Bad<&'a str> {
    fields.get(name).and_then(Value::as_str).ok_or_else(|| format!("`{name}`"))
}

/// (mantissa, scale) without trailing zeros after the point; at most 19 decimals.
fn decimal(text: &str) -> Bad<(i128, u8)> {
    let body = text.strip_prefix('-').unwrap_or(text);
    let (whole, fraction) = body.split_once('.').map_or((body, None), |(whole, rest)| (whole, Some(rest)));
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !fraction.is_none_or(digits) {
        return Err(format!("{text} is no decimal"));
    }
    let fraction = fraction.unwrap_or("").trim_end_matches('0');
    if fraction.len() > 19 {
        return Err("too fine".to_owned());
    }
    let mantissa: i128 = format!("{whole}{fraction}").parse().map_err(|_| "range")?;
    Ok((if body == text { mantissa } else { -mantissa }, fraction.len() as u8))
}

fn price(text: &str) -> Bad<i64> {
    let (mantissa, scale) = decimal(text)?;
    let decimals = 9u32.checked_sub(scale.into()).ok_or("too fine")?;
    let units = mantissa.checked_mul(10i128.pow(decimals)).ok_or("range")?;
    i64::try_from(units).ok().filter(|units| *units != i64::MAX).ok_or("range".to_owned())
}

/// The twin's reading of a whole file.
pub(crate) struct Expected {
    pub(crate) events: Vec<Event>,
    pub(crate) messages: BTreeMap<String, u64>,
    pub(crate) skipped: BTreeMap<String, u64>,
    pub(crate) bad_lines: Vec<u64>,
    /// Lines of which the twin cannot tell.
    pub(crate) unknown: Vec<u64>,
}

pub(crate) fn expect(bytes: &[u8]) -> Expected {
    let mut expected = Expected {
        events: Vec::new(),
        messages: BTreeMap::new(),
        skipped: BTreeMap::new(),
        bad_lines: Vec::new(),
        unknown: Vec::new(),
    };
    let mut twin = Twin::default();
    for (index, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
        match twin.line(line) {
            Line::Events(message, events) => {
                expected.events.extend(events);
                *expected.messages.entry(message.to_owned()).or_default() += 1;
            }
            Line::Skipped(name) => *expected.skipped.entry(name).or_default() += 1,
            Line::Bad(_) => expected.bad_lines.push(index as u64 + 1),
            Line::Unknown => expected.unknown.push(index as u64 + 1),
            Line::Blank => {}
        }
    }
    expected
}

/// The folder of real captures and their names, or nothing when it is not there.
pub(crate) fn captures() -> Option<std::path::PathBuf> {
    let folder = std::env::var_os("TAPELINE_TEST_DATA").map(|data| std::path::PathBuf::from(data).join("binance"));
    let folder = folder.filter(|folder| folder.is_dir());
    if folder.is_none() {
        eprintln!("skipped: no capture data");
    }
    folder
}

/// The first `lines` lines of a capture, uncompressed, by another gzip reader than the decoder's.
pub(crate) fn first_lines(path: &std::path::Path, lines: usize) -> Vec<u8> {
    let file = std::fs::File::open(path).unwrap();
    let mut reader = flate2::read::MultiGzDecoder::new(file);
    let (mut text, mut chunk) = (Vec::new(), vec![0; 1 << 16]);
    loop {
        let mut ends = text.iter().enumerate().filter(|(_, byte)| **byte == b'\n');
        if let Some((at, _)) = ends.nth(lines - 1) {
            text.truncate(at + 1);
            return text;
        }
        match reader.read(&mut chunk).unwrap() {
            0 => return text,
            count => text.extend_from_slice(&chunk[..count]),
        }
    }
}
