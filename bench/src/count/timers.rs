//! The wheel: 512 timers at a time among 10,000 pending, and empty ticks.

use super::Row;
use crate::stats::Rng;
use crate::timers::delays_ns;
use std::hint::black_box;
use tapeline_core::limits::TICK_NS;
use tapeline_core::units::UnixNanos;
use tapeline_core::wheel::{TimerHandle, Wheel};

/// Timers per call of a counted function.
const TIMERS: usize = 512;
/// Timers that stay pending.
const PENDING: usize = 10_000;
/// Ticks per call without a timer due.
const EMPTY_TICKS: u64 = 512;

#[inline(never)]
fn count_schedule(wheel: &mut Wheel<u64>, deadlines: &[u64], handles: &mut [TimerHandle]) {
    for (deadline, handle) in deadlines.iter().zip(handles) {
        *handle = wheel.schedule(UnixNanos(*deadline), *deadline).expect("there is room");
    }
}

#[inline(never)]
fn count_at_tick(wheel: &mut Wheel<u64>, ticks: &[u64], handles: &mut [TimerHandle]) {
    for (tick, handle) in ticks.iter().zip(handles) {
        *handle = wheel.schedule_at_tick(*tick, *tick).expect("there is room");
    }
}

#[inline(never)]
fn count_cancel(wheel: &mut Wheel<u64>, handles: &[TimerHandle]) {
    for handle in handles {
        assert!(wheel.cancel(*handle).is_some(), "the timer is pending");
    }
}

#[inline(never)]
fn count_fire(wheel: &mut Wheel<u64>, now: UnixNanos, sum: &mut u64) -> u64 {
    let mut fired = 0;
    while let Some((_, value)) = wheel.pop_due(now) {
        *sum = sum.wrapping_add(value);
        fired += 1;
    }
    fired
}

#[inline(never)]
fn count_empty_ticks(wheel: &mut Wheel<u64>, from_ns: u64) {
    for tick in 1..=EMPTY_TICKS {
        assert!(wheel.pop_due(UnixNanos(from_ns + tick * TICK_NS)).is_none(), "nothing is due");
    }
}

#[inline(never)]
fn count_idle_jump(wheel: &mut Wheel<u64>, now: UnixNanos) {
    assert!(wheel.pop_due(now).is_none(), "nothing is due");
}

pub(super) fn rows() -> Vec<Row> {
    [
        ("schedule", "count_schedule"),
        ("schedule at tick", "count_at_tick"),
        ("cancel", "count_cancel"),
        ("fire", "count_fire"),
        ("empty tick", "count_empty_ticks"),
        ("empty ten minutes", "count_idle_jump"),
    ]
    .map(|(operation, function)| Row::new(&format!("wheel {operation}"), &["wheel", operation], function, true))
    .into()
}

/// Runs `operation` and returns how often.
pub(super) fn run_loop(operation: &str, rounds: usize) -> Option<u64> {
    let mut rng = Rng::new(1);
    let delays = delays_ns(PENDING + TIMERS * rounds, &mut rng);
    let mut wheel = Wheel::new(PENDING + TIMERS, TICK_NS);
    let mut handles = vec![TimerHandle::NONE; TIMERS];
    let (mut now_ns, mut operations, mut sum) = (0, 0, 0);
    if !operation.starts_with("empty") {
        for delay in &delays[..PENDING] {
            wheel.schedule(UnixNanos(*delay), *delay).expect("there is room");
        }
    }
    for batch in delays[PENDING..].chunks(TIMERS) {
        match operation {
            // Schedule and cancel work in both rows: only the function differs that is counted.
            "schedule" | "cancel" => {
                let deadlines: Vec<u64> = batch.iter().map(|delay| now_ns + delay).collect();
                count_schedule(&mut wheel, black_box(&deadlines), &mut handles);
                rng.order(TIMERS).into_iter().enumerate().for_each(|(a, b)| handles.swap(a, b));
                count_cancel(&mut wheel, black_box(&handles));
                operations += TIMERS as u64;
            }
            "schedule at tick" => {
                let ticks: Vec<u64> = batch.iter().map(|delay| (now_ns + delay) / TICK_NS).collect();
                count_at_tick(&mut wheel, black_box(&ticks), &mut handles);
                rng.order(TIMERS).into_iter().enumerate().for_each(|(a, b)| handles.swap(a, b));
                count_cancel(&mut wheel, black_box(&handles));
                operations += TIMERS as u64;
            }
            // As many are scheduled as have fired, and time passes by what they take.
            "fire" => {
                while wheel.len() > PENDING / 2 {
                    now_ns += TICK_NS;
                    operations += count_fire(&mut wheel, UnixNanos(now_ns), black_box(&mut sum));
                }
                for delay in batch {
                    wheel.schedule(UnixNanos(now_ns + delay), *delay).expect("there is room");
                }
            }
            // One timer lies far ahead.
            "empty tick" => {
                wheel.schedule(UnixNanos(now_ns + 3_600_000 * TICK_NS), 0).expect("there is room");
                count_empty_ticks(&mut wheel, now_ns);
                now_ns += EMPTY_TICKS * TICK_NS;
                operations += EMPTY_TICKS;
            }
            "empty ten minutes" => {
                wheel.schedule(UnixNanos(now_ns + 3_600_000 * TICK_NS), 0).expect("there is room");
                now_ns += 600_000 * TICK_NS;
                count_idle_jump(&mut wheel, UnixNanos(now_ns));
                operations += 1;
                wheel = Wheel::new(PENDING, TICK_NS);
                let _ = wheel.pop_due(UnixNanos(now_ns));
            }
            _ => return None,
        }
    }
    black_box(sum);
    Some(operations)
}
