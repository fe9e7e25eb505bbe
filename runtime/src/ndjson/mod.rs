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
//! | `subscription` | `handler`, `topic` (hex of the names' hashes), `priority`, `subscribed` |
//! | `trade` | `price`, `size`, `side`, `action`, `source_flags`, `depth`, `ts_in_delta` |
//! | `quote` | `bid_px`, `bid_sz`, `ask_px`, `ask_sz`; a wide one also `bid_ct`, `ask_ct`, `price`, `size`, `side`, `action`, `source_flags`, `depth`, `ts_in_delta`, `interval_ns` |
//! | `book_level` | `action` (`set`, `delete`, `clear`), `side`, `price`, `size`, `order_count`, `depth`, `source_flags` |
//! | `book_order` | `order_id`, `action`, `side`, `price`, `size`, `channel_id`, `source_flags` |
//! | `book_depth` | `price`, `size`, `side`, `action`, `source_flags`, `depth`, `ts_in_delta`, `levels` (of `bid_px`, `bid_sz`, `bid_ct`, `ask_px`, `ask_sz`, `ask_ct`) |
//! | `bar` | `open`, `high`, `low`, `close`, `volume`, `interval_ns`, `trades`, `vwap` |
//! | `news` | `id`, `provider` (hex of the name's hash), `urgency`, `sentiment`, `text` |
//! | `status` | `action`, `reason`, `trading_event`, `is_trading`, `is_quoting`, `is_short_sell_restricted` |
//! | `gap` | `expected`, `received`, `missing` |
//! | `system` | `phase`, `reason`, `engine` (hex), `uptime_ns`, `shards`, `text` |
//! | `health` | `state`, `component`, `number`, `reason`, `value`, `threshold`, `text` |
//! | `error` | `code`, `severity`, `component`, `origin` (hex of the name's hash), `count`, `text` |
//! | `dead_letter` | `handler` (hex of the name's hash), `error`, `attempts`, `failures`, `first_failure_ns`, `cause`, `redrives`, `policy`, `order`, `event` (the object of the event's own line; null when parts are missing) |
//! | `alert` | `rule` (number), `rule_name` (null for a number of another make), `severity`, `side`, `value`, `reference` |
//! | `features` | `set`, `interval_ns`, `ready` (the bit mask as a number), `values` |
//! | `signal` | `strategy`, `side`, `strength`, `price` |
//! | `feature_request` | `groups` (hex of the bit set), `rules` (names), `alerts`, `duplicates`, `severity`, `closed_by`, `priority` (null: the mapper decides), `waited_us` |
//! | `symbol_qualified` | `qualified`, `score`, `threshold`, `rules` (names) |
//! | `symbol_promoted` | `from_tier`, `tier`, `score`, `qualified_ns`, `rules` (names) |
//! | `backfill_needed` | `layer` (name of the kind), `interval_s`, `from_ns`, `to_ns`, `reason`, `priority` |
//! | `backfill_done` | `layer`, `interval_s`, `from_ns`, `to_ns`, `status`, `events`, `first_ns`, `last_ns`, `origin` (hex of the name's hash) |
//! | `quarantine` | `handler` (hex of the name's hash), `quarantined`, `strikes` |
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
//!   character, null when it is 0. In both, and where a code has a name, a byte that is none of these is printed as a number.
//! - A bar's `trades` and `vwap` are null when they are 0, which means "not told". Fields of a continuation that is
//!   missing are null.
//! - Floats are the shortest decimals that read back as the same f64; what JSON cannot write (NaN, infinities) is null.
//! - Integers are plain JSON numbers, up to 64 bits: read them with a parser that keeps those.
//! - Text that is not UTF-8 is shown with replacement characters.
//!
//! Any bytes give a valid line. The ring's tag, the lane, and ids are not shown.

mod engine;
mod line;

use line::Line;
use tapeline_core::catalog::{Catalog, SeqRule};
use tapeline_core::event::payload::{
    Alert, Bar, BarRest, BookDepth, BookLevel, BookOrder, Cause, DeadLetter, Epoch, Features, Gap, LevelAction, News,
    Quarantine, Quote, QuoteWide, Signal, SourceDef, Status, Subscription, SymbolDef, Tick, Trade,
};
use tapeline_core::event::{EventBuf, EventRef, Flags, Kind};
use tapeline_core::scanner::Rule;
use tapeline_core::units::{PRICE_UNDEFINED, UnixNanos};

/// Appends `event` as one line, its end included. Names come from `catalog`. O(length); allocates only what `out` needs
/// to grow.
pub fn write_event(catalog: &Catalog, event: EventRef<'_>, out: &mut Vec<u8>) {
    object(catalog, event, out);
    out.push(b'\n');
}

/// The object of `event`, without the end of its line.
fn object(catalog: &Catalog, event: EventRef<'_>, out: &mut Vec<u8>) {
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
        if kind == Kind::DEAD_LETTER {
            inner(catalog, event, &mut line);
        }
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
    line.raw("}");
}

/// A dead letter within a dead letter is not unpacked again.
fn inner(catalog: &Catalog, letter: EventRef<'_>, line: &mut Line<'_>) {
    line.key("event");
    let mut event = EventBuf::new(&Tick::default());
    let whole = DeadLetter::unpack(letter, &mut event).then(|| EventRef::first(event.slots())).flatten();
    match whole.filter(|event| event.kind() != Kind::DEAD_LETTER) {
        Some(event) => object(catalog, event, line.out),
        None => line.raw("null"),
    }
}

/// Whether the first continuation is the kind's own, and not the cause of a derived event.
fn has_own_tail(event: EventRef<'_>) -> bool {
    event.tail().len() > usize::from(event.head().flags.contains(Flags::DERIVED))
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
            Kind::SUBSCRIPTION => {
                let subscription: &Subscription = head.payload_as();
                self.hash("handler", subscription.handler);
                self.hash("topic", subscription.topic);
                self.number("priority", subscription.priority);
                self.flag("subscribed", subscription.subscribed);
            }
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
                self.hash("provider", news.provider);
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
            Kind::SYSTEM | Kind::HEALTH | Kind::ERROR | Kind::DEAD_LETTER => self.of_the_engine(event),
            Kind::ALERT => {
                let alert: &Alert = head.payload_as();
                self.number("rule", alert.rule);
                self.key("rule_name");
                match Rule::from_u16(alert.rule) {
                    Some(rule) => self.quoted(rule.name()),
                    None => self.raw("null"),
                }
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
            Kind::QUARANTINE => {
                let quarantine: &Quarantine = head.payload_as();
                self.hash("handler", quarantine.handler);
                self.flag("quarantined", quarantine.quarantined);
                self.number("strikes", quarantine.strikes);
            }
            _ => self.pipeline(event),
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
}

#[cfg(test)]
mod tests;
