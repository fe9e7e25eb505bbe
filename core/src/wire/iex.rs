//! Messages of IEX: DEEP 1.0 and TOPS 1.6 ("IEX DEEP Specification", version 1.06; "IEX TOPS Specification", version 1.66; IEX Group).
//!
//! Little-endian. Every message begins with its type (a letter), a byte of its own, and a time in ns since the UNIX epoch; all but the
//! system event go on with a symbol of 8 bytes, filled up with spaces. Prices are `i64` in units of 1e-4.
//!
//! | type | bytes | message | in |
//! |---|---|---|---|
//! | `S` | 10 | [`System`] | both |
//! | `D` | 31 | [`Directory`] | both |
//! | `H` | 22 | [`TradingStatus`] | both |
//! | `I` | 18 | [`RetailLiquidity`] | both |
//! | `O` | 18 | [`OperationalHalt`] | both |
//! | `P` | 19 | [`ShortSale`] | both |
//! | `E` | 18 | [`SecurityEvent`] | both |
//! | `8`, `5` | 30 | [`PriceLevel`] of the buy, of the sell side | DEEP |
//! | `Q` | 42 | [`Quote`] | TOPS |
//! | `T`, `B` | 38 | [`TradeReport`], and one that is broken | both |
//! | `X` | 26 | [`OfficialPrice`] | both |
//! | `A` | 80 | [`Auction`] | both |
//!
//! The specifications reserve the right to add types, and to make messages longer: other types are [`MessageError::Unknown`], to be
//! skipped by their length, and bytes behind the known ones are ignored. A message that is shorter is an error. Which messages a feed has
//! is not checked: both protocols share the numbers of types and layouts.

use crate::units::Side;

/// Bytes of a symbol.
pub const SYMBOL_BYTES: usize = 8;

/// Eight bytes of a symbol, filled up with spaces, as they came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Symbol(pub [u8; SYMBOL_BYTES]);

impl Symbol {
    /// The text without what fills it up; `None` when it is empty, or holds something else than visible ASCII.
    #[inline]
    #[must_use]
    pub fn text(&self) -> Option<&[u8]> {
        // Spaces only: what two symbols' bytes differ in, their texts differ in, too.
        let end = self.0.iter().rposition(|byte| *byte != b' ').map_or(0, |last| last + 1);
        let text = &self.0[..end];
        (!text.is_empty() && text.iter().all(u8::is_ascii_graphic)).then_some(text)
    }
}

/// System event.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct System {
    /// `O` start of messages, `S` start of system hours, `R` start and `M` end of regular market hours, `E` end of system hours, `C` end of
    /// messages.
    pub event: u8,
    /// ns since the UNIX epoch.
    pub timestamp: i64,
}

/// Security directory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Directory {
    /// Bit 7 test security, bit 6 when issued, bit 5 exchange traded product.
    pub flags: u8,
    /// ns since the UNIX epoch.
    pub timestamp: i64,
    /// Symbol.
    pub symbol: Symbol,
    /// Shares of a round lot.
    pub round_lot_size: u32,
    /// Official closing price of the day before, adjusted for corporate actions, 1e-4.
    pub adjusted_poc_price: i64,
    /// Tier of the Limit Up-Limit Down plan: 0, 1 or 2.
    pub luld_tier: u8,
}

/// Trading status.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TradingStatus {
    /// `H` halted across all US equity markets, `O` and `P` halted or paused with orders accepted on IEX, `T` trading on IEX.
    pub status: u8,
    /// ns since the UNIX epoch.
    pub timestamp: i64,
    /// Symbol.
    pub symbol: Symbol,
    /// Why, filled up with spaces: `T1`, `IPO1`, `IPOD`, `MCB3`, `NA`, `IPO2`, `IPO3`, `MCB1`, `MCB2`.
    pub reason: [u8; 4],
}

/// Retail liquidity indicator.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RetailLiquidity {
    /// ` ` none, `A` buy, `B` sell, `C` both sides.
    pub indicator: u8,
    /// ns since the UNIX epoch.
    pub timestamp: i64,
    /// Symbol.
    pub symbol: Symbol,
}

/// Operational halt.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OperationalHalt {
    /// `O` halted on IEX for operational reasons, `N` not.
    pub status: u8,
    /// ns since the UNIX epoch.
    pub timestamp: i64,
    /// Symbol.
    pub symbol: Symbol,
}

/// Short sale price test restriction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ShortSale {
    /// 1 = the restriction is in effect.
    pub status: u8,
    /// ns since the UNIX epoch.
    pub timestamp: i64,
    /// Symbol.
    pub symbol: Symbol,
    /// ` ` none, `A` activated, `C` continued, `D` deactivated, `N` not available.
    pub detail: u8,
}

/// Security event.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SecurityEvent {
    /// `O` the opening process is complete, `C` the closing process is.
    pub event: u8,
    /// ns since the UNIX epoch.
    pub timestamp: i64,
    /// Symbol.
    pub symbol: Symbol,
}

/// Price level update.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PriceLevel {
    /// [`Side::Bid`] for `8`, [`Side::Ask`] for `5`.
    pub side: Side,
    /// 1 = the event is through, the book is whole; 0 = more of it follows.
    pub flags: u8,
    /// ns since the UNIX epoch.
    pub timestamp: i64,
    /// Symbol.
    pub symbol: Symbol,
    /// Shares at that price; 0 = the level is gone.
    pub size: u32,
    /// Price, 1e-4.
    pub price: i64,
}

/// Quote update.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Quote {
    /// Bit 7 halted, paused or not available for trading, bit 6 outside of regular hours.
    pub flags: u8,
    /// ns since the UNIX epoch.
    pub timestamp: i64,
    /// Symbol.
    pub symbol: Symbol,
    /// Shares at the best bid; 0 = there is none.
    pub bid_size: u32,
    /// Best bid, 1e-4.
    pub bid_price: i64,
    /// Best offer, 1e-4.
    pub ask_price: i64,
    /// Shares at the best offer; 0 = there is none.
    pub ask_size: u32,
}

/// Trade report, or trade break.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TradeReport {
    /// Sale conditions: bit 7 intermarket sweep, 6 extended hours, 5 odd lot, 4 trade-through exempt, 3 single-price cross.
    pub flags: u8,
    /// ns since the UNIX epoch.
    pub timestamp: i64,
    /// Symbol.
    pub symbol: Symbol,
    /// Shares.
    pub size: u32,
    /// Price, 1e-4.
    pub price: i64,
    /// Number of the trade in its day.
    pub trade_id: i64,
}

/// Official price.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OfficialPrice {
    /// `Q` opening, `M` closing.
    pub kind: u8,
    /// ns since the UNIX epoch.
    pub timestamp: i64,
    /// Symbol.
    pub symbol: Symbol,
    /// Price, 1e-4.
    pub price: i64,
}

/// Auction information.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Auction {
    /// `O` opening, `C` closing, `I` IPO, `H` halt, `V` volatility.
    pub kind: u8,
    /// ns since the UNIX epoch.
    pub timestamp: i64,
    /// Symbol.
    pub symbol: Symbol,
    /// Shares matched at the reference price.
    pub paired_shares: u32,
    /// Clearing price at or within the reference range, 1e-4.
    pub reference_price: i64,
    /// Clearing price of all orders, 1e-4.
    pub indicative_clearing_price: i64,
    /// Shares not matched at the reference price.
    pub imbalance_shares: u32,
    /// `B`, `S` or `N`.
    pub imbalance_side: u8,
    /// Automatic extensions so far.
    pub extension_number: u8,
    /// When it takes place, s since the UNIX epoch.
    pub scheduled_auction_time: u32,
    /// Clearing price of orders on the auction book, 1e-4.
    pub auction_book_clearing_price: i64,
    /// Reference price of the collar, 1e-4.
    pub collar_reference_price: i64,
    /// Lower bound, 1e-4.
    pub lower_auction_collar: i64,
    /// Upper bound, 1e-4.
    pub upper_auction_collar: i64,
}

/// A message of DEEP 1.0 or TOPS 1.6.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Message {
    /// `S`.
    System(System),
    /// `D`.
    Directory(Directory),
    /// `H`.
    TradingStatus(TradingStatus),
    /// `I`.
    RetailLiquidity(RetailLiquidity),
    /// `O`.
    OperationalHalt(OperationalHalt),
    /// `P`.
    ShortSale(ShortSale),
    /// `E`.
    SecurityEvent(SecurityEvent),
    /// `8` and `5`.
    PriceLevel(PriceLevel),
    /// `Q`.
    Quote(Quote),
    /// `T`.
    Trade(TradeReport),
    /// `B`.
    TradeBreak(TradeReport),
    /// `X`.
    OfficialPrice(OfficialPrice),
    /// `A`.
    Auction(Auction),
}

/// Why bytes are no message.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MessageError {
    /// There is nothing.
    #[error("a message without a byte")]
    Empty,
    /// A type that is not known: to be skipped.
    #[error("messages of type {0:#04x} are not known")]
    Unknown(u8),
    /// Shorter than its type.
    #[error("a message of type {:?} has {has} bytes and needs {needs}", char::from(*kind))]
    Short {
        /// Its type.
        kind: u8,
        /// Its bytes.
        has: usize,
        /// Those of its type.
        needs: usize,
    },
}

/// Every type, its length and its name, as it is counted.
pub const TYPES: [(u8, usize, &str); 14] = [
    (b'S', 10, "system_event"),
    (b'D', 31, "security_directory"),
    (b'H', 22, "trading_status"),
    (b'I', 18, "retail_liquidity_indicator"),
    (b'O', 18, "operational_halt"),
    (b'P', 19, "short_sale_price_test"),
    (b'E', 18, "security_event"),
    (b'8', 30, "price_level_update_buy"),
    (b'5', 30, "price_level_update_sell"),
    (b'Q', 42, "quote_update"),
    (b'T', 38, "trade_report"),
    (b'B', 38, "trade_break"),
    (b'X', 26, "official_price"),
    (b'A', 80, "auction_information"),
];

/// Bytes of each type; 0 = not known.
const LENGTHS: [u8; 256] = {
    let (mut lengths, mut index) = ([0; 256], 0);
    while index < TYPES.len() {
        lengths[TYPES[index].0 as usize] = TYPES[index].1 as u8;
        index += 1;
    }
    lengths
};

/// The name of a type; `None` for one that is not known.
#[must_use]
pub fn name(kind: u8) -> Option<&'static str> {
    TYPES.iter().find(|(letter, ..)| *letter == kind).map(|(.., name)| *name)
}

#[inline]
fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

#[inline]
fn eight(bytes: &[u8], at: usize) -> [u8; 8] {
    let mut eight = [0; 8];
    eight.copy_from_slice(&bytes[at..at + 8]);
    eight
}

#[inline]
fn i64_at(bytes: &[u8], at: usize) -> i64 {
    i64::from_le_bytes(eight(bytes, at))
}

/// Decodes one message, without its length. O(1), no allocation.
///
/// # Errors
/// [`MessageError`]: an unknown type is to be counted and skipped.
#[inline]
pub fn decode(message: &[u8]) -> Result<Message, MessageError> {
    let kind = *message.first().ok_or(MessageError::Empty)?;
    let needs = usize::from(LENGTHS[usize::from(kind)]);
    if needs == 0 {
        return Err(MessageError::Unknown(kind));
    }
    let Some(m) = message.get(..needs) else {
        return Err(MessageError::Short { kind, has: message.len(), needs });
    };
    let (own, timestamp) = (m[1], i64_at(m, 2));
    let symbol = || Symbol(eight(m, 10));
    Ok(match kind {
        b'S' => Message::System(System { event: own, timestamp }),
        b'D' => Message::Directory(Directory {
            flags: own,
            timestamp,
            symbol: symbol(),
            round_lot_size: u32_at(m, 18),
            adjusted_poc_price: i64_at(m, 22),
            luld_tier: m[30],
        }),
        b'H' => Message::TradingStatus(TradingStatus {
            status: own,
            timestamp,
            symbol: symbol(),
            reason: [m[18], m[19], m[20], m[21]],
        }),
        b'I' => Message::RetailLiquidity(RetailLiquidity { indicator: own, timestamp, symbol: symbol() }),
        b'O' => Message::OperationalHalt(OperationalHalt { status: own, timestamp, symbol: symbol() }),
        b'P' => Message::ShortSale(ShortSale { status: own, timestamp, symbol: symbol(), detail: m[18] }),
        b'E' => Message::SecurityEvent(SecurityEvent { event: own, timestamp, symbol: symbol() }),
        b'8' | b'5' => Message::PriceLevel(PriceLevel {
            side: if kind == b'8' { Side::Bid } else { Side::Ask },
            flags: own,
            timestamp,
            symbol: symbol(),
            size: u32_at(m, 18),
            price: i64_at(m, 22),
        }),
        b'Q' => Message::Quote(Quote {
            flags: own,
            timestamp,
            symbol: symbol(),
            bid_size: u32_at(m, 18),
            bid_price: i64_at(m, 22),
            ask_price: i64_at(m, 30),
            ask_size: u32_at(m, 38),
        }),
        b'T' | b'B' => {
            let report = TradeReport {
                flags: own,
                timestamp,
                symbol: symbol(),
                size: u32_at(m, 18),
                price: i64_at(m, 22),
                trade_id: i64_at(m, 30),
            };
            if kind == b'T' { Message::Trade(report) } else { Message::TradeBreak(report) }
        }
        b'X' => Message::OfficialPrice(OfficialPrice { kind: own, timestamp, symbol: symbol(), price: i64_at(m, 18) }),
        b'A' => Message::Auction(Auction {
            kind: own,
            timestamp,
            symbol: symbol(),
            paired_shares: u32_at(m, 18),
            reference_price: i64_at(m, 22),
            indicative_clearing_price: i64_at(m, 30),
            imbalance_shares: u32_at(m, 38),
            imbalance_side: m[42],
            extension_number: m[43],
            scheduled_auction_time: u32_at(m, 44),
            auction_book_clearing_price: i64_at(m, 48),
            collar_reference_price: i64_at(m, 56),
            lower_auction_collar: i64_at(m, 64),
            upper_auction_collar: i64_at(m, 72),
        }),
        _ => return Err(MessageError::Unknown(kind)),
    })
}

#[cfg(test)]
mod tests;
