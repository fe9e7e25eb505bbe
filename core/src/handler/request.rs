//! What a handler asks others to do: jobs, and what becomes of a request.

use crate::backfill::Range;
use crate::event::KindSet;
use crate::queue::Priority;
use crate::units::{SymbolId, UnixNanos};
use bytemuck::{Pod, Zeroable};

/// A kind of work that can be asked for, by number, below [`Job::MAX`].
#[repr(transparent)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Pod, Zeroable)]
pub struct Job(pub u8);

impl Job {
    /// Jobs that there can be.
    pub const MAX: usize = 64;
    /// The current features of a symbol, as a `features` event. `groups` are feature groups; 0 asks for all.
    pub const FEATURES: Self = Self(1);
    /// History of a symbol, read off the hot cores. Asked for with [`super::Ctx::backfill`], since it is of a range of time.
    pub const BACKFILL: Self = Self(2);
    /// First number for jobs of users' own.
    pub const USER: Self = Self(16);
}

/// A set of jobs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct JobSet(u64);

impl JobSet {
    /// No job.
    pub const EMPTY: Self = Self(0);

    /// The set of these jobs.
    ///
    /// # Panics
    /// When a number is [`Job::MAX`] or above.
    #[must_use]
    pub const fn of(jobs: &[Job]) -> Self {
        let (mut bits, mut index) = (0, 0);
        while index < jobs.len() {
            assert!((jobs[index].0 as usize) < Job::MAX, "there are 64 jobs");
            bits |= 1 << jobs[index].0;
            index += 1;
        }
        Self(bits)
    }

    /// Whether `job` is in the set.
    #[inline]
    #[must_use]
    pub const fn contains(self, job: Job) -> bool {
        (job.0 as usize) < Job::MAX && self.0 >> job.0 & 1 == 1
    }

    /// Jobs of either set.
    #[inline]
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Jobs of this set that are not in the other.
    #[inline]
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether there is none.
    #[inline]
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// One bit for each job, by number.
    #[inline]
    #[must_use]
    pub const fn bits(self) -> u64 {
        self.0
    }
}

/// Names a request of a symbol: the number of it among those of the symbol, from 1. Zero bytes name none.
///
/// It is the same for any number of shards, in a capture and in its imported tape.
#[repr(transparent)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Pod, Zeroable)]
pub struct RequestId(pub u64);

impl RequestId {
    /// Names no request.
    pub const NONE: Self = Self(0);
}

/// What a handler asks for, for the symbol at hand.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Wish {
    /// The job.
    pub job: Job,
    /// Parts of it, one bit each, as the job defines them. Requests that share some are joined.
    pub groups: u64,
    /// How urgent it is.
    pub priority: Priority,
    /// From when on it is not wanted any more, shard time; [`UnixNanos::ZERO`] is never.
    pub expires_at: UnixNanos,
    /// A word for whoever serves the job, a parameter of it. Requests with different tokens are never merged.
    pub token: u64,
}

/// History that a handler asks for, of the symbol at hand: see [`super::Ctx::backfill`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct History {
    /// Kinds of events.
    pub kinds: KindSet,
    /// Of which time, by `ts_recv` in the capture that it is read from.
    pub range: Range,
    /// How urgent it is.
    pub priority: Priority,
}

/// What a handler does about history.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum HistoryAct {
    /// It asks.
    Ask(History),
    /// It takes an ask back.
    Cancel(RequestId),
}

/// A request as it comes to whoever serves it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ask {
    /// The first of the requests that it stands for.
    pub request: RequestId,
    /// The symbol at hand.
    pub symbol: SymbolId,
    /// The job.
    pub job: Job,
    /// Groups of all requests that it stands for.
    pub groups: u64,
    /// The most urgent of their priorities.
    pub priority: Priority,
    /// As asked.
    pub token: u64,
    /// When the first of them was queued.
    pub queued_at: UnixNanos,
    /// The latest of their expiries; [`UnixNanos::ZERO`] is never.
    pub expires_at: UnixNanos,
    /// Requests that it stands for: 1, and one more for each that was merged into it or joined to it.
    pub asked: u32,
    /// Calls for it, this one included.
    pub attempt: u16,
}

/// Why a request was not queued.
#[repr(u8)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum RequestRefusal {
    /// No handler of the bus serves the job, and nobody off the core does; or it is for history of no time or no kind.
    Unserved = 0,
    /// As many requests of the symbol are pending as may be.
    SymbolFull = 1,
    /// As many requests of the shard are pending as may be.
    QueueFull = 2,
}

impl RequestRefusal {
    /// Every reason, by number.
    pub const ALL: [Self; 3] = [Self::Unserved, Self::SymbolFull, Self::QueueFull];

    /// Name in JSON (`refused_by`).
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unserved => "unserved",
            Self::SymbolFull => "symbol_full",
            Self::QueueFull => "queue_full",
        }
    }
}

/// How a request ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum RequestEnd {
    /// Done: all of its reply was given out.
    Served,
    /// It was not queued.
    Refused(RequestRefusal),
    /// Its time was over before it was served.
    Expired,
    /// Whoever serves it gave up, with this code, or panicked ([`crate::dead::ERROR_PANIC`]).
    Failed(u16),
    /// It was taken out of the queue with all others of its symbol.
    Cleared,
    /// It is for history that has come before, to this handler among all who take events of the past of its kinds, and is remembered: it does not come again. (A
    /// handler that gets history by replies alone has it read again instead.)
    Completed,
    /// Who asked has taken it back.
    Cancelled,
}
