//! A shard whose source cannot wait: what goes first, what happens without room, and that every event is accounted for.

#[path = "common/shard_rig.rs"]
mod shard_rig;

use shard_rig::{MILLI, START, SYMBOLS, SYMBOLS_MAX, tick};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tapeline_core::bus::{Bus, BusBuilder, End, Link};
use tapeline_core::catalog::{Catalog, SeqRule};
use tapeline_core::dead::{self, Handle};
use tapeline_core::event::payload::{Alert, BookLevel, Epoch, Gap, News, Payload, Quote, Signal, Status, Trade};
use tapeline_core::event::{EventBuf, EventRef, Kind, KindSet, Lane, Slot};
use tapeline_core::handler::{Ctx, Handler, Verdict};
use tapeline_core::ledger::{Refusal, Row};
use tapeline_core::limits::{BATCH_SLOTS, LANE_TURNS_MAX, SPAN_SLOTS_MAX};
use tapeline_core::retry::{self, Backoff, Jitter, Order, RetryConfig};
use tapeline_core::ring::{self, Producer};
use tapeline_core::shard::{Config, NO_ROOM, Outbox, Shard};
use tapeline_core::testing::{CountingAlloc, Prng, allocations};
use tapeline_core::topics::{Bus as TopicBus, OpenError, OpenTopic, Policy, Topic, TopicId};
use tapeline_core::units::{SourceId, SymbolId, UnixNanos};

#[global_allocator]
static ALLOC: CountingAlloc = CountingAlloc;

/// Says of every event that it saw it: `strength` is the sequence number.
#[derive(Default)]
struct Witness {
    ailing: Option<Arc<Ailing>>,
}

/// Of the events with a later number than `healed`, one in a hundred fails the first time, and one in five hundred every time.
#[derive(Default)]
struct Ailing {
    healed: AtomicU64,
    /// The last that failed, by symbol: kept apart from the state, which is as it was after a failure.
    failed: [AtomicU64; SYMBOLS as usize + 1],
}

impl Ailing {
    fn fails(&self, head: &Slot) -> bool {
        let is_chosen = head.seq % 100 == 7 && head.seq > self.healed.load(Ordering::Relaxed);
        let before = || self.failed[head.symbol.index()].swap(head.seq, Ordering::Relaxed);
        is_chosen && (before() != head.seq || head.seq % 500 == 7)
    }
}

impl Handler for Witness {
    type State = [u64; 1];
    const NAME: &'static str = "witness";
    const STATE_VERSION: u16 = 1;

    fn interests(&self) -> KindSet {
        KindSet::of(&[Kind::TRADE, Kind::QUOTE, Kind::BOOK_LEVEL, Kind::NEWS, Kind::STATUS, Kind::GAP])
    }

    fn on_event(&self, _: &mut [u64; 1], ev: EventRef<'_>, cx: &mut Ctx<'_>) -> Verdict {
        if self.ailing.as_ref().is_some_and(|ailing| ailing.fails(ev.head())) {
            return Verdict::Retry(7);
        }
        let missing = ev.get::<Gap>().map_or(0, |gap| gap.missing);
        let seen = Signal { strength: ev.head().seq as f64, price: missing as i64, ..Signal::default() };
        let _ = cx.signal(&seen);
        Verdict::Done
    }
}

/// What the handler saw, in order, and the store of spilled events.
#[derive(Default)]
struct Out {
    /// Kind of the event and its number; for gaps how many are missing.
    seen: Vec<(Kind, u64)>,
    count: u64,
    keeps: bool,
    store: VecDeque<Vec<Slot>>,
    store_max: usize,
    spilled: u64,
    /// Outputs that still fit.
    room: usize,
}

impl Outbox for Out {
    fn has_room(&mut self) -> bool {
        self.room > 0
    }

    fn put(&mut self, output: EventRef<'_>) {
        self.count += 1;
        self.room -= 1;
        let Some(signal) = output.get::<Signal>().filter(|_| self.keeps) else { return };
        let number = if signal.price > 0 { signal.price as u64 } else { signal.strength as u64 };
        self.seen.push((if signal.price > 0 { Kind::GAP } else { Kind::SIGNAL }, number));
    }

    fn spill(&mut self, event: EventRef<'_>) -> bool {
        if self.store.len() == self.store_max {
            return false;
        }
        self.spilled += 1;
        self.store.push_back(event.slots().to_vec());
        true
    }

    fn unspill(&mut self, event: &mut [Slot; SPAN_SLOTS_MAX]) -> usize {
        let Some(slots) = self.store.pop_front() else { return 0 };
        event[..slots.len()].copy_from_slice(&slots);
        slots.len()
    }
}

struct Rig {
    shard: Shard<Link<End, Witness>>,
    ring: Producer,
    out: Out,
    seq: u64,
    time: u64,
    /// The ledger after the last step.
    total: Row,
}

fn bus(catalog: &mut Catalog, symbols_max: usize, witness: Witness) -> Bus<Link<End, Witness>> {
    BusBuilder::new(symbols_max).then(witness).build(catalog).unwrap()
}

impl Rig {
    fn new(buses: Option<Vec<TopicBus>>, ring_slots: usize) -> Self {
        Self::with_symbols(buses, ring_slots, SYMBOLS, SYMBOLS_MAX)
    }

    fn with_symbols(buses: Option<Vec<TopicBus>>, ring_slots: usize, symbols: u32, symbols_max: usize) -> Self {
        let config = Config { live: buses, retry: vec![retry::Policy::STANDARD; 2], ..Config::single() };
        Self::configured(config, ring_slots, symbols, symbols_max, Witness::default())
    }

    fn configured(config: Config, ring_slots: usize, symbols: u32, symbols_max: usize, witness: Witness) -> Self {
        let mut catalog = Catalog::new(symbols_max);
        let bus = bus(&mut catalog, symbols_max, witness);
        for symbol in 1..=symbols {
            catalog.symbol(format!("SYM{symbol}").as_bytes()).unwrap();
        }
        assert_eq!(catalog.source(b"test.feed", SeqRule::Increasing), Ok(SourceId(2)));
        let (ring, consumer) = ring::channel(ring_slots);
        let shard = Shard::new(config, catalog, bus, (), consumer, vec![], vec![]);
        let out = Out { keeps: true, store_max: usize::MAX, room: usize::MAX, ..Out::default() };
        Self { shard, ring, out, seq: 0, time: START, total: Row::default() }
    }

    fn live(topics: Vec<Topic>, ring_slots: usize) -> Self {
        Self::new(Some(vec![TopicBus::new("bus", topics)]), ring_slots)
    }

    fn event<P: Payload>(&mut self, symbol: u32, payload: &P) -> EventBuf {
        self.seq += 1;
        self.time += 1_000;
        let mut event = EventBuf::new(payload);
        let head = event.head_mut();
        (head.seq, head.ts_recv, head.source) = (self.seq, UnixNanos(self.time), SourceId(2));
        head.symbol = SymbolId(symbol);
        event
    }

    /// Pushes an event, which has to fit. Returns its number.
    fn push<P: Payload>(&mut self, symbol: u32, payload: &P) -> u64 {
        let event = self.event(symbol, payload);
        self.ring.push(event.slots()).unwrap();
        self.seq
    }

    fn step(&mut self) {
        let _ = self.shard.step(&mut self.out);
        let ledger = self.shard.ledger();
        let (total, before) = (ledger.total(), self.total);
        assert!(ledger.is_balanced(), "{total:?}");
        let waiting = self.shard.lanes().map_or(0, |lanes| lanes.len() as u64 + lanes.spilled());
        // What was taken out of the lanes and not yet handled is in flight, too, at every instant.
        assert!(total.in_flight >= waiting, "what waits is in flight: {total:?}, {waiting} wait");
        let counts = |row: &Row| {
            let Row { offered, accepted, refused, delivered, coalesced, expired, refused_after_admission, .. } = *row;
            [offered, accepted, refused, delivered, coalesced, expired, refused_after_admission]
        };
        let is_later = counts(&before).iter().zip(counts(&total)).all(|(before, now)| *before <= now);
        assert!(is_later, "no count goes back: {before:?}, {total:?}");
        self.total = total;
    }

    fn steps(&mut self, steps: usize) {
        (0..steps).for_each(|_| self.step());
    }

    /// Ends the stream and goes on until nothing is left.
    fn drain(&mut self) {
        let last = tick(UnixNanos(self.time), true);
        let mut is_sent = false;
        for _ in 0..1_000_000 {
            is_sent = is_sent || self.ring.push(last.slots()).is_ok();
            self.step();
            if self.shard.is_drained() {
                self.shard.lanes().inspect(|lanes| lanes.assert_invariants());
                return;
            }
        }
        panic!("not drained: {:?}", self.shard);
    }

    fn numbers(&self) -> Vec<u64> {
        self.out.seen.iter().map(|(_, number)| *number).collect()
    }
}

fn topic(name: &str, kind: Kind, capacity: usize, policy: Policy) -> Topic {
    Topic { policy, lossy: true, ..Topic::new(name, KindSet::of(&[kind]), capacity) }
}

fn trade() -> Trade {
    Trade { price: 1, size: 1, ..Trade::default() }
}

/// P16.
#[test]
fn req_3468_3480_a_critical_event_behind_ten_thousand_is_in_the_next_batch_and_the_others_keep_their_order() {
    // All of them in the ring when the step begins, and all of them in the lanes.
    for in_lanes in [false, true] {
        let status = Topic { lane: Lane::Critical, ..topic("status", Kind::STATUS, 64, Policy::Block) };
        let mut rig = Rig::live(vec![topic("trades", Kind::TRADE, 1 << 14, Policy::Block), status], 1 << 14);
        let trades: Vec<u64> = (0..10_000).map(|number| rig.push(1 + number % SYMBOLS, &trade())).collect();
        if in_lanes {
            rig.step();
            assert!(rig.shard.lanes().unwrap().len() > 9_900);
        }
        let before = rig.out.seen.len();
        let critical = rig.push(1, &Status::default());
        rig.step();
        let place = rig.numbers().iter().position(|number| *number == critical);
        let place = place.expect("it is dispatched within one batch") - before;
        assert!(place < BATCH_SLOTS, "behind {place}");
        rig.drain();
        let mut others = rig.numbers();
        others.retain(|number| *number != critical);
        assert_eq!(others, trades, "equal priority keeps its order");
        assert!(rig.shard.lanes().unwrap().counts().overtaken > 0);
    }
}

#[test]
fn req_3468_3480_a_lower_lane_has_its_turn_while_higher_ones_never_end() {
    let mut topics = Vec::new();
    for (kind, lane) in [(Kind::STATUS, Lane::Critical), (Kind::NEWS, Lane::High), (Kind::TRADE, Lane::Normal)] {
        topics.push(Topic { lane, ..topic(kind.name(), kind, 1 << 10, Policy::Block) });
    }
    topics.push(Topic { lane: Lane::Low, ..topic("quotes", Kind::QUOTE, 1 << 10, Policy::Block) });
    let mut rig = Rig::live(topics, 1 << 10);
    let low: Vec<u64> = (0..20).map(|_| rig.push(1, &Quote::default())).collect();
    let normal: Vec<u64> = (0..20).map(|_| rig.push(1, &trade())).collect();
    let mut dispatched = 0;
    for _ in 0..40 {
        while rig.shard.lanes().unwrap().len_of(Lane::Critical) + rig.ring.occupied_slots() < 200 {
            rig.push(2, &Status::default());
            if rig.seq.is_multiple_of(3) {
                rig.push(3, &News::default());
            }
        }
        rig.step();
        dispatched = rig.out.seen.len();
    }
    let numbers = rig.numbers();
    for lane in [&low, &normal] {
        let places: Vec<usize> =
            numbers.iter().enumerate().filter(|(_, n)| lane.contains(n)).map(|(at, _)| at).collect();
        assert_eq!(places.len(), 20, "none starved in {dispatched} events");
        let longest = places.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap();
        assert!(longest <= LANE_TURNS_MAX as usize + 4, "a turn came after {longest} events");
        let order: Vec<u64> = places.iter().map(|at| numbers[*at]).collect();
        assert_eq!(&order, lane);
    }
}

/// P16 and P17 where most of a thousand symbols have a hole to be told.
#[test]
fn req_3454_3468_holes_of_a_thousand_symbols_keep_neither_a_critical_event_nor_trades_waiting() {
    const MANY: u32 = 1_000;
    let status = Topic { lane: Lane::Critical, ..topic("status", Kind::STATUS, 64, Policy::Block) };
    let topics = vec![topic("trades", Kind::TRADE, 100, Policy::DropNewest), status];
    let mut rig = Rig::with_symbols(Some(vec![TopicBus::new("bus", topics)]), 1 << 12, MANY, 1_024);
    for round in 0..50 {
        // More than the step before has taken out, for every symbol.
        (1..=MANY).for_each(|symbol| {
            rig.push(symbol, &trade());
        });
        let critical = (round % 5 == 4).then(|| rig.push(1, &Status::default()));
        let before = rig.out.seen.len();
        rig.step();
        let batch = &rig.out.seen[before..];
        let gaps = batch.iter().filter(|(kind, _)| *kind == Kind::GAP).count();
        // A trade may have the gap of its own symbol before it.
        assert!(
            2 * (batch.len() - gaps) + BATCH_SLOTS / 4 >= BATCH_SLOTS,
            "round {round}: {gaps} gaps in {}",
            batch.len()
        );
        if let Some(critical) = critical {
            let place = batch.iter().position(|(_, number)| *number == critical);
            assert!(place.is_some_and(|place| place <= 1), "round {round}: at {place:?}");
        }
    }
    assert!(rig.shard.lanes().unwrap().counts().gaps > 100, "holes were told");
    rig.drain();
    // Each hole was told once: what was delivered and what is missing is what was sent.
    let missing: u64 = rig.out.seen.iter().filter(|(kind, _)| *kind == Kind::GAP).map(|(_, missing)| missing).sum();
    let trades = rig.shard.ledger().row(Kind::TRADE);
    assert_eq!((trades.offered, trades.delivered + missing), (50 * u64::from(MANY), 50 * u64::from(MANY)));
}

#[test]
fn without_load_lanes_change_nothing_that_shows() {
    let run = |buses| {
        let mut rig = Rig::new(buses, 256);
        let mut prng = Prng::new(3);
        for _ in 0..3_000 {
            let symbol = 1 + prng.index(SYMBOLS as usize) as u32;
            match prng.index(3) {
                0 => rig.push(symbol, &trade()),
                1 => rig.push(symbol, &BookLevel::default()),
                _ => rig.push(symbol, &News::default()),
            };
            if prng.one_in(4) {
                let _ = rig.ring.push(tick(UnixNanos(rig.time + 5 * MILLI), false).slots());
            }
            rig.step();
        }
        rig.drain();
        (rig.shard.digest_total(), rig.shard.ledger().total(), rig.numbers())
    };
    let wait = run(None);
    let live = run(Some(vec![TopicBus::market()]));
    assert_eq!(wait, live);
}

#[test]
fn req_3454_where_a_topic_blocks_the_source_waits_and_nothing_is_lost() {
    let mut rig = Rig::live(vec![topic("trades", Kind::TRADE, 64, Policy::Block)], 128);
    let mut waited = 0;
    for _ in 0..5_000 {
        let event = rig.event(1, &trade());
        while rig.ring.push(event.slots()).is_err() {
            waited += 1;
            rig.step();
        }
    }
    rig.drain();
    assert!(waited > 0, "the ring was full");
    assert_eq!(rig.numbers(), (1..=5_000).collect::<Vec<_>>());
    let total = rig.shard.ledger().total();
    assert_eq!((total.offered, total.delivered, total.refused), (5_000, 5_000, 0));
    assert!(!rig.shard.lanes().unwrap().has_acted());
}

#[test]
fn req_3454_what_is_refused_or_dropped_is_counted_and_watermarks_are_transitions() {
    for (policy, refused, dropped) in
        [(Policy::Refuse, true, false), (Policy::DropNewest, false, true), (Policy::DropOldest, false, true)]
    {
        let news = Topic { high: 60, low: 10, ..topic("news", Kind::NEWS, 100, policy) };
        let mut rig = Rig::live(vec![news], 1 << 10);
        let pushed: Vec<u64> = (0..300).map(|_| rig.push(1, &News::default())).collect();
        rig.step();
        let lanes = rig.shard.lanes().unwrap();
        let highs: Vec<bool> = lanes.transitions().since(0).map(|transition| transition.is_high).collect();
        assert_eq!(highs, [true], "{}", policy.name());
        rig.drain();
        let lanes = rig.shard.lanes().unwrap();
        let highs: Vec<bool> = lanes.transitions().since(0).map(|transition| transition.is_high).collect();
        assert_eq!(highs, [true, false]);
        let total = rig.shard.ledger().total();
        assert_eq!((total.offered, total.delivered), (300, 100), "{}", policy.name());
        assert_eq!(total.refused, if refused { 200 } else { 0 });
        assert_eq!(total.refused, rig.shard.ledger().refused_by(Refusal::TopicFull));
        assert_eq!(total.refused_after_admission, if dropped { 200 } else { 0 });
        let kept = if policy == Policy::DropOldest { &pushed[200..] } else { &pushed[..100] };
        assert_eq!(rig.numbers(), kept);
    }
}

#[test]
fn req_3486_only_the_newest_event_of_a_key_waits_and_what_was_merged_away_is_counted() {
    let mut rig = Rig::live(vec![topic("quotes", Kind::QUOTE, 1_000, Policy::Conflate)], 1 << 10);
    for _ in 0..30 {
        (1..=SYMBOLS).for_each(|symbol| {
            rig.push(symbol, &Quote::default());
        });
    }
    rig.drain();
    let newest: Vec<u64> = (1..=u64::from(SYMBOLS)).map(|symbol| 29 * u64::from(SYMBOLS) + symbol).collect();
    assert_eq!(rig.numbers(), newest);
    let total = rig.shard.ledger().total();
    assert_eq!((total.offered, total.coalesced, total.delivered), (270, 261, 9));
}

#[test]
fn req_3454_a_hole_among_trades_is_told_in_its_place() {
    let mut rig = Rig::live(vec![topic("trades", Kind::TRADE, 64, Policy::DropNewest)], 1 << 10);
    (0..100).for_each(|_| {
        rig.push(1, &trade());
    });
    rig.steps(2);
    // 64 waited, 36 were lost; the gap goes out behind what was before it.
    assert_eq!(rig.out.seen.last(), Some(&(Kind::GAP, 36)));
    assert_eq!(rig.out.seen.len(), 65);
    rig.drain();
    let gaps = rig.shard.ledger().row(Kind::GAP);
    assert_eq!((gaps.offered, gaps.delivered), (1, 1), "it is an event of the stream");
    assert_eq!(rig.shard.ledger().row(Kind::TRADE).refused_after_admission, 36);
}

#[test]
fn req_3454_what_is_spilled_comes_back_in_order() {
    let mut rig = Rig::live(vec![topic("trades", Kind::TRADE, 128, Policy::Spill)], 1 << 12);
    for _ in 0..10 {
        (0..1_000).for_each(|number| {
            rig.push(1 + number % SYMBOLS, &trade());
        });
        rig.steps(5);
    }
    assert!(rig.shard.ledger().total().in_flight > 1_000, "what is spilled is in flight");
    rig.drain();
    assert_eq!(rig.numbers(), (1..=10_000).collect::<Vec<_>>());
    let total = rig.shard.ledger().total();
    assert_eq!((total.delivered, total.in_flight), (10_000, 0));
    assert!(rig.out.spilled > 5_000 && rig.out.store.is_empty());
    // A store that is full keeps what it has, and the others are refused.
    let mut rig = Rig::live(vec![topic("trades", Kind::TRADE, 128, Policy::Spill)], 1 << 12);
    rig.out.store_max = 100;
    (0..1_000).for_each(|_| {
        rig.push(1, &trade());
    });
    rig.drain();
    let total = rig.shard.ledger().total();
    assert_eq!((total.delivered, total.refused_after_admission), (228 + 1, 772));
    assert_eq!(rig.out.seen.last(), Some(&(Kind::GAP, 772)));
}

#[test]
fn req_3454_what_finds_no_room_is_parked_and_can_be_redriven() {
    let mut rig = Rig::live(vec![topic("news", Kind::NEWS, 100, Policy::DeadLetter)], 1 << 10);
    let pushed: Vec<u64> = (0..150).map(|_| rig.push(1, &News::default())).collect();
    rig.step();
    let parked: Vec<_> = rig.shard.letters().iter().map(|(handle, _)| handle).collect();
    assert_eq!((parked.len(), rig.shard.ledger().total().dead_lettered), (50, 50));
    assert!(rig.shard.letters().iter().all(|(_, entry)| entry.handler() == NO_ROOM));
    rig.steps(5);
    for letter in parked {
        rig.shard.redrive(letter).unwrap();
        assert!(rig.shard.redrive(letter).is_err(), "once");
    }
    assert_eq!((rig.shard.ledger().total().dead_lettered, rig.shard.letters().len()), (0, 0));
    rig.drain();
    let mut seen = rig.numbers();
    seen.sort_unstable();
    assert_eq!(seen, pushed);
    assert_eq!(rig.shard.ledger().total().delivered, 150);
}

/// The only hold that there may be is taken by an event that waits for its retry.
#[test]
fn what_found_no_room_needs_no_hold_to_be_redriven() {
    let topics =
        vec![topic("news", Kind::NEWS, 10, Policy::DeadLetter), topic("trades", Kind::TRADE, 10, Policy::Block)];
    let config = Config {
        live: Some(vec![TopicBus::new("bus", topics)]),
        retry: vec![retry::Policy::STANDARD],
        letters: dead::Config { holds: 1, ..dead::Config::default() },
        ..Config::single()
    };
    assert_eq!(config.retry[0].config().order, Order::Held);
    let witness = Witness { ailing: Some(Arc::default()) };
    let mut rig = Rig::configured(config, 1 << 10, SYMBOLS, SYMBOLS_MAX, witness);
    rig.seq = 506;
    assert_eq!(rig.push(2, &trade()), 507, "it fails");
    rig.step();
    assert_eq!((rig.shard.letters().waiting(), rig.shard.letters().parked()), (1, 0));
    (0..13).for_each(|_| {
        rig.push(1, &News::default());
    });
    rig.step();
    let parked: Vec<_> =
        rig.shard.letters().iter().filter(|(_, entry)| entry.handler() == NO_ROOM).map(|(handle, _)| handle).collect();
    assert_eq!(parked.len(), 3);
    // While its topic has no room it stays as it was, and nothing is counted.
    let before = *rig.shard.letters().stats();
    rig.out.room = 0;
    (0..10).for_each(|_| {
        rig.push(1, &News::default());
    });
    rig.step();
    assert_eq!(rig.shard.redrive(parked[0]), Err(dead::Refused::HoldBusy));
    assert_eq!((rig.shard.letters().parked(), *rig.shard.letters().stats()), (3, before));
    rig.out.room = usize::MAX;
    rig.steps(2);
    for letter in parked {
        assert_eq!(rig.shard.redrive(letter), Ok(()));
        assert_eq!(rig.shard.redrive(letter), Err(dead::Refused::Stale), "once");
    }
    let (letters, total) = (rig.shard.letters(), rig.shard.ledger().total());
    assert_eq!((letters.parked(), letters.waiting(), total.dead_lettered, total.in_flight), (0, 1, 0, 4));
    let stats = letters.stats();
    assert_eq!((stats.redriven - before.redriven, stats.succeeded - before.succeeded), (3, 0));
    letters.assert_invariants();
    rig.step();
    assert_eq!(rig.shard.ledger().row(Kind::NEWS).delivered, 23);
}

#[test]
fn control_keeps_its_place_in_the_stream() {
    let mut rig = Rig::live(vec![topic("trades", Kind::TRADE, 1 << 10, Policy::Block)], 1 << 10);
    let event = rig.event(1, &trade());
    (0..200).for_each(|_| {
        rig.push(1, &trade());
    });
    rig.ring.push(event.slots()).unwrap();
    rig.ring.push(EventBuf::new(&Epoch::default()).slots()).unwrap();
    // In the new epoch, what was seen before is new.
    rig.ring.push(event.slots()).unwrap();
    rig.step();
    assert_eq!(rig.shard.ledger().total().offered, 201, "what follows the epoch waits for it");
    rig.drain();
    let total = rig.shard.ledger().total();
    assert_eq!((total.delivered, total.refused), (202, 0));
}

/// Behind a backlog, time is that of the event at the front: past it, bars would close without it.
#[test]
fn a_tick_passes_no_normal_event_and_time_moves_with_each_that_is_dispatched() {
    let mut rig = Rig::live(vec![topic("trades", Kind::TRADE, 1 << 12, Policy::Block)], 1 << 12);
    let last_time = |rig: &Rig| UnixNanos(START + 1_000 * rig.numbers().last().unwrap());
    for _ in 0..10 {
        (0..200).for_each(|number| {
            rig.push(1 + number % SYMBOLS, &trade());
        });
        rig.ring.push(tick(UnixNanos(rig.time), false).slots()).unwrap();
        rig.step();
        assert_eq!(rig.shard.clock(), last_time(&rig));
    }
    let lanes = rig.shard.lanes().unwrap();
    assert_eq!((lanes.counts().ticks_merged, lanes.len()), (9, 2_000 - 10 * BATCH_SLOTS));
    let end = UnixNanos(rig.time + 5 * MILLI);
    rig.ring.push(tick(end, false).slots()).unwrap();
    for _ in 0..(2_000 - 10 * BATCH_SLOTS) / BATCH_SLOTS {
        rig.step();
        assert_eq!(rig.shard.clock(), last_time(&rig));
    }
    assert!(!rig.shard.lanes().unwrap().is_empty());
    rig.step();
    assert_eq!((rig.numbers().len(), rig.shard.clock()), (2_000, end));
}

#[test]
fn a_topic_that_is_overdue_expires_by_source_time() {
    let news = Topic { expire_after_ns: 50_000, ..topic("news", Kind::NEWS, 1 << 10, Policy::Block) };
    let mut rig = Rig::live(vec![news], 1 << 10);
    // One a microsecond: of 200, those that came more than 50 us before the last have waited for too long.
    (0..200).for_each(|_| {
        rig.push(1, &News::default());
    });
    rig.step();
    let total = rig.shard.ledger().total();
    assert_eq!((total.expired, total.delivered), (150, 50));
}

#[test]
fn buses_close_and_open_while_the_shard_runs() {
    let mut rig = Rig::live(vec![topic("trades", Kind::TRADE, 1 << 10, Policy::Block)], 1 << 10);
    let lanes = rig.shard.lanes().unwrap();
    let id = lanes.registry().find("bus").unwrap();
    (0..100).for_each(|_| {
        rig.push(1, &trade());
    });
    rig.step();
    rig.shard.close_bus(id).unwrap();
    rig.push(1, &trade());
    rig.step();
    let total = rig.shard.ledger().total();
    assert_eq!((total.delivered, total.refused), (100, 1));
    assert_eq!(rig.shard.ledger().refused_by(Refusal::NoTopic), 1);
    assert!(rig.shard.close_bus(id).is_err() && rig.shard.clear_bus(id).is_err(), "gone");
    let again = TopicBus::new("again", vec![topic("trades", Kind::TRADE, 1 << 10, Policy::Block)]);
    let again = rig.shard.open_bus(&again).unwrap().unwrap();
    (0..100).for_each(|_| {
        rig.push(1, &trade());
    });
    rig.step();
    assert_eq!(rig.shard.clear_bus(again), Ok(36));
    rig.drain();
    let trades = rig.shard.ledger().row(Kind::TRADE);
    assert_eq!((trades.delivered, trades.refused_after_admission), (164, 36));
    assert_eq!(rig.out.seen.last(), Some(&(Kind::GAP, 36)), "what was cleared is missing");
}

#[test]
fn req_3387_an_event_is_counted_from_the_ring_to_its_end_also_where_a_batch_is_stuck() {
    let mut rig = Rig::live(vec![topic("trades", Kind::TRADE, 64, Policy::DropNewest)], 1 << 10);
    let mut prng = Prng::new(5);
    let mut sent = 0;
    for _ in 0..2_000 {
        for _ in 0..prng.index(60) {
            let symbol = 1 + prng.index(SYMBOLS as usize) as u32;
            sent += rig.push(symbol, &trade()).min(1);
        }
        // The way out is full in the midst of a batch.
        rig.out.room = prng.index(50);
        rig.step();
        // Everything is of one slot: what waits in the batch and in the lanes is what is in flight.
        let total = rig.shard.ledger().total();
        assert_eq!(total.in_flight, rig.shard.backlog() as u64, "{total:?}");
        assert_eq!(total.offered, sent + rig.shard.lanes().unwrap().counts().gaps);
    }
    rig.out.room = usize::MAX;
    rig.drain();
    assert_eq!(rig.shard.ledger().total().in_flight, 0);
}

#[test]
fn a_duplicate_that_finds_no_room_is_a_duplicate_and_leaves_no_hole() {
    for policy in [Policy::Refuse, Policy::Block, Policy::DropNewest] {
        let mut rig = Rig::live(vec![topic("trades", Kind::TRADE, 10, policy)], 1 << 10);
        let event = rig.event(1, &trade());
        rig.ring.push(event.slots()).unwrap();
        (1..10).for_each(|_| {
            rig.push(1, &trade());
        });
        // The topic is full, and nothing leaves.
        rig.out.room = 0;
        rig.step();
        rig.ring.push(event.slots()).unwrap();
        rig.step();
        let ledger = rig.shard.ledger();
        let refused = (ledger.refused_by(Refusal::Duplicate), ledger.refused_by(Refusal::TopicFull));
        assert_eq!(refused, (1, 0), "{}", policy.name());
        rig.out.room = usize::MAX;
        rig.drain();
        assert_eq!(rig.numbers(), (1..=10).collect::<Vec<_>>(), "{}: no gap is told", policy.name());
        // What was refused was not remembered: sent again, it is new.
        if policy == Policy::Refuse {
            let mut rig = Rig::live(vec![topic("trades", Kind::TRADE, 10, policy)], 1 << 10);
            (0..10).for_each(|_| {
                rig.push(1, &trade());
            });
            let event = rig.event(1, &trade());
            rig.ring.push(event.slots()).unwrap();
            rig.step();
            assert_eq!(rig.shard.ledger().refused_by(Refusal::TopicFull), 1);
            rig.ring.push(event.slots()).unwrap();
            rig.drain();
            assert_eq!(rig.shard.ledger().row(Kind::TRADE).delivered, 11);
        }
    }
}

#[test]
fn a_topic_of_a_bus_that_is_opened_later_has_its_retry_policy_or_is_refused() {
    let news = |retry| {
        let mut topics = vec![Topic { retry, ..topic("news", Kind::NEWS, 1, Policy::DeadLetter) }];
        topics[0].name = format!("news {retry}");
        TopicBus::new("later", topics)
    };
    let mut rig = Rig::live(vec![topic("trades", Kind::TRADE, 8, Policy::Block)], 1 << 10);
    let id = rig.shard.lanes().unwrap().registry().find("bus").unwrap();
    rig.shard.close_bus(id).unwrap();
    let error = OpenError::NoRetryPolicy { topic: "news 2".into(), number: 2, policies: 2 };
    assert_eq!(rig.shard.open_bus(&news(2)), Some(Err(error)));
    assert_eq!(rig.shard.lanes().unwrap().registry().buses().count(), 0, "a refused bus is not there");
    for retry in [1, 0] {
        let id = rig.shard.open_bus(&news(retry)).unwrap().unwrap();
        (0..2).for_each(|_| {
            rig.push(1, &News::default());
        });
        rig.step();
        let (letter, entry) = rig.shard.letters().iter().next().unwrap();
        assert_eq!(entry.policy(), retry, "that of its topic");
        rig.shard.redrive(letter).unwrap();
        rig.step();
        rig.shard.close_bus(id).unwrap();
    }
    rig.drain();
    assert_eq!(rig.shard.ledger().total().delivered, 4);
}

#[test]
fn policies_act_while_the_way_out_is_full() {
    let mut rig = Rig::live(vec![topic("quotes", Kind::QUOTE, 256, Policy::Conflate)], 64);
    rig.out.room = 0;
    for _ in 0..10_000 {
        let event = rig.event(1, &Quote::default());
        rig.ring.push(event.slots()).expect("the ring never fills");
        rig.step();
    }
    rig.out.room = usize::MAX;
    rig.drain();
    assert!(rig.shard.ledger().total().coalesced > 9_000);
}

/// What a shard can take at most, in events a step: the ring is never empty, nothing fails, nothing is lost.
fn most_per_step() -> f64 {
    let mut rig = Rig::live(vec![topic("news", Kind::NEWS, 1 << 8, Policy::Block)], 1 << 10);
    rig.out.keeps = false;
    let steps = 1_000;
    for _ in 0..steps {
        while rig.ring.free_slots() > 0 {
            rig.push(1, &News::default());
        }
        rig.step();
    }
    rig.shard.ledger().total().delivered as f64 / f64::from(steps)
}

/// Steps of a burst, and of the silence after it.
const BURST: usize = 200;

/// Bursts of four times what a shard can take and as long a silence in turns, twice as much on average. One event in twenty comes twice,
/// one in a hundred fails and is retried, some of those until they are parked and sent on their way again. Most policies are at work.
struct Overload {
    rig: Rig,
    prng: Prng,
    ailing: Arc<Ailing>,
    /// Everything that was pushed.
    sent: u64,
    steps: u64,
    /// Critical events that were sent behind ten thousand normal ones and more.
    behind_many: u64,
    redriven: u64,
    parked: Vec<Handle>,
}

impl Overload {
    /// The symbol of critical events that nothing holds.
    const PROBE: u32 = SYMBOLS;

    fn new() -> Self {
        let critical = Topic { lane: Lane::Critical, ..topic("status", Kind::STATUS, 1 << 10, Policy::Block) };
        let topics = vec![
            topic("quotes", Kind::QUOTE, 1 << 6, Policy::Conflate),
            topic("trades", Kind::TRADE, 4, Policy::DropOldest),
            topic("levels", Kind::BOOK_LEVEL, 4, Policy::DropNewest),
            topic("news", Kind::NEWS, 1 << 14, Policy::Refuse),
            Topic { lane: Lane::High, ..topic("alerts", Kind::ALERT, 1, Policy::DeadLetter) },
            topic("gaps", Kind::GAP, 1 << 8, Policy::Block),
            critical,
        ];
        let backoff = Backoff::Fixed { delay_ns: 20_000 };
        let retry = RetryConfig { attempts_max: 3, backoff, jitter: Jitter::None, order: Order::Held };
        let letters =
            dead::Config { entries: 1 << 14, slots: 1 << 15, held_per_symbol: 1 << 11, ..dead::Config::default() };
        let config = Config {
            live: Some(vec![TopicBus::new("bus", topics)]),
            retry: vec![retry::Policy::new(retry).unwrap()],
            letters,
            ..Config::single()
        };
        let ailing = Arc::new(Ailing::default());
        let witness = Witness { ailing: Some(Arc::clone(&ailing)) };
        let mut rig = Rig::configured(config, 1 << 10, SYMBOLS, SYMBOLS_MAX, witness);
        (rig.out.keeps, rig.out.seen) = (false, Vec::with_capacity(1 << 14));
        let (prng, parked) = (Prng::new(17), Vec::with_capacity(letters.entries));
        Self { rig, prng, ailing, sent: 0, steps: 0, behind_many: 0, redriven: 0, parked }
    }

    fn step(&mut self) {
        self.rig.step();
        self.steps += 1;
    }

    fn burst(&mut self) {
        self.ailing.healed.store(self.rig.seq, Ordering::Relaxed);
        for _ in 0..BURST {
            for _ in 0..4 * BATCH_SLOTS {
                let symbol = 1 + self.prng.index(Self::PROBE as usize - 1) as u32;
                let event = match self.prng.index(1_000) {
                    0..=199 => self.rig.event(symbol, &Quote::default()),
                    200..=209 => self.rig.event(symbol, &trade()),
                    210..=219 => self.rig.event(symbol, &BookLevel::default()),
                    220..=223 => self.rig.event(symbol, &Alert::default()),
                    224..=263 => self.rig.event(symbol, &Status::default()),
                    _ => self.rig.event(symbol, &News::default()),
                };
                for _ in 0..1 + usize::from(self.prng.one_in(20)) {
                    self.rig.ring.push(event.slots()).expect("a shard takes all that has come");
                    self.sent += 1;
                }
            }
            self.step();
        }
    }

    /// Nothing comes but a critical event now and then, and what is parked is sent on its way.
    fn silence(&mut self) {
        self.ailing.healed.store(u64::MAX, Ordering::Relaxed);
        for step in 0..BURST {
            // Time passes as in a burst.
            self.rig.time += 4 * BATCH_SLOTS as u64 * 1_000;
            self.redrive();
            if step % 10 != 0 {
                self.step();
                continue;
            }
            let waiting = self.rig.shard.lanes().unwrap().len_of(Lane::Normal);
            let critical = self.rig.push(Self::PROBE, &Status::default());
            self.sent += 1;
            self.rig.out.keeps = true;
            self.be_next(waiting);
            while !self.rig.out.seen.iter().any(|(_, number)| *number == critical) {
                let lanes = self.rig.shard.lanes().unwrap();
                assert!(self.rig.shard.backlog() > lanes.used_slots(), "its batch is done, and it was not handled");
                self.step();
            }
            self.rig.out.keeps = false;
            self.rig.out.seen.clear();
            self.behind_many += u64::from(waiting >= 10_000);
        }
    }

    /// The critical event that was just pushed is in the very next batch. One that is not used up comes before it.
    fn be_next(&mut self, waiting: usize) {
        loop {
            let has_batch = self.rig.shard.backlog() > self.rig.shard.lanes().unwrap().used_slots();
            self.step();
            let lanes = self.rig.shard.lanes().unwrap();
            if lanes.len_of(Lane::Critical) == 0 {
                return;
            }
            assert!(has_batch, "a critical event behind {waiting} was not in the next batch");
        }
    }

    fn redrive(&mut self) {
        let letters = self.rig.shard.letters();
        let parked = letters.iter().filter(|(_, entry)| entry.state() == dead::State::Parked);
        self.parked.clear();
        self.parked.extend(parked.map(|(letter, _)| letter));
        for letter in &self.parked {
            // Where its topic has no room still, it stays.
            self.redriven += u64::from(self.rig.shard.redrive(*letter).is_ok());
        }
    }

    fn bytes(&mut self) -> usize {
        self.rig.shard.bytes().iter().map(|(_, bytes)| bytes).sum()
    }
}

/// P16 and P17.
fn overload(events: u64) {
    let most = most_per_step();
    let mut load = Overload::new();
    let mut warm = None;
    while load.sent < events {
        load.burst();
        load.silence();
        let is_flat = (load.bytes(), allocations());
        assert_eq!(*warm.get_or_insert(is_flat), is_flat, "memory is flat after {} events", load.sent);
    }
    // Before what still waits is let out: a shard at its limit does nothing but handle events.
    let ledger = load.rig.shard.ledger();
    let delivered = ledger.total().delivered - ledger.row(Kind::GAP).delivered;
    let goodput = delivered as f64 / load.steps as f64;
    let (letters, gaps) = (load.rig.shard.letters().stats(), ledger.row(Kind::GAP).delivered);
    assert!(
        goodput >= 0.95 * most,
        "{goodput} of {most} events a step in {} steps; {gaps} gaps; {:?}; {letters:?}",
        load.steps,
        ledger.total()
    );
    let bursts = load.steps / (2 * BURST as u64);
    assert!(load.behind_many >= bursts, "critical events behind ten thousand: {} in {bursts} bursts", load.behind_many);

    load.ailing.healed.store(u64::MAX, Ordering::Relaxed);
    for _ in 0..100_000 {
        load.redrive();
        if load.parked.is_empty() && load.rig.shard.backlog() == 0 {
            break;
        }
        load.rig.time += MILLI;
        let _ = load.rig.ring.push(tick(UnixNanos(load.rig.time), false).slots());
        load.rig.step();
    }
    load.rig.drain();
    let ledger = load.rig.shard.ledger();
    let total = ledger.total();
    let lanes = load.rig.shard.lanes().unwrap();
    assert_eq!(total.offered, load.sent + lanes.counts().gaps, "every event is there, and so is every gap");
    let ends = [total.delivered, total.coalesced, total.refused_after_admission];
    assert_eq!(total.accepted, ends.iter().sum::<u64>(), "nothing is parked or under way: {total:?}");
    assert_eq!(total.offered, total.accepted + total.refused);
    let (duplicates, full) = (ledger.refused_by(Refusal::Duplicate), ledger.refused_by(Refusal::TopicFull));
    assert_eq!(total.refused, duplicates + full);
    assert!(ends.iter().all(|end| *end > 0) && duplicates > load.sent / 100 && full > 0, "{total:?}");
    let stats = load.rig.shard.letters().stats();
    assert!(stats.retries > load.sent / 1_000 && load.redriven > bursts, "{stats:?}, {} redriven", load.redriven);
    let is_bounded = |(id, topic): (TopicId, &OpenTopic)| lanes.stats(id).peak_slots <= topic.capacity() as u64;
    assert!(lanes.registry().topics().all(is_bounded), "no queue is without a limit");
}

#[test]
fn req_3387_3454_at_twice_the_capacity_nothing_is_lost_silently_and_memory_is_flat() {
    overload(300_000);
}

#[test]
#[ignore = "soak: 10 million events; cargo test -p tapeline-core --test shard_lanes -- --ignored"]
fn soak_ten_million_events_at_twice_the_capacity() {
    overload(10_000_000);
}
