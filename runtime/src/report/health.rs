//! How well a run's parts were, and where their rates stood at its end.

use super::Named;
use super::handlers::HandlerReport;
use crate::jobs::{KindReport, WorkersReport};
use serde::Serialize;
use tapeline_core::event::payload::{Component, HealthState};
use tapeline_core::health::{Thresholds, Vitals, judge_all};
use tapeline_core::stats::{Series, Stats};
use tapeline_core::windows::Window;

/// How well the engine was: the worst of its parts, and every finding.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
pub struct HealthReport {
    /// `live`, `ready`, `degraded` or `failed`.
    pub state: &'static str,
    /// What was beyond a bound.
    pub findings: Vec<FindingReport>,
}

/// Something that was beyond its bound.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
pub struct FindingReport {
    /// `shard`, `source`, ...; `job` is the workers that do a job off the cores.
    pub component: &'static str,
    /// Its number among its like; a job's own.
    pub number: u8,
    /// The workers' name; `null` for all else.
    pub name: Option<&'static str>,
    /// `degraded` or `failed`.
    pub state: &'static str,
    /// `queue_depth`, `rate`, `error_rate`, `stalled`, `memory`, `breaker`, `overrun`, `dependency`.
    pub reason: &'static str,
    /// What was measured.
    pub value: f64,
    /// The bound.
    pub threshold: f64,
}

/// How the workers of one kind were: calls that panicked count as errors, since each threw a worker away; what a worker answers by a code of its own
/// does not. Jobs that found no worker at all mean that none is left.
fn vitals_of(kind: &KindReport) -> Vitals {
    let jobs = kind.done + kind.failed + kind.panicked + kind.overran + kind.unserved;
    let share = |count: u64| count as f64 / jobs.max(1) as f64;
    Vitals {
        is_dead: kind.unserved > 0,
        error_share: share(kind.panicked),
        overrun_share: share(kind.overran),
        ..Vitals::well(Component::Job, kind.job)
    }
}

/// What a shard's vitals are over a whole run.
#[derive(Clone, Copy, Debug)]
pub struct ShardRun<'a> {
    /// What the shard says of itself.
    pub stats: &'a Stats,
    /// The longest time for which its loop did not turn, ns.
    pub longest_silence_ns: u64,
}

impl HealthReport {
    /// Judges a run as a whole: its failures for each event, its handlers' overruns, its loops' silence; a ring that held the source up for
    /// more than a share of the run that makes it saturated counts as full. Workers off the cores are judged by the share of their jobs that they
    /// panicked on or overran, and have failed once there was none left for a job.
    #[must_use]
    pub fn of_run(
        shards: &[ShardRun<'_>],
        handlers: &[HandlerReport],
        workers: Option<&WorkersReport>,
        is_saturated: bool,
        resident_most: Option<u64>,
        thresholds: &Thresholds,
    ) -> Self {
        let overruns = handlers.iter().filter(|handler| handler.budget_ns.is_some());
        let overrun_share =
            overruns.map(|handler| handler.overruns as f64 / handler.calls.max(1) as f64).fold(0.0, f64::max);
        let parts = shards.iter().map(|shard| {
            let count = |series: Series| shard.stats.counts[series as usize];
            Vitals {
                silent_ns: shard.longest_silence_ns,
                queue_fill: if is_saturated { 1.0 } else { 0.0 },
                error_share: count(Series::Failures) as f64 / count(Series::Events).max(1) as f64,
                overrun_share,
                ..Vitals::well(Component::Shard, shard.stats.shard.min(usize::from(u8::MAX)) as u8)
            }
        });
        // A shard's own bytes are part of the process's, which is what the bound is about.
        let process = Vitals { memory_bytes: resident_most.unwrap_or(0), ..Vitals::well(Component::Engine, 0) };
        let kinds = || workers.iter().flat_map(|workers| &workers.kinds);
        let parts: Vec<Vitals> = parts.chain([process]).chain(kinds().map(vitals_of)).collect();
        let name_of = |component: Component, number: u8| {
            let kind = kinds().find(|kind| component == Component::Job && kind.job == number)?;
            Some(kind.name)
        };
        let mut findings = Vec::new();
        let health = judge_all(&parts, thresholds, |finding| {
            findings.push(FindingReport {
                component: finding.component.name(),
                number: finding.number,
                name: name_of(finding.component, finding.number),
                state: finding.state.name(),
                reason: finding.reason.name(),
                value: finding.value,
                threshold: finding.threshold,
            });
        });
        Self { state: health.state.name(), findings }
    }

    /// Whether nothing is to be told.
    #[must_use]
    pub fn is_well(&self) -> bool {
        self.state == HealthState::Ready.name()
    }
}

/// Bytes of the process, and of the shards' structures.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
pub struct MemoryReport {
    /// The most resident bytes that were seen during the run; `null` where the kernel does not tell.
    pub resident_most: Option<u64>,
    /// The process's peak since it was started; `null` where the kernel does not tell.
    pub resident_peak: Option<u64>,
    /// Bytes by structure, all shards together. Pages that were never touched are not resident.
    pub structures: Named<u64>,
}

impl MemoryReport {
    /// Of a run that has ended.
    #[must_use]
    pub fn of(resident_most: Option<u64>, structures: &[(&'static str, usize)]) -> Self {
        Self {
            resident_most,
            resident_peak: crate::resident::peak(),
            structures: structures.iter().map(|(name, bytes)| (*name, *bytes as u64)).collect(),
        }
    }
}

/// Log records.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub struct LogCounts {
    /// Told.
    pub written: u64,
    /// Dropped by shards, because the log was slower than they.
    pub dropped: u64,
}

/// One count over the last seconds of the shards' time, all shards together.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
pub struct RateReport {
    /// A second, over the last second.
    #[serde(rename = "1s")]
    pub s1: f64,
    /// A second, over the last ten seconds.
    #[serde(rename = "10s")]
    pub s10: f64,
    /// A second, over the last minute.
    #[serde(rename = "60s")]
    pub s60: f64,
    /// The most that one shard counted in 50 ms of the last minute.
    pub busiest_50ms: u64,
}

/// Rates at the end of a run, by name of what is counted.
#[must_use]
pub fn rates(shards: &[ShardRun<'_>]) -> Named<RateReport> {
    let of = |series: Series| {
        let sum = |window| shards.iter().map(|shard| shard.stats.rate(series, window).per_second).sum();
        let busiest = shards.iter().map(|shard| shard.stats.rate(series, Window::S60).step_max);
        RateReport {
            s1: sum(Window::S1),
            s10: sum(Window::S10),
            s60: sum(Window::S60),
            busiest_50ms: busiest.max().unwrap_or_default(),
        }
    };
    Series::ALL.iter().map(|series| (series.name(), of(*series))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn req_3554_a_process_above_its_bound_is_degraded_and_every_structure_is_told() {
        let thresholds = Thresholds { memory_bytes: 1_000, ..Thresholds::default() };
        let judge = |resident| HealthReport::of_run(&[], &[], None, false, resident, &thresholds);
        for within in [None, Some(0), Some(1_000)] {
            assert!(judge(within).is_well(), "{within:?}");
        }
        let report = judge(Some(1_001));
        let finding = FindingReport {
            component: "engine",
            number: 0,
            name: None,
            state: "degraded",
            reason: "memory",
            value: 1_001.0,
            threshold: 1_000.0,
        };
        assert_eq!(report, HealthReport { state: "degraded", findings: vec![finding] });
        assert!(
            HealthReport::of_run(&[], &[], None, false, Some(u64::MAX), &Thresholds::default()).is_well(),
            "no bound"
        );

        let memory = MemoryReport::of(Some(5), &[("dedup", 3), ("history", 4)]);
        assert_eq!(memory.resident_most, Some(5));
        assert!(memory.resident_peak > Some(1 << 20), "of this process");
        assert_eq!(memory.structures, [("dedup", 3), ("history", 4)].into_iter().collect());
    }

    #[test]
    fn req_3385_workers_that_are_replaced_or_overrun_often_or_are_gone_are_told_by_name_and_reason() {
        let well = KindReport { name: "model", job: 16, done: 1_000, failed: 500, made: 1, ..KindReport::default() };
        let judge = |kind: KindReport| {
            let other = KindReport { name: "other", job: 17, done: 1, ..KindReport::default() };
            let workers = WorkersReport { threads: 2, kinds: vec![other, kind], ..WorkersReport::default() };
            let report = HealthReport::of_run(&[], &[], Some(&workers), false, None, &Thresholds::default());
            let told = report.findings.iter().map(|found| (found.component, found.number, found.name, found.reason));
            (report.state, told.collect::<Vec<_>>())
        };
        let found = |reason| vec![("job", 16, Some("model"), reason)];
        // A code is an answer, however often it is given; a panic in a thousand jobs is one of those things.
        assert_eq!(judge(well.clone()), ("ready", vec![]));
        assert_eq!(judge(KindReport { panicked: 1, overran: 1, replaced: 2, ..well.clone() }), ("ready", vec![]));
        assert_eq!(judge(KindReport { panicked: 20, replaced: 20, ..well.clone() }), ("degraded", found("error_rate")));
        assert_eq!(judge(KindReport { panicked: 2_000, replaced: 9, ..well.clone() }), ("failed", found("error_rate")));
        assert_eq!(judge(KindReport { overran: 20, replaced: 20, ..well.clone() }), ("degraded", found("overrun")));
        // Nobody is left: jobs find no worker.
        assert_eq!(judge(KindReport { unserved: 1, ..well }), ("failed", found("dependency")));
        // One that was never asked is well.
        assert_eq!(judge(KindReport { name: "model", job: 16, ..KindReport::default() }), ("ready", vec![]));
    }
}
