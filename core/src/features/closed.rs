//! A bar that has closed: what every feature that goes by closes is computed from, live and in batch.

use bytemuck::{Pod, Zeroable};

/// Open, high, low, close, volume and what else a bar's trades sum up to. Only bars with a trade are ever fed.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Debug, Default, Pod, Zeroable)]
pub struct ClosedBar {
    /// End of the bar in ns since the UNIX epoch.
    pub end_ns: u64,
    /// First price, 1e-9, above 0 as all four are.
    pub open: i64,
    /// Highest price, 1e-9.
    pub high: i64,
    /// Lowest price, 1e-9.
    pub low: i64,
    /// Last price, 1e-9.
    pub close: i64,
    /// Traded size, above 0.
    pub volume: f64,
    /// Sum of price * size, price in 1e-9; above 0.
    pub notional: f64,
    /// Traded size whose aggressor bought less that whose aggressor sold; 0 where the source tells no side.
    pub flow: f64,
}
