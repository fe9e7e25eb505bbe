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

/// Kinds: four bits short of a u16, which also carries the version.
pub const KINDS_MAX: usize = 1 << 12;
/// Kinds that have a row of their own in ledgers and statistics.
pub const KIND_ROWS: usize = 64;

/// Most handlers on one bus.
pub const HANDLERS_MAX: usize = 64;
/// Slots that the handlers of one event may stage, its whole cascade included.
pub const STAGED_SLOTS_MAX: usize = 4096;
/// Timers that the handlers of one event may set, its whole cascade included.
pub const STAGED_TIMERS_MAX: usize = 64;
/// Depth of a cascade: an output that causes an output that causes an output.
pub const CASCADE_DEPTH_MAX: usize = 8;
/// Panics of one handler on one symbol after which the handler is quarantined for that symbol.
pub const STRIKES_MAX: u8 = 3;

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
/// How far a request queue's clock can run ahead at the end of time, where nothing else tells requests of one instant apart.
pub const REQUEST_CLOCK_SPARE_NS: u64 = 1 << 32;

const _: () = {
    assert!(PAYLOAD_BYTES + 40 == SLOT_BYTES, "head = 40 bytes of header and the payload");
    assert!(CONTINUATION_BYTES + 8 == SLOT_BYTES, "continuation = the published word and the payload");
    assert!(SPAN_BYTES_MAX == 3_552, "the documented bound of an event");
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
    assert!(KIND_ROWS <= KINDS_MAX && KIND_ROWS <= 64, "kind sets are one word");
    assert!(REQUESTS_DEFAULT <= REQUESTS_MAX && REQUESTS_MAX <= TIMERS_MAX, "every request may have a timer");
    assert!(REQUESTS_MAX * 2 <= u32::MAX as usize, "a place in a line of four has 32 bits");
    assert!(REQUEST_AGING_NS_DEFAULT <= REQUEST_AGING_NS_MAX && REQUEST_TURN_BITS_DEFAULT <= REQUEST_TURN_BITS_MAX);
    // No time that a shard admits is clamped by a queue.
    assert!(7 * REQUEST_AGING_NS_MAX + REQUEST_CLOCK_SPARE_NS <= u64::MAX - TIME_NS_MAX);
    // A definition carries the longest text in one span.
    assert!(SYMBOL_BYTES_MAX <= 2 * CONTINUATION_BYTES && SOURCE_BYTES_MAX <= 2 * CONTINUATION_BYTES);
};
