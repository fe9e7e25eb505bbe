//! What a shard is made with, and the limits that may act in it.

use crate::event::KindSet;
use crate::limits::{
    DEDUP_CAPACITY_DEFAULT, DEDUP_WINDOW_NS_DEFAULT, HISTORY_AGE_NS_DEFAULT, HISTORY_SLOTS_DEFAULT, KIND_ROWS,
    MESH_PENDING_DEFAULT,
};
use crate::log::Filter;
use crate::retry::{Policy, ShareConfig};
use crate::route::RouteTable;
use crate::schema::Schemas;

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
    /// Number of the policy for events of each kind, by [`crate::event::Kind::row`].
    pub retry_of: [u8; KIND_ROWS],
    /// Retries of a symbol as a share of its live events; `None` = each letter's attempts are the only bound, and live events are not
    /// counted by symbol.
    pub retry_share: Option<ShareConfig>,
    /// The request queue and the service of requests.
    pub requests: crate::requests::Config,
    /// Buses whose topics say what waits, and what happens without room, where the source cannot wait (`--overload live`); `None` = it
    /// waits, and there are no lanes.
    pub live: Option<Vec<crate::topics::Bus>>,
    /// Pages of [`crate::book::PAGE_LEVELS`] price levels for all order books together; 0 = no books are kept.
    pub book_pages: usize,
    /// Single orders in all order books together.
    pub book_orders: usize,
    /// The layouts that source events are admitted by, each in the newest version of its kind: whoever reads an older one upgrades it
    /// ([`Schemas::upgrade`]).
    pub schemas: Schemas,
    /// Kinds whose source events are kept as dead letters where they break their schema ([`crate::shard::INVALID`]); others are refused.
    pub invalid_kept: KindSet,
    /// What is logged, where the probe takes logs.
    pub log: Filter,
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
    /// A cascade went deeper than [`crate::limits::CASCADE_DEPTH_MAX`]: its last events were published but not handled.
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
    /// As many jobs were under way off the core as may be, and a request waited on.
    JobsFull = 8,
    /// A limit that the backfills of all symbols share.
    Backfill = 9,
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
            retry_share: None,
            requests: crate::requests::Config::default(),
            live: None,
            book_pages: 0,
            book_orders: 0,
            schemas: Schemas::builtin(),
            invalid_kept: KindSet::EMPTY,
            log: Filter::default(),
        }
    }
}

impl Limit {
    /// Every limit, by number.
    pub const ALL: [Self; 10] = [
        Self::Timers,
        Self::MeshPending,
        Self::Staging,
        Self::CascadeDepth,
        Self::DeadLetters,
        Self::Dedup,
        Self::Requests,
        Self::ServiceBudget,
        Self::JobsFull,
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
            Self::JobsFull => "jobs_full",
            Self::Backfill => "backfill",
        }
    }

    /// Whether the limit is shared by the symbols of a shard, so that outputs may depend on the number of shards.
    #[must_use]
    pub const fn is_shared(self) -> bool {
        !matches!(self, Self::Staging | Self::CascadeDepth)
    }
}
