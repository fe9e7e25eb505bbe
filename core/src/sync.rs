//! The one seam to loom and shuttle: everything that two threads share is built from what this file names.
//!
//! A normal build gets std's types. A build with `--cfg loom` gets loom's, which explore every interleaving and every
//! value that a weak ordering may return; one with `--cfg shuttle` gets shuttle's, which try random interleavings of
//! larger models, and know no weak orderings. No other file of the crate mentions either, and none names an atomic of
//! std. [`Orders`] also lives here: it names each memory ordering together with its partner, costs nothing in a normal
//! build, and lets a model make one mistake at a time (see [`Orders`]).

pub use orders::*;
pub use types::*;
pub use word::Word;

/// Whether this build is a model's: its stand-ins are larger than what they stand for.
pub const IS_MODEL: bool = cfg!(any(loom, shuttle));

#[cfg(not(any(loom, shuttle)))]
mod types {
    pub use std::sync::Arc;
    pub use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

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
}

#[cfg(loom)]
mod types {
    pub use loom::cell::UnsafeCell;
    pub use loom::sync::Arc;
    pub use loom::sync::atomic::{AtomicBool, AtomicU64, Ordering};
}

#[cfg(shuttle)]
mod types {
    pub use shuttle::sync::Arc;
    pub use shuttle::sync::atomic::{AtomicBool, AtomicU64, Ordering};

    /// [`std::cell::UnsafeCell`] that panics when an access begins while another that excludes it has not ended:
    /// shuttle itself watches atomics only. Each access may be interrupted at its beginning and at its end.
    #[derive(Debug)]
    pub struct UnsafeCell<T> {
        value: std::cell::UnsafeCell<T>,
        /// Reads under way, and [`WRITE`] for a write.
        users: AtomicU64,
    }

    const WRITE: u64 = 1 << 32;

    impl<T> UnsafeCell<T> {
        /// A cell that holds `value`.
        pub fn new(value: T) -> Self {
            Self { value: std::cell::UnsafeCell::new(value), users: AtomicU64::new(0) }
        }

        /// Lends a pointer to read through.
        ///
        /// # Panics
        /// When a write is under way.
        pub fn with<R>(&self, read: impl FnOnce(*const T) -> R) -> R {
            assert!(self.users.fetch_add(1, Ordering::SeqCst) < WRITE, "a cell is read while it is written");
            let result = read(self.value.get());
            self.users.fetch_sub(1, Ordering::SeqCst);
            result
        }

        /// Lends a pointer to write through.
        ///
        /// # Panics
        /// When another access is under way.
        pub fn with_mut<R>(&self, write: impl FnOnce(*mut T) -> R) -> R {
            assert_eq!(self.users.fetch_add(WRITE, Ordering::SeqCst), 0, "a cell is written while it is in use");
            let result = write(self.value.get());
            self.users.fetch_sub(WRITE, Ordering::SeqCst);
            result
        }
    }
}

#[cfg(not(any(loom, shuttle)))]
mod word {
    use super::{AtomicU64, Ordering};

    /// A word that one thread stores and another loads.
    #[derive(Debug)]
    #[repr(transparent)]
    pub struct Word(AtomicU64);

    impl Word {
        /// A word that holds `value`.
        #[inline]
        pub const fn new(value: u64) -> Self {
            Self(AtomicU64::new(value))
        }

        /// Loads it.
        #[inline(always)]
        pub fn load(&self, order: Ordering) -> u64 {
            self.0.load(order)
        }

        /// Stores it.
        #[inline(always)]
        pub fn store(&self, value: u64, order: Ordering) {
            self.0.store(value, order);
        }

        /// What the calling thread stored last, if no other stores: a relaxed load.
        #[inline(always)]
        pub fn own(&self) -> u64 {
            self.0.load(Ordering::Relaxed)
        }
    }
}

#[cfg(any(loom, shuttle))]
mod word {
    use super::{AtomicU64, Ordering};

    /// See the normal build's.
    #[derive(Debug)]
    pub struct Word {
        word: AtomicU64,
        /// What was stored last. A thread's look at its own store is no event of the model: loom goes back to the last
        /// access of an atomic only, and such looks would hide those of the other thread from it.
        own: std::sync::atomic::AtomicU64,
    }

    impl Word {
        /// See the normal build's.
        pub fn new(value: u64) -> Self {
            Self { word: AtomicU64::new(value), own: std::sync::atomic::AtomicU64::new(value) }
        }

        /// See the normal build's.
        pub fn load(&self, order: Ordering) -> u64 {
            self.word.load(order)
        }

        /// See the normal build's.
        pub fn store(&self, value: u64, order: Ordering) {
            self.own.store(value, std::sync::atomic::Ordering::Relaxed);
            self.word.store(value, order);
        }

        /// See the normal build's.
        pub fn own(&self) -> u64 {
            self.own.load(std::sync::atomic::Ordering::Relaxed)
        }
    }
}

#[cfg(not(any(loom, shuttle)))]
mod orders {
    use super::Ordering;

    /// The memory orderings of all that two threads share, each with its partner. Empty in a normal build.
    ///
    /// The ring gives them their names. In the swap a filled block is published and a cleaned one given back; in the stop
    /// word a request is published.
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

        /// A word may be published before all that it publishes is written: no.
        #[inline(always)]
        pub const fn publishes_early(self) -> bool {
            false
        }

        /// What was taken may be given back before it is read: no.
        #[inline(always)]
        pub const fn gives_back_early(self) -> bool {
            false
        }

        /// An end may say that it is gone before it has published all: no.
        #[inline(always)]
        pub const fn leaves_early(self) -> bool {
            false
        }

        /// A later request may replace a stronger one: no.
        #[inline(always)]
        pub const fn forgets_requests(self) -> bool {
            false
        }
    }
}

#[cfg(any(loom, shuttle))]
mod orders {
    use super::Ordering;

    /// One mistake that a must-fail twin of a model makes. Exists under loom and shuttle only.
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
        /// A word is published before what it publishes.
        PublishEarly,
        /// What was taken is given back before it is read.
        GiveBackEarly,
        /// An end says that it is gone before it has published what it has claimed.
        LeaveEarly,
        /// A weaker request replaces a stronger one.
        ForgetRequests,
    }

    impl Sabotage {
        /// Whether it weakens a memory ordering, and nothing else.
        pub fn is_of_ordering(self) -> bool {
            use Sabotage::*;
            matches!(self, RelaxedPublish | RelaxedObserve | RelaxedGiveBack | RelaxedReclaim | RelaxedLeave)
        }
    }

    /// The memory orderings of all that two threads share, one of which may be sabotaged. The real ones are in the normal build's type of
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

        /// See the normal build's.
        pub fn publishes_early(self) -> bool {
            self.0 == Some(Sabotage::PublishEarly)
        }

        /// See the normal build's.
        pub fn gives_back_early(self) -> bool {
            self.0 == Some(Sabotage::GiveBackEarly)
        }

        /// See the normal build's.
        pub fn leaves_early(self) -> bool {
            self.0 == Some(Sabotage::LeaveEarly)
        }

        /// See the normal build's.
        pub fn forgets_requests(self) -> bool {
            self.0 == Some(Sabotage::ForgetRequests)
        }
    }
}
