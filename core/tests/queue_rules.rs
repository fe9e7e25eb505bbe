//! The rows of the requirements on request queues, each shown by itself, and the documented rules at their edges.

use tapeline_core::limits;
use tapeline_core::queue::{Config, Pending, Priority, Pushed, Request, RequestQueue};
use tapeline_core::slab::Handle;
use tapeline_core::testing::{CountingAlloc, Prng, allocations, for_seeds, without_allocation};
use tapeline_core::units::{SymbolId, UnixNanos};

#[global_allocator]
static ALLOC: CountingAlloc = CountingAlloc;

const MS: u64 = 1_000_000;
const SECOND: u64 = 1_000 * MS;
const NOW: UnixNanos = UnixNanos(1_000 * SECOND);

/// No limit, no merging, a class a second.
fn open(symbols: usize, capacity: usize) -> Config {
    Config {
        symbols,
        capacity,
        per_symbol: u32::MAX,
        in_flight_per_symbol: u32::MAX,
        aging_step_ns: SECOND,
        merge_window_ns: 0,
        turn_bits: 0,
        tick_ns: MS,
        instance: 0,
    }
}

fn request(symbol: u32, class: u8, payload: u64) -> Request<u64> {
    let priority = Priority::new(class).unwrap();
    Request { symbol: SymbolId(symbol), groups: 1, priority, expires_at: UnixNanos::ZERO, payload }
}

fn after(ns: u64) -> UnixNanos {
    NOW.saturating_add(ns)
}

fn queued(queue: &mut RequestQueue<u64>, now: UnixNanos, request: Request<u64>) -> Handle {
    match queue.push(now, request) {
        Pushed::Queued(handle) => handle,
        other => panic!("{other:?}"),
    }
}

/// Payloads in the order of popping; every request is finished at once.
fn pop_all(queue: &mut RequestQueue<u64>, now: UnixNanos) -> Vec<u64> {
    let mut payloads = Vec::new();
    while let Some(Pending { request, .. }) = queue.pop(now) {
        assert!(queue.finish(request.symbol));
        payloads.push(request.payload);
    }
    payloads
}

#[test]
fn req_q1_push_pop_reprioritise_and_remove_keep_the_order() {
    let mut queue = RequestQueue::new(&open(4, 100));
    let handles: Vec<Handle> =
        (0..20).map(|n| queued(&mut queue, NOW, request(n as u32 % 4, 1 + n as u8 % 7, n))).collect();
    assert!(queue.reprioritise(handles[13], Priority::FIRST));
    assert_eq!(queue.remove(handles[0]).map(|pending| pending.request.payload), Some(0));
    assert_eq!(queue.remove(handles[0]), None, "once");
    assert!(!queue.reprioritise(handles[0], Priority::FIRST));
    queue.assert_invariants();
    let mut expected: Vec<u64> = (1..20).filter(|n| *n != 13).collect();
    expected.sort_by_key(|n| 1 + n % 7);
    expected.insert(0, 13);
    assert_eq!(pop_all(&mut queue, NOW), expected);
}

#[test]
fn req_q2_clearing_a_symbol_takes_its_requests_and_no_others() {
    let mut queue = RequestQueue::new(&open(1_000, 10_000));
    for n in 0..10_000 {
        queued(&mut queue, after(n), request((n % 1_000) as u32, (n / 7 % 8) as u8, n));
    }
    let mut dropped = Vec::with_capacity(10);
    let cleared = without_allocation(|| queue.clear(SymbolId(417), |pending| dropped.push(pending.request.payload)));
    assert_eq!(cleared, 10);
    assert!(dropped.into_iter().eq((0..10).map(|n| 417 + n * 1_000)), "in the order of queueing");
    assert_eq!(queue.clear(SymbolId(417), |_| panic!("it is empty")), 0);
    assert_eq!(queue.clear(SymbolId(1_000), |_| panic!("it is unknown")), 0);
    queue.assert_invariants();
    let left = pop_all(&mut queue, after(10_000));
    assert_eq!(left.len(), 9_990);
    assert!(left.iter().all(|payload| payload % 1_000 != 417));
}

#[test]
fn req_q3_a_symbol_at_its_limit_is_passed_over_and_comes_back() {
    let mut queue = RequestQueue::new(&Config { in_flight_per_symbol: 2, ..open(3, 100) });
    for n in 0..5 {
        queued(&mut queue, NOW, request(1, 0, n));
    }
    queued(&mut queue, NOW, request(2, 7, 100));
    let pop = |queue: &mut RequestQueue<u64>| queue.pop(NOW).map(|pending| pending.request.payload);
    assert_eq!([pop(&mut queue), pop(&mut queue)], [Some(0), Some(1)]);
    assert_eq!(queue.in_flight(SymbolId(1)), 2);
    assert_eq!(pop(&mut queue), Some(100), "symbol 1 is at its limit");
    assert_eq!(pop(&mut queue), None, "three are pending, and none may run");
    assert!(queue.peek().is_none());
    // What comes in meanwhile, more urgent or not, waits with the others.
    queued(&mut queue, NOW, request(1, 0, 5));
    assert_eq!(pop(&mut queue), None);
    assert!(queue.finish(SymbolId(1)));
    assert_eq!([pop(&mut queue), pop(&mut queue)], [Some(2), None]);
    queue.assert_invariants();
    assert!(queue.finish(SymbolId(1)) && queue.finish(SymbolId(1)));
    assert!(!queue.finish(SymbolId(1)), "none is in flight");
    assert!(!queue.finish(SymbolId(3)), "unknown");
    assert_eq!(pop_all(&mut queue, NOW), [3, 4, 5]);
}

#[test]
fn req_q4_every_limit_is_reached_exactly_and_one_more_is_refused_and_counted() {
    let mut queue = RequestQueue::new(&Config { per_symbol: 3, ..open(4, 5) });
    for n in 0..3 {
        queued(&mut queue, NOW, request(0, 0, n));
    }
    assert_eq!(queue.push(NOW, request(0, 0, 9)), Pushed::SymbolFull);
    for n in 3..5 {
        queued(&mut queue, NOW, request(1, 0, n));
    }
    assert_eq!(queue.push(NOW, request(1, 0, 9)), Pushed::QueueFull);
    assert_eq!(queue.push(NOW, request(0, 0, 9)), Pushed::SymbolFull, "its own limit is told first");
    assert_eq!(queue.push(NOW, request(4, 0, 9)), Pushed::UnknownSymbol);
    assert_eq!(Pushed::QueueFull.handle(), None);
    let counters = *queue.counters();
    assert_eq!((counters.queued, counters.symbol_full, counters.queue_full), (5, 2, 1));
    assert_eq!(counters.unknown_symbol, 1);
    queue.assert_invariants();
    assert_eq!(pop_all(&mut queue, NOW), [0, 3, 1, 4, 2], "symbols of one instant take turns");
    queued(&mut queue, NOW, request(0, 0, 5));
}

#[test]
fn req_q5_an_expired_request_is_freed_at_once_and_counted() {
    let mut queue = RequestQueue::new(&open(2, 3));
    let expiring = |at: u64, payload| Request { expires_at: after(at), ..request(1, 0, payload) };
    let late = queued(&mut queue, NOW, expiring(5 * MS, 0));
    let soon = queued(&mut queue, NOW, expiring(2 * MS + 1, 1));
    let never = queued(&mut queue, NOW, request(1, 7, 2));
    assert_eq!(queue.push(NOW, request(0, 0, 3)), Pushed::QueueFull);
    assert!(queue.next_expiry_hint().is_some_and(|at| at <= after(3 * MS)));
    let mut expired = Vec::with_capacity(3);
    let mut expire = |queue: &mut RequestQueue<u64>, now| {
        expired.clear();
        let polled = without_allocation(|| queue.expire(now, 100, |pending| expired.push(pending.request.payload)));
        assert_eq!((polled.fired, polled.more_due), (expired.len(), false));
        queue.assert_invariants();
        expired.clone()
    };
    assert!(expire(&mut queue, after(2 * MS)).is_empty(), "never early");
    assert_eq!(expire(&mut queue, after(3 * MS)), [1], "within a tick");
    assert!(queue.get(soon).is_none() && queue.get(late).is_some());
    queued(&mut queue, after(3 * MS), request(0, 0, 3));
    assert_eq!(expire(&mut queue, after(1_000 * SECOND)), [0]);
    assert_eq!((queue.counters().expired, queue.len()), (2, 2));
    assert!(queue.get(never).is_some());
    assert_eq!(queue.next_expiry_hint(), None, "nothing of the expired is left in the wheel");
}

#[test]
fn req_q6_queue_times_come_from_a_histogram() {
    let mut queue = RequestQueue::new(&open(1, 1_000));
    assert_eq!(queue.waits().percentile_ns(500_000), None);
    for n in 0..1_000 {
        queued(&mut queue, NOW, request(0, 0, n));
    }
    for n in 1..=1_000 {
        let pending = without_allocation(|| queue.pop(after(n * MS))).unwrap();
        assert_eq!(pending.waited_ns, n * MS);
    }
    let waits = queue.waits();
    assert_eq!((waits.count(), waits.max_ns()), (1_000, SECOND));
    for (per_million, ms) in [(500_000, 500), (990_000, 990), (999_000, 999)] {
        let told = waits.percentile_ns(per_million).unwrap();
        assert!((ms * MS..=ms * MS / 16 * 17).contains(&told), "{told}");
    }
    queue.waits_mut().reset();
    assert_eq!(queue.waits().count(), 0);
}

#[test]
fn req_q7_equal_priority_is_fifo_within_and_between_symbols() {
    for class in 0..8 {
        let mut queue = RequestQueue::new(&open(100, 100));
        // Each symbol once: turns do not matter. All at one instant, then one by one.
        for n in 0..100 {
            queued(&mut queue, after(n / 50 * n), request((n * 37 % 100) as u32, class, n));
        }
        assert!(pop_all(&mut queue, after(SECOND)).into_iter().eq(0..100));
        for n in 0..100 {
            queued(&mut queue, after(2 * SECOND + n / 50 * n), request(5, class, n));
        }
        assert!(pop_all(&mut queue, after(2 * SECOND)).into_iter().eq(0..100));
    }
}

/// A request of class c that has waited for c steps is before everything that is queued from then on: under a flood of the most urgent
/// class, it is popped after at most what was queued in those c steps.
#[test]
fn req_q7_waiting_raises_priority_so_that_nothing_starves() {
    for class in 0..8_u64 {
        let mut queue = RequestQueue::new(&Config { turn_bits: 20, ..open(2, 100) });
        let mut now = NOW;
        queued(&mut queue, now, request(0, class as u8, 777));
        let mut before = 0;
        // One urgent request every 100 ms, one pop every 100 ms: a wall of priorities would never let the other one through.
        for n in 0.. {
            queued(&mut queue, now, request(1, 0, n));
            let pending = queue.pop(now).unwrap();
            queue.finish(pending.request.symbol);
            if pending.request.payload == 777 {
                assert!(pending.waited_ns <= class * SECOND + 100 * MS, "{} ns", pending.waited_ns);
                break;
            }
            before += 1;
            now = now.saturating_add(100 * MS);
        }
        assert!(before <= 10 * class + 1, "{before} before one of class {class}");
        assert!(class == 0 || before >= 10 * class, "a class is a head start: {before}");
    }
}

#[test]
fn req_q9_what_is_done_leaves_nothing_behind() {
    let config = Config { per_symbol: 50, merge_window_ns: SECOND, ..open(10, 200) };
    for_seeds(0..10, |seed, prng: &mut Prng| {
        let mut queue = RequestQueue::<u64>::new(&config);
        let bytes = queue.bytes();
        let mut handles = Vec::new();
        for n in 0..5_000_u64 {
            let now = after(n * MS);
            let expires_at = if prng.one_in(2) { after(n * MS + prng.log_uniform(32)) } else { UnixNanos::ZERO };
            let class = prng.index(8) as u8;
            let request = Request { expires_at, groups: prng.next_u64(), ..request(prng.index(10) as u32, class, n) };
            handles.extend(queue.push(now, request).handle());
            if prng.one_in(3) {
                let _ = queue.expire(now, 10, |_| ());
                if let Some(pending) = queue.pop(now) {
                    queue.finish(pending.request.symbol);
                }
            }
        }
        for symbol in 0..5 {
            queue.clear(SymbolId(symbol), |_| ());
        }
        pop_all(&mut queue, after(5_000 * MS));
        assert!(queue.is_empty() && queue.bytes() == bytes);
        assert!(handles.iter().all(|handle| queue.get(*handle).is_none()));
        assert_eq!((queue.next_expiry_hint(), queue.hottest()), (None, None));
        queue.assert_invariants();
        // All of it can be used again.
        for n in 0..200 {
            queued(&mut queue, after(5_001 * MS), Request { groups: 1 << (n / 10), ..request(n % 10, 0, seed) });
        }
        assert_eq!(queue.len(), 200);
    });
}

#[test]
fn req_q10_symbols_take_turns_within_a_span_and_the_hot_one_is_named() {
    let mut queue = RequestQueue::new(&Config { turn_bits: 20, ..open(10, 2_000) });
    // The span begins at a multiple of 2^20.
    let start = UnixNanos(NOW.0 >> 20 << 20);
    for n in 0..1_000 {
        queued(&mut queue, start, request(7, 0, n));
    }
    for symbol in [1, 2, 3] {
        queued(&mut queue, start.saturating_add(100), request(symbol, 0, 5_000 + u64::from(symbol)));
        queued(&mut queue, start.saturating_add(200), request(symbol, 0, 6_000 + u64::from(symbol)));
    }
    assert_eq!(queue.hottest(), Some((SymbolId(7), 1_000)));
    let order = pop_all(&mut queue, start.saturating_add(300));
    assert_eq!(order[..9], [0, 5_001, 5_002, 5_003, 1, 6_001, 6_002, 6_003, 2]);
    assert_eq!(order.len(), 1_006);
}

/// What a hot symbol queues later than another's request, beyond its span, goes behind it, and in flight it never has more than its limit.
#[test]
fn req_q10_a_flood_does_not_hold_up_another_symbol() {
    for turn_bits in [0, 20] {
        let mut queue =
            RequestQueue::new(&Config { in_flight_per_symbol: 3, per_symbol: 100, turn_bits, ..open(10, 1_000) });
        let mut refused = 0;
        let mut worst = 0;
        for n in 0..20_000_u64 {
            let now = after(n * MS);
            for _ in 0..3 {
                refused += u64::from(queue.push(now, request(7, 0, n)) == Pushed::SymbolFull);
            }
            if n % 100 == 0 {
                queued(&mut queue, now, request(1 + (n / 100 % 5) as u32, 0, n));
            }
            // Two can be run at a time; the hot symbol's take longer to finish.
            for _ in 0..2 {
                let Some(pending) = queue.pop(now) else { continue };
                if pending.request.symbol == SymbolId(7) {
                    assert!(queue.in_flight(SymbolId(7)) <= 3);
                } else {
                    queue.finish(pending.request.symbol);
                    worst = worst.max(pending.waited_ns);
                }
            }
            while n % 2 == 1 && queue.finish(SymbolId(7)) {}
        }
        assert!(refused > 1_000, "the hot symbol is refused, and it alone: {refused}");
        assert_eq!(queue.counters().symbol_full, refused);
        // At most its 100 pending requests are before another's, and in two steps of 1 ms at least three of them run.
        assert!(worst <= 70 * MS, "{worst}");
    }
}

#[test]
fn req_3382_equal_requests_in_the_window_are_merged_and_overlapping_ones_joined() {
    let mut queue = RequestQueue::new(&Config { merge_window_ns: SECOND, per_symbol: 2, ..open(3, 4) });
    let groups = |groups, payload| Request { groups, ..request(1, 4, payload) };
    let first = queued(&mut queue, NOW, groups(0b0011, 10));
    assert_eq!(queue.push(NOW, groups(0b0011, 11)), Pushed::Merged(first));
    assert_eq!(queue.push(NOW, groups(0b0110, 12)), Pushed::Joined(first));
    assert_eq!(queue.push(NOW, groups(0b0111, 13)), Pushed::Merged(first), "as it is now");
    let other = queued(&mut queue, NOW, groups(0b1000, 14));
    // The symbol is full, and merging needs no room. Equal goes before overlapping, later before earlier.
    assert_eq!(queue.push(NOW, groups(0b0111, 15)), Pushed::Merged(first));
    assert_eq!(queue.push(NOW, groups(0b1001, 16)), Pushed::Joined(other));
    assert_eq!(queue.push(NOW, groups(1 << 40, 17)), Pushed::SymbolFull);
    assert!(matches!(queue.push(NOW, Request { symbol: SymbolId(2), ..groups(0b0111, 18) }), Pushed::Queued(_)));
    let counters = *queue.counters();
    assert_eq!((counters.queued, counters.merged, counters.joined, counters.symbol_full), (3, 3, 2, 1));
    let pending = queue.get(first).unwrap();
    assert_eq!((pending.request.groups, pending.asked, pending.request.payload), (0b0111, 5, 10));
    queue.assert_invariants();

    // The window counts from the first push, and ends before its own length.
    assert_eq!(queue.push(after(SECOND - 1), groups(0b0111, 19)), Pushed::Merged(first));
    assert_eq!(queue.push(after(SECOND), groups(0b0111, 20)), Pushed::SymbolFull);
    // What is popped takes no more.
    queue.pop(after(SECOND)).unwrap();
    let again = queued(&mut queue, after(SECOND), groups(0b0111, 21));
    assert_eq!(queue.push(after(SECOND), groups(0b0111, 22)), Pushed::Merged(again));
}

#[test]
fn req_3382_a_merge_takes_the_better_priority_and_the_later_expiry_and_keeps_its_place() {
    let mut queue = RequestQueue::new(&Config { merge_window_ns: SECOND, ..open(3, 10) });
    let at = |class, expires: u64| Request {
        expires_at: if expires == 0 { UnixNanos::ZERO } else { after(expires) },
        ..request(1, class, 1)
    };
    let first = queued(&mut queue, NOW, at(5, 20 * MS));
    let _ = queued(&mut queue, after(1), request(2, 3, 2));
    let merge = |queue: &mut RequestQueue<u64>, request| {
        assert_eq!(queue.push(after(10), request), Pushed::Merged(first));
        queue.assert_invariants();
        let pending = queue.get(first).unwrap();
        (pending.request.priority.class(), pending.request.expires_at, pending.queued_at)
    };
    assert_eq!(merge(&mut queue, at(6, 10 * MS)), (5, after(20 * MS), NOW), "nothing is better");
    assert_eq!(merge(&mut queue, at(3, 30 * MS)), (3, after(30 * MS), NOW));
    assert_eq!(queue.peek().unwrap().handle, first, "before what was queued later with that class");
    let polled = queue.expire(after(29 * MS), 10, |_| panic!("not yet"));
    assert!(!polled.more_due);
    assert_eq!(merge(&mut queue, at(7, 0)), (3, UnixNanos::ZERO, NOW), "never is the latest");
    assert_eq!(queue.next_expiry_hint(), None);
    assert_eq!(merge(&mut queue, at(7, 50 * MS)), (3, UnixNanos::ZERO, NOW), "and stays it");
}

/// The bound in the documentation: of the requests of a symbol inside the window, 64 have groups that are disjoint, one has none.
#[test]
fn req_3382_at_most_65_requests_of_a_symbol_are_looked_at() {
    let mut queue = RequestQueue::new(&Config { merge_window_ns: u64::MAX, ..open(1, 1_000) });
    for_seeds(0..20, |_, prng| {
        for _ in 0..2_000 {
            let groups = prng.next_u64() & prng.next_u64() & prng.next_u64() & prng.next_u64() & prng.next_u64();
            let _ = queue.push(NOW, Request { groups, ..request(0, 0, 0) });
            assert!(queue.len() <= 65, "{}", queue.len());
        }
        while queue.len() > prng.index(40) {
            let handle = queue.iter().nth(prng.index(queue.len())).unwrap().handle;
            queue.remove(handle).unwrap();
        }
    });
    queue.clear(SymbolId(0), |_| ());
    for bit in 0..64 {
        queued(&mut queue, NOW, Request { groups: 1 << bit, ..request(0, 0, 0) });
    }
    queued(&mut queue, NOW, Request { groups: 0, ..request(0, 0, 0) });
    for groups in [0, 1, 2, u64::MAX] {
        assert!(queue.push(NOW, Request { groups, ..request(0, 0, 0) }).handle().is_some());
    }
    assert_eq!(queue.len(), 65);
}

#[test]
fn time_that_goes_backward_is_taken_as_the_latest() {
    let mut queue = RequestQueue::new(&open(1, 10));
    queued(&mut queue, NOW, request(0, 0, 0));
    queued(&mut queue, UnixNanos::ZERO, request(0, 0, 1));
    let pending = queue.pop(UnixNanos(5)).unwrap();
    assert_eq!((pending.request.payload, pending.queued_at, pending.waited_ns), (0, NOW, 0));
    queued(&mut queue, NOW, Request { expires_at: after(1), ..request(0, 0, 2) });
    queued(&mut queue, after(MS), request(0, 0, 3));
    assert_eq!(queue.expire(UnixNanos::ZERO, 10, |_| ()).fired, 1, "the time was given, by a push");
}

/// Times and steps at both ends of their ranges: nothing wraps, and the order holds.
#[test]
fn the_ends_of_time_keep_the_order() {
    for start in [0, u64::MAX - 1, u64::MAX] {
        let config = Config { aging_step_ns: limits::REQUEST_AGING_NS_MAX, turn_bits: 40, ..open(2, 100) };
        let mut queue = RequestQueue::new(&config);
        for n in 0..16 {
            let class = 7 - n as u8 / 2;
            let expires_at = UnixNanos(u64::MAX);
            queued(&mut queue, UnixNanos(start), Request { expires_at, ..request(n as u32 % 2, class, n) });
        }
        queue.assert_invariants();
        let order = pop_all(&mut queue, UnixNanos(u64::MAX));
        assert!(order.into_iter().eq((0..8).rev().flat_map(|pair| [2 * pair, 2 * pair + 1])));
    }
}

#[test]
fn capacities_of_nothing_refuse_everything() {
    let mut queue = RequestQueue::<u64>::new(&open(0, 0));
    assert_eq!(queue.push(NOW, request(0, 0, 0)), Pushed::UnknownSymbol);
    let mut queue = RequestQueue::new(&open(1, 0));
    assert_eq!(queue.push(NOW, request(0, 0, 0)), Pushed::QueueFull);
    let mut queue2 = RequestQueue::new(&Config { per_symbol: 0, ..open(1, 1) });
    assert_eq!(queue2.push(NOW, request(0, 0, 0)), Pushed::SymbolFull);
    assert_eq!(
        (queue.pop(NOW), queue.peek(), queue.hottest(), queue2.pop_batch(NOW, 5, |_| ())),
        (None, None, None, 0)
    );
    assert_eq!(queue.expire(after(SECOND), 5, |_| ()).fired, 0);
    queue.assert_invariants();
    let mut one = RequestQueue::new(&open(1, 1));
    let handle = queued(&mut one, NOW, request(0, 0, 0));
    assert_eq!(one.push(NOW, request(0, 0, 1)), Pushed::QueueFull);
    assert!(one.remove(handle).is_some());
    let next = queued(&mut one, NOW, request(0, 0, 2));
    assert!(next != handle && one.get(handle).is_none());
    assert_eq!(one.get(Handle::NULL), None);
    assert_eq!(one.get(Handle::from_bits(u64::MAX)), None);
}

#[test]
fn settings_out_of_range_panic_with_the_range() {
    let message = |config: Config| {
        let panic = std::panic::catch_unwind(|| RequestQueue::<u64>::new(&config)).unwrap_err();
        panic.downcast_ref::<String>().cloned().or(panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap()
    };
    let config = open(1, 1);
    assert!(message(Config { symbols: limits::SYMBOLS_MAX + 1, ..config }).contains("symbols"));
    assert!(message(Config { capacity: usize::MAX, ..config }).contains("requests"));
    assert!(message(Config { in_flight_per_symbol: 0, ..config }).contains("in flight"));
    assert!(message(Config { aging_step_ns: limits::REQUEST_AGING_NS_MAX + 1, ..config }).contains("aging"));
    assert!(message(Config { turn_bits: limits::REQUEST_TURN_BITS_MAX + 1, ..config }).contains("turns"));
    assert!(message(Config { tick_ns: 0, ..config }).contains("tick"));
    assert_eq!(Priority::new(8), None);
}

#[test]
fn bytes_are_those_of_the_tables_and_do_not_grow_with_symbols_times_their_limit() {
    let before = allocations();
    let queue = RequestQueue::<u64>::new(&Config { per_symbol: 5_000, ..open(1_000, 10_000) });
    assert!(allocations() > before, "the counter counts");
    let (per_request, per_symbol) = (48 + 8 + 8 + 8 + 32 + 16 + 4 + 36, 32 + 16 + 4 + 12 + 16);
    let fixed = 8 * 128 * 32 + 7_808 + 64;
    let expected = 10_000 * per_request + 1_000 * per_symbol + fixed;
    assert!(queue.bytes().abs_diff(expected) < 40_000, "{} for {expected}", queue.bytes());
    assert!(queue.bytes() < 2_500_000, "10,000 requests: {}", queue.bytes());
}

/// Two queues of one engine, which live the same life: by index and number of lives their handles are the same.
#[test]
fn handles_of_another_queue_are_refused_by_every_call() {
    let mut own = RequestQueue::new(&open(2, 64));
    let mut other = RequestQueue::new(&Config { instance: 1, ..open(2, 64) });
    for n in 0..10_000 {
        let handle = queued(&mut own, NOW, request(0, 3, n));
        let foreign = queued(&mut other, NOW, request(0, 3, n));
        assert_eq!(handle.index(), foreign.index());
        assert!(own.get(foreign).is_none() && own.payload_mut(foreign).is_none());
        assert!(!own.reprioritise(foreign, Priority::FIRST) && own.remove(foreign).is_none());
        // Of every third, its place is used again.
        if n % 3 == 0 || own.len() > 60 {
            assert!(own.remove(handle).is_some() && own.remove(handle).is_none(), "nothing is removed twice");
            assert!(other.remove(foreign).is_some() && other.remove(foreign).is_none());
        }
    }
    own.assert_invariants();
}
