//! A service level objective: bounds of response times at percentiles, as text.
//!
//! ```text
//! slo   = bound *( "," bound )
//! bound = ( "p" digits [ "." digits ] | "max" ) "<" number unit     ; p99.9<200us, p50 < 1.5ms, max<10ms
//! unit  = "ns" | "us" | "µs" | "ms" | "s"
//! ```
//! White space is allowed between all parts. A percentile has to be one that a replay tells: see [`Quantile`].

use super::result::Tail;
use serde::Serialize;
use std::fmt;

/// A place in the distribution of response times that a replay tells.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Quantile {
    /// Median.
    P50,
    /// 90th percentile.
    P90,
    /// 99th percentile.
    P99,
    /// 99.9th percentile.
    P999,
    /// 99.99th percentile.
    P9999,
    /// The largest response of all.
    Max,
}

impl Quantile {
    /// All of them, rising.
    pub const ALL: [Self; 6] = [Self::P50, Self::P90, Self::P99, Self::P999, Self::P9999, Self::Max];

    /// As it is written: `p99.9`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::P50 => "p50",
            Self::P90 => "p90",
            Self::P99 => "p99",
            Self::P999 => "p99.9",
            Self::P9999 => "p99.99",
            Self::Max => "max",
        }
    }

    /// Its value, ns; `None` where the replay could not tell it.
    #[must_use]
    pub const fn of(self, tail: &Tail) -> Option<f64> {
        match self {
            Self::P50 => tail.p50,
            Self::P90 => tail.p90,
            Self::P99 => tail.p99,
            Self::P999 => tail.p99_9,
            Self::P9999 => tail.p99_99,
            Self::Max => tail.max,
        }
    }

    /// Samples without which it is not told: ten beyond it, or one for the largest. See [`crate::report::latency::BEYOND_MIN`].
    #[must_use]
    pub const fn samples_min(self) -> u64 {
        let beyond = crate::report::latency::BEYOND_MIN;
        match self {
            Self::P50 => beyond * 2,
            Self::P90 => beyond * 10,
            Self::P99 => beyond * 100,
            Self::P999 => beyond * 1_000,
            Self::P9999 => beyond * 10_000,
            Self::Max => 1,
        }
    }
}

/// One bound: the response time at `quantile` has to be below `ns`.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Bound {
    /// Where in the distribution.
    pub quantile: Quantile,
    /// What it has to stay below, ns. Above 0 and finite.
    pub ns: f64,
}

/// All bounds, each of which has to hold; at least one.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Slo {
    /// As it was written.
    pub text: String,
    /// Its bounds, in that order.
    #[serde(serialize_with = "bounds")]
    pub bounds: Vec<Bound>,
}

fn bounds<S: serde::Serializer>(bounds: &[Bound], serializer: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Told {
        percentile: &'static str,
        below_ns: f64,
    }
    serializer.collect_seq(bounds.iter().map(|bound| Told { percentile: bound.quantile.name(), below_ns: bound.ns }))
}

/// What is wrong with the text of an SLO, and where.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{what}, at character {} of {text:?}", at + 1)]
pub struct SloError {
    /// What is wrong.
    pub what: String,
    /// Characters before it.
    pub at: usize,
    /// The whole text.
    pub text: String,
}

/// Whether a set of response times holds an SLO.
#[derive(Clone, PartialEq, Debug)]
pub enum Held {
    /// Every bound holds.
    Yes,
    /// The first bound that does not.
    No(Bound, f64),
    /// No bound is broken, but this one's percentile was not told.
    Unknown(Bound),
}

impl Slo {
    /// Reads it.
    ///
    /// # Errors
    /// With what is wrong, and the place in the text.
    pub fn parse(text: &str) -> Result<Self, SloError> {
        let mut parser = Parser { text, at: 0 };
        let mut bounds = Vec::new();
        loop {
            bounds.push(parser.bound()?);
            if parser.rest().is_empty() {
                return Ok(Self { text: text.trim().to_owned(), bounds });
            }
            parser.symbol(',', "a comma and one bound more, or the end")?;
        }
    }

    /// Whether `tail` holds it. A bound that is broken comes before one that is not known. O(bounds).
    #[must_use]
    pub fn held(&self, tail: &Tail) -> Held {
        let mut held = Held::Yes;
        for bound in &self.bounds {
            match bound.quantile.of(tail) {
                Some(ns) if ns >= bound.ns => return Held::No(*bound, ns),
                // What is no number is not below anything.
                Some(ns) if ns < bound.ns => {}
                _ if held == Held::Yes => held = Held::Unknown(*bound),
                _ => {}
            }
        }
        held
    }

    /// Samples without which not all of its percentiles are told.
    #[must_use]
    pub fn samples_min(&self) -> u64 {
        self.bounds.iter().map(|bound| bound.quantile.samples_min()).max().unwrap_or(1)
    }
}

impl fmt::Display for Slo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

struct Parser<'a> {
    text: &'a str,
    /// Bytes read.
    at: usize,
}

impl<'a> Parser<'a> {
    /// What is left, without the white space before it.
    fn rest(&mut self) -> &'a str {
        let rest = &self.text[self.at..];
        let trimmed = rest.trim_start();
        self.at += rest.len() - trimmed.len();
        trimmed
    }

    fn error(&self, at: usize, what: impl Into<String>) -> SloError {
        SloError { what: what.into(), at: self.text[..at].chars().count(), text: self.text.to_owned() }
    }

    /// The longest run of characters for which `is_part`.
    fn take(&mut self, is_part: impl Fn(char) -> bool) -> &'a str {
        let rest = self.rest();
        let end = rest.find(|c| !is_part(c)).unwrap_or(rest.len());
        self.at += end;
        &rest[..end]
    }

    fn symbol(&mut self, symbol: char, expected: &str) -> Result<(), SloError> {
        let rest = self.rest();
        if !rest.starts_with(symbol) {
            return Err(self.error(self.at, format!("expected {expected}")));
        }
        self.at += symbol.len_utf8();
        Ok(())
    }

    fn bound(&mut self) -> Result<Bound, SloError> {
        let rest = self.rest();
        let from = self.at;
        if rest.is_empty() {
            return Err(self.error(from, "expected a bound, as in p99.9<200us"));
        }
        let name = self.take(|c| c.is_alphanumeric() || c == '.');
        let Some(quantile) = quantile(name) else {
            let known = Quantile::ALL.map(Quantile::name).join(", ");
            return Err(self.error(from, format!("{name:?} is no percentile that a replay tells ({known})")));
        };
        self.symbol('<', "< and a time, as in p99.9<200us")?;
        self.rest();
        let from = self.at;
        let digits = self.take(|c| c.is_ascii_digit() || c == '.');
        // `f64` would read more than a plain number: `1e3`, `inf`; and take `1.` and `.5`.
        let is_plain = digits.split('.').all(|part| !part.is_empty()) && digits.split('.').count() <= 2;
        let number = digits.parse::<f64>().ok().filter(|number| is_plain && number.is_finite());
        let Some(number) = number else {
            return Err(self.error(from, "expected a time, as in 200us or 1.5ms"));
        };
        if number <= 0.0 {
            return Err(self.error(from, "a time above 0 is needed: no response takes less"));
        }
        self.rest();
        let from = self.at;
        let unit = match self.take(char::is_alphabetic) {
            "ns" => 1.0,
            // The sign micro and the Greek letter look the same.
            "us" | "\u{b5}s" | "\u{3bc}s" => 1e3,
            "ms" => 1e6,
            "s" => 1e9,
            "" => return Err(self.error(from, "expected a unit: ns, us, ms or s")),
            other => return Err(self.error(from, format!("{other:?} is no unit: ns, us, ms or s"))),
        };
        let ns = number * unit;
        if ns > crate::report::latency::LATENCY_NS_MAX as f64 {
            return Err(self.error(from, "more than an hour is not measured"));
        }
        Ok(Bound { quantile, ns })
    }
}

/// By its name, with or without zeros behind the point: `p99.90` is `p99.9`.
fn quantile(name: &str) -> Option<Quantile> {
    let short = if name.contains('.') { name.trim_end_matches('0').trim_end_matches('.') } else { name };
    Quantile::ALL.into_iter().find(|quantile| quantile.name() == name || quantile.name() == short)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bounds_of(text: &str) -> Vec<(&'static str, f64)> {
        let slo = Slo::parse(text).unwrap_or_else(|error| panic!("{error}"));
        slo.bounds.iter().map(|bound| (bound.quantile.name(), bound.ns)).collect()
    }

    #[test]
    fn bounds_in_all_their_forms() {
        assert_eq!(bounds_of("p99.9<200us"), [("p99.9", 200_000.0)]);
        assert_eq!(bounds_of("p50<5us"), [("p50", 5_000.0)]);
        assert_eq!(bounds_of(" p99.99 < 1 ms "), [("p99.99", 1e6)]);
        assert_eq!(bounds_of("max<10ms"), [("max", 1e7)]);
        assert_eq!(bounds_of("p90<1.5\u{b5}s"), [("p90", 1_500.0)]);
        assert_eq!(bounds_of("p90<1.5\u{3bc}s"), [("p90", 1_500.0)]);
        assert_eq!(bounds_of("p50<800ns,p99.90<2s , max<0.5s"), [("p50", 800.0), ("p99.9", 2e9), ("max", 5e8)]);
        assert_eq!(bounds_of("p50.00<3600s"), [("p50", 3.6e12)]);
        let slo = Slo::parse("p50<5us, p99<20us").unwrap();
        assert_eq!(slo.to_string(), "p50<5us, p99<20us");
        let json = r#"{"text":"p50<5us, p99<20us","bounds":[{"percentile":"p50","below_ns":5000.0},{"percentile":"p99","below_ns":20000.0}]}"#;
        assert_eq!(serde_json::to_string(&slo).unwrap(), json);
    }

    #[test]
    fn mistakes_have_their_place() {
        for (text, at, part) in [
            ("", 0, "a bound"),
            ("   ", 3, "a bound"),
            ("p99.9", 5, "< and a time"),
            ("p99.9>200us", 5, "< and a time"),
            ("p99.9<", 6, "a time"),
            ("p99.9<us", 6, "a time"),
            ("p99.9<-5us", 6, "a time"),
            ("p99.9<1e3us", 7, "no unit"),
            ("p99.9<1.us", 6, "a time"),
            ("p99.9<.5us", 6, "a time"),
            ("p99.9<1.2.3us", 6, "a time"),
            ("p99.9<0us", 6, "above 0"),
            ("p99.9<200", 9, "a unit"),
            ("p99.9<200 min", 10, "no unit"),
            ("p99.9<3601s", 10, "an hour"),
            ("p95<1ms", 0, "p50, p90, p99, p99.9, p99.99, max"),
            ("p500<1ms", 0, "no percentile"),
            ("P99<1ms", 0, "no percentile"),
            ("<1ms", 0, "no percentile"),
            ("p50<5us,", 8, "a bound"),
            ("p50<5us,,p99<6us", 8, "no percentile"),
            ("p50<5us p99<6us", 8, "a comma"),
            ("p50<5\u{b5}s;p99<6us", 7, "a comma"),
        ] {
            let error = Slo::parse(text).expect_err(text);
            assert_eq!(error.at, at, "{error}");
            assert!(error.what.contains(part), "{error}");
            assert!(error.to_string().ends_with(&format!("at character {} of {text:?}", at + 1)), "{error}");
        }
    }

    /// Whatever is written, there is an answer, and its place lies within the text.
    #[test]
    fn no_text_breaks_the_parser() {
        let mut prng = crate::lab::stats::Prng::new(7);
        let parts = ["p", "50", "99.9", "max", "<", "1", ".", "us", "\u{b5}s", "ms", ",", " ", "\u{1F9EA}", "0", "s"];
        let mut good = 0;
        for _ in 0..20_000 {
            let text: String = (0..prng.index(9)).map(|_| parts[prng.index(parts.len())]).collect();
            match Slo::parse(&text) {
                Ok(slo) => {
                    good += 1;
                    assert!(slo.bounds.iter().all(|bound| bound.ns > 0.0 && bound.ns.is_finite()), "{text}");
                    assert_eq!(Slo::parse(&slo.text), Ok(slo));
                }
                Err(error) => assert!(error.at <= text.chars().count(), "{error}"),
            }
        }
        assert!(good > 0, "some are right by chance");
    }

    #[test]
    fn what_holds_what_does_not_and_what_is_unknown() {
        let tail = Tail {
            count: 50_000,
            p50: Some(900.0),
            p99: Some(4_000.0),
            p99_9: None,
            max: Some(1e6),
            ..Tail::default()
        };
        let held = |text: &str| Slo::parse(text).unwrap().held(&tail);
        assert_eq!(held("p50<1us"), Held::Yes);
        assert_eq!(held("p50<1us,p99<5us,max<2ms"), Held::Yes);
        assert_eq!(held("p50<900ns"), Held::No(Bound { quantile: Quantile::P50, ns: 900.0 }, 900.0), "not below");
        let unknown = Bound { quantile: Quantile::P999, ns: 5_000.0 };
        assert_eq!(held("p50<1us,p99.9<5us"), Held::Unknown(unknown));
        // What is broken is broken, whatever else is not known.
        assert!(matches!(held("p99.9<5us,p50<1ns"), Held::No(..)));
        assert_eq!(Slo::parse("p50<1us,p99.9<5us").unwrap().samples_min(), 10_000);
        let nan = Tail { p50: Some(f64::NAN), ..Tail::default() };
        assert!(matches!(Slo::parse("p50<1us").unwrap().held(&nan), Held::Unknown(_)));
    }
}
