//! The one-second bar: open, high, low and last price of the trades since its start.

use crate::limits::TICK_NS;
use crate::units::UnixNanos;
use bytemuck::{Pod, Zeroable};

/// Length of a bar in nanoseconds. Bars are aligned to the UNIX epoch.
pub const BAR_NS: u64 = 1_000_000_000;
/// Length of a session in nanoseconds: a day. One in which clocks are set is longer or shorter.
pub const SESSION_NS: u64 = 24 * 3600 * BAR_NS;

const _: () = {
    assert!(BAR_NS.is_multiple_of(TICK_NS), "a bar's timer fires at its end and not a part of a tick later");
    assert!(SESSION_NS.is_multiple_of(BAR_NS), "no bar lies in two sessions");
};

/// End of the bar that holds `now`: the first multiple of [`BAR_NS`] after it. `None` in the last second that u64
/// holds. O(1), one division.
#[inline]
#[must_use]
pub const fn bar_end(now: UnixNanos) -> Option<UnixNanos> {
    match (now.0 / BAR_NS + 1).checked_mul(BAR_NS) {
        Some(end) => Some(UnixNanos(end)),
        None => None,
    }
}

/// Open, high, low and close of the trades of a bar, prices in 1e-9. The close stays when the bar is rolled.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Pod, Zeroable)]
pub struct Bar {
    /// First price of the bar; meaningless while `trades` is 0.
    open: i64,
    /// Highest price; meaningless while `trades` is 0.
    high: i64,
    /// Lowest price; meaningless while `trades` is 0.
    low: i64,
    /// Price of the latest trade, also of an earlier bar; 0 = there was none yet.
    close: i64,
    /// Trades of the bar.
    trades: u64,
}

impl Bar {
    /// Takes a trade in. `price` is above 0. O(1).
    #[inline]
    pub fn update(&mut self, price: i64) {
        let first = self.trades == 0;
        self.open = if first { price } else { self.open };
        self.high = if first { price } else { self.high.max(price) };
        self.low = if first { price } else { self.low.min(price) };
        self.close = price;
        self.trades += 1;
    }

    /// Begins the next bar; the last price stays.
    #[inline]
    pub fn roll(&mut self) {
        *self = Self { close: self.close, ..Self::default() };
    }

    /// Trades so far.
    #[inline]
    #[must_use]
    pub const fn trades(&self) -> u64 {
        self.trades
    }

    /// Price of the latest trade, 1e-9; `None` before the first one ever.
    #[inline]
    #[must_use]
    pub fn close(&self) -> Option<i64> {
        (self.close != 0).then_some(self.close)
    }

    /// Open, high and low, 1e-9. A bar without a trade is flat: all three are the last price. `None` before the first
    /// trade ever.
    #[inline]
    #[must_use]
    pub fn value(&self) -> Option<[i64; 3]> {
        let close = self.close()?;
        Some(if self.trades == 0 { [close; 3] } else { [self.open, self.high, self.low] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_after_now_and_aligned() {
        assert_eq!(bar_end(UnixNanos(0)), Some(UnixNanos(BAR_NS)));
        assert_eq!(bar_end(UnixNanos(BAR_NS - 1)), Some(UnixNanos(BAR_NS)));
        assert_eq!(bar_end(UnixNanos(BAR_NS)), Some(UnixNanos(2 * BAR_NS)));
        assert_eq!(bar_end(UnixNanos(u64::MAX)), None);
        assert_eq!(bar_end(UnixNanos(u64::MAX / BAR_NS * BAR_NS - 1)), Some(UnixNanos(u64::MAX / BAR_NS * BAR_NS)));
    }

    #[test]
    fn a_bar_without_a_trade_is_flat_at_the_last_price() {
        let mut bar = Bar::default();
        assert_eq!((bar.value(), bar.close()), (None, None));
        for price in [5, 9, 2, 4] {
            bar.update(price);
        }
        assert_eq!((bar.value(), bar.close(), bar.trades()), (Some([5, 9, 2]), Some(4), 4));
        bar.roll();
        assert_eq!((bar.value(), bar.close(), bar.trades()), (Some([4; 3]), Some(4), 0));
        bar.update(7);
        assert_eq!(bar.value(), Some([7; 3]));
    }
}
