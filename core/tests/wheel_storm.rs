//! The tail: bounded work in every call, whatever is pending and however far time jumps.

use tapeline_core::testing::Prng;
use tapeline_core::units::UnixNanos;
use tapeline_core::wheel::{Popped, Wheel};

const MS: u64 = 1_000_000;
const TEN_MINUTES: u64 = 600_000;

/// Fires all that is due by polls of that budget; checks order, and the work of each poll. Gives the polls.
fn poll_in_pieces(wheel: &mut Wheel<u64>, now_ms: u64, budget: usize, fired: &mut Vec<(u64, u64)>) -> usize {
    let mut polls = 0;
    loop {
        let (moves, before) = (wheel.moves(), fired.len());
        let polled = wheel.poll(UnixNanos(now_ms * MS), budget, |at, value| fired.push((at.0 / MS, value)));
        let work = (wheel.moves() - moves) as usize + fired.len() - before;
        assert!(work <= budget, "poll {polls}: {work} timers touched with a budget of {budget}");
        assert_eq!(polled.fired, fired.len() - before);
        polls += 1;
        if !polled.more_due {
            return polls;
        }
        assert_eq!(work, budget, "a poll that stops has done its work");
    }
}

#[test]
fn ten_minutes_of_pause_with_a_million_timers_due_at_once() {
    const TIMERS: u64 = 1_000_000;
    for start in [0, 1_763_000_000_000] {
        let mut wheel = Wheel::<u64>::new(TIMERS as usize, MS);
        assert_eq!(wheel.pop_due(UnixNanos(start * MS)), None);
        let mut rng = Prng::new(1);
        let mut expected = Vec::new();
        for i in 0..TIMERS {
            let due = start + 1 + rng.log_uniform(20) % TEN_MINUTES;
            wheel.schedule(UnixNanos(due * MS), i).unwrap();
            expected.push((due, i));
        }
        wheel.assert_invariants();
        expected.sort_unstable();
        let mut fired = Vec::with_capacity(TIMERS as usize);
        let polls = poll_in_pieces(&mut wheel, start + TEN_MINUTES, 4_096, &mut fired);
        assert!(fired == expected, "all fired, by (T, order of scheduling)");
        assert!(wheel.moves() <= 4 * TIMERS, "at most once a level");
        assert!(polls as u64 <= (wheel.moves() + TIMERS) / 4_096 + 1);
        wheel.assert_invariants();
    }
}

/// P6: after a pause of ten minutes with a million timers due, no poll touches more than twice as many timers as the
/// median poll that fired as many, the first poll included; nor does any touch more than its budget.
#[test]
fn no_poll_of_a_storm_is_worse_than_twice_the_median() {
    const TIMERS: u64 = 1_000_000;
    const BUDGET: usize = 4_096;
    let mut wheel = Wheel::<u64>::new(TIMERS as usize, MS);
    let start = 1_763_000_000_000;
    assert_eq!(wheel.pop_due(UnixNanos(start * MS)), None);
    let mut rng = Prng::new(4);
    for i in 0..TIMERS {
        wheel.schedule(UnixNanos((start + 1 + rng.in_range(0..TEN_MINUTES)) * MS), i).unwrap();
    }
    let now = UnixNanos((start + TEN_MINUTES) * MS);
    let (mut works, mut fired) = (Vec::new(), 0);
    loop {
        let moves = wheel.moves();
        let polled = wheel.poll(now, BUDGET, |_, _| ());
        fired += polled.fired;
        works.push((polled.fired, polled.fired + (wheel.moves() - moves) as usize));
        if !polled.more_due {
            break;
        }
    }
    assert_eq!(fired as u64, TIMERS);
    let mut all: Vec<_> = works.iter().map(|(_, work)| *work).collect();
    all.sort_unstable();
    let (median, worst) = (all[all.len() / 2], all[all.len() - 1]);
    assert!(worst <= 2 * median && worst <= BUDGET, "worst={worst} median={median}");
    // Polls by what they fired, in classes of an eighth of the budget.
    for class in 0..8 {
        let mut class: Vec<_> =
            works.iter().filter(|(fired, _)| fired * 8 / (BUDGET + 1) == class).map(|(_, work)| *work).collect();
        class.sort_unstable();
        if let Some(worst) = class.last() {
            assert!(*worst <= 2 * class[class.len() / 2], "{class:?}");
        }
    }
    assert!(works.len() > 300, "{} polls", works.len());
}

#[test]
fn a_million_timers_of_one_instant_fire_in_order_within_any_budget() {
    const TIMERS: u64 = 1_000_000;
    let mut wheel = Wheel::<u64>::new(TIMERS as usize, MS);
    for i in 0..TIMERS {
        wheel.schedule(UnixNanos(TEN_MINUTES * MS), i).unwrap();
    }
    let mut fired = Vec::with_capacity(TIMERS as usize);
    poll_in_pieces(&mut wheel, TEN_MINUTES - 1, 1_000, &mut fired);
    assert!(fired.is_empty(), "never early");
    poll_in_pieces(&mut wheel, TEN_MINUTES, 1_000, &mut fired);
    assert!(fired.iter().enumerate().all(|(i, fired)| *fired == (TEN_MINUTES, i as u64)));
    assert_eq!(fired.len() as u64, TIMERS);
}

#[test]
fn no_call_moves_many_timers_while_time_runs() {
    // A million timers far away in few slots, a poll each tick: without work ahead of time, the call in which their
    // slot begins would move all of them.
    const TIMERS: u64 = 1_000_000;
    let mut wheel = Wheel::<u64>::new(TIMERS as usize, MS);
    let mut rng = Prng::new(2);
    let spread = 300_000;
    for i in 0..TIMERS {
        wheel.schedule(UnixNanos((TEN_MINUTES - rng.in_range(0..spread)) * MS), i).unwrap();
    }
    let mut worst = 0;
    let mut fired = 0;
    for tick in 0..=TEN_MINUTES {
        loop {
            let moves = wheel.moves();
            let popped = wheel.pop_due(UnixNanos(tick * MS));
            worst = worst.max(wheel.moves() - moves);
            match popped {
                Some((at, _)) => assert_eq!(at.0, tick * MS),
                None => break,
            }
            fired += 1;
        }
    }
    assert_eq!(fired, TIMERS);
    assert!(worst <= 1_024, "{worst} moves in one call");
    assert!(wheel.moves() <= 3 * TIMERS, "{} moves", wheel.moves());
}

#[test]
fn a_steady_rate_of_short_timers_never_meets_a_burst() {
    // 200 timers scheduled a tick, 10 ms to 5 s ahead, nine of ten cancelled by their replies.
    let mut wheel = Wheel::<u64>::new(1 << 20, MS);
    let mut rng = Prng::new(3);
    let mut open = std::collections::VecDeque::new();
    let (mut worst, mut fired) = (0, 0u64);
    for tick in 0..20_000u64 {
        for _ in 0..200 {
            let handle = wheel.schedule(UnixNanos((tick + 10 + rng.in_range(0..5_000)) * MS), tick).unwrap();
            if rng.in_range(0..10) != 0 {
                open.push_back(handle);
            }
        }
        while open.len() > 1_000 {
            wheel.cancel(open.pop_front().expect("it is not empty"));
        }
        loop {
            let moves = wheel.moves();
            let popped = wheel.pop_due(UnixNanos(tick * MS));
            worst = worst.max(wheel.moves() - moves);
            if popped.is_none() {
                break;
            }
            fired += 1;
        }
    }
    assert!(fired > 300_000, "{fired}");
    assert!(worst <= 1_024, "{worst} moves in one call");
}

#[test]
fn empty_time_is_free() {
    let mut wheel = Wheel::<u64>::new(1_000, MS);
    for i in 0..100 {
        wheel.schedule(UnixNanos((1 << 43) * MS + i), i).unwrap();
    }
    wheel.schedule(UnixNanos(10_000_000 * MS), 7).unwrap();
    let mut asked = 0;
    for tick in 0..10_000_000u64 {
        if wheel.is_due(UnixNanos(tick * MS)) {
            assert_eq!(wheel.pop_due(UnixNanos(tick * MS)), None);
            asked += 1;
        }
    }
    assert!(asked <= 8, "{asked} of ten million ticks asked for more than a comparison");
    assert!(wheel.moves() <= 2, "a timer of level 2 moves twice at most");
    assert_eq!(wheel.pop_due(UnixNanos(10_000_000 * MS)), Some((UnixNanos(10_000_000 * MS), 7)));
    // 278 years at once, and a few moves for the hundred that share their slots.
    let mut budget = 2_000;
    for _ in 0..100 {
        let popped = wheel.pop_due_within(UnixNanos(u64::MAX), &mut budget);
        assert!(matches!(popped, Popped::Fired(..)), "{popped:?}");
    }
    assert!(wheel.is_empty());
}
