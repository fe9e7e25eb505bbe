//! What must hold of each end between calls, as far as that end can see without disturbing the other.
//!
//! The words are atomic, so that both ends may look at all of them. Only the writer changes a word, and only the reader
//! moves the head: each end knows exactly what the other cannot have changed, and bounds for the rest.

use super::{Cell, Reader, SPAN_BITS, TAG_BITS, Writer, tag};
use crate::invariant::{Broken, require};
use crate::sync::Ordering;

/// Slots of the event whose word this is.
const fn span_of(word: u64) -> u64 {
    ((word & SPAN_BITS) >> 48) + 1
}

fn word_at(cells: &[Cell], position: u64) -> u64 {
    // Relaxed: no body is read on the strength of it.
    cells[(position & (cells.len() as u64 - 1)) as usize].word.load(Ordering::Relaxed)
}

impl Writer {
    /// Checks positions, limits, tags and spans. O(capacity).
    pub(in crate::ring) fn check(&self) -> Result<(), Broken> {
        let cells = self.ring.cells();
        let (slots, tail) = (self.mask + 1, self.tail());
        require(cells.len() as u64 == slots, "the mask is the capacity - 1", slots)?;
        require(self.ring.dues.is_empty() || self.ring.dues.len() == cells.len(), "one due for each slot", slots)?;
        let room = self.limit.wrapping_sub(tail);
        require(room <= slots && self.claimed + room <= slots, "claimed and free slots are within the capacity", room)?;
        // Acquire, as in `refresh`: not needed for the words, which only this end writes.
        let head = self.ring.head().load(self.orders.reclaim());
        let occupied = tail.wrapping_sub(head);
        require(occupied <= slots, "the writer is at most a lap ahead of the reader", occupied)?;
        require(self.claimed <= occupied, "nothing is taken before it is published", self.claimed)?;
        require(occupied + room <= slots, "the limit is at most a lap after the head", room)?;
        if self.next != self.short_end {
            let index = (tail & self.mask) as usize;
            let slots_open = (self.short_end as usize).wrapping_sub(self.next as usize) / size_of::<Cell>();
            require(self.may_open_short(), "the short path is open only where it may be taken", tail)?;
            require(core::ptr::eq(self.next, &cells[index]), "the short path writes the tail's cell", tail)?;
            require(slots_open <= cells.len() - index, "the short path ends at the last cell", tail)?;
            require(slots_open as u64 <= room, "the short path ends at the limit", tail)?;
        }

        let published_end = tail.wrapping_sub(self.claimed);
        for back in 1..=slots {
            let position = tail.wrapping_sub(back);
            // The first claimed slot is withheld: its cell still has the tag of the lap before.
            let is_withheld = self.claimed != 0 && position == published_end;
            let lap = if is_withheld { position.wrapping_sub(slots) } else { position };
            require(word_at(cells, position) & TAG_BITS == tag(lap), "a cell has the tag of its last slot", position)?;
        }
        let mut position = head;
        while position != published_end {
            let span = span_of(word_at(cells, position));
            let left = published_end.wrapping_sub(position);
            require(span <= left, "what is published are whole events", position)?;
            position = position.wrapping_add(span);
        }
        Ok(())
    }
}

impl Reader {
    /// Checks positions, tags and spans; the writer may be at work meanwhile. O(capacity).
    pub(in crate::ring) fn check(&self) -> Result<(), Broken> {
        let cells = self.ring.cells();
        let slots = self.mask + 1;
        require(cells.len() as u64 == slots, "the mask is the capacity - 1", slots)?;
        require(self.ring.dues.is_empty() || self.ring.dues.len() == cells.len(), "one due for each slot", slots)?;
        let head = self.ring.head().own();
        require(self.taken == 0, "what was taken is given back", self.taken)?;
        for offset in 0..slots {
            let position = head.wrapping_add(offset);
            let seen = word_at(cells, position) & TAG_BITS;
            let lap_before = tag(position.wrapping_sub(slots));
            require(
                seen == tag(position) || seen == lap_before,
                "a tag is of this lap or of the one before",
                position,
            )?;
        }
        // Whole events: a head that is published has its continuations before it.
        let mut offset = 0;
        while offset < slots
            && let Some(word) = self.word(offset)
        {
            let end = offset + span_of(word);
            require(end <= slots, "an event is no longer than the ring", head.wrapping_add(offset))?;
            for within in offset + 1..end {
                require(self.word(within).is_some(), "a published event is whole", head.wrapping_add(within))?;
            }
            offset = end;
        }
        Ok(())
    }
}
