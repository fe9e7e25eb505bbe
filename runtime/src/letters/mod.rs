//! Dead letters as a file: what a run parked, exported as a tape, and what can be done with it afterwards: list, redrive, purge.
//!
//! Each letter is an event of the kind `dead_letter`: the record of its failures, and the whole event. Letters are in the order of their
//! last failures and are numbered from 1; a number stays with its letter when others are purged, so that it serves as a cursor. A file is
//! read as a whole: it holds at most what the shards of one run could park.

mod export;
mod filter;
#[cfg(test)]
mod tests;

pub(crate) use export::name_of;
pub use export::{Exported, Parked, export, parked};
pub use filter::{Filter, Page};

use crate::input::bytes::ByteSource;
use crate::input::detect::{Format, OpenOptions, format_of, open_source};
use crate::input::tape::TapeInput;
use crate::input::{Input, InputError, MESSAGE_SLOTS_MAX, SlotBuf, Status};
use crate::tape::format::{MAGIC, ids_used};
use crate::tape::{TapeOptions, TapeWriter};
use std::collections::HashMap;
use std::io::Write;
use tapeline_core::catalog::Catalog;
use tapeline_core::dead::{Cause, ERROR_PANIC};
use tapeline_core::event::payload::{DEAD_CAUSE_NONE, DeadLetter, DeadLetterRest, Tick};
use tapeline_core::event::{EventBuf, EventRef, Flags, Kind, KindVersion, Slot, events};
use tapeline_core::hash;
use tapeline_core::ledger::Refusal;
use tapeline_core::limits::TIME_NS_MAX;
use tapeline_core::shard::{ERROR_NO_ROOM, INVALID_NAME, NO_ROOM_NAME, schema_reason};
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
    /// no room for, [`INVALID_NAME`] for what breaks its schema.
    pub handler: String,
    /// Stable hash of that name.
    pub handler_hash: u64,
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

    /// What the engine's own error codes stand for: `no_room`, or what is wrong with an event that breaks its schema. `None` for a panic, and for codes of
    /// handlers.
    #[must_use]
    pub fn error_name(&self) -> Option<&'static str> {
        // A handler's own code may be any number.
        match self.error? {
            ERROR_NO_ROOM if self.handler == NO_ROOM_NAME => Some("no_room"),
            code if self.handler == INVALID_NAME => schema_reason(code).map(Refusal::name),
            _ => None,
        }
    }

    /// Code of the last failure as people write it: `panic`, a name ([`Letter::error_name`]), a number, or `-` where there was none.
    #[must_use]
    pub fn error_text(&self) -> String {
        match (self.error, self.error_name()) {
            (None, _) => "-".to_owned(),
            (Some(ERROR_PANIC), _) => "panic".to_owned(),
            (_, Some(name)) => name.to_owned(),
            (Some(code), None) => code.to_string(),
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
    /// The file holds something else.
    #[error("{path}: holds {kind} events: this is no file of `replay --dead-letters`")]
    NotLetters {
        /// File as the user named it.
        path: String,
        /// Kind of the first such event, or the format of a file that is no tape.
        kind: &'static str,
    },
    /// A letter that cannot be used.
    #[error("{path}: offset {offset}: dead letter {number} of the file: {fault}")]
    Broken {
        /// File as the user named it.
        path: String,
        /// Offset of its block, bytes.
        offset: u64,
        /// Its place in the file, from 1.
        number: usize,
        /// What is wrong with it.
        fault: LetterFault,
    },
}

/// What is wrong with a dead letter of a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LetterFault {
    /// A part is missing, or what it holds is no whole event.
    #[error("it is not whole")]
    NotWhole,
    /// Letters are found by their numbers, which rise from 1.
    #[error("its number is {0}, and the one before it has {1}")]
    Number(u64, u64),
    /// What it holds is a control event or another dead letter, which no handler can have failed on.
    #[error("it holds an event of kind {0}, which no handler gets")]
    Kind(&'static str),
    /// Why it is parked is none of the causes.
    #[error("{0} is no cause of a dead letter")]
    Cause(u8),
    /// Its event names a symbol that the file does not define.
    #[error("its event uses symbol {0}, which the file does not define")]
    Symbol(u32),
    /// Its event names a source that the file does not define.
    #[error("its event uses source {0}, which the file does not define")]
    Source(u8),
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

/// The rate of a redrive spaces its events beyond the last instant that an event may have.
#[derive(Clone, Copy, PartialEq, Debug, thiserror::Error)]
#[error("at {rate} events a second, event {event} would come later than any event may, in the year 2554")]
pub struct RateTooLow {
    /// The rate, events a second.
    pub rate: f64,
    /// The first event beyond, from 1.
    pub event: u64,
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
    /// Those of them whose event breaks its schema.
    pub of_schema: u64,
}

impl Letters {
    /// Reads a file. O(letters) time and memory.
    ///
    /// # Errors
    /// [`LetterError`].
    pub fn read(path: &str, symbols_max: usize) -> Result<Self, LetterError> {
        let source = ByteSource::open(path, None)?;
        Self::read_source(source, symbols_max)
    }

    /// As [`Letters::read`], for bytes from anywhere.
    ///
    /// # Errors
    /// [`LetterError`].
    pub fn read_source(mut source: ByteSource, symbols_max: usize) -> Result<Self, LetterError> {
        let path = source.path().to_owned();
        if format_of(source.peek(MAGIC.len())) != Some(Format::Tape) {
            // What else it may be is told in the same words everywhere.
            let input = open_source(source, &OpenOptions::default())?;
            return Err(LetterError::NotLetters { path, kind: input.format() });
        }
        let mut input = TapeInput::new(path.clone(), Box::new(source))?;
        input.stop_at_blocks();
        let mut catalog = Catalog::new(symbols_max);
        let mut slots = SlotBuf::with_capacity(MESSAGE_SLOTS_MAX);
        let mut letters: Vec<Letter> = Vec::new();
        loop {
            slots.clear();
            let status = input.read(&mut catalog, &mut slots)?;
            for event in events(slots.slots()).filter(|event| !event.kind().is_control()) {
                if event.kind() != Kind::DEAD_LETTER {
                    return Err(LetterError::NotLetters { path, kind: event.kind().name() });
                }
                let before = letters.last().map_or(0, |letter| letter.id);
                match letter(&catalog, event, before) {
                    Ok(letter) => letters.push(letter),
                    Err(fault) => {
                        let (offset, number) = (input.block_offset(), letters.len() + 1);
                        return Err(LetterError::Broken { path, offset, number, fault });
                    }
                }
            }
            match status {
                Status::More => {}
                Status::End => break,
            }
        }
        Ok(Self { catalog, letters, is_generated: input.generated() })
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
    /// failed on comes once; events that are equal in every byte, as those without a number may be, come as often as one handler
    /// failed on them. At a `rate` (events a second, above 0) the second and later ones get times that lie so far apart; else they
    /// keep their own.
    ///
    /// # Errors
    /// [`RateTooLow`].
    pub fn redrive(&self, filter: &Filter, rate: Option<f64>) -> Result<Redrive, RateTooLow> {
        let mut chosen: Vec<&Letter> = self.letters.iter().filter(|letter| filter.matches(letter)).collect();
        let letters = chosen.len() as u64;
        chosen.sort_by(|a, b| key(a).cmp(&key(b)));
        let mut redrive = Redrive { letters, ..Redrive::default() };
        let (mut failed, mut taken) = (HashMap::<_, u64>::new(), HashMap::<_, u64>::new());
        let mut first_ns = None;
        for letter in chosen {
            let event = bytemuck::cast_slice::<Slot, u8>(&letter.event);
            let failed = failed.entry((event, letter.handler.as_str())).or_default();
            *failed += 1;
            redrive.of_schema += u64::from(letter.handler == INVALID_NAME);
            let taken = taken.entry(event).or_default();
            if *failed <= *taken {
                continue; // another handler failed on the same event
            }
            *taken += 1;
            let at = redrive.slots.len();
            redrive.slots.extend_from_slice(&letter.event);
            let head = &mut redrive.slots[at];
            // A message of its own: the parts that did not fail are not here.
            head.flags = head.flags.with(Flags::LAST);
            let first_ns = *first_ns.get_or_insert(head.ts_recv.0);
            if let Some(rate) = rate {
                // A float that is too large becomes the largest integer.
                let after_ns = (redrive.events as f64 * 1e9 / rate) as u64;
                let at_ns = first_ns.checked_add(after_ns).filter(|ns| *ns <= TIME_NS_MAX);
                head.ts_recv = UnixNanos(at_ns.ok_or(RateTooLow { rate, event: redrive.events + 1 })?);
            }
            redrive.events += 1;
        }
        Ok(redrive)
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

/// Takes a letter apart. `before` is the number of the letter before it.
fn letter(catalog: &Catalog, event: EventRef<'_>, before: u64) -> Result<Letter, LetterFault> {
    let (record, rest) = event.get::<DeadLetter>().zip(DeadLetterRest::of(event)).ok_or(LetterFault::NotWhole)?;
    let mut buffer = EventBuf::new(&Tick::default());
    if !DeadLetter::unpack(event, &mut buffer) {
        return Err(LetterFault::NotWhole);
    }
    let whole = EventRef::first(buffer.slots()).ok_or(LetterFault::NotWhole)?;
    if rest.order <= before {
        return Err(LetterFault::Number(rest.order, before));
    }
    let kind = KindVersion(record.event_kind).kind();
    if kind.is_control() || matches!(kind, Kind::DEAD_LETTER | Kind::CONTINUATION) {
        return Err(LetterFault::Kind(kind.name()));
    }
    let cause = match rest.cause {
        DEAD_CAUSE_NONE => None,
        code => Some(*Cause::ALL.get(usize::from(code)).ok_or(LetterFault::Cause(code))?),
    };
    // The tape's reader has looked at the letter's own ids; those of a cause inside of its event are seen here only.
    let (symbol, source) = ids_used(whole.slots());
    if symbol as usize >= catalog.symbols() {
        return Err(LetterFault::Symbol(symbol));
    }
    if usize::from(source) >= catalog.sources() {
        return Err(LetterFault::Source(source));
    }
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let head = event.head();
    Ok(Letter {
        id: rest.order,
        kind,
        symbol: text(catalog.symbol_text(head.symbol)),
        source: text(catalog.source_name(head.source)),
        seq: head.seq,
        part: head.part,
        handler: handler_name(catalog, rest.handler),
        handler_hash: rest.handler,
        error: (rest.failures > 0).then_some(rest.error),
        cause,
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
    let of_nobody = [NO_ROOM_NAME, INVALID_NAME].into_iter().find(|name| hash == hash::stable(name.as_bytes()));
    if let Some(name) = of_nobody {
        return name.to_owned();
    }
    let names =
        (1..catalog.sources()).filter_map(|id| catalog.source_name(SourceId(id as u8)).strip_prefix(b"handler."));
    names
        .filter(|name| hash::stable(name) == hash)
        .map(|name| String::from_utf8_lossy(name).into_owned())
        .next()
        .unwrap_or_else(|| format!("{hash:016x}"))
}
