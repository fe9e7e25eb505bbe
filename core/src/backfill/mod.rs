//! Who wants which history, what of it is being read, and what has come: the manager of backfills, a state machine.
//!
//! ```text
//!            begins in what is remembered ----------------> Completed, as far as that goes
//!  ask ----> goes on in a job in flight -------- joined --> waits for that job
//!            the rest touches a pending job ---- merged --> pending: one job for both ----+
//!            else ------------------------------ queued --> pending: a job of its own ----+
//!                                                                                         | begin: limits, priority, age
//!   told, once, when all of its jobs have ended <---- end <---- reply: take, in order <---+
//!                                                      +------> remembered: by age and by count
//! ```
//!
//! Promises:
//! - **Nothing is read twice that need not be.** Pending jobs of one symbol and the same kinds whose ranges touch are one job. What is in
//!   flight or remembered is not asked for again, as far as it is at the front of what is wanted: behind a hole it is, since whoever asked
//!   gets all of it in order. What is remembered came to whoever takes events of the past, and to those who had asked: who gets them by replies alone and asks
//!   later has it read again ([`Backfills::ask_for_reply`]), for those who ask so alone.
//! - **Who asked gets each event once, in order of time, and one end**: not the events that others wanted beside.
//! - **What is remembered is bounded by age and by count**: the oldest goes first. Age is looked at by every ask, so that it does not matter
//!   when [`Backfills::forget`] is called.
//! - **A job that is cancelled stays in flight until its reply has ended**: what comes of it is dropped and counted. So limits and order do
//!   not depend on how soon whoever reads hears of it.
//! - **No allocation** after construction. Refusals are values, and counted.
//!
//! The time of an event of a reply is the largest `ts_recv` of the reply so far: capture times go back now and then, and nothing of a
//! range is lost by that. What it does not do: it reads nothing, and knows no clock. It calls nobody: [`Backfills::end`] and
//! [`Backfills::cancel`] say who is to be told.

mod check;
mod counters;
mod desk;
mod entry;
mod snapshot;

pub use counters::Counters;
pub use desk::{Desk, DeskConfig, DeskCounters, ERROR_REPLY_LOST, HistoryOrder};
pub(crate) use desk::{Reply, Turn};
pub use entry::{Asker, Order, Range, Want};

use crate::event::Kind;
use crate::limits::{
    BACKFILL_ASKS_MAX, BACKFILL_IN_FLIGHT_DEFAULT, BACKFILL_IN_FLIGHT_MAX, BACKFILL_IN_FLIGHT_SYMBOL_MAX,
    BACKFILL_JOBS_DEFAULT, BACKFILL_JOBS_MAX, BACKFILL_REMEMBER_NS_DEFAULT, BACKFILL_REMEMBERED_DEFAULT,
    BACKFILL_REMEMBERED_MAX, BACKFILL_SYMBOL_DEFAULT, REQUEST_AGING_NS_DEFAULT, REQUEST_AGING_NS_MAX,
};
use crate::slab::{Handle, NONE, Slab, seed_of};
use crate::units::{SymbolId, UnixNanos};
use bytemuck::Zeroable;
use entry::{Ask, CANCELLED, Done, Job, Link, ORDERED, PENDING, REPLYING};
use std::collections::VecDeque;

/// Settings of the manager of one shard.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Config {
    /// Jobs, pending and in flight, 1 to [`BACKFILL_JOBS_MAX`]. Shared by the symbols.
    pub jobs: usize,
    /// Those who wait for jobs, 1 to [`BACKFILL_ASKS_MAX`]. Shared by the symbols.
    pub asks: usize,
    /// Pending jobs of one symbol, at least 1.
    pub jobs_per_symbol: usize,
    /// Jobs in flight, 1 to [`BACKFILL_IN_FLIGHT_MAX`]. Shared by the symbols.
    pub in_flight: usize,
    /// Jobs of one symbol in flight, 1 to [`BACKFILL_IN_FLIGHT_SYMBOL_MAX`].
    pub in_flight_per_symbol: usize,
    /// Head start of one priority class over the next, ns, at most [`REQUEST_AGING_NS_MAX`].
    pub aging_step_ns: u64,
    /// Completed ranges that are remembered, at most [`BACKFILL_REMEMBERED_MAX`]. Shared by the symbols.
    pub remembered: usize,
    /// Age at which a completed range is forgotten, ns.
    pub remember_ns: u64,
    /// Instance, so that other managers refuse the handles of this one.
    pub instance: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            jobs: BACKFILL_JOBS_DEFAULT,
            asks: 4 * BACKFILL_JOBS_DEFAULT,
            jobs_per_symbol: BACKFILL_SYMBOL_DEFAULT,
            in_flight: BACKFILL_IN_FLIGHT_DEFAULT,
            in_flight_per_symbol: 1,
            aging_step_ns: REQUEST_AGING_NS_DEFAULT,
            remembered: BACKFILL_REMEMBERED_DEFAULT,
            remember_ns: BACKFILL_REMEMBER_NS_DEFAULT,
            instance: 0,
        }
    }
}

/// Why history was not asked for.
#[repr(u8)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Refused {
    /// Its range has no instant, or it names no kind.
    Empty = 0,
    /// As many wait as may.
    AsksFull = 1,
    /// As many jobs are there as may be.
    JobsFull = 2,
    /// As many jobs of the symbol are pending as may be.
    SymbolFull = 3,
}

impl Refused {
    /// Every reason, by number.
    pub const ALL: [Self; 4] = [Self::Empty, Self::AsksFull, Self::JobsFull, Self::SymbolFull];

    /// Name in JSON (`refused_by`).
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::AsksFull => "asks_full",
            Self::JobsFull => "jobs_full",
            Self::SymbolFull => "symbol_full",
        }
    }
}

/// What became of an ask. The handle names it until its end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum Asked {
    /// All of it has come, and is remembered: there is nothing to wait for.
    Completed,
    /// All of it is being read by jobs in flight.
    Joined(Handle),
    /// It is part of a job that was pending.
    Merged(Handle),
    /// It is a job of its own.
    Queued(Handle),
    /// It is not taken.
    Refused(Refused),
}

/// How an ask ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// All of it has come.
    Served,
    /// Not all of it came; the code of the first job that failed.
    Failed(u16),
    /// It was taken back.
    Cancelled,
}

/// Somebody is to be told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Told {
    /// Who asked.
    pub asker: Asker,
    /// For which symbol.
    pub symbol: SymbolId,
    /// What became of it.
    pub end: End,
}

/// What an event of a reply is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum Taken {
    /// The next event: [`Backfills::first_link`] has those who want it.
    Next,
    /// Nobody wants it any more. Counted.
    Late,
    /// It is not what was ordered: of another symbol or kind, or outside of the range. Counted.
    Unfit,
    /// No such job is in flight.
    Stale,
}

/// Jobs in flight and the part of a want that is theirs.
type Parts = [(u32, Range); BACKFILL_IN_FLIGHT_SYMBOL_MAX];
const NO_PARTS: Parts = [(NONE, Range::new(UnixNanos::ZERO, UnixNanos::ZERO)); BACKFILL_IN_FLIGHT_SYMBOL_MAX];

/// See the [module](self).
#[derive(Debug)]
pub struct Backfills {
    config: Config,
    jobs: Slab<Job>,
    asks: Slab<Ask>,
    links: Slab<Link>,
    /// Jobs in flight, in the order in which they began.
    flying: Vec<u32>,
    /// By time; the first is the oldest.
    done: VecDeque<Done>,
    now: UnixNanos,
    sequence: u64,
    counters: Counters,
}

impl Backfills {
    /// A manager that knows of nothing. Allocates all that it will ever need.
    ///
    /// # Panics
    /// When a setting is out of its range: see [`Config`].
    #[must_use]
    pub fn new(config: &Config) -> Self {
        let Config { jobs, asks, in_flight, in_flight_per_symbol, remembered, instance, .. } = *config;
        assert!((1..=BACKFILL_JOBS_MAX).contains(&jobs), "1 to {BACKFILL_JOBS_MAX} jobs, not {jobs}");
        assert!((1..=BACKFILL_ASKS_MAX).contains(&asks), "1 to {BACKFILL_ASKS_MAX} who wait, not {asks}");
        assert!(config.jobs_per_symbol > 0, "at least 1 job of a symbol may be pending");
        assert!(
            (1..=BACKFILL_IN_FLIGHT_MAX).contains(&in_flight),
            "1 to {BACKFILL_IN_FLIGHT_MAX} in flight, not {in_flight}"
        );
        assert!(
            (1..=BACKFILL_IN_FLIGHT_SYMBOL_MAX).contains(&in_flight_per_symbol),
            "1 to {BACKFILL_IN_FLIGHT_SYMBOL_MAX} of one symbol in flight, not {in_flight_per_symbol}"
        );
        assert!(
            config.aging_step_ns <= REQUEST_AGING_NS_MAX && remembered <= BACKFILL_REMEMBERED_MAX,
            "aging at most {REQUEST_AGING_NS_MAX} ns, at most {BACKFILL_REMEMBERED_MAX} remembered"
        );
        Self {
            config: *config,
            jobs: Slab::new(jobs, seed_of("backfill jobs", instance)),
            asks: Slab::new(asks, seed_of("backfill asks", instance)),
            // One who waits has at most a link to each job of the symbol in flight, and one to a pending job.
            links: Slab::new(asks * (in_flight_per_symbol.min(in_flight) + 1), seed_of("backfill links", instance)),
            flying: Vec::with_capacity(in_flight),
            done: VecDeque::with_capacity(remembered),
            now: UnixNanos::ZERO,
            sequence: 0,
            counters: Counters::default(),
        }
    }

    /// Somebody wants history. An earlier `now` counts as the latest one so far. O(jobs + remembered).
    pub fn ask(&mut self, now: UnixNanos, want: &Want, asker: Asker) -> Asked {
        self.ask_as(now, want, asker, false)
    }

    /// As [`Backfills::ask`], for one who gets history by replies alone: what is remembered came to others, and not to it. It is read again, in a job
    /// that is for those who ask so alone.
    pub fn ask_for_reply(&mut self, now: UnixNanos, want: &Want, asker: Asker) -> Asked {
        self.ask_as(now, want, asker, true)
    }

    fn ask_as(&mut self, now: UnixNanos, want: &Want, asker: Asker, is_by_reply: bool) -> Asked {
        self.forget(now);
        self.counters.asked += 1;
        let kinds = want.kinds.bits();
        if want.range.is_empty() || kinds == 0 {
            return self.refuse(Refused::Empty);
        }
        let (mut parts, mut joined, mut rest) = (NO_PARTS, 0, want.range);
        let again = is_by_reply && self.known_part(want, false, &mut parts, &mut joined, &mut rest);
        if !is_by_reply || again {
            (joined, rest) = (0, want.range);
            let _ = self.known_part(want, again, &mut parts, &mut joined, &mut rest);
        }
        if rest.is_empty() && joined == 0 {
            self.counters.completed += 1;
            return Asked::Completed;
        }
        if self.asks.is_full() {
            return self.refuse(Refused::AsksFull);
        }
        let merged = if rest.is_empty() { None } else { self.mergeable(want.symbol, kinds, &rest, again) };
        if !rest.is_empty() && merged.is_none() {
            if self.pending_of(want.symbol) >= self.config.jobs_per_symbol {
                return self.refuse(Refused::SymbolFull);
            }
            if self.jobs.is_full() {
                return self.refuse(Refused::JobsFull);
            }
        }
        let ask = Ask { asker, kinds, symbol: want.symbol, left: 0, failed: 0, pad: 0 };
        let Ok(handle) = self.asks.insert(ask) else { unreachable!("it was looked at before") };
        self.counters.waiting += 1;
        for (job, range) in &parts[..joined] {
            self.link(*job, handle.index(), *range);
        }
        match merged {
            _ if rest.is_empty() => {
                self.counters.joined += 1;
                Asked::Joined(handle)
            }
            Some(job) => {
                self.extend(job, kinds, &rest, want.priority.class());
                self.link(job, handle.index(), rest);
                self.counters.merged += 1;
                Asked::Merged(handle)
            }
            None => {
                let job = self.make_job(want, rest, again);
                self.link(job, handle.index(), rest);
                self.counters.queued += 1;
                Asked::Queued(handle)
            }
        }
    }

    /// The job that is to be done next: the most urgent one whose symbol may have one more in flight, by the time at which it was
    /// asked for first and its class. `None` when nothing may begin. O(jobs x in flight).
    pub fn begin(&mut self, now: UnixNanos) -> Option<Order> {
        self.now = self.now.max(now);
        if self.counters.pending == 0 {
            return None;
        }
        let key = |job: &Job| {
            let head_start = u64::from(job.class) * self.config.aging_step_ns;
            (job.queued_at.saturating_add(head_start), job.sequence)
        };
        let may_begin =
            |job: &Job| job.state == PENDING && self.flying_of(job.symbol) < self.config.in_flight_per_symbol;
        let next = self.jobs.iter().filter(|(_, job)| may_begin(job)).min_by_key(|(_, job)| key(job));
        let (handle, _) = next?;
        if self.flying.len() == self.config.in_flight {
            self.counters.held_back += 1;
            return None;
        }
        let sequence = self.next_sequence();
        let job = self.jobs.get_mut(handle)?;
        (job.state, job.sequence, job.time) = (ORDERED, sequence, job.range.from);
        let want = job.want();
        self.flying.push(handle.index());
        self.counters.pending -= 1;
        self.counters.in_flight += 1;
        Some(Order { job: handle, want })
    }

    /// An event of the reply to `job` has come, received at `ts_recv`. [`Kind::BACKFILL_DONE`] tells how the reading ended: it has no time,
    /// and everybody gets it. O(1).
    pub fn take(&mut self, job: Handle, symbol: SymbolId, kind: Kind, ts_recv: UnixNanos) -> Taken {
        let Some(job) = self.jobs.get_mut(job).filter(|job| job.is_in_flight()) else { return Taken::Stale };
        if job.state == CANCELLED {
            self.counters.late += 1;
            return Taken::Late;
        }
        let is_end = kind == Kind::BACKFILL_DONE;
        let time = if is_end { job.time } else { job.time.max(ts_recv) };
        let is_wanted = is_end || job.want().kinds.contains(kind);
        if symbol != job.symbol || !is_wanted || time >= job.range.to {
            self.counters.unfit += 1;
            return Taken::Unfit;
        }
        (job.state, job.time) = (REPLYING, time);
        self.counters.events += 1;
        Taken::Next
    }

    /// The first of those who want the event that `job` was given last, for [`Backfills::asker`]. O(links of the job).
    #[must_use]
    pub fn first_link(&self, job: Handle, kind: Kind) -> Option<u32> {
        let job = self.jobs.get(job)?;
        self.wanting(job, job.links[0], kind)
    }

    /// Who is behind a link of `job`, and the next one who wants the event.
    #[must_use]
    pub fn asker(&self, job: Handle, link: u32, kind: Kind) -> (Asker, Option<u32>) {
        let Link { ask, next, .. } = *self.links.at(link);
        let following = self.jobs.get(job).and_then(|job| self.wanting(job, next, kind));
        (self.asks.at(ask).asker, following)
    }

    /// The reply to `job` has ended, with a code where it failed. Those who wait for nothing else are told. False, and nothing done, when
    /// no such job is in flight. O(links of the job + in flight).
    pub fn end(&mut self, now: UnixNanos, job: Handle, code: Option<u16>, mut tell: impl FnMut(Told)) -> bool {
        self.forget(now);
        let Some(done) = self.jobs.get(job).filter(|job| job.is_in_flight()).copied() else { return false };
        self.jobs.remove(job);
        self.flying.retain(|index| *index != job.index());
        self.counters.in_flight -= 1;
        match (done.state, code) {
            (CANCELLED, _) => self.counters.jobs_cancelled += 1,
            (_, None) => {
                self.counters.jobs_done += 1;
                self.remember(&done);
            }
            (_, Some(_)) => self.counters.jobs_failed += 1,
        }
        let mut next = done.links[0];
        while next != NONE {
            let link = *self.links.at(next);
            self.links.remove(self.links.handle_at(next));
            next = link.next;
            let ask = self.asks.at_mut(link.ask);
            ask.left -= 1;
            if let (Some(code), 0) = (code, ask.failed) {
                ask.failed = 1 + u32::from(code);
            }
            if ask.left > 0 {
                continue;
            }
            let Ask { asker, symbol, failed, .. } = *ask;
            self.asks.remove(self.asks.handle_at(link.ask));
            self.counters.waiting -= 1;
            let end = match failed {
                0 => {
                    self.counters.served += 1;
                    End::Served
                }
                code => {
                    self.counters.failed += 1;
                    End::Failed((code - 1) as u16)
                }
            };
            tell(Told { asker, symbol, end });
        }
        true
    }

    /// Takes an ask back: it gets no event more. A pending job that nobody else waits for is gone with it; one in flight is named to
    /// `stop`, and what still comes of it is dropped. Returns who is to be told; `None` when the handle is stale.
    /// O(jobs + their links).
    pub fn cancel(&mut self, ask: Handle, mut stop: impl FnMut(Handle)) -> Option<Told> {
        let Ask { asker, symbol, .. } = self.asks.remove(ask)?;
        self.counters.waiting -= 1;
        self.counters.cancelled += 1;
        for at in 0..self.jobs.capacity() as u32 {
            if !self.jobs.is_used(at) || !self.unlink(at, ask.index()) || self.jobs.at(at).links != [NONE; 2] {
                continue;
            }
            let handle = self.jobs.handle_at(at);
            if self.jobs.at(at).state == PENDING {
                self.jobs.remove(handle);
                self.counters.pending -= 1;
                self.counters.jobs_cancelled += 1;
            } else {
                self.jobs.at_mut(at).state = CANCELLED;
                stop(handle);
            }
        }
        Some(Told { asker, symbol, end: End::Cancelled })
    }

    /// The ask of a symbol that this asker's request names; [`crate::handler::RequestId::NONE`] finds the first one of the symbol.
    /// O(asks).
    #[must_use]
    pub fn find(&self, symbol: SymbolId, id: crate::handler::RequestId) -> Option<Handle> {
        let is_it = |ask: &Ask| ask.symbol == symbol && (id.0 == 0 || ask.asker.id == id);
        let first = self.asks.iter().filter(|(_, ask)| is_it(ask)).min_by_key(|(_, ask)| ask.asker.id);
        first.map(|(handle, _)| handle)
    }

    /// Handler of an ask. `None` when the handle is stale.
    fn handler_of(&self, ask: Handle) -> Option<u16> {
        self.asks.get(ask).map(|ask| ask.asker.handler)
    }

    /// Whether the events of `job` are for those who asked alone: everybody else has had them.
    fn reads_again(&self, job: Handle) -> bool {
        self.jobs.get(job).is_some_and(|job| job.again == 1)
    }

    /// The first of those who wait for a job.
    fn first_asker(&self, job: Handle) -> Option<Asker> {
        let link = self.jobs.get(job).map(|job| job.links[0]).filter(|link| *link != NONE)?;
        Some(self.asks.at(self.links.at(link).ask).asker)
    }

    /// Forgets what was completed so long ago that it is not remembered any more. O(forgotten).
    pub fn forget(&mut self, now: UnixNanos) {
        self.now = self.now.max(now);
        while self.done.front().is_some_and(|done| !self.is_remembered(done)) {
            self.done.pop_front();
            self.counters.forgotten_by_age += 1;
        }
    }

    /// Completed ranges that are remembered.
    #[must_use]
    pub fn remembered(&self) -> usize {
        self.done.len()
    }

    /// What happened so far.
    #[must_use]
    pub const fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Whether nobody waits and nothing is in flight.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.asks.is_empty() && self.jobs.is_empty()
    }

    /// Settings.
    #[must_use]
    pub const fn config(&self) -> &Config {
        &self.config
    }

    /// Bytes on the heap.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.jobs.bytes()
            + self.asks.bytes()
            + self.links.bytes()
            + self.flying.capacity() * size_of::<u32>()
            + self.done.capacity() * size_of::<Done>()
    }

    fn refuse(&mut self, reason: Refused) -> Asked {
        self.counters.refused_by[reason as usize] += 1;
        Asked::Refused(reason)
    }

    fn next_sequence(&mut self) -> u64 {
        self.sequence += 1;
        self.sequence - 1
    }

    fn is_remembered(&self, done: &Done) -> bool {
        done.at.0.checked_add(self.config.remember_ns).is_none_or(|until| until > self.now.0)
    }

    /// Jobs of a symbol in flight. O(in flight).
    fn flying_of(&self, symbol: SymbolId) -> usize {
        self.flying.iter().filter(|index| self.jobs.at(**index).symbol == symbol).count()
    }

    fn pending_of(&self, symbol: SymbolId) -> usize {
        self.jobs.iter().filter(|(_, job)| job.state == PENDING && job.symbol == symbol).count()
    }

    /// What of a want has come or is under way, from its front on: jobs in flight with the part that is theirs, their number, and the
    /// rest. Jobs are taken in the order in which their replies come only, so that the parts come in order of time. `again`: what has come does not count,
    /// and jobs that read again do. Returns whether anything that has come did.
    fn known_part(&self, want: &Want, again: bool, parts: &mut Parts, joined: &mut usize, rest: &mut Range) -> bool {
        let (symbol, kinds) = (want.symbol, want.kinds.bits());
        let (mut after, mut has_come) = (0, false);
        while !rest.is_empty() {
            let is_done = |done: &&Done| {
                done.symbol == symbol
                    && kinds & !done.kinds == 0
                    && done.range.contains(rest.from)
                    && self.is_remembered(done)
            };
            if let Some(done) = self.done.iter().find(is_done).filter(|_| !again) {
                (rest.from, has_come) = (done.range.to, true);
                continue;
            }
            let is_read = |index: &u32| {
                let job = self.jobs.at(*index);
                let is_open = job.state == ORDERED && job.again <= u8::from(again);
                is_open && job.reads(symbol, kinds) && job.range.contains(rest.from)
            };
            let Some(at) = self.flying[after..].iter().position(is_read) else { break };
            let index = self.flying[after + at];
            let until = self.jobs.at(index).range.to.min(want.range.to);
            parts[*joined] = (index, Range::new(rest.from, until));
            (*joined, after, rest.from) = (*joined + 1, after + at + 1, until);
        }
        has_come
    }

    /// A pending job that can take the range with it: one that reads the same kinds and touches it, else one that reads more kinds and all
    /// of it; the oldest, since places in memory depend on what other symbols ask for.
    fn mergeable(&self, symbol: SymbolId, kinds: u64, range: &Range, again: bool) -> Option<u32> {
        let is_alike = |job: &Job| job.state == PENDING && job.symbol == symbol && job.again == u8::from(again);
        let pending = || self.jobs.iter().filter(|(_, job)| is_alike(job));
        let touching = pending().filter(|(_, job)| job.kinds == kinds && job.range.touches(range));
        let covering = pending().filter(|(_, job)| kinds & !job.kinds == 0 && job.range.covers(range));
        let oldest = touching.min_by_key(|(_, job)| job.sequence);
        oldest.or_else(|| covering.min_by_key(|(_, job)| job.sequence)).map(|(handle, _)| handle.index())
    }

    fn make_job(&mut self, want: &Want, range: Range, again: bool) -> u32 {
        let job = Job {
            range,
            kinds: want.kinds.bits(),
            queued_at: self.now,
            sequence: self.next_sequence(),
            time: range.from,
            symbol: want.symbol,
            links: [NONE; 2],
            class: want.priority.class(),
            state: PENDING,
            again: u8::from(again),
            pad: 0,
        };
        self.counters.jobs_again += u64::from(again);
        let Ok(handle) = self.jobs.insert(job) else { unreachable!("it was looked at before") };
        self.counters.jobs += 1;
        self.counters.pending += 1;
        handle.index()
    }

    /// Makes a pending job reach over `range`, as urgent as `class` at least, and takes pending jobs into it that it touches then.
    fn extend(&mut self, at: u32, kinds: u64, range: &Range, class: u8) {
        let job = self.jobs.at_mut(at);
        job.class = job.class.min(class);
        if job.kinds != kinds {
            return; // It has all of the range.
        }
        job.range = job.range.hull(range);
        loop {
            let into = *self.jobs.at(at);
            let touched = self.jobs.iter().filter(|(other, job)| {
                other.index() != at
                    && job.state == PENDING
                    && (job.symbol, job.kinds, job.again) == (into.symbol, into.kinds, into.again)
                    && job.range.touches(&into.range)
            });
            let Some((other, _)) = touched.min_by_key(|(_, job)| job.sequence) else { return };
            let Some(taken) = self.jobs.remove(other) else { return };
            self.counters.pending -= 1;
            self.counters.jobs_absorbed += 1;
            if let Some(last) = Some(into.links[1]).filter(|last| *last != NONE) {
                self.links.at_mut(last).next = taken.links[0];
            }
            let job = self.jobs.at_mut(at);
            job.range = into.range.hull(&taken.range);
            job.class = into.class.min(taken.class);
            (job.queued_at, job.sequence) = (into.queued_at, into.sequence).min((taken.queued_at, taken.sequence));
            let first = if into.links[0] == NONE { taken.links[0] } else { into.links[0] };
            job.links = [first, taken.links[1]];
        }
    }

    /// One who asked waits for a part of what a job reads.
    fn link(&mut self, job: u32, ask: u32, range: Range) {
        let Ok(handle) = self.links.insert(Link { range, ask, next: NONE }) else {
            unreachable!("Invariant: there is a link for each who waits and each job that may be waited for")
        };
        self.asks.at_mut(ask).left += 1;
        let job = self.jobs.at_mut(job);
        let last = std::mem::replace(&mut job.links[1], handle.index());
        if last == NONE {
            job.links[0] = handle.index();
        } else {
            self.links.at_mut(last).next = handle.index();
        }
    }

    /// Takes the link of `ask` out of those of a job. False when there is none.
    fn unlink(&mut self, job: u32, ask: u32) -> bool {
        let (mut before, mut next) = (NONE, self.jobs.at(job).links[0]);
        while next != NONE {
            let link = *self.links.at(next);
            if link.ask != ask {
                (before, next) = (next, link.next);
                continue;
            }
            let job = self.jobs.at_mut(job);
            if job.links[1] == next {
                job.links[1] = before;
            }
            if before == NONE {
                job.links[0] = link.next;
            } else {
                self.links.at_mut(before).next = link.next;
            }
            self.links.remove(self.links.handle_at(next));
            return true;
        }
        false
    }

    /// The first link from `link` on of one who wants the event that the job was given last.
    fn wanting(&self, job: &Job, mut link: u32, kind: Kind) -> Option<u32> {
        while link != NONE {
            let Link { range, ask, next } = *self.links.at(link);
            let kinds = crate::event::KindSet::from_bits(self.asks.at(ask).kinds);
            if kind == Kind::BACKFILL_DONE || kinds.contains(kind) && range.contains(job.time) {
                return Some(link);
            }
            link = next;
        }
        None
    }

    /// What a job has read is known from now on.
    fn remember(&mut self, job: &Job) {
        if self.config.remembered == 0 || job.again == 1 {
            return;
        }
        if self.done.len() == self.config.remembered {
            self.done.pop_front();
            self.counters.forgotten_by_count += 1;
        }
        let Job { range, kinds, symbol, .. } = *job;
        self.done.push_back(Done { range, kinds, at: self.now, symbol, ..Done::zeroed() });
    }
}
