//! Slot arithmetic of the wheel's levels: pure functions and the occupancy bitmaps, no timers.
//!
//! A level keeps two *blocks* of 64 slots, the one that the cursor is in and the next, so that a slot's index is its
//! number modulo 128 and one block's occupancy is one word. A slot of level `l` spans `64^l` ticks; a block of level
//! `l` spans exactly one slot of level `l + 1`.

/// Bits of a slot number inside its block.
pub(super) const BLOCK_BITS: u32 = 6;
/// Slots of one block: the bits of one occupancy word.
pub(super) const BLOCK_SLOTS: usize = 1 << BLOCK_BITS;
/// Slots of one level: the block of the cursor and the one after it.
pub(super) const LEVEL_SLOTS: usize = 2 * BLOCK_SLOTS;
/// Most levels: 11 digits of 6 bits hold any u64.
pub(super) const LEVELS_MAX: usize = 11;

const _: () = {
    assert!(BLOCK_SLOTS == u64::BITS as usize, "the occupancy of a block is one word");
    assert!(LEVELS_MAX as u32 * BLOCK_BITS >= u64::BITS, "no tick is beyond the top level");
    assert!(LEVELS_MAX <= u16::BITS as usize, "the set of levels with timers is a u16");
};

/// Levels that are needed so that no tick up to `tick_max` lies beyond the top one. 1 to [`LEVELS_MAX`].
pub(super) const fn levels_for(tick_max: u64) -> usize {
    (u64::BITS - (tick_max | 1).leading_zeros()).div_ceil(BLOCK_BITS) as usize
}

/// Number of the slot of `level` that holds `tick`.
#[inline]
pub(super) const fn slot_number(tick: u64, level: usize) -> u64 {
    tick >> (BLOCK_BITS * level as u32)
}

/// First tick of slot `number` of `level`.
#[inline]
pub(super) const fn slot_start(number: u64, level: usize) -> u64 {
    number << (BLOCK_BITS * level as u32)
}

/// The level whose digit is the highest in which two ticks differ; 0 for equal ticks.
#[inline]
pub(super) const fn level_between(a: u64, b: u64) -> usize {
    ((u64::BITS - 1 - ((a ^ b) | 1).leading_zeros()) / BLOCK_BITS) as usize
}

/// Index of slot `number` of `level` among all slots of the wheel.
#[inline]
pub(super) const fn slot_index(number: u64, level: usize) -> usize {
    level * LEVEL_SLOTS + number as usize % LEVEL_SLOTS
}

/// Which slots hold timers: one word a block, two a level, and one bit a level above them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Occupancy {
    blocks: [u64; 2 * LEVELS_MAX],
    levels: u16,
}

impl Occupancy {
    pub(super) const EMPTY: Self = Self { blocks: [0; 2 * LEVELS_MAX], levels: 0 };

    #[inline]
    pub(super) fn set(&mut self, slot_index: usize) {
        self.blocks[slot_index / BLOCK_SLOTS] |= 1 << (slot_index % BLOCK_SLOTS);
        self.levels |= 1 << (slot_index / LEVEL_SLOTS);
    }

    #[inline]
    pub(super) fn clear(&mut self, slot_index: usize) {
        let block = slot_index / BLOCK_SLOTS;
        self.blocks[block] &= !(1 << (slot_index % BLOCK_SLOTS));
        if self.blocks[block] | self.blocks[block ^ 1] == 0 {
            self.levels &= !(1 << (slot_index / LEVEL_SLOTS));
        }
    }

    #[inline]
    pub(super) fn is_empty_at(&self, slot_index: usize) -> bool {
        self.blocks[slot_index / BLOCK_SLOTS] >> (slot_index % BLOCK_SLOTS) & 1 == 0
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.levels == 0
    }

    #[inline]
    pub(super) fn has_level(&self, level: usize) -> bool {
        self.levels >> level & 1 != 0
    }

    /// The lowest level that holds a timer.
    #[inline]
    pub(super) fn lowest_level(&self) -> Option<usize> {
        (self.levels != 0).then(|| self.levels.trailing_zeros() as usize)
    }

    /// The levels above level 0 that hold timers, from below, as they are now.
    #[inline]
    pub(super) fn levels_above_zero(&self) -> impl Iterator<Item = usize> + use<> {
        let mut left = self.levels & !1;
        std::iter::from_fn(move || {
            let level = (left != 0).then(|| left.trailing_zeros() as usize)?;
            left &= left - 1;
            Some(level)
        })
    }

    /// Number of the first slot of `level` that holds a timer, the cursor standing at `cursor`. Two loads and a bit
    /// scan, whatever the number of empty slots between.
    #[inline]
    pub(super) fn first_slot(&self, level: usize, cursor: u64) -> Option<u64> {
        // Shifted in two steps: the block of level 10 lies beyond the 64th bit.
        let block = slot_number(cursor, level) >> BLOCK_BITS;
        let parity = (block & 1) as usize;
        let here = self.blocks[2 * level + parity];
        if here != 0 {
            return Some(block << BLOCK_BITS | u64::from(here.trailing_zeros()));
        }
        let next = self.blocks[2 * level + (parity ^ 1)];
        (next != 0).then(|| (block + 1) << BLOCK_BITS | u64::from(next.trailing_zeros()))
    }
}

/// Turns nanoseconds into ticks by one multiplication with a reciprocal, several times cheaper than the division.
#[derive(Clone, Copy, Debug)]
pub(super) struct TickUnit {
    /// Length of a tick in nanoseconds.
    pub(super) ns: u64,
    /// The last tick whose instant fits u64 nanoseconds.
    pub(super) max: u64,
    /// floor(2^64 / ns), or 2^64 - 1 for a tick of 1 ns.
    reciprocal: u64,
}

impl TickUnit {
    /// # Panics
    /// When `ns` is 0.
    pub(super) const fn new(ns: u64) -> Self {
        assert!(ns > 0, "a tick has at least 1 ns");
        let reciprocal = if ns == 1 { u64::MAX } else { ((1u128 << 64) / ns as u128) as u64 };
        Self { ns, max: u64::MAX / ns, reciprocal }
    }

    /// Whole ticks in `ns`, and the nanoseconds that remain.
    #[inline]
    const fn divide(self, ns: u64) -> (u64, u64) {
        // The reciprocal is short by e < 1 unit of its last place, so that the product is short of the quotient by
        // less than ns / 2^64 * e < 1: the estimate is exact or one too low.
        let estimate = ((ns as u128 * self.reciprocal as u128) >> 64) as u64;
        let rest = ns - estimate * self.ns;
        if rest >= self.ns { (estimate + 1, rest - self.ns) } else { (estimate, rest) }
    }

    /// The last tick at or before `ns`.
    #[inline]
    pub(super) const fn floor(self, ns: u64) -> u64 {
        self.divide(ns).0
    }

    /// The first tick at or after `ns`, or the last one that fits u64 nanoseconds, and its instant.
    #[inline]
    pub(super) const fn ceil(self, ns: u64) -> (u64, u64) {
        let (ticks, rest) = self.divide(ns);
        let at_ns = ns - rest;
        if rest != 0 && ticks < self.max { (ticks + 1, at_ns + self.ns) } else { (ticks, at_ns) }
    }

    /// The instant of `tick` in nanoseconds, or the last one that u64 holds.
    #[inline]
    pub(super) const fn ns(self, tick: u64) -> u64 {
        tick.saturating_mul(self.ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::UnixNanos;

    #[test]
    fn levels_cover_every_tick_and_not_one_level_more() {
        assert_eq!(levels_for(0), 1);
        assert_eq!(levels_for(63), 1);
        assert_eq!(levels_for(64), 2);
        assert_eq!(levels_for(u64::MAX), LEVELS_MAX);
        assert_eq!(levels_for(TickUnit::new(1_000_000).max), 8, "the table in the module's documentation");
    }

    #[test]
    fn level_is_that_of_the_highest_different_digit() {
        assert_eq!(level_between(0, 0), 0);
        assert_eq!(level_between(0, 63), 0);
        assert_eq!(level_between(63, 64), 1);
        assert_eq!(level_between(1 << 36, (1 << 36) - 1), 6);
        assert_eq!(level_between(0, u64::MAX), 10);
    }

    #[test]
    fn first_slot_looks_at_the_block_of_the_cursor_first() {
        let mut occupancy = Occupancy::EMPTY;
        let cursor = 64 * 5 + 10;
        occupancy.set(slot_index(64 * 6 + 1, 0));
        assert_eq!(occupancy.first_slot(0, cursor), Some(64 * 6 + 1));
        occupancy.set(slot_index(64 * 5 + 63, 0));
        assert_eq!(occupancy.first_slot(0, cursor), Some(64 * 5 + 63));
        assert_eq!(occupancy.first_slot(1, cursor), None);
        assert_eq!(occupancy.lowest_level(), Some(0));
        occupancy.set(slot_index(7, 1));
        occupancy.clear(slot_index(64 * 6 + 1, 0));
        assert_eq!(occupancy.lowest_level(), Some(0));
        occupancy.clear(slot_index(64 * 5 + 63, 0));
        assert_eq!(occupancy.lowest_level(), Some(1));
        occupancy.set(slot_index(3, 9));
        assert_eq!(occupancy.levels_above_zero().collect::<Vec<_>>(), [1, 9]);
        assert_eq!(occupancy.first_slot(1, cursor), Some(7));
    }

    #[test]
    fn the_reciprocal_divides_like_division() {
        let divisors =
            [1, 2, 3, 5, 7, 10, 63, 64, 1_000, 999_983, 1_000_000, 1_000_000_007, 1 << 32, (1 << 63) - 1, 1 << 63];
        let mut seed = 0x1234_5678_9abc_def1u64;
        for tick_ns in divisors.into_iter().chain([(1 << 63) + 1, u64::MAX - 1, u64::MAX]) {
            let unit = TickUnit::new(tick_ns);
            let edges = [0, 1, 2, tick_ns - 1, tick_ns, tick_ns.wrapping_add(1), u64::MAX - 10, u64::MAX - 1, u64::MAX];
            let multiples = (0..64).flat_map(|bits| {
                let near = (u64::MAX >> bits) / tick_ns * tick_ns;
                [near.wrapping_sub(1), near, near.wrapping_add(1)]
            });
            let random = (0..2_000u32).map(|i| {
                seed ^= seed << 13;
                seed ^= seed >> 7;
                seed ^= seed << 17;
                seed >> (i % 64)
            });
            for ns in edges.into_iter().chain(multiples).chain(random.collect::<Vec<_>>()) {
                assert_eq!(unit.divide(ns), (ns / tick_ns, ns % tick_ns), "{ns} / {tick_ns}");
                let due = UnixNanos(ns).round_up(tick_ns).0;
                assert_eq!((unit.ns(unit.ceil(ns).0), unit.ceil(ns).1), (due, due), "{ns} up to {tick_ns}");
            }
        }
    }
}
