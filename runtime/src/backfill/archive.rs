//! The tapes and Parquet files that history is read from: their indices and names, read once at the start.

use super::groups::RowGroups;
use super::{FAILED_DAMAGED, FAILED_FORMAT, FAILED_MISSING, FAILED_NAMES, TAPES_MAX};
use crate::input::InputError;
use crate::tape::index::TapeIndex;
use crate::tape::{TapeError, TapeReader};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use tapeline_core::catalog::{Catalog, CatalogError, SeqRule, definition_text};
use tapeline_core::event::payload::SourceDef;
use tapeline_core::event::{EventRef, Kind};
use tapeline_core::limits::{SYMBOL_BYTES_MAX, TIME_NS_MAX};
use tapeline_core::units::{SourceId, SymbolId, UnixNanos};

/// Why history cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// A file or folder could not be opened or read.
    #[error("{}: {error}", .path.display())]
    Missing {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// A tape is damaged.
    #[error("{}: {error}", .path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The place and what is wrong with it.
        error: TapeError,
    },
    /// A Parquet file is damaged, or has none of the columns that are known. The error names the file.
    #[error("{0}")]
    Parquet(InputError),
    /// A file is no tape.
    #[error("{}: it is no tape: {why}", .path.display())]
    NoTape {
        /// The file.
        path: PathBuf,
        /// What tells.
        why: String,
    },
    /// A name does not fit the engine's catalog.
    #[error("{}: {error}", .path.display())]
    Names {
        /// The file.
        path: PathBuf,
        /// Why.
        error: CatalogError,
    },
    /// There are more files than may be.
    #[error("{}: more than {TAPES_MAX} tapes", .path.display())]
    TooMany {
        /// The folder or file with which it was too many.
        path: PathBuf,
    },
}

impl Fault {
    /// The code with which an order ends that it keeps from being read.
    #[must_use]
    pub const fn code(&self) -> u16 {
        match self {
            Self::Missing { .. } | Self::TooMany { .. } => FAILED_MISSING,
            Self::Damaged { .. } => FAILED_DAMAGED,
            Self::Parquet(InputError::Damaged { .. }) => FAILED_DAMAGED,
            Self::Parquet(InputError::Open { .. }) => FAILED_MISSING,
            Self::Parquet(InputError::Catalog { .. }) => FAILED_NAMES,
            Self::Parquet(_) | Self::NoTape { .. } => FAILED_FORMAT,
            Self::Names { .. } => FAILED_NAMES,
        }
    }

    /// Exit code of a command whose history it failed: 3 where a file is damaged, else 2.
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        if matches!(self, Self::Damaged { .. } | Self::Parquet(InputError::Damaged { .. })) { 3 } else { 2 }
    }

    /// What a tape's reader says.
    pub(super) fn of(path: &Path, error: TapeError) -> Self {
        let path = path.to_owned();
        match error {
            TapeError::Io { error, .. } => Self::Missing { path, error },
            TapeError::Unrecognised(why) => Self::NoTape { path, why: why.to_string() },
            error => Self::Damaged { path, error },
        }
    }
}

/// How a place in a file is found.
#[derive(Debug)]
pub(super) enum Places {
    Tape(TapeIndex),
    Parquet(Box<RowGroups>),
}

/// One file: a tape, or Parquet.
#[derive(Debug)]
pub(super) struct Tape {
    pub(super) path: PathBuf,
    /// Stable hash of the file's name.
    pub(super) origin: u64,
    /// Events on it, without definitions; `None` where its end cannot be read.
    events: Option<u64>,
    pub(super) places: Places,
    /// Time of the first event.
    pub(super) first: UnixNanos,
    /// Ids of each symbol on the tape.
    symbols: BTreeMap<Vec<u8>, Vec<u32>>,
    /// The catalog's id of each source of the tape.
    pub(super) sources: Vec<SourceId>,
}

impl Tape {
    /// Ids of a symbol on this tape; none where it does not occur.
    pub(super) fn ids_of(&self, symbol: &[u8]) -> &[u32] {
        self.symbols.get(symbol).map_or(&[], Vec::as_slice)
    }
}

/// A tape that history may come from.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Listed {
    /// Its file.
    pub path: String,
    /// Events on it, without definitions; `None` where its end cannot be read.
    pub events: Option<u64>,
}

/// Tapes, by the time of their first event.
#[derive(Debug, Default)]
pub struct Archive {
    pub(super) tapes: Vec<Tape>,
    /// Why it is not whole: every order fails by the first of these, since nobody knows what is missing.
    faults: Vec<Fault>,
}

impl Archive {
    /// Opens what these paths name, and interns the sources of all tapes in `catalog`. The index of a tape that has no cache beside it is
    /// built by reading the tape. What cannot be opened is kept as a fault.
    #[must_use]
    pub fn open(paths: &[PathBuf], catalog: &mut Catalog) -> Self {
        let mut archive = Self::default();
        let mut files = Vec::new();
        for path in paths {
            match files_of(path) {
                Ok(found) => files.extend(found),
                Err(fault) => archive.faults.push(fault),
            }
        }
        // Whatever the order in which they were named, ids and merges are the same.
        files.sort();
        // One tape under two names has its events once. What cannot be opened is told when it is.
        let mut seen = BTreeSet::new();
        files.dedup();
        files.retain(|path| fs::metadata(path).map_or(true, |found| seen.insert((found.dev(), found.ino()))));
        if let Some(path) = files.get(TAPES_MAX) {
            archive.faults.push(Fault::TooMany { path: path.clone() });
            return archive;
        }
        for path in files {
            match open(&path, catalog) {
                Ok(Some(tape)) => archive.tapes.push(tape),
                Ok(None) => {}
                Err(fault) => archive.faults.push(fault),
            }
        }
        // A stable sort: tapes that begin together stay in the order of their names.
        archive.tapes.sort_by_key(|tape| tape.first);
        archive
    }

    /// What could not be opened, in the order of the paths.
    #[must_use]
    pub fn faults(&self) -> &[Fault] {
        &self.faults
    }

    /// Tapes that could be opened and have events.
    #[must_use]
    pub fn tapes(&self) -> usize {
        self.tapes.len()
    }

    /// The same tapes, for a manifest: by their path.
    #[must_use]
    pub fn listing(&self) -> Vec<Listed> {
        let mut listing: Vec<Listed> = self
            .tapes
            .iter()
            .map(|tape| Listed { path: tape.path.display().to_string(), events: tape.events })
            .collect();
        listing.sort();
        listing
    }
}

/// The files that a path names: itself, or the tapes and Parquet files of a folder.
fn files_of(path: &Path) -> Result<Vec<PathBuf>, Fault> {
    let missing = |error| Fault::Missing { path: path.to_owned(), error };
    if !fs::metadata(path).map_err(missing)?.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(path).map_err(missing)? {
        let file = entry.map_err(missing)?.path();
        if file.extension().is_some_and(|extension| extension == "tape" || extension == "parquet") {
            if files.len() == TAPES_MAX {
                return Err(Fault::TooMany { path: path.to_owned() });
            }
            files.push(file);
        }
    }
    Ok(files)
}

/// A tape with its index and names; `None` when there is nothing on it.
fn open(path: &Path, catalog: &mut Catalog) -> Result<Option<Tape>, Fault> {
    let missing = |error| Fault::Missing { path: path.to_owned(), error };
    let damaged = |error| Fault::of(path, error);
    let mut magic = [0; 4];
    let have = crate::tape::fill(&mut File::open(path).map_err(missing)?, &mut magic).map_err(missing)?;
    if magic[..have] == *b"PAR1" {
        return open_parquet(path, catalog);
    }
    let index = TapeIndex::open(path).map_err(damaged)?;
    let (mut symbols, mut sources) = (BTreeMap::<Vec<u8>, Vec<u32>>::new(), vec![SourceId::NONE]);
    let (mut fault, mut definitions) = (None, 0_u64);
    let mut define = |event: EventRef<'_>| -> Result<(), CatalogError> {
        let head = event.head();
        let is_symbol = head.kind() == Kind::SYMBOL_DEF;
        let id = if is_symbol { head.symbol.0 } else { u32::from(head.source.0) };
        let mut text = [0; SYMBOL_BYTES_MAX];
        let text = definition_text(event, id, &mut text)?;
        if is_symbol {
            let ids = symbols.entry(text.to_vec()).or_default();
            if !ids.contains(&id) {
                ids.push(id);
            }
        } else if id as usize == sources.len() {
            sources.push(catalog.source(text, SeqRule::from_u8(head.payload_as::<SourceDef>().seq_rule))?);
        } else if sources.get(id as usize).is_none_or(|known| catalog.source_name(*known) != text) {
            return Err(CatalogError::OutOfOrder(id));
        }
        Ok(())
    };
    let file = File::open(path).map_err(missing)?;
    let all = index.definitions_before(file, u64::MAX, |event| {
        definitions += 1;
        if let Err(error) = define(event) {
            fault.get_or_insert(error);
        }
    });
    all.map_err(damaged)?;
    if let Some(error) = fault {
        return Err(Fault::Names { path: path.to_owned(), error });
    }
    let Some(first) = first_time(path).map_err(damaged)? else { return Ok(None) };
    let origin = origin_of(path);
    let count = index.count(File::open(path).map_err(missing)?);
    let events = count.ok().and_then(|count| count.checked_sub(definitions));
    Ok(Some(Tape { path: path.to_owned(), origin, events, places: Places::Tape(index), first, symbols, sources }))
}

/// Stable hash of a file's name.
fn origin_of(path: &Path) -> u64 {
    let name = path.file_name().map(|name| name.as_encoded_bytes().to_vec()).unwrap_or_default();
    tapeline_core::hash::stable(&name)
}

/// A Parquet file, after one pass over it.
fn open_parquet(path: &Path, catalog: &mut Catalog) -> Result<Option<Tape>, Fault> {
    let (groups, first, events) = RowGroups::read(path, catalog.symbols_max()).map_err(Fault::Parquet)?;
    let Some(first) = first else { return Ok(None) };
    let names = groups.catalog();
    let mut symbols = BTreeMap::<Vec<u8>, Vec<u32>>::new();
    for id in 1..names.symbols() as u32 {
        symbols.entry(names.symbol_text(SymbolId(id)).to_vec()).or_default().push(id);
    }
    let mut sources = vec![SourceId::NONE];
    for id in 1..names.sources() as u8 {
        let (text, rule) = (names.source_name(SourceId(id)), names.seq_rule(SourceId(id)));
        let source = catalog.source(text, rule).map_err(|error| Fault::Names { path: path.to_owned(), error })?;
        sources.push(source);
    }
    let (path, origin) = (path.to_owned(), origin_of(path));
    Ok(Some(Tape {
        path,
        origin,
        events: Some(events),
        places: Places::Parquet(Box::new(groups)),
        first,
        symbols,
        sources,
    }))
}

/// The time of the first event of a tape that has one that a clock shows; definitions have none.
fn first_time(path: &Path) -> Result<Option<UnixNanos>, TapeError> {
    let file = File::open(path).map_err(|error| TapeError::Io { offset: 0, error })?;
    let mut reader = TapeReader::new(file)?;
    while let Some(block) = reader.next_block()? {
        let mut times = tapeline_core::event::events(block.slots).map(|event| event.head().ts_recv);
        if let Some(first) = times.find(|time| (1..=TIME_NS_MAX).contains(&time.0)) {
            return Ok(Some(first));
        }
    }
    Ok(None)
}
