//! The queues that ours is compared with, each driven as its documentation recommends.

use crate::contender::{Contender, Item, Receiver, Sender};
use disruptor::{EventPoller, Producer as _, SingleConsumerBarrier, SingleProducer, SingleProducerBarrier};

/// `rtrb`: cached indices, slices in batches.
#[derive(Debug)]
pub struct Rtrb;

impl<T: Item> Contender<T> for Rtrb {
    type Tx = rtrb::Producer<T>;
    type Rx = rtrb::Consumer<T>;

    fn channel(capacity: usize) -> (Self::Tx, Self::Rx) {
        rtrb::RingBuffer::new(capacity)
    }
}

impl<T: Item> Sender<T> for rtrb::Producer<T> {
    #[inline(always)]
    fn send(&mut self, item: &T) -> bool {
        self.push(*item).is_ok()
    }

    #[inline]
    fn send_batch(&mut self, items: &[T]) -> usize {
        self.push_partial_slice(items).0.len()
    }
}

impl<T: Item> Receiver<T> for rtrb::Consumer<T> {
    #[inline(always)]
    fn receive(&mut self, out: &mut T) -> bool {
        match self.pop() {
            Ok(item) => {
                *out = item;
                true
            }
            Err(_) => false,
        }
    }

    #[inline]
    fn receive_batch(&mut self, out: &mut [T]) -> usize {
        self.pop_partial_slice(out).0.len()
    }
}

/// `nexus-queue`'s SPSC ring. It has no batches.
#[derive(Debug)]
pub struct Nexus;

impl<T: Item> Contender<T> for Nexus {
    type Tx = nexus_queue::spsc::Producer<T>;
    type Rx = nexus_queue::spsc::Consumer<T>;

    fn channel(capacity: usize) -> (Self::Tx, Self::Rx) {
        nexus_queue::spsc::ring_buffer(capacity)
    }
}

impl<T: Item> Sender<T> for nexus_queue::spsc::Producer<T> {
    #[inline(always)]
    fn send(&mut self, item: &T) -> bool {
        self.push(*item).is_ok()
    }
}

impl<T: Item> Receiver<T> for nexus_queue::spsc::Consumer<T> {
    #[inline(always)]
    fn receive(&mut self, out: &mut T) -> bool {
        match self.pop() {
            Some(item) => {
                *out = item;
                true
            }
            None => false,
        }
    }
}

/// `crossbeam-channel`, bounded. Many producers and consumers could share it, which costs; it has no batches.
#[derive(Debug)]
pub struct Crossbeam;

impl<T: Item> Contender<T> for Crossbeam {
    type Tx = crossbeam_channel::Sender<T>;
    type Rx = crossbeam_channel::Receiver<T>;

    fn channel(capacity: usize) -> (Self::Tx, Self::Rx) {
        crossbeam_channel::bounded(capacity)
    }
}

impl<T: Item> Sender<T> for crossbeam_channel::Sender<T> {
    #[inline(always)]
    fn send(&mut self, item: &T) -> bool {
        self.try_send(*item).is_ok()
    }
}

impl<T: Item> Receiver<T> for crossbeam_channel::Receiver<T> {
    #[inline(always)]
    fn receive(&mut self, out: &mut T) -> bool {
        match self.try_recv() {
            Ok(item) => {
                *out = item;
                true
            }
            Err(_) => false,
        }
    }
}

/// `yring`: flush and prefetch by the batch.
#[derive(Debug)]
pub struct Yring;

/// Sending end of [`Yring`].
pub struct YringTx<T>(yring::Producer<T>);
/// Receiving end of [`Yring`].
pub struct YringRx<T>(yring::Consumer<T>);

impl<T: Item> Contender<T> for Yring {
    type Tx = YringTx<T>;
    type Rx = YringRx<T>;

    fn channel(capacity: usize) -> (Self::Tx, Self::Rx) {
        let (tx, rx) = yring::spsc(capacity);
        (YringTx(tx), YringRx(rx))
    }
}

impl<T: Item> Sender<T> for YringTx<T> {
    #[inline(always)]
    fn send(&mut self, item: &T) -> bool {
        self.0.push_and_flush(*item).is_ok()
    }

    #[inline]
    fn send_batch(&mut self, items: &[T]) -> usize {
        let done = items.iter().take_while(|item| self.0.push(**item).is_ok()).count();
        self.0.flush();
        done
    }
}

impl<T: Item> Receiver<T> for YringRx<T> {
    #[inline(always)]
    fn receive(&mut self, out: &mut T) -> bool {
        let item = self.0.pop().or_else(|| {
            self.0.prefetch();
            self.0.pop()
        });
        match item {
            Some(item) => {
                self.0.release();
                *out = item;
                true
            }
            None => false,
        }
    }

    #[inline]
    fn receive_batch(&mut self, out: &mut [T]) -> usize {
        self.0.prefetch();
        let mut done = 0;
        for slot in out {
            let Some(item) = self.0.pop() else { break };
            *slot = item;
            done += 1;
        }
        if done > 0 {
            self.0.release();
        }
        done
    }
}

/// `disruptor` with one producer and one event poller, busy spinning.
#[derive(Debug)]
pub struct Disruptor;

/// Sending end of [`Disruptor`].
pub struct DisruptorTx<T>(SingleProducer<T, SingleConsumerBarrier>);
/// Receiving end of [`Disruptor`].
pub struct DisruptorRx<T>(EventPoller<T, SingleProducerBarrier>);

impl<T: Item> Contender<T> for Disruptor {
    type Tx = DisruptorTx<T>;
    type Rx = DisruptorRx<T>;

    fn channel(capacity: usize) -> (Self::Tx, Self::Rx) {
        let builder = disruptor::build_single_producer(capacity, T::default, disruptor::BusySpin);
        let (poller, builder) = builder.new_event_poller();
        (DisruptorTx(builder.build()), DisruptorRx(poller))
    }
}

impl<T: Item> Sender<T> for DisruptorTx<T> {
    #[inline(always)]
    fn send(&mut self, item: &T) -> bool {
        self.0.try_publish(|slot| *slot = *item).is_ok()
    }

    #[inline]
    fn send_batch(&mut self, items: &[T]) -> usize {
        let fill = |items: &[T], producer: &mut SingleProducer<T, SingleConsumerBarrier>| {
            producer
                .try_batch_publish(items.len(), |slots| {
                    for (slot, item) in slots.zip(items) {
                        *slot = *item;
                    }
                })
                .map(|_| items.len())
        };
        match fill(items, &mut self.0) {
            Ok(sent) => sent,
            Err(disruptor::MissingFreeSlots(missing)) => {
                let room = items.len().saturating_sub(missing as usize);
                if room == 0 { 0 } else { fill(&items[..room], &mut self.0).unwrap_or(0) }
            }
        }
    }
}

impl<T: Item> Receiver<T> for DisruptorRx<T> {
    #[inline(always)]
    fn receive(&mut self, out: &mut T) -> bool {
        match self.0.take(1) {
            Ok(mut events) => match (&mut events).next() {
                Some(event) => {
                    *out = *event;
                    true
                }
                None => false,
            },
            Err(_) => false,
        }
    }

    #[inline]
    fn receive_batch(&mut self, out: &mut [T]) -> usize {
        match self.0.take(out.len() as u64) {
            Ok(mut events) => {
                let mut done = 0;
                for event in &mut events {
                    out[done] = *event;
                    done += 1;
                }
                done
            }
            Err(_) => 0,
        }
    }
}
