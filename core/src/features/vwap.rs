//! Volume and volume-weighted average price.
//!
//! `vwap = sum(price * size) / sum(size)` over the trades of a bar or session.
//!
//! Source: S. Berkowitz, D. Logue, E. Noser, "The Total Cost of Transactions on the NYSE", Journal of Finance 43(1),
//! 1988.

use crate::units::PRICE_ONE;
use bytemuck::{Pod, Zeroable};

/// Running sums of trades.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Debug, Default, Pod, Zeroable)]
pub struct Vwap {
    /// Sum of price * size, price in 1e-9.
    notional: f64,
    /// Sum of sizes.
    volume: f64,
}

impl Vwap {
    /// The sums of a bar: price * size, price in 1e-9, and size.
    #[inline]
    #[must_use]
    pub const fn of(notional: f64, volume: f64) -> Self {
        Self { notional, volume }
    }

    /// Takes a trade of `size` at `price` (1e-9) in, both above 0. O(1), no division.
    #[inline]
    pub fn update(&mut self, price: i64, size: f64) {
        self.notional += price as f64 * size;
        self.volume += size;
    }

    /// Takes the sums of `part` in. A session adds whole bars: fewer additions per trade, and a smaller rounding error
    /// than one long sum.
    #[inline]
    pub fn merge(&mut self, part: &Self) {
        self.notional += part.notional;
        self.volume += part.volume;
    }

    /// Traded size so far; 0 when there was none. Ready at once.
    #[inline]
    #[must_use]
    pub const fn volume(&self) -> f64 {
        self.volume
    }

    /// Traded value, sum of price * size in whole units; 0 when there was none.
    #[inline]
    #[must_use]
    pub fn turnover(&self) -> f64 {
        self.notional / PRICE_ONE as f64
    }

    /// Sum of price * size, price in 1e-9.
    #[inline]
    #[must_use]
    pub const fn notional(&self) -> f64 {
        self.notional
    }

    /// The average price in whole units; `None` before the first trade.
    #[inline]
    #[must_use]
    pub fn value(&self) -> Option<f64> {
        (self.volume > 0.0).then(|| self.notional / self.volume / PRICE_ONE as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::Vwap;

    #[test]
    fn by_hand() {
        let mut bar = Vwap::default();
        assert_eq!((bar.value(), bar.volume()), (None, 0.0));
        bar.update(10_000_000_000, 1.0);
        bar.update(20_000_000_000, 3.0);
        assert_eq!((bar.value(), bar.volume()), (Some(17.5), 4.0));
        let mut session = bar;
        session.merge(&bar);
        assert_eq!((session.value(), session.volume()), (Some(17.5), 8.0));
    }
}
