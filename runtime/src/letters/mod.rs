//! Dead letters as a file: what a run parked, exported as a tape, and what can be done with it afterwards: list, redrive, purge.
//!
//! Each letter is an event of the kind `dead_letter`: the record of its failures, and the whole event. Letters are in the order of their
//! last failures and are numbered from 1; a number stays with its letter when others are purged, so that it serves as a cursor. A file is
//! read as a whole: it holds at most what the shards of one run could park.

mod export;
mod filter;

pub(crate) use export::name_of;
pub use export::{Exported, Parked, export, parked};
pub use filter::{Filter, Page};

use crate::input::detect::{OpenOptions, open};
use crate::input::{InputError, MESSAGE_SLOTS_MAX, SlotBuf, Status};
use crate::tape::{TapeOptions, TapeWriter};
use std::collections::HashSet;
use std::io::Write;
use tapeline_core::catalog::Catalog;
use tapeline_core::dead::{Cause, ERROR_PANIC};
use tapeline_core::event::payload::{DeadLetter, DeadLetterRest, Tick};
use tapeline_core::event::{EventBuf, EventRef, Flags, Kind, KindVersion, Slot, events};
use tapeline_core::hash;
use tapeline_core::shard::{ERROR_NO_ROOM, NO_ROOM_NAME};
use tapeline_core::units::{SourceId, UnixNanos};

/// One dead letter of a file.
#[derive(Clone, Debug)]
pub struct Letter {
    /// Number in its file, from 1: its place in the order of last failures.
    pub id: u64,
    /// Kind of the event.
    pub kind: Kind,
    /// Symbol of the event.
    pub symbol: String,
    /// Source of the event.
    pub source: String,
    /// Number of the event at its source.
    pub seq: u64,
    /// Part of the number.
    pub part: u16,
    /// Handler that failed on it; the hash of its name, in hex, where the file does not have the name; [`NO_ROOM_NAME`] for what its topic had
    /// no room for.
    pub handler: String,
    /// Code of the last failure; `None` = it did not fail yet and waited behind one that did.
    pub error: Option<u16>,
    /// Why it is parked; `None` = it still waited for a retry or its turn when the run ended.
    pub cause: Option<Cause>,
    /// Failures since it was made or last redriven.
    pub attempts: u16,
    /// Failures in all.
    pub failures: u32,
    /// How often it was redriven.
    pub redrives: u8,
    /// Number of its retry policy.
    pub policy: u8,
    /// First failure.
    pub first_failure: UnixNanos,
    /// Last failure.
    pub last_failure: UnixNanos,
    /// The event, as it was.
    event: Vec<Slot>,
    /// The letter, as it is in the file.
    letter: Vec<Slot>,
}

impl Letter {
    /// The event, as it was, with the ids of the file's catalog.
    ///
    /// # Panics
    /// Never: what is no whole event is refused when the file is read.
    #[must_use]
    pub fn event(&self) -> EventRef<'_> {
        EventRef::first(&self.event).expect("Invariant: a letter's event is whole")
    }

    /// Code of the last failure as people write it: `panic`, `no_room`, a number, or `-` where there was none.
    #[must_use]
    pub fn error_text(&self) -> String {
        match self.error {
            None => "-".to_owned(),
            Some(ERROR_PANIC) => "panic".to_owned(),
            Some(ERROR_NO_ROOM) => "no_room".to_owned(),
            Some(code) => code.to_string(),
        }
    }
}

/// Why a file of dead letters could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LetterError {
    /// The tape could not be read, or is damaged.
    #[error(transparent)]
    Input(#[from] InputError),
    /// The file has events that are no dead letters.
    #[error("{path}: holds {kind} events: this is no file of `replay --dead-letters`")]
    NotLetters {
        /// File as the user named it.
        path: String,
        /// Kind of the first such event.
        kind: &'static str,
    },
    /// A letter that lacks a part, or whose event is not whole.
    #[error("{path}: dead letter {number} of the file is not whole")]
    Broken {
        /// File as the user named it.
        path: String,
        /// Its place in the file, from 1.
        number: usize,
    },
}

impl LetterError {
    /// The exit code that this error makes.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Input(error) => error.exit_code(),
            Self::NotLetters { .. } => 2,
            Self::Broken { .. } => 3,
        }
    }
}

/// A file of dead letters.
#[derive(Debug)]
pub struct Letters {
    catalog: Catalog,
    letters: Vec<Letter>,
    is_generated: bool,
}

/// Events to be replayed: those of the letters that a filter chose.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Redrive {
    /// Events, in time order, each a message of its own.
    pub slots: Vec<Slot>,
    /// Their number.
    pub events: u64,
    /// Letters that were chosen: more than events where several handlers failed on one.
    pub letters: u64,
}

impl Letters {
    /// Reads a file. O(letters) time and memory.
    ///
    /// # Errors
    /// [`LetterError`].
    pub fn read(path: &str, symbols_max: usize) -> Result<Self, LetterError> {
        let mut input = open(path, &OpenOptions::default())?;
        let mut catalog = Catalog::new(symbols_max);
        let mut slots = SlotBuf::with_capacity(MESSAGE_SLOTS_MAX);
        let mut letters = Vec::new();
        loop {
            slots.clear();
            let status = input.read(&mut catalog, &mut slots)?;
            for event in events(slots.slots()).filter(|event| !event.kind().is_control()) {
                if event.kind() != Kind::DEAD_LETTER {
                    return Err(LetterError::NotLetters { path: path.to_owned(), kind: event.kind().name() });
                }
                let broken = || LetterError::Broken { path: path.to_owned(), number: letters.len() + 1 };
                let letter = letter(&catalog, event).ok_or_else(broken)?;
                letters.push(letter);
            }
            match status {
                Status::More => {}
                Status::End => break,
            }
        }
        Ok(Self { catalog, letters, is_generated: input.is_generated() })
    }

    /// Every letter, in the order of last failures.
    #[must_use]
    pub fn all(&self) -> &[Letter] {
        &self.letters
    }

    /// Names of the file.
    #[must_use]
    pub fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// The letter of this number. O(log letters).
    #[must_use]
    pub fn get(&self, id: u64) -> Option<&Letter> {
        self.letters.binary_search_by_key(&id, |letter| letter.id).ok().map(|index| &self.letters[index])
    }

    /// Letters of `filter`, after the number `after`, at most `limit`. O(letters).
    #[must_use]
    pub fn page(&self, filter: &Filter, after: u64, limit: usize) -> Page<'_> {
        let matching = self.letters.iter().filter(|letter| filter.matches(letter));
        let total = matching.clone().count();
        let mut rest = matching.skip_while(|letter| letter.id <= after);
        let letters: Vec<&Letter> = rest.by_ref().take(limit).collect();
        let next = rest.next().and(letters.last()).map(|letter| letter.id);
        Page { letters, total, next }
    }

    /// The events of the letters of `filter`, in the order of their `ts_recv`, source, number and part. An event that several handlers
    /// failed on comes once. At a `rate` (events a second) the second and later ones get times that lie so far apart; else they keep
    /// their own.
    #[must_use]
    pub fn redrive(&self, filter: &Filter, rate: Option<f64>) -> Redrive {
        let mut chosen: Vec<&Letter> = self.letters.iter().filter(|letter| filter.matches(letter)).collect();
        let letters = chosen.len() as u64;
        chosen.sort_by(|a, b| key(a).cmp(&key(b)));
        let (mut seen, mut redrive) = (HashSet::new(), Redrive { letters, ..Redrive::default() });
        let mut first_ns = None;
        for letter in chosen.into_iter().filter(|letter| seen.insert(bytemuck::cast_slice::<Slot, u8>(&letter.event))) {
            let at = redrive.slots.len();
            redrive.slots.extend_from_slice(&letter.event);
            let head = &mut redrive.slots[at];
            // A message of its own: the parts that did not fail are not here.
            head.flags = head.flags.with(Flags::LAST);
            let first_ns = *first_ns.get_or_insert(head.ts_recv.0);
            if let Some(rate) = rate {
                let after_ns = (redrive.events as f64 * 1e9 / rate) as u64;
                head.ts_recv = UnixNanos(first_ns.saturating_add(after_ns));
            }
            redrive.events += 1;
        }
        redrive
    }

    /// Writes `redrive` as a tape. Its letters stay in the file.
    ///
    /// # Errors
    /// A line that says why it could not be written.
    pub fn write_events(&self, redrive: &Redrive, out: impl Write) -> Result<(), String> {
        self.write("tapeline dlq redrive", out, |tape| tape.write(&self.catalog, &redrive.slots))
    }

    /// Writes the letters that are not of `filter` as a file of dead letters. Returns how many were left out.
    ///
    /// # Errors
    /// A line that says why it could not be written.
    pub fn write_without(&self, filter: &Filter, out: impl Write) -> Result<usize, String> {
        let mut left_out = 0;
        self.write("tapeline dlq purge", out, |tape| {
            tape.define_all(&self.catalog)?;
            for letter in &self.letters {
                if filter.matches(letter) {
                    left_out += 1;
                } else {
                    tape.write(&self.catalog, &letter.letter)?;
                }
            }
            Ok(())
        })?;
        Ok(left_out)
    }

    fn write<W: Write>(
        &self,
        made_by: &str,
        out: W,
        fill: impl FnOnce(&mut TapeWriter<W>) -> Result<(), crate::tape::TapeWriteError>,
    ) -> Result<(), String> {
        let options =
            TapeOptions { made_by: made_by.to_owned(), generated: self.is_generated, ..TapeOptions::default() };
        let written = TapeWriter::new(out, options).and_then(|mut tape| {
            fill(&mut tape)?;
            tape.finish()
        });
        written.map(drop).map_err(|error| error.to_string())
    }
}

/// Order of the events of a redrive.
fn key(letter: &Letter) -> (UnixNanos, &str, u64, u16, u64) {
    (letter.event[0].ts_recv, &letter.source, letter.seq, letter.part, letter.id)
}

fn letter(catalog: &Catalog, event: EventRef<'_>) -> Option<Letter> {
    let (record, rest) = (event.get::<DeadLetter>()?, DeadLetterRest::of(event)?);
    let mut buffer = EventBuf::new(&Tick::default());
    if !DeadLetter::unpack(event, &mut buffer) {
        return None;
    }
    let whole = EventRef::first(buffer.slots())?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let head = event.head();
    Some(Letter {
        id: rest.order,
        kind: KindVersion(record.event_kind).kind(),
        symbol: text(catalog.symbol_text(head.symbol)),
        source: text(catalog.source_name(head.source)),
        seq: head.seq,
        part: head.part,
        handler: handler_name(catalog, rest.handler),
        error: (rest.failures > 0).then_some(rest.error),
        cause: Cause::ALL.get(usize::from(rest.cause)).copied(),
        attempts: rest.attempts,
        failures: rest.failures,
        redrives: rest.redrives,
        policy: rest.policy,
        first_failure: UnixNanos(record.first_failure_ns),
        last_failure: head.ts_recv,
        event: whole.slots().to_vec(),
        letter: event.slots().iter().map(|slot| Slot { tag: 0, ..*slot }).collect(),
    })
}

/// The handler whose name has this hash: the file defines the source `handler.<name>` of each. O(sources).
fn handler_name(catalog: &Catalog, hash: u64) -> String {
    if hash == hash::stable(NO_ROOM_NAME.as_bytes()) {
        return NO_ROOM_NAME.to_owned();
    }
    let names =
        (1..catalog.sources()).filter_map(|id| catalog.source_name(SourceId(id as u8)).strip_prefix(b"handler."));
    names
        .filter(|name| hash::stable(name) == hash)
        .map(|name| String::from_utf8_lossy(name).into_owned())
        .next()
        .unwrap_or_else(|| format!("{hash:016x}"))
}
