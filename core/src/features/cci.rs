//! Commodity channel index.
//!
//! With the typical price `t = (high + low + close) / 3`, its mean `m` over the last 20 bars and its mean absolute
//! deviation `d = sum(|t[i] - m|) / 20`: `cci = (t - m) / (0.015 d)`; 0 where nothing deviates beyond rounding.
//!
//! The deviations are from a mean that moves with each bar, so that there is no sum to carry on: the window, of a fixed
//! length, is passed over once a bar. (It is the only formula here of which that is true.)
//!
//! Source: D. Lambert, "Commodity Channel Index", Commodities magazine, October 1980. Equal to `CCI` of TA-Lib.

use bytemuck::{Pod, Zeroable};

/// Bars of the window.
pub const CCI_BARS: usize = 20;
/// Sums run side by side, in this order: the same on every machine, and as many as a vector unit takes.
const LANES: usize = 4;

const _: () = assert!(CCI_BARS.is_multiple_of(LANES), "lanes have equal parts of the window");

/// The last typical prices, in 3e-9 (not divided by 3: the index is a ratio).
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Debug, Default, Pod, Zeroable)]
pub struct Cci {
    ring: [f64; CCI_BARS],
    /// The latest one.
    latest: f64,
    /// Slot of the next.
    at: u32,
    /// Bars so far, at most [`CCI_BARS`].
    count: u32,
}

/// `sum(f(x))` over the window.
#[inline]
fn sum(window: &[f64; CCI_BARS], f: impl Fn(f64) -> f64) -> f64 {
    let mut lanes = [0.0; LANES];
    for part in window.chunks_exact(LANES) {
        for (lane, x) in lanes.iter_mut().zip(part) {
            *lane += f(*x);
        }
    }
    (lanes[0] + lanes[1]) + (lanes[2] + lanes[3])
}

impl Cci {
    /// Takes a bar in, prices in 1e-9. O(1), no division.
    #[inline]
    pub fn update(&mut self, high: i64, low: i64, close: i64) {
        self.latest = high as f64 + low as f64 + close as f64;
        self.ring[self.at as usize] = self.latest;
        self.at = if self.at + 1 == CCI_BARS as u32 { 0 } else { self.at + 1 };
        self.count = (self.count + 1).min(CCI_BARS as u32);
    }

    /// The index, dimensionless; `None` before [`CCI_BARS`] bars. One pass for the mean, one for the deviation.
    #[inline]
    #[must_use]
    pub fn value(&self) -> Option<f64> {
        (self.count == CCI_BARS as u32).then(|| {
            let mean = sum(&self.ring, |x| x) / CCI_BARS as f64;
            let deviation = sum(&self.ring, |x| (x - mean).abs()) / CCI_BARS as f64;
            // What rounding alone makes of equal prices is no deviation.
            if deviation > mean * (4.0 * f64::EPSILON) { (self.latest - mean) / (0.015 * deviation) } else { 0.0 }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_hand() {
        let mut cci = Cci::default();
        for i in 0..19 {
            assert_eq!(cci.value(), None, "{i}");
            cci.update(1_020, 980, 1_000);
        }
        cci.update(1_220, 1_180, 1_200);
        // Mean 1010, deviation (19 * 10 + 190) / 20 = 19.
        assert!((cci.value().unwrap() - 190.0 / (0.015 * 19.0)).abs() < 1e-9);
        let mut quiet = Cci::default();
        (0..30).for_each(|_| quiet.update(60_123_456_789_013, 60_123_456_789_012, 60_123_456_789_012));
        assert_eq!(quiet.value(), Some(0.0));
    }
}
