//! The books of the real captures against their own best-bid-and-offer streams: two views of the same market by the venue.

use std::collections::BTreeMap;
use std::path::PathBuf;
use tapeline_core::book::{Books, Unusable};
use tapeline_core::catalog::Catalog;
use tapeline_core::event::payload::Quote;
use tapeline_core::event::{Flags, Kind, Slot, events};
use tapeline_core::units::SymbolId;
use tapeline_runtime::input::detect::{OpenOptions, open};
use tapeline_runtime::input::{MESSAGE_SLOTS_MAX, SlotBuf, Status};

/// Name and depth messages after the snapshot: 40,281 in all.
const CAPTURES: [(&str, u64); 4] = [
    ("spot_ethusdt_20240808.gz", 3_434),
    ("spot_btcusdt_20240808.gz", 3_451),
    ("usdm_ethusdt_20240808.gz", 6_586),
    ("cm_btcusd_perp_20240808.gz", 26_847),
];

fn captures() -> Option<PathBuf> {
    let folder = std::env::var_os("TAPELINE_TEST_DATA").map(PathBuf::from)?.join("binance");
    let there = folder.is_dir();
    if !there {
        eprintln!("skipped: no capture data");
    }
    there.then_some(folder)
}

fn slots_of(path: &std::path::Path) -> Vec<Slot> {
    let (mut catalog, mut out) = (Catalog::new(1 << 10), SlotBuf::with_capacity(2 * MESSAGE_SLOTS_MAX));
    let mut input = open(path.to_str().unwrap(), &OpenOptions::default()).unwrap();
    let mut slots = Vec::new();
    loop {
        let status = input.read(&mut catalog, &mut out).unwrap();
        slots.extend_from_slice(out.slots());
        out.clear();
        if status != Status::More {
            return slots;
        }
    }
}

/// Size of `mantissa * 10^-scale` in units of 1e-19, so that sizes of different scales compare.
fn size(mantissa: u64, scale: u8) -> u128 {
    u128::from(mantissa) * 10_u128.pow(19 - u32::from(scale))
}

#[test]
fn the_best_bid_and_offer_are_those_of_the_quote_stream_at_every_depth_message() {
    let Some(folder) = captures() else { return };
    let mut compared_in_all = 0;
    for (name, depth_messages) in CAPTURES {
        let slots = slots_of(&folder.join(name));
        // Every quote by its update number, those too that come later in the file than the depth message of that number.
        let mut quotes = BTreeMap::new();
        for event in events(&slots).filter(|event| event.kind() == Kind::QUOTE) {
            let (quote, (bid_sz, ask_sz), scale) =
                (*event.get::<Quote>().unwrap(), Quote::sizes(event), event.head().scale);
            quotes.insert(event.head().seq, (quote.bid_px, size(bid_sz, scale), quote.ask_px, size(ask_sz, scale)));
        }
        let mut books = Books::new(8, 1 << 10, 0, 0);
        let (mut depth, mut compared, mut early, mut before_quotes) = (0, 0, 0, 0);
        for event in events(&slots) {
            let _ = books.apply(event);
            let head = event.head();
            let ends = head.kind() == Kind::BOOK_LEVEL && head.flags.contains(Flags::LAST);
            if !ends || head.flags.contains(Flags::SNAPSHOT) {
                continue;
            }
            depth += 1;
            let top = match books.top(head.symbol) {
                Ok(top) => top,
                Err(Unusable::Unsynced) => {
                    early += 1;
                    continue;
                }
                Err(other) => panic!("{name}: {other} at {}", head.seq),
            };
            let Some((_, quote)) = quotes.range(..=head.seq).next_back() else {
                before_quotes += 1;
                continue;
            };
            let (bid, ask) = (top.bid.unwrap(), top.ask.unwrap());
            let ours = (bid.price, size(bid.size, bid.scale), ask.price, size(ask.size, ask.scale));
            assert_eq!(ours, *quote, "{name}, depth message {} of update {}", depth, head.seq);
            compared += 1;
        }
        books.assert_invariants();
        println!(
            "{name}: {compared} compared, {early} before the snapshot, {before_quotes} before any quote, {:?}",
            books.counts()
        );
        assert_eq!((depth, before_quotes), (depth_messages, 0), "{name}");
        assert_eq!(compared + early, depth_messages, "{name}");
        assert_eq!(books.counts().snapshots, 1, "{name}");
        assert_eq!(books.top(SymbolId(7)), Err(Unusable::None));
        compared_in_all += compared;
    }
    assert_eq!(compared_in_all, 40_281);
}
