//! The orders that are live, by reference number: what executions, cancels, deletes and replaces do not say of them.
//!
//! A flat table of 16-byte cells with linear probing and removal by moving back. Consecutive reference numbers stand side by
//! side, four in a cache line and [`GROUP`] in a run, because orders come and go in runs. Allocates in its constructor only.

use tapeline_core::units::Side;

/// Reference numbers whose cells are neighbours: half a kilobyte. Groups of four made the whole input a third slower, of 64 no faster.
const GROUP: u64 = 32;
/// Greatest reference number that can be kept: one bit of its cell is the side.
pub(super) const REFERENCE_MAX: u64 = u64::MAX >> 1;

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
    len: usize,
    max: usize,
}

impl Orders {
    /// Room for `max` orders: 16 bytes for each cell, of which at most three quarters are taken. Memory that is not used is not touched.
    pub(super) fn new(max: usize) -> Self {
        let cells = (max + max / 3 + 1).next_power_of_two().max(2 * GROUP as usize);
        Self { cells: vec![Cell::default(); cells].into_boxed_slice(), len: 0, max }
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

    /// Forgets all orders. O(cells).
    pub(super) fn clear(&mut self) {
        if self.len > 0 {
            self.cells.fill(Cell::default());
            self.len = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use tapeline_core::testing::for_seeds;

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
