//! Feature groups: what requests name, as a set of bits.
//!
//! A group is computed from others ([`GROUPS`]): whoever asks for `bands` has `trend` and `volatility` computed, too. What a request names
//! is completed by the group mapper ([`crate::mapper`]), which checks the groups as a graph when it is made.

use super::set::{SET, SET_LEN};

macro_rules! groups {
    ($($variant:ident = $bit:literal, $name:literal, [$($needs:ident),*], $doc:literal;)*) => {
        /// A group of features. The number is its bit in a set of groups.
        #[repr(u8)]
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum Group {
            $(#[doc = $doc] $variant = $bit),*
        }

        impl Group {
            /// Every group, by number.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// Name in configuration and reports.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name),*
                }
            }
        }

        /// Name of each group, by number, and names of the groups that it is computed from.
        pub const GROUPS: &[(&str, &[&str])] = &[$(($name, &[$(Group::$needs.name()),*])),*];
    };
}

groups! {
    Price = 0, "price", [], "Last price and the open bar.";
    Returns = 1, "returns", [Price], "Log returns.";
    Volume = 2, "volume", [], "Traded sizes.";
    Vwap = 3, "vwap", [Price, Volume], "Volume-weighted average prices.";
    Volatility = 4, "volatility", [Price, Returns], "Volatilities of returns and of ranges.";
    Momentum = 5, "momentum", [Price, Trend], "Oscillators.";
    Trend = 6, "trend", [Price], "Averages, directional movement, slope.";
    Bands = 7, "bands", [Price, Trend, Volatility], "Bands around the price.";
    Microstructure = 8, "microstructure", [Volume], "Spread, imbalances, order flow, microprice.";
    Liquidity = 9, "liquidity", [Price, Returns, Volume], "Price impact and turnover.";
    Seasonality = 10, "seasonality", [Volume], "Volume against the time of day.";
    Correlation = 11, "correlation", [Price], "Correlation with a benchmark symbol: see [`super::correlation`].";
}

/// Every group.
pub const ALL: u64 = (1 << Group::ALL.len()) - 1;

const _: () = assert!(Group::ALL.len() <= 64, "a set of groups has 64 bits");

impl Group {
    /// The set of this group alone.
    #[must_use]
    pub const fn bit(self) -> u64 {
        1 << self as u8
    }
}

/// Values of set 2 that belong to each group, as bits of `ready`.
const FEATURES: [u64; Group::ALL.len()] = {
    let mut of = [0; Group::ALL.len()];
    let mut index = 0;
    while index < SET_LEN {
        of[SET[index].group as usize] |= 1 << index;
        index += 1;
    }
    of
};

/// The values of set 2 that belong to `groups`, as bits of `ready`.
#[must_use]
pub const fn features(groups: u64) -> u64 {
    let (mut all, mut index) = (0, 0);
    while index < Group::ALL.len() {
        if groups >> index & 1 == 1 {
            all |= FEATURES[index];
        }
        index += 1;
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_group_has_its_number_its_name_and_features() {
        for (index, group) in Group::ALL.iter().enumerate() {
            assert_eq!((*group as usize, group.bit()), (index, 1 << index));
            assert_eq!(GROUPS[index].0, group.name());
            // What goes across symbols is a set of its own.
            assert_eq!(features(group.bit()) == 0, *group == Group::Correlation, "{}", group.name());
        }
        assert_eq!(features(ALL).count_ones() as usize, SET_LEN);
        let each: u32 = Group::ALL.iter().map(|group| features(group.bit()).count_ones()).sum();
        assert_eq!(each as usize, SET_LEN, "each value has one group");
    }
}
