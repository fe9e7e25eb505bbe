//! Log-linear cells for u64 values: which cell a value falls into, and what a cell stands for. Pure functions.
//!
//! As in HdrHistogram (Tene): values below 2^(bits + 1) have a cell each; above, every power of two is divided into 2^bits cells of
//! equal width. A cell's highest value is above any value in it by less than 1 part in 2^bits of that value.

/// Most bits of precision: a relative error of 1/128.
pub(super) const BITS_MAX: u32 = 7;

/// Cell of `value`.
#[inline]
pub(super) const fn cell_of(value: u64, bits: u32) -> usize {
    let top = u64::BITS - 1 - (value | 1).leading_zeros();
    let shift = top.saturating_sub(bits);
    ((shift as usize) << bits) + (value >> shift) as usize
}

/// The highest value that falls into `cell`.
#[inline]
pub(super) const fn highest_of(cell: usize, bits: u32) -> u64 {
    let shift = (cell >> bits).saturating_sub(1) as u32;
    let mantissa = (cell - ((shift as usize) << bits)) as u128;
    (((mantissa + 1) << shift) - 1) as u64
}

/// The lowest value that falls into `cell`.
#[inline]
pub(super) const fn lowest_of(cell: usize, bits: u32) -> u64 {
    let shift = (cell >> bits).saturating_sub(1) as u32;
    ((cell - ((shift as usize) << bits)) as u64) << shift
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Prng;

    fn assert_cell(value: u64, bits: u32) {
        let cell = cell_of(value, bits);
        let (lowest, highest) = (lowest_of(cell, bits), highest_of(cell, bits));
        assert!(lowest <= value && value <= highest, "{value} is in {lowest}..={highest}, bits={bits}");
        assert_eq!((cell_of(lowest, bits), cell_of(highest, bits)), (cell, cell));
        if highest < u64::MAX {
            assert_eq!(cell_of(highest + 1, bits), cell + 1, "cells follow one another");
        }
        let error = u128::from(highest - value) << bits;
        assert!(error <= u128::from(value), "the documented error: {value} in {lowest}..={highest}, bits={bits}");
        assert!(value >= 2 << bits || lowest == highest, "small values are exact");
    }

    #[test]
    fn every_value_has_one_cell_and_the_documented_error() {
        for bits in 0..=BITS_MAX {
            for value in 0..4_096 {
                assert_cell(value, bits);
            }
            for top in 0..64 {
                for value in [1u64 << top, (1u64 << top) - 1, (1u64 << top) + 1, u64::MAX - (1u64 << top), u64::MAX] {
                    assert_cell(value, bits);
                }
            }
            let mut prng = Prng::new(u64::from(bits));
            for _ in 0..20_000 {
                assert_cell(prng.log_uniform(64), bits);
            }
        }
    }
}
