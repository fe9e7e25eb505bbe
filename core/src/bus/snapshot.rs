//! Handlers' states as a [section](crate::section) of plain bytes, and back.
//!
//! Name "handlers", version 1; an element is a handler. The body: subscriptions, then of each handler, in dispatch order, what it is (hash of its name, version and
//! size of its state), its counts, and states and strikes of the symbols that the catalog knows. A state is its handler's own: beyond its
//! version and size nothing is looked at. What calls took (stamps) begins anew.

use super::{Bus, Chain};
use crate::invariant::{Broken, require};
use crate::section::{self, RestoreError, Section, Shape};

const NAME: &str = "handlers";
const LAYOUT: &str = "symbols u64; slab of subscriptions: topic kinds u64, handler pad u32; handlers: name version bytes u64, \
    calls failed last_code panicked states_lost quarantined skipped u64, states, strikes u8";

fn shape(handlers: usize) -> Shape {
    Shape { name: NAME, version: 1, element: 0, layout: LAYOUT, capacity: handlers as u64 }
}

impl<C: Chain> Bus<C> {
    /// Appends handlers' states of symbols `0..symbols` as a section of plain bytes. O(states).
    pub(crate) fn snapshot(&mut self, symbols: usize, out: &mut Vec<u8>) {
        let mut bytes = 8 + self.subscriptions.section_bytes();
        self.each(&mut |handler| bytes += handler.section_bytes(symbols));
        let handlers = self.names.len();
        section::write(out, &shape(handlers), handlers as u64, bytes, |body| {
            body.u64(symbols as u64);
            self.subscriptions.write(body);
            self.each(&mut |handler| handler.write(symbols, body));
        });
    }

    /// Puts back what [`Bus::snapshot`] wrote by a bus of the same handlers. After an error the bus is not to be used.
    ///
    /// # Errors
    /// [`RestoreError`] when `section` is no such snapshot, of other handlers or other versions of their states, or breaks a rule.
    pub(crate) fn restore(&mut self, symbols: usize, section: &[u8]) -> Result<(), RestoreError> {
        let invalid = |broken: Broken| RestoreError::Invalid { name: NAME, broken };
        let section = Section::parse(section)?;
        let mut body = section.expect(&shape(self.names.len()))?;
        body.setting("symbols", symbols as u64)?;
        self.subscriptions.read(&mut body, invalid)?;
        let (mut result, mut quarantined) = (Ok(()), 0);
        self.each(&mut |handler| {
            if result.is_ok() {
                let read = handler.read(symbols, &mut body).and_then(|read| read.map_err(invalid));
                result = read.map(|of_it| quarantined += of_it);
            }
        });
        result?;
        body.finish()?;
        require(section.count() == self.names.len() as u64, "the count is that of the handlers", section.count())
            .map_err(invalid)?;
        self.quarantined = quarantined;
        for handler in 0..self.names.len() as u16 {
            self.follow(handler);
        }
        Ok(())
    }
}
