//! The one stable hash: routing, digests, flat tables, disk and wire.
//!
//! It is the function `rapidhash::v3::rapidhash_v3`, whose result is the same on every machine and fixed by the tape
//! format. Its `Hasher` types are not stable and are not used.

/// Number that the tape format gives to this hash.
pub const HASH_ID: u16 = 1;
/// Version of the hash function.
pub const HASH_VERSION: u16 = 3;

/// The stable 64-bit hash of `bytes`. O(n), no allocation.
#[inline]
#[must_use]
pub const fn stable(bytes: &[u8]) -> u64 {
    rapidhash::v3::rapidhash_v3(bytes)
}

/// The stable hash under a seed, for flat tables whose senders must not know which keys collide.
///
/// It is `rapidhash::v3::rapidhash_v3_seeded` with the secrets that `RapidSecrets::seed` makes of the seed: part of the
/// format of every snapshot of such a table.
#[derive(Clone, Copy, Debug)]
pub struct SeededHash {
    seed: u64,
    secrets: rapidhash::v3::RapidSecrets,
}

impl SeededHash {
    /// The hash under `seed`.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self { seed, secrets: rapidhash::v3::RapidSecrets::seed(seed) }
    }

    /// The 64-bit hash of `bytes`. O(n), no allocation.
    #[inline]
    #[must_use]
    pub const fn of(&self, bytes: &[u8]) -> u64 {
        rapidhash::v3::rapidhash_v3_seeded(bytes, &self.secrets)
    }

    /// The seed.
    #[inline]
    #[must_use]
    pub const fn seed(&self) -> u64 {
        self.seed
    }
}

/// A place in `0..places`, by the high bits of a hash: `hash * places / 2^64` (Lemire, "Fast Random Integer Generation in
/// an Interval", 2018). 0 when `places` is 0.
#[inline]
#[must_use]
pub const fn reduce(hash: u64, places: usize) -> usize {
    ((hash as u128 * places as u128) >> 64) as usize
}

#[cfg(test)]
mod tests {
    use super::{SeededHash, reduce, stable};

    /// Snapshots of tables rely on these.
    #[test]
    fn test_vectors_of_the_seeded_hash() {
        assert_eq!(SeededHash::new(0).of(b"AAPL"), 3_171_559_914_732_091_888);
        assert_eq!(SeededHash::new(42).of(b"AAPL"), 13_039_188_794_409_350_949);
        assert_eq!(SeededHash::new(42).of(&[7; 16]), 14_398_191_766_292_207_592);
        assert_eq!(SeededHash::new(42).seed(), 42);
    }

    #[test]
    fn places_are_in_range() {
        assert_eq!((reduce(u64::MAX, 10), reduce(0, 10), reduce(1 << 63, 10), reduce(7, 0)), (9, 0, 5, 0));
    }

    #[test]
    fn test_vectors_of_the_format() {
        assert_eq!(stable(b""), 0x0338_dc4b_e2ce_cdae);
        assert_eq!(stable(b"AAPL"), 0xdda9_12d6_bd59_9bd3);
    }
}
