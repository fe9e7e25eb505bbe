//! The orders that are live, by reference number: what executions, cancels, deletes and replaces do not say of them.
//!
//! A flat table of 16-byte cells with linear probing and removal by moving back. Consecutive reference numbers stand side by
//! side, four in a cache line and [`GROUP`] in a run, because orders come and go in runs. Allocates in its constructor only.

use tapeline_core::units::Side;

/// Reference numbers whose cells are neighbours: half a kilobyte. Groups of four made the whole input a third slower, of 64 no faster.
const GROUP: u64 = 32;
/// Greatest reference number that can be kept: one bit of its cell is the side.
pub(super) const REFERENCE_MAX: u64 = u64::MAX >> 1;

/// Cells that are forgotten together: one kilobyte.
const BLOCK: usize = 64;

/// What is known of a live order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Order {
    pub(super) side: Side,
    /// As ITCH has it, 1e-4.
    pub(super) price: u32,
    /// Shares that are left, at least 1.
    pub(super) shares: u32,
}

#[derive(Clone, Copy, Default, Debug)]
struct Cell {
    /// Reference number * 2, + 1 for an ask.
    key: u64,
    price: u32,
    /// 0 = the cell is free.
    shares: u32,
}

impl Cell {
    const fn order(self) -> Order {
        let side = if self.key & 1 == 0 { Side::Bid } else { Side::Ask };
        Order { side, price: self.price, shares: self.shares }
    }
}

/// See the [module](self).
pub(super) struct Orders {
    cells: Box<[Cell]>,
    /// Bit of each block of [`BLOCK`] cells of which one was taken since all were forgotten.
    touched: Box<[u64]>,
    len: usize,
    max: usize,
}

impl Orders {
    /// Room for `max` orders: 16 bytes for each cell, of which at most three quarters are taken. Memory that is not used is not touched.
    pub(super) fn new(max: usize) -> Self {
        let cells = (max + max.div_ceil(3)).next_power_of_two().max(BLOCK);
        Self {
            cells: vec![Cell::default(); cells].into_boxed_slice(),
            touched: vec![0; (cells / BLOCK).div_ceil(64)].into_boxed_slice(),
            len: 0,
            max,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    #[inline]
    fn home(&self, reference: u64) -> usize {
        // Fibonacci hashing (Knuth, TAOCP 3, 6.4) of the group; the high half is well mixed.
        let mixed = (reference / GROUP).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 29;
        (mixed.wrapping_mul(GROUP) + reference % GROUP) as usize & (self.cells.len() - 1)
    }

    /// The cell of an order, or the free one where it would be.
    #[inline]
    fn find(&self, reference: u64) -> Result<usize, usize> {
        let (mut at, mask) = (self.home(reference), self.cells.len() - 1);
        // Ends: some cells are free.
        loop {
            let cell = &self.cells[at & mask];
            if cell.shares == 0 {
                return Err(at & mask);
            }
            if cell.key >> 1 == reference {
                return Ok(at & mask);
            }
            at += 1;
        }
    }

    /// Adds an order, in place of one of that number. `false` when it cannot be kept: there is no room, it has no shares or no side, or its
    /// number is above [`REFERENCE_MAX`]; one of that number is gone all the same. O(1) on average.
    #[inline]
    pub(super) fn insert(&mut self, reference: u64, order: Order) -> bool {
        let is_fit = order.shares > 0 && order.side != Side::None && reference <= REFERENCE_MAX;
        let at = match self.find(reference) {
            Ok(at) if is_fit => at,
            Ok(at) => {
                self.remove_at(at);
                return false;
            }
            Err(_) if !is_fit || self.len == self.max => return false,
            Err(at) => {
                self.len += 1;
                at
            }
        };
        let key = reference << 1 | u64::from(order.side == Side::Ask);
        self.cells[at] = Cell { key, price: order.price, shares: order.shares };
        self.touched[at / BLOCK / 64] |= 1 << (at / BLOCK % 64);
        true
    }

    /// Takes up to `shares` off an order, and the order out when nothing is left. Returns what it was before; `None` when it is not known.
    /// O(1) on average.
    #[inline]
    pub(super) fn take(&mut self, reference: u64, shares: u32) -> Option<Order> {
        let at = self.find(reference).ok()?;
        let order = self.cells[at].order();
        if shares < order.shares {
            self.cells[at].shares -= shares;
        } else {
            self.remove_at(at);
        }
        Some(order)
    }

    fn remove_at(&mut self, mut hole: usize) {
        let mask = self.cells.len() - 1;
        // Each of those behind it that may stand nearer to its home moves up (Knuth, TAOCP 3, 6.4, algorithm R).
        let mut at = hole;
        loop {
            at = (at + 1) & mask;
            let cell = self.cells[at];
            if cell.shares == 0 {
                break;
            }
            let home = self.home(cell.key >> 1);
            if (at.wrapping_sub(home) & mask) >= (at.wrapping_sub(hole) & mask) {
                self.cells[hole] = cell;
                hole = at;
            }
        }
        self.cells[hole].shares = 0;
        self.len -= 1;
    }

    /// Forgets all orders. O(orders added since the last time + cells / 4,096): whoever says so often pays for what came in between only.
    pub(super) fn clear(&mut self) {
        if self.len == 0 {
            return;
        }
        for (word, bits) in self.touched.iter_mut().enumerate() {
            // An order that moves up moves to a cell that was taken, whose block is known.
            let mut left = std::mem::take(bits);
            while left != 0 {
                let block = word * 64 + left.trailing_zeros() as usize;
                self.cells[block * BLOCK..][..BLOCK].fill(Cell::default());
                left &= left - 1;
            }
        }
        self.len = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use tapeline_core::testing::for_seeds;

    #[test]
    fn the_default_takes_64_mib() {
        let orders = Orders::new(super::super::ITCH_ORDERS_DEFAULT);
        assert_eq!(orders.cells.len() * size_of::<Cell>(), 64 << 20);
        assert_eq!((Orders::new(3 << 4).cells.len(), Orders::new((3 << 4) + 1).cells.len()), (64, 128));
    }

    /// A table of the default size that is full of other cells would take half a minute for this.
    #[test]
    fn forgetting_takes_the_time_of_what_was_there() {
        let mut orders = Orders::new(super::super::ITCH_ORDERS_DEFAULT);
        let order = Order { side: Side::Bid, price: 1, shares: 1 };
        for reference in 0..2_000 {
            assert!(orders.insert(reference * 1_000_003, order));
            assert_eq!(orders.touched.iter().map(|word| word.count_ones()).sum::<u32>(), 1);
            orders.clear();
            assert_eq!((orders.len(), orders.take(reference * 1_000_003, 1)), (0, None));
            assert!(orders.touched.iter().all(|word| *word == 0));
        }
    }

    #[test]
    fn orders_are_found_as_in_a_map() {
        for_seeds(0..40, |seed, prng| {
            let max = [1, 7, 24, 200][seed as usize % 4];
            let (mut orders, mut twin) = (Orders::new(max), BTreeMap::<u64, Order>::new());
            assert!(orders.cells.len() * 3 / 4 >= max, "room for {max} orders");
            // Numbers near each other, and numbers whose groups have one home.
            let stride = [1, 3, orders.cells.len() as u64 * GROUP, 1 << 61][seed as usize / 4 % 4];
            let mut refused = 0;
            for _ in 0..4_000 {
                let reference = prng.in_range(0..3 * max as u64).wrapping_mul(stride);
                match prng.index(20) {
                    0..12 => {
                        let side = [Side::Bid, Side::Ask, Side::None][prng.index(21) / 10];
                        let order = Order { side, price: prng.next_u64() as u32, shares: prng.in_range(0..40) as u32 };
                        let is_there = twin.remove(&reference).is_some();
                        let is_fit = side != Side::None && order.shares > 0 && reference <= REFERENCE_MAX;
                        let fits = is_fit && (is_there || twin.len() < max);
                        if fits {
                            twin.insert(reference, order);
                        }
                        refused += u64::from(!fits);
                        assert_eq!(orders.insert(reference, order), fits);
                    }
                    12..16 => {
                        let shares = prng.in_range(0..40) as u32;
                        let expected = twin.get(&reference).copied();
                        if let Some(order) = twin.get_mut(&reference) {
                            order.shares = order.shares.saturating_sub(shares);
                            if order.shares == 0 {
                                twin.remove(&reference);
                            }
                        }
                        assert_eq!(orders.take(reference, shares), expected);
                    }
                    16..19 => assert_eq!(orders.take(reference, u32::MAX), twin.remove(&reference)),
                    _ if prng.one_in(20) => {
                        orders.clear();
                        twin.clear();
                    }
                    _ => {}
                }
                assert_eq!(orders.len(), twin.len());
            }
            for reference in 0..3 * max as u64 {
                let reference = reference.wrapping_mul(stride);
                assert_eq!(orders.take(reference, u32::MAX), twin.remove(&reference));
            }
            assert_eq!((orders.len(), twin.len()), (0, 0));
            assert!(orders.cells.iter().all(|cell| cell.shares == 0));
            assert!(refused > 50, "{refused}");
        });
    }
}
