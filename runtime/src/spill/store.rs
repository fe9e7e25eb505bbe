//! The store of one shard: blocks in a file between two blocks in memory, first in, first out. No thread, no ring.

use super::PLACE_BYTES;
use crate::tape::format::{BLOCK_HEADER_BYTES, BLOCK_MAGIC, BLOCK_SLOTS_MAX, BlockHeader};
use bytemuck::Zeroable;
use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use tapeline_core::event::{EventRef, Slot};
use tapeline_core::limits::{SLOT_BYTES, SPAN_SLOTS_MAX};

/// Where blocks are kept.
pub(super) trait Disk: Send {
    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()>;
    fn read_at(&self, bytes: &mut [u8], at: u64) -> io::Result<()>;
}

impl Disk for File {
    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        self.write_all_at(bytes, at)
    }

    fn read_at(&self, bytes: &mut [u8], at: u64) -> io::Result<()> {
        self.read_exact_at(bytes, at)
    }
}

/// A block in the file.
#[derive(Clone, Copy)]
struct Stored {
    place: u64,
    header: BlockHeader,
}

/// See the module.
pub(super) struct Store {
    disk: Box<dyn Disk>,
    /// Places of the file without a block, and all that there are.
    free: Vec<u64>,
    blocks: VecDeque<Stored>,
    /// The newest events, not in the file yet; the oldest, not in it any more, from `front_at` on.
    back: Vec<Slot>,
    front: Vec<Slot>,
    front_at: usize,
    /// Events that were written to the file so far.
    sequence: u64,
    /// A write has failed: no more is written.
    has_failed: bool,
    bytes: Vec<u8>,
    pub(super) written: u64,
    pub(super) read: u64,
    pub(super) most: u64,
}

impl Store {
    /// A store of so many bytes on `disk`: whole blocks, at least one.
    pub(super) fn new(disk: Box<dyn Disk>, limit_bytes: u64) -> Self {
        let places = (limit_bytes / PLACE_BYTES).max(1);
        Self {
            disk,
            // The first place is used first, so that a small backlog makes a small file.
            free: (0..places).rev().collect(),
            blocks: VecDeque::new(),
            back: Vec::with_capacity(BLOCK_SLOTS_MAX),
            front: Vec::with_capacity(BLOCK_SLOTS_MAX),
            front_at: 0,
            sequence: 0,
            has_failed: false,
            bytes: Vec::with_capacity(PLACE_BYTES as usize),
            written: 0,
            read: 0,
            most: 0,
        }
    }

    /// Slots that [`Store::put`] has room for; no event is cut.
    pub(super) fn room(&self) -> usize {
        BLOCK_SLOTS_MAX - self.back.len()
    }

    /// Takes whole events, as many slots as there is room for at most.
    pub(super) fn put(&mut self, events: &[Slot]) {
        debug_assert!(events.len() <= self.room(), "Invariant: whoever puts asks for room");
        self.back.extend_from_slice(events);
    }

    /// Whether nothing is in it.
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.back.is_empty() && self.blocks.is_empty() && self.front_at == self.front.len()
    }

    /// Makes room at the back where an event more might find none. False when there is none to be made: the file is full, or a write has failed.
    ///
    /// # Errors
    /// The write that failed; what it was to write is still here. It is told once.
    pub(super) fn make_room(&mut self) -> io::Result<bool> {
        if self.room() >= SPAN_SLOTS_MAX {
            return Ok(true);
        }
        if self.advance_in_memory() {
            return Ok(true);
        }
        if self.has_failed {
            return Ok(false);
        }
        let Some(place) = self.free.pop() else { return Ok(false) };
        let slots: &[u8] = bytemuck::cast_slice(&self.back);
        let header = BlockHeader {
            magic: BLOCK_MAGIC,
            first_sequence: self.sequence,
            stored_bytes: slots.len() as u32,
            plain_bytes: slots.len() as u32,
            slots: self.back.len() as u32,
            events: tapeline_core::event::events(&self.back).count() as u32,
            ..BlockHeader::zeroed()
        };
        let header = BlockHeader { crc: header.checksum(slots), ..header };
        self.bytes.clear();
        self.bytes.extend_from_slice(bytemuck::bytes_of(&header));
        self.bytes.extend_from_slice(slots);
        if let Err(error) = self.disk.write_at(&self.bytes, place * PLACE_BYTES) {
            self.has_failed = true;
            self.free.push(place);
            return Err(error);
        }
        self.sequence += u64::from(header.events);
        self.blocks.push_back(Stored { place, header });
        self.back.clear();
        self.written += 1;
        self.most = self.most.max(self.blocks.len() as u64);
        Ok(true)
    }

    /// The back becomes the front where nothing is between them. True when it did.
    fn advance_in_memory(&mut self) -> bool {
        let may = self.front_at == self.front.len() && self.blocks.is_empty() && !self.back.is_empty();
        if may {
            self.front.clear();
            self.front_at = 0;
            std::mem::swap(&mut self.front, &mut self.back);
        }
        may
    }

    /// The oldest event, until [`Store::pop`].
    ///
    /// # Errors
    /// The block that has it could not be read, or is not what was written.
    pub(super) fn first(&mut self) -> io::Result<Option<EventRef<'_>>> {
        if self.front_at == self.front.len() {
            match self.blocks.front().copied() {
                Some(block) => self.load(&block)?,
                None => _ = self.advance_in_memory(),
            }
        }
        Ok(EventRef::first(&self.front[self.front_at..]))
    }

    /// Takes the event that [`Store::first`] gave.
    pub(super) fn pop(&mut self) {
        if let Some(event) = EventRef::first(&self.front[self.front_at..]) {
            self.front_at += event.slots().len();
        }
    }

    fn load(&mut self, block: &Stored) -> io::Result<()> {
        let mut header = BlockHeader::zeroed();
        let at = block.place * PLACE_BYTES;
        self.disk.read_at(bytemuck::bytes_of_mut(&mut header), at)?;
        let slots = block.header.slots as usize;
        self.front.clear();
        self.front.resize(slots, Slot::ZERO);
        self.front_at = 0;
        let into: &mut [u8] = bytemuck::cast_slice_mut(&mut self.front);
        debug_assert_eq!(into.len(), slots * SLOT_BYTES);
        let is_read = self.disk.read_at(into, at + BLOCK_HEADER_BYTES as u64);
        if is_read.is_err() || header != block.header || header.checksum(into) != header.crc {
            self.front.clear();
            is_read?;
            let why = format!("the block at {at} is not what was written there");
            return Err(io::Error::new(io::ErrorKind::InvalidData, why));
        }
        self.blocks.pop_front();
        self.free.push(block.place);
        self.read += 1;
        Ok(())
    }
}
