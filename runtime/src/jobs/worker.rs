//! What a worker is, what it is asked, what it replies; the thread on which it works.

use super::REPLY_SLOTS_MAX;
use std::any::Any;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender};
use std::time::{Duration, Instant};
use tapeline_core::dead::ERROR_PANIC;
use tapeline_core::event::{EventBuf, Flags, KindSet, Slot};
use tapeline_core::handler::{Job, JobSet, RequestId};
use tapeline_core::queue::Priority;
use tapeline_core::requests::JobOrder;
use tapeline_core::units::{SourceId, UnixNanos};

/// Logic that does jobs of one kind, off the hot cores. It may block, allocate and do I/O. It is made, used and dropped on one thread, so that it need
/// not be `Send`; there is one for each thread of workers.
pub trait Worker: 'static {
    /// Name in reports, and of the source of what it replies (`job.<NAME>`). Unique among the workers of a program.
    const NAME: &'static str;

    /// Does one job. What it has put into `reply` goes to who asked once it is done; nothing of it where it fails.
    ///
    /// # Errors
    /// A code of the worker's own, with which the request ends ([`RequestEnd::Failed`](tapeline_core::handler::RequestEnd::Failed)).
    fn run(&mut self, ask: &JobAsk<'_>, reply: &mut Reply) -> Result<(), u16>;
}

/// What a worker is asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct JobAsk<'a> {
    /// Text of the symbol that it is for.
    pub symbol: &'a [u8],
    /// What is asked for.
    pub job: Job,
    /// The first of the requests that it stands for: its number among those of the symbol.
    pub request: RequestId,
    /// Groups of all requests that it stands for.
    pub groups: u64,
    /// As asked.
    pub token: u64,
    /// How urgent it is.
    pub priority: Priority,
    /// Shard time at which it was served.
    pub ordered_at: UnixNanos,
    /// Shard time at which its reply is due, and given out.
    pub due: UnixNanos,
}

/// What a worker replies: events, in order.
#[derive(Debug)]
pub struct Reply {
    slots: Vec<Slot>,
    events: u32,
    /// What every event of it has.
    head: Slot,
}

/// An event that is not taken into a reply.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReplyError {
    /// The reply has as many slots, or events (65,536), as it may.
    #[error("a reply has at most {REPLY_SLOTS_MAX} slots and 65,536 events")]
    Full,
    /// Ticks, definitions and their like are the engine's own.
    #[error("an event of control is no reply")]
    Control,
}

impl Reply {
    fn new(order: &JobOrder, source: SourceId) -> Self {
        let head = Slot { symbol: order.symbol, source, seq: order.request.0, ts_recv: order.due, ..Slot::ZERO };
        Self { slots: Vec::new(), events: 0, head }
    }

    /// Appends an event. Its symbol, source, sequence number (the request's) and part (its place in the reply) are set here; its times are kept where they are
    /// not zero, else it is of the instant at which it is given out, and of no known time of the source's own. What is of a market (trades, quotes, news and
    /// their like) is marked as historical: see [`Handler::TAKES_HISTORY`](tapeline_core::handler::Handler::TAKES_HISTORY).
    ///
    /// # Errors
    /// [`ReplyError`]; the reply is as before then.
    pub fn push(&mut self, event: &EventBuf) -> Result<(), ReplyError> {
        let (slots, at) = (event.slots(), self.slots.len());
        let kind = slots[0].kind();
        if kind.is_control() {
            return Err(ReplyError::Control);
        }
        let part = u16::try_from(self.events).map_err(|_| ReplyError::Full)?;
        if at + slots.len() > REPLY_SLOTS_MAX {
            return Err(ReplyError::Full);
        }
        self.slots.extend_from_slice(slots);
        self.events += 1;
        let (head, set) = (&mut self.slots[at], &self.head);
        (head.symbol, head.source, head.seq, head.part) = (set.symbol, set.source, set.seq, part);
        if head.ts_recv == UnixNanos::ZERO {
            head.ts_recv = set.ts_recv;
        }
        if head.ts_event == UnixNanos::ZERO {
            head.ts_event = UnixNanos::UNKNOWN;
        }
        if KindSet::MARKET.contains(kind) {
            head.flags = head.flags.with(Flags::HISTORICAL);
        }
        Ok(())
    }

    /// Events so far.
    #[must_use]
    pub const fn events(&self) -> u32 {
        self.events
    }
}

/// A worker of any type.
trait AnyWorker {
    fn run(&mut self, ask: &JobAsk<'_>, reply: &mut Reply) -> Result<(), u16>;
}

impl<W: Worker> AnyWorker for W {
    fn run(&mut self, ask: &JobAsk<'_>, reply: &mut Reply) -> Result<(), u16> {
        Worker::run(self, ask, reply)
    }
}

type Make = Arc<dyn Fn() -> Box<dyn AnyWorker> + Send + Sync>;

/// A kind of worker.
#[derive(Clone)]
pub(super) struct WorkerKind {
    pub(super) job: Job,
    pub(super) name: &'static str,
    make: Make,
}

/// The kinds of workers of a program, each with its job.
#[derive(Clone, Default)]
pub struct Workers {
    pub(super) kinds: Vec<WorkerKind>,
}

/// Workers that cannot be, as they are.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WorkersError {
    /// Numbers below [`Job::USER`] are the engine's, and there are [`Job::MAX`].
    #[error("worker {1}: job {0} is not one of {min} to {max}, which are for users", min = Job::USER.0, max = Job::MAX - 1)]
    Number(u8, &'static str),
    /// Two workers do one job.
    #[error("worker {1}: job {0} is done by another worker, too")]
    Taken(u8, &'static str),
    /// A handler serves the job.
    #[error("worker {1}: job {0} is served by a handler, too")]
    Served(u8, &'static str),
    /// Two workers have one name.
    #[error("worker {0}: another one has that name")]
    Name(&'static str),
}

impl Workers {
    /// Adds a kind of worker. `make` is called on each thread that does such a job, and again after a panic or an overrun.
    pub fn add<W: Worker>(&mut self, job: Job, make: impl Fn() -> W + Send + Sync + 'static) {
        self.kinds.push(WorkerKind { job, name: W::NAME, make: Arc::new(move || Box::new(make())) });
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.kinds.is_empty()
    }

    /// The jobs that they do.
    #[must_use]
    pub fn jobs(&self) -> JobSet {
        let known = self.kinds.iter().filter(|kind| usize::from(kind.job.0) < Job::MAX);
        known.fold(JobSet::EMPTY, |jobs, kind| jobs.union(JobSet::of(&[kind.job])))
    }

    /// Whether they can be beside handlers that serve `served`.
    ///
    /// # Errors
    /// The first of them that cannot.
    pub fn check(&self, served: JobSet) -> Result<(), WorkersError> {
        for (index, kind) in self.kinds.iter().enumerate() {
            let (job, name, before) = (kind.job.0, kind.name, &self.kinds[..index]);
            if kind.job < Job::USER || usize::from(job) >= Job::MAX {
                return Err(WorkersError::Number(job, name));
            }
            if before.iter().any(|other| other.job == kind.job) {
                return Err(WorkersError::Taken(job, name));
            }
            if before.iter().any(|other| other.name == name) {
                return Err(WorkersError::Name(name));
            }
            if served.contains(kind.job) {
                return Err(WorkersError::Served(job, name));
            }
        }
        Ok(())
    }

    /// The names of their sources, in their order.
    pub(crate) fn sources(&self) -> impl Iterator<Item = String> + '_ {
        self.kinds.iter().map(|kind| format!("job.{}", kind.name))
    }
}

impl fmt::Debug for Workers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.kinds.iter().map(|kind| (kind.job.0, kind.name))).finish()
    }
}

/// A job for a thread of workers.
#[derive(Debug)]
pub(super) struct Task {
    pub(super) shard: usize,
    pub(super) order: JobOrder,
    pub(super) symbol: Vec<u8>,
    pub(super) kind: usize,
    pub(super) source: SourceId,
}

/// What became of it.
#[derive(Debug)]
pub(super) struct Done {
    /// The thread, and which of those that had its place.
    pub(super) seat: (usize, u64),
    pub(super) shard: usize,
    pub(super) number: u64,
    pub(super) result: Result<(Vec<Slot>, u32), Failed>,
    pub(super) took: Duration,
}

/// Why a job failed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Failed {
    /// The worker gave up, with a code.
    Code(u16),
    /// It panicked, with these words.
    Panic(String),
    /// It took too long.
    Overrun,
    /// There was no worker: so many threads are stuck in their jobs.
    NoWorker,
    /// There was no worker: the system starts no thread, for this reason.
    NoThread(String),
}

impl Failed {
    pub(super) const fn code(&self) -> u16 {
        match self {
            Self::Code(code) => *code,
            Self::Panic(_) => ERROR_PANIC,
            Self::Overrun => super::FAILED_OVERRUN,
            Self::NoWorker | Self::NoThread(_) => super::FAILED_NO_WORKER,
        }
    }
}

/// The loop of a thread of workers: does tasks until nobody gives any. Counts in `made` the instances of each kind as it makes them: of one that never comes
/// back nobody would hear otherwise.
pub(super) fn work(
    workers: &Workers,
    seat: (usize, u64),
    tasks: &Receiver<Task>,
    done: &Sender<Done>,
    made: &[AtomicU64],
) {
    let mut instances: Vec<Option<Box<dyn AnyWorker>>> = workers.kinds.iter().map(|_| None).collect();
    for task in tasks {
        let begun = Instant::now();
        let result = one(&workers.kinds[task.kind], &mut instances[task.kind], &task, &made[task.kind]);
        if matches!(result, Err(Failed::Panic(_))) {
            // What it had become nobody knows. Where it panics as it is dropped, too, it is gone all the same.
            let broken = instances[task.kind].take();
            let _ = catch_unwind(AssertUnwindSafe(move || drop(broken)));
        }
        let (shard, number) = (task.shard, task.order.number);
        let told = Done { seat, shard, number, result, took: begun.elapsed() };
        if done.send(told).is_err() {
            break;
        }
    }
    // Each by itself: one that panics as it is dropped keeps no other from that.
    for instance in instances {
        let _ = catch_unwind(AssertUnwindSafe(move || drop(instance)));
    }
}

fn one(
    kind: &WorkerKind,
    instance: &mut Option<Box<dyn AnyWorker>>,
    task: &Task,
    made: &AtomicU64,
) -> Result<(Vec<Slot>, u32), Failed> {
    let JobOrder { job, request, groups, token, priority, ordered_at, due, .. } = task.order;
    let ask = JobAsk { symbol: &task.symbol, job, request, groups, token, priority, ordered_at, due };
    let mut reply = Reply::new(&task.order, task.source);
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        let worker = match instance {
            Some(worker) => worker,
            none => {
                let worker = (kind.make)();
                made.fetch_add(1, Ordering::Relaxed);
                none.insert(worker)
            }
        };
        worker.run(&ask, &mut reply)
    }));
    match outcome {
        Ok(Ok(())) => Ok((reply.slots, reply.events)),
        Ok(Err(code)) => Err(Failed::Code(code)),
        Err(panic) => Err(Failed::Panic(words_of(panic.as_ref()))),
    }
}

/// What a panic says.
fn words_of(panic: &(dyn Any + Send)) -> String {
    let words = panic.downcast_ref::<&str>().map(|words| (*words).to_owned());
    words.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "without a word".to_owned())
}
