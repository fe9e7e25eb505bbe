//! The shard: one single-threaded, deterministic state machine.
//!
//! # Poll order
//! Each [`Shard::step`] goes, in this order:
//! 1. with `--overload live`, what the source ring holds is taken into the lanes, where the topics' policies act (see [`crate::lanes`]),
//!    whatever else is stuck: a feed that cannot wait does not wait for the way out either;
//! 2. mesh rings are drained into the waiting room, whatever else is stuck (two shards that are full toward each other
//!    must not deadlock), and what found a mesh ring full is sent;
//! 3. where outputs and mesh rings have room, a batch is taken once the last one is used up: from the source ring, or from the lanes;
//! 4. an event that a panic cut short is finished; then, until the batch is done, whatever is next: held events whose turn has come, and by
//!    (time, timers before requests before replies of jobs off the core before mesh events before source events) what is due: timers,
//!    instants of service, replies, events of other symbols, source events. The effects of each leave before the next begins: to the wheel,
//!    the digest and the outbox, and to other shards;
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

use crate::book::Books;
use crate::bus::{Bus, Chain, Progress, Unfinished};
use crate::catalog::Catalog;
use crate::dead::{DeadLetters, Fate, Handle};
use crate::dedup::DedupWindow;
use crate::digest::Digest;
use crate::event::payload::Tick;
use crate::event::{EventBuf, EventRef, Identity, Kind, KindSet, Slot};
use crate::handler::{CallSite, Staging, TimerRequest};
use crate::history::History;
use crate::ledger::Ledger;
use crate::limits::{BATCH_SLOTS, DRAIN_NS_MAX, SPAN_SLOTS_MAX, STAGED_SLOTS_MAX, TICK_NS};
use crate::log::Record;
use crate::mesh::Pending;
use crate::requests::Requests;
use crate::retry::RetryShare;
use crate::ring::{Consumer, Producer};
use crate::stats::Rates;
use crate::units::{SourceId, SymbolId, UnixNanos};
use crate::wheel::Wheel;

mod admission;
mod backfill;
mod cascade;
mod config;
mod hops;
mod inlet;
mod invalid;
mod letters;
mod logging;
mod mesh;
mod plain;
mod poll;
mod reading;
mod runs;
mod service;
mod snapshot;
mod timers;

pub use config::{Config, Limit};
pub use hops::HopRoot;
pub use inlet::{ERROR_NO_ROOM, NO_ROOM, NO_ROOM_NAME};
pub use invalid::{INVALID, INVALID_NAME, schema_error, schema_reason};
pub use snapshot::NotAtRest;
pub use timers::Cancelled;

use mesh::{Outlet, Peer};

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

    /// A source event that is a sample was handled in a batch whose calls are all stamped: where its time went. Told after [`Probe::batch`].
    fn stages(&mut self, _stages: &Stages) {}

    /// An event of this root leaves now for another symbol: the stamp that goes with it, which the probe of its shard gets back in
    /// [`Probe::hop`] and [`Probe::end_to_end`]; [`DUE_NONE`] for none. Asked where the source's ring carries due stamps only.
    fn forward(&mut self, _root: HopRoot) -> u64 {
        DUE_NONE
    }

    /// An event that left another shard with this stamp was taken from the ring between the two.
    fn hop(&mut self, _stamp: u64) {}

    /// An event that left with this stamp, for a symbol of this shard or of another one, was handled, with all that it caused for its symbol.
    fn end_to_end(&mut self, _stamp: u64) {}

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
    /// Where each of these samples is in `slots`; as long as `dues`.
    pub places: &'a [u8],
    /// The slots of the batch.
    pub slots: &'a [Slot],
}

impl Batch<'_> {
    /// Due stamps and heads of the samples, in order; none when the ring carries no stamps.
    pub fn samples(&self) -> impl Iterator<Item = (u64, &Slot)> + '_ {
        self.dues.iter().zip(self.places).map(|(due, place)| (*due, &self.slots[usize::from(*place)]))
    }
}

/// Where the time of one source event went, ns, without the cost of the stamps in between. Its cascade and its effects are parts of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stages {
    /// Clock, checks, dedup, history, book.
    pub admission_ns: u64,
    /// In handlers, of all generations. `None` where none was called.
    pub handlers_ns: Option<u64>,
    /// Commit of what they staged: timers, digest, outbox, other shards. `None` where they staged nothing.
    pub egress_ns: Option<u64>,
    /// All the rest from admission to the end: who is called, in which order, ledger.
    pub dispatch_ns: u64,
}

/// Stamps of the source event at hand, in a batch whose calls are stamped.
#[derive(Clone, Copy, Debug, Default)]
struct Marks {
    /// Admission began, and ended.
    started: u64,
    admitted: u64,
    /// As [`Stages`].
    handlers_ns: Option<u64>,
    egress_ns: Option<u64>,
    /// Stamps between `admitted` and now.
    stamps: u64,
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
    /// The event at the inlet's cursor, which is one of many: see [`plain`].
    Plain,
    /// The request in `service`, for the handler that serves it.
    Request,
    /// The event in `scratch`, for those who asked for it: see `service`.
    Reply,
    /// The end of a request, for who asked: see `service`.
    End,
    /// The event of a reply of a job off the core, in `scratch`.
    Job,
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
    peers: Vec<Peer>,
    /// By shard; `None` for this one.
    outlets: Vec<Option<Outlet>>,
    /// This shard's own counts, as [`Peer::counts`].
    counts: Box<[u64]>,
    /// The tick for the other shards under construction.
    report: Box<EventBuf>,
    pending: Pending,
    /// Where the source's ring carries due stamps and a handler crosses symbols.
    hops: Option<hops::Hops>,
    wheel: Wheel<TimerRequest>,
    timer_names: timers::TimerNames,
    requests: Requests,
    /// Replies of jobs that are done off the core.
    replies: Option<Inlet>,
    /// History that handlers ask for.
    archive: Option<Box<backfill::Archive>>,
    dedup: Option<DedupWindow>,
    /// Where the dedup window looks for each event of the batch.
    places: Box<[u32; BATCH_SLOTS]>,
    history: Option<History>,
    books: Option<Books>,
    /// Kinds that change a book; none when there are no books.
    book_kinds: KindSet,
    letters: DeadLetters,
    /// What each symbol's live events leave for its retries, where that is bounded.
    retry_share: Option<RetryShare>,
    /// Of each event among the dead letters, by its handle's index.
    origins: Box<[letters::Origin]>,
    staging: Staging,
    scratch: Box<[Slot; SPAN_SLOTS_MAX]>,
    scratch_span: usize,
    samples: Box<[u64; BATCH_SLOTS]>,
    /// Where each of them is in the batch.
    sample_places: Box<[u8; BATCH_SLOTS]>,
    samples_len: usize,

    clock: UnixNanos,
    /// Running maximum of what the source has sent: nothing earlier will come.
    source_time: UnixNanos,
    source_done: bool,
    /// Earliest time at which another shard's event can still fall due here.
    horizon: UnixNanos,
    /// Outputs or events for other shards have left since the room for them was looked at.
    has_put: bool,
    /// Source events before this time need no look at wheel, mesh, horizon or rates.
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
    /// Events that went the plain way to its end.
    plain: u64,
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
    /// Stamps of this step.
    stamped: u64,
    /// Of the source event at hand; `None` where its beginning was not stamped.
    marks: Option<Marks>,
    /// Of the events of this step; told once it is over.
    stages: Box<[Stages; BATCH_SLOTS]>,
    stages_len: usize,
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
    /// When the bus crosses symbols and the rings do not match the number of shards, a kind has a retry policy that is not there, the retry
    /// share's parameters are none, or the buses of topics cannot be open together.
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
        let retry_of = config.retry_of;
        let live = config.live.as_ref().map(|buses| {
            let live = inlet::Live::new(buses, config.shard as u32, symbols_max, config.seed, retry_of);
            Box::new(live)
        });
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
            places: Box::new([0; BATCH_SLOTS]),
            history,
            origins: vec![letters::Origin::default(); letters.entries].into_boxed_slice(),
            letters: DeadLetters::new(&letters, &config.retry),
            retry_share: config.retry_share.map(|share| {
                RetryShare::new(share, symbols_max).unwrap_or_else(|error| panic!("retry share: {error}"))
            }),
            unfinished: Unfinished::new(),
            pending: Pending::new(if bus.crosses_symbols() { config.mesh_pending_slots } else { SPAN_SLOTS_MAX }),
            hops: (config.has_dues && bus.crosses_symbols()).then(|| hops::Hops::new(config.mesh_pending_slots)),
            catalog,
            bus,
            probe,
            input: Inlet::new(input, config.has_dues),
            live,
            market: inlet::market(),
            peers: peers
                .into_iter()
                .map(|ring| Peer {
                    inlet: Inlet::new(ring, config.has_dues),
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
                        stamps: Vec::with_capacity(2 * STAGED_SLOTS_MAX),
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
            sample_places: Box::new([0; BATCH_SLOTS]),
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
            plain: 0,
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
            marks: None,
            stages: Box::new([Stages::default(); BATCH_SLOTS]),
            stages_len: 0,
            timed: TimedBatches::default(),
            rates: Rates::new(),
            told: logging::Told::NOTHING,
            config,
        }
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
