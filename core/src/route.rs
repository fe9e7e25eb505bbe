//! Which shard owns a symbol.
//!
//! `slot = hash(symbol text) mod 4096`, `shard = slots[slot]`. The slot of a symbol never changes; slots can be given
//! to another shard.

mod fields;

use crate::hash;
use crate::limits::{ROUTE_SLOTS, SHARDS_MAX};
pub use fields::{FIELD_BYTES, FieldRoutes, Route};

/// Routing slot of a symbol's text. The empty text (symbol 0) is in slot 0.
#[inline]
#[must_use]
pub const fn slot_of(text: &[u8]) -> u16 {
    if text.is_empty() { 0 } else { (hash::stable(text) % ROUTE_SLOTS as u64) as u16 }
}

/// The owner of each of the 4,096 slots.
#[derive(Clone)]
pub struct RouteTable {
    shards: usize,
    owner: Box<[u8; ROUTE_SLOTS]>,
}

impl RouteTable {
    /// Deals the slots out evenly: slot s belongs to shard s mod `shards`.
    ///
    /// # Panics
    /// When `shards` is 0 or above [`SHARDS_MAX`].
    #[must_use]
    pub fn new(shards: usize) -> Self {
        assert!((1..=SHARDS_MAX).contains(&shards), "an engine has 1 to {SHARDS_MAX} shards, not {shards}");
        let mut owner = Box::new([0; ROUTE_SLOTS]);
        for (slot, shard) in owner.iter_mut().enumerate() {
            *shard = (slot % shards) as u8;
        }
        Self { shards, owner }
    }

    /// Number of shards.
    #[must_use]
    pub fn shards(&self) -> usize {
        self.shards
    }

    /// Shard that owns `slot`. O(1).
    #[inline]
    #[must_use]
    pub fn shard(&self, slot: u16) -> usize {
        self.owner[slot as usize % ROUTE_SLOTS] as usize
    }
}

impl std::fmt::Debug for RouteTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RouteTable").field("shards", &self.shards).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn req_3479_a_symbol_has_one_shard_and_slots_are_dealt_evenly() {
        for shards in [1, 2, 3, 7, SHARDS_MAX] {
            let table = RouteTable::new(shards);
            let mut count = vec![0usize; shards];
            for slot in 0..ROUTE_SLOTS as u16 {
                count[table.shard(slot)] += 1;
            }
            let (least, most) = (count.iter().min().unwrap(), count.iter().max().unwrap());
            assert!(most - least <= 1, "{shards} shards: {least} to {most} slots");
        }
        assert_eq!(slot_of(b""), 0);
        assert_eq!(slot_of(b"AAPL"), (0xdda9_12d6_bd59_9bd3u64 % 4096) as u16);
    }
}
