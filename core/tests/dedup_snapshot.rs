//! Snapshots of the dedup window: a restored one goes on as the first one would, and no bytes make a bad one.

mod dedup_twin;

use dedup_twin::Life;
use tapeline_core::dedup::{DedupWindow, Seen};
use tapeline_core::event::Identity;
use tapeline_core::section::RestoreError;
use tapeline_core::testing::{Prng, every_cut_and_flip_is_refused, sealed_damage};
use tapeline_core::units::{SourceId, UnixNanos};

const NAME: &str = "dedup window";

/// A window after some random life, and its time.
fn lived(seed: u64, capacity: usize, window_ns: u64) -> DedupWindow {
    let mut life = Life::new(seed, capacity, window_ns, 1 << 40, u32::MAX - 20, false);
    for _ in 0..2_000 {
        life.step();
    }
    life.pair.compare_all();
    life.pair.window
}

fn section(window: &DedupWindow) -> Vec<u8> {
    let mut out = b"before".to_vec();
    window.snapshot(&mut out);
    assert_eq!(out.len() - 6, window.snapshot_bytes());
    out.split_off(6)
}

fn random_identity(prng: &mut Prng) -> Identity {
    Identity { seq: prng.in_range(0..100), source: SourceId(prng.index(3) as u8), ..Identity::default() }
}

#[test]
fn req_d3_a_restored_window_goes_on_as_the_first_would() {
    for seed in 0..100 {
        let capacity = [0, 1, 5, 64, 300][seed as usize % 5];
        let mut first = lived(seed, capacity, 1_000);
        let bytes = section(&first);
        let mut second = DedupWindow::restore(capacity, 1_000, &bytes).unwrap();
        assert_eq!(section(&second), bytes);
        assert_eq!((first.len(), first.counts()), (second.len(), second.counts()));
        let mut prng = Prng::new(seed);
        let mut now = 1 << 50;
        for _ in 0..500 {
            now += prng.log_uniform(10);
            let id = random_identity(&mut prng);
            let seen = first.seen_or_insert(id, UnixNanos(now));
            assert_eq!(seen, second.seen_or_insert(id, UnixNanos(now)));
        }
        assert_eq!(section(&first), section(&second));
    }
}

#[test]
fn other_windows_are_refused_by_name() {
    let bytes = section(&lived(1, 64, 1_000));
    let restore = |capacity, window_ns| DedupWindow::restore(capacity, window_ns, &bytes).unwrap_err();
    assert_eq!(restore(65, 1_000), RestoreError::OtherCapacity { name: NAME, snapshot: 64, here: 65 });
    let error = restore(64, 999).to_string();
    assert_eq!(error, "the snapshot is of a dedup window with a length in ns of 1000, this one has 999");
}

#[test]
fn every_cut_and_every_flipped_bit_is_refused() {
    let bytes = section(&lived(2, 3, 1_000));
    every_cut_and_flip_is_refused(&bytes, |bytes| DedupWindow::restore(3, 1_000, bytes).is_ok());
}

#[test]
fn sealed_damage_is_found_by_validation_or_harmless() {
    // Two windows: in the larger one most words are entries, in the smaller one more are numbers.
    let (mut refused, mut taken) = (0, 0);
    for (capacity, copies) in [(1, 400), (200, 400)] {
        let bytes = section(&lived(3, capacity, 1_000));
        let result = sealed_damage(0..20, copies, &bytes, |damaged| {
            let Ok(mut window) = DedupWindow::restore(capacity, 1_000, damaged) else { return false };
            // What was changed can be any valid window: it must work.
            let mut prng = Prng::new(1);
            let mut now = 1 << 40;
            for _ in 0..300 {
                now += prng.log_uniform(9);
                let id = random_identity(&mut prng);
                let first = window.seen_or_insert(id, UnixNanos(now));
                assert!(first != Seen::Exempt && window.contains(id, UnixNanos(now)) == (first != Seen::Unremembered));
                if prng.one_in(50) {
                    window.forget_source(SourceId(prng.index(3) as u8));
                }
            }
            window.assert_invariants();
            true
        });
        refused += result.0;
        taken += result.1;
    }
    assert!(refused > 1_000 && taken > 1_000, "refused={refused} taken={taken}");
}
