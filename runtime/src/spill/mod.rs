//! The store of spilled events: what a topic with the policy `spill` has no room for waits in a file, off the hot cores, and comes back in order.
//!
//! ```text
//!  shard core                                   spill thread
//!  +--------------------+  ring: spilled        +-----------------------------------------------+
//!  | Egress: SpillPort  |======================>| a desk for each shard                         |
//!  |   spill, unspill   |<======================|   back -> blocks in a file of its own -> front |
//!  +--------------------+  ring: back again     +-----------------------------------------------+
//! ```
//!
//! - **First in, first out**, whole events, each once. What is spilled and read back at once never touches the file: it goes from the newest block to the oldest
//!   in memory. The rest is blocks as a tape has them ([`crate::tape::format`]), each verified as it is read.
//! - **Bounded**: `spill.limit` bytes of file for each shard, a block in memory at either end, and [`RING_SLOTS`] slots on the way there. What does not fit is refused
//!   after admission and counted as `refused_full`; so is what comes faster than the file is written for longer than the ring has room.
//! - **A write that fails** (a full disk, a medium that is gone) loses nothing: what it was to write stays in memory and comes back in its turn. No more is
//!   taken from then on (`refused_failed`), it is told at once, and the report has the reason. It is not tried again.
//! - **A block that cannot be read** is what was accepted and cannot be handled: the shard's core dies with the reason, and the run with it.
//! - **The file has no name.** It is made and unlinked at the start, in the folder that `spill.folders` gives the shard, so that nothing is left behind however the run
//!   ends. Where it cannot be made, there is no start.
//!
//! Used with `--overload live` only: else no topic is ever without room. While events are spilled the ledger has them in flight.

mod store;
mod thread;

#[cfg(test)]
mod tests;

pub use thread::{Spill, SpillCounts, SpillPort, SpillThread};

use crate::tape::format::{BLOCK_BYTES_MAX, BLOCK_HEADER_BYTES};
use serde::Serialize;
use std::path::PathBuf;

/// Slots of the ring by which a shard spills: 4 MiB.
pub const RING_SLOTS: usize = 1 << 16;
/// Slots of the ring by which events come back.
pub const BACK_RING_SLOTS: usize = 1 << 12;
/// Bytes of file that one block takes: the least limit.
pub const PLACE_BYTES: u64 = (BLOCK_HEADER_BYTES + BLOCK_BYTES_MAX) as u64;
/// Bytes of file for each shard, unless configured otherwise.
pub const LIMIT_BYTES_DEFAULT: u64 = 1 << 30;
/// Most bytes of file for one shard.
pub const LIMIT_BYTES_MAX: u64 = 1 << 44;
/// Reasons that a report names.
const REASONS_MAX: usize = 16;

/// Where spilled events wait.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Settings {
    /// Folders of the files: shard n takes the one of n modulo their number. At least one.
    pub folders: Vec<PathBuf>,
    /// Bytes of file for each shard, [`PLACE_BYTES`] to [`LIMIT_BYTES_MAX`]; what is left beside whole blocks is not used.
    pub limit_bytes: u64,
}

/// A file for spilled events could not be made.
#[derive(Debug, thiserror::Error)]
#[error("spill.folders: {}: {error}", folder.display())]
pub struct SpillError {
    /// Its folder.
    pub folder: PathBuf,
    /// Why.
    pub error: std::io::Error,
}

/// What the thread has to say at the end, all shards together.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct SpillReport {
    /// Blocks that were written to files, and read again.
    pub blocks_written: u64,
    /// See `blocks_written`.
    pub blocks_read: u64,
    /// The most blocks that were in the file of one shard at a time.
    pub blocks_most: u64,
    /// Writes that failed.
    pub writes_failed: u64,
    /// Why, each reason once, the first ones.
    pub reasons: Vec<String>,
}
