//! Health: from what was measured of a part of the engine to live, ready, degraded or failed, with the reasons.
//!
//! A pure function: whoever watches (the end of a replay, a control thread) fills in [`Vitals`] and asks. What it says acts on nothing: no
//! output depends on it.

use crate::event::payload::{Component, HealthReason, HealthState};
use crate::stats::{Series, Stats};
use crate::windows::Window;

/// What was measured of one part of the engine.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Vitals {
    /// What it is.
    pub component: Component,
    /// Its number among its like.
    pub number: u8,
    /// It has begun its work: its loop has turned, its source has begun.
    pub is_started: bool,
    /// It died, or was stopped by a failure.
    pub is_dead: bool,
    /// How long its loop has not turned, ns.
    pub silent_ns: u64,
    /// How full its queue is, 0 to 1.
    pub queue_fill: f64,
    /// Events a second that it handles; `None` = not known, or nothing to do.
    pub per_second: Option<f64>,
    /// Failed calls for each event, 0 to 1 and above.
    pub error_share: f64,
    /// Calls over their budget, of those that have one, 0 to 1.
    pub overrun_share: f64,
    /// Breakers that are open.
    pub breakers_open: u32,
    /// Bytes that it holds; 0 = not known.
    pub memory_bytes: u64,
}

impl Vitals {
    /// A part that has begun, and of which nothing is wrong.
    #[must_use]
    pub const fn well(component: Component, number: u8) -> Self {
        Self {
            component,
            number,
            is_started: true,
            is_dead: false,
            silent_ns: 0,
            queue_fill: 0.0,
            per_second: None,
            error_share: 0.0,
            overrun_share: 0.0,
            breakers_open: 0,
            memory_bytes: 0,
        }
    }

    /// Those of a shard, by its own account over the last ten seconds of its time. The loop's silence is for whoever watches to add.
    #[must_use]
    pub fn of_shard(stats: &Stats) -> Self {
        let events = stats.rate(Series::Events, Window::S10);
        let failures = stats.rate(Series::Failures, Window::S10);
        Self {
            is_started: stats.counts[Series::Events as usize] > 0,
            queue_fill: stats.ring_fill(),
            per_second: Some(events.per_second),
            error_share: failures.count as f64 / events.count.max(1) as f64,
            memory_bytes: stats.bytes as u64,
            ..Self::well(Component::Shard, stats.shard.min(usize::from(u8::MAX)) as u8)
        }
    }
}

/// From where on a part is degraded or failed. A value above (for rates: below) a bound acts.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Thresholds {
    /// Fill of a queue, 0 to 1: degraded.
    pub queue_fill: f64,
    /// Events a second below which it is degraded; 0 = never.
    pub per_second_min: f64,
    /// Failed calls for each event: degraded, and failed.
    pub error_share: [f64; 2],
    /// Silence of a loop, ns: degraded, and failed.
    pub silent_ns: [u64; 2],
    /// Calls over their budget, 0 to 1: degraded.
    pub overrun_share: f64,
    /// Bytes: degraded; 0 = never.
    pub memory_bytes: u64,
}

impl Default for Thresholds {
    /// A queue three quarters full; a failure in a hundred events, or in every second one; a second of silence, or ten; a call in a hundred
    /// over its budget. No bounds for rate and memory: they are the user's.
    fn default() -> Self {
        Self {
            queue_fill: 0.75,
            per_second_min: 0.0,
            error_share: [0.01, 0.5],
            silent_ns: [1_000_000_000, 10_000_000_000],
            overrun_share: 0.01,
            memory_bytes: 0,
        }
    }
}

/// Something that is wrong with a part.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Finding {
    /// What it is.
    pub component: Component,
    /// Its number among its like.
    pub number: u8,
    /// How bad that is: degraded or failed.
    pub state: HealthState,
    /// What is wrong.
    pub reason: HealthReason,
    /// What was measured.
    pub value: f64,
    /// The bound that it is beyond.
    pub threshold: f64,
}

/// How well a part is, or several together.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Health {
    /// The worst of all findings; without any, ready once it has begun, else live.
    pub state: HealthState,
    /// Findings.
    pub findings: u32,
}

/// Judges one part, and tells each finding, the worst of one kind only. O(1), no allocation.
///
/// A part that died is failed for that alone: what else was measured of it is of the past.
pub fn judge(vitals: &Vitals, thresholds: &Thresholds, mut tell: impl FnMut(Finding)) -> Health {
    use HealthReason::{Breaker, ErrorRate, Memory, Overrun, QueueDepth, Rate, Stalled};
    use HealthState::{Degraded, Failed};
    let &Vitals { component, number, .. } = vitals;
    let mut health =
        Health { state: if vitals.is_started { HealthState::Ready } else { HealthState::Live }, findings: 0 };
    let mut found = |reason, state, value, threshold| {
        health.state = if health.state as u8 > state as u8 { health.state } else { state };
        health.findings += 1;
        tell(Finding { component, number, state, reason, value, threshold });
    };
    if vitals.is_dead {
        found(HealthReason::Dependency, Failed, 1.0, 0.0);
        return health;
    }
    // A share that cannot be told is not a good one.
    let above = |value: f64, bound: f64| value > bound || value.is_nan();
    let silent = |bound: usize| thresholds.silent_ns[bound];
    if vitals.silent_ns > silent(1) {
        found(Stalled, Failed, vitals.silent_ns as f64, silent(1) as f64);
    } else if vitals.silent_ns > silent(0) {
        found(Stalled, Degraded, vitals.silent_ns as f64, silent(0) as f64);
    }
    let errors = thresholds.error_share;
    if above(vitals.error_share, errors[1]) {
        found(ErrorRate, Failed, vitals.error_share, errors[1]);
    } else if above(vitals.error_share, errors[0]) {
        found(ErrorRate, Degraded, vitals.error_share, errors[0]);
    }
    if above(vitals.queue_fill, thresholds.queue_fill) {
        found(QueueDepth, Degraded, vitals.queue_fill, thresholds.queue_fill);
    }
    if let Some(rate) = vitals.per_second
        && vitals.is_started
        && rate < thresholds.per_second_min
    {
        found(Rate, Degraded, rate, thresholds.per_second_min);
    }
    if above(vitals.overrun_share, thresholds.overrun_share) {
        found(Overrun, Degraded, vitals.overrun_share, thresholds.overrun_share);
    }
    if vitals.breakers_open > 0 {
        found(Breaker, Degraded, f64::from(vitals.breakers_open), 0.0);
    }
    if thresholds.memory_bytes > 0 && vitals.memory_bytes > thresholds.memory_bytes {
        found(Memory, Degraded, vitals.memory_bytes as f64, thresholds.memory_bytes as f64);
    }
    health
}

/// Judges several parts: the whole is as well as the worst of them, and ready only when all are.
pub fn judge_all<'a>(
    parts: impl IntoIterator<Item = &'a Vitals>,
    thresholds: &Thresholds,
    mut tell: impl FnMut(Finding),
) -> Health {
    let (mut worst, mut all_started, mut findings) = (HealthState::Ready, true, 0);
    for part in parts {
        let health = judge(part, thresholds, &mut tell);
        findings += health.findings;
        all_started &= health.state != HealthState::Live;
        if health.state as u8 > worst as u8 {
            worst = health.state;
        }
    }
    let state = if worst == HealthState::Ready && !all_started { HealthState::Live } else { worst };
    Health { state, findings }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(vitals: &Vitals, thresholds: &Thresholds) -> (HealthState, Vec<HealthReason>) {
        let mut reasons = Vec::new();
        let health = judge(vitals, thresholds, |finding| reasons.push(finding.reason));
        assert_eq!(health.findings as usize, reasons.len());
        (health.state, reasons)
    }

    #[test]
    fn req_3488_each_cause_degrades_or_fails_with_its_reason() {
        use HealthReason::{Breaker, Dependency, ErrorRate, Memory, Overrun, QueueDepth, Rate, Stalled};
        use HealthState::{Degraded, Failed, Live, Ready};
        let well = Vitals { per_second: Some(100.0), memory_bytes: 1_000, ..Vitals::well(Component::Shard, 3) };
        let bounds = Thresholds { per_second_min: 50.0, memory_bytes: 2_000, ..Thresholds::default() };
        assert_eq!(findings(&well, &bounds), (Ready, vec![]));
        assert_eq!(findings(&Vitals { is_started: false, ..well }, &bounds), (Live, vec![]));
        for (vitals, state, reason) in [
            (Vitals { queue_fill: 0.76, ..well }, Degraded, QueueDepth),
            (Vitals { per_second: Some(49.9), ..well }, Degraded, Rate),
            (Vitals { error_share: 0.011, ..well }, Degraded, ErrorRate),
            (Vitals { error_share: 0.51, ..well }, Failed, ErrorRate),
            (Vitals { error_share: f64::NAN, ..well }, Failed, ErrorRate),
            (Vitals { silent_ns: 1_000_000_001, ..well }, Degraded, Stalled),
            (Vitals { silent_ns: 10_000_000_001, ..well }, Failed, Stalled),
            (Vitals { overrun_share: 0.02, ..well }, Degraded, Overrun),
            (Vitals { breakers_open: 1, ..well }, Degraded, Breaker),
            (Vitals { memory_bytes: 2_001, ..well }, Degraded, Memory),
            (Vitals { is_dead: true, queue_fill: 1.0, ..well }, Failed, Dependency),
        ] {
            assert_eq!(findings(&vitals, &bounds), (state, vec![reason]), "{vitals:?}");
        }
        // On the bound is within it.
        let edge = Vitals { queue_fill: 0.75, error_share: 0.01, silent_ns: 1_000_000_000, ..well };
        assert_eq!(findings(&edge, &bounds), (Ready, vec![]));
        // A slow part that has nothing to do yet is not slow.
        assert_eq!(findings(&Vitals { is_started: false, per_second: Some(0.0), ..well }, &bounds), (Live, vec![]));
    }

    #[test]
    fn the_whole_is_as_well_as_its_worst_part() {
        let parts = |bad: Vitals| [Vitals::well(Component::Source, 0), bad, Vitals::well(Component::Shard, 1)];
        let of = |parts: &[Vitals]| {
            let mut told = Vec::new();
            let health =
                judge_all(parts, &Thresholds::default(), |finding| told.push((finding.component, finding.number)));
            (health.state, told)
        };
        let shard = Vitals::well(Component::Shard, 0);
        assert_eq!(of(&parts(shard)), (HealthState::Ready, vec![]));
        assert_eq!(of(&parts(Vitals { is_started: false, ..shard })), (HealthState::Live, vec![]));
        let degraded = Vitals { queue_fill: 1.0, ..shard };
        assert_eq!(of(&parts(degraded)), (HealthState::Degraded, vec![(Component::Shard, 0)]));
        let failed = Vitals { is_dead: true, ..shard };
        assert_eq!(of(&[degraded, failed]).0, HealthState::Failed);
        assert_eq!(of(&[]), (HealthState::Ready, vec![]));
    }
}
