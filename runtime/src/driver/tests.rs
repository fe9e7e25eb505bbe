//! How loops stop: all at once, within a time, with every error told.

use super::{CoreLoop, CoreReport, Driver, DriverError, Idle, Start, run_within, yielded};
use crate::clock::RunClock;
use crate::jitter::{GAP_NS, GapDetector};
use crate::placement::{CorePlan, Seat};
use crate::report::latency::new_histogram;
use crate::station::{SourceReport, Station, StationReport};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// What a station does at its hundredth turn.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Habit {
    /// Is done.
    Ends,
    /// Goes on for ever, and stops when it is told to.
    GoesOn,
    /// Does not return for that many milliseconds.
    Hangs(u64),
    /// Dies, once so many others do not return.
    Panics(u64),
}

struct Fake {
    habit: Habit,
    turns: u64,
    /// Stations that do not return by now.
    hanging: Arc<AtomicU64>,
    /// Run clock at the first rest that came before any poll.
    begun: Arc<AtomicU64>,
}

impl Station for Fake {
    fn poll(&mut self, _now_ns: u64) -> usize {
        self.turns += 1;
        match self.habit {
            Habit::Hangs(ms) if self.turns == 100 => {
                self.hanging.fetch_add(1, Ordering::Relaxed);
                thread::sleep(Duration::from_millis(ms));
            }
            Habit::Panics(others) if self.turns >= 100 && self.hanging.load(Ordering::Relaxed) == others => {
                std::panic::panic_any("wanted by a test")
            }
            _ => {}
        }
        0
    }

    fn rest(&mut self, now_ns: u64) {
        if self.turns == 0 {
            self.begun.store(now_ns, Ordering::Relaxed);
        }
    }

    fn is_done(&self) -> bool {
        self.habit == Habit::Ends && self.turns >= 100
    }

    fn report(self: Box<Self>) -> StationReport {
        StationReport::Source(Box::new(SourceReport {
            pacer_lag: new_histogram(),
            backpressure: new_histogram(),
            span_ns: None,
            last_due_ns: 0,
            messages: 0,
            sent: self.turns,
            left_out: 0,
            symbols_found: 0,
            end_marks: 0,
            full_polls: 0,
            yields: 0,
            is_interrupted: false,
            gaps: GapDetector::new(GAP_NS, 0),
            samples_in_gaps: 0,
            missed: 0,
        }))
    }
}

/// Loops, and where each station tells when it began.
fn loops(habits: &[Habit], clock: &RunClock) -> (Vec<CoreLoop>, Vec<Arc<AtomicU64>>) {
    let hanging = Arc::new(AtomicU64::new(0));
    let core = |(number, habit): (usize, &Habit)| {
        let plan = CorePlan { core: None, seats: vec![Seat::Shard(number)] };
        let (hanging, begun) = (Arc::clone(&hanging), Arc::default());
        let station: Box<dyn Station> = Box::new(Fake { habit: *habit, turns: 0, hanging, begun: Arc::clone(&begun) });
        (CoreLoop::new(plan, vec![station], Idle::Yield, clock.clone()), begun)
    };
    habits.iter().enumerate().map(core).unzip()
}

fn run(habits: &[Habit], stop_max_ms: u64) -> (Result<usize, DriverError>, Duration) {
    let begun = Instant::now();
    let loops = loops(habits, &RunClock::start()).0;
    let start = Start { probe: Duration::ZERO, at_begin: &|| {} };
    let stop_max = Duration::from_millis(stop_max_ms);
    let ran = run_within(Driver::Threads, loops, &start, &AtomicBool::new(false), stop_max);
    (ran.map(|reports| reports.len()), begun.elapsed())
}

#[test]
fn req_3465_3531_3384_a_stop_has_a_deadline_and_tells_every_error() {
    let (ran, _) = run(&[Habit::Ends, Habit::Ends, Habit::Ends], 5_000);
    assert_eq!(ran.expect("all end"), 3);

    // One dies: the others, which would go on for ever, are stopped and joined; it is named.
    let (ran, _) = run(&[Habit::GoesOn, Habit::Panics(0), Habit::GoesOn], 5_000);
    let DriverError::Died(_, why) = ran.expect_err("one died") else { panic!("it died") };
    assert_eq!(why, "wanted by a test");

    // One dies and another does not return: both are told, who hangs with how long it has been silent, and nobody waits for it.
    let (ran, took) = run(&[Habit::Hangs(20_000), Habit::Panics(2), Habit::GoesOn, Habit::Hangs(20_000)], 300);
    assert!(took < Duration::from_secs(10), "the deadline is for all of them together: {took:?}");
    let DriverError::Several(errors) = ran.expect_err("three failed") else { panic!("several") };
    let (mut stuck, mut died) = (Vec::new(), 0);
    for error in &errors {
        match error {
            DriverError::Stuck { role, waited, silent, .. } => {
                assert!(*waited >= Duration::from_millis(300) && *silent > Duration::ZERO, "{error}");
                stuck.push(role.as_str());
            }
            DriverError::Died(..) => died += 1,
            other => panic!("{other}"),
        }
    }
    assert_eq!((stuck, died), (vec!["shard 0", "shard 3"], 1));
    let text = DriverError::Several(errors).to_string();
    assert!(text.contains("shard 0) did not stop within") && text.contains("wanted by a test"), "{text}");
}

/// A call that came back at once was no switch, and may not excuse one that the loop did not ask for.
#[test]
fn only_a_yield_that_took_its_time_counts() {
    assert_eq!([300, 2_000, 2_001, 5_000_000].map(|took| yielded(7, 7 + took)), [0, 0, 1, 1]);
    assert_eq!(yielded(9, 7), 0, "a clock that steps back has seen nothing");
}

/// What a start takes is nobody's gap: all stations begin at one instant, which is not before all threads run and have looked at their cores.
#[test]
fn all_loops_begin_at_one_instant_after_they_have_looked() {
    let clock = RunClock::start();
    let (loops, begun) = loops(&[Habit::Ends, Habit::Ends, Habit::Ends], &clock);
    thread::sleep(Duration::from_millis(20));
    let asked_ns = AtomicU64::new(0);
    let probe = Duration::from_millis(3);
    let at_begin = || asked_ns.store(clock.now_ns(), Ordering::Relaxed);
    let start = Start { probe, at_begin: &at_begin };
    let ran = run_within(Driver::Threads, loops, &start, &AtomicBool::new(false), Duration::from_secs(5));
    let reports: Vec<CoreReport> = ran.expect("all end");
    let (asked_ns, end_ns) = (asked_ns.into_inner(), clock.now_ns());
    let begun: Vec<u64> = begun.iter().map(|at| at.load(Ordering::Relaxed)).collect();
    assert!(begun.iter().all(|at| *at == begun[0]), "{begun:?}");
    assert!((23_000_000..=begun[0]).contains(&asked_ns), "asked at {asked_ns}, begun at {begun:?}");
    for report in reports {
        assert!(report.probe.is_some_and(|probe| probe.watched_ns >= 3_000_000), "{report:?}");
        assert!(report.elapsed_ns > 0 && begun[0] + report.elapsed_ns <= end_ns, "{report:?}");
    }
}
