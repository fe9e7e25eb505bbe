//! Dispatchers of others, each driven as its documentation recommends.

use super::{BATCH, Dispatcher};
use nexus_rt::{Handler as _, IntoHandler, PipelineBuilder, ResMut, Resource, World, WorldBuilder};
use std::hint::black_box;
use tokio::sync::broadcast;

/// The state of handler N, as a resource of its own type.
struct Sum<const N: usize>(u64);

impl<const N: usize> Resource for Sum<N> {}

fn step<const N: usize>(mut sum: ResMut<'_, Sum<N>>, size: u64) -> u64 {
    sum.0 = sum.0.wrapping_add(size);
    size
}

fn handle<const N: usize>(mut sum: ResMut<'_, Sum<N>>, size: &u64) {
    sum.0 = sum.0.wrapping_add(*size);
}

/// Does something for each N below 64.
macro_rules! for_each_n {
    ($do:ident) => {
        $do!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31 32 33 34 35 36 37 38 39
            40 41 42 43 44 45 46 47 48 49 50 51 52 53 54 55 56 57 58 59 60 61 62 63)
    };
}

/// A world with 64 sums.
fn world() -> World {
    let mut builder = WorldBuilder::new();
    macro_rules! register {
        ($($n:literal)*) => { $(builder.register(Sum::<$n>(0));)* };
    }
    for_each_n!(register);
    builder.build()
}

fn sums(world: &World, handlers: usize) -> Vec<u64> {
    let mut sums = Vec::new();
    macro_rules! read {
        ($($n:literal)*) => { $(sums.push(world.resource::<Sum<$n>>().0);)* };
    }
    for_each_n!(read);
    sums.truncate(handlers);
    sums
}

/// Runs a pipeline, whose type has no name, for a batch of events.
type Batch = Box<dyn FnMut(&mut World, &[u64])>;

/// `nexus-rt`'s pipeline of 1, 3 or 10 steps, each with a resource of its own. One call through a pointer a batch.
pub struct Pipeline {
    world: World,
    run: Batch,
    handlers: usize,
}

impl Dispatcher for Pipeline {
    fn new(handlers: usize) -> Self {
        let world = world();
        let r = world.registry();
        macro_rules! batch {
            ($($n:literal)*) => {{
                let mut pipeline = PipelineBuilder::<u64>::new()$(.then(step::<$n>, r))*;
                Box::new(move |world: &mut World, sizes: &[u64]| {
                    for size in sizes {
                        pipeline.run(world, black_box(*size));
                    }
                })
            }};
        }
        let run: Batch = match handlers {
            1 => batch!(0),
            3 => batch!(0 1 2),
            10 => batch!(0 1 2 3 4 5 6 7 8 9),
            other => panic!("pipelines of 1, 3 and 10 steps are compiled, not of {other}"),
        };
        Self { world, run, handlers }
    }

    #[inline]
    fn dispatch(&mut self, sizes: &[u64]) {
        (self.run)(&mut self.world, sizes);
    }

    fn sums(&mut self) -> Vec<u64> {
        sums(&self.world, self.handlers)
    }
}

/// `nexus-rt`'s `Broadcast`: boxed handlers, each with a resource of its own.
pub struct NexusDynamic {
    world: World,
    handlers: nexus_rt::Broadcast<u64>,
}

impl Dispatcher for NexusDynamic {
    fn new(handlers: usize) -> Self {
        let world = world();
        let mut broadcast = nexus_rt::Broadcast::new();
        macro_rules! add {
            ($($n:literal)*) => {
                $(if $n < handlers { broadcast.add(handle::<$n>.into_handler(world.registry())); })*
            };
        }
        for_each_n!(add);
        Self { world, handlers: broadcast }
    }

    #[inline]
    fn dispatch(&mut self, sizes: &[u64]) {
        for size in sizes {
            self.handlers.run(&mut self.world, black_box(*size));
        }
    }

    fn sums(&mut self) -> Vec<u64> {
        sums(&self.world, self.handlers.len())
    }
}

/// tokio's `broadcast` channel with a receiver a handler, drained on the same thread after each batch: no task, no waker.
pub struct Broadcast {
    sender: broadcast::Sender<u64>,
    receivers: Vec<(broadcast::Receiver<u64>, u64)>,
}

impl Dispatcher for Broadcast {
    fn new(handlers: usize) -> Self {
        let (sender, _) = broadcast::channel(BATCH);
        let receivers = (0..handlers).map(|_| (sender.subscribe(), 0)).collect();
        Self { sender, receivers }
    }

    #[inline]
    fn dispatch(&mut self, sizes: &[u64]) {
        for size in sizes {
            self.sender.send(*size).expect("there are receivers");
        }
        for (receiver, sum) in &mut self.receivers {
            while let Ok(size) = receiver.try_recv() {
                *sum = sum.wrapping_add(size);
            }
        }
    }

    fn sums(&mut self) -> Vec<u64> {
        self.receivers.iter().map(|(_, sum)| *sum).collect()
    }
}
