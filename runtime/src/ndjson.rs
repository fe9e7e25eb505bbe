//! Events as NDJSON: one JSON object a line, for people, for `diff`, and for other programs.
//!
//! # Fields
//!
//! Every line begins with these, in this order:
//!
//! | field | value |
//! |---|---|
//! | `kind` | name of the kind, `unknown` for one that this build does not know |
//! | `symbol`, `source` | texts, empty where there is none; never ids |
//! | `ts_recv` | ns since the UNIX epoch |
//! | `ts_event` | the same, null when unknown |
//! | `seq`, `part` | numbers |
//! | `flags` | names of those set, in the order of their bits; a bit without a name as `bit7` |
//!
//! The kind's own follow:
//!
//! | kind | fields |
//! |---|---|
//! | `tick` | `last` (true: nothing follows) |
//! | `symbol_def` | `text` |
//! | `source_def` | `text`, `seq_rule` |
//! | `epoch` | `number` |
//! | `trade` | `price`, `size`, `side`, `action`, `source_flags`, `depth`, `ts_in_delta` |
//! | `quote` | `bid_px`, `bid_sz`, `ask_px`, `ask_sz`; a wide one also `bid_ct`, `ask_ct`, `price`, `size`, `side`, `action`, `source_flags`, `depth`, `ts_in_delta`, `interval_ns` |
//! | `book_level` | `action` (`set`, `delete`, `clear`), `side`, `price`, `size`, `order_count`, `depth`, `source_flags` |
//! | `book_order` | `order_id`, `action`, `side`, `price`, `size`, `channel_id`, `source_flags` |
//! | `book_depth` | `price`, `size`, `side`, `action`, `source_flags`, `depth`, `ts_in_delta`, `levels` (of `bid_px`, `bid_sz`, `bid_ct`, `ask_px`, `ask_sz`, `ask_ct`) |
//! | `bar` | `open`, `high`, `low`, `close`, `volume`, `interval_ns`, `trades`, `vwap` |
//! | `news` | `id`, `provider` (hex of the name's hash), `urgency`, `sentiment`, `text` |
//! | `status` | `action`, `reason`, `trading_event`, `is_trading`, `is_quoting`, `is_short_sell_restricted` |
//! | `gap` | `expected`, `received`, `missing` |
//! | `alert` | `rule` (number), `severity`, `side`, `value`, `reference` |
//! | `features` | `set`, `interval_ns`, `ready` (the bit mask as a number), `values` |
//! | `signal` | `strategy`, `side`, `strength`, `price` |
//! | `unknown`, or a known kind with another layout version than this build's | `number` of the kind, `version`, `payload` (hex, the continuations included) |
//!
//! A derived event ends with `cause`: `source`, `symbol`, `seq`, `part` of the root event, `index` of this output among
//! those of the root or timer, `handler`, and `timer_ns` and `timer` (T, and which of the root's timers; null when no timer
//! made it).
//!
//! # Values
//!
//! - Prices and sizes are strings with the exact decimal value, without an exponent or superfluous zeros (`"2683.8"`).
//!   An undefined price is null. No float is involved.
//! - `side` is `bid`, `ask` or `none`. `action` and the tri-states of a status are the source's byte as a text of one
//!   character, null when it is 0. In both, a byte that is none of these is printed as a number.
//! - A bar's `trades` and `vwap` are null when they are 0, which means "not told". Fields of a continuation that is
//!   missing are null.
//! - Floats are the shortest decimals that read back as the same f64; what JSON cannot write (NaN, infinities) is null.
//! - Integers are plain JSON numbers, up to 64 bits: read them with a parser that keeps those.
//! - Text that is not UTF-8 is shown with replacement characters.
//!
//! Any bytes give a valid line. The ring's tag, the lane, and ids are not shown.

use std::io::Write;
use tapeline_core::catalog::{Catalog, SeqRule};
use tapeline_core::event::payload::{
    Alert, Bar, BarRest, BookDepth, BookLevel, BookOrder, Cause, Epoch, Features, Gap, LevelAction, News, Quote,
    QuoteWide, Signal, SourceDef, Status, SymbolDef, Tick, Trade, text_into,
};
use tapeline_core::event::{EventRef, Flags, Kind};
use tapeline_core::limits::SPAN_BYTES_MAX;
use tapeline_core::units::{PRICE_UNDEFINED, Side, UnixNanos};

/// Decimal exponent of prices.
const PRICE_SCALE: u8 = 9;

/// Appends `event` as one line, its end included. Names come from `catalog`. O(length); allocates only what `out` needs
/// to grow.
pub fn write_event(catalog: &Catalog, event: EventRef<'_>, out: &mut Vec<u8>) {
    let mut line = Line { out };
    let head = event.head();
    let kind = event.kind();
    line.raw("{\"kind\":\"");
    line.raw(if kind.is_known() { kind.name() } else { "unknown" });
    line.raw("\",\"symbol\":");
    line.text(catalog.symbol_text(head.symbol));
    line.raw(",\"source\":");
    line.text(catalog.source_name(head.source));
    line.number("ts_recv", head.ts_recv.0);
    line.key("ts_event");
    line.optional((head.ts_event != UnixNanos::UNKNOWN).then_some(head.ts_event.0));
    line.number("seq", head.seq);
    line.number("part", head.part);
    line.flags(head.flags);
    // Layouts of another version are not read as this one's.
    if kind.is_known() && head.kind.version() == 0 {
        line.payload(event);
    } else {
        line.number("number", kind.0);
        line.number("version", head.kind.version());
        line.key("payload");
        line.raw("\"");
        for word in head.payload.iter().copied().chain(event.tail_words()) {
            line.hex(&word.to_le_bytes());
        }
        line.raw("\"");
    }
    if let Some(cause) = Cause::of(event) {
        line.key("cause");
        line.raw("{\"source\":");
        line.text(catalog.source_name(cause.root.source));
        line.raw(",\"symbol\":");
        line.text(catalog.symbol_text(cause.root.symbol));
        line.number("seq", cause.root.seq);
        line.number("part", cause.root.part);
        line.number("index", cause.index);
        line.number("handler", cause.handler);
        line.key("timer_ns");
        line.optional((cause.by_timer != 0).then_some(cause.timer_ns));
        line.key("timer");
        line.optional((cause.by_timer != 0).then_some(cause.timer));
        line.raw("}");
    }
    line.raw("}\n");
}

/// Whether the first continuation is the kind's own, and not the cause of a derived event.
fn has_own_tail(event: EventRef<'_>) -> bool {
    event.tail().len() > usize::from(event.head().flags.contains(Flags::DERIVED))
}

/// The line under construction.
struct Line<'a> {
    out: &'a mut Vec<u8>,
}

impl Line<'_> {
    fn payload(&mut self, event: EventRef<'_>) {
        let head = event.head();
        let scale = head.scale;
        match event.kind() {
            Kind::TICK => {
                self.raw(if head.payload_as::<Tick>().last != 0 { ",\"last\":true" } else { ",\"last\":false" })
            }
            Kind::SYMBOL_DEF => self.tail_text(event, head.payload_as::<SymbolDef>().text_bytes),
            Kind::SOURCE_DEF => {
                let def: &SourceDef = head.payload_as();
                self.tail_text(event, def.text_bytes);
                self.key("seq_rule");
                self.raw("\"");
                self.raw(SeqRule::from_u8(def.seq_rule).name());
                self.raw("\"");
            }
            Kind::EPOCH => self.number("number", head.payload_as::<Epoch>().number),
            Kind::TRADE => {
                let trade: &Trade = head.payload_as();
                self.price("price", trade.price);
                self.size("size", trade.size, scale);
                self.update(trade.side, trade.action, trade.source_flags, trade.depth, trade.ts_in_delta);
            }
            Kind::QUOTE => self.quote(event, scale),
            Kind::BOOK_LEVEL => {
                let level: &BookLevel = head.payload_as();
                self.key("action");
                match level.action {
                    action @ 0..=2 => self.quoted(LevelAction::from_u8(action).name()),
                    other => self.value(other),
                }
                self.side(level.side);
                self.price("price", level.price);
                self.size("size", level.size, scale);
                self.number("order_count", level.order_count);
                self.number("depth", level.depth);
                self.number("source_flags", level.source_flags);
            }
            Kind::BOOK_ORDER => {
                let order: &BookOrder = head.payload_as();
                self.number("order_id", order.order_id);
                self.byte("action", order.action);
                self.side(order.side);
                self.price("price", order.price);
                self.size("size", u64::from(order.size), scale);
                self.number("channel_id", order.channel_id);
                self.number("source_flags", order.source_flags);
            }
            Kind::BOOK_DEPTH => {
                let depth: &BookDepth = head.payload_as();
                self.price("price", depth.price);
                self.size("size", u64::from(depth.size), scale);
                self.update(depth.side, depth.action, depth.source_flags, depth.depth, depth.ts_in_delta);
                self.key("levels");
                self.list(BookDepth::levels_of(event), |line, level| {
                    line.raw("{\"bid_px\":");
                    line.price_value(level.bid_px);
                    line.size("bid_sz", u64::from(level.bid_sz), scale);
                    line.number("bid_ct", level.bid_ct);
                    line.price("ask_px", level.ask_px);
                    line.size("ask_sz", u64::from(level.ask_sz), scale);
                    line.number("ask_ct", level.ask_ct);
                    line.raw("}");
                });
            }
            Kind::BAR => self.bar(event, scale),
            Kind::NEWS => {
                let news: &News = head.payload_as();
                self.number("id", news.id);
                self.key("provider");
                self.raw("\"");
                self.hex(&news.provider.to_be_bytes());
                self.raw("\"");
                self.number("urgency", news.urgency);
                self.number("sentiment", news.sentiment);
                self.tail_text(event, news.text_bytes);
            }
            Kind::STATUS => {
                let status: &Status = head.payload_as();
                self.number("action", status.action);
                self.number("reason", status.reason);
                self.number("trading_event", status.trading_event);
                self.byte("is_trading", status.is_trading);
                self.byte("is_quoting", status.is_quoting);
                self.byte("is_short_sell_restricted", status.is_short_sell_restricted);
            }
            Kind::GAP => {
                let gap: &Gap = head.payload_as();
                self.number("expected", gap.expected);
                self.number("received", gap.received);
                self.number("missing", gap.missing);
            }
            Kind::ALERT => {
                let alert: &Alert = head.payload_as();
                self.number("rule", alert.rule);
                self.number("severity", alert.severity);
                self.side(alert.side);
                self.float("value", alert.value);
                self.float("reference", alert.reference);
            }
            Kind::FEATURES => {
                let features: &Features = head.payload_as();
                self.number("set", features.set);
                self.number("interval_ns", features.interval_ns);
                self.number("ready", features.ready);
                self.key("values");
                self.list(Features::values_of(event), Self::float_value);
            }
            Kind::SIGNAL => {
                let signal: &Signal = head.payload_as();
                self.number("strategy", signal.strategy);
                self.side(signal.side);
                self.float("strength", signal.strength);
                self.price("price", signal.price);
            }
            other => unreachable!("{other:?} is known and has no fields here"),
        }
    }

    fn quote(&mut self, event: EventRef<'_>, scale: u8) {
        let quote: &Quote = event.head().payload_as();
        let is_wide = event.head().flags.contains(Flags::WIDE);
        let wide = QuoteWide::of(event).filter(|_| has_own_tail(event));
        let sizes = match (is_wide, wide) {
            (false, _) => Some((u64::from(quote.bid_sz), u64::from(quote.ask_sz))),
            (true, wide) => wide.map(|wide| (wide.bid_sz, wide.ask_sz)),
        };
        self.price("bid_px", quote.bid_px);
        self.key("bid_sz");
        self.optional_size(sizes.map(|sizes| sizes.0), scale);
        self.price("ask_px", quote.ask_px);
        self.key("ask_sz");
        self.optional_size(sizes.map(|sizes| sizes.1), scale);
        if let Some(wide) = wide {
            self.number("bid_ct", wide.bid_ct);
            self.number("ask_ct", wide.ask_ct);
            self.price("price", wide.price);
            self.size("size", wide.size, scale);
            self.update(wide.side, wide.action, wide.source_flags, wide.depth, wide.ts_in_delta);
            self.number("interval_ns", wide.interval_ns);
        }
    }

    fn bar(&mut self, event: EventRef<'_>, scale: u8) {
        let bar: &Bar = event.head().payload_as();
        let rest = BarRest::of(event).filter(|_| has_own_tail(event));
        self.price("open", bar.open);
        self.price("high", bar.high);
        self.price("low", bar.low);
        self.price("close", rest.map_or(PRICE_UNDEFINED, |rest| rest.close));
        self.key("volume");
        self.optional_size(rest.map(|rest| rest.volume), scale);
        self.key("interval_ns");
        self.optional(rest.map(|rest| rest.interval_ns));
        self.key("trades");
        self.optional(rest.map(|rest| rest.trades).filter(|trades| *trades != 0));
        self.price("vwap", rest.map(|rest| rest.vwap).filter(|vwap| *vwap != 0).unwrap_or(PRICE_UNDEFINED));
    }

    /// What trades, wide quotes and depths tell of the update that caused them.
    fn update(&mut self, side: u8, action: u8, source_flags: u8, depth: u8, ts_in_delta: i32) {
        self.side(side);
        self.byte("action", action);
        self.number("source_flags", source_flags);
        self.number("depth", depth);
        self.number("ts_in_delta", ts_in_delta);
    }

    fn raw(&mut self, text: &str) {
        self.out.extend_from_slice(text.as_bytes());
    }

    /// `,"name":`
    fn key(&mut self, name: &str) {
        self.raw(",\"");
        self.raw(name);
        self.raw("\":");
    }

    fn value(&mut self, value: impl std::fmt::Display) {
        write!(self.out, "{value}").expect("writing to memory does not fail");
    }

    fn number(&mut self, name: &str, value: impl std::fmt::Display) {
        self.key(name);
        self.value(value);
    }

    fn optional(&mut self, value: Option<u64>) {
        match value {
            Some(value) => self.value(value),
            None => self.raw("null"),
        }
    }

    /// A text that needs no escape.
    fn quoted(&mut self, text: &str) {
        self.raw("\"");
        self.raw(text);
        self.raw("\"");
    }

    fn side(&mut self, side: u8) {
        self.key("side");
        match side {
            0..=2 => self.quoted(Side::from_u8(side).name()),
            other => self.value(other),
        }
    }

    /// A byte that stands for a character.
    fn byte(&mut self, name: &str, byte: u8) {
        self.key(name);
        match byte {
            0 => self.raw("null"),
            byte if byte.is_ascii_graphic() || byte == b' ' => self.text(&[byte]),
            other => self.value(other),
        }
    }

    fn price(&mut self, name: &str, price: i64) {
        self.key(name);
        self.price_value(price);
    }

    fn price_value(&mut self, price: i64) {
        if price == PRICE_UNDEFINED {
            self.raw("null");
        } else {
            self.decimal(price < 0, price.unsigned_abs(), PRICE_SCALE);
        }
    }

    fn size(&mut self, name: &str, mantissa: u64, scale: u8) {
        self.key(name);
        self.decimal(false, mantissa, scale);
    }

    fn optional_size(&mut self, mantissa: Option<u64>, scale: u8) {
        match mantissa {
            Some(mantissa) => self.decimal(false, mantissa, scale),
            None => self.raw("null"),
        }
    }

    /// `mantissa * 10^-scale` in full, as a string, without superfluous zeros.
    fn decimal(&mut self, negative: bool, mantissa: u64, scale: u8) {
        let (mut mantissa, mut scale) = (mantissa, usize::from(scale));
        while scale > 0 && mantissa.is_multiple_of(10) {
            if mantissa == 0 {
                scale = 0;
            } else {
                mantissa /= 10;
                scale -= 1;
            }
        }
        // u64::MAX has 20 digits.
        let mut digits = [b'0'; 20];
        let mut first = digits.len();
        while mantissa > 0 || first == digits.len() {
            first -= 1;
            digits[first] = b'0' + (mantissa % 10) as u8;
            mantissa /= 10;
        }
        let digits = &digits[first..];
        self.raw(if negative { "\"-" } else { "\"" });
        let whole = digits.len().saturating_sub(scale);
        self.out.extend_from_slice(if whole == 0 { b"0" } else { &digits[..whole] });
        if scale > 0 {
            self.raw(".");
            self.out.extend(std::iter::repeat_n(b'0', scale.saturating_sub(digits.len())));
            self.out.extend_from_slice(&digits[whole..]);
        }
        self.raw("\"");
    }

    fn float(&mut self, name: &str, value: f64) {
        self.key(name);
        self.float_value(value);
    }

    fn float_value(&mut self, value: f64) {
        if value.is_finite() {
            // Debug is the shortest text that reads back the same, with an exponent for the very large and small.
            write!(self.out, "{value:?}").expect("writing to memory does not fail");
        } else {
            self.raw("null");
        }
    }

    fn hex(&mut self, bytes: &[u8]) {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        for byte in bytes {
            self.out.extend_from_slice(&[DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
        }
    }

    fn flags(&mut self, flags: Flags) {
        const UNNAMED: [(Flags, &str); 1] = [(Flags(1 << 7), "bit7")];
        let unnamed = UNNAMED.into_iter().filter(|(flag, _)| flags.contains(*flag)).map(|(_, name)| name);
        self.key("flags");
        self.list(flags.names().chain(unnamed), Self::quoted);
    }

    fn list<T>(&mut self, values: impl Iterator<Item = T>, write: impl Fn(&mut Self, T)) {
        self.raw("[");
        for (index, value) in values.enumerate() {
            if index > 0 {
                self.raw(",");
            }
            write(self, value);
        }
        self.raw("]");
    }

    /// The first `text_bytes` bytes of the continuations, as far as there are as many.
    fn tail_text(&mut self, event: EventRef<'_>, text_bytes: u32) {
        self.key("text");
        let mut buffer = [0; SPAN_BYTES_MAX];
        let len = text_into(event, text_bytes as usize, &mut buffer);
        self.text(&buffer[..len]);
    }

    /// A JSON string of that text.
    fn text(&mut self, bytes: &[u8]) {
        self.raw("\"");
        for chunk in bytes.utf8_chunks() {
            self.escaped(chunk.valid().as_bytes());
            if !chunk.invalid().is_empty() {
                self.raw("\u{fffd}");
            }
        }
        self.raw("\"");
    }

    fn escaped(&mut self, utf8: &[u8]) {
        for &byte in utf8 {
            match byte {
                b'"' => self.raw("\\\""),
                b'\\' => self.raw("\\\\"),
                b'\n' => self.raw("\\n"),
                b'\r' => self.raw("\\r"),
                b'\t' => self.raw("\\t"),
                0..=0x1f => {
                    self.raw("\\u00");
                    self.hex(&[byte]);
                }
                _ => self.out.push(byte),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tapeline_core::event::payload::{DepthLevel, Payload};
    use tapeline_core::event::{EventBuf, Identity, KindVersion, Slot};
    use tapeline_core::units::{SourceId, SymbolId};

    fn catalog() -> Catalog {
        let mut catalog = Catalog::new(100);
        catalog.symbol("BINANCE_SPOT:ETHUSDT".as_bytes()).unwrap();
        catalog.symbol("quo\"te\n\u{1}é".as_bytes()).unwrap();
        catalog.symbol(b"bad\xff\xfeutf8").unwrap();
        catalog.source(b"binance.spot.trade", SeqRule::Increasing).unwrap();
        catalog
    }

    fn event<P: Payload>(payload: &P) -> EventBuf {
        let mut event = EventBuf::new(payload);
        let head = event.head_mut();
        head.ts_recv = UnixNanos(1_723_161_256_000_000_001);
        head.ts_event = UnixNanos::UNKNOWN;
        head.seq = 7;
        head.part = 1;
        head.symbol = SymbolId(1);
        head.source = SourceId(1);
        head.scale = 4;
        event.flag(Flags::LAST);
        event
    }

    fn line(event: &EventBuf) -> String {
        let mut out = Vec::new();
        write_event(&catalog(), EventRef::first(event.slots()).unwrap(), &mut out);
        let text = String::from_utf8(out).unwrap();
        serde_json::from_str::<serde_json::Value>(&text).unwrap();
        text
    }

    /// What follows the header of a line whose header is the usual one.
    fn fields<'a>(kind: &str, line: &'a str) -> &'a str {
        let header = format!(
            "{{\"kind\":\"{kind}\",\"symbol\":\"BINANCE_SPOT:ETHUSDT\",\"source\":\"binance.spot.trade\",\
             \"ts_recv\":1723161256000000001,\"ts_event\":null,\"seq\":7,\"part\":1,\"flags\":[\"last\"]"
        );
        line.strip_prefix(&header).unwrap_or_else(|| panic!("{line} begins with {header}")).strip_suffix("}\n").unwrap()
    }

    #[test]
    fn golden_line_of_a_trade_in_full() {
        let trade = Trade { price: 2_683_800_000_000, size: 30_292, side: 1, action: b'T', ..Trade::default() };
        let mut buf = event(&trade);
        buf.head_mut().ts_event = UnixNanos(5);
        buf.flag(Flags::SNAPSHOT.with(Flags(1 << 7)));
        assert_eq!(
            line(&buf),
            "{\"kind\":\"trade\",\"symbol\":\"BINANCE_SPOT:ETHUSDT\",\"source\":\"binance.spot.trade\",\
             \"ts_recv\":1723161256000000001,\"ts_event\":5,\"seq\":7,\"part\":1,\
             \"flags\":[\"last\",\"snapshot\",\"bit7\"],\"price\":\"2683.8\",\"size\":\"3.0292\",\"side\":\"bid\",\
             \"action\":\"T\",\"source_flags\":0,\"depth\":0,\"ts_in_delta\":0}\n"
        );
    }

    #[test]
    fn golden_lines_of_market_data() {
        let quote = Quote { bid_px: 1_500_000_000, ask_px: i64::MAX, bid_sz: 20_000, ask_sz: 1 };
        assert_eq!(
            fields("quote", &line(&event(&quote))),
            r#","bid_px":"1.5","bid_sz":"2","ask_px":null,"ask_sz":"0.0001""#
        );
        let mut wide = event(&Quote { bid_sz: 0, ask_sz: 0, ..quote });
        wide.head_mut().flags = Flags::LAST;
        wide.push_value(&QuoteWide {
            bid_sz: u64::MAX,
            ask_sz: 3,
            bid_ct: 4,
            ask_ct: 5,
            price: -1,
            size: 6,
            action: b'A',
            side: 2,
            source_flags: 128,
            depth: 7,
            ts_in_delta: -8,
            interval_ns: 9,
        })
        .unwrap();
        wide.head_mut().flags = Flags::LAST.with(Flags::WIDE);
        let text = line(&wide).replace("[\"last\",\"wide\"]", "[\"last\"]");
        assert_eq!(
            fields("quote", &text),
            r#","bid_px":"1.5","bid_sz":"1844674407370955.1615","ask_px":null,"ask_sz":"0.0003","bid_ct":4,"ask_ct":5,"price":"-0.000000001","size":"0.0006","side":"ask","action":"A","source_flags":128,"depth":7,"ts_in_delta":-8,"interval_ns":9"#
        );
        let level =
            BookLevel { price: i64::MIN, size: 0, order_count: 2, side: 2, action: 1, source_flags: 3, depth: 4 };
        assert_eq!(
            fields("book_level", &line(&event(&level))),
            r#","action":"delete","side":"ask","price":"-9223372036.854775808","size":"0","order_count":2,"depth":4,"source_flags":3"#
        );
        let order =
            BookOrder { order_id: u64::MAX, price: 0, size: 10, side: 9, action: 0, source_flags: 1, channel_id: 2 };
        assert_eq!(
            fields("book_order", &line(&event(&order))),
            r#","order_id":18446744073709551615,"action":null,"side":9,"price":"0","size":"0.001","channel_id":2,"source_flags":1"#
        );
        let mut depth =
            event(&BookDepth { price: 1, size: 1, levels: 2, action: 200, side: 0, ..BookDepth::default() });
        let pair = DepthLevel { bid_px: 1_000_000_000, ask_px: i64::MAX, bid_sz: 1, ask_sz: 2, bid_ct: 3, ask_ct: 4 };
        depth.push_bytes(bytemuck::cast_slice(&[pair, pair])).unwrap();
        let pair = r#"{"bid_px":"1","bid_sz":"0.0001","bid_ct":3,"ask_px":null,"ask_sz":"0.0002","ask_ct":4}"#;
        assert_eq!(
            fields("book_depth", &line(&depth)),
            format!(
                r#","price":"0.000000001","size":"0.0001","side":"none","action":200,"source_flags":0,"depth":0,"ts_in_delta":0,"levels":[{pair},{pair}]"#
            )
        );
        let mut bar = event(&Bar { open: 1, high: 2, low: 3 });
        assert_eq!(
            fields("bar", &line(&bar)),
            r#","open":"0.000000001","high":"0.000000002","low":"0.000000003","close":null,"volume":null,"interval_ns":null,"trades":null,"vwap":null"#
        );
        bar.push_value(&BarRest { close: 4, volume: 5, interval_ns: 6, trades: 0, vwap: 7, ..BarRest::default() })
            .unwrap();
        assert!(fields("bar", &line(&bar)).ends_with(
            r#""close":"0.000000004","volume":"0.0005","interval_ns":6,"trades":null,"vwap":"0.000000007""#
        ));
        let status =
            Status { action: 7, reason: 1, trading_event: 2, is_trading: b'Y', is_quoting: b'~', ..Status::default() };
        assert_eq!(
            fields("status", &line(&event(&status))),
            r#","action":7,"reason":1,"trading_event":2,"is_trading":"Y","is_quoting":"~","is_short_sell_restricted":null"#
        );
        let gap = Gap { expected: 1, received: 3, missing: 2 };
        assert_eq!(fields("gap", &line(&event(&gap))), r#","expected":1,"received":3,"missing":2"#);
    }

    #[test]
    fn golden_lines_of_texts_and_control() {
        // 55 bytes, and then a letter of two bytes that lies across two continuations.
        let text = format!("{}é \"end\"", "x".repeat(55));
        let mut news = event(&News {
            id: 1,
            provider: 0xab,
            text_bytes: text.len() as u32,
            urgency: 2,
            sentiment: -3,
            reserved: 0,
        });
        news.push_bytes(text.as_bytes()).unwrap();
        assert_eq!(
            fields("news", &line(&news)),
            format!(
                r#","id":1,"provider":"00000000000000ab","urgency":2,"sentiment":-3,"text":"{}é \"end\"""#,
                "x".repeat(55)
            )
        );
        let mut tick = EventBuf::new(&Tick { last: 1, ..Tick::default() });
        tick.head_mut().ts_recv = UnixNanos(9);
        assert_eq!(
            line(&tick),
            "{\"kind\":\"tick\",\"symbol\":\"\",\"source\":\"\",\"ts_recv\":9,\"ts_event\":0,\"seq\":0,\"part\":0,\
             \"flags\":[],\"last\":true}\n"
        );
        let catalog = catalog();
        let source = line(&catalog.source_def(SourceId(1)));
        assert!(source.ends_with("\"text\":\"binance.spot.trade\",\"seq_rule\":\"increasing\"}\n"), "{source}");
        let symbol = line(&catalog.symbol_def(SymbolId(2)));
        assert!(symbol.ends_with(",\"text\":\"quo\\\"te\\n\\u0001é\"}\n"), "{symbol}");
        assert!(line(&catalog.symbol_def(SymbolId(3))).contains("\"text\":\"bad\u{fffd}\u{fffd}utf8\""));
        assert_eq!(fields("epoch", &line(&event(&Epoch { number: 3, ..Epoch::default() }))), r#","number":3"#);
    }

    #[test]
    fn golden_lines_of_outputs_with_their_cause() {
        let cause = Cause {
            root: Identity { seq: 8, symbol: SymbolId(2), part: 3, source: SourceId(1), pad: 0 },
            index: 4,
            handler: 5,
            ..Cause::default()
        };
        let derived = |mut buf: EventBuf, cause: Cause| {
            buf.push_value(&cause).unwrap();
            buf.flag(Flags::DERIVED);
            line(&buf).replace("[\"last\",\"derived\"]", "[\"last\"]")
        };
        let ending = r#","cause":{"source":"binance.spot.trade","symbol":"quo\"te\n\u0001é","seq":8,"part":3,"index":4,"handler":5,"timer_ns":null,"timer":null}"#;
        let alert = Alert { value: 0.1, reference: f64::NAN, rule: 2, severity: 3, side: 1, reserved: 0 };
        assert_eq!(
            fields("alert", &derived(event(&alert), cause)),
            format!(r#","rule":2,"severity":3,"side":"bid","value":0.1,"reference":null{ending}"#)
        );
        let signal = Signal { strength: -1.0, price: 2_000_000_000, strategy: 3, side: 2, reserved: [0; 3] };
        let by_timer = Cause { by_timer: 1, timer_ns: 99, timer: 17, ..cause };
        assert_eq!(
            fields("signal", &derived(event(&signal), by_timer)),
            format!(
                r#","strategy":3,"side":"ask","strength":-1.0,"price":"2"{}"#,
                ending.replace("\"timer_ns\":null,\"timer\":null", "\"timer_ns\":99,\"timer\":17")
            )
        );
        let mut features = event(&Features { ready: 5, interval_ns: 1_000_000_000, count: 3, set: 1 });
        features.push_bytes(bytemuck::cast_slice(&[0.1f64 + 0.2, -0.0, 1e300])).unwrap();
        assert_eq!(
            fields("features", &derived(features, cause)),
            format!(r#","set":1,"interval_ns":1000000000,"ready":5,"values":[0.30000000000000004,-0.0,1e300]{ending}"#)
        );
        // A derived bar without its second slot: the cause is not taken for it.
        assert!(derived(event(&Bar::default()), cause).contains("\"close\":null"));
    }

    #[test]
    fn kinds_and_versions_of_the_future_show_their_bytes() {
        let mut buf = event(&Gap { expected: 1, received: 2, missing: 3 });
        buf.head_mut().kind = KindVersion::new(Kind(77), 2);
        buf.push_bytes(&[0xab]).unwrap();
        let text = line(&buf);
        assert_eq!(
            fields("unknown", &text),
            format!(
                r#","number":77,"version":2,"payload":"010000000000000002000000000000000300000000000000ab{}""#,
                "00".repeat(55)
            )
        );
        buf.head_mut().kind = KindVersion::new(Kind::TRADE, 1);
        assert!(fields("trade", &line(&buf)).starts_with(r#","number":8,"version":1,"payload":"0100"#));
    }

    #[test]
    fn decimals_are_exact_at_every_scale() {
        let mut state = 1u64;
        for round in 0..200_000u64 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(round | 1);
            let mantissa = state >> (state >> 58);
            let mantissa = if round % 3 == 0 { mantissa / 1000 * 1000 } else { mantissa };
            let scale = (round % 40) as u8;
            let mut out = Vec::new();
            Line { out: &mut out }.decimal(false, mantissa, scale);
            let text = String::from_utf8(out).unwrap();
            let text = text.trim_matches('"');
            let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
            assert!(
                !fraction.ends_with('0') && (whole == "0" || !whole.starts_with('0')),
                "{mantissa} e-{scale}: {text}"
            );
            // The naive way back: all digits, with the zeros that were left out.
            let zeros = "0".repeat(usize::from(scale) - fraction.len());
            let back: u128 = if mantissa == 0 { 0 } else { format!("{whole}{fraction}{zeros}").parse().unwrap() };
            assert_eq!(back, u128::from(mantissa), "{text} of scale {scale}");
        }
    }

    #[test]
    fn any_bytes_are_one_valid_line() {
        let catalog = catalog();
        let mut state = 0x1234_5678u64;
        let mut next = || {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = state;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^ (z >> 31)
        };
        let mut out = Vec::new();
        let mut seen = std::collections::BTreeSet::new();
        for round in 0..60_000 {
            let span = if round % 2 == 0 { 1 } else { 1 + (next() % 64) as usize };
            let mut slots: Vec<Slot> = (0..span)
                .map(|_| {
                    let words: [u64; 8] = std::array::from_fn(|_| next());
                    bytemuck::must_cast(words)
                })
                .collect();
            for slot in &mut slots[1..] {
                slot.kind = KindVersion::new(Kind::CONTINUATION, 0);
            }
            slots[0].set_span(span);
            if round % 8 != 0 {
                slots[0].kind = KindVersion::new(Kind::ALL[next() as usize % Kind::ALL.len()], 0);
                slots[0].symbol = SymbolId(next() as u32 % 5);
                slots[0].source = SourceId(next() as u8 % 3);
            }
            if next() % 4 == 0 {
                // A length that is nearly right.
                slots[0].payload[1] = slots[0].payload[1] & !0xffff_ffff | (next() % 4000);
                slots[0].payload[2] = slots[0].payload[2] & !0xffff_ffff | (next() % 500);
            }
            let Some(event) = EventRef::first(&slots) else { continue };
            out.clear();
            write_event(&catalog, event, &mut out);
            let text = std::str::from_utf8(&out).unwrap();
            assert!(text.ends_with("}\n") && text.matches('\n').count() == 1, "round {round}: {text}");
            assert!(out.len() < crate::diff::LINE_BYTES_MAX, "round {round}: {} bytes", out.len());
            let value: serde_json::Value =
                serde_json::from_str(text).unwrap_or_else(|e| panic!("round {round}: {e}: {text}"));
            assert_eq!(value["seq"].as_u64(), Some(event.head().seq));
            let object = value.as_object().unwrap();
            let header = ["kind", "symbol", "source", "ts_recv", "ts_event", "seq", "part", "flags"];
            assert!(header.iter().all(|name| object.contains_key(*name)));
            seen.insert(value["kind"].as_str().unwrap().to_owned());
        }
        assert_eq!(seen.len(), Kind::ALL.len() + 1);
    }
}
