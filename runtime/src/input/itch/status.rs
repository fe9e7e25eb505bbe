//! What ITCH says of the trading of a symbol, or of the whole market, in the numbers of DBN's `status` schema.

use ::dbn::{StatusAction, StatusReason, TriState};
use tapeline_core::event::payload::Status;
use tapeline_core::wire::itch::trimmed;

const YES: u8 = TriState::Yes as u8;
const NO: u8 = TriState::No as u8;
const UNKNOWN: u8 = TriState::NotAvailable as u8;

fn status(action: StatusAction, reason: StatusReason, is_trading: u8, is_quoting: u8) -> Status {
    Status {
        action: action as u16,
        reason: reason as u16,
        is_trading,
        is_quoting,
        is_short_sell_restricted: UNKNOWN,
        ..Status::default()
    }
}

/// `H`: by trading state and reason. `None` for a state that the specification does not have.
pub(super) fn of_trading_action(state: u8, reason: &[u8]) -> Option<Status> {
    let reason = reason_of(trimmed(reason));
    Some(match state {
        b'H' => status(StatusAction::Halt, reason, NO, NO),
        b'P' => status(StatusAction::Pause, reason, NO, NO),
        b'Q' => status(StatusAction::Quoting, reason, NO, YES),
        b'T' => status(StatusAction::Trading, reason, YES, YES),
        _ => return None,
    })
}

/// `h` of Nasdaq itself.
pub(super) fn of_operational_halt(action: u8) -> Option<Status> {
    Some(match action {
        b'H' => status(StatusAction::Halt, StatusReason::Operational, NO, UNKNOWN),
        b'T' => status(StatusAction::Trading, StatusReason::Operational, YES, UNKNOWN),
        _ => return None,
    })
}

/// `Y`.
pub(super) fn of_reg_sho(action: u8) -> Option<Status> {
    let restricted = match action {
        b'0' => NO,
        b'1' | b'2' => YES,
        _ => return None,
    };
    let status = status(StatusAction::SsrChange, StatusReason::None, UNKNOWN, UNKNOWN);
    Some(Status { is_short_sell_restricted: restricted, ..status })
}

/// `W`: the whole market is halted.
pub(super) fn of_mwcb(level: u8) -> Option<Status> {
    let reason = match level {
        b'1' => StatusReason::MarketWideHaltLevel1,
        b'2' => StatusReason::MarketWideHaltLevel2,
        b'3' => StatusReason::MarketWideHaltLevel3,
        _ => return None,
    };
    Some(status(StatusAction::Halt, reason, NO, UNKNOWN))
}

/// `S`: hours of the whole market. `None` for start and end of messages, which say nothing of trading.
pub(super) fn of_system_event(code: u8) -> Option<Status> {
    Some(match code {
        b'S' => status(StatusAction::PreOpen, StatusReason::Scheduled, UNKNOWN, YES),
        b'Q' => status(StatusAction::Trading, StatusReason::Scheduled, YES, YES),
        b'M' => status(StatusAction::PostClose, StatusReason::Scheduled, UNKNOWN, YES),
        b'E' => status(StatusAction::Close, StatusReason::Scheduled, NO, NO),
        _ => return None,
    })
}

/// Reasons of trading actions (specification, appendix: trading action reason codes). Those without a number of DBN's are `None`.
fn reason_of(code: &[u8]) -> StatusReason {
    match code {
        b"T1" => StatusReason::NewsPending,
        b"T2" => StatusReason::NewsReleased,
        b"T3" => StatusReason::NewsAndResumptionTimes,
        b"T5" | b"T7" | b"LUDP" | b"LUDS" => StatusReason::LuldPause,
        b"T6" | b"H11" | b"C11" => StatusReason::Regulatory,
        b"T8" => StatusReason::Etf,
        b"T12" => StatusReason::AdditionalInformationRequested,
        b"H4" => StatusReason::NonCompliance,
        b"H9" => StatusReason::FilingsNotCurrent,
        b"H10" => StatusReason::SecTradingSuspension,
        b"O1" => StatusReason::Operational,
        b"M1" => StatusReason::CorporateAction,
        b"M2" => StatusReason::QuotationNotAvailable,
        b"R1" | b"IPO1" | b"IPOQ" | b"IPOE" => StatusReason::NewIssue,
        b"R2" => StatusReason::IssueAvailable,
        b"R4" => StatusReason::IssuesReviewed,
        b"R9" | b"C4" | b"C9" => StatusReason::FilingReqsSatisfied,
        b"C3" => StatusReason::NewsNotForthcoming,
        b"MWC0" => StatusReason::MarketWideHaltCarryover,
        b"MWC1" => StatusReason::MarketWideHaltLevel1,
        b"MWC2" => StatusReason::MarketWideHaltLevel2,
        b"MWC3" => StatusReason::MarketWideHaltLevel3,
        b"MWCQ" => StatusReason::MarketWideHaltResumption,
        _ => StatusReason::None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_have_the_numbers_of_dbn() {
        let numbers = |status: Option<Status>| status.map(|of| (of.action, of.reason, of.is_trading, of.is_quoting));
        assert_eq!(numbers(of_trading_action(b'H', b"T1  ")), Some((8, 30, b'N', b'N')));
        assert_eq!(numbers(of_trading_action(b'P', b"LUDP")), Some((9, 50, b'N', b'N')));
        assert_eq!(numbers(of_trading_action(b'Q', b"MWCQ")), Some((3, 124, b'N', b'Y')));
        assert_eq!(numbers(of_trading_action(b'T', b"    ")), Some((7, 0, b'Y', b'Y')));
        assert_eq!(numbers(of_trading_action(b'T', b"????")), Some((7, 0, b'Y', b'Y')));
        assert_eq!(of_trading_action(b'?', b"T1  "), None);
        assert_eq!(numbers(of_operational_halt(b'H')), Some((8, 60, b'N', b'~')));
        assert_eq!(numbers(of_operational_halt(b'T')), Some((7, 60, b'Y', b'~')));
        assert_eq!(of_operational_halt(b'x'), None);
        assert_eq!(of_reg_sho(b'1').map(|of| (of.action, of.is_short_sell_restricted)), Some((14, b'Y')));
        assert_eq!(of_reg_sho(b'0').map(|of| (of.action, of.is_short_sell_restricted)), Some((14, b'N')));
        assert_eq!(of_reg_sho(b'3'), None);
        assert_eq!(numbers(of_mwcb(b'2')), Some((8, 121, b'N', b'~')));
        assert_eq!(of_mwcb(b'4'), None);
        assert_eq!(numbers(of_system_event(b'Q')), Some((7, 1, b'Y', b'Y')));
        assert_eq!(numbers(of_system_event(b'E')), Some((12, 1, b'N', b'N')));
        assert_eq!(of_system_event(b'O'), None);
    }
}
