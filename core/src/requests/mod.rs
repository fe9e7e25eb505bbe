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
//! that is of no job under way is counted and passed over; one of a later job fails those before it ([`ERROR_REPLY_LOST`]).
//!
//! Promises:
//! - **What a wish comes to depends on its symbol alone**, as long as no shared limit acted: not on the number of shards, nor on how
//!   time was cut into steps. A wish of time t is looked at at the first multiple of the interval *after* t, whoever else
//!   made that instant come about; at T come, in this order, what timers of T do, then expiries, then ends, then requests.
//! - **Each wish has one end**, and who asked is told. A wish that is merged into a request keeps its name, gets every event of that
//!   request's reply and an end of its own. A request takes [`ASKERS_PER_REQUEST_MAX`] of them; the next equal wish becomes
//!   a request of its own.
//! - **Counted.** [`Counters`] has two equations that hold at every instant.
//! - **Bounded, no allocation** after construction. Full is an end: [`RequestEnd::Refused`].
//!
//! What it does not do: it calls no handler and sets no timer. [`Requests::turn`] says what is to be done, the shard does it.

mod counters;
mod places;

pub use counters::Counters;
pub use places::Jobs;

use crate::event::Identity;
use crate::handler::{Ask, Job, JobSet, RequestEnd, RequestId, RequestRefusal, StagedWish};
use crate::limits::{
    ASKERS_PER_REQUEST_MAX, EXPIRIES_PER_STEP, JOB_DELAY_NS_DEFAULT, JOBS_DEFAULT, JOBS_MIN_DEFAULT, REQUESTS_MAX,
    SERVICE_BUDGET_DEFAULT, SERVICE_BUDGET_MAX, SERVICE_INTERVAL_NS, TICK_NS,
};
use crate::queue::{Priority, Pushed, Request, RequestQueue, Waits};
use crate::retry::{Names, Policy};
use crate::slab::{Handle, NONE, Slab, seed_of};
use crate::units::{SymbolId, UnixNanos};
use bytemuck::{Pod, Zeroable};
use places::Places;
use std::collections::VecDeque;

/// Code of the end of a request whose reply was lost: that of a later job came in its place.
pub const ERROR_REPLY_LOST: u16 = u16::MAX - 2;

/// Settings of the requests of a shard.
#[derive(Clone, Debug)]
pub struct Config {
    /// Settings of the queue. Its symbols are those of the catalog. Requests that handlers serve and those that are done off the core share
    /// its capacity and its limit of pending requests of a symbol; what of a symbol is in flight is bounded for either.
    pub queue: crate::queue::Config,
    /// Requests are served at multiples of this, ns of shard time: a multiple of the tick, at least 1.
    pub service_interval_ns: u64,
    /// Requests served at one instant at most, 1 to [`SERVICE_BUDGET_MAX`]. Shared by the symbols of the shard.
    pub service_budget: usize,
    /// When a request is served again whose handler answered `Retry`.
    pub retry: Policy,
    /// Jobs that are done off the core, as far as no handler serves them, where the shard has a ring for replies
    /// ([`crate::shard::Shard::attach_jobs`]).
    pub off_core: JobSet,
    /// From the service of such a request to its reply, ns of shard time; rounded up to the tick.
    pub job_delay_ns: u64,
    /// Such jobs that may be under way at one time at most, 1 to [`crate::adaptive::LIMIT_MAX`]. Shared by the symbols of the shard: the others wait. (Of one
    /// symbol, [`crate::queue::Config::in_flight_per_symbol`] may.)
    pub jobs_max: usize,
    /// The least that this limit shrinks to, and what it begins with; a number outside of 1 to `jobs_max` counts as the nearer of the two.
    /// Between them it follows the backlog: see [`crate::adaptive`].
    pub jobs_min: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            queue: crate::queue::Config::default(),
            service_interval_ns: SERVICE_INTERVAL_NS,
            service_budget: SERVICE_BUDGET_DEFAULT,
            retry: Policy::STANDARD,
            off_core: JobSet::EMPTY,
            job_delay_ns: JOB_DELAY_NS_DEFAULT,
            jobs_max: JOBS_DEFAULT,
            jobs_min: JOBS_MIN_DEFAULT,
        }
    }
}

/// A job that is to be done off the core.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct JobOrder {
    /// Its number among the orders of the shard, from 1: replies come in this order.
    pub number: u64,
    /// Symbol that it is for.
    pub symbol: SymbolId,
    /// What is asked for.
    pub job: Job,
    /// Groups of all requests that it stands for.
    pub groups: u64,
    /// As asked.
    pub token: u64,
    /// How urgent it is.
    pub priority: Priority,
    /// Instant of service.
    pub ordered_at: UnixNanos,
    /// When its reply is due. The shard waits there.
    pub due: UnixNanos,
}

/// An order whose reply has not ended.
#[derive(Clone, Copy, Debug)]
struct UnderWay {
    number: u64,
    due: UnixNanos,
    request: Handle,
    /// Events of its reply so far.
    events: u64,
}

/// The request whose reply is next.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Replying {
    /// The request.
    pub(crate) request: Handle,
    /// Its symbol.
    pub(crate) symbol: SymbolId,
    /// What was asked for.
    pub(crate) job: Job,
    /// Names it among those of its symbol.
    pub(crate) first: RequestId,
    /// Events of the reply so far.
    pub(crate) events: u64,
}

/// What the end of a reply did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum ReplyEnd {
    /// The job that was next is over.
    Ended,
    /// It is the end of a later job: the one that was next has failed, and the end is to be looked at again.
    Lost,
    /// It is of no job under way.
    Stray,
}

/// A request that is pending or being served.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
struct Record {
    /// Of the wish that it began with.
    cause: Identity,
    first: RequestId,
    token: u64,
    groups: u64,
    queued_at: UnixNanos,
    expires_at: UnixNanos,
    symbol: SymbolId,
    asked: u32,
    /// First and last of those who asked.
    askers: [u32; 2],
    askers_len: u32,
    /// Calls so far.
    attempts: u16,
    job: Job,
    class: u8,
}

/// One who asked.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
struct Asker {
    id: RequestId,
    cause: Identity,
    next: u32,
    handler: u16,
    pad: u16,
}

/// What is looked at at the next instant of service.
#[derive(Clone, Copy, Debug)]
enum Arrival {
    Wish(UnixNanos, SymbolId, StagedWish),
    /// A request whose retry is due.
    Again(UnixNanos, Handle),
}

impl Arrival {
    const fn at(&self) -> UnixNanos {
        match self {
            Self::Wish(at, ..) | Self::Again(at, _) => *at,
        }
    }
}

/// The end of a request, to be told to who asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Notice {
    /// The request.
    pub id: RequestId,
    /// Its symbol.
    pub symbol: SymbolId,
    /// Who asked, as the bus numbers handlers.
    pub handler: u16,
    /// During which event.
    pub cause: Identity,
    /// What became of it.
    pub end: RequestEnd,
}

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

    /// There is a ring for replies: jobs of [`Config::off_core`] are taken on.
    pub(crate) fn accept_off_core(&mut self) {
        self.off_core = self.config.off_core;
    }

    /// Makes an order of a request that no handler serves. False when it is a handler's.
    fn order(&mut self, now: UnixNanos, request: Handle) -> bool {
        let Some(record) = self.records.get(request).copied() else { return true };
        if self.jobs.contains(record.job) {
            return false;
        }
        debug_assert!(
            self.under_way.len() < self.config.jobs_max,
            "Invariant: as many were chosen as there are places"
        );
        self.ordered += 1;
        let due = now.saturating_add(self.config.job_delay_ns).round_up(TICK_NS);
        let number = self.ordered;
        self.under_way.push_back(UnderWay { number, due, request, events: 0 });
        self.orders.push_back(JobOrder {
            number,
            symbol: record.symbol,
            job: record.job,
            groups: record.groups,
            token: record.token,
            priority: Priority::new(record.class).unwrap_or(Priority::LAST),
            ordered_at: now,
            due,
        });
        true
    }

    /// The next job to be done off the core. Replies are to come in the order in which jobs were taken.
    pub(crate) fn take_order(&mut self) -> Option<JobOrder> {
        self.orders.pop_front()
    }

    /// When the next reply of a job off the core is due; [`UnixNanos::UNKNOWN`], which is the largest, when none is under way.
    #[inline]
    #[must_use]
    pub fn reply_due(&self) -> UnixNanos {
        self.under_way.front().map_or(UnixNanos::UNKNOWN, |order| order.due)
    }

    /// The request whose reply is next, its symbol, and who it is among all.
    pub(crate) fn replying(&self) -> Option<Replying> {
        let UnderWay { request, events, .. } = *self.under_way.front()?;
        let Record { symbol, job, first, .. } = *self.records.get(request)?;
        Some(Replying { request, symbol, job, first, events })
    }

    /// One event more of the reply that is next.
    pub(crate) fn note_reply_event(&mut self) {
        if let Some(order) = self.under_way.front_mut() {
            order.events += 1;
        }
    }

    /// The end of the reply of order `number` has come, at the time at which the next one is due.
    pub(crate) fn end_reply(&mut self, now: UnixNanos, number: u64, code: Option<u16>) -> ReplyEnd {
        let Some(order) =
            self.under_way.front().copied().filter(|order| (order.number..=self.ordered).contains(&number))
        else {
            self.counters.stray_ends += 1;
            return ReplyEnd::Stray;
        };
        self.under_way.pop_front();
        let is_lost = order.number != number;
        self.counters.replies_lost += u64::from(is_lost);
        match if is_lost { Some(ERROR_REPLY_LOST) } else { code } {
            None => self.served(order.request),
            Some(code) => self.failed(order.request, code),
        }
        self.look_after(now);
        if is_lost { ReplyEnd::Lost } else { ReplyEnd::Ended }
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
    pub(crate) fn note_failed_replies(&mut self, calls: usize) {
        self.counters.replies_failed += calls as u64;
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

    /// Where the jobs that are done off the core stand. `None` where there is no ring for replies. O(1).
    #[must_use]
    pub fn jobs(&self) -> Option<Jobs> {
        let (grown, shrunk) = self.places.moves();
        (!self.off_core.is_empty()).then(|| Jobs {
            limit: self.places.limit(),
            under_way: self.under_way.len(),
            pending: self.queues[OFF_CORE].as_ref().map_or(0, RequestQueue::len),
            grown,
            shrunk,
        })
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

    fn queues(&self) -> impl Iterator<Item = &RequestQueue<u64>> {
        self.queues.iter().flatten()
    }

    /// Where requests for this job wait. `None` when nobody serves it.
    fn place_of(&self, job: Job) -> Option<usize> {
        if self.jobs.contains(job) { Some(HANDLERS) } else { self.off_core.contains(job).then_some(OFF_CORE) }
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

    /// Queues what arrived before `now`.
    fn take_arrivals(&mut self, now: UnixNanos) {
        while self.arrivals.front().is_some_and(|arrival| arrival.at() < now) {
            match self.arrivals.pop_front() {
                Some(Arrival::Wish(at, symbol, wish)) => {
                    self.counters.arriving -= 1;
                    self.queue_wish(at, symbol, &wish);
                }
                Some(Arrival::Again(at, request)) => self.queue_again(at, request),
                None => break,
            }
        }
    }

    fn queue_wish(&mut self, at: UnixNanos, symbol: SymbolId, staged: &StagedWish) {
        let StagedWish { wish, .. } = staged;
        let pending = self.pending(symbol);
        let Some(queue) = self.place_of(wish.job).and_then(|place| self.queues[place].as_mut()) else {
            self.refuse(symbol, staged, RequestRefusal::Unserved);
            return;
        };
        let request = |payload| Request {
            symbol,
            groups: wish.groups,
            priority: wish.priority,
            expires_at: wish.expires_at,
            payload,
        };
        let has_asker = !self.askers.is_full();
        let records = &self.records;
        let merged = queue.merge_if(at, &request(0), |payload| {
            records.get(Handle::from_bits(*payload)).is_some_and(|record| {
                record.job == wish.job
                    && record.token == wish.token
                    && record.askers_len < ASKERS_PER_REQUEST_MAX
                    && has_asker
            })
        });
        if let Some(merged) = merged {
            let pending = merged.handle().and_then(|handle| queue.get(handle));
            let Some(pending) = pending else { unreachable!("Invariant: what is merged is pending") };
            match merged {
                Pushed::Merged(_) => self.counters.merged += 1,
                _ => self.counters.joined += 1,
            }
            self.add_asker(Handle::from_bits(pending.request.payload), staged);
            return;
        }
        if self.records.is_full() || !has_asker {
            self.refuse(symbol, staged, RequestRefusal::QueueFull);
            return;
        }
        if pending >= self.config.queue.per_symbol as usize {
            self.refuse(symbol, staged, RequestRefusal::SymbolFull);
            return;
        }
        let record = Record {
            cause: staged.cause,
            first: staged.id,
            token: wish.token,
            symbol,
            askers: [NONE; 2],
            job: wish.job,
            ..Record::zeroed()
        };
        let Ok(handle) = self.records.insert(record) else { unreachable!("the slab is not full") };
        match queue.push_unmerged(at, request(handle.to_bits())) {
            Pushed::Queued(_) => {
                self.counters.queued += 1;
                self.counters.pending += 1;
                self.add_asker(handle, staged);
            }
            refused => {
                self.records.remove(handle);
                let is_symbols = refused == Pushed::SymbolFull;
                let reason = if is_symbols { RequestRefusal::SymbolFull } else { RequestRefusal::QueueFull };
                self.refuse(symbol, staged, reason);
            }
        }
    }

    /// A request whose retry is due goes into the queue again, or ends there.
    fn queue_again(&mut self, at: UnixNanos, handle: Handle) {
        let Some(record) = self.records.get(handle).copied() else { return };
        let has_room = self.pending(record.symbol) < self.config.queue.per_symbol as usize;
        let Some(queue) = self.place_of(record.job).and_then(|place| self.queues[place].as_mut()) else { return };
        let again = |queue: &mut RequestQueue<u64>| {
            queue.push_unmerged(
                at,
                Request {
                    symbol: record.symbol,
                    groups: record.groups,
                    priority: Priority::new(record.class).unwrap_or(Priority::LAST),
                    expires_at: record.expires_at,
                    payload: handle.to_bits(),
                },
            )
        };
        let pushed = if has_room { again(queue) } else { Pushed::SymbolFull };
        self.counters.waiting -= 1;
        match pushed {
            Pushed::Queued(_) => self.counters.pending += 1,
            refused => {
                let is_symbols = refused == Pushed::SymbolFull;
                let reason = if is_symbols { RequestRefusal::SymbolFull } else { RequestRefusal::QueueFull };
                self.counters.displaced += 1;
                self.end(handle, RequestEnd::Refused(reason));
            }
        }
    }

    fn add_asker(&mut self, handle: Handle, staged: &StagedWish) {
        let asker = Asker { id: staged.id, cause: staged.cause, next: NONE, handler: staged.handler, pad: 0 };
        let Ok(asker) = self.askers.insert(asker) else { unreachable!("it was looked at before") };
        let Some(record) = self.records.get_mut(handle) else { unreachable!("Invariant: a pending request is there") };
        record.asked += 1;
        record.askers_len += 1;
        let last = std::mem::replace(&mut record.askers[1], asker.index());
        if last == NONE {
            record.askers[0] = asker.index();
        } else {
            self.askers.at_mut(last).next = asker.index();
        }
    }

    /// Ends what has expired by `now`. True when there is more than one step may.
    fn expire(&mut self, now: UnixNanos) -> bool {
        let mut more_due = false;
        for place in [HANDLERS, OFF_CORE] {
            let Some(queue) = &mut self.queues[place] else { continue };
            let mut expired = [Handle::NULL; EXPIRIES_PER_STEP];
            let mut count = 0;
            let polled = queue.expire(now, EXPIRIES_PER_STEP, |pending| {
                expired[count] = Handle::from_bits(pending.request.payload);
                count += 1;
            });
            for request in &expired[..count] {
                self.counters.expired += 1;
                self.counters.pending -= 1;
                self.end(*request, RequestEnd::Expired);
            }
            more_due |= polled.more_due;
        }
        more_due
    }

    /// Chooses what is served at `now`: of both queues, what is next by effective time, as long as there are places off the core.
    fn choose(&mut self, now: UnixNanos) {
        let mut places = self.places.limit().saturating_sub(self.under_way.len());
        for _ in 0..self.config.service_budget {
            let Some(place) = self.next_place(places) else { break };
            let Some(pending) = self.queues[place].as_mut().and_then(|queue| queue.pop(now)) else { break };
            places -= usize::from(place == OFF_CORE);
            let handle = Handle::from_bits(pending.request.payload);
            if let Some(record) = self.records.get_mut(handle) {
                record.groups = pending.request.groups;
                record.class = pending.request.priority.class();
                record.expires_at = pending.request.expires_at;
                if record.attempts == 0 {
                    record.queued_at = pending.queued_at;
                }
                self.serving.push_back(handle);
                self.counters.pending -= 1;
                self.counters.in_flight += 1;
            }
        }
        self.counters.over_budget += u64::from(self.next_place(places).is_some());
        self.counters.jobs_full += u64::from(places == 0 && self.waiting_for_places() > 0);
    }

    /// Requests that wait for a place off the core; 0 when their symbols have as many in flight as they may.
    fn waiting_for_places(&self) -> usize {
        self.queues[OFF_CORE].as_ref().filter(|queue| queue.peek().is_some()).map_or(0, RequestQueue::len)
    }

    /// The queue whose first request is next, if there is one that may be served with `places` left off the core.
    fn next_place(&self, places: usize) -> Option<usize> {
        let first = |place: usize| {
            let pending = self.queues[place].as_ref()?.peek()?;
            let head_start = u64::from(pending.request.priority.class()) * self.config.queue.aging_step_ns;
            Some(pending.queued_at.saturating_add(head_start))
        };
        let off_core = if places > 0 { first(OFF_CORE) } else { None };
        match (first(HANDLERS), off_core) {
            (None, None) => None,
            (Some(handlers), Some(off_core)) if off_core < handlers => Some(OFF_CORE),
            (Some(_), _) => Some(HANDLERS),
            (None, Some(_)) => Some(OFF_CORE),
        }
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
