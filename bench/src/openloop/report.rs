//! What a run of [`openloop`](super) says: a curve of each contender, knees, and the claims of P15.

use super::{LOADS, Point};
use crate::duel::{Mode, Options};
use hdrhistogram::Histogram;
use serde_json::{Value, json};
use std::fmt;

/// How many times the p99 at the least load the p99 at the knee is.
const KNEE: f64 = 10.0;
/// Share of void pieces of a point above which it is no claim.
const VOID_SHARE_MAX: f64 = 0.5;
/// Samples that must lie beyond a percentile for it to be told.
const BEYOND_MIN: f64 = 10.0;

/// One contender.
#[derive(Debug)]
struct Curve {
    name: &'static str,
    is_control: bool,
    maximum: Option<f64>,
    points: Vec<Point>,
}

/// All curves of a run.
#[derive(Debug)]
pub struct Curves {
    curves: Vec<Curve>,
    mode: Mode,
}

/// A percentile in ns; `None` with fewer than ten samples beyond it.
fn told(responses: &Histogram<u64>, quantile: f64) -> Option<u64> {
    let beyond = (1.0 - quantile) * responses.len() as f64;
    (beyond + 1e-9 >= BEYOND_MIN).then(|| responses.value_at_quantile(quantile))
}

impl Point {
    fn is_void(&self) -> bool {
        let (run, void) = self.pieces;
        self.responses.is_empty() || void as f64 > VOID_SHARE_MAX * run as f64
    }
}

/// One claim of P15.
struct Claim {
    what: String,
    value: Option<f64>,
    limit: f64,
    at_least: bool,
    is_void: bool,
}

impl Claim {
    fn verdict(&self) -> &'static str {
        match self.value {
            _ if self.is_void => "void",
            None => "not told",
            Some(value) if (value <= self.limit) != self.at_least || value == self.limit => "pass",
            Some(_) => "FAIL",
        }
    }
}

impl Curves {
    pub(super) fn new(
        names: Vec<(&'static str, bool)>,
        maxima: Vec<Option<f64>>,
        points: Vec<Vec<Point>>,
        options: &Options,
    ) -> Self {
        let curves = names.into_iter().zip(maxima).zip(points);
        let curves = curves.map(|(((name, is_control), maximum), points)| Curve { name, is_control, maximum, points });
        Self { curves: curves.collect(), mode: options.mode }
    }

    /// The first load, in percent, whose p99 is more than ten times that at the least load; `None` where there is none.
    fn knee(curve: &Curve) -> Option<u32> {
        let first = told(&curve.points.first()?.responses, 0.99)? as f64;
        let beyond =
            |point: &&(&u32, &Point)| told(&point.1.responses, 0.99).is_some_and(|p99| p99 as f64 > KNEE * first);
        LOADS.iter().zip(&curve.points).find(|point| beyond(&point)).map(|(load, _)| *load)
    }

    fn claims(&self) -> Vec<Claim> {
        let mut claims = Vec::new();
        let (Some(ours), Some(control)) = (self.curves.first(), self.curves.iter().find(|curve| curve.is_control))
        else {
            return claims;
        };
        for load in [50, 80] {
            let Some(index) = LOADS.iter().position(|other| *other == load) else { continue };
            let (own, raw) = (&ours.points[index], &control.points[index]);
            for (name, quantile, limit) in [("p50", 0.5, 2.0), ("p99", 0.99, 3.0), ("p99.9", 0.999, 1.2)] {
                let ratio = told(&own.responses, quantile).zip(told(&raw.responses, quantile));
                claims.push(Claim {
                    what: format!("P15 {name} at {load} % against C2 at the same rate"),
                    value: ratio.map(|(own, raw)| own as f64 / raw.max(1) as f64),
                    limit,
                    at_least: false,
                    is_void: own.is_void() || raw.is_void(),
                });
            }
        }
        let is_void = ours.points.iter().any(Point::is_void);
        // Without a knee it lies beyond the last load.
        let knee = Self::knee(ours).map_or(100.0, f64::from);
        let what = "P15 knee, percent of the maximum".to_owned();
        claims.push(Claim { what, value: Some(knee), limit: 85.0, at_least: true, is_void });
        claims
    }

    /// As JSON: every point with its percentiles, ns.
    #[must_use]
    pub fn json(&self) -> Value {
        let point = |(load, point): (&u32, &Point)| {
            let of = |quantile| told(&point.responses, quantile);
            json!({
                "load_percent": load, "offered_per_second": point.offered, "achieved_per_second": point.achieved,
                "pieces": point.pieces.0, "void": point.pieces.1, "count": point.responses.len(),
                "min": point.responses.min(), "p50": of(0.5), "p90": of(0.9), "p99": of(0.99), "p99_9": of(0.999),
                "p99_99": of(0.9999), "max": point.responses.max(),
            })
        };
        let curve = |curve: &Curve| {
            json!({
                "name": curve.name, "is_control": curve.is_control, "max_per_second": curve.maximum,
                "knee_percent": Self::knee(curve), "points": LOADS.iter().zip(&curve.points).map(point).collect::<Vec<_>>(),
            })
        };
        let claim = |claim: &Claim| json!({"claim": claim.what, "value": claim.value, "limit": claim.limit, "verdict": claim.verdict()});
        json!({
            "mode": self.mode.name(),
            "contenders": self.curves.iter().map(curve).collect::<Vec<_>>(),
            "claims": self.claims().iter().map(claim).collect::<Vec<_>>(),
        })
    }
}

fn cell(value: Option<u64>) -> String {
    value.map_or_else(|| "-".into(), |value| value.to_string())
}

impl fmt::Display for Curves {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "open loop: response in ns from the intended time, Poisson arrivals, two averages a price; * = more than half of the pieces void"
        )?;
        writeln!(f, "{:<20} {:>10}  {:>6}", "", "max M/s", "knee %")?;
        for curve in &self.curves {
            let maximum = curve.maximum.map_or_else(|| "-".into(), |rate| format!("{:.2}", rate / 1e6));
            let knee = Self::knee(curve).map_or_else(|| "none".into(), |load| load.to_string());
            writeln!(f, "{:<20} {maximum:>10}  {knee:>6}", curve.name)?;
        }
        writeln!(
            f,
            "\n{:>4}  {:<18} {:>9} {:>9} {:>9} {:>9} {:>10} {:>10}",
            "load", "", "M/s", "done M/s", "p50", "p99", "p99.9", "void"
        )?;
        for (index, load) in LOADS.iter().enumerate() {
            for curve in &self.curves {
                let Some(point) = curve.points.get(index) else { continue };
                let of = |quantile| cell(told(&point.responses, quantile));
                let name = format!("{}{}", curve.name, if point.is_void() { " *" } else { "" });
                let done = point.achieved.map_or_else(|| "-".into(), |rate| format!("{:.2}", rate / 1e6));
                writeln!(
                    f,
                    "{load:>3}%  {name:<18} {:>9.2} {done:>9} {:>9} {:>9} {:>10} {:>10}",
                    point.offered / 1e6,
                    of(0.5),
                    of(0.99),
                    of(0.999),
                    format!("{}/{}", point.pieces.1, point.pieces.0),
                )?;
            }
        }
        writeln!(f)?;
        for claim in self.claims() {
            let value = claim.value.map_or_else(|| "-".into(), |value| format!("{value:.2}"));
            let limit = if claim.at_least { ">=" } else { "<=" };
            writeln!(f, "{:<52} {value:>8} {limit} {:<5} {}", claim.what, claim.limit, claim.verdict())?;
        }
        if self.mode != Mode::Full {
            writeln!(f, "{} run: not a claim", self.mode.name())?;
        }
        Ok(())
    }
}
