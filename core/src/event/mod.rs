//! The event: one 64-byte slot, or a span of up to 64 of them.
//!
//! ```text
//!   0 tag u32      ring position + 1; 0 on tape, in history, in digests
//!   4 kind u16     low 12 bits the kind, high 4 bits the version of its layout
//!   6 span_lane u8 low 6 bits slots - 1, high 2 bits the lane
//!   7 flags u8     see [`Flags`]
//!   8 ts_recv u64  when it was captured, ns since the UNIX epoch
//!  16 ts_event u64 the source's own time, u64::MAX = unknown
//!  24 seq u64      the source's sequence number
//!  32 symbol u32   interned symbol, 0 = none
//!  36 part u16     position among the records of one message, or that share a number
//!  38 source u8    interned source, 0 = none
//!  39 scale u8     decimal exponent of the sizes: size = mantissa * 10^-scale
//!  40 payload      24 bytes, by kind (see [`payload`])
//! ```
//!
//! Bytes 0..8 are the word that the ring publishes with one Release store; bytes 8..64 are its body. A longer event
//! goes on in *continuation* slots, whose word has the kind [`Kind::CONTINUATION`] and whose other 56 bytes are payload.
//! All numbers are little-endian in memory and on disk; the crate refuses to build for a big-endian machine.

mod build;
pub mod payload;

use crate::limits::{KIND_ROWS, SLOT_BYTES, SPAN_SLOTS_MAX};
use crate::units::{SourceId, SymbolId, UnixNanos};
use bytemuck::{Pod, Zeroable};
use core::fmt;

pub use build::{EventBuf, SpanTooLong};
pub use payload::Payload;

#[cfg(target_endian = "big")]
compile_error!("tapeline's slots, tapes and digests are little-endian");

/// 64 bytes of an event: its head, or one continuation. Plain data: any bytes are a valid slot.
#[repr(C, align(64))]
#[derive(Clone, Copy, PartialEq, Eq, Pod, Zeroable)]
pub struct Slot {
    /// Ring position + 1 (wrapping) while the slot is in a ring, else 0.
    pub tag: u32,
    /// Kind and layout version; see [`KindVersion`].
    pub kind: KindVersion,
    /// Slots of the event - 1 (low 6 bits) and lane (high 2 bits).
    pub span_lane: u8,
    /// See [`Flags`].
    pub flags: Flags,
    /// Capture time. Never before the event could be known.
    pub ts_recv: UnixNanos,
    /// Time by the source's own clock; may lie after `ts_recv` when the clocks differ.
    pub ts_event: UnixNanos,
    /// Sequence number as the source counts (its rule is in its definition).
    pub seq: u64,
    /// Interned symbol.
    pub symbol: SymbolId,
    /// Position among the records that share `seq`, from 0.
    pub part: u16,
    /// Interned source.
    pub source: SourceId,
    /// Decimal exponent of the event's sizes, at most [`crate::units::SCALE_MAX`].
    pub scale: u8,
    /// The kind's own fields; see [`payload`].
    pub payload: [u64; 3],
}

const _: () = assert!(size_of::<Slot>() == SLOT_BYTES && align_of::<Slot>() == SLOT_BYTES);

impl Slot {
    /// A slot of zero bytes.
    pub const ZERO: Self = Self {
        tag: 0,
        kind: KindVersion(0),
        span_lane: 0,
        flags: Flags::NONE,
        ts_recv: UnixNanos(0),
        ts_event: UnixNanos(0),
        seq: 0,
        symbol: SymbolId(0),
        part: 0,
        source: SourceId(0),
        scale: 0,
        payload: [0; 3],
    };

    /// A continuation slot with these 56 payload bytes.
    #[inline]
    #[must_use]
    pub fn continuation(words: [u64; 7]) -> Self {
        let mut all = [0u64; 8];
        all[1..].copy_from_slice(&words);
        let mut slot: Self = bytemuck::must_cast(all);
        slot.kind = KindVersion::new(Kind::CONTINUATION, 0);
        slot
    }

    /// The 56 payload bytes of a continuation slot, as words.
    #[inline]
    #[must_use]
    pub fn continuation_words(&self) -> &[u64; 7] {
        let all: &[u64; 8] = bytemuck::must_cast_ref(self);
        all[1..].first_chunk().expect("8 - 1 = 7 words")
    }

    /// Slots of the event that this head begins, 1 to 64.
    #[inline]
    #[must_use]
    pub const fn span(&self) -> usize {
        (self.span_lane & 0x3f) as usize + 1
    }

    /// Sets the span.
    ///
    /// # Panics
    /// When `slots` is 0 or above [`SPAN_SLOTS_MAX`].
    #[inline]
    pub const fn set_span(&mut self, slots: usize) {
        assert!(slots >= 1 && slots <= SPAN_SLOTS_MAX, "an event has 1 to 64 slots");
        self.span_lane = (self.span_lane & 0xc0) | (slots - 1) as u8;
    }

    /// The priority lane.
    #[inline]
    #[must_use]
    pub const fn lane(&self) -> Lane {
        Lane::from_bits(self.span_lane >> 6)
    }

    /// Sets the priority lane.
    #[inline]
    pub const fn set_lane(&mut self, lane: Lane) {
        self.span_lane = (self.span_lane & 0x3f) | (lane as u8) << 6;
    }

    /// The kind without its version.
    #[inline]
    #[must_use]
    pub const fn kind(&self) -> Kind {
        self.kind.kind()
    }

    /// The payload as `P`, without looking at the kind. Any bytes are a valid `P`.
    #[inline]
    #[must_use]
    pub fn payload_as<P: Payload>(&self) -> &P {
        const { assert!(size_of::<P>() == crate::limits::PAYLOAD_BYTES) };
        bytemuck::must_cast_ref(&self.payload)
    }

    /// The payload as `P` to write to, without looking at the kind.
    #[inline]
    pub fn payload_mut<P: Payload>(&mut self) -> &mut P {
        bytemuck::must_cast_mut(&mut self.payload)
    }

    /// Kind, version, span, lane and flags together, as the four bytes stand in the slot: to compare them at once.
    #[inline]
    pub(crate) const fn shape(&self) -> u32 {
        self.kind.0 as u32 | (self.span_lane as u32) << 16 | (self.flags.0 as u32) << 24
    }

    /// What makes this event this event; see [`Identity`].
    #[inline]
    #[must_use]
    pub const fn identity(&self) -> Identity {
        Identity { seq: self.seq, symbol: self.symbol, part: self.part, source: self.source, pad: 0 }
    }
}

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slot")
            .field("tag", &self.tag)
            .field("kind", &self.kind)
            .field("span", &self.span())
            .field("flags", &self.flags)
            .field("ts_recv", &self.ts_recv)
            .field("ts_event", &self.ts_event)
            .field("seq", &self.seq)
            .field("symbol", &self.symbol.0)
            .field("part", &self.part)
            .field("source", &self.source.0)
            .field("scale", &self.scale)
            .field("payload", &self.payload)
            .finish()
    }
}

/// Identity of an event: no two events of one capture share it, unless one is a duplicate of the other.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Pod, Zeroable)]
pub struct Identity {
    /// Sequence number of the source.
    pub seq: u64,
    /// Symbol.
    pub symbol: SymbolId,
    /// Part among the records that share `seq`.
    pub part: u16,
    /// Source.
    pub source: SourceId,
    /// Always 0.
    pub pad: u8,
}

/// Twelve bits of kind and four of version.
#[repr(transparent)]
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Pod, Zeroable)]
pub struct KindVersion(pub u16);

impl KindVersion {
    /// Joins a kind and a layout version (0 to 15).
    #[inline]
    #[must_use]
    pub const fn new(kind: Kind, version: u8) -> Self {
        Self(kind.0 & 0x0fff | ((version & 0x0f) as u16) << 12)
    }

    /// The kind.
    #[inline]
    #[must_use]
    pub const fn kind(self) -> Kind {
        Kind(self.0 & 0x0fff)
    }

    /// The version of the kind's layout.
    #[inline]
    #[must_use]
    pub const fn version(self) -> u8 {
        (self.0 >> 12) as u8
    }
}

impl fmt::Debug for KindVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.v{}", self.kind().name(), self.version())
    }
}

/// Kind of an event. A number, so that a kind that this build does not know can be carried, counted and named.
#[repr(transparent)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug, Pod, Zeroable)]
pub struct Kind(pub u16);

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $value:literal, $text:literal;)*) => {
        impl Kind {
            $($(#[$doc])* pub const $name: Self = Self($value);)*

            /// Every kind that this build knows, continuations excepted, by number.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// The kind's name in JSON, NDJSON and tables; `unknown` for one that this build does not know.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self.0 {
                    $($value => $text,)*
                    0xfff => "continuation",
                    _ => "unknown",
                }
            }

            /// The kind of that name.
            #[must_use]
            pub fn from_name(name: &str) -> Option<Self> {
                match name {
                    $($text => Some(Self::$name),)*
                    _ => None,
                }
            }
        }
    };
}

kinds! {
    /// Shard time moves to `ts_recv`. Control: not offered, not accepted, no sample.
    TICK = 1, "tick";
    /// Definition of a symbol: its id and its text. Control.
    SYMBOL_DEF = 2, "symbol_def";
    /// Definition of a source: its id, name and sequence rule. Control.
    SOURCE_DEF = 3, "source_def";
    /// All sources begin a new epoch: dedup, gap detection and books begin anew. Control.
    EPOCH = 4, "epoch";
    /// A handler begins, or ceases, to be called for a topic. Control.
    SUBSCRIPTION = 5, "subscription";
    /// A trade.
    TRADE = 8, "trade";
    /// Best bid and offer.
    QUOTE = 9, "quote";
    /// One price level of a book set, deleted or cleared.
    BOOK_LEVEL = 10, "book_level";
    /// One order of a book added, modified, cancelled, executed.
    BOOK_ORDER = 11, "book_order";
    /// Several price levels of both sides at once, as one record of the source (DBN `mbp-10`).
    BOOK_DEPTH = 12, "book_depth";
    /// Open, high, low, close and volume of an interval.
    BAR = 13, "bar";
    /// A text about a symbol.
    NEWS = 14, "news";
    /// Trading status of a symbol: halt, pause, auction, open.
    STATUS = 15, "status";
    /// Events of a source are missing.
    GAP = 16, "gap";
    /// The engine starts up or shuts down.
    SYSTEM = 17, "system";
    /// The health of a part of the engine has changed.
    HEALTH = 18, "health";
    /// Something has gone wrong.
    ERROR = 19, "error";
    /// An exported dead letter: the record of its failures, and the whole event.
    DEAD_LETTER = 20, "dead_letter";
    /// A scanner's rule fired.
    ALERT = 32, "alert";
    /// A vector of features.
    FEATURES = 33, "features";
    /// A strategy's decision.
    SIGNAL = 34, "signal";
    /// Features of a symbol are wanted.
    FEATURE_REQUEST = 35, "feature_request";
    /// A symbol has begun, or ceased, to fulfil the publisher's rules.
    SYMBOL_QUALIFIED = 36, "symbol_qualified";
    /// A qualified symbol has gone up, or come down, a tier.
    SYMBOL_PROMOTED = 37, "symbol_promoted";
    /// Events of the past are needed.
    BACKFILL_NEEDED = 38, "backfill_needed";
    /// A backfill is over.
    BACKFILL_DONE = 39, "backfill_done";
    /// A handler was quarantined for a symbol, or let go again.
    QUARANTINE = 40, "quarantine";
}

impl Kind {
    /// Kind of a continuation slot's word. Never the kind of an event.
    pub const CONTINUATION: Self = Self(0xfff);

    /// Ticks, definitions and epochs: counted apart from events and never a sample.
    #[inline]
    #[must_use]
    pub const fn is_control(self) -> bool {
        self.0 < Self::TRADE.0
    }

    /// Whether this build knows the kind.
    #[inline]
    #[must_use]
    pub const fn is_known(self) -> bool {
        (self.0 as usize) < KIND_ROWS && KindSet::KNOWN.contains(self)
    }

    /// Row of this kind in tables of [`KIND_ROWS`] rows; unknown kinds share row 0.
    #[inline]
    #[must_use]
    pub const fn row(self) -> usize {
        if self.is_known() { self.0 as usize } else { 0 }
    }
}

/// A set of known kinds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct KindSet(u64);

impl KindSet {
    /// No kind.
    pub const EMPTY: Self = Self(0);
    /// Every kind that this build knows.
    pub const KNOWN: Self = Self::of(Kind::ALL);
    /// What a source says of a market.
    pub const MARKET: Self = Self::of(&[
        Kind::TRADE,
        Kind::QUOTE,
        Kind::BOOK_LEVEL,
        Kind::BOOK_ORDER,
        Kind::BOOK_DEPTH,
        Kind::BAR,
        Kind::NEWS,
        Kind::STATUS,
        Kind::GAP,
    ]);

    /// The set of these kinds.
    #[must_use]
    pub const fn of(kinds: &[Kind]) -> Self {
        let (mut bits, mut index) = (0, 0);
        while index < kinds.len() {
            assert!((kinds[index].0 as usize) < KIND_ROWS, "known kinds have a row");
            bits |= 1 << kinds[index].0;
            index += 1;
        }
        Self(bits)
    }

    /// Whether `kind` is in the set.
    #[inline]
    #[must_use]
    pub const fn contains(self, kind: Kind) -> bool {
        (kind.0 as usize) < KIND_ROWS && self.0 >> kind.0 & 1 == 1
    }

    /// The set of `kind` alone; empty when this build gives it no row.
    #[inline]
    #[must_use]
    pub const fn one(kind: Kind) -> Self {
        if (kind.0 as usize) < KIND_ROWS { Self(1 << kind.0) } else { Self::EMPTY }
    }

    /// Whether a kind is in both sets.
    #[inline]
    #[must_use]
    pub const fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Kinds of either set.
    #[inline]
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Kinds of both sets.
    #[inline]
    #[must_use]
    pub const fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// One bit for each kind, by number.
    #[inline]
    #[must_use]
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// The set of [`KindSet::bits`].
    #[inline]
    #[must_use]
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// Kinds of this set that are not in the other.
    #[inline]
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
}

/// Properties of an event, one bit each.
#[repr(transparent)]
#[derive(Clone, Copy, PartialEq, Eq, Default, Pod, Zeroable)]
pub struct Flags(pub u8);

impl Flags {
    /// None.
    pub const NONE: Self = Self(0);
    /// Last event of its message.
    pub const LAST: Self = Self(1);
    /// From the past, to build state: no sample, no order is placed on it.
    pub const HISTORICAL: Self = Self(1 << 1);
    /// Made by a model, not captured.
    pub const GENERATED: Self = Self(1 << 2);
    /// Part of a snapshot.
    pub const SNAPSHOT: Self = Self(1 << 3);
    /// The source gives no usable sequence number: exempt from dedup and gap checks.
    pub const UNSEQUENCED: Self = Self(1 << 4);
    /// The kind's wide layout: sizes that do not fit the head stand in the first continuation.
    pub const WIDE: Self = Self(1 << 5);
    /// Made by a handler: the last continuation slot is its [`payload::Cause`].
    pub const DERIVED: Self = Self(1 << 6);

    const NAMES: [(Self, &'static str); 7] = [
        (Self::LAST, "last"),
        (Self::HISTORICAL, "historical"),
        (Self::GENERATED, "generated"),
        (Self::SNAPSHOT, "snapshot"),
        (Self::UNSEQUENCED, "unsequenced"),
        (Self::WIDE, "wide"),
        (Self::DERIVED, "derived"),
    ];

    /// Whether every bit of `other` is set.
    #[inline]
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// The bits of both.
    #[inline]
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The bits of `self` that are not in `other`.
    #[inline]
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Names of the bits that are set, as NDJSON shows them.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        Self::NAMES.into_iter().filter(move |(flag, _)| self.contains(*flag)).map(|(_, name)| name)
    }
}

impl fmt::Debug for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.names()).finish()
    }
}

/// Priority lane of an event.
#[repr(u8)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub enum Lane {
    /// Market data and most else.
    #[default]
    Normal = 0,
    /// What may wait.
    Low = 1,
    /// Before normal.
    High = 2,
    /// Before everything.
    Critical = 3,
}

impl Lane {
    /// The lane of the two low bits.
    #[inline]
    #[must_use]
    pub const fn from_bits(bits: u8) -> Self {
        match bits & 3 {
            0 => Self::Normal,
            1 => Self::Low,
            2 => Self::High,
            _ => Self::Critical,
        }
    }
}

/// A whole event in place: its head and its continuations. Never empty; `slots.len() == head.span()`.
#[derive(Clone, Copy, Debug)]
pub struct EventRef<'a> {
    slots: &'a [Slot],
}

impl<'a> EventRef<'a> {
    /// The event that begins at `slots[0]`, or `None` when there is no slot, the first is a continuation, or the span
    /// runs past the end or over the head of another event.
    #[inline]
    #[must_use]
    pub fn first(slots: &'a [Slot]) -> Option<Self> {
        let head = slots.first()?;
        let span = head.span();
        if head.kind() == Kind::CONTINUATION {
            return None;
        }
        if span == 1 {
            return Some(Self { slots: &slots[..1] });
        }
        let slots = slots.get(..span)?;
        slots[1..].iter().all(|slot| slot.kind() == Kind::CONTINUATION).then_some(Self { slots })
    }

    /// The event of a single slot, whatever its span says: for kinds without continuations.
    #[inline]
    #[must_use]
    pub fn single(slot: &'a Slot) -> Self {
        Self { slots: core::slice::from_ref(slot) }
    }

    /// The head.
    #[inline]
    #[must_use]
    pub fn head(&self) -> &'a Slot {
        &self.slots[0]
    }

    /// The continuations.
    #[inline]
    #[must_use]
    pub fn tail(&self) -> &'a [Slot] {
        &self.slots[1..]
    }

    /// Head and continuations.
    #[inline]
    #[must_use]
    pub fn slots(&self) -> &'a [Slot] {
        self.slots
    }

    /// The kind.
    #[inline]
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.head().kind()
    }

    /// The payload, if the event is of `P`'s kind.
    #[inline]
    #[must_use]
    pub fn get<P: Payload>(&self) -> Option<&'a P> {
        (self.kind() == P::KIND).then(|| self.slots[0].payload_as())
    }

    /// Payload bytes of the continuations, as words, the trailing [`payload::Cause`] of a derived event included.
    pub fn tail_words(&self) -> impl Iterator<Item = u64> + use<'a> {
        self.tail().iter().flat_map(|slot| slot.continuation_words().iter().copied())
    }
}

/// Events of a run of slots, in order. Stops before the first slot that does not begin a whole event.
pub fn events(slots: &[Slot]) -> impl Iterator<Item = EventRef<'_>> {
    let mut rest = slots;
    core::iter::from_fn(move || {
        let event = EventRef::first(rest)?;
        rest = &rest[event.slots().len()..];
        Some(event)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::mem::offset_of;

    #[test]
    fn header_layout_is_the_documented_one() {
        assert_eq!(offset_of!(Slot, tag), 0);
        assert_eq!(offset_of!(Slot, kind), 4);
        assert_eq!(offset_of!(Slot, span_lane), 6);
        assert_eq!(offset_of!(Slot, flags), 7);
        assert_eq!(offset_of!(Slot, ts_recv), 8);
        assert_eq!(offset_of!(Slot, ts_event), 16);
        assert_eq!(offset_of!(Slot, seq), 24);
        assert_eq!(offset_of!(Slot, symbol), 32);
        assert_eq!(offset_of!(Slot, part), 36);
        assert_eq!(offset_of!(Slot, source), 38);
        assert_eq!(offset_of!(Slot, scale), 39);
        assert_eq!(offset_of!(Slot, payload), 40);
    }

    #[test]
    fn span_and_lane_share_a_byte_without_touching_each_other() {
        let mut slot = Slot::ZERO;
        for span in 1..=SPAN_SLOTS_MAX {
            for lane in [Lane::Normal, Lane::Low, Lane::High, Lane::Critical] {
                slot.set_span(span);
                slot.set_lane(lane);
                assert_eq!((slot.span(), slot.lane()), (span, lane));
            }
        }
    }

    #[test]
    fn kinds_have_distinct_numbers_names_and_rows() {
        for (index, kind) in Kind::ALL.iter().enumerate() {
            assert!(Kind::ALL[..index].iter().all(|other| other.0 < kind.0 && other.name() != kind.name()));
            assert_eq!(Kind::from_name(kind.name()), Some(*kind));
            assert!(kind.is_known() && kind.row() != 0);
            assert_eq!(kind.is_control(), kind.0 < 8);
            let both = KindVersion::new(*kind, 15);
            assert_eq!((both.kind(), both.version()), (*kind, 15));
        }
        assert!(!Kind(0).is_known() && !Kind(63).is_known() && !Kind::CONTINUATION.is_known());
        assert_eq!(Kind::CONTINUATION.row(), 0);
    }

    #[test]
    fn an_event_cut_short_is_none() {
        let mut head = Slot::ZERO;
        head.kind = KindVersion::new(Kind::NEWS, 0);
        head.set_span(3);
        let tail = Slot::continuation([7; 7]);
        assert!(EventRef::first(&[]).is_none());
        assert!(EventRef::first(&[tail]).is_none());
        assert!(EventRef::first(&[head, tail]).is_none());
        assert!(EventRef::first(&[head, tail, head]).is_none(), "a span may not run over another head");
        let whole = [head, tail, tail, head];
        let event = EventRef::first(&whole).unwrap();
        assert_eq!(event.slots().len(), 3);
        assert_eq!(event.tail_words().count(), 14);
        assert_eq!(events(&whole).count(), 1);
    }
}
