//! The jobs thread: gives orders of shards to threads of workers, keeps replies in order, and watches deadlines.

use super::teller::Teller;
use super::worker::{Done, Failed, Task, Workers, work};
use super::{ABANDONED_MAX, Settings};
use crate::background::{Background, keep_to};
use crate::ending::GIVE_UP_AFTER;
use crate::rest::Rest;
use crossbeam_queue::ArrayQueue;
use serde::Serialize;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use tapeline_core::bus::Chain;
use tapeline_core::event::payload::Tick;
use tapeline_core::event::{EventBuf, EventRef, Slot};
use tapeline_core::limits::SYMBOL_BYTES_MAX;
use tapeline_core::requests::JobOrder;
use tapeline_core::ring::{self, Consumer, Producer};
use tapeline_core::shard::{Probe, Shard};
use tapeline_core::units::SourceId;
use tracing::Dispatch;

/// How long the system may refuse every thread before jobs fail for that.
const STARVED_AFTER: Duration = Duration::from_secs(2);
/// How long the last warnings of a run may take at least.
const LAST_WORDS: Duration = Duration::from_millis(200);
/// Time between two looks at threads that are to end.
const LOOK_EVERY: Duration = Duration::from_micros(100);
/// Slots of the ring by which a shard gets replies.
const RING_SLOTS: usize = 4_096;
/// Reasons that a report names; more are counted only.
const REASONS_MAX: usize = 16;

/// An order and the symbol's text, without an allocation.
struct Ticket {
    order: JobOrder,
    symbol: [u8; SYMBOL_BYTES_MAX],
    symbol_bytes: usize,
}

/// The shard's end: hands over what it orders. Neither waits nor allocates.
pub struct JobPort(Arc<ArrayQueue<Ticket>>);

impl JobPort {
    /// Hands over the jobs that the shard has ordered. To be called after each step.
    #[inline]
    pub fn serve<C: Chain, P: Probe>(&self, shard: &mut Shard<C, P>) {
        while let Some(order) = shard.take_job() {
            self.order(order, shard.catalog().symbol_text(order.symbol));
        }
    }

    /// An order for the symbol of that text.
    pub(super) fn order(&self, order: JobOrder, symbol: &[u8]) {
        let mut ticket = Ticket { order, symbol: [0; SYMBOL_BYTES_MAX], symbol_bytes: symbol.len() };
        ticket.symbol[..symbol.len()].copy_from_slice(symbol);
        let is_sent = self.0.push(ticket).is_ok();
        // Nobody takes tickets where the thread has died: its ring is abandoned then, by which the shard fails what it has ordered.
        let is_taken = Arc::strong_count(&self.0) > 1;
        assert!(is_sent || !is_taken, "Invariant: there is room for as many orders as may be under way");
    }
}

impl std::fmt::Debug for JobPort {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JobPort").field("orders", &self.0.len()).finish_non_exhaustive()
    }
}

/// What one kind of worker did.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct KindReport {
    /// Its name.
    pub name: &'static str,
    /// Number of the job that it does.
    pub job: u8,
    /// Jobs that were done.
    pub done: u64,
    /// Jobs on which it gave up with a code of its own.
    pub failed: u64,
    /// Jobs on which it panicked.
    pub panicked: u64,
    /// Jobs that took longer than `requests.job_deadline`.
    pub overran: u64,
    /// Jobs that found no worker.
    pub unserved: u64,
    /// Workers that were made: on each thread that did such a job one, and one more after each panic and overrun.
    pub made: u64,
    /// Workers that were thrown away with what they had become, for a new one to take their place.
    pub replaced: u64,
    /// Events that it replied.
    pub events: u64,
    /// Wall time in jobs that came to their end, ns.
    pub time_ns: u64,
    /// The longest of them, ns.
    pub longest_ns: u64,
}

/// What the jobs thread has to say at the end.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct WorkersReport {
    /// Threads of workers.
    pub threads: usize,
    /// By kind of worker, in the order in which they were added.
    pub kinds: Vec<KindReport>,
    /// Replies of jobs that had been given up.
    pub late: u64,
    /// Threads that were in a job when the run had ended, or had been given up, and did not come back: they end with the process.
    pub left_behind: usize,
    /// Why jobs failed, the first ones.
    pub reasons: Vec<String>,
    /// Warnings that found too many waiting before them to be told.
    pub untold: u64,
}

impl WorkersReport {
    /// Whether a job ended in a way that the machine's speed decided.
    #[must_use]
    pub fn has_overrun(&self) -> bool {
        self.kinds.iter().any(|kind| kind.overran + kind.unserved > 0)
    }
}

/// A job that was ordered, until its reply is out: replies leave in the order of the orders.
struct Place {
    number: u64,
    kind: usize,
    /// Its reply, with its end.
    reply: Option<Vec<Slot>>,
}

/// What one shard has ordered.
struct Desk {
    /// Before the ring, so that it goes before it: whoever sees the ring abandoned sees that nobody takes tickets any more.
    queue: Arc<ArrayQueue<Ticket>>,
    replies: Producer,
    places: VecDeque<Place>,
    /// Slots of the first place's reply that are out.
    sent: usize,
}

impl Desk {
    /// Sends what is next, as far as there is room. True when anything went out.
    fn flush(&mut self) -> bool {
        let mut has_sent = false;
        while let Some(reply) = self.places.front().and_then(|place| place.reply.as_deref()) {
            while let Some(event) = EventRef::first(&reply[self.sent..]) {
                if self.replies.push(event.slots()).is_err() {
                    return has_sent;
                }
                has_sent = true;
                self.sent += event.slots().len();
            }
            self.sent = 0;
            self.places.pop_front();
        }
        has_sent
    }
}

/// A thread of workers.
struct Seat {
    tasks: Sender<Task>,
    thread: JoinHandle<()>,
    /// Which of those that had this place.
    turn: u64,
    /// The job that it does: since when, for which shard, its number, and the kind.
    busy: Option<(Instant, usize, u64, usize)>,
}

/// Starts a thread of that name.
pub(super) type Spawn = Box<dyn FnMut(String, Box<dyn FnOnce() + Send>) -> std::io::Result<JoinHandle<()>> + Send>;

/// Workers for the shards of an engine.
pub struct Jobs {
    settings: Settings,
    workers: Workers,
    sources: Vec<SourceId>,
    desks: Vec<Desk>,
    /// The desk whose turn it is to give a job.
    turn: usize,
    seats: Vec<Option<Seat>>,
    /// By seat without a thread: the kind of worker that overran there.
    owed: Vec<Option<usize>>,
    /// Threads that had a seat so far.
    seated: u64,
    abandoned: Vec<JoinHandle<()>>,
    pending: VecDeque<Task>,
    done: (Sender<Done>, Receiver<Done>),
    /// Instances that were made, by kind.
    made: Arc<[AtomicU64]>,
    pub(super) spawn: Spawn,
    /// Since when, and with what words, the system has refused a thread.
    starved: Option<(Instant, String)>,
    dispatch: Dispatch,
    teller: Teller,
    cores: Vec<usize>,
    report: WorkersReport,
}

impl Jobs {
    /// Does jobs with these workers, whose replies are of these sources, and tells `dispatch` what went wrong. Shards are added before it starts.
    ///
    /// # Panics
    /// When the number of sources is not that of the workers.
    #[must_use]
    pub fn new(settings: Settings, workers: Workers, sources: Vec<SourceId>, dispatch: Dispatch) -> Self {
        assert_eq!(workers.kinds.len(), sources.len(), "a source for each worker");
        let made = workers.kinds.iter().map(|_| AtomicU64::new(0)).collect();
        let kinds = workers.kinds.iter();
        let kinds = kinds.map(|kind| KindReport { name: kind.name, job: kind.job.0, ..KindReport::default() });
        let report = WorkersReport { threads: settings.workers, kinds: kinds.collect(), ..WorkersReport::default() };
        Self {
            settings,
            workers,
            sources,
            desks: Vec::new(),
            turn: 0,
            seats: Vec::new(),
            owed: vec![None; settings.workers],
            seated: 0,
            abandoned: Vec::new(),
            pending: VecDeque::new(),
            done: mpsc::channel(),
            made,
            spawn: Box::new(|name, work| thread::Builder::new().name(name).spawn(work)),
            starved: None,
            dispatch,
            teller: Teller::default(),
            cores: Vec::new(),
            report,
        }
    }

    /// A desk more: the shard's ends of its queues, for `jobs_max` orders at a time.
    pub fn add_shard(&mut self, jobs_max: usize) -> (JobPort, Consumer) {
        self.add_shard_with(jobs_max, RING_SLOTS)
    }

    pub(super) fn add_shard_with(&mut self, jobs_max: usize, ring_slots: usize) -> (JobPort, Consumer) {
        let queue = Arc::new(ArrayQueue::new(jobs_max));
        let (replies, consumer) = ring::channel(ring_slots);
        self.desks.push(Desk { queue: Arc::clone(&queue), replies, places: VecDeque::new(), sent: 0 });
        (JobPort(queue), consumer)
    }

    /// Starts the thread and those of the workers, on these cores.
    ///
    /// # Errors
    /// When the system starts no thread.
    pub fn start(mut self, cores: Vec<usize>) -> std::io::Result<JobsThread> {
        self.teller = Teller::start(self.dispatch.clone(), cores.clone())?;
        self.cores = cores;
        for seat in 0..self.settings.workers {
            let taken = self.seat(seat)?;
            self.seats.push(Some(taken));
        }
        Background::spawn("jobs", self.cores.clone(), move |stop| self.run(stop))
    }

    fn run(mut self, stop: &AtomicBool) -> WorkersReport {
        let mut rest = Rest::new();
        while !stop.load(Ordering::Relaxed) {
            // What is done is taken before anybody is said to have taken too long.
            let mut has_worked = false;
            while let Ok(done) = self.done.1.try_recv() {
                self.take(done);
                has_worked = true;
            }
            has_worked |= self.watch() | self.take_orders() | self.give_out();
            has_worked |= self.desks.iter_mut().fold(false, |sent, desk| sent | desk.flush());
            let is_open = self.desks.iter().any(|desk| !desk.places.is_empty());
            match self.done.1.recv_timeout(rest.next(has_worked, is_open)) {
                Ok(done) => self.take(done),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {}
            }
        }
        self.end()
    }

    /// Starts a thread for a seat.
    fn seat(&mut self, seat: usize) -> std::io::Result<Seat> {
        self.seated += 1;
        let ((tasks, inbox), turn) = (mpsc::channel(), self.seated);
        let (workers, done, cores) = (self.workers.clone(), self.done.0.clone(), self.cores.clone());
        let made = Arc::clone(&self.made);
        let thread = (self.spawn)(
            format!("worker-{seat}"),
            Box::new(move || {
                keep_to(&cores);
                work(&workers, (seat, turn), &inbox, &done, &made);
            }),
        )?;
        Ok(Seat { tasks, thread, turn, busy: None })
    }

    /// Takes an order of each shard in turn, as long as there are any.
    fn take_orders(&mut self) -> bool {
        let (before, mut without) = (self.pending.len(), 0);
        while without < self.desks.len() {
            let shard = self.turn;
            self.turn = (self.turn + 1) % self.desks.len();
            let desk = &mut self.desks[shard];
            let Some(Ticket { order, symbol, symbol_bytes }) = desk.queue.pop() else {
                without += 1;
                continue;
            };
            without = 0;
            let kind = self.workers.kinds.iter().position(|kind| kind.job == order.job);
            let kind = kind.expect("Invariant: only jobs that workers do are ordered");
            desk.places.push_back(Place { number: order.number, kind, reply: None });
            let symbol = symbol[..symbol_bytes].to_vec();
            self.pending.push_back(Task { shard, order, symbol, kind, source: self.sources[kind] });
        }
        self.pending.len() > before
    }

    /// Why there will be no worker, where every seat is empty: as many threads as may be are stuck, or the system has refused every thread for too long. In
    /// the meantime jobs wait.
    fn hopeless(&self) -> Option<Failed> {
        if self.abandoned.len() >= ABANDONED_MAX {
            return Some(Failed::NoWorker);
        }
        let (since, why) = self.starved.as_ref()?;
        (since.elapsed() > STARVED_AFTER).then(|| Failed::NoThread(why.clone()))
    }

    /// Gives jobs to threads that have none. Without any thread, and any hope of one, all jobs fail.
    fn give_out(&mut self) -> bool {
        let mut has_given = false;
        while !self.pending.is_empty() {
            if self.seats.iter().all(Option::is_none) {
                let Some(failed) = self.hopeless() else { break };
                let Some(task) = self.pending.pop_front() else { break };
                self.settle(task.shard, task.order.number, Err(failed));
            } else {
                let Some(seat) = self.seats.iter_mut().flatten().find(|seat| seat.busy.is_none()) else { break };
                let Some(task) = self.pending.pop_front() else { break };
                seat.busy = Some((Instant::now(), task.shard, task.order.number, task.kind));
                // A thread ends only when its sender is gone: it takes every task.
                let _ = seat.tasks.send(task);
            }
            has_given = true;
        }
        has_given
    }

    /// Gives up whoever has taken too long, and seats others where there is room.
    fn watch(&mut self) -> bool {
        self.abandoned.retain(|thread| !thread.is_finished());
        let mut has_worked = false;
        for index in 0..self.seats.len() {
            let deadline = self.settings.deadline_ns.map(Duration::from_nanos);
            let busy = self.seats[index].as_ref().and_then(|seat| seat.busy);
            if let Some((begun, shard, number, kind)) = busy
                && deadline.is_some_and(|deadline| begun.elapsed() > deadline)
                && let Some(seat) = self.seats[index].take()
            {
                self.abandoned.push(seat.thread);
                self.owed[index] = Some(kind);
                self.settle(shard, number, Err(Failed::Overrun));
                has_worked = true;
            }
            if self.seats[index].is_none() && self.abandoned.len() < ABANDONED_MAX {
                // Where the system has no thread now, the next look asks again.
                match self.seat(index) {
                    Ok(seat) => (self.seats[index], self.starved) = (Some(seat), None),
                    Err(error) => {
                        self.starved.get_or_insert_with(|| (Instant::now(), error.to_string()));
                    }
                }
                if let Some(kind) = self.owed[index].take_if(|_| self.seats[index].is_some()) {
                    self.report.kinds[kind].replaced += 1;
                }
            }
        }
        has_worked
    }

    /// A thread has come to the end of a job.
    fn take(&mut self, done: Done) {
        let Done { seat: (index, turn), shard, number, result, took } = done;
        let seat = self.seats[index].as_mut().filter(|seat| seat.turn == turn);
        let Some((_, _, _, kind)) = seat.and_then(|seat| seat.busy.take()) else {
            self.report.late += 1;
            return;
        };
        let report = &mut self.report.kinds[kind];
        let took_ns = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        report.time_ns = report.time_ns.saturating_add(took_ns);
        report.longest_ns = report.longest_ns.max(took_ns);
        report.replaced += u64::from(matches!(result, Err(Failed::Panic(_))));
        self.settle(shard, number, result);
    }

    /// A job has come to its end: its reply has its place.
    fn settle(&mut self, shard: usize, number: u64, result: Result<(Vec<Slot>, u32), Failed>) {
        let desk = &mut self.desks[shard];
        let Some(place) = desk.places.iter_mut().find(|place| place.number == number) else { return };
        let (name, job) = (self.workers.kinds[place.kind].name, self.workers.kinds[place.kind].job.0);
        let report = &mut self.report.kinds[place.kind];
        let mut code = 0;
        let mut reply = match result {
            Ok((slots, events)) => {
                report.done += 1;
                report.events += u64::from(events);
                slots
            }
            Err(failed) => {
                let why = match &failed {
                    Failed::Code(code) => {
                        report.failed += 1;
                        format!("gave up with code {code}")
                    }
                    Failed::Panic(words) => {
                        report.panicked += 1;
                        format!("panicked and is replaced: {words}")
                    }
                    Failed::Overrun => {
                        report.overran += 1;
                        let most = Duration::from_nanos(self.settings.deadline_ns.unwrap_or_default());
                        format!("took longer than requests.job_deadline = {most:?} and is replaced")
                    }
                    Failed::NoWorker => {
                        report.unserved += 1;
                        format!("is not there: {ABANDONED_MAX} threads are stuck in their jobs")
                    }
                    Failed::NoThread(why) => {
                        report.unserved += 1;
                        format!("is not there: the system starts no thread: {why}")
                    }
                };
                let why = format!("worker {name}, job {job}: {why}");
                // A code is an answer; what happens to a worker is for who runs the engine.
                if !matches!(failed, Failed::Code(_)) {
                    self.teller.tell(Some((shard, number)), &why);
                }
                if self.report.reasons.len() < REASONS_MAX && !self.report.reasons.contains(&why) {
                    self.report.reasons.push(why);
                }
                code = 1 + u64::from(failed.code());
                Vec::new()
            }
        };
        let mut end = EventBuf::new(&Tick { reserved: [code, 0], ..Tick::default() });
        end.head_mut().seq = number;
        reply.extend_from_slice(end.slots());
        place.reply = Some(reply);
    }

    /// The run is over: threads without a job end, the others have a moment.
    fn end(mut self) -> WorkersReport {
        let until = Instant::now() + GIVE_UP_AFTER;
        let mut threads = self.abandoned;
        // Their senders go with the seats: threads that wait for a task end.
        threads.extend(self.seats.into_iter().flatten().map(|seat| seat.thread));
        while threads.iter().any(|thread| !thread.is_finished()) && Instant::now() < until {
            thread::sleep(LOOK_EVERY);
        }
        let (over, stuck): (Vec<_>, Vec<_>) = threads.into_iter().partition(JoinHandle::is_finished);
        over.into_iter().for_each(|thread| _ = thread.join());
        self.report.left_behind = stuck.len();
        if !stuck.is_empty() {
            self.teller.tell(None, &format!("{} workers are still in their jobs: left behind", stuck.len()));
        }
        let made = self.report.kinds.iter_mut().zip(self.made.iter());
        made.for_each(|(kind, made)| kind.made = made.load(Ordering::Relaxed));
        self.report.untold = self.teller.end(until.max(Instant::now() + LAST_WORDS));
        self.report
    }
}

impl std::fmt::Debug for Jobs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut f = f.debug_struct("Jobs");
        f.field("workers", &self.workers).field("shards", &self.desks.len()).finish_non_exhaustive()
    }
}

/// The jobs thread. Its end takes 2 s at most: workers that are in a job then end with the process.
pub type JobsThread = Background<WorkersReport>;
