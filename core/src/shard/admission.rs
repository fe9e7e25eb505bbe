//! From the source ring into the shard: time, control, admission.

use super::{Active, Marks, Probe, Shard};
use crate::bus::Chain;
use crate::dedup::Seen;
use crate::event::payload::{Subscription, Tick};
use crate::event::{EventRef, Flags, Kind, Slot};
use crate::ledger::Refusal;
use crate::limits::TIME_NS_MAX;
use crate::units::{SourceId, UnixNanos};

impl<C: Chain, P: Probe> Shard<C, P> {
    /// Takes the event at the inlet's cursor: control is done with at once; an event passes admission and becomes active.
    #[inline]
    pub(super) fn begin_source(&mut self) {
        let is_timed = P::TIMES_HANDLERS && self.is_timed;
        let started = if is_timed { self.probe.now() } else { 0 };
        let (at, len) = (self.input.at, self.input.len);
        let head = self.input.slots[at];
        self.clamped += u64::from(head.ts_recv < self.clock && !head.kind().is_control());
        self.clock = self.time_at(at);
        self.source_time = self.source_time.max(self.clock);
        if head.kind().is_control() {
            self.control(at, len);
            return;
        }
        match self.admission(at, len) {
            Ok(()) => {
                // With lanes it was accepted as it was taken in, or as the gap was made.
                if self.live.is_none() {
                    self.ledger.accept(head.kind());
                }
                self.log_accepted(&head);
                if let Some(history) = &mut self.history
                    && let Some(event) = EventRef::first(&self.input.slots[at..len])
                {
                    // What it refuses, it counts.
                    let _ = history.record(event, self.clock);
                }
                if self.book_kinds.contains(head.kind()) {
                    self.change_book(at, len);
                }
                self.begin(Active::Source, head.identity(), head.kind(), head.symbol, head.ts_event);
                if is_timed {
                    let admitted = self.probe.now();
                    self.marks = Some(Marks { started, admitted, ..Marks::default() });
                    self.stamped += 2;
                }
            }
            Err(reason) => {
                self.refuse_at(at, len, reason);
            }
        }
    }

    /// Applies the event at `at` to the book of its symbol, before the handlers see it. What is from the past changes no book of now.
    #[inline(never)]
    pub(super) fn change_book(&mut self, at: usize, len: usize) {
        if let Some(books) = &mut self.books
            && let Some(event) = EventRef::first(&self.input.slots[at..len])
            && !event.head().flags.contains(Flags::HISTORICAL)
        {
            // What becomes of it, the books count.
            let _ = books.apply(event);
        }
    }

    /// Whether the event at `at` passes admission at `now`, the shard time that it begins at. Asked once for each event: what the answer
    /// depends on remembers it.
    #[inline]
    pub(super) fn pass(&mut self, at: usize, len: usize, now: UnixNanos) -> Result<(), Refusal> {
        let head = self.input.slots[at];
        self.admit(&head, &self.input.slots[at..len])?;
        self.recognise(&head, now)
    }

    /// Refuses what was seen already.
    #[inline]
    pub(super) fn recognise(&mut self, head: &Slot, now: UnixNanos) -> Result<(), Refusal> {
        match self.dedup.as_mut().map(|dedup| dedup.admit(head, now)) {
            Some(Seen::Duplicate) => Err(Refusal::Duplicate),
            _ => Ok(()),
        }
    }

    /// Shard time once the event at `at` is begun. A time that no clock shows moves nothing: it would end all timers.
    #[inline]
    pub(super) fn time_at(&self, at: usize) -> UnixNanos {
        let ts_recv = self.input.slots[at].ts_recv;
        if ts_recv.0 > TIME_NS_MAX { self.clock } else { ts_recv.max(self.clock) }
    }

    /// Slots to skip for the event at `at`: its span as far as it is there.
    pub(super) fn span_at(&self, at: usize, len: usize) -> usize {
        EventRef::first(&self.input.slots[at..len]).map_or(1, |event| event.slots().len())
    }

    /// Checks an event against its kind's schema: known kind and symbol and source, newest version, every field in bounds, whole span. O(fields with
    /// bounds), and O(elements) where these have some.
    #[inline]
    pub(super) fn admit(&self, head: &Slot, slots: &[Slot]) -> Result<(), Refusal> {
        let (kind, schemas) = (head.kind(), &self.config.schemas);
        let Some(newest) = schemas.newest(kind).filter(|_| kind.is_known()) else { return Err(Refusal::UnknownKind) };
        if head.kind.version() != newest {
            return Err(Refusal::UnknownVersion);
        }
        if head.symbol.index() >= self.catalog.symbols() {
            return Err(Refusal::UnknownSymbol);
        }
        if head.source.index() >= self.catalog.sources() {
            return Err(Refusal::UnknownSource);
        }
        let event = if head.span() == 1 {
            EventRef::single(head)
        } else {
            EventRef::first(slots).ok_or(Refusal::BrokenSpan)?
        };
        schemas.validate(event).map_err(|error| error.refusal())
    }

    /// A tick, definition or epoch. A definition that is damaged, or contradicts what is known, is refused: the events that
    /// rely on it will be, too.
    #[inline(never)]
    pub(super) fn control(&mut self, at: usize, len: usize) {
        let head = &self.input.slots[at];
        let mut refused = None;
        match head.kind() {
            Kind::TICK if head.payload_as::<Tick>().last != 0 => self.source_done = true,
            Kind::EPOCH => {
                if let Some(dedup) = &mut self.dedup {
                    if head.source == SourceId::NONE { dedup.forget_all() } else { dedup.forget_source(head.source) }
                }
                if let Some(books) = &mut self.books {
                    if head.source == SourceId::NONE {
                        let _ = books.apply(EventRef::single(head));
                    } else {
                        books.forget_source(head.source);
                    }
                }
            }
            Kind::SUBSCRIPTION => {
                let change = *head.payload_as::<Subscription>();
                refused = (!self.bus.apply(&change, self.kinds_of(change.topic))).then_some(Refusal::OutOfRange);
            }
            Kind::SYMBOL_DEF | Kind::SOURCE_DEF => {
                refused = match EventRef::first(&self.input.slots[at..len]) {
                    Some(event) => self.catalog.apply(event).err().map(|_| Refusal::OutOfRange),
                    None => Some(Refusal::BrokenSpan),
                };
            }
            _ => {}
        }
        match refused {
            Some(reason) => self.ledger.refuse(head.kind(), reason),
            None => self.ledger.control(),
        }
        self.input.at += self.span_at(at, len);
    }
}
