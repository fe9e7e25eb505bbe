//! What the columns of a CSV are: as a configuration says it by name, and as a header resolves it.

use super::row::Row;
use super::time::{TimeUnit, day};
use std::fmt;
use tapeline_core::limits::SOURCE_BYTES_MAX;

/// What a row becomes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CsvKind {
    /// A `trade`.
    Trade,
    /// A `quote`.
    Quote,
    /// A `book_level`; rows of one symbol and time in a run are one message.
    BookLevel,
    /// A `bar`.
    Bar,
}

impl CsvKind {
    /// Name of the kind of event.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Trade => "trade",
            Self::Quote => "quote",
            Self::BookLevel => "book_level",
            Self::Bar => "bar",
        }
    }

    /// Columns without which there is no such event.
    const fn needs(self) -> &'static [Column] {
        match self {
            Self::Trade => &[Column::Price, Column::Size],
            Self::Quote => &[Column::BidPx, Column::AskPx],
            Self::BookLevel => &[Column::Price, Column::Size, Column::Side],
            Self::Bar => &[Column::Open, Column::High, Column::Low, Column::Close],
        }
    }
}

macro_rules! columns {
    ($($(#[$doc:meta])* $column:ident = $key:literal;)*) => {
        /// A column that means something, as an index.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        #[repr(usize)]
        pub enum Column { $($(#[$doc])* $column,)* }

        /// How many [`Column`]s there are.
        pub const COLUMNS: usize = ALL.len();

        /// All of them, in their order, with their keys in the configuration.
        const ALL: &[(Column, &str)] = &[$((Column::$column, $key)),*];
    };
}

columns! {
    /// When it happened, by the source's clock.
    Time = "time";
    /// When it was received.
    RecvTime = "recv_time";
    /// The day of a time of day; in a [`ColumnMap`] also the day itself.
    Day = "date";
    /// The symbol.
    Symbol = "symbol";
    /// A number that identifies the message.
    Seq = "seq";
    /// Price of a trade or a level.
    Price = "price";
    /// Size of a trade or a level.
    Size = "size";
    /// Side of a trade or a level.
    Side = "side";
    /// Whether a level is part of a snapshot.
    Snapshot = "snapshot";
    /// Orders of a level.
    Orders = "orders";
    /// Best bid.
    BidPx = "bid_px";
    /// Size at the best bid.
    BidSz = "bid_sz";
    /// Best offer.
    AskPx = "ask_px";
    /// Size at the best offer.
    AskSz = "ask_sz";
    /// First price of a bar.
    Open = "open";
    /// Highest price of a bar.
    High = "high";
    /// Lowest price of a bar.
    Low = "low";
    /// Last price of a bar.
    Close = "close";
    /// Size traded in a bar.
    Volume = "volume";
    /// Trades in a bar.
    Trades = "trade_count";
    /// Volume-weighted price of a bar.
    Vwap = "vwap";
    /// The exchange that the symbol is of (Tardis).
    Exchange = "exchange";
}

impl Column {
    /// Its key in the configuration, below `csv`. That of the exchange is none: only Tardis has it.
    #[must_use]
    pub const fn key(self) -> &'static str {
        ALL[self as usize].1
    }
}

/// What separates fields.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Delimiter {
    /// `,`
    Comma,
    /// `;`
    Semicolon,
    /// A tabulator.
    Tab,
    /// `|`
    Pipe,
}

impl Delimiter {
    /// All of them, in the order in which they are tried.
    pub(super) const ALL: [Self; 4] = [Self::Comma, Self::Semicolon, Self::Tab, Self::Pipe];

    const fn byte(self) -> u8 {
        match self {
            Self::Comma => b',',
            Self::Semicolon => b';',
            Self::Tab => b'\t',
            Self::Pipe => b'|',
        }
    }
}

/// Whose side the column of a trade's side tells.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SideIs {
    /// That of who took liquidity.
    Aggressor,
    /// That of who was in the book, as in `is_buyer_maker`.
    Maker,
}

/// Which end of its interval the time of a bar is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BarTime {
    /// Its beginning.
    Start,
    /// Its end.
    End,
}

/// The columns of a CSV as a configuration says them. A column is its name in the header, or its number from 1 where there is none.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ColumnMap {
    /// What a row becomes; `None` = there is no map.
    pub kind: Option<CsvKind>,
    /// What separates fields; `None` = the first of `, ; tab |` that finds all columns.
    pub delimiter: Option<Delimiter>,
    /// Whether the first line names the columns.
    pub header: bool,
    /// Columns, by [`Column`].
    pub columns: [Option<String>; COLUMNS],
    /// How times are written; `None` = by the look of each.
    pub unit: Option<TimeUnit>,
    /// Zone of times without an offset of their own, by its name of the IANA.
    pub zone: String,
    /// What stands before each symbol; all of it where no column has one.
    pub prefix: Option<String>,
    /// Name of the source; `None` = `csv.` and the kind.
    pub source: Option<String>,
    /// Whose side a trade's is.
    pub side_is: SideIs,
    /// Length of a bar's interval, ns.
    pub interval_ns: u64,
    /// Which end of its interval a bar's time is.
    pub bar_time: BarTime,
}

impl Default for ColumnMap {
    fn default() -> Self {
        Self {
            kind: None,
            delimiter: None,
            header: true,
            columns: [const { None }; COLUMNS],
            unit: None,
            zone: "UTC".to_owned(),
            prefix: None,
            source: None,
            side_is: SideIs::Aggressor,
            interval_ns: 60_000_000_000,
            bar_time: BarTime::Start,
        }
    }
}

impl ColumnMap {
    /// What is missing for a row to become an event: the key, and what is wrong.
    #[must_use]
    pub fn check(&self) -> Option<(&'static str, String)> {
        let kind = self.kind?;
        let name = kind.name();
        if self.named(Column::Time).is_none() && self.named(Column::RecvTime).is_none() {
            return Some(("time", format!("which column has the time of a {name}? (or csv.recv_time)")));
        }
        if self.named(Column::Symbol).is_none() && self.prefix.is_none() {
            return Some((
                "symbol",
                format!("which column has the symbol of a {name}? (or csv.prefix: the symbol of all)"),
            ));
        }
        let missing = kind.needs().iter().find(|column| self.named(**column).is_none());
        if let Some(column) = missing {
            return Some((column.key(), format!("which column is it? A {name} needs one")));
        }
        if let Some(source) = self.source.as_ref().filter(|source| source.len() > SOURCE_BYTES_MAX) {
            return Some(("source", format!("{} bytes are more than {SOURCE_BYTES_MAX}", source.len())));
        }
        let is_bad = |(_, name): &(Column, &str)| !self.header && number(name).is_none();
        let (column, name) = self.all_named().find(is_bad)?;
        Some((column.key(), format!("\"{name}\" is no number of a column, and csv.header is off")))
    }

    fn named(&self, column: Column) -> Option<&str> {
        self.columns[column as usize].as_deref()
    }

    /// The columns that have a name, with it.
    fn all_named(&self) -> impl Iterator<Item = (Column, &str)> {
        let fixed = self.fixed_day().is_some();
        let columns = ALL.iter().filter(move |(column, _)| !(fixed && *column == Column::Day));
        columns.filter_map(|(column, _)| Some((*column, self.named(*column)?)))
    }

    /// The day of all times of day, where the map says it itself.
    pub(super) fn fixed_day(&self) -> Option<&str> {
        self.named(Column::Day).filter(|text| day(text.as_bytes()).is_some())
    }

    /// The columns in a file that begins with the line `first`.
    pub(super) fn resolve(&self, first: &[u8]) -> Result<Resolved, MapError> {
        let delimiters = self.delimiter.map_or(Delimiter::ALL.to_vec(), |delimiter| vec![delimiter]);
        // The error is that of the delimiter that finds most fields.
        let mut best = (0, MapError::NotText);
        for delimiter in delimiters.into_iter().map(Delimiter::byte) {
            let mut row = Row::default();
            if row.split(first, delimiter).is_err() {
                continue;
            }
            match self.resolve_in(first, &row) {
                Ok(at) => return Ok(Resolved { delimiter, width: row.len(), at }),
                Err(error) if row.len() > best.0 => best = (row.len(), error),
                Err(_) => {}
            }
        }
        Err(best.1)
    }

    fn resolve_in(&self, first: &[u8], row: &Row) -> Result<Places, MapError> {
        let mut at = [None; COLUMNS];
        for (column, name) in self.all_named() {
            let found = if self.header {
                row.fields(first).position(|field| field == name.as_bytes())
            } else {
                number(name).map(|number| number - 1).filter(|index| *index < row.len())
            };
            let missing = || MapError::Missing { key: column.key(), name: name.to_owned(), header: self.header };
            at[column as usize] = Some(found.ok_or_else(missing)?);
        }
        Ok(at)
    }
}

/// Numbers that a column may have.
const COLUMN_NUMBERS: std::ops::RangeInclusive<usize> = 1..=4_096;

fn number(text: &str) -> Option<usize> {
    text.parse().ok().filter(|number| COLUMN_NUMBERS.contains(number))
}

/// Index of the field of each column.
pub(super) type Places = [Option<usize>; COLUMNS];

/// A map in a file.
pub(super) struct Resolved {
    pub(super) delimiter: u8,
    /// Fields of a row.
    pub(super) width: usize,
    pub(super) at: Places,
}

/// Why a file is not what the map says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum MapError {
    NotText,
    Missing { key: &'static str, name: String, header: bool },
}

impl fmt::Display for MapError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotText => f.write_str("its first line is no line of a CSV"),
            Self::Missing { key, name, header: true } => {
                write!(f, "its first line names no column \"{name}\", which csv.{key} of the configuration asks for")
            }
            Self::Missing { key, name, header: false } => {
                write!(f, "its first line has no column {name}, which csv.{key} of the configuration asks for")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_in_the_order_of_their_keys() {
        for (index, (column, _)) in ALL.iter().enumerate() {
            assert_eq!(*column as usize, index);
        }
        assert_eq!((Column::Vwap.key(), Column::Day.key()), ("vwap", "date"));
    }

    fn map(columns: &[(Column, &str)]) -> ColumnMap {
        let mut map = ColumnMap { kind: Some(CsvKind::Trade), ..ColumnMap::default() };
        for (column, name) in columns {
            map.columns[*column as usize] = Some((*name).to_owned());
        }
        map
    }

    #[test]
    fn what_is_missing_is_told_by_its_key() {
        let mut map = map(&[]);
        for (key, column) in
            [("time", Column::RecvTime), ("symbol", Column::Symbol), ("price", Column::Price), ("size", Column::Size)]
        {
            assert_eq!(map.check().unwrap().0, key);
            map.columns[column as usize] = Some("x".to_owned());
        }
        assert_eq!(map.check(), None);
        map.header = false;
        assert_eq!(map.check().unwrap().0, "recv_time");
        for (index, name) in map.columns.iter_mut().enumerate() {
            *name = name.take().map(|_| (index + 1).to_string());
        }
        assert_eq!(map.check(), None);
        map.columns[Column::Day as usize] = Some("2024-01-02".to_owned());
        assert_eq!(map.check(), None);
        map.columns[Column::Day as usize] = Some("day".to_owned());
        assert_eq!(map.check().unwrap().0, "date");
        map.kind = None;
        assert_eq!(map.check(), None);
    }

    #[test]
    fn a_header_is_resolved_by_the_delimiter_that_finds_all_columns() {
        let map = map(&[(Column::Time, "t"), (Column::Price, "last,px"), (Column::Size, "q")]);
        let resolved = map.resolve(b"q;t;last,px;x").unwrap();
        assert_eq!((resolved.delimiter, resolved.width), (b';', 4));
        assert_eq!(resolved.at[Column::Price as usize], Some(2));
        let resolved = map.resolve(b"q,t,\"last,px\"").unwrap();
        assert_eq!((resolved.delimiter, resolved.at[Column::Time as usize]), (b',', Some(1)));
        let error = map.resolve(b"q,t,px,x").err().unwrap().to_string();
        assert_eq!(error, "its first line names no column \"last,px\", which csv.price of the configuration asks for");
        assert!(map.resolve(b"").is_err());
    }
}
