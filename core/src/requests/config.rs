//! Settings of the requests of a shard.

use crate::handler::JobSet;
use crate::limits::{
    JOB_DELAY_NS_DEFAULT, JOBS_DEFAULT, JOBS_MIN_DEFAULT, SERVICE_BUDGET_DEFAULT, SERVICE_INTERVAL_NS,
};
use crate::retry::Policy;

/// Settings of the requests of a shard.
#[derive(Clone, Debug)]
pub struct Config {
    /// Settings of the queue. Its symbols are those of the catalog. Requests that handlers serve and those that are done off the core share
    /// its capacity and its limit of pending requests of a symbol; what of a symbol is in flight is bounded for either.
    pub queue: crate::queue::Config,
    /// Requests are served at multiples of this, ns of shard time: a multiple of the tick, at least 1.
    pub service_interval_ns: u64,
    /// Requests served at one instant at most, 1 to [`crate::limits::SERVICE_BUDGET_MAX`]. Shared by the symbols of the shard.
    pub service_budget: usize,
    /// When a request is served again whose handler answered `Retry`.
    pub retry: Policy,
    /// Jobs that are done off the core, as far as no handler serves them, where the shard has a ring for replies
    /// ([`crate::shard::Shard::attach_jobs`]).
    pub off_core: JobSet,
    /// From the service of such a request to its reply, ns of shard time; rounded up to the tick.
    pub job_delay_ns: u64,
    /// Such jobs that may be under way at one time at most, 1 to [`crate::adaptive::LIMIT_MAX`]. Shared by the symbols of the shard: the others wait. (Of one
    /// symbol, [`crate::queue::Config::in_flight_per_symbol`] may.)
    pub jobs_max: usize,
    /// The least that this limit shrinks to, and what it begins with; a number outside of 1 to `jobs_max` counts as the nearer of the two.
    /// Between them it follows the backlog: see [`crate::adaptive`].
    pub jobs_min: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            queue: crate::queue::Config::default(),
            service_interval_ns: SERVICE_INTERVAL_NS,
            service_budget: SERVICE_BUDGET_DEFAULT,
            retry: Policy::STANDARD,
            off_core: JobSet::EMPTY,
            job_delay_ns: JOB_DELAY_NS_DEFAULT,
            jobs_max: JOBS_DEFAULT,
            jobs_min: JOBS_MIN_DEFAULT,
        }
    }
}
