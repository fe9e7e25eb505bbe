//! The dedup window: 512 identities at a time among 10,000.

use super::Row;
use std::hint::black_box;
use tapeline_core::dedup::{DedupWindow, Seen};
use tapeline_core::event::Identity;
use tapeline_core::units::{SourceId, SymbolId, UnixNanos};

/// Identities per call of a counted function.
const KEYS: usize = 512;
/// Identities that are remembered.
const HELD: usize = 10_000;
/// Length of a window.
const WINDOW_NS: u64 = 1_000_000_000;

#[inline(never)]
fn count_dedup_hit(window: &mut DedupWindow, identities: &[Identity], now: UnixNanos) {
    for identity in identities {
        assert!(window.seen_or_insert(*identity, now) == Seen::Duplicate, "it was seen");
    }
}

#[inline(never)]
fn count_dedup_again(window: &mut DedupWindow, identities: &[Identity], now: UnixNanos) {
    for identity in identities {
        assert!(window.seen_or_insert(*identity, now) == Seen::Duplicate, "it was seen a generation ago");
    }
}

#[inline(never)]
fn count_dedup_new(window: &mut DedupWindow, identities: &[Identity], now: UnixNanos) {
    for identity in identities {
        assert!(window.seen_or_insert(*identity, now) == Seen::New, "it is new");
    }
}

#[inline(never)]
fn count_dedup_batch(window: &mut DedupWindow, identities: &[Identity], times: &[UnixNanos], seen: &mut [Seen]) {
    window.seen_or_insert_batch(identities, times, seen);
}

#[inline(never)]
fn count_dedup_expiry(window: &mut DedupWindow, now: UnixNanos) {
    window.advance(now);
}

pub(super) fn rows() -> Vec<Row> {
    [
        ("hit", "count_dedup_hit"),
        ("hit of the old generation", "count_dedup_again"),
        ("hit, 16 at once", "count_dedup_batch"),
        ("new", "count_dedup_new"),
        ("expiry of a key", "count_dedup_expiry"),
    ]
    .map(|(operation, function)| Row::new(&format!("dedup {operation}"), &["dedup", operation], function, true))
    .into()
}

/// Runs `operation` and returns how often.
pub(super) fn run_loop(operation: &str, rounds: usize) -> Option<u64> {
    let identity = |seq: usize| Identity { seq: seq as u64, symbol: SymbolId(1), part: 0, source: SourceId(1), pad: 0 };
    let mut window = DedupWindow::new(HELD + KEYS * rounds, WINDOW_NS, 1);
    let held: Vec<Identity> = (0..HELD).map(identity).collect();
    let (mut now, mut operations) = (UnixNanos(1), 0);
    let times = [now; KEYS];
    let mut seen = [Seen::New; KEYS];
    remember(&mut window, &held, now);
    for round in 0..rounds {
        let first = round * KEYS % (HELD - KEYS);
        let known = &held[first..first + KEYS];
        operations += KEYS as u64;
        match operation {
            "hit" => count_dedup_hit(&mut window, black_box(known), now),
            // A window later all are of the old generation; what is left of it is seen too, and not counted.
            "hit of the old generation" => {
                now = UnixNanos(now.0 + WINDOW_NS);
                count_dedup_again(&mut window, black_box(&held[..KEYS]), now);
                for identity in &held[KEYS..] {
                    assert!(window.seen_or_insert(*identity, now) == Seen::Duplicate, "it was seen");
                }
            }
            "hit, 16 at once" => {
                count_dedup_batch(&mut window, black_box(known), &times, &mut seen);
                assert!(seen.iter().all(|seen| *seen == Seen::Duplicate), "all were seen");
            }
            "new" => {
                let fresh: Vec<Identity> = (0..KEYS).map(|index| identity(HELD + round * KEYS + index)).collect();
                count_dedup_new(&mut window, black_box(&fresh), now);
            }
            // Two windows later all are forgotten.
            "expiry of a key" => {
                now = UnixNanos(now.0 + 2 * WINDOW_NS);
                count_dedup_expiry(&mut window, black_box(now));
                assert!(window.is_empty(), "the window is over");
                operations += (HELD - KEYS) as u64;
                remember(&mut window, &held, now);
            }
            _ => return None,
        }
    }
    Some(operations)
}

/// Remembers identities outside of what is counted.
fn remember(window: &mut DedupWindow, identities: &[Identity], now: UnixNanos) {
    for identity in identities {
        assert!(window.seen_or_insert(*identity, now) == Seen::New, "it is new");
    }
}
