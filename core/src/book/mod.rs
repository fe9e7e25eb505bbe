//! Order books of all symbols of a shard: price levels, from changes of levels or from single orders.
//!
//! Flat and bounded: levels stand in sorted pages of one pool, orders in one slab. What does not fit makes the book of that symbol
//! unusable, says so, and is counted; the others go on.
//!
//! # When a book can be used
//! A book is *synced* once its beginning is known: by a snapshot or a clear, and no gap since. What comes before is kept, because a
//! snapshot holds as of its own sequence number: changes that were seen already and are newer than that are applied on
//! top of it, older ones are not. To that end each level remembers which message changed it last, and one that was deleted
//! stays until the snapshot has come. A snapshot that is older than a book in order, or than a gap, mends nothing and is ignored.
//!
//! [`Books::top`] gives best bid and offer only of a book that is synced, whole (not in the middle of a message) and
//! not crossed; else it says why not. A *gap* of the book's source ([`Kind::GAP`]) makes it unusable until the next snapshot.
//!
//! # Events
//! | kind | meaning |
//! |---|---|
//! | `book_level` | a level has a new size; 0 deletes it; `clear` empties one side or both. The flag `SNAPSHOT` marks the levels of a snapshot, which begins with a clear. The last of a message carries `LAST` |
//! | `book_order` | an order is added, modified, cancelled (by the size given); `R` clears; fills and trades change nothing by themselves (DBN's rules) |
//! | `book_depth` | the best levels of both sides, which are all that is known |
//! | `gap`, `epoch` | the book is not to be used; all books begin anew |
//!
//! A book takes the kind that it saw first; others are counted and ignored.

mod check;
mod levels;
mod orders;
mod view;

pub use levels::{Level, PAGE_LEVELS, rank};
pub use view::BookView;

use crate::event::payload::{BookDepth, BookLevel, BookOrder, Gap, LevelAction};
use crate::event::{EventRef, Flags, Kind, Slot};
use crate::limits::{BOOK_ORDERS_MAX, BOOK_PAGES_MAX, SYMBOLS_MAX};
use crate::units::{PRICE_UNDEFINED, Side, SourceId, SymbolId, UnixNanos};
use bytemuck::{Pod, Zeroable};
use levels::{Ladder, Pages, PoolFull};
use orders::{Order, Orders};

/// What became of an event.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum Applied {
    /// It changed no book.
    Nothing,
    /// It is part of a message that goes on.
    Partial,
    /// A message is complete: the top may have changed.
    Whole,
}

/// Why a book is not to be used.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Unusable {
    /// Nothing of this book has come.
    #[error("there is no book")]
    None,
    /// Neither snapshot nor clear has come.
    #[error("the book's beginning is not known")]
    Unsynced,
    /// Messages are missing.
    #[error("messages of the book are missing")]
    Gapped,
    /// It found no room.
    #[error("the book found no room")]
    Full,
    /// A message has begun and not ended.
    #[error("a message of the book is not complete")]
    Open,
    /// The best bid is not below the best ask.
    #[error("the book is crossed")]
    Crossed,
}

/// Best level of one side.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Best {
    /// Price, 1e-9.
    pub price: i64,
    /// Size, mantissa under `scale`.
    pub size: u64,
    /// Orders, 0 = not told.
    pub orders: u32,
    /// Decimal exponent of the size.
    pub scale: u8,
}

/// Best bid and offer of a book that can be used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Top {
    /// Best bid; `None` when nobody bids.
    pub bid: Option<Best>,
    /// Best offer; `None` when nobody offers.
    pub ask: Option<Best>,
    /// Sequence number of the last message.
    pub seq: u64,
    /// `ts_recv` of the last message.
    pub ts_recv: UnixNanos,
}

/// What the books did so far. Plain counts; they wrap after 2^64.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct BookCounts {
    /// Messages applied.
    pub messages: u64,
    /// Events older than what is known already.
    pub old: u64,
    /// Snapshots taken.
    pub snapshots: u64,
    /// Snapshots older than a book that was in order, or than what a book lacks.
    pub snapshots_ignored: u64,
    /// Snapshots that broke off in the middle.
    pub snapshots_broken: u64,
    /// Gaps that made a book unusable.
    pub gaps: u64,
    /// Times that a book was crossed at the end of a message and not before.
    pub crossed: u64,
    /// Books emptied because a page or an order found no room.
    pub full: u64,
    /// Orders added under an id that was there: the older one is gone.
    pub orders_doubled: u64,
    /// Orders modified or cancelled under an id that was not there.
    pub orders_unknown: u64,
    /// Events without side or price, of another kind than the book's, or of a symbol beyond the limit.
    pub odd: u64,
}

/// How a book is fed.
const FEED_NONE: u8 = 0;
const FEED_LEVELS: u8 = 1;
const FEED_ORDERS: u8 = 2;
const FEED_DEPTH: u8 = 3;

/// State of a snapshot under way.
const SNAPSHOT_NONE: u8 = 0;
const SNAPSHOT_TAKEN: u8 = 1;
const SNAPSHOT_IGNORED: u8 = 2;

const SYNCED: u8 = 1;
const GAPPED: u8 = 1 << 1;
const FULL: u8 = 1 << 2;
const OPEN: u8 = 1 << 3;
const CROSSED: u8 = 1 << 4;
/// Both sides were cleared by the message under way.
const CLEARED: u8 = 1 << 5;

/// One book. Zero bytes are not a book yet: see [`Book::EMPTY`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Pod, Zeroable)]
#[repr(C)]
struct Book {
    bids: Ladder,
    asks: Ladder,
    last_seq: u64,
    /// Messages up to this one are in the last snapshot.
    snapshot_seq: u64,
    /// A snapshot that is older than this mends nothing: what it lacks is lost.
    need_seq: u64,
    ts_recv: u64,
    epoch: u32,
    feed: u8,
    state: u8,
    snapshot: u8,
    /// Source of the last change, for gaps.
    source: u8,
    /// Scale of the orders' sizes.
    scale: u8,
    pad: [u8; 7],
}

impl Book {
    const EMPTY: Self = Self {
        bids: Ladder::EMPTY,
        asks: Ladder::EMPTY,
        last_seq: 0,
        snapshot_seq: 0,
        need_seq: 0,
        ts_recv: 0,
        epoch: 0,
        feed: FEED_NONE,
        state: 0,
        snapshot: SNAPSHOT_NONE,
        source: 0,
        scale: 0,
        pad: [0; 7],
    };

    fn side(&mut self, side: Side) -> &mut Ladder {
        match side {
            Side::Bid => &mut self.bids,
            Side::Ask | Side::None => &mut self.asks,
        }
    }

    const fn is(&self, state: u8) -> bool {
        self.state & state != 0
    }
}

/// See the [module](self). Nothing is allocated after [`Books::new`].
#[derive(Debug)]
pub struct Books {
    books: Box<[Book]>,
    pages: Pages,
    orders: Orders,
    seed: u64,
    epoch: u32,
    counts: BookCounts,
}

impl Books {
    /// Books for the first `symbols` symbol ids, with `pages` pages of [`PAGE_LEVELS`] levels and `orders` single orders
    /// together. `seed` is that of the table of orders. O(symbols + pages + orders).
    ///
    /// # Panics
    /// When a number is above its limit: [`SYMBOLS_MAX`], [`BOOK_PAGES_MAX`], [`BOOK_ORDERS_MAX`].
    #[must_use]
    pub fn new(symbols: usize, pages: usize, orders: usize, seed: u64) -> Self {
        assert!(symbols <= SYMBOLS_MAX, "books for at most {SYMBOLS_MAX} symbols, not {symbols}");
        assert!(pages <= BOOK_PAGES_MAX, "at most {BOOK_PAGES_MAX} pages of levels, not {pages}");
        assert!(orders <= BOOK_ORDERS_MAX, "at most {BOOK_ORDERS_MAX} orders, not {orders}");
        Self {
            books: vec![Book::EMPTY; symbols].into_boxed_slice(),
            pages: Pages::new(pages),
            orders: Orders::new(orders, symbols, seed),
            seed,
            epoch: 0,
            counts: BookCounts::default(),
        }
    }

    /// Bytes on the heap.
    #[must_use]
    pub fn bytes(&self) -> usize {
        size_of_val(&*self.books) + self.pages.bytes() + self.orders.bytes()
    }

    /// What the books did so far.
    #[must_use]
    pub const fn counts(&self) -> BookCounts {
        self.counts
    }

    /// Pages that are free, and all that there are.
    #[must_use]
    pub fn pages(&self) -> (usize, usize) {
        (self.pages.free_pages(), self.pages.capacity())
    }

    /// Single orders in all books, and the room that there is.
    #[must_use]
    pub fn orders(&self) -> (usize, usize) {
        (self.orders.len(), self.orders.capacity())
    }

    /// Applies an event to the book of its symbol. O(pages of the side) for a level or an order, O(levels) for a snapshot's
    /// beginning; no allocation.
    pub fn apply(&mut self, event: EventRef<'_>) -> Applied {
        let head = event.head();
        let applied = match head.kind() {
            Kind::BOOK_LEVEL => event.get().map(|level| self.level(head, level)),
            Kind::BOOK_ORDER => event.get().map(|order| self.order(head, order)),
            Kind::BOOK_DEPTH => Some(self.depth(head, event)),
            Kind::GAP => event.get().map(|gap| self.gap(head, gap)),
            Kind::EPOCH => {
                // Each book is emptied when it is next looked at.
                self.epoch = self.epoch.wrapping_add(1);
                None
            }
            _ => None,
        };
        applied.unwrap_or(Applied::Nothing)
    }

    /// Best bid and offer. O(1), except where levels were deleted before a snapshot has come.
    ///
    /// # Errors
    /// [`Unusable`] when the book is not to be used.
    pub fn top(&self, symbol: SymbolId) -> Result<Top, Unusable> {
        let book = self.usable(symbol)?;
        let (bid, ask) = self.best(book);
        Ok(Top { bid, ask, seq: book.last_seq, ts_recv: UnixNanos(book.ts_recv) })
    }

    /// Price and level of one side, from the best on.
    ///
    /// # Errors
    /// [`Unusable`] when the book is not to be used.
    pub fn levels(&self, symbol: SymbolId, side: Side) -> Result<impl Iterator<Item = (i64, &Level)>, Unusable> {
        let book = self.usable(symbol)?;
        let ladder = if side == Side::Bid { &book.bids } else { &book.asks };
        Ok(self.pages.iter(ladder).map(move |level| (rank(side, level.rank), level)))
    }

    /// A new epoch of one source has begun: the books that it fed begin anew. O(symbols).
    pub fn forget_source(&mut self, source: SourceId) {
        for symbol in 0..self.books.len() {
            let book = &self.books[symbol];
            if book.epoch == self.epoch && book.feed != FEED_NONE && book.source == source.0 {
                self.empty(SymbolId(symbol as u32));
                self.books[symbol] = Book { epoch: self.epoch, ..Book::EMPTY };
            }
        }
    }

    /// The book of a symbol to look at; `None` when it is not to be used. O(1), except where levels were deleted before a snapshot
    /// has come.
    #[must_use]
    pub fn view(&self, symbol: SymbolId) -> Option<BookView<'_>> {
        BookView::new(self, symbol)
    }

    /// Marks a book as not to be used until the next snapshot: something of it was lost on the way here.
    pub fn mark_stale(&mut self, symbol: SymbolId) {
        if let Some(book) = self.books.get_mut(symbol.index()).filter(|book| book.epoch == self.epoch) {
            // Also what a clear in the middle of a message has promised.
            book.state = (book.state | GAPPED) & !(SYNCED | CLEARED);
            book.need_seq = book.need_seq.max(book.last_seq);
        }
    }

    fn usable(&self, symbol: SymbolId) -> Result<&Book, Unusable> {
        let Some(book) = self.books.get(symbol.index()) else { return Err(Unusable::None) };
        if book.epoch != self.epoch || book.feed == FEED_NONE {
            return Err(Unusable::None);
        }
        let reasons = [(FULL, Unusable::Full), (GAPPED, Unusable::Gapped), (OPEN, Unusable::Open)];
        for (state, reason) in reasons {
            if book.is(state) {
                return Err(reason);
            }
        }
        if !book.is(SYNCED) {
            return Err(Unusable::Unsynced);
        }
        if book.is(CROSSED) { Err(Unusable::Crossed) } else { Ok(book) }
    }

    fn best(&self, book: &Book) -> (Option<Best>, Option<Best>) {
        let best = |side, ladder| {
            self.pages.iter(ladder).next().map(|level| Best {
                price: rank(side, level.rank),
                size: level.size,
                orders: level.orders,
                scale: level.scale,
            })
        };
        (best(Side::Bid, &book.bids), best(Side::Ask, &book.asks))
    }

    /// Whether the book of `head` takes this feed. A book of an epoch that is over is emptied first.
    fn takes(&mut self, head: &Slot, feed: u8) -> bool {
        let index = head.symbol.index();
        if index >= self.books.len() {
            self.counts.odd += 1;
            return false;
        }
        if self.books[index].epoch != self.epoch {
            self.empty(head.symbol);
            self.books[index] = Book { epoch: self.epoch, ..Book::EMPTY };
        }
        let book = &mut self.books[index];
        if book.feed == FEED_NONE {
            book.feed = feed;
        }
        let takes = book.feed == feed;
        self.counts.odd += u64::from(!takes);
        takes
    }

    fn empty(&mut self, symbol: SymbolId) {
        let book = &mut self.books[symbol.index()];
        self.pages.clear(&mut book.bids);
        self.pages.clear(&mut book.asks);
        self.orders.clear(symbol);
    }

    /// The book found no room: it is emptied, so that the others have some, and waits for the next beginning.
    #[cold]
    fn overflow(&mut self, symbol: SymbolId) {
        self.empty(symbol);
        let book = &mut self.books[symbol.index()];
        book.state = (book.state | FULL) & !(SYNCED | CLEARED);
        book.snapshot = SNAPSHOT_NONE;
        self.counts.full += 1;
    }

    fn level(&mut self, head: &Slot, change: &BookLevel) -> Applied {
        if !self.takes(head, FEED_LEVELS) {
            return Applied::Nothing;
        }
        let action = LevelAction::from_u8(change.action);
        let side = Side::from_u8(change.side);
        let is_snapshot = head.flags.contains(Flags::SNAPSHOT);
        let is_sequenced = !head.flags.contains(Flags::UNSEQUENCED) && head.seq != 0;
        let book = &mut self.books[head.symbol.index()];
        if !is_snapshot && book.snapshot != SNAPSHOT_NONE {
            // What was taken is not all of it.
            if book.snapshot == SNAPSHOT_TAKEN {
                book.need_seq = book.need_seq.max(book.snapshot_seq);
                self.counts.snapshots_broken += 1;
            }
            book.snapshot = SNAPSHOT_NONE;
        }
        if is_snapshot && action == LevelAction::Clear && book.snapshot == SNAPSHOT_NONE {
            self.begin_snapshot(head, is_sequenced);
            return self.end_of_part(head);
        }
        if book.snapshot == SNAPSHOT_IGNORED {
            return self.end_of_part(head);
        }
        if !is_snapshot && is_sequenced && (head.seq < book.last_seq || head.seq <= book.snapshot_seq) {
            self.counts.old += 1;
            return Applied::Nothing;
        }
        if book.is(FULL) && action != LevelAction::Clear {
            return self.end_of_part(head);
        }
        if action == LevelAction::Clear {
            for (cleared, ladder) in [(Side::Bid, &mut book.bids), (Side::Ask, &mut book.asks)] {
                if side == Side::None || side == cleared {
                    self.pages.clear(ladder);
                }
            }
            if side == Side::None {
                book.state = (book.state | CLEARED) & !FULL;
            }
            return self.end_of_part(head);
        }
        if side == Side::None || change.price == PRICE_UNDEFINED || change.price == i64::MIN {
            self.counts.odd += 1;
            return self.end_of_part(head);
        }
        let rank = rank(side, change.price);
        let is_gone = action == LevelAction::Delete || change.size == 0;
        let keeps_gone = !book.is(SYNCED | CLEARED) && book.snapshot == SNAPSHOT_NONE && is_sequenced;
        let snapshot_seq = book.snapshot_seq;
        let is_taken = book.snapshot == SNAPSHOT_TAKEN;
        let ladder = book.side(side);
        if is_taken && self.pages.get(ladder, rank).is_some_and(|newer| newer.seq > snapshot_seq) {
            return self.end_of_part(head);
        }
        if is_gone && !keeps_gone {
            self.pages.remove(ladder, rank);
            return self.end_of_part(head);
        }
        let level = Level {
            rank,
            size: if is_gone { 0 } else { change.size },
            seq: head.seq,
            orders: change.order_count,
            scale: head.scale,
            gone: u8::from(is_gone),
            pad: 0,
        };
        if self.pages.set(ladder, level) == Err(PoolFull) {
            self.overflow(head.symbol);
        }
        self.end_of_part(head)
    }

    fn begin_snapshot(&mut self, head: &Slot, is_sequenced: bool) {
        let book = &mut self.books[head.symbol.index()];
        // What a book in order has seen it may have deleted without a trace, and what a full one has seen is lost.
        let oldest_good = if book.is(SYNCED | FULL) { book.last_seq } else { book.need_seq };
        if is_sequenced && head.seq < oldest_good {
            book.snapshot = SNAPSHOT_IGNORED;
            return;
        }
        let is_newer = |level: &Level| is_sequenced && level.seq > head.seq;
        self.pages.retain(&mut book.bids, is_newer);
        self.pages.retain(&mut book.asks, is_newer);
        book.snapshot = SNAPSHOT_TAKEN;
        book.state &= !(SYNCED | FULL);
        book.snapshot_seq = if is_sequenced { head.seq } else { 0 };
    }

    /// Notes the message, and ends it where `head` is its last.
    fn end_of_part(&mut self, head: &Slot) -> Applied {
        let is_snapshot = head.flags.contains(Flags::SNAPSHOT);
        let book = &mut self.books[head.symbol.index()];
        if book.snapshot != SNAPSHOT_IGNORED {
            if !head.flags.contains(Flags::UNSEQUENCED) {
                book.last_seq = book.last_seq.max(head.seq);
            }
            book.ts_recv = head.ts_recv.0;
            if !is_snapshot {
                book.source = head.source.0;
            }
        }
        if !head.flags.contains(Flags::LAST) {
            book.state |= OPEN;
            return Applied::Partial;
        }
        match core::mem::replace(&mut book.snapshot, SNAPSHOT_NONE) {
            SNAPSHOT_IGNORED => {
                book.state &= !OPEN;
                self.counts.snapshots_ignored += 1;
                return Applied::Nothing;
            }
            // Messages that came to be missing while it was taken may be newer than it.
            SNAPSHOT_TAKEN if book.snapshot_seq != 0 && book.snapshot_seq < book.need_seq => {
                book.need_seq = book.need_seq.max(book.snapshot_seq);
                book.state |= GAPPED;
                self.counts.snapshots_broken += 1;
            }
            SNAPSHOT_TAKEN => {
                self.pages.retain(&mut book.bids, |level| level.gone == 0);
                self.pages.retain(&mut book.asks, |level| level.gone == 0);
                book.state = (book.state | SYNCED) & !GAPPED;
                self.counts.snapshots += 1;
            }
            _ if book.is(CLEARED) => book.state = (book.state | SYNCED) & !(GAPPED | CLEARED),
            _ => {}
        }
        self.counts.messages += 1;
        self.end_of_message(head.symbol);
        Applied::Whole
    }

    fn end_of_message(&mut self, symbol: SymbolId) {
        let (bid, ask) = self.best(&self.books[symbol.index()]);
        let is_crossed = bid.zip(ask).is_some_and(|(bid, ask)| bid.price >= ask.price);
        let book = &mut self.books[symbol.index()];
        if is_crossed {
            self.counts.crossed += u64::from(!book.is(CROSSED));
            book.state |= CROSSED;
        } else {
            book.state &= !CROSSED;
        }
        book.state &= !OPEN;
    }

    fn depth(&mut self, head: &Slot, event: EventRef<'_>) -> Applied {
        if !self.takes(head, FEED_DEPTH) {
            return Applied::Nothing;
        }
        self.empty(head.symbol);
        let book = &mut self.books[head.symbol.index()];
        book.state = SYNCED;
        if !head.flags.contains(Flags::UNSEQUENCED) {
            book.last_seq = book.last_seq.max(head.seq);
        }
        (book.ts_recv, book.source) = (head.ts_recv.0, head.source.0);
        let mut is_full = false;
        for level in BookDepth::levels_of(event) {
            let sides = [
                (Side::Bid, level.bid_px, level.bid_sz, level.bid_ct),
                (Side::Ask, level.ask_px, level.ask_sz, level.ask_ct),
            ];
            for (side, price, size, orders) in sides {
                if price == PRICE_UNDEFINED || price == i64::MIN || size == 0 {
                    continue;
                }
                let (rank, size) = (rank(side, price), u64::from(size));
                let level = Level { rank, size, seq: head.seq, orders, scale: head.scale, ..Level::default() };
                is_full |= self.pages.set(book.side(side), level) == Err(PoolFull);
            }
        }
        if is_full {
            self.overflow(head.symbol);
        }
        self.counts.messages += 1;
        self.end_of_message(head.symbol);
        Applied::Whole
    }

    fn gap(&mut self, head: &Slot, gap: &Gap) -> Applied {
        let Some(book) = self.books.get_mut(head.symbol.index()) else { return Applied::Nothing };
        // Of which source a book is, its snapshot does not tell: before the first change, any gap may be its own.
        let is_its = [head.source.0, SourceId::NONE.0].contains(&book.source) || head.source == SourceId::NONE;
        let is_its = is_its && book.feed != FEED_NONE && book.epoch == self.epoch;
        if !is_its {
            return Applied::Nothing;
        }
        self.counts.gaps += 1;
        self.mark_stale(head.symbol);
        // What is missing ends before the number that came.
        let book = &mut self.books[head.symbol.index()];
        book.need_seq = book.need_seq.max(gap.received.saturating_sub(1));
        Applied::Whole
    }

    fn order(&mut self, head: &Slot, change: &BookOrder) -> Applied {
        if !self.takes(head, FEED_ORDERS) {
            return Applied::Nothing;
        }
        let book = &mut self.books[head.symbol.index()];
        if change.action == b'R' {
            book.state = (book.state | CLEARED) & !FULL;
            self.empty(head.symbol);
            return self.end_of_part(head);
        }
        if book.is(FULL) {
            return self.end_of_part(head);
        }
        if self.orders_scale(head) {
            match change.action {
                b'A' => self.add_order(head, change),
                b'M' => {
                    if self.take_order(head.symbol, change.order_id, u32::MAX, head.seq).is_none() {
                        self.counts.orders_unknown += 1;
                    }
                    self.add_order(head, change);
                }
                b'C' if self.take_order(head.symbol, change.order_id, change.size, head.seq).is_none() => {
                    self.counts.orders_unknown += 1;
                }
                _ => {}
            }
        }
        self.end_of_part(head)
    }

    /// Whether sizes of `head` add up with those in the book. A book without orders takes the scale of the first.
    fn orders_scale(&mut self, head: &Slot) -> bool {
        let book = &mut self.books[head.symbol.index()];
        if book.bids.len == 0 && book.asks.len == 0 {
            book.scale = head.scale;
        }
        let adds_up = book.scale == head.scale;
        self.counts.odd += u64::from(!adds_up);
        adds_up
    }

    fn add_order(&mut self, head: &Slot, change: &BookOrder) {
        let side = Side::from_u8(change.side);
        if side == Side::None || change.price == PRICE_UNDEFINED || change.price == i64::MIN || change.size == 0 {
            self.counts.odd += 1;
            return;
        }
        if self.orders.get_mut(head.symbol, change.order_id).is_some() {
            self.counts.orders_doubled += 1;
            self.take_order(head.symbol, change.order_id, u32::MAX, head.seq);
        }
        let order = Order::new(head.symbol, change.order_id, side, change.price, change.size);
        let book = &mut self.books[head.symbol.index()];
        let scale = book.scale;
        let ladder = book.side(side);
        let (size, orders) = self.pages.get(ladder, order.rank).map_or((0, 0), |level| (level.size, level.orders));
        let level = Level {
            rank: order.rank,
            size: size + u64::from(order.size),
            seq: head.seq,
            orders: orders + 1,
            scale,
            ..Level::default()
        };
        if self.pages.set(ladder, level) == Err(PoolFull) || !self.orders.insert(order) {
            self.overflow(head.symbol);
        }
    }

    /// Takes up to `size` off an order, and the order out when nothing is left of it. `None` when it is not there.
    fn take_order(&mut self, symbol: SymbolId, id: u64, size: u32, seq: u64) -> Option<()> {
        let order = self.orders.get_mut(symbol, id)?;
        let taken = size.min(order.size);
        order.size -= taken;
        let order = *order;
        let is_gone = order.size == 0;
        let ladder = self.books[symbol.index()].side(order.side());
        let level = *self.pages.get(ladder, order.rank)?;
        let left =
            Level { size: level.size - u64::from(taken), orders: level.orders - u32::from(is_gone), seq, ..level };
        if left.orders == 0 {
            self.pages.remove(ladder, order.rank);
        } else {
            // The level is there, so that it needs no page.
            let _ = self.pages.set(ladder, left);
        }
        if is_gone {
            self.orders.remove(symbol, id);
        }
        Some(())
    }
}
