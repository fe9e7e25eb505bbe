//! What the publisher is told: conditions on features, scores, tiers, and what to do about a sink that fails.

use crate::breaker;
use crate::limits::{PUBLISHER_CONDITIONS_MAX, PUBLISHER_NS_MAX, PUBLISHER_TIERS_MAX};

/// One condition on a feature. It has two thresholds, so that a value that hovers at one does not make it flap.
#[derive(Clone, PartialEq, Debug)]
pub struct Condition {
    /// Name of the feature: see [`crate::features::names`].
    pub feature: String,
    /// Whether it holds above its threshold, or below it.
    pub is_above: bool,
    /// It begins to hold at this value.
    pub enter: f64,
    /// How far back from there the value may go before it ceases to hold: at least 0.
    pub margin: f64,
    /// What it adds to the score while it holds, 0 to 1e6.
    pub weight: f64,
}

impl Condition {
    /// It ceases to hold beyond this value.
    #[must_use]
    pub fn leave(&self) -> f64 {
        if self.is_above { self.enter - self.margin } else { self.enter + self.margin }
    }
}

/// A tier that qualified symbols are promoted to. Tiers are in rising order.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Tier {
    /// Score from which on a symbol goes up to it.
    pub enter: f64,
    /// Score below which it comes down again: at most `enter`.
    pub leave: f64,
    /// How long a symbol must have been qualified, ns of shard time: at most [`PUBLISHER_NS_MAX`].
    pub after_ns: u64,
}

/// What becomes of a change of a symbol that its open breaker refuses to hand to the sink.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OnRefusal {
    /// It is kept, and handed over as soon as the breaker lets it: of several changes that wait, the newest of each kind.
    Keep,
    /// The feature vector that brought it about is dead-lettered, and can be redriven. A change that time alone brings about has none: it is
    /// kept.
    DeadLetter,
}

/// Parameters of a [`Publisher`](super::Publisher).
#[derive(Clone, PartialEq, Debug)]
pub struct Config {
    /// What makes up the score: at most [`PUBLISHER_CONDITIONS_MAX`].
    pub conditions: Vec<Condition>,
    /// Bit i: alerts of rule i count. A symbol without an alert that counts does not qualify.
    pub rules: u32,
    /// How long an alert counts, ns of shard time: 1 to [`PUBLISHER_NS_MAX`].
    pub alert_ns: u64,
    /// Score from which on a symbol qualifies.
    pub enter: f64,
    /// How far below that the score may go before it ceases to: at least 0.
    pub margin: f64,
    /// How long after a change a symbol does not qualify, and is not promoted, again, ns: at most [`PUBLISHER_NS_MAX`].
    pub cooldown_ns: u64,
    /// Tiers of qualified symbols: at most [`PUBLISHER_TIERS_MAX`].
    pub tiers: Vec<Tier>,
    /// When a sink that fails is left alone, for each symbol.
    pub breaker: breaker::Config,
    /// When a change that the sink did not take is offered again, ns: a tick to [`PUBLISHER_NS_MAX`].
    pub retry_ns: u64,
    /// What becomes of changes in the meantime.
    pub on_refusal: OnRefusal,
}

impl Default for Config {
    /// A symbol qualifies when an alert of the last minute names it, it trades, it moves, and its spread is narrow: all three conditions.
    /// It is in tier 1 after 10 seconds of that, in tier 2 after a minute.
    fn default() -> Self {
        const SECOND_NS: u64 = 1_000_000_000;
        let condition = |feature: &str, is_above, enter, margin| {
            let feature = feature.to_owned();
            Condition { feature, is_above, enter, margin, weight: 1.0 }
        };
        Self {
            conditions: vec![
                condition("trades_bar", true, 3.0, 2.0),
                condition("ewma_volatility", true, 5e-5, 3e-5),
                condition("spread_bps", false, 10.0, 10.0),
            ],
            rules: u32::MAX,
            alert_ns: 60 * SECOND_NS,
            enter: 3.0,
            margin: 1.0,
            cooldown_ns: 5 * SECOND_NS,
            tiers: vec![
                Tier { enter: 3.0, leave: 2.0, after_ns: 10 * SECOND_NS },
                Tier { enter: 3.0, leave: 2.0, after_ns: 60 * SECOND_NS },
            ],
            breaker: breaker::Config::default(),
            retry_ns: SECOND_NS / 10,
            on_refusal: OnRefusal::Keep,
        }
    }
}

/// Why a configuration was refused.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// More conditions or tiers than there is room for.
    #[error("at most {PUBLISHER_CONDITIONS_MAX} conditions and {PUBLISHER_TIERS_MAX} tiers")]
    TooMany,
    /// No set of features has what a condition names.
    #[error("no set of features has {0:?}")]
    Feature(String),
    /// Each of what the conditions name is in some set, and no set has all of them: no vector could fulfil them.
    #[error("no set of features has all of {}", .0.join(", "))]
    Apart(Vec<String>),
    /// A rule that a condition breaks.
    #[error("condition on {feature:?}: {rule}")]
    Condition {
        /// Name of the feature.
        feature: String,
        /// What should hold.
        rule: &'static str,
    },
    /// A rule that something else breaks.
    #[error("{0}")]
    Rule(&'static str),
}

impl Config {
    /// Score below which a symbol ceases to qualify.
    #[must_use]
    pub fn leave(&self) -> f64 {
        self.enter - self.margin
    }

    /// Checks all but the names of the features.
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        if self.conditions.len() > PUBLISHER_CONDITIONS_MAX || self.tiers.len() > PUBLISHER_TIERS_MAX {
            return Err(ConfigError::TooMany);
        }
        for condition in &self.conditions {
            let fault = |rule| Err(ConfigError::Condition { feature: condition.feature.clone(), rule });
            if !condition.enter.is_finite() || !condition.leave().is_finite() {
                return fault("thresholds are numbers");
            }
            if condition.margin < 0.0 {
                return fault("a margin is at least 0: it ceases to hold on the other side of where it begins");
            }
            if !(0.0..=1e6).contains(&condition.weight) {
                return fault("a weight is 0 to 1000000");
            }
        }
        let scores = self.tiers.iter().map(|tier| (tier.enter, tier.leave)).chain([(self.enter, self.leave())]);
        for (enter, leave) in scores {
            if !(enter.is_finite() && leave.is_finite() && leave <= enter) {
                return Err(ConfigError::Rule(
                    "scores are numbers, and a symbol ceases at one that is not above where it begins",
                ));
            }
        }
        if self.tiers.windows(2).any(|pair| pair[0].after_ns > pair[1].after_ns || pair[0].enter > pair[1].enter) {
            return Err(ConfigError::Rule("tiers are in rising order of score and time"));
        }
        let times = self.tiers.iter().map(|tier| tier.after_ns).chain([self.cooldown_ns, self.alert_ns, self.retry_ns]);
        if times.into_iter().any(|ns| ns > PUBLISHER_NS_MAX) || self.alert_ns == 0 {
            return Err(ConfigError::Rule("times are at most a day, and an alert counts for 1 ns at least"));
        }
        if self.retry_ns < crate::limits::TICK_NS {
            return Err(ConfigError::Rule("retry_ns is at least a tick"));
        }
        self.breaker.check().map_err(ConfigError::Rule)
    }
}
