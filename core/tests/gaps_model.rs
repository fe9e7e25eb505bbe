//! The gap detector against its naive twin, compared after every operation.

use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use tapeline_core::catalog::SeqRule;
use tapeline_core::gaps::{GAP_RANGES_MAX, GapCounts, GapDetector, Numbers, Session, Verdict};
use tapeline_core::testing::{CountingAlloc, PrintOnPanic, Prng, allocations, without_allocation};
use tapeline_core::units::{SourceId, SymbolId};

#[global_allocator]
static ALLOC: CountingAlloc = CountingAlloc;

/// A stream as the set of the numbers that are missing.
#[derive(Default)]
struct TwinStream {
    next: Option<u64>,
    missing: BTreeSet<u64>,
    /// The last number that was given up.
    lost: Option<u64>,
}

impl TwinStream {
    fn runs(&self) -> Vec<(u64, u64)> {
        let mut runs: Vec<(u64, u64)> = Vec::new();
        for &number in &self.missing {
            match runs.last_mut() {
                Some(run) if run.1 + 1 == number => run.1 = number,
                _ => runs.push((number, number)),
            }
        }
        runs
    }

    /// Gives up the oldest runs that there is no room for.
    fn limit(&mut self, counts: &mut GapCounts) {
        let runs = self.runs();
        for &(from, to) in &runs[..runs.len().saturating_sub(GAP_RANGES_MAX)] {
            for number in from..=to {
                self.missing.remove(&number);
                self.lost = Some(number);
                counts.given_up += 1;
            }
        }
    }
}

#[derive(Default)]
struct TwinSource {
    rule: SeqRule,
    session: Option<[u64; 2]>,
    before: Option<[u64; 2]>,
    counts: GapCounts,
}

/// What the detector should do.
struct Twin {
    capacity: usize,
    sources: Vec<TwinSource>,
    streams: BTreeMap<(u8, u32), TwinStream>,
}

impl Twin {
    fn key(&self, source: SourceId, symbol: SymbolId) -> (u8, u32) {
        let symbol = if self.sources[source.index()].rule == SeqRule::Contiguous { 0 } else { symbol.0 };
        (source.0, symbol)
    }

    fn has_room(&mut self, key: (u8, u32)) -> bool {
        if !self.streams.contains_key(&key) {
            if self.streams.len() == self.capacity {
                return false;
            }
            self.streams.insert(key, TwinStream::default());
        }
        true
    }

    fn observe(&mut self, source: SourceId, symbol: SymbolId, numbers: Numbers) -> Verdict {
        let rule = self.sources[source.index()].rule;
        let contiguous = matches!(rule, SeqRule::Contiguous | SeqRule::ContiguousPerSymbol);
        if rule == SeqRule::None {
            return Verdict::Exempt;
        }
        let covered = match numbers {
            Numbers::Run { first, count } if contiguous => u128::from(first)..u128::from(first) + u128::from(count),
            Numbers::Span { first, last } if !contiguous && first <= last => u128::from(first)..u128::from(last) + 1,
            Numbers::Chain { previous, last } if !contiguous && previous < last => {
                u128::from(previous) + 1..u128::from(last) + 1
            }
            Numbers::Skip { last } if !contiguous => u128::from(last)..u128::from(last) + 1,
            _ => 0..u128::MAX,
        };
        if covered.end > u128::from(u64::MAX) {
            self.sources[source.index()].counts.malformed += 1;
            return Verdict::Malformed;
        }
        let (first, end) = (covered.start as u64, covered.end as u64);
        let key = self.key(source, symbol);
        if !self.has_room(key) {
            self.sources[source.index()].counts.untracked += 1;
            return Verdict::Untracked;
        }
        let counts = &mut self.sources[source.index()].counts;
        let stream = self.streams.get_mut(&key).unwrap();
        let Some(next) = stream.next else {
            stream.next = Some(end);
            counts.in_order += 1;
            return Verdict::First;
        };
        let is_skip = matches!(numbers, Numbers::Skip { .. });
        if first == next || (first > next && is_skip) {
            stream.next = Some(end);
            counts.in_order += 1;
            return Verdict::InOrder;
        }
        if first > next {
            stream.missing.extend(next..first);
            counts.missing += first - next;
            counts.gaps += 1;
            stream.limit(counts);
            stream.next = Some(end);
            return Verdict::Gap { from: next, to: first - 1 };
        }
        let filled = (first..end).filter(|number| stream.missing.remove(number)).count() as u64;
        counts.filled += filled;
        stream.limit(counts);
        if end > next {
            counts.overlaps += 1;
            stream.next = Some(end);
            Verdict::Overlap { from: next }
        } else if filled > 0 {
            counts.late += 1;
            Verdict::Late { filled }
        } else {
            counts.old += 1;
            Verdict::Old
        }
    }

    fn settle(&mut self, source: SourceId, symbol: SymbolId, through: u64) -> bool {
        let key = self.key(source, symbol);
        if self.sources[source.index()].rule == SeqRule::None || through == u64::MAX || !self.has_room(key) {
            return false;
        }
        let stream = self.streams.get_mut(&key).unwrap();
        let before = stream.missing.len();
        stream.missing.retain(|number| *number > through);
        stream.lost = stream.lost.filter(|number| *number > through);
        self.sources[source.index()].counts.settled += (before - stream.missing.len()) as u64;
        stream.next = Some(stream.next.unwrap_or(0).max(through + 1));
        true
    }

    fn begin_epoch(&mut self, source: SourceId) {
        let counts = &mut self.sources[source.index()].counts;
        counts.epochs += 1;
        for (_, stream) in self.streams.iter_mut().filter(|(key, _)| key.0 == source.0) {
            counts.given_up += stream.missing.len() as u64;
            *stream = TwinStream::default();
        }
    }

    fn session(&mut self, source: SourceId, session: [u64; 2]) -> Session {
        let from = &mut self.sources[source.index()];
        if from.session.is_none() {
            from.session = Some(session);
            Session::First
        } else if from.session == Some(session) {
            Session::Same
        } else if from.before == Some(session) {
            from.counts.stale += 1;
            Session::Stale
        } else {
            (from.before, from.session) = (from.session, Some(session));
            self.begin_epoch(source);
            Session::New
        }
    }
}

/// A detector and its twin, which do the same things.
struct Pair {
    gaps: GapDetector,
    twin: Twin,
    restarts: u64,
}

const RULES: [(SourceId, SeqRule); 5] = [
    (SourceId(0), SeqRule::Contiguous),
    (SourceId(1), SeqRule::ContiguousPerSymbol),
    (SourceId(2), SeqRule::Increasing),
    (SourceId(3), SeqRule::None),
    (SourceId(255), SeqRule::Contiguous),
];

impl Pair {
    fn new(capacity: usize, seed: u64) -> Self {
        let mut gaps = GapDetector::new(capacity, seed);
        let mut sources: Vec<TwinSource> = (0..256).map(|_| TwinSource::default()).collect();
        for (source, rule) in RULES {
            gaps.define(source, rule).unwrap();
            sources[source.index()].rule = rule;
        }
        Self { gaps, twin: Twin { capacity, sources, streams: BTreeMap::new() }, restarts: 0 }
    }

    fn observe(&mut self, source: SourceId, symbol: SymbolId, numbers: Numbers) -> Verdict {
        let verdict = without_allocation(|| self.gaps.observe(source, symbol, numbers));
        assert_eq!(verdict, self.twin.observe(source, symbol, numbers), "{source:?} {symbol:?} {numbers:?}");
        self.compare_stream(source, symbol);
        verdict
    }

    fn settle(&mut self, source: SourceId, symbol: SymbolId, through: u64) {
        let done = without_allocation(|| self.gaps.settle(source, symbol, through));
        assert_eq!(done, self.twin.settle(source, symbol, through));
        self.compare_stream(source, symbol);
    }

    fn session(&mut self, source: SourceId, session: [u64; 2]) {
        let answer = without_allocation(|| self.gaps.session(source, session));
        assert_eq!(answer, self.twin.session(source, session));
    }

    fn begin_epoch(&mut self, source: SourceId) {
        without_allocation(|| self.gaps.begin_epoch(source));
        self.twin.begin_epoch(source);
    }

    fn restart(&mut self) {
        let mut bytes = Vec::with_capacity(self.gaps.snapshot_bytes());
        without_allocation(|| self.gaps.snapshot(&mut bytes));
        self.gaps = GapDetector::restore(self.twin.capacity, &bytes).unwrap();
        let mut again = Vec::new();
        self.gaps.snapshot(&mut again);
        assert!(again == bytes, "a restored detector has the same snapshot");
        self.restarts += 1;
    }

    fn next(&self, source: SourceId, symbol: SymbolId) -> u64 {
        self.gaps.next(source, symbol).unwrap_or(1_000)
    }

    fn compare_stream(&self, source: SourceId, symbol: SymbolId) {
        let unknown = TwinStream::default();
        let twin = self.twin.streams.get(&self.twin.key(source, symbol)).unwrap_or(&unknown);
        assert_eq!(self.gaps.next(source, symbol), twin.next);
        assert!(self.gaps.missing(source, symbol).eq(twin.runs()));
        let synchronised = twin.next.is_some() && twin.missing.is_empty() && twin.lost.is_none();
        assert_eq!(self.gaps.is_synchronised(source, symbol), synchronised);
        let mut counts = self.twin.sources[source.index()].counts;
        counts.open = self.gaps.counts(source).open;
        assert_eq!(*self.gaps.counts(source), counts);
    }

    fn compare_all(&self) {
        self.gaps.assert_invariants();
        assert_eq!(self.gaps.len(), self.twin.streams.len());
        for (source, _) in RULES {
            let streams = self.twin.streams.iter().filter(|(key, _)| key.0 == source.0);
            let open: usize = streams.map(|(_, stream)| stream.missing.len()).sum();
            assert_eq!(self.gaps.counts(source).open, open as u64);
        }
    }
}

/// Numbers near those of the stream, which are next, ahead, late, old, or nonsense.
fn numbers(prng: &mut Prng, rule: SeqRule, next: u64, missing: Option<(u64, u64)>) -> Numbers {
    let count = if prng.one_in(6) { 0 } else { prng.in_range(1..6) };
    let first = match prng.index(20) {
        0..=9 => next,
        10..=12 => next + prng.in_range(1..9),
        13..=15 => missing.map_or(next, |(from, to)| prng.in_range(from.saturating_sub(2)..to + 2)),
        16 => missing.map_or(next, |(from, _)| from),
        17 | 18 => next.saturating_sub(prng.in_range(0..40)),
        _ => next.saturating_sub(count),
    };
    if prng.one_in(300) {
        let far = u64::MAX - prng.in_range(0..2);
        return [
            Numbers::Run { first: far, count: count + 3 },
            Numbers::Span { first: 5, last: 4 },
            Numbers::Chain { previous: 5, last: 5 },
            Numbers::Span { first: next, last: u64::MAX },
            Numbers::Skip { last: u64::MAX },
            Numbers::Chain { previous: u64::MAX, last: 7 },
        ][if rule == SeqRule::Increasing { 1 + prng.index(5) } else { [0, 3, 4][prng.index(3)] }];
    }
    match rule {
        SeqRule::Increasing => match prng.index(5) {
            0 => Numbers::Skip { last: first },
            1 | 2 => Numbers::Chain { previous: first.saturating_sub(1), last: first.saturating_add(count.max(1)) },
            _ => Numbers::Span { first, last: first + count },
        },
        _ => Numbers::Run { first, count },
    }
}

fn step(pair: &mut Pair, prng: &mut Prng) {
    let (source, rule) = RULES[prng.index(RULES.len())];
    let symbol = SymbolId([0, 1, 2, u32::MAX][prng.index(4)]);
    match prng.index(1_000) {
        0..=2 => pair.begin_epoch(source),
        3..=12 => {
            let session = [prng.in_range(0..4), 0];
            pair.session(source, session);
        }
        13..=32 => {
            let next = pair.next(source, symbol);
            let through = if prng.one_in(40) { u64::MAX } else { (next + 5).saturating_sub(prng.in_range(0..50)) };
            pair.settle(source, symbol, through);
        }
        33 if prng.one_in(4) => pair.restart(),
        _ => {
            let next = pair.next(source, symbol);
            // A stream whose numbers are over stays where it is: begin again.
            if next > 1 << 62 {
                pair.begin_epoch(source);
                return;
            }
            let missing = pair.gaps.missing(source, symbol).nth(prng.index(3));
            let numbers = numbers(prng, rule, next, missing);
            let _ = pair.observe(source, symbol, numbers);
        }
    }
}

fn run(seed: u64, capacity: usize, operations: usize, invariants_every: usize) -> (GapCounts, u64) {
    let _named = PrintOnPanic(format!("seed={seed} capacity={capacity}"));
    let mut prng = Prng::new(seed);
    let mut pair = Pair::new(capacity, seed);
    for operation in 0..operations {
        step(&mut pair, &mut prng);
        if operation % invariants_every == 0 {
            pair.compare_all();
        }
    }
    pair.compare_all();
    (pair.gaps.total(), pair.restarts)
}

#[test]
fn agrees_with_its_twin_with_full_invariants_after_each_operation() {
    assert!(allocations() > 0, "allocations are counted");
    for (seed, capacity) in [0, 1, 2, 3, 10, 64].into_iter().enumerate() {
        let (counts, restarts) = run(seed as u64, capacity, 100_000, 1);
        assert!(restarts > 10);
        if capacity == 0 {
            assert!(counts.untracked > 50_000 && counts.in_order == 0);
            continue;
        }
        if capacity < 10 {
            assert!(counts.untracked > 1_000, "the limit of {capacity} is reached: {}", counts.untracked);
        }
        for (what, count) in [
            ("in order", counts.in_order),
            ("gaps", counts.gaps),
            ("filled", counts.filled),
            ("settled", counts.settled),
            ("given up", counts.given_up),
            ("overlaps", counts.overlaps),
            ("late", counts.late),
            ("old", counts.old),
            ("epochs", counts.epochs),
            ("stale", counts.stale),
            ("malformed", counts.malformed),
        ] {
            assert!(count > 50, "{what} of {capacity}: {count}");
        }
    }
}

/// Ten million operations, in two halves so that two cores share them.
fn half_of_ten_million(half: u64) {
    let mut given_up = 0;
    for round in 0..10 {
        given_up += run(1_000 + half * 10 + round, 300, 500_000, 4_096).0.given_up;
    }
    assert!(given_up > 10_000, "{given_up}");
}

#[test]
fn agrees_with_its_twin_over_ten_million_operations_a() {
    half_of_ten_million(0);
}

#[test]
fn agrees_with_its_twin_over_ten_million_operations_b() {
    half_of_ten_million(1);
}

#[test]
#[ignore = "soak: 100 million operations; cargo test -p tapeline-core --test gaps_model -- --ignored"]
fn soak_agrees_with_its_twin_over_a_hundred_million_operations() {
    for round in 0..200 {
        let _ = run(1 << 32 | round, 20, 500_000, 4_096);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_numbers_agree_with_the_twin(
        messages in prop::collection::vec((0u64..60, 0u64..8, 0usize..12), 1..60),
    ) {
        let mut pair = Pair::new(2, 1);
        for (first, count, other) in messages {
            match other {
                0 => pair.settle(SourceId(0), SymbolId(9), first),
                1 => pair.restart(),
                2 => {
                    let _ = pair.observe(SourceId(2), SymbolId(9), Numbers::Span { first, last: first + count });
                }
                _ => {
                    let _ = pair.observe(SourceId(0), SymbolId(count as u32), Numbers::Run { first, count });
                }
            }
            pair.compare_all();
        }
    }
}
