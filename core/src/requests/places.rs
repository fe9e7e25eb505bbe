//! How many jobs may be under way off the core: a limit that follows the backlog.

use super::Config;
use crate::adaptive::{self, Adaptive, LIMIT_MAX, Sample};
use crate::invariant::{Broken, require};
use crate::section::{Reader, RestoreError, Writer};
use crate::units::UnixNanos;

/// Where the jobs that are done off the core stand.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Jobs {
    /// Jobs that may be under way at one time, now.
    pub limit: usize,
    /// Jobs that are.
    pub under_way: usize,
    /// Requests that wait for a place.
    pub pending: usize,
    /// Times that the limit grew since the start.
    pub grown: u32,
    /// Times that it shrank.
    pub shrunk: u32,
}

impl Jobs {
    /// Adds another shard's.
    pub fn add(&mut self, other: &Self) {
        self.limit += other.limit;
        self.under_way += other.under_way;
        self.pending += other.pending;
        self.grown = self.grown.saturating_add(other.grown);
        self.shrunk = self.shrunk.saturating_add(other.shrunk);
    }
}

/// Samples of idle instants that are made up for at one time: more than it takes to shrink from [`LIMIT_MAX`] to 1.
const SKIPPED_MAX: u64 = 4_096;

/// The limit on jobs under way. It takes one sample for each instant of service of shard time, also of those at which there was nothing to do and
/// which did not come about: so it depends on no cut of time into steps.
#[derive(Debug)]
pub(super) struct Places {
    config: adaptive::Config,
    limit: Adaptive,
    /// Instant of the last sample, and the jobs that were under way then.
    sampled: UnixNanos,
    in_flight: u32,
}

impl Places {
    /// The limit of these settings, at its minimum.
    ///
    /// # Panics
    /// When `jobs_max` is not 1 to [`LIMIT_MAX`].
    pub(super) fn new(config: &Config) -> Self {
        let max = config.jobs_max;
        assert!((1..=LIMIT_MAX as usize).contains(&max), "1 to {LIMIT_MAX} jobs may be under way, not {max}");
        let min = config.jobs_min.clamp(1, max) as u32;
        let config = adaptive::Config { min, max: max as u32, ..adaptive::Config::default() };
        Self { config, limit: Adaptive::default(), sampled: UnixNanos::ZERO, in_flight: 0 }
    }

    /// Jobs that may be under way.
    #[inline]
    pub(super) fn limit(&self) -> usize {
        self.limit.limit(&self.config) as usize
    }

    /// How often the limit grew and shrank.
    pub(super) fn moves(&self) -> (u32, u32) {
        self.limit.moves()
    }

    /// The instant `now` begins: between it and the last one nothing waited, and as much was under way as then, or there would have been an instant.
    /// O(instants, up to 4,096), and O(1) while the limit is at its minimum.
    pub(super) fn skip_to(&mut self, now: UnixNanos, interval_ns: u64) {
        if self.sampled == UnixNanos::ZERO {
            return;
        }
        let instants = (now.0.saturating_sub(self.sampled.0) / interval_ns).saturating_sub(1);
        // At the minimum one of them says all that they can: that the backlog is not one of samples in a row.
        let most = if self.limit.limit(&self.config) == self.config.min { 1 } else { SKIPPED_MAX };
        for _ in 0..instants.min(most) {
            self.limit.sample(&self.config, Sample { backlog: 0, in_flight: self.in_flight });
        }
    }

    /// All that may be served at `now` is: what waits on, and what is under way.
    pub(super) fn sample(&mut self, now: UnixNanos, backlog: usize, in_flight: usize) {
        let backlog = u32::try_from(backlog).unwrap_or(u32::MAX);
        (self.sampled, self.in_flight) = (now, in_flight as u32);
        self.limit.sample(&self.config, Sample { backlog, in_flight: self.in_flight });
    }

    /// Bytes of [`Places::write`].
    pub(super) const SECTION_BYTES: usize = 8 + 4 + size_of::<Adaptive>();

    /// Writes it into the section of the requests.
    pub(super) fn write(&self, body: &mut Writer<'_>) {
        body.u64(self.sampled.0);
        body.u32(self.in_flight);
        body.slice(&[self.limit]);
    }

    /// Reads what [`Places::write`] wrote; the inner error is a rule that does not hold.
    pub(super) fn read(&mut self, body: &mut Reader<'_>) -> Result<Result<(), Broken>, RestoreError> {
        (self.sampled.0, self.in_flight) = (body.u64()?, body.u32()?);
        body.fill(core::slice::from_mut(&mut self.limit))?;
        let holds = self.in_flight <= self.config.max && self.limit.is_sound(&self.config);
        Ok(require(holds, "the limit on jobs off the core is within its bounds", self.in_flight))
    }
}
