//! Same input, same output: however the stream is cut into pushes and steps, for a static or a dynamic bus, and for any
//! number of shards.

#[path = "common/shard_rig.rs"]
mod shard_rig;
#[path = "common/talkers.rs"]
mod talkers;

use shard_rig::{MILLI, Outputs, Rig, SECOND, SYMBOLS_MAX, Sizes, feed, stream};
use talkers::{Chatter, Crosser};
use tapeline_core::bus::{Bus, BusBuilder, Chain};
use tapeline_core::catalog::Catalog;
use tapeline_core::event::Kind;
use tapeline_core::features::Engine;
use tapeline_core::limits::STAGED_SLOTS_MAX;
use tapeline_core::scanner::Scanner;
use tapeline_core::testing::{Prng, for_seeds};

fn fixed(catalog: &mut Catalog) -> Bus<impl Chain + use<>> {
    let bus = BusBuilder::new(SYMBOLS_MAX).then(Engine::new()).then(Scanner::default()).then(Chatter);
    bus.build(catalog).unwrap()
}

fn dynamic(catalog: &mut Catalog) -> Bus<impl Chain + use<>> {
    let bus = BusBuilder::new(SYMBOLS_MAX).dynamic(-1, Chatter).dynamic(2, Scanner::default());
    bus.dynamic(3, Engine::new()).build(catalog).unwrap()
}

fn mixed(catalog: &mut Catalog) -> Bus<impl Chain + use<>> {
    let bus = BusBuilder::new(SYMBOLS_MAX).then(Scanner::default()).dynamic(0, Chatter);
    bus.dynamic(1, Engine::new()).build(catalog).unwrap()
}

fn run<C: Chain>(
    bus: impl Fn(&mut Catalog) -> Bus<C>,
    events: &[Vec<tapeline_core::event::Slot>],
    sizes: Sizes,
    prng: &mut Prng,
) -> shard_rig::Result {
    let mut rig = Rig::new(bus, events.to_vec(), sizes);
    rig.run(prng, 1_000_000);
    rig.result()
}

#[test]
fn req_3479_cuts_shards_and_kinds_of_bus_do_not_show_in_any_output() {
    for_seeds(0..10, |seed, prng| {
        let step_ns = [MILLI / 10, 20 * MILLI, 2 * SECOND][seed as usize % 3];
        let events = stream(seed, 1_500, step_ns, feed(3));
        let first = run(fixed, &events, Sizes { source_ring: 4096, ..Sizes::of(1) }, prng);
        assert_eq!(first.ledger.total().offered, 1_500);
        assert!(first.ledger.total().dead_lettered > 0 && first.timers_fired > 100, "{first:?}");
        for kind in [Kind::ALERT, Kind::SIGNAL, Kind::FEATURES] {
            assert!(first.derived.row(kind).offered > 0, "seed {seed}: no {}", kind.name());
        }
        for shards in 1..=3 {
            for cut in 0..3 {
                let room = if prng.one_in(2) { STAGED_SLOTS_MAX + 4 } else { 1 << 20 };
                let sizes = Sizes { source_ring: if cut == 0 { 64 } else { 512 }, room, ..Sizes::of(shards) };
                let what = format!("seed {seed}, cut {cut}, {sizes:?}");
                first.assert_same(&run(fixed, &events, sizes, prng), &format!("{what}, static"));
                first.assert_same(&run(dynamic, &events, sizes, prng), &format!("{what}, dynamic"));
                first.assert_same(&run(mixed, &events, sizes, prng), &format!("{what}, mixed"));
            }
        }
    });
}

/// The test above could not fail if the digest or the outputs did not see a change.
#[test]
fn a_change_of_one_event_of_a_thousand_shows() {
    let events = stream(1, 1_000, 20 * MILLI, feed(3));
    let mut prng = Prng::new(1);
    let first = run(fixed, &events, Sizes::of(2), &mut prng);
    let mut changed = events.clone();
    let trade = changed.iter().position(|event| event[0].kind() == Kind::TRADE).unwrap();
    changed[trade][0].payload[0] += 1;
    let other = run(fixed, &changed, Sizes::of(2), &mut prng);
    assert_ne!((first.digest, &first.outputs), (other.digest, &other.outputs));
    let mut swapped = events;
    let pair = (0..999).find(|&at| {
        let (a, b) = (&swapped[at][0], &swapped[at + 1][0]);
        a.symbol == b.symbol && a.ts_recv == b.ts_recv
    });
    swapped.swap(pair.unwrap(), pair.unwrap() + 1);
    let other = run(fixed, &swapped, Sizes::of(2), &mut prng);
    assert_ne!((first.digest, &first.outputs), (other.digest, &other.outputs));
    assert_ne!(first.outputs, Outputs::default());
}

/// With events for other symbols, timers, features and alerts together, and an outbox with room for one event.
#[test]
fn req_3479_everything_at_once_with_one_event_of_room() {
    let bus = |catalog: &mut Catalog| {
        let bus = BusBuilder::new(SYMBOLS_MAX).then(Engine::new()).then(Crosser).dynamic(0, Scanner::default());
        bus.dynamic(1, Chatter).build(catalog).unwrap()
    };
    for_seeds(0..6, |seed, prng| {
        let events = stream(seed, 600, 50 * MILLI, feed(4));
        let first = run(bus, &events, Sizes::of(1), prng);
        for shards in 1..=3 {
            let sizes = Sizes { source_ring: 64, mesh_ring: 64, room: STAGED_SLOTS_MAX, ..Sizes::of(shards) };
            first.assert_same(&run(bus, &events, sizes, prng), &format!("seed {seed}, {shards} shards"));
        }
    });
}
