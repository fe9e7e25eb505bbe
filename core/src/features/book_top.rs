//! The top of the book: mid price, spread, imbalance, microprice.
//!
//! With best bid `b` of size `B` and best ask `a` of size `A`:
//! - mid `(a + b) / 2`, spread `a - b`, relative spread `(a - b) / mid`. Source: J. Hasbrouck, *Empirical Market
//!   Microstructure* (2007), chapter 2.
//! - imbalance `(B - A) / (B + A)`, from -1 (all at the ask) to 1 (all at the bid). Source: A. Cartea, S. Jaimungal,
//!   J. Penalva, *Algorithmic and High-Frequency Trading* (2015), section 12.2.
//! - microprice `(b * A + a * B) / (A + B)`, the mid weighted by the size of the other side. Source: J. Gatheral,
//!   R. Oomen, "Zero-intelligence realized variance estimation", Finance and Stochastics 14(2), 2010. (It is not the
//!   martingale estimator of the same name by Stoikov, 2018.)

use crate::event::EventRef;
use crate::event::payload::Quote;
use crate::units::{PRICE_ONE, PRICE_UNDEFINED, price_f64, size_f64};
use bytemuck::{Pod, Zeroable};

/// The latest usable quote.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Debug, Default, Pod, Zeroable)]
pub struct BookTop {
    /// Best bid, 1e-9; 0 = there was no usable quote yet.
    pub(super) bid_px: i64,
    /// Best ask, 1e-9; not below the bid.
    pub(super) ask_px: i64,
    /// Size at the bid.
    pub(super) bid_sz: f64,
    /// Size at the ask.
    pub(super) ask_sz: f64,
}

impl BookTop {
    /// The quote of `event`, if it is usable: both prices told and above 0, not crossed (bid above ask; locked, bid
    /// equal to ask, is usable), and a size on at least one side. O(1), two divisions.
    #[inline]
    #[must_use]
    pub fn of(event: EventRef<'_>) -> Option<Self> {
        let quote = event.get::<Quote>()?;
        let (bid_sz, ask_sz) = Quote::sizes(event);
        let usable = quote.bid_px > 0
            && quote.ask_px >= quote.bid_px
            && quote.ask_px != PRICE_UNDEFINED
            && (bid_sz | ask_sz) != 0;
        let scale = event.head().scale;
        usable.then(|| Self {
            bid_px: quote.bid_px,
            ask_px: quote.ask_px,
            bid_sz: size_f64(bid_sz, scale),
            ask_sz: size_f64(ask_sz, scale),
        })
    }

    /// Whether a usable quote has come.
    #[inline]
    #[must_use]
    pub const fn is_some(&self) -> bool {
        self.bid_px != 0
    }

    /// The values at this quote; `None` before the first usable one. Three divisions.
    #[must_use]
    pub fn value(&self) -> Option<TopValues> {
        if !self.is_some() {
            return None;
        }
        let width = (self.ask_px - self.bid_px) as f64;
        let both = self.ask_px as f64 + self.bid_px as f64;
        let bid_share = self.bid_sz / (self.bid_sz + self.ask_sz);
        Some(TopValues {
            mid_price: both * 0.5 / PRICE_ONE as f64,
            spread: price_f64(self.ask_px - self.bid_px),
            spread_bps: width * 2e4 / both,
            imbalance: (self.bid_sz - self.ask_sz) / (self.bid_sz + self.ask_sz),
            microprice: (self.bid_px as f64 + width * bid_share) / PRICE_ONE as f64,
        })
    }
}

/// What a quote says.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct TopValues {
    /// Mean of bid and ask, in whole units.
    pub mid_price: f64,
    /// Ask - bid, in whole units, 0 or more.
    pub spread: f64,
    /// Spread in hundredths of a per cent of the mid price.
    pub spread_bps: f64,
    /// -1 to 1.
    pub imbalance: f64,
    /// Between bid and ask, in whole units.
    pub microprice: f64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_hand() {
        let top = BookTop { bid_px: 99_000_000_000, ask_px: 101_000_000_000, bid_sz: 3.0, ask_sz: 1.0 };
        let values = top.value().unwrap();
        assert_eq!((values.mid_price, values.spread, values.spread_bps), (100.0, 2.0, 200.0));
        assert_eq!((values.imbalance, values.microprice), (0.5, 100.5));
        assert_eq!(BookTop::default().value(), None);
    }
}
