//! A part of a tape as a tape: a range of time, some symbols, some kinds; or all of it in pieces of equal length of time.
//!
//! What is kept keeps its order, exact ties included, its ids and its bytes, but for one thing: where the last event of a message is left out, the one before
//! it ends the message. Time is shard time, the running maximum of `ts_recv`, as for `replay --start` and `--end`. Ticks and epochs in the range are
//! kept, and so is, whatever the symbols, what has no symbol.
//!
//! The tape is not scanned: places whose time or symbols cannot be in the part are stepped over by its index. That is built first where it is not beside the
//! tape, by reading it once.

use super::format::is_definition;
use super::index::{IndexEntry, TapeIndex};
use super::reader::{Chain, TapeError, TapeReader};
use super::writer::{TapeWriteError, TapeWriter};
use std::collections::BTreeSet;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use tapeline_core::catalog::{Catalog, CatalogError};
use tapeline_core::event::{EventRef, Flags, KindSet, Slot, events};
use tapeline_core::limits::TIME_NS_MAX;
use tapeline_core::units::{SymbolId, UnixNanos};

/// What is wanted of a tape.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Part {
    /// From this shard time on; `None` = from the beginning.
    pub start: Option<UnixNanos>,
    /// Up to this shard time, exclusive; `None` = to the end.
    pub end: Option<UnixNanos>,
    /// These symbols, and what has none; `None` = all.
    pub symbols: Option<BTreeSet<String>>,
    /// These kinds, and control; `None` = all.
    pub kinds: Option<KindSet>,
}

/// What a cut found.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Found {
    /// Events that were kept, control included, definitions not.
    pub kept: u64,
    /// Events that were read and left out.
    pub left_out: u64,
    /// Blocks that were read for events; the others were stepped over.
    pub blocks: u64,
    /// Symbols of [`Part::symbols`] that the tape defines.
    pub symbols: u64,
}

/// Why a tape could not be cut.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CutError {
    /// The tape cannot be read.
    #[error(transparent)]
    Tape(#[from] TapeError),
    /// Its names do not fit.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// What is kept cannot be written.
    #[error(transparent)]
    Write(#[from] TapeWriteError),
}

/// Gives each whole message of `part` to `take`, with the shard time at its first kept event and the names of the tape; the last message of a tape may have
/// no end. `take` may be called with control events alone.
///
/// # Errors
/// When the tape is damaged or cannot be read, its names do not fit `symbols_max`, or `take` fails. What came before was given.
pub fn read(
    path: &Path,
    part: &Part,
    symbols_max: usize,
    mut take: impl FnMut(&Catalog, UnixNanos, &[Slot]) -> Result<(), CutError>,
) -> Result<Found, CutError> {
    let index = TapeIndex::open(path)?;
    let open = || File::open(path).map_err(|error| TapeError::Io { offset: 0, error });
    let mut catalog = Catalog::new(symbols_max);
    let mut fault = Ok(());
    index.definitions_before(open()?, u64::MAX, |event| {
        if fault.is_ok() {
            fault = catalog.apply(event);
        }
    })?;
    fault?;
    let wanted = Wanted::new(part, &catalog);
    let mut found =
        Found { symbols: wanted.symbols.as_ref().map_or(0, |ids| ids.len() as u64 - 1), ..Found::default() };
    let entries = index.entries();
    let mut reader = index.seek(open()?, UnixNanos::ZERO)?;
    let mut message = Message::default();
    for (number, entry) in entries.iter().enumerate() {
        let next = entries.get(number + 1);
        if part.end.is_some_and(|end| entry.ts_before >= end.0 && entry.ts_before > 0) {
            break;
        }
        // All of its events are before the range, or of other symbols.
        let is_before = part.start.is_some_and(|start| next.is_some_and(|next| next.ts_before < start.0));
        if is_before || !wanted.may_be_in(entry) {
            // The rest of the message at hand, if there is one, is among what is stepped over.
            message.has_lost_end = true;
            message.end(&catalog, &mut take)?;
            continue;
        }
        if reader.offset() != entry.offset {
            step_to(&mut reader, entry)?;
        }
        let mut time = entry.ts_before;
        while next.is_none_or(|next| reader.offset() < next.offset) {
            let Some(block) = reader.next_block()? else { break };
            found.blocks += 1;
            for event in events(block.slots) {
                let head = event.head();
                if is_definition(head.kind()) {
                    continue;
                }
                if head.ts_recv.0 <= TIME_NS_MAX {
                    time = time.max(head.ts_recv.0);
                }
                if part.end.is_some_and(|end| time >= end.0) {
                    message.end(&catalog, &mut take)?;
                    return Ok(found);
                }
                let is_kept = part.start.is_none_or(|start| time >= start.0) && wanted.takes(event);
                found.kept += u64::from(is_kept);
                found.left_out += u64::from(!is_kept);
                message.add(event, is_kept, UnixNanos(time));
                if head.flags.contains(Flags::LAST) || head.kind().is_control() {
                    message.end(&catalog, &mut take)?;
                }
            }
        }
    }
    message.end(&catalog, &mut take)?;
    Ok(found)
}

/// Writes `part` of the tape at `path` to `out`.
///
/// # Errors
/// As [`read`], and when `out` cannot be written.
pub fn cut<W: Write>(path: &Path, part: &Part, symbols_max: usize, out: &mut TapeWriter<W>) -> Result<Found, CutError> {
    read(path, part, symbols_max, |catalog, _, slots| Ok(out.write(catalog, slots)?))
}

fn step_to(reader: &mut TapeReader<File>, entry: &IndexEntry) -> Result<(), TapeError> {
    let chain = Chain {
        prev_crc: entry.prev_crc,
        sequence: entry.first_sequence,
        ts_recv_max: entry.ts_before,
        // The seal's counts are of the whole tape, which this reader does not see.
        counts: None,
    };
    reader.step_to(entry.offset, Some(chain)).map_err(|error| TapeError::Io { offset: entry.offset, error })
}

/// What a [`Part`] means by the ids of one tape.
struct Wanted {
    /// Those of the symbols that are wanted, and that of none; `None` = all.
    symbols: Option<BTreeSet<SymbolId>>,
    kinds: KindSet,
}

impl Wanted {
    fn new(part: &Part, catalog: &Catalog) -> Self {
        let symbols = part.symbols.as_ref().map(|texts| {
            let ids = texts.iter().filter_map(|text| catalog.find_symbol(text.as_bytes()));
            ids.chain([SymbolId::NONE]).collect()
        });
        Self { symbols, kinds: part.kinds.unwrap_or(KindSet::KNOWN) }
    }

    /// Whether anything wanted may stand from this entry to the next.
    fn may_be_in(&self, entry: &IndexEntry) -> bool {
        self.symbols.as_ref().is_none_or(|ids| ids.iter().any(|id| entry.may_have(*id)))
    }

    fn takes(&self, event: EventRef<'_>) -> bool {
        let head = event.head();
        // A kind that this build does not know is kept where all are.
        let is_of_kind = head.kind().is_control() || self.kinds.contains(head.kind()) || self.kinds == KindSet::KNOWN;
        is_of_kind && self.symbols.as_ref().is_none_or(|ids| ids.contains(&head.symbol))
    }
}

/// What is kept of the message at hand.
#[derive(Default)]
struct Message {
    slots: Vec<Slot>,
    /// Where the last event in `slots` begins.
    last: usize,
    time: UnixNanos,
    /// Its last event was left out.
    has_lost_end: bool,
}

impl Message {
    fn add(&mut self, event: EventRef<'_>, is_kept: bool, time: UnixNanos) {
        self.has_lost_end = !is_kept && event.head().flags.contains(Flags::LAST);
        if !is_kept {
            return;
        }
        if self.slots.is_empty() {
            self.time = time;
        }
        self.last = self.slots.len();
        self.slots.extend_from_slice(event.slots());
    }

    fn end(
        &mut self,
        catalog: &Catalog,
        take: &mut impl FnMut(&Catalog, UnixNanos, &[Slot]) -> Result<(), CutError>,
    ) -> Result<(), CutError> {
        if let Some(last) = self.slots.get_mut(self.last)
            && self.has_lost_end
        {
            last.flags = last.flags.with(Flags::LAST);
        }
        self.has_lost_end = false;
        if self.slots.is_empty() {
            return Ok(());
        }
        let done = take(catalog, self.time, &self.slots);
        self.slots.clear();
        done
    }
}
