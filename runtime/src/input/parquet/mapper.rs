//! Rows to events.

use super::cells::{Reader, Values};
use super::footer::{Column, Footer, Meaning, Unit};
use super::numbers::{self, NumberError};
use super::plan::{Plan, is_symbol};
use super::{Damage, ParquetConfig, Role, Rows};
use crate::input::{BAD_LINES_NAMED_MAX, SlotBuf, decimal};
use std::io::Write;
use tapeline_core::catalog::{Catalog, CatalogError, SeqRule};
use tapeline_core::event::payload::{Bar, BarRest, Quote, QuoteWide, Trade};
use tapeline_core::event::{EventBuf, Flags};
use tapeline_core::limits::SYMBOL_BYTES_MAX;
use tapeline_core::units::{PRICE_UNDEFINED, Side, SourceId, SymbolId, UnixNanos};

/// Rows that can share a number and still have a part of their own.
const PARTS_MAX: u32 = 1 << 16;
const SECOND_NS: u64 = 1_000_000_000;

/// Why a row gave no event.
pub(super) enum Refusal {
    Bad(Fault),
    /// A table is full: nothing that follows can be trusted to fit.
    Catalog(CatalogError),
}

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Self {
        Self::Bad(fault)
    }
}

/// What is wrong with a row: the column's place among the readers.
#[derive(Clone, Copy, Debug)]
pub(super) enum Fault {
    Missing(usize),
    Number(usize, NumberError),
    Side(usize),
    /// A symbol that is empty.
    NoSymbol(usize),
    /// A symbol that is too long with what stands before it, or not printable.
    Symbol(usize),
    /// No time at all.
    NoTime,
    /// A bar whose end is not after its start.
    NoInterval,
}

/// Columns by what they are: their place among the readers.
#[derive(Clone, Copy, Debug, Default)]
struct Places {
    ts_event: Option<usize>,
    ts_recv: Option<usize>,
    date: Option<usize>,
    ts_end: Option<usize>,
    seq: Option<usize>,
    symbol: Option<usize>,
    venue: Option<usize>,
    side: Option<usize>,
    buyer_maker: Option<usize>,
    rtype: Option<usize>,
    trades: Option<usize>,
    vwap: Option<usize>,
    volume: Option<usize>,
    /// Prices of the kind, in the order of its payload: the price; bid and ask; open, high, low and close.
    prices: [usize; 4],
    /// Sizes: the size; those of bid and ask.
    sizes: [Option<usize>; 2],
}

/// Makes events of rows.
pub(super) struct Mapper {
    pub(super) rows: Rows,
    places: Places,
    is_fixed: bool,
    source_name: String,
    source: Option<SourceId>,
    /// The symbol of all rows, or the one of the last row with its text.
    symbol: Option<SymbolId>,
    symbol_text: Vec<u8>,
    /// What stands before each symbol; all of it where no column has one.
    prefix: Option<String>,
    text: Vec<u8>,
    interval_ns: Option<u64>,
    /// Units of times that do not say theirs.
    units: [Option<Unit>; 3],
    /// By symbol: the last number, and the part of the next row with that number.
    last: Vec<(u64, u32)>,
    /// Rows so far, good ones, and bad ones.
    number: u64,
    pub(super) messages: u64,
    pub(super) bad_rows: u64,
    pub(super) first_bad_rows: Vec<(u64, String)>,
}

/// What rows before a place leave behind for those after it.
#[derive(Clone, Debug)]
pub(super) struct State {
    source: Option<SourceId>,
    units: [Option<Unit>; 3],
    last: Box<[(u64, u32)]>,
    number: u64,
}

impl Mapper {
    pub(super) fn state(&self) -> State {
        State { source: self.source, units: self.units, last: self.last.as_slice().into(), number: self.number }
    }

    pub(super) fn go_to(&mut self, state: &State) {
        (self.source, self.units, self.number) = (state.source, state.units, state.number);
        self.last.clear();
        self.last.extend_from_slice(&state.last);
    }

    pub(super) fn new(plan: &Plan, config: &ParquetConfig, columns: &[(Role, Column)]) -> Self {
        let place = |role: Role| columns.iter().position(|(is, _)| *is == role);
        let price = |role: Role| place(role).unwrap_or(0);
        let prices = match plan.rows {
            Rows::Trades => [price(Role::Price), 0, 0, 0],
            Rows::Quotes => [price(Role::BidPx), price(Role::AskPx), 0, 0],
            Rows::Bars => [Role::Open, Role::High, Role::Low, Role::Close].map(price),
        };
        let sizes = match plan.rows {
            Rows::Trades => [place(Role::Size), None],
            Rows::Quotes => [place(Role::BidSz), place(Role::AskSz)],
            Rows::Bars => [None, None],
        };
        let places = Places {
            ts_event: place(Role::TsEvent),
            ts_recv: place(Role::TsRecv),
            date: place(Role::Date),
            ts_end: place(Role::TsEnd),
            seq: place(Role::Seq),
            symbol: place(Role::Symbol),
            venue: place(Role::Venue),
            side: place(Role::Side),
            buyer_maker: place(Role::BuyerMaker),
            rtype: place(Role::Rtype),
            trades: place(Role::Trades),
            vwap: place(Role::Vwap),
            volume: place(Role::Volume),
            prices,
            sizes,
        };
        Self {
            rows: plan.rows,
            places,
            is_fixed: plan.is_fixed,
            source_name: config.source.clone().unwrap_or_else(|| format!("parquet.{}", plan.rows.name())),
            source: None,
            symbol: None,
            symbol_text: Vec::new(),
            prefix: plan.prefix.clone(),
            text: Vec::new(),
            interval_ns: config.interval_ns,
            units: [None; 3],
            last: Vec::new(),
            number: 0,
            messages: 0,
            bad_rows: 0,
            first_bad_rows: Vec::new(),
        }
    }

    /// Damage, with the row group in which it is.
    pub(super) fn in_group(&self, footer: &Footer, damage: Damage) -> Damage {
        Damage { why: format!("row group {}: {}", footer.next.saturating_sub(1), damage.why), ..damage }
    }

    pub(super) fn bad(&mut self, readers: &[Reader], fault: Fault) {
        self.bad_rows += 1;
        if self.first_bad_rows.len() < BAD_LINES_NAMED_MAX {
            let name = |place: usize| &readers[place].column.name;
            let why = match fault {
                Fault::Missing(place) => format!("{} is missing", name(place)),
                Fault::Number(place, error) => format!("{}: {error}", name(place)),
                Fault::Side(place) => format!("{}: no side that is known", name(place)),
                Fault::NoSymbol(place) => format!("{} is empty", name(place)),
                Fault::Symbol(place) => {
                    format!(
                        "{}: longer than {SYMBOL_BYTES_MAX} bytes with what stands before it, or not printable",
                        name(place)
                    )
                }
                Fault::NoTime => "it has no time".to_owned(),
                Fault::NoInterval => "a bar that does not end after its start".to_owned(),
            };
            self.first_bad_rows.push((self.number, why));
        }
    }

    /// Appends the event of a row.
    pub(super) fn row(
        &mut self,
        readers: &[Reader],
        row: usize,
        catalog: &mut Catalog,
        out: &mut SlotBuf,
    ) -> Result<(), Refusal> {
        self.number += 1;
        let (ts_event, ts_recv) = self.times(readers, row)?;
        let (mut event, scale) = match self.rows {
            Rows::Trades => self.trade(readers, row)?,
            Rows::Quotes => self.quote(readers, row)?,
            Rows::Bars => self.bar(readers, row, ts_event, ts_recv)?,
        };
        let symbol = self.symbol(readers, row, catalog)?;
        let sequence = match self.places.seq {
            Some(place) => {
                let reader = &readers[place];
                let sequence = numbers::count(&reader.column, &reader.cells, row);
                Some(sequence.ok_or(Refusal::Bad(Fault::Missing(place)))?)
            }
            None => None,
        };
        let source = match self.source {
            Some(source) => source,
            None => {
                let rule = if self.places.seq.is_some() { SeqRule::Increasing } else { SeqRule::None };
                let source = catalog.source(self.source_name.as_bytes(), rule).map_err(Refusal::Catalog)?;
                *self.source.insert(source)
            }
        };
        let (seq, part, is_sequenced) = self.sequence(symbol, sequence);
        let flags = if is_sequenced { Flags::NONE } else { Flags::UNSEQUENCED };
        event.flag(flags.with(Flags::LAST));
        let head = event.head_mut();
        head.ts_recv = UnixNanos(ts_recv);
        head.ts_event = UnixNanos(ts_event);
        head.seq = seq;
        head.symbol = symbol;
        head.part = part;
        head.source = source;
        head.scale = scale;
        out.extend(event.slots());
        self.messages += 1;
        Ok(())
    }

    /// A time of a row; `unit` is the place of its unit among those that columns do not say.
    fn time(
        &mut self,
        readers: &[Reader],
        row: usize,
        place: Option<usize>,
        unit: usize,
    ) -> Result<Option<u64>, Fault> {
        let Some(place) = place else { return Ok(None) };
        let Reader { column, cells, .. } = &readers[place];
        numbers::time(column, cells, row, &mut self.units[unit]).map_err(|error| Fault::Number(place, error))
    }

    /// `ts_event` and `ts_recv` of a row. A bar's `ts_recv` is its end.
    fn times(&mut self, readers: &[Reader], row: usize) -> Result<(u64, u64), Fault> {
        let Places { ts_event, ts_recv, date, ts_end, .. } = self.places;
        let mut event = self.time(readers, row, ts_event, 0)?;
        if date.is_some() {
            let day = self.time(readers, row, date, 0)?;
            event = event.zip(day).map(|(time, day)| day.saturating_add(time));
        }
        let recv = self.time(readers, row, ts_recv, 1)?;
        if self.rows == Rows::Bars {
            let start = event.ok_or(Fault::NoTime)?;
            let end = match self.time(readers, row, ts_end, 2)?.filter(|end| *end > 0) {
                Some(end) => Some(whole_end(start, end, self.unit_ns(readers, ts_end))),
                // When it was received tells its length only where nothing else does.
                None => self.interval(readers, row).map(|interval| start.saturating_add(interval)).or(recv),
            };
            return Ok((start, end.ok_or(Fault::NoInterval)?));
        }
        match (event, recv) {
            (None, None) => Err(Fault::NoTime),
            (event, recv) => {
                let event = event.unwrap_or(UnixNanos::UNKNOWN.0);
                Ok((event, recv.unwrap_or(event)))
            }
        }
    }

    /// Length of a bar in ns that the configuration tells, or else the type of its record.
    fn interval(&self, readers: &[Reader], row: usize) -> Option<u64> {
        let rtype = |place: usize| numbers::count(&readers[place].column, &readers[place].cells, row);
        // As DBN numbers its bars: rtype 32 to 35 are those of a second, a minute, an hour and a day.
        self.interval_ns.or_else(|| match self.places.rtype.and_then(rtype)? {
            32 => Some(SECOND_NS),
            33 => Some(60 * SECOND_NS),
            34 => Some(3_600 * SECOND_NS),
            35 | 36 => Some(86_400 * SECOND_NS),
            _ => None,
        })
    }

    /// Unit of a bar's end in ns.
    fn unit_ns(&self, readers: &[Reader], place: Option<usize>) -> u64 {
        match place.map(|place| readers[place].column.meaning) {
            Some(Meaning::Timestamp(unit)) => unit.nanos(),
            _ => self.units[2].map_or(1, Unit::nanos),
        }
    }

    fn price(&self, readers: &[Reader], row: usize, place: usize) -> Result<Option<i64>, Fault> {
        let Reader { column, cells, .. } = &readers[place];
        numbers::price(column, cells, row, self.is_fixed).map_err(|error| Fault::Number(place, error))
    }

    /// A size; none is 0.
    fn size(&self, readers: &[Reader], row: usize, place: Option<usize>) -> Result<(u64, u8), Fault> {
        let Some(place) = place else { return Ok((0, 0)) };
        let Reader { column, cells, .. } = &readers[place];
        let size = numbers::size(column, cells, row).map_err(|error| Fault::Number(place, error))?;
        Ok(size.unwrap_or((0, 0)))
    }

    fn trade(&self, readers: &[Reader], row: usize) -> Result<(EventBuf, u8), Fault> {
        let place = self.places.prices[0];
        let price = self.price(readers, row, place)?.ok_or(Fault::Missing(place))?;
        let place = self.places.sizes[0];
        let has_size = place.is_some_and(|place| readers[place].cells.has[row]);
        if !has_size {
            return Err(Fault::Missing(place.unwrap_or(0)));
        }
        let (size, scale) = self.size(readers, row, place)?;
        let side = self.side(readers, row)? as u8;
        Ok((EventBuf::new(&Trade { price, size, side, ..Trade::default() }), scale))
    }

    fn side(&self, readers: &[Reader], row: usize) -> Result<Side, Fault> {
        if let Some(place) = self.places.side {
            let cells = &readers[place].cells;
            if !cells.has[row] {
                return Ok(Side::None);
            }
            return match &cells.values {
                Values::Int(values) => match values[row] {
                    0 => Ok(Side::None),
                    1 => Ok(Side::Bid),
                    -1 | 2 => Ok(Side::Ask),
                    _ => Err(Fault::Side(place)),
                },
                _ => side_of(cells.bytes(row)).ok_or(Fault::Side(place)),
            };
        }
        let Some(place) = self.places.buyer_maker else { return Ok(Side::None) };
        let cells = &readers[place].cells;
        match &cells.values {
            Values::Int(values) if cells.has[row] => Ok(if values[row] == 0 { Side::Bid } else { Side::Ask }),
            _ => Ok(Side::None),
        }
    }

    fn quote(&self, readers: &[Reader], row: usize) -> Result<(EventBuf, u8), Fault> {
        let [bid, ask, ..] = self.places.prices;
        let bid_px = self.price(readers, row, bid)?.unwrap_or(PRICE_UNDEFINED);
        let ask_px = self.price(readers, row, ask)?.unwrap_or(PRICE_UNDEFINED);
        let [bid_place, ask_place] = self.places.sizes;
        let sizes = (self.size(readers, row, bid_place)?, self.size(readers, row, ask_place)?);
        let common = decimal::common(sizes.0, sizes.1);
        let place = bid_place.or(ask_place).unwrap_or(bid);
        let (bid_sz, ask_sz, scale) = common.map_err(|error| Fault::Number(place, error.into()))?;
        if let (Ok(bid_sz), Ok(ask_sz)) = (u32::try_from(bid_sz), u32::try_from(ask_sz)) {
            return Ok((EventBuf::new(&Quote { bid_px, ask_px, bid_sz, ask_sz }), scale));
        }
        let mut event = EventBuf::new(&Quote { bid_px, ask_px, bid_sz: 0, ask_sz: 0 });
        event.flag(Flags::WIDE);
        let wide = QuoteWide { bid_sz, ask_sz, price: PRICE_UNDEFINED, ..QuoteWide::default() };
        event.push_value(&wide).expect("two slots are not too many");
        Ok((event, scale))
    }

    /// A bar from `start` to `end`.
    fn bar(&self, readers: &[Reader], row: usize, start: u64, end: u64) -> Result<(EventBuf, u8), Fault> {
        let mut prices = [0; 4];
        for (price, place) in prices.iter_mut().zip(self.places.prices) {
            *price = self.price(readers, row, place)?.ok_or(Fault::Missing(place))?;
        }
        let [open, high, low, close] = prices;
        let (volume, scale) = self.size(readers, row, self.places.volume)?;
        let count = |place: Option<usize>| {
            place.and_then(|place| numbers::count(&readers[place].column, &readers[place].cells, row))
        };
        let interval_ns = end.checked_sub(start).filter(|interval| *interval > 0).ok_or(Fault::NoInterval)?;
        let vwap = match self.places.vwap {
            Some(place) => self.price(readers, row, place)?.unwrap_or(0),
            None => 0,
        };
        let mut event = EventBuf::new(&Bar { open, high, low });
        let trades = count(self.places.trades).unwrap_or(0);
        let rest = BarRest { close, volume, interval_ns, trades, vwap, ..BarRest::default() };
        event.push_value(&rest).expect("a bar has two slots");
        Ok((event, scale))
    }

    fn symbol(&mut self, readers: &[Reader], row: usize, catalog: &mut Catalog) -> Result<SymbolId, Refusal> {
        let Some(place) = self.places.symbol else {
            return match (self.symbol, &self.prefix) {
                (Some(symbol), _) => Ok(symbol),
                (None, text) => {
                    let text = text.as_deref().unwrap_or_default();
                    Ok(*self.symbol.insert(catalog.symbol(text.as_bytes()).map_err(Refusal::Catalog)?))
                }
            };
        };
        self.text.clear();
        self.text.extend_from_slice(self.prefix.as_deref().unwrap_or_default().as_bytes());
        if let Some(venue) =
            self.places.venue.map(|venue| readers[venue].cells.bytes(row)).filter(|text| !text.is_empty())
        {
            self.text.extend_from_slice(venue);
            self.text.push(b':');
        }
        let Reader { column, cells, .. } = &readers[place];
        if !cells.has[row] {
            return Err(Fault::Missing(place).into());
        }
        match &cells.values {
            Values::Int(_) => match numbers::count(column, cells, row) {
                Some(number) => write!(self.text, "#{number}").expect("a vector takes all"),
                None => return Err(Fault::NoSymbol(place).into()),
            },
            _ => {
                let text = cells.bytes(row).trim_ascii();
                if text.is_empty() {
                    return Err(Fault::NoSymbol(place).into());
                }
                self.text.extend_from_slice(text);
            }
        }
        if let Some(symbol) = self.symbol.filter(|_| self.text == self.symbol_text) {
            return Ok(symbol);
        }
        if !is_symbol(&self.text) {
            return Err(Fault::Symbol(place).into());
        }
        let symbol = catalog.symbol(&self.text).map_err(Refusal::Catalog)?;
        std::mem::swap(&mut self.text, &mut self.symbol_text);
        Ok(*self.symbol.insert(symbol))
    }

    /// Number and part of a row, and whether they tell it from all others.
    fn sequence(&mut self, symbol: SymbolId, sequence: Option<u64>) -> (u64, u16, bool) {
        if self.last.len() <= symbol.index() {
            self.last.resize(symbol.index() + 1, (0, 0));
        }
        let (last, next_part) = &mut self.last[symbol.index()];
        let Some(sequence) = sequence else {
            *last += 1;
            return (*last, 0, false);
        };
        if *last != sequence {
            (*last, *next_part) = (sequence, 0);
        }
        let part = *next_part;
        *next_part = (part + 1).min(PARTS_MAX);
        (sequence, part.min(PARTS_MAX - 1) as u16, part < PARTS_MAX)
    }
}

/// The end of a bar: one unit later where it is the last ms or µs within, so that the interval is whole seconds.
fn whole_end(start: u64, end: u64, unit_ns: u64) -> u64 {
    let later = end.saturating_add(unit_ns);
    let is_whole = |end: u64| end > start && (end - start).is_multiple_of(SECOND_NS);
    if !is_whole(end) && is_whole(later) { later } else { end }
}

/// The side that a text names, whatever its case: of the aggressor.
fn side_of(text: &[u8]) -> Option<Side> {
    let is = |names: &[&str]| names.iter().any(|name| text.eq_ignore_ascii_case(name.as_bytes()));
    if is(&["buy", "b", "bid", "buyer", "bids"]) {
        Some(Side::Bid)
    } else if is(&["sell", "s", "a", "ask", "seller", "asks"]) {
        Some(Side::Ask)
    } else if is(&["", "n", "none", "unknown", "no_aggressor"]) {
        Some(Side::None)
    } else {
        None
    }
}
