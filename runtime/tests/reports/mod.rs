//! Reports of runs that never were, for golden files. Not every test uses all of them.
#![allow(dead_code)]

use hdrhistogram::Histogram;
use std::collections::BTreeMap;
use tapeline_runtime::jitter::IdleProbe;
use tapeline_runtime::jobs::{KindReport, WorkersReport};
use tapeline_runtime::report::health::FindingReport;
use tapeline_runtime::report::latency::{new_histogram, stage_histogram};
use tapeline_runtime::report::requests::{JobsReport, Waited};
use tapeline_runtime::report::{
    BackfillTape, BadLine, BadPacket, Capture, CaptureTally, CoreEvidence, DeadLetterCount, Digest, DigestScope,
    Events, HandlerReport, HealthReport, Latency, LimitHit, LogCounts, Manifest, MemoryReport, Named, Pacer,
    RateReport, Report, Requests, Retries, SlowEvent, Speed, Summary, TimelineReport, Verdict,
};
use tapeline_runtime::timeline::Timeline;

/// 20,000 values with a long tail, from a generator of our own: they are the same everywhere.
pub(crate) fn samples() -> Vec<u64> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    // A random number of random bits: each power of two is half as likely as the one before.
    (0..20_000).map(|_| 200 + ((next() & 0x3ff) << next().trailing_zeros().min(20))).collect()
}

pub(crate) fn filled(mut histogram: Histogram<u64>, divide: u64) -> Histogram<u64> {
    for value in samples() {
        histogram.saturating_record(value / divide);
    }
    histogram
}

pub(crate) fn summary(divide: u64) -> Summary {
    Summary::of(&filled(new_histogram(), divide), 0.0)
}

/// A run with one of everything.
pub(crate) fn eventful() -> Report {
    let stage = Summary::of(&filled(stage_histogram(), 7), 0.002);
    let few = {
        let mut histogram = stage_histogram();
        (0..99).for_each(|value| histogram.saturating_record(value * 1_000));
        Summary::of(&histogram, 0.0)
    };
    Report {
        tool: "tapeline",
        version: "0.1.0".to_owned(),
        command: "replay",
        manifest: Manifest {
            captures: vec![
                Capture {
                    path: "captures/spot_ethusdt.gz".to_owned(),
                    sha256: Some("ab".repeat(32)),
                    events: 30_183,
                    symbols: 1,
                    first_ts: Some(1_723_075_200_123_456_789),
                    last_ts: Some(1_723_075_799_987_654_321),
                    format: "binance".to_owned(),
                    generated: false,
                },
                Capture { path: "opening rush.tape".to_owned(), format: "tape".to_owned(), generated: true, ..Capture::default() },
            ],
            backfill: vec![
                BackfillTape {
                    path: "past/2024-08-07.tape".to_owned(),
                    sha256: Some("ef".repeat(32)),
                    events: Some(1_234_567),
                },
                BackfillTape { path: "past/live.tape".to_owned(), ..BackfillTape::default() },
            ],
            config_sha256: Some("cd".repeat(32)),
            driver: "threads".to_owned(),
            shards: 2,
            cores: vec![1, 2, 3],
            pinned: true,
            speed: Speed::Times(10.0),
            rate: None,
            cpu: Some("Test CPU 9000 @ 3.00GHz".to_owned()),
            kernel: Some("6.18.0-test".to_owned()),
            clocksource: Some("tsc".to_owned()),
            commit: None,
            batch_limit: 64,
            generated: true,
            overload: "wait".to_owned(),
            idle: "busy-spin".to_owned(),
            loops: 2,
            arrivals: "captured",
            warmup_ns: 500_000_000,
        },
        events: Events {
            offered: 1_060_366,
            accepted: 1_060_350,
            refused: 16,
            delivered: 1_060_300,
            coalesced: 0,
            expired: 3,
            refused_after_admission: 0,
            dead_lettered: 46,
            in_flight: 1,
            control: 12,
            refused_by: [("duplicate", 11), ("unknown_kind", 5)].into_iter().collect(),
        },
        kinds: [("trade", 406_106), ("quote", 624_077), ("book_level", 30_183)].into_iter().collect(),
        outputs: [("alert", 12), ("features", 600), ("signal", 7)].into_iter().collect(),
        limits_hit: vec![LimitHit { name: "staged_slots".into(), count: 2 }],
        ledger_balanced: true,
        interrupted: true,
        elapsed_ns: 60_012_345_678,
        events_per_second: 17_669.13,
        latency_ns: Latency {
            response: Some(summary(1)),
            service: summary(3),
            stages: [("ring wait", stage), ("admission", few), ("handlers", Summary::default())].into_iter().collect(),
        },
        pacer: Some(Pacer {
            lag_ns: summary(5),
            missed: 17,
            requested_events_per_second: 25_000.0,
            achieved_events_per_second: 17_669.13,
        }),
        saturated: true,
        verdict: Verdict {
            valid: false,
            reasons: vec![
                "pacer lag: its median of 41.2 µs is above 20.0 µs".to_owned(),
                "scheduler gaps: 9.88 % of the samples were due in one, above 1.00 % (1,234 scheduler gaps over 50.0 µs, \
                 the longest 12.3 ms)"
                    .to_owned(),
            ],
            notes: vec!["could not be read: governor: no such file".to_owned()],
        },
        digest: Digest(0x0123_4567_89ab_cdef),
        digest_scope: DigestScope::SameShards,
        tally: vec![CaptureTally {
            path: "captures/spot_ethusdt.gz".to_owned(),
            messages: BTreeMap::from([("bookTicker".to_owned(), 24_077), ("trade".to_owned(), 6_106)]),
            skipped: BTreeMap::from([("kline".to_owned(), 3)]),
            bad_lines: 12,
            first_bad_lines: vec![BadLine { line: 77, why: "no local time\u{1b}[2J".to_owned() }],
            packets: BTreeMap::from([("arp".to_owned(), 2), ("iex-tp".to_owned(), 3_736)]),
            bad_packets: 2,
            first_bad_packets: vec![BadPacket { packet: 9, offset: 12_345, why: "cut\u{7}".to_owned() }],
        }],
        input_errors: vec!["opening rush.tape: offset 4096: the block is cut short".to_owned()],
        measured_cores: vec![CoreEvidence {
            core: Some(1),
            role: "source".to_owned(),
            elapsed_ns: 61_500_000_000,
            watched_ns: 60_000_000_000,
            gaps: 1_234,
            gap_ns: 5_900_000_000,
            longest_gap_ns: 12_345_678,
            steal_ns: None,
            involuntary_switches: Some(5),
            yields: 9,
            probe: Some(IdleProbe { watched_ns: 100_000_000, ..IdleProbe::default() }),
        }],
        allocations: Some(0),
        retries: Retries {
            failures: 70,
            retries: 24,
            postponed: 0,
            held: 1_005,
            succeeded: 22,
            parked: 46,
            parked_by: [("attempts", 2), ("failed", 42), ("panicked", 2)].into_iter().collect(),
            refused_by: [("slots_full", 3)].into_iter().collect(),
        },
        backfill: None,
        spill: None,
        requests: Requests {
            asked: 1_204,
            refused_by: [("symbol_full", 4)].into_iter().collect(),
            queued: 1_000,
            merged: 150,
            joined: 50,
            served: 980,
            failed: 12,
            expired: 7,
            dropped: 1,
            unfinished: 0,
            retries: 30,
            replies_failed: 2,
            wait_ns: Some(Waited { count: 1_010, p50: 700_000, p99: 4_000_000, max: 900_000_000 }),
            jobs: Some(JobsReport { limit: 24, grown: 3, shrunk: 1, full: 40, replies_lost: 0, stray_ends: 2 }),
            workers: Some(WorkersReport {
                threads: 4,
                kinds: vec![KindReport {
                    name: "pricer",
                    job: 16,
                    done: 900,
                    failed: 3,
                    panicked: 2,
                    overran: 1,
                    unserved: 0,
                    made: 7,
                    replaced: 3,
                    events: 1_800,
                    time_ns: 1_200_000_000,
                    longest_ns: 45_000_000,
                }],
                late: 1,
                left_behind: 1,
                reasons: vec!["worker pricer, job 16: panicked and is replaced: no \u{1b}[2Jprice".to_owned()],
                untold: 2,
            }),
        },
        handlers: vec![
            HandlerReport {
                name: "features".into(),
                counts: own_counts(&[("published", 600), ("unpublished", 0), ("skipped_trades", 1_234)]),
                calls: 1_060_350,
                timed_calls: 66_240,
                time_ns: Some(159_052_500),
                mean_ns: Some(150.0),
                longest_ns: Some(12_345),
                share: Some(0.4321),
                ..HandlerReport::default()
            },
            HandlerReport {
                name: "breakout".into(),
                calls: 406_106,
                timed_calls: 406_106,
                time_ns: Some(3_654_954_000),
                mean_ns: Some(9_000.0),
                longest_ns: Some(1_234_567),
                share: Some(0.512),
                budget_ns: Some(10_000),
                overruns: 17,
                failed: 68,
                panicked: 2,
                ..HandlerReport::default()
            },
            HandlerReport { name: "of_another_make".into(), ..HandlerReport::default() },
        ],
        topics: vec![],
        watermarks: vec![],
        dead_letters: vec![
            DeadLetterCount { handler: "breakout".to_owned(), kind: "trade", error: Some(7), panicked: false, count: 44 },
            DeadLetterCount { handler: "breakout".to_owned(), kind: "news", error: None, panicked: true, count: 2 },
        ],
        health: HealthReport {
            state: "degraded",
            findings: vec![
                FindingReport {
                    component: "shard",
                    number: 1,
                    name: None,
                    state: "degraded",
                    reason: "stalled",
                    value: 1.25e9,
                    threshold: 1e9,
                },
                FindingReport {
                    component: "shard",
                    number: 0,
                    name: None,
                    state: "degraded",
                    reason: "error_rate",
                    value: 0.0234,
                    threshold: 0.01,
                },
                FindingReport {
                    component: "job",
                    number: 16,
                    name: Some("pricer"),
                    state: "degraded",
                    reason: "overrun",
                    value: 0.0125,
                    threshold: 0.01,
                },
            ],
        },
        rates: [
            ("events", RateReport { s1: 25_000.0, s10: 17_669.13, s60: 17_001.5, busiest_50ms: 4_321 }),
            ("alerts", RateReport::default()),
        ]
        .into_iter()
        .collect(),
        memory: MemoryReport {
            resident_most: Some(123_456_789),
            resident_peak: Some(130_000_000),
            structures: [("dedup", 11_141_120), ("history", 1_310_720)].into_iter().collect(),
        },
        log: LogCounts { written: 12, dropped: 3 },
        timeline: TimelineReport::of(&timeline(), 0.000_5),
        slowest: vec![
            SlowEvent {
                response_ns: 18_000_123,
                at_ns: 2_530_000_000,
                kind: "trade",
                symbol: "ETHUSDT".to_owned(),
                source: "binance.spot.trade".to_owned(),
                seq: 1_234_567_890,
                part: 0,
                shard: 1,
                lag_ns: 5_960_000,
                ring_wait_ns: Some(12_017_000),
                service_ns: 23_123,
                batch: 64,
                gap_ns: 1_930_000,
                faults: Some(2),
                waited_ns: Some(1_900_000),
            },
            SlowEvent {
                response_ns: 7_000,
                at_ns: 3_000,
                kind: "quote",
                symbol: "<B&H>".to_owned(),
                source: "x".to_owned(),
                seq: 7,
                part: 3,
                shard: 0,
                lag_ns: 0,
                ring_wait_ns: Some(5_000),
                service_ns: 2_000,
                batch: 1,
                gap_ns: 0,
                faults: None,
                waited_ns: None,
            },
        ],
    }
}

/// An event each 100 us for a tenth of a second, with a stall.
pub(crate) fn timeline() -> Timeline {
    let mut timeline = Timeline::new();
    // Some thousand in each step, so that each tells its p99, but for the last tenth, which is thin.
    for event in (0..90_000u64).chain((90_000..100_000).step_by(100)) {
        let due = 40_000_000 + event * 1_000;
        let response = if (30_000..50_000).contains(&event) { 92_000_000 - due } else { 3_000 + event / 100 % 700 };
        timeline.due(due, response);
        timeline.done(due + response, 1);
    }
    timeline
}

/// A run that has little to say: unpaced, valid, no captures that skip anything.
pub(crate) fn plain() -> Report {
    Report {
        manifest: Manifest {
            captures: vec![],
            backfill: vec![],
            speed: Speed::Max,
            generated: false,
            pinned: false,
            shards: 1,
            loops: 1,
            cpu: None,
            kernel: None,
            clocksource: None,
            config_sha256: None,
            commit: Some("abc1234".to_owned()),
            ..eventful().manifest
        },
        events: Events::default(),
        kinds: Named::new(),
        outputs: Named::new(),
        limits_hit: vec![],
        interrupted: false,
        latency_ns: Latency::default(),
        pacer: None,
        saturated: false,
        verdict: Verdict { valid: true, ..Verdict::default() },
        digest_scope: DigestScope::Any,
        tally: vec![],
        input_errors: vec![],
        measured_cores: vec![],
        allocations: None,
        retries: Retries::default(),
        backfill: None,
        spill: None,
        requests: Requests::default(),
        handlers: vec![],
        dead_letters: vec![],
        health: HealthReport { state: "ready", findings: vec![] },
        rates: Named::new(),
        memory: MemoryReport::default(),
        log: LogCounts::default(),
        timeline: None,
        slowest: vec![],
        ..eventful()
    }
}

pub(crate) fn own_counts(counts: &[(&'static str, u64)]) -> Named<u64> {
    let mut named = Named::new();
    counts.iter().for_each(|(name, count)| named.set(*name, *count));
    named
}
