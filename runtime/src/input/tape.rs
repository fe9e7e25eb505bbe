//! A tape as an input.
//!
//! The tape's ids are made those of the engine's catalog and its definitions are taken out; everything else passes as it
//! is, ticks and epochs included. While the two sets of ids are equal (one tape, a fresh catalog) slots are only copied. Events of an older
//! version of their kind are made the newest: [`TapeInput::with_schemas`].

use super::{Input, InputError, MESSAGE_SLOTS_MAX, Position, SlotBuf, Status, Tally};
use crate::tape::format::{BLOCK_SLOTS_MAX, BlockFault, BlockHeader, SlotFault, cause_of, ids_used, is_definition};
use crate::tape::{TapeError, TapeReader};
use std::fmt;
use std::io::Read;
use tapeline_core::catalog::{Catalog, CatalogError, SeqRule, definition_text};
use tapeline_core::event::payload::SourceDef;
use tapeline_core::event::{EventRef, Flags, Kind, Slot};
use tapeline_core::limits::{SOURCE_BYTES_MAX, SOURCES_MAX, SYMBOL_BYTES_MAX};
use tapeline_core::schema::{Schemas, UpgradeBuf};
use tapeline_core::units::{SourceId, SymbolId};

const _: () = assert!(MESSAGE_SLOTS_MAX >= BLOCK_SLOTS_MAX, "an empty buffer has room for the messages of a block");

/// Reads a tape. See [`Input`] for what it promises.
///
/// A message is what stands up to and including an event with [`Flags::LAST`]; control events between messages are on their
/// own. A message may go over blocks; one of more than [`MESSAGE_SLOTS_MAX`] slots is damage. What follows the last `LAST`
/// of a tape, or of its undamaged part, is given out at the end and counted as a message `without_end`.
///
/// Allocates in its constructor and in the first call of [`Input::read`] (where it learns the size of the catalog), and
/// for compressed tapes at the first compressed block.
pub struct TapeInput {
    path: String,
    reader: TapeReader<Box<dyn Read + Send>>,
    /// Slots of the reader's buffer that are given out or carried, and how many there are.
    cursor: usize,
    len: usize,
    /// Where the block in the buffer begins on the tape, and the block in which the carry begins.
    block_offset: u64,
    carry_offset: u64,
    /// The beginning of a message whose end is in a later block.
    carry: Vec<Slot>,
    /// Catalog's id of each symbol of the tape, likewise of each source. Entry 0 is 0.
    symbols: Vec<SymbolId>,
    sources: Vec<SourceId>,
    /// All ids so far are equal on both sides.
    same_ids: bool,
    messages: u64,
    without_end: u64,
    /// Where a kind has several versions: what makes old events new.
    upgrades: Option<Box<Upgrades>>,
    /// A read ends with its block.
    stops_at_blocks: bool,
    /// What ends the input once everything before it is given out.
    end: Option<End>,
}

/// Makes old events new. They may be longer then, so that a block with some moves to a buffer of its own.
struct Upgrades {
    schemas: Schemas,
    event: UpgradeBuf,
    slots: Vec<Slot>,
    /// The block at hand is in `slots`.
    is_used: bool,
}

enum End {
    Seal,
    Error(InputError),
    Told,
}

impl TapeInput {
    /// Begins to read the tape that `input` streams; `path` names it in errors.
    ///
    /// # Errors
    /// When the segment header is not that of a tape, is damaged, or cut short.
    pub fn new(path: impl Into<String>, input: Box<dyn Read + Send>) -> Result<Self, InputError> {
        let path = path.into();
        let reader = TapeReader::new(input).map_err(|error| input_error(&path, error))?;
        Ok(Self {
            path,
            reader,
            cursor: 0,
            len: 0,
            block_offset: 0,
            carry_offset: 0,
            carry: Vec::with_capacity(MESSAGE_SLOTS_MAX),
            symbols: Vec::new(),
            sources: Vec::with_capacity(SOURCES_MAX),
            same_ids: true,
            messages: 0,
            without_end: 0,
            upgrades: None,
            stops_at_blocks: false,
            end: None,
        })
    }

    /// The same, for an engine with these layouts: an event of an older version of its kind is upgraded as it is read. One that cannot be, and one
    /// of a version that is not known, passes as it is: admission refuses its version and counts it. Allocates; reading a block whose events
    /// are longer than they were may allocate, too.
    #[must_use]
    pub fn with_schemas(self, schemas: Schemas) -> Self {
        let has_versions = schemas.layouts().iter().any(|layout| layout.version > 0);
        let slots = Vec::with_capacity(if has_versions { 2 * BLOCK_SLOTS_MAX } else { 0 });
        let upgrades =
            has_versions.then(|| Box::new(Upgrades { schemas, event: UpgradeBuf::default(), slots, is_used: false }));
        Self { upgrades, ..self }
    }

    /// Makes the old events of the block new, if there are any.
    fn upgrade(&mut self) {
        let Some(upgrades) = &mut self.upgrades else { return };
        let Upgrades { schemas, event: buf, slots, is_used } = &mut **upgrades;
        let mut rest = &self.reader.buffer()[..self.len];
        *is_used = rest.iter().any(|slot| slot.kind() != Kind::CONTINUATION && schemas.is_old(slot));
        if !*is_used {
            return;
        }
        slots.clear();
        while let Some(event) = EventRef::first(rest) {
            rest = &rest[event.slots().len()..];
            let new = if schemas.is_old(event.head()) { schemas.upgrade(event, buf).unwrap_or(event) } else { event };
            slots.extend_from_slice(new.slots());
        }
        self.len = slots.len();
    }

    /// Whether the header says that a model made this tape.
    #[must_use]
    pub fn generated(&self) -> bool {
        self.reader.header().generated
    }

    /// Lets no read go on into another block, so that [`TapeInput::block_offset`] says where its events stand.
    pub(crate) fn stop_at_blocks(&mut self) {
        self.stops_at_blocks = true;
    }

    /// Offset of the block that was read last, bytes from the start of the tape.
    pub(crate) fn block_offset(&self) -> u64 {
        self.block_offset
    }

    /// What the header says about what made this tape, and from what. Free text, possibly empty.
    #[must_use]
    pub fn made_by(&self) -> &str {
        &self.reader.header().made_by
    }

    /// Reads the next block and prepares it to be given out: definitions taken out, ids made the catalog's. Sets `end`
    /// when there is none; events before a fault inside the block stay.
    fn load(&mut self, catalog: &mut Catalog) {
        self.load_block(catalog);
        self.upgrade();
    }

    fn load_block(&mut self, catalog: &mut Catalog) {
        (self.cursor, self.len) = (0, 0);
        let block = match self.reader.next_block() {
            Ok(Some(block)) => block,
            Ok(None) => {
                self.end = Some(End::Seal);
                return;
            }
            Err(error) => {
                self.end = Some(End::Error(input_error(&self.path, error)));
                return;
            }
        };
        let known = (block.summary.symbol_max as usize) < self.symbols.len()
            && usize::from(block.summary.source_max) < self.sources.len();
        let plain = self.same_ids && known && block.header.flags & BlockHeader::DEFINITIONS == 0;
        self.block_offset = block.offset;
        if plain {
            self.messages += u64::from(block.summary.messages);
            self.len = block.slots.len();
            return;
        }
        let mut names = Names { symbols: &mut self.symbols, sources: &mut self.sources, same_ids: &mut self.same_ids };
        let (len, fault) = names.prepare(catalog, block.slots);
        self.len = len;
        self.messages += block.slots[..len].iter().filter(|slot| ends_message(slot)).count() as u64;
        if let Some((index, fault)) = fault {
            let (path, at) = (self.path.clone(), Position::Offset(block.offset));
            self.end = Some(End::Error(match fault {
                Fault::Catalog(error) => InputError::Catalog { path, at, error },
                Fault::Slot(what) => {
                    InputError::Damaged { path, at, why: BlockFault::Slot { index, what }.to_string() }
                }
            }));
        }
    }

    /// Moves everything that is left of the block to the carry: the beginning of a message that goes on.
    fn carry_rest(&mut self) -> Result<(), InputError> {
        if self.carry.len() + self.len - self.cursor > MESSAGE_SLOTS_MAX {
            return Err(self.refuse_message());
        }
        if self.carry.is_empty() {
            self.carry_offset = self.block_offset;
        }
        self.carry.extend_from_slice(&block(&self.reader, self.upgrades.as_deref())[self.cursor..self.len]);
        self.cursor = self.len;
        Ok(())
    }

    /// Ends the input at a message that is too long.
    fn refuse_message(&mut self) -> InputError {
        self.carry.clear();
        self.cursor = self.len;
        self.end = Some(End::Told);
        InputError::Damaged {
            path: self.path.clone(),
            at: Position::Offset(self.carry_offset),
            why: format!("a message that begins in this block has more than {MESSAGE_SLOTS_MAX} slots"),
        }
    }
}

impl Input for TapeInput {
    fn format(&self) -> &'static str {
        "tape"
    }

    fn is_generated(&self) -> bool {
        self.generated()
    }

    fn read(&mut self, catalog: &mut Catalog, out: &mut SlotBuf) -> Result<Status, InputError> {
        if self.symbols.is_empty() {
            self.symbols.reserve_exact(catalog.symbols_max());
            self.symbols.push(SymbolId::NONE);
            self.sources.push(SourceId::NONE);
        }
        loop {
            if self.cursor == self.len {
                match &mut self.end {
                    None if self.stops_at_blocks && !out.slots().is_empty() => return Ok(Status::More),
                    None => {
                        self.load(catalog);
                        continue;
                    }
                    Some(End::Told) => return Ok(Status::End),
                    Some(end) => {
                        if self.carry.len() > out.remaining() {
                            return Ok(Status::More);
                        }
                        out.extend(&self.carry);
                        self.without_end += u64::from(!self.carry.is_empty());
                        self.carry.clear();
                        return match std::mem::replace(end, End::Told) {
                            End::Error(error) => Err(error),
                            End::Seal | End::Told => Ok(Status::End),
                        };
                    }
                }
            }
            let rest = &block(&self.reader, self.upgrades.as_deref())[self.cursor..self.len];
            if self.carry.is_empty() {
                let window = &rest[..rest.len().min(out.remaining())];
                let whole = whole_messages(window);
                out.extend(&window[..whole]);
                self.cursor += whole;
                if whole == 0 && window.len() < rest.len() {
                    if window.len() >= MESSAGE_SLOTS_MAX {
                        // Upgrades have made it longer than any room.
                        self.carry_offset = self.block_offset;
                        return Err(self.refuse_message());
                    }
                    return Ok(Status::More);
                }
                if self.cursor < self.len && window.len() == rest.len() {
                    self.carry_rest()?;
                }
            } else {
                let Some(first) = rest.iter().position(ends_message) else {
                    self.carry_rest()?;
                    continue;
                };
                let upto = first + rest[first].span();
                if self.carry.len() + upto > MESSAGE_SLOTS_MAX {
                    return Err(self.refuse_message());
                }
                if self.carry.len() + upto > out.remaining() {
                    return Ok(Status::More);
                }
                out.extend(&self.carry);
                out.extend(&rest[..upto]);
                self.carry.clear();
                self.cursor += upto;
            }
        }
    }

    fn tally(&self) -> Tally {
        let mut tally = Tally::default();
        if self.messages > 0 {
            tally.messages.insert("message".into(), self.messages);
        }
        if self.without_end > 0 {
            tally.messages.insert("without_end".into(), self.without_end);
        }
        tally
    }
}

/// The slots of the block at hand.
#[inline]
fn block<'a>(reader: &'a TapeReader<Box<dyn Read + Send>>, upgrades: Option<&'a Upgrades>) -> &'a [Slot] {
    match upgrades {
        Some(upgrades) if upgrades.is_used => &upgrades.slots,
        _ => reader.buffer(),
    }
}

/// Whether `slot` is the head of an event that ends its message.
#[inline]
fn ends_message(slot: &Slot) -> bool {
    slot.flags.contains(Flags::LAST) && slot.kind() != Kind::CONTINUATION
}

/// Slots at the front of `slots` that are whole messages, and control events between them. `slots` begin with a message
/// and may end inside an event. Looks from the back: O(slots of the message that is not whole).
fn whole_messages(slots: &[Slot]) -> usize {
    let is_end = |&(index, slot): &(usize, &Slot)| ends_message(slot) && index + slot.span() <= slots.len();
    let last = slots.iter().enumerate().rev().find(is_end);
    let mut end = last.map_or(0, |(index, head)| index + head.span());
    while let Some(head) = slots.get(end)
        && head.kind().is_control()
        && end + head.span() <= slots.len()
    {
        end += head.span();
    }
    end
}

/// What a tape's ids mean to the catalog.
struct Names<'a> {
    symbols: &'a mut Vec<SymbolId>,
    sources: &'a mut Vec<SourceId>,
    same_ids: &'a mut bool,
}

/// Why a block could not be prepared to its end.
enum Fault {
    Catalog(CatalogError),
    Slot(SlotFault),
}

impl Names<'_> {
    /// Takes the definitions out of a block of whole events and makes all ids the catalog's, in place. Returns how many
    /// slots are left at its front, and the fault at which it stopped, with the slot's position in the block.
    fn prepare(&mut self, catalog: &mut Catalog, slots: &mut [Slot]) -> (usize, Option<(u32, Fault)>) {
        let (mut from, mut to) = (0, 0);
        while from < slots.len() {
            let upto = from + slots[from].span();
            if is_definition(slots[from].kind()) {
                if let Err(fault) = self.define(catalog, &slots[from..upto]) {
                    return (to, Some((from as u32, fault)));
                }
            } else {
                if let Err(fault) = self.translate(&mut slots[from..upto]) {
                    return (to, Some((from as u32, Fault::Slot(fault))));
                }
                if to != from {
                    slots.copy_within(from..upto, to);
                }
                to += upto - from;
            }
            from = upto;
        }
        (to, None)
    }

    /// Makes the ids of one event the catalog's.
    fn translate(&self, event: &mut [Slot]) -> Result<(), SlotFault> {
        let (symbol, source) = ids_used(event);
        if symbol as usize >= self.symbols.len() {
            return Err(SlotFault::Symbol(symbol));
        }
        if usize::from(source) >= self.sources.len() {
            return Err(SlotFault::Source(source));
        }
        if *self.same_ids {
            return Ok(());
        }
        let head = &mut event[0];
        head.symbol = self.symbols[head.symbol.index()];
        head.source = self.sources[head.source.index()];
        if let Some(&(mut cause)) = cause_of(event) {
            cause.root.symbol = self.symbols[cause.root.symbol.index()];
            cause.root.source = self.sources[cause.root.source.index()];
            let last = event.last_mut().expect("an event has a head");
            let mut slot = Slot::continuation(bytemuck::must_cast(cause));
            (slot.kind, slot.span_lane, slot.flags) = (last.kind, last.span_lane, last.flags);
            *last = slot;
        }
        Ok(())
    }

    fn define(&mut self, catalog: &mut Catalog, event: &[Slot]) -> Result<(), Fault> {
        let event = EventRef::first(event).expect("the reader hands out whole events");
        let head = event.head();
        let is_symbol = head.kind() == Kind::SYMBOL_DEF;
        let id = if is_symbol { head.symbol.0 } else { u32::from(head.source.0) };
        let damaged = Fault::Slot(SlotFault::Definition(id));
        let mut text = [0; SYMBOL_BYTES_MAX];
        let Ok(text) = definition_text(event, id, &mut text) else { return Err(damaged) };
        let known = if is_symbol {
            self.symbols.get(id as usize).map(|&id| catalog.symbol_text(id))
        } else {
            self.sources.get(id as usize).map(|&id| catalog.source_name(id))
        };
        let next = if is_symbol { self.symbols.len() } else { self.sources.len() };
        match known {
            Some(known) if known == text => return Ok(()),
            None if id as usize == next => {}
            _ => return Err(damaged),
        }
        if is_symbol {
            // A tape that names one text twice could have more ids than the catalog.
            if next >= catalog.symbols_max() {
                return Err(Fault::Catalog(CatalogError::SymbolsFull(catalog.symbols_max())));
            }
            let to = catalog.symbol(text).map_err(Fault::Catalog)?;
            *self.same_ids &= to.0 == id;
            self.symbols.push(to);
        } else {
            if next >= SOURCES_MAX || text.len() > SOURCE_BYTES_MAX {
                return Err(damaged);
            }
            let rule = SeqRule::from_u8(head.payload_as::<SourceDef>().seq_rule);
            let to = catalog.source(text, rule).map_err(Fault::Catalog)?;
            *self.same_ids &= u32::from(to.0) == id;
            self.sources.push(to);
        }
        Ok(())
    }
}

fn input_error(path: &str, error: TapeError) -> InputError {
    let path = path.to_owned();
    let at = Position::Offset(error.offset());
    match error {
        TapeError::Unrecognised(why) => InputError::Unrecognised { path, why: why.to_string() },
        TapeError::Header(fault) => InputError::Damaged { path, at, why: fault.to_string() },
        TapeError::Damaged { fault, .. } => InputError::Damaged { path, at, why: fault.to_string() },
        TapeError::Io { error, .. } => InputError::Damaged { path, at, why: format!("cannot read: {error}") },
    }
}

impl fmt::Debug for TapeInput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TapeInput").field("path", &self.path).field("reader", &self.reader).finish_non_exhaustive()
    }
}
