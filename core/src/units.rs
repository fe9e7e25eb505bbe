//! Units and ids: what a bare integer means.

use bytemuck::{Pod, Zeroable};
use core::fmt;

/// An instant in nanoseconds since the UNIX epoch, UTC. [`UnixNanos::UNKNOWN`] is a source's missing time stamp.
#[repr(transparent)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Pod, Zeroable)]
pub struct UnixNanos(pub u64);

impl UnixNanos {
    /// The source gave no time (the value that DBN uses).
    pub const UNKNOWN: Self = Self(u64::MAX);
    /// The first representable instant.
    pub const ZERO: Self = Self(0);

    /// `self + ns`, or the last representable instant.
    #[inline]
    #[must_use]
    pub const fn saturating_add(self, ns: u64) -> Self {
        Self(self.0.saturating_add(ns))
    }

    /// The first multiple of `tick_ns` at or after `self`; the last multiple that u64 holds when there is none, which is then *before*
    /// `self`, by less than a tick. Shard time never comes there: see [`crate::limits::TIME_NS_MAX`].
    ///
    /// # Panics
    /// When `tick_ns` is 0.
    #[inline]
    #[must_use]
    pub const fn round_up(self, tick_ns: u64) -> Self {
        match self.0.checked_next_multiple_of(tick_ns) {
            Some(ns) => Self(ns),
            None => Self(u64::MAX / tick_ns * tick_ns),
        }
    }
}

impl fmt::Debug for UnixNanos {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::UNKNOWN { f.write_str("unknown") } else { write!(f, "{}ns", self.0) }
    }
}

/// Prices are `i64` in units of 1e-9 (as in DBN). This is the value of one whole unit.
pub const PRICE_ONE: i64 = 1_000_000_000;
/// A price that the source left undefined (the value that DBN uses).
pub const PRICE_UNDEFINED: i64 = i64::MAX;

/// A fixed-point price as a float, for features. Exact for prices below 2^53 units (9 million whole units).
#[inline]
#[must_use]
pub fn price_f64(price: i64) -> f64 {
    price as f64 / PRICE_ONE as f64
}

/// Powers of ten that fit `f64` exactly; index = decimal exponent of a size.
const POW10: [f64; 20] =
    [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19];

/// Largest decimal exponent of a size: 10^19 is the last power of ten below 2^64.
pub const SCALE_MAX: u8 = 19;

/// A size of `mantissa * 10^-scale` as a float, for features.
///
/// Scales above [`SCALE_MAX`] are taken as [`SCALE_MAX`]; admission refuses them before they come here.
#[inline]
#[must_use]
pub fn size_f64(mantissa: u64, scale: u8) -> f64 {
    mantissa as f64 / POW10[scale.min(SCALE_MAX) as usize]
}

/// Index of an interned symbol. 0 is "no symbol": market-wide events, ticks, definitions of sources.
#[repr(transparent)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug, Pod, Zeroable)]
pub struct SymbolId(pub u32);

impl SymbolId {
    /// No symbol.
    pub const NONE: Self = Self(0);

    /// The id as an index of per-symbol tables.
    #[inline]
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// Index of a source: one stream type of one market. 0 is "no source".
#[repr(transparent)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug, Pod, Zeroable)]
pub struct SourceId(pub u8);

impl SourceId {
    /// No source.
    pub const NONE: Self = Self(0);

    /// The id as an index of per-source tables.
    #[inline]
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// Side of a trade's aggressor, an order or a book level.
#[repr(u8)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Side {
    /// Not told by the source.
    #[default]
    None = 0,
    /// Buyer, bid.
    Bid = 1,
    /// Seller, ask.
    Ask = 2,
}

impl Side {
    /// The side that `byte` stands for; unknown bytes are [`Side::None`].
    #[inline]
    #[must_use]
    pub const fn from_u8(byte: u8) -> Self {
        match byte {
            1 => Self::Bid,
            2 => Self::Ask,
            _ => Self::None,
        }
    }

    /// Name in NDJSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Bid => "bid",
            Self::Ask => "ask",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_up_is_exact_and_saturates() {
        assert_eq!(UnixNanos(0).round_up(1_000), UnixNanos(0));
        assert_eq!(UnixNanos(1).round_up(1_000), UnixNanos(1_000));
        assert_eq!(UnixNanos(1_000).round_up(1_000), UnixNanos(1_000));
        assert_eq!(UnixNanos(u64::MAX).round_up(1_000).0 % 1_000, 0);
    }

    #[test]
    fn sizes_and_prices_convert() {
        assert_eq!(price_f64(2_683_800_000_000), 2_683.8);
        assert_eq!(size_f64(30_292, 4), 3.0292);
        assert_eq!(size_f64(7, 0), 7.0);
    }
}
