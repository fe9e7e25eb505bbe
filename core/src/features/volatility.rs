//! Volatility of log returns.
//!
//! - [`Realised`]: `sqrt(sum(r[i]^2))` over the returns of a session. Source: T. Andersen, T. Bollerslev, F. Diebold,
//!   P. Labys, "Modeling and Forecasting Realized Volatility", Econometrica 71(2), 2003.
//! - [`Ewma`]: `var[0] = r[0]^2`, `var[i] = lambda * var[i-1] + (1 - lambda) * r[i]^2`, its square root, with
//!   `lambda = 0.94`. Source: J.P. Morgan/Reuters, *RiskMetrics Technical Document*, 4th edition (1996), section 5.2.
//!
//! Neither is annualised: the first is in units of the return of the session so far, the second in those of one bar.

use bytemuck::{Pod, Zeroable};

/// Realised volatility since its state was zeroed.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Debug, Default, Pod, Zeroable)]
pub struct Realised {
    /// Sum of squared returns.
    sum: f64,
    /// Returns so far.
    count: u64,
}

impl Realised {
    /// Returns before the value is ready: with 20, the relative standard error of a volatility, about
    /// `1 / sqrt(2 n)`, is 16 %.
    pub const WARM_UP: u64 = 20;

    /// Takes a return in. O(1).
    #[inline]
    pub fn update(&mut self, r: f64) {
        self.sum += r * r;
        self.count += 1;
    }

    /// The volatility, dimensionless; `None` before [`Realised::WARM_UP`] returns. One square root.
    #[inline]
    #[must_use]
    pub fn value(&self) -> Option<f64> {
        (self.count >= Self::WARM_UP).then(|| self.sum.sqrt())
    }
}

/// Exponentially weighted volatility (RiskMetrics).
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Debug, Default, Pod, Zeroable)]
pub struct Ewma {
    /// Weighted mean of squared returns; 0 before the first.
    variance: f64,
    /// Returns so far.
    count: u64,
}

impl Ewma {
    /// Decay factor.
    pub const LAMBDA: f64 = 0.94;
    /// Returns before the value is ready: N of the EMA with the same factor, `2 / (1 - lambda) - 1`, rounded up.
    pub const WARM_UP: u64 = 33;

    /// Takes a return in. O(1).
    #[inline]
    pub fn update(&mut self, r: f64) {
        let square = r * r;
        self.variance =
            if self.count == 0 { square } else { Self::LAMBDA * self.variance + (1.0 - Self::LAMBDA) * square };
        self.count += 1;
    }

    /// The volatility per bar, dimensionless; `None` before [`Ewma::WARM_UP`] returns. One square root.
    #[inline]
    #[must_use]
    pub fn value(&self) -> Option<f64> {
        (self.count >= Self::WARM_UP).then(|| self.variance.sqrt())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_hand() {
        let (mut realised, mut ewma) = (Realised::default(), Ewma::default());
        for i in 0..Ewma::WARM_UP {
            assert_eq!(realised.value().is_some(), i >= Realised::WARM_UP);
            assert_eq!(ewma.value(), None);
            let r = if i % 2 == 0 { 0.25 } else { -0.25 };
            realised.update(r);
            ewma.update(r);
        }
        assert_eq!(realised.value(), Some((33.0f64 / 16.0).sqrt()));
        assert!((ewma.value().unwrap() - 0.25).abs() < 1e-15, "a constant square is its own mean");
        ewma.update(0.5);
        assert!((ewma.value().unwrap() - (0.94f64 * 0.0625 + 0.06 * 0.25).sqrt()).abs() < 1e-15);
    }
}
