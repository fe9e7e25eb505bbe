//! The waiting room behind a shard's source ring, for sources that cannot wait: four lanes, and topics with a policy each for what finds
//! no room. In use with `--overload live` only.
//!
//! - **Order.** Critical goes before high, high before normal, normal before low; within a lane first in, first out, whatever the topics.
//!   A lane in which something waits is passed by at most [`LANE_TURNS_MAX`] events of the lanes above it before one of its own goes, so that
//!   nothing starves. What leaves is the order that is dispatched, and journaled: a replay does not prioritise again.
//! - **Room** is reserved: a topic's capacity is its own, and no other topic can take it. An event takes as many slots as it has, in one
//!   arena for all.
//! - **Full is a value.** [`Lanes::offer`] says what the topic's policy made of an event, and hands every event that had to leave without
//!   being dispatched to the caller, with the reason: at every instant `queued = dispatched + coalesced + dropped_oldest + expired + closed +
//!   waiting`, for each topic.
//! - **Holes are told**: where a trade or a change of a book was lost, a gap event of its symbol goes out in its place (see `losses.rs`).
//!   A gap that nothing waits behind takes turns with what waits elsewhere: one after [`LANE_GAP_TURNS`] events at the earliest, and one after
//!   [`LANE_TURNS_MAX`] while something waits in the critical or the high lane. So many symbols with holes keep nobody waiting, and where
//!   nothing waits, gaps fill the batch.
//! - O(1) each: queueing, conflation by key, dropping the oldest or the newest, taking the next. Expiry costs O(1) for each event that
//!   expires, and O(topics) when one does. No allocation after construction.
//!
//! ```
//! use tapeline_core::event::payload::Quote;
//! use tapeline_core::event::{EventBuf, EventRef, Slot};
//! use tapeline_core::lanes::{Lanes, Left, Offered};
//! use tapeline_core::limits::BATCH_SLOTS;
//! use tapeline_core::topics::{Bus, Registry};
//! use tapeline_core::units::{SymbolId, UnixNanos};
//!
//! let mut lanes = Lanes::new(Registry::of(&[Bus::market()])?, 16, 0);
//! let mut gone = Vec::new();
//! for bid_px in [100, 101] {
//!     let mut quote = EventBuf::new(&Quote { bid_px, ..Quote::default() });
//!     quote.head_mut().symbol = SymbolId(1);
//!     let quote = EventRef::first(quote.slots()).unwrap();
//!     let offered = lanes.offer(quote, 0, UnixNanos(5), &mut |left, head| gone.push((left, head.payload_as::<Quote>().bid_px)));
//!     assert_eq!(offered, Offered::Queued);
//! }
//! assert_eq!(gone, [(Left::Coalesced, 100)], "only the newest quote of a symbol waits");
//! let mut batch = [Slot::ZERO; BATCH_SLOTS];
//! assert_eq!(lanes.pop_batch(&mut batch, &mut [0; BATCH_SLOTS]), 1);
//! assert_eq!(batch[0].payload_as::<Quote>().bid_px, 101);
//! # Ok::<(), tapeline_core::topics::OpenError>(())
//! ```
//!
//! # Conflation
//! The newest event of a key goes to the back, and the one that it replaces is taken out, so that the order of a symbol's events is never
//! changed. A key that is replaced for ever would never go: once as many events were queued as the topic has slots since the key began to
//! wait, the one that waits stays, and the next of the key begins anew behind it. So a key waits for at most two fillings of its topic.
//!
//! # Time
//! *Source time* is the running maximum of the times that events and ticks are offered with. It runs ahead of shard time, which moves as
//! events are dispatched; what expires here has waited by source time. A tick waits behind the normal events that came before it; a later
//! one replaces it, since the events between the two tell the time themselves. It passes none of them, nor takes turns with them: shard time
//! would run ahead of events that are still to be dispatched, and bars and windows would close without them. So behind a backlog, timers,
//! retries and requests are late, by source time, by what the normal event at the front has waited, and by no more. What is critical or high
//! does move time past what waits below it, and so does a tick past the low lane: those times are clamped as they are dispatched.

mod check;
mod keys;
mod losses;
mod snapshot;
mod watermark;

pub use watermark::{Transition, Transitions};

use crate::arena::Arena;
use crate::chain::Chains;
use crate::event::payload::{Payload, Tick};
use crate::event::{EventRef, Kind, KindVersion, Lane, Slot};
use crate::limits::{BUSES_MAX, LANE_GAP_TURNS, LANE_SLOTS_MAX, LANE_TURNS_MAX, TOPICS_MAX};
use crate::ring::DUE_NONE;
use crate::topics::{Bus, BusId, CloseError, Key, OpenError, OpenTopic, Policy, Registry, STRICT_KINDS, TopicId};
use crate::units::UnixNanos;
use bytemuck::allocation::zeroed_slice_box;
use bytemuck::{Pod, Zeroable};
use keys::Keys;
use losses::Losses;

/// Number of lanes.
const LANES: usize = 4;
/// Place of the normal lane among them, by priority.
const NORMAL: usize = 2;
/// Never, as a deadline.
const NEVER: u64 = u64::MAX;

/// Place of a lane, by priority: 0 goes first.
const fn rank(lane: Lane) -> usize {
    match lane {
        Lane::Critical => 0,
        Lane::High => 1,
        Lane::Normal => NORMAL,
        Lane::Low => 3,
    }
}

/// What became of an event that was offered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum Offered {
    /// It waits.
    Queued,
    /// No room, and the topic blocks: offer it again later, and nothing that came after it before.
    Blocked,
    /// No room, and the topic refuses; also an event that is longer than its topic's capacity.
    Refused,
    /// No room, and the topic drops the newest; or it spills, and behind a spill that failed there is something in the store still.
    DroppedNewest,
    /// It belongs into the store of spilled events: see [`Lanes::spill_failed`] and [`Lanes::unspill`].
    Spill,
    /// It belongs to the dead letters.
    DeadLetter,
    /// No open bus has a topic for its kind.
    NoTopic,
}

/// Why an event that waited has left without being dispatched.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Left {
    /// A newer event of its key has come.
    Coalesced,
    /// It was the oldest of its topic, and a newer one needed the room.
    DroppedOldest,
    /// It waited for longer than its topic allows.
    Expired,
    /// Its bus was cleared.
    Closed,
}

/// What a topic has counted. Events, unless it says otherwise.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Pod, Zeroable)]
pub struct TopicStats {
    /// Put into the waiting room, those read again from a store included.
    pub queued: u64,
    /// Taken out to be dispatched.
    pub dispatched: u64,
    /// Replaced by a newer one of their key.
    pub coalesced: u64,
    /// Dropped as the oldest.
    pub dropped_oldest: u64,
    /// Dropped as the newest, and those that should have been spilled or dead-lettered and could not.
    pub dropped_newest: u64,
    /// Refused.
    pub refused: u64,
    /// Dropped because they waited for too long.
    pub expired: u64,
    /// Dropped when their bus was cleared.
    pub closed: u64,
    /// Given to the store of spilled events.
    pub spilled: u64,
    /// Read again from that store.
    pub unspilled: u64,
    /// Given to the dead letters.
    pub dead_lettered: u64,
    /// Offers that found the topic full, where it blocks. One event may be offered many times.
    pub blocked: u64,
    /// Transitions to above the high watermark.
    pub crowded: u64,
    /// Source time above it, closed spans only, ns.
    pub crowded_ns: u64,
    /// Most slots that waited at one time.
    pub peak_slots: u64,
}

/// What one topic of the waiting room is at.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Pod, Zeroable)]
struct State {
    stats: TopicStats,
    /// Spilled and not read again.
    spilled: u64,
    /// Source time of the last transition to above the high watermark.
    crowded_since: u64,
    /// Slots that wait.
    used: u32,
    /// 1 above the high watermark, until it is down at the low one.
    is_crowded: u16,
    /// 1 from a spill that failed until all that was spilled before it is back: what came in between would jump the hole.
    has_lost: u16,
}

/// An event that waits, by its first slot.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Pod, Zeroable)]
struct Waiting {
    /// Number in the order of arrival.
    position: u64,
    /// Due stamp.
    due: u64,
    /// Source time at which it expires.
    deadline: u64,
    /// Number at which its key began to wait.
    since: u64,
    key: Key,
    topic: u8,
    /// Rank of its lane.
    lane: u8,
    span: u8,
    /// 1 when it is in the table of keys.
    is_keyed: u8,
    pad: u32,
}

/// Counts of the waiting room as a whole.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Pod, Zeroable)]
pub struct Counts {
    /// Events dispatched before an event that came earlier and waits in a lower lane.
    pub overtaken: u64,
    /// Ticks replaced by later ones.
    pub ticks_merged: u64,
    /// Gap events made. A shard's ledger counts them as offered and accepted, by the kind `gap`, beside those that the source sent.
    pub gaps: u64,
    /// Events dispatched from a lower lane because it was its turn.
    pub turns: u64,
    /// Events that a policy kept from being dispatched in their turn, whatever became of them.
    pub diverted: u64,
}

/// The waiting room. See the [module](self).
#[derive(Debug)]
pub struct Lanes {
    registry: Registry,
    arena: Arena,
    waiting: Box<[Waiting]>,
    /// First slots by lane, in order of dispatch.
    lanes: Chains,
    /// First slots by topic, in order of arrival: also the order in which they expire.
    topics: Chains,
    keys: Keys,
    losses: Losses,
    state: Box<[State; TOPICS_MAX]>,
    /// Events that went by since the lane had its turn, while something waited in it.
    passed: [u32; LANES],
    /// Events that went since the last gap that nothing waited behind.
    since_gap: u32,
    next_position: u64,
    /// Where the tick stands that waits, and its time.
    tick: Option<(u64, UnixNanos)>,
    now: UnixNanos,
    /// Nothing expires before this source time.
    next_deadline: u64,
    /// Events in the store of spilled events.
    spilled: u64,
    /// Buses that are being closed.
    closing: u32,
    counts: Counts,
    transitions: Transitions,
}

impl Lanes {
    /// An empty waiting room with the slots of `registry`, for symbols below `symbols`. Allocates all that it will ever need: about 190
    /// bytes for each slot and 64 for each symbol. `seed` is that of the table of keys.
    ///
    /// # Panics
    /// When the registry has more than [`LANE_SLOTS_MAX`] slots.
    #[must_use]
    pub fn new(registry: Registry, symbols: usize, seed: u64) -> Self {
        let slots = registry.slots();
        assert!(slots <= LANE_SLOTS_MAX, "at most {LANE_SLOTS_MAX} slots may wait, not {slots}");
        Self {
            arena: Arena::new(slots),
            waiting: zeroed_slice_box(slots),
            lanes: Chains::new(LANES, slots),
            topics: Chains::new(TOPICS_MAX, slots),
            keys: Keys::new(slots, seed),
            losses: Losses::new(symbols, slots),
            state: Box::new([State::default(); TOPICS_MAX]),
            passed: [0; LANES],
            // The first gap need not wait for its turn.
            since_gap: LANE_TURNS_MAX,
            next_position: 0,
            tick: None,
            now: UnixNanos::ZERO,
            next_deadline: NEVER,
            spilled: 0,
            closing: 0,
            counts: Counts::default(),
            transitions: Transitions::new(),
            registry,
        }
    }

    /// Buses and topics.
    #[must_use]
    pub const fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Buses and topics, without the waiting room: what waits is gone.
    #[must_use]
    pub fn into_registry(self) -> Registry {
        self.registry
    }

    /// Opens a bus while the engine runs: see [`Registry::open`].
    ///
    /// # Errors
    /// As [`Registry::open`].
    pub fn open(&mut self, bus: &Bus) -> Result<BusId, OpenError> {
        let is_new = self.registry.find(&bus.name).is_none();
        let id = self.registry.open(bus)?;
        if is_new {
            for topic in self.registry.topics_of(id) {
                self.state[topic.index()] = State::default();
            }
        }
        Ok(id)
    }

    /// Closes a bus: it takes nothing more, what waits is dispatched, and with the last event its room is free and its handle stale.
    ///
    /// # Errors
    /// [`CloseError`] when there is no such bus.
    pub fn close(&mut self, bus: BusId) -> Result<(), CloseError> {
        self.begin_close(bus)?;
        if let Some(topic) = self.registry.topics_of(bus).next() {
            self.end_close(topic);
        }
        Ok(())
    }

    /// Closes a bus at once: what waits leaves as [`Left::Closed`]. Returns how many events that were. O(events that wait in it).
    ///
    /// Events of it in the store of spilled events keep its topics, until they are unspilled or given up.
    ///
    /// # Errors
    /// [`CloseError`] when there is no such bus.
    pub fn clear(&mut self, bus: BusId, left: &mut impl FnMut(Left, &Slot)) -> Result<u64, CloseError> {
        self.begin_close(bus)?;
        let mut events = 0;
        let mut last = None;
        for topic in self.registry.topics_of(bus) {
            while let Some(first) = self.topics.first(u32::from(topic.0)) {
                self.leave(first, Left::Closed, left);
                events += 1;
            }
            last = Some(topic);
        }
        // The last event that left may have closed the bus already; a bus without events closes here.
        if let Some(topic) = last.filter(|_| self.registry.name(bus).is_some()) {
            self.end_close(topic);
        }
        Ok(events)
    }

    /// Closes every bus at once, as [`Lanes::clear`] does each. Returns how many events left.
    pub fn clear_all(&mut self, left: &mut impl FnMut(Left, &Slot)) -> u64 {
        let mut buses = [None; BUSES_MAX];
        buses.iter_mut().zip(self.registry.buses()).for_each(|(place, (bus, _))| *place = Some(bus));
        buses.into_iter().flatten().map(|bus| self.clear(bus, left).expect("Invariant: the bus is open")).sum()
    }

    fn begin_close(&mut self, bus: BusId) -> Result<(), CloseError> {
        let was_closing = self.registry.is_closing(bus);
        if !self.registry.begin_close(bus) {
            return Err(CloseError::Stale);
        }
        self.closing += u32::from(!was_closing);
        Ok(())
    }

    /// Ends the closing of the bus of `topic`, if it is being closed and holds nothing.
    #[inline]
    fn end_close(&mut self, topic: TopicId) {
        if self.closing > 0 {
            self.end_close_of(topic);
        }
    }

    #[cold]
    fn end_close_of(&mut self, topic: TopicId) {
        let Some(bus) = self.registry.closing_bus_of(topic) else { return };
        let is_empty = self.registry.topics_of(bus).all(|topic| {
            let state = &self.state[topic.index()];
            state.used == 0 && state.spilled == 0
        });
        if is_empty {
            self.registry.end_close(bus);
            self.closing -= 1;
        }
    }

    /// What would become of an event like this one, by its topic's room alone: [`Offered::Queued`] means that it would wait, whoever has to
    /// make room for it. O(1), changes nothing.
    #[inline]
    pub fn door(&self, head: &Slot) -> Offered {
        let Some(topic) = self.registry.route(head.kind()) else { return Offered::NoTopic };
        let open = self.registry.topic(topic).expect("Invariant: kinds lead to open topics");
        let state = &self.state[topic.index()];
        let span = head.span() as u32;
        if span > open.capacity {
            return Offered::Refused;
        }
        if state.spilled > 0 && open.policy == Policy::Spill {
            // Behind a loss nothing is spilled: then all that is, is in front of it, and so is its gap event of all that follows.
            return if state.has_lost == 1 { Offered::DroppedNewest } else { Offered::Spill };
        }
        if state.used + span <= open.capacity {
            return Offered::Queued;
        }
        match open.policy {
            Policy::Block => Offered::Blocked,
            Policy::Refuse => Offered::Refused,
            Policy::DropNewest => Offered::DroppedNewest,
            Policy::DropOldest | Policy::Conflate => Offered::Queued,
            Policy::Spill => Offered::Spill,
            Policy::DeadLetter => Offered::DeadLetter,
        }
    }

    /// Offers an event with its due stamp, at source time `now`. `left` is told every event that has to leave for it, or has expired by
    /// then. O(span), and O(1) for each event that leaves.
    pub fn offer(
        &mut self,
        event: EventRef<'_>,
        due: u64,
        now: UnixNanos,
        left: &mut impl FnMut(Left, &Slot),
    ) -> Offered {
        self.advance(now, left);
        let head = event.head();
        let Some(topic) = self.registry.route(head.kind()) else { return Offered::NoTopic };
        let open = *self.registry.topic(topic).expect("Invariant: kinds lead to open topics");
        let mut since = self.next_position;
        let mut key = None;
        if open.policy == Policy::Conflate
            && head.span() <= open.capacity as usize
            && let Some(wanted) = open.conflate_by.key(head)
        {
            key = Some(wanted);
            let waiting = &self.waiting;
            if let Some(first) = self.keys.find(wanted, |first| waiting[first as usize].key) {
                let began = waiting[first as usize].since;
                if self.next_position - began < u64::from(open.capacity) {
                    since = began;
                    self.leave(first, Left::Coalesced, left);
                }
            }
        }
        let door = self.door(head);
        self.counts.diverted += u64::from(!matches!(door, Offered::Queued | Offered::Blocked));
        let stats = &mut self.state[topic.index()].stats;
        match door {
            Offered::Queued => {
                while self.state[topic.index()].used + head.span() as u32 > open.capacity {
                    let oldest = self.topics.first(u32::from(topic.0)).expect("Invariant: what is used is waiting");
                    self.leave(oldest, Left::DroppedOldest, left);
                }
                self.queue(event, topic, &open, due, (key, since), false);
            }
            Offered::Blocked => stats.blocked += 1,
            Offered::Refused | Offered::DroppedNewest => {
                let count = if door == Offered::Refused { &mut stats.refused } else { &mut stats.dropped_newest };
                *count += 1;
                self.lose_new(head);
            }
            Offered::Spill => {
                stats.spilled += 1;
                self.state[topic.index()].spilled += 1;
                self.spilled += 1;
            }
            Offered::DeadLetter => {
                stats.dead_lettered += 1;
                self.lose_new(head);
            }
            Offered::NoTopic => {}
        }
        door
    }

    /// The event that was to be spilled could not be: it counts as dropped, and so does all of its topic that follows until what was spilled before
    /// it is back, so that no later event comes in front of the gap event.
    pub fn spill_failed(&mut self, head: &Slot) {
        let Some(topic) = self.registry.route(head.kind()) else { return };
        let state = &mut self.state[topic.index()];
        debug_assert!(state.spilled > 0, "Invariant: it was to be spilled");
        state.spilled -= 1;
        state.stats.spilled -= 1;
        state.stats.dropped_newest += 1;
        state.has_lost = u16::from(state.spilled > 0);
        self.spilled -= 1;
        self.lose_new(head);
        self.end_close(topic);
    }

    /// The event that was to be parked among the dead letters found no room there: it counts as dropped.
    pub fn dead_letter_failed(&mut self, head: &Slot) {
        let Some(topic) = self.registry.route(head.kind()) else { return };
        let stats = &mut self.state[topic.index()].stats;
        stats.dead_lettered -= 1;
        stats.dropped_newest += 1;
    }

    /// Puts the oldest spilled event back, if its topic has room for it. It was counted when it was offered. O(span).
    ///
    /// Events have to come back in the order in which they were spilled.
    #[must_use]
    pub fn unspill(&mut self, event: EventRef<'_>) -> bool {
        let Some(topic) = self.topic_of_spilled(event.kind()) else { return false };
        let open = *self.registry.topic(topic).expect("Invariant: what is spilled keeps its topic");
        let state = &mut self.state[topic.index()];
        if state.spilled == 0 || state.used + event.slots().len() as u32 > open.capacity {
            return false;
        }
        state.spilled -= 1;
        state.stats.unspilled += 1;
        if state.spilled == 0 {
            state.has_lost = 0;
        }
        self.spilled -= 1;
        let since = self.next_position;
        self.queue(event, topic, &open, DUE_NONE, (None, since), true);
        true
    }

    /// Topic of a kind, also where it takes nothing more.
    fn topic_of_spilled(&self, kind: Kind) -> Option<TopicId> {
        self.registry
            .route(kind)
            .or_else(|| self.registry.topics().find(|(_, topic)| topic.kinds.contains(kind)).map(|(topic, _)| topic))
    }

    /// Puts an event that was given up before at the back, if its topic has room: a dead letter that is redriven. O(span).
    #[must_use]
    pub fn readmit(&mut self, event: EventRef<'_>) -> bool {
        let Some(topic) = self.registry.route(event.kind()) else { return false };
        let open = *self.registry.topic(topic).expect("Invariant: kinds lead to open topics");
        if self.state[topic.index()].used + event.slots().len() as u32 > open.capacity {
            return false;
        }
        let since = self.next_position;
        self.queue(event, topic, &open, DUE_NONE, (None, since), false);
        true
    }

    /// Source time has come to `now`: what has waited for too long leaves. O(1) while nothing has.
    #[inline]
    pub fn advance(&mut self, now: UnixNanos, left: &mut impl FnMut(Left, &Slot)) {
        self.now = self.now.max(now);
        if self.now.0 >= self.next_deadline {
            self.expire(left);
        }
    }

    #[cold]
    fn expire(&mut self, left: &mut impl FnMut(Left, &Slot)) {
        self.next_deadline = NEVER;
        for topic in 0..TOPICS_MAX as u32 {
            while let Some(first) = self.topics.first(topic) {
                let deadline = self.waiting[first as usize].deadline;
                if deadline > self.now.0 {
                    self.next_deadline = self.next_deadline.min(deadline);
                    break;
                }
                self.leave(first, Left::Expired, left);
            }
        }
    }

    /// A tick waits behind the normal events that are here. True when it replaced an earlier one.
    pub fn tick(&mut self, now: UnixNanos, left: &mut impl FnMut(Left, &Slot)) -> bool {
        self.advance(now, left);
        let is_merged = self.tick.is_some();
        self.counts.ticks_merged += u64::from(is_merged);
        self.tick = Some((self.next_position, self.now));
        self.next_position += 1;
        is_merged
    }

    fn queue(
        &mut self,
        event: EventRef<'_>,
        topic: TopicId,
        open: &OpenTopic,
        due: u64,
        (key, since): (Option<Key>, u64),
        was_spilled: bool,
    ) {
        let head = event.head();
        let lane = rank(if head.lane() == Lane::Normal { open.lane } else { head.lane() });
        let first = self.arena.store(event.slots());
        let expires = open.expire_after_ns > 0;
        let deadline = if expires { self.now.0.saturating_add(open.expire_after_ns) } else { NEVER };
        self.waiting[first as usize] = Waiting {
            position: self.next_position,
            due,
            deadline,
            since,
            key: key.unwrap_or_default(),
            topic: topic.0,
            lane: lane as u8,
            span: event.slots().len() as u8,
            is_keyed: u8::from(key.is_some()),
            pad: 0,
        };
        self.next_position += 1;
        self.next_deadline = self.next_deadline.min(deadline);
        self.lanes.push_back(lane as u32, first);
        self.topics.push_back(u32::from(topic.0), first);
        if let Some(key) = key {
            let waiting = &mut self.waiting;
            if let Some(older) = self.keys.find(key, |first| waiting[first as usize].key) {
                // It stays where it is: its key has been put off for long enough.
                waiting[older as usize].is_keyed = 0;
            }
            let waiting = &self.waiting;
            self.keys.set(key, first, |first| waiting[first as usize].key);
        }
        if STRICT_KINDS.contains(head.kind()) {
            self.losses.queue(first, head.symbol, was_spilled);
        }
        let state = &mut self.state[topic.index()];
        state.stats.queued += 1;
        state.used += event.slots().len() as u32;
        state.stats.peak_slots = state.stats.peak_slots.max(u64::from(state.used));
        if state.used >= open.high && state.is_crowded == 0 {
            state.is_crowded = 1;
            state.crowded_since = self.now.0;
            state.stats.crowded += 1;
            let transition = Transition { at: self.now, topic, is_high: true, waiting: state.used };
            self.transitions.push(transition);
        }
    }

    /// Takes the event at `first` out of every list, and gives its slots back. Returns its topic.
    fn remove(&mut self, first: u32) -> TopicId {
        let Waiting { topic, lane, span, key, is_keyed, .. } = self.waiting[first as usize];
        if is_keyed == 1 {
            let waiting = &self.waiting;
            self.keys.remove(key, |first| waiting[first as usize].key);
        }
        self.lanes.unlink(u32::from(lane), first);
        self.topics.unlink(u32::from(topic), first);
        self.arena.free(first, usize::from(span));
        let topic = TopicId(topic);
        let state = &mut self.state[topic.index()];
        state.used -= u32::from(span);
        if state.is_crowded == 1 {
            let low = self.registry.topic(topic).expect("Invariant: what waits has a topic").low;
            if state.used <= low {
                state.is_crowded = 0;
                let crowded_ns = self.now.0.saturating_sub(state.crowded_since);
                state.stats.crowded_ns = state.stats.crowded_ns.saturating_add(crowded_ns);
                let transition = Transition { at: self.now, topic, is_high: false, waiting: state.used };
                self.transitions.push(transition);
            }
        }
        topic
    }

    /// The event at `first` leaves without being dispatched.
    fn leave(&mut self, first: u32, why: Left, left: &mut impl FnMut(Left, &Slot)) {
        let head = *self.arena.head(first);
        if STRICT_KINDS.contains(head.kind()) {
            self.losses.lose(first, &head);
        }
        let topic = self.remove(first);
        self.counts.diverted += 1;
        let stats = &mut self.state[topic.index()].stats;
        match why {
            Left::Coalesced => stats.coalesced += 1,
            Left::DroppedOldest => stats.dropped_oldest += 1,
            Left::Expired => stats.expired += 1,
            Left::Closed => stats.closed += 1,
        }
        left(why, &head);
        // A newer event of the topic may be on its way in: only a closing bus ends here, and that takes none.
        self.end_close(topic);
    }

    fn lose_new(&mut self, head: &Slot) {
        if STRICT_KINDS.contains(head.kind()) {
            self.losses.lose_new(head);
        }
    }

    /// The lane whose turn it is.
    #[inline]
    fn pick(&self) -> Option<usize> {
        let starved = |lane: &usize| self.passed[*lane] >= LANE_TURNS_MAX && !self.lanes.is_empty(*lane as u32);
        if let Some(lane) = (1..LANES).rev().find(starved) {
            return Some(lane);
        }
        (0..LANES).find(|lane| !self.lanes.is_empty(*lane as u32) || *lane == NORMAL && self.tick.is_some())
    }

    /// Whether a gap that nothing waits behind goes now, where `lane` would have its turn.
    #[inline]
    fn is_gaps_turn(&self, lane: Option<usize>) -> bool {
        // What was lost while events are spilled is behind those.
        if !self.losses.has_due() || self.spilled > 0 {
            return false;
        }
        let is_urgent = (0..NORMAL).any(|lane| !self.lanes.is_empty(lane as u32));
        lane.is_none() || self.since_gap >= if is_urgent { LANE_TURNS_MAX } else { LANE_GAP_TURNS }
    }

    /// Takes the next events into the front of `out`, whole, until it is full or nothing is left, with their due stamps into `dues`
    /// ([`DUE_NONE`] for ticks and gaps, which are made here). Returns the slots taken. An event that is longer than what is left of `out`
    /// stays; with [`SPAN_SLOTS_MAX`](crate::limits::SPAN_SLOTS_MAX) slots or more, 0 means that nothing waits, no gap either, but for gaps that stand
    /// behind spilled events. O(slots).
    ///
    /// # Panics
    /// When `dues` is shorter than `out`.
    pub fn pop_batch(&mut self, out: &mut [Slot], dues: &mut [u64]) -> usize {
        assert!(dues.len() >= out.len(), "room for one due time for each slot");
        let mut done = 0;
        while done < out.len() {
            let lane = self.pick();
            if self.is_gaps_turn(lane)
                && let Some(gap) = self.losses.pop_due()
            {
                (out[done], dues[done]) = (gap, DUE_NONE);
                self.counts.gaps += 1;
                self.since_gap = 0;
                done += 1;
                continue;
            }
            let Some(lane) = lane else { break };
            let front = self.lanes.first(lane as u32);
            if lane == NORMAL
                && let Some((position, time)) = self.tick
                && front.is_none_or(|first| self.waiting[first as usize].position > position)
            {
                let tick = Slot { kind: KindVersion::new(Kind::TICK, Tick::VERSION), ts_recv: time, ..Slot::ZERO };
                (out[done], dues[done]) = (tick, DUE_NONE);
                self.tick = None;
                done += 1;
                continue;
            }
            let first = front.expect("Invariant: the lane has an event");
            let Waiting { position, due, span, topic, .. } = self.waiting[first as usize];
            let head = *self.arena.head(first);
            let is_strict = STRICT_KINDS.contains(head.kind());
            if is_strict && let Some(missing) = self.losses.take_before(first) {
                (out[done], dues[done]) = (missing.event(head.symbol), DUE_NONE);
                self.counts.gaps += 1;
                done += 1;
                continue;
            }
            let span = usize::from(span);
            if out.len() - done < span {
                break;
            }
            self.arena.copy_to(first, &mut out[done..done + span]);
            dues[done..done + span].fill(due);
            done += span;
            if is_strict {
                self.losses.dispatch(first, head.symbol);
            }
            self.remove(first);
            self.state[usize::from(topic)].stats.dispatched += 1;
            self.turn(lane, position);
            self.end_close(TopicId(topic));
        }
        done
    }

    /// An event of `lane` went: the lower lanes were passed.
    #[inline]
    fn turn(&mut self, lane: usize, position: u64) {
        self.counts.turns += u64::from(self.passed[lane] >= LANE_TURNS_MAX);
        self.passed[lane] = 0;
        self.since_gap = self.since_gap.saturating_add(1);
        let mut overtakes = false;
        for lower in lane + 1..LANES {
            if let Some(first) = self.lanes.first(lower as u32) {
                self.passed[lower] = self.passed[lower].saturating_add(1);
                overtakes |= self.waiting[first as usize].position < position;
            }
        }
        self.counts.overtaken += u64::from(overtakes);
    }

    /// Slots that wait.
    #[must_use]
    pub const fn used_slots(&self) -> usize {
        self.arena.used()
    }

    /// Events that wait.
    #[must_use]
    pub fn len(&self) -> usize {
        (0..LANES as u32).map(|lane| self.lanes.len(lane)).sum()
    }

    /// Whether nothing is left to be taken: no event, no tick, no gap. What is spilled is elsewhere.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.arena.used() == 0 && self.tick.is_none() && !self.losses.has_due()
    }

    /// Events in the store of spilled events.
    #[inline]
    #[must_use]
    pub const fn spilled(&self) -> u64 {
        self.spilled
    }

    /// Events that wait in a lane.
    #[must_use]
    pub fn len_of(&self, lane: Lane) -> usize {
        self.lanes.len(rank(lane) as u32)
    }

    /// Slots that wait in a topic.
    #[must_use]
    pub fn used_by(&self, topic: TopicId) -> usize {
        self.state.get(topic.index()).map_or(0, |state| state.used as usize)
    }

    /// Whether a topic is above its high watermark, and has not been down at the low one since.
    #[must_use]
    pub fn is_crowded(&self, topic: TopicId) -> bool {
        self.state.get(topic.index()).is_some_and(|state| state.is_crowded == 1)
    }

    /// Counts of a topic, since its bus was opened.
    #[must_use]
    pub fn stats(&self, topic: TopicId) -> &TopicStats {
        &self.state[topic.index()].stats
    }

    /// Counts of the whole.
    #[must_use]
    pub const fn counts(&self) -> &Counts {
        &self.counts
    }

    /// The last transitions of watermarks.
    #[must_use]
    pub const fn transitions(&self) -> &Transitions {
        &self.transitions
    }

    /// Source time: the latest that was offered.
    #[must_use]
    pub const fn now(&self) -> UnixNanos {
        self.now
    }

    /// Whether anything that was done here depends on load: an event was lost, or another one went first.
    #[must_use]
    pub fn has_acted(&self) -> bool {
        self.counts.overtaken + self.counts.diverted > 0
    }

    /// Bytes on the heap.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.registry.bytes()
            + self.arena.bytes()
            + size_of_val(&*self.waiting)
            + self.lanes.bytes()
            + self.topics.bytes()
            + self.keys.bytes()
            + self.losses.bytes()
            + size_of_val(&*self.state)
            + TRANSITION_BYTES
    }
}

const TRANSITION_BYTES: usize = crate::limits::TRANSITIONS_MAX * size_of::<Transition>();
