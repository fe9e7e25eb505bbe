//! Our timing wheel as a contender.

use super::Timers;
use tapeline_core::limits::TICK_NS;
use tapeline_core::units::UnixNanos;
use tapeline_core::wheel::{TimerHandle, Wheel};

/// `tapeline_core::wheel`, with a tick of 1 ms and values of 8 bytes.
pub struct Ours(Wheel<u64>);

impl Timers for Ours {
    type Handle = TimerHandle;

    fn new(capacity: usize) -> Self {
        Self(Wheel::new(capacity, TICK_NS))
    }

    #[inline]
    fn schedule(&mut self, deadline_ns: u64, value: u64) -> TimerHandle {
        self.0.schedule(UnixNanos(deadline_ns), value).expect("there is room")
    }

    #[inline]
    fn cancel(&mut self, handle: TimerHandle) {
        assert!(self.0.cancel(handle).is_some(), "the timer is pending");
    }

    #[inline]
    fn poll(&mut self, now_ns: u64, limit: usize, mut fire: impl FnMut(u64)) {
        let _ = self.0.poll(UnixNanos(now_ns), limit, |_, value| fire(value));
    }
}
