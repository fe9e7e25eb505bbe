//! The contenders: a shard, queues with a loop that calls the handler, and the least that two cores need.

use super::{BATCH, CAPACITY, Engine, SYMBOLS, Told, Tx, Worker};
use crate::clock::{Waiter, ticks};
use crate::contender::{Contender, Event, Receiver, Sender};
use crate::controls::{LineReader, LineWriter, line_stream};
use crate::whole::{Averages, Bare, TwoAverages};
use std::marker::PhantomData;
use tapeline_core::bus::BusBuilder;
use tapeline_core::catalog::{Catalog, SeqRule};
use tapeline_core::event::Slot;
use tapeline_core::ring::{self, Producer};
use tapeline_core::shard::{Batch, Config, Probe, Shard};
use tapeline_core::units::price_f64;

/// A shard of the engine: admission, dedup, ledger and all, with the handler on its static chain. The due time travels beside the event.
#[derive(Debug)]
pub struct Tapeline;

/// Tells of each batch of the shard.
struct ShardProbe(Option<Told>);

impl Probe for ShardProbe {
    const TIMES_HANDLERS: bool = false;

    fn now(&mut self) -> u64 {
        ticks()
    }

    fn batch(&mut self, batch: &Batch<'_>) {
        if let Some(told) = &mut self.0 {
            told.batch(batch.dues.iter().copied());
        }
    }
}

/// The shard.
pub struct ShardWorker {
    shard: Shard<Bare, ShardProbe>,
    handled: u64,
}

impl Tx for Producer {
    #[inline]
    fn send(&mut self, event: &Slot, due: u64) -> bool {
        self.push_due(std::slice::from_ref(event), due).is_ok()
    }
}

impl Engine for Tapeline {
    type Tx = Producer;
    type Worker = ShardWorker;

    fn new() -> (Producer, ShardWorker) {
        let mut catalog = Catalog::new(SYMBOLS + 1);
        for number in 0..SYMBOLS {
            catalog.symbol(format!("S{number}").as_bytes()).expect("there is room");
        }
        catalog.source(b"feed", SeqRule::Contiguous).expect("there is room");
        let bus = BusBuilder::new(SYMBOLS + 1).then(TwoAverages).build(&mut catalog).expect("one handler");
        let config = Config { has_dues: true, history_slots: 0, ..Config::single() };
        let (tx, rx) = ring::channel_with_dues(CAPACITY);
        let shard = Shard::new(config, catalog, bus, ShardProbe(None), rx, Vec::new(), Vec::new());
        (tx, ShardWorker { shard, handled: 0 })
    }
}

impl Worker for ShardWorker {
    fn run(&mut self, events: u64, told: &mut Told, waiter: &mut Waiter<'_>) {
        self.shard.probe().0 = Some(std::mem::replace(told, Told::new(told.clock)));
        loop {
            let work = self.shard.step(&mut ()).work;
            let Some(told) = &mut self.shard.probe().0 else { break };
            if work == 0 {
                told.idle();
                waiter.failed();
            } else if told.responses.len() == events {
                break;
            }
        }
        if let Some(full) = self.shard.probe().0.take() {
            *told = full;
        }
        self.handled += events;
    }

    fn handled(&self) -> u64 {
        let total = self.shard.ledger().total();
        assert_eq!((total.offered, total.delivered), (self.handled, self.handled), "the ledger: {total:?}");
        total.delivered
    }
}

/// The handler over states by symbol, without an engine: what one writes in an afternoon.
#[derive(Debug)]
struct Handlers {
    states: Vec<Averages>,
    handled: u64,
}

impl Handlers {
    fn new() -> Self {
        Self { states: vec![Averages::default(); SYMBOLS + 1], handled: 0 }
    }

    #[inline]
    fn handle(&mut self, events: &[Event]) {
        for event in events {
            self.states[event.0.symbol.index()].take(price_f64(event.0.payload[0] as i64));
        }
        self.handled += events.len() as u64;
    }
}

/// The event with its due time in it, as one would send it.
#[inline]
fn stamped(event: &Slot, due: u64) -> Event {
    let mut event = Event(*event);
    event.0.ts_event.0 = due;
    event
}

#[inline]
fn dues(events: &[Event]) -> impl Iterator<Item = u64> + '_ {
    events.iter().map(|event| event.0.ts_event.0)
}

/// A queue, and a thread that takes what is there, up to [`BATCH`] at a time, and calls the handler.
#[derive(Debug)]
pub struct Queue<C>(PhantomData<C>);

/// The sending end.
pub struct QueueTx<T>(T);

/// The handling end.
pub struct QueueWorker<R> {
    rx: R,
    handlers: Handlers,
}

impl<T: Sender<Event>> Tx for QueueTx<T> {
    #[inline]
    fn send(&mut self, event: &Slot, due: u64) -> bool {
        self.0.send(&stamped(event, due))
    }
}

impl<C: Contender<Event>> Engine for Queue<C> {
    type Tx = QueueTx<C::Tx>;
    type Worker = QueueWorker<C::Rx>;

    fn new() -> (Self::Tx, Self::Worker) {
        let (tx, rx) = C::channel(CAPACITY);
        (QueueTx(tx), QueueWorker { rx, handlers: Handlers::new() })
    }
}

impl<R: Receiver<Event>> Worker for QueueWorker<R> {
    fn run(&mut self, events: u64, told: &mut Told, waiter: &mut Waiter<'_>) {
        let until = self.handlers.handled + events;
        let mut batch = [Event::default(); BATCH];
        while self.handlers.handled < until {
            let count = self.rx.receive_batch(&mut batch);
            if count == 0 {
                told.idle();
                waiter.failed();
                continue;
            }
            self.handlers.handle(&batch[..count]);
            told.batch(dues(&batch[..count]));
        }
    }

    fn handled(&self) -> u64 {
        self.handlers.handled
    }
}

/// C2: lines filled in place, one Release each, summed in place, and no handler: what the two cores need at this rate.
#[derive(Debug)]
pub struct Lines;

/// The reading end of [`Lines`].
pub struct LinesWorker {
    reader: LineReader,
    handled: u64,
}

impl Engine for Lines {
    type Tx = LineWriter;
    type Worker = LinesWorker;

    fn new() -> (LineWriter, LinesWorker) {
        let (writer, reader) = line_stream();
        (writer, LinesWorker { reader, handled: 0 })
    }
}

impl Tx for LineWriter {
    #[inline]
    fn send(&mut self, _event: &Slot, due: u64) -> bool {
        self.fill(due, 1)
    }
}

impl Worker for LinesWorker {
    fn run(&mut self, events: u64, told: &mut Told, waiter: &mut Waiter<'_>) {
        let until = self.handled + events;
        let mut dues = [0; BATCH];
        while self.handled < until {
            let mut count = 0;
            while count < BATCH
                && let Some((due, sum)) = self.reader.take()
            {
                // due + !due = u64::MAX, and 1 to 6.
                assert!(sum == u64::MAX.wrapping_add(21), "the line's sum");
                dues[count] = due;
                count += 1;
            }
            if count == 0 {
                told.idle();
                waiter.failed();
                continue;
            }
            self.handled += count as u64;
            told.batch(dues[..count].iter().copied());
        }
    }

    fn handled(&self) -> u64 {
        self.handled
    }
}

#[cfg(feature = "peers")]
pub use tokio_mpsc::TokioMpsc;

#[cfg(feature = "peers")]
mod tokio_mpsc {
    use super::{BATCH, CAPACITY, Engine, Event, Handlers, Slot, Told, Tx, Waiter, Worker, dues, stamped};
    use tokio::sync::mpsc::{Receiver, Sender, channel};

    /// tokio's bounded channel and a task that awaits it, on a runtime of one thread; sent to by `try_send`, as a feed's thread does.
    #[derive(Debug)]
    pub struct TokioMpsc;

    /// The sending end.
    pub struct TokioTx(Sender<Event>);

    /// The task and its runtime.
    pub struct TokioWorker {
        runtime: tokio::runtime::Runtime,
        rx: Receiver<Event>,
        handlers: Handlers,
        batch: Vec<Event>,
    }

    impl Engine for TokioMpsc {
        type Tx = TokioTx;
        type Worker = TokioWorker;

        fn new() -> (TokioTx, TokioWorker) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime without I/O starts");
            let (tx, rx) = channel(CAPACITY);
            (TokioTx(tx), TokioWorker { runtime, rx, handlers: Handlers::new(), batch: Vec::with_capacity(BATCH) })
        }
    }

    impl Tx for TokioTx {
        #[inline]
        fn send(&mut self, event: &Slot, due: u64) -> bool {
            self.0.try_send(stamped(event, due)).is_ok()
        }
    }

    impl Worker for TokioWorker {
        fn run(&mut self, events: u64, told: &mut Told, _waiter: &mut Waiter<'_>) {
            let until = self.handlers.handled + events;
            let Self { runtime, rx, handlers, batch } = self;
            runtime.block_on(async {
                while handlers.handled < until {
                    batch.clear();
                    if rx.recv_many(batch, BATCH).await == 0 {
                        break;
                    }
                    // It sleeps when there is nothing: that is no gap of the machine's.
                    told.wake();
                    handlers.handle(batch);
                    told.batch(dues(batch));
                }
            });
        }

        fn handled(&self) -> u64 {
            self.handlers.handled
        }
    }
}
