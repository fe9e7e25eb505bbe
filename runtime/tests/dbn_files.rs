//! Every DBN and DBZ file of the captures, against the `dbn` crate's own typed records.

use dbn::decode::{DbnDecoder, DbnMetadata, DecodeRecordRef};
use dbn::{
    BboMsg, BidAskPair, CbboMsg, Cmbp1Msg, ConsolidatedBidAskPair, MboMsg, Mbp1Msg, Mbp10Msg, OhlcvMsg, Record,
    RecordRef, Schema, StatusMsg, TradeMsg, VersionUpgradePolicy, rtype,
};
use std::collections::BTreeMap;
use std::io::{Cursor, Read};
use std::path::PathBuf;
use tapeline_core::catalog::{Catalog, SeqRule};
use tapeline_core::event::payload::{
    Bar, BarRest, BookDepth, BookOrder, DepthLevel, Quote, QuoteWide, Status as StatusPayload, Trade,
};
use tapeline_core::event::{EventRef, Flags, Kind, events};
use tapeline_core::units::{PRICE_UNDEFINED, SourceId};
use tapeline_runtime::input::dbn::{DbnInput, starts_with_dbn};
use tapeline_runtime::input::{Input, InputError, MESSAGE_SLOTS_MAX, SlotBuf, Status, Tally};

/// An event as the test sees it: everything that must survive, by name.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    kind: &'static str,
    symbol: String,
    source: String,
    ts_recv: u64,
    ts_event: u64,
    /// `None` = unsequenced.
    seq: Option<u64>,
    snapshot: bool,
    fields: Vec<(&'static str, i128)>,
}

/// Names of the fields of [`Seen`], by kind.
const UPDATE: [&str; 7] = ["price", "size", "side", "action", "flags", "depth", "ts_in_delta"];
const TOP: [&str; 6] = ["bid_px", "ask_px", "bid_sz", "ask_sz", "bid_ct", "ask_ct"];
const ORDER: [&str; 7] = ["order_id", "price", "size", "side", "action", "flags", "channel_id"];
const BAR: [&str; 6] = ["open", "high", "low", "close", "volume", "interval_ns"];
const STATUS: [&str; 6] = ["action", "reason", "trading_event", "is_trading", "is_quoting", "is_short_sell_restricted"];

fn named<const N: usize>(names: [&'static str; N], values: [i128; N]) -> Vec<(&'static str, i128)> {
    names.into_iter().zip(values).collect()
}

/// Price to `ts_in_delta` of a payload of ours.
macro_rules! seen_update {
    ($p:expr) => {
        named(
            UPDATE,
            [
                $p.price.into(),
                $p.size.into(),
                $p.side.into(),
                $p.action.into(),
                $p.source_flags.into(),
                $p.depth.into(),
                $p.ts_in_delta.into(),
            ],
        )
    };
}

/// The same of one of the crate's records, with what those that lack a field must become.
macro_rules! update {
    ($m:expr, $action:expr, $depth:expr, $ts_in_delta:expr) => {
        named(
            UPDATE,
            [
                $m.price.into(),
                $m.size.into(),
                side($m.side()),
                $action.into(),
                $m.flags.raw().into(),
                $depth.into(),
                $ts_in_delta.into(),
            ],
        )
    };
    ($m:expr) => {
        update!($m, $m.action as u8, $m.depth, $m.ts_in_delta)
    };
}

/// The files of the captures, sorted; `None`, and a line that says so, where there are none.
fn files() -> Option<Vec<PathBuf>> {
    let root = PathBuf::from(std::env::var_os("TAPELINE_TEST_DATA").unwrap_or_default());
    let mut folders = vec![root.join("databento/dbn")];
    if let Ok(entries) = std::fs::read_dir(root.join("databento/python")) {
        folders.extend(entries.flatten().map(|entry| entry.path()));
    }
    let mut files: Vec<_> = folders
        .iter()
        .filter_map(|folder| std::fs::read_dir(folder).ok())
        .flatten()
        .flatten()
        .map(|e| e.path())
        .collect();
    files.sort();
    if files.is_empty() {
        eprintln!("skipped: no capture data");
        return None;
    }
    Some(files)
}

/// The file as whoever opens it passes it on: zstd frames unpacked, DBZ as it is.
fn unpacked(path: &PathBuf) -> Vec<u8> {
    let bytes = std::fs::read(path).unwrap();
    if bytes.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) { zstd::decode_all(&bytes[..]).unwrap() } else { bytes }
}

fn is_fragment(path: &std::path::Path) -> bool {
    path.to_string_lossy().contains(".frag")
}

/// Names, events, (last of its message, part) of each, counts, and how it ended.
type Outcome = (Catalog, Vec<Seen>, Vec<(bool, u16)>, Tally, Result<(), InputError>);

fn read_all(bytes: &[u8], slots_max: usize) -> Outcome {
    let mut catalog = Catalog::new(1 << 12);
    let mut seen = Vec::new();
    let mut parts = Vec::new();
    let mut input = match DbnInput::new(Box::new(Cursor::new(bytes.to_vec())), "sample") {
        Ok(input) => input,
        Err(error) => return (catalog, seen, parts, Tally::default(), Err(error)),
    };
    let mut out = SlotBuf::with_capacity(slots_max);
    let result = loop {
        let status = input.read(&mut catalog, &mut out);
        let mut slots = 0;
        for event in events(out.slots()) {
            slots += event.slots().len();
            seen.push(see(&catalog, event));
            parts.push((event.head().flags.contains(Flags::LAST), event.head().part));
        }
        assert_eq!(slots, out.slots().len(), "whole events only");
        assert!(slots == 0 || parts.last().unwrap().0, "whole messages only");
        match status {
            Ok(Status::End) => break Ok(()),
            Ok(Status::More) => assert!(slots > 0, "an empty buffer takes a message"),
            Err(error) => {
                out.clear();
                assert!(matches!(input.read(&mut catalog, &mut out), Ok(Status::End)), "after an error: the end");
                assert!(out.slots().is_empty());
                break Err(error);
            }
        }
        out.clear();
    };
    (catalog, seen, parts, input.tally(), result)
}

fn see(catalog: &Catalog, event: EventRef<'_>) -> Seen {
    let head = event.head();
    assert_eq!(head.scale, 0);
    let fields = match event.kind() {
        Kind::TRADE => {
            let t: &Trade = event.get().unwrap();
            seen_update!(t)
        }
        Kind::QUOTE => {
            let (q, w): (&Quote, _) = (event.get().unwrap(), QuoteWide::of(event).unwrap());
            assert_eq!((q.bid_sz, q.ask_sz), (0, 0));
            [
                named(
                    TOP,
                    [
                        q.bid_px.into(),
                        q.ask_px.into(),
                        w.bid_sz.into(),
                        w.ask_sz.into(),
                        w.bid_ct.into(),
                        w.ask_ct.into(),
                    ],
                ),
                seen_update!(w),
                vec![("interval_ns", w.interval_ns.into())],
            ]
            .concat()
        }
        Kind::BOOK_ORDER => {
            let o: &BookOrder = event.get().unwrap();
            named(
                ORDER,
                [
                    o.order_id.into(),
                    o.price.into(),
                    o.size.into(),
                    o.side.into(),
                    o.action.into(),
                    o.source_flags.into(),
                    o.channel_id.into(),
                ],
            )
        }
        Kind::BOOK_DEPTH => {
            let d: &BookDepth = event.get().unwrap();
            let mut fields = seen_update!(d);
            for DepthLevel { bid_px, ask_px, bid_sz, ask_sz, bid_ct, ask_ct } in BookDepth::levels_of(event) {
                fields.extend([("bid_px", bid_px.into()), ("ask_px", ask_px.into()), ("bid_sz", bid_sz.into())]);
                fields.extend([("ask_sz", ask_sz.into()), ("bid_ct", bid_ct.into()), ("ask_ct", ask_ct.into())]);
            }
            fields
        }
        Kind::BAR => {
            let (b, r): (&Bar, _) = (event.get().unwrap(), BarRest::of(event).unwrap());
            named(
                BAR,
                [b.open.into(), b.high.into(), b.low.into(), r.close.into(), r.volume.into(), r.interval_ns.into()],
            )
        }
        Kind::STATUS => {
            let s: &StatusPayload = event.get().unwrap();
            named(
                STATUS,
                [
                    s.action.into(),
                    s.reason.into(),
                    s.trading_event.into(),
                    s.is_trading.into(),
                    s.is_quoting.into(),
                    s.is_short_sell_restricted.into(),
                ],
            )
        }
        other => panic!("{other:?} does not come from DBN"),
    };
    let unsequenced = head.flags.contains(Flags::UNSEQUENCED);
    assert_eq!(catalog.seq_rule(head.source) == SeqRule::None, unsequenced);
    Seen {
        kind: event.kind().name(),
        symbol: String::from_utf8(catalog.symbol_text(head.symbol).to_vec()).unwrap(),
        source: String::from_utf8(catalog.source_name(head.source).to_vec()).unwrap(),
        ts_recv: head.ts_recv.0,
        ts_event: head.ts_event.0,
        seq: (!unsequenced).then_some(head.seq),
        snapshot: head.flags.contains(Flags::SNAPSHOT),
        fields,
    }
}

fn side(c: dbn::Result<dbn::Side>) -> i128 {
    match c.unwrap() {
        dbn::Side::Bid => 1,
        dbn::Side::Ask => 2,
        dbn::Side::None => 0,
    }
}

fn top(level: &BidAskPair) -> Vec<(&'static str, i128)> {
    named(
        TOP,
        [
            level.bid_px.into(),
            level.ask_px.into(),
            level.bid_sz.into(),
            level.ask_sz.into(),
            level.bid_ct.into(),
            level.ask_ct.into(),
        ],
    )
}

fn consolidated_top(level: &ConsolidatedBidAskPair) -> Vec<(&'static str, i128)> {
    named(
        TOP,
        [
            level.bid_px.into(),
            level.ask_px.into(),
            level.bid_sz.into(),
            level.ask_sz.into(),
            level.bid_pb.into(),
            level.ask_pb.into(),
        ],
    )
}

/// What one record must become, by the crate's typed record. Empty for a record without a kind.
fn expected(
    record: RecordRef<'_>,
    schema: Option<Schema>,
    symbol: &str,
    dataset: &str,
    counts: &mut (BTreeMap<String, u64>, BTreeMap<String, u64>),
) -> Vec<Seen> {
    let header = record.header();
    let name = match (header.rtype, schema) {
        (rtype::MBP_0, _) => "trades".to_owned(),
        (rtype::MBP_1, Some(Schema::Tbbo)) => "tbbo".to_owned(),
        (rtype::INSTRUMENT_DEF, _) => "definition".to_owned(),
        (rtype::OHLCV_DEPRECATED, Some(schema)) => schema.to_string(),
        (_, Some(schema)) if header.rtype != rtype::SYMBOL_MAPPING => schema.to_string(),
        _ => header.rtype().unwrap().to_string(),
    };
    *counts.0.entry(name.clone()).or_default() += 1;
    let mut seen = Vec::new();
    let mut push = |kind, ts_recv: u64, seq: Option<u32>, flags: u8, fields| {
        seen.push(Seen {
            kind,
            symbol: symbol.to_owned(),
            source: format!("dbn.{}.{}.{name}", dataset.to_lowercase(), header.publisher_id),
            ts_recv: if ts_recv == u64::MAX { header.ts_event } else { ts_recv },
            ts_event: header.ts_event,
            seq: seq.map(u64::from),
            snapshot: flags & 0x20 != 0,
            fields,
        });
    };
    if let Some(m) = record.get::<MboMsg>() {
        let fields = named(
            ORDER,
            [
                m.order_id.into(),
                m.price.into(),
                m.size.into(),
                side(m.side()),
                (m.action as u8).into(),
                m.flags.raw().into(),
                m.channel_id.into(),
            ],
        );
        push("book_order", m.ts_recv, Some(m.sequence), m.flags.raw(), fields);
    } else if let Some(m) = record.get::<TradeMsg>() {
        let fields = update!(m);
        push("trade", m.ts_recv, Some(m.sequence), m.flags.raw(), fields);
    } else if let Some(m) = record.get::<Mbp1Msg>() {
        let update: Vec<(&'static str, i128)> = update!(m);
        if schema == Some(Schema::Tbbo) {
            push("trade", m.ts_recv, Some(m.sequence), m.flags.raw(), update.clone());
        }
        let fields = [top(&m.levels[0]), update, vec![("interval_ns", 0)]].concat();
        push("quote", m.ts_recv, Some(m.sequence), m.flags.raw(), fields);
    } else if let Some(m) = record.get::<Mbp10Msg>() {
        let mut fields = update!(m);
        fields.extend(m.levels.iter().flat_map(top));
        push("book_depth", m.ts_recv, Some(m.sequence), m.flags.raw(), fields);
    } else if let Some(m) = record.get::<BboMsg>() {
        let interval_ns = if header.rtype == rtype::BBO_1S { 1_000_000_000 } else { 60_000_000_000 };
        let update = [update!(m, 0, 0, 0), vec![("interval_ns", interval_ns)]].concat();
        push("quote", m.ts_recv, Some(m.sequence), m.flags.raw(), [top(&m.levels[0]), update].concat());
    } else if let Some(m) = record.get::<Cmbp1Msg>() {
        let update: Vec<(&'static str, i128)> = update!(m, m.action as u8, 0, m.ts_in_delta);
        if header.rtype == rtype::TCBBO {
            push("trade", m.ts_recv, None, m.flags.raw(), update.clone());
        }
        let fields = [consolidated_top(&m.levels[0]), update, vec![("interval_ns", 0)]].concat();
        push("quote", m.ts_recv, None, m.flags.raw(), fields);
    } else if let Some(m) = record.get::<CbboMsg>() {
        let interval_ns = if header.rtype == rtype::CBBO_1S { 1_000_000_000 } else { 60_000_000_000 };
        let update = [update!(m, 0, 0, 0), vec![("interval_ns", interval_ns)]].concat();
        push("quote", m.ts_recv, None, m.flags.raw(), [consolidated_top(&m.levels[0]), update].concat());
    } else if let Some(m) = record.get::<OhlcvMsg>() {
        let seconds: u64 = match schema.unwrap() {
            Schema::Ohlcv1S => 1,
            Schema::Ohlcv1M => 60,
            Schema::Ohlcv1H => 3_600,
            _ => 86_400,
        };
        let interval_ns = seconds * 1_000_000_000;
        let fields = named(
            BAR,
            [m.open.into(), m.high.into(), m.low.into(), m.close.into(), m.volume.into(), interval_ns.into()],
        );
        push("bar", header.ts_event + interval_ns, None, 0, fields);
    } else if let Some(m) = record.get::<StatusMsg>() {
        let fields = named(
            STATUS,
            [
                m.action.into(),
                m.reason.into(),
                m.trading_event.into(),
                (m.is_trading as u8).into(),
                (m.is_quoting as u8).into(),
                (m.is_short_sell_restricted as u8).into(),
            ],
        );
        push("status", m.ts_recv, None, 0, fields);
    } else {
        *counts.1.entry(name).or_default() += 1;
    }
    seen
}

type Expected = (Vec<Seen>, BTreeMap<String, u64>, BTreeMap<String, u64>);

/// What the whole file must become, and its counts of messages and skipped records.
fn oracle(bytes: &[u8]) -> Expected {
    fn all<D: DecodeRecordRef + DbnMetadata>(mut decoder: D) -> Expected {
        let metadata = decoder.metadata().clone();
        let map = dbn::TsSymbolMap::from_metadata(&metadata).unwrap();
        let mut counts = Default::default();
        let mut seen = Vec::new();
        while let Some(record) = decoder.decode_record_ref().unwrap() {
            let id = record.header().instrument_id;
            let symbol = match map.get_for_ts(record.raw_index_ts(), id) {
                Some(text) => format!("{}:{text}", metadata.dataset),
                None => format!("{}:#{id}", metadata.dataset),
            };
            seen.extend(expected(record, metadata.schema, &symbol, &metadata.dataset, &mut counts));
        }
        (seen, counts.0, counts.1)
    }
    if bytes.starts_with(b"DBN") {
        all(DbnDecoder::with_upgrade_policy(bytes, VersionUpgradePolicy::AsIs).unwrap())
    } else {
        #[expect(deprecated, reason = "DBZ itself is")]
        all(dbn::decode::dbz::Decoder::with_upgrade_policy(bytes, VersionUpgradePolicy::AsIs).unwrap())
    }
}

#[test]
fn every_file_gives_what_the_dbn_crate_reads() {
    let Some(files) = files() else { return };
    let (mut checked, mut kinds) = (0, BTreeMap::<&str, u64>::new());
    for path in files.iter().filter(|path| !is_fragment(path)) {
        let bytes = unpacked(path);
        assert!(starts_with_dbn(&bytes[..12]), "{path:?}");
        let (want, messages, skipped) = oracle(&bytes);
        for slots_max in [MESSAGE_SLOTS_MAX, MESSAGE_SLOTS_MAX * 4] {
            let (_, seen, parts, tally, result) = read_all(&bytes, slots_max);
            result.unwrap_or_else(|error| panic!("{path:?}: {error}"));
            assert_eq!(seen, want, "{path:?}");
            assert_eq!(tally.messages, messages, "{path:?}");
            assert_eq!(tally.skipped, skipped, "{path:?}");
            // No two sequenced events of one symbol share number and part.
            let mut identities: Vec<_> = seen
                .iter()
                .zip(&parts)
                .filter_map(|(s, (_, part))| Some((&s.source, &s.symbol, s.seq?, *part)))
                .collect();
            let all = identities.len();
            identities.sort();
            identities.dedup();
            assert_eq!(identities.len(), all, "{path:?}");
            for event in &seen {
                *kinds.entry(event.kind).or_default() += 1;
            }
        }
        checked += 1;
    }
    assert!(checked >= 140, "{checked} files");
    assert_eq!(
        kinds.keys().copied().collect::<Vec<_>>(),
        ["bar", "book_depth", "book_order", "quote", "status", "trade"]
    );
}

#[test]
fn fragments_have_no_header_and_are_not_recognised() {
    let Some(files) = files() else { return };
    for path in files.iter().filter(|path| is_fragment(path)) {
        let error = DbnInput::new(Box::new(Cursor::new(unpacked(path))), "x.frag").unwrap_err();
        assert!(matches!(error, InputError::Unrecognised { .. }), "{error}");
        assert_eq!(error.exit_code(), 2);
    }
}

#[test]
fn known_values_of_one_file() {
    let Some(files) = files() else { return };
    let Some(path) = files.iter().find(|path| path.ends_with("databento/dbn/test_data.mbo.v3.dbn")) else {
        eprintln!("skipped: no capture data");
        return;
    };
    let (catalog, seen, parts, tally, result) = read_all(&unpacked(path), MESSAGE_SLOTS_MAX);
    result.unwrap();
    assert_eq!(catalog.source_name(SourceId(1)), b"dbn.glbx.mdp3.1.mbo");
    assert_eq!(catalog.seq_rule(SourceId(1)), SeqRule::Increasing);
    assert_eq!(tally.messages, BTreeMap::from([("mbo".to_owned(), 2)]));
    assert_eq!(seen.len(), 2);
    // Written down, so that both sides of the other test cannot change together unseen.
    assert_eq!(seen[0].symbol, "GLBX.MDP3:ESH1");
    assert_eq!(seen[0].ts_recv, 1_609_160_400_000_704_060);
    assert_eq!(seen[0].ts_event, 1_609_160_400_000_429_831);
    assert_eq!(seen[0].seq, Some(1_170_352));
    assert_eq!(seen[0].fields[0], ("order_id", 647_784_973_705));
    assert_eq!(seen[0].fields[1], ("price", 3_722_750_000_000));
    assert!(parts[1].0);
}

#[test]
fn a_file_cut_at_any_byte_gives_what_came_before() {
    let Some(files) = files() else { return };
    let mut cuts = 0u64;
    for path in files.iter().filter(|path| !is_fragment(path)) {
        // The compressed files of the second folder have the same layouts; one of each version is enough.
        if path.to_string_lossy().contains("/python/") {
            continue;
        }
        let bytes = unpacked(path);
        let (_, whole, _, _, _) = read_all(&bytes, MESSAGE_SLOTS_MAX);
        let mut most = 0;
        for cut in 0..bytes.len() {
            let (_, seen, _, _, result) = read_all(&bytes[..cut], MESSAGE_SLOTS_MAX);
            assert!(seen.len() >= most, "{path:?} cut at {cut}: a longer file gives no less");
            assert_eq!(seen[..], whole[..seen.len()], "{path:?} cut at {cut}");
            most = seen.len();
            if let Err(error) = result {
                let code = error.exit_code();
                assert!(code == 3 || (code == 2 && cut < 12), "{path:?} cut at {cut}: {error}");
                assert!(!error.to_string().contains('\n'));
            } else {
                assert!(is_record_end(&bytes, cut), "{path:?} cut at {cut}");
            }
            cuts += 1;
        }
    }
    assert!(cuts > 30_000, "{cuts}");
}

/// Whether a DBN file has a record's end, or its metadata's, at `at`; a DBZ file its metadata's.
fn is_record_end(bytes: &[u8], at: usize) -> bool {
    if !bytes.starts_with(b"DBN") {
        return at == 8 + u32::from_le_bytes(bytes[4..8].try_into().unwrap()) as usize;
    }
    let mut end = 8 + u32::from_le_bytes(bytes[4..8].try_into().unwrap()) as usize;
    while end < at {
        end += usize::from(bytes[end]) * 4;
    }
    end == at
}

fn mutations(rounds: u64, seed: u64) {
    let Some(files) = files() else { return };
    let samples: Vec<Vec<u8>> = files.iter().filter(|path| !is_fragment(path)).map(unpacked).collect();
    let mut state = seed;
    let mut next = move || {
        // splitmix64
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    };
    let mut damaged = 0;
    for round in 0..rounds {
        let mut bytes = samples[next() as usize % samples.len()].clone();
        for _ in 0..1 + next() % 6 {
            let at = next() as usize % bytes.len();
            match next() % 6 {
                0 => bytes[at] = next() as u8,
                1 => bytes[at] ^= 1 << (next() % 8),
                2 => bytes[at] = [0, 1, 0x7f, 0x80, 0xff][next() as usize % 5],
                3 => {
                    let end = (at + 8).min(bytes.len());
                    bytes[at..end].fill([0, 0xff][next() as usize % 2]);
                }
                4 => {
                    bytes.remove(at);
                }
                _ => bytes.insert(at, next() as u8),
            }
            if bytes.is_empty() {
                break;
            }
        }
        let result = std::panic::catch_unwind(|| read_any(&bytes));
        match result {
            Ok(is_damaged) => damaged += u64::from(is_damaged),
            Err(_) => panic!("seed {seed}, round {round} panicked"),
        }
    }
    assert!(damaged > rounds / 10, "{damaged} of {rounds} damaged");
}

/// Reads a file of any bytes; whether it was found damaged.
fn read_any(bytes: &[u8]) -> bool {
    let Ok(mut input) = DbnInput::new(Box::new(Cursor::new(bytes.to_vec())), "sample") else { return true };
    let mut catalog = Catalog::new(1 << 10);
    let mut out = SlotBuf::with_capacity(MESSAGE_SLOTS_MAX);
    loop {
        let status = input.read(&mut catalog, &mut out);
        for event in events(out.slots()) {
            assert!(event.head().ts_recv.0 != u64::MAX, "shard time may not jump to the end");
            assert!(event.head().source != SourceId::NONE && event.head().symbol.0 != 0);
        }
        input.tally();
        match status {
            Ok(Status::More) => out.clear(),
            Ok(Status::End) => return false,
            Err(error) => {
                assert!(!error.to_string().chars().any(char::is_control), "{error:?}");
                return true;
            }
        }
    }
}

#[test]
fn changed_bytes_never_panic() {
    mutations(20_000, 0x7a9e);
}

#[test]
#[ignore = "soak: cargo test --release -p tapeline-runtime --test dbn_files -- --ignored"]
fn soak_changed_bytes_never_panic() {
    for seed in 1..=20 {
        mutations(500_000, seed);
    }
}

#[test]
fn undefined_prices_are_kept_as_they_are() {
    let (bytes, _) = file_of(&[TradeMsg { price: dbn::UNDEF_PRICE, ..trade(1, 5) }]);
    let (_, seen, ..) = read_all(&bytes, MESSAGE_SLOTS_MAX);
    assert_eq!(seen[0].fields[0], ("price", PRICE_UNDEFINED.into()));
}

fn trade(sequence: u32, ts: u64) -> TradeMsg {
    TradeMsg {
        hd: dbn::RecordHeader::new::<TradeMsg>(rtype::MBP_0, 1, 42, ts),
        ts_recv: ts + 1,
        sequence,
        side: b'B' as std::ffi::c_char,
        ..TradeMsg::default()
    }
}

/// A DBN file of trades, and the length of its header.
fn file_of<R: dbn::encode::DbnEncodable>(records: &[R]) -> (Vec<u8>, usize) {
    use dbn::encode::{DbnEncoder, EncodeRecord};
    let metadata = dbn::Metadata::builder()
        .dataset("TEST.SET".to_owned())
        .schema(None)
        .start(0)
        .stype_in(Some(dbn::SType::RawSymbol))
        .stype_out(dbn::SType::InstrumentId)
        .build();
    let mut bytes = Vec::new();
    let mut encoder = DbnEncoder::new(&mut bytes, &metadata).unwrap();
    for record in records {
        encoder.encode_record(record).unwrap();
    }
    let header = 8 + u32::from_le_bytes(bytes[4..8].try_into().unwrap()) as usize;
    (bytes, header)
}

fn error_of(bytes: &[u8]) -> String {
    let (_, _, _, _, result) = read_all(bytes, MESSAGE_SLOTS_MAX);
    let error = result.unwrap_err();
    assert_eq!(error.exit_code(), 3, "{error}");
    error.to_string()
}

#[test]
fn req_3471_records_that_share_a_number_get_parts_and_no_more_than_there_are() {
    let mut records: Vec<_> = [7, 7, 8, 8, 8, 7].into_iter().map(|seq| trade(seq, 5)).collect();
    let (bytes, _) = file_of(&records);
    let (_, seen, parts, ..) = read_all(&bytes, MESSAGE_SLOTS_MAX);
    assert_eq!(parts.iter().map(|p| p.1).collect::<Vec<_>>(), [0, 1, 0, 1, 2, 0]);
    assert!(parts.iter().all(|p| p.0), "each trade is a message");
    assert!(seen.iter().all(|s| s.seq.is_some()));

    records = (0..65_538).map(|_| trade(9, 5)).collect();
    let (bytes, _) = file_of(&records);
    let mut input = DbnInput::new(Box::new(Cursor::new(bytes)), "many").unwrap();
    let (mut catalog, mut out) = (Catalog::new(100), SlotBuf::with_capacity(1 << 17));
    assert_eq!(input.read(&mut catalog, &mut out).unwrap(), Status::End);
    let events: Vec<_> =
        events(out.slots()).map(|e| (e.head().part, e.head().flags.contains(Flags::UNSEQUENCED))).collect();
    assert_eq!(events.len(), 65_538);
    for (index, event) in events.iter().enumerate() {
        assert_eq!(*event, (index.min(65_535) as u16, index > 65_535));
    }
}

#[test]
fn a_message_ends_at_f_last_or_where_its_key_changes_and_never_outgrows_the_buffer() {
    let mbo = |sequence, instrument, ts_recv, last: bool| MboMsg {
        hd: dbn::RecordHeader::new::<MboMsg>(rtype::MBO, 1, instrument, 1),
        ts_recv,
        sequence,
        flags: if last { dbn::FlagSet::empty().set_last() } else { dbn::FlagSet::empty() },
        ..MboMsg::default()
    };
    let records = [
        mbo(1, 5, 10, false),
        mbo(1, 5, 10, true),  // F_LAST
        mbo(1, 5, 10, false), // instrument changes
        mbo(1, 6, 10, false), // number changes
        mbo(2, 6, 10, false), // time changes
        mbo(2, 6, 11, false),
        mbo(2, 6, 11, false), // the end
    ];
    let (bytes, _) = file_of(&records);
    let (_, _, parts, ..) = read_all(&bytes, MESSAGE_SLOTS_MAX);
    assert_eq!(parts.iter().map(|p| p.0).collect::<Vec<_>>(), [false, true, true, true, true, false, true]);
    assert_eq!(parts.iter().map(|p| p.1).collect::<Vec<_>>(), [0, 1, 2, 0, 0, 1, 2]);

    let records: Vec<_> = (0..40_000).map(|_| mbo(1, 5, 10, false)).collect();
    let (bytes, _) = file_of(&records);
    let (_, seen, parts, _, result) = read_all(&bytes, MESSAGE_SLOTS_MAX);
    result.unwrap();
    assert_eq!(seen.len(), 40_000);
    let ends: Vec<_> = (0..40_000).filter(|i| parts[*i].0).collect();
    assert_eq!(ends, [MESSAGE_SLOTS_MAX - 1, 2 * MESSAGE_SLOTS_MAX - 1, 39_999]);
}

#[test]
fn schemas_that_no_capture_here_has() {
    let header = |rtype, ts| dbn::RecordHeader::new::<Cmbp1Msg>(rtype, 1, 42, ts);
    let tcbbo = Cmbp1Msg {
        hd: header(rtype::TCBBO, 5),
        price: 7,
        size: 8,
        side: b'A' as std::ffi::c_char,
        ts_recv: 6,
        levels: [ConsolidatedBidAskPair {
            bid_px: 1,
            ask_px: 2,
            bid_sz: 3,
            ask_sz: 4,
            bid_pb: 50,
            ask_pb: 60,
            ..Default::default()
        }],
        ..Cmbp1Msg::default_for_schema(Schema::Tcbbo)
    };
    let (bytes, _) = file_of(&[tcbbo.clone(), tcbbo]);
    let (_, seen, parts, tally, _) = read_all(&bytes, MESSAGE_SLOTS_MAX);
    assert_eq!(seen.iter().map(|s| s.kind).collect::<Vec<_>>(), ["trade", "quote", "trade", "quote"]);
    assert_eq!(parts, [(false, 0), (true, 1), (false, 0), (true, 1)]);
    assert!(seen.iter().all(|s| s.seq.is_none() && s.source == "dbn.test.set.1.tcbbo"));
    assert_eq!(seen[0].fields[..3], [("price", 7), ("size", 8), ("side", 2)]);
    assert_eq!(seen[1].fields[4..6], [("bid_ct", 50), ("ask_ct", 60)]);
    assert_eq!(tally.messages, BTreeMap::from([("tcbbo".to_owned(), 2)]));

    let bar = |rtype, ts| OhlcvMsg {
        hd: dbn::RecordHeader::new::<OhlcvMsg>(rtype, 1, 42, ts),
        open: 1,
        volume: u64::MAX - 1,
        ..OhlcvMsg::default_for_schema(Schema::Ohlcv1D)
    };
    let (bytes, _) =
        file_of(&[bar(rtype::OHLCV_EOD, 5), bar(rtype::OHLCV_DEPRECATED, 6), bar(rtype::OHLCV_1D, u64::MAX)]);
    let (_, seen, _, tally, _) = read_all(&bytes, MESSAGE_SLOTS_MAX);
    assert_eq!(seen.len(), 1);
    assert_eq!((seen[0].ts_event, seen[0].ts_recv), (5, 5 + 86_400_000_000_000));
    assert_eq!(seen[0].fields[4], ("volume", i128::from(u64::MAX - 1)));
    let skipped = [("ohlcv-1d without a time".to_owned(), 1), ("ohlcv-deprecated".to_owned(), 1)];
    assert_eq!(tally.skipped, BTreeMap::from(skipped));

    // A symbol-mapping record of version 1 is shorter.
    let mut mapping = dbn::v1::SymbolMappingMsg {
        hd: dbn::RecordHeader::new::<dbn::v1::SymbolMappingMsg>(rtype::SYMBOL_MAPPING, 1, 42, 3),
        ..Default::default()
    };
    mapping.stype_out_symbol[0] = b'X' as std::ffi::c_char;
    let (mut bytes, start) = file_of::<TradeMsg>(&[]);
    bytes.extend_from_slice(mapping.as_ref());
    bytes.extend_from_slice(&file_of(&[trade(1, 5)]).0[start..]);
    let (_, seen, ..) = read_all(&bytes, MESSAGE_SLOTS_MAX);
    assert_eq!(seen[0].symbol, "TEST.SET:X");
}

#[test]
fn sequenced_quotes_without_a_number_of_their_own_still_differ() {
    let bbo = |ts| BboMsg {
        hd: dbn::RecordHeader::new::<BboMsg>(rtype::BBO_1S, 1, 42, u64::MAX),
        ts_recv: ts,
        sequence: 3,
        ..BboMsg::default_for_schema(Schema::Bbo1S)
    };
    let (bytes, _) = file_of(&[bbo(1), bbo(2), bbo(3)]);
    let (_, seen, parts, ..) = read_all(&bytes, MESSAGE_SLOTS_MAX);
    assert_eq!(parts, [(true, 0), (true, 1), (true, 2)]);
    assert!(seen.iter().all(|s| s.seq == Some(3) && s.ts_event == u64::MAX));
}

#[test]
fn undefined_times_are_filled_from_the_other_or_counted() {
    let records = [
        TradeMsg { ts_recv: u64::MAX, ..trade(1, 5) },
        TradeMsg { hd: dbn::RecordHeader::new::<TradeMsg>(rtype::MBP_0, 1, 42, u64::MAX), ..trade(2, 5) },
        TradeMsg {
            hd: dbn::RecordHeader::new::<TradeMsg>(rtype::MBP_0, 1, 42, u64::MAX),
            ts_recv: u64::MAX,
            ..trade(3, 5)
        },
        trade(4, 5),
    ];
    let (bytes, _) = file_of(&records);
    let (_, seen, _, tally, result) = read_all(&bytes, MESSAGE_SLOTS_MAX);
    result.unwrap();
    assert_eq!(seen.iter().map(|s| (s.ts_recv, s.ts_event)).collect::<Vec<_>>(), [(5, 5), (6, u64::MAX), (6, 5)]);
    assert_eq!(tally.messages, BTreeMap::from([("trades".to_owned(), 4)]));
    assert_eq!(tally.skipped, BTreeMap::from([("trades without a time".to_owned(), 1)]));
}

#[test]
fn live_symbol_mappings_name_what_follows() {
    let name = |text: &str| {
        let mut mapping = dbn::SymbolMappingMsg {
            hd: dbn::RecordHeader::new::<dbn::SymbolMappingMsg>(rtype::SYMBOL_MAPPING, 1, 42, 3),
            ..dbn::SymbolMappingMsg::default()
        };
        mapping.stype_out_symbol = dbn::record::str_to_c_chars(text).unwrap();
        mapping
    };
    let (mut bytes, header) = file_of(&[trade(1, 5)]);
    let one_trade = bytes[header..].to_vec();
    for text in ["ESH1", "ESM1"] {
        bytes.extend(&file_of(&[name(text)]).0[header..]);
        bytes.extend(&one_trade);
    }
    let (_, seen, parts, tally, result) = read_all(&bytes, MESSAGE_SLOTS_MAX);
    result.unwrap();
    let symbols: Vec<_> = seen.iter().map(|s| s.symbol.as_str()).collect();
    assert_eq!(symbols, ["TEST.SET:#42", "TEST.SET:ESH1", "TEST.SET:ESM1"]);
    assert_eq!(parts.iter().map(|p| p.1).collect::<Vec<_>>(), [0, 0, 0], "parts count per symbol");
    assert_eq!(tally.skipped, BTreeMap::from([("symbol-mapping".to_owned(), 2)]));
}

#[test]
fn damage_is_named_with_its_offset_and_what_came_before_stands() {
    let (whole, header) = file_of(&[trade(1, 5), trade(2, 6)]);
    let second = header + 48;
    let mut bytes = whole.clone();
    bytes[second] = 0;
    assert_eq!(error_of(&bytes), format!("sample: offset {second}: a record of 0 bytes is shorter than its header"));
    let (_, seen, ..) = read_all(&bytes, MESSAGE_SLOTS_MAX);
    assert_eq!(seen.len(), 1);
    bytes[second] = 11;
    assert_eq!(error_of(&bytes), format!("sample: offset {second}: a record of 44 bytes: no record has such a length"));
    bytes[second] = 10;
    let why = "a record of trades has 40 bytes and needs 48";
    assert_eq!(error_of(&bytes), format!("sample: offset {second}: {why}"));
    bytes[second] = 12;
    bytes.truncate(second + 47);
    let why = "the last record is cut short: 47 of 48 bytes";
    assert_eq!(error_of(&bytes), format!("sample: offset {second}: {why}"));

    bytes = whole.clone();
    bytes[second + 1] = 0x77;
    let (_, seen, _, tally, result) = read_all(&bytes, MESSAGE_SLOTS_MAX);
    result.unwrap();
    assert_eq!((seen.len(), &tally.skipped), (1, &BTreeMap::from([("rtype 0x77".to_owned(), 1)])));
}

#[test]
fn lengths_that_lie_do_not_take_memory() {
    let (whole, header) = file_of(&[trade(1, 5)]);
    let mut bytes = whole.clone();
    bytes[4..8].fill(0xff);
    assert_eq!(error_of(&bytes), "sample: offset 4: metadata of 4294967295 bytes is longer than 67108864");
    bytes[4..8].copy_from_slice(&(60u32 << 20).to_le_bytes());
    assert!(error_of(&bytes).contains("the metadata is cut short: "), "{}", error_of(&bytes));
    bytes[4..8].copy_from_slice(&99u32.to_le_bytes());
    assert_eq!(error_of(&bytes), "sample: offset 4: metadata of 99 bytes: it has at least 100");
    // Symbols of no length would fit any count.
    bytes = whole.clone();
    bytes[8 + 45..8 + 47].fill(0);
    assert_eq!(error_of(&bytes), "sample: offset 53: metadata with symbols of 0 bytes: they have at least 22");
    // Each of the counts of the metadata in turn: symbols, partial, not found, mappings.
    for at in (8 + 100 + 4..header - 3).step_by(4) {
        bytes = whole.clone();
        bytes[at..at + 4].fill(0xff);
        let error = error_of(&bytes);
        assert!(error.starts_with("sample: offset 8: metadata: "), "{error}");
    }
}

#[test]
fn what_is_not_dbn_or_not_of_a_known_version_is_refused_by_name() {
    let refused = |bytes: &[u8]| {
        let error = DbnInput::new(Box::new(Cursor::new(bytes.to_vec())), "x").unwrap_err();
        assert_eq!(error.exit_code(), 2, "{error}");
        error.to_string()
    };
    assert_eq!(refused(b""), "x: format not recognised at offset 0: the file is empty");
    assert_eq!(refused(b"PK\x03\x04aaaaaaaaa"), "x: format not recognised at offset 0: it is neither DBN nor DBZ");
    for version in [0, 4, 255] {
        let why = format!("it is DBN version {version}; versions 1 to 3 can be read");
        assert_eq!(
            refused(&[b'D', b'B', b'N', version, 100, 0, 0, 0, 1]),
            format!("x: format not recognised at offset 0: {why}")
        );
    }
    let skippable = [0x50, 0x2a, 0x4d, 0x18, 4, 0, 0, 0, 1, 2, 3, 4];
    assert!(refused(&skippable).contains("a skippable zstd frame that is no DBZ metadata"));
    assert!(!starts_with_dbn(&skippable) && !starts_with_dbn(b"DB") && starts_with_dbn(b"DBN\x01"));
}

#[test]
fn a_full_symbol_table_says_so_after_what_came_before() {
    let records: Vec<_> = (0..5u32)
        .map(|id| TradeMsg { hd: dbn::RecordHeader::new::<TradeMsg>(rtype::MBP_0, 1, id, 5), ..trade(1, 5) })
        .collect();
    let (bytes, header) = file_of(&records);
    let mut input = DbnInput::new(Box::new(Cursor::new(bytes)), "x").unwrap();
    let (mut catalog, mut out) = (Catalog::new(4), SlotBuf::with_capacity(MESSAGE_SLOTS_MAX));
    let error = input.read(&mut catalog, &mut out).unwrap_err();
    assert_eq!(out.slots().len(), 3);
    assert_eq!(error.exit_code(), 2);
    assert!(
        error.to_string().starts_with(&format!("x: offset {}: the symbol table is full", header + 3 * 48)),
        "{error}"
    );
}

#[test]
fn an_unreadable_stream_is_damage_at_the_byte_where_it_broke() {
    struct Breaks(Cursor<Vec<u8>>);
    impl Read for Breaks {
        fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
            match self.0.read(into)? {
                0 => Err(std::io::Error::other("incomplete frame")),
                read => Ok(read),
            }
        }
    }
    let (mut bytes, header) = file_of(&[trade(1, 5), trade(2, 6)]);
    bytes.truncate(header + 48 + 3);
    let mut input = DbnInput::new(Box::new(Breaks(Cursor::new(bytes))), "x").unwrap();
    let (mut catalog, mut out) = (Catalog::new(4), SlotBuf::with_capacity(MESSAGE_SLOTS_MAX));
    let error = input.read(&mut catalog, &mut out).unwrap_err();
    assert_eq!(out.slots().len(), 1);
    assert_eq!(error.to_string(), format!("x: offset {}: incomplete frame", header + 48 + 3));
}
