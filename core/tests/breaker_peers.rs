//! Bugs that other circuit breakers had, bad input, snapshots, and the rows of the requirements that breakers show alone.

use tapeline_core::breaker::{Admit, BreakerId, Breakers, Config, ConfigError, Noted, Permit, Share, State};
use tapeline_core::limits::{BREAKERS_MAX, NAME_BYTES_MAX};
use tapeline_core::section::{self, RestoreError};
use tapeline_core::testing::{Prng, every_cut_and_flip_is_refused, sealed_damage};
use tapeline_core::units::UnixNanos;

const SECOND_NS: u64 = 1_000_000_000;
const START: u64 = 1_700_000_000 * SECOND_NS;

fn s(seconds: u64) -> UnixNanos {
    UnixNanos(START + seconds * SECOND_NS)
}

/// Trips at the second failure, is open for 10 s, waits 5 s for a probe.
const CONFIG: Config = Config {
    failures_in_row: 2,
    share: None,
    open_ns: 10 * SECOND_NS,
    open_growth: 1,
    open_ns_max: 10 * SECOND_NS,
    probe_ns_max: 5 * SECOND_NS,
    successes: 1,
};
const ID: BreakerId = BreakerId(0);

fn table(config: Config) -> Breakers {
    Breakers::new(&[("sink", config)]).unwrap()
}

#[track_caller]
fn permit(table: &mut Breakers, now: UnixNanos) -> Permit {
    match table.admit(ID, now) {
        Admit::Yes(permit) => permit,
        refused => panic!("{refused:?} at {now:?}"),
    }
}

/// Open since second 0.
fn open(config: Config) -> Breakers {
    let mut table = table(config);
    while state(&table, s(0)) == State::Closed {
        let permit = permit(&mut table, s(0));
        table.failure(permit, s(0));
    }
    table
}

fn state(table: &Breakers, now: UnixNanos) -> State {
    table.assert_invariants();
    table.report(ID, now).unwrap().state
}

#[test]
fn opossum_119_half_open_admits_one_probe_and_not_all() {
    let mut table = open(CONFIG);
    let probe = permit(&mut table, s(10));
    for _ in 0..1_000 {
        assert_eq!(table.admit(ID, s(11)), Admit::Refused { until: s(15) });
    }
    assert_eq!(table.success(probe, s(12)), Noted::Closed);
    assert!(matches!(table.admit(ID, s(12)), Admit::Yes(_)));
}

#[test]
fn opossum_119_a_failed_probe_opens_again_whatever_the_share_is() {
    // The peer looked at the share of failures again, which had fallen below the threshold, and refused everything for ever.
    let share = Share { failures_per_mille: 900, calls_min: 10, window_ns: SECOND_NS };
    let mut table = open(Config { failures_in_row: 0, share: Some(share), ..CONFIG });
    let probe = permit(&mut table, s(10));
    assert_eq!(table.failure(probe, s(10)), Noted::Opened);
    assert_eq!(table.admit(ID, s(19)), Admit::Refused { until: s(20) });
    let probe = permit(&mut table, s(20));
    assert_eq!(table.success(probe, s(20)), Noted::Closed);
}

#[test]
fn opossum_276_a_failed_probe_counts_below_the_minimum_of_calls() {
    // The peer returned early while there were fewer calls than its minimum, and stayed half-open for ever.
    let share = Share { failures_per_mille: 1, calls_min: 1_000, window_ns: 10 };
    let mut table = open(Config { share: Some(share), ..CONFIG });
    for round in 1..20 {
        let probe = permit(&mut table, s(10 * round));
        assert_eq!(table.failure(probe, s(10 * round)), Noted::Opened);
        assert_eq!(state(&table, s(10 * round)), State::Open);
    }
}

#[test]
fn opossum_385_failures_that_were_on_their_way_do_not_hold_it_open() {
    // The peer cancelled its timer when a call that had begun before failed after it opened.
    let mut table = table(CONFIG);
    let permits: Vec<Permit> = (0..6).map(|_| permit(&mut table, s(0))).collect();
    let noted: Vec<Noted> = permits.into_iter().zip(0..).map(|(permit, at)| table.failure(permit, s(at))).collect();
    assert_eq!(noted, [Noted::Counted, Noted::Opened, Noted::Late, Noted::Late, Noted::Late, Noted::Late]);
    assert_eq!(table.report(ID, s(5)).unwrap().until, Some(s(11)), "ten seconds after it opened");
    assert_eq!(state(&table, s(11)), State::HalfOpen);
    let counts = table.report(ID, s(11)).unwrap().counts;
    assert_eq!((counts.left_behind, counts.late, counts.failures), (4, 4, 2));
}

#[test]
fn kubeflow_mcp_server_222_a_probe_without_a_verdict_frees_its_slot() {
    // The peer's slot was gone for good, and every call was refused until the process was started anew.
    let mut table = open(CONFIG);
    let lost = permit(&mut table, s(10));
    assert_eq!(table.admit(ID, s(14)), Admit::Refused { until: s(15) });
    let second = permit(&mut table, s(15));
    assert_eq!(table.report(ID, s(15)).unwrap().counts.probes_expired, 1);
    // The verdict of the first comes now, and is not taken for that of the second.
    assert_eq!(table.failure(lost, s(16)), Noted::Late);
    assert_eq!(state(&table, s(16)), State::HalfOpen);
    assert_eq!(table.abandon(second, s(16)), Noted::Counted, "given back at once");
    let third = permit(&mut table, s(16));
    assert_eq!(table.success(third, s(17)), Noted::Closed);
}

#[test]
fn kubeflow_mcp_server_222_an_abandoned_call_does_not_reset_the_failures() {
    let mut table = table(CONFIG);
    let [first, second, third] = [0; 3].map(|at| permit(&mut table, s(at)));
    assert_eq!(table.failure(first, s(0)), Noted::Counted);
    assert_eq!(table.abandon(second, s(0)), Noted::Counted);
    assert_eq!(table.failure(third, s(0)), Noted::Opened, "two failures in a row, with no success between");
}

#[test]
fn ray_65068_a_success_of_a_call_from_before_does_not_close_what_is_open() {
    let mut table = table(CONFIG);
    let slow = permit(&mut table, s(0));
    for _ in 0..2 {
        let permit = permit(&mut table, s(0));
        table.failure(permit, s(0));
    }
    assert_eq!(table.success(slow, s(1)), Noted::Late);
    assert_eq!(state(&table, s(1)), State::Open);
    assert_eq!(state(&table, s(10)), State::HalfOpen);
}

#[test]
fn openab_969_failures_while_it_is_open_do_not_move_its_end() {
    let mut table = open(CONFIG);
    for at in 0..10 {
        assert_eq!(table.admit(ID, s(at)), Admit::Refused { until: s(10) });
    }
    assert!(matches!(table.admit(ID, s(10)), Admit::Yes(_)));
}

#[test]
fn time_that_goes_backward_is_taken_as_the_latest() {
    let mut table = open(CONFIG);
    assert_eq!(table.admit(ID, s(9)), Admit::Refused { until: s(10) });
    assert_eq!(table.admit(ID, s(0)), Admit::Refused { until: s(10) });
    let probe = permit(&mut table, s(10));
    assert_eq!(table.failure(probe, s(0)), Noted::Opened);
    assert_eq!(table.admit(ID, s(0)), Admit::Refused { until: s(20) }, "ten seconds after the latest time");
    assert_eq!(table.backward(), 3);
}

#[test]
fn it_stays_open_longer_with_every_failed_probe_up_to_the_cap_and_closing_forgets() {
    let config = Config { open_growth: 3, open_ns_max: 100 * SECOND_NS, ..CONFIG };
    let mut table = open(config);
    let mut now = 0;
    for seconds in [10, 30, 90, 100, 100] {
        assert_eq!(table.admit(ID, s(now)), Admit::Refused { until: s(now + seconds) });
        now += seconds;
        let probe = permit(&mut table, s(now));
        assert_eq!(table.failure(probe, s(now)), Noted::Opened);
    }
    now += 100;
    let probe = permit(&mut table, s(now));
    assert_eq!(table.success(probe, s(now)), Noted::Closed);
    for _ in 0..2 {
        let permit = permit(&mut table, s(now));
        table.failure(permit, s(now));
    }
    assert_eq!(table.admit(ID, s(now)), Admit::Refused { until: s(now + 10) });
}

#[test]
fn it_closes_after_the_successes_it_needs_one_probe_at_a_time() {
    let mut table = open(Config { successes: 3, ..CONFIG });
    for expected in [Noted::Counted, Noted::Counted, Noted::Closed] {
        let probe = permit(&mut table, s(10));
        assert!(matches!(table.admit(ID, s(10)), Admit::Refused { .. }));
        assert_eq!(table.success(probe, s(10)), expected);
        table.assert_invariants();
    }
}

#[test]
fn a_share_trips_at_its_threshold_with_the_minimum_of_calls_inside_the_window() {
    let share = Share { failures_per_mille: 500, calls_min: 4, window_ns: 10 * SECOND_NS };
    let config = Config { failures_in_row: 0, share: Some(share), ..CONFIG };
    let verdicts = |times: &[(u64, bool)]| {
        let mut table = table(config);
        let mut last = Noted::Counted;
        for (at, failed) in times {
            let permit = permit(&mut table, s(*at));
            last = if *failed { table.failure(permit, s(*at)) } else { table.success(permit, s(*at)) };
        }
        last
    };
    assert_eq!(verdicts(&[(0, true), (0, true), (0, true)]), Noted::Counted, "too few calls");
    assert_eq!(verdicts(&[(0, false), (0, true), (0, false), (0, true)]), Noted::Opened, "half of them");
    assert_eq!(
        verdicts(&[(0, true), (0, true), (0, false), (0, false)]),
        Noted::Opened,
        "a success makes up the minimum"
    );
    assert_eq!(verdicts(&[(0, true), (0, true), (9, false), (9, true)]), Noted::Opened, "nine seconds are inside");
    assert_eq!(verdicts(&[(0, true), (0, true), (10, false), (10, true)]), Noted::Counted, "ten are outside");
}

#[test]
fn req_3484_3472_3456_breakers_are_made_at_start_read_by_index_and_reported_together() {
    let names = ["sink", "store", "backfill"];
    let mut table = Breakers::new(&names.map(|name| (name, CONFIG))).unwrap();
    let bytes = table.bytes();
    let store = table.find("store").unwrap();
    assert_eq!((store, table.find("nats")), (BreakerId(1), None));
    for _ in 0..2 {
        let Admit::Yes(permit) = table.admit(store, s(0)) else { panic!("closed") };
        table.failure(permit, s(0));
    }
    let states: Vec<_> = table.reports(s(1)).map(|report| (report.name, report.state.name())).collect();
    assert_eq!(states, [("sink", "closed"), ("store", "open"), ("backfill", "closed")]);
    assert_eq!(table.reports(s(1)).len(), 3);
    assert_eq!(table.bytes(), bytes, "nothing is added later");
}

#[test]
fn req_3395_a_failing_sink_trips_its_breaker_and_what_it_refuses_is_counted() {
    let mut table = open(CONFIG);
    for _ in 0..100 {
        assert!(matches!(table.admit(ID, s(1)), Admit::Refused { .. }));
    }
    let counts = table.report(ID, s(1)).unwrap().counts;
    assert_eq!((counts.trips, counts.refused, counts.admitted), (1, 100, 2));
}

#[test]
fn configurations_are_checked() {
    let refused = |config: Config| Breakers::new(&[("sink", config)]).unwrap_err().to_string();
    let share = Share { failures_per_mille: 500, calls_min: 1, window_ns: 10 };
    let with = |share: Share| Config { failures_in_row: 0, share: Some(share), ..CONFIG };
    assert!(Breakers::new(&[("sink", with(share))]).is_ok());
    for config in [
        Config { failures_in_row: 0, ..CONFIG },
        with(Share { failures_per_mille: 0, ..share }),
        with(Share { failures_per_mille: 1_001, ..share }),
        with(Share { calls_min: 0, ..share }),
        with(Share { window_ns: 9, ..share }),
        Config { open_ns: 0, ..CONFIG },
        Config { open_ns_max: CONFIG.open_ns - 1, ..CONFIG },
        Config { open_growth: 0, ..CONFIG },
        Config { probe_ns_max: 0, ..CONFIG },
        Config { successes: 0, ..CONFIG },
    ] {
        assert!(refused(config).starts_with("breaker \"sink\": "), "{}", refused(config));
    }
    let new = |names: &[&str]| Breakers::new(&names.iter().map(|name| (*name, CONFIG)).collect::<Vec<_>>());
    assert_eq!(new(&["a", "a"]).unwrap_err(), ConfigError::Duplicate("a".to_owned()));
    assert_eq!(new(&[""]).unwrap_err(), ConfigError::Name(String::new()));
    let long = "x".repeat(NAME_BYTES_MAX + 1);
    assert!(new(&[&long[1..]]).is_ok());
    assert_eq!(new(&[&long]).unwrap_err(), ConfigError::Name(long.clone()));
    let many: Vec<String> = (0..=BREAKERS_MAX).map(|index| index.to_string()).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    assert!(new(&many[1..]).is_ok());
    assert_eq!(new(&many).unwrap_err(), ConfigError::TooMany(BREAKERS_MAX + 1));
    assert!(Breakers::new(&[("sink", Config::default())]).is_ok());
}

#[test]
fn permits_of_another_table_are_refused_and_used_twice_are_late() {
    let mut one = open(CONFIG);
    let mut other = Breakers::new(&[("other", CONFIG), ("more", CONFIG)]).unwrap();
    let probe = permit(&mut one, s(10));
    let copy = probe.into_bytes();
    assert_eq!(other.success(Permit::from_bytes(copy), s(10)), Noted::Foreign);
    assert_eq!(one.success(Permit::from_bytes(copy), s(10)), Noted::Closed);
    assert_eq!(one.success(Permit::from_bytes(copy), s(10)), Noted::Late);
    assert_eq!(one.success(Permit::from_bytes([0; 16]), s(10)), Noted::Foreign);
    assert_eq!(one.success(Permit::from_bytes([0xff; 16]), s(10)), Noted::Foreign);
    assert_eq!(one.admit(BreakerId(1), s(10)), Admit::NoBreaker);
    assert_eq!((one.foreign(), other.foreign()), (3, 1));
    let mut none = Breakers::new(&[]).unwrap();
    assert_eq!(
        (none.admit(ID, s(0)), none.report(ID, s(0)), none.len(), none.is_empty()),
        (Admit::NoBreaker, None, 0, true)
    );
}

#[test]
fn the_last_instants_do_not_overflow() {
    let config = Config { open_ns_max: u64::MAX, open_growth: u32::MAX, probe_ns_max: u64::MAX, ..CONFIG };
    let mut table = table(config);
    let now = UnixNanos(u64::MAX - 1);
    for _ in 0..2 {
        let permit = permit(&mut table, now);
        table.failure(permit, now);
    }
    assert_eq!(table.admit(ID, now), Admit::Refused { until: UnixNanos(u64::MAX) });
    // What would end after the last instant does not end: nobody gets in before it is over.
    assert_eq!(table.admit(ID, UnixNanos(u64::MAX)), Admit::Refused { until: UnixNanos(u64::MAX) });
    table.assert_invariants();
}

fn configs() -> Vec<(&'static str, Config)> {
    let share = Share { failures_per_mille: 400, calls_min: 5, window_ns: 30 * SECOND_NS };
    vec![
        ("row", CONFIG),
        (
            "share",
            Config { failures_in_row: 0, share: Some(share), open_growth: 2, open_ns_max: SECOND_NS << 10, ..CONFIG },
        ),
        ("both", Config { failures_in_row: 4, share: Some(share), successes: 3, ..CONFIG }),
    ]
}

/// A table after some random life, and the permits that are out.
fn lived(seed: u64) -> (Breakers, Vec<[u8; 16]>, Prng, u64) {
    let mut prng = Prng::new(seed);
    let mut table = Breakers::new(&configs()).unwrap();
    let mut out = Vec::new();
    let mut now = 0;
    for _ in 0..400 {
        now += prng.in_range(0..4);
        live(&mut table, &mut out, &mut prng, s(now));
    }
    (table, out, prng, now)
}

fn live(table: &mut Breakers, out: &mut Vec<[u8; 16]>, prng: &mut Prng, now: UnixNanos) -> String {
    if prng.one_in(2) || out.is_empty() {
        let admit = table.admit(BreakerId(prng.index(4) as u32), now);
        let answer = format!("{admit:?}");
        if let Admit::Yes(permit) = admit {
            out.push(permit.into_bytes());
        }
        return answer;
    }
    let permit = Permit::from_bytes(out.swap_remove(prng.index(out.len())));
    let noted = match prng.index(5) {
        0..2 => table.failure(permit, now),
        2 => table.abandon(permit, now),
        _ => table.success(permit, now),
    };
    format!("{noted:?}")
}

fn section(table: &Breakers) -> Vec<u8> {
    let mut out = b"before".to_vec();
    table.snapshot(&mut out);
    assert_eq!(out.len() - 6, table.snapshot_bytes());
    out.split_off(6)
}

#[test]
fn a_restored_table_goes_on_as_the_first_would_and_takes_its_permits() {
    for seed in 0..200 {
        let (mut first, mut out, prng, mut now) = lived(seed);
        let bytes = section(&first);
        let mut second = Breakers::restore(&configs(), &bytes).unwrap();
        assert_eq!(section(&second), bytes);
        let (mut same_out, mut prngs) = (out.clone(), [prng.clone(), prng]);
        for step in 0..200 {
            now += step % 3;
            let answers = [
                live(&mut first, &mut out, &mut prngs[0], s(now)),
                live(&mut second, &mut same_out, &mut prngs[1], s(now)),
            ];
            assert_eq!(answers[0], answers[1], "seed {seed}");
        }
        assert_eq!(section(&first), section(&second));
        second.assert_invariants();
    }
    let none = Breakers::new(&[]).unwrap();
    assert!(Breakers::restore(&[], &section(&none)).is_ok());
}

#[test]
fn other_tables_are_refused_by_name() {
    let (table, ..) = lived(1);
    let bytes = section(&table);
    let fewer = Breakers::restore(&configs()[..2], &bytes).unwrap_err();
    assert_eq!(fewer, RestoreError::OtherCapacity { name: "breakers", snapshot: 3, here: 2 });
    let mut other = configs();
    other[1].1.successes += 1;
    let setting = Breakers::restore(&other, &bytes).unwrap_err();
    assert!(matches!(setting, RestoreError::OtherSetting { name: "breakers", .. }), "{setting}");
    let mut renamed = configs();
    renamed[2].0 = "neither";
    assert!(matches!(Breakers::restore(&renamed, &bytes), Err(RestoreError::OtherSetting { .. })));
    let mut version = bytes.clone();
    version[16] = 9;
    section::seal(&mut version);
    let error = Breakers::restore(&configs(), &version).unwrap_err();
    assert_eq!(error, RestoreError::OtherVersion { name: "breakers", snapshot: 9, here: 1 });
}

#[test]
fn every_cut_and_every_flipped_bit_is_refused() {
    let (table, ..) = lived(2);
    every_cut_and_flip_is_refused(&section(&table), |bytes| Breakers::restore(&configs(), bytes).is_ok());
}

#[test]
fn sealed_damage_is_found_by_validation_or_harmless() {
    let (mut refused, mut taken) = (0, 0);
    for life in 0..8 {
        let (table, out, _, now) = lived(life);
        let counts = sealed_damage(life * 100..life * 100 + 20, 200, &section(&table), |bytes| {
            let Ok(mut table) = Breakers::restore(&configs(), bytes) else { return false };
            for (index, bytes) in out.iter().enumerate() {
                let permit = Permit::from_bytes(*bytes);
                if index % 2 == 0 {
                    table.failure(permit, s(now))
                } else {
                    table.success(permit, s(now))
                };
            }
            let mut prng = Prng::new(life);
            let mut out = Vec::new();
            for step in 0..50 {
                live(&mut table, &mut out, &mut prng, s(now + step));
                table.assert_invariants();
            }
            assert_eq!(table.reports(UnixNanos(u64::MAX)).len(), 3);
            true
        });
        (refused, taken) = (refused + counts.0, taken + counts.1);
    }
    assert!(refused > 1_000 && taken > 1_000, "refused={refused} taken={taken}");
}
