//! A part of a tape as a tape: a range of time, some symbols, some kinds; or all of it in pieces of equal length of time.
//!
//! What is kept keeps its order, exact ties included, its ids and its bytes, but for one thing: where the last event of a message is left out, the one before
//! it ends the message. Time is shard time, the running maximum of `ts_recv`, as for `replay --start` and `--end`; a time beyond
//! [`TIME_NS_MAX`] moves it nowhere. Ticks and epochs in the range are kept, and so is, whatever the symbols, what has no symbol.
//!
//! Where the tape's index is beside it, the tape is not scanned: places whose time or symbols cannot be in the part are stepped over. Where it is not, the tape
//! is read once from its beginning, and what is kept is given out as it is met: what stands before damage is never lost. The index is made on the way,
//! for the next time, if the tape is whole.

use super::format::is_definition;
use super::index::{IndexBuilder, IndexEntry, TapeIndex};
use super::reader::{Chain, TapeError, TapeReader};
use super::writer::{TapeWriteError, TapeWriter};
use crate::input::MESSAGE_SLOTS_MAX;
use std::collections::BTreeSet;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use tapeline_core::catalog::{Catalog, CatalogError};
use tapeline_core::event::{EventRef, Flags, Kind, KindSet, Slot, events};
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
    /// Events that were kept and given out, control included, definitions not.
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
    /// What is kept of a message is more than any reader takes.
    #[error("offset {offset}: a message that begins in this block has more than {MESSAGE_SLOTS_MAX} slots")]
    Message {
        /// Where the block begins, in bytes from the start of the tape.
        offset: u64,
    },
    /// What is kept cannot be written.
    #[error(transparent)]
    Write(#[from] TapeWriteError),
}

/// Gives each whole message of `part` to `take`, with the shard time at its first kept event and the names of the tape; the last message of a tape, or of
/// what stands before damage, may have no end. `take` may be called with control events alone. `found` says how far it came, also after an error. Memory: a
/// block, the names, the index, and [`MESSAGE_SLOTS_MAX`] slots.
///
/// # Errors
/// When the tape is damaged or cannot be read, its names do not fit `symbols_max`, a message is too long, or `take` fails. What came before was given.
pub fn read(
    path: &Path,
    part: &Part,
    symbols_max: usize,
    found: &mut Found,
    take: impl FnMut(&Catalog, UnixNanos, &[Slot]) -> Result<(), CutError>,
) -> Result<(), CutError> {
    *found = Found::default();
    let catalog = Catalog::new(symbols_max);
    let wanted = Wanted::new(part);
    let message = Message::default();
    let mut walk = Walk { path, part, catalog, wanted, found, time: 0, is_over: false, message, take };
    let read = match TapeIndex::cached(path)? {
        Some(index) => walk.by_index(&index),
        None => walk.scan(),
    };
    match read {
        // Whoever takes has failed, or the message itself is at fault: nothing more is given.
        Err(error @ (CutError::Write(_) | CutError::Message { .. })) => Err(error),
        read => walk.end_message().and(read),
    }
}

/// Writes `part` of the tape at `path` to `out`.
///
/// # Errors
/// As [`read`], and when `out` cannot be written.
pub fn cut<W: Write>(
    path: &Path,
    part: &Part,
    symbols_max: usize,
    found: &mut Found,
    out: &mut TapeWriter<W>,
) -> Result<(), CutError> {
    read(path, part, symbols_max, found, |catalog, _, slots| Ok(out.write(catalog, slots)?))
}

/// One way through a tape.
struct Walk<'a, F> {
    path: &'a Path,
    part: &'a Part,
    catalog: Catalog,
    wanted: Wanted<'a>,
    found: &'a mut Found,
    /// Shard time so far.
    time: u64,
    /// The end of the range has been reached.
    is_over: bool,
    message: Message,
    take: F,
}

impl<F: FnMut(&Catalog, UnixNanos, &[Slot]) -> Result<(), CutError>> Walk<'_, F> {
    fn open(&self) -> Result<File, TapeError> {
        File::open(self.path).map_err(|error| TapeError::Io { offset: 0, error })
    }

    /// Reads everything, and makes the index.
    fn scan(&mut self) -> Result<(), CutError> {
        let mut reader = TapeReader::new(self.open()?)?;
        let mut index = IndexBuilder::new(&reader);
        loop {
            let block = match reader.next_block() {
                Ok(Some(block)) => block,
                Ok(None) => break,
                // What is behind the range is read for the index alone.
                Err(_) if self.is_over => return Ok(()),
                Err(error) => return Err(error.into()),
            };
            index.add(&block);
            self.block(block.offset, block.slots)?;
            index.follow(&reader);
        }
        index.finish(&reader).store(self.path);
        Ok(())
    }

    /// Reads what the index does not rule out. It is that of this tape.
    fn by_index(&mut self, index: &TapeIndex) -> Result<(), CutError> {
        let mut known = Ok(());
        let names = index.definitions_before(self.open()?, u64::MAX, |event| {
            if known.is_ok() {
                known = self.catalog.apply(event);
            }
        });
        if names.is_err() || known.is_err() {
            // Not all names can be had beforehand: what stands before the fault is found by a scan.
            self.catalog = Catalog::new(self.catalog.symbols_max());
            return self.scan();
        }
        self.wanted.find_all(&self.catalog);
        self.found.symbols = self.wanted.known();
        let entries = index.entries();
        let mut reader = index.seek(self.open()?, UnixNanos::ZERO)?;
        for (number, entry) in entries.iter().enumerate() {
            let next = entries.get(number + 1);
            if self.part.end.is_some_and(|end| entry.ts_before >= end.0 && entry.ts_before > 0) {
                return self.stop();
            }
            // All of its events are before the range, or of other symbols. The end of the message at hand is looked for all the same.
            let is_before = self.part.start.is_some_and(|start| next.is_some_and(|next| next.ts_before < start.0));
            if (is_before || !self.wanted.may_be_in(entry)) && self.message.slots.is_empty() {
                continue;
            }
            if reader.offset() != entry.offset {
                step_to(&mut reader, entry)?;
            }
            self.time = entry.ts_before;
            while next.is_none_or(|next| reader.offset() < next.offset) {
                let Some(block) = reader.next_block()? else { break };
                self.block(block.offset, block.slots)?;
                if self.is_over {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// The events of one block. Behind the range names are learnt, and nothing else.
    fn block(&mut self, offset: u64, slots: &[Slot]) -> Result<(), CutError> {
        self.found.blocks += u64::from(!self.is_over);
        for event in events(slots) {
            let head = event.head();
            if is_definition(head.kind()) {
                self.catalog.apply(event)?;
                if head.kind() == Kind::SYMBOL_DEF && self.wanted.learns(&self.catalog, head.symbol) {
                    self.found.symbols += 1;
                }
                continue;
            }
            if self.is_over {
                continue;
            }
            if head.ts_recv.0 <= TIME_NS_MAX {
                self.time = self.time.max(head.ts_recv.0);
            }
            if self.part.end.is_some_and(|end| self.time >= end.0) {
                self.stop()?;
                continue;
            }
            let is_kept = self.part.start.is_none_or(|start| self.time >= start.0) && self.wanted.takes(event);
            self.found.left_out += u64::from(!is_kept);
            self.message.add(event, is_kept, UnixNanos(self.time), offset)?;
            if head.flags.contains(Flags::LAST) || head.kind().is_control() {
                self.end_message()?;
            }
        }
        Ok(())
    }

    /// The range is over: where it cuts a message, what is kept of that is a whole one.
    fn stop(&mut self) -> Result<(), CutError> {
        self.is_over = true;
        self.message.has_lost_end = true;
        self.end_message()
    }

    fn end_message(&mut self) -> Result<(), CutError> {
        let Some((time, slots)) = self.message.end() else { return Ok(()) };
        (self.take)(&self.catalog, time, slots)?;
        self.found.kept += self.message.clear();
        Ok(())
    }
}

fn step_to(reader: &mut TapeReader<File>, entry: &IndexEntry) -> Result<(), TapeError> {
    let chain = Chain {
        prev_crc: entry.prev_crc,
        sequence: entry.first_sequence,
        ts_recv_max: entry.ts_recv_max,
        // The seal's counts are of the whole tape, which this reader does not see.
        counts: None,
    };
    reader.step_to(entry.offset, Some(chain)).map_err(|error| TapeError::Io { offset: entry.offset, error })
}

/// What a [`Part`] means by the ids of one tape.
struct Wanted<'a> {
    texts: Option<&'a BTreeSet<String>>,
    /// Those of the symbols that are wanted, as far as they are known, and that of none; `None` = all.
    symbols: Option<BTreeSet<SymbolId>>,
    kinds: KindSet,
}

impl<'a> Wanted<'a> {
    fn new(part: &'a Part) -> Self {
        let texts = part.symbols.as_ref();
        Self {
            texts,
            symbols: texts.map(|_| BTreeSet::from([SymbolId::NONE])),
            kinds: part.kinds.unwrap_or(KindSet::KNOWN),
        }
    }

    /// Learns the id of every wanted symbol in `catalog`.
    fn find_all(&mut self, catalog: &Catalog) {
        if let (Some(texts), Some(ids)) = (self.texts, &mut self.symbols) {
            ids.extend(texts.iter().filter_map(|text| catalog.find_symbol(text.as_bytes())));
        }
    }

    /// Learns the id of one symbol; true where that is wanted and was not known.
    fn learns(&mut self, catalog: &Catalog, id: SymbolId) -> bool {
        let (Some(texts), Some(ids)) = (self.texts, &mut self.symbols) else { return false };
        let text = std::str::from_utf8(catalog.symbol_text(id));
        text.is_ok_and(|text| texts.contains(text)) && ids.insert(id)
    }

    /// Wanted symbols whose ids are known.
    fn known(&self) -> u64 {
        self.symbols.as_ref().map_or(0, |ids| ids.len() as u64 - 1)
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
    events: u64,
    /// Where the last event in `slots` begins.
    last: usize,
    time: UnixNanos,
    /// The block in which it begins.
    offset: u64,
    /// Its last event was left out.
    has_lost_end: bool,
}

impl Message {
    fn add(&mut self, event: EventRef<'_>, is_kept: bool, time: UnixNanos, offset: u64) -> Result<(), CutError> {
        self.has_lost_end = !is_kept && event.head().flags.contains(Flags::LAST);
        if !is_kept {
            return Ok(());
        }
        if self.slots.is_empty() {
            (self.time, self.offset) = (time, offset);
        }
        if self.slots.len() + event.slots().len() > MESSAGE_SLOTS_MAX {
            return Err(CutError::Message { offset: self.offset });
        }
        self.last = self.slots.len();
        self.slots.extend_from_slice(event.slots());
        self.events += 1;
        Ok(())
    }

    /// What is to be given out, if there is anything.
    fn end(&mut self) -> Option<(UnixNanos, &[Slot])> {
        if let Some(last) = self.slots.get_mut(self.last)
            && self.has_lost_end
        {
            last.flags = last.flags.with(Flags::LAST);
        }
        self.has_lost_end = false;
        (!self.slots.is_empty()).then_some((self.time, &self.slots))
    }

    /// It was given out; how many events it had.
    fn clear(&mut self) -> u64 {
        self.slots.clear();
        self.last = 0;
        std::mem::take(&mut self.events)
    }
}
