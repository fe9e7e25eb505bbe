//! What a replay says: plain data that the engine fills, and its forms.
//!
//! - [`json`]: one object on one line, whose names and meaning do not change;
//! - [`text`]: the table for people, verdict first;
//! - [`hgrm`]: a percentile distribution that the public HdrHistogram plotter reads;
//! - [`hlog`], [`csv`]: all histograms in full, by stage and shard, and their percentiles;
//! - [`html`]: one page for people, with plots;
//! - [`health`]: how well its parts were, and rates at its end;
//! - [`handlers`]: calls, time and failures of each handler;
//! - [`requests`]: what became of what handlers asked for;
//! - [`slow`]: response times over the time of the run, and the slowest events;
//! - [`topics`]: ledgers of topics, and what their policies did;
//! - [`latency`]: what may be told of a histogram; [`verdict`]: whether the run may be believed.
//!
//! The order of fields here is the order of names in the JSON object. More fields may be added; those that are here keep
//! their names and meaning.

mod backfill;
pub mod csv;
pub mod dead_letters;
pub mod handlers;
pub mod health;
pub mod hgrm;
pub mod hlog;
pub mod html;
pub mod json;
pub mod latency;
pub mod requests;
pub mod slow;
mod spill;
pub mod text;
pub mod topics;
pub mod verdict;

pub use backfill::BackfillReport;
pub use dead_letters::DeadLetterCount;
pub use handlers::HandlerReport;
pub use health::{HealthReport, LogCounts, MemoryReport, RateReport};
pub use latency::Summary;
pub use requests::Requests;
pub use slow::{SlowEvent, TimelineReport};
pub use spill::Spilled;
pub use topics::{TopicReport, Watermark};
pub use verdict::{CoreEvidence, Evidence, Verdict, judge};

pub use crate::input::BadPacket;
use crate::input::Tally;
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use std::borrow::Cow;
use std::collections::BTreeMap;

/// Exit code of a run that ended well.
pub const EXIT_DONE: u8 = 0;
/// Exit code when a check failed: an unbalanced ledger, or an invalid run under `--strict`.
pub const EXIT_CHECK_FAILED: u8 = 1;
/// Exit code of wrong usage, and of an input that could not be opened or is of no known format.
pub const EXIT_USAGE: u8 = 2;
/// Exit code when an input is damaged or cut short, or has bad lines.
pub const EXIT_DAMAGED: u8 = 3;
/// Exit code of a run that SIGINT stopped, after its report.
pub const EXIT_INTERRUPTED: u8 = 130;

/// The report of one replay.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Report {
    /// Always `tapeline`.
    pub tool: &'static str,
    /// Version of the build.
    pub version: String,
    /// The verb: `replay`.
    pub command: &'static str,
    /// What was run, on what, where.
    pub manifest: Manifest,
    /// The ledger of source events.
    pub events: Events,
    /// Source events offered, by kind.
    pub kinds: Named<u64>,
    /// Derived events, by kind.
    pub outputs: Named<u64>,
    /// Shared limits that acted: the digest then depends on the run.
    pub limits_hit: Vec<LimitHit>,
    /// Whether every ledger balanced at every check.
    pub ledger_balanced: bool,
    /// Whether SIGINT ended the run before its inputs did.
    pub interrupted: bool,
    /// Wall time from the first event's release to the end of the drain, ns.
    pub elapsed_ns: u64,
    /// Offered events per second of `elapsed_ns`.
    pub events_per_second: f64,
    /// Response, service and stages.
    pub latency_ns: Latency,
    /// How the schedule was kept; `null` for an unpaced run.
    pub pacer: Option<Pacer>,
    /// Whether the engine, not the pacer, fell behind its schedule.
    pub saturated: bool,
    /// Whether the run may be believed.
    pub verdict: Verdict,
    /// Digest of the outputs.
    pub digest: Digest,
    /// How far `digest` may be compared.
    pub digest_scope: DigestScope,
    /// Beyond the events, what each input saw, in the order of `manifest.captures`.
    pub tally: Vec<CaptureTally>,
    /// Why inputs ended before their end, one line each, with file and offset or line.
    pub input_errors: Vec<String>,
    /// What each measured core went through.
    pub measured_cores: Vec<CoreEvidence>,
    /// Allocations on shard and source cores after the warm-up; `null` where nobody counted.
    pub allocations: Option<u64>,
    /// What became of the events that handlers failed on.
    pub retries: Retries,
    /// What became of the requests of handlers.
    pub requests: Requests,
    /// Handlers in dispatch order: calls, time, failures.
    pub handlers: Vec<HandlerReport>,
    /// Topics that had events: their parts of the ledger, and what their policies did.
    pub topics: Vec<TopicReport>,
    /// The last transitions of watermarks of each shard, in its order.
    pub watermarks: Vec<Watermark>,
    /// Dead letters that were left at the end, by handler, kind and code.
    pub dead_letters: Vec<DeadLetterCount>,
    /// How well the engine's parts were.
    pub health: HealthReport,
    /// Rates over the last seconds of the shards' time.
    pub rates: Named<RateReport>,
    /// What became of what handlers asked of the past; not there where no history is configured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backfill: Option<BackfillReport>,
    /// What went through the store of spilled events; not there where no topic could spill.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spill: Option<Spilled>,
    /// Bytes of the process, and of the shards' structures.
    pub memory: MemoryReport,
    /// Log records.
    pub log: LogCounts,
    /// Response times over the time of the run; not there for an unpaced run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeline: Option<TimelineReport>,
    /// The slowest events, the slowest first, if they were asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub slowest: Vec<SlowEvent>,
}

impl Report {
    /// The exit code for this report. `input_exit` is the code of the worst input error, if there was one (2 or 3; bad
    /// lines and packets count as 3); `strict` makes an invalid run a failed check.
    ///
    /// Where several apply: 130, 2, 1 for an unbalanced ledger, 3, 1 for the rest.
    #[must_use]
    pub fn exit_code(&self, input_exit: Option<u8>, strict: bool) -> u8 {
        let has_bad = self.tally.iter().any(|capture| capture.bad_lines + capture.bad_packets > 0);
        if self.interrupted {
            EXIT_INTERRUPTED
        } else if input_exit == Some(EXIT_USAGE) {
            EXIT_USAGE
        } else if !self.ledger_balanced {
            EXIT_CHECK_FAILED
        } else if input_exit.is_some() || has_bad {
            EXIT_DAMAGED
        } else if strict && !self.verdict.valid {
            EXIT_CHECK_FAILED
        } else {
            EXIT_DONE
        }
    }
}

/// What was run, on what, where. What could not be read is `null`.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Manifest {
    /// The inputs, in the order of the merge.
    pub captures: Vec<Capture>,
    /// The tapes that history was read from, by path: what handlers asked of the past, and so the digest, depends on them.
    pub backfill: Vec<BackfillTape>,
    /// SHA-256 of the effective configuration, hex; `null` = not computed.
    pub config_sha256: Option<String>,
    /// `glommio` or `threads`.
    pub driver: String,
    /// Number of shards.
    pub shards: usize,
    /// Cores of the hot loops, as the placement numbers them.
    pub cores: Vec<u32>,
    /// Whether the loops were pinned to them.
    pub pinned: bool,
    /// Speed of the replay.
    pub speed: Speed,
    /// Constant rate in events per second, instead of the capture's own times; `null` = none.
    pub rate: Option<f64>,
    /// How messages followed each other: `captured`, or with a rate `constant` or `poisson`.
    pub arrivals: &'static str,
    /// Capture time at the beginning that was paced and not measured, ns.
    pub warmup_ns: u64,
    /// Model name of the processor.
    pub cpu: Option<String>,
    /// Release of the kernel.
    pub kernel: Option<String>,
    /// Clock source of the kernel.
    pub clocksource: Option<String>,
    /// Commit of the build.
    pub commit: Option<String>,
    /// Most slots that a shard takes as one batch, and that share a start and an end stamp.
    pub batch_limit: usize,
    /// Whether any input is generated: it did not happen on a market.
    pub generated: bool,
    /// What happens when events come faster than a shard handles them: `wait` or `live`.
    pub overload: String,
    /// How idle loops wait: `busy-spin`, `backoff`, `yield`, `park`.
    pub idle: String,
    /// Passes over the inputs.
    pub loops: u64,
}

/// A tape that history was read from.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct BackfillTape {
    /// File.
    pub path: String,
    /// SHA-256 of the file, hex; `null` = not computed.
    pub sha256: Option<String>,
    /// Events on it, without definitions; `null` where its end could not be read.
    pub events: Option<u64>,
}

/// One input of a run.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Capture {
    /// File as the user named it, or the name of the built-in session.
    pub path: String,
    /// SHA-256 of the file, hex; `null` = not computed.
    pub sha256: Option<String>,
    /// Events that it gave.
    pub events: u64,
    /// Symbols that it named.
    pub symbols: u64,
    /// `ts_recv` of its first event, ns since the UNIX epoch; `null` = no events.
    pub first_ts: Option<u64>,
    /// `ts_recv` of its last event, ns since the UNIX epoch; `null` = no events.
    pub last_ts: Option<u64>,
    /// Format, told by content.
    pub format: String,
    /// Whether it says that it is generated.
    pub generated: bool,
}

/// What an input saw beyond the events that it gave.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct CaptureTally {
    /// File as the user named it.
    pub path: String,
    /// Messages of the source by its own type names.
    pub messages: BTreeMap<String, u64>,
    /// Messages that have no kind here, by name.
    pub skipped: BTreeMap<String, u64>,
    /// Lines that could not be read.
    pub bad_lines: u64,
    /// The first of them.
    pub first_bad_lines: Vec<BadLine>,
    /// What the packets of a capture are, by name.
    pub packets: BTreeMap<String, u64>,
    /// Packets that could not be decoded whole.
    pub bad_packets: u64,
    /// The first of them.
    pub first_bad_packets: Vec<BadPacket>,
}

/// A line that could not be read.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct BadLine {
    /// Number, from 1.
    pub line: u64,
    /// What is wrong with it.
    pub why: String,
}

impl CaptureTally {
    /// What the input of `path` saw.
    #[must_use]
    pub fn new(path: impl Into<String>, tally: Tally) -> Self {
        let first_bad_lines = tally.first_bad_lines.into_iter().map(|(line, why)| BadLine { line, why }).collect();
        Self {
            path: path.into(),
            messages: tally.messages,
            skipped: tally.skipped,
            bad_lines: tally.bad_lines,
            first_bad_lines,
            packets: tally.packets,
            bad_packets: tally.bad_packets,
            first_bad_packets: tally.first_bad_packets,
        }
    }
}

/// Speed of a replay. In JSON a number, or `"max"`.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Speed {
    /// Times faster than the capture's own times: 1.0 = as captured.
    Times(f64),
    /// As fast as the engine takes them: no schedule, hence no response times.
    Max,
}

impl Serialize for Speed {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Times(times) => serializer.serialize_f64(*times),
            Self::Max => serializer.serialize_str("max"),
        }
    }
}

/// The ledger of source events, each counted once, by final state.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Events {
    /// Events that shards took from their rings.
    pub offered: u64,
    /// Of these, admitted.
    pub accepted: u64,
    /// Of these, refused at admission.
    pub refused: u64,
    /// Accepted, and every live handler has finished.
    pub delivered: u64,
    /// Accepted, and replaced by a later one of the same key.
    pub coalesced: u64,
    /// Accepted, and out of date before its turn.
    pub expired: u64,
    /// Accepted, and refused by a policy later.
    pub refused_after_admission: u64,
    /// Accepted, given up by a handler, and still parked.
    pub dead_lettered: u64,
    /// Accepted, and a retry, hold or spill is pending.
    pub in_flight: u64,
    /// Definitions, ticks and markers, which are in none of the other counts.
    pub control: u64,
    /// `refused` by reason.
    pub refused_by: Named<u64>,
}

impl Events {
    /// Whether the counts add up: offered = accepted + refused, accepted = the sum of its states, refused = the sum of
    /// its reasons.
    #[must_use]
    pub fn balanced(&self) -> bool {
        let sum = |parts: &[u64]| parts.iter().map(|&part| u128::from(part)).sum::<u128>();
        let by_reason: u128 = self.refused_by.iter().map(|(_, count)| u128::from(*count)).sum();
        let states = [
            self.delivered,
            self.coalesced,
            self.expired,
            self.refused_after_admission,
            self.dead_lettered,
            self.in_flight,
        ];
        u128::from(self.offered) == sum(&[self.accepted, self.refused])
            && u128::from(self.accepted) == sum(&states)
            && u128::from(self.refused) == by_reason
    }
}

/// Failed events of all shards. Entries are counted: an event that two handlers failed on has two.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Retries {
    /// Calls that failed, panics included.
    pub failures: u64,
    /// Calls that were given a time to try again.
    pub retries: u64,
    /// Retries that were put off to a later window, as their symbol had had its share of its live events.
    pub postponed: u64,
    /// Events that waited behind one of their symbol.
    pub held: u64,
    /// Entries whose handler was done in the end.
    pub succeeded: u64,
    /// Entries that are parked at the end, after the last attempt.
    pub parked: u64,
    /// Entries parked in the course of the run, by cause.
    pub parked_by: Named<u64>,
    /// Entries that were not kept, by reason.
    pub refused_by: Named<u64>,
}

/// A shared limit that acted.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct LimitHit {
    /// Name of the limit.
    pub name: Cow<'static, str>,
    /// Times that it acted.
    pub count: u64,
}

/// Latency of the run, in ns.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
pub struct Latency {
    /// From the time an event was due to the end of its cascade; `null` for an unpaced run.
    pub response: Option<Summary>,
    /// From the start of an event's batch to the end of its cascade.
    pub service: Summary,
    /// Parts of the way, by name.
    pub stages: Named<Summary>,
}

/// How the schedule was kept.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
pub struct Pacer {
    /// Send time minus due time while the ring had room, ns.
    pub lag_ns: Summary,
    /// Events that left [`verdict::PACER_MISSED_NS`] or more after they were due, though their ring had room.
    pub missed: u64,
    /// Events per second that the schedule asked for.
    pub requested_events_per_second: f64,
    /// Events per second that left.
    pub achieved_events_per_second: f64,
}

/// Digest of the outputs: 16 hex digits.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Digest(pub u64);

impl std::fmt::Display for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Which other runs over the same inputs must have the same digest.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DigestScope {
    /// Any: whatever speed, shards, driver and build.
    #[default]
    Any,
    /// Those with the same number of shards: a limit per shard acted.
    SameShards,
    /// None: a limit acted that depends on load.
    ThisRun,
}

impl DigestScope {
    /// Name in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Any => "any",
            Self::SameShards => "same_shards",
            Self::ThisRun => "this_run",
        }
    }
}

/// Values by name, in the order in which they were put in. In JSON an object.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Named<T>(Vec<(Cow<'static, str>, T)>);

impl<T> Named<T> {
    /// Nothing yet.
    #[must_use]
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Adds `value` under `name`, which is replaced where it is there already. O(names).
    pub fn set(&mut self, name: impl Into<Cow<'static, str>>, value: T) {
        let name = name.into();
        match self.0.iter_mut().find(|(known, _)| *known == name) {
            Some((_, known)) => *known = value,
            None => self.0.push((name, value)),
        }
    }

    /// The value under `name`. O(names).
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&T> {
        self.iter().find(|(known, _)| *known == name).map(|(_, value)| value)
    }

    /// Names and values in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &T)> + '_ {
        self.0.iter().map(|(name, value)| (name.as_ref(), value))
    }

    /// Whether there is nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<T> Default for Named<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<N: Into<Cow<'static, str>>, T> FromIterator<(N, T)> for Named<T> {
    fn from_iter<I: IntoIterator<Item = (N, T)>>(values: I) -> Self {
        let mut named = Self::new();
        for (name, value) in values {
            named.set(name, value);
        }
        named
    }
}

impl<T: Serialize> Serialize for Named<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, value) in &self.0 {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ledger_balances_only_when_all_three_sums_do() {
        let balanced = Events {
            offered: 100,
            accepted: 90,
            refused: 10,
            delivered: 60,
            coalesced: 10,
            expired: 5,
            refused_after_admission: 5,
            dead_lettered: 6,
            in_flight: 4,
            control: 3,
            refused_by: [("duplicate", 7), ("schema", 3)].into_iter().collect(),
        };
        assert!(balanced.balanced());
        assert!(Events { control: 99, ..balanced.clone() }.balanced(), "control is counted apart");
        for broken in [
            Events { offered: 101, ..balanced.clone() },
            Events { accepted: 91, offered: 101, ..balanced.clone() },
            Events { refused: 11, offered: 101, ..balanced.clone() },
            Events { delivered: 61, ..balanced.clone() },
            Events { in_flight: 5, ..balanced.clone() },
            Events { refused_by: Named::new(), ..balanced.clone() },
            Events { offered: u64::MAX, accepted: u64::MAX, delivered: u64::MAX, ..balanced },
        ] {
            assert!(!broken.balanced(), "{broken:?}");
        }
    }

    #[test]
    fn names_keep_their_order_and_are_unique() {
        let mut named: Named<u64> = [("trade", 1), ("quote", 2), ("trade", 3)].into_iter().collect();
        named.set(String::from("bar"), 4);
        assert_eq!(named.iter().collect::<Vec<_>>(), [("trade", &3), ("quote", &2), ("bar", &4)]);
        assert_eq!((named.get("quote"), named.get("news")), (Some(&2), None));
        assert_eq!(serde_json::to_string(&named).unwrap(), r#"{"trade":3,"quote":2,"bar":4}"#);
    }

    #[test]
    fn a_digest_has_sixteen_digits() {
        assert_eq!(Digest(0xbeef).to_string(), "000000000000beef");
        assert_eq!(serde_json::to_string(&Digest(u64::MAX)).unwrap(), "\"ffffffffffffffff\"");
        for scope in [DigestScope::Any, DigestScope::SameShards, DigestScope::ThisRun] {
            assert_eq!(serde_json::to_string(&scope).unwrap(), format!("\"{}\"", scope.name()));
        }
    }
}
