//! The waiting room against its naive twin, compared after every operation; its snapshots.

mod lanes_twin;

use lanes_twin::{Life, SYMBOLS, random_bus};
use tapeline_core::event::Slot;
use tapeline_core::lanes::{Counts, Lanes, TopicStats};
use tapeline_core::section::{RestoreError, Section};
use tapeline_core::testing::{
    CountingAlloc, PrintOnPanic, Prng, allocations, every_cut_and_flip_is_refused, sealed_damage,
};
use tapeline_core::topics::{Bus, Registry};
use tapeline_core::units::UnixNanos;

#[global_allocator]
static ALLOC: CountingAlloc = CountingAlloc;

/// What happened, so that a run can show that it did.
#[derive(Default)]
struct Total {
    stats: TopicStats,
    counts: Counts,
    others: [u64; 6],
}

impl Total {
    fn add(&mut self, life: &Life) {
        let mut mine: [u64; 15] = bytemuck::cast(self.stats);
        mine.iter_mut().zip(bytemuck::cast::<_, [u64; 15]>(life.pair.totals())).for_each(|(mine, more)| *mine += more);
        self.stats = bytemuck::cast(mine);
        let mut mine: [u64; 5] = bytemuck::cast(self.counts);
        mine.iter_mut()
            .zip(bytemuck::cast::<_, [u64; 5]>(*life.pair.lanes.counts()))
            .for_each(|(mine, more)| *mine += more);
        self.counts = bytemuck::cast(mine);
        let pair = &life.pair;
        let others =
            [pair.restarts, pair.restarts_closing, pair.clears, pair.drains, pair.refused_opens, pair.readmitted];
        self.others.iter_mut().zip(others).for_each(|(mine, more)| *mine += more);
    }

    fn assert_all_happened(&self, at_least: u64) {
        let stats: [u64; 15] = bytemuck::cast(self.stats);
        let counts: [u64; 5] = bytemuck::cast(self.counts);
        for (at, count) in stats.into_iter().chain(counts).chain(self.others).enumerate() {
            assert!(count >= at_least, "number {at}: {count}; {:?} {:?} {:?}", self.stats, self.counts, self.others);
        }
    }
}

fn run(total: &mut Total, seed: u64, capacity: usize, operations: usize, invariants_every: usize) {
    let _named = PrintOnPanic(format!("seed={seed} capacity={capacity}"));
    let mut life = Life::new(seed, capacity);
    for operation in 0..operations {
        life.step();
        if operation % 16 == 0 || invariants_every == 1 {
            life.pair.compare();
        }
        if operation % invariants_every == 0 {
            life.pair.lanes.assert_invariants();
        }
    }
    life.pair.lanes.assert_invariants();
    total.add(&life);
}

#[test]
fn req_3387_3454_3486_agrees_with_its_twin_with_full_invariants_after_each_operation() {
    assert!(allocations() > 0, "allocations are counted");
    let mut total = Total::default();
    for round in 0..200 {
        run(&mut total, round, [1, 2, 3, 8, 20][round as usize % 5], 500, 1);
    }
    total.assert_all_happened(20);
}

/// Ten million operations, in two halves so that two cores share them.
fn half_of_ten_million(half: u64) {
    let mut total = Total::default();
    for round in 0..50 {
        run(&mut total, 100_000 + half * 50 + round, [12, 40][round as usize % 2], 100_000, 8_192);
    }
    total.assert_all_happened(1_000);
}

#[test]
fn req_3480_agrees_with_its_twin_over_ten_million_operations_a() {
    half_of_ten_million(0);
}

#[test]
fn req_3480_agrees_with_its_twin_over_ten_million_operations_b() {
    half_of_ten_million(1);
}

#[test]
#[ignore = "soak: 100 million operations; cargo test -p tapeline-core --test lanes_model -- --ignored"]
fn soak_agrees_with_its_twin_over_a_hundred_million_operations() {
    let mut total = Total::default();
    for round in 0..1_000 {
        run(&mut total, 1 << 32 | round, 4 << (round % 5), 100_000, 8_192);
    }
    total.assert_all_happened(10_000);
}

/// A waiting room after some random life, with its bus open, the bus it was made with, and its seed.
fn lived(from_seed: u64, capacity: usize) -> (Lanes, Bus, u64) {
    for seed in from_seed.. {
        let bus = random_bus(&mut Prng::new(seed), capacity);
        let mut life = Life::new(seed, capacity);
        for _ in 0..60 {
            life.step();
        }
        if life.pair.lanes.len() >= 2 && !life.pair.is_closed() {
            life.pair.lanes.assert_invariants();
            return (life.pair.lanes, bus, seed);
        }
    }
    unreachable!("some seed fills two places");
}

fn section(lanes: &Lanes) -> Vec<u8> {
    let mut out = Vec::new();
    lanes.snapshot(&mut out);
    out
}

#[test]
fn every_cut_and_every_flipped_bit_is_refused() {
    let (lanes, bus, seed) = lived(2, 2);
    let registry = || Registry::of(std::slice::from_ref(&bus)).unwrap();
    every_cut_and_flip_is_refused(&section(&lanes), |bytes| {
        // Most bytes fail here already, and a registry for each of them takes its time.
        Section::parse(bytes).is_ok() && Lanes::restore(registry(), SYMBOLS, seed, bytes).is_ok()
    });
}

#[test]
fn other_rooms_are_refused_by_name() {
    let (lanes, bus, seed) = lived(3, 4);
    let bytes = section(&lanes);
    let registry = || Registry::of(std::slice::from_ref(&bus)).unwrap();
    let error = Lanes::restore(registry(), SYMBOLS + 1, seed, &bytes).unwrap_err().to_string();
    assert_eq!(error, "the snapshot is of a lanes with symbols of 4, this one has 5");
    let mut other = bus.clone();
    other.topics[0].low = 0;
    other.topics[0].high = 1;
    other.topics[0].expire_after_ns = 77;
    let other = Registry::of(&[other]).unwrap();
    let error = Lanes::restore(other, SYMBOLS, seed, &bytes).unwrap_err();
    assert!(matches!(error, RestoreError::OtherSetting { setting: "buses with a hash of", .. }), "{error}");
    assert!(Lanes::restore(registry(), SYMBOLS, seed, &bytes).is_ok());
}

#[test]
fn sealed_damage_is_found_by_validation_or_harmless() {
    let (mut refused, mut taken) = (0, 0);
    for seed in [1, 4, 5] {
        let (lanes, bus, seed) = lived(seed, 6);
        let bytes = section(&lanes);
        let result = sealed_damage(0..10, 200, &bytes, |damaged| {
            let registry = Registry::of(std::slice::from_ref(&bus)).unwrap();
            let Ok(mut lanes) = Lanes::restore(registry, SYMBOLS, seed, damaged) else { return false };
            // What was changed can be any valid room: it must work.
            let (mut out, mut dues) = ([Slot::ZERO; 64], [0; 64]);
            let mut life = Life::new(seed, 6);
            for _ in 0..40 {
                let event = life.event();
                let _ = lanes.offer(
                    tapeline_core::event::EventRef::first(event.slots()).unwrap(),
                    0,
                    UnixNanos(2_000),
                    &mut |_, _| {},
                );
                lanes.assert_invariants();
            }
            while lanes.pop_batch(&mut out, &mut dues) > 0 {}
            assert_eq!(lanes.len(), 0);
            lanes.assert_invariants();
            true
        });
        refused += result.0;
        taken += result.1;
    }
    assert!(refused > 500 && taken > 500, "refused={refused} taken={taken}");
}
