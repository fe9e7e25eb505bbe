//! Log records of a shard: one slot each, for a ring to a thread that writes them down (rows L1 and 3393).
//!
//! A shard formats nothing and waits for nobody: a record is numbers, handed to [`Probe::log`](crate::shard::Probe::log), which keeps it or drops
//! and counts it. Names are put in by whoever writes the text. What is logged acts on nothing, and no output depends on it.
//!
//! Two things are logged: what an operator wants to know ([`Code`] up to [`Level::Info`]), and the way of the one event that is followed
//! ([`Follow`], [`Level::Trace`]): each stage that it, its retries, and what it causes on its shard passes.
//!
//! ```
//! use tapeline_core::event::Slot;
//! use tapeline_core::log::{Code, Level, Record};
//!
//! let record = Record::new(Code::Quarantined, 2, &Slot::ZERO).with_handler(3);
//! assert_eq!((record.code(), record.level(), record.handler()), (Some(Code::Quarantined), Level::Error, 3));
//! assert_eq!(Record::from_slot(*record.slot()).handler(), 3);
//! ```

use crate::event::{Identity, Kind, KindVersion, Slot};
use crate::units::UnixNanos;
use core::fmt;
use core::str::FromStr;

/// How much it matters; what is logged is this and everything that matters more.
#[repr(u8)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub enum Level {
    /// Nothing is logged.
    #[default]
    Off = 0,
    /// Something is broken: a handler is quarantined.
    Error = 1,
    /// Something is lost or near it: a limit, a gap, a crowded topic.
    Warn = 2,
    /// What happens to single events or topics in due course: an event is dead-lettered.
    Info = 3,
    /// The way of the event that is followed.
    Trace = 4,
}

impl Level {
    /// Every level, by number.
    pub const ALL: [Self; 5] = [Self::Off, Self::Error, Self::Warn, Self::Info, Self::Trace];

    /// Name in configurations and in logs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Trace => "trace",
        }
    }
}

/// What a record says.
#[repr(u16)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Code {
    /// A handler was quarantined for a symbol after too many panics.
    Quarantined = 1,
    /// A limit has acted; first argument: its number ([`crate::shard::Limit`]), second: how often so far. Told at 1, 2, 4, 8 and so on.
    LimitHit = 2,
    /// A source has a gap; first argument: the first number that is missing, second: how many are.
    Gap = 3,
    /// A topic has reached its high watermark; first argument: its number, second: slots that wait.
    TopicHigh = 4,
    /// A topic is back at its low watermark; arguments as [`Code::TopicHigh`].
    TopicLow = 5,
    /// A handler failed on an event; first argument: the error code, [`Record::NO_ERROR`] after a panic; second: 1 = it comes again.
    Failed = 6,
    /// A dead letter's last attempt failed, or there was no room for another; arguments as [`Code::Failed`].
    Parked = 7,
    /// Followed: admitted to the shard.
    Admitted = 16,
    /// Followed: refused at admission; first argument: the reason's number ([`crate::ledger::Refusal`]).
    Refused = 17,
    /// Followed: given to a handler; first argument: ns that the call took.
    Handled = 18,
    /// Followed: an output is published; first argument: its sequence number, second: kind in the low 16 bits, its source above, its symbol in the
    /// high half.
    Output = 19,
    /// Followed: taken out for another attempt.
    Retried = 20,
    /// Followed: a timer of what it caused has fired.
    Timer = 21,
    /// Followed: all handlers have had it; first argument: 0 delivered, 1 dead-lettered, 2 waits for another attempt.
    Done = 22,
}

impl Code {
    /// Every code.
    pub const ALL: [Self; 14] = [
        Self::Quarantined,
        Self::LimitHit,
        Self::Gap,
        Self::TopicHigh,
        Self::TopicLow,
        Self::Failed,
        Self::Parked,
        Self::Admitted,
        Self::Refused,
        Self::Handled,
        Self::Output,
        Self::Retried,
        Self::Timer,
        Self::Done,
    ];

    /// How much it matters.
    #[must_use]
    pub const fn level(self) -> Level {
        match self {
            Self::Quarantined => Level::Error,
            Self::LimitHit | Self::Gap | Self::TopicHigh => Level::Warn,
            Self::TopicLow | Self::Failed | Self::Parked => Level::Info,
            Self::Admitted
            | Self::Refused
            | Self::Handled
            | Self::Output
            | Self::Retried
            | Self::Timer
            | Self::Done => Level::Trace,
        }
    }

    /// What it says, as a log has it.
    #[must_use]
    pub const fn message(self) -> &'static str {
        match self {
            Self::Quarantined => "handler quarantined",
            Self::LimitHit => "limit hit",
            Self::Gap => "gap in a source",
            Self::TopicHigh => "topic crowded",
            Self::TopicLow => "topic no longer crowded",
            Self::Failed => "handler failed",
            Self::Parked => "dead letter parked",
            Self::Admitted => "admitted",
            Self::Refused => "refused",
            Self::Handled => "handled",
            Self::Output => "output",
            Self::Retried => "retried",
            Self::Timer => "timer fired",
            Self::Done => "done",
        }
    }
}

/// A record: numbers in one slot. Its time, kind, symbol, source and numbers are those of the event that it is about.
#[repr(transparent)]
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Record(Slot);

impl Record {
    /// In the place of an error code: the handler panicked.
    pub const NO_ERROR: u64 = u64::MAX;
    /// In the place of a handler's number: it is about none.
    pub const NO_HANDLER: u16 = u16::MAX;

    /// A record of a shard about the event of this head.
    #[must_use]
    pub fn new(code: Code, shard: usize, head: &Slot) -> Self {
        let mut slot = *head;
        slot.tag = 0;
        // One slot, whatever the event has.
        slot.span_lane = 0;
        slot.payload = [u64::from(code as u16) | u64::from(Self::NO_HANDLER) << 16 | (shard as u64) << 32, 0, 0];
        Self(slot)
    }

    /// A record about no event, at this time.
    #[must_use]
    pub fn at(code: Code, shard: usize, now: UnixNanos) -> Self {
        Self::new(code, shard, &Slot { ts_recv: now, ..Slot::ZERO })
    }

    /// A record about the event of this identity and kind, at this time.
    #[must_use]
    pub fn about(code: Code, shard: usize, now: UnixNanos, kind: Kind, identity: Identity) -> Self {
        let Identity { seq, symbol, part, source, .. } = identity;
        let kind = KindVersion::new(kind, 0);
        Self::new(code, shard, &Slot { ts_recv: now, kind, seq, symbol, part, source, ..Slot::ZERO })
    }

    /// The same, about a handler, by its number on the bus.
    #[must_use]
    pub const fn with_handler(mut self, handler: u16) -> Self {
        self.0.payload[0] = self.0.payload[0] & !(0xFFFF << 16) | (handler as u64) << 16;
        self
    }

    /// The same, with arguments.
    #[must_use]
    pub const fn with(mut self, first: u64, second: u64) -> Self {
        (self.0.payload[1], self.0.payload[2]) = (first, second);
        self
    }

    /// A record that has come through a ring. Any bytes are a record; [`Record::code`] says whether it is one of these.
    #[must_use]
    pub const fn from_slot(slot: Slot) -> Self {
        Self(slot)
    }

    /// For a ring.
    #[must_use]
    pub const fn slot(&self) -> &Slot {
        &self.0
    }

    /// What it says; `None` for a number that is no code.
    #[must_use]
    pub fn code(&self) -> Option<Code> {
        Code::ALL.into_iter().find(|code| *code as u16 == self.0.payload[0] as u16)
    }

    /// How much it matters.
    #[must_use]
    pub fn level(&self) -> Level {
        self.code().map_or(Level::Off, Code::level)
    }

    /// Handler; [`Record::NO_HANDLER`] = about none.
    #[must_use]
    pub const fn handler(&self) -> u16 {
        (self.0.payload[0] >> 16) as u16
    }

    /// Number of the shard.
    #[must_use]
    pub const fn shard(&self) -> usize {
        (self.0.payload[0] >> 32) as usize
    }

    /// The arguments; see [`Code`].
    #[must_use]
    pub const fn arguments(&self) -> [u64; 2] {
        [self.0.payload[1], self.0.payload[2]]
    }
}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Record")
            .field("code", &self.code())
            .field("shard", &self.shard())
            .field("identity", &self.0.identity())
            .field("handler", &self.handler())
            .field("arguments", &self.arguments())
            .finish()
    }
}

/// Which event is followed: `SEQ@SOURCE`, or `SEQ@SOURCE/SYMBOL` where a source counts by symbol. Names by their stable hashes, as ids are given out anew in
/// each run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Follow {
    /// Sequence number.
    pub seq: u64,
    /// [`crate::hash::stable`] of the source's name.
    pub source: u64,
    /// [`crate::hash::stable`] of the symbol's text; `None` = any.
    pub symbol: Option<u64>,
}

impl FromStr for Follow {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong =
            "an event to follow is SEQ@SOURCE or SEQ@SOURCE/SYMBOL, with a number and names as `dump` prints them";
        let (seq, rest) = text.split_once('@').ok_or(wrong)?;
        let (source, symbol) = rest.split_once('/').map_or((rest, None), |(source, symbol)| (source, Some(symbol)));
        if source.is_empty() || symbol.is_some_and(str::is_empty) || !seq.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(wrong);
        }
        Ok(Self {
            seq: seq.parse().map_err(|_| wrong)?,
            source: crate::hash::stable(source.as_bytes()),
            symbol: symbol.map(|symbol| crate::hash::stable(symbol.as_bytes())),
        })
    }
}

/// What a shard logs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Filter {
    /// This, and what matters more. [`Level::Trace`] adds nothing to [`Level::Info`]: what is traced is what is followed.
    pub level: Level,
    /// An event whose way is logged, whatever the level.
    pub follow: Option<Follow>,
}

impl Filter {
    /// Whether records of this code are wanted.
    #[must_use]
    pub fn takes(&self, code: Code) -> bool {
        code.level() <= self.level && code.level() != Level::Trace
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::{SourceId, SymbolId};

    #[test]
    fn a_record_keeps_the_event_and_what_is_said_about_it() {
        let mut head = Slot::ZERO;
        (head.seq, head.symbol, head.source, head.part) = (7, SymbolId(3), SourceId(2), 1);
        (head.kind, head.span_lane, head.tag) = (KindVersion::new(Kind::NEWS, 0), 0xC5, 9);
        for code in Code::ALL {
            let record = Record::new(code, 255, &head).with(u64::MAX, 5);
            assert_eq!((record.code(), record.shard(), record.handler()), (Some(code), 255, Record::NO_HANDLER));
            let record = record.with_handler(64);
            assert_eq!((record.code(), record.shard(), record.handler()), (Some(code), 255, 64));
            assert_eq!(record.arguments(), [u64::MAX, 5]);
            assert_eq!(record.slot().identity(), head.identity());
            assert_eq!((record.slot().kind(), record.slot().span()), (Kind::NEWS, 1), "a record is one slot");
        }
        assert_eq!(Record::from_slot(Slot::ZERO).code(), None);
        assert_eq!(Record::from_slot(Slot::ZERO).level(), Level::Off);
    }

    #[test]
    fn what_is_to_be_followed_is_read_or_refused() {
        let stable = |text: &str| crate::hash::stable(text.as_bytes());
        let follow: Follow = "12@binance.trade".parse().unwrap();
        assert_eq!(follow, Follow { seq: 12, source: stable("binance.trade"), symbol: None });
        let follow: Follow = "0@x/BTC/USD@1".parse().unwrap();
        assert_eq!(follow, Follow { seq: 0, source: stable("x"), symbol: Some(stable("BTC/USD@1")) });
        for wrong in ["", "12", "@x", "12@", "12@/S", "12@x/", "+1@x", "-1@x", "a@x", "99999999999999999999@x"] {
            assert!(wrong.parse::<Follow>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn levels_are_names_and_an_order() {
        for (number, level) in Level::ALL.into_iter().enumerate() {
            assert_eq!(level as usize, number);
            let filter = Filter { level, follow: None };
            for code in Code::ALL {
                let is_taken = code.level() as usize <= number && code.level() != Level::Trace;
                assert_eq!(filter.takes(code), is_taken, "{level:?} {code:?}");
            }
        }
    }
}
