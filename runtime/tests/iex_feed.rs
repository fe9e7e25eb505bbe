//! IEX-TP to events: what each message becomes, gaps, duplicates, epochs, and the counts of a real capture.

mod pcap_twin;

use pcap_twin::*;
use std::collections::BTreeSet;
use tapeline_core::book::{Books, Unusable};
use tapeline_core::catalog::Catalog;
use tapeline_core::event::payload::{BookLevel, Epoch, Gap, LevelAction, Quote, Status, Trade};
use tapeline_core::event::{EventRef, Flags, Kind, Slot, events};
use tapeline_core::testing::Prng;
use tapeline_core::units::{PRICE_UNDEFINED, Side, SymbolId, UnixNanos};
use tapeline_runtime::input::bytes::ByteSource;
use tapeline_runtime::input::pcap::PcapInput;
use tapeline_runtime::input::{Input, MESSAGE_SLOTS_MAX, SlotBuf, Status as ReadStatus};

/// A capture of these datagrams.
fn capture(datagrams: &[(u64, Vec<u8>)]) -> Vec<u8> {
    classic(Order::Little, 1, 1, &packets(Wrap::Ethernet, false, datagrams))
}

/// One segment of these messages, from number 1.
fn one(protocol: u16, messages: &[Vec<u8>]) -> Decoded {
    decode(&capture(&[(START, segment(protocol, SESSION, 1, START, messages))]))
}

fn heads(decoded: &Decoded) -> Vec<Slot> {
    decoded.events.iter().map(|(.., slots)| slots[0]).collect()
}

fn kinds(decoded: &Decoded) -> Vec<Kind> {
    heads(decoded).iter().map(Slot::kind).collect()
}

#[test]
fn levels_become_book_levels_and_a_book_begins_with_a_clear() {
    let decoded = one(
        DEEP,
        &[
            level(b'8', 0, START - 9, "ZIEXT", 9_700, 990_500),
            level(b'5', 1, START - 8, "ZIEXT", 300, 990_700),
            level(b'8', 1, START - 7, "ZIEXT", 0, 990_500),
            level(b'5', 1, START - 6, "AAPL", 1, 1),
        ],
    );
    let rows: Vec<_> = decoded
        .events
        .iter()
        .map(|(symbol, source, slots)| {
            let (head, level) = (&slots[0], *slots[0].payload_as::<BookLevel>());
            assert_eq!((source.as_str(), head.ts_recv.0, slots.len()), ("iex.deep", START, 1));
            let action = LevelAction::from_u8(level.action);
            let is_last = head.flags == Flags::LAST;
            (
                symbol.as_str(),
                head.seq,
                head.part,
                is_last,
                START - head.ts_event.0,
                action,
                level.side,
                level.size,
                level.price,
            )
        })
        .collect();
    let (bid, ask) = (Side::Bid as u8, Side::Ask as u8);
    let expected = [
        ("IEX:ZIEXT", 1, 0, false, 9, LevelAction::Clear, 0, 0, 0),
        ("IEX:ZIEXT", 1, 1, true, 9, LevelAction::Set, bid, 9_700, 99_050_000_000),
        ("IEX:ZIEXT", 2, 0, true, 8, LevelAction::Set, ask, 300, 99_070_000_000),
        ("IEX:ZIEXT", 3, 0, true, 7, LevelAction::Delete, bid, 0, 99_050_000_000),
        ("IEX:AAPL", 4, 0, false, 6, LevelAction::Clear, 0, 0, 0),
        ("IEX:AAPL", 4, 1, true, 6, LevelAction::Set, ask, 1, 100_000),
    ];
    assert_eq!(rows, expected);
    assert_eq!(decoded.tally.messages["deep 8 price_level_update_buy"], 2);
    assert_eq!(decoded.tally.messages["deep 5 price_level_update_sell"], 2);
}

#[test]
fn quotes_trades_and_statuses_keep_what_has_a_field() {
    let quote = |bid: u32, ask: u32| {
        let (bid_px, ask_px) = (990_500i64.to_le_bytes(), 990_700i64.to_le_bytes());
        message(b'Q', 0, START, "ZIEXT", &[&bid.to_le_bytes(), &bid_px, &ask_px, &ask.to_le_bytes()])
    };
    let decoded = one(TOPS, &[quote(5, u32::MAX), quote(0, 7), trade(b'T', START, "ZIEXT", 100, 990_500, 12)]);
    let heads = heads(&decoded);
    let (bid_px, ask_px) = (99_050_000_000, 99_070_000_000);
    assert_eq!(*heads[0].payload_as::<Quote>(), Quote { bid_px, ask_px, bid_sz: 5, ask_sz: u32::MAX });
    assert_eq!(*heads[1].payload_as::<Quote>(), Quote { bid_px: PRICE_UNDEFINED, ask_px, bid_sz: 0, ask_sz: 7 });
    let expected = Trade { price: bid_px, size: 100, source_flags: 0x20, ..Trade::default() };
    assert_eq!(*heads[2].payload_as::<Trade>(), expected);
    assert!(decoded.events.iter().all(|(.., source, slots)| source == "iex.tops" && slots[0].flags == Flags::LAST));

    let symbol = "ZIEXT";
    let halted = |status, reason: &[u8; 4]| message(b'H', status, START, symbol, &[reason]);
    let operational = |status| message(b'O', status, START, symbol, &[]);
    let short = |status, detail: &[u8; 1]| message(b'P', status, START, symbol, &[detail]);
    let decoded = one(
        DEEP,
        &[
            operational(b'N'),
            halted(b'T', b"    "),
            operational(b'O'),
            operational(b'N'),
            halted(b'H', b"T1  "),
            operational(b'N'),
            halted(b'P', b"NA  "),
            halted(b'O', b"IPO2"),
            halted(b'H', b"MCB3"),
            short(1, b"A"),
            short(0, b" "),
        ],
    );
    let rows: Vec<_> = decoded
        .events
        .iter()
        .map(|(.., slots)| {
            let status = slots[0].payload_as::<Status>();
            (status.action, status.reason, status.is_trading, status.is_short_sell_restricted)
        })
        .collect();
    let expected = [
        (0, 60, b'~', b'~'),
        (7, 0, b'Y', b'~'),
        (8, 60, b'N', b'~'),
        (7, 60, b'Y', b'~'),
        (8, 30, b'N', b'~'),
        (0, 60, b'~', b'~'),
        (9, 0, b'N', b'~'),
        (2, 15, b'N', b'~'),
        (8, 122, b'N', b'~'),
        (14, 0, b'~', b'Y'),
        (14, 0, b'~', b'N'),
    ];
    assert_eq!(rows, expected);
}

#[test]
fn what_has_no_kind_is_counted_by_name_and_numbers_go_on() {
    let system = [&b"SR"[..], &START.to_le_bytes()].concat();
    let decoded = one(
        DEEP,
        &[
            system,
            message(b'D', 0, START, "NEW", &[&[0; 13]]),
            message(b'I', b'A', START, "ZIEXT", &[]),
            message(b'E', b'O', START, "ZIEXT", &[]),
            trade(b'B', START, "ZIEXT", 100, 990_500, 12),
            message(b'X', b'Q', START, "ZIEXT", &[&[0; 8]]),
            message(b'A', b'C', START, "ZIEXT", &[&[0; 62]]),
            b"Zsomething new".to_vec(),
            trade(b'T', START, "ZIEXT", 100, 990_500, 12),
        ],
    );
    assert_eq!(decoded.summary(), [("trade", "IEX:ZIEXT", 9)]);
    let skipped: Vec<_> = decoded.tally.skipped.iter().map(|(name, count)| (name.as_str(), *count)).collect();
    let expected = [
        ("deep A auction_information", 1),
        ("deep B trade_break", 1),
        ("deep E security_event", 1),
        ("deep I retail_liquidity_indicator", 1),
        ("deep S system_event", 1),
        ("deep X official_price", 1),
        ("deep Z", 1),
    ];
    assert_eq!(skipped, expected);
    assert_eq!((decoded.tally.bad_packets, decoded.tally.messages["deep D security_directory"]), (0, 1));
}

#[test]
fn a_bad_message_makes_its_packet_bad_and_the_others_stand() {
    let good = trade(b'T', START, "ZIEXT", 100, 990_500, 12);
    for (bad, why) in [
        (good[..37].to_vec(), "message 2: a message of type 'T' has 37 bytes and needs 38"),
        (trade(b'T', START, "", 1, 1, 1), "message 2: a symbol that is empty or not printable"),
        (trade(b'T', START, "A\u{1}", 1, 1, 1), "message 2: a symbol that is empty or not printable"),
        (
            trade(b'T', START, "A", 1, i64::MAX / 2, 1),
            "message 2: a price of 4611686018427387903 in units of 1e-4 does not fit",
        ),
        (trade(b'T', u64::MAX, "A", 1, 1, 1), "message 2: a time of -1 ns, before 1970"),
        (Vec::new(), "message 2: a message without a byte"),
    ] {
        let decoded = one(DEEP, &[good.clone(), bad, good.clone()]);
        let bad = &decoded.tally.first_bad_packets[0];
        assert_eq!((decoded.tally.bad_packets, bad.why.as_str(), bad.packet, bad.offset), (1, why, 1, 24));
        assert_eq!(decoded.summary(), [("trade", "IEX:ZIEXT", 1), ("trade", "IEX:ZIEXT", 3)], "{why}");
    }
}

/// Number of messages, and one trade each.
fn trades(first: i64, count: i64, sent: u64) -> (u64, Vec<u8>) {
    let messages: Vec<_> = (0..count).map(|index| trade(b'T', sent - 10, "ZIEXT", 1, first + index, 1)).collect();
    (sent, segment(DEEP, SESSION, first, sent, &messages))
}

fn heartbeat(next: i64, sent: u64) -> (u64, Vec<u8>) {
    (sent, segment(DEEP, SESSION, next, sent, &[]))
}

fn numbers(decoded: &Decoded) -> Vec<(&'static str, u64)> {
    heads(decoded).iter().map(|head| (head.kind().name(), head.seq)).collect()
}

#[test]
fn gaps_are_told_once_and_a_late_segment_fills_them() {
    let at = |ms: u64| START + ms * 1_000_000;
    let datagrams = [
        trades(1, 2, at(0)),
        trades(5, 1, at(1)),
        // Nothing has come twice: what is beyond the hole waits for 1 ms only.
        heartbeat(6, at(3)),
        // Line B brings what line A has lost.
        trades(3, 2, at(3)),
        trades(3, 2, at(3)),
        trades(5, 1, at(3)),
        heartbeat(8, at(4)),
        trades(7, 3, at(4)),
    ];
    let decoded = decode(&capture(&datagrams));
    let expected = [
        ("trade", 1),
        ("trade", 2),
        ("gap", 3),
        ("trade", 5),
        ("trade", 3),
        ("trade", 4),
        ("gap", 6),
        ("trade", 7),
        ("trade", 8),
        ("trade", 9),
    ];
    assert_eq!(numbers(&decoded), expected);
    let gap = &decoded.events[2].2[0];
    assert_eq!(*gap.payload_as::<Gap>(), Gap { expected: 3, received: 5, missing: 2 });
    assert_eq!((gap.part, gap.flags, gap.ts_recv.0), (u16::MAX, Flags::UNSEQUENCED.with(Flags::LAST), at(3)));
    assert_eq!(decoded.events[2].0, "IEX:ZIEXT");
    let skipped = &decoded.tally.skipped;
    assert_eq!((skipped["deep heartbeat"], skipped["deep duplicate"], skipped["deep missing"]), (2, 3, 1));
}

#[test]
fn a_gap_is_told_to_every_symbol_and_its_books_are_not_used() {
    let symbols: Vec<String> = (0..300).map(|index| format!("S{index}")).collect();
    let levels = |kind| symbols.iter().map(|symbol| level(kind, 1, START, symbol, 100, 50_000)).collect::<Vec<_>>();
    let datagrams = [
        (START, segment(DEEP, SESSION, 1, START, &levels(b'8'))),
        (START + 1, segment(DEEP, SESSION, 302, START + 1, &[level(b'5', 1, START + 1, "S7", 9, 60_000)])),
    ];
    let file = capture(&datagrams);
    for slots in [700, 1_000, MESSAGE_SLOTS_MAX] {
        let decoded = decode_with(&file, 1 << 10, slots);
        let told: Vec<&str> =
            decoded.events.iter().filter(|(.., s)| s[0].kind() == Kind::GAP).map(|e| e.0.as_str()).collect();
        assert_eq!(told, symbols.iter().map(|symbol| format!("IEX:{symbol}")).collect::<Vec<_>>(), "{slots}");
        assert_eq!(decoded.events.len(), 300 * 2 + 300 + 1);
    }
    let source = ByteSource::new(Box::new(std::io::Cursor::new(file)), "capture", None).unwrap();
    let mut input = PcapInput::new(source).unwrap();
    let (mut catalog, mut out) = (Catalog::new(1 << 10), SlotBuf::with_capacity(MESSAGE_SLOTS_MAX));
    assert_eq!(input.read(&mut catalog, &mut out).unwrap(), ReadStatus::End);
    let mut books = Books::new(1 << 10, 1 << 10, 0, 1);
    let (mut seen, id) = (0, catalog.find_symbol(b"IEX:S7").unwrap());
    for event in events(out.slots()) {
        if event.kind() == Kind::GAP && seen == 0 {
            let top = books.top(id).unwrap();
            assert_eq!((top.bid.unwrap().price, top.ask), (5_000_000_000, None), "the book began with its session");
            seen = 1;
        }
        let _ = books.apply(event);
    }
    assert_eq!((seen, books.top(id)), (1, Err(Unusable::Gapped)));
    assert_eq!(books.top(SymbolId(1)), Err(Unusable::Gapped));
}

#[test]
fn a_gap_before_any_symbol_is_nobodys() {
    let datagrams = [heartbeat(1, START), heartbeat(4, START + 1)];
    let decoded = decode(&capture(&datagrams));
    assert_eq!(decoded.summary(), [("gap", "", 1)]);
}

#[test]
fn numbers_that_begin_anew_are_an_epoch_and_no_gap() {
    let at = |ms: u64| START + ms * 1_000_000;
    for reset in [heartbeat(1, at(5)), trades(1, 3, at(5))] {
        let is_heartbeat = reset.1.len() == 40;
        let mut datagrams = vec![trades(1, 4, at(0)), trades(5, 2, at(1)), reset];
        datagrams.push(trades(if is_heartbeat { 1 } else { 4 }, 2, at(6)));
        let decoded = decode(&capture(&datagrams));
        let events = kinds(&decoded);
        assert_eq!(events.iter().filter(|kind| **kind == Kind::EPOCH).count(), 1, "{events:?}");
        assert!(!events.contains(&Kind::GAP), "{events:?}");
        assert_eq!(events[6], Kind::EPOCH);
        let (_, source, slots) = &decoded.events[6];
        assert_eq!(
            (source.as_str(), slots[0].payload_as::<Epoch>().number, slots[0].ts_recv.0),
            ("iex.deep", 1, at(5))
        );
        assert_eq!(events.len(), if is_heartbeat { 9 } else { 12 });
        assert!(!decoded.tally.skipped.contains_key("deep duplicate"), "{:?}", decoded.tally);
        assert_eq!(decoded.tally.messages["deep epoch"], 1);
    }
}

#[test]
fn what_was_sent_again_is_no_epoch() {
    let at = |ms: u64| START + ms * 1_000_000;
    let again = |first: i64, count: i64, sent: u64| {
        let messages: Vec<_> = (0..count).map(|index| trade(b'T', at(0), "ZIEXT", 1, first + index, 1)).collect();
        (sent, segment(DEEP, SESSION, first, sent, &messages))
    };
    // The same segment, one with a later send time and the old messages, a heartbeat of line B that comes late.
    let datagrams = [
        trades(1, 4, at(1)),
        trades(5, 2, at(2)),
        trades(1, 4, at(1)),
        again(1, 4, at(9)),
        heartbeat(5, at(1)),
        trades(7, 1, at(10)),
    ];
    let decoded = decode(&capture(&datagrams));
    let expected: Vec<_> = (1..=7).map(|seq| ("trade", seq)).collect();
    assert_eq!(numbers(&decoded), expected);
    assert_eq!(decoded.tally.skipped["deep duplicate"], 8);
}

#[test]
fn another_session_is_an_epoch_and_the_one_before_is_stale() {
    let other = |first, sent| {
        let messages = [level(b'8', 1, sent, "ZIEXT", 100, 50_000)];
        (sent, segment(DEEP, SESSION + 1, first, sent, &messages))
    };
    let datagrams = [trades(1, 3, START), other(1, START + 5), trades(3, 1, START + 6), other(2, START + 7)];
    let decoded = decode(&capture(&datagrams));
    let expected = [
        ("trade", 1),
        ("trade", 2),
        ("trade", 3),
        ("epoch", 0),
        ("book_level", 1),
        ("book_level", 1),
        ("book_level", 2),
    ];
    assert_eq!(numbers(&decoded), expected);
    assert_eq!(decoded.tally.skipped["deep segment of the session before"], 1);
}

/// As [`trades`], of another session.
fn of_session(session: u32, (sent, mut bytes): (u64, Vec<u8>)) -> (u64, Vec<u8>) {
    bytes[8..12].copy_from_slice(&session.to_le_bytes());
    (sent, bytes)
}

#[test]
fn a_strange_session_ends_none_and_the_one_before_comes_back() {
    let mut datagrams = vec![trades(1, 3, START)];
    for index in 0..20 {
        datagrams.push(of_session(index as u32, trades(4 + index, 1, START + 5)));
        datagrams.push(trades(4 + index, 1, START + 5));
    }
    let decoded = decode(&capture(&datagrams));
    assert_eq!(numbers(&decoded), (1..24).map(|seq| ("trade", seq)).collect::<Vec<_>>());
    assert_eq!(decoded.tally.skipped["deep segment of another session"], 20);
    // One that begins with a whole first segment, and gives way where the other goes on.
    let datagrams =
        [trades(1, 3, START), of_session(9, trades(1, 1, START + 5)), trades(3, 1, START), trades(5, 1, START + 6)];
    let decoded = decode(&capture(&datagrams));
    let expected =
        [("trade", 1), ("trade", 2), ("trade", 3), ("epoch", 0), ("trade", 1), ("epoch", 0), ("gap", 4), ("trade", 5)];
    assert_eq!(numbers(&decoded), expected);
    let skipped = &decoded.tally.skipped;
    assert_eq!((skipped["deep segment of the session before"], skipped["deep return to the session before"]), (1, 1));
}

#[test]
fn a_damaged_time_of_the_far_future_hides_no_reset() {
    let at = |ms: u64| START + ms * 1_000_000;
    let (_, mut send_time) = trades(5, 2, at(1));
    send_time[32..40].copy_from_slice(&i64::MAX.to_le_bytes());
    let event_time = segment(DEEP, SESSION, 5, at(1), &vec![trade(b'T', i64::MAX as u64, "ZIEXT", 1, 5, 1); 2]);
    for damaged in [send_time, event_time] {
        let datagrams = [
            trades(1, 4, at(0)),
            (at(1), damaged),
            trades(7, 1, at(2)),
            trades(8, 1, at(3)),
            trades(1, 3, at(5)),
            trades(4, 1, at(6)),
        ];
        let decoded = decode(&capture(&datagrams));
        assert_eq!(kinds(&decoded).iter().filter(|kind| **kind == Kind::EPOCH).count(), 1);
        assert_eq!((decoded.events.len(), decoded.tally.skipped.get("deep duplicate")), (8 + 1 + 4, None));
    }
}

#[test]
fn messages_without_events_have_times_too_and_a_heartbeat_needs_a_second_sign() {
    let at = |ms: u64| START + ms * 1_000_000;
    let system = |ms: u64| [&b"SR"[..], &at(ms).to_le_bytes()].concat();
    // The last one has later messages than the trades, none of which is an event; then the trades are sent again, later.
    let again = (at(9), segment(DEEP, SESSION, 2, at(9), &[trade(b'T', at(3), "ZIEXT", 1, 2, 1)]));
    let late = (at(2), segment(DEEP, SESSION, 3, at(2), &[system(4)]));
    let datagrams = [trades(1, 1, at(0)), trades(2, 1, at(1)), late, again];
    assert!(!kinds(&decode(&capture(&datagrams))).contains(&Kind::EPOCH));
    // A heartbeat whose number alone is damaged.
    let (sent, mut damaged) = heartbeat(4, at(6));
    damaged[24..32].copy_from_slice(&1i64.to_le_bytes());
    let datagrams = [trades(1, 3, at(0)), (sent, damaged), trades(4, 1, at(7))];
    assert_eq!(numbers(&decode(&capture(&datagrams))), (1..5).map(|seq| ("trade", seq)).collect::<Vec<_>>());
}

#[test]
fn symbols_that_differ_in_what_is_no_space_never_fill_the_table() {
    let fill = [b'\t', b'\n', b'\r', 0x0c];
    let messages: Vec<_> = (0..256u32)
        .map(|index| {
            let mut bytes = trade(b'T', START, "A", 1, 1, 1);
            (0..4).for_each(|at| bytes[11 + at] = fill[(index >> (2 * at) & 3) as usize]);
            bytes
        })
        .collect();
    let decoded = decode_with(&capture(&[(START, segment(DEEP, SESSION, 1, START, &messages))]), 16, MESSAGE_SLOTS_MAX);
    assert_eq!((decoded.events.len(), decoded.tally.bad_packets), (0, 1));
    assert!(decoded.tally.first_bad_packets[0].why.ends_with("a symbol that is empty or not printable"));
}

#[test]
fn a_capture_that_begins_within_a_session_knows_no_beginning_of_a_book() {
    let messages = [level(b'8', 1, START, "ZIEXT", 100, 50_000)];
    let decoded = decode(&capture(&[(START, segment(DEEP, SESSION, 900, START, &messages))]));
    assert_eq!(numbers(&decoded), [("book_level", 900)]);
}

#[test]
fn a_full_table_of_symbols_says_where_and_what_to_raise() {
    let messages: Vec<_> = (0..9).map(|index| trade(b'T', START, &format!("S{index}"), 1, 1, 1)).collect();
    let file = capture(&[trades(1, 1, START), (START, segment(DEEP, SESSION, 2, START, &messages))]);
    let decoded = decode_with(&file, 6, MESSAGE_SLOTS_MAX);
    let (code, text) = decoded.error.unwrap();
    assert_eq!((code, decoded.events.len()), (2, 1), "nothing of the segment that did not fit");
    assert!(text.starts_with("capture: offset ") && text.contains("(6 symbols); raise it by --symbols-max"), "{text}");
}

#[test]
fn channels_and_protocols_are_sources_of_their_own() {
    let channel = |protocol, channel: u8| {
        let mut bytes = segment(protocol, SESSION, 1, START, &[trade(b'T', START, "A", 1, 1, 1)]);
        bytes[4] = channel;
        (START, bytes)
    };
    let file = capture(&[channel(DEEP, 1), channel(DEEP, 2), channel(TOPS, 1), channel(TOPS, 9)]);
    let decoded = decode(&file);
    let sources: Vec<_> = decoded.events.iter().map(|(_, source, _)| source.as_str()).collect();
    assert_eq!(sources, ["iex.deep", "iex.deep.2", "iex.tops", "iex.tops.9"]);
    let many: Vec<_> = (1..=20).map(|index| channel(DEEP, index)).collect();
    let decoded = decode(&capture(&many));
    assert_eq!((decoded.events.len(), decoded.tally.bad_packets), (16, 4));
}

/// The step at which it is due, the datagram, its numbers.
type Delayed = (u64, (u64, Vec<u8>), Vec<u64>);

/// Two lines that lose, repeat and delay segments, against a set of the numbers seen: each message comes out once, and is missing only where
/// neither line brought it.
#[test]
fn two_lines_are_one_feed() {
    for seed in 0..60 {
        let mut prng = Prng::new(seed);
        let (mut datagrams, mut brought, mut next) = (Vec::new(), BTreeSet::new(), 1i64);
        let mut delayed: Vec<Delayed> = Vec::new();
        for step in 0..120u64 {
            let (sent, count) = (START + step * 1_000, prng.in_range(0..5) as i64);
            let packet = if count == 0 { heartbeat(next, sent) } else { trades(next, count, sent) };
            let its: Vec<u64> = (next..next + count).map(|number| number as u64).collect();
            for _ in 0..2 {
                match prng.in_range(0..10) {
                    0 => {}
                    1 => delayed.push((step + prng.in_range(1..4), packet.clone(), its.clone())),
                    _ => {
                        datagrams.push(packet.clone());
                        brought.extend(its.iter().copied());
                    }
                }
            }
            next += count;
            let (due, later): (Vec<_>, Vec<_>) = delayed.into_iter().partition(|(when, ..)| *when <= step);
            for (_, packet, its) in due {
                datagrams.push(packet);
                brought.extend(its);
            }
            delayed = later;
        }
        let decoded = decode(&capture(&datagrams));
        let events = heads(&decoded);
        let seen: Vec<u64> = events.iter().filter(|h| h.kind() == Kind::TRADE).map(|head| head.seq).collect();
        let unique: BTreeSet<u64> = seen.iter().copied().collect();
        assert_eq!(unique.len(), seen.len(), "seed {seed}: a message came twice");
        assert!(unique.is_subset(&brought), "seed {seed}");
        // What comes after three other holes is too late; the lines here seldom are that bad.
        let lost = brought.len() - unique.len();
        assert!(lost <= 8, "seed {seed}: {lost} of {} were dropped", brought.len());
        assert!(!events.iter().any(|head| head.kind() == Kind::EPOCH), "seed {seed}");
    }
}

#[test]
fn a_lossless_union_of_two_lines_tells_no_gap() {
    for seed in 0..60 {
        let mut prng = Prng::new(seed);
        let lag = 1 + seed % 8;
        let lost: Vec<u64> = (0..200).map(|_| prng.in_range(0..5)).collect();
        let whole: Vec<_> = (0..200).map(|index| trades(1 + 3 * index, 3, START + index as u64 * 1_000)).collect();
        let mut datagrams = Vec::new();
        for step in 0..200 + lag {
            let ts = START + step * 1_000;
            let mut come = |index: u64| datagrams.push((ts, whole[index as usize].1.clone()));
            if step < 200 && (lost[step as usize] != 0 || step <= lag) {
                come(step);
            }
            if step >= lag && (lost[(step - lag) as usize] != 1 || step == lag) {
                come(step - lag);
            }
        }
        let (union, whole) = (decode(&capture(&datagrams)), decode(&capture(&whole)));
        let events = |decoded: &Decoded| -> Vec<Slot> {
            heads(decoded).into_iter().map(|slot| Slot { ts_recv: UnixNanos::ZERO, ..slot }).collect()
        };
        assert_eq!(events(&union), events(&whole), "seed {seed}");
        assert!(!union.tally.skipped.contains_key("deep missing"));
    }
}

/// The oracle: counts that another program found. See the README of the data folder.
#[test]
fn the_capture_of_iex_holds_what_others_counted() {
    let folder = std::env::var_os("TAPELINE_TEST_DATA").map(std::path::PathBuf::from);
    let Some(file) = folder.map(|folder| folder.join("iex/iex_cppparser_test.pcap.gz")).filter(|file| file.is_file())
    else {
        eprintln!("skipped: no capture data");
        return;
    };
    let mut input = PcapInput::new(ByteSource::open(file.to_str().unwrap(), None).unwrap()).unwrap();
    assert_eq!(input.format(), "pcap");
    let (mut catalog, mut out) = (Catalog::new(1 << 16), SlotBuf::with_capacity(MESSAGE_SLOTS_MAX));
    let (mut kinds, mut symbols) = ([0u64; 64], BTreeSet::new());
    let (mut last_seq, mut span) = (0, (u64::MAX, 0));
    loop {
        out.clear();
        let status = input.read(&mut catalog, &mut out).unwrap();
        for event in events(out.slots()) {
            let head = event.head();
            kinds[head.kind().row()] += 1;
            symbols.insert(head.symbol);
            assert!(head.seq >= last_seq, "one line, in order");
            last_seq = head.seq;
            span = (span.0.min(head.ts_recv.0), span.1.max(head.ts_recv.0));
            check_event(event);
        }
        if status == ReadStatus::End {
            break;
        }
    }
    let tally = input.tally();
    let count = |name: &str| tally.messages.get(name).or(tally.skipped.get(name)).copied().unwrap_or(0);
    assert_eq!((tally.packets.len(), tally.packets["iex-tp"], count("deep heartbeat")), (1, 5_000, 1_264));
    for (name, expected) in [
        ("deep T trade_report", 37),
        ("deep 8 price_level_update_buy", 1_526),
        ("deep 5 price_level_update_sell", 1_226),
        ("deep D security_directory", 3),
        ("deep S system_event", 2),
        ("deep P short_sale_price_test", 11_594),
        ("deep O operational_halt", 11_317),
        ("deep H trading_status", 11_311),
        ("deep I retail_liquidity_indicator", 11_309),
    ] {
        assert_eq!(count(name), expected, "{name}");
    }
    let all: u64 = tally.messages.values().chain(tally.skipped.values()).sum();
    assert_eq!((all, last_seq), (48_325 + 1_264, 48_325));
    assert_eq!((symbols.len(), catalog.symbols()), (11_309, 11_310), "id 0 is no symbol");
    assert_eq!((tally.bad_packets, kinds[Kind::GAP.row()], kinds[Kind::EPOCH.row()]), (0, 0, 0));
    assert_eq!((kinds[Kind::TRADE.row()], kinds[Kind::STATUS.row()]), (37, 11_594 + 11_317 + 11_311));
    // A clear for each book that begins, and all levels.
    let begun = kinds[Kind::BOOK_LEVEL.row()] - 1_526 - 1_226;
    assert!((1..2_752).contains(&begun), "{begun}");
    assert_eq!((span.0 / 1_000_000_000, span.1 / 1_000_000_000), (1_696_246_475, 1_696_248_032));
}

fn check_event(event: EventRef<'_>) {
    let head = event.head();
    assert!(head.symbol != SymbolId::NONE && head.ts_event.0 > START - 60_000_000_000);
    if let Some(level) = event.get::<BookLevel>() {
        assert!(level.price >= 0 && level.size < 1 << 32);
    }
}
