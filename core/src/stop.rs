//! The stop word: how a control thread tells a loop that never waits to end.
//!
//! Promises:
//! - **Nothing before it is missed.** A loop that sees a request also sees all that the requester did before it. So a
//!   loop that looks at the word *first*, and then finds its rings empty, has had everything that was put in before.
//! - **Only stronger.** [`Stop::Drain`] is never seen after [`Stop::Now`], whoever asks and in whatever order.
//! - **Wait-free.** A look is one Acquire load of a line that is written twice in a run at most.
//!
//! What it does not: it wakes nobody, and it does not say that the loop has ended (its thread's handle does).
//!
//! ```
//! use tapeline_core::stop::{Stop, StopWord};
//!
//! let word = StopWord::new();
//! assert_eq!(word.get(), Stop::Run);
//! word.request(Stop::Now);
//! word.request(Stop::Drain);
//! assert_eq!(word.get(), Stop::Now);
//! ```

use crate::sync::{AtomicU64, Orders};

/// What a loop is to do. Ordered by strength.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Stop {
    /// Go on.
    Run,
    /// Take nothing new, finish what is there, then end. Who looks at the word and then at its rings misses nothing.
    Drain,
    /// End at the next look. What is left stays where it is, and is counted as in flight.
    Now,
}

/// A [`Stop`] that threads share. One word; where the writers' other words are busy, pad it.
#[derive(Debug)]
pub struct StopWord {
    /// A [`Stop`] as a number. Only grows.
    word: AtomicU64,
    orders: Orders,
}

impl StopWord {
    /// A word that says [`Stop::Run`].
    #[must_use]
    pub fn new() -> Self {
        Self::with(Orders::SOUND)
    }

    /// As [`StopWord::new`], with one mistake. Exists in models only.
    #[cfg(any(loom, shuttle))]
    #[must_use]
    pub fn sabotaged(orders: Orders) -> Self {
        Self::with(orders)
    }

    fn with(orders: Orders) -> Self {
        Self { word: AtomicU64::new(Stop::Run as u64), orders }
    }

    /// Asks the loop to stop; a request that is weaker than an earlier one changes nothing. One read-modify-write.
    ///
    /// Synchronises with the Acquire load of [`StopWord::get`]; a second request continues the first one's release
    /// sequence, so that who sees the second sees what came before either.
    #[inline]
    pub fn request(&self, stop: Stop) {
        if self.orders.forgets_requests() {
            self.word.store(stop as u64, self.orders.publish());
        } else {
            self.word.fetch_max(stop as u64, self.orders.publish());
        }
    }

    /// The strongest request so far. One Acquire load.
    #[inline]
    #[must_use]
    pub fn get(&self) -> Stop {
        match self.word.load(self.orders.observe()) {
            0 => Stop::Run,
            1 => Stop::Drain,
            _ => Stop::Now,
        }
    }
}

impl Default for StopWord {
    fn default() -> Self {
        Self::new()
    }
}

const _: () = assert!(Stop::Run as u64 == 0 && Stop::Drain as u64 == 1 && Stop::Now as u64 == 2);

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::{Stop, StopWord};

    #[test]
    fn requests_only_grow_stronger() {
        let all = [Stop::Run, Stop::Drain, Stop::Now];
        for first in all {
            for second in all {
                let word = StopWord::default();
                word.request(first);
                assert_eq!(word.get(), first);
                word.request(second);
                assert_eq!(word.get(), first.max(second));
            }
        }
    }
}
