//! Rows as events.

use super::map::{BarTime, Column, ColumnMap, CsvKind, MapError, Resolved, SideIs};
use super::row::{Row, RowError};
use super::time::{Clock, TimeError, TimeUnit};
use crate::input::bytes::{Line, LineTooLong};
use crate::input::decimal::{self, DecimalError};
use crate::input::lines::{Decoded, Head, LineDecoder, Outcome, Sides};
use crate::input::{MESSAGE_SLOTS_MAX, SlotBuf, Tally};
use jiff::tz::TimeZone;
use tapeline_core::catalog::{Catalog, SeqRule};
use tapeline_core::event::payload::{Bar, BarRest, BookLevel, LevelAction, Trade};
use tapeline_core::event::{EventBuf, Flags, Slot};
use tapeline_core::limits::{SOURCE_BYTES_MAX, SYMBOL_BYTES_MAX};
use tapeline_core::units::{PRICE_UNDEFINED, Side, SourceId, SymbolId, UnixNanos};

/// What may stand at the start of a text in UTF-8.
pub(super) const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Fields that stand for one level of a Tardis book snapshot: price and size of the ask, of the bid.
pub(super) type LevelPlaces = [usize; 4];

/// What a row becomes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Shape {
    Trade,
    Quote,
    BookLevel,
    Bar,
    /// A whole book a row: levels, best first.
    Book(Vec<LevelPlaces>),
}

/// Name of the source of a row.
enum SourceName {
    Fixed(Vec<u8>),
    /// `tardis.`, the exchange, `.` and this.
    OfExchange(&'static str),
}

/// What the rows of a file are.
pub(super) struct Layout {
    format: &'static str,
    /// Name of its messages in tallies.
    message: &'static str,
    shape: Shape,
    columns: Resolved,
    /// The first line is no row.
    header: bool,
    /// Every line has an end: one without was cut.
    lines_end: bool,
    /// Numbers may also be texts, which identify nothing here.
    loose_seq: bool,
    source: SourceName,
    prefix: Vec<u8>,
    side_is: SideIs,
    interval_ns: u64,
    bar_time: BarTime,
    day: Option<Vec<u8>>,
    clock: Clock,
}

impl Layout {
    /// The one of Tardis that has these columns.
    pub(super) fn of_tardis(name: &'static str, shape: Shape, columns: Resolved) -> Self {
        Self {
            format: "tardis",
            message: name,
            shape,
            columns,
            header: true,
            lines_end: true,
            loose_seq: true,
            source: SourceName::OfExchange(name),
            prefix: Vec::new(),
            side_is: SideIs::Aggressor,
            interval_ns: 0,
            bar_time: BarTime::Start,
            day: None,
            clock: Clock::new(Some(TimeUnit::Micros), TimeZone::UTC),
        }
    }

    /// The one that a map says of a file whose first line is `first`.
    pub(super) fn of_map(map: &ColumnMap, kind: CsvKind, first: &[u8]) -> Result<Self, MapError> {
        let columns = map.resolve(first)?;
        let source = map.source.clone().unwrap_or_else(|| format!("csv.{}", kind.name()));
        Ok(Self {
            format: "csv",
            message: kind.name(),
            shape: match kind {
                CsvKind::Trade => Shape::Trade,
                CsvKind::Quote => Shape::Quote,
                CsvKind::BookLevel => Shape::BookLevel,
                CsvKind::Bar => Shape::Bar,
            },
            columns,
            header: map.header,
            lines_end: false,
            loose_seq: false,
            source: SourceName::Fixed(source.into_bytes()),
            prefix: map.prefix.clone().unwrap_or_default().into_bytes(),
            side_is: map.side_is,
            interval_ns: map.interval_ns,
            bar_time: map.bar_time,
            day: map.fixed_day().map(|day| day.as_bytes().to_vec()),
            // A name that the configuration has checked.
            clock: Clock::new(map.unit, TimeZone::get(&map.zone).unwrap_or(TimeZone::UTC)),
        })
    }

    fn has(&self, column: Column) -> bool {
        self.columns.at[column as usize].is_some()
    }
}

/// Why a line is bad. A column is named by its key.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub(super) enum Fault {
    #[error(transparent)]
    TooLong(#[from] LineTooLong),
    #[error(transparent)]
    Row(#[from] RowError),
    #[error("the last line has no end: it is cut short")]
    NoEnd,
    #[error("{found} fields, not {width}")]
    Width { found: usize, width: usize },
    #[error("{0}: it is empty")]
    Empty(&'static str),
    #[error("{0}: {1}")]
    Decimal(&'static str, DecimalError),
    #[error("{0}: {1}")]
    Time(&'static str, TimeError),
    #[error("{0}: neither a buyer's word nor a seller's")]
    Side(&'static str),
    #[error("{0}: neither true nor false")]
    Switch(&'static str),
    #[error("a symbol that is empty, longer than {SYMBOL_BYTES_MAX} bytes with what is before it, or not printable")]
    Symbol,
    #[error("an exchange whose name is empty, too long or not printable")]
    Exchange,
    #[error("it ends after the year 2554")]
    BarEnd,
    #[error("more than 65,536 events share its number")]
    Parts,
    #[error("{0} events are more than the {MESSAGE_SLOTS_MAX} that a message may have")]
    TooManyEvents(usize),
}

type Refusal = crate::input::lines::Refusal<Fault>;

impl<E: Into<Fault>> From<E> for Refusal {
    fn from(error: E) -> Self {
        Self::Bad(error.into())
    }
}

/// Symbol and source of the row before, by the fields that named them: most rows are of the same.
#[derive(Default)]
struct Names {
    symbol_text: Vec<u8>,
    exchange_text: Vec<u8>,
    known: Option<(SymbolId, SourceId)>,
}

/// Turns rows into events.
pub(super) struct Rows {
    layout: Layout,
    row: Row,
    names: Names,
    /// What identified the event before, and the part that it had: for those that share a number.
    before: Option<(SourceId, SymbolId, u64, u16)>,
    /// The levels of a message whose end has not come.
    message: Vec<Slot>,
    /// By symbol: whether its last level was one of a snapshot.
    in_snapshot: Vec<bool>,
    /// The first line was passed.
    begun: bool,
    messages: u64,
}

impl Rows {
    pub(super) fn new(layout: Layout) -> Self {
        let kept = if layout.shape == Shape::BookLevel { MESSAGE_SLOTS_MAX } else { 0 };
        Self {
            begun: false,
            layout,
            row: Row::default(),
            names: Names::default(),
            before: None,
            message: Vec::with_capacity(kept),
            in_snapshot: Vec::new(),
            messages: 0,
        }
    }

    fn row(&mut self, line: &[u8], catalog: &mut Catalog, out: &mut SlotBuf) -> Result<Outcome, Refusal> {
        self.row.split(line, self.layout.columns.delimiter)?;
        let (found, width) = (self.row.len(), self.layout.columns.width);
        if found != width {
            return Err(Fault::Width { found, width }.into());
        }
        match &self.layout.shape {
            Shape::Trade => self.trade(line, catalog, out),
            Shape::Quote => self.quote(line, catalog, out),
            Shape::BookLevel => self.level(line, catalog, out),
            Shape::Bar => self.bar(line, catalog, out),
            Shape::Book(_) => self.book(line, catalog, out),
        }
    }

    fn trade(&mut self, line: &[u8], catalog: &mut Catalog, out: &mut SlotBuf) -> Result<Outcome, Refusal> {
        let fields = Fields { layout: &self.layout, row: &self.row, line };
        let price = fields.price(Column::Price)?;
        let (size, scale) = fields.size(Column::Size)?;
        let side = match (fields.side(Column::Side)?, self.layout.side_is) {
            (Side::Bid, SideIs::Maker) => Side::Ask,
            (Side::Ask, SideIs::Maker) => Side::Bid,
            (side, _) => side,
        };
        if out.remaining() < 1 {
            return Ok(Outcome::NoRoom(1));
        }
        let mut head = self.head(line, catalog)?;
        let part = self.part(&head)?;
        head.flags = head.flags.with(Flags::LAST);
        out.extend(&[head.slot(part, scale, Trade { price, size, side: side as u8, ..Trade::default() })]);
        self.messages += 1;
        Ok(Outcome::Done)
    }

    fn quote(&mut self, line: &[u8], catalog: &mut Catalog, out: &mut SlotBuf) -> Result<Outcome, Refusal> {
        let fields = Fields { layout: &self.layout, row: &self.row, line };
        let side = |price: Column, size: Column| -> Result<(i64, (u64, u8)), Fault> {
            let size = if fields.text(size).is_empty() { (0, 0) } else { fields.size(size)? };
            let price = if fields.text(price).is_empty() { PRICE_UNDEFINED } else { fields.price(price)? };
            Ok((if price == 0 && size.0 == 0 { PRICE_UNDEFINED } else { price }, size))
        };
        let (bid_px, bid) = side(Column::BidPx, Column::BidSz)?;
        let (ask_px, ask) = side(Column::AskPx, Column::AskSz)?;
        let sides = Sides::new(bid_px, bid, ask_px, ask);
        let sides = sides.map_err(|error| Fault::Decimal(Column::AskSz.key(), error))?;
        if out.remaining() < sides.slots() {
            return Ok(Outcome::NoRoom(sides.slots()));
        }
        let mut head = self.head(line, catalog)?;
        let part = self.part(&head)?;
        head.flags = head.flags.with(Flags::LAST);
        sides.append(&head, part, out);
        self.messages += 1;
        Ok(Outcome::Done)
    }

    fn bar(&mut self, line: &[u8], catalog: &mut Catalog, out: &mut SlotBuf) -> Result<Outcome, Refusal> {
        let fields = Fields { layout: &self.layout, row: &self.row, line };
        let bar = Bar {
            open: fields.price(Column::Open)?,
            high: fields.price(Column::High)?,
            low: fields.price(Column::Low)?,
        };
        let (volume, scale) =
            if fields.text(Column::Volume).is_empty() { (0, 0) } else { fields.size(Column::Volume)? };
        let vwap = if fields.text(Column::Vwap).is_empty() { 0 } else { fields.price(Column::Vwap)? };
        let trades = fields.integer(Column::Trades)?.unwrap_or(0);
        let interval_ns = self.layout.interval_ns;
        let rest =
            BarRest { close: fields.price(Column::Close)?, volume, interval_ns, trades, vwap, ..BarRest::default() };
        if out.remaining() < 2 {
            return Ok(Outcome::NoRoom(2));
        }
        let mut head = self.head(line, catalog)?;
        // Its end is when it could be known.
        let (start, end) = match self.layout.bar_time {
            BarTime::Start => (head.ts_event.0, head.ts_event.0.checked_add(interval_ns)),
            BarTime::End => (head.ts_event.0.saturating_sub(interval_ns), Some(head.ts_event.0)),
        };
        if head.ts_event != UnixNanos::UNKNOWN {
            let end = end.filter(|end| *end < u64::MAX).ok_or(Fault::BarEnd)?;
            head.ts_event = UnixNanos(start);
            if !self.layout.has(Column::RecvTime) {
                head.ts_recv = UnixNanos(end);
            }
        }
        let part = self.part(&head)?;
        head.flags = head.flags.with(Flags::LAST);
        let mut event = EventBuf::new(&bar);
        *event.head_mut() = head.slot(part, scale, bar);
        event.push_value(&rest).expect("two slots are not too many");
        out.extend(event.slots());
        self.messages += 1;
        Ok(Outcome::Done)
    }

    fn level(&mut self, line: &[u8], catalog: &mut Catalog, out: &mut SlotBuf) -> Result<Outcome, Refusal> {
        let fields = Fields { layout: &self.layout, row: &self.row, line };
        let price = fields.price(Column::Price)?;
        let (size, scale) = fields.size(Column::Size)?;
        let side = match fields.side(Column::Side)? {
            Side::None => return Err(Fault::Side(Column::Side.key()).into()),
            side => side,
        };
        let is_snapshot = fields.switch(Column::Snapshot)?;
        let orders = fields.integer(Column::Orders)?.unwrap_or(0);
        let order_count =
            u32::try_from(orders).map_err(|_| Fault::Decimal(Column::Orders.key(), DecimalError::OutOfRange))?;
        let mut head = self.head(line, catalog)?;
        if is_snapshot {
            head.flags = head.flags.with(Flags::SNAPSHOT);
        }
        let begins = is_snapshot && !self.in_snapshot.get(head.symbol.index()).is_some_and(|is_in| *is_in);
        let is_same = self.message.first().is_some_and(|first| {
            (first.symbol, first.source, first.flags) == (head.symbol, head.source, head.flags)
                && (first.ts_event, first.ts_recv, first.seq) == (head.ts_event, head.ts_recv, head.seq)
        });
        let fits = self.message.len() + 1 + usize::from(begins) <= MESSAGE_SLOTS_MAX;
        if !(is_same && fits)
            && let Outcome::NoRoom(slots) = self.end_message(out)
        {
            return Ok(Outcome::NoRoom(slots));
        }
        if begins {
            // The snapshot replaces what was known: rows of several messages may follow before it is whole.
            let clear = BookLevel { action: LevelAction::Clear as u8, ..BookLevel::default() };
            let part = self.part(&head)?;
            self.message.push(head.slot(part, 0, clear));
        }
        let action = if size == 0 { LevelAction::Delete } else { LevelAction::Set };
        let level =
            BookLevel { price, size, order_count, side: side as u8, action: action as u8, ..BookLevel::default() };
        let part = self.part(&head)?;
        self.message.push(head.slot(part, scale, level));
        if self.in_snapshot.len() <= head.symbol.index() {
            self.in_snapshot.resize(catalog.symbols(), false);
        }
        self.in_snapshot[head.symbol.index()] = is_snapshot;
        Ok(Outcome::Done)
    }

    /// Appends the message that was kept back, if there is one.
    fn end_message(&mut self, out: &mut SlotBuf) -> Outcome {
        if out.remaining() < self.message.len() {
            return Outcome::NoRoom(self.message.len());
        }
        let Some(last) = self.message.last_mut() else { return Outcome::Done };
        last.flags = last.flags.with(Flags::LAST);
        if last.flags.contains(Flags::UNSEQUENCED) {
            // Parts are those of one message where no number goes beyond it.
            self.before = None;
        }
        out.extend(&self.message);
        self.message.clear();
        self.messages += 1;
        Outcome::Done
    }

    fn book(&mut self, line: &[u8], catalog: &mut Catalog, out: &mut SlotBuf) -> Result<Outcome, Refusal> {
        let mut head = self.head(line, catalog)?;
        let Shape::Book(places) = &self.layout.shape else { return Ok(Outcome::Done) };
        let slots = 1 + 2 * places.len();
        if out.remaining() < slots {
            return Ok(Outcome::NoRoom(slots));
        }
        head.flags = head.flags.with(Flags::SNAPSHOT);
        out.extend(&[head.slot(0, 0, BookLevel { action: LevelAction::Clear as u8, ..BookLevel::default() })]);
        let mut part = 0;
        for (side, price_at, name) in [(Side::Bid, 2, "bids"), (Side::Ask, 0, "asks")] {
            for (depth, places) in places.iter().enumerate() {
                let [price, size] = [0, 1].map(|index| self.row.field(line, places[price_at + index]));
                if price.is_empty() && size.is_empty() {
                    // The book has fewer levels.
                    continue;
                }
                let told = |error| Fault::Decimal(name, error);
                let price = decimal::number_price(price).map_err(told)?;
                let (size, scale) = decimal::number_size(size).map_err(told)?;
                part += 1;
                let action = if size == 0 { LevelAction::Delete } else { LevelAction::Set };
                let level = BookLevel {
                    price,
                    size,
                    side: side as u8,
                    action: action as u8,
                    depth: depth as u8,
                    ..BookLevel::default()
                };
                out.extend(&[head.slot(part, scale, level)]);
            }
        }
        let last = out.slots_mut().last_mut().expect("a clear at least");
        last.flags = last.flags.with(Flags::LAST);
        self.messages += 1;
        Ok(Outcome::Done)
    }

    /// Times, number, symbol and source of a row. Names come last: a bad row defines none.
    fn head(&mut self, line: &[u8], catalog: &mut Catalog) -> Result<Head, Refusal> {
        let layout = &mut self.layout;
        let field = |column: Column| layout.columns.at[column as usize].map(|index| self.row.field(line, index));
        let day = layout.day.as_deref().or_else(|| field(Column::Day));
        let [ts_event, ts_recv] = [Column::Time, Column::RecvTime].map(|column| {
            let text = field(column).filter(|text| !text.is_empty());
            text.map(|text| layout.clock.instant(text, day).map_err(|error| Fault::Time(column.key(), error)))
        });
        let (ts_event, ts_recv) = (ts_event.transpose()?, ts_recv.transpose()?);
        let Some(first) = ts_recv.or(ts_event) else {
            let column =
                if layout.columns.at[Column::Time as usize].is_some() { Column::Time } else { Column::RecvTime };
            return Err(Fault::Empty(column.key()).into());
        };
        let seq = match field(Column::Seq).filter(|text| !text.is_empty()) {
            None => None,
            Some(text) => match decimal::integer(text) {
                Ok(seq) => Some(seq),
                Err(_) if layout.loose_seq => None,
                Err(error) => return Err(Fault::Decimal(Column::Seq.key(), error).into()),
            },
        };
        let symbol = field(Column::Symbol).unwrap_or_default();
        let exchange = field(Column::Exchange).unwrap_or_default();
        let names = &mut self.names;
        let (symbol, source) = match names.known {
            Some(known) if names.symbol_text == symbol && names.exchange_text == exchange => known,
            _ => {
                let known = intern(layout, symbol, exchange, catalog)?;
                names.symbol_text.clear();
                names.symbol_text.extend_from_slice(symbol);
                names.exchange_text.clear();
                names.exchange_text.extend_from_slice(exchange);
                names.known = Some(known);
                known
            }
        };
        Ok(Head {
            ts_recv: first,
            ts_event: ts_event.unwrap_or(UnixNanos::UNKNOWN),
            seq: seq.unwrap_or(0),
            symbol,
            source,
            flags: if seq.is_some() { Flags::NONE } else { Flags::UNSEQUENCED },
        })
    }

    /// The part of the next event of this head: those that share a number follow each other.
    fn part(&mut self, head: &Head) -> Result<u16, Fault> {
        let part = match self.before {
            Some((source, symbol, seq, part)) if (source, symbol, seq) == (head.source, head.symbol, head.seq) => {
                part.checked_add(1).ok_or(Fault::Parts)?
            }
            _ => 0,
        };
        let counts = !head.flags.contains(Flags::UNSEQUENCED) || self.layout.shape == Shape::BookLevel;
        self.before = counts.then_some((head.source, head.symbol, head.seq, part));
        Ok(part)
    }
}

/// The ids of what a row names.
#[cold]
fn intern(
    layout: &Layout,
    symbol: &[u8],
    exchange: &[u8],
    catalog: &mut Catalog,
) -> Result<(SymbolId, SourceId), Refusal> {
    let is_printable = |text: &[u8]| text.iter().all(|byte| *byte > b' ' && *byte != 0x7f);
    let mut text = layout.prefix.clone();
    let mut source = Vec::new();
    match &layout.source {
        SourceName::Fixed(name) => source.clone_from(name),
        SourceName::OfExchange(message) => {
            if exchange.is_empty() || !is_printable(exchange) {
                return Err(Fault::Exchange.into());
            }
            text.extend_from_slice(exchange);
            text.push(b':');
            source = [b"tardis.", exchange, b".", message.as_bytes()].concat();
            if source.len() > SOURCE_BYTES_MAX {
                return Err(Fault::Exchange.into());
            }
        }
    }
    text.extend_from_slice(symbol);
    if layout.has(Column::Symbol) && symbol.is_empty() || text.len() > SYMBOL_BYTES_MAX || !is_printable(&text) {
        return Err(Fault::Symbol.into());
    }
    let rule = if layout.has(Column::Seq) { SeqRule::Increasing } else { SeqRule::None };
    let symbol = catalog.symbol(&text).map_err(Refusal::Catalog)?;
    Ok((symbol, catalog.source(&source, rule).map_err(Refusal::Catalog)?))
}

/// The values of a row by their columns.
#[derive(Clone, Copy)]
struct Fields<'a> {
    layout: &'a Layout,
    row: &'a Row,
    line: &'a [u8],
}

impl<'a> Fields<'a> {
    /// Empty where there is no such column.
    #[inline]
    fn text(self, column: Column) -> &'a [u8] {
        self.layout.columns.at[column as usize].map_or(&b""[..], |index| self.row.field(self.line, index))
    }

    fn price(self, column: Column) -> Result<i64, Fault> {
        decimal::number_price(self.text(column)).map_err(|error| Fault::Decimal(column.key(), error))
    }

    fn size(self, column: Column) -> Result<(u64, u8), Fault> {
        decimal::number_size(self.text(column)).map_err(|error| Fault::Decimal(column.key(), error))
    }

    /// `None` where it is empty.
    fn integer(self, column: Column) -> Result<Option<u64>, Fault> {
        let text = self.text(column);
        if text.is_empty() {
            return Ok(None);
        }
        decimal::fixed(text, 0).map(Some).map_err(|error| Fault::Decimal(column.key(), error))
    }

    fn switch(self, column: Column) -> Result<bool, Fault> {
        let text = self.text(column);
        let is_on = is_any(text, &["true", "1", "t"]);
        if is_on || is_any(text, &["false", "0", "f", ""]) { Ok(is_on) } else { Err(Fault::Switch(column.key())) }
    }

    /// [`Side::None`] where it is not told.
    fn side(self, column: Column) -> Result<Side, Fault> {
        let text = self.text(column);
        let found = SIDES.iter().find(|(_, words)| is_any(text, words));
        found.map(|(side, _)| *side).ok_or(Fault::Side(column.key()))
    }
}

/// Words for sides, in any case.
const SIDES: [(Side, &[&str]); 3] = [
    (Side::Bid, &["buy", "bid", "b", "true", "1", "+1", "bids", "buyer"]),
    (Side::Ask, &["sell", "ask", "s", "a", "false", "-1", "asks", "offer", "seller"]),
    (Side::None, &["", "unknown", "none", "n", "null"]),
];

#[inline]
fn is_any(text: &[u8], words: &[&str]) -> bool {
    words.iter().any(|word| text.eq_ignore_ascii_case(word.as_bytes()))
}

impl LineDecoder for Rows {
    type Fault = Fault;

    fn format(&self) -> &'static str {
        self.layout.format
    }

    fn line(&mut self, line: &Line<'_>, text: &[u8], catalog: &mut Catalog, out: &mut SlotBuf) -> Decoded<Fault> {
        let mut text = text.strip_suffix(b"\r").unwrap_or(text);
        if !self.begun {
            if self.layout.header {
                self.begun = true;
                return Ok(Outcome::Done);
            }
            text = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text);
        }
        if text.trim_ascii().is_empty() {
            return Ok(Outcome::Done);
        }
        // Half a row may look like a whole one: `1.5` of `1.52`.
        if line.cut || self.layout.lines_end && !line.ended {
            return Err(Fault::NoEnd.into());
        }
        let done = self.row(text, catalog, out);
        self.begun |= !matches!(done, Ok(Outcome::NoRoom(_)));
        done
    }

    fn too_many(&self, slots: usize) -> Fault {
        Fault::TooManyEvents(slots)
    }

    fn finish(&mut self, out: &mut SlotBuf) -> Outcome {
        self.end_message(out)
    }

    fn tally(&self, tally: &mut Tally) {
        if self.messages > 0 {
            tally.messages.insert(self.layout.message.to_owned(), self.messages);
        }
        tally.lines = tally.lines.saturating_sub(u64::from(self.layout.header));
    }
}
