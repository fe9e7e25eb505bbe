//! The last events of a shard, as they were: a ring of slots with chains by kind and by symbol.
//!
//! ```text
//! position     ... 96    97    98    99    100   101  ...          ever growing; place in the array = position mod capacity
//! slots        | T x | Q y | B x | cont| T y |     |            64 bytes each, as on the tape: tag 0
//! times        | 5   | 5   | 7   | 7   | 9   |     |            shard time when it was recorded, never going back
//! chain T        96 ------------------> 100
//! chain x        96 ------> 98                                  one chain for each kind and for each symbol
//! ```
//! It is bounded in bytes (the slots that it has) and by age. What it forgets, it counts, by cause. Recording is O(1); the event is
//! copied once, 64 bytes a slot, with 8 bytes of time and 16 of links beside each slot.
//!
//! Queries name a kind, a symbol, a range of time, and an order, and go page by page ([`History::page`]): they walk the
//! shortest of the two chains and the range, visit no more than they are told to, and copy nothing.

mod check;
mod links;
mod page;

pub use page::{BadCursor, Cursor, Order, Page, PageLimits, Query};

use crate::event::{EventRef, Kind, Slot};
use crate::limits::{HISTORY_SLOTS_MAX, KIND_ROWS, SPAN_SLOTS_MAX, SYMBOLS_MAX};
use crate::units::UnixNanos;
use links::{By, Ends, Node};

/// Entries beyond their age that [`History::record`] forgets on the way, so that a history that nobody asks to expire still does.
const EXPIRED_PER_RECORD: usize = 2;

/// Why an event was not recorded.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NotRecorded {
    /// It has more slots than the history.
    #[error("an event of {slots} slots does not fit a history of {capacity}")]
    TooLong {
        /// Slots of the event.
        slots: usize,
        /// Slots of the history.
        capacity: usize,
    },
    /// Its kind has no chain.
    #[error("kind {0} is not known")]
    UnknownKind(u16),
    /// Its symbol has no chain.
    #[error("symbol {symbol} is beyond the {symbols} of this history")]
    UnknownSymbol {
        /// Symbol of the event.
        symbol: u32,
        /// Symbols that have a chain.
        symbols: usize,
    },
}

/// What a history did so far. Plain counts; they wrap after 2^64.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub struct HistoryCounts {
    /// Events recorded.
    pub recorded: u64,
    /// Events forgotten because their room was needed.
    pub evicted: u64,
    /// Events forgotten because of their age.
    pub expired: u64,
    /// Events refused, as [`NotRecorded`] says.
    pub refused: u64,
}

/// See the [module](self). Nothing is allocated after [`History::new`].
#[derive(Debug)]
pub struct History {
    slots: Box<[Slot]>,
    /// Beside each slot.
    nodes: Box<[Node]>,
    kinds: Box<[Ends; KIND_ROWS]>,
    symbols: Box<[Ends]>,
    /// Position of the oldest head, and the one to write next. Equal when there is nothing.
    oldest: u64,
    next: u64,
    /// Running maximum of the times given.
    now_ns: u64,
    max_age_ns: u64,
    events: usize,
    counts: HistoryCounts,
}

impl History {
    /// A history of `slots` slots for events of the first `symbols` symbol ids, that forgets what is older than `max_age_ns` of
    /// shard time (`u64::MAX`: never). O(slots + symbols).
    ///
    /// # Panics
    /// When `slots` is no power of two or above [`HISTORY_SLOTS_MAX`], or `symbols` is above [`SYMBOLS_MAX`].
    #[must_use]
    pub fn new(slots: usize, symbols: usize, max_age_ns: u64) -> Self {
        assert!(slots.is_power_of_two(), "a history has a power of two of slots, not {slots}");
        assert!(slots <= HISTORY_SLOTS_MAX, "a history has at most {HISTORY_SLOTS_MAX} slots, not {slots}");
        assert!(symbols <= SYMBOLS_MAX, "a history has at most {SYMBOLS_MAX} symbols, not {symbols}");
        Self {
            slots: vec![Slot::ZERO; slots].into_boxed_slice(),
            nodes: vec![Node::default(); slots].into_boxed_slice(),
            kinds: Box::new([Ends::default(); KIND_ROWS]),
            symbols: vec![Ends::default(); symbols].into_boxed_slice(),
            oldest: 0,
            next: 0,
            now_ns: 0,
            max_age_ns,
            events: 0,
            counts: HistoryCounts::default(),
        }
    }

    /// Slots that there are.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.slots.len()
    }

    /// Events that are kept, those included that are beyond their age and not yet forgotten.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.events
    }

    /// Whether no event is kept.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.events == 0
    }

    /// Bytes on the heap.
    #[must_use]
    pub fn bytes(&self) -> usize {
        size_of_val(&*self.slots) + size_of_val(&*self.nodes) + size_of_val(&*self.kinds) + size_of_val(&*self.symbols)
    }

    /// What was recorded and forgotten so far.
    #[must_use]
    pub const fn counts(&self) -> HistoryCounts {
        self.counts
    }

    /// Running maximum of the times given.
    #[must_use]
    pub const fn now(&self) -> UnixNanos {
        UnixNanos(self.now_ns)
    }

    /// Copies `event` into the history, at shard time `now`; an earlier `now` than before counts as that one. The oldest
    /// events make room. O(slots of the event, and of those that it evicts).
    ///
    /// # Errors
    /// [`NotRecorded`], which is counted; the history is as before.
    #[inline]
    pub fn record(&mut self, event: EventRef<'_>, now: UnixNanos) -> Result<(), NotRecorded> {
        let (head, span) = (event.head(), event.slots().len());
        let (kind, symbol) = (head.kind(), head.symbol.0);
        let capacity = self.slots.len();
        if span > capacity || !kind.is_known() || symbol as usize >= self.symbols.len() {
            return Err(self.refuse(head, span));
        }
        self.now_ns = self.now_ns.max(now.0);
        if span > 1 {
            self.make_room(span, now);
            self.record_tail(event.tail());
        } else if self.next - self.oldest == capacity as u64 {
            // The oldest event begins where this one goes.
            self.replace_oldest(now);
        } else if self.events > 0 && self.is_too_old(self.oldest) {
            self.expire(now, EXPIRED_PER_RECORD);
        }
        let first = self.index(self.next);
        let prev = [
            self.kinds[usize::from(kind.0)].push(By::Kind, &mut self.nodes, first as u32),
            self.symbols[symbol as usize].push(By::Symbol, &mut self.nodes, first as u32),
        ];
        self.nodes[first] = Node::last(self.now_ns, prev);
        let slot = &mut self.slots[first];
        *slot = *head;
        slot.tag = 0;
        self.next += span as u64;
        self.events += 1;
        self.counts.recorded += 1;
        Ok(())
    }

    /// Room for `span` slots, once what is too old has begun to go.
    #[inline(never)]
    fn make_room(&mut self, span: usize, now: UnixNanos) {
        self.expire(now, EXPIRED_PER_RECORD);
        while self.next - self.oldest + span as u64 > self.slots.len() as u64 {
            self.evict();
        }
    }

    /// The same for one slot of a history that has none left.
    #[inline]
    fn replace_oldest(&mut self, now: UnixNanos) {
        if self.evict() {
            self.expire(now, EXPIRED_PER_RECORD - 1);
        }
    }

    /// The oldest event makes room. Returns whether it was too old anyway, and is not counted as a loss of room.
    #[inline]
    fn evict(&mut self) -> bool {
        let too_old = self.is_too_old(self.oldest);
        self.forget_oldest();
        if too_old {
            self.counts.expired += 1
        } else {
            self.counts.evicted += 1
        }
        too_old
    }

    /// The slots after the head of the event that goes to `next`.
    #[inline(never)]
    fn record_tail(&mut self, tail: &[Slot]) {
        for (offset, slot) in (1..).zip(tail) {
            let index = self.index(self.next + offset);
            self.slots[index] = Slot { tag: 0, ..*slot };
            self.nodes[index] = Node::apart(self.now_ns);
        }
    }

    /// Forgets up to `budget` events that are older than the maximum age at shard time `now`, the oldest first. Returns how
    /// many. O(what it forgets).
    ///
    /// Queries do not show them in any case.
    #[inline(never)]
    pub fn expire(&mut self, now: UnixNanos, budget: usize) -> usize {
        self.now_ns = self.now_ns.max(now.0);
        let mut forgotten = 0;
        while forgotten < budget && self.events > 0 && self.is_too_old(self.oldest) {
            self.forget_oldest();
            forgotten += 1;
        }
        self.counts.expired += forgotten as u64;
        forgotten
    }

    /// Time of the oldest event that is not too old: an event that is as old as the maximum age is still kept.
    const fn oldest_time_ns(&self) -> u64 {
        self.now_ns.saturating_sub(self.max_age_ns)
    }

    #[inline]
    fn is_too_old(&self, position: u64) -> bool {
        self.nodes[self.index(position)].time < self.oldest_time_ns()
    }

    #[cold]
    #[inline(never)]
    fn refuse(&mut self, head: &Slot, slots: usize) -> NotRecorded {
        self.counts.refused += 1;
        let (capacity, symbols) = (self.slots.len(), self.symbols.len());
        if slots > capacity {
            NotRecorded::TooLong { slots, capacity }
        } else if !head.kind().is_known() {
            NotRecorded::UnknownKind(head.kind().0)
        } else {
            NotRecorded::UnknownSymbol { symbol: head.symbol.0, symbols }
        }
    }

    #[inline]
    fn forget_oldest(&mut self) {
        let index = self.index(self.oldest);
        let (head, node) = (&self.slots[index], &self.nodes[index]);
        self.kinds[usize::from(head.kind().0)].pop(By::Kind, node);
        self.symbols[head.symbol.index()].pop(By::Symbol, node);
        self.oldest += head.span() as u64;
        self.events -= 1;
    }

    #[inline]
    const fn index(&self, position: u64) -> usize {
        position as usize & (self.slots.len() - 1)
    }

    /// The position that lives at `index`: the latest one below `next`.
    #[inline]
    const fn position(&self, index: usize) -> u64 {
        let newest = self.next.wrapping_sub(1);
        newest.wrapping_sub(newest.wrapping_sub(index as u64) & (self.slots.len() as u64 - 1))
    }

    /// The event at the head in `position`. One that wraps around the end of the array is put together in `gather`.
    fn event_at<'a>(&'a self, position: u64, gather: &'a mut [Slot; SPAN_SLOTS_MAX]) -> EventRef<'a> {
        let first = self.index(position);
        let span = self.slots[first].span();
        let slots = match self.slots.get(first..first + span) {
            Some(slots) => slots,
            None => {
                let (front, back) = (&self.slots[first..], &self.slots[..first + span - self.slots.len()]);
                gather[..front.len()].copy_from_slice(front);
                gather[front.len()..span].copy_from_slice(back);
                &gather[..span]
            }
        };
        EventRef::first(slots).unwrap_or_else(|| EventRef::single(&self.slots[first]))
    }

    /// Whether an event begins at `position`, which is kept.
    fn is_head(&self, position: u64) -> bool {
        self.slots[self.index(position)].kind() != Kind::CONTINUATION
    }
}
