//! Messages of Coinbase (Exchange, formerly Pro).

use super::members::{Members, price, side, size};
use super::message::{Message, Stream};
use super::{Refusal, Told};
use crate::input::json::Scanner;
use crate::input::lines::Sides;
use tapeline_core::catalog::{Catalog, SeqRule};
use tapeline_core::event::Flags;
use tapeline_core::event::payload::Trade;
use tapeline_core::units::{Side, UnixNanos};

const PREFIX: &[u8] = b"COINBASE:";
const LEVEL2: Stream = Stream { prefix: PREFIX, source: b"coinbase.level2", rule: SeqRule::None };
/// Numbers of a product's messages, of which the ticker leaves most out.
const TICKER: Stream = Stream { prefix: PREFIX, source: b"coinbase.ticker", rule: SeqRule::Increasing };
const MATCHES: Stream = Stream { prefix: PREFIX, source: b"coinbase.matches", rule: SeqRule::ContiguousPerSymbol };

/// Makes the events of a message.
pub(super) fn message<'a>(
    members: &Members<'a>,
    message: &mut Message,
    catalog: &mut Catalog,
) -> Result<Told<'a>, Refusal> {
    let name = members.text("type")?;
    let told = match name {
        b"snapshot" => {
            let mut head = message.head(LEVEL2, members.text("product_id")?, None, UnixNanos::UNKNOWN, catalog)?;
            head.flags = head.flags.with(Flags::SNAPSHOT);
            message.push_clear(&head);
            for (side, name) in [(Side::Bid, "bids"), (Side::Ask, "asks")] {
                members.each(name, |scanner| {
                    scanner.expect(b'[')?;
                    let (price, size) = level(name, scanner)?;
                    message.push_level(&head, side, price, size);
                    Ok::<(), Refusal>(())
                })?;
            }
            "snapshot"
        }
        b"l2update" => {
            let head = message.head(LEVEL2, members.text("product_id")?, None, members.instant("time")?, catalog)?;
            members.each("changes", |scanner| {
                scanner.expect(b'[')?;
                let side = side("changes", scanner.string()?.plain().unwrap_or_default())?;
                scanner.expect(b',')?;
                let (price, size) = level("changes", scanner)?;
                message.push_level(&head, side, price, size);
                Ok::<(), Refusal>(())
            })?;
            "l2update"
        }
        b"ticker" => {
            let (bid, ask) = (members.optional_size("best_bid_size")?, members.optional_size("best_ask_size")?);
            let sides = Sides::new(members.optional_price("best_bid")?, bid, members.optional_price("best_ask")?, ask)
                .map_err(|error| super::Fault::Decimal("best_ask_size", error))?;
            let (seq, at) = (members.integer("sequence")?, members.instant("time")?);
            let head = message.head(TICKER, members.text("product_id")?, Some(seq), at, catalog)?;
            message.push_quote(&head, &sides);
            "ticker"
        }
        b"match" => {
            // The maker's side is told.
            let side = match members.side("side")? {
                Side::Bid => Side::Ask,
                _ => Side::Bid,
            };
            let (price, (size, scale)) = (members.price("price")?, members.size("size")?);
            let (seq, at) = (members.integer("trade_id")?, members.instant("time")?);
            let head = message.head(MATCHES, members.text("product_id")?, Some(seq), at, catalog)?;
            message.push(&head, scale, Trade { price, size, side: side as u8, ..Trade::default() });
            "match"
        }
        name => return Ok(Told::Other(name)),
    };
    message.end();
    Ok(Told::Market(told))
}

/// `"price","size"]`, further elements passed.
fn level(name: &'static str, scanner: &mut Scanner<'_>) -> Result<(i64, (u64, u8)), Refusal> {
    let price = price(name, scanner.value()?)?;
    scanner.expect(b',')?;
    let size = size(name, scanner.value()?)?;
    while !scanner.take(b']') {
        scanner.expect(b',')?;
        scanner.value()?;
    }
    Ok((price, size))
}
