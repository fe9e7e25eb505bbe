//! What a shard does about requests: the instants at which they are served, replies, ends, retries.

use super::{Active, Inlet, Limit, Shard};
use crate::bus::{Chain, Missed};
use crate::dead::{ERROR_PANIC, Failure, Handle};
use crate::event::payload::Tick;
use crate::event::{EventRef, Flags, Identity, Kind, KindSet, Slot};
use crate::handler::{Ask, RequestId, TimerRequest};
use crate::hash;
use crate::ledger::Refusal;
use crate::requests::{JobOrder, Notice, Replying, Turn};
use crate::retry::Names;
use crate::ring::Consumer;
use crate::shard::Probe;
use crate::units::{SymbolId, UnixNanos};

/// Handler of the timers that are the shard's own: a request is to be served again, and the token is its handle.
pub(super) const SERVE_AGAIN: u16 = u16::MAX - 1;

/// The request that is being served or told about.
#[derive(Clone, Copy, Debug)]
pub(super) struct Service {
    /// The request in hand.
    request: Handle,
    /// What it is.
    pub(super) ask: Option<Ask>,
    /// Staged slots before this one are its reply.
    reply_end: usize,
    /// The next of those who asked that gets the event of the reply at hand.
    pub(super) asker: Option<u32>,
    /// The one that is being told, and what.
    pub(super) notice: Option<Notice>,
    /// How the handler failed on it.
    failure: Option<Failure>,
    /// The event at hand is of a reply of the desk for history, or the end is one of the desk's.
    pub(super) is_history: bool,
}

impl Service {
    pub(super) const NONE: Self = Self {
        request: Handle::NULL,
        ask: None,
        reply_end: 0,
        asker: None,
        notice: None,
        failure: None,
        is_history: false,
    };

    /// The end of what was asked of the past.
    pub(super) const fn of_history_end(notice: Notice) -> Self {
        Self { notice: Some(notice), is_history: true, ..Self::NONE }
    }

    /// An event of the past, for who asked from this one on.
    pub(super) const fn of_history(asker: Option<u32>) -> Self {
        Self { asker, is_history: true, ..Self::NONE }
    }

    /// Whether the staged slot at `at` is part of a reply.
    #[inline]
    pub(super) const fn is_reply(&self, at: usize) -> bool {
        at < self.reply_end
    }

    /// Whether somebody is to get the event in `scratch` as a reply.
    #[inline]
    pub(super) const fn has_asker(&self) -> bool {
        self.asker.is_some()
    }
}

impl<C: Chain, P: Probe> Shard<C, P> {
    /// Begins what is next at an instant of service.
    pub(super) fn begin_service(&mut self, at: UnixNanos) {
        self.reach(at);
        self.clock = self.clock.max(at);
        match self.requests.turn(at) {
            Turn::Serve(request) => {
                let (Some(ask), Some(cause)) = (self.requests.ask_of(request), self.requests.cause_of(request)) else {
                    return;
                };
                self.begin_for_request(Active::Request, cause, ask.symbol, ask.request, u64::from(ask.attempt));
                self.service = Service { request, ask: Some(ask), ..Service::NONE };
            }
            Turn::End(notice) => {
                self.begin_for_request(Active::End, notice.cause, notice.symbol, notice.id, 0);
                self.service = Service { notice: Some(notice), ..Service::NONE };
            }
            Turn::More => {}
            Turn::Nothing => self.update_quiet(),
        }
    }

    /// Gives the shard a ring for the replies of jobs that are done off the core: [`crate::requests::Config::off_core`] jobs are taken on
    /// from now on, and [`Shard::take_job`] is to be asked after each step. Call it before the first. Allocates.
    pub fn attach_jobs(&mut self, replies: Consumer) {
        self.replies = Some(Inlet::new(replies, false));
        self.requests.accept_off_core();
    }

    /// The next job to be done off the core, in the order in which their replies are to come.
    pub fn take_job(&mut self) -> Option<JobOrder> {
        self.requests.take_order()
    }

    /// Takes the next event of the reply that is due at `due`, or its end. False when it has not come.
    ///
    /// It is an input: an event of the past as a rule, and it does not move the clock to its own time. It comes from outside, and is
    /// refused where it cannot be of the job.
    pub(super) fn begin_reply(&mut self, due: UnixNanos, budget: &mut usize) -> bool {
        self.reach(due);
        let Some(replies) = &mut self.replies else { return false };
        // Looked at before the ring: what was sent before the end is there.
        let is_gone = replies.ring.is_abandoned();
        let _ = replies.refill();
        let Some(event) = EventRef::first(&replies.slots[replies.at..replies.len]) else {
            if is_gone {
                // Nobody does the job any more: to wait would be to wait for ever.
                *budget -= 1;
                self.clock = self.clock.max(due);
                self.requests.lose_reply(self.clock);
                self.update_quiet();
            }
            return is_gone;
        };
        *budget -= 1;
        self.clock = self.clock.max(due);
        self.scratch_span = event.slots().len();
        self.scratch[..self.scratch_span].copy_from_slice(event.slots());
        let head = self.scratch[0];
        if head.kind() == Kind::TICK {
            let code = head.payload_as::<Tick>().reserved[0];
            let code = (code != 0).then(|| (code - 1).min(u64::from(u16::MAX)) as u16);
            replies.at += self.scratch_span;
            self.requests.end_reply(self.clock, head.seq, code);
            self.update_quiet();
            return true;
        }
        replies.at += self.scratch_span;
        let replying = match self.admit_reply(&head) {
            Ok(replying) => replying,
            Err(reason) => {
                self.derived.refuse(head.kind(), reason);
                return true;
            }
        };
        self.derived.accept(head.kind());
        if let (Some(history), Some(event)) = (&mut self.history, EventRef::first(&self.scratch[..self.scratch_span])) {
            let _ = history.record(event, self.clock);
        }
        self.begin(Active::Job, head.identity(), head.kind(), head.symbol, head.ts_event);
        // The event may have been here before, and may be twice in the reply: what is made of it now is told apart by who asked, when, and
        // its place in the reply.
        let Replying { request, job, first, events, .. } = replying;
        let id = [u64::from(SERVE_AGAIN) << 16 | u64::from(job.0), first.0, events, self.clock.0];
        self.site.timer_ns = self.clock.0;
        self.site.timer = hash::stable(bytemuck::bytes_of(&id));
        self.requests.note_reply_event(head.kind());
        self.service = Service { request, ..Service::NONE };
        self.address_reply();
        true
    }

    /// Whether the event in `scratch` may be one of the reply that is next.
    fn admit_reply(&self, head: &Slot) -> Result<Replying, Refusal> {
        if head.kind().is_control() {
            return Err(Refusal::UnknownKind);
        }
        self.admit(head, &self.scratch[..self.scratch_span])?;
        // What is of a market is of the past in a reply, and marked so, or handlers would take it for news.
        let is_past = head.flags.contains(Flags::HISTORICAL) || !KindSet::MARKET.contains(head.kind());
        let replying = self.requests.replying().filter(|replying| is_past && replying.symbol == head.symbol);
        replying.ok_or(Refusal::StrayReply)
    }

    /// What is made here carries T, as what a timer makes does, and is told apart from what anything else makes of the same event.
    pub(super) fn begin_for_request(
        &mut self,
        active: Active,
        cause: Identity,
        symbol: SymbolId,
        request: RequestId,
        attempt: u64,
    ) {
        self.begin(active, cause, Kind::TICK, symbol, self.clock);
        self.site.timer_ns = self.clock.0;
        self.site.timer = hash::stable(bytemuck::bytes_of(&[u64::from(SERVE_AGAIN), request.0, attempt, self.clock.0]));
    }

    /// The handler has had the request: what it has published by now is the reply.
    pub(super) fn note_answer(&mut self) {
        self.service.failure = self.unfinished.as_slice().first().and_then(|(_, missed)| match missed {
            Missed::Failed(failure) => Some(*failure),
            Missed::Held => None,
        });
        self.unfinished.clear();
        // Where it failed, nothing of it is left; what a quarantine has staged is no reply.
        self.service.reply_end = if self.service.failure.is_none() { self.staging.slots().len() } else { 0 };
    }

    /// Those who asked have been told. A call that failed is counted: it cannot come again.
    pub(super) fn note_replies(&mut self) {
        let calls = self.unfinished.take_calls();
        match &mut self.archive {
            Some(archive) if self.service.is_history => archive.desk.note_failed_replies(calls),
            _ => self.requests.note_failed_replies(calls),
        }
    }

    /// The derived event in `scratch` is part of the reply: who asked gets it, once the bus has had it.
    pub(super) fn address_reply(&mut self) {
        self.service.asker = self.requests.first_asker(self.service.request);
    }

    /// The reply is out.
    pub(super) fn end_request(&mut self) {
        let Service { request, failure, .. } = self.service;
        self.service = Service::NONE;
        let code = match failure {
            None => {
                self.requests.served(request);
                return;
            }
            Some(Failure::Fail(code)) => code,
            Some(Failure::Panic) => ERROR_PANIC,
            Some(Failure::Retry(code)) => {
                let names = Names {
                    symbol_hash: self.catalog.symbol_hash(self.site.root.symbol),
                    source_hash: self.catalog.source_hash(self.site.root.source),
                };
                let Some(due) = self.requests.again(request, code, self.config.seed, names, self.clock) else { return };
                let timer =
                    TimerRequest { due, token: request.to_bits(), handler: SERVE_AGAIN, ..TimerRequest::default() };
                if self.wheel.schedule(due, timer).is_err() {
                    self.limits_hit[Limit::Timers as usize] += 1;
                    self.requests.lost(request, code);
                }
                self.update_quiet();
                return;
            }
        };
        self.requests.failed(request, code);
    }

    /// Takes all pending requests of a symbol out; who asked is told at the next instant of service. Returns how many. An act from
    /// outside, as [`Shard::redrive`] is.
    pub fn clear_requests(&mut self, symbol: SymbolId) -> usize {
        let histories = self.archive.as_mut().map_or(0, |archive| archive.desk.clear(self.clock, symbol));
        let cleared = self.requests.clear(self.clock, symbol) + histories;
        self.update_quiet();
        cleared
    }
}
