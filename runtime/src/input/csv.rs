//! CSV: the data sets of Tardis, told by their header, and any other by a map of its columns.
//!
//! # Tardis
//! As `docs.tardis.dev` ("Downloadable CSV files", "Data types") describes them: commas, one line a row, times in µs since 1970.
//!
//! | data set | told by the columns | events | source |
//! |---|---|---|---|
//! | `trades` | `id`, `side`, `price`, `amount` | 1 `trade`; its side is the aggressor's | `tardis.<exchange>.trades` |
//! | `quotes` | `ask_amount`, `ask_price`, `bid_price`, `bid_amount` | 1 `quote`; an empty price is undefined | `tardis.<exchange>.quotes` |
//! | `incremental_book_L2` | `is_snapshot`, `side`, `price`, `amount` | 1 `book_level` a row; a snapshot begins with a clear | `tardis.<exchange>.incremental_book_L2` |
//! | `book_snapshot_5`, `_25` | `asks[0].price`, ... | 1 clear, 1 `book_level` a level, bids first | `tardis.<exchange>.book_snapshot` |
//!
//! - `exchange`, `symbol`, `timestamp` and `local_timestamp` are in all of them; the order of columns does not matter, and further ones are
//!   passed. `ts_event` is `timestamp`, `ts_recv` is `local_timestamp`. Symbols are `<exchange>:<symbol>`.
//! - `seq` is the `id` of a trade where that is a number of 64 bits; other ids (many exchanges give UUIDs, or none) identify nothing here, and
//!   those trades are `UNSEQUENCED`, as are all other data sets. Trades in a row that share an id have successive parts.
//! - Rows of `incremental_book_L2` in a run that agree in symbol, both times and `is_snapshot` are one message. A snapshot begins, with a clear,
//!   where `is_snapshot` turns true; that it may consist of several messages is why a later one does not begin it anew. A message of more
//!   than [`MESSAGE_SLOTS_MAX`] rows becomes several.
//! - Books of `book_snapshot_*` are `book_level`s and no `book_depth`, whose sizes of 32 bits under one scale do not hold every row exactly.
//! - `liquidations` have the header of `trades`, and `book_ticker` that of `quotes`: they are read as those. `derivative_ticker` and
//!   `options_chain` have no kind here.
//! - Tardis ends every line: a last one without its end was cut short, and is bad, since `1.5` may be what is left of `1.52`.
//!
//! # A map
//! [`ColumnMap`] names the columns: see `[csv]` in `tapeline config reference`. The first line is a header, or columns go by their number.
//! Times are numbers in a unit or ISO 8601, whole or of a day. A last line without its end is a row (RFC 4180).
//!
//! # Both
//! Prices and sizes are exact; exponents are understood. `\r\n` and a byte order mark are. Fields may be quoted; a quoted field ends on its
//! line. A row that lacks a field, or has one too many, or has a value that is none, is *bad*: counted, named, and nothing of it is kept. Lines
//! that are longer than the limit are, too, without being held.

mod map;
mod row;
mod rows;
mod time;

pub use map::{BarTime, COLUMNS, Column, ColumnMap, CsvKind, Delimiter, SideIs};
pub use time::TimeUnit;

use super::bytes::ByteSource;
use super::lines::Lines;
use super::{Input, InputError, SlotBuf, Status, Tally};
use map::Resolved;
use row::Row;
use rows::{BYTE_ORDER_MARK, Layout, LevelPlaces, Rows, Shape};
use tapeline_core::catalog::Catalog;

#[cfg(doc)]
use super::MESSAGE_SLOTS_MAX;

/// Levels of a book that are told apart: more than any data set has.
const LEVELS_MAX: usize = 128;

/// A CSV that is being decoded.
///
/// After its start a row allocates nothing, but for a symbol other than the row's before, a row that is longer than any before, and the bad
/// lines that are named.
pub struct CsvInput(Lines<Rows>);

impl CsvInput {
    /// What `start`, the first bytes of a file, begins, if that is a data set of Tardis, or what the map says.
    ///
    /// # Errors
    /// What the file lacks, where there is a map and the file is neither.
    pub(super) fn recognise(start: &[u8], map: Option<&ColumnMap>) -> Result<Option<CsvLayout>, String> {
        let first = first_line(start);
        let mapped = map.and_then(|map| Some((map, map.kind?))).map(|(map, kind)| Layout::of_map(map, kind, first));
        match (mapped, tardis(first)) {
            (Some(Ok(layout)), _) | (_, Some(layout)) => Ok(Some(CsvLayout(layout))),
            (Some(Err(error)), None) => Err(error.to_string()),
            (None, None) => Ok(None),
        }
    }

    /// Decodes `source`, which begins as the layout was recognised. Lines longer than `line_bytes_max` are bad.
    #[must_use]
    pub(super) fn new(source: ByteSource, layout: CsvLayout, line_bytes_max: usize) -> Self {
        Self(Lines::new(source, line_bytes_max, Rows::new(layout.0)))
    }
}

/// What the rows of a file are.
pub(super) struct CsvLayout(Layout);

impl Input for CsvInput {
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

/// The first line without its end and without a byte order mark.
fn first_line(start: &[u8]) -> &[u8] {
    let line = start.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let line = line.strip_prefix(BYTE_ORDER_MARK).unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// The data set of Tardis whose header that is.
fn tardis(header: &[u8]) -> Option<Layout> {
    let mut row = Row::default();
    row.split(header, b',').ok()?;
    let place = |name: &str| row.fields(header).position(|field| field == name.as_bytes());
    let mut columns = Resolved { delimiter: b',', width: row.len(), at: [None; COLUMNS] };
    let mut take = |columns_of: &[(Column, &str)]| {
        let mut at = columns.at;
        for (column, name) in columns_of {
            at[*column as usize] = Some(place(name)?);
        }
        columns.at = at;
        Some(())
    };
    take(&[
        (Column::Exchange, "exchange"),
        (Column::Symbol, "symbol"),
        (Column::Time, "timestamp"),
        (Column::RecvTime, "local_timestamp"),
    ])?;
    let level = [(Column::Side, "side"), (Column::Price, "price"), (Column::Size, "amount")];
    let quote = [
        (Column::AskSz, "ask_amount"),
        (Column::AskPx, "ask_price"),
        (Column::BidPx, "bid_price"),
        (Column::BidSz, "bid_amount"),
    ];
    let is_level = take(&level).is_some();
    if is_level && take(&[(Column::Snapshot, "is_snapshot")]).is_some() {
        return Some(Layout::of_tardis("incremental_book_L2", Shape::BookLevel, columns));
    }
    if is_level && take(&[(Column::Seq, "id")]).is_some() {
        return Some(Layout::of_tardis("trades", Shape::Trade, columns));
    }
    // Options have quotes of their own, among much else.
    if take(&quote).is_some() && place("strike_price").is_none() {
        return Some(Layout::of_tardis("quotes", Shape::Quote, columns));
    }
    let levels: Vec<LevelPlaces> = (0..LEVELS_MAX)
        .map_while(|level| {
            let [ask_px, ask_sz, bid_px, bid_sz] =
                ["asks price", "asks amount", "bids price", "bids amount"].map(|name| {
                    let (side, value) = name.split_once(' ')?;
                    place(&format!("{side}[{level}].{value}"))
                });
            Some([ask_px?, ask_sz?, bid_px?, bid_sz?])
        })
        .collect();
    (!levels.is_empty()).then(|| Layout::of_tardis("book_snapshot", Shape::Book(levels), columns))
}
