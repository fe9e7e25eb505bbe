//! The placement plan: which core polls which stations, in which order.

use std::fmt;
use tapeline_core::limits::SHARDS_MAX;

/// What a station is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Seat {
    /// The source: pacing and routing.
    Source,
    /// A shard, by number.
    Shard(usize),
}

impl fmt::Display for Seat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Source => f.write_str("source"),
            Self::Shard(number) => write!(f, "shard {number}"),
        }
    }
}

/// One core and its stations, in the order in which it polls them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CorePlan {
    /// The operating system's number of the core; `None` where threads are not pinned.
    pub core: Option<usize>,
    /// Stations, in poll order.
    pub seats: Vec<Seat>,
}

/// Which core polls which stations.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Plan {
    /// Cores that have a station.
    pub cores: Vec<CorePlan>,
    /// Number of shards.
    pub shards: usize,
}

/// Why there is no plan.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PlanError {
    /// No core was named or may be used.
    #[error("no core to run on")]
    NoCores,
    /// A core is named twice. Holds it.
    #[error("core {0} is named twice")]
    Twice(usize),
    /// A core may not be used by this process. Holds it, and those that may.
    #[error("core {0} is not among those that this process may use ({1:?})")]
    NotAllowed(usize, Vec<usize>),
    /// A number of shards that no engine has.
    #[error("an engine has 1 to {SHARDS_MAX} shards, not {0}")]
    Shards(usize),
}

impl Plan {
    /// Makes the plan.
    ///
    /// `allowed` are the cores that the process may use, `quota` the number of cores that its control group grants.
    /// `cores` and `shards` are what the user asked for. Without them: all allowed cores, as far as the quota goes, and
    /// one shard for each core but one. With more cores than shards the first core is the source's own; otherwise
    /// the source shares the first core with its shard, and shards are dealt out over the cores.
    ///
    /// # Errors
    /// When no plan meets the request.
    pub fn new(
        allowed: &[usize],
        quota: Option<usize>,
        cores: Option<&[usize]>,
        shards: Option<usize>,
        is_pinned: bool,
    ) -> Result<Self, PlanError> {
        let cores = match cores {
            Some(cores) => {
                for (index, core) in cores.iter().enumerate() {
                    if cores[..index].contains(core) {
                        return Err(PlanError::Twice(*core));
                    }
                    if !allowed.contains(core) {
                        return Err(PlanError::NotAllowed(*core, allowed.to_vec()));
                    }
                }
                cores.to_vec()
            }
            None => {
                let count = allowed.len().min(quota.unwrap_or(usize::MAX)).max(1);
                allowed.iter().take(count).copied().collect()
            }
        };
        if cores.is_empty() {
            return Err(PlanError::NoCores);
        }
        let shards = shards.unwrap_or(cores.len() - 1).max(usize::from(shards.is_none()));
        if !(1..=SHARDS_MAX).contains(&shards) {
            return Err(PlanError::Shards(shards));
        }
        let has_source_core = cores.len() > shards;
        let used = if has_source_core { shards + 1 } else { cores.len() };
        let mut plan: Vec<CorePlan> =
            cores[..used].iter().map(|core| CorePlan { core: is_pinned.then_some(*core), seats: Vec::new() }).collect();
        plan[0].seats.push(Seat::Source);
        for shard in 0..shards {
            let core = if has_source_core { shard + 1 } else { shard % used };
            plan[core].seats.push(Seat::Shard(shard));
        }
        Ok(Self { cores: plan, shards })
    }

    /// The cores that are pinned to, in order.
    #[must_use]
    pub fn pinned_cores(&self) -> Vec<usize> {
        self.cores.iter().filter_map(|plan| plan.core).collect()
    }

    /// Whether every station has a core of its own.
    #[must_use]
    pub fn is_exclusive(&self) -> bool {
        self.cores.iter().all(|plan| plan.core.is_some() && plan.seats.len() == 1)
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, plan) in self.cores.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            match plan.core {
                Some(core) => write!(f, "{comma}core {core}: ")?,
                None => write!(f, "{comma}unpinned: ")?,
            }
            for (index, seat) in plan.seats.iter().enumerate() {
                write!(f, "{}{seat}", if index == 0 { "" } else { " + " })?;
            }
        }
        Ok(())
    }
}

/// Keeps the calling thread to one core; false where the kernel refuses, or there can be no such core.
pub(crate) fn pin_here(core: u32) -> bool {
    let mut set = rustix::thread::CpuSet::new();
    let core = core as usize;
    if core >= rustix::thread::CpuSet::MAX_CPU {
        return false;
    }
    set.set(core);
    rustix::thread::sched_setaffinity(None, &set).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(allowed: &[usize], cores: Option<&[usize]>, shards: Option<usize>) -> String {
        Plan::new(allowed, None, cores, shards, true).map_or_else(|error| error.to_string(), |plan| plan.to_string())
    }

    #[test]
    fn the_source_has_a_core_of_its_own_where_there_is_one() {
        assert_eq!(plan(&[0], None, None), "core 0: source + shard 0");
        assert_eq!(plan(&[0, 1], None, None), "core 0: source, core 1: shard 0");
        assert_eq!(plan(&[2, 4, 6], None, None), "core 2: source, core 4: shard 0, core 6: shard 1");
        assert_eq!(plan(&[0, 1], None, Some(2)), "core 0: source + shard 0, core 1: shard 1");
        assert_eq!(plan(&[0, 1], None, Some(3)), "core 0: source + shard 0 + shard 2, core 1: shard 1");
        assert_eq!(plan(&[0, 1, 2, 3], None, Some(1)), "core 0: source, core 1: shard 0");
        assert_eq!(plan(&[0, 1, 2, 3], Some(&[3, 1]), Some(1)), "core 3: source, core 1: shard 0");
    }

    #[test]
    fn the_quota_bounds_the_default_and_bad_requests_are_named() {
        let quota = Plan::new(&[0, 1, 2, 3, 4], Some(2), None, None, true).unwrap();
        assert_eq!(quota.to_string(), "core 0: source, core 1: shard 0");
        assert!(quota.is_exclusive());
        let unpinned = Plan::new(&[0, 1], None, None, None, false).unwrap();
        assert_eq!(unpinned.to_string(), "unpinned: source, unpinned: shard 0");
        assert_eq!(unpinned.pinned_cores(), [0usize; 0]);
        assert_eq!(plan(&[0, 1], Some(&[0, 0]), None), "core 0 is named twice");
        assert_eq!(plan(&[0, 1], Some(&[5]), None), "core 5 is not among those that this process may use ([0, 1])");
        assert_eq!(plan(&[0, 1], None, Some(0)), "an engine has 1 to 256 shards, not 0");
        assert_eq!(plan(&[], None, None), "no core to run on");
    }
}
