//! Spread: bid and ask are much further apart than they usually are.
//!
//! The usual is the EMA of length N of the spreads at the ends of the one-second bars with a usable quote. The rule fires when a
//! quote's spread exceeds both `factor` times the usual and `spread_bps_min` of the mid price that the last bar ended with, at most
//! once a bar, and rests for a number of bars afterwards.
//!
//! Source: the quoted spread of J. Hasbrouck, *Empirical Market Microstructure* (2007), chapter 2, against its own average; a spread that
//! widens is how market makers answer to a risk that they see. The EMA is that of [`crate::features::ema`].

use super::config::Config;
use super::rule::{Rule, severity};
use crate::event::payload::{Alert, Quote};
use crate::features::bar::bar_end;
use crate::features::ema::Ema;
use crate::units::{PRICE_ONE, PRICE_UNDEFINED, UnixNanos, price_f64};
use bytemuck::{Pod, Zeroable};

/// The spread of the open bar and the average of those before it: one cache line.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Debug, Default, Pod, Zeroable)]
pub struct Spread {
    /// End of the open bar in ns since the UNIX epoch; 0 = there was no usable quote yet.
    bar_end: u64,
    /// Spread in 1e-9 above which the open bar fires; infinity = it cannot.
    threshold: f64,
    /// Best bid of the latest usable quote, 1e-9.
    bid_px: i64,
    /// Best ask of it.
    ask_px: i64,
    /// Average spread of the closed bars, 1e-9.
    usual: Ema,
    /// Bars closed so far.
    closed: u64,
    /// The rule rests while `closed` is below this.
    rest: u64,
}

const _: () = assert!(size_of::<Spread>() == 64, "the documented size");

impl Spread {
    /// Whether a quote tells a spread: both sides, above 0, not crossed. A locked one (0) does.
    #[inline]
    #[must_use]
    pub const fn is_usable(quote: &Quote) -> bool {
        quote.bid_px > 0 && quote.ask_px >= quote.bid_px && quote.ask_px != PRICE_UNDEFINED
    }

    /// Takes a usable quote in at `now`, and gives the alert that it brings about. O(1).
    #[inline]
    pub fn update(&mut self, config: &Config, quote: &Quote, now: UnixNanos) -> Option<Alert> {
        if now.0 >= self.bar_end {
            self.next_bar(config, now);
        }
        (self.bid_px, self.ask_px) = (quote.bid_px, quote.ask_px);
        let spread = quote.ask_px - quote.bid_px;
        if spread as f64 > self.threshold { self.fire(config, spread) } else { None }
    }

    #[cold]
    #[inline(never)]
    fn next_bar(&mut self, config: &Config, now: UnixNanos) {
        if self.bar_end != 0 {
            self.usual.update(Ema::alpha(config.spread_bars), (self.ask_px - self.bid_px) as f64);
            self.closed += 1;
        }
        self.threshold = match self.usual.value(config.spread_bars) {
            Some(usual) if self.closed >= self.rest => {
                let mid = self.bid_px as f64 * 0.5 + self.ask_px as f64 * 0.5;
                (config.spread_factor * usual).max(config.spread_bps_min * 1e-4 * mid)
            }
            _ => f64::INFINITY,
        };
        // The last second that u64 holds has no end.
        self.bar_end = bar_end(now).map_or(u64::MAX, |end| end.0);
    }

    #[cold]
    fn fire(&mut self, config: &Config, spread: i64) -> Option<Alert> {
        let reference = self.usual.value(config.spread_bars)?;
        let severity = severity(spread as f64 / self.threshold);
        self.threshold = f64::INFINITY;
        self.rest = self.closed + u64::from(config.spread_cooldown_bars);
        Some(Alert {
            value: price_f64(spread),
            reference: reference / PRICE_ONE as f64,
            rule: Rule::Spread as u16,
            severity,
            ..Alert::default()
        })
    }
}
