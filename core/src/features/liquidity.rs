//! Liquidity: Amihud's illiquidity, Kyle's lambda, turnover.
//!
//! - Amihud: mean over 20 bars of `10^6 |r| / (price * size)`, `r` the log return of the bar and `price * size` its traded
//!   value: how much the price moves per million traded. Source: Y. Amihud, "Illiquidity and stock returns", Journal of
//!   Financial Markets 5(1), 2002 (there of days, and with simple returns).
//! - [`Kyle`]: `lambda = sum(dp q) / sum(q^2)` over 20 bars, the least-squares slope through the origin of the change of
//!   the close `dp` on the flow `q`: size whose aggressor bought less size whose aggressor sold. 0 in a window without
//!   flow. Source: A. Kyle, "Continuous Auctions and Insider Trading", Econometrica 53(6), 1985; estimated as in M. López
//!   de Prado, *Advances in Financial Machine Learning* (2018), section 19.4.1.
//! - Turnover: `sum(price * size)`, the traded value of a bar and of a session: [`super::vwap::Vwap::turnover`].

use super::window::Sum;
use bytemuck::{Pod, Zeroable};

/// Bars of either mean.
pub const LIQUIDITY_BARS: u32 = 20;

/// Amihud's ratio of one bar: the return `r` and its traded value in whole units, above 0.
#[inline]
#[must_use]
pub fn amihud(r: f64, turnover: f64) -> f64 {
    r.abs() * 1e6 / turnover
}

/// The sums of Kyle's lambda.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Debug, Default, Pod, Zeroable)]
pub struct Kyle {
    /// Sum of change * flow.
    impact: Sum,
    /// Sum of flow * flow.
    flow: Sum,
}

impl Kyle {
    /// Takes a bar in: the change of its close from the close before, in whole units, and its signed size. O(1), no
    /// division.
    #[inline]
    pub fn update(&mut self, change: f64, flow: f64) {
        self.impact.update(LIQUIDITY_BARS, change * flow);
        self.flow.update(LIQUIDITY_BARS, flow * flow);
    }

    /// Lambda in price per size; `None` before [`LIQUIDITY_BARS`] bars. One division.
    #[inline]
    #[must_use]
    pub fn value(&self) -> Option<f64> {
        let (impact, flow) = (self.impact.value(LIQUIDITY_BARS)?, self.flow.value(LIQUIDITY_BARS)?);
        Some(if flow > 0.0 { impact / flow } else { 0.0 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_hand() {
        assert_eq!(amihud(-0.01, 20_000.0), 0.5);
        let mut kyle = Kyle::default();
        for i in 0..LIQUIDITY_BARS {
            assert_eq!(kyle.value(), None, "{i}");
            let flow = f64::from(i) - 4.0;
            kyle.update(0.25 * flow, flow);
        }
        assert_eq!(kyle.value(), Some(0.25), "every unit bought moves the price by a quarter");
        (0..LIQUIDITY_BARS).for_each(|_| kyle.update(1.0, 0.0));
        assert_eq!(kyle.value(), Some(0.0));
    }
}
