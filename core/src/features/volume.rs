//! Volume against its own past: relative volume and on-balance volume.
//!
//! - Relative volume: size of this bar / mean size of the last 20 bars with a trade, this one among them.
//! - [`OnBalance`]: `obv[0] = v[0]`, `obv[i] = obv[i-1] + v[i]` where the close rose, `- v[i]` where it fell. Source: J.
//!   Granville, *New Key to Stock Market Profits* (1963). Equal to `OBV` of TA-Lib.

use bytemuck::{Pod, Zeroable};

/// Bars of the mean that a bar's volume is set against.
pub const RELATIVE_VOLUME_BARS: u32 = 20;

/// On-balance volume since the state was zeroed.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Debug, Default, Pod, Zeroable)]
pub struct OnBalance {
    value: f64,
}

impl OnBalance {
    /// Takes a bar's size in, and the close before it, if there was one. O(1).
    #[inline]
    pub fn update(&mut self, before: Option<i64>, close: i64, volume: f64) {
        self.value += match before.map_or(core::cmp::Ordering::Greater, |before| close.cmp(&before)) {
            core::cmp::Ordering::Greater => volume,
            core::cmp::Ordering::Equal => 0.0,
            core::cmp::Ordering::Less => -volume,
        };
    }

    /// The sum, in units of size.
    #[inline]
    #[must_use]
    pub const fn value(&self) -> f64 {
        self.value
    }
}

#[cfg(test)]
mod tests {
    use super::OnBalance;

    #[test]
    fn by_hand() {
        let mut obv = OnBalance::default();
        let mut seen = Vec::new();
        let mut before = None;
        for (close, volume) in [(10, 5.0), (12, 3.0), (12, 7.0), (11, 10.0), (13, 1.5)] {
            obv.update(before, close, volume);
            seen.push(obv.value());
            before = Some(close);
        }
        assert_eq!(seen, [5.0, 8.0, 8.0, -2.0, -0.5]);
    }
}
