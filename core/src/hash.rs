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
    /// `secrets.seed ^ 16` and `secrets.secrets[1] ^ 16`: what keys of 16 bytes begin and end with.
    of_16: [u64; 2],
}

impl SeededHash {
    /// The hash under `seed`.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        let secrets = rapidhash::v3::RapidSecrets::seed(seed);
        Self { seed, secrets, of_16: [secrets.seed ^ 16, secrets.secrets[1] ^ 16] }
    }

    /// The 64-bit hash of `bytes`. O(n), no allocation.
    #[inline]
    #[must_use]
    pub const fn of(&self, bytes: &[u8]) -> u64 {
        rapidhash::v3::rapidhash_v3_seeded(bytes, &self.secrets)
    }

    /// As [`SeededHash::of`] for the 16 bytes of two little-endian words: the same function with its constants at hand, about 10
    /// instructions.
    #[inline]
    #[must_use]
    pub const fn of_words(&self, words: [u64; 2]) -> u64 {
        /// What rapidhash's last step begins with.
        const FINISH: u64 = 0xaaaa_aaaa_aaaa_aaaa;
        let product = (words[0] ^ self.secrets.secrets[1]) as u128 * (words[1] ^ self.of_16[0]) as u128;
        let product = (product as u64 ^ FINISH) as u128 * ((product >> 64) as u64 ^ self.of_16[1]) as u128;
        product as u64 ^ (product >> 64) as u64
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
    fn two_words_hash_as_their_bytes() {
        let mut words = [0x0123_4567_89ab_cdef_u64, 0xfedc_ba98_7654_3210];
        for seed in [0, 1, 42, u64::MAX] {
            let hash = SeededHash::new(seed);
            for _ in 0..1_000 {
                let bytes: [u8; 16] = bytemuck::must_cast(words);
                assert_eq!(hash.of_words(words), hash.of(&bytes));
                words = [words[1].rotate_left(7), hash.of(&bytes)];
            }
            assert_eq!(hash.of_words([0, u64::MAX]), hash.of(&bytemuck::must_cast::<_, [u8; 16]>([0, u64::MAX])));
        }
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
