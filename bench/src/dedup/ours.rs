//! Our dedup window as a contender.

use super::{CALL, DedupContender, WINDOW_NS};
use tapeline_core::dedup::{DedupWindow, Seen};
use tapeline_core::event::Identity;
use tapeline_core::units::{SourceId, SymbolId, UnixNanos};

/// `tapeline_core::dedup`. The key is the sequence number of an event of one symbol; that the identity has 16 bytes and not 8 is
/// ours to pay.
pub struct Ours(DedupWindow);

const fn identity(key: u64) -> Identity {
    Identity { seq: key, symbol: SymbolId(1), part: 0, source: SourceId(1), pad: 0 }
}

impl DedupContender for Ours {
    const WINDOWS: u64 = 2;

    /// Room for a half more than a window's keys: those that come again are written again, and it is the time that shall end
    /// a window, not the room.
    fn new(capacity: usize) -> Self {
        Self(DedupWindow::new(capacity + capacity / 2 + CALL, WINDOW_NS, 1))
    }

    #[inline]
    fn seen_or_insert(&mut self, key: u64, now_ns: u64) -> bool {
        self.0.seen_or_insert(identity(key), UnixNanos(now_ns)) == Seen::Duplicate
    }

    #[inline]
    fn seen_or_insert_all(&mut self, keys: &[u64], now_ns: u64, seen: &mut [bool]) {
        let (mut identities, mut answers) = ([identity(0); CALL], [Seen::New; CALL]);
        let times = [UnixNanos(now_ns); CALL];
        for (keys, seen) in keys.chunks(CALL).zip(seen.chunks_mut(CALL)) {
            for (identity, key) in identities.iter_mut().zip(keys) {
                identity.seq = *key;
            }
            let count = keys.len();
            self.0.seen_or_insert_batch(&identities[..count], &times[..count], &mut answers[..count]);
            for (seen, answer) in seen.iter_mut().zip(&answers) {
                *seen = *answer == Seen::Duplicate;
            }
        }
    }

    #[inline]
    fn expire(&mut self, now_ns: u64) {
        self.0.advance(UnixNanos(now_ns));
    }

    fn held(&self) -> usize {
        self.0.len()
    }
}

#[cfg(test)]
mod tests {
    use super::super::{BATCH, METRICS, Stream};
    use super::*;
    use crate::single::Meter;

    #[test]
    fn time_ends_the_windows_and_nothing_is_left_unremembered() {
        let mut stream = Stream::<Ours>::new(1_000, 5);
        let mut meter = Meter::new(METRICS.len());
        for _ in 0..500 {
            stream.step(&mut meter);
            stream.hits(&mut meter);
        }
        let counts = *stream.dedup.0.counts();
        assert!(counts.turns_by_age as usize >= 500 * BATCH / 1_000 && counts.expired > 0, "{counts:?}");
        assert_eq!((counts.turns_by_count, counts.evicted, counts.unremembered), (0, 0, 0), "{counts:?}");
    }
}
