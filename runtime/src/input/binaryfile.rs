//! BinaryFILE: ITCH messages in a file, as Nasdaq offers its days for download.
//!
//! Source: *BinaryFILE* 1.00 (Nasdaq). A file is records, and nothing else:
//! ```text
//! 0 length u16   big-endian; 0 = end of the session
//! 2 message      that many bytes
//! ```
//! Messages have no number and no time of capture: they are counted from 1, and taken as captured when they were sent.
//!
//! A file that ends between two records is a whole file, with or without the mark of the end; anything after that mark, a record that is
//! cut short and a message of a length that its type does not have are damage. A type that the specification does not have is
//! counted and skipped.

use super::bytes::{self, ByteSource};
use super::itch::{ITCH_MESSAGE_SLOTS, ItchConfig, ItchError, ItchMapper, SessionDate};
use super::{Input, InputError, Position, SlotBuf, Status, Tally};
use std::io::{ErrorKind, Read};
use tapeline_core::catalog::Catalog;
use tapeline_core::wire::itch::length_of;

/// Bytes of a record's length.
const LENGTH_BYTES: usize = 2;
/// Longest record.
const RECORD_BYTES_MAX: usize = LENGTH_BYTES + u16::MAX as usize;
/// Bytes that are read at a time: several of the longest records.
const BUFFER_BYTES: usize = 512 << 10;
const _: () = assert!(BUFFER_BYTES >= 2 * RECORD_BYTES_MAX);

/// Whether a file that begins with these bytes is a BinaryFILE of ITCH 5.0.
///
/// It begins with a system event, or with another whole message, of the length of its type; of further records in sight, the second one
/// has the length of its type as well, or is the end. Three bytes of a system event are enough.
#[must_use]
pub fn starts_with_itch(start: &[u8]) -> bool {
    let record = |at: usize| match start.get(at..)? {
        [0, 0, ..] => Some((LENGTH_BYTES, true)),
        [high, low, letter, ..] => {
            let length = usize::from(u16::from_be_bytes([*high, *low]));
            Some((LENGTH_BYTES + length, length_of(*letter) == Some(length)))
        }
        _ => None,
    };
    match record(0) {
        Some((bytes, true)) if bytes > LENGTH_BYTES => {
            let is_system_event = start[LENGTH_BYTES] == b'S';
            let is_next_right = record(bytes).is_none_or(|(_, is_right)| is_right);
            is_system_event || bytes <= start.len() && is_next_right
        }
        _ => false,
    }
}

/// A BinaryFILE of ITCH 5.0. Memory: the buffer, and what [`ItchMapper::new`] takes.
pub struct BinaryFileInput {
    source: ByteSource,
    path: String,
    buffer: Box<[u8]>,
    /// `buffer[from..to]` is still to be used.
    from: usize,
    to: usize,
    /// Offset of `buffer[from]` in the decompressed stream.
    offset: u64,
    /// Messages so far, of unknown types too.
    seq: u64,
    mapper: ItchMapper,
    has_ended: bool,
}

impl BinaryFileInput {
    /// Reads from `source`, whose name tells the day where `config` does not.
    #[must_use]
    pub fn new(source: ByteSource, config: &ItchConfig) -> Self {
        let path = source.path().to_owned();
        let date = config.date.or_else(|| SessionDate::of_file_name(&path)).unwrap_or(SessionDate::UNKNOWN);
        Self {
            source,
            path,
            buffer: vec![0; BUFFER_BYTES].into_boxed_slice(),
            from: 0,
            to: 0,
            offset: 0,
            seq: 0,
            mapper: ItchMapper::new(config.orders_max, Some(date.midnight_ns())),
            has_ended: false,
        }
    }

    /// Appends the events of all whole records in the buffer, as far as `out` has room. `Some` when the end of the session was among them.
    fn decode(&mut self, catalog: &mut Catalog, out: &mut SlotBuf) -> Result<Option<SessionEnd>, InputError> {
        let mut rest = &self.buffer[self.from..self.to];
        let mut result = Ok(None);
        while out.remaining() >= ITCH_MESSAGE_SLOTS
            && let Some((length, after)) = rest.split_first_chunk()
        {
            let length = usize::from(u16::from_be_bytes(*length));
            if length == 0 {
                rest = after;
                result = Ok(Some(SessionEnd));
                break;
            }
            let Some((message, after)) = after.split_at_checked(length) else { break };
            if let Err(error) = self.mapper.message(message, self.seq + 1, None, catalog, out) {
                result = Err(error);
                break;
            }
            self.seq += 1;
            rest = after;
        }
        let used = self.to - self.from - rest.len();
        self.from += used;
        self.offset += used as u64;
        result.map_err(|error| {
            let (path, at) = (self.path.clone(), Position::Offset(self.offset));
            match error {
                ItchError::Message(error) => InputError::Damaged { path, at, why: error.to_string() },
                ItchError::Catalog(error) => InputError::Catalog { path, at, error },
            }
        })
    }

    /// Reads more behind what is left. `false` at the end of the file.
    fn fill(&mut self) -> Result<bool, InputError> {
        self.buffer.copy_within(self.from..self.to, 0);
        (self.from, self.to) = (0, self.to - self.from);
        loop {
            match self.source.read(&mut self.buffer[self.to..]) {
                Ok(0) => return Ok(false),
                Ok(read) => {
                    self.to += read;
                    return Ok(true);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => {
                    let offset = self.offset + (self.to - self.from) as u64;
                    return Err(bytes::damaged(&self.path, &error, offset));
                }
            }
        }
    }

    fn damage(&self, why: String) -> InputError {
        InputError::Damaged { path: self.path.clone(), at: Position::Offset(self.offset), why }
    }

    fn next(&mut self, catalog: &mut Catalog, out: &mut SlotBuf) -> Result<Status, InputError> {
        loop {
            let end = self.decode(catalog, out)?;
            if end.is_some() {
                return if self.from < self.to || self.fill()? {
                    Err(self.damage("there are bytes after the end of the session".to_owned()))
                } else {
                    Ok(Status::End)
                };
            }
            if out.remaining() < ITCH_MESSAGE_SLOTS {
                return Ok(Status::More);
            }
            if !self.fill()? {
                return match &self.buffer[self.from..self.to] {
                    [] => Ok(Status::End),
                    [_] => Err(self.damage("the last record is cut short: 1 byte of its length".to_owned())),
                    [high, low, message @ ..] => {
                        let length = u16::from_be_bytes([*high, *low]);
                        let why = format!("the last message is cut short: {} of {length} bytes", message.len());
                        Err(self.damage(why))
                    }
                };
            }
        }
    }
}

/// The mark of the end was read.
struct SessionEnd;

impl Input for BinaryFileInput {
    fn format(&self) -> &'static str {
        "itch"
    }

    fn read(&mut self, catalog: &mut Catalog, out: &mut SlotBuf) -> Result<Status, InputError> {
        if self.has_ended {
            return Ok(Status::End);
        }
        let result = self.next(catalog, out);
        self.has_ended = !matches!(result, Ok(Status::More));
        result
    }

    fn tally(&self) -> Tally {
        self.mapper.tally()
    }
}

impl std::fmt::Debug for BinaryFileInput {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BinaryFileInput")
            .field("path", &self.path)
            .field("offset", &self.offset)
            .field("mapper", &self.mapper)
            .finish_non_exhaustive()
    }
}
