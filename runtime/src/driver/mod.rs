//! Drivers: what turns a placement plan into running cores.
//!
//! A driver runs one [`CoreLoop`] for each core of the plan. The choice is made before the first executor starts, is
//! printed, and can be forced. Both drivers poll the same stations in the same order, and their outputs are equal.

mod gate;
mod glommio;
#[cfg(test)]
mod tests;
mod threads;

use crate::clock::RunClock;
use crate::jitter::{IdleProbe, idle_probe_on};
use crate::placement::CorePlan;
use crate::station::{Station, StationReport};
use crossbeam_utils::CachePadded;
use gate::Gate;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};
use tapeline_core::stop::{Stop, StopWord};

/// Which driver.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Driver {
    /// Thread-per-core executors over io_uring.
    Glommio,
    /// Plain threads: where io_uring is refused, and for tests.
    Threads,
}

impl Driver {
    /// Name on the command line and in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Glommio => "glommio",
            Self::Threads => "threads",
        }
    }
}

impl Idle {
    /// Name in reports: the field's own.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::BusySpin => "busy-spin",
            Self::Yield => "yield",
        }
    }
}

impl fmt::Display for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a core's loop does when no station has work.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Idle {
    /// Polls on: for a core that the stations have to themselves.
    BusySpin,
    /// Gives the core to whoever waits for it: for cores that are shared.
    Yield,
}

/// Why an engine did not run to its end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DriverError {
    /// A core's thread could not be started.
    #[error("cannot start a thread for {0}: {1}")]
    Start(String, std::io::Error),
    /// io_uring or the executor was refused.
    #[error("cannot start a glommio executor for {0}: {1}")]
    Executor(String, String),
    /// A core's loop died. Holds the core and the panic's text.
    #[error("{0} died: {1}")]
    Died(String, String),
    /// A core's loop did not end when it was told to. It is left behind, and ends with the process.
    #[error(
        "{core} ({role}) did not stop within {waited:.1?}: its loop has not turned for {silent:.1?}, so that a handler or a \
         station does not return"
    )]
    Stuck {
        /// The core.
        core: String,
        /// What it polls.
        role: String,
        /// How long it was waited for.
        waited: Duration,
        /// How long its heartbeat has stood still.
        silent: Duration,
    },
    /// Several of these.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Several(Vec<DriverError>),
}

impl DriverError {
    /// One error for all of them; `None` for none.
    fn of(mut errors: Vec<Self>) -> Option<Self> {
        if errors.len() > 1 { Some(Self::Several(errors)) } else { errors.pop() }
    }
}

/// State of a core's loop, as the main thread sees it.
mod state {
    pub(super) const RUNNING: u8 = 0;
    pub(super) const DONE: u8 = 1;
    pub(super) const DEAD: u8 = 2;
    pub(super) const FINISHED: u8 = 3;
}

/// What a core's loop and the main thread share. Written by the loop, but for `stop`.
#[derive(Debug, Default)]
struct Shared {
    /// Turns of the loop: health looks whether it moves.
    heartbeat: CachePadded<AtomicU64>,
    state: AtomicU8,
    sent: AtomicU64,
    received: AtomicU64,
    stop: CachePadded<StopWord>,
}

/// One core's stations and the loop that polls them.
pub struct CoreLoop {
    plan: CorePlan,
    stations: Vec<Box<dyn Station>>,
    idle: Idle,
    clock: RunClock,
    life: Life,
    /// Told when the stations are done, so that it need not look often: looking takes a core's time.
    main: Thread,
    shared: Arc<Shared>,
    gate: Arc<Gate>,
    heartbeat: u64,
    /// Involuntary switches of the thread before the first turn.
    switches_before: Option<u64>,
    /// Run clock at which all loops began, ns.
    begun_ns: u64,
    /// Times that an idle turn gave the core away.
    yields: u64,
    probe: Option<IdleProbe>,
}

/// What a core has to say at the end.
#[derive(Debug)]
pub struct CoreReport {
    /// Its plan.
    pub plan: CorePlan,
    /// Its stations, in poll order.
    pub stations: Vec<StationReport>,
    /// Whether the loop's thread was on its core and no other, read back at the end.
    pub is_pinned: bool,
    /// Times that the kernel took the core away while the loop wanted to run; `None` if it could not be read.
    pub involuntary_switches: Option<u64>,
    /// Times that the loop gave its core to whoever waited for it. Linux counts a switch that follows as involuntary.
    pub yields: u64,
    /// From the time at which all loops began to the end of this one, ns.
    pub elapsed_ns: u64,
    /// What the core's thread saw before that, with nothing to do; `None` where it did not look.
    pub probe: Option<IdleProbe>,
    /// The longest time for which its heartbeat stood still, ns, as the main thread saw it: to `LOOK_EVERY`.
    pub longest_silence_ns: u64,
}

/// Whether a loop goes on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Turn {
    Worked,
    Idle,
    Stop,
}

/// Marks the core as dead when its loop is dropped before it came to its end: by a panic, or because the executor that
/// was to run it never began.
struct Life(Arc<Shared>);

impl Drop for Life {
    fn drop(&mut self) {
        if self.0.state.load(Ordering::Relaxed) != state::FINISHED {
            self.0.state.store(state::DEAD, Ordering::Release);
        }
    }
}

impl CoreLoop {
    /// A loop over `stations`, in poll order. The calling thread is the one that must call [`run`].
    #[must_use]
    pub fn new(plan: CorePlan, stations: Vec<Box<dyn Station>>, idle: Idle, clock: RunClock) -> Self {
        let shared = Arc::default();
        let gate = Arc::new(Gate::new(1, clock.clone()));
        Self {
            plan,
            stations,
            idle,
            clock,
            life: Life(Arc::clone(&shared)),
            main: thread::current(),
            shared,
            gate,
            heartbeat: 0,
            switches_before: None,
            begun_ns: 0,
            yields: 0,
            probe: None,
        }
    }

    /// Name for threads and messages.
    fn name(&self) -> String {
        self.plan.core.map_or_else(|| "unpinned core".to_owned(), |core| format!("core {core}"))
    }

    /// Polls each station once.
    #[inline]
    fn turn(&mut self) -> Turn {
        self.heartbeat += 1;
        self.shared.heartbeat.store(self.heartbeat, Ordering::Relaxed);
        let now_ns = self.clock.now_ns();
        let mut work = 0;
        for station in &mut self.stations {
            work += station.poll(now_ns);
        }
        if self.shared.stop.get() == Stop::Now {
            return Turn::Stop;
        }
        if work > 0 {
            let now_ns = self.clock.now_ns();
            self.stations.iter_mut().for_each(|station| station.rest(now_ns));
            // Not done any more, if it ever was: an event of another shard may have come in.
            if self.shared.state.load(Ordering::Relaxed) == state::DONE {
                self.shared.state.store(state::RUNNING, Ordering::Release);
            }
            return Turn::Worked;
        }
        if self.stations.iter().all(|station| station.is_done()) {
            let (sent, received) = self.mesh_counts();
            self.shared.sent.store(sent, Ordering::Relaxed);
            self.shared.received.store(received, Ordering::Relaxed);
            if self.shared.state.load(Ordering::Relaxed) != state::DONE {
                // Synchronises with the main thread's Acquire load in `Supervisor::drained_sums`.
                self.shared.state.store(state::DONE, Ordering::Release);
                self.main.unpark();
            }
        }
        Turn::Idle
    }

    fn mesh_counts(&self) -> (u64, u64) {
        self.stations
            .iter()
            .map(|station| station.mesh_counts())
            .fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1))
    }

    /// On the thread that runs the loop, before its first turn. Looks at how quiet the core is, once all loops stand on theirs, and waits
    /// until all have. What was before that is nobody's gap; what keeps this thread from running after it is one.
    fn begin(&mut self) {
        self.gate.arrive(&self.shared.stop);
        let look = self.gate.probe();
        if !look.is_zero() {
            self.probe = Some(idle_probe_on(|| self.clock.now_ns(), look));
        }
        self.begun_ns = self.gate.pass(&self.shared.stop, &self.main);
        self.stations.iter_mut().for_each(|station| station.rest(self.begun_ns));
        self.switches_before = switches();
    }

    /// One turn, and what the loop does when there was no work in it. False once it has been told to stop.
    #[inline]
    fn go_on(&mut self) -> bool {
        match self.turn() {
            Turn::Worked => {}
            Turn::Idle if self.idle == Idle::BusySpin => std::hint::spin_loop(),
            Turn::Idle => {
                // Most come back at once, and are no switch.
                let before_ns = self.clock.now_ns();
                thread::yield_now();
                self.yields += yielded(before_ns, self.clock.now_ns());
            }
            Turn::Stop => return false,
        }
        true
    }

    /// What the core has to say, on the thread that ran the loop.
    fn finish(self) -> CoreReport {
        let elapsed_ns = self.clock.now_ns().saturating_sub(self.begun_ns);
        let involuntary_switches = self.switches_before.zip(switches()).map(|(before, after)| after - before);
        self.life.0.state.store(state::FINISHED, Ordering::Release);
        let is_pinned = self.plan.core.is_some_and(|core| {
            crate::machine::affinity().is_ok_and(|cores| cores.iter().map(|core| *core as usize).eq([core]))
        });
        CoreReport {
            is_pinned,
            plan: self.plan,
            stations: self.stations.into_iter().map(Station::report).collect(),
            involuntary_switches,
            yields: self.yields,
            elapsed_ns,
            probe: self.probe,
            longest_silence_ns: 0,
        }
    }

    /// What it polls, for messages.
    fn role(&self) -> String {
        self.plan.seats.iter().map(ToString::to_string).collect::<Vec<_>>().join(" + ")
    }
}

/// How the loops begin: all at the same time, once each of them stands on its core.
pub struct Start<'a> {
    /// How long each loop looks for gaps before that, with nothing to do; zero = not at all.
    pub probe: Duration,
    /// Called on the main thread right before they begin.
    pub at_begin: &'a dyn Fn(),
}

/// Runs the loops until all stations are done, and returns what they say, by core.
///
/// Waits for any loop to end first, then stops all, then joins: a loop that dies does not leave the others waiting for it.
///
/// # Errors
/// When a loop could not be started, died, or did not stop within two seconds; all others are stopped, all at once, and joined before. Every
/// error is told: where there are several, in [`DriverError::Several`].
pub fn run(
    driver: Driver,
    loops: Vec<CoreLoop>,
    start: &Start<'_>,
    interrupt: &AtomicBool,
) -> Result<Vec<CoreReport>, DriverError> {
    run_within(driver, loops, start, interrupt, STOP_MAX)
}

fn run_within(
    driver: Driver,
    mut loops: Vec<CoreLoop>,
    start: &Start<'_>,
    interrupt: &AtomicBool,
    stop_max: Duration,
) -> Result<Vec<CoreReport>, DriverError> {
    let Some(first) = loops.first() else { return Ok(Vec::new()) };
    let gate = Arc::new(Gate::new(loops.len(), first.clock.clone()).with_probe(start.probe));
    loops.iter_mut().for_each(|core| core.gate = Arc::clone(&gate));
    let shared = loops.iter().map(|core| Arc::clone(&core.shared)).collect();
    let supervisor = Supervisor { shared, gate, at_begin: start.at_begin, interrupt, stop_max };
    match driver {
        Driver::Threads => threads::run(loops, &supervisor),
        Driver::Glommio => glommio::run(loops, &supervisor),
    }
}

/// A call that gives the core away has done so if it took longer than this, ns: one that comes back at once takes some hundred.
const YIELDED_NS: u64 = 2_000;

/// How often a call that gives the core away, from and to these times on the run clock, has done so: 1 or 0.
#[inline]
pub(crate) const fn yielded(before_ns: u64, after_ns: u64) -> u64 {
    (after_ns.saturating_sub(before_ns) > YIELDED_NS) as u64
}

/// Time between the two rounds that must agree on a drain.
const ROUND: Duration = Duration::from_micros(100);
/// How often the main thread looks for a loop that died without a word. Every look may take a hot core for some
/// microseconds, where there is no other.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// How often the main thread looks for a loop that died before all had begun.
const GATE_LOOK_EVERY: Duration = Duration::from_millis(1);

/// How long a stop waits for the loops. A turn takes microseconds.
const STOP_MAX: Duration = Duration::from_secs(2);
/// How often a stop looks whether a loop has ended.
const STOP_LOOK_EVERY: Duration = Duration::from_micros(200);

/// How long a drain may go on after an interrupt, which shall be answered within a second.
const DRAIN_AFTER_INTERRUPT_MAX: Duration = Duration::from_millis(600);

/// The main thread's view of the loops.
struct Supervisor<'a> {
    shared: Vec<Arc<Shared>>,
    gate: Arc<Gate>,
    at_begin: &'a dyn Fn(),
    interrupt: &'a AtomicBool,
    stop_max: Duration,
}

/// What the main thread has seen of a loop's heartbeat.
struct Pulse {
    beats: u64,
    since: Instant,
    longest: Duration,
}

impl Pulse {
    fn new() -> Self {
        Self { beats: 0, since: Instant::now(), longest: Duration::ZERO }
    }

    /// How long it has stood still at this look. A loop that has not begun its first turn has no heart to stand still.
    fn look(&mut self, core: &Shared) -> Duration {
        let (beats, now) = (core.heartbeat.load(Ordering::Relaxed), Instant::now());
        if beats != self.beats || beats == 0 {
            (self.beats, self.since) = (beats, now);
        }
        let silent = now - self.since;
        self.longest = self.longest.max(silent);
        silent
    }
}

impl Supervisor<'_> {
    /// Starts every loop, waits until all are to stop, joins all, and returns what they say, by core. Loops that were started
    /// before one that could not be are stopped and joined; one that died does not keep the others from being joined.
    fn run<H>(
        &self,
        loops: Vec<CoreLoop>,
        start: impl Fn(CoreLoop) -> Result<H, DriverError>,
        join: impl Fn(H) -> Result<CoreReport, String>,
    ) -> Result<Vec<CoreReport>, DriverError> {
        let (mut started, mut errors) = (Vec::new(), Vec::new());
        let mut pulses: Vec<Pulse> = loops.iter().map(|_| Pulse::new()).collect();
        for core in loops {
            let (name, role) = (core.name(), core.role());
            match start(core) {
                Ok(handle) => started.push((name, role, handle)),
                Err(refused) => {
                    errors.push(refused);
                    break;
                }
            }
        }
        if errors.is_empty() {
            // A loop that died, or never began, is seen by `wait`; so is an interrupt.
            while !self.gate.is_ready() && !self.is_dead() && !self.interrupt.load(Ordering::Relaxed) {
                thread::park_timeout(GATE_LOOK_EVERY);
            }
            (self.at_begin)();
            self.gate.open();
            self.wait(&mut pulses);
        }
        self.stop();
        let stopped_at = Instant::now();
        for (core, pulse) in self.shared.iter().zip(&mut pulses) {
            pulse.look(core);
        }
        let mut reports = Vec::new();
        for ((core, role, handle), (shared, pulse)) in started.into_iter().zip(self.shared.iter().zip(&mut pulses)) {
            // All were told at once, and have the time that is left of what all have together.
            while !matches!(shared.state.load(Ordering::Acquire), state::FINISHED | state::DEAD)
                && stopped_at.elapsed() < self.stop_max
            {
                pulse.look(shared);
                thread::sleep(STOP_LOOK_EVERY);
            }
            if !matches!(shared.state.load(Ordering::Acquire), state::FINISHED | state::DEAD) {
                // To join it would be to wait for ever.
                drop(handle);
                errors.push(DriverError::Stuck {
                    core,
                    role,
                    waited: stopped_at.elapsed(),
                    silent: pulse.look(shared),
                });
                continue;
            }
            match join(handle) {
                Ok(report) => {
                    let longest_silence_ns = u64::try_from(pulse.longest.as_nanos()).unwrap_or(u64::MAX);
                    reports.push(CoreReport { longest_silence_ns, ..report });
                }
                Err(why) => errors.push(DriverError::Died(core, why)),
            }
        }
        DriverError::of(errors).map_or(Ok(reports), Err)
    }

    /// Waits until the engine has drained or a loop has died. A drain that goes on after an interrupt is cut short.
    fn wait(&self, pulses: &mut [Pulse]) {
        let mut drained_at = None;
        let mut interrupted_at = None;
        loop {
            if self.interrupt.load(Ordering::Relaxed) {
                let since: Instant = *interrupted_at.get_or_insert_with(Instant::now);
                if since.elapsed() > DRAIN_AFTER_INTERRUPT_MAX {
                    break;
                }
            }
            if self.is_dead() {
                break;
            }
            for (core, pulse) in self.shared.iter().zip(&mut *pulses) {
                pulse.look(core);
            }
            // Two rounds with the same sums: nothing was under way between them.
            let sums = self.drained_sums();
            if sums.is_some() && sums == drained_at {
                break;
            }
            drained_at = sums;
            // Between two rounds a station has time for a turn; else a loop that is done wakes this thread.
            thread::park_timeout(if drained_at.is_some() { ROUND } else { LOOK_EVERY });
        }
    }

    fn is_dead(&self) -> bool {
        self.shared.iter().any(|core| core.state.load(Ordering::Acquire) == state::DEAD)
    }

    fn stop(&self) {
        self.shared.iter().for_each(|core| core.stop.request(Stop::Now));
    }

    /// What all shards have sent and received, once all are done and the two are equal.
    fn drained_sums(&self) -> Option<(u64, u64)> {
        let all_done = self.shared.iter().all(|core| core.state.load(Ordering::Acquire) == state::DONE);
        let sum = |pick: fn(&Shared) -> &AtomicU64| -> u64 {
            self.shared.iter().map(|core| pick(core).load(Ordering::Relaxed)).sum()
        };
        let sums = (sum(|core| &core.sent), sum(|core| &core.received));
        (all_done && sums.0 == sums.1).then_some(sums)
    }
}

/// The text of a panic.
fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(ToString::to_string);
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "unknown panic".to_owned())
}

/// Pins the calling thread to a core. A refusal is not fatal: the report says what was read back.
fn pin(core: Option<usize>) {
    if let Some(core) = core {
        core_affinity::set_for_current(core_affinity::CoreId { id: core });
    }
}

/// Times that the calling thread was switched out against its will, if the kernel tells.
fn switches() -> Option<u64> {
    crate::machine::involuntary_switches(std::path::Path::new("/")).ok()
}
