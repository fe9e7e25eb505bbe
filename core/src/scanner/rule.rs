//! The rules by number and name.

/// A rule of the scanner.
#[repr(u16)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rule {
    /// The price left the range of the last bars.
    Breakout = 1,
    /// The volume of a bar is a multiple of the usual.
    VolumeSpike = 2,
}

impl Rule {
    /// Every rule, by number.
    pub const ALL: &'static [Self] = &[Self::Breakout, Self::VolumeSpike];

    /// The rule of that number, as [`crate::event::payload::Alert::rule`] has it.
    #[inline]
    #[must_use]
    pub const fn from_u16(number: u16) -> Option<Self> {
        match number {
            1 => Some(Self::Breakout),
            2 => Some(Self::VolumeSpike),
            _ => None,
        }
    }

    /// Name in NDJSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Breakout => "breakout",
            Self::VolumeSpike => "volume_spike",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Rule;

    #[test]
    fn numbers_and_names_are_distinct_and_come_back() {
        for (index, rule) in Rule::ALL.iter().enumerate() {
            assert_eq!(Rule::from_u16(*rule as u16), Some(*rule));
            assert!(Rule::ALL[..index].iter().all(|other| other.name() != rule.name()));
        }
        let known = (0..=u16::MAX).filter_map(Rule::from_u16).count();
        assert_eq!(known, Rule::ALL.len());
    }
}
