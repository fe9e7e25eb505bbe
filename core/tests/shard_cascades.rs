//! What an event causes: cascades in order, a limit on their depth, and an outbox without room.

#[path = "common/shard_rig.rs"]
mod shard_rig;

use shard_rig::{Rig, SYMBOLS, SYMBOLS_MAX, Sizes, feed, stream};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use tapeline_core::bus::{BusBuilder, Chain};
use tapeline_core::catalog::Catalog;
use tapeline_core::event::payload::{Alert, Cause, Signal};
use tapeline_core::event::{EventRef, Kind, KindSet, Slot};
use tapeline_core::handler::{Ctx, Full, Handler, Verdict};
use tapeline_core::limits::{CASCADE_DEPTH_MAX, SPAN_SLOTS_MAX, STAGED_SLOTS_MAX};
use tapeline_core::shard::Limit;
use tapeline_core::testing::{Prng, for_seeds};
use tapeline_core::units::SymbolId;

type Log = Arc<Mutex<Vec<(usize, u16)>>>;

/// Publishes `width` alerts one deeper from each it sees, down to `depth`; a market event is depth 0. An alert's rule is
/// its number in the tree, counted breadth first.
struct Brancher<const N: usize> {
    log: Log,
    width: u16,
    depth: u16,
}

impl<const N: usize> Handler for Brancher<N> {
    type State = u64;
    const NAME: &'static str = ["brancher.first", "brancher.last"][N];
    const STATE_VERSION: u16 = 1;

    fn interests(&self) -> KindSet {
        const { KindSet::of(&[Kind::TRADE, Kind::QUOTE, Kind::ALERT]) }
    }

    fn on_event(&self, _st: &mut u64, ev: EventRef<'_>, cx: &mut Ctx<'_>) -> Verdict {
        let (number, depth) = ev.get::<Alert>().map_or((0, 0), |alert| (alert.rule, alert.reserved as u16));
        self.log.lock().unwrap().push((N, number));
        if depth < self.depth {
            for child in 1..=self.width {
                let alert =
                    Alert { rule: number * self.width + child, reserved: u32::from(depth) + 1, ..Alert::default() };
                cx.alert(&alert).unwrap();
            }
        }
        Verdict::Done
    }
}

fn run<const N: usize>(width: u16, depth: u16, events: Vec<Vec<Slot>>) -> (Rig<impl Chain>, Vec<(usize, u16)>) {
    let log = Log::default();
    // One of the two branches; the other, which comes before or after it on the bus, only looks on.
    let bus = |catalog: &mut Catalog| {
        let of = |at| if at == N { (width, depth) } else { (0, 0) };
        let first = Brancher::<0> { log: log.clone(), width: of(0).0, depth: of(0).1 };
        let last = Brancher::<1> { log: log.clone(), width: of(1).0, depth: of(1).1 };
        BusBuilder::new(SYMBOLS_MAX).then(first).dynamic(0, last).build(catalog).unwrap()
    };
    let mut rig = Rig::new(bus, events, Sizes::of(1));
    rig.run(&mut Prng::new(1), 100_000);
    let log = log.lock().unwrap().clone();
    (rig, log)
}

#[test]
fn derived_events_reach_handlers_before_and_after_their_own_in_the_order_of_publishing() {
    fn check<const N: usize>() {
        let (rig, log) = run::<N>(3, 3, stream(1, 20, 1_000, feed(2)));
        let tree: Vec<_> = (0..1 + 3 + 9 + 27).flat_map(|number| [(0, number), (1, number)]).collect();
        assert_eq!(log.len(), 20 * tree.len());
        assert!(log.chunks(tree.len()).all(|chunk| chunk == tree), "{:?}", &log[..tree.len()]);
        let derived = rig.result().derived.total();
        assert_eq!((derived.delivered, derived.in_flight), (20 * 39, 0));
        assert_eq!(rig.shards[0].limit_hits(Limit::CascadeDepth), 0);
    }
    check::<0>();
    check::<1>();
}

#[test]
fn a_cascade_that_is_too_deep_is_published_counted_and_not_handled() {
    let (rig, log) = run::<0>(1, 100, stream(2, 10, 1_000, feed(2)));
    let per_event = CASCADE_DEPTH_MAX + 1;
    assert_eq!(log.len(), 10 * 2 * per_event, "the event and the depths that are handled, by two handlers");
    assert_eq!(rig.shards[0].limit_hits(Limit::CascadeDepth), 10);
    let result = rig.result();
    assert_eq!(result.derived.total().delivered, 10 * per_event as u64);
    assert_eq!(result.outputs.0.values().map(Vec::len).sum::<usize>(), 10 * per_event, "the last is an output, too");
}

#[test]
fn each_output_of_a_root_has_an_index_of_its_own() {
    let (rig, _) = run::<1>(2, 5, stream(3, 50, 1_000, feed(2)));
    let outputs = rig.result().outputs;
    for outputs in outputs.0.values() {
        let mut seen = BTreeSet::new();
        for output in outputs {
            let cause = Cause::of(EventRef::first(output).unwrap()).unwrap();
            assert!(seen.insert((cause.root.seq, cause.index)), "{cause:?}");
        }
        let roots: BTreeSet<_> = seen.iter().map(|(seq, _)| *seq).collect();
        let whole = roots.iter().flat_map(|seq| (0..62).map(move |index| (*seq, index)));
        assert!(seen.iter().copied().eq(whole), "0 to 61 without a hole: what takes place has successive numbers");
    }
}

/// Fills the staging area to the last slot, now and then, from events and from what other symbols send.
struct Glutton {
    crosses: bool,
}

impl Handler for Glutton {
    type State = u64;
    const NAME: &'static str = "glutton";
    const STATE_VERSION: u16 = 1;
    const CROSSES_SYMBOLS: bool = true;

    fn interests(&self) -> KindSet {
        const { KindSet::of(&[Kind::TRADE, Kind::SIGNAL]) }
    }

    fn on_event(&self, st: &mut u64, ev: EventRef<'_>, cx: &mut Ctx<'_>) -> Verdict {
        *st += 1;
        let next = SymbolId(cx.symbol().0 % SYMBOLS + 1);
        if self.crosses && ev.kind() == Kind::TRADE {
            cx.publish_to(next, &Signal::default(), 0, &[*st; 7 * 30]).unwrap();
        }
        let mut published = 0u64;
        // Alerts of every length until nothing fits.
        let mut words = 7 * (SPAN_SLOTS_MAX - 2);
        while words > 0 || published == 0 {
            if cx.publish(&Alert { value: *st as f64, ..Alert::default() }, 0, &[published; 7 * 62][..words])
                == Err(Full)
            {
                if words == 0 {
                    break;
                }
                words = words.saturating_sub(7);
            }
            published += 1;
        }
        Verdict::Done
    }
}

#[test]
fn an_outbox_with_room_for_one_event_holds_the_shard_up_and_loses_nothing() {
    for crosses in [false, true] {
        let bus =
            |catalog: &mut Catalog| BusBuilder::new(SYMBOLS_MAX).then(Glutton { crosses }).build(catalog).unwrap();
        for_seeds(0..3, |seed, prng| {
            let events = stream(seed, 120, 200_000, feed(1));
            let mut wide = Rig::new(bus, events.clone(), Sizes { room: 1 << 22, ..Sizes::of(1) });
            wide.run(prng, 100_000);
            let wide = wide.result();
            for shards in 1..=2 {
                // The recorder panics at the first slot beyond its room.
                let sizes = Sizes { room: STAGED_SLOTS_MAX, mesh_ring: 64, ..Sizes::of(shards) };
                let mut rig = Rig::new(bus, events.clone(), sizes);
                rig.run(prng, 200_000);
                wide.assert_same(&rig.result(), &format!("seed {seed}, {shards} shards, crosses {crosses}"));
            }
        });
    }
}

#[test]
fn nothing_is_begun_while_the_outbox_has_no_room() {
    let bus =
        |catalog: &mut Catalog| BusBuilder::new(SYMBOLS_MAX).then(Glutton { crosses: false }).build(catalog).unwrap();
    let mut rig = Rig::new(bus, stream(4, 60, 1_000, feed(1)), Sizes { room: STAGED_SLOTS_MAX, ..Sizes::of(1) });
    rig.source.send(1_000);
    assert!(rig.source.is_done);
    let mut stuck = 0;
    while !rig.is_drained() {
        let used = rig.outs[0].used;
        let step = rig.step(0);
        if used > 0 {
            assert!(step.is_stuck && step.work == 0, "{step:?}");
            let before = rig.result();
            for _ in 0..3 {
                let _ = rig.step(0);
            }
            assert_eq!((rig.result().digest, rig.outs[0].used), (before.digest, used));
            stuck += 1;
            rig.outs[0].take();
        }
        assert!(rig.steps < 10_000);
    }
    assert!(stuck > 10, "{stuck}");
    assert_eq!(rig.result().ledger.total().delivered, 60);
}
