//! What a shard does about history that handlers ask for: instants of service, the events of replies, ends.

use super::service::Service;
use super::{Active, Inlet, Shard};
use crate::backfill::{Desk, DeskConfig, HistoryOrder, Reply, Turn};
use crate::bus::Chain;
use crate::event::payload::Tick;
use crate::event::{EventRef, Flags, Kind};
use crate::handler::{HistoryAct, Job, StagedWish, Wish};
use crate::hash;
use crate::ledger::Refusal;
use crate::limits::TICK_NS;
use crate::ring::Consumer;
use crate::shard::Probe;
use crate::units::UnixNanos;

/// Tells what replies of backfills cause from what anything else does.
const HISTORY: u64 = u64::MAX - 1;

/// The desk at which handlers ask for history, and the ring by which it comes.
pub(super) struct Archive {
    pub(super) desk: Desk,
    pub(super) replies: Inlet,
}

impl<C: Chain, P: Probe> Shard<C, P> {
    /// Gives the shard a ring by which history comes: what handlers ask for with [`crate::handler::Ctx::backfill`] is taken on from now
    /// on, and [`Shard::take_history_order`] and [`Shard::take_history_stop`] are to be asked after each step. Call it before the first.
    /// Allocates.
    ///
    /// # Panics
    /// When a setting is out of its range: see [`DeskConfig`].
    pub fn attach_backfill(&mut self, config: &DeskConfig, replies: Consumer) {
        let mut config = *config;
        config.manager.instance = self.config.shard as u32;
        self.archive = Some(Box::new(Archive { desk: Desk::new(&config), replies: Inlet::new(replies, false) }));
    }

    /// The next history to be read off the core, in the order in which replies are to come.
    pub fn take_history_order(&mut self) -> Option<HistoryOrder> {
        self.archive.as_mut().and_then(|archive| archive.desk.take_order())
    }

    /// The number of an order that nobody wants any more. Its reply may end at once, and has to end.
    pub fn take_history_stop(&mut self) -> Option<u64> {
        self.archive.as_mut().and_then(|archive| archive.desk.take_stop())
    }

    /// Backfills: what is wanted, being read and remembered. `None` without a ring for history.
    #[must_use]
    pub fn backfill(&self) -> Option<&Desk> {
        self.archive.as_ref().map(|archive| &archive.desk)
    }

    /// The next instant at which the desk has something to do; the largest time when there is none.
    #[inline]
    pub(super) fn history_due(&self) -> UnixNanos {
        self.archive.as_ref().map_or(UnixNanos::UNKNOWN, |archive| archive.desk.due())
    }

    /// When the next history is due.
    #[inline]
    pub(super) fn history_reply_due(&self) -> UnixNanos {
        self.archive.as_ref().map_or(UnixNanos::UNKNOWN, |archive| archive.desk.reply_due())
    }

    /// The next instant at which something of requests or of history is due.
    #[inline]
    pub(super) fn request_due(&self) -> UnixNanos {
        let request = self.requests.due().min(self.requests.reply_due());
        request.min(self.history_due()).min(self.history_reply_due())
    }

    /// What handlers have asked of the past takes place.
    #[cold]
    pub(super) fn commit_histories(&mut self) {
        let symbol = self.site.symbol;
        for staged in self.staging.histories() {
            match (&mut self.archive, staged.act) {
                (Some(archive), HistoryAct::Ask(history)) => {
                    let is_by_reply = !self.bus.takes_history(staged.handler, history.kinds);
                    archive.desk.arrive(self.clock, symbol, staged, is_by_reply);
                }
                (Some(archive), HistoryAct::Cancel(_)) => archive.desk.arrive(self.clock, symbol, staged, false),
                // Nobody reads: it ends as any request does that nobody serves.
                (None, HistoryAct::Ask(history)) => {
                    let wish = Wish {
                        job: Job::BACKFILL,
                        groups: 0,
                        priority: history.priority,
                        expires_at: UnixNanos::ZERO,
                        token: 0,
                    };
                    let staged = StagedWish { id: staged.id, wish, handler: staged.handler, cause: staged.cause };
                    self.requests.ask(self.clock, symbol, &staged);
                }
                (None, HistoryAct::Cancel(_)) => {}
            }
        }
    }

    /// Begins what is next at an instant of service of the desk.
    pub(super) fn begin_history_service(&mut self, at: UnixNanos) {
        self.reach(at);
        self.clock = self.clock.max(at);
        let Some(archive) = &mut self.archive else { return };
        match archive.desk.turn(at) {
            Turn::End(notice) => {
                self.begin_for_request(Active::End, notice.cause, notice.symbol, notice.id, 0);
                self.service = Service::of_history_end(notice);
            }
            Turn::More => {}
            Turn::Nothing => self.update_quiet(),
        }
    }

    /// Whether so much of the symbol whose history is due is held for a handler that more of it might push out what was held first.
    fn is_past_held(&self) -> bool {
        let Some(symbol) = self.archive.as_ref().and_then(|archive| archive.desk.replying()) else { return false };
        let half = (self.config.letters.held_per_symbol / 2).max(1);
        let handlers = 0..self.bus.names().len() as u16;
        self.letters.waiting() > 0
            && handlers.into_iter().any(|handler| self.letters.holds_at_least(handler, symbol, half))
    }

    /// Takes the next event of the history that is due at `due`, or its end. False when it has not come.
    ///
    /// It is an input, an event of the past, and does not move the clock to its own time. It comes from outside, and is refused where it
    /// cannot be of what was ordered.
    pub(super) fn begin_history(&mut self, due: UnixNanos, budget: &mut usize) -> bool {
        self.reach(due);
        if self.is_past_held() {
            *budget -= 1;
            self.clock = self.clock.max(due);
            let until = self.clock.saturating_add(TICK_NS);
            self.archive.iter_mut().for_each(|archive| archive.desk.postpone(until));
            self.update_quiet();
            return true;
        }
        let Some(archive) = &mut self.archive else { return false };
        let Archive { desk, replies } = &mut **archive;
        // Looked at before the ring: what was sent before the end is there.
        let is_gone = replies.ring.is_abandoned();
        let _ = replies.refill();
        let Some(event) = EventRef::first(&replies.slots[replies.at..replies.len]) else {
            if is_gone {
                // Nobody reads any more: to wait would be to wait for ever.
                *budget -= 1;
                self.clock = self.clock.max(due);
                desk.lose_reply(self.clock);
                self.update_quiet();
            }
            return is_gone;
        };
        *budget -= 1;
        self.clock = self.clock.max(due);
        let span = event.slots().len();
        let head = *event.head();
        if head.kind() == Kind::TICK {
            let code = head.payload_as::<Tick>().reserved[0];
            let code = (code != 0).then(|| (code - 1).min(u64::from(u16::MAX)) as u16);
            replies.at += span;
            desk.end_reply(self.clock, head.seq, code);
            self.update_quiet();
            return true;
        }
        self.scratch_span = span;
        self.scratch[..span].copy_from_slice(event.slots());
        replies.at += span;
        let refused = if head.kind().is_control() {
            Err(Refusal::UnknownKind)
        } else if !head.flags.contains(Flags::HISTORICAL) {
            Err(Refusal::StrayReply)
        } else {
            self.admit(&head, &self.scratch[..span])
        };
        let reply = match refused {
            Ok(()) => self.archive.as_mut().map_or(Reply::Unfit, |archive| archive.desk.take_reply(&head)),
            Err(reason) => {
                self.derived.refuse(head.kind(), reason);
                return true;
            }
        };
        let (first, place) = match reply {
            Reply::Next(first, place) => (first, place),
            Reply::Late => return true,
            Reply::Unfit => {
                self.derived.refuse(head.kind(), Refusal::StrayReply);
                return true;
            }
        };
        self.derived.accept(head.kind());
        // What is read again is in the history as it came first.
        let is_again = self.archive.as_ref().is_some_and(|archive| archive.desk.reads_again());
        if let (Some(history), Some(event)) = (&mut self.history, EventRef::first(&self.scratch[..span]))
            && !is_again
        {
            let _ = history.record(event, self.clock);
        }
        self.begin(Active::Job, head.identity(), head.kind(), head.symbol, head.ts_event);
        // The event may have been here before: what is made of it now is told apart by who asked, when, and its place in the reply.
        self.site.timer_ns = self.clock.0;
        self.site.timer = hash::stable(bytemuck::bytes_of(&[HISTORY, first.0, place, self.clock.0]));
        let asker = self.archive.as_ref().and_then(|archive| archive.desk.first_asker(head.kind()));
        self.service = Service::of_history(asker);
        if is_again {
            // Whoever takes events of the past has had it: it is for those who asked.
            self.active = Active::Reply;
        }
        true
    }
}
