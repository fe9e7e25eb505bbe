//! Stamps of events on their way to other symbols: when their root was due, and when they left.
//!
//! They are measurements: they reach histograms only, are in no snapshot, and exist only where the source's ring carries due stamps and a
//! handler crosses symbols. What timers, replies and retries publish was due at no time of a schedule: it has hops, and no end to end.

use super::{Active, Probe, Shard};
use crate::bus::Chain;
use crate::event::Flags;
use crate::ring::DUE_NONE;

/// The stamps of the waiting room, and that of the event at hand.
pub(super) struct Hops {
    /// By the place of a waiting event.
    waiting: Box<[u64]>,
    /// Of the event that is the root now; [`DUE_NONE`] when it has none.
    active: u64,
}

impl Hops {
    /// For a waiting room of so many slots.
    pub(super) fn new(slots: usize) -> Self {
        Self { waiting: vec![DUE_NONE; slots].into_boxed_slice(), active: DUE_NONE }
    }

    /// Bytes on the heap.
    pub(super) fn bytes(&self) -> usize {
        size_of_val(&*self.waiting)
    }

    /// The event that waits at `place` came with this stamp.
    #[inline]
    pub(super) fn wait(&mut self, place: u32, stamp: u64) {
        self.waiting[place as usize] = stamp;
    }

    /// The event that waited at `place` is the root from now on.
    #[inline]
    pub(super) fn begin(&mut self, place: u32) {
        self.active = self.waiting[place as usize];
    }

    /// The root is through. Its stamp, unless it has none.
    #[inline]
    pub(super) fn end(&mut self) -> Option<u64> {
        Some(std::mem::replace(&mut self.active, DUE_NONE)).filter(|stamp| *stamp != DUE_NONE)
    }
}

/// Where an event for another symbol comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HopRoot {
    /// From what was due at no time that is measured: a timer, a reply, a retry, an event of the past or of before the measured part.
    Undue,
    /// From a source's event with this due stamp.
    Due(u64),
    /// From an event that came from another symbol itself, with this stamp.
    Hop(u64),
}

impl<C: Chain, P: Probe> Shard<C, P> {
    /// The root at hand, for what it publishes for other symbols; `None` where hops are not measured.
    #[inline]
    pub(super) fn hop_root(&self) -> Option<HopRoot> {
        let hops = self.hops.as_ref()?;
        Some(match self.root_as {
            Active::Source if !self.input.slots[self.input.at].flags.contains(Flags::HISTORICAL) => {
                match self.input.dues[self.input.at] {
                    DUE_NONE => HopRoot::Undue,
                    due => HopRoot::Due(due),
                }
            }
            Active::Mesh if hops.active != DUE_NONE => HopRoot::Hop(hops.active),
            _ => HopRoot::Undue,
        })
    }
}
