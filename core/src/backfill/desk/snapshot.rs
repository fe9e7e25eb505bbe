//! The desk as two [sections](crate::section) of plain bytes, one after the other, and back.
//!
//! The first, "history desk": settings, clock, counters, what has arrived, orders, stops, what is under way, ends to be told. The second is the
//! manager's. The length is that of what waits: rows that are not used are not written.

use super::{Desk, DeskConfig, DeskCounters, HistoryOrder, UnderWay};
use crate::backfill::{Backfills, Range};
use crate::event::{Identity, KindSet};
use crate::handler::{History, HistoryAct, RequestId, StagedHistory};
use crate::invariant::{Broken, COUNT_MAX, require, require_counts};
use crate::limits::{KIND_ROWS, TICK_NS};
use crate::queue::Priority;
use crate::requests::NoticeRow;
use crate::section::{self, HEADER_BYTES, Reader, RestoreError, Section, Shape};
use crate::slab::Handle;
use crate::units::{SymbolId, UnixNanos};
use bytemuck::{Pod, Zeroable};

const NAME: &str = "history desk";
/// Settings, numbers and lengths.
const NUMBERS: usize = 2 + 4 + 5;
const LAYOUT: &str = "u64: service_interval_ns delay_ns ordered due begun is_taking, lengths*5; counters u64*10; events by kind u64; \
    arrivals: at id from to kinds u64, identity, symbol u32, handler u16, class act u8; \
    orders: number from to kinds ordered_at due u64, symbol class u32; stops u64; under way: number due events u64, job (index mark u32); \
    ends: id u64, identity, symbol u32, handler end u16, code pad u32";

const _: () = assert!(size_of::<DeskCounters>() == 10 * 8, "the layout's text says so");

/// It asks; it takes back; the same, of one who gets history by replies alone.
const ACTS: u8 = 3;
const BY_REPLY: u8 = 2;

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct ArrivalRow {
    at: UnixNanos,
    id: RequestId,
    /// What is taken back has the request's name in `range.from`.
    range: Range,
    kinds: u64,
    cause: Identity,
    symbol: SymbolId,
    handler: u16,
    class: u8,
    act: u8,
}

impl ArrivalRow {
    fn of((at, symbol, staged, is_by_reply): &(UnixNanos, SymbolId, StagedHistory, bool)) -> Self {
        let StagedHistory { id, act, handler, cause } = *staged;
        let row = Self { at: *at, id, cause, symbol: *symbol, handler, ..Self::zeroed() };
        match act {
            HistoryAct::Ask(History { kinds, range, priority }) => Self {
                range,
                kinds: kinds.bits(),
                class: priority.class(),
                act: if *is_by_reply { BY_REPLY } else { 0 },
                ..row
            },
            HistoryAct::Cancel(request) => {
                Self { range: Range::new(UnixNanos(request.0), UnixNanos::ZERO), act: 1, ..row }
            }
        }
    }

    fn read(&self, symbols: usize, handlers: usize) -> Option<(UnixNanos, SymbolId, StagedHistory, bool)> {
        let Self { at, id, range, kinds, cause, symbol, handler, class, act } = *self;
        let is_known = symbol.index() < symbols && usize::from(handler) < handlers && act < ACTS;
        let priority = Priority::new(class)?;
        let told = match act {
            1 if kinds == 0 && class == 0 && range.to == UnixNanos::ZERO => HistoryAct::Cancel(RequestId(range.from.0)),
            1 => return None,
            _ => HistoryAct::Ask(History { kinds: KindSet::from_bits(kinds), range, priority }),
        };
        is_known.then_some((at, symbol, StagedHistory { id, act: told, handler, cause }, act == BY_REPLY))
    }
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct OrderRow {
    number: u64,
    range: Range,
    kinds: u64,
    ordered_at: UnixNanos,
    due: UnixNanos,
    symbol: SymbolId,
    class: u32,
}

impl OrderRow {
    fn of(order: &HistoryOrder) -> Self {
        let HistoryOrder { number, symbol, kinds, range, priority, ordered_at, due } = *order;
        Self { number, range, kinds: kinds.bits(), ordered_at, due, symbol, class: u32::from(priority.class()) }
    }

    fn read(&self) -> Option<HistoryOrder> {
        let Self { number, range, kinds, ordered_at, due, symbol, class } = *self;
        let priority = u8::try_from(class).ok().and_then(Priority::new)?;
        Some(HistoryOrder { number, symbol, kinds: KindSet::from_bits(kinds), range, priority, ordered_at, due })
    }
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct UnderWayRow {
    number: u64,
    due: UnixNanos,
    events: u64,
    job: Handle,
}

fn shape(arrivals_max: usize) -> Shape {
    let element = size_of::<ArrivalRow>() as u32;
    Shape { name: NAME, version: 1, element, layout: LAYOUT, capacity: arrivals_max as u64 }
}

fn invalid(broken: Broken) -> RestoreError {
    RestoreError::Invalid { name: NAME, broken }
}

fn broken(rule: &'static str, at: usize) -> RestoreError {
    invalid(Broken { rule, at: at as u64 })
}

/// Reads `count` rows.
fn rows<T: Pod>(body: &mut Reader<'_>, count: usize) -> Result<Vec<T>, RestoreError> {
    let bytes = body.bytes(count.saturating_mul(size_of::<T>()))?;
    Ok(bytemuck::pod_collect_to_vec(bytes))
}

impl Desk {
    fn body_bytes(&self) -> usize {
        NUMBERS * 8
            + size_of::<DeskCounters>()
            + KIND_ROWS * 8
            + self.arrivals.len() * size_of::<ArrivalRow>()
            + self.orders.len() * size_of::<OrderRow>()
            + self.stops.len() * 8
            + self.under_way.len() * size_of::<UnderWayRow>()
            + self.ends.len() * size_of::<NoticeRow>()
    }

    /// Bytes of a [`Desk::snapshot`] of this desk as it stands.
    #[must_use]
    pub fn snapshot_bytes(&self) -> usize {
        HEADER_BYTES + self.body_bytes() + self.manager.snapshot_bytes()
    }

    /// Appends the desk and its manager as two sections of plain bytes. O(what waits + the manager's capacities). Allocates only if `out` has less
    /// room than [`Desk::snapshot_bytes`].
    pub fn snapshot(&self, out: &mut Vec<u8>) {
        section::write(out, &shape(self.arrivals_max), self.arrivals.len() as u64, self.body_bytes(), |body| {
            body.slice(&[self.config.service_interval_ns, self.config.delay_ns]);
            body.slice(&[self.ordered, self.due.0, self.begun.0, u64::from(self.is_taking)]);
            let lengths =
                [self.arrivals.len(), self.orders.len(), self.stops.len(), self.under_way.len(), self.ends.len()];
            lengths.iter().for_each(|length| body.u64(*length as u64));
            body.slice(core::slice::from_ref(&self.counters));
            body.slice(&self.by_kind[..]);
            self.arrivals.iter().for_each(|arrival| body.slice(&[ArrivalRow::of(arrival)]));
            self.orders.iter().for_each(|order| body.slice(&[OrderRow::of(order)]));
            self.stops.iter().for_each(|stop| body.u64(*stop));
            for UnderWay { number, due, job, events } in self.under_way.iter().copied() {
                body.slice(&[UnderWayRow { number, due, events, job }]);
            }
            self.ends.iter().for_each(|notice| body.slice(&[NoticeRow::of(notice)]));
        });
        self.manager.snapshot(out);
    }

    /// The desk that [`Desk::snapshot`] wrote, for `symbols` symbols and `handlers` handlers: orders that were not taken come out again, and replies to
    /// those that were have to come as if nothing had been. Allocates as [`Desk::new`] does. O(capacities).
    ///
    /// # Errors
    /// [`RestoreError`] when `sections` are no such snapshot, of another capacity or setting, of a symbol or handler that is not there, or break a rule.
    ///
    /// # Panics
    /// As [`Desk::new`].
    pub fn restore(
        config: &DeskConfig,
        symbols: usize,
        handlers: usize,
        sections: &[u8],
    ) -> Result<Self, RestoreError> {
        let mut desk = Self::new(config);
        let (section, manager) = Section::split_first(sections)?;
        let mut body = section.expect(&shape(desk.arrivals_max))?;
        body.setting("a service interval in ns of", config.service_interval_ns)?;
        body.setting("a delay in ns of", config.delay_ns)?;
        (desk.ordered, desk.due.0, desk.begun.0) = (body.u64()?, body.u64()?, body.u64()?);
        let is_taking = body.u64()?;
        let in_flight = config.manager.in_flight;
        let most = [desk.arrivals_max, in_flight, in_flight, in_flight, desk.ends_max];
        let mut lengths = [0; 5];
        for (length, most) in lengths.iter_mut().zip(most) {
            let count = usize::try_from(body.u64()?).unwrap_or(usize::MAX);
            if count > most {
                return Err(broken("no more waits than may", count));
            }
            *length = count;
        }
        body.fill(core::slice::from_mut(&mut desk.counters))?;
        body.fill(&mut desk.by_kind[..])?;
        for (at, row) in rows::<ArrivalRow>(&mut body, lengths[0])?.iter().enumerate() {
            let arrival =
                row.read(symbols, handlers).ok_or(broken("what arrived is of a known symbol and handler", at))?;
            desk.arrivals.push_back(arrival);
        }
        for (at, row) in rows::<OrderRow>(&mut body, lengths[1])?.iter().enumerate() {
            desk.orders.push_back(row.read().ok_or(broken("an order is of a known class", at))?);
        }
        desk.stops.extend(rows::<u64>(&mut body, lengths[2])?);
        let under_way = rows::<UnderWayRow>(&mut body, lengths[3])?;
        let under_way = under_way.iter().map(|row| {
            let UnderWayRow { number, due, events, job } = *row;
            UnderWay { number, due, job, events }
        });
        desk.under_way.extend(under_way);
        for (at, row) in rows::<NoticeRow>(&mut body, lengths[4])?.iter().enumerate() {
            let notice = row.read(symbols, handlers).ok_or(broken("an end is told to a known handler", at))?;
            desk.ends.push_back(notice);
        }
        body.finish()?;
        if section.count() != lengths[0] as u64 || is_taking > 1 {
            return Err(broken("the count is that of what arrived", lengths[0]));
        }
        desk.is_taking = is_taking == 1;
        desk.manager = Backfills::restore(&config.manager, manager)?;
        desk.check(symbols, handlers).map_err(invalid)?;
        Ok(desk)
    }

    /// The rules between calls, those of the manager excepted. Never panics, whatever the desk holds.
    fn check(&self, symbols: usize, handlers: usize) -> Result<(), Broken> {
        require_counts(bytemuck::cast_slice(core::slice::from_ref(&self.counters)))?;
        require_counts(&self.by_kind[..])?;
        require(self.ordered <= COUNT_MAX, "orders have numbers left", self.ordered)?;
        let times = |at: usize| self.arrivals.get(at).map(|(at, ..)| *at);
        let is_late = (1..self.arrivals.len()).find(|at| times(*at) < times(*at - 1));
        require(is_late.is_none(), "what arrived first is first", is_late.unwrap_or(0))?;
        let known = |asker: &crate::backfill::Asker, symbol: SymbolId| {
            usize::from(asker.handler) < handlers && symbol.index() < symbols
        };
        let stranger = self.manager.asks.iter().find(|(_, ask)| !known(&ask.asker, ask.symbol));
        require(stranger.is_none(), "who waits is a known handler", 0u64)?;
        self.check_orders()?;
        for (at, stop) in self.stops.iter().enumerate() {
            require((1..=self.ordered).contains(stop), "a stop is of an order that was given", at)?;
        }
        let interval = self.config.service_interval_ns;
        let is_instant = self.due == UnixNanos::UNKNOWN || self.due.round_up(interval) == self.due;
        require(is_instant, "an instant of service is a multiple of the interval", self.due.0)?;
        let waits = !self.arrivals.is_empty() || !self.ends.is_empty() || self.is_taking;
        let begins = self.under_way.is_empty() && self.manager.counters.pending > 0;
        let is_due = self.due != UnixNanos::UNKNOWN;
        require(is_due || !(waits || begins), "what waits has an instant of service", self.due.0)
    }

    /// Orders under way are the manager's jobs in flight, in their order; those that were not taken are the last of them.
    fn check_orders(&self) -> Result<(), Broken> {
        let flying = &self.manager.flying;
        require(flying.len() == self.under_way.len(), "every job in flight was ordered", flying.len())?;
        let first = self.ordered.checked_sub(self.under_way.len() as u64);
        let Some(first) = first else { return require(false, "an order has a number", self.ordered) };
        let mut before = UnixNanos::ZERO;
        for (at, (order, index)) in self.under_way.iter().zip(flying).enumerate() {
            let is_job = order.job.index() == *index && self.manager.jobs.contains(order.job);
            require(is_job, "orders are of the jobs in flight, in their order", at)?;
            require(order.number == first + 1 + at as u64, "orders are numbered one by one", at)?;
            let is_due = order.due >= before && order.due.round_up(TICK_NS) == order.due;
            require(is_due && order.events <= COUNT_MAX, "replies are due one after the other", at)?;
            before = order.due;
        }
        let taken = self.under_way.len().checked_sub(self.orders.len());
        let Some(taken) = taken else { return require(false, "an order that was not taken is under way", 0u64) };
        for (at, (order, under_way)) in self.orders.iter().zip(self.under_way.iter().skip(taken)).enumerate() {
            let Some(job) = self.manager.jobs.get(under_way.job) else { continue };
            let want = job.want();
            let is_same = (order.number, order.due) == (under_way.number, under_way.due)
                && (order.symbol, order.kinds, order.range) == (want.symbol, want.kinds, want.range)
                && order.priority == want.priority
                && order.ordered_at <= order.due;
            require(is_same, "an order is of its job", at)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
