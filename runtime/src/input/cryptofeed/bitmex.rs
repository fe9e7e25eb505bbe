//! Messages of BitMEX.

use super::message::{Message, Stream};
use super::{Refusal, Told};
use crate::input::decimal::{DecimalError, PRICE_DECIMALS};
use crate::input::lines::{Head, Sides, Skipped};
use crate::input::members::{MemberError, Members};
use std::collections::{BTreeMap, BTreeSet};
use tapeline_core::catalog::{Catalog, SeqRule};
use tapeline_core::event::Flags;
use tapeline_core::event::payload::{Gap, Trade};
use tapeline_core::units::{Side, SymbolId, UnixNanos};

const PREFIX: &[u8] = b"BITMEX:";
const BOOK: Stream = Stream { prefix: PREFIX, source: b"bitmex.orderBookL2", rule: SeqRule::None };
const QUOTE: Stream = Stream { prefix: PREFIX, source: b"bitmex.quote", rule: SeqRule::None };
const TRADE: Stream = Stream { prefix: PREFIX, source: b"bitmex.trade", rule: SeqRule::None };

/// Levels whose prices are remembered by their ids: more than all books of BitMEX have.
pub const LEVELS_MAX: usize = 1 << 20;

/// What goes on from one message to the next.
#[derive(Default)]
pub(super) struct Bitmex {
    /// Price of a level by symbol and id: only the message that begins a level tells it.
    prices: BTreeMap<(SymbolId, u64), i64>,
    /// Symbols whose book has had a price that is no multiple of 1e-9 since its last `partial`.
    unfit: BTreeSet<SymbolId>,
}

/// What a price of more decimals than prices have here is.
const TOO_FINE: MemberError = MemberError::Decimal("price", DecimalError::TooFine(PRICE_DECIMALS));

/// What is done with the rows of a message.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Action {
    Partial,
    Insert,
    Update,
    Delete,
}

/// What a row of a book says of its price.
enum Price {
    None,
    Told(i64),
    /// It is no multiple of 1e-9.
    TooFine,
}

/// A row of a book, read.
struct Row<'a> {
    symbol: &'a [u8],
    id: u64,
    side: Side,
    at: UnixNanos,
    /// 0 where it is deleted.
    size: (u64, u8),
    price: Price,
}

impl<'a> Row<'a> {
    fn read(row: &Members<'a>, action: Action) -> Result<Self, MemberError> {
        let price = match row.has_value("price").then(|| row.price("price")) {
            None => Price::None,
            Some(Err(TOO_FINE)) => Price::TooFine,
            Some(price) => Price::Told(price?),
        };
        Ok(Self {
            symbol: row.text("symbol")?,
            id: row.integer("id")?,
            side: row.side("side")?,
            at: row.instant("timestamp")?,
            size: if action == Action::Delete { (0, 0) } else { row.size("size")? },
            price,
        })
    }
}

impl Bitmex {
    /// Makes the events of a message.
    pub(super) fn message<'a>(
        &mut self,
        members: &Members<'a>,
        message: &mut Message,
        catalog: &mut Catalog,
        skipped: &mut Skipped,
    ) -> Result<Told<'a>, Refusal> {
        let table = members.text("table")?;
        let action = match members.text("action")? {
            b"partial" => Action::Partial,
            b"insert" => Action::Insert,
            b"update" => Action::Update,
            b"delete" => Action::Delete,
            _ => return Err(MemberError::WrongType("action").into()),
        };
        let told = match table {
            b"orderBookL2" | b"orderBookL2_25" => {
                self.book(members, action, message, catalog, skipped)?;
                "orderBookL2"
            }
            b"quote" => {
                rows(members, QUOTE, message, catalog, skipped, |row, head, message| {
                    let (bid, ask) = (row.optional_size("bidSize")?, row.optional_size("askSize")?);
                    let sides = Sides::new(row.optional_price("bidPrice")?, bid, row.optional_price("askPrice")?, ask)
                        .map_err(|error| MemberError::Decimal("askSize", error))?;
                    message.push_quote(head, &sides);
                    Ok(())
                })?;
                "quote"
            }
            // Trades from before the subscription.
            b"trade" if action == Action::Partial => return Ok(Told::Other(b"trade.partial")),
            b"trade" => {
                rows(members, TRADE, message, catalog, skipped, |row, head, message| {
                    let (price, (size, scale), side) = (row.price("price")?, row.size("size")?, row.side("side")?);
                    message.push(head, scale, Trade { price, size, side: side as u8, ..Trade::default() });
                    Ok(())
                })?;
                "trade"
            }
            name => return Ok(Told::Other(name)),
        };
        message.end();
        Ok(Told::Market(told))
    }

    fn book(
        &mut self,
        members: &Members<'_>,
        action: Action,
        message: &mut Message,
        catalog: &mut Catalog,
        skipped: &mut Skipped,
    ) -> Result<(), Refusal> {
        // All rows before any is used: a bad line changes nothing of what is known.
        members.each("data", |scanner| {
            let row = Row::read(&Members::read(scanner)?, action)?;
            Ok::<(), Refusal>(BOOK.check(row.symbol)?)
        })?;
        if action == Action::Partial {
            self.find_unfit(members, catalog, message)?;
        }
        let mut before = None;
        members.each("data", |scanner| {
            let members = Members::read(scanner)?;
            let Row { symbol, id, side, at, size, price: told } = Row::read(&members, action)?;
            let mut head = message.head(BOOK, symbol, None, at, catalog)?;
            let is_first = before.replace(head.symbol) != Some(head.symbol);
            if is_first {
                message.end();
                if action == Action::Partial {
                    self.forget(head.symbol);
                }
            }
            let told = match told {
                Price::TooFine => {
                    if self.unfit.insert(head.symbol) {
                        // What is known of it is not to be used any more.
                        message.push(&head, 0, Gap::default());
                    }
                    None
                }
                Price::Told(price) => Some(price),
                Price::None => None,
            };
            if self.unfit.contains(&head.symbol) {
                if is_first && action == Action::Partial {
                    message.push(&head, 0, Gap::default());
                }
                skipped.count(b"", b"orderBookL2 of a book finer than 1e-9");
                return Ok(());
            }
            if action == Action::Partial {
                head.flags = head.flags.with(Flags::SNAPSHOT);
                if is_first {
                    message.push_clear(&head);
                }
            }
            let key = (head.symbol, id);
            let Some(price) = told.or_else(|| self.prices.get(&key).copied()) else {
                skipped.count(b"", b"orderBookL2 of an unknown id");
                return Ok(());
            };
            if size.0 == 0 {
                self.prices.remove(&key);
            } else if self.prices.len() < LEVELS_MAX || self.prices.contains_key(&key) {
                self.prices.insert(key, price);
            }
            message.push_level(&head, side, price, size);
            Ok::<(), Refusal>(())
        })
    }

    /// Finds the symbols of a whole book that has a price which is no multiple of 1e-9: no level of it is of use without the others.
    fn find_unfit(
        &mut self,
        members: &Members<'_>,
        catalog: &mut Catalog,
        message: &mut Message,
    ) -> Result<(), Refusal> {
        let mut unfit = BTreeSet::new();
        members.each("data", |scanner| {
            let row = Members::read(scanner)?;
            let head = message.head(BOOK, row.text("symbol")?, None, UnixNanos::UNKNOWN, catalog)?;
            self.unfit.remove(&head.symbol);
            if row.price("price") == Err(TOO_FINE) {
                unfit.insert(head.symbol);
            }
            Ok::<(), Refusal>(())
        })?;
        self.unfit.append(&mut unfit);
        Ok(())
    }

    /// Forgets the levels of a symbol. O(log n + those levels).
    fn forget(&mut self, symbol: SymbolId) {
        let ids: Vec<u64> = self.prices.range((symbol, 0)..=(symbol, u64::MAX)).map(|((_, id), _)| *id).collect();
        for id in ids {
            self.prices.remove(&(symbol, id));
        }
    }
}

/// Each row of `data`; rows of one symbol in a run are one message.
fn rows(
    members: &Members<'_>,
    stream: Stream,
    message: &mut Message,
    catalog: &mut Catalog,
    skipped: &mut Skipped,
    mut event: impl FnMut(&Members<'_>, &Head, &mut Message) -> Result<(), MemberError>,
) -> Result<(), Refusal> {
    let mut before = None;
    members.each("data", |scanner| {
        let row = Members::read(scanner)?;
        let at = row.instant("timestamp")?;
        let head = message.head(stream, row.text("symbol")?, None, at, catalog)?;
        if before.replace(head.symbol).is_some_and(|before| before != head.symbol) {
            message.end();
        }
        match event(&row, &head, message) {
            Err(MemberError::Decimal(_, DecimalError::TooFine(PRICE_DECIMALS))) => {
                skipped.count(stream.source, b" finer than 1e-9");
                Ok(())
            }
            done => Ok(done?),
        }
    })
}
