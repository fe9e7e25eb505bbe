//! Books against their definition: the snapshot, and the messages after it in order.

use std::collections::BTreeMap;

use proptest::prelude::*;
use tapeline_core::book::{Applied, Best, Books, Unusable};
use tapeline_core::event::payload::{BookDepth, BookLevel, BookOrder, DepthLevel, Epoch, Gap, LevelAction};
use tapeline_core::event::{EventBuf, EventRef, Flags, Slot};
use tapeline_core::section::RestoreError;
use tapeline_core::testing::{
    CountingAlloc, PrintOnPanic, Prng, every_cut_and_flip_is_refused, sealed_damage, without_allocation,
};
use tapeline_core::units::{Side, SourceId, SymbolId, UnixNanos};

#[global_allocator]
static ALLOC: CountingAlloc = CountingAlloc;

const SYMBOL: SymbolId = SymbolId(1);
const DEPTH: SourceId = SourceId(3);
const SNAPSHOTS: SourceId = SourceId(4);

type Change = (Side, i64, u64);

fn level(seq: u64, side: Side, price: i64, size: u64, action: LevelAction, flags: Flags) -> Slot {
    let level = BookLevel { price, size, side: side as u8, action: action as u8, ..BookLevel::default() };
    let mut event = EventBuf::new(&level);
    let head = event.head_mut();
    (head.symbol, head.seq, head.flags) = (SYMBOL, seq, flags);
    head.source = if flags.contains(Flags::SNAPSHOT) { SNAPSHOTS } else { DEPTH };
    head.ts_recv = UnixNanos(seq);
    *head
}

fn apply(books: &mut Books, slot: &Slot) -> Applied {
    without_allocation(|| books.apply(EventRef::single(slot)))
}

fn send(books: &mut Books, seq: u64, changes: &[Change], snapshot: bool) {
    let last = changes.len() - usize::from(!snapshot);
    let flag = if snapshot { Flags::SNAPSHOT } else { Flags::NONE };
    let end = |part| if part == last { flag.with(Flags::LAST) } else { flag };
    if snapshot {
        let _ = apply(books, &level(seq, Side::None, 0, 0, LevelAction::Clear, end(0)));
    }
    for (part, (side, price, size)) in changes.iter().enumerate() {
        let action = if *size == 0 { LevelAction::Delete } else { LevelAction::Set };
        let part = part + usize::from(snapshot);
        let applied = apply(books, &level(seq, *side, *price, *size, action, end(part)));
        assert!(part == last || applied != Applied::Whole);
    }
}

fn gap(expected: u64, received: u64) -> Slot {
    let mut event = EventBuf::new(&Gap { expected, received, missing: received - expected });
    (event.head_mut().symbol, event.head_mut().source) = (SYMBOL, DEPTH);
    *event.head_mut()
}

/// The book by its definition: everything is kept, and rebuilt when it is asked for.
#[derive(Default)]
struct Twin {
    /// (number, changes) of every message that was not old when it came.
    messages: Vec<(u64, Vec<Change>)>,
    snapshot: Option<(u64, Vec<Change>)>,
    need: u64,
    last: u64,
    gapped: bool,
    ignored: u64,
    taken: u64,
    old: u64,
}

impl Twin {
    fn message(&mut self, seq: u64, changes: &[Change]) {
        let in_snapshot = self.snapshot.as_ref().is_some_and(|(at, _)| seq <= *at);
        if seq < self.last || in_snapshot {
            self.old += changes.len() as u64;
            return;
        }
        self.last = seq;
        self.messages.push((seq, changes.to_vec()));
    }

    fn is_synced(&self) -> bool {
        self.snapshot.is_some() && !self.gapped
    }

    fn take_snapshot(&mut self, seq: u64, changes: &[Change]) {
        if seq < if self.is_synced() { self.last } else { self.need } {
            self.ignored += 1;
            return;
        }
        self.snapshot = Some((seq, changes.to_vec()));
        self.last = self.last.max(seq);
        self.gapped = false;
        self.taken += 1;
    }

    fn book(&self) -> Sizes {
        let mut book = Sizes([[0; PRICES]; 2]);
        let Some((at, changes)) = &self.snapshot else { return book };
        let after = self.messages.iter().filter(|(seq, _)| seq > at).flat_map(|(_, changes)| changes);
        for (side, price, size) in changes.iter().chain(after) {
            book.0[usize::from(*side == Side::Ask)][(*price - PRICE_MIN) as usize] = *size;
        }
        book
    }
}

/// Least price of [`changes`], and how many there are.
const PRICE_MIN: i64 = 41;
const PRICES: usize = 119;

/// Size at each price of bids and asks, 0 where there is none: a book by its definition, and quick enough to be made anew for each of ten
/// million operations.
struct Sizes([[u64; PRICES]; 2]);

impl Sizes {
    /// Levels of a side, from the lowest price.
    fn levels(&self, side: Side) -> impl DoubleEndedIterator<Item = (i64, u64)> {
        let sizes = self.0[usize::from(side == Side::Ask)].iter().enumerate();
        sizes.filter(|(_, size)| **size > 0).map(|(at, size)| (PRICE_MIN + at as i64, *size))
    }
}

fn changes(prng: &mut Prng, most: usize) -> Vec<Change> {
    let count = 1 + prng.index(most);
    let one = |prng: &mut Prng| {
        // Bids around 90, asks around 110, that sometimes meet.
        let side = if prng.one_in(2) { Side::Bid } else { Side::Ask };
        let price = prng.in_range(0..60) as i64 + if side == Side::Bid { 41 } else { 100 };
        (side, price, if prng.one_in(3) { 0 } else { prng.in_range(1..1_000) })
    };
    (0..count).map(|_| one(prng)).collect()
}

#[derive(Default, Debug)]
struct Seen {
    usable: u64,
    crossed: u64,
    taken: u64,
    ignored: u64,
    old: u64,
    gaps: u64,
    restarts: u64,
}

fn compare(books: &Books, twin: &Twin, seen: &mut Seen) {
    let top = books.top(SYMBOL);
    if twin.messages.is_empty() && twin.snapshot.is_none() {
        return;
    }
    let book = twin.book();
    let best = |side: Side| {
        let best = if side == Side::Bid { book.levels(side).next_back() } else { book.levels(side).next() };
        best.map(|(price, size)| Best { price, size, orders: 0, scale: 0 })
    };
    let (bid, ask) = (best(Side::Bid), best(Side::Ask));
    if twin.gapped {
        assert_eq!(top, Err(Unusable::Gapped));
    } else if !twin.is_synced() {
        assert_eq!(top, Err(Unusable::Unsynced));
    } else if bid.zip(ask).is_some_and(|(bid, ask)| bid.price >= ask.price) {
        assert_eq!(top, Err(Unusable::Crossed));
        seen.crossed += 1;
    } else {
        let top = top.unwrap();
        assert_eq!((top.bid, top.ask, top.seq), (bid, ask, twin.last));
        let got = |side| books.levels(SYMBOL, side).unwrap().map(|(price, level)| (price, level.size));
        assert!(got(Side::Bid).eq(book.levels(Side::Bid).rev()), "bids, highest first");
        assert!(got(Side::Ask).eq(book.levels(Side::Ask)), "asks, lowest first");
        seen.usable += 1;
    }
}

fn run(seed: u64, operations: usize, invariants_every: usize) -> Seen {
    let _seed = PrintOnPanic(format!("seed={seed}"));
    let mut prng = Prng::new(seed);
    let mut seen = Seen::default();
    let mut books = Books::new(2, 64, 0, seed);
    let mut twin = Twin::default();
    let (mut taken, mut ignored, mut old) = (0, 0, 0);
    let mut seq = 100;
    for operation in 0..operations {
        if prng.one_in(1_000) {
            let mut bytes = Vec::new();
            books.snapshot(&mut bytes);
            books = Books::restore(2, 64, 0, seed, &bytes).expect("its own snapshot");
            seen.restarts += 1;
        }
        match prng.index(40) {
            0 => {
                let at = seq + prng.in_range(0..8) - 6;
                let mut levels = changes(&mut prng, 30);
                levels.retain(|(_, _, size)| *size > 0);
                send(&mut books, at, &levels, true);
                twin.take_snapshot(at, &levels);
                seq = seq.max(at);
            }
            1 if prng.one_in(3) => {
                let received = seq + 2 + prng.in_range(0..3);
                let applied = apply(&mut books, &gap(seq + 1, received));
                // There is no book before anything has come.
                if applied == Applied::Whole {
                    twin.gapped = true;
                    twin.need = twin.need.max(twin.last).max(received - 1);
                    seen.gaps += 1;
                }
                seq = received - 1;
            }
            2 if prng.one_in(20) => {
                // A gap of another source is not this book's, once that is known.
                let mut of_trades = gap(1, 9);
                of_trades.source = SourceId(9);
                if !twin.messages.is_empty() {
                    assert_eq!(apply(&mut books, &of_trades), Applied::Nothing);
                }
            }
            3 if prng.one_in(60) => {
                let epoch = EventBuf::new(&Epoch::default());
                assert_eq!(apply(&mut books, &epoch.slots()[0]), Applied::Nothing);
                assert_eq!(books.top(SYMBOL), Err(Unusable::None));
                (taken, ignored, old) = (taken + twin.taken, ignored + twin.ignored, old + twin.old);
                twin = Twin::default();
            }
            4 => {
                // An old one again.
                let at = seq - prng.in_range(0..9);
                let changes = changes(&mut prng, 4);
                send(&mut books, at, &changes, false);
                twin.message(at, &changes);
            }
            _ => {
                seq += 1;
                let changes = changes(&mut prng, 4);
                send(&mut books, seq, &changes, false);
                twin.message(seq, &changes);
            }
        }
        compare(&books, &twin, &mut seen);
        if operation % invariants_every == 0 {
            books.assert_invariants();
        }
        // The twin rebuilds from all that it kept: let it forget what is in its snapshot, early in long runs.
        let kept_max = if invariants_every == 1 { 60 } else { 10 };
        if let Some((at, _)) = twin.snapshot
            && twin.messages.len() > kept_max
            && twin.is_synced()
        {
            let book = twin.book();
            let of_side = |side| book.levels(side).map(move |(price, size)| (side, price, size));
            let levels = of_side(Side::Bid).chain(of_side(Side::Ask)).collect();
            // The book's own snapshot number stays: it decides what is old.
            twin.snapshot = Some((at, levels));
            let last = twin.last;
            twin.messages.retain(|(seq, _)| *seq > last);
        }
    }
    books.assert_invariants();
    let counts = books.counts();
    seen.taken = taken + twin.taken;
    seen.ignored = ignored + twin.ignored;
    seen.old = old + twin.old;
    assert_eq!((counts.snapshots, counts.snapshots_ignored, counts.old), (seen.taken, seen.ignored, seen.old));
    assert_eq!((counts.full, counts.odd, counts.gaps), (0, 0, seen.gaps));
    seen
}

#[test]
fn a_book_is_its_snapshot_and_the_messages_after_it() {
    for seed in 0..10 {
        let seen = run(seed, 10_000, 1);
        let counts = [seen.usable, seen.crossed, seen.taken, seen.ignored, seen.old, seen.gaps];
        assert!(counts.iter().all(|count| *count > 20), "{seen:?}");
    }
}

#[test]
fn ten_million_operations_first_half() {
    let seen = run(1_000, 5_000_000, 4096);
    assert!(seen.usable > 500_000 && seen.restarts > 1_000);
}

#[test]
fn ten_million_operations_second_half() {
    let seen = run(1_001, 5_000_000, 4096);
    assert!(seen.usable > 500_000 && seen.restarts > 1_000);
}

#[test]
#[ignore = "soak: cargo test -p tapeline-core --test book_model -- --ignored --nocapture"]
fn a_hundred_million_operations() {
    for seed in 0..20 {
        run(2_000 + seed, 5_000_000, 4096);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    /// Shrinks to the fewest operations that break a rule.
    #[test]
    fn any_book_is_its_twin(seed in any::<u64>(), operations in 1_usize..300) {
        run(seed, operations, 1);
    }
}

#[test]
fn a_snapshot_that_breaks_off_leaves_an_unusable_book_until_the_next() {
    let mut books = Books::new(2, 8, 0, 0);
    send(&mut books, 10, &[(Side::Bid, 1, 1), (Side::Ask, 3, 1)], true);
    assert!(books.top(SYMBOL).is_ok());
    let _ = apply(&mut books, &level(20, Side::None, 0, 0, LevelAction::Clear, Flags::SNAPSHOT));
    let _ = apply(&mut books, &level(20, Side::Bid, 2, 7, LevelAction::Set, Flags::SNAPSHOT));
    assert_eq!(books.top(SYMBOL), Err(Unusable::Open));
    send(&mut books, 21, &[(Side::Bid, 5, 5)], false);
    assert_eq!(books.top(SYMBOL), Err(Unusable::Unsynced));
    send(&mut books, 15, &[(Side::Bid, 1, 1)], true);
    assert_eq!(books.top(SYMBOL), Err(Unusable::Unsynced), "older than the one that broke off");
    send(&mut books, 20, &[(Side::Bid, 1, 1), (Side::Ask, 9, 1)], true);
    let top = books.top(SYMBOL).unwrap();
    assert_eq!((top.bid.unwrap().price, top.ask.unwrap().price, top.seq), (5, 9, 21), "message 21 is on top of it");
    assert_eq!((books.counts().snapshots_broken, books.counts().snapshots_ignored), (1, 1));
    books.assert_invariants();
}

#[test]
fn a_book_without_room_says_so_and_leaves_room_to_the_others() {
    let mut books = Books::new(2, 2, 0, 0);
    let levels: Vec<Change> = (0..200).map(|price| (Side::Bid, price + 1, 1)).collect();
    send(&mut books, 10, &levels, true);
    assert_eq!(books.top(SYMBOL), Err(Unusable::Full));
    assert_eq!((books.counts().full, books.pages()), (1, (2, 2)));
    send(&mut books, 11, &[(Side::Bid, 1, 1)], false);
    assert_eq!(books.top(SYMBOL), Err(Unusable::Full));
    send(&mut books, 11, &[(Side::Bid, 1, 1), (Side::Ask, 2, 1)], true);
    assert_eq!(books.top(SYMBOL).unwrap().bid.unwrap().price, 1);
    books.assert_invariants();
}

#[test]
fn depth_records_are_all_that_is_known() {
    let mut books = Books::new(2, 8, 0, 0);
    let record = |bid_px, ask_px| {
        let mut event = EventBuf::new(&BookDepth { levels: 1, ..BookDepth::default() });
        event.head_mut().symbol = SYMBOL;
        event
            .push_bytes(bytemuck::bytes_of(&DepthLevel { bid_px, ask_px, bid_sz: 5, ask_sz: 6, bid_ct: 1, ask_ct: 2 }))
            .unwrap();
        event
    };
    for (bid, ask) in [(10, 12), (7, 9)] {
        let event = record(bid, ask);
        assert_eq!(books.apply(EventRef::first(event.slots()).unwrap()), Applied::Whole);
        let top = books.top(SYMBOL).unwrap();
        assert_eq!(top.bid, Some(Best { price: bid, size: 5, orders: 1, scale: 0 }));
        assert_eq!(top.ask, Some(Best { price: ask, size: 6, orders: 2, scale: 0 }));
    }
    let crossed = record(9, 9);
    let _ = books.apply(EventRef::first(crossed.slots()).unwrap());
    assert_eq!((books.top(SYMBOL), books.counts().crossed), (Err(Unusable::Crossed), 1));
    // What is fed by depth records takes no levels.
    send(&mut books, 1, &[(Side::Bid, 1, 1)], false);
    assert_eq!(books.counts().odd, 1);
}

fn order(action: u8, id: u64, side: Side, price: i64, size: u32) -> Slot {
    let order = BookOrder { order_id: id, price, size, side: side as u8, action, ..BookOrder::default() };
    let mut event = EventBuf::new(&order);
    event.flag(Flags::LAST);
    event.head_mut().symbol = SYMBOL;
    *event.head_mut()
}

#[test]
fn orders_by_hand() {
    let mut books = Books::new(2, 8, 16, 0);
    let mut send = |action, id, side, price, size| {
        let _ = apply(&mut books, &order(action, id, side, price, size));
        let top = books.top(SYMBOL);
        top.map(|top| (top.bid.map(|best| (best.price, best.size, best.orders)), top.ask.map(|best| best.price)))
    };
    assert_eq!(send(b'A', 1, Side::Bid, 10, 5), Err(Unusable::Unsynced));
    assert_eq!(send(b'R', 0, Side::None, 0, 0), Ok((None, None)));
    assert_eq!(send(b'A', 1, Side::Bid, 10, 5), Ok((Some((10, 5, 1)), None)));
    assert_eq!(send(b'A', 2, Side::Bid, 10, 7), Ok((Some((10, 12, 2)), None)));
    assert_eq!(send(b'A', 3, Side::Ask, 11, 1), Ok((Some((10, 12, 2)), Some(11))));
    assert_eq!(send(b'C', 2, Side::Bid, 10, 3), Ok((Some((10, 9, 2)), Some(11))), "a part of it");
    assert_eq!(send(b'F', 2, Side::Bid, 10, 3), Ok((Some((10, 9, 2)), Some(11))), "a fill is followed by its cancel");
    assert_eq!(send(b'C', 2, Side::Bid, 10, 4), Ok((Some((10, 5, 1)), Some(11))));
    assert_eq!(send(b'M', 1, Side::Bid, 9, 6), Ok((Some((9, 6, 1)), Some(11))));
    assert_eq!(send(b'M', 8, Side::Bid, 8, 1), Ok((Some((9, 6, 1)), Some(11))), "an unknown one is added");
    assert_eq!(send(b'C', 99, Side::Bid, 9, 6), Ok((Some((9, 6, 1)), Some(11))));
    assert_eq!(send(b'A', 3, Side::Ask, 9, 1), Err(Unusable::Crossed), "the same id again: the older one is gone");
    assert_eq!(send(b'R', 0, Side::None, 0, 0), Ok((None, None)));
    let counts = books.counts();
    assert_eq!((counts.orders_unknown, counts.orders_doubled, counts.crossed), (2, 1, 1));
    assert_eq!(books.orders(), (0, 16));
    books.assert_invariants();
}

/// Random orders beside a map of all of them.
#[test]
fn books_of_orders_are_the_sums_of_their_orders() {
    for seed in 0..20 {
        let _seed = PrintOnPanic(format!("seed={seed}"));
        let mut prng = Prng::new(seed);
        let mut books = Books::new(2, 16, 50, seed);
        let mut twin: BTreeMap<u64, (Side, i64, u32)> = BTreeMap::new();
        let _ = apply(&mut books, &order(b'R', 0, Side::None, 0, 0));
        let (mut full, mut usable) = (0, 0);
        for _ in 0..5_000 {
            let id = prng.in_range(0..70);
            let side = if prng.one_in(2) { Side::Bid } else { Side::Ask };
            let price = prng.in_range(0..20) as i64 + if side == Side::Bid { 80 } else { 99 };
            let size = prng.in_range(1..10) as u32;
            let action = [b'A', b'A', b'A', b'M', b'C', b'C', b'F', b'T'][prng.index(8)];
            let _ = apply(&mut books, &order(action, id, side, price, size));
            match action {
                b'A' | b'M' => drop(twin.insert(id, (side, price, size))),
                b'C' => {
                    if let Some(order) = twin.get_mut(&id) {
                        order.2 -= size.min(order.2);
                    }
                    twin.retain(|_, order| order.2 > 0);
                }
                _ => {}
            }
            books.assert_invariants();
            if twin.len() > 50 {
                assert_eq!(books.top(SYMBOL), Err(Unusable::Full));
                assert_eq!(books.orders().0, 0);
                twin.clear();
                let _ = apply(&mut books, &order(b'R', 0, Side::None, 0, 0));
                full += 1;
                continue;
            }
            assert_eq!(books.orders().0, twin.len());
            let sum = |side: Side| {
                let of_side = twin.values().filter(|order| order.0 == side);
                let best = of_side.clone().map(|order| order.1);
                let best = if side == Side::Bid { best.max()? } else { best.min()? };
                let at_best = of_side.filter(|order| order.1 == best);
                let (size, orders) =
                    at_best.fold((0, 0), |(size, count), order| (size + u64::from(order.2), count + 1));
                Some(Best { price: best, size, orders, scale: 0 })
            };
            let (bid, ask) = (sum(Side::Bid), sum(Side::Ask));
            if bid.zip(ask).is_some_and(|(bid, ask)| bid.price >= ask.price) {
                assert_eq!(books.top(SYMBOL), Err(Unusable::Crossed));
            } else {
                let top = books.top(SYMBOL).unwrap();
                assert_eq!((top.bid, top.ask), (bid, ask));
                usable += 1;
            }
        }
        assert!(full > 3 && usable > 20, "{full} {usable}");
    }
}

#[test]
fn restored_books_go_on_and_damage_is_refused_or_harmless() {
    let mut prng = Prng::new(3);
    let mut books = Books::new(3, 4, 8, 5);
    send(&mut books, 10, &changes(&mut prng, 20), true);
    for id in 0..5 {
        let mut slot = order(b'A', id, Side::Bid, id as i64, 3);
        slot.symbol = SymbolId(2);
        let _ = apply(&mut books, &slot);
    }
    let snapshot = |books: &Books| {
        let mut bytes = Vec::new();
        books.snapshot(&mut bytes);
        assert_eq!(bytes.len(), books.snapshot_bytes());
        bytes
    };
    let bytes = snapshot(&books);
    let restore = |bytes: &[u8]| Books::restore(3, 4, 8, 5, bytes);
    let mut second = restore(&bytes).unwrap();
    assert_eq!(snapshot(&second), bytes);
    for seq in 11..60 {
        let changes = changes(&mut prng, 3);
        send(&mut books, seq, &changes, false);
        send(&mut second, seq, &changes, false);
    }
    assert_eq!(snapshot(&second), snapshot(&books));
    assert_eq!(
        Books::restore(4, 4, 8, 5, &bytes).unwrap_err(),
        RestoreError::OtherCapacity { name: "set of books", snapshot: 3, here: 4 }
    );
    let error = Books::restore(3, 5, 8, 5, &bytes).unwrap_err().to_string();
    assert_eq!(error, "the snapshot is of a set of books with pages 4, this one has 5");
    every_cut_and_flip_is_refused(&bytes, |bytes| restore(bytes).is_ok());
    let (refused, taken) = sealed_damage(0..10, 300, &bytes, |bytes| {
        restore(bytes).is_ok_and(|mut books| {
            for id in 0..20 {
                let mut slot = order(b'A', id, Side::Ask, id as i64, 3);
                slot.symbol = SymbolId(2);
                let _ = books.apply(EventRef::single(&slot));
            }
            send(&mut books, u64::MAX - 5, &[(Side::Bid, 1, 1)], false);
            books.assert_invariants();
            true
        })
    });
    assert!(refused > 500 && taken > 100, "{refused} {taken}");
}

#[test]
#[should_panic(expected = "pages of levels")]
fn too_many_pages_panic() {
    let _ = Books::new(1, usize::MAX, 1, 0);
}

#[test]
fn a_gap_in_the_middle_of_a_snapshot_is_not_mended_by_its_end() {
    let mut books = Books::new(2, 8, 0, 0);
    let _ = apply(&mut books, &level(20, Side::None, 0, 0, LevelAction::Clear, Flags::SNAPSHOT));
    let _ = apply(&mut books, &level(20, Side::Bid, 2, 7, LevelAction::Set, Flags::SNAPSHOT));
    // 21 to 29 are missing.
    let _ = apply(&mut books, &gap(21, 30));
    let last = level(20, Side::Ask, 5, 7, LevelAction::Set, Flags::SNAPSHOT.with(Flags::LAST));
    let _ = apply(&mut books, &last);
    assert_eq!(books.top(SYMBOL), Err(Unusable::Gapped));
    send(&mut books, 29, &[(Side::Bid, 1, 1), (Side::Ask, 9, 1)], true);
    assert!(books.top(SYMBOL).is_ok());
    books.assert_invariants();
}

#[test]
fn a_gap_in_the_middle_of_a_clear_is_not_mended_by_the_next_message() {
    let mut books = Books::new(2, 8, 0, 0);
    let _ = apply(&mut books, &level(20, Side::None, 0, 0, LevelAction::Clear, Flags::NONE));
    let _ = apply(&mut books, &level(20, Side::Bid, 2, 7, LevelAction::Set, Flags::NONE));
    let _ = apply(&mut books, &gap(21, 30));
    let _ = apply(&mut books, &level(30, Side::Ask, 5, 7, LevelAction::Set, Flags::LAST));
    assert_eq!(books.top(SYMBOL), Err(Unusable::Gapped));
}

#[test]
fn a_number_that_is_none_makes_no_later_one_old() {
    let mut books = Books::new(2, 8, 0, 0);
    let flags = Flags::LAST.with(Flags::UNSEQUENCED);
    let _ = apply(&mut books, &level(1_000_000, Side::Bid, 1, 1, LevelAction::Set, flags));
    assert_eq!(apply(&mut books, &level(10, Side::Bid, 2, 1, LevelAction::Set, Flags::LAST)), Applied::Whole);
}
