//! Slot arithmetic of the wheel's levels: pure functions and the occupancy bitmaps, no timers.
//!
//! A level keeps two *blocks* of slots, the one that the cursor is in and the next, so that a slot's index is its
//! number modulo twice the block. A block of level 0 has 4,096 slots of one tick, a block of the levels above has 64. A
//! block of level `l` spans exactly one slot of level `l + 1`.

/// Bits of a slot number inside its block, on level 0.
///
/// Wide, because a timer moves once for each level that it begins above 0: of delays spread log-uniformly from 1 ms to 10
/// minutes, 63 % begin here, and with 64 slots it would be 31 %. Two blocks of anchors take 64 KiB, of which a few lines
/// are in use at a time.
pub(super) const BASE_BITS: u32 = 12;
/// Bits of a slot number inside its block, above level 0.
pub(super) const BLOCK_BITS: u32 = 6;
/// Slots of level 0: the block of the cursor and the one after it.
pub(super) const BASE_SLOTS: usize = 2 << BASE_BITS;
/// Slots of one level above 0.
const LEVEL_SLOTS: usize = 2 << BLOCK_BITS;
/// Most levels: 12 bits and nine digits of 6 hold any u64.
pub(super) const LEVELS_MAX: usize = 10;
/// Words of [`drained`](super::Wheel): a level and the one above it, rounded up to a power of two, so that the hot path
/// masks instead of checking.
pub(super) const DRAINED: usize = 16;
/// Bound on the index of a slot that the arithmetic can give for any level below [`DRAINED`].
pub(super) const SLOTS_ROOM: usize = BASE_SLOTS + (DRAINED - 1) * LEVEL_SLOTS;
/// Bits of one occupancy word.
pub(super) const WORD: usize = u64::BITS as usize;
/// Words of one block of level 0.
const BASE_WORDS: usize = BASE_SLOTS / 2 / WORD;

const _: () = {
    assert!(1 << BLOCK_BITS == WORD, "the occupancy of a block above level 0 is one word");
    assert!(SLOTS_ROOM.is_multiple_of(WORD), "every slot is in a word");
    assert!(BASE_WORDS == WORD, "which words of a block of level 0 are not empty is one word");
    assert!(BASE_BITS + (LEVELS_MAX as u32 - 1) * BLOCK_BITS >= u64::BITS, "no tick is beyond the top level");
    assert!(LEVELS_MAX < DRAINED && DRAINED.is_power_of_two(), "every level has another above it");
    assert!(DRAINED <= u16::BITS as usize, "the set of levels with timers is a u16");
};

/// Slots of a wheel with that many levels.
pub(super) const fn slots_of(levels: usize) -> usize {
    BASE_SLOTS + (levels - 1) * LEVEL_SLOTS
}

/// Levels that are needed so that no tick up to `tick_max` lies beyond the top one. 1 to [`LEVELS_MAX`].
pub(super) const fn levels_for(tick_max: u64) -> usize {
    level_between(tick_max, 0) + 1
}

/// Bits that a slot of each level spans. The last ones are never used.
const SPAN_BITS: [u8; DRAINED] = {
    let mut bits = [0; DRAINED];
    let mut level = 1;
    while level < LEVELS_MAX {
        bits[level] = BASE_BITS as u8 + (level as u8 - 1) * BLOCK_BITS as u8;
        level += 1;
    }
    bits
};

/// Bits that a slot of `level` spans.
#[inline]
pub(super) const fn span_bits(level: usize) -> u32 {
    SPAN_BITS[level % DRAINED] as u32
}

/// Number of the slot of `level` that holds `tick`.
#[inline]
pub(super) const fn slot_number(tick: u64, level: usize) -> u64 {
    tick >> span_bits(level)
}

/// First tick of slot `number` of `level`.
#[inline]
pub(super) const fn slot_start(number: u64, level: usize) -> u64 {
    number << span_bits(level)
}

/// Number of the block of `level` that slot `number` is in: that of the slot of the level above which it spans.
#[inline]
pub(super) const fn block_of(number: u64, level: usize) -> u64 {
    number >> if level == 0 { BASE_BITS } else { BLOCK_BITS }
}

/// [`level_between`] by the number of leading zeros of what differs.
const LEVEL_BY_ZEROS: [u8; 64] = {
    let mut levels = [0; 64];
    let mut bit = BASE_BITS;
    while bit < 64 {
        levels[63 - bit as usize] = ((bit - BASE_BITS) / BLOCK_BITS + 1) as u8;
        bit += 1;
    }
    levels
};

/// The level whose digit is the highest in which two ticks differ; 0 for equal ticks.
#[inline]
pub(super) const fn level_between(a: u64, b: u64) -> usize {
    LEVEL_BY_ZEROS[((a ^ b) | 1).leading_zeros() as usize] as usize
}

/// A level above 0 as the hot path wants it: its number << 8, and the bits that a slot spans, in one number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Above(u16);

/// [`Above::between`] by the number of leading zeros of what differs.
const ABOVE_BY_ZEROS: [Above; 65] = {
    let mut above = [Above::at(1); 65];
    let mut zeros = 0;
    while zeros < LEVEL_BY_ZEROS.len() {
        above[zeros] = Above::at(LEVEL_BY_ZEROS[zeros] as usize);
        zeros += 1;
    }
    above
};

impl Above {
    #[inline]
    const fn at(level: usize) -> Self {
        Self((level as u16) << 8 | span_bits(level) as u16)
    }

    /// [`level_between`], for ticks in different blocks of level 0.
    #[inline]
    pub(super) const fn between(a: u64, b: u64) -> Self {
        ABOVE_BY_ZEROS[(a ^ b).leading_zeros() as usize]
    }

    /// The level below, which is above 0 too.
    #[inline]
    pub(super) const fn below(self) -> Self {
        Self::at(self.level() - 1)
    }

    /// Number of the level.
    #[inline]
    pub(super) const fn level(self) -> usize {
        (self.0 >> 8) as usize % DRAINED
    }

    /// Number of the slot that holds `tick`.
    #[inline]
    pub(super) const fn number(self, tick: u64) -> u64 {
        tick >> (self.0 as u32 % u64::BITS)
    }

    /// Index of the slot that holds `tick` among all slots of the wheel.
    #[inline]
    pub(super) const fn index(self, tick: u64) -> usize {
        above_index(self.number(tick), self.level())
    }
}

/// Index of slot `number` of `level` among all slots of the wheel.
#[inline]
pub(super) const fn slot_index(number: u64, level: usize) -> usize {
    if level == 0 { base_index(number) } else { above_index(number, level) }
}

/// As [`slot_index`], for a level above 0.
#[inline]
pub(super) const fn above_index(number: u64, level: usize) -> usize {
    BASE_SLOTS - LEVEL_SLOTS + level * LEVEL_SLOTS + number as usize % LEVEL_SLOTS
}

/// Index of the slot of level 0 that holds `tick`.
#[inline]
pub(super) const fn base_index(tick: u64) -> usize {
    tick as usize % BASE_SLOTS
}

/// The level that slot `slot_index` belongs to.
#[inline]
pub(super) const fn level_of(slot_index: usize) -> usize {
    if slot_index < BASE_SLOTS { 0 } else { (slot_index - BASE_SLOTS) / LEVEL_SLOTS + 1 }
}

/// Which slots hold timers: a bit a slot; above the words of level 0 a bit a word, and above the other levels a bit a
/// level.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Occupancy {
    words: [u64; SLOTS_ROOM / WORD],
    /// Which words of each block of level 0 are not 0.
    base: [u64; 2],
    /// Which levels above 0 hold timers.
    above: u16,
}

impl Occupancy {
    pub(super) const EMPTY: Self = Self { words: [0; SLOTS_ROOM / WORD], base: [0; 2], above: 0 };

    /// A timer is in a slot of level 0.
    #[inline]
    pub(super) fn set_base(&mut self, slot_index: usize) {
        let word = slot_index % BASE_SLOTS / WORD;
        self.words[word] |= 1 << (slot_index % WORD);
        self.base[word / BASE_WORDS] |= 1 << (word % BASE_WORDS);
    }

    /// No timer is left in a slot of level 0.
    #[inline]
    pub(super) fn clear_base(&mut self, slot_index: usize) {
        let word = slot_index % BASE_SLOTS / WORD;
        self.words[word] &= !(1 << (slot_index % WORD));
        if self.words[word] == 0 {
            self.base[word / BASE_WORDS] &= !(1 << (word % BASE_WORDS));
        }
    }

    /// A timer is in a slot of `level`, above 0.
    pub(super) fn set_above(&mut self, slot_index: usize, level: usize) {
        self.words[slot_index / WORD] |= 1 << (slot_index % WORD);
        self.above |= 1 << level;
    }

    /// No timer is left in a slot of `level`, above 0.
    pub(super) fn clear_above(&mut self, slot_index: usize, level: usize) {
        let word = slot_index / WORD;
        self.words[word] &= !(1 << (slot_index % WORD));
        if self.words[word] | self.words[word ^ 1] == 0 {
            self.above &= !(1 << level);
        }
    }

    #[inline]
    pub(super) fn is_empty_at(&self, slot_index: usize) -> bool {
        self.words[slot_index / WORD] >> (slot_index % WORD) & 1 == 0
    }

    /// The slots of one word.
    pub(super) fn word(&self, word: usize) -> u64 {
        self.words[word]
    }

    /// Whether the bits above the words say what the words say.
    pub(super) fn is_consistent(&self) -> bool {
        let base = |block: usize| {
            let words = &self.words[block * BASE_WORDS..(block + 1) * BASE_WORDS];
            words.iter().enumerate().fold(0, |bits, (word, slots)| bits | u64::from(*slots != 0) << word)
        };
        let above = self.words[2 * BASE_WORDS..].chunks_exact(2).enumerate();
        let above = above.fold(0, |bits, (level, words)| bits | u16::from(words[0] | words[1] != 0) << (level + 1));
        self.base == [base(0), base(1)] && self.above == above
    }

    /// The levels above 0 that hold timers, from below, as they are now.
    #[inline]
    pub(super) fn levels_above_zero(&self) -> impl Iterator<Item = usize> + use<> {
        let mut left = self.above;
        std::iter::from_fn(move || {
            let level = (left != 0).then(|| left.trailing_zeros() as usize)?;
            left &= left - 1;
            Some(level)
        })
    }

    /// The first tick of level 0 that has a timer, the cursor standing at `cursor`. Two bit scans, whatever the number
    /// of empty slots between.
    #[inline]
    pub(super) fn first_base(&self, cursor: u64) -> Option<u64> {
        let mut block = cursor >> BASE_BITS;
        let mut words = self.base[(block & 1) as usize];
        if words == 0 {
            block += 1;
            words = self.base[(block & 1) as usize];
            if words == 0 {
                return None;
            }
        }
        let word = words.trailing_zeros() as usize % BASE_WORDS;
        let slots = self.words[(block & 1) as usize * BASE_WORDS + word];
        Some(block << BASE_BITS | (word * WORD) as u64 | u64::from(slots.trailing_zeros()))
    }

    /// Number of the first slot of `level`, above 0, that holds a timer.
    #[inline]
    pub(super) fn first_slot(&self, level: usize, cursor: u64) -> Option<u64> {
        // Shifted in two steps: the block of level 9 lies beyond the 64th bit.
        let block = slot_number(cursor, level) >> BLOCK_BITS;
        let words = slot_index(0, level) / WORD;
        let parity = (block & 1) as usize;
        let here = self.words[words + parity];
        if here != 0 {
            return Some(block << BLOCK_BITS | u64::from(here.trailing_zeros()));
        }
        let next = self.words[words + (parity ^ 1)];
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

    /// The first tick at or after `ns`, or the last one that fits u64 nanoseconds.
    #[inline]
    pub(super) const fn ceil(self, ns: u64) -> u64 {
        // Where the sum would be beyond u64, the last tick is right: either `ns` is in it, or there is no later one.
        self.floor(ns.saturating_add(self.ns - 1))
    }

    /// The instant of `tick` in nanoseconds, for a tick up to `max`.
    #[inline]
    pub(super) const fn ns(self, tick: u64) -> u64 {
        debug_assert!(tick <= self.max, "Invariant: the tick's instant fits u64");
        tick.wrapping_mul(self.ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::UnixNanos;

    #[test]
    fn levels_cover_every_tick_and_not_one_level_more() {
        assert_eq!(levels_for(0), 1);
        assert_eq!(levels_for(4_095), 1);
        assert_eq!(levels_for(4_096), 2);
        assert_eq!(levels_for((1 << 18) - 1), 2);
        assert_eq!(levels_for(1 << 18), 3);
        assert_eq!(levels_for(u64::MAX), LEVELS_MAX);
        assert_eq!(levels_for(TickUnit::new(1_000_000).max), 7, "the table in the module's documentation");
    }

    #[test]
    fn level_is_that_of_the_highest_different_digit() {
        assert_eq!(level_between(0, 0), 0);
        assert_eq!(level_between(0, 4_095), 0);
        assert_eq!(level_between(4_095, 4_096), 1);
        assert_eq!(level_between(0, (1 << 18) - 1), 1);
        assert_eq!(level_between(1 << 36, (1 << 36) - 1), 5);
        assert_eq!(level_between(0, u64::MAX), 9);
        for level in 1..LEVELS_MAX {
            assert_eq!(level_between(0, 1 << span_bits(level)), level);
            assert_eq!(level_between(0, (1 << span_bits(level)) - 1), level - 1);
            assert_eq!(level_of(slot_index(0, level)), level);
            assert_eq!(level_of(slot_index(127, level)), level);
        }
    }

    #[test]
    fn first_slot_looks_at_the_block_of_the_cursor_first() {
        let mut occupancy = Occupancy::EMPTY;
        let cursor = 4_096 * 5 + 10;
        assert_eq!(occupancy.first_base(cursor), None);
        occupancy.set_base(base_index(4_096 * 6 + 1));
        assert_eq!(occupancy.first_base(cursor), Some(4_096 * 6 + 1));
        occupancy.set_base(base_index(4_096 * 5 + 4_095));
        occupancy.set_base(base_index(4_096 * 5 + 4_094));
        assert_eq!(occupancy.first_base(cursor), Some(4_096 * 5 + 4_094));
        occupancy.clear_base(base_index(4_096 * 5 + 4_094));
        assert_eq!(occupancy.first_base(cursor), Some(4_096 * 5 + 4_095));
        assert!(occupancy.is_consistent());
        occupancy.clear_base(base_index(4_096 * 5 + 4_095));
        occupancy.clear_base(base_index(4_096 * 6 + 1));
        assert_eq!(occupancy, Occupancy::EMPTY);
        assert_eq!(occupancy.first_slot(1, cursor), None);
        occupancy.set_above(slot_index(7, 1), 1);
        occupancy.set_above(slot_index(64, 1), 1);
        occupancy.set_above(slot_index(3, 9), 9);
        assert_eq!(occupancy.levels_above_zero().collect::<Vec<_>>(), [1, 9]);
        assert_eq!(occupancy.first_slot(1, cursor), Some(7));
        occupancy.clear_above(slot_index(7, 1), 1);
        assert_eq!(occupancy.first_slot(1, cursor), Some(64), "the next block");
        assert!(occupancy.is_consistent());
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
                assert_eq!(unit.ns(unit.ceil(ns)), due, "{ns} up to {tick_ns}");
            }
        }
    }
}
