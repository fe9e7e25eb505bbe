//! The history against a plain list of events, compared after every operation.

use std::collections::VecDeque;

use proptest::prelude::*;
use tapeline_core::event::payload::Trade;
use tapeline_core::event::{EventBuf, EventRef, Kind, KindVersion, Slot};
use tapeline_core::history::{Cursor, History, HistoryCounts, NotRecorded, Order, PageLimits, Query};
use tapeline_core::testing::{CountingAlloc, PrintOnPanic, Prng, without_allocation};
use tapeline_core::units::{SymbolId, UnixNanos};

#[global_allocator]
static ALLOC: CountingAlloc = CountingAlloc;

const SYMBOLS: usize = 5;
const KINDS: [Kind; 4] = [Kind::TRADE, Kind::QUOTE, Kind::NEWS, Kind::BAR];
const NO_LIMITS: PageLimits = PageLimits { events: usize::MAX, looks: usize::MAX };

fn event(kind: Kind, symbol: u32, seq: u64, slots: usize) -> EventBuf {
    let mut event = EventBuf::new(&Trade { price: 1, size: seq, ..bytemuck::Zeroable::zeroed() });
    let head = event.head_mut();
    (head.kind, head.symbol, head.seq) = (KindVersion::new(kind, 1), SymbolId(symbol), seq);
    // A tag of the ring that it came from.
    head.tag = 77;
    for word in 1..slots as u64 {
        event.push_words([word; 7]).unwrap();
    }
    event
}

#[derive(Debug)]
struct Kept {
    number: u64,
    time: u64,
    slots: Vec<Slot>,
}

/// A query that goes on over several operations.
#[derive(Debug)]
struct Scan {
    query: Query,
    cursor: Option<Cursor>,
    /// Number of the last event returned, or where it began.
    behind: u64,
}

#[derive(Default)]
struct Seen {
    evicted: u64,
    expired: u64,
    refused: u64,
    wrapped: u64,
    pages: u64,
    resumed_after_loss: u64,
    backward: u64,
    restarts: u64,
}

/// A history and its twin.
struct Pair {
    history: History,
    kept: VecDeque<Kept>,
    max_age: u64,
    now: u64,
    recorded: u64,
    slots_recorded: usize,
    counts: HistoryCounts,
    scan: Option<Scan>,
    seen: Seen,
}

impl Pair {
    fn new(slots: usize, max_age: u64) -> Self {
        Self {
            history: History::new(slots, SYMBOLS, max_age),
            kept: VecDeque::with_capacity(slots),
            max_age,
            now: 0,
            recorded: 0,
            slots_recorded: 0,
            counts: HistoryCounts::default(),
            scan: None,
            seen: Seen::default(),
        }
    }

    fn slots_kept(&self) -> usize {
        self.kept.iter().map(|kept| kept.slots.len()).sum()
    }

    fn pass_time(&mut self, now: u64, budget: usize) -> usize {
        self.seen.backward += u64::from(now < self.now);
        self.now = self.now.max(now);
        let mut forgotten = 0;
        while forgotten < budget
            && self.kept.front().is_some_and(|kept| kept.time < self.now.saturating_sub(self.max_age))
        {
            self.kept.pop_front();
            forgotten += 1;
        }
        self.counts.expired += forgotten as u64;
        forgotten
    }

    fn record(&mut self, prng: &mut Prng, now: u64) {
        let slots = if prng.one_in(4) { 1 + prng.index(5) } else { 1 };
        let (kind, symbol) = match prng.index(40) {
            0 => (Kind(63), 0),
            1 => (Kind::TRADE, SYMBOLS as u32),
            _ => (KINDS[prng.index(KINDS.len())], prng.index(SYMBOLS) as u32),
        };
        let event = event(kind, symbol, self.recorded, slots);
        let reference = EventRef::first(event.slots()).unwrap();
        let result = without_allocation(|| self.history.record(reference, UnixNanos(now)));
        let capacity = self.history.capacity();
        let expected = if slots > capacity {
            Err(NotRecorded::TooLong { slots, capacity })
        } else if kind == Kind(63) {
            Err(NotRecorded::UnknownKind(63))
        } else if symbol == SYMBOLS as u32 {
            Err(NotRecorded::UnknownSymbol { symbol, symbols: SYMBOLS })
        } else {
            Ok(())
        };
        assert_eq!(result, expected);
        if result.is_err() {
            self.counts.refused += 1;
            return;
        }
        self.pass_time(now, 2);
        while self.slots_kept() + slots > capacity {
            let gone = self.kept.pop_front().unwrap();
            if gone.time < self.now.saturating_sub(self.max_age) {
                self.counts.expired += 1;
            } else {
                self.counts.evicted += 1;
            }
        }
        self.seen.wrapped += u64::from(self.slots_recorded % capacity + slots > capacity);
        self.slots_recorded += slots;
        let slots = event.slots().iter().map(|slot| Slot { tag: 0, ..*slot }).collect();
        self.kept.push_back(Kept { number: self.recorded, time: self.now, slots });
        self.recorded += 1;
        self.counts.recorded += 1;
    }

    fn matches(&self, query: &Query, kept: &Kept) -> bool {
        let head = &kept.slots[0];
        query.kind.is_none_or(|kind| kind == head.kind())
            && query.symbol.is_none_or(|symbol| symbol == head.symbol)
            && (query.from.0..query.until.0).contains(&kept.time)
            && kept.time >= self.now.saturating_sub(self.max_age)
    }

    /// Numbers of the events that a page after the one numbered `behind` should give.
    fn expected(&self, query: &Query, behind: u64) -> Vec<u64> {
        let matches = self.kept.iter().filter(|kept| self.matches(query, kept));
        match query.order {
            Order::NewestFirst => matches.rev().map(|kept| kept.number).filter(|number| *number < behind).collect(),
            Order::OldestFirst => {
                matches.map(|kept| kept.number).filter(|number| behind == u64::MAX || *number > behind).collect()
            }
        }
    }

    fn random_query(&self, prng: &mut Prng) -> Query {
        let span = self.max_age.min(1_000) + 10;
        let mut time = || if prng.one_in(2) { None } else { Some(self.now.saturating_sub(prng.in_range(0..span * 2))) };
        let (from, until) = (time(), time());
        Query {
            kind: (!prng.one_in(2)).then(|| if prng.one_in(20) { Kind(60) } else { KINDS[prng.index(KINDS.len())] }),
            symbol: (!prng.one_in(2)).then(|| SymbolId(prng.index(SYMBOLS + 1) as u32)),
            from: UnixNanos(from.unwrap_or(0)),
            until: UnixNanos(until.unwrap_or(u64::MAX)),
            order: if prng.one_in(2) { Order::NewestFirst } else { Order::OldestFirst },
        }
    }

    /// One page of the running scan, or of a new one.
    fn page(&mut self, prng: &mut Prng) {
        let mut scan = match self.scan.take() {
            Some(scan) => scan,
            // `u64::MAX` stands for: nothing returned yet.
            None => Scan { query: self.random_query(prng), cursor: None, behind: u64::MAX },
        };
        let limits =
            PageLimits { events: prng.index(6), looks: if prng.one_in(2) { usize::MAX } else { prng.index(9) } };
        let expected = self.expected(&scan.query, scan.behind);
        let mut got = Vec::with_capacity(self.history.len());
        let (history, kept) = (&self.history, &self.kept);
        let page = without_allocation(|| {
            history.page(&scan.query, scan.cursor, limits, |time, event| {
                let number = event.head().seq;
                let twin = kept.iter().find(|kept| kept.number == number).unwrap();
                assert_eq!((time.0, event.slots()), (twin.time, &twin.slots[..]), "event {number}");
                got.push(number);
            })
        })
        .unwrap();
        self.seen.pages += 1;
        self.seen.resumed_after_loss += u64::from(page.lost);
        assert_eq!((page.events, got.len()), (got.len(), got.len().min(limits.events)));
        assert!(page.looks <= limits.looks && page.looks >= page.events);
        assert_eq!(got, expected[..got.len()], "{:?} {limits:?}", scan.query);
        if let Some(last) = got.last() {
            scan.behind = *last;
        } else if scan.behind == u64::MAX && scan.query.order == Order::NewestFirst && page.next.is_some() {
            // What is recorded from now on is in front of where this scan began.
            scan.behind = self.recorded;
        }
        match page.next {
            None => assert_eq!(got.len(), expected.len(), "{:?} ended early", scan.query),
            Some(cursor) => {
                assert!(got.len() == limits.events || page.looks == limits.looks);
                self.scan = Some(Scan { cursor: Some(cursor), ..scan });
            }
        }
    }

    /// The history as it is after its bytes were read again; cursors go on.
    fn restart(&mut self) {
        let mut bytes = Vec::new();
        self.history.snapshot(&mut bytes);
        let slots = self.history.capacity();
        self.history = History::restore(slots, SYMBOLS, self.max_age, &bytes).expect("its own snapshot");
        self.seen.restarts += 1;
    }

    fn apply(&mut self, prng: &mut Prng) {
        if prng.one_in(1_000) {
            self.restart();
        }
        let now = match prng.index(20) {
            0 => self.now.saturating_sub(prng.in_range(0..50)),
            1 => self.now.saturating_add(prng.log_uniform(12)),
            _ => self.now + prng.in_range(0..3),
        };
        match prng.index(10) {
            0 | 1 => self.page(prng),
            2 => {
                let budget = prng.index(4);
                let forgotten = without_allocation(|| self.history.expire(UnixNanos(now), budget));
                assert_eq!(forgotten, self.pass_time(now, budget));
            }
            _ => self.record(prng, now),
        }
        assert_eq!((self.history.len(), self.history.is_empty()), (self.kept.len(), self.kept.is_empty()));
        assert_eq!((self.history.counts(), self.history.now().0), (self.counts, self.now));
    }

    fn compare_all(&mut self) {
        self.history.assert_invariants();
        let expected = self.expected(&Query::ALL, u64::MAX);
        let mut got = Vec::new();
        self.history.page(&Query::ALL, None, NO_LIMITS, |_, event| got.push(event.head().seq)).unwrap();
        assert_eq!(got, expected);
    }
}

fn run(seed: u64, slots: usize, max_age: u64, operations: usize, every: usize) -> Seen {
    let _seed = PrintOnPanic(format!("seed={seed} slots={slots} max_age={max_age}"));
    let mut prng = Prng::new(seed);
    let mut pair = Pair::new(slots, max_age);
    for operation in 0..operations {
        pair.apply(&mut prng);
        if operation % every == 0 {
            pair.compare_all();
        }
    }
    pair.compare_all();
    (pair.seen.evicted, pair.seen.expired, pair.seen.refused) =
        (pair.counts.evicted, pair.counts.expired, pair.counts.refused);
    pair.seen
}

fn assert_all_seen(seen: &Seen) {
    let counts =
        [seen.evicted, seen.expired, seen.refused, seen.wrapped, seen.pages, seen.resumed_after_loss, seen.backward];
    assert!(counts.iter().all(|count| *count > 100) && seen.restarts > 20, "{counts:?}");
}

#[test]
fn small_histories_are_right_after_every_operation() {
    let mut all = Seen::default();
    for (seed, slots) in [1, 2, 4, 8, 16, 32, 64].into_iter().enumerate() {
        for max_age in [0, 30, u64::MAX] {
            let seen = run(seed as u64, slots, max_age, 5_000, 1);
            all.evicted += seen.evicted;
            all.expired += seen.expired;
            all.refused += seen.refused;
            all.wrapped += seen.wrapped;
            all.pages += seen.pages;
            all.resumed_after_loss += seen.resumed_after_loss;
            all.backward += seen.backward;
            all.restarts += seen.restarts;
        }
    }
    assert_all_seen(&all);
}

#[test]
fn five_million_operations_of_sixteen_slots() {
    assert_all_seen(&run(100, 16, 20, 5_000_000, 4096));
}

#[test]
fn five_million_operations_of_sixty_four_slots() {
    assert_all_seen(&run(101, 64, 60, 5_000_000, 4096));
}

#[test]
#[ignore = "soak: cargo test -p tapeline-core --test history_model -- --ignored --nocapture"]
fn a_hundred_million_operations() {
    for seed in 0..10 {
        assert_all_seen(&run(200 + seed, 32, 40, 10_000_000, 4096));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// Shrinks to the fewest operations and the smallest history that break a rule.
    #[test]
    fn any_history_is_its_twin(seed in any::<u64>(), shift in 0_u32..5, max_age in 0_u64..60, operations in 1_usize..200) {
        run(seed, 1 << shift, max_age, operations, 1);
    }
}

#[test]
fn req_3452_3481_the_bytes_do_not_grow_with_what_is_recorded() {
    let mut history = History::new(64, SYMBOLS, u64::MAX);
    let bytes = history.bytes();
    let event = event(Kind::TRADE, 1, 0, 3);
    for now in 0..100_000 {
        history.record(EventRef::first(event.slots()).unwrap(), UnixNanos(now)).unwrap();
    }
    assert_eq!((history.bytes(), history.len()), (bytes, 21));
    assert_eq!((history.counts().recorded, history.counts().evicted), (100_000, 100_000 - 21));
    // 64 bytes of event, 8 of time, 16 of links for each slot; 12 for each chain.
    assert_eq!(bytes, 64 * 88 + (64 + SYMBOLS) * 12);
}

/// A history of many symbols with one event of symbol 1 among each hundred.
fn crowded() -> History {
    let mut history = History::new(1 << 12, SYMBOLS, u64::MAX);
    for number in 0..4_000 {
        let symbol = if number % 100 == 7 { 1 } else { 2 };
        let event = event(if number % 50 == 7 { Kind::NEWS } else { Kind::TRADE }, symbol, number, 1);
        history.record(EventRef::first(event.slots()).unwrap(), UnixNanos(number)).unwrap();
    }
    history
}

fn looks(history: &History, query: Query) -> (usize, usize) {
    let page = history.page(&query, None, NO_LIMITS, |_, _| {}).unwrap();
    (page.events, page.looks)
}

#[test]
fn req_3461_3545_3546_3547_a_query_walks_its_shortest_index_and_nothing_else() {
    let history = crowded();
    for order in [Order::NewestFirst, Order::OldestFirst] {
        let all = Query { order, ..Query::ALL };
        assert_eq!(looks(&history, Query { symbol: Some(SymbolId(1)), ..all }), (40, 40));
        assert_eq!(looks(&history, Query { kind: Some(Kind::NEWS), ..all }), (80, 80));
        // The symbol's chain is shorter than the kind's.
        let both = Query { kind: Some(Kind::NEWS), symbol: Some(SymbolId(1)), ..all };
        assert_eq!(looks(&history, both), (40, 40));
        // The range is shorter than any chain, and is found without a walk to it.
        let range = Query { from: UnixNanos(1_000), until: UnixNanos(1_010), ..both };
        assert_eq!(looks(&history, range), (1, 10));
        assert_eq!(looks(&history, Query { kind: Some(Kind::BAR), ..all }), (0, 0));
    }
}

#[test]
fn req_3547_pages_go_on_where_the_last_one_ended_while_the_history_moves() {
    let mut history = crowded();
    let query = Query { symbol: Some(SymbolId(2)), order: Order::OldestFirst, ..Query::ALL };
    let limits = PageLimits { events: 10, looks: 10 };
    let first = history.page(&query, None, limits, |_, _| {}).unwrap();
    assert_eq!((first.events, first.lost), (10, false));
    // Everything that the first page would go on with is forgotten.
    let later = event(Kind::TRADE, 2, 9_999, 1);
    for now in 0..2_000 {
        history.record(EventRef::first(later.slots()).unwrap(), UnixNanos(10_000 + now)).unwrap();
    }
    let mut seen = Vec::new();
    let second = history.page(&query, first.next, limits, |_, event| seen.push(event.head().seq)).unwrap();
    assert!(second.lost, "and the page says so");
    assert_eq!(seen[0], 1904, "it goes on with the oldest that is left");
    // Newest first, there is nothing older left.
    let newest = Query { order: Order::NewestFirst, ..query };
    let old = history.page(&newest, first.next, limits, |_, _| {}).unwrap();
    assert_eq!((old.events, old.next, old.lost), (0, None, true));
}

#[test]
fn cursors_of_other_queries_are_refused() {
    let history = crowded();
    let limits = PageLimits { events: 1, looks: usize::MAX };
    let symbol = Query { symbol: Some(SymbolId(1)), ..Query::ALL };
    let cursor = history.page(&symbol, None, limits, |_, _| {}).unwrap().next;
    assert!(cursor.is_some());
    for other in
        [Query::ALL, Query { symbol: Some(SymbolId(2)), ..symbol }, Query { kind: Some(Kind::NEWS), ..Query::ALL }]
    {
        assert!(history.page(&other, cursor, limits, |_, _| {}).is_err());
    }
    // Of a longer history.
    assert!(History::new(4, SYMBOLS, 9).page(&symbol, cursor, limits, |_, _| {}).is_err());
}

#[test]
fn req_3548_entries_expire_by_age_also_when_nobody_asks() {
    let mut history = History::new(64, SYMBOLS, 100);
    let old = event(Kind::TRADE, 1, 1, 1);
    for _ in 0..10 {
        history.record(EventRef::first(old.slots()).unwrap(), UnixNanos(1_000)).unwrap();
    }
    // As old as the maximum is not too old.
    assert_eq!((history.expire(UnixNanos(1_100), usize::MAX), history.len()), (0, 10));
    assert_eq!(history.expire(UnixNanos(1_101), 3), 3, "within the budget");
    let left = looks(&history, Query::ALL);
    assert_eq!((left, history.len()), ((0, 0), 7), "what is too old is not shown, forgotten or not");
    for now in 0..4 {
        history.record(EventRef::first(old.slots()).unwrap(), UnixNanos(1_101 + now)).unwrap();
    }
    assert_eq!((history.len(), history.counts().expired, history.counts().evicted), (4, 10, 0));
}

#[test]
#[should_panic(expected = "a power of two of slots, not 0")]
fn no_slots_panic() {
    let _ = History::new(0, 1, 1);
}

#[test]
#[should_panic(expected = "a power of two of slots, not 3")]
fn an_odd_number_of_slots_panics() {
    let _ = History::new(3, 1, 1);
}

#[test]
#[should_panic(expected = "at most 1073741824 slots, not 4294967296")]
fn more_slots_than_the_limit_panic() {
    let _ = History::new(1 << 32, 1, 0);
}

#[test]
#[should_panic(expected = "symbols, not")]
fn more_symbols_than_ids_panic() {
    let _ = History::new(1, tapeline_core::limits::SYMBOLS_MAX + 1, 0);
}
