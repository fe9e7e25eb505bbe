//! Volume spike: the volume of a bar is a multiple of the usual.
//!
//! The usual is the EMA of length N of the volumes of the closed bars with a trade; the rule fires when the volume of
//! the open bar first exceeds `factor` times the usual, at most once a bar. Source: relative volume, as in J. Murphy,
//! *Technical Analysis of the Financial Markets* (1999), chapter 7; the EMA is that of [`crate::features::ema`].

use super::config::Config;
use super::rule::{Rule, severity};
use crate::event::payload::Alert;
use crate::features::ema::Ema;
use crate::units::Side;
use bytemuck::{Pod, Zeroable};

/// Volume of the open bar and the average of those before it. Sizes in whole units.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Debug, Default, Pod, Zeroable)]
pub struct VolumeSpike {
    /// Volume of the open bar so far; 0 = it has no trade.
    volume: f64,
    /// Volume above which the open bar fires; 0 = it cannot: too few bars have closed, or it has fired.
    threshold: f64,
    /// Average volume of the closed bars.
    usual: Ema,
}

impl VolumeSpike {
    /// Ends the open bar, if it had a trade. O(1).
    pub fn close_bar(&mut self, config: &Config) {
        if self.volume > 0.0 {
            self.usual.update(Ema::alpha(config.spike_bars), self.volume);
        }
        self.volume = 0.0;
        self.threshold = self.usual.value(config.spike_bars).map_or(0.0, |usual| config.spike_factor * usual);
    }

    /// Takes a trade of `size` (above 0) in, and gives the alert that it brings about. O(1).
    ///
    /// The alert's side is that of the trade's aggressor.
    #[inline]
    pub fn update(&mut self, config: &Config, size: f64, side: Side) -> Option<Alert> {
        self.volume += size;
        if self.threshold > 0.0 && self.volume > self.threshold { self.fire(config, side) } else { None }
    }

    #[cold]
    fn fire(&mut self, config: &Config, side: Side) -> Option<Alert> {
        let reference = self.usual.value(config.spike_bars)?;
        let severity = severity(self.volume / self.threshold);
        self.threshold = 0.0;
        Some(Alert {
            value: self.volume,
            reference,
            rule: Rule::VolumeSpike as u16,
            severity,
            side: side as u8,
            reserved: 0,
        })
    }
}
