//! Row groups of a Parquet file by time, as the index of a tape has its blocks.
//!
//! One pass at the start reads the whole file and keeps up to [`MARKS_MAX`] places between row groups, each with the running maximum of
//! `ts_recv` before it and what rows before it leave behind (numbers of symbols). An order begins at the last place before its range.

use crate::input::bytes::ByteSource;
use crate::input::parquet::{Mark, ParquetConfig, ParquetInput};
use crate::input::{Input, InputError, MESSAGE_SLOTS_MAX, SlotBuf, Status};
use std::path::Path;
use tapeline_core::catalog::Catalog;
use tapeline_core::event::{Slot, events};
use tapeline_core::limits::TIME_NS_MAX;
use tapeline_core::units::UnixNanos;

/// Places that are kept of a file: an order reads a 32nd of it in vain at most, where row groups are many and alike.
const MARKS_MAX: usize = 64;

/// See the [module](self).
pub(super) struct RowGroups {
    /// Running maximum of `ts_recv` before each place.
    marks: Vec<(u64, Mark)>,
    /// The file's own names. Complete: no reading finds another one.
    catalog: Catalog,
}

impl std::fmt::Debug for RowGroups {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RowGroups").field("marks", &self.marks.len()).finish_non_exhaustive()
    }
}

fn open(path: &Path) -> Result<ParquetInput, InputError> {
    let path = path.to_string_lossy();
    ParquetInput::new(ByteSource::open(&path, None)?, &ParquetConfig::default())
}

impl RowGroups {
    /// Reads a file whole. Gives its time of the first event, `None` where it has none, and the number of events.
    pub(super) fn read(path: &Path, symbols_max: usize) -> Result<(Self, Option<UnixNanos>, u64), InputError> {
        let mut input = open(path)?;
        input.stop_at_groups();
        let (mut catalog, mut out) = (Catalog::new(symbols_max), SlotBuf::with_capacity(MESSAGE_SLOTS_MAX));
        let (mut marks, mut first, mut count, mut time) = (Vec::new(), None, 0, 0);
        let (mut every, mut seen) = (1u64, 0u64);
        loop {
            if let Some(mark) = input.mark() {
                if seen.is_multiple_of(every) {
                    if marks.len() == MARKS_MAX {
                        let mut index = 0;
                        marks.retain(|_| {
                            index += 1;
                            index % 2 == 1
                        });
                        every *= 2;
                    }
                    if seen.is_multiple_of(every) {
                        marks.push((time, mark));
                    }
                }
                seen += 1;
            }
            out.clear();
            let status = input.read(&mut catalog, &mut out)?;
            for event in events(out.slots()) {
                let at = event.head().ts_recv.0;
                count += 1;
                if at <= TIME_NS_MAX {
                    time = at.max(time);
                    first = first.or(Some(event.head().ts_recv));
                }
            }
            if status == Status::End {
                return Ok((Self { marks, catalog }, first, count));
            }
        }
    }

    pub(super) fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// The rows from a place on before which nothing is of `from` or later, and the running maximum of `ts_recv` there.
    pub(super) fn seek(&self, path: &Path, from: UnixNanos) -> Result<(Rows, u64), InputError> {
        let mut input = open(path)?;
        // Of equal times the first: the running maximum stands still where times go back.
        let after = self.marks.partition_point(|(time, _)| *time < from.0);
        let time = match after.checked_sub(1).map(|at| &self.marks[at]) {
            Some((time, mark)) => {
                input.go_to(mark);
                *time
            }
            None => 0,
        };
        let (catalog, out) = (self.catalog.clone(), SlotBuf::with_capacity(MESSAGE_SLOTS_MAX));
        let rows = Rows { input, catalog, out, is_done: false, error: None };
        Ok((rows, time))
    }
}

/// Rows of a file as events, some at a time.
pub(super) struct Rows {
    input: ParquetInput,
    catalog: Catalog,
    out: SlotBuf,
    is_done: bool,
    /// What is to be told after the rows before it.
    error: Option<InputError>,
}

impl Rows {
    /// Reads some more: how many slots there are, `None` after the last ones. An error comes after what was read before it.
    pub(super) fn next(&mut self) -> Result<Option<usize>, InputError> {
        self.out.clear();
        if self.is_done {
            return self.error.take().map_or(Ok(None), Err);
        }
        match self.input.read(&mut self.catalog, &mut self.out) {
            Ok(Status::More) => {}
            Ok(Status::End) => self.is_done = true,
            Err(error) => {
                self.is_done = true;
                self.error = Some(error);
            }
        }
        if self.out.slots().is_empty()
            && let Some(error) = self.error.take()
        {
            return Err(error);
        }
        Ok((!self.out.slots().is_empty()).then(|| self.out.slots().len()))
    }

    pub(super) fn slots(&self) -> &[Slot] {
        self.out.slots()
    }
}
