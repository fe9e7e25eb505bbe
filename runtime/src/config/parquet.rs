//! The keys of the map of columns of Parquet files. They are called as those of `[csv]`.

use super::key::{Key, Section, Stored, words};
use super::value::{Form, Value};
use crate::input::parquet::{Role, Rows};

words!(Rows, KINDS, "trade" = Rows::Trades, "quote" = Rows::Quotes, "bar" = Rows::Bars);

/// Longest interval of a bar, ns: a year.
const INTERVAL_NS_MAX: u64 = 366 * 86_400_000_000_000;

/// A row of a field of the map.
macro_rules! map_key {
    ($name:literal, $form:expr, $field:ident, $doc:literal) => {
        Key::new(
            $name,
            $form,
            $doc,
            |config, _| Stored::value(&config.parquet.$field),
            |config, _, value| config.parquet.$field = Stored::stored(value),
        )
    };
}

/// A row of a column.
macro_rules! column_key {
    ($name:literal, $role:ident, $doc:literal) => {
        Key::new(
            $name,
            Form::Column,
            $doc,
            |config, _| Stored::value(&config.parquet.columns.get(&Role::$role).cloned()),
            |config, _, value| match Option::<String>::stored(value) {
                Some(name) => drop(config.parquet.columns.insert(Role::$role, name)),
                None => drop(config.parquet.columns.remove(&Role::$role)),
            },
        )
        .unset("auto", "by the usual names")
    };
}

/// The section of the map.
pub(super) const PARQUET: Section = Section {
    path: "parquet",
    doc: "What the columns of Parquet captures are where their names do not tell. All captures of one command share the map; also of info, \
             dump and import, by --config and --set.",
    names: None,
    keys: &[
        map_key!("kind", Form::Choice(KINDS), rows, "What a row becomes.")
            .unset("auto", "by the columns that there are"),
        map_key!(
            "prefix",
            Form::Symbol,
            prefix,
            "What stands before each symbol; the whole symbol where no column has one."
        )
        .unset("auto", "nothing; without a column of symbols, what the name of the file begins with"),
        map_key!("source", Form::Symbol, source, "Name of the source of the events, at most 64 bytes.")
            .unset("auto", "parquet. and the kind"),
        map_key!(
            "interval",
            Form::Time { min: 1, max: INTERVAL_NS_MAX, step: 1 },
            interval_ns,
            "Length of bars, where no column has their end."
        )
        .unset("none", "bars need a column with their end, or DBN's rtype"),
        column_key!("time", TsEvent, "Column of ts_event, when it happened; of a bar, its start."),
        column_key!("recv_time", TsRecv, "Column of ts_recv, when it was received."),
        column_key!("date", Date, "Column of the day of times of day."),
        column_key!("end_time", TsEnd, "Column of the end of a bar."),
        column_key!(
            "seq",
            Seq,
            "Column of a number that identifies a message within its symbol: duplicates are told by it."
        ),
        column_key!("symbol", Symbol, "Column of the symbol."),
        column_key!("exchange", Venue, "Column of the exchange, which stands before the symbol."),
        column_key!(
            "side",
            Side,
            "Column of the aggressor's side: buy or bid, sell or ask, also b, s, a, n; 1, -1 or 2, 0."
        ),
        column_key!(
            "buyer_maker",
            BuyerMaker,
            "Column that says whether the buyer was in the book, so that the seller is the aggressor."
        ),
        column_key!("price", Price, "Column of the price of a trade."),
        column_key!("size", Size, "Column of the size of a trade."),
        column_key!("bid_px", BidPx, "Column of the best bid."),
        column_key!("bid_sz", BidSz, "Column of the size at the best bid."),
        column_key!("ask_px", AskPx, "Column of the best offer."),
        column_key!("ask_sz", AskSz, "Column of the size at the best offer."),
        column_key!("open", Open, "Column of the first price of a bar."),
        column_key!("high", High, "Column of the highest price of a bar."),
        column_key!("low", Low, "Column of the lowest price of a bar."),
        column_key!("close", Close, "Column of the last price of a bar."),
        column_key!("volume", Volume, "Column of the size traded in a bar."),
        column_key!("trade_count", Trades, "Column of the number of trades in a bar."),
        column_key!("vwap", Vwap, "Column of the volume-weighted price of a bar."),
        column_key!("rtype", Rtype, "Column of DBN's record type, which tells the interval of a bar."),
    ],
};
