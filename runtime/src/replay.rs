//! From what a run left behind to its report.

use crate::backfill::Listed;
use crate::driver::{CoreReport, Idle};
use crate::engine::{Run, Setup};
use crate::jitter::GapDetector;
use crate::jobs::WorkersReport;
use crate::letters::Parked;
use crate::machine::Machine;
use crate::pacer::{Arrivals, Pace};
use crate::placement::{Plan, Seat};
use crate::report::health::{HealthReport, LogCounts, MemoryReport, ShardRun, rates};
use crate::report::latency::{new_histogram, waits_for_cores};
use crate::report::slow::{TimelineReport, slow_events};
use crate::report::text::count;
use crate::report::verdict::PacerEvidence;
use crate::report::{
    BackfillReport, BackfillTape, Capture, CaptureTally, CoreEvidence, Digest, DigestScope, Events, Evidence, Latency,
    LimitHit, Manifest, Named, Pacer, Report, Requests, Retries, Speed, Spilled, Summary, dead_letters, handlers,
    judge, topics,
};
use crate::spill::SpillCounts;
use crate::station::{Overload, ShardReport, SourceReport, StageTimes, StationReport};
use crate::timeline::Timeline;
use hdrhistogram::Histogram;
use std::collections::{BTreeMap, BTreeSet};
use tapeline_core::event::Kind;
use tapeline_core::health::Thresholds;
use tapeline_core::ledger::{Ledger, Refusal};
use tapeline_core::limits::{BATCH_SLOTS, KIND_ROWS};
use tapeline_core::queue::Waits;
use tapeline_core::requests::{Counters, Jobs};
use tapeline_core::shard::Limit;
use tapeline_core::{backfill, dead};

/// What the user asked for, as the report repeats it.
#[derive(Clone, Debug)]
pub struct Request {
    /// Schedule.
    pub pace: Pace,
    /// How the messages of a rate follow each other.
    pub arrivals: Arrivals,
    /// Capture time that is paced and not measured, ns.
    pub warmup_ns: u64,
    /// Symbols that were asked for; 0 = all.
    pub symbols: usize,
    /// What happens when events come faster than a shard handles them.
    pub overload: Overload,
    /// Passes over the captures.
    pub passes: u64,
    /// SHA-256 of the effective configuration, hex, if there is one.
    pub config_sha256: Option<String>,
    /// SHA-256 of captures and tapes of the history by path, hex, where it was computed.
    pub sha256: BTreeMap<String, String>,
    /// Commit of the build, if it is known.
    pub commit: Option<String>,
    /// Version of the build.
    pub version: String,
    /// From where on a part of the engine is degraded or failed.
    pub health: Thresholds,
}

impl Request {
    /// What a setup asks for, without hashes, by a build of that version, and with the default bounds of health.
    #[must_use]
    pub fn of(setup: &Setup, version: &str) -> Self {
        Self {
            pace: setup.pace,
            arrivals: setup.arrivals,
            warmup_ns: setup.warmup_ns,
            symbols: setup.only.as_ref().map_or(0, BTreeSet::len),
            overload: setup.overload,
            passes: setup.passes,
            config_sha256: None,
            sha256: BTreeMap::new(),
            commit: None,
            version: version.to_owned(),
            health: Thresholds::default(),
        }
    }
}

/// A report, and the histograms that it sums up.
#[derive(Debug)]
pub struct Told {
    /// The report.
    pub report: Report,
    /// Response times, ns; `None` for an unpaced run.
    pub response: Option<Histogram<u64>>,
    /// Service times, ns.
    pub service: Histogram<u64>,
    /// Share of the samples that were due while the machine kept a measured core from running.
    pub noise_share: f64,
    /// Every histogram by name, those without a value left out: the two above, the source's, and `shard<N>.<stage>`.
    pub tagged: Vec<(String, Histogram<u64>)>,
    /// Response times over the time of the run; without steps for an unpaced run.
    pub timeline: Timeline,
    /// The worst exit code of the captures' errors and of history that failed, if there were any.
    pub input_exit: Option<u8>,
    /// Bytes per structure, all shards together.
    pub bytes: Vec<(&'static str, usize)>,
    /// Dead letters by shard, if they were asked for.
    pub letters: Vec<Parked>,
}

/// Share of events held up by full rings above which a run is headed SATURATED.
const SATURATED_SHARE: f64 = 0.01;

/// Tells what a run was.
#[must_use]
pub fn tell(run: Run, request: &Request) -> Told {
    let machine = Machine::here();
    let evidence_of_cores = cores(&run);
    let is_interrupted = run.is_interrupted;
    let is_pinned = run.cores.iter().all(|core| core.is_pinned);
    let placed = Placed {
        cores: run.plan.pinned_cores(),
        is_pinned,
        driver: run.driver.name(),
        shards: run.plan.shards,
        idle: idle(&run.idle),
    };
    let (mut source, mut shards, mut silences) = (None, Vec::new(), BTreeMap::new());
    for core in run.cores {
        for station in core.stations {
            match station {
                StationReport::Source(report) => source = Some(report),
                StationReport::Shard(report) => {
                    silences.insert(report.shard, core.longest_silence_ns);
                    shards.push(report);
                }
            }
        }
    }
    shards.sort_by_key(|shard| shard.shard);
    let letters = shards.iter_mut().filter_map(|shard| shard.parked.take()).collect();
    let source = source.expect("Invariant: every plan seats the source");
    let sums = Sums::of(&shards, &source);
    let in_gaps = shards.iter().map(|shard| (shard.shard, shard.samples_in_gaps));
    let samples_in_gaps = samples_in_gaps(&run.plan, source.samples_in_gaps, in_gaps);
    let is_paced = request.pace.is_paced();
    let ledger_balanced = sums.ledger.is_balanced()
        && sums.derived.is_balanced()
        && sums.requests.is_balanced()
        && sums.backfill.0.is_balanced();

    let samples = if is_paced { sums.response.len() } else { sums.service.len() };
    let evidence = Evidence {
        pacer: is_paced.then(|| PacerEvidence {
            events: source.pacer_lag.len() + source.backpressure.len(),
            lag_p50_ns: source.pacer_lag.value_at_quantile(0.5),
            missed: source.missed,
        }),
        pinned: is_pinned,
        cores: evidence_of_cores,
        samples,
        samples_in_gaps: samples_in_gaps.min(samples),
        gaps_forgotten: shards.iter().any(|shard| shard.gaps.overflowed()) || source.gaps.overflowed(),
        ledger_balanced,
        interrupted: is_interrupted,
        unread: machine.unread(),
    };
    // Spilled events come back without their stamps: the latest of all are not among the samples, and no percentile that they could have made is told.
    let unstamped = if is_paced { sums.spill.returned } else { 0 };
    let noise = evidence.noise_share().max(unstamped as f64 / (samples + unstamped).max(1) as f64);
    let held_up = source.backpressure.len() as f64 / (source.pacer_lag.len() + source.backpressure.len()).max(1) as f64;
    let events = events(&sums.ledger);
    // Measured by the stations' own stamps: from the first batch to the last.
    // With a prelude, which the stamps do not cover, by the loops' own time.
    let span_ns = sums.span_ns.filter(|_| !run.has_prelude);
    let elapsed_ns = span_ns.map_or(run.elapsed_ns, |(first, last)| last.saturating_sub(first)).max(1);
    let mut verdict = judge(&evidence);
    if source.end_marks > 0 {
        let text = "ticks of the captures said that nothing follows: taken as plain ticks";
        verdict.notes.push(format!("{} {text}", source.end_marks));
    }
    if unstamped > 0 {
        let text = "were spilled and have no response times: those told are of the others, and higher percentiles are not told";
        verdict.notes.push(format!("{} events {text}", count(unstamped)));
    }
    if run.log.is_dead {
        verdict.notes.push("the log's thread died: what it had to tell after that is missing".to_owned());
    }
    let saturated = is_paced && held_up > SATURATED_SHARE;
    if request.symbols > 0 {
        let (found, asked, out) = (source.symbols_found, request.symbols, count(source.left_out));
        verdict
            .notes
            .push(format!("{found} of {asked} symbols that were asked for came; {out} events of others were left out"));
    }
    let tagged = tagged(is_paced, &sums, &source, &shards);
    let slowest = slow_events(&shards, sums.timeline.first_due_ns());
    let handlers = handlers::sum(shards.iter().map(|shard| (&shard.stats.handlers[..], shard.timed)));
    let runs: Vec<ShardRun<'_>> = shards
        .iter()
        .map(|shard| ShardRun {
            stats: &shard.stats,
            longest_silence_ns: silences.get(&shard.shard).copied().unwrap_or_default(),
        })
        .collect();
    let report = Report {
        tool: "tapeline",
        version: request.version.clone(),
        command: "replay",
        manifest: manifest(request, &machine, &placed, &run.ingest.captures, &run.history_tapes),
        kinds: kinds(&sums.ledger),
        outputs: outputs(&sums.derived, &sums.replied),
        limits_hit: sums
            .limits
            .iter()
            .map(|(limit, count)| LimitHit { name: limit.name().into(), count: *count })
            .collect(),
        ledger_balanced,
        interrupted: is_interrupted,
        elapsed_ns,
        events_per_second: events.offered as f64 * 1e9 / elapsed_ns as f64,
        latency_ns: Latency {
            response: is_paced.then(|| Summary::of(&sums.response, noise)),
            service: Summary::of(&sums.service, 0.0),
            stages: stages(is_paced, &source, &sums.stages, noise),
        },
        pacer: is_paced.then(|| pacer(&source, noise)),
        saturated,
        verdict,
        digest: Digest(sums.digest),
        digest_scope: scope(&sums, run.workers.as_ref()),
        tally: run.ingest.captures.iter().map(|c| CaptureTally::new(c.path.clone(), c.tally.clone())).collect(),
        input_errors: run.ingest.errors.iter().map(ToString::to_string).collect(),
        measured_cores: evidence.cores.clone(),
        allocations: None,
        retries: retries(&shards),
        topics: topics::sum(shards.iter().map(|shard| &shard.topics[..])),
        watermarks: shards.iter().flat_map(|shard| shard.watermarks.iter().cloned()).collect(),
        requests: Requests::of(&sums.requests, sums.waits.as_ref(), sums.jobs.as_ref(), run.workers.as_ref()),
        backfill: run.history.as_ref().map(|reader| BackfillReport::of(&sums.backfill.0, &sums.backfill.1, reader)),
        spill: run.spill.as_ref().map(|files| Spilled::of(&sums.spill, files)),
        dead_letters: dead_letters::sum(shards.iter().map(|shard| &shard.left[..])),
        health: HealthReport::of_run(
            &runs,
            &handlers,
            run.workers.as_ref(),
            saturated,
            run.log.resident_most,
            &request.health,
        ),
        memory: MemoryReport::of(run.log.resident_most, &sums.bytes),
        log: LogCounts { written: run.log.written, dropped: shards.iter().map(|shard| shard.log_dropped).sum() },
        rates: rates(&runs),
        timeline: TimelineReport::of(&sums.timeline, noise),
        slowest,
        handlers,
        events,
    };
    let history_exit = run.history.as_ref().and_then(|history| history.exit);
    let input_exit = run.ingest.errors.iter().map(crate::input::InputError::exit_code).chain(history_exit).min();
    Told {
        report,
        response: is_paced.then_some(sums.response),
        service: sums.service,
        noise_share: noise,
        tagged,
        timeline: sums.timeline,
        input_exit,
        bytes: sums.bytes,
        letters,
    }
}

/// What became of failed events, over all shards.
fn retries(shards: &[Box<ShardReport>]) -> Retries {
    let mut sum = Retries::default();
    let (mut parked_by, mut refused_by) = ([0; dead::Cause::ALL.len()], [0; dead::Refused::ALL.len()]);
    for (stats, parked) in shards.iter().map(|shard| &shard.letters) {
        sum.failures += stats.failures;
        sum.retries += stats.retries;
        sum.postponed += stats.postponed;
        sum.held += stats.held;
        sum.succeeded += stats.succeeded;
        sum.parked += *parked as u64;
        parked_by.iter_mut().zip(stats.parked_by).for_each(|(sum, count)| *sum += count);
        refused_by.iter_mut().zip(stats.refused_by).for_each(|(sum, count)| *sum += count);
    }
    let named = |names: &mut dyn Iterator<Item = (&'static str, u64)>| names.filter(|(_, count)| *count > 0).collect();
    sum.parked_by = named(&mut dead::Cause::ALL.iter().map(|cause| cause.name()).zip(parked_by));
    sum.refused_by = named(&mut dead::Refused::ALL.iter().map(|reason| reason.name()).zip(refused_by));
    sum
}

/// Samples that were due while a gap held the core of their source or shard. The source sees those that were due in a gap of its core, whoever they are
/// for; a shard that sits there sees the same ones again, and is left out. One that was due in a gap of either core at once counts twice:
/// the share is never told too small.
fn samples_in_gaps(plan: &Plan, source: u64, shards: impl Iterator<Item = (usize, u64)>) -> u64 {
    let is_beside_source = |shard: &usize| {
        plan.cores.iter().any(|core| core.seats.contains(&Seat::Source) && core.seats.contains(&Seat::Shard(*shard)))
    };
    source + shards.filter(|(shard, _)| !is_beside_source(shard)).map(|(_, samples)| samples).sum::<u64>()
}

/// All shards together.
struct Sums {
    ledger: Ledger,
    derived: Ledger,
    digest: u64,
    service: Histogram<u64>,
    response: Histogram<u64>,
    stages: StageTimes,
    timeline: Timeline,
    span_ns: Option<(u64, u64)>,
    limits: Vec<(Limit, u64)>,
    requests: Counters,
    backfill: (backfill::Counters, backfill::DeskCounters),
    replied: [u64; KIND_ROWS],
    waits: Option<Waits>,
    jobs: Option<Jobs>,
    bytes: Vec<(&'static str, usize)>,
    has_acted: bool,
    spill: SpillCounts,
}

impl Sums {
    fn of(shards: &[Box<ShardReport>], source: &SourceReport) -> Self {
        let mut sums = Self {
            ledger: Ledger::new(),
            derived: Ledger::new(),
            digest: 0,
            service: new_histogram(),
            response: new_histogram(),
            stages: StageTimes::new(),
            timeline: Timeline::new(),
            span_ns: source.span_ns,
            limits: Vec::new(),
            requests: Counters::default(),
            backfill: Default::default(),
            replied: [0; KIND_ROWS],
            waits: None,
            jobs: None,
            bytes: Vec::new(),
            has_acted: shards.iter().any(|shard| shard.has_acted),
            spill: SpillCounts::default(),
        };
        for shard in shards {
            sums.ledger.add(&shard.ledger);
            sums.derived.add(&shard.derived);
            sums.digest = sums.digest.wrapping_add(shard.digest);
            sums.service += &shard.service;
            sums.response += &shard.response;
            sums.stages.add(&shard.stages);
            sums.timeline.add(&shard.timeline);
            if let Some((first, last)) = shard.span_ns {
                let span = sums.span_ns.get_or_insert((first, last));
                *span = (span.0.min(first), span.1.max(last));
            }
            sums.requests.add(&shard.requests);
            shard.spill.iter().for_each(|counts| sums.spill.add(counts));
            if let Some(jobs) = &shard.stats.jobs {
                sums.jobs.get_or_insert_default().add(jobs);
            }
            sums.replied.iter_mut().zip(shard.replied).for_each(|(sum, count)| *sum += count);
            if let Some((counters, desk)) = &shard.backfill {
                sums.backfill.0.add(counters);
                sums.backfill.1.add(desk);
            }
            match (&mut sums.waits, &shard.waits) {
                (Some(sum), Some(waits)) => sum.add(waits),
                (sum @ None, waits) => sum.clone_from(waits),
                (Some(_), None) => {}
            }
            for (limit, count) in &shard.limits_hit {
                match sums.limits.iter_mut().find(|(known, _)| known == limit) {
                    Some((_, sum)) => *sum += count,
                    None => sums.limits.push((*limit, *count)),
                }
            }
            for (name, bytes) in &shard.bytes {
                match sums.bytes.iter_mut().find(|(known, _)| known == name) {
                    Some((_, sum)) => *sum += bytes,
                    None => sums.bytes.push((name, *bytes)),
                }
            }
        }
        sums
    }
}

fn events(ledger: &Ledger) -> Events {
    let total = ledger.total();
    Events {
        offered: total.offered,
        accepted: total.accepted,
        refused: total.refused,
        delivered: total.delivered,
        coalesced: total.coalesced,
        expired: total.expired,
        refused_after_admission: total.refused_after_admission,
        dead_lettered: total.dead_lettered,
        in_flight: total.in_flight,
        control: ledger.controls(),
        refused_by: Refusal::ALL
            .iter()
            .map(|reason| (reason.name(), ledger.refused_by(*reason)))
            .filter(|(_, count)| *count > 0)
            .collect(),
    }
}

fn kinds(ledger: &Ledger) -> Named<u64> {
    let known = Kind::ALL.iter().map(|kind| (kind.name(), ledger.row(*kind).offered));
    known.chain([("unknown", ledger.unknown_offered())]).filter(|(_, count)| *count > 0).collect()
}

/// Derived events by kind, without those that came from off the core for who asked. The three that every run may have are always there.
fn outputs(derived: &Ledger, replied: &[u64; KIND_ROWS]) -> Named<u64> {
    let always = [Kind::ALERT, Kind::FEATURES, Kind::SIGNAL];
    let count = |kind: &Kind| derived.row(*kind).offered - replied[kind.row()];
    Kind::ALL
        .iter()
        .filter(|kind| always.contains(kind) || count(kind) > 0)
        .map(|kind| (kind.name(), count(kind)))
        .collect()
}

fn stages(is_paced: bool, source: &SourceReport, shards: &StageTimes, noise: f64) -> Named<Summary> {
    let mut stages = Named::new();
    if is_paced {
        stages.set("pacer_lag", Summary::of(&source.pacer_lag, noise));
        stages.set("backpressure", Summary::of(&source.backpressure, noise));
    }
    for (name, histogram) in shards.by_name() {
        if !histogram.is_empty() {
            // Those within a batch are told from its stamps, whenever it was due; the others wait as long as a core is away.
            stages.set(name, Summary::of(histogram, if waits_for_cores(name) { noise } else { 0.0 }));
        }
    }
    stages
}

/// Every histogram of a run by what it is of: response and service over all shards, the source's, and each shard's stages.
fn tagged(
    is_paced: bool,
    sums: &Sums,
    source: &SourceReport,
    shards: &[Box<ShardReport>],
) -> Vec<(String, Histogram<u64>)> {
    let mut all = vec![("service".to_owned(), sums.service.clone())];
    if is_paced {
        all.insert(0, ("response".to_owned(), sums.response.clone()));
        all.push(("pacer_lag".to_owned(), source.pacer_lag.clone()));
        all.push(("backpressure".to_owned(), source.backpressure.clone()));
    }
    for shard in shards {
        let number = shard.shard;
        let own = [("response", &shard.response), ("service", &shard.service)].into_iter();
        for (name, histogram) in own.chain(shard.stages.by_name()) {
            all.push((format!("shard{number}.{name}"), histogram.clone()));
        }
    }
    all.retain(|(_, histogram)| !histogram.is_empty());
    all
}

fn pacer(source: &SourceReport, noise: f64) -> Pacer {
    let (first, last) = source.span_ns.unwrap_or((0, 0));
    let events = (source.pacer_lag.len() + source.backpressure.len()) as f64;
    let rate = |span_ns: u64| if span_ns == 0 { 0.0 } else { events * 1e9 / span_ns as f64 };
    Pacer {
        lag_ns: Summary::of(&source.pacer_lag, noise),
        missed: source.missed,
        requested_events_per_second: rate(source.last_due_ns.saturating_sub(first)),
        achieved_events_per_second: rate(last.saturating_sub(first)),
    }
}

/// How far the digest may be compared: what acted on the outputs that other runs need not share.
fn scope(sums: &Sums, workers: Option<&WorkersReport>) -> DigestScope {
    // A job that took too long is one whose outcome the machine's speed decided.
    let has_overrun = workers.is_some_and(WorkersReport::has_overrun);
    if sums.has_acted || has_overrun {
        DigestScope::ThisRun
    } else if sums.limits.iter().any(|(limit, _)| limit.is_shared()) {
        DigestScope::SameShards
    } else {
        DigestScope::Any
    }
}

/// Where and how the loops ran.
struct Placed {
    cores: Vec<usize>,
    is_pinned: bool,
    driver: &'static str,
    shards: usize,
    idle: String,
}

/// Names of the idle strategies, each once.
fn idle(idles: &[Idle]) -> String {
    let mut names: Vec<&str> = Vec::new();
    for idle in idles {
        if !names.contains(&idle.name()) {
            names.push(idle.name());
        }
    }
    names.join(" + ")
}

fn manifest(
    request: &Request,
    machine: &Machine,
    placed: &Placed,
    captures: &[crate::ingest::CaptureStats],
    history: &[Listed],
) -> Manifest {
    let sha256 = |path: &str| request.sha256.get(path).cloned();
    let backfill = history.iter();
    let backfill =
        backfill.map(|tape| BackfillTape { path: tape.path.clone(), sha256: sha256(&tape.path), events: tape.events });
    let captures: Vec<Capture> = captures
        .iter()
        .map(|capture| Capture {
            path: capture.path.clone(),
            sha256: sha256(&capture.path),
            events: capture.events,
            symbols: capture.symbols,
            first_ts: capture.span.map(|span| span.0),
            last_ts: capture.span.map(|span| span.1),
            format: capture.format.to_owned(),
            generated: capture.generated,
        })
        .collect();
    Manifest {
        backfill: backfill.collect(),
        config_sha256: request.config_sha256.clone(),
        driver: placed.driver.to_owned(),
        shards: placed.shards,
        cores: placed.cores.iter().filter_map(|core| u32::try_from(*core).ok()).collect(),
        pinned: placed.is_pinned,
        speed: match request.pace {
            Pace::Speed(times) => Speed::Times(times),
            Pace::Rate(_) => Speed::Times(1.0),
            Pace::Max => Speed::Max,
        },
        rate: match request.pace {
            Pace::Rate(rate) => Some(rate),
            Pace::Speed(_) | Pace::Max => None,
        },
        arrivals: match (request.pace, request.arrivals) {
            (Pace::Rate(_), Arrivals::Poisson) => "poisson",
            (Pace::Rate(_), Arrivals::Constant) => "constant",
            _ => "captured",
        },
        warmup_ns: request.warmup_ns,
        cpu: machine.cpu.clone().ok(),
        kernel: machine.kernel.clone().ok(),
        clocksource: machine.clocksource.clone().ok(),
        commit: request.commit.clone(),
        batch_limit: BATCH_SLOTS,
        generated: captures.iter().any(|capture| capture.generated),
        overload: match request.overload {
            Overload::Wait => "wait".to_owned(),
            Overload::Live => "live".to_owned(),
        },
        idle: placed.idle.clone(),
        loops: request.passes,
        captures,
    }
}

/// What each core went through.
fn cores(run: &Run) -> Vec<CoreEvidence> {
    let gaps = |core: &CoreReport| -> Option<GapDetector> {
        core.stations.first().map(|station| match station {
            StationReport::Source(source) => source.gaps.clone(),
            StationReport::Shard(shard) => shard.gaps.clone(),
        })
    };
    run.cores
        .iter()
        .zip(&run.steal_ns)
        .map(|(core, steal_ns)| {
            let role: Vec<String> = core.plan.seats.iter().map(ToString::to_string).collect();
            let gaps = gaps(core);
            let yields: u64 = core
                .stations
                .iter()
                .map(|station| if let StationReport::Source(source) = station { source.yields } else { 0 })
                .sum();
            let count = |pick: fn(&GapDetector) -> u64| gaps.as_ref().map_or(0, pick);
            CoreEvidence {
                core: core.plan.core.and_then(|core| u32::try_from(core).ok()),
                role: role.join(" + "),
                elapsed_ns: core.elapsed_ns,
                watched_ns: count(GapDetector::watched),
                gaps: count(GapDetector::count),
                gap_ns: count(GapDetector::total),
                longest_gap_ns: count(GapDetector::longest),
                steal_ns: *steal_ns,
                involuntary_switches: core.involuntary_switches,
                yields: core.yields + yields,
                probe: core.probe,
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_of_the_sources_core_counts_for_the_samples_of_every_shard_and_once() {
        let counted = |cores: &[usize], shards, source, of_shards: &[u64]| {
            let plan = Plan::new(cores, None, None, shards, true).unwrap();
            samples_in_gaps(&plan, source, of_shards.iter().copied().enumerate())
        };
        // Alone on its core: nobody else sees its gaps.
        assert_eq!(counted(&[0, 1, 2], None, 7, &[1, 2]), 10);
        // With shard 0, which sees what the source sees, for its own samples only.
        assert_eq!(counted(&[0, 1], Some(2), 7, &[4, 2]), 9);
        assert_eq!(counted(&[0, 1], Some(3), 7, &[2, 3, 2]), 10, "shard 1 has the other core");
        assert_eq!(counted(&[0], None, 7, &[7]), 7);
    }
}
