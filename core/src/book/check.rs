//! What must hold of the books between calls, and their section of a snapshot.
//!
//! Name "set of books", version 1; an element is one book. The body: 4 settings and 12 numbers (see `LAYOUT`), the books, the pages, the orders.

use super::levels::{Ladder, Pages};
use super::orders::Orders;
use super::{
    Book, BookCounts, Books, CLEARED, CROSSED, FEED_DEPTH, FEED_ORDERS, FULL, GAPPED, OPEN, SNAPSHOT_IGNORED, SYNCED,
};
use crate::invariant::{Broken, require, require_counts};
use crate::section::{self, RestoreError, Section, Shape};
use crate::units::{SCALE_MAX, Side};
use std::collections::BTreeMap;

const NAME: &str = "set of books";
const LAYOUT: &str = "u64: pages orders seed epoch counts*11; book: bids asks (first last len gone u32) last_seq snapshot_seq need_seq ts_recv u64 \
    epoch u32 feed state snapshot source scale u8; pages of levels: rank i64 size seq u64 orders u32 scale gone u8; orders: id u64 \
    rank i64 size symbol u32 side u8; table u32; chains";
const NUMBERS: usize = 4 + size_of::<BookCounts>() / 8;

fn shape(symbols: usize) -> Shape {
    Shape { name: NAME, version: 1, element: size_of::<Book>() as u32, layout: LAYOUT, capacity: symbols as u64 }
}

impl Books {
    fn body_bytes(&self) -> usize {
        NUMBERS * 8 + size_of_val(&*self.books) + self.pages.section_bytes() + self.orders.section_bytes()
    }

    /// Bytes of a [`Books::snapshot`]: always the same, whatever is in the books.
    #[must_use]
    pub fn snapshot_bytes(&self) -> usize {
        section::HEADER_BYTES + self.body_bytes()
    }

    /// Appends all books as a section of plain bytes. O(symbols + pages + orders).
    ///
    /// Allocates only if `out` has less room than [`Books::snapshot_bytes`].
    pub fn snapshot(&self, out: &mut Vec<u8>) {
        section::write(out, &shape(self.books.len()), self.orders.len() as u64, self.body_bytes(), |body| {
            body.slice(&[
                self.pages.capacity() as u64,
                self.orders.capacity() as u64,
                self.seed,
                u64::from(self.epoch),
            ]);
            body.slice(&[self.counts]);
            body.slice(&self.books);
            self.pages.write(body);
            self.orders.write(body);
        });
    }

    /// The books that [`Books::snapshot`] wrote: they go on as those would. Allocates as [`Books::new`] does.
    /// O(symbols + pages + orders).
    ///
    /// # Errors
    /// [`RestoreError`] when `section` is no such snapshot, of books with another room or seed, or when a rule of the structure does
    /// not hold.
    ///
    /// # Panics
    /// As [`Books::new`], for the settings that the caller asks for.
    pub fn restore(
        symbols: usize,
        pages: usize,
        orders: usize,
        seed: u64,
        section: &[u8],
    ) -> Result<Self, RestoreError> {
        let invalid = |broken| RestoreError::Invalid { name: NAME, broken };
        let section = Section::parse(section)?;
        let mut body = section.expect(&shape(symbols))?;
        let mut books = Self::new(symbols, pages, orders, seed);
        body.setting("pages", pages as u64)?;
        body.setting("orders", orders as u64)?;
        body.setting("a seed of", seed)?;
        let epoch = body.u64()?;
        books.epoch = u32::try_from(epoch).map_err(|_| invalid(Broken { rule: "an epoch has 32 bits", at: epoch }))?;
        let mut counts = [BookCounts::default()];
        body.fill(&mut counts)?;
        [books.counts] = counts;
        body.fill(&mut books.books)?;
        books.pages = Pages::read(pages, &mut body)?;
        books.orders = Orders::read((orders, symbols, seed), &mut body, invalid)?;
        body.finish()?;
        if section.count() != books.orders.len() as u64 {
            return Err(invalid(Broken { rule: "the count is that of the orders", at: section.count() }));
        }
        books.check().map_err(invalid)?;
        Ok(books)
    }

    /// Checks every rule of the structure. O(symbols + pages + orders), allocates; for tests.
    ///
    /// # Panics
    /// When a rule does not hold, with the rule.
    pub fn assert_invariants(&self) {
        if let Err(broken) = self.check() {
            panic!("Invariant: {broken}");
        }
    }

    fn check(&self) -> Result<(), Broken> {
        require_counts(bytemuck::cast_slice(&[self.counts]))?;
        self.pages.check(self.books.iter().flat_map(|book| [&book.bids, &book.asks]))?;
        self.orders.check()?;
        // What the orders of each level add up to.
        let mut sums = BTreeMap::new();
        for (_, order) in self.orders.iter() {
            let sum = sums.entry((order.symbol, order.side, order.rank)).or_insert((0_u64, 0_u32));
            *sum = (sum.0 + u64::from(order.size), sum.1 + 1);
        }
        let mut levels_of_orders = 0;
        for (symbol, book) in self.books.iter().enumerate() {
            require(book.feed <= FEED_DEPTH && book.snapshot <= SNAPSHOT_IGNORED, "a book has a known state", symbol)?;
            let all = SYNCED | GAPPED | FULL | OPEN | CROSSED | CLEARED;
            require(book.state & !all == 0 && book.pad == [0; 7], "a book has a known state", symbol)?;
            let gone = book.bids.gone + book.asks.gone;
            require(!book.is(SYNCED) || gone == 0, "a synced book remembers nothing that is gone", symbol)?;
            for (side, ladder) in [(Side::Bid, &book.bids), (Side::Ask, &book.asks)] {
                self.check_side(symbol, side, ladder)?;
                if book.feed != FEED_ORDERS {
                    continue;
                }
                for level in self.pages.iter(ladder) {
                    let sum = sums.get(&(symbol as u32, side as u8, level.rank));
                    require(sum == Some(&(level.size, level.orders)), "a level is the sum of its orders", symbol)?;
                    levels_of_orders += 1;
                }
            }
        }
        require(levels_of_orders == sums.len(), "every order is in a level", levels_of_orders)
    }

    fn check_side(&self, symbol: usize, side: Side, ladder: &Ladder) -> Result<(), Broken> {
        let (mut len, mut sound) = (0_u64, true);
        for level in self.pages.iter(ladder) {
            sound &= level.scale <= SCALE_MAX && super::rank(side, level.rank) != i64::MIN;
            len += 1;
        }
        require(sound, "a level has a price and a scale", symbol)?;
        require(len + u64::from(ladder.gone) == u64::from(ladder.len), "a side counts what is gone", symbol)
    }
}
