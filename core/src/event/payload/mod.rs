//! The fields of each kind: 24 bytes in the head, and what continues in further slots.
//!
//! Prices are `i64` in units of 1e-9 ([`crate::units::PRICE_ONE`]); `i64::MAX` is undefined. Sizes are mantissas under
//! the head's `scale`. Field names follow DBN. Every type is plain data without padding; its layout and golden bytes
//! are tested at the end of its file. Market data and [`Cause`] are here; control, what the engine says of itself,
//! what its handlers publish and exported dead letters have files of their own.

mod control;
mod dead_letter;
mod derived;
mod system;

pub use control::{Epoch, SourceDef, Subscription, SymbolDef, Tick};
pub use dead_letter::{DEAD_CAUSE_NONE, DeadLetter, DeadLetterRest};
pub use derived::{
    Alert, BackfillDone, BackfillNeeded, BackfillReason, BackfillRest, BackfillStatus, CloseReason, FeatureRequest,
    Features, PRIORITY_UNSET, Quarantine, Signal, SymbolPromoted, SymbolQualified,
};
pub use system::{Component, ErrorReport, Health, HealthReason, HealthState, System, SystemPhase, SystemReason};

use super::{EventBuf, EventRef, Flags, Identity, Kind, KindVersion, Slot};
use crate::limits::PAYLOAD_BYTES;
use crate::units::{PRICE_UNDEFINED, Side};
use bytemuck::{Pod, Zeroable};

/// The 24 bytes that one kind keeps in its head.
pub trait Payload: Pod + Default + PartialEq + core::fmt::Debug {
    /// The kind.
    const KIND: Kind;
    /// Version of this layout.
    const VERSION: u8 = 0;
}

macro_rules! payloads {
    ($($name:ident = $kind:ident;)*) => {
        $(
            impl Payload for $name { const KIND: Kind = Kind::$kind; }
            const _: () = assert!(size_of::<$name>() == PAYLOAD_BYTES);
        )*
    };
}

/// A field of one byte that stands for one of a few words: its numbers, from 0, and their names.
macro_rules! codes {
    ($(#[$doc:meta])* $name:ident { $($(#[$text:meta])* $code:ident = $number:literal, $word:literal;)* }) => {
        $(#[$doc])*
        #[repr(u8)]
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum $name { $($(#[$text])* $code = $number,)* }

        impl $name {
            /// Every code, by number.
            pub const ALL: &'static [Self] = &[$(Self::$code),*];

            /// The code of that number.
            #[inline]
            #[must_use]
            pub const fn from_u8(number: u8) -> Option<Self> {
                match number { $($number => Some(Self::$code),)* _ => None }
            }

            /// Name in NDJSON.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$code => $word,)* }
            }
        }
    };
}
use codes;

payloads! {
    Tick = TICK;
    SymbolDef = SYMBOL_DEF;
    SourceDef = SOURCE_DEF;
    Epoch = EPOCH;
    Subscription = SUBSCRIPTION;
    Trade = TRADE;
    Quote = QUOTE;
    BookLevel = BOOK_LEVEL;
    BookOrder = BOOK_ORDER;
    BookDepth = BOOK_DEPTH;
    Bar = BAR;
    News = NEWS;
    Status = STATUS;
    Gap = GAP;
    System = SYSTEM;
    Health = HEALTH;
    ErrorReport = ERROR;
    DeadLetter = DEAD_LETTER;
    Alert = ALERT;
    Features = FEATURES;
    Signal = SIGNAL;
    FeatureRequest = FEATURE_REQUEST;
    SymbolQualified = SYMBOL_QUALIFIED;
    SymbolPromoted = SYMBOL_PROMOTED;
    BackfillNeeded = BACKFILL_NEEDED;
    BackfillDone = BACKFILL_DONE;
    Quarantine = QUARANTINE;
}

/// A trade.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Pod, Zeroable)]
pub struct Trade {
    /// Price, 1e-9.
    pub price: i64,
    /// Traded size, mantissa under the head's scale.
    pub size: u64,
    /// Side of the aggressor: see [`Side`].
    pub side: u8,
    /// Action byte of the source (DBN: `T`), 0 = none.
    pub action: u8,
    /// Flag byte of the source (DBN), 0 = none.
    pub source_flags: u8,
    /// Book level of the trade (DBN), 0 = top or none.
    pub depth: u8,
    /// Matching-engine sending time to receive time in ns (DBN), 0 = none.
    pub ts_in_delta: i32,
}

impl Trade {
    /// Side of the aggressor.
    #[inline]
    #[must_use]
    pub const fn side(&self) -> Side {
        Side::from_u8(self.side)
    }
}

/// Best bid and offer. With [`Flags::WIDE`] the sizes are those of the [`QuoteWide`] that follows, and these are 0.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Pod, Zeroable)]
pub struct Quote {
    /// Best bid price, 1e-9; `i64::MAX` = no bid.
    pub bid_px: i64,
    /// Best ask price, 1e-9; `i64::MAX` = no ask.
    pub ask_px: i64,
    /// Size at the bid, mantissa.
    pub bid_sz: u32,
    /// Size at the ask, mantissa.
    pub ask_sz: u32,
}

impl Quote {
    /// Whether both sides have a price.
    #[inline]
    #[must_use]
    pub const fn is_two_sided(&self) -> bool {
        self.bid_px != PRICE_UNDEFINED && self.ask_px != PRICE_UNDEFINED
    }

    /// The sizes at bid and ask, mantissas under the head's scale, from wherever `event` keeps them.
    /// (0, 0) when `event` is no quote or its wide part is missing.
    #[inline]
    #[must_use]
    pub fn sizes(event: EventRef<'_>) -> (u64, u64) {
        let Some(quote) = event.get::<Self>() else { return (0, 0) };
        if !event.head().flags.contains(Flags::WIDE) {
            return (u64::from(quote.bid_sz), u64::from(quote.ask_sz));
        }
        QuoteWide::of(event).map_or((0, 0), |wide| (wide.bid_sz, wide.ask_sz))
    }
}

/// First continuation of a wide quote: 64-bit sizes, order counts, and the update that caused the quote (DBN).
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Pod, Zeroable)]
pub struct QuoteWide {
    /// Size at the bid, mantissa.
    pub bid_sz: u64,
    /// Size at the ask, mantissa.
    pub ask_sz: u64,
    /// Orders at the bid (consolidated schemas: publisher of the bid).
    pub bid_ct: u32,
    /// Orders at the ask (consolidated schemas: publisher of the ask).
    pub ask_ct: u32,
    /// Price of the update, 1e-9; `i64::MAX` = none.
    pub price: i64,
    /// Size of the update, mantissa.
    pub size: u64,
    /// Action byte of the update, 0 = none.
    pub action: u8,
    /// Side of the update: see [`Side`].
    pub side: u8,
    /// Flag byte of the source.
    pub source_flags: u8,
    /// Book level of the update.
    pub depth: u8,
    /// Matching-engine sending time to receive time in ns, 0 = none.
    pub ts_in_delta: i32,
    /// Interval of a sampled quote in ns (`bbo-1s`, `bbo-1m`), 0 = every update.
    pub interval_ns: u64,
}

impl QuoteWide {
    /// The wide part of `event`, if it has one.
    #[inline]
    #[must_use]
    pub fn of(event: EventRef<'_>) -> Option<&Self> {
        let wide = event.kind() == Kind::QUOTE && event.head().flags.contains(Flags::WIDE);
        wide.then(|| event.tail().first().map(|slot| bytemuck::must_cast_ref(slot.continuation_words()))).flatten()
    }
}

/// One price level of a book.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Pod, Zeroable)]
pub struct BookLevel {
    /// Price, 1e-9; 0 for a clear.
    pub price: i64,
    /// New size at that price, mantissa; 0 deletes the level.
    pub size: u64,
    /// Orders at that price, 0 = not told.
    pub order_count: u32,
    /// Side: see [`Side`]; [`Side::None`] for a clear of both sides.
    pub side: u8,
    /// See [`LevelAction`].
    pub action: u8,
    /// Flag byte of the source.
    pub source_flags: u8,
    /// Index of the level from the top, where the source tells it; else 0.
    pub depth: u8,
}

/// What happens to a price level.
#[repr(u8)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LevelAction {
    /// The level now has this size.
    Set = 0,
    /// The level is gone.
    Delete = 1,
    /// The whole book (or the side named) is emptied.
    Clear = 2,
}

impl LevelAction {
    /// The action of that byte; unknown ones are [`LevelAction::Set`].
    #[inline]
    #[must_use]
    pub const fn from_u8(byte: u8) -> Self {
        match byte {
            1 => Self::Delete,
            2 => Self::Clear,
            _ => Self::Set,
        }
    }

    /// Name in NDJSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Set => "set",
            Self::Delete => "delete",
            Self::Clear => "clear",
        }
    }
}

/// One order of a book (market by order).
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Pod, Zeroable)]
pub struct BookOrder {
    /// The venue's order id.
    pub order_id: u64,
    /// Price, 1e-9; `i64::MAX` = undefined.
    pub price: i64,
    /// Size, mantissa.
    pub size: u32,
    /// Side: see [`Side`].
    pub side: u8,
    /// `A`dd, `M`odify, `C`ancel, `F`ill, `T`rade, clea`R`, `N`one (DBN's bytes).
    pub action: u8,
    /// Flag byte of the source.
    pub source_flags: u8,
    /// Channel of the source.
    pub channel_id: u8,
}

/// Levels of both sides of a book in one record, best first. [`DepthLevel`] pairs follow in continuations.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Pod, Zeroable)]
pub struct BookDepth {
    /// Price of the update, 1e-9; `i64::MAX` = undefined.
    pub price: i64,
    /// Size of the update, mantissa.
    pub size: u32,
    /// Matching-engine sending time to receive time in ns, 0 = none.
    pub ts_in_delta: i32,
    /// Level pairs that follow.
    pub levels: u16,
    /// Action byte of the update (DBN's bytes).
    pub action: u8,
    /// Side of the update: see [`Side`].
    pub side: u8,
    /// Flag byte of the source.
    pub source_flags: u8,
    /// Level of the update.
    pub depth: u8,
    /// Always 0.
    pub reserved: [u8; 2],
}

/// Bid and ask at one depth of a [`BookDepth`].
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Pod, Zeroable)]
pub struct DepthLevel {
    /// Bid price, 1e-9; `i64::MAX` = none.
    pub bid_px: i64,
    /// Ask price, 1e-9; `i64::MAX` = none.
    pub ask_px: i64,
    /// Size at the bid, mantissa.
    pub bid_sz: u32,
    /// Size at the ask, mantissa.
    pub ask_sz: u32,
    /// Orders at the bid.
    pub bid_ct: u32,
    /// Orders at the ask.
    pub ask_ct: u32,
}

impl BookDepth {
    /// The level pairs of `event`, best first; ends early where continuations are missing.
    pub fn levels_of(event: EventRef<'_>) -> impl Iterator<Item = DepthLevel> + '_ {
        let count = event.get::<Self>().map_or(0, |depth| usize::from(depth.levels));
        let mut words = event.tail_words();
        (0..count).map_while(move |_| {
            let level: [u64; 4] = [words.next()?, words.next()?, words.next()?, words.next()?];
            Some(bytemuck::must_cast(level))
        })
    }
}

/// First part of a bar; [`BarRest`] follows.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Pod, Zeroable)]
pub struct Bar {
    /// First price, 1e-9.
    pub open: i64,
    /// Highest price, 1e-9.
    pub high: i64,
    /// Lowest price, 1e-9.
    pub low: i64,
}

/// Second part of a bar.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Pod, Zeroable)]
pub struct BarRest {
    /// Last price, 1e-9.
    pub close: i64,
    /// Traded size, mantissa.
    pub volume: u64,
    /// Length of the interval in ns. `ts_event` is its start where the source says so, `ts_recv` its end.
    pub interval_ns: u64,
    /// Trades in the interval, 0 = not told.
    pub trades: u64,
    /// Volume-weighted price, 1e-9, 0 = not told.
    pub vwap: i64,
    /// Always 0.
    pub reserved: [u64; 2],
}

impl BarRest {
    /// The second part of `event`, if it is a bar with one.
    #[inline]
    #[must_use]
    pub fn of(event: EventRef<'_>) -> Option<&Self> {
        let slot = (event.kind() == Kind::BAR).then(|| event.tail().first()).flatten()?;
        Some(bytemuck::must_cast_ref(slot.continuation_words()))
    }
}

/// A text about a symbol, in UTF-8, in continuations. One that names several symbols is one event each.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Pod, Zeroable)]
pub struct News {
    /// The provider's id.
    pub id: u64,
    /// Stable hash of the provider's name.
    pub provider: u64,
    /// Length of the text in bytes.
    pub text_bytes: u32,
    /// 0 = routine to 255 = stop everything.
    pub urgency: u8,
    /// Sentiment in hundredths, -100 to 100; 0 = neutral or not told.
    pub sentiment: i8,
    /// Always 0.
    pub reserved: u16,
}

/// Length of the text that follows `event` in bytes: of a news, a definition, and of what the engine says of itself; else 0.
#[must_use]
pub fn text_bytes(event: EventRef<'_>) -> usize {
    let head = event.head();
    let bytes = match event.kind() {
        Kind::SYMBOL_DEF => head.payload_as::<SymbolDef>().text_bytes,
        Kind::SOURCE_DEF => head.payload_as::<SourceDef>().text_bytes,
        Kind::NEWS => head.payload_as::<News>().text_bytes,
        Kind::SYSTEM => head.payload_as::<System>().text_bytes,
        Kind::HEALTH => head.payload_as::<Health>().text_bytes,
        Kind::ERROR => head.payload_as::<ErrorReport>().text_bytes,
        _ => 0,
    };
    bytes as usize
}

impl News {
    /// Copies the text of `event` into `into` and returns its length in bytes (cut at `into.len()`).
    pub fn text_into(event: EventRef<'_>, into: &mut [u8]) -> usize {
        text_into(event, event.get::<Self>().map_or(0, |news| news.text_bytes as usize), into)
    }
}

/// Copies `text_bytes` bytes of `event`'s continuations into `into`; returns how many were there and fitted.
pub fn text_into(event: EventRef<'_>, text_bytes: usize, into: &mut [u8]) -> usize {
    let mut written = 0;
    for slot in event.tail() {
        let bytes: &[u8] = bytemuck::bytes_of(slot.continuation_words());
        let take = bytes.len().min(text_bytes - written).min(into.len() - written);
        into[written..written + take].copy_from_slice(&bytes[..take]);
        written += take;
    }
    written
}

/// Trading status of a symbol. Numbers are those of DBN's `status` schema.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Pod, Zeroable)]
pub struct Status {
    /// What happened: 8 = halt, 9 = pause, 7 = trading, and so on.
    pub action: u16,
    /// Why.
    pub reason: u16,
    /// Further consequences.
    pub trading_event: u16,
    /// `Y`, `N` or `~` (unknown).
    pub is_trading: u8,
    /// `Y`, `N` or `~` (unknown).
    pub is_quoting: u8,
    /// `Y`, `N` or `~` (unknown).
    pub is_short_sell_restricted: u8,
    /// Always 0.
    pub reserved: [u8; 15],
}

/// Events of the head's source (and symbol, if its rule counts per symbol) are missing.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Pod, Zeroable)]
pub struct Gap {
    /// The number that should have come.
    pub expected: u64,
    /// The number that came.
    pub received: u64,
    /// Numbers missing, where the rule tells; else 0.
    pub missing: u64,
}

/// Last continuation of a derived event: which event caused it.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Pod, Zeroable)]
pub struct Cause {
    /// Identity of the source event whose handling, or whose timer, made this event.
    pub root: Identity,
    /// Number of this output among those of the root event or timer, from 0.
    pub index: u32,
    /// The handler that made it, as the bus numbers them.
    pub handler: u16,
    /// 0 = made while handling an event, 1 = by a timer.
    pub by_timer: u16,
    /// T of the timer, ns since the UNIX epoch; 0 when it was no timer.
    pub timer_ns: u64,
    /// Stable hash of the root's symbol text: ids differ between tapes.
    pub symbol_hash: u64,
    /// Stable hash of the root's source name.
    pub source_hash: u64,
    /// Which of the root's timers it was: see [`crate::handler::TimerRequest::id`]; 0 when it was no timer.
    pub timer: u64,
}

impl Cause {
    /// The cause of `event`, if it is derived.
    #[inline]
    #[must_use]
    pub fn of(event: EventRef<'_>) -> Option<&Self> {
        let derived = event.head().flags.contains(Flags::DERIVED);
        let last: &Slot = derived.then(|| event.tail().last()).flatten()?;
        Some(bytemuck::must_cast_ref(last.continuation_words()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::EventBuf;

    /// Golden bytes: the payload's 24 bytes, in hex, of one value per kind. A change here is a change of the format.
    #[test]
    fn golden_bytes() {
        fn hex(bytes: &[u8]) -> String {
            bytes.iter().map(|byte| format!("{byte:02x}")).collect()
        }
        let trade = Trade { price: 1, size: 2, side: 3, action: 4, source_flags: 5, depth: 6, ts_in_delta: 7 };
        assert_eq!(hex(bytemuck::bytes_of(&trade)), "010000000000000002000000000000000304050607000000");
        let quote = Quote { bid_px: 1, ask_px: 2, bid_sz: 3, ask_sz: 4 };
        assert_eq!(hex(bytemuck::bytes_of(&quote)), "010000000000000002000000000000000300000004000000");
        let level = BookLevel { price: 1, size: 2, order_count: 3, side: 4, action: 5, source_flags: 6, depth: 7 };
        assert_eq!(hex(bytemuck::bytes_of(&level)), "010000000000000002000000000000000300000004050607");
        let order = BookOrder { order_id: 1, price: 2, size: 3, side: 4, action: 5, source_flags: 6, channel_id: 7 };
        assert_eq!(hex(bytemuck::bytes_of(&order)), "010000000000000002000000000000000300000004050607");
        let depth = BookDepth {
            price: 1,
            size: 2,
            ts_in_delta: 3,
            levels: 4,
            action: 5,
            side: 6,
            source_flags: 7,
            depth: 8,
            reserved: [0; 2],
        };
        assert_eq!(hex(bytemuck::bytes_of(&depth)), "010000000000000002000000030000000400050607080000");
        let bar = Bar { open: 1, high: 2, low: 3 };
        assert_eq!(hex(bytemuck::bytes_of(&bar)), "010000000000000002000000000000000300000000000000");
        let news = News { id: 1, provider: 2, text_bytes: 3, urgency: 4, sentiment: -1, reserved: 0 };
        assert_eq!(hex(bytemuck::bytes_of(&news)), "010000000000000002000000000000000300000004ff0000");
        let status = Status { action: 1, reason: 2, trading_event: 3, is_trading: 4, ..Status::default() };
        assert_eq!(hex(bytemuck::bytes_of(&status)), "010002000300040000000000000000000000000000000000");
        let gap = Gap { expected: 1, received: 2, missing: 1 };
        assert_eq!(hex(bytemuck::bytes_of(&gap)), "010000000000000002000000000000000100000000000000");
    }

    #[test]
    fn continuations_have_the_size_of_a_continuation() {
        assert_eq!(size_of::<QuoteWide>(), 56);
        assert_eq!(size_of::<BarRest>(), 56);
        assert_eq!(size_of::<Cause>(), 56);
        assert_eq!(size_of::<BackfillRest>(), 56);
        assert_eq!(size_of::<DeadLetterRest>(), 56);
        assert_eq!(size_of::<DepthLevel>(), 32);
    }

    #[test]
    fn wide_quotes_carry_sizes_beyond_32_bits() {
        let mut event = EventBuf::new(&Quote { bid_px: 1, ask_px: 2, ..Quote::default() });
        event.flag(Flags::WIDE);
        assert_eq!(Quote::sizes(EventRef::first(event.slots()).unwrap()), (0, 0), "its wide part is missing");
        event.push_value(&QuoteWide { bid_sz: 1 << 40, ask_sz: 5, ..QuoteWide::default() }).unwrap();
        assert_eq!(Quote::sizes(EventRef::first(event.slots()).unwrap()), (1 << 40, 5));
    }

    #[test]
    fn depth_levels_and_feature_values_come_back_in_order() {
        let mut event = EventBuf::new(&BookDepth { levels: 10, ..BookDepth::default() });
        let levels: Vec<DepthLevel> =
            (0..10).map(|i| DepthLevel { bid_px: 100 - i, ask_px: 101 + i, ..DepthLevel::default() }).collect();
        event.push_bytes(bytemuck::cast_slice(&levels)).unwrap();
        assert_eq!(event.slots().len(), 7);
        let read: Vec<_> = BookDepth::levels_of(EventRef::first(event.slots()).unwrap()).collect();
        assert_eq!(read, levels);

        let mut event = EventBuf::new(&Features { count: 9, ..Features::default() });
        let values: Vec<f64> = (0..9).map(f64::from).collect();
        event.push_bytes(bytemuck::cast_slice(&values)).unwrap();
        let read: Vec<_> = Features::values_of(EventRef::first(event.slots()).unwrap()).collect();
        assert_eq!(read, values);
    }
}
