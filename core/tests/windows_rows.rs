//! Bad input of the windows, their snapshots, and the rows of the requirements that they show alone.

use tapeline_core::limits::{NAME_BYTES_MAX, SERIES_MAX};
use tapeline_core::section::{self, RestoreError};
use tapeline_core::testing::{Prng, every_cut_and_flip_is_refused, sealed_damage};
use tapeline_core::units::UnixNanos;
use tapeline_core::windows::{Precision, Series, SeriesError, SeriesId, Window, Windows};

const SECOND_NS: u64 = 1_000_000_000;
/// The start of a step of every window.
const START: u64 = 1_700_000_001 * SECOND_NS;
const SERVICE: Series<'static> = Series::with_percentiles("service_ns", Precision { bits: 5, value_max: 1 << 40 });

fn ms(ms: u64) -> UnixNanos {
    UnixNanos(START + ms * 1_000_000)
}

#[test]
fn req_3552_rates_and_percentiles_over_1_10_and_60_seconds() {
    let mut windows = Windows::new(&[SERVICE]).unwrap();
    let id = windows.find("service_ns").unwrap();
    // A value each millisecond for two minutes: of 1,000 to 1,999 ns, then of ten times that.
    for at in 0..120_000 {
        let value = 1_000 + at % 1_000;
        windows.record(id, if at < 60_000 { value } else { value * 10 }, ms(at));
    }
    for window in Window::ALL {
        let reading = windows.read(id, window, ms(119_999)).unwrap();
        assert_eq!(reading.from.0 + reading.covered_ns, ms(119_999).0);
        assert!((reading.per_second() - 1_000.0).abs() < 2.0, "{window:?}: {}", reading.per_second());
        assert_eq!((reading.min, reading.max), (10_000, 19_990));
        assert!((reading.mean() - 14_995.0).abs() < 300.0, "{window:?}: {}", reading.mean());
        assert!((reading.sum_per_second() / reading.per_second() - reading.mean()).abs() < 1e-6);
        let [p50, p99, p100] = windows.percentiles(id, window, ms(119_999), [500_000, 990_000, 1_000_000]).unwrap();
        assert!((14_900..15_800).contains(&p50), "{window:?}: {p50}");
        assert!((19_800..=19_990).contains(&p99), "{window:?}: {p99}");
        assert_eq!(p100, 19_990);
    }
    // Half a minute later the short ones are empty, and the long one has what is left.
    let counts = Window::ALL.map(|window| windows.read(id, window, ms(149_999)).unwrap().count);
    assert_eq!(counts[..2], [0, 0]);
    assert!((27_000..=30_000).contains(&counts[2]), "{counts:?}");
    assert_eq!(windows.percentiles(id, Window::S1, ms(149_999), [500_000]), None);
}

#[test]
fn req_3467_3549_memory_is_bounded_by_registration_and_not_by_input() {
    let mut windows = Windows::new(&[SERVICE, Series::of_counts("events")]).unwrap();
    let bytes = windows.bytes();
    let mut prng = Prng::new(1);
    let mut now = START;
    for _ in 0..200_000 {
        now += prng.log_uniform(36);
        windows.record(SeriesId(prng.index(2) as u32), prng.log_uniform(64), UnixNanos(now));
    }
    assert_eq!(windows.bytes(), bytes);
    windows.assert_invariants();
    let cells = Windows::cells_of(Precision { bits: 5, value_max: 1 << 40 });
    assert_eq!(cells, 1_154);
    assert!((cells * 240..cells * 240 + 8_192).contains(&bytes), "{bytes}");
}

#[test]
fn a_value_is_in_a_window_until_its_step_leaves_it() {
    for window in Window::ALL {
        let mut windows = Windows::new(&[SERVICE]).unwrap();
        let id = SeriesId(0);
        let count = |windows: &Windows, ns: u64| windows.read(id, window, UnixNanos(START + ns)).unwrap().count;
        // The last nanosecond of a step, and the first of the next.
        windows.record(id, 1, UnixNanos(START + window.step_ns() - 1));
        windows.record(id, 1, UnixNanos(START + window.step_ns()));
        assert_eq!(count(&windows, window.ns() - 1), 2, "{window:?}");
        assert_eq!(count(&windows, window.ns()), 1, "{window:?}");
        assert_eq!(count(&windows, window.ns() + window.step_ns() - 1), 1, "{window:?}");
        assert_eq!(count(&windows, window.ns() + window.step_ns()), 0, "{window:?}");
    }
}

#[test]
fn an_idle_jump_of_any_length_leaves_nothing_behind() {
    for jump in [SECOND_NS, 60 * SECOND_NS, 61 * SECOND_NS, 1 << 62, u64::MAX - START] {
        let mut windows = Windows::new(&[SERVICE]).unwrap();
        for at in 0..2_000 {
            windows.record(SeriesId(0), 7, ms(at));
        }
        let now = UnixNanos((START + 2 * SECOND_NS).saturating_add(jump));
        windows.record(SeriesId(0), 9, now);
        windows.assert_invariants();
        let reading = windows.read(SeriesId(0), Window::S1, now).unwrap();
        assert_eq!((reading.count, reading.sum, reading.min), (1, 9, 9), "{jump}");
        assert_eq!(windows.percentiles(SeriesId(0), Window::S1, now, [0, 1_000_000]), Some([9, 9]));
    }
}

#[test]
fn time_that_goes_backward_is_taken_as_the_latest() {
    let mut windows = Windows::new(&[SERVICE]).unwrap();
    windows.record(SeriesId(0), 1, ms(10_000));
    windows.record(SeriesId(0), 2, ms(0));
    assert_eq!(windows.backward(), 1);
    let reading = windows.read(SeriesId(0), Window::S1, ms(0)).unwrap();
    assert_eq!((reading.count, reading.sum), (2, 3), "both now");
    windows.assert_invariants();
}

#[test]
fn sums_of_the_largest_values_do_not_overflow_and_what_is_beyond_is_counted() {
    let mut windows =
        Windows::new(&[Series::with_percentiles("small", Precision { bits: 3, value_max: 100 })]).unwrap();
    for _ in 0..10 {
        windows.record(SeriesId(0), u64::MAX, ms(0));
    }
    windows.record(SeriesId(0), 100, ms(0));
    let reading = windows.read(SeriesId(0), Window::S1, ms(0)).unwrap();
    assert_eq!(reading.sum, u128::from(u64::MAX) * 10 + 100);
    assert_eq!((reading.min, reading.max), (100, u64::MAX));
    let totals = windows.totals(SeriesId(0)).unwrap();
    assert_eq!((totals.values, totals.beyond, totals.lost), (11, 10, 0));
    windows.assert_invariants();
}

#[test]
fn registrations_are_checked_and_unknown_series_have_nothing() {
    let refused = |series: &[Series<'_>]| Windows::new(series).unwrap_err();
    let long = "x".repeat(NAME_BYTES_MAX + 1);
    assert_eq!(refused(&[Series::of_counts("")]), SeriesError::Name(String::new()));
    assert_eq!(refused(&[Series::of_counts(&long)]), SeriesError::Name(long.clone()));
    assert!(Windows::new(&[Series::of_counts(&long[1..])]).is_ok());
    assert_eq!(refused(&[SERVICE, SERVICE]), SeriesError::Duplicate("service_ns".to_owned()));
    let fine = Series::with_percentiles("fine", Precision { bits: 8, value_max: 1 });
    assert_eq!(refused(&[fine]), SeriesError::Precision { name: "fine".to_owned(), bits: 8 });
    let names: Vec<String> = (0..=SERIES_MAX).map(|index| index.to_string()).collect();
    let many: Vec<_> = names.iter().map(|name| Series::of_counts(name)).collect();
    assert_eq!(refused(&many), SeriesError::TooMany(SERIES_MAX + 1));
    assert!(Windows::new(&many[1..]).is_ok());

    let mut none = Windows::new(&[]).unwrap();
    assert!(!none.record(SeriesId(0), 1, ms(0)));
    assert_eq!(
        (none.read(SeriesId(0), Window::S1, ms(0)), none.totals(SeriesId(0)), none.name(SeriesId(0))),
        (None, None, None)
    );
    assert_eq!((none.bytes(), none.ids().len()), (0, 0));
    let counts = Windows::new(&[Series::of_counts("events")]).unwrap();
    assert_eq!(counts.percentiles(SeriesId(0), Window::S1, ms(0), [1]), None);
    assert_eq!(counts.name(SeriesId(0)), Some("events"));
    assert_eq!(counts.read(SeriesId(0), Window::S60, UnixNanos(0)).unwrap().per_second(), 0.0);
}

#[test]
#[should_panic(expected = "quantiles rise")]
fn quantiles_that_fall_are_a_panic() {
    let _ = Windows::new(&[SERVICE]).unwrap().percentiles(SeriesId(0), Window::S1, ms(0), [2, 1]);
}

#[test]
#[should_panic(expected = "quantiles are parts of 1000000")]
fn quantiles_above_one_are_a_panic() {
    let _ = Windows::new(&[SERVICE]).unwrap().percentiles(SeriesId(0), Window::S1, ms(0), [1_000_001]);
}

const SMALL: [Series<'static>; 2] =
    [Series::with_percentiles("small", Precision { bits: 1, value_max: 40 }), Series::of_counts("events")];

/// Windows after some random life.
fn lived(seed: u64) -> (Windows, Prng, u64) {
    let mut prng = Prng::new(seed);
    let mut windows = Windows::new(&SMALL).unwrap();
    let mut now = 0;
    for _ in 0..200 {
        now += prng.log_uniform(12);
        windows.record(SeriesId(prng.index(2) as u32), prng.log_uniform(8), ms(now));
    }
    (windows, prng, now)
}

fn section(windows: &Windows) -> Vec<u8> {
    let mut out = b"before".to_vec();
    windows.snapshot(&mut out);
    assert_eq!(out.len() - 6, windows.snapshot_bytes());
    out.split_off(6)
}

#[test]
fn restored_windows_go_on_as_the_first_would() {
    for seed in 0..100 {
        let (mut first, mut prng, mut now) = lived(seed);
        let bytes = section(&first);
        let mut second = Windows::restore(&SMALL, &bytes).unwrap();
        assert_eq!(section(&second), bytes);
        for _ in 0..100 {
            now += prng.log_uniform(12);
            let (id, value) = (SeriesId(prng.index(2) as u32), prng.log_uniform(8));
            assert_eq!(first.record(id, value, ms(now)), second.record(id, value, ms(now)));
            for window in Window::ALL {
                assert_eq!(first.read(id, window, ms(now)), second.read(id, window, ms(now)));
                let of = |windows: &Windows| windows.percentiles(id, window, ms(now), [100_000, 500_000, 999_000]);
                assert_eq!(of(&first), of(&second));
            }
        }
        assert_eq!(section(&first), section(&second));
        second.assert_invariants();
    }
}

#[test]
fn other_windows_are_refused_by_name() {
    let (windows, ..) = lived(1);
    let bytes = section(&windows);
    let fewer = Windows::restore(&SMALL[..1], &bytes).unwrap_err();
    assert_eq!(fewer, RestoreError::OtherCapacity { name: "windows", snapshot: 2, here: 1 });
    let other = [SMALL[1], SMALL[0]];
    assert!(matches!(Windows::restore(&other, &bytes), Err(RestoreError::OtherSetting { name: "windows", .. })));
    let mut version = bytes.clone();
    version[16] = 9;
    section::seal(&mut version);
    let error = Windows::restore(&SMALL, &version).unwrap_err();
    assert_eq!(error, RestoreError::OtherVersion { name: "windows", snapshot: 9, here: 1 });
}

#[test]
fn every_cut_and_every_flipped_bit_is_refused() {
    let series = [Series::of_counts("events")];
    let mut windows = Windows::new(&series).unwrap();
    windows.record(SeriesId(0), 5, ms(0));
    every_cut_and_flip_is_refused(&section(&windows), |bytes| Windows::restore(&series, bytes).is_ok());
}

#[test]
fn sealed_damage_is_found_by_validation_or_harmless() {
    let (windows, _, now) = lived(3);
    let (refused, taken) = sealed_damage(0..40, 200, &section(&windows), |bytes| {
        let Ok(mut windows) = Windows::restore(&SMALL, bytes) else { return false };
        for step in 0..20 {
            for id in [SeriesId(0), SeriesId(1)] {
                windows.record(id, step * 3, ms(now + step * 100));
                for window in Window::ALL {
                    let _ = windows.read(id, window, ms(now)).unwrap().mean();
                    let _ = windows.percentiles(id, window, ms(now + 5_000), [0, 500_000, 1_000_000]);
                }
            }
        }
        windows.assert_invariants();
        true
    });
    assert!(refused > 1_000 && taken > 10, "refused={refused} taken={taken}");
}
