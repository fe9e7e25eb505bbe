//! Timers by name: from (symbol, [`TimerId`]) to the timer in the wheel, set and taken back.

use super::{Limit, Shard};
use crate::bus::Chain;
use crate::handler::{TimerId, TimerRequest};
use crate::hash;
use crate::invariant::{Broken, require};
use crate::shard::Probe;
use crate::units::SymbolId;
use crate::wheel::{TimerHandle, Wheel};
use bytemuck::allocation::zeroed_slice_box;
use bytemuck::{Pod, Zeroable};

/// A named timer, at the place of its wheel handle.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
struct Node {
    serial: TimerId,
    handle: TimerHandle,
    symbol: SymbolId,
    /// The next of its bucket, and 1; 0 = none.
    next: u32,
}

/// A table of chains in flat memory, which is zero pages until used. All operations are O(1) expected.
#[derive(Debug)]
pub(super) struct TimerNames {
    /// By the low bits of the hash: the first node of the bucket, and 1; 0 = none.
    buckets: Box<[u32]>,
    /// By place of the timer in the wheel.
    nodes: Box<[Node]>,
}

impl TimerNames {
    /// Room for the timers of a wheel of this capacity.
    pub(super) fn new(timers_max: usize) -> Self {
        Self { buckets: zeroed_slice_box(timers_max.next_power_of_two()), nodes: zeroed_slice_box(timers_max) }
    }

    /// Bytes on the heap.
    pub(super) fn bytes(&self) -> usize {
        size_of_val(&*self.buckets) + size_of_val(&*self.nodes)
    }

    /// The names of the timers of a wheel: the table follows from them. O(capacity).
    ///
    /// # Errors
    /// Two of them have one name.
    pub(super) fn of(wheel: &Wheel<TimerRequest>) -> Result<Self, Broken> {
        let mut names = Self::new(wheel.capacity());
        for (handle, _, timer) in wheel.iter().filter(|(_, _, timer)| timer.serial != TimerId::NONE) {
            let is_new = names.find(timer.symbol, timer.serial).is_none();
            require(is_new, "no two timers of a symbol have one name", handle.index())?;
            names.insert(timer.symbol, timer.serial, handle);
        }
        Ok(names)
    }

    /// Names a timer that was just scheduled.
    pub(super) fn insert(&mut self, symbol: SymbolId, serial: TimerId, handle: TimerHandle) {
        let bucket = self.bucket(symbol, serial);
        let next = std::mem::replace(&mut self.buckets[bucket], handle.index() + 1);
        self.nodes[handle.index() as usize] = Node { serial, handle, symbol, next };
    }

    /// The timer of that name.
    pub(super) fn find(&self, symbol: SymbolId, serial: TimerId) -> Option<TimerHandle> {
        let mut at = self.buckets[self.bucket(symbol, serial)];
        while at != 0 {
            let node = &self.nodes[at as usize - 1];
            if node.serial == serial && node.symbol == symbol {
                return Some(node.handle);
            }
            at = node.next;
        }
        None
    }

    /// Forgets a timer that has fired or is cancelled.
    pub(super) fn remove(&mut self, symbol: SymbolId, serial: TimerId) {
        let bucket = self.bucket(symbol, serial);
        let (mut at, mut before) = (self.buckets[bucket], None::<usize>);
        while at != 0 {
            let node = self.nodes[at as usize - 1];
            if node.serial == serial && node.symbol == symbol {
                match before {
                    None => self.buckets[bucket] = node.next,
                    Some(before) => self.nodes[before].next = node.next,
                }
                return;
            }
            before = Some(at as usize - 1);
            at = node.next;
        }
    }

    fn bucket(&self, symbol: SymbolId, serial: TimerId) -> usize {
        hash::stable(bytemuck::bytes_of(&[u64::from(symbol.0), serial.0])) as usize & (self.buckets.len() - 1)
    }
}

/// Counts of timers that were taken back.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Cancelled {
    /// Timers that did not fire because their handler took them back.
    pub cancelled: u64,
    /// Names of timers that had fired or were taken back, or of another handler's.
    pub stale: u64,
}

impl<C: Chain, P: Probe> Shard<C, P> {
    /// Lets the staged timers of a root event into the wheel, and takes back what is to be cancelled, first: that makes room.
    #[inline(never)]
    pub(super) fn commit_timers(&mut self) {
        let symbol = self.site.symbol;
        let (timers, cancels) = (self.staging.timers(), self.staging.cancels());
        for (index, cancel) in cancels.iter().enumerate() {
            let is_this = |serial, handler| serial == cancel.serial && handler == cancel.handler;
            let is_first = !cancels[..index].iter().any(|other| is_this(other.serial, other.handler));
            // A timer that was set with it is not scheduled at all.
            let mut is_cancelled = is_first && timers.iter().any(|timer| is_this(timer.serial, timer.handler));
            if let Some(handle) = self.timer_names.find(symbol, cancel.serial)
                && self.wheel.get(handle).is_some_and(|(_, timer)| timer.handler == cancel.handler)
            {
                self.wheel.cancel(handle);
                self.timer_names.remove(symbol, cancel.serial);
                is_cancelled = true;
            }
            let count = if is_cancelled { &mut self.cancelled.cancelled } else { &mut self.cancelled.stale };
            *count += 1;
        }
        for timer in timers {
            if cancels.iter().any(|cancel| cancel.serial == timer.serial && cancel.handler == timer.handler) {
                continue;
            }
            match self.wheel.schedule(timer.due, *timer) {
                Ok(handle) => self.timer_names.insert(symbol, timer.serial, handle),
                Err(_) => self.limits_hit[Limit::Timers as usize] += 1,
            }
        }
    }

    /// Timers that handlers took back.
    #[must_use]
    pub fn cancelled(&self) -> Cancelled {
        self.cancelled
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::for_seeds;
    use crate::units::UnixNanos;
    use std::collections::BTreeMap;

    #[test]
    fn names_are_those_of_a_map() {
        for_seeds(0..20, |seed, prng| {
            let capacity = 1 + prng.index(40);
            let mut wheel = Wheel::<u64>::new(capacity, 1_000_000);
            let mut names = TimerNames::new(capacity);
            let mut twin: BTreeMap<(u32, u64), TimerHandle> = BTreeMap::new();
            for _ in 0..2_000 {
                let (symbol, serial) = (prng.in_range(0..4) as u32, prng.in_range(0..30));
                let name = (SymbolId(symbol), TimerId(serial));
                assert_eq!(names.find(name.0, name.1), twin.get(&(symbol, serial)).copied(), "seed {seed}");
                if let Some(handle) = twin.remove(&(symbol, serial)) {
                    names.remove(name.0, name.1);
                    assert!(wheel.cancel(handle).is_some());
                } else if let Ok(handle) = wheel.schedule(UnixNanos(prng.in_range(0..1 << 40)), serial) {
                    names.insert(name.0, name.1, handle);
                    twin.insert((symbol, serial), handle);
                } else {
                    names.remove(name.0, name.1);
                }
            }
        });
    }
}
