//! Which column is what: by the map that is given, else by the names that are usual.

use super::footer::{Column, Meaning, Physical};
use std::collections::BTreeMap;
use tapeline_core::limits::SYMBOL_BYTES_MAX;

/// What the rows of a file are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rows {
    /// A trade each.
    Trades,
    /// A best bid and offer each.
    Quotes,
    /// A bar each.
    Bars,
}

impl Rows {
    /// All there are.
    pub const ALL: [Self; 3] = [Self::Trades, Self::Quotes, Self::Bars];

    /// Name of the kind of event.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Trades => "trade",
            Self::Quotes => "quote",
            Self::Bars => "bar",
        }
    }

    /// What rows of it cannot do without, beside a time.
    const fn needs(self) -> &'static [Role] {
        match self {
            Self::Trades => &[Role::Price, Role::Size],
            Self::Quotes => &[Role::BidPx, Role::AskPx],
            Self::Bars => &[Role::Open, Role::High, Role::Low, Role::Close],
        }
    }

    /// What else is read of it.
    const fn takes(self) -> &'static [Role] {
        match self {
            Self::Trades => &[Role::Side, Role::BuyerMaker, Role::Seq],
            Self::Quotes => &[Role::BidSz, Role::AskSz, Role::Seq],
            Self::Bars => &[Role::Volume, Role::TsEnd, Role::Rtype, Role::Trades, Role::Vwap],
        }
    }
}

macro_rules! roles {
    ($($(#[$doc:meta])* $role:ident = $name:literal, $names:literal;)*) => {
        /// What a column is.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
        pub enum Role { $($(#[$doc])* $role,)* }

        impl Role {
            /// All there are.
            pub const ALL: &'static [Self] = &[$(Self::$role),*];

            /// Name in a map of columns.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$role => $name,)* }
            }

            /// Names that columns of it have, the likeliest first, small letters and digits only.
            fn names(self) -> impl Iterator<Item = &'static str> {
                match self { $(Self::$role => $names,)* }.split_ascii_whitespace()
            }
        }
    };
}

roles! {
    /// When it happened, by the source's clock.
    TsEvent = "time", "tsevent participanttimestamp exchangetimestamp timestamp transacttime transactiontime tradetime eventtime opentime windowstart starttime barstart siptimestamp time datetime ts t date";
    /// When it was received.
    TsRecv = "recv_time", "tsrecv localtimestamp siptimestamp receipttimestamp receivedtimestamp receivedat tsinit";
    /// Date of a time of day.
    Date = "date", "date day tradingday tradedate";
    /// When a bar ends.
    TsEnd = "end_time", "tsend closetime endtime barend windowend";
    /// A number that grows.
    Seq = "seq", "sequence seq sequencenumber tradeid aggtradeid updateid id";
    /// Name of the instrument.
    Symbol = "symbol", "symbol ticker instrument instrumentid rawsymbol product productid pair market sym s";
    /// Name of the market, before that of the instrument.
    Venue = "exchange", "venue exchange exch";
    /// Side of the aggressor.
    Side = "side", "side aggressorside takerside direction";
    /// Whether the buyer was there first, so that the seller is the aggressor.
    BuyerMaker = "buyer_maker", "isbuyermaker buyermaker buyerismaker m";
    /// Price of a trade.
    Price = "price", "price px tradeprice lastprice p";
    /// Size of a trade.
    Size = "size", "size amount quantity qty sz volume tradesize lastsize q v";
    /// Best bid.
    BidPx = "bid_px", "bidpx bidpx00 bidprice bestbidprice bestbid bid bids0price";
    /// Best ask.
    AskPx = "ask_px", "askpx askpx00 askprice bestaskprice bestask ask asks0price";
    /// Size at the best bid.
    BidSz = "bid_sz", "bidsz bidsz00 bidsize bidamount bidqty bidquantity bestbidqty bestbidsize bestbidquantity bids0amount";
    /// Size at the best ask.
    AskSz = "ask_sz", "asksz asksz00 asksize askamount askqty askquantity bestaskqty bestasksize bestaskquantity asks0amount";
    /// First price of a bar.
    Open = "open", "open o openprice";
    /// Highest price of a bar.
    High = "high", "high h highprice";
    /// Lowest price of a bar.
    Low = "low", "low l lowprice";
    /// Last price of a bar.
    Close = "close", "close c closeprice";
    /// Traded size of a bar.
    Volume = "volume", "volume v vol basevolume";
    /// DBN's type of a record, which tells the interval of a bar.
    Rtype = "rtype", "rtype";
    /// Trades of a bar.
    Trades = "trades", "trades count transactions numberoftrades numtrades tradecount n";
    /// Volume-weighted price of a bar.
    Vwap = "vwap", "vwap vw";
}

/// How a file is read where its own names do not tell.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ParquetConfig {
    /// What its rows are; `None` = by its columns.
    pub rows: Option<Rows>,
    /// Columns by what they are; the others go by their names.
    pub columns: BTreeMap<Role, String>,
    /// What stands before each symbol; all of it where no column has one, and then `None` = by the name of the file.
    pub prefix: Option<String>,
    /// Name of the source; `None` = `parquet.` and the kind.
    pub source: Option<String>,
    /// Interval of bars in ns, where no column has their end.
    pub interval_ns: Option<u64>,
}

/// What is read of a file.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) rows: Rows,
    /// By role; a column may have one role only.
    pub(super) columns: Vec<(Role, Column)>,
    /// Integers of prices are in units of 1e-9: the file is Databento's.
    pub(super) is_fixed: bool,
    /// What stands before each symbol; all of it where no column has one.
    pub(super) prefix: Option<String>,
}

/// A name with nothing but its letters and digits, in small letters.
fn plain(name: &str) -> String {
    name.chars().filter(char::is_ascii_alphanumeric).map(|letter| letter.to_ascii_lowercase()).collect()
}

impl Plan {
    /// Finds out what is what. The error says what is missing.
    pub(super) fn new(columns: &[Column], config: &ParquetConfig, path: &str) -> Result<Self, String> {
        let plains: Vec<String> = columns.iter().map(|column| plain(&column.name)).collect();
        let mut found: BTreeMap<Role, usize> = BTreeMap::new();
        for (role, name) in &config.columns {
            let at = columns.iter().position(|column| column.name == *name);
            let Some(at) = at else {
                return Err(format!("it has no column \"{name}\" to be {}; it has {}", role.name(), names(columns)));
            };
            if !fits(*role, &columns[at]) {
                return Err(format!("its column \"{name}\" cannot be {}: {}", role.name(), describe(&columns[at])));
            }
            if let Some((other, _)) = found.iter().find(|(_, taken)| **taken == at) {
                return Err(format!("its column \"{name}\" cannot be {} and {}", other.name(), role.name()));
            }
            found.insert(*role, at);
        }
        let find = |role: Role, found: &BTreeMap<Role, usize>| {
            let is_free = |at: &usize| !found.values().any(|taken| taken == at) && fits(role, &columns[*at]);
            role.names().find_map(|name| (0..columns.len()).filter(|at| plains[*at] == name).find(is_free))
        };
        let has =
            |rows: Rows| rows.needs().iter().all(|role| found.contains_key(role) || find(*role, &found).is_some());
        let rows = config.rows.or_else(|| [Rows::Bars, Rows::Quotes, Rows::Trades].into_iter().find(|rows| has(*rows)));
        let Some(rows) = rows else {
            return Err(format!(
                "its columns are those of no trades (price, size), quotes (bid_px, ask_px) or bars (open, high, low, close): {}",
                names(columns)
            ));
        };
        let take = |role: Role, found: &mut BTreeMap<Role, usize>| {
            if !found.contains_key(&role)
                && let Some(at) = find(role, found)
            {
                found.insert(role, at);
            }
        };
        // Of two columns with a time, the more telling name comes first.
        for role in [Role::TsEvent, Role::TsRecv]
            .iter()
            .chain(rows.needs())
            .chain(&[Role::Symbol, Role::Venue])
            .chain(rows.takes())
        {
            take(*role, &mut found);
        }
        // A time of day needs its day.
        if found.get(&Role::TsEvent).is_some_and(|at| matches!(columns[*at].meaning, Meaning::TimeOfDay(_))) {
            take(Role::Date, &mut found);
            if !found.contains_key(&Role::Date) {
                return Err("its times are times of day, and no column has the date".to_owned());
            }
        }
        let missing = |role: &&Role| !found.contains_key(role);
        if let Some(role) = rows.needs().iter().find(missing) {
            return Err(format!(
                "its rows are {}s, and no column is their {}: {}",
                rows.name(),
                role.name(),
                names(columns)
            ));
        }
        if !found.contains_key(&Role::TsEvent) && !found.contains_key(&Role::TsRecv) {
            return Err(format!("no column is its time (ts_event, timestamp, time, ..): {}", names(columns)));
        }
        if rows == Rows::Bars
            && config.interval_ns.is_none()
            && ![Role::TsEnd, Role::Rtype, Role::TsRecv].iter().any(|role| found.contains_key(role))
        {
            return Err("its bars have no column with their end (close_time), and no interval is given".to_owned());
        }
        let has_symbol = found.contains_key(&Role::Symbol);
        let prefix = config.prefix.clone().or_else(|| (!has_symbol).then(|| name_of(path)));
        if let Some(text) =
            prefix.as_deref().filter(|text| !(is_symbol(text.as_bytes()) || has_symbol && text.is_empty()))
        {
            return Err(format!(
                "its symbol cannot be, or begin with, {text:?}: 1 to {SYMBOL_BYTES_MAX} printable bytes are wanted; give another (prefix)"
            ));
        }
        let is_fixed = plains.iter().any(|name| matches!(name.as_str(), "publisherid" | "rtype"));
        let columns = found.into_iter().map(|(role, at)| (role, columns[at].clone())).collect();
        Ok(Self { rows, columns, is_fixed, prefix })
    }
}

/// Whether a symbol can have that text. Blanks within are usual (`BRK B`, options by OSI name).
pub(super) fn is_symbol(text: &[u8]) -> bool {
    !text.is_empty() && text.len() <= SYMBOL_BYTES_MAX && !text.iter().any(u8::is_ascii_control)
}

/// Whether a column of that type can be that.
fn fits(role: Role, column: &Column) -> bool {
    use Physical::{Bool, Bytes, Double, Fixed, Float, Int32, Int64, Int96};
    match role {
        Role::TsEvent => match column.meaning {
            Meaning::Plain | Meaning::Unsigned => matches!(column.physical, Int64 | Int96 | Double),
            meaning => matches!(meaning, Meaning::Timestamp(_) | Meaning::Date | Meaning::TimeOfDay(_)),
        },
        Role::TsRecv | Role::TsEnd => match column.meaning {
            Meaning::Plain | Meaning::Unsigned => matches!(column.physical, Int64 | Int96 | Double),
            meaning => matches!(meaning, Meaning::Timestamp(_)),
        },
        Role::Date => column.meaning == Meaning::Date,
        Role::Seq | Role::Rtype | Role::Trades => {
            matches!(column.physical, Int32 | Int64) && matches!(column.meaning, Meaning::Plain | Meaning::Unsigned)
        }
        Role::Symbol => match column.physical {
            Bytes => column.meaning == Meaning::Plain,
            Int32 | Int64 => matches!(column.meaning, Meaning::Plain | Meaning::Unsigned),
            _ => false,
        },
        Role::Venue => column.physical == Bytes && column.meaning == Meaning::Plain,
        Role::Side => match column.physical {
            Bytes | Int32 | Int64 => matches!(column.meaning, Meaning::Plain | Meaning::Unsigned),
            _ => false,
        },
        Role::BuyerMaker => column.physical == Bool,
        _ => match column.meaning {
            Meaning::Decimal(_) => matches!(column.physical, Int32 | Int64 | Bytes | Fixed(_)),
            Meaning::Plain | Meaning::Unsigned => matches!(column.physical, Int32 | Int64 | Float | Double | Bytes),
            _ => false,
        },
    }
}

fn describe(column: &Column) -> String {
    let what = match column.physical {
        Physical::Bool => "boolean",
        Physical::Int32 => "32-bit integer",
        Physical::Int64 => "64-bit integer",
        Physical::Int96 => "96-bit integer",
        Physical::Float => "32-bit float",
        Physical::Double => "64-bit float",
        Physical::Bytes => "text",
        Physical::Fixed(_) => "bytes",
    };
    match column.meaning {
        Meaning::Plain => format!("it is {what}"),
        Meaning::Unsigned => format!("it is {what} without sign"),
        Meaning::Decimal(scale) => format!("it is decimal with {scale} decimals"),
        Meaning::Date => "it is date".to_owned(),
        Meaning::TimeOfDay(_) => "it is time of day".to_owned(),
        Meaning::Timestamp(_) => "it is timestamp".to_owned(),
        Meaning::Other => format!("it is {what} of another meaning"),
    }
}

/// The names of columns, for an error: the first ones.
fn names(columns: &[Column]) -> String {
    const SHOWN: usize = 24;
    let shown: Vec<&str> = columns.iter().take(SHOWN).map(|column| column.name.as_str()).collect();
    let more = columns.len().saturating_sub(SHOWN);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    if shown.is_empty() { "it has no columns".to_owned() } else { format!("{}{more}", shown.join(", ")) }
}

/// The symbol that a file's name tells: `BTCUSDT` of `BTCUSDT-trades-2024-08-08.parquet`, as Binance names them; else all of it but
/// its ending.
fn name_of(path: &str) -> String {
    let name = path.rsplit('/').next().unwrap_or(path);
    let stem = name.strip_suffix(".parquet").or_else(|| name.strip_suffix(".pq")).unwrap_or(name);
    let is_kind = |part: &str| {
        let part = part.to_ascii_lowercase();
        let is_interval = part.len() > 1
            && part.ends_with(['s', 'm', 'h', 'd', 'w'])
            && part[..part.len() - 1].bytes().all(|byte| byte.is_ascii_digit());
        is_interval || matches!(part.as_str(), "trades" | "aggtrades" | "bookticker" | "klines" | "quotes" | "bars")
    };
    for (at, _) in stem.match_indices(['-', '_']).filter(|(at, _)| *at > 0) {
        let part = stem[at + 1..].split(['-', '_']).next().unwrap_or_default();
        if is_kind(part) {
            return stem[..at].to_owned();
        }
    }
    stem.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(name: &str, physical: Physical, meaning: Meaning) -> Column {
        Column { name: name.to_owned(), leaf: 0, physical, meaning, is_optional: false }
    }

    /// Columns of doubles, but for those that are told: `name:i` is an integer, `:t` a text, `:b` a boolean.
    fn columns(names: &str) -> Vec<Column> {
        let one = |(leaf, name): (usize, &str)| {
            let (name, letter) = name.split_once(':').unwrap_or((name, ""));
            let physical = match letter {
                "i" => Physical::Int64,
                "t" => Physical::Bytes,
                "b" => Physical::Bool,
                _ => Physical::Double,
            };
            Column { leaf, ..column(name, physical, Meaning::Plain) }
        };
        names.split_ascii_whitespace().enumerate().map(one).collect()
    }

    fn plan(names: &str) -> String {
        match Plan::new(&columns(names), &ParquetConfig::default(), "d/BTCUSDT-trades-2024-08.parquet") {
            Ok(plan) => {
                let roles: Vec<String> =
                    plan.columns.iter().map(|(role, column)| format!("{}={}", role.name(), column.name)).collect();
                format!("{} {}", plan.rows.name(), roles.join(" "))
            }
            Err(why) => why,
        }
    }

    #[test]
    fn usual_names_are_known() {
        for (names, expected) in [
            (
                "exchange:t symbol:t timestamp:i local_timestamp:i id:t side:t price amount",
                "trade time=timestamp recv_time=local_timestamp symbol=symbol exchange=exchange side=side price=price size=amount",
            ),
            (
                "id:i price qty quote_qty time:i is_buyer_maker:b is_best_match:b",
                "trade time=time seq=id buyer_maker=is_buyer_maker price=price size=qty",
            ),
            (
                "agg_trade_id:i price quantity first_trade_id:i last_trade_id:i transact_time:i is_buyer_maker:b",
                "trade time=transact_time seq=agg_trade_id buyer_maker=is_buyer_maker price=price size=quantity",
            ),
            (
                "update_id:i best_bid_price best_bid_qty best_ask_price best_ask_qty transaction_time:i event_time:i",
                "quote time=transaction_time seq=update_id bid_px=best_bid_price ask_px=best_ask_price bid_sz=best_bid_qty ask_sz=best_ask_qty",
            ),
            (
                "open_time:i open high low close volume close_time:i quote_volume count:i taker_buy_volume ignore:i",
                "bar time=open_time end_time=close_time open=open high=high low=low close=close volume=volume trades=count",
            ),
            (
                "ticker:t conditions:t correction:i exchange:i id:t participant_timestamp:i price sequence_number:i sip_timestamp:i size",
                "trade time=participant_timestamp recv_time=sip_timestamp seq=sequence_number symbol=ticker price=price size=size",
            ),
            (
                "ts_recv:i ts_event:i rtype:i publisher_id:i instrument_id:i action:t side:t depth:i price:i size:i flags:i ts_in_delta:i sequence:i symbol:t",
                "trade time=ts_event recv_time=ts_recv seq=sequence symbol=symbol side=side price=price size=size",
            ),
            (
                "ts_event:i rtype:i publisher_id:i instrument_id:i open high low close volume:i symbol:t",
                "bar time=ts_event symbol=symbol open=open high=high low=low close=close volume=volume rtype=rtype",
            ),
            (
                "timestamp:i symbol:t bidPrice bidSize askPrice askSize",
                "quote time=timestamp symbol=symbol bid_px=bidPrice ask_px=askPrice bid_sz=bidSize ask_sz=askSize",
            ),
            (
                "date:i time:i open high low close",
                "its bars have no column with their end (close_time), and no interval is given",
            ),
            ("price size", "no column is its time (ts_event, timestamp, time, ..): price, size"),
            (
                "time:i x y",
                "its columns are those of no trades (price, size), quotes (bid_px, ask_px) or bars (open, high, low, close): time, x, y",
            ),
        ] {
            assert_eq!(plan(names), expected, "{names}");
        }
    }

    #[test]
    fn a_map_goes_before_names() {
        let all = columns("when:i a b name:t price size time:i");
        let map = |pairs: &[(Role, &str)]| ParquetConfig {
            columns: pairs.iter().map(|(role, name)| (*role, (*name).to_owned())).collect(),
            ..ParquetConfig::default()
        };
        let config = map(&[(Role::Price, "a"), (Role::Size, "b"), (Role::TsEvent, "when"), (Role::Symbol, "name")]);
        let plan = Plan::new(&all, &config, "f").unwrap();
        let of = |role| plan.columns.iter().find(|(is, _)| *is == role).map(|(_, column)| column.name.as_str());
        assert_eq!((of(Role::Price), of(Role::TsEvent), of(Role::Symbol)), (Some("a"), Some("when"), Some("name")));
        let refused = |pairs: &[(Role, &str)]| Plan::new(&all, &map(pairs), "f").unwrap_err();
        assert!(refused(&[(Role::Price, "c")]).starts_with("it has no column \"c\" to be price"));
        assert!(refused(&[(Role::TsEvent, "name")]).starts_with("its column \"name\" cannot be time: it is text"));
        assert!(refused(&[(Role::Price, "a"), (Role::Size, "a")]).contains("cannot be price and size"));
    }

    #[test]
    fn names_of_files() {
        for (path, symbol) in [
            ("BTCUSDT-trades-2024-08-08.parquet", "BTCUSDT"),
            ("x/ETHUSDT-1m-2024-08.parquet", "ETHUSDT"),
            ("BTC-USD.parquet", "BTC-USD"),
            ("BTC-USD_quotes.pq", "BTC-USD"),
            ("-", "-"),
            ("ES.FUT", "ES.FUT"),
        ] {
            assert_eq!(name_of(path), symbol);
        }
    }
}
