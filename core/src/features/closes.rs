//! The last closes: simple moving average, standard deviation, regression slope, rate of change.
//!
//! Over the last N closes `x[0]` (oldest) to `x[N-1]`:
//! ```text
//! sma    = sum(x) / N
//! sigma  = sqrt(sum((x - sma)^2) / N)                     of the population, as Bollinger has it
//! slope  = (12 sum(j x[j]) - 6 (N - 1) sum(x)) / (N (N^2 - 1))      least squares against the bar's number
//! roc(k) = 100 (x[N-1] / x[N-1-k] - 1)
//! ```
//! Prices are integers, and so are the three sums: what comes is added and what goes is subtracted exactly, so that
//! nothing drifts, whatever passed through the window.
//!
//! Sources: J. Murphy, *Technical Analysis of the Financial Markets* (1999), chapters 9 and 10; J. Bollinger, *Bollinger
//! on Bollinger Bands* (2001), part II. Equal to `SMA`, `STDDEV`, `LINEARREG_SLOPE` and `ROC` of TA-Lib.

use super::window::WINDOW_MAX;
use crate::units::PRICE_ONE;
use bytemuck::{Pod, Zeroable};

/// Closes in the window.
pub const CLOSES: u32 = WINDOW_MAX as u32;
/// The same as an index.
const N: usize = WINDOW_MAX;

/// Sums of closes below this are squared in 128 bits: closes of 115 million whole units on average.
const SUM_EXACT_MAX: u128 = 1 << 61;

const _: () =
    assert!((CLOSES as u128) <= 1 << 6, "N sum(x^2) <= N sum(x)^2, which is below 2^128 for sums below SUM_EXACT_MAX");

/// A 128-bit sum in plain words.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Pod, Zeroable)]
struct Wide {
    low: u64,
    high: u64,
}

impl Wide {
    #[inline]
    const fn get(self) -> u128 {
        (self.high as u128) << 64 | self.low as u128
    }

    #[inline]
    fn set(&mut self, sum: u128) {
        *self = Self { low: sum as u64, high: (sum >> 64) as u64 };
    }
}

/// `x`, below 2^127, as a float: within an ulp, from its halves. The conversion of 128 bits that rounds once is a call of 36 instructions.
#[inline]
const fn wide_f64(x: u128) -> f64 {
    const HALF: f64 = (1u128 << 64) as f64;
    ((x >> 64) as i64) as f64 * HALF + (x as u64) as f64
}

/// The last [`CLOSES`] closes and their sums.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Pod, Zeroable)]
pub struct Closes {
    /// Closes, 1e-9, a ring.
    ring: [i64; N],
    /// Sum of the closes.
    sum: Wide,
    /// Sum of their squares, modulo 2^128: exact again once what overflowed has left.
    squares: Wide,
    /// Sum of j * x[j].
    weighted: Wide,
    /// Slot of the next close: the oldest one once the window is full.
    at: u32,
    /// Closes so far, at most N.
    count: u32,
}

impl Closes {
    /// Takes a close in (1e-9, above 0). O(1), no division.
    #[inline]
    pub fn update(&mut self, close: i64) {
        let at = self.at as usize;
        let (new, sum) = (close as u128, self.sum.get());
        let squares = self.squares.get().wrapping_add(new * new);
        if self.count == CLOSES {
            let old = self.ring[at] as u128;
            // Every other close moves down by one place.
            let weighted = self.weighted.get() - (sum - old) + (N - 1) as u128 * new;
            self.weighted.set(weighted);
            self.squares.set(squares.wrapping_sub(old * old));
            self.sum.set(sum - old + new);
        } else {
            self.weighted.set(self.weighted.get() + u128::from(self.count) * new);
            self.squares.set(squares);
            self.sum.set(sum + new);
            self.count += 1;
        }
        self.ring[at] = close;
        self.at = if at + 1 == N { 0 } else { self.at + 1 };
    }

    /// The close `ago` bars before the latest, 1e-9; `None` when there was none or it has left the window.
    #[inline]
    #[must_use]
    pub fn close(&self, ago: u32) -> Option<i64> {
        let behind = ago.checked_add(1).filter(|behind| *behind <= self.count)? as usize;
        let at = self.at as usize;
        Some(self.ring[if at >= behind { at - behind } else { at + N - behind }])
    }

    #[inline]
    const fn is_full(&self) -> bool {
        self.count == CLOSES
    }

    /// Mean of the window in whole units; `None` before it is full.
    #[inline]
    #[must_use]
    pub fn sma(&self) -> Option<f64> {
        self.is_full().then(|| wide_f64(self.sum.get()) / (f64::from(CLOSES) * PRICE_ONE as f64))
    }

    /// Standard deviation of the window in whole units, 0 or more; `None` before it is full. O(1); a pass over the window
    /// where closes are above 115 million whole units on average.
    #[inline]
    #[must_use]
    pub fn sigma(&self) -> Option<f64> {
        self.is_full().then(|| {
            let sum = self.sum.get();
            let spread = if sum < SUM_EXACT_MAX {
                // The sum fits 64 bits: its square is one multiplication.
                let square = u128::from(sum as u64) * u128::from(sum as u64);
                wide_f64(u128::from(CLOSES) * self.squares.get() - square).sqrt()
            } else {
                self.spread_of_large(sum)
            };
            spread / (f64::from(CLOSES) * PRICE_ONE as f64)
        })
    }

    /// N times the deviation, 1e-9, of closes whose squares do not fit.
    #[cold]
    fn spread_of_large(&self, sum: u128) -> f64 {
        let mean = sum as f64 / f64::from(CLOSES);
        let squares = self.ring.iter().fold(0.0, |squares, close| {
            let off = *close as f64 - mean;
            squares + off * off
        });
        (squares * f64::from(CLOSES)).sqrt()
    }

    /// Slope of the regression line through the window, in whole units a bar; `None` before it is full.
    #[inline]
    #[must_use]
    pub fn slope(&self) -> Option<f64> {
        const BELOW: f64 = (N * (N * N - 1)) as f64 * PRICE_ONE as f64;
        self.is_full().then(|| {
            let above = 12 * self.weighted.get() as i128 - 6 * (N as i128 - 1) * self.sum.get() as i128;
            above as f64 / BELOW
        })
    }

    /// Change from the close `ago` bars before the latest to the latest, in per cent; `None` before there were `ago` + 1.
    #[inline]
    #[must_use]
    pub fn roc(&self, ago: u32) -> Option<f64> {
        let (from, to) = (self.close(ago)?, self.close(0)?);
        Some((to - from) as f64 / from as f64 * 100.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(closes: impl IntoIterator<Item = i64>) -> Closes {
        let mut window = Closes::default();
        closes.into_iter().for_each(|close| window.update(close));
        window
    }

    #[test]
    fn by_hand() {
        let line = of((1..=20).map(|i| i * PRICE_ONE));
        assert_eq!((line.sma(), line.slope(), line.roc(10)), (Some(10.5), Some(1.0), Some(100.0)));
        let is_of_a_line = |sigma: f64| (sigma * sigma - 33.25).abs() < 1e-13;
        assert!(is_of_a_line(line.sigma().unwrap()), "(20^2 - 1) / 12");
        assert_eq!((line.close(0), line.close(19), line.close(20)), (Some(20 * PRICE_ONE), Some(PRICE_ONE), None));
        let line = of((1..=25).map(|i| i * PRICE_ONE));
        assert_eq!((line.sma(), line.slope(), line.close(19)), (Some(15.5), Some(1.0), Some(6 * PRICE_ONE)));
        assert!(is_of_a_line(line.sigma().unwrap()));
        let short = of((1..20).map(|i| i * PRICE_ONE));
        assert_eq!((short.sma(), short.sigma(), short.slope()), (None, None, None));
        assert_eq!((short.roc(10), of([5; 10]).roc(10)), (Some(1_000.0 / 9.0), None));
    }

    #[test]
    fn a_constant_deviates_by_nothing_and_huge_prices_leave_no_trace() {
        let quiet = of([60_123_456_789_012; 40]);
        assert_eq!((quiet.sigma(), quiet.slope(), quiet.sma()), (Some(0.0), Some(0.0), Some(60_123.456_789_012)));
        let huge = of([i64::MAX - 1; 30]);
        assert!(huge.sigma().unwrap() <= 1e-6 && huge.slope() == Some(0.0));
        let after = of([i64::MAX - 1, 1, i64::MAX - 1].into_iter().chain((1..=20).map(|i| i * PRICE_ONE)));
        assert_eq!(after, Closes { at: 3, ring: after.ring, ..of((1..=20).map(|i| i * PRICE_ONE)) });
    }

    #[test]
    fn halves_come_to_the_float_that_the_whole_is() {
        let mut prng = crate::testing::Prng::new(5);
        for bits in 0..127 {
            for _ in 0..100 {
                let x = (u128::from(prng.next_u64()) << 64 | u128::from(prng.next_u64())) >> (127 - bits) >> 1;
                let (got, whole) = (wide_f64(x), x as f64);
                assert!((got - whole).abs() <= whole * f64::EPSILON, "{x}: {got} and {whole}");
                assert!(bits > 52 || got == whole, "{x}: {got}");
            }
        }
        assert_eq!(wide_f64(0).to_bits(), 0);
    }

    #[test]
    fn both_ways_to_the_deviation_agree_where_they_meet() {
        // About 115 million whole units: a little below and a little above the limit.
        for base in [(1i64 << 61) / 20 - 1_000_000_000_000, (1 << 61) / 20 + 1_000_000_000_000] {
            let window = of((0..20).map(|i| base + i * 40_000_000_000));
            let expected = 40.0 * 33.25f64.sqrt();
            assert!((window.sigma().unwrap() / expected - 1.0).abs() < 1e-12, "{base}: {:?}", window.sigma());
        }
    }
}
