//! Events as NDJSON, as [`crate::ndjson`] writes them and `tapeline dump` prints them: market data of every kind.
//!
//! Fields and values are those of [`crate::ndjson`]; numbers may also be plain where it writes texts, and keys may come in any order. A tape that is dumped
//! and read back has the same events. What a line does not say is filled in, so that other programs can write lines by hand:
//!
//! | missing | taken |
//! |---|---|
//! | `source` | `ndjson` |
//! | `ts_recv` | `ts_event`; one of them must be there |
//! | `seq` | none: `UNSEQUENCED` |
//! | `part` | 0 |
//! | `flags` | `last`: the line is a message of its own |
//! | `side`, `action`, counts and the like | none, 0 |
//!
//! - The kinds are `trade`, `quote`, `book_level`, `book_order`, `book_depth`, `bar`, `news`, `status` and `gap`. Lines of other kinds (what an engine
//!   made, or says of itself), and those with a `cause`, are counted by name and are no events here: a replay makes its own.
//! - Lines up to one with the flag `last` are one message, and come together. One that the file ends in the middle of comes as it is. A message of more
//!   than [`MESSAGE_SLOTS_MAX`] slots becomes several.
//! - A size's scale is the smallest that holds it: `3.020` and `3.02` are one size.
//! - Where a source numbers its events, they grow: the rule of its definition is not in the lines.

use super::bytes::{ByteSource, Line, LineTooLong};
use super::decimal::{self, DecimalError};
use super::json::{JsonError, Scanner, Value};
use super::lines::{Decoded, LineDecoder, Lines, Outcome, Skipped};
use super::members::{MemberError, Members};
use super::{Input, InputError, MESSAGE_SLOTS_MAX, SlotBuf, Status, Tally};
use std::collections::BTreeMap;
use tapeline_core::catalog::{Catalog, SeqRule};
use tapeline_core::event::payload::{
    Bar, BarRest, BookDepth, BookLevel, BookOrder, DepthLevel, Gap, LevelAction, News, Quote, QuoteWide,
    Status as StatusPayload, Trade,
};
use tapeline_core::event::{EventBuf, Flags, Kind, Payload, Slot};
use tapeline_core::limits::{SOURCE_BYTES_MAX, SPAN_BYTES_MAX, SYMBOL_BYTES_MAX};
use tapeline_core::units::{Side, UnixNanos};

/// Source of events that name none.
const SOURCE_DEFAULT: &[u8] = b"ndjson";
/// Levels that fit an event.
const DEPTH_LEVELS_MAX: usize = (SPAN_BYTES_MAX - 24) / size_of::<DepthLevel>();

/// Why a line is bad.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
enum Fault {
    #[error(transparent)]
    TooLong(#[from] LineTooLong),
    #[error(transparent)]
    Json(#[from] JsonError),
    #[error(transparent)]
    Member(#[from] MemberError),
    #[error("neither `ts_recv` nor `ts_event` is there")]
    NoTime,
    #[error("`{0}` is out of range")]
    Range(&'static str),
    #[error(
        "a symbol longer than {SYMBOL_BYTES_MAX} bytes, or a source that is empty or longer than {SOURCE_BYTES_MAX}"
    )]
    Name,
    #[error("a text or levels that do not fit {SPAN_BYTES_MAX} bytes")]
    Span,
    #[error("{0} events are more than the {MESSAGE_SLOTS_MAX} that a message may have")]
    TooManyEvents(usize),
}

type Refusal = super::lines::Refusal<Fault>;

impl<E: Into<Fault>> From<E> for Refusal {
    fn from(error: E) -> Self {
        Self::Bad(error.into())
    }
}

/// NDJSON that is being decoded.
pub struct NdjsonInput(Lines<Decoder>);

impl NdjsonInput {
    /// Decodes `source` from where it stands. Lines longer than `line_bytes_max` are bad.
    #[must_use]
    pub fn new(source: ByteSource, line_bytes_max: usize) -> Self {
        Self(Lines::new(source, line_bytes_max, Decoder::default()))
    }

    /// Whether `start`, the first bytes of a file, begins with an object that has a `kind`.
    #[must_use]
    pub fn recognises(start: &[u8]) -> bool {
        let line = start.trim_ascii_start().split(|byte| *byte == b'\n').next().unwrap_or_default();
        line.first() == Some(&b'{') && line.windows(6).any(|key| key == b"\"kind\"")
    }
}

impl Input for NdjsonInput {
    fn format(&self) -> &'static str {
        self.0.format()
    }

    fn read(&mut self, catalog: &mut Catalog, out: &mut SlotBuf) -> Result<Status, InputError> {
        self.0.read(catalog, out)
    }

    fn tally(&self) -> Tally {
        self.0.tally()
    }
}

/// Turns lines into events.
#[derive(Default)]
struct Decoder {
    /// Events of a message whose last one has not come.
    message: Vec<Slot>,
    /// Head of its last event.
    last: usize,
    messages: BTreeMap<&'static str, u64>,
    skipped: Skipped,
}

impl Decoder {
    fn text(&mut self, text: &[u8], catalog: &mut Catalog, out: &mut SlotBuf) -> Result<Outcome, Refusal> {
        let mut scanner = Scanner::new(text)?;
        let members = Members::read(&mut scanner)?;
        scanner.finish()?;
        let name = members.text("kind")?;
        let kind = std::str::from_utf8(name).ok().and_then(Kind::from_name);
        let Some(kind) = kind.filter(|kind| KINDS.contains(kind)) else {
            self.skipped.count(b"", name);
            return Ok(Outcome::Done);
        };
        if members.has("cause") {
            self.skipped.count(name, b" with a cause");
            return Ok(Outcome::Done);
        }
        let mut event = event(kind, &members)?;
        head(&members, event.head_mut(), catalog)?;
        let slots = event.slots();
        let is_last = slots[0].flags.contains(Flags::LAST);
        // A message that is too long ends before this event.
        let (kept, is_over) = (self.message.len(), self.message.len() + slots.len() > MESSAGE_SLOTS_MAX);
        let needed = if is_over || is_last { kept + slots.len() } else { 0 };
        if out.remaining() < needed {
            if !is_over || out.remaining() < kept {
                return Ok(Outcome::NoRoom(if is_over { kept } else { needed }));
            }
            if is_last {
                // Both do not fit at once: what was kept goes first.
                self.end(out);
                return Ok(Outcome::Again);
            }
        }
        if is_over {
            self.end(out);
        }
        if is_last && self.message.is_empty() {
            out.extend(slots);
        } else {
            self.last = self.message.len();
            self.message.extend_from_slice(slots);
            if is_last {
                self.end(out);
            }
        }
        *self.messages.entry(kind.name()).or_default() += 1;
        Ok(Outcome::Done)
    }

    /// Appends the message that was kept back. There is room.
    fn end(&mut self, out: &mut SlotBuf) {
        if let Some(last) = self.message.get_mut(self.last) {
            last.flags = last.flags.with(Flags::LAST);
            out.extend(&self.message);
            self.message.clear();
        }
    }
}

impl LineDecoder for Decoder {
    type Fault = Fault;

    fn format(&self) -> &'static str {
        "ndjson"
    }

    fn line(&mut self, _: &Line<'_>, text: &[u8], catalog: &mut Catalog, out: &mut SlotBuf) -> Decoded<Fault> {
        let text = text.trim_ascii();
        if text.is_empty() { Ok(Outcome::Done) } else { self.text(text, catalog, out) }
    }

    fn too_many(&self, slots: usize) -> Fault {
        Fault::TooManyEvents(slots)
    }

    fn finish(&mut self, out: &mut SlotBuf) -> Outcome {
        if out.remaining() < self.message.len() {
            return Outcome::NoRoom(self.message.len());
        }
        self.end(out);
        Outcome::Done
    }

    fn tally(&self, tally: &mut Tally) {
        tally.messages = self.messages.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect();
        tally.skipped = self.skipped.counts().clone();
    }
}

/// Kinds that are read.
const KINDS: [Kind; 9] = [
    Kind::TRADE,
    Kind::QUOTE,
    Kind::BOOK_LEVEL,
    Kind::BOOK_ORDER,
    Kind::BOOK_DEPTH,
    Kind::BAR,
    Kind::NEWS,
    Kind::STATUS,
    Kind::GAP,
];

/// Fills in what all kinds have. Names come last: a bad line defines none.
fn head(members: &Members<'_>, head: &mut Slot, catalog: &mut Catalog) -> Result<(), Refusal> {
    let time = |name| -> Result<Option<u64>, Fault> {
        if !members.has_value(name) {
            return Ok(None);
        }
        match members.integer(name)? {
            u64::MAX => Err(Fault::Range(name)),
            ns => Ok(Some(ns)),
        }
    };
    let (ts_recv, ts_event) = (time("ts_recv")?, time("ts_event")?);
    head.ts_recv = UnixNanos(ts_recv.or(ts_event).ok_or(Fault::NoTime)?);
    head.ts_event = ts_event.map_or(UnixNanos::UNKNOWN, UnixNanos);
    head.seq = members.optional_integer("seq")?;
    head.part = u16::try_from(members.optional_integer("part")?).map_err(|_| Fault::Range("part"))?;
    let mut flags = head.flags;
    if members.has("flags") {
        members.each("flags", |scanner| {
            let name = scanner.string()?.plain().unwrap_or_default();
            let known = (0..8).map(|bit| Flags(1 << bit)).find(|flag| {
                flag.names().next().map_or(name == b"bit7" && flag.0 == 1 << 7, |known| known.as_bytes() == name)
            });
            match known {
                // What the event itself says.
                Some(Flags::WIDE | Flags::DERIVED) => {}
                Some(flag) => flags = flags.with(flag),
                None => return Err(Fault::Range("flags")),
            }
            Ok(())
        })?;
    } else {
        flags = flags.with(Flags::LAST);
    }
    if !members.has_value("seq") {
        flags = flags.with(Flags::UNSEQUENCED);
    }
    head.flags = flags;
    let (mut symbol, mut source) = ([0; SYMBOL_BYTES_MAX], [0; SOURCE_BYTES_MAX]);
    let symbol = match members.has("symbol") {
        true => members.any_text("symbol")?.bytes(&mut symbol).ok_or(Fault::Name)?,
        false => b"",
    };
    let source = match members.has("source") {
        true => members.any_text("source")?.bytes(&mut source).ok_or(Fault::Name)?,
        false => SOURCE_DEFAULT,
    };
    if symbol.len() > SYMBOL_BYTES_MAX || source.is_empty() || source.len() > SOURCE_BYTES_MAX {
        return Err(Fault::Name.into());
    }
    let rule = if flags.contains(Flags::UNSEQUENCED) { SeqRule::None } else { SeqRule::Increasing };
    if !symbol.is_empty() {
        head.symbol = catalog.symbol(symbol).map_err(Refusal::Catalog)?;
    }
    head.source = catalog.source(source, rule).map_err(Refusal::Catalog)?;
    Ok(())
}

/// The event of a kind, but for what all kinds have.
fn event(kind: Kind, members: &Members<'_>) -> Result<EventBuf, Fault> {
    let of = Fields(members);
    match kind {
        Kind::TRADE => {
            let (size, scale) = of.0.size("size")?;
            let trade = Trade {
                price: of.0.optional_price("price")?,
                size,
                side: of.side("side")?,
                action: of.byte("action")?,
                source_flags: of.small("source_flags")?,
                depth: of.small("depth")?,
                ts_in_delta: of.delta("ts_in_delta")?,
            };
            Ok(single(&trade, scale))
        }
        Kind::QUOTE => of.quote(),
        Kind::BOOK_LEVEL => {
            let (size, scale) = of.0.optional_size("size")?;
            let action = match of.0.value("action").unwrap_or_default() {
                Value::Null => (if size == 0 { LevelAction::Delete } else { LevelAction::Set }) as u8,
                _ => {
                    of.code("action", |text| [&b"set"[..], b"delete", b"clear"].iter().position(|word| *word == text))?
                }
            };
            let level = BookLevel {
                price: of.0.optional_price("price")?,
                size,
                order_count: of.small("order_count")?,
                side: of.side("side")?,
                action,
                source_flags: of.small("source_flags")?,
                depth: of.small("depth")?,
            };
            Ok(single(&level, scale))
        }
        Kind::BOOK_ORDER => {
            let (size, scale) = of.0.size("size")?;
            let order = BookOrder {
                order_id: of.0.integer("order_id")?,
                price: of.0.optional_price("price")?,
                size: u32::try_from(size).map_err(|_| Fault::Range("size"))?,
                side: of.side("side")?,
                action: of.byte("action")?,
                source_flags: of.small("source_flags")?,
                channel_id: of.small("channel_id")?,
            };
            Ok(single(&order, scale))
        }
        Kind::BOOK_DEPTH => of.depth(),
        Kind::BAR => {
            let (volume, scale) = of.0.optional_size("volume")?;
            let price = |name| of.0.optional_price(name);
            let mut event = single(&Bar { open: price("open")?, high: price("high")?, low: price("low")? }, scale);
            let rest = BarRest {
                close: price("close")?,
                volume,
                interval_ns: of.0.optional_integer("interval_ns")?,
                trades: of.0.optional_integer("trades")?,
                vwap: if of.0.has_value("vwap") { of.0.price("vwap")? } else { 0 },
                ..BarRest::default()
            };
            event.push_value(&rest).map_err(|_| Fault::Span)?;
            Ok(event)
        }
        Kind::NEWS => {
            let mut scratch = [0; SPAN_BYTES_MAX];
            let text = of.0.any_text("text")?.bytes(&mut scratch).ok_or(Fault::Span)?;
            let news = News {
                id: of.0.optional_integer("id")?,
                provider: of.hash("provider")?,
                text_bytes: u32::try_from(text.len()).map_err(|_| Fault::Span)?,
                urgency: of.small("urgency")?,
                sentiment: i8::try_from(of.delta("sentiment")?).map_err(|_| Fault::Range("sentiment"))?,
                ..News::default()
            };
            let mut event = single(&news, 0);
            event.push_bytes(text).map_err(|_| Fault::Span)?;
            Ok(event)
        }
        Kind::STATUS => {
            let status = StatusPayload {
                action: of.small("action")?,
                reason: of.small("reason")?,
                trading_event: of.small("trading_event")?,
                is_trading: of.byte("is_trading")?,
                is_quoting: of.byte("is_quoting")?,
                is_short_sell_restricted: of.byte("is_short_sell_restricted")?,
                ..StatusPayload::default()
            };
            Ok(single(&status, 0))
        }
        _ => {
            let number = |name| of.0.optional_integer(name);
            let gap = Gap { expected: number("expected")?, received: number("received")?, missing: number("missing")? };
            Ok(single(&gap, 0))
        }
    }
}

fn single<P: Payload>(payload: &P, scale: u8) -> EventBuf {
    let mut event = EventBuf::new(payload);
    event.head_mut().scale = scale;
    event
}

/// Values as [`crate::ndjson`] writes them.
#[derive(Clone, Copy)]
struct Fields<'a, 'b>(&'a Members<'b>);

impl Fields<'_, '_> {
    /// An unsigned number that fits; 0 where it is missing.
    fn small<T: TryFrom<u64>>(self, name: &'static str) -> Result<T, Fault> {
        T::try_from(self.0.optional_integer(name)?).map_err(|_| Fault::Range(name))
    }

    /// A number that may be below 0; 0 where it is missing.
    fn delta(self, name: &'static str) -> Result<i32, Fault> {
        if !self.0.has_value(name) {
            return Ok(0);
        }
        let Value::Number(text) = self.0.value(name)? else { return Err(MemberError::WrongType(name).into()) };
        let (digits, sign) = text.strip_prefix(b"-").map_or((text, 1), |digits| (digits, -1));
        let number = decimal::integer(digits).map_err(|error| MemberError::Decimal(name, error))?;
        i64::try_from(number).ok().and_then(|number| i32::try_from(number * sign).ok()).ok_or(Fault::Range(name))
    }

    /// A code by its word or its number.
    fn code(self, name: &'static str, of_word: impl Fn(&[u8]) -> Option<usize>) -> Result<u8, Fault> {
        match self.0.value(name)? {
            Value::Number(_) => self.small(name),
            Value::Text(text) => {
                let code = text.plain().and_then(of_word).and_then(|code| u8::try_from(code).ok());
                code.ok_or(Fault::Range(name))
            }
            _ => Err(MemberError::WrongType(name).into()),
        }
    }

    fn side(self, name: &'static str) -> Result<u8, Fault> {
        if !self.0.has_value(name) {
            return Ok(Side::None as u8);
        }
        let sides = [Side::None, Side::Bid, Side::Ask];
        self.code(name, |text| sides.iter().find(|side| side.name().as_bytes() == text).map(|side| *side as usize))
    }

    /// A byte that stands for a character; 0 where it is missing.
    fn byte(self, name: &'static str) -> Result<u8, Fault> {
        if !self.0.has_value(name) {
            return Ok(0);
        }
        if let Value::Text(text) = self.0.value(name)? {
            let mut scratch = [0; 4];
            return match text.bytes(&mut scratch) {
                Some([byte]) => Ok(*byte),
                _ => Err(Fault::Range(name)),
            };
        }
        self.small(name)
    }

    /// A hash in hex digits; 0 where it is missing.
    fn hash(self, name: &'static str) -> Result<u64, Fault> {
        if !self.0.has_value(name) {
            return Ok(0);
        }
        let text = std::str::from_utf8(self.0.text(name)?).map_err(|_| Fault::Range(name))?;
        u64::from_str_radix(text, 16).map_err(|_| Fault::Range(name))
    }

    fn quote(self) -> Result<EventBuf, Fault> {
        let too_far = |error| MemberError::Decimal("ask_sz", error);
        let (bid_px, ask_px) = (self.0.optional_price("bid_px")?, self.0.optional_price("ask_px")?);
        let (bid, ask) = (self.0.optional_size("bid_sz")?, self.0.optional_size("ask_sz")?);
        let update = self.0.optional_size("size")?;
        let (_, _, scale) = decimal::common(bid, ask).map_err(too_far)?;
        let scale = scale.max(update.1);
        let at_scale = |size| decimal::common(size, (0, scale)).map(|(size, _, _)| size).map_err(too_far);
        let (bid_sz, ask_sz, size) = (at_scale(bid)?, at_scale(ask)?, at_scale(update)?);
        let narrow = u32::try_from(bid_sz).ok().zip(u32::try_from(ask_sz).ok());
        if let Some((bid_sz, ask_sz)) = narrow.filter(|_| !self.0.has("bid_ct")) {
            return Ok(single(&Quote { bid_px, ask_px, bid_sz, ask_sz }, scale));
        }
        let mut event = single(&Quote { bid_px, ask_px, bid_sz: 0, ask_sz: 0 }, scale);
        event.flag(Flags::WIDE);
        let wide = QuoteWide {
            bid_sz,
            ask_sz,
            bid_ct: self.small("bid_ct")?,
            ask_ct: self.small("ask_ct")?,
            price: self.0.optional_price("price")?,
            size,
            action: self.byte("action")?,
            side: self.side("side")?,
            source_flags: self.small("source_flags")?,
            depth: self.small("depth")?,
            ts_in_delta: self.delta("ts_in_delta")?,
            interval_ns: self.0.optional_integer("interval_ns")?,
        };
        event.push_value(&wide).map_err(|_| Fault::Span)?;
        Ok(event)
    }

    fn depth(self) -> Result<EventBuf, Fault> {
        let too_far = |error: DecimalError| MemberError::Decimal("levels", error);
        let update = self.0.optional_size("size")?;
        // All sizes are under one scale: it is known once all are read.
        let mut scale = update.1;
        let mut sizes = Vec::with_capacity(DEPTH_LEVELS_MAX);
        let mut levels = Vec::with_capacity(DEPTH_LEVELS_MAX);
        self.0.each("levels", |scanner| {
            let level = Members::read(scanner)?;
            let of = Fields(&level);
            let (bid, ask) = (level.optional_size("bid_sz")?, level.optional_size("ask_sz")?);
            scale = scale.max(bid.1).max(ask.1);
            sizes.push([bid, ask]);
            levels.push(DepthLevel {
                bid_px: level.optional_price("bid_px")?,
                ask_px: level.optional_price("ask_px")?,
                bid_sz: 0,
                ask_sz: 0,
                bid_ct: of.small("bid_ct")?,
                ask_ct: of.small("ask_ct")?,
            });
            if levels.len() > DEPTH_LEVELS_MAX { Err(Fault::Span) } else { Ok(()) }
        })?;
        let at_scale = |size| -> Result<u32, Fault> {
            let (size, _, _) = decimal::common(size, (0, scale)).map_err(too_far)?;
            u32::try_from(size).map_err(|_| Fault::Range("levels"))
        };
        for (level, [bid, ask]) in levels.iter_mut().zip(sizes) {
            (level.bid_sz, level.ask_sz) = (at_scale(bid)?, at_scale(ask)?);
        }
        let depth = BookDepth {
            price: self.0.optional_price("price")?,
            size: at_scale(update)?,
            ts_in_delta: self.delta("ts_in_delta")?,
            levels: levels.len() as u16,
            action: self.byte("action")?,
            side: self.side("side")?,
            source_flags: self.small("source_flags")?,
            depth: self.small("depth")?,
            ..BookDepth::default()
        };
        let mut event = single(&depth, scale);
        event.push_bytes(bytemuck::cast_slice(&levels)).map_err(|_| Fault::Span)?;
        Ok(event)
    }
}
