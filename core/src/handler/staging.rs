//! Where effects wait until the handlers are through.

use super::{HistoryAct, RequestId, Wish};
use crate::event::Identity;
use crate::event::Slot;
use crate::event::payload::Cause;
use crate::hash;
use crate::invariant::{Broken, require_counts};
use crate::limits::{STAGED_REQUESTS_MAX, STAGED_SLOTS_MAX, STAGED_TIMERS_MAX};
use crate::section::{Reader, RestoreError, Writer};
use crate::units::{SymbolId, UnixNanos};
use bytemuck::{Pod, Zeroable};

/// Names a timer of a handler and symbol: its number among those of the symbol, from 1. Zero bytes name none.
///
/// It is the same for any number of shards, in a capture and in its imported tape.
#[repr(transparent)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Pod, Zeroable)]
pub struct TimerId(pub u64);

impl TimerId {
    /// Names no timer.
    pub const NONE: Self = Self(0);
}

/// A one-shot timer that a handler asked for.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Pod, Zeroable)]
pub struct TimerRequest {
    /// Instant at which it falls due, a multiple of the tick.
    pub due: UnixNanos,
    /// The handler's own word.
    pub token: u64,
    /// Which of its cause's timers it is: a stable hash of the timer that set it (0 = the event did), of T, and of its number
    /// among those that were set with it.
    pub id: u64,
    /// Names it to its handler; 0 for a timer of the shard's own.
    pub serial: TimerId,
    /// Event during whose handling it was set.
    pub cause: Identity,
    /// Symbol whose state the timer is for.
    pub symbol: SymbolId,
    /// Handler that asked, as the bus numbers them.
    pub handler: u16,
    /// Always 0.
    pub pad: u16,
}

/// Effects of the running event, in fixed memory.
///
/// Derived events follow each other as spans; those for other symbols carry their own symbol in the head.
pub struct Staging {
    pub(super) slots: Vec<Slot>,
    pub(super) timers: Vec<TimerRequest>,
    pub(super) cancels: Vec<StagedCancel>,
    pub(super) wishes: Vec<StagedWish>,
    /// What is asked of the past, and taken back.
    pub(super) histories: Vec<StagedHistory>,
    /// Timers and requests that each symbol has had.
    serials: Box<[Serials]>,
    /// Where things stood when the running call began.
    mark: StagingMark,
    /// Something was staged since `mark`.
    pub(super) is_touched: bool,
    /// Something was staged since the root event began.
    is_used: bool,
    /// Next [`Cause::index`] of the running root.
    pub(super) next_index: u32,
    /// Slots that the running root does not have.
    pub(super) reserved: usize,
    /// Effects that found no room, since the start.
    pub(super) refused: u64,
}

/// A point to roll back to.
#[derive(Clone, Copy, Debug, Default)]
struct StagingMark {
    slots: usize,
    timers: usize,
    cancels: usize,
    wishes: usize,
    histories: usize,
    next_index: u32,
}

/// A timer that is to be taken back.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StagedCancel {
    pub(crate) serial: TimerId,
    pub(crate) handler: u16,
}

/// A request, and who asked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StagedWish {
    pub(crate) id: RequestId,
    pub(crate) wish: Wish,
    pub(crate) handler: u16,
    /// The event, or the event during which the timer was set, that made the handler ask.
    pub(crate) cause: Identity,
}

/// What is asked of the past, and who asked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StagedHistory {
    /// Names an ask. One that is taken back has taken a number of the symbol, too.
    pub(crate) id: RequestId,
    pub(crate) act: HistoryAct,
    pub(crate) handler: u16,
    pub(crate) cause: Identity,
}

/// What a symbol has had so far.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Pod, Zeroable)]
struct Serials {
    timers: u64,
    requests: u64,
}

impl Staging {
    /// An empty area for calls without an engine around them: timers and requests are numbered from 1 for each root event.
    /// Allocates its fixed memory.
    #[must_use]
    pub fn new() -> Self {
        Self::for_symbols(0)
    }

    /// An empty area for symbols `0..symbols`. Allocates its fixed memory; 16 bytes a symbol are zero pages until used.
    #[must_use]
    pub fn for_symbols(symbols: usize) -> Self {
        Self {
            slots: Vec::with_capacity(STAGED_SLOTS_MAX),
            timers: Vec::with_capacity(STAGED_TIMERS_MAX),
            cancels: Vec::with_capacity(STAGED_TIMERS_MAX),
            wishes: Vec::with_capacity(STAGED_REQUESTS_MAX),
            histories: Vec::with_capacity(STAGED_REQUESTS_MAX),
            serials: bytemuck::allocation::zeroed_slice_box(symbols),
            mark: StagingMark::default(),
            is_touched: false,
            is_used: false,
            next_index: 0,
            reserved: 0,
            refused: 0,
        }
    }

    /// Forgets everything: a new root event begins.
    #[inline]
    pub fn clear(&mut self) {
        if self.is_used || self.is_touched {
            self.slots.clear();
            self.timers.clear();
            self.cancels.clear();
            self.wishes.clear();
            self.histories.clear();
            self.next_index = 0;
            self.reserved = 0;
            self.mark = StagingMark::default();
            (self.is_used, self.is_touched) = (false, false);
        }
    }

    /// Leaves `slots` less to the running root: it is an output itself.
    pub(crate) fn reserve(&mut self, slots: usize) {
        self.reserved = slots;
        self.is_used = true;
    }

    /// The running call is done: what it staged stays.
    #[inline]
    pub(crate) fn keep(&mut self) {
        if self.is_touched {
            self.move_mark();
        }
    }

    #[inline(never)]
    fn move_mark(&mut self) {
        self.mark = StagingMark {
            slots: self.slots.len(),
            timers: self.timers.len(),
            cancels: self.cancels.len(),
            wishes: self.wishes.len(),
            histories: self.histories.len(),
            next_index: self.next_index,
        };
        (self.is_used, self.is_touched) = (true, false);
    }

    /// Whether anything was staged since the root event began, also if it was taken back.
    #[inline]
    pub(crate) const fn is_used(&self) -> bool {
        self.is_used || self.is_touched
    }

    /// Whether the running call has staged anything.
    #[inline]
    #[must_use]
    pub fn is_touched(&self) -> bool {
        self.is_touched
    }

    /// Discards what the running call has staged.
    #[cold]
    pub fn roll_back(&mut self) {
        let mark = self.mark;
        self.slots.truncate(mark.slots);
        self.timers.truncate(mark.timers);
        self.cancels.truncate(mark.cancels);
        self.wishes.truncate(mark.wishes);
        self.histories.truncate(mark.histories);
        self.next_index = mark.next_index;
        self.is_touched = false;
    }

    /// The name of the next timer of `symbol`.
    pub(super) fn next_timer(&self, symbol: SymbolId) -> TimerId {
        let before = self.serials.get(symbol.index()).map_or(0, |serials| serials.timers);
        TimerId(before + self.timers.len() as u64 + 1)
    }

    /// The name of the next request for `symbol`.
    pub(super) fn next_request(&self, symbol: SymbolId) -> RequestId {
        let before = self.serials.get(symbol.index()).map_or(0, |serials| serials.requests);
        RequestId(before + (self.wishes.len() + self.histories.len()) as u64 + 1)
    }

    /// The effects for `symbol`, the running root's, take place: names that were given out are not given out again.
    pub(crate) fn advance_serials(&mut self, symbol: SymbolId) {
        if let Some(serials) = self.serials.get_mut(symbol.index()) {
            serials.timers += self.timers.len() as u64;
            serials.requests += (self.wishes.len() + self.histories.len()) as u64;
        }
    }

    /// Bytes of [`Staging::write`].
    pub(crate) fn section_bytes(&self) -> usize {
        size_of_val(&*self.serials)
    }

    /// Writes what lasts of it into the section of its shard: the counters of timers and requests of each symbol.
    pub(crate) fn write(&self, body: &mut Writer<'_>) {
        body.slice(&self.serials);
    }

    /// Reads what [`Staging::write`] wrote: see [`Staging::check_serials`].
    pub(crate) fn read(&mut self, body: &mut Reader<'_>) -> Result<(), RestoreError> {
        body.fill(&mut self.serials)
    }

    /// Whether names that will be given out have not been given out before.
    pub(crate) fn check_serials(&self) -> Result<(), Broken> {
        require_counts(bytemuck::cast_slice(&self.serials))
    }

    /// Derived events so far, as spans.
    #[inline]
    #[must_use]
    pub fn slots(&self) -> &[Slot] {
        &self.slots
    }

    /// Timers asked for so far.
    #[inline]
    #[must_use]
    pub fn timers(&self) -> &[TimerRequest] {
        &self.timers
    }

    /// Timers to be taken back.
    pub(crate) fn cancels(&self) -> &[StagedCancel] {
        &self.cancels
    }

    /// Requests.
    pub(crate) fn wishes(&self) -> &[StagedWish] {
        &self.wishes
    }

    /// What is asked of the past, and taken back.
    pub(crate) fn histories(&self) -> &[StagedHistory] {
        &self.histories
    }

    /// Whether nothing is staged.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        // Nothing else is looked at for the many events that nobody makes anything of.
        !(self.is_used || self.is_touched)
            || self.slots.is_empty()
                && self.timers.is_empty()
                && self.cancels.is_empty()
                && self.wishes.is_empty()
                && self.histories.is_empty()
    }

    /// Writes the hashes of the root's symbol and source into every staged event's [`Cause`]. What a timer made gets a
    /// number of its own: timers of one event would give the root's to several events.
    pub(crate) fn sign(&mut self, (symbol_hash, source_hash): (u64, u64)) {
        let mut at = 0;
        while at < self.slots.len() {
            let head = at;
            at += self.slots[head].span();
            let last = &mut self.slots[at - 1];
            let cause: Cause = bytemuck::must_cast(*last.continuation_words());
            *last = Slot::continuation(bytemuck::must_cast(Cause { symbol_hash, source_hash, ..cause }));
            if cause.by_timer != 0 {
                let words = [cause.timer, cause.root.seq, u64::from(cause.root.part), symbol_hash, source_hash];
                self.slots[head].seq = hash::stable(bytemuck::bytes_of(&words));
            }
        }
    }

    /// Effects that found no room, since the start.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.refused
    }

    /// Bytes held.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.slots.capacity() * size_of::<Slot>()
            + self.timers.capacity() * size_of::<TimerRequest>()
            + self.cancels.capacity() * size_of::<StagedCancel>()
            + self.wishes.capacity() * size_of::<StagedWish>()
            + self.histories.capacity() * size_of::<StagedHistory>()
            + size_of_val(&*self.serials)
    }
}

impl Default for Staging {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for Staging {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Staging")
            .field("slots", &self.slots.len())
            .field("timers", &self.timers.len())
            .field("refused", &self.refused)
            .finish()
    }
}
