//! What each message becomes, one by one; days; what is skipped, by name; unknown orders; a full table.

use crate::support::{Event, MIDNIGHT, NAME, What, decode, event_of, file, open};
use allocation_counter::measure;
use std::collections::BTreeMap;
use tapeline_core::catalog::{Catalog, SeqRule};
use tapeline_core::event::payload::{BookOrder, Trade};
use tapeline_core::testing::itch::{Draft, Session};
use tapeline_core::units::{SourceId, UnixNanos};
use tapeline_runtime::input::itch::{ITCH_SOURCE, ItchConfig, ItchMapper, SessionDate};
use tapeline_runtime::input::{MESSAGE_SLOTS_MAX, SlotBuf, Status};

fn add(letter: u8, id: u64, side: u8, shares: u64, price: u64) -> Draft {
    let draft = Draft::new(letter).head(9, 0, 1_000).text("stock", b"ABC").number("order_reference_number", id);
    draft.number("buy_sell_indicator", u64::from(side)).number("shares", shares).number("price", price)
}

fn about(letter: u8, id: u64, shares: Option<u64>) -> Draft {
    let draft = Draft::new(letter).head(9, 0, 1_000).number("order_reference_number", id);
    match (letter, shares) {
        (b'X', Some(shares)) => draft.number("cancelled_shares", shares),
        (_, Some(shares)) => draft.number("executed_shares", shares),
        _ => draft,
    }
}

fn events(drafts: &[Draft]) -> Vec<Event> {
    let start = Draft::new(b'S').number("event_code", u64::from(b'O'));
    let bytes = file([start.bytes()].into_iter().chain(drafts.iter().map(Draft::bytes)));
    let decoded = decode(&bytes, MESSAGE_SLOTS_MAX).unwrap();
    assert!(decoded.error.is_none());
    decoded.events
}

fn order(action: u8, order_id: u64, side: u8, price: i64, size: u32) -> What {
    What::Order(BookOrder { order_id, price, size, side, action, ..BookOrder::default() })
}

fn trade(action: u8, side: u8, price: i64, size: u64) -> What {
    What::Trade(Trade { price, size, side, action, ..Trade::default() })
}

fn whats(drafts: &[Draft]) -> Vec<What> {
    events(drafts).into_iter().map(|event| event.what).collect()
}

const CENT: i64 = 10_000_000;

#[test]
fn an_order_lives_as_it_is_told() {
    let replace = Draft::new(b'U').head(9, 0, 1_000).number("original_order_reference_number", 1);
    let replace = replace.number("new_order_reference_number", 2).number("shares", 70).number("price", 10_100);
    let priced = about(b'C', 2, Some(30)).number("execution_price", 10_200);
    let drafts = [
        add(b'A', 1, b'B', 100, 10_000),
        about(b'E', 1, Some(10)),
        about(b'X', 1, Some(20)),
        replace,
        priced.number("printable", u64::from(b'Y')),
        priced.number("printable", u64::from(b'N')),
        about(b'D', 2, None),
        add(b'F', 3, b'S', 5, 10_300),
        about(b'E', 3, Some(5)),
        about(b'D', 3, None),
    ];
    let expected = [
        order(b'A', 1, 1, 100 * CENT, 100),
        trade(b'E', 2, 100 * CENT, 10),
        order(b'F', 1, 1, 100 * CENT, 10),
        order(b'C', 1, 1, 100 * CENT, 10),
        order(b'C', 1, 1, 100 * CENT, 20),
        order(b'C', 1, 1, 100 * CENT, 70),
        order(b'A', 2, 1, 101 * CENT, 70),
        trade(b'C', 2, 102 * CENT, 30),
        order(b'F', 2, 1, 102 * CENT, 30),
        order(b'C', 2, 1, 101 * CENT, 30),
        order(b'F', 2, 1, 102 * CENT, 30),
        order(b'C', 2, 1, 101 * CENT, 30),
        order(b'C', 2, 1, 101 * CENT, 10),
        order(b'A', 3, 2, 103 * CENT, 5),
        trade(b'E', 1, 103 * CENT, 5),
        order(b'F', 3, 2, 103 * CENT, 5),
        order(b'C', 3, 2, 103 * CENT, 5),
        // Its fills have taken all of it: of that number, nothing is known any more.
        order(b'C', 3, 0, i64::MAX, u32::MAX),
    ];
    assert_eq!(whats(&drafts), expected);
    let parts: Vec<_> = events(&drafts[..2]).iter().map(|event| (event.seq, event.part, event.is_last)).collect();
    assert_eq!(parts, [(2, 0, true), (3, 0, false), (3, 1, false), (3, 2, true)]);
    let first = events(&drafts[..1]).remove(0);
    assert_eq!(
        (first.symbol.as_str(), first.ts_event, first.ts_recv),
        ("NASDAQ:ABC", MIDNIGHT + 1_000, MIDNIGHT + 1_000)
    );
}

#[test]
fn trades_that_no_displayed_order_had() {
    let hidden = Draft::new(b'P').head(9, 0, 1).text("stock", b"ABC").number("shares", 7).number("price", 1);
    let cross = Draft::new(b'Q').head(9, 0, 1).text("stock", b"ABC").number("shares", 1 << 40).number("cross_price", 2);
    let cross = cross.number("cross_type", u64::from(b'C'));
    let none = cross.number("shares", 0);
    let What::Trade(mut crossed) = trade(b'Q', 0, 200_000, 1 << 40) else { unreachable!() };
    crossed.source_flags = b'C';
    let hidden = hidden.number("buy_sell_indicator", u64::from(b'B'));
    assert_eq!(whats(&[hidden, cross, none]), [trade(b'P', 0, 100_000, 7), What::Trade(crossed)]);
}

#[test]
fn a_directory_begins_a_book_once_a_session() {
    let directory = Draft::new(b'R').head(9, 0, 1).text("stock", b"ABC");
    let clear = order(b'R', 0, 0, i64::MAX, 0);
    let added = add(b'A', 1, b'B', 100, 1);
    let start = Draft::new(b'S').number("event_code", u64::from(b'O'));
    let cleared = [order(b'A', 1, 1, 100_000, 100), clear.clone(), order(b'C', 1, 0, i64::MAX, u32::MAX)];
    // Not while orders are there; again after the next start of messages, which forgets them.
    assert_eq!(whats(&[directory, directory, added, directory, start, directory, about(b'D', 1, None)])[1..], cleared);
    assert_eq!(whats(&[added, directory]), cleared[..1]);
    assert_eq!(whats(&[directory]), [clear]);
}

#[test]
fn what_gives_no_event_is_counted_by_its_name() {
    let other_market = Draft::new(b'h').head(9, 0, 1).text("stock", b"ABC").number("market_code", u64::from(b'B'));
    let nameless = add(b'A', 7, b'B', 1, 1).head(10, 0, 1).text("stock", b"");
    let control = add(b'A', 8, b'B', 1, 1).head(11, 0, 1).text("stock", b"A\nB");
    let drafts = [
        Draft::new(b'I').head(9, 0, 1),
        Draft::new(b'B').head(9, 0, 1),
        Draft::new(b'B').head(9, 0, 1),
        about(b'D', 1, None),
        nameless,
        control,
        other_market,
        about(b'E', 1, Some(5)),
        add(b'A', 9, b'?', 1, 1),
        add(b'A', 9, b'B', 0, 1),
    ];
    let start = Draft::new(b'S').number("event_code", u64::from(b'O'));
    let unknown = [&b"Zwhatever"[..], b"\xff"];
    let all = [start.bytes()].into_iter().chain(drafts.iter().map(Draft::bytes)).chain(unknown);
    let decoded = decode(&file(all), MESSAGE_SLOTS_MAX).unwrap();
    assert!(decoded.error.is_none());
    let counts = |pairs: &[(&str, u64)]| -> BTreeMap<String, u64> {
        pairs.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
    };
    let skipped = [
        ("noii", 1),
        ("broken_trade", 2),
        ("order_delete of an unknown stock locate", 1),
        ("add_order of an unknown stock locate", 2),
        ("operational_halt without a status here", 1),
        ("order_executed of an unknown order", 1),
        ("orders that were not kept", 2),
        ("system_event without a status here", 1),
        ("type 'Z'", 1),
        ("type '\\xff'", 1),
    ];
    assert_eq!(decoded.tally.skipped, counts(&skipped));
    let messages = [
        ("noii", 1),
        ("broken_trade", 2),
        ("order_delete", 1),
        ("add_order", 4),
        ("operational_halt", 1),
        ("order_executed", 1),
        ("system_event", 1),
        ("type 'Z'", 1),
        ("type '\\xff'", 1),
    ];
    assert_eq!(decoded.tally.messages, counts(&messages));
    // The execution of an order that is not known has no price: a fill and a cancel, and no trade.
    let whats: Vec<_> = decoded.events.iter().map(|event| event.what.clone()).collect();
    let nothing_known = [order(b'F', 1, 0, i64::MAX, 5), order(b'C', 1, 0, i64::MAX, 5)];
    assert_eq!(whats, [&nothing_known[..], &[order(b'A', 9, 0, 100_000, 1), order(b'A', 9, 1, 100_000, 0)]].concat());
    // Numbers are those of the messages, of the unknown types too.
    assert_eq!(decoded.events.iter().map(|event| event.seq).collect::<Vec<_>>(), [9, 9, 10, 11]);
}

#[test]
fn a_full_table_of_orders_loses_no_event_and_says_so() {
    let drafts: Vec<Draft> = (0..10)
        .map(|id| add(b'A', id, b'S', 100, 5_000))
        .chain((0..10).map(|id| about(b'D', id, None)))
        .chain([add(b'A', 20, b'S', 100, 5_000), about(b'D', 20, None)])
        .collect();
    let bytes = file([Draft::new(b'S').bytes()].into_iter().chain(drafts.iter().map(Draft::bytes)));
    let mut input = open(&bytes, NAME, ItchConfig { orders_max: 6, ..ItchConfig::default() }).unwrap();
    let (mut catalog, mut out) = (Catalog::new(64), SlotBuf::with_capacity(MESSAGE_SLOTS_MAX));
    assert!(matches!(input.read(&mut catalog, &mut out), Ok(Status::End)));
    let whats: Vec<_> = out.slots().iter().map(|slot| event_of(slot, &catalog).what).collect();
    assert_eq!(whats.len(), 22);
    for id in 0..10 {
        assert_eq!(whats[id], order(b'A', id as u64, 2, 50 * CENT, 100));
        let known = (2, 50 * CENT, 100);
        let (side, price, size) = if id < 6 { known } else { (0, i64::MAX, u32::MAX) };
        assert_eq!(whats[10 + id], order(b'C', id as u64, side, price, size));
    }
    assert_eq!(whats[21], order(b'C', 20, 2, 50 * CENT, 100), "there is room again");
    let skipped = input.tally().skipped;
    assert_eq!((skipped["orders that were not kept"], skipped["order_delete of an unknown order"]), (4, 4));
}

#[test]
fn the_day_is_told_or_in_the_name_or_unknown() {
    let bytes = file([add(b'A', 1, b'B', 1, 1).bytes()]);
    let first = |name: &str, date: Option<&str>| {
        let date = date.map(|day| day.parse::<SessionDate>().unwrap());
        let mut input = open(&bytes, name, ItchConfig { date, ..ItchConfig::default() }).unwrap();
        let (mut catalog, mut out) = (Catalog::new(64), SlotBuf::with_capacity(MESSAGE_SLOTS_MAX));
        assert!(matches!(input.read(&mut catalog, &mut out), Ok(Status::End)));
        out.slots()[0].ts_event.0
    };
    let summer = 1_628_827_200_000_000_000;
    assert_eq!(first(NAME, None), MIDNIGHT + 1_000);
    assert_eq!(first("S081321-v50.txt", None), summer + 1_000);
    assert_eq!(first(NAME, Some("2021-08-13")), summer + 1_000);
    assert_eq!(first("-", None), 5 * 3_600_000_000_000 + 1_000, "1970-01-01");
}

#[test]
fn with_times_of_capture_the_day_is_the_nearest() {
    let (mut catalog, mut out) = (Catalog::new(64), SlotBuf::with_capacity(64));
    let mut mapper = ItchMapper::new(16, None);
    let second = 1_000_000_000;
    let day = 24 * 3_600 * second;
    let noon = MIDNIGHT + day / 2;
    let message = add(b'A', 1, b'B', 1, 1).head(9, 0, day / 2 - 5);
    for (ts_recv, ts_event) in [(noon, noon - 5), (noon + 7 * day, noon + 7 * day - 5), (noon - 2 * second, noon - 5)] {
        out.clear();
        mapper.message(message.bytes(), 77, Some(UnixNanos(ts_recv)), &mut catalog, &mut out).unwrap();
        let slot = out.slots()[0];
        assert_eq!((slot.ts_recv.0, slot.ts_event.0, slot.seq), (ts_recv, ts_event, 77));
    }
    assert_eq!((mapper.source(), mapper.symbols().count(), mapper.orders()), (Some(SourceId(1)), 1, 1));
    assert_eq!(catalog.seq_rule(SourceId(1)), SeqRule::Contiguous);
    assert_eq!(catalog.source_name(SourceId(1)), ITCH_SOURCE);
}

#[test]
fn a_full_symbol_table_is_told_with_its_place() {
    let bytes =
        file([add(b'A', 1, b'B', 1, 1).bytes(), add(b'A', 2, b'B', 1, 1).head(10, 0, 1).text("stock", b"B").bytes()]);
    let mut input = open(&bytes, NAME, ItchConfig::default()).unwrap();
    let (mut catalog, mut out) = (Catalog::new(2), SlotBuf::with_capacity(MESSAGE_SLOTS_MAX));
    let error = input.read(&mut catalog, &mut out).unwrap_err();
    assert_eq!(error.exit_code(), 2);
    assert!(error.to_string().starts_with("01302020.NASDAQ_ITCH50: offset 38: the symbol table is full"), "{error}");
    assert_eq!(out.slots().len(), 1);
    assert!(matches!(input.read(&mut catalog, &mut out), Ok(Status::End)));
}

#[test]
fn nothing_is_allocated_after_the_start() {
    let bytes = Session::new(5, 50_000, 300).binary_file();
    let mut input = open(&bytes, NAME, ItchConfig { orders_max: 1 << 14, ..ItchConfig::default() }).unwrap();
    let (mut catalog, mut out) = (Catalog::new(1 << 12), SlotBuf::with_capacity(MESSAGE_SLOTS_MAX));
    // The first call gives back what the look at the format took.
    assert!(matches!(input.read(&mut catalog, &mut out), Ok(Status::More)));
    let (mut events, mut is_done) = (out.slots().len(), false);
    let info = measure(|| {
        while !is_done {
            out.clear();
            is_done = matches!(input.read(&mut catalog, &mut out), Ok(Status::End));
            events += out.slots().len();
        }
    });
    assert!(events > 45_000, "{events}");
    assert_eq!(info.count_total, 0);
}
