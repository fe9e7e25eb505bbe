//! A swap of two blocks: a shard records into one while another thread reads the other.
//!
//! For histograms and tables of statistics, which are too large to copy out of a shard while it works and must not be
//! read while they change. Both blocks are made by the caller, beforehand; nothing is copied, ever.
//!
//! Promises:
//! - **Each value once.** What was recorded up to a swap point is in the block that is handed over there, whole, and in
//!   no other. What is recorded later goes into the block that the collector gave back, as the collector left it.
//! - **Wait-free for the recorder.** A swap point costs one Acquire load, and when a swap was asked for one Release
//!   store more. The collector never waits either: it asks, and looks again later.
//! - **Nothing is left behind.** A recorder that is dropped hands over what it holds: the request that is under way is
//!   answered by that, as is the next.
//! - No lock, no fence, no read-modify-write, no allocation after [`pair`].
//!
//! What it does not: it does not empty a block (the collector does, before it asks for the next), it wakes nobody, and
//! it is no queue: a recorder that passes no swap point keeps its block for ever.
//!
//! ```
//! let (mut recorder, mut collector) = tapeline_core::swap::pair(0u64, 0u64);
//! recorder.with(|sum| *sum += 7);
//! collector.request();
//! assert_eq!(collector.with_held(|sum| *sum), None, "the recorder has not passed its swap point");
//! recorder.pass();
//! recorder.with(|sum| *sum += 1);
//! assert_eq!(collector.with_held(|sum| core::mem::take(sum)), Some(7));
//! ```
//!
//! # Turns
//!
//! Two counters, each written by one end, say whose the blocks are. `asked` counts requests, `passed` the swaps made:
//! equal, or one apart while a request is under way. The recorder's block is `passed mod 2` at all times.
//!
//! ```text
//!  asked passed   block 0     block 1
//!    0     0      recorder    collector
//!    1     0      recorder    on its way to the recorder      request(): Release -> Acquire
//!    1     1      collector   recorder                        pass():    Release -> Acquire
//! ```

// The blocks are the one thing beside the ring's slots that two threads reach in turns.
#![allow(unsafe_code)]

use crate::sync::{Arc, AtomicBool, AtomicU64, Orders, UnsafeCell};
use core::fmt;
use crossbeam_utils::CachePadded;

/// What only the recorder writes.
struct RecorderLine {
    /// Swaps made.
    passed: AtomicU64,
    /// The recorder is gone, and both blocks are the collector's.
    gone: AtomicBool,
}

struct Shared<T> {
    blocks: [UnsafeCell<T>; 2],
    /// Swaps asked for. Only the collector writes it.
    asked: CachePadded<AtomicU64>,
    recorder: CachePadded<RecorderLine>,
}

// SAFETY: what is not atomic is the blocks. Fact 1: there is one `Recorder` and one `Collector`, neither can be cloned,
// and both take `&mut self` for a block. Fact 2: the recorder uses block `passed mod 2` only, the collector the other
// one, and only while `asked == passed` or after `gone`. Fact 3: `passed` moves on only when the recorder has seen
// `asked` ahead of it by an Acquire load of the collector's Release store, so after the collector's last access to the
// block that the recorder gets; and the collector goes on only when it has seen `passed` (or `gone`) by an Acquire load
// of the recorder's Release store, so after the recorder's last access to the block that it gets. A `T` that is `Send`
// may be used by one thread after the other.
unsafe impl<T: Send> Sync for Shared<T> {}

/// The end that records: a shard's.
pub struct Recorder<T> {
    shared: Arc<Shared<T>>,
    /// As in `shared`.
    passed: u64,
    orders: Orders,
}

/// The end that collects what was recorded.
pub struct Collector<T> {
    shared: Arc<Shared<T>>,
    /// As in `shared`.
    asked: u64,
    /// A request was made and its answer not yet seen: the collector has no block.
    is_pending: bool,
    orders: Orders,
}

/// The two ends: the recorder begins in `first`, the collector holds `second`. Allocates once.
#[must_use]
pub fn pair<T: Send>(first: T, second: T) -> (Recorder<T>, Collector<T>) {
    ends(first, second, Orders::SOUND)
}

/// As [`pair`], with one mistake. Exists in models only.
#[cfg(any(loom, shuttle))]
#[must_use]
pub fn pair_sabotaged<T: Send>(first: T, second: T, orders: Orders) -> (Recorder<T>, Collector<T>) {
    ends(first, second, orders)
}

fn ends<T: Send>(first: T, second: T, orders: Orders) -> (Recorder<T>, Collector<T>) {
    let shared = Arc::new(Shared {
        blocks: [UnsafeCell::new(first), UnsafeCell::new(second)],
        asked: CachePadded::new(AtomicU64::new(0)),
        recorder: CachePadded::new(RecorderLine { passed: AtomicU64::new(0), gone: AtomicBool::new(false) }),
    });
    let collector = Collector { shared: Arc::clone(&shared), asked: 0, is_pending: false, orders };
    (Recorder { shared, passed: 0, orders }, collector)
}

impl<T: Send> Recorder<T> {
    /// Lends the block to record into. O(1): an address and the call.
    #[inline(always)]
    pub fn with<R>(&mut self, record: impl FnOnce(&mut T) -> R) -> R {
        // SAFETY: facts 1 and 2: `passed mod 2` is the recorder's, and `&mut self` is held while it is lent.
        self.shared.blocks[(self.passed & 1) as usize].with_mut(|block| record(unsafe { &mut *block }))
    }

    /// A swap point: gives the block away if the collector has asked, and goes on in the other. Returns whether it did.
    #[inline]
    pub fn pass(&mut self) -> bool {
        let asked = self.shared.asked.load(self.orders.reclaim());
        if asked == self.passed {
            return false;
        }
        self.shared.recorder.passed.store(asked, self.orders.publish());
        if !self.orders.publishes_early() {
            self.passed = asked;
        }
        true
    }
}

impl<T> Drop for Recorder<T> {
    fn drop(&mut self) {
        self.shared.recorder.gone.store(true, self.orders.leave());
    }
}

impl<T: Send> Collector<T> {
    /// Gives the held block back and asks for the other. Returns `false`, and does nothing, while an earlier request is
    /// under way. One Release store.
    #[inline]
    pub fn request(&mut self) -> bool {
        if !self.is_held() {
            return false;
        }
        self.asked = self.asked.wrapping_add(1);
        self.is_pending = true;
        self.shared.asked.store(self.asked, self.orders.give_back());
        true
    }

    /// Whether the collector holds a block: nothing was asked for yet, or the last request is answered. At most two
    /// Acquire loads.
    #[inline]
    #[must_use]
    pub fn is_held(&mut self) -> bool {
        if self.is_pending {
            let passed = self.shared.recorder.passed.load(self.orders.observe());
            // A recorder that is gone has either passed before, or its block is the one that was asked for: the block
            // is the same.
            let is_answered = passed == self.asked || self.is_abandoned() || self.orders.gives_back_early();
            self.is_pending = !is_answered;
        }
        !self.is_pending
    }

    /// Lends the held block: to read it, and to empty it before the next request. `None` while a request is under way.
    #[inline]
    pub fn with_held<R>(&mut self, look: impl FnOnce(&mut T) -> R) -> Option<R> {
        if !self.is_held() {
            return None;
        }
        let block = &self.shared.blocks[(self.asked & 1 ^ 1) as usize];
        // SAFETY: facts 1 to 3: nothing is asked for that was not answered, so that the recorder, if it is still there,
        // uses block `asked mod 2`; and `&mut self` is held while the other is lent.
        Some(block.with_mut(|block| look(unsafe { &mut *block })))
    }

    /// Whether the recorder is gone. What it recorded last is there by one more request, which is answered at once.
    #[inline]
    #[must_use]
    pub fn is_abandoned(&self) -> bool {
        self.shared.recorder.gone.load(self.orders.notice())
    }
}

impl<T> fmt::Debug for Recorder<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recorder").field("passed", &self.passed).finish_non_exhaustive()
    }
}

impl<T> fmt::Debug for Collector<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Collector")
            .field("asked", &self.asked)
            .field("is_pending", &self.is_pending)
            .finish_non_exhaustive()
    }
}
