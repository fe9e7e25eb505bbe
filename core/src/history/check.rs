//! What must hold of a history between calls, and its section of a snapshot.
//!
//! Name "history", version 2; an element is a slot. The body: 3 settings and 9 numbers (see `LAYOUT`), the slots, what stands beside each, the ends of the
//! chains by kind and by symbol. Slots outside of what is kept, and what stands beside them, are written as zeros.

use super::links::{self, By, Node};
use super::{History, HistoryCounts};
use crate::event::{Kind, Slot};
use crate::invariant::{Broken, require, require_counts};
use crate::limits::{KIND_ROWS, SLOT_BYTES};
use crate::section::{self, RestoreError, Section, Shape};

const NAME: &str = "history";
const LAYOUT: &str = "u64: max_age_ns symbols kinds oldest next now_ns recorded evicted expired refused; slots; nodes \
    (time u64, by kind and by symbol: prev u32 next u32); ends by kind, by symbol: head tail len u32";
const NUMBERS: usize = 10;

fn shape(slots: usize) -> Shape {
    Shape { name: NAME, version: 2, element: SLOT_BYTES as u32, layout: LAYOUT, capacity: slots as u64 }
}

impl History {
    fn body_bytes(&self) -> usize {
        NUMBERS * 8 + self.bytes()
    }

    /// Bytes of a [`History::snapshot`]: always the same, whatever is kept.
    #[must_use]
    pub fn snapshot_bytes(&self) -> usize {
        section::HEADER_BYTES + self.body_bytes()
    }

    /// Appends the whole history as a section of plain bytes. O(slots + symbols).
    ///
    /// Allocates only if `out` has less room than [`History::snapshot_bytes`].
    pub fn snapshot(&self, out: &mut Vec<u8>) {
        section::write(out, &shape(self.capacity()), self.events as u64, self.body_bytes(), |body| {
            body.slice(&[self.max_age_ns, self.symbols.len() as u64, KIND_ROWS as u64]);
            body.slice(&[self.oldest, self.next, self.now_ns]);
            body.slice(&[self.counts]);
            for (index, slot) in self.slots.iter().enumerate() {
                body.slice(&[if self.is_kept(index) { *slot } else { Slot::ZERO }]);
            }
            for (index, node) in self.nodes.iter().enumerate() {
                body.slice(&[if self.is_kept(index) { *node } else { Node::default() }]);
            }
            body.slice(&self.kinds[..]);
            body.slice(&self.symbols);
        });
    }

    /// The history that [`History::snapshot`] wrote: it goes on as that one would, and takes its cursors. Allocates as
    /// [`History::new`] does. O(slots + symbols).
    ///
    /// # Errors
    /// [`RestoreError`] when `section` is no such snapshot, of a history with other slots, symbols or age, or when a rule of the
    /// structure does not hold.
    ///
    /// # Panics
    /// As [`History::new`], for the settings that the caller asks for.
    pub fn restore(slots: usize, symbols: usize, max_age_ns: u64, section: &[u8]) -> Result<Self, RestoreError> {
        let section = Section::parse(section)?;
        let mut body = section.expect(&shape(slots))?;
        let mut history = Self::new(slots, symbols, max_age_ns);
        body.setting("a maximum age in ns of", max_age_ns)?;
        body.setting("symbols", symbols as u64)?;
        body.setting("rows of kinds", KIND_ROWS as u64)?;
        history.oldest = body.u64()?;
        history.next = body.u64()?;
        history.now_ns = body.u64()?;
        let mut counts = [HistoryCounts::default()];
        body.fill(&mut counts)?;
        [history.counts] = counts;
        body.fill(&mut history.slots)?;
        body.fill(&mut history.nodes)?;
        body.fill(&mut history.kinds[..])?;
        body.fill(&mut history.symbols)?;
        body.finish()?;
        history.events = usize::try_from(section.count()).unwrap_or(usize::MAX);
        history.check().map_err(|broken| RestoreError::Invalid { name: NAME, broken })?;
        Ok(history)
    }

    /// Checks every rule of the structure. O(slots + symbols), allocates; for tests.
    ///
    /// # Panics
    /// When a rule does not hold, with the rule.
    pub fn assert_invariants(&self) {
        if let Err(broken) = self.check() {
            panic!("Invariant: {broken}; oldest={} next={} events={}", self.oldest, self.next, self.events);
        }
    }

    fn is_kept(&self, index: usize) -> bool {
        self.next > self.oldest && self.position(index) >= self.oldest && self.position(index) < self.next
    }

    /// As [`History::assert_invariants`], as a value. Never panics or loops, whatever the arrays hold.
    fn check(&self) -> Result<(), Broken> {
        require_counts(bytemuck::cast_slice(&[self.counts]))?;
        require(self.oldest <= self.next, "the oldest comes before the next", self.oldest)?;
        let kept = self.next - self.oldest;
        require(kept <= self.slots.len() as u64, "no more is kept than there are slots", kept)?;
        // So that a position that is still to come never overflows.
        require(self.next <= u64::MAX >> 1, "positions have room to grow", self.next)?;
        // The chains of each head, by index.
        let mut heads = vec![None; self.slots.len()];
        let (mut events, mut last, mut position) = (0, 0, self.oldest);
        while position < self.next {
            let index = self.index(position);
            let head = &self.slots[index];
            require(head.kind().is_known(), "an event has a kind that is known", position)?;
            let symbol = head.symbol.0;
            require((symbol as usize) < self.symbols.len(), "an event has a symbol with a chain", position)?;
            let end = position + head.span() as u64;
            require(end <= self.next, "an event ends before the next one", position)?;
            for at in position..end {
                let (slot, time) = (&self.slots[self.index(at)], self.nodes[self.index(at)].time);
                require(slot.tag == 0, "what is kept has no tag", at)?;
                require(time >= last && time <= self.now_ns, "times do not go back, nor beyond now", at)?;
                require(at == position || time == last, "the slots of an event have one time", at)?;
                let continues = slot.kind() == Kind::CONTINUATION;
                require(continues == (at > position), "continuations follow their head", at)?;
                last = time;
            }
            heads[index] = Some((head.kind().row() as u32, symbol));
            events += 1;
            position = end;
        }
        require(events == self.events, "the count is that of the events kept", self.events)?;
        let of = |index: u32| heads.get(index as usize).copied().flatten();
        let is_earlier = |one: u32, other: u32| self.position(one as usize) < self.position(other as usize);
        links::check(By::Kind, &self.kinds[..], &self.nodes, |index| of(index).map(|(row, _)| row), is_earlier)?;
        links::check(By::Symbol, &self.symbols, &self.nodes, |index| of(index).map(|(_, symbol)| symbol), is_earlier)?;
        Ok(())
    }
}
