//! Which symbol: ranks by Zipf's law, drawn in O(1) from an alias table.
//!
//! Rank r (from 0) has the weight `(r + 1)^-exponent`. The table is Walker's, filled by Vose's method (M. Vose, "A
//! linear algorithm for generating random numbers with a given distribution", IEEE TSE 17, 1991): each cell holds one
//! rank, another rank, and the share of the cell that belongs to the first.

/// An alias table over ranks.
#[derive(Clone, Debug)]
pub(crate) struct Zipf {
    cells: Box<[Cell]>,
}

#[derive(Clone, Copy, Debug)]
struct Cell {
    /// A draw below this belongs to the cell's own rank, any other to `alias`. 2^32 is "always".
    own: u64,
    alias: u32,
}

/// 2^32 as a float: shares of a cell are 32-bit fractions.
const FULL: f64 = 4_294_967_296.0;

impl Zipf {
    /// A table of `ranks` ranks. O(ranks); 0 as the exponent makes all ranks equal.
    ///
    /// Floats are used, but only operations that IEEE 754 fixes to the bit, in a fixed order, and libm's `pow`.
    pub(crate) fn new(ranks: u32, exponent: f64) -> Self {
        let weights: Vec<f64> = (0..ranks).map(|rank| libm::pow(f64::from(rank) + 1.0, -exponent)).collect();
        // From the small to the large, which loses least.
        let total: f64 = weights.iter().rev().fold(0.0, |sum, weight| sum + weight);
        let mut share: Vec<f64> = weights.iter().map(|weight| weight / total * f64::from(ranks)).collect();
        let (mut small, mut large): (Vec<u32>, Vec<u32>) = (0..ranks).partition(|rank| share[*rank as usize] < 1.0);
        let mut cells: Box<[Cell]> = (0..ranks).map(|rank| Cell { own: 1 << 32, alias: rank }).collect();
        while let (Some(less), Some(more)) = (small.pop(), large.last().copied()) {
            let (less, giver) = (less as usize, more as usize);
            cells[less] = Cell { own: (share[less] * FULL) as u64, alias: more };
            share[giver] -= 1.0 - share[less];
            if share[giver] < 1.0 {
                large.pop();
                small.push(more);
            }
        }
        // What is left in either list is full up to rounding, as its cell says already.
        Self { cells }
    }

    /// The rank that these 64 random bits stand for: the high half chooses the cell, the low half within it.
    #[inline]
    pub(crate) fn rank(&self, bits: u64) -> u32 {
        let index = ((bits >> 32) * self.cells.len() as u64) >> 32;
        let cell = self.cells[index as usize];
        if bits & 0xffff_ffff < cell.own { index as u32 } else { cell.alias }
    }

    /// Bytes that the table holds.
    pub(crate) fn bytes(&self) -> usize {
        size_of_val(&*self.cells)
    }
}

#[cfg(test)]
mod tests {
    use super::super::prng::Prng;
    use super::*;

    /// Exact probability of each rank under the table: its own share and what other cells give it.
    fn probabilities(zipf: &Zipf) -> Vec<f64> {
        let n = zipf.cells.len() as f64;
        let mut p = vec![0.0; zipf.cells.len()];
        for (rank, cell) in zipf.cells.iter().enumerate() {
            p[rank] += cell.own as f64 / FULL / n;
            p[cell.alias as usize] += (1.0 - cell.own as f64 / FULL) / n;
        }
        p
    }

    #[test]
    fn the_table_holds_the_law_for_every_rank() {
        for (ranks, exponent) in [(1, 1.1), (2, 0.0), (3, 4.0), (1000, 1.1), (65_535, 1.0), (1000, 0.0)] {
            let p = probabilities(&Zipf::new(ranks, exponent));
            let total: f64 = (1..=ranks).map(|r| libm::pow(f64::from(r), -exponent)).sum();
            for (rank, p) in p.iter().enumerate() {
                let law = libm::pow(rank as f64 + 1.0, -exponent) / total;
                // A cell's share is cut to 2^-32 of the cell, and a giver is cut once for each cell that it fills.
                assert!((p - law).abs() < 1e-8, "{ranks} ranks, exponent {exponent}, rank {rank}: {p} and not {law}");
            }
        }
    }

    #[test]
    fn draws_follow_the_law() {
        let (ranks, draws) = (100, 200_000);
        let zipf = Zipf::new(ranks, 1.1);
        let p = probabilities(&zipf);
        let mut prng = Prng::new(11, 0);
        let mut count = vec![0u32; ranks as usize];
        for _ in 0..draws {
            count[zipf.rank(prng.next()) as usize] += 1;
        }
        let chi2: f64 = count
            .iter()
            .zip(&p)
            .map(|(&seen, p)| {
                let expected = p * f64::from(draws);
                (f64::from(seen) - expected) * (f64::from(seen) - expected) / expected
            })
            .sum();
        // 99 degrees of freedom: mean 99, standard deviation 14.1; the seed is fixed.
        assert!(chi2 < 99.0 + 4.0 * 14.1, "chi square {chi2}");
    }
}
