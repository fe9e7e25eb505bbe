//! Parameters of the rules.

use super::breakout::RANGE_BARS_MAX;

/// Longest volume average in bars: a day of one-second bars.
pub const SPIKE_BARS_MAX: u32 = 86_400;
/// Longest rest of the breakout rule in bars: a day of one-second bars.
pub const COOLDOWN_BARS_MAX: u32 = 86_400;
/// Largest multiple of the usual volume.
pub const SPIKE_FACTOR_MAX: f64 = 1e6;

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
}

impl Default for Config {
    fn default() -> Self {
        Self { breakout_bars: 20, breakout_cooldown_bars: 1, spike_bars: 20, spike_factor: 5.0 }
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
        assert_eq!(ConfigError::BreakoutBars(33).to_string(), "breakout_bars is 33, not 1 to 32");
    }
}
