//! What the configuration says of the publisher: conditions by name of their feature, and the rules whose alerts count.

use super::Config;
use tapeline_core::publisher::{self, Condition};
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
