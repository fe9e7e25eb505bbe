//! Backfills on a shard, from what handlers ask to what they are told: instants of service, orders, replies, ends.
//!
//! ```text
//!  Ctx::backfill, at commit         at each instant of service T               off the core          one delay after T
//!    ask, cancel ----> arrivals ------> Backfills ----> begin ----> orders ----> whoever reads ----> ring: events, end
//!                                          | told at once                                              |
//!                                          +-------------> ends ----> who asked: on_request_end <-------+
//! ```
//!
//! As with other requests (see [`crate::requests`]), what is asked at t is looked at at the first multiple of the interval after t, and the
//! reply to what is ordered at T is due one delay after T, however long the reading takes: the shard does not go past that time
//! without it. So outputs depend on neither the wall clock nor the number of shards, as long as no shared limit acted.
//!
//! A handler that answers `Retry` to an event of the past has all that follows of its symbol held. Once half of what may be held
//! is, the rest of the reply waits, a tick at a time, until the retry has come to its end: nothing is parked for want of room, and live events go on meanwhile (and
//! are held behind). Replies of other symbols stand behind it, as they share its ring: where one of them comes later by that, a shared limit has acted.
//!
//! Replies come in the order of the orders, by a ring of their own: events of the past, marked [`crate::event::Flags::HISTORICAL`], and then a
//! tick ([`crate::event::payload::Tick`]): `seq` is the order's number, `reserved[0]` 0 or 1 + a code of failure. They come from outside and
//! are not trusted: the end of a later order fails those before it and that one ([`ERROR_REPLY_LOST`]), since what came of its reply was taken
//! for theirs.

use super::{Asked, Asker, Backfills, Config, End, Range, Told, Want};
use crate::event::{Kind, KindSet, Slot};
use crate::handler::{HistoryAct, RequestEnd, RequestId, RequestRefusal, StagedHistory};
use crate::limits::{JOB_DELAY_NS_DEFAULT, KIND_ROWS, SERVICE_INTERVAL_NS, STAGED_REQUESTS_MAX, TICK_NS};
use crate::queue::Priority;
use crate::requests::Notice;
use crate::slab::Handle;
use crate::units::{SymbolId, UnixNanos};
use bytemuck::{Pod, Zeroable};
use std::collections::VecDeque;

mod snapshot;

/// Code of the end of a backfill whose reply was lost: the end of a later one's came in its place, or was its own in that place, or whoever
/// reads is gone.
pub const ERROR_REPLY_LOST: u16 = u16::MAX - 2;

/// Settings of the desk of one shard.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DeskConfig {
    /// Settings of the manager. Its instance is the shard's number.
    pub manager: Config,
    /// What is asked is looked at at multiples of this, ns of shard time: a multiple of the tick, at least 1.
    pub service_interval_ns: u64,
    /// From an order to its reply, ns of shard time; rounded up to the tick.
    pub delay_ns: u64,
}

impl Default for DeskConfig {
    fn default() -> Self {
        Self { manager: Config::default(), service_interval_ns: SERVICE_INTERVAL_NS, delay_ns: JOB_DELAY_NS_DEFAULT }
    }
}

/// History that is to be read, off the core.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HistoryOrder {
    /// Its number among the orders of the shard, from 1: replies come in this order.
    pub number: u64,
    /// Whose history.
    pub symbol: SymbolId,
    /// Which kinds of events.
    pub kinds: KindSet,
    /// Of which time.
    pub range: Range,
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
    job: Handle,
    /// Events of its reply so far.
    events: u64,
}

/// Counts of the desk itself, beside the manager's.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Pod, Zeroable)]
pub struct DeskCounters {
    /// Calls of handlers that took place: asks and cancels.
    pub arrived: u64,
    /// Asks that found no room to wait for the next instant of service.
    pub turned_away: u64,
    /// Cancels that found none: nobody is told, what they name goes on.
    pub cancels_turned_away: u64,
    /// Cancels that named nothing that waits.
    pub stale_cancels: u64,
    /// Ends that found no room to be told.
    pub untold: u64,
    /// Ends of replies that were of no order under way.
    pub stray_ends: u64,
    /// Orders whose reply is not known whole: the end of a later one came instead, or it was theirs that came too early, or whoever reads is
    /// gone. They count as failed.
    pub replies_lost: u64,
    /// Calls of handlers, for an event of a reply or an end, that failed: they do not come again.
    pub replies_failed: u64,
    /// Ticks by which replies came later, as half of what may be held of their symbol was held for a handler.
    pub postponed: u64,
    /// Of these, ticks by which another symbol's reply came later, too.
    pub postponed_others: u64,
}

impl DeskCounters {
    /// Adds another shard's counts.
    pub fn add(&mut self, other: &Self) {
        for (mine, theirs) in [
            (&mut self.arrived, other.arrived),
            (&mut self.turned_away, other.turned_away),
            (&mut self.cancels_turned_away, other.cancels_turned_away),
            (&mut self.stale_cancels, other.stale_cancels),
            (&mut self.untold, other.untold),
            (&mut self.stray_ends, other.stray_ends),
            (&mut self.replies_lost, other.replies_lost),
            (&mut self.replies_failed, other.replies_failed),
            (&mut self.postponed, other.postponed),
            (&mut self.postponed_others, other.postponed_others),
        ] {
            *mine += theirs;
        }
    }
}

/// What an event that came by the ring is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Reply {
    /// The next one of the reply that is due: who asked first, and its place in the reply.
    Next(RequestId, u64),
    /// Nobody wants it any more.
    Late,
    /// It is not of the reply that is due.
    Unfit,
}

/// What is to be done next at an instant of service.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Turn {
    /// Tell who asked.
    End(Notice),
    /// Ask again: there was more to do than one step may.
    More,
    /// Nothing is left to be done at this instant.
    Nothing,
}

/// Asks and cancels that one turn takes: each looks at all jobs and all that is remembered.
const ARRIVALS_PER_TURN: usize = 4;

/// See the module.
#[derive(Debug)]
pub struct Desk {
    config: DeskConfig,
    manager: Backfills,
    /// When, for whom, what, and whether the asker gets history by replies alone.
    arrivals: VecDeque<(UnixNanos, SymbolId, StagedHistory, bool)>,
    arrivals_max: usize,
    /// Orders to be taken, orders to be told that nobody wants them any more, and all whose reply has not ended.
    orders: VecDeque<HistoryOrder>,
    stops: VecDeque<u64>,
    under_way: VecDeque<UnderWay>,
    ordered: u64,
    ends: VecDeque<Notice>,
    ends_max: usize,
    /// The next instant of service; the largest time when there is nothing to do.
    due: UnixNanos,
    /// The instant of service that has begun.
    begun: UnixNanos,
    /// Not all that came before it has been taken.
    is_taking: bool,
    /// Events of replies that were taken, by kind.
    by_kind: Box<[u64; KIND_ROWS]>,
    counters: DeskCounters,
}

impl Desk {
    /// A desk at which nobody has asked for anything. Allocates all that it will ever need.
    ///
    /// # Panics
    /// When a setting is out of its range: see [`DeskConfig`].
    #[must_use]
    pub fn new(config: &DeskConfig) -> Self {
        let DeskConfig { manager, service_interval_ns, .. } = *config;
        assert!(
            service_interval_ns > 0 && service_interval_ns.is_multiple_of(TICK_NS),
            "a service interval is a multiple of {TICK_NS} ns, not {service_interval_ns}"
        );
        let arrivals_max = manager.asks + STAGED_REQUESTS_MAX;
        // All that arrives may be told at once, and all who wait; what is turned away meanwhile has as much room again.
        let ends_max = 2 * arrivals_max + manager.asks;
        Self {
            config: *config,
            manager: Backfills::new(&manager),
            arrivals: VecDeque::with_capacity(arrivals_max),
            arrivals_max,
            orders: VecDeque::with_capacity(manager.in_flight),
            stops: VecDeque::with_capacity(manager.in_flight),
            under_way: VecDeque::with_capacity(manager.in_flight),
            ordered: 0,
            ends: VecDeque::with_capacity(ends_max),
            ends_max,
            due: UnixNanos::UNKNOWN,
            begun: UnixNanos::ZERO,
            is_taking: false,
            by_kind: Box::new([0; KIND_ROWS]),
            counters: DeskCounters::default(),
        }
    }

    /// A handler has asked for history or takes an ask back, and its call is done. `is_by_reply`: it is not among those who take the events as they come
    /// by. O(1).
    pub(crate) fn arrive(&mut self, now: UnixNanos, symbol: SymbolId, staged: &StagedHistory, is_by_reply: bool) {
        self.counters.arrived += 1;
        if self.arrivals.len() < self.arrivals_max {
            self.arrivals.push_back((now, symbol, *staged, is_by_reply));
        } else if matches!(staged.act, HistoryAct::Ask(_)) {
            self.counters.turned_away += 1;
            self.notify(symbol, asker_of(staged), RequestEnd::Refused(RequestRefusal::QueueFull));
        } else {
            self.counters.cancels_turned_away += 1;
        }
        self.look_after(now);
    }

    /// The next instant at which there is something to do; [`UnixNanos::UNKNOWN`], which is the largest, when there is nothing.
    #[inline]
    #[must_use]
    pub const fn due(&self) -> UnixNanos {
        self.due
    }

    /// When the next reply is due; [`UnixNanos::UNKNOWN`] when nothing is under way.
    #[inline]
    #[must_use]
    pub fn reply_due(&self) -> UnixNanos {
        self.under_way.front().map_or(UnixNanos::UNKNOWN, |order| order.due)
    }

    /// What is next at the instant `now`, which is [`Desk::due`]. Ask until it is [`Turn::Nothing`]. O(jobs x (asks + remembered)), as long as
    /// there is something to take; O(jobs x in flight) when orders are made of that; else O(1).
    pub(crate) fn turn(&mut self, now: UnixNanos) -> Turn {
        if self.begun < now {
            self.begun = now;
            self.is_taking = true;
            self.manager.forget(now);
        }
        if self.is_taking {
            for _ in 0..ARRIVALS_PER_TURN {
                let arrival = self.arrivals.pop_front_if(|(at, ..)| *at < now);
                let Some((_, symbol, staged, is_by_reply)) = arrival else { break };
                self.take_arrival(now, symbol, &staged, is_by_reply);
            }
            if self.arrivals.front().is_some_and(|(at, ..)| *at < now) {
                return Turn::More;
            }
            self.is_taking = false;
            while let Some(order) = self.manager.begin(now) {
                self.order(now, order.job, &order.want);
            }
        }
        if let Some(notice) = self.ends.pop_front() {
            return Turn::End(notice);
        }
        self.due = UnixNanos::UNKNOWN;
        if !self.arrivals.is_empty() {
            self.look_after(now);
        }
        Turn::Nothing
    }

    fn take_arrival(&mut self, now: UnixNanos, symbol: SymbolId, staged: &StagedHistory, is_by_reply: bool) {
        let asker = asker_of(staged);
        let end = match staged.act {
            HistoryAct::Ask(history) => {
                let want = Want { symbol, kinds: history.kinds, range: history.range, priority: history.priority };
                let asked = if is_by_reply {
                    self.manager.ask_for_reply(now, &want, asker)
                } else {
                    self.manager.ask(now, &want, asker)
                };
                match asked {
                    Asked::Completed => RequestEnd::Completed,
                    Asked::Joined(_) | Asked::Merged(_) | Asked::Queued(_) => return,
                    Asked::Refused(super::Refused::Empty) => RequestEnd::Refused(RequestRefusal::Unserved),
                    Asked::Refused(super::Refused::SymbolFull) => RequestEnd::Refused(RequestRefusal::SymbolFull),
                    Asked::Refused(_) => RequestEnd::Refused(RequestRefusal::QueueFull),
                }
            }
            HistoryAct::Cancel(request) => {
                let found = self.manager.find(symbol, request).filter(|_| request != RequestId::NONE);
                match found.filter(|ask| self.manager.handler_of(*ask) == Some(staged.handler)) {
                    Some(ask) => self.cancel(ask),
                    None => self.counters.stale_cancels += 1,
                }
                return;
            }
        };
        self.notify(symbol, asker, end);
    }

    fn cancel(&mut self, ask: Handle) {
        let (under_way, stops, max) = (&self.under_way, &mut self.stops, self.config.manager.in_flight);
        let told = self.manager.cancel(ask, |job| {
            // One that finds no room is read to its end, and what comes is dropped.
            let order = under_way.iter().find(|order| order.job == job).filter(|_| stops.len() < max);
            stops.extend(order.map(|order| order.number));
        });
        if let Some(told) = told {
            self.tell(told);
        }
    }

    /// Takes back all that is asked for a symbol; who asked is told at the next instant of service. Returns how many. O(asks squared).
    pub(crate) fn clear(&mut self, now: UnixNanos, symbol: SymbolId) -> usize {
        let mut cleared = 0;
        while let Some(ask) = self.manager.find(symbol, RequestId::NONE) {
            self.cancel(ask);
            cleared += 1;
        }
        if cleared > 0 {
            self.look_after(now);
        }
        cleared
    }

    fn order(&mut self, now: UnixNanos, job: Handle, want: &Want) {
        self.ordered += 1;
        let number = self.ordered;
        let due = now.saturating_add(self.config.delay_ns).round_up(TICK_NS);
        self.under_way.push_back(UnderWay { number, due, job, events: 0 });
        let Want { symbol, kinds, range, priority } = *want;
        self.orders.push_back(HistoryOrder { number, symbol, kinds, range, priority, ordered_at: now, due });
    }

    /// The next order. Replies are to come in the order in which orders were taken.
    pub(crate) fn take_order(&mut self) -> Option<HistoryOrder> {
        self.orders.pop_front()
    }

    /// The number of an order that nobody wants any more: its reply may end at once, and has to end.
    pub(crate) fn take_stop(&mut self) -> Option<u64> {
        self.stops.pop_front()
    }

    /// An event has come by the ring, at the time at which the next reply is due.
    pub(crate) fn take_reply(&mut self, head: &Slot) -> Reply {
        let Some(order) = self.under_way.front_mut() else { return Reply::Unfit };
        match self.manager.take(order.job, head.symbol, head.kind(), head.ts_recv) {
            super::Taken::Next => {
                order.events += 1;
                self.by_kind[head.kind().row()] += 1;
                let first = self.manager.first_asker(order.job).map_or(RequestId::NONE, |asker| asker.id);
                Reply::Next(first, order.events)
            }
            super::Taken::Late => Reply::Late,
            super::Taken::Unfit | super::Taken::Stale => Reply::Unfit,
        }
    }

    /// The end of the reply of order `number` has come, at the time at which the next one is due. One of an order that was not taken yet is counted and
    /// passed over.
    ///
    /// Where that is a later order, all up to it and that one itself have failed: what came of its reply was taken for an earlier one's,
    /// or refused. So nothing of them is remembered. O(orders that end x (askers + in flight)).
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
        let (ends, ends_max, counters) = (&mut self.ends, self.ends_max, &mut self.counters);
        while let Some(order) = self.under_way.pop_front_if(|order| order.number <= number) {
            counters.replies_lost += u64::from(is_lost);
            self.manager.end(now, order.job, code, |told| {
                if ends.len() == ends_max {
                    counters.untold += 1;
                } else {
                    ends.push_back(notice_of(told));
                }
            });
        }
        self.look_after(now);
    }

    /// The reply that is due will not come.
    pub(crate) fn lose_reply(&mut self, now: UnixNanos) {
        if let Some(order) = self.under_way.front().copied() {
            self.counters.replies_lost += 1;
            // Nobody is there to take it, either.
            let _ = self.orders.pop_front_if(|waiting| waiting.number == order.number);
            self.end_reply(now, order.number, Some(ERROR_REPLY_LOST));
        }
    }

    /// The symbol of the reply that is due.
    pub(crate) fn replying(&self) -> Option<SymbolId> {
        let order = self.under_way.front()?;
        self.manager.jobs.get(order.job).map(|job| job.symbol)
    }

    /// What is left of the reply that is due, and all that come behind it, come at `until` at the earliest. O(in flight).
    pub(crate) fn postpone(&mut self, until: UnixNanos) {
        self.counters.postponed += 1;
        let delays_others = self.under_way.iter().skip(1).any(|order| order.due < until);
        self.counters.postponed_others += u64::from(delays_others);
        self.under_way.iter_mut().for_each(|order| order.due = order.due.max(until));
        self.orders.iter_mut().for_each(|order| order.due = order.due.max(until));
    }

    /// Calls that told who asked and failed.
    pub(crate) fn note_failed_replies(&mut self, calls: u64) {
        self.counters.replies_failed += calls;
    }

    /// Whether the reply that is due is for those who asked alone: everybody else has had it.
    pub(crate) fn reads_again(&self) -> bool {
        self.under_way.front().is_some_and(|order| self.manager.reads_again(order.job))
    }

    /// The first of those who want the event that came last, for [`Desk::asker`].
    pub(crate) fn first_asker(&self, kind: Kind) -> Option<u32> {
        self.under_way.front().and_then(|order| self.manager.first_link(order.job, kind))
    }

    /// Handler and name of one who wants it, and the next of them.
    pub(crate) fn asker(&self, link: u32, kind: Kind) -> (u16, RequestId, Option<u32>) {
        let job = self.under_way.front().map_or(Handle::NULL, |order| order.job);
        let (asker, next) = self.manager.asker(job, link, kind);
        (asker.handler, asker.id, next)
    }

    /// Forgets what was completed long ago. O(forgotten).
    pub(crate) fn forget(&mut self, now: UnixNanos) {
        self.manager.forget(now);
    }

    /// Settings.
    #[must_use]
    pub const fn config(&self) -> &DeskConfig {
        &self.config
    }

    /// The manager: what is wanted, being read and remembered.
    #[must_use]
    pub const fn manager(&self) -> &Backfills {
        &self.manager
    }

    /// What happened at the desk itself.
    #[must_use]
    pub const fn counters(&self) -> &DeskCounters {
        &self.counters
    }

    /// Events of replies that were taken, by [`Kind::row`]. The shard's ledger of derived events has them, beside what handlers made.
    #[must_use]
    pub fn events_by_kind(&self) -> &[u64; KIND_ROWS] {
        &self.by_kind
    }

    /// How often a limit that symbols share acted: outputs may then depend on the number of shards.
    #[must_use]
    pub fn shared_hits(&self) -> u64 {
        let manager = self.manager.counters();
        let refused = |reason: super::Refused| manager.refused_by[reason as usize];
        manager.held_back
            + refused(super::Refused::AsksFull)
            + refused(super::Refused::JobsFull)
            + manager.forgotten_by_count
            + self.counters.turned_away
            + self.counters.cancels_turned_away
            + self.counters.untold
            + self.counters.postponed_others
    }

    /// Whether nothing waits, is under way or is to be told.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.arrivals.is_empty() && self.ends.is_empty() && self.under_way.is_empty() && self.manager.is_idle()
    }

    /// Bytes on the heap.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.manager.bytes()
            + self.arrivals.capacity() * size_of::<(UnixNanos, SymbolId, StagedHistory, bool)>()
            + self.orders.capacity() * size_of::<HistoryOrder>()
            + self.stops.capacity() * size_of::<u64>()
            + self.under_way.capacity() * size_of::<UnderWay>()
            + self.ends.capacity() * size_of::<Notice>()
            + size_of_val(&*self.by_kind)
    }

    fn look_after(&mut self, now: UnixNanos) {
        self.due = self.due.min(now.saturating_add(1).round_up(self.config.service_interval_ns));
    }

    fn tell(&mut self, told: Told) {
        let Notice { id, symbol, handler, cause, end } = notice_of(told);
        self.notify(symbol, Asker { id, cause, handler, ..Asker::default() }, end);
    }

    fn notify(&mut self, symbol: SymbolId, asker: Asker, end: RequestEnd) {
        if self.ends.len() == self.ends_max {
            self.counters.untold += 1;
        } else {
            self.ends.push_back(Notice { id: asker.id, symbol, handler: asker.handler, cause: asker.cause, end });
        }
    }
}

fn asker_of(staged: &StagedHistory) -> Asker {
    let StagedHistory { id, handler, cause, .. } = *staged;
    Asker { id, handler, cause, ..Asker::default() }
}

fn notice_of(told: Told) -> Notice {
    let Told { asker: Asker { id, cause, handler, .. }, symbol, end } = told;
    let end = match end {
        End::Served => RequestEnd::Served,
        End::Failed(code) => RequestEnd::Failed(code),
        End::Cancelled => RequestEnd::Cancelled,
    };
    Notice { id, symbol, handler, cause, end }
}
