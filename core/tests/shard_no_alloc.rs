//! A shard allocates nothing after it was made: features, scanner, timers, failures, outputs and mesh included.

#[path = "common/shard_rig.rs"]
mod shard_rig;
#[path = "common/talkers.rs"]
mod talkers;

use shard_rig::{START, SYMBOLS, SYMBOLS_MAX, tick};
use talkers::{Chatter, Crosser};
use tapeline_core::bus::{BusBuilder, BusError, End};
use tapeline_core::catalog::Catalog;
use tapeline_core::event::payload::{Quote, Trade};
use tapeline_core::event::{EventBuf, EventRef, Kind, KindSet, Slot};
use tapeline_core::features::Engine;
use tapeline_core::handler::{Ctx, Handler, Verdict};
use tapeline_core::limits::HANDLERS_MAX;
use tapeline_core::ring;
use tapeline_core::route::RouteTable;
use tapeline_core::scanner::Scanner;
use tapeline_core::shard::{Config, Outbox, Shard};
use tapeline_core::stats::{Series, Stats};
use tapeline_core::testing::{CountingAlloc, Prng, allocations};
use tapeline_core::units::{SourceId, SymbolId, UnixNanos};
use tapeline_core::windows::Window;

#[global_allocator]
static ALLOC: CountingAlloc = CountingAlloc;

/// Counts outputs.
struct Counter(u64);

impl Outbox for Counter {
    fn has_room(&mut self) -> bool {
        true
    }

    fn put(&mut self, _output: EventRef<'_>) {
        self.0 += 1;
    }
}

fn event(prng: &mut Prng, seq: u64, time: u64) -> Slot {
    let price = 100_000_000_000 + prng.in_range(0..1_000_000_000) as i64;
    let mut event = if prng.one_in(2) {
        EventBuf::new(&Quote { bid_px: price, ask_px: price + 10_000_000, bid_sz: 3, ask_sz: 4 })
    } else {
        EventBuf::new(&Trade { price, size: 1 + prng.in_range(0..100), side: 1, ..Trade::default() })
    };
    let head = event.head_mut();
    (head.ts_recv, head.seq, head.source) = (UnixNanos(time), seq, SourceId(5));
    head.symbol = SymbolId(1 + prng.in_range(0..u64::from(SYMBOLS)) as u32);
    event.slots()[0]
}

#[test]
fn req_w1_a_million_events_allocate_nothing() {
    const EVENTS: u64 = 1_000_000;
    let bus = |catalog: &mut Catalog| {
        let bus = BusBuilder::new(SYMBOLS_MAX).then(Engine::new()).then(Scanner::default()).then(Chatter);
        bus.dynamic(0, Crosser).build(catalog).unwrap()
    };
    let catalog = shard_rig::authority(&bus);
    let routes = RouteTable::new(2);
    let (to_b, from_a) = ring::channel(64);
    let (to_a, from_b) = ring::channel(64);
    let mut mesh = [(vec![from_b], vec![None, Some(to_b)]), (vec![from_a], vec![Some(to_a), None])].into_iter();
    let (mut producers, mut shards) = (Vec::new(), Vec::new());
    for shard in 0..2 {
        let (producer, consumer) = ring::channel(256);
        let (peers, outlets) = mesh.next().unwrap();
        let handlers = bus(&mut catalog.clone());
        let config = Config { shard, routes: routes.clone(), ..Config::single() };
        producers.push(producer);
        shards.push(Shard::new(config, catalog.clone(), handlers, (), consumer, peers, outlets));
    }
    let (mut prng, mut time, mut out) = (Prng::new(1), START, Counter(0));
    let mut read = [Stats::new(), Stats::new()];
    let constructed = allocations();
    assert!(constructed > 0, "the allocator counts");
    let mut next = None;
    let mut seq = 0;
    while seq < EVENTS {
        for _ in 0..100 {
            let slot = next.take().unwrap_or_else(|| {
                time += prng.in_range(0..200_000);
                event(&mut prng, seq, time)
            });
            let owner = routes.shard(catalog.route_slot(slot.symbol));
            let is_sent = producers[owner].push(&[slot]).is_ok();
            let _ = producers[1 - owner].push(tick(slot.ts_recv, false).slots());
            if !is_sent {
                next = Some(slot);
                break;
            }
            seq += 1;
        }
        for shard in &mut shards {
            let _ = shard.step(&mut out);
        }
    }
    let last = tick(UnixNanos(time), true);
    for producer in &mut producers {
        while producer.push(last.slots()).is_err() {
            let _ = shards[0].step(&mut out);
            let _ = shards[1].step(&mut out);
        }
    }
    let mut steps = 0;
    while !shards.iter().all(|shard| shard.is_drained()) || shards[0].mesh_counts().0 != shards[1].mesh_counts().1 {
        let _ = shards[0].step(&mut out);
        let _ = shards[1].step(&mut out);
        steps += 1;
        assert!(steps < 1_000_000, "{shards:?}");
    }
    // One call reads all, and allocates nothing either.
    for (stats, shard) in read.iter_mut().zip(&mut shards) {
        shard.stats_into(stats);
    }
    assert_eq!(allocations() - constructed, 0, "allocations after construction");
    for (stats, shard) in read.iter().zip(&mut shards) {
        assert_eq!(stats.handlers, shard.handlers(), "what each handler says is in it");
        assert!(stats.count_of(Engine::NAME, "published").is_some_and(|published| published > 0), "{stats:?}");
        assert!(stats.is_balanced && stats.source == shard.ledger().total() && stats.bytes > 0, "{stats:?}");
        assert_eq!(stats.counts[Series::Events as usize], stats.source.offered);
        assert!(stats.rate(Series::Outputs, Window::S60).count > 0, "{stats:?}");
    }
    let ledgers = shards.iter().map(|shard| (shard.ledger().total(), shard.mesh_counts(), shard.timers_fired()));
    let (mut offered, mut sent, mut fired, mut failed) = (0, 0, 0, 0);
    for (total, counts, timers) in ledgers {
        offered += total.offered;
        failed += total.dead_lettered;
        sent += counts.0;
        fired += timers;
    }
    assert_eq!(offered, seq);
    assert!(out.0 > 100_000 && sent > 50_000 && fired > 50_000 && failed > 1_000, "{} {sent} {fired} {failed}", out.0);
}

/// Numbers of two digits, one after the other: a name for each of [`Nth`].
const NAMES: &str = "000102030405060708091011121314151617181920212223242526272829303132\
    333435363738394041424344454647484950515253545556575859606162636465";

/// One of many handlers of trades; it counts its calls.
struct Nth<const N: usize>;

impl<const N: usize> Handler for Nth<N> {
    type State = u64;
    const NAME: &'static str = NAMES.split_at(2 * N).1.split_at(2).0;
    const STATE_VERSION: u16 = 1;

    fn interests(&self) -> KindSet {
        const { KindSet::of(&[Kind::TRADE]) }
    }

    fn on_event(&self, st: &mut u64, _ev: EventRef<'_>, _cx: &mut Ctx<'_>) -> Verdict {
        *st += 1;
        Verdict::Done
    }
}

macro_rules! with_all {
    ($bus:expr; $($n:literal)*) => { $bus$(.dynamic($n, Nth::<$n>))* };
}

/// As many handlers as a bus takes.
fn crowd() -> BusBuilder<End> {
    let bus = with_all!(BusBuilder::new(SYMBOLS_MAX); 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31);
    with_all!(bus; 32 33 34 35 36 37 38 39 40 41 42 43 44 45 46 47 48 49 50 51 52 53 54 55 56 57 58 59 60 61 62 63)
}

/// What a bus does for an event is a call of each handler, one after the other, whatever their number, and their number has a limit: no task, no
/// memory, and nothing in flight once the step is over. (The old design spawned a task for each handler and event. That core starts no
/// thread, `tools/tests/tidy.rs` shows.)
#[test]
fn req_3453_the_most_handlers_on_one_event_spawn_nothing_and_leave_nothing_in_flight() {
    const EVENTS: u64 = 1_000;
    let mut catalog = shard_rig::authority(&|catalog: &mut Catalog| crowd().build(catalog).unwrap());
    let too_many = crowd().dynamic(64, Nth::<64>).build(&mut catalog.clone());
    assert!(matches!(too_many, Err(BusError::TooMany(count)) if count == HANDLERS_MAX + 1));
    let bus = crowd().build(&mut catalog).unwrap();
    assert_eq!(bus.names().len(), HANDLERS_MAX);
    let (mut producer, consumer) = ring::channel(64);
    let source = shard_rig::feed(HANDLERS_MAX);
    let mut shard = Shard::new(Config::single(), catalog, bus, (), consumer, vec![], vec![]);
    let (mut out, before) = (Counter(0), allocations());
    for seq in 0..EVENTS {
        let mut event = EventBuf::new(&Trade { price: 1, size: 1, side: 1, ..Trade::default() });
        let head = event.head_mut();
        (head.ts_recv, head.seq, head.source, head.symbol) = (UnixNanos(START + seq), seq, source, SymbolId(1));
        producer.push(event.slots()).unwrap();
        while shard.step(&mut out).work > 0 {}
        let total = shard.ledger().total();
        assert_eq!((total.delivered, total.in_flight), (seq + 1, 0));
    }
    assert_eq!(allocations(), before, "nothing is allocated for an event or a handler");
    let calls: Vec<u64> = shard.handlers().into_iter().map(|(_, stats)| stats.calls).collect();
    assert_eq!(calls, [EVENTS; HANDLERS_MAX]);
}
