//! Order books that are built from the events agree with books that are built from the messages.

use crate::support::decode;
use std::collections::BTreeMap;
use tapeline_core::book::Books;
use tapeline_core::event::EventRef;
use tapeline_core::testing::for_seeds;
use tapeline_core::testing::itch::Session;
use tapeline_core::units::{Side, SymbolId};
use tapeline_core::wire::itch::Message;

/// Side, stock locate, price in 1e-9, shares.
type Order = (Side, u16, i64, u64);

/// Price to shares and orders of each side of each stock locate.
fn naive(session: Session) -> BTreeMap<(u16, u8), BTreeMap<i64, (u64, u32)>> {
    let mut orders = BTreeMap::<u64, Order>::new();
    for draft in session {
        let message = Message::parse(draft.bytes()).unwrap();
        let mut take = |id: u64, shares: u32| {
            let order = orders.get_mut(&id).unwrap();
            order.3 -= u64::from(shares);
            if order.3 == 0 {
                orders.remove(&id);
            }
        };
        let side = |letter| if letter == b'B' { Side::Bid } else { Side::Ask };
        match message {
            Message::AddOrder(add) => {
                let order =
                    (side(add.buy_sell_indicator()), add.stock_locate(), add.price().nanos(), add.shares().into());
                orders.insert(add.order_reference_number(), order);
            }
            Message::AddOrderMpid(add) => {
                let order =
                    (side(add.buy_sell_indicator()), add.stock_locate(), add.price().nanos(), add.shares().into());
                orders.insert(add.order_reference_number(), order);
            }
            Message::OrderExecuted(done) => take(done.order_reference_number(), done.executed_shares()),
            Message::OrderExecutedWithPrice(done) => take(done.order_reference_number(), done.executed_shares()),
            Message::OrderCancel(cancel) => take(cancel.order_reference_number(), cancel.cancelled_shares()),
            Message::OrderDelete(delete) => {
                orders.remove(&delete.order_reference_number()).unwrap();
            }
            Message::OrderReplace(replace) => {
                let old = orders.remove(&replace.original_order_reference_number()).unwrap();
                let new = (old.0, old.1, replace.price().nanos(), replace.shares().into());
                orders.insert(replace.new_order_reference_number(), new);
            }
            _ => {}
        }
    }
    let mut books = BTreeMap::<_, BTreeMap<_, (u64, u32)>>::new();
    for (side, locate, price, shares) in orders.into_values() {
        let level = books.entry((locate, side as u8)).or_default().entry(price).or_default();
        level.0 += shares;
        level.1 += 1;
    }
    books
}

#[test]
fn books_of_the_events_are_those_of_the_messages() {
    for_seeds(0..6, |seed, _| {
        let symbols = 12;
        let session = Session::new(seed, 30_000, symbols);
        let decoded = decode(&session.clone().binary_file(), 1_000).unwrap();
        let mut books = Books::new(64, 4_096, 1 << 15, seed);
        for slot in &decoded.slots {
            let _ = books.apply(EventRef::single(slot));
        }
        let counts = books.counts();
        assert_eq!(
            (counts.orders_unknown, counts.orders_doubled, counts.odd, counts.full, counts.old),
            (0, 0, 0, 0, 0)
        );
        let expected = naive(session);
        // Symbols were interned in the order of the directory: by stock locate.
        for locate in 1..=symbols {
            for side in [Side::Bid, Side::Ask] {
                let wanted = expected.get(&(locate, side as u8)).cloned().unwrap_or_default();
                let levels =
                    books.levels(SymbolId(u32::from(locate)), side).expect("a book from its beginning, not crossed");
                let got: BTreeMap<_, _> = levels.map(|(price, level)| (price, (level.size, level.orders))).collect();
                assert_eq!(got, wanted, "{locate} {side:?}");
            }
        }
        assert_eq!(
            books.orders().0,
            expected.values().flat_map(BTreeMap::values).map(|level| level.1 as usize).sum::<usize>()
        );
        assert!(expected.len() == 2 * usize::from(symbols), "all books have both sides");
    });
}
