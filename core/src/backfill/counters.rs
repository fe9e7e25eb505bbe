//! What became of those who asked and of the jobs, and the equations between the counts.

use bytemuck::{Pod, Zeroable};

/// Counts since the start, and how many are where now. At every instant
///
/// ```text
/// asked  = refused + completed + queued + merged + joined
/// queued + merged + joined = served + failed + cancelled + waiting
/// jobs   = jobs_done + jobs_failed + jobs_cancelled + jobs_absorbed + pending + in_flight
/// ```
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Pod, Zeroable)]
pub struct Counters {
    /// Calls of [`super::Backfills::ask`].
    pub asked: u64,
    /// Those that were refused, by [`super::Refused`].
    pub refused_by: [u64; super::Refused::ALL.len()],
    /// Those that had all of it within what is remembered.
    pub completed: u64,
    /// Those that became a job.
    pub queued: u64,
    /// Those that a pending job takes with it.
    pub merged: u64,
    /// Those that wait for jobs in flight only.
    pub joined: u64,
    /// Those whose jobs are all done.
    pub served: u64,
    /// Those of whose jobs one has failed.
    pub failed: u64,
    /// Those that do not want it any more.
    pub cancelled: u64,
    /// Those that wait.
    pub waiting: u64,
    /// Jobs that were made.
    pub jobs: u64,
    /// Jobs whose reply has come to its end.
    pub jobs_done: u64,
    /// Jobs whose reply ended in a failure.
    pub jobs_failed: u64,
    /// Jobs that nobody wants any more, once they have ended.
    pub jobs_cancelled: u64,
    /// Pending jobs that became part of another one.
    pub jobs_absorbed: u64,
    /// Jobs that have not begun.
    pub pending: u64,
    /// Jobs under way.
    pub in_flight: u64,
    /// Events of replies that were taken.
    pub events: u64,
    /// Events of jobs that were cancelled: dropped. How many there are depends on how fast whoever reads was told.
    pub late: u64,
    /// Events of replies that are not what was ordered: dropped.
    pub unfit: u64,
    /// Times that a job waited because as many were in flight as may be, of all symbols.
    pub held_back: u64,
    /// Completed ranges that were forgotten for their age.
    pub forgotten_by_age: u64,
    /// Completed ranges that were forgotten for want of room.
    pub forgotten_by_count: u64,
    /// Jobs that were made to read again what is remembered, for those who get it by replies alone. Among [`Counters::jobs`].
    pub jobs_again: u64,
}

impl Counters {
    /// Those that were refused.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.refused_by.iter().sum()
    }

    /// Whether the equations hold.
    #[must_use]
    pub fn is_balanced(&self) -> bool {
        let waited = self.queued + self.merged + self.joined;
        let ended = self.jobs_done + self.jobs_failed + self.jobs_cancelled + self.jobs_absorbed;
        self.asked == self.refused() + self.completed + waited
            && waited == self.served + self.failed + self.cancelled + self.waiting
            && self.jobs == ended + self.pending + self.in_flight
    }

    /// Adds another shard's counts.
    pub fn add(&mut self, other: &Self) {
        let mine: &mut [u64] = bytemuck::cast_slice_mut(std::slice::from_mut(self));
        let theirs: &[u64] = bytemuck::cast_slice(std::slice::from_ref(other));
        mine.iter_mut().zip(theirs).for_each(|(mine, theirs)| *mine += theirs);
    }
}
