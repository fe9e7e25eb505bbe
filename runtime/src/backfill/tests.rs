//! Readings against a naive look at all events of all tapes; desks that do not wait for each other; what cannot be read.

use super::archive::Archive;
use super::reading::{Look, Reading};
use super::*;
use crate::tape::{TapeOptions, TapeWriter};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use tapeline_core::backfill::{HistoryOrder, Range};
use tapeline_core::catalog::{Catalog, SeqRule};
use tapeline_core::event::payload::{BackfillDone, BackfillRest, Bar, BarRest, Cause, News, Quote, Tick, Trade};
use tapeline_core::event::{EventBuf, EventRef, Flags, Kind, KindSet, Slot};
use tapeline_core::queue::Priority;
use tapeline_core::testing::{Prng, for_seeds};
use tapeline_core::units::{SourceId, SymbolId, UnixNanos};

const T0: u64 = 1_700_000_000_000_000_000;
const SYMBOLS: [&str; 4] = ["X:A", "X:B", "X:C", "X:D"];

/// A folder of its own, gone with the test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("tapeline-backfill-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A tape of random events of some of the symbols, with its own order of ids; small blocks, so that there is something to seek.
/// Returns its events with the texts of symbol and source.
fn write_tape(path: &Path, prng: &mut Prng, from: u64, events: usize) -> Vec<(Vec<Slot>, String, String)> {
    let mut catalog = Catalog::new(64);
    let shift = prng.index(SYMBOLS.len());
    let symbols: Vec<(SymbolId, &str)> = (0..3)
        .map(|at| SYMBOLS[(at + shift) % SYMBOLS.len()])
        .map(|text| (catalog.symbol(text.as_bytes()).unwrap(), text))
        .collect();
    let names = [format!("feed.{}", prng.index(3)), "feed.all".to_owned()];
    let sources: Vec<(SourceId, &str)> = names
        .iter()
        .map(|name| (catalog.source(name.as_bytes(), SeqRule::Increasing).unwrap(), name.as_str()))
        .collect();
    let mut tape = TapeWriter::new(File::create(path).unwrap(), TapeOptions::default()).unwrap();
    let (mut now, mut all) = (from, Vec::new());
    for seq in 0..events as u64 {
        now += prng.in_range(0..4) * 250_000;
        let mut event = match prng.index(12) {
            0 => EventBuf::new(&Tick::default()),
            1 => {
                // What an engine made of it is no history.
                let mut event = EventBuf::new(&Trade { price: 1, ..Trade::default() });
                event.push_value(&Cause::default()).unwrap();
                event.flag(Flags::DERIVED);
                event
            }
            2 => {
                let mut event = EventBuf::new(&News { id: seq, ..News::default() });
                (0..prng.index(9)).for_each(|_| event.push_words([seq; 7]).unwrap());
                event
            }
            3 => {
                let mut event = EventBuf::new(&Bar { open: 1, high: 2, ..Bar::default() });
                event.push_value(&BarRest::default()).unwrap();
                event
            }
            4..7 => EventBuf::new(&Quote { bid_px: seq as i64, ..Quote::default() }),
            _ => EventBuf::new(&Trade { price: 7, size: seq, ..Trade::default() }),
        };
        event.flag(Flags::LAST);
        let (symbol, symbol_text) = symbols[prng.index(symbols.len())];
        let (source, source_text) = sources[prng.index(sources.len())];
        let head = event.head_mut();
        head.ts_recv = UnixNanos(if prng.one_in(9) { now - prng.in_range(0..3_000_000) } else { now });
        (head.seq, head.symbol, head.source) = (seq, symbol, source);
        tape.write(&catalog, event.slots()).unwrap();
        if prng.one_in(20) {
            tape.end_group().unwrap();
        }
        all.push((event.slots().to_vec(), symbol_text.to_owned(), source_text.to_owned()));
    }
    tape.finish().unwrap();
    all
}

fn order(kinds: &[Kind], from: u64, to: u64) -> HistoryOrder {
    HistoryOrder {
        number: 1,
        symbol: SymbolId(40),
        kinds: KindSet::of(kinds),
        range: Range::new(UnixNanos(from), UnixNanos(to)),
        priority: Priority::FIRST,
        ordered_at: UnixNanos(T0),
        due: UnixNanos(T0 + 10_000_000),
    }
}

/// All that a reading gives; why it ended.
fn read(archive: &Archive, order: HistoryOrder, symbol: &str) -> (Vec<Vec<Slot>>, Option<Fault>, Reading) {
    let (mut reading, mut events) = (Reading::new(order, symbol.as_bytes().to_vec()), Vec::new());
    loop {
        match reading.look(archive) {
            Look::Event => events.push(reading.event().to_vec()),
            Look::Busy => {}
            Look::End => return (events, None, reading),
            Look::Failed(fault) => return (events, Some(fault), reading),
        }
    }
}

#[test]
fn readings_are_what_a_look_at_every_event_of_every_tape_finds() {
    let kinds_of = [&[Kind::TRADE][..], &[Kind::TRADE, Kind::QUOTE], &[Kind::NEWS, Kind::BAR], &[Kind::TICK]];
    let (mut found, mut least_read) = (0, u64::MAX);
    for_seeds(0..12, |seed, prng| {
        let folder = Folder::new(&format!("naive-{seed}"));
        let mut tapes = Vec::new();
        for number in 0..1 + seed % 4 {
            let path = folder.0.join(format!("{number}.tape"));
            let from = T0 + prng.in_range(0..400) * 1_000_000;
            let events = write_tape(&path, prng, from, 1_500);
            tapes.push((events[0].0[0].ts_recv, path, events));
        }
        let mut catalog = Catalog::new(64);
        let archive = Archive::open(std::slice::from_ref(&folder.0), &mut catalog);
        assert_eq!((archive.faults().len(), archive.tapes()), (0, tapes.len()));
        // As the archive has them: by first time, then by name.
        tapes.sort_by_key(|(first, path, _)| (*first, path.clone()));
        for _ in 0..30 {
            let from = T0 + prng.in_range(0..900) * 1_000_000;
            let to = from + 1 + prng.in_range(0..300_000_000);
            let kinds = kinds_of[prng.index(kinds_of.len())];
            let symbol = SYMBOLS[prng.index(SYMBOLS.len())];
            let mut expected = Vec::new();
            for (number, (.., events)) in tapes.iter().enumerate() {
                let mut time = 0;
                for (slots, text, source) in events {
                    let head = slots[0];
                    time = time.max(head.ts_recv.0);
                    let is_wanted = kinds.contains(&head.kind()) && head.kind() != Kind::TICK;
                    if is_wanted && text == symbol && (from..to).contains(&time) && !head.flags.contains(Flags::DERIVED)
                    {
                        expected.push((time, number, slots.clone(), source.clone()));
                    }
                }
            }
            expected.sort_by_key(|(time, number, ..)| (*time, *number));
            let (events, fault, reading) = read(&archive, order(kinds, from, to), symbol);
            assert!(fault.is_none(), "{fault:?}");
            assert_eq!(events.len(), expected.len(), "{symbol} {kinds:?} {from} to {to}");
            for (is, (_, _, slots, source)) in events.iter().zip(&expected) {
                let head = is[0];
                assert_eq!(catalog.source_name(head.source), source.as_bytes());
                assert!(head.symbol == SymbolId(40) && head.flags.contains(Flags::HISTORICAL));
                let payload = |slot: &Slot| (slot.payload, slot.ts_recv, slot.seq, slot.kind());
                assert_eq!((payload(&head), &is[1..]), (payload(&slots[0]), &slots[1..]));
            }
            found += events.len();
            least_read = least_read.min(reading.blocks);
        }
    });
    assert!(found > 5_000, "{found}");
    assert!(least_read < 25, "by the index: {least_read} blocks of some 75 a tape");
}

#[test]
fn adjacent_ranges_have_each_event_once_also_where_times_go_back() {
    let folder = Folder::new("adjacent");
    let mut prng = Prng::new(3);
    write_tape(&folder.0.join("a.tape"), &mut prng, T0, 2_000);
    write_tape(&folder.0.join("b.tape"), &mut prng, T0 + 1_000_000, 2_000);
    let archive = Archive::open(std::slice::from_ref(&folder.0), &mut Catalog::new(64));
    let kinds = [Kind::TRADE, Kind::QUOTE];
    for symbol in SYMBOLS {
        let (all, ..) = read(&archive, order(&kinds, T0, T0 + 2_000_000_000), symbol);
        let parts = (0..200).flat_map(|part| {
            let from = T0 + part * 10_000_000;
            read(&archive, order(&kinds, from, from + 10_000_000), symbol).0
        });
        assert_eq!(parts.collect::<Vec<_>>(), all, "{symbol}");
    }
}

#[test]
fn a_time_that_no_clock_shows_ends_no_order() {
    let folder = Folder::new("beyond");
    let mut catalog = Catalog::new(64);
    let (symbol, source) = (catalog.symbol(b"X:A").unwrap(), catalog.source(b"feed", SeqRule::Increasing).unwrap());
    let mut tape = TapeWriter::new(File::create(folder.0.join("a.tape")).unwrap(), TapeOptions::default()).unwrap();
    for seq in 0..2_000 {
        let mut event = EventBuf::new(&Trade { price: 7, size: seq, ..Trade::default() });
        event.flag(Flags::LAST);
        let head = event.head_mut();
        head.ts_recv = UnixNanos(if matches!(seq, 0 | 30) { u64::MAX - 1 } else { T0 + seq });
        (head.seq, head.symbol, head.source) = (seq, symbol, source);
        tape.write(&catalog, event.slots()).unwrap();
        if seq % 20 == 19 {
            tape.end_group().unwrap();
        }
    }
    tape.finish().unwrap();
    let archive = Archive::open(std::slice::from_ref(&folder.0), &mut Catalog::new(64));
    assert_eq!(archive.faults().len(), 0);
    for (from, to, count) in [(0, 2_000, 1_998), (1, 2, 1), (1_500, 1_600, 100), (1_999, 5_000, 1)] {
        let (events, fault, _) = read(&archive, order(&[Kind::TRADE], T0 + from, T0 + to), "X:A");
        assert_eq!((events.len(), fault.is_none()), (count, true), "{from} to {to}");
    }
}

/// The shard's end of a desk, without a shard.
struct Client {
    port: HistoryPort,
    ring: tapeline_core::ring::Consumer,
}

impl Client {
    /// Everything up to the end of a reply: events, and the code.
    fn drain(&mut self, out: &mut Vec<Vec<Slot>>) -> Option<u64> {
        let mut slots = [Slot::ZERO; 64];
        loop {
            let span = self.ring.pop(&mut slots);
            if span == 0 {
                return None;
            }
            if slots[0].kind() == Kind::TICK {
                return Some(slots[0].payload_as::<Tick>().reserved[0]);
            }
            out.push(slots[..span].to_vec());
        }
    }
}

fn backfill(paths: &[PathBuf], shards: usize) -> (Backfill, Vec<Client>) {
    let archive = Archive::open(paths, &mut Catalog::new(64));
    let mut backfill = Backfill::new(archive);
    let clients = (0..shards).map(|_| {
        let (port, ring) = backfill.add_shard(4, 256);
        Client { port, ring }
    });
    let clients = clients.collect();
    (backfill, clients)
}

fn settle(backfill: &mut Backfill, report: &mut ReaderReport) {
    let mut polls = 0;
    while backfill.poll(report) {
        polls += 1;
        assert!(polls < 100_000, "it does not come to rest");
    }
}

#[test]
fn a_shard_that_takes_nothing_keeps_no_other_from_its_history_and_what_is_stopped_ends_at_once() {
    let folder = Folder::new("desks");
    let path = folder.0.join("a.tape");
    let all = write_tape(&path, &mut Prng::new(4), T0, 9_000);
    let wanted = |symbol: &str| {
        all.iter()
            .filter(|(slots, text, _)| {
                text == symbol && slots[0].kind() == Kind::TRADE && !slots[0].flags.contains(Flags::DERIVED)
            })
            .count()
    };
    let (mut backfill, mut clients) = backfill(&[path], 2);
    let mut report = ReaderReport::default();
    let symbol = all[0].1.clone();
    let whole = order(&[Kind::TRADE], T0, T0 + 1_000_000_000_000);
    for client in &clients {
        client.port.order(whole, symbol.as_bytes());
    }
    clients[1].port.order(HistoryOrder { number: 2, ..whole }, b"nobody knows it");
    settle(&mut backfill, &mut report);
    assert!(report.full > 0 && report.done == 0, "both rings are full: {report:?}");
    let (mut events, mut codes) = (Vec::new(), Vec::new());
    for _ in 0..10_000 {
        codes.extend(clients[1].drain(&mut events));
        settle(&mut backfill, &mut report);
        if codes.len() == 2 {
            break;
        }
    }
    assert_eq!((codes.as_slice(), report.done), (&[0, 0][..], 2), "the first shard has taken nothing");
    let done: Vec<_> = events.iter().filter(|slots| slots[0].kind() == Kind::BACKFILL_DONE).collect();
    assert_eq!((events.len() - 2, done.len()), (wanted(&symbol), 2));
    let tail = |slots: &[Slot]| *BackfillRest::of(EventRef::first(slots).unwrap()).unwrap();
    assert_eq!((tail(done[0]).events, tail(done[1]).events), (wanted(&symbol) as u64, 0));
    assert_eq!(done[0][0].payload_as::<BackfillDone>().layer, Kind::TRADE.0);
    // The first shard's is stopped: no more of it is read.
    clients[0].port.stop(1);
    let (mut events, mut code) = (Vec::new(), None);
    while code.is_none() {
        code = clients[0].drain(&mut events);
        settle(&mut backfill, &mut report);
    }
    assert_eq!((code, report.stopped), (Some(0), 1));
    assert!(events.len() < 600 && events.len() < wanted(&symbol), "{}", events.len());
}

#[test]
fn orders_to_a_thread_that_died_are_dropped_and_its_ring_says_so() {
    let folder = Folder::new("died");
    let path = folder.0.join("a.tape");
    let _ = write_tape(&path, &mut Prng::new(4), T0, 10);
    let (backfill, clients) = backfill(&[path], 1);
    drop(backfill);
    let some = order(&[Kind::TRADE], T0, T0 + 1);
    // More than may be in flight: the shard gives up one after the other, since the ring is abandoned.
    for number in 1..=9 {
        assert!(clients[0].ring.is_abandoned());
        clients[0].port.order(HistoryOrder { number, ..some }, b"X:A");
        clients[0].port.stop(number);
    }
}

#[test]
fn what_cannot_be_read_fails_with_a_code_and_a_reason() {
    let folder = Folder::new("faults");
    let good = folder.0.join("good.tape");
    let all = write_tape(&good, &mut Prng::new(5), T0, 4_000);
    let symbol = all[0].1.clone();
    let run = |paths: &[PathBuf]| {
        let (mut backfill, mut clients) = backfill(paths, 1);
        let mut report = ReaderReport::default();
        clients[0].port.order(order(&[Kind::TRADE], T0, T0 + 1_000_000_000_000), symbol.as_bytes());
        let (mut events, mut code) = (Vec::new(), None);
        while code.is_none() {
            settle(&mut backfill, &mut report);
            code = clients[0].drain(&mut events);
        }
        (events, code.unwrap(), report)
    };
    let (events, code, report) = run(std::slice::from_ref(&good));
    assert_eq!((code, report.failed, report.reasons.len(), report.exit), (0, 0, 0, None));
    let whole = events.len();

    // Other spellings and names of one file are one tape.
    let link = folder.0.join("link.tape");
    fs::hard_link(&good, &link).unwrap();
    let spelled = folder.0.join("..").join(folder.0.file_name().unwrap()).join("good.tape");
    let (events, code, _) = run(&[spelled, link.clone(), good.clone()]);
    assert_eq!((events.len(), code), (whole, 0), "each event once");
    fs::remove_file(link).unwrap();

    let (events, code, report) = run(&[good.clone(), folder.0.join("none.tape")]);
    assert_eq!(report.exit, Some(2));
    assert_eq!((events.len(), code, report.failed), (1, 1 + u64::from(FAILED_MISSING), 1), "the end mark alone");
    assert!(report.reasons[0].contains("none.tape: No such file"), "{:?}", report.reasons);

    let parquet = folder.0.join("bars.parquet");
    fs::write(&parquet, b"PAR1 and so on").unwrap();
    let (_, code, report) = run(std::slice::from_ref(&folder.0));
    assert_eq!((code, report.exit), (1 + u64::from(FAILED_DAMAGED), Some(3)));
    assert!(report.reasons[0].contains("bars.parquet: offset 14: the file is cut short"), "{:?}", report.reasons);

    let text = folder.0.join("text");
    fs::write(&text, b"this is no tape at all").unwrap();
    assert_eq!(run(&[text]).1, 1 + u64::from(FAILED_FORMAT));

    // Damaged after its index was made: the events before the damage come.
    let mut bytes = fs::read(&good).unwrap();
    let at = bytes.len() / 2;
    bytes[at] ^= 1;
    fs::write(&good, &bytes).unwrap();
    let (events, code, report) = run(std::slice::from_ref(&good));
    assert_eq!((code, report.exit), (1 + u64::from(FAILED_DAMAGED), Some(3)));
    assert!(events.len() > whole / 4 && events.len() < whole, "{} of {whole}", events.len());
    let offset: usize = report.reasons[0].split("offset ").nth(1).unwrap().split(':').next().unwrap().parse().unwrap();
    assert!(offset <= at && at - offset < 300_000, "{:?}, damaged at {at}", report.reasons);
    let last = events.last().unwrap();
    assert_eq!(last[0].payload_as::<BackfillDone>().status, 1, "a part has come");
    // Without its index the damage is known from the start, and nothing of it is given out.
    fs::remove_file(crate::tape::index::TapeIndex::path_of(&good)).unwrap();
    let (events, code, _) = run(&[good]);
    assert_eq!((events.len(), code), (1, 1 + u64::from(FAILED_DAMAGED)));
}
