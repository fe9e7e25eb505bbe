//! Reading a tape from front to back.

use super::format::{
    BLOCK_BYTES_MAX, BLOCK_HEADER_BYTES, BLOCK_SLOTS_MAX, BlockFault, BlockHeader, GROUP_BYTES, HeaderError,
    SEAL_MAGIC, SEGMENT_HEADER_BYTES, Seal, SegmentHeader, Summary, check_slots, is_tape, is_zero,
};
use bytemuck::Zeroable;
use std::fmt;
use std::io::{self, ErrorKind, Read, Seek, SeekFrom};
use tapeline_core::event::Slot;
use zstd::bulk::Decompressor;

/// Why a tape could not be read, or not to its end. Whatever [`TapeReader::next_block`] gave before stands.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TapeError {
    /// Not a tape, or one of a version that this build does not read.
    #[error("not a tape that this build can read: {0}")]
    Unrecognised(HeaderError),
    /// A tape whose segment header is damaged or cut short.
    #[error("offset 0: {0}")]
    Header(HeaderFault),
    /// A block or the seal is damaged, or missing.
    #[error("offset {offset}: {fault}")]
    Damaged {
        /// Where the damaged block begins, in bytes from the start of the tape.
        offset: u64,
        /// What is wrong with it.
        fault: BlockFault,
    },
    /// The source of the bytes failed.
    #[error("offset {offset}: cannot read: {error}")]
    Io {
        /// Where the block begins that could not be read.
        offset: u64,
        /// What the system said.
        error: io::Error,
    },
}

/// What is wrong with the segment header of what is a tape by its first bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HeaderFault {
    /// So many of the 4,096 bytes are there.
    #[error("the segment header is cut short: {0} of {SEGMENT_HEADER_BYTES} bytes")]
    CutShort(usize),
    /// The bytes are there and are damaged.
    #[error(transparent)]
    Damaged(HeaderError),
}

impl TapeError {
    /// Offset of the first byte that could not be used: that of the header, block or seal that is damaged.
    #[must_use]
    pub fn offset(&self) -> u64 {
        match self {
            Self::Unrecognised(_) | Self::Header(_) => 0,
            Self::Damaged { offset, .. } | Self::Io { offset, .. } => *offset,
        }
    }
}

/// A block that has passed every check.
#[derive(Debug)]
pub struct Block<'a> {
    /// Where its header begins, in bytes from the start of the tape.
    pub offset: u64,
    /// Its header.
    pub header: BlockHeader,
    /// What its slots add up to.
    pub summary: Summary,
    /// Whole events with tag 0. To change in place at will: nothing is read from it again.
    pub slots: &'a mut [Slot],
}

/// What the blocks before a place prove about the block there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Chain {
    /// Sum of the block before, or of the segment header.
    pub(crate) prev_crc: u32,
    /// Sequence of the next event.
    pub(crate) sequence: u64,
    /// Largest `ts_recv` so far.
    pub(crate) ts_recv_max: u64,
    /// Slots and blocks so far; `None` where the reader did not see them all.
    pub(crate) counts: Option<(u64, u64)>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Reading,
    Sealed,
    Failed,
}

/// Reads the blocks of a tape in order from any stream.
///
/// Each block is checked whole before a slot of it is handed out: its own sum, its place in the chain, and that its
/// slots are whole events. Two buffers of 256 KiB are allocated when it is made, and nothing after that, whatever the
/// file says (but for the decompressor's context, made at the first compressed block). It asks `input` for 64 bytes and
/// then for a whole block, so that a buffer around it gains nothing; uncompressed slots are read straight to where they
/// are handed out.
pub struct TapeReader<R> {
    input: R,
    header: SegmentHeader,
    /// `None` after damage that a caller stepped over: the next block is taken as it is.
    chain: Option<Chain>,
    offset: u64,
    slots: Box<[Slot]>,
    /// Bytes of a compressed block.
    stored: Box<[u8]>,
    decompressor: Option<Decompressor<'static>>,
    state: State,
    seal: Option<Seal>,
}

impl<R: Read> TapeReader<R> {
    /// Begins to read: takes the segment header from `input`.
    ///
    /// # Errors
    /// When the header is not one, is of another version, is damaged or cut short.
    pub fn new(mut input: R) -> Result<Self, TapeError> {
        let mut bytes = [0; SEGMENT_HEADER_BYTES];
        let have = fill(&mut input, &mut bytes).map_err(|error| TapeError::Io { offset: 0, error })?;
        if have < SEGMENT_HEADER_BYTES && is_tape(&bytes[..have]) {
            return Err(TapeError::Header(HeaderFault::CutShort(have)));
        }
        let (header, crc) = SegmentHeader::decode(&bytes).map_err(|error| match error {
            HeaderError::Magic | HeaderError::Version(_) | HeaderError::Hash(..) => TapeError::Unrecognised(error),
            _ => TapeError::Header(HeaderFault::Damaged(error)),
        })?;
        let chain = Chain { prev_crc: crc, sequence: header.base_sequence, ts_recv_max: 0, counts: Some((0, 0)) };
        Ok(Self::at_blocks(input, header, Some(chain)))
    }

    /// A reader whose `input` stands behind the segment header.
    pub(crate) fn at_blocks(input: R, header: SegmentHeader, chain: Option<Chain>) -> Self {
        Self {
            input,
            header,
            chain,
            offset: SEGMENT_HEADER_BYTES as u64,
            slots: vec![Slot::ZERO; BLOCK_SLOTS_MAX].into_boxed_slice(),
            stored: vec![0; BLOCK_BYTES_MAX].into_boxed_slice(),
            decompressor: None,
            state: State::Reading,
            seal: None,
        }
    }

    /// The segment header.
    #[must_use]
    pub fn header(&self) -> &SegmentHeader {
        &self.header
    }

    /// Where the next block begins, or where the damage does.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The seal, once [`TapeReader::next_block`] has met it.
    #[must_use]
    pub fn seal(&self) -> Option<&Seal> {
        self.seal.as_ref()
    }

    /// What the blocks so far prove about the next one; `None` where nothing is known.
    pub(crate) fn chain(&self) -> Option<&Chain> {
        self.chain.as_ref()
    }

    /// Slots of the block that was read last, as [`Block::slots`] left them, and whatever is behind it in the buffer.
    pub(crate) fn buffer(&self) -> &[Slot] {
        &self.slots
    }

    /// The next block, or `None` after the seal. O(block), no allocation but for the first compressed block.
    ///
    /// # Errors
    /// When the block is damaged, is not the successor of the one before, or when the tape ends without a seal. After an
    /// error it gives `None`.
    pub fn next_block(&mut self) -> Result<Option<Block<'_>>, TapeError> {
        if self.state != State::Reading {
            return Ok(None);
        }
        match self.read_block() {
            Ok(Some((offset, header, summary))) => {
                Ok(Some(Block { offset, header, summary, slots: &mut self.slots[..header.slots as usize] }))
            }
            Ok(None) => {
                self.state = State::Sealed;
                Ok(None)
            }
            Err(error) => {
                self.state = State::Failed;
                Err(error)
            }
        }
    }

    fn read_block(&mut self) -> Result<Option<(u64, BlockHeader, Summary)>, TapeError> {
        let offset = self.offset;
        let damaged = |fault| TapeError::Damaged { offset, fault };
        let failed = |error| TapeError::Io { offset, error };

        let mut header = BlockHeader::zeroed();
        let have = fill(&mut self.input, bytemuck::bytes_of_mut(&mut header)).map_err(failed)?;
        if have == 0 {
            return Err(damaged(BlockFault::NoSeal));
        }
        if is_zero(bytemuck::bytes_of(&header)) {
            let (more, to_end) = count_zeros(&mut self.input, &mut self.stored).map_err(failed)?;
            return Err(damaged(BlockFault::Zeros { zeros: have as u64 + more, to_end }));
        }
        if have < BLOCK_HEADER_BYTES {
            return Err(damaged(BlockFault::CutShort { have: have as u64, need: BLOCK_HEADER_BYTES as u64 }));
        }
        if header.magic == SEAL_MAGIC {
            return self.read_seal(bytemuck::must_cast(header)).map(|()| None);
        }

        header.check().map_err(damaged)?;
        let need = header.bytes_in_file(offset);
        let stored_bytes = header.stored_bytes as usize;
        let stored = if header.codec == 0 {
            &mut bytemuck::cast_slice_mut(&mut self.slots[..])[..stored_bytes]
        } else {
            &mut self.stored[..stored_bytes]
        };
        let have_stored = fill(&mut self.input, stored).map_err(failed)?;
        let mut zeros = [0; GROUP_BYTES];
        let zeros = &mut zeros[..need as usize - BLOCK_HEADER_BYTES - stored_bytes];
        let have_zeros = if have_stored == stored_bytes { fill(&mut self.input, zeros).map_err(failed)? } else { 0 };
        if have_stored < stored_bytes || have_zeros < zeros.len() {
            let have = (BLOCK_HEADER_BYTES + have_stored + have_zeros) as u64;
            return Err(damaged(BlockFault::CutShort { have, need }));
        }

        let computed = header.checksum(stored);
        if header.crc != computed {
            return Err(damaged(BlockFault::Checksum { found: header.crc, computed }));
        }
        if !is_zero(zeros) {
            return Err(damaged(BlockFault::Padding));
        }
        if header.epoch != self.header.epoch {
            return Err(damaged(BlockFault::Epoch { found: header.epoch, expected: self.header.epoch }));
        }
        if let Some(chain) = &self.chain {
            chain.check(header.prev_crc, header.first_sequence, header.durable).map_err(damaged)?;
        }
        let sequence = header.first_sequence.checked_add(u64::from(header.events));
        let sequence = sequence.ok_or_else(|| damaged(BlockFault::Fields))?;

        if header.codec != 0 {
            self.decompress(&header).map_err(damaged)?;
        }
        let summary = check_slots(&self.slots[..header.slots as usize])
            .map_err(|(index, what)| damaged(BlockFault::Slot { index, what }))?;
        let ts_before = self.chain.map_or(header.ts_recv_max, |chain| chain.ts_recv_max);
        let what = if summary.events != header.events {
            Some("number of events")
        } else if (summary.definitions > 0) != (header.flags & BlockHeader::DEFINITIONS != 0) {
            Some("flags")
        } else if ts_before.max(summary.ts_recv_max) != header.ts_recv_max {
            Some("times")
        } else {
            None
        };
        if let Some(what) = what {
            return Err(damaged(BlockFault::Summary(what)));
        }

        let counts = self.chain.and_then(|chain| chain.counts);
        self.chain = Some(Chain {
            prev_crc: header.crc,
            sequence,
            ts_recv_max: header.ts_recv_max,
            counts: counts.map(|(slots, blocks)| (slots + u64::from(header.slots), blocks + 1)),
        });
        self.offset = offset + need;
        Ok(Some((offset, header, summary)))
    }

    fn decompress(&mut self, header: &BlockHeader) -> Result<(), BlockFault> {
        let refuse = BlockFault::Decompress(header.plain_bytes);
        let decompressor = match &mut self.decompressor {
            Some(decompressor) => decompressor,
            none => none.insert(Decompressor::new().map_err(|_| refuse)?),
        };
        // The destination has exactly the plain length: a frame that holds more fails, one that holds less is refused.
        let plain = &mut bytemuck::cast_slice_mut::<Slot, u8>(&mut self.slots)[..header.plain_bytes as usize];
        match decompressor.decompress_to_buffer(&self.stored[..header.stored_bytes as usize], plain) {
            Ok(bytes) if bytes == header.plain_bytes as usize => Ok(()),
            _ => Err(refuse),
        }
    }

    fn read_seal(&mut self, seal: Seal) -> Result<(), TapeError> {
        let offset = self.offset;
        let damaged = |fault| TapeError::Damaged { offset, fault };
        let computed = seal.checksum();
        if seal.crc != computed {
            return Err(damaged(BlockFault::Checksum { found: seal.crc, computed }));
        }
        if seal.epoch != self.header.epoch {
            return Err(damaged(BlockFault::Epoch { found: seal.epoch, expected: self.header.epoch }));
        }
        if seal.reserved != 0 {
            return Err(damaged(BlockFault::Fields));
        }
        if let Some(chain) = &self.chain {
            chain.check(seal.prev_crc, seal.end_sequence, seal.durable).map_err(damaged)?;
            if seal.ts_recv_max != chain.ts_recv_max {
                return Err(damaged(BlockFault::Seal("times")));
            }
            if chain.counts.is_some_and(|counts| counts != (seal.slots, seal.blocks)) {
                return Err(damaged(BlockFault::Seal("counts")));
            }
        }
        self.seal = Some(seal);
        self.offset = offset + BLOCK_HEADER_BYTES as u64;
        let offset = self.offset;
        match fill(&mut self.input, &mut [0]) {
            Ok(0) => Ok(()),
            Ok(_) => Err(TapeError::Damaged { offset, fault: BlockFault::AfterSeal }),
            Err(error) => Err(TapeError::Io { offset, error }),
        }
    }
}

impl<R: Read + Seek> TapeReader<R> {
    /// Goes on at `offset`, where a block begins that is taken without what is before it (`chain` = `None`) or must fit it.
    pub(crate) fn step_to(&mut self, offset: u64, chain: Option<Chain>) -> io::Result<()> {
        self.input.seek(SeekFrom::Start(offset))?;
        self.offset = offset;
        self.chain = chain;
        self.state = State::Reading;
        Ok(())
    }

    /// The stream, wherever it stands.
    pub(crate) fn input_mut(&mut self) -> &mut R {
        &mut self.input
    }
}

impl Chain {
    fn check(&self, prev_crc: u32, sequence: u64, durable: u64) -> Result<(), BlockFault> {
        if prev_crc != self.prev_crc {
            return Err(BlockFault::Chain { found: prev_crc, expected: self.prev_crc });
        }
        if sequence != self.sequence {
            return Err(BlockFault::Sequence { found: sequence, expected: self.sequence });
        }
        if durable > sequence {
            return Err(BlockFault::Durable { durable, sequence });
        }
        Ok(())
    }
}

/// Reads until `into` is full or the input ends; how many bytes there were.
pub(crate) fn fill(input: &mut impl Read, into: &mut [u8]) -> io::Result<usize> {
    let mut have = 0;
    while have < into.len() {
        match input.read(&mut into[have..]) {
            Ok(0) => break,
            Ok(bytes) => have += bytes,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(have)
}

/// Zero bytes up to the first other one or the end, and whether it is the end. Bounded memory, O(zeros).
pub(crate) fn count_zeros(input: &mut impl Read, buffer: &mut [u8]) -> io::Result<(u64, bool)> {
    let mut zeros = 0;
    loop {
        let have = fill(input, buffer)?;
        match buffer[..have].iter().position(|&byte| byte != 0) {
            Some(at) => return Ok((zeros + at as u64, false)),
            None => zeros += have as u64,
        }
        if have < buffer.len() {
            return Ok((zeros, true));
        }
    }
}

impl<R> fmt::Debug for TapeReader<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TapeReader")
            .field("header", &self.header)
            .field("offset", &self.offset)
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}
