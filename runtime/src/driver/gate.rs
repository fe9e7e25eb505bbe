//! The gate before the first turn: no loop begins before all others stand on their cores.
//!
//! Threads and executors start one after the other, and each takes its time. A source that began at once would send events that are due to shards
//! that do not run yet, and the start of a thread would show as a response time. So each loop [arrives](Gate::arrive), looks at its core if
//! it is to ([`Gate::probe`]), and [passes](Gate::pass) when the main thread [opens](Gate::open). All take the same instant as their
//! beginning: a thread that runs later than that was kept from it, which is a gap like any other.

use crate::clock::RunClock;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread::{self, Thread};
use std::time::Duration;
use tapeline_core::stop::{Stop, StopWord};

#[derive(Debug)]
pub(super) struct Gate {
    loops: usize,
    clock: RunClock,
    probe: Duration,
    /// Loops that stand on their cores.
    arrived: AtomicUsize,
    /// Of these, loops that have looked.
    ready: AtomicUsize,
    /// Run clock at the opening, and 1 ns; 0 = closed.
    opened: AtomicU64,
}

impl Gate {
    /// For so many loops, none of which looks at its core.
    pub(super) fn new(loops: usize, clock: RunClock) -> Self {
        let (arrived, ready, opened) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicU64::new(0));
        Self { loops, clock, probe: Duration::ZERO, arrived, ready, opened }
    }

    /// The same, where each loop looks for so long.
    pub(super) fn with_probe(self, probe: Duration) -> Self {
        Self { probe, ..self }
    }

    pub(super) const fn probe(&self) -> Duration {
        self.probe
    }

    /// Waits until all loops have arrived: who looks before would see the others start. A stop ends it.
    pub(super) fn arrive(&self, stop: &StopWord) {
        self.arrived.fetch_add(1, Ordering::AcqRel);
        self.wait(stop, || self.arrived.load(Ordering::Acquire) >= self.loops);
    }

    /// Waits until the gate is open, and returns the run clock at which it opened. A stop ends it.
    pub(super) fn pass(&self, stop: &StopWord, main: &Thread) -> u64 {
        if self.ready.fetch_add(1, Ordering::AcqRel) + 1 == self.loops {
            main.unpark();
        }
        self.wait(stop, || false);
        match self.opened.load(Ordering::Acquire) {
            0 => self.clock.now_ns(),
            opened => opened - 1,
        }
    }

    /// Waits until the gate is open, or `is_over`. Others may need this core to get there.
    fn wait(&self, stop: &StopWord, is_over: impl Fn() -> bool) {
        while self.opened.load(Ordering::Acquire) == 0 && !is_over() && stop.get() != Stop::Now {
            thread::yield_now();
        }
    }

    /// Whether all loops wait for the opening.
    pub(super) fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Acquire) >= self.loops
    }

    /// Lets all pass, whoever has arrived.
    pub(super) fn open(&self) {
        // Synchronises with the loads in `pass` and `wait`.
        self.opened.store(self.clock.now_ns() + 1, Ordering::Release);
    }
}
