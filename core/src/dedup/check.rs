//! What must hold of a dedup window between calls, in full.

use super::DedupWindow;
use super::bucket::{CELLS, is_before};
use crate::invariant::{Broken, require, require_counts};

impl DedupWindow {
    /// Checks every rule of the structure: stamps, generations, that every entry is found where it is, and the counts.
    /// O(capacity); for tests.
    ///
    /// # Panics
    /// When a rule does not hold, with the rule.
    pub fn assert_invariants(&self) {
        if let Err(broken) = self.check() {
            panic!("Invariant: {broken}; {self:?}");
        }
    }

    /// As [`DedupWindow::assert_invariants`], as a value. Never panics or loops, whatever the arrays hold, if their lengths are those
    /// of the capacity.
    pub(super) fn check(&self) -> Result<(), Broken> {
        let (stamp, from, live) = (self.stamp, self.current_from, self.live_from);
        require(self.filled <= self.capacity, "a generation holds at most the capacity", self.filled)?;
        require(self.rewritten <= self.filled, "what was written over was written", self.rewritten)?;
        require(self.old_len <= self.capacity, "the old generation holds at most the capacity", self.old_len)?;
        require(self.filled_at_stamp <= self.filled, "a stamp begins before what is written", self.filled_at_stamp)?;
        // Each stamp was written with at least once, and a generation takes `capacity` writes.
        let stamps = stamp.wrapping_sub(from);
        require(stamps <= self.filled_at_stamp, "the current generation's stamps were all used", stamps)?;
        let stamps = from.wrapping_sub(live);
        require(stamps <= self.capacity, "the old generation's stamps were all used", stamps)?;
        require((self.sweep as usize) < self.buckets.len(), "the sweep is at a bucket", self.sweep)?;
        require(
            self.now_ns < self.until_ns || self.until_ns == u64::MAX || self.until_ns == 0,
            "the current generation is not over",
            self.until_ns,
        )?;
        require(
            self.until_ns <= self.now_ns.saturating_add(self.window_ns),
            "a generation ends within one window",
            self.until_ns,
        )?;
        require(self.until_ns > 0 || self.is_empty(), "what is held has a generation with an end", self.until_ns)?;
        for (source, floor) in self.floors.iter().enumerate() {
            require(!is_before(stamp, *floor), "no epoch begins after now", source)?;
        }
        self.check_entries()?;
        self.check_counts()
    }

    fn check_entries(&self) -> Result<(), Broken> {
        let (mut old, mut current) = (0, 0);
        for (at, bucket) in self.buckets.iter().enumerate() {
            require(!is_before(self.stamp, bucket.passed), "nothing passes a bucket after now", at)?;
            for cell in 0..CELLS {
                let stamp = bucket.stamps[cell];
                require(!is_before(self.stamp, stamp), "nothing is written after now", at)?;
                if is_before(stamp, self.live_from) {
                    continue;
                }
                if is_before(stamp, self.current_from) {
                    old += 1
                } else {
                    current += 1
                }
                let key = bucket.keys[cell];
                let found = self.find(key, self.home(key)).entry;
                require(
                    found.is_some_and(|place| (place.bucket, place.cell) == (at, cell)),
                    "an entry is found, and found once",
                    at,
                )?;
                // A search must not end before it once earlier entries have died.
                let mut passed = self.home(key);
                while passed != at {
                    let mark = self.buckets[passed].passed;
                    require(!is_before(mark, stamp), "a bucket knows the last that passed it", passed)?;
                    passed = self.next(passed);
                }
            }
        }
        require(old == self.old_len, "the old generation's entries are counted", old)?;
        require(current == self.current_len(), "the current generation's entries are counted", current)
    }

    fn check_counts(&self) -> Result<(), Broken> {
        let counts = &self.counts;
        require_counts(bytemuck::cast_slice(core::slice::from_ref(counts)))?;
        let gone = u128::from(counts.expired) + u128::from(counts.evicted) + u128::from(counts.replaced);
        require(
            u128::from(counts.new) == gone + self.len() as u128,
            "new = held + expired + evicted + replaced",
            counts.new,
        )?;
        require(counts.refreshed <= counts.duplicate, "what is refreshed is a duplicate", counts.refreshed)
    }
}
