//! The requests of a shard, from wish to reply.
//!
//! ```text
//!  Ctx::request, at commit         at each instant of service T (a multiple of the service interval)
//!    wish ----> arrivals ----------> queue (merges, limits, priorities, expiry) ----> serving ----> handler: on_request
//!                 ^                    |  refused, expired                              |  |
//!                 | Retry: its policy  v                                                |  +--> reply: on_reply of who asked
//!                 +---------------- (waits) <-------------------------------------------+  |
//!                                      ends <----------------------------------------------+  served, failed
//!                                        +----> who asked: on_request_end
//! ```
//!
//! A job of [`Config::off_core`] is not served by a handler: it leaves the shard as a [`JobOrder`], and its reply comes back as events of a
//! ring of its own, in the order of the orders, each reply followed by a tick ([`crate::event::payload::Tick`]) that ends it: `seq` is
//! the order's number, `reserved[0]` 0 or 1 + a code of failure. A reply is due one job delay after the instant of
//! service, however long the job took: the shard does not go past that time without it. Replies come from outside and are not trusted: an end
//! that is of no job under way is counted and passed over; one of a later job fails those before it and that one
//! ([`ERROR_REPLY_LOST`]), since what came of its reply was taken for theirs.
//!
//! Promises:
//! - **What a wish comes to depends on its symbol alone**, as long as no shared limit acted: not on the number of shards, nor on how
//!   time was cut into steps. A wish of time t is looked at at the first multiple of the interval *after* t, whoever else
//!   made that instant come about; at T come, in this order, what timers of T do, then expiries, then ends, then requests.
//! - **Each wish has one end**, and who asked is told. A wish that is merged into a request keeps its name, gets every event of that
//!   request's reply and an end of its own. A request takes [`crate::limits::ASKERS_PER_REQUEST_MAX`] of them; the next equal wish becomes
//!   a request of its own.
//! - **Counted.** [`Counters`] has two equations that hold at every instant.
//! - **Bounded, no allocation** after construction. Full is an end: [`RequestEnd::Refused`].
//!
//! What it does not do: it calls no handler and sets no timer. [`Requests::turn`] says what is to be done, the shard does it.

use crate::event::Identity;
use crate::handler::{Ask, Job, JobSet, RequestEnd, RequestId, RequestRefusal, StagedWish};
use crate::limits::{KIND_ROWS, REQUESTS_MAX, SERVICE_BUDGET_MAX, TICK_NS};
use crate::queue::{Priority, RequestQueue, Waits};
use crate::retry::Names;
use crate::slab::{Handle, NONE, Slab, seed_of};
use crate::units::{SymbolId, UnixNanos};
use std::collections::VecDeque;

mod config;
mod counters;
mod jobs;
mod notice;
mod pending;
mod places;
mod snapshot;

pub use config::Config;
pub use counters::Counters;
pub use jobs::JobOrder;
pub(crate) use jobs::Replying;
pub use notice::Notice;
pub(crate) use notice::NoticeRow;
pub use places::Jobs;

use jobs::UnderWay;
use pending::{Arrival, Asker, Record};
use places::Places;

/// Code of the end of a request whose reply was lost: the end of a later job's came in its place, or was its own in that place, or whoever does
/// the jobs is gone.
pub const ERROR_REPLY_LOST: u16 = u16::MAX - 2;

/// What is to be done next at an instant of service.
#[derive(Clone, Copy, Debug)]
pub enum Turn {
    /// Tell who asked.
    End(Notice),
    /// Have it served, then say `Requests::served`, `Requests::failed` or `Requests::again`.
    Serve(Handle),
    /// Ask again: there was more to do than one step may.
    More,
    /// Nothing is left to be done at this instant.
    Nothing,
}

/// The queue of requests that handlers serve.
const HANDLERS: usize = 0;
/// The queue of requests that are done off the core.
const OFF_CORE: usize = 1;

/// See the [module](self).
#[derive(Debug)]
pub struct Requests {
    config: Config,
    jobs: JobSet,
    /// Those that are done off the core; empty without a ring for replies.
    off_core: JobSet,
    /// Orders to be taken, and all whose reply has not ended.
    orders: VecDeque<JobOrder>,
    under_way: VecDeque<UnderWay>,
    places: Places,
    ordered: u64,
    /// What is pending: [`HANDLERS`]', and what is done [`OFF_CORE`]. Apart, so that what waits for a place off the core keeps its age and holds
    /// up nobody else. `None` where nobody serves anything.
    queues: [Option<RequestQueue<u64>>; 2],
    records: Slab<Record>,
    askers: Slab<Asker>,
    arrivals: VecDeque<Arrival>,
    serving: VecDeque<Handle>,
    ends: VecDeque<Notice>,
    /// Wishes that may arrive between two instants of service, and ends that may wait to be told.
    wishes_max: u64,
    ends_max: usize,
    symbols: usize,
    /// The next instant of service; the largest time when there is nothing to do.
    due: UnixNanos,
    /// The instant of service that has begun.
    begun: UnixNanos,
    has_expired: bool,
    /// Events of replies of jobs off the core, by kind.
    by_kind: Box<[u64; KIND_ROWS]>,
    counters: Counters,
}

impl Requests {
    /// Requests for symbols `0..symbols`, for the jobs that somebody serves. Allocates all that it will ever need, which is next to
    /// nothing when there is no job.
    ///
    /// # Panics
    /// When a setting is out of its range: see [`Config`].
    #[must_use]
    pub fn new(config: &Config, symbols: usize, jobs: JobSet) -> Self {
        let Config { service_interval_ns, service_budget, .. } = *config;
        assert!(
            service_interval_ns > 0 && service_interval_ns.is_multiple_of(TICK_NS),
            "a service interval is a multiple of {TICK_NS} ns, not {service_interval_ns}"
        );
        assert!((1..=SERVICE_BUDGET_MAX).contains(&service_budget), "a budget is 1 to {SERVICE_BUDGET_MAX}");
        let places = Places::new(config);
        let all = jobs.union(config.off_core);
        let capacity = if all.is_empty() { 0 } else { config.queue.capacity };
        assert!(capacity <= REQUESTS_MAX, "at most {REQUESTS_MAX} requests, not {capacity}");
        let queues = [jobs, config.off_core.without(jobs)].map(|jobs| {
            (!jobs.is_empty()).then(|| RequestQueue::new(&crate::queue::Config { symbols, ..config.queue }))
        });
        // Who is not in the queue yet, and who is: twice as many can have asked, and all of them may be told at one instant.
        let wishes = (2 * capacity).max(crate::limits::STAGED_REQUESTS_MAX);
        Self {
            config: config.clone(),
            jobs,
            off_core: JobSet::EMPTY,
            orders: VecDeque::with_capacity(config.jobs_max),
            under_way: VecDeque::with_capacity(config.jobs_max),
            places,
            ordered: 0,
            queues,
            records: Slab::new(capacity, seed_of("requests", config.queue.instance)),
            askers: Slab::new(2 * capacity, seed_of("askers", config.queue.instance)),
            // Beside the wishes each request may come back once.
            arrivals: VecDeque::with_capacity(wishes + capacity),
            serving: VecDeque::with_capacity(service_budget),
            ends: VecDeque::with_capacity(2 * wishes),
            wishes_max: wishes as u64,
            ends_max: 2 * wishes,
            symbols,
            due: UnixNanos::UNKNOWN,
            begun: UnixNanos::ZERO,
            has_expired: true,
            by_kind: Box::new([0; KIND_ROWS]),
            counters: Counters::default(),
        }
    }

    /// A handler has asked, and its call is done. O(1).
    pub(crate) fn ask(&mut self, now: UnixNanos, symbol: SymbolId, wish: &StagedWish) {
        self.counters.asked += 1;
        if self.counters.arriving == self.wishes_max {
            self.refuse(symbol, wish, RequestRefusal::QueueFull);
        } else {
            self.arrivals.push_back(Arrival::Wish(now, symbol, *wish));
            self.counters.arriving += 1;
        }
        self.look_after(now);
    }

    /// The retry of a request is due. O(1).
    pub(crate) fn retry(&mut self, now: UnixNanos, request: Handle) {
        // As many as there are requests, which all found room as wishes.
        self.arrivals.push_back(Arrival::Again(now, request));
        self.look_after(now);
    }

    /// The next instant at which there is something to do; [`UnixNanos::UNKNOWN`], which is the largest, when there is nothing.
    #[inline]
    #[must_use]
    pub const fn due(&self) -> UnixNanos {
        self.due
    }

    /// What is next at the instant `now`, which is [`Requests::due`]. Ask until it is [`Turn::Nothing`]. O(log n); O(arrivals and
    /// budget) when the instant begins.
    pub fn turn(&mut self, now: UnixNanos) -> Turn {
        if self.begun < now {
            self.begun = now;
            self.places.skip_to(now, self.config.service_interval_ns);
            self.has_expired = false;
            self.take_arrivals(now);
        }
        if !self.has_expired {
            if self.expire(now) {
                return Turn::More;
            }
            self.has_expired = true;
            self.choose(now);
        }
        if let Some(notice) = self.ends.pop_front() {
            return Turn::End(notice);
        }
        while let Some(request) = self.serving.pop_front() {
            if !self.order(now, request) {
                return Turn::Serve(request);
            }
        }
        self.places.sample(now, self.waiting_for_places(), self.under_way.len());
        self.due = UnixNanos::UNKNOWN;
        // An empty deque begins at its beginning again: it does not go through all of its memory.
        self.ends.clear();
        if self.arrivals.is_empty() {
            self.arrivals.clear();
        }
        if !self.arrivals.is_empty() || self.queues().any(|queue| queue.peek().is_some()) {
            self.look_after(now);
        }
        if let Some(expiry) = self.queues().filter_map(RequestQueue::next_expiry_hint).min() {
            self.due = self.due.min(self.instant_from(expiry.max(now.saturating_add(1))));
        }
        Turn::Nothing
    }

    /// What the handler is given for a request. `None` when the handle is stale.
    #[must_use]
    pub fn ask_of(&self, request: Handle) -> Option<Ask> {
        let record = self.records.get(request)?;
        Some(Ask {
            request: record.first,
            symbol: record.symbol,
            job: record.job,
            groups: record.groups,
            priority: Priority::new(record.class).unwrap_or(Priority::LAST),
            token: record.token,
            queued_at: record.queued_at,
            expires_at: record.expires_at,
            asked: record.asked,
            attempt: record.attempts + 1,
        })
    }

    /// The event during which a request was made first. `None` when the handle is stale.
    #[must_use]
    pub fn cause_of(&self, request: Handle) -> Option<Identity> {
        self.records.get(request).map(|record| record.cause)
    }

    /// The first of those who asked for a request, for [`Requests::asker`].
    #[must_use]
    pub fn first_asker(&self, request: Handle) -> Option<u32> {
        self.records.get(request).map(|record| record.askers[0]).filter(|asker| *asker != NONE)
    }

    /// Handler and name of one who asked, and the next of them.
    #[must_use]
    pub fn asker(&self, asker: u32) -> (u16, RequestId, Option<u32>) {
        let Asker { handler, id, next, .. } = *self.askers.at(asker);
        (handler, id, (next != NONE).then_some(next))
    }

    /// The request was served, and its reply given out.
    pub(crate) fn served(&mut self, request: Handle) {
        self.counters.served += 1;
        self.finish(request, RequestEnd::Served);
    }

    /// Whoever serves it has failed: it is to be served again at the returned time, when [`Requests::retry`] is to be told; `None`: it is
    /// over.
    pub(crate) fn again(
        &mut self,
        request: Handle,
        code: u16,
        seed: u64,
        names: Names,
        now: UnixNanos,
    ) -> Option<UnixNanos> {
        let record = self.records.get_mut(request)?;
        record.attempts += 1;
        let due = self.config.retry.next(seed, &record.cause, names, record.attempts, now);
        match due {
            Some(_) => {
                self.counters.retries += 1;
                self.counters.waiting += 1;
                self.counters.in_flight -= 1;
                // It is not with the handler any more.
                let (symbol, job) = (record.symbol, record.job);
                self.leave_flight(symbol, job);
            }
            None => self.failed(request, code),
        }
        due
    }

    /// Whoever serves it gave up, and it does not come again.
    pub(crate) fn failed(&mut self, request: Handle, code: u16) {
        self.counters.failed += 1;
        self.finish(request, RequestEnd::Failed(code));
    }

    /// Calls that told who asked and failed.
    pub(crate) fn note_failed_replies(&mut self, calls: u64) {
        self.counters.replies_failed += calls;
    }

    /// A request that waits for its retry can have no timer.
    pub(crate) fn lost(&mut self, request: Handle, code: u16) {
        self.counters.failed += 1;
        self.counters.waiting -= 1;
        self.end(request, RequestEnd::Failed(code));
    }

    /// Takes all pending requests of a symbol out; who asked is told at the next instant of service. Returns how many.
    /// O(requests of the symbol).
    pub fn clear(&mut self, now: UnixNanos, symbol: SymbolId) -> usize {
        let (mut queues, mut cleared) = (std::mem::take(&mut self.queues), 0);
        for queue in queues.iter_mut().flatten() {
            cleared += queue.clear(symbol, |pending| {
                self.counters.cleared += 1;
                self.counters.pending -= 1;
                self.end(Handle::from_bits(pending.request.payload), RequestEnd::Cleared);
            });
        }
        self.queues = queues;
        if cleared > 0 {
            self.look_after(now);
        }
        cleared
    }

    /// What happened so far.
    #[must_use]
    pub const fn counters(&self) -> &Counters {
        &self.counters
    }

    /// How long requests waited before they were served. `None` where nobody serves anything. Allocates: for reports.
    #[must_use]
    pub fn waits(&self) -> Option<Waits> {
        let mut queues = self.queues();
        let mut waits = queues.next()?.waits().clone();
        queues.for_each(|queue| waits.add(queue.waits()));
        Some(waits)
    }

    /// The symbol with the most pending requests, and how many; of several the one with the least id. O(symbols): for reports.
    #[must_use]
    pub fn hottest(&self) -> Option<(SymbolId, usize)> {
        let symbols = (0..self.symbols as u32).map(SymbolId);
        let (most, symbol) = symbols
            .map(|symbol| (self.pending(symbol), symbol))
            .max_by_key(|(most, symbol)| (*most, u32::MAX - symbol.0))?;
        (most > 0).then_some((symbol, most))
    }

    /// Pending requests of a symbol. O(1).
    #[must_use]
    pub fn pending(&self, symbol: SymbolId) -> usize {
        self.queues().map(|queue| queue.pending(symbol)).sum()
    }

    /// Events of replies of jobs off the core that were taken, by [`Kind::row`](crate::event::Kind::row).
    #[must_use]
    pub const fn events_by_kind(&self) -> &[u64; KIND_ROWS] {
        &self.by_kind
    }

    /// Whether nothing is pending, waits or is to be told.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.records.is_empty() && self.arrivals.is_empty() && self.ends.is_empty() && self.under_way.is_empty()
    }

    /// Bytes on the heap.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.queues().map(RequestQueue::bytes).sum::<usize>()
            + self.records.bytes()
            + self.askers.bytes()
            + self.arrivals.capacity() * size_of::<Arrival>()
            + self.serving.capacity() * size_of::<Handle>()
            + self.ends.capacity() * size_of::<Notice>()
            + self.orders.capacity() * size_of::<JobOrder>()
            + self.under_way.capacity() * size_of::<UnderWay>()
    }

    /// A request for this job is not in flight any more.
    fn leave_flight(&mut self, symbol: SymbolId, job: Job) {
        if let Some(queue) = self.place_of(job).and_then(|place| self.queues[place].as_mut()) {
            queue.finish(symbol);
        }
    }

    /// The first instant of service after `now`.
    fn look_after(&mut self, now: UnixNanos) {
        self.due = self.due.min(self.instant_from(now.saturating_add(1)));
    }

    /// The first instant of service that is not before `at`.
    fn instant_from(&self, at: UnixNanos) -> UnixNanos {
        at.round_up(self.config.service_interval_ns)
    }

    /// A request in flight is over.
    fn finish(&mut self, request: Handle, end: RequestEnd) {
        self.counters.in_flight -= 1;
        if let Some((symbol, job)) = self.records.get(request).map(|record| (record.symbol, record.job)) {
            self.leave_flight(symbol, job);
        }
        self.end(request, end);
    }

    /// A request is over: those who asked are to be told, and nothing of it is left.
    fn end(&mut self, request: Handle, end: RequestEnd) {
        let Some(record) = self.records.remove(request) else { return };
        let mut next = record.askers[0];
        while next != NONE {
            let asker = *self.askers.at(next);
            self.askers.remove(self.askers.handle_at(next));
            next = asker.next;
            self.notify(Notice {
                id: asker.id,
                symbol: record.symbol,
                handler: asker.handler,
                cause: asker.cause,
                end,
            });
        }
    }

    fn refuse(&mut self, symbol: SymbolId, staged: &StagedWish, reason: RequestRefusal) {
        self.counters.refused_by[reason as usize] += 1;
        let (id, handler, cause) = (staged.id, staged.handler, staged.cause);
        self.notify(Notice { id, symbol, handler, cause, end: RequestEnd::Refused(reason) });
    }

    fn notify(&mut self, notice: Notice) {
        if self.ends.len() == self.ends_max {
            self.counters.untold += 1;
        } else {
            self.ends.push_back(notice);
        }
    }
}
