//! Same input, same output: however the stream is cut into pushes and steps, for a static or a dynamic bus, and for any
//! number of shards.

#[path = "common/panics.rs"]
mod panics;
#[path = "common/shard_rig.rs"]
mod shard_rig;
#[path = "common/talkers.rs"]
mod talkers;

use bytemuck::{Pod, Zeroable};
use panics::{BOOM, silence};
use shard_rig::{MILLI, Outputs, Rig, SECOND, SYMBOLS_MAX, Sizes, feed, stream};
use std::sync::atomic::{AtomicU64, Ordering};
use talkers::{Chatter, Crosser};
use tapeline_core::bus::{Bus, BusBuilder, Chain};
use tapeline_core::catalog::Catalog;
use tapeline_core::event::payload::{Alert, Signal, Trade};
use tapeline_core::event::{EventBuf, EventRef, Flags, Kind, KindSet, Slot};
use tapeline_core::features::Engine;
use tapeline_core::handler::{Ctx, Handler, Verdict};
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

/// Lengths of the runs that were given, and how many there were.
static RUNS: AtomicU64 = AtomicU64::new(0);
static RUN_EVENTS: AtomicU64 = AtomicU64::new(0);

/// Takes trades and quotes as runs, split at random, or one by one. It publishes, sets timers, retries, fails and panics.
///
/// With `SLOPPY` it breaks every rule of `on_run` now and then: it consumes nothing, or too much, stages for an event that is not the
/// last, or never turns to the event at hand.
struct Runner<const RUNS: bool, const ROLLBACK: bool, const SLOPPY: bool>;

#[repr(C)]
#[derive(Clone, Copy, Default, Pod, Zeroable)]
struct Chain64 {
    chain: u64,
    events: u64,
}

impl<const R: bool, const ROLLBACK: bool, const SLOPPY: bool> Handler for Runner<R, ROLLBACK, SLOPPY> {
    type State = Chain64;
    const NAME: &'static str = "runner";
    const STATE_VERSION: u16 = 1;
    const ROLLBACK: bool = ROLLBACK;
    const TAKES_RUNS: bool = R;

    fn interests(&self) -> KindSet {
        KindSet::of(&[Kind::TRADE, Kind::QUOTE])
    }

    fn on_event(&self, st: &mut Chain64, ev: EventRef<'_>, cx: &mut Ctx<'_>) -> Verdict {
        let head = ev.head();
        let words = [st.chain, head.seq, head.ts_recv.0, cx.now().0];
        st.chain = tapeline_core::hash::stable(bytemuck::bytes_of(&words));
        st.events += 1;
        let rand = cx.rand(st.chain);
        let alert = Alert { value: st.events as f64, reference: (st.chain >> 12) as f64, ..Alert::default() };
        match rand % 400 {
            0..=19 => cx.alert(&alert).unwrap(),
            20..=25 => _ = cx.timer_at(cx.now().saturating_add(rand >> 20 & 0x3f_ffff), rand).unwrap(),
            26 if ROLLBACK && st.events > 200 => return Verdict::Retry(3),
            27..=29 if ROLLBACK => {
                cx.alert(&alert).unwrap();
                return Verdict::Fail(4);
            }
            30 => {
                cx.alert(&alert).unwrap();
                std::panic::panic_any(BOOM);
            }
            _ => {}
        }
        Verdict::Done
    }

    fn on_timer(&self, st: &mut Chain64, token: u64, cx: &mut Ctx<'_>) -> Verdict {
        st.chain ^= token;
        cx.signal(&Signal { strength: st.events as f64, ..Signal::default() }).unwrap();
        Verdict::Done
    }

    fn on_run(&self, st: &mut Chain64, run: &[EventRef<'_>], cx: &mut Ctx<'_>) -> (usize, Verdict) {
        assert!(run.len() > 1 && run.iter().all(|event| event.head().symbol == cx.symbol()));
        RUNS.fetch_add(1, Ordering::Relaxed);
        let rand = cx.rand(run.len() as u64);
        if SLOPPY {
            match rand % 6 {
                0 => return (0, Verdict::Done),
                1 => return (run.len() + 1, Verdict::Done),
                2 => {
                    st.chain = 1;
                    cx.alert(&Alert::default()).unwrap();
                    return (run.len(), Verdict::Done);
                }
                _ => {}
            }
        }
        let most = 1 + rand as usize % run.len();
        for (index, event) in run[..most].iter().enumerate() {
            cx.turn_to(*event);
            RUN_EVENTS.fetch_add(1, Ordering::Relaxed);
            let verdict = self.on_event(st, *event, cx);
            if verdict != Verdict::Done || cx.has_staged() {
                return (index + 1, verdict);
            }
        }
        (most, Verdict::Done)
    }
}

/// Hears what the runner says, so that its outputs cascade.
struct Echo;

impl Handler for Echo {
    type State = u64;
    const NAME: &'static str = "echo";
    const STATE_VERSION: u16 = 1;

    fn interests(&self) -> KindSet {
        KindSet::of(&[Kind::ALERT])
    }

    fn on_event(&self, st: &mut u64, _ev: EventRef<'_>, cx: &mut Ctx<'_>) -> Verdict {
        *st += 1;
        cx.signal(&Signal { strength: *st as f64, strategy: 1, ..Signal::default() }).unwrap();
        if st.is_multiple_of(11) { Verdict::Fail(11) } else { Verdict::Done }
    }
}

fn runner<const R: bool, const ROLLBACK: bool, const SLOPPY: bool>(
    catalog: &mut Catalog,
) -> Bus<impl Chain + use<R, ROLLBACK, SLOPPY>> {
    let bus = BusBuilder::new(SYMBOLS_MAX).then(Runner::<R, ROLLBACK, SLOPPY>).dynamic(0, Echo);
    bus.build(catalog).unwrap()
}

/// A stream with runs in it: a symbol has several events in a row, some of them twice, some refused.
fn runs_stream(seed: u64) -> Vec<Vec<Slot>> {
    let mut prng = Prng::new(seed);
    let mut symbol = 1;
    let mut events: Vec<Vec<Slot>> = Vec::new();
    for mut event in stream(seed, 1_200, [MILLI / 50, 2 * MILLI][seed as usize % 2], feed(2)) {
        if prng.one_in(12) {
            symbol = 1 + prng.in_range(0..3) as u32;
        }
        event[0].symbol = tapeline_core::units::SymbolId(symbol);
        if prng.one_in(40) {
            event[0].scale = 200;
        }
        events.push(event.clone());
        if prng.one_in(40) {
            events.push(event);
        }
    }
    events
}

#[test]
fn req_3482_a_handler_that_takes_runs_comes_to_the_same_as_one_by_one() {
    fn compare<const ROLLBACK: bool, const SLOPPY: bool>(seed: u64, prng: &mut Prng) {
        let events = runs_stream(seed);
        let first = run(runner::<false, ROLLBACK, false>, &events, Sizes::of(1), prng);
        assert!(first.ledger.total().refused > 20 && first.derived.row(Kind::SIGNAL).offered > 20);
        for shards in 1..=3 {
            for ring in [64, 1024] {
                let sizes = Sizes { source_ring: ring, ..Sizes::of(shards) };
                let (runs, taken) = (RUNS.load(Ordering::Relaxed), RUN_EVENTS.load(Ordering::Relaxed));
                let other = run(runner::<true, ROLLBACK, SLOPPY>, &events, sizes, prng);
                first.assert_same(&other, &format!("seed {seed}, {sizes:?}, rollback {ROLLBACK}, sloppy {SLOPPY}"));
                assert_eq!(first.clamped, other.clamped, "seed {seed}");
                let (runs, taken) = (RUNS.load(Ordering::Relaxed) - runs, RUN_EVENTS.load(Ordering::Relaxed) - taken);
                assert!(runs > 20 && (SLOPPY || taken > runs + 20), "{runs} runs of {taken} events");
            }
        }
    }
    silence();
    for_seeds(0..6, |seed, prng| {
        compare::<true, false>(seed, prng);
        compare::<false, false>(seed, prng);
        compare::<true, true>(seed, prng);
    });
}

/// Counts what it is given.
struct Historian;

impl Handler for Historian {
    type State = [u64; 2];
    const NAME: &'static str = "historian";
    const STATE_VERSION: u16 = 1;

    fn interests(&self) -> KindSet {
        KindSet::of(&[Kind::TRADE, Kind::QUOTE])
    }

    fn on_event(&self, st: &mut [u64; 2], ev: EventRef<'_>, cx: &mut Ctx<'_>) -> Verdict {
        let is_past = ev.head().flags.contains(Flags::HISTORICAL);
        st[usize::from(is_past)] += 1;
        if is_past {
            cx.signal(&Signal { strength: st[1] as f64, ..Signal::default() }).unwrap();
        }
        Verdict::Done
    }
}

/// Takes runs, and no events of the past.
struct LiveRuns;

impl Handler for LiveRuns {
    type State = u64;
    const NAME: &'static str = "live_runs";
    const STATE_VERSION: u16 = 1;
    const TAKES_RUNS: bool = true;
    const TAKES_HISTORY: bool = false;

    fn interests(&self) -> KindSet {
        KindSet::of(&[Kind::TRADE, Kind::QUOTE])
    }

    fn on_event(&self, st: &mut u64, ev: EventRef<'_>, cx: &mut Ctx<'_>) -> Verdict {
        *st = tapeline_core::hash::stable(bytemuck::bytes_of(&[*st, ev.head().seq, cx.now().0]));
        if st.is_multiple_of(5) {
            cx.alert(&Alert { value: (*st >> 12) as f64, ..Alert::default() }).unwrap();
        }
        Verdict::Done
    }
}

/// A backfill beside live events: absurd prices of long ago, between the events of `stream`.
fn with_history(events: &[Vec<Slot>], prng: &mut Prng) -> (Vec<Vec<Slot>>, u64) {
    let (mut all, mut past) = (Vec::new(), 0);
    for event in events {
        all.push(event.clone());
        for _ in 0..prng.in_range(0..3) {
            let trade =
                Trade { price: 1 + prng.in_range(0..1 << 50) as i64, size: 1 << 40, side: 1, ..Trade::default() };
            let mut old = EventBuf::new(&trade);
            old.flag(Flags::HISTORICAL);
            let head = old.head_mut();
            *head = Slot {
                kind: head.kind,
                span_lane: head.span_lane,
                flags: head.flags,
                payload: head.payload,
                ..event[0]
            };
            (head.ts_recv.0, head.seq) = (head.ts_recv.0 - 3_600 * SECOND, (1 << 40) + past);
            past += 1;
            all.push(old.slots().to_vec());
        }
    }
    (all, past)
}

#[test]
fn history_beside_live_events_changes_no_live_feature_alert_or_run() {
    let pipeline = |catalog: &mut Catalog| {
        let bus = BusBuilder::new(SYMBOLS_MAX).then(Historian).then(Engine::new()).dynamic(-1, Scanner::default());
        bus.build(catalog).unwrap()
    };
    let runs = |catalog: &mut Catalog| BusBuilder::new(SYMBOLS_MAX).then(LiveRuns).build(catalog).unwrap();
    // What depends on nothing but live events.
    let live = |result: shard_rig::Result| {
        let mut outputs = result.outputs;
        outputs.0.values_mut().for_each(|of_symbol| of_symbol.retain(|output| output[0].kind() != Kind::SIGNAL));
        outputs
    };
    for_seeds(0..6, |seed, prng| {
        let events = stream(seed, 1_000, [MILLI, 50 * MILLI][seed as usize % 2], feed(3));
        let (all, past) = with_history(&events, prng);
        let (without, with) = (run(pipeline, &events, Sizes::of(1), prng), run(pipeline, &all, Sizes::of(2), prng));
        assert_eq!(with.ledger.total().delivered, 1_000 + past, "seed {seed}: history is delivered to who takes it");
        assert_eq!(with.derived.row(Kind::SIGNAL).offered, past, "seed {seed}: the historian has had all of it");
        let (without, with) = (live(without), live(with));
        assert!(without.0.values().map(Vec::len).sum::<usize>() > 20, "seed {seed}");
        assert_eq!(without, with, "seed {seed}");

        let of_runs = |events: &[Vec<Slot>]| -> Vec<Vec<Slot>> {
            let mut events = events.to_vec();
            events.iter_mut().for_each(|event| event[0].source = feed(1));
            events
        };
        let (without, with) =
            (run(runs, &of_runs(&events), Sizes::of(1), prng), run(runs, &of_runs(&all), Sizes::of(1), prng));
        assert!(without.derived.row(Kind::ALERT).offered > 100, "seed {seed}");
        assert_eq!(without.outputs, with.outputs, "seed {seed}: runs");
    });
}
