//! What is asked of the queue and what it answers.

use crate::slab::Handle;
use crate::units::{SymbolId, UnixNanos};

/// Number of priority classes.
pub const PRIORITIES: usize = 8;

/// A priority class: 0 is the most urgent, 7 the least.
///
/// A class is a head start, not a wall: see [aging](super#order).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Priority(u8);

impl Priority {
    /// Before all others.
    pub const FIRST: Self = Self(0);
    /// Behind all others.
    pub const LAST: Self = Self(PRIORITIES as u8 - 1);

    /// The class of that number; `None` above 7.
    #[inline]
    #[must_use]
    pub const fn new(class: u8) -> Option<Self> {
        if (class as usize) < PRIORITIES { Some(Self(class)) } else { None }
    }

    /// Its number, 0 to 7.
    #[inline]
    #[must_use]
    pub const fn class(self) -> u8 {
        self.0
    }
}

/// What is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Request<T> {
    /// Whose request it is. Below the queue's number of symbols.
    pub symbol: SymbolId,
    /// The groups that are asked for, one bit each. 0 is a request without groups: it equals another such one and overlaps none.
    pub groups: u64,
    /// How urgent it is.
    pub priority: Priority,
    /// From when on nobody wants it any more; [`UnixNanos::ZERO`] is never. Rounded up to a multiple of the tick.
    pub expires_at: UnixNanos,
    /// Anything else; the queue carries it.
    pub payload: T,
}

/// A request in the queue, or just taken out of it, with what the queue knows about it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pending<T> {
    /// Names it as long as it is in the queue.
    pub handle: Handle,
    /// The request as it is now: with the groups that were joined to it, the best priority and the latest expiry.
    pub request: Request<T>,
    /// When the first of those that it stands for was queued (the queue's time, which never goes back).
    pub queued_at: UnixNanos,
    /// Time in the queue, ns.
    pub waited_ns: u64,
    /// Pushes that it stands for: 1, and one more for each that was merged into it or joined to it.
    pub asked: u32,
}

/// What became of a request that was pushed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum Pushed {
    /// It is in the queue.
    Queued(Handle),
    /// One for the same symbol and groups was queued within the window and is pending: that one stands for both.
    Merged(Handle),
    /// One for the same symbol and some of the groups was queued within the window and is pending: the groups were added to it.
    Joined(Handle),
    /// As many requests of the symbol are pending as may be. Nothing was queued.
    SymbolFull,
    /// As many requests are pending as there is room for. Nothing was queued.
    QueueFull,
    /// The queue was not made for a symbol of that number. Nothing was queued.
    UnknownSymbol,
}

impl Pushed {
    /// The handle of the pending request that stands for what was pushed; `None` when it was refused.
    #[inline]
    #[must_use]
    pub const fn handle(self) -> Option<Handle> {
        match self {
            Self::Queued(handle) | Self::Merged(handle) | Self::Joined(handle) => Some(handle),
            Self::SymbolFull | Self::QueueFull | Self::UnknownSymbol => None,
        }
    }
}

/// What happened since the queue was made, each push and each request once. At any time
/// `queued = popped + expired + removed + cleared + pending`; what was pushed is the sum of the first six.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub struct Counters {
    /// [`Pushed::Queued`].
    pub queued: u64,
    /// [`Pushed::Merged`].
    pub merged: u64,
    /// [`Pushed::Joined`].
    pub joined: u64,
    /// [`Pushed::SymbolFull`].
    pub symbol_full: u64,
    /// [`Pushed::QueueFull`].
    pub queue_full: u64,
    /// [`Pushed::UnknownSymbol`].
    pub unknown_symbol: u64,
    /// Handed out to be run.
    pub popped: u64,
    /// Taken out because their time was over.
    pub expired: u64,
    /// Taken out by handle.
    pub removed: u64,
    /// Taken out with all others of their symbol.
    pub cleared: u64,
    /// Of those popped, told to be finished.
    pub finished: u64,
}
