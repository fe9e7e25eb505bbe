//! What can be duelled over.

use crate::contender::Event;
use crate::duel::Options;
use crate::report::Table;
use crate::{dedup, dispatch, features, hop, itch, requests, ring, route, timers};

/// A subject of duels, by its name on the command line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Subject {
    /// P4 to P6: timers.
    Wheel,
    /// P7 and P8: priority queues.
    Queue,
    /// P9: duplicate filters.
    Dedup,
    /// P2: throughput between two threads.
    Ring,
    /// P1: latency between two threads.
    Hop,
    /// P11: one event to its handlers.
    Dispatch,
    /// P10: from a symbol to its shard.
    Route,
    /// P23: twenty indicators a tick.
    Features,
    /// ITCH messages out of a file.
    Itch,
    /// P21: a shard that is observed and one that is not.
    #[cfg(feature = "runtime")]
    Obs,
}

impl Subject {
    /// All of them, in the order in which they are run.
    pub const ALL: &'static [Self] = &[
        Self::Hop,
        Self::Ring,
        Self::Wheel,
        Self::Queue,
        Self::Dedup,
        Self::Route,
        Self::Dispatch,
        Self::Features,
        Self::Itch,
        #[cfg(feature = "runtime")]
        Self::Obs,
    ];

    /// Name on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Wheel => "wheel",
            Self::Queue => "queue",
            Self::Dedup => "dedup",
            Self::Ring => "ring",
            Self::Hop => "hop",
            Self::Dispatch => "dispatch",
            Self::Route => "route",
            Self::Features => "features",
            Self::Itch => "itch",
            #[cfg(feature = "runtime")]
            Self::Obs => "obs",
        }
    }

    /// The subject of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|subject| subject.name() == name)
    }

    /// Runs its duels and gives each table to `done` as it is ready. `ring` is about the subject of that name.
    pub fn run(self, options: &Options, ring: &Ring, done: &mut dyn FnMut(Table)) {
        match self {
            Self::Wheel => timers::run(options, done),
            Self::Queue => requests::run(options, done),
            Self::Dedup => dedup::run(options, done),
            Self::Ring if ring.small => {
                ring.batches.iter().for_each(|batch| done(ring::run::<u64>(&options.in_pieces(), *batch)));
            }
            Self::Ring => ring.batches.iter().for_each(|batch| done(ring::run::<Event>(&options.in_pieces(), *batch))),
            Self::Hop => done(hop::run(&options.in_pieces())),
            Self::Dispatch => dispatch::run(options, done),
            Self::Route => done(route::run(options)),
            Self::Features => features::duel(options, done),
            Self::Itch => itch::duel(options, done),
            #[cfg(feature = "runtime")]
            Self::Obs => crate::whole::duel(options, done),
        }
    }
}

/// What the subject `ring` can be asked.
#[derive(Clone, Debug)]
pub struct Ring {
    /// u64 instead of the 64-byte event.
    pub small: bool,
    /// Items of a batch.
    pub batches: Vec<usize>,
}

impl Default for Ring {
    fn default() -> Self {
        Self { small: false, batches: ring::BATCHES.to_vec() }
    }
}
