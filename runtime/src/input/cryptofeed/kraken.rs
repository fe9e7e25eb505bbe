//! Messages of Kraken Futures.

use super::members::Members;
use super::message::{Message, Stream};
use super::{Fault, Refusal, Told};
use crate::input::binance::{GAP_STREAMS, gap_slot};
use crate::input::lines::{Head, Sides};
use tapeline_core::catalog::{Catalog, SeqRule};
use tapeline_core::event::Flags;
use tapeline_core::event::payload::Trade;
use tapeline_core::gaps::{GapDetector, Numbers, Verdict};
use tapeline_core::units::{Side, SourceId};

const PREFIX: &[u8] = b"KRAKEN_FUTURES:";
const BOOK: Stream = Stream { prefix: PREFIX, source: b"kraken_futures.book", rule: SeqRule::ContiguousPerSymbol };
const BOOK_SNAPSHOT: Stream =
    Stream { prefix: PREFIX, source: b"kraken_futures.book_snapshot", rule: SeqRule::Increasing };
const TRADE: Stream = Stream { prefix: PREFIX, source: b"kraken_futures.trade", rule: SeqRule::ContiguousPerSymbol };
const TICKER: Stream = Stream { prefix: PREFIX, source: b"kraken_futures.ticker", rule: SeqRule::None };

/// Name of the books in the gap detector: none of the catalog.
const WATCHED: SourceId = SourceId(1);

/// What goes on from one message to the next.
pub(super) struct Kraken {
    /// Numbers of the books.
    gaps: GapDetector,
}

impl Default for Kraken {
    fn default() -> Self {
        let mut gaps = GapDetector::new(GAP_STREAMS, 0);
        gaps.define(WATCHED, SeqRule::Increasing).expect("it is defined once");
        Self { gaps }
    }
}

impl Kraken {
    /// Makes the events of a message.
    pub(super) fn message<'a>(
        &mut self,
        members: &Members<'a>,
        message: &mut Message,
        catalog: &mut Catalog,
    ) -> Result<Told<'a>, Refusal> {
        if let Some(event) = members.plain("event") {
            return Ok(Told::Others(b"event.", event));
        }
        let told = match members.text("feed")? {
            b"book_snapshot" => {
                let (seq, at) = (members.integer("seq")?, members.millis("timestamp")?);
                let mut head = message.head(BOOK_SNAPSHOT, members.text("product_id")?, Some(seq), at, catalog)?;
                head.flags = head.flags.with(Flags::SNAPSHOT);
                message.push_clear(&head);
                for (side, name) in [(Side::Bid, "bids"), (Side::Ask, "asks")] {
                    members.each(name, |scanner| {
                        let level = Members::read(scanner)?;
                        message.push_level(&head, side, level.price("price")?, level.size("qty")?);
                        Ok::<(), Refusal>(())
                    })?;
                }
                self.gaps.settle(WATCHED, head.symbol, seq);
                "book_snapshot"
            }
            b"book" => {
                let (seq, at) = (members.integer("seq")?, members.millis("timestamp")?);
                let (side, price, size) = (members.side("side")?, members.price("price")?, members.size("qty")?);
                let head = message.head(BOOK, members.text("product_id")?, Some(seq), at, catalog)?;
                self.watch(&head, message);
                message.push_level(&head, side, price, size);
                "book"
            }
            b"trade" => {
                let (price, (size, scale)) = (members.price("price")?, members.size("qty")?);
                let (seq, at, side) = (members.integer("seq")?, members.millis("time")?, members.side("side")?);
                let head = message.head(TRADE, members.text("product_id")?, Some(seq), at, catalog)?;
                message.push(&head, scale, Trade { price, size, side: side as u8, ..Trade::default() });
                "trade"
            }
            b"ticker" | b"ticker_lite" => {
                let (bid, ask) = (members.optional_size("bid_size")?, members.optional_size("ask_size")?);
                let sides = Sides::new(members.optional_price("bid")?, bid, members.optional_price("ask")?, ask)
                    .map_err(|error| Fault::Decimal("ask_size", error))?;
                let symbol = members.text("product_id")?;
                let at = members.millis("time")?;
                let head = message.head(TICKER, symbol, None, at, catalog)?;
                message.push_quote(&head, &sides);
                "ticker"
            }
            name => return Ok(Told::Other(name)),
        };
        message.end();
        Ok(Told::Market(told))
    }

    /// Looks for missing numbers of a book before one of its changes.
    fn watch(&mut self, head: &Head, message: &mut Message) {
        let numbers = Numbers::Span { first: head.seq, last: head.seq };
        if let Verdict::Gap { from, to } = self.gaps.observe(WATCHED, head.symbol, numbers) {
            message.push_slot(gap_slot(head, from, to, to - from + 1));
        }
    }
}
