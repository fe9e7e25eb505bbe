//! `duel dedup`: has this key been seen within the window (P9)?
//!
//! To add a contender, implement [`DedupContender`] and give it a row in `entries`. [`check`] is its test.

mod fingerprints;
mod ours;
#[cfg(feature = "peers")]
mod peers;
mod standard;

use crate::duel::{self, Entry, Options, Role};
use crate::memory::DependentLoad;
use crate::report::{Claim, Rival, Table};
use crate::single::{self, Meter};
use crate::stats::{Rng, Zipf};
pub use fingerprints::Fingerprints;
pub use ours::Ours;
#[cfg(feature = "peers")]
pub use peers::{Get, Hashbrown, Lru};
pub use standard::Std;
use std::collections::VecDeque;

/// The window, ns.
pub const WINDOW_NS: u64 = 1_000_000_000;
/// Metrics of a slice: a stream with 5 % duplicates, its expiry included; keys that are there; the same in batches of 16.
pub const METRICS: [&str; 3] = ["stream_ns", "hit_ns", "hit16_ns"];
/// Metrics of `dedup expiry`.
pub const EXPIRY_METRICS: [&str; 1] = ["expiry_ns"];
/// Keys of a measured batch.
const BATCH: usize = 64;
/// Keys of a call where the contender takes several.
const CALL: usize = 16;
/// One key in so many is a duplicate.
const DUPLICATE_ONE_IN: usize = 20;
/// Bytes of a key and its time: what the control takes per key.
const ENTRY_BYTES: usize = 16;

/// A filter of duplicates within a window of time.
pub trait DedupContender {
    /// After how many windows a key that did not come again is forgotten at the latest; after one at the earliest.
    const WINDOWS: u64 = 1;

    /// For about `capacity` keys within [`WINDOW_NS`].
    fn new(capacity: usize) -> Self;

    /// Whether `key` was seen less than a window before `now_ns`, which never goes backward; if not, it is seen now. The
    /// contender drops what is older when it sees fit.
    fn seen_or_insert(&mut self, key: u64, now_ns: u64) -> bool;

    /// As [`DedupContender::seen_or_insert`], for several keys.
    fn seen_or_insert_all(&mut self, keys: &[u64], now_ns: u64, seen: &mut [bool]) {
        for (key, seen) in keys.iter().zip(seen) {
            *seen = self.seen_or_insert(*key, now_ns);
        }
    }

    /// Forgets every key, all of which are too old at `now_ns`.
    fn expire(&mut self, now_ns: u64);

    /// Keys held.
    fn held(&self) -> usize;
}

/// A stream of keys, with what should be answered.
pub struct Stream<D> {
    dedup: D,
    rng: Rng,
    zipf: Zipf,
    now_ns: u64,
    step_ns: u64,
    next: u64,
    recent: VecDeque<u64>,
    keys: Vec<(u64, u64)>,
    plain: Vec<u64>,
    expected: usize,
}

/// A key that no other number has.
#[inline]
const fn mix(number: u64) -> u64 {
    // SplitMix64's finaliser, a bijection.
    let mut bits = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ bits >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ bits >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ bits >> 31
}

impl<D: DedupContender> Stream<D> {
    /// With about `population` keys within the window.
    #[must_use]
    pub fn new(population: usize, seed: u64) -> Self {
        let recent = (population / 2).max(1);
        let mut stream = Self {
            dedup: D::new(population),
            rng: Rng::new(seed),
            zipf: Zipf::new(recent, 1.0),
            now_ns: 0,
            step_ns: WINDOW_NS / population as u64,
            next: 0,
            recent: VecDeque::with_capacity(recent + 1),
            keys: Vec::with_capacity(BATCH),
            plain: Vec::with_capacity(BATCH),
            expected: 0,
        };
        // One window of keys, unmeasured.
        let mut meter = Meter::new(METRICS.len());
        for _ in 0..population.div_ceil(BATCH) {
            stream.step(&mut meter);
        }
        stream
    }

    /// A measured batch of the stream.
    ///
    /// # Panics
    /// When a duplicate is missed or a new key is called one.
    pub fn step(&mut self, meter: &mut Meter) {
        self.keys.clear();
        self.expected = 0;
        for _ in 0..BATCH {
            self.now_ns += self.step_ns;
            let is_duplicate = !self.recent.is_empty() && self.rng.index(DUPLICATE_ONE_IN) == 0;
            let number = if is_duplicate {
                self.expected += 1;
                // The more recent, the more likely.
                let back = self.zipf.draw(&mut self.rng) % self.recent.len();
                self.recent[self.recent.len() - 1 - back]
            } else {
                self.next += 1;
                if self.recent.len() == self.recent.capacity() - 1 {
                    self.recent.pop_front();
                }
                self.recent.push_back(self.next);
                self.next
            };
            self.keys.push((mix(number), self.now_ns));
        }
        // Expiry by a sweep may take long by itself.
        meter.may_stall(0);
        let seen = meter.time(0, || {
            self.keys.iter().map(|(key, now_ns)| usize::from(self.dedup.seen_or_insert(*key, *now_ns))).sum::<usize>()
        });
        meter.count(0, BATCH);
        assert_eq!(seen, self.expected, "duplicates found");
    }

    /// A measured batch of keys that are all there, one by one and in calls of 16.
    ///
    /// # Panics
    /// When one is not found.
    pub fn hits(&mut self, meter: &mut Meter) {
        for (phase, call) in [(1, 1), (2, CALL)] {
            self.plain.clear();
            for _ in 0..BATCH {
                let number = self.recent[self.rng.index(self.recent.len())];
                self.plain.push(mix(number));
            }
            let (keys, dedup, now_ns) = (&self.plain, &mut self.dedup, self.now_ns);
            let mut seen = [false; BATCH];
            meter.time(phase, || {
                if call == 1 {
                    for (key, seen) in keys.iter().zip(&mut seen) {
                        *seen = dedup.seen_or_insert(*key, now_ns);
                    }
                } else {
                    for (keys, seen) in keys.chunks(call).zip(seen.chunks_mut(call)) {
                        dedup.seen_or_insert_all(keys, now_ns, seen);
                    }
                }
            });
            meter.count(phase, BATCH);
            assert!(seen.iter().all(|seen| *seen), "a key of the last half window was forgotten");
        }
    }
}

fn entry<'a, D: DedupContender + 'a>(
    name: &'static str,
    role: Role,
    population: usize,
    options: &'a Options,
) -> Entry<'a> {
    if options.is_check() {
        check::<D>(name);
    }
    let build = move || Stream::<D>::new(population, options.seed);
    single::entry(name, role, options, METRICS.len(), build, |stream, meter| {
        stream.step(meter);
        stream.hits(meter);
    })
}

fn entries(population: usize, options: &Options) -> Vec<Entry<'_>> {
    #[allow(unused_mut)]
    let mut entries = vec![
        single::entry(
            "C8 dependent load",
            Role::Control,
            options,
            METRICS.len(),
            move || DependentLoad::new(population * ENTRY_BYTES),
            |control, meter| (0..METRICS.len()).for_each(|phase| control.step(meter, phase, BATCH)),
        ),
        entry::<Ours>("tapeline", Role::Ours, population, options),
        entry::<Fingerprints>("fingerprints", Role::Peer, population, options),
        entry::<Std>("std HashMap+retain", Role::Peer, population, options),
    ];
    #[cfg(feature = "peers")]
    {
        entries.push(entry::<Hashbrown>("hashbrown+retain", Role::Peer, population, options));
        entries.push(single::entry(
            "hashbrown get",
            Role::Peer,
            options,
            METRICS.len(),
            move || Get::new(population, options.seed),
            Get::step,
        ));
        entries.push(entry::<Lru>("lru", Role::Peer, population, options));
    }
    entries
}

/// P9, with this many keys in the window.
#[must_use]
pub fn window(options: &Options, population: usize) -> Table {
    let entries = entries(population, options);
    let records = duel::run(&entries, options);
    let claims = if population < 100_000 {
        vec![Claim::at_most("P9 hit against a plain get", 1, Rival::Named("hashbrown get"), 1.2, 1.2)]
    } else {
        vec![
            Claim::at_most("P9 hit against C8", 1, Rival::Control, 1.2, 1.2),
            Claim::at_most("P9 hits of 16 at once", 2, Rival::Own(1), 0.4, 0.4),
        ]
    };
    Table::new(
        &format!("dedup, {population} in the window"),
        "ns a key, one thread; window of 1 s; stream: 5 % duplicates, the more recent the likelier (Zipf 1.0 over half the \
         window), every answer checked by number, expiry included; hit: keys of the last half window at random, one by one \
         and in calls of 16 where the contender has them. `hashbrown get` is no filter: it only looks up",
        &METRICS,
        &entries,
        records,
        &claims,
        options,
    )
}

/// A window filled with keys, which then are all too old at once.
fn expiry_entry<'a, D: DedupContender + 'a>(
    name: &'static str,
    role: Role,
    population: usize,
    options: &'a Options,
) -> Entry<'a> {
    let build = move || (D::new(population), 0u64, 1u64);
    single::entry(name, role, options, EXPIRY_METRICS.len(), build, move |(dedup, next, now_ns), meter| {
        for _ in 0..population {
            *next += 1;
            assert!(!dedup.seen_or_insert(mix(*next), *now_ns), "{name}: a new key");
        }
        assert!(dedup.held() >= population, "{name}: a key of the window was forgotten");
        *now_ns += D::WINDOWS * WINDOW_NS;
        // A sweep may take long by itself.
        meter.may_stall(0);
        meter.time(0, || dedup.expire(*now_ns));
        meter.count(0, population);
        assert_eq!(dedup.held(), 0, "{name}: a key outlived its window");
    })
}

/// P9: what it costs to forget a key.
#[must_use]
pub fn expiry(options: &Options, population: usize) -> Table {
    #[allow(unused_mut)]
    let mut entries = vec![
        expiry_entry::<Ours>("tapeline", Role::Ours, population, options),
        expiry_entry::<Fingerprints>("fingerprints", Role::Peer, population, options),
        expiry_entry::<Std>("std HashMap+retain", Role::Peer, population, options),
    ];
    #[cfg(feature = "peers")]
    {
        entries.push(expiry_entry::<Hashbrown>("hashbrown+retain", Role::Peer, population, options));
        entries.push(expiry_entry::<Lru>("lru", Role::Peer, population, options));
    }
    let records = duel::run(&entries, options);
    let claims = [Claim::at_most("P9 expiry, ns a key", 0, Rival::Nobody, 1.0, 1.0)];
    Table::new(
        &format!("dedup expiry, {population} keys"),
        "ns a key, one thread; a window is filled, unmeasured, and then all of its keys are too old: ours turns two generations, maps \
         sweep, lru pops. A free cell of ours is overwritten by a later key: that is part of `stream` in the tables above",
        &EXPIRY_METRICS,
        &entries,
        records,
        &claims,
        options,
    )
}

/// Gives every table of the subject to `done` as it is ready.
pub fn run(options: &Options, done: &mut dyn FnMut(Table)) {
    let sizes: &[usize] = if options.is_check() { &[1_000] } else { &[1_000, 1_000_000] };
    sizes.iter().for_each(|population| done(window(options, *population)));
    done(expiry(options, if options.is_check() { 1_000 } else { 10_000 }));
}

/// Streams keys and hits, and asks for a key that has fallen out of the window.
///
/// # Panics
/// When the contender is wrong.
pub fn check<D: DedupContender>(name: &str) {
    for population in [64, 1_000] {
        let mut stream = Stream::<D>::new(population, 5);
        let mut meter = Meter::new(METRICS.len());
        for _ in 0..500 {
            stream.step(&mut meter);
            stream.hits(&mut meter);
        }
        assert!(stream.dedup.held() <= 4 * population + 4 * BATCH, "{name} holds {}", stream.dedup.held());
        let (key, now_ns) = (mix(stream.next), stream.now_ns);
        assert!(stream.dedup.seen_or_insert(key, now_ns), "{name}: the last key");
        let later_ns = now_ns + D::WINDOWS * WINDOW_NS;
        assert!(!stream.dedup.seen_or_insert(key, later_ns), "{name}: {} windows later", D::WINDOWS);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_filter_finds_the_duplicates_and_only_those() {
        check::<Ours>("tapeline");
        check::<Fingerprints>("fingerprints");
        check::<Std>("std");
        #[cfg(feature = "peers")]
        {
            check::<Hashbrown>("hashbrown");
            check::<Lru>("lru");
        }
    }
}
