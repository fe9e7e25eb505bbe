//! Which request comes first: keys, and the clock that stamps what is queued.
//!
//! ```text
//! key of a request (88 bits)                      | effective time 64 | 7 - class 3 | sequence 21 |
//! key of a symbol, from its first request (96)    | effective time, high | turns 8 | its low bits | 7 - class 3 | sequence 21 |
//!                                                   the span               of the span, `turn_bits`
//! ```
//! The effective time is `queued at + class * aging step`. Of two requests with the same one, that of the lower class (the higher
//! number) was queued earlier, so that `7 - class` and the sequence among the requests of one instant make ties FIFO. (With a step of 0
//! every class counts as 0.)

use super::heap::Key;
use super::request::{PRIORITIES, Priority};
use crate::limits::{REQUEST_CLOCK_SPARE_NS, REQUEST_TURN_BITS_MAX};

/// Bits of the sequence among the requests of one instant.
pub(super) const SEQUENCE_BITS: u32 = 21;
const CLASS_BITS: u32 = 3;
const MINOR_BITS: u32 = CLASS_BITS + SEQUENCE_BITS;
const TURN_BITS: u32 = 8;

const _: () = {
    assert!(PRIORITIES == 1 << CLASS_BITS, "a class has three bits");
    assert!(64 + TURN_BITS + MINOR_BITS == 96, "a symbol's key fills a key of the heap");
    assert!(REQUEST_TURN_BITS_MAX < 64, "a span is shorter than all of time");
};

/// When a request was queued: instant in ns, and number among the requests of that instant.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Stamp {
    pub(super) ns: u64,
    pub(super) sequence: u32,
}

/// The running maximum of the time given, and the next stamp.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    next: Stamp,
    /// The latest time given, as it was.
    seen_ns: u64,
    /// Times after this one are taken as this one, so that no effective time is beyond u64.
    max_ns: u64,
}

impl Clock {
    pub(super) const fn new(aging_step_ns: u64) -> Self {
        let max_ns = u64::MAX - (PRIORITIES as u64 - 1) * aging_step_ns - REQUEST_CLOCK_SPARE_NS;
        Self { next: Stamp { ns: 0, sequence: 0 }, seen_ns: 0, max_ns }
    }

    /// Moves time on; an earlier `now` changes nothing.
    #[inline]
    pub(super) fn advance(&mut self, now_ns: u64) {
        self.seen_ns = self.seen_ns.max(now_ns);
        let now_ns = now_ns.min(self.max_ns);
        if now_ns > self.next.ns {
            self.next = Stamp { ns: now_ns, sequence: 0 };
        }
    }

    #[inline]
    pub(super) const fn now_ns(&self) -> u64 {
        self.next.ns
    }

    /// The latest time given. [`Clock::now_ns`] is another one only at the end of time, and after more stamps of one instant than
    /// the sequence counts.
    #[inline]
    pub(super) const fn seen_ns(&self) -> u64 {
        self.seen_ns
    }

    /// The next stamp; none is given twice.
    #[inline]
    pub(super) fn stamp(&mut self) -> Stamp {
        if self.next.sequence == 1 << SEQUENCE_BITS {
            // Two million requests of one instant: the others count as a nanosecond later.
            self.next = Stamp { ns: self.next.ns + 1, sequence: 0 };
        }
        let stamp = self.next;
        self.next.sequence += 1;
        stamp
    }

    /// What the next stamp is, for the snapshot.
    pub(super) const fn next(&self) -> Stamp {
        self.next
    }

    /// Sets what [`Clock::next`] and [`Clock::seen_ns`] gave. `false` when no clock can stand there.
    pub(super) fn set(&mut self, next: Stamp, seen_ns: u64) -> bool {
        let possible = next.sequence <= 1 << SEQUENCE_BITS
            // One more nanosecond fits, should the numbers of this one be used up.
            && next.ns < self.max_ns + REQUEST_CLOCK_SPARE_NS
            && next.ns >= seen_ns.min(self.max_ns);
        if possible {
            (self.next, self.seen_ns) = (next, seen_ns);
        }
        possible
    }
}

/// Makes the keys.
#[derive(Clone, Copy, Debug)]
pub(super) struct Order {
    pub(super) aging_step_ns: u64,
    /// A span of effective time, in which symbols take turns, has 2^`turn_bits` ns.
    pub(super) turn_bits: u32,
}

impl Order {
    #[inline]
    pub(super) const fn effective_ns(&self, stamp: Stamp, priority: Priority) -> u64 {
        stamp.ns + priority.class() as u64 * self.aging_step_ns
    }

    /// The key of a request among those of its symbol.
    #[inline]
    pub(super) const fn request_key(&self, stamp: Stamp, priority: Priority) -> Key {
        // Without a head start classes do not differ, and say nothing of which request was earlier.
        let class = if self.aging_step_ns == 0 { 0 } else { priority.class() as u32 };
        let later = (PRIORITIES as u32 - 1) - class;
        Key::new(self.effective_ns(stamp, priority), later << SEQUENCE_BITS | stamp.sequence)
    }

    /// Number of the span that a request's key is in.
    #[inline]
    pub(super) const fn span(&self, request: Key) -> u64 {
        request.major() >> self.turn_bits
    }

    /// The key of a symbol whose first request has the key `request` and which has had `turns` in that span.
    #[inline]
    pub(super) const fn symbol_key(&self, request: Key, turns: u8) -> Key {
        let low = request.major() & ((1 << self.turn_bits) - 1);
        let low = (low as u128) << MINOR_BITS | request.minor() as u128;
        let rest = MINOR_BITS + self.turn_bits;
        let bits = ((self.span(request) as u128) << TURN_BITS | turns as u128) << rest | low;
        Key::new((bits >> 32) as u64, bits as u32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::for_seeds;

    #[test]
    fn a_symbols_key_orders_by_span_then_turns_then_the_requests_key() {
        for_seeds(0..2_000, |seed, prng| {
            let order = Order { aging_step_ns: prng.log_uniform(40), turn_bits: (seed % 41) as u32 };
            let mut one = |near: u64| {
                let stamp = Stamp { ns: near + prng.log_uniform(44), sequence: prng.log_uniform(SEQUENCE_BITS) as u32 };
                let key = order.request_key(stamp, Priority::new(prng.index(8) as u8).unwrap());
                (key, prng.log_uniform(8) as u8)
            };
            let near = if seed % 2 == 0 { 1 << 60 } else { 0 };
            let ((a, turns_a), (b, turns_b)) = (one(near), one(near));
            let (full_a, full_b) = ((order.span(a), turns_a, a), (order.span(b), turns_b, b));
            let (key_a, key_b) = (order.symbol_key(a, turns_a), order.symbol_key(b, turns_b));
            assert_eq!(key_a.cmp(&key_b), full_a.cmp(&full_b));
        });
    }

    /// Stamps of one instant that outrun the sequence go on a nanosecond later, at the end of time too.
    #[test]
    fn stamps_are_never_given_twice() {
        for start in [0, 1_000, u64::MAX] {
            let mut clock = Clock::new(1_000);
            clock.advance(start);
            clock.next.sequence = (1 << SEQUENCE_BITS) - 3;
            let first = clock.next.ns;
            let stamps: Vec<Stamp> = (0..6).map(|_| clock.stamp()).collect();
            assert!(stamps.is_sorted_by(|a, b| a < b), "{stamps:?}");
            assert_eq!(clock.now_ns(), first + 1);
            clock.advance(start);
            assert_eq!(clock.now_ns(), first + 1);
            let order = Order { aging_step_ns: 1_000, turn_bits: 0 };
            assert!(order.effective_ns(stamps[5], Priority::LAST) > first);
        }
    }
}
