//! What the manager keeps: jobs, those who asked for them, the links between both, and what was completed.

use crate::event::{Identity, KindSet};
use crate::handler::RequestId;
use crate::queue::Priority;
use crate::slab::Handle;
use crate::units::{SymbolId, UnixNanos};
use bytemuck::{Pod, Zeroable};

/// A range of capture time, half open: `from <= t < to`. Without an instant when `from >= to`.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Pod, Zeroable)]
pub struct Range {
    /// First instant.
    pub from: UnixNanos,
    /// First instant that is not in the range any more.
    pub to: UnixNanos,
}

impl Range {
    /// The range from `from` on, without `to`.
    #[must_use]
    pub const fn new(from: UnixNanos, to: UnixNanos) -> Self {
        Self { from, to }
    }

    /// Whether there is no instant in it.
    #[inline]
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.from.0 >= self.to.0
    }

    /// Whether the instant is in it.
    #[inline]
    #[must_use]
    pub const fn contains(&self, at: UnixNanos) -> bool {
        self.from.0 <= at.0 && at.0 < self.to.0
    }

    /// Whether all of `other` is in it.
    #[inline]
    #[must_use]
    pub const fn covers(&self, other: &Self) -> bool {
        self.from.0 <= other.from.0 && other.to.0 <= self.to.0
    }

    /// Whether the two overlap, or one begins where the other ends.
    #[inline]
    #[must_use]
    pub const fn touches(&self, other: &Self) -> bool {
        self.from.0 <= other.to.0 && other.from.0 <= self.to.0
    }

    /// The shortest range that has both in it.
    #[must_use]
    pub fn hull(&self, other: &Self) -> Self {
        Self { from: self.from.min(other.from), to: self.to.max(other.to) }
    }
}

/// History that somebody wants.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Want {
    /// Whose history.
    pub symbol: SymbolId,
    /// Which layers of it.
    pub kinds: KindSet,
    /// Of which time.
    pub range: Range,
    /// How urgent it is.
    pub priority: Priority,
}

/// Who asked: what it takes to tell them.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Pod, Zeroable)]
pub struct Asker {
    /// Name of the request.
    pub id: RequestId,
    /// The event during which it was made.
    pub cause: Identity,
    /// Handler, as the bus numbers them.
    pub handler: u16,
    /// Always 0.
    pub pad: [u16; 3],
}

/// A job that has begun: what is to be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Order {
    /// Names the job.
    pub job: Handle,
    /// What all who asked want together.
    pub want: Want,
}

/// State of a job.
pub(super) const PENDING: u8 = 0;
/// It was ordered; nothing of its reply has come.
pub(super) const ORDERED: u8 = 1;
/// Its reply has begun to come: nobody joins it any more.
pub(super) const REPLYING: u8 = 2;
/// Nobody wants it any more: what comes of it is dropped.
pub(super) const CANCELLED: u8 = 3;

/// One reading of history.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub(super) struct Job {
    pub(super) range: Range,
    /// Bits of the kinds.
    pub(super) kinds: u64,
    pub(super) queued_at: UnixNanos,
    /// Pending: its place among those of one instant. In flight: its place in the order of orders.
    pub(super) sequence: u64,
    /// Time of the last event of its reply; the beginning of the range before it.
    pub(super) time: UnixNanos,
    pub(super) symbol: SymbolId,
    /// First and last link to those who asked.
    pub(super) links: [u32; 2],
    pub(super) class: u8,
    /// One of the states above.
    pub(super) state: u8,
    /// 1 = it reads again what came before, for those who ask alone: nobody else joins it, and it is not remembered.
    pub(super) again: u8,
    pub(super) pad: u8,
}

impl Job {
    pub(super) fn want(&self) -> Want {
        Want {
            symbol: self.symbol,
            kinds: KindSet::from_bits(self.kinds),
            range: self.range,
            priority: Priority::new(self.class).unwrap_or(Priority::LAST),
        }
    }

    /// Whether it is under way.
    pub(super) const fn is_in_flight(&self) -> bool {
        self.state != PENDING
    }

    /// Whether all of these kinds of that symbol are read by it.
    pub(super) fn reads(&self, symbol: SymbolId, kinds: u64) -> bool {
        self.symbol == symbol && kinds & !self.kinds == 0
    }
}

/// One who asked and has not had all.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub(super) struct Ask {
    pub(super) asker: Asker,
    pub(super) kinds: u64,
    pub(super) symbol: SymbolId,
    /// Jobs that it waits for.
    pub(super) left: u32,
    /// 1 + the code of the first job that failed; 0 = none has.
    pub(super) failed: u32,
    pub(super) pad: u32,
}

/// One who asked waits for a part of what a job reads.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub(super) struct Link {
    pub(super) range: Range,
    pub(super) ask: u32,
    /// The next one who waits for the same job.
    pub(super) next: u32,
}

/// What was completed.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub(super) struct Done {
    pub(super) range: Range,
    pub(super) kinds: u64,
    pub(super) at: UnixNanos,
    pub(super) symbol: SymbolId,
    pub(super) pad: u32,
}
