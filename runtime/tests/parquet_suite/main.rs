//! Parquet: every type, encoding, compression and version of page, the files of venues, and damage. Files are written by the `parquet`
//! crate in the tests; see `others` for those of other writers.

mod columns;
mod damage;
mod others;
mod venues;
mod write;

/// splitmix64 (S. Vigna), so that a seed names a run.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}
