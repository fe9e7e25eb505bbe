//! The naive twin of the dedup window: two maps, and every rule spelt out. Beside it the promises that the window makes, checked
//! against all that was ever seen.
#![allow(dead_code, reason = "each test binary uses its own part")]

use std::collections::BTreeMap;
use tapeline_core::dedup::{DedupCounts, DedupWindow, Seen};
use tapeline_core::event::Identity;
use tapeline_core::section;
use tapeline_core::testing::{Prng, without_allocation};
use tapeline_core::units::{SourceId, SymbolId, UnixNanos};

type Key = (u8, u32, u64, u16, u8);

fn key(id: Identity) -> Key {
    (id.source.0, id.symbol.0, id.seq, id.part, id.pad)
}

/// What the window should do. The value of an entry says whether its source has begun an epoch since.
#[derive(Default)]
pub(crate) struct Twin {
    capacity: usize,
    window_ns: u64,
    until_ns: u64,
    now_ns: u64,
    current: BTreeMap<Key, bool>,
    old: BTreeMap<Key, bool>,
    filled: usize,
    pub(crate) counts: DedupCounts,
}

impl Twin {
    fn turn(&mut self) -> u64 {
        let forgotten = self.old.len() as u64;
        self.old = std::mem::take(&mut self.current);
        self.filled = 0;
        forgotten
    }

    fn advance(&mut self, now: u64) {
        if now < self.until_ns || self.until_ns == u64::MAX {
            return;
        }
        let over = (now - self.until_ns) / self.window_ns + 1;
        for _ in 0..over.min(2) {
            self.counts.turns_by_age += u64::from(self.filled > 0);
            self.counts.expired += self.turn();
        }
        self.now_ns = self.now_ns.max(now);
        let until = u128::from(self.until_ns) + u128::from(over) * u128::from(self.window_ns);
        self.until_ns = u64::try_from(until).unwrap_or(u64::MAX);
    }

    fn write(&mut self, key: Key, now: u64) {
        self.now_ns = self.now_ns.max(now);
        // What is written anew is neither expired nor evicted.
        self.current.remove(&key);
        self.old.remove(&key);
        if self.filled == self.capacity {
            self.counts.turns_by_count += 1;
            self.counts.evicted += self.turn();
            self.until_ns = self.now_ns.saturating_add(self.window_ns);
        }
        self.current.insert(key, false);
        self.filled += 1;
    }

    fn contains(&self, id: Identity, now: u64) -> bool {
        let key = key(id);
        let over = if now < self.until_ns || self.until_ns == u64::MAX {
            0
        } else {
            (now - self.until_ns) / self.window_ns + 1
        };
        let current = self.current.get(&key) == Some(&false);
        let old = self.old.get(&key) == Some(&false);
        match over {
            0 => current || old,
            1 => current,
            _ => false,
        }
    }

    fn see(&mut self, id: Identity, now: u64) -> Seen {
        self.advance(now);
        let key = key(id);
        if self.current.get(&key) == Some(&false) {
            self.counts.duplicate += 1;
            return Seen::Duplicate;
        }
        if self.old.get(&key) == Some(&false) {
            self.counts.duplicate += 1;
            self.counts.refreshed += 1;
            self.write(key, now);
            return Seen::Duplicate;
        }
        if self.capacity == 0 {
            self.counts.unremembered += 1;
            return Seen::Unremembered;
        }
        self.counts.new += 1;
        self.counts.replaced += u64::from(self.current.contains_key(&key) || self.old.contains_key(&key));
        self.write(key, now);
        Seen::New
    }

    fn forget_source(&mut self, source: u8) {
        self.counts.epochs += 1;
        for (key, forgotten) in self.current.iter_mut().chain(&mut self.old) {
            *forgotten |= key.0 == source;
        }
    }

    fn len(&self) -> usize {
        self.current.len() + self.old.len()
    }
}

/// The last sight of an identity in the present epoch of its source.
struct Sight {
    ns: u64,
    writes: u64,
}

/// A window and its twin, which do the same things, and the promises.
pub(crate) struct Pair {
    pub(crate) window: DedupWindow,
    pub(crate) twin: Twin,
    sights: BTreeMap<Key, Sight>,
    /// Off in runs whose time goes backward: the promises are about shard time, which does not.
    promises: bool,
    pub(crate) restarts: u64,
    pub(crate) sure_duplicates: u64,
    pub(crate) sure_news: u64,
}

/// Where the stamps, floors and buckets stand in a snapshot.
const STAMPS_AT: usize = section::HEADER_BYTES + 4 * 8 + 11 * 8;
const FLOORS_AT: usize = STAMPS_AT + 8 * 4;
const BUCKETS_AT: usize = FLOORS_AT + 256 * 4;

/// A window as it would be if its first stamp were `stamps` later: what no test reaches by counting.
pub(crate) fn aged(window: &DedupWindow, stamps: u32) -> DedupWindow {
    let buckets = (window.snapshot_bytes() - BUCKETS_AT) / 64;
    let cells = (0..buckets).flat_map(|bucket| (0..4).map(move |i| BUCKETS_AT + bucket * 64 + 48 + i * 4));
    let floors = (0..256).map(|i| FLOORS_AT + i * 4);
    with_stamps_added(window, stamps, (0..3).map(|i| STAMPS_AT + i * 4).chain(floors).chain(cells))
}

/// An empty window as it would be `stamps` later if nothing had swept it meanwhile.
pub(crate) fn aged_unswept(window: &DedupWindow, stamps: u32) -> DedupWindow {
    assert!(window.is_empty());
    with_stamps_added(window, stamps, (0..3).map(|i| STAMPS_AT + i * 4))
}

fn with_stamps_added(window: &DedupWindow, stamps: u32, places: impl Iterator<Item = usize>) -> DedupWindow {
    let mut bytes = Vec::new();
    window.snapshot(&mut bytes);
    for at in places {
        let word: &mut [u8; 4] = (&mut bytes[at..at + 4]).try_into().unwrap();
        *word = u32::from_le_bytes(*word).wrapping_add(stamps).to_le_bytes();
    }
    section::seal(&mut bytes);
    DedupWindow::restore(window.capacity(), window.window_ns(), &bytes).unwrap()
}

impl Pair {
    pub(crate) fn new(capacity: usize, window_ns: u64, seed: u64, stamps: u32, promises: bool) -> Self {
        let window = aged(&DedupWindow::new(capacity, window_ns, seed), stamps);
        let twin = Twin { capacity, window_ns, ..Twin::default() };
        Self { window, twin, sights: BTreeMap::new(), promises, restarts: 0, sure_duplicates: 0, sure_news: 0 }
    }

    /// Compares an answer with the twin's and with the promises.
    fn judge(&mut self, id: Identity, now: u64, seen: Seen) {
        let writes = |twin: &Twin| twin.counts.new + twin.counts.refreshed;
        let before = writes(&self.twin);
        assert_eq!(seen, self.twin.see(id, now), "{id:?} at {now}");
        if !self.promises {
            return;
        }
        let capacity = self.twin.capacity as u64;
        if let Some(sight) = self.sights.get(&key(id)) {
            let (age, writes) = (now - sight.ns, before - sight.writes);
            if age < self.twin.window_ns && writes < capacity {
                assert_eq!(seen, Seen::Duplicate, "{id:?} seen {age} ns and {writes} writes ago");
                self.sure_duplicates += 1;
            }
            if u128::from(age) >= 2 * u128::from(self.twin.window_ns) || writes >= 2 * capacity {
                assert_ne!(seen, Seen::Duplicate, "{id:?} seen {age} ns and {writes} writes ago");
                self.sure_news += 1;
            }
        } else {
            assert_ne!(seen, Seen::Duplicate, "{id:?} was never seen in this epoch");
        }
        if seen != Seen::Unremembered {
            self.sights.insert(key(id), Sight { ns: now, writes: writes(&self.twin) });
        }
    }

    pub(crate) fn see(&mut self, id: Identity, now: u64) -> Seen {
        let seen = without_allocation(|| self.window.seen_or_insert(id, UnixNanos(now)));
        self.judge(id, now, seen);
        seen
    }

    pub(crate) fn see_batch(&mut self, ids: &[Identity], times: &[UnixNanos]) {
        let mut seen = vec![Seen::Exempt; ids.len()];
        without_allocation(|| self.window.seen_or_insert_batch(ids, times, &mut seen));
        for ((&id, now), seen) in ids.iter().zip(times).zip(seen) {
            self.judge(id, now.0, seen);
        }
    }

    pub(crate) fn contains(&self, id: Identity, now: u64) {
        let contains = without_allocation(|| self.window.contains(id, UnixNanos(now)));
        assert_eq!(contains, self.twin.contains(id, now), "{id:?} at {now}");
    }

    pub(crate) fn advance(&mut self, now: u64) {
        without_allocation(|| self.window.advance(UnixNanos(now)));
        self.twin.advance(now);
        self.compare();
    }

    pub(crate) fn forget_source(&mut self, source: u8) {
        without_allocation(|| self.window.forget_source(SourceId(source)));
        self.twin.forget_source(source);
        self.sights.retain(|key, _| key.0 != source);
    }

    pub(crate) fn forget_all(&mut self) {
        without_allocation(|| self.window.forget_all());
        (0..=255).for_each(|source| self.twin.forget_source(source));
        self.sights.clear();
    }

    /// Goes on with a window that was made from a snapshot.
    pub(crate) fn restart(&mut self) {
        let mut bytes = Vec::with_capacity(self.window.snapshot_bytes());
        without_allocation(|| self.window.snapshot(&mut bytes));
        assert_eq!(bytes.len(), self.window.snapshot_bytes());
        self.window = DedupWindow::restore(self.twin.capacity, self.twin.window_ns, &bytes).unwrap();
        let mut again = Vec::new();
        self.window.snapshot(&mut again);
        assert!(again == bytes, "a restored window has the same snapshot");
        self.restarts += 1;
    }

    pub(crate) fn compare(&self) {
        assert_eq!(self.window.len(), self.twin.len());
        assert_eq!(self.window.is_empty(), self.twin.len() == 0);
        assert_eq!(*self.window.counts(), self.twin.counts);
    }

    pub(crate) fn compare_all(&self) {
        self.compare();
        self.window.assert_invariants();
    }
}

/// A random life of a pair.
pub(crate) struct Life {
    pub(crate) pair: Pair,
    prng: Prng,
    now: u64,
    recent: Vec<Identity>,
    universe: usize,
    backward: bool,
}

impl Life {
    pub(crate) fn new(seed: u64, capacity: usize, window_ns: u64, start: u64, stamps: u32, backward: bool) -> Self {
        let mut prng = Prng::new(seed);
        let universe = [capacity / 2 + 2, 2 * capacity + 3, 6 * capacity + 5][prng.index(3)];
        Self {
            pair: Pair::new(capacity, window_ns, seed, stamps, !backward),
            now: start,
            recent: vec![Identity::default(); 64],
            prng,
            universe,
            backward,
        }
    }

    fn identity(&mut self) -> Identity {
        let prng = &mut self.prng;
        if prng.one_in(6) {
            return self.recent[prng.index(64)];
        }
        let number = prng.index(self.universe) as u64;
        // Identities that differ in one field only, and the largest values of each.
        let id = Identity {
            seq: if number & 64 == 0 { number >> 4 } else { u64::MAX - (number >> 4) },
            symbol: SymbolId(if number & 1 == 0 { 3 } else { u32::MAX }),
            part: if number & 2 == 0 { 0 } else { u16::MAX },
            source: SourceId([0, 1, 7, 255][(number >> 2 & 3) as usize]),
            pad: 0,
        };
        let at = prng.index(64);
        self.recent[at] = id;
        id
    }

    /// The next time: mostly the same or a little later, now and then exactly where a generation ends, or far away.
    fn step_time(&mut self) -> u64 {
        let window = self.pair.twin.window_ns;
        let until = self.pair.twin.until_ns;
        let prng = &mut self.prng;
        let near = window.checked_ilog2().unwrap_or(0);
        let capacity = self.pair.twin.capacity as u64 + 1;
        let next = match prng.index(400) {
            0 => until.saturating_sub(1),
            1 => until,
            2 => until.saturating_add(window - 1),
            3 => until.saturating_add(window),
            4 => self.now.saturating_add(window).saturating_sub(prng.in_range(0..2)),
            5 => self.now.saturating_add(window.saturating_mul(2)).saturating_sub(prng.in_range(0..2)),
            6 => self.now.saturating_add(prng.log_uniform((near + 4).min(64))),
            7 if self.backward => self.now.saturating_sub(prng.log_uniform((near + 3).min(64))),
            8 if self.now < u64::MAX / 2 && prng.one_in(20) => self.now.saturating_add(prng.log_uniform(62)),
            9..200 => self.now.saturating_add(prng.in_range(0..(window / capacity / 2).max(1) + 1)),
            _ => self.now,
        };
        self.now = if self.backward { next } else { next.max(self.now) };
        self.now
    }

    /// One random operation.
    pub(crate) fn step(&mut self) {
        match self.prng.index(2_000) {
            0..=2 => {
                let source = [0, 1, 7, 255, 9][self.prng.index(5)];
                self.pair.forget_source(source);
            }
            3 if self.prng.one_in(20) => self.pair.forget_all(),
            4..=6 if self.prng.one_in(3) => self.pair.restart(),
            7..=16 => {
                let now = self.step_time();
                self.pair.advance(now);
            }
            17..=60 => {
                let count = self.prng.index(40);
                let ids: Vec<_> = (0..count).map(|_| self.identity()).collect();
                let times: Vec<_> = (0..count).map(|_| UnixNanos(self.step_time())).collect();
                self.pair.see_batch(&ids, &times);
            }
            61..=200 => {
                let id = self.identity();
                let ahead = self.pair.twin.window_ns.saturating_mul(self.prng.in_range(0..4) / 2);
                let now = self.now.saturating_add(ahead);
                self.pair.contains(id, now);
            }
            _ => {
                let now = self.step_time();
                let id = self.identity();
                let _ = self.pair.see(id, now);
            }
        }
    }
}
