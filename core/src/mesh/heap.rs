//! The heap of keys: 4-ary, over a flat array. Nothing is ever changed or taken out but the first, so that no index is kept.

use crate::event::EventRef;
use crate::event::payload::Cause;
use crate::invariant::{Broken, require};
use crate::units::UnixNanos;
use bytemuck::{Pod, Zeroable};

/// Place of one event in the order of handling: see [`Key::rank`].
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Pod, Zeroable)]
pub(super) struct Key {
    pub(super) due: UnixNanos,
    origin_hash: u64,
    cause_source_hash: u64,
    cause_seq: u64,
    timer_ns: u64,
    /// Order of arrival: one origin's events arrive in the order in which they were made.
    pub(super) arrival: u64,
    index: u32,
    /// First slot of the event.
    pub(super) first: u32,
    cause_part: u64,
}

const _: () = assert!(size_of::<Key>() == 64, "a cache line");

impl Key {
    pub(super) fn of(event: EventRef<'_>, arrival: u64, first: u32) -> Self {
        let cause = Cause::of(event).copied().unwrap_or_default();
        Self {
            due: event.head().ts_recv,
            origin_hash: cause.symbol_hash,
            cause_source_hash: cause.source_hash,
            cause_seq: cause.root.seq,
            timer_ns: cause.timer_ns,
            arrival,
            index: cause.index,
            first,
            cause_part: u64::from(cause.root.part),
        }
    }

    /// What decides, in this order.
    #[inline]
    fn rank(&self) -> (UnixNanos, [u64; 5], u32, u64) {
        let cause = [self.origin_hash, self.cause_source_hash, self.cause_seq, self.cause_part, self.timer_ns];
        (self.due, cause, self.index, self.arrival)
    }

    #[inline]
    fn is_before(&self, other: &Self) -> bool {
        self.due < other.due || self.due == other.due && self.rank() < other.rank()
    }
}

const ARITY: usize = 4;

/// Moves the last key up to its place. O(log n).
pub(super) fn sift_up(keys: &mut [Key]) {
    let Some(mut hole) = keys.len().checked_sub(1) else { return };
    let key = keys[hole];
    while hole > 0 {
        let parent = (hole - 1) / ARITY;
        if keys[parent].is_before(&key) {
            break;
        }
        keys[hole] = keys[parent];
        hole = parent;
    }
    keys[hole] = key;
}

/// Moves the first key down to its place. O(log n).
pub(super) fn sift_down(keys: &mut [Key]) {
    let Some(&key) = keys.first() else { return };
    let mut hole = 0;
    loop {
        let children = hole * ARITY + 1..(hole * ARITY + 1 + ARITY).min(keys.len());
        let least = children.reduce(|least, child| if keys[child].is_before(&keys[least]) { child } else { least });
        let Some(least) = least.filter(|least| keys[*least].is_before(&key)) else { break };
        keys[hole] = keys[least];
        hole = least;
    }
    keys[hole] = key;
}

/// Whether parents come before their children, and arrivals are some of those given, each once.
pub(super) fn check(keys: &[Key], arrivals: u64) -> Result<(), Broken> {
    for (index, key) in keys.iter().enumerate().skip(1) {
        require(keys[(index - 1) / ARITY].is_before(key), "a parent comes before its children", index)?;
    }
    let mut seen: Vec<u64> = keys.iter().map(|key| key.arrival).collect();
    seen.sort_unstable();
    require(seen.is_sorted_by(|a, b| a < b), "no two events arrived at once", keys.len())?;
    let is_given = seen.first().is_none_or(|first| *first > 0) && seen.last().is_none_or(|last| *last <= arrivals);
    require(is_given, "an event has arrived", arrivals)
}
