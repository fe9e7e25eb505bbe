//! Correlation with a benchmark symbol: a handler of its own that goes across symbols.
//!
//! Prices are sampled at the closes of the benchmark's traded bars: at each, the log return of the symbol and that of the
//! benchmark since the sample before make a pair, the symbol's price being its latest one (previous-tick sampling). Of
//! the pairs, with `lambda = 0.94`:
//! ```text
//! cov[0] = r b,  cov[i] = lambda cov[i-1] + (1 - lambda) r b        and so for r r and b b
//! correlation = cov / sqrt(var_r var_b)        beta = cov / var_b
//! ```
//! Both are 0 where one side has not moved. They are ready after 33 pairs.
//!
//! Sources: J.P. Morgan/Reuters, *RiskMetrics Technical Document*, 4th edition (1996), section 5.2; sampling as in M.
//! Dacorogna et al., *An Introduction to High-Frequency Finance* (2001), section 3.2.1.
//!
//! The engine's vector of the benchmark makes an event for each follower ([`SET_BENCHMARK`]), due one mesh delay after the
//! close wherever the follower lives; what a follower publishes is [`SET_CORRELATION`]. As the handler crosses symbols, shards
//! that have it keep step with each other, so it is on a bus only where a benchmark is configured.

use super::bar::BAR_NS;
use super::groups::Group;
use super::set::{Feature, FeatureDef, SET_2};
use crate::event::payload::Features;
use crate::event::{EventRef, Kind, KindSet};
use crate::handler::{Ctx, Handler, Verdict};
use crate::limits::CORRELATION_FOLLOWERS_MAX;
use crate::units::SymbolId;
use bytemuck::{Pod, Zeroable};

/// Number of the set that a follower's correlation is published with.
pub const SET_CORRELATION: u32 = 3;
/// Number of the set by which the benchmark's close goes to its followers.
pub const SET_BENCHMARK: u32 = 4;

/// The values of [`SET_CORRELATION`].
pub const CORRELATION: &[FeatureDef] = &[
    FeatureDef {
        name: "correlation",
        group: Group::Correlation,
        unit: "ratio",
        warm_up: "33 pairs",
        doc: "Exponentially weighted correlation of log returns with those of the benchmark, -1 to 1.",
    },
    FeatureDef {
        name: "beta",
        group: Group::Correlation,
        unit: "ratio",
        warm_up: "33 pairs",
        doc: "Exponentially weighted covariance with the benchmark over the benchmark's variance.",
    },
];
/// The values of [`SET_BENCHMARK`].
pub const BENCHMARK: &[FeatureDef] = &[FeatureDef {
    name: "benchmark_price",
    group: Group::Correlation,
    unit: "price",
    warm_up: "none",
    doc: "Close of the benchmark's bar.",
}];

/// Why a correlation cannot be set up.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CorrelationError {
    /// More followers than [`CORRELATION_FOLLOWERS_MAX`].
    #[error("at most {CORRELATION_FOLLOWERS_MAX} symbols are correlated with a benchmark, not {0}")]
    TooMany(usize),
    /// The benchmark would follow itself, or a symbol twice, or no symbol is named.
    #[error("a benchmark and its followers are different symbols: {0:?} is not")]
    Symbol(SymbolId),
}

/// Exponentially weighted moments of pairs of returns.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Debug, Default, Pod, Zeroable)]
pub struct Pairs {
    own: f64,
    benchmark: f64,
    both: f64,
    /// Pairs so far.
    count: u64,
}

impl Pairs {
    /// Decay factor.
    pub const LAMBDA: f64 = 0.94;
    /// Pairs before the values are ready: as [`super::volatility::Ewma::WARM_UP`].
    pub const WARM_UP: u64 = super::volatility::Ewma::WARM_UP;

    /// Takes a pair of returns in, the symbol's own and the benchmark's. O(1), no division.
    #[inline]
    pub fn update(&mut self, own: f64, benchmark: f64) {
        let is_first = self.count == 0;
        let next = |before: f64, x: f64| if is_first { x } else { Self::LAMBDA * before + (1.0 - Self::LAMBDA) * x };
        self.own = next(self.own, own * own);
        self.benchmark = next(self.benchmark, benchmark * benchmark);
        self.both = next(self.both, own * benchmark);
        self.count += 1;
    }

    /// Correlation, -1 to 1, and beta; `None` before [`Pairs::WARM_UP`] pairs. Two divisions, two roots.
    #[inline]
    #[must_use]
    pub fn value(&self) -> Option<(f64, f64)> {
        if self.count < Self::WARM_UP {
            return None;
        }
        // Two roots: the product of two small variances would lose its digits first.
        let both = self.own.sqrt() * self.benchmark.sqrt();
        let correlation = if both > 0.0 { (self.both / both).clamp(-1.0, 1.0) } else { 0.0 };
        let beta = if self.benchmark > 0.0 { self.both / self.benchmark } else { 0.0 };
        Some((correlation, if beta.is_finite() { beta } else { 0.0 }))
    }
}

/// What [`Correlation`] remembers of a symbol.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Debug, Default, Pod, Zeroable)]
pub struct CorrelationState {
    /// Latest price, in whole units; 0 = none yet.
    price: f64,
    /// Both prices at the latest sample; 0 = there was none.
    own: f64,
    benchmark: f64,
    pairs: Pairs,
    /// Events that found no room in the staging area.
    unpublished: u64,
}

impl CorrelationState {
    /// Events that found no room in the staging area ([`crate::handler::Full`]).
    #[must_use]
    pub const fn unpublished(&self) -> u64 {
        self.unpublished
    }
}

/// Correlates symbols with a benchmark. Stands behind [`super::Engine`] on a bus, whose vectors it takes.
#[derive(Clone, Debug)]
pub struct Correlation {
    benchmark: SymbolId,
    followers: Box<[SymbolId]>,
}

impl Correlation {
    /// Correlates `followers` with `benchmark`.
    ///
    /// # Errors
    /// [`CorrelationError`] where there are too many, or symbols are not different.
    pub fn new(benchmark: SymbolId, followers: &[SymbolId]) -> Result<Self, CorrelationError> {
        if followers.len() > CORRELATION_FOLLOWERS_MAX {
            return Err(CorrelationError::TooMany(followers.len()));
        }
        for (index, symbol) in followers.iter().enumerate() {
            if *symbol == benchmark || *symbol == SymbolId::NONE || followers[..index].contains(symbol) {
                return Err(CorrelationError::Symbol(*symbol));
            }
        }
        if benchmark == SymbolId::NONE {
            return Err(CorrelationError::Symbol(benchmark));
        }
        Ok(Self { benchmark, followers: followers.into() })
    }

    /// A vector of the engine.
    fn on_vector(&self, st: &mut CorrelationState, event: EventRef<'_>, cx: &mut Ctx<'_>) {
        let value = |feature: Feature| Features::value_of(event, feature as usize);
        let Some(price) = value(Feature::LastPrice) else { return };
        st.price = price;
        if cx.symbol() != self.benchmark || value(Feature::TradesBar) == Some(0.0) {
            return;
        }
        let head = Features { ready: 1, interval_ns: BAR_NS, count: 1, set: SET_BENCHMARK };
        for follower in &self.followers {
            if cx.publish_to(*follower, &head, 0, &[price.to_bits()]).is_err() {
                st.unpublished += 1;
            }
        }
    }

    /// A close of the benchmark.
    fn on_benchmark(st: &mut CorrelationState, benchmark: f64, cx: &mut Ctx<'_>) {
        if st.price <= 0.0 || benchmark <= 0.0 {
            return;
        }
        let before = (st.own, st.benchmark);
        (st.own, st.benchmark) = (st.price, benchmark);
        if before.0 <= 0.0 {
            return;
        }
        st.pairs.update(libm::log(st.own / before.0), libm::log(st.benchmark / before.1));
        let (ready, values) = st.pairs.value().map_or((0, [0.0; 2]), |(correlation, beta)| (0b11, [correlation, beta]));
        let head = Features { ready, interval_ns: BAR_NS, count: 0, set: SET_CORRELATION };
        if cx.features(&head, &values).is_err() {
            st.unpublished += 1;
        }
    }
}

impl Handler for Correlation {
    type State = CorrelationState;
    const NAME: &'static str = "correlation";
    const STATE_VERSION: u16 = 1;
    /// It never fails.
    const ROLLBACK: bool = false;
    const TAKES_HISTORY: bool = false;
    const CROSSES_SYMBOLS: bool = true;

    fn interests(&self) -> KindSet {
        const { KindSet::of(&[Kind::FEATURES]) }
    }

    fn on_event(&self, st: &mut CorrelationState, ev: EventRef<'_>, cx: &mut Ctx<'_>) -> Verdict {
        match ev.get::<Features>() {
            // A vector on request has no interval: it closes no bar.
            Some(features) if features.set == SET_2 && features.interval_ns != 0 => {
                self.on_vector(st, ev, cx);
            }
            Some(features) if features.set == SET_BENCHMARK && cx.symbol() != self.benchmark => {
                if let Some(price) = Features::values_of(ev).next() {
                    Self::on_benchmark(st, price, cx);
                }
            }
            _ => {}
        }
        Verdict::Done
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_hand() {
        let (mut twice, mut against, mut still) = (Pairs::default(), Pairs::default(), Pairs::default());
        for i in 0..Pairs::WARM_UP {
            assert_eq!(twice.value(), None, "{i}");
            let b = if i % 3 == 0 { 0.01 } else { -0.004 };
            twice.update(2.0 * b, b);
            against.update(-0.5 * b, b);
            still.update(0.0, b);
        }
        let is = |value: Option<(f64, f64)>, correlation: f64, beta: f64| {
            let (c, b) = value.unwrap();
            (c - correlation).abs() < 1e-14 && (b - beta).abs() < 1e-14
        };
        assert!(is(twice.value(), 1.0, 2.0) && is(against.value(), -1.0, -0.5) && is(still.value(), 0.0, 0.0));
        let before = twice;
        twice.update(0.02, -0.01);
        let (r, b, rb) =
            (0.94 * before.own + 0.06 * 4e-4, 0.94 * before.benchmark + 0.06 * 1e-4, 0.94 * before.both - 0.06 * 2e-4);
        assert!(is(twice.value(), rb / (r * b).sqrt(), rb / b));
    }

    #[test]
    fn symbols_are_different_and_few() {
        let ids = |ids: &[u32]| ids.iter().map(|id| SymbolId(*id)).collect::<Vec<_>>();
        assert!(Correlation::new(SymbolId(1), &ids(&[2, 3])).is_ok());
        for (benchmark, followers, wrong) in [(1, &[2, 1][..], 1), (1, &[2, 2], 2), (1, &[0], 0), (0, &[2], 0)] {
            let error = Correlation::new(SymbolId(benchmark), &ids(followers)).unwrap_err();
            assert_eq!(error, CorrelationError::Symbol(SymbolId(wrong)));
        }
        let many: Vec<SymbolId> = (2..).take(CORRELATION_FOLLOWERS_MAX + 1).map(SymbolId).collect();
        assert_eq!(Correlation::new(SymbolId(1), &many).unwrap_err(), CorrelationError::TooMany(many.len()));
    }
}
