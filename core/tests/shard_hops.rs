//! Stamps that travel with events for other symbols: from which due time they come, and which hops they took.

#[path = "common/shard_rig.rs"]
mod shard_rig;

use shard_rig::{MILLI, Recorder, START, SYMBOLS, SYMBOLS_MAX, authority, feed, tick};
use tapeline_core::bus::{Bus, BusBuilder, End, Link};
use tapeline_core::catalog::Catalog;
use tapeline_core::event::payload::{Signal, Trade};
use tapeline_core::event::{EventBuf, EventRef, Flags, Kind, KindSet};
use tapeline_core::handler::{Ctx, Handler, Verdict};
use tapeline_core::ring;
use tapeline_core::route::RouteTable;
use tapeline_core::shard::{Batch, Config, DUE_NONE, HopRoot, Probe, Shard};
use tapeline_core::testing::{Prng, for_seeds};
use tapeline_core::units::{SymbolId, UnixNanos};

/// A trade goes on to the next symbol, and from there to the one after it; a timer sends something, too.
struct Relay;

const fn next(symbol: SymbolId) -> SymbolId {
    SymbolId(symbol.0 % SYMBOLS + 1)
}

impl Handler for Relay {
    type State = u64;
    const NAME: &'static str = "relay";
    const STATE_VERSION: u16 = 1;
    const CROSSES_SYMBOLS: bool = true;
    const TAKES_HISTORY: bool = true;

    fn interests(&self) -> KindSet {
        const { KindSet::of(&[Kind::TRADE, Kind::SIGNAL]) }
    }

    fn on_event(&self, _st: &mut u64, ev: EventRef<'_>, cx: &mut Ctx<'_>) -> Verdict {
        match ev.get::<Signal>() {
            None => {
                cx.publish_to(next(cx.symbol()), &Signal { strategy: 1, ..Signal::default() }, 0, &[]).unwrap();
                cx.timer_at(cx.now().saturating_add(3 * MILLI), ev.head().seq).unwrap();
            }
            Some(signal) if signal.strategy == 1 => {
                cx.publish_to(next(cx.symbol()), &Signal { strategy: 2, ..Signal::default() }, 0, &[]).unwrap();
            }
            Some(_) => {}
        }
        Verdict::Done
    }

    fn on_timer(&self, _st: &mut u64, _token: u64, cx: &mut Ctx<'_>) -> Verdict {
        cx.publish_to(next(cx.symbol()), &Signal { strategy: 3, ..Signal::default() }, 0, &[]).unwrap();
        Verdict::Done
    }
}

fn bus(catalog: &mut Catalog) -> Bus<Link<End, Relay>> {
    BusBuilder::new(SYMBOLS_MAX).then(Relay).build(catalog).unwrap()
}

/// A clock that the test turns; what was told. A stamp is the time of leaving and the root's due time.
#[derive(Default)]
struct Watch {
    now: u64,
    hops: Vec<(u64, u64)>,
    ends: Vec<u64>,
}

impl Probe for Watch {
    fn now(&mut self) -> u64 {
        self.now
    }

    fn batch(&mut self, _batch: &Batch<'_>) {}

    fn forward(&mut self, root: HopRoot) -> u64 {
        let due = match root {
            HopRoot::Undue => 0,
            HopRoot::Due(due) => due,
            HopRoot::Hop(stamp) => stamp & u64::from(u32::MAX),
        };
        self.now << 32 | due
    }

    fn hop(&mut self, stamp: u64) {
        assert!(stamp >> 32 <= self.now, "it left before it came");
        self.hops.push((stamp >> 32, stamp & u64::from(u32::MAX)));
    }

    fn end_to_end(&mut self, stamp: u64) {
        self.ends.push(stamp & u64::from(u32::MAX));
    }
}

fn run(prng: &mut Prng, count: usize, has_dues: bool, mesh_ring: usize) {
    let (routes, authority) = (RouteTable::new(count), authority(&bus));
    let shard_of = |symbol: SymbolId| routes.shard(authority.route_slot(symbol));
    let mut outlets: Vec<Vec<_>> = (0..count).map(|_| (0..count).map(|_| None).collect()).collect();
    let mut peers: Vec<Vec<_>> = (0..count).map(|_| Vec::new()).collect();
    for (from, outlets) in outlets.iter_mut().enumerate() {
        for (to, outlet) in outlets.iter_mut().enumerate().filter(|(to, _)| *to != from) {
            let (producer, consumer) =
                if has_dues { ring::channel_with_dues(mesh_ring) } else { ring::channel(mesh_ring) };
            *outlet = Some(producer);
            peers[to].push(consumer);
        }
    }
    let (mut shards, mut sources, mut outs) = (Vec::new(), Vec::new(), Vec::new());
    for (shard, (outlets, peers)) in outlets.into_iter().zip(peers).enumerate() {
        let (producer, consumer) = if has_dues { ring::channel_with_dues(4096) } else { ring::channel(4096) };
        let config = Config { shard, routes: routes.clone(), has_dues, ..Config::single() };
        let bus = bus(&mut Catalog::new(SYMBOLS_MAX));
        shards.push(Shard::new(config, authority.clone(), bus, Watch::default(), consumer, peers, outlets));
        sources.push(producer);
        outs.push(Recorder::new(1 << 20));
    }
    // By due time: what is expected of it.
    let (mut ends, mut hops) = (Vec::new(), Vec::new());
    for seq in 1..=600_u64 {
        let symbol = SymbolId(1 + prng.in_range(0..u64::from(SYMBOLS)) as u32);
        let mut event = EventBuf::new(&Trade { price: 1, size: 1, ..Trade::default() });
        let head = event.head_mut();
        (head.ts_recv, head.seq) = (UnixNanos(START + seq * 300_000), seq);
        (head.symbol, head.source) = (symbol, feed(1));
        let is_past = prng.one_in(10);
        event.flag(if is_past { Flags::HISTORICAL.with(Flags::LAST) } else { Flags::LAST });
        let due = if prng.one_in(10) { DUE_NONE } else { seq };
        sources[shard_of(symbol)].push_due(event.slots(), due).unwrap();
        if has_dues {
            // A due time of 0 is none. Two signals come of the trade, and one of its timer.
            let due = if due == DUE_NONE || is_past { 0 } else { due };
            let way = [symbol, next(symbol), next(next(symbol))].map(shard_of);
            ends.extend([due, due, 0]);
            hops.extend(way.windows(2).filter(|pair| pair[0] != pair[1]).map(|_| due));
            hops.extend((way[0] != way[1]).then_some(0));
        }
    }
    for source in &mut sources {
        source.push(tick(UnixNanos(START + 600 * 300_000), true).slots()).unwrap();
    }
    let mut drained = 0;
    for turn in 0..200_000_u64 {
        for (shard, out) in shards.iter_mut().zip(&mut outs) {
            shard.probe().now = turn;
            let _ = shard.step(out);
            out.take();
        }
        let (sent, received) =
            shards.iter().map(Shard::mesh_counts).fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
        // Twice in a row.
        drained = if shards.iter().all(Shard::is_drained) && sent == received { drained + 1 } else { 0 };
        if drained == 2 {
            break;
        }
    }
    assert_eq!(drained, 2, "it comes to its end");
    let mut told: (Vec<u64>, Vec<u64>) = Default::default();
    for shard in &mut shards {
        told.0.extend(&shard.probe().ends);
        told.1.extend(shard.probe().hops.iter().map(|(_, due)| due));
    }
    ends.sort_unstable();
    hops.sort_unstable();
    told.0.sort_unstable();
    told.1.sort_unstable();
    let undue = |dues: &[u64]| dues.iter().filter(|due| **due == 0).count();
    assert_eq!((told.0.len(), undue(&told.0)), (ends.len(), undue(&ends)), "of all, those without a due time");
    assert_eq!(told.0, ends, "each event for another symbol ends once, with its root's due time");
    assert_eq!(told.1, hops, "each that changes its shard has one hop");
    assert!(count == 1 || !has_dues || !hops.is_empty());
}

#[test]
fn each_event_for_another_symbol_has_its_roots_due_time_and_a_hop_where_it_changes_its_shard() {
    for_seeds(0..6, |_, prng| {
        for shards in 1..=3 {
            run(prng, shards, true, 64);
            run(prng, shards, true, 1024);
        }
    });
}

#[test]
fn without_due_times_nothing_is_stamped() {
    for_seeds(0..2, |_, prng| (1..=2).for_each(|shards| run(prng, shards, false, 64)));
}
