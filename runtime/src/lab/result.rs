//! Results of replays, read back from what `tapeline replay --format json` printed: a line each.
//!
//! Only what is compared is read. Fields that this build does not know are left alone, so that results of other versions are read as
//! well, and those that a version does not have yet are empty.

use serde::{Deserialize, Deserializer};
use std::io::{self, BufRead, Read};

/// Bytes of one result at most: a thousand slow events and hundreds of handlers have less than a tenth of that.
pub const RESULT_BYTES_MAX: u64 = 16 << 20;

/// The result of one replay.
#[derive(Clone, PartialEq, Debug, Deserialize)]
pub struct Outcome {
    /// `tapeline`.
    tool: String,
    /// `replay`.
    command: String,
    /// Version of the build.
    #[serde(default)]
    pub version: String,
    /// What was run, on what.
    pub manifest: Manifest,
    /// The ledger of source events.
    pub events: Events,
    /// Whether it adds up.
    pub ledger_balanced: bool,
    /// Whether it was ended by a signal.
    #[serde(default)]
    pub interrupted: bool,
    /// Events per second.
    pub events_per_second: f64,
    /// Latencies.
    pub latency_ns: Latency,
    /// How the schedule was kept; `None` without one.
    #[serde(default)]
    pub pacer: Option<Pacer>,
    /// Whether full rings held up more of the events than 1 %.
    pub saturated: bool,
    /// Whether it may be believed.
    pub verdict: Verdict,
    /// Digest of the outputs, hex.
    pub digest: String,
    /// Which other runs must have the same: `any`, `same_shards`, `this_run`.
    pub digest_scope: String,
}

/// What was run, on what, where.
#[derive(Clone, PartialEq, Debug, Default, Deserialize)]
pub struct Manifest {
    /// The inputs.
    #[serde(default)]
    pub captures: Vec<Capture>,
    /// SHA-256 of the effective configuration.
    #[serde(default)]
    pub config_sha256: Option<String>,
    /// Driver.
    #[serde(default)]
    pub driver: String,
    /// Number of shards.
    #[serde(default)]
    pub shards: u64,
    /// Speed: a number, or `"max"`.
    #[serde(default)]
    pub speed: serde_json::Value,
    /// Constant rate, events per second.
    #[serde(default)]
    pub rate: Option<f64>,
    /// Processor.
    #[serde(default)]
    pub cpu: Option<String>,
    /// Commit of the build.
    #[serde(default)]
    pub commit: Option<String>,
    /// Whether any input is generated.
    #[serde(default)]
    pub generated: bool,
    /// Passes over the inputs.
    #[serde(default)]
    pub loops: u64,
}

/// One input.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
pub struct Capture {
    /// Name as the user gave it.
    pub path: String,
    /// SHA-256; `None` = not computed.
    #[serde(default)]
    pub sha256: Option<String>,
}

/// The ledger's counts that matter here.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize)]
pub struct Events {
    /// Events that shards took from their rings.
    pub offered: u64,
    /// Of these, refused at admission.
    #[serde(default)]
    pub refused: u64,
}

/// Latencies, ns.
#[derive(Clone, Copy, PartialEq, Debug, Default, Deserialize)]
pub struct Latency {
    /// From the instant at which events were due; `None` without a schedule.
    pub response: Option<Tail>,
    /// From the start of their batches.
    pub service: Tail,
}

/// What a distribution of times says, ns. `None` = could not be told.
#[derive(Clone, Copy, PartialEq, Debug, Default, Deserialize)]
pub struct Tail {
    /// Samples.
    pub count: u64,
    /// Median.
    #[serde(default, deserialize_with = "finite")]
    pub p50: Option<f64>,
    /// 90th percentile.
    #[serde(default, deserialize_with = "finite")]
    pub p90: Option<f64>,
    /// 99th percentile.
    #[serde(default, deserialize_with = "finite")]
    pub p99: Option<f64>,
    /// 99.9th percentile.
    #[serde(default, deserialize_with = "finite")]
    pub p99_9: Option<f64>,
    /// 99.99th percentile.
    #[serde(default, deserialize_with = "finite")]
    pub p99_99: Option<f64>,
    /// Largest.
    #[serde(default, deserialize_with = "finite")]
    pub max: Option<f64>,
}

/// A time is a number that is not negative.
fn finite<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<f64>, D::Error> {
    let value = Option::<f64>::deserialize(deserializer)?;
    match value {
        Some(value) if !value.is_finite() || value < 0.0 => {
            Err(serde::de::Error::custom(format!("{value} is no time")))
        }
        value => Ok(value),
    }
}

/// How the schedule was kept.
#[derive(Clone, Copy, PartialEq, Debug, Default, Deserialize)]
pub struct Pacer {
    /// Events per second that it asked for.
    pub requested_events_per_second: f64,
    /// Events per second that left.
    pub achieved_events_per_second: f64,
}

/// Whether a run may be believed.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
pub struct Verdict {
    /// No reason against it.
    pub valid: bool,
    /// The reasons.
    #[serde(default)]
    pub reasons: Vec<String>,
}

/// Why results cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ResultError {
    /// The file cannot be read.
    #[error("{path}: cannot read: {error}")]
    Io {
        /// Name of the file.
        path: String,
        /// Why.
        error: io::Error,
    },
    /// It holds something else.
    #[error("{path}: no results of `tapeline replay --format json`: line {line}: {why}")]
    NotRecognised {
        /// Name of the file.
        path: String,
        /// Number of the line, from 1.
        line: u64,
        /// Why.
        why: String,
    },
    /// It holds results, and then something that is none.
    #[error("{path}: damaged at line {line}, byte {offset}: {why}; {before} results before it were read")]
    Damaged {
        /// Name of the file.
        path: String,
        /// Number of the line, from 1.
        line: u64,
        /// Bytes before the line.
        offset: u64,
        /// Why.
        why: String,
        /// Results before it.
        before: usize,
    },
}

impl ResultError {
    /// The exit code: 3 where there was something before it, 2 else.
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::Damaged { .. } => 3,
            Self::Io { .. } | Self::NotRecognised { .. } => 2,
        }
    }
}

/// One line of JSON as the result of a replay.
///
/// # Errors
/// With why it is none.
pub fn outcome(line: &str) -> Result<Outcome, String> {
    /// Who says so is asked first: the result of another verb has other fields.
    #[derive(Deserialize)]
    struct Whose {
        tool: Option<String>,
        command: Option<String>,
    }
    let whose: Whose = serde_json::from_str(line).map_err(|error| error.to_string())?;
    match (whose.tool.as_deref(), whose.command.as_deref()) {
        (Some("tapeline"), Some("replay")) => serde_json::from_str(line).map_err(|error| error.to_string()),
        (Some("tapeline"), Some(other)) => Err(format!("this is the result of `tapeline {other}`, not of a replay")),
        _ => Err("JSON, but no result of tapeline".to_owned()),
    }
}

/// All results of a file, in its order; empty lines are left out. With damage behind the first one, what came before it stands, and the
/// error is with it.
///
/// # Errors
/// When it cannot be read, or does not begin with a result.
pub fn read(path: &str, mut reader: impl BufRead) -> Result<(Vec<Outcome>, Option<ResultError>), ResultError> {
    let (mut outcomes, mut line, mut number, mut offset) = (Vec::new(), Vec::new(), 0, 0);
    loop {
        line.clear();
        let length = match (&mut reader).take(RESULT_BYTES_MAX + 1).read_until(b'\n', &mut line) {
            Ok(length) => length,
            Err(error) => return Err(ResultError::Io { path: path.to_owned(), error }),
        };
        if length == 0 {
            break;
        }
        number += 1;
        let text = if length as u64 > RESULT_BYTES_MAX {
            Err(format!("a line of more than {} MiB", RESULT_BYTES_MAX >> 20))
        } else {
            std::str::from_utf8(&line).map_err(|_| "no UTF-8".to_owned())
        };
        match text.and_then(|text| if text.trim().is_empty() { Ok(None) } else { outcome(text).map(Some) }) {
            Ok(found) => outcomes.extend(found),
            Err(why) if outcomes.is_empty() => {
                return Err(ResultError::NotRecognised { path: path.to_owned(), line: number, why });
            }
            Err(why) => {
                let before = outcomes.len();
                let damage = ResultError::Damaged { path: path.to_owned(), line: number, offset, why, before };
                return Ok((outcomes, Some(damage)));
            }
        }
        offset += length as u64;
    }
    if outcomes.is_empty() {
        return Err(ResultError::NotRecognised { path: path.to_owned(), line: 1, why: "nothing is there".to_owned() });
    }
    Ok((outcomes, None))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A line of a paced result with these values, ns.
    pub(crate) fn line(p50: f64, p99: f64) -> String {
        let tail = |p50: f64, p99: f64| {
            format!(
                r#"{{"count":5000,"min":1,"p50":{p50},"p90":{p50},"p99":{p99},"p99_9":null,"p99_99":null,"max":{p99},"mean":{p50}}}"#
            )
        };
        format!(
            r#"{{"tool":"tapeline","version":"0.1.0","command":"replay","manifest":{{"captures":[{{"path":"a.tape","sha256":"ab"}}],"config_sha256":"cc","driver":"threads","shards":1,"cpu":"c","commit":null,"generated":false,"loops":1,"more":[1,2]}},"events":{{"offered":5000,"refused":0}},"ledger_balanced":true,"interrupted":false,"elapsed_ns":1,"events_per_second":1000.5,"latency_ns":{{"response":{},"service":{},"stages":{{}}}},"pacer":{{"lag_ns":{{}},"missed":0,"requested_events_per_second":1001.0,"achieved_events_per_second":1000.0}},"saturated":false,"verdict":{{"valid":true,"reasons":[],"notes":[]}},"digest":"0123456789abcdef","digest_scope":"any"}}"#,
            tail(p50, p99),
            tail(p50 / 2.0, p99 / 2.0)
        )
    }

    #[test]
    fn a_result_is_read_back() {
        let outcome = outcome(&line(900.0, 4_000.0)).unwrap();
        let response = outcome.latency_ns.response.unwrap();
        assert_eq!((response.p50, response.p99, response.p99_9), (Some(900.0), Some(4_000.0), None));
        assert_eq!(outcome.manifest.captures[0].sha256.as_deref(), Some("ab"));
        assert!(outcome.verdict.valid && outcome.pacer.unwrap().achieved_events_per_second == 1_000.0);
    }

    #[test]
    fn a_line_without_an_end_is_not_waited_for() {
        let error = read("zero", io::BufReader::new(io::repeat(0))).unwrap_err();
        assert!(error.exit_code() == 2 && error.to_string().contains("more than 16 MiB"), "{error}");
        let whole = line(1.0, 2.0) + "\n";
        let then = io::BufReader::new(whole.as_bytes().chain(io::repeat(b'x')));
        let (outcomes, damage) = read("zero", then).unwrap();
        assert_eq!((outcomes.len(), damage.unwrap().exit_code()), (1, 3));
    }

    #[test]
    fn what_is_no_result_says_why() {
        for (text, part) in [
            ("latency table", "expected value"),
            ("[1]", "expected"),
            ("{\"a\":1}", "no result of tapeline"),
            ("{\"tool\":\"tapeline\",\"command\":\"doctor\"}", "tapeline doctor"),
            ("{\"tool\":\"tapeline\",\"command\":\"replay\"}", "missing field"),
        ] {
            let why = outcome(text).unwrap_err();
            assert!(why.contains(part), "{why}");
        }
        // A time below zero is none.
        assert!(outcome(&line(-1.0, 5.0)).unwrap_err().contains("no time"));
        assert!(outcome(&line(1.0, 5.0).replace("5000,\"min\"", "-5,\"min\"")).is_err());
    }

    /// Cut at every byte: what came before stands, and the place is that of the line that was cut.
    #[test]
    fn a_file_cut_anywhere_gives_the_results_before() {
        let one = line(900.0, 4_000.0) + "\n";
        let whole = format!("{one}\n{one}");
        for cut in 0..=whole.len() {
            let found = read("r.json", &whole.as_bytes()[..cut]);
            // A line without its line feed is whole.
            let (first, second) = (one.len() - 1, one.len() + 1);
            if cut < first {
                let error = found.unwrap_err();
                assert_eq!(error.exit_code(), 2, "{cut}: {error}");
            } else if cut <= second {
                let (outcomes, damage) = found.unwrap();
                assert!(outcomes.len() == 1 && damage.is_none(), "{cut}");
            } else if cut < whole.len() - 1 {
                let (outcomes, damage) = found.unwrap();
                let damage = damage.unwrap();
                assert_eq!((outcomes.len(), damage.exit_code()), (1, 3), "{cut}");
                assert!(damage.to_string().contains(&format!("line 3, byte {second}")), "{damage}");
            } else {
                assert_eq!(found.unwrap().0.len(), 2, "{cut}");
            }
        }
        assert_eq!(read("r.json", &b"\xff\xfe"[..]).unwrap_err().exit_code(), 2);
    }
}
