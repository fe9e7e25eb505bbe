//! Volatility: returns vary far more than they usually do.
//!
//! With the log returns `r` of the closes of bars with a trade, `now = EMA(r^2, fast)` and `usual = EMA(r^2, slow)`, the
//! latter without the return at hand. The rule fires at the close of a bar when `sqrt(now) > factor * sqrt(usual)`, and then
//! not again before `now` has come down to `usual`: one long storm is one alert.
//!
//! Source: the ratio of a short to a long historical volatility, as in L. Connors, L. Raschke, *Street Smarts* (1995), chapter
//! 20; mean squares instead of standard deviations, as in RiskMetrics (1996), section 5.2: at these intervals the mean return is
//! nothing beside its noise. The EMA is that of [`crate::features::ema`].

use super::config::Config;
use super::rule::{Rule, severity};
use crate::event::payload::Alert;
use crate::features::ema::Ema;
use bytemuck::{Pod, Zeroable};

/// Mean squares of the returns of closed bars.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Debug, Default, Pod, Zeroable)]
pub struct Volatility {
    fast: Ema,
    slow: Ema,
    /// 1 = it has fired, and `fast` has not come down to `slow` since.
    raised: u64,
}

impl Volatility {
    /// The usual mean square of a bar's return, above 0; `None` before enough bars have closed, and while the price stands still.
    #[must_use]
    pub fn usual(&self, config: &Config) -> Option<f64> {
        self.slow.value(config.volatility_slow_bars).filter(|square| *square > 0.0)
    }

    /// Takes the log return of a bar in, and gives the alert that it brings about. O(1).
    pub fn close_bar(&mut self, config: &Config, r: f64) -> Option<Alert> {
        let usual = self.usual(config);
        self.fast.update(Ema::alpha(config.volatility_fast_bars), r * r);
        self.slow.update(Ema::alpha(config.volatility_slow_bars), r * r);
        let (Some(now), Some(usual)) = (self.fast.value(config.volatility_fast_bars), usual) else { return None };
        if now <= usual {
            self.raised = 0;
        }
        let threshold = config.volatility_factor * config.volatility_factor * usual;
        if self.raised != 0 || now <= threshold {
            return None;
        }
        self.raised = 1;
        Some(Alert {
            value: now.sqrt(),
            reference: usual.sqrt(),
            rule: Rule::Volatility as u16,
            severity: severity((now / threshold).sqrt()),
            ..Alert::default()
        })
    }
}
