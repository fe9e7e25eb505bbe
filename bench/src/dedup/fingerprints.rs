//! The other design for an exact window: fingerprints apart from the keys, as hashbrown's tables have their control bytes.

use super::{CALL, DedupContender, WINDOW_NS};
use tapeline_core::hash::SeededHash;

/// Fingerprints of a word: cells of a group.
const GROUP: usize = 8;
const ONES: u64 = 0x0101_0101_0101_0101;
/// Set in every fingerprint; a free cell is 0.
const USED: u64 = 0x8080_8080_8080_8080;

/// As wide as an event's identity, of which ours compares the whole.
type Key = [u64; 2];

/// What was seen in one window: open addressing by groups of eight, a byte of the hash for each cell, keys elsewhere.
struct Generation {
    fingerprints: Box<[u64]>,
    keys: Box<[Key]>,
    len: usize,
}

impl Generation {
    /// At a load of at most 7/8, as hashbrown.
    fn new(capacity: usize) -> Self {
        let groups = (capacity * 8).div_ceil(7 * GROUP).next_power_of_two();
        Self {
            fingerprints: vec![0; groups].into_boxed_slice(),
            keys: vec![[0; 2]; groups * GROUP].into_boxed_slice(),
            len: 0,
        }
    }

    #[inline]
    const fn home(&self, hash: u64) -> usize {
        (hash >> 8) as usize & (self.fingerprints.len() - 1)
    }

    /// Whether the key is here; if not, the first free cell on its way.
    #[inline]
    fn find(&self, key: Key, hash: u64) -> Result<(), usize> {
        let wanted = ONES * (hash & 0x7f | 0x80);
        let mut group = self.home(hash);
        loop {
            let word = self.fingerprints[group];
            let differs = word ^ wanted;
            // The high bit of each byte that is 0, and of some above one that is: the key tells.
            let mut alike = differs.wrapping_sub(ONES) & !differs & USED;
            while alike != 0 {
                if self.keys[group * GROUP + alike.trailing_zeros() as usize / 8] == key {
                    return Ok(());
                }
                alike &= alike - 1;
            }
            let free = !word & USED;
            if free != 0 {
                return Err(group * GROUP + free.trailing_zeros() as usize / 8);
            }
            group = (group + 1) & (self.fingerprints.len() - 1);
        }
    }

    #[inline]
    fn put(&mut self, cell: usize, key: Key, hash: u64) {
        self.keys[cell] = key;
        self.fingerprints[cell / GROUP] |= (hash & 0x7f | 0x80) << (cell % GROUP * 8);
        self.len += 1;
    }

    /// A byte a cell; the keys stay as they are.
    fn clear(&mut self) {
        self.fingerprints.fill(0);
        self.len = 0;
    }
}

/// Two generations that turn with the window. It answers as ours does; what it lacks is a bound on the number, epochs, a search of
/// bounded length and counts, all of which ours pays for here.
pub struct Fingerprints {
    current: Generation,
    old: Generation,
    hash: SeededHash,
    until_ns: u64,
}

impl Fingerprints {
    #[inline]
    const fn key(key: u64) -> Key {
        [key, 1 | 1 << 48]
    }

    fn turn(&mut self, now_ns: u64) {
        std::mem::swap(&mut self.current, &mut self.old);
        self.current.clear();
        if now_ns - self.until_ns >= WINDOW_NS {
            self.old.clear();
        }
        self.until_ns = now_ns - now_ns % WINDOW_NS + WINDOW_NS;
    }

    #[inline]
    fn resolve(&mut self, key: Key, hash: u64, now_ns: u64) -> bool {
        if now_ns >= self.until_ns {
            self.turn(now_ns);
        }
        match self.current.find(key, hash) {
            Ok(()) => true,
            Err(cell) => {
                let is_old = self.old.find(key, hash).is_ok();
                self.current.put(cell, key, hash);
                is_old
            }
        }
    }
}

impl DedupContender for Fingerprints {
    const WINDOWS: u64 = 2;

    /// Room for the same number as ours.
    fn new(capacity: usize) -> Self {
        let room = capacity + capacity / 2 + CALL;
        Self {
            current: Generation::new(room),
            old: Generation::new(room),
            hash: SeededHash::new(1),
            until_ns: WINDOW_NS,
        }
    }

    #[inline]
    fn seen_or_insert(&mut self, key: u64, now_ns: u64) -> bool {
        let key = Self::key(key);
        self.resolve(key, self.hash.of_words(key), now_ns)
    }

    #[inline]
    fn seen_or_insert_all(&mut self, keys: &[u64], now_ns: u64, seen: &mut [bool]) {
        let mut hashes = [0; CALL];
        for (keys, seen) in keys.chunks(CALL).zip(seen.chunks_mut(CALL)) {
            // Both lines of each generation are asked for before the first key is looked at.
            let mut touched = 0;
            for (hash, key) in hashes.iter_mut().zip(keys) {
                *hash = self.hash.of_words(Self::key(*key));
                for generation in [&self.current, &self.old] {
                    let home = generation.home(*hash);
                    touched ^= generation.fingerprints[home] ^ generation.keys[home * GROUP][0];
                }
            }
            std::hint::black_box(touched);
            for ((seen, key), hash) in seen.iter_mut().zip(keys).zip(&hashes) {
                *seen = self.resolve(Self::key(*key), *hash, now_ns);
            }
        }
    }

    fn expire(&mut self, now_ns: u64) {
        if now_ns >= self.until_ns {
            self.turn(now_ns);
        }
    }

    fn held(&self) -> usize {
        self.current.len + self.old.len
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_forgets_what_is_older_than_two_windows_and_full_groups_go_on_to_the_next() {
        let mut window = Fingerprints::new(1_000);
        for key in 0..1_500 {
            assert!(!window.seen_or_insert(key, 0), "{key} is new");
        }
        assert!((0..1_500).all(|key| window.seen_or_insert(key, WINDOW_NS)), "all are of the last window");
        assert!((0..1_500).all(|key| !window.seen_or_insert(key, 3 * WINDOW_NS)), "none is of the last two");
        assert_eq!(window.held(), 1_500);
    }
}
