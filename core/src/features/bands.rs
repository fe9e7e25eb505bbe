//! Bands around the price: Bollinger and Keltner. (Donchian's are [`super::window::Extremes`] of 20 bars.)
//!
//! - Bollinger: `sma(20) ± 2 sigma`; `%B = (close - lower) / (upper - lower)`, 0.5 where the band has no width;
//!   `bandwidth = (upper - lower) / sma`. Source: J. Bollinger, *Bollinger on Bollinger Bands* (2001), parts II and III.
//!   Equal to `BBANDS` of TA-Lib.
//! - Keltner: `ema(20) ± 2 atr(10)`. Source: C. Keltner, *How to Make Money in Commodities* (1960), in the form of L.
//!   Bradford Raschke with an exponential average and the average true range, as charting programs draw it.
//! - Donchian: highest high and lowest low of 20 bars. Source: R. Donchian, as in J. Murphy, *Technical Analysis of the
//!   Financial Markets* (1999), chapter 9. Equal to `MAX` of highs and `MIN` of lows of TA-Lib.

/// Standard deviations on either side of the average.
pub const BOLLINGER_WIDTH: f64 = 2.0;
/// Bars of the average in the middle of Keltner's bands.
pub const KELTNER_BARS: u32 = 20;
/// Bars of the average true range of Keltner's bands.
pub const KELTNER_ATR_BARS: u32 = 10;
/// Average true ranges on either side of the average.
pub const KELTNER_WIDTH: f64 = 2.0;
/// Bars of Donchian's bands.
pub const DONCHIAN_BARS: u32 = 20;

/// Bollinger's bands and where the close stands in them.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Bollinger {
    /// Upper band, in whole units.
    pub upper: f64,
    /// Lower band, in whole units; below 0 where prices leapt.
    pub lower: f64,
    /// 0 at the lower band, 1 at the upper.
    pub percent_b: f64,
    /// Width of the bands over their middle, 0 or more.
    pub bandwidth: f64,
}

impl Bollinger {
    /// The bands of a close, from the mean and the standard deviation of the last closes. O(1), two divisions.
    #[inline]
    #[must_use]
    pub fn new(close: f64, mean: f64, sigma: f64) -> Self {
        let half = BOLLINGER_WIDTH * sigma;
        let (upper, lower) = (mean + half, mean - half);
        let percent_b = if sigma > 0.0 { ((close - mean) / half + 1.0) * 0.5 } else { 0.5 };
        Self { upper, lower, percent_b, bandwidth: 2.0 * half / mean }
    }
}

#[cfg(test)]
mod tests {
    use super::Bollinger;

    #[test]
    fn by_hand() {
        let bands = Bollinger::new(103.0, 100.0, 2.0);
        assert_eq!((bands.upper, bands.lower, bands.percent_b, bands.bandwidth), (104.0, 96.0, 0.875, 0.08));
        let still = Bollinger::new(100.0, 100.0, 0.0);
        assert_eq!((still.upper, still.lower, still.percent_b, still.bandwidth), (100.0, 100.0, 0.5, 0.0));
    }
}
