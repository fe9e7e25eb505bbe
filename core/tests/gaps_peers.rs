//! Bugs that other feed handlers had, each under its name; the protocols message by message; bad input; snapshots.

use tapeline_core::catalog::SeqRule;
use tapeline_core::gaps::{GAP_RANGES_MAX, GapCounts, GapDetector, Numbers, OtherRule, Session, Verdict};
use tapeline_core::limits::GAP_STREAMS_MAX;
use tapeline_core::section::{self, RestoreError};
use tapeline_core::testing::{CountingAlloc, Prng, allocations, sealed_damage};
use tapeline_core::units::{SourceId, SymbolId};

#[global_allocator]
static ALLOC: CountingAlloc = CountingAlloc;

const MOLD: SourceId = SourceId(1);
const DEPTH: SourceId = SourceId(2);
const NONE: SymbolId = SymbolId::NONE;
const ETH: SymbolId = SymbolId(5);
const BTC: SymbolId = SymbolId(6);

fn detector(capacity: usize) -> GapDetector {
    let mut gaps = GapDetector::new(capacity, 42);
    gaps.define(MOLD, SeqRule::Contiguous).unwrap();
    gaps.define(DEPTH, SeqRule::Increasing).unwrap();
    gaps
}

/// A MoldUDP64 packet.
fn packet(gaps: &mut GapDetector, first: u64, count: u64) -> Verdict {
    let verdict = gaps.observe(MOLD, NONE, Numbers::Run { first, count });
    gaps.assert_invariants();
    verdict
}

fn depth(gaps: &mut GapDetector, numbers: Numbers) -> Verdict {
    let verdict = gaps.observe(DEPTH, ETH, numbers);
    gaps.assert_invariants();
    verdict
}

fn missing(gaps: &GapDetector) -> Vec<(u64, u64)> {
    gaps.missing(MOLD, NONE).collect()
}

#[test]
fn helix_38_another_session_is_another_epoch_and_its_late_packets_are_stale() {
    // The peer took a packet of any session for one of its own.
    let mut gaps = detector(4);
    assert_eq!(gaps.session(MOLD, [1, 0]), Session::First);
    assert_eq!(packet(&mut gaps, 1, 10), Verdict::First);
    assert_eq!(packet(&mut gaps, 15, 1), Verdict::Gap { from: 11, to: 14 });
    assert_eq!(gaps.session(MOLD, [1, 0]), Session::Same);
    // The new session counts from 1 again: neither old nor a gap.
    assert_eq!(gaps.session(MOLD, [2, 0]), Session::New);
    assert_eq!(packet(&mut gaps, 1, 3), Verdict::First);
    assert!(gaps.is_synchronised(MOLD, NONE));
    // The line B is late with the old session: it must not begin a third epoch.
    assert_eq!(gaps.session(MOLD, [1, 0]), Session::Stale);
    assert_eq!(packet(&mut gaps, 4, 1), Verdict::InOrder);
    let counts = gaps.counts(MOLD);
    assert_eq!((counts.epochs, counts.stale, counts.missing, counts.given_up, counts.open), (1, 1, 4, 4, 0));
    // Session of zero bytes.
    let mut gaps = detector(4);
    assert_eq!(gaps.session(MOLD, [0, 0]), Session::First);
    assert_eq!(gaps.session(MOLD, [0, 0]), Session::Same);
    assert_eq!(gaps.session(DEPTH, [0, 0]), Session::First, "sources have sessions of their own");
}

#[test]
fn nassau_11_synchronised_only_when_the_highest_received_was_reached() {
    // The peer was synchronised as soon as any packet came that was not ahead of the expected number.
    let mut gaps = detector(4);
    assert!(!gaps.is_synchronised(MOLD, NONE), "nothing came yet");
    assert_eq!(packet(&mut gaps, 1, 1), Verdict::First);
    assert_eq!(packet(&mut gaps, 10, 1), Verdict::Gap { from: 2, to: 9 });
    for number in [2, 9, 5, 3, 4, 8, 6] {
        assert_eq!(packet(&mut gaps, number, 1), Verdict::Late { filled: 1 });
        assert!(!gaps.is_synchronised(MOLD, NONE), "7 is missing");
    }
    assert_eq!(packet(&mut gaps, 10, 1), Verdict::Old, "nothing new");
    assert!(!gaps.is_synchronised(MOLD, NONE));
    assert_eq!(packet(&mut gaps, 7, 1), Verdict::Late { filled: 1 });
    assert!(gaps.is_synchronised(MOLD, NONE));
}

#[test]
fn nassau_25_a_packet_that_ends_before_the_expected_number_is_old() {
    let mut gaps = detector(4);
    assert_eq!(packet(&mut gaps, 1, 20), Verdict::First);
    assert_eq!(packet(&mut gaps, 3, 4), Verdict::Old);
    assert_eq!(gaps.next(MOLD, NONE), Some(21), "the expected number does not go back");
    assert_eq!(packet(&mut gaps, 18, 5), Verdict::Overlap { from: 21 });
    assert_eq!(packet(&mut gaps, 23, 1), Verdict::InOrder);
}

#[test]
fn nassau_16_the_end_of_the_session_is_no_message() {
    let mut gaps = detector(4);
    assert_eq!(packet(&mut gaps, 1, 5), Verdict::First);
    // The count of 0xffff in an end-of-session packet is a mark: the decoder gives 0.
    assert_eq!(packet(&mut gaps, 6, 0), Verdict::InOrder);
    assert_eq!(gaps.next(MOLD, NONE), Some(6));
}

#[test]
fn heartbeat_with_a_count_of_0() {
    let mut gaps = detector(4);
    // The first thing that is heard: what is announced is next.
    assert_eq!(packet(&mut gaps, 5, 0), Verdict::First);
    assert_eq!(packet(&mut gaps, 5, 0), Verdict::InOrder);
    assert_eq!(packet(&mut gaps, 5, 2), Verdict::InOrder);
    // The tail of a burst was lost: only the heartbeat shows it.
    assert_eq!(packet(&mut gaps, 9, 0), Verdict::Gap { from: 7, to: 8 });
    assert_eq!(packet(&mut gaps, 11, 0), Verdict::Gap { from: 9, to: 10 });
    assert_eq!(missing(&gaps), [(7, 10)], "one range, since nothing came between them");
    assert_eq!(packet(&mut gaps, 9, 0), Verdict::Old, "a heartbeat of the slower line");
    assert_eq!(packet(&mut gaps, 7, 4), Verdict::Late { filled: 4 });
    assert_eq!(packet(&mut gaps, 11, 1), Verdict::InOrder);
    assert_eq!(gaps.counts(MOLD).gaps, 2);
}

#[test]
fn two_lines_of_one_feed_fill_each_others_gaps() {
    let mut gaps = detector(4);
    let mut taken = vec![0u32; 1_000];
    let mut prng = Prng::new(1);
    // Line B is three packets behind; each line loses one packet in five, never the same one.
    for number in 1..1_000u64 {
        let lost_by_a = prng.one_in(5);
        for (lost, number) in [(lost_by_a && number > 1, number), (false, number.saturating_sub(3))] {
            if lost || number == 0 {
                continue;
            }
            if !matches!(packet(&mut gaps, number, 1), Verdict::Old) {
                taken[number as usize] += 1;
            }
        }
    }
    for number in 996..1_000 {
        let _ = packet(&mut gaps, number, 1);
        taken[number as usize] = 1;
    }
    assert!(taken[1..].iter().all(|&times| times == 1), "each was taken once");
    let counts = gaps.counts(MOLD);
    assert!(counts.missing > 100 && counts.filled == counts.missing && gaps.is_synchronised(MOLD, NONE));
}

#[test]
fn more_ranges_than_there_is_room_for_give_up_the_oldest() {
    let mut gaps = detector(4);
    assert_eq!(packet(&mut gaps, 1, 1), Verdict::First);
    for number in (3..3 + 2 * GAP_RANGES_MAX as u64).step_by(2) {
        assert!(matches!(packet(&mut gaps, number, 1), Verdict::Gap { .. }));
    }
    assert_eq!((missing(&gaps), gaps.counts(MOLD).given_up), (vec![(2, 2), (4, 4), (6, 6)], 0));
    assert_eq!(packet(&mut gaps, 9, 1), Verdict::Gap { from: 8, to: 8 });
    assert_eq!((missing(&gaps), gaps.counts(MOLD).given_up), (vec![(4, 4), (6, 6), (8, 8)], 1));
    assert_eq!(packet(&mut gaps, 2, 1), Verdict::Old, "given up");
    // All the rest comes: still not synchronised, since 2 was not seen to come.
    assert_eq!(packet(&mut gaps, 3, 6), Verdict::Late { filled: 3 });
    assert!(missing(&gaps).is_empty() && !gaps.is_synchronised(MOLD, NONE));
    // Until it is known by other means.
    assert!(gaps.settle(MOLD, NONE, 2));
    assert!(gaps.is_synchronised(MOLD, NONE));
    assert_eq!(gaps.next(MOLD, NONE), Some(10));
}

#[test]
fn a_session_that_begins_at_1_misses_what_came_before_the_first_packet() {
    let mut gaps = detector(4);
    assert!(gaps.settle(MOLD, NONE, 0));
    assert_eq!(packet(&mut gaps, 4, 1), Verdict::Gap { from: 1, to: 3 });
}

#[test]
fn binance_spot_depth() {
    // docs: the first event after a snapshot has U <= lastUpdateId + 1 <= u, then U = last u + 1.
    let mut gaps = detector(4);
    assert!(gaps.settle(DEPTH, ETH, 160));
    assert_eq!(depth(&mut gaps, Numbers::Span { first: 150, last: 158 }), Verdict::Old);
    assert_eq!(depth(&mut gaps, Numbers::Span { first: 159, last: 165 }), Verdict::Overlap { from: 161 });
    assert_eq!(depth(&mut gaps, Numbers::Span { first: 166, last: 166 }), Verdict::InOrder);
    assert_eq!(depth(&mut gaps, Numbers::Span { first: 170, last: 175 }), Verdict::Gap { from: 167, to: 169 });
    assert_eq!(depth(&mut gaps, Numbers::Span { first: 170, last: 175 }), Verdict::Old);
    // Another symbol has numbers of its own.
    assert_eq!(gaps.observe(DEPTH, BTC, Numbers::Span { first: 7, last: 9 }), Verdict::First);
    assert!(gaps.is_synchronised(DEPTH, BTC) && !gaps.is_synchronised(DEPTH, ETH));
    // A new snapshot settles what was missing.
    assert!(gaps.settle(DEPTH, ETH, 172));
    assert!(gaps.is_synchronised(DEPTH, ETH));
    assert_eq!(gaps.next(DEPTH, ETH), Some(176), "what has come already is not asked for again");
    assert_eq!(gaps.counts(DEPTH).settled, 3);
}

#[test]
fn binance_futures_depth_is_chained_by_pu() {
    let mut gaps = detector(4);
    assert_eq!(depth(&mut gaps, Numbers::Chain { previous: 100, last: 109 }), Verdict::First);
    // Numbers between U and pu belong to other symbols: U = 130 would be no gap.
    assert_eq!(depth(&mut gaps, Numbers::Chain { previous: 109, last: 140 }), Verdict::InOrder);
    assert_eq!(depth(&mut gaps, Numbers::Chain { previous: 150, last: 160 }), Verdict::Gap { from: 141, to: 150 });
    assert_eq!(depth(&mut gaps, Numbers::Chain { previous: 140, last: 150 }), Verdict::Late { filled: 10 });
    assert_eq!(depth(&mut gaps, Numbers::Chain { previous: 109, last: 140 }), Verdict::Old);
}

#[test]
fn binance_book_ticker_skips_by_design_and_is_old_when_it_goes_back() {
    let mut gaps = detector(4);
    for (last, expected) in [
        (10, Verdict::First),
        (11, Verdict::InOrder),
        (500, Verdict::InOrder),
        (500, Verdict::Old),
        (499, Verdict::Old),
        (501, Verdict::InOrder),
    ] {
        assert_eq!(depth(&mut gaps, Numbers::Skip { last }), expected, "{last}");
    }
    assert!(gaps.is_synchronised(DEPTH, ETH));
    assert_eq!(*gaps.counts(DEPTH), GapCounts { in_order: 4, old: 2, ..GapCounts::default() });
}

#[test]
fn an_epoch_begins_every_stream_of_its_source_anew_and_no_other() {
    let mut gaps = detector(8);
    assert_eq!(packet(&mut gaps, 50, 1), Verdict::First);
    for symbol in [ETH, BTC] {
        assert_eq!(gaps.observe(DEPTH, symbol, Numbers::Span { first: 50, last: 60 }), Verdict::First);
        assert_eq!(
            gaps.observe(DEPTH, symbol, Numbers::Span { first: 70, last: 70 }),
            Verdict::Gap { from: 61, to: 69 }
        );
    }
    gaps.begin_epoch(DEPTH);
    gaps.assert_invariants();
    for symbol in [ETH, BTC] {
        assert_eq!(gaps.next(DEPTH, symbol), None);
        assert_eq!(gaps.observe(DEPTH, symbol, Numbers::Span { first: 1, last: 1 }), Verdict::First);
    }
    assert_eq!(packet(&mut gaps, 51, 1), Verdict::InOrder);
    let counts = gaps.counts(DEPTH);
    assert_eq!((counts.missing, counts.given_up, counts.open, counts.epochs), (18, 18, 0, 1));
    assert_eq!(gaps.total().in_order, 6);
}

#[test]
fn a_full_table_is_a_verdict_and_keeps_what_it_has() {
    let mut gaps = detector(2);
    let bytes = gaps.bytes();
    let before = allocations();
    for symbol in 0..100 {
        let verdict = gaps.observe(DEPTH, SymbolId(symbol), Numbers::Skip { last: 1 });
        assert_eq!(verdict, if symbol < 2 { Verdict::First } else { Verdict::Untracked });
        assert_eq!(gaps.settle(DEPTH, SymbolId(symbol), 1), symbol < 2);
    }
    assert_eq!((gaps.len(), gaps.counts(DEPTH).untracked), (2, 98));
    assert_eq!(packet(&mut gaps, 1, 1), Verdict::Untracked);
    assert_eq!(gaps.observe(DEPTH, SymbolId(1), Numbers::Skip { last: 2 }), Verdict::InOrder);
    assert_eq!((allocations(), gaps.bytes()), (before, bytes));
    let mut none = detector(0);
    assert_eq!(packet(&mut none, 1, 1), Verdict::Untracked);
}

#[test]
fn what_cannot_be_is_a_verdict_and_changes_nothing() {
    let mut gaps = detector(4);
    assert_eq!(packet(&mut gaps, 1, 1), Verdict::First);
    for numbers in [
        Numbers::Run { first: u64::MAX, count: 1 },
        Numbers::Run { first: 2, count: u64::MAX },
        Numbers::Span { first: 2, last: 2 },
        Numbers::Skip { last: 2 },
    ] {
        assert_eq!(gaps.observe(MOLD, NONE, numbers), Verdict::Malformed, "{numbers:?}");
    }
    for numbers in [
        Numbers::Run { first: 2, count: 1 },
        Numbers::Span { first: 3, last: 2 },
        Numbers::Span { first: 3, last: u64::MAX },
        Numbers::Chain { previous: 3, last: 3 },
        Numbers::Chain { previous: u64::MAX, last: 3 },
        Numbers::Skip { last: u64::MAX },
    ] {
        assert_eq!(depth(&mut gaps, numbers), Verdict::Malformed, "{numbers:?}");
    }
    assert_eq!((gaps.len(), gaps.next(MOLD, NONE), gaps.counts(DEPTH).malformed), (1, Some(2), 6));
    assert!(!gaps.settle(MOLD, NONE, u64::MAX));
    // A source that was not defined, or has no numbers.
    assert_eq!(gaps.observe(SourceId(9), NONE, Numbers::Skip { last: 1 }), Verdict::Exempt);
    assert!(!gaps.settle(SourceId(9), NONE, 1) && !gaps.is_synchronised(SourceId(9), NONE));
    let error = gaps.define(MOLD, SeqRule::Increasing).unwrap_err();
    assert_eq!(error, OtherRule { here: SeqRule::Contiguous, asked: SeqRule::Increasing });
    assert_eq!(error.to_string(), "the source counts contiguous, not increasing");
    gaps.define(MOLD, SeqRule::Contiguous).unwrap();
}

#[test]
fn the_ends_of_the_numbers() {
    let mut gaps = detector(4);
    assert_eq!(packet(&mut gaps, 0, 1), Verdict::First);
    assert_eq!(packet(&mut gaps, u64::MAX - 1, 1), Verdict::Gap { from: 1, to: u64::MAX - 2 });
    assert_eq!(packet(&mut gaps, u64::MAX, 0), Verdict::InOrder);
    assert_eq!(packet(&mut gaps, 1, u64::MAX - 1), Verdict::Late { filled: u64::MAX - 2 });
    assert!(gaps.is_synchronised(MOLD, NONE));
}

#[test]
#[should_panic(expected = "at most 16777216 streams, not 16777217")]
fn a_capacity_beyond_the_limit_is_a_panic() {
    let _ = GapDetector::new(GAP_STREAMS_MAX + 1, 1);
}

/// The number of the epoch has 32 bits: a stream of 2^32 epochs ago must not come alive.
#[test]
fn the_number_of_the_epoch_wraps() {
    let mut gaps = detector(4);
    assert_eq!(gaps.observe(DEPTH, ETH, Numbers::Span { first: 50, last: 60 }), Verdict::First);
    // An epoch later, and then 2^32 - 2 of them, written into a snapshot; the stream of ETH stays of epoch 0.
    gaps.begin_epoch(DEPTH);
    let mut bytes = section(&gaps);
    let source_bytes = 16 + 16 + 8 + 14 * 8;
    let epoch_at = 64 + 8 + DEPTH.index() * source_bytes + 32;
    assert_eq!(bytes[epoch_at..epoch_at + 4], 1u32.to_le_bytes());
    bytes[epoch_at..epoch_at + 4].copy_from_slice(&u32::MAX.to_le_bytes());
    section::seal(&mut bytes);
    let mut gaps = GapDetector::restore(4, &bytes).unwrap();
    assert_eq!(gaps.next(DEPTH, ETH), None);
    gaps.begin_epoch(DEPTH);
    gaps.assert_invariants();
    assert_eq!(gaps.next(DEPTH, ETH), None);
    assert_eq!(depth(&mut gaps, Numbers::Span { first: 1, last: 1 }), Verdict::First);
}

/// A detector after some life: streams with and without ranges, of this epoch and an earlier one.
fn lived(capacity: usize) -> GapDetector {
    let mut gaps = detector(capacity);
    let mut prng = Prng::new(capacity as u64);
    let _ = (gaps.session(MOLD, [7, 8]), gaps.session(MOLD, [9, 9]));
    for step in 0..200 {
        let symbol = SymbolId(prng.index(4) as u32);
        let first = gaps.next(DEPTH, symbol).unwrap_or(100) + prng.in_range(0..3);
        let _ = gaps.observe(DEPTH, symbol, Numbers::Span { first, last: first + 2 });
        let _ = gaps.observe(MOLD, symbol, Numbers::Run { first: first / 2, count: 3 });
        if step == 100 {
            gaps.begin_epoch(DEPTH);
        }
    }
    gaps.assert_invariants();
    gaps
}

fn section(gaps: &GapDetector) -> Vec<u8> {
    let mut bytes = Vec::new();
    gaps.snapshot(&mut bytes);
    assert_eq!(bytes.len(), gaps.snapshot_bytes());
    bytes
}

#[test]
fn a_restored_detector_goes_on_as_the_first_would() {
    for capacity in [0, 1, 3, 64] {
        let mut first = lived(capacity);
        let bytes = section(&first);
        let mut second = GapDetector::restore(capacity, &bytes).unwrap();
        assert_eq!(section(&second), bytes);
        let mut prng = Prng::new(9);
        for _ in 0..500 {
            let symbol = SymbolId(prng.index(8) as u32);
            let from = first.next(DEPTH, symbol).unwrap_or(50).saturating_sub(prng.in_range(0..6));
            let numbers = Numbers::Span { first: from, last: from + prng.in_range(0..9) };
            assert_eq!(first.observe(DEPTH, symbol, numbers), second.observe(DEPTH, symbol, numbers));
            assert_eq!(first.session(MOLD, [9, 9]), second.session(MOLD, [9, 9]));
        }
        assert_eq!(section(&first), section(&second));
    }
}

#[test]
fn other_detectors_are_refused_by_name() {
    let error = GapDetector::restore(65, &section(&lived(64))).unwrap_err();
    assert_eq!(error, RestoreError::OtherCapacity { name: "gap detector", snapshot: 64, here: 65 });
    assert_eq!(error.to_string(), "the snapshot is of a gap detector for 64, this one is for 65");
}

#[test]
fn damage_is_refused_or_harmless() {
    let bytes = section(&lived(64));
    let (refused, taken) = sealed_damage(0..40, 200, &bytes, |damaged| {
        let Ok(mut gaps) = GapDetector::restore(64, damaged) else { return false };
        let mut prng = Prng::new(3);
        for _ in 0..200 {
            let symbol = SymbolId(prng.index(6) as u32);
            let first = gaps.next(DEPTH, symbol).unwrap_or(9).saturating_sub(prng.in_range(0..9)).min(u64::MAX - 99);
            let _ = gaps.observe(DEPTH, symbol, Numbers::Span { first, last: first + prng.in_range(0..20) });
            if prng.one_in(60) {
                gaps.begin_epoch(DEPTH);
            }
        }
        gaps.assert_invariants();
        true
    });
    assert!(refused > 1_000 && taken > 100, "refused={refused} taken={taken}");
}

#[test]
fn every_cut_and_every_flipped_bit_is_refused() {
    let bytes = section(&lived(3));
    // The sources alone are 39 KB: every bit of the header and of every 61st byte behind it, by the same rule.
    assert!(GapDetector::restore(3, &bytes).is_ok());
    let mut damaged = bytes.clone();
    for at in (0..64).chain((64..bytes.len()).step_by(61)) {
        assert!(GapDetector::restore(3, &bytes[..at]).is_err(), "cut to {at}");
        for bit in 0..8 {
            damaged[at] ^= 1 << bit;
            assert!(GapDetector::restore(3, &damaged).is_err(), "bit {bit} of byte {at}");
            damaged[at] ^= 1 << bit;
        }
    }
    damaged.push(0);
    assert!(GapDetector::restore(3, &damaged).is_err());
}
