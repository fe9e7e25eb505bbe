//! The table of breakers as a [section](crate::section) of plain bytes, and back.
//!
//! Name "breakers", version 1; an element is a cell. The body: a hash of names and configurations, three numbers, the cells.

use super::cell::{COUNT_MAX, Cell, STEPS};
use super::{Breakers, Config};
use crate::hash;
use crate::invariant::Broken;
use crate::section::{self, RestoreError, Section, Shape};

const NAME: &str = "breakers";
const LAYOUT: &str = "u64: configuration now_ns backward foreign; cell u64: era until_ns open_for_ns pending step, \
    admitted refused successes failures abandoned left_behind probes_expired late trips reopens closes, \
    (calls failures)*10, u32: state in_row";

const _: () = assert!(STEPS == 10, "the layout's text says so");

fn shape(breakers: usize) -> Shape {
    Shape { name: NAME, version: 1, element: size_of::<Cell>() as u32, layout: LAYOUT, capacity: breakers as u64 }
}

impl Breakers {
    /// Stable hash of all names and configurations: what a snapshot has to agree with.
    fn configuration_hash(&self) -> u64 {
        self.names.iter().zip(&self.configs).fold(self.names.len() as u64, |before, (name, config)| {
            let share = config.share.map_or([0; 3], |share| {
                [u64::from(share.failures_per_mille), u64::from(share.calls_min), share.window_ns]
            });
            let words = [
                before,
                hash::stable(name.as_bytes()),
                u64::from(config.failures_in_row),
                share[0],
                share[1],
                share[2],
                config.open_ns,
                u64::from(config.open_growth),
                config.open_ns_max,
                config.probe_ns_max,
                u64::from(config.successes),
            ];
            hash::stable(bytemuck::bytes_of(&words))
        })
    }

    fn body_bytes(&self) -> usize {
        4 * 8 + size_of_val(&*self.cells)
    }

    /// Bytes of a [`Breakers::snapshot`] of this table.
    #[must_use]
    pub fn snapshot_bytes(&self) -> usize {
        section::HEADER_BYTES + self.body_bytes()
    }

    /// Appends the table as a section of plain bytes: time, states, windows, counts. O(n). Names and configurations are not
    /// written, only their hash. Allocates only if `out` has less room than [`Breakers::snapshot_bytes`].
    pub fn snapshot(&self, out: &mut Vec<u8>) {
        section::write(out, &shape(self.len()), self.len() as u64, self.body_bytes(), |body| {
            body.slice(&[self.configuration_hash(), self.now_ns, self.backward, self.foreign]);
            body.slice(&self.cells);
        });
    }

    /// The table that [`Breakers::snapshot`] wrote: it takes the permits that were out. O(n).
    ///
    /// # Errors
    /// [`RestoreError`] when `section` is no such snapshot, of another number of breakers, of others, or breaks a rule; also for a
    /// configuration that [`Breakers::new`] refuses.
    pub fn restore(breakers: &[(&str, Config)], section: &[u8]) -> Result<Self, RestoreError> {
        let section = Section::parse(section)?;
        let mut reader = section.expect(&shape(breakers.len()))?;
        let invalid = |rule, at| RestoreError::Invalid { name: NAME, broken: Broken { rule, at } };
        let Ok(mut table) = Self::new(breakers) else {
            return Err(invalid("the configuration given is one that makes breakers", 0));
        };
        reader.setting("a hash of names and settings of", table.configuration_hash())?;
        [table.now_ns, table.backward, table.foreign] = [reader.u64()?, reader.u64()?, reader.u64()?];
        reader.fill(&mut table.cells)?;
        reader.finish()?;
        if section.count() != breakers.len() as u64 {
            return Err(invalid("every breaker is in use", section.count()));
        }
        table.check(COUNT_MAX).map_err(|broken| RestoreError::Invalid { name: NAME, broken })?;
        Ok(table)
    }
}
