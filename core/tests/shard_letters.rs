//! Corners of retries and held events that a review found: whose ledger, how deep, how late.

#[path = "common/shard_rig.rs"]
mod shard_rig;

use shard_rig::{MILLI, Rig, START, SYMBOLS, SYMBOLS_MAX, Sizes, feed, tick};
use tapeline_core::bus::{Bus, BusBuilder, Chain};
use tapeline_core::catalog::{Catalog, SeqRule};
use tapeline_core::event::payload::{Alert, Cause, Signal, Trade};
use tapeline_core::event::{EventBuf, EventRef, Flags, Kind, KindSet, Slot};
use tapeline_core::handler::{Ctx, Handler, Verdict};
use tapeline_core::history::{PageLimits, Query};
use tapeline_core::ring::{self, Producer};
use tapeline_core::route::RouteTable;
use tapeline_core::shard::{Config, Limit, Shard};
use tapeline_core::testing::for_seeds;
use tapeline_core::units::{SourceId, SymbolId, UnixNanos};

/// Is in trouble with trade 7 for 150 ms. `ECHOES`: answers every trade and alert with an alert, without end.
struct Late<const ECHOES: bool, const SECOND: bool>;

impl<const ECHOES: bool, const SECOND: bool> Handler for Late<ECHOES, SECOND> {
    type State = u64;
    const NAME: &'static str = if SECOND { "late_too" } else { "late" };
    const STATE_VERSION: u16 = 1;

    fn interests(&self) -> KindSet {
        KindSet::of(&[Kind::TRADE, Kind::ALERT])
    }

    fn on_event(&self, _st: &mut u64, ev: EventRef<'_>, cx: &mut Ctx<'_>) -> Verdict {
        if ECHOES {
            cx.alert(&Alert::default()).unwrap();
        }
        let is_early = cx.now().0 < ev.head().ts_recv.0 + 150 * MILLI;
        if ev.kind() == Kind::TRADE && ev.head().seq == 7 && is_early { Verdict::Retry(7) } else { Verdict::Done }
    }
}

struct Alone<C: Chain> {
    shard: Shard<C>,
    ring: Producer,
    source: SourceId,
}

impl<C: Chain> Alone<C> {
    fn new(config: Config, bus: impl Fn(&mut Catalog) -> Bus<C>) -> Self {
        let mut catalog = Catalog::new(SYMBOLS_MAX);
        for symbol in 1..=SYMBOLS {
            catalog.symbol(format!("SYM{symbol}").as_bytes()).unwrap();
        }
        let bus = bus(&mut catalog);
        let source = catalog.source(b"test.feed", SeqRule::Increasing).unwrap();
        let (ring, consumer) = ring::channel(1024);
        Self { shard: Shard::new(config, catalog, bus, (), consumer, vec![], vec![]), ring, source }
    }

    /// Steps until there is no work; panics when that takes for ever.
    fn step(&mut self) {
        let idle = (0..10_000).any(|_| self.shard.step(&mut ()).work == 0);
        assert!(idle, "the shard never comes to rest: {:?}", self.shard.derived().total());
        assert!(self.shard.ledger().is_balanced() && self.shard.derived().is_balanced());
    }

    fn trade(&self, seq: u64, ms: u64) -> EventBuf {
        let mut event = EventBuf::new(&Trade { price: 1, size: 1, side: 1, ..Trade::default() });
        let head = event.head_mut();
        (head.ts_recv, head.seq) = (UnixNanos(START + ms * MILLI), seq);
        (head.symbol, head.source) = (SymbolId(1), self.source);
        event
    }

    fn send(&mut self, event: &EventBuf) {
        self.ring.push(event.slots()).unwrap();
        self.step();
    }

    fn pass(&mut self, ms: u64) {
        self.send(&tick(UnixNanos(START + ms * MILLI), false));
    }
}

#[test]
fn an_event_of_a_source_stays_in_its_ledger_whatever_its_flags_say() {
    let bus = |catalog: &mut Catalog| BusBuilder::new(SYMBOLS_MAX).then(Late::<false, false>).build(catalog).unwrap();
    let mut alone = Alone::new(Config::single(), bus);
    // As a tape of outputs has them.
    let mut event = alone.trade(7, 0);
    event.push_value(&Cause::default()).unwrap();
    event.flag(Flags::DERIVED);
    alone.send(&event);
    assert_eq!(alone.shard.ledger().total().in_flight, 1);
    alone.pass(1_000);
    let (source, derived) = (alone.shard.ledger().total(), alone.shard.derived().total());
    assert_eq!((source.delivered, source.in_flight, derived.offered, derived.delivered), (1, 0, 0, 0));
}

#[test]
fn a_cascade_that_was_held_goes_on_at_its_depth() {
    let bus = |catalog: &mut Catalog| BusBuilder::new(SYMBOLS_MAX).then(Late::<true, false>).build(catalog).unwrap();
    let mut alone = Alone::new(Config::single(), bus);
    let free = alone.trade(1, 0);
    alone.send(&free);
    let cut = alone.shard.limit_hits(Limit::CascadeDepth);
    assert!(cut > 0, "without an end, it is cut");
    for (seq, ms) in [(7, 1), (10, 2), (11, 3)] {
        let event = alone.trade(seq, ms);
        alone.send(&event);
    }
    alone.pass(1_000);
    assert!(alone.shard.limit_hits(Limit::CascadeDepth) > cut, "held or not, it is cut");
    let later = alone.trade(12, 2_000);
    alone.send(&later);
    let total = alone.shard.ledger().total();
    assert_eq!((total.delivered, total.in_flight), (5, 0));
}

#[test]
fn what_one_handler_lost_for_want_of_room_is_not_delivered() {
    let bus = |catalog: &mut Catalog| {
        BusBuilder::new(SYMBOLS_MAX).then(Late::<false, false>).then(Late::<false, true>).build(catalog).unwrap()
    };
    let letters = tapeline_core::dead::Config { entries: 1, ..Config::single().letters };
    let mut alone = Alone::new(Config { letters, ..Config::single() }, bus);
    let event = alone.trade(7, 0);
    alone.send(&event);
    alone.pass(1_000);
    let total = alone.shard.ledger().total();
    assert_eq!((total.delivered, total.dead_lettered, total.in_flight), (0, 1, 0));
    assert_eq!(alone.shard.limit_hits(Limit::DeadLetters), 1);
}

#[test]
fn without_room_to_hold_a_failed_event_is_parked_and_not_gone() {
    let bus = |catalog: &mut Catalog| BusBuilder::new(SYMBOLS_MAX).then(Late::<false, false>).build(catalog).unwrap();
    let letters = tapeline_core::dead::Config { holds: 1, ..Config::single().letters };
    let mut alone = Alone::new(Config { letters, ..Config::single() }, bus);
    for symbol in 1..=3 {
        let mut event = alone.trade(7, 0);
        event.head_mut().symbol = SymbolId(symbol);
        alone.send(&event);
    }
    let total = alone.shard.ledger().total();
    assert_eq!((total.in_flight, total.dead_lettered, alone.shard.letters().parked()), (1, 2, 2));
}

/// Tells the other symbols of every event of symbol 1, the first of which it is in trouble with.
struct Crier;

impl Handler for Crier {
    type State = u64;
    const NAME: &'static str = "crier";
    const STATE_VERSION: u16 = 1;
    const CROSSES_SYMBOLS: bool = true;

    fn interests(&self) -> KindSet {
        KindSet::of(&[Kind::TRADE])
    }

    fn on_event(&self, _st: &mut u64, ev: EventRef<'_>, cx: &mut Ctx<'_>) -> Verdict {
        let head = ev.head();
        if head.symbol != SymbolId(1) {
            cx.signal(&Signal::default()).unwrap();
            return Verdict::Done;
        }
        if head.seq == 0 && cx.now().0 < head.ts_recv.0 + 150 * MILLI {
            return Verdict::Retry(7);
        }
        let alert = Alert { value: head.seq as f64, ..Alert::default() };
        cx.publish_to(SymbolId(2 + (head.seq % 8) as u32), &alert, 0, &[]).unwrap();
        Verdict::Done
    }
}

#[test]
fn req_3479_many_held_events_of_one_instant_reach_other_shards_in_order() {
    let bus = |catalog: &mut Catalog| BusBuilder::new(SYMBOLS_MAX).then(Crier).build(catalog).unwrap();
    let mut events: Vec<Vec<Slot>> = Vec::new();
    let mut push = |symbol: u32, seq: u64, ts: u64| {
        let mut event = EventBuf::new(&Trade { price: 1, size: 1, side: 1, ..Trade::default() });
        let head = event.head_mut();
        (head.ts_recv, head.seq, head.symbol, head.source) = (UnixNanos(ts), seq, SymbolId(symbol), feed(1));
        events.push(event.slots().to_vec());
    };
    // 900 events wait behind the first: more than a step's budget.
    (0..900).for_each(|seq| push(1, seq, START + seq));
    let routes = RouteTable::new(2);
    let catalog = shard_rig::authority(&bus);
    let shard_of = |symbol| routes.shard(catalog.route_slot(SymbolId(symbol)));
    let others: Vec<u32> = (2..=SYMBOLS).filter(|symbol| shard_of(*symbol) != shard_of(1)).collect();
    let far = others[0];
    // And another shard's symbols are busy when the retry comes, at odd times.
    let busy = |seq: usize| START + 50 * MILLI + 437_000 + seq as u64 * MILLI / 10;
    (0..4_000).for_each(|seq| push(others[seq % others.len()], 10_000 + seq as u64, busy(seq)));
    let mut first: Option<shard_rig::Result> = None;
    for_seeds(0..6, |seed, prng| {
        for shards in 1..=2 {
            let sizes = Sizes { pending: 1 << 16, mesh_ring: 1 << 14, source_ring: 1 << 13, ..Sizes::of(shards) };
            let mut rig = Rig::new(bus, events.clone(), sizes);
            rig.run(prng, 1_000_000);
            let result = rig.result();
            assert!(rig.shards.iter().any(|shard| shard.letters().stats().held == 899));
            match &first {
                None => first = Some(result),
                Some(first) => first.assert_same(&result, &format!("seed {seed}, {shards} shards")),
            }
            // What comes from another symbol is in the history of the one that it is for.
            let query = Query { symbol: Some(SymbolId(far)), kind: Some(Kind::ALERT), ..Query::ALL };
            let shard = &rig.shards[if shards == 1 { 0 } else { shard_of(far) }];
            let limits = PageLimits { events: 1_000, looks: 100_000 };
            assert!(shard.history().unwrap().page(&query, None, limits, |_, _| {}).unwrap().events > 100);
        }
    });
}

/// Makes two alerts of each trade.
struct Doubler;

impl Handler for Doubler {
    type State = u64;
    const NAME: &'static str = "doubler";
    const STATE_VERSION: u16 = 1;

    fn interests(&self) -> KindSet {
        KindSet::of(&[Kind::TRADE])
    }

    fn on_event(&self, _st: &mut u64, ev: EventRef<'_>, cx: &mut Ctx<'_>) -> Verdict {
        for number in 1..=2 {
            cx.alert(&Alert { value: (ev.head().seq * 10 + number) as f64, ..Alert::default() }).unwrap();
        }
        Verdict::Done
    }
}

/// Is never done with the first trade, and repeats all else in a signal.
struct Stuck;

impl Handler for Stuck {
    type State = u64;
    const NAME: &'static str = "stuck";
    const STATE_VERSION: u16 = 1;

    fn interests(&self) -> KindSet {
        KindSet::of(&[Kind::TRADE, Kind::ALERT])
    }

    fn on_event(&self, _st: &mut u64, ev: EventRef<'_>, cx: &mut Ctx<'_>) -> Verdict {
        let value = ev.get::<Alert>().map_or(ev.head().seq as f64 * 10.0, |alert| alert.value);
        if value == 10.0 {
            return Verdict::Retry(1);
        }
        cx.signal(&Signal { strength: value, ..Signal::default() }).unwrap();
        Verdict::Done
    }
}

#[test]
fn a_full_hold_that_a_whole_cascade_meets_parks_its_first_and_loses_nothing() {
    let bus = |catalog: &mut Catalog| BusBuilder::new(SYMBOLS_MAX).then(Doubler).then(Stuck).build(catalog).unwrap();
    let mut catalog = shard_rig::authority(&bus);
    let bus = bus(&mut catalog);
    let (mut ring, consumer) = tapeline_core::ring::channel(1024);
    // The first trade, then as many as wait at most: its two alerts, the second trade, and one alert of that.
    let letters = tapeline_core::dead::Config { held_per_symbol: 3, ..Config::single().letters };
    let config = Config { letters, ..Config::single() };
    let mut shard = Shard::new(config, catalog, bus, (), consumer, vec![], vec![]);
    let mut out = shard_rig::Recorder::new(1 << 20);
    for seq in 1..=3 {
        let mut event = EventBuf::new(&Trade { price: 1, size: 1, ..Trade::default() });
        let head = event.head_mut();
        (head.ts_recv, head.seq) = (UnixNanos(START + seq), seq);
        (head.symbol, head.source) = (SymbolId(1), feed(2));
        ring.push(event.slots()).unwrap();
    }
    while shard.step(&mut out).work > 0 {
        shard.letters().assert_invariants();
        assert!(shard.ledger().is_balanced() && shard.derived().is_balanced());
    }
    assert_eq!(shard.limit_hits(tapeline_core::shard::Limit::DeadLetters), 0);
    let all = out.outputs.0.get(&1).map_or(&[][..], Vec::as_slice);
    let strengths: Vec<f64> =
        all.iter().filter_map(|slots| Some(EventRef::first(slots).unwrap().get::<Signal>()?.strength)).collect();
    assert_eq!(strengths, [11.0, 12.0, 20.0, 21.0, 22.0, 30.0, 31.0, 32.0], "all but the first, in order");
    let (source, derived) = (shard.ledger().total(), shard.derived().row(Kind::ALERT));
    assert_eq!((source.delivered, source.dead_lettered, source.in_flight), (2, 1, 0));
    assert_eq!((derived.delivered, derived.dead_lettered), (6, 0));
    assert_eq!(shard.letters().parked(), 1, "the first is kept");
}
