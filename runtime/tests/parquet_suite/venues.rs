//! Files as venues and vendors have them: which columns are taken, and what becomes of sides, sizes, ends of bars.

use crate::write::{Column, Event, Form, Values, column, decode, decode_named, file};
use tapeline_core::event::payload::{Bar, BarRest, Quote, Trade};
use tapeline_core::event::{Flags, Kind};
use tapeline_core::units::{PRICE_UNDEFINED, Side};
use tapeline_runtime::input::MESSAGE_SLOTS_MAX;
use tapeline_runtime::input::parquet::ParquetConfig;

fn events(columns: &[Column]) -> Vec<Event> {
    let decoded = decode(&file(columns, &Form { is_optional: true, ..Form::default() }), &ParquetConfig::default());
    assert!(decoded.error.is_none() && decoded.tally.bad_lines == 0, "{:?} {:?}", decoded.error, decoded.tally);
    decoded.events
}

fn trade(event: &Event) -> (i64, u64, Side) {
    let trade = event.event().get::<Trade>().expect("a trade");
    (trade.price, trade.size, trade.side())
}

#[test]
fn trades_of_tardis() {
    let events = events(&[
        column("? binary exchange (STRING)", Values::texts(&["binance", "binance", "deribit"])),
        column("? binary symbol (STRING)", Values::texts(&["BTCUSDT", "BTCUSDT", "BTC-PERPETUAL"])),
        column(
            "? int64 timestamp",
            Values::ints(&[1_585_699_200_193_000, 1_585_699_200_194_000, 1_585_699_200_195_000]),
        ),
        column(
            "? int64 local_timestamp",
            Values::ints(&[1_585_699_200_208_001, 1_585_699_200_208_002, 1_585_699_200_208_003]),
        ),
        column("? binary id (STRING)", Values::texts(&["a-1", "a-2", "b-1"])),
        column("? binary side (STRING)", Values::texts(&["buy", "sell", "unknown"])),
        column("? double price", Values::doubles(&[6_409.85, 6_409.5, 6_410.0])),
        column("? double amount", Values::doubles(&[0.002, 1.0, 12_340.0])),
    ]);
    let got: Vec<_> = events.iter().map(|event| (event.symbol.as_str(), trade(event), event.head().scale)).collect();
    assert_eq!(
        got,
        [
            ("binance:BTCUSDT", (6_409_850_000_000, 2, Side::Bid), 3),
            ("binance:BTCUSDT", (6_409_500_000_000, 1, Side::Ask), 0),
            ("deribit:BTC-PERPETUAL", (6_410_000_000_000, 12_340, Side::None), 0),
        ]
    );
    let head = events[1].head();
    assert_eq!((head.ts_event.0, head.ts_recv.0), (1_585_699_200_194_000_000, 1_585_699_200_208_002_000));
    // Their ids are texts: each symbol is counted apart, and nothing tells a gap or a copy.
    let numbers: Vec<_> = events.iter().map(|event| (event.head().seq, event.head().part)).collect();
    assert_eq!(numbers, [(1, 0), (2, 0), (1, 0)]);
    assert!(events.iter().all(|event| event.head().flags == Flags::LAST.with(Flags::UNSEQUENCED)));
}

#[test]
fn trades_of_binance() {
    let columns = [
        column("? int64 id", Values::ints(&[10, 11])),
        column("? double price", Values::doubles(&[0.00001234, 2.5])),
        column("? double qty", Values::doubles(&[1_000.0, 0.1])),
        column("? double quote_qty", Values::doubles(&[1.0, 1.0])),
        column("? int64 time", Values::ints(&[1_723_161_254_024, 1_723_161_254_025])),
        column("? boolean is_buyer_maker", Values::Bool(vec![Some(true), Some(false)])),
        column("? boolean is_best_match", Values::Bool(vec![Some(true), Some(true)])),
    ];
    let bytes = file(&columns, &Form::default());
    let bytes_optional = file(&columns, &Form { is_optional: true, ..Form::default() });
    for bytes in [bytes, bytes_optional] {
        let decoded =
            decode_named(&bytes, &ParquetConfig::default(), "x/SHIBUSDT-trades-2024-08-08.parquet", MESSAGE_SLOTS_MAX);
        let got: Vec<_> = decoded.events.iter().map(|event| (trade(event), event.head().seq)).collect();
        assert_eq!(got, [((12_340, 1_000, Side::Ask), 10), ((2_500_000_000, 1, Side::Bid), 11)]);
        assert!(decoded.events.iter().all(|event| event.symbol == "SHIBUSDT" && event.head().flags == Flags::LAST));
        assert_eq!(decoded.events[0].head().ts_recv.0, 1_723_161_254_024_000_000);
    }
}

#[test]
fn trades_and_bars_of_databento() {
    let common = |rows: usize| {
        [
            column("? int32 rtype (INTEGER(8,false))", Values::Int32(vec![Some(33); rows])),
            column("? int32 publisher_id (INTEGER(16,false))", Values::Int32(vec![Some(1); rows])),
            column("? int32 instrument_id (INTEGER(32,false))", Values::Int32(vec![Some(5_482); rows])),
        ]
    };
    let time = |values: &[i64]| column("? int64 ts_event (TIMESTAMP(NANOS,true))", Values::ints(values));
    let mut trades = common(3).to_vec();
    trades.extend([
        column("? int64 ts_recv (TIMESTAMP(NANOS,true))", Values::ints(&[1_609_160_400_000_704_060; 3])),
        time(&[1_609_160_400_000_429_831; 3]),
        column("? binary action (STRING)", Values::texts(&["T", "T", "T"])),
        column("? binary side (STRING)", Values::texts(&["A", "B", "N"])),
        column("? int64 price", Values::ints(&[3_720_250_000_000, 3_720_500_000_000, i64::MAX - 1])),
        column("? int32 size (INTEGER(32,false))", Values::Int32([5, 21, -1].map(Some).to_vec())),
        column(
            "? int32 sequence (INTEGER(32,false))",
            Values::Int32([1_170_380, 1_170_380, 1_170_381].map(Some).to_vec()),
        ),
    ]);
    let events_of = events(&trades);
    let got: Vec<_> = events_of.iter().map(|event| (trade(event), event.head().seq, event.head().part)).collect();
    assert_eq!(
        got,
        [
            ((3_720_250_000_000, 5, Side::Ask), 1_170_380, 0),
            ((3_720_500_000_000, 21, Side::Bid), 1_170_380, 1),
            ((i64::MAX - 1, u64::from(u32::MAX), Side::None), 1_170_381, 0),
        ]
    );
    assert!(events_of.iter().all(|event| event.symbol == "#5482"), "no text is known for it");
    assert_eq!(events_of[0].head().ts_recv.0, 1_609_160_400_000_704_060);

    let mut bars = common(1).to_vec();
    bars.extend([time(&[1_609_160_400_000_000_000])]);
    bars.extend(
        ["open", "high", "low", "close"].map(|name| column(&format!("? double {name}"), Values::doubles(&[372.25]))),
    );
    bars.push(column("? int64 volume (INTEGER(64,false))", Values::ints(&[57])));
    bars.push(column("? binary symbol (STRING)", Values::texts(&["ESH1"])));
    let event = &events(&bars)[0];
    let rest = BarRest::of(event.event()).unwrap();
    assert_eq!(
        (event.symbol.as_str(), rest.interval_ns, rest.volume, rest.close),
        ("ESH1", 60_000_000_000, 57, 372_250_000_000)
    );
    assert_eq!(event.head().ts_recv.0, 1_609_160_460_000_000_000, "known when it has ended");
}

#[test]
fn quotes() {
    let got = events(&[
        column("? int64 timestamp (TIMESTAMP(MICROS,true))", Values::ints(&[1_585_699_200_193_000; 4])),
        column("? binary symbol (STRING)", Values::texts(&["A", "A", "A", "B"])),
        column("? double bid_price", Values::Double(vec![Some(1.5), None, Some(f64::NAN), Some(2.0)])),
        column("? double bid_amount", Values::Double(vec![Some(0.25), None, Some(3.0), Some(5e9)])),
        column("? double ask_price", Values::Double(vec![Some(1.625), Some(1.75), None, Some(2.5)])),
        column("? double ask_amount", Values::Double(vec![Some(10.0), Some(7.0), None, Some(0.5)])),
    ]);
    let quote = |event: &Event| {
        let quote = *event.event().get::<Quote>().unwrap();
        (quote.bid_px, quote.ask_px, Quote::sizes(event.event()), event.head().scale, event.slots.len())
    };
    let quotes: Vec<_> = got.iter().map(quote).collect();
    assert_eq!(
        quotes,
        [
            (1_500_000_000, 1_625_000_000, (25, 1_000), 2, 1),
            (PRICE_UNDEFINED, 1_750_000_000, (0, 7), 0, 1),
            (PRICE_UNDEFINED, PRICE_UNDEFINED, (3, 0), 0, 1),
            (2_000_000_000, 2_500_000_000, (50_000_000_000, 5), 1, 2),
        ]
    );
    assert!(got.iter().all(|event| event.source == "parquet.quote" && event.event().kind() == Kind::QUOTE));
}

#[test]
fn bars_of_binance_end_where_the_next_one_begins() {
    let prices =
        ["open", "high", "low", "close"].map(|name| column(&format!("? double {name}"), Values::doubles(&[1.5, 2.0])));
    for (unit, first) in [(1, 1_723_161_240_000), (1_000, 1_723_161_240_000_000)] {
        let mut columns = vec![column("? int64 open_time", Values::ints(&[first, first + 60_000 * unit]))];
        columns.extend(prices.clone());
        columns.extend([
            column("? double volume", Values::doubles(&[10.5, 0.0])),
            column("? int64 close_time", Values::ints(&[first + 60_000 * unit - 1, first + 120_000 * unit - 1])),
            column("? int32 count", Values::Int32(vec![Some(7), Some(0)])),
        ]);
        let events = events(&columns);
        let got: Vec<_> = events.iter().map(|event| (event.head().ts_event.0, event.head().ts_recv.0)).collect();
        assert_eq!(
            got,
            [
                (1_723_161_240_000_000_000, 1_723_161_300_000_000_000),
                (1_723_161_300_000_000_000, 1_723_161_360_000_000_000)
            ]
        );
        let rest = BarRest::of(events[0].event()).unwrap();
        assert_eq!((rest.interval_ns, rest.volume, rest.trades, events[0].head().scale), (60_000_000_000, 105, 7, 1));
        assert_eq!(events[0].event().get::<Bar>().unwrap().open, 1_500_000_000);
    }
}

#[test]
fn bars_without_an_end_want_an_interval() {
    let mut columns = vec![column("? int64 window_start", Values::ints(&[1_723_161_240_000_000_000]))];
    columns.extend(
        ["open", "high", "low", "close"].map(|name| column(&format!("? float {name}"), Values::Float(vec![Some(0.1)]))),
    );
    let bytes = file(&columns, &Form::default());
    let error = decode(&bytes, &ParquetConfig::default()).error.expect("nothing tells the end").to_string();
    assert!(error.contains("its bars have no column with their end"), "{error}");
    let config = ParquetConfig { interval_ns: Some(1_000_000_000), ..ParquetConfig::default() };
    let decoded = decode(&bytes, &config);
    assert_eq!(decoded.events[0].event().get::<Bar>().unwrap().open, 100_000_000, "0.1 of 32 bits is 0.1");
    assert_eq!(decoded.events[0].head().ts_recv.0, 1_723_161_241_000_000_000);
    // When it was received is its end only where no interval is given.
    columns.push(column("? int64 ts_recv", Values::ints(&[1_723_161_243_000_000_000])));
    let bytes = file(&columns, &Form::default());
    for (config, second) in [(config, 241), (ParquetConfig::default(), 243)] {
        let end = decode(&bytes, &config).events[0].head().ts_recv.0;
        assert_eq!(end, 1_723_161_000_000_000_000 + second * 1_000_000_000);
    }
}

#[test]
fn sides_in_words_and_numbers() {
    let base = |side: Column| {
        let rows = side.1.rows();
        [
            column("? int64 time", Values::ints(&vec![1_723_161_254; rows])),
            column("? double price", Values::doubles(&vec![1.0; rows])),
            column("? double size", Values::doubles(&vec![1.0; rows])),
            side,
        ]
    };
    let sides = |columns: &[Column]| {
        let decoded = decode(&file(columns, &Form { is_optional: true, ..Form::default() }), &ParquetConfig::default());
        let sides: Vec<Side> = decoded.events.iter().map(|event| trade(event).2).collect();
        (sides, decoded.tally.bad_lines)
    };
    use Side::{Ask, Bid};
    let words = Values::texts(&["BUY", "Sell", "b", "S", "a", "", "NO_AGGRESSOR", "sideways"]);
    let expected = [Bid, Ask, Bid, Ask, Ask, Side::None, Side::None];
    assert_eq!(sides(&base(column("? binary side (STRING)", words))), (expected.to_vec(), 1));
    let numbers = Values::Int32([1, 2, -1, 0, 3].map(Some).to_vec());
    assert_eq!(sides(&base(column("? int32 side", numbers))), (vec![Bid, Ask, Ask, Side::None], 1));
}
