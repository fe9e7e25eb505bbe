//! The rules by number and name.

macro_rules! rules {
    ($($(#[$doc:meta])* $rule:ident = $number:literal, $name:literal;)*) => {
        /// A rule of the scanner.
        #[repr(u16)]
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum Rule { $($(#[$doc])* $rule = $number,)* }

        impl Rule {
            /// Every rule, by number.
            pub const ALL: &'static [Self] = &[$(Self::$rule),*];

            /// The rule of that number, as [`crate::event::payload::Alert::rule`] has it.
            #[inline]
            #[must_use]
            pub const fn from_u16(number: u16) -> Option<Self> {
                match number { $($number => Some(Self::$rule),)* _ => None }
            }

            /// Name in NDJSON and in configuration.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$rule => $name,)* }
            }
        }

        $(const _: () = assert!($number < u32::BITS, "a set of rules has 32 bits");)*
    };
}

rules! {
    /// The price left the range of the last bars.
    Breakout = 1, "breakout";
    /// The volume of a bar is a multiple of the usual.
    VolumeSpike = 2, "volume_spike";
    /// Returns vary more than they usually do.
    Volatility = 3, "volatility";
    /// The price has gone one way for several bars.
    Momentum = 4, "momentum";
    /// A bar began away from where the one before ended.
    Gap = 5, "gap";
    /// Bid and ask are further apart than they usually are.
    Spread = 6, "spread";
    /// The venue has halted or paused trading.
    Halt = 7, "halt";
    /// Trading goes on after a halt or pause.
    Resume = 8, "resume";
}

impl Rule {
    /// The bit of the rule in a set of rules, as [`crate::event::payload::FeatureRequest::rules`] has it.
    #[inline]
    #[must_use]
    pub const fn bit(self) -> u32 {
        1 << self as u16
    }

    /// The rule of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|rule| rule.name() == name)
    }
}

/// By how often a measure holds its threshold when a rule fires: 1 = once, 2 = twice, 3 = four times or more.
pub(super) fn severity(multiple: f64) -> u8 {
    match multiple {
        _ if multiple >= 4.0 => 3,
        _ if multiple >= 2.0 => 2,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::Rule;

    #[test]
    fn numbers_and_names_are_distinct_and_come_back() {
        for (index, rule) in Rule::ALL.iter().enumerate() {
            assert_eq!(Rule::from_u16(*rule as u16), Some(*rule));
            assert_eq!(Rule::from_name(rule.name()), Some(*rule));
            assert!(Rule::ALL[..index].iter().all(|other| other.name() != rule.name()));
        }
        let known = (0..=u16::MAX).filter_map(Rule::from_u16).count();
        assert_eq!(known, Rule::ALL.len());
    }
}
