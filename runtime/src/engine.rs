//! The engine of a replay: rings, stations and threads, put together, run to the end, and taken apart.

mod beside;
mod cores;

use crate::backfill::{Archive, Backfill, Listed, ReaderReport};
use crate::background::keep_to;
use crate::clock::RunClock;
use crate::doctor;
use crate::driver::{self, CoreLoop, CoreReport, Driver, DriverError, Idle, Start};
use crate::ingest::{BLOCKS, BlockQueue, Capture, Ingest, IngestReport, Progress};
use crate::jobs::{self, Jobs, WorkersError, WorkersReport};
use crate::lifecycle::{Lifecycle, Phase};
use crate::log::{Log, LogReport, LogThread, Names};
use crate::machine::{Limits, Machine};
use crate::memory::{self, Sizes, TooLarge};
use crate::pacer::{Arrivals, Pace, Pacer};
use crate::pipeline::Assembly;
use crate::placement::{Plan, PlanError, Seat};
use crate::sink::{Sink, SinkError};
use crate::spill::{self, Spill, SpillError, SpillReport};
use crate::station::shard::{Egress, RunProbe};
use crate::station::{Overload, ShardStation, SourceConfig, SourceStation, Station};
use beside::Beside;
use cores::{background_cores, idle_cores, steal};
use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use tapeline_core::bus::{BusBuilder, BusError, End};
use tapeline_core::catalog::{Catalog, CatalogError, SeqRule};
use tapeline_core::commands::CommandReceiver;
use tapeline_core::event::payload::Subscription;
use tapeline_core::handler::JobSet;
use tapeline_core::hash;
use tapeline_core::limits::{MESH_RING_SLOTS_DEFAULT, RING_SLOTS_DEFAULT, SYMBOLS_DEFAULT, TIMERS_DEFAULT};
use tapeline_core::ring;
use tapeline_core::route::RouteTable;
use tapeline_core::shard::{self, Shard};
use tapeline_core::topics::{Bus, OpenError, Policy, Registry, Topic};
use tapeline_core::units::UnixNanos;
use tracing::dispatcher;

/// How long the start waits for the reader to fill its blocks, so that decoding does not disturb the first events.
const PREFILL_MAX: Duration = Duration::from_secs(2);
/// How long each core of a paced run looks for gaps before it begins: long enough for ten ticks of a 100 Hz kernel, and for what comes at most every
/// few milliseconds to be seen. All look at once, so that a start takes this much longer. Unpaced runs keep no schedule, and do not look.
const PROBE: Duration = Duration::from_millis(100);

/// What to replay, and how.
pub struct Setup {
    /// Captures to merge.
    pub captures: Vec<Capture>,
    /// Passes over them.
    pub passes: u64,
    /// Messages of all captures and passes together, after which they are taken to have ended; `None` = all that there are.
    pub messages_max: Option<u64>,
    /// Schedule.
    pub pace: Pace,
    /// Longest gap that pacing keeps, in ns of capture time.
    pub max_gap_ns: Option<u64>,
    /// How the messages of a rate follow each other.
    pub arrivals: Arrivals,
    /// So much capture time from the first measured event on is paced and not measured.
    pub warmup_ns: u64,
    /// Symbols that are replayed, by their texts; `None` = all of them. Events without a symbol are, in any case.
    pub only: Option<BTreeSet<String>>,
    /// Slow events to keep on each shard, with what the core was doing.
    pub trace: usize,
    /// What happens when events come faster than a shard handles them.
    pub overload: Overload,
    /// Buses whose topics say so, with [`Overload::Live`].
    pub buses: Vec<Bus>,
    /// Measured from here on.
    pub start: Option<UnixNanos>,
    /// Replayed up to here.
    pub end: Option<UnixNanos>,
    /// Number of shards; `None` = one for each core but one.
    pub shards: Option<usize>,
    /// Cores; `None` = all that the process may use.
    pub cores: Option<Vec<usize>>,
    /// Whether threads are pinned.
    pub is_pinned: bool,
    /// Driver; `None` = glommio where io_uring works.
    pub driver: Option<Driver>,
    /// Whether the run gives its dead letters back, to be exported.
    pub gives_letters: bool,
    /// File for outputs, and whether to overwrite it.
    pub outputs: Option<(PathBuf, bool)>,
    /// Symbols that fit, the id 0 included.
    pub symbols_max: usize,
    /// Texts of the symbols that have the first ids, from 1 on, whatever the captures name: handlers that are made for certain symbols know them by id.
    pub symbols: Vec<String>,
    /// Slots of each shard's source ring, a power of two.
    pub ring_slots: usize,
    /// Slots of each ring between two shards, a power of two. There are some only where a handler crosses symbols.
    pub mesh_ring_slots: usize,
    /// How idle loops wait; `None` = they spin where every station has a pinned core of its own, and yield otherwise.
    pub idle: Option<Idle>,
    /// Seed of everything that looks random in handlers.
    pub seed: u64,
    /// Timers that may be pending on one shard; `None` = two for each symbol, and [`TIMERS_DEFAULT`] at least.
    pub timers_max: Option<usize>,
    /// Parameters of every shard. The engine itself says the number of each, its routes, its stamps, its timers and its seed.
    pub shard: shard::Config,
    /// Changes of subscriptions while it runs, from another thread: see [`tapeline_core::commands`].
    pub commands: Option<CommandReceiver<Subscription>>,
    /// How far the engine is, to be watched from outside.
    pub lifecycle: Lifecycle,
    /// What is logged, and who is told.
    pub log: Log,
    /// What history is read from for handlers that ask for it; `None` = nobody reads.
    pub backfill: Option<crate::backfill::Settings>,
    /// How jobs of users' own are done off the cores, where the pipeline has workers for them.
    pub jobs: jobs::Settings,
    /// Where topics that spill do so, with [`Overload::Live`]; `None` = nowhere, and such a topic is refused.
    pub spill: Option<spill::Settings>,
    /// Set from outside to end the replay early.
    pub interrupt: Arc<AtomicBool>,
}

impl Setup {
    /// A replay of `captures` as they were recorded, on all cores, with the default limits.
    #[must_use]
    pub fn new(captures: Vec<Capture>) -> Self {
        Self {
            captures,
            passes: 1,
            messages_max: None,
            pace: Pace::Speed(1.0),
            max_gap_ns: None,
            arrivals: Arrivals::Constant,
            warmup_ns: 0,
            only: None,
            trace: 0,
            overload: Overload::Wait,
            buses: vec![Bus::market()],
            start: None,
            end: None,
            shards: None,
            cores: None,
            is_pinned: true,
            driver: None,
            gives_letters: false,
            outputs: None,
            symbols_max: SYMBOLS_DEFAULT,
            symbols: Vec::new(),
            ring_slots: RING_SLOTS_DEFAULT,
            mesh_ring_slots: MESH_RING_SLOTS_DEFAULT,
            idle: None,
            seed: 0,
            timers_max: None,
            shard: shard::Config::single(),
            commands: None,
            lifecycle: Lifecycle::default(),
            log: Log::default(),
            backfill: None,
            jobs: jobs::Settings::default(),
            spill: None,
            interrupt: Arc::default(),
        }
    }

    /// Parameters of one of the shards.
    pub(crate) fn shard_config(&self, number: usize, routes: RouteTable) -> shard::Config {
        shard::Config {
            shard: number,
            routes,
            timers_max: self.timers_max.unwrap_or(TIMERS_DEFAULT.max(self.symbols_max * 2)),
            has_dues: self.has_dues(),
            seed: self.seed,
            log: self.log.filter,
            live: (self.overload == Overload::Live).then(|| self.buses.clone()),
            ..self.shard.clone()
        }
    }

    /// Whether rings carry the time at which each event is due.
    fn has_dues(&self) -> bool {
        self.pace.is_paced() || self.start.is_some() || self.warmup_ns > 0
    }
}

/// Why an engine could not be started, or did not run to its end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// No placement meets the request.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The bus could not be built.
    #[error(transparent)]
    Bus(#[from] BusError),
    /// The topics cannot be.
    #[error(transparent)]
    Topics(#[from] OpenError),
    /// The capacities take more memory than there is.
    #[error(transparent)]
    Memory(#[from] TooLarge),
    /// A topic spills, and there is no store for what it spills.
    #[error("topic {0}: it spills, and nothing says where to")]
    NoStore(String),
    /// A file for spilled events could not be made.
    #[error(transparent)]
    SpillFile(#[from] SpillError),
    /// The thread that keeps spilled events could not be started, or died.
    #[error("the store of spilled events: {0}")]
    Spill(String),
    /// The forced driver cannot run here.
    #[error("--driver glommio: {0}")]
    Driver(String),
    /// A core's loop failed.
    #[error(transparent)]
    Run(#[from] DriverError),
    /// A core's loop failed, and of the threads beside the cores these did not end within 2 s: they end with the process.
    #[error("{0}; left behind: {1}")]
    RunAndLeft(DriverError, String),
    /// The log's thread could not be started.
    #[error("the log's thread could not be started: {0}")]
    Log(std::io::Error),
    /// The outputs' file could not be created.
    #[error(transparent)]
    Sink(#[from] SinkError),
    /// The reader's thread could not be started, or died.
    #[error("the reader's thread {0}")]
    Reader(String),
    /// The thread that reads history could not be started, or died.
    #[error("the backfill's thread {0}")]
    Backfill(String),
    /// A symbol that is to be known from the start does not fit the catalog.
    #[error("symbol {0:?}: {1}")]
    Symbol(String, CatalogError),
    /// The workers cannot be as they are.
    #[error(transparent)]
    Workers(#[from] WorkersError),
    /// The source of a worker's replies does not fit the catalog.
    #[error("the source of a worker: {0}")]
    WorkerSource(#[from] CatalogError),
    /// The threads that do jobs off the cores could not be started, or died.
    #[error("the jobs' thread {0}")]
    Jobs(String),
}

/// What a run left behind: raw counts, for the report.
#[derive(Debug)]
pub struct Run {
    /// Placement.
    pub plan: Plan,
    /// Driver that ran.
    pub driver: Driver,
    /// Why it was chosen.
    pub driver_why: String,
    /// By core.
    pub cores: Vec<CoreReport>,
    /// What was read.
    pub ingest: IngestReport,
    /// Wall time of the loops, ns.
    pub elapsed_ns: u64,
    /// What was logged.
    pub log: LogReport,
    /// What the thread that reads history says; `None` where nobody reads.
    pub history: Option<ReaderReport>,
    /// The tapes that history was read from, as far as they could be opened.
    pub history_tapes: Vec<Listed>,
    /// What whoever does jobs off the cores says; `None` where there is nobody.
    pub workers: Option<WorkersReport>,
    /// What the store of spilled events says; `None` where nothing could spill.
    pub spill: Option<SpillReport>,
    /// Outputs written to the file; `None` without one.
    pub outputs_written: Option<Result<u64, SinkError>>,
    /// Whether the interrupt was set before the end.
    pub is_interrupted: bool,
    /// Whether a part was replayed without being measured.
    pub has_prelude: bool,
    /// How idle loops waited, by core.
    pub idle: Vec<Idle>,
    /// Steal time of the plan's cores during the run, ns; `None` where it could not be read.
    pub steal_ns: Vec<Option<u64>>,
}

/// Which driver runs for so many executors, and why: glommio where io_uring works and its memory can be locked, else threads.
///
/// # Errors
/// Why a forced glommio cannot run.
pub fn choose_driver(forced: Option<Driver>, limits: &Limits, executors: usize) -> Result<(Driver, String), String> {
    match (forced, doctor::refusal(limits, executors)) {
        (Some(Driver::Threads), _) => Ok((Driver::Threads, "asked for".to_owned())),
        (Some(Driver::Glommio), None) => Ok((Driver::Glommio, "asked for".to_owned())),
        (Some(Driver::Glommio), Some(why)) => Err(why),
        (None, None) => Ok((Driver::Glommio, "io_uring works".to_owned())),
        (None, Some(why)) => Ok((Driver::Threads, why)),
    }
}

/// Replays until the captures end, the interrupt is set, or something fails.
///
/// `pipeline` is called once for each shard and appends the handlers to its bus; also for some small ones, which do not run: one for the
/// workers that it has for jobs off the cores, and more where capacities are larger than by default (see [`crate::memory`]). `notice` is told the plan and the driver
/// before anything runs.
///
/// # Errors
/// When the engine could not be started or one of its threads died. Damaged captures are no error here: what could be read was
/// replayed, and the errors are in the report.
pub fn run<A: Assembly>(
    mut setup: Setup,
    pipeline: impl Fn(BusBuilder<End>) -> A,
    notice: impl FnOnce(&Plan, Driver, &str),
) -> Result<Run, EngineError> {
    let guard = setup.lifecycle.begin();
    if setup.overload == Overload::Live {
        check_topics(&setup.buses, setup.shard.retry.len(), setup.spill.is_some())?;
    }
    let machine = Machine::here();
    let allowed: Vec<usize> = match &machine.limits.affinity {
        Ok(cores) => cores.iter().map(|core| *core as usize).collect(),
        Err(_) => (0..thread::available_parallelism().map_or(1, usize::from)).collect(),
    };
    let quota = machine.quota.as_ref().ok().copied().flatten().map(|cores| (cores.floor() as usize).max(1));
    let plan = Plan::new(&allowed, quota, setup.cores.as_deref(), setup.shards, setup.is_pinned)?;
    let (driver, driver_why) =
        choose_driver(setup.driver, &machine.limits, plan.cores.len()).map_err(EngineError::Driver)?;
    notice(&plan, driver, &driver_why);

    let (_, workers) = pipeline(BusBuilder::new(1)).into_parts();
    setup.shard.requests.off_core = workers.jobs();
    let pipeline = |bus| pipeline(bus).into_parts().0;
    if let Some(machine_bytes) = memory::machine_bytes() {
        let shard = setup.shard_config(0, RouteTable::new(1));
        let sizes = Sizes {
            symbols_max: setup.symbols_max,
            ring_slots: setup.ring_slots,
            mesh_ring_slots: setup.mesh_ring_slots,
            history_ring_slots: setup.backfill.as_ref().map(|settings| settings.ring_slots),
            has_log: setup.log.is_on(),
            shard,
        };
        memory::check(&sizes, plan.shards, machine_bytes, pipeline)??;
    }

    let clock = RunClock::start();
    let routes = RouteTable::new(plan.shards);
    let has_dues = setup.has_dues();
    let shards: Vec<shard::Config> =
        (0..plan.shards).map(|number| setup.shard_config(number, routes.clone())).collect();
    let mut catalog = Catalog::new(setup.symbols_max);
    for symbol in &setup.symbols {
        catalog.symbol(symbol.as_bytes()).map_err(|error| EngineError::Symbol(symbol.clone(), error))?;
    }
    let mut buses = Vec::new();
    for number in 0..plan.shards {
        // Every shard interns the same handlers in the same order: their sources have the same ids everywhere.
        buses.push(pipeline(BusBuilder::new(setup.symbols_max)).instance(number as u32).build(&mut catalog)?);
    }
    workers.check(buses.first().map_or(JobSet::EMPTY, tapeline_core::bus::Bus::jobs))?;
    // Before anybody copies the catalog: its sources have the same ids everywhere.
    let worker_sources = workers.sources().map(|name| catalog.source(name.as_bytes(), SeqRule::None));
    let worker_sources = worker_sources.collect::<Result<Vec<_>, _>>()?;
    let mut jobs =
        (!workers.is_empty()).then(|| Jobs::new(setup.jobs, workers, worker_sources, setup.log.dispatch.clone()));
    let archive = setup.backfill.as_ref().map(|settings| Archive::open(&settings.paths, &mut catalog));
    dispatcher::with_default(&setup.log.dispatch, || {
        for fault in archive.iter().flat_map(Archive::faults) {
            tracing::warn!(%fault, "history cannot be read: whatever is ordered of it will fail");
        }
    });
    let history_tapes = archive.as_ref().map(Archive::listing).unwrap_or_default();
    let mut backfill = archive.map(Backfill::new);
    let spills = setup.overload == Overload::Live && spilling(&setup.buses).is_some();
    let spill_settings = setup.spill.as_ref().filter(|_| spills);
    let mut spill = spill_settings.map(|_| Spill::new(setup.log.dispatch.clone()));
    let mut spill_ports = Vec::new();
    for _ in 0..plan.shards {
        let port = spill.as_mut().zip(spill_settings).map(|(spill, settings)| spill.add_shard(settings));
        spill_ports.push(port.transpose()?);
    }
    let mut spill_ports = spill_ports.into_iter();
    let is_meshed = plan.shards > 1 && buses.iter().any(|bus| bus.crosses_symbols());
    let background = background_cores(&allowed, &plan);
    let (mut shard_sinks, definitions, sink) = match &setup.outputs {
        None => (Vec::new(), None, None),
        Some((path, force)) => {
            let (shards, definitions, handle) =
                Sink::start(path, *force, catalog.clone(), plan.shards, background.clone())?.split();
            (shards.into_iter().map(Some).collect(), Some(definitions), Some(handle))
        }
    };
    shard_sinks.resize_with(plan.shards, || None);

    let names = Names {
        catalog: catalog.clone(),
        handlers: buses.first().map_or_else(Vec::new, |bus| bus.names().to_vec()),
        topics: if setup.overload == Overload::Live { Names::topics(&setup.buses) } else { Vec::new() },
    };
    let (log, logs, log_definitions) =
        LogThread::start(setup.log.clone(), names, plan.shards, background.clone()).map_err(EngineError::Log)?;
    let mut logs = logs.into_iter().map(Some).chain(std::iter::repeat_with(|| None));

    let queue = BlockQueue::new(BLOCKS);
    let ingest = Ingest {
        captures: setup.captures,
        passes: setup.passes,
        messages_max: setup.messages_max.unwrap_or(u64::MAX),
        catalog: catalog.clone(),
        progress: Progress::default(),
    };
    let progress = ingest.progress.clone();
    let _stops_reader = queue.stop_guard();
    let reader = {
        let queue = queue.clone();
        thread::Builder::new().name("reader".to_owned()).spawn(move || {
            let _guard = queue.end_guard();
            keep_to(&background);
            ingest.run(&queue)
        })
    };
    let reader = reader.map_err(|error| EngineError::Reader(format!("could not be started: {error}")))?;

    let (mut mesh_in, mut mesh_out) = mesh(plan.shards, is_meshed, setup.mesh_ring_slots, has_dues);
    let (mut rings, mut stations) = (Vec::new(), Vec::<Box<dyn Station>>::new());
    for ((config, bus), sink) in shards.into_iter().zip(buses).zip(shard_sinks) {
        let (producer, consumer) =
            if has_dues { ring::channel_with_dues(setup.ring_slots) } else { ring::channel(setup.ring_slots) };
        rings.push(producer);
        let number = config.shard;
        let probe = RunProbe::new(clock.clone())
            .paced(setup.pace.is_paced())
            .tracing(setup.trace)
            .logging_to(logs.next().flatten());
        let (peers, outlets) = (std::mem::take(&mut mesh_in[number]), std::mem::take(&mut mesh_out[number]));
        let mut shard = Shard::new(config, catalog.clone(), bus, probe, consumer, peers, outlets);
        let port = backfill.as_mut().zip(setup.backfill.as_ref()).map(|(backfill, settings)| {
            let (port, history) = backfill.add_shard(settings.desk.manager.in_flight, settings.ring_slots);
            shard.attach_backfill(&settings.desk, history);
            port
        });
        let job_port = jobs.as_mut().map(|jobs| {
            let (port, replies) = jobs.add_shard(setup.shard.requests.jobs_max);
            shard.attach_jobs(replies);
            port
        });
        let egress = Egress::new(sink).spilling_to(spill_ports.next().flatten());
        let station = ShardStation::new(number, shard, egress).with_history(port).with_jobs(job_port);
        stations.push(Box::new(station.giving_letters(setup.gives_letters)));
    }
    let source = SourceConfig {
        pacer: Pacer::new(setup.pace, setup.max_gap_ns).with_arrivals(setup.arrivals, setup.seed),
        warmup_ns: setup.warmup_ns,
        symbols: setup.only.as_ref().map(|texts| texts.iter().map(|text| hash::stable(text.as_bytes())).collect()),
        has_dues,
        start: setup.start,
        end: setup.end,
        routes,
        symbols_max: setup.symbols_max,
        is_meshed,
        commands: setup.commands,
        interrupt: Arc::clone(&setup.interrupt),
    };
    prefill(&queue, || reader.is_finished() || setup.interrupt.load(Ordering::Relaxed));
    let mut source: Option<Box<dyn Station>> = Some(Box::new(
        SourceStation::new(source, clock.clone(), queue.clone(), rings, definitions).telling(log_definitions),
    ));
    let mut stations: Vec<Option<Box<dyn Station>>> = stations.into_iter().map(Some).collect();
    let has_spare_core = allowed.len() > plan.cores.len();
    let (mut loops, mut idles) = (Vec::new(), Vec::new());
    for core in &plan.cores {
        let seats = core.seats.iter().filter_map(|seat| match seat {
            Seat::Source => source.take(),
            Seat::Shard(number) => stations[*number].take(),
        });
        // An unpaced source that spins would keep the reader from the core that they share.
        let starves_reader = core.seats.contains(&Seat::Source) && !setup.pace.is_paced() && !has_spare_core;
        let idle = if plan.is_exclusive() && !starves_reader { Idle::BusySpin } else { Idle::Yield };
        let idle = setup.idle.unwrap_or(idle);
        idles.push(idle);
        loops.push(CoreLoop::new(core.clone(), seats.collect(), idle, clock.clone()));
    }

    let history = backfill.map(|backfill| backfill.start(idle_cores(&allowed, &plan))).transpose();
    let history = history.map_err(|error| EngineError::Backfill(format!("could not be started: {error}")))?;

    let jobs = jobs.map(|jobs| jobs.start(idle_cores(&allowed, &plan))).transpose();
    let jobs = jobs.map_err(|error| EngineError::Jobs(format!("could not be started: {error}")))?;

    let spill = spill.map(|spill| spill.start(idle_cores(&allowed, &plan))).transpose();
    let spill = spill.map_err(|error| EngineError::Spill(format!("its thread could not be started: {error}")))?;

    // Both as of the time at which the loops begin, not as of the start of their threads.
    let (steal_before, begun) = (RefCell::new(vec![None; plan.cores.len()]), Cell::new(Instant::now()));
    let at_begin = || {
        steal_before.replace(steal(&plan));
        begun.set(Instant::now());
    };
    let probe = if setup.pace.is_paced() { PROBE } else { Duration::ZERO };
    guard.turn(Phase::Running);
    let cores = driver::run(driver, loops, &Start { probe, at_begin: &at_begin }, &setup.interrupt);
    guard.turn(Phase::Stopping);
    let elapsed_ns = u64::try_from(begun.get().elapsed().as_nanos()).unwrap_or(u64::MAX);
    let is_interrupted = setup.interrupt.load(Ordering::Relaxed);
    let steal_ns = steal_before
        .take()
        .iter()
        .zip(steal(&plan))
        .map(|(before, after)| Some(after?.saturating_sub((*before)?)))
        .collect();
    queue.stop();
    let beside = Beside { log, history, jobs, spill, sink, reader };
    let (cores, beside) = beside.last_words(cores, &setup.interrupt, &progress)?;
    Ok(Run {
        plan,
        driver,
        driver_why,
        cores,
        ingest: beside.ingest,
        elapsed_ns,
        log: beside.log,
        history: beside.history,
        history_tapes,
        workers: beside.workers,
        spill: beside.spill,
        outputs_written: beside.outputs_written,
        has_prelude: setup.start.is_some() || setup.warmup_ns > 0,
        is_interrupted,
        idle: idles,
        steal_ns,
    })
}

/// Whether the buses can be open together, every retry policy is among those of the engine, and what spills has a store.
fn check_topics(buses: &[Bus], retry_policies: usize, has_store: bool) -> Result<(), EngineError> {
    Registry::of(buses)?;
    buses.iter().try_for_each(|bus| bus.check_retries(retry_policies))?;
    let homeless = spilling(buses).filter(|_| !has_store);
    homeless.map_or(Ok(()), |topic| Err(EngineError::NoStore(topic.name.clone())))
}

/// The first topic that spills.
fn spilling(buses: &[Bus]) -> Option<&Topic> {
    buses.iter().flat_map(|bus| &bus.topics).find(|topic| topic.policy == Policy::Spill)
}

type Peers = Vec<ring::Consumer>;
type Outlets = Vec<Option<ring::Producer>>;

/// One ring of so many slots for each ordered pair of shards, with room for stamps where the source's ring has it.
fn mesh(shards: usize, is_meshed: bool, slots: usize, has_dues: bool) -> (Vec<Peers>, Vec<Outlets>) {
    let mut peers: Vec<Peers> = (0..shards).map(|_| Vec::new()).collect();
    let mut outlets: Vec<Outlets> = (0..shards).map(|_| Vec::new()).collect();
    if !is_meshed {
        return (peers, outlets);
    }
    for (from, outlets) in outlets.iter_mut().enumerate() {
        for (to, peers) in peers.iter_mut().enumerate() {
            if from == to {
                outlets.push(None);
                continue;
            }
            let (producer, consumer) = if has_dues { ring::channel_with_dues(slots) } else { ring::channel(slots) };
            outlets.push(Some(producer));
            peers.push(consumer);
        }
    }
    (peers, outlets)
}

/// Waits until the reader has filled its blocks, has ended, or has had its time.
fn prefill(queue: &BlockQueue, is_ended: impl Fn() -> bool) {
    let begun = Instant::now();
    while queue.ready() < BLOCKS && !is_ended() && begun.elapsed() < PREFILL_MAX {
        thread::sleep(Duration::from_micros(200));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tapeline_core::event::{Kind, KindSet};

    #[test]
    fn a_topic_with_a_retry_policy_that_is_not_there_is_refused() {
        let news = Topic { retry: 1, ..Topic::new("news", KindSet::one(Kind::NEWS), 8) };
        let buses = [Bus::new("bus", vec![news])];
        let error = check_topics(&buses, 1, false).unwrap_err();
        assert_eq!(error.to_string(), "topic news: there is no retry policy 1, the engine has 1");
        assert!(check_topics(&buses, 2, false).is_ok());
    }
}
