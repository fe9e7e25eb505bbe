//! The dead letters as plain bytes: what is restored goes on equally; other capacities are named; damage is refused or harmless.

mod dead_twin;

use dead_twin::{ERRORS, Pair, SYMBOLS, names, policies};
use tapeline_core::dead::{Budget, Config, DeadLetters, Direction, Failure, Filter, Handle, Site, State, Subject};
use tapeline_core::event::{EventRef, Kind, Slot};
use tapeline_core::limits::SPAN_SLOTS_MAX;
use tapeline_core::retry::Policy;
use tapeline_core::testing::{Prng, every_cut_and_flip_is_refused, for_seeds, sealed_damage};
use tapeline_core::units::{SymbolId, UnixNanos};

const SMALL: Config = Config {
    entries: 6,
    slots: 9,
    holds: 3,
    held_per_symbol: 2,
    symbols: SYMBOLS,
    errors: ERRORS,
    seed: 11,
    instance: 0,
};

fn lived(config: Config, seed: u64, operations: usize) -> DeadLetters {
    let mut prng = Prng::new(seed);
    let mut pair = Pair::new(config, 1_000);
    (0..operations).for_each(|_| pair.step(&mut prng, true));
    pair.letters
}

fn snapshot(letters: &DeadLetters) -> Vec<u8> {
    let mut bytes = Vec::new();
    letters.snapshot(&mut bytes);
    bytes
}

fn restores(bytes: &[u8]) -> bool {
    DeadLetters::restore(&SMALL, &policies(), bytes).is_ok()
}

#[test]
fn a_restored_structure_goes_on_as_the_first_would() {
    for_seeds(0..60, |_, prng| {
        let mut pair = Pair::new(Config { entries: 20, slots: 60, held_per_symbol: 6, ..SMALL }, 1_000);
        for operation in 0..400 {
            pair.step(prng, true);
            if operation % 40 == 0 {
                // The twin does not know about it, and every handle, cursor and sweep is used on.
                pair.restart();
                pair.compare_all();
            }
        }
    });
}

#[test]
fn every_cut_and_every_flipped_bit_is_refused() {
    let config = Config { entries: 2, slots: 3, holds: 1, symbols: 3, errors: 1, ..SMALL };
    let letters = lived(config, 3, 40);
    assert!(!letters.is_empty());
    every_cut_and_flip_is_refused(&snapshot(&letters), |bytes| {
        DeadLetters::restore(&config, &policies(), bytes).is_ok()
    });
}

#[test]
fn other_capacities_settings_and_policies_are_named() {
    let bytes = snapshot(&lived(SMALL, 1, 30));
    let refused = |config: &Config| DeadLetters::restore(config, &policies(), &bytes).unwrap_err().to_string();
    let other = |what, here| format!("the snapshot is of a dead letter slab with {what}, this one has {here}");
    assert_eq!(
        refused(&Config { entries: 7, ..SMALL }),
        "the snapshot is of a dead letter slab for 6, this one is for 7"
    );
    assert_eq!(refused(&Config { slots: 8, ..SMALL }), other("event slots of 9", 8));
    assert_eq!(refused(&Config { holds: 4, ..SMALL }), other("holds of 3", 4));
    assert_eq!(refused(&Config { held_per_symbol: 3, ..SMALL }), other("events held per symbol of 2", 3));
    assert_eq!(refused(&Config { symbols: 5, ..SMALL }), other("symbols of 6", 5));
    assert_eq!(refused(&Config { errors: 4, ..SMALL }), other("registered errors of 3", 4));
    assert_eq!(refused(&Config { seed: 12, ..SMALL }), other("a seed of 11", 12));
    let mut others = policies();
    others.swap(1, 2);
    let error = DeadLetters::restore(&SMALL, &others, &bytes).unwrap_err().to_string();
    assert!(error.contains("retry policies with a hash of"), "{error}");
    let error = DeadLetters::restore(&SMALL, &[Policy::never()], &bytes).unwrap_err().to_string();
    assert!(error.contains("retry policies with a hash of"), "{error}");
    assert!(restores(&bytes));
}

/// Whatever a restore takes can be used to its end: nothing panics, loops, or is lost.
#[test]
fn sealed_damage_is_refused_or_harmless() {
    for life in [7, 8, 9] {
        let letters = lived(SMALL, life, 300);
        let bytes = snapshot(&letters);
        let (refused, taken) = sealed_damage(0..10, 300, &bytes, |bytes| {
            DeadLetters::restore(&SMALL, &policies(), bytes).is_ok_and(|letters| {
                use_up(letters);
                true
            })
        });
        assert!(refused > 500 && taken > 20, "{refused} {taken}");
    }
}

/// Lists, redrives, runs and refills everything.
fn use_up(mut letters: DeadLetters) {
    letters.assert_invariants();
    let mut slots = [Slot::ZERO; SPAN_SLOTS_MAX];
    for direction in [Direction::OldestFirst, Direction::NewestFirst] {
        let listed = letters.list(&Filter::ALL, direction, None, usize::MAX);
        assert_eq!(listed.count(), letters.len());
    }
    for symbol in 0..=SYMBOLS as u32 {
        let _ = letters.count(&Filter { symbol: Some(SymbolId(symbol)), ..Filter::ALL });
    }
    let mut sweep = letters.sweep(&Filter::ALL);
    let parked = letters.parked();
    let swept = letters.redrive_next(&mut sweep, Budget::UNLIMITED, UnixNanos(u64::MAX), |_| ());
    assert_eq!(swept.moved + swept.refused, parked);
    let mut runs = 0;
    while letters.waiting() + letters.held() > 0 {
        while let Some(handle) = letters.ready() {
            assert!(letters.event(handle, &mut slots).is_some());
            let _ = letters.fail_again(handle, Failure::Retry(2), names(SymbolId(1)), UnixNanos(3)).unwrap();
            runs += 1;
            assert!(runs < 10_000);
        }
        let waiting: Vec<Handle> =
            letters.iter().filter(|(_, e)| e.state() == State::Waiting).map(|(handle, _)| handle).collect();
        for handle in waiting {
            let _ = letters.success(handle).unwrap();
            runs += 1;
        }
    }
    letters.assert_invariants();
    let mut sweep = letters.sweep(&Filter::ALL);
    let _ = letters.purge_next(&mut sweep, Budget::UNLIMITED, |_| ());
    assert!(letters.is_empty() && letters.slots_used() == 0 && letters.holds() == 0);
    let event = dead_twin::event(1, 2, Kind::TRADE, 1);
    let site = Site { handler: 1, policy: 0 };
    for _ in 0..SMALL.entries {
        let event = Subject::New(EventRef::first(&event).unwrap());
        letters.fail(event, site, Failure::Panic, names(SymbolId(2)), UnixNanos(1)).unwrap();
    }
    letters.assert_invariants();
}
