//! Crossover: the trend turns, and the news does not say otherwise.
//!
//! With `d = ema_fast - ema_slow` of the closes (12 and 26 bars; J. Murphy, *Technical Analysis of the Financial Markets* (1999),
//! chapter 9; the difference is the MACD of G. Appel), a signal is given at the vector where `d` leaves a band of
//! `band * last_price * ewma_volatility` on the other side than it last did: the band keeps a price that stands still from giving one at
//! every tick. Its strength is `d` in units of four bands, at most 1, and its sign.
//!
//! News with a sentiment of at least [`Config::sentiment_min`] against the turn, not older than [`Config::news_ns`], holds the signal back;
//! news with it doubles the strength.

use super::numbers;
use crate::event::payload::{Features, News, Signal};
use crate::event::{EventRef, Kind, KindSet};
use crate::features::{Feature, SET_1, SET_2};
use crate::handler::{Ctx, Handler, Verdict};
use crate::units::{PRICE_ONE, Side};
use bytemuck::{Pod, Zeroable};

/// Widest band.
const BAND_MAX: f64 = 100.0;
/// Longest time for which news counts: a day in ns.
const NEWS_NS_MAX: u64 = 24 * 3_600 * 1_000_000_000;

/// Parameters of a [`Crossover`].
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Config {
    /// Half-width of the band around 0 in volatilities of one bar, 0 to 100. Default 0.5.
    pub band: f64,
    /// Weakest sentiment that counts, hundredths, 1 to 100. Default 50.
    pub sentiment_min: i8,
    /// How long news counts, ns of shard time: at most a day. Default 60 s.
    pub news_ns: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self { band: 0.5, sentiment_min: 50, news_ns: 60_000_000_000 }
    }
}

/// A parameter is out of its range. Says which.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(&'static str);

impl Config {
    /// Checks every parameter.
    ///
    /// # Errors
    /// [`ConfigError`] with the first that is out of its range.
    pub fn check(&self) -> Result<(), ConfigError> {
        if !(0.0..=BAND_MAX).contains(&self.band) {
            return Err(ConfigError("band is 0 to 100"));
        }
        if !(1..=100).contains(&self.sentiment_min) {
            return Err(ConfigError("sentiment_min is 1 to 100"));
        }
        if self.news_ns > NEWS_NS_MAX {
            return Err(ConfigError("news_ns is at most a day"));
        }
        Ok(())
    }
}

/// Signals when the trend turns; see the module.
#[derive(Clone, Copy, Debug, Default)]
pub struct Crossover {
    config: Config,
}

impl Crossover {
    /// The strategy with these parameters.
    ///
    /// # Errors
    /// As [`Config::check`].
    pub fn new(config: Config) -> Result<Self, ConfigError> {
        config.check()?;
        Ok(Self { config })
    }
}

/// What [`Crossover`] remembers of one symbol.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Debug, Default, Pod, Zeroable)]
pub struct State {
    /// The last news that counts, ns; 0 = none yet.
    news_ns: u64,
    /// Its sentiment, hundredths.
    sentiment: i64,
    /// On which side of the band it last was: 1 above, -1 below, 0 = on neither yet.
    trend: i64,
    /// Signals that news held back.
    held_back: u64,
    /// Signals that found no room in the staging area.
    unpublished: u64,
}

impl State {
    /// Signals that news held back.
    #[must_use]
    pub const fn held_back(&self) -> u64 {
        self.held_back
    }
}

impl Handler for Crossover {
    type State = State;
    const NAME: &'static str = "crossover";
    const STATE_VERSION: u16 = 1;
    /// It never fails.
    const ROLLBACK: bool = false;
    const TAKES_HISTORY: bool = false;
    const COUNTS: &'static [&'static str] = &["held_back", "unpublished"];

    fn count(&self, st: &State, sums: &mut [u64]) {
        sums.iter_mut().zip([st.held_back, st.unpublished]).for_each(|(sum, count)| *sum += count);
    }
    /// A dozen operations on a vector that is in the cache: a call that takes longer was interrupted.
    const BUDGET_NS: Option<u64> = Some(5_000);

    fn interests(&self) -> KindSet {
        const { KindSet::of(&[Kind::NEWS, Kind::FEATURES]) }
    }

    fn on_event(&self, st: &mut State, ev: EventRef<'_>, cx: &mut Ctx<'_>) -> Verdict {
        let now = cx.now().0;
        if let Some(news) = ev.get::<News>() {
            if news.sentiment.unsigned_abs() >= self.config.sentiment_min.unsigned_abs() {
                (st.news_ns, st.sentiment) = (now, news.sentiment.into());
            }
            return Verdict::Done;
        }
        // A reply tells nothing that the vector at the bar's close does not.
        if !ev.get::<Features>().is_some_and(|of| of.interval_ns != 0 && matches!(of.set, SET_1 | SET_2)) {
            return Verdict::Done;
        }
        let of = |feature| Features::value_of(ev, feature as usize);
        let (Some(fast), Some(slow)) = (of(Feature::EmaFast), of(Feature::EmaSlow)) else { return Verdict::Done };
        let (Some(price), Some(sigma)) = (of(Feature::LastPrice), of(Feature::EwmaVolatility)) else {
            return Verdict::Done;
        };
        let (d, band) = (fast - slow, self.config.band * price * sigma);
        let trend = if d > band {
            1
        } else if d < -band {
            -1
        } else {
            return Verdict::Done;
        };
        let before = core::mem::replace(&mut st.trend, trend);
        // Where it was before it was first seen is not known: that is no turn.
        if before == 0 || before == trend {
            return Verdict::Done;
        }
        let has_news = st.sentiment != 0 && now - st.news_ns <= self.config.news_ns;
        let agrees = st.sentiment.signum() == trend;
        if has_news && !agrees {
            st.held_back += 1;
            return Verdict::Done;
        }
        let strength = if band > 0.0 { (d.abs() / (4.0 * band)).min(1.0) } else { 1.0 };
        let strength = if has_news { (2.0 * strength).min(1.0) } else { strength };
        let signal = Signal {
            strength: strength * trend as f64,
            price: (price * PRICE_ONE as f64).round() as i64,
            strategy: numbers::CROSSOVER,
            side: if trend > 0 { Side::Bid } else { Side::Ask } as u8,
            reserved: [0; 3],
        };
        if cx.signal(&signal).is_err() {
            st.unpublished += 1;
        }
        Verdict::Done
    }
}
