//! Events for other symbols that wait on a shard until they fall due.
//!
//! A handler may publish for another symbol; the event then falls due one mesh delay later, whether or not that symbol
//! lives on the same shard, and events that fall due together are handled in the order (time, hash of the origin's symbol,
//! cause, index). Neither depends on how symbols are spread over shards.

use crate::event::payload::Cause;
use crate::event::{EventRef, Slot};
use crate::limits::SPAN_SLOTS_MAX;
use crate::units::UnixNanos;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// No link.
const NIL: u32 = u32::MAX;

/// Place of one event in the order of handling. Field order is the order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    due: UnixNanos,
    origin_hash: u64,
    cause_source_hash: u64,
    cause_seq: u64,
    cause_part: u16,
    timer_ns: u64,
    index: u32,
    /// Order of arrival: one origin's events arrive in the order in which they were made.
    arrival: u64,
    /// First slot in the slab.
    first: u32,
}

/// The waiting events: a heap of keys over a slab of slots that spans are linked in. Fixed memory.
pub struct Pending {
    slots: Box<[Slot]>,
    next: Box<[u32]>,
    free: u32,
    free_slots: usize,
    heap: BinaryHeap<Reverse<Key>>,
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
            heap: BinaryHeap::with_capacity(capacity),
            arrivals: 0,
        }
    }

    /// Keeps an event until its `ts_recv`. O(log n + length), no allocation.
    ///
    /// # Errors
    /// [`PendingFull`] when its slots do not fit; nothing is kept then.
    pub fn insert(&mut self, event: EventRef<'_>) -> Result<(), PendingFull> {
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
        let cause = Cause::of(event).copied().unwrap_or_default();
        self.arrivals += 1;
        self.heap.push(Reverse(Key {
            due: event.head().ts_recv,
            origin_hash: cause.symbol_hash,
            cause_source_hash: cause.source_hash,
            cause_seq: cause.root.seq,
            cause_part: cause.root.part,
            timer_ns: cause.timer_ns,
            index: cause.index,
            arrival: self.arrivals,
            first,
        }));
        Ok(())
    }

    /// When the first event falls due; [`UnixNanos::UNKNOWN`], which is the largest, when none waits. O(1).
    #[inline]
    #[must_use]
    pub fn next_due(&self) -> UnixNanos {
        self.heap.peek().map_or(UnixNanos::UNKNOWN, |Reverse(key)| key.due)
    }

    /// Takes the first event out into `into` and returns its slots. 0 when none waits. O(log n + length).
    pub fn pop(&mut self, into: &mut [Slot; SPAN_SLOTS_MAX]) -> usize {
        let Some(Reverse(key)) = self.heap.pop() else { return 0 };
        let (mut at, mut span) = (key.first, 0);
        loop {
            into[span] = self.slots[at as usize];
            span += 1;
            if self.next[at as usize] == NIL {
                break;
            }
            at = self.next[at as usize];
        }
        self.next[at as usize] = self.free;
        self.free = key.first;
        self.free_slots += span;
        span
    }

    /// Events that wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.heap.len()
    }

    /// Whether none waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.heap.is_empty()
    }

    /// Bytes held.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.slots.len() * (size_of::<Slot>() + size_of::<u32>()) + self.heap.capacity() * size_of::<Key>()
    }
}

impl std::fmt::Debug for Pending {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pending").field("events", &self.len()).field("free_slots", &self.free_slots).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::payload::Alert;
    use crate::event::{EventBuf, Flags};

    fn event(due: u64, origin_hash: u64, index: u32, extra: usize) -> EventBuf {
        let mut event = EventBuf::new(&Alert { value: f64::from(index), ..Alert::default() });
        event.head_mut().ts_recv = UnixNanos(due);
        event.flag(Flags::DERIVED);
        for word in 0..extra {
            event.push_words([word as u64; 7]).unwrap();
        }
        event.push_value(&Cause { symbol_hash: origin_hash, index, ..Cause::default() }).unwrap();
        event
    }

    #[test]
    fn events_come_out_in_order_whole_and_their_room_is_used_again() {
        let mut pending = Pending::new(256);
        let mut scratch = [Slot::ZERO; SPAN_SLOTS_MAX];
        let mut state = 1u64;
        for round in 0..2_000u32 {
            // Arrivals in any order; expected order by key.
            let mut made: Vec<_> = (0..10u32)
                .map(|index| {
                    state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(u64::from(round));
                    ((state >> 60), (state >> 50) & 3, index, (state >> 40) as usize % 20)
                })
                .collect();
            for &(due, hash, index, extra) in &made {
                pending.insert(EventRef::first(event(due, hash, index, extra).slots()).unwrap()).unwrap();
            }
            made.sort();
            for (due, hash, index, extra) in made {
                assert_eq!(pending.next_due(), UnixNanos(due), "round {round}");
                let span = pending.pop(&mut scratch);
                assert_eq!(&scratch[..span], event(due, hash, index, extra).slots(), "round {round}");
            }
            assert!(pending.is_empty());
        }
        assert_eq!((pending.pop(&mut scratch), pending.free_slots), (0, 256));
    }

    #[test]
    fn a_full_slab_refuses_and_keeps_what_it_has() {
        let mut pending = Pending::new(64);
        let event = event(1, 1, 1, 30);
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
