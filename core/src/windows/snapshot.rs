//! Windows as a [section](crate::section) of plain bytes, and back.
//!
//! Name "windows", version 1; an element is a step without its cells. The body: a hash of the registration, two numbers, totals,
//! steps, histogram cells.

use super::{COUNT_MAX, SERIES_STEPS, STEPS, Series, Step, Windows};
use crate::hash;
use crate::invariant::Broken;
use crate::section::{self, RestoreError, Section, Shape};

const NAME: &str = "windows";
const LAYOUT: &str = "u64: series now_ns backward; totals u64: values beyond lost; \
    step*(1s 10s 60s)*20 u64: number sum_low sum_high min max count; cell u32";

const _: () = assert!(STEPS == 20 && SERIES_STEPS == 60, "the layout's text says so");

fn shape(series: usize) -> Shape {
    Shape { name: NAME, version: 1, element: size_of::<Step>() as u32, layout: LAYOUT, capacity: series as u64 }
}

impl Windows {
    /// Stable hash of names and precisions: what a snapshot has to agree with.
    fn series_hash(&self) -> u64 {
        self.names.iter().zip(&self.layouts).fold(self.names.len() as u64, |before, (name, layout)| {
            let precision =
                layout.precision.map_or([0; 2], |precision| [u64::from(precision.bits) + 1, precision.value_max]);
            let words = [before, hash::stable(name.as_bytes()), precision[0], precision[1]];
            hash::stable(bytemuck::bytes_of(&words))
        })
    }

    fn body_bytes(&self) -> usize {
        3 * 8 + size_of_val(&*self.totals) + size_of_val(&*self.steps) + size_of_val(&*self.cells)
    }

    /// Bytes of a [`Windows::snapshot`] of these windows.
    #[must_use]
    pub fn snapshot_bytes(&self) -> usize {
        section::HEADER_BYTES + self.body_bytes()
    }

    /// Appends the windows as a section of plain bytes. O(bytes). Names and precisions are not written, only their hash. Allocates only
    /// if `out` has less room than [`Windows::snapshot_bytes`].
    pub fn snapshot(&self, out: &mut Vec<u8>) {
        let series = self.names.len();
        section::write(out, &shape(series), series as u64, self.body_bytes(), |body| {
            body.slice(&[self.series_hash(), self.now_ns, self.backward]);
            body.slice(&self.totals);
            body.slice(&self.steps);
            body.slice(&self.cells);
        });
    }

    /// The windows that [`Windows::snapshot`] wrote. Allocates as [`Windows::new`] does. O(bytes).
    ///
    /// # Errors
    /// [`RestoreError`] when `section` is no such snapshot, of another number of series, of others, or breaks a rule; also for series
    /// that [`Windows::new`] refuses.
    pub fn restore(series: &[Series<'_>], section: &[u8]) -> Result<Self, RestoreError> {
        let section = Section::parse(section)?;
        let mut reader = section.expect(&shape(series.len()))?;
        let invalid = |rule, at| RestoreError::Invalid { name: NAME, broken: Broken { rule, at } };
        let Ok(mut windows) = Self::new(series) else {
            return Err(invalid("the series given are ones that can be registered", 0));
        };
        reader.setting("a hash of names and precisions of", windows.series_hash())?;
        [windows.now_ns, windows.backward] = [reader.u64()?, reader.u64()?];
        reader.fill(&mut windows.totals)?;
        reader.fill(&mut windows.steps)?;
        reader.fill(&mut windows.cells)?;
        reader.finish()?;
        if section.count() != series.len() as u64 {
            return Err(invalid("every series is in use", section.count()));
        }
        windows.check(COUNT_MAX).map_err(|broken| RestoreError::Invalid { name: NAME, broken })?;
        Ok(windows)
    }
}
