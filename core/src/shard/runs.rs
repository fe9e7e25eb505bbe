//! Runs: events of one symbol that are ready, given to a handler that takes them together.
//!
//! A run is looked for only where it cannot be told from one event after the other: all of its events come before anything else that
//! is due, its handler is the only one that is interested in their kinds, they change no book, none is of the past, nobody is quarantined and nothing is held. Events of a run
//! pass admission before the first of them is handled, which shows nowhere: what admission depends on, no handler can
//! change. All else (ledger, clock, history, sample) follows as each event is consumed.

use super::{Active, Shard};
use crate::bus::{Call, Chain, Progress};
use crate::event::{EventRef, Flags, Kind, Slot};
use crate::handler::Ctx;
use crate::ledger::{Outcome, Refusal};
use crate::limits::BATCH_SLOTS;
use crate::shard::Probe;
use crate::timing::{Stopwatch, Untimed};

/// What is known of events at and behind the inlet's cursor.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ahead {
    /// Admission has answered for the events before this place of the batch.
    asked_until: usize,
    /// The last of them, and why it was refused.
    refused: Option<(usize, Refusal)>,
    /// Events before this place are given out one by one.
    singly_until: usize,
}

impl Ahead {
    pub(super) const NONE: Self = Self { asked_until: 0, refused: None, singly_until: 0 };

    /// Admission has answered for the events before this place of the batch.
    pub(super) const fn asked_until(&self) -> usize {
        self.asked_until
    }

    /// Admission has let pass all before this place.
    pub(super) const fn asked(until: usize) -> Self {
        Self { asked_until: until, ..Self::NONE }
    }
}

impl<C: Chain, P: Probe> Shard<C, P> {
    /// Whether the event at the inlet's cursor, of this kind, may begin a run.
    #[inline]
    pub(super) fn takes_run(&self, kind: Kind) -> bool {
        self.bus.run_kinds(kind).without(self.book_kinds).contains(kind)
            && self.input.at >= self.ahead.singly_until
            && self.letters.holds() == 0
            && !self.bus.has_quarantined()
            && !(P::LOGS && self.config.log.follow.is_some())
    }

    /// Whether the event at `at` passes admission at shard time. Asks once for each event.
    #[inline]
    pub(super) fn admission(&mut self, at: usize, len: usize) -> Result<(), Refusal> {
        if at < self.ahead.asked_until {
            return match self.ahead.refused {
                Some((refused, reason)) if refused == at => Err(reason),
                _ => Ok(()),
            };
        }
        self.pass(at, len, self.clock)
    }

    /// Gives the run that begins at the inlet's cursor to its handler, and lets it consume what it will. False when the first event is
    /// to be begun by itself.
    pub(super) fn begin_run(&mut self, samples: &mut usize) -> bool {
        let (from, len) = (self.input.at, self.input.len);
        let first = self.input.slots[from];
        let kinds = self.bus.run_kinds(first.kind()).without(self.book_kinds);
        let mut starts = [0u8; BATCH_SLOTS];
        let (mut events, mut at, mut now) = (0, from, self.clock);
        while at < len {
            let head: &Slot = &self.input.slots[at];
            let time = now.max(head.ts_recv);
            let is_past = head.flags.contains(Flags::HISTORICAL);
            if head.symbol != first.symbol || !kinds.contains(head.kind()) || is_past || time >= self.quiet_until {
                break;
            }
            let span = self.span_at(at, len);
            if at >= self.ahead.asked_until {
                let answer = self.pass(at, len, time);
                self.ahead =
                    Ahead { asked_until: at + span, refused: answer.err().map(|reason| (at, reason)), ..self.ahead };
            }
            if self.ahead.refused.is_some_and(|(refused, _)| refused == at) {
                break;
            }
            starts[events] = at as u8;
            events += 1;
            at += span;
            now = time;
        }
        if events < 2 {
            self.ahead.singly_until = at;
            return false;
        }
        self.clock = self.time_at(from);
        self.source_time = self.source_time.max(self.clock);
        // Nothing is stamped of how a run began: it tells no stages.
        self.marks = None;
        self.begin(Active::Run, first.identity(), first.kind(), first.symbol, first.ts_event);
        let slots = &self.input.slots[..at];
        let mut run = [EventRef::single(&slots[from]); BATCH_SLOTS];
        for (event, start) in run.iter_mut().zip(&starts[..events]) {
            *event =
                EventRef::first(&slots[usize::from(*start)..]).expect("Invariant: admission has seen the span whole");
        }
        let mut call = Call {
            cx: Ctx::on_shard(self.site, &mut self.staging, &self.catalog, self.books.as_ref()),
            progress: &mut self.progress,
            unfinished: &mut self.unfinished,
            letters: None,
        };
        let run = &run[..events];
        let consumed = if P::TIMES_HANDLERS && self.is_timed {
            let mut watch = Stopwatch::new(&mut self.probe, true);
            let consumed = self.bus.on_run(run, &mut call, &mut watch);
            self.stamped += 2 * watch.pairs();
            consumed
        } else {
            self.bus.on_run(run, &mut call, &mut Untimed)
        };
        if consumed == 0 {
            self.break_run();
            return true;
        }
        for (number, start) in starts[..consumed].iter().enumerate() {
            let at = usize::from(*start);
            self.input.at = at;
            let head = self.input.slots[at];
            self.clamped += u64::from(head.ts_recv < self.clock);
            self.clock = self.time_at(at);
            if self.live.is_none() {
                self.ledger.accept(head.kind());
            }
            self.log_accepted(&head);
            let event = EventRef::first(&self.input.slots[at..len]).expect("Invariant: it was given to the handler");
            if let Some(history) = &mut self.history {
                let _ = history.record(event, self.clock);
            }
            if number + 1 < consumed {
                self.ledger.settle(head.kind(), Outcome::Delivered);
                if let Some(share) = &mut self.retry_share {
                    share.live(head.symbol.index());
                }
                let _ = self.sample(samples);
                self.input.at += head.span();
            } else {
                // What the handler has staged belongs to this one.
                self.root_kind = head.kind();
                (self.site.root, self.site.ts_event, self.site.now) = (head.identity(), head.ts_event, self.clock);
            }
        }
        self.source_time = self.source_time.max(self.clock);
        (self.active, self.root_as) = (Active::Source, Active::Source);
        self.progress = Progress::done();
        true
    }

    /// Nothing of the run is left: its events are given out one by one.
    #[cold]
    pub(super) fn break_run(&mut self) {
        self.active = Active::None;
        self.ahead.singly_until = self.ahead.asked_until;
    }
}
