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

#[cfg(test)]
mod tests {
    use super::stable;

    #[test]
    fn test_vectors_of_the_format() {
        assert_eq!(stable(b""), 0x0338_dc4b_e2ce_cdae);
        assert_eq!(stable(b"AAPL"), 0xdda9_12d6_bd59_9bd3);
    }
}
