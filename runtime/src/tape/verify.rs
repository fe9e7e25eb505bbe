//! Walking a whole tape, damage included, without changing it.
//!
//! Where [`super::TapeReader`] stops at the first damage, this goes on behind it: whether a later block still verifies is
//! what tells damage inside a tape from a torn tail, and a recovery may cut only the latter.

use super::format::{
    BLOCK_BYTES_MAX, BLOCK_HEADER_BYTES, BLOCK_MAGIC, BlockFault, BlockHeader, SEAL_MAGIC, SEGMENT_HEADER_BYTES, Seal,
    SegmentHeader, SlotFault, ids_used, is_definition,
};
use super::reader::{TapeError, TapeReader, fill};
use bytemuck::Zeroable;
use std::collections::HashMap;
use std::fmt;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;
use tapeline_core::catalog::definition_text;
use tapeline_core::event::payload::SymbolDef;
use tapeline_core::event::{Kind, Slot, events};
use tapeline_core::limits::{SOURCES_MAX, SYMBOL_BYTES_MAX, SYMBOLS_MAX};

/// Damaged places that are described in a report; the others are only counted.
pub const DAMAGES_NAMED_MAX: usize = 100;

/// What a walk over a whole tape found.
#[derive(Clone, Debug, Default)]
pub struct VerifyReport {
    /// Length of the file.
    pub bytes: u64,
    /// The segment header, unless it is damaged.
    pub header: Option<SegmentHeader>,
    /// Blocks that verify, those behind damage included.
    pub blocks: u64,
    /// Slots of these blocks.
    pub slots: u64,
    /// Events of these blocks, definitions excepted.
    pub events: u64,
    /// Definitions of these blocks.
    pub definitions: u64,
    /// Events of these blocks that end a message.
    pub messages: u64,
    /// Events before the first damage, definitions included: what a reader delivers.
    pub events_before_damage: u64,
    /// Largest `ts_recv`, ns since the UNIX epoch.
    pub ts_recv_max: u64,
    /// Whether a seal that verifies ends the tape.
    pub sealed: bool,
    /// Damaged places.
    pub damages: u64,
    /// The first of them, in the order of the file.
    pub first_damages: Vec<Damage>,
    /// Whether the search for blocks behind damage was given up: too much of the file looks like blocks and is none.
    pub search_given_up: bool,
}

/// One damaged place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// Where the damaged header, block or seal begins, in bytes from the start of the file.
    pub offset: u64,
    /// What is wrong there.
    pub what: String,
    /// What it means for recovery.
    pub kind: DamageKind,
}

/// What damage means for recovery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DamageKind {
    /// The segment header: nothing on the tape can be trusted to be whole.
    Header,
    /// Inside: a block or seal of this epoch that verifies follows at `next`. Never to be cut.
    Inside {
        /// Offset of that block or seal; that of the damage itself when the block there is right and others are missing.
        next: u64,
    },
    /// The block and its place are right, its events are not: a fault of the program that wrote it.
    Content,
    /// Nothing that verifies follows: the last so many bytes are a write that did not finish, or zeros.
    TornTail {
        /// Bytes from the damage to the end of the file.
        bytes: u64,
    },
    /// The tape ends after a whole block, without a seal: not closed, or cut there.
    NoSeal,
    /// The tape is whole and sealed, and so many bytes follow that are not part of it.
    AfterSeal {
        /// Bytes after the seal.
        bytes: u64,
    },
}

impl VerifyReport {
    /// Whether the tape is whole: sealed, and nothing wrong with it.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.sealed && self.damages == 0
    }

    fn add(&mut self, offset: u64, what: &dyn fmt::Display, kind: DamageKind) {
        self.damages += 1;
        if self.first_damages.len() < DAMAGES_NAMED_MAX {
            self.first_damages.push(Damage { offset, what: what.to_string(), kind });
        }
    }
}

impl fmt::Display for VerifyReport {
    /// A line for the whole and one for each damaged place.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seal = if self.sealed { "sealed" } else { "not sealed" };
        write!(
            f,
            "{} blocks, {} events, {} definitions, {} bytes, {seal}, {} damaged places",
            self.blocks, self.events, self.definitions, self.bytes, self.damages
        )?;
        for damage in &self.first_damages {
            write!(f, "\n{damage}")?;
        }
        if self.damages > self.first_damages.len() as u64 {
            write!(f, "\nand {} more", self.damages - self.first_damages.len() as u64)?;
        }
        if self.search_given_up {
            write!(f, "\nthe search for later blocks was given up: too many bytes look like blocks and are none")?;
        }
        Ok(())
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "offset {}: {}", self.offset, self.what)?;
        match self.kind {
            DamageKind::Header => write!(f, " (segment header)"),
            DamageKind::Inside { next } if next == self.offset => write!(f, " (damage inside)"),
            DamageKind::Inside { next } => write!(f, " (damage inside: what is at offset {next} verifies)"),
            DamageKind::Content => write!(f, " (written so)"),
            DamageKind::TornTail { bytes } => write!(f, " (torn tail of {bytes} bytes)"),
            DamageKind::NoSeal => write!(f, " (not closed, or cut at the end of a block)"),
            DamageKind::AfterSeal { bytes } => write!(f, " ({bytes} bytes)"),
        }
    }
}

/// Walks the tape at `path`. Reads it once; memory depends on the number of symbols, not on its length.
///
/// # Errors
/// When the file cannot be opened or read. Damage is no error: it is in the report.
pub fn verify(path: &Path) -> io::Result<VerifyReport> {
    verify_tape(File::open(path)?)
}

/// As [`verify`], for anything that can be read at will.
///
/// # Errors
/// When it cannot be read.
pub fn verify_tape<R: Read + Seek>(mut tape: R) -> io::Result<VerifyReport> {
    let bytes = tape.seek(SeekFrom::End(0))?;
    let mut report = VerifyReport { bytes, ..VerifyReport::default() };
    let mut search = Search { budget: bytes.saturating_mul(4).saturating_add(1 << 24), epoch: None, given_up: false };
    tape.seek(SeekFrom::Start(0))?;
    let mut walk = match TapeReader::new(&mut tape) {
        Ok(reader) => {
            report.header = Some(reader.header().clone());
            search.epoch = Some(reader.header().epoch);
            Walk { reader, names: Some(Names::new()) }
        }
        Err(TapeError::Io { error, .. }) => return Err(error),
        Err(error @ TapeError::Unrecognised(_)) => {
            report.add(0, &error, DamageKind::Header);
            return Ok(report);
        }
        Err(error) => {
            report.add(0, &strip(&error), DamageKind::Header);
            let Some(next) = search.next_valid(&mut tape, SEGMENT_HEADER_BYTES as u64, 0)? else {
                report.search_given_up = search.given_up;
                return Ok(report);
            };
            // Without its header the segment's epoch is that of the first block that verifies.
            let header = SegmentHeader { epoch: search.epoch.unwrap_or(0), ..SegmentHeader::default() };
            let mut reader = TapeReader::at_blocks(&mut tape, header, None);
            reader.step_to(next, None)?;
            Walk { reader, names: None }
        }
    };
    while let Some(damage) = walk.walk_to_damage(&mut report)? {
        let TapeError::Damaged { offset, fault } = damage else {
            unreachable!("the header was read, I/O errors returned")
        };
        let sequence = walk.reader.chain().map_or(0, |chain| chain.sequence);
        // Names may have been defined in what is lost.
        walk.names = None;
        let next = match fault {
            BlockFault::AfterSeal => {
                report.sealed = true;
                report.add(offset, &fault, DamageKind::AfterSeal { bytes: bytes - offset });
                break;
            }
            BlockFault::NoSeal => {
                report.add(offset, &fault, DamageKind::NoSeal);
                break;
            }
            // The block is right in itself: it is what is before it that is not.
            BlockFault::Chain { .. } | BlockFault::Sequence { .. } | BlockFault::Seal(_) => Some(offset),
            _ => search.next_valid(walk.reader.input_mut(), offset + 1, sequence)?,
        };
        let Some(next) = next else {
            report.add(offset, &fault, DamageKind::TornTail { bytes: bytes - offset });
            break;
        };
        report.add(offset, &fault, DamageKind::Inside { next });
        if !next.is_multiple_of(BLOCK_HEADER_BYTES as u64) {
            // Bytes were lost or inserted: offsets do not hold behind them, and alignment with them.
            break;
        }
        walk.reader.step_to(next, None)?;
    }
    report.search_given_up = search.given_up;
    Ok(report)
}

/// The error without its offset, which the report names itself.
fn strip(error: &TapeError) -> String {
    match error {
        TapeError::Header(fault) => fault.to_string(),
        other => other.to_string(),
    }
}

struct Walk<R> {
    reader: TapeReader<R>,
    /// Names so far; `None` once some may be lost.
    names: Option<Names>,
}

impl<R: Read + Seek> Walk<R> {
    /// Adds up blocks until the seal (`None`) or the next damage.
    fn walk_to_damage(&mut self, report: &mut VerifyReport) -> io::Result<Option<TapeError>> {
        loop {
            match self.reader.next_block() {
                Ok(None) => {
                    report.sealed = self.reader.seal().is_some();
                    return Ok(None);
                }
                Ok(Some(block)) => {
                    let definitions = u64::from(block.summary.definitions);
                    report.blocks += 1;
                    report.slots += u64::from(block.header.slots);
                    report.events += u64::from(block.summary.events) - definitions;
                    report.definitions += definitions;
                    report.messages += u64::from(block.summary.messages);
                    report.ts_recv_max = report.ts_recv_max.max(block.summary.ts_recv_max);
                    if report.damages == 0 {
                        report.events_before_damage += u64::from(block.summary.events);
                    }
                    if let Some(names) = &mut self.names
                        && let Err((index, what)) = names.check(block.slots)
                    {
                        let fault = BlockFault::Slot { index, what };
                        report.add(block.offset, &fault, DamageKind::Content);
                        self.names = None;
                    }
                }
                Err(TapeError::Io { error, .. }) => return Err(error),
                Err(damage) => return Ok(Some(damage)),
            }
        }
    }
}

/// The names that a tape has defined so far, as hashes of their texts.
struct Names {
    symbols: Vec<u64>,
    sources: Vec<u64>,
    /// Hash to id, to find a text that is given two ids.
    symbol_ids: HashMap<u64, u32>,
}

impl Names {
    fn new() -> Self {
        Self { symbols: vec![0], sources: vec![0], symbol_ids: HashMap::new() }
    }

    /// Takes the definitions of a block and checks that all names in it are defined before they are used.
    fn check(&mut self, slots: &[Slot]) -> Result<(), (u32, SlotFault)> {
        let mut index = 0;
        for event in events(slots) {
            let head = event.head();
            if is_definition(head.kind()) {
                let symbol = head.kind() == Kind::SYMBOL_DEF;
                let id = if symbol { head.symbol.0 } else { u32::from(head.source.0) };
                let mut text = [0; SYMBOL_BYTES_MAX];
                let whole = definition_text(event, id, &mut text).is_ok();
                if !whole || !self.define(symbol, id, head.payload_as::<SymbolDef>().hash) {
                    return Err((index, SlotFault::Definition(id)));
                }
            } else {
                let (symbol, source) = ids_used(event.slots());
                if symbol as usize >= self.symbols.len() {
                    return Err((index, SlotFault::Symbol(symbol)));
                }
                if usize::from(source) >= self.sources.len() {
                    return Err((index, SlotFault::Source(source)));
                }
            }
            index += event.slots().len() as u32;
        }
        Ok(())
    }

    fn define(&mut self, symbol: bool, id: u32, hash: u64) -> bool {
        let (names, max) = if symbol { (&mut self.symbols, SYMBOLS_MAX) } else { (&mut self.sources, SOURCES_MAX) };
        match names.get(id as usize) {
            Some(&known) => id != 0 && known == hash,
            None if id as usize == names.len() && names.len() < max => {
                names.push(hash);
                if symbol { self.symbol_ids.insert(hash, id).is_none() } else { !names[1..id as usize].contains(&hash) }
            }
            None => false,
        }
    }
}

/// The search for something that verifies behind damage.
struct Search {
    /// Bytes of candidates that may still be summed: a file of false beginnings shall not cost more than a few readings.
    budget: u64,
    /// Epoch of the segment; that of the first block found when the header is lost.
    epoch: Option<u64>,
    given_up: bool,
}

impl Search {
    /// The first offset at or after `from` where a block or seal of this epoch verifies whose sequence is `sequence` or
    /// later. Every offset is tried, not only aligned ones.
    fn next_valid<R: Read + Seek>(&mut self, tape: &mut R, from: u64, sequence: u64) -> io::Result<Option<u64>> {
        const OVERLAP: usize = BLOCK_MAGIC.len() - 1;
        let mut window = vec![0; 4096];
        let mut stored = Vec::new();
        let mut at = from;
        loop {
            tape.seek(SeekFrom::Start(at))?;
            let have = fill(tape, &mut window)?;
            for (index, four) in window[..have].windows(BLOCK_MAGIC.len()).enumerate() {
                if (four == BLOCK_MAGIC || four == SEAL_MAGIC)
                    && self.verifies(tape, at + index as u64, sequence, &mut stored)?
                {
                    return Ok(Some(at + index as u64));
                }
            }
            if have < window.len() || self.given_up {
                return Ok(None);
            }
            at += (have - OVERLAP) as u64;
            // Small steps first: in a tape with many damaged places the next good block is near.
            window.resize((window.len() * 2).min(1 << 20), 0);
        }
    }

    fn verifies<R: Read + Seek>(
        &mut self,
        tape: &mut R,
        offset: u64,
        sequence: u64,
        stored: &mut Vec<u8>,
    ) -> io::Result<bool> {
        let mut header = BlockHeader::zeroed();
        if !self.spend(BLOCK_HEADER_BYTES as u64) {
            return Ok(false);
        }
        tape.seek(SeekFrom::Start(offset))?;
        if fill(tape, bytemuck::bytes_of_mut(&mut header))? < BLOCK_HEADER_BYTES {
            return Ok(false);
        }
        let later = header.first_sequence >= sequence && self.epoch.is_none_or(|epoch| epoch == header.epoch);
        if !later {
            return Ok(false);
        }
        let verifies = if header.magic == SEAL_MAGIC {
            let seal: Seal = bytemuck::must_cast(header);
            seal.crc == seal.checksum()
        } else if header.check().is_err() {
            false
        } else {
            let need = header.stored_bytes as usize;
            if !self.spend(need as u64) {
                return Ok(false);
            }
            stored.resize(need.min(BLOCK_BYTES_MAX), 0);
            fill(tape, stored)? == need && header.checksum(stored) == header.crc
        };
        if verifies {
            self.epoch = Some(header.epoch);
        }
        Ok(verifies)
    }

    /// Takes `bytes` from the budget, or gives the search up.
    fn spend(&mut self, bytes: u64) -> bool {
        self.given_up |= bytes > self.budget;
        self.budget = self.budget.saturating_sub(bytes);
        !self.given_up
    }
}
