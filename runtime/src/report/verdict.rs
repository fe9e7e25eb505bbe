//! Whether a run may be believed: a pure function of what was measured beside the latencies.
//!
//! A run is *invalid* when the schedule was not kept for reasons that are not the engine's, or when the ledger does
//! not balance. An engine that is too slow is not invalid: its lag is in the response times, and the report is headed
//! SATURATED. What could not be read is a note, never a reason.

use super::text::{count, duration};
use crate::jitter::{GAP_NS, IdleProbe};
use serde::Serialize;

/// Median pacer lag above which a paced run is invalid, in ns. A schedule that is usually this late adds as much to
/// every response time as the engine itself takes for a hop and a handler.
pub const PACER_LAG_P50_NS_MAX: u64 = 20_000;
/// An event that left this many ns or more after it was due, though its ring had room, was missed by the pacer: twice
/// the shortest gap that is looked for, so that one gap's edge alone is no miss.
pub const PACER_MISSED_NS: u64 = 2 * GAP_NS;
/// Share of events that the pacer may miss, and of samples that may be due while the machine held a core. Above it not
/// even p99 would be the engine's own.
pub const SHARE_MAX: f64 = 0.01;
/// Involuntary switches a second on one measured core above which a paced run is invalid, those left out that the loop asked for itself. Each may
/// hide an absence of up to [`GAP_NS`], which no gap shows: this many could cover [`SHARE_MAX`] of the time of the run (0.01 / 50 us = 200).
pub const INVOLUNTARY_PER_SECOND_MAX: f64 = SHARE_MAX * 1e9 / GAP_NS as f64;

/// How the schedule was kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PacerEvidence {
    /// Events that were paced.
    pub events: u64,
    /// Median of send time minus due time while the ring had room, ns.
    pub lag_p50_ns: u64,
    /// Events that left [`PACER_MISSED_NS`] or more after they were due, though the ring had room.
    pub missed: u64,
}

/// What one measured core went through during the run. Part of the report.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
pub struct CoreEvidence {
    /// Core that the loop was pinned to; `null` = not pinned.
    pub core: Option<u32>,
    /// What ran there: `source`, `shard 0`.
    pub role: String,
    /// Time of its loop, from the time at which all began to its end, ns: steal, switches and gaps are told by it.
    pub elapsed_ns: u64,
    /// Of that, the time in which gaps were looked for, ns: turns without work.
    pub watched_ns: u64,
    /// Scheduler gaps over [`GAP_NS`].
    pub gaps: u64,
    /// Their sum, ns.
    pub gap_ns: u64,
    /// The longest, ns.
    pub longest_gap_ns: u64,
    /// Time that the hypervisor took from this core, ns (in steps of 10 ms on most kernels); `null` = could not be read.
    pub steal_ns: Option<u64>,
    /// Times that the loop's thread was switched out against its will; `null` = could not be read.
    pub involuntary_switches: Option<u64>,
    /// Times that the loop gave its core to whoever waited for it. Linux counts a switch that follows among the involuntary ones.
    pub yields: u64,
    /// What its thread saw before the run, with nothing to do; `null` = it did not look.
    pub probe: Option<IdleProbe>,
}

impl CoreEvidence {
    /// How this core is named in reasons and notes.
    fn name(&self) -> String {
        match self.core {
            Some(core) => format!("core {core} ({})", self.role),
            None => format!("unpinned {}", self.role),
        }
    }

    /// `part` of the loop's time, 0 when there was none.
    fn share(&self, part_ns: u64) -> f64 {
        if self.elapsed_ns == 0 { 0.0 } else { part_ns as f64 / self.elapsed_ns as f64 }
    }
}

/// What the verdict rests on.
#[derive(Clone, Debug, Default)]
pub struct Evidence {
    /// How the schedule was kept; `None` for an unpaced run.
    pub pacer: Option<PacerEvidence>,
    /// Whether the loops were pinned to cores.
    pub pinned: bool,
    /// The cores that sources and shards ran on.
    pub cores: Vec<CoreEvidence>,
    /// Samples in the response (paced) or service (unpaced) histogram.
    pub samples: u64,
    /// Of these, samples that were due while a gap held their source's or shard's core.
    pub samples_in_gaps: u64,
    /// Whether a detector forgot gaps while samples were still to be compared with them.
    pub gaps_forgotten: bool,
    /// Whether every ledger balanced at exit.
    pub ledger_balanced: bool,
    /// Whether SIGINT ended the run early.
    pub interrupted: bool,
    /// Facts that could not be read, each with why: "governor: no such file".
    pub unread: Vec<String>,
}

impl Evidence {
    /// Share d of the samples that the machine may have made late: percentiles above 1 - d must not be told.
    ///
    /// Counted samples in gaps; where gaps were forgotten, at least the largest share of time in gaps of any core. An
    /// unpaced run has no due times, hence no such share.
    #[must_use]
    pub fn noise_share(&self) -> f64 {
        if self.pacer.is_none() || self.samples == 0 {
            return 0.0;
        }
        let counted = self.samples_in_gaps as f64 / self.samples as f64;
        let by_time = self.cores.iter().map(|core| core.share(core.gap_ns)).fold(0.0, f64::max);
        if self.gaps_forgotten { counted.max(by_time) } else { counted }.min(1.0)
    }
}

/// Whether the run may be believed, and why not.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Verdict {
    /// No reason against it.
    pub valid: bool,
    /// Why the run is invalid, one sentence each, with the numbers. Empty when it is valid.
    pub reasons: Vec<String>,
    /// What a reader should know all the same.
    pub notes: Vec<String>,
}

/// The verdict on `evidence`. The order of reasons and notes is fixed.
#[must_use]
pub fn judge(evidence: &Evidence) -> Verdict {
    let mut reasons = Vec::new();
    let mut notes = Vec::new();
    if !evidence.ledger_balanced {
        reasons.push("the ledger does not balance: events were lost or counted twice".to_owned());
    }
    if let Some(pacer) = &evidence.pacer {
        judge_pacer(pacer, &mut reasons, &mut notes);
    }
    judge_gaps(evidence, &mut reasons, &mut notes);
    for core in &evidence.cores {
        judge_core(core, evidence.pacer.is_some(), &mut reasons, &mut notes);
    }
    if !evidence.pinned {
        notes.push("the loops were not pinned to cores: the scheduler may have moved them".to_owned());
    }
    if evidence.samples == 0 {
        notes.push("no event was measured".to_owned());
    }
    if evidence.interrupted {
        notes.push("interrupted: the report covers what was replayed until then".to_owned());
    }
    notes.extend(evidence.unread.iter().map(|fact| format!("could not be read: {fact}")));
    Verdict { valid: reasons.is_empty(), reasons, notes }
}

fn judge_pacer(pacer: &PacerEvidence, reasons: &mut Vec<String>, notes: &mut Vec<String>) {
    if pacer.lag_p50_ns > PACER_LAG_P50_NS_MAX {
        reasons.push(format!(
            "pacer lag: its median of {} is above {}",
            duration(pacer.lag_p50_ns),
            duration(PACER_LAG_P50_NS_MAX)
        ));
    }
    if pacer.missed > 0 {
        let share = pacer.missed as f64 / pacer.events.max(1) as f64;
        let missed = format!(
            "pacer lag: {} of {} events ({}) left {} or more late while their ring had room",
            count(pacer.missed),
            count(pacer.events),
            percent(share),
            duration(PACER_MISSED_NS)
        );
        if share > SHARE_MAX {
            reasons.push(format!("{missed}, above {}", percent(SHARE_MAX)));
        } else {
            notes.push(missed);
        }
    }
}

/// Gaps of all cores together: by the samples that they hit where there are due times, else as notes.
fn judge_gaps(evidence: &Evidence, reasons: &mut Vec<String>, notes: &mut Vec<String>) {
    let noise = evidence.noise_share();
    let gaps: u64 = evidence.cores.iter().map(|core| core.gaps).sum();
    let longest = evidence.cores.iter().map(|core| core.longest_gap_ns).max().unwrap_or(0);
    let seen = format!("{} scheduler gaps over {}, the longest {}", count(gaps), duration(GAP_NS), duration(longest));
    if noise > SHARE_MAX {
        reasons.push(format!(
            "scheduler gaps: {} of the samples were due in one, above {} ({seen})",
            percent(noise),
            percent(SHARE_MAX)
        ));
    } else if noise > 0.0 {
        notes.push(format!(
            "{seen}; {} of the samples were due in one: higher percentiles are not told",
            percent(noise)
        ));
    } else if gaps > 0 {
        notes.push(seen);
    }
}

/// What the probe saw, steal and involuntary switches of one core. What was before the run is worth a note only: gaps of the run tell
/// what it went through. Without a schedule to keep they are worth a note only.
fn judge_core(core: &CoreEvidence, paced: bool, reasons: &mut Vec<String>, notes: &mut Vec<String>) {
    if let Some(probe) = core.probe.filter(|probe| probe.gaps > 0) {
        notes.push(format!(
            "jitter probe: before the run, idle, {} was kept from running for {} ({}) of {}, in {} gaps, the longest {}",
            core.name(),
            duration(probe.gap_ns),
            percent(probe.share()),
            duration(probe.watched_ns),
            count(probe.gaps),
            duration(probe.longest_ns)
        ));
    }
    match core.steal_ns {
        Some(steal_ns) if steal_ns > 0 => {
            let share = core.share(steal_ns);
            let text =
                format!("steal: the hypervisor took {} ({}) of {}", duration(steal_ns), percent(share), core.name());
            if paced && share > SHARE_MAX {
                reasons.push(format!("{text}, above {}", percent(SHARE_MAX)));
            } else {
                notes.push(text);
            }
        }
        Some(_) => {}
        None => notes.push(format!("could not be read: steal of {}", core.name())),
    }
    match core.involuntary_switches {
        Some(switches) if switches > 0 => {
            // Which of the switches were asked for, nobody tells: at least these were not.
            let forced = switches.saturating_sub(core.yields);
            let per_second = if core.elapsed_ns == 0 { 0.0 } else { forced as f64 * 1e9 / core.elapsed_ns as f64 };
            let own = format!("the {} times that its loop gave the core away itself", count(core.yields));
            let name = core.name();
            let text = match (core.yields, forced) {
                (0, _) => format!("involuntary switches: {} on {name}, {per_second:.1} a second", count(switches)),
                (_, 0) => format!(
                    "involuntary switches: {} on {name}, no more than {own}, which count with them: gaps tell what they took",
                    count(switches)
                ),
                _ => {
                    format!("involuntary switches: {} on {name} beyond {own}, {per_second:.1} a second", count(forced))
                }
            };
            if paced && per_second > INVOLUNTARY_PER_SECOND_MAX {
                reasons.push(format!("{text}, above {INVOLUNTARY_PER_SECOND_MAX:.0}"));
            } else {
                notes.push(text);
            }
        }
        Some(_) => {}
        None => notes.push(format!("could not be read: involuntary switches of {}", core.name())),
    }
}

/// A share as a percentage with as many digits as small shares need.
fn percent(share: f64) -> String {
    let percent = share * 100.0;
    if percent >= 10.0 {
        format!("{percent:.1} %")
    } else if percent >= 0.1 || percent == 0.0 {
        format!("{percent:.2} %")
    } else {
        format!("{percent:.4} %")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn core() -> CoreEvidence {
        CoreEvidence {
            core: Some(1),
            role: "shard 0".to_owned(),
            elapsed_ns: 10 * SECOND,
            // Half of the turns had work.
            watched_ns: 5 * SECOND,
            steal_ns: Some(0),
            involuntary_switches: Some(0),
            ..CoreEvidence::default()
        }
    }

    /// A paced run without a flaw.
    fn flawless() -> Evidence {
        Evidence {
            pacer: Some(PacerEvidence { events: 1_000_000, lag_p50_ns: 300, missed: 0 }),
            pinned: true,
            cores: vec![core()],
            samples: 1_000_000,
            ledger_balanced: true,
            ..Evidence::default()
        }
    }

    fn unpaced() -> Evidence {
        Evidence { pacer: None, ..flawless() }
    }

    #[test]
    fn a_flawless_run_is_valid_without_a_word() {
        assert_eq!(judge(&flawless()), Verdict { valid: true, reasons: vec![], notes: vec![] });
        assert_eq!(judge(&unpaced()), Verdict { valid: true, reasons: vec![], notes: vec![] });
    }

    #[test]
    fn an_unbalanced_ledger_is_invalid_paced_or_not() {
        for evidence in [flawless(), unpaced()] {
            let verdict = judge(&Evidence { ledger_balanced: false, ..evidence });
            assert!(!verdict.valid);
            assert!(verdict.reasons[0].contains("ledger"), "{verdict:?}");
        }
    }

    /// Just at a bound is valid; just above is not. Each row: evidence at the bound, and above it.
    #[test]
    fn each_bound_is_where_it_is_documented() {
        let pacer = |lag_p50_ns, missed| Evidence {
            pacer: Some(PacerEvidence { events: 1_000_000, lag_p50_ns, missed }),
            ..flawless()
        };
        let gaps = |samples_in_gaps| Evidence { samples_in_gaps, ..flawless() };
        let steal =
            |steal_ns| Evidence { cores: vec![CoreEvidence { steal_ns: Some(steal_ns), ..core() }], ..flawless() };
        let switches = |switches| Evidence {
            cores: vec![CoreEvidence { involuntary_switches: Some(switches), ..core() }],
            ..flawless()
        };
        for (name, at, above) in [
            ("pacer lag", pacer(PACER_LAG_P50_NS_MAX, 0), pacer(PACER_LAG_P50_NS_MAX + 1, 0)),
            ("pacer lag", pacer(0, 10_000), pacer(0, 10_001)),
            ("scheduler gaps", gaps(10_000), gaps(10_001)),
            ("steal", steal(SECOND / 10), steal(SECOND / 10 + 1)),
            ("involuntary switches", switches(2_000), switches(2_001)),
        ] {
            let verdict = judge(&at);
            assert!(verdict.valid, "{name}: {verdict:?}");
            let verdict = judge(&above);
            assert!(!verdict.valid && verdict.reasons.len() == 1, "{name}: {verdict:?}");
            assert!(verdict.reasons[0].starts_with(name), "{name}: {verdict:?}");
            let unpaced = judge(&Evidence { pacer: None, ..above });
            assert!(unpaced.valid, "an unpaced run has no schedule: {name}: {unpaced:?}");
        }
    }

    #[test]
    fn what_the_loop_asked_for_itself_is_no_reason() {
        let of = |switches, yields| {
            let core = CoreEvidence { involuntary_switches: Some(switches), yields, ..core() };
            judge(&Evidence { cores: vec![core], ..flawless() })
        };
        assert!(!of(9_000, 0).valid);
        let verdict = of(9_000, 20_000);
        let text = "involuntary switches: 9,000 on core 1 (shard 0), no more than the 20,000 times that its loop gave the core away itself, which count \
                    with them: gaps tell what they took";
        assert_eq!((verdict.valid, &verdict.notes[..]), (true, &[text.to_owned()][..]));
        assert!(of(9_000, 7_000).valid);
        let text = "involuntary switches: 2,001 on core 1 (shard 0) beyond the 6,999 times that its loop gave the core away itself, 200.1 a second, above 200";
        assert_eq!(of(9_000, 6_999).reasons, [text]);
    }

    #[test]
    fn what_the_probe_saw_before_the_run_is_a_note() {
        let of = |probe| judge(&Evidence { cores: vec![CoreEvidence { probe: Some(probe), ..core() }], ..flawless() });
        let quiet = IdleProbe { watched_ns: SECOND / 10, ..IdleProbe::default() };
        assert_eq!(of(quiet).notes, [""; 0]);
        let verdict = of(IdleProbe { gaps: 12, gap_ns: SECOND / 100, longest_ns: 1_200_000, ..quiet });
        let text = "jitter probe: before the run, idle, core 1 (shard 0) was kept from running for 10.0 ms (10.0 %) of 100 ms, in 12 gaps, the longest 1.20 ms";
        assert_eq!((verdict.valid, &verdict.notes[..]), (true, &[text.to_owned()][..]));
    }

    #[test]
    fn forgotten_gaps_count_by_time() {
        let holed = CoreEvidence { gaps: 500, gap_ns: SECOND / 2, longest_gap_ns: SECOND / 10, ..core() };
        let evidence = Evidence { cores: vec![core(), holed], samples_in_gaps: 10, ..flawless() };
        assert_eq!(evidence.noise_share(), 0.000_01);
        assert!(judge(&evidence).valid);
        let evidence = Evidence { gaps_forgotten: true, ..evidence };
        assert_eq!(evidence.noise_share(), 0.05);
        assert!(!judge(&evidence).valid);
        assert_eq!(Evidence { pacer: None, ..evidence }.noise_share(), 0.0);
    }

    #[test]
    fn what_could_not_be_read_is_a_note() {
        let blind = CoreEvidence { steal_ns: None, involuntary_switches: None, ..core() };
        let verdict =
            judge(&Evidence { cores: vec![blind], unread: vec!["governor: no such file".to_owned()], ..flawless() });
        assert!(verdict.valid);
        assert_eq!(
            verdict.notes,
            [
                "could not be read: steal of core 1 (shard 0)",
                "could not be read: involuntary switches of core 1 (shard 0)",
                "could not be read: governor: no such file",
            ]
        );
    }

    #[test]
    fn reasons_name_their_numbers() {
        let evidence = Evidence {
            pacer: Some(PacerEvidence { events: 1_000_000, lag_p50_ns: 41_234, missed: 123_456 }),
            cores: vec![CoreEvidence { gaps: 1_234, gap_ns: SECOND, longest_gap_ns: 12_345_678, ..core() }],
            samples_in_gaps: 98_765,
            ..flawless()
        };
        assert_eq!(
            judge(&evidence).reasons,
            [
                "pacer lag: its median of 41.2 µs is above 20.0 µs",
                "pacer lag: 123,456 of 1,000,000 events (12.3 %) left 100 µs or more late while their ring had room, \
                 above 1.00 %",
                "scheduler gaps: 9.88 % of the samples were due in one, above 1.00 % (1,234 scheduler gaps over 50.0 µs, \
                 the longest 12.3 ms)",
            ]
        );
    }

    #[test]
    fn nothing_watched_and_nothing_measured_divides_by_nothing() {
        let empty =
            CoreEvidence { elapsed_ns: 0, watched_ns: 0, steal_ns: Some(5), involuntary_switches: Some(5), ..core() };
        let verdict = judge(&Evidence {
            pacer: Some(PacerEvidence { events: 0, lag_p50_ns: 0, missed: 3 }),
            cores: vec![empty],
            samples: 0,
            interrupted: true,
            pinned: false,
            ..flawless()
        });
        assert!(!verdict.valid, "three misses of no events cannot be right");
        assert!(verdict.notes.contains(&"no event was measured".to_owned()));
        assert!(verdict.notes.iter().any(|note| note.starts_with("interrupted")));
    }
}
