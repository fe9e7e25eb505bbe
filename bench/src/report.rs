//! Tables, verdicts and JSON of a duel.

use crate::duel::{Entry, Mode, Options, Record, Role};
use crate::stats::{Interval, Rng, bootstrap, median};
use serde_json::{Value, json};
use std::fmt;

/// Share of void slices above which a run fails.
pub const VOID_SHARE_MAX: f64 = 0.5;
/// Least rounds of a claim.
pub const CLAIM_ROUNDS: usize = 40;

/// Whom ours is compared with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rival {
    /// The first control.
    Control,
    /// The peer with the best median.
    Best,
    /// The contender of this name.
    Named(&'static str),
    /// Nobody: our own value must keep the limit.
    Nobody,
    /// Ours in the metric of this index.
    Own(usize),
}

/// What the ratio must keep.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Limit {
    /// Less is better.
    AtMost(f64),
    /// More is better.
    AtLeast(f64),
}

/// A target: the ratio of ours to a rival, by round.
#[derive(Clone, Debug)]
pub struct Claim {
    /// What is printed.
    pub name: &'static str,
    /// Index of the metric.
    pub metric: usize,
    /// The rival.
    pub rival: Rival,
    /// The floor.
    pub limit: Limit,
    /// The stretch goal, on the same side as the limit.
    pub stretch: f64,
}

impl Claim {
    /// At most `limit` times the rival.
    #[must_use]
    pub const fn at_most(name: &'static str, metric: usize, rival: Rival, limit: f64, stretch: f64) -> Self {
        Self { name, metric, rival, limit: Limit::AtMost(limit), stretch }
    }

    /// At least `limit` times the rival.
    #[must_use]
    pub const fn at_least(name: &'static str, metric: usize, rival: Rival, limit: f64, stretch: f64) -> Self {
        Self { name, metric, rival, limit: Limit::AtLeast(limit), stretch }
    }
}

/// Whether an interval keeps a limit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// All of the interval does.
    Pass,
    /// None of it does.
    Fail,
    /// The interval holds the limit: more rounds or a quieter machine are needed.
    Noisy,
    /// There is no rival or no valid round.
    NoData,
}

impl Verdict {
    /// Name in tables and JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Fail => "FAIL",
            Self::Noisy => "noisy",
            Self::NoData => "no data",
        }
    }

    /// Of an interval.
    #[must_use]
    pub fn of(interval: &Interval, limit: Limit) -> Self {
        let (inside, outside) = match limit {
            Limit::AtMost(most) => (interval.high <= most, interval.low > most),
            Limit::AtLeast(least) => (interval.low >= least, interval.high < least),
        };
        if inside {
            Self::Pass
        } else if outside {
            Self::Fail
        } else {
            Self::Noisy
        }
    }
}

/// A claim and how it went.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The claim.
    pub claim: Claim,
    /// Whom it turned out to be against.
    pub rival: Option<&'static str>,
    /// The ratio.
    pub ratio: Option<Interval>,
    /// Against the limit.
    pub verdict: Verdict,
}

/// One contender's line.
#[derive(Clone, Debug)]
pub struct Row {
    /// Name.
    pub name: &'static str,
    /// Role.
    pub role: Role,
    /// Median over the rounds of each metric (least for `min`, largest for `max`).
    pub values: Vec<Option<f64>>,
    /// What it did.
    pub record: Record,
    /// Ratio of ours to it in the metric of the first claim, else in the first metric.
    pub ours_to_it: Option<Interval>,
}

/// A duel's result.
#[derive(Clone, Debug)]
pub struct Table {
    /// Name of the duel.
    pub name: String,
    /// What the numbers are.
    pub what: String,
    /// Names of the metrics.
    pub metrics: Vec<&'static str>,
    /// One per contender.
    pub rows: Vec<Row>,
    /// One per claim.
    pub outcomes: Vec<Outcome>,
    /// Metric of the column of ratios.
    pub ratio_metric: usize,
    /// What the numbers are good for.
    pub mode: Mode,
    /// Rounds.
    pub rounds: usize,
    /// Length of the slices that a budget gave, ms.
    pub budget_slice_ms: Option<f64>,
}

impl Table {
    /// Sums up the records of a duel.
    #[must_use]
    pub fn new(
        name: &str,
        what: &str,
        metrics: &[&'static str],
        entries: &[Entry<'_>],
        records: Vec<Record>,
        claims: &[Claim],
        options: &Options,
    ) -> Self {
        let mut rng = Rng::new(options.seed);
        let value = |record: &Record, metric: usize| {
            let values = record.rounds.iter().flatten().map(|values| values[metric]).filter(|value| value.is_finite());
            match metrics[metric] {
                "min" => values.min_by(f64::total_cmp),
                "max" => values.max_by(f64::total_cmp),
                _ => median(&values.collect::<Vec<_>>()),
            }
        };
        let ours = entries.iter().position(|entry| entry.role == Role::Ours);
        let ratio_metric = claims.first().map_or(0, |claim| claim.metric);
        let controls: Vec<usize> = (0..entries.len()).filter(|index| entries[*index].role == Role::Control).collect();
        // Against a control: with the control's slice that belongs to ours. Against others: in the same round.
        let ratios = |ours: usize, rival: usize, metric: usize| -> Vec<f64> {
            let record: &Record = &records[ours];
            let paired = controls.iter().position(|control| *control == rival);
            (0..record.rounds.len())
                .filter_map(|round| {
                    let other = match paired {
                        Some(control) => record.controls[round][control].as_ref(),
                        None => records[rival].rounds[round].as_ref(),
                    };
                    Some(record.rounds[round].as_ref()?[metric] / other?[metric])
                })
                .filter(|ratio| ratio.is_finite())
                .collect()
        };
        let outcomes = claims
            .iter()
            .map(|claim| {
                let rival = match claim.rival {
                    Rival::Nobody => None,
                    Rival::Own(_) => ours,
                    Rival::Control => controls.first().copied(),
                    Rival::Named(name) => entries.iter().position(|entry| entry.name == name),
                    Rival::Best => {
                        let peers = (0..entries.len()).filter(|index| entries[*index].role == Role::Peer);
                        let valued = peers.filter_map(|index| Some((index, value(&records[index], claim.metric)?)));
                        let by = |a: &(usize, f64), b: &(usize, f64)| a.1.total_cmp(&b.1);
                        match claim.limit {
                            Limit::AtMost(_) => valued.min_by(by),
                            Limit::AtLeast(_) => valued.max_by(by),
                        }
                        .map(|(index, _)| index)
                    }
                };
                let values = match (ours, rival, claim.rival) {
                    (Some(ours), _, Rival::Own(other)) => {
                        let own =
                            records[ours].rounds.iter().flatten().map(|values| values[claim.metric] / values[other]);
                        own.filter(|ratio| ratio.is_finite()).collect()
                    }
                    (Some(ours), Some(rival), _) => ratios(ours, rival, claim.metric),
                    (Some(ours), None, Rival::Nobody) => {
                        let own = records[ours].rounds.iter().flatten().map(|values| values[claim.metric]);
                        own.filter(|value| value.is_finite()).collect()
                    }
                    _ => Vec::new(),
                };
                let ratio = bootstrap(&values, &mut rng);
                Outcome {
                    claim: claim.clone(),
                    rival: rival.map(|index| entries[index].name),
                    ratio,
                    verdict: ratio.map_or(Verdict::NoData, |ratio| Verdict::of(&ratio, claim.limit)),
                }
            })
            .collect();
        let rows = (0..entries.len())
            .map(|index| Row {
                name: entries[index].name,
                role: entries[index].role,
                values: (0..metrics.len()).map(|metric| value(&records[index], metric)).collect(),
                record: records[index].clone(),
                ours_to_it: ours
                    .filter(|ours| *ours != index)
                    .and_then(|ours| bootstrap(&ratios(ours, index, ratio_metric), &mut rng)),
            })
            .collect();
        Self {
            name: name.into(),
            what: what.into(),
            metrics: metrics.to_vec(),
            rows,
            outcomes,
            ratio_metric,
            mode: options.mode,
            rounds: options.rounds,
            budget_slice_ms: options.budget.as_ref().map(|budget| budget.slice().as_secs_f64() * 1e3),
        }
    }

    /// Share of all slices that were void.
    #[must_use]
    pub fn void_share(&self) -> f64 {
        let slices: usize = self.rows.iter().map(|row| row.record.slices).sum();
        let void: usize = self.rows.iter().map(|row| row.record.void).sum();
        void as f64 / slices.max(1) as f64
    }

    /// Whether the numbers may be claimed: the full protocol, with its rounds, and not too much of it void.
    #[must_use]
    pub fn is_a_claim(&self) -> bool {
        self.mode == Mode::Full && self.rounds >= CLAIM_ROUNDS && self.void_share() <= VOID_SHARE_MAX
    }

    /// The table as JSON, every round's values included.
    #[must_use]
    pub fn json(&self) -> Value {
        let interval = |interval: &Option<Interval>| {
            interval.map(|i| json!({"median": i.median, "low": i.low, "high": i.high, "rounds": i.count}))
        };
        json!({
            "duel": self.name,
            "what": self.what,
            "mode": self.mode.name(),
            "is_a_claim": self.is_a_claim(),
            "rounds": self.rounds,
            "budget_slice_ms": self.budget_slice_ms,
            "void_share": self.void_share(),
            "contenders": self.rows.iter().map(|row| json!({
                "name": row.name,
                "role": row.role.name(),
                "values": self.metrics.iter().zip(&row.values).map(|(name, value)| (name.to_string(), json!(value)))
                    .collect::<serde_json::Map<_, _>>(),
                "ours_to_it": interval(&row.ours_to_it),
                "ours_to_it_metric": self.metrics[self.ratio_metric],
                "slices": row.record.slices,
                "void": row.record.void,
                "void_by": {
                    "involuntary_switch": row.record.void_by[0],
                    "steal": row.record.void_by[1],
                    "gap": row.record.void_by[2],
                },
                "rounds": row.record.rounds,
            })).collect::<Vec<_>>(),
            "claims": self.outcomes.iter().map(|outcome| json!({
                "name": outcome.claim.name,
                "metric": self.metrics[outcome.claim.metric],
                "rival": outcome.rival,
                "limit": match outcome.claim.limit {
                    Limit::AtMost(most) => json!({"at_most": most}),
                    Limit::AtLeast(least) => json!({"at_least": least}),
                },
                "stretch": outcome.claim.stretch,
                "ratio": interval(&outcome.ratio),
                "verdict": outcome.verdict.name(),
            })).collect::<Vec<_>>(),
        })
    }
}

/// A number of at most six digits and its unit prefix.
fn short(value: Option<f64>) -> String {
    match value {
        None => "-".into(),
        Some(value) if value >= 1e6 => format!("{:.1}M", value / 1e6),
        Some(value) if value >= 100.0 => format!("{value:.1}"),
        Some(value) => format!("{value:.2}"),
    }
}

fn interval_text(interval: &Option<Interval>) -> String {
    interval.map_or("-".into(), |i| format!("{:.3} [{:.3}, {:.3}]", i.median, i.low, i.high))
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "== {}\n{}", self.name, self.what)?;
        match self.mode {
            Mode::Full if self.rounds < CLAIM_ROUNDS => writeln!(f, "{} ROUNDS: not a claim", self.rounds)?,
            Mode::Full => {}
            Mode::Quick => writeln!(f, "QUICK RUN: not a claim")?,
            Mode::Check => writeln!(f, "CHECK: the contenders did what they must; the numbers mean nothing")?,
        }
        write!(f, "{:<24} {:<8}", "", "")?;
        for metric in &self.metrics {
            write!(f, " {metric:>10}")?;
        }
        writeln!(f, "  {:<24} void", format!("ours / it ({})", self.metrics[self.ratio_metric]))?;
        for row in &self.rows {
            write!(f, "{:<24} {:<8}", row.name, row.role.name())?;
            for (value, metric) in row.values.iter().zip(&self.metrics) {
                write!(f, " {:>width$}", short(*value), width = metric.len().max(10))?;
            }
            let ratio = interval_text(&row.ours_to_it);
            writeln!(f, "  {ratio:<24} {}/{}", row.record.void, row.record.slices)?;
        }
        for outcome in &self.outcomes {
            let limit = match outcome.claim.limit {
                Limit::AtMost(most) => format!("<= {most}"),
                Limit::AtLeast(least) => format!(">= {least}"),
            };
            writeln!(
                f,
                "{:<8} {} ({}): {} {limit}, stretch {}",
                outcome.verdict.name(),
                outcome.claim.name,
                outcome.rival.unwrap_or(if outcome.claim.rival == Rival::Nobody { "itself" } else { "no rival" }),
                interval_text(&outcome.ratio),
                outcome.claim.stretch,
            )?;
        }
        let by = |reason: usize| self.rows.iter().map(|row| row.record.void_by[reason]).sum::<usize>();
        writeln!(
            f,
            "{} rounds{}; void slices: {:.1} % (involuntary switches {}, steal {}, gaps {})",
            self.rounds,
            self.budget_slice_ms
                .map(|ms| format!(", slices of {ms:.1} ms where their length is chosen"))
                .unwrap_or_default(),
            self.void_share() * 100.0,
            by(0),
            by(1),
            by(2)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::duel::{Length, Slice};

    #[test]
    fn a_verdict_needs_the_whole_interval() {
        let interval = |low, high| Interval { median: (low + high) / 2.0, low, high, count: 40 };
        assert_eq!(Verdict::of(&interval(1.0, 1.1), Limit::AtMost(1.1)), Verdict::Pass);
        assert_eq!(Verdict::of(&interval(1.0, 1.2), Limit::AtMost(1.1)), Verdict::Noisy);
        assert_eq!(Verdict::of(&interval(1.2, 1.3), Limit::AtMost(1.1)), Verdict::Fail);
        assert_eq!(Verdict::of(&interval(0.9, 1.3), Limit::AtLeast(0.9)), Verdict::Pass);
        assert_eq!(Verdict::of(&interval(0.8, 0.89), Limit::AtLeast(0.9)), Verdict::Fail);
    }

    #[test]
    fn the_best_peer_is_the_one_that_is_hardest_to_beat() {
        let entry = |name, role| Entry {
            name,
            role,
            length: Length::Chosen,
            run: Box::new(|| Slice { values: Vec::new(), disturbance: Default::default() }),
        };
        let entries = [
            entry("ours", Role::Ours),
            entry("control", Role::Control),
            entry("slow", Role::Peer),
            entry("fast", Role::Peer),
        ];
        let record = |value: f64, control: f64| Record {
            rounds: vec![Some(vec![value]), Some(vec![value]), None],
            controls: vec![vec![Some(vec![control])]; 3],
            slices: 4,
            void: 1,
            ..Record::default()
        };
        let records = vec![record(50.0, 40.0), record(45.0, 45.0), record(200.0, 45.0), record(100.0, 45.0)];
        let claim = |rival, limit| Claim { name: "claim", metric: 0, rival, limit, stretch: 1.0 };
        let claims = [
            claim(Rival::Best, Limit::AtMost(0.8)),
            claim(Rival::Best, Limit::AtLeast(0.8)),
            claim(Rival::Control, Limit::AtMost(1.2)),
            claim(Rival::Named("absent"), Limit::AtMost(1.2)),
            claim(Rival::Nobody, Limit::AtMost(50.0)),
        ];
        let options = Options::check();
        let table = Table::new("test", "", &["p50"], &entries, records, &claims, &options);
        let outcome = |index: usize| {
            let outcome: &Outcome = &table.outcomes[index];
            (outcome.rival, outcome.ratio.map(|ratio| ratio.median), outcome.verdict)
        };
        assert_eq!(outcome(0), (Some("fast"), Some(0.5), Verdict::Pass));
        assert_eq!(outcome(1), (Some("slow"), Some(0.25), Verdict::Fail));
        assert_eq!(outcome(2), (Some("control"), Some(1.25), Verdict::Fail), "with the control's own slice");
        assert_eq!(outcome(3), (None, None, Verdict::NoData));
        assert_eq!(outcome(4), (None, Some(50.0), Verdict::Pass), "our own value");
        assert_eq!(table.void_share(), 0.25);
        assert!(table.to_string().contains("fast") && table.json()["claims"][0]["verdict"] == "pass");
        assert_eq!(table.json()["claims"][1]["verdict"], "FAIL");
    }

    #[test]
    fn a_contender_that_cannot_do_something_has_no_value_there() {
        let run = || Slice { values: Vec::new(), disturbance: Default::default() };
        let entries = [
            Entry { name: "ours", role: Role::Ours, length: Length::Chosen, run: Box::new(run) },
            Entry { name: "cannot", role: Role::Peer, length: Length::Chosen, run: Box::new(run) },
        ];
        let record = |value: f64| Record {
            rounds: vec![Some(vec![value])],
            controls: vec![Vec::new()],
            slices: 1,
            ..Record::default()
        };
        let claims = [Claim::at_most("claim", 0, Rival::Best, 1.0, 1.0)];
        let options = Options::check();
        let table = Table::new("test", "", &["ns"], &entries, vec![record(5.0), record(f64::NAN)], &claims, &options);
        assert_eq!((table.rows[1].values[0], table.rows[1].ours_to_it), (None, None));
        assert_eq!(table.outcomes[0].verdict, Verdict::NoData);
    }
}
