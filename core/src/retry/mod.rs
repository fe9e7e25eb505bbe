//! Retries as values: how long to wait before each ([`Policy`]), and how many there may be beside the live traffic ([`RetryShare`]).
//!
//! Nothing here keeps a clock or draws from a stream of random numbers: the same failure of the same event waits equally long in
//! every run, on every shard, whatever else failed before it.

mod share;

pub use share::{RetryShare, ShareConfig, ShareError};

use crate::event::Identity;
use crate::hash;
use crate::limits::RETRY_ATTEMPTS_MAX;
use crate::units::UnixNanos;

/// Parts of the whole in which jitter and shares are given.
pub const PARTS: u16 = 1_024;

/// How the delay grows from one failure to the next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Backoff {
    /// Always the same.
    Fixed {
        /// The delay in ns. 0 = at the next tick of the shard.
        delay_ns: u64,
    },
    /// `delay(1) = base`, `delay(k) = min(cap, ceil(delay(k - 1) * numerator / denominator))`, in integers.
    Exponential {
        /// Delay after the first failure in ns, at least 1.
        base_ns: u64,
        /// Growth, at least 1: 2/1 doubles, 3/2 is half as much again.
        factor: Factor,
        /// Longest delay in ns, at least `base_ns`.
        cap_ns: u64,
    },
}

/// Growth of a delay as a ratio of integers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Factor {
    /// At least the denominator.
    pub numerator: u32,
    /// At least 1.
    pub denominator: u32,
}

impl Factor {
    /// Each delay is twice the one before.
    pub const TWO: Self = Self { numerator: 2, denominator: 1 };
}

/// What is taken off a delay, so that events that failed together do not come back together. Never adds: a cap stays a cap.
///
/// Names as in M. Brooker, "Exponential Backoff And Jitter" (AWS Architecture Blog, 2015), which has amplitudes of 1,024 only.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Jitter {
    /// Nothing.
    None,
    /// Uniform from 0 to `parts / 1024` of the delay: with 1,024, anything between 0 and the delay is waited.
    Full {
        /// 0 to [`PARTS`].
        parts: u16,
    },
    /// Uniform from 0 to `parts / 1024` of half the delay: at least half of it is waited.
    Equal {
        /// 0 to [`PARTS`].
        parts: u16,
    },
}

/// What a symbol's later events do while one of them waits for its retry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Order {
    /// They wait for that handler, too, and are handled in order afterwards.
    Held,
    /// They go on.
    Released,
}

/// Parameters of a [`Policy`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RetryConfig {
    /// Calls of the handler for one event, the first included: 1 never retries. 1 to [`RETRY_ATTEMPTS_MAX`].
    pub attempts_max: u16,
    /// Delays.
    pub backoff: Backoff,
    /// What is taken off them.
    pub jitter: Jitter,
    /// Whether later events of the symbol wait.
    pub order: Order,
}

/// Why a [`RetryConfig`] was refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RetryError {
    /// No attempt at all, or too many.
    #[error("{0} attempts: there are 1 to {RETRY_ATTEMPTS_MAX}")]
    Attempts(u16),
    /// A denominator of 0, or delays that shrink.
    #[error("a delay grows by {numerator}/{denominator}: the factor is at least 1")]
    Factor {
        /// As given.
        numerator: u32,
        /// As given.
        denominator: u32,
    },
    /// The first delay of an exponential backoff is 0, and so would be all others.
    #[error("an exponential backoff begins with at least 1 ns")]
    BaseZero,
    /// The cap is below the first delay.
    #[error("a cap of {cap_ns} ns is below the first delay of {base_ns} ns")]
    Cap {
        /// As given.
        base_ns: u64,
        /// As given.
        cap_ns: u64,
    },
    /// A jitter of more than the whole.
    #[error("a jitter of {0} parts: there are 0 to {PARTS}")]
    Jitter(u16),
}

/// The stable hashes of the names of an event's symbol and source. Ids differ between a capture and its imported tape, names do
/// not, so that jitter hashes names.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Names {
    /// Hash of the symbol's text.
    pub symbol_hash: u64,
    /// Hash of the source's name.
    pub source_hash: u64,
}

/// A checked retry policy: pure functions of their arguments.
///
/// ```
/// use tapeline_core::retry::{Backoff, Factor, Jitter, Order, Policy, RetryConfig};
///
/// let policy = Policy::new(RetryConfig {
///     attempts_max: 5,
///     backoff: Backoff::Exponential { base_ns: 100, factor: Factor::TWO, cap_ns: 300 },
///     jitter: Jitter::None,
///     order: Order::Held,
/// })?;
/// let delays: Vec<_> = (1..=5).map(|attempt| policy.delay_ns(attempt)).collect();
/// assert_eq!(delays, [Some(100), Some(200), Some(300), Some(300), None]);
/// # Ok::<(), tapeline_core::retry::RetryError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Policy {
    config: RetryConfig,
}

impl Policy {
    /// The policy of `config`.
    ///
    /// # Errors
    /// The first parameter that is out of its range.
    pub const fn new(config: RetryConfig) -> Result<Self, RetryError> {
        if config.attempts_max == 0 || config.attempts_max > RETRY_ATTEMPTS_MAX {
            return Err(RetryError::Attempts(config.attempts_max));
        }
        if let Backoff::Exponential { base_ns, factor: Factor { numerator, denominator }, cap_ns } = config.backoff {
            if denominator == 0 || numerator < denominator {
                return Err(RetryError::Factor { numerator, denominator });
            }
            if base_ns == 0 {
                return Err(RetryError::BaseZero);
            }
            if cap_ns < base_ns {
                return Err(RetryError::Cap { base_ns, cap_ns });
            }
        }
        match config.jitter {
            Jitter::Full { parts } | Jitter::Equal { parts } if parts > PARTS => Err(RetryError::Jitter(parts)),
            _ => Ok(Self { config }),
        }
    }

    /// What an engine does unless configured otherwise: five calls, the next ones 100, 200, 400 and 800 ms after the failure before,
    /// each up to half of that earlier; later events of the symbol wait.
    pub const STANDARD: Self = Self {
        config: RetryConfig {
            attempts_max: 5,
            backoff: Backoff::Exponential { base_ns: 100_000_000, factor: Factor::TWO, cap_ns: 10_000_000_000 },
            jitter: Jitter::Equal { parts: PARTS },
            order: Order::Held,
        },
    };

    /// A policy that never retries.
    #[must_use]
    pub const fn never() -> Self {
        Self {
            config: RetryConfig {
                attempts_max: 1,
                backoff: Backoff::Fixed { delay_ns: 0 },
                jitter: Jitter::None,
                order: Order::Released,
            },
        }
    }

    /// The parameters.
    #[must_use]
    pub const fn config(&self) -> &RetryConfig {
        &self.config
    }

    /// What later events of the symbol do.
    #[inline]
    #[must_use]
    pub const fn order(&self) -> Order {
        self.config.order
    }

    /// The delay in ns after the `attempt`th failed call (from 1; 0 is taken as 1), before jitter. `None` = give up.
    /// O(attempt) until the cap is reached, at most [`RETRY_ATTEMPTS_MAX`] multiplications.
    #[must_use]
    pub fn delay_ns(&self, attempt: u16) -> Option<u64> {
        if attempt >= self.config.attempts_max {
            return None;
        }
        Some(match self.config.backoff {
            Backoff::Fixed { delay_ns } => delay_ns,
            Backoff::Exponential { base_ns, factor, cap_ns } => {
                let mut delay_ns = base_ns;
                for _ in 1..attempt {
                    // 96 bits at most. Rounded up, so that small delays grow, too.
                    let grown = u128::from(delay_ns) * u128::from(factor.numerator);
                    let grown = grown.div_ceil(u128::from(factor.denominator));
                    delay_ns = u64::try_from(grown).unwrap_or(u64::MAX).min(cap_ns);
                    if delay_ns == cap_ns {
                        break;
                    }
                }
                delay_ns
            }
        })
    }

    /// When to call again after the `attempt`th failed call for `event` (from 1; 0 is taken as 1) at `now`. `None` = give up,
    /// park the event. Never before `now`; what would lie beyond the last instant is the last instant.
    ///
    /// Jitter is the stable hash of (seed, names of symbol and source, `seq`, `part`, attempt). Cost as [`Policy::delay_ns`].
    #[must_use]
    pub fn next(&self, seed: u64, event: &Identity, names: Names, attempt: u16, now: UnixNanos) -> Option<UnixNanos> {
        let delay_ns = self.delay_ns(attempt)?;
        let (whole, parts) = match self.config.jitter {
            Jitter::None => (0, 0),
            Jitter::Full { parts } => (delay_ns, parts),
            Jitter::Equal { parts } => (delay_ns / 2, parts),
        };
        if parts == 0 || whole == 0 {
            return Some(now.saturating_add(delay_ns));
        }
        let spread = u128::from(whole) * u128::from(parts) / u128::from(PARTS);
        let words =
            [seed, names.symbol_hash, names.source_hash, event.seq, u64::from(event.part), u64::from(attempt.max(1))];
        // Multiply and shift: uniform over 0..=spread. 64 bits by 65: at most 2^128 - 2^64.
        let cut = (u128::from(hash::stable(bytemuck::bytes_of(&words))) * (spread + 1)) >> 64;
        Some(now.saturating_add(delay_ns - cut as u64))
    }

    /// The parameters as numbers, for the hash by which a snapshot knows its policies.
    pub(crate) const fn words(&self) -> [u64; 8] {
        let (backoff, first, num, den, cap) = match self.config.backoff {
            Backoff::Fixed { delay_ns } => (0, delay_ns, 0, 0, 0),
            Backoff::Exponential { base_ns, factor, cap_ns } => {
                (1, base_ns, factor.numerator as u64, factor.denominator as u64, cap_ns)
            }
        };
        let jitter = match self.config.jitter {
            Jitter::None => 0,
            Jitter::Full { parts } => 1 << 16 | parts as u64,
            Jitter::Equal { parts } => 2 << 16 | parts as u64,
        };
        let order = matches!(self.config.order, Order::Held) as u64;
        [self.config.attempts_max as u64, backoff, first, num, den, cap, jitter, order]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn different_policies_have_different_words() {
        let config = RetryConfig {
            attempts_max: 3,
            backoff: Backoff::Fixed { delay_ns: 5 },
            jitter: Jitter::None,
            order: Order::Held,
        };
        let exponential = |base_ns, numerator, denominator, cap_ns| Backoff::Exponential {
            base_ns,
            factor: Factor { numerator, denominator },
            cap_ns,
        };
        let configs = [
            config,
            RetryConfig { attempts_max: 4, ..config },
            RetryConfig { backoff: Backoff::Fixed { delay_ns: 6 }, ..config },
            RetryConfig { backoff: exponential(5, 2, 1, 5), ..config },
            RetryConfig { backoff: exponential(5, 3, 1, 5), ..config },
            RetryConfig { backoff: exponential(5, 3, 2, 5), ..config },
            RetryConfig { backoff: exponential(5, 3, 2, 6), ..config },
            RetryConfig { jitter: Jitter::Full { parts: 0 }, ..config },
            RetryConfig { jitter: Jitter::Full { parts: 1 }, ..config },
            RetryConfig { jitter: Jitter::Equal { parts: 1 }, ..config },
            RetryConfig { order: Order::Released, ..config },
        ];
        let words: Vec<_> = configs.map(|config| Policy::new(config).unwrap().words()).into();
        for (i, one) in words.iter().enumerate() {
            assert!(words[..i].iter().all(|other| other != one), "{i}");
        }
    }
}
