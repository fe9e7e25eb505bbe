//! What must hold of a wheel between calls, in full.

use super::level::{BLOCK_BITS, LEVEL_SLOTS, LEVELS_MAX, slot_index, slot_number};
use super::node::LATE_BIT;
use super::{NONE, Wheel};
use crate::invariant::{Broken, require};
use bytemuck::Pod;

impl<T: Pod> Wheel<T> {
    /// Checks every rule of the structure: lists, bitmaps, levels, heap, free list, generations, wake-up time.
    /// O(capacity); for tests.
    ///
    /// # Panics
    /// When a rule does not hold, with the rule.
    pub fn assert_invariants(&self) {
        if let Err(broken) = self.check() {
            panic!("Invariant: {broken}; {self:?}, drained={:?}, wake_ns={}", self.drained, self.wake_ns);
        }
    }

    /// As [`Wheel::assert_invariants`], as a value. Never panics or loops, whatever the arrays hold, if their lengths
    /// are those of the capacity and the levels.
    pub(super) fn check(&self) -> Result<(), Broken> {
        self.check_levels()?;
        let in_slots = self.check_slots()?;
        let in_heap = self.check_late()?;
        require(in_slots + in_heap == self.len(), "every timer is in one slot or in the heap", self.len())?;
        self.check_cells()?;
        let earliest_ns = self.iter().map(|(_, at, _)| at.0).min();
        if let Some(ns) = earliest_ns {
            require(self.wake_ns <= ns, "the wheel wakes at or before the first T", ns)?;
            require(ns > self.now_ns || self.wake_ns == 0, "what is due by the time polled wakes at once", ns)?;
        }
        Ok(())
    }

    fn check_levels(&self) -> Result<(), Broken> {
        let levels = self.levels();
        require(
            self.drained[0] == 0 && self.drained[levels] == u64::MAX,
            "no slots are below level 0 or above the top",
            0,
        )?;
        require(self.cursor <= self.unit.max, "the cursor is a tick", self.cursor)?;
        require(
            self.cursor <= self.unit.floor(self.now_ns),
            "the cursor is not ahead of the time polled",
            self.cursor,
        )?;
        for level in 1..levels {
            let (drained, here) = (self.drained[level], slot_number(self.cursor, level));
            require(drained > here, "the cursor's slot has been moved down", level)?;
            require(drained - here <= 2, "at most the next slot has been moved down ahead", level)?;
            // Starts of slots, compared in slots of the level above so that they cannot overflow.
            let above = self.drained[level + 1];
            let block = drained >> BLOCK_BITS;
            let at_its_start = drained.is_multiple_of(1 << BLOCK_BITS);
            require(
                block < above || (block == above && at_its_start),
                "what a level moves down has come down to it",
                level,
            )?;
        }
        Ok(())
    }

    /// Timers in slots.
    fn check_slots(&self) -> Result<usize, Broken> {
        let levels = self.levels();
        let mut timers = 0;
        for slot in 0..levels * LEVEL_SLOTS {
            let level = slot / LEVEL_SLOTS;
            let anchor = self.anchor(slot);
            require(self.nodes[anchor as usize].generation == 0, "anchors are no timers", slot)?;
            let mut before = anchor;
            let mut index = self.nodes[anchor as usize].next;
            while index != anchor {
                require(index < self.capacity, "a slot's list holds cells only", slot)?;
                let node = &self.nodes[index as usize];
                require(node.prev == before, "lists are linked both ways", index)?;
                require(node.is_live(), "a slot's list holds pending timers only", index)?;
                require(
                    node.tick >= self.cursor && node.tick <= self.unit.max,
                    "slots hold what is not before the cursor",
                    index,
                )?;
                let number = slot_number(node.tick, level);
                require(slot_index(number, level) == slot, "a timer is in the slot of its T", index)?;
                require(number >= self.drained[level], "no timer is where all was moved down", index)?;
                let block = number >> BLOCK_BITS;
                let here = slot_number(self.cursor, level) >> BLOCK_BITS;
                require(block - here <= 1, "a timer is in the cursor's block or the next", index)?;
                // Equal: that slot of the level above is half moved down.
                require(block <= self.drained[level + 1], "a timer is on the highest level that has its T", index)?;
                timers += 1;
                require(timers <= self.capacity(), "lists end", slot)?;
                before = index;
                index = node.next;
            }
            require(self.nodes[anchor as usize].prev == before, "lists are linked both ways", anchor)?;
            require(
                self.occupancy.is_empty_at(slot) == (before == anchor),
                "a slot's bit says whether it has timers",
                slot,
            )?;
        }
        for level in 0..LEVELS_MAX {
            let any =
                level < levels && (0..LEVEL_SLOTS).any(|slot| !self.occupancy.is_empty_at(level * LEVEL_SLOTS + slot));
            require(self.occupancy.has_level(level) == any, "a level's bit says whether it has timers", level)?;
        }
        Ok(timers)
    }

    /// Timers in the heap.
    fn check_late(&self) -> Result<usize, Broken> {
        let late = &self.late;
        require(
            late.len <= self.capacity() && late.heap.len() == self.capacity(),
            "the heap has room for every timer",
            late.len,
        )?;
        let key = |position: usize| {
            let node = &self.nodes[late.heap[position] as usize];
            (node.tick, node.order)
        };
        for (position, &index) in late.heap[..late.len].iter().enumerate() {
            require(index < self.capacity, "the heap holds cells only", position)?;
            let node = &self.nodes[index as usize];
            require(node.is_live(), "the heap holds pending timers only", index)?;
            require(node.prev == LATE_BIT | position as u32, "entries of the heap know their positions", index)?;
            require(node.tick < self.cursor, "the heap holds what is before the cursor", index)?;
            require(node.order < late.next_order, "orders in the heap have been given", index)?;
            require(
                position == 0 || key((position - 1) / 2) < key(position),
                "parents are before their children",
                index,
            )?;
        }
        Ok(late.len)
    }

    fn check_cells(&self) -> Result<(), Broken> {
        let live = self.nodes[..self.capacity()].iter().filter(|node| node.is_live()).count();
        require(live == self.len(), "live generations are pending timers", live)?;
        let mut free = 0;
        let mut index = self.free;
        while index != NONE {
            require(index < self.capacity, "the free list holds cells only", index)?;
            require(!self.nodes[index as usize].is_live(), "the free list holds no pending timer", index)?;
            free += 1;
            require(free <= self.capacity() - live, "the free list ends", index)?;
            index = self.nodes[index as usize].next;
        }
        require(free == self.capacity() - live, "every cell is a timer or free", free)
    }
}
