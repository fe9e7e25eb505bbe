//! Finding a time on a tape without reading what is before it.
//!
//! The index is a cache beside the tape, `<tape>.idx`. It is never trusted: a file that is damaged, or that was made for
//! another tape, is built anew, and an entry counts only if the block at its offset verifies and fits it. Without the
//! file everything works, and the tape is read from the start. Which tape it is of is told by the tape's length, by the sum of its header and by that of
//! its seal, which by the chain of blocks stands for every byte: a tape of the same day with other contents has another one.
//!
//! Capture times go back now and then, so the index goes by shard time: the running maximum of `ts_recv`, of which a time beyond
//! [`TIME_NS_MAX`] is no part.
//!
//! ```text
//!   0 magic         89 "TIDX" 0d 0a 1a        8 version u32 2         12 tape_crc u32 of the tape's segment header
//!  16 tape_bytes    u64 length of the tape   24 entries u64           32 definitions u64
//!  40 seal_crc u32  of the tape's seal       44 reserved 16           60 crc u32 CRC-32C of bytes 0..60 and of all that follows
//!  64 entries * 48  offset u64, first_sequence u64, ts_before u64, ts_recv_max u64, symbols u64, prev_crc u32, reserved u32
//!     definitions * 8  offset u64 of each block that defines names
//! ```

use super::format::{BLOCK_HEADER_BYTES, BlockHeader, SEAL_MAGIC, SEGMENT_HEADER_BYTES, Seal, is_definition, is_zero};
use super::reader::{Block, Chain, TapeError, TapeReader};
use bytemuck::{Pod, Zeroable};
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use tapeline_core::event::{EventRef, events};
use tapeline_core::limits::TIME_NS_MAX;
use tapeline_core::units::{SymbolId, UnixNanos};

const MAGIC: [u8; 8] = *b"\x89TIDX\r\n\x1a";
const VERSION: u32 = 2;
const HEADER_BYTES: usize = 64;
/// Blocks that share an entry: an entry for every 4 MiB of plain slots at most.
const ENTRY_BLOCKS: u64 = 16;

/// One indexed place.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Pod, Zeroable)]
pub struct IndexEntry {
    /// Where a block begins.
    pub offset: u64,
    /// Sequence of its first event.
    pub first_sequence: u64,
    /// Shard time before it: the largest `ts_recv` of all events before it, none beyond [`TIME_NS_MAX`]; 0 for the first.
    pub ts_before: u64,
    /// Largest `ts_recv` of all events before it whatever it is: what the block there has to fit.
    pub ts_recv_max: u64,
    /// Bit `id % 64` is set when a symbol with such an id occurs from here to the next entry. No false negatives.
    pub symbols: u64,
    /// Sum of the block before, which the block here names.
    pub prev_crc: u32,
    /// Always 0.
    pub reserved: u32,
}

impl IndexEntry {
    /// Whether `symbol` may occur from here to the next entry.
    #[must_use]
    pub fn may_have(&self, symbol: SymbolId) -> bool {
        self.symbols >> (symbol.0 % 64) & 1 == 1
    }
}

/// Times and symbols of a tape, sparsely.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TapeIndex {
    tape_crc: u32,
    seal_crc: u32,
    tape_bytes: u64,
    entries: Vec<IndexEntry>,
    definitions: Vec<u64>,
}

impl TapeIndex {
    /// The file beside `tape` that caches its index.
    #[must_use]
    pub fn path_of(tape: &Path) -> PathBuf {
        let mut name = OsString::from(tape);
        name.push(".idx");
        PathBuf::from(name)
    }

    /// The index of the tape at `path` from its cache, if that is one of this tape. Reads the tape's header and its seal.
    ///
    /// # Errors
    /// When the tape's header is damaged, or the tape cannot be read.
    pub fn cached(path: &Path) -> Result<Option<Self>, TapeError> {
        let failed = |error| TapeError::Io { offset: 0, error };
        let mut tape = File::open(path).map_err(failed)?;
        let bytes = tape.metadata().map_err(failed)?.len();
        let crc = TapeReader::new(&mut tape)?.chain().map_or(0, |chain| chain.prev_crc);
        let cached = fs::read(Self::path_of(path)).ok().and_then(|cached| Self::decode(&cached));
        let Some(index) = cached.filter(|index| (index.tape_crc, index.tape_bytes) == (crc, bytes)) else {
            return Ok(None);
        };
        let seal = seal_crc(&mut tape, bytes).map_err(failed)?;
        Ok(Some(index).filter(|index| seal == Some(index.seal_crc)))
    }

    /// The index of the tape at `path`: from its cache if that is one of this tape, else built by reading the tape, and
    /// cached if the folder can be written to.
    ///
    /// # Errors
    /// When the tape is damaged or cannot be read.
    pub fn open(path: &Path) -> Result<Self, TapeError> {
        if let Some(index) = Self::cached(path)? {
            return Ok(index);
        }
        let tape = File::open(path).map_err(|error| TapeError::Io { offset: 0, error })?;
        let index = Self::build(tape)?;
        index.store(path);
        Ok(index)
    }

    /// Caches it beside the tape at `path`, if the folder can be written to: a cache that cannot be written is only slower.
    pub fn store(&self, path: &Path) {
        let cache = Self::path_of(path);
        // The rename lets no reader see half of one.
        let mut part = cache.clone().into_os_string();
        part.push(format!(".{}", std::process::id()));
        if fs::write(&part, self.encode()).and_then(|()| fs::rename(&part, &cache)).is_err() {
            let _ = fs::remove_file(&part);
        }
    }

    /// Reads a whole tape and indexes it.
    ///
    /// # Errors
    /// When it is damaged or cannot be read: half an index would hide the damage from whoever seeks past it.
    pub fn build(tape: impl Read) -> Result<Self, TapeError> {
        let mut reader = TapeReader::new(tape)?;
        let mut index = IndexBuilder::new(&reader);
        while let Some(block) = reader.next_block()? {
            index.add(&block);
            index.follow(&reader);
        }
        Ok(index.finish(&reader))
    }

    /// The last entry whose events all follow what happened before shard time `ts`: reading from its block, nothing at or
    /// after `ts` is missed. `None` for a tape without blocks. O(log entries).
    #[must_use]
    pub fn first_block_at_or_before(&self, ts: UnixNanos) -> Option<&IndexEntry> {
        let after = self.entries.partition_point(|entry| entry.ts_before < ts.0);
        // Before the first block no time has passed, so that only ts = 0 finds none with an earlier one.
        self.entries.get(after.saturating_sub(1))
    }

    /// All entries, in the order of the tape.
    #[must_use]
    pub fn entries(&self) -> &[IndexEntry] {
        &self.entries
    }

    /// A reader that stands at the entry for `ts`, or at the first block when that entry does not count: the block at its
    /// offset is damaged or another.
    ///
    /// # Errors
    /// When the segment header is damaged, or the tape cannot be read.
    pub fn seek<R: Read + Seek>(&self, mut tape: R, ts: UnixNanos) -> Result<TapeReader<R>, TapeError> {
        let failed = |error| TapeError::Io { offset: 0, error };
        tape.seek(SeekFrom::Start(0)).map_err(failed)?;
        let mut reader = TapeReader::new(tape)?;
        let start = *reader.chain().expect("a reader that begins at the header knows the chain");
        let entry = self.first_block_at_or_before(ts).filter(|_| start.prev_crc == self.tape_crc);
        let Some(entry) = entry.filter(|entry| entry.offset.is_multiple_of(BLOCK_HEADER_BYTES as u64)) else {
            return Ok(reader);
        };
        let chain = Chain {
            prev_crc: entry.prev_crc,
            sequence: entry.first_sequence,
            ts_recv_max: entry.ts_recv_max,
            counts: (entry.offset == SEGMENT_HEADER_BYTES as u64).then_some((0, 0)),
        };
        reader.step_to(entry.offset, Some(chain)).map_err(failed)?;
        let counts = matches!(reader.next_block(), Ok(Some(_)));
        let (offset, chain) = if counts { (entry.offset, chain) } else { (SEGMENT_HEADER_BYTES as u64, start) };
        reader.step_to(offset, Some(chain)).map_err(failed)?;
        Ok(reader)
    }

    /// Events and definitions on the tape, by the sequence numbers of its blocks. Reads those from the last entry on only.
    ///
    /// # Errors
    /// When one of these is damaged.
    pub fn count<R: Read + Seek>(&self, mut tape: R) -> Result<u64, TapeError> {
        tape.seek(SeekFrom::Start(0)).map_err(|error| TapeError::Io { offset: 0, error })?;
        let first = TapeReader::new(&mut tape)?.chain().map_or(0, |chain| chain.sequence);
        let mut reader = self.seek(tape, UnixNanos(u64::MAX))?;
        let mut end = first;
        while reader.next_block()?.is_some() {
            end = reader.chain().map_or(end, |chain| chain.sequence);
        }
        Ok(end.saturating_sub(first))
    }

    /// Gives every definition that stands before `offset` to `take`, in the order of the tape: what a reader that begins
    /// at `offset` has to know. Reads only the blocks that define names.
    ///
    /// # Errors
    /// When one of these blocks is damaged or is not where the index says.
    pub fn definitions_before<R: Read + Seek>(
        &self,
        tape: R,
        offset: u64,
        mut take: impl FnMut(EventRef<'_>),
    ) -> Result<(), TapeError> {
        let mut reader = self.seek(tape, UnixNanos::ZERO)?;
        for &at in self.definitions.iter().take_while(|&&at| at < offset) {
            reader.step_to(at, None).map_err(|error| TapeError::Io { offset: at, error })?;
            if let Some(block) = reader.next_block()? {
                events(block.slots).filter(|event| is_definition(event.kind())).for_each(&mut take);
            }
        }
        Ok(())
    }

    fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(
            HEADER_BYTES + self.entries.len() * size_of::<IndexEntry>() + self.definitions.len() * 8,
        );
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(&self.tape_crc.to_le_bytes());
        for word in [self.tape_bytes, self.entries.len() as u64, self.definitions.len() as u64] {
            bytes.extend_from_slice(&word.to_le_bytes());
        }
        bytes.extend_from_slice(&self.seal_crc.to_le_bytes());
        bytes.resize(HEADER_BYTES, 0);
        bytes.extend_from_slice(bytemuck::cast_slice(&self.entries));
        bytes.extend_from_slice(bytemuck::cast_slice(&self.definitions));
        let crc = crc32c::crc32c_append(crc32c::crc32c(&bytes[..60]), &bytes[HEADER_BYTES..]);
        bytes[60..64].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// The index in `bytes`, if they are one, whole and undamaged.
    fn decode(bytes: &[u8]) -> Option<Self> {
        let (header, rest) = bytes.split_first_chunk::<HEADER_BYTES>()?;
        let u32_at = |at: usize| bytemuck::pod_read_unaligned::<u32>(&header[at..at + 4]);
        let u64_at = |at: usize| bytemuck::pod_read_unaligned::<u64>(&header[at..at + 8]);
        let entries_bytes = u64_at(24).checked_mul(size_of::<IndexEntry>() as u64)?;
        let whole = header.starts_with(&MAGIC)
            && u32_at(8) == VERSION
            && is_zero(&header[44..60])
            && entries_bytes.checked_add(u64_at(32).checked_mul(8)?)? == rest.len() as u64
            && crc32c::crc32c_append(crc32c::crc32c(&header[..60]), rest) == u32_at(60);
        let (entries, definitions) = whole.then(|| rest.split_at(entries_bytes as usize))?;
        Some(Self {
            tape_crc: u32_at(12),
            seal_crc: u32_at(40),
            tape_bytes: u64_at(16),
            entries: entries.chunks_exact(size_of::<IndexEntry>()).map(bytemuck::pod_read_unaligned).collect(),
            definitions: definitions.chunks_exact(8).map(bytemuck::pod_read_unaligned).collect(),
        })
    }
}

/// Sum of the seal at the end of a tape of so many bytes; `None` where it has none.
fn seal_crc(tape: &mut (impl Read + Seek), bytes: u64) -> io::Result<Option<u32>> {
    let Some(at) = bytes.checked_sub(BLOCK_HEADER_BYTES as u64) else { return Ok(None) };
    let mut seal = Seal::zeroed();
    tape.seek(SeekFrom::Start(at))?;
    tape.read_exact(bytemuck::bytes_of_mut(&mut seal))?;
    Ok((seal.magic == SEAL_MAGIC && seal.crc == seal.checksum()).then_some(seal.crc))
}

/// An index that is made while somebody else reads the tape from its beginning.
pub(super) struct IndexBuilder {
    index: TapeIndex,
    /// What is known before the next block.
    chain: Chain,
    /// Shard time before it.
    time: u64,
    blocks: u64,
}

impl IndexBuilder {
    /// For a reader that has read its header and nothing else.
    pub(super) fn new<R: Read>(reader: &TapeReader<R>) -> Self {
        let chain = *reader.chain().expect("a reader that begins at the header knows the chain");
        let index = TapeIndex {
            tape_crc: chain.prev_crc,
            seal_crc: 0,
            tape_bytes: 0,
            entries: Vec::new(),
            definitions: Vec::new(),
        };
        Self { index, chain, time: 0, blocks: 0 }
    }

    /// The next block, as it was read. O(slots).
    pub(super) fn add(&mut self, block: &Block<'_>) {
        if self.blocks.is_multiple_of(ENTRY_BLOCKS) {
            self.index.entries.push(IndexEntry {
                offset: block.offset,
                first_sequence: self.chain.sequence,
                ts_before: self.time,
                ts_recv_max: self.chain.ts_recv_max,
                symbols: 0,
                prev_crc: self.chain.prev_crc,
                reserved: 0,
            });
        }
        let entry = self.index.entries.last_mut().expect("the first block makes one");
        for event in events(block.slots) {
            let head = event.head();
            entry.symbols |= 1 << (head.symbol.0 % 64);
            // Names have no time.
            if head.ts_recv.0 <= TIME_NS_MAX && !is_definition(head.kind()) {
                self.time = self.time.max(head.ts_recv.0);
            }
        }
        if block.header.flags & BlockHeader::DEFINITIONS != 0 {
            self.index.definitions.push(block.offset);
        }
        self.blocks += 1;
    }

    /// What the reader knows after that block.
    pub(super) fn follow<R: Read>(&mut self, reader: &TapeReader<R>) {
        self.chain = *reader.chain().expect("known from the start");
    }

    /// The reader has met the seal.
    pub(super) fn finish<R: Read>(mut self, reader: &TapeReader<R>) -> TapeIndex {
        self.index.tape_bytes = reader.offset();
        self.index.seal_crc = reader.seal().map_or(0, |seal| seal.crc);
        self.index
    }
}
