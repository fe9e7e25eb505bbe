//! Snapshots of the wheel: a restored wheel goes on as the first one would, and no bytes make a bad one.

use tapeline_core::section::{self, RestoreError};
use tapeline_core::testing::{PrintOnPanic, Prng, every_cut_and_flip_is_refused, sealed_damage};
use tapeline_core::units::UnixNanos;
use tapeline_core::wheel::{TimerHandle, Wheel};

/// A wheel after some random life, with handles that are pending, stale and of late timers.
fn lived(seed: u64, capacity: usize, tick_ns: u64) -> (Wheel<u64>, Vec<TimerHandle>, u64) {
    let mut rng = Prng::new(seed);
    let mut wheel = Wheel::new(capacity, tick_ns);
    let mut handles = Vec::new();
    let mut now = 1 << 40;
    for i in 0..400 {
        let deadline = UnixNanos((now + rng.log_uniform(40)).saturating_sub(rng.log_uniform(24)));
        handles.extend(wheel.schedule(deadline, i));
        if rng.in_range(0..4) == 0 && !handles.is_empty() {
            let handle = handles[rng.index(handles.len())];
            wheel.cancel(handle);
        }
        now += rng.log_uniform(30);
        let mut budget = rng.index(6);
        let _ = wheel.pop_due_within(UnixNanos(now), &mut budget);
    }
    // Some that are late, and stay.
    for i in 0..3 {
        handles.extend(wheel.schedule(UnixNanos(1_000 - i), i));
    }
    (wheel, handles, now)
}

fn section(wheel: &Wheel<u64>) -> Vec<u8> {
    let mut out = b"before".to_vec();
    wheel.snapshot(&mut out);
    assert_eq!(out.len() - 6, wheel.snapshot_bytes());
    out.split_off(6)
}

#[test]
fn a_restored_wheel_goes_on_as_the_first_would() {
    for seed in 0..200 {
        let capacity = [0, 1, 5, 64, 300][seed as usize % 5];
        let tick_ns = [1, 1_000, 1_000_000][seed as usize % 3];
        let _seed = PrintOnPanic(format!("seed={seed}"));
        let (mut first, handles, mut now) = lived(seed, capacity, tick_ns);
        let bytes = section(&first);
        let mut second = Wheel::<u64>::restore(capacity, tick_ns, &bytes).unwrap();
        assert_eq!(section(&second), bytes);
        for handle in handles {
            assert_eq!(first.get(handle), second.get(handle));
        }
        let mut rng = Prng::new(seed);
        for i in 0..300 {
            now += rng.log_uniform(36);
            let deadline = UnixNanos(now + rng.log_uniform(40));
            assert_eq!(first.schedule(deadline, i), second.schedule(deadline, i), "handles too");
            assert_eq!(first.pop_due(UnixNanos(now)), second.pop_due(UnixNanos(now)));
            assert_eq!(first.next_due_hint(), second.next_due_hint());
        }
        assert_eq!(section(&first), section(&second));
        second.assert_invariants();
    }
}

#[test]
fn other_wheels_are_refused_by_name() {
    let (wheel, ..) = lived(1, 64, 1_000);
    let bytes = section(&wheel);
    let restore = |capacity, tick_ns| Wheel::<u64>::restore(capacity, tick_ns, &bytes).unwrap_err();
    assert_eq!(restore(65, 1_000), RestoreError::OtherCapacity { name: "timing wheel", snapshot: 64, here: 65 });
    assert_eq!(restore(65, 1_000).to_string(), "the snapshot is of a timing wheel for 64, this one is for 65");
    let tick = restore(64, 999).to_string();
    assert_eq!(tick, "the snapshot is of a timing wheel with a tick in ns of 1000, this one has 999");
    let element = Wheel::<u32>::restore(64, 1_000, &bytes).unwrap_err();
    assert_eq!(element, RestoreError::OtherElement { name: "timing wheel", snapshot: 32, here: 28 });
    let mut other = bytes.clone();
    other[16] = 9;
    assert_eq!(Wheel::<u64>::restore(64, 1_000, &other).unwrap_err(), RestoreError::Damaged);
    section::seal(&mut other);
    let version = Wheel::<u64>::restore(64, 1_000, &other).unwrap_err();
    assert_eq!(version, RestoreError::OtherVersion { name: "timing wheel", snapshot: 9, here: 3 });
}

#[test]
fn every_cut_and_every_flipped_bit_is_refused() {
    let (wheel, ..) = lived(2, 5, 1 << 50);
    let bytes = section(&wheel);
    every_cut_and_flip_is_refused(&bytes, |bytes| Wheel::<u64>::restore(5, 1 << 50, bytes).is_ok());
    let long = [&bytes[..], &[0]].concat();
    let error = Wheel::<u64>::restore(5, 1 << 50, &long).unwrap_err();
    assert_eq!(error, RestoreError::Length { have: long.len(), need: bytes.len() });
}

#[test]
fn sealed_damage_is_found_by_validation_or_harmless() {
    let (mut refused, mut harmless) = (0, 0);
    for seed in 0..40 {
        let _seed = PrintOnPanic(format!("seed={seed}"));
        let (capacity, tick_ns) = (8, 1 << 40);
        let (wheel, handles, now) = lived(seed, capacity, tick_ns);
        let (no, yes) = sealed_damage(seed..seed + 1, 1_000, &section(&wheel), |bytes| {
            let Ok(mut wheel) = Wheel::<u64>::restore(capacity, tick_ns, bytes) else {
                return false;
            };
            // What was changed can be any valid wheel: a value, a time, a generation. It must work.
            wheel.assert_invariants();
            for handle in &handles {
                wheel.cancel(*handle);
            }
            let mut left = wheel.len();
            for i in 0..4 {
                left += usize::from(wheel.schedule(UnixNanos(now + i), i).is_ok());
            }
            let mut last = 0;
            while let Some((at, _)) = wheel.pop_due(UnixNanos(u64::MAX)) {
                assert!(at.0 >= last);
                last = at.0;
                left -= 1;
            }
            assert_eq!((left, wheel.len()), (0, 0));
            wheel.assert_invariants();
            true
        });
        refused += no;
        harmless += yes;
    }
    assert!(refused > 1_000 && harmless > 1_000, "refused={refused} harmless={harmless}");
}

/// The bytes of a small wheel, field by field: what another build has to write.
#[test]
fn golden_snapshot() {
    let mut wheel = Wheel::<u64>::new(2, 1_000);
    let _ = wheel.pop_due(UnixNanos(5_000));
    let handle = wheel.schedule(UnixNanos(6_500), 0x2a).unwrap();
    let bytes = section(&wheel);
    assert_eq!(bytes.len(), section::HEADER_BYTES + 20 * 8 + 2 * 32 + 2 * 4);
    let body = &bytes[section::HEADER_BYTES..];
    let number = |at: usize| u64::from_le_bytes(body[at * 8..at * 8 + 8].try_into().unwrap());
    let head: Vec<u64> = (0..9).map(number).collect();
    assert_eq!(head, [1_000, 5_000, 7_000, u64::MAX, 0, 0, 1, 0, 0], "tick now wake look cursor moves free late order");
    let node: [u32; 8] =
        std::array::from_fn(|i| u32::from_le_bytes(body[160 + i * 4..164 + i * 4].try_into().unwrap()));
    // T in ticks, the slot of tick 7 on both sides, the first generation, no order, the value.
    assert_eq!(node, [7, 0, 1 << 31 | 7, 1 << 31 | 7, 1, 0, 0x2a, 0]);
    assert_eq!(wheel.get(handle), Some((UnixNanos(7_000), &0x2a)));
}
