//! Columns of every type in every form, against a twin that makes events of rows one by one.

use crate::Random;
use crate::write::{Column, Decoded, Form, Values, column, decode, decode_named, file};
use parquet::basic::{Compression, Encoding, GzipLevel};
use tapeline_core::event::Flags;
use tapeline_core::event::payload::Trade;
use tapeline_core::units::{Side, UnixNanos};
use tapeline_runtime::input::decimal;
use tapeline_runtime::input::parquet::{ParquetConfig, Role};

/// A trade as the twin has it; `None` = missing.
#[derive(Clone, Debug)]
struct Row {
    time: Option<u64>,
    /// As a decimal text.
    price: Option<String>,
    size: Option<i32>,
    symbol: Option<String>,
    side: Option<&'static str>,
    seq: Option<i64>,
}

/// How prices are stored.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Prices {
    Double,
    Float,
    Decimal32,
    Decimal64,
    Decimal128,
    Text,
}

const PRICES: [Prices; 6] =
    [Prices::Double, Prices::Float, Prices::Decimal32, Prices::Decimal64, Prices::Decimal128, Prices::Text];

fn rows(random: &mut Random, count: usize, missing: u64) -> Vec<Row> {
    let mut price = 6_000_000i64;
    let mut time = 1_723_161_254_024_619_568u64;
    (0..count)
        .map(|row| {
            price += random.below(2_001) as i64 - 1_000;
            time += random.below(1_000_000);
            let some = |random: &mut Random| random.below(1_000) >= missing;
            let name = match random.below(9) {
                0 => "A".to_owned(),
                1 => format!("LONG{}", "x".repeat(40)),
                other => format!("SYM{}", other / 2),
            };
            Row {
                time: some(random).then_some(time),
                price: some(random).then(|| format!("{}.{:02}", price / 100, price.unsigned_abs() % 100)),
                size: some(random).then(|| random.below(1 << 20) as i32),
                symbol: some(random).then_some(name),
                side: some(random).then(|| ["buy", "sell", "unknown"][random.below(3) as usize]),
                seq: some(random).then_some(row as i64 / 2 + 1),
            }
        })
        .collect()
}

fn columns(rows: &[Row], prices: Prices) -> Vec<Column> {
    fn all<T>(rows: &[Row], value: impl Fn(&Row) -> Option<T>) -> Vec<Option<T>> {
        rows.iter().map(value).collect()
    }
    let cents = |row: &Row| row.price.as_ref().map(|price| price.replace('.', "").parse::<i64>().unwrap());
    let price = match prices {
        Prices::Double => {
            column("? double price", Values::Double(all(rows, |row| Some(row.price.as_ref()?.parse().unwrap()))))
        }
        Prices::Float => {
            column("? float price", Values::Float(all(rows, |row| Some(row.price.as_ref()?.parse().unwrap()))))
        }
        Prices::Decimal32 => {
            column("? int32 price (DECIMAL(9,2))", Values::Int32(all(rows, |row| Some(cents(row)? as i32))))
        }
        Prices::Decimal64 => {
            column("? int64 price (DECIMAL(18,6))", Values::Int64(all(rows, |row| Some(cents(row)? * 10_000))))
        }
        Prices::Decimal128 => column(
            "? fixed_len_byte_array(16) price (DECIMAL(38,12))",
            Values::Fixed(all(rows, |row| Some((i128::from(cents(row)?) * 10_000_000_000).to_be_bytes().to_vec()))),
        ),
        Prices::Text => column("? binary price (STRING)", Values::Text(all(rows, |row| row.price.clone()))),
    };
    vec![
        column("? int64 ts_event (TIMESTAMP(NANOS,true))", Values::Int64(all(rows, |row| Some(row.time? as i64)))),
        column("? boolean is_best_match", Values::Bool(all(rows, |row| Some(row.size? & 1 == 1)))),
        price,
        column("? binary symbol (STRING)", Values::Text(all(rows, |row| row.symbol.clone()))),
        column("? int32 size", Values::Int32(all(rows, |row| row.size))),
        column("? binary side (STRING)", Values::Text(all(rows, |row| row.side.map(str::to_owned)))),
        column("? int64 seq", Values::Int64(all(rows, |row| row.seq))),
    ]
}

/// Compares what was decoded with what the rows say.
fn check(decoded: &Decoded, rows: &[Row], prices: Prices, hint: &str) {
    assert!(decoded.error.is_none(), "{hint}: {:?}", decoded.error);
    let mut last = std::collections::HashMap::new();
    let mut events = decoded.events.iter();
    let mut bad = Vec::new();
    for (number, row) in rows.iter().enumerate() {
        let Row { time: Some(time), price: Some(price), size: Some(size), symbol: Some(symbol), seq: Some(seq), side } =
            row
        else {
            bad.push(number as u64 + 1);
            continue;
        };
        let event = events.next().unwrap_or_else(|| panic!("{hint}: an event of row {}", number + 1));
        let text = if prices == Prices::Float { format!("{}", price.parse::<f32>().unwrap()) } else { price.clone() };
        let part = match last.insert(symbol.clone(), (*seq, 0u16)) {
            Some((before, part)) if before == *seq => part + 1,
            _ => 0,
        };
        last.insert(symbol.clone(), (*seq, part));
        let head = event.head();
        let trade = event.event().get::<Trade>().expect("a trade");
        let side = match side {
            Some("buy") => Side::Bid,
            Some("sell") => Side::Ask,
            _ => Side::None,
        };
        assert_eq!(
            (head.ts_event, head.ts_recv, trade.price, trade.size, trade.side(), head.scale),
            (UnixNanos(*time), UnixNanos(*time), decimal::price(text.as_bytes()).unwrap(), *size as u64, side, 0),
            "{hint}: row {}",
            number + 1
        );
        assert_eq!(
            (&event.symbol, head.seq, head.part, head.flags),
            (symbol, *seq as u64, part, Flags::LAST),
            "{hint}"
        );
        assert_eq!(event.source, "parquet.trade");
    }
    assert!(events.next().is_none(), "{hint}");
    assert_eq!(decoded.tally.bad_lines, bad.len() as u64, "{hint}");
    let named: Vec<u64> = decoded.tally.first_bad_lines.iter().map(|(row, _)| *row).collect();
    assert_eq!(named, bad[..bad.len().min(10)], "{hint}");
    assert_eq!(decoded.tally.messages.get("trades").copied().unwrap_or(0), decoded.events.len() as u64, "{hint}");
}

#[test]
fn every_type_encoding_compression_and_version_reads_back() {
    let compressions = [
        Compression::UNCOMPRESSED,
        Compression::SNAPPY,
        Compression::GZIP(GzipLevel::default()),
        Form::zstd(),
        Compression::LZ4_RAW,
    ];
    let encodings = [
        None,
        Some((Encoding::PLAIN, Encoding::PLAIN)),
        Some((Encoding::DELTA_BINARY_PACKED, Encoding::DELTA_LENGTH_BYTE_ARRAY)),
        Some((Encoding::DELTA_BINARY_PACKED, Encoding::DELTA_BYTE_ARRAY)),
        Some((Encoding::BYTE_STREAM_SPLIT, Encoding::DELTA_BYTE_ARRAY)),
    ];
    let mut case = 0usize;
    for (index, encoding) in encodings.into_iter().enumerate() {
        for prices in PRICES {
            for version in [1, 2] {
                let mut random = Random(case as u64);
                let is_optional = !case.is_multiple_of(3);
                let missing = if is_optional { [5, 0, 400, 1_000][case % 4] } else { 0 };
                let count = [1, 700, 5_000][case % 3];
                let rows = rows(&mut random, count, missing);
                let form = Form {
                    version,
                    compression: compressions[(case + index) % compressions.len()],
                    dictionary: encoding.is_none() && case % 5 != 4,
                    encoding,
                    page_rows: [20_000, 1, 333][case / 2 % 3],
                    group_rows: [1 << 20, 64, 1_000][case / 3 % 3],
                    is_optional,
                };
                let hint = format!("case {case}: {prices:?} {form:?} {count} rows, {missing} of 1,000 missing");
                let bytes = file(&columns(&rows, prices), &form);
                check(&decode(&bytes, &ParquetConfig::default()), &rows, prices, &hint);
                case += 1;
            }
        }
    }
}

#[test]
fn many_row_groups_of_one_row() {
    let rows = rows(&mut Random(3), 2_000, 0);
    let bytes = file(&columns(&rows, Prices::Double), &Form { group_rows: 1, ..Form::default() });
    check(&decode(&bytes, &ParquetConfig::default()), &rows, Prices::Double, "one row a group");
    // From a file on disk, which is read through a window, and with little room for events.
    let path = std::env::temp_dir().join(format!("tapeline-parquet-{}.parquet", std::process::id()));
    std::fs::write(&path, &bytes).unwrap();
    let opened = tapeline_runtime::input::detect::open(path.to_str().unwrap(), &Default::default());
    check(&crate::write::read(opened, 7), &rows, Prices::Double, "from disk");
    std::fs::remove_file(path).unwrap();
    // Inside gzip, as a pipe would come.
    let packed = {
        use std::io::Write;
        let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packer.write_all(&bytes).unwrap();
        packer.finish().unwrap()
    };
    check(&decode_named(&packed, &ParquetConfig::default(), "-", 64), &rows, Prices::Double, "inside gzip");
}

/// One row with this time: its `ts_event`, or why it is bad.
fn time_of(declared: &str, value: Values) -> Result<u64, String> {
    let columns = [
        column(declared, value),
        column("? double price", Values::doubles(&[1.5])),
        column("? int64 size", Values::ints(&[2])),
    ];
    let decoded = decode(&file(&columns, &Form::default()), &ParquetConfig::default());
    assert!(decoded.error.is_none(), "{declared}: {:?}", decoded.error);
    match decoded.events.first() {
        Some(event) => Ok(event.head().ts_event.0),
        None => Err(decoded.tally.first_bad_lines[0].1.clone()),
    }
}

#[test]
fn times_in_every_unit() {
    const NS: u64 = 1_723_161_254_024_619_568;
    let ns = NS as i64;
    for (declared, value, expected) in [
        ("required int64 time (TIMESTAMP(NANOS,true))", ns, Ok(NS)),
        ("required int64 time (TIMESTAMP(MICROS,false))", ns / 1_000, Ok(NS / 1_000 * 1_000)),
        ("required int64 time (TIMESTAMP(MILLIS,true))", ns / 1_000_000, Ok(NS / 1_000_000 * 1_000_000)),
        ("required int64 time (TIMESTAMP_MILLIS)", ns / 1_000_000, Ok(NS / 1_000_000 * 1_000_000)),
        ("required int64 time (TIMESTAMP_MICROS)", ns / 1_000, Ok(NS / 1_000 * 1_000)),
        ("required int64 time", ns, Ok(NS)),
        ("required int64 time", ns / 1_000, Ok(NS / 1_000 * 1_000)),
        ("required int64 time", ns / 1_000_000, Ok(NS / 1_000_000 * 1_000_000)),
        ("required int64 time", ns / 1_000_000_000, Ok(NS / 1_000_000_000 * 1_000_000_000)),
        ("required int64 time (INTEGER(64,false))", ns, Ok(NS)),
        ("required int64 time (TIMESTAMP(MICROS,true))", -1, Err("time: a time before 1970".to_owned())),
        (
            "required int64 time (TIMESTAMP(MILLIS,true))",
            i64::MAX,
            Err("time: no time in whole ns within 584 years of 1970".to_owned()),
        ),
        ("required int64 time (TIMESTAMP(NANOS,true))", 0, Ok(0)),
    ] {
        assert_eq!(time_of(declared, Values::ints(&[value])), expected, "{declared} {value}");
    }
    for (value, expected) in [
        (1_618_676_040.123456, Ok(1_618_676_040_123_456_000)),
        (1_618_676_040_123.0, Ok(1_618_676_040_123_000_000)),
        (1_618_676_040_123.5, Err("time: no time in whole ns within 584 years of 1970".to_owned())),
        (-1.5, Err("time: a time before 1970".to_owned())),
        (f64::NAN, Err("it has no time".to_owned())),
    ] {
        assert_eq!(time_of("required double time", Values::doubles(&[value])), expected, "{value}");
    }
    // 2024-08-08 is day 19,943 since the epoch, and Julian day 2,460,531.
    let day = 19_943 * 86_400_000_000_000u64;
    let int96 = |nanos, day| Values::Int96(vec![Some((nanos, day))]);
    assert_eq!(time_of("required int96 time", int96(5_000, 2_460_531)), Ok(day + 5_000));
    assert_eq!(time_of("required int96 time", int96(0, 2_440_587)), Err("time: a time before 1970".to_owned()));
    assert_eq!(time_of("required int32 date (DATE)", Values::Int32(vec![Some(19_943)])), Ok(day));
}

#[test]
fn a_date_and_a_time_of_day_are_one_time() {
    let columns = [
        column("required int32 date (DATE)", Values::Int32(vec![Some(19_943); 2])),
        column("required int32 time (TIME(MILLIS,true))", Values::Int32(vec![Some(34_200_001), Some(34_200_002)])),
        column("required double price", Values::doubles(&[1.5, 1.25])),
        column("required int64 size", Values::ints(&[2, 3])),
    ];
    let decoded = decode(&file(&columns, &Form::default()), &ParquetConfig::default());
    let times: Vec<u64> = decoded.events.iter().map(|event| event.head().ts_event.0).collect();
    let day = 19_943 * 86_400_000_000_000;
    assert_eq!(times, [day + 34_200_001_000_000, day + 34_200_002_000_000]);
    let without = decode(&file(&columns[1..], &Form::default()), &ParquetConfig::default());
    let error = without.error.expect("there is no date").to_string();
    assert!(error.ends_with("its times are times of day, and no column has the date"), "{error}");
}

#[test]
fn numbers_that_do_not_fit_are_refused_and_counted() {
    let prices = [0.1, 0.1 + 0.2, 1e-10, f64::INFINITY, f64::NAN, 9.3e9, -2.5, 0.0];
    let sizes = [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1e-9, -1.0];
    let columns = [
        column("required int64 time", Values::ints(&[1_723_161_254; 8])),
        column("required double price", Values::doubles(&prices)),
        column("required double size", Values::doubles(&sizes)),
    ];
    let decoded = decode(&file(&columns, &Form::default()), &ParquetConfig::default());
    let trades: Vec<(i64, u64, u8)> = decoded
        .events
        .iter()
        .map(|event| event.event().get::<Trade>().map(|trade| (trade.price, trade.size, event.head().scale)).unwrap())
        .collect();
    assert_eq!(trades, [(100_000_000, 1, 0), (-2_500_000_000, 1, 9)]);
    let why: Vec<String> = decoded.tally.first_bad_lines.iter().map(|(row, why)| format!("{row} {why}")).collect();
    assert_eq!(
        why,
        [
            "2 price: more than 9 decimals",
            "3 price: more than 9 decimals",
            "4 price: no finite number",
            "5 price is missing",
            "6 price: out of range",
            "8 size: negative",
        ]
    );
    assert_eq!(decoded.tally.bad_lines, 6);
}

#[test]
fn a_time_of_0_tells_no_unit() {
    let second = 1_723_161_254;
    let ints = [0, -5, second * 1_000, second * 1_000 + 1];
    for times in [Values::ints(&ints), Values::doubles(&ints.map(|time| time as f64))] {
        let declared = if matches!(times, Values::Int64(_)) { "required int64 time" } else { "required double time" };
        let columns = [
            column(declared, times),
            column("required double price", Values::doubles(&[1.0; 4])),
            column("required double size", Values::doubles(&[1.0; 4])),
        ];
        let decoded = decode(&file(&columns, &Form::default()), &ParquetConfig::default());
        let times: Vec<u64> = decoded.events.iter().map(|event| event.head().ts_event.0).collect();
        assert_eq!(times, [0, second as u64 * 1_000_000_000, second as u64 * 1_000_000_000 + 1_000_000], "{declared}");
        assert_eq!(decoded.tally.bad_lines, 1, "{declared}");
    }
}

#[test]
fn a_symbol_that_is_no_name_is_a_bad_row() {
    let long = "X".repeat(97);
    let columns = [
        column("required int64 time", Values::ints(&[1_723_161_254; 5])),
        column("required double price", Values::doubles(&[1.0; 5])),
        column("required double size", Values::doubles(&[1.0; 5])),
        column("required binary symbol (STRING)", Values::texts(&["A", &long, " ", "A\u{1}B", "BRK B"])),
    ];
    let bytes = file(&columns, &Form::default());
    let decoded = decode(&bytes, &ParquetConfig::default());
    assert!(decoded.error.is_none(), "{:?}", decoded.error);
    let symbols: Vec<&str> = decoded.events.iter().map(|event| event.symbol.as_str()).collect();
    assert_eq!((symbols, decoded.tally.bad_lines), (vec!["A", "BRK B"], 3));
    // What would stand before all of them, or be all of them.
    for (columns, prefix) in [(&columns[..], long.as_str()), (&columns[..], "A\n"), (&columns[..3], "")] {
        let config = ParquetConfig { prefix: Some(prefix.to_owned()), ..ParquetConfig::default() };
        let error = decode(&file(columns, &Form::default()), &config).error.expect("no symbol").to_string();
        assert!(error.contains("its symbol"), "{error}");
    }
}

#[test]
fn columns_in_columns_are_passed_over() {
    let columns = [
        column("required int64 time", Values::ints(&[1_723_161_254, 1_723_161_255])),
        column("required group book { required double price; required double size; }", Values::doubles(&[7.0, 8.0])),
        column("", Values::doubles(&[9.0, 9.0])),
        column("required double price", Values::doubles(&[1.0, 2.0])),
        column("required double size", Values::doubles(&[3.0, 4.0])),
    ];
    let decoded = decode(&file(&columns, &Form::default()), &ParquetConfig::default());
    let trades: Vec<i64> = decoded.events.iter().map(|event| event.event().get::<Trade>().unwrap().price).collect();
    assert_eq!(trades, [1_000_000_000, 2_000_000_000]);
    assert_eq!(decoded.events[0].symbol, "rows", "by the name of the file");
}

#[test]
fn a_map_and_a_symbol_of_the_configuration() {
    let columns = [
        column("required int64 when", Values::ints(&[1_723_161_254])),
        column("required double last", Values::doubles(&[1.5])),
        column("required double n", Values::doubles(&[3.0])),
    ];
    let mut config =
        ParquetConfig { prefix: Some("X:Y".to_owned()), source: Some("mine".to_owned()), ..ParquetConfig::default() };
    let bytes = file(&columns, &Form::default());
    let error = decode(&bytes, &config).error.expect("no name is known").to_string();
    assert!(error.contains("it is Parquet, but its columns are those of no trades"), "{error}");
    for (role, name) in [(Role::TsEvent, "when"), (Role::Price, "last"), (Role::Size, "n")] {
        config.columns.insert(role, name.to_owned());
    }
    let decoded = decode(&bytes, &config);
    assert_eq!((decoded.events[0].symbol.as_str(), decoded.events[0].source.as_str()), ("X:Y", "mine"));
}
