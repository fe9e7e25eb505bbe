//! Topics: which kinds wait together, how many of them, and what happens when there is no room.
//!
//! A [`Topic`] is a name and a set of kinds with a lane, a capacity, and a [`Policy`] for overload. Topics belong to named
//! *buses*, which a [`Registry`] opens and closes: see there. They act where events wait ([`crate::lanes`]), with
//! `--overload live` only; while the source waits for room, nothing of this is looked at.
//!
//! What can lose an event of a trade or a book is a mistake, unless the topic says so:
//!
//! ```
//! use tapeline_core::event::{Kind, KindSet};
//! use tapeline_core::topics::{Policy, Topic, TopicError};
//!
//! let trades = Topic { policy: Policy::DropOldest, ..Topic::new("trades", KindSet::of(&[Kind::TRADE]), 1_024) };
//! assert_eq!(trades.check(), Err(TopicError::Lossy(Policy::DropOldest)));
//! assert_eq!(Topic { lossy: true, ..trades }.check(), Ok(()));
//! ```

mod registry;

pub use registry::{Bus, BusId, CloseError, OpenError, OpenTopic, Registry, TopicId};

use crate::event::payload::{BookLevel, LevelAction};
use crate::event::{Flags, Kind, KindSet, Lane, Slot};
use crate::limits::{LANE_SLOTS_MAX, NAME_BYTES_MAX, RETRY_POLICIES_MAX};
use bytemuck::{Pod, Zeroable};

/// Kinds of which an event that is missing leaves a hole: its symbol is told by a gap event, which makes a book unusable until its
/// next snapshot.
pub const STRICT_KINDS: KindSet =
    KindSet::of(&[Kind::TRADE, Kind::BOOK_LEVEL, Kind::BOOK_ORDER, Kind::BOOK_DEPTH, Kind::GAP]);

/// Kinds that change a book, and must not overtake each other.
const BOOK_KINDS: KindSet = KindSet::of(&[Kind::BOOK_LEVEL, Kind::BOOK_ORDER, Kind::BOOK_DEPTH, Kind::GAP]);

/// What happens to an event whose topic has no room.
#[repr(u8)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Policy {
    /// It stays where it is, and so does what is behind it in the ring: the source waits.
    #[default]
    Block = 0,
    /// It is refused at admission (`refused_by.topic_full`).
    Refuse = 1,
    /// It is accepted and dropped: `refused_after_admission`.
    DropNewest = 2,
    /// The oldest that wait make room: `refused_after_admission`.
    DropOldest = 3,
    /// Of each key only the newest waits, room or not: what it replaces is `coalesced`. When there is no room for a further key, the
    /// oldest make room.
    Conflate = 4,
    /// It goes to the store of spilled events, and so does all of its topic that follows, until the store is read again. Nothing is lost or
    /// overtaken, unless the store fails: then it is dropped, counted, and told by a gap event.
    Spill = 5,
    /// It is parked among the dead letters, and dropped where they have no room either. What is sent on its way again comes behind what came
    /// later.
    DeadLetter = 6,
}

impl Policy {
    /// Every policy, by number.
    pub const ALL: [Self; 7] =
        [Self::Block, Self::Refuse, Self::DropNewest, Self::DropOldest, Self::Conflate, Self::Spill, Self::DeadLetter];

    /// Name in configurations and reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Block => "block",
            Self::Refuse => "refuse",
            Self::DropNewest => "drop_newest",
            Self::DropOldest => "drop_oldest",
            Self::Conflate => "conflate",
            Self::Spill => "spill",
            Self::DeadLetter => "dead_letter",
        }
    }

    /// The policy of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|policy| policy.name() == name)
    }

    /// Whether an event may be gone for good where it acts, or come out of its order.
    #[must_use]
    pub const fn is_lossy(self) -> bool {
        matches!(self, Self::Refuse | Self::DropNewest | Self::DropOldest | Self::Conflate | Self::DeadLetter)
    }
}

/// Which events are the same thing at another time, so that the newest says all.
#[repr(u8)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum ConflateBy {
    /// Those of one kind, symbol and source: a quote replaces a quote.
    #[default]
    Symbol = 0,
    /// Those of one price and side besides: a level replaces what was said of that level.
    Level = 1,
}

impl ConflateBy {
    /// Name in configurations.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Symbol => "symbol",
            Self::Level => "level",
        }
    }

    /// The key of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Symbol, Self::Level].into_iter().find(|by| by.name() == name)
    }

    /// The key of an event; `None` for one that stands for itself: a clear of a book, and parts of a snapshot, which are whole only
    /// together.
    #[inline]
    #[must_use]
    pub fn key(self, head: &Slot) -> Option<Key> {
        if head.flags.contains(Flags::SNAPSHOT) {
            return None;
        }
        let (mut side, mut price) = (0, 0);
        if self == Self::Level && head.kind() == Kind::BOOK_LEVEL {
            let level = head.payload_as::<BookLevel>();
            if LevelAction::from_u8(level.action) == LevelAction::Clear {
                return None;
            }
            (side, price) = (level.side, level.price);
        }
        let small = u64::from(head.kind().0) | u64::from(head.source.0) << 16 | u64::from(side) << 24;
        Some(Key([u64::from(head.symbol.0) | small << 32, price as u64]))
    }
}

/// Key of conflation: symbol, kind and source, and with [`ConflateBy::Level`] side and price.
#[repr(transparent)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Pod, Zeroable)]
pub struct Key(pub(crate) [u64; 2]);

/// Why a topic cannot be.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TopicError {
    /// The name is empty or longer than [`NAME_BYTES_MAX`] bytes.
    #[error("a topic's name has 1 to {NAME_BYTES_MAX} bytes")]
    Name,
    /// It has no kinds.
    #[error("a topic has a kind at least")]
    NoKinds,
    /// Ticks, definitions and epochs wait in no topic.
    #[error("{} is a control event: it waits in no topic", .0.name())]
    Control(Kind),
    /// The capacity is 0 or above [`LANE_SLOTS_MAX`].
    #[error("a topic has room for 1 to {LANE_SLOTS_MAX} slots")]
    Capacity,
    /// The low watermark is not below the high one, or that is above the capacity.
    #[error("watermarks are low < high <= capacity")]
    Watermarks,
    /// The policy can lose a trade or a change of a book, and the topic does not say that it may.
    #[error("{} can lose trades or changes of a book: the topic has to say lossy = true", .0.name())]
    Lossy(Policy),
    /// Events that expire are lost, too.
    #[error("trades and changes of a book that expire are lost: the topic has to say lossy = true")]
    LossyExpiry,
    /// A change of a single order replaces nothing.
    #[error("book_order events have no key of conflation: each changes another order")]
    NoKey,
    /// The number of the retry policy is out of range.
    #[error("a retry policy has a number below {RETRY_POLICIES_MAX}")]
    Retry,
}

/// A topic, as configured.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Topic {
    /// Name in configurations and reports. Unique on its bus.
    pub name: String,
    /// Kinds that belong to it. A kind belongs to one topic of an engine.
    pub kinds: KindSet,
    /// Lane of its events, but for those that carry another one than [`Lane::Normal`] themselves.
    pub lane: Lane,
    /// Slots that may wait, 1 to [`LANE_SLOTS_MAX`]. An event that is longer is refused.
    pub capacity: usize,
    /// What happens when there is no room.
    pub policy: Policy,
    /// What conflation goes by.
    pub conflate_by: ConflateBy,
    /// Slots from which on the topic is reported as crowded.
    pub high: usize,
    /// Slots down to which it is.
    pub low: usize,
    /// Source time after which an event that still waits is dropped (`expired`), ns; 0 = it never is.
    pub expire_after_ns: u64,
    /// Number of the retry policy of its events.
    pub retry: u8,
    /// Trades and changes of a book may be lost. A gap event then tells their symbol.
    pub lossy: bool,
}

impl Topic {
    /// A topic in the normal lane that blocks, with watermarks at three and one quarters of `capacity` slots.
    #[must_use]
    pub fn new(name: &str, kinds: KindSet, capacity: usize) -> Self {
        Self {
            name: name.to_owned(),
            kinds,
            lane: Lane::Normal,
            capacity,
            policy: Policy::Block,
            conflate_by: ConflateBy::Symbol,
            high: (capacity - capacity / 4).max(1),
            low: capacity / 4,
            expire_after_ns: 0,
            retry: 0,
            lossy: false,
        }
    }

    /// Whether the topic can be.
    ///
    /// # Errors
    /// The first rule that it breaks.
    pub fn check(&self) -> Result<(), TopicError> {
        if self.name.is_empty() || self.name.len() > NAME_BYTES_MAX {
            return Err(TopicError::Name);
        }
        if self.kinds == KindSet::EMPTY {
            return Err(TopicError::NoKinds);
        }
        if let Some(kind) = Kind::ALL.iter().find(|kind| kind.is_control() && self.kinds.contains(**kind)) {
            return Err(TopicError::Control(*kind));
        }
        if self.capacity == 0 || self.capacity > LANE_SLOTS_MAX {
            return Err(TopicError::Capacity);
        }
        if self.low >= self.high || self.high > self.capacity {
            return Err(TopicError::Watermarks);
        }
        let is_strict = Kind::ALL.iter().any(|kind| STRICT_KINDS.contains(*kind) && self.kinds.contains(*kind));
        if is_strict && !self.lossy {
            if self.policy.is_lossy() {
                return Err(TopicError::Lossy(self.policy));
            }
            if self.expire_after_ns > 0 {
                return Err(TopicError::LossyExpiry);
            }
        }
        if self.policy == Policy::Conflate && self.kinds.contains(Kind::BOOK_ORDER) {
            return Err(TopicError::NoKey);
        }
        if usize::from(self.retry) >= RETRY_POLICIES_MAX {
            return Err(TopicError::Retry);
        }
        Ok(())
    }

    /// The topics of the bus `market`, which an engine has unless it is configured otherwise: quotes are conflated, a status goes before
    /// everything, news before market data, and nothing else gives way. Every kind that this build knows is in one of them.
    #[must_use]
    pub fn market() -> Vec<Self> {
        let quotes = KindSet::of(&[Kind::QUOTE]);
        let trades = KindSet::of(&[Kind::TRADE]);
        let status = KindSet::of(&[Kind::STATUS]);
        let news = KindSet::of(&[Kind::NEWS]);
        let mut named = BOOK_KINDS;
        for kinds in [quotes, trades, status, news] {
            named = named.union(kinds);
        }
        let others = Kind::ALL.iter().filter(|kind| !kind.is_control() && !named.contains(**kind));
        let others = others.fold(KindSet::EMPTY, |set, kind| set.union(KindSet::of(&[*kind])));
        vec![
            Self { policy: Policy::Conflate, ..Self::new("quotes", quotes, 1 << 12) },
            Self::new("trades", trades, 1 << 12),
            Self::new("books", BOOK_KINDS, 1 << 13),
            Self { lane: Lane::Critical, ..Self::new("status", status, 1 << 10) },
            Self { lane: Lane::High, ..Self::new("news", news, 1 << 12) },
            Self::new("others", others, 1 << 12),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::EventBuf;
    use crate::event::payload::{Quote, Trade};
    use crate::units::{SourceId, SymbolId};

    #[test]
    fn the_topics_of_the_market_are_good_and_hold_each_kind_once() {
        let topics = Topic::market();
        assert!(topics.iter().all(|topic| topic.check().is_ok()));
        for kind in Kind::ALL {
            let holders = topics.iter().filter(|topic| topic.kinds.contains(*kind)).count();
            assert_eq!(holders, usize::from(!kind.is_control()), "{}", kind.name());
        }
    }

    #[test]
    fn a_topic_that_cannot_be_is_refused_with_the_reason() {
        let trades = KindSet::of(&[Kind::TRADE]);
        let good = Topic::new("trades", trades, 64);
        assert_eq!(good.check(), Ok(()));
        let long = "x".repeat(NAME_BYTES_MAX + 1);
        assert_eq!(Topic { name: long, ..good.clone() }.check(), Err(TopicError::Name));
        assert_eq!(Topic { kinds: KindSet::EMPTY, ..good.clone() }.check(), Err(TopicError::NoKinds));
        let control = KindSet::of(&[Kind::TRADE, Kind::TICK]);
        assert_eq!(Topic { kinds: control, ..good.clone() }.check(), Err(TopicError::Control(Kind::TICK)));
        assert_eq!(Topic { capacity: 0, ..good.clone() }.check(), Err(TopicError::Capacity));
        assert_eq!(Topic { high: 65, ..good.clone() }.check(), Err(TopicError::Watermarks));
        assert_eq!(Topic { low: good.high, ..good.clone() }.check(), Err(TopicError::Watermarks));
        assert_eq!(Topic { expire_after_ns: 1, ..good.clone() }.check(), Err(TopicError::LossyExpiry));
        let orders = KindSet::of(&[Kind::BOOK_ORDER]);
        let orders = Topic { kinds: orders, policy: Policy::Conflate, lossy: true, ..good.clone() };
        assert_eq!(orders.check(), Err(TopicError::NoKey));
        for policy in Policy::ALL {
            assert_eq!(Policy::from_name(policy.name()), Some(policy));
            let topic = Topic { policy, ..good.clone() };
            assert_eq!(topic.check().is_err(), policy.is_lossy(), "{}", policy.name());
            assert_eq!(Topic { lossy: true, ..topic }.check(), Ok(()), "{}", policy.name());
        }
    }

    #[test]
    fn keys_tell_apart_what_must_not_be_merged() {
        let mut quote = EventBuf::new(&Quote::default());
        quote.head_mut().symbol = SymbolId(7);
        let quote = quote.slots()[0];
        let by = ConflateBy::Symbol;
        let same = Slot { seq: 9, part: 3, ..quote };
        assert_eq!(by.key(&quote), by.key(&same));
        assert_ne!(by.key(&quote), by.key(&Slot { symbol: SymbolId(8), ..quote }));
        assert_ne!(by.key(&quote), by.key(&Slot { source: SourceId(1), ..quote }));
        let trade = Slot { symbol: SymbolId(7), ..EventBuf::new(&Trade::default()).slots()[0] };
        assert_ne!(by.key(&quote), by.key(&trade));
        assert_eq!(by.key(&Slot { flags: Flags::SNAPSHOT, ..quote }), None);

        let level =
            |price, side, action| EventBuf::new(&BookLevel { price, side, action, ..BookLevel::default() }).slots()[0];
        let by = ConflateBy::Level;
        let set = by.key(&level(-5, 1, LevelAction::Set as u8));
        assert_eq!(set, by.key(&level(-5, 1, LevelAction::Delete as u8)));
        assert_ne!(set, by.key(&level(-5, 2, LevelAction::Set as u8)));
        assert_ne!(set, by.key(&level(5, 1, LevelAction::Set as u8)));
        assert_eq!(by.key(&level(0, 1, LevelAction::Clear as u8)), None);
    }
}
