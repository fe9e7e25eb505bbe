//! From a wish to the service of a request: queued, merged, refused, expired, chosen.

use super::{HANDLERS, OFF_CORE, Requests};
use crate::event::Identity;
use crate::handler::{Job, RequestEnd, RequestId, RequestRefusal, StagedWish};
use crate::limits::{ASKERS_PER_REQUEST_MAX, EXPIRIES_PER_STEP};
use crate::queue::{Priority, Pushed, Request, RequestQueue};
use crate::slab::{Handle, NONE};
use crate::units::{SymbolId, UnixNanos};
use bytemuck::{Pod, Zeroable};

/// A request that is pending or being served.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub(super) struct Record {
    /// Of the wish that it began with.
    pub(super) cause: Identity,
    pub(super) first: RequestId,
    pub(super) token: u64,
    pub(super) groups: u64,
    pub(super) queued_at: UnixNanos,
    pub(super) expires_at: UnixNanos,
    pub(super) symbol: SymbolId,
    pub(super) asked: u32,
    /// First and last of those who asked.
    pub(super) askers: [u32; 2],
    pub(super) askers_len: u32,
    /// Calls so far.
    pub(super) attempts: u16,
    pub(super) job: Job,
    pub(super) class: u8,
}

/// One who asked.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub(super) struct Asker {
    pub(super) id: RequestId,
    pub(super) cause: Identity,
    pub(super) next: u32,
    pub(super) handler: u16,
    pub(super) pad: u16,
}

/// What is looked at at the next instant of service.
#[derive(Clone, Copy, Debug)]
pub(super) enum Arrival {
    Wish(UnixNanos, SymbolId, StagedWish),
    /// A request whose retry is due.
    Again(UnixNanos, Handle),
}

impl Arrival {
    pub(super) const fn at(&self) -> UnixNanos {
        match self {
            Self::Wish(at, ..) | Self::Again(at, _) => *at,
        }
    }
}

impl Requests {
    pub(super) fn queues(&self) -> impl Iterator<Item = &RequestQueue<u64>> {
        self.queues.iter().flatten()
    }

    /// Where requests for this job wait. `None` when nobody serves it.
    pub(super) fn place_of(&self, job: Job) -> Option<usize> {
        if self.jobs.contains(job) { Some(HANDLERS) } else { self.off_core.contains(job).then_some(OFF_CORE) }
    }

    /// Queues what arrived before `now`.
    pub(super) fn take_arrivals(&mut self, now: UnixNanos) {
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

    pub(super) fn queue_wish(&mut self, at: UnixNanos, symbol: SymbolId, staged: &StagedWish) {
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
    pub(super) fn queue_again(&mut self, at: UnixNanos, handle: Handle) {
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

    pub(super) fn add_asker(&mut self, handle: Handle, staged: &StagedWish) {
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
    pub(super) fn expire(&mut self, now: UnixNanos) -> bool {
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
    pub(super) fn choose(&mut self, now: UnixNanos) {
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

    /// The queue whose first request is next, if there is one that may be served with `places` left off the core.
    pub(super) fn next_place(&self, places: usize) -> Option<usize> {
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
}
