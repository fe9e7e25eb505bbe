//! Our formulas, one after the other.

use super::{Indicators, Tick, Values};
use tapeline_core::features::bands::{Bollinger, DONCHIAN_BARS, KELTNER_ATR_BARS, KELTNER_BARS, KELTNER_WIDTH};
use tapeline_core::features::cci::Cci;
use tapeline_core::features::closes::Closes;
use tapeline_core::features::ema::Ema;
use tapeline_core::features::macd::Macd;
use tapeline_core::features::stochastic::Stochastic;
use tapeline_core::features::wilder::{Rsi, Wilder, true_range};
use tapeline_core::features::window::Extremes;
use tapeline_core::units::price_f64;

const FAST: u32 = 12;
const SLOW: u32 = 26;
const WILDER: u32 = 14;

/// `tapeline_core::features`.
#[derive(Default)]
pub struct Ours {
    before: i64,
    fast: Ema,
    slow: Ema,
    middle: Ema,
    macd: Macd,
    rsi: Rsi,
    atr: Wilder,
    keltner: Wilder,
    closes: Closes,
    stochastic: Stochastic,
    donchian: Extremes,
    cci: Cci,
}

impl Indicators for Ours {
    fn new(_: &Tick) -> Self {
        Self::default()
    }

    #[inline]
    fn next(&mut self, tick: &Tick) -> Values {
        let bar = &tick.bar;
        // The floats are made of the fixed point once a tick, as in the engine.
        let close = price_f64(bar.close);
        self.fast.update(const { Ema::alpha(FAST) }, close);
        self.slow.update(const { Ema::alpha(SLOW) }, close);
        self.middle.update(const { Ema::alpha(KELTNER_BARS) }, close);
        self.macd.update(&self.fast, &self.slow);
        self.closes.update(bar.close);
        self.stochastic.update(bar.high, bar.low, bar.close);
        self.donchian.update(DONCHIAN_BARS, bar.high, bar.low);
        self.cci.update(bar.high, bar.low, bar.close);
        if self.before != 0 {
            let range = price_f64(true_range(self.before, bar));
            self.rsi.update(WILDER, price_f64(bar.close - self.before));
            self.atr.update(WILDER, range);
            self.keltner.update(KELTNER_ATR_BARS, range);
        }
        self.before = bar.close;

        let or_0 = |value: Option<f64>| value.unwrap_or(0.0);
        let (sma, sigma) = (or_0(self.closes.sma()), or_0(self.closes.sigma()));
        let bands = Bollinger::new(close, sma.max(1e-9), sigma);
        let (highest, lowest) = self.donchian.value(DONCHIAN_BARS).unwrap_or_default();
        let macd = self.macd.value(SLOW);
        let (middle, range) = (or_0(self.middle.value(KELTNER_BARS)), or_0(self.keltner.value(KELTNER_ATR_BARS)));
        [
            sma,
            or_0(self.fast.value(FAST)),
            or_0(self.slow.value(SLOW)),
            or_0(macd.map(|macd| macd.line)),
            or_0(macd.map(|macd| macd.signal)),
            or_0(macd.map(|macd| macd.histogram)),
            or_0(self.rsi.value(WILDER)),
            or_0(self.closes.roc(10)),
            sigma,
            bands.upper,
            bands.lower,
            price_f64(highest),
            price_f64(lowest),
            or_0(self.stochastic.k()),
            or_0(self.stochastic.d()),
            or_0(self.stochastic.williams_r()),
            or_0(self.atr.value(WILDER)),
            or_0(self.cci.value()),
            middle + KELTNER_WIDTH * range,
            middle - KELTNER_WIDTH * range,
        ]
    }
}
