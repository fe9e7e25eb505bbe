//! The keys of the column map: what the columns of a CSV are.

use super::key::{Key, Section, Stored, words};
use super::value::{Form, Value};
use crate::input::csv::{BarTime, Column, CsvKind, Delimiter, SideIs, TimeUnit};

words!(
    CsvKind,
    KINDS,
    "trade" = CsvKind::Trade,
    "quote" = CsvKind::Quote,
    "book_level" = CsvKind::BookLevel,
    "bar" = CsvKind::Bar
);
words!(
    Delimiter,
    DELIMITERS,
    "comma" = Delimiter::Comma,
    "semicolon" = Delimiter::Semicolon,
    "tab" = Delimiter::Tab,
    "pipe" = Delimiter::Pipe
);
words!(
    TimeUnit,
    UNITS,
    "ns" = TimeUnit::Nanos,
    "us" = TimeUnit::Micros,
    "ms" = TimeUnit::Millis,
    "s" = TimeUnit::Seconds,
    "text" = TimeUnit::Text
);
words!(SideIs, SIDES, "aggressor" = SideIs::Aggressor, "maker" = SideIs::Maker);
words!(BarTime, BAR_TIMES, "start" = BarTime::Start, "end" = BarTime::End);

/// Longest interval of a bar, ns: a year.
const INTERVAL_NS_MAX: u64 = 366 * 86_400_000_000_000;

/// A row of a field of the map.
macro_rules! map_key {
    ($name:literal, $form:expr, $field:ident, $doc:literal) => {
        Key::new(
            $name,
            $form,
            $doc,
            |config, _| Stored::value(&config.csv.$field),
            |config, _, value| config.csv.$field = Stored::stored(value),
        )
    };
}

/// A row of a column.
macro_rules! column_key {
    ($name:literal, $column:ident, $doc:literal) => {
        Key::new(
            $name,
            Form::Column,
            $doc,
            |config, _| Stored::value(&config.csv.columns[Column::$column as usize]),
            |config, _, value| config.csv.columns[Column::$column as usize] = Stored::stored(value),
        )
        .unset("none", "there is none")
    };
}

/// The section of the map.
pub(super) const CSV: Section = Section {
    path: "csv",
    doc: "What the columns of CSV captures are that do not say it themselves, as Tardis's do. A column is its name in the header, or its number from 1 \
             where there is none. All captures of one command share the map; also of info, dump and import, by --config and --set.",
    names: None,
    keys: &[
        map_key!(
            "kind",
            Form::Choice(KINDS),
            kind,
            "What a row becomes. Rows of levels in a run that agree in symbol, times and number are one message."
        )
        .unset("none", "there is no map"),
        map_key!("header", Form::Switch, header, "Whether the first line names the columns."),
        map_key!("delimiter", Form::Choice(DELIMITERS), delimiter, "What separates fields.")
            .unset("auto", "the first of these with which the first line has all columns"),
        column_key!("symbol", Symbol, "Column of the symbol."),
        map_key!(
            "prefix",
            Form::Symbol,
            prefix,
            "What stands before each symbol; the whole symbol where no column has one."
        )
        .unset("none", "nothing"),
        map_key!("source", Form::Symbol, source, "Name of the source of the events, at most 64 bytes.")
            .unset("auto", "csv. and the kind"),
        column_key!("time", Time, "Column of ts_event, when it happened by the source's clock."),
        column_key!(
            "recv_time",
            RecvTime,
            "Column of ts_recv, when it was received. Without it ts_recv is ts_event; of a bar, its end."
        ),
        map_key!(
            "time_unit",
            Form::Choice(UNITS),
            unit,
            "How times are written: numbers in a unit, fractions exact, or ISO 8601 as text (2024-01-02T14:30:00.123Z)."
        )
        .unset("auto", "by the look of each: text, or since 1970 by its number of digits"),
        column_key!(
            "date",
            Day,
            "Day of times of day, 2024-01-02, or the column of it. Times are then since midnight, or 14:30:00.123 as text."
        ),
        map_key!("zone", Form::Zone, zone, "Time zone of times of day, and of texts without an offset."),
        column_key!(
            "seq",
            Seq,
            "Column of a number that identifies a message within its symbol: duplicates are told by it. Without it, or where it is empty, events are unsequenced."
        ),
        column_key!("price", Price, "Column of the price of a trade or level."),
        column_key!("size", Size, "Column of the size of a trade or level; a level of 0 is deleted."),
        column_key!(
            "side",
            Side,
            "Column of the side: buy or bid, sell or ask, also b, s, a, 1, -1, true (buy), false."
        ),
        map_key!(
            "side_is",
            Form::Choice(SIDES),
            side_is,
            "Whose side a trade's is: who took liquidity, or who was in the book, as in is_buyer_maker."
        ),
        column_key!(
            "snapshot",
            Snapshot,
            "Column that says whether a level is one of a snapshot, true or false. A snapshot begins with a clear."
        ),
        column_key!("orders", Orders, "Column of the number of orders of a level."),
        column_key!("bid_px", BidPx, "Column of the best bid; empty = there is none."),
        column_key!("bid_sz", BidSz, "Column of the size at the best bid."),
        column_key!("ask_px", AskPx, "Column of the best offer; empty = there is none."),
        column_key!("ask_sz", AskSz, "Column of the size at the best offer."),
        column_key!("open", Open, "Column of the first price of a bar."),
        column_key!("high", High, "Column of the highest price of a bar."),
        column_key!("low", Low, "Column of the lowest price of a bar."),
        column_key!("close", Close, "Column of the last price of a bar."),
        column_key!("volume", Volume, "Column of the size traded in a bar."),
        column_key!("trade_count", Trades, "Column of the number of trades in a bar."),
        column_key!("vwap", Vwap, "Column of the volume-weighted price of a bar."),
        map_key!("interval", Form::Time { min: 1, max: INTERVAL_NS_MAX, step: 1 }, interval_ns, "Length of the bars."),
        map_key!("bar_time", Form::Choice(BAR_TIMES), bar_time, "Which end of its interval the time of a bar is."),
    ],
};
