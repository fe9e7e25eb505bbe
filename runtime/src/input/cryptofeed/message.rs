//! The events of one line, until they are handed over.

use super::{Fault, Refusal};
use crate::input::lines::{Head, Outcome, Sides};
use crate::input::{MESSAGE_SLOTS_MAX, SlotBuf};
use tapeline_core::catalog::{Catalog, SeqRule};
use tapeline_core::event::payload::{BookLevel, LevelAction};
use tapeline_core::event::{Flags, Payload, Slot};
use tapeline_core::limits::SYMBOL_BYTES_MAX;
use tapeline_core::units::{Side, UnixNanos};

/// Where events come from: an exchange's stream.
#[derive(Clone, Copy)]
pub(super) struct Stream {
    /// Before the symbol, its colon included.
    pub(super) prefix: &'static [u8],
    /// Name of the source.
    pub(super) source: &'static [u8],
    /// How it counts.
    pub(super) rule: SeqRule,
}

impl Stream {
    /// Refuses what no symbol of it can be.
    pub(super) fn check(&self, symbol: &[u8]) -> Result<(), Fault> {
        let is_printable = symbol.iter().all(|byte| *byte > b' ' && *byte != 0x7f);
        let fits = self.prefix.len() + symbol.len() <= SYMBOL_BYTES_MAX;
        if symbol.is_empty() || !fits || !is_printable { Err(Fault::Symbol) } else { Ok(()) }
    }
}

/// One line's events: one message, or several (of several symbols, or of a book that is too long for one).
#[derive(Default)]
pub(super) struct Message {
    ts_recv: UnixNanos,
    slots: Vec<Slot>,
    /// Slots at the end of each message.
    ends: Vec<usize>,
    /// First slot of the last event.
    last: usize,
    /// What was handed over: slots, and messages.
    given: (usize, usize),
    part: u16,
}

impl Message {
    /// Begins a line that was received then.
    pub(super) fn begin(&mut self, ts_recv: UnixNanos) {
        self.clear();
        self.ts_recv = ts_recv;
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        self.slots.clear();
        self.ends.clear();
        (self.last, self.given, self.part) = (0, (0, 0), 0);
    }

    /// Whether nothing waits to be handed over.
    pub(super) fn is_empty(&self) -> bool {
        self.given.1 == self.ends.len()
    }

    /// The head of the line's events of a symbol; without a number they are unsequenced.
    pub(super) fn head(
        &self,
        stream: Stream,
        symbol: &[u8],
        seq: Option<u64>,
        ts_event: UnixNanos,
        catalog: &mut Catalog,
    ) -> Result<Head, Refusal> {
        stream.check(symbol)?;
        let mut text = [0; SYMBOL_BYTES_MAX];
        let (prefix, length) = (stream.prefix, stream.prefix.len() + symbol.len());
        let text = &mut text[..length];
        text[..prefix.len()].copy_from_slice(prefix);
        text[prefix.len()..].copy_from_slice(symbol);
        Ok(Head {
            ts_recv: self.ts_recv,
            ts_event,
            seq: seq.unwrap_or(0),
            symbol: catalog.symbol(text).map_err(Refusal::Catalog)?,
            source: catalog.source(stream.source, stream.rule).map_err(Refusal::Catalog)?,
            flags: if seq.is_some() { Flags::NONE } else { Flags::UNSEQUENCED },
        })
    }

    /// Adds an event of one slot to the message.
    pub(super) fn push<P: Payload>(&mut self, head: &Head, scale: u8, payload: P) {
        let part = self.place(1);
        self.slots.push(head.slot(part, scale, payload));
    }

    /// Adds a slot as it is, which is no part of the message's numbering.
    pub(super) fn push_slot(&mut self, slot: Slot) {
        self.last = self.slots.len();
        self.slots.push(slot);
    }

    /// Adds a quote.
    pub(super) fn push_quote(&mut self, head: &Head, sides: &Sides) {
        let part = self.place(sides.slots());
        let mut quote = SlotBuf::with_capacity(2);
        sides.append(head, part, &mut quote);
        self.slots.extend_from_slice(quote.slots());
    }

    /// Adds a level; a size of 0 deletes it.
    pub(super) fn push_level(&mut self, head: &Head, side: Side, price: i64, (size, scale): (u64, u8)) {
        let action = if size == 0 { LevelAction::Delete } else { LevelAction::Set };
        let level = BookLevel { price, size, side: side as u8, action: action as u8, ..BookLevel::default() };
        self.push(head, scale, level);
    }

    /// Adds the beginning of a book's snapshot.
    pub(super) fn push_clear(&mut self, head: &Head) {
        self.push(head, 0, BookLevel { action: LevelAction::Clear as u8, ..BookLevel::default() });
    }

    /// The part of the next event of `slots` slots. A message that would be too long for a buffer ends before it; parts go on.
    fn place(&mut self, slots: usize) -> u16 {
        let begin = self.ends.last().copied().unwrap_or(0);
        if self.slots.len() + slots - begin > MESSAGE_SLOTS_MAX {
            self.end_slots();
        }
        self.last = self.slots.len();
        let part = self.part;
        // Beyond 65,536 events of one number, parts come again: a book of so many levels is one snapshot in several messages.
        self.part = part.wrapping_add(1);
        part
    }

    /// Ends the message: what follows is another.
    pub(super) fn end(&mut self) {
        self.end_slots();
        self.part = 0;
    }

    fn end_slots(&mut self) {
        if self.slots.len() > self.ends.last().copied().unwrap_or(0) {
            let last = &mut self.slots[self.last];
            last.flags = last.flags.with(Flags::LAST);
            self.ends.push(self.slots.len());
        }
    }

    /// Appends the messages that fit.
    pub(super) fn hand_over(&mut self, out: &mut SlotBuf) -> Outcome {
        let (slots, messages) = self.given;
        for end in &self.ends[messages..] {
            let length = end - self.given.0;
            if out.remaining() < length {
                return if self.given.0 > slots { Outcome::Again } else { Outcome::NoRoom(length) };
            }
            out.extend(&self.slots[self.given.0..*end]);
            self.given = (*end, self.given.1 + 1);
        }
        Outcome::Done
    }
}
