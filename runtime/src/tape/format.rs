//! The tape's byte map. Everything that reads or writes a tape goes through this file.
//!
//! A tape is one segment: a header, blocks of slots, a seal. All numbers are little-endian, all sums are CRC-32C
//! (Castagnoli), bytes that are reserved or padding are zero and checked to be.
//!
//! ```text
//!  offset 0          4,096                                                            end of the file
//!    +---------------+-------------------------+-------------------------+-- ... --+--------+
//!    | segment       | block 0                 | block 1                 |         | seal   |
//!    | header        | header | slots     | 0s | header | slots     | 0s |         |        |
//!    +---------------+-------------------------+-------------------------+-- ... --+--------+
//!                      64 B     stored B    up to a multiple of 64 (a PADDED block: of 4,096)
//! ```
//!
//! **Segment header**, 4,096 bytes:
//!
//! ```text
//!    0  magic           8   89 "TAPE" 0d 0a 1a: no text, and damaged by any transfer as text
//!    8  version         u16 1
//!   10  flags           u16 bit 0 GENERATED: made by a model, not captured
//!   12  shard           u16 shard that wrote it, from 0
//!   14  shard_count     u16 shards of that engine; 0 = not written by a shard (import, gen, record)
//!   16  hash_id         u16 routing hash: 1 = rapidhash
//!   18  hash_version    u16 its version: 3 = rapidhash_v3
//!   20  made_by_bytes   u16 length of the text at 64, at most 1,024
//!   22  reserved        2
//!   24  segment         u64 number of this segment among those of its shard, from 0
//!   32  base_sequence   u64 events on the segments before this one
//!   40  epoch           u64 random for each segment of a journal; 0 for import and gen: equal input, equal bytes
//!   48  reserved        16
//!   64  made_by         text of made_by_bytes in UTF-8: what made this tape, and from what
//!       reserved        up to 4,092
//! 4092  crc             u32 of bytes 0..4092
//! ```
//!
//! Magic, version, and a sum at the end of 4,096 bytes stay the same in all versions.
//!
//! **Block header**, 64 bytes, at a multiple of 64:
//!
//! ```text
//!    0  magic           4   "TBLK"
//!    4  crc             u32 of bytes 8..64 of this header and of the stored bytes
//!    8  epoch           u64 that of the segment: a block of an older use of the same sectors is none of ours
//!   16  first_sequence  u64 events on the tape before this block, definitions and ticks included, from base_sequence
//!   24  durable         u64 every event below this sequence was on stable storage when the block was written; 0 = none
//!   32  prev_crc        u32 the field crc of the block before; for block 0 that of the segment header
//!   36  stored_bytes    u32 bytes of slots as stored, at most plain_bytes
//!   40  plain_bytes     u32 slots * 64, at most 262,144
//!   44  slots           u32 1 to 4,096
//!   48  events          u32 1 to slots
//!   52  codec           u8  0 = none (stored_bytes = plain_bytes), 1 = zstd, one frame
//!   53  flags           u8  bit 0 PADDED: the last block of a journal's group, zeros follow up to a multiple of 4,096;
//!                           bit 1 DEFINITIONS: at least one symbol or source is defined in it
//!   54  reserved        2
//!   56  ts_recv_max     u64 largest ts_recv on the segment up to the end of this block: shard time there
//! ```
//!
//! A block verifies alone by `crc`. The chain (`prev_crc`, `first_sequence`, `epoch`) proves beside it that none is
//! missing, repeated or swapped. A group of a journal ends with a PADDED block, so that the next group begins in a sector
//! of its own: a sector once written is never rewritten.
//!
//! **Slots** are events as the ring carries them, with tag 0. No event spans blocks. A symbol or source is defined by an
//! event of kind `symbol_def` or `source_def` before the first event that uses it; ids are dense, from 1, in the order
//! of their definitions. A segment that goes on from another opens with all definitions so far.
//!
//! **Seal**, 64 bytes, written by a clean stop, at the place where the next block would begin. The file ends behind it;
//! a tape without one is cut short, and bytes after it are damage.
//!
//! ```text
//!    0  magic           4   "TEND"
//!    4  crc             u32 of bytes 8..64
//!    8  epoch           u64 that of the segment
//!   16  end_sequence    u64 base_sequence + events of this segment
//!   24  durable         u64 as in a block
//!   32  prev_crc        u32 the field crc of the last block; without any, that of the segment header
//!   36  reserved        4
//!   40  slots           u64 slots of this segment
//!   48  blocks          u64 blocks of this segment
//!   56  ts_recv_max     u64 largest ts_recv on the segment; 0 without events
//! ```

use bytemuck::{Pod, Zeroable};
use tapeline_core::event::payload::Cause;
use tapeline_core::event::{Flags, Kind, Slot};
use tapeline_core::hash::{HASH_ID, HASH_VERSION};
use tapeline_core::limits::{SLOT_BYTES, SPAN_SLOTS_MAX};

/// First bytes of every tape.
pub const MAGIC: [u8; 8] = *b"\x89TAPE\r\n\x1a";
/// Version of the format that this build writes, and the only one that it reads.
pub const VERSION: u16 = 1;
/// Bytes of the segment header.
pub const SEGMENT_HEADER_BYTES: usize = 4096;
/// Longest text about the maker of a tape, in bytes.
pub const MADE_BY_BYTES_MAX: usize = 1024;
/// First bytes of a block.
pub const BLOCK_MAGIC: [u8; 4] = *b"TBLK";
/// First bytes of the seal.
pub const SEAL_MAGIC: [u8; 4] = *b"TEND";
/// Bytes of a block's header and of the seal. Blocks and the seal begin at multiples of it.
pub const BLOCK_HEADER_BYTES: usize = 64;
/// Most slots of one block.
pub const BLOCK_SLOTS_MAX: usize = 4096;
/// Most bytes of one block's slots, plain or stored: what a reader allocates, whatever a header says.
pub const BLOCK_BYTES_MAX: usize = BLOCK_SLOTS_MAX * SLOT_BYTES;
/// What the last block of a journal's group is padded to: a sector.
pub const GROUP_BYTES: usize = 4096;

const MADE_BY_AT: usize = 64;
const HEADER_CRC_AT: usize = SEGMENT_HEADER_BYTES - 4;

const _: () = {
    assert!(BLOCK_SLOTS_MAX >= SPAN_SLOTS_MAX, "no event spans blocks");
    assert!(BLOCK_BYTES_MAX <= u32::MAX as usize, "lengths have 32 bits");
    assert!(MADE_BY_AT + MADE_BY_BYTES_MAX <= HEADER_CRC_AT, "the text fits the header");
    assert!(SEGMENT_HEADER_BYTES.is_multiple_of(GROUP_BYTES), "the first group is aligned");
    assert!(GROUP_BYTES.is_multiple_of(BLOCK_HEADER_BYTES), "groups are aligned for blocks");
    assert!(size_of::<BlockHeader>() == BLOCK_HEADER_BYTES && size_of::<Seal>() == BLOCK_HEADER_BYTES);
};

/// Whether `first`, the first bytes of a file, are those of a tape. At least 8 bytes are needed to say yes.
#[must_use]
pub fn is_tape(first: &[u8]) -> bool {
    first.starts_with(&MAGIC)
}

/// Zeros that stand between `offset` and the next multiple of `to`, a power of two.
#[inline]
#[must_use]
pub(crate) const fn padding(offset: u64, to: usize) -> usize {
    (offset.wrapping_neg() & (to as u64 - 1)) as usize
}

/// How the slots of a block are stored.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Codec {
    /// As they are.
    #[default]
    None,
    /// One zstd frame a block; a block that would not become smaller is stored as it is.
    Zstd,
}

/// The header of a segment, in words. See the byte map at the top of this module.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct SegmentHeader {
    /// Made by a model, not captured.
    pub generated: bool,
    /// What made this tape, and from what: free text, at most [`MADE_BY_BYTES_MAX`] bytes.
    pub made_by: String,
    /// Shard that wrote it, from 0.
    pub shard: u16,
    /// Shards of that engine; 0 when no shard wrote it.
    pub shard_count: u16,
    /// Number of this segment among those of its shard, from 0.
    pub segment: u64,
    /// Events on the segments before this one.
    pub base_sequence: u64,
    /// Random for each segment of a journal; 0 for `import` and `gen`.
    pub epoch: u64,
}

/// Why the first 4,096 bytes are not a segment header that this build can use.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HeaderError {
    /// The first eight bytes are others.
    #[error("the first bytes are not those of a tape")]
    Magic,
    /// The sum over the header is another.
    #[error("the checksum of the segment header is {found:08x}, its bytes give {computed:08x}")]
    Checksum {
        /// In the header.
        found: u32,
        /// From the bytes.
        computed: u32,
    },
    /// A version of the format that this build does not know.
    #[error("tape format version {0}; this build reads version {VERSION}")]
    Version(u16),
    /// Another routing hash: id and version.
    #[error("routing hash {0} version {1}; this build has hash {HASH_ID} version {HASH_VERSION}")]
    Hash(u16, u16),
    /// The sum is right, and the contents still are none that a writer of this version makes.
    #[error("the segment header is malformed: {0}")]
    Malformed(&'static str),
}

/// The text about the maker is longer than [`MADE_BY_BYTES_MAX`] bytes. Holds its length.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the text about the maker has {0} bytes, {MADE_BY_BYTES_MAX} are allowed")]
pub struct MadeByTooLong(pub usize);

impl SegmentHeader {
    const GENERATED: u16 = 1;

    /// The header's bytes.
    ///
    /// # Errors
    /// When `made_by` is too long.
    pub fn encode(&self) -> Result<[u8; SEGMENT_HEADER_BYTES], MadeByTooLong> {
        let made_by = self.made_by.as_bytes();
        if made_by.len() > MADE_BY_BYTES_MAX {
            return Err(MadeByTooLong(made_by.len()));
        }
        let flags = if self.generated { Self::GENERATED } else { 0 };
        let mut bytes = [0; SEGMENT_HEADER_BYTES];
        bytes[..8].copy_from_slice(&MAGIC);
        for (at, value) in [
            (8, VERSION),
            (10, flags),
            (12, self.shard),
            (14, self.shard_count),
            (16, HASH_ID),
            (18, HASH_VERSION),
            (20, made_by.len() as u16),
        ] {
            bytes[at..at + 2].copy_from_slice(&value.to_le_bytes());
        }
        for (at, value) in [(24, self.segment), (32, self.base_sequence), (40, self.epoch)] {
            bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
        }
        bytes[MADE_BY_AT..MADE_BY_AT + made_by.len()].copy_from_slice(made_by);
        let crc = crc32c::crc32c(&bytes[..HEADER_CRC_AT]);
        bytes[HEADER_CRC_AT..].copy_from_slice(&crc.to_le_bytes());
        Ok(bytes)
    }

    /// The header that `bytes` hold, and its checksum, with which the chain of blocks begins.
    ///
    /// # Errors
    /// [`HeaderError`]; nothing but magic, sum and version is looked at before these three are right.
    pub fn decode(bytes: &[u8; SEGMENT_HEADER_BYTES]) -> Result<(Self, u32), HeaderError> {
        let u16_at = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
        let u64_at = |at: usize| bytemuck::pod_read_unaligned::<u64>(&bytes[at..at + 8]);
        if !is_tape(bytes) {
            return Err(HeaderError::Magic);
        }
        let found: u32 = bytemuck::pod_read_unaligned(&bytes[HEADER_CRC_AT..]);
        let computed = crc32c::crc32c(&bytes[..HEADER_CRC_AT]);
        if found != computed {
            return Err(HeaderError::Checksum { found, computed });
        }
        if u16_at(8) != VERSION {
            return Err(HeaderError::Version(u16_at(8)));
        }
        if (u16_at(16), u16_at(18)) != (HASH_ID, HASH_VERSION) {
            return Err(HeaderError::Hash(u16_at(16), u16_at(18)));
        }
        let (flags, made_by_bytes) = (u16_at(10), usize::from(u16_at(20)));
        if flags & !Self::GENERATED != 0 {
            return Err(HeaderError::Malformed("unknown flags"));
        }
        if made_by_bytes > MADE_BY_BYTES_MAX {
            return Err(HeaderError::Malformed("the text is longer than the format allows"));
        }
        let text_end = MADE_BY_AT + made_by_bytes;
        let reserved = [&bytes[22..24], &bytes[48..MADE_BY_AT], &bytes[text_end..HEADER_CRC_AT]];
        if reserved.iter().any(|bytes| !is_zero(bytes)) {
            return Err(HeaderError::Malformed("reserved bytes are not zero"));
        }
        let made_by = std::str::from_utf8(&bytes[MADE_BY_AT..text_end])
            .map_err(|_| HeaderError::Malformed("the text is not UTF-8"))?;
        let header = Self {
            generated: flags & Self::GENERATED != 0,
            made_by: made_by.to_owned(),
            shard: u16_at(12),
            shard_count: u16_at(14),
            segment: u64_at(24),
            base_sequence: u64_at(32),
            epoch: u64_at(40),
        };
        Ok((header, found))
    }
}

/// Whether all bytes are zero.
pub(crate) fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|&byte| byte == 0)
}

/// The header of a block, as it stands in the file. See the byte map at the top of this module.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Pod, Zeroable)]
pub struct BlockHeader {
    /// [`BLOCK_MAGIC`].
    pub magic: [u8; 4],
    /// CRC-32C of bytes 8..64 of this header and of the stored bytes.
    pub crc: u32,
    /// That of the segment.
    pub epoch: u64,
    /// Events on the tape before this block.
    pub first_sequence: u64,
    /// Events below this sequence were on stable storage when this block was written.
    pub durable: u64,
    /// `crc` of the block before, or of the segment header.
    pub prev_crc: u32,
    /// Bytes of slots as stored.
    pub stored_bytes: u32,
    /// Bytes of slots, plain.
    pub plain_bytes: u32,
    /// Slots, 1 to [`BLOCK_SLOTS_MAX`].
    pub slots: u32,
    /// Events, 1 to `slots`.
    pub events: u32,
    /// 0 = none, 1 = zstd.
    pub codec: u8,
    /// [`BlockHeader::PADDED`], [`BlockHeader::DEFINITIONS`].
    pub flags: u8,
    /// Always 0.
    pub reserved: u16,
    /// Largest `ts_recv` on the segment up to the end of this block.
    pub ts_recv_max: u64,
}

/// The seal, as it stands in the file. See the byte map at the top of this module.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Pod, Zeroable)]
pub struct Seal {
    /// [`SEAL_MAGIC`].
    pub magic: [u8; 4],
    /// CRC-32C of bytes 8..64.
    pub crc: u32,
    /// That of the segment.
    pub epoch: u64,
    /// `base_sequence` + events of this segment.
    pub end_sequence: u64,
    /// As in a block.
    pub durable: u64,
    /// `crc` of the last block, or of the segment header.
    pub prev_crc: u32,
    /// Always 0.
    pub reserved: u32,
    /// Slots of this segment.
    pub slots: u64,
    /// Blocks of this segment.
    pub blocks: u64,
    /// Largest `ts_recv` on the segment.
    pub ts_recv_max: u64,
}

impl BlockHeader {
    /// Flag: zeros follow the stored bytes up to a multiple of [`GROUP_BYTES`].
    pub const PADDED: u8 = 1;
    /// Flag: the block defines at least one symbol or source.
    pub const DEFINITIONS: u8 = 1 << 1;

    /// The sum that belongs into `crc`, over this header and `stored`.
    #[must_use]
    pub fn checksum(&self, stored: &[u8]) -> u32 {
        crc32c::crc32c_append(crc32c::crc32c(&bytemuck::bytes_of(self)[8..]), stored)
    }

    /// Bytes from the start of the header to the start of what follows the block, for a block at `offset`.
    #[must_use]
    pub fn bytes_in_file(&self, offset: u64) -> u64 {
        let bytes = (BLOCK_HEADER_BYTES + self.stored_bytes as usize) as u64;
        let to = if self.flags & Self::PADDED != 0 { GROUP_BYTES } else { BLOCK_HEADER_BYTES };
        bytes + padding(offset + bytes, to) as u64
    }

    /// Looks at everything that the header says about itself, before its lengths are used for anything.
    ///
    /// # Errors
    /// The first field that no writer makes.
    pub fn check(&self) -> Result<(), BlockFault> {
        if self.magic != BLOCK_MAGIC {
            return Err(BlockFault::Magic(self.magic));
        }
        if self.plain_bytes as usize > BLOCK_BYTES_MAX || self.stored_bytes > self.plain_bytes || self.stored_bytes == 0
        {
            return Err(BlockFault::Lengths { stored: self.stored_bytes, plain: self.plain_bytes });
        }
        let plain_is_stored = self.stored_bytes == self.plain_bytes;
        match self.codec {
            0 if plain_is_stored => {}
            0 => return Err(BlockFault::Lengths { stored: self.stored_bytes, plain: self.plain_bytes }),
            1 => {}
            other => return Err(BlockFault::Codec(other)),
        }
        if self.slots as usize * SLOT_BYTES != self.plain_bytes as usize
            || self.events == 0
            || self.events > self.slots
            || self.flags & !(Self::PADDED | Self::DEFINITIONS) != 0
            || self.reserved != 0
        {
            return Err(BlockFault::Fields);
        }
        Ok(())
    }
}

impl Seal {
    /// The sum that belongs into `crc`.
    #[must_use]
    pub fn checksum(&self) -> u32 {
        crc32c::crc32c(&bytemuck::bytes_of(self)[8..])
    }
}

/// What is wrong with a block or a seal. Each prints as the end of one line that names file and offset.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BlockFault {
    /// Neither a block nor a seal begins here.
    #[error("no block or seal begins here: \"{}\"", .0.escape_ascii())]
    Magic([u8; 4]),
    /// Zeros where a block should begin: a segment that was filled ahead and not closed, or lost sectors.
    #[error("cut short: {zeros} zero bytes instead of a block or a seal, then {}", if *.to_end { "the end" } else { "other bytes" })]
    Zeros {
        /// Zero bytes from here on.
        zeros: u64,
        /// Whether the file ends with them.
        to_end: bool,
    },
    /// The file ends inside the block: so many bytes are there, so many are needed.
    #[error("cut short: {have} of at least {need} bytes")]
    CutShort {
        /// Bytes there.
        have: u64,
        /// Bytes needed.
        need: u64,
    },
    /// The file ends after a whole block, and there is no seal.
    #[error("cut short: the tape ends without a seal")]
    NoSeal,
    /// Lengths that no writer makes, or that are beyond what the format allows.
    #[error("a block of {stored} stored and {plain} plain bytes; at most {BLOCK_BYTES_MAX} are allowed")]
    Lengths {
        /// Stored bytes.
        stored: u32,
        /// Plain bytes.
        plain: u32,
    },
    /// A codec that this build does not know.
    #[error("unknown codec {0}")]
    Codec(u8),
    /// Slots, events, flags or reserved bytes that no writer makes.
    #[error("the header is malformed")]
    Fields,
    /// The sum is another.
    #[error("the checksum is {found:08x}, the bytes give {computed:08x}")]
    Checksum {
        /// In the header.
        found: u32,
        /// From the bytes.
        computed: u32,
    },
    /// The bytes between this block and the next are not zero.
    #[error("the padding is not zero")]
    Padding,
    /// A block of another segment or of an older use of these sectors.
    #[error("epoch {found:016x}, the segment has {expected:016x}")]
    Epoch {
        /// In the block.
        found: u64,
        /// In the segment header.
        expected: u64,
    },
    /// Right in itself, and not the successor of what stands before it.
    #[error("chain {found:08x}, expected {expected:08x}: blocks are missing, repeated or swapped")]
    Chain {
        /// In the block.
        found: u32,
        /// Sum of the block before.
        expected: u32,
    },
    /// The chain holds and the numbers do not.
    #[error("begins at sequence {found}, expected {expected}")]
    Sequence {
        /// In the block.
        found: u64,
        /// What the blocks before it give.
        expected: u64,
    },
    /// Events were called durable that did not exist yet.
    #[error("the durable watermark {durable} is beyond sequence {sequence}")]
    Durable {
        /// Watermark.
        durable: u64,
        /// Sequence of the block or seal.
        sequence: u64,
    },
    /// The stored bytes are right and do not decompress to the plain length.
    #[error("does not decompress to {0} bytes")]
    Decompress(u32),
    /// A slot that no writer makes.
    #[error("slot {index}: {what}")]
    Slot {
        /// Position in the block, from 0.
        index: u32,
        /// What is wrong with it.
        what: SlotFault,
    },
    /// The header's counts, flags or times are not those of its slots.
    #[error("the header's {0} differ from those of its slots")]
    Summary(&'static str),
    /// The seal's counts are not those of the blocks.
    #[error("the seal's {0} differ from those of the tape")]
    Seal(&'static str),
    /// Bytes after the seal.
    #[error("bytes follow the seal")]
    AfterSeal,
}

/// What is wrong with a slot inside a block.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SlotFault {
    /// Tags belong to rings.
    #[error("its tag is not 0")]
    Tag,
    /// A continuation that belongs to no event.
    #[error("a continuation without an event")]
    Stray,
    /// The event's span runs past the end of the block or over the head of another event.
    #[error("an event of {0} slots is not whole")]
    Span(u8),
    /// A symbol that no definition before it names.
    #[error("symbol {0} is used before its definition")]
    Symbol(u32),
    /// A source that no definition before it names.
    #[error("source {0} is used before its definition")]
    Source(u8),
    /// A definition that is damaged, skips an id, or contradicts an earlier one. Holds the id.
    #[error("the definition of id {0} is damaged, skips an id, or contradicts an earlier one")]
    Definition(u32),
}

/// What a run of whole events adds up to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Summary {
    /// Events.
    pub events: u32,
    /// Events that end a message.
    pub messages: u32,
    /// Definitions among the events.
    pub definitions: u32,
    /// Largest `ts_recv`.
    pub ts_recv_max: u64,
    /// Largest symbol that an event uses, definitions excepted, the causes of derived events included.
    pub symbol_max: u32,
    /// Largest source, likewise.
    pub source_max: u8,
}

/// Checks that `slots` are whole events with tag 0, and adds them up. O(slots), one pass, no allocation.
///
/// # Errors
/// The first slot that no writer makes, by its position.
pub fn check_slots(slots: &[Slot]) -> Result<Summary, (u32, SlotFault)> {
    let mut sum = Summary::default();
    let mut index = 0;
    while index < slots.len() {
        let head = &slots[index];
        let (span, kind) = (head.span(), head.kind());
        if head.tag != 0 {
            return Err((index as u32, SlotFault::Tag));
        }
        if kind == Kind::CONTINUATION {
            return Err((index as u32, SlotFault::Stray));
        }
        if span > 1 {
            check_span(&slots[index..], span).map_err(|(at, fault)| (index as u32 + at, fault))?;
        }
        sum.events += 1;
        sum.messages += u32::from(head.flags.contains(Flags::LAST));
        sum.ts_recv_max = sum.ts_recv_max.max(head.ts_recv.0);
        if is_definition(kind) {
            sum.definitions += 1;
        } else {
            let (symbol, source) = ids_used(&slots[index..index + span]);
            sum.symbol_max = sum.symbol_max.max(symbol);
            sum.source_max = sum.source_max.max(source);
        }
        index += span;
    }
    Ok(sum)
}

fn check_span(slots: &[Slot], span: usize) -> Result<(), (u32, SlotFault)> {
    let tail = slots.get(1..span).ok_or((0, SlotFault::Span(span as u8)))?;
    for (slot, index) in tail.iter().zip(1..) {
        if slot.kind() != Kind::CONTINUATION {
            return Err((0, SlotFault::Span(span as u8)));
        }
        if slot.tag != 0 {
            return Err((index, SlotFault::Tag));
        }
    }
    Ok(())
}

/// Whether events of this kind define a symbol or a source.
#[inline]
pub(crate) fn is_definition(kind: Kind) -> bool {
    kind == Kind::SYMBOL_DEF || kind == Kind::SOURCE_DEF
}

/// The largest symbol and source that one whole event uses.
#[inline]
pub(crate) fn ids_used(event: &[Slot]) -> (u32, u8) {
    let head = &event[0];
    match cause_of(event) {
        None => (head.symbol.0, head.source.0),
        Some(cause) => (head.symbol.0.max(cause.root.symbol.0), head.source.0.max(cause.root.source.0)),
    }
}

/// The cause of a derived event, given its whole span.
#[inline]
pub(crate) fn cause_of(event: &[Slot]) -> Option<&Cause> {
    if event.len() > 1 && event[0].flags.contains(Flags::DERIVED) {
        Some(bytemuck::must_cast_ref(event[event.len() - 1].continuation_words()))
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::mem::offset_of;
    use tapeline_core::event::{EventBuf, KindVersion, payload::News};

    #[test]
    fn the_byte_map_is_the_documented_one() {
        for (field, at) in [
            (offset_of!(BlockHeader, magic), 0),
            (offset_of!(BlockHeader, crc), 4),
            (offset_of!(BlockHeader, epoch), 8),
            (offset_of!(BlockHeader, first_sequence), 16),
            (offset_of!(BlockHeader, durable), 24),
            (offset_of!(BlockHeader, prev_crc), 32),
            (offset_of!(BlockHeader, stored_bytes), 36),
            (offset_of!(BlockHeader, plain_bytes), 40),
            (offset_of!(BlockHeader, slots), 44),
            (offset_of!(BlockHeader, events), 48),
            (offset_of!(BlockHeader, codec), 52),
            (offset_of!(BlockHeader, flags), 53),
            (offset_of!(BlockHeader, reserved), 54),
            (offset_of!(BlockHeader, ts_recv_max), 56),
            (offset_of!(Seal, magic), 0),
            (offset_of!(Seal, crc), 4),
            (offset_of!(Seal, epoch), 8),
            (offset_of!(Seal, end_sequence), 16),
            (offset_of!(Seal, durable), 24),
            (offset_of!(Seal, prev_crc), 32),
            (offset_of!(Seal, reserved), 36),
            (offset_of!(Seal, slots), 40),
            (offset_of!(Seal, blocks), 48),
            (offset_of!(Seal, ts_recv_max), 56),
        ] {
            assert_eq!(field, at);
        }
    }

    #[test]
    fn a_segment_header_survives_and_every_flipped_bit_is_seen() {
        let header = SegmentHeader {
            generated: true,
            made_by: "generated: seed 1, 100 symbols".into(),
            shard: 3,
            shard_count: 8,
            segment: 7,
            base_sequence: 1 << 40,
            epoch: 0x0123_4567_89ab_cdef,
        };
        let mut bytes = header.encode().unwrap();
        assert_eq!(SegmentHeader::decode(&bytes).unwrap().0, header);
        for bit in 0..SEGMENT_HEADER_BYTES * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(SegmentHeader::decode(&bytes).is_err(), "bit {bit}");
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
    }

    #[test]
    fn a_header_of_another_version_or_hash_is_named_and_a_long_text_refused() {
        let good = SegmentHeader::default().encode().unwrap();
        let with = |at: usize, value: u8| {
            let mut bytes = good;
            bytes[at] = value;
            let crc = crc32c::crc32c(&bytes[..HEADER_CRC_AT]);
            bytes[HEADER_CRC_AT..].copy_from_slice(&crc.to_le_bytes());
            SegmentHeader::decode(&bytes).unwrap_err()
        };
        assert_eq!(with(8, 2), HeaderError::Version(2));
        assert_eq!(with(18, 4), HeaderError::Hash(1, 4));
        assert!(matches!(with(10, 2), HeaderError::Malformed(_)));
        assert!(matches!(with(21, 0xff), HeaderError::Malformed(_)));
        assert!(matches!(with(4000, 1), HeaderError::Malformed(_)));
        let most = SegmentHeader { made_by: "x".repeat(MADE_BY_BYTES_MAX), ..SegmentHeader::default() };
        assert!(most.encode().is_ok());
        let more = SegmentHeader { made_by: "x".repeat(MADE_BY_BYTES_MAX + 1), ..SegmentHeader::default() };
        assert_eq!(more.encode(), Err(MadeByTooLong(MADE_BY_BYTES_MAX + 1)));
    }

    #[test]
    fn padding_reaches_the_next_multiple() {
        assert_eq!(padding(0, 64), 0);
        assert_eq!(padding(1, 64), 63);
        assert_eq!(padding(4096, 4096), 0);
        assert_eq!(padding(4160, 4096), 4032);
        assert_eq!(padding(u64::MAX, 64), 1);
    }

    #[test]
    fn only_whole_events_with_tag_0_pass() {
        let mut news = EventBuf::new(&News::default());
        news.push_bytes(&[1; 100]).unwrap();
        let mut slots = news.slots().to_vec();
        slots.extend_from_slice(news.slots());
        let sum = check_slots(&slots).unwrap();
        assert_eq!((sum.events, sum.messages, sum.symbol_max), (2, 0, 0));

        assert_eq!(check_slots(&slots[..5]), Err((3, SlotFault::Span(3))));
        assert_eq!(check_slots(&slots[1..]), Err((0, SlotFault::Stray)));
        slots[4].tag = 9;
        assert_eq!(check_slots(&slots), Err((4, SlotFault::Tag)));
        slots[4].tag = 0;
        slots[4].kind = KindVersion::new(Kind::TRADE, 0);
        assert_eq!(check_slots(&slots), Err((3, SlotFault::Span(3))));
        slots[0].tag = 1;
        assert_eq!(check_slots(&slots), Err((0, SlotFault::Tag)));
    }
}
