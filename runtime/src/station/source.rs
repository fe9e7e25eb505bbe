//! The source station: takes blocks, paces them, routes each event to the ring of its shard.
//!
//! It is also the clock of the shards. The source's time is the running maximum of `ts_recv` over the whole stream; where an
//! event's own `ts_recv` lies before it, its shard is first sent a tick, so that the event is handled at the same time
//! whatever the number of shards. Shards without events hear of the passing of time by ticks.

use super::lag::{LagAccount, Whose};
use super::{Station, StationReport};
use crate::clock::RunClock;
use crate::driver::yielded;
use crate::ingest::{Block, BlockQueue};
use crate::jitter::{GAP_NS, GapDetector};
use crate::pacer::Pacer;
use crate::report::latency::new_histogram;
use crate::report::verdict::PACER_MISSED_NS;
use crate::stamp::stamp;
use hdrhistogram::Histogram;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tapeline_core::commands::CommandReceiver;
use tapeline_core::event::payload::{Subscription, SymbolDef, Tick};
use tapeline_core::event::{EventBuf, EventRef, Flags, Kind, Slot};
use tapeline_core::limits::{BATCH_SLOTS, MESH_DELAY_NS, ROUTE_SLOTS, TIME_NS_MAX};
use tapeline_core::ring::Producer;
use tapeline_core::route::RouteTable;
use tapeline_core::shard::DUE_NONE;
use tapeline_core::units::UnixNanos;

/// Slots that one poll sends at most.
const POLL_SLOTS: usize = 4 * BATCH_SLOTS;
/// Events that one reading of the clock serves while the source catches up: 16 pushes take less than a microsecond.
const EVENTS_PER_READING: usize = 16;
/// Shards hear of the passing of time at least this often, in ns of capture time.
const TICK_EVERY_NS: u64 = 10_000_000;

/// What happens when events come faster than a shard handles them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Overload {
    /// The source waits for room in the ring: nothing is lost, and the wait shows as latency.
    #[default]
    Wait,
    /// Shards take all that comes into their lanes, where the topics' policies act, as on a feed that cannot wait. The source waits only where
    /// a topic blocks, and for a shard that is in the midst of a step.
    Live,
}

/// Parameters of the source.
pub struct SourceConfig {
    /// Schedule.
    pub pacer: Pacer,
    /// Whether the rings carry due stamps: for paced runs, and where a part is not measured.
    pub has_dues: bool,
    /// So much capture time from the first measured event on is paced and is no sample.
    pub warmup_ns: u64,
    /// Symbols that are sent, by the hashes of their texts; `None` = all. Events without a symbol are, in any case.
    pub symbols: Option<BTreeSet<u64>>,
    /// Events before this time are replayed at once and are no samples.
    pub start: Option<UnixNanos>,
    /// Events from this time on are not replayed.
    pub end: Option<UnixNanos>,
    /// Who owns which symbol.
    pub routes: RouteTable,
    /// Symbols that may come.
    pub symbols_max: usize,
    /// Whether shards keep step with each other.
    pub is_meshed: bool,
    /// Changes of subscriptions, from the control thread. Each takes its place in the stream, on every shard the same.
    pub commands: Option<CommandReceiver<Subscription>>,
    /// Set from outside to end the replay early.
    pub interrupt: Arc<AtomicBool>,
}

/// What the source has to say at the end.
#[derive(Debug)]
pub struct SourceReport {
    /// Lag of events that the source itself sent late, ns; paced runs only.
    pub pacer_lag: Histogram<u64>,
    /// Lag of events that were due while a ring was full, ns; paced runs only.
    pub backpressure: Histogram<u64>,
    /// Run clock at the first and last measured event.
    pub span_ns: Option<(u64, u64)>,
    /// When the last event was due, on the run clock.
    pub last_due_ns: u64,
    /// Measured messages of a paced run.
    pub messages: u64,
    /// Source events put into rings.
    pub sent: u64,
    /// Events of symbols that are not replayed.
    pub left_out: u64,
    /// Symbols of [`SourceConfig::symbols`] that came.
    pub symbols_found: u64,
    /// Ticks of captures that said that nothing follows them, and were taken as plain ticks.
    pub end_marks: u64,
    /// Polls that found a ring full.
    pub full_polls: u64,
    /// Times that it gave its core away, since there was nothing to send: the reader may need it.
    pub yields: u64,
    /// The replay was ended early.
    pub is_interrupted: bool,
    /// Scheduler gaps of its core.
    pub gaps: GapDetector,
    /// Samples that were due in one of them.
    pub samples_in_gaps: u64,
    /// Events that left [`PACER_MISSED_NS`] or more after they were due, though the ring had room.
    pub missed: u64,
}

/// In the place of a shard's number: the symbol is not replayed.
const LEFT_OUT: u16 = u16::MAX;

/// One shard's ring.
struct Lane {
    ring: Producer,
    /// Latest time that the shard has been told.
    time: UnixNanos,
}

#[inline]
fn push(ring: &mut Producer, slots: &[Slot], due: u64, has_dues: bool) -> bool {
    if has_dues { ring.push_due(slots, due).is_ok() } else { ring.push(slots).is_ok() }
}

/// How far the source is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    /// Sending what is before `--start`.
    Prelude,
    /// Waiting until the shards have taken the prelude.
    Settling,
    /// Sending what is measured.
    Measured,
    /// Sending the last tick.
    Ending,
    /// Nothing is left.
    Done,
}

/// The source station. See the module's documentation.
pub struct SourceStation {
    config: SourceConfig,
    clock: RunClock,
    queue: BlockQueue,
    lanes: Vec<Lane>,
    /// Where output sinks hear of definitions.
    definitions: Option<Producer>,
    /// Where the log hears of them. Nobody waits for it.
    log_definitions: Option<Producer>,
    block: Option<Box<Block>>,
    defined: usize,
    at: usize,
    /// Shard of each symbol.
    shard_of: Box<[u16]>,
    time: UnixNanos,
    next_tick: UnixNanos,
    phase: Phase,
    /// Due time of the message at hand.
    message_due: Option<u64>,
    /// What is before this time is not measured yet.
    warm_at: Option<UnixNanos>,
    now_ns: u64,
    events_since_reading: usize,
    /// Whose the lag of late events is.
    lag: LagAccount,
    ticks: EventBuf,
    /// A command that found a ring full.
    command: Option<Subscription>,
    report: SourceReport,
}

impl SourceStation {
    /// A source that reads `queue` and feeds `rings`, by shard. Allocates everything that it will ever need.
    #[must_use]
    pub fn new(
        config: SourceConfig,
        clock: RunClock,
        queue: BlockQueue,
        rings: Vec<Producer>,
        definitions: Option<Producer>,
    ) -> Self {
        let gaps = GapDetector::new(GAP_NS, clock.now_ns());
        let phase = if config.start.is_some() { Phase::Prelude } else { Phase::Measured };
        Self {
            shard_of: vec![0; config.symbols_max].into_boxed_slice(),
            config,
            clock,
            queue,
            lanes: rings.into_iter().map(|ring| Lane { ring, time: UnixNanos::ZERO }).collect(),
            definitions,
            log_definitions: None,
            block: None,
            defined: 0,
            at: 0,
            time: UnixNanos::ZERO,
            next_tick: UnixNanos::ZERO,
            phase,
            message_due: None,
            warm_at: None,
            now_ns: 0,
            events_since_reading: 0,
            lag: LagAccount::default(),
            ticks: EventBuf::new(&Tick::default()),
            command: None,
            report: SourceReport {
                pacer_lag: new_histogram(),
                backpressure: new_histogram(),
                span_ns: None,
                last_due_ns: 0,
                messages: 0,
                sent: 0,
                left_out: 0,
                symbols_found: 0,
                end_marks: 0,
                full_polls: 0,
                yields: 0,
                is_interrupted: false,
                gaps,
                samples_in_gaps: 0,
                missed: 0,
            },
        }
    }

    /// The same, which tells the log of definitions through `ring`. One that finds no room is left out: its name is missing in the log.
    #[must_use]
    pub fn telling(self, ring: Option<Producer>) -> Self {
        Self { log_definitions: ring, ..self }
    }

    /// Sends a control event to every shard. False when a ring is full; nothing is sent then.
    fn broadcast(&mut self, slots: &[Slot]) -> bool {
        if !self.has_room(slots.len()) {
            return false;
        }
        for lane in &mut self.lanes {
            let is_sent = push(&mut lane.ring, slots, DUE_NONE, self.config.has_dues);
            debug_assert!(is_sent, "Invariant: there was room");
        }
        true
    }

    /// Whether every shard's ring has room for so many slots.
    fn has_room(&mut self, slots: usize) -> bool {
        let has_room = self.lanes.iter_mut().all(|lane| lane.ring.free_slots() >= slots);
        if !has_room && self.config.is_meshed {
            // As in `full`: the full shard may be waiting for one of the others to hear what time it is.
            self.tick_all(self.time);
        }
        has_room
    }

    /// Sends the block's definitions. False when a ring is full.
    fn define(&mut self) -> bool {
        let Some(block) = self.block.take() else { return true };
        while let Some(event) = EventRef::first(&block.definitions[self.defined..]) {
            if self.definitions.as_mut().is_some_and(|ring| ring.free_slots() < event.slots().len())
                || !self.has_room(event.slots().len())
            {
                break;
            }
            // The sink first: a shard may use the name at once.
            if let Some(ring) = &mut self.definitions {
                let is_sent = ring.push(event.slots()).is_ok();
                debug_assert!(is_sent, "Invariant: there was room");
            }
            if let Some(ring) = &mut self.log_definitions {
                let _ = ring.push(event.slots());
            }
            let is_sent = self.broadcast(event.slots());
            debug_assert!(is_sent, "Invariant: there was room");
            if let Some(def) = event.get::<SymbolDef>() {
                let slot = (def.hash % ROUTE_SLOTS as u64) as u16;
                let is_named = self.config.symbols.as_ref().map(|symbols| symbols.contains(&def.hash));
                self.report.symbols_found += u64::from(is_named == Some(true));
                self.shard_of[event.head().symbol.index()] =
                    if is_named == Some(false) { LEFT_OUT } else { self.config.routes.shard(slot) as u16 };
            }
            self.defined += event.slots().len();
        }
        let is_done = self.defined == block.definitions.len();
        self.block = Some(block);
        is_done
    }

    /// Tells every shard that is behind what time it is, as far as there is room.
    fn tick_all(&mut self, time: UnixNanos) {
        for lane in &mut self.lanes {
            if lane.time < time {
                self.ticks.head_mut().ts_recv = time;
                if push(&mut lane.ring, self.ticks.slots(), DUE_NONE, self.config.has_dues) {
                    lane.time = time;
                }
            }
        }
    }

    /// Sends the events at the cursor as one run when nothing has to be looked at one by one. Returns the slots sent.
    #[inline]
    fn send_run(&mut self, block: &Block) -> usize {
        let slots = &block.events.slots()[self.at..];
        let slots = &slots[..slots.len().min(POLL_SLOTS)];
        let (mut end, mut time, mut events) = (0, self.time, 0);
        while let Some(head) = slots.get(end) {
            let span = head.span();
            if head.kind().is_control()
                || head.ts_recv < time
                || head.ts_recv.0 > TIME_NS_MAX
                || end + span > slots.len()
            {
                break;
            }
            time = head.ts_recv;
            events += 1;
            end += span;
        }
        let sent = self.lanes[0].ring.push_batch(&slots[..end], None);
        if sent < end {
            self.report.full_polls += 1;
            events = slots[..sent].iter().filter(|slot| slot.kind() != Kind::CONTINUATION).count();
            time = slots[..sent]
                .iter()
                .rev()
                .find(|slot| slot.kind() != Kind::CONTINUATION)
                .map_or(self.time, |s| s.ts_recv);
        }
        self.time = time;
        self.lanes[0].time = time;
        self.report.sent += events as u64;
        self.at += sent;
        sent
    }

    /// Sends the event at the cursor, if it is due and there is room. Returns its slots, or 0.
    #[inline]
    fn send_one(&mut self, block: &Block) -> usize {
        let slots = &block.events.slots()[self.at..];
        let Some(event) = EventRef::first(slots) else {
            // Inputs append whole events only; a stray continuation is stepped over rather than looped on.
            self.at += 1;
            return 1;
        };
        let (head, span) = (event.head(), event.slots().len());
        if head.kind().is_control() {
            return self.send_control(event);
        }
        // A time that no clock shows is refused by the shard, and moves no time here either.
        let time = if head.ts_recv.0 > TIME_NS_MAX { self.time } else { self.time.max(head.ts_recv) };
        if self.config.end.is_some_and(|end| time >= end) {
            self.phase = Phase::Ending;
            return 0;
        }
        if self.phase == Phase::Prelude && self.config.start.is_none_or(|start| time >= start) {
            self.phase = Phase::Settling;
        }
        if self.phase == Phase::Settling {
            if self.lanes.iter_mut().any(|lane| lane.ring.occupied_slots() > 0) {
                if self.config.is_meshed {
                    // A shard may be waiting for another to hear what time it is.
                    self.tick_all(self.time);
                }
                return 0;
            }
            self.phase = Phase::Measured;
            // What was blocked before is no part of the schedule.
            self.lag.in_time();
            self.read_clock();
        }
        let shard = self.shard_of[head.symbol.index().min(self.shard_of.len() - 1)];
        if shard == LEFT_OUT {
            // It is as if it were not there; its message may have other parts.
            if head.flags.contains(Flags::LAST) {
                self.message_due = None;
            }
            self.report.left_out += 1;
            self.at += span;
            return span;
        }
        let shard = usize::from(shard);
        let is_scheduled = self.phase == Phase::Measured;
        let warm_at = if is_scheduled {
            *self.warm_at.get_or_insert(time.saturating_add(self.config.warmup_ns))
        } else {
            UnixNanos::ZERO
        };
        let is_measured = is_scheduled && time >= warm_at;
        let due = if !is_scheduled || !self.config.has_dues {
            DUE_NONE
        } else if let Some(due) = self.message_due {
            due
        } else {
            self.read_clock();
            let due = self.config.pacer.due_ns(time, self.now_ns);
            self.message_due = Some(due);
            self.lag.due(due);
            due
        };
        if is_scheduled && self.config.pacer.is_paced() {
            if self.now_ns < due || self.events_since_reading >= EVENTS_PER_READING {
                self.read_clock();
            }
            if self.now_ns < due {
                self.lag.in_time();
                return 0;
            }
        }
        if is_scheduled && self.lag.is_full() {
            // It waited outside until now: the clock of the last look would say that it waited in the ring.
            self.read_clock();
        }
        let lane = &mut self.lanes[shard];
        // An event that moves the shard's clock to less than `time`, or not at all, is told the time first.
        if (head.ts_recv < time || head.ts_recv.0 > TIME_NS_MAX) && lane.time < time {
            self.ticks.head_mut().ts_recv = time;
            if lane.ring.free_slots() < span + 1 {
                return self.full(time);
            }
            let is_sent = push(&mut lane.ring, self.ticks.slots(), DUE_NONE, self.config.has_dues);
            debug_assert!(is_sent, "Invariant: there was room");
        }
        let stamp =
            if due == DUE_NONE || !is_measured { DUE_NONE } else { stamp(due, self.now_ns.saturating_sub(due)) };
        if !push(&mut lane.ring, event.slots(), stamp, self.config.has_dues) {
            return self.full(time);
        }
        lane.time = time;
        self.time = time;
        self.sent(head, due, is_scheduled, is_measured);
        self.at += span;
        if time >= self.next_tick {
            let every_ns = if self.config.is_meshed { MESH_DELAY_NS / 2 } else { TICK_EVERY_NS };
            self.next_tick = time.saturating_add(every_ns);
            self.tick_all(time);
        }
        span
    }

    /// Sends the control event at the cursor to every shard, if there is room. Returns its slots, or 0.
    ///
    /// A capture moves time on as its events do, and never ends it: that nothing follows is for this station to say, or
    /// shards would run through the 24 hours of the drain in the midst of a replay.
    fn send_control(&mut self, event: EventRef<'_>) -> usize {
        let (head, span) = (event.head(), event.slots().len());
        let tick = event.get::<Tick>();
        let is_sent = if tick.is_some() {
            // A time that no clock shows moves nothing, as in an event.
            let time = if head.ts_recv.0 > TIME_NS_MAX { self.time } else { self.time.max(head.ts_recv) };
            let mut plain = self.ticks.slots()[0];
            plain.ts_recv = time;
            let is_sent = self.broadcast(&[plain]);
            if is_sent {
                self.time = time;
                self.lanes.iter_mut().for_each(|lane| lane.time = time);
            }
            is_sent
        } else {
            self.broadcast(event.slots())
        };
        if !is_sent {
            if self.phase == Phase::Measured {
                self.block();
            }
            return 0;
        }
        self.report.end_marks += u64::from(tick.is_some_and(|tick| tick.last != 0));
        self.at += span;
        span
    }

    /// Counts an event that was sent.
    #[inline]
    fn sent(&mut self, head: &Slot, due: u64, is_scheduled: bool, is_measured: bool) {
        self.report.sent += 1;
        if !is_scheduled {
            return;
        }
        if self.config.pacer.is_paced() && self.lag.is_full() {
            self.lag.sent(self.now_ns);
        }
        if self.config.pacer.is_paced() && !is_measured {
            self.events_since_reading += 1;
        } else if self.config.pacer.is_paced() {
            self.events_since_reading += 1;
            let lag = self.now_ns.saturating_sub(due);
            match self.lag.whose(lag) {
                Whose::Engine => self.report.backpressure.saturating_record(lag),
                Whose::Pacer => {
                    self.report.pacer_lag.saturating_record(lag.max(1));
                    self.report.missed += u64::from(lag >= PACER_MISSED_NS);
                }
            }
            self.report.samples_in_gaps += u64::from(self.report.gaps.covers(due));
            self.report.last_due_ns = due;
            let span = self.report.span_ns.get_or_insert((self.now_ns, self.now_ns));
            span.1 = self.now_ns;
        }
        if head.flags.contains(Flags::LAST) {
            self.message_due = None;
            self.report.messages += u64::from(is_measured);
        }
    }

    /// A ring is full: the event waits.
    #[cold]
    fn full(&mut self, time: UnixNanos) -> usize {
        self.report.full_polls += 1;
        self.block();
        if self.config.is_meshed {
            // The full shard may be waiting for one of the others to hear what time it is.
            self.tick_all(time);
        }
        0
    }

    /// Puts the commands that have come into the stream, at the time that it has reached.
    fn take_commands(&mut self) {
        let Some(commands) = &mut self.config.commands else { return };
        while let Some(change) = self.command.take().or_else(|| commands.receive()) {
            let mut event = EventBuf::new(&change);
            event.head_mut().ts_recv = self.time;
            if self.lanes.iter_mut().any(|lane| lane.ring.free_slots() < event.slots().len()) {
                self.command = Some(change);
                return;
            }
            for lane in &mut self.lanes {
                let is_sent = push(&mut lane.ring, event.slots(), DUE_NONE, self.config.has_dues);
                debug_assert!(is_sent, "Invariant: there was room");
            }
        }
    }

    /// Notes that a ring is full.
    #[cold]
    fn block(&mut self) {
        if !self.lag.is_full() {
            self.read_clock();
            self.lag.full(self.now_ns);
        }
    }

    #[inline]
    fn read_clock(&mut self) {
        self.now_ns = self.clock.now_ns();
        self.events_since_reading = 0;
    }

    /// Tells every shard that nothing follows.
    fn end(&mut self) {
        let mut tick = EventBuf::new(&Tick { last: 1, ..Tick::default() });
        tick.head_mut().ts_recv = self.time;
        if self.broadcast(tick.slots()) {
            self.phase = Phase::Done;
            self.queue.stop();
            if let Some(block) = self.block.take() {
                self.queue.give_back(block);
            }
            while let Some(block) = self.queue.take() {
                self.queue.give_back(block);
            }
        }
    }
}

impl Station for SourceStation {
    fn poll(&mut self, now_ns: u64) -> usize {
        self.report.gaps.observe(now_ns);
        if self.phase == Phase::Done {
            return 0;
        }
        if self.config.interrupt.load(Ordering::Relaxed) && self.phase != Phase::Ending {
            self.phase = Phase::Ending;
            self.report.is_interrupted = true;
        }
        if self.phase == Phase::Ending {
            self.end();
            // Nothing but the end itself is work: a shard that died must not keep this core from seeing the stop word.
            return usize::from(self.phase == Phase::Done);
        }
        self.take_commands();
        if self.block.is_none() {
            // Before the queue: what the reader sent before it ended is taken.
            let has_ended = self.queue.has_ended();
            self.block = self.queue.take();
            (self.defined, self.at) = (0, 0);
            if self.block.is_none() && has_ended {
                // The reader died without a last block.
                self.phase = Phase::Ending;
                return 1;
            }
        }
        if !self.define() {
            if self.phase == Phase::Measured {
                self.block();
            }
            return 0;
        }
        let Some(block) = self.block.take() else {
            // Starved: the reader may need this very core.
            let before_ns = self.clock.now_ns();
            std::thread::yield_now();
            self.report.yields += yielded(before_ns, self.clock.now_ns());
            return 0;
        };
        let is_run = self.lanes.len() == 1
            && !self.config.has_dues
            && self.config.end.is_none()
            && self.config.symbols.is_none();
        let (slots, mut work) = (block.events.slots().len(), 0);
        while self.at < slots && work < POLL_SLOTS {
            let mut sent = if is_run { self.send_run(&block) } else { 0 };
            if sent == 0 {
                sent = self.send_one(&block);
            }
            if sent == 0 {
                break;
            }
            work += sent;
        }
        if self.at < slots {
            self.block = Some(block);
        } else {
            if block.is_last {
                self.phase = Phase::Ending;
            }
            self.queue.give_back(block);
        }
        work
    }

    fn is_done(&self) -> bool {
        self.phase == Phase::Done
    }

    fn rest(&mut self, now_ns: u64) {
        self.report.gaps.resume(now_ns);
    }

    fn report(self: Box<Self>) -> StationReport {
        StationReport::Source(Box::new(self.report))
    }
}

#[cfg(test)]
mod tests;
