//! `duel dispatch`: one event to its handlers (P11).

mod ours;
#[cfg(feature = "peers")]
mod peers;

use crate::duel::{self, Entry, Options, Role};
use crate::report::{Claim, Rival, Table};
use crate::single;
use std::hint::black_box;
use tapeline_core::limits::HANDLERS_MAX;

pub use ours::{Dynamic, Static};
#[cfg(feature = "peers")]
pub use peers::{Broadcast, NexusDynamic, Pipeline};

/// Metrics of a slice.
pub const METRICS: [&str; 2] = ["event_ns", "call_ns"];
/// Events of a measured batch.
const BATCH: usize = 256;

/// Gives events to handlers, each of which adds the event's size to a sum of its own.
pub trait Dispatcher {
    /// With this many handlers.
    fn new(handlers: usize) -> Self;

    /// Gives events with these sizes to every handler, one by one: each size passes a `black_box`, so that no compiler sums up a
    /// batch in one go.
    fn dispatch(&mut self, sizes: &[u64]);

    /// The sum of each handler, in order.
    fn sums(&mut self) -> Vec<u64>;
}

/// A handler behind a virtual call.
trait Add {
    fn add(&mut self, size: u64);
    fn sum(&self) -> u64;
}

impl Add for u64 {
    #[inline(never)]
    fn add(&mut self, size: u64) {
        *self = self.wrapping_add(size);
    }

    fn sum(&self) -> u64 {
        *self
    }
}

/// A loop of virtual calls over boxed handlers: the least that a dynamic bus can do.
pub struct Loop(Vec<Box<dyn Add>>);

impl Dispatcher for Loop {
    fn new(handlers: usize) -> Self {
        Self((0..handlers).map(|_| Box::new(0u64) as Box<dyn Add>).collect())
    }

    #[inline]
    fn dispatch(&mut self, sizes: &[u64]) {
        for size in sizes {
            for handler in black_box(&mut self.0) {
                handler.add(black_box(*size));
            }
        }
    }

    fn sums(&mut self) -> Vec<u64> {
        self.0.iter().map(|handler| handler.sum()).collect()
    }
}

/// A dispatcher and what its handlers should have summed up.
pub struct Work<D> {
    dispatcher: D,
    handlers: usize,
    sizes: Box<[u64]>,
    batches: u64,
}

impl<D: Dispatcher> Work<D> {
    /// With this many handlers.
    #[must_use]
    pub fn new(handlers: usize) -> Self {
        Self { dispatcher: D::new(handlers), handlers, sizes: (1..=BATCH as u64).collect(), batches: 0 }
    }

    /// The dispatcher and the sizes of a batch of events.
    pub fn batch(&mut self) -> (&mut D, &[u64]) {
        self.batches += 1;
        (&mut self.dispatcher, &self.sizes)
    }

    /// # Panics
    /// When a handler missed an event or had one twice.
    fn check(&mut self) {
        let each = self.sizes.iter().sum::<u64>() * self.batches;
        assert_eq!(self.dispatcher.sums(), vec![each; self.handlers]);
    }
}

fn entry<'a, D: Dispatcher + 'a>(name: &'static str, role: Role, handlers: usize, options: &'a Options) -> Entry<'a> {
    let build = move || Work::<D>::new(handlers);
    single::entry(name, role, options, METRICS.len(), build, move |work, meter| {
        // Two phases in turn, of the same work: by event and by call.
        for (phase, operations) in [(0, BATCH), (1, BATCH * handlers)] {
            let (dispatcher, sizes) = work.batch();
            meter.time(phase, || dispatcher.dispatch(black_box(sizes)));
            meter.count(phase, operations);
        }
        if work.batches % 1_024 == 2 {
            work.check();
        }
    })
}

/// The static chain, against nexus-rt's pipeline of as many steps.
#[must_use]
pub fn chain(options: &Options, handlers: usize) -> Table {
    #[allow(unused_mut)]
    let mut entries = vec![
        entry::<Static>("tapeline", Role::Ours, handlers, options),
        entry::<Loop>("virtual calls", Role::Control, handlers, options),
    ];
    #[cfg(feature = "peers")]
    entries.push(entry::<Pipeline>("nexus-rt pipeline", Role::Peer, handlers, options));
    let records = duel::run(&entries, options);
    let claims = [Claim::at_most("P11 static chain against nexus-rt", 0, Rival::Named("nexus-rt pipeline"), 1.2, 1.2)];
    Table::new(
        &format!("dispatch, static chain of {handlers}"),
        "ns an event and a call, one thread; each handler adds a word of the event to its state. Ours looks at the kind \
         of the event, finds the state of its symbol among 16 and keeps what containment of a panic needs; a pipeline's step has \
         one state and none of that",
        &METRICS,
        &entries,
        records,
        &claims,
        options,
    )
}

/// Handlers that are known at run time only.
#[must_use]
pub fn dynamic(options: &Options, handlers: usize) -> Table {
    #[allow(unused_mut)]
    let mut entries = vec![
        entry::<Dynamic>("tapeline", Role::Ours, handlers, options),
        entry::<Loop>("virtual calls", Role::Control, handlers, options),
    ];
    #[cfg(feature = "peers")]
    {
        entries.push(entry::<NexusDynamic>("nexus-rt Broadcast", Role::Peer, handlers, options));
        entries.push(entry::<Broadcast>("tokio broadcast", Role::Peer, handlers, options));
    }
    let records = duel::run(&entries, options);
    let mut claims = vec![Claim::at_most("P11 dynamic handler, ns with its loop", 1, Rival::Nobody, 3.0, 3.0)];
    if handlers == HANDLERS_MAX {
        claims.push(Claim::at_most("P11 many handlers against a loop of calls", 1, Rival::Control, 1.1, 1.1));
    }
    Table::new(
        &format!("dispatch, {handlers} dynamic"),
        "ns an event and a call, one thread; as for the chain. 64 handlers are the most that our bus takes \
         (HANDLERS_MAX): the target names 1,000, which it refuses. tokio's receivers are drained after each batch, \
         without tasks",
        &METRICS,
        &entries,
        records,
        &claims,
        options,
    )
}

/// Gives every table of the subject to `done` as it is ready.
pub fn run(options: &Options, done: &mut dyn FnMut(Table)) {
    [1, 3, 10].into_iter().for_each(|handlers| done(chain(options, handlers)));
    [1, 3, 10, HANDLERS_MAX].into_iter().for_each(|handlers| done(dynamic(options, handlers)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_dispatcher_gives_every_event_to_every_handler_once() {
        fn check<D: Dispatcher>(handlers: usize) {
            let mut work = Work::<D>::new(handlers);
            for _ in 0..3 {
                let (dispatcher, sizes) = work.batch();
                dispatcher.dispatch(sizes);
            }
            work.check();
        }
        for handlers in [1, 3, 10] {
            check::<Static>(handlers);
            #[cfg(feature = "peers")]
            check::<Pipeline>(handlers);
        }
        for handlers in [1, 3, 10, HANDLERS_MAX] {
            check::<Dynamic>(handlers);
            check::<Loop>(handlers);
            #[cfg(feature = "peers")]
            {
                check::<NexusDynamic>(handlers);
                check::<Broadcast>(handlers);
            }
        }
    }
}
