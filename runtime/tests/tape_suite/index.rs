//! The index finds what a walk finds, and is never trusted.

use crate::support::{catalog, random_events, read_all, tape};
use std::fs;
use std::io::Cursor;
use tapeline_core::catalog::Catalog;
use tapeline_core::event::{Slot, events};
use tapeline_core::units::{SymbolId, UnixNanos};
use tapeline_runtime::tape::index::TapeIndex;
use tapeline_runtime::tape::{Codec, TapeReader};

/// Slots from the first event on at which the running maximum of `ts_recv` has reached `ts`.
fn from_time(slots: &[Slot], ts: u64) -> Vec<Slot> {
    let (mut now, mut found) = (0, Vec::new());
    for event in events(slots) {
        now = now.max(event.head().ts_recv.0);
        if now >= ts {
            found.extend_from_slice(event.slots());
        }
    }
    found
}

fn rest_of(mut reader: TapeReader<Cursor<&[u8]>>) -> Vec<Slot> {
    let mut slots = Vec::new();
    while let Some(block) = reader.next_block().unwrap() {
        slots.extend_from_slice(block.slots);
    }
    slots
}

#[test]
fn seeking_misses_nothing_and_skips_most() {
    let catalog = catalog(80, 3);
    for codec in [Codec::None, Codec::Zstd] {
        let bytes = tape(&catalog, &random_events(21, 20_000, &catalog), codec, 50);
        let (slots, blocks, end) = read_all(&bytes);
        end.unwrap();
        let index = TapeIndex::build(bytes.as_slice()).unwrap();
        assert_eq!(index.entries().len(), blocks.len().div_ceil(16));
        let last = blocks.last().unwrap().1.ts_recv_max;
        let first = 1_700_000_000_000_000_000;
        let times = (0..=25).map(|step| first + (last - first) / 25 * step);
        // At the border of an entry what is before it may have the same time.
        let borders = index.entries().iter().step_by(5).map(|entry| entry.ts_before).filter(|&ts| ts > 0);
        for ts in times.chain(borders) {
            let rest = rest_of(index.seek(Cursor::new(&bytes[..]), UnixNanos(ts)).unwrap());
            let expected = from_time(&slots, ts);
            assert!(rest.ends_with(&expected), "ts {ts}");
            assert!(slots.ends_with(&rest), "ts {ts}");
            // An entry every 16 blocks of 50 events: what is read too much is less than that.
            assert!(events(&rest).count() <= events(&expected).count() + 17 * 60 + 83, "ts {ts}");
        }
        assert!(rest_of(index.seek(Cursor::new(&bytes[..]), UnixNanos(0)).unwrap()) == slots);
        let late = rest_of(index.seek(Cursor::new(&bytes[..]), UnixNanos(u64::MAX)).unwrap());
        assert!(!late.is_empty() && late.len() < slots.len() / 10);
    }
}

#[test]
fn symbols_of_an_entry_have_no_false_negatives_and_definitions_can_be_read_alone() {
    let catalog = catalog(80, 3);
    let bytes = tape(&catalog, &random_events(22, 5_000, &catalog), Codec::None, 50);
    let index = TapeIndex::build(bytes.as_slice()).unwrap();
    let (slots, blocks, _) = read_all(&bytes);
    let mut rest = &slots[..];
    for (number, (offset, header)) in blocks.iter().enumerate() {
        let entry = &index.entries()[number / 16];
        assert!(number % 16 != 0 || entry.offset == *offset);
        let (block, after) = rest.split_at(header.slots as usize);
        assert!(events(block).all(|event| entry.may_have(event.head().symbol)));
        rest = after;
    }
    let mut known = Catalog::new(1 << 12);
    index.definitions_before(Cursor::new(&bytes[..]), u64::MAX, |event| known.apply(event).unwrap()).unwrap();
    assert_eq!((known.symbols(), known.sources()), (catalog.symbols(), catalog.sources()));
    assert_eq!(known.symbol_text(SymbolId(80)), catalog.symbol_text(SymbolId(80)));
}

#[test]
fn an_empty_tape_has_an_empty_index() {
    let bytes = tape(&catalog(1, 1), &[], Codec::None, 1);
    let index = TapeIndex::build(bytes.as_slice()).unwrap();
    assert_eq!(index.first_block_at_or_before(UnixNanos(5)), None);
    assert!(rest_of(index.seek(Cursor::new(&bytes[..]), UnixNanos(5)).unwrap()).is_empty());
}

#[test]
fn a_cache_that_is_damaged_or_of_another_tape_is_built_anew() {
    let folder = std::env::temp_dir().join(format!("tapeline-index-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let path = folder.join("some.tape");
    let catalog = catalog(10, 2);
    let bytes = tape(&catalog, &random_events(23, 4_000, &catalog), Codec::None, 50);
    fs::write(&path, &bytes).unwrap();
    let built = TapeIndex::open(&path).unwrap();
    let cache = TapeIndex::path_of(&path);
    let cached = fs::read(&cache).unwrap();
    assert_eq!(TapeIndex::open(&path).unwrap(), built, "from the cache");

    for bit in (0..64 * 8).step_by(5).chain((64 * 8..cached.len() * 8).step_by(97)) {
        let mut damaged = cached.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        fs::write(&cache, &damaged).unwrap();
        assert_eq!(TapeIndex::open(&path).unwrap(), built, "bit {bit}");
    }
    for cut in (0..cached.len()).step_by(7) {
        fs::write(&cache, &cached[..cut]).unwrap();
        assert_eq!(TapeIndex::open(&path).unwrap(), built, "cut {cut}");
    }
    assert_eq!(fs::read(&cache).unwrap(), cached, "it is cached anew");

    // Another tape of the same length and header: only the blocks can tell, and the seal that stands for them.
    let mut shifted = random_events(23, 4_000, &catalog);
    shifted.iter_mut().for_each(|event| event[0].ts_recv.0 += 86_400_000_000_000);
    let other = tape(&catalog, &shifted, Codec::None, 50);
    assert!(other.len() == bytes.len() && other[..4_096] == bytes[..4_096]);
    let lost = built.seek(Cursor::new(&other[..]), UnixNanos(u64::MAX)).unwrap();
    assert!(rest_of(lost) == read_all(&other).0, "an entry that does not count leads to the first block");
    fs::write(&path, &other).unwrap();
    assert_eq!(TapeIndex::open(&path).unwrap(), TapeIndex::build(other.as_slice()).unwrap());
    fs::remove_dir_all(&folder).unwrap();
}
