//! The one seam to loom: everything that two threads share is built from what this file names.
//!
//! A normal build gets std's types; a build with `--cfg loom` gets loom's, which explore every interleaving and every
//! value that a weak ordering may return. No other file of the crate mentions loom, and none names an atomic of std.
//! [`Orders`] also lives here: it names each memory ordering of the ring together with its partner, costs nothing in a
//! normal build, and lets a loom model weaken one of them at a time (see [`Orders`]).

#[cfg(not(loom))]
mod imp {
    pub use std::hint::spin_loop;
    pub use std::sync::Arc;
    pub use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
    pub use std::thread::yield_now;

    /// [`std::cell::UnsafeCell`] with the interface of loom's: a pointer is only ever lent to a closure, so that loom
    /// knows when an access begins and ends.
    #[derive(Debug, Default)]
    #[repr(transparent)]
    pub struct UnsafeCell<T>(std::cell::UnsafeCell<T>);

    impl<T> UnsafeCell<T> {
        /// A cell that holds `value`.
        #[inline]
        pub const fn new(value: T) -> Self {
            Self(std::cell::UnsafeCell::new(value))
        }

        /// Lends a pointer to read through.
        #[inline(always)]
        pub fn with<R>(&self, read: impl FnOnce(*const T) -> R) -> R {
            read(self.0.get())
        }

        /// Lends a pointer to write through.
        #[inline(always)]
        pub fn with_mut<R>(&self, write: impl FnOnce(*mut T) -> R) -> R {
            write(self.0.get())
        }
    }

    /// The memory orderings of the ring, each with its partner. Empty in a normal build.
    #[derive(Clone, Copy, Debug)]
    pub struct Orders;

    impl Orders {
        /// The right ones.
        pub const SOUND: Self = Self;

        /// The producer publishes: the store of the word of a batch's first slot. Partner: [`Orders::observe`].
        #[inline(always)]
        pub const fn publish(self) -> Ordering {
            Ordering::Release
        }

        /// The consumer looks at a slot's word. Partner: [`Orders::publish`].
        #[inline(always)]
        pub const fn observe(self) -> Ordering {
            Ordering::Acquire
        }

        /// The consumer gives slots back: the store of its head. Partner: [`Orders::reclaim`].
        #[inline(always)]
        pub const fn give_back(self) -> Ordering {
            Ordering::Release
        }

        /// The producer looks at the consumer's head. Partner: [`Orders::give_back`].
        #[inline(always)]
        pub const fn reclaim(self) -> Ordering {
            Ordering::Acquire
        }

        /// An end says that it is gone. Partner: [`Orders::notice`].
        #[inline(always)]
        pub const fn leave(self) -> Ordering {
            Ordering::Release
        }

        /// The other end looks. Partner: [`Orders::leave`].
        #[inline(always)]
        pub const fn notice(self) -> Ordering {
            Ordering::Acquire
        }

        /// Positions that the producer may be ahead of the consumer in a ring of `capacity` slots: all of them.
        #[inline(always)]
        pub const fn lead(self, capacity: u64) -> u64 {
            capacity
        }
    }
}

#[cfg(loom)]
mod imp {
    pub use loom::cell::UnsafeCell;
    pub use loom::hint::spin_loop;
    pub use loom::sync::Arc;
    pub use loom::sync::atomic::{AtomicBool, AtomicU64, Ordering};
    pub use loom::thread::yield_now;

    /// One mistake that a must-fail twin of a model makes. Exists under loom only.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub enum Sabotage {
        /// The word is published with a relaxed store.
        RelaxedPublish,
        /// The consumer looks at the word with a relaxed load.
        RelaxedObserve,
        /// The consumer stores its head relaxed.
        RelaxedGiveBack,
        /// The producer loads the consumer's head relaxed.
        RelaxedReclaim,
        /// An end says relaxed that it is gone.
        RelaxedLeave,
        /// The producer believes in one slot more than there is.
        OffByOneWrap,
    }

    /// The memory orderings of the ring, one of which may be sabotaged. The real ones are in the normal build's type of
    /// this name; this one differs from it only where a [`Sabotage`] says so.
    #[derive(Clone, Copy, Debug)]
    pub struct Orders(pub Option<Sabotage>);

    impl Orders {
        /// The right ones.
        pub const SOUND: Self = Self(None);

        fn unless(self, sabotage: Sabotage, order: Ordering) -> Ordering {
            if self.0 == Some(sabotage) { Ordering::Relaxed } else { order }
        }

        /// See the normal build's.
        pub fn publish(self) -> Ordering {
            self.unless(Sabotage::RelaxedPublish, Ordering::Release)
        }

        /// See the normal build's.
        pub fn observe(self) -> Ordering {
            self.unless(Sabotage::RelaxedObserve, Ordering::Acquire)
        }

        /// See the normal build's.
        pub fn give_back(self) -> Ordering {
            self.unless(Sabotage::RelaxedGiveBack, Ordering::Release)
        }

        /// See the normal build's.
        pub fn reclaim(self) -> Ordering {
            self.unless(Sabotage::RelaxedReclaim, Ordering::Acquire)
        }

        /// See the normal build's.
        pub fn leave(self) -> Ordering {
            self.unless(Sabotage::RelaxedLeave, Ordering::Release)
        }

        /// See the normal build's.
        pub fn notice(self) -> Ordering {
            Ordering::Acquire
        }

        /// See the normal build's.
        pub fn lead(self, capacity: u64) -> u64 {
            capacity + u64::from(self.0 == Some(Sabotage::OffByOneWrap))
        }
    }
}

pub use imp::*;
