//! Slots of events, linked by `u32` in a fixed array: an event takes as many as it has, wherever they are free.
//!
//! ```text
//! slots    | head of A | head of B | A, 2nd | free | A, 3rd | free |
//! next     |     2     |     -     |   4    |  5   |   -    |  -   |      free list: 3, 5
//! ```

use crate::event::Slot;
use crate::invariant::{Broken, require};
use crate::limits::SPAN_SLOTS_MAX;
use crate::section::{Reader, RestoreError, Writer};
use crate::slab::{NONE, SLAB_MAX};

#[derive(Debug)]
pub(crate) struct Arena {
    slots: Box<[Slot]>,
    next: Box<[u32]>,
    free: u32,
    used: u32,
}

impl Arena {
    /// # Panics
    /// When `capacity` is above [`SLAB_MAX`].
    pub(crate) fn new(capacity: usize) -> Self {
        assert!(capacity <= SLAB_MAX, "at most {SLAB_MAX} slots, not {capacity}");
        let next = |index: u32| if index as usize + 1 == capacity { NONE } else { index + 1 };
        Self {
            slots: vec![Slot::ZERO; capacity].into_boxed_slice(),
            next: (0..capacity as u32).map(next).collect(),
            free: if capacity == 0 { NONE } else { 0 },
            used: 0,
        }
    }

    pub(crate) fn capacity(&self) -> usize {
        self.slots.len()
    }

    pub(crate) const fn used(&self) -> usize {
        self.used as usize
    }

    pub(crate) fn has_room(&self, slots: usize) -> bool {
        self.capacity() - self.used() >= slots
    }

    pub(crate) fn bytes(&self) -> usize {
        size_of_val(&*self.slots) + size_of_val(&*self.next)
    }

    /// Copies an event in, without its ring positions. There is room. O(slots).
    pub(crate) fn store(&mut self, event: &[Slot]) -> u32 {
        debug_assert!(self.has_room(event.len()) && !event.is_empty());
        let first = self.free;
        let mut last = first;
        for slot in event {
            last = self.free;
            self.slots[last as usize] = Slot { tag: 0, ..*slot };
            self.free = self.next[last as usize];
        }
        self.next[last as usize] = NONE;
        self.used += event.len() as u32;
        first
    }

    /// Gives the slots of the event at `first` back. O(slots).
    pub(crate) fn free(&mut self, first: u32, slots: usize) {
        let mut last = first;
        for _ in 1..slots {
            last = self.next[last as usize];
        }
        self.next[last as usize] = self.free;
        self.free = first;
        self.used -= slots as u32;
    }

    /// First slot of the event at `first`.
    pub(crate) fn head(&self, first: u32) -> &Slot {
        &self.slots[first as usize]
    }

    /// Copies the event at `first` out. O(slots).
    pub(crate) fn load<'a>(&self, first: u32, slots: usize, to: &'a mut [Slot; SPAN_SLOTS_MAX]) -> &'a [Slot] {
        self.copy_to(first, &mut to[..slots]);
        &to[..slots]
    }

    /// Copies the event at `first`, of as many slots, out. O(slots).
    pub(crate) fn copy_to(&self, first: u32, to: &mut [Slot]) {
        let mut index = first;
        for slot in to {
            *slot = self.slots[index as usize];
            index = self.next[index as usize];
        }
    }

    pub(crate) fn section_bytes(&self) -> usize {
        8 + self.bytes()
    }

    pub(crate) fn write(&self, body: &mut Writer<'_>, is_used: impl Fn(u32) -> bool) {
        body.slice(&[self.free, self.used]);
        body.slice(&self.next);
        for (index, slot) in self.slots.iter().enumerate() {
            // What is left of an event that is gone is nobody's business.
            body.slice(&[if is_used(index as u32) { *slot } else { Slot::ZERO }]);
        }
    }

    pub(crate) fn read(capacity: usize, body: &mut Reader<'_>) -> Result<Self, RestoreError> {
        let mut arena = Self::new(capacity);
        arena.free = body.u32()?;
        arena.used = body.u32()?;
        body.fill(&mut arena.next)?;
        body.fill(&mut arena.slots)?;
        Ok(arena)
    }

    /// Which slots are not in the free list. `None` when that list is broken. Allocates; for checks and snapshots.
    pub(crate) fn used_slots(&self) -> Option<Vec<bool>> {
        let mut used = vec![true; self.capacity()];
        let mut free = self.free;
        for _ in self.used()..self.capacity() {
            *used.get_mut(free as usize).filter(|used| **used)? = false;
            free = self.next[free as usize];
        }
        (free == NONE && self.used() <= self.capacity()).then_some(used)
    }

    /// Whether the events (first slot and length) and the free list are all slots, each once. O(capacity).
    pub(crate) fn check(&self, events: impl Iterator<Item = (u32, usize)>) -> Result<(), Broken> {
        let Some(mut left) = self.used_slots() else {
            return require(false, "the free list holds the free slots, each once", self.free);
        };
        let mut taken = 0;
        for (first, slots) in events {
            require((1..=SPAN_SLOTS_MAX).contains(&slots), "an event has 1 to 64 slots", first)?;
            let mut index = first;
            for _ in 0..slots {
                let mine = left.get_mut(index as usize).is_some_and(|left| core::mem::replace(left, false));
                require(mine, "every slot belongs to one event or is free", index)?;
                require(self.slots[index as usize].tag == 0, "stored slots have no ring position", index)?;
                index = self.next[index as usize];
            }
            require(index == NONE, "an event's list ends after its last slot", index)?;
            taken += slots;
        }
        require(taken == self.used(), "every slot in use belongs to an event", taken)
    }
}
