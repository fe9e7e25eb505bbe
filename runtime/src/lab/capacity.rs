//! The highest rate at which an SLO holds: a search that says which rate to run next, and what it found.
//!
//! The search is a pure function of what was measured so far ([`Search::next_rate`]), so that whoever runs the replays can stop at any
//! time and has an answer. In this order:
//!
//! 1. a geometric ladder of rates from the lowest to the highest, each run as often as asked for; it ends early where two rates in
//!    a row could not be kept up with;
//! 2. *repair*: where a rate holds above one that failed, both are run again, up to [`ROUNDS_MAX`] times as often. What is said of a rate is
//!    what most of its runs say. A rate that still fails limits the answer, whatever holds above it;
//! 3. bisection between the highest rate that holds and the lowest above it that does not, to within the tolerance;
//! 4. both ends once more, where they rest on one run alone.
//!
//! # What a run says
//! Its response times count from the instants at which events were due, so that whatever disturbs a run makes them longer, never
//! shorter. So a run *holds* where every bound does and the rate was kept up with, also if the machine disturbed it; it *fails* where
//! a bound is broken, or the rate was not kept up with, and the run is valid; else it *cannot tell*: a percentile was not told, or
//! what broke the bound may have been the machine.

use super::result::{Outcome, Tail};
use super::slo::{Held, Quantile, Slo};
use super::stats::median;
use crate::report::text::{duration, rate};
use serde::{Serialize, Serializer};
use std::fmt::Write as _;

/// Rates next to each other on the ladder differ by this factor.
pub const LADDER_FACTOR: f64 = 2.0;
/// Ends of the bisection differ by at most this share.
pub const TOLERANCE: f64 = 0.02;
/// A rate is run at most this many times as often as asked for.
pub const ROUNDS_MAX: usize = 3;
/// Runs of one search at most, whatever they say.
pub const RUNS_MAX: usize = 200;
/// Share of the rate that has to have left, or it was not kept up with.
pub const ACHIEVED_MIN: f64 = 0.99;
/// The knee is where p99 is more than this many times what it is at the lowest rate.
pub const KNEE_FACTOR: f64 = 10.0;

/// What a rate is said to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Holds {
    /// It holds the SLO.
    Yes,
    /// It does not.
    No,
    /// The runs do not say.
    CannotTell,
}

impl Holds {
    /// In JSON and in the table.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Yes => "yes",
            Self::No => "no",
            Self::CannotTell => "cannot tell",
        }
    }
}

impl Serialize for Holds {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// One run at one rate.
#[derive(Clone, PartialEq, Debug)]
pub struct Step {
    /// Events per second that left.
    pub achieved: f64,
    /// Response times, ns.
    pub response: Tail,
    /// Whether full rings held up events.
    pub saturated: bool,
    /// Whether the run may be believed.
    pub valid: bool,
    /// The first reason why not.
    pub reason: Option<String>,
}

impl Step {
    /// What a paced replay at `rate` messages a second says.
    ///
    /// # Errors
    /// When it had no schedule, or its ledger does not add up.
    pub fn of(outcome: &Outcome, rate: f64) -> Result<Self, String> {
        let (Some(response), Some(pacer)) = (outcome.latency_ns.response, outcome.pacer) else {
            return Err("the run had no schedule".to_owned());
        };
        if !outcome.ledger_balanced {
            return Err("the ledger of a run does not balance".to_owned());
        }
        // Events of the parts of a message share its due time: the schedule's own rate in events may be above `rate`.
        let share = pacer.achieved_events_per_second / pacer.requested_events_per_second;
        let achieved = if share.is_finite() { rate * share.min(1.0) } else { 0.0 };
        let (saturated, valid) = (outcome.saturated, outcome.verdict.valid);
        Ok(Self { achieved, response, saturated, valid, reason: outcome.verdict.reasons.first().cloned() })
    }

    /// Whether it holds `slo` at `rate`, and why not.
    fn holds(&self, rate: f64, slo: &Slo, is_strict: bool) -> (Holds, String) {
        let broken = |why: String| match (self.valid, &self.reason) {
            (true, _) => (Holds::No, why),
            (false, None) => (Holds::CannotTell, format!("{why}, but the run is invalid")),
            (false, Some(reason)) => (Holds::CannotTell, format!("{why}, but the run is invalid: {reason}")),
        };
        if self.achieved < rate * ACHIEVED_MIN {
            return broken(format!("not kept up with: {} left", per_second(self.achieved)));
        }
        if self.saturated {
            return broken("full rings held up more than 1 % of the events".to_owned());
        }
        match slo.held(&self.response) {
            Held::No(bound, ns) => broken(format!("{} is {}", bound.quantile.name(), duration(ns.round() as u64))),
            Held::Unknown(bound) => {
                let name = bound.quantile.name();
                let least = bound.quantile.samples_min();
                let why = if self.response.count < least {
                    format!("{name} is not told: {} samples, {least} are needed", self.response.count)
                } else {
                    format!("{name} is not told: it lies within the machine's noise")
                };
                (Holds::CannotTell, why)
            }
            Held::Yes if is_strict && !self.valid => broken("every bound holds".to_owned()),
            Held::Yes => (Holds::Yes, String::new()),
        }
    }
}

/// How a search goes.
#[derive(Clone, PartialEq, Debug)]
pub struct Plan {
    /// What has to hold.
    pub slo: Slo,
    /// Lowest rate, messages per second. Above 0 and finite.
    pub from: f64,
    /// Highest rate. At least `from`.
    pub to: f64,
    /// Runs at each rate, at least 1.
    pub repeats: usize,
    /// Whether a run has to be valid to hold.
    pub is_strict: bool,
}

#[derive(Clone, Debug)]
struct Rate {
    rate: f64,
    steps: Vec<Step>,
}

/// A search in progress.
#[derive(Clone, Debug)]
pub struct Search {
    plan: Plan,
    /// Rates to begin with, rising.
    ladder: Vec<f64>,
    /// Rates that were run, rising.
    rates: Vec<Rate>,
}

impl Search {
    /// A search that has not measured anything.
    ///
    /// # Panics
    /// When the rates are not as [`Plan`] has them, or no run is asked for.
    #[must_use]
    pub fn new(plan: Plan) -> Self {
        assert!(plan.from > 0.0 && plan.to.is_finite() && plan.from <= plan.to, "from {} to {}", plan.from, plan.to);
        assert!(plan.repeats > 0, "at least one run at each rate");
        let mut ladder = vec![plan.to];
        // From the top, so that the highest rate is on it; the lowest is the last whole step or `from` itself.
        while let Some(next) = ladder.last().map(|last| last / LADDER_FACTOR).filter(|next| *next > plan.from * 1.2) {
            ladder.push(next);
        }
        if plan.from < plan.to {
            ladder.push(plan.from);
        }
        ladder.reverse();
        // The ends are the caller's own; what is between them is round.
        let is_end = |rate: f64| rate == plan.from || rate == plan.to;
        let mut ladder: Vec<f64> =
            ladder.into_iter().map(|rate| if is_end(rate) { rate } else { round(rate) }).collect();
        ladder.dedup();
        Self { plan, ladder, rates: Vec::new() }
    }

    /// The rate to run next; `None` when the search is done. O(runs).
    #[must_use]
    pub fn next_rate(&self) -> Option<f64> {
        if self.runs() >= RUNS_MAX { None } else { self.wanted() }
    }

    fn runs(&self) -> usize {
        self.rates.iter().map(|rate| rate.steps.len()).sum()
    }

    /// The rate that the search would run next, however many runs there were.
    fn wanted(&self) -> Option<f64> {
        self.unfinished().or_else(|| self.repair()).or_else(|| self.bisect()).or_else(|| self.confirm())
    }

    /// Takes what a run at `rate` said.
    pub fn record(&mut self, rate: f64, step: Step) {
        match self.rates.binary_search_by(|known| known.rate.total_cmp(&rate)) {
            Ok(index) => self.rates[index].steps.push(step),
            Err(index) => self.rates.insert(index, Rate { rate, steps: vec![step] }),
        }
    }

    /// A rate that was not run as often as asked for.
    fn unfinished(&self) -> Option<f64> {
        if let Some(rate) = self.rates.iter().find(|rate| rate.steps.len() < self.plan.repeats) {
            return Some(rate.rate);
        }
        let known = |rate: f64| self.rates.iter().find(|known| known.rate == rate);
        let mut behind = 0;
        for &rate in &self.ladder {
            let Some(known) = known(rate) else { return (behind < 2).then_some(rate) };
            let lost = |step: &Step| step.saturated || step.achieved < rate * ACHIEVED_MIN;
            behind = if most(known, lost) { behind + 1 } else { 0 };
        }
        None
    }

    /// Where a rate holds above one that failed: the one of the two that was run less often.
    fn repair(&self) -> Option<f64> {
        let failed = self.rates.iter().position(|rate| self.holds(rate) == Holds::No)?;
        let above = self.rates[failed + 1..].iter().filter(|rate| self.holds(rate) == Holds::Yes);
        let mut both: Vec<&Rate> = above.collect();
        if both.is_empty() {
            return None;
        }
        both.push(&self.rates[failed]);
        let again = both.into_iter().filter(|rate| self.may_repeat(rate));
        again.min_by_key(|rate| rate.steps.len()).map(|rate| rate.rate)
    }

    /// A rate between the ends, where they are too far apart.
    fn bisect(&self) -> Option<f64> {
        let (low, high) = self.ends();
        let (low, high) = (self.rates.get(low?)?.rate, self.rates.get(high?)?.rate);
        let middle = round((low * high).sqrt());
        (high / low > 1.0 + TOLERANCE && low < middle && middle < high).then_some(middle)
    }

    /// An end that rests on one run, or on runs of which half say one thing and half the other.
    fn confirm(&self) -> Option<f64> {
        let (low, high) = self.ends();
        let ends = low.into_iter().chain(high.or(low.is_none().then_some(0)));
        let again = ends.filter_map(|index| self.rates.get(index)).find(|rate| {
            let is_split = self.holds(rate) == Holds::CannotTell && self.is_split(rate);
            self.may_repeat(rate) && (rate.steps.len() < 2 || is_split)
        });
        again.map(|rate| rate.rate)
    }

    /// The highest rate that holds with none below it that failed, and the lowest above it that does not hold, by index.
    fn ends(&self) -> (Option<usize>, Option<usize>) {
        let failed = self.rates.iter().position(|rate| self.holds(rate) == Holds::No).unwrap_or(self.rates.len());
        let low = self.rates[..failed].iter().rposition(|rate| self.holds(rate) == Holds::Yes);
        let high = low.map(|low| low + 1).filter(|high| *high < self.rates.len());
        (low, high)
    }

    fn may_repeat(&self, rate: &Rate) -> bool {
        rate.steps.len() < self.plan.repeats * ROUNDS_MAX
    }

    /// Whether some of its runs hold and others fail.
    fn is_split(&self, rate: &Rate) -> bool {
        let said = |holds: Holds| rate.steps.iter().any(|step| self.step_holds(rate, step).0 == holds);
        said(Holds::Yes) && said(Holds::No)
    }

    fn step_holds(&self, rate: &Rate, step: &Step) -> (Holds, String) {
        step.holds(rate.rate, &self.plan.slo, self.plan.is_strict)
    }

    /// What most of its runs say.
    fn holds(&self, rate: &Rate) -> Holds {
        let says = |holds: Holds| most(rate, |step| self.step_holds(rate, step).0 == holds);
        match (says(Holds::Yes), says(Holds::No)) {
            (true, _) => Holds::Yes,
            (_, true) => Holds::No,
            _ => Holds::CannotTell,
        }
    }

    /// Why it does not hold, by the first of its runs that says what most say.
    fn why(&self, rate: &Rate) -> Option<String> {
        let holds = self.holds(rate);
        if holds == Holds::Yes {
            return None;
        }
        let mut whys = rate.steps.iter().map(|step| self.step_holds(rate, step));
        let split = || "its runs do not agree".to_owned();
        Some(whys.find(|(said, _)| *said == holds).map_or_else(split, |(_, why)| why))
    }

    /// What was found so far.
    #[must_use]
    pub fn found(&self, max_events_per_second: f64, version: &str) -> Capacity {
        let points: Vec<Point> = self.rates.iter().map(|rate| self.point(rate)).collect();
        Capacity {
            tool: "tapeline",
            version: version.to_owned(),
            command: "capacity",
            slo: self.plan.slo.clone(),
            answer: self.answer(),
            knee: knee(&points),
            max_events_per_second,
            points,
            complete: self.wanted().is_none(),
        }
    }

    fn answer(&self) -> Answer {
        let (low, high) = self.ends();
        let mut why = String::new();
        let say = |why: &mut String, text: &str| {
            let _ = write!(why, "{}{text}", if why.is_empty() { "" } else { "; " });
        };
        match (low.map(|low| &self.rates[low]), high.map(|high| &self.rates[high])) {
            (None, _) if self.rates.is_empty() => say(&mut why, "nothing was run"),
            (None, _) => {
                let lowest = &self.rates[0];
                let verb = if self.holds(lowest) == Holds::No {
                    "the lowest rate fails"
                } else {
                    "cannot tell at the lowest rate"
                };
                say(
                    &mut why,
                    &format!("{verb}, {}: {}", per_second(lowest.rate), self.why(lowest).unwrap_or_default()),
                );
            }
            (Some(_), None) => say(&mut why, "the highest rate that was tried holds"),
            (Some(_), Some(next)) => {
                let verb = if self.holds(next) == Holds::No { "fails" } else { "cannot tell" };
                say(&mut why, &format!("{} {verb}: {}", per_second(next.rate), self.why(next).unwrap_or_default()));
            }
        }
        let limit = high.unwrap_or_else(|| low.map_or(0, |low| low + 1)).min(self.rates.len());
        if let Some(above) = self.rates[limit..].iter().rev().find(|rate| self.holds(rate) == Holds::Yes) {
            say(&mut why, &format!("{} holds, but above a rate that does not", per_second(above.rate)));
        }
        let rests_on_invalid = low.is_some_and(|low| {
            let rate = &self.rates[low];
            rate.steps.iter().any(|step| !step.valid && self.step_holds(rate, step).0 == Holds::Yes)
        });
        if rests_on_invalid {
            say(
                &mut why,
                "it holds although the machine disturbed the run: what that adds makes responses longer, never shorter",
            );
        }
        if self.runs() >= RUNS_MAX && self.wanted().is_some() {
            say(&mut why, &format!("the search was not done after {RUNS_MAX} runs, the most of one search"));
        }
        Answer { rate: low.map(|low| self.rates[low].rate), why }
    }

    fn point(&self, rate: &Rate) -> Point {
        let value = |quantile: Quantile| {
            let told: Vec<f64> = rate.steps.iter().filter_map(|step| quantile.of(&step.response)).collect();
            // A percentile that most runs do not tell is not told.
            if told.len() * 2 > rate.steps.len() { median(&told) } else { None }
        };
        let achieved: Vec<f64> = rate.steps.iter().map(|step| step.achieved).collect();
        Point {
            offered: rate.rate,
            achieved: median(&achieved).unwrap_or(0.0),
            p50: value(Quantile::P50),
            p90: value(Quantile::P90),
            p99: value(Quantile::P99),
            p99_9: value(Quantile::P999),
            p99_99: value(Quantile::P9999),
            max: value(Quantile::Max),
            saturated: most(rate, |step| step.saturated),
            valid: rate.steps.iter().all(|step| step.valid),
            runs: rate.steps.len(),
            holds: self.holds(rate),
            why: self.why(rate),
        }
    }
}

/// Whether more than half of its runs are so.
fn most(rate: &Rate, is_so: impl Fn(&Step) -> bool) -> bool {
    rate.steps.iter().filter(|step| is_so(step)).count() * 2 > rate.steps.len()
}

/// A rate of a schedule: of messages, whose parts share a due time.
pub(super) fn per_second(messages: f64) -> String {
    rate(messages).replace("events/s", "messages/s")
}

/// To four significant digits: rates that people can repeat.
#[must_use]
pub fn round(rate: f64) -> f64 {
    let scale = 10f64.powi(3 - rate.log10().floor() as i32);
    (rate * scale).round() / scale
}

/// The lowest rate whose p99 is more than [`KNEE_FACTOR`] times that of the lowest rate that tells one.
fn knee(points: &[Point]) -> Option<f64> {
    let mut told = points.iter().filter_map(|point| Some((point.offered, point.p99?)));
    let (_, lowest) = told.next()?;
    told.find(|(_, p99)| *p99 > lowest * KNEE_FACTOR).map(|(rate, _)| rate)
}

/// One rate: medians over its runs. Times in ns; `null` = most runs did not tell it.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Point {
    /// Messages per second of the schedule.
    pub offered: f64,
    /// Messages per second that left.
    pub achieved: f64,
    /// Median of the response times.
    pub p50: Option<f64>,
    /// 90th percentile.
    pub p90: Option<f64>,
    /// 99th percentile.
    pub p99: Option<f64>,
    /// 99.9th percentile.
    pub p99_9: Option<f64>,
    /// 99.99th percentile.
    pub p99_99: Option<f64>,
    /// Largest.
    pub max: Option<f64>,
    /// Whether most runs could not keep up.
    pub saturated: bool,
    /// Whether all runs are valid.
    pub valid: bool,
    /// Runs at this rate.
    pub runs: usize,
    /// Whether it holds the SLO.
    pub holds: Holds,
    /// Why it does not; `null` where it does.
    pub why: Option<String>,
}

/// The highest rate that holds.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Answer {
    /// Messages per second; `null` = none.
    pub rate: Option<f64>,
    /// What limits it.
    pub why: String,
}

/// What a search found. Its field order is that of the JSON.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Capacity {
    /// `tapeline`.
    pub tool: &'static str,
    /// Version of the build.
    pub version: String,
    /// `capacity`.
    pub command: &'static str,
    /// What has to hold.
    pub slo: Slo,
    /// The highest rate that holds it.
    pub answer: Answer,
    /// The rate from which on p99 is more than [`KNEE_FACTOR`] times what it is at the lowest; `null` = none of those that were run.
    pub knee: Option<f64>,
    /// Events per second without a schedule.
    pub max_events_per_second: f64,
    /// Every rate that was run, rising.
    pub points: Vec<Point>,
    /// Whether the search came to its end.
    pub complete: bool,
}

impl Capacity {
    /// The exit code: 0 where a rate holds, 1 where none does.
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        if self.answer.rate.is_some() { 0 } else { 1 }
    }

    /// As one line of JSON, without a line feed.
    #[must_use]
    pub fn json(&self) -> String {
        serde_json::to_string(self).expect("text keys only, written to memory")
    }

    /// The points as CSV with a header; times in ns, empty where they are not told.
    #[must_use]
    pub fn csv(&self) -> String {
        let mut text = "offered_per_second,achieved_per_second,p50_ns,p90_ns,p99_ns,p99_9_ns,p99_99_ns,max_ns,saturated,valid,runs,holds\n".to_owned();
        for point in &self.points {
            let _ = write!(text, "{},{:.1}", point.offered, point.achieved);
            for value in [point.p50, point.p90, point.p99, point.p99_9, point.p99_99, point.max] {
                let _ = write!(text, ",{}", value.map_or_else(String::new, |value| value.to_string()));
            }
            let _ = writeln!(text, ",{},{},{},{}", point.saturated, point.valid, point.runs, point.holds.name());
        }
        text
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::lab::stats::Prng;

    pub(crate) fn plan(slo: &str, from: f64, to: f64) -> Plan {
        Plan { slo: Slo::parse(slo).unwrap(), from, to, repeats: 1, is_strict: false }
    }

    /// A run whose percentiles are these many ns.
    pub(crate) fn step(rate: f64, p50: f64, p99: f64) -> Step {
        let response = Tail {
            count: 100_000,
            p50: Some(p50),
            p90: Some(p50),
            p99: Some(p99),
            p99_9: Some(p99 * 2.0),
            p99_99: None,
            max: Some(p99 * 9.0),
        };
        Step { achieved: rate, response, saturated: false, valid: true, reason: None }
    }

    /// A server that takes 1 µs an event: p99 by load, as of an M/M/1 queue; more than it can take leaves it behind.
    fn server(rate: f64) -> Step {
        let load = rate / 1e6;
        if load >= 1.0 {
            return Step { saturated: true, achieved: 1e6, ..step(rate, 1e9, 2e9) };
        }
        step(rate, 693.0 / (1.0 - load), 4_605.0 / (1.0 - load))
    }

    /// Runs the search to its end; gives it back with the rates in the order in which they were run.
    fn run(plan: Plan, mut measure: impl FnMut(f64) -> Step) -> (Search, Vec<f64>) {
        let (mut search, mut order) = (Search::new(plan), Vec::new());
        while let Some(rate) = search.next_rate() {
            order.push(rate);
            assert!(order.len() <= RUNS_MAX, "it ends");
            search.record(rate, measure(rate));
        }
        (search, order)
    }

    fn answer(search: &Search) -> (Option<f64>, String) {
        let answer = search.found(1e6, "0").answer;
        (answer.rate, answer.why)
    }

    #[test]
    fn the_highest_rate_is_found_to_two_percent() {
        // p99 of the server is below 46.05 µs up to a load of 0.9, and so on.
        for (slo, exact) in
            [("p99<46.05us", 9e5), ("p99<9.21us", 5e5), ("p50<1.386us", 5e5), ("p99<6.14us,p50<1s", 2.5e5)]
        {
            let (search, order) = run(plan(slo, 1e4, 1e6), server);
            let found = answer(&search).0.unwrap();
            assert!(found <= exact * 1.000_1 && found > exact * 0.97, "{slo}: {found} for {exact}");
            assert!(order.len() < 20, "{slo}: {order:?}");
            let capacity = search.found(1e6, "0");
            assert!(capacity.complete && capacity.exit_code() == 0);
            assert!(capacity.points.windows(2).all(|two| two[0].offered < two[1].offered));
        }
    }

    #[test]
    fn the_ladder_is_geometric_and_ends_where_two_rates_are_not_kept_up_with() {
        assert_eq!(Search::new(plan("p50<1s", 1e5, 1e6)).ladder, [1e5, 1.25e5, 2.5e5, 5e5, 1e6]);
        assert_eq!(Search::new(plan("p50<1s", 5.0, 5.0)).ladder, [5.0]);
        assert_eq!(Search::new(plan("p50<1s", 4.999, 5.0)).ladder, [4.999, 5.0]);
        let (_, order) = run(plan("p99<9us", 1e5, 64e6), server);
        assert!(order.iter().all(|rate| *rate <= 4e6), "{order:?}");
        assert_eq!([1.0, 1_234_567.0, 0.012_345, 99_995.0].map(round), [1.0, 1_235_000.0, 0.012_35, 100_000.0]);
    }

    #[test]
    fn nothing_holds_or_everything_does() {
        let (search, order) = run(plan("p99<1us", 1e4, 1e6), server);
        let (rate, why) = answer(&search);
        assert!(rate.is_none() && why.starts_with("the lowest rate fails, 10.0 k messages/s: p99 is 4.65 µs"), "{why}");
        assert_eq!(order.iter().filter(|rate| **rate == 1e4).count(), 2, "the lowest is run twice");
        assert_eq!(search.found(1e6, "0").exit_code(), 1);
        let (search, _) = run(plan("p99<1s", 1e4, 9e5), server);
        assert_eq!(answer(&search), (Some(9e5), "the highest rate that was tried holds".to_owned()));
        let empty = Search::new(plan("p99<1s", 1.0, 2.0)).found(1.0, "0");
        assert!(empty.answer.rate.is_none() && !empty.complete && empty.answer.why == "nothing was run");
    }

    /// The first run of a low rate is bad by chance: it is run again, and its neighbours above too.
    #[test]
    fn a_failure_by_chance_is_repaired() {
        let mut bad = 1;
        let (search, order) = run(plan("p99<46.05us", 1e4, 1e6), |rate| {
            if rate < 1e5 && bad > 0 && rate > 2e4 {
                bad -= 1;
                return step(rate, 1e3, 9e7);
            }
            server(rate)
        });
        let (rate, why) = answer(&search);
        assert!(rate.unwrap() > 8.7e5, "{rate:?}: {why}");
        let repeated = order.iter().filter(|rate| **rate > 2e4 && **rate < 1e5).count();
        assert!(repeated >= 4, "{order:?}");
    }

    /// A low rate that always fails limits the answer, whatever holds above it.
    #[test]
    fn a_failure_that_stays_is_not_hidden_by_what_holds_above() {
        let (search, order) = run(plan("p99<46.05us", 1e4, 1e6), |rate| {
            if (1e5..1.5e5).contains(&rate) { step(rate, 1e3, 9e7) } else { server(rate) }
        });
        let (rate, why) = answer(&search);
        let rate = rate.unwrap();
        assert!(rate < 1e5 && rate > 9.7e4, "{rate}: {why}");
        assert!(why.contains("holds, but above a rate that does not"), "{why}");
        assert_eq!(order.iter().filter(|rate| **rate == 125_000.0).count(), ROUNDS_MAX, "{order:?}");
    }

    #[test]
    fn what_is_not_told_does_not_hold_and_hides_nothing() {
        // Too few samples below 100 k a second: p99.9 is null there.
        let few = |rate: f64| {
            let mut step = server(rate);
            if rate < 1e5 {
                (step.response.count, step.response.p99_9) = (500, None);
            }
            step
        };
        let (search, _) = run(plan("p99.9<92.1us", 1e4, 1e6), few);
        assert!(answer(&search).0.unwrap() > 8.7e5, "{:?}", answer(&search));
        let found = search.found(1e6, "0");
        let lowest = &found.points[0];
        assert_eq!((lowest.holds, lowest.p99_9), (Holds::CannotTell, None));
        assert_eq!(lowest.why.as_deref(), Some("p99.9 is not told: 500 samples, 10000 are needed"));
        // Never told anywhere: nobody can say that anything holds.
        let never = |rate: f64| Step { response: Tail { p99_9: None, ..server(rate).response }, ..server(rate) };
        let (search, _) = run(plan("p99.9<92.1us", 1e4, 9e5), never);
        let (rate, why) = answer(&search);
        assert!(rate.is_none() && why.starts_with("cannot tell at the lowest rate, 10.0 k messages/s: p99.9"), "{why}");
        assert!(why.contains("the machine's noise"), "{why}");
    }

    /// An invalid run proves that a rate holds, never that one fails.
    #[test]
    fn invalid_runs() {
        let noisy = |rate: f64| Step { valid: false, reason: Some("pacer lag".to_owned()), ..server(rate) };
        let (search, _) = run(plan("p99<46.05us", 1e4, 1e6), noisy);
        let (rate, why) = answer(&search);
        assert!(rate.unwrap() > 8.7e5 && why.contains("although the machine disturbed the run"), "{why}");
        assert!(why.contains("cannot tell: p99 is") && why.contains("but the run is invalid: pacer lag"), "{why}");
        let (search, _) = run(Plan { is_strict: true, ..plan("p99<46.05us", 1e4, 1e6) }, noisy);
        assert!(answer(&search).0.is_none() && search.found(1.0, "0").points.iter().all(|point| !point.valid));
    }

    #[test]
    fn what_most_runs_say_counts() {
        let mut turn = 0;
        let three = Plan { repeats: 3, ..plan("p99<46.05us", 1e5, 8e5) };
        let (search, _) = run(three, |rate| {
            turn += 1;
            // Every third run is bad.
            if turn % 3 == 0 { step(rate, 1e3, 9e7) } else { server(rate) }
        });
        assert_eq!(answer(&search).0, Some(8e5));
        let found = search.found(1e6, "0");
        assert!(found.points.iter().all(|point| point.runs >= 3 && point.p99.unwrap() < 1e5), "medians: {found:?}");
    }

    /// Whatever the runs say, the search ends, and nothing below the answer has failed.
    #[test]
    fn it_ends_on_any_answers() {
        for seed in 0..300 {
            let mut prng = Prng::new(seed);
            let repeats = 1 + prng.index(3);
            let (search, _) = run(Plan { repeats, ..plan("p99<10us", 1e3, 1e6) }, |rate| {
                let mut step = step(rate, 1e3, if prng.index(2) == 0 { 5e3 } else { 5e4 });
                step.valid = prng.index(4) > 0;
                step.saturated = prng.index(5) == 0;
                if prng.index(6) == 0 {
                    step.response.p99 = None;
                }
                step
            });
            let found = search.found(1e6, "0");
            let limit = found.answer.rate.unwrap_or(0.0);
            for point in &found.points {
                assert!(point.offered >= limit || point.holds != Holds::No, "seed {seed}: {found:?}");
                assert!(point.offered != limit || point.holds == Holds::Yes, "seed {seed}: {found:?}");
            }
        }
    }

    /// More runs are asked for than a search may have: it is not called complete, and says so.
    #[test]
    fn a_search_that_ran_out_of_runs_is_not_complete() {
        let mut search = Search::new(Plan { repeats: 40, ..plan("p99<1s", 1e4, 64e4) });
        let mut runs = 0;
        while let Some(rate) = search.next_rate() {
            search.record(rate, server(rate));
            runs += 1;
        }
        let found = search.found(1e6, "0");
        assert_eq!((runs, found.complete), (RUNS_MAX, false), "280 runs were needed");
        assert!(
            found.answer.why.ends_with("; the search was not done after 200 runs, the most of one search"),
            "{found:?}"
        );
        // One that needs just as many as it may have is.
        let mut search = Search::new(Plan { repeats: RUNS_MAX, ..plan("p99<1s", 1e4, 1e4) });
        while let Some(rate) = search.next_rate() {
            search.record(rate, server(rate));
        }
        let found = search.found(1e6, "0");
        assert!(found.complete && !found.answer.why.contains("not done"), "{found:?}");
    }

    /// Nothing is run beyond what was asked for, whatever the digits of the ends.
    #[test]
    fn the_ends_are_run_as_they_were_given() {
        for (from, to) in [(12_345.6, 99_996.0), (99_995.0, 1_234_567.0), (0.012_345, 1.0), (77_777.7, 77_777.7)] {
            let (search, order) = run(plan("p99<1s", from, to), |rate| step(rate, 5.0, 5.0));
            assert!(order.iter().all(|rate| (from..=to).contains(rate)), "{from} to {to}: {order:?}");
            assert!(order.contains(&from) && order.contains(&to), "{from} to {to}: {order:?}");
            assert_eq!(answer(&search).0, Some(to));
        }
    }

    #[test]
    fn the_knee_is_ten_times_the_lowest() {
        let (search, _) = run(plan("p99<1s", 1e5, 1e6), server);
        // p99 at 0.1 is 5,117 ns; ten times that is a load of 0.91.
        let knee = search.found(1e6, "0").knee.unwrap();
        assert!(knee > 9.1e5, "{knee}");
        let (search, _) = run(plan("p99<1s", 1e5, 5e5), server);
        assert_eq!(search.found(1e6, "0").knee, None);
        assert_eq!(Search::new(plan("p99<1s", 1.0, 2.0)).found(1.0, "0").knee, None);
    }

    #[test]
    fn a_step_of_a_result() {
        let mut outcome = crate::lab::result::outcome(&crate::lab::result::tests::line(900.0, 4_000.0)).unwrap();
        let step = Step::of(&outcome, 500.0).unwrap();
        assert!((step.achieved - 500.0 * 1000.0 / 1001.0).abs() < 1e-9, "{step:?}");
        outcome.ledger_balanced = false;
        assert!(Step::of(&outcome, 1.0).unwrap_err().contains("ledger"));
        outcome.latency_ns.response = None;
        assert!(Step::of(&outcome, 1.0).unwrap_err().contains("no schedule"));
    }

    #[test]
    fn json_and_csv() {
        let mut search = Search::new(plan("p99<10us", 1e3, 2e3));
        search.record(1e3, step(1e3, 900.0, 4_000.0));
        search.record(
            2e3,
            Step { response: Tail { p99: None, ..step(2e3, 950.0, 1.0).response }, ..step(2e3, 1.0, 1.0) },
        );
        let found = search.found(1.5e6, "0.1.0");
        assert_eq!(
            found.json(),
            concat!(
                r#"{"tool":"tapeline","version":"0.1.0","command":"capacity","slo":{"text":"p99<10us","bounds":[{"percentile":"p99","below_ns":10000.0}]},"#,
                r#""answer":{"rate":1000.0,"why":"2.00 k messages/s cannot tell: p99 is not told: it lies within the machine's noise"},"#,
                r#""knee":null,"max_events_per_second":1500000.0,"points":["#,
                r#"{"offered":1000.0,"achieved":1000.0,"p50":900.0,"p90":900.0,"p99":4000.0,"p99_9":8000.0,"p99_99":null,"max":36000.0,"saturated":false,"valid":true,"runs":1,"holds":"yes","why":null},"#,
                r#"{"offered":2000.0,"achieved":2000.0,"p50":950.0,"p90":950.0,"p99":null,"p99_9":2.0,"p99_99":null,"max":9.0,"saturated":false,"valid":true,"runs":1,"holds":"cannot tell","why":"p99 is not told: it lies within the machine's noise"}],"#,
                r#""complete":false}"#
            )
        );
        let csv = found.csv();
        assert!(csv.contains("\n1000,1000.0,900,900,4000,8000,,36000,false,true,1,yes\n"), "{csv}");
        assert!(csv.contains("\n2000,2000.0,950,950,,2,,9,false,true,1,cannot tell\n"), "{csv}");
    }
}
