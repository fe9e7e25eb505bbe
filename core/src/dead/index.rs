//! The chains by which entries are listed, all in the order of last failures.

use super::entry::Entry;
use crate::chain::Chains;
use crate::invariant::{Broken, require};
use crate::limits::KIND_ROWS;
use crate::section::{Reader, RestoreError, Writer};
use crate::slab::Slab;

#[derive(Debug)]
pub(super) struct Index {
    all: Chains,
    kinds: Chains,
    symbols: Chains,
    /// One chain for each registered code and one for all others; entries that never failed are in none.
    errors: Chains,
}

/// Which chain to walk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum By {
    All,
    Kind(u32),
    Symbol(u32),
    Error(u32),
}

impl Index {
    pub(super) fn new(symbols: usize, errors: usize, entries: usize) -> Self {
        Self {
            all: Chains::new(1, entries),
            kinds: Chains::new(KIND_ROWS, entries),
            symbols: Chains::new(symbols, entries),
            errors: Chains::new(errors + 1, entries),
        }
    }

    pub(super) fn symbols(&self) -> usize {
        self.symbols.chains()
    }

    /// Row of `error` in tables by registered code.
    pub(super) fn error_row(&self, error: u16) -> u32 {
        u32::from(error).min(self.errors.chains() as u32 - 1)
    }

    pub(super) fn bytes(&self) -> usize {
        self.all.bytes() + self.kinds.bytes() + self.symbols.bytes() + self.errors.bytes()
    }

    fn error_chain(&self, entry: &Entry) -> Option<u32> {
        entry.error().map(|error| self.error_row(error))
    }

    /// Appends to every chain that `entry` belongs into.
    pub(super) fn link(&mut self, index: u32, entry: &Entry) {
        self.all.push_back(0, index);
        self.kinds.push_back(entry.kind_row(), index);
        self.symbols.push_back(entry.symbol.0, index);
        if let Some(row) = self.error_chain(entry) {
            self.errors.push_back(row, index);
        }
    }

    /// Takes `entry`, as it was linked, out of all chains.
    pub(super) fn unlink(&mut self, index: u32, entry: &Entry) {
        self.all.unlink(0, index);
        self.kinds.unlink(entry.kind_row(), index);
        self.symbols.unlink(entry.symbol.0, index);
        if let Some(row) = self.error_chain(entry) {
            self.errors.unlink(row, index);
        }
    }

    /// The chains themselves, and which of them.
    #[inline]
    pub(super) fn chain(&self, by: By) -> (&Chains, u32) {
        match by {
            By::All => (&self.all, 0),
            By::Kind(row) => (&self.kinds, row),
            By::Symbol(id) => (&self.symbols, id),
            By::Error(row) => (&self.errors, row),
        }
    }

    pub(super) fn len(&self, by: By) -> usize {
        let (chains, chain) = self.chain(by);
        chains.len(chain)
    }

    /// Whether `entry` is in that chain.
    pub(super) fn holds(&self, by: By, entry: &Entry) -> bool {
        match by {
            By::All => true,
            By::Kind(row) => entry.kind_row() == row,
            By::Symbol(id) => entry.symbol.0 == id,
            By::Error(row) => self.error_chain(entry) == Some(row),
        }
    }

    pub(super) fn section_bytes(&self) -> usize {
        self.bytes()
    }

    pub(super) fn write(&self, body: &mut Writer<'_>) {
        for chains in [&self.all, &self.kinds, &self.symbols, &self.errors] {
            chains.write(body);
        }
    }

    pub(super) fn read(
        symbols: usize,
        errors: usize,
        entries: usize,
        body: &mut Reader<'_>,
    ) -> Result<Self, RestoreError> {
        Ok(Self {
            all: Chains::read(1, entries, body)?,
            kinds: Chains::read(KIND_ROWS, entries, body)?,
            symbols: Chains::read(symbols, entries, body)?,
            errors: Chains::read(errors + 1, entries, body)?,
        })
    }

    /// Whether the chains hold what they should, in order.
    pub(super) fn check(&self, entries: &Slab<Entry>) -> Result<(), Broken> {
        let get = |index: u32| entries.is_used(index).then(|| entries.at(index));
        self.all.check(|index| get(index).map(|_| 0))?;
        self.kinds.check(|index| get(index).map(Entry::kind_row))?;
        self.symbols.check(|index| get(index).map(|entry| entry.symbol.0))?;
        self.errors.check(|index| get(index).and_then(|entry| self.error_chain(entry)))?;
        for chains in [&self.all, &self.kinds, &self.symbols, &self.errors] {
            for chain in 0..chains.chains() as u32 {
                let (mut seq, mut last_ns) = (0, 0);
                for index in chains.iter(chain) {
                    let entry = entries.at(index);
                    require(entry.seq > seq, "a chain is in the order of last failures", index)?;
                    require(entry.last_ns.0 >= last_ns, "time does not go back along a chain", index)?;
                    (seq, last_ns) = (entry.seq, entry.last_ns.0);
                }
            }
        }
        Ok(())
    }
}
