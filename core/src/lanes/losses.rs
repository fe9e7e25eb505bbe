//! Holes: what is missing in a stream that must have none, told in the order of the stream.
//!
//! ```text
//!  symbol A waits:   [ snapshot ] [ level ] ............ the next level was dropped
//!  goes out:         [ snapshot ] [ level ] [ gap: expected 7, received 9, 2 missing ]
//! ```
//! A hole stands before the next event of its symbol that waits, or, where none waits, behind the last one: it is *owed*, and goes out as
//! soon as nothing of the symbol is in front of it and it is the gaps' turn, whether or not anything follows. So a gap never comes so early
//! that a snapshot in front of it would mend what is still to be lost, and never so late that a book is changed across it. A book that nothing
//! changes is told within four events for each gap in front of its own, and 33 where urgent events wait.

use crate::chain::Chains;
use crate::event::payload::Gap;
use crate::event::{Flags, Kind, KindVersion, Slot};
use crate::invariant::{Broken, require};
use crate::section::{Reader, RestoreError, Writer};
use crate::units::{SourceId, SymbolId, UnixNanos};
use bytemuck::allocation::zeroed_slice_box;
use bytemuck::{Pod, Zeroable};

/// What is missing at one place; nothing while `count` is 0.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Pod, Zeroable)]
pub(super) struct Missing {
    /// Lowest and highest number that is missing.
    from: u64,
    to: u64,
    /// Latest capture time.
    ts_recv: UnixNanos,
    count: u32,
    /// Their source; none when they are of several.
    source: SourceId,
    pad: [u8; 3],
}

impl Missing {
    fn of(head: &Slot) -> Self {
        let (from, to, count) = if head.kind() == Kind::GAP {
            let gap: &Gap = head.payload_as();
            (gap.expected, gap.received.saturating_sub(1), u32::try_from(gap.missing).unwrap_or(u32::MAX).max(1))
        } else if head.flags.contains(Flags::UNSEQUENCED) {
            (0, 0, 1)
        } else {
            (head.seq, head.seq, 1)
        };
        Self { from, to, ts_recv: head.ts_recv, count, source: head.source, pad: [0; 3] }
    }

    pub(super) const fn is_none(&self) -> bool {
        self.count == 0
    }

    fn add(&mut self, other: &Self) {
        if self.is_none() || other.is_none() {
            *self = if self.is_none() { *other } else { *self };
            return;
        }
        self.from = self.from.min(other.from);
        self.to = self.to.max(other.to);
        self.ts_recv = self.ts_recv.max(other.ts_recv);
        self.count = self.count.saturating_add(other.count);
        if self.source != other.source {
            self.source = SourceId::NONE;
        }
    }

    /// The gap event that tells it.
    pub(super) fn event(&self, symbol: SymbolId) -> Slot {
        let mut slot = Slot::ZERO;
        slot.kind = KindVersion::new(Kind::GAP, 0);
        // It has no number of its own: the source never sent it.
        slot.flags = Flags::UNSEQUENCED.with(Flags::LAST);
        (slot.ts_recv, slot.ts_event) = (self.ts_recv, UnixNanos::UNKNOWN);
        (slot.symbol, slot.source) = (symbol, self.source);
        let gap = Gap { expected: self.from, received: self.to.saturating_add(1), missing: u64::from(self.count) };
        *slot.payload_mut() = gap;
        slot
    }
}

#[derive(Debug)]
pub(super) struct Losses {
    /// Waiting events of strict kinds, by symbol.
    symbols: Chains,
    /// By first slot: what is missing before that event.
    before: Box<[Missing]>,
    /// By symbol: what is missing behind its last event.
    owed: Box<[Missing]>,
    /// Symbols that are owed a gap and have nothing in front of it.
    due: Chains,
}

impl Losses {
    pub(super) fn new(symbols: usize, slots: usize) -> Self {
        Self {
            symbols: Chains::new(symbols, slots),
            before: zeroed_slice_box(slots),
            owed: zeroed_slice_box(symbols),
            due: Chains::new(1, symbols),
        }
    }

    pub(super) fn bytes(&self) -> usize {
        self.symbols.bytes() + size_of_val(&*self.before) + size_of_val(&*self.owed) + self.due.bytes()
    }

    pub(super) fn symbols(&self) -> usize {
        self.owed.len()
    }

    fn knows(&self, symbol: SymbolId) -> bool {
        symbol.index() < self.owed.len()
    }

    fn owe(&mut self, symbol: SymbolId, missing: &Missing) {
        self.owed[symbol.index()].add(missing);
        self.make_due(symbol);
    }

    fn make_due(&mut self, symbol: SymbolId) {
        let is_due = !self.owed[symbol.index()].is_none() && self.symbols.is_empty(symbol.0);
        if is_due && !self.due.is_linked(symbol.0) {
            self.due.push_back(0, symbol.0);
        }
    }

    /// The event at `first` waits from now on: behind what is owed to its symbol, or, when it was spilled before that was lost, in front.
    pub(super) fn queue(&mut self, first: u32, symbol: SymbolId, was_spilled: bool) {
        if !self.knows(symbol) {
            return;
        }
        if !was_spilled {
            self.before[first as usize] = core::mem::take(&mut self.owed[symbol.index()]);
        }
        if self.due.is_linked(symbol.0) {
            self.due.unlink(0, symbol.0);
        }
        self.symbols.push_back(symbol.0, first);
    }

    /// What has to go out before the event at `first`; it is told with that.
    pub(super) fn take_before(&mut self, first: u32) -> Option<Missing> {
        let missing = &mut self.before[first as usize];
        (!missing.is_none()).then(|| core::mem::take(missing))
    }

    /// The event at `first` goes out.
    pub(super) fn dispatch(&mut self, first: u32, symbol: SymbolId) {
        if self.knows(symbol) {
            self.symbols.unlink(symbol.0, first);
            self.make_due(symbol);
        }
    }

    /// The event at `first`, which waited, is lost.
    pub(super) fn lose(&mut self, first: u32, head: &Slot) {
        let symbol = head.symbol;
        if !self.knows(symbol) {
            return;
        }
        let mut missing = core::mem::take(&mut self.before[first as usize]);
        missing.add(&Missing::of(head));
        let next = self.symbols.next(first);
        self.symbols.unlink(symbol.0, first);
        match next {
            Some(next) => self.before[next as usize].add(&missing),
            None => self.owe(symbol, &missing),
        }
    }

    /// An event that never waited is lost.
    pub(super) fn lose_new(&mut self, head: &Slot) {
        if self.knows(head.symbol) {
            self.owe(head.symbol, &Missing::of(head));
        }
    }

    /// Whether a gap may go out now.
    pub(super) fn has_due(&self) -> bool {
        !self.due.is_empty(0)
    }

    /// The next gap that may go out.
    pub(super) fn pop_due(&mut self) -> Option<Slot> {
        let symbol = SymbolId(self.due.first(0)?);
        self.due.unlink(0, symbol.0);
        Some(core::mem::take(&mut self.owed[symbol.index()]).event(symbol))
    }

    pub(super) fn section_bytes(&self) -> usize {
        self.bytes()
    }

    pub(super) fn write(&self, body: &mut Writer<'_>) {
        self.symbols.write(body);
        body.slice(&self.before);
        body.slice(&self.owed);
        self.due.write(body);
    }

    pub(super) fn read(symbols: usize, slots: usize, body: &mut Reader<'_>) -> Result<Self, RestoreError> {
        let mut losses = Self::new(symbols, slots);
        losses.symbols = Chains::read(symbols, slots, body)?;
        body.fill(&mut losses.before)?;
        body.fill(&mut losses.owed)?;
        losses.due = Chains::read(1, symbols, body)?;
        Ok(losses)
    }

    /// `symbol_of` gives the symbol of a waiting event of a strict kind.
    pub(super) fn check(&self, symbol_of: impl Fn(u32) -> Option<SymbolId>) -> Result<(), Broken> {
        let chain_of = |first: u32| symbol_of(first).filter(|symbol| self.knows(*symbol)).map(|symbol| symbol.0);
        self.symbols.check(chain_of)?;
        for (first, missing) in self.before.iter().enumerate() {
            require(missing.is_none() || chain_of(first as u32).is_some(), "a hole is before a waiting event", first)?;
            require(!missing.is_none() || *missing == Missing::default(), "no hole is zero bytes", first)?;
            require(missing.pad == [0; 3], "padding is zero", first)?;
        }
        for (symbol, owed) in self.owed.iter().enumerate() {
            require(!owed.is_none() || *owed == Missing::default(), "no hole is zero bytes", symbol)?;
            require(owed.pad == [0; 3], "padding is zero", symbol)?;
        }
        let is_due = |symbol: u32| !self.owed[symbol as usize].is_none() && self.symbols.is_empty(symbol);
        self.due.check(|symbol| is_due(symbol).then_some(0))
    }
}
