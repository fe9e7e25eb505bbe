//! Log returns of the closes of bars.
//!
//! `r[i] = ln(close[i] / close[i-1])` over the bars that had a trade.
//!
//! Source: J. Campbell, A. Lo, C. MacKinlay, *The Econometrics of Financial Markets* (1997), section 1.4.

use bytemuck::{Pod, Zeroable};

/// Return from each close to the next.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Debug, Default, Pod, Zeroable)]
pub struct Returns {
    /// The latest close, 1e-9; 0 = none yet.
    close: i64,
    /// Returns so far.
    count: u64,
    /// The latest return; 0 while `count` is 0.
    value: f64,
}

impl Returns {
    /// Takes the close of a bar in (1e-9, above 0) and gives the return from the close before, if there was one. O(1),
    /// one logarithm.
    #[inline]
    pub fn update(&mut self, close: i64) -> Option<f64> {
        let before = core::mem::replace(&mut self.close, close);
        if before == 0 {
            return None;
        }
        self.value = log_return(before, close);
        self.count += 1;
        Some(self.value)
    }

    /// The latest return, dimensionless; `None` before the second close.
    #[inline]
    #[must_use]
    pub fn value(&self) -> Option<f64> {
        (self.count != 0).then_some(self.value)
    }
}

/// `ln(to / from)` of two prices above 0 in the same unit: finite for all of them, and exact to the last digits also
/// where they are almost equal, which the logarithm of the rounded quotient is not.
#[inline]
#[must_use]
pub fn log_return(from: i64, to: i64) -> f64 {
    let change = (to - from) as f64 / from as f64;
    if change.abs() < 0.5 { libm::log1p(change) } else { libm::log(to as f64 / from as f64) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_hand() {
        let mut returns = Returns::default();
        assert_eq!((returns.update(100), returns.value()), (None, None));
        assert_eq!(returns.update(200), Some(core::f64::consts::LN_2));
        assert_eq!(returns.update(200), Some(0.0));
        assert_eq!(returns.value(), Some(0.0));
    }

    #[test]
    fn extremes_are_finite_and_near_equal_prices_keep_their_digits() {
        for from in [1, 2, 1_000_000_000, i64::MAX - 1] {
            for to in [1, 2, 1_000_000_000, i64::MAX - 1] {
                let (there, back) = (log_return(from, to), log_return(to, from));
                assert!(there.is_finite(), "{from} to {to}");
                assert!((there + back).abs() <= 1e-15 * there.abs(), "{from} to {to}: {there} and {back}");
            }
        }
        // x - x*x/2 + x*x*x/3 is exact to f64 for x = 1e-9.
        assert!((log_return(1_000_000_000, 1_000_000_001) - (1e-9 - 5e-19)).abs() < 1e-24);
    }
}
