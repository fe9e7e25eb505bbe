//! The gap detector: what a source's numbers say about what came before. Used in the source, before routing.
//!
//! - **One stream of numbers** is a source ([`SeqRule::Contiguous`]) or one symbol of a source (the other rules). Of each the
//!   detector knows the next number and up to [`GAP_RANGES_MAX`] ranges that are missing.
//! - **A message is taken in any case.** The answer says what was missing before it, or that it is late or old; whether one event is a
//!   duplicate is for the [dedup window](crate::dedup) to say.
//! - **Synchronised** is a stream of which nothing is missing, and never before: not when a message comes that is not ahead of the
//!   others, but when the last missing number has come.
//! - No allocation after construction. A stream that does not fit is answered [`Verdict::Untracked`], and counted; a range that does
//!   not fit gives up the oldest one, and that is counted too. `missing = filled + settled + given_up + open` at every instant.
//!
//! | protocol | rule | what a message gives |
//! |---|---|---|
//! | MoldUDP64 | contiguous | [`Numbers::Run`]: sequence number and message count of the packet. 0 messages (a heartbeat, or the end of the session, whose count of 0xffff is a mark and no count) announce the next number |
//! | IEX-TP | contiguous | [`Numbers::Run`]: first message sequence number and message count |
//! | depth of Binance spot | increasing | [`Numbers::Span`]: `U` and `u`; a gap unless `U` = last `u` + 1 |
//! | depth of Binance futures | increasing | [`Numbers::Chain`]: `pu` and `u`; a gap unless `pu` = last `u` |
//! | `bookTicker` of Binance | increasing | [`Numbers::Skip`]: `u`; numbers are left out by design |
//!
//! A session is told by [`GapDetector::session`] before the packet's numbers; another one is a new epoch of the source, and a packet of
//! the session before is stale. What begins an epoch by other means (an `EPOCH` event) calls [`GapDetector::begin_epoch`].
//!
//! ```
//! use tapeline_core::catalog::SeqRule;
//! use tapeline_core::gaps::{GapDetector, Numbers, Verdict};
//! use tapeline_core::units::{SourceId, SymbolId};
//!
//! let (source, none) = (SourceId(1), SymbolId::NONE);
//! let mut gaps = GapDetector::new(16, 42);
//! gaps.define(source, SeqRule::Contiguous).unwrap();
//! assert_eq!(gaps.observe(source, none, Numbers::Run { first: 1, count: 3 }), Verdict::First);
//! assert_eq!(gaps.observe(source, none, Numbers::Run { first: 6, count: 1 }), Verdict::Gap { from: 4, to: 5 });
//! // The heartbeat says that 7 is next: nothing new is missing.
//! assert_eq!(gaps.observe(source, none, Numbers::Run { first: 7, count: 0 }), Verdict::InOrder);
//! assert!(!gaps.is_synchronised(source, none));
//! assert_eq!(gaps.observe(source, none, Numbers::Run { first: 4, count: 2 }), Verdict::Late { filled: 2 });
//! assert!(gaps.is_synchronised(source, none));
//! ```

mod check;
mod snapshot;
mod stream;

use crate::catalog::SeqRule;
use crate::hash::{self, SeededHash};
use crate::limits::{GAP_STREAMS_MAX, SOURCES_MAX};
use crate::units::{SourceId, SymbolId};
use bytemuck::{Pod, Zeroable};
use stream::Stream;

pub use stream::GAP_RANGES_MAX;

/// What a message says of its numbers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Numbers {
    /// `count` numbers from `first` on, for the contiguous rules. A count of 0 announces that `first` is the next number.
    Run {
        /// The first number, or the next one.
        first: u64,
        /// How many.
        count: u64,
    },
    /// All from `first` to `last`, both included, for [`SeqRule::Increasing`].
    Span {
        /// The first number that the message covers.
        first: u64,
        /// The last one.
        last: u64,
    },
    /// All after `previous` up to `last`, for [`SeqRule::Increasing`].
    Chain {
        /// Last number of the message before.
        previous: u64,
        /// Last number of this one.
        last: u64,
    },
    /// Only `last`, of numbers that are left out by design, for [`SeqRule::Increasing`]: there are no gaps.
    Skip {
        /// The message's number.
        last: u64,
    },
}

/// What the numbers of a message say.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum Verdict {
    /// The first message of its stream in this epoch: nothing is known of what came before.
    First,
    /// What was next; or a heartbeat that agrees.
    InOrder,
    /// The numbers `from` to `to`, both included, are missing before this message.
    Gap {
        /// The first that is missing.
        from: u64,
        /// The last that is missing.
        to: u64,
    },
    /// It begins with numbers that are not ahead, and goes on with new ones from `from` on.
    Overlap {
        /// The first new number.
        from: u64,
    },
    /// All of it is before the next number, and `filled` numbers of it were missing.
    Late {
        /// How many are missing no more.
        filled: u64,
    },
    /// All of it was there before, or was given up.
    Old,
    /// The source has no numbers, or was not defined.
    Exempt,
    /// There is no room for another stream.
    Untracked,
    /// Not numbers of the source's rule: of another form, backward, or up to `u64::MAX`, after which there is no next one.
    Malformed,
}

/// What the session in a packet says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum Session {
    /// The first one of the source.
    First,
    /// The same as before.
    Same,
    /// Another one: a new epoch has begun.
    New,
    /// The one before the present one: the packet is stale, and its numbers are none of this session.
    Stale,
}

/// The source counts by another rule already.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the source counts {}, not {}", .here.name(), .asked.name())]
pub struct OtherRule {
    /// The rule that it has.
    pub here: SeqRule,
    /// The rule that was asked for.
    pub asked: SeqRule,
}

/// What was counted for one source, or for all. Numbers, not messages, where it says so; they wrap.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Pod, Zeroable)]
pub struct GapCounts {
    /// Messages that were in order, the first ones included.
    pub in_order: u64,
    /// Gaps found.
    pub gaps: u64,
    /// Numbers that were missing when a gap was found.
    pub missing: u64,
    /// Numbers that came late.
    pub filled: u64,
    /// Numbers that were missing and are settled: see [`GapDetector::settle`].
    pub settled: u64,
    /// Numbers that were missing when there was no room to wait for them, or when an epoch began.
    pub given_up: u64,
    /// Numbers that are missing and waited for.
    pub open: u64,
    /// Messages that began with old numbers and went on with new ones.
    pub overlaps: u64,
    /// Messages that filled something.
    pub late: u64,
    /// Messages that brought nothing: duplicates, or too late.
    pub old: u64,
    /// Epochs begun.
    pub epochs: u64,
    /// Messages of the session before.
    pub stale: u64,
    /// Messages of a stream that there was no room for.
    pub untracked: u64,
    /// Messages with impossible numbers.
    pub malformed: u64,
}

/// Words of [`GapCounts`].
const COUNTS: usize = size_of::<GapCounts>() / 8;

/// What is known of a source as a whole.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
struct Source {
    /// The present session and the one before; zero as far as `sessions` does not count them.
    session: [u64; 2],
    before: [u64; 2],
    /// Streams of another epoch begin anew.
    epoch: u32,
    /// A [`SeqRule`].
    rule: u8,
    /// Sessions known, up to 2.
    sessions: u8,
    pad: [u8; 2],
    counts: GapCounts,
}

/// Finds gaps in the numbers of up to `capacity` streams. See the [module](self).
#[derive(Clone)]
pub struct GapDetector {
    sources: Box<[Source]>,
    streams: Box<[Stream]>,
    /// Index of a stream + 1, or 0 for a free cell. At most half full; nothing is ever taken out.
    cells: Box<[u32]>,
    len: usize,
    hash: SeededHash,
}

impl GapDetector {
    /// A detector for `capacity` streams. Allocates, and touches, all that it will ever need: O(`capacity`), 88 bytes for each.
    ///
    /// `seed` is the hash's. A capacity of 0 tracks nothing.
    ///
    /// # Panics
    /// When `capacity` is above [`GAP_STREAMS_MAX`].
    #[must_use]
    pub fn new(capacity: usize, seed: u64) -> Self {
        assert!(capacity <= GAP_STREAMS_MAX, "at most {GAP_STREAMS_MAX} streams, not {capacity}");
        Self {
            sources: vec![Source::zeroed(); SOURCES_MAX].into_boxed_slice(),
            streams: vec![Stream::zeroed(); capacity].into_boxed_slice(),
            cells: vec![0; (2 * capacity).max(1)].into_boxed_slice(),
            len: 0,
            hash: SeededHash::new(seed),
        }
    }

    /// Says how a source counts. To say the same again changes nothing.
    ///
    /// # Errors
    /// [`OtherRule`] when it counts by another rule already.
    pub fn define(&mut self, source: SourceId, rule: SeqRule) -> Result<(), OtherRule> {
        let here = self.rule(source);
        if here != rule && here != SeqRule::None {
            return Err(OtherRule { here, asked: rule });
        }
        self.sources[source.index()].rule = rule as u8;
        Ok(())
    }

    /// How a source counts.
    #[inline]
    #[must_use]
    pub fn rule(&self, source: SourceId) -> SeqRule {
        SeqRule::from_u8(self.sources[source.index()].rule)
    }

    /// Takes the numbers of a message, and says what they mean. O(1) expected.
    ///
    /// Under [`SeqRule::Contiguous`] the symbol does not matter.
    #[inline]
    pub fn observe(&mut self, source: SourceId, symbol: SymbolId, numbers: Numbers) -> Verdict {
        let rule = self.rule(source);
        if rule == SeqRule::None {
            return Verdict::Exempt;
        }
        let verdict = match interval(rule, numbers) {
            None => Verdict::Malformed,
            Some((first, end)) => match self.stream(source, symbol, rule) {
                None => Verdict::Untracked,
                Some(index) => {
                    let skips = matches!(numbers, Numbers::Skip { .. });
                    let counts = &mut self.sources[source.index()].counts;
                    self.streams[index].observe(counts, first, end, skips)
                }
            },
        };
        self.sources[source.index()].counts.note(verdict);
        verdict
    }

    /// Everything up to `through` is known by other means (a book's snapshot holds as of its number, a session begins at 1):
    /// nothing of it is waited for, and what is after it is next, unless more has come already. `false` when there is no room for the
    /// stream, the source has no numbers, or `through` is `u64::MAX`.
    pub fn settle(&mut self, source: SourceId, symbol: SymbolId, through: u64) -> bool {
        let rule = self.rule(source);
        let (false, Some(end)) = (rule == SeqRule::None, through.checked_add(1)) else { return false };
        let Some(index) = self.stream(source, symbol, rule) else { return false };
        self.streams[index].settle(&mut self.sources[source.index()].counts, end);
        true
    }

    /// Takes the session that a packet names (as two words, whatever the protocol has), before the packet's numbers.
    ///
    /// Another session begins an epoch, except the one before the present one: its packets are late.
    #[inline]
    pub fn session(&mut self, source: SourceId, session: [u64; 2]) -> Session {
        let from = &mut self.sources[source.index()];
        if from.sessions > 0 && from.session == session {
            return Session::Same;
        }
        self.other_session(source, session)
    }

    #[cold]
    fn other_session(&mut self, source: SourceId, session: [u64; 2]) -> Session {
        let from = &mut self.sources[source.index()];
        if from.sessions == 0 {
            (from.session, from.sessions) = (session, 1);
            return Session::First;
        }
        if from.sessions == 2 && from.before == session {
            from.counts.stale = from.counts.stale.wrapping_add(1);
            return Session::Stale;
        }
        (from.before, from.session, from.sessions) = (from.session, session, 2);
        self.begin_epoch(source);
        Session::New
    }

    /// The source's numbers begin anew: what comes next is the first of its stream. O(1), but once in 2^32 times.
    pub fn begin_epoch(&mut self, source: SourceId) {
        let from = &mut self.sources[source.index()];
        from.counts.epochs = from.counts.epochs.wrapping_add(1);
        from.counts.given_up = from.counts.given_up.wrapping_add(from.counts.open);
        from.counts.open = 0;
        from.epoch = from.epoch.wrapping_add(1);
        if from.epoch == 0 {
            self.forget_epochs(source);
        }
    }

    /// The number of the epoch has wrapped: streams that were last seen 2^32 epochs ago must not count as of this one.
    #[cold]
    fn forget_epochs(&mut self, source: SourceId) {
        for stream in self.streams[..self.len].iter_mut().filter(|stream| stream.source() == source) {
            stream.restart(u32::MAX);
        }
    }

    /// Whether all numbers of the stream up to the highest that came, from the first one of this epoch or from what was settled, have
    /// come. `false` for a stream that has not begun.
    #[must_use]
    pub fn is_synchronised(&self, source: SourceId, symbol: SymbolId) -> bool {
        self.known(source, symbol).is_some_and(Stream::is_synchronised)
    }

    /// The number that is next in the stream; `None` when it has not begun in this epoch.
    #[must_use]
    pub fn next(&self, source: SourceId, symbol: SymbolId) -> Option<u64> {
        self.known(source, symbol).map(|stream| stream.next)
    }

    /// The ranges of a stream that are waited for, lowest first: first and last number of each.
    pub fn missing(&self, source: SourceId, symbol: SymbolId) -> impl Iterator<Item = (u64, u64)> {
        self.known(source, symbol).into_iter().flat_map(Stream::ranges).map(|[from, end]| (*from, end - 1))
    }

    /// What was counted for a source.
    #[inline]
    #[must_use]
    pub fn counts(&self, source: SourceId) -> &GapCounts {
        &self.sources[source.index()].counts
    }

    /// What was counted for all sources.
    #[must_use]
    pub fn total(&self) -> GapCounts {
        let mut total = [0u64; COUNTS];
        for source in &self.sources {
            let counts: [u64; COUNTS] = bytemuck::must_cast(source.counts);
            for (total, count) in total.iter_mut().zip(counts) {
                *total = total.wrapping_add(count);
            }
        }
        bytemuck::must_cast(total)
    }

    /// Streams known.
    #[inline]
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether no stream is known.
    #[inline]
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Streams that there is room for.
    #[inline]
    #[must_use]
    pub const fn capacity(&self) -> usize {
        self.streams.len()
    }

    /// Bytes that the detector owns on the heap.
    #[must_use]
    pub fn bytes(&self) -> usize {
        size_of_val(&*self.sources) + size_of_val(&*self.streams) + size_of_val(&*self.cells)
    }

    /// The stream of this source and symbol in the source's present epoch; a new one where there is none. `None` when it is full.
    #[inline]
    fn stream(&mut self, source: SourceId, symbol: SymbolId, rule: SeqRule) -> Option<usize> {
        let key = stream::key(source, symbol, rule);
        let index = match self.find(key) {
            Ok(index) => index,
            Err(cell) => self.add(key, cell)?,
        };
        let epoch = self.sources[source.index()].epoch;
        let stream = &mut self.streams[index];
        if stream.epoch != epoch {
            stream.restart(epoch);
        }
        Some(index)
    }

    /// As [`GapDetector::stream`], without a change. `None` unless it has begun.
    fn known(&self, source: SourceId, symbol: SymbolId) -> Option<&Stream> {
        let index = self.find(stream::key(source, symbol, self.rule(source))).ok()?;
        let stream = &self.streams[index];
        (stream.epoch == self.sources[source.index()].epoch && stream.has_begun()).then_some(stream)
    }

    /// Index of a stream, or the cell where it belongs.
    #[inline]
    fn find(&self, key: u64) -> Result<usize, usize> {
        let mut cell = hash::reduce(self.hash.of_words([key, 0]), self.cells.len());
        // Ends: at most half of the cells are taken.
        loop {
            match self.cells[cell] {
                0 => return Err(cell),
                index if self.streams[index as usize - 1].key == key => return Ok(index as usize - 1),
                _ => cell = if cell + 1 == self.cells.len() { 0 } else { cell + 1 },
            }
        }
    }

    #[cold]
    fn add(&mut self, key: u64, cell: usize) -> Option<usize> {
        let index = self.len;
        self.streams.get_mut(index)?.key = key;
        self.cells[cell] = index as u32 + 1;
        self.len += 1;
        Some(index)
    }
}

impl GapCounts {
    /// Counts a message; what its numbers add was counted where it was found.
    #[inline]
    const fn note(&mut self, verdict: Verdict) {
        let count = match verdict {
            Verdict::First | Verdict::InOrder => &mut self.in_order,
            Verdict::Gap { .. } => &mut self.gaps,
            Verdict::Overlap { .. } => &mut self.overlaps,
            Verdict::Late { .. } => &mut self.late,
            Verdict::Old => &mut self.old,
            Verdict::Untracked => &mut self.untracked,
            Verdict::Malformed => &mut self.malformed,
            Verdict::Exempt => return,
        };
        *count = count.wrapping_add(1);
    }
}

/// First number and the one after the last; equal for a heartbeat. `None` when the rule knows no such numbers.
#[inline]
fn interval(rule: SeqRule, numbers: Numbers) -> Option<(u64, u64)> {
    let is_run = matches!(numbers, Numbers::Run { .. });
    if is_run != matches!(rule, SeqRule::Contiguous | SeqRule::ContiguousPerSymbol) {
        return None;
    }
    let (first, end) = match numbers {
        Numbers::Run { first, count } => return Some((first, first.checked_add(count)?)),
        Numbers::Span { first, last } => (first, last.checked_add(1)?),
        Numbers::Chain { previous, last } => (previous.checked_add(1)?, last.checked_add(1)?),
        Numbers::Skip { last } => (last, last.checked_add(1)?),
    };
    (first < end).then_some((first, end))
}

impl std::fmt::Debug for GapDetector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GapDetector")
            .field("len", &self.len)
            .field("capacity", &self.capacity())
            .field("total", &self.total())
            .finish_non_exhaustive()
    }
}
