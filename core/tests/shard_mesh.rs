//! Events for other symbols: the same outputs for any number of shards and any interleaving, and no deadlock.

#[path = "common/shard_rig.rs"]
mod shard_rig;
#[path = "common/talkers.rs"]
mod talkers;

use shard_rig::{MILLI, Rig, SECOND, Sizes, feed, stream};
use talkers::{Chatter, Crosser};
use tapeline_core::bus::{Bus, BusBuilder, End, Link};
use tapeline_core::catalog::Catalog;
use tapeline_core::testing::{Prng, for_seeds};

type Both = Link<Link<End, Chatter>, Crosser>;

fn bus(catalog: &mut Catalog) -> Bus<Both> {
    BusBuilder::new(shard_rig::SYMBOLS_MAX).then(Chatter).then(Crosser).build(catalog).unwrap()
}

fn compare(seed: u64, count: usize, step_ns: u64) {
    let mut prng = Prng::new(seed);
    let events = stream(seed, count, step_ns, feed(2));
    let mut one = Rig::new(bus, events.clone(), Sizes::of(1));
    one.run(&mut prng, 200_000);
    let one = one.result();
    assert_eq!(one.ledger.total().offered, count as u64);
    assert!(one.derived.total().delivered > count as u64 / 10, "{:?}", one.derived.total());
    for shards in 1..=3 {
        for mesh_ring in [64, 128, 1024] {
            let source_ring = if prng.one_in(2) { 64 } else { 512 };
            let sizes = Sizes { mesh_ring, source_ring, ..Sizes::of(shards) };
            let mut rig = Rig::new(bus, events.clone(), sizes);
            rig.run(&mut prng, 400_000);
            one.assert_same(&rig.result(), &format!("seed {seed}, {sizes:?}"));
        }
    }
}

#[test]
fn req_3479_outputs_are_the_same_for_any_number_of_shards() {
    for_seeds(0..12, |seed, _| compare(seed, 600, 300_000));
}

/// Time between events is far longer than the mesh delay: shards must not feel their way through it in steps of it.
#[test]
fn long_gaps_of_a_capture_cost_no_more_than_short_ones() {
    for_seeds(0..4, |seed, _| compare(seed, 100, 3_600 * SECOND));
}

#[test]
fn bursts_within_one_mesh_delay() {
    for_seeds(0..8, |seed, _| compare(seed, 600, MILLI / 200));
}
