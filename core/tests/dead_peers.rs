//! Bugs that other dead letter queues had, each under its name; bad input; and the rows of the requirements that the structure shows
//! alone. Where a test needs a shard, it has the few lines of one: a wheel, and a handler that fails as it is told.

mod dead_twin;

use dead_twin::event;
use std::collections::BTreeMap;
use tapeline_core::dead::{
    Budget, Cause, Config, DeadLetters, Direction, Failed, Failure, Fate, Filter, Handle, Outcome, Refused, Site,
    State, Subject,
};
use tapeline_core::event::{EventRef, Kind, Slot};
use tapeline_core::limits::{
    DEAD_LETTERS_DEFAULT, ERROR_CODES_DEFAULT, HELD_PER_SYMBOL_DEFAULT, KIND_ROWS, SPAN_SLOTS_MAX,
};
use tapeline_core::retry::{Backoff, Factor, Jitter, Names, Order, Policy, RetryConfig};
use tapeline_core::slab::SLAB_MAX;
use tapeline_core::testing::steps_of;
use tapeline_core::units::{SymbolId, UnixNanos};
use tapeline_core::wheel::Wheel;

const CONFIG: Config = Config {
    entries: 2_000,
    slots: 2_000,
    holds: 64,
    held_per_symbol: 1_024,
    symbols: 64,
    errors: 8,
    seed: 1,
    instance: 0,
};
const NAMES: Names = Names { symbol_hash: 1, source_hash: 2 };
const HELD: u8 = 0;
const RELEASED: u8 = 1;
const ONCE: u8 = 2;

fn policies(attempts_max: u16) -> [Policy; 3] {
    let policy = |attempts_max, order| {
        let backoff = Backoff::Exponential { base_ns: 10, factor: Factor::TWO, cap_ns: 1_000 };
        Policy::new(RetryConfig { attempts_max, backoff, jitter: Jitter::None, order }).unwrap()
    };
    [policy(attempts_max, Order::Held), policy(attempts_max, Order::Released), policy(1, Order::Held)]
}

/// One handler on a shard of its own, which fails on the events that it is told.
struct Shard {
    letters: DeadLetters,
    wheel: Wheel<Handle>,
    now: u64,
    seq: u64,
    /// Calls of the handler: time, symbol, seq.
    calls: Vec<(u64, u32, u64)>,
    fails: fn(u64) -> bool,
    handled: Vec<u64>,
}

impl Shard {
    fn new(config: Config, attempts_max: u16, fails: fn(u64) -> bool) -> Self {
        Self {
            letters: DeadLetters::new(&config, &policies(attempts_max)),
            wheel: Wheel::new(config.entries, 1),
            now: 0,
            seq: 0,
            calls: Vec::new(),
            fails,
            handled: Vec::new(),
        }
    }

    fn call(&mut self, event: &[Slot]) -> bool {
        let head = &event[0];
        self.calls.push((self.now, head.symbol.0, head.seq));
        let is_done = !(self.fails)(head.seq);
        if is_done {
            self.handled.push(head.seq);
        }
        is_done
    }

    fn after(&mut self, failed: Failed) {
        if let Outcome::RetryAt(due) = failed.outcome {
            let timer = self.wheel.schedule(due, failed.handle).unwrap();
            assert!(self.letters.set_timer(failed.handle, timer));
        }
    }

    /// The next event, for `symbol`, under `policy`. Returns its seq.
    fn offer(&mut self, symbol: u32, policy: u8) -> u64 {
        self.seq += 1;
        let event = event(self.seq, symbol, Kind::TRADE, 1);
        let subject = Subject::New(EventRef::first(&event).unwrap());
        let site = Site { handler: 1, policy };
        if self.letters.is_holding(1, SymbolId(symbol)) {
            let held = self.letters.hold(subject, site, UnixNanos(self.now)).unwrap();
            if let Some(parked) = held.parked {
                assert_eq!(self.wheel.cancel(parked.timer), Some(parked.handle));
            }
        } else if !self.call(&event) {
            let failed = self.letters.fail(subject, site, Failure::Retry(3), NAMES, UnixNanos(self.now)).unwrap();
            self.after(failed);
        }
        self.run_ready();
        self.seq
    }

    fn run(&mut self, handle: Handle) {
        let mut slots = [Slot::ZERO; SPAN_SLOTS_MAX];
        let event = self.letters.event(handle, &mut slots).unwrap().slots().to_vec();
        if self.call(&event) {
            self.letters.success(handle).unwrap();
        } else {
            let failed = self.letters.fail_again(handle, Failure::Retry(3), NAMES, UnixNanos(self.now)).unwrap();
            self.after(failed);
        }
    }

    fn run_ready(&mut self) {
        while let Some(handle) = self.letters.ready() {
            self.run(handle);
        }
        self.letters.assert_invariants();
    }

    fn run_until(&mut self, now: u64) {
        while self.wheel.is_due(UnixNanos(now)) {
            let Some((due, handle)) = self.wheel.pop_due(UnixNanos(now)) else { break };
            self.now = self.now.max(due.0);
            self.run(handle);
            self.run_ready();
        }
        self.now = self.now.max(now);
    }

    fn redrive_all(&mut self) -> usize {
        let mut sweep = self.letters.sweep(&Filter::ALL);
        let mut due = Vec::new();
        let swept = self.letters.redrive_next(&mut sweep, Budget::UNLIMITED, UnixNanos(self.now), |redriven| {
            due.push(redriven.unwrap());
        });
        for redriven in due {
            if let Some(due) = redriven.due {
                let timer = self.wheel.schedule(due, redriven.handle).unwrap();
                assert!(self.letters.set_timer(redriven.handle, timer));
            }
        }
        swept.moved
    }
}

/// With one attempt configured, the peer handled the event for ever.
#[test]
fn spring_cloud_stream_627_one_attempt_is_one_call() {
    let mut shard = Shard::new(CONFIG, 5, |_| true);
    shard.offer(1, ONCE);
    shard.run_until(1_000_000);
    assert_eq!(shard.calls.len(), 1);
    assert!(shard.wheel.is_empty());
    let (_, entry) = shard.letters.list(&Filter::ALL, Direction::OldestFirst, None, 9).next().unwrap();
    assert_eq!((entry.state(), entry.cause(), entry.attempts()), (State::Parked, Some(Cause::Attempts), 1));
}

/// Poison loops: an event that always fails ends after its attempts, and what is behind it is handled.
#[test]
fn prefect_16051_a_poison_event_ends_and_does_not_stop_what_is_behind_it() {
    for policy in [HELD, RELEASED] {
        let mut shard = Shard::new(CONFIG, 5, |seq| seq == 1);
        for _ in 0..20 {
            shard.offer(1, policy);
            shard.run_until(shard.now + 3);
        }
        shard.run_until(1_000_000_000);
        assert_eq!(shard.calls.iter().filter(|call| call.2 == 1).count(), 5, "attempts, and no more");
        assert_eq!(shard.handled, (2..=20).collect::<Vec<_>>(), "the others, in order");
        assert_eq!((shard.letters.parked(), shard.letters.len()), (1, 1));
        assert!(shard.wheel.is_empty());
    }
}

/// What was read from the peer's dead letters and failed again was written to their end, and read again. Here a sweep meets each once,
/// however often they come back.
#[test]
fn logstash_7833_a_redrive_of_poison_does_not_go_in_circles() {
    let mut shard = Shard::new(CONFIG, 3, |_| true);
    for symbol in 0..50 {
        shard.offer(symbol, RELEASED);
    }
    shard.run_until(10_000);
    assert_eq!(shard.letters.parked(), 50);
    let mut sweep = shard.letters.sweep(&Filter::ALL);
    assert_eq!(shard.letters.left(&sweep), 50);
    let (mut redriven, mut calls) = (0, 0);
    while !sweep.is_done() {
        let mut moved = Vec::new();
        let budget = Budget { moves: 1, visits: 5 };
        let swept =
            shard.letters.redrive_next(&mut sweep, budget, UnixNanos(shard.now), |one| moved.push(one.unwrap()));
        redriven += swept.moved;
        for one in moved {
            // It fails at once, and is parked again before the next is redriven.
            while shard.letters.get(one.handle).unwrap().state() == State::Waiting {
                let now = UnixNanos(shard.now);
                shard.letters.fail_again(one.handle, Failure::Retry(3), NAMES, now).unwrap();
            }
        }
        calls += 1;
        assert!(calls <= 51);
    }
    assert_eq!((redriven, shard.letters.parked()), (50, 50));
    for (_, entry) in shard.letters.list(&Filter::ALL, Direction::OldestFirst, None, usize::MAX) {
        assert_eq!((entry.failures(), entry.attempts(), entry.redrives()), (6, 3, 1));
    }
}

#[test]
fn req_3534_3538_3463_full_is_a_value_and_room_comes_back() {
    let config = Config { entries: 3, slots: 5, ..CONFIG };
    let mut letters = DeadLetters::new(&config, &policies(3));
    let fail = |letters: &mut DeadLetters, seq, slots| {
        let event = event(seq, 1, Kind::NEWS, slots);
        let subject = Subject::New(EventRef::first(&event).unwrap());
        letters.fail(subject, Site { handler: 1, policy: RELEASED }, Failure::Retry(1), NAMES, UnixNanos(seq))
    };
    let first = fail(&mut letters, 1, 3).unwrap();
    let second = fail(&mut letters, 2, 2).unwrap();
    assert_eq!(fail(&mut letters, 3, 1), Err(Refused::SlotsFull));
    letters.remove(second.handle).unwrap();
    assert!(fail(&mut letters, 4, 1).is_ok() && fail(&mut letters, 5, 1).is_ok());
    assert_eq!(fail(&mut letters, 6, 1), Err(Refused::EntriesFull));
    assert_eq!(letters.get(second.handle), None, "stale");
    assert_eq!(letters.success(second.handle), Err(Refused::Stale));
    assert_eq!(letters.get(first.handle).map(|entry| entry.first_failure()), Some(UnixNanos(1)));
    assert_eq!(letters.stats().refused_by[Refused::SlotsFull as usize], 1);
    assert_eq!(letters.stats().refused_by[Refused::EntriesFull as usize], 1);
    assert_eq!(letters.stats().failures, 6, "failures are counted, kept or not");
    letters.assert_invariants();
}

/// Listing by kind, symbol, error and time walks that chain only: as many visits as it has entries.
#[test]
fn req_3534_listing_walks_an_index() {
    let config = Config { entries: 9_000, slots: 9_000, ..CONFIG };
    let mut letters = DeadLetters::new(&config, &policies(3));
    for seq in 0..9_000 {
        let (symbol, kind) =
            (if seq % 1_000 == 7 { 2 } else { 1 }, if seq % 900 == 5 { Kind::NEWS } else { Kind::TRADE });
        let error = if seq % 3_000 == 9 { 4 } else { 1 };
        let event = event(seq, symbol, kind, 1);
        let subject = Subject::New(EventRef::first(&event).unwrap());
        letters
            .fail(subject, Site { handler: 1, policy: RELEASED }, Failure::Fail(error), NAMES, UnixNanos(seq))
            .unwrap();
    }
    let cost = |filter: Filter, visits| {
        let seqs = |direction| -> Vec<u64> {
            let page = letters.list(&filter, direction, None, visits);
            page.map(|(handle, _)| letters.head(handle).unwrap().seq).collect()
        };
        let (mut newest, oldest) = (seqs(Direction::NewestFirst), seqs(Direction::OldestFirst));
        newest.reverse();
        assert_eq!(newest, oldest);
        oldest
    };
    let symbol = Filter { symbol: Some(SymbolId(2)), ..Filter::ALL };
    assert_eq!(cost(symbol, 9), (0..9).map(|nth| nth * 1_000 + 7).collect::<Vec<_>>());
    assert_eq!(cost(Filter { kind: Some(Kind::NEWS), ..Filter::ALL }, 10).len(), 10);
    assert_eq!(cost(Filter { error: Some(4), ..Filter::ALL }, 3), [9, 3_009, 6_009]);
    let time = Filter { from: UnixNanos(4_000), until: UnixNanos(4_010), ..Filter::ALL };
    assert_eq!(cost(time, 11), (4_000..4_010).collect::<Vec<_>>());
    // Two of them: the shorter chain.
    assert_eq!(cost(Filter { kind: Some(Kind::TRADE), ..symbol }, 9).len(), 9);
}

#[test]
fn req_3536_failure_counts_are_bounded_by_kinds_and_codes() {
    let mut letters = DeadLetters::new(&CONFIG, &policies(1));
    let bytes = letters.bytes();
    let mut twin = BTreeMap::new();
    for code in 0..=u16::MAX {
        let kind = [Kind::TRADE, Kind::NEWS, Kind(900 + code % 50)][code as usize % 3];
        let event = event(u64::from(code), 1, kind, 1);
        let subject = Subject::New(EventRef::first(&event).unwrap());
        // Most find no room, and count all the same.
        let _ = letters.fail(subject, Site { handler: 1, policy: ONCE }, Failure::Fail(code), NAMES, UnixNanos(1));
        *twin.entry((kind.row(), code.min(8))).or_insert(0) += 1;
    }
    assert_eq!(letters.bytes(), bytes);
    assert!(twin.len() <= KIND_ROWS * 9);
    for kind in [Kind::TRADE, Kind::NEWS, Kind(900)] {
        for code in 0..9 {
            assert_eq!(letters.failures_of(kind, code), twin.get(&(kind.row(), code)).copied().unwrap_or(0));
        }
        assert_eq!(letters.failures_of(kind, u16::MAX), letters.failures_of(kind, 8), "codes that nobody registered");
    }
}

#[test]
fn req_3537_a_finished_retry_leaves_nothing() {
    let mut shard = Shard::new(CONFIG, 200, |_| false);
    let bytes = (shard.letters.bytes(), shard.wheel.bytes());
    for round in 0..2_000 {
        let mut event = event(round, 1 + (round % 60) as u32, Kind::TRADE, 1);
        event[0].seq = round;
        let subject = Subject::New(EventRef::first(&event).unwrap());
        let site = Site { handler: 1, policy: [HELD, RELEASED][round as usize % 2] };
        let failed = shard.letters.fail(subject, site, Failure::Retry(1), NAMES, UnixNanos(shard.now)).unwrap();
        shard.after(failed);
        assert_eq!(shard.wheel.len(), 1, "a retry is a timer");
        shard.run_until(shard.now + 10);
        assert!(shard.letters.is_empty() && shard.wheel.is_empty());
        assert_eq!((shard.letters.slots_used(), shard.letters.holds()), (0, 0));
    }
    assert_eq!(shard.handled.len(), 2_000);
    assert_eq!((shard.letters.bytes(), shard.wheel.bytes()), bytes);
}

#[test]
fn req_3540_a_delay_holds_nobody_else_up() {
    let mut shard = Shard::new(CONFIG, 9, |seq| seq == 1);
    shard.offer(7, HELD);
    for symbol in 0..60 {
        let seq = shard.offer(symbol, HELD);
        let is_handled = shard.handled.contains(&seq);
        assert_eq!(is_handled, symbol != 7, "only its own symbol waits");
        assert_eq!(shard.now, 0);
    }
    assert!(!shard.letters.is_holding(2, SymbolId(7)), "and only for that handler");
    // Released: not even its own symbol.
    let mut shard = Shard::new(CONFIG, 9, |seq| seq == 1);
    for _ in 0..10 {
        shard.offer(7, RELEASED);
    }
    assert_eq!(shard.handled, (2..=10).collect::<Vec<_>>());
}

#[test]
fn req_retry_held_events_come_in_order_after_the_retry() {
    // The third fails, too, when its turn comes, and those behind it wait on.
    static CALLS: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
    let mut shard = Shard::new(CONFIG, 9, |seq| {
        (seq == 1 || seq == 3) && CALLS.fetch_add(1, std::sync::atomic::Ordering::Relaxed) < 4
    });
    for _ in 0..6 {
        shard.offer(7, HELD);
    }
    assert_eq!((shard.letters.waiting(), shard.letters.held()), (1, 5));
    shard.run_until(100_000);
    assert_eq!(shard.handled, [1, 2, 3, 4, 5, 6]);
    assert!(shard.letters.is_empty());
}

#[test]
fn req_retry_hold_full_parks_the_first_and_releases_the_rest_in_order() {
    let mut shard = Shard::new(CONFIG, 9, |seq| seq == 1);
    for _ in 0..=HELD_PER_SYMBOL_DEFAULT {
        shard.offer(7, HELD);
    }
    assert_eq!((shard.letters.waiting(), shard.letters.held()), (1, HELD_PER_SYMBOL_DEFAULT), "exactly full");
    assert!(shard.handled.is_empty());
    let last = shard.offer(7, HELD);
    assert_eq!(shard.handled, (2..=last).collect::<Vec<_>>());
    assert!(shard.wheel.is_empty(), "its timer is cancelled");
    let (_, entry) = shard.letters.list(&Filter::ALL, Direction::OldestFirst, None, 9).next().unwrap();
    assert_eq!((entry.cause(), entry.error(), shard.letters.len()), (Some(Cause::HoldFull), Some(3), 1));
}

#[test]
fn req_redrive_keeps_policy_and_history() {
    static IS_DOWN: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(true);
    let mut shard = Shard::new(CONFIG, 3, |_| IS_DOWN.load(std::sync::atomic::Ordering::Relaxed));
    let start = 1_000;
    shard.run_until(start);
    for _ in 0..4 {
        shard.offer(7, HELD);
    }
    shard.run_until(10_000);
    assert_eq!(shard.letters.parked(), 4);
    let first = shard.letters.list(&Filter::ALL, Direction::OldestFirst, None, 1).next().unwrap();
    assert_eq!((first.1.first_failure(), first.1.last_failure()), (UnixNanos(1_000), UnixNanos(1_030)));
    let policy = first.1.policy();
    // Redriven in vain: the policy's attempts again, and more history.
    assert_eq!(shard.redrive_all(), 4);
    assert_eq!((shard.letters.waiting(), shard.letters.held()), (1, 3), "they hold their symbol as before");
    shard.run_until(20_000);
    for (_, entry) in shard.letters.list(&Filter::ALL, Direction::OldestFirst, None, usize::MAX) {
        assert_eq!((entry.failures(), entry.attempts(), entry.redrives()), (6, 3, 1));
        assert_eq!((entry.policy(), entry.error()), (policy, Some(3)));
        assert!(entry.first_failure() < UnixNanos(1_200) && entry.last_failure() > UnixNanos(10_000));
    }
    IS_DOWN.store(false, std::sync::atomic::Ordering::Relaxed);
    assert_eq!(shard.redrive_all(), 4);
    shard.run_until(30_000);
    assert_eq!((shard.handled, shard.letters.is_empty()), (vec![1, 2, 3, 4], true));
}

#[test]
fn req_redrive_filter_dry_run_rate_and_purge() {
    let mut letters = DeadLetters::new(&CONFIG, &policies(2));
    for seq in 0..100 {
        let event = event(seq, (seq % 4) as u32, Kind::TRADE, 1);
        let subject = Subject::New(EventRef::first(&event).unwrap());
        let failure = Failure::Fail((seq % 3) as u16);
        letters.fail(subject, Site { handler: 1, policy: RELEASED }, failure, NAMES, UnixNanos(seq)).unwrap();
    }
    let filter = Filter { symbol: Some(SymbolId(2)), error: Some(1), ..Filter::ALL };
    let mut sweep = letters.sweep(&filter);
    let dry = letters.left(&sweep);
    assert_eq!((dry, letters.count(&filter), letters.parked()), (8, 8, 100), "a dry run moves nothing");
    let mut moved = Vec::new();
    for second in 0..5 {
        // Three a second.
        let budget = Budget { moves: 3, visits: usize::MAX };
        let _ = letters.redrive_next(&mut sweep, budget, UnixNanos(1_000 * second), |one| {
            moved.push((second, one.unwrap().handle));
        });
    }
    assert_eq!(moved.iter().map(|(second, _)| *second).collect::<Vec<_>>(), [0, 0, 0, 1, 1, 1, 2, 2]);
    assert!(sweep.is_done());
    assert_eq!((letters.waiting(), letters.parked()), (8, 92));
    // A purge takes what is parked, and leaves what is on its way.
    let mut purge = letters.sweep(&Filter { symbol: Some(SymbolId(2)), ..Filter::ALL });
    let mut fates = Vec::new();
    let swept = letters.purge_next(&mut purge, Budget::UNLIMITED, |removed| fates.push(removed.change.to));
    assert_eq!((swept.moved, letters.waiting(), letters.parked()), (17, 8, 75));
    assert!(fates.iter().all(|fate| *fate == Fate::Removed));
    letters.assert_invariants();
}

/// Several handlers on one event: one copy, and one fate for the ledger.
#[test]
fn an_event_is_counted_once_whatever_its_handlers_do() {
    let mut letters = DeadLetters::new(&CONFIG, &policies(3));
    let event = event(1, 1, Kind::NEWS, 4);
    let new = Subject::New(EventRef::first(&event).unwrap());
    let site = |handler| Site { handler, policy: RELEASED };
    let now = UnixNanos(5);
    let a = letters.fail(new, site(1), Failure::Retry(1), NAMES, now).unwrap();
    let stored = Subject::Stored(a.event);
    let b = letters.fail(stored, site(2), Failure::Fail(1), NAMES, now).unwrap();
    let c = letters.fail(stored, site(3), Failure::Panic, NAMES, now).unwrap();
    assert_eq!((letters.len(), letters.slots_used(), letters.parked(), letters.waiting()), (3, 4, 2, 1));
    let fates = |change: tapeline_core::dead::Change| (change.from, change.to);
    assert_eq!(fates(a.change), (Fate::Clear, Fate::InFlight));
    assert_eq!(fates(b.change), (Fate::InFlight, Fate::InFlight));
    assert_eq!((letters.events_in_flight(), letters.events_dead_lettered()), (1, 0));
    assert_eq!(fates(letters.success(a.handle).unwrap().change), (Fate::InFlight, Fate::DeadLettered));
    assert_eq!((letters.events_in_flight(), letters.events_dead_lettered()), (0, 1));
    assert_eq!(fates(letters.redrive(b.handle, now).unwrap().change), (Fate::DeadLettered, Fate::InFlight));
    assert_eq!(fates(letters.success(b.handle).unwrap().change), (Fate::InFlight, Fate::DeadLettered));
    assert_eq!(fates(letters.remove(c.handle).unwrap().change), (Fate::DeadLettered, Fate::Removed));
    assert_eq!((letters.len(), letters.slots_used(), letters.fate(a.event)), (0, 0, Fate::Clear));
    letters.assert_invariants();
}

#[test]
fn an_event_comes_back_as_it_came() {
    let mut letters = DeadLetters::new(&Config { slots: 64 * 65 / 2, ..CONFIG }, &policies(3));
    let mut to = [Slot::ZERO; SPAN_SLOTS_MAX];
    for slots in 1..=SPAN_SLOTS_MAX {
        let event = event(9, 3, Kind::NEWS, slots);
        let subject = Subject::New(EventRef::first(&event).unwrap());
        let failed =
            letters.fail(subject, Site { handler: 1, policy: RELEASED }, Failure::Retry(1), NAMES, UnixNanos(1));
        let back = letters.event(failed.unwrap().handle, &mut to).unwrap();
        let expected: Vec<_> = event.iter().map(|slot| Slot { tag: 0, ..*slot }).collect();
        assert_eq!(back.slots(), expected);
    }
}

#[test]
fn time_that_goes_back_is_taken_as_the_latest() {
    let mut letters = DeadLetters::new(&CONFIG, &policies(3));
    let event = event(1, 1, Kind::TRADE, 1);
    let new = Subject::New(EventRef::first(&event).unwrap());
    let site = Site { handler: 1, policy: RELEASED };
    letters.fail(new, site, Failure::Retry(1), NAMES, UnixNanos(100)).unwrap();
    let failed = letters.fail(new, site, Failure::Retry(1), NAMES, UnixNanos(5)).unwrap();
    assert_eq!(failed.outcome, Outcome::RetryAt(UnixNanos(110)));
    let failed = letters.fail_again(failed.handle, Failure::Retry(1), NAMES, UnixNanos(0)).unwrap();
    assert_eq!(failed.outcome, Outcome::RetryAt(UnixNanos(120)));
    let failed = letters.fail(new, site, Failure::Retry(1), NAMES, UnixNanos(u64::MAX)).unwrap();
    assert_eq!(failed.outcome, Outcome::RetryAt(UnixNanos(u64::MAX)), "time ends, and does not wrap");
    letters.assert_invariants();
}

#[test]
fn no_capacity_at_all_refuses_everything() {
    let nothing =
        Config { entries: 0, slots: 0, holds: 0, held_per_symbol: 0, symbols: 0, errors: 0, seed: 0, instance: 0 };
    let mut letters = DeadLetters::new(&nothing, &policies(3));
    let event = event(1, 0, Kind::TRADE, 1);
    let new = Subject::New(EventRef::first(&event).unwrap());
    let site = Site { handler: 1, policy: HELD };
    let now = UnixNanos(1);
    assert_eq!(letters.fail(new, site, Failure::Retry(1), NAMES, now), Err(Refused::UnknownSymbol));
    assert_eq!(letters.ready(), None);
    assert!(letters.list(&Filter::ALL, Direction::NewestFirst, None, 9).next().is_none());
    letters.assert_invariants();
    let mut letters = DeadLetters::new(&Config { symbols: 1, ..nothing }, &policies(3));
    assert_eq!(letters.fail(new, site, Failure::Retry(1), NAMES, now), Err(Refused::EntriesFull));
    letters.assert_invariants();
}

#[test]
fn defaults_fit_their_limits_and_the_memory_target() {
    let letters = DeadLetters::new(&Config::default(), &policies(3));
    // P20: an entry is 64 bytes and its event's slots; links, places, holds and tables come on top.
    assert_eq!(size_of::<tapeline_core::dead::Entry>(), 64);
    let config = Config { holds: 0, ..Config::default() };
    let small = DeadLetters::new(&Config { entries: 0, slots: 0, ..config }, &policies(3)).bytes();
    let one_slot = DeadLetters::new(&Config { entries: 10_000, slots: 10_000, ..config }, &policies(3)).bytes();
    let each = (one_slot - small) / 10_000;
    assert_eq!(each, 64 + 8 + 24 + 5 * 8 + 68, "bytes of an entry with an event of one slot");
    assert!(10_000 * each <= 2_500_000);
    assert!(letters.bytes() < 8 << 20, "{}", letters.bytes());
    assert_eq!(letters.config().entries, DEAD_LETTERS_DEFAULT);
    assert_eq!(letters.config().errors, ERROR_CODES_DEFAULT);
}

#[test]
#[should_panic(expected = "at most")]
fn more_entries_than_indices_panic() {
    let _ = DeadLetters::new(&Config { entries: SLAB_MAX + 1, ..CONFIG }, &policies(3));
}

#[test]
#[should_panic(expected = "at most")]
fn more_slots_than_indices_panic() {
    let _ = DeadLetters::new(&Config { slots: SLAB_MAX + 1, ..CONFIG }, &policies(3));
}

#[test]
#[should_panic(expected = "registered error codes")]
fn more_codes_than_there_are_panic() {
    let _ = DeadLetters::new(&Config { errors: (1 << 16) + 1, ..CONFIG }, &policies(3));
}

#[test]
#[should_panic(expected = "retry policies")]
fn no_policy_panics() {
    let _ = DeadLetters::new(&CONFIG, &[]);
}

/// Adding, finding and removing look at a few elements whatever is there; the old design, a list that is searched, looks at all.
#[test]
fn req_3538_3463_what_an_entry_costs_does_not_depend_on_how_many_there_are() {
    let site = Site { handler: 1, policy: RELEASED };
    for entries in [100, 1_000, 10_000] {
        let config = Config { entries: entries + 10, slots: entries + 10, ..CONFIG };
        let mut letters = DeadLetters::new(&config, &policies(3));
        let fail = |letters: &mut DeadLetters, seq: u64| {
            let event = event(seq, (seq % 7) as u32, Kind::TRADE, 1);
            letters
                .fail(Subject::New(EventRef::first(&event).unwrap()), site, Failure::Fail(1), NAMES, UnixNanos(seq))
                .unwrap()
        };
        let handles: Vec<Handle> = (0..entries as u64).map(|seq| fail(&mut letters, seq).handle).collect();
        let (added, steps) = steps_of(|| fail(&mut letters, entries as u64));
        assert!(steps <= 40, "adding one to {entries} looks at {steps}");
        for at in [0, entries / 2, entries - 1] {
            let (found, steps) = steps_of(|| letters.get(handles[at]).is_some());
            assert!(found && steps <= 3, "finding one of {entries} looks at {steps}");
            let (found, steps) = steps_of(|| letters.iter().any(|(handle, _)| handle == added.handle));
            assert!(found && steps as usize >= entries, "a search through all looks at {steps}");
            let (removed, steps) = steps_of(|| letters.remove(handles[at]).is_some());
            assert!(removed && steps <= 40, "removing one of {entries} looks at {steps}");
        }
        letters.assert_invariants();
    }
}

/// Two slabs of one engine, which live the same life: by index and number of lives their handles are the same.
#[test]
fn handles_of_another_slab_are_refused_by_every_call() {
    let mut own = DeadLetters::new(&CONFIG, &policies(3));
    let mut other = DeadLetters::new(&Config { instance: 1, ..CONFIG }, &policies(3));
    let site = Site { handler: 1, policy: RELEASED };
    let mut to = [Slot::ZERO; SPAN_SLOTS_MAX];
    for n in 0..2_000 {
        let event = event(n, (n % 5) as u32, Kind::TRADE, 1);
        let new = Subject::New(EventRef::first(&event).unwrap());
        let [mine, theirs] = [&mut own, &mut other]
            .map(|letters| letters.fail(new, site, Failure::Retry(1), NAMES, UnixNanos(n)).unwrap());
        let (handle, foreign) = (mine.handle, theirs.handle);
        assert_eq!((handle.index(), mine.event.index()), (foreign.index(), theirs.event.index()));
        let before = own.len();
        assert!(own.get(foreign).is_none() && own.head(foreign).is_none() && own.event(foreign, &mut to).is_none());
        assert_eq!((own.event_of(foreign), own.fate(theirs.event)), (None, Fate::Clear));
        let now = UnixNanos(n);
        assert!(own.fail_again(foreign, Failure::Fail(1), NAMES, now).is_err() && own.success(foreign).is_err());
        assert!(own.redrive(foreign, now).is_err() && own.remove(foreign).is_none());
        assert!(!own.postpone(foreign, UnixNanos(n + 5)));
        let stored = Subject::Stored(theirs.event);
        assert!(own.fail(stored, site, Failure::Retry(1), NAMES, now).is_err());
        assert_eq!(own.len(), before);
        if n % 3 == 0 || own.len() > 1_900 {
            assert!(own.remove(handle).is_some() && own.remove(handle).is_none(), "nothing is removed twice");
            assert!(other.remove(foreign).is_some());
        }
    }
    own.assert_invariants();
}
