//! What is done with queues, the same for every contender.

use super::{ClearSymbol, Key, Mutable, PriorityQueueContender};
use crate::single::Meter;
use crate::stats::{Rng, Zipf};
use std::collections::BTreeSet;

/// Symbols of requests.
const SYMBOLS: usize = 5_000;
/// Exponent of the distribution of symbols.
const ZIPF: f64 = 1.1;
/// Pairs of a measured batch.
const PAIRS: usize = 64;
/// Pops for as many pushes, where requests are also removed.
const POPS: usize = PAIRS * 3 / 4;
/// Mean time between a request and its deadline.
pub(super) const HORIZON: usize = 1 << 20;

/// How keys are made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Keys {
    /// The priority ages: it is part of the deadline, as a later one. A new key lies anywhere among those queued.
    Aged,
    /// Strict classes of 3 bits: under a full load the queue is a backlog of the lowest, which the higher ones pass.
    Classes,
}

impl Keys {
    /// In tables.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Aged => "aged keys",
            Self::Classes => "strict classes",
        }
    }

    fn make(self, now: u64, rng: &mut Rng) -> Key {
        let deadline = now + 1 + rng.index(2 * HORIZON) as u64;
        let priority = if self == Self::Classes { rng.index(8) as u8 } else { 0 };
        Key { priority, deadline }
    }
}

/// Pairs of push and pop at a steady size.
pub struct Hold<Q> {
    queue: Q,
    keys: Keys,
    rng: Rng,
    zipf: Zipf,
    free: u32,
    now: u64,
    /// Sum of the words of keys pushed less those popped.
    balance: u64,
    pairs: Vec<(u32, Key)>,
}

impl<Q: PriorityQueueContender> Hold<Q> {
    /// With `size` queued.
    #[must_use]
    pub fn new(size: usize, keys: Keys, seed: u64) -> Self {
        let (mut rng, zipf) = (Rng::new(seed), Zipf::new(SYMBOLS, ZIPF));
        let mut queue = Q::new(size + 1, SYMBOLS);
        let mut balance = 0u64;
        for id in 0..size as u32 {
            let mut key = keys.make(0, &mut rng);
            if keys == Keys::Classes {
                key.priority = 7;
            }
            balance = balance.wrapping_add(key.word());
            queue.push(id, zipf.draw(&mut rng) as u32, key);
        }
        Self { queue, keys, rng, zipf, free: size as u32, now: 0, balance, pairs: Vec::with_capacity(PAIRS) }
    }

    /// A measured batch.
    ///
    /// # Panics
    /// When the queue is empty.
    pub fn step(&mut self, meter: &mut Meter) {
        self.pairs.clear();
        for _ in 0..PAIRS {
            let key = self.keys.make(self.now, &mut self.rng);
            self.balance = self.balance.wrapping_add(key.word());
            self.pairs.push((self.zipf.draw(&mut self.rng) as u32, key));
        }
        let (mut popped, mut now, mut free) = (0u64, self.now, self.free);
        meter.time(0, || {
            for (symbol, key) in &self.pairs {
                self.queue.push(free, *symbol, *key);
                let (id, first) = self.queue.pop().expect("the queue is never empty");
                popped = popped.wrapping_add(first.word());
                now = now.max(first.deadline);
                free = id;
            }
        });
        meter.count(0, PAIRS);
        self.balance = self.balance.wrapping_sub(popped);
        (self.now, self.free) = (now, free);
    }

    /// Pops all, and checks that no key was lost or changed. Gives the keys as they came.
    ///
    /// # Panics
    /// When one was.
    pub fn drain(mut self) -> Vec<Key> {
        let keys: Vec<Key> = std::iter::from_fn(|| self.queue.pop()).map(|(_, key)| key).collect();
        let sum = keys.iter().fold(0u64, |sum, key| sum.wrapping_add(key.word()));
        assert_eq!(self.balance, sum, "a key was lost or changed");
        keys
    }
}

/// A request of a batch: its id, symbol and key.
type Drawn = (u32, u32, Key);

// Not inlined, and with names of their own: `count` collects by them.

#[inline(never)]
fn mutate_push<Q: Mutable>(queue: &mut Q, batch: &[Drawn]) {
    for (id, symbol, key) in batch {
        queue.push(*id, *symbol, *key);
    }
}

#[inline(never)]
fn mutate_pop<Q: Mutable>(queue: &mut Q, popped: &mut [(u32, Key)]) {
    for popped in popped {
        *popped = queue.pop().expect("the queue is not empty");
    }
}

#[inline(never)]
fn mutate_change<Q: Mutable>(queue: &mut Q, batch: &[Drawn]) {
    for (id, _, key) in batch {
        queue.change(*id, *key);
    }
}

#[inline(never)]
fn mutate_remove<Q: Mutable>(queue: &mut Q, batch: &[Drawn]) {
    for (id, ..) in batch {
        queue.remove(*id);
    }
}

/// Pushes, pops, changes and removals, 4 to 3 to 2 to 1.
pub struct Mutate<Q> {
    queue: Q,
    rng: Rng,
    zipf: Zipf,
    now: u64,
    free: Vec<u32>,
    /// Queued ids in random order, and by id its place there.
    live: Vec<u32>,
    place: Vec<u32>,
    batch: Vec<Drawn>,
    popped: [(u32, Key); POPS],
}

impl<Q: Mutable> Mutate<Q> {
    /// With `size` queued.
    #[must_use]
    pub fn new(size: usize, seed: u64) -> Self {
        let capacity = size + PAIRS;
        let mut work = Self {
            queue: Q::new(capacity, SYMBOLS),
            rng: Rng::new(seed),
            zipf: Zipf::new(SYMBOLS, ZIPF),
            now: 0,
            free: (0..capacity as u32).rev().collect(),
            live: Vec::with_capacity(capacity),
            place: vec![0; capacity],
            batch: Vec::with_capacity(PAIRS),
            popped: [(0, Key::from_word(0)); POPS],
        };
        for _ in 0..size {
            work.draw_new();
            let (id, symbol, key) = work.batch.pop().expect("one was drawn");
            work.queue.push(id, symbol, key);
        }
        work
    }

    /// Draws a new request into the batch.
    fn draw_new(&mut self) {
        let id = self.free.pop().expect("there is room");
        self.place[id as usize] = self.live.len() as u32;
        self.live.push(id);
        let key = Keys::Aged.make(self.now, &mut self.rng);
        self.batch.push((id, self.zipf.draw(&mut self.rng) as u32, key));
    }

    fn random(&mut self) -> u32 {
        self.live[self.rng.index(self.live.len())]
    }

    fn forget(&mut self, id: u32) {
        let place = self.place[id as usize];
        assert_eq!(self.live[place as usize], id, "the request is queued");
        self.live.swap_remove(place as usize);
        if let Some(moved) = self.live.get(place as usize) {
            self.place[*moved as usize] = place;
        }
        self.free.push(id);
    }

    /// A measured batch of each.
    ///
    /// # Panics
    /// When the queue gives out a request that it does not have.
    pub fn step(&mut self, meter: &mut Meter) {
        self.batch.clear();
        (0..PAIRS).for_each(|_| self.draw_new());
        meter.time(0, || mutate_push(&mut self.queue, &self.batch));
        meter.count(0, self.batch.len());

        meter.time(1, || mutate_pop(&mut self.queue, &mut self.popped));
        meter.count(1, POPS);
        for (id, key) in self.popped {
            self.now = self.now.max(key.deadline);
            self.forget(id);
        }

        self.batch.clear();
        for _ in 0..PAIRS / 2 {
            let (id, key) = (self.random(), Keys::Aged.make(self.now, &mut self.rng));
            self.batch.push((id, 0, key));
        }
        meter.time(2, || mutate_change(&mut self.queue, &self.batch));
        meter.count(2, self.batch.len());

        self.batch.clear();
        for _ in 0..PAIRS / 4 {
            let id = self.random();
            self.forget(id);
            self.batch.push((id, 0, Key { priority: 0, deadline: 0 }));
        }
        meter.time(3, || mutate_remove(&mut self.queue, &self.batch));
        meter.count(3, self.batch.len());
    }

    /// The queue, when the work is over.
    pub(super) fn into_queue(self) -> Q {
        self.queue
    }
}

/// Requests of one symbol.
const PER_SYMBOL: usize = 10;

/// Symbols are cleared one by one and filled again.
pub struct Clear<Q> {
    queue: Q,
    symbols: usize,
    rng: Rng,
}

impl<Q: ClearSymbol> Clear<Q> {
    /// With ten requests for each of `symbols`.
    #[must_use]
    pub fn new(symbols: usize, seed: u64) -> Self {
        let mut work = Self { queue: Q::new(symbols * PER_SYMBOL, symbols), symbols, rng: Rng::new(seed) };
        (0..symbols as u32).for_each(|symbol| work.fill(symbol));
        work
    }

    fn ids(symbol: u32) -> [u32; PER_SYMBOL] {
        std::array::from_fn(|index| symbol * PER_SYMBOL as u32 + index as u32)
    }

    fn fill(&mut self, symbol: u32) {
        for id in Self::ids(symbol) {
            self.queue.push(id, symbol, Keys::Aged.make(0, &mut self.rng));
        }
    }

    /// One symbol.
    ///
    /// # Panics
    /// When another number of requests was dropped than there was.
    pub fn step(&mut self, meter: &mut Meter) {
        let symbol = self.rng.index(self.symbols) as u32;
        let ids = Self::ids(symbol);
        let dropped = meter.time(0, || self.queue.clear_symbol(symbol, &ids));
        meter.count(0, 1);
        assert_eq!(dropped, PER_SYMBOL, "requests of symbol {symbol}");
        self.fill(symbol);
    }
}

/// Holds a queue at several sizes with both kinds of keys, and compares a random sequence with a `BTreeSet`.
///
/// # Panics
/// When the contender is wrong.
pub fn check<Q: PriorityQueueContender>(name: &str) {
    for (size, keys) in [(1, Keys::Aged), (100, Keys::Aged), (100, Keys::Classes), (1_000, Keys::Classes)] {
        let mut work = Hold::<Q>::new(size, keys, 3);
        let mut meter = Meter::new(1);
        (0..50).for_each(|_| work.step(&mut meter));
        let keys = work.drain();
        assert!(keys.len() == size && keys.is_sorted(), "{name}: {} of {size}, in order or not", keys.len());
    }
    let (mut queue, mut expected, mut rng) = (Q::new(200, 10), BTreeSet::new(), Rng::new(9));
    let mut free: Vec<u32> = (0..200).collect();
    for step in 0..20_000 {
        if !free.is_empty() && (expected.is_empty() || rng.index(2) == 0) {
            // Distinct keys: the deadline has the step in it.
            let key = Key { priority: rng.index(8) as u8, deadline: (rng.index(1_000) * 20_000 + step) as u64 };
            let id = free.swap_remove(rng.index(free.len()));
            queue.push(id, id % 10, key);
            expected.insert((key, id));
        } else {
            let (key, id) = expected.pop_first().expect("not empty");
            assert_eq!(queue.pop(), Some((id, key)), "{name}, step {step}");
            free.push(id);
        }
    }
    while let Some((key, id)) = expected.pop_first() {
        assert_eq!(queue.pop(), Some((id, key)), "{name}, at the end");
    }
    assert_eq!(queue.pop(), None, "{name}");
}

/// As [`check`], with changes and removals.
///
/// # Panics
/// When the contender is wrong.
pub fn check_mutable<Q: Mutable>(name: &str) {
    let mut work = Mutate::<Q>::new(500, 3);
    let mut meter = Meter::new(4);
    (0..50).for_each(|_| work.step(&mut meter));

    let (mut queue, mut expected, mut rng) = (Q::new(100, 10), BTreeSet::new(), Rng::new(9));
    let mut key_of: Vec<Option<Key>> = vec![None; 100];
    for step in 0..20_000 {
        let id = rng.index(100) as u32;
        let key = Key { priority: rng.index(8) as u8, deadline: (rng.index(1_000) * 20_000 + step) as u64 };
        match (key_of[id as usize], rng.index(4)) {
            (None, _) => {
                queue.push(id, id % 10, key);
                expected.insert((key, id));
                key_of[id as usize] = Some(key);
            }
            (Some(old), 0) => {
                queue.remove(id);
                assert!(expected.remove(&(old, id)));
                key_of[id as usize] = None;
            }
            (Some(old), 1) => {
                queue.change(id, key);
                assert!(expected.remove(&(old, id)));
                expected.insert((key, id));
                key_of[id as usize] = Some(key);
            }
            (Some(_), _) => {
                let (key, first) = expected.pop_first().expect("not empty");
                assert_eq!(queue.pop(), Some((first, key)), "{name}, step {step}");
                key_of[first as usize] = None;
            }
        }
    }
}

/// Clears symbols, and checks what is left.
///
/// # Panics
/// When the contender is wrong.
pub fn check_clear<Q: ClearSymbol>(name: &str) {
    let mut work = Clear::<Q>::new(50, 3);
    let mut meter = Meter::new(1);
    (0..200).for_each(|_| work.step(&mut meter));
    let dropped = work.queue.clear_symbol(7, &Clear::<Q>::ids(7));
    assert_eq!(dropped, PER_SYMBOL, "{name}");
    let mut left: Vec<u32> = std::iter::from_fn(|| work.queue.pop()).map(|(id, _)| id).collect();
    left.sort_unstable();
    let expected: Vec<u32> = (0..500).filter(|id| id / 10 != 7).collect();
    assert_eq!(left, expected, "{name}");
}
