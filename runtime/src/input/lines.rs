//! What the formats of one record a line share: reading on and on, bad lines, what is skipped, and the fields that heads of events have.
//!
//! ```text
//!   LineReader --line--> LineDecoder --slots--> SlotBuf
//!                            |
//!                            +-- a message of several lines is kept back until the next one begins, or the lines end
//! ```
//!
//! A line that is no record is *bad*: counted, named with its number and offset (the first [`BAD_LINES_NAMED_MAX`]), and nothing of it is
//! appended. What a broken stream left of a line is told by the error of the break alone.

use super::bytes::{ByteSource, Line, LineReader, LineTooLong};
use super::decimal::{self, DecimalError};
use super::{BAD_LINES_NAMED_MAX, Input, InputError, Position, SlotBuf, Status, Tally};
use std::collections::BTreeMap;
use std::fmt::Display;
use tapeline_core::catalog::{Catalog, CatalogError};
use tapeline_core::event::payload::{Quote, QuoteWide};
use tapeline_core::event::{EventBuf, Flags, KindVersion, Payload, Slot};
use tapeline_core::units::{PRICE_UNDEFINED, SourceId, SymbolId, UnixNanos};

/// Names of skipped messages that are counted apart; the others are counted as `other`.
const SKIPPED_NAMES_MAX: usize = 64;
/// Longest name of a skipped message in bytes.
pub(super) const SKIPPED_NAME_BYTES_MAX: usize = 64;

/// Why a line gave no events. Each format makes one of its own faults by `?`.
pub(super) enum Refusal<F> {
    Bad(F),
    /// A table is full: nothing that follows can be trusted to fit.
    Catalog(CatalogError),
}

/// What became of a good line.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Its events, if it has any, are appended.
    Done,
    /// What is to be appended needs this many slots, and there are fewer; nothing changed.
    NoRoom(usize),
    /// Whole messages of the line are appended, and there is no room for the others: the line comes again for them.
    Again,
}

/// Turns the lines of one format into events.
pub(super) trait LineDecoder: Send {
    /// Why a line is bad.
    type Fault: Display + From<LineTooLong>;

    /// Name of the format.
    fn format(&self) -> &'static str;

    /// The events of one line. The one that finds no room comes again.
    fn line(&mut self, line: &Line<'_>, text: &[u8], catalog: &mut Catalog, out: &mut SlotBuf) -> Decoded<Self::Fault>;

    /// A message that would need `slots` slots where a whole buffer has fewer.
    fn too_many(&self, slots: usize) -> Self::Fault;

    /// Appends what was kept back: nothing follows.
    fn finish(&mut self, _out: &mut SlotBuf) -> Outcome {
        Outcome::Done
    }

    /// Adds what it has counted. Bad lines are not its own to count.
    fn tally(&self, tally: &mut Tally);
}

/// What a line became.
pub(super) type Decoded<F> = Result<Outcome, Refusal<F>>;

/// The lines of a source, decoded.
pub(super) struct Lines<D> {
    lines: LineReader,
    pub(super) decoder: D,
    /// No line follows: the input ended, or `failed` says why it did not.
    ended: bool,
    failed: Option<InputError>,
    bad_lines: u64,
    first_bad_lines: Vec<(u64, String)>,
}

impl<D: LineDecoder> Lines<D> {
    /// Decodes `source` from where it stands. Lines longer than `line_bytes_max` are bad.
    pub(super) fn new(source: ByteSource, line_bytes_max: usize, decoder: D) -> Self {
        Self {
            lines: LineReader::new(source, line_bytes_max),
            decoder,
            ended: false,
            failed: None,
            bad_lines: 0,
            first_bad_lines: Vec::new(),
        }
    }

    /// Lines read so far, blank and bad ones included.
    pub(super) fn lines(&self) -> u64 {
        self.lines.lines()
    }

    /// Reads on while there is room. Returns false when there is none for what comes next.
    fn read_lines(&mut self, catalog: &mut Catalog, out: &mut SlotBuf) -> bool {
        while !self.ended {
            let line = match self.lines.line() {
                Ok(Some(line)) => line,
                Ok(None) => break,
                Err(error) => {
                    self.failed = Some(in_line(error, self.lines.lines() + 1));
                    break;
                }
            };
            let (number, offset, cut, length) = (line.number, line.offset, line.cut, out.slots().len());
            let decoded = match line.text {
                Ok(text) => self.decoder.line(&line, text, catalog, out),
                Err(too_long) => Err(Refusal::Bad(too_long.into())),
            };
            let fault = match decoded {
                Ok(Outcome::Done) => None,
                Ok(Outcome::NoRoom(slots)) if length == 0 => Some(self.decoder.too_many(slots)),
                Ok(Outcome::NoRoom(_) | Outcome::Again) => return false,
                Err(Refusal::Bad(fault)) => Some(fault),
                Err(Refusal::Catalog(error)) => {
                    out.truncate(length);
                    let path = self.lines.source().path().to_owned();
                    self.failed = Some(InputError::Catalog { path, at: Position::Line(number), error });
                    break;
                }
            };
            if let Some(fault) = fault {
                out.truncate(length);
                // What the stream's break left of a line is told by the error of the break.
                if !cut {
                    self.bad_lines += 1;
                    if self.first_bad_lines.len() < BAD_LINES_NAMED_MAX {
                        self.first_bad_lines.push((number, format!("{fault} (at offset {offset})")));
                    }
                }
            }
            self.lines.advance();
        }
        self.ended = true;
        true
    }
}

/// The error of a stream that broke off in line `number`.
fn in_line(error: InputError, number: u64) -> InputError {
    match error {
        InputError::Damaged { path, at, why } => {
            InputError::Damaged { path, at, why: format!("{why}, in line {number}") }
        }
        other => other,
    }
}

impl<D: LineDecoder> Input for Lines<D> {
    fn format(&self) -> &'static str {
        self.decoder.format()
    }

    fn read(&mut self, catalog: &mut Catalog, out: &mut SlotBuf) -> Result<Status, InputError> {
        if !self.read_lines(catalog, out) || self.decoder.finish(out) != Outcome::Done {
            return Ok(Status::More);
        }
        self.failed.take().map_or(Ok(Status::End), Err)
    }

    fn tally(&self) -> Tally {
        let mut tally = Tally {
            lines: self.lines.lines(),
            bad_lines: self.bad_lines,
            first_bad_lines: self.first_bad_lines.clone(),
            ..Tally::default()
        };
        self.decoder.tally(&mut tally);
        tally
    }
}

/// Messages that become no event, by name. A name that is new allocates, up to [`SKIPPED_NAMES_MAX`] of them.
#[derive(Default)]
pub(super) struct Skipped(BTreeMap<String, u64>);

impl Skipped {
    /// Counts one as `prefix` and `name`.
    pub(super) fn count(&mut self, prefix: &[u8], name: &[u8]) {
        let mut joined = [0; SKIPPED_NAME_BYTES_MAX];
        let length = prefix.len() + name.len();
        let name = match joined.get_mut(..length) {
            Some(joined) => {
                joined[..prefix.len()].copy_from_slice(prefix);
                joined[prefix.len()..].copy_from_slice(name);
                std::str::from_utf8(joined).unwrap_or("other")
            }
            None => "other",
        };
        match self.0.get_mut(name) {
            Some(count) => *count += 1,
            None => {
                let name = if self.0.len() < SKIPPED_NAMES_MAX { name } else { "other" };
                *self.0.entry(name.to_owned()).or_default() += 1;
            }
        }
    }

    /// All of them.
    pub(super) fn counts(&self) -> &BTreeMap<String, u64> {
        &self.0
    }
}

/// Head fields of a message's events.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Head {
    pub(super) ts_recv: UnixNanos,
    pub(super) ts_event: UnixNanos,
    pub(super) seq: u64,
    pub(super) symbol: SymbolId,
    pub(super) source: SourceId,
    pub(super) flags: Flags,
}

impl Head {
    /// The head of an event of one slot.
    #[inline]
    pub(super) fn slot<P: Payload>(&self, part: u16, scale: u8, payload: P) -> Slot {
        let mut slot = Slot {
            kind: KindVersion::new(P::KIND, P::VERSION),
            flags: self.flags,
            ts_recv: self.ts_recv,
            ts_event: self.ts_event,
            seq: self.seq,
            symbol: self.symbol,
            part,
            source: self.source,
            scale,
            ..Slot::ZERO
        };
        *slot.payload_mut() = payload;
        slot
    }
}

/// Both sides of a quote, exact, before it is known how many slots it takes.
pub(super) struct Sides {
    bid_px: i64,
    ask_px: i64,
    bid_sz: u64,
    ask_sz: u64,
    scale: u8,
}

impl Sides {
    /// Prices in 1e-9 or undefined, sizes as (mantissa, scale).
    ///
    /// # Errors
    /// When the sizes do not fit one scale.
    pub(super) fn new(bid_px: i64, bid: (u64, u8), ask_px: i64, ask: (u64, u8)) -> Result<Self, DecimalError> {
        let (bid_sz, ask_sz, scale) = decimal::common(bid, ask)?;
        Ok(Self { bid_px, ask_px, bid_sz, ask_sz, scale })
    }

    fn narrow(&self) -> Option<(u32, u32)> {
        u32::try_from(self.bid_sz).ok().zip(u32::try_from(self.ask_sz).ok())
    }

    /// Slots of the event: sizes beyond 32 bits go in a second one.
    pub(super) fn slots(&self) -> usize {
        if self.narrow().is_some() { 1 } else { 2 }
    }

    /// Appends the quote. There is room.
    pub(super) fn append(&self, head: &Head, part: u16, out: &mut SlotBuf) {
        let &Self { bid_px, ask_px, bid_sz, ask_sz, scale } = self;
        match self.narrow() {
            Some((bid_sz, ask_sz)) => out.extend(&[head.slot(part, scale, Quote { bid_px, ask_px, bid_sz, ask_sz })]),
            None => {
                let quote = Quote { bid_px, ask_px, bid_sz: 0, ask_sz: 0 };
                let mut event = EventBuf::new(&quote);
                *event.head_mut() = head.slot(part, scale, quote);
                event.flag(Flags::WIDE);
                let wide = QuoteWide { bid_sz, ask_sz, price: PRICE_UNDEFINED, ..QuoteWide::default() };
                event.push_value(&wide).expect("two slots are not too many");
                out.extend(event.slots());
            }
        }
    }
}
