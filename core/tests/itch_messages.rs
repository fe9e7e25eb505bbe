//! ITCH messages against bytes that were written by hand from the specification, one of each type; damage of every kind.

use tapeline_core::testing::itch::{Draft, Session, all_letters, random_message};
use tapeline_core::testing::{Prng, for_seeds};
use tapeline_core::wire::itch::{Error, LAYOUTS, Message, length_of};

/// Bytes from hexadecimal digits; `'A` stands for the byte of a letter or a sign, `_` for a space's.
fn bytes(text: &str) -> Vec<u8> {
    let (mut bytes, mut chars) = (Vec::new(), text.chars().filter(|c| !c.is_whitespace()));
    while let Some(c) = chars.next() {
        let digit = |c: char| c.to_digit(16).unwrap_or_else(|| panic!("{c} is no digit")) as u8;
        bytes.push(match c {
            '\'' => chars.next().unwrap() as u8,
            '_' => b' ',
            c => digit(c) << 4 | digit(chars.next().unwrap()),
        });
    }
    bytes
}

macro_rules! is {
    ($hex:literal, $type:ident { $($field:ident: $value:expr),* $(,)? }) => {{
        let bytes = bytes($hex);
        let Ok(message @ Message::$type(fields)) = Message::parse(&bytes) else { panic!("{:?}", Message::parse(&bytes)) };
        assert_eq!(message.letter(), bytes[0]);
        $(assert_eq!(fields.$field(), $value, stringify!($type.$field));)*
        message.letter()
    }};
}

#[test]
fn every_type_reads_as_the_specification_lays_it_out() {
    use tapeline_core::wire::itch::{Price4, Price8};
    let mut seen = vec![
        is!(
            "'S 0000 0001 0a2f8b4c1d3e 'O",
            SystemEvent { stock_locate: 0, tracking_number: 1, timestamp: 0x0a2f_8b4c_1d3e, event_code: b'O' }
        ),
        is!(
            "'R 1f40 0002 0a2f8b4c1d3f 'A'A'P'L____ 'Q 'N 00000064 'N 'C 'Z_ 'P 'N _ '1 'N 00000003 'Y",
            StockDirectory {
                stock_locate: 8_000,
                stock: *b"AAPL    ",
                market_category: b'Q',
                financial_status_indicator: b'N',
                round_lot_size: 100,
                round_lots_only: b'N',
                issue_classification: b'C',
                issue_sub_type: *b"Z ",
                authenticity: b'P',
                short_sale_threshold_indicator: b'N',
                ipo_flag: b' ',
                luld_reference_price_tier: b'1',
                etp_flag: b'N',
                etp_leverage_factor: 3,
                inverse_indicator: b'Y'
            }
        ),
        is!(
            "'H 0001 0000 000000000001 'M'S'F'T____ 'P _ 'L'U'D'P",
            StockTradingAction {
                stock: *b"MSFT    ",
                trading_state: b'P',
                reserved: b' ',
                reason: *b"LUDP",
                timestamp: 1
            }
        ),
        is!(
            "'Y 0001 0000 000000000002 'M'S'F'T____ '1",
            RegShoRestriction { stock: *b"MSFT    ", reg_sho_action: b'1' }
        ),
        is!(
            "'L 0001 0000 000000000003 'A'B'C_ 'M'S'F'T____ 'Y 'N 'A",
            MarketParticipantPosition {
                mpid: *b"ABC ",
                stock: *b"MSFT    ",
                primary_market_maker: b'Y',
                market_maker_mode: b'N',
                market_participant_state: b'A'
            }
        ),
        is!(
            "'V 0000 0000 000000000004 000000746a528800 000000703a1f5c00 0000006a12345678",
            MwcbDeclineLevel {
                level_1: Price8(0x74_6a52_8800),
                level_2: Price8(0x70_3a1f_5c00),
                level_3: Price8(0x6a_1234_5678)
            }
        ),
        is!("'W 0000 0000 000000000005 '2", MwcbStatus { breached_level: b'2' }),
        is!(
            "'K 0005 0000 000000000006 'N'E'W_____ 00008ca0 'A 00030d40",
            IpoQuotingPeriodUpdate {
                stock: *b"NEW     ",
                ipo_quotation_release_time: 36_000,
                ipo_quotation_release_qualifier: b'A',
                ipo_price: Price4(200_000)
            }
        ),
        is!(
            "'J 0005 0000 000000000007 'N'E'W_____ 00030d40 00033450 0002e630 00000002",
            LuldAuctionCollar {
                stock: *b"NEW     ",
                auction_collar_reference_price: Price4(200_000),
                upper_auction_collar_price: Price4(210_000),
                lower_auction_collar_price: Price4(190_000),
                auction_collar_extension: 2
            }
        ),
        is!(
            "'h 0005 0000 000000000008 'N'E'W_____ 'Q 'H",
            OperationalHalt { stock: *b"NEW     ", market_code: b'Q', operational_halt_action: b'H' }
        ),
        is!(
            "'A 0102 0304 050607080900 1112131415161718 'B 21222324 'Z'V'Z'Z'T___ 31323334",
            AddOrder {
                stock_locate: 0x0102,
                tracking_number: 0x0304,
                timestamp: 0x0506_0708_0900,
                order_reference_number: 0x1112_1314_1516_1718,
                buy_sell_indicator: b'B',
                shares: 0x2122_2324,
                stock: *b"ZVZZT   ",
                price: Price4(0x3132_3334)
            }
        ),
        is!(
            "'F 0102 0304 ffffffffffff 1112131415161718 'S 21222324 'Z'V'Z'Z'T___ 31323334 'N'S'D'Q",
            AddOrderMpid {
                timestamp: (1 << 48) - 1,
                order_reference_number: 0x1112_1314_1516_1718,
                buy_sell_indicator: b'S',
                shares: 0x2122_2324,
                stock: *b"ZVZZT   ",
                price: Price4(0x3132_3334),
                attribution: *b"NSDQ"
            }
        ),
        is!(
            "'E 0102 ffff 000000000000 1112131415161718 21222324 3132333435363738",
            OrderExecuted {
                tracking_number: 0xffff,
                timestamp: 0,
                order_reference_number: 0x1112_1314_1516_1718,
                executed_shares: 0x2122_2324,
                match_number: 0x3132_3334_3536_3738
            }
        ),
        is!(
            "'C 0102 0304 050607080900 1112131415161718 21222324 3132333435363738 'N 41424344",
            OrderExecutedWithPrice {
                order_reference_number: 0x1112_1314_1516_1718,
                executed_shares: 0x2122_2324,
                match_number: 0x3132_3334_3536_3738,
                printable: b'N',
                execution_price: Price4(0x4142_4344)
            }
        ),
        is!(
            "'X 0102 0304 050607080900 1112131415161718 21222324",
            OrderCancel { order_reference_number: 0x1112_1314_1516_1718, cancelled_shares: 0x2122_2324 }
        ),
        is!(
            "'D 0102 0304 050607080900 1112131415161718",
            OrderDelete { order_reference_number: 0x1112_1314_1516_1718 }
        ),
        is!(
            "'U 0102 0304 050607080900 1112131415161718 2122232425262728 31323334 41424344",
            OrderReplace {
                original_order_reference_number: 0x1112_1314_1516_1718,
                new_order_reference_number: 0x2122_2324_2526_2728,
                shares: 0x3132_3334,
                price: Price4(0x4142_4344)
            }
        ),
        is!(
            "'P 0102 0304 050607080900 0000000000000000 'B 21222324 'Z'V'Z'Z'T___ 31323334 4142434445464748",
            Trade {
                order_reference_number: 0,
                buy_sell_indicator: b'B',
                shares: 0x2122_2324,
                stock: *b"ZVZZT   ",
                price: Price4(0x3132_3334),
                match_number: 0x4142_4344_4546_4748
            }
        ),
        is!(
            "'Q 0102 0304 050607080900 1112131415161718 'Z'V'Z'Z'T___ 21222324 3132333435363738 'C",
            CrossTrade {
                shares: 0x1112_1314_1516_1718,
                stock: *b"ZVZZT   ",
                cross_price: Price4(0x2122_2324),
                match_number: 0x3132_3334_3536_3738,
                cross_type: b'C'
            }
        ),
        is!("'B 0102 0304 050607080900 1112131415161718", BrokenTrade { match_number: 0x1112_1314_1516_1718 }),
        is!(
            "'I 0102 0304 050607080900 1112131415161718 2122232425262728 'S 'Z'V'Z'Z'T___ 31323334 41424344 51525354 'O 'L",
            Noii {
                paired_shares: 0x1112_1314_1516_1718,
                imbalance_shares: 0x2122_2324_2526_2728,
                imbalance_direction: b'S',
                stock: *b"ZVZZT   ",
                far_price: Price4(0x3132_3334),
                near_price: Price4(0x4142_4344),
                current_reference_price: Price4(0x5152_5354),
                cross_type: b'O',
                price_variation_indicator: b'L'
            }
        ),
        is!("'N 0102 0304 050607080900 'Z'V'Z'Z'T___ 'A", Rpii { stock: *b"ZVZZT   ", interest_flag: b'A' }),
        is!(
            "'O 0102 0304 050607080900 'Z'V'Z'Z'T___ 'Y 11121314 21222324 31323334 4142434445464748 51525354 61626364",
            Dlcr {
                stock: *b"ZVZZT   ",
                open_eligibility_status: b'Y',
                minimum_allowable_price: Price4(0x1112_1314),
                maximum_allowable_price: Price4(0x2122_2324),
                near_execution_price: Price4(0x3132_3334),
                near_execution_time: 0x4142_4344_4546_4748,
                lower_price_range_collar: Price4(0x5152_5354),
                upper_price_range_collar: Price4(0x6162_6364)
            }
        ),
    ];
    seen.sort_unstable();
    let mut all = all_letters();
    all.sort_unstable();
    assert_eq!(seen, all, "one of each type");
}

#[test]
fn a_draft_puts_each_field_where_the_decoder_looks() {
    let draft = Draft::new(b'U').head(7, 8, 9).number("new_order_reference_number", 10).number("price", 11);
    let Ok(Message::OrderReplace(replace)) = Message::parse(draft.bytes()) else { panic!() };
    assert_eq!((replace.stock_locate(), replace.tracking_number(), replace.timestamp()), (7, 8, 9));
    assert_eq!((replace.original_order_reference_number(), replace.new_order_reference_number()), (0, 10));
    assert_eq!((replace.shares(), replace.price().0), (0, 11));
}

#[test]
fn cut_at_every_byte_or_longer_is_an_error_with_the_expected_length() {
    for letter in all_letters() {
        let message = random_message(&[letter], &mut Prng::new(1));
        let whole = message.bytes();
        let expected = length_of(letter).unwrap();
        assert!(Message::parse(whole).is_ok());
        for cut in 1..whole.len() {
            assert_eq!(Message::parse(&whole[..cut]), Err(Error::Length { letter, bytes: cut, expected }));
        }
        let longer = [whole, b"\0"].concat();
        assert_eq!(Message::parse(&longer), Err(Error::Length { letter, bytes: expected + 1, expected }));
    }
}

/// Every accessor of whatever the bytes are.
fn read_all(bytes: &[u8]) -> Result<String, Error> {
    // Debug shows the bytes; the accessors are reached by name.
    macro_rules! touch {
        ($($type:ident: $($field:ident)*;)*) => {
            match Message::parse(bytes)? {
                $(Message::$type(message) => {
                    $(let _ = std::hint::black_box(message.$field());)*
                    let _ = std::hint::black_box((message.stock_locate(), message.tracking_number()));
                    assert!(message.timestamp() < 1 << 48);
                })*
            }
        };
    }
    touch! {
        SystemEvent: event_code;
        StockDirectory: stock market_category round_lot_size issue_sub_type etp_leverage_factor inverse_indicator;
        StockTradingAction: stock trading_state reason;
        RegShoRestriction: stock reg_sho_action;
        MarketParticipantPosition: mpid stock market_participant_state;
        MwcbDeclineLevel: level_1 level_2 level_3;
        MwcbStatus: breached_level;
        IpoQuotingPeriodUpdate: stock ipo_quotation_release_time ipo_quotation_release_qualifier ipo_price;
        LuldAuctionCollar: stock auction_collar_reference_price auction_collar_extension;
        OperationalHalt: stock market_code operational_halt_action;
        AddOrder: order_reference_number buy_sell_indicator shares stock price;
        AddOrderMpid: order_reference_number buy_sell_indicator shares stock price attribution;
        OrderExecuted: order_reference_number executed_shares match_number;
        OrderExecutedWithPrice: order_reference_number executed_shares match_number printable execution_price;
        OrderCancel: order_reference_number cancelled_shares;
        OrderDelete: order_reference_number;
        OrderReplace: original_order_reference_number new_order_reference_number shares price;
        Trade: order_reference_number buy_sell_indicator shares stock price match_number;
        CrossTrade: shares stock cross_price match_number cross_type;
        BrokenTrade: match_number;
        Noii: paired_shares imbalance_shares stock far_price near_price current_reference_price price_variation_indicator;
        Rpii: stock interest_flag;
        Dlcr: stock open_eligibility_status near_execution_time upper_price_range_collar;
    }
    Message::parse(bytes).map(|message| message.name().to_owned())
}

#[test]
fn random_damage_never_panics() {
    random_damage(20_000);
}

#[test]
#[ignore = "soak: cargo test --release -p tapeline-core --test itch_messages -- --ignored"]
fn random_damage_soak() {
    random_damage(20_000_000);
}

fn random_damage(seeds: u64) {
    let letters = all_letters();
    let mut outcomes = [0; 3];
    for_seeds(0..seeds, |_, prng| {
        let mut bytes = random_message(&letters, prng).bytes().to_vec();
        for _ in 0..prng.index(4) {
            match prng.index(3) {
                0 => bytes.truncate(prng.index(bytes.len() + 1)),
                1 => bytes.extend((0..prng.index(60)).map(|at| at as u8)),
                _ if bytes.is_empty() => {}
                _ => {
                    let at = if prng.one_in(3) { 0 } else { prng.index(bytes.len()) };
                    bytes[at] = prng.next_u64() as u8;
                }
            }
        }
        match read_all(&bytes) {
            Ok(_) => outcomes[0] += 1,
            Err(Error::Length { .. }) => outcomes[1] += 1,
            Err(Error::Empty | Error::Unknown(_)) => outcomes[2] += 1,
        }
    });
    assert!(outcomes.iter().all(|count| *count > 500), "each outcome was seen: {outcomes:?}");
}

#[test]
fn a_session_holds_every_type_and_only_orders_that_are_there() {
    let mut live = std::collections::BTreeMap::new();
    let mut counts = std::collections::BTreeMap::<u8, u64>::new();
    let mut last = 0;
    for draft in Session::new(3, 60_000, 40) {
        let message = Message::parse(draft.bytes()).unwrap();
        *counts.entry(message.letter()).or_default() += 1;
        assert!(message.timestamp() >= last);
        last = message.timestamp();
        let mut take = |reference: u64, shares: u32| {
            let left = live.get_mut(&reference).expect("an order that is there");
            assert!(*left >= shares && shares > 0);
            *left -= shares;
            if *left == 0 {
                live.remove(&reference);
            }
        };
        match message {
            Message::AddOrder(add) => assert_eq!(live.insert(add.order_reference_number(), add.shares()), None),
            Message::AddOrderMpid(add) => assert_eq!(live.insert(add.order_reference_number(), add.shares()), None),
            Message::OrderExecuted(done) => take(done.order_reference_number(), done.executed_shares()),
            Message::OrderExecutedWithPrice(done) => take(done.order_reference_number(), done.executed_shares()),
            Message::OrderCancel(cancel) => take(cancel.order_reference_number(), cancel.cancelled_shares()),
            Message::OrderDelete(delete) => assert!(live.remove(&delete.order_reference_number()).is_some()),
            Message::OrderReplace(replace) => {
                assert!(live.remove(&replace.original_order_reference_number()).is_some());
                assert_eq!(live.insert(replace.new_order_reference_number(), replace.shares()), None);
            }
            _ => {}
        }
    }
    assert_eq!(counts.values().sum::<u64>(), 60_000);
    assert_eq!(counts.len(), LAYOUTS.len(), "{counts:?}");
}
