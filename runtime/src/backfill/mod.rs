//! History for handlers that ask for it ([`tapeline_core::backfill`]): read off the hot cores, from tapes and Parquet files, on a thread of its
//! own.
//!
//! ```text
//!  shard core                                           backfill thread (on cores that no station has, where there are any)
//!  +-------------------+   orders, stops (ArrayQueue)   +---------------------------------------------------------------+
//!  | Shard: HistoryPort|===============================>| one desk for each shard: its orders one after the other       |
//!  |                   |<===============================|   order -> time index of each tape -> blocks -> events, merged |
//!  +-------------------+   ring: events, end (SPSC)     +---------------------------------------------------------------+
//! ```
//!
//! - **Nothing blocks anything.** A desk whose ring is full gives way to the next: a shard that waits for its history never waits for
//!   another shard to take its own.
//! - **In order.** An event's time is the running maximum of `ts_recv` on its tape, by which the index goes; tapes are merged by (time, number
//!   of the tape). So nothing of a range is left out where a capture's times go back, and adjacent ranges have each event once.
//! - **By name.** A tape's ids are its own. Its sources are interned in the engine's catalog at the start, before anything else is; the symbol
//!   is the one that was ordered.
//! - **Bounded.** A block of each tape that has something in the range now, and what the ring holds. Of a Parquet file, what its input keeps.
//! - **What cannot be read fails the order**, with a reason that the report names: see [`FAILED_MISSING`] and its neighbours. What came
//!   before the damage has come.
//!
//! Outputs of other runs on a tape (derived events) are no history.

mod archive;
mod groups;
mod reading;
mod thread;

#[cfg(test)]
mod tests;

pub use archive::{Archive, Fault, Listed};
pub use thread::{Backfill, BackfillThread, HistoryPort, ReaderReport};

use std::path::PathBuf;
use tapeline_core::backfill::DeskConfig;

/// Code of an order that failed: a tape could not be opened or read.
pub const FAILED_MISSING: u16 = 1;
/// A tape is damaged. The report names the offset.
pub const FAILED_DAMAGED: u16 = 2;
/// A file is of a format that history is not read from.
pub const FAILED_FORMAT: u16 = 3;
/// A tape's names do not fit the engine's catalog.
pub const FAILED_NAMES: u16 = 4;

/// Files of one archive at most.
pub const TAPES_MAX: usize = 4_096;
/// Tapes that may have something at one time at most: each takes two buffers of 256 KiB.
pub const OPEN_MAX: usize = 64;
/// Slots of the ring by which a shard gets its history, unless configured otherwise.
pub const RING_SLOTS_DEFAULT: usize = 4_096;

/// What history is read from, and how.
#[derive(Clone, PartialEq, Debug)]
pub struct Settings {
    /// Tapes and Parquet files, and folders of them (files whose names end in `.tape` and `.parquet`).
    pub paths: Vec<PathBuf>,
    /// Slots of the ring to each shard, a power of two.
    pub ring_slots: usize,
    /// The desk of each shard.
    pub desk: DeskConfig,
}
