//! Snapshots of the wheel: a restored wheel goes on as the first one would, and no bytes make a bad one.

mod wheel_twin;

use tapeline_core::section::{self, RestoreError};
use tapeline_core::units::UnixNanos;
use tapeline_core::wheel::{TimerHandle, Wheel};
use wheel_twin::{Rng, SeedOnPanic};

/// A wheel after some random life, with handles that are pending, stale and of late timers.
fn lived(seed: u64, capacity: usize, tick_ns: u64) -> (Wheel<u64>, Vec<TimerHandle>, u64) {
    let mut rng = Rng::new(seed);
    let mut wheel = Wheel::new(capacity, tick_ns);
    let mut handles = Vec::new();
    let mut now = 1 << 40;
    for i in 0..400 {
        let deadline = UnixNanos((now + rng.log_uniform(40)).saturating_sub(rng.log_uniform(24)));
        handles.extend(wheel.schedule(deadline, i));
        if rng.below(4) == 0 && !handles.is_empty() {
            let handle = handles[rng.below(handles.len() as u64) as usize];
            wheel.cancel(handle);
        }
        now += rng.log_uniform(30);
        let mut budget = rng.below(6) as usize;
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
        let _seed = SeedOnPanic(format!("seed={seed}"));
        let (mut first, handles, mut now) = lived(seed, capacity, tick_ns);
        let bytes = section(&first);
        let mut second = Wheel::<u64>::restore(capacity, tick_ns, &bytes).unwrap();
        assert_eq!(section(&second), bytes);
        for handle in handles {
            assert_eq!(first.get(handle), second.get(handle));
        }
        let mut rng = Rng::new(seed);
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
    assert_eq!(version, RestoreError::OtherVersion { name: "timing wheel", snapshot: 9, here: 2 });
}

#[test]
fn every_cut_and_every_flipped_bit_is_refused() {
    let (wheel, ..) = lived(2, 5, 1 << 50);
    let mut bytes = section(&wheel);
    for length in 0..bytes.len() {
        assert!(Wheel::<u64>::restore(5, 1 << 50, &bytes[..length]).is_err(), "cut to {length}");
    }
    for bit in 0..bytes.len() * 8 {
        bytes[bit / 8] ^= 1 << (bit % 8);
        assert!(Wheel::<u64>::restore(5, 1 << 50, &bytes).is_err(), "bit {bit}");
        bytes[bit / 8] ^= 1 << (bit % 8);
    }
    bytes.push(0);
    let need = bytes.len() - 1;
    let error = Wheel::<u64>::restore(5, 1 << 50, &bytes).unwrap_err();
    assert_eq!(error, RestoreError::Length { have: need + 1, need });
}

#[test]
fn sealed_damage_is_found_by_validation_or_harmless() {
    let (mut refused, mut harmless) = (0, 0);
    for seed in 0..40 {
        let _seed = SeedOnPanic(format!("seed={seed}"));
        let mut rng = Rng::new(seed);
        let (capacity, tick_ns) = (8, 1 << 40);
        let (wheel, handles, now) = lived(seed, capacity, tick_ns);
        let bytes = section(&wheel);
        for _ in 0..500 {
            let mut damaged = bytes.clone();
            // Whole words of 4 bytes, with values that indices and generations might have.
            for _ in 0..=rng.below(3) {
                let at = 40 + rng.below((damaged.len() - 44) as u64 / 4) as usize * 4;
                let word = match rng.below(4) {
                    0 => rng.next() as u32,
                    1 => u32::MAX,
                    2 => rng.below(300) as u32,
                    _ => u32::from_le_bytes(damaged[at..at + 4].try_into().unwrap()) ^ 1 << rng.below(32),
                };
                damaged[at..at + 4].copy_from_slice(&word.to_le_bytes());
            }
            section::seal(&mut damaged);
            match Wheel::<u64>::restore(capacity, tick_ns, &damaged) {
                Err(_) => refused += 1,
                // What was changed can be any valid wheel: a value, a time, a generation. It must work.
                Ok(mut wheel) => {
                    harmless += 1;
                    for handle in &handles {
                        wheel.cancel(*handle);
                    }
                    let mut left = wheel.len();
                    let mut last = 0;
                    for i in 0..4 {
                        if wheel.schedule(UnixNanos(now + i), i).is_ok() {
                            left += 1;
                        }
                    }
                    while let Some((at, _)) = wheel.pop_due(UnixNanos(u64::MAX)) {
                        assert!(at.0 >= last);
                        last = at.0;
                        left -= 1;
                    }
                    assert_eq!((left, wheel.len()), (0, 0));
                    wheel.assert_invariants();
                }
            }
        }
    }
    assert!(refused > 1_000 && harmless > 1_000, "refused={refused} harmless={harmless}");
}
