//! A stretch of a stream of fixed size, from the record at hand on.

use super::{Broken, PACKET_BYTES_MAX};
use crate::input::bytes::{ByteSource, damaged};
use crate::input::{InputError, Position};
use std::io::{self, ErrorKind, Read};

/// Bytes held: read in pieces that are large beside a packet.
const WINDOW_BYTES: usize = 1 << 20;
const _: () = assert!(WINDOW_BYTES >= 2 * PACKET_BYTES_MAX);

/// Bytes of one record at most, with what stands around a packet.
pub(super) const RECORD_BYTES_MAX: usize = PACKET_BYTES_MAX + (64 << 10);

/// The bytes of a [`ByteSource`] that are at hand.
pub(super) struct Window {
    source: ByteSource,
    buffer: Box<[u8]>,
    /// `buffer[from..to]` is held.
    from: usize,
    to: usize,
    /// Offset of `buffer[from]` in the stream.
    offset: u64,
    ended: bool,
}

impl Window {
    pub(super) fn new(source: ByteSource) -> Self {
        let offset = source.offset();
        Self { source, buffer: vec![0; WINDOW_BYTES].into_boxed_slice(), from: 0, to: 0, offset, ended: false }
    }

    pub(super) fn path(&self) -> &str {
        self.source.path()
    }

    /// Offset of the first byte held.
    pub(super) const fn offset(&self) -> u64 {
        self.offset
    }

    /// What is held.
    #[inline]
    pub(super) fn held(&self) -> &[u8] {
        &self.buffer[self.from..self.to]
    }

    /// At least `count` bytes, or all there are before the end. `count` is at most [`RECORD_BYTES_MAX`].
    #[inline]
    pub(super) fn fill(&mut self, count: usize) -> io::Result<&[u8]> {
        if self.to - self.from < count {
            self.refill(count)?;
        }
        Ok(self.held())
    }

    #[cold]
    fn refill(&mut self, count: usize) -> io::Result<()> {
        debug_assert!(count <= RECORD_BYTES_MAX, "Invariant: no record is longer");
        if self.buffer.len() - self.from < RECORD_BYTES_MAX {
            self.buffer.copy_within(self.from..self.to, 0);
            (self.from, self.to) = (0, self.to - self.from);
        }
        while self.to - self.from < count && !self.ended {
            match self.source.read(&mut self.buffer[self.to..]) {
                Ok(0) => self.ended = true,
                Ok(read) => self.to += read,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Drops the first `count` of the bytes held.
    #[inline]
    pub(super) fn consume(&mut self, count: usize) {
        debug_assert!(count <= self.to - self.from, "Invariant: only what is held is consumed");
        self.from += count;
        self.offset += count as u64;
    }

    /// Reads past `count` bytes, held or not. Returns how many there were.
    pub(super) fn skip(&mut self, count: u64) -> io::Result<u64> {
        let mut left = count;
        while left > 0 {
            if self.from == self.to && self.fill(1)?.is_empty() {
                break;
            }
            let step = left.min((self.to - self.from) as u64);
            self.consume(step as usize);
            left -= step;
        }
        Ok(count - left)
    }

    /// The error for what is wrong at the first byte held.
    pub(super) fn damage(&self, broken: Broken) -> InputError {
        match broken {
            Broken::Record(why) | Broken::Version(why) => {
                InputError::Damaged { path: self.path().to_owned(), at: Position::Offset(self.offset), why }
            }
            Broken::Stream(error) => damaged(self.path(), &error, self.offset),
        }
    }
}
