//! The single-producer single-consumer ring that every event between two threads goes through.
//!
//! What it promises:
//! - **Order and completeness.** Events come out in the order in which they went in, each once, each whole. What does
//!   not fit is refused with the number of slots missing, and the caller still has it: nothing is dropped.
//! - **Bounded.** A ring has a fixed power of two of slots, at least [`CAPACITY_MIN`], so that an event of any length
//!   fits an empty ring. It allocates when it is made and never again.
//! - **Wait-free.** Every call ends after a number of steps that depends on its own arguments only. There is no lock,
//!   no fence, no read-modify-write and no system call on any path but creation and drop. (The ends share one
//!   allocation by a reference count that is touched when an end is dropped.)
//! - **One cache line per event.** The sequence stands in the slot itself, so that a hop moves one line, not two.
//!
//! What it does not: it never waits (a caller that wants to wait spins, yields or parks by its own strategy), it wakes
//! nobody, it has no third party that could look inside, and its ends cannot be cloned or shared. It has no snapshot:
//! what crosses a thread is drained into the shard, or counted as in flight at the source, before a shard is saved.
//!
//! ```
//! use tapeline_core::event::{EventBuf, Slot, payload::{News, Trade}};
//! use tapeline_core::ring;
//!
//! let (mut producer, mut consumer) = ring::channel(64);
//! let trade = EventBuf::new(&Trade::default());
//! let mut news = EventBuf::new(&News::default());
//! news.push_bytes(b"a text of more than a slot's twenty-four payload bytes").unwrap();
//!
//! producer.push(trade.slots()).unwrap();
//! producer.push(news.slots()).unwrap();
//!
//! let mut batch = [Slot::ZERO; 64];
//! assert_eq!(consumer.pop_batch(&mut batch, None), 3); // three slots: the trade's one, the news' two
//! assert_eq!(&batch[..1], trade.slots());
//! assert_eq!(&batch[1..3], news.slots());
//! ```
//!
//! # Slots, tags and laps
//!
//! Positions count slots from 0 (u64, wrapping); position `p` uses cell `p mod capacity`. A slot is published when its
//! tag is the low half of `p + 1`; until then it carries the tag of the lap before, with which a new ring starts too.
//! So the consumer needs no index of the producer's:
//!
//! ```text
//!            head (consumer)          tail (producer)
//!              v                        v
//!   [ free ... | p+1 | p+2 | ... | p+n | free ...      ]   tags of this lap from head to tail, of the lap before else
//!     ^ limit: what the producer may write next lap = last head it has seen + capacity
//! ```
//!
//! The first 8 bytes of a slot (tag, kind, span, lane, flags) are one atomic word; one Release store of the word of an
//! event's head publishes it all. A longer event is a *span* of up to 64 slots that may wrap around the end: its
//! continuations are written first, each with its own tag (else their payload could look like the next lap's event),
//! its head last; the consumer gathers it.
//!
//! The producer learns of free slots through a head that stands on a line of its own, that the consumer stores once per
//! call (Release), and that the producer loads (Acquire) only when the slots it knows of do not suffice.
//!
//! # Batches
//!
//! [`Producer::claim`] writes an event into the next slots without publishing it; [`Producer::commit`] publishes all
//! that was claimed with the one store of the first claimed head, withheld until then. The consumer sees all of a
//! commit or nothing. [`Producer::push_batch`] does so in groups of [`BATCH_SLOTS`], so that the consumer need not wait
//! for the end of a long run: it sees a prefix of whole events.
//!
//! # Due times
//!
//! A ring of [`channel_with_dues`] carries one u64 beside each slot, published by the same store: the time at which a
//! replay meant the event to go out.
//!
//! # Ends
//!
//! Both ends are [`Send`], and neither is [`Sync`] or [`Clone`]: one thread each, as the type says.
//!
//! ```compile_fail,E0277
//! fn shared<T: Sync>(_: T) {}
//! shared(tapeline_core::ring::channel(64).0); // a Producer is not Sync
//! ```
//! ```compile_fail,E0277
//! fn shared<T: Sync>(_: T) {}
//! shared(tapeline_core::ring::channel(64).1); // a Consumer is not Sync
//! ```
//! ```compile_fail,E0599
//! let (producer, _consumer) = tapeline_core::ring::channel(64);
//! let second = producer.clone();
//! ```
//! ```compile_fail,E0599
//! let (_producer, consumer) = tapeline_core::ring::channel(64);
//! let second = consumer.clone();
//! ```
//! ```
//! fn sent<T: Send>(_: T) {}
//! let (producer, consumer) = tapeline_core::ring::channel(64);
//! sent(producer);
//! sent(consumer);
//! ```

mod batch;
mod storage;

use crate::event::{Kind, Slot};
use crate::limits::{BATCH_SLOTS, SPAN_SLOTS_MAX};
use crate::sync::Orders;
use core::cell::Cell;
use core::fmt;
use core::marker::PhantomData;
use storage::{Dues, NO_DUE, Reader, Single, Writer};

/// Fewest slots of a ring: the longest event fits, so that [`Full`] always passes once the consumer has caught up.
pub const CAPACITY_MIN: usize = SPAN_SLOTS_MAX;

/// The due time of a slot that was pushed without one, and of every slot of a ring without due times.
pub const DUE_NONE: u64 = NO_DUE;

/// A ring of `capacity` slots.
///
/// O(capacity): allocates and touches every slot.
///
/// # Panics
/// When `capacity` is not a power of two from [`CAPACITY_MIN`] to [`RING_SLOTS_MAX`](crate::limits::RING_SLOTS_MAX).
#[must_use]
pub fn channel(capacity: usize) -> (Producer, Consumer) {
    assert!(capacity >= CAPACITY_MIN, "a ring of {capacity} slots: at least {CAPACITY_MIN}");
    channel_at(capacity, 0, false)
}

/// A ring of `capacity` slots with a due time beside each slot.
///
/// O(capacity): allocates and touches every slot.
///
/// # Panics
/// As [`channel`].
#[must_use]
pub fn channel_with_dues(capacity: usize) -> (Producer, Consumer) {
    assert!(capacity >= CAPACITY_MIN, "a ring of {capacity} slots: at least {CAPACITY_MIN}");
    channel_at(capacity, 0, true)
}

/// A ring whose first event has position `start`, and which may be as small as one slot: for tests that wrap positions
/// and tags. In a ring below [`CAPACITY_MIN`] an event that is longer than the ring is refused for ever.
///
/// # Panics
/// When `capacity` is not a power of two or above [`RING_SLOTS_MAX`](crate::limits::RING_SLOTS_MAX).
#[doc(hidden)]
#[must_use]
pub fn channel_at(capacity: usize, start: u64, with_dues: bool) -> (Producer, Consumer) {
    ends(capacity, start, with_dues, Orders::SOUND)
}

/// As [`channel_at`], with one ordering or bound made wrong. Exists in models only.
#[cfg(any(loom, shuttle))]
#[must_use]
pub fn channel_sabotaged(capacity: usize, start: u64, with_dues: bool, orders: Orders) -> (Producer, Consumer) {
    ends(capacity, start, with_dues, orders)
}

fn ends(capacity: usize, start: u64, with_dues: bool, orders: Orders) -> (Producer, Consumer) {
    let (writer, reader) = storage::pair(capacity, start, with_dues, orders);
    (Producer { writer, one_thread: PhantomData }, Consumer { reader, one_thread: PhantomData })
}

/// Bytes that a ring of `capacity` slots takes, for the sum that is printed at start. A few bytes of each end and of
/// the allocator's own are not in it.
#[must_use]
pub const fn memory_bytes(capacity: usize, with_dues: bool) -> usize {
    storage::bytes(capacity, with_dues)
}

/// There are too few free slots. The caller still has the event.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the ring is full: {shortfall} slots are missing")]
pub struct Full {
    /// Slots missing, 1 to 64.
    pub shortfall: usize,
}

/// The end that events go into.
///
/// Dropping it publishes what is claimed; the consumer reads on to the last event and then finds the ring
/// [abandoned](Consumer::is_abandoned).
pub struct Producer {
    writer: Writer,
    /// Keeps the end from being shared between threads: `Cell` is `Send` and not `Sync`.
    one_thread: PhantomData<Cell<()>>,
}

/// The end that events come out of.
///
/// Dropping it drops the events that are left: whoever drops it must have drained it, or count what the producer could
/// not deliver as refused (see [`Producer::is_abandoned`]).
pub struct Consumer {
    reader: Reader,
    /// Keeps the end from being shared between threads: `Cell` is `Send` and not `Sync`.
    one_thread: PhantomData<Cell<()>>,
}

impl Producer {
    /// Slots of the ring.
    #[inline]
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.writer.capacity()
    }

    /// Bytes of the ring on the heap, as [`memory_bytes`]. Both ends share them.
    #[must_use]
    pub fn bytes(&self) -> usize {
        memory_bytes(self.capacity(), self.writer.has_dues())
    }

    /// Checks all that this end can see: its positions, every slot's tag, and that what is published are whole events.
    /// O(capacity); for tests. Right at any time between two calls, whatever the other end is doing.
    ///
    /// # Panics
    /// When a rule does not hold, with the rule.
    pub fn assert_invariants(&self) {
        if let Err(broken) = self.writer.check() {
            panic!("Invariant: {broken}; {self:?}");
        }
    }

    /// Position of the next slot: slots that were ever pushed or claimed, wrapping.
    #[inline]
    #[must_use]
    pub fn position(&self) -> u64 {
        self.writer.position()
    }

    /// Free slots as of now. The consumer may have given back more by the time that the caller reads the number, never
    /// fewer. One Acquire load of the consumer's head: a cache miss when the consumer is active.
    #[inline]
    #[must_use]
    pub fn free_slots(&mut self) -> usize {
        self.writer.room(self.writer.capacity())
    }

    /// Slots that the consumer has not given back, claimed ones included. Cost as [`Producer::free_slots`].
    #[inline]
    #[must_use]
    pub fn occupied_slots(&mut self) -> usize {
        self.capacity() - self.free_slots()
    }

    /// Whether the consumer is gone, so that nobody will ever take what is pushed.
    #[inline]
    #[must_use]
    pub fn is_abandoned(&self) -> bool {
        self.writer.reader_gone()
    }

    /// Publishes one event, and all that is claimed before it. The slots' tags do not matter.
    ///
    /// O(slots). An event of one slot costs one Release store, and one Acquire load when the slots that are known to be
    /// free are used up.
    ///
    /// # Errors
    /// [`Full`] when it does not fit; nothing of it was written (what was claimed stays so).
    ///
    /// # Panics
    /// When `event` is not exactly one event: empty, or of another length than its head's span.
    #[inline]
    pub fn push(&mut self, event: &[Slot]) -> Result<(), Full> {
        if let [slot] = event
            && self.writer.push_single(slot)
        {
            debug_assert!(slot.kind() != Kind::CONTINUATION, "Invariant: an event begins with its head");
            return Ok(());
        }
        self.push_long(event, Dues::None)
    }

    /// As [`Producer::push`], with the due time of the event. On a ring without due times, `due` is dropped.
    ///
    /// # Errors
    /// As [`Producer::push`].
    ///
    /// # Panics
    /// As [`Producer::push`].
    #[inline]
    pub fn push_due(&mut self, event: &[Slot], due: u64) -> Result<(), Full> {
        self.push_long(event, Dues::Same(due))
    }

    /// Spans, claims pending, due times, and slots that are not known to be free.
    #[inline(never)]
    fn push_long(&mut self, event: &[Slot], dues: Dues<'_>) -> Result<(), Full> {
        if let ([slot], Dues::None) = (event, dues)
            && self.writer.may_open_short()
        {
            event_slots(event);
            if !self.writer.open_short() {
                return Err(Full { shortfall: 1 });
            }
            if self.writer.push_single(slot) {
                return Ok(());
            }
        }
        self.claim_long(event, dues)?;
        self.writer.commit();
        Ok(())
    }

    fn claim_long(&mut self, event: &[Slot], dues: Dues<'_>) -> Result<(), Full> {
        assert!(!event.is_empty(), "an event has at least one slot");
        let span = event_slots(event);
        assert!(span == event.len(), "an event of {span} slots, pushed as {} slots", event.len());
        if self.writer.claim_run(event, dues) { Ok(()) } else { Err(self.full(span)) }
    }

    #[cold]
    fn full(&mut self, wanted: usize) -> Full {
        Full { shortfall: wanted.saturating_sub(self.writer.room(wanted)).max(1) }
    }
}

impl Consumer {
    /// Slots of the ring.
    #[inline]
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.reader.capacity()
    }

    /// Bytes of the ring on the heap, as [`memory_bytes`]. Both ends share them.
    #[must_use]
    pub fn bytes(&self) -> usize {
        memory_bytes(self.capacity(), self.reader.has_dues())
    }

    /// Checks all that this end can see: its position, every slot's tag, and that what is published are whole events.
    /// O(capacity); for tests. Right at any time between two calls, whatever the other end is doing.
    ///
    /// # Panics
    /// When a rule does not hold, with the rule.
    pub fn assert_invariants(&self) {
        if let Err(broken) = self.reader.check() {
            panic!("Invariant: {broken}; {self:?}");
        }
    }

    /// Position of the next slot: slots that were ever popped, wrapping.
    #[inline]
    #[must_use]
    pub fn position(&self) -> u64 {
        self.reader.position()
    }

    /// Whether no event is there. One Acquire load.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.reader.is_empty()
    }

    /// Slots that are there, counted one by one: O(slots), a cache miss each. For reports, not for the hot path.
    #[must_use]
    pub fn len(&self) -> usize {
        self.reader.len()
    }

    /// Whether the producer is gone. What it has published can still be popped, and nothing will follow: a consumer
    /// that sees `true` here and then finds the ring empty has had everything. (The other order would miss what came
    /// between.)
    #[inline]
    #[must_use]
    pub fn is_abandoned(&self) -> bool {
        self.reader.writer_gone()
    }

    /// A copy of the next event's head, its tag 0, to decide from which of several rings to take. O(1): one Acquire
    /// load and one line.
    #[inline]
    #[must_use]
    pub fn peek(&self) -> Option<Slot> {
        self.reader.peek()
    }

    /// The due time of the next event; [`DUE_NONE`] when it has none.
    #[inline]
    #[must_use]
    pub fn peek_due(&self) -> Option<u64> {
        self.reader.peek_due()
    }

    /// Takes one event into the front of `out`, its slots' tags 0, and gives its slots back to the producer. Returns
    /// how many slots it has; 0 when none is there, or when it is longer than `out` (which 64 slots rule out).
    ///
    /// O(slots): one Acquire load per slot and one Release store.
    #[inline]
    pub fn pop(&mut self, out: &mut [Slot]) -> usize {
        let Some(first) = out.first_mut() else { return 0 };
        match self.reader.pop_single(first) {
            Single::Taken => 1,
            Single::Nothing => 0,
            Single::Longer => self.pop_long(out),
        }
    }

    #[inline(never)]
    fn pop_long(&mut self, out: &mut [Slot]) -> usize {
        let slots = self.reader.take_span(out, None);
        if slots != 0 {
            self.reader.give_back();
        }
        slots
    }
}

/// Slots of the event that begins at `slots[0]`.
///
/// # Panics
/// When it is longer than `slots`. In debug builds also when its slots are not a head and continuations.
#[inline]
fn event_slots(slots: &[Slot]) -> usize {
    let span = slots[0].span();
    assert!(span <= slots.len(), "an event of {span} slots, of which {} are given", slots.len());
    debug_assert!(slots[0].kind() != Kind::CONTINUATION, "Invariant: an event begins with its head");
    debug_assert!(
        slots[1..span].iter().all(|slot| slot.kind() == Kind::CONTINUATION),
        "Invariant: a head is followed by its continuations"
    );
    span
}

impl fmt::Debug for Producer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Producer")
            .field("capacity", &self.capacity())
            .field("position", &self.position())
            .field("claimed", &self.writer.claimed())
            .finish()
    }
}

impl fmt::Debug for Consumer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Consumer").field("capacity", &self.capacity()).field("position", &self.position()).finish()
    }
}

const _: () = assert!(BATCH_SLOTS >= SPAN_SLOTS_MAX, "a batch buffer holds an event of any length");
