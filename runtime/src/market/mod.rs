//! The seeded model of a market behind generated sessions: what happens, when, and to which symbol.
//!
//! ```text
//!   arrivals  day (U shape, opening rush) x bursts -> times, exactly as many as asked for
//!   zipf      times -> symbols
//!   book      symbols -> prices, levels, orders, trades that agree with one another
//!   bars      trades -> 1 s bars
//! ```
//!
//! [`Market`] makes one message at a time in a buffer of its own, under ids of its own: symbol = rank + 1, source =
//! index in [`SOURCES`] + 1. It allocates in its constructor only, holds the same memory however many events it makes,
//! and uses only integers, IEEE 754's exact operations, and libm: equal parameters give equal bytes on every machine.
//!
//! How the streams count: quotes, trades and level changes contiguously for each symbol (a gap really skips numbers, and
//! its event carries the first one missing, right before the message that shows it); orders, news and statuses
//! contiguously over all symbols; depths increase and skip by design (the number of messages made so far); bars are not
//! counted (`UNSEQUENCED`; their `seq` is the interval's end in seconds).

mod arrivals;
mod bars;
mod book;
pub(crate) mod carry;
mod config;
pub(crate) mod itch;
mod prng;
mod text;
mod zipf;

pub use config::{Burst, Config, ConfigError, Mix};

use arrivals::Arrivals;
use bars::{Bars, INTERVAL_NS};
use book::{Instrument, LEVELS, ORDERS, TICK};
use prng::Prng;
use tapeline_core::catalog::SeqRule;
use tapeline_core::event::payload::{
    Bar, BarRest, BookDepth, BookLevel, BookOrder, DepthLevel, Gap, LevelAction, News, Payload, Quote, QuoteWide,
    Status, Trade,
};
use tapeline_core::event::{Flags, KindVersion, Slot};
use tapeline_core::hash;
use tapeline_core::limits::CONTINUATION_BYTES;
use tapeline_core::units::{PRICE_UNDEFINED, Side, SourceId, SymbolId, UnixNanos};
use text::TEXT_BYTES_MAX;
use zipf::Zipf;

/// Streams of the model, by source id - 1.
pub(crate) const SOURCES: [(&str, SeqRule); 8] = [
    ("generated.quote", SeqRule::ContiguousPerSymbol),
    ("generated.trade", SeqRule::ContiguousPerSymbol),
    ("generated.book_level", SeqRule::ContiguousPerSymbol),
    ("generated.book_order", SeqRule::Contiguous),
    ("generated.book_depth", SeqRule::Increasing),
    ("generated.bar", SeqRule::None),
    ("generated.news", SeqRule::Contiguous),
    ("generated.status", SeqRule::Contiguous),
];

const QUOTES: SourceId = SourceId(1);
const TRADES: SourceId = SourceId(2);
const LEVEL_CHANGES: SourceId = SourceId(3);
const ORDER_CHANGES: SourceId = SourceId(4);
const DEPTHS: SourceId = SourceId(5);
const BARS: SourceId = SourceId(6);
const TEXTS: SourceId = SourceId(7);
const STATUSES: SourceId = SourceId(8);

/// Most slots, and events, of one message: all levels of both sides deleted and set anew.
const MESSAGE_MAX: usize = 4 * LEVELS;

const _: () = {
    assert!(MESSAGE_MAX <= crate::input::MESSAGE_SLOTS_MAX, "an empty buffer has room for every message");
    assert!(MESSAGE_MAX > 2 * LEVELS, "a snapshot fits: a clear and all levels");
    assert!(MESSAGE_MAX > 2 * ORDERS + 2, "orders fit: a clear, a fill and its cancel of each, and one more change");
    assert!(MESSAGE_MAX > LEVELS * size_of::<DepthLevel>() / CONTINUATION_BYTES + 1, "a depth fits");
    assert!(
        size_of::<Instrument>() <= 680,
        "with its ids and its cell of the table, the documented 700 bytes a symbol"
    );
    assert!(MESSAGE_MAX > TEXT_BYTES_MAX.div_ceil(CONTINUATION_BYTES), "a text fits");
};

/// Shortest time in ns from the source to the capture.
const DELAY_NS_MIN: u64 = 5_000;
/// Longest time in ns from the source to the capture.
const DELAY_NS_MAX: u64 = 200_000;
/// One quote in so many comes in the wide layout, with order counts.
const WIDE_EVERY: u64 = 1_024;
/// Most numbers that one gap skips.
const GAP_MAX: u64 = 40;
/// Numbers of DBN's `status` schema: halt, trading, and the reason "limit up, limit down".
const STATUS_HALT: u16 = 8;
const STATUS_TRADING: u16 = 7;
const REASON_LIMIT: u16 = 50;

/// What comes next beside what [`Mix`] draws.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Follow {
    /// The quote of this rank that shows the gap before it.
    Quote(u32),
    /// The snapshot of this rank that mends the gap before it.
    Snapshot(u32),
}

/// A generated session, one message at a time.
#[derive(Clone, Debug)]
pub(crate) struct Market {
    start_ns: u64,
    duration_ns: u64,
    arrivals: Arrivals,
    zipf: Zipf,
    instruments: Box<[Instrument]>,
    bars: Bars,
    /// Upper bounds of the kinds' weights, in the order of [`Mix::named`].
    mix: [u64; 8],
    focus_percent: u64,

    /// Which symbol, which kind, and what.
    flow: Prng,
    /// Who leads a burst.
    leaders: Prng,
    /// The last burst that was given a leader, and the leader's rank.
    led: (u64, u32),

    /// Events still to make, and those made since the last arrival was drawn.
    left: u64,
    since: u64,
    /// Arrival that was drawn and has no message yet, ns since the UNIX epoch.
    pending: Option<u64>,
    follow: Option<Follow>,
    /// The halted symbol's rank and when its halt ends.
    halted: Option<(u32, u64)>,
    messages: u64,
    order_id: u64,
    order_seq: u64,
    text_seq: u64,
    status_seq: u64,
    provider: u64,

    /// The current message; never more than [`MESSAGE_MAX`] slots.
    message: Vec<Slot>,
}

impl Market {
    /// A session. O(symbols + bursts), and the only place that allocates.
    ///
    /// # Errors
    /// When a parameter is out of its range.
    pub(crate) fn new(config: &Config) -> Result<Self, ConfigError> {
        config.check()?;
        let stream = |number| Prng::new(config.seed, number);
        let mut start = stream(3);
        let mut mix = [0; 8];
        let mut total = 0;
        for (bound, (_, weight)) in mix.iter_mut().zip(config.mix.named()) {
            total += u64::from(weight);
            *bound = total;
        }
        Ok(Self {
            start_ns: config.start.0,
            duration_ns: config.duration_ns,
            arrivals: Arrivals::new(config, stream(1), stream(2)),
            zipf: Zipf::new(config.symbols, config.zipf_exponent),
            instruments: (0..config.symbols).map(|rank| Instrument::new(rank, config.symbols, &mut start)).collect(),
            bars: Bars::new(config.bar_symbols.min(config.symbols), config.start.0),
            mix,
            focus_percent: u64::from(config.burst.focus_percent),
            flow: stream(4),
            leaders: stream(5),
            led: (0, 0),
            left: config.events,
            since: 0,
            pending: None,
            follow: None,
            halted: None,
            messages: 0,
            order_id: 0,
            order_seq: 0,
            text_seq: 0,
            status_seq: 0,
            provider: hash::stable(SOURCES[TEXTS.index() - 1].0.as_bytes()),
            message: Vec::with_capacity(MESSAGE_MAX),
        })
    }

    /// The current message: one symbol and one source. Empty before the first [`Market::advance`] and after the last.
    pub(crate) fn message(&self) -> &[Slot] {
        &self.message
    }

    /// Events still to come after the current message.
    pub(crate) fn left(&self) -> u64 {
        self.left
    }

    /// Bytes that the model holds.
    pub(crate) fn bytes(&self) -> usize {
        size_of_val(&*self.instruments) + self.zipf.bytes() + self.bars.bytes() + MESSAGE_MAX * size_of::<Slot>()
    }

    /// Makes the next message; `false` when the session is over. No allocation.
    pub(crate) fn advance(&mut self) -> bool {
        self.message.clear();
        if self.left == 0 {
            return false;
        }
        let now = match self.pending {
            Some(now) => now,
            None => {
                let now = self.start_ns + self.arrivals.next(self.since, self.left);
                self.since = 0;
                self.pending = Some(now);
                now
            }
        };
        if !self.due(now) {
            self.arrive(now);
            // A message that must follow at once has the same time.
            if self.follow.is_none() {
                self.pending = None;
            }
        }
        let events = self.finish();
        self.left -= events;
        self.since += events;
        self.messages += 1;
        true
    }

    /// Flags the last event of the message and counts its events.
    fn finish(&mut self) -> u64 {
        let (mut at, mut last, mut events) = (0, 0, 0);
        while at < self.message.len() {
            last = at;
            at += self.message[at].span();
            events += 1;
        }
        debug_assert!(at == self.message.len() && events > 0, "Invariant: a message is whole events");
        self.message[last].flags = self.message[last].flags.with(Flags::LAST);
        events
    }

    /// Makes what falls due by time at or before `now`: a bar, or the end of a halt. The earlier comes first.
    fn due(&mut self, now: u64) -> bool {
        loop {
            let bars = self.bars.due_ns().filter(|due| *due <= now);
            let resume = self.halted.filter(|(_, until)| *until <= now);
            match (bars, resume) {
                (Some(end), resume) if resume.is_none_or(|(_, until)| end <= until) => {
                    if let Some((rank, bar)) = self.bars.close() {
                        self.bar(rank, &bar, end);
                        return true;
                    }
                }
                (_, Some((rank, until))) => {
                    self.halted = None;
                    self.status(rank, until, STATUS_TRADING);
                    return true;
                }
                _ => break,
            }
        }
        self.bars.advance(now);
        false
    }

    /// Makes the message that arrives at `now`.
    fn arrive(&mut self, now: u64) {
        match self.follow.take() {
            Some(Follow::Quote(rank)) => return self.quote(rank, now),
            Some(Follow::Snapshot(rank)) => return self.levels(rank, now),
            None => {}
        }
        let rank = self.rank();
        let draw = self.flow.below(self.mix[7]);
        let kind = self.mix.iter().position(|bound| draw < *bound).unwrap_or(0);
        let instrument = &self.instruments[rank as usize];
        // The end is exact: a message of several events, or that another must follow, only while there is room for any.
        let room = self.left > MESSAGE_MAX as u64;
        match kind {
            1 if instrument.quoted && !self.is_halted(rank) => self.trade(rank, now),
            2 if instrument.quoted && room => self.levels(rank, now),
            3 if instrument.quoted && room => self.orders(rank, now),
            4 if instrument.quoted => self.depth(rank, now),
            5 => self.news(rank, now),
            6 if self.halted.is_none() => {
                let shortest = self.duration_ns / 256;
                self.halted = Some((rank, now + shortest + self.flow.below(3 * shortest)));
                self.status(rank, now, STATUS_HALT);
            }
            7 if instrument.quoted && room => self.gap(rank, now),
            _ => self.quote(rank, now),
        }
    }

    /// The symbol of an arrival: in a burst at times its leader, else any by Zipf's law (as the leader was).
    #[inline]
    fn rank(&mut self) -> u32 {
        if let Some(burst) = self.arrivals.burst() {
            if self.led.0 != burst {
                self.led = (burst, self.zipf.rank(self.leaders.next()));
            }
            if self.flow.below(100) < self.focus_percent {
                return self.led.1;
            }
        }
        self.zipf.rank(self.flow.next())
    }

    fn is_halted(&self, rank: u32) -> bool {
        self.halted.is_some_and(|(halted, _)| halted == rank)
    }

    /// The header of an event of this message; `seq` and the flags are filled in by whoever calls.
    #[inline]
    fn head(&mut self, source: SourceId, rank: u32, now: u64) -> Slot {
        // The lesser of two even draws: short delays are more frequent than long ones.
        let bits = self.flow.next();
        let range = DELAY_NS_MAX - DELAY_NS_MIN;
        let delay = DELAY_NS_MIN + (((bits >> 32) * range) >> 32).min(((bits & 0xffff_ffff) * range) >> 32);
        let instrument = &mut self.instruments[rank as usize];
        Slot {
            flags: Flags::GENERATED,
            ts_recv: UnixNanos(now),
            ts_event: UnixNanos(instrument.ts_event(now, delay)),
            symbol: SymbolId(rank + 1),
            source,
            scale: instrument.scale,
            ..Slot::ZERO
        }
    }

    fn quote(&mut self, rank: u32, now: u64) {
        let mut head = self.head(QUOTES, rank, now);
        let wide = self.flow.below(WIDE_EVERY) == 0;
        let burst = self.arrivals.burst().is_some();
        let instrument = &mut self.instruments[rank as usize];
        instrument.step(&mut self.flow, burst);
        instrument.quoted = true;
        instrument.quote_seq += 1;
        head.seq = instrument.quote_seq;
        let (ticks, size) = instrument.top();
        let mut quote = Quote { bid_px: price(ticks[0]), ask_px: price(ticks[1]), bid_sz: size[0], ask_sz: size[1] };
        if !wide {
            self.message.push(with(head, &quote));
            return;
        }
        (quote.bid_sz, quote.ask_sz) = (0, 0);
        head.flags = head.flags.with(Flags::WIDE);
        let rest = QuoteWide {
            bid_sz: u64::from(size[0]),
            ask_sz: u64::from(size[1]),
            bid_ct: instrument.level(0, 0).2,
            ask_ct: instrument.level(1, 0).2,
            price: PRICE_UNDEFINED,
            ..QuoteWide::default()
        };
        self.message.push(with(head, &quote));
        push_tail(&mut self.message, bytemuck::bytes_of(&rest));
    }

    fn trade(&mut self, rank: u32, now: u64) {
        let mut head = self.head(TRADES, rank, now);
        let instrument = &mut self.instruments[rank as usize];
        let print = instrument.trade(&mut self.flow);
        instrument.trade_seq += 1;
        head.seq = instrument.trade_seq;
        self.bars.trade(rank, print.ticks, print.size);
        let trade = Trade {
            price: price(print.ticks),
            size: u64::from(print.size),
            side: print.aggressor as u8,
            action: b'T',
            ..Trade::default()
        };
        self.message.push(with(head, &trade));
    }

    /// A message of price levels: what changed, or, where that is not known, a clear and all of them.
    fn levels(&mut self, rank: u32, now: u64) {
        let mut head = self.head(LEVEL_CHANGES, rank, now);
        let instrument = &mut self.instruments[rank as usize];
        instrument.level_seq += 1;
        head.seq = instrument.level_seq;
        let message = &mut self.message;
        let mut push = |head: Slot, level: &BookLevel| {
            let part = message.len() as u16;
            message.push(with(Slot { part, ..head }, level));
        };
        let level = |change: book::LevelChange| BookLevel {
            price: price(change.ticks),
            size: u64::from(change.size),
            order_count: change.orders,
            side: change.side as u8,
            action: change.action as u8,
            ..BookLevel::default()
        };
        if instrument.levels_told {
            instrument.levels_changed(&mut self.flow, |change| push(head, &level(change)));
        } else {
            head.flags = head.flags.with(Flags::SNAPSHOT);
            push(head, &BookLevel { action: LevelAction::Clear as u8, ..BookLevel::default() });
            instrument.levels_snapshot(|change| push(head, &level(change)));
        }
    }

    fn orders(&mut self, rank: u32, now: u64) {
        let mut head = self.head(ORDER_CHANGES, rank, now);
        self.order_seq += 1;
        head.seq = self.order_seq;
        let (halted, message) = (self.is_halted(rank), &mut self.message);
        self.instruments[rank as usize].orders_changed(&mut self.flow, halted, &mut self.order_id, |change| {
            let order = BookOrder {
                order_id: change.id,
                price: change.ticks.map_or(PRICE_UNDEFINED, price),
                size: change.size,
                side: change.side as u8,
                action: change.action,
                ..BookOrder::default()
            };
            let part = message.len() as u16;
            message.push(with(Slot { part, ..head }, &order));
        });
    }

    fn depth(&mut self, rank: u32, now: u64) {
        let mut head = self.head(DEPTHS, rank, now);
        head.seq = self.messages + 1;
        let instrument = &self.instruments[rank as usize];
        let levels: [DepthLevel; LEVELS] = std::array::from_fn(|level| {
            let (bid, ask) = (instrument.level(0, level), instrument.level(1, level));
            DepthLevel {
                bid_px: price(bid.0),
                ask_px: price(ask.0),
                bid_sz: bid.1,
                ask_sz: ask.1,
                bid_ct: bid.2,
                ask_ct: ask.2,
            }
        });
        let depth = BookDepth {
            price: levels[0].bid_px,
            size: levels[0].bid_sz,
            levels: LEVELS as u16,
            action: b'M',
            side: Side::Bid as u8,
            ..BookDepth::default()
        };
        self.message.push(with(head, &depth));
        push_tail(&mut self.message, bytemuck::cast_slice(&levels));
    }

    fn bar(&mut self, rank: u32, bar: &bars::Bar, end_ns: u64) {
        let head = Slot {
            flags: Flags::GENERATED.with(Flags::UNSEQUENCED),
            ts_recv: UnixNanos(end_ns),
            ts_event: UnixNanos(end_ns - INTERVAL_NS),
            seq: end_ns / INTERVAL_NS,
            symbol: SymbolId(rank + 1),
            source: BARS,
            scale: self.instruments[rank as usize].scale,
            ..Slot::ZERO
        };
        self.message.push(with(head, &Bar { open: price(bar.open), high: price(bar.high), low: price(bar.low) }));
        let rest = BarRest {
            close: price(bar.close),
            volume: bar.volume,
            interval_ns: INTERVAL_NS,
            trades: bar.trades,
            vwap: bar.vwap(TICK),
            reserved: [0; 2],
        };
        push_tail(&mut self.message, bytemuck::bytes_of(&rest));
    }

    fn news(&mut self, rank: u32, now: u64) {
        let mut head = self.head(TEXTS, rank, now);
        self.text_seq += 1;
        head.seq = self.text_seq;
        let mut text = [0; TEXT_BYTES_MAX];
        let (text_bytes, sentiment, urgency) = text::story(rank, self.flow.next(), &mut text);
        let news = News {
            id: self.text_seq,
            provider: self.provider,
            text_bytes: text_bytes as u32,
            urgency,
            sentiment,
            reserved: 0,
        };
        self.message.push(with(head, &news));
        push_tail(&mut self.message, &text[..text_bytes]);
    }

    fn status(&mut self, rank: u32, now: u64, action: u16) {
        let mut head = self.head(STATUSES, rank, now);
        self.status_seq += 1;
        head.seq = self.status_seq;
        let halt = action == STATUS_HALT;
        let status = Status {
            action,
            reason: if halt { REASON_LIMIT } else { 0 },
            is_trading: if halt { b'N' } else { b'Y' },
            is_quoting: b'Y',
            is_short_sell_restricted: b'~',
            ..Status::default()
        };
        self.message.push(with(head, &status));
    }

    /// Numbers of one stream go missing: its quotes, or, of a symbol whose levels are told, its level changes, which a
    /// snapshot then mends.
    fn gap(&mut self, rank: u32, now: u64) {
        let bits = self.flow.next();
        let missing = 1 + (bits >> 8) % GAP_MAX;
        let instrument = &mut self.instruments[rank as usize];
        let (source, seq) = if instrument.levels_told && bits & 1 == 0 {
            instrument.levels_told = false;
            self.follow = Some(Follow::Snapshot(rank));
            (LEVEL_CHANGES, &mut instrument.level_seq)
        } else {
            self.follow = Some(Follow::Quote(rank));
            (QUOTES, &mut instrument.quote_seq)
        };
        let expected = *seq + 1;
        *seq += missing;
        let mut head = self.head(source, rank, now);
        head.seq = expected;
        self.message.push(with(head, &Gap { expected, received: expected + missing, missing }));
    }
}

/// The text of the symbol of this rank, and its length.
pub(crate) fn symbol_name(rank: u32, into: &mut [u8; text::NAME_BYTES_MAX]) -> usize {
    text::name(rank, into)
}

/// A price of so many ticks, 1e-9.
#[inline]
fn price(ticks: i32) -> i64 {
    i64::from(ticks) * TICK
}

/// `head` as the head of an event of `payload`'s kind.
#[inline]
fn with<P: Payload>(head: Slot, payload: &P) -> Slot {
    let mut slot = Slot { kind: KindVersion::new(P::KIND, P::VERSION), ..head };
    *slot.payload_mut::<P>() = *payload;
    slot
}

/// Appends `bytes` as continuations of the message's only event, whose head they follow.
fn push_tail(message: &mut Vec<Slot>, bytes: &[u8]) {
    for chunk in bytes.chunks(CONTINUATION_BYTES) {
        let mut words = [0u64; 7];
        bytemuck::bytes_of_mut(&mut words)[..chunk.len()].copy_from_slice(chunk);
        message.push(Slot::continuation(words));
    }
    let slots = message.len();
    message[0].set_span(slots);
}
