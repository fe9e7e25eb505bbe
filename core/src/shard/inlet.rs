//! The way in for sources that cannot wait: from the source's ring into lanes, and from there into batches.
//!
//! Each step takes all that the ring held when it began, so that the topics' policies act on everything that has come: a critical event is
//! in the very next batch, whatever waits. Events pass admission as they are taken from the ring, and are in flight while they wait. What is
//! dispatched, in that order, is what leaves the lanes.
//!
//! - A tick waits behind the normal events before it. Definitions are done with at once: who relies on them comes later.
//! - All other control (epochs, subscriptions, the last tick) has its place in the stream: it stays at the front of the ring until
//!   everything before it has been dispatched, spilled events too, and so does what follows it.
//! - Where a topic blocks, the ring is left as it is, and the source waits.

use super::{Limit, Outbox, Shard, letters, runs};
use crate::bus::Chain;
use crate::dead::{Failure, Refused, Site, State, Subject};
use crate::event::payload::Tick;
use crate::event::{EventRef, Flags, Kind, KindSet, Slot};
use crate::hash;
use crate::lanes::{Lanes, Left, Offered};
use crate::ledger::{Ledger, Outcome, Refusal};
use crate::limits::{BATCH_SLOTS, KIND_ROWS, SPAN_SLOTS_MAX, TIME_NS_MAX};
use crate::retry::Names;
use crate::shard::Probe;
use crate::slab::Handle;
use crate::subscriptions::Subscriptions;
use crate::topics::{Bus as TopicBus, BusId, CloseError, OpenError, Registry, Topic};
use crate::units::UnixNanos;

/// In the place of a handler's number: the event was parked because its topic had no room, and no handler has seen it.
pub const NO_ROOM: u16 = u16::MAX - 2;
/// Name that stands for [`NO_ROOM`] in reports and in files of dead letters.
pub const NO_ROOM_NAME: &str = "no_room";
/// Error code of such an event.
pub const ERROR_NO_ROOM: u16 = u16::MAX - 1;

/// What stands between the ring and the batch.
pub(super) struct Live {
    pub(super) lanes: Lanes,
    /// Taken from the ring, and not yet into the lanes before `at`.
    slots: Box<[Slot; BATCH_SLOTS]>,
    dues: Box<[u64; BATCH_SLOTS]>,
    at: usize,
    len: usize,
    /// An event that was read from the store of spilled events, and for which there is no room yet.
    back: Box<[Slot; SPAN_SLOTS_MAX]>,
    back_span: usize,
    /// Running maximum of the times that have come.
    time: UnixNanos,
    /// Retry policies of kinds whose topic names none, by [`Kind::row`].
    retry_base: [u8; KIND_ROWS],
}

impl Live {
    /// # Panics
    /// When the buses cannot be open together.
    pub(super) fn new(
        buses: &[TopicBus],
        instance: u32,
        symbols: usize,
        seed: u64,
        retry_base: [u8; KIND_ROWS],
    ) -> Self {
        let registry = Registry::of_numbered(buses, instance).unwrap_or_else(|error| panic!("{error}"));
        Self {
            lanes: Lanes::new(registry, symbols, seed),
            slots: Box::new([Slot::ZERO; BATCH_SLOTS]),
            dues: Box::new([0; BATCH_SLOTS]),
            at: 0,
            len: 0,
            back: Box::new([Slot::ZERO; SPAN_SLOTS_MAX]),
            back_span: 0,
            time: UnixNanos::ZERO,
            retry_base,
        }
    }

    /// Notes the retry policies of the open topics: a topic's own, or, where it names none, what is configured for the kind.
    pub(super) fn set_retries(&self, retry_of: &mut [u8; KIND_ROWS]) {
        for (_, topic) in self.lanes.registry().topics() {
            for kind in Kind::ALL.iter().filter(|kind| topic.kinds().contains(**kind)) {
                let row = kind.row();
                retry_of[row] = if topic.retry() == 0 { self.retry_base[row] } else { topic.retry() };
            }
        }
    }

    pub(super) fn bytes(&self) -> usize {
        self.lanes.bytes() + size_of_val(&*self.slots) + size_of_val(&*self.dues) + size_of_val(&*self.back)
    }

    /// Whether nothing waits here or in the store of spilled events.
    pub(super) fn is_empty(&self) -> bool {
        self.at == self.len && self.is_dispatched()
    }

    fn is_dispatched(&self) -> bool {
        self.lanes.is_empty() && self.lanes.spilled() == 0
    }
}

/// Hashes of the names of [`Topic::market`], and their kinds.
pub(super) fn market() -> Box<[(u64, KindSet)]> {
    Topic::market().iter().map(|topic| (hash::stable(topic.name.as_bytes()), topic.kinds)).collect()
}

/// An event has left the lanes without being dispatched.
fn settle(ledger: &mut Ledger, left: Left, head: &Slot) {
    let outcome = match left {
        Left::Coalesced => Outcome::Coalesced,
        Left::Expired => Outcome::Expired,
        Left::DroppedOldest | Left::Closed => Outcome::RefusedAfterAdmission,
    };
    ledger.settle(head.kind(), outcome);
}

impl<C: Chain, P: Probe> Shard<C, P> {
    /// Takes the next batch from the ring once the last one is used up. Returns its slots.
    #[inline]
    pub(super) fn refill(&mut self) -> usize {
        let taken = self.input.refill();
        if taken > 0 {
            self.ahead = runs::Ahead::NONE;
            if let Some(dedup) = &self.dedup {
                dedup.touch(&self.input.slots[..taken], &mut self.places[..]);
            }
        }
        taken
    }

    /// Takes the next batch from the lanes once the last one is used up. Returns its slots.
    pub(super) fn refill_live(&mut self) -> usize {
        if self.input.at < self.input.len {
            return 0;
        }
        let Some(mut live) = self.live.take() else { return 0 };
        let told = live.lanes.counts().gaps;
        let mut taken = live.lanes.pop_batch(&mut self.input.slots[..], &mut self.input.dues[..]);
        // All others were accepted as they were taken in; gaps that are made in the lanes begin here.
        (told..live.lanes.counts().gaps).for_each(|_| self.ledger.accept(Kind::GAP));
        if taken == 0 {
            taken = self.take_control(&mut live);
        }
        (self.input.at, self.input.len) = (0, taken);
        if taken > 0 {
            // Admission has answered for them.
            self.ahead = runs::Ahead::asked(taken);
        }
        self.live = Some(live);
        taken
    }

    /// Takes all that has come into the lanes. Returns the slots taken from the ring.
    pub(super) fn take_live(&mut self, out: &mut impl Outbox) -> usize {
        let Some(mut live) = self.live.take() else { return 0 };
        let taken = self.take_in_all(&mut live, out);
        self.live = Some(live);
        taken
    }

    fn take_in_all(&mut self, live: &mut Live, out: &mut impl Outbox) -> usize {
        self.take_back(live, out);
        // What comes meanwhile is for the next step.
        let (mut taken, most) = (0, self.input.ring.capacity());
        loop {
            while live.at < live.len {
                match self.take_in(live, out) {
                    Some(span) => live.at += span,
                    None => return taken,
                }
            }
            if taken >= most {
                return taken;
            }
            let dues = if self.input.has_dues { Some(&mut live.dues[..]) } else { None };
            (live.at, live.len) = (0, self.input.ring.pop_batch(&mut live.slots[..], dues));
            if live.len == 0 {
                return taken;
            }
            taken += live.len;
        }
    }

    /// Takes the event at the front into the lanes, or does with it what its topic says. Returns its slots; `None` when it has to stay.
    fn take_in(&mut self, live: &mut Live, out: &mut impl Outbox) -> Option<usize> {
        let slots = &live.slots[live.at..live.len];
        let head = slots[0];
        let span = EventRef::first(slots).map_or(1, |event| event.slots().len());
        if head.ts_recv.0 <= TIME_NS_MAX {
            live.time = live.time.max(head.ts_recv);
        }
        let (kind, now, ledger) = (head.kind(), live.time, &mut self.ledger);
        match kind {
            Kind::TICK if head.payload_as::<Tick>().last == 0 => {
                if live.lanes.tick(now, &mut |left, head| settle(ledger, left, head)) {
                    // The one that it replaced.
                    self.ledger.control();
                }
                return Some(span);
            }
            Kind::SYMBOL_DEF | Kind::SOURCE_DEF => {
                let refused = match EventRef::first(slots) {
                    Some(event) => self.catalog.apply(event).err().map(|_| Refusal::OutOfRange),
                    None => Some(Refusal::BrokenSpan),
                };
                match refused {
                    Some(reason) => self.refuse(&head, reason),
                    None => self.ledger.control(),
                }
                return Some(span);
            }
            kind if kind.is_control() => return None,
            _ => {}
        }
        if let Err(reason) = self.admit(&head, slots) {
            self.refuse_or_keep(&slots[..span], reason);
            return Some(span);
        }
        let event = EventRef::first(slots).expect("Invariant: admission has seen the span whole");
        let ledger = &mut self.ledger;
        live.lanes.advance(now, &mut |left, head| settle(ledger, left, head));
        // What stays outside is not remembered, since it may come again; what was seen before is a duplicate all the same.
        let refused = match live.lanes.door(&head) {
            Offered::NoTopic => Some(Refusal::NoTopic),
            Offered::Blocked | Offered::Refused if self.was_seen(&head, now) => Some(Refusal::Duplicate),
            // Offered all the same, to be counted.
            Offered::Blocked => None,
            Offered::Refused => Some(Refusal::TopicFull),
            _ => self.recognise(&head, now).err(),
        };
        if refused == Some(Refusal::Duplicate) {
            self.refuse(&head, Refusal::Duplicate);
            return Some(span);
        }
        let ledger = &mut self.ledger;
        let offered = live.lanes.offer(event, live.dues[live.at], now, &mut |left, head| settle(ledger, left, head));
        if let Some(reason) = refused {
            self.refuse(&head, reason);
            return Some(span);
        }
        if offered == Offered::Blocked {
            return None;
        }
        self.ledger.accept(kind);
        match offered {
            Offered::Queued => {}
            Offered::Spill if out.spill(event) => {}
            Offered::Spill => {
                live.lanes.spill_failed(&head);
                self.ledger.settle(kind, Outcome::RefusedAfterAdmission);
            }
            Offered::DeadLetter => {
                if !self.park_no_room(event) {
                    live.lanes.dead_letter_failed(&head);
                }
            }
            Offered::DroppedNewest | Offered::Refused | Offered::NoTopic | Offered::Blocked => {
                self.ledger.settle(kind, Outcome::RefusedAfterAdmission);
            }
        }
        Some(span)
    }

    /// A source event ends here: it is counted with its reason, and told where it is followed.
    fn refuse(&mut self, head: &Slot, reason: Refusal) {
        self.ledger.refuse(head.kind(), reason);
        self.log_refused(head, reason);
    }

    /// Whether an event would be refused as a duplicate. Remembers nothing.
    fn was_seen(&self, head: &Slot, now: UnixNanos) -> bool {
        let is_exempt = head.flags.contains(Flags::UNSEQUENCED);
        !is_exempt && self.dedup.as_ref().is_some_and(|dedup| dedup.contains(head.identity(), now))
    }

    /// Parks an event that found no room among the dead letters. False when there is none either: it is refused then.
    #[cold]
    fn park_no_room(&mut self, event: EventRef<'_>) -> bool {
        let head = event.head();
        let names = Names {
            symbol_hash: self.catalog.symbol_hash(head.symbol),
            source_hash: self.catalog.source_hash(head.source),
        };
        let site = Site { handler: NO_ROOM, policy: self.config.retry_of[head.kind().row()] };
        let failure = Failure::Fail(ERROR_NO_ROOM);
        match self.letters.fail(Subject::New(event), site, failure, names, self.clock) {
            Ok(parked) => {
                self.origins[parked.event.index() as usize] = letters::Origin::source();
                self.ledger.settle(head.kind(), Outcome::DeadLettered);
                true
            }
            Err(_) => {
                self.limits_hit[Limit::DeadLetters as usize] += 1;
                self.ledger.settle(head.kind(), Outcome::RefusedAfterAdmission);
                false
            }
        }
    }

    /// Puts a letter that was parked for want of room back into the lanes.
    ///
    /// # Errors
    /// [`Refused::NotParked`], and [`Refused::HoldBusy`] when there is no room still; the letter stays.
    #[cold]
    pub(super) fn readmit(&mut self, letter: Handle) -> Result<(), Refused> {
        let entry = self.letters.get(letter).ok_or(Refused::Stale)?;
        if entry.state() != State::Parked {
            return Err(Refused::NotParked);
        }
        let mut slots = [Slot::ZERO; SPAN_SLOTS_MAX];
        let event = self.letters.event(letter, &mut slots).ok_or(Refused::Stale)?;
        let kind = event.kind();
        if !self.live.as_mut().is_some_and(|live| live.lanes.readmit(event)) {
            return Err(Refused::HoldBusy);
        }
        // No handler has seen it: it needs no hold, however many symbols are held.
        self.letters.release(letter)?;
        self.ledger.reopen(kind);
        Ok(())
    }

    /// Takes spilled events back, the oldest first, as far as there is room.
    fn take_back(&mut self, live: &mut Live, out: &mut impl Outbox) {
        while live.lanes.spilled() > 0 {
            if live.back_span == 0 {
                live.back_span = out.unspill(&mut live.back);
            }
            let Some(event) = EventRef::first(&live.back[..live.back_span]) else { return };
            if !live.lanes.unspill(event) {
                return;
            }
            live.back_span = 0;
        }
    }

    /// The control event at the front of the ring, as a batch of its own, once everything before it has been dispatched.
    fn take_control(&mut self, live: &mut Live) -> usize {
        if live.at == live.len || !live.is_dispatched() || !live.slots[live.at].kind().is_control() {
            return 0;
        }
        let slots = &live.slots[live.at..live.len];
        let span = EventRef::first(slots).map_or(1, |event| event.slots().len());
        self.input.slots[..span].copy_from_slice(&slots[..span]);
        self.input.dues[..span].fill(super::DUE_NONE);
        live.at += span;
        span
    }

    /// Kinds of the topic of that name's hash; 0 = all. Without lanes, topics are those of [`Topic::market`].
    pub(super) fn kinds_of(&self, topic: u64) -> KindSet {
        if topic == 0 {
            return KindSet::KNOWN;
        }
        let Some(live) = &self.live else {
            return self.market.iter().find(|(name, _)| *name == topic).map_or(KindSet::EMPTY, |(_, kinds)| *kinds);
        };
        let topics = live.lanes.registry().topics().filter(|(_, open)| hash::stable(open.name().as_bytes()) == topic);
        topics.fold(KindSet::EMPTY, |kinds, (_, open)| kinds.union(open.kinds()))
    }

    /// Which handler is subscribed to what.
    #[must_use]
    pub fn subscriptions(&self) -> &Subscriptions {
        self.bus.subscriptions()
    }

    /// The waiting room behind the source ring, with `--overload live`.
    #[must_use]
    pub fn lanes(&self) -> Option<&Lanes> {
        self.live.as_ref().map(|live| &live.lanes)
    }

    /// Opens a bus while the shard runs: see [`Lanes::open`]. `None` without lanes.
    pub fn open_bus(&mut self, bus: &TopicBus) -> Option<Result<BusId, OpenError>> {
        let live = self.live.as_mut()?;
        let opened = bus.check_retries(self.config.retry.len()).and_then(|()| live.lanes.open(bus));
        live.set_retries(&mut self.config.retry_of);
        Some(opened)
    }

    /// Closes a bus: see [`Lanes::close`]. Events of its kinds are refused (`refused_by.no_topic`) from now on, what waits is dispatched.
    ///
    /// # Errors
    /// [`CloseError`] when there is no such bus.
    pub fn close_bus(&mut self, bus: BusId) -> Result<(), CloseError> {
        self.live.as_mut().map_or(Err(CloseError::Stale), |live| live.lanes.close(bus))
    }

    /// Closes a bus at once: see [`Lanes::clear`]. What waits is refused after admission. Returns how many events that were.
    ///
    /// # Errors
    /// [`CloseError`] when there is no such bus.
    pub fn clear_bus(&mut self, bus: BusId) -> Result<u64, CloseError> {
        let (Some(live), ledger) = (&mut self.live, &mut self.ledger) else { return Err(CloseError::Stale) };
        live.lanes.clear(bus, &mut |left, head| settle(ledger, left, head))
    }
}
