//! Breakout: the price leaves the range of the last N closed bars.
//!
//! Above the highest high, or below the lowest low, of the last N bars with a trade; the open bar is not among them.
//! Source: the channel of R. Donchian, as in P. Kaufman, *Trading Systems and Methods*, 5th edition (2013), chapter 5.

use super::config::Config;
use super::rule::Rule;
use crate::event::payload::Alert;
use crate::units::{Side, price_f64};
use bytemuck::{Pod, Zeroable};

/// Most bars of the range: what the state has room for.
pub const RANGE_BARS_MAX: usize = 32;

/// The range of the closed bars and the open bar's own. Prices in 1e-9.
///
/// The range is found anew when a bar closes, O(N) once a bar; a trade costs four comparisons.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Pod, Zeroable)]
pub struct Breakout {
    /// Highest high of the last N closed bars; meaningless before N have closed.
    range_high: i64,
    /// Lowest low of the last N closed bars; meaningless before N have closed.
    range_low: i64,
    /// Highest price of the open bar; 0 = it has no trade.
    high: i64,
    /// Lowest price of the open bar; 0 = it has no trade.
    low: i64,
    /// Bars closed so far.
    closed: u64,
    /// The upper side rests while `closed` is below this.
    rest_above: u64,
    /// The lower side rests while `closed` is below this.
    rest_below: u64,
    /// Highs of the last closed bars; bar i is at i modulo [`RANGE_BARS_MAX`].
    highs: [i64; RANGE_BARS_MAX],
    /// Lows of the last closed bars.
    lows: [i64; RANGE_BARS_MAX],
}

impl Breakout {
    /// Ends the open bar, if it had a trade. O(N).
    pub fn close_bar(&mut self, config: &Config) {
        if self.high == 0 {
            return;
        }
        let at = self.closed as usize % RANGE_BARS_MAX;
        self.highs[at] = core::mem::take(&mut self.high);
        self.lows[at] = core::mem::take(&mut self.low);
        self.closed += 1;
        let bars = u64::from(config.breakout_bars);
        if self.closed >= bars {
            let last = (self.closed - bars..self.closed).map(|bar| bar as usize % RANGE_BARS_MAX);
            (self.range_high, self.range_low) =
                last.fold((i64::MIN, i64::MAX), |(high, low), at| (high.max(self.highs[at]), low.min(self.lows[at])));
        }
    }

    /// Takes a trade (price above 0) in, and gives the alert that it brings about. O(1).
    #[inline]
    pub fn update(&mut self, config: &Config, price: i64) -> Option<Alert> {
        self.high = self.high.max(price);
        self.low = if self.low == 0 { price } else { self.low.min(price) };
        let outside = price > self.range_high || price < self.range_low;
        if outside && self.closed >= u64::from(config.breakout_bars) { self.outside(config, price) } else { None }
    }

    #[cold]
    fn outside(&mut self, config: &Config, price: i64) -> Option<Alert> {
        let above = price > self.range_high;
        let (rest, edge, side) = if above {
            (&mut self.rest_above, self.range_high, Side::Bid)
        } else {
            (&mut self.rest_below, self.range_low, Side::Ask)
        };
        if self.closed < *rest {
            return None;
        }
        *rest = self.closed + u64::from(config.breakout_cooldown_bars);
        Some(Alert {
            value: price_f64(price),
            reference: price_f64(edge),
            rule: Rule::Breakout as u16,
            severity: severity(price.abs_diff(edge), self.range_high.abs_diff(self.range_low)),
            side: side as u8,
            reserved: 0,
        })
    }
}

/// 1 = left the range by less than half its width (or the range was a single price), 2 = by half, 3 = by all of it.
fn severity(excess: u64, width: u64) -> u8 {
    match width {
        0 => 1,
        _ if excess >= width => 3,
        _ if excess >= width.div_ceil(2) => 2,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::severity;

    #[test]
    fn severity_grows_with_the_distance() {
        assert_eq!([0, 1, 4, 5, 9, 10, 11].map(|excess| severity(excess, 10)), [1, 1, 1, 2, 2, 3, 3]);
        assert_eq!(severity(1, 0), 1);
        assert_eq!(severity(u64::MAX, u64::MAX), 3);
        assert_eq!([1, 2, 3].map(|excess| severity(excess, 3)), [1, 2, 3]);
    }
}
