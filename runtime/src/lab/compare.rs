//! Two sets of results of the same thing, A and B: is B faster, slower, the same, or can nobody tell?
//!
//! Each metric is judged by three things: the bootstrap interval of the ratio of its medians, the noise floor of A against itself, and
//! its gate, the change that matters to whoever asks. With `c` the cost of B over that of A (time over time; for throughput the
//! other way round):
//!
//! - *slower*: the whole interval of `c` is above 1, and `c` is above the noise floor;
//! - *faster*: the same downwards;
//! - *same*: neither, and the whole interval is within the gate either way;
//! - *cannot tell*: all else, with the reason.
//!
//! A *regression* is a metric that is slower by more than its gate.

use super::result::{Outcome, Tail};
use super::slo::Quantile;
use super::stats::{RESAMPLES, SEED, VALUES_MIN, median, noise_floor, ratio_of_medians};
use serde::{Serialize, Serializer};
use std::collections::BTreeSet;

/// Largest changes, as shares, that are no regressions.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct Gates {
    /// Of the median.
    pub p50: f64,
    /// Of p99 and above.
    pub p99: f64,
    /// Of events per second, in runs without a schedule.
    pub throughput: f64,
}

impl Default for Gates {
    /// 3 % of the median and of throughput, 10 % of the tail: what is seldom exceeded by two runs of the same thing on a quiet machine.
    fn default() -> Self {
        Self { p50: 0.03, p99: 0.10, throughput: 0.03 }
    }
}

impl Gates {
    /// Reads `p50=3%,p99=10%`: those that are not named stay as they are.
    ///
    /// # Errors
    /// With what is wrong.
    pub fn set(&mut self, text: &str) -> Result<(), String> {
        for part in text.split(',') {
            let (name, share) = part.split_once('=').ok_or_else(|| format!("{part:?}: no =, as in p50=3%"))?;
            let digits = share.trim().strip_suffix('%').ok_or_else(|| format!("{share:?}: no %, as in p50=3%"))?;
            let share = digits.trim().parse::<f64>().ok().filter(|share| share.is_finite() && *share >= 0.0);
            let share = share.ok_or_else(|| format!("{digits:?}: no number of at least 0"))? / 100.0;
            match name.trim() {
                "p50" => self.p50 = share,
                "p99" => self.p99 = share,
                "throughput" => self.throughput = share,
                other => return Err(format!("{other:?} has no gate: p50, p99 (and above), throughput")),
            }
        }
        Ok(())
    }
}

/// What is said of a metric, or of all of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Call {
    /// B takes less.
    Faster,
    /// B takes more.
    Slower,
    /// No difference that matters.
    Same,
    /// The runs do not say.
    CannotTell,
}

impl Call {
    /// In JSON and in the table.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Faster => "faster",
            Self::Slower => "slower",
            Self::Same => "same",
            Self::CannotTell => "cannot tell",
        }
    }
}

impl Serialize for Call {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// How two sets of runs are compared.
#[derive(Clone, PartialEq, Debug)]
pub struct Options {
    /// What matters.
    pub gates: Gates,
    /// Whether runs whose verdict is *invalid* count as well.
    pub takes_invalid: bool,
    /// Version of the build.
    pub version: String,
    /// Names of the sides: files, binaries, configurations.
    pub names: [String; 2],
}

/// One side.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Side {
    /// Its name.
    pub name: String,
    /// Runs that there were.
    pub runs: usize,
    /// Of these, runs that are compared.
    pub used: usize,
    /// Runs that the machine disturbed; left out unless they were asked for.
    pub invalid: usize,
    /// Runs that a signal ended; left out.
    pub interrupted: usize,
    /// Runs whose ledger does not add up; left out.
    pub unbalanced: usize,
    /// Compared runs that could not keep up.
    pub saturated: usize,
    /// Digests of the outputs of all runs that came to their end.
    pub digests: Vec<String>,
}

/// One metric of both sides.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Metric {
    /// `p50`, `p99`, `p99.9`, `p99.99`, `throughput`.
    pub name: &'static str,
    /// `ns`, or `events/s`, of which more is better.
    pub unit: &'static str,
    /// Median of A; `null` = no run told it.
    pub a: Option<f64>,
    /// Median of B.
    pub b: Option<f64>,
    /// Runs of A that told it.
    pub a_runs: usize,
    /// Runs of B that told it.
    pub b_runs: usize,
    /// Median of B over median of A.
    pub ratio: Option<f64>,
    /// Lower end of its 95 % interval.
    pub low: Option<f64>,
    /// Upper end.
    pub high: Option<f64>,
    /// Factor that two halves of A's own runs differ by, in 95 % of all ways to halve them.
    pub noise_floor: Option<f64>,
    /// Its gate, as a share.
    pub gate: f64,
    /// What it says.
    pub verdict: Call,
    /// Slower by more than its gate.
    pub regression: bool,
    /// Why nothing can be told; `null` elsewhere.
    pub why: Option<String>,
}

/// Whether both sides made the same outputs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outputs {
    /// Every run made the same.
    Equal,
    /// They did not.
    Different,
    /// Nothing says that they would have to be: a limit acted that depends on load, or on the number of shards.
    NotComparable,
}

/// Something that is not the same on both sides.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Difference {
    /// What: `captures`, `config`, `shards`.
    pub what: &'static str,
    /// On side A.
    pub a: String,
    /// On side B.
    pub b: String,
}

/// What two sets of runs are to each other. Its field order is that of the JSON.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Comparison {
    /// `tapeline`.
    pub tool: &'static str,
    /// Version of the build.
    pub version: String,
    /// `compare`.
    pub command: &'static str,
    /// What all metrics together say.
    pub verdict: Call,
    /// Any metric is slower by more than its gate.
    pub regression: bool,
    /// Why, in a sentence.
    pub why: String,
    /// `response` or, without a schedule, `service`.
    pub basis: &'static str,
    /// The metrics.
    pub metrics: Vec<Metric>,
    /// Side A: what B is measured against.
    pub a: Side,
    /// Side B.
    pub b: Side,
    /// Whether they made the same outputs.
    pub outputs: Outputs,
    /// What else is not the same on both sides.
    pub differences: Vec<Difference>,
    /// The gates, as shares.
    pub gates: Gates,
    /// Resamples of each interval.
    pub resamples: usize,
    /// Their seed.
    pub seed: u64,
}

impl Comparison {
    /// The exit code: 1 for a regression, a ledger that does not add up, and outputs that are not equal unless that is allowed; else 0.
    #[must_use]
    pub fn exit_code(&self, allows_different_outputs: bool) -> u8 {
        let is_unbalanced = self.a.unbalanced + self.b.unbalanced > 0;
        let differs = self.outputs == Outputs::Different && !allows_different_outputs;
        u8::from(self.regression || is_unbalanced || differs)
    }

    /// As one line of JSON, without a line feed.
    #[must_use]
    pub fn json(&self) -> String {
        serde_json::to_string(self).expect("text keys only, written to memory")
    }
}

/// Compares B with A.
///
/// # Errors
/// When there is nothing to compare: a side has no run, or some runs have a schedule and others have none.
pub fn compare(a: &[Outcome], b: &[Outcome], options: &Options) -> Result<Comparison, String> {
    let is_paced = |runs: &[Outcome]| runs.iter().filter(|run| run.latency_ns.response.is_some()).count();
    for (runs, name) in [(a, &options.names[0]), (b, &options.names[1])] {
        let paced = is_paced(runs);
        if runs.is_empty() {
            return Err(format!("{name}: no runs"));
        }
        if paced > 0 && paced < runs.len() {
            return Err(format!("{name}: {paced} of {} runs have a schedule, the others have none", runs.len()));
        }
    }
    let paced = is_paced(a) > 0;
    if paced != (is_paced(b) > 0) {
        let (with, without) = if paced { (0, 1) } else { (1, 0) };
        let (with, without) = (&options.names[with], &options.names[without]);
        return Err(format!(
            "{with} was run by a schedule and {without} without one: their times mean different things"
        ));
    }
    let takes =
        |run: &&Outcome| !run.interrupted && run.ledger_balanced && (run.verdict.valid || options.takes_invalid);
    let (used_a, used_b): (Vec<&Outcome>, Vec<&Outcome>) =
        (a.iter().filter(takes).collect(), b.iter().filter(takes).collect());
    let mut metrics = Vec::new();
    if !paced {
        let rate = |run: &Outcome| Some(run.events_per_second).filter(|rate| rate.is_finite() && *rate >= 0.0);
        metrics.push(judge("throughput", options.gates.throughput, &values(&used_a, rate), &values(&used_b, rate)));
    }
    for quantile in [Quantile::P50, Quantile::P99, Quantile::P999, Quantile::P9999] {
        let gate = if quantile == Quantile::P50 { options.gates.p50 } else { options.gates.p99 };
        let value = |run: &Outcome| quantile.of(&tail(run));
        metrics.push(judge(quantile.name(), gate, &values(&used_a, value), &values(&used_b, value)));
    }
    let (verdict, why) = overall(&metrics);
    Ok(Comparison {
        tool: "tapeline",
        version: options.version.clone(),
        command: "compare",
        verdict,
        regression: metrics.iter().any(|metric| metric.regression),
        why,
        basis: if paced { "response" } else { "service" },
        metrics,
        a: side(&options.names[0], a, &used_a),
        b: side(&options.names[1], b, &used_b),
        outputs: outputs(a, b),
        differences: differences(a, b),
        gates: options.gates,
        resamples: RESAMPLES,
        seed: SEED,
    })
}

/// The times that count: from the schedule where there is one.
fn tail(run: &Outcome) -> Tail {
    run.latency_ns.response.unwrap_or(run.latency_ns.service)
}

fn values(runs: &[&Outcome], value: impl Fn(&Outcome) -> Option<f64>) -> Vec<f64> {
    runs.iter().filter_map(|run| value(run)).collect()
}

/// One metric from its values on both sides, each at least 0 and finite; `throughput` is the one of which more is better.
#[must_use]
pub fn judge(name: &'static str, gate: f64, a: &[f64], b: &[f64]) -> Metric {
    let is_rate = name == "throughput";
    let interval = ratio_of_medians(a, b, RESAMPLES, SEED);
    let floor = noise_floor(a, RESAMPLES, SEED);
    let mut metric = Metric {
        name,
        unit: if is_rate { "events/s" } else { "ns" },
        a: median(a),
        b: median(b),
        a_runs: a.len(),
        b_runs: b.len(),
        ratio: interval.map(|interval| interval.ratio),
        low: interval.map(|interval| interval.low),
        high: interval.map(|interval| interval.high),
        noise_floor: floor,
        gate,
        verdict: Call::CannotTell,
        regression: false,
        why: None,
    };
    let (Some(interval), Some(floor)) = (interval, floor) else {
        metric.why = Some(match (a.len(), b.len()) {
            (0, 0) => "no run tells it".to_owned(),
            (a, b) => format!("runs that tell it: {a} of A and {b} of B, and {VALUES_MIN} of each are needed"),
        });
        return metric;
    };
    // What B costs of what A does: of a rate, the inverse.
    let (cost, low, high) = if is_rate {
        (interval.ratio.recip(), interval.high.recip(), interval.low.recip())
    } else {
        (interval.ratio, interval.low, interval.high)
    };
    if !(cost.is_finite() && cost > 0.0 && floor.is_finite()) {
        metric.why = Some("a median of 0 has no ratio".to_owned());
        return metric;
    }
    let percent = |factor: f64| (factor - 1.0) * 100.0;
    metric.verdict = if low > 1.0 && cost > floor {
        Call::Slower
    } else if high < 1.0 && cost.recip() > floor {
        Call::Faster
    } else if high <= 1.0 + gate && low >= (1.0 + gate).recip() {
        Call::Same
    } else {
        let is_apart = low > 1.0 || high < 1.0;
        metric.why = Some(if is_apart {
            format!("the difference is within the noise floor of {:.1} %", percent(floor))
        } else {
            format!("the interval holds no change, and reaches beyond the gate of {:.1} %", gate * 100.0)
        });
        Call::CannotTell
    };
    metric.regression = metric.verdict == Call::Slower && cost > 1.0 + gate;
    metric
}

/// By what B's cost differs from A's, as a share: above 0 is slower.
fn change(metric: &Metric) -> f64 {
    let ratio = metric.ratio.unwrap_or(1.0);
    if metric.unit == "ns" { ratio - 1.0 } else { ratio.recip() - 1.0 }
}

/// All metrics together. The worst regression decides; else what has to be known and is not; else what is faster by more than its
/// gate. That p99.9 and p99.99 are not told stands in the way of nothing: they need more samples than most runs have.
fn overall(metrics: &[Metric]) -> (Call, String) {
    let by = |metric: &Metric| {
        let share = metric.ratio.map_or(0.0, |ratio| (ratio - 1.0) * 100.0);
        format!("{} by {share:+.1} % (gate {:.1} %)", metric.name, metric.gate * 100.0)
    };
    let list = |metrics: &[&Metric]| metrics.iter().map(|metric| by(metric)).collect::<Vec<_>>().join(", ");
    let regressions: Vec<&Metric> = metrics.iter().filter(|metric| metric.regression).collect();
    if !regressions.is_empty() {
        return (Call::Slower, list(&regressions));
    }
    let needed = |metric: &&Metric| ["throughput", "p50", "p99"].contains(&metric.name);
    let unknown = metrics.iter().filter(needed).find(|metric| metric.verdict == Call::CannotTell);
    if let Some(metric) = unknown {
        let why = metric.why.as_deref().unwrap_or("the runs do not say");
        return (Call::CannotTell, format!("{}: {why}", metric.name));
    }
    let faster: Vec<&Metric> = metrics
        .iter()
        .filter(|metric| metric.verdict == Call::Faster && (1.0 + change(metric)).recip() > 1.0 + metric.gate)
        .collect();
    if !faster.is_empty() {
        // What is slower all the same is so within its gate, or it were a regression. It is no secret.
        let slower: Vec<&Metric> = metrics.iter().filter(|metric| metric.verdict == Call::Slower).collect();
        let but =
            if slower.is_empty() { String::new() } else { format!("; slower within its gate: {}", list(&slower)) };
        return (Call::Faster, list(&faster) + &but);
    }
    (Call::Same, "no metric has changed by more than its gate".to_owned())
}

fn side(name: &str, runs: &[Outcome], used: &[&Outcome]) -> Side {
    let count = |is: &dyn Fn(&Outcome) -> bool| runs.iter().filter(|run| is(run)).count();
    let whole = runs.iter().filter(|run| !run.interrupted);
    let digests: BTreeSet<&str> = whole.map(|run| run.digest.as_str()).collect();
    Side {
        name: name.to_owned(),
        runs: runs.len(),
        used: used.len(),
        invalid: count(&|run| !run.verdict.valid),
        interrupted: count(&|run| run.interrupted),
        unbalanced: count(&|run| !run.ledger_balanced),
        saturated: used.iter().filter(|run| run.saturated).count(),
        digests: digests.into_iter().map(str::to_owned).collect(),
    }
}

/// Invalid runs count as well: outputs do not depend on how quiet the machine was.
fn outputs(a: &[Outcome], b: &[Outcome]) -> Outputs {
    let whole: Vec<&Outcome> = a.iter().chain(b).filter(|run| !run.interrupted).collect();
    let scopes: BTreeSet<&str> = whole.iter().map(|run| run.digest_scope.as_str()).collect();
    let shards: BTreeSet<u64> = whole.iter().map(|run| run.manifest.shards).collect();
    let has_scope = |scope: &str| scopes.contains(scope);
    let depends_on_shards = has_scope("same_shards") && shards.len() > 1;
    let is_known = scopes.iter().all(|scope| ["any", "same_shards"].contains(scope));
    if whole.is_empty() || !is_known || depends_on_shards {
        return Outputs::NotComparable;
    }
    let digests: BTreeSet<&str> = whole.iter().map(|run| run.digest.as_str()).collect();
    if digests.len() == 1 { Outputs::Equal } else { Outputs::Different }
}

/// By name, what a run says of how it was made.
type Fact = (&'static str, fn(&Outcome) -> String);

fn differences(a: &[Outcome], b: &[Outcome]) -> Vec<Difference> {
    let facts: [Fact; 10] = [
        ("captures", captures),
        ("events", |run| run.events.offered.to_string()),
        ("config", |run| short(run.manifest.config_sha256.as_deref())),
        ("version", |run| run.version.clone()),
        ("commit", |run| short(run.manifest.commit.as_deref())),
        ("driver", |run| run.manifest.driver.clone()),
        ("shards", |run| run.manifest.shards.to_string()),
        ("speed", speed),
        ("loops", |run| run.manifest.loops.to_string()),
        ("cpu", |run| run.manifest.cpu.clone().unwrap_or_else(|| "unknown".to_owned())),
    ];
    let all = |runs: &[Outcome], fact: fn(&Outcome) -> String| {
        let distinct: BTreeSet<String> = runs.iter().filter(|run| !run.interrupted).map(fact).collect();
        distinct.into_iter().collect::<Vec<_>>().join(" or ")
    };
    let found = facts.into_iter().map(|(what, fact)| Difference { what, a: all(a, fact), b: all(b, fact) });
    found.filter(|difference| difference.a != difference.b).collect()
}

/// The schedule.
fn speed(run: &Outcome) -> String {
    match (run.manifest.rate, run.manifest.speed.as_str()) {
        (Some(rate), _) => format!("rate {rate}"),
        (None, Some(max)) => max.to_owned(),
        (None, None) => run.manifest.speed.to_string(),
    }
}

/// By content where it is known, else by name.
fn captures(run: &Outcome) -> String {
    let named = run.manifest.captures.iter().map(|capture| match &capture.sha256 {
        Some(sha256) => format!("sha256 {}", short(Some(sha256))),
        None => capture.path.clone(),
    });
    named.collect::<Vec<_>>().join(" + ")
}

/// The first twelve digits of a hash: enough to tell two apart.
fn short(hash: Option<&str>) -> String {
    hash.map_or_else(|| "unknown".to_owned(), |hash| hash.chars().take(12).collect())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::super::result;
    use super::*;
    use crate::lab::stats::Prng;

    pub(crate) fn options() -> Options {
        Options {
            gates: Gates::default(),
            takes_invalid: false,
            version: "0.1.0".to_owned(),
            names: ["a.json".to_owned(), "b.json".to_owned()],
        }
    }

    /// Paced results with these medians, and a p99 five times as long.
    pub(crate) fn runs(p50s: impl IntoIterator<Item = f64>) -> Vec<Outcome> {
        p50s.into_iter().map(|p50| result::outcome(&result::tests::line(p50, p50 * 5.0)).unwrap()).collect()
    }

    /// `count` values around `centre`, each within 1 % of it.
    pub(crate) fn around(centre: f64, count: usize, seed: u64) -> Vec<f64> {
        let mut prng = Prng::new(seed);
        (0..count).map(|_| centre * (0.99 + prng.index(1_000) as f64 / 50_000.0)).collect()
    }

    fn verdict(a: &[Outcome], b: &[Outcome]) -> (Call, bool) {
        let found = compare(a, b, &options()).unwrap();
        (found.verdict, found.regression)
    }

    #[test]
    fn known_answers() {
        for seed in 0..10 {
            let a = runs(around(1_000.0, 10, seed));
            let other = |centre: f64| runs(around(centre, 10, seed + 100));
            assert_eq!(verdict(&a, &other(1_300.0)), (Call::Slower, true), "seed {seed}");
            assert_eq!(verdict(&a, &other(700.0)), (Call::Faster, false), "seed {seed}");
            assert_eq!(verdict(&a, &other(1_000.0)), (Call::Same, false), "seed {seed}");
            assert_eq!(verdict(&a, &a), (Call::Same, false), "seed {seed}");
        }
    }

    #[test]
    fn slower_within_the_gate_is_no_regression() {
        let metric = judge("p99", 0.10, &around(1_000.0, 10, 1), &around(1_060.0, 10, 2));
        assert_eq!((metric.verdict, metric.regression), (Call::Slower, false), "{metric:?}");
        let metric = judge("p50", 0.03, &around(1_000.0, 10, 1), &around(1_060.0, 10, 2));
        assert_eq!((metric.verdict, metric.regression), (Call::Slower, true), "{metric:?}");
    }

    /// A median that has become much better is not made "the same" by a tail that is a little worse, within what is allowed.
    #[test]
    fn faster_with_a_slower_tail_within_its_gate_is_faster_and_says_so() {
        let a = around(1_000.0, 12, 5);
        let p50 = judge("p50", 0.03, &a, &around(700.0, 12, 6));
        let p99 = judge("p99", 0.10, &a, &around(1_000.0, 12, 7));
        let p999 = judge("p99.9", 0.10, &a, &around(1_060.0, 12, 8));
        assert_eq!((p50.verdict, p99.verdict, p999.verdict), (Call::Faster, Call::Same, Call::Slower));
        assert!(!p999.regression);
        let (call, why) = overall(&[p50.clone(), p99.clone(), p999]);
        assert!(
            call == Call::Faster && why.contains("p50 by -") && why.contains("; slower within its gate: p99.9 by +"),
            "{why}"
        );
        let (call, why) = overall(&[p50, p99]);
        assert!(call == Call::Faster && !why.contains("slower"), "{why}");
    }

    #[test]
    fn more_throughput_is_faster() {
        let (less, more) = (around(1e6, 10, 1), around(1.2e6, 10, 2));
        assert_eq!(judge("throughput", 0.03, &less, &more).verdict, Call::Faster);
        let metric = judge("throughput", 0.03, &more, &less);
        assert_eq!((metric.verdict, metric.regression, metric.unit), (Call::Slower, true, "events/s"));
    }

    #[test]
    fn what_is_below_the_noise_floor_is_never_faster_or_slower() {
        // A has two modes, 1 and 2; all of B lies just above the upper one.
        let a = [1.0, 1.0, 1.0, 1.0, 1.0, 2.0, 2.0, 2.0, 2.0, 2.0];
        let metric = judge("p50", 0.03, &a, &[2.1; 10]);
        assert_eq!(metric.noise_floor, Some(2.0));
        assert_eq!(metric.verdict, Call::CannotTell);
        assert!(metric.why.unwrap().contains("noise floor of 100.0 %"));
        for seed in 0..50 {
            let mut prng = Prng::new(seed);
            let mut values = |centre: f64| (0..8).map(|_| centre + prng.index(100) as f64).collect::<Vec<_>>();
            let metric = judge("p99", 0.1, &values(300.0), &values(330.0));
            if [Call::Faster, Call::Slower].contains(&metric.verdict) {
                let (ratio, floor) = (metric.ratio.unwrap(), metric.noise_floor.unwrap());
                assert!(ratio.max(ratio.recip()) > floor, "seed {seed}: {metric:?}");
            }
        }
    }

    #[test]
    fn few_runs_cannot_tell() {
        for (a, b) in [(2, 2), (1, 10), (10, 1), (5, 5)] {
            let found = compare(&runs(around(1e3, a, 1)), &runs(around(2e3, b, 2)), &options()).unwrap();
            assert_eq!((found.verdict, found.regression), (Call::CannotTell, false), "{a} {b}");
            assert!(found.why.contains("6 of each are needed"), "{}", found.why);
            assert_eq!(found.exit_code(false), 0);
        }
        assert_eq!(compare(&[], &runs([1.0]), &options()).unwrap_err(), "a.json: no runs");
        let none = judge("p99.9", 0.1, &[], &[]);
        assert_eq!((none.verdict, none.a, none.why.as_deref()), (Call::CannotTell, None, Some("no run tells it")));
        let zero = judge("p50", 0.03, &[0.0; 6], &[5.0; 6]);
        assert_eq!((zero.verdict, zero.why.as_deref()), (Call::CannotTell, Some("a median of 0 has no ratio")));
        assert_eq!(judge("p50", 0.03, &[0.0; 6], &[0.0; 6]).verdict, Call::Same);
    }

    #[test]
    fn wide_intervals_cannot_tell() {
        let (a, b) = ([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0], [1.5, 2.5, 3.5, 4.5, 5.5, 6.5, 7.5]);
        let metric = judge("p50", 0.03, &a, &b);
        assert_eq!(metric.verdict, Call::CannotTell);
        assert!(metric.why.unwrap().contains("reaches beyond the gate of 3.0 %"));
        // A gate that is wide enough makes them the same.
        assert_eq!(judge("p50", 9.0, &a, &b).verdict, Call::Same);
    }

    #[test]
    fn runs_that_say_nothing_are_left_out_and_counted() {
        let (a, mut b) = (runs(around(1e3, 8, 1)), runs(around(1e3, 9, 2)));
        b.extend(runs([9e9, 9e9, 9e9]));
        b[9].verdict.valid = false;
        b[10].interrupted = true;
        b[10].digest = "half".to_owned();
        b[11].ledger_balanced = false;
        b[11].verdict.valid = false;
        let found = compare(&a, &b, &options()).unwrap();
        let side = &found.b;
        let counts = [side.runs, side.used, side.invalid, side.interrupted, side.unbalanced];
        assert_eq!(counts, [12, 9, 2, 1, 1]);
        assert_eq!((found.verdict, found.outputs), (Call::Same, Outputs::Equal), "half a run's digest says nothing");
        assert_eq!(found.exit_code(true), 1, "a ledger that does not add up fails");
        let taken = compare(&a, &b, &Options { takes_invalid: true, ..options() }).unwrap();
        assert_eq!(taken.b.used, 10, "the unbalanced one is never taken");
    }

    #[test]
    fn a_schedule_on_one_side_only_is_refused() {
        let a = runs(around(1e3, 6, 1));
        let mut b = a.clone();
        b[0].latency_ns.response = None;
        assert!(compare(&a, &b, &options()).unwrap_err().contains("b.json: 5 of 6 runs have a schedule"));
        b.iter_mut().for_each(|run| run.latency_ns.response = None);
        let why = compare(&b, &a, &options()).unwrap_err();
        assert!(why.starts_with("b.json was run by a schedule and a.json without one"), "{why}");
        let unpaced = compare(&b, &b, &options()).unwrap();
        assert_eq!((unpaced.basis, unpaced.metrics[0].name), ("service", "throughput"));
    }

    #[test]
    fn unequal_outputs_fail_unless_they_are_allowed() {
        let a = runs(around(1e3, 6, 1));
        let mut b = a.clone();
        assert_eq!(compare(&a, &b, &options()).unwrap().outputs, Outputs::Equal);
        b.iter_mut().for_each(|run| run.digest = "ffff".to_owned());
        let found = compare(&a, &b, &options()).unwrap();
        assert_eq!((found.outputs, found.exit_code(false), found.exit_code(true)), (Outputs::Different, 1, 0));
        for scope in ["same_shards", "this_run", "unheard of"] {
            b.iter_mut().for_each(|run| {
                run.digest_scope = scope.to_owned();
                run.manifest.shards = 2;
            });
            let found = compare(&a, &b, &options()).unwrap();
            assert_eq!((found.outputs, found.exit_code(false)), (Outputs::NotComparable, 0), "{scope}");
        }
        b.iter_mut().for_each(|run| {
            run.digest_scope = "same_shards".to_owned();
            run.manifest.shards = 1;
        });
        assert_eq!(compare(&a, &b, &options()).unwrap().outputs, Outputs::Different);
        // A side that differs from itself differs.
        let mut own = a.clone();
        own[3].digest = "eeee".to_owned();
        let found = compare(&own, &a, &options()).unwrap();
        assert_eq!((found.outputs, found.a.digests.len()), (Outputs::Different, 2));
    }

    #[test]
    fn what_differs_is_told() {
        let a = runs(around(1e3, 6, 1));
        let mut b = a.clone();
        assert!(compare(&a, &b, &options()).unwrap().differences.is_empty());
        for run in &mut b {
            run.manifest.captures[0].sha256 = Some("cdef0123456789".to_owned());
            run.manifest.shards = 2;
        }
        b[0].manifest.rate = Some(5_000.0);
        let found = compare(&a, &b, &options()).unwrap().differences;
        let told: Vec<_> = found.iter().map(|found| (found.what, found.a.as_str(), found.b.as_str())).collect();
        let expected = [
            ("captures", "sha256 ab", "sha256 cdef01234567"),
            ("shards", "1", "2"),
            ("speed", "null", "null or rate 5000"),
        ];
        assert_eq!(told, expected);
    }

    #[test]
    fn gates_as_text() {
        let mut gates = Gates::default();
        gates.set("p50=5%, p99 = 12.5 %").unwrap();
        assert_eq!(gates, Gates { p50: 0.05, p99: 0.125, throughput: 0.03 });
        gates.set("throughput=0%").unwrap();
        assert_eq!(gates.throughput, 0.0);
        for (text, part) in [
            ("p50", "no ="),
            ("p50=3", "no %"),
            ("p50=%", "no number"),
            ("p50=-1%", "no number"),
            ("p50=inf%", "no number"),
            ("p90=3%", "no gate"),
            ("", "no ="),
        ] {
            let why = gates.set(text).unwrap_err();
            assert!(why.contains(part), "{text}: {why}");
        }
    }

    #[test]
    fn the_names_of_the_json_stay() {
        let found = compare(&runs(around(1e3, 6, 1)), &runs(around(1e3, 6, 2)), &options()).unwrap();
        let value: serde_json::Value = serde_json::from_str(&found.json()).unwrap();
        for name in
            ["tool", "version", "command", "verdict", "regression", "metrics", "a", "b", "outputs", "differences"]
        {
            assert!(value.get(name).is_some(), "{name}: {value}");
        }
        assert_eq!((value["verdict"].as_str(), value["outputs"].as_str()), (Some("same"), Some("equal")));
        let metric = &value["metrics"][2];
        assert_eq!((metric["name"].as_str(), metric["verdict"].as_str()), (Some("p99.9"), Some("cannot tell")));
        assert!(metric["ratio"].is_null() && metric["why"].is_string());
    }
}
