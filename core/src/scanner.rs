//! The scanner: rules that turn market data into alerts.

/// A rule of the scanner.
#[repr(u16)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rule {
    /// The price left the range of the last bars.
    Breakout = 1,
    /// The volume of a bar is a multiple of the usual.
    VolumeSpike = 2,
}
