//! The whole request queue: a heap of symbols over a heap a symbol, FIFO among equals, turns, limits, a timer a request.

use super::work::{HORIZON, Hold, Keys, Mutate};
use super::{ClearSymbol, Key, Mutable, PriorityQueueContender};
use crate::single::Meter;
use crate::stats::Rng;
use std::collections::{BTreeMap, BTreeSet};
use tapeline_core::limits::REQUEST_AGING_NS_MAX;
use tapeline_core::queue::{Config, PRIORITIES, Pending, Priority, Pushed, Request, RequestQueue};
use tapeline_core::slab::Handle;
use tapeline_core::units::{SymbolId, UnixNanos};

/// Head start of a class where the priority ages: a new deadline is within eight of them.
const AGING_BITS: u32 = (2 * HORIZON).ilog2() - PRIORITIES.ilog2();
/// From its queueing to the expiry of a request. None waits for that long.
const EXPIRY_NS: u64 = 60 * 1_000_000_000;
/// Shard time between two requests of strict classes.
const STEP_NS: u64 = 1_024;
/// Most requests that expire with one pop.
const BUDGET: usize = 64;

const _: () = assert!(8 << AGING_BITS == 2 * HORIZON, "eight classes are the range of new deadlines");

/// `tapeline_core::queue::RequestQueue` with what a request costs there: its timer, its place among those of its symbol, its
/// handle kept by id, a look at what is due before each pop, and the end of its run after it.
///
/// The queue makes its keys itself, of class and time of queueing, so that it goes by those of the other contenders as nearly as 3 bits
/// let it. `AGES`: shard time is that of the latest deadline popped, and the class says how far the deadline is from there. Else the class
/// is the priority, and its head start is longer than the run. Nothing is merged, since no two requests of the others are.
pub struct Whole<const AGES: bool> {
    queue: RequestQueue<[u64; 2]>,
    /// By id, stale once the request has left.
    handles: Box<[Handle]>,
    now_ns: u64,
}

impl<const AGES: bool> Whole<AGES> {
    /// With turns between symbols within 2^`turn_bits` ns.
    fn with_turns(capacity: usize, symbols: usize, turn_bits: u32) -> Self {
        let queue = RequestQueue::new(&Config {
            symbols,
            capacity,
            // The distribution of symbols is the duel's: the hottest may have all of them.
            per_symbol: u32::MAX,
            aging_step_ns: if AGES { 1 << AGING_BITS } else { REQUEST_AGING_NS_MAX },
            merge_window_ns: 0,
            turn_bits,
            ..Config::default()
        });
        Self { queue, handles: vec![Handle::NULL; capacity].into(), now_ns: 0 }
    }

    #[inline]
    fn class(&self, key: Key) -> Priority {
        let class = if AGES { key.deadline.saturating_sub(self.now_ns) >> AGING_BITS } else { u64::from(key.priority) };
        Priority::new(class.min(7) as u8).unwrap_or(Priority::LAST)
    }

    /// What the queue orders by, apart from turns.
    fn effective_ns(&self, pending: &Pending<[u64; 2]>) -> u64 {
        pending.queued_at.0 + u64::from(pending.request.priority.class()) * self.queue.config().aging_step_ns
    }

    #[inline]
    fn pop_pending(&mut self) -> Option<Pending<[u64; 2]>> {
        let now = UnixNanos(self.now_ns);
        let _ = self.queue.expire(now, BUDGET, |pending| panic!("{pending:?} expired before its time"));
        let pending = self.queue.pop(now)?;
        assert!(self.queue.finish(pending.request.symbol), "it was in flight");
        if AGES {
            self.now_ns = self.now_ns.max(Key::from_word(pending.request.payload[1]).deadline);
        }
        Some(pending)
    }
}

impl<const AGES: bool> PriorityQueueContender for Whole<AGES> {
    fn new(capacity: usize, symbols: usize) -> Self {
        Self::with_turns(capacity, symbols, Config::default().turn_bits)
    }

    #[inline]
    fn push(&mut self, id: u32, symbol: u32, key: Key) {
        if !AGES {
            self.now_ns += STEP_NS;
        }
        let request = Request {
            symbol: SymbolId(symbol),
            groups: 0,
            priority: self.class(key),
            expires_at: UnixNanos(self.now_ns + EXPIRY_NS),
            payload: [u64::from(id), key.word()],
        };
        match self.queue.push(UnixNanos(self.now_ns), request) {
            Pushed::Queued(handle) => self.handles[id as usize] = handle,
            other => panic!("request {id} of symbol {symbol}: {other:?}"),
        }
    }

    #[inline]
    fn pop(&mut self) -> Option<(u32, Key)> {
        let [id, word] = self.pop_pending()?.request.payload;
        Some((id as u32, Key::from_word(word)))
    }
}

impl<const AGES: bool> Mutable for Whole<AGES> {
    #[inline]
    fn change(&mut self, id: u32, key: Key) {
        assert!(self.queue.reprioritise(self.handles[id as usize], self.class(key)), "the request is queued");
    }

    #[inline]
    fn remove(&mut self, id: u32) {
        assert!(self.queue.remove(self.handles[id as usize]).is_some(), "the request is queued");
    }
}

impl<const AGES: bool> ClearSymbol for Whole<AGES> {
    fn clear_symbol(&mut self, symbol: u32, _ids: &[u32]) -> usize {
        self.queue.clear(SymbolId(symbol), |_| {})
    }
}

/// Requests of a random sequence are compared with a `BTreeMap`, without turns; with them, spans come in order and so do the requests of a
/// symbol; none is lost in any of the workloads; and all expire in the end.
///
/// # Panics
/// When the queue is wrong.
pub fn check_whole() {
    check_order::<true>();
    check_order::<false>();
    check_turns::<true>();
    check_turns::<false>();
    let mut meter = Meter::new(4);
    for (size, keys) in [(1, Keys::Aged), (100, Keys::Aged), (100, Keys::Classes), (1_000, Keys::Classes)] {
        if keys == Keys::Aged {
            let mut work = Hold::<Whole<true>>::new(size, keys, 3);
            (0..50).for_each(|_| work.step(&mut meter));
            assert_eq!(work.drain().len(), size);
        } else {
            let mut work = Hold::<Whole<false>>::new(size, keys, 3);
            (0..50).for_each(|_| work.step(&mut meter));
            let keys = work.drain();
            assert!(keys.len() == size && keys.is_sorted_by_key(|key| key.priority), "classes are strict");
        }
    }
    let mut work = Mutate::<Whole<true>>::new(500, 3);
    (0..50).for_each(|_| work.step(&mut meter));
    let Whole { mut queue, now_ns, .. } = work.into_queue();
    queue.assert_invariants();
    let (pending, mut expired) = (queue.len(), 0);
    let end = UnixNanos(now_ns + EXPIRY_NS + queue.config().tick_ns);
    assert!(!queue.expire(end, usize::MAX, |_| expired += 1).more_due);
    assert_eq!(
        (pending, expired, queue.len()),
        (500, 500, 0),
        "each batch takes out as many as it queues, and all expire"
    );
}

/// Without turns the order is that of effective times, then of queueing.
fn check_order<const AGES: bool>() {
    let (mut whole, mut rng) = (Whole::<AGES>::with_turns(100, 10, 0), Rng::new(9));
    // By id: what it is ordered by. Requests of one effective time differ in turns: they are compared as a set.
    let mut expected: BTreeMap<u64, BTreeSet<u32>> = BTreeMap::new();
    let mut effective_ns: Vec<Option<u64>> = vec![None; 100];
    for step in 0..20_000u64 {
        let id = rng.index(100) as u32;
        let deadline = whole.now_ns + 1 + rng.index(2 * HORIZON) as u64;
        let key = Key { priority: rng.index(8) as u8, deadline };
        let forget = |expected: &mut BTreeMap<u64, BTreeSet<u32>>, effective_ns: u64, id: u32| {
            let ids = expected.get_mut(&effective_ns).expect("it is queued");
            assert!(ids.remove(&id), "step {step}: request {id} at {effective_ns}");
            if ids.is_empty() {
                expected.remove(&effective_ns);
            }
        };
        match (effective_ns[id as usize], rng.index(4)) {
            (Some(old), 0) => {
                whole.remove(id);
                forget(&mut expected, old, id);
                effective_ns[id as usize] = None;
                continue;
            }
            (Some(old), 1) => {
                whole.change(id, key);
                forget(&mut expected, old, id);
            }
            (Some(_), _) => {
                let first = whole.pop_pending().expect("not empty");
                let (time, id) = (whole.effective_ns(&first), first.request.payload[0] as u32);
                assert_eq!(Some(time), expected.first_key_value().map(|(time, _)| *time), "step {step}");
                forget(&mut expected, time, id);
                effective_ns[id as usize] = None;
                continue;
            }
            (None, _) => whole.push(id, id % 10, key),
        }
        let pending = whole.queue.get(whole.handles[id as usize]).expect("it is queued");
        let time = whole.effective_ns(&pending);
        // The model's own arithmetic, for what was just queued.
        if pending.queued_at.0 == whole.now_ns {
            let class = if AGES { (deadline - whole.now_ns) >> AGING_BITS } else { u64::from(key.priority) };
            let step_ns = if AGES { 1 << AGING_BITS } else { REQUEST_AGING_NS_MAX };
            assert_eq!(time, whole.now_ns + class.min(7) * step_ns, "step {step}");
        }
        expected.entry(time).or_default().insert(id);
        effective_ns[id as usize] = Some(time);
    }
    assert_eq!(whole.queue.len(), expected.values().map(BTreeSet::len).sum::<usize>());
}

/// With turns, spans come in order, and so do the requests of each symbol.
fn check_turns<const AGES: bool>() {
    let (mut whole, mut rng) = (Whole::<AGES>::new(1_000, 10), Rng::new(5));
    for id in 0..1_000 {
        let key = Key { priority: rng.index(8) as u8, deadline: 1 + rng.index(2 * HORIZON) as u64 };
        whole.push(id, rng.index(10) as u32, key);
    }
    let turn_bits = whole.queue.config().turn_bits;
    let (mut last_span, mut last, mut seen) = (0, [(0, 0); 10], BTreeSet::new());
    while let Some(pending) = whole.queue.pop(UnixNanos(whole.now_ns)) {
        assert!(whole.queue.finish(pending.request.symbol));
        let (time, id) = (whole.effective_ns(&pending), pending.request.payload[0]);
        assert!(time >> turn_bits >= last_span, "request {id} is behind its span");
        // Ids were given in the order of queueing.
        let last = &mut last[pending.request.symbol.index()];
        assert!((time, id) >= *last, "request {id} is behind another of its symbol");
        (last_span, *last) = (time >> turn_bits, (time, id));
        assert!(seen.insert(id), "request {id} came twice");
    }
    assert_eq!(seen.len(), 1_000, "requests that came");
}
