//! Warnings of the jobs thread, told by a thread of its own: whoever is told may wait for a pipe, and shards wait for the jobs thread.

use crate::ending::end_until;
use std::sync::mpsc::{self, SyncSender};
use std::thread::{self, JoinHandle};
use std::time::Instant;
use tracing::{Dispatch, dispatcher};

/// Warnings that may wait to be told; further ones are counted only.
const WAITING_MAX: usize = 64;

/// What a warning is about, if it is about one job (shard and number), and its words.
type Warning = (Option<(usize, u64)>, String);

/// Hands warnings to the thread that tells them, and never waits.
#[derive(Debug, Default)]
pub(super) struct Teller {
    ends: Option<(SyncSender<Warning>, JoinHandle<()>)>,
    untold: u64,
}

impl Teller {
    /// Starts the thread, on these cores.
    pub(super) fn start(dispatch: Dispatch, cores: Vec<usize>) -> std::io::Result<Self> {
        let (warnings, inbox) = mpsc::sync_channel::<Warning>(WAITING_MAX);
        let thread = thread::Builder::new().name("jobs-log".to_owned()).spawn(move || {
            crate::background::keep_to(&cores);
            dispatcher::with_default(&dispatch, || {
                for (job, words) in inbox {
                    match job {
                        Some((shard, number)) => tracing::warn!(shard, number, "{words}"),
                        None => tracing::warn!("{words}"),
                    }
                }
            });
        })?;
        Ok(Self { ends: Some((warnings, thread)), untold: 0 })
    }

    /// Tells it, as soon as what was told before is out.
    pub(super) fn tell(&mut self, job: Option<(usize, u64)>, words: &str) {
        let sent = self.ends.as_ref().is_some_and(|(warnings, _)| warnings.try_send((job, words.to_owned())).is_ok());
        self.untold += u64::from(!sent);
    }

    /// Lets it tell what waits, until then at most. Warnings that found no room.
    pub(super) fn end(self, until: Instant) -> u64 {
        if let Some((warnings, thread)) = self.ends {
            drop(warnings);
            end_until(thread, until);
        }
        self.untold
    }
}
