//! The plain way: what most events go, in one loop over the batch.
//!
//! An event is *plain* if it is one slot of the newest version of its kind, neither control nor of the past, and of a kind that no handler with a budget wants; if nothing else is due
//! before it; and if nothing that waits or watches has to be asked about it: no lanes, no letter that is held, nobody quarantined, nobody
//! followed in the log, no call that is stamped. All of that but the event's own is known before the loop begins, since handlers cannot change it.
//! A plain event passes the same checks, in the same order, with the same counts as any other; what is left out are questions whose answer is known.
//! An event that makes anything, or that a handler does not finish, leaves the plain way there and is finished as all others are.

use super::{Active, DUE_NONE, Probe, Shard};
use crate::bus::{Call, Chain, Progress};
use crate::dead::Fate;
use crate::dedup::Seen;
use crate::event::{EventRef, Kind, KindSet};
use crate::handler::Ctx;
use crate::ledger::Refusal;
use crate::limits::TIME_NS_MAX;

/// Kinds of plain events: no control, and no gap, which is told to the log.
const KINDS: KindSet = {
    let mut control = KindSet::one(Kind::GAP);
    let mut index = 0;
    while index < Kind::ALL.len() {
        if Kind::ALL[index].is_control() {
            control = control.union(KindSet::one(Kind::ALL[index]));
        }
        index += 1;
    }
    KindSet::KNOWN.without(control)
};

impl<C: Chain, P: Probe> Shard<C, P> {
    /// Source events that went the plain way to its end. For tests: which way an event goes shows nowhere else.
    #[doc(hidden)]
    #[must_use]
    pub const fn plain(&self) -> u64 {
        self.plain
    }

    /// Whether nothing waits or watches that would have to be asked about each event.
    #[inline]
    fn has_plain_way(&self) -> bool {
        let is_watched = P::LOGS && self.config.log.follow.is_some() || P::TIMES_HANDLERS && self.is_timed;
        self.active == Active::None
            && self.live.is_none()
            && self.letters.holds() == 0
            && !self.bus.has_quarantined()
            // Admission has answered for what a run has asked about.
            && self.input.at >= self.ahead.asked_until()
            && !is_watched
    }

    /// Takes the plain events at the inlet's cursor through admission and handlers, up to the first that is not plain. Where handlers
    /// have made anything of the last one or have not finished it, that one is active, and all of them have had it.
    #[inline]
    pub(super) fn go_plain(&mut self, samples: &mut usize) {
        let until = self.quiet_until.0.min(TIME_NS_MAX + 1);
        let from = self.input.at;
        if from == self.input.len || self.clock.0 >= until || !self.has_plain_way() {
            return;
        }
        let stamped = if P::TIMES_HANDLERS { self.bus.budget_kinds() } else { KindSet::EMPTY };
        let kinds = KINDS.without(self.bus.all_run_kinds()).without(stamped);
        let (symbols, sources) = (self.catalog.symbols(), self.catalog.sources());
        self.staging.clear();
        self.progress = Progress::default();
        (self.site.timer_ns, self.site.timer) = (0, 0);
        self.active = Active::Plain;
        let mut delivered = 0;
        // The event at the cursor has passed admission.
        let mut is_admitted = false;
        let is_left = 'books: loop {
            if is_admitted && let Some(books) = &mut self.books {
                // What becomes of it, the books count.
                let _ = books.apply(EventRef::single(&self.input.slots[self.input.at]));
            }
            let mut call = Call {
                cx: Ctx::on_shard(self.site, &mut self.staging, &self.catalog, self.books.as_ref()),
                progress: &mut self.progress,
                unfinished: &mut self.unfinished,
                letters: None,
            };
            while self.input.at < self.input.len {
                let at = self.input.at;
                let slot = &self.input.slots[at];
                let kind = slot.kind();
                if !is_admitted {
                    if slot.ts_recv.0 >= until
                        || !kinds.contains(kind)
                        || !self.config.schemas.is_plain(slot)
                        || slot.symbol.index() >= symbols
                        || slot.source.index() >= sources
                    {
                        break;
                    }
                    self.clamped += u64::from(slot.ts_recv < self.clock);
                    self.clock = self.clock.max(slot.ts_recv);
                    if let Some(dedup) = &mut self.dedup
                        && dedup.admit_at(slot, self.places[at], self.clock) == Seen::Duplicate
                    {
                        self.ledger.refuse(kind, Refusal::Duplicate);
                        self.input.at = at + 1;
                        continue;
                    }
                    if let Some(history) = &mut self.history {
                        // What it refuses, it counts.
                        let _ = history.record(EventRef::single(slot), self.clock);
                    }
                    if self.book_kinds.contains(kind) {
                        is_admitted = true;
                        continue 'books;
                    }
                }
                is_admitted = false;
                call.cx.turn_to_root(self.clock, slot);
                self.bus.on_plain(EventRef::single(slot), &mut call);
                if call.cx.staging().is_used() || !call.unfinished.is_empty() {
                    break 'books true;
                }
                self.ledger.deliver(kind);
                if let Some(share) = &mut self.retry_share {
                    share.live(slot.symbol.index());
                }
                delivered += 1;
                self.input.at = at + 1;
                if self.input.has_dues {
                    let due = self.input.dues[at];
                    if due == DUE_NONE {
                        continue;
                    }
                    self.samples[self.samples_len] = due;
                    self.sample_places[self.samples_len] = at as u8;
                    self.samples_len += 1;
                }
                *samples += 1;
            }
            break false;
        };
        self.plain += delivered;
        if is_left {
            self.leave_plain();
            self.progress = Progress::done();
        } else {
            self.active = Active::None;
            if self.input.at > from {
                self.source_time = self.source_time.max(self.clock);
            }
        }
    }

    /// The event at the inlet's cursor, which handlers have begun, is one like all others from here on: accepted, and in flight. How far they have come,
    /// and what they have staged, stays.
    #[cold]
    #[inline(never)]
    pub(super) fn leave_plain(&mut self) {
        let head = &self.input.slots[self.input.at];
        let (root, kind, symbol, ts_event) = (head.identity(), head.kind(), head.symbol, head.ts_event);
        (self.active, self.root_as) = (Active::Source, Active::Source);
        (self.root_kind, self.root_fate) = (kind, Fate::Clear);
        let site = &mut self.site;
        (site.now, site.symbol, site.ts_event, site.root) = (self.clock, symbol, ts_event, root);
        (self.cascade_at, self.generation_end, self.cascade_depth) = (0, 0, 0);
        self.ledger.accept(kind);
        self.source_time = self.source_time.max(self.clock);
    }
}
