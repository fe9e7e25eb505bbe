//! Configuration: one TOML file, the environment over it, flags over that.
//!
//! ```text
//!  defaults < file (TOML) < TAPELINE_* variables < flags
//!      |          |                |                 |
//!      +----------+---- Layers ----+-----------------+---> Config (typed) --check--> Loaded: Setup, Parameters, SHA-256
//!                         |
//!                      SECTIONS: one row for each key (name, form, default, doc, get, set)
//! ```
//!
//! [`SECTIONS`] is the one table of keys. Parsing, the check for unknown keys, the variables, `--print-config`, the reference and the
//! sample are made from it, and the defaults are those of the engine's own types: none of them can drift from another. A row
//! that sets nothing turns `every_key_changes_what_the_engine_gets` red; a field that nobody takes does not compile, as
//! [`Config::setup`] and the pipeline take their sections apart without `..`; and a field of the engine's own types that the engine
//! does not look at turns `every_field_that_a_key_sets_is_read` red.
//!
//! A key more: a field in the section's struct below (or in the engine's own type that the section holds), and a row in `table.rs`.

mod csv;
mod key;
mod layers;
mod mapper;
mod parquet;
mod publisher;
mod retry;
mod table;
mod tell;
mod topics;
mod value;
mod zone;

#[cfg(test)]
mod tests;

pub use key::{Key, Make, Names, Section, Setting};
pub use layers::{FAULTS_TOLD_MAX, FILE_BYTES_MAX, FILE_VARIABLE, Fault, Faults, Layers, Loaded, Origin};
pub use publisher::{ShareKeys, TierNames};
pub use retry::{Growth, Retry, RetryPolicy, STANDARD, Spread};
pub use table::SECTIONS;
pub use tell::{Style, reference, sample};
pub use topics::{OnInvalid, TopicKeys, Topics};
pub use value::{Form, Raw, Value};

use crate::backfill;
use crate::driver::{Driver, Idle};
use crate::engine::Setup;
use crate::ingest::Capture;
use crate::input::csv::ColumnMap;
use crate::input::parquet::ParquetConfig;
use crate::jobs;
use crate::log::{self, LogFormat};
use crate::pacer::{Arrivals, Pace};
use crate::pipeline::Parameters;
use crate::spill;
use crate::station::Overload;
use std::sync::Arc;
use tapeline_core::backfill::DeskConfig;
use tapeline_core::dead;
use tapeline_core::health::Thresholds;
use tapeline_core::limits::{
    DEDUP_CAPACITY_DEFAULT, DEDUP_WINDOW_NS_DEFAULT, HISTORY_AGE_NS_DEFAULT, HISTORY_SLOTS_DEFAULT, MAPPER_HOURS_MAX,
    MESH_PENDING_DEFAULT, MESH_RING_SLOTS_DEFAULT, RING_SLOTS_DEFAULT, SYMBOLS_DEFAULT,
};
use tapeline_core::log::{Filter, Level};
use tapeline_core::publisher::Publisher;
use tapeline_core::units::UnixNanos;
use tapeline_core::{queue, requests, shard};

/// Everything that can be configured.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Config {
    /// Placement and capacities.
    pub engine: Engine,
    /// How captures are replayed.
    pub replay: Replay,
    /// What is told while it runs.
    pub log: Log,
    /// Recognition of duplicates.
    pub dedup: Dedup,
    /// The last events.
    pub history: History,
    /// Room for events that handlers failed on.
    pub dead_letters: DeadLetters,
    /// Retry policies.
    pub retry: Retry,
    /// Topics.
    pub topics: Topics,
    /// The request queue and its service.
    pub requests: Requests,
    /// History for handlers that ask for it.
    pub backfill: Backfill,
    /// Where topics that spill do so.
    pub spill: Spill,
    /// Order books.
    pub books: Books,
    /// Names of the times of day of the mapper, in their order.
    pub hours: Vec<String>,
    /// Names of the publisher's tiers, in their order.
    pub tiers: TierNames,
    /// The share of failures that trips the publisher's breaker.
    pub share: ShareKeys,
    /// Name of the time zone of the mapper.
    pub zone: Zone,
    /// Name of the time zone whose days are sessions.
    pub session: Zone,
    /// From where on a part of the engine counts as degraded or failed: for [`crate::replay::Request`].
    pub health: Thresholds,
    /// What the columns of CSV captures are: [`Config::csv_map`] for who opens them.
    pub csv: ColumnMap,
    /// What the columns of Parquet captures are where their names do not tell: for [`crate::input::detect::OpenOptions`].
    pub parquet: ParquetConfig,
    /// Parameters of the default handlers.
    pub pipeline: Parameters,
}

/// History for handlers that ask for it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Backfill {
    /// As [`backfill::Settings::paths`].
    pub tapes: Vec<String>,
    /// As [`backfill::Settings::ring_slots`].
    pub ring_slots: usize,
    /// As [`backfill::Settings::desk`].
    pub desk: DeskConfig,
}

impl Default for Backfill {
    fn default() -> Self {
        Self { tapes: Vec::new(), ring_slots: backfill::RING_SLOTS_DEFAULT, desk: DeskConfig::default() }
    }
}

/// Where topics that spill do so.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Spill {
    /// As [`spill::Settings::folders`]; none = nothing may spill.
    pub folders: Vec<String>,
    /// As [`spill::Settings::limit_bytes`].
    pub limit_bytes: u64,
}

impl Default for Spill {
    fn default() -> Self {
        Self { folders: Vec::new(), limit_bytes: spill::LIMIT_BYTES_DEFAULT }
    }
}

/// Order books of each shard.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Books {
    /// As [`shard::Config::book_pages`].
    pub pages: usize,
    /// As [`shard::Config::book_orders`].
    pub orders: usize,
}

impl Default for Books {
    fn default() -> Self {
        let shard::Config { book_pages: pages, book_orders: orders, .. } = shard::Config::single();
        Self { pages, orders }
    }
}

/// Name of a time zone: UTC by default.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Zone(pub String);

impl Default for Zone {
    fn default() -> Self {
        Self("UTC".to_owned())
    }
}

/// Placement and capacities of an engine.
#[derive(Clone, PartialEq, Debug)]
pub struct Engine {
    /// As [`Setup::shards`].
    pub shards: Option<usize>,
    /// As [`Setup::cores`].
    pub cores: Option<Vec<usize>>,
    /// As [`Setup::is_pinned`].
    pub pin: bool,
    /// As [`Setup::driver`].
    pub driver: Option<Driver>,
    /// As [`Setup::idle`].
    pub idle: Option<Idle>,
    /// As [`Setup::seed`].
    pub seed: u64,
    /// As [`Setup::symbols_max`].
    pub symbols_max: usize,
    /// As [`Setup::ring_slots`].
    pub ring_slots: usize,
    /// As [`Setup::mesh_ring_slots`].
    pub mesh_ring_slots: usize,
    /// As [`shard::Config::mesh_pending_slots`].
    pub mesh_pending_slots: usize,
    /// As [`Setup::timers_max`].
    pub timers_max: Option<usize>,
}

impl Default for Engine {
    fn default() -> Self {
        Self {
            shards: None,
            cores: None,
            pin: true,
            driver: None,
            idle: None,
            seed: 0,
            symbols_max: SYMBOLS_DEFAULT,
            ring_slots: RING_SLOTS_DEFAULT,
            mesh_ring_slots: MESH_RING_SLOTS_DEFAULT,
            mesh_pending_slots: MESH_PENDING_DEFAULT,
            timers_max: None,
        }
    }
}

/// What is told while it runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Log {
    /// As [`tapeline_core::log::Filter::level`].
    pub level: Level,
    /// Form of it.
    pub format: LogFormat,
}

impl Default for Log {
    fn default() -> Self {
        Self { level: Level::Warn, format: LogFormat::Text }
    }
}

/// How captures are replayed.
#[derive(Clone, PartialEq, Debug)]
pub struct Replay {
    /// Times as fast as captured; `None` = without a schedule. Not looked at with a rate.
    pub speed: Option<f64>,
    /// Messages a second.
    pub rate: Option<f64>,
    /// As [`Setup::max_gap_ns`].
    pub max_gap_ns: Option<u64>,
    /// As [`Setup::arrivals`].
    pub arrivals: Arrivals,
    /// As [`Setup::warmup_ns`].
    pub warmup_ns: u64,
    /// As [`Setup::overload`].
    pub overload: Overload,
    /// As [`Setup::passes`].
    pub passes: u64,
    /// As [`Setup::start`].
    pub start: Option<UnixNanos>,
    /// As [`Setup::end`].
    pub end: Option<UnixNanos>,
}

impl Default for Replay {
    fn default() -> Self {
        Self {
            speed: Some(1.0),
            rate: None,
            max_gap_ns: None,
            arrivals: Arrivals::Constant,
            warmup_ns: 0,
            overload: Overload::Wait,
            passes: 1,
            start: None,
            end: None,
        }
    }
}

impl Replay {
    /// The schedule.
    #[must_use]
    pub fn pace(&self) -> Pace {
        match (self.rate, self.speed) {
            (Some(rate), _) => Pace::Rate(rate),
            (None, Some(speed)) => Pace::Speed(speed),
            (None, None) => Pace::Max,
        }
    }
}

/// Recognition of duplicates.
#[derive(Clone, PartialEq, Debug)]
pub struct Dedup {
    /// As [`shard::Config::dedup_capacity`].
    pub capacity: usize,
    /// As [`shard::Config::dedup_window_ns`].
    pub window_ns: u64,
}

impl Default for Dedup {
    fn default() -> Self {
        Self { capacity: DEDUP_CAPACITY_DEFAULT, window_ns: DEDUP_WINDOW_NS_DEFAULT }
    }
}

/// The last events.
#[derive(Clone, PartialEq, Debug)]
pub struct History {
    /// As [`shard::Config::history_slots`]; `None` = no history.
    pub slots: Option<usize>,
    /// As [`shard::Config::history_age_ns`]; `None` = events are forgotten for want of room only.
    pub age_ns: Option<u64>,
}

impl Default for History {
    fn default() -> Self {
        Self { slots: Some(HISTORY_SLOTS_DEFAULT), age_ns: Some(HISTORY_AGE_NS_DEFAULT) }
    }
}

/// Room for events that handlers failed on, of each shard.
#[derive(Clone, PartialEq, Debug)]
pub struct DeadLetters {
    /// As [`dead::Config::entries`].
    pub entries: usize,
    /// As [`dead::Config::slots`].
    pub slots: usize,
    /// As [`dead::Config::holds`].
    pub holds: usize,
    /// As [`dead::Config::held_per_symbol`].
    pub held_per_symbol: usize,
    /// As [`dead::Config::errors`].
    pub error_codes: usize,
}

impl Default for DeadLetters {
    fn default() -> Self {
        let dead::Config { entries, slots, holds, held_per_symbol, errors, .. } = dead::Config::default();
        Self { entries, slots, holds, held_per_symbol, error_codes: errors }
    }
}

/// The request queue of each shard, and how it is served.
#[derive(Clone, PartialEq, Debug)]
pub struct Requests {
    /// As [`requests::Config::queue`]. Its symbols and its tick are the engine's.
    pub queue: queue::Config,
    /// As [`requests::Config::service_interval_ns`].
    pub service_interval_ns: u64,
    /// As [`requests::Config::service_budget`].
    pub service_budget: usize,
    /// As [`requests::Config::jobs_min`].
    pub jobs_min: usize,
    /// As [`requests::Config::jobs_max`].
    pub jobs_max: usize,
    /// As [`requests::Config::job_delay_ns`].
    pub job_delay_ns: u64,
    /// Who does jobs off the cores.
    pub jobs: jobs::Settings,
    /// Name of the retry policy.
    pub retry: String,
}

impl Default for Requests {
    fn default() -> Self {
        let requests::Config { queue, service_interval_ns, service_budget, jobs_min, jobs_max, job_delay_ns, .. } =
            requests::Config::default();
        let (jobs, retry) = (jobs::Settings::default(), STANDARD.to_owned());
        Self { queue, service_interval_ns, service_budget, jobs_min, jobs_max, job_delay_ns, jobs, retry }
    }
}

impl Config {
    /// What does not fit together, though each value is one that its key allows: paths of keys, with what is wrong. This is the one
    /// place that checks; what it passes, the engine can be made of.
    #[must_use]
    pub fn check(&self) -> Vec<(String, String)> {
        let mut wrong = self.retry.check();
        if wrong.is_empty() {
            wrong.extend(self.topics.check(&self.retry, !self.spill.folders.is_empty()));
        }
        wrong.extend(self.retry.check_name("requests.retry", &self.requests.retry));
        let mut tell = |key: &str, what: String| wrong.push((key.to_owned(), what));
        if self.replay.overload == Overload::Live && !self.replay.pace().is_paced() {
            tell("replay.overload", "live needs a schedule: without one, every ring is full at once".to_owned());
        }
        if self.replay.overload == Overload::Live && self.replay.start.is_some() {
            let what = "not with replay.overload = live: what is before it comes at once, to build state, and policies would thin it";
            tell("replay.start", what.to_owned());
        }
        if let (Some(start), Some(end)) = (self.replay.start, self.replay.end)
            && start >= end
        {
            tell("replay.end", "it is not after replay.start".to_owned());
        }
        if self.dead_letters.held_per_symbol >= self.dead_letters.entries {
            let what = "one symbol that is held has to leave room for others: less than dead_letters.entries";
            tell("dead_letters.held_per_symbol", what.to_owned());
        }
        if let Some((key, what)) = self.csv.check() {
            tell(&format!("csv.{key}"), what);
        }
        let Requests { jobs_min, jobs_max, .. } = self.requests;
        if jobs_min > jobs_max {
            tell("requests.jobs_min", format!("{jobs_min} is more than requests.jobs_max, {jobs_max}"));
        }
        if let Err(error) = self.pipeline.bridge.check() {
            tell("bridge.rate", error.to_string());
        }
        let hours = self.hours.iter().zip(&self.pipeline.mapper.hours);
        for (name, _) in hours.clone().filter(|(_, hours)| hours.days == 0) {
            tell(&format!("mapper.hours.{name}.days"), "at least one day".to_owned());
        }
        for (name, _) in hours.filter(|(_, hours)| hours.from_s == hours.to_s || hours.from_s >= 86_400) {
            tell(&format!("mapper.hours.{name}.from"), "it begins within the day, and not when it ends".to_owned());
        }
        if self.hours.len() > MAPPER_HOURS_MAX {
            let last = &self.hours[MAPPER_HOURS_MAX];
            tell(&format!("mapper.hours.{last}.days"), format!("at most {MAPPER_HOURS_MAX} times of day"));
        }
        if let Err(error) = Publisher::new(&self.pipeline.publisher) {
            use tapeline_core::publisher::ConfigError;
            let key = match &error {
                ConfigError::Feature(feature) | ConfigError::Condition { feature, .. } => feature.as_str(),
                ConfigError::Apart(features) => features.last().map_or("", String::as_str),
                _ => "",
            };
            let breaker = self.pipeline.publisher.breaker.check().err().map(ConfigError::Rule);
            let key = if !key.is_empty() {
                format!("publisher.condition.{key}.weight")
            } else if breaker.as_ref() == Some(&error) {
                "publisher.breaker.failures".to_owned()
            } else if let Some(tier) = publisher::faulty_tier(self) {
                format!("publisher.tier.{tier}.enter")
            } else {
                "publisher.enter".to_owned()
            };
            tell(&key, error.to_string());
        }
        if let Err(what) = self.pipeline.correlation.check() {
            tell("correlation.followers", what);
        }
        let first = self.pipeline.correlation.symbols().len();
        if first >= self.engine.symbols_max {
            tell("correlation.followers", format!("{first} symbols, and engine.symbols_max has room for fewer"));
        }
        // What is left is no value of one key.
        if wrong.is_empty()
            && let Err(what) = self.pipeline.check()
        {
            wrong.push(("pipeline".to_owned(), what));
        }
        wrong
    }

    /// The map of the columns of CSV captures, if there is one: for [`crate::input::detect::OpenOptions`].
    #[must_use]
    pub fn csv_map(&self) -> Option<Arc<ColumnMap>> {
        self.csv.kind.is_some().then(|| Arc::new(self.csv.clone()))
    }

    /// What the engine is made of, for these captures. Outputs are for the caller to add.
    ///
    /// # Panics
    /// When [`Config::check`] finds something.
    #[must_use]
    pub fn setup(&self, captures: Vec<Capture>) -> Setup {
        // Everything is taken apart without `..`: a field that nothing reads is an unused variable, and no build passes.
        let Self {
            engine,
            replay,
            log: Log { level, format },
            dedup,
            history,
            dead_letters,
            retry,
            topics,
            requests,
            backfill: history_read,
            spill: Spill { folders: spill_folders, limit_bytes: spill_bytes },
            books,
            hours: _,
            tiers: _,
            share: _,
            zone: _,
            session: _,
            health: _,
            csv: _,
            parquet: _,
            pipeline,
        } = self;
        let Engine {
            shards,
            cores,
            pin,
            driver,
            idle,
            seed,
            symbols_max,
            ring_slots,
            mesh_ring_slots,
            mesh_pending_slots,
            timers_max,
        } = engine;
        let Replay { speed: _, rate: _, max_gap_ns, arrivals, warmup_ns, overload, passes, start, end } = replay;
        let Dedup { capacity, window_ns } = dedup;
        let History { slots: history_slots, age_ns } = history;
        let DeadLetters { entries, slots, holds, held_per_symbol, error_codes } = dead_letters;
        let Requests {
            queue,
            service_interval_ns,
            service_budget,
            jobs_min,
            jobs_max,
            job_delay_ns,
            jobs,
            retry: request_retry,
        } = requests;
        let Backfill { tapes, ring_slots: history_ring_slots, desk } = history_read;
        let Books { pages, orders } = books;
        let (policies, mut retry_of) = retry.tables();
        topics.set_retries(retry, &mut retry_of);
        let request_retry = policies[usize::from(retry.number(request_retry))];
        Setup {
            passes: *passes,
            messages_max: None,
            pace: replay.pace(),
            max_gap_ns: *max_gap_ns,
            arrivals: *arrivals,
            warmup_ns: *warmup_ns,
            overload: *overload,
            buses: vec![topics.bus(retry)],
            start: *start,
            end: *end,
            shards: *shards,
            cores: cores.clone(),
            is_pinned: *pin,
            driver: *driver,
            symbols_max: *symbols_max,
            symbols: pipeline.correlation.symbols(),
            ring_slots: *ring_slots,
            mesh_ring_slots: *mesh_ring_slots,
            idle: *idle,
            seed: *seed,
            timers_max: *timers_max,
            // Who is told is for the program to say.
            log: log::Log { filter: Filter { level: *level, follow: None }, format: *format, ..log::Log::default() },
            backfill: (!tapes.is_empty()).then(|| backfill::Settings {
                paths: tapes.iter().map(Into::into).collect(),
                ring_slots: *history_ring_slots,
                desk: *desk,
            }),
            jobs: *jobs,
            spill: (!spill_folders.is_empty()).then(|| spill::Settings {
                folders: spill_folders.iter().map(Into::into).collect(),
                limit_bytes: *spill_bytes,
            }),
            shard: shard::Config {
                mesh_pending_slots: *mesh_pending_slots,
                dedup_capacity: *capacity,
                dedup_window_ns: *window_ns,
                history_slots: history_slots.unwrap_or(0),
                history_age_ns: age_ns.unwrap_or(u64::MAX),
                letters: dead::Config {
                    entries: *entries,
                    slots: *slots,
                    holds: *holds,
                    held_per_symbol: *held_per_symbol,
                    errors: *error_codes,
                    ..dead::Config::default()
                },
                book_pages: *pages,
                book_orders: *orders,
                retry: policies,
                retry_of,
                invalid_kept: topics.invalid_kept(),
                requests: requests::Config {
                    queue: *queue,
                    service_interval_ns: *service_interval_ns,
                    service_budget: *service_budget,
                    jobs_min: *jobs_min,
                    jobs_max: *jobs_max,
                    job_delay_ns: *job_delay_ns,
                    retry: request_retry,
                    // Which jobs those are, the pipeline says.
                    ..requests::Config::default()
                },
                ..shard::Config::single()
            },
            ..Setup::new(captures)
        }
    }
}

/// The instant that a text says: RFC 3339, with or without an offset from UTC, or ns since the UNIX epoch.
#[must_use]
pub fn instant(text: &str) -> Option<UnixNanos> {
    match Form::Instant.read(&Raw::Text(text.to_owned())) {
        Some(Value::Whole(ns)) => Some(UnixNanos(ns)),
        _ => None,
    }
}

/// The setting of that path, if there is one. O(keys).
#[must_use]
pub fn setting(path: &str) -> Option<Setting> {
    key::find(SECTIONS, path)
}
