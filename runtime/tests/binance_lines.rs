//! The mapping of single lines, made by hand: what each message becomes, and what is refused and why.

#[allow(dead_code)]
mod binance_twin;

use binance_twin::{Decoded, Event, decode, drain, expect};
use std::fmt::Write as _;
use std::io::Cursor;
use tapeline_core::catalog::{Catalog, SeqRule};
use tapeline_core::units::{SourceId, SymbolId};
use tapeline_runtime::input::binance::BinanceInput;
use tapeline_runtime::input::bytes::ByteSource;
use tapeline_runtime::input::{Input, InputError, MESSAGE_SLOTS_MAX, SlotBuf, Status};

/// Decodes lines that the twin agrees on.
fn agreed(text: &str) -> Decoded {
    let (decoded, expected) = (decode(text.as_bytes()), expect(text.as_bytes()));
    assert_eq!(decoded.events, expected.events, "{text}");
    assert_eq!(decoded.tally.messages, expected.messages, "{text}");
    assert_eq!(decoded.tally.skipped, expected.skipped, "{text}");
    let named: Vec<u64> = decoded.tally.first_bad_lines.iter().map(|(line, _)| *line).collect();
    assert_eq!(named, expected.bad_lines, "{text}");
    decoded
}

/// The events of one good line.
fn events(line: &str) -> Vec<Event> {
    let decoded = agreed(line);
    assert_eq!(decoded.tally.bad_lines, 0, "{:?}", decoded.tally.first_bad_lines);
    decoded.events
}

/// Why a line is bad.
fn refusal(line: &str) -> String {
    let decoded = decode(line.as_bytes());
    assert_eq!((decoded.events.len(), decoded.tally.bad_lines), (0, 1), "{line}");
    assert!(decoded.error.is_none());
    let told = &decoded.tally.first_bad_lines[0].1;
    told.strip_suffix(" (at offset 0)").unwrap_or_else(|| panic!("{told}")).to_owned()
}

const SPOT_QUOTE: &str = r#"10 {"stream":"ethusdt@bookTicker","data":{"u":5,"s":"ETHUSDT","b":"2683.80000000","B":"3.02920000","a":"2683.81000000","A":"31.00000000"}}"#;

#[test]
fn a_book_ticker_becomes_a_quote() {
    let quote = Event {
        kind: "quote",
        symbol: "BINANCE_SPOT:ETHUSDT".to_owned(),
        source: "binance.spot.bookTicker".to_owned(),
        ts_recv: 10,
        ts_event: u64::MAX,
        seq: 5,
        flags: vec!["last"],
        prices: vec![2_683_800_000_000, 2_683_810_000_000],
        sizes: vec![30_292, 310_000],
        scale: 4,
        ..Event::default()
    };
    assert_eq!(events(SPOT_QUOTE), std::slice::from_ref(&quote));
    // A single stream has no wrapper.
    let bare = r#"10 {"u":5,"s":"ETHUSDT","b":"2683.8","B":"3.0292","a":"2683.81","A":"31"}"#;
    assert_eq!(events(bare), std::slice::from_ref(&quote));
    let futures =
        r#"10 {"e":"bookTicker","u":5,"s":"ETHUSDT","b":"2683.8","B":"3.0292","a":"2683.81","A":"31","T":7,"E":8}"#;
    let (symbol, source) = ("BINANCE_USDM:ETHUSDT".to_owned(), "binance.usdm.bookTicker".to_owned());
    assert_eq!(events(futures), [Event { symbol, source, ts_event: 7_000_000, ..quote }]);
}

#[test]
fn sizes_beyond_32_bits_make_a_wide_quote_and_an_empty_side_has_no_price() {
    let wide = r#"1 {"u":5,"s":"PEPEUSDT","b":"0.00000777","B":"4294967296.5","a":"0.00000778","A":"1"}"#;
    let event = &events(wide)[0];
    assert_eq!(event.flags, ["last", "wide"]);
    assert_eq!((&event.sizes[..], event.scale), (&[42_949_672_965, 10][..], 1));
    let empty = r#"1 {"u":5,"s":"X","b":"0.00000000","B":"0.00000000","a":"1.5","A":"1"}"#;
    assert_eq!(events(empty)[0].prices, [i64::MAX, 1_500_000_000]);
}

#[test]
fn a_trade_has_the_aggressors_side() {
    let spot = r#"9 {"e":"trade","E":1723161255343,"s":"BTCUSDT","t":77,"p":"61837.63","q":"0.02","T":1723161255342,"m":true,"M":true}"#;
    let event = &events(spot)[0];
    assert_eq!((event.kind, event.side, event.seq, event.part), ("trade", 2, 77, 0));
    assert_eq!(event.ts_event, 1_723_161_255_342_000_000);
    assert_eq!(events(&spot.replace("\"m\":true", "\"m\":false"))[0].side, 1);
    // Older captures name the orders too; they are numbers under the names of the book's sides.
    assert_eq!(events(&spot.replace("\"p\":", "\"b\":88,\"a\":99,\"p\":"))[0], *event);
    // Times in µs are told by their size.
    assert_eq!(events(&spot.replace("1723161255342", "1723161255342001"))[0].ts_event, 1_723_161_255_342_001_000);
    assert_eq!(events(&spot.replace("1723161255342", "18446744073709"))[0].ts_event, 18_446_744_073_709_000_000);
    assert_eq!(events(&spot.replace("1723161255342", "18446744073710"))[0].ts_event, 18_446_744_073_710_000);
    assert_eq!(events(&spot.replace("1723161255342", "18446744073709551"))[0].ts_event, 18_446_744_073_709_551_000);
}

#[test]
fn markets_are_told_by_content() {
    for (line, symbol, source) in [
        (
            r#"1 {"e":"trade","s":"BTCUSD_PERP","t":1,"p":"1","q":"4","X":"MARKET","m":false}"#,
            "COINM:BTCUSD_PERP",
            "coinm",
        ),
        (r#"1 {"e":"trade","s":"BTCUSDT","t":1,"p":"1","q":"4","X":"MARKET","m":false}"#, "USDM:BTCUSDT", "usdm"),
        (
            r#"1 {"e":"trade","s":"BTCUSDT_240927","t":1,"p":"1","q":"4","X":"MARKET","m":false}"#,
            "USDM:BTCUSDT_240927",
            "usdm",
        ),
        (r#"1 {"e":"depthUpdate","s":"A","ps":"B","u":1,"pu":0,"b":[["1","1"]],"a":[]}"#, "COINM:A", "coinm"),
        (r#"1 {"e":"depthUpdate","s":"A","u":1,"pu":0,"b":[["1","1"]],"a":[]}"#, "USDM:A", "usdm"),
        (r#"1 {"e":"depthUpdate","s":"A","u":1,"b":[["1","1"]],"a":[]}"#, "SPOT:A", "spot"),
        (r#"1 {"lastUpdateId":1,"symbol":"A","pair":"B","bids":[],"asks":[]}"#, "COINM:A", "coinm"),
    ] {
        let event = &events(line)[0];
        assert_eq!(event.symbol, format!("BINANCE_{symbol}"), "{line}");
        assert!(event.source.starts_with(&format!("binance.{source}.")), "{line}");
    }
}

#[test]
fn a_depth_message_becomes_its_levels_in_order() {
    let line = r#"3 {"e":"depthUpdate","E":4,"T":3,"s":"E","U":1,"u":9,"pu":0,"a":[["3","0.000"],["4","1.50"]],"b":[["2","7"],["1","0"]]}"#;
    let all = events(line);
    let seen: Vec<_> = all
        .iter()
        .map(|event| {
            (event.part, event.side, event.action, event.prices[0], event.sizes[0], event.scale, event.flags.len())
        })
        .collect();
    assert_eq!(
        seen,
        [
            (0, 1, 0, 2_000_000_000, 7, 0, 0),
            (1, 1, 1, 1_000_000_000, 0, 0, 0),
            (2, 2, 1, 3_000_000_000, 0, 0, 0),
            (3, 2, 0, 4_000_000_000, 15, 1, 1),
        ]
    );
    assert!(all.iter().all(|event| event.seq == 9 && event.ts_event == 3_000_000));
    let empty = agreed(r#"3 {"e":"depthUpdate","s":"E","u":9,"b":[],"a":[]}"#);
    assert_eq!((empty.events.len(), empty.tally.messages["depth"]), (0, 1), "counted, without an event");
}

#[test]
fn a_snapshot_is_a_clear_and_its_levels() {
    let text = format!("{SPOT_QUOTE}\n11 {{\"lastUpdateId\":4,\"bids\":[[\"2\",\"1\"]],\"asks\":[[\"3\",\"1\",[]]]}}");
    let all = agreed(&text).events;
    assert_eq!(all.len(), 4);
    let clear = &all[1];
    assert_eq!((clear.action, clear.side, &clear.prices[..], &clear.flags[..]), (2, 0, &[0][..], &["snapshot"][..]));
    assert_eq!((clear.seq, clear.ts_event, &clear.symbol[..]), (4, u64::MAX, "BINANCE_SPOT:ETHUSDT"));
    assert_eq!(all[3].flags, ["last", "snapshot"]);
    assert_eq!((all[2].part, all[3].part), (1, 2));
    assert!(all[1..].iter().all(|event| event.source == "binance.spot.depthSnapshot"));
    let empty = agreed(&format!("{SPOT_QUOTE}\n11 {{\"lastUpdateId\":4,\"bids\":[],\"asks\":[]}}")).events;
    assert_eq!(empty[1].flags, ["last", "snapshot"]);
}

#[test]
fn a_snapshot_without_a_name_goes_to_its_symbol_or_is_refused() {
    let snapshot =
        |update: u64, bid: &str| format!("9 {{\"lastUpdateId\":{update},\"bids\":[[\"{bid}\",\"1\"]],\"asks\":[]}}\n");
    let quote = |symbol: &str, update: u64, bid: &str| {
        format!("1 {{\"u\":{update},\"s\":\"{symbol}\",\"b\":\"{bid}\",\"B\":\"1\",\"a\":\"99999\",\"A\":\"1\"}}\n")
    };
    let owner = |text: &str| decode(text.as_bytes()).events.last().unwrap().symbol.clone();
    let reason = |text: &str| decode(text.as_bytes()).tally.first_bad_lines.last().unwrap().1.clone();
    assert!(reason(&snapshot(5, "10")).contains("before any message of its market"));
    let futures_only = r#"1 {"e":"trade","s":"F","t":1,"p":"10","q":"4","X":"MARKET","m":false}"#.to_owned() + "\n";
    assert!(reason(&(futures_only + &snapshot(5, "10"))).contains("before any message of its market"));
    let two = quote("AUSDT", 1_000, "10") + &quote("BUSDT", 2_000, "11");
    assert_eq!(owner(&(two.clone() + &snapshot(1_400, "10"))), "BINANCE_SPOT:AUSDT");
    assert_eq!(owner(&(two.clone() + &snapshot(1_600, "10"))), "BINANCE_SPOT:BUSDT");
    // The nearest number with a price that cannot be.
    let apart = quote("AUSDT", 1_000, "10") + &quote("BUSDT", 2_000, "6000");
    assert_eq!(owner(&(apart.clone() + &snapshot(1_900, "12"))), "BINANCE_SPOT:AUSDT");
    assert!(reason(&(apart + &snapshot(1_900, "300"))).contains("fits none"));
}

#[test]
fn other_messages_are_skipped_and_counted_by_name() {
    let text = concat!(
        "1 {\"result\":null,\"id\":1}\n",
        "2 {\"stream\":\"a@aggTrade\",\"data\":{\"e\":\"aggTrade\",\"a\":5,\"s\":\"A\",\"p\":\"1\",\"q\":\"1\",\"m\":true}}\n",
        "3 {\"e\":\"aggTrade\"}\n",
        "4 {\"stream\":\"!ticker@arr\",\"data\":[{\"e\":\"24hrTicker\"}]}\n",
        "5 {\"stream\":\"a@depth20@100ms\",\"data\":{\"lastUpdateId\":5,\"bids\":[],\"asks\":[]}}\n",
        "6 {\"stream\":\"a@depth5\",\"data\":{\"e\":\"depthUpdate\",\"u\":5,\"s\":\"A\",\"b\":[],\"a\":[]}}\n",
        "7 {\"e\":\"trade\",\"s\":\"A\",\"t\":1,\"p\":\"0\",\"q\":\"0\",\"X\":\"INSURANCE_FUND\",\"m\":true}\n",
        "8 {\"e\":\"kline\",\"k\":{\"b\":[[\"x\"]],\"a\":{}},\"b\":{\"x\":[1]},\"a\":[1,[2]]}\n",
        "9 [1,2]\n",
        "10 {\"openInterest\":\"5\"}\n",
        "\n   \n",
    );
    let skipped = agreed(text).tally.skipped;
    let counts: Vec<(&str, u64)> = skipped.iter().map(|(name, count)| (&name[..], *count)).collect();
    assert_eq!(
        counts,
        [
            ("!ticker@arr", 1),
            ("aggTrade", 2),
            ("depth20", 1),
            ("depth5", 1),
            ("kline", 1),
            ("reply", 1),
            ("trade.INSURANCE_FUND", 1),
            ("unknown", 2)
        ]
    );
}

#[test]
fn names_of_skipped_messages_are_bounded() {
    let mut text = String::new();
    for index in 0..1_000 {
        writeln!(text, "1 {{\"e\":\"made up {index}\"}}").unwrap();
    }
    writeln!(text, "1 {{\"e\":\"{}\"}}", "long".repeat(1_000)).unwrap();
    let skipped = decode(text.as_bytes()).tally.skipped;
    assert_eq!(skipped.len(), 65);
    assert_eq!(skipped["other"], 1_001 - 64);
}

#[test]
fn keys_in_any_order_escapes_and_white_space_change_nothing() {
    let plain = events(SPOT_QUOTE);
    for line in [
        "10\t { \"data\" : { \"A\" : \"31\" , \"a\" : \"2683.81\" , \"x\" : [ { } ] , \"B\" : \"3.0292\" , \"b\" : \"2683.8\" , \"s\" : \"ETHUSDT\" , \"u\" : 5 } , \"stream\" : \"ethusdt@bookTicker\" } \r",
        r#"10 {"str\u0065am":"ethusdt@bookTicker","data":{"u":5,"\u0073":"\u0045THUSDT","b":"2683.\u0038","B":"3.0292","a":"2683.81","A":"31"}}"#,
        r#"10 {"data":{"nested":{"u":9,"e":"trade"},"u":5,"s":"ETHUSDT","b":"2683.8","B":"3.0292","a":"2683.81","A":"31"}}"#,
    ] {
        assert_eq!(events(line), plain, "{line}");
    }
    let depth = r#"1 {"e":"depthUpdate","s":"币","u":1,"b":[["\u0031.5","2"]],"a":[ [ "3" , "4" , null , {} ] ]}"#;
    let all = events(depth);
    assert_eq!((all[0].prices[0], &all[0].symbol[..]), (1_500_000_000, "BINANCE_SPOT:币"));
}

#[test]
fn refusals_name_the_reason() {
    let trade = r#"1 {"e":"trade","s":"A","t":1,"p":"1","q":"4","M":true,"m":false}"#;
    let depth = r#"1 {"e":"depthUpdate","s":"A","u":1,"b":[["1","2"]],"a":[]}"#;
    assert_eq!(events(trade).len() + events(depth).len(), 2);
    for (line, reason) in [
        ("garbage".to_owned(), "does not begin with the local time"),
        ("{\"e\":\"trade\"}".to_owned(), "does not begin with the local time"),
        ("1{}".to_owned(), "does not begin with the local time"),
        ("18446744073709551615 {}".to_owned(), "does not begin with the local time"),
        ("99999999999999999999 {}".to_owned(), "does not begin with the local time"),
        ("1 ".to_owned(), "does not begin with the local time"),
        ("1 {".to_owned(), "the text ends inside a value"),
        (trade[..trade.len() - 1].to_owned(), "the text ends inside a value"),
        (format!("{trade}}}"), "no JSON at byte"),
        (trade.replace("\"t\":1", "\"t\":01"), "no JSON at byte"),
        (trade.replace("\"t\":1", "\"t\":-1"), "`t`: byte 0 is no digit"),
        (trade.replace("\"t\":1", "\"t\":1.0"), "`t`: byte 1 is no digit"),
        (trade.replace("\"t\":1", "\"t\":\"1\""), "`t` is not what it should be"),
        (trade.replace("\"t\":1,", ""), "`t` is missing"),
        (trade.replace("\"t\":1", "\"t\":1,\"t\":1"), "`t` is given twice"),
        (trade.replace("\"1\"", "\"1.0000000001\""), "`p`: more than 9 decimals"),
        (trade.replace("\"1\"", "\"1e5\""), "`p`: byte 1 is no digit"),
        (trade.replace("\"1\"", "1"), "`p` is not what it should be"),
        (trade.replace("\"4\"", "\"-4\""), "`q`: negative"),
        (trade.replace("\"4\"", "\"99999999999999999999\""), "`q`: out of range"),
        (trade.replace("\"m\":false", "\"m\":null"), "`m` is not what it should be"),
        (trade.replace("\"M\":true,", ""), "neither `M` nor `X`"),
        (trade.replace("\"A\"", "\"\""), "a symbol that is empty"),
        (trade.replace("\"A\"", "\"A B\""), "a symbol that is empty"),
        (trade.replace("\"A\"", "\"A\\u0000\""), "a symbol that is empty"),
        (trade.replace("\"A\"", &format!("\"{}\"", "A".repeat(90))), "a symbol that is empty, longer than 96 bytes"),
        (trade.replace("\"e\":\"trade\"", "\"e\":5"), "`e` is not what it should be"),
        (trade.replace("\"m\"", "\"T\":99999999999999999,\"m\""), "`T` is no time"),
        (trade.replace("\"m\"", "\"E\":\"5\",\"m\""), "`E` is not what it should be"),
        (depth.replace("[[\"1\",\"2\"]]", "[[\"1\"]]"), "`b` is not what it should be"),
        (depth.replace("[[\"1\",\"2\"]]", "{\"1\":2}"), "`b` is not what it should be"),
        (depth.replace("[[\"1\",\"2\"]]", "[1]"), "`b` is not what it should be"),
        (depth.replace("[[\"1\",\"2\"]]", "[[\"1\",\"x\"]]"), "`b`: byte 0 is no digit"),
        (depth.replace("[[\"1\",\"2\"]]", "\"1\""), "`b` is not what it should be"),
        (depth.replace(",\"a\":[]", ""), "`a` is missing"),
        (depth.replace("[]", "[],\"asks\":[]"), "`a` is given twice"),
        ("1 {\"stream\":\"a@trade\",\"data\":{\"s\":\"A\"}}".to_owned(), "`e` is missing"),
        (format!("1 {}", "[".repeat(1_000)), "nested deeper than 64"),
    ] {
        let why = refusal(&line);
        assert!(why.contains(reason), "{line}: {why}");
    }
    // A line's levels never stand in for those that the next one lacks.
    let text = format!("{depth}\n{}\n", depth.replace("[[\"1\",\"2\"]]", "{}"));
    assert_eq!(decode(text.as_bytes()).events.len(), 1);
}

#[test]
fn bad_lines_are_counted_the_first_ten_named_and_the_rest_goes_on() {
    let mut text = String::new();
    for index in 0..25 {
        writeln!(text, "{SPOT_QUOTE}\nbroken {index}").unwrap();
    }
    let decoded = decode(text.as_bytes());
    assert_eq!((decoded.events.len(), decoded.tally.bad_lines), (25, 25));
    let named: Vec<u64> = decoded.tally.first_bad_lines.iter().map(|(line, _)| *line).collect();
    assert_eq!(named, (1..=10).map(|index| index * 2).collect::<Vec<u64>>());
}

#[test]
fn a_line_without_its_end_counts_if_it_is_whole() {
    assert_eq!(events(SPOT_QUOTE).len(), 1);
    let cut = decode(&SPOT_QUOTE.as_bytes()[..SPOT_QUOTE.len() - 1]);
    assert_eq!((cut.events.len(), cut.tally.bad_lines), (0, 1));
}

#[test]
fn lines_that_are_too_long_are_bad_and_skipped() {
    let text = format!("{SPOT_QUOTE}\n1 {{\"e\":\"{}\"}}\n{SPOT_QUOTE}\n", "x".repeat(3_000));
    let source = ByteSource::new(Box::new(Cursor::new(text.into_bytes())), "sample", None).unwrap();
    let mut input = BinanceInput::new(source, 1_000);
    let decoded = drain(&mut input, MESSAGE_SLOTS_MAX);
    assert_eq!((decoded.events.len(), input.lines()), (2, 3));
    let told = format!("a line of 3010 bytes is longer than the limit (at offset {})", SPOT_QUOTE.len() + 1);
    assert_eq!(decoded.tally.first_bad_lines, [(2, told)]);
}

#[test]
fn a_message_of_too_many_levels_is_bad() {
    let depth = |levels: usize| {
        let levels = vec!["[\"1\",\"2\"]"; levels].join(",");
        format!("1 {{\"e\":\"depthUpdate\",\"s\":\"A\",\"u\":1,\"b\":[{levels}],\"a\":[]}}")
    };
    assert_eq!(decode(depth(MESSAGE_SLOTS_MAX).as_bytes()).events.len(), MESSAGE_SLOTS_MAX);
    assert!(refusal(&depth(MESSAGE_SLOTS_MAX + 1)).starts_with("16385 events are more than the 16384"));
    let snapshot = depth(MESSAGE_SLOTS_MAX).replace("\"e\":\"depthUpdate\"", "\"symbol\":\"A\",\"lastUpdateId\":1");
    assert!(refusal(&snapshot).starts_with("16385 events are more than the 16384"));
}

#[test]
fn a_full_symbol_table_ends_the_input_with_the_line() {
    let text = format!("{SPOT_QUOTE}\n{}\n{SPOT_QUOTE}\n", SPOT_QUOTE.replace("ETHUSDT", "BTCUSDT"));
    let source = ByteSource::new(Box::new(Cursor::new(text.into_bytes())), "sample", None).unwrap();
    let mut input = BinanceInput::new(source, 1_000);
    let (mut catalog, mut out) = (Catalog::new(2), SlotBuf::with_capacity(MESSAGE_SLOTS_MAX));
    let error = input.read(&mut catalog, &mut out).unwrap_err();
    assert!(matches!(error, InputError::Catalog { .. }));
    assert!(error.to_string().starts_with("sample: line 2: the symbol table is full"), "{error}");
    assert_eq!(out.slots().len(), 1, "what came before stands");
    assert_eq!(input.read(&mut catalog, &mut out).unwrap(), Status::End);
}

#[test]
fn sources_tell_how_they_count() {
    let text = concat!(
        "1 {\"u\":5,\"s\":\"A\",\"b\":\"1\",\"B\":\"1\",\"a\":\"2\",\"A\":\"1\"}\n",
        "1 {\"e\":\"trade\",\"s\":\"A\",\"t\":1,\"p\":\"1\",\"q\":\"4\",\"M\":true,\"m\":false}\n",
        "1 {\"e\":\"depthUpdate\",\"s\":\"A\",\"u\":1,\"b\":[[\"1\",\"2\"]],\"a\":[]}\n",
        "1 {\"lastUpdateId\":1,\"bids\":[],\"asks\":[]}\n",
    );
    let source = ByteSource::new(Box::new(Cursor::new(text.as_bytes())), "sample", None).unwrap();
    let (mut catalog, mut out) = (Catalog::new(8), SlotBuf::with_capacity(MESSAGE_SLOTS_MAX));
    assert_eq!(BinanceInput::new(source, 1_000).read(&mut catalog, &mut out).unwrap(), Status::End);
    let rules: Vec<SeqRule> = (1..5).map(|id| catalog.seq_rule(SourceId(id))).collect();
    use SeqRule::{ContiguousPerSymbol, Increasing};
    assert_eq!(rules, [Increasing, ContiguousPerSymbol, Increasing, Increasing]);
    assert!(out.slots().iter().all(|slot| slot.symbol == SymbolId(1)));
}
