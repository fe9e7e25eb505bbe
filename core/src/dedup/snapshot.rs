//! The dedup window as a [section](crate::section) of plain bytes, and back.
//!
//! Name "dedup window", version 1; an element is a bucket. The body: the numbers of `LAYOUT`, the floors of the sources, the
//! buckets. The hash's seed is in it, and so is the hash function: a bucket's place follows from them.

use super::bucket::Bucket;
use super::{DedupCounts, DedupWindow};
use crate::hash::SeededHash;
use crate::limits::SOURCES_MAX;
use crate::section::{self, RestoreError, Section, Shape};

const NAME: &str = "dedup window";
const LAYOUT: &str = "u64: window_ns seed until_ns now_ns counts*11; \
    u32: stamp current_from live_from filled filled_at_stamp rewritten old_len sweep floors*256; \
    bucket: (seq u64, symbol u32, part u16, source u8, pad u8)*3 stamps u32*3 passed u32; rapidhash_v3 seeded";

fn shape(capacity: usize) -> Shape {
    Shape { name: NAME, version: 1, element: size_of::<Bucket>() as u32, layout: LAYOUT, capacity: capacity as u64 }
}

impl DedupWindow {
    fn body_bytes(&self) -> usize {
        4 * 8 + size_of::<DedupCounts>() + (8 + SOURCES_MAX) * 4 + size_of_val(&*self.buckets)
    }

    /// Bytes of a [`DedupWindow::snapshot`] of this window: always the same, whatever it holds.
    #[must_use]
    pub fn snapshot_bytes(&self) -> usize {
        section::HEADER_BYTES + self.body_bytes()
    }

    /// Appends the whole window as a section of plain bytes: entries, generations, epochs, counts, seed. O(capacity).
    ///
    /// Allocates only if `out` has less room than [`DedupWindow::snapshot_bytes`].
    pub fn snapshot(&self, out: &mut Vec<u8>) {
        section::write(out, &shape(self.capacity()), self.len() as u64, self.body_bytes(), |body| {
            body.slice(&[self.window_ns, self.hash.seed(), self.until_ns, self.now_ns]);
            body.slice(&[self.counts]);
            body.slice(&[self.stamp, self.current_from, self.live_from, self.filled]);
            body.slice(&[self.filled_at_stamp, self.rewritten, self.old_len, self.sweep]);
            body.slice(&*self.floors);
            body.slice(&self.buckets);
        });
    }

    /// The window that [`DedupWindow::snapshot`] wrote, with its seed: it goes on as that one would. Allocates as
    /// [`DedupWindow::new`] does. O(capacity).
    ///
    /// Everything is checked before it is used: header, length, check, and then every stamp and the place of every entry, so that no
    /// bytes whatever make a window that could panic, loop, or hold an entry that it does not find.
    ///
    /// # Errors
    /// [`RestoreError`] when `section` is no such snapshot, or of a window with another capacity or length.
    ///
    /// # Panics
    /// As [`DedupWindow::new`], for the capacity and the length that the caller asks for.
    pub fn restore(capacity: usize, window_ns: u64, section: &[u8]) -> Result<Self, RestoreError> {
        let section = Section::parse(section)?;
        let mut reader = section.expect(&shape(capacity))?;
        reader.setting("a length in ns of", window_ns)?;
        let mut window = Self::new(capacity, window_ns, 0);
        window.hash = SeededHash::new(reader.u64()?);
        window.until_ns = reader.u64()?;
        window.now_ns = reader.u64()?;
        reader.fill(std::slice::from_mut(&mut window.counts))?;
        let mut numbers = [0; 8];
        reader.fill(&mut numbers)?;
        let [stamp, current_from, live_from, filled, filled_at_stamp, rewritten, old_len, sweep] = numbers;
        (window.stamp, window.current_from, window.live_from) = (stamp, current_from, live_from);
        (window.filled, window.filled_at_stamp, window.rewritten) = (filled, filled_at_stamp, rewritten);
        (window.old_len, window.sweep) = (old_len, sweep);
        reader.fill(&mut *window.floors)?;
        reader.fill(&mut window.buckets)?;
        reader.finish()?;
        let invalid = |broken| RestoreError::Invalid { name: NAME, broken };
        window.check().map_err(invalid)?;
        crate::invariant::require(section.count() == window.len() as u64, "the count is what is held", section.count())
            .map_err(invalid)?;
        Ok(window)
    }
}
