//! The single orders of all books: by the venue's id, and by symbol.
//!
//! A slab of orders, a flat table of its indices over the seeded stable hash of (symbol, order id), with linear probing and removal by
//! moving back, so that nothing is left behind by an order that is gone; and a chain for each symbol, so that a cleared book costs its own
//! orders only.

use super::levels::rank;
use crate::chain::Chains;
use crate::hash;
use crate::invariant::{Broken, require};
use crate::section::{Reader, RestoreError, Writer};
use crate::slab::{Handle, NONE, Slab};
use crate::units::{Side, SymbolId};
use bytemuck::{Pod, Zeroable};

/// One order.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Pod, Zeroable)]
#[repr(C)]
pub(super) struct Order {
    pub(super) id: u64,
    /// Place of its level on its side.
    pub(super) rank: i64,
    /// Mantissa under the book's scale.
    pub(super) size: u32,
    pub(super) symbol: u32,
    /// See [`Side`].
    pub(super) side: u8,
    pub(super) pad: [u8; 7],
}

impl Order {
    pub(super) fn new(symbol: SymbolId, id: u64, side: Side, price: i64, size: u32) -> Self {
        Self { id, rank: rank(side, price), size, symbol: symbol.0, side: side as u8, pad: [0; 7] }
    }

    pub(super) const fn side(&self) -> Side {
        Side::from_u8(self.side)
    }
}

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Orders {
    slab: Slab<Order>,
    /// Indices into the slab; [`NONE`] = empty. At most half full.
    table: Box<[u32]>,
    by_symbol: Chains,
    seed: u64,
}

impl Orders {
    pub(super) fn new(orders: usize, symbols: usize, seed: u64) -> Self {
        Self {
            slab: Slab::new(orders, seed),
            table: vec![NONE; (orders * 2).next_power_of_two().max(2)].into_boxed_slice(),
            by_symbol: Chains::new(symbols, orders),
            seed,
        }
    }

    pub(super) fn capacity(&self) -> usize {
        self.slab.capacity()
    }

    pub(super) fn len(&self) -> usize {
        self.slab.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.slab.bytes() + size_of_val(&*self.table) + self.by_symbol.bytes()
    }

    fn home(&self, symbol: u32, id: u64) -> usize {
        let words = [self.seed, id, u64::from(symbol)];
        hash::stable(bytemuck::bytes_of(&words)) as usize & (self.table.len() - 1)
    }

    /// Where the order is in the table, or the empty place where it would be.
    fn find(&self, symbol: SymbolId, id: u64) -> Result<usize, usize> {
        let mut at = self.home(symbol.0, id);
        loop {
            let index = self.table[at];
            if index == NONE {
                return Err(at);
            }
            let order = self.slab.at(index);
            if order.id == id && order.symbol == symbol.0 {
                return Ok(at);
            }
            at = (at + 1) & (self.table.len() - 1);
        }
    }

    /// The order of that id. O(1) on average.
    pub(super) fn get_mut(&mut self, symbol: SymbolId, id: u64) -> Option<&mut Order> {
        let at = self.find(symbol, id).ok()?;
        Some(self.slab.at_mut(self.table[at]))
    }

    /// Adds an order that is not there. False when there is no room. O(1) on average.
    pub(super) fn insert(&mut self, order: Order) -> bool {
        let Err(at) = self.find(SymbolId(order.symbol), order.id) else { return false };
        let Ok(handle) = self.slab.insert(order) else { return false };
        self.table[at] = handle.index();
        self.by_symbol.push_back(order.symbol, handle.index());
        true
    }

    /// Takes an order out. O(1) on average.
    pub(super) fn remove(&mut self, symbol: SymbolId, id: u64) -> Option<Order> {
        let at = self.find(symbol, id).ok()?;
        Some(self.remove_at(at))
    }

    fn remove_at(&mut self, mut hole: usize) -> Order {
        let index = self.table[hole];
        let handle = self.slab.handle_at(index);
        let mask = self.table.len() - 1;
        // Each of those behind it that may stand nearer to its home moves up (Knuth, TAOCP 3, 6.4, algorithm R).
        let mut at = hole;
        loop {
            at = (at + 1) & mask;
            let next = self.table[at];
            if next == NONE {
                break;
            }
            let order = self.slab.at(next);
            let home = self.home(order.symbol, order.id);
            if (at.wrapping_sub(home) & mask) >= (at.wrapping_sub(hole) & mask) {
                self.table[hole] = next;
                hole = at;
            }
        }
        self.table[hole] = NONE;
        let order = self.slab.remove(handle).unwrap_or_default();
        self.by_symbol.unlink(order.symbol, index);
        order
    }

    /// Takes all orders of a symbol out. O(its orders).
    pub(super) fn clear(&mut self, symbol: SymbolId) {
        while let Some(index) = self.by_symbol.first(symbol.0) {
            let order = *self.slab.at(index);
            if let Ok(at) = self.find(symbol, order.id) {
                self.remove_at(at);
            }
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Handle, &Order)> {
        self.slab.iter()
    }

    pub(super) fn section_bytes(&self) -> usize {
        self.slab.section_bytes() + size_of_val(&*self.table) + self.by_symbol.section_bytes()
    }

    pub(super) fn write(&self, body: &mut Writer<'_>) {
        self.slab.write(body);
        body.slice(&self.table);
        self.by_symbol.write(body);
    }

    pub(super) fn read(
        (orders, symbols, seed): (usize, usize, u64),
        body: &mut Reader<'_>,
        invalid: impl Fn(Broken) -> RestoreError,
    ) -> Result<Self, RestoreError> {
        let mut read = Self::new(orders, symbols, seed);
        read.slab = Slab::read(orders, body, &invalid)?;
        body.fill(&mut read.table)?;
        read.by_symbol = Chains::read(symbols, orders, body)?;
        read.check().map_err(invalid)?;
        Ok(read)
    }

    /// Never panics or loops, whatever the arrays hold.
    pub(super) fn check(&self) -> Result<(), Broken> {
        self.slab.check()?;
        let mut found = 0;
        for (at, index) in self.table.iter().enumerate().filter(|(_, index)| **index != NONE) {
            require(self.slab.is_used(*index), "the table holds orders", at)?;
            found += 1;
        }
        require(found == self.len(), "every order is in the table once", found)?;
        for (handle, order) in self.slab.iter() {
            // With as many entries as orders and each order found at its own entry, no entry is there twice.
            let at = self.find(SymbolId(order.symbol), order.id);
            let is_own = at.is_ok_and(|at| self.table[at] == handle.index());
            require(is_own, "an order is found by its id", handle.index())?;
            require((order.symbol as usize) < self.by_symbol.chains(), "an order is of a symbol", handle.index())?;
            require(matches!(order.side(), Side::Bid | Side::Ask), "an order has a side", handle.index())?;
            require(order.pad == [0; 7] && order.rank != i64::MIN, "an order is a whole one", handle.index())?;
        }
        self.by_symbol.check(|index| self.slab.is_used(index).then(|| self.slab.at(index).symbol))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::for_seeds;
    use std::collections::BTreeMap;

    #[test]
    fn orders_are_found_as_in_a_map() {
        for_seeds(0..30, |seed, prng| {
            let mut orders = Orders::new(40, 3, seed);
            let mut twin = BTreeMap::new();
            let mut full = 0;
            for step in 0..3_000 {
                let (symbol, id) = (SymbolId(prng.index(3) as u32), prng.in_range(0..60));
                match prng.index(30) {
                    0 if prng.one_in(4) => {
                        orders.clear(symbol);
                        twin.retain(|(other, _), _| *other != symbol.0);
                    }
                    1..=10 => assert_eq!(orders.remove(symbol, id), twin.remove(&(symbol.0, id))),
                    _ => {
                        let order = Order::new(symbol, id, Side::Bid, step, 1);
                        let fits = !twin.contains_key(&(symbol.0, id)) && twin.len() < 40;
                        assert_eq!(orders.insert(order), fits);
                        full += u32::from(twin.len() == 40);
                        if fits {
                            twin.insert((symbol.0, id), order);
                        }
                    }
                }
                assert_eq!(orders.get_mut(symbol, id).copied(), twin.get(&(symbol.0, id)).copied());
                assert_eq!(orders.len(), twin.len());
                orders.check().unwrap();
            }
            assert!(full > 10, "{full}");
        });
    }
}
