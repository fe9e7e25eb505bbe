//! Halt and resume: the venue has stopped trading, and lets it go on.
//!
//! A `status` event halts a symbol when its action is a halt, pause or suspension or makes it not available for trading, or, where the
//! action says nothing about it, when `is_trading` is `N`; it resumes when the action is *trading* or, under the same condition,
//! `is_trading` is `Y`. The rules fire on the change only. Openings, auctions and closes are no halts.
//!
//! Source: the trading status of the venues as DBN numbers it (`StatusAction`); halts by 17 CFR 242.608 (the Limit Up-Limit Down plan) and
//! exchanges' rules.

use super::rule::Rule;
use crate::event::payload::{Alert, Status};
use crate::units::UnixNanos;
use bytemuck::{Pod, Zeroable};

/// DBN's `StatusAction` as far as it concerns this rule.
mod action {
    pub(super) const TRADING: u16 = 7;
    pub(super) const HALT: u16 = 8;
    pub(super) const PAUSE: u16 = 9;
    pub(super) const SUSPEND: u16 = 10;
    pub(super) const NOT_AVAILABLE: u16 = 15;
}

/// Whether a symbol is halted, and since when.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Pod, Zeroable)]
pub struct Halt {
    /// 1 = it is halted.
    halted: u64,
    /// When it was, ns since the UNIX epoch.
    since_ns: u64,
}

impl Halt {
    /// Takes a status in at `now`, and gives the alert that it brings about. O(1).
    ///
    /// The value is the action's number. The reference is the reason's number for a halt, and for a resumption the seconds for which it was
    /// halted. Severity is 3 for a halt or suspension, 2 for a pause and what has no action of its own, 1 for a resumption.
    pub fn update(&mut self, status: &Status, now: UnixNanos) -> Option<Alert> {
        let is_halt = match (status.action, status.is_trading) {
            (action::HALT | action::PAUSE | action::SUSPEND | action::NOT_AVAILABLE, _) => true,
            (action::TRADING, _) => false,
            (0, b'N') => true,
            (0, b'Y') => false,
            _ => return None,
        };
        if is_halt == (self.halted != 0) {
            return None;
        }
        let (rule, severity, reference) = if is_halt {
            let severity = if matches!(status.action, action::HALT | action::SUSPEND) { 3 } else { 2 };
            (Rule::Halt, severity, f64::from(status.reason))
        } else {
            (Rule::Resume, 1, (now.0 - self.since_ns) as f64 * 1e-9)
        };
        *self = Self { halted: u64::from(is_halt), since_ns: now.0 };
        Some(Alert { value: f64::from(status.action), reference, rule: rule as u16, severity, ..Alert::default() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_changes_fire_and_a_resumption_tells_how_long_it_was() {
        let mut halt = Halt::default();
        let mut at = |second: u64, action: u16, is_trading: u8| {
            let status = Status { action, reason: 30, is_trading, ..Status::default() };
            let alert = halt.update(&status, UnixNanos(second * 1_000_000_000))?;
            Some((Rule::from_u16(alert.rule)?, alert.severity, alert.value, alert.reference))
        };
        assert_eq!(at(0, 7, b'Y'), None, "it was never halted");
        assert_eq!(at(1, 3, b'N'), None, "quoting before the open is no halt");
        assert_eq!(at(2, 8, b'N'), Some((Rule::Halt, 3, 8.0, 30.0)));
        assert_eq!(at(3, 9, b'N'), None, "halted already");
        assert_eq!(at(4, 4, b'N'), None, "an auction does not end it");
        assert_eq!(at(302, 7, b'Y'), Some((Rule::Resume, 1, 7.0, 300.0)));
        assert_eq!(at(303, 7, b'Y'), None);
        assert_eq!(at(304, 0, b'N'), Some((Rule::Halt, 2, 0.0, 30.0)));
        assert_eq!(at(305, 0, b'~'), None);
        assert_eq!(at(306, 0, b'Y'), Some((Rule::Resume, 1, 0.0, 2.0)));
        assert_eq!(at(307, 9, 0), Some((Rule::Halt, 2, 9.0, 30.0)));
        assert_eq!(at(308, 10, 0), None);
    }
}
