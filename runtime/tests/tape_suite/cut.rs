//! A part of a tape is what a walk over all of it would keep.

use crate::support::{Prng, catalog, random_events, read_all, tape};
use std::collections::BTreeSet;
use std::path::PathBuf;
use tapeline_core::event::{Flags, Kind, KindSet, Slot, events};
use tapeline_core::units::UnixNanos;
use tapeline_runtime::tape::cut::{Part, cut};
use tapeline_runtime::tape::{Codec, TapeError, TapeOptions, TapeWriter};

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
        now = now.max(head.ts_recv.0);
        let text = String::from_utf8(catalog.symbol_text(head.symbol).to_vec()).unwrap();
        let is_kept = part.start.is_none_or(|start| now >= start.0)
            && part.end.is_none_or(|end| now < end.0)
            && part.symbols.as_ref().is_none_or(|symbols| head.symbol.0 == 0 || symbols.contains(&text))
            && part.kinds.is_none_or(|kinds| head.kind().is_control() || kinds.contains(head.kind()));
        if part.end.is_some_and(|end| now >= end.0) {
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

fn ours(file: &File, part: &Part) -> (Vec<Slot>, u64) {
    let mut bytes = Vec::new();
    let mut out = TapeWriter::new(&mut bytes, TapeOptions::default()).unwrap();
    let found = cut(&file.0, part, 1 << 12, &mut out).unwrap();
    assert_eq!(out.finish().unwrap().events, found.kept);
    let (slots, _, end) = read_all(&bytes);
    end.unwrap();
    let kept =
        events(&slots).filter(|event| !is_definition(event.kind())).flat_map(|event| event.slots().to_vec()).collect();
    (kept, found.blocks)
}

#[test]
fn a_part_is_what_a_walk_over_everything_keeps() {
    let catalog = catalog(200, 3);
    let bytes = tape(&catalog, &random_events(5, 20_000, &catalog), Codec::Zstd, 20);
    let (slots, blocks, _) = read_all(&bytes);
    let file = File::new("walk", &bytes);
    let times: Vec<u64> = events(&slots).map(|event| event.head().ts_recv.0).filter(|time| *time > 0).collect();
    let mut prng = Prng(9);
    let (mut few, mut kept_all) = (0, 0);
    for _ in 0..60 {
        let time = |prng: &mut Prng| Some(UnixNanos(times[prng.below(times.len() as u64) as usize]));
        let part = Part {
            start: if prng.one_in(3) { None } else { time(&mut prng) },
            end: if prng.one_in(3) { None } else { time(&mut prng) },
            symbols: prng.one_in(2).then(|| {
                let names = (0..1 + prng.below(3)).map(|_| 1 + prng.below(200));
                names.map(|number| format!("VENUE{}:SYMBOL-{number}", number % 3)).collect::<BTreeSet<_>>()
            }),
            kinds: prng.one_in(3).then(|| KindSet::of(&[Kind::TRADE])),
        };
        let expected = naive(&slots, &part, &catalog);
        let (kept, read) = ours(&file, &part);
        assert_eq!(kept.len(), expected.len(), "{part:?}");
        assert!(kept == expected, "{part:?}");
        few += u64::from(read * 3 < blocks.len() as u64);
        kept_all += kept.len();
    }
    assert!(few > 10 && kept_all > 50_000, "{few} parts were read without the most of the tape; {kept_all} slots");
}

#[test]
fn all_of_a_tape_is_that_tape() {
    let catalog = catalog(20, 3);
    let bytes = tape(&catalog, &random_events(6, 3_000, &catalog), Codec::None, 50);
    let (slots, _, _) = read_all(&bytes);
    let file = File::new("all", &bytes);
    let (kept, _) = ours(&file, &Part::default());
    let whole: Vec<Slot> =
        events(&slots).filter(|event| !is_definition(event.kind())).flat_map(|event| event.slots().to_vec()).collect();
    assert!(kept == whole);
}

#[test]
fn a_damaged_tape_is_told_by_its_place_and_what_is_before_it_is_kept() {
    let catalog = catalog(20, 3);
    let mut bytes = tape(&catalog, &random_events(7, 3_000, &catalog), Codec::None, 50);
    let (_, blocks, _) = read_all(&bytes);
    let file = File::new("damage", &bytes);
    // The index is there already: a scan would find the damage, and so does the step to it.
    ours(&file, &Part::default());
    let broken = blocks[blocks.len() / 2].0 as usize;
    bytes[broken + 100] ^= 1;
    std::fs::write(&file.0, &bytes).unwrap();
    let mut kept = Vec::new();
    let mut out = TapeWriter::new(&mut kept, TapeOptions::default()).unwrap();
    let error = cut(&file.0, &Part::default(), 1 << 12, &mut out).unwrap_err();
    let tapeline_runtime::tape::cut::CutError::Tape(error) = error else { panic!("{error}") };
    assert!(!matches!(error, TapeError::Unrecognised(_)) && error.to_string().contains(&broken.to_string()), "{error}");
    assert!(out.finish().unwrap().events > 1_000);
}
