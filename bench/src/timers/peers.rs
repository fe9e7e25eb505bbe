//! Timers of others, each driven as its documentation recommends.

use super::Timers;
use hierarchical_hash_wheel_timer::wheels::Skip;
use hierarchical_hash_wheel_timer::wheels::TimerEntryWithDelay;
use hierarchical_hash_wheel_timer::wheels::cancellable::{CancellableTimerEntry, QuadWheelWithOverflow};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};
use tokio_util::time::DelayQueue;
use tokio_util::time::delay_queue::Key;

/// `nexus-timer`'s bounded wheel with its default levels, polled with rebalancing. Its handle must be given back when
/// the timer has fired, which counts as part of firing.
pub struct Nexus {
    wheel: nexus_timer::BoundedWheel<u64>,
    start: Instant,
    fired: Vec<u64>,
}

impl Timers for Nexus {
    type Handle = nexus_timer::TimerHandle<u64>;

    fn new(capacity: usize) -> Self {
        let start = Instant::now();
        let wheel = nexus_timer::BoundedWheel::bounded(capacity, start);
        Self { wheel, start, fired: Vec::with_capacity(capacity) }
    }

    #[inline]
    fn schedule(&mut self, deadline_ns: u64, value: u64) -> Self::Handle {
        self.wheel.try_schedule(self.start + Duration::from_nanos(deadline_ns), value).expect("there is room")
    }

    #[inline]
    fn cancel(&mut self, handle: Self::Handle) {
        assert!(self.wheel.cancel(handle).is_some(), "the timer is pending");
    }

    #[inline]
    fn poll(&mut self, now_ns: u64, limit: usize, fire: impl FnMut(u64)) {
        let now = self.start + Duration::from_nanos(now_ns);
        self.wheel.poll_and_rebalance_with_limit(now, limit, &mut self.fired);
        self.fired.drain(..).for_each(fire);
    }

    #[inline]
    fn release(&mut self, handle: Self::Handle) {
        self.wheel.free(handle);
    }
}

/// An entry of [`QuadWheel`].
#[derive(Debug)]
pub(super) struct Timer {
    value: u64,
    delay: Duration,
}

impl TimerEntryWithDelay for Timer {
    fn delay(&self) -> Duration {
        self.delay
    }
}

impl CancellableTimerEntry for Timer {
    type Id = u64;

    fn id(&self) -> &u64 {
        &self.value
    }
}

/// `hierarchical_hash_wheel_timer`'s cancellable wheel: a tick is 1 ms and is visited by a call, unless its wheels are empty. A
/// cancelled timer keeps its memory until its slot comes.
pub struct QuadWheel {
    wheel: QuadWheelWithOverflow<Timer>,
    now_ms: u64,
    garbage: usize,
}

const MS: u64 = 1_000_000;

impl Timers for QuadWheel {
    type Handle = u64;

    fn new(_capacity: usize) -> Self {
        Self { wheel: QuadWheelWithOverflow::new(), now_ms: 0, garbage: 0 }
    }

    #[inline]
    fn schedule(&mut self, deadline_ns: u64, value: u64) -> u64 {
        let delay = Duration::from_millis(deadline_ns / MS - self.now_ms);
        assert!(self.wheel.insert(Timer { value, delay }).is_ok(), "the deadline is ahead");
        value
    }

    #[inline]
    fn cancel(&mut self, handle: u64) {
        assert!(self.wheel.cancel(&handle).is_ok(), "the timer is pending");
        self.garbage += 1;
    }

    #[inline]
    fn poll(&mut self, now_ns: u64, limit: usize, mut fire: impl FnMut(u64)) {
        let end_ms = (now_ns / MS).min(self.now_ms.saturating_add(limit as u64));
        while self.now_ms < end_ms {
            match self.wheel.can_skip() {
                Skip::None => {
                    self.now_ms += 1;
                    for timer in self.wheel.tick() {
                        fire(Rc::try_unwrap(timer).expect("nobody else has it").value);
                    }
                }
                Skip::Empty => self.skip(end_ms - self.now_ms),
                Skip::Millis(ms) => self.skip(u64::from(ms).min(end_ms - self.now_ms)),
            }
        }
    }

    fn garbage(&self) -> usize {
        self.garbage
    }
}

impl QuadWheel {
    fn skip(&mut self, ms: u64) {
        self.wheel.skip(ms as u32);
        self.now_ms += ms;
    }
}

/// tokio-util's `DelayQueue` on a paused tokio runtime, whose clock is moved outside of what is measured.
pub struct Delay {
    // Before the runtime: it holds a timer of it.
    queue: DelayQueue<u64>,
    runtime: Rc<tokio::runtime::Runtime>,
    start: tokio::time::Instant,
    now_ns: u64,
}

impl Timers for Delay {
    type Handle = Key;

    fn new(capacity: usize) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .expect("a runtime without I/O can be built");
        let (queue, start) =
            runtime.block_on(async { (DelayQueue::with_capacity(capacity), tokio::time::Instant::now()) });
        Self { queue, runtime: Rc::new(runtime), start, now_ns: 0 }
    }

    #[inline]
    fn schedule(&mut self, deadline_ns: u64, value: u64) -> Key {
        self.queue.insert_at(value, self.start + Duration::from_nanos(deadline_ns))
    }

    #[inline]
    fn cancel(&mut self, handle: Key) {
        assert!(self.queue.try_remove(&handle).is_some(), "the timer is pending");
    }

    #[inline]
    fn poll(&mut self, _now_ns: u64, limit: usize, mut fire: impl FnMut(u64)) {
        let mut context = Context::from_waker(Waker::noop());
        for _ in 0..limit {
            match self.queue.poll_expired(&mut context) {
                Poll::Ready(Some(expired)) => fire(expired.into_inner()),
                Poll::Ready(None) | Poll::Pending => break,
            }
        }
    }

    fn advance(&mut self, now_ns: u64) {
        let step = Duration::from_nanos(now_ns - self.now_ns);
        self.now_ns = now_ns;
        self.runtime.block_on(tokio::time::advance(step));
    }

    fn inside<R>(&mut self, work: impl FnOnce(&mut Self) -> R) -> R {
        let runtime = Rc::clone(&self.runtime);
        let _guard = runtime.enter();
        work(self)
    }
}
