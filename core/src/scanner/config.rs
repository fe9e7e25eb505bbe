//! Parameters of the rules.

use super::breakout::RANGE_BARS_MAX;
use super::momentum::MOMENTUM_BARS_MAX;

/// Longest volume average in bars: a day of one-second bars.
pub const SPIKE_BARS_MAX: u32 = 86_400;
/// Longest rest of a rule in bars: a day of one-second bars.
pub const COOLDOWN_BARS_MAX: u32 = 86_400;
/// Largest multiple of the usual volume.
pub const SPIKE_FACTOR_MAX: f64 = 1e6;
/// Longest average of squared returns or spreads in bars: a day of one-second bars.
pub const AVERAGE_BARS_MAX: u32 = 86_400;
/// Largest multiple of the usual volatility, of the distance of a random walk, or of the usual spread.
pub const FACTOR_MAX: f64 = 1e6;
/// Largest gap and smallest spread, in hundredths of a per cent: the whole price.
pub const BPS_MAX: u32 = 10_000;

/// Parameters of the scanner's rules. Bars are one-second bars with at least one trade.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Config {
    /// Closed bars whose range a breakout leaves, 1 to [`RANGE_BARS_MAX`]. Default 20.
    pub breakout_bars: u32,
    /// Bars for which a side of the breakout rule rests after an alert, that of the alert included, 1 to
    /// [`COOLDOWN_BARS_MAX`]. Default 1: at most one alert per bar and side.
    pub breakout_cooldown_bars: u32,
    /// Length N of the EMA of bar volumes, 1 to [`SPIKE_BARS_MAX`]; the rule is ready after N closed bars. Default 20.
    pub spike_bars: u32,
    /// Multiple of that average which a bar's volume must exceed, 1 to [`SPIKE_FACTOR_MAX`]. Default 5.
    pub spike_factor: f64,
    /// Length of the EMA of squared returns that stands for now, 1 to [`AVERAGE_BARS_MAX`]. Default 10.
    pub volatility_fast_bars: u32,
    /// Length of the EMA of squared returns that stands for the usual, 1 to [`AVERAGE_BARS_MAX`]; the rules *volatility* and *momentum*
    /// are ready after so many returns. Default 120.
    pub volatility_slow_bars: u32,
    /// Multiple of the usual volatility that the present one must exceed, 1 to [`FACTOR_MAX`]. Default 2.5.
    pub volatility_factor: f64,
    /// Bars of the return of the rule *momentum*, 1 to [`MOMENTUM_BARS_MAX`]. Default 10.
    pub momentum_bars: u32,
    /// Standard deviations of a random walk over those bars that the return must exceed, 1 to [`FACTOR_MAX`]. Default 4.
    pub momentum_factor: f64,
    /// Bars for which a side of the rule rests after an alert, that of the alert included, 1 to [`COOLDOWN_BARS_MAX`]. Default 10.
    pub momentum_cooldown_bars: u32,
    /// Distance from the last bar's close to a bar's first price that is no gap yet, in hundredths of a per cent of the close, 1 to [`BPS_MAX`].
    /// Default 50.
    pub gap_bps: u32,
    /// Length N of the EMA of spreads, 1 to [`AVERAGE_BARS_MAX`]; the rule is ready after N closed bars. Default 60.
    pub spread_bars: u32,
    /// Multiple of that average which a spread must exceed, 1 to [`FACTOR_MAX`]. Default 4.
    pub spread_factor: f64,
    /// What a spread must exceed besides, in hundredths of a per cent of the mid price, 0 to [`BPS_MAX`]. Default 1.
    pub spread_bps_min: f64,
    /// Bars for which the rule rests after an alert, that of the alert included, 1 to [`COOLDOWN_BARS_MAX`]. Default 10.
    pub spread_cooldown_bars: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            breakout_bars: 20,
            breakout_cooldown_bars: 1,
            spike_bars: 20,
            spike_factor: 5.0,
            volatility_fast_bars: 10,
            volatility_slow_bars: 120,
            volatility_factor: 2.5,
            momentum_bars: 10,
            momentum_factor: 4.0,
            momentum_cooldown_bars: 10,
            gap_bps: 50,
            spread_bars: 60,
            spread_factor: 4.0,
            spread_bps_min: 1.0,
            spread_cooldown_bars: 10,
        }
    }
}

/// A parameter is out of its range.
#[derive(Clone, Copy, PartialEq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// [`Config::breakout_bars`].
    #[error("breakout_bars is {0}, not 1 to {RANGE_BARS_MAX}")]
    BreakoutBars(u32),
    /// [`Config::breakout_cooldown_bars`].
    #[error("breakout_cooldown_bars is {0}, not 1 to {COOLDOWN_BARS_MAX}")]
    BreakoutCooldownBars(u32),
    /// [`Config::spike_bars`].
    #[error("spike_bars is {0}, not 1 to {SPIKE_BARS_MAX}")]
    SpikeBars(u32),
    /// [`Config::spike_factor`], which is not a number in its range.
    #[error("spike_factor is {0}, not 1 to {SPIKE_FACTOR_MAX}")]
    SpikeFactor(f64),
    /// [`Config::volatility_fast_bars`].
    #[error("volatility_fast_bars is {0}, not 1 to {AVERAGE_BARS_MAX}")]
    VolatilityFastBars(u32),
    /// [`Config::volatility_slow_bars`].
    #[error("volatility_slow_bars is {0}, not 1 to {AVERAGE_BARS_MAX}")]
    VolatilitySlowBars(u32),
    /// [`Config::volatility_factor`], which is not a number in its range.
    #[error("volatility_factor is {0}, not 1 to {FACTOR_MAX}")]
    VolatilityFactor(f64),
    /// [`Config::momentum_bars`].
    #[error("momentum_bars is {0}, not 1 to {MOMENTUM_BARS_MAX}")]
    MomentumBars(u32),
    /// [`Config::momentum_factor`], which is not a number in its range.
    #[error("momentum_factor is {0}, not 1 to {FACTOR_MAX}")]
    MomentumFactor(f64),
    /// [`Config::momentum_cooldown_bars`].
    #[error("momentum_cooldown_bars is {0}, not 1 to {COOLDOWN_BARS_MAX}")]
    MomentumCooldownBars(u32),
    /// [`Config::gap_bps`].
    #[error("gap_bps is {0}, not 1 to {BPS_MAX}")]
    GapBps(u32),
    /// [`Config::spread_bars`].
    #[error("spread_bars is {0}, not 1 to {AVERAGE_BARS_MAX}")]
    SpreadBars(u32),
    /// [`Config::spread_factor`], which is not a number in its range.
    #[error("spread_factor is {0}, not 1 to {FACTOR_MAX}")]
    SpreadFactor(f64),
    /// [`Config::spread_bps_min`], which is not a number in its range.
    #[error("spread_bps_min is {0}, not 0 to {BPS_MAX}")]
    SpreadBpsMin(f64),
    /// [`Config::spread_cooldown_bars`].
    #[error("spread_cooldown_bars is {0}, not 1 to {COOLDOWN_BARS_MAX}")]
    SpreadCooldownBars(u32),
}

impl Config {
    /// Checks every parameter.
    ///
    /// # Errors
    /// [`ConfigError`] that names the first parameter out of its range, its value and the range.
    pub fn check(&self) -> Result<(), ConfigError> {
        if !(1..=RANGE_BARS_MAX as u32).contains(&self.breakout_bars) {
            return Err(ConfigError::BreakoutBars(self.breakout_bars));
        }
        if !(1..=COOLDOWN_BARS_MAX).contains(&self.breakout_cooldown_bars) {
            return Err(ConfigError::BreakoutCooldownBars(self.breakout_cooldown_bars));
        }
        if !(1..=SPIKE_BARS_MAX).contains(&self.spike_bars) {
            return Err(ConfigError::SpikeBars(self.spike_bars));
        }
        if !(1.0..=SPIKE_FACTOR_MAX).contains(&self.spike_factor) {
            return Err(ConfigError::SpikeFactor(self.spike_factor));
        }
        if !(1..=AVERAGE_BARS_MAX).contains(&self.volatility_fast_bars) {
            return Err(ConfigError::VolatilityFastBars(self.volatility_fast_bars));
        }
        if !(1..=AVERAGE_BARS_MAX).contains(&self.volatility_slow_bars) {
            return Err(ConfigError::VolatilitySlowBars(self.volatility_slow_bars));
        }
        if !(1.0..=FACTOR_MAX).contains(&self.volatility_factor) {
            return Err(ConfigError::VolatilityFactor(self.volatility_factor));
        }
        if !(1..=MOMENTUM_BARS_MAX as u32).contains(&self.momentum_bars) {
            return Err(ConfigError::MomentumBars(self.momentum_bars));
        }
        if !(1.0..=FACTOR_MAX).contains(&self.momentum_factor) {
            return Err(ConfigError::MomentumFactor(self.momentum_factor));
        }
        if !(1..=COOLDOWN_BARS_MAX).contains(&self.momentum_cooldown_bars) {
            return Err(ConfigError::MomentumCooldownBars(self.momentum_cooldown_bars));
        }
        if !(1..=BPS_MAX).contains(&self.gap_bps) {
            return Err(ConfigError::GapBps(self.gap_bps));
        }
        if !(1..=AVERAGE_BARS_MAX).contains(&self.spread_bars) {
            return Err(ConfigError::SpreadBars(self.spread_bars));
        }
        if !(1.0..=FACTOR_MAX).contains(&self.spread_factor) {
            return Err(ConfigError::SpreadFactor(self.spread_factor));
        }
        if !(0.0..=f64::from(BPS_MAX)).contains(&self.spread_bps_min) {
            return Err(ConfigError::SpreadBpsMin(self.spread_bps_min));
        }
        if !(1..=COOLDOWN_BARS_MAX).contains(&self.spread_cooldown_bars) {
            return Err(ConfigError::SpreadCooldownBars(self.spread_cooldown_bars));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_parameter_is_checked_at_both_ends() {
        let good = Config::default();
        assert_eq!(good.check(), Ok(()));
        let with = |change: fn(&mut Config)| {
            let mut config = good;
            change(&mut config);
            config.check()
        };
        assert_eq!(with(|c| c.breakout_bars = 0), Err(ConfigError::BreakoutBars(0)));
        assert_eq!(with(|c| c.breakout_bars = 32), Ok(()));
        assert_eq!(with(|c| c.breakout_bars = 33), Err(ConfigError::BreakoutBars(33)));
        assert_eq!(with(|c| c.breakout_cooldown_bars = 0), Err(ConfigError::BreakoutCooldownBars(0)));
        assert_eq!(with(|c| c.breakout_cooldown_bars = 86_401), Err(ConfigError::BreakoutCooldownBars(86_401)));
        assert_eq!(with(|c| c.spike_bars = 0), Err(ConfigError::SpikeBars(0)));
        assert_eq!(with(|c| c.spike_bars = u32::MAX), Err(ConfigError::SpikeBars(u32::MAX)));
        assert_eq!(with(|c| c.spike_factor = 0.99), Err(ConfigError::SpikeFactor(0.99)));
        assert_eq!(with(|c| c.spike_factor = f64::INFINITY), Err(ConfigError::SpikeFactor(f64::INFINITY)));
        assert!(matches!(with(|c| c.spike_factor = f64::NAN), Err(ConfigError::SpikeFactor(_))));
        assert_eq!(with(|c| c.volatility_fast_bars = 0), Err(ConfigError::VolatilityFastBars(0)));
        assert_eq!(with(|c| c.volatility_fast_bars = 86_400), Ok(()));
        assert_eq!(with(|c| c.volatility_fast_bars = 86_401), Err(ConfigError::VolatilityFastBars(86_401)));
        assert_eq!(with(|c| c.volatility_slow_bars = 0), Err(ConfigError::VolatilitySlowBars(0)));
        assert_eq!(with(|c| c.volatility_slow_bars = 86_400), Ok(()));
        assert_eq!(with(|c| c.volatility_slow_bars = 86_401), Err(ConfigError::VolatilitySlowBars(86_401)));
        assert_eq!(with(|c| c.volatility_factor = 0.99), Err(ConfigError::VolatilityFactor(0.99)));
        assert_eq!(with(|c| c.volatility_factor = 1e7), Err(ConfigError::VolatilityFactor(1e7)));
        assert!(matches!(with(|c| c.volatility_factor = f64::NAN), Err(ConfigError::VolatilityFactor(_))));
        assert_eq!(with(|c| c.momentum_bars = 0), Err(ConfigError::MomentumBars(0)));
        assert_eq!(with(|c| c.momentum_bars = 32), Ok(()));
        assert_eq!(with(|c| c.momentum_bars = 33), Err(ConfigError::MomentumBars(33)));
        assert_eq!(with(|c| c.momentum_factor = 0.99), Err(ConfigError::MomentumFactor(0.99)));
        assert_eq!(with(|c| c.momentum_factor = 1e7), Err(ConfigError::MomentumFactor(1e7)));
        assert!(matches!(with(|c| c.momentum_factor = f64::NAN), Err(ConfigError::MomentumFactor(_))));
        assert_eq!(with(|c| c.momentum_cooldown_bars = 0), Err(ConfigError::MomentumCooldownBars(0)));
        assert_eq!(with(|c| c.momentum_cooldown_bars = 86_400), Ok(()));
        assert_eq!(with(|c| c.momentum_cooldown_bars = 86_401), Err(ConfigError::MomentumCooldownBars(86_401)));
        assert_eq!(with(|c| c.gap_bps = 0), Err(ConfigError::GapBps(0)));
        assert_eq!(with(|c| c.gap_bps = 10_000), Ok(()));
        assert_eq!(with(|c| c.gap_bps = 10_001), Err(ConfigError::GapBps(10_001)));
        assert_eq!(with(|c| c.spread_bars = 0), Err(ConfigError::SpreadBars(0)));
        assert_eq!(with(|c| c.spread_bars = 86_400), Ok(()));
        assert_eq!(with(|c| c.spread_bars = 86_401), Err(ConfigError::SpreadBars(86_401)));
        assert_eq!(with(|c| c.spread_factor = 0.99), Err(ConfigError::SpreadFactor(0.99)));
        assert_eq!(with(|c| c.spread_factor = 1e7), Err(ConfigError::SpreadFactor(1e7)));
        assert!(matches!(with(|c| c.spread_factor = f64::NAN), Err(ConfigError::SpreadFactor(_))));
        assert_eq!(with(|c| c.spread_bps_min = -0.5), Err(ConfigError::SpreadBpsMin(-0.5)));
        assert_eq!(with(|c| c.spread_bps_min = 1e7), Err(ConfigError::SpreadBpsMin(1e7)));
        assert!(matches!(with(|c| c.spread_bps_min = f64::NAN), Err(ConfigError::SpreadBpsMin(_))));
        assert_eq!(with(|c| c.spread_cooldown_bars = 0), Err(ConfigError::SpreadCooldownBars(0)));
        assert_eq!(with(|c| c.spread_cooldown_bars = 86_400), Ok(()));
        assert_eq!(with(|c| c.spread_cooldown_bars = 86_401), Err(ConfigError::SpreadCooldownBars(86_401)));
        assert_eq!(ConfigError::BreakoutBars(33).to_string(), "breakout_bars is 33, not 1 to 32");
    }
}
