//! Each type field by field, shorter and longer ones, noise.

use super::*;

/// A message under construction, field by field as the tables of the specification have them.
fn message(kind: u8, own: u8, fields: &[&[u8]]) -> Vec<u8> {
    let mut bytes = vec![kind, own];
    bytes.extend(1_471_980_632_572_715_948i64.to_le_bytes());
    fields.iter().for_each(|field| bytes.extend_from_slice(field));
    bytes
}

const TIMESTAMP: i64 = 1_471_980_632_572_715_948;
const ZIEXT: &[u8] = b"ZIEXT   ";
const SYMBOL: Symbol = Symbol(*b"ZIEXT   ");

fn u32s(value: u32) -> [u8; 4] {
    value.to_le_bytes()
}

fn i64s(value: i64) -> [u8; 8] {
    value.to_le_bytes()
}

/// Each type with another value in each field.
fn samples() -> Vec<(Vec<u8>, Message)> {
    let timestamp = TIMESTAMP;
    let report = TradeReport { flags: 0x40, timestamp, symbol: SYMBOL, size: 100, price: 990_500, trade_id: 429_974 };
    let trade = [&u32s(100)[..], &i64s(990_500), &i64s(429_974)].concat();
    let level = |side| PriceLevel { side, flags: 1, timestamp, symbol: SYMBOL, size: 9_700, price: 990_500 };
    let levels = [&u32s(9_700)[..], &i64s(990_500)].concat();
    vec![
        (message(b'S', b'R', &[]), Message::System(System { event: b'R', timestamp })),
        (
            message(b'D', 0x80, &[ZIEXT, &u32s(100), &i64s(990_500), &[1]]),
            Message::Directory(Directory {
                flags: 0x80,
                timestamp,
                symbol: SYMBOL,
                round_lot_size: 100,
                adjusted_poc_price: 990_500,
                luld_tier: 1,
            }),
        ),
        (
            message(b'H', b'H', &[ZIEXT, b"T1  "]),
            Message::TradingStatus(TradingStatus { status: b'H', timestamp, symbol: SYMBOL, reason: *b"T1  " }),
        ),
        (
            message(b'I', b'A', &[ZIEXT]),
            Message::RetailLiquidity(RetailLiquidity { indicator: b'A', timestamp, symbol: SYMBOL }),
        ),
        (
            message(b'O', b'O', &[ZIEXT]),
            Message::OperationalHalt(OperationalHalt { status: b'O', timestamp, symbol: SYMBOL }),
        ),
        (
            message(b'P', 1, &[ZIEXT, b"A"]),
            Message::ShortSale(ShortSale { status: 1, timestamp, symbol: SYMBOL, detail: b'A' }),
        ),
        (
            message(b'E', b'O', &[ZIEXT]),
            Message::SecurityEvent(SecurityEvent { event: b'O', timestamp, symbol: SYMBOL }),
        ),
        (message(b'8', 1, &[ZIEXT, &levels]), Message::PriceLevel(level(Side::Bid))),
        (message(b'5', 1, &[ZIEXT, &levels]), Message::PriceLevel(level(Side::Ask))),
        (
            message(b'Q', 0x40, &[ZIEXT, &u32s(9_700), &i64s(990_500), &i64s(990_700), &u32s(1_000)]),
            Message::Quote(Quote {
                flags: 0x40,
                timestamp,
                symbol: SYMBOL,
                bid_size: 9_700,
                bid_price: 990_500,
                ask_price: 990_700,
                ask_size: 1_000,
            }),
        ),
        (message(b'T', 0x40, &[ZIEXT, &trade]), Message::Trade(report)),
        (message(b'B', 0x40, &[ZIEXT, &trade]), Message::TradeBreak(report)),
        (
            message(b'X', b'Q', &[ZIEXT, &i64s(990_500)]),
            Message::OfficialPrice(OfficialPrice { kind: b'Q', timestamp, symbol: SYMBOL, price: 990_500 }),
        ),
        (
            message(
                b'A',
                b'C',
                &[
                    ZIEXT,
                    &u32s(100_000),
                    &i64s(991_000),
                    &i64s(991_500),
                    &u32s(10_000),
                    b"B\x03",
                    &u32s(1_471_982_400),
                    &i64s(990_300),
                    &i64s(990_500),
                    &i64s(-1),
                    &i64s(1_128_600),
                ],
            ),
            Message::Auction(Auction {
                kind: b'C',
                timestamp,
                symbol: SYMBOL,
                paired_shares: 100_000,
                reference_price: 991_000,
                indicative_clearing_price: 991_500,
                imbalance_shares: 10_000,
                imbalance_side: b'B',
                extension_number: 3,
                scheduled_auction_time: 1_471_982_400,
                auction_book_clearing_price: 990_300,
                collar_reference_price: 990_500,
                lower_auction_collar: -1,
                upper_auction_collar: 1_128_600,
            }),
        ),
    ]
}

#[test]
fn every_type_decodes_field_by_field() {
    let samples = samples();
    assert_eq!(samples.len(), TYPES.len());
    for ((bytes, expected), (kind, length, _)) in samples.iter().zip(TYPES) {
        assert_eq!((bytes[0], bytes.len()), (kind, length), "{}", char::from(kind));
        assert_eq!(decode(bytes), Ok(*expected), "{}", char::from(kind));
    }
}

#[test]
fn shorter_is_an_error_and_longer_is_read_as_far_as_it_is_known() {
    for (bytes, expected) in samples() {
        let (kind, needs) = (bytes[0], bytes.len());
        for has in 1..needs {
            assert_eq!(decode(&bytes[..has]), Err(MessageError::Short { kind, has, needs }));
        }
        assert_eq!(decode(&[&bytes[..], b"new"].concat()), Ok(expected));
    }
    assert_eq!(decode(b""), Err(MessageError::Empty));
    assert_eq!(decode(b"Z....."), Err(MessageError::Unknown(b'Z')));
    let error = decode(b"T..").unwrap_err().to_string();
    assert_eq!(error, "a message of type 'T' has 3 bytes and needs 38");
}

#[test]
fn every_first_byte_is_known_or_unknown_and_nothing_panics() {
    for kind in 0..=255u8 {
        let long = [kind; 100];
        assert_eq!(decode(&long).is_ok(), name(kind).is_some(), "{kind}");
        for length in 1..100 {
            let _ = decode(&long[..length]);
        }
    }
}

#[test]
fn symbols_are_visible_ascii() {
    assert_eq!(SYMBOL.text(), Some(&b"ZIEXT"[..]));
    assert_eq!(Symbol(*b"BRK.A+*#").text(), Some(&b"BRK.A+*#"[..]));
    for bad in [*b"        ", *b"A B     ", *b"\0\0\0\0\0\0\0\0", *b"A\xff      ", *b" A      "] {
        assert_eq!(Symbol(bad).text(), None);
    }
}
