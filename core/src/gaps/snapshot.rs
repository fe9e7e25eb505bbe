//! The gap detector as a [section](crate::section) of plain bytes, and back.
//!
//! Name "gap detector", version 1; an element is a stream. The body: the hash's seed, the sources, the streams. The table of cells
//! follows from the streams.

use super::stream::Stream;
use super::{GapDetector, Source};
use crate::hash::SeededHash;
use crate::invariant::Broken;
use crate::section::{self, RestoreError, Section, Shape};

const NAME: &str = "gap detector";
const LAYOUT: &str = "u64 seed; source*256: session u64*2 before u64*2 epoch u32 rule sessions u8 pad u8*2 counts u64*14; \
    stream: key next lost_end u64 epoch u32 begun open u8 pad u8*2 ranges u64*2*3";

fn shape(capacity: usize) -> Shape {
    Shape { name: NAME, version: 1, element: size_of::<Stream>() as u32, layout: LAYOUT, capacity: capacity as u64 }
}

fn invalid(broken: Broken) -> RestoreError {
    RestoreError::Invalid { name: NAME, broken }
}

impl GapDetector {
    fn body_bytes(&self) -> usize {
        8 + size_of_val(&*self.sources) + size_of_val(&*self.streams)
    }

    /// Bytes of a [`GapDetector::snapshot`] of this detector: always the same, whatever it knows.
    #[must_use]
    pub fn snapshot_bytes(&self) -> usize {
        section::HEADER_BYTES + self.body_bytes()
    }

    /// Appends the whole detector as a section of plain bytes. O(capacity).
    ///
    /// Allocates only if `out` has less room than [`GapDetector::snapshot_bytes`].
    pub fn snapshot(&self, out: &mut Vec<u8>) {
        section::write(out, &shape(self.capacity()), self.len as u64, self.body_bytes(), |body| {
            body.u64(self.hash.seed());
            body.slice::<Source>(&self.sources);
            body.slice(&self.streams);
        });
    }

    /// The detector that [`GapDetector::snapshot`] wrote, with its seed: it goes on as that one would. Allocates as
    /// [`GapDetector::new`] does. O(capacity).
    ///
    /// # Errors
    /// [`RestoreError`] when `section` is no such snapshot, or of a detector with another capacity.
    ///
    /// # Panics
    /// As [`GapDetector::new`], for the capacity that the caller asks for.
    pub fn restore(capacity: usize, section: &[u8]) -> Result<Self, RestoreError> {
        let section = Section::parse(section)?;
        let mut reader = section.expect(&shape(capacity))?;
        let mut detector = Self::new(capacity, 0);
        detector.hash = SeededHash::new(reader.u64()?);
        reader.fill(&mut detector.sources)?;
        reader.fill(&mut detector.streams)?;
        reader.finish()?;
        let count = section.count();
        if count > capacity as u64 {
            return Err(invalid(Broken { rule: "there are no more streams than fit", at: count }));
        }
        for index in 0..count as usize {
            let Err(cell) = detector.find(detector.streams[index].key) else {
                return Err(invalid(Broken { rule: "a stream is found, and found once", at: index as u64 }));
            };
            detector.cells[cell] = index as u32 + 1;
            detector.len += 1;
        }
        detector.check().map_err(invalid)?;
        Ok(detector)
    }
}
