//! One order: the events of a symbol, of some kinds, in a range of time, from all tapes, in order.

use super::OPEN_MAX;
use super::archive::{Archive, Fault, Places, Tape};
use super::groups::Rows;
use crate::tape::TapeReader;
use std::fs::File;
use tapeline_core::backfill::HistoryOrder;
use tapeline_core::event::payload::{BackfillDone, BackfillRest, BackfillStatus};
use tapeline_core::event::{EventBuf, EventRef, Flags, Kind, Slot};
use tapeline_core::hash;
use tapeline_core::limits::{KIND_ROWS, TIME_NS_MAX};
use tapeline_core::units::UnixNanos;

/// What came of looking for the next event.
pub(super) enum Look {
    /// It is in the buffer.
    Event,
    /// A block was read, or nothing of interest was found in it yet: look again.
    Busy,
    /// There is none any more.
    End,
    /// It cannot be read.
    Failed(Fault),
}

/// A tape that has something in the range, as far as is known.
struct Feed {
    /// Its number in the archive.
    tape: usize,
    reader: Blocks,
    /// Slots of the block that was read last: how many there are, and the next one to look at.
    len: usize,
    at: usize,
    /// Running maximum of `ts_recv`.
    time: u64,
    /// Where the next event that is wanted stands; `None` = it has to be looked for.
    found: Option<usize>,
}

/// The events of a file, some at a time.
enum Blocks {
    Tape(Box<TapeReader<File>>),
    Parquet(Box<Rows>),
}

impl Blocks {
    /// Reads some more. `None` at the end, else how many slots there are now.
    fn next(&mut self, tape: &Tape) -> Result<Option<usize>, Fault> {
        match self {
            Self::Tape(reader) => match reader.next_block() {
                Ok(block) => Ok(block.map(|block| block.slots.len())),
                Err(error) => Err(Fault::of(&tape.path, error)),
            },
            Self::Parquet(rows) => rows.next().map_err(Fault::Parquet),
        }
    }

    /// The slots that were read last, and maybe others after them.
    fn buffer(&self) -> &[Slot] {
        match self {
            Self::Tape(reader) => reader.buffer(),
            Self::Parquet(rows) => rows.slots(),
        }
    }
}

/// See the [module](self). Allocates: it runs off the hot cores.
pub(super) struct Reading {
    pub(super) order: HistoryOrder,
    symbol: Vec<u8>,
    feeds: Vec<Feed>,
    next_tape: usize,
    event: Vec<Slot>,
    /// By kind: events that were given out, times of the first and the last.
    counts: [(u64, u64, u64); KIND_ROWS],
    origin: u64,
    pub(super) blocks: u64,
}

impl Reading {
    pub(super) fn new(order: HistoryOrder, symbol: Vec<u8>) -> Self {
        Self {
            order,
            symbol,
            feeds: Vec::new(),
            next_tape: 0,
            event: Vec::new(),
            counts: [(0, 0, 0); KIND_ROWS],
            origin: 0,
            blocks: 0,
        }
    }

    /// The event that [`Look::Event`] found.
    pub(super) fn event(&self) -> &[Slot] {
        &self.event
    }

    /// Looks for the next event. Reads one block at most.
    pub(super) fn look(&mut self, archive: &Archive) -> Look {
        loop {
            if let Some(fault) = self.open_next(archive) {
                return Look::Failed(fault);
            }
            let Some(at) = self.feeds.iter().position(|feed| feed.found.is_none()) else { break };
            let feed = &mut self.feeds[at];
            let tape = &archive.tapes[feed.tape];
            if feed.seek(&self.order, tape, &self.symbol) {
                continue; // A tape may begin before this one goes on.
            }
            if feed.at < feed.len {
                self.feeds.remove(at); // Past the range.
                continue;
            }
            match feed.reader.next(tape) {
                Ok(Some(slots)) => {
                    (feed.at, feed.len) = (0, slots);
                    self.blocks += 1;
                }
                Ok(None) => {
                    self.feeds.remove(at);
                }
                Err(fault) => return Look::Failed(fault),
            }
            return Look::Busy;
        }
        // Without any that goes on, all tapes of the range have been opened.
        let Some(next) = (0..self.feeds.len()).min_by_key(|at| (self.feeds[*at].time, self.feeds[*at].tape)) else {
            return Look::End;
        };
        self.take(next, archive);
        Look::Event
    }

    /// Opens the tapes that may begin before what is next; without any, the next one of the range.
    fn open_next(&mut self, archive: &Archive) -> Option<Fault> {
        while let Some(tape) = archive.tapes.get(self.next_tape) {
            let reach = self.feeds.iter().map(|feed| feed.time).min();
            if tape.first >= self.order.range.to {
                self.next_tape = archive.tapes.len();
                return None;
            }
            if reach.is_some_and(|reach| tape.first.0 > reach) {
                return None;
            }
            let number = self.next_tape;
            self.next_tape += 1;
            if tape.ids_of(&self.symbol).is_empty() {
                continue;
            }
            if self.feeds.len() == OPEN_MAX {
                let error = std::io::Error::other(format!("more than {OPEN_MAX} tapes at one time"));
                return Some(Fault::Missing { path: tape.path.clone(), error });
            }
            match Feed::open(number, tape, self.order.range.from) {
                Ok(feed) => self.feeds.push(feed),
                Err(fault) => return Some(fault),
            }
        }
        None
    }

    /// Makes the found event of a feed the one in the buffer.
    fn take(&mut self, at: usize, archive: &Archive) {
        let feed = &mut self.feeds[at];
        let Some(found) = feed.found.take() else { return };
        let tape = &archive.tapes[feed.tape];
        let slots = &feed.reader.buffer()[found..feed.at];
        self.event.clear();
        self.event.extend_from_slice(slots);
        let head = &mut self.event[0];
        head.symbol = self.order.symbol;
        head.source = tape.sources[head.source.index()];
        head.flags = head.flags.with(Flags::HISTORICAL);
        let count = &mut self.counts[head.kind().row()];
        if count.0 == 0 {
            count.1 = head.ts_recv.0;
        }
        (count.0, count.2) = (count.0 + 1, head.ts_recv.0);
        self.origin = tape.origin;
    }

    /// Events that were given out.
    pub(super) fn events(&self) -> u64 {
        self.counts.iter().map(|count| count.0).sum()
    }

    /// What tells how the reading ended: an event for each kind that was wanted.
    pub(super) fn ends(&self, has_failed: bool) -> Vec<EventBuf> {
        let HistoryOrder { symbol, kinds, range, due, .. } = self.order;
        // The same for any number of shards.
        let seq = hash::stable(bytemuck::bytes_of(&[range.from.0, range.to.0, kinds.bits()]));
        let wanted = Kind::ALL.iter().filter(|kind| kinds.contains(**kind));
        let ends = wanted.zip(0..).map(|(kind, part)| {
            let (events, first_ns, last_ns) = self.counts[kind.row()];
            let status = match (has_failed, self.events()) {
                (false, _) => BackfillStatus::Complete,
                (true, 0) => BackfillStatus::Failed,
                (true, _) => BackfillStatus::Partial,
            };
            let mut end = EventBuf::new(&BackfillDone {
                from_ns: range.from.0,
                to_ns: range.to.0,
                layer: kind.0,
                status: status as u8,
                ..BackfillDone::default()
            });
            let rest = BackfillRest { events, first_ns, last_ns, origin: self.origin, ..BackfillRest::default() };
            end.push_value(&rest).expect("two slots fit a span");
            end.flag(Flags::HISTORICAL.with(Flags::LAST));
            let head = end.head_mut();
            (head.ts_recv, head.ts_event) = (due, due);
            (head.symbol, head.seq, head.part) = (symbol, seq, part);
            end
        });
        ends.collect()
    }
}

impl Feed {
    /// The tape, at the place from which on nothing of `from` or later is missed.
    fn open(number: usize, tape: &Tape, from: UnixNanos) -> Result<Self, Fault> {
        let missing = |error| Fault::Missing { path: tape.path.clone(), error };
        let (reader, time) = match &tape.places {
            Places::Tape(index) => {
                let file = File::open(&tape.path).map_err(missing)?;
                let reader = index.seek(file, from).map_err(|error| Fault::of(&tape.path, error))?;
                // Not `ts_recv_max` of the chain: one time that no clock shows, early on the tape, would end every later order.
                let entry = index.entries().binary_search_by_key(&reader.offset(), |entry| entry.offset);
                let time = entry.map_or(0, |at| index.entries()[at].ts_before);
                (Blocks::Tape(Box::new(reader)), time)
            }
            Places::Parquet(groups) => {
                let (rows, time) = groups.seek(&tape.path, from).map_err(Fault::Parquet)?;
                (Blocks::Parquet(Box::new(rows)), time)
            }
        };
        // Until more is known, it may go on from its beginning.
        let time = time.max(tape.first.0);
        Ok(Self { tape: number, reader, len: 0, at: 0, time, found: None })
    }

    /// Looks in the rest of the block for the next event that is wanted. True when it was found. When not, and the block is not used up, the
    /// range is.
    fn seek(&mut self, order: &HistoryOrder, tape: &Tape, symbol: &[u8]) -> bool {
        let ids = tape.ids_of(symbol);
        while let Some(event) = EventRef::first(&self.reader.buffer()[self.at..self.len]) {
            let (head, span) = (event.head(), event.slots().len());
            let time = if head.ts_recv.0 > TIME_NS_MAX { self.time } else { self.time.max(head.ts_recv.0) };
            if time >= order.range.to.0 {
                return false;
            }
            self.time = time;
            let is_wanted = time >= order.range.from.0
                && order.kinds.contains(head.kind())
                && ids.contains(&head.symbol.0)
                && head.source.index() < tape.sources.len()
                && head.ts_recv.0 <= TIME_NS_MAX
                && !head.kind().is_control()
                && !head.flags.contains(Flags::DERIVED);
            let at = self.at;
            self.at += span;
            if is_wanted {
                self.found = Some(at);
                return true;
            }
        }
        self.at = self.len;
        false
    }
}
