//! A part of a tape is what a walk over all of it would keep.

use crate::support::{Prng, catalog, random_events, read_all, tape};
use std::collections::BTreeSet;
use std::path::PathBuf;
use tapeline_core::event::{Flags, Kind, KindSet, Slot, events};
use tapeline_core::limits::TIME_NS_MAX;
use tapeline_core::units::UnixNanos;
use tapeline_runtime::input::MESSAGE_SLOTS_MAX;
use tapeline_runtime::tape::cut::{CutError, Found, Part, cut};
use tapeline_runtime::tape::index::TapeIndex;
use tapeline_runtime::tape::{Codec, TapeOptions, TapeWriter};

struct File(PathBuf);

impl File {
    fn new(name: &str, bytes: &[u8]) -> Self {
        let path = std::env::temp_dir().join(format!("tapeline-cut-{}-{name}.tape", std::process::id()));
        std::fs::write(&path, bytes).unwrap();
        Self(path)
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
        let _ = std::fs::remove_file(format!("{}.idx", self.0.display()));
    }
}

fn is_definition(kind: Kind) -> bool {
    matches!(kind, Kind::SYMBOL_DEF | Kind::SOURCE_DEF)
}

/// Walks over everything; where the end of a message is left out, the event before it becomes that.
fn naive(slots: &[Slot], part: &Part, catalog: &tapeline_core::catalog::Catalog) -> Vec<Slot> {
    let (mut now, mut kept, mut last): (u64, Vec<Slot>, Option<usize>) = (0, Vec::new(), None);
    for event in events(slots).filter(|event| !is_definition(event.kind())) {
        let head = event.head();
        if head.ts_recv.0 <= TIME_NS_MAX {
            now = now.max(head.ts_recv.0);
        }
        let text = String::from_utf8(catalog.symbol_text(head.symbol).to_vec()).unwrap();
        let is_kept = part.start.is_none_or(|start| now >= start.0)
            && part.end.is_none_or(|end| now < end.0)
            && part.symbols.as_ref().is_none_or(|symbols| head.symbol.0 == 0 || symbols.contains(&text))
            && part.kinds.is_none_or(|kinds| head.kind().is_control() || kinds.contains(head.kind()));
        if part.end.is_some_and(|end| now >= end.0) {
            // A message that the end cuts ends with what is kept of it.
            if let Some(last) = last {
                kept[last].flags = kept[last].flags.with(Flags::LAST);
            }
            break;
        }
        if is_kept {
            last = Some(kept.len());
            kept.extend_from_slice(event.slots());
        }
        let is_end = head.flags.contains(Flags::LAST);
        if is_end
            && !is_kept
            && let Some(last) = last
        {
            kept[last].flags = kept[last].flags.with(Flags::LAST);
        }
        if is_end || head.kind().is_control() {
            last = None;
        }
    }
    kept
}

/// What a cut gives, what it found, and how it ended.
fn tried(file: &File, part: &Part) -> (Vec<Slot>, Found, Result<(), CutError>) {
    let mut bytes = Vec::new();
    let mut out = TapeWriter::new(&mut bytes, TapeOptions::default()).unwrap();
    let mut found = Found::default();
    let done = cut(&file.0, part, 1 << 12, &mut found, &mut out);
    assert_eq!(out.finish().unwrap().events, found.kept);
    let (slots, _, end) = read_all(&bytes);
    end.unwrap();
    (without_definitions(&slots), found, done)
}

fn without_definitions(slots: &[Slot]) -> Vec<Slot> {
    events(slots).filter(|event| !is_definition(event.kind())).flat_map(|event| event.slots().to_vec()).collect()
}

fn ours(file: &File, part: &Part) -> (Vec<Slot>, u64) {
    let (kept, found, done) = tried(file, part);
    done.unwrap();
    (kept, found.blocks)
}

fn random_part(prng: &mut Prng, times: &[u64]) -> Part {
    let time = |prng: &mut Prng| Some(UnixNanos(times[prng.below(times.len() as u64) as usize]));
    Part {
        start: if prng.one_in(3) { None } else { time(prng) },
        end: if prng.one_in(3) { None } else { time(prng) },
        symbols: prng.one_in(2).then(|| {
            let names = (0..1 + prng.below(3)).map(|_| 1 + prng.below(200));
            names.map(|number| format!("VENUE{}:SYMBOL-{number}", number % 3)).collect::<BTreeSet<_>>()
        }),
        kinds: prng.one_in(3).then(|| KindSet::of(&[Kind::TRADE])),
    }
}

#[test]
fn a_part_is_what_a_walk_over_everything_keeps() {
    let catalog = catalog(200, 3);
    let bytes = tape(&catalog, &random_events(5, 20_000, &catalog), Codec::Zstd, 20);
    let (slots, blocks, _) = read_all(&bytes);
    let file = File::new("walk", &bytes);
    let times: Vec<u64> = events(&slots).map(|event| event.head().ts_recv.0).filter(|time| *time > 0).collect();
    let mut prng = Prng(9);
    let (mut few, mut kept_all, mut cut_messages) = (0, 0, 0);
    for round in 0..60 {
        let part = random_part(&mut prng, &times);
        let expected = naive(&slots, &part, &catalog);
        // Now and then there is no index: a scan keeps the same, finds as many symbols, and makes the index.
        let has_index = round % 5 > 0;
        if !has_index {
            let _ = std::fs::remove_file(TapeIndex::path_of(&file.0));
        }
        let (kept, found, done) = tried(&file, &part);
        done.unwrap();
        assert!(TapeIndex::cached(&file.0).unwrap().is_some());
        assert_eq!(kept.len(), expected.len(), "{part:?}");
        assert!(kept == expected, "{part:?}");
        assert_eq!(found.symbols, part.symbols.as_ref().map_or(0, |symbols| symbols.len() as u64), "{part:?}");
        few += u64::from(has_index && found.blocks * 3 < blocks.len() as u64);
        kept_all += kept.len();
        let whole = |slots: &[Slot]| events(slots).last().is_some_and(|last| last.head().flags.contains(Flags::LAST));
        cut_messages += u64::from(part.end.is_some() && whole(&kept));
    }
    assert!(few > 8 && kept_all > 50_000, "{few} parts were read without the most of the tape; {kept_all} slots");
    assert!(cut_messages > 10, "{cut_messages}");
}

#[test]
fn all_of_a_tape_is_that_tape() {
    let catalog = catalog(20, 3);
    let bytes = tape(&catalog, &random_events(6, 3_000, &catalog), Codec::None, 50);
    let (slots, _, _) = read_all(&bytes);
    let file = File::new("all", &bytes);
    let (kept, _) = ours(&file, &Part::default());
    assert!(kept == without_definitions(&slots));
}

/// Damaged or torn anywhere, with an index of what it was and without one: what stands before the fault is kept, all of it, and the fault is told.
#[test]
fn what_stands_before_damage_is_kept() {
    let catalog = catalog(20, 3);
    let good = tape(&catalog, &random_events(7, 1_500, &catalog), Codec::None, 50);
    let (_, blocks, _) = read_all(&good);
    let file = File::new("damage", &good);
    ours(&file, &Part::default());
    let index = std::fs::read(TapeIndex::path_of(&file.0)).unwrap();
    let mut prng = Prng(3);
    for round in 0..120 {
        let mut bad = good.clone();
        let at = 4_096 + prng.below((good.len() - 4_096) as u64) as usize;
        if prng.one_in(2) {
            bad.truncate(at);
        } else {
            bad[at] ^= 1 << prng.below(8);
        }
        std::fs::write(&file.0, &bad).unwrap();
        let has_index = prng.one_in(2);
        if has_index {
            std::fs::write(TapeIndex::path_of(&file.0), &index).unwrap();
        } else {
            let _ = std::fs::remove_file(TapeIndex::path_of(&file.0));
        }
        let (before, _, end) = read_all(&bad);
        let told = end.unwrap_err();
        let (kept, found, done) = tried(&file, &Part::default());
        let what = format!("round {round}, byte {at}, index {has_index}");
        let Err(CutError::Tape(error)) = done else { panic!("{what}: {done:?}") };
        assert_eq!(error.to_string(), told.to_string(), "{what}");
        assert!(kept == without_definitions(&before), "{what}");
        assert_eq!(found.kept, events(&kept).count() as u64, "{what}");
    }
    // Of a range that ends before the damage nothing is missing.
    let (offset, _) = blocks[blocks.len() / 2];
    let mut bad = good.clone();
    bad[offset as usize + 100] ^= 1;
    std::fs::write(&file.0, &bad).unwrap();
    let (before, _, _) = read_all(&bad);
    let end = events(&before).map(|event| event.head().ts_recv).max();
    let _ = std::fs::remove_file(TapeIndex::path_of(&file.0));
    let part = Part { end, ..Part::default() };
    let (kept, _, done) = tried(&file, &part);
    done.unwrap();
    assert!(kept == naive(&read_all(&good).0, &part, &catalog) && !kept.is_empty());
    assert!(!TapeIndex::path_of(&file.0).exists(), "half an index is none");
}

/// A tape that has taken the place of another one of its length, made of the same events at other times: its index is not that of the old one.
#[test]
fn an_index_of_what_was_there_before_misleads_nobody() {
    let catalog = catalog(20, 3);
    let old = random_events(8, 3_000, &catalog);
    let mut new = old.clone();
    for event in &mut new {
        event[0].ts_recv.0 -= 1_000_000_000;
    }
    let (old, new) = (tape(&catalog, &old, Codec::None, 50), tape(&catalog, &new, Codec::None, 50));
    assert_eq!(old.len(), new.len());
    let file = File::new("stale", &old);
    ours(&file, &Part::default());
    std::fs::write(&file.0, &new).unwrap();
    let (slots, ..) = read_all(&new);
    let times: Vec<u64> = events(&slots).map(|event| event.head().ts_recv.0).filter(|time| *time > 0).collect();
    let part = Part { start: Some(UnixNanos(times[times.len() / 3])), ..Part::default() };
    let (kept, _) = ours(&file, &part);
    assert!(kept == naive(&slots, &part, &catalog));
}

/// One event with a time from beyond all times is kept in its place and moves nothing.
#[test]
fn one_wild_time_does_not_move_the_range() {
    let catalog = catalog(20, 3);
    let mut all = random_events(9, 3_000, &catalog);
    all[1_000][0].ts_recv = UnixNanos(u64::MAX - 1);
    let bytes = tape(&catalog, &all, Codec::None, 50);
    let (slots, ..) = read_all(&bytes);
    let file = File::new("wild", &bytes);
    let part = Part { start: Some(all[2_500][0].ts_recv), ..Part::default() };
    let expected = naive(&slots, &part, &catalog);
    assert!(!expected.is_empty() && expected.len() < slots.len() / 3);
    for _ in 0..2 {
        assert!(ours(&file, &part).0 == expected, "by a scan, and by the index that it made");
    }
}

#[test]
fn a_message_without_an_end_in_sight_is_refused() {
    let catalog = catalog(20, 3);
    let mut all = random_events(10, 3_000, &catalog);
    let kept: Vec<Slot> = all.concat();
    // From here on nothing ends a message.
    for event in &mut all {
        event.iter_mut().take(1).for_each(|head| head.flags = head.flags.without(Flags::LAST));
    }
    all.retain(|event| !event[0].kind().is_control());
    let long: Vec<Vec<Slot>> = (0..4).flat_map(|_| all.clone()).collect();
    assert!(long.iter().map(Vec::len).sum::<usize>() > MESSAGE_SLOTS_MAX);
    let first = events(&kept).take(500).map(|event| event.slots().to_vec()).collect::<Vec<_>>();
    let mut whole = first.clone();
    whole.last_mut().unwrap()[0].flags = Flags::LAST;
    let before = whole.clone();
    whole.extend(long);
    let bytes = tape(&catalog, &whole, Codec::None, 50);
    let (_, blocks, _) = read_all(&bytes);
    let file = File::new("long", &bytes);
    let (kept, _, done) = tried(&file, &Part::default());
    let Err(error @ CutError::Message { offset }) = done else { panic!("{done:?}") };
    assert_eq!(offset, blocks[10].0, "{error}");
    assert!(kept == before.concat());
}
