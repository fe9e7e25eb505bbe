//! Which cores are left to threads beside the stations, and what was stolen from the stations'.

use crate::placement::{Plan, Seat};

/// Cores for the reader: those without a shard, or all where every core has one.
pub(super) fn background_cores(allowed: &[usize], plan: &Plan) -> Vec<usize> {
    let is_shards = |core: &usize| {
        let shards = plan.cores.iter().filter(|plan| plan.seats.iter().any(|seat| *seat != Seat::Source));
        shards.filter_map(|plan| plan.core).any(|taken| taken == *core)
    };
    let free: Vec<usize> = allowed.iter().copied().filter(|core| !is_shards(core)).collect();
    if free.is_empty() { allowed.to_vec() } else { free }
}

/// Cores for what reads history: those that have no station, or all where every core has one.
pub(super) fn idle_cores(allowed: &[usize], plan: &Plan) -> Vec<usize> {
    let taken = plan.pinned_cores();
    let free: Vec<usize> = allowed.iter().copied().filter(|core| !taken.contains(core)).collect();
    if free.is_empty() { allowed.to_vec() } else { free }
}

/// Steal time of each pinned core so far.
pub(super) fn steal(plan: &Plan) -> Vec<Option<u64>> {
    let all = crate::machine::steal_ns(std::path::Path::new("/"), crate::machine::ticks_per_second()).ok();
    plan.cores.iter().map(|core| all.as_ref()?.get(&(u32::try_from(core.core?).ok()?)).copied()).collect()
}
