//! Single steps of a shard and of a source: gaps, history, books, token buckets, breakers.

use super::Row;
use std::hint::black_box;
use tapeline_core::book::{Applied, Books};
use tapeline_core::breaker::{Admit, Breakers, Config, Noted, Permit};
use tapeline_core::bucket::{Buckets, Limit, Take};
use tapeline_core::catalog::SeqRule;
use tapeline_core::event::payload::{BookLevel, LevelAction, Trade};
use tapeline_core::event::{EventBuf, EventRef, Flags, Slot};
use tapeline_core::gaps::{GapDetector, Numbers, Verdict};
use tapeline_core::history::History;
use tapeline_core::units::{Side, SourceId, SymbolId, UnixNanos};

/// Operations per call of a counted function.
const OPERATIONS: usize = 512;
/// Symbols and buckets that take turns.
const SYMBOLS: usize = 100;
/// Levels of a side of a book.
const LEVELS: usize = 20;
/// Time of the first operation.
const START_NS: u64 = 1_700_000_000_000_000_000;

#[inline(never)]
fn count_gaps_observe(gaps: &mut GapDetector, symbol: impl Fn(usize) -> SymbolId, first: impl Fn(usize) -> u64) {
    for index in 0..OPERATIONS {
        let verdict = gaps.observe(SourceId(1), symbol(index), Numbers::Run { first: first(index), count: 1 });
        assert!(verdict == Verdict::InOrder, "none is missing");
    }
}

#[inline(never)]
fn count_history_record(history: &mut History, events: &[Slot]) {
    for event in events {
        assert!(history.record(EventRef::single(event), event.ts_recv).is_ok(), "every event fits");
    }
}

#[inline(never)]
fn count_books_apply(books: &mut Books, levels: &[Slot]) {
    for level in levels {
        assert!(books.apply(EventRef::single(level)) == Applied::Whole, "a message of one level");
    }
}

#[inline(never)]
fn count_bucket_take(buckets: &mut Buckets, now_ns: u64) {
    for index in 0..OPERATIONS {
        let taken = buckets.try_take(index % SYMBOLS, 1, UnixNanos(now_ns + index as u64));
        assert!(taken == Take::Taken, "the rate is kept");
    }
}

#[inline(never)]
fn count_breaker_admit(breakers: &mut Breakers, now: UnixNanos, permits: &mut Vec<Permit>) {
    let id = breakers.find("store").expect("it was made");
    for _ in 0..OPERATIONS {
        let Admit::Yes(permit) = breakers.admit(id, now) else { panic!("it is closed") };
        permits.push(permit);
    }
}

#[inline(never)]
fn count_breaker_success(breakers: &mut Breakers, now: UnixNanos, permits: &mut Vec<Permit>) {
    for permit in permits.drain(..) {
        assert!(breakers.success(permit, now) == Noted::Counted, "it was admitted");
    }
}

pub(super) fn rows() -> Vec<Row> {
    [
        ("gaps observe", "count_gaps_observe"),
        ("gaps observe by symbol", "count_gaps_observe"),
        ("history record", "count_history_record"),
        ("books apply, a level", "count_books_apply"),
        ("token bucket take", "count_bucket_take"),
        ("breaker admit", "count_breaker_admit"),
        ("breaker success", "count_breaker_success"),
    ]
    .map(|(operation, function)| Row::new(operation, &["shard", operation], function, true))
    .into()
}

/// Runs `operation` and returns how often.
pub(super) fn run_loop(operation: &str, rounds: usize) -> Option<u64> {
    match operation {
        "gaps observe" => gaps(SeqRule::Contiguous, 1, rounds),
        "gaps observe by symbol" => gaps(SeqRule::ContiguousPerSymbol, SYMBOLS, rounds),
        "history record" => history(rounds),
        "books apply, a level" => books(rounds),
        "token bucket take" => buckets(rounds),
        "breaker admit" | "breaker success" => breakers(rounds),
        _ => return None,
    }
    Some((rounds * OPERATIONS) as u64)
}

/// `streams` streams take turns, each in order.
fn gaps(rule: SeqRule, streams: usize, rounds: usize) {
    let mut gaps = GapDetector::new(2 * SYMBOLS, 1);
    assert!(gaps.define(SourceId(1), rule).is_ok(), "the source is new");
    for symbol in 0..streams {
        let verdict = gaps.observe(SourceId(1), SymbolId(symbol as u32 + 1), Numbers::Run { first: 1, count: 1 });
        assert!(verdict == Verdict::First, "{verdict:?}");
    }
    for round in 0..rounds {
        let number = move |index| round * OPERATIONS + index;
        let symbol = move |index| SymbolId((number(index) % streams) as u32 + 1);
        count_gaps_observe(&mut gaps, symbol, move |index| (number(index) / streams) as u64 + 2);
    }
}

/// Trades of symbols in turn into a history that is full: each makes another go.
fn history(rounds: usize) {
    let mut history = History::new(4_096, SYMBOLS, u64::MAX);
    let mut number = 0;
    let mut batch = |count: usize| -> Vec<Slot> {
        (0..count)
            .map(|_| {
                number += 1;
                let mut event = EventBuf::new(&Trade { price: 1, size: number, ..Trade::default() });
                let head = event.head_mut();
                (head.symbol, head.seq) = (SymbolId(number as u32 % SYMBOLS as u32), number);
                head.ts_recv = UnixNanos(START_NS + number);
                *head
            })
            .collect()
    };
    for event in batch(4_096) {
        assert!(history.record(EventRef::single(&event), event.ts_recv).is_ok(), "every event fits");
    }
    for _ in 0..rounds {
        count_history_record(&mut history, black_box(&batch(OPERATIONS)));
    }
    assert_eq!(history.counts().evicted, (rounds * OPERATIONS) as u64);
}

fn level(seq: u64, side: Side, index: usize, action: LevelAction, flags: Flags) -> Slot {
    let price = if side == Side::Bid { 1_000 - index as i64 } else { 1_001 + index as i64 };
    let level = BookLevel { price, size: seq + 1, side: side as u8, action: action as u8, ..BookLevel::default() };
    let mut event = EventBuf::new(&level);
    let head = event.head_mut();
    (head.symbol, head.seq, head.flags) = (SymbolId(1), seq, flags);
    head.source = SourceId(if flags.contains(Flags::SNAPSHOT) { 2 } else { 1 });
    head.ts_recv = UnixNanos(START_NS + seq);
    *head
}

/// New sizes at levels of a book, both sides in turn, a message each.
fn books(rounds: usize) {
    let mut books = Books::new(2, 64, 0, 1);
    let mut apply = |slot: Slot| books.apply(EventRef::single(&slot));
    let _ = apply(level(1, Side::None, 0, LevelAction::Clear, Flags::SNAPSHOT));
    for index in 0..2 * LEVELS {
        let side = if index % 2 == 0 { Side::Bid } else { Side::Ask };
        let last = if index + 1 == 2 * LEVELS { Flags::SNAPSHOT.with(Flags::LAST) } else { Flags::SNAPSHOT };
        let _ = apply(level(1, side, index / 2, LevelAction::Set, last));
    }
    let mut seq = 1;
    for _ in 0..rounds {
        let mut next = || {
            seq += 1;
            let side = if seq % 2 == 0 { Side::Bid } else { Side::Ask };
            level(seq, side, (seq as usize / 2 * 7) % LEVELS, LevelAction::Set, Flags::LAST)
        };
        let levels: Vec<Slot> = (0..OPERATIONS).map(|_| next()).collect();
        count_books_apply(&mut books, black_box(&levels));
    }
    let top = books.top(SymbolId(1)).expect("the book can be used");
    assert_eq!((top.seq, top.bid.map(|bid| bid.price), top.ask.map(|ask| ask.price)), (seq, Some(1_000), Some(1_001)));
}

/// A token of each bucket in turn, all within the rate.
fn buckets(rounds: usize) {
    let limit = Limit::new(1, 100, 1_000).expect("a limit");
    let mut buckets = Buckets::new(SYMBOLS, &[limit]);
    for round in 0..rounds {
        count_bucket_take(&mut buckets, START_NS + (round * OPERATIONS) as u64);
    }
    assert_eq!(buckets.total().hits, (rounds * OPERATIONS) as u64);
}

/// Calls to a closed breaker, each of which succeeds.
fn breakers(rounds: usize) {
    let mut breakers = Breakers::new(&[("store", Config::default())]).expect("one breaker");
    let mut permits = Vec::with_capacity(OPERATIONS);
    for round in 0..rounds {
        let now = UnixNanos(START_NS + round as u64);
        count_breaker_admit(&mut breakers, black_box(now), &mut permits);
        count_breaker_success(&mut breakers, black_box(now), &mut permits);
        assert!(permits.is_empty(), "all are done");
    }
}
