//! Events for other symbols that wait on a shard until they fall due.
//!
//! A handler may publish for another symbol; the event then falls due one mesh delay later, whether or not that symbol
//! lives on the same shard, and events that fall due together are handled in the order (time, hash of the origin's symbol,
//! cause, index). Neither depends on how symbols are spread over shards.
//!
//! ```text
//!  heap of keys (4-ary, flat)            slots, linked by next
//!      k7  first 3  --------------->     | 3: head -> 9 | ... | 9: continuation -> - |
//!    / / \ \                             free: 0 -> 4 -> 5 -> -
//!  k2 k9 k4 k8
//! ```

mod heap;
mod snapshot;

use crate::event::{EventRef, Slot};
use crate::invariant::{Broken, require};
use crate::limits::SPAN_SLOTS_MAX;
use crate::units::UnixNanos;
use bytemuck::Zeroable;
use heap::Key;

/// No link.
const NIL: u32 = u32::MAX;

/// The waiting events: a heap of keys over slots that spans are linked in. Flat, fixed memory.
pub struct Pending {
    slots: Box<[Slot]>,
    next: Box<[u32]>,
    free: u32,
    free_slots: usize,
    /// The first `len` are the heap.
    keys: Box<[Key]>,
    len: usize,
    arrivals: u64,
}

/// There is no room for an event.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PendingFull;

impl Pending {
    /// Room for events of `capacity` slots together.
    ///
    /// # Panics
    /// When `capacity` is below [`SPAN_SLOTS_MAX`] or does not fit 32 bits.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        assert!(
            (SPAN_SLOTS_MAX..NIL as usize).contains(&capacity),
            "room for one event at least, not {capacity} slots"
        );
        Self {
            slots: vec![Slot::ZERO; capacity].into_boxed_slice(),
            next: (1..=capacity as u32).map(|next| if next as usize == capacity { NIL } else { next }).collect(),
            free: 0,
            free_slots: capacity,
            keys: vec![Key::zeroed(); capacity].into_boxed_slice(),
            len: 0,
            arrivals: 0,
        }
    }

    /// Keeps an event until its `ts_recv`, and gives the place where it waits. O(log n + length), no allocation.
    ///
    /// # Errors
    /// [`PendingFull`] when its slots do not fit; nothing is kept then.
    pub fn insert(&mut self, event: EventRef<'_>) -> Result<u32, PendingFull> {
        let first = self.store(event)?;
        self.arrivals += 1;
        self.keys[self.len] = Key::of(event, self.arrivals, first);
        self.len += 1;
        heap::sift_up(&mut self.keys[..self.len]);
        Ok(first)
    }

    /// Copies an event into free slots and gives the first.
    fn store(&mut self, event: EventRef<'_>) -> Result<u32, PendingFull> {
        let span = event.slots().len();
        if span > self.free_slots {
            return Err(PendingFull);
        }
        let first = self.free;
        let mut at = first;
        for (index, slot) in event.slots().iter().enumerate() {
            self.slots[at as usize] = *slot;
            let next = self.next[at as usize];
            if index + 1 == span {
                self.next[at as usize] = NIL;
                self.free = next;
            }
            at = next;
        }
        self.free_slots -= span;
        Ok(first)
    }

    /// When the first event falls due; [`UnixNanos::UNKNOWN`], which is the largest, when none waits. O(1).
    #[inline]
    #[must_use]
    pub fn next_due(&self) -> UnixNanos {
        if self.len == 0 { UnixNanos::UNKNOWN } else { self.keys[0].due }
    }

    /// The place of the first event, below [`Pending::capacity`]: what [`Pending::insert`] gave. O(1).
    #[inline]
    #[must_use]
    pub fn next_place(&self) -> Option<u32> {
        (self.len > 0).then(|| self.keys[0].first)
    }

    /// Takes the first event out into `into` and returns its slots. 0 when none waits. O(log n + length).
    pub fn pop(&mut self, into: &mut [Slot; SPAN_SLOTS_MAX]) -> usize {
        if self.len == 0 {
            return 0;
        }
        let first = self.keys[0].first;
        self.len -= 1;
        self.keys[0] = self.keys[self.len];
        heap::sift_down(&mut self.keys[..self.len]);
        let (span, last) = self.gather(first, into);
        self.next[last as usize] = self.free;
        self.free = first;
        self.free_slots += span;
        span
    }

    /// Copies the event that begins at slot `first`; its length and its last slot.
    fn gather(&self, first: u32, into: &mut [Slot; SPAN_SLOTS_MAX]) -> (usize, u32) {
        let (mut at, mut span) = (first, 0);
        loop {
            into[span] = self.slots[at as usize];
            span += 1;
            if self.next[at as usize] == NIL {
                return (span, at);
            }
            at = self.next[at as usize];
        }
    }

    /// Events that wait.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether none waits.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Slots that there is room for.
    #[must_use]
    pub const fn capacity(&self) -> usize {
        self.slots.len()
    }

    /// Bytes held.
    #[must_use]
    pub fn bytes(&self) -> usize {
        size_of_val(&*self.slots) + size_of_val(&*self.next) + size_of_val(&*self.keys)
    }

    /// Checks every rule: heap, keys, links, free list. O(capacity); for tests.
    ///
    /// # Panics
    /// When a rule does not hold, with the rule.
    pub fn assert_invariants(&self) {
        if let Err(broken) = self.check() {
            panic!("Invariant: {broken}; {self:?}");
        }
    }

    fn check(&self) -> Result<(), Broken> {
        let keys = &self.keys[..self.len];
        heap::check(keys, self.arrivals)?;
        let mut is_seen = vec![false; self.capacity()];
        let mut see = |at: u32| match is_seen.get_mut(at as usize) {
            Some(seen) => require(!std::mem::replace(seen, true), "a slot is in one event or free, once", at),
            None => require(false, "a link leads to a slot", at),
        };
        for (index, key) in keys.iter().enumerate() {
            let mut at = key.first;
            while at != NIL {
                see(at)?;
                at = self.next[at as usize];
            }
            let mut event = [Slot::ZERO; SPAN_SLOTS_MAX];
            let (span, _) = self.gather(key.first, &mut event);
            let event = EventRef::first(&event[..span]).filter(|event| event.slots().len() == span);
            let is_own = event.is_some_and(|event| Key::of(event, key.arrival, key.first) == *key);
            require(is_own, "a key is that of the whole event behind it", index)?;
        }
        let mut free = self.free;
        for _ in 0..self.free_slots {
            see(free)?;
            free = self.next[free as usize];
        }
        require(free == NIL, "the free list ends after the last free slot", free)?;
        require(is_seen.iter().all(|seen| *seen), "every slot is in an event or free", 0)
    }
}

impl std::fmt::Debug for Pending {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pending").field("events", &self.len()).field("free_slots", &self.free_slots).finish()
    }
}

/// Events for tests.
#[cfg(test)]
fn sample(due: u64, origin_hash: u64, index: u32, extra: usize) -> crate::event::EventBuf {
    use crate::event::payload::{Alert, Cause};
    use crate::event::{EventBuf, Flags};
    let mut event = EventBuf::new(&Alert { value: f64::from(index), ..Alert::default() });
    event.head_mut().ts_recv = UnixNanos(due);
    event.flag(Flags::DERIVED);
    for word in 0..extra {
        event.push_words([word as u64; 7]).unwrap();
    }
    event.push_value(&Cause { symbol_hash: origin_hash, index, ..Cause::default() }).unwrap();
    event
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Prng, for_seeds};
    use std::collections::BTreeMap;

    /// Beside a sorted map by (due, origin, index, arrival), compared after each operation.
    fn live(prng: &mut Prng, capacity: usize, operations: usize) -> [u64; 3] {
        let mut pending = Pending::new(capacity);
        let mut twin: BTreeMap<(u64, u64, u32, u64), Vec<Slot>> = BTreeMap::new();
        let mut scratch = [Slot::ZERO; SPAN_SLOTS_MAX];
        let [mut inserted, mut popped, mut full] = [0; 3];
        for operation in 0..operations {
            if prng.in_range(0..20) < 11 {
                let (due, hash, index) = (prng.in_range(0..16), prng.in_range(0..4), prng.in_range(0..3) as u32);
                let extra = if prng.one_in(4) { prng.index(SPAN_SLOTS_MAX - 1) } else { 0 };
                let event = sample(due, hash, index, extra);
                let used: usize = twin.values().map(Vec::len).sum();
                let result = pending.insert(EventRef::first(event.slots()).unwrap());
                assert_eq!(result.is_ok(), used + event.slots().len() <= capacity, "operation {operation}");
                if result.is_ok() {
                    inserted += 1;
                    twin.insert((due, hash, index, inserted), event.slots().to_vec());
                } else {
                    full += 1;
                }
            } else {
                let span = pending.pop(&mut scratch);
                let expected = twin.pop_first().map(|(_, slots)| slots).unwrap_or_default();
                assert_eq!(&scratch[..span], expected, "operation {operation}");
                popped += u64::from(span > 0);
            }
            let due = twin.first_key_value().map_or(UnixNanos::UNKNOWN, |(key, _)| UnixNanos(key.0));
            assert_eq!((pending.next_due(), pending.len(), pending.is_empty()), (due, twin.len(), twin.is_empty()));
            if capacity <= 200 || operation % 4_096 == 0 {
                pending.assert_invariants();
            }
        }
        [inserted, popped, full]
    }

    #[test]
    fn agrees_with_its_twin_with_full_invariants_after_each_operation() {
        for_seeds(0..100, |seed, prng| {
            let [inserted, popped, full] = live(prng, [64, 65, 130, 200][seed as usize % 4], 1_000);
            assert!(inserted > 300 && popped > 200 && full > 5, "{inserted} {popped} {full}");
        });
    }

    #[test]
    fn agrees_with_its_twin_over_many_operations() {
        for_seeds(200..202, |_, prng| {
            let _ = live(prng, 3_000, 100_000);
        });
    }

    #[test]
    fn nothing_is_allocated_and_the_bytes_stay() {
        let mut pending = Pending::new(64);
        let bytes = pending.bytes();
        assert_eq!(bytes, 64 * (64 + 64 + 4));
        let event = sample(1, 1, 1, 0);
        while pending.insert(EventRef::first(event.slots()).unwrap()).is_ok() {}
        assert_eq!((pending.bytes(), pending.len()), (bytes, 32));
    }

    #[test]
    #[should_panic(expected = "room for one event at least, not 63 slots")]
    fn less_room_than_for_one_event_panics() {
        let _ = Pending::new(SPAN_SLOTS_MAX - 1);
    }

    #[test]
    #[should_panic(expected = "room for one event at least, not 4294967295 slots")]
    fn more_slots_than_indices_panic() {
        let _ = Pending::new(NIL as usize);
    }

    #[test]
    fn a_full_slab_refuses_and_keeps_what_it_has() {
        let mut pending = Pending::new(64);
        let event = sample(1, 1, 1, 30);
        let event = EventRef::first(event.slots()).unwrap();
        pending.insert(event).unwrap();
        pending.insert(event).unwrap();
        assert_eq!(pending.insert(event), Err(PendingFull));
        let mut scratch = [Slot::ZERO; SPAN_SLOTS_MAX];
        assert_eq!(pending.pop(&mut scratch), 32);
        pending.insert(event).unwrap();
        assert_eq!(pending.len(), 2);
    }
}
