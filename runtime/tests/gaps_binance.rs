//! Holes in the numbers of Binance's books: where a gap is told, where none is, and what the book makes of it.

#[allow(dead_code)]
mod binance_twin;

use binance_twin::{Event, decode, decode_in, expect};
use std::io::Cursor;
use tapeline_core::book::{Books, Unusable};
use tapeline_core::catalog::Catalog;
use tapeline_core::event::events;
use tapeline_core::units::SymbolId;
use tapeline_runtime::input::binance::BinanceInput;
use tapeline_runtime::input::bytes::ByteSource;
use tapeline_runtime::input::{Input, MESSAGE_SLOTS_MAX, SlotBuf, Status};

fn spot(first: u64, last: u64) -> String {
    format!(
        "7 {{\"e\":\"depthUpdate\",\"s\":\"A\",\"U\":{first},\"u\":{last},\"b\":[[\"1\",\"2\"]],\"a\":[[\"3\",\"4\"]]}}\n"
    )
}

fn futures(previous: u64, last: u64) -> String {
    // `U` is far from `pu` on futures, and says nothing.
    format!(
        "7 {{\"e\":\"depthUpdate\",\"s\":\"A\",\"U\":{last},\"u\":{last},\"pu\":{previous},\"b\":[[\"1\",\"2\"]],\"a\":[]}}\n"
    )
}

fn snapshot(last: u64) -> String {
    format!("8 {{\"lastUpdateId\":{last},\"bids\":[[\"1\",\"2\"]],\"asks\":[[\"3\",\"4\"]]}}\n")
}

/// `expected`, `received`, `missing` of every gap, on which the twin agrees, whatever the buffer's size.
fn gaps(lines: &[String]) -> Vec<[u64; 3]> {
    let text = lines.concat();
    let (decoded, expected) = (decode(text.as_bytes()), expect(text.as_bytes()));
    assert_eq!(decoded.events, expected.events, "{text}");
    assert_eq!(decoded.tally.bad_lines, 0, "{text}");
    for slots in 3..12 {
        let small = decode_in(text.as_bytes(), slots);
        assert_eq!((small.events, small.tally), (decoded.events.clone(), decoded.tally.clone()), "{slots}: {text}");
    }
    let gaps = decoded.events.iter().filter(|event| event.kind == "gap");
    gaps.map(|event| [event.sizes[0], event.sizes[1], event.sizes[2]]).collect()
}

#[test]
fn a_hole_in_the_numbers_of_spot_is_a_gap_of_so_many() {
    assert_eq!(gaps(&[spot(5, 9), spot(10, 12), spot(15, 15), spot(16, 20)]), [[13, 15, 2]]);
}

#[test]
fn a_hole_in_the_chain_of_futures_is_a_gap_of_unknown_length() {
    assert_eq!(gaps(&[futures(5, 9), futures(9, 40), futures(41, 60), futures(60, 61)]), [[41, 42, 0]]);
}

#[test]
fn no_gap_is_made_up() {
    let none: [[u64; 3]; 0] = [];
    // At the start, twice the same, older, overlapping.
    assert_eq!(gaps(&[spot(500, 510), spot(500, 510), spot(400, 410), spot(505, 512), spot(513, 513)]), none);
    assert_eq!(gaps(&[futures(9, 12), futures(9, 12), futures(3, 9), futures(12, 13)]), none);
    // Impossible numbers say nothing.
    assert_eq!(gaps(&[spot(1, 2), spot(9, 8), spot(3, 4), spot(9, u64::MAX), spot(5, 5)]), none);
}

#[test]
fn a_snapshot_settles_what_it_covers_and_no_more() {
    let none: [[u64; 3]; 0] = [];
    assert_eq!(gaps(&[spot(1, 4), snapshot(9), spot(7, 12), spot(13, 13)]), none);
    assert_eq!(gaps(&[spot(1, 4), snapshot(9), spot(11, 12)]), [[10, 11, 1]]);
    // An older one takes nothing back.
    assert_eq!(gaps(&[spot(1, 4), snapshot(2), spot(6, 6)]), [[5, 6, 1]]);
}

#[test]
fn a_gap_comes_before_the_levels_and_stands_for_none_of_them() {
    let all: Vec<Event> = decode([spot(1, 1), spot(3, 3)].concat().as_bytes()).events;
    let kinds: Vec<_> = all.iter().map(|event| (event.kind, event.seq, event.part)).collect();
    let level = "book_level";
    assert_eq!(kinds, [(level, 1, 0), (level, 1, 1), ("gap", 2, 65_535), (level, 3, 0), (level, 3, 1)]);
    assert_eq!((&all[2].flags[..], &all[2].source[..]), (&["unsequenced"][..], "binance.spot.depth"));
    assert_eq!((all[2].ts_recv, &all[2].symbol[..]), (7, "BINANCE_SPOT:A"));
    // A message without levels still tells its gap, as a whole message.
    let empty = spot(3, 3).replace("[[\"1\",\"2\"]]", "[]").replace("[[\"3\",\"4\"]]", "[]");
    let last = decode([spot(1, 1), empty].concat().as_bytes()).events.pop().unwrap();
    assert_eq!((last.kind, &last.flags[..]), ("gap", &["last", "unsequenced"][..]));
}

#[test]
fn a_book_is_unusable_from_the_gap_to_a_snapshot_that_covers_it() {
    let lines = [spot(1, 1), snapshot(1), spot(2, 2), spot(5, 6), snapshot(3), spot(7, 7), snapshot(7), spot(8, 8)];
    let usable = [false, true, true, false, false, false, true, true];
    for (count, usable) in (1..).zip(usable) {
        let text = lines[..count].concat().into_bytes();
        let source = ByteSource::new(Box::new(Cursor::new(text)), "sample", None).unwrap();
        let (mut catalog, mut out) = (Catalog::new(8), SlotBuf::with_capacity(MESSAGE_SLOTS_MAX));
        assert_eq!(BinanceInput::new(source, 1_000).read(&mut catalog, &mut out).unwrap(), Status::End);
        let mut books = Books::new(8, 64, 0, 0);
        for event in events(out.slots()) {
            let _ = books.apply(event);
        }
        let top = books.top(SymbolId(1));
        assert_eq!(top.is_ok(), usable, "after {count} lines: {top:?}");
        assert!(usable || count == 1 || top == Err(Unusable::Gapped), "after {count} lines: {top:?}");
    }
}
