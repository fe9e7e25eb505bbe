//! One step of a shard: what is next, in which order. See the poll order of the [shard](super).

use super::{Active, Batch, DUE_NONE, Outbox, Probe, Shard, Step, letters, service};
use crate::bus::{Chain, Missed, Progress};
use crate::dead::{Failure, Fate, Handle};
use crate::event::payload::Quarantine;
use crate::event::{Flags, Identity, Kind};
use crate::handler::{CallSite, Ctx, TimerRequest};
use crate::limits::{DRAIN_NS_MAX, STRIKES_MAX, TIMED_BATCHES, TIMERS_PER_STEP};
use crate::units::{SymbolId, UnixNanos};
use crate::wheel::Popped;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

impl<C: Chain, P: Probe> Shard<C, P> {
    /// Does one batch of work and returns. Never waits, never allocates. See the poll order of the [shard](super).
    pub fn step(&mut self, out: &mut impl Outbox) -> Step {
        let mut step = Step::default();
        if self.live.is_some() {
            step.work += self.take_live(out);
        }
        let meshed = self.horizon != UnixNanos::UNKNOWN;
        if meshed {
            step.work += self.take_mesh();
            if !self.flush_mesh() {
                self.log_step();
                step.is_stuck = true;
                return step;
            }
        }
        if !out.has_room() {
            // What was taken in may have reached a limit or a watermark: it is told while nothing moves, when it matters.
            self.log_step();
            step.is_stuck = true;
            return step;
        }
        let taken = if self.live.is_some() { self.refill_live() } else { self.refill() };
        step.work += taken;
        if P::TIMES_HANDLERS && taken > 0 {
            self.is_timed = self.batches.is_multiple_of(TIMED_BATCHES);
            self.batches += 1;
        }
        if step.work == 0 && !meshed && self.input.at == self.input.len && self.source_time < self.quiet_until {
            // Idle, the most frequent state of a paced shard: nothing came and no timer can be due.
            let is_over = self.wheel.is_empty()
                && self.pending.is_empty()
                && self.requests.is_idle()
                && self.archive.as_ref().is_none_or(|archive| archive.desk.is_idle());
            if !self.source_done || is_over {
                return step;
            }
        }
        self.has_put = false;
        let started = self.probe.now();
        self.stamped = 0;
        self.samples_len = 0;
        let mut samples = 0;
        loop {
            // One catch for the whole batch: what is active survives the unwinding and is finished in the next turn.
            match catch_unwind(AssertUnwindSafe(|| self.run(out, &mut samples))) {
                Ok(fired) => {
                    step.work += fired;
                    break;
                }
                Err(panic) => {
                    if self.active == Active::Plain {
                        self.leave_plain();
                    }
                    let Some(handler) = self.progress.pass() else { resume_unwind(panic) };
                    drop(panic);
                    step.work += 1;
                    self.staging.roll_back();
                    if self.active == Active::Run {
                        self.bus.undo_run(handler, self.site.symbol);
                        self.break_run();
                    } else {
                        if self.bus.recover(handler, self.site.symbol) {
                            self.tell_quarantine(handler);
                        }
                        match self.active {
                            Active::Reply | Active::End => self.unfinished.count_call(),
                            _ => self.unfinished.push(handler, Missed::Failed(Failure::Panic)),
                        }
                    }
                }
            }
        }
        step.is_stuck = self.has_put;
        self.log_step();
        let is_timed = P::TIMES_HANDLERS && self.is_timed && step.work > 0;
        if samples > 0 || is_timed {
            let done = self.probe.now();
            if is_timed {
                let stamps = 2 * self.stamped + 1;
                self.timed.count += u64::from(taken > 0);
                self.timed.busy_ns += done.saturating_sub(started).saturating_sub(stamps * self.probe.stamp_cost());
            }
            if samples > 0 {
                self.probe.batch(&Batch { started, done, samples, dues: &self.samples[..self.samples_len] });
            }
        }
        if meshed {
            self.flush_mesh();
            step.work += usize::from(self.tell_peers(step.work == 0));
        }
        step
    }

    /// Stages an event that says that a handler is quarantined for the symbol at hand: an output of that symbol, so that it is on
    /// tapes and in digests, and every handler that is interested hears of it.
    #[cold]
    pub(super) fn tell_quarantine(&mut self, handler: u16) {
        self.log_quarantine(handler);
        let name = self.bus.names()[usize::from(handler)];
        let quarantine = Quarantine {
            handler: crate::hash::stable(name.as_bytes()),
            strikes: u32::from(STRIKES_MAX),
            quarantined: 1,
            ..Quarantine::default()
        };
        let site = CallSite { handler, source: self.bus.source(handler), ..self.site };
        if Ctx::new(site, &mut self.staging).publish(&quarantine, 0, &[]).is_ok() {
            self.staging.keep();
        }
    }

    /// Handles what is next until the batch is used up, something is missing, or the timers' budget is spent. Returns
    /// the timers and mesh events handled, and the timers that the wheel moved.
    #[inline]
    pub(super) fn run(&mut self, out: &mut impl Outbox, samples: &mut usize) -> usize {
        let mut budget = TIMERS_PER_STEP;
        loop {
            if self.active != Active::None {
                self.finish(out, samples);
            }
            if self.has_put {
                if !out.has_room() || self.mesh_is_stuck() {
                    return TIMERS_PER_STEP - budget;
                }
                self.has_put = false;
            }
            self.go_plain(samples);
            if self.active != Active::None {
                continue;
            }
            if self.input.at < self.input.len {
                let head = &self.input.slots[self.input.at];
                if head.ts_recv.max(self.clock) < self.quiet_until {
                    if !self.takes_run(head.kind()) || !self.begin_run(samples) {
                        self.begin_source();
                    }
                    continue;
                }
            }
            if !self.next(out, &mut budget) {
                return TIMERS_PER_STEP - budget;
            }
        }
    }

    /// Begins whatever is next by (time, timers before requests before replies of jobs off the core before mesh events before source
    /// events). False when nothing may be.
    #[inline(never)]
    pub(super) fn next(&mut self, out: &mut impl Outbox, budget: &mut usize) -> bool {
        // Events that were held and whose turn has come go before anything new.
        if let Some(letter) = self.letters.ready() {
            if *budget == 0 {
                return false;
            }
            *budget -= 1;
            self.begin_retry(letter);
            return true;
        }
        let source_waits = self.input.at < self.input.len;
        let source_known = if source_waits {
            self.time_at(self.input.at)
        } else if self.source_done {
            self.source_time.saturating_add(DRAIN_NS_MAX)
        } else {
            self.source_time
        };
        let mesh_due = self.pending.next_due();
        let reply_due = self.requests.reply_due().min(self.history_reply_due());
        let timers_until = source_known.min(mesh_due).min(reply_due).min(self.horizon);
        let service = self.requests.due().min(self.history_due());
        // The wheel is polled at what it says is next, and not ahead of it: it would go on from the latest time that it
        // was polled at, past what the timer publishes for another symbol in between.
        while let Some(next) = self.wheel.next_due_hint().filter(|next| *next <= timers_until.min(service)) {
            let popped = if *budget == 0 { Popped::OutOfBudget } else { self.wheel.pop_due_within(next, budget) };
            match popped {
                Popped::Fired(due, timer) => {
                    self.update_quiet();
                    self.begin_timer(due, timer);
                    return true;
                }
                Popped::NothingDue => {}
                // A timer may be due still: nothing is admitted, and the next step goes on here.
                Popped::OutOfBudget => {
                    self.update_quiet();
                    return false;
                }
            }
        }
        self.update_quiet();
        if service <= timers_until && service != UnixNanos::UNKNOWN {
            if *budget == 0 {
                return false;
            }
            *budget -= 1;
            if self.requests.due() == service {
                self.begin_service(service);
            } else {
                self.begin_history_service(service);
            }
            return true;
        }
        if reply_due <= source_known && reply_due <= mesh_due && reply_due < self.horizon {
            // Also when it has not come yet: nothing later is begun without it.
            let is_history = self.requests.reply_due() != reply_due;
            return *budget > 0
                && if is_history {
                    self.begin_history(reply_due, budget)
                } else {
                    self.begin_reply(reply_due, budget)
                };
        }
        if mesh_due <= source_known && mesh_due < self.horizon {
            if *budget == 0 {
                return false;
            }
            *budget -= 1;
            self.begin_mesh(out);
            return true;
        }
        if source_waits && source_known < self.horizon {
            self.reach(source_known);
            self.begin_source();
            return true;
        }
        false
    }

    /// Shard time comes to `at`: what was counted so far belongs to the step of the rates that has ended, whatever batch it was in.
    #[inline]
    pub(super) fn reach(&mut self, at: UnixNanos) {
        if at >= self.rates.next() {
            self.turn_rates(at);
            self.update_quiet();
        }
    }

    /// Sets `quiet_until` after wheel, waiting room, horizon or the step of the rates have changed.
    #[inline]
    pub(super) fn update_quiet(&mut self) {
        let timer = self.wheel.next_due_hint().unwrap_or(UnixNanos::UNKNOWN);
        let request = self.request_due();
        self.quiet_until = timer.min(request).min(self.pending.next_due()).min(self.horizon).min(self.rates.next());
        if self.letters.ready().is_some() {
            self.quiet_until = UnixNanos::ZERO;
        }
    }

    #[inline]
    pub(super) fn begin(&mut self, root_as: Active, root: Identity, kind: Kind, symbol: SymbolId, ts_event: UnixNanos) {
        self.staging.clear();
        (self.active, self.root_as) = (root_as, root_as);
        self.progress = Progress::default();
        (self.root_kind, self.root_fate) = (kind, Fate::Clear);
        let site = &mut self.site;
        (site.now, site.symbol, site.ts_event, site.root) = (self.clock, symbol, ts_event, root);
        (site.timer_ns, site.timer) = (0, 0);
        (self.cascade_at, self.generation_end, self.cascade_depth) = (0, 0, 0);
        self.log_begin(root_as, root, kind);
    }

    pub(super) fn begin_timer(&mut self, due: UnixNanos, timer: TimerRequest) {
        self.reach(due);
        self.clock = self.clock.max(due);
        self.timers_fired += 1;
        match timer.handler {
            letters::RETRY => self.begin_retry(Handle::from_bits(timer.token)),
            service::SERVE_AGAIN => {
                self.requests.retry(self.clock, Handle::from_bits(timer.token));
                self.update_quiet();
            }
            _ => {
                self.timer_names.remove(timer.symbol, timer.serial);
                self.begin(Active::Timer, timer.cause, Kind::TICK, timer.symbol, due);
                self.timer = timer;
                (self.site.timer_ns, self.site.timer) = (due.0, timer.id);
            }
        }
    }

    /// Notes the active source event as a sample, unless it is from the past or replayed before the measured part.
    #[inline]
    pub(super) fn sample(&mut self, samples: &mut usize) {
        let at = self.input.at;
        if self.input.slots[at].flags.contains(Flags::HISTORICAL) {
            return;
        }
        if self.input.has_dues {
            let due = self.input.dues[at];
            if due == DUE_NONE {
                return;
            }
            self.samples[self.samples_len] = due;
            self.samples_len += 1;
        }
        *samples += 1;
    }
}
