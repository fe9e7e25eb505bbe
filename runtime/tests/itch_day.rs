//! A generated day of ITCH, as records and in packets: read back to what was made, and to the same events either way.

use std::collections::BTreeMap;
use std::io::Cursor;
use tapeline_core::catalog::Catalog;
use tapeline_core::event::payload::{BookOrder, Trade};
use tapeline_core::event::{Kind, Slot, events};
use tapeline_core::wire::itch::Layout;
use tapeline_runtime::input::bytes::ByteSource;
use tapeline_runtime::input::detect::{OpenOptions, open_source};
use tapeline_runtime::input::generate::{Carried, Config, ItchDay, binary_file, pcap};
use tapeline_runtime::input::itch::{ItchConfig, SessionDate};
use tapeline_runtime::input::{MESSAGE_SLOTS_MAX, SlotBuf, Status, Tally};

fn config(seed: u64) -> Config {
    Config { seed, events: 50_000, symbols: 60, ..Config::default() }
}

/// Events with the text of their symbol, and what was counted.
fn read(bytes: Vec<u8>, date: SessionDate) -> (Vec<(String, Slot)>, Tally, &'static str) {
    let source = ByteSource::new(Box::new(Cursor::new(bytes)), "day", None).unwrap();
    let itch = ItchConfig { date: Some(date), ..ItchConfig::default() };
    let mut input = open_source(source, &OpenOptions { itch, ..OpenOptions::default() }).unwrap();
    let (mut catalog, mut out, mut all) =
        (Catalog::new(1 << 10), SlotBuf::with_capacity(MESSAGE_SLOTS_MAX), Vec::new());
    loop {
        out.clear();
        let status = input.read(&mut catalog, &mut out).unwrap();
        let named = events(out.slots()).map(|event| {
            let symbol = String::from_utf8_lossy(catalog.symbol_text(event.head().symbol)).into_owned();
            (symbol, *event.head())
        });
        all.extend(named);
        if status == Status::End {
            return (all, input.tally(), input.format());
        }
    }
}

#[test]
fn a_day_is_read_back_to_what_was_made_as_records_and_in_packets() {
    for seed in [1, 7] {
        let day = || ItchDay::new(&config(seed)).unwrap();
        let date = SessionDate::at(day().midnight_ns());
        let mut made: BTreeMap<String, u64> = BTreeMap::new();
        for message in day() {
            *made.entry(Layout::of(message.bytes()[0]).unwrap().name.to_owned()).or_default() += 1;
        }
        let (mut records, mut packets) = (Vec::new(), Vec::new());
        let carried = binary_file(day(), &mut records).unwrap();
        assert_eq!(carried, Carried { messages: 50_000, packets: 0, bytes: records.len() as u64 });
        let carried = pcap(day(), &mut packets).unwrap();
        assert_eq!((carried.messages, carried.bytes), (50_000, packets.len() as u64));
        assert!(carried.packets > 1_000 && carried.packets < 50_000, "{carried:?}");

        let (plain, tally, format) = read(records, date);
        assert_eq!((format, &tally.messages), ("itch", &made), "seed {seed}");
        assert!(!tally.skipped.keys().any(|name| name.contains("order")), "every order is known: {:?}", tally.skipped);
        let (carried, packed, format) = read(packets, date);
        assert_eq!(format, "pcap");
        let mut skipped = packed.skipped.clone();
        assert_eq!(skipped.remove("mold end of session"), Some(1));
        assert_eq!((packed.bad_packets, &skipped), (0, &tally.skipped), "{packed:?}");
        for (name, count) in &made {
            assert_eq!(packed.messages.get(name), Some(count), "seed {seed}: {name}");
        }
        // What the packets say beside: that a session has begun.
        let carried: Vec<_> = carried.into_iter().filter(|(_, head)| !head.kind().is_control()).collect();
        assert_eq!(plain.len(), carried.len());
        for (index, ((name, head), (other_name, other))) in plain.iter().zip(&carried).enumerate() {
            let later = Slot { ts_recv: head.ts_recv, source: head.source, symbol: head.symbol, ..*other };
            assert_eq!((name, *head), (other_name, later), "seed {seed}, event {index}");
            assert!(other.ts_recv >= head.ts_event && other.ts_recv.0 - head.ts_event.0 <= 40_000);
        }
    }
}

#[test]
fn prices_move_and_books_do_not_cross() {
    let mut records = Vec::new();
    let day = ItchDay::new(&config(3)).unwrap();
    let date = SessionDate::at(day.midnight_ns());
    binary_file(day, &mut records).unwrap();
    let (all, ..) = read(records, date);
    let first = all.iter().find(|(_, head)| head.kind() == Kind::TRADE).map(|(symbol, _)| symbol.clone()).unwrap();
    let mut prices: Vec<i64> = all
        .iter()
        .filter(|(symbol, head)| *symbol == first && head.kind() == Kind::TRADE)
        .map(|(_, head)| head.payload_as::<Trade>().price)
        .collect();
    let trades = prices.len();
    prices.sort_unstable();
    prices.dedup();
    assert!(trades > 100 && prices.len() > 5, "{trades} trades at {} prices", prices.len());
    let orders = all.iter().filter(|(_, head)| head.kind() == Kind::BOOK_ORDER);
    assert!(orders.clone().count() > 40_000);
    assert!(orders.clone().any(|(_, head)| head.payload_as::<BookOrder>().action == b'F'), "some are filled");
}
