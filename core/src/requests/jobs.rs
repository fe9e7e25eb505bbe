//! Jobs that are done off the core: orders, and the ends of their replies.

use super::pending::Record;
use super::{ERROR_REPLY_LOST, Jobs, OFF_CORE, Requests};
use crate::event::Kind;
use crate::handler::{Job, RequestId};
use crate::limits::TICK_NS;
use crate::queue::{Priority, RequestQueue};
use crate::slab::Handle;
use crate::units::{SymbolId, UnixNanos};

/// A job that is to be done off the core.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct JobOrder {
    /// Its number among the orders of the shard, from 1: replies come in this order.
    pub number: u64,
    /// Symbol that it is for.
    pub symbol: SymbolId,
    /// What is asked for.
    pub job: Job,
    /// The first of the requests that it stands for: the same for any number of shards, which [`JobOrder::number`] is not.
    pub request: RequestId,
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
pub(super) struct UnderWay {
    pub(super) number: u64,
    pub(super) due: UnixNanos,
    pub(super) request: Handle,
    /// Events of its reply so far.
    pub(super) events: u64,
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

impl Requests {
    /// There is a ring for replies: jobs of [`super::Config::off_core`] are taken on.
    pub(crate) fn accept_off_core(&mut self) {
        self.off_core = self.config.off_core;
    }

    /// Makes an order of a request that no handler serves. False when it is a handler's.
    pub(super) fn order(&mut self, now: UnixNanos, request: Handle) -> bool {
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
            request: record.first,
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

    /// One event more, of this kind, of the reply that is next.
    pub(crate) fn note_reply_event(&mut self, kind: Kind) {
        self.by_kind[kind.row()] += 1;
        if let Some(order) = self.under_way.front_mut() {
            order.events += 1;
        }
    }

    /// The end of the reply of order `number` has come, at the time at which the next one is due. One of an order that was not taken yet is counted and
    /// passed over.
    ///
    /// Where that is a later order, all up to it and that one itself have failed: what came of its reply was taken for an earlier one's,
    /// or refused. O(orders that end).
    pub(crate) fn end_reply(&mut self, now: UnixNanos, number: u64, code: Option<u16>) {
        let next = self.under_way.front().map(|order| order.number);
        // The end of an order that nobody has taken is nobody's: where it ended that order, as many again could be ordered before the first are taken.
        let taken = self.ordered - self.orders.len() as u64;
        let Some(next) = next.filter(|next| (*next..=taken).contains(&number)) else {
            self.counters.stray_ends += 1;
            return;
        };
        let is_lost = next != number;
        let code = if is_lost { Some(ERROR_REPLY_LOST) } else { code };
        while let Some(order) = self.under_way.pop_front_if(|order| order.number <= number) {
            self.counters.replies_lost += u64::from(is_lost);
            match code {
                None => self.served(order.request),
                Some(code) => self.failed(order.request, code),
            }
        }
        self.look_after(now);
    }

    /// The reply that is due will not come.
    pub(crate) fn lose_reply(&mut self, now: UnixNanos) {
        if let Some(number) = self.under_way.front().map(|order| order.number) {
            self.counters.replies_lost += 1;
            // Nobody is there to take it, either.
            let _ = self.orders.pop_front_if(|waiting| waiting.number == number);
            self.end_reply(now, number, Some(ERROR_REPLY_LOST));
        }
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

    /// Requests that wait for a place off the core; 0 when their symbols have as many in flight as they may.
    pub(super) fn waiting_for_places(&self) -> usize {
        self.queues[OFF_CORE].as_ref().filter(|queue| queue.peek().is_some()).map_or(0, RequestQueue::len)
    }
}
