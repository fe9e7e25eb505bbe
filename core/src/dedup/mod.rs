//! The dedup window: which events were seen a short while ago. Exact, bounded by count and by age.
//!
//! - **Exact.** Whole identities are compared: two different ones never count as duplicates, whatever their hashes.
//! - **Remembered for sure:** an identity that was last seen less than `window_ns` ago, if fewer than `capacity` others were
//!   written since. **Forgotten for sure:** one that was last seen two windows ago or more, or after which two times `capacity`
//!   others were written. In between it depends on where the generations turn.
//! - **A duplicate refreshes** what it repeats: the age counts from the last sight, so that a sender that repeats itself for ever
//!   is answered `Duplicate` for ever. To be *written* is to be new, or to be repeated for the first time in a generation.
//! - No allocation after construction, no rebuild, no pause: a turn is O(1), at any fill and after any silence.
//! - Nothing is forgotten silently: [`DedupCounts`] says how many entries went by age and how many by count, and
//!   `new = len + expired + evicted + replaced` at every instant.
//!
//! ```
//! use tapeline_core::dedup::{DedupWindow, Seen};
//! use tapeline_core::event::Identity;
//! use tapeline_core::units::{SourceId, SymbolId, UnixNanos};
//!
//! let mut window = DedupWindow::new(1_000, 1_000_000_000, 42);
//! let trade = Identity { seq: 7, symbol: SymbolId(1), part: 0, source: SourceId(1), pad: 0 };
//! assert_eq!(window.seen_or_insert(trade, UnixNanos(0)), Seen::New);
//! assert_eq!(window.seen_or_insert(trade, UnixNanos(999_999_999)), Seen::Duplicate);
//! assert_eq!(window.seen_or_insert(Identity { part: 1, ..trade }, UnixNanos(999_999_999)), Seen::New);
//! // Two windows after the last sight it is forgotten, whatever happened in between.
//! assert_eq!(window.seen_or_insert(trade, UnixNanos(3_000_000_000)), Seen::New);
//! assert_eq!((window.len(), window.counts().expired), (1, 2));
//! ```
//!
//! # How it works
//!
//! ```text
//!  time ->   |   old generation   | current generation  .
//!            live_from            current_from        stamp, until_ns = when it ends
//!  bucket, one cache line:  [ identity 16 ][ identity 16 ][ identity 16 ][ stamp 4 ][ 4 ][ 4 ][ passed 4 ]
//! ```
//! One table holds both generations. A bucket is one cache line: three identities, the *stamp* of the generation in which each was
//! last written, and `passed`, the last stamp of an entry that found the bucket full and went on to the next one. A stamp before
//! `live_from` means that the cell is free. So a turn only moves two numbers, a cell is free the moment its generation is over, and
//! a search ends at the first bucket that nothing alive passed: mostly the first, at a load of at most one half.
//!
//! A **generation turns by age** at multiples of the window (of shard time), so that what is remembered does not depend on what other
//! symbols a shard has; and **by count** when `capacity` entries were written in it: the next one then ends one window after that.
//! That turn evicts what the count, not the age, made too old: it is a limit that acted.
//!
//! Stamps have 32 bits and wrap. Each new stamp is followed by a look at one bucket, whose dead stamps are brought up to date, so that
//! none ever comes alive again: a whole pass takes fewer stamps than half of their range.
//!
//! **Epochs.** [`DedupWindow::forget_source`] begins an epoch of a source in O(1): the source's *floor* becomes a new stamp, and what
//! was written before it no longer counts. Such entries keep their cells until their generation is over.
//!
//! **Flooding.** Buckets are found by the stable hash under a seed. A search goes through at most [`DEDUP_PROBE_BUCKETS_MAX`]
//! buckets; an identity that finds no room in them is answered [`Seen::Unremembered`], and counted.

mod bucket;
mod check;
mod snapshot;

use crate::event::{Flags, Identity, Kind, Slot};
use crate::hash::{self, SeededHash};
use crate::limits::{DEDUP_CAPACITY_MAX, DEDUP_PROBE_BUCKETS_MAX, SOURCES_MAX};
use crate::units::{SourceId, UnixNanos};
use bucket::{Bucket, CELLS, Key, is_before};

/// Identities whose buckets are asked for together: about as many misses as a core has in flight.
const BATCH: usize = 16;

/// What the window says of an identity.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[must_use]
pub enum Seen {
    /// Not seen in the window. It is remembered from now on.
    #[default]
    New,
    /// Seen in the window.
    Duplicate,
    /// Not seen in the window, and not remembered: there is no room within reach (a flood of equal hashes), or the capacity
    /// is 0. A repetition will not be recognised.
    Unremembered,
    /// Its source gives no sequence number ([`Flags::UNSEQUENCED`]): it has no identity to compare.
    Exempt,
}

/// What a window has counted since it was made, or since the first of the windows that it was restored from was.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, bytemuck::Pod, bytemuck::Zeroable)]
pub struct DedupCounts {
    /// Answers [`Seen::New`].
    pub new: u64,
    /// Answers [`Seen::Duplicate`].
    pub duplicate: u64,
    /// Answers [`Seen::Unremembered`].
    pub unremembered: u64,
    /// Answers [`Seen::Exempt`].
    pub exempt: u64,
    /// Duplicates that moved an entry to the current generation.
    pub refreshed: u64,
    /// Entries forgotten because their time was over.
    pub expired: u64,
    /// Entries forgotten because the window was full: the limit on their number acted.
    pub evicted: u64,
    /// Entries of an earlier epoch whose cell the same identity took anew.
    pub replaced: u64,
    /// Generations that ended by age, empty ones not counted.
    pub turns_by_age: u64,
    /// Generations that ended because they were full.
    pub turns_by_count: u64,
    /// Epochs begun by [`DedupWindow::forget_source`].
    pub epochs: u64,
}

/// Remembers the identities of the last `capacity` to 2 `capacity` events, for one to two windows of time. See the
/// [module](self).
#[derive(Clone)]
pub struct DedupWindow {
    buckets: Box<[Bucket]>,
    /// `stamp` as it was when the source's epoch began: entries of the source with an earlier one do not count.
    floors: Box<[u32; SOURCES_MAX]>,
    hash: SeededHash,
    /// Where the current generation ends, ns; `u64::MAX` = not any more.
    until_ns: u64,
    /// Stamp of what is written now.
    stamp: u32,
    /// First stamp of the current generation.
    current_from: u32,
    /// First stamp of the old generation: what is earlier is free.
    live_from: u32,
    /// Entries written in the current generation, at most `capacity`.
    filled: u32,
    capacity: u32,
    /// `filled` when `stamp` was made: the stamp is in use when they differ.
    filled_at_stamp: u32,
    /// Entries of the current generation that were written over in place.
    rewritten: u32,
    /// Entries that still have a stamp of the old generation.
    old_len: u32,
    /// The next bucket to be swept.
    sweep: u32,
    /// Latest time of a turn or of something written, ns.
    now_ns: u64,
    window_ns: u64,
    counts: DedupCounts,
}

impl DedupWindow {
    /// An empty window for generations of `capacity` identities and `window_ns` nanoseconds. Allocates, and touches, all that it
    /// will ever need: O(`capacity`), 85 bytes for each.
    ///
    /// `seed` is the hash's: any number that a sender does not know. A capacity of 0 remembers nothing.
    ///
    /// # Panics
    /// When `capacity` is above [`DEDUP_CAPACITY_MAX`] or `window_ns` is 0.
    #[must_use]
    pub fn new(capacity: usize, window_ns: u64, seed: u64) -> Self {
        assert!(capacity <= DEDUP_CAPACITY_MAX, "at most {DEDUP_CAPACITY_MAX} identities, not {capacity}");
        assert!(window_ns > 0, "a dedup window is longer than 0 ns");
        // Two generations fill at most half of the cells.
        let buckets = (2 * capacity * 2).div_ceil(CELLS).max(1);
        Self {
            buckets: vec![Bucket::FREE; buckets].into_boxed_slice(),
            floors: Box::new([0; SOURCES_MAX]),
            hash: SeededHash::new(seed),
            until_ns: 0,
            stamp: 1,
            current_from: 1,
            live_from: 1,
            filled: 0,
            capacity: capacity as u32,
            filled_at_stamp: 0,
            rewritten: 0,
            old_len: 0,
            sweep: 0,
            now_ns: 0,
            window_ns,
            counts: DedupCounts::default(),
        }
    }

    /// Whether `identity` was seen in the window; from now on it is. O(1), no allocation.
    ///
    /// `now` is shard time. One that is earlier than what was written last is taken as that.
    #[inline]
    pub fn seen_or_insert(&mut self, identity: Identity, now: UnixNanos) -> Seen {
        let key = bucket::key(identity);
        let home = self.home(key);
        self.resolve(key, home, now)
    }

    /// As [`DedupWindow::seen_or_insert`] for an event, unless its source has no sequence numbers.
    #[inline]
    pub fn admit(&mut self, head: &Slot, now: UnixNanos) -> Seen {
        if head.flags.contains(Flags::UNSEQUENCED) {
            self.counts.exempt += 1;
            return Seen::Exempt;
        }
        let key = bucket::key_of(head);
        self.resolve(key, self.home(key), now)
    }

    /// As [`DedupWindow::admit`] for an event whose place [`DedupWindow::touch`] has told.
    #[inline]
    pub fn admit_at(&mut self, head: &Slot, place: u32, now: UnixNanos) -> Seen {
        if head.flags.contains(Flags::UNSEQUENCED) {
            self.counts.exempt += 1;
            return Seen::Exempt;
        }
        let key = bucket::key_of(head);
        debug_assert_eq!(place as usize, self.home(key), "Invariant: places are those of the same slots");
        self.resolve(key, place as usize, now)
    }

    /// Asks for the buckets of a batch of slots, so that their cache misses overlap and each is there when its event is admitted.
    /// Writes the place of each into `places`, for [`DedupWindow::admit_at`]; that of a continuation and of what has no identity means nothing.
    /// Changes nothing. O(slots).
    ///
    /// # Panics
    /// When there are fewer places than slots.
    #[inline]
    pub fn touch(&self, slots: &[Slot], places: &mut [u32]) {
        let mut touched = 0;
        for (slot, place) in slots.iter().zip(&mut places[..slots.len()]) {
            if slot.kind() == Kind::CONTINUATION {
                continue;
            }
            let home = self.home(bucket::key_of(slot));
            *place = home as u32;
            touched ^= self.buckets[home].passed;
        }
        // The loads are wanted for the lines that they bring, not for what they read.
        core::hint::black_box(touched);
    }

    /// As [`DedupWindow::seen_or_insert`] for one identity after the other, each at its own time, into `seen`. The buckets of 16 at a
    /// time are asked for before the first one is looked at, so that their cache misses overlap.
    ///
    /// Each has its own time because the answers must not depend on how events were cut into batches.
    ///
    /// # Panics
    /// When the slices differ in length.
    pub fn seen_or_insert_batch(&mut self, identities: &[Identity], times: &[UnixNanos], seen: &mut [Seen]) {
        assert_eq!(identities.len(), times.len(), "each identity has a time");
        assert_eq!(identities.len(), seen.len(), "each identity has an answer");
        let mut homes = [0; BATCH];
        let chunks = identities.chunks(BATCH).zip(times.chunks(BATCH)).zip(seen.chunks_mut(BATCH));
        for ((identities, times), seen) in chunks {
            let mut touched = 0;
            for (home, &identity) in homes.iter_mut().zip(identities) {
                *home = self.home(bucket::key(identity));
                touched ^= self.buckets[*home].passed;
            }
            // The loads are wanted for the lines that they bring, not for what they read.
            core::hint::black_box(touched);
            for (((seen, &identity), &now), &home) in seen.iter_mut().zip(identities).zip(times).zip(&homes) {
                *seen = self.resolve(bucket::key(identity), home, now);
            }
        }
    }

    /// Whether `identity` would be a duplicate at `now`. Changes nothing, and refreshes nothing. O(1).
    #[must_use]
    pub fn contains(&self, identity: Identity, now: UnixNanos) -> bool {
        let key = bucket::key(identity);
        let Some(place) = self.find(key, self.home(key)).entry else { return false };
        let stamp = self.buckets[place.bucket].stamps[place.cell];
        if self.is_forgotten(key, stamp) {
            return false;
        }
        match self.windows_over(now.0) {
            0 => true,
            1 => !is_before(stamp, self.current_from),
            _ => false,
        }
    }

    /// Begins a new epoch of `source`: nothing that it sent before is a duplicate any more. O(1).
    ///
    /// What it sent keeps its room until its generation is over.
    pub fn forget_source(&mut self, source: SourceId) {
        self.counts.epochs += 1;
        if self.filled != self.filled_at_stamp {
            self.next_stamp();
        }
        self.floors[source.index()] = self.stamp;
    }

    /// Begins a new epoch of every source, as an `EPOCH` event does. O([`SOURCES_MAX`]).
    pub fn forget_all(&mut self) {
        for source in 0..=u8::MAX {
            self.forget_source(SourceId(source));
        }
    }

    /// Turns the generations whose time is over, so that [`DedupWindow::len`] and the counts are those of `now`. Every other call
    /// does so by itself. O(1).
    #[inline]
    pub fn advance(&mut self, now: UnixNanos) {
        if now.0 >= self.until_ns {
            self.turn_by_age(now.0);
        }
    }

    /// Entries that are held, at most two times the capacity; those of sources that began an epoch are among them until their
    /// generation is over.
    #[inline]
    #[must_use]
    pub const fn len(&self) -> usize {
        self.old_len as usize + self.current_len() as usize
    }

    /// Whether nothing is held.
    #[inline]
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Entries of one generation.
    #[inline]
    #[must_use]
    pub const fn capacity(&self) -> usize {
        self.capacity as usize
    }

    /// Length of one generation in nanoseconds of shard time.
    #[inline]
    #[must_use]
    pub const fn window_ns(&self) -> u64 {
        self.window_ns
    }

    /// What was counted.
    #[inline]
    #[must_use]
    pub const fn counts(&self) -> &DedupCounts {
        &self.counts
    }

    /// Bytes that the window owns on the heap.
    #[must_use]
    pub fn bytes(&self) -> usize {
        size_of_val(&*self.buckets) + size_of_val(&*self.floors)
    }

    /// Bucket where the search for `key` begins.
    #[inline]
    const fn home(&self, key: Key) -> usize {
        hash::reduce(self.hash.of_words(key), self.buckets.len())
    }

    /// What [`DedupWindow::seen_or_insert`] does once it knows where to begin.
    ///
    /// The calls are the last that it does, and their arguments are in registers: nothing is saved on the way of a duplicate.
    #[inline]
    fn resolve(&mut self, key: Key, home: usize, now: UnixNanos) -> Seen {
        let [seq, rest] = key;
        if now.0 >= self.until_ns {
            return self.resolve_late(seq, rest, home, now);
        }
        let bucket = &self.buckets[home];
        let cell = bucket.cell_of(seq);
        if bucket.keys[cell][0] != seq || bucket.keys[cell][1] != rest {
            return self.resolve_new(seq, rest, home, now);
        }
        if bucket.stamps[cell] != self.stamp {
            return self.resolve_again(seq, rest, home, now);
        }
        self.counts.duplicate += 1;
        Seen::Duplicate
    }

    /// What is in its first bucket, but not with the present stamp: mostly it is of the old generation, and becomes one of the
    /// current where it is.
    #[inline(never)]
    fn resolve_again(&mut self, seq: u64, rest: u64, home: usize, now: UnixNanos) -> Seen {
        let bucket = &mut self.buckets[home];
        let stamp = &mut bucket.stamps[bucket.cell_of(seq)];
        let is_old = is_before(*stamp, self.current_from) && !is_before(*stamp, self.live_from);
        let floor = self.floors[bucket::source([seq, rest]).index()];
        if !is_old || is_before(*stamp, floor) || self.filled == self.capacity {
            return self.resolve_elsewhere(seq, rest, home, now);
        }
        *stamp = self.stamp;
        self.counts.duplicate += 1;
        self.counts.refreshed += 1;
        self.old_len -= 1;
        self.filled += 1;
        self.now_ns = self.now_ns.max(now.0);
        Seen::Duplicate
    }

    /// At least one generation is over.
    #[cold]
    #[inline(never)]
    fn resolve_late(&mut self, seq: u64, rest: u64, home: usize, now: UnixNanos) -> Seen {
        self.turn_by_age(now.0);
        self.resolve_new(seq, rest, home, now)
    }

    /// What was not written with the present stamp in its first bucket: mostly it is new, and there is a free cell.
    #[inline(never)]
    fn resolve_new(&mut self, seq: u64, rest: u64, home: usize, now: UnixNanos) -> Seen {
        let bucket = &self.buckets[home];
        let is_there = bucket.keys.iter().any(|key| key[0] == seq && key[1] == rest);
        let is_passed = !is_before(bucket.passed, self.live_from);
        if is_there || is_passed || self.filled == self.capacity {
            return self.resolve_elsewhere(seq, rest, home, now);
        }
        let Some(cell) = bucket.stamps.iter().position(|&stamp| is_before(stamp, self.live_from)) else {
            return self.resolve_elsewhere(seq, rest, home, now);
        };
        self.counts.new += 1;
        self.now_ns = self.now_ns.max(now.0);
        self.filled += 1;
        let bucket = &mut self.buckets[home];
        bucket.keys[cell] = [seq, rest];
        bucket.stamps[cell] = self.stamp;
        Seen::New
    }

    /// Everything else: entries of earlier stamps, entries beyond a full bucket, a full generation, no room.
    #[inline(never)]
    fn resolve_elsewhere(&mut self, seq: u64, rest: u64, home: usize, now: UnixNanos) -> Seen {
        let key = [seq, rest];
        let found = self.find(key, home);
        let Some(place) = found.entry else {
            let Some(place) = found.free.filter(|_| self.capacity > 0) else {
                self.counts.unremembered += 1;
                return Seen::Unremembered;
            };
            self.counts.new += 1;
            self.make_room(now);
            self.write(place, key, home);
            return Seen::New;
        };
        let stamp = self.buckets[place.bucket].stamps[place.cell];
        let is_current = !is_before(stamp, self.current_from);
        let seen = if self.is_forgotten(key, stamp) {
            self.counts.new += 1;
            self.counts.replaced += 1;
            Seen::New
        } else {
            self.counts.duplicate += 1;
            if is_current {
                return Seen::Duplicate;
            }
            self.counts.refreshed += 1;
            Seen::Duplicate
        };
        // It leaves its generation before that turns: what is written anew is not evicted.
        if is_current {
            self.rewritten += 1;
        } else {
            self.old_len -= 1;
        }
        self.make_room(now);
        self.write(place, key, home);
        seen
    }

    /// Looks for the live entry of `key`, and for the first free cell on the way or behind it.
    #[inline]
    fn find(&self, key: Key, home: usize) -> Found {
        let mut free = None;
        let mut is_passed = true;
        let mut at = home;
        for distance in 0..DEDUP_PROBE_BUCKETS_MAX.min(self.buckets.len()) {
            let bucket = &self.buckets[at];
            for cell in 0..CELLS {
                if is_before(bucket.stamps[cell], self.live_from) {
                    if free.is_none() {
                        free = Some(Place { bucket: at, cell, distance });
                    }
                } else if is_passed && bucket.keys[cell] == key {
                    return Found { entry: Some(Place { bucket: at, cell, distance }), free };
                }
            }
            is_passed = is_passed && !is_before(bucket.passed, self.live_from);
            if !is_passed && free.is_some() {
                break;
            }
            at = self.next(at);
        }
        Found { entry: None, free }
    }

    /// The bucket after bucket `at`.
    #[inline]
    const fn next(&self, at: usize) -> usize {
        if at + 1 == self.buckets.len() { 0 } else { at + 1 }
    }

    /// Whether the source of `key` has begun an epoch since `stamp`.
    #[inline]
    fn is_forgotten(&self, key: Key, stamp: u32) -> bool {
        is_before(stamp, self.floors[bucket::source(key).index()])
    }

    /// Sees to it that one more may be written in the current generation.
    #[inline]
    fn make_room(&mut self, now: UnixNanos) {
        self.now_ns = self.now_ns.max(now.0);
        if self.filled == self.capacity {
            self.turn_by_count();
        }
    }

    /// Writes `key` at `place` with the stamp of now, and leaves word in the buckets before it.
    #[inline]
    fn write(&mut self, place: Place, key: Key, home: usize) {
        let stamp = self.stamp;
        let bucket = &mut self.buckets[place.bucket];
        bucket.keys[place.cell] = key;
        bucket.stamps[place.cell] = stamp;
        self.filled += 1;
        let mut at = home;
        for _ in 0..place.distance {
            self.buckets[at].passed = stamp;
            at = self.next(at);
        }
    }

    /// Entries of the current generation.
    #[inline]
    const fn current_len(&self) -> u32 {
        self.filled - self.rewritten
    }

    /// How many generations are over at `now`; more than two are all the same.
    #[inline]
    const fn windows_over(&self, now_ns: u64) -> u64 {
        // At the end of time the last generation has no end.
        if now_ns < self.until_ns || self.until_ns == u64::MAX {
            0
        } else {
            (now_ns - self.until_ns) / self.window_ns + 1
        }
    }

    #[cold]
    #[inline(never)]
    fn turn_by_age(&mut self, now_ns: u64) {
        let over = self.windows_over(now_ns);
        for _ in 0..over.min(2) {
            self.counts.turns_by_age += u64::from(self.filled > 0);
            self.counts.expired += u64::from(self.turn());
        }
        if over > 0 {
            self.now_ns = self.now_ns.max(now_ns);
            let last_end = self.until_ns + (over - 1) * self.window_ns;
            self.until_ns = last_end.saturating_add(self.window_ns);
        }
    }

    #[cold]
    #[inline(never)]
    fn turn_by_count(&mut self) {
        self.counts.turns_by_count += 1;
        self.counts.evicted += u64::from(self.turn());
        self.until_ns = self.now_ns.saturating_add(self.window_ns);
    }

    /// The current generation becomes the old one. Returns how many entries the old one still had.
    fn turn(&mut self) -> u32 {
        let forgotten = self.old_len;
        self.old_len = self.current_len();
        self.live_from = self.current_from;
        let is_used = self.filled != self.filled_at_stamp;
        (self.filled, self.rewritten, self.filled_at_stamp) = (0, 0, 0);
        if is_used {
            self.next_stamp();
        }
        self.current_from = self.stamp;
        forgotten
    }

    /// Makes a new stamp, and brings the dead stamps of one bucket, and one floor, up to date.
    fn next_stamp(&mut self) {
        self.stamp = self.stamp.wrapping_add(1);
        self.filled_at_stamp = self.filled;
        let live_from = self.live_from;
        self.buckets[self.sweep as usize].refresh_dead(live_from);
        self.sweep = self.next(self.sweep as usize) as u32;
        let floor = &mut self.floors[self.stamp as usize % SOURCES_MAX];
        if is_before(*floor, live_from) {
            *floor = live_from;
        }
    }
}

/// A cell of the table, and how many buckets behind its key's first one it is.
#[derive(Clone, Copy)]
struct Place {
    bucket: usize,
    cell: usize,
    distance: usize,
}

/// What a search came to.
struct Found {
    /// The live entry of the key.
    entry: Option<Place>,
    /// The first free cell within reach; only good if there is no entry.
    free: Option<Place>,
}

impl std::fmt::Debug for DedupWindow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DedupWindow")
            .field("len", &self.len())
            .field("capacity", &self.capacity)
            .field("window_ns", &self.window_ns)
            .field("until_ns", &self.until_ns)
            .field("stamp", &self.stamp)
            .field("counts", &self.counts)
            .finish_non_exhaustive()
    }
}
