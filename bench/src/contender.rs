//! What a duel needs of a queue, and ours.

use tapeline_core::event::Slot;
use tapeline_core::ring::{self, Consumer, Producer};

/// What is sent: the same bytes for every contender.
pub trait Item: Copy + Default + Send + Sync + 'static {
    /// Bytes.
    const BYTES: usize = size_of::<Self>();

    /// Makes this the item of sequence `seq`. Touches every word that the consumer checks.
    fn set(&mut self, seq: u64);

    /// The sequence.
    fn seq(&self) -> u64;

    /// What the consumer sums: depends on the last bytes too.
    fn sum(&self) -> u64;

    /// As a slot of our ring.
    fn to_slot(&self) -> Slot;

    /// Out of a slot of our ring.
    fn from_slot(slot: &Slot) -> Self;
}

/// The 64-byte event.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, bytemuck::TransparentWrapper)]
pub struct Event(pub Slot);

impl Default for Event {
    fn default() -> Self {
        Self(Slot::ZERO)
    }
}

impl Item for Event {
    #[inline(always)]
    fn set(&mut self, seq: u64) {
        self.0.seq = seq;
        self.0.payload[2] = !seq;
    }

    #[inline(always)]
    fn seq(&self) -> u64 {
        self.0.seq
    }

    #[inline(always)]
    fn sum(&self) -> u64 {
        self.0.seq ^ self.0.payload[2]
    }

    #[inline(always)]
    fn to_slot(&self) -> Slot {
        self.0
    }

    #[inline(always)]
    fn from_slot(slot: &Slot) -> Self {
        Self(*slot)
    }
}

impl Item for u64 {
    #[inline(always)]
    fn set(&mut self, seq: u64) {
        *self = seq;
    }

    #[inline(always)]
    fn seq(&self) -> u64 {
        *self
    }

    #[inline(always)]
    fn sum(&self) -> u64 {
        !0
    }

    #[inline(always)]
    fn to_slot(&self) -> Slot {
        Slot { seq: *self, ..Slot::ZERO }
    }

    #[inline(always)]
    fn from_slot(slot: &Slot) -> Self {
        slot.seq
    }
}

/// The sending end of a contender.
pub trait Sender<T>: Send {
    /// Sends one item; `false` when there is no room.
    fn send(&mut self, item: &T) -> bool;

    /// Sends items from the front, as many as there is room for, published as the contender does best.
    fn send_batch(&mut self, items: &[T]) -> usize {
        items.iter().take_while(|item| self.send(item)).count()
    }
}

/// The receiving end of a contender.
pub trait Receiver<T>: Send {
    /// Receives one item; `false` when there is none.
    fn receive(&mut self, out: &mut T) -> bool;

    /// Receives as many items as there are, at most `out.len()`.
    fn receive_batch(&mut self, out: &mut [T]) -> usize {
        let mut done = 0;
        while done < out.len() && self.receive(&mut out[done]) {
            done += 1;
        }
        done
    }
}

/// A queue between two threads.
pub trait Contender<T: Item> {
    /// Its sending end.
    type Tx: Sender<T> + 'static;
    /// Its receiving end.
    type Rx: Receiver<T> + 'static;

    /// A new queue for `capacity` items.
    fn channel(capacity: usize) -> (Self::Tx, Self::Rx);
}

/// Our ring.
#[derive(Debug)]
pub struct Ours;

impl Contender<Event> for Ours {
    type Tx = Producer;
    type Rx = Consumer;

    fn channel(capacity: usize) -> (Producer, Consumer) {
        ring::channel(capacity)
    }
}

/// [`Event`]s as the slots that they are.
fn slots(events: &[Event]) -> &[Slot] {
    bytemuck::TransparentWrapper::peel_slice(events)
}

impl Sender<Event> for Producer {
    #[inline(always)]
    fn send(&mut self, item: &Event) -> bool {
        self.push(core::slice::from_ref(&item.0)).is_ok()
    }

    #[inline]
    fn send_batch(&mut self, items: &[Event]) -> usize {
        self.push_batch(slots(items), None)
    }
}

impl Receiver<Event> for Consumer {
    #[inline(always)]
    fn receive(&mut self, out: &mut Event) -> bool {
        self.pop(core::slice::from_mut(&mut out.0)) == 1
    }

    #[inline]
    fn receive_batch(&mut self, out: &mut [Event]) -> usize {
        self.pop_batch(bytemuck::TransparentWrapper::peel_slice_mut(out), None)
    }
}

/// Our ring with a u64 in each slot: it has no smaller slots, and this is the row where that costs most.
impl Contender<u64> for Ours {
    type Tx = SmallTx;
    type Rx = SmallRx;

    fn channel(capacity: usize) -> (SmallTx, SmallRx) {
        let (producer, consumer) = ring::channel(capacity);
        (SmallTx(producer), SmallRx(consumer))
    }
}

/// Sends u64s through our ring.
#[derive(Debug)]
pub struct SmallTx(Producer);

/// Receives u64s from our ring.
#[derive(Debug)]
pub struct SmallRx(Consumer);

impl Sender<u64> for SmallTx {
    #[inline(always)]
    fn send(&mut self, item: &u64) -> bool {
        self.0.push(&[item.to_slot()]).is_ok()
    }

    #[inline]
    fn send_batch(&mut self, items: &[u64]) -> usize {
        let done = items.iter().take_while(|item| self.0.claim(&[item.to_slot()]).is_ok()).count();
        self.0.commit();
        done
    }
}

impl Receiver<u64> for SmallRx {
    #[inline(always)]
    fn receive(&mut self, out: &mut u64) -> bool {
        let mut slot = [Slot::ZERO];
        let taken = self.0.pop(&mut slot) == 1;
        if taken {
            *out = u64::from_slot(&slot[0]);
        }
        taken
    }
}
