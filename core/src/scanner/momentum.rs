//! Momentum: the price has gone one way, further than chance would take it.
//!
//! At the close of a bar the rule takes the log return over the last N bars with a trade, `R = ln(close[0] / close[N])`, and fires when
//! `|R| > factor * sqrt(N * usual)`, where `usual` is the mean square of one bar's return that [`super::volatility`] keeps: a
//! random walk would end that far away with the probability of a normal variable beyond `factor` deviations. Each side rests for a
//! number of bars afterwards.
//!
//! Source: the rate of change of J. Murphy, *Technical Analysis of the Financial Markets* (1999), chapter 10, in units of
//! ex-ante volatility as in T. Moskowitz, Y. Ooi, L. Pedersen, "Time series momentum", Journal of Financial Economics 104(2), 2012.

use super::config::Config;
use super::rule::{Rule, severity};
use crate::event::payload::Alert;
use crate::features::returns::log_return;
use crate::units::Side;
use bytemuck::{Pod, Zeroable};

/// Most bars of the return: what the state has room for.
pub const MOMENTUM_BARS_MAX: usize = 32;

/// The closes of the last bars, prices in 1e-9.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Pod, Zeroable)]
pub struct Momentum {
    /// Bars closed so far.
    closed: u64,
    /// The upper side rests while `closed` is below this.
    rest_above: u64,
    /// The lower side rests while `closed` is below this.
    rest_below: u64,
    /// Closes of the last bars; bar i is at i modulo [`MOMENTUM_BARS_MAX`].
    closes: [i64; MOMENTUM_BARS_MAX],
}

impl Momentum {
    /// Takes the close of a bar in (above 0), and gives the alert that it brings about. `usual` is the mean square of a bar's return before
    /// this one, once that is known. O(1), one logarithm.
    pub fn close_bar(&mut self, config: &Config, close: i64, usual: Option<f64>) -> Option<Alert> {
        let bars = u64::from(config.momentum_bars);
        let bar = self.closed;
        let before = (bar >= bars).then(|| self.closes[(bar - bars) as usize % MOMENTUM_BARS_MAX]);
        self.closes[bar as usize % MOMENTUM_BARS_MAX] = close;
        self.closed += 1;
        let (Some(before), Some(usual)) = (before, usual) else { return None };
        let r = log_return(before, close);
        let threshold = config.momentum_factor * config.momentum_factor * usual * f64::from(config.momentum_bars);
        if r * r <= threshold {
            return None;
        }
        let (rest, side) = if r > 0.0 { (&mut self.rest_above, Side::Bid) } else { (&mut self.rest_below, Side::Ask) };
        if bar < *rest {
            return None;
        }
        *rest = bar + u64::from(config.momentum_cooldown_bars);
        Some(Alert {
            value: r,
            reference: threshold.sqrt(),
            rule: Rule::Momentum as u16,
            severity: severity((r * r / threshold).sqrt()),
            side: side as u8,
            reserved: 0,
        })
    }
}
