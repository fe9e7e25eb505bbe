//! Every limit of the engine, in one place.
//!
//! A limit that a caller may set is a default here (`*_default`) beside the bound that configuration is checked
//! against (`*_max`). What must hold between limits is asserted at compile time at the end of the file.

/// Bytes of one ring slot, tape slot, history entry: one cache line.
pub const SLOT_BYTES: usize = 64;
/// Bytes of one event's head that carry the kind's own fields.
pub const PAYLOAD_BYTES: usize = 24;
/// Payload bytes of one continuation slot: all of the slot but the word that the ring publishes.
pub const CONTINUATION_BYTES: usize = 56;
/// Most slots of one event. A longer one is refused with its length.
pub const SPAN_SLOTS_MAX: usize = 64;
/// Most payload bytes of one event: the head's and those of 63 continuations.
pub const SPAN_BYTES_MAX: usize = PAYLOAD_BYTES + (SPAN_SLOTS_MAX - 1) * CONTINUATION_BYTES;

/// Symbols that an engine can intern, id 0 (no symbol) included, unless configured otherwise.
pub const SYMBOLS_DEFAULT: usize = 1 << 16;
/// Bound on the configured number of symbols.
pub const SYMBOLS_MAX: usize = 1 << 24;
/// Longest symbol text in bytes. DBN's longest is 70.
pub const SYMBOL_BYTES_MAX: usize = 96;
/// Sources (stream types of one market) that an engine can know, id 0 (no source) included.
pub const SOURCES_MAX: usize = 256;
/// Longest source name in bytes.
pub const SOURCE_BYTES_MAX: usize = 64;

/// Routing slots: `slot = hash(symbol text) % ROUTE_SLOTS`. Fixed by the tape format.
pub const ROUTE_SLOTS: usize = 4096;
/// Most shards of one engine: one per core of the largest machine that we expect.
pub const SHARDS_MAX: usize = 256;

/// Slots of one source ring, unless configured otherwise.
pub const RING_SLOTS_DEFAULT: usize = 4096;
/// Slots of one mesh ring (one ordered pair of shards).
pub const MESH_RING_SLOTS_DEFAULT: usize = 1024;
/// Largest ring. A tag has 32 bits, so that a lap must be far shorter than 2^32 positions.
pub const RING_SLOTS_MAX: usize = 1 << 24;
/// Most slots that a shard takes from a ring, and stamps, as one batch.
pub const BATCH_SLOTS: usize = 64;
/// Of so many batches of a shard, one has each call of a handler and each stage of an event stamped, the first batch included: stamping them all would cost as
/// much as small handlers do, and a batch that is stamped takes longer than others. With 1 in 128, percentiles up to 99.2 are those of batches that are not.
pub const TIMED_BATCHES: u64 = 128;

/// Kinds: four bits short of a u16, which also carries the version.
pub const KINDS_MAX: usize = 1 << 12;
/// Kinds that have a row of their own in ledgers and statistics.
pub const KIND_ROWS: usize = 64;

/// Most handlers on one bus.
pub const HANDLERS_MAX: usize = 64;
/// What one handler counts of its own, at most.
pub const HANDLER_COUNTS_MAX: usize = 16;
/// Slots that the handlers of one event may stage, its whole cascade included.
pub const STAGED_SLOTS_MAX: usize = 4096;
/// Timers that the handlers of one event may set, its whole cascade included.
pub const STAGED_TIMERS_MAX: usize = 64;
/// Requests that the handlers of one event may make, its whole cascade included.
pub const STAGED_REQUESTS_MAX: usize = 64;
/// Depth of a cascade: an output that causes an output that causes an output.
pub const CASCADE_DEPTH_MAX: usize = 8;
/// Panics of one handler on one symbol after which the handler is quarantined for that symbol.
pub const STRIKES_MAX: u8 = 3;

/// Calls of one handler for one event at most, the first and the retries, whatever a policy says.
pub const RETRY_ATTEMPTS_MAX: u16 = 255;
/// Retry policies of one shard at most: an entry of the dead letters names its own in 8 bits.
pub const RETRY_POLICIES_MAX: usize = 256;
/// Retries that live traffic may earn ahead at most.
pub const RETRY_SHARE_BURST_MAX: u32 = 1 << 20;
/// Events of one symbol that wait behind a retry of one handler, unless configured otherwise.
pub const HELD_PER_SYMBOL_DEFAULT: usize = 1_024;
/// Entries of the dead letters of one shard (waiting, held and parked), unless configured otherwise.
pub const DEAD_LETTERS_DEFAULT: usize = 1 << 14;
/// Slots of the events of those entries, unless configured otherwise.
pub const DEAD_LETTER_SLOTS_DEFAULT: usize = 1 << 15;
/// Pairs of handler and symbol that may be held at one time, unless configured otherwise.
pub const HOLDS_DEFAULT: usize = 1 << 12;
/// Error codes with rows of their own in failure counts and chains, unless configured otherwise. Higher codes share one row.
pub const ERROR_CODES_DEFAULT: usize = 256;

/// Symbols that are correlated with one benchmark: each gets an event at each close of it, within one staging area.
pub const CORRELATION_FOLLOWERS_MAX: usize = 256;

/// Resolution of shard timers in nanoseconds.
pub const TICK_NS: u64 = 1_000_000;
/// Delay of an event that is published for another symbol, in nanoseconds of shard time. At least one tick.
pub const MESH_DELAY_NS: u64 = TICK_NS;
/// Pending timers of one shard.
pub const TIMERS_DEFAULT: usize = 1 << 17;
/// Most timers of one wheel: their indices have 32 bits, one of which is a mark.
pub const TIMERS_MAX: usize = 1 << 30;
/// Events for other symbols that wait on one shard until they fall due.
pub const MESH_PENDING_DEFAULT: usize = 1 << 14;
/// Timers that a shard fires in one step before it looks at its rings again.
pub const TIMERS_PER_STEP: usize = 256;
/// How far shard time runs on after the last event, so that one-shot timers can finish.
pub const DRAIN_NS_MAX: u64 = 24 * 3600 * 1_000_000_000;
/// Latest `ts_recv` that an event may have, in the year 2554: what is due after it still fits 64 bits.
pub const TIME_NS_MAX: u64 = u64::MAX - DRAIN_NS_MAX - 2 * MESH_DELAY_NS;

/// Named buses of one engine at most.
pub const BUSES_MAX: usize = 16;
/// Topics of all buses of one engine at most.
pub const TOPICS_MAX: usize = 64;
/// Subscriptions of the handlers of one bus at most. Each handler begins with one.
pub const SUBSCRIPTIONS_MAX: usize = 256;
/// Slots that may wait in the lanes of one shard at most, and in one topic.
pub const LANE_SLOTS_MAX: usize = 1 << 24;
/// Events of higher lanes that pass a lane in which something waits, at most, before one of that lane goes.
pub const LANE_TURNS_MAX: u32 = 32;
/// Events that go between two gap events that nothing waits behind, while other events wait: such gaps are a quarter of a batch at most.
pub const LANE_GAP_TURNS: u32 = 3;
/// Transitions of watermarks that are kept for reports. Older ones are counted only.
pub const TRANSITIONS_MAX: usize = 256;

/// Slots of the history of one shard, unless configured otherwise: 1 MiB of events.
pub const HISTORY_SLOTS_DEFAULT: usize = 1 << 14;
/// Age in nanoseconds of shard time at which the history forgets an event, unless configured otherwise: an hour.
pub const HISTORY_AGE_NS_DEFAULT: u64 = 3_600 * 1_000_000_000;
/// Largest history: its links have 32 bits, the highest of which are marks.
pub const HISTORY_SLOTS_MAX: usize = 1 << 30;

/// Most pages of price levels of all books of a shard.
pub const BOOK_PAGES_MAX: usize = 1 << 24;
/// Most single orders of all books of a shard.
pub const BOOK_ORDERS_MAX: usize = 1 << 28;
/// Identities that one generation of a dedup window remembers, unless configured otherwise. A window has two.
pub const DEDUP_CAPACITY_DEFAULT: usize = 1 << 17;
/// Most identities of one generation of a dedup window.
pub const DEDUP_CAPACITY_MAX: usize = 1 << 28;
/// Length of a dedup window in nanoseconds of shard time, unless configured otherwise. Copies of an event that come over two lines are
/// milliseconds apart. What a feed sends again after a reconnect is old by its numbers, which the source sees. So the default capacity
/// lasts for half a million events a second.
pub const DEDUP_WINDOW_NS_DEFAULT: u64 = 250_000_000;
/// Buckets that a search of a dedup window goes through. At a load of one half, the most there is, the chance that this many
/// in a row are full is below 1e-16 for each place.
pub const DEDUP_PROBE_BUCKETS_MAX: usize = 64;
/// Streams of numbers (a source, or a symbol of a source) of one gap detector, unless configured otherwise.
pub const GAP_STREAMS_DEFAULT: usize = SYMBOLS_DEFAULT;
/// Most streams of one gap detector.
pub const GAP_STREAMS_MAX: usize = 1 << 24;
/// Breakers of one shard. Each guards something that is named in the configuration: a sink, a store, a job.
pub const BREAKERS_MAX: usize = 1 << 12;
/// Longest name of a breaker, a series of windows or a feature group, in bytes.
pub const NAME_BYTES_MAX: usize = 64;
/// Token buckets of one table: one for each symbol that an engine can intern.
pub const BUCKETS_MAX: usize = SYMBOLS_MAX;
/// Different limits in one table of token buckets.
pub const BUCKET_LIMITS_MAX: usize = 1 << 8;
/// Alerts of one batch of the bridge at most.
pub const BRIDGE_BATCH_MAX: u16 = 1 << 10;
/// Longest interval of the bridge in ns: an hour of shard time.
pub const BRIDGE_NS_MAX: u64 = 3_600 * 1_000_000_000;
/// Feature groups that a request can name: one bit each.
pub const MAPPER_GROUPS_MAX: usize = 64;
/// Times of day of one mapper.
pub const MAPPER_HOURS_MAX: usize = 64;
/// How long features can be wanted, in ns: an hour of shard time.
pub const MAPPER_EXPIRES_NS_MAX: u64 = 3_600 * 1_000_000_000;
/// Conditions of one publisher: one bit each.
pub const PUBLISHER_CONDITIONS_MAX: usize = 16;
/// Tiers of one publisher.
pub const PUBLISHER_TIERS_MAX: usize = 8;
/// Longest interval of a publisher in ns: a day of shard time.
pub const PUBLISHER_NS_MAX: u64 = 24 * 3_600 * 1_000_000_000;
/// Changes of the offset of a time zone: two a year for a thousand years.
pub const ZONE_TRANSITIONS_MAX: usize = 2_048;
/// Series of sliding windows on one shard.
pub const SERIES_MAX: usize = 1 << 10;
/// Layouts that a schema table holds, all versions of all kinds together.
pub const SCHEMAS_MAX: usize = 1 << 10;
/// Versions of one kind's layout: four bits.
pub const SCHEMA_VERSIONS_MAX: usize = 1 << 4;
/// Fields of one layout, head and continuations together.
pub const SCHEMA_FIELDS_MAX: usize = 64;
/// Feature groups of one graph.
pub const GROUPS_MAX: usize = 256;
/// Dependencies of one graph, all groups together.
pub const GROUP_NEEDS_MAX: usize = 1 << 12;
/// Pending requests of one shard, unless configured otherwise.
pub const REQUESTS_DEFAULT: usize = 1 << 14;
/// Most pending requests of one queue.
pub const REQUESTS_MAX: usize = 1 << 28;
/// Pending requests of one symbol, unless configured otherwise.
pub const REQUEST_SYMBOL_DEFAULT: u32 = 256;
/// Requests of one symbol that may be in flight, unless configured otherwise.
pub const REQUESTS_IN_FLIGHT_DEFAULT: u32 = 4;
/// Head start of one priority class over the next in nanoseconds, unless configured otherwise.
pub const REQUEST_AGING_NS_DEFAULT: u64 = 1_000_000_000;
/// Bound on the configured head start: three hours.
pub const REQUEST_AGING_NS_MAX: u64 = 3 * 3600 * 1_000_000_000;
/// Age up to which equal requests are merged, in nanoseconds, unless configured otherwise.
pub const REQUEST_MERGE_NS_DEFAULT: u64 = 1_000_000_000;
/// Symbols take turns in spans of 2^20 ns of effective time, about a service interval, unless configured otherwise.
pub const REQUEST_TURN_BITS_DEFAULT: u32 = 20;
/// Bound on the configured span: 18 minutes.
pub const REQUEST_TURN_BITS_MAX: u32 = 40;
/// Requests are served at multiples of this, in nanoseconds of shard time, unless configured otherwise.
pub const SERVICE_INTERVAL_NS: u64 = TICK_NS;
/// Requests that a shard serves at one instant of service, unless configured otherwise.
pub const SERVICE_BUDGET_DEFAULT: usize = 256;
/// Bound on the configured budget.
pub const SERVICE_BUDGET_MAX: usize = 1 << 16;
/// Those who asked for one request at most: who asks for the same once there are as many gets a request of its own.
pub const ASKERS_PER_REQUEST_MAX: u32 = 16;
/// Time from the service of a request to the reply of a job that is done off the core, in nanoseconds of shard time, unless
/// configured otherwise.
pub const JOB_DELAY_NS_DEFAULT: u64 = 10 * TICK_NS;
/// Jobs of one shard that may be under way off the core at most, unless configured otherwise.
pub const JOBS_DEFAULT: usize = 64;
/// The least that this limit shrinks to, and what it begins with, unless configured otherwise.
pub const JOBS_MIN_DEFAULT: usize = 16;
/// Jobs of the backfill manager of one shard, pending and in flight, unless configured otherwise.
pub const BACKFILL_JOBS_DEFAULT: usize = 256;
/// Most jobs of a backfill manager: it looks at all of them for each ask.
pub const BACKFILL_JOBS_MAX: usize = 1 << 12;
/// Most who may wait for jobs of a backfill manager.
pub const BACKFILL_ASKS_MAX: usize = 1 << 16;
/// Pending backfills of one symbol, unless configured otherwise.
pub const BACKFILL_SYMBOL_DEFAULT: usize = 16;
/// Backfills of one shard in flight, unless configured otherwise.
pub const BACKFILL_IN_FLIGHT_DEFAULT: usize = 4;
/// Most backfills of one shard in flight.
pub const BACKFILL_IN_FLIGHT_MAX: usize = 64;
/// Most backfills of one symbol in flight: one who asks may wait for all of them.
pub const BACKFILL_IN_FLIGHT_SYMBOL_MAX: usize = 8;
/// Completed backfills that are remembered, unless configured otherwise.
pub const BACKFILL_REMEMBERED_DEFAULT: usize = 1 << 10;
/// Most completed backfills that are remembered: all of them are looked at for each ask.
pub const BACKFILL_REMEMBERED_MAX: usize = 1 << 14;
/// How long a completed backfill is remembered in nanoseconds of shard time, unless configured otherwise: an hour.
pub const BACKFILL_REMEMBER_NS_DEFAULT: u64 = 3_600 * 1_000_000_000;
/// Requests that may expire in one step of a shard.
pub const EXPIRIES_PER_STEP: usize = 64;
/// How far a request queue's clock can run ahead at the end of time, where nothing else tells requests of one instant apart.
pub const REQUEST_CLOCK_SPARE_NS: u64 = 1 << 32;

const _: () = {
    assert!(PAYLOAD_BYTES + 40 == SLOT_BYTES, "head = 40 bytes of header and the payload");
    assert!(CONTINUATION_BYTES + 8 == SLOT_BYTES, "continuation = the published word and the payload");
    assert!(SPAN_BYTES_MAX == 3_552, "the documented bound of an event");
    assert!(
        CORRELATION_FOLLOWERS_MAX * 3 <= STAGED_SLOTS_MAX / 2,
        "a benchmark's close goes to every follower at once"
    );
    assert!(SPAN_SLOTS_MAX == 1 << 6, "span_lane has six bits for slots - 1");
    assert!(BATCH_SLOTS >= SPAN_SLOTS_MAX, "a batch holds at least one event, whatever its length");
    assert!(RING_SLOTS_DEFAULT.is_power_of_two() && RING_SLOTS_DEFAULT <= RING_SLOTS_MAX, "rings are masked");
    assert!(MESH_RING_SLOTS_DEFAULT.is_power_of_two() && MESH_RING_SLOTS_DEFAULT > SPAN_SLOTS_MAX, "rings are masked");
    assert!(RING_SLOTS_MAX as u64 <= 1 << 31, "a slot's tag must differ from its tag of the lap before");
    assert!(ROUTE_SLOTS.is_power_of_two(), "routing takes the low bits of the hash");
    assert!(SYMBOLS_DEFAULT <= SYMBOLS_MAX && SYMBOLS_MAX <= u32::MAX as usize, "symbol ids have 32 bits");
    assert!(SOURCES_MAX == 1 << 8, "source ids have 8 bits");
    assert!(SHARDS_MAX <= u8::MAX as usize + 1, "the routing table holds u8");
    assert!(MESH_DELAY_NS >= TICK_NS, "an event for another symbol falls due at the next tick or later");
    assert!(TIMERS_DEFAULT <= TIMERS_MAX, "timers have 30 bits of index");
    assert!(DEDUP_CAPACITY_DEFAULT <= DEDUP_CAPACITY_MAX && DEDUP_PROBE_BUCKETS_MAX > 0);
    // Stamps alive (two generations), and those of one sweep over 4/3 buckets for each identity, stay below half of 2^32.
    assert!(DEDUP_CAPACITY_MAX <= 1 << 28, "a dead stamp of a dedup window never comes alive again");
    assert!(GAP_STREAMS_DEFAULT <= GAP_STREAMS_MAX && GAP_STREAMS_MAX < u32::MAX as usize, "streams have u32 indices");
    assert!(RETRY_POLICIES_MAX == 1 << 8, "an entry has 8 bits for its policy");
    assert!(RETRY_SHARE_BURST_MAX <= u32::MAX / (1 << 11), "credit is counted in 1,024 parts of a retry, in 32 bits");
    assert!(HELD_PER_SYMBOL_DEFAULT < DEAD_LETTERS_DEFAULT, "one symbol that is held leaves room for others");
    assert!(DEAD_LETTERS_DEFAULT <= DEAD_LETTER_SLOTS_DEFAULT, "every entry may have an event of its own");
    assert!(ERROR_CODES_DEFAULT <= 1 << 16, "error codes have 16 bits");
    assert!(KIND_ROWS <= KINDS_MAX && KIND_ROWS <= 64, "kind sets are one word");
    assert!(BUCKET_LIMITS_MAX == 1 << 8, "a bucket names its limit with one byte");
    assert!(BRIDGE_NS_MAX < DRAIN_NS_MAX, "a batch that is open at the end of the input closes while time runs on");
    assert!(BREAKERS_MAX + SERIES_MAX <= u32::MAX as usize, "breakers and series are named by 32 bits");
    assert!(SCHEMAS_MAX < u16::MAX as usize, "the schema table links layouts by u16, one value of which is a mark");
    assert!(SCHEMA_FIELDS_MAX <= 64, "the bytes of a layout are at most 24 + 56, its fields fewer");
    assert!(GROUPS_MAX.is_multiple_of(64) && GROUPS_MAX <= u16::MAX as usize, "a set of groups is whole words");
    assert!(GROUP_NEEDS_MAX <= u16::MAX as usize, "the feature graph links dependencies by u16");
    assert!(SUBSCRIPTIONS_MAX >= HANDLERS_MAX, "every handler begins with a subscription");
    assert!(TOPICS_MAX == 64 && BUSES_MAX <= TOPICS_MAX, "the topics of a bus are the bits of one word");
    assert!(LANE_SLOTS_MAX <= 1 << 30, "waiting events are linked by u32, the highest of which are marks");
    assert!(LANE_GAP_TURNS >= 1 && LANE_GAP_TURNS <= LANE_TURNS_MAX, "gaps wait longer where what waits is urgent");
    assert!(LANE_TURNS_MAX >= 1 && LANE_TURNS_MAX as usize <= BATCH_SLOTS, "every lane has a turn within two batches");
    assert!(REQUESTS_DEFAULT <= REQUESTS_MAX && REQUESTS_MAX <= TIMERS_MAX, "every request may have a timer");
    assert!(REQUESTS_MAX * 2 <= u32::MAX as usize, "a place in a line of four has 32 bits");
    assert!(REQUEST_AGING_NS_DEFAULT <= REQUEST_AGING_NS_MAX && REQUEST_TURN_BITS_DEFAULT <= REQUEST_TURN_BITS_MAX);
    assert!(BACKFILL_JOBS_DEFAULT <= BACKFILL_JOBS_MAX && 4 * BACKFILL_JOBS_DEFAULT <= BACKFILL_ASKS_MAX);
    assert!(BACKFILL_IN_FLIGHT_DEFAULT <= BACKFILL_IN_FLIGHT_MAX && BACKFILL_IN_FLIGHT_SYMBOL_MAX >= 1);
    assert!(BACKFILL_REMEMBERED_DEFAULT <= BACKFILL_REMEMBERED_MAX, "defaults are allowed");
    assert!(SERVICE_INTERVAL_NS.is_multiple_of(TICK_NS) && SERVICE_BUDGET_DEFAULT <= SERVICE_BUDGET_MAX);
    // No time that a shard admits is clamped by a queue.
    assert!(7 * REQUEST_AGING_NS_MAX + REQUEST_CLOCK_SPARE_NS <= u64::MAX - TIME_NS_MAX);
    // A definition carries the longest text in one span.
    assert!(SYMBOL_BYTES_MAX <= 2 * CONTINUATION_BYTES && SOURCE_BYTES_MAX <= 2 * CONTINUATION_BYTES);
};
