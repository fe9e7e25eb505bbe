//! What must hold of a wheel between calls, in full.

use super::Wheel;
use super::level::{BLOCK_BITS, WORD, block_of, level_of, slot_index, slot_number, slot_start};
use super::node::{Anchor, LATE, MARK, NONE};
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
        self.check_wake()
    }

    /// The two instants before which nothing is looked at.
    fn check_wake(&self) -> Result<(), Broken> {
        require(self.wake_ns <= self.look_ns, "the wheel wakes before it looks above level 0", self.wake_ns)?;
        let late = self.late.heap[..self.late.len].iter().map(|&index| self.nodes[index as usize].tick);
        let first = late.chain(self.occupancy.first_base(self.cursor)).min();
        if let Some(tick) = first {
            require(self.wake_ns <= self.unit.ns(tick), "the wheel wakes at or before the first T", tick)?;
        }
        if let Some((level, number)) = self.first_above() {
            let start_ns = self.unit.ns(slot_start(number, level));
            require(self.look_ns <= start_ns, "no slot above level 0 begins before it is looked at", start_ns)?;
        }
        let next_tick_ns = self.unit.ns(self.unit.floor(self.now_ns)).saturating_add(self.unit.ns);
        for level in self.occupancy.levels_above_zero() {
            if let Some(number) = self.occupancy.first_slot(level, self.cursor) {
                let begin_ns = self.begin_ns(level, number).max(next_tick_ns);
                require(self.look_ns <= begin_ns, "a slot is looked at as soon as it may be moved down", number)?;
            }
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
            let block = block_of(drained, level);
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
        let mut timers = 0;
        for (word, anchors) in self.anchors.chunks_exact(WORD).enumerate() {
            // Most words are empty: one pass without a branch.
            let first = word * WORD;
            let used = anchors
                .iter()
                .zip(first..)
                .fold(0, |used, (anchor, slot)| used | u64::from(*anchor != Anchor::empty(slot)) << (slot % WORD));
            require(used == self.occupancy.word(word), "a slot's bit says whether it has timers", first)?;
            let mut left = used;
            while left != 0 {
                timers += self.check_slot(first + left.trailing_zeros() as usize, self.capacity() - timers)?;
                left &= left - 1;
            }
        }
        require(self.occupancy.is_consistent(), "a word's or a level's bit says whether it has timers", 0)?;
        Ok(timers)
    }

    /// Timers of an occupied slot, at most `most`.
    fn check_slot(&self, slot: usize, most: usize) -> Result<usize, Broken> {
        let level = level_of(slot);
        let mark = MARK | slot as u32;
        let mut before = mark;
        let mut index = self.anchors[slot].first;
        let mut timers = 0;
        while index != mark {
            let Some(node) = self.nodes.get(index as usize) else {
                return Err(Broken { rule: "a slot's list holds cells and ends at the slot", at: u64::from(index) });
            };
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
            let block = block_of(number, level);
            let here = block_of(slot_number(self.cursor, level), level);
            require(block - here <= 1, "a timer is in the cursor's block or the next", index)?;
            // Equal: that slot of the level above is half moved down.
            require(block <= self.drained[level + 1], "a timer is on the highest level that has its T", index)?;
            timers += 1;
            require(timers <= most, "lists end", slot)?;
            before = index;
            index = node.next;
        }
        require(self.anchors[slot].last == before, "lists are linked both ways", slot)?;
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
            require((index as usize) < self.capacity(), "the heap holds cells only", position)?;
            let node = &self.nodes[index as usize];
            require(node.is_live(), "the heap holds pending timers only", index)?;
            require(node.prev == LATE | position as u32, "entries of the heap know their positions", index)?;
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
        let live = self.nodes.iter().filter(|node| node.is_live()).count();
        require(live == self.len(), "live generations are pending timers", live)?;
        let mut free = 0;
        let mut index = self.free;
        while index != NONE {
            require((index as usize) < self.capacity(), "the free list holds cells only", index)?;
            require(!self.nodes[index as usize].is_live(), "the free list holds no pending timer", index)?;
            free += 1;
            require(free <= self.capacity() - live, "the free list ends", index)?;
            index = self.nodes[index as usize].next;
        }
        require(free == self.capacity() - live, "every cell is a timer or free", free)
    }
}
