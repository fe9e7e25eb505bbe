//! Inputs: captures of every format, decoded into runs of slots.
//!
//! An [`Input`] runs on the ingest thread, off the measured cores. It appends whole messages to a buffer of fixed size
//! until the buffer is nearly full, and interns names in the one [`Catalog`] of the engine; whoever drives it sends the
//! definitions of new names down the rings before the events that use them.

pub mod binance;
pub mod binaryfile;
pub mod bytes;
pub mod cryptofeed;
pub mod csv;
pub mod dbn;
pub mod decimal;
pub mod detect;
pub mod generate;
pub mod iex;
pub mod itch;
pub mod json;
mod lines;
pub mod mold;
pub mod parquet;
pub mod pcap;
pub mod tape;
pub mod udp;

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use tapeline_core::catalog::{Catalog, CatalogError};
use tapeline_core::event::Slot;

/// Bad lines, and bad packets, that are named in a report; the others are only counted.
pub const BAD_LINES_NAMED_MAX: usize = 10;

/// A run of slots of fixed capacity: it never grows.
pub struct SlotBuf {
    slots: Vec<Slot>,
}

impl SlotBuf {
    /// An empty buffer for `capacity` slots.
    #[must_use]
    pub fn with_capacity(capacity: usize) -> Self {
        Self { slots: Vec::with_capacity(capacity) }
    }

    /// Slots that still fit.
    #[inline]
    #[must_use]
    pub fn remaining(&self) -> usize {
        self.slots.capacity() - self.slots.len()
    }

    /// Appends slots.
    ///
    /// # Panics
    /// When they do not fit: look at [`SlotBuf::remaining`] first.
    #[inline]
    pub fn extend(&mut self, slots: &[Slot]) {
        assert!(slots.len() <= self.remaining(), "a slot buffer never grows");
        self.slots.extend_from_slice(slots);
    }

    /// The slots so far.
    #[inline]
    #[must_use]
    pub fn slots(&self) -> &[Slot] {
        &self.slots
    }

    /// The slots so far, to change in place.
    #[inline]
    pub fn slots_mut(&mut self) -> &mut [Slot] {
        &mut self.slots
    }

    /// Drops all slots after the first `len`: what a message that turned out bad had appended.
    #[inline]
    pub fn truncate(&mut self, len: usize) {
        self.slots.truncate(len);
    }

    /// Empties the buffer.
    #[inline]
    pub fn clear(&mut self) {
        self.slots.clear();
    }
}

/// Whether an input has more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum Status {
    /// The buffer is full enough; call again with an emptier one.
    More,
    /// The input has ended well; nothing will follow.
    End,
}

/// A capture that is being decoded.
pub trait Input: Send {
    /// Name of the format, as `info` prints it: `tape`, `pcap`, `pcapng`, `binance`, `cryptofeed`, `tardis`, `csv`, `dbn`, `itch`, `generated`.
    fn format(&self) -> &'static str;

    /// Whether the capture says of itself that a model made it.
    fn is_generated(&self) -> bool {
        false
    }

    /// Decodes the next messages and appends their events to `out`, whole messages only, in the order of the file. The
    /// last event of each message carries `Flags::LAST`. Appends at least one message unless the input ends, fails, or
    /// `out` has too little room for the next message.
    ///
    /// `out` has room for at least [`MESSAGE_SLOTS_MAX`] slots when it is empty; a longer message is refused as bad.
    ///
    /// # Errors
    /// When the input is damaged, cut short or unreadable, or a table is full. What was appended before stands. Called
    /// again after an error, an input says [`Status::End`].
    fn read(&mut self, catalog: &mut Catalog, out: &mut SlotBuf) -> Result<Status, InputError>;

    /// What was seen so far, beyond the events themselves.
    fn tally(&self) -> Tally;
}

/// Longest message in slots that every input buffer has room for.
pub const MESSAGE_SLOTS_MAX: usize = 16_384;

/// What an input has seen so far, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Messages of the source by its own type names (`bookTicker`, `mbo`).
    pub messages: BTreeMap<String, u64>,
    /// Messages that have no kind here, by name.
    pub skipped: BTreeMap<String, u64>,
    /// Lines read, blank and bad ones included (line formats only; a CSV's header is none).
    pub lines: u64,
    /// Lines that could not be read (line formats only).
    pub bad_lines: u64,
    /// The first bad lines: number from 1, and why.
    pub first_bad_lines: Vec<(u64, String)>,
    /// What the packets of a capture are, by name: those of each feed, and those that are not decoded (`arp`, `tcp`, `udp port 53 (dns)`).
    pub packets: BTreeMap<String, u64>,
    /// Packets of a feed that are damaged (captures of packets only).
    pub bad_packets: u64,
    /// The first bad packets.
    pub first_bad_packets: Vec<BadPacket>,
}

/// A packet of a feed that could not be decoded whole.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct BadPacket {
    /// Number of the packet in its capture, from 1.
    pub packet: u64,
    /// Where its record begins, in bytes of the decompressed capture.
    pub offset: u64,
    /// What is wrong with it.
    pub why: String,
}

/// Where in an input something is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Position {
    /// Offset in bytes from the start; of the decompressed stream where the file is compressed.
    Offset(u64),
    /// Line, from 1.
    Line(u64),
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Offset(offset) => write!(f, "offset {offset}"),
            Self::Line(line) => write!(f, "line {line}"),
        }
    }
}

/// Why an input could not be read, or not to its end. Each prints as one line that names the file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InputError {
    /// Could not be opened (exit code 2).
    #[error("{path}: cannot open: {error}")]
    Open {
        /// File as the user named it.
        path: String,
        /// What the system said.
        error: io::Error,
    },
    /// Opened, but no format that this build knows (exit code 2).
    #[error("{path}: format not recognised at offset 0: {why}")]
    Unrecognised {
        /// File as the user named it.
        path: String,
        /// What the first bytes look like.
        why: String,
    },
    /// Recognised, but damaged or cut short (exit code 3).
    #[error("{path}: {at}: {why}")]
    Damaged {
        /// File as the user named it.
        path: String,
        /// First byte or line that could not be used.
        at: Position,
        /// What is wrong there.
        why: String,
    },
    /// A name did not fit the engine's tables (exit code 2: raise the limit).
    #[error("{path}: {at}: {error}")]
    Catalog {
        /// File as the user named it.
        path: String,
        /// Where the name stands.
        at: Position,
        /// What the table said.
        error: CatalogError,
    },
}

impl InputError {
    /// The exit code of the command line for this error: 2 or 3.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Damaged { .. } => 3,
            Self::Open { .. } | Self::Unrecognised { .. } | Self::Catalog { .. } => 2,
        }
    }
}
