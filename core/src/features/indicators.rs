//! All features that go by closed bars: one definition for live streams and for batches.
//!
//! A pure function over bars: the state after bars `b[0]` to `b[n]` and the values in it depend on these bars alone. The
//! engine feeds the bars that it closes; a batch feeds those of a file, and gets the same bits.

use super::adx::Adx;
use super::bands::{Bollinger, DONCHIAN_BARS, KELTNER_ATR_BARS, KELTNER_BARS, KELTNER_WIDTH};
use super::cci::Cci;
use super::closed::ClosedBar;
use super::closes::Closes;
use super::ema::Ema;
use super::liquidity::{Kyle, LIQUIDITY_BARS, amihud};
use super::macd::Macd;
use super::returns::{Returns, log_return};
use super::seasonality::Seasonality;
use super::set::Feature;
use super::stochastic::Stochastic;
use super::vector::Vector;
use super::volatility::{Ewma, Ranges, Realised};
use super::volume::{OnBalance, RELATIVE_VOLUME_BARS};
use super::vwap::Vwap;
use super::wilder::{Rsi, Wilder, true_range};
use super::window::{Extremes, Sum};
use crate::units::{PRICE_ONE, UnixNanos, price_f64};
use crate::zone::Zone;
use bytemuck::{Pod, Zeroable};

/// Length of the fast EMA in traded bars.
pub const EMA_FAST_BARS: u32 = 12;
/// Length of the slow EMA in traded bars.
pub const EMA_SLOW_BARS: u32 = 26;
/// Steps of the relative strength index.
pub const RSI_BARS: u32 = 14;
/// Bars of the average true range.
pub const ATR_BARS: u32 = 14;
/// Traded bars over which the rate of change is taken.
pub const ROC_BARS: u32 = 10;

/// What is remembered of the bars so far. Zero bytes = none yet.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Debug, Default, Pod, Zeroable)]
pub struct Indicators {
    session: Session,
    /// The latest bar; `end_ns` 0 = there was none.
    last: ClosedBar,
    ema_fast: Ema,
    ema_slow: Ema,
    ema_keltner: Ema,
    macd: Macd,
    returns: Returns,
    ewma: Ewma,
    on_balance: OnBalance,
    rsi: Rsi,
    atr: Wilder,
    atr_keltner: Wilder,
    adx: Adx,
    closes: Closes,
    stochastic: Stochastic,
    donchian: Extremes,
    cci: Cci,
    ranges: Ranges,
    volumes: Sum,
    amihud: Sum,
    kyle: Kyle,
    seasonality: Seasonality,
}

/// Sums that begin anew with each session.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Debug, Default, Pod, Zeroable)]
struct Session {
    /// End in ns since the UNIX epoch; 0 = none yet.
    end: u64,
    /// First price, 1e-9; 0 = no bar with a trade yet.
    open: i64,
    vwap: Vwap,
    realised: Realised,
}

impl Indicators {
    /// Begins the session that holds `now`, if it is not the one that is open: its sums are those of no bar. A session is a day in `zone`.
    #[inline]
    pub fn begin_session(&mut self, zone: &Zone, now: UnixNanos) {
        self.seasonality.set_offset(zone.offset_s(now));
        if now.0 >= self.session.end {
            self.session = Session { end: zone.day_end(now).0, ..Session::default() };
        }
    }

    /// Takes a bar with a trade in that ends after the one before. O(1): three logarithms at most.
    pub fn update(&mut self, zone: &Zone, bar: &ClosedBar) {
        self.begin_session(zone, UnixNanos(bar.end_ns - 1));
        let close = price_f64(bar.close);
        self.ema_fast.update(const { Ema::alpha(EMA_FAST_BARS) }, close);
        self.ema_slow.update(const { Ema::alpha(EMA_SLOW_BARS) }, close);
        self.ema_keltner.update(const { Ema::alpha(KELTNER_BARS) }, close);
        self.macd.update(&self.ema_fast, &self.ema_slow);
        self.closes.update(bar.close);
        self.stochastic.update(bar.high, bar.low, bar.close);
        self.donchian.update(DONCHIAN_BARS, bar.high, bar.low);
        self.cci.update(bar.high, bar.low, bar.close);
        self.ranges.update(bar);
        self.volumes.update(RELATIVE_VOLUME_BARS, bar.volume);
        if let Some(r) = self.returns.update(bar.close) {
            self.step(bar, r);
        } else {
            self.on_balance.update(None, bar.close, bar.volume);
        }
        if self.session.open == 0 {
            self.session.open = bar.open;
        }
        self.session.vwap.merge(&Vwap::of(bar.notional, bar.volume));
        self.seasonality.update(bar.end_ns, bar.volume);
        self.last = *bar;
    }

    /// What goes by the step from the bar before, whose return is `r`.
    #[inline]
    fn step(&mut self, bar: &ClosedBar, r: f64) {
        let before = self.last;
        let change = price_f64(bar.close - before.close);
        let range = price_f64(true_range(before.close, bar));
        self.session.realised.update(r);
        self.ewma.update(r);
        self.on_balance.update(Some(before.close), bar.close, bar.volume);
        self.rsi.update(RSI_BARS, change);
        self.atr.update(ATR_BARS, range);
        self.atr_keltner.update(KELTNER_ATR_BARS, range);
        self.adx.update(&before, bar);
        self.amihud.update(LIQUIDITY_BARS, amihud(r, bar.notional / PRICE_ONE as f64));
        self.kyle.update(change, bar.flow);
    }

    /// Puts the values of the interval in that ends at `end_ns` (0 = the one of the last bar). `bar` is its bar if it had a trade;
    /// without one, the interval is flat at the last price. A bar that was not taken in counts for its own values only. About 60
    /// divisions and roots.
    pub fn write(&self, end_ns: u64, bar: Option<&ClosedBar>, to: &mut Vector) {
        let last = (self.last.end_ns != 0).then_some(self.last.close);
        let close = last.map(price_f64);
        let volume = bar.map_or(0.0, |bar| bar.volume);
        let typical =
            |bar: &ClosedBar| (bar.high as f64 + bar.low as f64 + bar.close as f64) / (3.0 * PRICE_ONE as f64);
        to.set(Feature::TypicalPrice, bar.map(typical).or(close));
        to.set(Feature::ReturnBar, self.returns.value().map(|r| if bar.is_some() { r } else { 0.0 }));
        let session_open = Some(self.session.open).filter(|open| *open != 0);
        to.set(Feature::ReturnSession, session_open.zip(last).map(|(open, last)| log_return(open, last)));

        let vwap = self.session.vwap.value();
        to.set(Feature::VolumeSession, Some(self.session.vwap.volume()));
        to.set(Feature::TurnoverSession, Some(self.session.vwap.turnover()));
        to.set(Feature::VwapSession, vwap);
        to.set(Feature::VwapDeviation, vwap.zip(close).map(|(vwap, close)| (close / vwap - 1.0) * 1e4));
        to.set(Feature::RelativeVolume, self.volumes.mean(RELATIVE_VOLUME_BARS).map(|mean| volume / mean));
        to.set(Feature::OnBalanceVolume, last.map(|_| self.on_balance.value()));
        to.set(Feature::SeasonalVolume, self.seasonality.value(end_ns.max(self.last.end_ns), volume));

        to.set(Feature::RealisedVolatility, self.session.realised.value());
        to.set(Feature::EwmaVolatility, self.ewma.value());
        to.set(Feature::Atr, self.atr.value(ATR_BARS));
        to.set(Feature::ParkinsonVolatility, self.ranges.parkinson());
        to.set(Feature::GarmanKlassVolatility, self.ranges.garman_klass());

        to.set(Feature::Rsi, self.rsi.value(RSI_BARS));
        let macd = self.macd.value(EMA_SLOW_BARS);
        to.set(Feature::Macd, macd.map(|macd| macd.line));
        to.set(Feature::MacdSignal, macd.map(|macd| macd.signal));
        to.set(Feature::MacdHistogram, macd.map(|macd| macd.histogram));
        to.set(Feature::Roc, self.closes.roc(ROC_BARS));
        to.set(Feature::StochasticK, self.stochastic.k());
        to.set(Feature::StochasticD, self.stochastic.d());
        to.set(Feature::WilliamsR, self.stochastic.williams_r());
        to.set(Feature::Cci, self.cci.value());

        to.set(Feature::EmaFast, self.ema_fast.value(EMA_FAST_BARS));
        to.set(Feature::EmaSlow, self.ema_slow.value(EMA_SLOW_BARS));
        let sma = self.closes.sma();
        to.set(Feature::Sma, sma);
        let directional = self.adx.directional();
        to.set(Feature::Adx, self.adx.value());
        to.set(Feature::PlusDi, directional.map(|(plus, _)| plus));
        to.set(Feature::MinusDi, directional.map(|(_, minus)| minus));
        to.set(Feature::RegressionSlope, self.closes.slope());

        let of = |((mean, sigma), close)| Bollinger::new(close, mean, sigma);
        let bollinger = sma.zip(self.closes.sigma()).zip(close).map(of);
        to.set(Feature::BollingerUpper, bollinger.map(|bands| bands.upper));
        to.set(Feature::BollingerLower, bollinger.map(|bands| bands.lower));
        to.set(Feature::BollingerPercentB, bollinger.map(|bands| bands.percent_b));
        to.set(Feature::BollingerBandwidth, bollinger.map(|bands| bands.bandwidth));
        let keltner = self.ema_keltner.value(KELTNER_BARS).zip(self.atr_keltner.value(KELTNER_ATR_BARS));
        to.set(Feature::KeltnerUpper, keltner.map(|(middle, range)| middle + KELTNER_WIDTH * range));
        to.set(Feature::KeltnerLower, keltner.map(|(middle, range)| middle - KELTNER_WIDTH * range));
        let donchian = self.donchian.value(DONCHIAN_BARS);
        to.set(Feature::DonchianUpper, donchian.map(|(high, _)| price_f64(high)));
        to.set(Feature::DonchianLower, donchian.map(|(_, low)| price_f64(low)));

        to.set(Feature::AmihudIlliquidity, self.amihud.mean(LIQUIDITY_BARS));
        to.set(Feature::KyleLambda, self.kyle.value());
    }
}
