//! Handlers ask for history, and get it at its time, whoever reads it, however long that takes.

#[path = "common/panics.rs"]
mod panics;
#[path = "common/shard_rig.rs"]
mod shard_rig;

use shard_rig::{MILLI, Rig, SECOND, START, SYMBOLS_MAX, Sizes, feed, stream, tick};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use tapeline_core::backfill::{Counters, DeskConfig, ERROR_REPLY_LOST, HistoryOrder, Range};
use tapeline_core::bus::{BusBuilder, Chain};
use tapeline_core::catalog::Catalog;
use tapeline_core::event::payload::{Alert, BackfillDone, BackfillRest, Signal, Trade};
use tapeline_core::event::{EventBuf, EventRef, Flags, Kind, KindSet};
use tapeline_core::handler::{Ctx, Handler, History, RequestEnd, RequestId, RequestRefusal, Verdict};
use tapeline_core::queue::Priority;
use tapeline_core::ring::{self, Producer};
use tapeline_core::shard::Shard;
use tapeline_core::testing::{Prng, for_seeds};
use tapeline_core::units::{SourceId, SymbolId, UnixNanos};

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct Seen {
    chain: u64,
    last: RequestId,
}

impl Seen {
    fn take(&mut self, words: [u64; 3]) {
        self.chain = tapeline_core::hash::stable(bytemuck::bytes_of(&[self.chain, words[0], words[1], words[2]]));
    }
}

fn trades(from: u64, to: u64) -> History {
    let range = Range::new(UnixNanos(from), UnixNanos(to));
    History { kinds: KindSet::of(&[Kind::TRADE]), range, priority: Priority::FIRST }
}

/// Asks for history now and then, takes some of it back, and lets all that it gets decide what it does.
struct Student;

impl Handler for Student {
    type State = Seen;
    const NAME: &'static str = "student";
    const STATE_VERSION: u16 = 1;

    fn interests(&self) -> KindSet {
        KindSet::of(&[Kind::TRADE, Kind::QUOTE, Kind::BACKFILL_DONE])
    }

    fn on_event(&self, st: &mut Seen, ev: EventRef<'_>, cx: &mut Ctx<'_>) -> Verdict {
        let head = ev.head();
        st.take([head.seq, cx.now().0, u64::from(head.flags.0)]);
        let rand = cx.rand(st.chain);
        if !head.flags.contains(Flags::HISTORICAL) && rand.is_multiple_of(6) {
            let back = (rand >> 8 & 15) * SECOND / 4;
            let from = START - back;
            st.last = cx.backfill(&trades(from, from + (rand >> 12 & 7) * SECOND / 2)).unwrap();
        }
        if rand.is_multiple_of(23) {
            cx.cancel_backfill(st.last).unwrap();
        }
        if rand.is_multiple_of(40) { Verdict::Retry(40) } else { Verdict::Done }
    }

    fn on_reply(&self, st: &mut Seen, request: RequestId, ev: EventRef<'_>, cx: &mut Ctx<'_>) -> Verdict {
        assert!(ev.head().flags.contains(Flags::HISTORICAL));
        st.take([request.0, ev.head().seq, cx.now().0]);
        cx.signal(&Signal { strength: (st.chain >> 12) as f64, ..Signal::default() }).unwrap();
        // Once more, while a reply comes.
        if st.chain.is_multiple_of(50) {
            st.last = cx.backfill(&trades(START - SECOND, START)).unwrap();
        }
        Verdict::Done
    }

    fn on_request_end(&self, st: &mut Seen, request: RequestId, end: RequestEnd, cx: &mut Ctx<'_>) -> Verdict {
        let end = match end {
            RequestEnd::Served => 1,
            RequestEnd::Failed(code) => 2 + u64::from(code),
            RequestEnd::Completed => 10_001,
            RequestEnd::Cancelled => 10_002,
            RequestEnd::Refused(reason) => 10_003 + reason as u64,
            other => panic!("{other:?}"),
        };
        st.take([request.0, end, cx.now().0]);
        cx.alert(&Alert { value: request.0 as f64, reference: end as f64, ..Alert::default() }).unwrap();
        Verdict::Done
    }
}

/// Reads for one shard, in its own time: a trade every 100 ms of every symbol's past. Whole seconds that are multiples of 7 fail.
struct Reader {
    replies: Producer,
    todo: VecDeque<HistoryOrder>,
    stopped: Vec<u64>,
    /// The next trade of the first order.
    at: u64,
    source: SourceId,
}

impl Reader {
    fn new(replies: Producer, source: SourceId) -> Self {
        Self { replies, todo: VecDeque::new(), stopped: Vec::new(), at: 0, source }
    }

    fn work(&mut self, shard: &mut Shard<impl Chain>, prng: &mut Prng) {
        while let Some(order) = shard.take_history_order() {
            assert!(order.due.0 >= order.ordered_at.0 + 10 * MILLI && !order.range.is_empty());
            self.todo.push_back(order);
        }
        while let Some(number) = shard.take_history_stop() {
            self.stopped.push(number);
        }
        let Some(order) = self.todo.front().copied() else { return };
        let is_stopped = self.stopped.contains(&order.number);
        for _ in 0..prng.in_range(0..40) {
            self.at = self.at.max(order.range.from.0.next_multiple_of(100 * MILLI));
            let fails = (self.at / SECOND).is_multiple_of(7) && (order.range.from.0 / SECOND).is_multiple_of(2);
            if self.at < order.range.to.0 && !fails && !is_stopped {
                let mut event = EventBuf::new(&Trade { price: 1, size: self.at / MILLI, ..Trade::default() });
                event.flag(Flags::HISTORICAL);
                let head = event.head_mut();
                (head.ts_recv, head.seq) = (UnixNanos(self.at), self.at / (100 * MILLI));
                (head.symbol, head.source) = (order.symbol, self.source);
                if self.replies.push(event.slots()).is_err() {
                    return;
                }
                self.at += 100 * MILLI;
                continue;
            }
            let mut end = tick(UnixNanos::ZERO, false);
            end.head_mut().seq = order.number;
            end.head_mut().payload[1] = if fails { 1 + 77 } else { 0 };
            if self.replies.push(end.slots()).is_ok() {
                self.todo.pop_front();
                self.at = 0;
            }
            return;
        }
    }
}

/// A desk whose shared limits do not act.
fn roomy() -> DeskConfig {
    let mut config = DeskConfig::default();
    let manager = &mut config.manager;
    (manager.jobs, manager.asks, manager.in_flight, manager.in_flight_per_symbol) = (1_000, 8_000, 64, 2);
    (manager.remembered, manager.remember_ns) = (4_000, 20 * SECOND);
    config
}

#[test]
fn req_3380_history_is_the_same_for_any_cut_any_number_of_shards_and_any_speed_of_who_reads() {
    let bus = |catalog: &mut Catalog| BusBuilder::new(SYMBOLS_MAX).then(Student).build(catalog).unwrap();
    let mut all = Counters::default();
    for_seeds(0..6, |seed, prng| {
        let events = stream(seed, 500, [MILLI, 30 * MILLI, SECOND][seed as usize % 3], feed(1));
        let mut first: Option<(shard_rig::Result, Counters)> = None;
        for shards in 1..=3 {
            for ring_slots in [64, 1024] {
                let sizes = Sizes { source_ring: ring_slots, ..Sizes::of(shards) };
                let mut rig = Rig::new(bus, events.clone(), sizes);
                let mut readers = Vec::new();
                for shard in &mut rig.shards {
                    let (replies, consumer) = ring::channel(64);
                    shard.attach_backfill(&roomy(), consumer);
                    readers.push(Reader::new(replies, feed(1)));
                }
                let patience = 1 + prng.in_range(0..12);
                while !rig.is_drained() {
                    if prng.one_in(3) {
                        rig.source.send(1 + prng.in_range(0..40) as usize);
                    }
                    let at = prng.index(shards);
                    let _ = rig.step(at);
                    if prng.one_in(patience) {
                        readers[at].work(&mut rig.shards[at], prng);
                    }
                    if prng.one_in(50) {
                        rig.shards[at].backfill().unwrap().manager().assert_invariants();
                    }
                    assert!(rig.steps < 400_000, "not drained: {:?}", rig.shards);
                }
                let mut counters = Counters::default();
                for shard in &rig.shards {
                    let desk = shard.backfill().unwrap();
                    assert!(desk.is_idle() && desk.manager().counters().is_balanced());
                    assert_eq!(
                        (desk.shared_hits(), desk.counters().stray_ends, desk.counters().replies_lost),
                        (0, 0, 0)
                    );
                    counters.add(desk.manager().counters());
                }
                let result = rig.result();
                assert_eq!(result.ledger.total().offered, 500, "the source's events are the source's");
                assert_eq!(
                    result.derived.row(Kind::TRADE).delivered + result.derived.row(Kind::TRADE).dead_lettered,
                    counters.events
                );
                // How many came too late is a matter of time.
                counters.late = 0;
                match &first {
                    None => {
                        all.add(&counters);
                        first = Some((result, counters));
                    }
                    Some((first, counted)) => {
                        first.assert_same(&result, &format!("seed {seed}, {sizes:?}"));
                        assert_eq!(*counted, counters);
                    }
                }
            }
        }
    });
    let Counters { completed, queued, merged, joined, served, failed, cancelled, jobs_cancelled, events, .. } = all;
    for count in [completed, queued, merged, joined, served, failed, cancelled, jobs_cancelled, events] {
        assert!(count > 0, "{all:?}");
    }
}

/// What the scholar has got: time of the shard in ms, and what it is.
type Log = Arc<Mutex<Vec<(u64, String)>>>;

/// Asks for the 300 ms before the trade of size 1, twice; takes back at size 2 what it asked last.
struct Scholar(Log);

impl Scholar {
    fn note(&self, cx: &Ctx<'_>, what: String) {
        self.0.lock().unwrap().push(((cx.now().0 - START) / MILLI, what));
    }
}

impl Handler for Scholar {
    type State = u64;
    const NAME: &'static str = "scholar";
    const STATE_VERSION: u16 = 1;

    fn interests(&self) -> KindSet {
        KindSet::of(&[Kind::TRADE])
    }

    fn on_event(&self, st: &mut u64, ev: EventRef<'_>, cx: &mut Ctx<'_>) -> Verdict {
        let size = ev.head().payload_as::<Trade>().size;
        if ev.head().flags.contains(Flags::HISTORICAL) {
            return Verdict::Done;
        }
        self.note(cx, format!("trade {size}"));
        match size {
            1 => {
                let now = ev.head().ts_recv.0;
                let asked =
                    [cx.backfill(&trades(now - 300 * MILLI, now)), cx.backfill(&trades(now - 200 * MILLI, now))];
                *st = asked[1].unwrap().0;
            }
            2 => cx.cancel_backfill(RequestId(*st)).unwrap(),
            3 => {
                cx.backfill(&trades(START - 200 * MILLI, START)).unwrap();
                cx.backfill(&trades(START, START)).unwrap();
            }
            _ => {}
        }
        Verdict::Done
    }

    fn on_reply(&self, _st: &mut u64, request: RequestId, ev: EventRef<'_>, cx: &mut Ctx<'_>) -> Verdict {
        let at = START.saturating_sub(ev.head().ts_recv.0) / MILLI;
        self.note(cx, format!("{}: {} of {at} ms ago", request.0, ev.kind().name()));
        Verdict::Done
    }

    fn on_request_end(&self, _st: &mut u64, request: RequestId, end: RequestEnd, cx: &mut Ctx<'_>) -> Verdict {
        self.note(cx, format!("{}: {end:?}", request.0));
        Verdict::Done
    }
}

fn live(at_ms: u64, size: u64) -> Vec<tapeline_core::event::Slot> {
    live_of(1, at_ms, size)
}

fn live_of(symbol: u32, at_ms: u64, size: u64) -> Vec<tapeline_core::event::Slot> {
    let mut event = EventBuf::new(&Trade { price: 1, size, ..Trade::default() });
    let head = event.head_mut();
    (head.ts_recv, head.seq) = (UnixNanos(START + at_ms * MILLI), 1_000_000 + at_ms);
    (head.symbol, head.source) = (SymbolId(symbol), feed(1));
    event.slots().to_vec()
}

/// A trade of a reply, so long before the start.
fn past(symbol: u32, back_ms: u64) -> EventBuf {
    let mut event = EventBuf::new(&Trade { price: 1, size: 7, ..Trade::default() });
    event.flag(Flags::HISTORICAL);
    let head = event.head_mut();
    (head.ts_recv, head.seq) = (UnixNanos(START - back_ms * MILLI), back_ms);
    (head.symbol, head.source) = (SymbolId(symbol), feed(1));
    event
}

/// The end of the reply to an order.
fn end_of(number: u64) -> EventBuf {
    let mut end = tick(UnixNanos::ZERO, false);
    end.head_mut().seq = number;
    end
}

fn drain<C: Chain>(rig: &mut Rig<C>) {
    let mut steps = 0;
    while !rig.is_drained() {
        let _ = rig.step(0);
        rig.source.send(10);
        steps += 1;
        assert!(steps < 10_000, "not drained: {:?}", rig.shards);
    }
}

#[test]
fn history_comes_one_delay_after_the_instant_of_service_and_live_events_go_on_until_then() {
    let log = Log::default();
    let bus = |catalog: &mut Catalog| BusBuilder::new(SYMBOLS_MAX).then(Scholar(log.clone())).build(catalog).unwrap();
    let events = vec![live(0, 1), live(5, 2), live(12, 9), live(40, 3), live(60, 9)];
    let mut rig = Rig::new(bus, events, Sizes::of(1));
    let (mut replies, consumer) = ring::channel(64);
    rig.shards[0].attach_backfill(&DeskConfig::default(), consumer);
    rig.source.send(1_000);
    for _ in 0..50 {
        let _ = rig.step(0);
    }
    let order = rig.shards[0].take_history_order().unwrap();
    assert_eq!((order.number, order.symbol, order.range), (1, SymbolId(1), trades(START - 300 * MILLI, START).range));
    assert_eq!((order.ordered_at.0 - START, order.due.0 - START), (MILLI, 11 * MILLI));
    assert_eq!(rig.shards[0].clock().0, START + 6 * MILLI, "it waits before 11 ms; what was taken back was told");
    let send = |replies: &mut Producer, back_ms: u64, symbol: u32, flags: bool| {
        let mut event = EventBuf::new(&Trade { price: 1, size: 7, ..Trade::default() });
        if flags {
            event.flag(Flags::HISTORICAL);
        }
        let head = event.head_mut();
        (head.ts_recv, head.seq, head.symbol, head.source) =
            (UnixNanos(START - back_ms * MILLI), back_ms, SymbolId(symbol), feed(1));
        replies.push(event.slots()).unwrap();
    };
    // What cannot be of the reply is refused: of another symbol, not marked, of another time; and an end of no order.
    send(&mut replies, 300, 1, true);
    send(&mut replies, 250, 2, true);
    send(&mut replies, 250, 1, false);
    send(&mut replies, 0, 1, true);
    send(&mut replies, 100, 1, true);
    let mut done = EventBuf::new(&BackfillDone {
        from_ns: order.range.from.0,
        to_ns: order.range.to.0,
        layer: Kind::TRADE.0,
        ..BackfillDone::default()
    });
    done.push_value(&BackfillRest { events: 2, ..BackfillRest::default() }).unwrap();
    done.flag(Flags::HISTORICAL);
    let head = done.head_mut();
    (head.ts_recv, head.symbol, head.source) = (order.due, SymbolId(1), feed(1));
    replies.push(done.slots()).unwrap();
    let mut end = tick(UnixNanos::ZERO, false);
    for number in [9, 1] {
        end.head_mut().seq = number;
        replies.push(end.slots()).unwrap();
    }
    let mut steps = 0;
    while !rig.is_drained() {
        let _ = rig.step(0);
        rig.source.send(10);
        steps += 1;
        assert!(steps < 1_000);
    }
    let expected = [
        (0, "trade 1"),
        (5, "trade 2"),
        (6, "2: Cancelled"),
        (11, "1: trade of 300 ms ago"),
        (11, "1: trade of 100 ms ago"),
        (11, "1: backfill_done of 0 ms ago"),
        (12, "1: Served"),
        (12, "trade 9"),
        (40, "trade 3"),
        (41, "4: Completed"),
        (41, "5: Refused(Unserved)"),
        (60, "trade 9"),
    ];
    let log: Vec<(u64, String)> = log.lock().unwrap().clone();
    let log: Vec<(u64, &str)> = log.iter().map(|(at, what)| (*at, what.as_str())).collect();
    assert_eq!(log, expected);
    let desk = rig.shards[0].backfill().unwrap();
    assert_eq!((desk.counters().stray_ends, desk.manager().counters().events), (1, 3));
    assert_eq!(rig.shards[0].derived().row(Kind::TRADE).refused, 3);
}

#[test]
fn history_is_refused_where_nobody_reads() {
    let log = Log::default();
    let bus = |catalog: &mut Catalog| BusBuilder::new(SYMBOLS_MAX).then(Scholar(log.clone())).build(catalog).unwrap();
    let mut rig = Rig::new(bus, vec![live(0, 1), live(50, 2)], Sizes::of(1));
    rig.run(&mut Prng::new(1), 10_000);
    let log = log.lock().unwrap();
    let refused = format!("{:?}", RequestEnd::Refused(RequestRefusal::Unserved));
    assert_eq!(log[1..3], [(1, format!("1: {refused}")), (1, format!("2: {refused}"))]);
    assert!(rig.shards[0].take_history_order().is_none() && rig.shards[0].backfill().is_none());
}

#[test]
fn req_3455_a_reply_that_was_passed_over_fails_with_the_one_whose_end_came_and_neither_is_remembered() {
    let log = Log::default();
    let bus = |catalog: &mut Catalog| BusBuilder::new(SYMBOLS_MAX).then(Scholar(log.clone())).build(catalog).unwrap();
    let events = vec![live_of(1, 0, 1), live_of(2, 0, 1), live_of(2, 100, 3), live_of(2, 200, 9)];
    let mut rig = Rig::new(bus, events, Sizes::of(1));
    let (mut replies, consumer) = ring::channel(64);
    rig.shards[0].attach_backfill(&roomy(), consumer);
    rig.source.send(1_000);
    let orders = |rig: &mut Rig<_>| -> Vec<(u64, u32)> {
        (0..50).for_each(|_| _ = rig.step(0));
        let orders = std::iter::from_fn(|| rig.shards[0].take_history_order());
        orders.map(|order| (order.number, order.symbol.0)).collect()
    };
    assert_eq!(orders(&mut rig), [(1, 1), (2, 2)]);
    // The second's reply comes, and the first's does not: its event was refused as one that is not the first's.
    replies.push(past(2, 100).slots()).unwrap();
    replies.push(end_of(2).slots()).unwrap();
    let more = orders(&mut rig);
    let told = |what: &str| log.lock().unwrap().iter().filter(|(_, told)| told.contains(what)).count();
    assert_eq!(told(&format!("{:?}", RequestEnd::Failed(ERROR_REPLY_LOST))), 4);
    assert_eq!((told("Served"), told("Completed")), (0, 0));
    assert_eq!(more, [(3, 2)], "it is read again");
    replies.push(past(2, 100).slots()).unwrap();
    replies.push(end_of(3).slots()).unwrap();
    drain(&mut rig);
    assert_eq!((told("Served"), told("trade of 100 ms ago")), (1, 1));
    let desk = rig.shards[0].backfill().unwrap();
    assert_eq!((desk.counters().replies_lost, desk.counters().stray_ends), (2, 0));
    assert_eq!(rig.shards[0].derived().row(Kind::TRADE).refused, 1);
}

#[test]
fn req_3455_a_cleared_symbol_leaves_nothing() {
    let log = Log::default();
    let bus = |catalog: &mut Catalog| BusBuilder::new(SYMBOLS_MAX).then(Scholar(log.clone())).build(catalog).unwrap();
    let mut rig = Rig::new(bus, vec![live(0, 1), live(1, 3), live(100, 9)], Sizes::of(1));
    let (mut replies, consumer) = ring::channel(64);
    let mut config = roomy();
    config.manager.remembered = 0;
    rig.shards[0].attach_backfill(&config, consumer);
    rig.source.send(1_000);
    for _ in 0..50 {
        let _ = rig.step(0);
    }
    // The one of 3 is joined to the first: all is in flight.
    let orders: Vec<_> = std::iter::from_fn(|| rig.shards[0].take_history_order()).collect();
    assert_eq!(orders.len(), 1);
    assert_eq!(rig.shards[0].clear_requests(SymbolId(1)), 3);
    assert_eq!(rig.shards[0].take_history_stop(), Some(1));
    assert_eq!(rig.shards[0].clear_requests(SymbolId(1)), 0);
    replies.push(end_of(1).slots()).unwrap();
    drain(&mut rig);
    let ends = log.lock().unwrap().iter().filter(|(_, what)| what.contains("Cancelled")).count();
    assert_eq!(ends, 3);
    let desk = rig.shards[0].backfill().unwrap();
    assert!(desk.is_idle() && desk.manager().counters().jobs_cancelled == 1);
}

/// Asks `asks` times for the 300 ms before each live trade, takes back `cancels` that nobody asked, and fails on every reply and end; on reply 3 it
/// panics.
struct Sulky {
    asks: usize,
    cancels: usize,
    log: Log,
}

impl Handler for Sulky {
    type State = u64;
    const NAME: &'static str = "sulky";
    const STATE_VERSION: u16 = 1;

    fn interests(&self) -> KindSet {
        KindSet::of(&[Kind::TRADE])
    }

    fn on_event(&self, _st: &mut u64, ev: EventRef<'_>, cx: &mut Ctx<'_>) -> Verdict {
        if !ev.head().flags.contains(Flags::HISTORICAL) {
            (0..self.asks).for_each(|_| _ = cx.backfill(&trades(START - 300 * MILLI, START)).unwrap());
            (0..self.cancels).for_each(|_| cx.cancel_backfill(RequestId(u64::MAX)).unwrap());
        }
        Verdict::Done
    }

    fn on_reply(&self, _st: &mut u64, request: RequestId, _ev: EventRef<'_>, _cx: &mut Ctx<'_>) -> Verdict {
        if request == RequestId(3) {
            std::panic::panic_any(panics::BOOM);
        }
        Verdict::Fail(1)
    }

    fn on_request_end(&self, _st: &mut u64, request: RequestId, end: RequestEnd, cx: &mut Ctx<'_>) -> Verdict {
        self.log.lock().unwrap().push((cx.now().0, format!("{}: {end:?}", request.0)));
        Verdict::Fail(2)
    }
}

#[test]
fn more_may_fail_on_a_reply_than_there_are_handlers() {
    panics::silence();
    let log = Log::default();
    let sulky = || Sulky { asks: 40, cancels: 0, log: log.clone() };
    let bus = |catalog: &mut Catalog| BusBuilder::new(SYMBOLS_MAX).then(sulky()).build(catalog).unwrap();
    let mut rig = Rig::new(bus, vec![live(0, 1), live(1, 1), live(100, 9)], Sizes::of(1));
    let (mut replies, consumer) = ring::channel(64);
    rig.shards[0].attach_backfill(&roomy(), consumer);
    rig.source.send(1_000);
    (0..50).for_each(|_| _ = rig.step(0));
    assert!(rig.shards[0].take_history_order().is_some() && rig.shards[0].take_history_order().is_none());
    replies.push(past(1, 100).slots()).unwrap();
    replies.push(end_of(1).slots()).unwrap();
    drain(&mut rig);
    let served = log.lock().unwrap().iter().filter(|(_, what)| what.ends_with("Served")).count();
    assert_eq!(served, 80, "each of them is told that the reply is over");
    let desk = rig.shards[0].backfill().unwrap();
    assert_eq!(desk.manager().counters().joined, 40);
    assert_eq!(
        desk.counters().replies_failed,
        80 + 120,
        "one reply each, and one end for each ask, those of the last trade too"
    );
    assert_eq!(rig.shards[0].requests().counters().replies_failed, 0, "none of them is a request's");
    assert_eq!(rig.shards[0].derived().row(Kind::TRADE).delivered, 1, "the event itself was taken by all");
}

#[test]
fn a_cancel_that_finds_no_room_is_counted_and_ends_nothing() {
    let log = Log::default();
    let sulky = || Sulky { asks: 1, cancels: 63, log: log.clone() };
    let bus = |catalog: &mut Catalog| BusBuilder::new(SYMBOLS_MAX).then(sulky()).build(catalog).unwrap();
    // Within one instant of service: room for 65, and 128 come.
    let mut rig = Rig::new(bus, vec![live_of(1, 1, 1), live_of(2, 1, 1)], Sizes::of(1));
    let (mut replies, consumer) = ring::channel(64);
    let mut config = roomy();
    config.manager.asks = 1;
    config.manager.jobs = 1;
    rig.shards[0].attach_backfill(&config, consumer);
    rig.source.send(1_000);
    (0..50).for_each(|_| _ = rig.step(0));
    assert!(rig.shards[0].take_history_order().is_some());
    replies.push(end_of(1).slots()).unwrap();
    drain(&mut rig);
    let told: Vec<String> = log.lock().unwrap().iter().map(|(_, what)| what.clone()).collect();
    assert_eq!(told, [format!("1: {:?}", RequestEnd::Refused(RequestRefusal::QueueFull)), "1: Served".to_owned()]);
    let counters = *rig.shards[0].backfill().unwrap().counters();
    assert_eq!((counters.arrived, counters.stale_cancels), (128, 63));
    assert_eq!((counters.turned_away, counters.cancels_turned_away, counters.untold), (0, 63, 0));
}

#[test]
fn a_reply_fails_whose_reader_is_gone_and_the_shard_goes_on() {
    let log = Log::default();
    let bus = |catalog: &mut Catalog| BusBuilder::new(SYMBOLS_MAX).then(Scholar(log.clone())).build(catalog).unwrap();
    let mut rig = Rig::new(bus, vec![live(0, 1), live(100, 9)], Sizes::of(1));
    let (replies, consumer) = ring::channel(64);
    rig.shards[0].attach_backfill(&roomy(), consumer);
    rig.source.send(1_000);
    for _ in 0..50 {
        let _ = rig.step(0);
    }
    assert!(rig.shards[0].take_history_order().is_some() && !rig.is_drained(), "it waits");
    drop(replies);
    let mut steps = 0;
    while !rig.is_drained() {
        let _ = rig.step(0);
        rig.source.send(10);
        steps += 1;
        assert!(steps < 1_000);
    }
    let failed = format!("{:?}", RequestEnd::Failed(ERROR_REPLY_LOST));
    let expected = [
        (0, "trade 1".to_owned()),
        (12, format!("1: {failed}")),
        (12, format!("2: {failed}")),
        (100, "trade 9".to_owned()),
    ];
    assert_eq!(*log.lock().unwrap(), expected);
    assert_eq!(rig.shards[0].backfill().unwrap().counters().replies_lost, 1);
}

#[test]
fn the_end_of_an_order_that_nobody_has_taken_is_nobodys() {
    let log = Log::default();
    let bus = |catalog: &mut Catalog| BusBuilder::new(SYMBOLS_MAX).then(Scholar(log.clone())).build(catalog).unwrap();
    let mut rig = Rig::new(bus, vec![live_of(1, 0, 1), live_of(2, 0, 1), live(100, 9)], Sizes::of(1));
    let (mut replies, consumer) = ring::channel(64);
    let mut config = roomy();
    config.manager.in_flight = 1;
    rig.shards[0].attach_backfill(&config, consumer);
    rig.source.send(1_000);
    // The order is made, and due; whoever sends these ends has not seen it.
    [1, 2, 1].into_iter().for_each(|number| replies.push(end_of(number).slots()).unwrap());
    (0..50).for_each(|_| _ = rig.step(0));
    assert_eq!(rig.shards[0].backfill().unwrap().counters().stray_ends, 3);
    assert!(log.lock().unwrap().iter().all(|(_, what)| !what.contains("Served")), "nothing has come");
    // So there is one order, as many as may be in flight, and the other symbol's follows it.
    let orders: Vec<_> = std::iter::from_fn(|| rig.shards[0].take_history_order()).collect();
    assert_eq!(orders.iter().map(|order| order.number).collect::<Vec<_>>(), [1]);
    replies.push(end_of(1).slots()).unwrap();
    (0..50).for_each(|_| _ = rig.step(0));
    assert_eq!(rig.shards[0].take_history_order().unwrap().number, 2);
    replies.push(end_of(2).slots()).unwrap();
    drain(&mut rig);
    let served = log.lock().unwrap().iter().filter(|(_, what)| what.contains("Served")).count();
    assert_eq!((served, rig.shards[0].backfill().unwrap().counters().stray_ends), (4, 3));
}

#[test]
fn what_was_ordered_and_not_taken_fails_with_a_reader_that_is_gone() {
    let log = Log::default();
    let bus = |catalog: &mut Catalog| BusBuilder::new(SYMBOLS_MAX).then(Scholar(log.clone())).build(catalog).unwrap();
    let mut rig = Rig::new(bus, vec![live(0, 1), live(100, 9)], Sizes::of(1));
    let (replies, consumer) = ring::channel(64);
    rig.shards[0].attach_backfill(&roomy(), consumer);
    drop(replies);
    drain(&mut rig);
    let failed = format!("{:?}", RequestEnd::Failed(ERROR_REPLY_LOST));
    assert_eq!(log.lock().unwrap()[1..3], [(12, format!("1: {failed}")), (12, format!("2: {failed}"))]);
    assert!(rig.shards[0].take_history_order().is_none(), "it has ended");
}

/// What a handler has got: id of the request, time of the event in ms before the start; `u64::MAX` and the end of a request.
type Got = Arc<Mutex<Vec<(u64, u64)>>>;

/// Asks for so many ms before the start with each live trade whose size says so. `TAKES`: it is among those who take events of the past.
struct Pupil<const TAKES: bool> {
    got: Got,
    seen: Got,
}

impl<const TAKES: bool> Handler for Pupil<TAKES> {
    type State = u64;
    const NAME: &'static str = if TAKES { "taker" } else { "by_reply" };
    const STATE_VERSION: u16 = 1;
    const TAKES_HISTORY: bool = TAKES;

    fn interests(&self) -> KindSet {
        KindSet::of(&[Kind::TRADE])
    }

    fn on_event(&self, _st: &mut u64, ev: EventRef<'_>, cx: &mut Ctx<'_>) -> Verdict {
        let head = ev.head();
        if head.flags.contains(Flags::HISTORICAL) {
            self.seen.lock().unwrap().push((head.seq, (START - head.ts_recv.0) / MILLI));
            return Verdict::Done;
        }
        // Even sizes are for the one that takes, odd ones for the other; the rest says from when until when.
        let size = ev.head().payload_as::<Trade>().size;
        let (from, to) = (size / 10_000, size / 10 % 1_000);
        if size.is_multiple_of(2) == TAKES && size > 10 {
            cx.backfill(&trades(START - from * MILLI, START - to * MILLI)).unwrap();
        }
        Verdict::Done
    }

    fn on_reply(&self, _st: &mut u64, request: RequestId, ev: EventRef<'_>, _cx: &mut Ctx<'_>) -> Verdict {
        self.got.lock().unwrap().push((request.0, (START - ev.head().ts_recv.0) / MILLI));
        Verdict::Done
    }

    fn on_request_end(&self, _st: &mut u64, request: RequestId, end: RequestEnd, _cx: &mut Ctx<'_>) -> Verdict {
        let code = [RequestEnd::Served, RequestEnd::Completed].iter().position(|known| *known == end).unwrap();
        self.got.lock().unwrap().push((request.0, u64::MAX - code as u64));
        Verdict::Done
    }
}

const SERVED: u64 = u64::MAX;
const COMPLETED: u64 = u64::MAX - 1;

#[test]
fn a_handler_that_lives_by_replies_gets_the_same_reply_for_what_is_remembered_and_nobody_else_gets_it_twice() {
    let ask = |from_ms: u64, to_ms: u64, takes: bool| from_ms * 10_000 + to_ms * 10 + u64::from(!takes);
    // The past has a trade every 100 ms.
    let events = vec![
        live(0, ask(300, 0, false)),
        // All of it is remembered: by who gets replies alone, then by who takes the past as it comes by.
        live(100, ask(300, 0, false)),
        live(200, ask(300, 0, true)),
        // Half of it is: 500 to 300 ms have come to nobody.
        live(300, ask(500, 100, true)),
        live(400, ask(700, 200, false)),
        // Two after each other: one reading again for both.
        live(500, ask(600, 300, false)),
        live(501, ask(600, 400, false)),
        live(900, 9),
    ];
    let mut first = None;
    for (shards, seed) in [(1, 1), (2, 2), (1, 3)] {
        let (got, seen, taken) = (Got::default(), Got::default(), Got::default());
        let bus = |catalog: &mut Catalog| {
            let by_reply = Pupil::<false> { got: got.clone(), seen: Got::default() };
            let taker = Pupil::<true> { got: taken.clone(), seen: seen.clone() };
            BusBuilder::new(SYMBOLS_MAX).then(by_reply).then(taker).build(catalog).unwrap()
        };
        let mut rig = Rig::new(bus, events.clone(), Sizes::of(shards));
        let mut prng = Prng::new(seed);
        let mut readers: Vec<_> = rig
            .shards
            .iter_mut()
            .map(|shard| {
                let (replies, consumer) = ring::channel(64);
                shard.attach_backfill(&roomy(), consumer);
                Reader::new(replies, feed(1))
            })
            .collect();
        while !rig.is_drained() {
            rig.source.send(1 + prng.in_range(0..3) as usize);
            let at = prng.index(shards);
            let _ = rig.step(at);
            readers[at].work(&mut rig.shards[at], &mut prng);
            rig.shards[at].backfill().unwrap().manager().assert_invariants();
            assert!(rig.steps < 100_000, "not drained: {:?}", rig.shards);
        }
        let reply = |id: u64, ms: std::ops::Range<u64>| {
            let times = (0..1_000).step_by(100).filter(move |at| ms.contains(at)).collect::<Vec<_>>();
            times.into_iter().rev().map(move |at| (id, at)).chain([(id, SERVED)])
        };
        // From the earlier time to the later one; the later one is not in the range.
        let ask_1 = reply(1, 1..301).collect::<Vec<_>>();
        let of =
            |id: u64| got.lock().unwrap().iter().filter(|(request, _)| *request == id).copied().collect::<Vec<_>>();
        assert_eq!(of(1), ask_1, "the first time");
        assert_eq!(of(2), reply(2, 1..301).collect::<Vec<_>>(), "and the second");
        assert_eq!(*taken.lock().unwrap().iter().filter(|(id, _)| *id == 3).collect::<Vec<_>>(), [&(3, COMPLETED)]);
        let more: Vec<_> = taken.lock().unwrap().iter().filter(|(id, _)| *id == 4).copied().collect();
        assert_eq!(
            more,
            reply(4, 101..501).collect::<Vec<_>>(),
            "it asked for a front that had not come: all in order"
        );
        assert_eq!(of(5), reply(5, 201..701).collect::<Vec<_>>());
        assert_eq!((of(6), of(7)), (reply(6, 301..601).collect(), reply(7, 401..601).collect()));
        let counters = rig.shards.iter().map(|shard| *shard.backfill().unwrap().manager().counters());
        let counters = counters.reduce(|mut sum, other| {
            sum.add(&other);
            sum
        });
        let counters = counters.unwrap();
        // Of what was read again nothing was taken by who takes the past as it comes by.
        let seen: Vec<u64> = seen.lock().unwrap().iter().map(|(_, at)| *at).collect();
        assert_eq!(counters.jobs_again, 2, "{counters:?}, {seen:?}");
        let result = rig.result();
        match &first {
            None => first = Some((result, seen)),
            Some((other, others)) => {
                other.assert_same(&result, &format!("{shards} shards"));
                assert_eq!(seen, *others);
            }
        }
    }
    // 300 to 0, once; then what began in something that had come to nobody, whole, as who asks gets all in order.
    let (_, seen) = first.unwrap();
    assert_eq!(seen, [&[300, 200, 100][..], &[500, 400, 300, 200], &[700, 600, 500, 400, 300]].concat());
}

/// Answers the first call for every 150th event of the past with a retry; all of them have to come in order. Which it has answered so.
struct Stubborn(Arc<Mutex<std::collections::BTreeSet<u64>>>);

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct Course {
    past: u64,
    last_ns: u64,
    chain: u64,
}

impl Handler for Stubborn {
    type State = Course;
    const NAME: &'static str = "stubborn";
    const STATE_VERSION: u16 = 1;

    fn interests(&self) -> KindSet {
        KindSet::of(&[Kind::TRADE])
    }

    fn on_event(&self, st: &mut Course, ev: EventRef<'_>, cx: &mut Ctx<'_>) -> Verdict {
        let head = ev.head();
        if !head.flags.contains(Flags::HISTORICAL) {
            if head.ts_recv.0 == START {
                // Of an odd second: the reader does not fail.
                cx.backfill(&trades(START - 301 * SECOND, START - SECOND)).unwrap();
            }
            return Verdict::Done;
        }
        if head.seq.is_multiple_of(150) && self.0.lock().unwrap().insert(head.seq) {
            return Verdict::Retry(7);
        }
        assert!(head.ts_recv.0 > st.last_ns, "in order");
        (st.past, st.last_ns) = (st.past + 1, head.ts_recv.0);
        st.chain = tapeline_core::hash::stable(bytemuck::bytes_of(&[st.chain, head.seq]));
        if st.past.is_multiple_of(100) {
            cx.signal(&Signal { strength: (st.chain >> 12) as f64, ..Signal::default() }).unwrap();
        }
        Verdict::Done
    }
}

#[test]
fn a_retry_in_a_long_backfill_holds_the_rest_of_it_back_and_parks_nothing() {
    // Live events of the symbol come meanwhile, and so do those of another one.
    let mut events = vec![live(0, 9)];
    events.extend((1..60).map(|n| live_of(1 + n as u32 % 2, 100 * n, 9)));
    let mut first: Option<shard_rig::Result> = None;
    for (shards, seed) in [(1, 1), (2, 2), (1, 3), (3, 4)] {
        let asked = Arc::default();
        let bus = |catalog: &mut Catalog| {
            BusBuilder::new(SYMBOLS_MAX).then(Stubborn(Arc::clone(&asked))).build(catalog).unwrap()
        };
        let mut rig = Rig::configured(bus, events.clone(), Sizes::of(shards), &|config| {
            config.letters.held_per_symbol = 64;
        });
        let mut prng = Prng::new(seed);
        let mut readers = Vec::new();
        for shard in &mut rig.shards {
            let (replies, consumer) = ring::channel(64);
            shard.attach_backfill(&roomy(), consumer);
            readers.push(Reader::new(replies, feed(1)));
        }
        while !rig.is_drained() {
            rig.source.send(1 + prng.in_range(0..3) as usize);
            let at = prng.index(shards);
            let _ = rig.step(at);
            readers[at].work(&mut rig.shards[at], &mut prng);
            assert!(rig.steps < 400_000, "not drained: {:?}", rig.shards);
        }
        let result = rig.result();
        let derived = result.derived.row(Kind::TRADE);
        assert_eq!((derived.delivered, derived.dead_lettered, derived.in_flight), (3_000, 0, 0), "{shards} shards");
        assert_eq!(asked.lock().unwrap().len(), 20, "one in 150");
        let letters = rig.shards.iter().map(|shard| *shard.letters().stats());
        let (held, parked) = letters
            .fold((0, 0), |(held, parked), stats| (held + stats.held, parked + stats.parked_by.iter().sum::<u64>()));
        assert!(held > 20 * 31 && parked == 0, "{held} held, {parked} parked");
        let desks: Vec<_> = rig.shards.iter().map(|shard| *shard.backfill().unwrap().counters()).collect();
        let (postponed, others) =
            desks.iter().fold((0, 0), |sum, desk| (sum.0 + desk.postponed, sum.1 + desk.postponed_others));
        assert!(postponed > 20 && others == 0, "{desks:?}");
        match &first {
            None => first = Some(result),
            Some(other) => other.assert_same(&result, &format!("{shards} shards")),
        }
    }
}
