//! What became of wishes and requests, and the equations between the counts.

use crate::handler::RequestRefusal;
use bytemuck::{Pod, Zeroable};

/// Counts since the start, and how many are where now. At every instant
///
/// ```text
/// asked  = refused (by reason) + queued + merged + joined + arriving
/// queued = served + failed + expired + cleared + displaced + pending + in_flight + waiting
/// ```
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Pod, Zeroable)]
pub struct Counters {
    /// Wishes: calls of [`crate::handler::Ctx::request`] that took place.
    pub asked: u64,
    /// Wishes that were not queued, by [`RequestRefusal`].
    pub refused_by: [u64; RequestRefusal::ALL.len()],
    /// Wishes that became a request.
    pub queued: u64,
    /// Wishes that an equal request stands for.
    pub merged: u64,
    /// Wishes that were joined to a request that shares groups with them.
    pub joined: u64,
    /// Wishes that wait for the next instant of service.
    pub arriving: u64,
    /// Requests that were served.
    pub served: u64,
    /// Requests whose handler gave up or panicked.
    pub failed: u64,
    /// Requests whose time was over.
    pub expired: u64,
    /// Requests taken out with all others of their symbol.
    pub cleared: u64,
    /// Requests that found no room in the queue when their retry was due.
    pub displaced: u64,
    /// Requests in the queue.
    pub pending: u64,
    /// Requests being served.
    pub in_flight: u64,
    /// Requests that wait for their retry.
    pub waiting: u64,
    /// Calls of a handler that ended in a retry.
    pub retries: u64,
    /// Calls of `on_reply` and `on_request_end` that failed.
    pub replies_failed: u64,
    /// Ends that found no room to be told.
    pub untold: u64,
    /// Instants of service at which a request waited on because as many jobs were under way off the core as may be.
    pub jobs_full: u64,
    /// Ends of replies off the core that were of no job under way, and were not acted upon.
    pub stray_ends: u64,
    /// Jobs off the core whose reply was passed over: that of a later one came instead. They count as failed.
    pub replies_lost: u64,
    /// Instants of service whose budget left something over.
    pub over_budget: u64,
}

impl Counters {
    /// Wishes that were not queued.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.refused_by.iter().sum()
    }

    /// Whether both equations hold.
    #[must_use]
    pub fn is_balanced(&self) -> bool {
        let over = self.served + self.failed + self.expired + self.cleared + self.displaced;
        self.asked == self.refused() + self.queued + self.merged + self.joined + self.arriving
            && self.queued == over + self.pending + self.in_flight + self.waiting
    }

    /// Adds another shard's counts.
    pub fn add(&mut self, other: &Self) {
        self.refused_by.iter_mut().zip(other.refused_by).for_each(|(mine, theirs)| *mine += theirs);
        for (mine, theirs) in [
            (&mut self.asked, other.asked),
            (&mut self.queued, other.queued),
            (&mut self.merged, other.merged),
            (&mut self.joined, other.joined),
            (&mut self.arriving, other.arriving),
            (&mut self.served, other.served),
            (&mut self.failed, other.failed),
            (&mut self.expired, other.expired),
            (&mut self.cleared, other.cleared),
            (&mut self.displaced, other.displaced),
            (&mut self.pending, other.pending),
            (&mut self.in_flight, other.in_flight),
            (&mut self.waiting, other.waiting),
            (&mut self.retries, other.retries),
            (&mut self.replies_failed, other.replies_failed),
            (&mut self.untold, other.untold),
            (&mut self.jobs_full, other.jobs_full),
            (&mut self.stray_ends, other.stray_ends),
            (&mut self.replies_lost, other.replies_lost),
            (&mut self.over_budget, other.over_budget),
        ] {
            *mine += theirs;
        }
    }
}
