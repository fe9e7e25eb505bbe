//! Parquet: trades, quotes and bars in columns.
//!
//! Source: *Parquet format* 2.11 (apache/parquet-format). Footer, pages, levels and values are read here, by what is below this module, and
//! not by the `parquet` crate: that one takes memory by what a file says of its sizes, and adds more than half a minute to a build. The
//! tests have it as their oracle: files that it writes, in every encoding, are read back.
//!
//! # What is read
//!
//! | | |
//! |---|---|
//! | types | booleans, 32-, 64- and 96-bit integers, floats, doubles, byte arrays of any and of fixed length; with a meaning: decimals, unsigned integers, dates, times of day, timestamps in ms, µs and ns, texts |
//! | encodings | PLAIN, dictionaries, RLE, DELTA_BINARY_PACKED, DELTA_LENGTH_BYTE_ARRAY, DELTA_BYTE_ARRAY, BYTE_STREAM_SPLIT; pages of versions 1 and 2 |
//! | compression | none, snappy, gzip, zstd, LZ4_RAW; LZO, brotli and Hadoop's LZ4 are refused by name |
//! | not read | columns in other columns (lists, maps, structures), which are passed over; encrypted files |
//!
//! Which column is what is told by the map of [`ParquetConfig`], else by the names that Databento, Tardis, Polygon, Binance and others
//! have ([`Role`]). Rows are bars where there are open, high, low and close, else quotes where there are a best bid and ask, else
//! trades where there are a price and a size.
//!
//! # Rows to events
//!
//! - A row is a message of one event: a trade, a quote (wide where a size does not fit 32 bits), a bar.
//! - **Prices and sizes** are exact. A float stands for the shortest decimal that reads back as it (0.1 is 0.1); what has more than nine
//!   decimals, or does not fit, makes its row bad. Integers are whole numbers, but in a file of Databento's own (it has
//!   `publisher_id` or `rtype`) prices are in units of 1e-9. A missing price or NaN is "no bid" or "no ask"
//!   in a quote; a trade or bar without one is bad.
//! - **Times** without a unit are s, ms, µs or ns by the magnitude of the column's first one (below 1e11, 1e14, 1e17, above). A time of day
//!   is taken with its date, in UTC. `ts_recv` is `ts_event` where no column has it. A bar's `ts_event` is its start and its `ts_recv` its
//!   end: that of its column (Binance says the last ms or µs within: one is added where that makes whole seconds), else the start and the
//!   interval, of DBN's `rtype` or of the configuration.
//! - **Symbols** are `<exchange>:<symbol>` where there is an exchange, `#<number>` where they are numbers, else as they are, after the
//!   configured prefix; without a column the prefix is all of it, else what the file's name begins with.
//! - **Numbers**: the source is `parquet.trade`, `parquet.quote` or `parquet.bar`. With a column of whole numbers it counts
//!   [`SeqRule::Increasing`](tapeline_core::catalog::SeqRule::Increasing), and rows in a row with the same symbol and number are parts 0, 1, 2; else events carry `UNSEQUENCED` and a
//!   running count of their symbol.
//! - A **bad row** is counted and named like a bad line, by its number in the file, from 1; the rows around it stand.
//!
//! # Memory and damage
//!
//! The footer's bytes (48 MiB at most) are kept and its row groups read from them one by one; of each column one page and one dictionary are
//! kept, 96 MiB together at most. What a header says is checked before it is believed. Damage is named with its row group, its
//! column and the offset of its page, after all rows before it in the file; a file whose footer is cut off has no rows that
//! could be told. A Parquet file is read from its end: standard input, and a file inside gzip or zstd, are read into memory first, up to
//! 32 MiB.

mod bits;
mod cells;
mod footer;
mod mapper;
mod numbers;
mod page;
mod plan;
mod source;
mod thrift;

pub use plan::{ParquetConfig, Role, Rows};

use self::cells::Reader;
use self::footer::{Footer, Group};
use self::mapper::{Mapper, Refusal};
use self::page::Budget;
use self::plan::Plan;
use self::source::{MEMORY_BYTES_MAX, Source};
use super::bytes::{ByteSource, damaged};
use super::{Input, InputError, Position, SlotBuf, Status, Tally};
use std::io::{self, Read};
use tapeline_core::catalog::Catalog;

/// First bytes of a Parquet file.
pub(super) const MAGIC: &[u8] = b"PAR1";
/// Rows that are decoded at a time, of all columns.
const BATCH_ROWS: usize = 4_096;
/// Slots of the longest event of a row.
const ROW_SLOTS_MAX: usize = 2;

/// What is wrong with a file, and where.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Damage {
    at: u64,
    why: String,
}

impl Damage {
    fn new(at: u64, why: impl Into<String>) -> Self {
        Self { at, why: why.into() }
    }
}

/// Whether there is more to decode, and if not, what to say once all that was decoded is out.
enum Fate {
    Running,
    Ended,
    Failed(InputError),
}

/// A Parquet file that is being decoded. See the [module](self).
pub struct ParquetInput {
    path: String,
    /// The file from its start: read to its end once all rows are out where its hash is wanted.
    bytes: ByteSource,
    source: Source,
    budget: Budget,
    footer: Footer,
    leaves: Vec<usize>,
    group: Group,
    /// Rows of the group that were not decoded yet.
    group_left: u64,
    readers: Vec<Reader>,
    mapper: Mapper,
    /// Rows of the batch, and the next one to make an event of.
    rows: usize,
    at: usize,
    fate: Fate,
    /// Reading ends with each row group, so that [`ParquetInput::mark`] finds a place between two.
    stops_at_groups: bool,
}

/// A place between two row groups, with what is known there: for [`ParquetInput::go_to`].
#[derive(Clone, Debug)]
pub(crate) struct Mark {
    place: (usize, usize, usize),
    state: mapper::State,
}

impl ParquetInput {
    /// Reads the footer and finds out which column is what.
    ///
    /// # Errors
    /// [`InputError::Damaged`] when the footer is missing or damaged, [`InputError::Unrecognised`] when the columns are not those of
    /// trades, quotes or bars, or the file is no regular one and too long to be kept in memory.
    pub fn new(mut bytes: ByteSource, config: &ParquetConfig) -> Result<Self, InputError> {
        let path = bytes.path().to_owned();
        let unread = |error: &io::Error| damaged(&path, error, 0);
        let source = match bytes.file() {
            Some(file) => file.and_then(Source::file).map_err(|error| unread(&error))?,
            None => match Source::memory(&mut bytes).map_err(|error| unread(&error))? {
                Some(source) => source,
                None => {
                    let why = format!(
                        "it is Parquet, which is read from its end: from standard input, or inside gzip or zstd, only up to {} MiB",
                        MEMORY_BYTES_MAX >> 20
                    );
                    return Err(InputError::Unrecognised { path, why });
                }
            },
        };
        Self::open(path, bytes, source, config)
    }

    fn open(path: String, bytes: ByteSource, mut source: Source, config: &ParquetConfig) -> Result<Self, InputError> {
        let footer = Footer::read(&mut source).map_err(|damage| input_error(&path, damage))?;
        let plan = match Plan::new(&footer.columns, config, &path) {
            Ok(plan) => plan,
            Err(why) => return Err(InputError::Unrecognised { path, why: format!("it is Parquet, but {why}") }),
        };
        let mut columns = plan.columns.clone();
        // Chunks come in the order of the file's columns.
        columns.sort_by_key(|(_, column)| column.leaf);
        let leaves = columns.iter().map(|(_, column)| column.leaf).collect();
        let mapper = Mapper::new(&plan, config, &columns);
        let readers = columns.into_iter().map(|(_, column)| Reader::new(column)).collect();
        Ok(Self {
            path,
            bytes,
            source,
            budget: Budget::default(),
            footer,
            leaves,
            group: Group::default(),
            group_left: 0,
            readers,
            mapper,
            rows: 0,
            at: 0,
            fate: Fate::Running,
            stops_at_groups: false,
        })
    }

    /// Makes every read end with a row group.
    pub(crate) fn stop_at_groups(&mut self) {
        self.stops_at_groups = true;
    }

    /// The present place, where it is one between two row groups.
    pub(crate) fn mark(&self) -> Option<Mark> {
        let is_between = self.at == self.rows && self.group_left == 0 && matches!(self.fate, Fate::Running);
        is_between.then(|| Mark { place: self.footer.place(), state: self.mapper.state() })
    }

    /// Goes to a place of the same file. The catalog has to be the one of then, or a copy of a later one.
    pub(crate) fn go_to(&mut self, mark: &Mark) {
        self.footer.go_to(mark.place);
        self.mapper.go_to(&mark.state);
        (self.rows, self.at, self.group_left, self.fate) = (0, 0, 0, Fate::Running);
    }

    /// Decodes the next rows. False after the last ones.
    fn next_batch(&mut self) -> Result<bool, Damage> {
        (self.rows, self.at) = (0, 0);
        while self.group_left == 0 {
            if !self.footer.next_group(&self.leaves, &mut self.group)? {
                return Ok(false);
            }
            for (reader, chunk) in self.readers.iter_mut().zip(&self.group.chunks) {
                if chunk.values != self.group.rows {
                    let name = &reader.column.name;
                    let why = format!("column {name} has {} values for {} rows", chunk.values, self.group.rows);
                    return Err(self.mapper.in_group(&self.footer, Damage::new(chunk.start, why)));
                }
                reader.start(*chunk, &mut self.budget);
            }
            self.group_left = self.group.rows;
        }
        let wanted = self.group_left.min(BATCH_ROWS as u64) as usize;
        let mut rows = wanted;
        let mut fault: Option<Damage> = None;
        for reader in &mut self.readers {
            reader.cells.clear();
            // A column that fails later than another one has rows that nobody can use.
            let read = reader.read(rows, &mut self.source, &mut self.budget);
            let name = &reader.column.name;
            if let Err(Damage { at, why }) = read {
                rows = reader.cells.rows();
                fault = Some(Damage::new(at, format!("column {name}: {why}")));
            } else if reader.cells.rows() < rows {
                rows = reader.cells.rows();
                let why = format!("column {name} ends before its {} rows", self.group.rows);
                fault = Some(Damage::new(reader.at(), why));
            }
        }
        self.rows = rows;
        self.group_left -= rows as u64;
        match fault {
            Some(fault) => Err(self.mapper.in_group(&self.footer, fault)),
            None => Ok(true),
        }
    }

    /// Reads what is left of the file where its hash is wanted.
    fn hash_rest(&mut self) {
        if self.bytes.is_hashed() {
            let mut rest = vec![0; 256 << 10];
            // What cannot be read has no hash.
            while matches!(self.bytes.read(&mut rest), Ok(1..)) {}
        }
    }
}

fn input_error(path: &str, damage: Damage) -> InputError {
    InputError::Damaged { path: path.to_owned(), at: Position::Offset(damage.at), why: damage.why }
}

impl Input for ParquetInput {
    fn format(&self) -> &'static str {
        "parquet"
    }

    fn read(&mut self, catalog: &mut Catalog, out: &mut SlotBuf) -> Result<Status, InputError> {
        loop {
            while self.at < self.rows {
                if out.remaining() < ROW_SLOTS_MAX {
                    return Ok(Status::More);
                }
                match self.mapper.row(&self.readers, self.at, catalog, out) {
                    Ok(()) => {}
                    Err(Refusal::Bad(fault)) => self.mapper.bad(&self.readers, fault),
                    Err(Refusal::Catalog(error)) => {
                        (self.rows, self.fate) = (0, Fate::Ended);
                        let at = Position::Offset(self.group.chunks.first().map_or(0, |chunk| chunk.start));
                        return Err(InputError::Catalog { path: self.path.clone(), at, error });
                    }
                }
                self.at += 1;
            }
            match std::mem::replace(&mut self.fate, Fate::Ended) {
                Fate::Ended => return Ok(Status::End),
                Fate::Failed(error) => return Err(error),
                Fate::Running => {}
            }
            if self.stops_at_groups && self.group_left == 0 && !out.slots().is_empty() {
                self.fate = Fate::Running;
                return Ok(Status::More);
            }
            self.fate = match self.next_batch() {
                Ok(true) => Fate::Running,
                Ok(false) => {
                    self.hash_rest();
                    Fate::Ended
                }
                Err(damage) => Fate::Failed(input_error(&self.path, damage)),
            };
        }
    }

    fn tally(&self) -> Tally {
        let Mapper { rows, messages, bad_rows, first_bad_rows, .. } = &self.mapper;
        let mut tally = Tally { bad_lines: *bad_rows, first_bad_lines: first_bad_rows.clone(), ..Tally::default() };
        if *messages > 0 {
            tally.messages.insert(format!("{}s", rows.name()), *messages);
        }
        tally
    }
}

impl std::fmt::Debug for ParquetInput {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ParquetInput")
            .field("path", &self.path)
            .field("rows", &self.mapper.rows)
            .finish_non_exhaustive()
    }
}
