//! A limit on work in flight that grows and shrinks with the backlog, between a minimum and a maximum, without flapping.
//!
//! Promises:
//! - **Bounded**: the limit is never below [`Config::min`] nor above [`Config::max`].
//! - **Grows under pressure**: when [`Config::grow_samples`] samples in a row show a backlog of at least [`Config::high`] per place, it
//!   is multiplied by [`Config::grow_per_mille`].
//! - **Shrinks when idle**: when [`Config::shrink_samples`] samples in a row show no backlog, and so little in flight that the smaller
//!   limit would still leave [`Config::spare_per_mille`] of it free, it is multiplied by [`Config::shrink_per_mille`].
//! - **Does not flap**: between the two lies a dead band (a backlog, but a small one; none, but the places are used) in which it
//!   stands still, and a limit that has shrunk has room for what it had in flight. A change takes as many samples in a row again.
//! - Plain data, no allocation, no clock: a sample is whatever the caller takes one at, such as a tick of shard time.
//!
//! It is the additive-increase rule of TCP only in spirit: the signal is the length of the queue, not a loss, as in the gradient limits of
//! Netflix's concurrency-limits (2018), with a hysteresis in place of its smoothing.
//!
//! ```
//! use tapeline_core::adaptive::{Adaptive, Config, Sample};
//!
//! let config = Config { min: 2, max: 16, ..Config::default() };
//! config.check().unwrap();
//! let mut limit = Adaptive::default();
//! assert_eq!(limit.limit(&config), 2);
//! for _ in 0..100 {
//!     limit.sample(&config, Sample { backlog: 1_000, in_flight: limit.limit(&config) });
//! }
//! assert_eq!(limit.limit(&config), 16);
//! ```

use bytemuck::{Pod, Zeroable};

/// Largest limit.
pub const LIMIT_MAX: u32 = 1 << 20;
/// Longest run of samples that a change waits for.
pub const SAMPLES_MAX: u32 = 1 << 16;

/// How a limit moves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Config {
    /// The smallest limit, and the first: 1 and more.
    pub min: u32,
    /// The largest limit: not below `min`, at most [`LIMIT_MAX`].
    pub max: u32,
    /// Backlog for each place of the limit from which on it is too small: 1 and more. Default 2.
    pub high: u32,
    /// Samples in a row that show it before the limit grows: 1 to [`SAMPLES_MAX`]. Default 3.
    pub grow_samples: u32,
    /// What it is multiplied by then, in thousandths: 1,001 to 8,000. Default 1,500. It grows by one at least.
    pub grow_per_mille: u32,
    /// Samples in a row that show that it is too large before it shrinks: 1 to [`SAMPLES_MAX`]. Default 20.
    pub shrink_samples: u32,
    /// What it is multiplied by then, in thousandths: 100 to 999. Default 750. It shrinks by one at least.
    pub shrink_per_mille: u32,
    /// Part of the smaller limit that must then be free, in thousandths: 0 to 900. Default 250.
    pub spare_per_mille: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            min: 1,
            max: 64,
            high: 2,
            grow_samples: 3,
            grow_per_mille: 1_500,
            shrink_samples: 20,
            shrink_per_mille: 750,
            spare_per_mille: 250,
        }
    }
}

/// A rule of [`Config`] does not hold. Says which.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("adaptive limit: {0}")]
pub struct ConfigError(&'static str);

impl Config {
    /// Checks every parameter.
    ///
    /// # Errors
    /// [`ConfigError`] with the first rule that does not hold.
    pub fn check(&self) -> Result<(), ConfigError> {
        let rules = [
            (self.min >= 1 && self.min <= self.max && self.max <= LIMIT_MAX, "1 <= min <= max <= 2^20"),
            (self.high >= 1, "high is at least 1"),
            ((1..=SAMPLES_MAX).contains(&self.grow_samples), "grow_samples is 1 to 65536"),
            ((1_001..=8_000).contains(&self.grow_per_mille), "grow_per_mille is 1001 to 8000"),
            ((1..=SAMPLES_MAX).contains(&self.shrink_samples), "shrink_samples is 1 to 65536"),
            ((100..=999).contains(&self.shrink_per_mille), "shrink_per_mille is 100 to 999"),
            (self.spare_per_mille <= 900, "spare_per_mille is at most 900"),
        ];
        rules.into_iter().find(|(holds, _)| !holds).map_or(Ok(()), |(_, rule)| Err(ConfigError(rule)))
    }

    /// The limit after `limit`, one step up.
    fn larger(&self, limit: u32) -> u32 {
        let grown = u64::from(limit) * u64::from(self.grow_per_mille) / 1_000;
        grown.max(u64::from(limit) + 1).min(u64::from(self.max)) as u32
    }

    /// The limit after `limit`, one step down.
    fn smaller(&self, limit: u32) -> u32 {
        let shrunk = u64::from(limit) * u64::from(self.shrink_per_mille) / 1_000;
        (shrunk as u32).min(limit - 1).max(self.min)
    }
}

/// What is seen at one instant.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sample {
    /// What waits for a place.
    pub backlog: u32,
    /// Places in use.
    pub in_flight: u32,
}

/// What a sample did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Moved {
    /// Nothing.
    Stayed,
    /// The limit is larger.
    Grew,
    /// The limit is smaller.
    Shrank,
}

/// A limit. Zero bytes are a new one, at its minimum.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Pod, Zeroable)]
pub struct Adaptive {
    /// The limit; 0 = none yet.
    limit: u32,
    /// Samples in a row that showed that it is too small.
    small: u32,
    /// Samples in a row that showed that it is too large.
    large: u32,
    /// Times that it grew, saturating.
    grown: u32,
    /// Times that it shrank, saturating.
    shrunk: u32,
}

impl Adaptive {
    /// The limit, within the bounds of `config`.
    #[inline]
    #[must_use]
    pub fn limit(&self, config: &Config) -> u32 {
        self.limit.clamp(config.min, config.max)
    }

    /// How often it grew and shrank.
    #[must_use]
    pub const fn moves(&self) -> (u32, u32) {
        (self.grown, self.shrunk)
    }

    /// Whether samples could have brought it here: for what was read.
    #[must_use]
    pub fn is_sound(&self, config: &Config) -> bool {
        let is_limit = self.limit == 0 || (config.min..=config.max).contains(&self.limit);
        is_limit && self.small < config.grow_samples && self.large < config.shrink_samples
    }

    /// Takes a sample in. O(1).
    pub fn sample(&mut self, config: &Config, sample: Sample) -> Moved {
        let limit = self.limit(config);
        self.limit = limit;
        let is_small = u64::from(sample.backlog) >= u64::from(limit) * u64::from(config.high);
        // What is in flight would fit the smaller limit, with some of it to spare.
        let smaller = config.smaller(limit.max(2));
        let room = u64::from(smaller) * u64::from(1_000 - config.spare_per_mille);
        let is_large = sample.backlog == 0 && u64::from(sample.in_flight) * 1_000 <= room;
        self.small = if is_small { self.small + 1 } else { 0 };
        self.large = if is_large { self.large + 1 } else { 0 };
        if self.small >= config.grow_samples {
            self.small = 0;
            if limit < config.max {
                self.limit = config.larger(limit);
                self.grown = self.grown.saturating_add(1);
                return Moved::Grew;
            }
        } else if self.large >= config.shrink_samples {
            self.large = 0;
            if limit > config.min {
                self.limit = config.smaller(limit);
                self.shrunk = self.shrunk.saturating_add(1);
                return Moved::Shrank;
            }
        }
        Moved::Stayed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Prng, for_seeds};

    fn random_config(prng: &mut Prng) -> Config {
        let min = 1 + prng.in_range(0..8) as u32;
        Config {
            min,
            max: min + prng.in_range(0..100) as u32,
            high: 1 + prng.in_range(0..4) as u32,
            grow_samples: 1 + prng.in_range(0..5) as u32,
            grow_per_mille: 1_001 + prng.in_range(0..2_000) as u32,
            shrink_samples: 1 + prng.in_range(0..30) as u32,
            shrink_per_mille: 400 + prng.in_range(0..600) as u32,
            spare_per_mille: prng.in_range(0..500) as u32,
        }
    }

    #[test]
    fn req_3483_the_limit_equals_that_of_a_twin_and_keeps_its_bounds() {
        for_seeds(0..300, |seed, prng| {
            let config = random_config(prng);
            config.check().unwrap();
            let mut adaptive = Adaptive::default();
            // The twin keeps what every sample has shown, and counts the run at the end anew.
            let (mut limit, mut small, mut large) = (config.min, Vec::new(), Vec::new());
            let run = |shown: &[bool]| shown.iter().rev().take_while(|shown| **shown).count() as u32;
            let mut pressure = 0;
            for step in 0..600 {
                if prng.one_in(25) {
                    pressure = prng.in_range(0..4);
                }
                let backlog = match pressure {
                    0 => 0,
                    1 => prng.in_range(0..3) as u32,
                    _ => prng.in_range(0..u64::from(limit) * 6) as u32 * u32::from(!prng.one_in(9)),
                };
                let in_flight = prng.in_range(0..u64::from(limit) + 1) as u32;
                let moved = adaptive.sample(&config, Sample { backlog, in_flight });
                let shrunk = u64::from(limit.max(2)) * u64::from(config.shrink_per_mille) / 1_000;
                let shrunk = (shrunk as u32).min(limit.max(2) - 1).max(config.min);
                small.push(f64::from(backlog) >= f64::from(limit) * f64::from(config.high));
                let free = 1_000 - u64::from(config.spare_per_mille);
                large.push(backlog == 0 && u64::from(in_flight) * 1_000 <= u64::from(shrunk) * free);
                let before = limit;
                if run(&small) >= config.grow_samples {
                    small.clear();
                    let grown = (u64::from(limit) * u64::from(config.grow_per_mille) / 1_000) as u32;
                    limit = grown.max(limit + 1).min(config.max);
                } else if run(&large) >= config.shrink_samples {
                    large.clear();
                    limit = if limit > config.min { shrunk } else { limit };
                }
                let want = match limit.cmp(&before) {
                    std::cmp::Ordering::Less => Moved::Shrank,
                    std::cmp::Ordering::Equal => Moved::Stayed,
                    std::cmp::Ordering::Greater => Moved::Grew,
                };
                assert_eq!((adaptive.limit(&config), moved), (limit, want), "seed {seed}, step {step}: {config:?}");
                assert!((config.min..=config.max).contains(&limit), "seed {seed}, step {step}");
            }
        });
    }

    /// Work that comes at a constant rate and takes a constant number of samples each, under the limit that `next` gives.
    fn changes(rate: u32, takes: usize, samples: usize, mut next: impl FnMut(Sample) -> u32) -> (usize, u32, u32) {
        let (mut waiting, mut running) = (0u32, std::collections::VecDeque::new());
        let (mut limit, mut changes) = (next(Sample { backlog: 0, in_flight: 0 }), 0);
        for now in 0..samples {
            waiting += rate;
            while running.front().is_some_and(|end| *end <= now) {
                running.pop_front();
            }
            while waiting > 0 && running.len() < limit as usize {
                waiting -= 1;
                running.push_back(now + takes);
            }
            let before = limit;
            limit = next(Sample { backlog: waiting, in_flight: running.len() as u32 });
            // Only the second half: the first finds the limit.
            changes += usize::from(now > samples / 2 && limit != before);
        }
        (changes, limit, waiting)
    }

    #[test]
    fn req_3483_under_a_constant_load_it_finds_a_limit_and_stays_there() {
        let config = Config { min: 1, max: 256, ..Config::default() };
        let mut flapped = 0;
        for rate in 1..=12 {
            for takes in 1..=16 {
                let mut adaptive = Adaptive::default();
                let (changes_, limit, waiting) = changes(rate, takes, 4_000, |sample| {
                    adaptive.sample(&config, sample);
                    adaptive.limit(&config)
                });
                let needs = rate * takes as u32;
                assert_eq!(changes_, 0, "{rate} a sample that take {takes}: limit {limit}");
                assert!(limit >= needs && limit <= 2 * needs + 1, "{rate} x {takes}: {limit} places for {needs}");
                assert!(waiting < limit * config.high, "{rate} x {takes}: {waiting} wait");
                // The limit without a dead band, which the row is about, never comes to rest.
                let mut naive = 1u32;
                let (changes_, ..) = changes(rate, takes, 4_000, |sample| {
                    naive = if sample.backlog > 0 { naive + 1 } else { (naive - 1).max(1) };
                    naive
                });
                flapped += usize::from(changes_ > 1_000);
            }
        }
        assert!(flapped > 150, "only {flapped} of 192 loads make the limit without hysteresis flap");
    }

    #[test]
    fn req_3483_it_grows_with_a_backlog_and_shrinks_when_that_is_gone() {
        let config = Config { min: 4, max: 32, ..Config::default() };
        let mut adaptive = Adaptive::default();
        for _ in 0..40 {
            adaptive.sample(&config, Sample { backlog: 500, in_flight: adaptive.limit(&config) });
        }
        assert_eq!(adaptive.limit(&config), 32);
        for _ in 0..500 {
            adaptive.sample(&config, Sample { backlog: 0, in_flight: 1 });
        }
        assert_eq!(adaptive.limit(&config), 4);
        let (grown, shrunk) = adaptive.moves();
        assert!(grown >= 5 && shrunk >= 5);
    }

    #[test]
    fn bad_parameters_are_refused() {
        let with = |change: fn(&mut Config)| {
            let mut config = Config::default();
            change(&mut config);
            config.check().err().map(|error| error.to_string())
        };
        assert_eq!(with(|_| {}), None);
        assert_eq!(with(|c| c.min = 0).unwrap(), "adaptive limit: 1 <= min <= max <= 2^20");
        assert!(with(|c| c.max = 0).is_some() && with(|c| c.max = LIMIT_MAX + 1).is_some());
        assert!(with(|c| c.high = 0).is_some());
        assert!(with(|c| c.grow_samples = 0).is_some() && with(|c| c.shrink_samples = SAMPLES_MAX + 1).is_some());
        assert!(with(|c| c.grow_per_mille = 1_000).is_some() && with(|c| c.shrink_per_mille = 1_000).is_some());
        assert!(with(|c| c.spare_per_mille = 901).is_some());
    }
}
