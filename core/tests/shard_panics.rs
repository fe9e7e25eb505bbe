//! A handler that panics or gives up: the others go on, nothing of the call is left, and the ledger knows.

#[path = "common/panics.rs"]
mod panics;
#[path = "common/shard_rig.rs"]
mod shard_rig;

use panics::{BOOM, silence};
use shard_rig::{MILLI, Rig, SYMBOLS, SYMBOLS_MAX, Sizes, feed, stream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tapeline_core::bus::{Bus, BusBuilder, Chain};
use tapeline_core::catalog::Catalog;
use tapeline_core::event::payload::{Alert, Signal};
use tapeline_core::event::{EventRef, Kind, KindSet, Slot};
use tapeline_core::handler::{Ctx, Handler, Verdict};
use tapeline_core::limits::STRIKES_MAX;
use tapeline_core::testing::{Prng, for_seeds};
use tapeline_core::units::SymbolId;

/// Where a [`Bomb`] goes off.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fuse {
    Event,
    Derived,
    Timer,
}

/// Counts its calls, publishes, sets timers; panics or fails at the calls from `from` to `to`, after its effects.
struct Bomb<const ROLLBACK: bool> {
    fuse: Fuse,
    from: u64,
    to: u64,
    /// Only for this symbol; 0 = any.
    symbol: u32,
    fails: bool,
    calls: Arc<AtomicU64>,
}

impl<const ROLLBACK: bool> Bomb<ROLLBACK> {
    fn light(&self, fuse: Fuse, cx: &Ctx<'_>) -> Verdict {
        if fuse != self.fuse || (self.symbol != 0 && cx.symbol() != SymbolId(self.symbol)) {
            return Verdict::Done;
        }
        let call = self.calls.fetch_add(1, Ordering::Relaxed) + 1;
        if (self.from..=self.to).contains(&call) {
            if self.fails {
                return Verdict::Fail(9);
            }
            std::panic::panic_any(BOOM);
        }
        Verdict::Done
    }
}

impl<const ROLLBACK: bool> Handler for Bomb<ROLLBACK> {
    type State = u64;
    const NAME: &'static str = "bomb";
    const STATE_VERSION: u16 = 1;
    const ROLLBACK: bool = ROLLBACK;

    fn interests(&self) -> KindSet {
        const { KindSet::of(&[Kind::TRADE, Kind::QUOTE, Kind::ALERT]) }
    }

    fn on_event(&self, st: &mut u64, ev: EventRef<'_>, cx: &mut Ctx<'_>) -> Verdict {
        *st += 1;
        cx.signal(&Signal { strategy: 77, strength: *st as f64, ..Signal::default() }).unwrap();
        cx.timer_at(cx.now().saturating_add(3 * MILLI), 0).unwrap();
        self.light(if ev.kind() == Kind::ALERT { Fuse::Derived } else { Fuse::Event }, cx)
    }

    fn on_timer(&self, st: &mut u64, _token: u64, cx: &mut Ctx<'_>) -> Verdict {
        *st += 1;
        cx.signal(&Signal { strategy: 78, strength: *st as f64, ..Signal::default() }).unwrap();
        self.light(Fuse::Timer, cx)
    }
}

/// Counts all it sees, before (0) and after (1) the bomb.
struct Witness<const N: usize>(Arc<[AtomicU64; 2]>);

impl<const N: usize> Handler for Witness<N> {
    type State = u64;
    const NAME: &'static str = ["witness.before", "witness.after"][N];
    const STATE_VERSION: u16 = 1;

    fn interests(&self) -> KindSet {
        const { KindSet::of(&[Kind::TRADE, Kind::QUOTE]) }
    }

    fn on_event(&self, _st: &mut u64, _ev: EventRef<'_>, cx: &mut Ctx<'_>) -> Verdict {
        self.0[N].fetch_add(1, Ordering::Relaxed);
        if N == 0 {
            cx.alert(&Alert { rule: 5, ..Alert::default() }).unwrap();
        }
        Verdict::Done
    }
}

struct Seen {
    result: shard_rig::Result,
    witnessed: [u64; 2],
    panicked: u64,
    failed: u64,
    quarantined: u64,
    skipped: u64,
}

fn run<const ROLLBACK: bool>(events: &[Vec<Slot>], fuse: Fuse, from: u64, to: u64, symbol: u32, fails: bool) -> Seen {
    silence();
    let (calls, seen) = (Arc::new(AtomicU64::new(0)), Arc::new([AtomicU64::new(0), AtomicU64::new(0)]));
    let bus = |catalog: &mut Catalog| -> Bus<_> {
        let bomb = Bomb::<ROLLBACK> { fuse, from, to, symbol, fails, calls: calls.clone() };
        let bus = BusBuilder::new(SYMBOLS_MAX).then(Witness::<0>(seen.clone())).then(bomb);
        bus.then(Witness::<1>(seen.clone())).build(catalog).unwrap()
    };
    let mut rig = Rig::new(bus, events.to_vec(), Sizes::of(1));
    run_to_end(&mut rig);
    let stats = rig.shards[0].handlers()[1].1;
    Seen {
        result: rig.result(),
        witnessed: [0, 1].map(|at: usize| seen[at].load(Ordering::Relaxed)),
        panicked: stats.panicked,
        failed: stats.failed,
        quarantined: stats.quarantined,
        skipped: stats.skipped,
    }
}

fn run_to_end<C: Chain>(rig: &mut Rig<C>) {
    rig.run(&mut Prng::new(rig.steps as u64), 100_000);
}

/// Strengths of the bomb's signals of one symbol: the number of calls that its state remembers.
fn states(result: &shard_rig::Result, symbol: u32) -> Vec<u64> {
    let outputs = result.outputs.0.get(&symbol).map_or(&[][..], Vec::as_slice);
    let signals = outputs.iter().filter_map(|output| EventRef::first(output).unwrap().get::<Signal>());
    signals.map(|signal| signal.strength as u64).collect()
}

fn panic_at_each_call<const ROLLBACK: bool>(fuse: Fuse) {
    const EVENTS: u64 = 150;
    let events = stream(1, EVENTS as usize, 500_000, feed(3));
    let whole = run::<ROLLBACK>(&events, fuse, 0, 0, 0, false);
    assert_eq!((whole.witnessed, whole.panicked), ([EVENTS; 2], 0));
    for k in 1..100 {
        let seen = run::<ROLLBACK>(&events, fuse, k, k, 0, false);
        assert_eq!(seen.witnessed, [EVENTS; 2], "call {k}: the others get every event");
        assert_eq!((seen.panicked, seen.quarantined, seen.skipped), (1, 0, 0), "call {k}");
        let (source, derived) = (seen.result.ledger.total(), seen.result.derived.total());
        assert_eq!(source.dead_lettered, u64::from(fuse == Fuse::Event), "call {k}");
        assert_eq!(derived.dead_lettered, u64::from(fuse == Fuse::Derived), "call {k}");
        assert_eq!((source.in_flight, source.accepted, derived.in_flight), (0, EVENTS, 0), "call {k}");
        // The signal of that call is missing, and its timer, which would have been one signal more.
        let lost_timers = u64::from(fuse != Fuse::Timer);
        assert_eq!(whole.result.timers_fired - seen.result.timers_fired, lost_timers, "call {k}");
        let signals = |of: &Seen| of.result.derived.row(Kind::SIGNAL).delivered;
        assert_eq!(signals(&whole) - signals(&seen), 1 + lost_timers, "call {k}");
        // The state goes on from where it was before the call, or from zero.
        let mut resets = 0;
        for symbol in 1..=SYMBOLS {
            let states = states(&seen.result, symbol);
            for pair in states.windows(2) {
                resets += u64::from(pair[1] == 1);
                assert!(pair[1] == pair[0] + 1 || (!ROLLBACK && pair[1] == 1), "call {k}, symbol {symbol}: {states:?}");
            }
        }
        assert!(resets <= u64::from(!ROLLBACK), "call {k}");
    }
}

#[test]
fn req_3385_a_panic_in_an_event_loses_that_call_only() {
    panic_at_each_call::<true>(Fuse::Event);
    panic_at_each_call::<false>(Fuse::Event);
}

#[test]
fn req_3385_a_panic_in_a_timer_loses_that_call_only() {
    panic_at_each_call::<true>(Fuse::Timer);
    panic_at_each_call::<false>(Fuse::Timer);
}

#[test]
fn req_3385_a_panic_in_a_derived_event_loses_that_call_only() {
    panic_at_each_call::<true>(Fuse::Derived);
    panic_at_each_call::<false>(Fuse::Derived);
}

#[test]
fn req_3385_three_strikes_quarantine_a_handler_for_that_symbol_only() {
    const EVENTS: u64 = 600;
    let events = stream(2, EVENTS as usize, 500_000, feed(3));
    for fuse in [Fuse::Event, Fuse::Derived, Fuse::Timer] {
        let whole = run::<true>(&events, fuse, 0, 0, 0, false);
        let seen = run::<true>(&events, fuse, 5, u64::MAX, 4, false);
        assert_eq!(seen.witnessed, [EVENTS; 2], "{fuse:?}: the others get every event");
        assert_eq!((seen.panicked, seen.quarantined), (u64::from(STRIKES_MAX), 1), "{fuse:?}");
        let dead = [seen.result.ledger.total().dead_lettered, seen.result.derived.total().dead_lettered];
        let strikes = u64::from(STRIKES_MAX);
        let expected = match fuse {
            Fuse::Event => [strikes, 0],
            Fuse::Derived => [0, strikes],
            Fuse::Timer => [0, 0],
        };
        assert_eq!(dead, expected, "{fuse:?}");
        assert!(seen.skipped > 10, "{fuse:?}: {} events and timers were not given", seen.skipped);
        for symbol in (1..=SYMBOLS).filter(|symbol| *symbol != 4) {
            let (whole, seen) = (states(&whole.result, symbol), states(&seen.result, symbol));
            assert_eq!(whole, seen, "{fuse:?}: symbol {symbol} is served as before");
        }
        assert!(states(&seen.result, 4).len() < states(&whole.result, 4).len());
    }
}

#[test]
fn a_handler_that_fails_leaves_neither_effects_nor_state_and_the_event_is_dead_lettered() {
    const EVENTS: u64 = 150;
    let events = stream(3, EVENTS as usize, 500_000, feed(3));
    for fuse in [Fuse::Event, Fuse::Derived, Fuse::Timer] {
        let whole = run::<true>(&events, fuse, 0, 0, 0, true);
        let seen = run::<true>(&events, fuse, 20, 29, 0, true);
        assert_eq!((seen.witnessed, seen.failed, seen.panicked), ([EVENTS; 2], 10, 0), "{fuse:?}");
        let dead = [seen.result.ledger.total().dead_lettered, seen.result.derived.total().dead_lettered];
        assert_eq!(dead, [u64::from(fuse == Fuse::Event) * 10, u64::from(fuse == Fuse::Derived) * 10], "{fuse:?}");
        let signals = |of: &Seen| of.result.derived.row(Kind::SIGNAL).delivered;
        assert_eq!(signals(&whole) - signals(&seen), if fuse == Fuse::Timer { 10 } else { 20 }, "{fuse:?}");
        for symbol in 1..=SYMBOLS {
            let states = states(&seen.result, symbol);
            assert!(states.iter().copied().eq(1..=states.len() as u64), "{fuse:?}, symbol {symbol}: {states:?}");
        }
    }
}

/// Gives up on every trade.
struct Quitter<const N: usize>;

impl<const N: usize> Handler for Quitter<N> {
    type State = u64;
    const NAME: &'static str = ["quitter.a", "quitter.b"][N];
    const STATE_VERSION: u16 = 1;

    fn interests(&self) -> KindSet {
        const { KindSet::of(&[Kind::TRADE]) }
    }

    fn on_event(&self, st: &mut u64, _ev: EventRef<'_>, cx: &mut Ctx<'_>) -> Verdict {
        *st += 1;
        assert_eq!(*st, 1, "put back each time");
        cx.alert(&Alert::default()).unwrap();
        Verdict::Fail(N as u16)
    }
}

#[test]
fn an_event_that_two_handlers_give_up_on_is_dead_lettered_once() {
    for_seeds(0..4, |seed, prng| {
        let seen = Arc::new([AtomicU64::new(0), AtomicU64::new(0)]);
        let bus = |catalog: &mut Catalog| {
            let bus = BusBuilder::new(SYMBOLS_MAX).then(Quitter::<0>).then(Quitter::<1>);
            bus.then(Witness::<1>(seen.clone())).build(catalog).unwrap()
        };
        let events = stream(seed, 400, 100_000, feed(3));
        let trades = events.iter().filter(|event| event[0].kind() == Kind::TRADE).count() as u64;
        let mut rig = Rig::new(bus, events, Sizes::of(2));
        rig.run(prng, 100_000);
        let total = rig.result().ledger.total();
        assert_eq!((total.dead_lettered, total.delivered), (trades, 400 - trades));
        assert_eq!((seen[1].load(Ordering::Relaxed), rig.result().derived.total().offered), (400, 0));
        let stats: Vec<_> = rig.shards.iter_mut().flat_map(|shard| shard.handlers()).collect();
        let failed: u64 = stats.iter().map(|(_, stats)| stats.failed).sum();
        assert_eq!(failed, 2 * trades);
    });
}
