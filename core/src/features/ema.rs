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
        // With alpha = 1, `x - value` would lose the digits of an x far smaller than the value before.
        let last_only = self.count == 0 || alpha >= 1.0;
        self.value = if last_only { x } else { self.value + alpha * (x - self.value) };
        self.count += 1;
    }

    /// The average, warmed up or not; 0 before the first input.
    #[inline]
    #[must_use]
    pub const fn latest(&self) -> f64 {
        self.value
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

    #[test]
    fn length_one_is_the_last_input_whatever_came_before() {
        let mut ema = Ema::default();
        for x in [1e19, 3.0, 1e-19] {
            ema.update(Ema::alpha(1), x);
            assert_eq!(ema.value(1), Some(x));
        }
    }

    #[test]
    fn a_constant_is_its_own_average() {
        for n in [2, 12, 26, 86_400] {
            let mut ema = Ema::default();
            for _ in 0..100 {
                ema.update(Ema::alpha(n), 2_683.81);
            }
            assert_eq!(ema.value(1), Some(2_683.81));
        }
    }
}
