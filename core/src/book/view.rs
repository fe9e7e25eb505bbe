//! A book to look at.

use super::{Best, Books, Level, Top};
use crate::units::{Side, SymbolId, UnixNanos, size_f64};

/// The book of one symbol, which can be used: synced, whole and not crossed.
#[derive(Clone, Copy, Debug)]
pub struct BookView<'a> {
    books: &'a Books,
    symbol: SymbolId,
    top: Top,
}

impl<'a> BookView<'a> {
    pub(super) fn new(books: &'a Books, symbol: SymbolId) -> Option<Self> {
        books.top(symbol).ok().map(|top| Self { books, symbol, top })
    }

    /// Best bid; `None` when nobody bids.
    #[inline]
    #[must_use]
    pub const fn bid(&self) -> Option<Best> {
        self.top.bid
    }

    /// Best offer; `None` when nobody offers.
    #[inline]
    #[must_use]
    pub const fn ask(&self) -> Option<Best> {
        self.top.ask
    }

    /// Sequence number of the last message.
    #[inline]
    #[must_use]
    pub const fn seq(&self) -> u64 {
        self.top.seq
    }

    /// `ts_recv` of the last message: how old the book is.
    #[inline]
    #[must_use]
    pub const fn ts_recv(&self) -> UnixNanos {
        self.top.ts_recv
    }

    /// Price (1e-9) and level of one side, from the best on.
    pub fn levels(&self, side: Side) -> impl Iterator<Item = (i64, &'a Level)> + use<'a> {
        // It was usable when the view was made, and nothing can change it meanwhile.
        self.books.levels(self.symbol, side).into_iter().flatten()
    }

    /// Size of the best `levels` levels of a side together, in units of the instrument; summed from the best on. O(levels).
    #[must_use]
    pub fn depth(&self, side: Side, levels: usize) -> f64 {
        self.levels(side).take(levels).map(|(_, level)| size_f64(level.size, level.scale)).sum()
    }

    /// (bid - ask) / (bid + ask) of the sizes of the best `levels` levels of each side, from -1 to 1; `None` when both are empty.
    /// O(levels).
    #[must_use]
    pub fn imbalance(&self, levels: usize) -> Option<f64> {
        let (bid, ask) = (self.depth(Side::Bid, levels), self.depth(Side::Ask, levels));
        let both = bid + ask;
        (both > 0.0).then(|| (bid - ask) / both)
    }
}
