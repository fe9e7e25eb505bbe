//! A whole engine under a seed: traffic of every kind, handlers that fail, panic, ask, cross symbols and set timers, tables that are
//! too small, clocks that stand still and jump, dead letters that are sent on their way again.
//!
//! After every step the ledgers of source events, derived events and requests balance, no structure has grown, and the shards'
//! letters keep their rules. At the end
//! - each symbol's events came to a handler that never fails once each, in the order in which they were sent;
//! - under the order that holds, a handler that fails was done with a symbol's events in their order, too;
//! - the faults stop, what is parked is sent again, and everything ends within a bounded number of steps;
//! - where no shared limit acted, outputs, digest and counts are those of any other cut and number of shards.
//!
//! Saved at random times and put back into a shard that is made anew, it goes on as if nothing had been: see `common/saved_simulation.rs`.
//! With `--overload live`, what may be lost is, by the policies of topics, and what that leaves must hold: see `common/live_simulation.rs`.
//!
//! A failing seed prints its command. `TAPELINE_TEST_SEED=17 cargo test -p tapeline-core --test shard_simulation` runs that one alone. What the
//! seeds must have met, all of them together, is counted: a fault that never came shows nothing.

#[path = "common/live_simulation.rs"]
mod live_simulation;
#[path = "common/panics.rs"]
mod panics;
#[path = "common/saved_simulation.rs"]
mod saved_simulation;
#[path = "common/shard_rig.rs"]
mod shard_rig;
#[path = "common/talkers.rs"]
mod talkers;

use bytemuck::{Pod, Zeroable};
use panics::{BOOM, silence};
use shard_rig::{MILLI, Rig, SECOND, START, SYMBOLS, SYMBOLS_MAX, Sizes, feed};
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use talkers::Crosser;
use tapeline_core::bus::{Bus, BusBuilder, Chain};
use tapeline_core::catalog::Catalog;
use tapeline_core::dead::{self, Direction, Filter};
use tapeline_core::event::payload::{
    Alert, Bar, BarRest, BookDepth, BookLevel, BookOrder, DepthLevel, Epoch, Gap, News, Quote, QuoteWide, Signal,
    Status, Trade,
};
use tapeline_core::event::{EventBuf, EventRef, Flags, Kind, KindSet, KindVersion, Slot};
use tapeline_core::features;
use tapeline_core::handler::{Ask, Ctx, Handler, Job, JobSet, RequestEnd, RequestId, TimerId, Verdict, Wish};
use tapeline_core::ledger::Refusal;
use tapeline_core::limits::TIME_NS_MAX;
use tapeline_core::queue::Priority;
use tapeline_core::retry::{Backoff, Factor, Jitter, Order, PARTS, Policy, RetryConfig, ShareConfig};
use tapeline_core::scanner::Scanner;
use tapeline_core::shard::{Config, Limit};
use tapeline_core::testing::{PrintOnPanic, Prng, for_seeds};
use tapeline_core::units::{SymbolId, UnixNanos};

const WORK: Job = Job::USER;
/// Handlers before the feed in the catalog of sources: see [`World::bus`].
const HANDLERS: usize = 7;

/// How likely a call goes wrong, in 1,024 parts; shared by the handlers of one run.
#[derive(Clone, Copy, Debug)]
struct Trouble {
    retry: u64,
    fail: u64,
    panic: u64,
    ask: u64,
    timer: u64,
}

impl Trouble {
    fn draw(prng: &mut Prng) -> Self {
        let mut often = |most: u64| if prng.one_in(3) { 0 } else { prng.in_range(0..most) };
        Self { retry: often(120), fail: often(60), panic: often(20), ask: often(200), timer: often(200) }
    }
}

/// What the handlers of one run share with the test, beside their state.
#[derive(Debug)]
struct World {
    trouble: Trouble,
    order: Order,
    /// The faults have stopped. Only where no two runs are compared.
    is_calm: AtomicBool,
    /// Events by symbol, in the order in which the witness had them.
    seen: Mutex<BTreeMap<u32, Vec<u64>>>,
    /// Events that the flaky handler was done with after a later one of their symbol.
    disorder: AtomicU64,
    ends: AtomicU64,
    /// Lane of each kind whose order is looked at, in live runs; the latest event of each symbol and lane; events that came behind a later one.
    lane_of: BTreeMap<u16, usize>,
    latest: Mutex<BTreeMap<(u32, usize), u64>>,
    disorder_seen: AtomicU64,
    /// Gap events that were made in the lanes.
    gaps: AtomicU64,
}

impl World {
    fn new(trouble: Trouble, order: Order) -> Arc<Self> {
        Self::live(trouble, order, BTreeMap::new())
    }

    fn live(trouble: Trouble, order: Order, lane_of: BTreeMap<u16, usize>) -> Arc<Self> {
        Arc::new(Self {
            trouble,
            order,
            is_calm: AtomicBool::new(false),
            seen: Mutex::default(),
            disorder: AtomicU64::new(0),
            ends: AtomicU64::new(0),
            lane_of,
            latest: Mutex::default(),
            disorder_seen: AtomicU64::new(0),
            gaps: AtomicU64::new(0),
        })
    }

    /// The witness sees a source event.
    fn see(&self, head: &Slot) {
        if head.kind() == Kind::GAP && head.ts_event == UnixNanos::UNKNOWN {
            self.gaps.fetch_add(1, Ordering::Relaxed);
            return;
        }
        self.seen.lock().unwrap().entry(head.symbol.0).or_default().push(position(head));
        if let Some(lane) = self.lane_of.get(&head.kind().0) {
            let latest = self.latest.lock().unwrap().insert((head.symbol.0, *lane), position(head));
            self.disorder_seen.fetch_add(u64::from(latest >= Some(position(head))), Ordering::Relaxed);
        }
    }

    fn is_calm(&self) -> bool {
        self.is_calm.load(Ordering::Relaxed)
    }

    /// What comes of a call: a verdict by `rand`, or a panic.
    fn verdict(&self, rand: u64) -> Verdict {
        let Trouble { retry, fail, panic, .. } = self.trouble;
        match rand >> 20 & 1_023 {
            _ if self.is_calm() => Verdict::Done,
            at if at < panic => std::panic::panic_any(BOOM),
            at if at < panic + fail => Verdict::Fail((rand >> 40) as u16 % 300),
            at if at < panic + fail + retry => Verdict::Retry((rand >> 40) as u16 % 300),
            _ => Verdict::Done,
        }
    }

    fn bus(self: &Arc<Self>, catalog: &mut Catalog) -> Bus<impl Chain + use<>> {
        let bus = BusBuilder::new(SYMBOLS_MAX)
            .dynamic(5, Witness(Arc::clone(self)))
            .then(features::Engine::default())
            .then(Scanner::default())
            .then(Flaky(Arc::clone(self)))
            .then(Runner)
            .dynamic(-1, Worker(Arc::clone(self)))
            .dynamic(-2, Crosser);
        bus.build(catalog).unwrap()
    }
}

/// Never fails, and tells what it saw.
struct Witness(Arc<World>);

impl Handler for Witness {
    type State = u64;
    const NAME: &'static str = "witness";
    const STATE_VERSION: u16 = 1;
    const ROLLBACK: bool = false;

    fn interests(&self) -> KindSet {
        KindSet::KNOWN.without(KindSet::one(Kind::BOOK_ORDER))
    }

    fn on_event(&self, _st: &mut u64, ev: EventRef<'_>, _cx: &mut Ctx<'_>) -> Verdict {
        let head = ev.head();
        if !head.flags.contains(Flags::DERIVED) {
            self.0.see(head);
        }
        Verdict::Done
    }
}

/// A chain over all calls, so that any change of order shows in what comes out.
#[repr(C)]
#[derive(Clone, Copy, Default, Pod, Zeroable)]
struct Chained {
    chain: u64,
    done: u64,
    timer: TimerId,
}

impl Chained {
    fn take(&mut self, words: [u64; 3]) {
        let all = [self.chain, words[0], words[1], words[2]];
        self.chain = tapeline_core::hash::stable(bytemuck::bytes_of(&all));
    }
}

/// Fails in every way, on source events and derived ones; asks for work, sets timers and takes them back.
struct Flaky(Arc<World>);

impl Handler for Flaky {
    type State = Chained;
    const NAME: &'static str = "flaky";
    const STATE_VERSION: u16 = 1;

    fn interests(&self) -> KindSet {
        KindSet::KNOWN.without(KindSet::one(Kind::BOOK_ORDER))
    }

    fn on_event(&self, st: &mut Chained, ev: EventRef<'_>, cx: &mut Ctx<'_>) -> Verdict {
        let head = ev.head();
        st.take([head.seq, u64::from(head.kind.0), cx.now().0]);
        let rand = cx.rand(st.chain);
        let Trouble { ask, timer, .. } = self.0.trouble;
        // What does not fit is refused and counted: the event itself is handled. Replies ask for nothing, or there would be no end.
        if rand & 1_023 < ask && !head.flags.contains(Flags::DERIVED) && !self.0.is_calm() {
            let wish = Wish {
                job: if rand.is_multiple_of(40) { Job(40) } else { WORK },
                groups: rand >> 30 & 7,
                priority: Priority::new((rand >> 33) as u8 & 7).unwrap(),
                expires_at: if rand >> 36 & 1 == 0 {
                    cx.now().saturating_add(rand >> 40 & 0xff_ffff)
                } else {
                    UnixNanos::ZERO
                },
                token: rand >> 50 & 1,
            };
            let _ = cx.request(&wish);
        }
        if rand >> 10 & 1_023 < timer && !self.0.is_calm() {
            let _ = cx.cancel(st.timer);
            st.timer = cx.timer_at(cx.now().saturating_add(rand >> 38), rand).unwrap_or_default();
        }
        if rand >> 60 == 0 && head.kind() != Kind::ALERT {
            let _ = cx.alert(&Alert { value: (st.chain >> 12) as f64, rule: 9, ..Alert::default() });
        }
        let verdict = self.0.verdict(rand.rotate_left(32));
        if verdict == Verdict::Done
            && !head.flags.contains(Flags::DERIVED)
            && self.0.order == Order::Held
            && !self.0.is_calm()
        {
            self.0.disorder.fetch_add(u64::from(position(head) < st.done), Ordering::Relaxed);
            st.done = position(head);
        }
        verdict
    }

    fn on_timer(&self, st: &mut Chained, token: u64, cx: &mut Ctx<'_>) -> Verdict {
        st.take([token, cx.now().0, 1]);
        let rand = cx.rand(st.chain);
        if rand.is_multiple_of(3) {
            let _ = cx.signal(&Signal { strength: (st.chain >> 12) as f64, strategy: 9, ..Signal::default() });
        }
        self.0.verdict(rand)
    }

    fn on_reply(&self, st: &mut Chained, request: RequestId, _ev: EventRef<'_>, cx: &mut Ctx<'_>) -> Verdict {
        st.take([request.0, cx.now().0, 2]);
        self.0.verdict(cx.rand(st.chain))
    }

    fn on_request_end(&self, st: &mut Chained, request: RequestId, _end: RequestEnd, cx: &mut Ctx<'_>) -> Verdict {
        st.take([request.0, cx.now().0, 3]);
        self.0.ends.fetch_add(1, Ordering::Relaxed);
        self.0.verdict(cx.rand(st.chain))
    }
}

/// Takes runs of a kind that it has to itself.
struct Runner;

impl Handler for Runner {
    type State = Chained;
    const NAME: &'static str = "runner";
    const STATE_VERSION: u16 = 1;
    const TAKES_RUNS: bool = true;

    fn interests(&self) -> KindSet {
        KindSet::one(Kind::BOOK_ORDER)
    }

    fn on_event(&self, st: &mut Chained, ev: EventRef<'_>, cx: &mut Ctx<'_>) -> Verdict {
        st.take([ev.head().seq, cx.now().0, 4]);
        if st.chain.is_multiple_of(9) {
            let _ = cx.signal(&Signal { strength: (st.chain >> 12) as f64, strategy: 9, ..Signal::default() });
        }
        if st.chain.is_multiple_of(23) { Verdict::Retry(23) } else { Verdict::Done }
    }
}

/// Does the work that others ask for.
struct Worker(Arc<World>);

impl Handler for Worker {
    type State = Chained;
    const NAME: &'static str = "worker";
    const STATE_VERSION: u16 = 1;

    fn interests(&self) -> KindSet {
        KindSet::EMPTY
    }

    fn serves(&self) -> JobSet {
        JobSet::of(&[WORK])
    }

    fn on_event(&self, _st: &mut Chained, _ev: EventRef<'_>, _cx: &mut Ctx<'_>) -> Verdict {
        unreachable!("it is interested in nothing")
    }

    fn on_request(&self, st: &mut Chained, ask: &Ask, cx: &mut Ctx<'_>) -> Verdict {
        st.take([ask.request.0, ask.groups, cx.now().0]);
        for _ in 0..ask.groups.count_ones() {
            let _ = cx.alert(&Alert { value: (st.chain >> 12) as f64, rule: 10, ..Alert::default() });
        }
        self.0.verdict(cx.rand(st.chain))
    }
}

/// Events of every kind of source; some of them late, some twice, some that must be refused. `ts_event` holds the position in the
/// stream, which no handler looks at: see [`position`]. A copy has the identity of the first and a position of its own. Pauses are of
/// less than `pause_s` seconds.
fn traffic(prng: &mut Prng, count: u64, pause_s: u64) -> Vec<Vec<Slot>> {
    let (mut now, mut burst) = (START, 0);
    let mut sent: Vec<Vec<Slot>> = Vec::new();
    let source = feed(HANDLERS);
    for seq in 1..=count {
        if prng.one_in(400) {
            burst = 150;
        }
        burst -= u64::from(burst > 0);
        now += match prng.in_range(0..64) {
            _ if burst > 0 => 0,
            0..=31 => 0,
            32..=47 => prng.in_range(0..MILLI / 4),
            48..=61 => prng.in_range(0..40 * MILLI),
            62 => prng.in_range(0..2 * SECOND),
            // A pause, after which everything is due at once.
            _ => prng.in_range(0..pause_s) * SECOND,
        };
        if prng.one_in(25)
            && let Some(back) = (!sent.is_empty()).then(|| sent.len() - 1 - prng.index(sent.len().min(20)))
        {
            // The same event once more.
            let mut copy = sent[back].clone();
            copy[0].ts_event = UnixNanos(sent.len() as u64);
            sent.push(copy);
            continue;
        }
        let price = 100_000_000_000 + prng.in_range(0..1_000_000_000) as i64;
        let mut event = match prng.in_range(0..11) {
            0 | 1 => EventBuf::new(&Trade { price, size: 1 + prng.in_range(0..1_000), side: 1, ..Trade::default() }),
            2 => EventBuf::new(&Quote { bid_px: price, ask_px: price + 10_000_000, bid_sz: 3, ask_sz: 4 }),
            3 => {
                let mut event = EventBuf::new(&Quote { bid_px: price, ask_px: price + 1, ..Quote::default() });
                event.push_value(&QuoteWide { bid_sz: 1 << 40, ask_sz: 5, ..QuoteWide::default() }).unwrap();
                event.flag(Flags::WIDE);
                event
            }
            4 => EventBuf::new(&BookLevel {
                price,
                size: prng.in_range(0..9),
                side: 1,
                action: 1,
                ..BookLevel::default()
            }),
            5 => EventBuf::new(&BookOrder {
                order_id: prng.in_range(1..40),
                price,
                size: 7,
                side: 1,
                action: 1,
                ..BookOrder::default()
            }),
            6 => {
                let levels = prng.in_range(1..11) as u16;
                let mut event = EventBuf::new(&BookDepth { price, levels, ..BookDepth::default() });
                let depth =
                    vec![
                        DepthLevel { bid_px: price, ask_px: price + 5, bid_sz: 1, ask_sz: 2, ..DepthLevel::zeroed() };
                        levels.into()
                    ];
                event.push_bytes(bytemuck::cast_slice(&depth)).unwrap();
                event
            }
            7 => {
                let mut event = EventBuf::new(&Bar { open: price, high: price + 9, low: price - 9 });
                event
                    .push_value(&BarRest { close: price, volume: 12, interval_ns: SECOND, ..BarRest::default() })
                    .unwrap();
                event
            }
            8 => {
                let text = &[b'n'; 400][..prng.in_range(0..400) as usize];
                let mut event = EventBuf::new(&News { id: seq, text_bytes: text.len() as u32, ..News::default() });
                event.push_bytes(text).unwrap();
                event
            }
            9 => EventBuf::new(&Status { is_trading: 1, ..Status::default() }),
            _ => EventBuf::new(&Gap { expected: 5, received: 9, missing: 4 }),
        };
        let head = event.head_mut();
        let late = if prng.one_in(12) { prng.in_range(0..SECOND) } else { 0 };
        (head.ts_recv, head.ts_event, head.seq) = (UnixNanos(now - late), UnixNanos(0), seq);
        (head.symbol, head.source, head.scale) =
            (SymbolId(1 + (prng.log_uniform(16) % u64::from(SYMBOLS)) as u32), source, 2);
        if prng.one_in(40) {
            match prng.in_range(0..5) {
                0 => head.kind = KindVersion::new(Kind(62), 0),
                1 => head.kind = KindVersion::new(head.kind(), 9),
                2 => head.symbol = SymbolId(SYMBOLS_MAX as u32 - 1),
                3 => head.scale = 200,
                _ => head.ts_recv = UnixNanos(TIME_NS_MAX + 1),
            }
        } else if prng.one_in(200) {
            let mut epoch = EventBuf::new(&Epoch { number: seq, ..Epoch::default() });
            (epoch.head_mut().ts_recv, epoch.head_mut().source) = (UnixNanos(now), source);
            sent.push(epoch.slots().to_vec());
        }
        event.head_mut().ts_event = UnixNanos(sent.len() as u64);
        sent.push(event.slots().to_vec());
    }
    sent
}

/// Where in the stream an event was sent.
fn position(head: &Slot) -> u64 {
    head.ts_event.0
}

fn policy(prng: &mut Prng, order: Order) -> Policy {
    let backoff = if prng.one_in(2) {
        Backoff::Fixed { delay_ns: prng.in_range(0..200) * MILLI }
    } else {
        Backoff::Exponential { base_ns: 1 + prng.in_range(0..50) * MILLI, factor: Factor::TWO, cap_ns: SECOND }
    };
    let jitter = if prng.one_in(2) { Jitter::None } else { Jitter::Equal { parts: PARTS } };
    Policy::new(RetryConfig { attempts_max: prng.in_range(1..6) as u16, backoff, jitter, order }).unwrap()
}

/// What all seeds together must have met.
#[derive(Default, Debug)]
struct Met(BTreeMap<&'static str, u64>);

impl Met {
    fn note(&mut self, what: &'static str, count: u64) {
        *self.0.entry(what).or_default() += count;
    }

    fn assert_all(&self) {
        eprintln!("met: {:?}", self.0);
        for (what, count) in &self.0 {
            assert!(*count > 0, "no seed has met {what}: {self:?}");
        }
    }
}

/// `TAPELINE_TEST_SEED` alone, or `all`.
#[expect(clippy::disallowed_methods, reason = "a test may be told its seed")]
fn seeds(all: Range<u64>) -> Range<u64> {
    let one = std::env::var("TAPELINE_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
    one.map_or(all, |seed| seed..seed + 1)
}

/// A bound on the retries of a symbol, often a tight one.
fn share(prng: &mut Prng) -> ShareConfig {
    ShareConfig {
        parts: prng.in_range(0..u64::from(PARTS) + 1) as u16,
        free_per_window: 1 + prng.in_range(0..4) as u32,
        window_ns: MILLI * (1 + prng.in_range(0..30)),
        burst: prng.in_range(0..20) as u32,
    }
}

/// Tables that are too small, dead letters that are redriven at any time, then calm.
fn rough(seed: u64, prng: &mut Prng, met: &mut Met) {
    let order = if prng.one_in(3) { Order::Released } else { Order::Held };
    let (trouble, retry) = (Trouble::draw(prng), policy(prng, order));
    let world = World::new(trouble, order);
    let shards = 1 + prng.index(3);
    let count = prng.in_range(50..400);
    // Shards that keep step with each other take many steps for a long pause.
    let events = traffic(prng, count, if shards == 1 { 600 } else { 3 });
    let sizes = Sizes {
        shards,
        source_ring: 64 << prng.in_range(0..4),
        mesh_ring: 128 << prng.in_range(0..3),
        room: 4_096 + prng.in_range(0..9_000) as usize,
        timers_max: prng.in_range(4..300) as usize,
        pending: prng.in_range(64..160) as usize,
        ..Sizes::of(shards)
    };
    let letters = dead::Config {
        entries: prng.in_range(2..200) as usize,
        slots: prng.in_range(70..600) as usize,
        holds: prng.in_range(1..30) as usize,
        held_per_symbol: prng.in_range(1..40) as usize,
        errors: 100,
        ..dead::Config::default()
    };
    let (dedup, history) = (prng.in_range(0..300) as usize, [0, 64, 512][prng.index(3)]);
    let (capacity, per_symbol, budget) = (prng.in_range(0..40) as usize, prng.in_range(0..8) as u32, 1 + prng.index(6));
    let share = prng.one_in(2).then(|| share(prng));
    let set = |config: &mut Config| {
        (config.letters, config.retry, config.retry_share) = (letters, vec![retry], share);
        (config.dedup_capacity, config.history_slots) = (dedup, history);
        (config.requests.queue.capacity, config.requests.queue.per_symbol) = (capacity, per_symbol);
        (config.requests.service_budget, config.requests.retry) = (budget, retry);
    };
    let mut rig = Rig::configured(|catalog| world.bus(catalog), events.clone(), sizes, &set);
    let bytes: Vec<_> = rig.shards.iter_mut().map(|shard| shard.bytes()).collect();
    let redrives = [0, 8, 64][prng.index(3)];
    let mut redriven = 0;
    let steps_max = 40_000;
    while !rig.is_drained() {
        if prng.one_in(2) {
            rig.source.send(prng.index(40));
        }
        let at = prng.index(rig.shards.len());
        let _ = rig.step(at);
        if prng.one_in(3) {
            rig.outs[at].take();
        }
        if redrives > 0 && prng.one_in(redrives) {
            redriven += redrive(&mut rig, at, 1);
        }
        if rig.steps % 16 == 0 {
            rig.shards[at].letters().assert_invariants();
        }
        assert!(rig.steps < steps_max, "not drained after {} steps: {}", rig.steps, stuck(&rig));
    }
    let (first_steps, redriven_early) = (rig.steps, redriven);
    // The faults stop: what is parked goes on its way again and comes to its end.
    world.is_calm.store(true, Ordering::Relaxed);
    let parked: usize = rig.shards.iter().map(|shard| shard.letters().parked()).sum();
    for at in 0..rig.shards.len() {
        redriven += redrive(&mut rig, at, usize::MAX);
    }
    while !rig.is_drained() {
        for at in 0..rig.shards.len() {
            let _ = rig.step(at);
            rig.outs[at].take();
        }
        assert!(rig.steps < first_steps + steps_max, "no end in calm: {}", stuck(&rig));
    }
    for (shard, bytes) in rig.shards.iter_mut().zip(bytes) {
        assert_eq!(shard.bytes(), bytes, "no structure grows");
        let letters = shard.letters();
        letters.assert_invariants();
        assert_eq!((letters.waiting(), letters.held()), (0, 0));
        let requests = shard.requests().counters();
        assert_eq!(
            (requests.pending, requests.in_flight, requests.waiting, requests.arriving),
            (0, 0, 0, 0),
            "{requests:?}"
        );
    }
    let result = rig.result();
    let (total, derived) = (result.ledger.total(), result.derived.total());
    let offered = events.iter().filter(|event| !event[0].kind().is_control()).count() as u64;
    assert_eq!((total.offered, total.in_flight, derived.in_flight), (offered, 0, 0), "seed {seed}");
    check_order(&world, &events, &result);
    if redriven_early == 0 && order == Order::Held {
        // What was redriven comes after later events by right; in calm, order is not looked at any more.
        assert_eq!(world.disorder.load(Ordering::Relaxed), 0, "held events are done with in order");
    }

    for reason in
        [Refusal::UnknownKind, Refusal::UnknownVersion, Refusal::UnknownSymbol, Refusal::OutOfRange, Refusal::Duplicate]
    {
        met.note(reason.name(), result.ledger.refused_by(reason));
    }
    for limit in Limit::ALL {
        // A cascade of these handlers is not as deep, each event stages little, no job is done off the core, and nobody asks of the past.
        if !matches!(limit, Limit::CascadeDepth | Limit::Staging | Limit::JobsFull | Limit::Backfill) {
            met.note(limit.name(), rig.shards.iter().map(|shard| shard.limit_hits(limit)).sum());
        }
    }
    let stats =
        |get: fn(&dead::Stats) -> u64| -> u64 { rig.shards.iter().map(|shard| get(shard.letters().stats())).sum() };
    met.note("retries", stats(|stats| stats.retries));
    met.note("held", stats(|stats| stats.held));
    met.note("parked", parked as u64);
    met.note("redriven", redriven as u64);
    met.note("clamped", result.clamped);
    met.note("timers fired", result.timers_fired);
    let requests = result.requests;
    for (what, count) in [
        ("requests served", requests.served),
        ("requests merged", requests.merged),
        ("requests joined", requests.joined),
        ("requests refused", requests.refused()),
        ("requests expired", requests.expired),
        ("requests failed", requests.failed),
        ("requests retried", requests.retries),
        ("ends told", world.ends.load(Ordering::Relaxed)),
    ] {
        met.note(what, count);
    }
    let quarantined: u64 =
        rig.shards.iter_mut().flat_map(|shard| shard.handlers()).map(|(_, stats)| stats.quarantined).sum();
    met.note("quarantined", quarantined);
}

/// What the shards have not done yet.
fn stuck<C: Chain>(rig: &Rig<C>) -> String {
    let tell = |shard: &tapeline_core::shard::Shard<C>| {
        let letters = shard.letters();
        format!(
            "{shard:?}: {} waiting, {} held, {} parked, ready {:?}, mesh {:?}, backlog {}, drained {}, lanes {:?}, {:?}",
            letters.waiting(),
            letters.held(),
            letters.parked(),
            letters.ready(),
            shard.mesh_counts(),
            shard.backlog(),
            shard.is_drained(),
            shard.lanes().map(|lanes| (lanes.len(), lanes.spilled(), lanes.is_empty())),
            shard.requests().counters()
        )
    };
    format!("source done {}; {}", rig.source.is_done, rig.shards.iter().map(tell).collect::<Vec<_>>().join("; "))
}

/// Sends up to `most` parked letters of a shard on their way. Returns how many went.
fn redrive<C: Chain>(rig: &mut Rig<C>, at: usize, most: usize) -> usize {
    let shard = &mut rig.shards[at];
    let parked: Vec<_> = shard
        .letters()
        .list(&Filter::PARKED, Direction::OldestFirst, None, most.min(10_000))
        .map(|(letter, _)| letter)
        .collect();
    // One that is refused stays parked.
    parked.into_iter().filter(|letter| shard.redrive(*letter).is_ok()).count()
}

/// The witness had every accepted event of its kinds once, in the order of the stream.
fn check_order(world: &World, events: &[Vec<Slot>], result: &shard_rig::Result) {
    let seen = world.seen.lock().unwrap();
    for (symbol, seen) in &*seen {
        let mut sent =
            events.iter().map(|event| event[0]).filter(|head| head.symbol.0 == *symbol && !head.kind().is_control());
        for at in seen {
            assert!(
                sent.any(|head| position(&head) == *at),
                "event {at} of symbol {symbol} came out of order, or twice"
            );
        }
    }
    let seen: usize = seen.values().map(Vec::len).sum();
    let unseen = result.ledger.row(Kind::BOOK_ORDER).accepted;
    assert_eq!(seen as u64, result.ledger.total().accepted - unseen, "every accepted event came to who never fails");
}

/// Room for everything: then no cut into steps and no number of shards may show.
fn equal(seed: u64, prng: &mut Prng, met: &mut Met) {
    let order = if prng.one_in(3) { Order::Released } else { Order::Held };
    let (trouble, retry) = (Trouble::draw(prng), policy(prng, order));
    let count = prng.in_range(50..300);
    let events = traffic(prng, count, 3);
    let share = prng.one_in(2).then(|| share(prng));
    let mut first: Option<shard_rig::Result> = None;
    for shards in [1, 1 + prng.index(3), 3] {
        let world = World::new(trouble, order);
        let sizes = Sizes { source_ring: 64 << prng.in_range(0..5), ..Sizes::of(shards) };
        let mut rig = Rig::configured(|catalog| world.bus(catalog), events.clone(), sizes, &|config| {
            config.retry = vec![retry];
            config.retry_share = share;
            config.requests.retry = retry;
            config.requests.service_budget = 1_024;
            // What the window forgets by count depends on who shares it.
            config.dedup_capacity = 4_096;
        });
        rig.run(prng, 400_000);
        let hits = |limit: Limit| -> u64 { rig.shards.iter().map(|shard| shard.limit_hits(limit)).sum() };
        let shared: Vec<_> = Limit::ALL.into_iter().filter(|limit| limit.is_shared() && hits(*limit) > 0).collect();
        assert!(shared.is_empty(), "there was room for everything: {shared:?}");
        let result = rig.result();
        check_order(&world, &events, &result);
        if order == Order::Held {
            assert_eq!(world.disorder.load(Ordering::Relaxed), 0, "held events are done with in order");
        }
        met.note("outputs", result.outputs.0.values().map(|outputs| outputs.len() as u64).sum());
        match &first {
            None => first = Some(result),
            Some(first) => first.assert_same(&result, &format!("seed {seed}, {sizes:?}")),
        }
    }
}

/// Runs `test` for every seed; a seed that fails prints how to run it alone.
fn each_seed(seeds: Range<u64>, test: impl Fn(u64, &mut Prng, &mut Met)) -> Met {
    silence();
    let mut met = Met::default();
    for_seeds(seeds, |seed, prng| {
        let command = format!("TAPELINE_TEST_SEED={seed} cargo test -p tapeline-core --test shard_simulation");
        let _named = PrintOnPanic(command);
        test(seed, prng, &mut met);
    });
    met
}

#[test]
fn req_3454_3468_with_policies_at_work_order_bounds_and_turns_hold_and_all_queues_drain() {
    let all = seeds(0..500);
    let is_all = all.end - all.start > 1;
    let met = each_seed(all, live_simulation::live);
    if is_all {
        met.assert_all();
    }
}

#[test]
fn nothing_is_lost_reordered_or_left_behind_whatever_goes_wrong() {
    let all = seeds(0..1_500);
    let is_all = all.end - all.start > 1;
    let met = each_seed(all, rough);
    if is_all {
        met.assert_all();
    }
}

#[test]
fn outputs_of_a_whole_engine_depend_on_no_cut_and_no_number_of_shards() {
    each_seed(seeds(0..40), equal).assert_all();
}

/// The same, for a hundred times as many seeds: minutes.
#[test]
#[ignore = "soak: 150,000 seeds; cargo test -p tapeline-core --test shard_simulation -- --ignored"]
fn many_seeds() {
    each_seed(seeds(1_500..150_000), rough);
    each_seed(seeds(500..50_000), live_simulation::live);
    each_seed(seeds(40..4_000), equal);
    each_seed(seeds(150..15_000), saved_simulation::saved);
}
