//! The ring's memory and the two ends' rights to it. All `unsafe` of the ring is in this file; the crate has no other but
//! that of `swap` and of its test support.
//!
//! # The argument
//!
//! Position `p` (u64, wrapping) lives in cell `p & mask`. One writer and one reader exist per ring, neither can be
//! cloned, and both take `&mut self` for whatever changes their position. Two invariants carry every `SAFETY` below:
//!
//! - **W** (writer): a cell's body and due at position `p` are written only while `p < limit`, where `limit` is at most
//!   `head + capacity` for a head that the writer has loaded with Acquire. The reader stored that head with Release
//!   after its last access to every position below it. So the write happens after the read of the lap before.
//! - **R** (reader): a body or due at position `p` is read only after the reader has loaded, with Acquire, a word that
//!   carries `p`'s tag, and the same for every position before `p`. The writer stores the word of the first slot of
//!   each commit with Release, after everything else of that commit; the other words may be Relaxed, as the reader
//!   comes to them only by way of the first. So the read happens after the write. The writer does not touch position
//!   `p`'s cell again before the reader has given it back (W).
//!
//! A tag is the low half of `p + 1`. The reader expects it in a cell that holds either it or the tag of the lap before,
//! that of `p + 1 - capacity`: the writer cannot lap the reader. A capacity is far below 2^32, so the two never look
//! alike.

#![allow(unsafe_code)]

mod check;

use crate::event::Slot;
use crate::limits::{RING_SLOTS_MAX, SLOT_BYTES};
use crate::sync::{Arc, AtomicBool, IS_MODEL, Ordering, Orders, UnsafeCell, Word};
use core::hint::cold_path;
use core::ptr::{self, NonNull};
use crossbeam_utils::CachePadded;

/// The due times that go with slots.
#[derive(Clone, Copy)]
pub(super) enum Dues<'a> {
    /// None given.
    None,
    /// The same for every slot of an event.
    Same(u64),
    /// One for each slot.
    Each(&'a [u64]),
}

/// A due time that was not given.
pub(super) const NO_DUE: u64 = u64::MAX;

/// Bits of a word that are the tag.
const TAG_BITS: u64 = 0xffff_ffff;
/// Bits of a word that say "slots - 1".
const SPAN_BITS: u64 = 0x3f << 48;

/// Slots that the read loop handles between two tests of its end: by callgrind four instructions a slot fewer than one.
const READ_UNROLL: usize = 8;
/// The same for the write loop. One slot of a full group is withheld, and seven divide the rest.
const WRITE_UNROLL: usize = 7;

/// The line whose word is the reader's head. A spare line stands on either side: processors fetch lines in aligned pairs.
const HEAD_LINE: usize = 1;
/// The line of cell 0.
const CELLS_FROM: usize = 3;

/// The tag of a position.
#[inline(always)]
const fn tag(position: u64) -> u64 {
    position.wrapping_add(1) & TAG_BITS
}

/// One slot: the word that publishes it, and the rest of its cache line.
#[repr(C, align(64))]
struct Cell {
    /// Tag, kind, span, lane, flags: bytes 0..8 of [`Slot`]. Written by the writer, read by both.
    word: Word,
    /// Bytes 8..64 of [`Slot`]. Written by the writer under W, read by the reader under R.
    body: UnsafeCell<[u64; 7]>,
}

const _: () = assert!(IS_MODEL || (size_of::<Cell>() == SLOT_BYTES && align_of::<Cell>() == SLOT_BYTES));

/// What both ends share. The ends hold it alive; on the hot paths they go by pointers into it.
struct Ring {
    /// The head's line with its spare ones, then the cells: one allocation, so that the reader needs one pointer.
    ///
    /// The head: positions below it are given back. Stored by the reader once per call, loaded by the writer when it
    /// runs out of room.
    lines: Box<[Cell]>,
    /// One per cell, or none at all. Same rules as the body of the cell of that index.
    dues: Box<[UnsafeCell<u64>]>,
    reader_gone: CachePadded<AtomicBool>,
    writer_gone: CachePadded<AtomicBool>,
}

impl Ring {
    fn head(&self) -> &Word {
        &self.lines[HEAD_LINE].word
    }

    fn cells(&self) -> &[Cell] {
        &self.lines[CELLS_FROM..]
    }
}

// SAFETY: what is not atomic in `Ring` is the bodies and dues. Only the one `Writer` writes and only the one `Reader`
// reads them (both types are private to `ring`, made in pairs by `pair`, and not `Clone`), under W and R above, which
// order each access after the one before it from the other thread. All of them are plain integers.
unsafe impl Sync for Ring {}
// SAFETY: as above; and a `Ring` owns all it holds.
unsafe impl Send for Ring {}

/// What [`Reader::pop_single`] found.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Single {
    /// Nothing is published.
    Nothing,
    /// An event of several slots is; it was left.
    Longer,
    /// An event of one slot was, and it was taken.
    Taken,
}

/// The producer's end. Counts positions; knows of events only whether a slot is one by itself.
pub(super) struct Writer {
    /// The cell of the next slot, as long as it is not `short_end`: what [`Writer::push_single`] needs to know, and one
    /// comparison with it. Where the two are equal, the short path is closed, and neither means anything.
    next: *const Cell,
    /// Behind the last cell that the short path may write: that before `limit`, or the ring's last.
    short_end: *const Cell,
    /// Position of the next slot + 1, whose low half is that slot's tag.
    after_tail: u64,
    /// Cells of `ring`.
    cells: NonNull<Cell>,
    /// Capacity - 1.
    mask: u64,
    /// First position that may not be written: as of the head that was last loaded. Stale = too low, never too high.
    limit: u64,
    /// Slots before the tail that are written but not yet published.
    claimed: u64,
    /// The first claimed slot, withheld from its cell until [`Writer::commit`]: the consumer polls that cell's line,
    /// and each write to it would have to take it back.
    withheld: Slot,
    orders: Orders,
    ring: Arc<Ring>,
}

/// The consumer's end. Its head is the shared one, which nobody else writes.
pub(super) struct Reader {
    /// Cells of `ring`, and before them the head's line: a pointer into all lines.
    cells: NonNull<Cell>,
    /// Capacity - 1.
    mask: u64,
    /// Slots after the head that are taken and not yet given back: 0 between two calls.
    taken: u64,
    orders: Orders,
    ring: Arc<Ring>,
}

// SAFETY: the pointers point into `ring`, which the end keeps alive and which is Send and Sync; the rest is plain integers.
unsafe impl Send for Writer {}
// SAFETY: as for `Writer`.
unsafe impl Send for Reader {}

/// The two ends of a new ring whose first event has position `start`. O(capacity); the only allocation of a ring.
///
/// # Panics
/// When `capacity` is no power of two or above [`RING_SLOTS_MAX`].
pub(super) fn pair(capacity: usize, start: u64, with_dues: bool, orders: Orders) -> (Writer, Reader) {
    assert!(capacity.is_power_of_two(), "a ring of {capacity} slots: the number must be a power of two");
    assert!(capacity <= RING_SLOTS_MAX, "a ring of {capacity} slots: at most {RING_SLOTS_MAX}");
    let (slots, mask) = (capacity as u64, capacity as u64 - 1);
    let line = |word| Cell { word: Word::new(word), body: UnsafeCell::new([0; 7]) };
    let lines = (0..CELLS_FROM).map(|_| line(start)).chain((0..slots).map(|index| {
        // The first position that will use this cell, and from it the tag of the lap before.
        let first = start.wrapping_add(index.wrapping_sub(start) & mask);
        line(tag(first.wrapping_sub(slots)))
    }));
    let ring = Arc::new(Ring {
        lines: lines.collect(),
        dues: (0..if with_dues { capacity } else { 0 }).map(|_| UnsafeCell::new(NO_DUE)).collect(),
        reader_gone: CachePadded::new(AtomicBool::new(false)),
        writer_gone: CachePadded::new(AtomicBool::new(false)),
    });
    // SAFETY: there are `CELLS_FROM + capacity` lines.
    let cells = unsafe { NonNull::from(&*ring.lines).cast::<Cell>().add(CELLS_FROM) };
    let reader = Reader { cells, mask, taken: 0, orders, ring: Arc::clone(&ring) };
    let writer = Writer {
        next: cells.as_ptr(),
        short_end: cells.as_ptr(),
        after_tail: start.wrapping_add(1),
        cells,
        mask,
        limit: start.wrapping_add(orders.lead(slots)),
        claimed: 0,
        withheld: Slot::ZERO,
        orders,
        ring,
    };
    (writer, reader)
}

/// Bytes that a ring of `capacity` slots takes, its padding included.
pub(super) const fn bytes(capacity: usize, with_dues: bool) -> usize {
    (CELLS_FROM + capacity) * size_of::<Cell>()
        + if with_dues { capacity * size_of::<u64>() } else { 0 }
        + size_of::<Ring>()
}

/// `count` cells from that of `position` on.
///
/// # Safety
/// `cells` points to `mask + 1` cells that outlive `'a`, and `count` cells from `position & mask` on are among them.
#[inline(always)]
unsafe fn cells_at<'a>(cells: NonNull<Cell>, mask: u64, position: u64, count: usize) -> &'a [Cell] {
    // SAFETY: in bounds and alive, by the caller; shared references suffice, as all of a cell is atomic or
    // `UnsafeCell`.
    unsafe { core::slice::from_raw_parts(cells.as_ptr().add((position & mask) as usize), count) }
}

impl Writer {
    /// Slots of the ring.
    #[inline]
    pub(super) fn capacity(&self) -> usize {
        self.mask as usize + 1
    }

    /// Position of the next slot.
    #[inline]
    pub(super) fn position(&self) -> u64 {
        self.tail()
    }

    /// Position of the next slot.
    #[inline(always)]
    fn tail(&self) -> u64 {
        self.after_tail.wrapping_sub(1)
    }

    /// Whether the ring carries due times.
    #[inline]
    pub(super) fn has_dues(&self) -> bool {
        !self.ring.dues.is_empty()
    }

    /// Slots that are claimed and not yet published.
    #[inline]
    pub(super) fn claimed(&self) -> usize {
        self.claimed as usize
    }

    /// Slots that are free, as far as known; when fewer than `wanted` are, after a look at the reader's head.
    #[inline]
    pub(super) fn room(&mut self, wanted: usize) -> usize {
        if self.limit.wrapping_sub(self.tail()) < wanted as u64 {
            self.refresh();
        }
        self.limit.wrapping_sub(self.tail()) as usize
    }

    /// Loads the reader's head. A miss on the reader's line.
    #[cold]
    #[inline(never)]
    fn refresh(&mut self) {
        let head = self.ring.head().load(self.orders.reclaim());
        self.limit = head.wrapping_add(self.orders.lead(self.mask + 1));
    }

    /// Whether the short path may be taken: not while slots are claimed, and not in a ring with dues.
    #[inline]
    pub(super) fn may_open_short(&self) -> bool {
        self.claimed == 0 && !self.has_dues()
    }

    /// Opens the short path as far as there is room before the last cell. `false` when there is none, after a look at the
    /// reader's head, or when it may not be taken.
    pub(super) fn open_short(&mut self) -> bool {
        if !self.may_open_short() {
            return false;
        }
        let index = self.tail() & self.mask;
        let slots = (self.room(1) as u64).min(self.mask + 1 - index) as usize;
        // W: `slots` positions from the tail may be written, and their cells do not wrap.
        self.next = self.cells.as_ptr().wrapping_add(index as usize);
        self.short_end = self.next.wrapping_add(slots);
        slots > 0
    }

    /// Closes the short path.
    #[inline]
    fn close_short(&mut self) {
        self.short_end = self.next;
    }

    #[inline(always)]
    fn cell(&self, position: u64) -> &Cell {
        // SAFETY: `pair` made `cells` from the `mask + 1` cells of `ring`, which `self` keeps alive and in place; one
        // cell at an index of at most `mask` is among them.
        unsafe { &cells_at(self.cells, self.mask, position, 1)[0] }
    }

    /// Writes bytes 8..64 of `slot` into `cell`.
    ///
    /// # Safety
    /// `cell` is that of a position that W allows to write.
    #[inline(always)]
    unsafe fn write_body(cell: &Cell, slot: &Slot) {
        // SAFETY: the pointer is the cell's own; W keeps the reader from it until the word is published.
        cell.body.with_mut(|body| unsafe { copy_body(slot.continuation_words().as_ptr(), body.cast()) });
    }

    /// Writes and publishes one slot that is an event by itself. `false`, and nothing done, when the long way is
    /// needed: no room as far as known, slots claimed, a ring with dues, a span, or a slot whose tag is not 0.
    #[inline(always)]
    pub(super) fn push_single(&mut self, slot: &Slot) -> bool {
        let word = word_of(slot);
        let next = self.next;
        // Two branches that are marked rare: joined into one condition they take two instructions more.
        if next == self.short_end {
            cold_path();
            return false;
        }
        if word & (TAG_BITS | SPAN_BITS) != 0 {
            cold_path();
            return false;
        }
        // SAFETY: `open_short` made `next` the tail's cell and `short_end` a later one of the same cells, of `ring`, which
        // `self` keeps alive; both have moved on by one cell a slot since; and they are not equal.
        let cell = unsafe { &*next };
        if self.orders.publishes_early() {
            cell.word.store(word | u64::from(self.after_tail as u32), self.orders.publish());
        }
        // SAFETY: W: `open_short` found room for every cell before `short_end`.
        unsafe { Self::write_body(cell, slot) };
        cell.word.store(word | u64::from(self.after_tail as u32), self.orders.publish());
        // Behind the store: before it the compiler would keep both in registers, and need three instructions for each.
        self.next = self.next.wrapping_add(1);
        self.after_tail = self.after_tail.wrapping_add(1);
        true
    }

    /// Claims a slot for each of the first `slots` that are events by themselves and have a tag of 0, as far as there
    /// is room, and writes them. Returns how many. They are published by [`Writer::commit`].
    ///
    /// `dues`, if given for each, has at least as many entries as `slots`.
    #[inline]
    pub(super) fn claim_singles(&mut self, slots: &[Slot], dues: Dues<'_>) -> usize {
        let room = self.room(slots.len()).min(slots.len());
        let Some((first, _)) = slots[..room].split_first() else { return 0 };
        if word_of(first) & (TAG_BITS | SPAN_BITS) != 0 {
            return 0;
        }
        let mut done = 0;
        if self.claimed == 0 {
            self.withheld = *first;
            done = 1;
            self.publish_early();
        }
        done = self.write_parts(&slots[..room], done);
        self.write_dues(done, dues);
        self.advance(done);
        done
    }

    /// As [`Writer::claim_singles`] and [`Writer::commit`]. Nothing may be claimed before.
    #[inline]
    pub(super) fn push_singles(&mut self, slots: &[Slot], dues: Dues<'_>) -> usize {
        debug_assert!(self.claimed == 0, "Invariant: what is claimed is published first");
        let room = self.room(slots.len()).min(slots.len());
        let Some((first, _)) = slots[..room].split_first() else { return 0 };
        if word_of(first) & (TAG_BITS | SPAN_BITS) != 0 {
            return 0;
        }
        if self.orders.publishes_early() {
            self.withheld = *first;
            self.publish_early();
        }
        let done = self.write_parts(&slots[..room], 1);
        self.write_dues(done, dues);
        let cell = self.cell(self.tail());
        // SAFETY: W: there is room for one slot at least.
        unsafe { Self::write_body(cell, first) };
        cell.word.store(word_of(first) | tag(self.tail()), self.orders.publish());
        self.after_tail = self.after_tail.wrapping_add(done as u64);
        self.close_short();
        done
    }

    /// Writes `slots[done..]` behind the tail and `done` slots more, up to the first that is not a single. Returns how
    /// many are done then. There is room for all of `slots`.
    #[inline(always)]
    fn write_parts(&self, slots: &[Slot], mut done: usize) -> usize {
        // At most two passes: up to the last cell, and on from the first one.
        while done < slots.len() {
            let position = self.tail().wrapping_add(done as u64);
            let cells_to_end = (self.mask + 1 - (position & self.mask)) as usize;
            let part = &slots[done..slots.len().min(done + cells_to_end)];
            // SAFETY: W: there is room for `slots`, and `part` does not reach beyond the last cell.
            let written = unsafe { self.write_singles(position, part) };
            done += written;
            if written < part.len() {
                break;
            }
        }
        done
    }

    /// Writes slots and their words from `position` on, up to the first that is not a single. Returns how many.
    ///
    /// # Safety
    /// W allows to write `part.len()` positions from `position`, which do not wrap around the last cell.
    #[inline(always)]
    unsafe fn write_singles(&self, position: u64, part: &[Slot]) -> usize {
        // SAFETY: the cells are those of `ring`, as in `cell`; the caller says that they do not wrap.
        let cells = unsafe { cells_at(self.cells, self.mask, position, part.len()) };
        let is_single = |word: u64| word & (TAG_BITS | SPAN_BITS) == 0;
        let write = |tag: u32, slot: &Slot, cell: &Cell| {
            // Relaxed: published by the slot that is withheld. Partner: none of its own. Before the body, so that the
            // line is written upwards: see `copy_body`.
            cell.word.store(word_of(slot) | u64::from(tag), Ordering::Relaxed);
            // SAFETY: W, by the caller.
            unsafe { Self::write_body(cell, slot) };
        };
        // The tag is the only count: a second one costs an instruction a slot.
        let first_tag = tag(position) as u32;
        let mut next_tag = first_tag;
        let chunks = part.as_chunks::<WRITE_UNROLL>().0.iter().zip(cells.as_chunks::<WRITE_UNROLL>().0);
        for (slots, cells) in chunks {
            if !is_single(slots.iter().fold(0, |bits, slot| bits | word_of(slot))) {
                break;
            }
            for offset in 0..WRITE_UNROLL {
                write(next_tag.wrapping_add(offset as u32), &slots[offset], &cells[offset]);
            }
            next_tag = next_tag.wrapping_add(WRITE_UNROLL as u32);
        }
        let done = next_tag.wrapping_sub(first_tag) as usize;
        for (slot, cell) in part[done..].iter().zip(&cells[done..]) {
            if !is_single(word_of(slot)) {
                break;
            }
            write(next_tag, slot, cell);
            next_tag = next_tag.wrapping_add(1);
        }
        next_tag.wrapping_sub(first_tag) as usize
    }

    /// Claims `slots.len()` slots and writes `slots` there, whatever they are, with their right tags. `false`, and
    /// nothing done, when there is no room for all of them.
    pub(super) fn claim_run(&mut self, slots: &[Slot], dues: Dues<'_>) -> bool {
        if self.room(slots.len()) < slots.len() {
            return false;
        }
        for (offset, slot) in slots.iter().enumerate() {
            if offset == 0 && self.claimed == 0 {
                self.withheld = *slot;
                self.publish_early();
                continue;
            }
            let position = self.tail().wrapping_add(offset as u64);
            let cell = self.cell(position);
            // Relaxed: published by the slot that is withheld.
            cell.word.store(word_of(slot) & !TAG_BITS | tag(position), Ordering::Relaxed);
            // SAFETY: W: there is room for all of `slots`.
            unsafe { Self::write_body(cell, slot) };
        }
        self.write_dues(slots.len(), dues);
        self.advance(slots.len());
        true
    }

    /// Writes the dues of `slots` slots from `tail` on, which are claimed next.
    #[inline]
    fn write_dues(&self, slots: usize, dues: Dues<'_>) {
        if self.ring.dues.is_empty() {
            return;
        }
        for offset in 0..slots {
            let due = match dues {
                Dues::None => NO_DUE,
                Dues::Same(due) => due,
                Dues::Each(dues) => dues[offset],
            };
            let index = self.tail().wrapping_add(offset as u64) & self.mask;
            // SAFETY: W: only called for slots that there is room for; dues follow the rules of their cell.
            self.ring.dues[index as usize].with_mut(|cell| unsafe { *cell = due });
        }
    }

    /// Makes the next `slots` slots claimed.
    #[inline]
    fn advance(&mut self, slots: usize) {
        self.after_tail = self.after_tail.wrapping_add(slots as u64);
        self.claimed += slots as u64;
        self.close_short();
    }

    /// A must-fail twin's mistake: publishes the slot that is to be withheld. Nothing in a normal build.
    #[inline(always)]
    fn publish_early(&self) {
        if self.orders.publishes_early() {
            let cell = self.cell(self.tail());
            // SAFETY: W: there is room for the slot that is being claimed.
            unsafe { Self::write_body(cell, &self.withheld) };
            cell.word.store(word_of(&self.withheld) & !TAG_BITS | tag(self.tail()), self.orders.publish());
        }
    }

    /// Publishes all that is claimed with one Release store: the reader sees all of it or nothing.
    #[inline]
    pub(super) fn commit(&mut self) {
        if self.claimed != 0 {
            let first = self.tail().wrapping_sub(self.claimed);
            let cell = self.cell(first);
            // SAFETY: W: there was room for the slot when it was claimed, and room is only ever added.
            unsafe { Self::write_body(cell, &self.withheld) };
            cell.word.store(word_of(&self.withheld) & !TAG_BITS | tag(first), self.orders.publish());
            self.claimed = 0;
        }
    }

    /// Whether the reader is gone.
    #[inline]
    pub(super) fn reader_gone(&self) -> bool {
        self.ring.reader_gone.load(self.orders.notice())
    }
}

impl Drop for Writer {
    /// Publishes what is claimed, then says that nothing more will come.
    fn drop(&mut self) {
        if self.orders.leaves_early() {
            self.ring.writer_gone.store(true, self.orders.leave());
        }
        self.commit();
        self.ring.writer_gone.store(true, self.orders.leave());
    }
}

impl Reader {
    /// Slots of the ring.
    #[inline]
    pub(super) fn capacity(&self) -> usize {
        self.mask as usize + 1
    }

    /// Position of the next slot.
    #[inline]
    pub(super) fn position(&self) -> u64 {
        self.head_word().own().wrapping_add(self.taken)
    }

    /// The head of the ring with these cells. Only the reader writes it.
    ///
    /// # Safety
    /// `cells` is that of a reader, and its ring outlives `'a`.
    #[inline(always)]
    unsafe fn head_before<'a>(cells: NonNull<Cell>) -> &'a Word {
        // SAFETY: `pair` made `cells` from a pointer to all lines, `CELLS_FROM` of which stand before them.
        unsafe { &cells.sub(CELLS_FROM - HEAD_LINE).as_ref().word }
    }

    #[inline(always)]
    fn head_word(&self) -> &Word {
        // SAFETY: `cells` is this reader's, which keeps the ring alive.
        unsafe { Self::head_before(self.cells) }
    }

    /// Whether the ring carries due times.
    #[inline]
    pub(super) fn has_dues(&self) -> bool {
        !self.ring.dues.is_empty()
    }

    #[inline(always)]
    fn cell(&self, position: u64) -> &Cell {
        // SAFETY: `pair` made `cells` from the `mask + 1` cells of `ring`, which `self` keeps alive and in place; one
        // cell at an index of at most `mask` is among them.
        unsafe { &cells_at(self.cells, self.mask, position, 1)[0] }
    }

    /// The word at `offset` after the position, its tag cleared, if that slot is published.
    #[inline(always)]
    fn word(&self, offset: u64) -> Option<u64> {
        let position = self.position().wrapping_add(offset);
        let word = self.cell(position).word.load(self.orders.observe()) ^ tag(position);
        (word & TAG_BITS == 0).then_some(word)
    }

    /// Copies a cell whose word is `word`.
    ///
    /// # Safety
    /// `cell` is that of a position that R allows to read.
    #[inline(always)]
    unsafe fn read_into(cell: &Cell, word: u64, out: &mut Slot) {
        let out: &mut [u64; 8] = bytemuck::must_cast_mut(out);
        let (first, rest) = out.split_first_mut().expect("eight words");
        *first = word;
        // SAFETY: the pointer is the cell's own; `rest` has the seven words of a body; R keeps the writer from it.
        cell.body.with(|body| unsafe { ptr::copy_nonoverlapping(body.cast::<u64>(), rest.as_mut_ptr(), 7) });
    }

    /// Whether nothing is published at the head.
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.word(0).is_none()
    }

    /// Slots that are published, counted one by one. O(n).
    pub(super) fn len(&self) -> usize {
        (0..=self.mask).take_while(|offset| self.word(*offset).is_some()).count()
    }

    /// A copy of the slot at the head.
    #[inline(always)]
    pub(super) fn peek(&self) -> Option<Slot> {
        let word = self.word(0)?;
        let mut slot = Slot::ZERO;
        // SAFETY: R: the head's tag was just seen, and those before it when the head passed them.
        unsafe { Self::read_into(self.cell(self.position()), word, &mut slot) };
        Some(slot)
    }

    /// The due of the slot at the head.
    #[inline]
    pub(super) fn peek_due(&self) -> Option<u64> {
        self.word(0)?;
        if self.ring.dues.is_empty() {
            return Some(NO_DUE);
        }
        // SAFETY: R: the head's tag was just seen; dues follow the rules of their cell.
        Some(self.ring.dues[(self.position() & self.mask) as usize].with(|due| unsafe { *due }))
    }

    /// Takes the slot at the head and gives its cell back, if it is published and an event by itself.
    #[inline(always)]
    pub(super) fn pop_single(&mut self, out: &mut Slot) -> Single {
        debug_assert!(self.taken == 0, "Invariant: nothing is taken and not given back between two calls");
        // Copies: behind the Acquire load the compiler would load the fields again.
        let (cells, mask) = (self.cells, self.mask);
        // SAFETY: `cells` is this reader's, which keeps the ring alive.
        let head_word = unsafe { Self::head_before(cells) };
        let head = head_word.own();
        // SAFETY: as in `cell`.
        let cell = unsafe { &cells_at(cells, mask, head, 1)[0] };
        let word = cell.word.load(self.orders.observe()) ^ tag(head);
        // A must-fail twin that gives back early does so on the long way.
        if word & (TAG_BITS | SPAN_BITS) != 0 || self.orders.gives_back_early() {
            return if word & TAG_BITS == 0 { Single::Longer } else { Single::Nothing };
        }
        // SAFETY: R: the tag was just seen, and those before it when the head passed them.
        unsafe { Self::read_into(cell, word, out) };
        // Loaded again, so that it is one instruction on memory.
        head_word.store(head_word.own().wrapping_add(1), self.orders.give_back());
        Single::Taken
    }

    /// Takes events of one slot each, up to the first that is longer or not published, or until `out` is full. Returns
    /// how many. Their cells go back with [`Reader::give_back`].
    #[inline]
    pub(super) fn take_singles(&mut self, out: &mut [Slot], dues: Option<&mut [u64]>) -> usize {
        let (from, mut done) = (self.position(), 0);
        // At most two passes: up to the last cell, and on from the first one.
        while done < out.len() {
            let position = from.wrapping_add(done as u64);
            let cells_to_end = (self.mask + 1 - (position & self.mask)) as usize;
            let wanted = cells_to_end.min(out.len() - done);
            // SAFETY: all before `position` are taken, and `wanted` cells from it do not reach beyond the last cell.
            let taken = unsafe { self.read_singles(position, &mut out[done..done + wanted]) };
            self.taken = self.taken.wrapping_add(taken as u64);
            done += taken;
            if taken < wanted {
                break;
            }
        }
        self.read_dues(from, done, dues);
        done
    }

    /// Copies published singles from `position` on. Returns how many.
    ///
    /// # Safety
    /// `position` is that of the next slot, and `part.len()` positions from it do not wrap around the last cell.
    #[inline(always)]
    unsafe fn read_singles(&self, position: u64, part: &mut [Slot]) -> usize {
        let slots = part.len();
        // SAFETY: the cells are those of `ring`, as in `cell`; the caller says that they do not wrap.
        let cells = unsafe { cells_at(self.cells, self.mask, position, slots) };
        let (slots_by_unroll, slots_left) = part.as_chunks_mut::<READ_UNROLL>();
        let (cells_by_unroll, cells_left) = cells.as_chunks::<READ_UNROLL>();
        let orders = self.orders;
        let read = |tag: u32, slot: &mut Slot, cell: &Cell| {
            // The same as an exclusive or where the tags are equal; the compiler needs no copy of the tag for it.
            let word = cell.word.load(orders.observe()).wrapping_sub(u64::from(tag));
            if word & (TAG_BITS | SPAN_BITS) != 0 {
                return false;
            }
            // SAFETY: R: the tag was just seen, and those before it in the rounds before.
            unsafe { Self::read_into(cell, word, slot) };
            true
        };
        // The tag is the only count: a second one costs an instruction a slot.
        let first_tag = tag(position) as u32;
        let mut next_tag = first_tag;
        let done = |tag: u32| tag.wrapping_sub(first_tag) as usize;
        // One slot after the other all the same: a look ahead would take lines away that the producer is writing.
        for (slots, cells) in slots_by_unroll.iter_mut().zip(cells_by_unroll) {
            for offset in 0..READ_UNROLL {
                let tag = next_tag.wrapping_add(offset as u32);
                if !read(tag, &mut slots[offset], &cells[offset]) {
                    return done(tag);
                }
            }
            next_tag = next_tag.wrapping_add(READ_UNROLL as u32);
        }
        for (slot, cell) in slots_left.iter_mut().zip(cells_left) {
            if !read(next_tag, slot, cell) {
                break;
            }
            next_tag = next_tag.wrapping_add(1);
        }
        done(next_tag)
    }

    /// Takes one event of any length. Returns its slots; 0, and nothing done, when none is published or `out` is too
    /// short for it. Its cells go back with [`Reader::give_back`].
    pub(super) fn take_span(&mut self, out: &mut [Slot], dues: Option<&mut [u64]>) -> usize {
        let Some(head) = self.word(0) else { return 0 };
        let span = ((head & SPAN_BITS) >> 48) as usize + 1;
        if span > out.len() {
            return 0;
        }
        self.give_back_early(span as u64);
        for (offset, slot) in out[..span].iter_mut().enumerate() {
            // The head is published last, so that a whole event is there. One whose span is longer than what was
            // pushed with it cannot be made through `Producer`; it would wait here and never be read unpublished.
            let Some(word) = self.word(offset as u64) else { return 0 };
            // SAFETY: R: the tag was just seen, and those before it in the rounds before.
            unsafe { Self::read_into(self.cell(self.position().wrapping_add(offset as u64)), word, slot) };
        }
        self.read_dues(self.position(), span, dues);
        self.taken = self.taken.wrapping_add(span as u64);
        span
    }

    /// Copies the dues of `slots` positions from `from` on, all of them taken and not yet given back.
    #[inline]
    fn read_dues(&self, from: u64, slots: usize, dues: Option<&mut [u64]>) {
        let Some(dues) = dues else { return };
        if self.ring.dues.is_empty() {
            dues[..slots].fill(NO_DUE);
            return;
        }
        for (offset, due) in dues[..slots].iter_mut().enumerate() {
            let index = from.wrapping_add(offset as u64) & self.mask;
            // SAFETY: R: the tag of this position was seen before it was taken; dues follow the rules of their cell.
            *due = self.ring.dues[index as usize].with(|cell| unsafe { *cell });
        }
    }

    /// A must-fail twin's mistake: gives back slots that are still to be taken. Nothing in a normal build.
    #[inline(always)]
    fn give_back_early(&mut self, slots: u64) {
        if self.orders.gives_back_early() {
            let position = self.position();
            self.head_word().store(position.wrapping_add(slots), self.orders.give_back());
            // The position stays what it was.
            self.taken = slots.wrapping_neg();
        }
    }

    /// Gives back all that was taken: one Release store.
    #[inline(always)]
    pub(super) fn give_back(&mut self) {
        self.head_word().store(self.position(), self.orders.give_back());
        self.taken = 0;
    }

    /// Whether the writer is gone. What it published before can still be read.
    #[inline]
    pub(super) fn writer_gone(&self) -> bool {
        self.ring.writer_gone.load(self.orders.notice())
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.ring.reader_gone.store(true, self.orders.leave());
    }
}

/// Copies the seven words of a body into a cell in pieces of 1, 2 and 4 words: bytes 8..16, 16..32 and 32..64 of the
/// line, each aligned to its size. One copy of 56 bytes becomes vector stores at bytes 8, 24 and 40 that straddle vector
/// boundaries. With those, or with the word stored after the body (see [`Writer::write_singles`]), batches of 64 moved
/// 0.45 to 0.82 times as many lines a second as control C2 of `tapeline-bench ring` in the same rounds; with neither
/// 0.86 to 1.0 times. (EPYC, family 25 model 17; slices of 2 ms on a loaded machine with many void: a direction, to be
/// measured again.) It costs two instructions a slot. Loads from a cell showed no difference.
///
/// # Safety
/// `from` may be read and `to` written for seven words, and they do not overlap.
#[inline(always)]
unsafe fn copy_body(from: *const u64, to: *mut u64) {
    // SAFETY: 1 + 2 + 4 words, by the caller.
    unsafe {
        ptr::copy_nonoverlapping(from, to, 1);
        ptr::copy_nonoverlapping(from.add(1), to.add(1), 2);
        ptr::copy_nonoverlapping(from.add(3), to.add(3), 4);
    }
}

/// Bytes 0..8 of a slot.
#[inline(always)]
fn word_of(slot: &Slot) -> u64 {
    let words: &[u64; 8] = bytemuck::must_cast_ref(slot);
    words[0]
}
