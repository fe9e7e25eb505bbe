//! Price levels in order, best first, for many sides of many books: sorted pages from one pool.
//!
//! ```text
//! side: first ---> page 7            page 2            page 9 <--- last
//!                  [100 101 103 ..]  [110 112 ..]      [131 ..]        ranks ascend within and over pages
//! ```
//! A *rank* orders the levels of a side from the best on: the price of an ask, the negative price of a bid. Most changes happen near
//! the best price, in the first page: a change costs a walk over the pages before it and a move inside one page. A page
//! that is full is split in two; one that is empty goes back to the pool.

use crate::invariant::{Broken, require};
use crate::section::{Reader, RestoreError, Writer};
use crate::slab::NONE;
use crate::units::Side;
use bytemuck::{Pod, Zeroable};

/// Levels of one page.
pub const PAGE_LEVELS: usize = 32;

/// One price level.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Pod, Zeroable)]
#[repr(C)]
pub struct Level {
    /// Place in the order of its side: see [`rank`].
    pub(super) rank: i64,
    /// Size, mantissa under `scale`. Of several orders: their sum.
    pub size: u64,
    /// Sequence number of the message that changed the level last.
    pub seq: u64,
    /// Orders at the level, 0 = not told.
    pub orders: u32,
    /// Decimal exponent of the size.
    pub scale: u8,
    /// 1 = deleted, and remembered because a snapshot may be older than that.
    pub(super) gone: u8,
    /// Always 0.
    pub(super) pad: u16,
}

/// Rank of a price on a side: the smaller, the better. It is its own inverse.
#[inline]
#[must_use]
pub const fn rank(side: Side, price: i64) -> i64 {
    match side {
        Side::Bid => -price,
        Side::Ask | Side::None => price,
    }
}

/// One side of one book: its pages, and how many levels they hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Pod, Zeroable)]
#[repr(C)]
pub(super) struct Ladder {
    first: u32,
    last: u32,
    /// Levels, those that are gone included.
    pub(super) len: u32,
    /// Those that are gone.
    pub(super) gone: u32,
}

impl Ladder {
    pub(super) const EMPTY: Self = Self { first: NONE, last: NONE, len: 0, gone: 0 };
}

#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
struct Page {
    levels: [Level; PAGE_LEVELS],
    len: u32,
    prev: u32,
    /// Next page of the side, or of the free list.
    next: u32,
    /// Always 0.
    pad: u32,
}

impl Page {
    fn used(&self) -> &[Level] {
        &self.levels[..self.len as usize]
    }
}

/// The pool has no page left.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct PoolFull;

/// The pages of all sides.
#[derive(Debug)]
pub(super) struct Pages {
    pages: Box<[Page]>,
    free: u32,
    free_len: u32,
}

impl Pages {
    pub(super) fn new(pages: usize) -> Self {
        let mut pool = Self { pages: vec![Page::zeroed(); pages].into_boxed_slice(), free: NONE, free_len: 0 };
        for index in (0..pages as u32).rev() {
            pool.release(index);
        }
        pool
    }

    pub(super) fn capacity(&self) -> usize {
        self.pages.len()
    }

    pub(super) const fn free_pages(&self) -> usize {
        self.free_len as usize
    }

    pub(super) fn bytes(&self) -> usize {
        size_of_val(&*self.pages)
    }

    fn page(&self, index: u32) -> &Page {
        &self.pages[index as usize]
    }

    fn page_mut(&mut self, index: u32) -> &mut Page {
        &mut self.pages[index as usize]
    }

    fn release(&mut self, index: u32) {
        let free = core::mem::replace(&mut self.free, index);
        *self.page_mut(index) = Page { next: free, ..Page::zeroed() };
        self.free_len += 1;
    }

    /// The page in which `rank` is or would be: the first whose last rank is not below it, or the last page.
    fn find_page(&self, side: &Ladder, rank: i64) -> u32 {
        let mut index = side.first;
        while index != side.last {
            let page = self.page(index);
            if page.levels[page.len as usize - 1].rank >= rank {
                break;
            }
            index = page.next;
        }
        index
    }

    fn find(&self, side: &Ladder, rank: i64) -> (u32, Result<usize, usize>) {
        if side.first == NONE {
            return (NONE, Err(0));
        }
        let page = self.find_page(side, rank);
        (page, self.page(page).used().binary_search_by_key(&rank, |level| level.rank))
    }

    /// The level of that rank. O(pages of the side).
    pub(super) fn get(&self, side: &Ladder, rank: i64) -> Option<&Level> {
        let (page, at) = self.find(side, rank);
        at.ok().map(|at| &self.page(page).levels[at])
    }

    /// Puts a level in, or in the place of the one of its rank. O(pages of the side).
    pub(super) fn set(&mut self, side: &mut Ladder, level: Level) -> Result<(), PoolFull> {
        let (mut page, at) = self.find(side, level.rank);
        let mut at = match at {
            Ok(at) => {
                let old = core::mem::replace(&mut self.page_mut(page).levels[at], level);
                side.gone = side.gone + u32::from(level.gone) - u32::from(old.gone);
                return Ok(());
            }
            Err(at) => at,
        };
        if page == NONE {
            page = self.insert_page(side, NONE)?;
        } else if self.page(page).len as usize == PAGE_LEVELS {
            let right = self.split(side, page)?;
            if at > PAGE_LEVELS / 2 {
                (page, at) = (right, at - PAGE_LEVELS / 2);
            }
        }
        let page = self.page_mut(page);
        page.levels.copy_within(at..page.len as usize, at + 1);
        page.levels[at] = level;
        page.len += 1;
        side.len += 1;
        side.gone += u32::from(level.gone);
        Ok(())
    }

    /// Takes the level of that rank out. O(pages of the side).
    pub(super) fn remove(&mut self, side: &mut Ladder, rank: i64) -> Option<Level> {
        let (page, at) = self.find(side, rank);
        let at = at.ok()?;
        let node = self.page_mut(page);
        let level = node.levels[at];
        node.levels.copy_within(at + 1..node.len as usize, at);
        node.len -= 1;
        // What is not in use is zero, so that equal books are equal bytes.
        let len = node.len as usize;
        node.levels[len] = Level::default();
        side.len -= 1;
        side.gone -= u32::from(level.gone);
        if len == 0 {
            self.remove_page(side, page);
        }
        Some(level)
    }

    /// Keeps the levels that `keep` wants. O(levels).
    pub(super) fn retain(&mut self, side: &mut Ladder, mut keep: impl FnMut(&Level) -> bool) {
        let mut index = side.first;
        while index != NONE {
            let page = self.page_mut(index);
            let (next, len) = (page.next, page.len as usize);
            let mut kept = 0;
            for at in 0..len {
                let level = page.levels[at];
                if keep(&level) {
                    page.levels[kept] = level;
                    kept += 1;
                } else {
                    side.len -= 1;
                    side.gone -= u32::from(level.gone);
                }
            }
            page.levels[kept..len].fill(Level::default());
            page.len = kept as u32;
            if kept == 0 {
                self.remove_page(side, index);
            }
            index = next;
        }
    }

    /// Takes all levels out. O(pages of the side).
    pub(super) fn clear(&mut self, side: &mut Ladder) {
        while side.first != NONE {
            self.remove_page(side, side.first);
        }
        *side = Ladder::EMPTY;
    }

    /// The levels from the best on, without those that are gone.
    pub(super) fn iter(&self, side: &Ladder) -> impl Iterator<Item = &Level> {
        let pages =
            core::iter::successors(self.pages.get(side.first as usize), |page| self.pages.get(page.next as usize));
        pages.flat_map(Page::used).filter(|level| level.gone == 0)
    }

    /// A page before `before`, or at the end when that is [`NONE`].
    fn insert_page(&mut self, side: &mut Ladder, before: u32) -> Result<u32, PoolFull> {
        let index = self.free;
        if index == NONE {
            return Err(PoolFull);
        }
        self.free = self.page(index).next;
        self.free_len -= 1;
        let prev = if before == NONE {
            core::mem::replace(&mut side.last, index)
        } else {
            core::mem::replace(&mut self.page_mut(before).prev, index)
        };
        if prev == NONE {
            side.first = index;
        } else {
            self.page_mut(prev).next = index;
        }
        let page = self.page_mut(index);
        (page.prev, page.next) = (prev, before);
        Ok(index)
    }

    fn remove_page(&mut self, side: &mut Ladder, index: u32) {
        let Page { prev, next, .. } = *self.page(index);
        if prev == NONE {
            side.first = next;
        } else {
            self.page_mut(prev).next = next;
        }
        if next == NONE {
            side.last = prev;
        } else {
            self.page_mut(next).prev = prev;
        }
        self.release(index);
    }

    /// Moves the back half of a full page to a new one behind it.
    fn split(&mut self, side: &mut Ladder, index: u32) -> Result<u32, PoolFull> {
        const HALF: usize = PAGE_LEVELS / 2;
        let right = self.insert_page(side, self.page(index).next)?;
        let left = self.page_mut(index);
        let mut back = [Level::default(); HALF];
        back.copy_from_slice(&left.levels[HALF..]);
        left.levels[HALF..].fill(Level::default());
        left.len = HALF as u32;
        let page = self.page_mut(right);
        page.levels[..HALF].copy_from_slice(&back);
        page.len = HALF as u32;
        Ok(right)
    }

    pub(super) fn section_bytes(&self) -> usize {
        8 + self.bytes()
    }

    pub(super) fn write(&self, body: &mut Writer<'_>) {
        body.slice(&[self.free, self.free_len]);
        body.slice(&self.pages);
    }

    pub(super) fn read(pages: usize, body: &mut Reader<'_>) -> Result<Self, RestoreError> {
        let mut pool = Self::new(pages);
        pool.free = body.u32()?;
        pool.free_len = body.u32()?;
        body.fill(&mut pool.pages)?;
        Ok(pool)
    }

    /// Checks the sides, which are all there are, and the free list: every page is in one of them. O(pages).
    ///
    /// Never panics or loops, whatever the arrays hold.
    pub(super) fn check<'a>(&self, sides: impl Iterator<Item = &'a Ladder>) -> Result<(), Broken> {
        let mut seen = vec![false; self.pages.len()];
        let mut see = |index: u32| {
            let fresh = seen.get_mut(index as usize).is_some_and(|seen| !core::mem::replace(seen, true));
            require(fresh, "a page is in one place", index)
        };
        for side in sides {
            let (mut prev, mut index, mut last_rank) = (NONE, side.first, None);
            let (mut len, mut gone) = (0_u64, 0_u64);
            while index != NONE {
                see(index)?;
                let page = self.page(index);
                require(page.prev == prev, "a page points back to the one before", index)?;
                require(page.len >= 1 && page.len as usize <= PAGE_LEVELS, "a page of a side holds levels", index)?;
                for level in page.used() {
                    require(last_rank.is_none_or(|last| last < level.rank), "ranks ascend", index)?;
                    require(level.gone <= 1 && level.pad == 0, "a level is gone or not", index)?;
                    require(level.rank != i64::MIN, "a rank is that of a price", index)?;
                    last_rank = Some(level.rank);
                    len += 1;
                    gone += u64::from(level.gone);
                }
                let rest = &page.levels[page.len as usize..];
                require(rest.iter().all(|level| *level == Level::default()), "what is not in use is zero", index)?;
                (prev, index) = (index, page.next);
            }
            require(side.last == prev, "a side ends at its last page", prev)?;
            require(u64::from(side.len) == len && u64::from(side.gone) == gone, "a side counts its levels", len)?;
        }
        let mut index = self.free;
        for _ in 0..self.free_len {
            see(index)?;
            require(self.page(index).len == 0, "a free page is empty", index)?;
            index = self.page(index).next;
        }
        require(index == NONE, "the free list is as long as it says", index)?;
        require(seen.iter().all(|seen| *seen), "every page is on a side or free", 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::for_seeds;
    use std::collections::BTreeMap;

    fn level(rank: i64, size: u64, gone: bool) -> Level {
        Level { rank, size, gone: u8::from(gone), ..Level::default() }
    }

    #[test]
    fn sides_are_what_sorted_maps_are() {
        for_seeds(0..30, |seed, prng| {
            let mut pages = Pages::new(5);
            let mut sides = [Ladder::EMPTY; 2];
            let mut twins = [BTreeMap::new(), BTreeMap::new()];
            let (mut full, mut wiped) = (0, 0);
            for _ in 0..3_000 {
                let side = prng.index(2);
                let (ladder, twin) = (&mut sides[side], &mut twins[side]);
                let rank = prng.in_range(0..400) as i64 - 200;
                match prng.index(40) {
                    0 => {
                        let below = prng.in_range(0..1_000);
                        pages.retain(ladder, |level| level.size >= below);
                        twin.retain(|_, level: &mut Level| level.size >= below);
                        wiped += 1;
                    }
                    1 if seed % 2 == 0 && prng.one_in(5) => {
                        pages.clear(ladder);
                        twin.clear();
                    }
                    2..=12 => assert_eq!(pages.remove(ladder, rank), twin.remove(&rank)),
                    _ => {
                        let level = level(rank, prng.in_range(0..1_000), prng.one_in(8));
                        match pages.set(ladder, level) {
                            Ok(()) => drop(twin.insert(rank, level)),
                            Err(PoolFull) => {
                                assert!(!twin.contains_key(&rank), "a level that is there needs no page");
                                full += 1;
                            }
                        }
                    }
                }
                assert_eq!(pages.get(&sides[side], rank), twins[side].get(&rank));
                for (side, twin) in sides.iter().zip(&twins) {
                    assert_eq!(side.len as usize, twin.len());
                    assert!(pages.iter(side).eq(twin.values().filter(|level| level.gone == 0)));
                }
                pages.check(sides.iter()).unwrap();
            }
            assert!(full > 0 && wiped > 10, "{full} {wiped}");
            for side in &mut sides {
                pages.clear(side);
            }
            assert_eq!(pages.free_pages(), pages.capacity());
        });
    }

    #[test]
    fn ranks_turn_prices_around_and_back() {
        for price in [0, 1, -5, i64::MAX, i64::MIN + 1] {
            for side in [Side::Bid, Side::Ask] {
                assert_eq!(rank(side, rank(side, price)), price);
            }
        }
        assert!(rank(Side::Bid, 101) < rank(Side::Bid, 100) && rank(Side::Ask, 100) < rank(Side::Ask, 101));
    }
}
