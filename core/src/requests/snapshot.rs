//! Requests as [sections](crate::section) of plain bytes, one after the other, and back.
//!
//! The first, "requests": settings, clock, counters, the limit on jobs, requests and those who asked, what has arrived, what is being served, orders,
//! what is under way, ends to be told. Behind it stand the sections of the queues: handlers', then that of jobs off the core, as far as there are any. The
//! length is that of what waits: rows that are not used are not written. How long requests have waited (a histogram) begins anew.

use super::jobs::UnderWay;
use super::pending::{Arrival, Asker, Record};
use super::{Config, Counters, HANDLERS, JobOrder, NoticeRow, OFF_CORE, Requests};
use crate::event::Identity;
use crate::handler::{Job, JobSet, RequestId, StagedWish, Wish};
use crate::invariant::{Broken, COUNT_MAX, require, require_counts};
use crate::limits::{ASKERS_PER_REQUEST_MAX, KIND_ROWS, TICK_NS};
use crate::queue::{Priority, RequestQueue};
use crate::section::{self, HEADER_BYTES, Reader, RestoreError, Section, Shape};
use crate::slab::{Handle, NONE, Slab};
use crate::units::{SymbolId, UnixNanos};
use bytemuck::{Pod, Zeroable};

const NAME: &str = "requests";
/// Settings, numbers and lengths.
const NUMBERS: usize = 9 + 4 + 5;
const LAYOUT: &str = "u64: symbols service_interval_ns service_budget job_delay_ns jobs_max jobs_min jobs off_core is_attached, \
    ordered due begun has_expired, lengths*5; counters u64*23; events by kind u64; places: sampled u64, in_flight limit small large grown shrunk u32; \
    slab of requests: identity, first token groups queued_at expires_at u64, symbol asked first last askers u32, attempts u16, job class u8; \
    slab of askers: id u64, identity, next u32, handler pad u16; \
    arrivals: at id groups expires_at token u64, identity, symbol u32, handler u16, job class u8, is_again pad u32; serving (index mark u32); \
    orders: number request groups token ordered_at due u64, symbol u32, job class u8, pad u16; under way: number due events u64, (index mark u32); \
    ends: id u64, identity, symbol u32, handler end u16, code pad u32";

const _: () = assert!(
    size_of::<Counters>() == 23 * 8 && size_of::<Record>() == 80 && size_of::<Asker>() == 32,
    "as the layout says"
);

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct ArrivalRow {
    at: UnixNanos,
    /// Of a retry, the handle of the request.
    id: u64,
    groups: u64,
    expires_at: UnixNanos,
    token: u64,
    cause: Identity,
    symbol: SymbolId,
    handler: u16,
    job: Job,
    class: u8,
    is_again: u32,
    pad: u32,
}

impl ArrivalRow {
    fn of(arrival: &Arrival) -> Self {
        match *arrival {
            Arrival::Wish(at, symbol, StagedWish { id, wish, handler, cause }) => {
                let Wish { job, groups, priority, expires_at, token } = wish;
                let class = priority.class();
                Self {
                    at,
                    id: id.0,
                    groups,
                    expires_at,
                    token,
                    cause,
                    symbol,
                    handler,
                    job,
                    class,
                    is_again: 0,
                    pad: 0,
                }
            }
            Arrival::Again(at, request) => Self { at, id: request.to_bits(), is_again: 1, ..Self::zeroed() },
        }
    }

    fn read(&self, symbols: usize, handlers: usize) -> Option<Arrival> {
        let Self { at, id, groups, expires_at, token, cause, symbol, handler, job, class, is_again, pad } = *self;
        let is_known = symbol.index() < symbols && usize::from(handler) < handlers && pad == 0;
        let priority = Priority::new(class)?;
        match is_again {
            0 if is_known => {
                let wish = Wish { job, groups, priority, expires_at, token };
                Some(Arrival::Wish(at, symbol, StagedWish { id: RequestId(id), wish, handler, cause }))
            }
            1 if bytemuck::bytes_of(self) == bytemuck::bytes_of(&Self { at, id, is_again, ..Self::zeroed() }) => {
                Some(Arrival::Again(at, Handle::from_bits(id)))
            }
            _ => None,
        }
    }
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct OrderRow {
    number: u64,
    request: RequestId,
    groups: u64,
    token: u64,
    ordered_at: UnixNanos,
    due: UnixNanos,
    symbol: SymbolId,
    job: Job,
    class: u8,
    pad: u16,
}

impl OrderRow {
    fn of(order: &JobOrder) -> Self {
        let JobOrder { number, symbol, job, request, groups, token, priority, ordered_at, due } = *order;
        Self { number, request, groups, token, ordered_at, due, symbol, job, class: priority.class(), pad: 0 }
    }

    fn read(&self) -> Option<JobOrder> {
        let Self { number, request, groups, token, ordered_at, due, symbol, job, class, pad: 0 } = *self else {
            return None;
        };
        let priority = Priority::new(class)?;
        Some(JobOrder { number, symbol, job, request, groups, token, priority, ordered_at, due })
    }
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct UnderWayRow {
    number: u64,
    due: UnixNanos,
    events: u64,
    request: Handle,
}

fn shape(capacity: usize) -> Shape {
    Shape { name: NAME, version: 1, element: size_of::<Record>() as u32, layout: LAYOUT, capacity: capacity as u64 }
}

fn invalid(broken: Broken) -> RestoreError {
    RestoreError::Invalid { name: NAME, broken }
}

fn broken(rule: &'static str, at: usize) -> RestoreError {
    invalid(Broken { rule, at: at as u64 })
}

/// Reads `count` rows.
fn rows<T: Pod>(body: &mut Reader<'_>, count: usize) -> Result<Vec<T>, RestoreError> {
    Ok(bytemuck::pod_collect_to_vec(body.bytes(count.saturating_mul(size_of::<T>()))?))
}

impl Requests {
    /// What both sides have to agree on, beside the capacity and the settings of the queues.
    fn settings(&self) -> [(&'static str, u64); 8] {
        let config = &self.config;
        [
            ("symbols", self.symbols as u64),
            ("a service interval in ns of", config.service_interval_ns),
            ("a service budget of", config.service_budget as u64),
            ("a job delay in ns of", config.job_delay_ns),
            ("jobs under way of at most", config.jobs_max as u64),
            ("jobs under way of at least", config.jobs_min as u64),
            ("jobs of handlers", self.jobs.bits()),
            ("jobs off the core", config.off_core.bits()),
        ]
    }

    fn lengths(&self) -> [usize; 5] {
        [self.arrivals.len(), self.serving.len(), self.orders.len(), self.under_way.len(), self.ends.len()]
    }

    fn body_bytes(&self) -> usize {
        let [arrivals, serving, orders, under_way, ends] = self.lengths();
        NUMBERS * 8
            + size_of::<Counters>()
            + KIND_ROWS * 8
            + super::Places::SECTION_BYTES
            + self.records.section_bytes()
            + self.askers.section_bytes()
            + arrivals * size_of::<ArrivalRow>()
            + serving * size_of::<Handle>()
            + orders * size_of::<OrderRow>()
            + under_way * size_of::<UnderWayRow>()
            + ends * size_of::<NoticeRow>()
    }

    /// Bytes of a [`Requests::snapshot`] of these requests as they stand.
    #[must_use]
    pub fn snapshot_bytes(&self) -> usize {
        HEADER_BYTES + self.body_bytes() + self.queues().map(RequestQueue::snapshot_bytes).sum::<usize>()
    }

    /// Appends all of it as sections of plain bytes. O(capacity + symbols). Allocates only if `out` has less room than
    /// [`Requests::snapshot_bytes`].
    pub fn snapshot(&self, out: &mut Vec<u8>) {
        section::write(out, &shape(self.records.capacity()), self.records.len() as u64, self.body_bytes(), |body| {
            self.settings().iter().for_each(|(_, value)| body.u64(*value));
            body.u64(u64::from(!self.off_core.is_empty()));
            body.slice(&[self.ordered, self.due.0, self.begun.0, u64::from(self.has_expired)]);
            self.lengths().iter().for_each(|length| body.u64(*length as u64));
            body.slice(core::slice::from_ref(&self.counters));
            body.slice(&self.by_kind[..]);
            self.places.write(body);
            self.records.write(body);
            self.askers.write(body);
            self.arrivals.iter().for_each(|arrival| body.slice(&[ArrivalRow::of(arrival)]));
            self.serving.iter().for_each(|request| body.slice(&[*request]));
            self.orders.iter().for_each(|order| body.slice(&[OrderRow::of(order)]));
            for UnderWay { number, due, request, events } in self.under_way.iter().copied() {
                body.slice(&[UnderWayRow { number, due, events, request }]);
            }
            self.ends.iter().for_each(|notice| body.slice(&[NoticeRow::of(notice)]));
        });
        self.queues().for_each(|queue| queue.snapshot(out));
    }

    /// The requests that [`Requests::snapshot`] wrote, for `handlers` handlers that serve `jobs`. Orders that were not taken come out again, and replies to
    /// those that were have to come as if nothing had been. Allocates as [`Requests::new`] does. O(capacity + symbols).
    ///
    /// Everything is checked before it is used. A request that waits for its retry has its timer elsewhere: see [`crate::shard`].
    ///
    /// # Errors
    /// [`RestoreError`] when `sections` are no such snapshot, of another capacity or setting, of a symbol or handler that is not there, or break a rule.
    ///
    /// # Panics
    /// As [`Requests::new`].
    pub fn restore(
        config: &Config,
        symbols: usize,
        jobs: JobSet,
        handlers: usize,
        sections: &[u8],
    ) -> Result<Self, RestoreError> {
        let mut all = Self::new(config, symbols, jobs);
        let (section, mut rest) = Section::split_first(sections)?;
        let mut body = section.expect(&shape(all.records.capacity()))?;
        for (name, value) in all.settings() {
            body.setting(name, value)?;
        }
        let is_attached = body.u64()?;
        (all.ordered, all.due.0, all.begun.0) = (body.u64()?, body.u64()?, body.u64()?);
        let has_expired = body.u64()?;
        let lengths = all.read_lengths(&mut body)?;
        if is_attached > 1 || has_expired > 1 {
            return Err(broken("what is either or is not, is one of the two", 0));
        }
        all.has_expired = has_expired == 1;
        if is_attached == 1 {
            all.accept_off_core();
        }
        all.read_body(&mut body, lengths, handlers)?;
        body.finish()?;
        if section.count() != all.records.len() as u64 {
            return Err(broken("the count is that of the requests", all.records.len()));
        }
        for place in [HANDLERS, OFF_CORE] {
            if all.queues[place].is_some() {
                let before = rest;
                let (_, wheel) = Section::split_first(rest)?;
                (_, rest) = Section::split_first(wheel)?;
                let own = &before[..before.len() - rest.len()];
                let config = crate::queue::Config { symbols, ..config.queue };
                all.queues[place] = Some(RequestQueue::restore(&config, own)?);
            }
        }
        if !rest.is_empty() {
            return Err(RestoreError::Length { have: sections.len(), need: sections.len() - rest.len() });
        }
        all.check(handlers).map_err(invalid)?;
        Ok(all)
    }

    /// As [`Requests::restore`], with the settings of these.
    pub(crate) fn restored(&self, handlers: usize, sections: &[u8]) -> Result<Self, RestoreError> {
        Self::restore(&self.config, self.symbols, self.jobs, handlers, sections)
    }

    fn read_lengths(&self, body: &mut Reader<'_>) -> Result<[usize; 5], RestoreError> {
        let Config { service_budget, jobs_max, .. } = self.config;
        let arrivals = self.wishes_max as usize + self.records.capacity();
        let mut lengths = [0; 5];
        for (length, most) in lengths.iter_mut().zip([arrivals, service_budget, jobs_max, jobs_max, self.ends_max]) {
            let count = usize::try_from(body.u64()?).unwrap_or(usize::MAX);
            if count > most {
                return Err(broken("no more waits than may", count));
            }
            *length = count;
        }
        Ok(lengths)
    }

    fn read_body(&mut self, body: &mut Reader<'_>, lengths: [usize; 5], handlers: usize) -> Result<(), RestoreError> {
        let [arrivals, serving, orders, under_way, ends] = lengths;
        body.fill(core::slice::from_mut(&mut self.counters))?;
        body.fill(&mut self.by_kind[..])?;
        self.places.read(body)?.map_err(invalid)?;
        self.records = Slab::read(self.records.capacity(), body, invalid)?;
        self.askers = Slab::read(self.askers.capacity(), body, invalid)?;
        for (at, row) in rows::<ArrivalRow>(body, arrivals)?.iter().enumerate() {
            let arrival = row.read(self.symbols, handlers);
            self.arrivals.push_back(arrival.ok_or(broken("what arrived is of a known symbol and handler", at))?);
        }
        self.serving.extend(rows::<Handle>(body, serving)?);
        for (at, row) in rows::<OrderRow>(body, orders)?.iter().enumerate() {
            self.orders.push_back(row.read().ok_or(broken("an order is of a known class", at))?);
        }
        let under_way = rows::<UnderWayRow>(body, under_way)?;
        self.under_way.extend(under_way.iter().map(|row| {
            let UnderWayRow { number, due, events, request } = *row;
            UnderWay { number, due, request, events }
        }));
        for (at, row) in rows::<NoticeRow>(body, ends)?.iter().enumerate() {
            let notice = row.read(self.symbols, handlers);
            self.ends.push_back(notice.ok_or(broken("an end is told to a known handler", at))?);
        }
        Ok(())
    }

    /// Requests that wait for their retry: in no queue, not being served, not under way, not among what has arrived. In ascending order of their places.
    /// O(capacity). Allocates.
    pub(crate) fn waiting_for_retry(&self) -> Vec<Handle> {
        let mut elsewhere = vec![false; self.records.capacity()];
        let mut mark = |request: Handle| elsewhere[request.index() as usize] = true;
        self.queues().flat_map(RequestQueue::iter).for_each(|pending| mark(Handle::from_bits(pending.request.payload)));
        self.serving.iter().copied().for_each(&mut mark);
        self.under_way.iter().for_each(|order| mark(order.request));
        for arrival in &self.arrivals {
            if let Arrival::Again(_, request) = arrival {
                mark(*request);
            }
        }
        self.records.iter().map(|(handle, _)| handle).filter(|handle| !elsewhere[handle.index() as usize]).collect()
    }

    /// The rules between calls, those of the queues excepted. Never panics, whatever it holds.
    fn check(&self, handlers: usize) -> Result<(), Broken> {
        require_counts(bytemuck::cast_slice(core::slice::from_ref(&self.counters)))?;
        require_counts(&self.by_kind[..])?;
        require(self.ordered <= COUNT_MAX, "orders have numbers left", self.ordered)?;
        require(self.counters.is_balanced(), "the equations of the counters hold", 0u64)?;
        let is_late = (1..self.arrivals.len()).find(|at| self.arrivals[*at].at() < self.arrivals[*at - 1].at());
        require(is_late.is_none(), "what arrived first is first", is_late.unwrap_or(0))?;
        let wishes = self.arrivals.iter().filter(|arrival| matches!(arrival, Arrival::Wish(..))).count();
        require(self.counters.arriving == wishes as u64, "every wish that arrived is counted", wishes)?;
        require(self.counters.arriving <= self.wishes_max, "no more wishes arrive than may", wishes)?;
        self.check_records(handlers)?;
        self.check_places()?;
        self.check_orders()?;
        let interval = self.config.service_interval_ns;
        let is_instant = self.due == UnixNanos::UNKNOWN || self.due.round_up(interval) == self.due;
        require(is_instant, "an instant of service is a multiple of the interval", self.due.0)?;
        let waits = !self.arrivals.is_empty() || !self.ends.is_empty() || !self.serving.is_empty() || !self.has_expired;
        let expires = self.queues().any(|queue| queue.next_expiry_hint().is_some());
        let is_due = self.due != UnixNanos::UNKNOWN;
        require(is_due || !(waits || expires), "what waits has an instant of service", self.due.0)
    }

    /// Each request is of a known job and symbol, and has a chain of those who asked that is its own.
    fn check_records(&self, handlers: usize) -> Result<(), Broken> {
        let mut askers = 0;
        for (handle, record) in self.records.iter() {
            let at = handle.index();
            let is_known = record.symbol.index() < self.symbols && self.place_of(record.job).is_some();
            require(is_known, "a request is of a known symbol and job", at)?;
            require(Priority::new(record.class).is_some(), "a request is of a known class", at)?;
            let len = record.askers_len;
            require((1..=ASKERS_PER_REQUEST_MAX).contains(&len), "somebody asked for a request", at)?;
            let (mut next, mut last) = (record.askers[0], NONE);
            for _ in 0..len {
                require(self.askers.is_used(next), "who asked is there", at)?;
                let asker = self.askers.at(next);
                require(usize::from(asker.handler) < handlers && asker.pad == 0, "a known handler asked", next)?;
                (last, next) = (next, asker.next);
            }
            require(next == NONE && last == record.askers[1], "the chain of those who asked ends with the last", at)?;
            require(record.asked >= len && record.attempts < u16::MAX, "a request has counts with room to grow", at)?;
            askers += len as usize;
        }
        // Chains of as many steps as there are askers, none of which is in two: each has a predecessor or is first, and the sum is theirs.
        let mut seen = vec![false; self.askers.capacity()];
        for (_, record) in self.records.iter() {
            let mut next = record.askers[0];
            while next != NONE {
                let is_first = !std::mem::replace(&mut seen[next as usize], true);
                require(is_first, "who asked did so for one request", next)?;
                next = self.askers.at(next).next;
            }
        }
        require(askers == self.askers.len(), "everybody who asked waits for a request", askers)
    }

    /// Each request is in one place: a queue, being served, under way, or waiting for its retry.
    fn check_places(&self) -> Result<(), Broken> {
        let mut seen = vec![false; self.records.capacity()];
        let mut once = |request: Handle| {
            let is_there = self.records.contains(request);
            require(is_there, "what is to be done is a request", request.index())?;
            let is_first = !std::mem::replace(&mut seen[request.index() as usize], true);
            require(is_first, "a request is in one place", request.index())
        };
        let mut pending = 0;
        for (place, queue) in self.queues.iter().enumerate() {
            for entry in queue.iter().flat_map(RequestQueue::iter) {
                let request = Handle::from_bits(entry.request.payload);
                once(request)?;
                let record = self.records.at(request.index());
                let is_here = record.symbol == entry.request.symbol && self.place_of(record.job) == Some(place);
                require(is_here, "a request waits where its job is done", request.index())?;
                pending += 1;
            }
        }
        let serving = self.serving.iter().copied().chain(self.under_way.iter().map(|order| order.request));
        let mut in_flight = vec![[0u32; 2]; self.symbols];
        let mut flying = 0u64;
        for request in serving {
            once(request)?;
            let record = self.records.at(request.index());
            if let Some(place) = self.place_of(record.job) {
                in_flight[record.symbol.index()][place] += 1;
            }
            flying += 1;
        }
        for arrival in &self.arrivals {
            if let Arrival::Again(_, request) = arrival {
                once(*request)?;
            }
        }
        let Counters { pending: counted, in_flight: flown, waiting, .. } = self.counters;
        require(counted == pending, "every pending request is counted", pending)?;
        require(flown == flying, "every request in flight is counted", flying)?;
        let all = counted + flown + waiting;
        require(all == self.records.len() as u64, "every other request waits for its retry", waiting)?;
        for (symbol, flying) in in_flight.iter().enumerate() {
            for (place, queue) in self.queues.iter().enumerate() {
                let counted = queue.as_ref().map_or(0, |queue| queue.in_flight(SymbolId(symbol as u32)));
                require(counted == flying[place], "every request of a symbol in flight is counted", symbol)?;
            }
        }
        Ok(())
    }

    /// Orders that were not taken are the last of those under way.
    fn check_orders(&self) -> Result<(), Broken> {
        let first = self.ordered.checked_sub(self.under_way.len() as u64);
        let Some(first) = first else { return require(false, "an order has a number", self.ordered) };
        let mut before = UnixNanos::ZERO;
        for (at, order) in self.under_way.iter().enumerate() {
            require(order.number == first + 1 + at as u64, "orders are numbered one by one", at)?;
            let is_due = order.due >= before && order.due.round_up(TICK_NS) == order.due;
            require(is_due && order.events <= COUNT_MAX, "replies are due one after the other", at)?;
            let job = self.records.get(order.request).map(|record| record.job);
            let is_off_core = job.is_some_and(|job| self.place_of(job) == Some(OFF_CORE));
            require(is_off_core, "what is under way is done off the core", at)?;
            before = order.due;
        }
        let taken = self.under_way.len().checked_sub(self.orders.len());
        let Some(taken) = taken else { return require(false, "an order that was not taken is under way", 0u64) };
        for (at, (order, under_way)) in self.orders.iter().zip(self.under_way.iter().skip(taken)).enumerate() {
            let Some(record) = self.records.get(under_way.request) else { continue };
            let is_same = (order.number, order.due) == (under_way.number, under_way.due)
                && (order.symbol, order.job, order.request) == (record.symbol, record.job, record.first)
                && (order.groups, order.token) == (record.groups, record.token)
                && order.priority.class() == record.class
                && order.ordered_at <= order.due;
            require(is_same, "an order is of its request", at)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
