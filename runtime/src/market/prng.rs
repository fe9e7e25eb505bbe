//! The model's random numbers: xoshiro256++ seeded by splitmix64, both by Blackman and Vigna.
//!
//! Written here, and not taken from a crate, because a stream must stay the same for as long as seeds are written into
//! tapes: <https://prng.di.unimi.it/xoshiro256plusplus.c>, <https://prng.di.unimi.it/splitmix64.c> (public domain).

/// splitmix64: a stream of 64-bit numbers from any seed, here to seed the other generator.
#[derive(Clone, Debug)]
struct SplitMix64(u64);

impl SplitMix64 {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

/// xoshiro256++. Period 2^256 - 1; about a nanosecond a number.
#[derive(Clone, Debug)]
pub(crate) struct Prng {
    s: [u64; 4],
}

impl Prng {
    /// Stream `stream` of `seed`. Streams of one seed are unrelated, so that one purpose that draws more numbers does
    /// not change what another one draws.
    pub(crate) fn new(seed: u64, stream: u64) -> Self {
        let mut first = SplitMix64(seed);
        let mut second = SplitMix64(first.next() ^ stream.wrapping_mul(0xd134_2543_de82_ef95));
        // Four outputs of splitmix64 in a row are distinct: the state is never all zero, which alone is forbidden.
        Self { s: [second.next(), second.next(), second.next(), second.next()] }
    }

    /// The next 64 bits.
    #[inline]
    pub(crate) fn next(&mut self) -> u64 {
        let s = &mut self.s;
        let result = s[0].wrapping_add(s[3]).rotate_left(23).wrapping_add(s[0]);
        let t = s[1] << 17;
        s[2] ^= s[0];
        s[3] ^= s[1];
        s[1] ^= s[2];
        s[0] ^= s[3];
        s[2] ^= t;
        s[3] = s[3].rotate_left(45);
        result
    }

    /// A number in `0..n`, or 0 when `n` is 0. Uneven by at most n / 2^64.
    #[inline]
    pub(crate) fn below(&mut self, n: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(n)) >> 64) as u64
    }

    /// A number in (0, 1] with 53 random bits, so that its logarithm is finite.
    #[inline]
    pub(crate) fn unit(&mut self) -> f64 {
        ((self.next() >> 11) + 1) as f64 * (1.0 / (1u64 << 53) as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splitmix64_gives_the_published_numbers() {
        // Rosetta Code, "Pseudo-random numbers/Splitmix64", seed 1234567; the second from the reference's seed 0.
        let mut mix = SplitMix64(1_234_567);
        for expected in [
            6_457_827_717_110_365_317,
            3_203_168_211_198_807_973,
            9_817_491_932_198_370_423,
            4_593_380_528_125_082_431,
            16_408_922_859_458_223_821,
        ] {
            assert_eq!(mix.next(), expected);
        }
        assert_eq!(SplitMix64(0).next(), 0xe220_a839_7b1d_cdaf);
    }

    #[test]
    fn xoshiro256plusplus_gives_the_reference_numbers() {
        // The vectors that rand_xoshiro made with the reference implementation from the state 1, 2, 3, 4.
        let mut prng = Prng { s: [1, 2, 3, 4] };
        for expected in [
            41_943_041,
            58_720_359,
            3_588_806_011_781_223,
            3_591_011_842_654_386,
            9_228_616_714_210_784_205,
            9_973_669_472_204_895_162,
            14_011_001_112_246_962_877,
            12_406_186_145_184_390_807,
            15_849_039_046_786_891_736,
            10_450_023_813_501_588_000,
        ] {
            assert_eq!(prng.next(), expected);
        }
    }

    #[test]
    fn streams_and_seeds_differ_and_ranges_hold() {
        let mut firsts: Vec<u64> =
            (0..64).flat_map(|seed| (0..16).map(move |stream| Prng::new(seed, stream).next())).collect();
        firsts.sort_unstable();
        firsts.dedup();
        assert_eq!(firsts.len(), 64 * 16);

        let mut prng = Prng::new(7, 0);
        let mut sum = 0.0;
        for _ in 0..10_000 {
            let unit = prng.unit();
            assert!(unit > 0.0 && unit <= 1.0);
            sum += unit;
            assert!(prng.below(3) < 3);
        }
        assert_eq!(prng.below(0), 0);
        // The mean of 10,000 uniform numbers has a standard deviation of 0.0029: five of them.
        assert!((sum / 10_000.0 - 0.5).abs() < 0.015, "mean {}", sum / 10_000.0);
    }
}
