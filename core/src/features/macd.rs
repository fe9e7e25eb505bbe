//! Moving average convergence/divergence.
//!
//! `line = ema(12) - ema(26)` of the closes, `signal = ema(9)` of the line, `histogram = line - signal`. The averages are
//! those of [`super::ema`]: seeded with their first input, so that the first line is 0 (TA-Lib seeds with simple means;
//! `ewm(adjust=False)` of pandas and `yata` do as we do).
//!
//! Source: G. Appel, *Technical Analysis: Power Tools for Active Investors* (2005), chapter 8.

use super::ema::Ema;
use bytemuck::{Pod, Zeroable};

/// Length of the signal's average in traded bars.
pub const SIGNAL_BARS: u32 = 9;

/// State beside the two averages of closes, which are the caller's.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Debug, Default, Pod, Zeroable)]
pub struct Macd {
    line: f64,
    signal: Ema,
}

/// Line, signal and histogram, in whole units.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct MacdValues {
    /// Fast average less slow average.
    pub line: f64,
    /// Average of the line.
    pub signal: f64,
    /// Line less signal.
    pub histogram: f64,
}

impl Macd {
    /// Takes both averages in, after they have taken the close. O(1), no division.
    #[inline]
    pub fn update(&mut self, fast: &Ema, slow: &Ema) {
        self.line = fast.latest() - slow.latest();
        self.signal.update(const { Ema::alpha(SIGNAL_BARS) }, self.line);
    }

    /// The values; `None` before the slow average, of `slow_bars`, has warmed up and the signal's after it.
    #[inline]
    #[must_use]
    pub fn value(&self, slow_bars: u32) -> Option<MacdValues> {
        let signal = self.signal.value(slow_bars + SIGNAL_BARS - 1)?;
        Some(MacdValues { line: self.line, signal, histogram: self.line - signal })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_hand() {
        let (mut fast, mut slow, mut macd) = (Ema::default(), Ema::default(), Macd::default());
        for (i, close) in [8.0, 12.0, 12.0].into_iter().enumerate() {
            assert_eq!(macd.value(1), None, "{i}");
            fast.update(Ema::alpha(1), close);
            slow.update(Ema::alpha(3), close);
            macd.update(&fast, &slow);
        }
        // Lines 0, 2, 1; signal 0, 0.4, 0.52.
        let signal = 0.4 + 0.2 * (1.0 - 0.4);
        for _ in 3..9 {
            macd.update(&fast, &slow);
        }
        let values = macd.value(1).unwrap();
        let expected = 1.0 + (signal - 1.0) * libm::pow(0.8, 6.0);
        assert_eq!(values.line, 1.0);
        assert!((values.signal - expected).abs() < 1e-15);
        assert_eq!(values.histogram, values.line - values.signal);
    }
}
