//! Captures of Binance's websocket streams: a line = `<local ns> <JSON>`.
//!
//! That is what the collectors of hftbacktest and others write: the local clock in ns since the UNIX epoch, white space,
//! then one message of a combined stream (`{"stream":..,"data":{..}}`) or of a single one, or the answer of a REST call
//! for a depth snapshot. Spot, USD-M and COIN-M futures may stand in one file; what a message holds tells its market.
//!
//! | message | told by | events | `seq` | source |
//! |---|---|---|---|---|
//! | best bid and ask | `e` = `bookTicker`, on spot `u` and `B` or `A` | 1 `quote` | `u` | `binance.<market>.bookTicker` |
//! | trade | `e` = `trade` | 1 `trade` | `t` | `binance.<market>.trade` |
//! | change of the book | `e` = `depthUpdate` | 1 `book_level` a level, bids first | `u` | `binance.<market>.depth` |
//! | snapshot of the book | `lastUpdateId` | 1 clear, 1 `book_level` a level | `lastUpdateId` | `binance.<market>.depthSnapshot` |
//!
//! - `ts_recv` is the line's clock. `ts_event` is `T`, else `E`, else unknown (spot `bookTicker` has neither). Binance
//!   gives ms, on request µs; both become ns, told apart by their size.
//! - Symbols are `BINANCE_SPOT:`, `BINANCE_USDM:` or `BINANCE_COINM:` and the name in `s`.
//! - A trade's side is the aggressor's: `m` = true says that the buyer was the maker. Futures trades that did not take
//!   place on the book (`X` other than `MARKET`: insurance fund, ADL) are skipped, and counted as `trade.<X>`.
//! - A level's size of 0 deletes it. A change without levels gives no event and is counted all the same.
//! - A price of 0 with a size of 0 in a `bookTicker` is how Binance says that a side is empty: its price is undefined.
//! - Partial books (`<symbol>@depth5`, `10`, `20`) repeat the top of the book each time and are no changes of it: skipped.
//! - Other messages (`aggTrade`, `kline`, replies to a subscription) are skipped and counted by name.
//!
//! **Whose snapshot it is** a line says on COIN-M only (`symbol`). On the other markets it is of the one symbol that the
//! file has shown so far on that market; if there are several, of the one with the nearest update number among those
//! whose last price is within a factor of two of the snapshot's best one. Spot books have counters of their own, but
//! futures books may share one, so that a file of several futures with close prices is better split.
//!
//! **Gaps** are looked for in the changes of books, for each symbol: on spot `U` must be the last `u` + 1, on futures `pu` the last
//! `u`. A snapshot settles what is up to its number. Where numbers are missing, a `gap` event of the depth source comes before
//! the first level of the message that shows it (`expected`, `received`: the first number missing and the first that came;
//! `missing` is 0 on futures, whose numbers are no count). It is `UNSEQUENCED` and its part is 65535, so that it never stands for a level.
//! `bookTicker` leaves numbers out by design. Ids of trades are not looked at here. A change without `pu`, and on spot without `U`,
//! shows no gap. Beyond [`GAP_STREAMS`] symbols with changes, further ones are not watched.
//!
//! A line that is no such thing, or lacks a field, or has a number that does not fit exactly, is *bad*: counted, named
//! with its number (the first ten), and nothing of it is appended.

use super::bytes::{ByteSource, Line, LineTooLong};
use super::decimal::{self, DecimalError, Short};
use super::json::{JsonError, Scanner, Text, Value};
use super::lines::{Decoded, Head, LineDecoder, Lines, Outcome, SKIPPED_NAME_BYTES_MAX, Sides, Skipped};
use super::{Input, InputError, MESSAGE_SLOTS_MAX, SlotBuf, Status, Tally};
use tapeline_core::catalog::{Catalog, SeqRule};
use tapeline_core::event::payload::{BookLevel, Gap, LevelAction, Trade};
use tapeline_core::event::{Flags, Slot};
use tapeline_core::gaps::{GapDetector, Numbers, Verdict};
use tapeline_core::limits::SYMBOL_BYTES_MAX;
use tapeline_core::units::{PRICE_UNDEFINED, Side, SourceId, SymbolId, UnixNanos};

/// Books that are watched for gaps: more than Binance trades on all its markets.
pub const GAP_STREAMS: usize = 1 << 12;
/// Part of a gap event: no level has it.
const GAP_PART: u16 = u16::MAX;
const _: () = assert!(MESSAGE_SLOTS_MAX < GAP_PART as usize, "a gap is no level");

/// Largest time that is taken as ms: the last one whose ns fit, in the year 2554. As µs it is July 1970.
const MS_MAX: u64 = u64::MAX / 1_000_000;
/// Largest time that is taken as µs.
const US_MAX: u64 = u64::MAX / 1_000;

/// Market of a message, as an index.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Market {
    Spot,
    Usdm,
    Coinm,
}

const SYMBOL_PREFIX: [&[u8]; 3] = [b"BINANCE_SPOT:", b"BINANCE_USDM:", b"BINANCE_COINM:"];

/// Type of a message that becomes events, as an index.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stream {
    BookTicker,
    Trade,
    Depth,
    DepthSnapshot,
}

const MESSAGE_NAME: [&str; 4] = ["bookTicker", "trade", "depth", "depthSnapshot"];

const SOURCE_NAME: [[&[u8]; 4]; 3] = [
    [b"binance.spot.bookTicker", b"binance.spot.trade", b"binance.spot.depth", b"binance.spot.depthSnapshot"],
    [b"binance.usdm.bookTicker", b"binance.usdm.trade", b"binance.usdm.depth", b"binance.usdm.depthSnapshot"],
    [b"binance.coinm.bookTicker", b"binance.coinm.trade", b"binance.coinm.depth", b"binance.coinm.depthSnapshot"],
];

/// Update numbers skip by design; trade ids of a symbol do not.
const SEQ_RULE: [SeqRule; 4] =
    [SeqRule::Increasing, SeqRule::ContiguousPerSymbol, SeqRule::Increasing, SeqRule::Increasing];

/// Fields that are looked at, as indexes. `b` and `bids` are one, as are `a` and `asks`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Key {
    Stream,
    Event,
    EventTime,
    TransactionTime,
    Symbol,
    Pair,
    PreviousUpdate,
    FirstUpdate,
    Update,
    TradeId,
    Price,
    Size,
    Maker,
    SpotMark,
    Execution,
    Bid,
    Ask,
    BidSize,
    AskSize,
    LastUpdateId,
    SnapshotSymbol,
    SnapshotPair,
    Reply,
}

const KEYS: usize = Key::Reply as usize + 1;
const KEY_NAME: [&str; KEYS] = [
    "stream",
    "e",
    "E",
    "T",
    "s",
    "ps",
    "pu",
    "U",
    "u",
    "t",
    "p",
    "q",
    "m",
    "M",
    "X",
    "b",
    "a",
    "B",
    "A",
    "lastUpdateId",
    "symbol",
    "pair",
    "id",
];

const _: () = assert!(KEYS <= 32, "the keys seen are bits of one word");

impl Key {
    #[inline]
    fn of(name: &[u8]) -> Option<Self> {
        Some(match name {
            b"e" => Self::Event,
            b"E" => Self::EventTime,
            b"T" => Self::TransactionTime,
            b"s" => Self::Symbol,
            b"U" => Self::FirstUpdate,
            b"u" => Self::Update,
            b"t" => Self::TradeId,
            b"p" => Self::Price,
            b"q" => Self::Size,
            b"m" => Self::Maker,
            b"M" => Self::SpotMark,
            b"X" => Self::Execution,
            b"b" | b"bids" => Self::Bid,
            b"a" | b"asks" => Self::Ask,
            b"B" => Self::BidSize,
            b"A" => Self::AskSize,
            b"ps" => Self::Pair,
            b"pu" => Self::PreviousUpdate,
            b"stream" => Self::Stream,
            b"lastUpdateId" => Self::LastUpdateId,
            b"symbol" => Self::SnapshotSymbol,
            b"pair" => Self::SnapshotPair,
            b"id" | b"result" => Self::Reply,
            _ => return None,
        })
    }

    const fn name(self) -> &'static str {
        KEY_NAME[self as usize]
    }
}

/// Why a line is bad.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
enum Fault {
    #[error(transparent)]
    TooLong(#[from] LineTooLong),
    #[error("does not begin with the local time in ns, a space and JSON")]
    NoTime,
    #[error(transparent)]
    Json(#[from] JsonError),
    #[error("`{0}` is missing")]
    Missing(&'static str),
    #[error("`{0}` is given twice")]
    Repeated(&'static str),
    #[error("`{0}` is not what it should be")]
    WrongType(&'static str),
    #[error("`{0}`: {1}")]
    Decimal(&'static str, DecimalError),
    #[error("`{0}` is no time in ms or µs since 1970")]
    Time(&'static str),
    #[error("neither `M` nor `X` tells the market of a trade")]
    NoMarket,
    #[error("a symbol that is empty, longer than {SYMBOL_BYTES_MAX} bytes with its market, or not printable")]
    SymbolText,
    #[error("a snapshot that names no symbol, before any message of its market")]
    SnapshotTooEarly,
    #[error("a snapshot that names no symbol and fits none of its market's so far")]
    SnapshotOfNone,
    #[error("{0} events are more than the {MESSAGE_SLOTS_MAX} that a message may have")]
    TooManyEvents(usize),
}

type Refusal = super::lines::Refusal<Fault>;

impl<E: Into<Fault>> From<E> for Refusal {
    fn from(error: E) -> Self {
        Self::Bad(error.into())
    }
}

/// A level of a book message.
#[derive(Clone, Copy)]
struct Level {
    price: i64,
    size: u64,
    scale: u8,
}

impl Level {
    /// The level at the start of `text` and its length, where it is written as Binance writes nearly every one: short
    /// decimals, no white space, nothing after the size. Any other way is for the scanner.
    #[inline]
    fn usual(text: &[u8]) -> Option<(Self, usize)> {
        let after_open = text.strip_prefix(b"[\"")?;
        let (price, used) = Short::at_start(after_open)?;
        let after_price = after_open[used..].strip_prefix(b"\",\"")?;
        let (size, used) = Short::at_start(after_price)?;
        let rest = after_price[used..].strip_prefix(b"\"]")?;
        let (size, scale) = size.size();
        Some((Self { price: price.price(), size, scale }, text.len() - rest.len()))
    }
}

/// The levels of one side of a message: kept for the next one, so that lines allocate nothing.
struct Levels {
    levels: Vec<Level>,
    /// Levels given, also those beyond the capacity.
    given: usize,
    /// What was wrong with them, if they were levels at all.
    fault: Option<Fault>,
}

impl Levels {
    fn new() -> Self {
        Self { levels: Vec::with_capacity(MESSAGE_SLOTS_MAX), given: 0, fault: None }
    }

    fn clear(&mut self) {
        self.levels.clear();
        (self.given, self.fault) = (0, None);
    }

    /// `[["price","size"],..]`, further elements of a level ignored. Anything else is passed as a value, and is a fault
    /// only when levels are asked for.
    fn read(&mut self, name: &'static str, scanner: &mut Scanner<'_>) -> Result<(), JsonError> {
        self.clear();
        let start = *scanner;
        if let Err(fault) = self.read_levels(name, scanner) {
            // If it is no JSON either, the line is bad for that.
            self.fault = Some(if matches!(fault, Fault::Json(_)) { Fault::WrongType(name) } else { fault });
            *scanner = start;
            scanner.value()?;
        }
        Ok(())
    }

    fn read_levels(&mut self, name: &'static str, scanner: &mut Scanner<'_>) -> Result<(), Fault> {
        scanner.expect(b'[')?;
        let mut first = true;
        while scanner.more(b']', &mut first)? {
            if let Some((level, bytes)) = Level::usual(scanner.rest()) {
                scanner.pass(bytes);
                self.push(level);
                continue;
            }
            scanner.expect(b'[')?;
            let price = scanner.string()?;
            scanner.expect(b',')?;
            let size = scanner.string()?;
            while !scanner.take(b']') {
                scanner.expect(b',')?;
                scanner.value()?;
            }
            let price = text_price(price).map_err(|error| Fault::Decimal(name, error))?;
            let (size, scale) = text_size(size).map_err(|error| Fault::Decimal(name, error))?;
            self.push(Level { price, size, scale });
        }
        Ok(())
    }

    #[inline]
    fn push(&mut self, level: Level) {
        self.given += 1;
        if self.levels.len() < MESSAGE_SLOTS_MAX {
            self.levels.push(level);
        }
    }
}

/// No number that fits is longer when its escapes are undone.
const DECIMAL_SCRATCH_BYTES: usize = 64;

#[inline]
fn text_price(text: Text<'_>) -> Result<i64, DecimalError> {
    match text.plain() {
        Some(plain) => decimal::price(plain),
        None => decimal::price(text.bytes(&mut [0; DECIMAL_SCRATCH_BYTES]).ok_or(DecimalError::OutOfRange)?),
    }
}

#[inline]
fn text_size(text: Text<'_>) -> Result<(u64, u8), DecimalError> {
    match text.plain() {
        Some(plain) => decimal::size(plain),
        None => decimal::size(text.bytes(&mut [0; DECIMAL_SCRATCH_BYTES]).ok_or(DecimalError::OutOfRange)?),
    }
}

/// What one message holds, by [`Key`].
struct Fields<'a> {
    values: [Value<'a>; KEYS],
    /// Bit k: the key k was given.
    seen: u32,
    repeated: Option<Key>,
}

impl<'a> Fields<'a> {
    fn note(&mut self, key: Key, value: Value<'a>) {
        if self.has(key) {
            self.repeated = Some(key);
        }
        self.seen |= 1 << key as u32;
        self.values[key as usize] = value;
    }

    #[inline]
    fn has(&self, key: Key) -> bool {
        self.seen >> key as u32 & 1 == 1
    }

    /// The value of a key that must be there.
    #[inline]
    fn get(&self, key: Key) -> Result<Value<'a>, Fault> {
        if self.has(key) { Ok(self.values[key as usize]) } else { Err(Fault::Missing(key.name())) }
    }

    fn text(&self, key: Key) -> Result<Text<'a>, Fault> {
        match self.get(key)? {
            Value::Text(text) => Ok(text),
            _ => Err(Fault::WrongType(key.name())),
        }
    }

    /// The text of a key where it is one without escapes, else nothing.
    fn plain(&self, key: Key) -> Option<&'a [u8]> {
        self.text(key).ok()?.plain()
    }

    fn bool(&self, key: Key) -> Result<bool, Fault> {
        match self.get(key)? {
            Value::Bool(value) => Ok(value),
            _ => Err(Fault::WrongType(key.name())),
        }
    }

    fn integer(&self, key: Key) -> Result<u64, Fault> {
        match self.get(key)? {
            Value::Number(digits) => decimal::integer(digits).map_err(|error| Fault::Decimal(key.name(), error)),
            _ => Err(Fault::WrongType(key.name())),
        }
    }

    fn price(&self, key: Key) -> Result<i64, Fault> {
        text_price(self.text(key)?).map_err(|error| Fault::Decimal(key.name(), error))
    }

    fn size(&self, key: Key) -> Result<(u64, u8), Fault> {
        text_size(self.text(key)?).map_err(|error| Fault::Decimal(key.name(), error))
    }

    /// `T`, else `E`, else unknown.
    fn ts_event(&self) -> Result<UnixNanos, Fault> {
        let key = if self.has(Key::TransactionTime) { Key::TransactionTime } else { Key::EventTime };
        if !self.has(key) {
            return Ok(UnixNanos::UNKNOWN);
        }
        match self.integer(key)? {
            ms @ 0..=MS_MAX => Ok(UnixNanos(ms * 1_000_000)),
            us @ 0..=US_MAX => Ok(UnixNanos(us * 1_000)),
            _ => Err(Fault::Time(key.name())),
        }
    }
}

/// What a file has shown of a symbol.
#[derive(Clone, Copy)]
struct Seen {
    market: Market,
    /// Number of its book's last update, once one was seen.
    update: Option<u64>,
    /// Its last best bid or trade, once one was seen.
    price: Option<i64>,
}

/// A Binance capture that is being decoded.
///
/// After its start a line allocates nothing, but for the first of a symbol or of a skipped name, one that is longer than
/// any before, and the bad lines that are named. The symbols and sources are those
/// of the one catalog that every call gets.
pub struct BinanceInput(Lines<Decoder>);

impl BinanceInput {
    /// Decodes `source` from where it stands. Lines longer than `line_bytes_max` are bad.
    #[must_use]
    pub fn new(source: ByteSource, line_bytes_max: usize) -> Self {
        Self(Lines::new(source, line_bytes_max, Decoder::new()))
    }

    /// Whether `start`, the first bytes of a file, has a line of this format that is begun: digits, white space, `{`.
    /// The first line may be damaged.
    #[must_use]
    pub fn recognises(start: &[u8]) -> bool {
        start.split(|byte| *byte == b'\n').any(|line| {
            let digits = line.iter().take_while(|byte| byte.is_ascii_digit()).count();
            let rest = &line[digits..];
            let space = rest.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
            digits > 0 && space > 0 && rest.get(space) == Some(&b'{')
        })
    }

    /// Lines read so far, blank and bad ones included.
    #[must_use]
    pub fn lines(&self) -> u64 {
        self.0.lines()
    }
}

impl Input for BinanceInput {
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
struct Decoder {
    bids: Levels,
    asks: Levels,
    /// By symbol id: what this file has shown of it.
    symbols: Vec<Option<Seen>>,
    /// Changes of books, by market and symbol.
    gaps: GapDetector,
    messages: [u64; MESSAGE_NAME.len()],
    skipped: Skipped,
}

impl LineDecoder for Decoder {
    type Fault = Fault;

    fn format(&self) -> &'static str {
        "binance"
    }

    fn line(&mut self, _: &Line<'_>, text: &[u8], catalog: &mut Catalog, out: &mut SlotBuf) -> Decoded<Fault> {
        self.text(text, catalog, out)
    }

    fn too_many(&self, slots: usize) -> Fault {
        Fault::TooManyEvents(slots)
    }

    fn tally(&self, tally: &mut Tally) {
        let messages = MESSAGE_NAME.iter().zip(self.messages).filter(|(_, count)| *count > 0);
        tally.messages = messages.map(|(name, count)| ((*name).to_owned(), count)).collect();
        tally.skipped = self.skipped.counts().clone();
    }
}

impl Decoder {
    fn new() -> Self {
        let mut gaps = GapDetector::new(GAP_STREAMS, 0);
        for market in [Market::Spot, Market::Usdm, Market::Coinm] {
            gaps.define(watched(market), SEQ_RULE[Stream::Depth as usize]).expect("each market is defined once");
        }
        Self {
            gaps,
            bids: Levels::new(),
            asks: Levels::new(),
            symbols: Vec::new(),
            messages: [0; MESSAGE_NAME.len()],
            skipped: Skipped::default(),
        }
    }

    fn text(&mut self, line: &[u8], catalog: &mut Catalog, out: &mut SlotBuf) -> Result<Outcome, Refusal> {
        let line = line.trim_ascii();
        if line.is_empty() {
            return Ok(Outcome::Done);
        }
        let digits = line.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let (time, json) = line.split_at(digits);
        if !json.first().is_some_and(u8::is_ascii_whitespace) {
            return Err(Fault::NoTime.into());
        }
        let ts_recv = UnixNanos(decimal::integer(time).map_err(|_| Fault::NoTime)?);
        if ts_recv == UnixNanos::UNKNOWN {
            return Err(Fault::NoTime.into());
        }
        let mut fields = Fields { values: [Value::Null; KEYS], seen: 0, repeated: None };
        let mut scanner = Scanner::new(json)?;
        if scanner.take(b'{') {
            self.members(&mut scanner, &mut fields, true)?;
        } else {
            scanner.value()?;
        }
        scanner.finish()?;
        self.message(ts_recv, &fields, catalog, out)
    }

    /// The members of the message, or of what is wrapped around it, up to and with the closing brace.
    fn members<'a>(
        &mut self,
        scanner: &mut Scanner<'a>,
        fields: &mut Fields<'a>,
        outermost: bool,
    ) -> Result<(), JsonError> {
        let mut first = true;
        let mut scratch = [0; 16];
        while let Some(key) = scanner.key(&mut first)? {
            let name = key.bytes(&mut scratch).unwrap_or(b"");
            let Some(key) = Key::of(name) else {
                if outermost && name == b"data" && scanner.take(b'{') {
                    self.members(scanner, fields, false)?;
                } else {
                    scanner.value()?;
                }
                continue;
            };
            let value = match (key, scanner.peek()) {
                // Whatever is nested there replaces the levels of the message before.
                (Key::Bid | Key::Ask, Some(b'[' | b'{')) => {
                    let side = if key == Key::Bid { &mut self.bids } else { &mut self.asks };
                    side.read(key.name(), scanner)?;
                    Value::Nested
                }
                _ => scanner.value()?,
            };
            fields.note(key, value);
        }
        Ok(())
    }

    /// Tells what a message is and hands it on.
    fn message(
        &mut self,
        ts_recv: UnixNanos,
        fields: &Fields<'_>,
        catalog: &mut Catalog,
        out: &mut SlotBuf,
    ) -> Result<Outcome, Refusal> {
        let stream = fields.plain(Key::Stream).map_or(&b""[..], stream_type);
        if let Some(partial) = partial_book(stream) {
            return Ok(self.skip(b"", partial));
        }
        let ours = if fields.has(Key::Event) {
            let mut scratch = [0; SKIPPED_NAME_BYTES_MAX];
            match fields.text(Key::Event)?.bytes(&mut scratch) {
                Some(b"bookTicker") => Stream::BookTicker,
                Some(b"trade") => Stream::Trade,
                Some(b"depthUpdate") => Stream::Depth,
                name => return Ok(self.skip(b"", name.unwrap_or(b"other"))),
            }
        } else if fields.has(Key::LastUpdateId) {
            Stream::DepthSnapshot
        } else if stream == b"bookTicker"
            || fields.has(Key::Update) && (fields.has(Key::BidSize) || fields.has(Key::AskSize))
        {
            Stream::BookTicker
        } else if stream == b"trade" || stream.starts_with(b"depth") {
            return Err(Fault::Missing(Key::Event.name()).into());
        } else if !stream.is_empty() {
            return Ok(self.skip(b"", stream));
        } else {
            return Ok(self.skip(b"", if fields.has(Key::Reply) { b"reply" } else { b"unknown" }));
        };
        if let Some(key) = fields.repeated {
            return Err(Fault::Repeated(key.name()).into());
        }
        match ours {
            Stream::BookTicker => self.book_ticker(ts_recv, fields, catalog, out),
            Stream::Trade => self.trade(ts_recv, fields, catalog, out),
            Stream::Depth => self.depth(ts_recv, fields, catalog, out),
            Stream::DepthSnapshot => self.snapshot(ts_recv, fields, catalog, out),
        }
    }

    /// Counts a message that becomes no event, as `prefix` and `name`.
    fn skip(&mut self, prefix: &[u8], name: &[u8]) -> Outcome {
        self.skipped.count(prefix, name);
        Outcome::Done
    }

    fn book_ticker(
        &mut self,
        ts_recv: UnixNanos,
        fields: &Fields<'_>,
        catalog: &mut Catalog,
        out: &mut SlotBuf,
    ) -> Result<Outcome, Refusal> {
        let side = |price: Key, size: Key| -> Result<(i64, (u64, u8)), Fault> {
            let (price, size) = (fields.price(price)?, fields.size(size)?);
            Ok((if price == 0 && size.0 == 0 { PRICE_UNDEFINED } else { price }, size))
        };
        let (bid_px, bid) = side(Key::Bid, Key::BidSize)?;
        let (ask_px, ask) = side(Key::Ask, Key::AskSize)?;
        let sides = Sides::new(bid_px, bid, ask_px, ask).map_err(|error| Fault::Decimal(Key::AskSize.name(), error))?;
        let (update, ts_event) = (fields.integer(Key::Update)?, fields.ts_event()?);
        let symbol = fields.text(Key::Symbol)?;
        if out.remaining() < sides.slots() {
            return Ok(Outcome::NoRoom(sides.slots()));
        }
        let futures = fields.has(Key::Event);
        let mut head = self.head(Stream::BookTicker, futures, symbol, fields, catalog)?;
        (head.ts_recv, head.ts_event, head.seq) = (ts_recv, ts_event, update);
        head.flags = Flags::LAST;
        sides.append(&head, 0, out);
        self.saw(head.symbol, Some(update), (bid_px != PRICE_UNDEFINED).then_some(bid_px));
        self.messages[Stream::BookTicker as usize] += 1;
        Ok(Outcome::Done)
    }

    fn trade(
        &mut self,
        ts_recv: UnixNanos,
        fields: &Fields<'_>,
        catalog: &mut Catalog,
        out: &mut SlotBuf,
    ) -> Result<Outcome, Refusal> {
        let futures = match (fields.has(Key::Execution), fields.has(Key::SpotMark)) {
            (true, _) => true,
            (false, true) => false,
            (false, false) => return Err(Fault::NoMarket.into()),
        };
        if futures {
            let mut scratch = [0; SKIPPED_NAME_BYTES_MAX];
            match fields.text(Key::Execution)?.bytes(&mut scratch) {
                Some(b"MARKET") => {}
                execution => return Ok(self.skip(b"trade.", execution.unwrap_or(b"other"))),
            }
        }
        let price = fields.price(Key::Price)?;
        let (size, scale) = fields.size(Key::Size)?;
        let (id, ts_event) = (fields.integer(Key::TradeId)?, fields.ts_event()?);
        let aggressor = if fields.bool(Key::Maker)? { Side::Ask } else { Side::Bid };
        let symbol = fields.text(Key::Symbol)?;
        if out.remaining() < 1 {
            return Ok(Outcome::NoRoom(1));
        }
        let mut head = self.head(Stream::Trade, futures, symbol, fields, catalog)?;
        (head.ts_recv, head.ts_event, head.seq) = (ts_recv, ts_event, id);
        head.flags = Flags::LAST;
        out.extend(&[head.slot(0, scale, Trade { price, size, side: aggressor as u8, ..Trade::default() })]);
        self.saw(head.symbol, None, Some(price));
        self.messages[Stream::Trade as usize] += 1;
        Ok(Outcome::Done)
    }

    fn depth(
        &mut self,
        ts_recv: UnixNanos,
        fields: &Fields<'_>,
        catalog: &mut Catalog,
        out: &mut SlotBuf,
    ) -> Result<Outcome, Refusal> {
        let slots = self.levels(fields)?;
        let (update, ts_event) = (fields.integer(Key::Update)?, fields.ts_event()?);
        let given = |key| fields.has(key).then(|| fields.integer(key)).transpose();
        let (previous, first) = (given(Key::PreviousUpdate)?, given(Key::FirstUpdate)?);
        let symbol = fields.text(Key::Symbol)?;
        if out.remaining() < slots {
            return Ok(Outcome::NoRoom(slots));
        }
        let mut head = self.head(Stream::Depth, previous.is_some(), symbol, fields, catalog)?;
        (head.ts_recv, head.ts_event, head.seq) = (ts_recv, ts_event, update);
        let market = self.symbols[head.symbol.index()].map_or(Market::Spot, |seen| seen.market);
        let numbers = match (previous, first) {
            (Some(previous), _) => Numbers::Chain { previous, last: update },
            (None, Some(first)) if market == Market::Spot => Numbers::Span { first, last: update },
            _ => Numbers::Skip { last: update },
        };
        if out.remaining() == slots && self.shows_gap(market, head.symbol, numbers) {
            // Nothing was noted, and the symbol is known: the line comes again as if for the first time.
            return Ok(Outcome::NoRoom(slots + 1));
        }
        if let Verdict::Gap { from, to } = self.gaps.observe(watched(market), head.symbol, numbers) {
            let missing = if previous.is_some() { 0 } else { to - from + 1 };
            let mut slot = gap_slot(&head, from, to, missing);
            if slots == 0 {
                slot.flags = slot.flags.with(Flags::LAST);
            }
            out.extend(&[slot]);
        }
        self.append_levels(&head, 0, out);
        self.saw(head.symbol, Some(update), None);
        self.messages[Stream::Depth as usize] += 1;
        Ok(Outcome::Done)
    }

    fn snapshot(
        &mut self,
        ts_recv: UnixNanos,
        fields: &Fields<'_>,
        catalog: &mut Catalog,
        out: &mut SlotBuf,
    ) -> Result<Outcome, Refusal> {
        let slots = 1 + self.levels(fields)?;
        if slots > MESSAGE_SLOTS_MAX {
            return Err(Fault::TooManyEvents(slots).into());
        }
        let (update, ts_event) = (fields.integer(Key::LastUpdateId)?, fields.ts_event()?);
        if out.remaining() < slots {
            return Ok(Outcome::NoRoom(slots));
        }
        let futures = fields.has(Key::EventTime) || fields.has(Key::TransactionTime);
        let mut head = if fields.has(Key::SnapshotSymbol) {
            let symbol = fields.text(Key::SnapshotSymbol)?;
            self.head(Stream::DepthSnapshot, futures, symbol, fields, catalog)?
        } else {
            let market = if futures { Market::Usdm } else { Market::Spot };
            let best = self.bids.levels.first().or(self.asks.levels.first()).map(|level| level.price);
            let symbol = self.owner(market, update, best)?;
            let source = source(catalog, market, Stream::DepthSnapshot)?;
            Head { ts_recv, ts_event, seq: update, symbol, source, flags: Flags::NONE }
        };
        (head.ts_recv, head.ts_event, head.seq) = (ts_recv, ts_event, update);
        head.flags = if slots == 1 { Flags::SNAPSHOT.with(Flags::LAST) } else { Flags::SNAPSHOT };
        out.extend(&[head.slot(0, 0, BookLevel { action: LevelAction::Clear as u8, ..BookLevel::default() })]);
        head.flags = Flags::SNAPSHOT;
        self.append_levels(&head, 1, out);
        let market = self.symbols[head.symbol.index()].map_or(Market::Spot, |seen| seen.market);
        self.gaps.settle(watched(market), head.symbol, update);
        self.messages[Stream::DepthSnapshot as usize] += 1;
        Ok(Outcome::Done)
    }

    /// Whether [`GapDetector::observe`] would find a gap.
    fn shows_gap(&self, market: Market, symbol: SymbolId, numbers: Numbers) -> bool {
        let (first, last) = match numbers {
            Numbers::Span { first, last } => (first, last),
            Numbers::Chain { previous, last } => (previous.saturating_add(1), last),
            Numbers::Skip { .. } | Numbers::Run { .. } => return false,
        };
        let next = self.gaps.next(watched(market), symbol);
        first <= last && last < u64::MAX && next.is_some_and(|next| first > next)
    }

    /// Checks that both sides are levels, and gives their number.
    fn levels(&self, fields: &Fields<'_>) -> Result<usize, Fault> {
        for (key, side) in [(Key::Bid, &self.bids), (Key::Ask, &self.asks)] {
            if fields.get(key)? != Value::Nested {
                return Err(Fault::WrongType(key.name()));
            }
            if let Some(fault) = side.fault {
                return Err(fault);
            }
        }
        match self.bids.given + self.asks.given {
            levels @ 0..=MESSAGE_SLOTS_MAX => Ok(levels),
            levels => Err(Fault::TooManyEvents(levels)),
        }
    }

    /// Appends the levels of the message: bids, then asks, as it has them. There is room.
    fn append_levels(&self, head: &Head, first_part: u16, out: &mut SlotBuf) {
        let count = self.bids.levels.len() + self.asks.levels.len();
        let sides = [(Side::Bid, &self.bids.levels), (Side::Ask, &self.asks.levels)];
        let levels = sides.into_iter().flat_map(|(side, levels)| levels.iter().map(move |level| (side, level)));
        for (index, (side, level)) in levels.enumerate() {
            let action = if level.size == 0 { LevelAction::Delete } else { LevelAction::Set };
            let payload = BookLevel {
                price: level.price,
                size: level.size,
                side: side as u8,
                action: action as u8,
                ..BookLevel::default()
            };
            let mut slot = head.slot(first_part + index as u16, level.scale, payload);
            if index + 1 == count {
                slot.flags = slot.flags.with(Flags::LAST);
            }
            out.extend(&[slot]);
        }
    }

    /// Symbol and source of a message that names its symbol; the rest of the head is for the caller.
    fn head(
        &mut self,
        stream: Stream,
        futures: bool,
        symbol: Text<'_>,
        fields: &Fields<'_>,
        catalog: &mut Catalog,
    ) -> Result<Head, Refusal> {
        let mut scratch = [0; SYMBOL_BYTES_MAX];
        let name = symbol.bytes(&mut scratch).ok_or(Fault::SymbolText)?;
        let pair = fields.has(Key::Pair) || fields.has(Key::SnapshotPair);
        let market = match futures || pair {
            false => Market::Spot,
            true if pair || is_coin_margined(name) => Market::Coinm,
            true => Market::Usdm,
        };
        let prefix = SYMBOL_PREFIX[market as usize];
        let mut text = [0; SYMBOL_BYTES_MAX];
        let text = text.get_mut(..prefix.len() + name.len()).ok_or(Fault::SymbolText)?;
        if name.is_empty() || name.iter().any(|byte| *byte <= b' ' || *byte == 0x7f) {
            return Err(Fault::SymbolText.into());
        }
        text[..prefix.len()].copy_from_slice(prefix);
        text[prefix.len()..].copy_from_slice(name);
        let id = catalog.symbol(text).map_err(Refusal::Catalog)?;
        let source = source(catalog, market, stream)?;
        if self.symbols.len() <= id.index() {
            self.symbols.resize(catalog.symbols(), None);
        }
        self.symbols[id.index()].get_or_insert(Seen { market, update: None, price: None });
        Ok(Head {
            ts_recv: UnixNanos::UNKNOWN,
            ts_event: UnixNanos::UNKNOWN,
            seq: 0,
            symbol: id,
            source,
            flags: Flags::NONE,
        })
    }

    /// Notes what a message showed of a symbol that [`Decoder::head`] knows.
    fn saw(&mut self, symbol: SymbolId, update: Option<u64>, price: Option<i64>) {
        if let Some(seen) = &mut self.symbols[symbol.index()] {
            seen.update = update.or(seen.update);
            seen.price = price.or(seen.price);
        }
    }

    /// The symbol that a snapshot without a name is of. O(symbols of the catalog).
    fn owner(&self, market: Market, update: u64, best: Option<i64>) -> Result<SymbolId, Fault> {
        let of_market = || {
            let symbols = self.symbols.iter().enumerate();
            symbols.filter_map(|(id, seen)| seen.filter(|seen| seen.market == market).map(|seen| (id, seen)))
        };
        let mut all = of_market();
        match (all.next(), all.next()) {
            (None, _) => Err(Fault::SnapshotTooEarly),
            (Some((only, _)), None) => Ok(SymbolId(only as u32)),
            _ => {
                let near = |seen: &Seen| match (seen.price, best) {
                    (Some(a), Some(b)) => a.saturating_mul(2) >= b && b.saturating_mul(2) >= a,
                    _ => true,
                };
                let distance = |seen: Seen| seen.update.map(|last| last.abs_diff(update));
                let fitting = of_market().filter(|(_, seen)| near(seen));
                let nearest = fitting.filter_map(|(id, seen)| Some((distance(seen)?, id))).min();
                nearest.map(|(_, id)| SymbolId(id as u32)).ok_or(Fault::SnapshotOfNone)
            }
        }
    }
}

/// The gap event before a message of this head: numbers `from` to `to` did not come.
pub(super) fn gap_slot(head: &Head, from: u64, to: u64, missing: u64) -> Slot {
    let mut slot = head.slot(GAP_PART, 0, Gap { expected: from, received: to + 1, missing });
    slot.seq = from;
    slot.flags = Flags::UNSEQUENCED;
    slot
}

/// Name of a market's changes of books in the gap detector: none of the catalog, where a snapshot would have to define it.
const fn watched(market: Market) -> SourceId {
    SourceId(market as u8 + 1)
}

fn source(catalog: &mut Catalog, market: Market, stream: Stream) -> Result<SourceId, Refusal> {
    let name = SOURCE_NAME[market as usize][stream as usize];
    catalog.source(name, SEQ_RULE[stream as usize]).map_err(Refusal::Catalog)
}

/// Type of a stream: what follows the symbol in `<symbol>@<type>`, the whole name of a market-wide one (`!ticker@arr`).
fn stream_type(name: &[u8]) -> &[u8] {
    match name.iter().position(|byte| *byte == b'@') {
        Some(at) if name[0] != b'!' => &name[at + 1..],
        _ => name,
    }
}

/// `depth20` of `depth20@100ms`: a stream of partial books.
fn partial_book(stream: &[u8]) -> Option<&[u8]> {
    let levels = stream.strip_prefix(b"depth")?.iter().take_while(|byte| byte.is_ascii_digit()).count();
    (levels > 0).then(|| &stream[..b"depth".len() + levels])
}

/// Whether a futures symbol is one of COIN-M by its name: `BTCUSD_PERP`, `BTCUSD_240927`. USD-M contracts have no suffix
/// or a date after a pair in USDT, USDC or BUSD.
fn is_coin_margined(symbol: &[u8]) -> bool {
    let Some(at) = symbol.iter().position(|byte| *byte == b'_') else { return false };
    let (pair, contract) = (&symbol[..at], &symbol[at + 1..]);
    contract == b"PERP" || pair == b"BNBUSD" || pair.ends_with(b"USD") && !pair.ends_with(b"BUSD")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_names_are_those_that_are_looked_up() {
        for (index, name) in KEY_NAME.iter().enumerate() {
            assert_eq!(Key::of(name.as_bytes()).map(|key| (key as usize, key.name())), Some((index, *name)));
        }
    }

    #[test]
    fn stream_names_are_taken_apart() {
        assert_eq!(stream_type(b"btcusdt@depth@100ms"), b"depth@100ms");
        assert_eq!(stream_type(b"!ticker@arr"), b"!ticker@arr");
        assert_eq!(stream_type(b"odd"), b"odd");
        assert_eq!(stream_type(b"@"), b"");
        assert_eq!(partial_book(b"depth20@100ms"), Some(&b"depth20"[..]));
        assert_eq!(partial_book(b"depth5"), Some(&b"depth5"[..]));
        assert_eq!(partial_book(b"depth@100ms"), None);
        assert_eq!(partial_book(b"trade"), None);
    }

    #[test]
    fn coin_margined_contracts_are_told_by_name() {
        for name in ["BTCUSD_PERP", "BTCUSD_240927", "BNBUSD_PERP", "BNBUSD_200925"] {
            assert!(is_coin_margined(name.as_bytes()), "{name}");
        }
        for name in ["BTCUSDT", "BTCUSDT_240927", "ETHUSDC_250328", "BTCBUSD_210129", "ETHUSD"] {
            assert!(!is_coin_margined(name.as_bytes()), "{name}");
        }
    }
}
