//! The active event and what it causes: handlers, generations, effects.

use super::{Active, Limit, Marks, Outbox, Probe, Shard, Stages, hops, letters, logging, service};
use crate::backfill::Desk;
use crate::bus::{Bus, Call, Chain, Missed, Progress};
use crate::dead::Fate;
use crate::event::EventRef;
use crate::handler::{Ask, Ctx, TimerRequest};
use crate::ledger::{Outcome, Refusal};
use crate::limits::CASCADE_DEPTH_MAX;
use crate::log::{Code, Record};
use crate::requests::{Notice, Requests};
use crate::ring::DUE_NONE;
use crate::timing::{Stopwatch, Timing, Untimed};

/// Who is called for what.
enum Turn<'a> {
    /// Every handler that wants the event.
    Event(EventRef<'a>),
    /// The handler that set the timer.
    Timer(&'a TimerRequest),
    /// The one handler that failed on the event or was held.
    Retry(u16, EventRef<'a>),
    /// The handler that serves the request.
    Request(&'a Ask),
    /// Those who asked, from this one on.
    Reply(&'a Requests, &'a mut Option<u32>, EventRef<'a>),
    /// Those who asked for history, from this one on.
    History(&'a Desk, &'a mut Option<u32>, EventRef<'a>),
    /// The one who asked.
    End(Notice),
}

impl Turn<'_> {
    #[inline]
    fn take<C: Chain, T: Timing>(self, bus: &mut Bus<C>, call: &mut Call<'_>, timing: &mut T) {
        match self {
            Self::Event(event) => bus.on_event_timed(event, call, timing),
            Self::Timer(timer) => bus.on_timer(timer, call, timing),
            Self::Retry(handler, event) => {
                // After a panic the handler has had it.
                if call.progress.is_new() && !bus.on_retry(handler, event, call, timing) {
                    call.unfinished.push(handler, Missed::Held);
                }
            }
            Self::Request(ask) => {
                if call.progress.is_new()
                    && let Some(failure) = bus.on_request(ask, call, timing)
                {
                    call.unfinished.push(0, Missed::Failed(failure));
                }
            }
            Self::Reply(requests, next, event) => {
                while let Some(asker) = *next {
                    let (handler, request, following) = requests.asker(asker);
                    // Before the call: after a panic it goes on with the next.
                    *next = following;
                    if bus.on_reply((handler, request), event, call, timing).is_some() {
                        call.unfinished.count_call();
                    }
                }
            }
            Self::History(desk, next, event) => {
                while let Some(link) = *next {
                    let (handler, request, following) = desk.asker(link, event.kind());
                    *next = following;
                    if bus.on_reply((handler, request), event, call, timing).is_some() {
                        call.unfinished.count_call();
                    }
                }
            }
            Self::End(notice) => {
                let Notice { id, handler, end, .. } = notice;
                if call.progress.is_new() && bus.on_request_end((handler, id), end, call, timing).is_some() {
                    call.unfinished.count_call();
                }
            }
        }
    }
}

impl<C: Chain, P: Probe> Shard<C, P> {
    /// Takes the active event, and then each event that it causes, through the handlers; then lets the effects out.
    ///
    /// A panic may leave it at any call of a handler; called again, it goes on with the handler after that one.
    #[inline]
    pub(super) fn finish(&mut self, out: &mut impl Outbox, samples: &mut usize) {
        loop {
            if !self.progress.is_done() {
                self.walk();
            }
            match self.active {
                Active::Retry => self.end_retry(),
                Active::Timer => self.unfinished.clear(),
                Active::Request => self.note_answer(),
                Active::Reply | Active::End => self.note_replies(),
                active => {
                    let fate = if self.unfinished.is_empty() { Fate::Clear } else { self.keep_unfinished() };
                    if active == Active::Derived {
                        letters::settle(&mut self.derived, self.scratch[0].kind(), fate);
                        if self.service.has_asker() {
                            self.active = Active::Reply;
                            self.progress = Progress::default();
                            continue;
                        }
                    } else {
                        self.root_fate = fate;
                        if active == Active::Job && self.service.has_asker() {
                            self.active = Active::Reply;
                            self.progress = Progress::default();
                            continue;
                        }
                    }
                }
            }
            if self.staging.slots().len() == self.cascade_at || !self.next_derived() {
                break;
            }
        }
        let is_staged = P::TIMES_HANDLERS && self.root_as == Active::Source && self.marks.is_some();
        if !self.staging.is_empty() {
            let started = if is_staged { self.probe.now() } else { 0 };
            self.commit(out);
            if is_staged && let Some(marks) = &mut self.marks {
                let ns = self.probe.now().saturating_sub(started).saturating_sub(self.probe.stamp_cost());
                marks.egress_ns = Some(ns);
                marks.stamps += 2;
                self.stamped += 2;
            }
        }
        match self.root_as {
            Active::Source => {
                letters::settle(&mut self.ledger, self.root_kind, self.root_fate);
                if let Some(share) = &mut self.retry_share {
                    share.live(self.site.root.symbol.index());
                }
                let is_sample = self.sample(samples);
                if P::TIMES_HANDLERS
                    && let Some(marks) = self.marks.take()
                {
                    self.note_stages(marks, is_sample);
                }
                self.input.at += self.input.slots[self.input.at].span();
            }
            Active::Mesh => {
                letters::settle(&mut self.derived, self.root_kind, self.root_fate);
                if let Some(stamp) = self.hops.as_mut().and_then(hops::Hops::end) {
                    self.probe.end_to_end(stamp);
                }
            }
            Active::Job => {
                letters::settle(&mut self.derived, self.root_kind, self.root_fate);
                self.service = service::Service::NONE;
            }
            Active::Request => self.end_request(),
            Active::End => self.service = service::Service::NONE,
            Active::Timer
            | Active::Derived
            | Active::Retry
            | Active::Reply
            | Active::Run
            | Active::Plain
            | Active::None => {}
        }
        if P::LOGS && self.told.follows {
            self.log_done();
        }
        self.active = Active::None;
    }

    /// Notes where the time of the source event at hand went, if it is a sample.
    #[inline(never)]
    fn note_stages(&mut self, marks: Marks, is_sample: bool) {
        let Marks { started, admitted, handlers_ns, egress_ns, stamps } = marks;
        let stamp_ns = self.probe.stamp_cost();
        let all_ns = self.probe.now().saturating_sub(admitted).saturating_sub((stamps + 1) * stamp_ns);
        self.stamped += 1;
        if !is_sample || self.stages_len == self.stages.len() {
            return;
        }
        let within_ns = handlers_ns.unwrap_or(0) + egress_ns.unwrap_or(0);
        self.stages[self.stages_len] = Stages {
            admission_ns: admitted.saturating_sub(started).saturating_sub(stamp_ns),
            handlers_ns,
            egress_ns,
            dispatch_ns: all_ns.saturating_sub(within_ns),
        };
        self.stages_len += 1;
    }

    /// Calls the handlers that have not seen the active event yet.
    #[inline]
    pub(super) fn walk(&mut self) {
        let mut call = Call {
            cx: Ctx::on_shard(self.site, &mut self.staging, &self.catalog, self.books.as_ref()),
            progress: &mut self.progress,
            unfinished: &mut self.unfinished,
            letters: (self.letters.holds() > 0).then_some(&self.letters),
        };
        let turn = match self.active {
            Active::Source => {
                let at = self.input.at;
                let span = self.input.slots[at].span();
                let event = EventRef::first(&self.input.slots[at..at + span]);
                Turn::Event(event.expect("Invariant: admission has seen the span whole"))
            }
            Active::Mesh | Active::Derived | Active::Job => {
                let event = EventRef::first(&self.scratch[..self.scratch_span]);
                Turn::Event(event.expect("Invariant: staged events are whole"))
            }
            Active::Timer => Turn::Timer(&self.timer),
            Active::Retry => {
                let event = EventRef::first(&self.scratch[..self.scratch_span]);
                Turn::Retry(self.retry.1, event.expect("Invariant: dead letters are whole"))
            }
            Active::Request => match self.service.ask.as_ref() {
                Some(ask) => Turn::Request(ask),
                None => return,
            },
            Active::Reply => {
                let event = EventRef::first(&self.scratch[..self.scratch_span]);
                let event = event.expect("Invariant: staged events are whole");
                match &self.archive {
                    Some(archive) if self.service.is_history => {
                        Turn::History(&archive.desk, &mut self.service.asker, event)
                    }
                    _ => Turn::Reply(&self.requests, &mut self.service.asker, event),
                }
            }
            Active::End => match self.service.notice {
                Some(notice) => Turn::End(notice),
                None => return,
            },
            Active::Run | Active::Plain | Active::None => return,
        };
        if P::LOGS && self.told.follows {
            let (kind, identity) = match self.active {
                Active::Source | Active::Timer => (self.root_kind, self.site.root),
                _ => (self.scratch[0].kind(), self.scratch[0].identity()),
            };
            let record = Record::about(Code::Handled, self.config.shard, self.clock, kind, identity);
            turn.take(&mut self.bus, &mut call, &mut logging::Tracer { probe: &mut self.probe, record });
        } else if P::TIMES_HANDLERS && (self.is_timed || self.bus.has_budgets()) {
            let mut watch = Stopwatch::new(&mut self.probe, self.is_timed);
            turn.take(&mut self.bus, &mut call, &mut watch);
            let (stamps, ns) = (2 * watch.pairs(), watch.ns());
            self.stamped += stamps;
            if let Some(marks) = &mut self.marks
                && stamps > 0
            {
                marks.stamps += stamps;
                marks.handlers_ns = Some(marks.handlers_ns.unwrap_or(0) + ns);
            }
        } else {
            turn.take(&mut self.bus, &mut call, &mut Untimed);
        }
    }

    /// Makes the next derived event that a handler wants the active one. Counts those that none wants.
    pub(super) fn next_derived(&mut self) -> bool {
        loop {
            if self.cascade_at == self.generation_end || self.cascade_depth == 0 {
                self.generation_end = self.staging.slots().len();
                self.cascade_depth += 1;
            }
            let Some(event) = EventRef::first(&self.staging.slots()[self.cascade_at..]) else { return false };
            let head = event.head();
            let span = event.slots().len();
            let is_reply = self.service.is_reply(self.cascade_at);
            self.cascade_at += span;
            if head.symbol != self.site.symbol {
                continue; // handled where and when it falls due
            }
            self.derived.accept(head.kind());
            if !self.bus.wants(head.kind()) && !is_reply {
                self.derived.settle(head.kind(), Outcome::Delivered);
            } else if self.cascade_depth > CASCADE_DEPTH_MAX {
                self.limits_hit[Limit::CascadeDepth as usize] += 1;
                self.derived.settle(head.kind(), Outcome::Delivered);
            } else {
                self.scratch[..span].copy_from_slice(event.slots());
                self.scratch_span = span;
                self.active = Active::Derived;
                self.progress = Progress::default();
                if is_reply {
                    self.address_reply();
                }
                return true;
            }
        }
    }

    /// Lets the staged effects of a root event out: timers to the wheel, outputs to digest and outbox, events for other
    /// symbols to wherever they are handled.
    #[inline(never)]
    pub(super) fn commit(&mut self, out: &mut impl Outbox) {
        if !(self.staging.timers().is_empty() && self.staging.cancels().is_empty()) {
            self.commit_timers();
        }
        for wish in self.staging.wishes() {
            self.requests.ask(self.clock, self.site.symbol, wish);
        }
        if !self.staging.histories().is_empty() {
            self.commit_histories();
        }
        self.staging.advance_serials(self.site.symbol);
        let hashes = (self.catalog.symbol_hash(self.site.root.symbol), self.catalog.source_hash(self.site.root.source));
        self.staging.sign(hashes);
        self.has_put = true;
        let mut at = 0;
        let root = self.hop_root();
        let mut stamp = None;
        while let Some(event) = EventRef::first(&self.staging.slots()[at..]) {
            at += event.slots().len();
            let symbol = event.head().symbol;
            if P::LOGS && self.told.follows {
                let is_own = symbol == self.site.symbol;
                self.told.output(&mut self.probe, self.config.shard, self.site.root, event, is_own);
            }
            if symbol == self.site.symbol {
                self.digest.absorb(&self.catalog, event);
                if let Some(history) = &mut self.history {
                    let _ = history.record(event, self.clock);
                }
                out.put(event);
                continue;
            }
            if symbol.index() >= self.catalog.symbols() {
                self.derived.refuse(event.kind(), Refusal::UnknownSymbol);
                continue;
            }
            let owner = self.config.routes.shard(self.catalog.route_slot(symbol));
            let stamp = *stamp.get_or_insert_with(|| root.map_or(DUE_NONE, |root| self.probe.forward(root)));
            match self.outlets.get_mut(owner).and_then(Option::as_mut) {
                Some(outlet) => outlet.send(event, stamp),
                None => match (self.pending.insert(event), &mut self.hops) {
                    (Ok(place), Some(hops)) => hops.wait(place, stamp),
                    (Ok(_), None) => {}
                    (Err(_), _) => {
                        self.limits_hit[Limit::MeshPending as usize] += 1;
                        self.derived.refuse(event.kind(), Refusal::MeshFull);
                    }
                },
            }
        }
        self.update_quiet();
    }
}
