//! Events for other symbols: the same outputs for any number of shards and any interleaving, and no deadlock.

#[path = "common/shard_rig.rs"]
mod shard_rig;
#[path = "common/talkers.rs"]
mod talkers;

use shard_rig::{MILLI, Rig, SECOND, Sizes, feed, stream};
use talkers::{Chatter, Crosser};
use tapeline_core::bus::{Bus, BusBuilder, End, Link};
use tapeline_core::catalog::Catalog;
use tapeline_core::event::payload::{Alert, Cause, Signal, Trade};
use tapeline_core::event::{EventBuf, EventRef, Kind, KindSet};
use tapeline_core::handler::{Ctx, Handler, Verdict};
use tapeline_core::ledger::Refusal;
use tapeline_core::limits::MESH_DELAY_NS;
use tapeline_core::shard::Limit;
use tapeline_core::testing::{Prng, for_seeds};
use tapeline_core::units::{SymbolId, UnixNanos};

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

/// Notes the order in which events of other symbols come in, as an output.
struct Listener;

impl Handler for Listener {
    type State = u64;
    const NAME: &'static str = "listener";
    const STATE_VERSION: u16 = 1;

    fn interests(&self) -> KindSet {
        const { KindSet::of(&[Kind::SIGNAL]) }
    }

    fn on_event(&self, st: &mut u64, ev: EventRef<'_>, cx: &mut Ctx<'_>) -> Verdict {
        assert_eq!(cx.now(), ev.head().ts_recv, "handled when it falls due");
        *st += 1;
        cx.alert(&Alert { value: *st as f64, ..Alert::default() }).unwrap();
        Verdict::Done
    }
}

/// Sends two signals to symbol 1 from every trade of another symbol.
struct Teller;

impl Handler for Teller {
    type State = u64;
    const NAME: &'static str = "teller";
    const STATE_VERSION: u16 = 1;
    const CROSSES_SYMBOLS: bool = true;

    fn interests(&self) -> KindSet {
        const { KindSet::of(&[Kind::TRADE]) }
    }

    fn on_event(&self, _st: &mut u64, _ev: EventRef<'_>, cx: &mut Ctx<'_>) -> Verdict {
        if cx.symbol() != SymbolId(1) {
            for strategy in 0..2 {
                cx.publish_to(SymbolId(1), &Signal { strategy, ..Signal::default() }, 0, &[]).unwrap();
            }
        }
        Verdict::Done
    }
}

#[test]
fn events_of_other_symbols_fall_due_one_delay_later_by_time_origin_cause_and_index() {
    let bus = |catalog: &mut Catalog| {
        BusBuilder::new(shard_rig::SYMBOLS_MAX).then(Teller).then(Listener).build(catalog).unwrap()
    };
    for_seeds(0..6, |_, prng| {
        // Several trades of each symbol at each instant.
        let events: Vec<_> = (0..300u64)
            .map(|seq| {
                let mut event = EventBuf::new(&Trade { price: 1, size: 1, ..Trade::default() });
                let head = event.head_mut();
                (head.ts_recv, head.seq) = (UnixNanos(shard_rig::START + seq / 30 * 700_000), seq);
                (head.symbol, head.source) = (SymbolId(1 + prng.in_range(0..9) as u32), feed(2));
                event.slots().to_vec()
            })
            .collect();
        let mut expected: Vec<_> = events
            .iter()
            .filter(|event| event[0].symbol != SymbolId(1))
            .flat_map(|event| {
                let name = format!("SYM{}", event[0].symbol.0);
                let due = event[0].ts_recv.saturating_add(MESH_DELAY_NS);
                [0, 1].map(|index| (due, tapeline_core::hash::stable(name.as_bytes()), event[0].seq, index))
            })
            .collect();
        expected.sort_unstable();
        for shards in 1..=3 {
            let mut rig = Rig::new(bus, events.clone(), Sizes { mesh_ring: 64, ..Sizes::of(shards) });
            rig.run(prng, 100_000);
            let outputs = &rig.result().outputs.0[&1];
            let got: Vec<_> = outputs
                .iter()
                .map(|output| EventRef::first(output).unwrap())
                .filter(|output| output.kind() == Kind::SIGNAL)
                .map(|output| {
                    let cause = Cause::of(output).unwrap();
                    (output.head().ts_recv, cause.symbol_hash, cause.root.seq, cause.index)
                })
                .collect();
            assert_eq!(got, expected, "{shards} shards");
            assert_eq!(outputs.len(), 2 * got.len(), "each was heard");
        }
    });
}

/// Every timer publishes for the next symbol and sets itself again, for ever.
struct Ringer;

impl Handler for Ringer {
    type State = u64;
    const NAME: &'static str = "ringer";
    const STATE_VERSION: u16 = 1;
    const CROSSES_SYMBOLS: bool = true;

    fn interests(&self) -> KindSet {
        const { KindSet::of(&[Kind::TRADE]) }
    }

    fn on_event(&self, _st: &mut u64, _ev: EventRef<'_>, cx: &mut Ctx<'_>) -> Verdict {
        cx.timer_at(cx.now().saturating_add(3_600 * SECOND), 0).unwrap();
        Verdict::Done
    }

    fn on_timer(&self, _st: &mut u64, _token: u64, cx: &mut Ctx<'_>) -> Verdict {
        cx.publish_to(SymbolId(cx.symbol().0 % 9 + 1), &Signal::default(), 0, &[]).unwrap();
        cx.timer_at(cx.now().saturating_add(3_600 * SECOND), 0).unwrap();
        Verdict::Done
    }
}

#[test]
fn a_drain_ends_with_periodic_timers_and_events_that_wait_beyond_its_bound() {
    let bus = |catalog: &mut Catalog| BusBuilder::new(shard_rig::SYMBOLS_MAX).then(Ringer).build(catalog).unwrap();
    for_seeds(0..4, |seed, prng| {
        // On a tick, so that the last timer falls due exactly at the end of the drain and what it publishes, after it.
        let events: Vec<_> = (1..=9)
            .map(|symbol| {
                let mut event = EventBuf::new(&Trade { price: 1, size: 1, ..Trade::default() });
                let head = event.head_mut();
                (head.ts_recv, head.symbol, head.source) = (UnixNanos(shard_rig::START), SymbolId(symbol), feed(1));
                event.slots().to_vec()
            })
            .collect();
        let mut first = None;
        for shards in 1..=3 {
            let mut rig = Rig::new(bus, events.clone(), Sizes { mesh_ring: 64, ..Sizes::of(shards) });
            rig.run(prng, 50_000);
            let result = rig.result();
            assert_eq!(result.timers_fired, 9 * 24, "24 hours");
            assert_eq!(result.derived.total().delivered, 9 * 23, "but for the last of each symbol");
            first.get_or_insert(result.clone()).assert_same(&result, &format!("seed {seed}, {shards} shards"));
        }
    });
}

/// Publishes for a symbol that nobody has defined.
struct Stray;

impl Handler for Stray {
    type State = u64;
    const NAME: &'static str = "stray";
    const STATE_VERSION: u16 = 1;
    const CROSSES_SYMBOLS: bool = true;

    fn interests(&self) -> KindSet {
        const { KindSet::of(&[Kind::TRADE]) }
    }

    fn on_event(&self, _st: &mut u64, _ev: EventRef<'_>, cx: &mut Ctx<'_>) -> Verdict {
        for symbol in [shard_rig::SYMBOLS + 1, shard_rig::SYMBOLS_MAX as u32, u32::MAX] {
            cx.publish_to(SymbolId(symbol), &Signal::default(), 0, &[]).unwrap();
        }
        Verdict::Done
    }
}

#[test]
fn an_event_for_a_symbol_that_nobody_defined_is_refused_and_counted() {
    let bus = |catalog: &mut Catalog| BusBuilder::new(shard_rig::SYMBOLS_MAX).then(Stray).build(catalog).unwrap();
    for shards in 1..=2 {
        let events = stream(1, 50, 300_000, feed(1));
        let trades = events.iter().filter(|event| event[0].kind() == Kind::TRADE).count() as u64;
        let mut rig = Rig::new(bus, events, Sizes::of(shards));
        rig.run(&mut Prng::new(1), 50_000);
        let result = rig.result();
        assert_eq!(result.derived.refused_by(Refusal::UnknownSymbol), 3 * trades);
        assert_eq!((result.derived.total().accepted, result.ledger.total().delivered), (0, 50));
    }
}

#[test]
fn a_waiting_room_that_is_full_refuses_and_counts_by_reason() {
    let bus = |catalog: &mut Catalog| {
        BusBuilder::new(shard_rig::SYMBOLS_MAX).then(Teller).then(Listener).build(catalog).unwrap()
    };
    let events = stream(3, 600, 100, feed(2));
    let told = 2 * events.iter().filter(|e| e[0].kind() == Kind::TRADE && e[0].symbol != SymbolId(1)).count() as u64;
    for shards in 1..=2 {
        let sizes = Sizes { pending: 64, ..Sizes::of(shards) };
        let mut rig = Rig::new(bus, events.clone(), sizes);
        rig.run(&mut Prng::new(1), 100_000);
        let result = rig.result();
        let refused = result.derived.refused_by(Refusal::MeshFull);
        let hits: u64 = rig.shards.iter().map(|shard| shard.limit_hits(Limit::MeshPending)).sum();
        assert!(refused > 0 && refused == hits, "{refused} refused, limit acted {hits} times");
        assert_eq!(result.derived.row(Kind::SIGNAL).offered, told, "none is lost without a count");
    }
}

/// Notes as alerts what it is called for, symbol 1 only: 1 = a trade, 2 = a signal, 3 = a timer.
struct Clerk;

impl Handler for Clerk {
    type State = u64;
    const NAME: &'static str = "clerk";
    const STATE_VERSION: u16 = 1;

    fn interests(&self) -> KindSet {
        const { KindSet::of(&[Kind::TRADE, Kind::SIGNAL]) }
    }

    fn on_event(&self, st: &mut u64, ev: EventRef<'_>, cx: &mut Ctx<'_>) -> Verdict {
        if cx.symbol() == SymbolId(1) {
            let rule = if ev.kind() == Kind::TRADE { 1 } else { 2 };
            cx.alert(&Alert { rule, ..Alert::default() }).unwrap();
            if *st == 0 {
                cx.timer_at(cx.now().saturating_add(MESH_DELAY_NS), 0).unwrap();
            }
            *st += 1;
        }
        Verdict::Done
    }

    fn on_timer(&self, _st: &mut u64, _token: u64, cx: &mut Ctx<'_>) -> Verdict {
        cx.alert(&Alert { rule: 3, ..Alert::default() }).unwrap();
        Verdict::Done
    }
}

#[test]
fn at_one_instant_timers_come_first_then_events_of_other_symbols_then_source_events() {
    let bus = |catalog: &mut Catalog| {
        BusBuilder::new(shard_rig::SYMBOLS_MAX).then(Teller).then(Clerk).build(catalog).unwrap()
    };
    let trade = |symbol, time| {
        let mut event = EventBuf::new(&Trade { price: 1, size: 1, ..Trade::default() });
        let head = event.head_mut();
        (head.ts_recv, head.symbol, head.source) = (UnixNanos(time), SymbolId(symbol), feed(2));
        // A number of its own: none repeats another.
        head.seq = time;
        event.slots().to_vec()
    };
    // The trade of symbol 7 tells symbol 1 of itself at the very instant of symbol 1's timer and second trade.
    let then = shard_rig::START + MESH_DELAY_NS;
    let events = vec![trade(1, shard_rig::START), trade(7, shard_rig::START), trade(1, then), trade(7, then)];
    for_seeds(0..10, |seed, prng| {
        for shards in 1..=3 {
            let mut rig = Rig::new(bus, events.clone(), Sizes::of(shards));
            rig.run(prng, 10_000);
            let outputs = &rig.result().outputs.0[&1];
            let alerts = outputs.iter().filter_map(|output| EventRef::first(output).unwrap().get::<Alert>());
            let rules: Vec<_> = alerts.map(|alert| alert.rule).collect();
            assert_eq!(rules, [1, 3, 2, 2, 1, 2, 2], "seed {seed}, {shards} shards");
        }
    });
}

/// One shard's ring was full when time was told, the other's is full now, of events that must wait for the first to hear
/// the time; the source has nothing left to send but what goes to both.
#[test]
fn a_source_that_waits_to_tell_all_shards_of_the_end_does_not_hold_up_the_mesh() {
    let mut rig = Rig::new(bus, vec![], Sizes { source_ring: 64, ..Sizes::of(2) });
    while rig.source.send(1) == 1 && !rig.source.has_defined() {
        let _ = (rig.step(0), rig.step(1));
    }
    let _ = (rig.step(0), rig.step(1));
    let on = |rig: &Rig<Both>, shard| (1..=9).find(|symbol| rig.source.shard_of(SymbolId(*symbol)) == shard).unwrap();
    let (a, b) = (on(&rig, 0), on(&rig, 1));
    let (early, late) = (shard_rig::START, shard_rig::START + 3_600 * SECOND);
    for (symbol, time) in [(b, early); 64].into_iter().chain([(a, late); 65]) {
        let mut event = EventBuf::new(&Trade { price: 1, size: 1, ..Trade::default() });
        let head = event.head_mut();
        (head.ts_recv, head.symbol, head.source) = (UnixNanos(time), SymbolId(symbol), feed(2));
        rig.source.events.push(event.slots().to_vec());
    }
    assert_eq!(rig.source.send(65), 65);
    let _ = rig.step(0); // takes the first late event, which must wait
    assert_eq!(rig.source.send(1_000), 64, "both rings are full, and only the end is left");
    rig.run(&mut Prng::new(1), 100_000);
    assert_eq!(rig.result().ledger.total().offered, 129);
}
