//! What the configuration says of the publisher: conditions by name of their feature, tiers by name, the share of failures that trips its breaker, and the
//! rules whose alerts count.

use super::Config;
use tapeline_core::breaker::Share;
use tapeline_core::limits::PUBLISHER_TIERS_MAX;
use tapeline_core::publisher::{self, Condition, Tier};
use tapeline_core::scanner::Rule;

/// The condition on that feature; one that the file begins holds from 0 up, and counts 1.
pub(super) fn condition(config: &Config, feature: &str) -> Condition {
    let known = config.pipeline.publisher.conditions.iter().find(|condition| condition.feature == feature);
    let new = || Condition { feature: feature.to_owned(), is_above: true, enter: 0.0, margin: 0.0, weight: 1.0 };
    known.cloned().unwrap_or_else(new)
}

/// As [`condition`], made where there is none.
pub(super) fn condition_mut<'a>(config: &'a mut Config, feature: &str) -> &'a mut Condition {
    let new = condition(config, feature);
    let conditions = &mut config.pipeline.publisher.conditions;
    let index = conditions.iter().position(|condition| condition.feature == feature).unwrap_or_else(|| {
        conditions.push(new);
        conditions.len() - 1
    });
    &mut conditions[index]
}

/// Features that there are conditions on.
pub(super) fn features(config: &Config) -> Vec<String> {
    config.pipeline.publisher.conditions.iter().map(|condition| condition.feature.clone()).collect()
}

/// Names of the tiers, in the order of [`publisher::Config::tiers`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TierNames(pub Vec<String>);

impl Default for TierNames {
    /// Those that are there by default.
    fn default() -> Self {
        let count = publisher::Config::default().tiers.len();
        Self(["first", "second", "third"].iter().take(count).map(|name| (*name).to_owned()).collect())
    }
}

/// The tier of that name; one that the file begins is as the last one before it.
pub(super) fn tier(config: &Config, name: &str) -> Tier {
    let tiers = &config.pipeline.publisher.tiers;
    let index = config.tiers.0.iter().position(|known| known == name);
    let new = || tiers.last().copied().unwrap_or(Tier { enter: 0.0, leave: 0.0, after_ns: 0 });
    index.and_then(|index| tiers.get(index).copied()).unwrap_or_else(new)
}

/// As [`tier`], made where there is none.
pub(super) fn tier_mut<'a>(config: &'a mut Config, name: &str) -> &'a mut Tier {
    let new = tier(config, name);
    let index = config.tiers.0.iter().position(|known| known == name).unwrap_or_else(|| {
        config.tiers.0.push(name.to_owned());
        config.pipeline.publisher.tiers.push(new);
        config.tiers.0.len() - 1
    });
    &mut config.pipeline.publisher.tiers[index]
}

/// The first tier that is out of order with the one before it, ends above where it begins, or is one too many.
pub(super) fn faulty_tier(config: &Config) -> Option<&str> {
    let tiers = &config.pipeline.publisher.tiers;
    let is_faulty = |index: &usize| {
        let tier = &tiers[*index];
        let before = index.checked_sub(1).map(|before| &tiers[before]);
        let is_behind = before.is_some_and(|before| before.enter > tier.enter || before.after_ns > tier.after_ns);
        is_behind || tier.leave > tier.enter || *index >= PUBLISHER_TIERS_MAX
    };
    (0..tiers.len()).find(is_faulty).and_then(|index| config.tiers.0.get(index)).map(String::as_str)
}

/// The share of failures that trips the breaker, as it is written: the rest of it matters with a share only.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ShareKeys {
    /// Failures of 1,000 calls; `None` = no share trips it.
    pub per_mille: Option<u32>,
    /// As [`Share::calls_min`].
    pub calls_min: u32,
    /// As [`Share::window_ns`].
    pub window_ns: u64,
}

impl Default for ShareKeys {
    fn default() -> Self {
        Self { per_mille: None, calls_min: 20, window_ns: 60_000_000_000 }
    }
}

/// Changes it, and the breaker with it.
pub(super) fn set_share(config: &mut Config, change: impl FnOnce(&mut ShareKeys)) {
    change(&mut config.share);
    let ShareKeys { per_mille, calls_min, window_ns } = config.share;
    config.pipeline.publisher.breaker.share =
        per_mille.map(|failures_per_mille| Share { failures_per_mille, calls_min, window_ns });
}

/// Names of the scanner's rules whose alerts count.
pub(super) fn rules(publisher: &publisher::Config) -> Vec<String> {
    let counts = Rule::ALL.iter().filter(|rule| publisher.rules & rule.bit() != 0);
    counts.map(|rule| rule.name().to_owned()).collect()
}

/// The same as words. Rules of a user's own count in any case: they have no names here.
pub(super) fn set_rules(publisher: &mut publisher::Config, words: &[String]) {
    let named = |rule: &&Rule| words.iter().any(|word| word == rule.name());
    let all = Rule::ALL.iter().fold(0, |bits, rule| bits | rule.bit());
    publisher.rules = Rule::ALL.iter().filter(named).fold(!all, |bits, rule| bits | rule.bit());
}
