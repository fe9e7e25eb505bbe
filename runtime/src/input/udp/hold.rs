//! Packets beyond a hole in the numbers, kept until the other line has filled it.
//!
//! Line B brings what line A has lost some packets later. Where both lines together have all, no gap needs to be told: what comes beyond
//! the hole waits, and follows in order once it is filled. It waits no longer than [`HELD_NS_MAX`] of capture time, and no more than
//! [`HELD_PACKETS_MAX`] packets and [`HELD_BYTES_MAX`] bytes do; then the gap is told, and what waited follows.
//!
//! Where no second line was seen, only an order that was mixed up on the way can be mended: packets wait for no longer than
//! [`SWAPPED_NS_MAX`], and no more than [`SWAPPED_PACKETS_MAX`] do.

use std::collections::VecDeque;
use std::ops::Range;
use tapeline_core::units::UnixNanos;

/// Packets that wait at most.
pub const HELD_PACKETS_MAX: usize = 1_024;
/// Longest that a packet waits, in ns of capture time. Captures without times know the other limits only.
pub const HELD_NS_MAX: u64 = 50_000_000;
/// Bytes of packets that wait at most: as many packets of 2 KiB, which are longer than what a line of 1,500 bytes carries.
pub const HELD_BYTES_MAX: usize = HELD_PACKETS_MAX << 11;

/// Longest that a packet of a single line waits, in ns of capture time: packets that network cards and switches put in another order are some µs apart.
pub const SWAPPED_NS_MAX: u64 = 1_000_000;
/// Packets of a single line that wait at most.
pub const SWAPPED_PACKETS_MAX: usize = 8;

/// What became of a packet that was offered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum Offer {
    /// It waits.
    Kept,
    /// The same one waits already.
    Twin,
    /// A limit is reached. All that waits is to be let go first.
    Full,
}

struct Held {
    first: u64,
    /// Since when it, or one behind it, waits.
    since: UnixNanos,
    at: Range<usize>,
}

/// Packets of one stream that wait, by their numbers. Allocates in [`Hold::new`] only.
#[derive(Default)]
pub struct Hold {
    packets: VecDeque<Held>,
    bytes: Vec<u8>,
    /// When the last packet of the stream came.
    now: UnixNanos,
}

impl Hold {
    /// Nothing waits. Memory that is not used is not touched.
    #[must_use]
    pub fn new() -> Self {
        Self {
            packets: VecDeque::with_capacity(HELD_PACKETS_MAX),
            bytes: Vec::with_capacity(HELD_BYTES_MAX),
            now: UnixNanos::ZERO,
        }
    }

    /// Whether nothing waits.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.packets.is_empty()
    }

    /// A packet of the stream has come, whatever becomes of it.
    #[inline]
    pub const fn arrive(&mut self, at: UnixNanos) {
        self.now = at;
    }

    /// Keeps a packet whose first message has the number `first`. O(packets of greater numbers).
    pub fn offer(&mut self, first: u64, payload: &[u8]) -> Offer {
        let at = self.packets.partition_point(|held| held.first < first);
        let mut same = self.packets.range(at..).take_while(|held| held.first == first);
        if same.any(|held| self.bytes[held.at.clone()] == *payload) {
            return Offer::Twin;
        }
        if self.packets.len() == HELD_PACKETS_MAX || HELD_BYTES_MAX - self.bytes.len() < payload.len() {
            return Offer::Full;
        }
        let from = self.bytes.len();
        self.bytes.extend_from_slice(payload);
        let since = self.packets.get(at).map_or(self.now, |behind| behind.since.min(self.now));
        self.packets.insert(at, Held { first, since, at: from..self.bytes.len() });
        Offer::Kept
    }

    /// The first packet by number, where it follows `next`, or has waited for too long or with too many others. `has_pair` says whether a second
    /// line was seen.
    #[inline]
    #[must_use]
    pub fn due(&self, next: Option<u64>, has_pair: bool) -> Option<&[u8]> {
        let held = self.packets.front()?;
        let (ns_max, packets_max) =
            if has_pair { (HELD_NS_MAX, HELD_PACKETS_MAX) } else { (SWAPPED_NS_MAX, SWAPPED_PACKETS_MAX) };
        let follows = next.is_none_or(|next| held.first <= next);
        let is_late = self.now != UnixNanos::UNKNOWN && self.now.0.saturating_sub(held.since.0) > ns_max;
        (follows || is_late || self.packets.len() > packets_max).then(|| &self.bytes[held.at.clone()])
    }

    /// The first packet by number.
    #[must_use]
    pub fn front(&self) -> Option<&[u8]> {
        self.packets.front().map(|held| &self.bytes[held.at.clone()])
    }

    /// When the last packet of the stream came: what is let go can be used from then on.
    #[inline]
    #[must_use]
    pub const fn now(&self) -> UnixNanos {
        self.now
    }

    /// Forgets the first packet by number.
    pub fn pop(&mut self) {
        self.packets.pop_front();
        if self.packets.is_empty() {
            self.bytes.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hold() -> Hold {
        let mut hold = Hold::new();
        hold.arrive(UnixNanos(1_000));
        hold
    }

    #[test]
    fn packets_follow_by_number_once_the_hole_is_filled() {
        let mut hold = hold();
        for first in [9, 5, 7] {
            assert_eq!(hold.offer(first, &[first as u8]), Offer::Kept);
            assert_eq!(hold.offer(first, &[first as u8]), Offer::Twin);
        }
        assert_eq!(hold.offer(7, &[70]), Offer::Kept, "another one of the same number");
        assert_eq!(hold.due(Some(4), true), None);
        for expected in [5, 70, 7, 9] {
            assert_eq!(hold.due(Some(9), true), Some(&[expected][..]));
            hold.pop();
        }
        assert!(hold.is_empty() && hold.bytes.is_empty());
    }

    #[test]
    fn of_a_single_line_a_few_packets_wait_for_a_short_time() {
        let mut short = hold();
        assert_eq!(short.offer(9, b"x"), Offer::Kept);
        short.arrive(UnixNanos(1_000 + SWAPPED_NS_MAX));
        assert_eq!(short.due(Some(4), false), None);
        short.arrive(UnixNanos(1_001 + SWAPPED_NS_MAX));
        assert_eq!((short.due(Some(4), false), short.due(Some(4), true)), (Some(&b"x"[..]), None));
        let mut few = hold();
        assert!((11..=10 + SWAPPED_PACKETS_MAX as u64).all(|first| few.offer(first, b"z") == Offer::Kept));
        assert_eq!(few.due(Some(4), false), None);
        assert_eq!(few.offer(10, b"a"), Offer::Kept);
        assert_eq!((few.due(Some(4), false), few.due(Some(4), true)), (Some(&b"a"[..]), None));
        few.pop();
        assert_eq!(few.due(Some(4), false), None, "only what is too much is let go");
    }

    #[test]
    fn nothing_waits_beyond_the_limits() {
        let mut hold = hold();
        assert_eq!(hold.offer(9, b"x"), Offer::Kept);
        hold.arrive(UnixNanos(1_000 + HELD_NS_MAX / 2));
        assert_eq!(hold.offer(7, b"y"), Offer::Kept);
        hold.arrive(UnixNanos(1_000 + HELD_NS_MAX));
        assert_eq!(hold.due(Some(4), true), None);
        // What came first stands behind what came later.
        hold.arrive(UnixNanos(1_001 + HELD_NS_MAX));
        assert_eq!(hold.due(Some(4), true), Some(&b"y"[..]));
        hold.arrive(UnixNanos::UNKNOWN);
        assert_eq!(hold.due(Some(4), true), None);
        let mut packets = Hold::new();
        assert!((1..=HELD_PACKETS_MAX as u64).all(|first| packets.offer(first, b"z") == Offer::Kept));
        assert_eq!(packets.offer(0, b"z"), Offer::Full);
        let mut bytes = Hold::new();
        let long = vec![0; 60_000];
        let kept = (1..).take_while(|first| bytes.offer(*first, &long) == Offer::Kept).count();
        assert_eq!(kept, HELD_BYTES_MAX / long.len());
        assert_eq!(bytes.bytes.capacity(), HELD_BYTES_MAX);
    }
}
