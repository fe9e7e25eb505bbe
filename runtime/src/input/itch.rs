//! NASDAQ TotalView-ITCH 5.0 as events, whatever carried the messages.
//!
//! [`ItchMapper::message`] takes one raw message with its number and, where the capture has one, the time of capture.
//!
//! | message | events, in parts of one number | keeps | drops |
//! |---|---|---|---|
//! | `R` stock directory | `book_order` `R`, the first time in a session: nothing is in the book | stock, as the symbol of its stock locate | what the security is |
//! | `A`, `F` add order | `book_order` `A` | reference number, side, shares, price | attribution |
//! | `E` executed | `trade` at the order's price, `book_order` `F`, `book_order` `C` | shares; the trade's side is the aggressor's | match number |
//! | `C` executed with price | the same at the execution's price; without the `trade` when it is not printable | shares | match number |
//! | `X` cancel | `book_order` `C` | shares | |
//! | `D` delete | `book_order` `C` of all that is left | | |
//! | `U` replace | `book_order` `C` of the original, `book_order` `A` of the new order on the original's side | both reference numbers, shares, price | |
//! | `P` trade (not displayed) | `trade` without a side | shares, price | reference and match number, the indicator (always `B`) |
//! | `Q` cross | `trade` without a side; `source_flags` is the cross type. None with 0 shares | shares, price | match number |
//! | `H` trading action | `status` | state, reason as far as DBN has a number for it | the reason's text |
//! | `Y` Reg SHO | `status` (short sale restriction changed) | action | |
//! | `h` operational halt | `status` when the market is Nasdaq | action | |
//! | `S` system event | `status` without a symbol for hours of system and market | | start and end of messages |
//! | `W` circuit breaker breached | `status` without a symbol (halt) | level | |
//! | `V`, `L`, `K`, `J`, `I`, `N`, `B`, `O` | none: no kind holds them | | all; counted by name in [`Tally::skipped`] |
//!
//! - `book_order` has DBN's actions, so that books read it as they read `mbo`: `F` tells of the fill and changes nothing, the `C` after it
//!   takes the shares off. A trade's `action` is the message type (`E`, `C`, `P`, `Q`). Sizes are shares (scale 0), prices exact.
//! - Executions, cancels, deletes and replaces name an order only by its number. Price, side and shares left come from a table of live
//!   orders of fixed capacity. Of an order that is not in it (the capture begins later, or the table was full), the price is undefined, the
//!   side none, and the size of a delete `u32::MAX` (DBN's undefined size, which takes out what is left); an `E` gives no trade then. Both are
//!   counted: `orders that were not kept`, `<message> of an unknown order`.
//! - Symbols are `NASDAQ:<stock>`, and the source is `nasdaq.itch`; those of another feed of the same capture have its port beside that
//!   ([`ItchMapper::beside`]), since markets of Nasdaq name the same stocks. A message without a stock takes the one that its stock locate was last used with; where that is not
//!   known it is skipped, as is a stock that is no printable text.
//! - `ts_event` is midnight in New York + the message's ns. The day is the one nearest to `ts_recv` where the capture has times of its own;
//!   else it is told ([`ItchConfig::date`]), or in a BinaryFILE's name, or 1970-01-01 ([`SessionDate`]). `ts_recv` is the capture's, else `ts_event`.
//! - The source counts [`SeqRule::Contiguous`]; `seq` is the message's number, from 1 in a BinaryFILE.
//! - A system event `O` (start of messages) that is not the first message begins a session anew: orders are forgotten.

mod date;
mod orders;
mod status;

pub use date::SessionDate;

use super::{SlotBuf, Tally};
use orders::{Order, Orders};
use tapeline_core::catalog::{Catalog, CatalogError, SeqRule};
use tapeline_core::event::payload::{BookOrder, Status, Trade};
use tapeline_core::event::{Flags, KindVersion, Payload, Slot};
use tapeline_core::units::{PRICE_UNDEFINED, Side, SourceId, SymbolId, UnixNanos};
use tapeline_core::wire::itch::{self, LAYOUTS, Layout, Message, Price4, trimmed};

/// Live orders that are remembered unless told otherwise: more than Nasdaq had at once on its busiest days. 64 MiB.
pub const ITCH_ORDERS_DEFAULT: usize = 3 << 20;
/// Slots that the events of one message take at most.
pub const ITCH_MESSAGE_SLOTS: usize = 3;
/// Name of the source.
pub const ITCH_SOURCE: &[u8] = b"nasdaq.itch";
/// What stands before the stock in a symbol.
const SYMBOL_PREFIX: &[u8] = b"NASDAQ";
/// Bytes of what tells one feed from another in a name: a dot and a port, a dot and a number.
const SUFFIX_BYTES_MAX: usize = 9;
/// Bytes of the longest symbol: the prefix, what tells the feed, a colon, and the stock.
const SYMBOL_BYTES_MAX: usize = SYMBOL_PREFIX.len() + SUFFIX_BYTES_MAX + 1 + 8;
/// DBN's size of which nothing is known.
const SIZE_UNDEFINED: u32 = u32::MAX;
/// Stock locates that there are.
const LOCATES: usize = 1 << 16;

/// How ITCH is read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ItchConfig {
    /// Day of the session, for captures without times of their own; `None` = by the file's name.
    pub date: Option<SessionDate>,
    /// Live orders that are remembered, at least 1.
    pub orders_max: usize,
}

impl Default for ItchConfig {
    fn default() -> Self {
        Self { date: None, orders_max: ITCH_ORDERS_DEFAULT }
    }
}

/// Why a message could not be used.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ItchError {
    /// It is none. An unknown type is no error: it is counted and skipped.
    #[error(transparent)]
    Message(#[from] itch::Error),
    /// Its symbol did not fit.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
}

/// What a stock locate stands for.
#[derive(Clone, Copy)]
struct Located {
    /// Bytes of the stock, as they were last seen; 0 = none was.
    stock: u64,
    /// [`SymbolId::NONE`] where the stock names nothing.
    symbol: SymbolId,
    /// The session in which its book is known to have begun, or has: a directory message must not clear it any more. 0 = none.
    begun: u32,
}

/// Why a message gave no event, or less than it could have.
#[derive(Clone, Copy)]
#[repr(usize)]
enum Lack {
    /// No kind holds it.
    Kind,
    /// Nothing names its symbol.
    Symbol,
    /// It has a letter that means nothing here.
    Code,
    /// The order is not in the table.
    Order,
    /// A cross without shares.
    Shares,
}

const LACKS: usize = 5;

/// Turns ITCH messages into events. See the [module](self). Nothing is allocated after [`ItchMapper::new`].
pub struct ItchMapper {
    located: Box<[Located]>,
    orders: Orders,
    /// Sessions so far, from 1.
    session: u32,
    source: SourceId,
    /// What the names of source and symbols have beside the usual: `.26400`, or nothing.
    suffix: String,
    /// Midnight of the session, ns since the UNIX epoch; `None` until the first message where the capture tells the day.
    midnight_ns: Option<u64>,
    /// Messages by type.
    messages: Box<[u64; 256]>,
    /// Messages by type and what they lack.
    lacks: Box<[[u64; LACKS]; 256]>,
    orders_not_kept: u64,
}

/// What all events of one message share.
struct Head {
    ts_recv: UnixNanos,
    ts_event: UnixNanos,
    seq: u64,
    symbol: SymbolId,
    source: SourceId,
}

impl Head {
    #[inline]
    fn slot<P: Payload>(&self, part: u16, flags: Flags, payload: P) -> Slot {
        Slot {
            kind: KindVersion::new(P::KIND, P::VERSION),
            flags,
            ts_recv: self.ts_recv,
            ts_event: self.ts_event,
            seq: self.seq,
            symbol: self.symbol,
            part,
            source: self.source,
            payload: bytemuck::must_cast(payload),
            ..Slot::ZERO
        }
    }

    /// The only event of the message.
    #[inline]
    fn only<P: Payload>(&self, payload: P) -> [Slot; 1] {
        [self.slot(0, Flags::LAST, payload)]
    }
}

impl ItchMapper {
    /// A mapper without any order or symbol. Allocates all that it will ever need: 16 bytes for each stock locate, and 16 for each cell of
    /// the table of orders (`orders_max`, a third more, rounded up to a power of two), which take memory as they are used.
    ///
    /// `midnight_ns` is midnight of the session, for messages without a time of capture; with one it is found, and not used.
    #[must_use]
    pub fn new(orders_max: usize, midnight_ns: Option<u64>) -> Self {
        let nothing = Located { stock: 0, symbol: SymbolId::NONE, begun: 0 };
        Self {
            located: vec![nothing; LOCATES].into_boxed_slice(),
            orders: Orders::new(orders_max.max(1)),
            session: 1,
            source: SourceId::NONE,
            suffix: String::new(),
            midnight_ns,
            messages: Box::new([0; 256]),
            lacks: Box::new([[0; LACKS]; 256]),
            orders_not_kept: 0,
        }
    }

    /// The same, for another feed of the same capture: its source is `nasdaq.itch.<port>`, and its symbols are `NASDAQ.<port>:<stock>`. For feed `number` of
    /// one port, from 2 to 16 on, `<port>.<number>` stands there.
    #[must_use]
    pub fn beside(self, port: u16, number: usize) -> Self {
        let suffix = if number < 2 { format!(".{port}") } else { format!(".{port}.{number}") };
        debug_assert!(suffix.len() <= SUFFIX_BYTES_MAX, "Invariant: suffix={suffix}");
        Self { suffix, ..self }
    }

    /// Live orders that are remembered.
    #[must_use]
    pub fn orders(&self) -> usize {
        self.orders.len()
    }

    /// Source of the events, once there was one.
    #[must_use]
    pub fn source(&self) -> Option<SourceId> {
        (self.source != SourceId::NONE).then_some(self.source)
    }

    /// The source, which is defined where it is not known yet.
    ///
    /// # Errors
    /// When the table of sources is full.
    #[inline]
    pub fn define_source(&mut self, catalog: &mut Catalog) -> Result<SourceId, CatalogError> {
        if self.source == SourceId::NONE {
            self.source = catalog.source(&[ITCH_SOURCE, self.suffix.as_bytes()].concat(), SeqRule::Contiguous)?;
        }
        Ok(self.source)
    }

    /// The symbols whose books have begun, by stock locate: those that missing messages may be of.
    pub fn symbols(&self) -> impl Iterator<Item = SymbolId> {
        self.located.iter().filter(|located| located.begun == self.session).map(|located| located.symbol)
    }

    /// Appends the events of one message, the last of which carries [`Flags::LAST`]. O(1) on average; no allocation.
    ///
    /// `seq` is its number, `ts_recv` when it was captured, where the capture tells. `out` has room for [`ITCH_MESSAGE_SLOTS`].
    ///
    /// # Errors
    /// [`ItchError`]; nothing was appended then.
    ///
    /// # Panics
    /// When `out` has less room.
    #[inline]
    pub fn message(
        &mut self,
        bytes: &[u8],
        seq: u64,
        ts_recv: Option<UnixNanos>,
        catalog: &mut Catalog,
        out: &mut SlotBuf,
    ) -> Result<(), ItchError> {
        let message = match Message::parse(bytes) {
            Ok(message) => message,
            Err(itch::Error::Unknown(letter)) => {
                self.messages[usize::from(letter)] += 1;
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        };
        let source = self.define_source(catalog)?;
        let (ts_event, ts_recv) = self.times(message.timestamp(), ts_recv);
        let mut head = Head { ts_recv, ts_event, seq, symbol: SymbolId::NONE, source };
        let locate = message.stock_locate();
        match message {
            Message::AddOrder(add) => {
                if self.stock(&message, locate, add.stock(), &mut head, catalog)? {
                    let order = (add.buy_sell_indicator(), add.shares(), add.price());
                    self.add(&head, locate, add.order_reference_number(), order, out);
                }
            }
            Message::AddOrderMpid(add) => {
                if self.stock(&message, locate, add.stock(), &mut head, catalog)? {
                    let order = (add.buy_sell_indicator(), add.shares(), add.price());
                    self.add(&head, locate, add.order_reference_number(), order, out);
                }
            }
            Message::OrderDelete(delete) => {
                if self.locate(&message, locate, &mut head) {
                    let id = delete.order_reference_number();
                    let cancel = self.cancel(&message, id, SIZE_UNDEFINED);
                    out.extend(&head.only(cancel));
                }
            }
            Message::OrderCancel(cancel) => {
                if self.locate(&message, locate, &mut head) {
                    let cancel = self.cancel(&message, cancel.order_reference_number(), cancel.cancelled_shares());
                    out.extend(&head.only(cancel));
                }
            }
            Message::OrderReplace(replace) => {
                if self.locate(&message, locate, &mut head) {
                    self.located[usize::from(locate)].begun = self.session;
                    let cancel = self.cancel(&message, replace.original_order_reference_number(), SIZE_UNDEFINED);
                    let side = Side::from_u8(cancel.side);
                    let (id, shares) = (replace.new_order_reference_number(), replace.shares());
                    let new = self.keep(id, side, shares, replace.price());
                    out.extend(&[head.slot(0, Flags::NONE, cancel), head.slot(1, Flags::LAST, new)]);
                }
            }
            Message::OrderExecuted(done) => {
                if self.locate(&message, locate, &mut head) {
                    self.execute(&message, &head, done.order_reference_number(), done.executed_shares(), None, out);
                }
            }
            Message::OrderExecutedWithPrice(done) => {
                if self.locate(&message, locate, &mut head) {
                    let at = Some((done.execution_price(), done.printable() != b'N'));
                    self.execute(&message, &head, done.order_reference_number(), done.executed_shares(), at, out);
                }
            }
            _ => self.other(&message, head, catalog, out)?,
        }
        self.messages[usize::from(bytes[0])] += 1;
        Ok(())
    }

    /// `ts_event` and `ts_recv` of a message.
    #[inline]
    fn times(&mut self, since_midnight_ns: u64, ts_recv: Option<UnixNanos>) -> (UnixNanos, UnixNanos) {
        let midnight_ns = match (self.midnight_ns, ts_recv) {
            (Some(midnight), None) => midnight,
            (Some(midnight), Some(at))
                if !SessionDate::is_other_day(midnight.saturating_add(since_midnight_ns), at.0) =>
            {
                midnight
            }
            (_, at) => self.find_midnight(since_midnight_ns, at),
        };
        let ts_event = UnixNanos(midnight_ns).saturating_add(since_midnight_ns);
        (ts_event, ts_recv.unwrap_or(ts_event))
    }

    #[cold]
    fn find_midnight(&mut self, since_midnight_ns: u64, ts_recv: Option<UnixNanos>) -> u64 {
        let midnight_ns = match ts_recv {
            Some(at) => SessionDate::midnight_near(at, since_midnight_ns),
            None => SessionDate::UNKNOWN.midnight_ns(),
        };
        self.midnight_ns = Some(midnight_ns);
        midnight_ns
    }

    #[cold]
    fn lack(&mut self, message: &Message<'_>, lack: Lack) {
        self.lacks[usize::from(message.letter())][lack as usize] += 1;
    }

    /// The symbol of a message that names none. `false` when nothing did before.
    #[inline]
    fn locate(&mut self, message: &Message<'_>, locate: u16, head: &mut Head) -> bool {
        head.symbol = self.located[usize::from(locate)].symbol;
        let is_known = head.symbol != SymbolId::NONE;
        if !is_known {
            self.lack(message, Lack::Symbol);
        }
        is_known
    }

    /// The symbol of a message that names it, which its stock locate stands for from now on. `false` when the text names nothing.
    #[inline]
    fn stock(
        &mut self,
        message: &Message<'_>,
        locate: u16,
        stock: [u8; 8],
        head: &mut Head,
        catalog: &mut Catalog,
    ) -> Result<bool, CatalogError> {
        if self.located[usize::from(locate)].stock != u64::from_ne_bytes(stock) {
            self.learn(locate, stock, catalog)?;
        }
        Ok(self.locate(message, locate, head))
    }

    #[cold]
    fn learn(&mut self, locate: u16, stock: [u8; 8], catalog: &mut Catalog) -> Result<(), CatalogError> {
        let name = trimmed(&stock);
        let mut symbol = SymbolId::NONE;
        if !name.is_empty() && name.iter().all(u8::is_ascii_graphic) {
            let (mut text, mut bytes) = ([0; SYMBOL_BYTES_MAX], 0);
            for part in [SYMBOL_PREFIX, self.suffix.as_bytes(), b":", name] {
                text[bytes..][..part.len()].copy_from_slice(part);
                bytes += part.len();
            }
            symbol = catalog.symbol(&text[..bytes])?;
        }
        self.located[usize::from(locate)] = Located { stock: u64::from_ne_bytes(stock), symbol, begun: 0 };
        Ok(())
    }

    #[inline]
    fn add(&mut self, head: &Head, locate: u16, id: u64, (side, shares, price): (u8, u32, Price4), out: &mut SlotBuf) {
        self.located[usize::from(locate)].begun = self.session;
        let side = match side {
            b'B' => Side::Bid,
            b'S' => Side::Ask,
            _ => Side::None,
        };
        let added = self.keep(id, side, shares, price);
        out.extend(&head.only(added));
    }

    /// Remembers an order, and gives the event that adds it.
    #[inline]
    fn keep(&mut self, id: u64, side: Side, shares: u32, price: Price4) -> BookOrder {
        if !self.orders.insert(id, Order { side, price: price.0, shares }) {
            self.orders_not_kept += 1;
        }
        BookOrder {
            order_id: id,
            price: price.nanos(),
            size: shares,
            side: side as u8,
            action: b'A',
            ..BookOrder::default()
        }
    }

    /// Takes shares off an order, and gives the event that does the same. [`SIZE_UNDEFINED`] stands for all that are left.
    #[inline]
    fn cancel(&mut self, message: &Message<'_>, id: u64, shares: u32) -> BookOrder {
        let known = self.orders.take(id, shares);
        if known.is_none() {
            self.lack(message, Lack::Order);
        }
        let left = known.map_or(SIZE_UNDEFINED, |order| order.shares);
        BookOrder {
            order_id: id,
            price: known.map_or(PRICE_UNDEFINED, |order| Price4(order.price).nanos()),
            size: if shares == SIZE_UNDEFINED { left } else { shares },
            side: known.map_or(Side::None, |order| order.side) as u8,
            action: b'C',
            ..BookOrder::default()
        }
    }

    /// An execution at the order's price, or at one of its own that is to be printed or not.
    #[inline]
    fn execute(
        &mut self,
        message: &Message<'_>,
        head: &Head,
        id: u64,
        shares: u32,
        at: Option<(Price4, bool)>,
        out: &mut SlotBuf,
    ) {
        let cancel = self.cancel(message, id, shares);
        let price = at.map_or(cancel.price, |(price, _)| price.nanos());
        let fill = BookOrder { price, action: b'F', ..cancel };
        let is_told = at.is_none_or(|(_, printable)| printable) && price != PRICE_UNDEFINED;
        if is_told {
            let aggressor = match Side::from_u8(cancel.side) {
                Side::Bid => Side::Ask,
                Side::Ask => Side::Bid,
                Side::None => Side::None,
            };
            let (size, action) = (u64::from(shares), message.letter());
            let trade = Trade { price, size, side: aggressor as u8, action, ..Trade::default() };
            out.extend(&[
                head.slot(0, Flags::NONE, trade),
                head.slot(1, Flags::NONE, fill),
                head.slot(2, Flags::LAST, cancel),
            ]);
        } else {
            out.extend(&[head.slot(0, Flags::NONE, fill), head.slot(1, Flags::LAST, cancel)]);
        }
    }

    /// Everything that is no order's.
    fn other(
        &mut self,
        message: &Message<'_>,
        mut head: Head,
        catalog: &mut Catalog,
        out: &mut SlotBuf,
    ) -> Result<(), CatalogError> {
        let locate = message.stock_locate();
        let named = match message {
            Message::StockDirectory(directory) => Some(directory.stock()),
            Message::StockTradingAction(action) => Some(action.stock()),
            Message::RegShoRestriction(restriction) => Some(restriction.stock()),
            Message::OperationalHalt(halt) => Some(halt.stock()),
            Message::Trade(trade) => Some(trade.stock()),
            Message::CrossTrade(cross) => Some(cross.stock()),
            _ => None,
        };
        if let Some(stock) = named
            && !self.stock(message, locate, stock, &mut head, catalog)?
        {
            return Ok(());
        }
        let print = |price: Price4, size, source_flags| Trade {
            price: price.nanos(),
            size,
            source_flags,
            action: message.letter(),
            ..Trade::default()
        };
        let status: Option<Status> = match message {
            Message::StockDirectory(_) => {
                if std::mem::replace(&mut self.located[usize::from(locate)].begun, self.session) != self.session {
                    let price = PRICE_UNDEFINED;
                    out.extend(&head.only(BookOrder { price, action: b'R', ..BookOrder::default() }));
                }
                return Ok(());
            }
            Message::Trade(trade) => {
                out.extend(&head.only(print(trade.price(), u64::from(trade.shares()), 0)));
                return Ok(());
            }
            Message::CrossTrade(cross) if cross.shares() > 0 => {
                out.extend(&head.only(print(cross.cross_price(), cross.shares(), cross.cross_type())));
                return Ok(());
            }
            Message::CrossTrade(_) => {
                self.lack(message, Lack::Shares);
                return Ok(());
            }
            Message::StockTradingAction(action) => status::of_trading_action(action.trading_state(), &action.reason()),
            Message::RegShoRestriction(restriction) => status::of_reg_sho(restriction.reg_sho_action()),
            Message::OperationalHalt(halt) if halt.market_code() == b'Q' => {
                status::of_operational_halt(halt.operational_halt_action())
            }
            Message::MwcbStatus(breach) => status::of_mwcb(breach.breached_level()),
            Message::SystemEvent(event) => {
                if event.event_code() == b'O' {
                    self.begin_session();
                }
                status::of_system_event(event.event_code())
            }
            Message::OperationalHalt(_) => None,
            _ => {
                self.lack(message, Lack::Kind);
                return Ok(());
            }
        };
        match status {
            Some(status) => out.extend(&head.only(status)),
            None => self.lack(message, Lack::Code),
        }
        Ok(())
    }

    /// Forgets orders, and that books have begun: what comes is of another day. Time of the orders that came since the last one.
    pub fn begin_session(&mut self) {
        self.orders.clear();
        self.session += 1;
    }

    /// Messages by name of their type, and what gave no event.
    #[must_use]
    pub fn tally(&self) -> Tally {
        let mut tally = Tally::default();
        for letter in 0..=u8::MAX {
            let (messages, lacks) = (self.messages[usize::from(letter)], self.lacks[usize::from(letter)]);
            let Some(layout) = Layout::of(letter) else {
                if messages > 0 {
                    let name = format!("type '{}'", letter.escape_ascii());
                    tally.messages.insert(name.clone(), messages);
                    tally.skipped.insert(name, messages);
                }
                continue;
            };
            if messages > 0 {
                tally.messages.insert(layout.name.to_owned(), messages);
            }
            for (lack, count) in lacks.into_iter().enumerate().filter(|(_, count)| *count > 0) {
                let why = [
                    "",
                    " of an unknown stock locate",
                    " without a status here",
                    " of an unknown order",
                    " without shares",
                ];
                tally.skipped.insert(format!("{}{}", layout.name, why[lack]), count);
            }
        }
        if self.orders_not_kept > 0 {
            tally.skipped.insert("orders that were not kept".to_owned(), self.orders_not_kept);
        }
        tally
    }
}

const _: () = assert!(LAYOUTS.len() < 256);

impl std::fmt::Debug for ItchMapper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ItchMapper")
            .field("orders", &self.orders.len())
            .field("midnight_ns", &self.midnight_ns)
            .finish_non_exhaustive()
    }
}
