//! IEX-TP with DEEP 1.0 and TOPS 1.6, from datagrams to events.
//!
//! | message | events | notes |
//! |---|---|---|
//! | `8`, `5` price level update | 1 `book_level` | size 0 deletes; `source_flags` are the event flags, of which bit 0 says that IEX is through with what happened: a book may be crossed before |
//! | `Q` quote update | 1 `quote` | a side of size 0 has no price |
//! | `T` trade report | 1 `trade` | no side: IEX tells none; `source_flags` are the sale conditions; the trade's id is dropped |
//! | `H` trading status | 1 `status` | `T` trading (7), `H` halt (8), `P` pause (9), `O` pre-cross (2); reasons `T1` 30, `IPO*` 15, `MCB1` to `MCB3` 120 to 122, else 0 |
//! | `O` operational halt | 1 `status` | `O` halt (8), `N` trading (7) where the last `H` said so, else 0; reason 60 |
//! | `P` short sale price test | 1 `status` | action 14, `is_short_sell_restricted` |
//! | `D` security directory | none | names its symbol |
//! | `S`, `I`, `E`, `B`, `X`, `A` | none | counted by name in [`Tally::skipped`]: no kind has them. A broken trade is not taken back |
//! | other types | none | counted by their letter, skipped by their length |
//!
//! - Sources are `iex.deep` and `iex.tops`, of another channel than 1 `iex.deep.<channel>`; they count [`SeqRule::Contiguous`]. `seq` is the
//!   message's number, `ts_event` its time, `ts_recv` the packet's. Symbols are `IEX:` and the name.
//! - Prices of 1e-4 become 1e-9 exactly; one that does not fit makes its message bad.
//! - **Beginning of books**: where every message of a session since its number 1 has come, a book is empty before its first level; it
//!   begins with a clear then, which takes part 0 (the level has part 1). What begins in the middle of a session has no known beginning.
//! - **Duplicates** (line B, segments sent again) are dropped and counted. What is beyond a hole waits for the other line, not for long: see
//!   [`Hold`]; its `ts_recv` is when it can be used. **Gaps** are told before the segment that shows them, to every
//!   symbol that has had a level, quote, trade or status: see [`Contiguous`]. A heartbeat shows one, too.
//! - **Epochs**: another session, or numbers that begin anew within one, are an `epoch` event of the source, and no gap. They begin anew
//!   where a segment that was sent later than all so far has numbers before the next one, and a second sign says the same: a heartbeat
//!   whose stream offset falls, too, or messages of which the first is later than all before. Else such a segment was sent again. One
//!   strange segment begins no session: see [`Sessions`], which drops and counts what is late or of another feed. A damaged time of the far
//!   future counts until two segments in order are before it.
//! - A message that is too short, or has no symbol, makes its packet bad; the others of the packet stand.

use super::udp::{Contiguous, Datagram, Fed, Feed, FeedError, Fresh, Hold, Judged, Offer, Sessions};
use super::{MESSAGE_SLOTS_MAX, SlotBuf, Tally};
use std::fmt::Write;
use tapeline_core::catalog::{Catalog, CatalogError, SeqRule};
use tapeline_core::event::payload::{BookLevel, Epoch, LevelAction, Quote, Status, Trade};
use tapeline_core::event::{Flags, KindVersion, Payload, Slot};
use tapeline_core::units::{PRICE_UNDEFINED, Side, SourceId, SymbolId, UnixNanos};
use tapeline_core::wire::iex::{self, Message, MessageError, Symbol};
use tapeline_core::wire::iex_tp::{Header, Protocol, Segment};

/// Streams (protocol and channel) of one input at most: segments of further ones are bad packets. IEX has one channel.
pub const STREAMS_MAX: usize = 16;
/// What a symbol's name begins with.
const SYMBOL_PREFIX: &[u8] = b"IEX:";
/// Bytes of the shortest message that gives an event, its length included.
const EVENT_BYTES_MIN: usize = 20;
const _: () = assert!(2 * (u16::MAX as usize / EVENT_BYTES_MIN) < MESSAGE_SLOTS_MAX, "a datagram always fits");
/// From 1e-4 to 1e-9.
const PRICE_FACTOR: i64 = 100_000;

/// DBN's numbers, as `status` has them.
mod status {
    pub(super) const PRE_CROSS: u16 = 2;
    pub(super) const TRADING: u16 = 7;
    pub(super) const HALT: u16 = 8;
    pub(super) const PAUSE: u16 = 9;
    pub(super) const SSR_CHANGE: u16 = 14;
    pub(super) const NEW_ISSUE: u16 = 15;
    pub(super) const NEWS_PENDING: u16 = 30;
    pub(super) const OPERATIONAL: u16 = 60;
    pub(super) const MARKET_WIDE_HALT_1: u16 = 120;
}

/// Why a message gave no event.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
enum Fault {
    #[error(transparent)]
    Message(#[from] MessageError),
    #[error("a symbol that is empty or not printable")]
    Symbol,
    #[error("a price of {0} in units of 1e-4 does not fit")]
    Price(i64),
    #[error("a time of {0} ns, before 1970")]
    Time(i64),
    #[error("no room for another symbol")]
    Room,
}

enum Refusal {
    Bad(Fault),
    Catalog(CatalogError),
}

impl<E: Into<Fault>> From<E> for Refusal {
    fn from(error: E) -> Self {
        Self::Bad(error.into())
    }
}

/// From 8 bytes to a symbol's id: the catalog's answer, remembered. Open addressing, at most half full.
struct Symbols {
    /// The bytes as a number; 0 = free, which no symbol is.
    keys: Box<[u64]>,
    ids: Box<[SymbolId]>,
    shift: u32,
}

impl Symbols {
    fn new(symbols: usize) -> Self {
        let cells = (symbols * 2).next_power_of_two();
        Self {
            keys: vec![0; cells].into_boxed_slice(),
            ids: vec![SymbolId::NONE; cells].into_boxed_slice(),
            shift: 64 - cells.ilog2(),
        }
    }

    #[inline]
    fn id(&mut self, symbol: Symbol, catalog: &mut Catalog) -> Result<SymbolId, Refusal> {
        let key = u64::from_le_bytes(symbol.0);
        // Fibonacci hashing: the high bits of the product depend on all bits of the key.
        let mut cell = (key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> self.shift) as usize;
        for _ in 0..self.keys.len() {
            if self.keys[cell] == key {
                return if key == 0 { Err(Fault::Symbol.into()) } else { Ok(self.ids[cell]) };
            }
            if self.keys[cell] == 0 {
                return self.intern(cell, symbol, catalog);
            }
            cell = (cell + 1) & (self.keys.len() - 1);
        }
        Err(Fault::Room.into())
    }

    #[cold]
    fn intern(&mut self, cell: usize, symbol: Symbol, catalog: &mut Catalog) -> Result<SymbolId, Refusal> {
        let name = symbol.text().ok_or(Fault::Symbol)?;
        let mut text = [0; SYMBOL_PREFIX.len() + iex::SYMBOL_BYTES];
        let text = &mut text[..SYMBOL_PREFIX.len() + name.len()];
        text[..SYMBOL_PREFIX.len()].copy_from_slice(SYMBOL_PREFIX);
        text[SYMBOL_PREFIX.len()..].copy_from_slice(name);
        // A text has one key, and ids are fewer than half of the cells: a free cell is always left.
        let id = catalog.symbol(text).map_err(Refusal::Catalog)?;
        (self.keys[cell], self.ids[cell]) = (u64::from_le_bytes(symbol.0), id);
        Ok(id)
    }
}

/// One channel of one protocol.
struct Stream {
    protocol: Protocol,
    channel: u32,
    source: SourceId,
    sessions: Sessions<u32>,
    numbers: Contiguous,
    /// Latest send time, and time of a message.
    sent: Latest,
    latest: Latest,
    /// Stream offset of the last segment in order.
    offset: i64,
    /// Epochs begun after the first.
    epochs: u64,
    heartbeats: u64,
    /// Bit of each symbol of which the last trading status was `T`.
    is_trading: Box<[u64]>,
    /// Bit of each symbol whose book has begun.
    has_book: Box<[u64]>,
    /// Messages by type: those that became events or names, and those without a kind.
    messages: Box<[u64; 256]>,
    skipped: Box<[u64; 256]>,
    /// The segment whose gap is being told, or that waits for room; and the same for the first of those that are held.
    pending: [Option<Fresh>; 2],
    /// Segments beyond a hole.
    hold: Hold,
    /// The segment at hand is through; what was held is on its way.
    is_through: bool,
    /// What is bad of the datagram at hand, or of those that were held.
    fault: Option<String>,
}

/// Latest of the times of segments in order. One of them may be damaged: two that follow and are both before it take its place.
struct Latest {
    time: i64,
    /// The last one, where that is before the latest.
    below: Option<i64>,
}

impl Latest {
    const NONE: Self = Self { time: i64::MIN, below: None };

    #[inline]
    fn take(&mut self, time: i64) {
        if time >= self.time {
            *self = Self { time, below: None };
            return;
        }
        match self.below {
            Some(below) => *self = Self { time: below.max(time), below: None },
            None => self.below = Some(time),
        }
    }
}

/// Time of a message: all have it at the same place.
#[inline]
fn time(message: &[u8]) -> Option<i64> {
    message.get(2..10).and_then(|eight| eight.try_into().ok()).map(i64::from_le_bytes)
}

/// What is to be done with a segment that has just come.
enum Arrival {
    /// Nothing more: it is counted, or held.
    Through,
    /// It is next, or tells a gap.
    Now,
    /// The same, after all that is held.
    AfterAll,
    /// Nothing more: its messages are not used.
    Bad(String),
}

/// Whether every message of a segment is one, or of a type that is not known.
fn is_whole(segment: &Segment<'_>) -> bool {
    segment.messages().all(|bytes| matches!(iex::decode(bytes), Ok(_) | Err(MessageError::Unknown(_))))
}

impl Stream {
    fn new(header: &Header, catalog: &mut Catalog) -> Result<Self, CatalogError> {
        let name = match header.channel {
            1 => format!("iex.{}", header.protocol.name()),
            channel => format!("iex.{}.{channel}", header.protocol.name()),
        };
        let symbols = catalog.symbols_max();
        let bits = || vec![0; symbols.div_ceil(64)].into_boxed_slice();
        Ok(Self {
            protocol: header.protocol,
            channel: header.channel,
            source: catalog.source(name.as_bytes(), SeqRule::Contiguous)?,
            sessions: Sessions::new(header.session),
            numbers: Contiguous::new(symbols),
            sent: Latest::NONE,
            latest: Latest::NONE,
            offset: i64::MIN,
            epochs: 0,
            heartbeats: 0,
            is_trading: bits(),
            has_book: bits(),
            messages: Box::new([0; 256]),
            skipped: Box::new([0; 256]),
            pending: [None, None],
            hold: Hold::new(),
            is_through: false,
            fault: None,
        })
    }

    /// Takes the session and the numbers of a segment. There is room for one slot. `None` for one that is not used.
    fn observe(
        &mut self,
        segment: &Segment<'_>,
        which: usize,
        ts_recv: UnixNanos,
        out: &mut SlotBuf,
    ) -> Result<Option<Fresh>, FeedError> {
        let header = &segment.header;
        let ts_event = u64::try_from(header.send_time).map_or(UnixNanos::UNKNOWN, UnixNanos);
        let ts_recv = if ts_recv == UnixNanos::UNKNOWN { ts_event } else { ts_recv };
        let (next, count) = (self.numbers.next(), u64::from(header.messages));
        let is_arrival = which == 0;
        match self.sessions.judge(header.session, (header.first, count), next, is_arrival, || is_whole(segment)) {
            Judged::Stale | Judged::Foreign => return Ok(None),
            Judged::Present if self.begins_anew(segment) => self.begin_epoch(ts_recv, ts_event, out),
            Judged::Present => {}
            Judged::Begins { from } => {
                self.sessions.begin(header.session, next);
                self.begin_epoch(ts_recv, ts_event, out);
                if let Some(from) = from {
                    self.numbers.observe(from, 0, ts_recv, ts_event, self.source);
                }
            }
        }
        if self.numbers.next().is_none_or(|next| header.first >= next) {
            self.sent.take(header.send_time);
            self.offset = header.stream_offset;
            if let Some(latest) = segment.messages().filter_map(time).max() {
                self.latest.take(latest);
            }
        }
        self.heartbeats += u64::from(header.messages == 0);
        let fresh = self.numbers.observe(header.first, count, ts_recv, ts_event, self.source);
        fresh.map(Some).ok_or_else(|| FeedError::Malformed(format!("message numbers from {}", header.first)))
    }

    /// Whether the numbers begin anew in this segment of the same session.
    #[inline]
    fn begins_anew(&self, segment: &Segment<'_>) -> bool {
        let header = &segment.header;
        let is_before = self.numbers.next().is_some_and(|next| header.first < next);
        is_before && header.send_time > self.sent.time && self.is_new(segment)
    }

    #[cold]
    fn is_new(&self, segment: &Segment<'_>) -> bool {
        match segment.messages().next() {
            None => segment.header.stream_offset < self.offset,
            Some(message) => time(message).is_some_and(|time| time > self.latest.time),
        }
    }

    #[cold]
    fn begin_epoch(&mut self, ts_recv: UnixNanos, ts_event: UnixNanos, out: &mut SlotBuf) {
        self.numbers.begin_epoch();
        (self.sent, self.latest) = (Latest::NONE, Latest::NONE);
        self.has_book.fill(0);
        self.is_trading.fill(0);
        self.epochs += 1;
        let mut slot = Slot {
            kind: KindVersion::new(Epoch::KIND, Epoch::VERSION),
            flags: Flags::LAST,
            ts_recv,
            ts_event,
            source: self.source,
            ..Slot::ZERO
        };
        *slot.payload_mut() = Epoch { number: self.epochs, ..Epoch::default() };
        out.extend(&[slot]);
    }

    /// What is to be done with a segment that has just come.
    fn arrive(&mut self, segment: &Segment<'_>, payload: &[u8]) -> Arrival {
        if self.pending[0].is_some() {
            return Arrival::Now;
        }
        let (first, count) = (segment.header.first, u64::from(segment.header.messages));
        let (session, next) = (segment.header.session, self.numbers.next());
        match self.sessions.judge(session, (first, count), next, true, || is_whole(segment)) {
            Judged::Stale => Arrival::Through,
            Judged::Foreign if count == 0 => Arrival::Through,
            Judged::Foreign => {
                Arrival::Bad(format!("a segment of session {session}, while {} goes on", self.sessions.present()))
            }
            Judged::Begins { .. } => Arrival::AfterAll,
            Judged::Present if self.begins_anew(segment) => Arrival::AfterAll,
            Judged::Present if !self.numbers.is_beyond_hole(first) => Arrival::Now,
            Judged::Present => match self.hold.offer(first, payload) {
                Offer::Kept => Arrival::Through,
                Offer::Twin => {
                    self.numbers.count_duplicates(count);
                    self.heartbeats += u64::from(count == 0);
                    Arrival::Through
                }
                Offer::Full => Arrival::AfterAll,
            },
        }
    }

    /// Takes segments that were held: those that follow or have waited for too long, or all. Those that are malformed are through, too.
    fn release(
        &mut self,
        all: bool,
        symbols: &mut Symbols,
        catalog: &mut Catalog,
        out: &mut SlotBuf,
    ) -> Result<Fed, FeedError> {
        if self.hold.is_empty() {
            return Ok(Fed::Done);
        }
        let mut hold = std::mem::take(&mut self.hold);
        let fed = loop {
            let held = if all { hold.front() } else { hold.due(self.numbers.next(), self.numbers.has_pair()) };
            let Some(payload) = held else { break Ok(Fed::Done) };
            match self.take((payload, hold.now()), 1, symbols, catalog, out) {
                Ok(Fed::Done) => {}
                Err(FeedError::Malformed(why)) => drop(self.fault.get_or_insert(why)),
                other => break other,
            }
            hold.pop();
        };
        self.hold = hold;
        fed
    }

    /// Takes a segment, and tells the gap before it. `which` is its place in what is pending.
    fn take(
        &mut self,
        (payload, ts_recv): (&[u8], UnixNanos),
        which: usize,
        symbols: &mut Symbols,
        catalog: &mut Catalog,
        out: &mut SlotBuf,
    ) -> Result<Fed, FeedError> {
        let segment = Segment::parse(payload).map_err(|error| FeedError::Malformed(error.to_string()))?;
        let fresh = match self.pending[which].take() {
            Some(fresh) => fresh,
            None if out.remaining() == 0 => return Ok(Fed::NoRoom),
            None => match self.observe(&segment, which, ts_recv, out)? {
                Some(fresh) => fresh,
                None => return Ok(Fed::Done),
            },
        };
        // A message is an event, and a clear before it; shorter ones give none.
        let messages = usize::from(segment.header.messages).min(payload.len() / EVENT_BYTES_MIN);
        if !self.numbers.tell(out) || out.remaining() < 2 * messages {
            self.pending[which] = Some(fresh);
            return Ok(Fed::NoRoom);
        }
        let mut fault = None;
        for (seq, bytes) in (segment.header.first..).zip(segment.messages()) {
            if !fresh.contains(seq) {
                continue;
            }
            match self.message(bytes, seq, ts_recv, symbols, catalog, out) {
                Ok(()) => {}
                Err(Refusal::Bad(why)) => {
                    fault.get_or_insert((seq, why));
                }
                Err(Refusal::Catalog(error)) => return Err(error.into()),
            }
        }
        match fault {
            Some((seq, why)) => Err(FeedError::Malformed(format!("message {seq}: {why}"))),
            None => Ok(Fed::Done),
        }
    }

    /// Appends the events of one message. There is room for two.
    #[inline]
    fn message(
        &mut self,
        bytes: &[u8],
        seq: u64,
        ts_recv: UnixNanos,
        symbols: &mut Symbols,
        catalog: &mut Catalog,
        out: &mut SlotBuf,
    ) -> Result<(), Refusal> {
        let message = match iex::decode(bytes) {
            Err(MessageError::Unknown(kind)) => {
                self.skipped[usize::from(kind)] += 1;
                return Ok(());
            }
            decoded => decoded?,
        };
        let kind = usize::from(bytes[0]);
        let (timestamp, symbol) = match message {
            Message::PriceLevel(m) => (m.timestamp, m.symbol),
            Message::Quote(m) => (m.timestamp, m.symbol),
            Message::Trade(m) => (m.timestamp, m.symbol),
            Message::TradingStatus(m) => (m.timestamp, m.symbol),
            Message::OperationalHalt(m) => (m.timestamp, m.symbol),
            Message::ShortSale(m) => (m.timestamp, m.symbol),
            Message::Directory(m) => {
                symbols.id(m.symbol, catalog)?;
                self.messages[kind] += 1;
                return Ok(());
            }
            Message::System(_)
            | Message::RetailLiquidity(_)
            | Message::SecurityEvent(_)
            | Message::TradeBreak(_)
            | Message::OfficialPrice(_)
            | Message::Auction(_) => {
                self.skipped[kind] += 1;
                return Ok(());
            }
        };
        let ts_event = UnixNanos(u64::try_from(timestamp).map_err(|_| Fault::Time(timestamp))?);
        let ts_recv = if ts_recv == UnixNanos::UNKNOWN { ts_event } else { ts_recv };
        let symbol = symbols.id(symbol, catalog)?;
        let mut slot = Slot { flags: Flags::LAST, ts_recv, ts_event, seq, symbol, source: self.source, ..Slot::ZERO };
        match message {
            Message::PriceLevel(m) => {
                let price = price(m.price)?;
                if self.numbers.is_whole() && set(&mut self.has_book, symbol) {
                    slot.flags = Flags::NONE;
                    put(&mut slot, BookLevel { action: LevelAction::Clear as u8, ..BookLevel::default() });
                    out.extend(&[slot]);
                    slot.part = 1;
                }
                // Each message ends here, whatever the event flag says: an event of IEX whose end is lost would swallow what follows.
                slot.flags = Flags::LAST;
                let action = if m.size == 0 { LevelAction::Delete } else { LevelAction::Set };
                let level = BookLevel {
                    price,
                    size: u64::from(m.size),
                    side: m.side as u8,
                    action: action as u8,
                    source_flags: m.flags,
                    ..BookLevel::default()
                };
                put(&mut slot, level);
            }
            Message::Quote(m) => {
                let side = |size: u32, value: i64| if size == 0 { Ok(PRICE_UNDEFINED) } else { price(value) };
                let (bid_px, ask_px) = (side(m.bid_size, m.bid_price)?, side(m.ask_size, m.ask_price)?);
                put(&mut slot, Quote { bid_px, ask_px, bid_sz: m.bid_size, ask_sz: m.ask_size });
            }
            Message::Trade(m) => {
                let trade = Trade {
                    price: price(m.price)?,
                    size: u64::from(m.size),
                    side: Side::None as u8,
                    source_flags: m.flags,
                    ..Trade::default()
                };
                put(&mut slot, trade);
            }
            Message::TradingStatus(m) => {
                let _ = if m.status == b'T' {
                    set(&mut self.is_trading, symbol)
                } else {
                    clear(&mut self.is_trading, symbol)
                };
                put(&mut slot, trading_status(m.status, m.reason));
            }
            Message::OperationalHalt(m) => {
                let (action, is_trading) = match m.status {
                    b'O' => (status::HALT, b'N'),
                    b'N' if is_set(&self.is_trading, symbol) => (status::TRADING, b'Y'),
                    _ => (0, b'~'),
                };
                put(&mut slot, Status { action, reason: status::OPERATIONAL, is_trading, ..unknown_status() });
            }
            Message::ShortSale(m) => {
                let is_short_sell_restricted = if m.status == 1 { b'Y' } else { b'N' };
                put(&mut slot, Status { action: status::SSR_CHANGE, is_short_sell_restricted, ..unknown_status() });
            }
            // Counted above.
            _ => return Ok(()),
        }
        out.extend(&[slot]);
        self.numbers.show(symbol);
        self.messages[kind] += 1;
        Ok(())
    }
}

#[inline]
fn put<P: Payload>(slot: &mut Slot, payload: P) {
    slot.kind = KindVersion::new(P::KIND, P::VERSION);
    *slot.payload_mut() = payload;
}

#[inline]
fn price(price: i64) -> Result<i64, Fault> {
    price.checked_mul(PRICE_FACTOR).filter(|price| *price != PRICE_UNDEFINED).ok_or(Fault::Price(price))
}

#[inline]
fn is_set(bits: &[u64], symbol: SymbolId) -> bool {
    bits[symbol.index() / 64] >> (symbol.index() % 64) & 1 == 1
}

/// `true` when it was not set.
#[inline]
fn set(bits: &mut [u64], symbol: SymbolId) -> bool {
    let was_set = is_set(bits, symbol);
    bits[symbol.index() / 64] |= 1 << (symbol.index() % 64);
    !was_set
}

fn clear(bits: &mut [u64], symbol: SymbolId) -> bool {
    let was_set = is_set(bits, symbol);
    bits[symbol.index() / 64] &= !(1 << (symbol.index() % 64));
    was_set
}

const fn unknown_status() -> Status {
    Status {
        action: 0,
        reason: 0,
        trading_event: 0,
        is_trading: b'~',
        is_quoting: b'~',
        is_short_sell_restricted: b'~',
        reserved: [0; 15],
    }
}

fn trading_status(status: u8, reason: [u8; 4]) -> Status {
    let (action, is_trading) = match status {
        b'T' => (status::TRADING, b'Y'),
        b'H' => (status::HALT, b'N'),
        b'P' => (status::PAUSE, b'N'),
        b'O' => (status::PRE_CROSS, b'N'),
        _ => (0, b'~'),
    };
    let reason = match reason.trim_ascii_end() {
        b"T1" => status::NEWS_PENDING,
        b"IPO1" | b"IPO2" | b"IPO3" | b"IPOD" => status::NEW_ISSUE,
        [b'M', b'C', b'B', level @ b'1'..=b'3'] => status::MARKET_WIDE_HALT_1 + u16::from(level - b'1'),
        _ => 0,
    };
    Status { action, reason, is_trading, ..unknown_status() }
}

/// The feed of IEX-TP. Allocates when a stream begins, and for bad packets; nothing for the others.
pub struct IexFeed {
    streams: Vec<Stream>,
    symbols: Symbols,
}

impl IexFeed {
    /// Nothing has come yet.
    #[must_use]
    pub fn new() -> Self {
        Self { streams: Vec::new(), symbols: Symbols::new(1) }
    }

    /// Index of the stream of a segment.
    #[inline]
    fn stream(&mut self, header: &Header, catalog: &mut Catalog) -> Result<usize, FeedError> {
        let is_its = |stream: &Stream| stream.protocol == header.protocol && stream.channel == header.channel;
        match self.streams.iter().position(is_its) {
            Some(index) => Ok(index),
            None => self.begin(header, catalog),
        }
    }

    #[cold]
    fn begin(&mut self, header: &Header, catalog: &mut Catalog) -> Result<usize, FeedError> {
        if self.streams.len() == STREAMS_MAX {
            return Err(FeedError::Malformed(format!("more than {STREAMS_MAX} channels of IEX-TP")));
        }
        if self.streams.is_empty() {
            self.symbols = Symbols::new(catalog.symbols_max());
        }
        self.streams.push(Stream::new(header, catalog)?);
        Ok(self.streams.len() - 1)
    }
}

impl Default for IexFeed {
    fn default() -> Self {
        Self::new()
    }
}

impl Feed for IexFeed {
    fn name(&self) -> &'static str {
        "iex-tp"
    }

    fn recognises(&self, payload: &[u8]) -> bool {
        Segment::parse(payload).is_ok()
    }

    fn datagram(
        &mut self,
        datagram: &Datagram<'_>,
        catalog: &mut Catalog,
        out: &mut SlotBuf,
    ) -> Result<Fed, FeedError> {
        let segment = Segment::parse(datagram.payload).map_err(|error| FeedError::Malformed(error.to_string()))?;
        let index = self.stream(&segment.header, catalog)?;
        let (stream, symbols) = (&mut self.streams[index], &mut self.symbols);
        if !stream.is_through {
            stream.hold.arrive(datagram.ts_recv);
            let fed = match stream.arrive(&segment, datagram.payload) {
                Arrival::Through => Ok(Fed::Done),
                Arrival::Bad(why) => Err(FeedError::Malformed(why)),
                Arrival::Now => stream.take((datagram.payload, datagram.ts_recv), 0, symbols, catalog, out),
                Arrival::AfterAll => match stream.release(true, symbols, catalog, out)? {
                    Fed::NoRoom => return Ok(Fed::NoRoom),
                    Fed::Done => stream.take((datagram.payload, datagram.ts_recv), 0, symbols, catalog, out),
                },
            };
            match fed {
                Ok(Fed::NoRoom) => return Ok(Fed::NoRoom),
                Err(FeedError::Malformed(why)) => drop(stream.fault.get_or_insert(why)),
                other => drop(other?),
            }
            stream.is_through = true;
        }
        if stream.release(false, symbols, catalog, out)? == Fed::NoRoom {
            return Ok(Fed::NoRoom);
        }
        stream.is_through = false;
        stream.fault.take().map_or(Ok(Fed::Done), |why| Err(FeedError::Malformed(why)))
    }

    fn finish(&mut self, catalog: &mut Catalog, out: &mut SlotBuf) -> Result<Fed, FeedError> {
        for stream in &mut self.streams {
            if stream.release(true, &mut self.symbols, catalog, out)? == Fed::NoRoom {
                return Ok(Fed::NoRoom);
            }
            if let Some(why) = stream.fault.take() {
                return Err(FeedError::Malformed(why));
            }
        }
        Ok(Fed::Done)
    }

    fn tally(&self, into: &mut Tally) {
        for stream in &self.streams {
            let protocol = stream.protocol.name();
            for kind in 0..=255u8 {
                let mut name = format!("{protocol} {}", kind.escape_ascii());
                if let Some(known) = iex::name(kind) {
                    let _ = write!(name, " {known}");
                }
                let index = usize::from(kind);
                if stream.skipped[index] > 0 {
                    *into.skipped.entry(name.clone()).or_default() += stream.skipped[index];
                }
                if stream.messages[index] > 0 {
                    *into.messages.entry(name).or_default() += stream.messages[index];
                }
            }
            let counts = stream.numbers.counts();
            for (name, count) in [
                ("heartbeat", stream.heartbeats),
                ("duplicate", stream.numbers.duplicates()),
                ("too late", stream.numbers.too_late()),
                ("missing", counts.open + counts.given_up),
            ] {
                if count > 0 {
                    *into.skipped.entry(format!("{protocol} {name}")).or_default() += count;
                }
            }
            stream.sessions.tally(protocol, "segment", into);
            if stream.epochs > 0 {
                *into.messages.entry(format!("{protocol} epoch")).or_default() += stream.epochs;
            }
        }
    }
}
