//! Timers: before an event of time t every timer with T <= t has fired, in the order (T, order of scheduling).

#[path = "common/shard_rig.rs"]
mod shard_rig;

use shard_rig::{MILLI, Rig, START, SYMBOLS_MAX, Sizes, feed, stream, tick};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use tapeline_core::bus::{Bus, BusBuilder, Chain};
use tapeline_core::catalog::Catalog;
use tapeline_core::event::payload::{Alert, Cause, Trade};
use tapeline_core::event::{EventBuf, EventRef, Kind, KindSet};
use tapeline_core::handler::{Ctx, Handler, TimerId, Verdict};
use tapeline_core::limits::{DRAIN_NS_MAX, STAGED_TIMERS_MAX, TICK_NS, TIMERS_PER_STEP};
use tapeline_core::ring::{self, Producer};
use tapeline_core::shard::{Config, Limit, Shard};
use tapeline_core::stats::Series;
use tapeline_core::testing::{Prng, for_seeds};
use tapeline_core::units::{SourceId, SymbolId, UnixNanos};

/// What a [`Clockwork`] was called with, in order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Called {
    /// Sequence number and shard time.
    Event(u64, u64),
    /// Token and shard time.
    Timer(u64, u64),
}

type Log = Arc<Mutex<Vec<Called>>>;

/// Sets timers as told: a trade's size is how many, its price the distance in ns from now, its depth how often each sets
/// itself again at that distance.
struct Clockwork(Log);

/// Distance, repeats left and a number, in a token.
fn token(distance_ns: u64, repeats: u64, number: u64) -> u64 {
    assert!(distance_ns < 1 << 48 && repeats < 16 && number < 1 << 12);
    distance_ns << 16 | repeats << 12 | number
}

impl Handler for Clockwork {
    type State = u64;
    const NAME: &'static str = "clockwork";
    const STATE_VERSION: u16 = 1;

    fn interests(&self) -> KindSet {
        const { KindSet::of(&[Kind::TRADE]) }
    }

    fn on_event(&self, _st: &mut u64, ev: EventRef<'_>, cx: &mut Ctx<'_>) -> Verdict {
        let trade = ev.get::<Trade>().unwrap();
        self.0.lock().unwrap().push(Called::Event(ev.head().seq, cx.now().0));
        for number in 0..trade.size {
            let at = UnixNanos(cx.now().0.wrapping_add_signed(trade.price));
            let distance_ns = trade.price.unsigned_abs();
            cx.timer_at(at, token(distance_ns, u64::from(trade.depth), number)).unwrap();
        }
        Verdict::Done
    }

    fn on_timer(&self, _st: &mut u64, own: u64, cx: &mut Ctx<'_>) -> Verdict {
        self.0.lock().unwrap().push(Called::Timer(own, cx.now().0));
        let (distance_ns, repeats, number) = (own >> 16, own >> 12 & 15, own & 0xfff);
        if repeats > 0 {
            let next = if repeats == 15 { 15 } else { repeats - 1 };
            cx.timer_at(cx.now().saturating_add(distance_ns), token(distance_ns, next, number)).unwrap();
        }
        Verdict::Done
    }
}

fn bus(log: &Log) -> impl Fn(&mut Catalog) -> Bus<tapeline_core::bus::Link<tapeline_core::bus::End, Clockwork>> {
    let log = log.clone();
    move |catalog| BusBuilder::new(SYMBOLS_MAX).then(Clockwork(log.clone())).build(catalog).unwrap()
}

fn shard(log: &Log, timers_max: usize) -> (Shard<impl Chain>, Producer) {
    let (producer, consumer) = ring::channel(4096);
    let bus = bus(log);
    let catalog = shard_rig::authority(&bus);
    let handlers = bus(&mut catalog.clone());
    let config = Config { timers_max, ..Config::single() };
    (Shard::new(config, catalog, handlers, (), consumer, vec![], vec![]), producer)
}

fn trade(seq: u64, time: u64, timers: u64, distance_ns: i64, repeats: u8) -> EventBuf {
    let mut event = EventBuf::new(&Trade { price: distance_ns, size: timers, depth: repeats, ..Trade::default() });
    let head = event.head_mut();
    (head.ts_recv, head.seq) = (UnixNanos(time), seq);
    (head.symbol, head.source) = (SymbolId(1 + seq as u32 % 9), SourceId(2));
    event
}

/// Steps until nothing happens; no step fires more than its budget.
fn settle(shard: &mut Shard<impl Chain>) -> usize {
    let mut steps = 0;
    loop {
        let fired = shard.timers_fired();
        let step = shard.step(&mut ());
        assert!(shard.timers_fired() - fired <= TIMERS_PER_STEP as u64);
        assert!(shard.ledger().is_balanced());
        if step.work == 0 {
            return steps;
        }
        steps += 1;
    }
}

/// What must be called, by a sorted list: events and ticks in order, timers before what is not before their T.
fn expected(events: &[(u64, u64, u64, i64, u8)], end: u64) -> Vec<Called> {
    let (mut calls, mut pending, mut order, mut now) = (Vec::new(), Vec::new(), 0u64, 0u64);
    let up = |at: u64| at.next_multiple_of(TICK_NS);
    let fire =
        |pending: &mut Vec<(u64, u64, u64)>, calls: &mut Vec<Called>, order: &mut u64, now: &mut u64, until: u64| {
            while let Some(first) = pending.iter().min().copied().filter(|first| first.0 <= until) {
                pending.retain(|timer| *timer != first);
                *now = (*now).max(first.0);
                calls.push(Called::Timer(first.2, *now));
                let (distance_ns, repeats, number) = (first.2 >> 16, first.2 >> 12 & 15, first.2 & 0xfff);
                if repeats > 0 {
                    let next = if repeats == 15 { 15 } else { repeats - 1 };
                    pending.push((up(*now + distance_ns), *order, token(distance_ns, next, number)));
                    *order += 1;
                }
            }
        };
    for &(seq, time, timers, distance_ns, repeats) in events {
        let until = now.max(time);
        fire(&mut pending, &mut calls, &mut order, &mut now, until);
        now = until;
        calls.push(Called::Event(seq, now));
        for number in 0..timers {
            let at = up(now.wrapping_add_signed(distance_ns));
            pending.push((at, order, token(distance_ns.unsigned_abs(), u64::from(repeats), number)));
            order += 1;
        }
    }
    fire(&mut pending, &mut calls, &mut order, &mut now, end);
    calls
}

#[test]
fn timers_fire_before_events_not_before_their_time_in_order() {
    for_seeds(0..60, |seed, prng| {
        let log = Log::default();
        let (mut shard, mut producer) = shard(&log, 1 << 12);
        let (mut events, mut time) = (Vec::new(), START);
        for seq in 0..80 {
            time += match prng.in_range(0..6) {
                0 => 0,
                1 => TICK_NS - time % TICK_NS,
                2 => 1,
                3 => prng.in_range(0..200 * MILLI),
                4 => prng.in_range(0..20_000 * MILLI),
                _ => prng.in_range(0..3 * MILLI),
            };
            let back = if prng.one_in(10) { prng.in_range(0..2 * MILLI) } else { 0 };
            let distance_ns = match prng.in_range(0..5) {
                0 => 0,
                1 => -(prng.in_range(0..4 * MILLI) as i64),
                2 => (TICK_NS - time % TICK_NS) as i64,
                3 => prng.in_range(0..10_000 * MILLI) as i64,
                _ => prng.in_range(0..5 * MILLI) as i64,
            };
            let repeats = if distance_ns > 0 { prng.in_range(0..4) as u8 } else { 0 };
            events.push((seq, time - back, prng.in_range(0..6), distance_ns, repeats));
        }
        for &(seq, time, timers, distance_ns, repeats) in &events {
            producer.push(trade(seq, time, timers, distance_ns, repeats).slots()).unwrap();
            if prng.one_in(4) {
                let _ = shard.step(&mut ());
            }
        }
        producer.push(tick(UnixNanos(time), true).slots()).unwrap();
        settle(&mut shard);
        assert!(shard.is_drained());
        assert_eq!(*log.lock().unwrap(), expected(&events, time + DRAIN_NS_MAX), "seed {seed}");
        assert_eq!(shard.ledger().total().delivered, 80);
    });
}

#[test]
fn a_tick_moves_time_as_an_event_does_and_nothing_fires_early() {
    let log = Log::default();
    let (mut shard, mut producer) = shard(&log, 64);
    producer.push(trade(1, START, 1, 5 * MILLI as i64, 0).slots()).unwrap();
    for (ns, fired) in [(4 * MILLI, 0), (5 * MILLI - 1, 0), (5 * MILLI, 1), (6 * MILLI, 1)] {
        producer.push(tick(UnixNanos(START + ns), false).slots()).unwrap();
        settle(&mut shard);
        assert_eq!((shard.timers_fired(), shard.clock()), (fired, UnixNanos(START + ns)));
    }
}

#[test]
fn a_storm_of_timers_is_split_over_steps_and_nothing_is_admitted_before_its_end() {
    for distance_ns in [50 * MILLI as i64, 7_000 * MILLI as i64, 3_600_000 * MILLI as i64] {
        let log = Log::default();
        let (mut shard, mut producer) = shard(&log, 1 << 15);
        let storm = 400 * STAGED_TIMERS_MAX;
        for seq in 0..400 {
            producer.push(trade(seq, START, STAGED_TIMERS_MAX as u64, distance_ns, 0).slots()).unwrap();
        }
        settle(&mut shard);
        assert_eq!(shard.timers_fired(), 0);
        // Time jumps far beyond the storm, whose timers share a coarse slot.
        producer.push(trade(400, START + 2 * distance_ns as u64, 0, 0, 0).slots()).unwrap();
        let mut steps = 0;
        while shard.ledger().total().delivered < 401 {
            let fired = shard.timers_fired();
            let step = shard.step(&mut ());
            steps += 1;
            let more = (shard.timers_fired() - fired) as usize;
            assert!(more <= TIMERS_PER_STEP && step.work <= TIMERS_PER_STEP + 1, "{more} timers, {step:?}");
            assert!(step.work > 0, "a step within a storm is not idle");
            assert!(shard.ledger().total().delivered == 400 || shard.timers_fired() == storm as u64);
        }
        assert!(steps >= storm / TIMERS_PER_STEP, "{steps} steps");
        let log = log.lock().unwrap();
        assert_eq!(log[400 + storm], Called::Event(400, START + 2 * distance_ns as u64), "after every timer");
        let due = (START + distance_ns as u64).next_multiple_of(TICK_NS);
        assert!(log[400..400 + storm].iter().all(|called| matches!(called, Called::Timer(_, now) if *now == due)));
    }
}

#[test]
fn the_drain_ends_after_24_hours_of_shard_time_and_keeps_one_shot_timers_until_then() {
    let hour_ns = 3_600_000 * MILLI as i64;
    let log = Log::default();
    let (mut shard, mut producer) = shard(&log, 64);
    producer.push(trade(1, START, 1, hour_ns, 15).slots()).unwrap(); // for ever
    producer.push(trade(2, START, 1, 24 * hour_ns, 0).slots()).unwrap();
    producer.push(trade(3, START, 1, 24 * hour_ns + 1, 0).slots()).unwrap();
    producer.push(trade(4, START, 1, 300 * 24 * hour_ns, 0).slots()).unwrap();
    settle(&mut shard);
    assert!(!shard.is_drained(), "the source has not ended");
    producer.push(tick(UnixNanos(START), true).slots()).unwrap();
    settle(&mut shard);
    assert!(shard.is_drained());
    assert_eq!((shard.timers_fired(), shard.clock()), (24 + 1, UnixNanos(START + DRAIN_NS_MAX)));
    assert_eq!(shard.step(&mut ()).work, 0, "and stays so");
}

#[test]
fn a_full_wheel_is_counted_and_the_timers_that_it_has_fire() {
    let log = Log::default();
    let (mut shard, mut producer) = shard(&log, 100);
    for seq in 0..3 {
        producer.push(trade(seq, START, 64, 5 * MILLI as i64, 0).slots()).unwrap();
    }
    producer.push(tick(UnixNanos(START + 10 * MILLI), true).slots()).unwrap();
    settle(&mut shard);
    assert_eq!((shard.timers_fired(), shard.limit_hits(Limit::Timers)), (100, 3 * 64 - 100));
    assert!(shard.is_drained());
}

/// Timers that fall due while the shard catches up over a long time come before what they are not after, whether it is told
/// in one step or in many.
#[test]
fn time_told_at_once_or_in_pieces_fires_the_same() {
    for_seeds(0..20, |seed, prng| {
        let mut runs = Vec::new();
        for pieces in [1, 7, 1_000] {
            let log = Log::default();
            let (mut shard, mut producer) = shard(&log, 1 << 12);
            let mut own = Prng::new(seed);
            for seq in 0..40 {
                let distance_ns = own.in_range(0..90_000 * MILLI) as i64;
                producer.push(trade(seq, START, 3, distance_ns, own.in_range(0..9) as u8).slots()).unwrap();
            }
            for piece in 1..=pieces {
                producer.push(tick(UnixNanos(START + 1_000_000 * MILLI * piece / pieces), false).slots()).unwrap();
                if prng.one_in(3) {
                    settle(&mut shard);
                }
            }
            settle(&mut shard);
            runs.push(log.lock().unwrap().clone());
        }
        assert!(runs[0].len() > 300, "{}", runs[0].len());
        assert_eq!(runs[0], runs[1], "seed {seed}");
        assert_eq!(runs[0], runs[2], "seed {seed}");
    });
}

/// Sets two timers of one deadline for each trade; each of them publishes twice and sets one more, of one deadline again.
struct Twins;

impl Handler for Twins {
    type State = u64;
    const NAME: &'static str = "twins";
    const STATE_VERSION: u16 = 1;

    fn interests(&self) -> KindSet {
        const { KindSet::of(&[Kind::TRADE]) }
    }

    fn on_event(&self, _st: &mut u64, _ev: EventRef<'_>, cx: &mut Ctx<'_>) -> Verdict {
        cx.alert(&Alert::default()).unwrap();
        for at in [cx.now().saturating_add(3 * MILLI), UnixNanos(0)] {
            cx.timer_at(at, 1).unwrap();
            cx.timer_at(at, 1).unwrap();
        }
        Verdict::Done
    }

    fn on_timer(&self, _st: &mut u64, again: u64, cx: &mut Ctx<'_>) -> Verdict {
        cx.alert(&Alert::default()).unwrap();
        cx.alert(&Alert::default()).unwrap();
        if again > 0 {
            cx.timer_at(cx.now().saturating_add(2 * MILLI), again - 1).unwrap();
        }
        Verdict::Done
    }
}

#[test]
fn two_timers_of_one_event_with_one_deadline_make_different_outputs() {
    let bus = |catalog: &mut Catalog| BusBuilder::new(SYMBOLS_MAX).then(Twins).build(catalog).unwrap();
    let events = stream(1, 400, 500_000, feed(1));
    let trades = events.iter().filter(|slots| slots[0].kind() == Kind::TRADE).count();
    let mut results = Vec::new();
    for shards in [1, 3] {
        let mut rig = Rig::new(bus, events.clone(), Sizes::of(shards));
        rig.run(&mut Prng::new(5), 200_000);
        let result = rig.result();
        let (mut identities, mut causes, mut deadlines) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        let mut made = 0;
        for slots in result.outputs.0.values().flatten() {
            let event = EventRef::first(slots).unwrap();
            let (id, cause) = (event.head().identity(), Cause::of(event).unwrap());
            made += 1;
            assert!(identities.insert((id.source.0, id.symbol.0, id.seq, id.part)), "{id:?} again: {cause:?}");
            let root = (cause.root.source.0, cause.root.symbol.0, cause.root.seq, cause.root.part);
            let is_new = causes.insert((root, cause.timer_ns, cause.timer, cause.index));
            assert!(is_new, "{cause:?} again");
            assert_eq!(cause.by_timer != 0, cause.timer != 0);
            if cause.by_timer == 0 {
                assert_eq!(id.seq, cause.root.seq, "what an event makes has its number");
            }
            deadlines.insert((root, cause.timer_ns));
        }
        assert_eq!(made, trades * (1 + 4 * 2 * 2), "an alert of each trade, and two of each of its eight timers");
        assert!(deadlines.len() < made / 3, "{} deadlines of {made} outputs", deadlines.len());
        results.push(result);
    }
    results[0].assert_same(&results[1], "three shards");
}

/// Sets a timer, or takes one back: a trade of size 1 sets one at its price in ns from now, of size 2 takes the timer of that number
/// back, of size 3 both sets one and takes it back, of size 4 takes the timer of the number back and then fails.
struct Fickle<const N: usize>(Log);

impl<const N: usize> Handler for Fickle<N> {
    type State = [u64; 2];
    const NAME: &'static str = ["fickle.a", "fickle.b"][N];
    const STATE_VERSION: u16 = 1;

    fn interests(&self) -> KindSet {
        const { KindSet::of(&[Kind::TRADE]) }
    }

    fn on_event(&self, st: &mut [u64; 2], ev: EventRef<'_>, cx: &mut Ctx<'_>) -> Verdict {
        let trade = ev.get::<Trade>().unwrap();
        if usize::from(trade.depth) != N {
            return Verdict::Done;
        }
        match trade.size {
            1 => st[0] = cx.timer_at(cx.now().saturating_add(trade.price as u64), ev.head().seq).unwrap().0,
            3 => {
                let timer = cx.timer_at(cx.now().saturating_add(trade.price as u64), ev.head().seq).unwrap();
                cx.cancel(timer).unwrap();
                cx.cancel(timer).unwrap();
            }
            size => {
                cx.cancel(TimerId(trade.price as u64)).unwrap();
                if size == 4 {
                    return Verdict::Fail(4);
                }
            }
        }
        Verdict::Done
    }

    fn on_timer(&self, _st: &mut [u64; 2], own: u64, cx: &mut Ctx<'_>) -> Verdict {
        self.0.lock().unwrap().push(Called::Timer(own, cx.now().0));
        Verdict::Done
    }
}

#[test]
fn a_cancelled_timer_does_not_fire_and_a_stale_or_foreign_name_is_counted() {
    let log = Log::default();
    let build = |catalog: &mut Catalog| {
        let bus = BusBuilder::new(SYMBOLS_MAX).then(Fickle::<0>(log.clone())).then(Fickle::<1>(log.clone()));
        bus.build(catalog).unwrap()
    };
    let mut catalog = shard_rig::authority(&build);
    let bus = build(&mut catalog);
    let (mut producer, consumer) = ring::channel(4096);
    let mut shard =
        Shard::new(Config { timers_max: 3, ..Config::single() }, catalog, bus, (), consumer, vec![], vec![]);
    let ms = |ms: u64| (ms * MILLI) as i64;
    let mut seq = 0;
    let mut send = |symbol: u32, at: u64, size: u64, price: i64, handler: u8| {
        seq += 1;
        let mut event = trade(seq, START + at * MILLI, size, price, handler);
        event.head_mut().symbol = SymbolId(symbol);
        producer.push(event.slots()).unwrap();
        while shard.step(&mut ()).work > 0 {}
        (shard.cancelled().cancelled, shard.cancelled().stale)
    };
    // Timer 1 of symbol 1 and of symbol 2, both of the first handler.
    assert_eq!(send(1, 0, 1, ms(10), 0), (0, 0));
    assert_eq!(send(2, 0, 1, ms(10), 0), (0, 0));
    // Not the second handler's; a call that fails takes nothing back; then it is gone, and the name is stale.
    assert_eq!(send(1, 1, 2, 1, 1), (0, 1));
    assert_eq!(send(1, 1, 4, 1, 0), (0, 1));
    assert_eq!(send(1, 1, 2, 1, 0), (1, 1));
    assert_eq!(send(1, 1, 2, 1, 0), (1, 2));
    // Set and taken back at once: there is room for three timers, of which this is none.
    for _ in 0..5 {
        let _ = send(1, 1, 3, ms(1), 0);
    }
    assert_eq!(send(1, 1, 2, 99, 0), (6, 8), "the second time it was stale, and 99 never was");
    // Timer 7: names are not given out again.
    assert_eq!(send(1, 2, 1, ms(3), 0), (6, 8));
    assert_eq!(send(1, 2, 2, 1, 0), (6, 9));
    assert_eq!(send(1, 20, 2, 7, 0), (6, 10), "it has fired");
    let expected = [Called::Timer(13, START + 5 * MILLI), Called::Timer(2, START + 10 * MILLI)];
    assert_eq!(*log.lock().unwrap(), expected);
    assert_eq!(shard.limit_hits(Limit::Timers), 0);
}

/// A burst, then a trickle: which step of 50 ms an event counts for is its time's business, not its batch's.
#[test]
fn rates_do_not_depend_on_how_events_fell_into_batches() {
    let read = |cut: usize| {
        let log = Log::default();
        let (mut shard, mut ring) = shard(&log, 64);
        // 0, 1, 2, ... ms in a burst, and one each 100 ms; a timer now and then, which fires between events.
        let times = (0..40).map(|ms| ms / 4).chain((1..30).map(|step| 100 * step));
        for (seq, ms) in times.enumerate() {
            let event = trade(seq as u64, START + ms * MILLI, u64::from(seq % 7 == 0), 70 * MILLI as i64, 0);
            ring.push(event.slots()).unwrap();
            if (seq + 1) % cut == 0 {
                settle(&mut shard);
            }
        }
        settle(&mut shard);
        let stats = shard.stats();
        (stats.counts, stats.rates)
    };
    let first = read(1);
    let [_, ten, _] = first.1[Series::Events as usize];
    assert_eq!((ten.count, ten.step_max), (69, 40), "the burst is in one step: {ten:?}");
    assert_eq!(ten.step_p50, 1);
    for cut in [2, 7, 64, 1_000] {
        assert_eq!(read(cut), first, "pushes of {cut}");
    }
}
