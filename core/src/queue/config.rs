//! The settings of a queue.

use crate::limits::{
    REQUEST_AGING_NS_DEFAULT, REQUEST_AGING_NS_MAX, REQUEST_MERGE_NS_DEFAULT, REQUEST_SYMBOL_DEFAULT,
    REQUEST_TURN_BITS_DEFAULT, REQUEST_TURN_BITS_MAX, REQUESTS_DEFAULT, REQUESTS_IN_FLIGHT_DEFAULT, REQUESTS_MAX,
    SYMBOLS_DEFAULT, SYMBOLS_MAX, TICK_NS,
};

/// The settings of a queue. A snapshot is restored only into the same ones, but for [`Config::instance`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Config {
    /// Symbols, id 0 included: ids are below it. At most [`SYMBOLS_MAX`].
    pub symbols: usize,
    /// Most pending requests of all symbols together. At most [`REQUESTS_MAX`]; 0 is a queue that is always full.
    pub capacity: usize,
    /// Most pending requests of one symbol; 0 lets none in.
    pub per_symbol: u32,
    /// Most requests of one symbol that are popped and not yet finished. At least 1; `u32::MAX` is no limit.
    pub in_flight_per_symbol: u32,
    /// Head start of one priority class over the next, ns: 0 is plain FIFO. At most [`REQUEST_AGING_NS_MAX`].
    pub aging_step_ns: u64,
    /// Age of a pending request, in ns, from which on nothing is merged into it or joined to it; 0 merges nothing.
    pub merge_window_ns: u64,
    /// Symbols take turns within spans of 2^`turn_bits` ns of effective time; 0 is only where that is equal. At most
    /// [`REQUEST_TURN_BITS_MAX`].
    pub turn_bits: u32,
    /// Resolution of the expiry, ns. At least 1.
    pub tick_ns: u64,
    /// Which of several queues of one engine this is: handles of one are refused by another that has another number. Not compared with
    /// that of a snapshot: a restored queue takes the handles of the one that was written.
    pub instance: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            symbols: SYMBOLS_DEFAULT,
            capacity: REQUESTS_DEFAULT,
            per_symbol: REQUEST_SYMBOL_DEFAULT,
            in_flight_per_symbol: REQUESTS_IN_FLIGHT_DEFAULT,
            aging_step_ns: REQUEST_AGING_NS_DEFAULT,
            merge_window_ns: REQUEST_MERGE_NS_DEFAULT,
            turn_bits: REQUEST_TURN_BITS_DEFAULT,
            tick_ns: TICK_NS,
            instance: 0,
        }
    }
}

impl Config {
    /// # Panics
    /// When a setting is out of its range, with the range.
    pub(super) fn assert_valid(&self) {
        let Self { symbols, capacity, in_flight_per_symbol, aging_step_ns, turn_bits, tick_ns, .. } = *self;
        assert!(symbols <= SYMBOLS_MAX, "a request queue is for at most {SYMBOLS_MAX} symbols, not {symbols}");
        assert!(capacity <= REQUESTS_MAX, "a request queue holds at most {REQUESTS_MAX} requests, not {capacity}");
        assert!(in_flight_per_symbol >= 1, "at least 1 request of a symbol may be in flight");
        assert!(aging_step_ns <= REQUEST_AGING_NS_MAX, "an aging step has at most {REQUEST_AGING_NS_MAX} ns");
        assert!(turn_bits <= REQUEST_TURN_BITS_MAX, "a span of turns has at most {REQUEST_TURN_BITS_MAX} bits");
        assert!(tick_ns >= 1, "a tick has at least 1 ns");
    }
}
