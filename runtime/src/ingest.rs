//! Ingest: captures are read, decoded and merged on a thread of their own, into blocks that the source station takes.
//!
//! Blocks are preallocated and go round between two bounded queues, so that memory does not depend on the length of a
//! capture and a source that is behind makes the reader wait.
//!
//! # Merging
//! Several captures are merged by (running maximum of the input's `ts_recv`, source name, number of the message in its
//! input, the input's name). A merge never reorders one input, never splits a message, keeps every event, and does not
//! depend on the order of the arguments.
//!
//! # Passes
//! With `--loop`, each pass begins with an epoch event and shifts all times by the span of the first pass and 1 ms more
//! than the pass before.

use crate::input::{Input, InputError, MESSAGE_SLOTS_MAX, SlotBuf, Status, Tally};
use crossbeam_queue::ArrayQueue;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;
use tapeline_core::catalog::Catalog;
use tapeline_core::event::payload::Epoch;
use tapeline_core::event::{EventBuf, EventRef, Flags, Kind, Slot};
use tapeline_core::limits::TIME_NS_MAX;
use tapeline_core::stop::{Stop, StopWord};
use tapeline_core::units::{SourceId, SymbolId, UnixNanos};

/// Slots of one block: 1 MiB.
pub const BLOCK_SLOTS: usize = MESSAGE_SLOTS_MAX;
/// Blocks that go round. Enough that a decoder that is descheduled for some milliseconds is not noticed.
pub const BLOCKS: usize = 8;
/// Shortest pause of a reader that waits for an empty block.
const PAUSE_MIN: Duration = Duration::from_micros(100);
/// Longest pause. A stop is seen within it.
const PAUSE_MAX: Duration = Duration::from_millis(20);
/// Time between the passes of `--loop`, in ns of capture time.
pub const PASS_GAP_NS: u64 = 1_000_000;

/// A run of events on its way from ingest to source.
pub struct Block {
    /// Definitions that the events use for the first time.
    pub definitions: Vec<Slot>,
    /// Whole events, in order.
    pub events: SlotBuf,
    /// Nothing follows.
    pub is_last: bool,
}

impl Block {
    fn new() -> Self {
        Self { definitions: Vec::with_capacity(1 << 10), events: SlotBuf::with_capacity(BLOCK_SLOTS), is_last: false }
    }

    fn clear(&mut self) {
        self.definitions.clear();
        self.events.clear();
        self.is_last = false;
    }
}

/// The two queues that blocks go round.
#[derive(Clone)]
pub struct BlockQueue {
    full: Arc<ArrayQueue<Box<Block>>>,
    empty: Arc<ArrayQueue<Box<Block>>>,
    stop: Arc<StopWord>,
    ended: Arc<AtomicBool>,
}

impl BlockQueue {
    /// Queues with `blocks` empty blocks.
    #[must_use]
    pub fn new(blocks: usize) -> Self {
        let empty = ArrayQueue::new(blocks);
        for _ in 0..blocks {
            assert!(empty.push(Box::new(Block::new())).is_ok(), "the queue holds all blocks");
        }
        Self {
            full: Arc::new(ArrayQueue::new(blocks)),
            empty: Arc::new(empty),
            stop: Arc::default(),
            ended: Arc::default(),
        }
    }

    /// The next block, if one is ready. Never waits.
    #[must_use]
    pub fn take(&self) -> Option<Box<Block>> {
        self.full.pop()
    }

    /// Gives a used block back.
    pub fn give_back(&self, mut block: Box<Block>) {
        block.clear();
        assert!(self.empty.push(block).is_ok(), "the queue holds all blocks");
    }

    /// Tells the reader that nobody will take blocks any more.
    pub fn stop(&self) {
        self.stop.request(Stop::Now);
    }

    /// Tells it when it is dropped: a start that fails, or a run that ends by an error, leaves no reader behind that waits for ever.
    #[must_use]
    pub fn stop_guard(&self) -> StopGuard {
        StopGuard(self.clone())
    }

    /// Blocks that are ready.
    #[must_use]
    pub fn ready(&self) -> usize {
        self.full.len()
    }

    /// Says that the reader sends nothing more, whether it came to its end or died: dropped by the reader's thread.
    #[must_use]
    pub fn end_guard(&self) -> EndGuard {
        EndGuard(Arc::clone(&self.ended))
    }

    /// Whether the reader sends nothing more. What it sent before can still be taken.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        // Synchronises with the Release store in `EndGuard::drop`: blocks sent before it are in the queue.
        self.ended.load(Ordering::Acquire)
    }

    fn is_stopped(&self) -> bool {
        self.stop.get() != Stop::Run
    }

    /// Waits for an empty block; `None` once stopped.
    fn wait_empty(&self) -> Option<Box<Block>> {
        // Each look may take the source's core for some microseconds where the reader has none of its own; so the pauses
        // grow while nothing is taken, and stay far below the time that the blocks last.
        let mut pause = PAUSE_MIN;
        loop {
            if self.is_stopped() {
                return None;
            }
            if let Some(block) = self.empty.pop() {
                return Some(block);
            }
            thread::sleep(pause);
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    fn send(&self, block: Box<Block>) {
        assert!(self.full.push(block).is_ok(), "the queue holds all blocks");
    }
}

/// Tells, when it is dropped, that the reader has ended.
pub struct EndGuard(Arc<AtomicBool>);

impl Drop for EndGuard {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

/// Tells the reader, when it is dropped, that nobody takes blocks any more.
pub struct StopGuard(BlockQueue);

impl Drop for StopGuard {
    fn drop(&mut self) {
        self.0.stop();
    }
}

/// What was seen of one capture.
#[derive(Clone, Debug, Default)]
pub struct CaptureStats {
    /// Name as the user gave it.
    pub path: String,
    /// Format's name.
    pub format: &'static str,
    /// Whether it says of itself that it is generated.
    pub generated: bool,
    /// Source events of the first pass.
    pub events: u64,
    /// Symbols that it has events for.
    pub symbols: u64,
    /// Smallest and largest `ts_recv`; `None` without events.
    pub span: Option<(u64, u64)>,
    /// What the decoder counted in the first pass.
    pub tally: Tally,
}

/// What ingest hands over when it has ended.
#[derive(Debug, Default)]
pub struct IngestReport {
    /// By capture, in merge order.
    pub captures: Vec<CaptureStats>,
    /// The first error of each capture that ended badly.
    pub errors: Vec<InputError>,
}

/// One capture to read: its name, and how to open it anew for each pass.
pub struct Capture {
    /// Name as the user gave it.
    pub path: String,
    /// Opens it.
    pub open: Box<dyn FnMut() -> Result<Box<dyn Input>, InputError> + Send>,
}

/// What to read.
pub struct Ingest {
    /// Captures to merge.
    pub captures: Vec<Capture>,
    /// Passes over all of them, at least 1.
    pub passes: u64,
    /// Messages of all captures and passes together, after which they are taken to have ended; `u64::MAX` = all that there are.
    pub messages_max: u64,
    /// The engine's names; the handlers' sources are in it already.
    pub catalog: Catalog,
    /// Told how far the reader is.
    pub progress: Progress,
}

/// What was handed over of the first pass so far: all that is known where a reader still waits for its input at the end.
#[derive(Clone, Debug, Default)]
pub struct Progress(Arc<Mutex<Vec<CaptureStats>>>);

impl Progress {
    /// A report of what was handed over so far.
    #[must_use]
    pub fn report(&self) -> IngestReport {
        IngestReport { captures: self.lock().clone(), errors: Vec::new() }
    }

    /// Keeps the counts of the first pass. Once a block: O(captures * symbols that fit / 64).
    fn tell(&self, pass: u64, stats: &[CaptureStats], seen: &[Vec<u64>]) {
        if pass == 0 {
            let counted =
                stats.iter().zip(seen).map(|(stats, seen)| CaptureStats { symbols: ones(seen), ..stats.clone() });
            *self.lock() = counted.collect();
        }
    }

    fn begin(&self, captures: &[Capture]) {
        *self.lock() = captures
            .iter()
            .map(|capture| CaptureStats { path: capture.path.clone(), ..CaptureStats::default() })
            .collect();
    }

    fn lock(&self) -> MutexGuard<'_, Vec<CaptureStats>> {
        // Plain counts: a reader that died between two of them leaves nothing broken.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One capture that is open, and the chunk of it that was decoded ahead.
struct Lane {
    input: Box<dyn Input>,
    chunk: SlotBuf,
    at: usize,
    status: Status,
    /// Running maximum of `ts_recv`: the first part of the merge key.
    time: UnixNanos,
    /// Messages taken.
    messages: u64,
    error: Option<InputError>,
}

impl Lane {
    /// Decodes ahead until a message is there or the capture ends.
    fn fill(&mut self, catalog: &mut Catalog) {
        while self.at == self.chunk.slots().len() && self.status == Status::More {
            self.chunk.clear();
            self.at = 0;
            self.status = self.input.read(catalog, &mut self.chunk).unwrap_or_else(|error| {
                self.error = Some(error);
                Status::End
            });
        }
    }

    fn head(&self) -> Option<&Slot> {
        self.chunk.slots().get(self.at)
    }

    /// Slots of the message at the cursor.
    fn message_slots(&self) -> usize {
        let rest = &self.chunk.slots()[self.at..];
        let mut end = 0;
        while let Some(event) = EventRef::first(&rest[end..]) {
            end += event.slots().len();
            if event.head().flags.contains(Flags::LAST) {
                return end;
            }
        }
        rest.len()
    }
}

impl Ingest {
    /// Reads everything into the queue. Runs until the captures end or the queue is stopped.
    ///
    /// Errors do not stop the other captures: what could be read is replayed, and they are in the report.
    pub fn run(mut self, queue: &BlockQueue) -> IngestReport {
        let mut report = IngestReport::default();
        // The order of the arguments must not show: not in ids, and not in ties.
        self.captures.sort_by(|a, b| file_name(&a.path).cmp(file_name(&b.path)).then_with(|| a.path.cmp(&b.path)));
        self.progress.begin(&self.captures);
        let mut announced = Announced::default();
        let mut seen = vec![vec![0u64; self.catalog.symbols_max().div_ceil(64)]; self.captures.len()];
        let mut shift_ns = 0;
        for pass in 0..self.passes.max(1) {
            let mut lanes = Vec::new();
            for capture in &mut self.captures {
                match (capture.open)() {
                    Ok(input) => lanes.push(Lane {
                        input,
                        chunk: SlotBuf::with_capacity(MESSAGE_SLOTS_MAX),
                        at: 0,
                        status: Status::More,
                        time: UnixNanos::ZERO,
                        messages: 0,
                        error: None,
                    }),
                    Err(error) => {
                        report.errors.push(error);
                        lanes.clear();
                        break;
                    }
                }
            }
            if lanes.len() < self.captures.len() {
                break;
            }
            let mut stats: Vec<CaptureStats> = self
                .captures
                .iter()
                .zip(&lanes)
                .map(|(capture, lane)| CaptureStats {
                    path: capture.path.clone(),
                    format: lane.input.format(),
                    generated: lane.input.is_generated(),
                    ..CaptureStats::default()
                })
                .collect();
            let is_done = self.pass(pass, shift_ns, &mut lanes, &mut stats, &mut seen, &mut announced, queue).is_some();
            if pass == 0 {
                for ((stats, lane), seen) in stats.iter_mut().zip(&lanes).zip(&seen) {
                    stats.tally = lane.input.tally();
                    stats.symbols = ones(seen);
                }
                let first = stats.iter().filter_map(|stats| stats.span).map(|span| span.0).min().unwrap_or(0);
                let last = stats.iter().filter_map(|stats| stats.span).map(|span| span.1).max().unwrap_or(0);
                shift_ns = (last - first).saturating_add(PASS_GAP_NS);
                report.captures = stats;
            }
            // A capture that failed in an earlier pass fails in this one as well: it is told once.
            let is_new = report.errors.is_empty();
            report.errors.extend(lanes.into_iter().filter_map(|lane| lane.error).filter(|_| is_new));
            if !is_done || self.messages_max == 0 {
                break;
            }
        }
        if let Some(mut block) = queue.wait_empty() {
            block.is_last = true;
            queue.send(block);
        }
        report
    }

    /// One pass over the captures. `None` when the queue was stopped.
    fn pass(
        &mut self,
        pass: u64,
        shift_ns: u64,
        lanes: &mut [Lane],
        stats: &mut [CaptureStats],
        seen: &mut [Vec<u64>],
        announced: &mut Announced,
        queue: &BlockQueue,
    ) -> Option<()> {
        let shift_ns = shift_ns.saturating_mul(pass);
        let mut block = queue.wait_empty()?;
        if self.passes > 1 {
            let epoch = EventBuf::new(&Epoch { number: pass, ..Epoch::default() });
            block.events.extend(epoch.slots());
        }
        if let [lane] = lanes {
            // One capture: decoded straight into the block.
            while lane.status == Status::More {
                if block.events.remaining() < MESSAGE_SLOTS_MAX {
                    self.send(block, announced, queue);
                    self.progress.tell(pass, stats, seen);
                    block = queue.wait_empty()?;
                }
                let from = block.events.slots().len();
                lane.status = lane.input.read(&mut self.catalog, &mut block.events).unwrap_or_else(|error| {
                    lane.error = Some(error);
                    Status::End
                });
                if self.messages_max != u64::MAX {
                    let (messages, slots) = first_messages(&block.events.slots()[from..], self.messages_max);
                    self.messages_max -= messages;
                    if self.messages_max == 0 {
                        block.events.truncate(from + slots);
                        lane.status = Status::End;
                    }
                }
                prepare(&mut block.events.slots_mut()[from..], shift_ns, &mut stats[0], &mut seen[0]);
                if block.events.slots().len() == from && lane.status == Status::More {
                    self.send(block, announced, queue);
                    self.progress.tell(pass, stats, seen);
                    block = queue.wait_empty()?;
                }
            }
            self.send(block, announced, queue);
            self.progress.tell(pass, stats, seen);
            return Some(());
        }
        loop {
            for lane in lanes.iter_mut() {
                lane.fill(&mut self.catalog);
                if let Some(ts) = lane.head().map(|head| head.ts_recv).filter(|ts| ts.0 <= TIME_NS_MAX) {
                    lane.time = lane.time.max(ts);
                }
            }
            let next = (0..lanes.len()).filter(|&index| lanes[index].head().is_some()).min_by(|&a, &b| {
                let key = |index: usize| {
                    let lane: &Lane = &lanes[index];
                    let source = lane.head().map_or(SourceId::NONE, |head| head.source);
                    (lane.time, self.catalog.source_name(source), lane.messages, index)
                };
                key(a).cmp(&key(b))
            });
            let Some(index) = next else { break };
            let lane = &mut lanes[index];
            let slots = lane.message_slots();
            if block.events.remaining() < slots {
                self.send(block, announced, queue);
                self.progress.tell(pass, stats, seen);
                block = queue.wait_empty()?;
            }
            let from = block.events.slots().len();
            block.events.extend(&lane.chunk.slots()[lane.at..lane.at + slots]);
            lane.at += slots;
            lane.messages += 1;
            let message = &mut block.events.slots_mut()[from..];
            let most = prepare(message, 0, &mut stats[index], &mut seen[index]);
            lane.time = lane.time.max(most);
            shift(message, shift_ns);
            if self.messages_max != u64::MAX {
                self.messages_max -= first_messages(message, 1).0;
                if self.messages_max == 0 {
                    break;
                }
            }
        }
        self.send(block, announced, queue);
        self.progress.tell(pass, stats, seen);
        Some(())
    }

    /// Puts the definitions that are new before the block's events, and sends it.
    fn send(&self, mut block: Box<Block>, announced: &mut Announced, queue: &BlockQueue) {
        announced.define(&self.catalog, &mut block.definitions);
        queue.send(block);
    }
}

/// How many messages end in `slots`, `most` at most, and the slots up to the end of the last of them; all slots where there are fewer.
fn first_messages(slots: &[Slot], most: u64) -> (u64, usize) {
    let (mut messages, mut end) = (0, 0);
    while let Some(event) = EventRef::first(&slots[end..]) {
        end += event.slots().len();
        if !event.head().kind().is_control() && event.head().flags.contains(Flags::LAST) {
            messages += 1;
            if messages == most {
                return (messages, end);
            }
        }
    }
    (messages, slots.len())
}

fn ones(words: &[u64]) -> u64 {
    words.iter().map(|word| u64::from(word.count_ones())).sum()
}

/// The last part of a path: what breaks ties between captures that stand in the same folder or in two.
fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// Counts the events of a run, and shifts its times. Returns the largest `ts_recv`, before the shift.
fn prepare(slots: &mut [Slot], shift_ns: u64, stats: &mut CaptureStats, seen: &mut [u64]) -> UnixNanos {
    let mut most = UnixNanos::ZERO;
    for slot in slots.iter().filter(|slot| slot.kind() != Kind::CONTINUATION && !slot.kind().is_control()) {
        stats.events += 1;
        if slot.ts_recv.0 > TIME_NS_MAX {
            continue; // a time that no clock shows: the shard refuses the event
        }
        let span = stats.span.get_or_insert((slot.ts_recv.0, slot.ts_recv.0));
        *span = (span.0.min(slot.ts_recv.0), span.1.max(slot.ts_recv.0));
        most = most.max(slot.ts_recv);
        let symbol = slot.symbol.index();
        if let Some(word) = seen.get_mut(symbol / 64) {
            *word |= 1 << (symbol % 64);
        }
    }
    shift(slots, shift_ns);
    most
}

fn shift(slots: &mut [Slot], shift_ns: u64) {
    if shift_ns == 0 {
        return;
    }
    for slot in slots.iter_mut().filter(|slot| slot.kind() != Kind::CONTINUATION) {
        slot.ts_recv = slot.ts_recv.saturating_add(shift_ns);
        if slot.ts_event != UnixNanos::UNKNOWN {
            slot.ts_event = slot.ts_event.saturating_add(shift_ns);
        }
    }
}

/// How many of a catalog's names have been defined downstream.
#[derive(Clone, Copy, Debug)]
pub struct Announced {
    symbols: usize,
    sources: usize,
}

impl Default for Announced {
    /// Id 0 needs no definition.
    fn default() -> Self {
        Self { symbols: 1, sources: 1 }
    }
}

impl Announced {
    /// Appends the definitions of the names that are new since the last call.
    pub fn define(&mut self, catalog: &Catalog, into: &mut Vec<Slot>) {
        for id in self.sources..catalog.sources() {
            into.extend_from_slice(catalog.source_def(SourceId(id as u8)).slots());
        }
        for id in self.symbols..catalog.symbols() {
            into.extend_from_slice(catalog.symbol_def(SymbolId(id as u32)).slots());
        }
        (self.symbols, self.sources) = (catalog.symbols(), catalog.sources());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::input::generate::{Config, GenerateInput};

    #[test]
    fn a_reader_whose_engine_did_not_come_to_run_ends() {
        let config = Config { events: 500_000, symbols: 5, ..Config::default() };
        let open = Box::new(move || Ok(Box::new(GenerateInput::new(&config).unwrap()) as Box<dyn Input>));
        let captures = vec![Capture { path: "generated".to_owned(), open }];
        let (catalog, progress) = (Catalog::new(64), Progress::default());
        let ingest = Ingest { captures, passes: 1, messages_max: u64::MAX, catalog, progress };
        let queue = BlockQueue::new(2);
        let guard = queue.stop_guard();
        let reader = thread::spawn({
            let queue = queue.clone();
            move || ingest.run(&queue)
        });
        while queue.ready() < 2 {
            thread::sleep(PAUSE_MIN);
        }
        assert!(!reader.is_finished(), "it waits for an empty block");
        drop(guard);
        assert_eq!(reader.join().unwrap().captures.len(), 1);
    }

    /// Reads so many captures of 3,000 events to the end; gives back the messages and events that came.
    fn take(captures: u64, passes: u64, messages_max: u64) -> (u64, u64) {
        let captures = (0..captures).map(|seed| {
            let config = Config { events: 3_000, symbols: 5, seed, ..Config::default() };
            let open = Box::new(move || Ok(Box::new(GenerateInput::new(&config).unwrap()) as Box<dyn Input>));
            Capture { path: format!("generated {seed}"), open }
        });
        let captures = captures.collect();
        let ingest =
            Ingest { captures, passes, messages_max, catalog: Catalog::new(64), progress: Progress::default() };
        let queue = BlockQueue::new(4);
        let reader = thread::spawn({
            let queue = queue.clone();
            move || ingest.run(&queue)
        });
        let (mut messages, mut events) = (0, 0);
        loop {
            let Some(block) = queue.take() else {
                thread::sleep(PAUSE_MIN);
                continue;
            };
            messages += first_messages(block.events.slots(), u64::MAX).0;
            let is_event = |slot: &&Slot| slot.kind() != Kind::CONTINUATION && !slot.kind().is_control();
            events += block.events.slots().iter().filter(is_event).count() as u64;
            let is_last = block.is_last;
            queue.give_back(block);
            if is_last {
                break;
            }
        }
        let report = reader.join().unwrap();
        let told: u64 = report.captures.iter().map(|capture| capture.events).sum();
        assert!(report.errors.is_empty() && (passes > 1 || told == events), "{told} of {events} events are told");
        (messages, events)
    }

    #[test]
    fn so_many_messages_and_no_more() {
        for (captures, passes) in [(1, 1), (2, 1), (1, 3), (3, 2)] {
            let (all, events) = take(captures, passes, u64::MAX);
            assert_eq!(events, captures * passes * 3_000, "{captures} captures, {passes} passes");
            for most in [1, 2, 17, all / 2, all - 1, all] {
                assert_eq!(take(captures, passes, most).0, most, "{captures} captures, {passes} passes");
            }
            assert_eq!(take(captures, passes, all + 1), (all, events), "there are no more");
        }
    }
}
