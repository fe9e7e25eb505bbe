//! Gap: a bar begins away from where the one before ended.
//!
//! The rule fires at the first trade of a bar when its price is more than `gap_bps` hundredths of a per cent away from the close of the
//! bar with a trade before. It has no state of its own.
//!
//! Source: the price gap of J. Murphy, *Technical Analysis of the Financial Markets* (1999), chapter 4, between one-second bars instead
//! of days: what lies between may be an idle second or a night.

use super::config::Config;
use super::rule::{Rule, severity};
use crate::event::payload::Alert;
use crate::units::{Side, price_f64};

/// The alert that a bar which begins at `open` after one that ended at `close` brings about (1e-9, both above 0). Exact: no rounding. O(1).
#[must_use]
pub fn opened(config: &Config, close: i64, open: i64) -> Option<Alert> {
    let excess = u128::from(open.abs_diff(close)) * 10_000;
    let threshold = close.unsigned_abs() as u128 * u128::from(config.gap_bps);
    if excess <= threshold {
        return None;
    }
    Some(Alert {
        value: price_f64(open),
        reference: price_f64(close),
        rule: Rule::Gap as u16,
        severity: severity(excess as f64 / threshold as f64),
        side: if open > close { Side::Bid } else { Side::Ask } as u8,
        reserved: 0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_threshold_itself_is_no_gap_and_one_unit_more_is() {
        let config = Config { gap_bps: 50, ..Config::default() };
        let close = 200_000_000_000;
        for (open, side) in [(close + 1_000_000_000, Side::Bid), (close - 1_000_000_000, Side::Ask)] {
            assert_eq!(opened(&config, close, open), None);
            let alert = opened(&config, close, open + (open - close).signum()).unwrap();
            assert_eq!((alert.rule, alert.side, alert.severity), (Rule::Gap as u16, side as u8, 1));
            assert_eq!((alert.value.round(), alert.reference), (price_f64(open), 200.0));
        }
        assert_eq!(opened(&config, close, close + 2_000_000_000).unwrap().severity, 2);
        assert_eq!(opened(&config, close, close + 4_000_000_000).unwrap().severity, 3);
        assert_eq!(opened(&config, 1, i64::MAX - 1).unwrap().severity, 3, "no overflow");
        assert_eq!(opened(&config, i64::MAX - 1, 1).unwrap().severity, 3);
    }
}
