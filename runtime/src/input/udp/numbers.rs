//! Numbers that follow each other: which messages of a packet are new, and to whom a gap is told.
//!
//! Both lines of a feed, late packets and sent-again ones come through here, so that what leaves is each message once. A gap is told to
//! every symbol that the source has shown in this epoch, since nobody knows whose messages are missing; to nobody's symbol when it has
//! shown none.

use crate::input::SlotBuf;
use std::collections::VecDeque;
use tapeline_core::catalog::SeqRule;
use tapeline_core::event::payload::Gap;
use tapeline_core::event::{Flags, KindVersion, Payload, Slot};
use tapeline_core::gaps::{GAP_RANGES_MAX, GapCounts, GapDetector, Numbers, Verdict};
use tapeline_core::units::{SourceId, SymbolId, UnixNanos};

/// Part of a gap event: no message has it.
pub const GAP_PART: u16 = u16::MAX;
/// Name of the one stream in its detector.
const STREAM: SourceId = SourceId(1);
/// Ranges that are not waited for any more, of which is known that they did not come.
const GIVEN_UP_MAX: usize = 64;

/// Which numbers of a packet did not come before.
#[derive(Clone, Copy, Debug)]
pub struct Fresh {
    /// From this one on, all.
    from: u64,
    /// Of those before it, these: first and last of each.
    missing: [(u64, u64); GAP_RANGES_MAX],
    ranges: usize,
}

impl Fresh {
    /// Whether the message of that number is new.
    #[inline]
    #[must_use]
    pub fn contains(&self, number: u64) -> bool {
        number >= self.from
            || self.missing[..self.ranges].iter().any(|(first, last)| (*first..=*last).contains(&number))
    }
}

/// A gap that is being told.
#[derive(Clone, Copy)]
struct Open {
    gap: Gap,
    ts_recv: UnixNanos,
    ts_event: UnixNanos,
    source: SourceId,
    /// Symbols that have been told.
    told: usize,
}

/// The numbers of one source whose rule is [`SeqRule::Contiguous`], and the symbols that it has shown.
///
/// For each packet: [`Contiguous::observe`], then [`Contiguous::tell`] until it is done, then the messages, each with
/// [`Contiguous::show`]. Allocates in its constructor only.
pub struct Contiguous {
    gaps: GapDetector,
    /// Symbols shown in this epoch, in the order in which they were.
    shown: Vec<SymbolId>,
    is_shown: Box<[u64]>,
    open: Option<Open>,
    /// All from the first number of the epoch on have come, and that was the number 1 or before.
    is_whole: bool,
    /// First number of the epoch.
    begin: u64,
    /// The last ranges that were given up: first and last of each.
    given_up: VecDeque<(u64, u64)>,
    /// Messages that had come before.
    duplicates: u64,
    /// Messages that had not, and were not waited for.
    too_late: u64,
}

impl Contiguous {
    /// Nothing has come yet, and at most `symbols` symbols will.
    #[must_use]
    pub fn new(symbols: usize) -> Self {
        let mut gaps = GapDetector::new(1, 0);
        gaps.define(STREAM, SeqRule::Contiguous).expect("it is defined once");
        Self {
            gaps,
            shown: Vec::with_capacity(symbols),
            is_shown: vec![0; symbols.div_ceil(64)].into_boxed_slice(),
            open: None,
            is_whole: false,
            begin: 0,
            given_up: VecDeque::with_capacity(GIVEN_UP_MAX),
            duplicates: 0,
            too_late: 0,
        }
    }

    /// Takes the numbers of a packet: `count` from `first` on; 0 announce that `first` is the next one. Times and source are those of
    /// the gap events that [`Contiguous::tell`] makes of it. `None` when the numbers are impossible. O(1).
    pub fn observe(
        &mut self,
        first: u64,
        count: u64,
        ts_recv: UnixNanos,
        ts_event: UnixNanos,
        source: SourceId,
    ) -> Option<Fresh> {
        let next = self.gaps.next(STREAM, SymbolId::NONE);
        let mut fresh = Fresh { from: next.unwrap_or(0), missing: [(0, 0); GAP_RANGES_MAX], ranges: 0 };
        if next.is_some_and(|next| first < next) {
            for (into, range) in fresh.missing.iter_mut().zip(self.gaps.missing(STREAM, SymbolId::NONE)) {
                *into = range;
                fresh.ranges += 1;
            }
            let end = first.saturating_add(count);
            for number in (first..end.min(fresh.from)).filter(|number| !fresh.contains(*number)) {
                let is_in = |range: &(u64, u64)| (range.0..=range.1).contains(&number);
                let is_late = number < self.begin || self.given_up.iter().any(is_in);
                self.duplicates += u64::from(!is_late);
                self.too_late += u64::from(is_late);
            }
        }
        let oldest = self.gaps.missing(STREAM, SymbolId::NONE).next();
        let given_up_before = self.gaps.counts(STREAM).given_up;
        match self.gaps.observe(STREAM, SymbolId::NONE, Numbers::Run { first, count }) {
            Verdict::Malformed => return None,
            Verdict::First => {
                self.is_whole = first <= 1;
                self.begin = first;
            }
            Verdict::Gap { from, to } => {
                self.is_whole = false;
                let gap = Gap { expected: from, received: to + 1, missing: to - from + 1 };
                self.open = Some(Open { gap, ts_recv, ts_event, source, told: 0 });
            }
            _ => {}
        }
        // One range more than there is room for, since a gap began or a late packet made two of one: what is oldest makes room. A packet lies within
        // the range that it divides, so that what was given up begins where the oldest range began.
        let given_up = self.gaps.counts(STREAM).given_up.wrapping_sub(given_up_before);
        if let Some((first, _)) = oldest.filter(|_| given_up > 0) {
            if self.given_up.len() == GIVEN_UP_MAX {
                self.given_up.pop_front();
            }
            self.given_up.push_back((first, first + given_up - 1));
        }
        Some(fresh)
    }

    /// Appends the events of a gap that the last packet showed, as far as there is room. `true` when all are told.
    #[must_use]
    pub fn tell(&mut self, out: &mut SlotBuf) -> bool {
        let Some(open) = &mut self.open else { return true };
        // Nobody's symbol stands for all of them where none was shown.
        let symbols: &[SymbolId] = if self.shown.is_empty() { &[SymbolId::NONE] } else { &self.shown };
        for symbol in &symbols[open.told..] {
            if out.remaining() == 0 {
                return false;
            }
            let mut slot = Slot {
                kind: KindVersion::new(Gap::KIND, Gap::VERSION),
                flags: Flags::UNSEQUENCED.with(Flags::LAST),
                ts_recv: open.ts_recv,
                ts_event: open.ts_event,
                seq: open.gap.expected,
                symbol: *symbol,
                part: GAP_PART,
                source: open.source,
                ..Slot::ZERO
            };
            *slot.payload_mut() = open.gap;
            out.extend(&[slot]);
            open.told += 1;
        }
        self.open = None;
        true
    }

    /// Notes that the source has shown a symbol. `true` the first time in this epoch.
    #[inline]
    pub fn show(&mut self, symbol: SymbolId) -> bool {
        let Some(word) = self.is_shown.get_mut(symbol.index() / 64) else { return false };
        let bit = 1 << (symbol.index() % 64);
        if *word & bit != 0 {
            return false;
        }
        *word |= bit;
        self.shown.push(symbol);
        true
    }

    /// Whether every message of this epoch has come, from the first one on: a book that is empty now was empty then.
    #[inline]
    #[must_use]
    pub const fn is_whole(&self) -> bool {
        self.is_whole
    }

    /// The number that is next; `None` before the first packet of an epoch.
    #[inline]
    #[must_use]
    pub fn next(&self) -> Option<u64> {
        self.gaps.next(STREAM, SymbolId::NONE)
    }

    /// The numbers begin anew, and no symbol was shown.
    pub fn begin_epoch(&mut self) {
        self.gaps.begin_epoch(STREAM);
        self.shown.clear();
        self.is_shown.fill(0);
        self.is_whole = false;
        self.open = None;
        self.given_up.clear();
    }

    /// What was counted of gaps.
    #[must_use]
    pub fn counts(&self) -> &GapCounts {
        self.gaps.counts(STREAM)
    }

    /// Messages that had come before; and those of ranges that were given up long ago.
    #[must_use]
    pub const fn duplicates(&self) -> u64 {
        self.duplicates
    }

    /// Messages that came after they were given up, or are before the first of the epoch.
    #[must_use]
    pub const fn too_late(&self) -> u64 {
        self.too_late
    }

    /// Counts the messages of a packet that was not observed, since the same one waits.
    pub const fn count_duplicates(&mut self, messages: u64) {
        self.duplicates += messages;
    }

    /// Whether a packet from `first` on is beyond a hole, which a late packet or a second line may fill.
    #[inline]
    #[must_use]
    pub fn is_beyond_hole(&self, first: u64) -> bool {
        self.next().is_some_and(|next| first > next)
    }

    /// Whether there is a second line: something came twice.
    #[inline]
    #[must_use]
    pub const fn has_pair(&self) -> bool {
        self.duplicates > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use tapeline_core::testing::Prng;

    const NOW: UnixNanos = UnixNanos(5);

    fn take(numbers: &mut Contiguous, first: u64, count: u64) -> Vec<u64> {
        let fresh = numbers.observe(first, count, NOW, NOW, SourceId(3)).unwrap();
        (first..first + count).filter(|number| fresh.contains(*number)).collect()
    }

    #[test]
    fn each_message_is_new_once() {
        let mut numbers = Contiguous::new(8);
        assert_eq!(take(&mut numbers, 1, 3), [1, 2, 3]);
        assert!(numbers.is_whole());
        assert_eq!(take(&mut numbers, 2, 4), [4, 5]);
        assert_eq!(take(&mut numbers, 8, 2), [8, 9]);
        assert!(!numbers.is_whole());
        assert_eq!(take(&mut numbers, 4, 5), [6, 7]);
        assert_eq!(take(&mut numbers, 1, 9), [0; 0]);
        assert_eq!(numbers.duplicates(), 2 + 3 + 9);
        numbers.begin_epoch();
        assert_eq!(take(&mut numbers, 1, 1), [1]);
    }

    #[test]
    fn what_comes_too_late_is_no_duplicate() {
        let mut numbers = Contiguous::new(8);
        // Before the first; then five holes, of which the first two are given up.
        assert_eq!(take(&mut numbers, 10, 1), [10]);
        assert_eq!(take(&mut numbers, 8, 3), [0; 0]);
        assert_eq!((numbers.too_late(), numbers.duplicates()), (2, 1));
        (1..=5).for_each(|hole| drop(take(&mut numbers, 10 + 10 * hole, 1)));
        assert_eq!(take(&mut numbers, 11, 10), [0; 0]);
        assert_eq!((numbers.too_late(), numbers.duplicates()), (2 + 9, 2));
        assert_eq!(
            take(&mut numbers, 21, 30),
            [31, 32, 33, 34, 35, 36, 37, 38, 39, 41, 42, 43, 44, 45, 46, 47, 48, 49, 50]
                .into_iter()
                .filter(|number| number % 10 != 0)
                .collect::<Vec<u64>>()
        );
        assert_eq!((numbers.too_late(), numbers.duplicates()), (2 + 9 + 9, 2 + 3));
    }

    #[test]
    fn what_a_late_packet_makes_us_give_up_is_too_late_and_no_duplicate() {
        let mut numbers = Contiguous::new(8);
        [(1, 1), (10, 1), (20, 1), (30, 1)]
            .into_iter()
            .for_each(|(first, count)| drop(take(&mut numbers, first, count)));
        // A fourth range: of 2 to 9, what is before the late packet is given up.
        assert_eq!(take(&mut numbers, 5, 1), [5]);
        assert_eq!((take(&mut numbers, 2, 3), take(&mut numbers, 6, 2)), (vec![], vec![6, 7]));
        assert_eq!((numbers.too_late(), numbers.duplicates()), (3, 0));
        // Or of the oldest range, all of it.
        assert_eq!(take(&mut numbers, 25, 1), [25]);
        assert_eq!((take(&mut numbers, 8, 2), take(&mut numbers, 21, 4)), (vec![], vec![21, 22, 23, 24]));
        assert_eq!((numbers.too_late(), numbers.duplicates(), numbers.has_pair()), (3 + 2, 0, false));
    }

    /// What is known of numbers, as sets.
    #[derive(Default)]
    struct Naive {
        begin: Option<u64>,
        next: u64,
        missing: BTreeSet<u64>,
        /// Runs that were given up, as far as they are remembered.
        given_up: VecDeque<BTreeSet<u64>>,
        duplicates: u64,
        too_late: u64,
    }

    impl Naive {
        /// The numbers of a packet that are new.
        fn take(&mut self, first: u64, count: u64) -> Vec<u64> {
            let begin = *self.begin.get_or_insert_with(|| {
                self.next = first;
                first
            });
            self.missing.extend(self.next..first);
            let next = self.next;
            self.next = next.max(first + count);
            let mut new = Vec::new();
            for number in first..first + count {
                if number >= next || self.missing.remove(&number) {
                    new.push(number);
                } else if number < begin || self.given_up.iter().any(|run| run.contains(&number)) {
                    self.too_late += 1;
                } else {
                    self.duplicates += 1;
                }
            }
            while self.runs() > GAP_RANGES_MAX {
                let first = *self.missing.first().expect("there are runs");
                let run: BTreeSet<u64> = (first..).take_while(|number| self.missing.remove(number)).collect();
                if self.given_up.len() == GIVEN_UP_MAX {
                    self.given_up.pop_front();
                }
                self.given_up.push_back(run);
            }
            new
        }

        fn runs(&self) -> usize {
            self.missing.iter().filter(|number| !self.missing.contains(&(*number - 1))).count()
        }
    }

    /// Packets of one to nine messages over two lines that lose, repeat, divide and delay: what is new, what came twice and what came too late is
    /// what sets say, at every packet.
    #[test]
    fn two_lines_give_what_sets_give() {
        let (mut given_up, mut too_late, mut divided) = (0, 0, 0);
        for seed in 0..300 {
            let mut prng = Prng::new(seed);
            let (mut numbers, mut naive) = (Contiguous::new(8), Naive::default());
            let (mut at, mut late) = (1, Vec::new());
            for _ in 0..300 {
                let count = prng.in_range(1..10);
                let mut packets = vec![(at, count)];
                at += count;
                if prng.one_in(3) {
                    packets.push(packets[0]);
                }
                if prng.one_in(10) {
                    late.append(&mut packets);
                }
                if prng.one_in(5) && !late.is_empty() {
                    let (first, count) = late.swap_remove(prng.index(late.len()));
                    // All of it, or a part: the rest comes later, or never.
                    let from = prng.in_range(0..count);
                    let part = (first + from, prng.in_range(1..count - from + 1));
                    divided += u64::from(part.1 < count);
                    packets.push(part);
                    if prng.one_in(2) {
                        late.push((first, count));
                    }
                }
                for (first, count) in packets {
                    let (got, expected) = (take(&mut numbers, first, count), naive.take(first, count));
                    assert_eq!(got, expected, "seed {seed}: {first} and {count}");
                    let counts = (numbers.duplicates(), numbers.too_late());
                    assert_eq!(counts, (naive.duplicates, naive.too_late), "seed {seed}: {first} and {count}");
                }
            }
            given_up += naive.given_up.len();
            too_late += naive.too_late;
        }
        assert!(given_up > 1_000 && too_late > 1_000 && divided > 1_000, "{given_up} {too_late} {divided}");
    }

    #[test]
    fn a_gap_is_told_to_all_that_were_shown_whatever_the_room() {
        for room in 1..6 {
            let mut numbers = Contiguous::new(70);
            let _ = take(&mut numbers, 1, 1);
            for symbol in [3, 69, 5] {
                assert!(numbers.show(SymbolId(symbol)));
                assert!(!numbers.show(SymbolId(symbol)));
            }
            let _ = take(&mut numbers, 10, 1);
            let (mut out, mut told) = (SlotBuf::with_capacity(room), Vec::new());
            loop {
                let is_done = numbers.tell(&mut out);
                told.extend(out.slots().iter().map(|slot| (slot.symbol.0, slot.seq, *slot.payload_as::<Gap>())));
                out.clear();
                if is_done {
                    break;
                }
            }
            let gap = Gap { expected: 2, received: 10, missing: 8 };
            assert_eq!(told, [(3, 2, gap), (69, 2, gap), (5, 2, gap)]);
            assert!(numbers.tell(&mut out) && out.slots().is_empty());
        }
        let mut numbers = Contiguous::new(8);
        let _ = (take(&mut numbers, 1, 1), take(&mut numbers, 3, 1));
        let mut out = SlotBuf::with_capacity(4);
        assert!(numbers.tell(&mut out));
        assert_eq!(out.slots()[0].symbol, SymbolId::NONE);
    }
}
