//! Parameters of the bridge.

use crate::bucket::{Limit, LimitError};
use crate::limits::{BRIDGE_BATCH_MAX, BRIDGE_NS_MAX, TICK_NS};

/// How alerts of a symbol become requests.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Config {
    /// An alert that says again what its rule said last (same side, severity not higher) within this time is a duplicate, ns; 0 =
    /// none is. At most [`BRIDGE_NS_MAX`]. Default 1 s.
    pub dedup_ns: u64,
    /// Alerts that fill a batch, 1 to [`BRIDGE_BATCH_MAX`]. Default 8.
    pub batch_alerts: u16,
    /// A batch closes so long after its first alert, ns: 1 to [`BRIDGE_NS_MAX`]. Default 100 ms.
    pub batch_ns: u64,
    /// A batch closes when no alert of its symbol has come for so long, ns: at least a tick, at most [`BRIDGE_NS_MAX`]. Default one tick.
    pub idle_ns: u64,
    /// Requests of one symbol that may pass: `tokens` in `per_ns`, evenly, and `burst` at once. Default 10 a second, 5 at once.
    pub rate: Rate,
    /// A batch whose turn lies further ahead than this is refused, ns: at most [`BRIDGE_NS_MAX`]. Default 1 s.
    pub delay_ns_max: u64,
}

/// A rate and a burst: see [`Limit::new`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rate {
    /// Requests of the rate.
    pub tokens: u64,
    /// Their interval in ns.
    pub per_ns: u64,
    /// Requests at once.
    pub burst: u64,
}

impl Default for Config {
    fn default() -> Self {
        const SECOND_NS: u64 = 1_000_000_000;
        Self {
            dedup_ns: SECOND_NS,
            batch_alerts: 8,
            batch_ns: SECOND_NS / 10,
            idle_ns: TICK_NS,
            rate: Rate { tokens: 10, per_ns: SECOND_NS, burst: 5 },
            delay_ns_max: SECOND_NS,
        }
    }
}

/// A parameter is out of its range.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// [`Config::dedup_ns`].
    #[error("dedup_ns is {0}, not 0 to {BRIDGE_NS_MAX}")]
    DedupNs(u64),
    /// [`Config::batch_alerts`].
    #[error("batch_alerts is {0}, not 1 to {BRIDGE_BATCH_MAX}")]
    BatchAlerts(u16),
    /// [`Config::batch_ns`].
    #[error("batch_ns is {0}, not 1 to {BRIDGE_NS_MAX}")]
    BatchNs(u64),
    /// [`Config::idle_ns`].
    #[error("idle_ns is {0}, not {TICK_NS} to {BRIDGE_NS_MAX}")]
    IdleNs(u64),
    /// [`Config::rate`].
    #[error("rate: {0}")]
    Rate(LimitError),
    /// [`Config::delay_ns_max`].
    #[error("delay_ns_max is {0}, not 0 to {BRIDGE_NS_MAX}")]
    DelayNsMax(u64),
}

impl Config {
    /// Checks every parameter, and gives the limit of [`Config::rate`].
    ///
    /// # Errors
    /// [`ConfigError`] that names the first parameter out of its range, its value and the range.
    pub fn check(&self) -> Result<Limit, ConfigError> {
        if self.dedup_ns > BRIDGE_NS_MAX {
            return Err(ConfigError::DedupNs(self.dedup_ns));
        }
        if !(1..=BRIDGE_BATCH_MAX).contains(&self.batch_alerts) {
            return Err(ConfigError::BatchAlerts(self.batch_alerts));
        }
        if !(1..=BRIDGE_NS_MAX).contains(&self.batch_ns) {
            return Err(ConfigError::BatchNs(self.batch_ns));
        }
        if !(TICK_NS..=BRIDGE_NS_MAX).contains(&self.idle_ns) {
            return Err(ConfigError::IdleNs(self.idle_ns));
        }
        if self.delay_ns_max > BRIDGE_NS_MAX {
            return Err(ConfigError::DelayNsMax(self.delay_ns_max));
        }
        let Rate { tokens, per_ns, burst } = self.rate;
        Limit::new(tokens, per_ns, burst).map_err(ConfigError::Rate)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_parameter_is_checked_at_both_ends() {
        let with = |change: fn(&mut Config)| {
            let mut config = Config::default();
            change(&mut config);
            config.check().err()
        };
        assert_eq!(with(|_| {}), None);
        assert_eq!(with(|c| c.dedup_ns = 0), None);
        assert_eq!(with(|c| c.dedup_ns = u64::MAX), Some(ConfigError::DedupNs(u64::MAX)));
        assert_eq!(with(|c| c.batch_alerts = 0), Some(ConfigError::BatchAlerts(0)));
        assert_eq!(with(|c| c.batch_alerts = BRIDGE_BATCH_MAX), None);
        assert_eq!(
            with(|c| c.batch_alerts = BRIDGE_BATCH_MAX + 1),
            Some(ConfigError::BatchAlerts(BRIDGE_BATCH_MAX + 1))
        );
        assert_eq!(with(|c| c.batch_ns = 0), Some(ConfigError::BatchNs(0)));
        assert_eq!(with(|c| c.idle_ns = TICK_NS - 1), Some(ConfigError::IdleNs(TICK_NS - 1)));
        assert_eq!(with(|c| c.idle_ns = BRIDGE_NS_MAX + 1), Some(ConfigError::IdleNs(BRIDGE_NS_MAX + 1)));
        assert_eq!(with(|c| c.delay_ns_max = BRIDGE_NS_MAX + 1), Some(ConfigError::DelayNsMax(BRIDGE_NS_MAX + 1)));
        assert!(matches!(with(|c| c.rate.tokens = 0), Some(ConfigError::Rate(LimitError::Zero { .. }))));
    }
}
