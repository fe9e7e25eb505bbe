//! The wheel's naive twin: a `BTreeMap` by (T, order of scheduling), and the operations that drive both.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses its own part")]

use std::collections::BTreeMap;
use tapeline_core::testing::{CountingAlloc, Prng, without_allocation};
use tapeline_core::units::UnixNanos;
use tapeline_core::wheel::{Polled, Popped, TimerHandle, Wheel, WheelFull};

#[global_allocator]
static ALLOC: CountingAlloc = CountingAlloc;

/// When an operation wants its deadline or its `now`.
#[derive(Clone, Copy, Debug)]
pub enum When {
    /// That many ns after the latest `now`.
    After(u64),
    /// That many ns before the latest `now`.
    Before(u64),
    /// At a T that is pending (the nth, modulo their number), so that equal T are common.
    SameAs(usize),
    /// At the wheel's own hint.
    Hint,
    /// There.
    At(u64),
}

/// One operation on both.
#[derive(Clone, Copy, Debug)]
pub enum Op {
    Schedule(When),
    /// The nth pending timer, modulo their number.
    Cancel(usize),
    CancelStale(usize),
    Reschedule(usize, When),
    RescheduleStale(usize, When),
    Pop(When),
    PopWithin(When, usize),
    Poll(When, usize),
    /// Pops all that is due, and schedules a timer after each of the first few: what a handler does.
    PopAndSchedule(When, When),
    /// The wheel goes on as its bytes say.
    Restart,
}

impl Op {
    /// A weighted random operation for a wheel with that tick; while it fills, most schedule.
    pub fn random(rng: &mut Prng, tick_ns: u64, filling: bool) -> Self {
        if rng.one_in(1_500) {
            return Self::Restart;
        }
        if filling && rng.in_range(0..4) != 0 {
            return Self::Schedule(When::random(rng, tick_ns));
        }
        match rng.in_range(0..100) {
            0..35 => Self::Schedule(When::random(rng, tick_ns)),
            35..45 => Self::Cancel(rng.next_u64() as usize),
            45..47 => Self::CancelStale(rng.next_u64() as usize),
            47..55 => Self::Reschedule(rng.next_u64() as usize, When::random(rng, tick_ns)),
            55..57 => Self::RescheduleStale(rng.next_u64() as usize, When::random(rng, tick_ns)),
            57..75 => Self::Pop(When::random_now(rng, tick_ns)),
            75..85 => Self::PopWithin(When::random_now(rng, tick_ns), rng.index(6)),
            85..95 => {
                let budget = if rng.in_range(0..3) == 0 { usize::MAX } else { rng.index(12) };
                Self::Poll(When::random_now(rng, tick_ns), budget)
            }
            _ => Self::PopAndSchedule(When::random_now(rng, tick_ns), When::random(rng, tick_ns)),
        }
    }
}

impl When {
    fn random(rng: &mut Prng, tick_ns: u64) -> Self {
        match rng.in_range(0..20) {
            0..6 => Self::SameAs(rng.next_u64() as usize),
            6..10 => Self::After(rng.in_range(0..200).saturating_mul(tick_ns)),
            10..13 => {
                let slot = [64, 4_096, 1 << 18][rng.index(3)];
                Self::After(rng.in_range(0..70).saturating_mul(slot).saturating_mul(tick_ns))
            }
            13..17 => Self::After(rng.log_uniform(24).saturating_mul(tick_ns).saturating_add(rng.in_range(0..2))),
            17 => Self::Before(rng.log_uniform(20).saturating_mul(tick_ns)),
            18 => Self::After(rng.log_uniform(64)),
            _ => Self::At(if rng.in_range(0..20) == 0 { u64::MAX } else { rng.next_u64() }),
        }
    }

    fn random_now(rng: &mut Prng, tick_ns: u64) -> Self {
        match rng.in_range(0..400) {
            0..80 => Self::After(0),
            80..200 => Self::After(rng.in_range(0..3).saturating_mul(tick_ns).saturating_add(rng.in_range(0..2))),
            200..260 => Self::After(rng.in_range(0..70).saturating_mul(tick_ns)),
            260..300 => Self::After(rng.log_uniform(16).saturating_mul(tick_ns)),
            300..370 => Self::Hint,
            370..390 => Self::Before(rng.log_uniform(14).saturating_mul(tick_ns)),
            390..399 => Self::SameAs(rng.next_u64() as usize),
            _ => Self::After(rng.log_uniform(40).saturating_mul(tick_ns)),
        }
    }
}

/// The wheel and its twin, compared by every operation.
pub struct Pair {
    pub wheel: Wheel<u64>,
    /// By (T, order of scheduling): the value.
    twin: BTreeMap<(u64, u64), u64>,
    /// Pending timers: handle, key in the twin.
    pending: Vec<(TimerHandle, (u64, u64))>,
    retired: Vec<TimerHandle>,
    tick_ns: u64,
    now: u64,
    scheduled: u64,
    fired: u64,
    /// How often each thing happened, so that tests can show that it did.
    pub full: u64,
    pub late: u64,
    pub out_of_budget: u64,
    pub stale: u64,
    pub restarts: u64,
}

impl Pair {
    pub fn new(capacity: usize, tick_ns: u64, start: u64) -> Self {
        let mut pair = Self {
            wheel: Wheel::new(capacity, tick_ns),
            twin: BTreeMap::new(),
            pending: Vec::new(),
            retired: vec![TimerHandle::NONE],
            tick_ns,
            now: start,
            scheduled: 0,
            fired: 0,
            full: 0,
            late: 0,
            out_of_budget: 0,
            stale: 0,
            restarts: 0,
        };
        assert_eq!(pair.wheel.pop_due(UnixNanos(start)), None);
        pair
    }

    /// Whether few ticks are left of u64 nanoseconds.
    pub fn is_near_the_end(&self) -> bool {
        self.now >= u64::MAX - self.tick_ns.saturating_mul(1 << 14).min(u64::MAX / 4)
    }

    pub fn fired(&self) -> u64 {
        self.fired
    }

    fn resolve(&self, when: When) -> u64 {
        match when {
            When::After(ns) => self.now.saturating_add(ns),
            When::Before(ns) => self.now.saturating_sub(ns),
            When::SameAs(n) if !self.pending.is_empty() => self.pending[n % self.pending.len()].1.0,
            When::SameAs(_) => self.now,
            When::Hint => self.wheel.next_due_hint().map_or(self.now, |at| at.0),
            When::At(ns) => ns,
        }
    }

    /// T as the documentation defines it, by plain division.
    fn rounded(&self, deadline: u64) -> u64 {
        deadline.checked_next_multiple_of(self.tick_ns).unwrap_or(u64::MAX / self.tick_ns * self.tick_ns)
    }

    fn schedule(&mut self, deadline: u64) {
        let value = self.scheduled;
        let at = self.rounded(deadline);
        let result = without_allocation(|| match value % 2 {
            0 => self.wheel.schedule(UnixNanos(deadline), value),
            _ => self.wheel.schedule_at_tick(at / self.tick_ns, value),
        });
        if self.twin.len() == self.wheel.capacity() {
            assert_eq!(result, Err(WheelFull(self.wheel.capacity())));
            self.full += 1;
            return;
        }
        let handle = result.expect("there is room");
        self.late += u64::from(at < self.now);
        let key = (at, value);
        self.scheduled += 1;
        self.twin.insert(key, value);
        self.pending.push((handle, key));
        assert_eq!(without_allocation(|| self.wheel.get(handle)), Some((UnixNanos(at), &value)));
    }

    /// What the twin says is due at the latest `now`.
    fn expect_due(&self) -> Option<(u64, u64)> {
        self.twin.first_key_value().map(|(key, _)| *key).filter(|(at, _)| *at <= self.now)
    }

    fn expect_fired(&mut self, at: UnixNanos, value: u64) {
        let key =
            self.expect_due().unwrap_or_else(|| panic!("fired {value} at {at:?} when nothing is due at {}", self.now));
        let expected = self.twin.remove(&key).expect("it is the first");
        assert_eq!((at.0, value), (key.0, expected), "fired (T, value), expected (T, value); now={}", self.now);
        assert!(at.0 <= self.now, "never early");
        self.forget_key(key);
        self.fired += 1;
    }

    fn forget_key(&mut self, key: (u64, u64)) {
        let place = self.pending.iter().position(|(_, k)| *k == key).expect("it is pending");
        let (handle, _) = self.pending.swap_remove(place);
        self.retire(handle);
    }

    fn retire(&mut self, handle: TimerHandle) {
        assert!(!self.wheel.is_pending(handle));
        if self.retired.len() >= 64 {
            self.retired.swap_remove(0);
        }
        self.retired.push(handle);
    }

    fn move_now(&mut self, when: When) -> UnixNanos {
        let now = self.resolve(when);
        self.now = self.now.max(now);
        UnixNanos(now)
    }

    fn pop(&mut self, when: When) -> bool {
        let now = self.move_now(when);
        if !without_allocation(|| self.wheel.is_due(UnixNanos(self.now))) {
            assert_eq!(self.expect_due(), None, "is_due says no");
        }
        match without_allocation(|| self.wheel.pop_due(now)) {
            Some((at, value)) => {
                self.expect_fired(at, value);
                true
            }
            None => {
                assert_eq!(self.expect_due(), None, "nothing fired; now={}", self.now);
                false
            }
        }
    }

    pub fn apply(&mut self, op: Op) {
        match op {
            Op::Restart => {
                let mut bytes = Vec::new();
                self.wheel.snapshot(&mut bytes);
                let restored = Wheel::restore(self.wheel.capacity(), self.tick_ns, &bytes);
                self.wheel = restored.expect("its own snapshot");
                self.restarts += 1;
            }
            Op::Schedule(when) => self.schedule(self.resolve(when)),
            Op::Cancel(n) if !self.pending.is_empty() => {
                let place = n % self.pending.len();
                let (handle, key) = self.pending.swap_remove(place);
                let value = self.twin.remove(&key).expect("it is pending");
                assert_eq!(without_allocation(|| self.wheel.cancel(handle)), Some(value));
                self.retire(handle);
            }
            Op::Reschedule(n, when) if !self.pending.is_empty() => {
                let deadline = self.resolve(when);
                let place = n % self.pending.len();
                let (handle, key) = self.pending[place];
                let value = self.twin.remove(&key).expect("it is pending");
                assert!(without_allocation(|| self.wheel.reschedule(handle, UnixNanos(deadline))));
                let key = (self.rounded(deadline), self.scheduled);
                self.scheduled += 1;
                self.twin.insert(key, value);
                self.pending[place].1 = key;
                assert_eq!(self.wheel.get(handle), Some((UnixNanos(key.0), &value)));
            }
            Op::Cancel(n) | Op::CancelStale(n) => {
                let handle = self.retired[n % self.retired.len()];
                let cancelled = without_allocation(|| self.wheel.cancel(handle));
                assert_eq!(cancelled, None, "stale handles are refused");
                self.stale += 1;
            }
            Op::Reschedule(n, when) | Op::RescheduleStale(n, when) => {
                let deadline = self.resolve(when);
                let handle = self.retired[n % self.retired.len()];
                let moved = without_allocation(|| self.wheel.reschedule(handle, UnixNanos(deadline)));
                assert!(!moved, "stale handles are refused");
                self.stale += 1;
            }
            Op::Pop(when) => {
                self.pop(when);
            }
            Op::PopWithin(when, budget) => {
                let now = self.move_now(when);
                let moves = self.wheel.moves();
                let mut left = budget;
                let popped = without_allocation(|| self.wheel.pop_due_within(now, &mut left));
                let mut spent = (self.wheel.moves() - moves) as usize;
                match popped {
                    Popped::Fired(at, value) => {
                        spent += 1;
                        self.expect_fired(at, value);
                    }
                    Popped::NothingDue => assert_eq!(self.expect_due(), None),
                    Popped::OutOfBudget => {
                        assert_eq!(left, 0);
                        self.out_of_budget += 1;
                    }
                }
                assert_eq!(spent, budget - left, "the budget counts what was done");
            }
            Op::Poll(when, budget) => {
                let now = self.move_now(when);
                let moves = self.wheel.moves();
                let mut fired = Vec::with_capacity(self.wheel.len());
                let wheel = &mut self.wheel;
                let polled = without_allocation(|| wheel.poll(now, budget, |at, value| fired.push((at, value))));
                let Polled { fired: count, more_due } = polled;
                assert_eq!(count, fired.len());
                assert!(count + (self.wheel.moves() - moves) as usize <= budget, "{polled:?} of {budget}");
                for (at, value) in fired {
                    self.expect_fired(at, value);
                }
                if !more_due {
                    assert_eq!(self.expect_due(), None, "{polled:?}");
                }
                self.out_of_budget += u64::from(more_due);
            }
            Op::PopAndSchedule(when, deadline) => {
                let mut to_schedule = 3;
                while self.pop(when) {
                    if to_schedule > 0 {
                        to_schedule -= 1;
                        self.schedule(self.resolve(deadline));
                    }
                }
            }
        }
        self.compare();
    }

    /// What must agree between any two operations.
    fn compare(&self) {
        assert_eq!(self.wheel.len(), self.twin.len());
        assert_eq!(self.wheel.is_empty(), self.twin.is_empty());
        let hint = without_allocation(|| self.wheel.next_due_hint());
        match self.twin.first_key_value() {
            None => assert_eq!(hint, None),
            Some(((at, _), _)) => {
                assert!(hint.expect("timers are pending").0 <= *at, "the hint is not after the first T");
                if *at <= self.now {
                    assert!(self.wheel.is_due(UnixNanos(self.now)), "what is due is seen");
                }
            }
        }
    }

    /// The whole content, and every rule of the structure.
    pub fn compare_all(&self) {
        self.wheel.assert_invariants();
        let mut timers: Vec<_> = self.wheel.iter().map(|(handle, at, value)| (handle, at.0, *value)).collect();
        let mut expected: Vec<_> = self.pending.iter().map(|(handle, key)| (*handle, key.0, self.twin[key])).collect();
        timers.sort_by_key(|(_, _, value)| *value);
        expected.sort_by_key(|(_, _, value)| *value);
        assert_eq!(timers, expected);
        // Each at most once a level: 10 levels at a tick of 1 ns.
        assert!(self.wheel.moves() <= 9 * self.scheduled);
    }

    /// Fires all that is left, by the wheel's own hints, and compares each.
    pub fn drain(&mut self) {
        let mut steps = 0;
        while !self.wheel.is_empty() {
            self.pop(When::Hint);
            steps += 1;
            assert!(steps <= 64 * (self.scheduled + 1), "time runs forward by the hint");
        }
        assert!(self.twin.is_empty());
        assert_eq!(self.wheel.next_due_hint(), None);
        self.wheel.assert_invariants();
    }
}
