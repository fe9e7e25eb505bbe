//! The shard: one single-threaded, deterministic state machine.
//!
//! # Poll order
//! Each [`Shard::step`] goes, in this order:
//! 1. mesh rings are drained into the waiting room, whatever else is stuck (two shards that are full toward each other
//!    must not deadlock);
//! 2. with `--overload live`, what the source ring holds is taken into the lanes, where the topics' policies act (see [`crate::lanes`]);
//!    an event that a panic cut short is finished;
//! 3. then, until the batch is done, whatever is next by (time, timers before mesh events before source events): timers
//!    due, events of other symbols that fall due, source events;
//! 4. effects leave: to the wheel, the digest and the outbox, and to other shards;
//! 5. the other shards are told how far this one has come.
//!
//! # Time
//! Shard time is the running maximum of the `ts_recv` of what is admitted and of the ticks that the source writes. An
//! earlier `ts_recv` stays in the event, is clamped for the clock, and is counted. Before an event of time t is admitted,
//! every timer with T <= t has fired in the order (T, order of scheduling).
//!
//! # Failures
//! A handler that asks for a retry is called again alone, with the event unchanged, at a time that its policy gives; held events of the
//! symbol follow in order before anything new. See [`crate::dead`].
//!
//! # Other shards
//! Where a handler publishes for other symbols, a shard may handle what lies before its *horizon*: the earliest time
//! at which an event of another shard can still fall due. Each shard sends the others a tick with its *bound*, the earliest
//! time at which it can still make something; such an event falls due one mesh delay later at least. Where no handler crosses
//! symbols, the horizon is the end of time and costs one compare.
//!
//! Bounds alone would feel their way through a night without events in steps of one mesh delay: each shard's bound is limited
//! by what the others might send it. So an idle shard also reports what is *next* for it if nobody sends it anything, and how
//! many events it has sent to and received from each shard. Where, in the reports of all shards, every number sent equals the
//! number received, nothing was under way between them (a consistent cut in the sense of Mattern, "Virtual time and global
//! states of distributed systems", 1989): whatever is handled afterwards comes from the earliest of what was next, and falls
//! due elsewhere one mesh delay after that at the earliest.

use crate::backfill::Desk;
use crate::book::Books;
use crate::bus::{Bus, Call, Chain, HandlerStats, Missed, Progress, Unfinished};
use crate::catalog::Catalog;
use crate::dead::{DeadLetters, Failure, Fate, Handle};
use crate::dedup::{DedupWindow, Seen};
use crate::digest::Digest;
use crate::event::payload::{BookDepth, Quarantine, Subscription, Tick};
use crate::event::{EventBuf, EventRef, Flags, Identity, Kind, KindSet, Slot};
use crate::handler::{Ask, CallSite, Ctx, RequestRefusal, Staging, TimerRequest};
use crate::history::History;
use crate::ledger::{Ledger, Outcome, Refusal};
use crate::limits::{
    BATCH_SLOTS, CASCADE_DEPTH_MAX, DEDUP_CAPACITY_DEFAULT, DEDUP_WINDOW_NS_DEFAULT, DRAIN_NS_MAX,
    HISTORY_AGE_NS_DEFAULT, HISTORY_SLOTS_DEFAULT, KIND_ROWS, MESH_DELAY_NS, MESH_PENDING_DEFAULT, SPAN_SLOTS_MAX,
    STAGED_SLOTS_MAX, STRIKES_MAX, TICK_NS, TIME_NS_MAX, TIMED_BATCHES, TIMERS_PER_STEP,
};
use crate::log::{self, Code, Record};
use crate::mesh::Pending;
use crate::requests::{Notice, Requests};
use crate::retry::Policy;
use crate::ring::{Consumer, Producer};
use crate::route::RouteTable;
use crate::stats::Rates;
use crate::timing::{Stopwatch, Timing, Untimed};
use crate::units::{SCALE_MAX, SourceId, SymbolId, UnixNanos};
use crate::wheel::{Popped, Wheel};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

mod backfill;
mod inlet;
mod letters;
mod logging;
mod reading;
mod runs;
mod service;
mod timers;

pub use inlet::{ERROR_NO_ROOM, NO_ROOM};
pub use timers::Cancelled;

/// Due stamp of an event that is no sample: replayed before the measured part, to build state.
pub const DUE_NONE: u64 = u64::MAX;

/// Kinds of events that change an order book.
const BOOK_KINDS: KindSet = KindSet::of(&[Kind::BOOK_LEVEL, Kind::BOOK_ORDER, Kind::BOOK_DEPTH, Kind::GAP]);

/// What measures time inside a shard. Its values reach histograms only, never an output.
pub trait Probe: Send {
    /// Whether handlers are timed: see [`crate::timing`]. Where not, no code for it is made.
    const TIMES_HANDLERS: bool = true;

    /// A time stamp, ns since an origin of the probe's own.
    fn now(&mut self) -> u64;

    /// What one stamp takes, ns: it is taken off what lies between two of them.
    fn stamp_cost(&self) -> u64 {
        0
    }

    /// A batch was handled.
    fn batch(&mut self, batch: &Batch<'_>);

    /// Whether [`Probe::log`] does anything. Where not, no code for it is made.
    const LOGS: bool = false;

    /// Takes a log record of [`Config::log`]. Never waits: what it has no room for, it drops and counts.
    fn log(&mut self, _record: &Record) {}
}

/// No measurement.
impl Probe for () {
    const TIMES_HANDLERS: bool = false;

    fn now(&mut self) -> u64 {
        0
    }

    fn batch(&mut self, _batch: &Batch<'_>) {}
}

/// A batch of source events, stamped as one.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a> {
    /// [`Probe::now`] before the first of them was handled.
    pub started: u64,
    /// [`Probe::now`] after the last handler of the last cascade returned.
    pub done: u64,
    /// Accepted events that are samples.
    pub samples: usize,
    /// Due stamps of the samples; empty when the ring carries none.
    pub dues: &'a [u64],
}

/// Where outputs go. Owned by the caller.
pub trait Outbox {
    /// Whether the outputs of one event more, at most [`STAGED_SLOTS_MAX`] slots, fit. A shard waits while it is false.
    fn has_room(&mut self) -> bool;

    /// Takes an output with its cause.
    fn put(&mut self, output: EventRef<'_>);

    /// Takes an event whose topic has no room and spills ([`crate::topics::Policy::Spill`]), to give it back by
    /// [`Outbox::unspill`]. False when it cannot: the event is refused then. Whoever has no store cannot.
    fn spill(&mut self, _event: EventRef<'_>) -> bool {
        false
    }

    /// The oldest of the events that were spilled, without its ring positions: each once, in the order in which they were spilled. Returns its
    /// slots; 0 when none is at hand, which may be so while the store reads.
    fn unspill(&mut self, _event: &mut [Slot; SPAN_SLOTS_MAX]) -> usize {
        0
    }
}

/// Outputs are counted and digested only.
impl Outbox for () {
    fn has_room(&mut self) -> bool {
        true
    }

    fn put(&mut self, _output: EventRef<'_>) {}
}

/// Parameters of a shard.
#[derive(Clone, Debug)]
pub struct Config {
    /// This shard's number, from 0.
    pub shard: usize,
    /// Who owns which symbol.
    pub routes: RouteTable,
    /// Pending timers at most.
    pub timers_max: usize,
    /// Slots of events for other symbols that may wait here.
    pub mesh_pending_slots: usize,
    /// Whether the source's ring carries due stamps.
    pub has_dues: bool,
    /// Seed of everything that looks random.
    pub seed: u64,
    /// Identities of one generation of the dedup window; 0 = nothing is recognised as a duplicate.
    pub dedup_capacity: usize,
    /// Length of the dedup window, ns of shard time.
    pub dedup_window_ns: u64,
    /// Slots of the history, a power of two; 0 = none is kept.
    pub history_slots: usize,
    /// Age at which the history forgets, ns of shard time.
    pub history_age_ns: u64,
    /// Room for dead letters and held events. Its symbols are those of the catalog, its seed is the engine's.
    pub letters: crate::dead::Config,
    /// Retry policies, by number.
    pub retry: Vec<Policy>,
    /// Number of the policy for events of each kind, by [`Kind::row`].
    pub retry_of: [u8; KIND_ROWS],
    /// The request queue and the service of requests.
    pub requests: crate::requests::Config,
    /// Buses whose topics say what waits, and what happens without room, where the source cannot wait (`--overload live`); `None` = it
    /// waits, and there are no lanes.
    pub live: Option<Vec<crate::topics::Bus>>,
    /// Pages of [`crate::book::PAGE_LEVELS`] price levels for all order books together; 0 = no books are kept.
    pub book_pages: usize,
    /// Single orders in all order books together.
    pub book_orders: usize,
    /// What is logged, where the probe takes logs.
    pub log: log::Filter,
}

impl Config {
    /// The only shard of an engine, with the default limits.
    #[must_use]
    pub fn single() -> Self {
        Self {
            shard: 0,
            routes: RouteTable::new(1),
            timers_max: crate::limits::TIMERS_DEFAULT,
            mesh_pending_slots: MESH_PENDING_DEFAULT,
            has_dues: false,
            seed: 0,
            dedup_capacity: DEDUP_CAPACITY_DEFAULT,
            dedup_window_ns: DEDUP_WINDOW_NS_DEFAULT,
            history_slots: HISTORY_SLOTS_DEFAULT,
            history_age_ns: HISTORY_AGE_NS_DEFAULT,
            letters: crate::dead::Config::default(),
            retry: vec![Policy::STANDARD],
            retry_of: [0; KIND_ROWS],
            requests: crate::requests::Config::default(),
            live: None,
            book_pages: 0,
            book_orders: 0,
            log: log::Filter::default(),
        }
    }
}

/// A shared limit that acted: outputs may then depend on the number of shards, or on the run.
#[repr(usize)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Limit {
    /// A timer found no room in the wheel.
    Timers = 0,
    /// An event for another symbol found no room to wait.
    MeshPending = 1,
    /// A handler's effects found no room to be staged.
    Staging = 2,
    /// A cascade went deeper than [`CASCADE_DEPTH_MAX`]: its last events were published but not handled.
    CascadeDepth = 3,
    /// An event that a handler failed on found no room among the dead letters, or could not be held: it is counted as dead-lettered,
    /// and not kept.
    DeadLetters = 4,
    /// The dedup window forgot by count what its age would have kept, or had no room to remember.
    Dedup = 5,
    /// A request, or the end of one, found no room.
    Requests = 6,
    /// More requests were ready at one instant of service than its budget.
    ServiceBudget = 7,
    /// A limit that the backfills of all symbols share.
    Backfill = 8,
}

impl Limit {
    /// Every limit, by number.
    pub const ALL: [Self; 9] = [
        Self::Timers,
        Self::MeshPending,
        Self::Staging,
        Self::CascadeDepth,
        Self::DeadLetters,
        Self::Dedup,
        Self::Requests,
        Self::ServiceBudget,
        Self::Backfill,
    ];

    /// Name in JSON (`limits_hit`).
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Timers => "timers",
            Self::MeshPending => "mesh_pending",
            Self::Staging => "staging",
            Self::CascadeDepth => "cascade_depth",
            Self::DeadLetters => "dead_letters",
            Self::Dedup => "dedup",
            Self::Requests => "requests",
            Self::ServiceBudget => "service_budget",
            Self::Backfill => "backfill",
        }
    }

    /// Whether the limit is shared by the symbols of a shard, so that outputs may depend on the number of shards.
    #[must_use]
    pub const fn is_shared(self) -> bool {
        !matches!(self, Self::Staging | Self::CascadeDepth)
    }
}

/// Batches in which every handler was stamped: what the shares of handlers are told from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TimedBatches {
    /// Batches.
    pub count: u64,
    /// From their first event to the return of their last handler, ns, without the cost of the stamps in between.
    pub busy_ns: u64,
}

/// What one step did.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[must_use]
pub struct Step {
    /// Ring slots taken, timers fired and mesh events handled. 0 = idle or stuck.
    pub work: usize,
    /// The outbox or a mesh ring has no room: nothing new was begun.
    pub is_stuck: bool,
}

/// The end of a ring that a shard reads, and the batch that it has taken from it.
struct Inlet {
    ring: Consumer,
    has_dues: bool,
    slots: Box<[Slot; BATCH_SLOTS]>,
    dues: Box<[u64; BATCH_SLOTS]>,
    at: usize,
    len: usize,
}

impl Inlet {
    fn new(ring: Consumer, has_dues: bool) -> Self {
        Self {
            ring,
            has_dues,
            slots: Box::new([Slot::ZERO; BATCH_SLOTS]),
            dues: Box::new([0; BATCH_SLOTS]),
            at: 0,
            len: 0,
        }
    }

    /// Takes the next batch once the last one is used up.
    #[inline]
    fn refill(&mut self) -> usize {
        if self.at < self.len {
            return 0;
        }
        self.at = 0;
        let dues = if self.has_dues { Some(&mut self.dues[..]) } else { None };
        self.len = self.ring.pop_batch(&mut self.slots[..], dues);
        self.len
    }
}

/// One direction to another shard.
struct Outlet {
    ring: Producer,
    /// Slots that found the ring full, in order.
    stash: Vec<Slot>,
    sent: u64,
    bound_sent: UnixNanos,
    /// What was next, and the events sent and received in all, as last reported to that shard.
    reported: (UnixNanos, u64, u64),
}

/// One direction from another shard.
struct Peer {
    inlet: Inlet,
    /// Earliest time at which it can still make something.
    bound: UnixNanos,
    received: u64,
    /// Its last report: what is next for it if nobody sends it anything.
    next: UnixNanos,
    /// Its last report: by shard, events sent (low half) and received (high half), both modulo 2^32.
    counts: Box<[u64]>,
}

/// What the handlers are being called for. A panic leaves it in place, and the next turn goes on with it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Active {
    None,
    /// The event at the inlet's cursor.
    Source,
    /// The event of another symbol in `scratch`.
    Mesh,
    /// The timer in `timer`.
    Timer,
    /// The event in `scratch`, which a handler made for the root's symbol.
    Derived,
    /// The event in `scratch`, for the one handler that failed on it or was held: see `retry`.
    Retry,
    /// Events from the inlet's cursor on, as a run for their only handler.
    Run,
    /// The request in `service`, for the handler that serves it.
    Request,
    /// The event in `scratch`, for those who asked for it: see `service`.
    Reply,
    /// The end of a request, for who asked: see `service`.
    End,
    /// The event of a reply of a job off the core, in `scratch`.
    Job,
}

/// Who is called for what.
enum Turn<'a> {
    /// Every handler that wants the event.
    Event(EventRef<'a>),
    /// The handler that set the timer.
    Timer(&'a TimerRequest),
    /// The one handler that failed on the event or was held.
    Retry(u16, EventRef<'a>),
    /// The handler that serves the request.
    Request(&'a Ask),
    /// Those who asked, from this one on.
    Reply(&'a Requests, &'a mut Option<u32>, EventRef<'a>),
    /// Those who asked for history, from this one on.
    History(&'a Desk, &'a mut Option<u32>, EventRef<'a>),
    /// The one who asked.
    End(Notice),
}

impl Turn<'_> {
    #[inline]
    fn take<C: Chain, T: Timing>(self, bus: &mut Bus<C>, call: &mut Call<'_>, timing: &mut T) {
        match self {
            Self::Event(event) => bus.on_event_timed(event, call, timing),
            Self::Timer(timer) => bus.on_timer(timer, call, timing),
            Self::Retry(handler, event) => {
                // After a panic the handler has had it.
                if call.progress.is_new() && !bus.on_retry(handler, event, call, timing) {
                    call.unfinished.push(handler, Missed::Held);
                }
            }
            Self::Request(ask) => {
                if call.progress.is_new()
                    && let Some(failure) = bus.on_request(ask, call, timing)
                {
                    call.unfinished.push(0, Missed::Failed(failure));
                }
            }
            Self::Reply(requests, next, event) => {
                while let Some(asker) = *next {
                    let (handler, request, following) = requests.asker(asker);
                    // Before the call: after a panic it goes on with the next.
                    *next = following;
                    if let Some(failure) = bus.on_reply((handler, request), event, call, timing) {
                        call.unfinished.push(handler, Missed::Failed(failure));
                    }
                }
            }
            Self::History(desk, next, event) => {
                while let Some(link) = *next {
                    let (handler, request, following) = desk.asker(link, event.kind());
                    *next = following;
                    if let Some(failure) = bus.on_reply((handler, request), event, call, timing) {
                        call.unfinished.push(handler, Missed::Failed(failure));
                    }
                }
            }
            Self::End(notice) => {
                let Notice { id, handler, end, .. } = notice;
                if call.progress.is_new()
                    && let Some(failure) = bus.on_request_end((handler, id), end, call, timing)
                {
                    call.unfinished.push(handler, Missed::Failed(failure));
                }
            }
        }
    }
}

/// The shard. See the module's documentation.
pub struct Shard<C: Chain, P: Probe = ()> {
    config: Config,
    catalog: Catalog,
    bus: Bus<C>,
    probe: P,
    input: Inlet,
    live: Option<Box<inlet::Live>>,
    /// Hashes of the names of [`crate::topics::Topic::market`], and their kinds.
    market: Box<[(u64, KindSet)]>,
    /// Gap events that were made in the lanes and are accounted for.
    gaps_told: u64,
    peers: Vec<Peer>,
    /// By shard; `None` for this one.
    outlets: Vec<Option<Outlet>>,
    /// This shard's own counts, as [`Peer::counts`].
    counts: Box<[u64]>,
    /// The tick for the other shards under construction.
    report: Box<EventBuf>,
    pending: Pending,
    wheel: Wheel<TimerRequest>,
    timer_names: timers::TimerNames,
    requests: Requests,
    /// Replies of jobs that are done off the core.
    replies: Option<Inlet>,
    /// History that handlers ask for.
    archive: Option<Box<backfill::Archive>>,
    dedup: Option<DedupWindow>,
    history: Option<History>,
    books: Option<Books>,
    /// Kinds that change a book; none when there are no books.
    book_kinds: KindSet,
    letters: DeadLetters,
    /// Of each event among the dead letters, by its handle's index.
    origins: Box<[letters::Origin]>,
    staging: Staging,
    scratch: Box<[Slot; SPAN_SLOTS_MAX]>,
    scratch_span: usize,
    samples: Box<[u64; BATCH_SLOTS]>,
    samples_len: usize,

    clock: UnixNanos,
    /// Running maximum of what the source has sent: nothing earlier will come.
    source_time: UnixNanos,
    source_done: bool,
    /// Earliest time at which another shard's event can still fall due here.
    horizon: UnixNanos,
    /// Outputs or events for other shards have left since the room for them was looked at.
    has_put: bool,
    /// Source events before this time need no look at wheel, mesh or horizon.
    quiet_until: UnixNanos,

    active: Active,
    progress: Progress,
    unfinished: Unfinished,
    /// How the root came: `Source`, `Mesh`, `Timer` or `Retry`.
    root_as: Active,
    root_kind: Kind,
    /// Where calls for the root stand: its symbol is the one whose handlers are called.
    site: CallSite,
    /// Where the root event stands after its handlers.
    root_fate: Fate,
    ahead: runs::Ahead,
    /// The dead letter that is being retried, and its handler.
    retry: (Handle, u16),
    /// The timer that has fired.
    timer: TimerRequest,
    service: service::Service,
    /// Staged slots before this one have been looked at.
    cascade_at: usize,
    /// Staged slots before this one were made by the generation at hand.
    generation_end: usize,
    cascade_depth: usize,

    ledger: Ledger,
    derived: Ledger,
    digest: Digest,
    clamped: u64,
    timers_fired: u64,
    cancelled: Cancelled,
    limits_hit: [u64; Limit::ALL.len()],

    /// Batches taken from the source ring.
    batches: u64,
    /// The batch at hand has all of its calls stamped.
    is_timed: bool,
    /// Calls that were stamped in this step.
    stamped: u64,
    timed: TimedBatches,
    rates: Rates,
    told: logging::Told,
}

impl<C: Chain, P: Probe> Shard<C, P> {
    /// A shard that reads `input`. Allocates everything that it will ever need.
    ///
    /// `catalog` holds the sources of the bus's handlers and nothing that the input does not define the same way.
    /// `peers` are the rings from the other shards, by shard, without this one; `outlets` those to them, by shard, with `None`
    /// at this one's place; both may be empty when no handler crosses symbols.
    ///
    /// # Panics
    /// When the bus crosses symbols and the rings do not match the number of shards, a kind has a retry policy that is not there, or the
    /// buses of topics cannot be open together.
    #[must_use]
    pub fn new(
        mut config: Config,
        catalog: Catalog,
        bus: Bus<C>,
        probe: P,
        input: Consumer,
        peers: Vec<Consumer>,
        outlets: Vec<Option<Producer>>,
    ) -> Self {
        let shards = config.routes.shards();
        assert!(config.shard < shards, "shard {} of {shards}", config.shard);
        if bus.crosses_symbols() && shards > 1 {
            assert_eq!(peers.len(), shards - 1, "a ring from each other shard");
            assert_eq!(outlets.len(), shards, "a ring to each other shard");
        }
        let symbols_max = catalog.symbols_max();
        let live = config.live.as_ref().map(|buses| Box::new(inlet::Live::new(buses, symbols_max, config.seed)));
        if let Some(live) = &live {
            live.set_retries(&mut config.retry_of);
        }
        let has_peers = bus.crosses_symbols() && !peers.is_empty();
        let policies = config.retry.len();
        assert!(
            config.retry_of.iter().all(|policy| usize::from(*policy) < policies),
            "every kind has one of the {policies} retry policies"
        );
        // Handles of one shard are refused by another.
        let instance = config.shard as u32;
        let letters = crate::dead::Config { symbols: symbols_max, seed: config.seed, instance, ..config.letters };
        let queue = crate::queue::Config { instance, ..config.requests.queue };
        let requests = crate::requests::Config { queue, ..config.requests.clone() };
        let dedup = (config.dedup_capacity > 0)
            .then(|| DedupWindow::new(config.dedup_capacity, config.dedup_window_ns, config.seed));
        let history =
            (config.history_slots > 0).then(|| History::new(config.history_slots, symbols_max, config.history_age_ns));
        let books = (config.book_pages > 0)
            .then(|| Books::new(symbols_max, config.book_pages, config.book_orders, config.seed));
        let book_kinds = if books.is_some() { BOOK_KINDS } else { KindSet::EMPTY };
        Self {
            books,
            book_kinds,
            wheel: Wheel::new(config.timers_max, TICK_NS).with_instance(instance),
            timer_names: timers::TimerNames::new(config.timers_max),
            requests: Requests::new(&requests, symbols_max, bus.jobs()),
            replies: None,
            archive: None,
            dedup,
            history,
            origins: vec![letters::Origin::default(); letters.entries].into_boxed_slice(),
            letters: DeadLetters::new(&letters, &config.retry),
            unfinished: Unfinished::new(),
            pending: Pending::new(if bus.crosses_symbols() { config.mesh_pending_slots } else { SPAN_SLOTS_MAX }),
            catalog,
            bus,
            probe,
            input: Inlet::new(input, config.has_dues),
            live,
            market: inlet::market(),
            gaps_told: 0,
            peers: peers
                .into_iter()
                .map(|ring| Peer {
                    inlet: Inlet::new(ring, false),
                    bound: UnixNanos::ZERO,
                    received: 0,
                    next: UnixNanos::ZERO,
                    counts: vec![0; shards].into_boxed_slice(),
                })
                .collect(),
            counts: vec![0; shards].into_boxed_slice(),
            report: Box::new(EventBuf::new(&Tick::default())),
            outlets: outlets
                .into_iter()
                .map(|ring| {
                    let stash = Vec::with_capacity(2 * STAGED_SLOTS_MAX);
                    ring.map(|ring| Outlet {
                        ring,
                        stash,
                        sent: 0,
                        bound_sent: UnixNanos::ZERO,
                        reported: (UnixNanos::ZERO, 0, 0),
                    })
                })
                .collect(),
            staging: Staging::for_symbols(symbols_max),
            scratch: Box::new([Slot::ZERO; SPAN_SLOTS_MAX]),
            scratch_span: 0,
            samples: Box::new([0; BATCH_SLOTS]),
            samples_len: 0,
            clock: UnixNanos::ZERO,
            source_time: UnixNanos::ZERO,
            source_done: false,
            horizon: if has_peers { UnixNanos::ZERO } else { UnixNanos::UNKNOWN },
            has_put: false,
            quiet_until: UnixNanos::ZERO,
            active: Active::None,
            progress: Progress::default(),
            root_as: Active::None,
            root_kind: Kind::default(),
            site: CallSite {
                now: UnixNanos::ZERO,
                tick_ns: TICK_NS,
                symbol: SymbolId::NONE,
                ts_event: UnixNanos::ZERO,
                root: Identity::default(),
                timer_ns: 0,
                timer: 0,
                seed: config.seed,
                handler: 0,
                source: SourceId::NONE,
                crosses_symbols: false,
            },
            root_fate: Fate::Clear,
            ahead: runs::Ahead::NONE,
            retry: (Handle::NULL, 0),
            timer: TimerRequest::default(),
            service: service::Service::NONE,
            cascade_at: 0,
            generation_end: 0,
            cascade_depth: 0,
            ledger: Ledger::new(),
            derived: Ledger::new(),
            digest: Digest::new(symbols_max),
            clamped: 0,
            timers_fired: 0,
            cancelled: Cancelled::default(),
            limits_hit: [0; Limit::ALL.len()],
            batches: 0,
            is_timed: false,
            stamped: 0,
            timed: TimedBatches::default(),
            rates: Rates::new(),
            told: logging::Told::NOTHING,
            config,
        }
    }

    /// Does one batch of work and returns. Never waits, never allocates. See the module's poll order.
    pub fn step(&mut self, out: &mut impl Outbox) -> Step {
        let mut step = Step::default();
        if self.live.is_some() {
            step.work += self.take_live(out);
        }
        let meshed = self.horizon != UnixNanos::UNKNOWN;
        if meshed {
            step.work += self.take_mesh();
            if !self.flush_mesh() {
                step.is_stuck = true;
                return step;
            }
        }
        if !out.has_room() {
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
                        self.unfinished.push(handler, Missed::Failed(Failure::Panic));
                    }
                }
            }
        }
        step.is_stuck = self.has_put;
        if self.clock >= self.rates.next() {
            self.turn_rates();
        }
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
    fn tell_quarantine(&mut self, handler: u16) {
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
    fn run(&mut self, out: &mut impl Outbox, samples: &mut usize) -> usize {
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

    /// Begins whatever is next by (time, timers before mesh events before source events). False when nothing may be.
    #[inline(never)]
    fn next(&mut self, out: &mut impl Outbox, budget: &mut usize) -> bool {
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
            self.begin_source();
            return true;
        }
        false
    }

    /// Sets `quiet_until` after wheel, waiting room or horizon have changed.
    #[inline]
    fn update_quiet(&mut self) {
        let timer = self.wheel.next_due_hint().unwrap_or(UnixNanos::UNKNOWN);
        let request = self.request_due();
        self.quiet_until = timer.min(request).min(self.pending.next_due()).min(self.horizon);
        if self.letters.ready().is_some() {
            self.quiet_until = UnixNanos::ZERO;
        }
    }

    /// The next instant at which something of requests or of history is due.
    #[inline]
    fn request_due(&self) -> UnixNanos {
        let request = self.requests.due().min(self.requests.reply_due());
        request.min(self.history_due()).min(self.history_reply_due())
    }

    /// Takes the event at the inlet's cursor: control is done with at once; an event passes admission and becomes active.
    #[inline]
    fn begin_source(&mut self) {
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
                self.ledger.accept(head.kind());
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
            }
            Err(reason) => {
                self.ledger.refuse(head.kind(), reason);
                self.log_refused(&head, reason);
                self.input.at += self.span_at(at, len);
            }
        }
    }

    /// Applies the event at `at` to the book of its symbol, before the handlers see it. What is from the past changes no book of now.
    #[inline(never)]
    fn change_book(&mut self, at: usize, len: usize) {
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
    fn pass(&mut self, at: usize, len: usize, now: UnixNanos) -> Result<(), Refusal> {
        let head = self.input.slots[at];
        self.admit(&head, &self.input.slots[at..len])?;
        self.recognise(&head, now)
    }

    /// Refuses what was seen already.
    #[inline]
    fn recognise(&mut self, head: &Slot, now: UnixNanos) -> Result<(), Refusal> {
        match self.dedup.as_mut().map(|dedup| dedup.admit(head, now)) {
            Some(Seen::Duplicate) => Err(Refusal::Duplicate),
            _ => Ok(()),
        }
    }

    /// Shard time once the event at `at` is begun. A time that no clock shows moves nothing: it would end all timers.
    #[inline]
    fn time_at(&self, at: usize) -> UnixNanos {
        let ts_recv = self.input.slots[at].ts_recv;
        if ts_recv.0 > TIME_NS_MAX { self.clock } else { ts_recv.max(self.clock) }
    }

    /// Slots to skip for the event at `at`: its span as far as it is there.
    fn span_at(&self, at: usize, len: usize) -> usize {
        EventRef::first(&self.input.slots[at..len]).map_or(1, |event| event.slots().len())
    }

    /// Checks an event against its kind's schema: known kind, version, symbol and source, fields in range, whole span.
    #[inline]
    fn admit(&self, head: &Slot, slots: &[Slot]) -> Result<(), Refusal> {
        let kind = head.kind();
        if !kind.is_known() {
            return Err(Refusal::UnknownKind);
        }
        if head.kind.version() != 0 {
            return Err(Refusal::UnknownVersion);
        }
        if head.symbol.index() >= self.catalog.symbols() {
            return Err(Refusal::UnknownSymbol);
        }
        if head.source.index() >= self.catalog.sources() {
            return Err(Refusal::UnknownSource);
        }
        if head.scale > SCALE_MAX || head.ts_recv.0 > TIME_NS_MAX {
            return Err(Refusal::OutOfRange);
        }
        // One slot is the whole event for most kinds; those that go on in continuations are looked at apart.
        const LONG_KINDS: KindSet = KindSet::of(&[
            Kind::BAR,
            Kind::BOOK_DEPTH,
            Kind::NEWS,
            Kind::SYSTEM,
            Kind::HEALTH,
            Kind::ERROR,
            Kind::DEAD_LETTER,
            Kind::FEATURES,
            Kind::BACKFILL_DONE,
        ]);
        const LONG_FLAGS: u8 = Flags::WIDE.with(Flags::DERIVED).0;
        if head.span() == 1 && !LONG_KINDS.contains(kind) && head.flags.0 & LONG_FLAGS == 0 {
            return Ok(());
        }
        admit_span(slots)
    }

    /// A tick, definition or epoch. A definition that is damaged, or contradicts what is known, is refused: the events that
    /// rely on it will be, too.
    #[inline(never)]
    fn control(&mut self, at: usize, len: usize) {
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

    #[inline]
    fn begin(&mut self, root_as: Active, root: Identity, kind: Kind, symbol: SymbolId, ts_event: UnixNanos) {
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

    fn begin_timer(&mut self, due: UnixNanos, timer: TimerRequest) {
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

    /// Takes the first waiting event of another symbol. It is an output of its symbol, and its own identity is the root of
    /// what it causes.
    fn begin_mesh(&mut self, out: &mut impl Outbox) {
        self.scratch_span = self.pending.pop(&mut self.scratch);
        self.update_quiet();
        let head = self.scratch[0];
        self.clock = self.clock.max(head.ts_recv);
        self.derived.accept(head.kind());
        let event = EventRef::first(&self.scratch[..self.scratch_span]).expect("Invariant: staged events are whole");
        self.digest.absorb(&self.catalog, event);
        if let Some(history) = &mut self.history {
            let _ = history.record(event, self.clock);
        }
        out.put(event);
        self.has_put = true;
        self.begin(Active::Mesh, head.identity(), head.kind(), head.symbol, head.ts_event);
        // The event has taken a part of the room that the outbox promised for it and what it causes.
        self.staging.reserve(self.scratch_span);
    }

    /// Takes the active event, and then each event that it causes, through the handlers; then lets the effects out.
    ///
    /// A panic may leave it at any call of a handler; called again, it goes on with the handler after that one.
    #[inline]
    fn finish(&mut self, out: &mut impl Outbox, samples: &mut usize) {
        loop {
            self.walk();
            match self.active {
                Active::Retry => self.end_retry(),
                Active::Timer => self.unfinished.clear(),
                Active::Request => self.note_answer(),
                Active::Reply | Active::End => self.note_replies(),
                active => {
                    let fate = if self.unfinished.is_empty() { Fate::Clear } else { self.keep_unfinished() };
                    if active == Active::Derived {
                        letters::settle(&mut self.derived, self.scratch[0].kind(), fate);
                        if self.service.has_asker() {
                            self.active = Active::Reply;
                            self.progress = Progress::default();
                            continue;
                        }
                    } else {
                        self.root_fate = fate;
                        if active == Active::Job && self.service.has_asker() {
                            self.active = Active::Reply;
                            self.progress = Progress::default();
                            continue;
                        }
                    }
                }
            }
            if self.staging.slots().len() == self.cascade_at || !self.next_derived() {
                break;
            }
        }
        if !self.staging.is_empty() {
            self.commit(out);
        }
        match self.root_as {
            Active::Source => {
                letters::settle(&mut self.ledger, self.root_kind, self.root_fate);
                self.sample(samples);
                self.input.at += self.input.slots[self.input.at].span();
            }
            Active::Mesh => letters::settle(&mut self.derived, self.root_kind, self.root_fate),
            Active::Job => {
                letters::settle(&mut self.derived, self.root_kind, self.root_fate);
                self.service = service::Service::NONE;
            }
            Active::Request => self.end_request(),
            Active::End => self.service = service::Service::NONE,
            Active::Timer | Active::Derived | Active::Retry | Active::Reply | Active::Run | Active::None => {}
        }
        if P::LOGS && self.told.follows {
            self.log_done();
        }
        self.active = Active::None;
    }

    /// Calls the handlers that have not seen the active event yet.
    #[inline]
    fn walk(&mut self) {
        let mut call = Call {
            cx: Ctx::with_books(self.site, &mut self.staging, self.books.as_ref()),
            progress: &mut self.progress,
            unfinished: &mut self.unfinished,
            letters: (self.letters.holds() > 0).then_some(&self.letters),
        };
        let turn = match self.active {
            Active::Source => {
                let at = self.input.at;
                let span = self.input.slots[at].span();
                let event = EventRef::first(&self.input.slots[at..at + span]);
                Turn::Event(event.expect("Invariant: admission has seen the span whole"))
            }
            Active::Mesh | Active::Derived | Active::Job => {
                let event = EventRef::first(&self.scratch[..self.scratch_span]);
                Turn::Event(event.expect("Invariant: staged events are whole"))
            }
            Active::Timer => Turn::Timer(&self.timer),
            Active::Retry => {
                let event = EventRef::first(&self.scratch[..self.scratch_span]);
                Turn::Retry(self.retry.1, event.expect("Invariant: dead letters are whole"))
            }
            Active::Request => match self.service.ask.as_ref() {
                Some(ask) => Turn::Request(ask),
                None => return,
            },
            Active::Reply => {
                let event = EventRef::first(&self.scratch[..self.scratch_span]);
                let event = event.expect("Invariant: staged events are whole");
                match &self.archive {
                    Some(archive) if self.service.is_history => {
                        Turn::History(&archive.desk, &mut self.service.asker, event)
                    }
                    _ => Turn::Reply(&self.requests, &mut self.service.asker, event),
                }
            }
            Active::End => match self.service.notice {
                Some(notice) => Turn::End(notice),
                None => return,
            },
            Active::Run | Active::None => return,
        };
        if P::LOGS && self.told.follows {
            let (kind, identity) = match self.active {
                Active::Source | Active::Timer => (self.root_kind, self.site.root),
                _ => (self.scratch[0].kind(), self.scratch[0].identity()),
            };
            let record = Record::about(Code::Handled, self.config.shard, self.clock, kind, identity);
            turn.take(&mut self.bus, &mut call, &mut logging::Tracer { probe: &mut self.probe, record });
        } else if P::TIMES_HANDLERS && (self.is_timed || self.bus.has_budgets()) {
            let mut watch = Stopwatch::new(&mut self.probe, self.is_timed);
            turn.take(&mut self.bus, &mut call, &mut watch);
            self.stamped += watch.pairs();
        } else {
            turn.take(&mut self.bus, &mut call, &mut Untimed);
        }
    }

    /// Makes the next derived event that a handler wants the active one. Counts those that none wants.
    fn next_derived(&mut self) -> bool {
        loop {
            if self.cascade_at == self.generation_end || self.cascade_depth == 0 {
                self.generation_end = self.staging.slots().len();
                self.cascade_depth += 1;
            }
            let Some(event) = EventRef::first(&self.staging.slots()[self.cascade_at..]) else { return false };
            let head = event.head();
            let span = event.slots().len();
            let is_reply = self.service.is_reply(self.cascade_at);
            self.cascade_at += span;
            if head.symbol != self.site.symbol {
                continue; // handled where and when it falls due
            }
            self.derived.accept(head.kind());
            if !self.bus.wants(head.kind()) && !is_reply {
                self.derived.settle(head.kind(), Outcome::Delivered);
            } else if self.cascade_depth > CASCADE_DEPTH_MAX {
                self.limits_hit[Limit::CascadeDepth as usize] += 1;
                self.derived.settle(head.kind(), Outcome::Delivered);
            } else {
                self.scratch[..span].copy_from_slice(event.slots());
                self.scratch_span = span;
                self.active = Active::Derived;
                self.progress = Progress::default();
                if is_reply {
                    self.address_reply();
                }
                return true;
            }
        }
    }

    /// Lets the staged effects of a root event out: timers to the wheel, outputs to digest and outbox, events for other
    /// symbols to wherever they are handled.
    #[inline(never)]
    fn commit(&mut self, out: &mut impl Outbox) {
        if !(self.staging.timers().is_empty() && self.staging.cancels().is_empty()) {
            self.commit_timers();
        }
        for wish in self.staging.wishes() {
            self.requests.ask(self.clock, self.site.symbol, wish);
        }
        if !self.staging.histories().is_empty() {
            self.commit_histories();
        }
        self.staging.advance_serials(self.site.symbol);
        let hashes = (self.catalog.symbol_hash(self.site.root.symbol), self.catalog.source_hash(self.site.root.source));
        self.staging.sign(hashes);
        self.has_put = true;
        let mut at = 0;
        while let Some(event) = EventRef::first(&self.staging.slots()[at..]) {
            at += event.slots().len();
            let symbol = event.head().symbol;
            if P::LOGS && self.told.follows {
                let is_own = symbol == self.site.symbol;
                self.told.output(&mut self.probe, self.config.shard, self.site.root, event, is_own);
            }
            if symbol == self.site.symbol {
                self.digest.absorb(&self.catalog, event);
                if let Some(history) = &mut self.history {
                    let _ = history.record(event, self.clock);
                }
                out.put(event);
                continue;
            }
            if symbol.index() >= self.catalog.symbols() {
                self.derived.refuse(event.kind(), Refusal::UnknownSymbol);
                continue;
            }
            let owner = self.config.routes.shard(self.catalog.route_slot(symbol));
            match self.outlets.get_mut(owner).and_then(Option::as_mut) {
                Some(outlet) => outlet.send(event),
                None => {
                    if self.pending.insert(event).is_err() {
                        self.limits_hit[Limit::MeshPending as usize] += 1;
                        self.derived.refuse(event.kind(), Refusal::MeshFull);
                    }
                }
            }
        }
        self.update_quiet();
    }

    /// Notes the active source event as a sample, unless it is from the past or replayed before the measured part.
    #[inline]
    fn sample(&mut self, samples: &mut usize) {
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

    /// Drains the mesh rings into the waiting room, and notes how far the other shards have come.
    fn take_mesh(&mut self) -> usize {
        let mut work = 0;
        for peer in &mut self.peers {
            let slots = peer.inlet.refill();
            if slots == 0 {
                continue;
            }
            let mut at = 0;
            while at < slots {
                let event = EventRef::first(&peer.inlet.slots[at..slots]).expect("Invariant: rings carry whole events");
                at += event.slots().len();
                if event.kind() == Kind::TICK {
                    peer.bound = event.head().ts_recv;
                    if !event.tail().is_empty() {
                        peer.next = event.head().ts_event;
                        peer.counts.iter_mut().zip(event.tail_words()).for_each(|(count, word)| *count = word);
                    }
                    continue;
                }
                work += 1;
                peer.received += 1;
                if self.pending.insert(event).is_err() {
                    self.limits_hit[Limit::MeshPending as usize] += 1;
                    self.derived.refuse(event.kind(), Refusal::MeshFull);
                }
            }
            peer.inlet.at = slots;
        }
        self.raise_horizon(self.peers.iter().map(|peer| peer.bound).min().unwrap_or(UnixNanos::UNKNOWN));
        self.update_quiet();
        work
    }

    /// No shard will make anything before `bound`. True when that is news.
    fn raise_horizon(&mut self, bound: UnixNanos) -> bool {
        // The end of time means "no peers": a horizon that saturates stays one below it.
        let horizon = bound.saturating_add(MESH_DELAY_NS).min(UnixNanos(u64::MAX - 1));
        let is_later = horizon > self.horizon;
        self.horizon = self.horizon.max(horizon);
        is_later
    }

    /// Raises the horizon by the reports of all shards, if nothing is under way between them. `next` is what is next here.
    /// True when it went up. O(peers), and O(shards squared) when it may go up.
    fn agree(&mut self, next: UnixNanos) -> bool {
        let own = self.config.shard;
        for (shard, count) in self.counts.iter_mut().enumerate() {
            let sent = self.outlets.get(shard).and_then(Option::as_ref).map_or(0, |outlet| outlet.sent);
            let peer = shard.checked_sub(usize::from(shard > own)).filter(|_| shard != own);
            let received = peer.map_or(0, |peer| self.peers[peer].received);
            *count = u64::from(sent as u32) | received << 32;
        }
        let first = self.peers.iter().map(|peer| peer.next).min().unwrap_or(UnixNanos::UNKNOWN).min(next);
        if first.saturating_add(MESH_DELAY_NS).min(UnixNanos(u64::MAX - 1)) <= self.horizon {
            return false;
        }
        let counts = |shard: usize| match shard.cmp(&own) {
            std::cmp::Ordering::Less => &self.peers[shard].counts,
            std::cmp::Ordering::Equal => &self.counts,
            std::cmp::Ordering::Greater => &self.peers[shard - 1].counts,
        };
        let shards = self.counts.len();
        let is_quiet =
            (0..shards).all(|from| (0..shards).all(|to| counts(from)[to] as u32 == (counts(to)[from] >> 32) as u32));
        is_quiet && self.raise_horizon(first)
    }

    /// Sends what found a ring full. False while something is left.
    fn flush_mesh(&mut self) -> bool {
        let mut is_flushed = true;
        for outlet in self.outlets.iter_mut().flatten() {
            is_flushed &= outlet.flush();
        }
        is_flushed
    }

    /// Whether an event for another shard is waiting for room: nothing new may be begun then.
    #[inline]
    fn mesh_is_stuck(&self) -> bool {
        self.horizon != UnixNanos::UNKNOWN && self.outlets.iter().flatten().any(|outlet| !outlet.stash.is_empty())
    }

    /// Tells the other shards the earliest time at which this one can still make something; when idle, also what is next.
    /// True when the horizon went up by what they have reported.
    fn tell_peers(&mut self, is_idle: bool) -> bool {
        let source = if self.input.at < self.input.len {
            self.time_at(self.input.at)
        } else if self.source_done {
            UnixNanos::UNKNOWN
        } else {
            self.source_time
        };
        let timer = self.wheel.next_due_hint().unwrap_or(UnixNanos::UNKNOWN);
        let request = self.request_due();
        let next = source.min(timer).min(request).min(self.pending.next_due());
        // Events that were held and are ready run at this very instant, whatever kept them from it in this step.
        let next = if self.letters.ready().is_some() { next.min(self.clock) } else { next };
        let is_raised = is_idle && self.agree(next);
        if is_raised {
            self.update_quiet();
        }
        let bound = next.min(self.horizon);
        let (sent, received) = self.mesh_counts();
        for outlet in self.outlets.iter_mut().flatten() {
            let must_report = is_idle && outlet.reported != (next, sent, received);
            let step_ns = bound.0.saturating_sub(outlet.bound_sent.0);
            if !must_report && (step_ns == 0 || !is_idle && step_ns < MESH_DELAY_NS / 4) || !outlet.stash.is_empty() {
                continue;
            }
            let bound = bound.max(outlet.bound_sent);
            self.report.reset(&Tick::default());
            self.report.head_mut().ts_recv = bound;
            if must_report {
                self.report.head_mut().ts_event = next;
                for chunk in self.counts.chunks(7) {
                    let mut words = [0; 7];
                    words[..chunk.len()].copy_from_slice(chunk);
                    self.report.push_words(words).expect("two counts for each of 256 shards fit a span");
                }
            }
            if outlet.ring.push(self.report.slots()).is_ok() {
                outlet.bound_sent = bound;
                if must_report {
                    outlet.reported = (next, sent, received);
                }
            }
        }
        is_raised
    }

    /// Whether the shard has nothing left to do: the source has ended and was handled, and within the drain's bound no timer
    /// is pending and no event waits. Events of other shards may still come: see [`Shard::mesh_counts`].
    #[must_use]
    pub fn is_drained(&self) -> bool {
        let drain_end = self.source_time.saturating_add(DRAIN_NS_MAX);
        self.source_done
            && self.active == Active::None
            && self.input.at == self.input.len
            && self.live.as_ref().is_none_or(|live| live.is_empty())
            && self.letters.ready().is_none()
            && (self.pending.is_empty() || self.pending.next_due() > drain_end)
            && self.wheel.next_due_hint().is_none_or(|due| due > drain_end)
            && self.request_due() > drain_end
            && self.outlets.iter().flatten().all(|outlet| outlet.stash.is_empty())
    }

    /// Events sent to and received from other shards. A drain has ended when all shards are drained and the sums agree,
    /// twice in a row.
    #[must_use]
    pub fn mesh_counts(&self) -> (u64, u64) {
        let sent = self.outlets.iter().flatten().map(|outlet| outlet.sent).sum();
        (sent, self.peers.iter().map(|peer| peer.received).sum())
    }

    /// Shard time.
    #[must_use]
    pub fn clock(&self) -> UnixNanos {
        self.clock
    }

    /// Source events, by kind.
    #[must_use]
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Events that handlers made, by kind, and those of replies of jobs that were done off the core.
    #[must_use]
    pub fn derived(&self) -> &Ledger {
        &self.derived
    }

    /// Outputs so far.
    #[must_use]
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// Events that handlers failed on, and those that wait behind them.
    #[must_use]
    pub fn letters(&self) -> &DeadLetters {
        &self.letters
    }

    /// The last events, if any are kept.
    #[must_use]
    pub fn history(&self) -> Option<&History> {
        self.history.as_ref()
    }

    /// The order books, if any are kept.
    #[must_use]
    pub fn books(&self) -> Option<&Books> {
        self.books.as_ref()
    }

    /// The window in which duplicates are recognised, if there is one.
    #[must_use]
    pub fn dedup(&self) -> Option<&DedupWindow> {
        self.dedup.as_ref()
    }

    /// This shard's part of the engine's digest.
    #[must_use]
    pub fn digest_total(&self) -> u64 {
        self.digest.total(&self.catalog)
    }

    /// Names, as far as they were defined.
    #[must_use]
    pub fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// What measures.
    pub fn probe(&mut self) -> &mut P {
        &mut self.probe
    }

    /// Counts of each handler, in dispatch order. Allocates: for reports.
    #[must_use]
    pub fn handlers(&mut self) -> Vec<(&'static str, HandlerStats)> {
        self.bus.stats()
    }

    /// Batches in which every handler was stamped.
    #[must_use]
    pub fn timed_batches(&self) -> TimedBatches {
        self.timed
    }

    /// How often `limit` acted.
    #[must_use]
    pub fn limit_hits(&self, limit: Limit) -> u64 {
        match limit {
            Limit::Staging => self.staging.refused(),
            Limit::Dedup => {
                self.dedup.as_ref().map_or(0, |dedup| dedup.counts().turns_by_count + dedup.counts().unremembered)
            }
            Limit::Requests => {
                let counters = self.requests.counters();
                counters.refused_by[RequestRefusal::QueueFull as usize] + counters.untold
            }
            Limit::ServiceBudget => self.requests.counters().over_budget,
            Limit::Backfill => self.backfill().map_or(0, Desk::shared_hits),
            limit => self.limits_hit[limit as usize],
        }
    }

    /// Requests of handlers: the queue, what became of them, and how long they waited.
    #[must_use]
    pub fn requests(&self) -> &Requests {
        &self.requests
    }

    /// Events whose `ts_recv` was earlier than shard time.
    #[must_use]
    pub fn clamped(&self) -> u64 {
        self.clamped
    }

    /// Timers that have fired.
    #[must_use]
    pub fn timers_fired(&self) -> u64 {
        self.timers_fired
    }

    /// Slots that the source may still put into the ring, and that wait in the batch, for reports.
    #[must_use]
    pub fn backlog(&self) -> usize {
        let waiting = self.live.as_ref().map_or(0, |live| live.lanes.used_slots());
        self.input.len - self.input.at + waiting
    }

    /// Bytes per structure. Those of states and digest are zero pages until a symbol is used.
    #[must_use]
    pub fn bytes(&mut self) -> [(&'static str, usize); 14] {
        [
            ("catalog", self.catalog.bytes()),
            ("handler states", self.bus.bytes()),
            ("digest", self.digest.bytes()),
            ("wheel", self.wheel.bytes() + self.timer_names.bytes()),
            ("requests", self.requests.bytes()),
            ("backfill", self.archive.as_ref().map_or(0, |archive| archive.desk.bytes())),
            ("books", self.books.as_ref().map_or(0, Books::bytes)),
            ("mesh", self.pending.bytes()),
            ("lanes", self.live.as_ref().map_or(0, |live| live.bytes())),
            ("staging", self.staging.bytes()),
            ("dedup", self.dedup.as_ref().map_or(0, DedupWindow::bytes)),
            ("history", self.history.as_ref().map_or(0, History::bytes)),
            ("dead letters", self.letters.bytes() + size_of_val(&*self.origins)),
            ("rates", self.rates.bytes()),
        ]
    }
}

impl Outlet {
    /// Sends an event, or keeps it until there is room: the shard begins nothing new meanwhile, so that the stash holds one
    /// root's effects at most, and never grows.
    fn send(&mut self, event: EventRef<'_>) {
        self.sent += 1;
        if !self.stash.is_empty() || self.ring.push(event.slots()).is_err() {
            debug_assert!(
                self.stash.len() + event.slots().len() <= self.stash.capacity(),
                "Invariant: one root's effects"
            );
            self.stash.extend_from_slice(event.slots());
        }
    }

    fn flush(&mut self) -> bool {
        let mut sent = 0;
        while let Some(event) = EventRef::first(&self.stash[sent..]) {
            if self.ring.push(event.slots()).is_err() {
                break;
            }
            sent += event.slots().len();
        }
        if sent > 0 {
            self.stash.drain(..sent);
        }
        self.stash.is_empty()
    }
}

/// Checks the continuations of a kind that has some.
#[inline(never)]
fn admit_span(slots: &[Slot]) -> Result<(), Refusal> {
    let event = EventRef::first(slots).ok_or(Refusal::BrokenSpan)?;
    let head = event.head();
    let tail = event.tail().len();
    let derived = usize::from(head.flags.contains(Flags::DERIVED));
    let wanted = derived
        + match head.kind() {
            Kind::BAR | Kind::BACKFILL_DONE => 1,
            Kind::QUOTE => usize::from(head.flags.contains(Flags::WIDE)),
            Kind::BOOK_DEPTH => {
                let levels = usize::from(head.payload_as::<BookDepth>().levels);
                (levels * size_of::<crate::event::payload::DepthLevel>()).div_ceil(crate::limits::CONTINUATION_BYTES)
            }
            Kind::NEWS | Kind::SYSTEM | Kind::HEALTH | Kind::ERROR => {
                crate::event::payload::text_bytes(event).div_ceil(crate::limits::CONTINUATION_BYTES)
            }
            Kind::DEAD_LETTER => {
                let tail_bytes = head.payload_as::<crate::event::payload::DeadLetter>().tail_bytes as usize;
                tail_bytes.max(1).div_ceil(crate::limits::CONTINUATION_BYTES)
            }
            Kind::FEATURES => {
                let count = head.payload_as::<crate::event::payload::Features>().count as usize;
                (count * 8).div_ceil(crate::limits::CONTINUATION_BYTES)
            }
            _ => 0,
        };
    if tail == wanted { Ok(()) } else { Err(Refusal::BrokenSpan) }
}

impl<C: Chain, P: Probe> std::fmt::Debug for Shard<C, P> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shard")
            .field("shard", &self.config.shard)
            .field("clock", &self.clock)
            .field("active", &self.active)
            .field("horizon", &self.horizon)
            .finish_non_exhaustive()
    }
}
