//! Retry policies by name, and which kind of event uses which.

use super::key::words;
use super::value::Value;
use tapeline_core::event::Kind;
use tapeline_core::limits::{KIND_ROWS, RETRY_POLICIES_MAX};
use tapeline_core::retry::{Backoff, Factor, Jitter, Order, PARTS, Policy, RetryConfig, RetryError, ShareConfig};

/// Name of the policy that is always there, and that every kind uses unless it is told another.
pub const STANDARD: &str = "standard";

/// How delays grow.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Growth {
    /// They do not.
    Fixed,
    /// By a factor, up to a cap.
    Exponential,
}

/// What is taken off a delay.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Spread {
    /// Nothing.
    None,
    /// Up to a share of all of it.
    Full,
    /// Up to a share of half of it.
    Equal,
}

words!(Growth, GROWTHS, "fixed" = Growth::Fixed, "exponential" = Growth::Exponential);
words!(Spread, SPREADS, "none" = Spread::None, "full" = Spread::Full, "equal" = Spread::Equal);
words!(Order, ORDERS, "held" = Order::Held, "released" = Order::Released);

/// A retry policy as it is written.
#[derive(Clone, PartialEq, Debug)]
pub struct RetryPolicy {
    /// Calls for one event, the first included.
    pub attempts: u16,
    /// How delays grow.
    pub backoff: Growth,
    /// The first delay in ns, or the only one.
    pub delay_ns: u64,
    /// Growth from one delay to the next.
    pub factor: f64,
    /// Longest delay in ns.
    pub cap_ns: u64,
    /// What is taken off a delay.
    pub jitter: Spread,
    /// How much of that, 0 to 1.
    pub jitter_share: f64,
    /// Whether later events of the symbol wait.
    pub order: Order,
}

impl Default for RetryPolicy {
    /// What [`Policy::STANDARD`] does.
    fn default() -> Self {
        let RetryConfig { attempts_max, backoff, jitter, order } = *Policy::STANDARD.config();
        let (growth, delay_ns, factor, cap_ns) = match backoff {
            Backoff::Fixed { delay_ns } => (Growth::Fixed, delay_ns, Factor::TWO, delay_ns),
            Backoff::Exponential { base_ns, factor, cap_ns } => (Growth::Exponential, base_ns, factor, cap_ns),
        };
        let (spread, parts) = match jitter {
            Jitter::None => (Spread::None, PARTS),
            Jitter::Full { parts } => (Spread::Full, parts),
            Jitter::Equal { parts } => (Spread::Equal, parts),
        };
        Self {
            attempts: attempts_max,
            backoff: growth,
            delay_ns,
            factor: f64::from(factor.numerator) / f64::from(factor.denominator),
            cap_ns,
            jitter: spread,
            jitter_share: f64::from(parts) / f64::from(PARTS),
            order,
        }
    }
}

/// Parts of 1 in which a factor is kept.
const FACTOR_PARTS: u32 = 1_000;

impl RetryPolicy {
    /// The policy.
    ///
    /// # Errors
    /// As [`Policy::new`].
    pub fn policy(&self) -> Result<Policy, RetryError> {
        let Self { attempts, backoff, delay_ns, factor, cap_ns, jitter, jitter_share, order } = *self;
        let parts = (jitter_share * f64::from(PARTS)).round() as u16;
        let numerator = (factor * f64::from(FACTOR_PARTS)).round() as u32;
        let common = common_divisor(numerator, FACTOR_PARTS);
        let factor = Factor { numerator: numerator / common, denominator: FACTOR_PARTS / common };
        Policy::new(RetryConfig {
            attempts_max: attempts,
            backoff: match backoff {
                Growth::Fixed => Backoff::Fixed { delay_ns },
                Growth::Exponential => Backoff::Exponential { base_ns: delay_ns, factor, cap_ns },
            },
            jitter: match jitter {
                Spread::None => Jitter::None,
                Spread::Full => Jitter::Full { parts },
                Spread::Equal => Jitter::Equal { parts },
            },
            order,
        })
    }
}

/// Euclid's: the greatest common divisor.
fn common_divisor(a: u32, b: u32) -> u32 {
    if b == 0 { a.max(1) } else { common_divisor(b, a % b) }
}

/// How many retries a symbol may have beside its live events.
#[derive(Clone, PartialEq, Debug)]
pub struct Share {
    /// Whether there is a bound.
    pub is_limited: bool,
    /// Retries for each live event, 0 to 1.
    pub of_live: f64,
    /// Retries that a window allows without any live event.
    pub free: u32,
    /// Its length in ns.
    pub window_ns: u64,
    /// Retries that live events may earn ahead.
    pub burst: u32,
}

impl Default for Share {
    fn default() -> Self {
        Self { is_limited: false, of_live: 0.5, free: 16, window_ns: 1_000_000_000, burst: 1_024 }
    }
}

impl Share {
    /// For the shards; `None` without a bound.
    #[must_use]
    pub fn config(&self) -> Option<ShareConfig> {
        let Self { is_limited, of_live, free, window_ns, burst } = *self;
        let parts = (of_live * f64::from(PARTS)).round() as u16;
        is_limited.then_some(ShareConfig { parts, free_per_window: free, window_ns, burst })
    }
}

/// All policies, and who uses which.
#[derive(Clone, PartialEq, Debug)]
pub struct Retry {
    /// By name; the first is [`STANDARD`]. In the order in which they were named, which is that of their numbers.
    pub policies: Vec<(String, RetryPolicy)>,
    /// Name of the policy for each kind, in the order of [`Kind::ALL`].
    pub kinds: Vec<String>,
    /// Retries of a symbol beside its live events.
    pub share: Share,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            policies: vec![(STANDARD.to_owned(), RetryPolicy::default())],
            kinds: vec![STANDARD.to_owned(); Kind::ALL.len()],
            share: Share::default(),
        }
    }
}

impl Retry {
    /// The policy of that name; made, with the values of the standard one by default, where there is none.
    pub(super) fn policy_mut(&mut self, name: &str) -> &mut RetryPolicy {
        let index = self.policies.iter().position(|(known, _)| known == name).unwrap_or_else(|| {
            self.policies.push((name.to_owned(), RetryPolicy::default()));
            self.policies.len() - 1
        });
        &mut self.policies[index].1
    }

    /// The policy of that name, or what it would begin with.
    pub(super) fn policy(&self, name: &str) -> RetryPolicy {
        self.policies.iter().find(|(known, _)| known == name).map(|(_, policy)| policy.clone()).unwrap_or_default()
    }

    /// The name of the policy for a kind, by the kind's name.
    pub(super) fn kind_mut(&mut self, kind: &str) -> &mut String {
        &mut self.kinds[index(kind)]
    }

    /// As [`Retry::kind_mut`].
    pub(super) fn kind(&self, kind: &str) -> &String {
        &self.kinds[index(kind)]
    }

    /// What does not fit together: paths of keys, with what is wrong.
    pub(super) fn check(&self) -> Vec<(String, String)> {
        let mut wrong = Vec::new();
        for (name, policy) in &self.policies {
            if let Err(error) = policy.policy() {
                let key = if matches!(error, RetryError::Factor { .. }) { "factor" } else { "cap" };
                wrong.push((format!("retry.policy.{name}.{key}"), error.to_string()));
            }
        }
        if self.policies.len() > RETRY_POLICIES_MAX {
            let (name, _) = &self.policies[RETRY_POLICIES_MAX];
            wrong.push((format!("retry.policy.{name}.attempts"), format!("at most {RETRY_POLICIES_MAX} policies")));
        }
        for (kind, policy) in Kind::ALL.iter().zip(&self.kinds) {
            wrong.extend(self.check_name(&format!("retry.kinds.{}", kind.name()), policy));
        }
        wrong
    }

    /// What is wrong with a key that names a policy.
    pub(super) fn check_name(&self, path: &str, policy: &str) -> Option<(String, String)> {
        let known: Vec<&str> = self.policies.iter().map(|(known, _)| known.as_str()).collect();
        let what = || format!("no [retry.policy.{policy}]; there is {}", known.join(", "));
        (!known.contains(&policy)).then(|| (path.to_owned(), what()))
    }

    /// The number of a policy.
    ///
    /// # Panics
    /// When there is none of that name, or it is beyond 256.
    pub(super) fn number(&self, policy: &str) -> u8 {
        let number = self.policies.iter().position(|(known, _)| known == policy);
        let number = number.expect("Invariant: a checked configuration names policies that there are");
        u8::try_from(number).expect("Invariant: at most 256 policies")
    }

    /// Policies by number, and the number for each kind's row.
    ///
    /// # Panics
    /// When [`Retry::check`] finds something.
    pub(super) fn tables(&self) -> (Vec<Policy>, [u8; KIND_ROWS]) {
        let Self { policies, kinds, share: _ } = self;
        let mut rows = [0; KIND_ROWS];
        for (kind, name) in Kind::ALL.iter().zip(kinds) {
            rows[kind.row()] = self.number(name);
        }
        let policy = |(_, policy): &(String, RetryPolicy)| policy.policy();
        let policies = policies.iter().map(|named| policy(named).expect("Invariant: a checked policy")).collect();
        (policies, rows)
    }
}

fn index(kind: &str) -> usize {
    Kind::ALL.iter().position(|known| known.name() == kind).expect("Invariant: the table admits names of kinds only")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_the_standard_policy() {
        assert_eq!(RetryPolicy::default().policy(), Ok(Policy::STANDARD));
        let (policies, kinds) = Retry::default().tables();
        assert_eq!(policies, [Policy::STANDARD]);
        assert_eq!(kinds, [0; KIND_ROWS]);
    }

    #[test]
    fn a_factor_is_kept_in_thousandths_and_a_share_in_1024_parts() {
        let policy = RetryPolicy { factor: 1.5, jitter: Spread::Full, jitter_share: 0.25, ..RetryPolicy::default() };
        let config = *policy.policy().unwrap().config();
        assert!(matches!(config.backoff, Backoff::Exponential { factor: Factor { numerator: 3, denominator: 2 }, .. }));
        assert_eq!(config.jitter, Jitter::Full { parts: 256 });
    }

    #[test]
    fn what_does_not_fit_together_is_named() {
        let mut retry = Retry::default();
        assert!(retry.check().is_empty());
        retry.policy_mut("fast").cap_ns = 1;
        *retry.kind_mut("trade") = "fats".to_owned();
        let wrong = retry.check();
        assert_eq!(wrong[0].0, "retry.policy.fast.cap");
        assert_eq!(
            wrong[1],
            ("retry.kinds.trade".to_owned(), "no [retry.policy.fats]; there is standard, fast".to_owned())
        );
    }
}
