//! The tape: one format for capture, journal and export.
//!
//! [`mod@format`] holds the byte map; [`TapeWriter`] and [`TapeReader`] stream it, [`verify`] walks a whole
//! file and says what stands where, [`index`] finds a time without reading what is before it, [`mod@cut`] takes a part.
//!
//! What a tape promises: equal input gives equal bytes; every block verifies alone and the chain of blocks beside it, so
//! that a flipped bit, a cut, and a missing, repeated or swapped block are all found before a slot of that block is
//! handed out, with the offset of the block; the names of symbols and sources are on the tape before their first use; a
//! reader's memory does not depend on the file. What it does not: it does not repair, and a tape that is being written
//! cannot be told from one that was cut short.
//!
//! ```
//! use tapeline_core::catalog::{Catalog, SeqRule};
//! use tapeline_core::event::{EventBuf, Flags, payload::Trade};
//! use tapeline_runtime::tape::{TapeOptions, TapeReader, TapeWriter};
//!
//! let mut catalog = Catalog::new(16);
//! let mut event = EventBuf::new(&Trade::default());
//! event.head_mut().symbol = catalog.symbol(b"BINANCE_SPOT:ETHUSDT").unwrap();
//! event.head_mut().source = catalog.source(b"binance.spot.trade", SeqRule::Increasing).unwrap();
//! event.flag(Flags::LAST);
//!
//! let mut file = Vec::new();
//! let mut writer = TapeWriter::new(&mut file, TapeOptions::default()).unwrap();
//! writer.write(&catalog, event.slots()).unwrap();
//! assert_eq!(writer.finish().unwrap().events, 1);
//!
//! let mut reader = TapeReader::new(file.as_slice()).unwrap();
//! let block = reader.next_block().unwrap().expect("one block");
//! assert_eq!(block.summary.events, 3, "two definitions and the trade");
//! assert_eq!(block.slots.last(), event.slots().last());
//! assert!(reader.next_block().unwrap().is_none());
//! ```

pub mod cut;
pub mod format;
pub mod index;
mod reader;
pub mod verify;
mod writer;

pub use format::{Codec, SegmentHeader};
pub(crate) use reader::fill;
pub use reader::{Block, TapeError, TapeReader};
pub use writer::{TapeCounts, TapeOptions, TapeWriteError, TapeWriter};
