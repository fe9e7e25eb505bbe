//! Bugs that other timing wheels had, each under its name; bad input; and the rows of the requirements that the wheel
//! shows alone.

use tapeline_core::limits::TIMERS_MAX;
use tapeline_core::units::UnixNanos;
use tapeline_core::wheel::{Polled, Popped, TimerHandle, Wheel, WheelFull};

const MS: u64 = 1_000_000;
const DAY: u64 = 24 * 3_600 * 1_000 * MS;

fn at(ns: u64) -> UnixNanos {
    UnixNanos(ns)
}

/// A wheel with ticks of 1 ms whose time is `now`.
fn wheel(capacity: usize, now: u64) -> Wheel<u64> {
    wheel_with_tick(capacity, MS, now)
}

fn wheel_with_tick(capacity: usize, tick_ns: u64, now: u64) -> Wheel<u64> {
    let mut wheel = Wheel::new(capacity, tick_ns);
    assert_eq!(wheel.pop_due(at(now)), None);
    wheel
}

fn poll_all(wheel: &mut Wheel<u64>, now: u64) -> Vec<(u64, u64)> {
    let mut fired = Vec::new();
    let polled = wheel.poll(at(now), usize::MAX, |at, value| fired.push((at.0, value)));
    assert_eq!(polled, Polled { fired: fired.len(), more_due: false });
    wheel.assert_invariants();
    fired
}

#[test]
fn tokio_2473_deadline_now() {
    for now in [0, MS, 63 * MS, 64 * MS, 4_096 * MS, DAY] {
        let mut wheel = wheel(4, now);
        wheel.schedule(at(now), 1).unwrap();
        wheel.assert_invariants();
        assert!(wheel.is_due(at(now)));
        assert_eq!(poll_all(&mut wheel, now), [(now, 1)]);
    }
}

#[test]
fn tokio_684_now_goes_back() {
    let mut wheel = wheel(4, 0);
    wheel.schedule(at(10 * MS), 1).unwrap();
    wheel.schedule(at(20 * MS), 2).unwrap();
    assert_eq!(wheel.pop_due(at(12 * MS)), Some((at(10 * MS), 1)));
    // Time is taken to stand at 12 ms.
    assert_eq!(wheel.pop_due(at(0)), None);
    wheel.assert_invariants();
    wheel.schedule(at(11 * MS), 3).unwrap();
    assert_eq!(wheel.pop_due(at(3 * MS)), Some((at(11 * MS), 3)));
    assert_eq!(wheel.pop_due(at(19 * MS)), None);
    assert_eq!(wheel.pop_due(at(20 * MS)), Some((at(20 * MS), 2)));
}

#[test]
fn tokio_2789_insert_at_the_end_of_time() {
    for tick_ns in [1, 7, MS, 1 << 50, u64::MAX] {
        let mut wheel = wheel_with_tick(4, tick_ns, u64::MAX);
        let last = u64::MAX / tick_ns * tick_ns;
        wheel.schedule(at(u64::MAX), 1).unwrap();
        wheel.schedule(at(u64::MAX - 1), 2).unwrap();
        wheel.schedule(at(0), 3).unwrap();
        wheel.assert_invariants();
        let mut fired = poll_all(&mut wheel, u64::MAX);
        assert_eq!(fired.remove(0), (0, 3));
        let mut expected = vec![(last, 1), (if tick_ns == 1 { last - 1 } else { last }, 2)];
        expected.sort_by_key(|(at, _)| *at);
        assert_eq!(fired, expected, "tick_ns={tick_ns}");
    }
}

#[test]
fn tokio_8334_uptime_of_twelve_days_and_more() {
    // The peer's top level wrapped. Here time runs for 3 years, with timers from 1 ms to 60 days pending all the while.
    let mut wheel = wheel(16, 0);
    let delays = [1, 63, 64, 65, 4_095, 4_097, 1 << 18, 1 << 24, 1 << 30, 60 * DAY / MS];
    let mut fired = 0u64;
    for (i, delay) in delays.iter().enumerate() {
        wheel.schedule(at(delay * MS), i as u64).unwrap();
    }
    let mut now = 0;
    while now < 1_100 * DAY {
        now = wheel.next_due_hint().unwrap().0;
        while let Some((due, i)) = wheel.pop_due(at(now)) {
            assert_eq!(due.0, now, "the hint was early by whole slots, and then exact");
            fired += 1;
            // Short delays grow, or there would be too many firings.
            let delay = delays[i as usize] * MS + fired * 10 * MS;
            wheel.schedule(at(now + delay), i).unwrap();
        }
        if fired.is_multiple_of(1_000) {
            wheel.assert_invariants();
        }
    }
    assert!(fired > 10_000, "{fired}");
    assert_eq!(wheel.len(), delays.len());
}

#[test]
fn tikv_12043_delays_beyond_2_to_the_36_ms() {
    let mut wheel = wheel(64, 0);
    for bits in 30..44u64 {
        for near in [-1i64, 0, 1] {
            let tick = (1u64 << bits).wrapping_add_signed(near);
            wheel.schedule(at(tick * MS), tick).unwrap();
            wheel.assert_invariants();
        }
    }
    for bits in 30..44u64 {
        for near in [-1i64, 0, 1] {
            let tick = (1u64 << bits).wrapping_add_signed(near);
            assert_eq!(wheel.pop_due(at(tick * MS - 1)), None, "never early");
            assert_eq!(wheel.pop_due(at(tick * MS)), Some((at(tick * MS), tick)));
        }
    }
}

#[test]
fn tokio_3270_reset_and_remove_of_what_is_due_but_not_polled() {
    let mut wheel = wheel(8, 0);
    let handles: Vec<_> = (0..6).map(|i| wheel.schedule(at((10 + i % 2) * MS), i).unwrap()).collect();
    assert_eq!(wheel.pop_due(at(50 * MS)), Some((at(10 * MS), 0)));
    assert_eq!(wheel.cancel(handles[2]), Some(2));
    assert!(wheel.reschedule(handles[4], at(40 * MS)), "due later, and by now too");
    assert!(wheel.reschedule(handles[1], at(99 * MS)));
    assert_eq!(wheel.cancel(handles[0]), None);
    wheel.assert_invariants();
    assert_eq!(poll_all(&mut wheel, 50 * MS), [(11 * MS, 3), (11 * MS, 5), (40 * MS, 4)]);
    assert_eq!(poll_all(&mut wheel, 99 * MS), [(99 * MS, 1)]);
}

#[test]
fn rpc_perf_180_long_delays_do_not_fire_a_round_early() {
    let mut wheel = wheel(64, 0);
    // The same slot of each level, one round of the level later each.
    let ticks: Vec<u64> = (0..6).flat_map(|level| (1..6).map(move |round| 5 + (round << (6 * (level + 1))))).collect();
    for tick in &ticks {
        wheel.schedule(at(tick * MS), *tick).unwrap();
    }
    for tick in &ticks {
        assert_eq!(wheel.pop_due(at(tick * MS - 1)), None);
        assert_eq!(wheel.pop_due(at(tick * MS)), Some((at(tick * MS), *tick)));
    }
    wheel.assert_invariants();
}

#[test]
fn netty_1959_no_drift_over_many_wraps() {
    // A timer that is set anew from its own T, one poll a tick, over 100 blocks of level 1.
    let mut wheel = wheel(4, 0);
    wheel.schedule(at(7 * MS), 7).unwrap();
    wheel.schedule(at(50 * MS), 50).unwrap();
    let mut fired = [0u64; 2];
    for tick in 1..=409_600 {
        while let Some((due, period)) = wheel.pop_due(at(tick * MS)) {
            assert_eq!(due.0, tick * MS, "to the tick");
            fired[usize::from(period == 50)] += 1;
            wheel.schedule(at(due.0 + period * MS), period).unwrap();
        }
    }
    assert_eq!(fired, [409_600 / 7, 409_600 / 50]);
}

#[test]
fn netty_7765_a_delay_that_overflows_does_not_fire_at_once() {
    let now = 1_700_000_000 * 1_000 * MS;
    let mut wheel = wheel(4, now);
    wheel.schedule(at(now).saturating_add(u64::MAX), 1).unwrap();
    wheel.schedule(at(now + MS), 2).unwrap();
    wheel.assert_invariants();
    assert_eq!(poll_all(&mut wheel, now + 3_650 * DAY), [(now + MS, 2)]);
    assert_eq!(wheel.len(), 1);
    assert_eq!(poll_all(&mut wheel, u64::MAX), [(u64::MAX / MS * MS, 1)]);
}

#[test]
fn netty_14959_cancel_after_a_move_counts_once() {
    let mut wheel = wheel(8, 0);
    let handles: Vec<_> = (0..8).map(|i| wheel.schedule(at((8_200 + i) * MS), i).unwrap()).collect();
    // The time of their slot of level 1 has come; some have moved down, some have not.
    let mut budget = 5;
    assert_eq!(wheel.pop_due_within(at(8_192 * MS), &mut budget), Popped::OutOfBudget);
    assert_eq!(wheel.moves(), 5);
    for (i, handle) in handles.iter().enumerate() {
        assert_eq!(wheel.cancel(*handle), Some(i as u64));
        assert_eq!(wheel.cancel(*handle), None);
        assert_eq!(wheel.len(), 7 - i);
        wheel.assert_invariants();
    }
    assert_eq!(poll_all(&mut wheel, DAY), []);
    for i in 0..8 {
        wheel.schedule(at(2 * DAY), i).unwrap();
    }
    assert_eq!(wheel.schedule(at(2 * DAY), 8), Err(WheelFull(8)));
}

/// A slot that is half moved down, and whose other half is cancelled, is passed before a slot below it is moved down.
#[test]
fn the_rest_of_a_half_moved_slot_is_cancelled() {
    for level in 2..5 {
        let start = 2 << (6 + 6 * level);
        let mut wheel = wheel(64, 0);
        let due = |i: u64| at((start + 4_000 * i) * MS);
        let handles: Vec<_> = (0..40).map(|i| wheel.schedule(due(i), i).unwrap()).collect();
        let mut budget = 20;
        assert_eq!(wheel.pop_due_within(at(start * MS), &mut budget), Popped::OutOfBudget);
        for (i, handle) in handles.iter().enumerate().skip(20) {
            assert_eq!(wheel.cancel(*handle), Some(i as u64));
            wheel.assert_invariants();
        }
        wheel.schedule(due(3), 100).unwrap();
        wheel.assert_invariants();
        let mut fired = poll_all(&mut wheel, DAY + start * MS);
        assert_eq!(fired.remove(4), (due(3).0, 100), "behind the one that was there");
        assert_eq!(fired, (0..20).map(|i| (due(i).0, i)).collect::<Vec<_>>());
    }
}

/// The timer that a panic happens in has fired; what is due after it is not lost, and handles of both tell so.
#[test]
fn a_panic_in_a_poll_loses_nothing() {
    for fatal in 0..6 {
        let mut wheel = wheel(8, 0);
        // Three in one slot, one alone, one in the past of the cursor, which fires first.
        wheel.schedule(at(9 * MS), 9).unwrap();
        assert_eq!(wheel.pop_due(at(9 * MS)), Some((at(9 * MS), 9)));
        let times = [5, 10, 10, 10, 20];
        let handles: Vec<_> = times.iter().zip(0..).map(|(ms, i)| wheel.schedule(at(ms * MS), i).unwrap()).collect();
        let mut fired = Vec::new();
        let poll = std::panic::AssertUnwindSafe(|| {
            wheel.poll(at(30 * MS), usize::MAX, |_, value| {
                fired.push(value);
                assert!(value != fatal, "this one");
            })
        });
        assert_eq!(std::panic::catch_unwind(poll).is_err(), fatal < 5);
        wheel.assert_invariants();
        assert_eq!(fired, (0..5).take_while(|i| *i <= fatal).collect::<Vec<_>>());
        for (i, handle) in handles.iter().enumerate() {
            assert_eq!(wheel.is_pending(*handle), i as u64 > fatal);
        }
        let rest: Vec<_> = poll_all(&mut wheel, 30 * MS).into_iter().map(|(_, value)| value).collect();
        assert_eq!(rest, (0..5).skip_while(|i| *i <= fatal).collect::<Vec<_>>());
    }
}

#[test]
fn netty_5647_pending_timers_are_bounded() {
    let mut wheel = wheel(100, 0);
    let bytes = wheel.bytes();
    for i in 0..100 {
        wheel.schedule(at(i * MS), i).unwrap();
    }
    for i in 0..1_000 {
        assert_eq!(wheel.schedule(at(i * MS), i), Err(WheelFull(100)));
    }
    wheel.assert_invariants();
    assert_eq!((wheel.len(), wheel.bytes()), (100, bytes));
    assert_eq!(WheelFull(100).to_string(), "the timing wheel is full (100 timers)");
    assert_eq!(poll_all(&mut wheel, 99 * MS).len(), 100);
}

#[test]
fn netty_12888_order_holds_across_rounds() {
    let mut wheel = wheel(1_000, 0);
    // Scheduled last to first, so that the order of a slot's list is never the order of T.
    for i in (0..1_000u64).rev() {
        wheel.schedule(at(i * 37 * MS), i).unwrap();
    }
    let fired = poll_all(&mut wheel, DAY);
    assert!(fired.iter().enumerate().all(|(i, fired)| *fired == (i as u64 * 37 * MS, i as u64)));
}

#[test]
fn equal_deadlines_fire_in_the_order_of_scheduling_from_any_distance() {
    let due = 300_000;
    let mut wheel = wheel(4_096, 0);
    let mut order = 0;
    // The same T from every level: far away, near, and while its slots are being moved down.
    let mut now = 0;
    while now < due {
        wheel.schedule(at(due * MS), order).unwrap();
        order += 1;
        assert_eq!(wheel.pop_due(at(now * MS)), None);
        now += 1 + (due - now) / 20;
        wheel.assert_invariants();
    }
    let fired = poll_all(&mut wheel, due * MS);
    assert_eq!(fired, (0..order).map(|i| (due * MS, i)).collect::<Vec<_>>());
}

#[test]
fn a_reschedule_counts_as_scheduling_and_keeps_the_handle() {
    let mut wheel = wheel(4, 0);
    let first = wheel.schedule(at(5 * MS), 1).unwrap();
    wheel.schedule(at(5 * MS), 2).unwrap();
    assert!(wheel.reschedule(first, at(5 * MS)));
    assert_eq!(wheel.get(first), Some((at(5 * MS), &1)));
    assert_eq!(poll_all(&mut wheel, 5 * MS), [(5 * MS, 2), (5 * MS, 1)]);
    assert!(!wheel.is_pending(first));
    assert!(!wheel.reschedule(first, at(9 * MS)));
}

#[test]
fn what_a_handler_schedules_in_the_past_fires_in_its_place() {
    let mut wheel = wheel(16, 0);
    for tick in [10, 30, 50] {
        wheel.schedule(at(tick * MS), tick).unwrap();
    }
    let now = at(100 * MS);
    assert_eq!(wheel.pop_due(now), Some((at(10 * MS), 10)));
    // Due too: before, at, between and after those that have not fired.
    for tick in [50, 40, 30, 3, 2, 3, 101] {
        wheel.schedule(at(tick * MS), 1_000 + tick).unwrap();
        wheel.assert_invariants();
    }
    let mut fired = Vec::new();
    while let Some((at, value)) = wheel.pop_due(now) {
        fired.push((at.0 / MS, value));
    }
    assert_eq!(fired, [(2, 1_002), (3, 1_003), (3, 1_003), (30, 30), (30, 1_030), (40, 1_040), (50, 50), (50, 1_050)]);
    assert_eq!(wheel.next_due_hint(), Some(at(101 * MS)));
}

#[test]
fn deadlines_are_rounded_up_and_never_fire_early() {
    let mut wheel = wheel_with_tick(8, 1_000, 0);
    for (deadline, due) in [(0, 0), (1, 1_000), (999, 1_000), (1_000, 1_000), (1_001, 2_000)] {
        wheel.schedule(at(deadline), deadline).unwrap();
        if due > 0 {
            assert_eq!(poll_all(&mut wheel, due - 1), []);
        }
        assert_eq!(poll_all(&mut wheel, due), [(due, deadline)]);
        wheel = wheel_with_tick(8, 1_000, 0);
    }
}

#[test]
fn stale_foreign_and_forged_handles_are_refused() {
    let mut small = wheel(2, 0);
    let mut large = wheel(100, 0);
    let handles: Vec<_> = (0..100).map(|i| large.schedule(at(MS), i).unwrap()).collect();
    let own = small.schedule(at(MS), 1).unwrap();
    for handle in &handles[2..] {
        assert_eq!(small.cancel(*handle), None, "an index beyond the cells, or of a free one");
    }
    // Every index of the small wheel's array and beyond, with generations that cells and anchors might have.
    for index in 0..3_000u32 {
        for generation in [0, 2, 3, u32::MAX] {
            let forged: TimerHandle = bytemuck::must_cast([index, generation]);
            assert_eq!(small.cancel(forged), None);
            assert!(!small.reschedule(forged, at(0)));
        }
    }
    assert_eq!(small.cancel(TimerHandle::NONE), None);
    assert_eq!(small.cancel(TimerHandle::default()), None);
    assert_eq!(small.cancel(bytemuck::must_cast([u32::MAX, 1])), None);
    small.assert_invariants();
    assert_eq!(small.cancel(own), Some(1));
    assert_eq!(small.cancel(own), None);
    let again = small.schedule(at(MS), 2).unwrap();
    assert_ne!(own, again, "the same cell, another generation");
    assert_eq!(small.get(own), None);
}

#[test]
fn a_wheel_without_room_and_one_of_one() {
    let mut none = wheel(0, 0);
    assert_eq!(none.schedule(at(1), 1), Err(WheelFull(0)));
    assert_eq!((none.next_due_hint(), none.pop_due(at(u64::MAX))), (None, None));
    none.assert_invariants();
    let mut one = wheel(1, 0);
    for i in 0..10_000 {
        let handle = one.schedule(at(i * i * MS), i).unwrap();
        assert_eq!(one.schedule(at(0), 9), Err(WheelFull(1)));
        if i % 3 == 0 {
            assert_eq!(one.cancel(handle), Some(i));
        } else {
            assert_eq!(poll_all(&mut one, i * i * MS), [(i * i * MS, i)]);
        }
    }
}

#[test]
#[should_panic(expected = "a tick has at least 1 ns")]
fn a_tick_of_nothing_is_refused() {
    let _ = Wheel::<u64>::new(1, 0);
}

#[test]
#[should_panic(expected = "at most 1073741824 timers, not 1073741825")]
fn a_capacity_beyond_the_limit_is_refused() {
    let _ = Wheel::<u64>::new(TIMERS_MAX + 1, MS);
}

#[test]
fn req_3537_a_retry_is_an_entry_and_a_finished_one_leaves_nothing() {
    let mut wheel = wheel(3, 0);
    let bytes = wheel.bytes();
    let mut handles = [TimerHandle::NONE; 3];
    for round in 0..100_000u64 {
        for (i, handle) in handles.iter_mut().enumerate() {
            assert!(!wheel.is_pending(*handle), "the last round's");
            *handle = wheel.schedule(at((round * 10 + 1 + i as u64) * MS), round).unwrap();
        }
        assert_eq!(wheel.cancel(handles[1]), Some(round));
        let polled = wheel.poll(at((round + 1) * 10 * MS), 100, |_, value| assert_eq!(value, round));
        assert_eq!((polled.fired, wheel.len(), wheel.iter().count()), (2, 0, 0));
    }
    assert_eq!(wheel.bytes(), bytes);
    wheel.assert_invariants();
}

#[test]
fn req_3540_a_delay_holds_nobody_else_up() {
    let mut wheel = wheel(1_000, 0);
    // Retries that wait for an hour, on every level, before and between those that are due soon.
    for i in 0..500 {
        wheel.schedule(at((3_600_000 + i * 1_000) * MS), 0).unwrap();
    }
    for tick in 1..=10_000 {
        wheel.schedule(at(tick * MS), tick).unwrap();
        assert_eq!(wheel.pop_due(at(tick * MS - 1)), None);
        assert_eq!(wheel.pop_due(at(tick * MS)), Some((at(tick * MS), tick)), "at its own T");
    }
    assert_eq!(wheel.len(), 500);
    wheel.assert_invariants();
}

/// As far as the wheel alone shows it: the slot of the expired is free within the same poll, and the caller counts it.
#[test]
fn req_q5_an_expired_request_is_freed_at_once_and_counted() {
    let mut wheel = wheel(1_000, 0);
    let handles: Vec<_> = (0..1_000).map(|i| wheel.schedule(at((1 + i % 10) * MS), i).unwrap()).collect();
    assert_eq!(wheel.schedule(at(MS), 0), Err(WheelFull(1_000)));
    let mut expired = 0;
    for tick in 1..=10 {
        // Answered in time: half of what would expire now.
        for i in (tick - 1..500).step_by(10) {
            assert_eq!(wheel.cancel(handles[i as usize]), Some(i));
        }
        let polled = wheel.poll(at(tick * MS), usize::MAX, |at, i| assert_eq!((at.0, i % 10 + 1), (tick * MS, tick)));
        expired += polled.fired;
        assert_eq!((polled.fired, wheel.len()), (50, 1_000 - 100 * tick as usize));
        wheel.assert_invariants();
        // All that is free can be used at once.
        let again: Vec<_> = (wheel.len()..1_000).map(|_| wheel.schedule(at(DAY), 0).unwrap()).collect();
        assert_eq!(wheel.schedule(at(DAY), 0), Err(WheelFull(1_000)));
        assert!(again.into_iter().all(|handle| wheel.cancel(handle) == Some(0)));
    }
    assert_eq!((expired, wheel.len()), (500, 0));
    assert!(handles.iter().all(|handle| !wheel.is_pending(*handle)));
}
