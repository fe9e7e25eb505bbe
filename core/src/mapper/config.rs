//! What the mapper is told, in words: groups, what alerts ask for, and at what times of day they ask for something else.

use crate::features::groups::GROUPS;
use crate::graph::GraphError;
use crate::limits::{MAPPER_EXPIRES_NS_MAX, MAPPER_GROUPS_MAX, MAPPER_HOURS_MAX};
use crate::scanner::Rule;
use crate::zone::{DAY_S, Zone};

/// Everything that a [`Mapper`](super::Mapper) is made of.
#[derive(Clone, PartialEq, Debug)]
pub struct Config {
    /// The feature groups by name, each with the names of the groups that it needs: bit i of a request is the i-th of them.
    pub groups: Vec<(String, Vec<String>)>,
    /// What every alert asks for, unless its rule says otherwise.
    pub base: Plan,
    /// What alerts of a rule ask for, by the rule's number, 0 to 31.
    pub rules: Vec<(u16, Plan)>,
    /// What they ask for at some times of day instead. The first that holds counts.
    pub hours: Vec<Hours>,
    /// Whose time of day.
    pub zone: Zone,
}

/// What is asked for. What is `None` stays as it was: [`Config::base`] first, then the rule, then the hours.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Plan {
    /// Names of the groups; none at all = nothing is asked for.
    pub groups: Option<Vec<String>>,
    /// 0 = most urgent to 7.
    pub priority: Option<u8>,
    /// From when on the features are not wanted any more, ns after the request: 0 = they always are. At most
    /// [`MAPPER_EXPIRES_NS_MAX`].
    pub expires_ns: Option<u64>,
    /// A word for whoever computes them.
    pub token: Option<u64>,
}

/// A time of day, on some days of the week, and what is different then.
#[derive(Clone, PartialEq, Debug)]
pub struct Hours {
    /// Bit 0 is Monday, bit 6 Sunday: days on which it begins.
    pub days: u8,
    /// Seconds after midnight at which it begins, 0 to 86,399.
    pub from_s: u32,
    /// Seconds after midnight at which it ends, up to 86,400. Not after the beginning = on the next day.
    pub to_s: u32,
    /// The rules that it concerns, by number; none = all of them.
    pub rules: Vec<u16>,
    /// What is different.
    pub plan: Plan,
}

/// Why a configuration was refused.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The groups are no graph, or a plan names one that there is not.
    #[error("{0}")]
    Groups(#[from] GraphError),
    /// More groups than a request has bits.
    #[error("requests can name {MAPPER_GROUPS_MAX} feature groups, not {0}")]
    TooManyGroups(usize),
    /// A rule beyond a set of rules.
    #[error("rule {0} is beyond the {max} of a set of rules", max = u32::BITS - 1)]
    Rule(u16),
    /// Two plans for one rule.
    #[error("there are two plans for rule {0}")]
    DuplicateRule(u16),
    /// A priority beyond 7.
    #[error("a priority is 0 to 7, not {0}")]
    Priority(u8),
    /// An expiry that is too far away.
    #[error("expires_ns is at most {MAPPER_EXPIRES_NS_MAX}, not {0}")]
    Expires(u64),
    /// More hours than [`MAPPER_HOURS_MAX`].
    #[error("at most {MAPPER_HOURS_MAX} times of day, not {0}")]
    TooManyHours(usize),
    /// Days, beginning or end out of range.
    #[error("time of day {index}: {rule}")]
    Hours {
        /// Which of them, from 0.
        index: usize,
        /// What should hold.
        rule: &'static str,
    },
}

impl Default for Config {
    /// The engine's own groups. An alert asks for price, returns, volume and microstructure, and for what its rule is about; halts and
    /// resumptions are most urgent; what is not computed within a second is not wanted any more. The same at any time of day.
    fn default() -> Self {
        let owned = |groups: &[&str]| Some(groups.iter().map(|group| (*group).to_owned()).collect());
        let plan =
            |groups: &[&str], priority| Plan { groups: owned(groups), priority: Some(priority), ..Plan::default() };
        let groups = GROUPS.iter();
        let groups =
            groups.map(|(name, needs)| ((*name).to_owned(), needs.iter().map(|need| (*need).to_owned()).collect()));
        Self {
            groups: groups.collect(),
            base: Plan {
                groups: owned(&["price", "returns", "volume", "microstructure"]),
                priority: Some(4),
                expires_ns: Some(1_000_000_000),
                token: Some(0),
            },
            rules: vec![
                (Rule::Breakout as u16, plan(&["price", "trend", "bands", "volatility", "momentum"], 3)),
                (Rule::VolumeSpike as u16, plan(&["volume", "vwap", "liquidity", "seasonality"], 3)),
                (Rule::Volatility as u16, plan(&["volatility", "bands", "returns"], 4)),
                (Rule::Momentum as u16, plan(&["momentum", "trend", "returns"], 4)),
                (Rule::Gap as u16, plan(&["price", "returns", "volatility"], 2)),
                (Rule::Spread as u16, plan(&["microstructure", "liquidity"], 3)),
                (Rule::Halt as u16, plan(&["price", "microstructure"], 0)),
                (Rule::Resume as u16, plan(&["price", "microstructure", "volatility"], 1)),
            ],
            hours: Vec::new(),
            zone: Zone::utc(),
        }
    }
}

impl Hours {
    /// Checks days and times.
    pub(super) fn check(&self, index: usize) -> Result<(), ConfigError> {
        let fault = |rule| Err(ConfigError::Hours { index, rule });
        if self.days == 0 || self.days > 127 {
            return fault("days are at least one of seven");
        }
        if self.from_s >= DAY_S {
            return fault("it begins at 0 to 86399 seconds after midnight");
        }
        if self.to_s > DAY_S || self.to_s == self.from_s {
            return fault("it ends at 0 to 86400 seconds after midnight, and not when it begins");
        }
        Ok(())
    }

    /// Whether it holds at that second of the week.
    pub(super) fn holds(&self, second_of_week: u32) -> bool {
        let (day, second) = (second_of_week / DAY_S, second_of_week % DAY_S);
        let begins = |day: u32| self.days >> day & 1 == 1;
        if self.to_s > self.from_s {
            begins(day) && (self.from_s..self.to_s).contains(&second)
        } else {
            // Over midnight: the second part is that of the day before.
            begins(day) && second >= self.from_s || begins((day + 6) % 7) && second < self.to_s
        }
    }
}
