//! One to three shards on one thread, with the source that feeds them and an outbox that records.
//!
//! The source does what the runtime's does: it routes by the route table, and where an event's `ts_recv` lies before what
//! was sent already, it first tells the event's shard the time.

// Each test file that includes this module uses a part of it.
#![allow(dead_code)]

use std::collections::{BTreeMap, VecDeque};
use tapeline_core::bus::{Bus, Chain};
use tapeline_core::catalog::{Catalog, SeqRule};
use tapeline_core::event::payload::{Quote, QuoteWide, Tick, Trade};
use tapeline_core::event::{EventBuf, EventRef, Flags, Slot};
use tapeline_core::handler::JobSet;
use tapeline_core::ledger::Ledger;
use tapeline_core::limits::{MESH_DELAY_NS, SPAN_SLOTS_MAX, STAGED_SLOTS_MAX, TIME_NS_MAX};
use tapeline_core::requests::Counters as Requested;
use tapeline_core::ring::{self, Producer};
use tapeline_core::route::RouteTable;
use tapeline_core::shard::{Config, Outbox, Shard, Step};
use tapeline_core::testing::Prng;
use tapeline_core::units::{SourceId, SymbolId, UnixNanos};

pub(crate) const MILLI: u64 = 1_000_000;
pub(crate) const SECOND: u64 = 1_000 * MILLI;
/// A Thursday morning.
pub(crate) const START: u64 = 1_700_000_000 * SECOND;
pub(crate) const SYMBOLS_MAX: usize = 64;
pub(crate) const SYMBOLS: u32 = 9;
pub(crate) const SEED: u64 = 7;

/// The authority's catalog: the handlers' sources come first, as the bus interns them, then what the input defines.
pub(crate) fn authority<C: Chain>(bus: &impl Fn(&mut Catalog) -> Bus<C>) -> Catalog {
    let mut catalog = Catalog::new(SYMBOLS_MAX);
    let _ = bus(&mut catalog);
    for symbol in 1..=SYMBOLS {
        let id = catalog.symbol(format!("SYM{symbol}").as_bytes()).unwrap();
        assert_eq!(id, SymbolId(symbol));
    }
    catalog.source(b"test.feed", SeqRule::Increasing).unwrap();
    catalog
}

/// Everything that came out, by symbol, in order.
#[derive(Default, Clone, PartialEq, Eq, Debug)]
pub(crate) struct Outputs(pub(crate) BTreeMap<u32, Vec<Vec<Slot>>>);

/// An outbox of `room` slots that nothing takes from until [`Recorder::take`].
pub(crate) struct Recorder {
    pub(crate) room: usize,
    pub(crate) used: usize,
    pub(crate) outputs: Outputs,
    /// Spilled events, in order, and how many there may be.
    store: VecDeque<Vec<Slot>>,
    pub(crate) store_max: usize,
    /// The store has nothing at hand for now.
    pub(crate) is_reading: bool,
}

impl Recorder {
    pub(crate) fn new(room: usize) -> Self {
        Self { room, used: 0, outputs: Outputs::default(), store: VecDeque::new(), store_max: 0, is_reading: false }
    }

    pub(crate) fn take(&mut self) {
        self.used = 0;
    }
}

impl Outbox for Recorder {
    fn has_room(&mut self) -> bool {
        self.room - self.used >= STAGED_SLOTS_MAX
    }

    fn put(&mut self, output: EventRef<'_>) {
        self.used += output.slots().len();
        assert!(self.used <= self.room, "an output that found no room");
        self.outputs.0.entry(output.head().symbol.0).or_default().push(output.slots().to_vec());
    }

    fn spill(&mut self, event: EventRef<'_>) -> bool {
        let has_room = self.store.len() < self.store_max;
        if has_room {
            self.store.push_back(event.slots().to_vec());
        }
        has_room
    }

    fn unspill(&mut self, event: &mut [Slot; SPAN_SLOTS_MAX]) -> usize {
        if self.is_reading {
            return 0;
        }
        let Some(slots) = self.store.pop_front() else { return 0 };
        event[..slots.len()].copy_from_slice(&slots);
        slots.len()
    }
}

/// One shard's ring, as the source sees it.
struct Lane {
    ring: Producer,
    time: UnixNanos,
}

/// The source of a run: `send_one` of the runtime's, without pacing.
pub(crate) struct Source {
    lanes: Vec<Lane>,
    routes: RouteTable,
    catalog: Catalog,
    definitions: Vec<EventBuf>,
    defined: usize,
    pub(crate) events: Vec<Vec<Slot>>,
    at: usize,
    /// Running maximum of the times that were sent.
    pub(crate) time: UnixNanos,
    next_tick: UnixNanos,
    is_meshed: bool,
    pub(crate) is_done: bool,
}

impl Source {
    fn broadcast(&mut self, slots: &[Slot]) -> bool {
        if self.lanes.iter_mut().any(|lane| lane.ring.free_slots() < slots.len()) {
            if self.is_meshed {
                self.tick_all(self.time);
            }
            return false;
        }
        self.lanes.iter_mut().for_each(|lane| lane.ring.push(slots).unwrap());
        true
    }

    fn tick_all(&mut self, time: UnixNanos) {
        for lane in &mut self.lanes {
            if lane.time < time && lane.ring.push(tick(time, false).slots()).is_ok() {
                lane.time = time;
            }
        }
    }

    /// Sends up to `events` events, or fewer where a ring is full. Returns how many went.
    pub(crate) fn send(&mut self, events: usize) -> usize {
        for sent in 0..events {
            if !self.send_one() {
                return sent;
            }
        }
        events
    }

    /// Whether every definition was sent.
    pub(crate) fn has_defined(&self) -> bool {
        self.defined == self.definitions.len()
    }

    pub(crate) fn shard_of(&self, symbol: SymbolId) -> usize {
        self.routes.shard(self.catalog.route_slot(symbol))
    }

    fn send_one(&mut self) -> bool {
        if let Some(definition) = self.definitions.get(self.defined).cloned() {
            let is_sent = self.broadcast(definition.slots());
            self.defined += usize::from(is_sent);
            return is_sent;
        }
        let Some(event) = self.events.get(self.at).cloned() else {
            if self.is_done {
                return false;
            }
            self.is_done = self.broadcast(tick(self.time, true).slots());
            return self.is_done;
        };
        let head = event[0];
        // A time that no clock shows moves nothing.
        let time = if head.ts_recv.0 > TIME_NS_MAX { self.time } else { self.time.max(head.ts_recv) };
        if head.kind().is_control() {
            // As the runtime's source does: it concerns every shard.
            if !self.broadcast(&event) {
                return false;
            }
            self.lanes.iter_mut().for_each(|lane| lane.time = lane.time.max(time));
            (self.time, self.at) = (time, self.at + 1);
            return true;
        }
        let shard = self.shard_of(head.symbol);
        let lane = &mut self.lanes[shard];
        let is_full = if (head.ts_recv < time || head.ts_recv.0 > TIME_NS_MAX) && lane.time < time {
            if lane.ring.free_slots() < event.len() + 1 {
                true
            } else {
                lane.ring.push(tick(time, false).slots()).unwrap();
                lane.ring.push(&event).is_err()
            }
        } else {
            lane.ring.push(&event).is_err()
        };
        if is_full {
            if self.is_meshed {
                self.tick_all(time);
            }
            return false;
        }
        lane.time = time;
        self.time = time;
        self.at += 1;
        if time >= self.next_tick {
            self.next_tick = time.saturating_add(if self.is_meshed { MESH_DELAY_NS / 2 } else { 10 * MILLI });
            self.tick_all(time);
        }
        true
    }
}

pub(crate) fn tick(time: UnixNanos, is_last: bool) -> EventBuf {
    let mut tick = EventBuf::new(&Tick { last: u64::from(is_last), ..Tick::default() });
    tick.head_mut().ts_recv = time;
    tick
}

/// Sizes of a run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sizes {
    pub(crate) shards: usize,
    pub(crate) source_ring: usize,
    pub(crate) mesh_ring: usize,
    pub(crate) room: usize,
    pub(crate) timers_max: usize,
    pub(crate) pending: usize,
    /// Jobs that are done off the core: the test attaches the rings.
    pub(crate) off_core: JobSet,
}

impl Sizes {
    pub(crate) const fn of(shards: usize) -> Self {
        Self {
            shards,
            source_ring: 1024,
            mesh_ring: 1024,
            room: 1 << 20,
            timers_max: 1 << 14,
            pending: 1 << 13,
            off_core: JobSet::EMPTY,
        }
    }
}

/// A run: shards, source and outboxes.
pub(crate) struct Rig<C: Chain> {
    pub(crate) shards: Vec<Shard<C>>,
    pub(crate) outs: Vec<Recorder>,
    pub(crate) source: Source,
    pub(crate) steps: usize,
}

/// What a run comes to.
#[derive(Clone, Debug)]
pub(crate) struct Result {
    pub(crate) digest: u64,
    pub(crate) ledger: Ledger,
    pub(crate) derived: Ledger,
    pub(crate) outputs: Outputs,
    pub(crate) timers_fired: u64,
    pub(crate) requests: Requested,
    /// Not compared: where several shards are told the time, more is clamped or less.
    pub(crate) clamped: u64,
}

impl Result {
    /// What must be equal, whatever the cut. Controls (ticks, definitions) are sent to each shard apart.
    pub(crate) fn assert_same(&self, other: &Self, what: &str) {
        for (symbol, outputs) in &self.outputs.0 {
            let others = other.outputs.0.get(symbol).map_or(&[][..], Vec::as_slice);
            for (index, output) in outputs.iter().enumerate() {
                assert_eq!(Some(output), others.get(index), "{what}: output {index} of symbol {symbol}");
            }
        }
        assert_eq!(self.outputs, other.outputs, "{what}: outputs");
        assert_eq!(self.digest, other.digest, "{what}: digest");
        for kind in tapeline_core::event::Kind::ALL {
            assert_eq!(self.ledger.row(*kind), other.ledger.row(*kind), "{what}: ledger of {}", kind.name());
            assert_eq!(self.derived.row(*kind), other.derived.row(*kind), "{what}: derived {}", kind.name());
        }
        assert_eq!(self.timers_fired, other.timers_fired, "{what}: timers");
        assert_eq!(self.requests, other.requests, "{what}: requests");
    }
}

impl<C: Chain> Rig<C> {
    pub(crate) fn new(bus: impl Fn(&mut Catalog) -> Bus<C>, events: Vec<Vec<Slot>>, sizes: Sizes) -> Self {
        Self::configured(bus, events, sizes, &|_| {})
    }

    /// The same, with more set in the shards' configuration.
    pub(crate) fn configured(
        bus: impl Fn(&mut Catalog) -> Bus<C>,
        events: Vec<Vec<Slot>>,
        sizes: Sizes,
        set: &dyn Fn(&mut Config),
    ) -> Self {
        let Sizes { shards: count, source_ring, mesh_ring, room, timers_max, pending, off_core } = sizes;
        let routes = RouteTable::new(count);
        let authority = authority(&bus);
        let mut is_meshed = false;
        let mut outlets: Vec<Vec<_>> = (0..count).map(|_| (0..count).map(|_| None).collect()).collect();
        let mut peers: Vec<Vec<_>> = (0..count).map(|_| Vec::new()).collect();
        for (from, outlets) in outlets.iter_mut().enumerate() {
            for (to, outlet) in outlets.iter_mut().enumerate().filter(|(to, _)| *to != from) {
                let (producer, consumer) = ring::channel(mesh_ring);
                *outlet = Some(producer);
                peers[to].push(consumer);
            }
        }
        let (mut shards, mut lanes) = (Vec::new(), Vec::new());
        for (shard, (outlets, peers)) in outlets.into_iter().zip(peers).enumerate() {
            let (producer, consumer) = ring::channel(source_ring);
            lanes.push(Lane { ring: producer, time: UnixNanos::ZERO });
            let mut catalog = Catalog::new(SYMBOLS_MAX);
            let bus = bus(&mut catalog);
            is_meshed = bus.crosses_symbols() && count > 1;
            let (outlets, peers) = if bus.crosses_symbols() { (outlets, peers) } else { (vec![], vec![]) };
            let mut config = Config {
                shard,
                routes: routes.clone(),
                timers_max,
                mesh_pending_slots: pending,
                seed: SEED,
                ..Config::single()
            };
            config.requests.off_core = off_core;
            set(&mut config);
            shards.push(Shard::new(config, catalog, bus, (), consumer, peers, outlets));
        }
        let definitions = (1..authority.symbols() as u32)
            .map(|id| authority.symbol_def(SymbolId(id)))
            .chain((1..authority.sources() as u8).map(|id| authority.source_def(SourceId(id))))
            .collect();
        let source = Source {
            lanes,
            routes,
            catalog: authority,
            definitions,
            defined: 0,
            events,
            at: 0,
            time: UnixNanos::ZERO,
            next_tick: UnixNanos::ZERO,
            is_meshed,
            is_done: false,
        };
        let outs = (0..count).map(|_| Recorder::new(room)).collect();
        Self { shards, outs, source, steps: 0 }
    }

    /// One step of shard `at`; its ledgers balance after it.
    pub(crate) fn step(&mut self, at: usize) -> Step {
        self.steps += 1;
        let step = self.shards[at].step(&mut self.outs[at]);
        assert!(self.shards[at].ledger().is_balanced(), "step {}: {:?}", self.steps, self.shards[at].ledger());
        assert!(self.shards[at].derived().is_balanced(), "step {}: {:?}", self.steps, self.shards[at].derived());
        let requests = self.shards[at].requests().counters();
        assert!(requests.is_balanced(), "step {}: {requests:?}", self.steps);
        step
    }

    /// Whether nothing is left anywhere.
    pub(crate) fn is_drained(&self) -> bool {
        let counts = self.shards.iter().map(Shard::mesh_counts);
        let (sent, received) = counts.fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
        self.source.is_done && self.shards.iter().all(Shard::is_drained) && sent == received
    }

    /// Runs to the end: random pushes and random steps by `prng`, at most `steps_max` of them.
    pub(crate) fn run(&mut self, prng: &mut Prng, steps_max: usize) {
        let greed = 1 + prng.in_range(0..100);
        while !self.is_drained() {
            if prng.one_in(3) {
                self.source.send(1 + prng.in_range(0..greed) as usize);
            }
            for _ in 0..prng.in_range(0..6) {
                let at = prng.index(self.shards.len());
                let _ = self.step(at);
                if prng.one_in(4) {
                    self.outs[at].take();
                }
            }
            assert!(self.steps < steps_max, "not drained after {} steps: {:?}", self.steps, self.shards);
        }
    }

    pub(crate) fn result(&self) -> Result {
        let (mut ledger, mut derived, mut outputs) = (Ledger::new(), Ledger::new(), Outputs::default());
        for (shard, out) in self.shards.iter().zip(&self.outs) {
            ledger.add(shard.ledger());
            derived.add(shard.derived());
            for (symbol, of_symbol) in &out.outputs.0 {
                let old = outputs.0.insert(*symbol, of_symbol.clone());
                assert!(old.is_none(), "symbol {symbol} had outputs on two shards");
            }
        }
        let mut requests = Requested::default();
        self.shards.iter().for_each(|shard| requests.add(shard.requests().counters()));
        Result {
            requests,
            clamped: self.shards.iter().map(Shard::clamped).sum(),
            digest: self.shards.iter().map(Shard::digest_total).fold(0, u64::wrapping_add),
            ledger,
            derived,
            outputs,
            timers_fired: self.shards.iter().map(Shard::timers_fired).sum(),
        }
    }
}

/// The source id of "test.feed" behind `handlers` handlers.
pub(crate) fn feed(handlers: usize) -> SourceId {
    SourceId(handlers as u8 + 1)
}

/// Trades and narrow and wide quotes of [`SYMBOLS`] symbols. Many share an instant, some go back in time.
pub(crate) fn stream(seed: u64, count: usize, step_ns: u64, source: SourceId) -> Vec<Vec<Slot>> {
    let mut prng = Prng::new(seed);
    let mut now = START;
    (0..count as u64)
        .map(|seq| {
            now += match prng.in_range(0..20) {
                0..=9 => 0,
                10 => (now / MILLI + 1) * MILLI - now,
                11 => 40 * step_ns,
                _ => prng.in_range(0..step_ns),
            };
            let ts_recv = if prng.one_in(12) { now - prng.in_range(0..20 * step_ns) } else { now };
            let price = 100_000_000_000 + prng.in_range(0..1_000_000_000) as i64;
            let mut event = match prng.in_range(0..3) {
                0 => EventBuf::new(&Quote { bid_px: price, ask_px: price + 10_000_000, bid_sz: 3, ask_sz: 4 }),
                1 => {
                    let mut event = EventBuf::new(&Quote { bid_px: price, ask_px: price + 1, ..Quote::default() });
                    event.push_value(&QuoteWide { bid_sz: 1 << 40, ask_sz: 5, ..QuoteWide::default() }).unwrap();
                    event.flag(Flags::WIDE);
                    event
                }
                _ => EventBuf::new(&Trade { price, size: 1 + prng.in_range(0..1_000), side: 1, ..Trade::default() }),
            };
            let head = event.head_mut();
            (head.ts_recv, head.ts_event, head.seq) = (UnixNanos(ts_recv), UnixNanos(ts_recv - 5), seq);
            (head.symbol, head.source, head.scale) =
                (SymbolId(1 + prng.in_range(0..u64::from(SYMBOLS)) as u32), source, 2);
            event.slots().to_vec()
        })
        .collect()
}
