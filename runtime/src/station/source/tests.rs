//! The source on a clock that stands still until a test moves it: whose each lag is, and what ends a replay.

use super::*;
use crate::clock::Hand;
use crate::ingest::{Capture, Ingest, Progress};
use crate::input::{Input, InputError, SlotBuf, Status, Tally};
use crate::pacer::Pace;
use tapeline_core::catalog::{Catalog, SeqRule};
use tapeline_core::event::payload::Trade;
use tapeline_core::ring::{self, Consumer};
use tapeline_core::testing::for_seeds;
use tapeline_core::units::{SourceId, SymbolId};

/// When the first event was captured.
const FIRST: u64 = 1_700_000_000_000_000_000;
/// Slots of the ring.
const ROOM: usize = 8;

/// Events that are made already. Each of its runs becomes a block of its own, and a poll ends with its block.
struct Made(std::vec::IntoIter<Vec<Slot>>);

impl Input for Made {
    fn format(&self) -> &'static str {
        "made"
    }

    fn read(&mut self, catalog: &mut Catalog, out: &mut SlotBuf) -> Result<Status, InputError> {
        assert_eq!(catalog.symbol(b"A"), Ok(SymbolId(1)));
        assert_eq!(catalog.source(b"made", SeqRule::None), Ok(SourceId(1)));
        out.extend(&self.0.next().unwrap_or_default());
        Ok(if self.0.len() == 0 { Status::End } else { Status::More })
    }

    fn tally(&self) -> Tally {
        Tally::default()
    }
}

/// A trade, a message of its own, captured `at` ns after the first.
fn trade(at: u64) -> Slot {
    let mut event = EventBuf::new(&Trade { price: 1, size: 1, ..Trade::default() });
    event.flag(Flags::LAST);
    let head = event.head_mut();
    (head.ts_recv, head.symbol, head.source) = (UnixNanos(FIRST + at), SymbolId(1), SourceId(1));
    event.slots()[0]
}

fn tick(at: u64, last: u64) -> Slot {
    let mut event = EventBuf::new(&Tick { last, ..Tick::default() });
    event.head_mut().ts_recv = UnixNanos(FIRST.saturating_add(at));
    event.slots()[0]
}

/// A source with one shard's ring, whose other end and whose clock the test holds.
struct Rig {
    source: SourceStation,
    ring: Consumer,
    hand: Hand,
    now_ns: u64,
}

impl Rig {
    fn new(blocks: Vec<Vec<Slot>>, pace: Pace) -> Self {
        let queue = BlockQueue::new(blocks.len() + 1);
        let mut made = Some(Made(blocks.into_iter()));
        let open = Box::new(move || Ok(Box::new(made.take().expect("opened once")) as Box<dyn Input>));
        let captures = vec![Capture { path: "made".to_owned(), open }];
        let (catalog, progress) = (Catalog::new(8), Progress::default());
        let ingest = Ingest { captures, passes: 1, messages_max: u64::MAX, catalog, progress };
        assert!(ingest.run(&queue).errors.is_empty());
        let (clock, hand) = RunClock::held();
        let (producer, ring) = ring::channel_at(ROOM, 0, true);
        let config = SourceConfig {
            pacer: Pacer::new(pace, None),
            has_dues: true,
            start: None,
            end: None,
            routes: RouteTable::new(1),
            symbols_max: 8,
            is_meshed: false,
            commands: None,
            interrupt: Arc::default(),
            warmup_ns: 0,
            symbols: None,
        };
        let source = SourceStation::new(config, clock, queue, vec![producer], None);
        Self { source, ring, hand, now_ns: 0 }
    }

    /// Lets the definitions through, and looks whether the first event went out in time.
    fn begun(mut self) -> Self {
        self.poll();
        assert_eq!(self.take(ROOM), 5, "two definitions of two slots and the first event");
        self
    }

    fn advance(&mut self, ns: u64) {
        self.hand.advance(ns);
        self.now_ns += ns;
    }

    /// One poll. Returns the events that it charged to the pacer and to the engine.
    fn poll(&mut self) -> (u64, u64) {
        let before = (self.source.report.pacer_lag.len(), self.source.report.backpressure.len());
        self.source.poll(self.now_ns);
        let after = (self.source.report.pacer_lag.len(), self.source.report.backpressure.len());
        (after.0 - before.0, after.1 - before.1)
    }

    /// Takes up to so many slots out of the ring.
    fn take(&mut self, slots: usize) -> usize {
        self.ring.pop_batch(&mut vec![Slot::ZERO; slots], Some(&mut vec![0; slots]))
    }

    /// Fills the ring with events that are due now, and makes the source see that it is full.
    fn fill(&mut self) {
        let (pacer, engine) = self.poll();
        assert_eq!((pacer, engine), (ROOM as u64, 0), "in time");
        assert!(self.source.lag.is_full());
    }
}

/// A block of `count` events at each of these times after the first event.
fn at(times: &[(u64, usize)]) -> Vec<Slot> {
    times.iter().flat_map(|&(at, count)| vec![trade(at); count]).collect()
}

#[test]
fn a_clock_that_jumps_while_the_ring_has_room_makes_the_lag_the_pacers() {
    let mut rig = Rig::new(vec![at(&[(0, 1), (1_000, 1), (5_000, 1), (90_000, 1)])], Pace::Speed(1.0)).begun();
    assert_eq!(rig.poll(), (0, 0), "not due");
    rig.advance(1_000);
    assert_eq!(rig.poll(), (1, 0), "in time");
    rig.advance(54_000);
    assert_eq!(rig.poll(), (1, 0), "50 us late with room in the ring");
    rig.advance(300_000);
    assert_eq!(rig.poll(), (1, 0));
    let report = &rig.source.report;
    assert_eq!((report.missed, report.backpressure.len()), (1, 0), "one of them was 100 us late or more");
    assert!(report.pacer_lag.max().abs_diff(265_000) < 1_000, "{}", report.pacer_lag.max());
}

#[test]
fn a_ring_that_is_full_while_events_are_due_makes_the_lag_the_engines() {
    let mut rig = Rig::new(vec![at(&[(0, 1), (1_000, ROOM + 2), (500_000, 1)])], Pace::Speed(1.0)).begun();
    rig.advance(1_000);
    rig.fill();
    for _ in 0..10 {
        rig.advance(20_000);
        assert_eq!(rig.poll(), (0, 0), "full");
    }
    rig.take(1);
    assert_eq!(rig.poll(), (0, 1), "room for one, which waited for 200 us; the next finds the ring full again");
    rig.advance(50_000);
    rig.take(1);
    assert_eq!(rig.poll(), (0, 1));
    assert_eq!((rig.source.report.missed, rig.source.report.full_polls), (0, 12));
    assert!(rig.source.report.backpressure.max().abs_diff(250_000) < 1_000);
    // In time again: what was before does not count for what comes then.
    rig.take(ROOM);
    assert_eq!(rig.poll(), (0, 0));
    rig.advance(600_000);
    assert_eq!(rig.poll(), (1, 0), "the source was away, and the ring empty");
}

#[test]
fn exactly_half_is_the_engines_and_one_nanosecond_less_is_the_pacers() {
    for (jump_ns, charged) in [(10_000, (0, 1)), (10_001, (1, 0)), (9_999, (0, 1)), (1_000_000, (1, 0))] {
        let blocks = vec![at(&[(0, 1), (1_000, ROOM + 1)]), at(&[(1_000, 1)])];
        let mut rig = Rig::new(blocks, Pace::Speed(1.0)).begun();
        rig.advance(1_000);
        rig.fill();
        rig.advance(10_000);
        rig.take(ROOM);
        assert_eq!(rig.poll(), (0, 1), "full for all of its lag");
        rig.advance(jump_ns);
        assert_eq!(rig.poll(), charged, "full for 10 us, then {jump_ns} ns away with room");
    }
}

#[test]
fn a_ring_that_was_full_before_an_event_was_due_excuses_nothing() {
    // Full at 1,000; emptied at 1,500, before the next event is due at 2,000; the source comes back at 2,400.
    let mut rig = Rig::new(vec![at(&[(0, 1), (1_000, ROOM), (2_000, 1)])], Pace::Speed(1.0)).begun();
    rig.advance(1_000);
    assert_eq!(rig.poll(), (ROOM as u64, 0));
    rig.advance(500);
    assert_eq!(rig.poll(), (0, 0), "nothing is due: whether the ring is full does not matter");
    rig.take(ROOM);
    rig.advance(900);
    assert_eq!(rig.poll(), (1, 0), "400 ns late, all of them the source's");

    // The same with a tick, which is sent when its turn comes and finds the ring full.
    let mut events = at(&[(0, 1), (1_000, ROOM)]);
    events.extend([tick(1_000, 0), trade(2_000)]);
    let mut rig = Rig::new(vec![events], Pace::Speed(1.0)).begun();
    rig.advance(1_000);
    rig.fill();
    rig.advance(900);
    rig.take(ROOM);
    assert_eq!(rig.poll(), (0, 0), "the tick went out, the event is not due at 1,900");
    rig.advance(10_100);
    assert_eq!(rig.poll(), (1, 0), "10 us late: the ring was full for 900 ns before it was due");
}

#[test]
fn a_warm_up_is_paced_and_not_measured_and_a_stamp_tells_due_time_and_lag() {
    let mut rig = Rig::new(vec![at(&[(0, 1), (1_000, 1), (2_000, 1), (3_000, 1)])], Pace::Speed(1.0));
    rig.source.config.warmup_ns = 2_000;
    let mut dues = vec![0; ROOM];
    rig.poll();
    assert_eq!(rig.ring.pop_batch(&mut vec![Slot::ZERO; ROOM], Some(&mut dues)), 5, "the first is due at once");
    assert_eq!(dues[4], DUE_NONE, "and no sample");
    assert_eq!(rig.poll(), (0, 0), "the second is not due yet: a warm-up keeps the schedule");
    rig.advance(1_000);
    assert_eq!(rig.poll(), (0, 0), "sent, and charged to nobody");
    assert_eq!(rig.ring.pop_batch(&mut vec![Slot::ZERO; ROOM], Some(&mut dues)), 1);
    assert_eq!(dues[0], DUE_NONE);
    rig.advance(1_100);
    assert_eq!(rig.poll(), (1, 0), "warm");
    assert_eq!(rig.ring.pop_batch(&mut vec![Slot::ZERO; ROOM], Some(&mut dues)), 1);
    assert_eq!((crate::stamp::due_ns(dues[0], 2_100), crate::stamp::lag_ns(dues[0])), (2_000, 100));
    assert_eq!((rig.source.report.messages, rig.source.report.last_due_ns), (1, 2_000));
}

#[test]
fn symbols_that_nobody_asked_for_are_left_out_and_counted() {
    let named = |name: &[u8]| Some([tapeline_core::hash::stable(name)].into());
    for (symbols, sent, left_out, found) in [(named(b"A"), 3, 0, 1), (named(b"B"), 0, 3, 0), (None, 3, 0, 0)] {
        let mut rig = Rig::new(vec![at(&[(0, 3)])], Pace::Max);
        rig.source.config.symbols = symbols;
        for _ in 0..4 {
            rig.poll();
        }
        let report = &rig.source.report;
        assert_eq!((report.sent, report.left_out, report.symbols_found), (sent, left_out, found));
    }
}

/// The rule by its words, event by event, over random clocks, blocks and consumers.
#[test]
fn every_lag_is_charged_as_the_rule_says() {
    let (mut pacers, mut engines, mut mixed, mut in_time) = (0, 0, [0, 0], 0);
    for_seeds(0..100, |_, prng| {
        let (mut ts, mut blocks, mut times) = (0, vec![at(&[(0, 1)])], vec![0]);
        for _ in 0..150 {
            let mut block = Vec::new();
            for _ in 0..prng.in_range(1..12) {
                ts += if prng.one_in(3) { 0 } else { prng.in_range(1..4_000) };
                times.push(1 + ts);
                block.push(trade(1 + ts));
            }
            blocks.push(block);
        }
        let mut ends = blocks.iter().map(Vec::len);
        let mut rig = Rig::new(blocks.clone(), Pace::Speed(1.0)).begun();
        let (mut next, mut end, mut occupied) = (1, ends.next().unwrap(), 0);
        // From the times of the looks alone: when a ring was full since the source was last in time.
        let (mut full, mut full_since) = (Vec::<(u64, u64)>::new(), None);
        let mut turns = 0;
        while next < times.len() {
            turns += 1;
            assert!(turns < 1_000_000, "the source goes on");
            match prng.in_range(0..10) {
                0..3 => rig.advance(prng.in_range(0..3_000)),
                3 => rig.advance(prng.in_range(0..30_000)),
                4..6 => occupied -= rig.take(prng.in_range(1..1 + ROOM as u64) as usize),
                _ => {
                    if next == end {
                        end += ends.next().unwrap();
                    }
                    let (mut pacer, mut engine) = (0, 0);
                    while next < end {
                        let due = times[next];
                        if rig.now_ns < due {
                            (full, full_since) = (Vec::new(), None);
                            in_time += 1;
                            break;
                        }
                        if occupied == ROOM {
                            full_since = full_since.or(Some(rig.now_ns));
                            break;
                        }
                        if let Some(from) = full_since.take() {
                            full.push((from, rig.now_ns));
                        }
                        let lag = rig.now_ns - due;
                        let held_up: u64 = full.iter().map(|(from, to)| to - from).sum();
                        let is_engines = lag > 0 && held_up * 2 >= lag;
                        *(if is_engines { &mut engine } else { &mut pacer }) += 1;
                        mixed[usize::from(is_engines)] += u64::from(held_up > 0 && held_up < lag);
                        (next, occupied) = (next + 1, occupied + 1);
                    }
                    assert_eq!(rig.poll(), (pacer, engine), "up to event {next}, at {} ns", rig.now_ns);
                    (pacers, engines) = (pacers + pacer, engines + engine);
                }
            }
        }
    });
    for count in [pacers, engines, mixed[0], mixed[1], in_time] {
        assert!(count > 100, "all cases came: {pacers} {engines} {mixed:?} {in_time}");
    }
}

/// All that comes out of the ring until the source is done.
fn drained(rig: &mut Rig) -> Vec<Slot> {
    let mut all = Vec::new();
    for _ in 0..10_000 {
        rig.source.poll(rig.now_ns);
        rig.advance(1_000);
        let mut slots = [Slot::ZERO; ROOM];
        let count = rig.ring.pop_batch(&mut slots, Some(&mut [0; ROOM]));
        all.extend_from_slice(&slots[..count]);
        if rig.source.is_done() && count == 0 {
            return all;
        }
    }
    panic!("the source does not end");
}

#[test]
fn a_capture_that_says_that_nothing_follows_does_not_end_the_replay() {
    for pace in [Pace::Speed(1.0), Pace::Max] {
        let events =
            vec![trade(0), tick(5, 1), trade(10), tick(20, u64::MAX), tick(u64::MAX, 1), tick(15, 0), trade(30)];
        let mut rig = Rig::new(vec![events], pace);
        let all = drained(&mut rig);
        let trades: Vec<u64> =
            all.iter().filter(|slot| slot.kind() == Kind::TRADE).map(|slot| slot.ts_recv.0 - FIRST).collect();
        assert_eq!(trades, [0, 10, 30], "{pace:?}: everything is sent");
        let ticks: Vec<(u64, u64)> = all
            .iter()
            .filter(|slot| slot.kind() == Kind::TICK)
            .map(|slot| (slot.ts_recv.0 - FIRST, slot.payload_as::<Tick>().last))
            .collect();
        assert_eq!(ticks, [(5, 0), (20, 0), (20, 0), (20, 0), (30, 1)], "{pace:?}: the source alone says the end");
        assert_eq!(rig.source.report.end_marks, 3, "{pace:?}");
    }
}

#[test]
fn a_shard_is_told_the_time_before_an_event_that_would_not_tell_it() {
    // Other shards' events have moved the time on. Neither a late event nor one of a time that no clock shows tells this shard.
    for first in [trade(5), trade(u64::MAX - FIRST)] {
        let mut rig = Rig::new(vec![vec![trade(0)], vec![first, trade(5), trade(30)]], Pace::Speed(1.0)).begun();
        rig.source.time = UnixNanos(FIRST + 20);
        let all: Vec<(Kind, u64)> =
            drained(&mut rig).iter().map(|slot| (slot.kind(), slot.ts_recv.0 - FIRST)).collect();
        let expected = [(Kind::TICK, 20), (Kind::TRADE, first.ts_recv.0 - FIRST), (Kind::TRADE, 5), (Kind::TRADE, 30)];
        assert_eq!(all[..4], expected, "once, and before the first of them");
    }
}

#[test]
fn req_3386_a_command_waits_for_room_and_takes_its_place_in_the_stream() {
    let mut rig = Rig::new(vec![at(&[(0, 1), (1_000, ROOM + 1), (500_000, 1)])], Pace::Speed(1.0)).begun();
    let (mut sender, receiver) = tapeline_core::commands::channel(2);
    rig.source.config.commands = Some(receiver);
    rig.advance(1_000);
    rig.fill();
    for handler in [7, 8] {
        sender.send(Subscription { handler, subscribed: 1, ..Subscription::default() }).unwrap();
    }
    rig.poll();
    let mut slots = [Slot::ZERO; ROOM];
    let mut dues = [0; ROOM];
    assert_eq!(rig.ring.pop_batch(&mut slots, Some(&mut dues)), ROOM);
    assert!(slots.iter().all(|slot| slot.kind() == Kind::TRADE), "a full ring holds what came before");
    rig.advance(499_000);
    rig.poll();
    assert_eq!(rig.ring.pop_batch(&mut slots, Some(&mut dues)), 4);
    let kinds: Vec<Kind> = slots[..4].iter().map(|slot| slot.kind()).collect();
    assert_eq!(kinds, [Kind::SUBSCRIPTION, Kind::SUBSCRIPTION, Kind::TRADE, Kind::TRADE]);
    let handlers: Vec<u64> = slots[..2].iter().map(|slot| slot.payload_as::<Subscription>().handler).collect();
    assert_eq!((handlers, slots[0].ts_recv), (vec![7, 8], UnixNanos(FIRST + 1_000)), "in order, at the time reached");
    assert_eq!((dues[0], dues[1]), (DUE_NONE, DUE_NONE), "commands are no samples");
}
