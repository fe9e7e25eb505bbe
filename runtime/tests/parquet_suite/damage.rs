//! Files that are cut, damaged or lie: no panic, nothing before the damage lost, little memory.

use crate::Random;
use crate::write::{Column, Decoded, Form, Values, column, decode, file};
use parquet::basic::{Compression, Encoding, GzipLevel};
use tapeline_runtime::input::InputError;
use tapeline_runtime::input::parquet::ParquetConfig;

fn columns(rows: usize) -> Vec<Column> {
    let (mut random, mut time) = (Random(5), 1_723_161_254_024_619_568i64);
    let times = (0..rows).map(|_| {
        time += random.below(1_000) as i64;
        Some(time)
    });
    let times = times.collect();
    let names = ["AAPL", "MSFT", "GOOG"];
    vec![
        column("? int64 ts_event (TIMESTAMP(NANOS,true))", Values::Int64(times)),
        column(
            "? double price",
            Values::Double((0..rows).map(|_| Some(random.below(1_000_000) as f64 / 100.0)).collect()),
        ),
        column("? int32 size", Values::Int32((0..rows).map(|_| Some(random.below(1_000) as i32)).collect())),
        column(
            "? binary symbol (STRING)",
            Values::Text((0..rows).map(|_| Some(names[random.below(3) as usize].to_owned())).collect()),
        ),
    ]
}

fn forms() -> Vec<Form> {
    let form = |version, compression, encoding: Option<(Encoding, Encoding)>, is_optional| Form {
        version,
        compression,
        dictionary: encoding.is_none(),
        encoding,
        page_rows: 40,
        group_rows: 100,
        is_optional,
    };
    vec![
        form(1, Compression::UNCOMPRESSED, None, false),
        form(2, Compression::UNCOMPRESSED, Some((Encoding::DELTA_BINARY_PACKED, Encoding::DELTA_BYTE_ARRAY)), true),
        form(
            1,
            Compression::UNCOMPRESSED,
            Some((Encoding::BYTE_STREAM_SPLIT, Encoding::DELTA_LENGTH_BYTE_ARRAY)),
            true,
        ),
        form(1, Compression::SNAPPY, Some((Encoding::PLAIN, Encoding::PLAIN)), true),
        form(2, Form::zstd(), None, true),
        form(1, Compression::GZIP(GzipLevel::default()), None, true),
        form(2, Compression::LZ4_RAW, None, false),
    ]
}

/// What was decoded of a damaged file: its first events are those of the whole one wherever it ended with an error.
fn check(whole: &Decoded, damaged: &Decoded, hint: &str) {
    match &damaged.error {
        None => {}
        Some(InputError::Damaged { why, .. }) => assert!(!why.is_empty()),
        Some(InputError::Unrecognised { .. } | InputError::Catalog { .. }) => {}
        Some(error) => panic!("{hint}: {error}"),
    }
    assert!(damaged.events.len() + damaged.tally.bad_lines as usize <= whole.events.len() * 40, "{hint}");
}

#[test]
fn a_file_that_is_cut_anywhere_has_no_footer() {
    for form in forms() {
        let bytes = file(&columns(250), &form);
        let whole = decode(&bytes, &ParquetConfig::default());
        assert_eq!((whole.events.len(), whole.error.is_none()), (250, true), "{form:?}");
        for cut in (4..bytes.len()).step_by(if form.is_optional { 37 } else { 11 }) {
            let error = decode(&bytes[..cut], &ParquetConfig::default()).error.expect("it is cut");
            assert_eq!(error.exit_code(), 3, "cut at {cut}: {error}");
            let text = error.to_string();
            let is_told = text.contains("cut short") || text.contains("longer than");
            assert!(is_told && text.contains("offset"), "cut at {cut}: {text}");
        }
    }
}

#[test]
fn rows_before_a_damaged_page_are_delivered() {
    let form = Form { page_rows: 40, group_rows: 100, compression: Form::zstd(), ..Form::default() };
    let bytes = file(&columns(250), &form);
    let whole = decode(&bytes, &ParquetConfig::default());
    let mut lengths = std::collections::BTreeSet::new();
    for at in 4..bytes.len() / 2 {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0xff;
        let decoded = decode(&damaged, &ParquetConfig::default());
        let hint = format!("byte {at}");
        check(&whole, &decoded, &hint);
        if let Some(error) = &decoded.error {
            let text = error.to_string();
            assert!(text.contains("row group") && text.contains("column"), "{hint}: {text}");
            // The page with the byte is of 40 rows at most, and all before it are as they were.
            let intact = whole.events.iter().zip(&decoded.events).take_while(|(one, other)| one == other).count();
            assert!(intact + 40 >= decoded.events.len(), "{hint}: {intact} of {}: {text}", decoded.events.len());
            lengths.insert(decoded.events.len());
        }
    }
    assert!(lengths.len() > 4, "damage is in every page: {lengths:?}");
    // Zeros over the second half of the values: what is before them is delivered.
    let mut damaged = bytes.clone();
    let (from, to) = (bytes.len() / 3, bytes.len() * 2 / 3);
    damaged[from..to].fill(0);
    let decoded = decode(&damaged, &ParquetConfig::default());
    let error = decoded.error.expect("it is damaged");
    assert_eq!(error.exit_code(), 3, "{error}");
    assert!(!decoded.events.is_empty() && decoded.events.len() < 250, "{}", decoded.events.len());
    assert_eq!(decoded.events, whole.events[..decoded.events.len()], "{error}");
}

#[test]
fn flipped_bytes_never_panic() {
    for (number, form) in forms().into_iter().enumerate() {
        let bytes = file(&columns(250), &form);
        let whole = decode(&bytes, &ParquetConfig::default());
        for seed in 0..800u64 {
            let mut random = Random(seed << 8 | number as u64);
            let mut damaged = bytes.clone();
            for _ in 0..=random.below(4) {
                let at = random.below(damaged.len() as u64) as usize;
                damaged[at] = match random.below(4) {
                    0 => 0xff,
                    1 => 0,
                    2 => damaged[at] ^ 1 << random.below(8),
                    _ => random.next() as u8,
                };
            }
            check(&whole, &decode(&damaged, &ParquetConfig::default()), &format!("form {number}, seed {seed}"));
        }
    }
}

/// A file whose only page and footer are made by hand: (bytes of the header, bytes of the page, values that the chunk has).
fn by_hand(header: &[u8], page: &[u8], footer_length: Option<u32>) -> Vec<u8> {
    let mut bytes = b"PAR1".to_vec();
    bytes.extend(header);
    bytes.extend(page);
    let end = bytes.len() as i64;
    let footer = footer(4, end - 4);
    bytes.extend(&footer);
    bytes.extend(footer_length.unwrap_or(footer.len() as u32).to_le_bytes());
    bytes.extend(b"PAR1");
    bytes
}

fn varint(mut value: u64, into: &mut Vec<u8>) {
    while value >= 0x80 {
        into.push(value as u8 | 0x80);
        value >>= 7;
    }
    into.push(value as u8);
}

fn zigzag(value: i64, into: &mut Vec<u8>) {
    varint((value << 1 ^ value >> 63) as u64, into);
}

/// The footer of a file of trades whose three columns have the same chunk.
fn footer(at: i64, length: i64) -> Vec<u8> {
    let mut bytes = vec![0x15, 2, 0x19, 0x4c]; // version 1; four elements
    bytes.extend([0x48, 4]);
    bytes.extend(b"rows");
    bytes.extend([0x15, 6, 0]);
    for name in ["time", "price", "size"] {
        bytes.extend([0x15, 4, 0x25, 0, 0x18, name.len() as u8]); // 64-bit integers that are required
        bytes.extend(name.as_bytes());
        bytes.push(0);
    }
    bytes.extend([0x16, 2, 0x19, 0x1c, 0x19, 0x3c]); // one row, one group, three columns
    for _ in 0..3 {
        bytes.extend([0x26, 0, 0x1c]); // place; metadata
        bytes.extend([0x15, 4, 0x19, 0x15, 0, 0x19, 0x18, 1, b'a', 0x15, 0]); // type, encodings, path, codec
        bytes.extend([0x16, 2]); // one value
        bytes.push(0x16);
        zigzag(length, &mut bytes);
        bytes.push(0x16);
        zigzag(length, &mut bytes);
        bytes.push(0x26);
        zigzag(at, &mut bytes);
        bytes.extend([0, 0]);
    }
    bytes.extend([0x16, 0, 0x16, 2, 0, 0]); // bytes and rows of the group
    bytes
}

/// The header of a page of 64-bit integers.
fn header(uncompressed: i64, compressed: i64, values: i64, encoding: i64) -> Vec<u8> {
    let mut bytes = vec![0x15, 0, 0x15];
    zigzag(uncompressed, &mut bytes);
    bytes.push(0x15);
    zigzag(compressed, &mut bytes);
    bytes.extend([0x2c, 0x15]);
    zigzag(values, &mut bytes);
    bytes.push(0x15);
    zigzag(encoding, &mut bytes);
    bytes.extend([0x15, 6, 0x15, 6, 0, 0]);
    bytes
}

#[test]
fn sizes_that_lie_take_no_memory() {
    let value = 1_723_161_254i64.to_le_bytes();
    let decoded = decode(&by_hand(&header(8, 8, 1, 0), &value, None), &ParquetConfig::default());
    assert!(decoded.error.is_none() && decoded.events.len() + decoded.tally.bad_lines as usize == 1, "{decoded:?}");
    for (bytes, expected) in [
        (by_hand(&header(8, 8, 1, 0), &value, Some(u32::MAX)), "a footer of 4294967295 bytes is longer than 50331648"),
        (by_hand(&header(8, 8, 1, 0), &value, Some(1 << 20)), "a footer of 1048576 bytes is longer than the file"),
        (
            by_hand(&header(i64::from(i32::MAX), 8, 1, 0), &value, None),
            "a page of 2147483647 uncompressed bytes is longer than 50331648",
        ),
        (by_hand(&header(8, 1 << 20, 1, 0), &value, None), "a page of 1048576 bytes goes beyond its column"),
        (by_hand(&header(1 << 20, 8, 1, 0), &value, None), "a page of 1048576 bytes in 8 that are not compressed"),
        (by_hand(&header(-1, 8, 1, 0), &value, None), "a page of -1 uncompressed bytes"),
        (by_hand(&header(8, 8, -7, 0), &value, None), "a page of -7 values"),
        (by_hand(&header(8, 8, 1, 8), &value, None), "numbers of a dictionary that is missing"),
        (by_hand(&header(8, 8, 1, 17), &value, None), "values of this type in encoding 17"),
        (by_hand(&header(4, 4, 1, 0), &[0; 4], None), "its values are cut short"),
        (by_hand(&header(8, 8, 0, 0), &value, None), "ends before its 1 rows"),
    ] {
        let decoded = decode(&bytes, &ParquetConfig::default());
        let error = decoded.error.expect(expected);
        assert!(error.to_string().contains(expected), "{error} for {expected}");
        assert_eq!(error.exit_code(), 3);
    }
}
