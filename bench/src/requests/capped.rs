//! The next request while the symbol of the most urgent ones may run no more.

use super::{Key, PriorityQueueContender};
use crate::single::Meter;
use tapeline_core::queue::{Config, Pending, Priority, Request, RequestQueue};
use tapeline_core::units::{SymbolId, UnixNanos};

/// The symbol that half of the requests are of, all of them before the others.
const HOT: u32 = 0;
/// Other symbols.
const OTHERS: u32 = 999;
/// Pops of a measured batch.
const BATCH: usize = 16;

/// Half of the requests, the ids below `half`, are of one symbol and come first. The others are of other symbols.
pub trait Capped {
    /// Pops that are measured together while the symbol is capped: fewer where one takes long.
    const CAPPED_BATCH: usize;

    /// With `size` requests.
    fn new(size: usize) -> Self;

    /// Takes the first request, and says its id.
    fn pop(&mut self) -> u32;

    /// Takes the first request that is not of the hot symbol, and says its id.
    fn pop_capped(&mut self) -> u32;

    /// Queues again what [`Capped::pop`] or [`Capped::pop_capped`] gave. Not measured.
    fn put_back(&mut self, id: u32, was_capped: bool);
}

fn symbol_of(id: u32, half: u32) -> u32 {
    if id < half { HOT } else { 1 + (id - half) % OTHERS }
}

/// A queue that knows of no limits: what may not run is popped, set aside, and pushed again.
pub struct SetAside<Q> {
    queue: Q,
    half: u32,
    aside: Vec<(u32, Key)>,
}

impl<Q: PriorityQueueContender> Capped for SetAside<Q> {
    const CAPPED_BATCH: usize = 1;

    fn new(size: usize) -> Self {
        let half = size as u32 / 2;
        let queue = Q::new(size, OTHERS as usize + 1);
        let mut all = Self { queue, half, aside: Vec::with_capacity(size) };
        (0..size as u32).for_each(|id| all.put_back(id, false));
        all
    }

    #[inline]
    fn pop(&mut self) -> u32 {
        self.queue.pop().expect("the queue is never empty").0
    }

    #[inline]
    fn pop_capped(&mut self) -> u32 {
        let first = loop {
            let (id, key) = self.queue.pop().expect("another symbol has a request");
            if id >= self.half {
                break id;
            }
            self.aside.push((id, key));
        };
        for (id, key) in self.aside.drain(..) {
            self.queue.push(id, HOT, key);
        }
        first
    }

    fn put_back(&mut self, id: u32, _was_capped: bool) {
        let key = Key { priority: if id < self.half { 0 } else { 7 }, deadline: u64::from(id) };
        self.queue.push(id, symbol_of(id, self.half), key);
    }
}

/// `tapeline_core::queue::RequestQueue`, once without a limit and once with one request of a symbol in flight, which the hot symbol has.
pub struct Limited {
    free: RequestQueue<u32>,
    capped: RequestQueue<u32>,
    half: u32,
    now_ns: u64,
}

impl Limited {
    fn request(&self, id: u32) -> Request<u32> {
        Request {
            symbol: SymbolId(symbol_of(id, self.half)),
            groups: 0,
            priority: if id < self.half { Priority::FIRST } else { Priority::LAST },
            expires_at: UnixNanos::ZERO,
            payload: id,
        }
    }
}

impl Capped for Limited {
    const CAPPED_BATCH: usize = BATCH;

    fn new(size: usize) -> Self {
        let queue = |in_flight_per_symbol| {
            RequestQueue::new(&Config {
                symbols: OTHERS as usize + 1,
                capacity: size,
                per_symbol: u32::MAX,
                in_flight_per_symbol,
                merge_window_ns: 0,
                ..Config::default()
            })
        };
        let mut both = Self { free: queue(u32::MAX), capped: queue(1), half: size as u32 / 2, now_ns: 0 };
        for id in 0..size as u32 {
            let request = both.request(id);
            for queue in [&mut both.free, &mut both.capped] {
                assert!(queue.push(UnixNanos(0), request).handle().is_some(), "there is room");
            }
        }
        let first = both.capped.pop(UnixNanos(0)).expect("the queue is not empty");
        assert_eq!(first.request.symbol, SymbolId(HOT));
        let again = both.capped.push(UnixNanos(0), first.request);
        assert!(again.handle().is_some() && both.capped.in_flight(SymbolId(HOT)) == 1);
        both
    }

    #[inline]
    fn pop(&mut self) -> u32 {
        let Pending { request, .. } = self.free.pop(UnixNanos(self.now_ns)).expect("the queue is never empty");
        request.payload
    }

    #[inline]
    fn pop_capped(&mut self) -> u32 {
        let now = UnixNanos(self.now_ns);
        let Pending { request, .. } = self.capped.pop(now).expect("another symbol has a request");
        request.payload
    }

    fn put_back(&mut self, id: u32, was_capped: bool) {
        self.now_ns += 1;
        let request = self.request(id);
        let queue = if was_capped { &mut self.capped } else { &mut self.free };
        assert!(queue.finish(request.symbol), "it was in flight");
        assert!(queue.push(UnixNanos(self.now_ns), request).handle().is_some(), "there is room");
    }
}

/// Pops with and without a capped symbol, each batch put back.
pub struct CappedPops<C> {
    queue: C,
    half: u32,
    popped: Vec<u32>,
}

impl<C: Capped> CappedPops<C> {
    /// With `size` requests, 64 at least.
    #[must_use]
    pub fn new(size: usize) -> Self {
        Self { queue: C::new(size), half: size as u32 / 2, popped: Vec::with_capacity(BATCH) }
    }

    /// A measured batch of each.
    ///
    /// # Panics
    /// When a request of the capped symbol came, one of another symbol while it was not capped, or one twice.
    pub fn step(&mut self, meter: &mut Meter) {
        for (phase, pops) in [(0, BATCH), (1, C::CAPPED_BATCH)] {
            let is_capped = phase == 1;
            self.popped.clear();
            meter.time(phase, || {
                for _ in 0..pops {
                    self.popped.push(if is_capped { self.queue.pop_capped() } else { self.queue.pop() });
                }
            });
            meter.count(phase, pops);
            for (index, id) in self.popped.iter().enumerate() {
                assert_eq!(*id >= self.half, is_capped, "request {id}");
                assert!(!self.popped[..index].contains(id), "request {id} came twice");
                self.queue.put_back(*id, is_capped);
            }
        }
    }
}
