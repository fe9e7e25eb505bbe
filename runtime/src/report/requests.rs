//! What became of the requests of handlers.

use super::Named;
use crate::jobs::WorkersReport;
use serde::Serialize;
use tapeline_core::handler::RequestRefusal;
use tapeline_core::queue::Waits;
use tapeline_core::requests::{Counters, Jobs};

/// What became of the requests of handlers, over all shards. See [`Counters`] for the two equations between the counts.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
pub struct Requests {
    /// Wishes: calls of `Ctx::request` that took place.
    pub asked: u64,
    /// Wishes that were not queued, by reason.
    pub refused_by: Named<u64>,
    /// Wishes that became a request.
    pub queued: u64,
    /// Wishes that an equal request stands for.
    pub merged: u64,
    /// Wishes that were joined to a request that shares groups with them.
    pub joined: u64,
    /// Requests that were served.
    pub served: u64,
    /// Requests whose handler or job gave up.
    pub failed: u64,
    /// Requests whose time was over.
    pub expired: u64,
    /// Requests taken out by somebody, or without room when their retry was due.
    pub dropped: u64,
    /// Wishes and requests that had not come to their end when the run did.
    pub unfinished: u64,
    /// Calls that ended in a retry.
    pub retries: u64,
    /// Calls that told who asked, and failed.
    pub replies_failed: u64,
    /// Shard time from the wish to the service, ns; `null` when nothing was served.
    pub wait_ns: Option<Waited>,
    /// Jobs that were done off the cores; `null` when there were none to be done.
    pub jobs: Option<JobsReport>,
    /// Who did them; `null` when there was nobody.
    pub workers: Option<WorkersReport>,
}

/// Jobs that were done off the cores. Sums over the shards.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize)]
pub struct JobsReport {
    /// Jobs that might be under way at one time, at the end.
    pub limit: u64,
    /// Times that this limit grew with the backlog.
    pub grown: u64,
    /// Times that it shrank.
    pub shrunk: u64,
    /// Instants of service at which a request waited on for want of a place.
    pub full: u64,
    /// Jobs whose reply was passed over. They count as failed.
    pub replies_lost: u64,
    /// Ends of replies that were of no job.
    pub stray_ends: u64,
}

/// How long requests waited in the queue, ns of shard time: known to 1/16 of itself, the longest exactly.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct Waited {
    /// Requests that left the queue to be served, retries included.
    pub count: u64,
    /// Median.
    pub p50: u64,
    /// Of a hundred, 99 waited no longer.
    pub p99: u64,
    /// The longest.
    pub max: u64,
}

impl Requests {
    /// The report of these counts, of how long requests waited, of jobs off the cores and of who did them.
    #[must_use]
    pub fn of(
        counters: &Counters,
        waits: Option<&Waits>,
        jobs: Option<&Jobs>,
        workers: Option<&WorkersReport>,
    ) -> Self {
        let reasons = RequestRefusal::ALL.iter().map(|reason| (reason.name(), counters.refused_by[*reason as usize]));
        let percentile = |per_million| waits.and_then(|waits| waits.percentile_ns(per_million));
        let wait_ns = waits.zip(percentile(500_000)).zip(percentile(990_000));
        Self {
            asked: counters.asked,
            refused_by: reasons.filter(|(_, count)| *count > 0).collect(),
            queued: counters.queued,
            merged: counters.merged,
            joined: counters.joined,
            served: counters.served,
            failed: counters.failed,
            expired: counters.expired,
            dropped: counters.cleared + counters.displaced,
            unfinished: counters.arriving + counters.pending + counters.in_flight + counters.waiting,
            retries: counters.retries,
            replies_failed: counters.replies_failed,
            wait_ns: wait_ns.map(|((waits, p50), p99)| Waited { count: waits.count(), p50, p99, max: waits.max_ns() }),
            jobs: jobs.map(|jobs| JobsReport {
                limit: jobs.limit as u64,
                grown: jobs.grown.into(),
                shrunk: jobs.shrunk.into(),
                full: counters.jobs_full,
                replies_lost: counters.replies_lost,
                stray_ends: counters.stray_ends,
            }),
            workers: workers.cloned(),
        }
    }
}
