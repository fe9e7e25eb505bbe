//! The table of keys.

use super::Config;
use super::csv::CSV;
use super::key::{ARRIVALS, DRIVERS, IDLES, Key, LEVELS, LOG_FORMATS, Names, OVERLOADS, REFUSALS, Section, Stored};
use super::mapper::{
    day_names, days, group_names, hours, hours_mut, rule_names, rule_plan, rule_plan_mut, rules, set_days, set_rules,
};
use super::parquet::PARQUET;
use super::publisher;
use super::retry::{GROWTHS, ORDERS, SPREADS};
use super::topics::{KEYS, LANES, ON_INVALID, POLICIES, kind_names};
use super::value::{Form, Value};
use super::zone::zone;
use crate::jobs::WORKERS_MAX;
use crate::spill::{LIMIT_BYTES_MAX, PLACE_BYTES};
use tapeline_core::adaptive::LIMIT_MAX;
use tapeline_core::limits::{
    BACKFILL_ASKS_MAX, BACKFILL_IN_FLIGHT_MAX, BACKFILL_IN_FLIGHT_SYMBOL_MAX, BACKFILL_JOBS_MAX,
    BACKFILL_REMEMBERED_MAX, BOOK_ORDERS_MAX, BOOK_PAGES_MAX, BRIDGE_BATCH_MAX, BRIDGE_NS_MAX, DEDUP_CAPACITY_MAX,
    HISTORY_SLOTS_MAX, LANE_SLOTS_MAX, MAPPER_EXPIRES_NS_MAX, PUBLISHER_NS_MAX, REQUEST_AGING_NS_MAX,
    REQUEST_TURN_BITS_MAX, REQUESTS_MAX, RETRY_ATTEMPTS_MAX, RING_SLOTS_MAX, SERVICE_BUDGET_MAX, SHARDS_MAX,
    SLOT_BYTES, SYMBOLS_MAX, TICK_NS, TIMERS_MAX,
};
use tapeline_core::mapper::Plan;
use tapeline_core::scanner::breakout::RANGE_BARS_MAX;
use tapeline_core::scanner::momentum::MOMENTUM_BARS_MAX;
use tapeline_core::scanner::{
    AVERAGE_BARS_MAX, BPS_MAX, COOLDOWN_BARS_MAX, FACTOR_MAX, SPIKE_BARS_MAX, SPIKE_FACTOR_MAX,
};

/// A row whose value is one field of the configuration.
macro_rules! key {
    ($name:literal, $form:expr, $($field:ident).+ $([$index:literal])?, $doc:literal) => {
        Key::new(
            $name,
            $form,
            $doc,
            |config, _| Stored::value(&config.$($field).+$([$index])?),
            |config, _, value| config.$($field).+$([$index])? = Stored::stored(value),
        )
    };
}

/// A row of a retry policy.
macro_rules! policy_key {
    ($name:literal, $form:expr, $field:ident, $doc:literal) => {
        Key::new(
            $name,
            $form,
            $doc,
            |config, name| Stored::value(&config.retry.policy(name).$field),
            |config, name, value| config.retry.policy_mut(name).$field = Stored::stored(value),
        )
    };
}

/// A row of a topic.
macro_rules! topic_key {
    ($name:literal, $form:expr, $field:ident, $doc:literal) => {
        Key::new(
            $name,
            $form,
            $doc,
            |config, name| Stored::value(&config.topics.topic(name).$field),
            |config, name, value| config.topics.topic_mut(name).$field = Stored::stored(value),
        )
    };
}

/// A row of a condition of the publisher.
macro_rules! condition_key {
    ($name:literal, $form:expr, $field:ident, $doc:literal) => {
        Key::new(
            $name,
            $form,
            $doc,
            |config, feature| Stored::value(&publisher::condition(config, feature).$field),
            |config, feature, value| publisher::condition_mut(config, feature).$field = Stored::stored(value),
        )
    };
}

/// A row of a tier of the publisher.
macro_rules! tier_key {
    ($name:literal, $form:expr, $field:ident, $doc:literal) => {
        Key::new(
            $name,
            $form,
            $doc,
            |config, tier| Stored::value(&publisher::tier(config, tier).$field),
            |config, tier, value| publisher::tier_mut(config, tier).$field = Stored::stored(value),
        )
    };
}

/// A row of the share of failures that trips the publisher's breaker.
macro_rules! share_key {
    ($name:literal, $form:expr, $field:ident, $doc:literal) => {
        Key::new(
            $name,
            $form,
            $doc,
            |config, _| Stored::value(&config.share.$field),
            |config, _, value| publisher::set_share(config, |share| share.$field = Stored::stored(value)),
        )
    };
}

/// Rows of a plan that may leave things as they are, found by the section's name. Further rows go before them.
macro_rules! plan_keys {
    ($get:expr, $get_mut:expr; $($row:expr),*) => {
        &[
            $($row,)*
            plan_key!($get, $get_mut, "groups", Form::Words(group_names), groups, "Feature groups; what they need is computed, too. None at all = nothing is asked for."),
            plan_key!($get, $get_mut, "priority", count(0, 7), priority, "0 = most urgent."),
            plan_key!($get, $get_mut, "expires", time(0, MAPPER_EXPIRES_NS_MAX), expires_ns, "From when on the features are not wanted any more, after the request, in shard time. 0s \
                 = they always are."),
            plan_key!($get, $get_mut, "token", count(0, u64::MAX), token, "A number for whoever computes them."),
        ]
    };
}

/// A row of a plan.
macro_rules! plan_key {
    ($get:expr, $get_mut:expr, $name:literal, $form:expr, $field:ident, $doc:literal) => {
        Key::new(
            $name,
            $form,
            $doc,
            |config, name| Stored::value(&$get(config, name).$field),
            |config, name, value| $get_mut(config, name).$field = Stored::stored(value),
        )
        .unset("inherit", "as it was")
    };
}

fn hours_plan(config: &Config, name: &str) -> Plan {
    hours(config, name).plan
}

fn hours_plan_mut<'a>(config: &'a mut Config, name: &str) -> &'a mut Plan {
    &mut hours_mut(config, name).plan
}

static HOURS: &[Key] = plan_keys!(hours_plan, hours_plan_mut;
    Key::new(
        "days",
        Form::Words(day_names),
        "Days of the week on which it begins.",
        |config, name| Value::Words(days(&hours(config, name))),
        |config, name, value| set_days(hours_mut(config, name), &Vec::stored(value)),
    ),
    Key::new(
        "from",
        Form::Clock,
        "When it begins, by the events' own time in the mapper's zone.",
        |config, name| Stored::value(&hours(config, name).from_s),
        |config, name, value| hours_mut(config, name).from_s = Stored::stored(value),
    ),
    Key::new(
        "to",
        Form::Clock,
        "When it ends, exclusive. Not after the beginning = on the next day.",
        |config, name| Stored::value(&hours(config, name).to_s),
        |config, name, value| hours_mut(config, name).to_s = Stored::stored(value),
    ),
    Key::new(
        "rules",
        Form::Words(rule_names),
        "The rules that it concerns. None = all of them.",
        |config, name| Value::Words(rules(&hours(config, name))),
        |config, name, value| set_rules(hours_mut(config, name), &Vec::stored(value)),
    )
);

const DAY_NS: u64 = 86_400_000_000_000;
const SLOT: u64 = SLOT_BYTES as u64;
/// Largest score of a symbol: 16 conditions of the largest weight.
const SCORE_MAX: f64 = 16e6;
/// Bound on thresholds of features.
const VALUE_MAX: f64 = 1e15;
/// Bound on capacities that an entry of memory stands for: far more than a machine has.
const ENTRIES_MAX: u64 = 1 << 28;

const fn count(min: u64, max: u64) -> Form {
    Form::Count { min, max }
}

const fn factor() -> Form {
    Form::Number { min: 1.0, max: FACTOR_MAX }
}

const fn time(min: u64, max: u64) -> Form {
    Form::Time { min, max, step: 1 }
}

/// The value of a number of slots, in bytes.
fn slots_value(slots: Option<usize>) -> Value {
    slots.map_or(Value::Unset, |slots| Value::Whole(slots as u64 * SLOT))
}

/// Slots of a size in bytes.
fn slots(value: Value) -> Option<usize> {
    Option::<u64>::stored(value).map(|bytes| (bytes / SLOT) as usize)
}

/// Every key that there is, by section, in the order of the reference.
pub static SECTIONS: &[Section] = &[
    Section {
        path: "engine",
        doc: "Placement and capacities. Memory is taken at the start; nothing grows afterwards.",
        names: None,
        keys: &[
            key!(
                "shards",
                count(1, SHARDS_MAX as u64),
                engine.shards,
                "Number of shards. Outputs do not depend on it."
            )
            .unset("auto", "one for each core but one")
            .flag("shards"),
            key!("cores", Form::Cores, engine.cores, "Cores to run on, in this order: the source's, then the shards'.")
                .unset("auto", "all that the process may use, as far as its control group's quota goes")
                .flag("cores"),
            key!("pin", Form::Switch, engine.pin, "Whether threads are pinned to their cores.").flag("no-pin"),
            key!(
                "driver",
                Form::Choice(DRIVERS),
                engine.driver,
                "Thread-per-core executors over io_uring, or plain threads."
            )
            .unset("auto", "glommio where io_uring works")
            .flag("driver"),
            key!(
                "idle",
                Form::Choice(IDLES),
                engine.idle,
                "What a loop without work does: it polls on, or gives its core away."
            )
            .unset("auto", "busy-spin where every station has a pinned core of its own"),
            key!(
                "seed",
                count(0, u64::MAX),
                engine.seed,
                "Seed of everything that looks random: jitter, and what handlers ask for."
            ),
            key!(
                "symbols_max",
                count(2, SYMBOLS_MAX as u64),
                engine.symbols_max,
                "Symbols that fit, id 0 (no symbol) included."
            )
            .flag("symbols-max"),
            key!(
                "ring_slots",
                Form::Power { min: 256, max: RING_SLOTS_MAX as u64 },
                engine.ring_slots,
                "Slots of 64 bytes of the ring from the source to each shard."
            )
            .flag("ring-slots"),
            key!(
                "mesh_ring_slots",
                Form::Power { min: 256, max: RING_SLOTS_MAX as u64 },
                engine.mesh_ring_slots,
                "Slots of each ring between two shards. There are some only where a handler publishes for \
                 other symbols."
            ),
            key!(
                "mesh_pending_slots",
                count(64, ENTRIES_MAX),
                engine.mesh_pending_slots,
                "Slots of events for other symbols that may wait on one shard until they fall due."
            ),
            key!(
                "timers_max",
                count(1, TIMERS_MAX as u64),
                engine.timers_max,
                "Timers that may be pending on one shard."
            )
            .unset("auto", "two for each symbol, and 131072 at least"),
        ],
    },
    Section {
        path: "replay",
        doc: "How captures are replayed.",
        names: None,
        keys: &[
            key!(
                "speed",
                Form::Positive,
                replay.speed,
                "Times as fast as captured. Not looked at where there is a rate."
            )
            .unset("max", "as fast as the engine takes it, without a schedule and so without response times")
            .flag("speed")
            .excludes("replay.rate"),
            key!(
                "rate",
                Form::Positive,
                replay.rate,
                "Messages a second at a constant rate, instead of the captured times."
            )
            .unset("none", "the captured times")
            .flag("rate")
            .excludes("replay.speed"),
            key!(
                "max_gap",
                time(0, u64::MAX),
                replay.max_gap_ns,
                "Longer gaps of the schedule are shortened to this; the events' own times stay."
            )
            .unset("none", "gaps are as captured")
            .flag("max-gap"),
            key!(
                "arrivals",
                Form::Choice(ARRIVALS),
                replay.arrivals,
                "How the messages of replay.rate follow each other: at equal distances, or independently of each other, in bursts and pauses, \
                 at the same mean rate. Random ones go by engine.seed. Not looked at without a rate."
            )
            .flag("arrivals"),
            key!(
                "warmup",
                time(0, u64::MAX),
                replay.warmup_ns,
                "So much capture time from the first measured event on is paced and not measured: caches and branches are warm then."
            )
            .flag("warmup"),
            key!(
                "overload",
                Form::Choice(OVERLOADS),
                replay.overload,
                "The source waits for room, and the wait shows as latency; or each topic's policy acts, as on a feed \
                 that cannot wait."
            )
            .flag("overload"),
            key!("loop", count(1, u64::MAX), replay.passes, "Passes over the captures, their times shifted.")
                .flag("loop"),
            key!(
                "start",
                Form::Instant,
                replay.start,
                "Measured from here on; what is before is replayed at once, to build state."
            )
            .unset("none", "all is measured")
            .flag("start"),
            key!("end", Form::Instant, replay.end, "Replayed up to here, exclusive.")
                .unset("none", "to the end of the captures")
                .flag("end"),
        ],
    },
    Section {
        path: "log",
        doc: "What is told on stderr while it runs. Records go through a ring to a thread off the measured cores; what finds no room there is \
                 dropped and counted.",
        names: None,
        keys: &[
            key!(
                "level",
                Form::Choice(LEVELS),
                log.level,
                "What is told, with all that matters more: quarantined handlers (error); limits, gaps, crowded topics (warn); failures and dead \
                 letters one by one (info). trace adds nothing by itself: --follow traces one event."
            )
            .flag("log-level"),
            key!("format", Form::Choice(LOG_FORMATS), log.format, "A line of text, or an object of JSON on a line.")
                .flag("log-format"),
        ],
    },
    Section {
        path: "dedup",
        doc: "Recognition of duplicates: an event whose identity (source, symbol, seq, part) was seen \
                 within the window is refused.",
        names: None,
        keys: &[
            key!(
                "capacity",
                count(0, DEDUP_CAPACITY_MAX as u64),
                dedup.capacity,
                "Identities that one generation of the window remembers, on each shard; 85 bytes each. 0 \
                 = nothing is recognised as a duplicate."
            ),
            key!(
                "window",
                time(1, 7 * DAY_NS),
                dedup.window_ns,
                "How long an identity is remembered at least, in shard time."
            ),
        ],
    },
    Section {
        path: "history",
        doc: "The last events of each shard, source events and outputs, by kind, symbol and time.",
        names: None,
        keys: &[
            Key::new(
                "size",
                Form::Bytes { min: 64 * SLOT, max: HISTORY_SLOTS_MAX as u64 * SLOT, is_power: true },
                "Size of the events kept, without their links, on each shard.",
                |config, _| slots_value(config.history.slots),
                |config, _, value| config.history.slots = slots(value),
            )
            .unset("off", "none is kept"),
            key!("age", time(1, 365 * DAY_NS), history.age_ns, "Age at which an event is forgotten, in shard time.")
                .unset("never", "only for want of room"),
        ],
    },
    Section {
        path: "dead_letters",
        doc: "Events that handlers failed on: those that wait for a retry, those held behind them, and \
                 those given up, on each shard.",
        names: None,
        keys: &[
            key!("entries", count(2, ENTRIES_MAX), dead_letters.entries, "Entries: waiting, held and parked together."),
            Key::new(
                "size",
                Form::Bytes { min: 64 * SLOT, max: ENTRIES_MAX * SLOT, is_power: false },
                "Size of their events.",
                |config, _| slots_value(Some(config.dead_letters.slots)),
                |config, _, value| config.dead_letters.slots = slots(value).unwrap_or(0),
            ),
            key!(
                "holds",
                count(1, ENTRIES_MAX),
                dead_letters.holds,
                "Pairs of handler and symbol that may be held at one time."
            ),
            key!(
                "held_per_symbol",
                count(1, ENTRIES_MAX),
                dead_letters.held_per_symbol,
                "Events of one symbol that may wait behind a retry of one handler. One more, and the head \
                 is given up and the rest released in order."
            ),
            key!(
                "error_codes",
                count(1, 1 << 16),
                dead_letters.error_codes,
                "Error codes with counts of their own: those below. All others share one."
            ),
        ],
    },
    Section {
        path: "retry.policy.<name>",
        doc: "Retry policies. `standard` is always there; any other name makes a policy that begins \
                 with its defaults.",
        names: Some(Names::Free {
            list: |config| config.retry.policies.iter().map(|(name, _)| name.clone()).collect(),
            make: |config, name| _ = config.retry.policy_mut(name),
        }),
        keys: &[
            policy_key!(
                "attempts",
                count(1, RETRY_ATTEMPTS_MAX as u64),
                attempts,
                "Calls of the handler for one event, the first included. 1 = it is never retried."
            ),
            policy_key!("backoff", Form::Choice(GROWTHS), backoff, "Whether delays grow."),
            policy_key!("delay", time(1, DAY_NS), delay_ns, "The first delay, or the only one, in shard time."),
            policy_key!(
                "factor",
                Form::Number { min: 1.0, max: 1000.0 },
                factor,
                "Growth of an exponential backoff from one delay to the next, in thousandths."
            ),
            policy_key!("cap", time(1, DAY_NS), cap_ns, "Longest delay of an exponential backoff."),
            policy_key!(
                "jitter",
                Form::Choice(SPREADS),
                jitter,
                "What is taken off a delay, so that events that failed together do not come back \
                 together: nothing, up to a share of all of it (full), or of half of it (equal)."
            ),
            policy_key!(
                "jitter_share",
                Form::Number { min: 0.0, max: 1.0 },
                jitter_share,
                "That share, in 1024 parts."
            ),
            policy_key!(
                "order",
                Form::Choice(ORDERS),
                order,
                "Whether later events of the symbol wait for that handler, or go on."
            ),
        ],
    },
    Section {
        path: "retry.kinds",
        doc: "Which kind of event uses which retry policy. A topic's own goes over it.",
        names: Some(Names::Of(kind_names)),
        keys: &[Key::new(
            "<kind>",
            Form::Name,
            "Name of the retry policy for events of this kind.",
            |config, kind| Stored::value(config.retry.kind(kind)),
            |config, kind, value| *config.retry.kind_mut(kind) = Stored::stored(value),
        )],
    },
    Section {
        path: "topics.<name>",
        doc: "Topics: kinds of events that wait together on a shard, and what happens when there is no room. They act with \
                 `replay.overload = \"live\"`, but for `retry`, which always does. `quotes`, `trades`, `books`, `status`, `news` \
                 and `others` are there; any other name makes a topic more. A kind is in one topic.",
        names: Some(Names::Free {
            list: |config| config.topics.0.iter().map(|(name, _)| name.clone()).collect(),
            make: |config, name| _ = config.topics.topic_mut(name),
        }),
        keys: &[
            topic_key!(
                "kinds",
                Form::Words(kind_names),
                kinds,
                "Kinds of its events. None at all = there is no such topic. Events of a kind that is in no topic are refused."
            )
            .unset("rest", "all that no other topic names"),
            topic_key!(
                "policy",
                Form::Choice(POLICIES),
                policy,
                "What happens without room: the source waits; the event is refused; it is dropped; the oldest make room; of \
                 each key only the newest waits; it goes to a store (there is none in this build); it is parked among the \
                 dead letters."
            ),
            topic_key!("capacity", count(1, LANE_SLOTS_MAX as u64), capacity, "Slots of 64 bytes that may wait, on each shard."),
            topic_key!("high", count(1, LANE_SLOTS_MAX as u64), high, "Slots from which on the topic is crowded.")
                .unset("auto", "three quarters of the capacity"),
            topic_key!("low", count(0, LANE_SLOTS_MAX as u64), low, "Slots down to which a crowded topic is.")
                .unset("auto", "a quarter of the capacity"),
            topic_key!(
                "lane",
                Form::Choice(LANES),
                lane,
                "Lane of its events, but for those that carry another one than normal themselves. Kinds that change a book \
                 share one."
            ),
            topic_key!(
                "conflate_by",
                Form::Choice(KEYS),
                conflate_by,
                "What the policy conflate goes by: kind, symbol and source; or price and side besides."
            ),
            topic_key!(
                "expire_after",
                time(0, DAY_NS),
                expire_after_ns,
                "Source time after which an event that still waits is dropped. 0s = it never is."
            ),
            topic_key!("retry", Form::Name, retry, "Name of the retry policy of its events.")
                .unset("inherit", "those of their kinds"),
            topic_key!(
                "lossy",
                Form::Switch,
                lossy,
                "Trades and changes of a book may be lost. A gap event then tells their symbol."
            ),
            topic_key!(
                "on_invalid",
                Form::Choice(ON_INVALID),
                on_invalid,
                "What happens to an event that breaks its schema (a field out of its bounds, a version or length that the kind does not have): it is refused; \
                 or it is kept as a dead letter of `schema` with the reason as its error, for `tapeline dlq` and a redrive once the schema or the feed is \
                 mended. It holds with either way of overload."
            ),
        ],
    },
    Section {
        path: "requests",
        doc: "The request queue of each shard, and how it is served: what handlers ask each other for, \
                 such as features.",
        names: None,
        keys: &[
            key!(
                "capacity",
                count(1, REQUESTS_MAX as u64),
                requests.queue.capacity,
                "Pending requests of all symbols together. One more is refused, and who asked is told."
            ),
            key!("per_symbol", count(1, u32::MAX as u64), requests.queue.per_symbol, "Pending requests of one symbol."),
            key!(
                "in_flight_per_symbol",
                count(1, u32::MAX as u64),
                requests.queue.in_flight_per_symbol,
                "Requests of one symbol that are being served at one time."
            ),
            key!(
                "aging",
                time(0, REQUEST_AGING_NS_MAX),
                requests.queue.aging_step_ns,
                "Head start of one priority class over the next, in shard time. A request that waits this long is as urgent as \
                 a new one of the class above. 0s = first come, first served."
            ),
            key!(
                "merge_window",
                time(0, DAY_NS),
                requests.queue.merge_window_ns,
                "Age up to which an equal request (job, symbol, groups) is merged into a pending one. 0s \
                 = none is."
            ),
            key!(
                "turn_bits",
                count(0, REQUEST_TURN_BITS_MAX as u64),
                requests.queue.turn_bits,
                "Symbols take turns within spans of 2 to the power of this ns."
            ),
            key!(
                "service_interval",
                Form::Time { min: TICK_NS, max: DAY_NS, step: TICK_NS },
                requests.service_interval_ns,
                "Requests are served at multiples of this, in shard time, before later events of their \
                 symbol."
            ),
            key!(
                "service_budget",
                count(1, SERVICE_BUDGET_MAX as u64),
                requests.service_budget,
                "Requests that are served at one instant."
            ),
            key!(
                "jobs_min",
                count(1, LIMIT_MAX as u64),
                requests.jobs_min,
                "The least that the limit of jobs off the core shrinks to, and what it begins with: not above jobs_max."
            ),
            key!(
                "jobs_max",
                count(1, LIMIT_MAX as u64),
                requests.jobs_max,
                "Jobs off the core that may be under way at one time, on each shard; the others wait. The limit grows up to this while \
                 requests wait for it, and shrinks without them. It is for jobs that a program of one's own has workers for; reading history \
                 has backfill.jobs."
            ),
            key!(
                "job_delay",
                Form::Time { min: TICK_NS, max: DAY_NS, step: TICK_NS },
                requests.job_delay_ns,
                "From the service of a job off the core to its reply, in shard time. The shard waits there for as long as the job takes."
            ),
            key!(
                "workers",
                count(1, WORKERS_MAX as u64),
                requests.jobs.workers,
                "Threads that do jobs off the cores, for all shards, where a program of one's own has workers."
            ),
            key!(
                "job_deadline",
                time(1, DAY_NS),
                requests.jobs.deadline_ns,
                "What one job off the cores may take, in wall time. One that takes longer is given up: its request fails, and its worker is replaced."
            )
            .unset("none", "a job may take for ever, and so may the shard that waits for it"),
            key!(
                "retry",
                Form::Name,
                requests.retry,
                "Name of the retry policy for requests whose handler asks for another try."
            ),
        ],
    },
    Section {
        path: "spill",
        doc: "Where events wait whose topic has the policy spill and no room, with replay.overload = live. The files have no names, and are gone with the run.",
        names: None,
        keys: &[
            key!(
                "folders",
                Form::Paths,
                spill.folders,
                "Folders of the files, which have to exist: shard n takes the one of n modulo their number. None at all = no topic may spill."
            ),
            key!(
                "limit",
                Form::Bytes { min: PLACE_BYTES, max: LIMIT_BYTES_MAX, is_power: false },
                spill.limit_bytes,
                "Bytes of file for each shard. What finds no room there is refused."
            ),
        ],
    },
    Section {
        path: "backfill",
        doc: "History for handlers that ask for it: read from tapes, off the measured cores.",
        names: None,
        keys: &[
            key!(
                "tapes",
                Form::Paths,
                backfill.tapes,
                "Tapes and Parquet files, and folders whose *.tape and *.parquet files are meant. None at all = history is refused to who asks."
            ),
            key!(
                "jobs",
                count(1, BACKFILL_JOBS_MAX as u64),
                backfill.desk.manager.jobs,
                "Readings that may wait or be under way, on each shard. One more is refused, and who asked is told."
            ),
            key!(
                "asks",
                count(1, BACKFILL_ASKS_MAX as u64),
                backfill.desk.manager.asks,
                "Those who may wait for readings, on each shard."
            ),
            key!(
                "jobs_per_symbol",
                count(1, BACKFILL_JOBS_MAX as u64),
                backfill.desk.manager.jobs_per_symbol,
                "Readings of one symbol that may wait."
            ),
            key!(
                "in_flight",
                count(1, BACKFILL_IN_FLIGHT_MAX as u64),
                backfill.desk.manager.in_flight,
                "Readings that may be under way, on each shard; the others wait."
            ),
            key!(
                "in_flight_per_symbol",
                count(1, BACKFILL_IN_FLIGHT_SYMBOL_MAX as u64),
                backfill.desk.manager.in_flight_per_symbol,
                "Readings of one symbol that may be under way."
            ),
            key!(
                "aging",
                time(0, REQUEST_AGING_NS_MAX),
                backfill.desk.manager.aging_step_ns,
                "Head start of one priority class over the next, in shard time."
            ),
            key!(
                "remembered",
                count(0, BACKFILL_REMEMBERED_MAX as u64),
                backfill.desk.manager.remembered,
                "Completed ranges that are remembered, on each shard: what is in them does not come again. The oldest is forgotten first."
            ),
            key!(
                "remember",
                time(1, 365 * DAY_NS),
                backfill.desk.manager.remember_ns,
                "Age at which a completed range is forgotten, in shard time."
            ),
            key!(
                "service_interval",
                Form::Time { min: TICK_NS, max: DAY_NS, step: TICK_NS },
                backfill.desk.service_interval_ns,
                "What is asked is looked at at multiples of this, in shard time."
            ),
            key!(
                "delay",
                Form::Time { min: TICK_NS, max: DAY_NS, step: TICK_NS },
                backfill.desk.delay_ns,
                "From then until the history comes, in shard time. The shard waits there as long as the reading takes."
            ),
            key!(
                "ring_slots",
                Form::Power { min: 256, max: RING_SLOTS_MAX as u64 },
                backfill.ring_slots,
                "Slots of 64 bytes of the ring by which history comes to each shard. Full, the reading waits."
            ),
        ],
    },
    Section {
        path: "books",
        doc: "Order books of each shard, from levels and from single orders. They give handlers best \
                 prices, depth and imbalance.",
        names: None,
        keys: &[
            key!(
                "pages",
                count(0, BOOK_PAGES_MAX as u64),
                books.pages,
                "Pages of price levels of all books together. 0 = no books are kept."
            ),
            key!("orders", count(0, BOOK_ORDERS_MAX as u64), books.orders, "Single orders in all books together."),
        ],
    },
    Section {
        path: "scanner",
        doc: "Parameters of the scanner's rules. Bars are one-second bars with at least one trade.",
        names: None,
        keys: &[
            key!(
                "breakout_bars",
                count(1, RANGE_BARS_MAX as u64),
                pipeline.scanner.breakout_bars,
                "Closed bars whose range a breakout leaves."
            ),
            key!(
                "breakout_cooldown_bars",
                count(1, COOLDOWN_BARS_MAX as u64),
                pipeline.scanner.breakout_cooldown_bars,
                "Bars for which a side of the breakout rule rests after an alert, that of the alert \
                 included."
            ),
            key!(
                "spike_bars",
                count(1, SPIKE_BARS_MAX as u64),
                pipeline.scanner.spike_bars,
                "Length of the average of bar volumes; the rule is ready after as many bars."
            ),
            key!(
                "spike_factor",
                Form::Number { min: 1.0, max: SPIKE_FACTOR_MAX },
                pipeline.scanner.spike_factor,
                "Multiple of that average which a bar's volume must exceed."
            ),
            key!(
                "volatility_fast_bars",
                count(1, AVERAGE_BARS_MAX as u64),
                pipeline.scanner.volatility_fast_bars,
                "Length of the average of squared returns that stands for now."
            ),
            key!(
                "volatility_slow_bars",
                count(1, AVERAGE_BARS_MAX as u64),
                pipeline.scanner.volatility_slow_bars,
                "Length of the average of squared returns that stands for the usual; the rules volatility \
                 and momentum are ready after so many returns."
            ),
            key!(
                "volatility_factor",
                factor(),
                pipeline.scanner.volatility_factor,
                "Multiple of the usual volatility that the present one must exceed."
            ),
            key!(
                "momentum_bars",
                count(1, MOMENTUM_BARS_MAX as u64),
                pipeline.scanner.momentum_bars,
                "Bars of the return of the rule momentum."
            ),
            key!(
                "momentum_factor",
                factor(),
                pipeline.scanner.momentum_factor,
                "Standard deviations of a random walk over those bars that the return must exceed."
            ),
            key!(
                "momentum_cooldown_bars",
                count(1, COOLDOWN_BARS_MAX as u64),
                pipeline.scanner.momentum_cooldown_bars,
                "Bars for which a side of the rule momentum rests after an alert, that of the alert \
                 included."
            ),
            key!(
                "gap_bps",
                count(1, BPS_MAX as u64),
                pipeline.scanner.gap_bps,
                "Distance from the last bar's close to a bar's first price that is no gap yet, in \
                 hundredths of a per cent of the close."
            ),
            key!(
                "spread_bars",
                count(1, AVERAGE_BARS_MAX as u64),
                pipeline.scanner.spread_bars,
                "Length of the average of spreads; the rule is ready after as many bars."
            ),
            key!(
                "spread_factor",
                factor(),
                pipeline.scanner.spread_factor,
                "Multiple of that average which a spread must exceed."
            ),
            key!(
                "spread_bps_min",
                Form::Number { min: 0.0, max: BPS_MAX as f64 },
                pipeline.scanner.spread_bps_min,
                "What a spread must exceed besides, in hundredths of a per cent of the mid price."
            ),
            key!(
                "spread_cooldown_bars",
                count(1, COOLDOWN_BARS_MAX as u64),
                pipeline.scanner.spread_cooldown_bars,
                "Bars for which the rule spread rests after an alert, that of the alert included."
            ),
        ],
    },
    Section {
        path: "bridge",
        doc: "How alerts of a symbol become requests for features: duplicates are left out, the rest \
                 is batched, batches keep to a rate.",
        names: None,
        keys: &[
            key!(
                "dedup",
                time(0, BRIDGE_NS_MAX),
                pipeline.bridge.dedup_ns,
                "An alert that says again what its rule said last (same side, severity not higher) within \
                 this shard time is a duplicate. 0s = none is."
            ),
            key!("batch", count(1, BRIDGE_BATCH_MAX as u64), pipeline.bridge.batch_alerts, "Alerts that fill a batch."),
            key!(
                "batch_time",
                time(1, BRIDGE_NS_MAX),
                pipeline.bridge.batch_ns,
                "A batch closes so long after its first alert, in shard time."
            ),
            key!(
                "idle",
                time(TICK_NS, BRIDGE_NS_MAX),
                pipeline.bridge.idle_ns,
                "A batch closes when no alert of its symbol has come for so long, in shard time."
            ),
            key!(
                "rate",
                count(1, 1_000_000_000),
                pipeline.bridge.rate.tokens,
                "Requests of one symbol that may pass in each interval, evenly."
            ),
            key!("rate_interval", time(1, DAY_NS), pipeline.bridge.rate.per_ns, "That interval, in shard time."),
            key!(
                "burst",
                count(1, 100_000),
                pipeline.bridge.rate.burst,
                "Requests of one symbol that may pass at once."
            ),
            key!(
                "delay_max",
                time(0, BRIDGE_NS_MAX),
                pipeline.bridge.delay_ns_max,
                "A batch whose turn lies further ahead than this is refused, in shard time."
            ),
        ],
    },
    Section {
        path: "mapper",
        doc: "What alerts ask for. A plan is the base, over it that of the rule, over it that of the \
                 time of day.",
        names: None,
        keys: &[Key::new(
            "zone",
            Form::Zone,
            "Time zone of the times of day.",
            |config, _| Value::Word(config.zone.0.clone()),
            |config, _, value| {
                config.zone.0 = Stored::stored(value);
                config.pipeline.mapper.zone = zone(&config.zone.0).expect("Invariant: the form knows the zone");
            },
        )],
    },
    Section {
        path: "mapper.base",
        doc: "What every alert asks for, unless its rule or the time of day says otherwise.",
        names: None,
        keys: &[
            key!(
                "groups",
                Form::Words(group_names),
                pipeline.mapper.base.groups,
                "Feature groups; what they need is computed, too. None at all = nothing is asked for."
            ),
            key!("priority", count(0, 7), pipeline.mapper.base.priority, "0 = most urgent."),
            key!(
                "expires",
                time(0, MAPPER_EXPIRES_NS_MAX),
                pipeline.mapper.base.expires_ns,
                "From when on the features are not wanted any more, after the request, in shard time. 0s \
                 = they always are."
            ),
            key!("token", count(0, u64::MAX), pipeline.mapper.base.token, "A number for whoever computes them."),
        ],
    },
    Section {
        path: "mapper.rule.<rule>",
        doc: "What alerts of one rule ask for.",
        names: Some(Names::Of(rule_names)),
        keys: plan_keys!(rule_plan, rule_plan_mut;),
    },
    Section {
        path: "mapper.hours.<name>",
        doc: "A time of day, and what is asked for then instead. The first one that holds counts.",
        names: Some(Names::Free {
            list: |config| config.hours.clone(),
            make: |config, name| _ = hours_mut(config, name),
        }),
        keys: HOURS,
    },
    Section {
        path: "publisher",
        doc: "Which symbols qualify, and when changes are published.",
        names: None,
        keys: &[
            key!(
                "alert",
                time(1, PUBLISHER_NS_MAX),
                pipeline.publisher.alert_ns,
                "How long an alert counts, in shard time."
            ),
            key!(
                "cooldown",
                time(0, PUBLISHER_NS_MAX),
                pipeline.publisher.cooldown_ns,
                "How long after a change a symbol does not qualify, and is not promoted, again, in shard \
                 time."
            ),
            key!(
                "retry",
                time(TICK_NS, PUBLISHER_NS_MAX),
                pipeline.publisher.retry_ns,
                "When a change that the sink did not take is offered again, in shard time."
            ),
            key!(
                "enter",
                Form::Number { min: 0.0, max: SCORE_MAX },
                pipeline.publisher.enter,
                "Score from which on a symbol qualifies: the sum of the weights of the conditions that hold."
            ),
            key!(
                "margin",
                Form::Number { min: 0.0, max: SCORE_MAX },
                pipeline.publisher.margin,
                "How far below that the score may go before it ceases to."
            ),
            Key::new(
                "rules",
                Form::Words(rule_names),
                "The scanner's rules whose alerts count. Those of rules of one's own always do.",
                |config, _| Value::Words(publisher::rules(&config.pipeline.publisher)),
                |config, _, value| publisher::set_rules(&mut config.pipeline.publisher, &Vec::stored(value)),
            ),
            key!(
                "on_refusal",
                Form::Choice(REFUSALS),
                pipeline.publisher.on_refusal,
                "What becomes of a change while the sink's breaker is open: it is kept and offered again, or the vector that brought \
                 it about is dead-lettered."
            ),
        ],
    },
    Section {
        path: "publisher.condition.<feature>",
        doc: "What a symbol is scored by, once a second. Three conditions are there; another name of a feature makes \
              one more, and a weight of 0 leaves one out.",
        names: Some(Names::Free {
            list: publisher::features,
            make: |config, name| _ = publisher::condition_mut(config, name),
        }),
        keys: &[
            condition_key!("above", Form::Switch, is_above, "Whether it holds above its threshold, or below it."),
            condition_key!(
                "enter",
                Form::Number { min: -VALUE_MAX, max: VALUE_MAX },
                enter,
                "The threshold: it begins to hold there."
            ),
            condition_key!(
                "margin",
                Form::Number { min: 0.0, max: VALUE_MAX },
                margin,
                "How far back from there the value may go before it ceases to hold."
            ),
            condition_key!(
                "weight",
                Form::Number { min: 0.0, max: 1e6 },
                weight,
                "What it adds to the score while it holds. 0 = nothing."
            ),
        ],
    },
    Section {
        path: "publisher.tier.<name>",
        doc: "Tiers that a symbol which qualifies is promoted to, numbered from 1 in the order in which they are written, behind the two that are there: in rising order of \
              score and time. A further one begins as the one before it.",
        names: Some(Names::Free {
            list: |config| config.tiers.0.clone(),
            make: |config, name| _ = publisher::tier_mut(config, name),
        }),
        keys: &[
            tier_key!(
                "enter",
                Form::Number { min: 0.0, max: SCORE_MAX },
                enter,
                "Score from which on a symbol goes up to it."
            ),
            tier_key!(
                "leave",
                Form::Number { min: 0.0, max: SCORE_MAX },
                leave,
                "Score below which it comes down again: not above enter."
            ),
            tier_key!(
                "after",
                time(0, PUBLISHER_NS_MAX),
                after_ns,
                "How long a symbol must have qualified, in shard time."
            ),
        ],
    },
    Section {
        path: "publisher.breaker",
        doc: "When a sink that does not take changes is left alone, and for how long: one breaker for each symbol.",
        names: None,
        keys: &[
            key!(
                "failures",
                count(0, 1_000_000),
                pipeline.publisher.breaker.failures_in_row,
                "Failures in a row that trip it. 0 = that many never do: then a share does."
            ),
            share_key!(
                "share",
                count(1, 1_000),
                per_mille,
                "Failures of 1,000 calls in the window from which on it trips."
            )
            .unset("none", "failures in a row do alone"),
            share_key!(
                "share_calls",
                count(1, 1_000_000),
                calls_min,
                "Calls in the window below which the share never trips it."
            ),
            share_key!("share_window", time(10, DAY_NS), window_ns, "Length of that window, in shard time."),
            key!("open", time(1, DAY_NS), pipeline.publisher.breaker.open_ns, "How long it is open at first, in shard time."),
            key!(
                "growth",
                count(1, 1_000),
                pipeline.publisher.breaker.open_growth,
                "The factor by which it is open longer after each probe that failed. 1 = always as long."
            ),
            key!(
                "open_max",
                time(1, DAY_NS),
                pipeline.publisher.breaker.open_ns_max,
                "The longest that it is open: not below open."
            ),
            key!(
                "probe",
                time(1, DAY_NS),
                pipeline.publisher.breaker.probe_ns_max,
                "How long a probe may go without a verdict, in shard time."
            ),
            key!(
                "successes",
                count(1, 1_000_000),
                pipeline.publisher.breaker.successes,
                "Probes in a row that have to succeed before it closes."
            ),
        ],
    },
    Section {
        path: "correlation",
        doc: "Correlation and beta of symbols with a benchmark, sampled at the closes of the benchmark's bars. It goes across symbols, so that shards keep step with each \
              other where it is on.",
        names: None,
        keys: &[
            key!("benchmark", Form::Symbol, pipeline.correlation.symbol, "The benchmark.")
                .unset("none", "nothing is correlated"),
            key!(
                "followers",
                Form::Symbols,
                pipeline.correlation.followers,
                "Symbols that are correlated with it, each of which gets a vector of its own (set 3: correlation, beta)."
            ),
        ],
    },
    Section {
        path: "features",
        doc: "Features per symbol. The lengths of averages and windows are no parameters: they are what a set's number stands for.",
        names: None,
        keys: &[Key::new(
            "zone",
            Form::Zone,
            "Time zone whose days are sessions: sums of a session begin anew at midnight there, and half-hours of the day are its own.",
            |config, _| Value::Word(config.session.0.clone()),
            |config, _, value| {
                config.session.0 = Stored::stored(value);
                config.pipeline.features.zone = zone(&config.session.0).expect("Invariant: the form knows the zone");
            },
        )],
    },
    Section {
        path: "health",
        doc: "From where on the report calls a part of the engine degraded or failed. It acts on nothing else.",
        names: None,
        keys: &[
            key!(
                "ring_fill",
                Form::Number { min: 0.0, max: 1.0 },
                health.queue_fill,
                "Fill of a ring above which its shard is degraded. A run that is saturated counts as full."
            ),
            key!(
                "errors_degraded",
                Form::Number { min: 0.0, max: VALUE_MAX },
                health.error_share[0],
                "Failed calls of handlers for each event, above which a shard is degraded; panics of a worker for each of its jobs, above which it is."
            ),
            key!(
                "errors_failed",
                Form::Number { min: 0.0, max: VALUE_MAX },
                health.error_share[1],
                "The same, above which it has failed."
            ),
            key!(
                "silence_degraded",
                time(1, DAY_NS),
                health.silent_ns[0],
                "Time without a turn of its loop after which a shard is degraded."
            ),
            key!("silence_failed", time(1, DAY_NS), health.silent_ns[1], "The same, after which it has failed."),
            key!(
                "overruns",
                Form::Number { min: 0.0, max: 1.0 },
                health.overrun_share,
                "Share of a handler's calls over their budget, or of a worker's jobs over their deadline, above which it is degraded."
            ),
            key!(
                "memory",
                Form::Bytes { min: 0, max: u64::MAX / 64 * 64, is_power: false },
                health.memory_bytes,
                "Resident bytes of the process above which it is degraded, and a warning is logged. 0B = never."
            ),
        ],
    },
    Section {
        path: "crossover",
        doc: "The default strategy: two averages that cross, with news.",
        names: None,
        keys: &[
            key!(
                "band",
                Form::Number { min: 0.0, max: 100.0 },
                pipeline.crossover.band,
                "Half-width of the band around 0, in volatilities of one bar."
            ),
            key!(
                "sentiment_min",
                count(1, 100),
                pipeline.crossover.sentiment_min,
                "Weakest sentiment that counts, in hundredths."
            ),
            key!("news", time(0, DAY_NS), pipeline.crossover.news_ns, "How long news counts, in shard time."),
        ],
    },
    CSV,
    PARQUET,
];
