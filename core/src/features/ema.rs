//! Exponential moving average.
//!
//! `ema[0] = x[0]`, `ema[i] = ema[i-1] + alpha * (x[i] - ema[i-1])` with `alpha = 2 / (N + 1)`.
//!
//! Source: the usual definition of technical analysis, as in J. Murphy, *Technical Analysis of the Financial Markets*
//! (1999), chapter 9, with the seeding of the `yata` crate (`methods::EMA`), against which it is tested.

use bytemuck::{Pod, Zeroable};

/// State of one average. Its length N is the caller's: one state, one N.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Debug, Default, Pod, Zeroable)]
pub struct Ema {
    /// The average, in the unit of its input; 0 before the first input.
    value: f64,
    /// Inputs so far.
    count: u64,
}

impl Ema {
    /// Smoothing factor of an average of length `n`, above 0 and at most 1 (for `n` = 1: the last input).
    #[inline]
    #[must_use]
    pub const fn alpha(n: u32) -> f64 {
        2.0 / (n as f64 + 1.0)
    }

    /// Takes `x`, a finite number, in. O(1), no division.
    #[inline]
    pub fn update(&mut self, alpha: f64, x: f64) {
        self.value = if self.count == 0 { x } else { self.value + alpha * (x - self.value) };
        self.count += 1;
    }

    /// The average; `None` before `n` inputs.
    #[inline]
    #[must_use]
    pub fn value(&self, n: u32) -> Option<f64> {
        (self.count >= u64::from(n.max(1))).then_some(self.value)
    }
}

#[cfg(test)]
mod tests {
    use super::Ema;

    #[test]
    fn by_hand() {
        let mut ema = Ema::default();
        let mut seen = Vec::new();
        for x in [8.0, 4.0, 4.0, 16.0] {
            ema.update(Ema::alpha(3), x);
            seen.push(ema.value(3));
        }
        assert_eq!(seen, [None, None, Some(5.0), Some(10.5)]);
    }
}
