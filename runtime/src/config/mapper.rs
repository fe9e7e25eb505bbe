//! What the configuration says of the mapper: plans by rule, and by time of day.

use super::Config;
use tapeline_core::features::groups::GROUPS;
use tapeline_core::mapper::{Hours, Plan};
use tapeline_core::scanner::Rule;

/// Days of the week, in the order of [`Hours::days`].
const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

/// Names of the feature groups.
pub(super) fn group_names() -> Vec<&'static str> {
    GROUPS.iter().map(|(name, _)| *name).collect()
}

/// Names of the scanner's rules.
pub(super) fn rule_names() -> Vec<&'static str> {
    Rule::ALL.iter().map(|rule| rule.name()).collect()
}

/// Names of the days.
pub(super) fn day_names() -> Vec<&'static str> {
    DAYS.to_vec()
}

fn number(rule: &str) -> u16 {
    Rule::from_name(rule).expect("Invariant: the table admits names of rules only") as u16
}

/// The plan of a rule.
pub(super) fn rule_plan(config: &Config, rule: &str) -> Plan {
    let plans = &config.pipeline.mapper.rules;
    plans.iter().find(|(known, _)| *known == number(rule)).map(|(_, plan)| plan.clone()).unwrap_or_default()
}

/// As [`rule_plan`], made where there is none.
pub(super) fn rule_plan_mut<'a>(config: &'a mut Config, rule: &str) -> &'a mut Plan {
    let (number, plans) = (number(rule), &mut config.pipeline.mapper.rules);
    let index = plans.iter().position(|(known, _)| *known == number).unwrap_or_else(|| {
        plans.push((number, Plan::default()));
        plans.len() - 1
    });
    &mut plans[index].1
}

/// The whole day, every day, without a difference.
fn always() -> Hours {
    Hours { days: 0x7f, from_s: 0, to_s: 86_400, rules: Vec::new(), plan: Plan::default() }
}

/// The time of day of that name.
pub(super) fn hours(config: &Config, name: &str) -> Hours {
    let index = config.hours.iter().position(|known| known == name);
    index.map_or_else(always, |index| config.pipeline.mapper.hours[index].clone())
}

/// As [`hours`], made where there is none.
pub(super) fn hours_mut<'a>(config: &'a mut Config, name: &str) -> &'a mut Hours {
    let index = config.hours.iter().position(|known| known == name).unwrap_or_else(|| {
        config.hours.push(name.to_owned());
        config.pipeline.mapper.hours.push(always());
        config.hours.len() - 1
    });
    &mut config.pipeline.mapper.hours[index]
}

/// Days as words.
pub(super) fn days(hours: &Hours) -> Vec<String> {
    let is_set = |(day, _): &(usize, &&str)| hours.days >> day & 1 == 1;
    DAYS.iter().enumerate().filter(is_set).map(|(_, name)| (*name).to_owned()).collect()
}

/// Words as days.
pub(super) fn set_days(hours: &mut Hours, words: &[String]) {
    let bits = DAYS.iter().enumerate().filter(|(_, name)| words.iter().any(|word| word == *name));
    hours.days = bits.map(|(day, _)| 1 << day).sum();
}

/// Rules as words.
pub(super) fn rules(hours: &Hours) -> Vec<String> {
    let rules = hours.rules.iter().filter_map(|number| Rule::from_u16(*number));
    rules.map(|rule| rule.name().to_owned()).collect()
}

/// Words as rules.
pub(super) fn set_rules(hours: &mut Hours, words: &[String]) {
    hours.rules = words.iter().map(|word| number(word)).collect();
}
