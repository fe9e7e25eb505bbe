//! The command queue of a shard: from the control thread to the shard, bounded, one of each.
//!
//! A command is a plain value of at most [`COMMAND_BYTES_MAX`] bytes. It travels in a slot of a [`ring`], whose
//! promises hold here: order, completeness, wait-free calls, no allocation after construction, and no `unsafe` of its
//! own. Full is a value ([`SendError::Full`]), as is a shard that is gone.
//!
//! What it does not: it wakes nobody, and it does not say what became of a command; a shard that owes an answer sends it
//! another way. A command that was sent just before the receiver was dropped is never taken: [`CommandSender::waiting`]
//! counts it. Several threads that command one shard have a queue each.
//!
//! ```
//! use tapeline_core::commands::{self, SendError};
//!
//! let (mut sender, mut receiver) = commands::channel::<[u64; 2]>(2);
//! sender.send([1, 10])?;
//! sender.send([2, 20])?;
//! assert_eq!(sender.send([3, 30]), Err(SendError::Full));
//! assert_eq!(receiver.receive(), Some([1, 10]));
//! drop(receiver);
//! assert_eq!(sender.send([3, 30]), Err(SendError::Gone));
//! # Ok::<(), SendError>(())
//! ```
//!
//! A command that would not fit a slot does not compile:
//!
//! ```compile_fail,E0080
//! let queue = tapeline_core::commands::channel::<[u64; 8]>(4);
//! ```

use crate::event::Slot;
use crate::limits::{CONTINUATION_BYTES, SLOT_BYTES};
use crate::ring::{self, Consumer, Producer};
use bytemuck::Pod;
use core::fmt;
use core::marker::PhantomData;

/// Most bytes of a command: a slot but for the word that publishes it.
pub const COMMAND_BYTES_MAX: usize = CONTINUATION_BYTES;

/// Why a command was not sent. The caller still has it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SendError {
    /// The shard has not taken the commands before it yet.
    #[error("the command queue is full")]
    Full,
    /// Nobody will take commands any more.
    #[error("the shard is gone")]
    Gone,
}

/// The control thread's end.
pub struct CommandSender<C> {
    ring: Producer,
    command: PhantomData<fn(C)>,
}

/// The shard's end.
pub struct CommandReceiver<C> {
    ring: Consumer,
    command: PhantomData<fn() -> C>,
}

/// A queue for `capacity` commands. O(capacity): allocates and touches every slot.
///
/// # Panics
/// When `capacity` is not a power of two (0 is none) or above [`RING_SLOTS_MAX`](crate::limits::RING_SLOTS_MAX).
#[must_use]
pub fn channel<C: Pod>(capacity: usize) -> (CommandSender<C>, CommandReceiver<C>) {
    ends(ring::channel_at(capacity, 0, false))
}

/// As [`channel`], with one mistake in the ring beneath. Exists in models only.
#[cfg(any(loom, shuttle))]
#[must_use]
pub fn channel_sabotaged<C: Pod>(
    capacity: usize,
    start: u64,
    orders: crate::sync::Orders,
) -> (CommandSender<C>, CommandReceiver<C>) {
    ends(ring::channel_sabotaged(capacity, start, false, orders))
}

fn ends<C: Pod>((producer, consumer): (Producer, Consumer)) -> (CommandSender<C>, CommandReceiver<C>) {
    const { assert!(size_of::<C>() <= COMMAND_BYTES_MAX, "a command fits a slot") };
    (CommandSender { ring: producer, command: PhantomData }, CommandReceiver { ring: consumer, command: PhantomData })
}

/// Where a slot holds a command.
const fn place<C>() -> core::ops::Range<usize> {
    let start = SLOT_BYTES - COMMAND_BYTES_MAX;
    start..start + size_of::<C>()
}

impl<C: Pod> CommandSender<C> {
    /// Commands that fit.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.ring.capacity()
    }

    /// Bytes of the queue on the heap, which both ends share.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.ring.bytes()
    }

    /// Sends a command. O(1).
    ///
    /// # Errors
    /// [`SendError`] when there is no room, or nobody to take it; the queue is as before.
    pub fn send(&mut self, command: C) -> Result<(), SendError> {
        if self.ring.is_abandoned() {
            return Err(SendError::Gone);
        }
        let mut slot = Slot::ZERO;
        bytemuck::bytes_of_mut(&mut slot)[place::<C>()].copy_from_slice(bytemuck::bytes_of(&command));
        self.ring.push(&[slot]).map_err(|_| SendError::Full)
    }

    /// Commands that the shard has not taken, as of now. One Acquire load.
    #[must_use]
    pub fn waiting(&mut self) -> usize {
        self.ring.occupied_slots()
    }

    /// Whether the receiver is gone.
    #[must_use]
    pub fn is_abandoned(&self) -> bool {
        self.ring.is_abandoned()
    }

    /// Checks all that this end can see. O(capacity).
    ///
    /// # Panics
    /// When a rule does not hold.
    pub fn assert_invariants(&self) {
        self.ring.assert_invariants();
    }
}

impl<C: Pod> CommandReceiver<C> {
    /// The next command, if one is there. O(1): one Acquire load, and one Release store when there is.
    #[inline]
    pub fn receive(&mut self) -> Option<C> {
        let mut slot = [Slot::ZERO];
        (self.ring.pop(&mut slot) == 1)
            .then(|| bytemuck::pod_read_unaligned(&bytemuck::bytes_of(&slot[0])[place::<C>()]))
    }

    /// Whether the sender is gone. Ask before [`CommandReceiver::receive`]: what it finds then is the last.
    #[inline]
    #[must_use]
    pub fn is_abandoned(&self) -> bool {
        self.ring.is_abandoned()
    }

    /// Checks all that this end can see. O(capacity).
    ///
    /// # Panics
    /// When a rule does not hold.
    pub fn assert_invariants(&self) {
        self.ring.assert_invariants();
    }
}

impl<C> fmt::Debug for CommandSender<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("CommandSender").field(&self.ring).finish()
    }
}

impl<C> fmt::Debug for CommandReceiver<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("CommandReceiver").field(&self.ring).finish()
    }
}
