//! A shard allocates nothing after it was made: features, scanner, timers, failures, outputs and mesh included.

#[path = "common/shard_rig.rs"]
mod shard_rig;
#[path = "common/talkers.rs"]
mod talkers;

use shard_rig::{START, SYMBOLS, SYMBOLS_MAX, tick};
use talkers::{Chatter, Crosser};
use tapeline_core::bus::BusBuilder;
use tapeline_core::catalog::Catalog;
use tapeline_core::event::payload::{Quote, Trade};
use tapeline_core::event::{EventBuf, EventRef, Slot};
use tapeline_core::features::Engine;
use tapeline_core::ring;
use tapeline_core::route::RouteTable;
use tapeline_core::scanner::Scanner;
use tapeline_core::shard::{Config, Outbox, Shard};
use tapeline_core::stats::Series;
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
fn a_million_events_allocate_nothing() {
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
    let stats: Vec<_> = {
        let read = [shards[0].stats(), shards[1].stats()];
        assert_eq!(allocations() - constructed, 0, "allocations after construction");
        read.into()
    };
    for (stats, shard) in stats.iter().zip(&shards) {
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
