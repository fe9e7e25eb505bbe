//! Captures of websockets as cryptofeed (bmoscon/cryptofeed) writes them: `<unix seconds>: <JSON>` a line, with marker lines.
//!
//! ```text
//!   wss://ws-feed.pro.coinbase.com <-> 1618677816.8434298                        connected
//!   wss://ws-feed.pro.coinbase.com <- 1618677817.020616: {"type":"subscribe"..}  sent
//!   1618677817.077736: {"type":"snapshot","product_id":"BAND-GBP",..}            received
//! ```
//!
//! What a message holds tells its exchange. Marker lines and messages that are no market data are counted by name, never an error.
//!
//! | message | events | `seq` | source |
//! |---|---|---|---|
//! | Coinbase `snapshot` | 1 clear, 1 `book_level` a level, bids first | none | `coinbase.level2` |
//! | Coinbase `l2update` | 1 `book_level` a change | none | `coinbase.level2` |
//! | Coinbase `ticker` | 1 `quote` | `sequence` | `coinbase.ticker` |
//! | Coinbase `match` | 1 `trade` | `trade_id` | `coinbase.matches` |
//! | Kraken Futures `book_snapshot` | 1 clear, 1 `book_level` a level, bids first | `seq` | `kraken_futures.book_snapshot` |
//! | Kraken Futures `book` | 1 `book_level` | `seq` | `kraken_futures.book` |
//! | Kraken Futures `trade` | 1 `trade` | `seq` | `kraken_futures.trade` |
//! | Kraken Futures `ticker`, `ticker_lite` | 1 `quote` | none | `kraken_futures.ticker` |
//! | BitMEX `orderBookL2` | 1 `book_level` a row, after 1 clear in a `partial` | none | `bitmex.orderBookL2` |
//! | BitMEX `quote` | 1 `quote` a row | none | `bitmex.quote` |
//! | BitMEX `trade` | 1 `trade` a row | none | `bitmex.trade` |
//!
//! - `ts_recv` is the line's time, exact (at most nine decimals). `ts_event` is the message's, else unknown. Events without `seq` are `UNSEQUENCED`.
//! - Symbols are `COINBASE:`, `KRAKEN_FUTURES:` or `BITMEX:` and the exchange's name.
//! - A trade's side is the aggressor's. Coinbase tells the maker's, the other two the taker's.
//! - A quote has sizes where the message has them (Coinbase's `best_bid_size` since 2022, Kraken's `bid_size`), else 0.
//! - Trades that a subscription repeats from before it (Coinbase `last_match`, Kraken `trade_snapshot`, BitMEX `partial` of `trade`) are
//!   skipped, and counted: they are no events of the time of capture.
//! - Kraken's book numbers follow each other: where some are missing, a `gap` event comes first, as told in [`binance`](super::binance).
//! - BitMEX names a level by an id; its price comes from a table of the levels seen ([`LEVELS_MAX`] of them). Rows of a level that is not in
//!   it (the capture begins later, or the table is full) are counted as `orderBookL2 of an unknown id`.
//! - BitMEX has prices that are no multiples of 1e-9 (`0.0000016327`). Such quotes and trades are counted, as `bitmex.quote finer than 1e-9`; a book with
//!   one is not shown at all, as a part of it would be no book: a `gap` event says so, and its rows are counted.
//! - A book of more than [`MESSAGE_SLOTS_MAX`] levels becomes several messages.
//!
//! A line that is no such thing, or lacks a field, or has a number that does not fit exactly, is *bad*.

mod bitmex;
mod coinbase;
mod kraken;
mod members;
mod message;

use super::bytes::{ByteSource, Line, LineTooLong};
use super::decimal::{self, DecimalError};
use super::json::{JsonError, Scanner};
use super::lines::{Decoded, LineDecoder, Lines, Outcome, Skipped};
use super::{Input, InputError, MESSAGE_SLOTS_MAX, SlotBuf, Status, Tally};
use bitmex::Bitmex;
use kraken::Kraken;
use members::Members;
use message::Message;
use std::collections::BTreeMap;
use tapeline_core::catalog::Catalog;
use tapeline_core::limits::SYMBOL_BYTES_MAX;
use tapeline_core::units::UnixNanos;

pub use bitmex::LEVELS_MAX;

/// Why a line is bad.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
enum Fault {
    #[error(transparent)]
    TooLong(#[from] LineTooLong),
    #[error("does not begin with a time in seconds, a colon and JSON")]
    NoTime,
    #[error(transparent)]
    Json(#[from] JsonError),
    #[error("`{0}` is missing")]
    Missing(&'static str),
    #[error("`{0}` is not what it should be")]
    WrongType(&'static str),
    #[error("`{0}`: {1}")]
    Decimal(&'static str, DecimalError),
    #[error("`{0}` is no time")]
    Time(&'static str),
    #[error("`{0}` is no side")]
    Side(&'static str),
    #[error("a symbol that is empty, longer than {SYMBOL_BYTES_MAX} bytes with its exchange, or not printable")]
    Symbol,
    #[error("{0} events are more than the {MESSAGE_SLOTS_MAX} that fit at once")]
    TooManyEvents(usize),
}

type Refusal = super::lines::Refusal<Fault>;

impl<E: Into<Fault>> From<E> for Refusal {
    fn from(error: E) -> Self {
        Self::Bad(error.into())
    }
}

/// A cryptofeed capture that is being decoded.
///
/// After its start a line allocates nothing, but for the first of a symbol, of a level of BitMEX or of a skipped name, a message that is longer than
/// any before, and the bad lines that are named.
pub struct CryptofeedInput(Lines<Decoder>);

impl CryptofeedInput {
    /// Decodes `source` from where it stands. Lines longer than `line_bytes_max` are bad.
    #[must_use]
    pub fn new(source: ByteSource, line_bytes_max: usize) -> Self {
        Self(Lines::new(source, line_bytes_max, Decoder::default()))
    }

    /// Whether `start`, the first bytes of a file, has a line of this format that is begun: `<digits>.<digits>: {`, or a marker line. The first
    /// line may be damaged.
    #[must_use]
    pub fn recognises(start: &[u8]) -> bool {
        start.split(|byte| *byte == b'\n').any(|line| {
            let is_time = time_of(line).is_some_and(|(_, json)| json.first() == Some(&b'{'));
            is_time || line.starts_with(b"wss://") && marker(line).is_some()
        })
    }
}

impl Input for CryptofeedInput {
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

/// A line's time as it is written, and what follows it.
fn time_of(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let digits = line.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let decimals = match line.get(digits) {
        Some(b'.') => line[digits + 1..].iter().take_while(|byte| byte.is_ascii_digit()).count() + 1,
        _ => 0,
    };
    let (time, rest) = line.split_at(digits + decimals);
    let json = rest.strip_prefix(b": ")?;
    (digits > 0).then_some((time, json))
}

/// The sign of a marker line: what was done with the connection that it names.
fn marker(line: &[u8]) -> Option<&'static [u8]> {
    const SIGNS: [&[u8]; 3] = [b"<->", b"<-", b"->"];
    let at = line.iter().position(|byte| *byte == b' ')?;
    let (name, rest) = (&line[..at], &line[at + 1..]);
    let sign =
        SIGNS.into_iter().find(|sign| rest.strip_prefix(*sign).is_some_and(|rest| rest.first() == Some(&b' ')))?;
    // A connection is named by its address.
    name.windows(3).any(|part| part == b"://").then_some(sign)
}

/// Turns lines into events.
#[derive(Default)]
struct Decoder {
    message: Message,
    kraken: Kraken,
    bitmex: Bitmex,
    messages: BTreeMap<&'static str, u64>,
    skipped: Skipped,
}

/// What a message is.
enum Told<'a> {
    /// Market data of this name, whose events are made.
    Market(&'static str),
    /// Something else, by name.
    Other(&'a [u8]),
    /// Something else, of a name in two parts.
    Others(&'a [u8], &'a [u8]),
}

impl Decoder {
    /// Makes the events of a line.
    fn decode(&mut self, line: &[u8], catalog: &mut Catalog) -> Result<(), Refusal> {
        let Some((time, json)) = time_of(line) else {
            let sign = marker(line).ok_or(Fault::NoTime)?;
            self.skipped.count(b"", sign);
            return Ok(());
        };
        let ts_recv = decimal::fixed(time, 9).map_err(|_| Fault::NoTime)?;
        if ts_recv == UnixNanos::UNKNOWN.0 {
            return Err(Fault::NoTime.into());
        }
        self.message.begin(UnixNanos(ts_recv));
        let mut scanner = Scanner::new(json)?;
        if scanner.peek() != Some(b'{') {
            scanner.value()?;
            scanner.finish()?;
            self.skipped.count(b"", b"unknown");
            return Ok(());
        }
        let members = Members::read(&mut scanner)?;
        scanner.finish()?;
        let told = if members.has("table") {
            self.bitmex.message(&members, &mut self.message, catalog, &mut self.skipped)?
        } else if members.has("feed") {
            self.kraken.message(&members, &mut self.message, catalog)?
        } else if members.has("type") {
            coinbase::message(&members, &mut self.message, catalog)?
        } else if let Some(event) = members.plain("event") {
            Told::Others(b"event.", event)
        } else if members.has("success") || members.has("subscribe") {
            Told::Other(b"reply")
        } else if members.has("info") {
            Told::Other(b"info")
        } else if members.has("error") {
            Told::Other(b"error")
        } else {
            Told::Other(b"unknown")
        };
        match told {
            Told::Market(name) => *self.messages.entry(name).or_default() += 1,
            Told::Other(name) => self.skipped.count(b"", name),
            Told::Others(prefix, name) => self.skipped.count(prefix, name),
        }
        Ok(())
    }
}

impl LineDecoder for Decoder {
    type Fault = Fault;

    fn format(&self) -> &'static str {
        "cryptofeed"
    }

    fn line(&mut self, _: &Line<'_>, text: &[u8], catalog: &mut Catalog, out: &mut SlotBuf) -> Decoded<Fault> {
        // What is left of a message whose line came before.
        if self.message.is_empty() {
            let text = text.trim_ascii();
            if text.is_empty() {
                return Ok(Outcome::Done);
            }
            if let Err(refusal) = self.decode(text, catalog) {
                self.message.clear();
                return Err(refusal);
            }
        }
        Ok(self.message.hand_over(out))
    }

    fn too_many(&self, slots: usize) -> Fault {
        Fault::TooManyEvents(slots)
    }

    fn tally(&self, tally: &mut Tally) {
        tally.messages = self.messages.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect();
        tally.skipped = self.skipped.counts().clone();
    }
}
