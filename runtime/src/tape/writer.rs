//! Writing a tape.

use super::format::{
    self, BLOCK_HEADER_BYTES, BLOCK_MAGIC, BLOCK_SLOTS_MAX, BlockHeader, Codec, GROUP_BYTES, MadeByTooLong, SEAL_MAGIC,
    SEGMENT_HEADER_BYTES, Seal, SegmentHeader, SlotFault, ids_used, is_definition, padding,
};
use bytemuck::Zeroable;
use std::fmt;
use std::io::{self, Write};
use tapeline_core::catalog::Catalog;
use tapeline_core::event::{EventRef, Kind, Slot};
use tapeline_core::units::{SourceId, SymbolId};
use zstd::bulk::Compressor;

/// Effort of the compressor: zstd's own default. A fixed number, so that equal input gives equal bytes.
const ZSTD_LEVEL: i32 = 3;

const ZEROS: [u8; GROUP_BYTES] = [0; GROUP_BYTES];

/// What a tape is to be. The default is an unmarked, uncompressed tape of no shard, as `import` writes it.
#[derive(Clone, Debug, Default)]
pub struct TapeOptions {
    /// Made by a model, not captured. Stands in the header for everyone to see.
    pub generated: bool,
    /// What made this tape, and from what: free text, at most [`format::MADE_BY_BYTES_MAX`] bytes.
    pub made_by: String,
    /// How blocks are stored.
    pub codec: Codec,
    /// Shard that writes, from 0.
    pub shard: u16,
    /// Shards of the engine; 0 when no shard writes.
    pub shard_count: u16,
    /// Number of this segment among those of its shard, from 0.
    pub segment: u64,
    /// Events on the segments before this one.
    pub base_sequence: u64,
    /// 0, or for the segment of a journal a random number.
    pub epoch: u64,
}

/// What a finished tape holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct TapeCounts {
    /// Events, definitions excepted.
    pub events: u64,
    /// Definitions of symbols and sources.
    pub definitions: u64,
    /// Slots, those of definitions included.
    pub slots: u64,
    /// Blocks.
    pub blocks: u64,
    /// Bytes of the file, header and seal included.
    pub bytes: u64,
}

/// Why a tape could not be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TapeWriteError {
    /// The text about the maker is too long.
    #[error(transparent)]
    MadeBy(#[from] MadeByTooLong),
    /// The slots given are not whole events, or use a name that the catalog does not have. Nothing of the run was taken.
    #[error("slot {index} of the run: {fault}")]
    Slot {
        /// Position in the run that was given.
        index: u32,
        /// What is wrong with it.
        fault: SlotFault,
    },
    /// The file could not be written; the writer takes nothing more.
    #[error("cannot write at offset {offset}: {error}")]
    Io {
        /// Offset of what was being written.
        offset: u64,
        /// What the system said.
        error: io::Error,
    },
    /// An earlier write failed: what the file holds after that offset is not known.
    #[error("an earlier write at offset {0} failed")]
    Poisoned(u64),
}

/// Writes a tape, front to back.
///
/// Events are gathered into blocks of at most [`BLOCK_SLOTS_MAX`] slots; a block is written when the next event does not
/// fit, so that the bytes do not depend on how the events were cut into calls. Names are defined right before the first
/// event that uses them. Allocates in its constructor only. O(1) a slot.
///
/// A writer that is dropped without [`TapeWriter::finish`] leaves a tape without its last block and without a seal,
/// which every reader reports as cut short.
pub struct TapeWriter<W> {
    out: W,
    header: SegmentHeader,
    /// The block that is being filled. Never grows beyond [`BLOCK_SLOTS_MAX`].
    slots: Vec<Slot>,
    /// Events and definitions in `slots`.
    block_events: u32,
    block_definitions: u32,
    compressor: Option<Compressor<'static>>,
    stored: Box<[u8]>,
    /// Sum that the next block or the seal names as that of its predecessor.
    prev_crc: u32,
    /// Watermark that the next block carries.
    durable: u64,
    ts_recv_max: u64,
    /// Ids below these are defined on the tape.
    symbols: usize,
    sources: usize,
    counts: TapeCounts,
    /// Where a write failed.
    poisoned: Option<u64>,
}

impl<W: Write> TapeWriter<W> {
    /// Begins a tape on `out`: writes the segment header. `out` is written in pieces of up to 256 KiB; a buffer around it
    /// gains nothing.
    ///
    /// # Errors
    /// When `made_by` is too long or the header cannot be written.
    pub fn new(mut out: W, options: TapeOptions) -> Result<Self, TapeWriteError> {
        let header = SegmentHeader {
            generated: options.generated,
            made_by: options.made_by,
            shard: options.shard,
            shard_count: options.shard_count,
            segment: options.segment,
            base_sequence: options.base_sequence,
            epoch: options.epoch,
        };
        let bytes = header.encode()?;
        out.write_all(&bytes).map_err(|error| TapeWriteError::Io { offset: 0, error })?;
        let (compressor, stored) = match options.codec {
            Codec::None => (None, Box::default()),
            Codec::Zstd => {
                let compressor =
                    Compressor::new(ZSTD_LEVEL).map_err(|error| TapeWriteError::Io { offset: 0, error })?;
                (Some(compressor), vec![0; format::BLOCK_BYTES_MAX].into_boxed_slice())
            }
        };
        Ok(Self {
            out,
            slots: Vec::with_capacity(BLOCK_SLOTS_MAX),
            block_events: 0,
            block_definitions: 0,
            compressor,
            stored,
            prev_crc: bytemuck::pod_read_unaligned(&bytes[SEGMENT_HEADER_BYTES - 4..]),
            durable: 0,
            ts_recv_max: 0,
            symbols: 1,
            sources: 1,
            counts: TapeCounts { bytes: SEGMENT_HEADER_BYTES as u64, ..TapeCounts::default() },
            poisoned: None,
            header,
        })
    }

    /// Appends a run of whole events. Ids on the tape are those of `catalog`, which must be the same one in all calls;
    /// tags are taken off. Definitions in the run are left out: the writer makes its own, in front of the first use.
    ///
    /// # Errors
    /// [`TapeWriteError::Slot`] when the slots are not whole events or use a name that `catalog` does not have (nothing
    /// of the run is taken then); [`TapeWriteError::Io`] when a block could not be written, and
    /// [`TapeWriteError::Poisoned`] for every call after that.
    pub fn write(&mut self, catalog: &Catalog, slots: &[Slot]) -> Result<(), TapeWriteError> {
        self.check_poison()?;
        check_run(catalog, slots)?;
        let mut rest = slots;
        while let Some(head) = rest.first() {
            let (event, after) = rest.split_at(head.span());
            rest = after;
            if is_definition(head.kind()) {
                continue;
            }
            let (symbol, source) = ids_used(event);
            if symbol as usize >= self.symbols || usize::from(source) >= self.sources {
                self.define(catalog, symbol as usize + 1, usize::from(source) + 1)?;
            }
            self.push(event)?;
            self.counts.events += 1;
        }
        Ok(())
    }

    /// Defines every name that `catalog` has and the tape has not: how a segment opens that goes on from another.
    ///
    /// # Errors
    /// As [`TapeWriter::write`].
    pub fn define_all(&mut self, catalog: &Catalog) -> Result<(), TapeWriteError> {
        self.check_poison()?;
        self.define(catalog, catalog.symbols(), catalog.sources())
    }

    /// Ends a group of a journal: what was taken so far is written and padded to a multiple of [`GROUP_BYTES`], so that
    /// no sector of it is ever written again. Does nothing when there is nothing to write.
    ///
    /// # Errors
    /// As [`TapeWriter::write`].
    pub fn end_group(&mut self) -> Result<(), TapeWriteError> {
        self.check_poison()?;
        self.write_block(BlockHeader::PADDED)
    }

    /// Tells the tape that all events below `sequence` are on stable storage; later blocks carry it.
    ///
    /// # Panics
    /// When `sequence` goes back or beyond what was written.
    pub fn set_durable(&mut self, sequence: u64) {
        assert!(sequence >= self.durable, "a watermark never goes back");
        assert!(sequence <= self.sequence_written(), "only what was written can be durable");
        self.durable = sequence;
    }

    /// Sequence after the last event that was written to the file: events before it, from `base_sequence` on.
    #[must_use]
    pub fn sequence_written(&self) -> u64 {
        self.header.base_sequence + self.counts.events + self.counts.definitions - u64::from(self.block_events)
    }

    /// Writes what is left and the seal, and flushes. The file is complete then; making it durable is the caller's part,
    /// who keeps the file by giving `&mut file` to [`TapeWriter::new`].
    ///
    /// # Errors
    /// As [`TapeWriter::write`].
    pub fn finish(mut self) -> Result<TapeCounts, TapeWriteError> {
        self.check_poison()?;
        self.write_block(0)?;
        let mut seal = Seal {
            magic: SEAL_MAGIC,
            epoch: self.header.epoch,
            end_sequence: self.sequence_written(),
            durable: self.durable,
            prev_crc: self.prev_crc,
            slots: self.counts.slots,
            blocks: self.counts.blocks,
            ts_recv_max: self.ts_recv_max,
            ..Seal::zeroed()
        };
        seal.crc = seal.checksum();
        let offset = self.counts.bytes;
        let written = self.out.write_all(bytemuck::bytes_of(&seal)).and_then(|()| self.out.flush());
        written.map_err(|error| TapeWriteError::Io { offset, error })?;
        self.counts.bytes += BLOCK_HEADER_BYTES as u64;
        Ok(self.counts)
    }

    /// What was taken so far; `bytes` and `blocks` count what was written.
    #[must_use]
    pub fn counts(&self) -> TapeCounts {
        self.counts
    }

    fn check_poison(&self) -> Result<(), TapeWriteError> {
        self.poisoned.map_or(Ok(()), |offset| Err(TapeWriteError::Poisoned(offset)))
    }

    /// Defines sources and then symbols up to these bounds, in the order of their ids.
    fn define(&mut self, catalog: &Catalog, symbols: usize, sources: usize) -> Result<(), TapeWriteError> {
        while self.sources < sources {
            let def = catalog.source_def(SourceId(self.sources as u8));
            self.push(def.slots())?;
            self.block_definitions += 1;
            self.counts.definitions += 1;
            self.sources += 1;
        }
        while self.symbols < symbols {
            let def = catalog.symbol_def(SymbolId(self.symbols as u32));
            self.push(def.slots())?;
            self.block_definitions += 1;
            self.counts.definitions += 1;
            self.symbols += 1;
        }
        Ok(())
    }

    fn push(&mut self, event: &[Slot]) -> Result<(), TapeWriteError> {
        if self.slots.len() + event.len() > BLOCK_SLOTS_MAX {
            self.write_block(0)?;
        }
        let from = self.slots.len();
        self.slots.extend_from_slice(event);
        for slot in &mut self.slots[from..] {
            slot.tag = 0;
        }
        self.block_events += 1;
        self.counts.slots += event.len() as u64;
        self.ts_recv_max = self.ts_recv_max.max(event[0].ts_recv.0);
        Ok(())
    }

    fn write_block(&mut self, flags: u8) -> Result<(), TapeWriteError> {
        if self.slots.is_empty() {
            return Ok(());
        }
        let plain: &[u8] = bytemuck::cast_slice(&self.slots);
        // A frame that is not smaller does not fit, and is not used.
        let room = plain.len() - 1;
        let frame = self
            .compressor
            .as_mut()
            .and_then(|compressor| compressor.compress_to_buffer(plain, &mut self.stored[..room]).ok());
        let (codec, stored) = match frame {
            Some(bytes) => (1, &self.stored[..bytes]),
            None => (0, plain),
        };
        let defines = if self.block_definitions > 0 { BlockHeader::DEFINITIONS } else { 0 };
        let mut header = BlockHeader {
            magic: BLOCK_MAGIC,
            crc: 0,
            epoch: self.header.epoch,
            first_sequence: self.sequence_written(),
            durable: self.durable,
            prev_crc: self.prev_crc,
            stored_bytes: stored.len() as u32,
            plain_bytes: plain.len() as u32,
            slots: self.slots.len() as u32,
            events: self.block_events,
            codec,
            flags: flags | defines,
            reserved: 0,
            ts_recv_max: self.ts_recv_max,
        };
        header.crc = header.checksum(stored);
        let offset = self.counts.bytes;
        let bytes = header.bytes_in_file(offset);
        let zeros = &ZEROS[..bytes as usize - BLOCK_HEADER_BYTES - stored.len()];
        debug_assert!(padding(offset, BLOCK_HEADER_BYTES) == 0, "Invariant: blocks are aligned; offset={offset}");
        let written = self
            .out
            .write_all(bytemuck::bytes_of(&header))
            .and_then(|()| self.out.write_all(stored))
            .and_then(|()| self.out.write_all(zeros));
        if let Err(error) = written {
            self.poisoned = Some(offset);
            return Err(TapeWriteError::Io { offset, error });
        }
        self.prev_crc = header.crc;
        self.counts.bytes += bytes;
        self.counts.blocks += 1;
        self.slots.clear();
        self.block_events = 0;
        self.block_definitions = 0;
        Ok(())
    }
}

/// Whether `slots` are whole events whose names `catalog` has; tags may be anything.
fn check_run(catalog: &Catalog, slots: &[Slot]) -> Result<(), TapeWriteError> {
    let mut index = 0;
    while index < slots.len() {
        let refuse = |fault| TapeWriteError::Slot { index: index as u32, fault };
        let event = EventRef::first(&slots[index..]).ok_or_else(|| {
            let head = &slots[index];
            let stray = head.kind() == Kind::CONTINUATION;
            refuse(if stray { SlotFault::Stray } else { SlotFault::Span(head.span() as u8) })
        })?;
        let (symbol, source) = ids_used(event.slots());
        if symbol as usize >= catalog.symbols() {
            return Err(refuse(SlotFault::Symbol(symbol)));
        }
        if usize::from(source) >= catalog.sources() {
            return Err(refuse(SlotFault::Source(source)));
        }
        index += event.slots().len();
    }
    Ok(())
}

impl<W> fmt::Debug for TapeWriter<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TapeWriter").field("header", &self.header).field("counts", &self.counts).finish_non_exhaustive()
    }
}
