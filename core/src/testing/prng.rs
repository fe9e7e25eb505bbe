//! Seeded numbers for tests.

use core::fmt::Display;
use core::ops::Range;

/// A seeded generator: SplitMix64 (Steele, Lea, Flood, 2014). The same seed gives the same numbers everywhere.
#[derive(Clone, Debug)]
pub struct Prng(u64);

impl Prng {
    /// A generator for `seed`.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub const fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ bits >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ bits >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ bits >> 31
    }

    /// A number in `range`, close to uniform for ranges far below 2^64.
    ///
    /// # Panics
    /// When `range` is empty.
    pub const fn in_range(&mut self, range: Range<u64>) -> u64 {
        assert!(range.start < range.end, "a range to draw from is not empty");
        range.start + self.next_u64() % (range.end - range.start)
    }

    /// An index below `len`.
    ///
    /// # Panics
    /// When `len` is 0.
    pub const fn index(&mut self, len: usize) -> usize {
        self.in_range(0..len as u64) as usize
    }

    /// As many values of each number of bits, 0 to `bits`.
    ///
    /// # Panics
    /// When `bits` is above 64.
    pub const fn log_uniform(&mut self, bits: u32) -> u64 {
        assert!(bits <= 64, "a number has at most 64 bits");
        let bits = self.in_range(0..bits as u64 + 1) as u32;
        if bits == 0 { 0 } else { self.next_u64() >> (64 - bits) }
    }

    /// `true` once in `n` draws on average.
    pub const fn one_in(&mut self, n: u64) -> bool {
        self.in_range(0..n) == 0
    }
}

/// Prints what it holds when it is dropped by a panic: the seed and the settings of a run.
#[derive(Debug)]
pub struct PrintOnPanic<T: Display>(pub T);

impl<T: Display> Drop for PrintOnPanic<T> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("failed with {}", self.0);
        }
    }
}

/// Runs `test` for every seed; when it panics, the seed is printed.
pub fn for_seeds(seeds: Range<u64>, mut test: impl FnMut(u64, &mut Prng)) {
    for seed in seeds {
        let _named = PrintOnPanic(format_args!("seed {seed}"));
        test(seed, &mut Prng::new(seed));
    }
}

#[cfg(test)]
mod tests {
    use super::Prng;

    #[test]
    fn numbers_are_those_of_the_published_generator() {
        // From the reference implementation at https://prng.di.unimi.it/splitmix64.c, seed 1234567.
        let mut prng = Prng::new(1_234_567);
        assert_eq!(prng.next_u64(), 6_457_827_717_110_365_317);
        assert_eq!(prng.next_u64(), 3_203_168_211_198_807_973);
    }
}
