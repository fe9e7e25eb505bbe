//! The thread that reads, and the ends of its queues.

use super::archive::{Archive, Fault};
use super::reading::{Look, Reading};
use crate::background::Background;
use crate::rest::Rest;
use crossbeam_queue::ArrayQueue;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;
use tapeline_core::backfill::HistoryOrder;
use tapeline_core::bus::Chain;
use tapeline_core::event::payload::Tick;
use tapeline_core::event::{EventBuf, Slot};
use tapeline_core::limits::SYMBOL_BYTES_MAX;
use tapeline_core::ring::{self, Consumer, Producer};
use tapeline_core::shard::{Probe, Shard};

/// Events that a desk sends before the next one has its turn.
const TURN_EVENTS: usize = 256;
/// Reasons that a report names; more are counted only.
const REASONS_MAX: usize = 16;

/// An order and the symbol's text, which is all that ids mean to a tape.
struct Ticket {
    order: HistoryOrder,
    symbol: [u8; SYMBOL_BYTES_MAX],
    symbol_bytes: usize,
}

struct Queues {
    orders: ArrayQueue<Ticket>,
    stops: ArrayQueue<u64>,
}

/// The shard's end: hands over what it orders. Neither waits nor allocates.
pub struct HistoryPort(Arc<Queues>);

impl HistoryPort {
    /// Hands over what the shard has ordered and does not want any more. To be called after each step.
    #[inline]
    pub fn serve<C: Chain, P: Probe>(&self, shard: &mut Shard<C, P>) {
        while let Some(number) = shard.take_history_stop() {
            self.stop(number);
        }
        while let Some(order) = shard.take_history_order() {
            self.order(order, shard.catalog().symbol_text(order.symbol));
        }
    }

    /// An order for the symbol of that text.
    pub(super) fn order(&self, order: HistoryOrder, symbol: &[u8]) {
        let mut ticket = Ticket { order, symbol: [0; SYMBOL_BYTES_MAX], symbol_bytes: symbol.len() };
        ticket.symbol[..symbol.len()].copy_from_slice(symbol);
        let is_sent = self.0.orders.push(ticket).is_ok();
        // Nobody takes tickets where the thread has died: its ring is abandoned then, by which the shard fails what it has ordered.
        let is_read = Arc::strong_count(&self.0) > 1;
        assert!(is_sent || !is_read, "Invariant: there is room for as many orders as may be in flight");
    }

    /// An order that nobody wants any more. Without room for it the order is read to its end, and the shard drops what comes.
    pub(super) fn stop(&self, number: u64) {
        let _ = self.0.stops.push(number);
    }
}

impl std::fmt::Debug for HistoryPort {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HistoryPort").field("orders", &self.0.orders.len()).finish_non_exhaustive()
    }
}

/// What the thread has to say at the end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReaderReport {
    /// Orders that were read to their end.
    pub done: u64,
    /// Orders that could not be.
    pub failed: u64,
    /// Orders that were stopped on the way.
    pub stopped: u64,
    /// Events that were sent.
    pub events: u64,
    /// Blocks of tapes that were read.
    pub blocks: u64,
    /// Times that a ring had no room.
    pub full: u64,
    /// Why orders failed, each reason once, the first ones.
    pub reasons: Vec<String>,
    /// The least exit code of the faults by which orders failed, if any did: see [`Fault::exit_code`](super::Fault::exit_code).
    pub exit: Option<u8>,
}

/// What one shard has ordered.
struct Desk {
    /// Before the ring, so that it goes before it: whoever sees the ring abandoned sees that nobody takes tickets any more.
    queues: Arc<Queues>,
    replies: Producer,
    stopped: BTreeSet<u64>,
    reading: Option<Reading>,
    /// Slots that found no room, and the next of them: an event, or the end of a reply.
    outgoing: Vec<Slot>,
    sent: usize,
    is_ending: bool,
}

impl Desk {
    /// Does a bounded piece of work; false when there was none to do.
    fn poll(&mut self, archive: &Archive, report: &mut ReaderReport) -> bool {
        while let Some(number) = self.queues.stops.pop() {
            self.stopped.insert(number);
        }
        let mut has_worked = false;
        for _ in 0..TURN_EVENTS {
            if !self.flush(report) {
                return has_worked;
            }
            if self.is_ending {
                let number = self.reading.take().map_or(0, |reading| reading.order.number);
                self.stopped = self.stopped.split_off(&(number + 1));
                self.is_ending = false;
            }
            let Some(reading) = &mut self.reading else {
                let Some(ticket) = self.queues.orders.pop() else { return has_worked };
                self.reading = Some(Reading::new(ticket.order, ticket.symbol[..ticket.symbol_bytes].to_vec()));
                has_worked = true;
                continue;
            };
            has_worked = true;
            if self.stopped.contains(&reading.order.number) {
                report.stopped += 1;
                self.end(None, report, false);
                continue;
            }
            if let Some(fault) = archive.faults().first() {
                self.fail(fault, report);
                continue;
            }
            match reading.look(archive) {
                Look::Event => self.outgoing.extend_from_slice(reading.event()),
                // A block at a time: stops are looked at in between, and other shards have their turn.
                Look::Busy => return true,
                Look::End => {
                    report.done += 1;
                    self.end(None, report, true);
                }
                Look::Failed(fault) => self.fail(&fault, report),
            }
        }
        true
    }

    fn fail(&mut self, fault: &Fault, report: &mut ReaderReport) {
        let reason = fault.to_string();
        report.failed += 1;
        report.exit = Some(report.exit.map_or(fault.exit_code(), |exit| exit.min(fault.exit_code())));
        if report.reasons.len() < REASONS_MAX && !report.reasons.contains(&reason) {
            report.reasons.push(reason);
        }
        self.end(Some(fault.code()), report, true);
    }

    /// Writes the end of the reply.
    fn end(&mut self, code: Option<u16>, report: &mut ReaderReport, tells: bool) {
        let Some(reading) = &self.reading else { return };
        report.events += reading.events();
        report.blocks += reading.blocks;
        if tells {
            reading.ends(code.is_some()).iter().for_each(|end| self.outgoing.extend_from_slice(end.slots()));
        }
        let mut end =
            EventBuf::new(&Tick { reserved: [code.map_or(0, |code| 1 + u64::from(code)), 0], ..Tick::default() });
        end.head_mut().seq = reading.order.number;
        self.outgoing.extend_from_slice(end.slots());
        self.is_ending = true;
    }

    /// Sends what is to go. False when there is no room for it.
    fn flush(&mut self, report: &mut ReaderReport) -> bool {
        while let Some(event) = tapeline_core::event::EventRef::first(&self.outgoing[self.sent..]) {
            if self.replies.push(event.slots()).is_err() {
                report.full += 1;
                return false;
            }
            self.sent += event.slots().len();
        }
        self.outgoing.clear();
        self.sent = 0;
        true
    }
}

/// History for the shards of an engine: an archive, and a desk for each shard.
pub struct Backfill {
    archive: Archive,
    desks: Vec<Desk>,
}

impl Backfill {
    /// Reads from `archive`. Shards are added before it starts.
    #[must_use]
    pub const fn new(archive: Archive) -> Self {
        Self { archive, desks: Vec::new() }
    }

    /// A desk more: the shard's ends of its queues, for `in_flight` orders at a time and a ring of `ring_slots`.
    pub fn add_shard(&mut self, in_flight: usize, ring_slots: usize) -> (HistoryPort, Consumer) {
        let queues = Arc::new(Queues { orders: ArrayQueue::new(in_flight), stops: ArrayQueue::new(2 * in_flight) });
        let (replies, consumer) = ring::channel(ring_slots);
        self.desks.push(Desk {
            queues: Arc::clone(&queues),
            replies,
            stopped: BTreeSet::new(),
            reading: None,
            outgoing: Vec::new(),
            sent: 0,
            is_ending: false,
        });
        (HistoryPort(queues), consumer)
    }

    /// Does a bounded piece of work for each shard in turn; false when there was none to do.
    pub fn poll(&mut self, report: &mut ReaderReport) -> bool {
        // Every desk has its turn: `|` and not `||`.
        self.desks.iter_mut().fold(false, |worked, desk| worked | desk.poll(&self.archive, report))
    }

    /// Starts the thread, on these cores.
    ///
    /// # Errors
    /// When the system starts no thread.
    pub fn start(mut self, cores: Vec<usize>) -> std::io::Result<BackfillThread> {
        Background::spawn("backfill", cores, move |stop| {
            let (mut report, mut rest) = (ReaderReport::default(), Rest::new());
            while !stop.load(Ordering::Relaxed) {
                let has_worked = self.poll(&mut report);
                let is_open = self.desks.iter().any(|desk| desk.reading.is_some());
                match rest.next(has_worked, is_open) {
                    Duration::ZERO => {}
                    time => thread::sleep(time),
                }
            }
            report
        })
    }
}

/// The thread that reads.
pub type BackfillThread = Background<ReaderReport>;

impl std::fmt::Debug for Backfill {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Backfill")
            .field("archive", &self.archive)
            .field("shards", &self.desks.len())
            .finish_non_exhaustive()
    }
}
