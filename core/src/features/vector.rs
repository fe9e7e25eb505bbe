//! A feature vector under construction.

use super::groups;
use super::set::{Feature, SET_LEN};

/// Values of set 2 and which of them have warmed up.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Vector {
    /// Bit i: value i has warmed up.
    pub ready: u64,
    /// The values by [`Feature`]; +0.0 where not ready.
    pub values: [f64; SET_LEN],
}

impl Vector {
    /// Nothing is ready.
    pub const EMPTY: Self = Self { ready: 0, values: [0.0; SET_LEN] };

    /// Puts a value that has warmed up in. One that is not finite, which no input should bring about, counts as not
    /// ready, so that it never leaves the engine.
    #[inline]
    pub(super) fn set(&mut self, feature: Feature, value: Option<f64>) {
        let Some(value) = value else { return };
        debug_assert!(value.is_finite(), "Invariant: features are finite: {feature:?}={value}");
        if value.is_finite() {
            self.ready |= 1 << feature as usize;
            self.values[feature as usize] = value;
        }
    }

    /// The value of `feature`, if it has warmed up.
    #[inline]
    #[must_use]
    pub const fn get(&self, feature: Feature) -> Option<f64> {
        if self.ready >> feature as usize & 1 == 1 { Some(self.values[feature as usize]) } else { None }
    }

    /// The vector with the values of `groups` alone; the others count as not ready. O(values).
    #[must_use]
    pub fn of_groups(mut self, groups: u64) -> Self {
        self.ready &= groups::features(groups);
        for (index, value) in self.values.iter_mut().enumerate() {
            *value = if self.ready >> index & 1 == 1 { *value } else { 0.0 };
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::super::groups::Group;
    use super::*;

    #[test]
    fn other_groups_are_not_ready() {
        let mut all = Vector::EMPTY;
        for feature in Feature::ALL {
            all.set(*feature, Some(*feature as usize as f64 + 1.0));
        }
        assert_eq!(all.of_groups(groups::ALL), all);
        assert_eq!(all.of_groups(0), Vector::EMPTY);
        let some = all.of_groups(Group::Seasonality.bit() | Group::Vwap.bit());
        assert_eq!(
            (some.get(Feature::SeasonalVolume), some.get(Feature::VwapBar)),
            (all.get(Feature::SeasonalVolume), Some(10.0))
        );
        assert_eq!((some.get(Feature::Rsi), some.ready.count_ones()), (None, 4));
    }
}
