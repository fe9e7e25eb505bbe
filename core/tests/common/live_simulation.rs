//! The same engine where the source cannot wait: topics with every policy that a shard takes, a store of spilled events that fills up and
//! is slow to read, subscriptions that come and go in the stream, clocks that stand still and jump.
//!
//! After every step the ledgers balance, no topic holds more than its room, no lane is passed by more than its turns allow, and each
//! symbol's events of one lane (of one topic, where it spills) came to a handler that never fails in the order in which they were sent, none twice. Then the source and the
//! faults stop at once, with everything still queued, and all queues drain within [`CALM_NS_MAX`] of virtual time.

use super::*;
use std::collections::BTreeSet;
use tapeline_core::event::Lane;
use tapeline_core::event::payload::Subscription;
use tapeline_core::hash;
use tapeline_core::lanes::TopicStats;
use tapeline_core::limits::LANE_TURNS_MAX;
use tapeline_core::shard::NO_ROOM;
use tapeline_core::topics::{Bus as TopicBus, ConflateBy, Policy as Overload, Topic};

/// Virtual time in which all queues drain once the faults have stopped. The longest delay of a retry is one second, and a retry succeeds
/// then; behind it stand timers of the handlers: those of bars close a minute at the latest.
const CALM_NS_MAX: u64 = 61 * SECOND;
const LANES: [Lane; 4] = [Lane::Critical, Lane::High, Lane::Normal, Lane::Low];

/// A topic for each family of kinds, with any policy.
fn topics(prng: &mut Prng) -> TopicBus {
    let books = [Kind::BOOK_LEVEL, Kind::BOOK_ORDER, Kind::BOOK_DEPTH, Kind::GAP];
    let families: [&[Kind]; 6] = [&[Kind::QUOTE], &[Kind::TRADE], &books, &[Kind::BAR], &[Kind::NEWS], &[Kind::STATUS]];
    let topics = families.iter().map(|kinds| {
        let capacity = 8 + prng.index(60);
        let mut topic = Topic::new(kinds[0].name(), KindSet::of(kinds), capacity);
        topic.lane = LANES[prng.index(4)];
        topic.policy = Overload::ALL[prng.index(Overload::ALL.len())];
        if kinds.len() > 1 && topic.policy == Overload::Conflate {
            topic.policy = Overload::DropOldest;
        }
        topic.conflate_by = if prng.one_in(2) { ConflateBy::Symbol } else { ConflateBy::Level };
        topic.expire_after_ns = if prng.one_in(4) { 1 + prng.in_range(0..200) * MILLI } else { 0 };
        topic.lossy = true;
        topic
    });
    TopicBus::new("bus", topics.collect())
}

/// Puts changes of subscriptions into a stream: known handlers and others, topics that there are, and all.
fn churn(prng: &mut Prng, events: &mut Vec<Vec<Slot>>, bus: &TopicBus) {
    for _ in 0..prng.index(30) {
        let handler = ["flaky", "runner", "nobody"][prng.index(3)];
        let topic = prng.index(bus.topics.len() + 1);
        let change = Subscription {
            handler: hash::stable(handler.as_bytes()),
            topic: bus.topics.get(topic).map_or(0, |topic| hash::stable(topic.name.as_bytes())),
            priority: prng.in_range(0..3) as i16,
            subscribed: prng.index(2) as u8,
            ..Subscription::default()
        };
        let at = prng.index(events.len());
        let mut event = EventBuf::new(&change);
        let time = events[at][0].ts_recv;
        // Some events have a time that no clock shows.
        event.head_mut().ts_recv = if time.0 > TIME_NS_MAX { UnixNanos(START) } else { time };
        events.insert(at, event.slots().to_vec());
    }
}

/// What is watched of one shard from step to step.
#[derive(Default)]
struct Watch {
    /// Events that each lane had dispatched by then, and those of higher lanes that have passed it since, while something waited in it.
    dispatched: [u64; 4],
    passed: [u64; 4],
    waits: [bool; 4],
}

impl Watch {
    /// After a step: bounds and turns.
    fn look<C: Chain>(&mut self, shard: &tapeline_core::shard::Shard<C>) {
        let lanes = shard.lanes().unwrap();
        let mut dispatched = [0; 4];
        for (id, topic) in lanes.registry().topics() {
            let used = lanes.used_by(id);
            assert!(used <= topic.capacity(), "topic {} holds {used} slots", topic.name());
            let lane = LANES.iter().position(|lane| *lane == topic.lane()).unwrap();
            dispatched[lane] += lanes.stats(id).dispatched;
        }
        let mut above = 0;
        for lane in 0..4 {
            let went = dispatched[lane] - self.dispatched[lane];
            let waits = lanes.len_of(LANES[lane]) > 0;
            self.passed[lane] = if went == 0 && waits && self.waits[lane] { self.passed[lane] + above } else { 0 };
            // Three lanes may have their turn at one time.
            let most = u64::from(LANE_TURNS_MAX) + 3;
            assert!(self.passed[lane] <= most, "lane {lane} starves: {} events went by", self.passed[lane]);
            self.waits[lane] = waits;
            above += went;
        }
        self.dispatched = dispatched;
    }
}

/// Parked letters of a shard that no handler has seen.
fn without_room<C: Chain>(rig: &Rig<C>, at: usize) -> Vec<dead::Handle> {
    let letters = rig.shards[at].letters().iter();
    letters.filter(|(_, entry)| entry.handler() == NO_ROOM).map(|(letter, _)| letter).collect()
}

/// Tables that are too small, and more than they can take; then calm, with everything still queued.
pub(super) fn live(seed: u64, prng: &mut Prng, met: &mut Met) {
    let order = if prng.one_in(3) { Order::Released } else { Order::Held };
    let (trouble, retry, bus) = (Trouble::draw(prng), policy(prng, order), topics(prng));
    let mut lane_of = BTreeMap::new();
    for (index, topic) in bus.topics.iter().enumerate().filter(|(_, topic)| topic.policy != Overload::DeadLetter) {
        // What was spilled comes back behind what other topics of the lane have sent meanwhile.
        let is_alone = topic.policy == Overload::Spill;
        let lane = LANES.iter().position(|lane| *lane == topic.lane).unwrap();
        let lane = if is_alone { LANES.len() + index } else { lane };
        Kind::ALL.iter().filter(|kind| topic.kinds.contains(**kind)).for_each(|kind| {
            lane_of.insert(kind.0, lane);
        });
    }
    let world = World::live(trouble, order, lane_of);
    let shards = 1 + prng.index(3);
    let count = prng.in_range(50..500);
    let mut events = traffic(prng, count, if shards == 1 { 600 } else { 3 });
    churn(prng, &mut events, &bus);
    let sizes = Sizes {
        shards,
        source_ring: 64 << prng.in_range(0..5),
        mesh_ring: 128 << prng.in_range(0..3),
        room: 4_096 + prng.in_range(0..9_000) as usize,
        timers_max: prng.in_range(4..300) as usize,
        pending: prng.in_range(64..160) as usize,
        ..Sizes::of(shards)
    };
    let letters = dead::Config {
        entries: prng.in_range(2..200) as usize,
        slots: prng.in_range(70..600) as usize,
        holds: prng.in_range(1..30) as usize,
        held_per_symbol: prng.in_range(1..40) as usize,
        errors: 100,
        ..dead::Config::default()
    };
    let dedup = prng.in_range(0..300) as usize;
    let mut rig = Rig::configured(|catalog| world.bus(catalog), events.clone(), sizes, &|config: &mut Config| {
        (config.letters, config.retry, config.dedup_capacity) = (letters, vec![retry], dedup);
        config.requests.retry = retry;
        config.live = Some(vec![bus.clone()]);
    });
    let store_max = prng.index(300);
    rig.outs.iter_mut().for_each(|out| out.store_max = store_max);
    let bytes: Vec<_> = rig.shards.iter_mut().map(|shard| shard.bytes()).collect();
    let mut watches: Vec<Watch> = rig.shards.iter().map(|_| Watch::default()).collect();
    let (redrives, greed) = ([0, 8, 64][prng.index(3)], 1 + prng.index(200));
    let mut redriven = 0;
    let steps_max = 40_000;
    let mut step = |rig: &mut Rig<_>, at: usize| {
        let _ = rig.step(at);
        watches[at].look(&rig.shards[at]);
        assert_eq!(world.disorder_seen.load(Ordering::Relaxed), 0, "step {}: a symbol's events of one lane", rig.steps);
        if rig.steps % 16 == 0 {
            rig.shards[at].letters().assert_invariants();
            rig.shards[at].lanes().unwrap().assert_invariants();
        }
        assert!(rig.steps < steps_max, "not drained after {} steps: {}", rig.steps, stuck(rig));
    };
    while !rig.source.is_done {
        if prng.one_in(2) {
            rig.source.send(1 + prng.index(greed));
        }
        let at = prng.index(rig.shards.len());
        rig.outs[at].is_reading = prng.one_in(3);
        step(&mut rig, at);
        if prng.one_in(3) {
            rig.outs[at].take();
        }
        if redrives > 0 && prng.one_in(redrives) {
            redriven += redrive(&mut rig, at, 1);
        }
    }
    // All faults stop, in the midst of it.
    world.is_calm.store(true, Ordering::Relaxed);
    let queued: usize = rig.shards.iter().map(|shard| shard.backlog()).sum();
    let calm_at = rig.source.time;
    rig.outs.iter_mut().for_each(|out| out.is_reading = false);
    let (mut is_sent_again, mut left) = (false, usize::MAX);
    while !rig.is_drained() || left > 0 || !is_sent_again {
        for at in 0..rig.shards.len() {
            step(&mut rig, at);
            rig.outs[at].take();
        }
        if !rig.is_drained() {
            continue;
        }
        // What found no room goes on its way again as its topic has room; when all of it has, what handlers have given up on goes, once: what
        // is quarantined is parked again.
        left = 0;
        for at in 0..rig.shards.len() {
            let letters = without_room(&rig, at);
            left += letters.len();
            redriven += letters.into_iter().filter(|letter| rig.shards[at].redrive(*letter).is_ok()).count();
        }
        if left == 0 && !is_sent_again {
            redriven += (0..rig.shards.len()).map(|at| redrive(&mut rig, at, usize::MAX)).sum::<usize>();
            is_sent_again = true;
        }
    }
    let ended_at = rig.shards.iter().map(|shard| shard.clock()).max().unwrap();
    let took_ns = ended_at.0.saturating_sub(calm_at.0);
    assert!(took_ns <= CALM_NS_MAX, "all queues drained only after {took_ns} ns of virtual time");
    for (shard, bytes) in rig.shards.iter_mut().zip(bytes) {
        assert_eq!(shard.bytes(), bytes, "no structure grows");
        shard.letters().assert_invariants();
        assert_eq!((shard.letters().waiting(), shard.letters().held()), (0, 0));
        let lanes = shard.lanes().unwrap();
        lanes.assert_invariants();
        assert!(lanes.is_empty() && lanes.spilled() == 0);
    }
    check_counts(seed, &rig, &world, &events);

    let mut stats = [0_u64; 15];
    let mut lanes_counts = [0_u64; 5];
    for lanes in rig.shards.iter().filter_map(|shard| shard.lanes()) {
        for (id, _) in lanes.registry().topics() {
            let words: [u64; 15] = bytemuck::cast(*lanes.stats(id));
            stats.iter_mut().zip(words).for_each(|(sum, word)| *sum += word);
        }
        let words: [u64; 5] = bytemuck::cast(*lanes.counts());
        lanes_counts.iter_mut().zip(words).for_each(|(sum, word)| *sum += word);
    }
    let stats: TopicStats = bytemuck::cast(stats);
    for (what, count) in [
        ("coalesced", stats.coalesced),
        ("dropped as the oldest", stats.dropped_oldest),
        ("dropped as the newest", stats.dropped_newest),
        ("refused for want of room", stats.refused),
        ("expired", stats.expired),
        ("spilled", stats.spilled),
        ("read again", stats.unspilled),
        ("parked for want of room", stats.dead_lettered),
        ("blocked", stats.blocked),
        ("overtaken", lanes_counts[0]),
        ("ticks merged", lanes_counts[1]),
        ("holes told", lanes_counts[2]),
        ("turns of lower lanes", lanes_counts[3]),
        ("queued when the faults stopped", queued as u64),
        ("redriven in live runs", redriven as u64),
        (
            "events after a change of subscriptions",
            events.iter().any(|event| event[0].kind() == Kind::SUBSCRIPTION).into(),
        ),
    ] {
        met.note(what, count);
    }
}

/// Every event that was sent is in the ledger once, and who never fails had each that was dispatched once.
fn check_counts<C: Chain>(seed: u64, rig: &Rig<C>, world: &World, events: &[Vec<Slot>]) {
    let result = rig.result();
    let total = result.ledger.total();
    let gaps: u64 = rig.shards.iter().map(|shard| shard.lanes().unwrap().counts().gaps).sum();
    let sent = events.iter().filter(|event| !event[0].kind().is_control()).count() as u64;
    // A change of subscriptions that is refused is counted as refused.
    let offered = total.offered - result.ledger.row(Kind::SUBSCRIPTION).offered;
    assert_eq!((offered, total.in_flight), (sent + gaps, 0), "seed {seed}: {total:?}");
    assert_eq!(world.gaps.load(Ordering::Relaxed), gaps, "every hole was told");
    let row = |kind: Kind| {
        let row = result.ledger.row(kind);
        row.accepted - row.coalesced - row.expired - row.refused_after_admission
    };
    let dispatched = Kind::ALL.iter().filter(|kind| **kind != Kind::BOOK_ORDER).map(|kind| row(*kind)).sum::<u64>();
    let seen = world.seen.lock().unwrap();
    let all: BTreeSet<u64> = seen.values().flatten().copied().collect();
    let count = seen.values().map(Vec::len).sum::<usize>();
    assert_eq!(all.len(), count, "none came twice");
    assert_eq!(count as u64, dispatched - gaps, "everything that was dispatched came to who never fails");
}
