//! The naive twin of the waiting room: one list of what waits, searched from the front for everything, and every rule spelt out.
#![allow(dead_code, reason = "each test binary uses its own part")]

use std::collections::{BTreeMap, VecDeque};
use tapeline_core::event::payload::{
    Alert, BookLevel, BookOrder, Features, Gap, News, Payload, Quote, Signal, Status, Trade,
};
use tapeline_core::event::{EventBuf, EventRef, Flags, Kind, KindSet, Lane, Slot};
use tapeline_core::lanes::{Counts, Lanes, Left, Offered, TopicStats};
use tapeline_core::limits::{LANE_GAP_TURNS, LANE_TURNS_MAX};
use tapeline_core::ring::DUE_NONE;
use tapeline_core::section;
use tapeline_core::testing::{Prng, without_allocation};
use tapeline_core::topics::{Bus, BusId, ConflateBy, OpenError, Policy, Registry, Topic};
use tapeline_core::units::{SourceId, SymbolId, UnixNanos};

pub(crate) const SYMBOLS: usize = 4;
const KINDS: [Kind; 9] = [
    Kind::QUOTE,
    Kind::TRADE,
    Kind::BOOK_LEVEL,
    Kind::BOOK_ORDER,
    Kind::NEWS,
    Kind::STATUS,
    Kind::ALERT,
    Kind::FEATURES,
    Kind::SIGNAL,
];
const STRICT: [Kind; 4] = [Kind::TRADE, Kind::BOOK_LEVEL, Kind::BOOK_ORDER, Kind::GAP];

type Key = (u16, u32, u8, u8, i64);

fn key(by: ConflateBy, head: &Slot) -> Option<Key> {
    if head.flags.contains(Flags::SNAPSHOT) {
        return None;
    }
    let mut key = (head.kind().0, head.symbol.0, head.source.0, 0, 0);
    if by == ConflateBy::Level && head.kind() == Kind::BOOK_LEVEL {
        let level: &BookLevel = head.payload_as();
        if level.action == 2 {
            return None;
        }
        (key.3, key.4) = (level.side, level.price);
    }
    Some(key)
}

#[derive(Clone, Copy, PartialEq, Debug, Default)]
struct Hole {
    from: u64,
    to: u64,
    ts: u64,
    count: u32,
    source: Option<u8>,
}

impl Hole {
    fn of(head: &Slot) -> Self {
        let (from, to, count) = match head.kind() {
            Kind::GAP => {
                let gap: &Gap = head.payload_as();
                (gap.expected, gap.received - 1, gap.missing as u32)
            }
            _ if head.flags.contains(Flags::UNSEQUENCED) => (0, 0, 1),
            _ => (head.seq, head.seq, 1),
        };
        Self { from, to, ts: head.ts_recv.0, count, source: Some(head.source.0) }
    }

    fn and(self, other: Self) -> Self {
        Self {
            from: self.from.min(other.from),
            to: self.to.max(other.to),
            ts: self.ts.max(other.ts),
            count: self.count + other.count,
            source: if self.source == other.source { self.source } else { Some(0) },
        }
    }

    fn slot(self, symbol: u32) -> Slot {
        let gap = Gap { expected: self.from, received: self.to + 1, missing: u64::from(self.count) };
        let mut event = EventBuf::new(&gap);
        let head = event.head_mut();
        head.flags = Flags::UNSEQUENCED.with(Flags::LAST);
        (head.ts_recv, head.ts_event) = (UnixNanos(self.ts), UnixNanos::UNKNOWN);
        (head.symbol, head.source) = (SymbolId(symbol), SourceId(self.source.unwrap_or(0)));
        event.slots()[0]
    }
}

/// What a symbol's strict stream holds, in order.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Item {
    Event(u64),
    Hole(Hole),
}

#[derive(Clone, Debug)]
struct Waits {
    slots: Vec<Slot>,
    due: u64,
    topic: usize,
    lane: usize,
    position: u64,
    deadline: Option<u64>,
    since: u64,
    key: Option<Key>,
}

#[derive(Clone, Debug)]
struct TwinTopic {
    topic: Topic,
    stats: TopicStats,
    spilled: u64,
    /// A spill failed behind what is in the store.
    has_lost: bool,
    crowded_since: Option<u64>,
}

/// What the waiting room should do.
pub(crate) struct Twin {
    topics: Vec<TwinTopic>,
    waits: Vec<Waits>,
    streams: BTreeMap<u32, VecDeque<Item>>,
    due_gaps: VecDeque<u32>,
    passed: [u32; 4],
    since_gap: u32,
    position: u64,
    tick: Option<(u64, u64)>,
    now: u64,
    counts: Counts,
    transitions: u64,
    is_closed: bool,
}

fn lane_of(topic: Lane, head: &Slot) -> usize {
    let lane = if head.lane() == Lane::Normal { topic } else { head.lane() };
    [Lane::Critical, Lane::High, Lane::Normal, Lane::Low].iter().position(|one| *one == lane).unwrap()
}

impl Twin {
    fn new(topics: &[Topic]) -> Self {
        let topics = topics.iter().cloned().map(|topic| TwinTopic {
            topic,
            stats: TopicStats::default(),
            spilled: 0,
            has_lost: false,
            crowded_since: None,
        });
        Self {
            topics: topics.collect(),
            waits: Vec::new(),
            streams: BTreeMap::new(),
            due_gaps: VecDeque::new(),
            passed: [0; 4],
            since_gap: LANE_TURNS_MAX,
            position: 0,
            tick: None,
            now: 0,
            counts: Counts::default(),
            transitions: 0,
            is_closed: false,
        }
    }

    fn topic_of(&self, kind: Kind) -> Option<usize> {
        self.topics.iter().position(|topic| topic.topic.kinds.contains(kind))
    }

    fn used(&self, topic: usize) -> usize {
        self.waits.iter().filter(|event| event.topic == topic).map(|event| event.slots.len()).sum()
    }

    fn watch(&mut self, topic: usize) {
        let used = self.used(topic);
        let now = self.now;
        let topic = &mut self.topics[topic];
        topic.stats.peak_slots = topic.stats.peak_slots.max(used as u64);
        match topic.crowded_since {
            None if used >= topic.topic.high => {
                topic.crowded_since = Some(now);
                topic.stats.crowded += 1;
                self.transitions += 1;
            }
            Some(since) if used <= topic.topic.low => {
                topic.crowded_since = None;
                topic.stats.crowded_ns += now - since;
                self.transitions += 1;
            }
            _ => {}
        }
    }

    fn is_strict(head: &Slot) -> bool {
        STRICT.contains(&head.kind()) && head.symbol.index() < SYMBOLS
    }

    /// Holes next to each other are one; a stream that is nothing but a hole is due.
    fn tidy(&mut self, symbol: u32) {
        let stream = self.streams.entry(symbol).or_default();
        let mut tidy: VecDeque<Item> = VecDeque::new();
        for item in stream.drain(..) {
            match (tidy.back_mut(), item) {
                (Some(Item::Hole(before)), Item::Hole(hole)) => *before = before.and(hole),
                _ => tidy.push_back(item),
            }
        }
        *stream = tidy;
        let is_due = matches!(stream.front(), Some(Item::Hole(_))) && stream.len() == 1;
        match (is_due, self.due_gaps.contains(&symbol)) {
            (true, false) => self.due_gaps.push_back(symbol),
            (false, true) => self.due_gaps.retain(|due| *due != symbol),
            _ => {}
        }
    }

    fn lose_new(&mut self, head: &Slot) {
        if Self::is_strict(head) {
            self.streams.entry(head.symbol.0).or_default().push_back(Item::Hole(Hole::of(head)));
            self.tidy(head.symbol.0);
        }
    }

    fn leave(&mut self, at: usize, why: Left, left: &mut Vec<(Left, Slot)>) {
        let event = self.waits.remove(at);
        let head = event.slots[0];
        if Self::is_strict(&head) {
            let stream = self.streams.get_mut(&head.symbol.0).unwrap();
            for item in stream.iter_mut().filter(|item| **item == Item::Event(event.position)) {
                *item = Item::Hole(Hole::of(&head));
            }
            self.tidy(head.symbol.0);
        }
        self.counts.diverted += 1;
        let stats = &mut self.topics[event.topic].stats;
        match why {
            Left::Coalesced => stats.coalesced += 1,
            Left::DroppedOldest => stats.dropped_oldest += 1,
            Left::Expired => stats.expired += 1,
            Left::Closed => stats.closed += 1,
        }
        self.watch(event.topic);
        left.push((why, head));
    }

    fn advance(&mut self, now: u64, left: &mut Vec<(Left, Slot)>) {
        self.now = self.now.max(now);
        let late = |event: &Waits| event.deadline.is_some_and(|deadline| deadline <= self.now);
        // By topic, as they came.
        let mut late: Vec<(usize, u64)> =
            self.waits.iter().filter(|event| late(event)).map(|event| (event.topic, event.position)).collect();
        late.sort_unstable();
        for (_, position) in late {
            let at = self.waits.iter().position(|event| event.position == position).unwrap();
            self.leave(at, Left::Expired, left);
        }
    }

    fn queue(
        &mut self,
        slots: &[Slot],
        topic: usize,
        due: u64,
        (key, since): (Option<Key>, Option<u64>),
        spilled: bool,
    ) {
        let head = slots[0];
        let config = &self.topics[topic].topic;
        let (lane, expires) = (lane_of(config.lane, &head), config.expire_after_ns);
        if key.is_some() {
            self.waits.iter_mut().filter(|event| event.key == key).for_each(|event| event.key = None);
        }
        self.waits.push(Waits {
            slots: slots.to_vec(),
            due,
            topic,
            lane,
            position: self.position,
            deadline: (expires > 0).then(|| self.now.saturating_add(expires)),
            since: since.unwrap_or(self.position),
            key,
        });
        if Self::is_strict(&head) {
            let stream = self.streams.entry(head.symbol.0).or_default();
            let is_before = spilled && matches!(stream.back(), Some(Item::Hole(_)));
            stream.insert(stream.len() - usize::from(is_before), Item::Event(self.position));
            self.tidy(head.symbol.0);
        }
        self.position += 1;
        self.topics[topic].stats.queued += 1;
        self.watch(topic);
    }

    fn offer(&mut self, slots: &[Slot], due: u64, now: u64, left: &mut Vec<(Left, Slot)>) -> Offered {
        self.advance(now, left);
        let (head, span) = (slots[0], slots.len());
        if self.is_closed {
            return Offered::NoTopic;
        }
        let Some(topic) = self.topic_of(head.kind()) else { return Offered::NoTopic };
        let Topic { capacity, policy, conflate_by, .. } = self.topics[topic].topic;
        if span > capacity {
            self.topics[topic].stats.refused += 1;
            self.counts.diverted += 1;
            self.lose_new(&head);
            return Offered::Refused;
        }
        let (mut wanted, mut since) = (None, None);
        if policy == Policy::Conflate {
            wanted = key(conflate_by, &head);
            let older = self.waits.iter().position(|event| wanted.is_some() && event.key == wanted);
            if let Some(at) = older
                && self.position - self.waits[at].since < capacity as u64
            {
                since = Some(self.waits[at].since);
                self.leave(at, Left::Coalesced, left);
            }
        }
        let has_room = self.used(topic) + span <= capacity;
        let spills = policy == Policy::Spill && self.topics[topic].spilled > 0;
        let offered = match policy {
            Policy::Spill if spills && self.topics[topic].has_lost => Offered::DroppedNewest,
            Policy::Spill if spills || !has_room => Offered::Spill,
            _ if has_room => Offered::Queued,
            Policy::Block => Offered::Blocked,
            Policy::Refuse => Offered::Refused,
            Policy::DropNewest => Offered::DroppedNewest,
            Policy::DropOldest | Policy::Conflate => Offered::Queued,
            Policy::Spill => Offered::Spill,
            Policy::DeadLetter => Offered::DeadLetter,
        };
        self.counts.diverted += u64::from(offered != Offered::Queued && offered != Offered::Blocked);
        let stats = &mut self.topics[topic].stats;
        match offered {
            Offered::Queued => {
                while self.used(topic) + span > capacity {
                    let oldest = self.waits.iter().position(|event| event.topic == topic).unwrap();
                    self.leave(oldest, Left::DroppedOldest, left);
                }
                self.queue(slots, topic, due, (wanted, since), false);
            }
            Offered::Blocked => stats.blocked += 1,
            Offered::Refused => stats.refused += 1,
            Offered::DroppedNewest => stats.dropped_newest += 1,
            Offered::Spill => {
                stats.spilled += 1;
                self.topics[topic].spilled += 1;
            }
            Offered::DeadLetter => stats.dead_lettered += 1,
            Offered::NoTopic => unreachable!(),
        }
        if matches!(offered, Offered::Refused | Offered::DroppedNewest | Offered::DeadLetter) {
            self.lose_new(&head);
        }
        offered
    }

    fn spill_failed(&mut self, head: &Slot) {
        let topic = self.topic_of(head.kind()).unwrap();
        let topic = &mut self.topics[topic];
        topic.spilled -= 1;
        topic.stats.spilled -= 1;
        topic.stats.dropped_newest += 1;
        topic.has_lost = topic.spilled > 0;
        self.lose_new(head);
    }

    fn unspill(&mut self, slots: &[Slot]) -> bool {
        let topic = self.topic_of(slots[0].kind()).unwrap();
        if self.used(topic) + slots.len() > self.topics[topic].topic.capacity {
            return false;
        }
        self.topics[topic].spilled -= 1;
        self.topics[topic].has_lost &= self.topics[topic].spilled > 0;
        self.topics[topic].stats.unspilled += 1;
        self.queue(slots, topic, DUE_NONE, (None, None), true);
        true
    }

    fn readmit(&mut self, slots: &[Slot]) -> bool {
        let topic = self.topic_of(slots[0].kind()).filter(|_| !self.is_closed);
        let Some(topic) = topic else { return false };
        if self.used(topic) + slots.len() > self.topics[topic].topic.capacity {
            return false;
        }
        self.queue(slots, topic, DUE_NONE, (None, None), false);
        true
    }

    fn front(&self, lane: usize) -> Option<&Waits> {
        self.waits.iter().find(|event| event.lane == lane)
    }

    fn pop_batch(&mut self, room: usize) -> Vec<(Slot, u64)> {
        let mut out: Vec<(Slot, u64)> = Vec::new();
        while out.len() < room {
            let waits = |lane: usize| self.front(lane).is_some();
            let wait = if waits(0) || waits(1) { LANE_TURNS_MAX } else { LANE_GAP_TURNS };
            let has_others = (0..4).any(waits) || self.tick.is_some();
            if self.topics.iter().all(|topic| topic.spilled == 0)
                && (!has_others || self.since_gap >= wait)
                && let Some(symbol) = self.due_gaps.pop_front()
            {
                let Some(Item::Hole(hole)) = self.streams.get_mut(&symbol).unwrap().pop_front() else { unreachable!() };
                out.push((hole.slot(symbol), DUE_NONE));
                self.counts.gaps += 1;
                self.since_gap = 0;
                continue;
            }
            let waits = |lane: usize| self.front(lane).is_some();
            let starved = (1..4).rev().find(|lane| self.passed[*lane] >= LANE_TURNS_MAX && waits(*lane));
            let lane = starved.or_else(|| (0..4).find(|lane| waits(*lane) || *lane == 2 && self.tick.is_some()));
            let Some(lane) = lane else { break };
            if let (2, Some((position, time))) = (lane, self.tick)
                && self.front(2).is_none_or(|event| event.position > position)
            {
                let mut tick = EventBuf::new(&tapeline_core::event::payload::Tick::default());
                tick.head_mut().ts_recv = UnixNanos(time);
                out.push((tick.slots()[0], DUE_NONE));
                self.tick = None;
                continue;
            }
            let event = self.front(lane).unwrap().clone();
            let head = event.slots[0];
            if Self::is_strict(&head) {
                let stream = self.streams.get_mut(&head.symbol.0).unwrap();
                let at = stream.iter().position(|item| *item == Item::Event(event.position)).unwrap();
                if let Some(Item::Hole(hole)) = at.checked_sub(1).map(|before| stream[before]) {
                    stream.remove(at - 1);
                    out.push((hole.slot(head.symbol.0), DUE_NONE));
                    self.counts.gaps += 1;
                    continue;
                }
            }
            if room - out.len() < event.slots.len() {
                break;
            }
            out.extend(event.slots.iter().map(|slot| (*slot, event.due)));
            self.waits.retain(|other| other.position != event.position);
            if Self::is_strict(&head) {
                let stream = self.streams.get_mut(&head.symbol.0).unwrap();
                stream.retain(|item| *item != Item::Event(event.position));
                self.tidy(head.symbol.0);
            }
            self.topics[event.topic].stats.dispatched += 1;
            self.watch(event.topic);
            self.counts.turns += u64::from(self.passed[lane] >= LANE_TURNS_MAX);
            self.passed[lane] = 0;
            self.since_gap += 1;
            let fronts: Vec<Option<u64>> = (0..4).map(|lane| self.front(lane).map(|event| event.position)).collect();
            let mut overtakes = false;
            for (lower, front) in fronts.iter().enumerate().skip(lane + 1) {
                if let Some(position) = front {
                    self.passed[lower] += 1;
                    overtakes |= *position < event.position;
                }
            }
            self.counts.overtaken += u64::from(overtakes);
        }
        out
    }

    fn tick(&mut self, now: u64, left: &mut Vec<(Left, Slot)>) -> bool {
        self.advance(now, left);
        let is_merged = self.tick.is_some();
        self.counts.ticks_merged += u64::from(is_merged);
        self.tick = Some((self.position, self.now));
        self.position += 1;
        is_merged
    }

    /// Nothing waits, and nothing is in the store: a bus that is being closed is gone.
    fn holds_nothing(&self) -> bool {
        self.waits.is_empty() && self.topics.iter().all(|topic| topic.spilled == 0)
    }

    fn clear(&mut self, left: &mut Vec<(Left, Slot)>) -> u64 {
        let events = self.waits.len() as u64;
        // By topic, as they came.
        for topic in 0..self.topics.len() {
            while let Some(at) = self.waits.iter().position(|event| event.topic == topic) {
                self.leave(at, Left::Closed, left);
            }
        }
        events
    }
}

/// The waiting room and its twin.
pub(crate) struct Pair {
    pub(crate) lanes: Lanes,
    twin: Twin,
    bus: BusId,
    config: Bus,
    seed: u64,
    /// Spilled events, in order, and those that were dead-lettered.
    store: VecDeque<Vec<Slot>>,
    letters: VecDeque<Vec<Slot>>,
    pub(crate) restarts: u64,
    pub(crate) restarts_closing: u64,
    pub(crate) clears: u64,
    pub(crate) drains: u64,
    pub(crate) refused_opens: u64,
    pub(crate) readmitted: u64,
    before_close: TopicStats,
    left: Vec<(Left, Slot)>,
    out: Vec<Slot>,
    dues: Vec<u64>,
}

impl Pair {
    pub(crate) fn new(config: Bus, seed: u64) -> Self {
        let lanes = Lanes::new(Registry::of(std::slice::from_ref(&config)).unwrap(), SYMBOLS, seed);
        let bus = lanes.registry().find(&config.name).unwrap();
        Self {
            lanes,
            twin: Twin::new(&config.topics),
            bus,
            config,
            seed,
            store: VecDeque::new(),
            letters: VecDeque::new(),
            restarts: 0,
            restarts_closing: 0,
            clears: 0,
            drains: 0,
            refused_opens: 0,
            readmitted: 0,
            before_close: TopicStats::default(),
            left: Vec::with_capacity(10_000),
            out: vec![Slot::ZERO; 64],
            dues: vec![0; 64],
        }
    }

    fn left(&mut self, expected: &[(Left, Slot)]) {
        assert_eq!(self.left, expected, "what left");
        self.left.clear();
    }

    pub(crate) fn offer(&mut self, slots: &[Slot], due: u64, now: u64, store_is_full: bool) {
        let mut expected = Vec::new();
        let wanted = self.twin.offer(slots, due, now, &mut expected);
        let event = EventRef::first(slots).unwrap();
        let (lanes, left) = (&mut self.lanes, &mut self.left);
        let offered =
            without_allocation(|| lanes.offer(event, due, UnixNanos(now), &mut |why, head| left.push((why, *head))));
        assert_eq!(offered, wanted, "{slots:?}");
        self.left(&expected);
        match offered {
            Offered::Spill if store_is_full => {
                self.twin.spill_failed(&slots[0]);
                self.lanes.spill_failed(&slots[0]);
            }
            Offered::Spill => self.store.push_back(slots.to_vec()),
            Offered::DeadLetter => self.letters.push_back(slots.to_vec()),
            _ => {}
        }
    }

    pub(crate) fn pop(&mut self, room: usize) {
        let expected = self.twin.pop_batch(room);
        let (lanes, out, dues) = (&mut self.lanes, &mut self.out[..room], &mut self.dues[..room]);
        let taken = without_allocation(|| lanes.pop_batch(out, dues));
        let got: Vec<(Slot, u64)> = out[..taken].iter().copied().zip(dues[..taken].iter().copied()).collect();
        assert_eq!(got, expected);
    }

    pub(crate) fn tick(&mut self, now: u64) {
        let mut expected = Vec::new();
        let wanted = self.twin.tick(now, &mut expected);
        let (lanes, left) = (&mut self.lanes, &mut self.left);
        let merged = without_allocation(|| lanes.tick(UnixNanos(now), &mut |why, head| left.push((why, *head))));
        assert_eq!(merged, wanted);
        self.left(&expected);
    }

    fn unspill(&mut self) {
        let Some(slots) = self.store.front() else { return };
        let event = EventRef::first(slots).unwrap();
        let lanes = &mut self.lanes;
        let is_back = without_allocation(|| lanes.unspill(event));
        assert_eq!(is_back, self.twin.unspill(slots));
        if is_back {
            self.store.pop_front();
        }
    }

    fn readmit(&mut self) {
        let Some(slots) = self.letters.front() else { return };
        let is_back = self.lanes.readmit(EventRef::first(slots).unwrap());
        assert_eq!(is_back, self.twin.readmit(slots));
        if is_back {
            self.readmitted += 1;
            self.letters.pop_front();
        }
    }

    pub(crate) fn restart(&mut self) {
        self.restarts += 1;
        let mut bytes = Vec::with_capacity(self.lanes.snapshot_bytes());
        self.lanes.snapshot(&mut bytes);
        assert_eq!(bytes.len(), self.lanes.snapshot_bytes());
        assert!(section::Section::parse(&bytes).is_ok());
        let mut registry = Registry::new(self.lanes.registry().slots());
        // However often it was closed and opened again before, and also while it is being closed.
        if self.lanes.registry().name(self.bus).is_some() {
            self.restarts_closing += u64::from(self.twin.is_closed);
            self.bus = registry.open(&self.config).unwrap();
        } else {
            self.keep_counts();
        }
        let transitions = self.lanes.transitions().count();
        self.lanes = Lanes::restore(registry, SYMBOLS, self.seed, &bytes).unwrap();
        self.twin.transitions -= transitions;
        let mut again = Vec::new();
        self.lanes.snapshot(&mut again);
        assert!(bytes == again, "equal structures give equal bytes");
    }

    /// Whether the bus takes nothing more.
    pub(crate) fn is_closed(&self) -> bool {
        self.twin.is_closed
    }

    /// Closes the bus, at once or when what waits has gone. While it is being closed, nobody can have its kinds; once it is gone, it is opened
    /// again.
    fn close_or_open(&mut self, at_once: bool) {
        if !self.twin.is_closed {
            self.twin.is_closed = true;
            self.clears += u64::from(at_once);
            self.drains += u64::from(!at_once);
            if !at_once {
                let (lanes, bus) = (&mut self.lanes, self.bus);
                assert_eq!(without_allocation(|| lanes.close(bus)), Ok(()));
            }
        } else if self.twin.holds_nothing() {
            return self.reopen();
        } else {
            self.refused_opens += 1;
            assert_eq!(self.lanes.open(&self.config), Err(OpenError::Closing("bus".into())));
            let other = Bus { name: "other".into(), ..self.config.clone() };
            let refused = self.lanes.open(&other);
            assert!(matches!(refused, Err(OpenError::KindTaken { .. })), "{refused:?}");
        }
        if at_once && !self.twin.holds_nothing() {
            let mut expected = Vec::new();
            let events = self.twin.clear(&mut expected);
            let (lanes, left, bus) = (&mut self.lanes, &mut self.left, self.bus);
            assert_eq!(without_allocation(|| lanes.clear(bus, &mut |why, head| left.push((why, *head)))), Ok(events));
            self.left(&expected);
        } else if at_once && self.lanes.registry().name(self.bus).is_some() {
            assert_eq!(self.lanes.clear(self.bus, &mut |_, _| unreachable!("nothing waits")), Ok(0));
        }
        self.compare();
    }

    /// What the closed bus has counted is kept.
    fn keep_counts(&mut self) {
        self.before_close = self.totals();
        self.twin.topics.iter_mut().for_each(|topic| topic.stats = TopicStats::default());
    }

    fn reopen(&mut self) {
        assert_eq!(
            (self.lanes.used_slots(), self.lanes.registry().reserved()),
            (0, 0),
            "it has freed all that it held"
        );
        self.keep_counts();
        self.twin.is_closed = false;
        self.bus = self.lanes.open(&self.config).unwrap();
        assert_eq!(self.lanes.open(&self.config), Ok(self.bus));
    }

    pub(crate) fn compare(&self) {
        for (index, topic) in self.twin.topics.iter().enumerate() {
            let id = tapeline_core::topics::TopicId(index as u8);
            assert_eq!(*self.lanes.stats(id), topic.stats, "{}", topic.topic.name);
            assert_eq!(self.lanes.used_by(id), self.twin.used(index));
            assert_eq!(self.lanes.is_crowded(id), topic.crowded_since.is_some());
        }
        assert_eq!(*self.lanes.counts(), self.twin.counts);
        assert_eq!(self.lanes.transitions().count(), self.twin.transitions);
        assert_eq!(self.lanes.len(), self.twin.waits.len());
        assert_eq!(self.lanes.spilled(), self.store.len() as u64);
        let is_empty = self.twin.waits.is_empty() && self.twin.tick.is_none() && self.twin.due_gaps.is_empty();
        assert_eq!(self.lanes.is_empty(), is_empty);
        let is_gone = self.twin.is_closed && self.twin.holds_nothing();
        assert_eq!(self.lanes.registry().name(self.bus).is_none(), is_gone, "a bus is gone with its last event");
    }

    /// All counts, those of closed buses included.
    pub(crate) fn totals(&self) -> TopicStats {
        let mut mine: [u64; 15] = bytemuck::cast(self.before_close);
        for topic in &self.twin.topics {
            mine.iter_mut().zip(bytemuck::cast::<_, [u64; 15]>(topic.stats)).for_each(|(mine, more)| *mine += more);
        }
        bytemuck::cast(mine)
    }
}

/// A pair, and random operations on it.
pub(crate) struct Life {
    pub(crate) pair: Pair,
    prng: Prng,
    now: u64,
    seq: u64,
}

/// A bus of one to nine topics with random policies.
pub(crate) fn random_bus(prng: &mut Prng, capacity: usize) -> Bus {
    let lanes = [Lane::Critical, Lane::High, Lane::Normal, Lane::Normal, Lane::Low];
    let book_lane = lanes[prng.index(lanes.len())];
    let mut sets: Vec<Vec<Kind>> = vec![Vec::new(); 1 + prng.index(KINDS.len())];
    for kind in KINDS {
        let at = prng.index(sets.len());
        sets[at].push(kind);
    }
    sets.retain(|set| !set.is_empty());
    let topics = sets.iter().enumerate().map(|(index, set)| {
        let room = 1 + prng.index(capacity);
        let mut topic = Topic::new(&format!("topic {index}"), KindSet::of(set), room);
        let has_book = set.contains(&Kind::BOOK_LEVEL) || set.contains(&Kind::BOOK_ORDER);
        topic.lane = if has_book { book_lane } else { lanes[prng.index(lanes.len())] };
        topic.policy = Policy::ALL[prng.index(Policy::ALL.len())];
        if topic.policy == Policy::Conflate && set.contains(&Kind::BOOK_ORDER) {
            topic.policy = Policy::DropOldest;
        }
        topic.conflate_by = if prng.one_in(2) { ConflateBy::Symbol } else { ConflateBy::Level };
        topic.high = 1 + prng.index(room);
        topic.low = prng.index(topic.high);
        topic.expire_after_ns = if prng.one_in(3) { 1 + prng.in_range(0..60) } else { 0 };
        topic.lossy = true;
        topic
    });
    Bus::new("bus", topics.collect())
}

fn random_event(prng: &mut Prng, seq: u64, now: u64) -> EventBuf {
    fn of<P: Payload>(payload: P) -> EventBuf {
        EventBuf::new(&payload)
    }
    let price = prng.in_range(0..3) as i64;
    let mut event = match KINDS[prng.index(KINDS.len())] {
        Kind::QUOTE => of(Quote { bid_px: price, ..Quote::default() }),
        Kind::TRADE => of(Trade { price, ..Trade::default() }),
        Kind::BOOK_LEVEL => {
            let (side, action) = (prng.index(2) as u8, prng.index(3) as u8);
            of(BookLevel { price, side, action, size: seq, ..BookLevel::default() })
        }
        Kind::BOOK_ORDER => of(BookOrder { price, ..BookOrder::default() }),
        Kind::NEWS => of(News::default()),
        Kind::STATUS => of(Status::default()),
        Kind::ALERT => of(Alert::default()),
        Kind::FEATURES => of(Features::default()),
        _ => of(Signal::default()),
    };
    for word in 0..[0, 0, 0, 1, 4][prng.index(5)] {
        event.push_words([seq ^ word; 7]).unwrap();
    }
    let head = event.head_mut();
    (head.seq, head.ts_recv) = (seq, UnixNanos(now));
    // One symbol more than the waiting room knows.
    head.symbol = SymbolId(prng.index(SYMBOLS + 1) as u32);
    head.source = SourceId(prng.index(2) as u8);
    if prng.one_in(8) {
        head.set_lane([Lane::Critical, Lane::High, Lane::Low][prng.index(3)]);
    }
    if prng.one_in(10) {
        head.flags = [Flags::SNAPSHOT, Flags::UNSEQUENCED][prng.index(2)];
    }
    event
}

impl Life {
    pub(crate) fn new(seed: u64, capacity: usize) -> Self {
        let mut prng = Prng::new(seed);
        let bus = random_bus(&mut prng, capacity);
        Self { pair: Pair::new(bus, seed), prng, now: 1_000, seq: 0 }
    }

    /// An event as this life would offer it.
    pub(crate) fn event(&mut self) -> EventBuf {
        self.seq += 1;
        random_event(&mut self.prng, self.seq, self.now)
    }

    pub(crate) fn step(&mut self) {
        let prng = &mut self.prng;
        self.now += prng.log_uniform(5) * u64::from(prng.one_in(3));
        match prng.in_range(0..1_000) {
            0..=779 => {
                self.seq += 1;
                let now = self.now.saturating_sub(prng.in_range(0..3));
                let event = random_event(prng, self.seq, now);
                let (due, is_full) = (prng.next_u64(), prng.one_in(9));
                self.pair.offer(event.slots(), due, now, is_full);
            }
            780..=899 => {
                let room = if prng.one_in(8) { 64 } else { 1 + prng.index(8) };
                self.pair.pop(room);
            }
            900..=939 => self.pair.tick(self.now),
            940..=979 => self.pair.unspill(),
            980..=993 => self.pair.readmit(),
            994..=997 => self.pair.restart(),
            _ => self.pair.close_or_open(prng.one_in(2)),
        }
        if self.pair.is_closed() && self.prng.one_in(16) {
            self.pair.close_or_open(self.prng.one_in(2));
        }
    }
}
