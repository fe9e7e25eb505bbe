//! The thread that keeps spilled events, and the ends of its rings.

use super::store::Store;
use super::{BACK_RING_SLOTS, REASONS_MAX, RING_SLOTS, Settings, SpillError, SpillReport};
use crate::background::Background;
use std::fs::{self, File, OpenOptions};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;
use tapeline_core::event::{EventRef, Slot};
use tapeline_core::limits::SPAN_SLOTS_MAX;
use tapeline_core::ring::{self, Consumer, Producer};
use tracing::Dispatch;
use tracing::dispatcher;

/// How long the thread sleeps when there is nothing to do.
const REST: Duration = Duration::from_micros(100);
/// Slots that are taken off a ring at a time: room for the longest event, and not more than a block has then.
const TAKE_SLOTS: usize = 4 * SPAN_SLOTS_MAX;
/// Events that a desk gives back before the next one has its turn.
const TURN_EVENTS: usize = 1_024;
/// Takes from the ring in one turn.
const TURN_TAKES: usize = 8;

/// What both ends of a store know.
#[derive(Default)]
struct Shared {
    /// A write has failed: nothing more is taken.
    has_failed: AtomicBool,
    /// Why what was spilled cannot come back.
    lost: OnceLock<String>,
}

/// What went through a shard's store.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SpillCounts {
    /// Events that were taken.
    pub spilled: u64,
    /// Events that came back.
    pub returned: u64,
    /// Events that were refused as there was no room, or not soon enough.
    pub refused_full: u64,
    /// Events that were refused as a write had failed.
    pub refused_failed: u64,
}

impl SpillCounts {
    /// Adds another shard's.
    pub fn add(&mut self, other: &Self) {
        self.spilled += other.spilled;
        self.returned += other.returned;
        self.refused_full += other.refused_full;
        self.refused_failed += other.refused_failed;
    }
}

/// The shard's end. Neither waits nor allocates.
pub struct SpillPort {
    to: Producer,
    from: Consumer,
    shared: Arc<Shared>,
    counts: SpillCounts,
}

impl SpillPort {
    /// Takes an event that its topic has no room for. False when there is none here either. O(span).
    pub fn spill(&mut self, event: EventRef<'_>) -> bool {
        if self.shared.has_failed.load(Ordering::Relaxed) {
            self.counts.refused_failed += 1;
            return false;
        }
        let is_taken = self.to.push(event.slots()).is_ok();
        let count = if is_taken { &mut self.counts.spilled } else { &mut self.counts.refused_full };
        *count += 1;
        is_taken
    }

    /// The oldest event that was spilled, if it is at hand. Returns its slots. O(span).
    ///
    /// # Panics
    /// When events that were taken cannot come back, with the reason: the shard would wait for them for ever.
    pub fn unspill(&mut self, event: &mut [Slot; SPAN_SLOTS_MAX]) -> usize {
        // Looked at before the ring: what was sent before the end is there.
        let is_gone = self.from.is_abandoned();
        let span = self.from.pop(&mut event[..]);
        self.counts.returned += u64::from(span > 0);
        if span == 0 && is_gone {
            let why = self.shared.lost.get().map_or("its thread is gone", String::as_str);
            panic!("the store of spilled events: {why}");
        }
        span
    }

    /// What went through.
    #[must_use]
    pub const fn counts(&self) -> &SpillCounts {
        &self.counts
    }
}

impl std::fmt::Debug for SpillPort {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SpillPort").field("counts", &self.counts).finish_non_exhaustive()
    }
}

/// What one shard has spilled.
struct Desk {
    shard: usize,
    shared: Arc<Shared>,
    from: Consumer,
    to: Producer,
    store: Store,
    buffer: Box<[Slot; TAKE_SLOTS]>,
}

impl Desk {
    /// Does a bounded piece of work; whether there was any. `Err` = what is in the store cannot come back.
    fn poll(&mut self, tell: &mut dyn FnMut(usize, String)) -> Result<bool, String> {
        let mut has_worked = self.give()?;
        // Not until the ring is empty: a shard that spills faster than its file takes it would keep the others waiting.
        for _ in 0..TURN_TAKES {
            match self.store.make_room() {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => {
                    self.shared.has_failed.store(true, Ordering::Relaxed);
                    tell(self.shard, format!("spilled events could not be written: {error}"));
                    break;
                }
            }
            let room = self.store.room().min(TAKE_SLOTS);
            let taken = self.from.pop_batch(&mut self.buffer[..room], None);
            if taken == 0 {
                break;
            }
            self.store.put(&self.buffer[..taken]);
            has_worked = true;
        }
        Ok(has_worked | self.give()?)
    }

    /// Gives back what there is room for.
    fn give(&mut self) -> Result<bool, String> {
        let mut given = 0;
        while given < TURN_EVENTS {
            let first =
                self.store.first().map_err(|error| format!("spilled events could not be read back: {error}"))?;
            let Some(event) = first else { break };
            if self.to.push(event.slots()).is_err() {
                break;
            }
            self.store.pop();
            given += 1;
        }
        Ok(given > 0)
    }
}

/// Stores for the shards of an engine.
pub struct Spill {
    desks: Vec<Desk>,
    dispatch: Dispatch,
    report: SpillReport,
}

/// The thread that keeps spilled events.
pub type SpillThread = Background<SpillReport>;

impl Spill {
    /// Stores of which none is open, which tell `dispatch` what goes wrong. Shards are added before they start.
    #[must_use]
    pub fn new(dispatch: Dispatch) -> Self {
        Self { desks: Vec::new(), dispatch, report: SpillReport::default() }
    }

    /// A store more, with a file of its own: the shard's end of it.
    ///
    /// # Errors
    /// [`SpillError`] when the file cannot be made.
    ///
    /// # Panics
    /// Without a folder.
    pub fn add_shard(&mut self, settings: &Settings) -> Result<SpillPort, SpillError> {
        let folder = &settings.folders[self.desks.len() % settings.folders.len()];
        let file = nameless(folder, self.desks.len());
        let file = file.map_err(|error| SpillError { folder: folder.clone(), error })?;
        Ok(self.add(Store::new(Box::new(file), settings.limit_bytes), RING_SLOTS))
    }

    pub(super) fn add(&mut self, store: Store, ring_slots: usize) -> SpillPort {
        let shared = Arc::new(Shared::default());
        let ((to, from_shard), (to_shard, from)) = (ring::channel(ring_slots), ring::channel(BACK_RING_SLOTS));
        self.desks.push(Desk {
            shard: self.desks.len(),
            shared: Arc::clone(&shared),
            from: from_shard,
            to: to_shard,
            store,
            buffer: Box::new([Slot::ZERO; TAKE_SLOTS]),
        });
        SpillPort { to, from, shared, counts: SpillCounts::default() }
    }

    /// Does a bounded piece of work for each shard; false when there was none to do.
    pub(super) fn poll(&mut self) -> bool {
        let (mut has_worked, report, dispatch) = (false, &mut self.report, &self.dispatch);
        let mut tell = |shard: usize, why: String| {
            dispatcher::with_default(dispatch, || tracing::warn!(shard, "{why}"));
            report.writes_failed += 1;
            if report.reasons.len() < REASONS_MAX && !report.reasons.contains(&why) {
                report.reasons.push(why);
            }
        };
        let mut lost = None;
        for (index, desk) in self.desks.iter_mut().enumerate() {
            match desk.poll(&mut tell) {
                Ok(worked) => has_worked |= worked,
                Err(why) => {
                    let _ = desk.shared.lost.set(why);
                    lost = Some(index);
                }
            }
        }
        if let Some(index) = lost {
            // Its rings are abandoned by that, by which the shard knows.
            let desk = self.desks.remove(index);
            self.sum(&desk.store);
        }
        has_worked
    }

    fn sum(&mut self, store: &Store) {
        self.report.blocks_written += store.written;
        self.report.blocks_read += store.read;
        self.report.blocks_most = self.report.blocks_most.max(store.most);
    }

    /// What it has to say.
    pub(super) fn end(mut self) -> SpillReport {
        for desk in std::mem::take(&mut self.desks) {
            self.sum(&desk.store);
        }
        self.report
    }

    /// Starts the thread, on these cores.
    ///
    /// # Errors
    /// When the system starts no thread.
    pub fn start(mut self, cores: Vec<usize>) -> std::io::Result<SpillThread> {
        Background::spawn("spill", cores, move |stop| {
            while !stop.load(Ordering::Relaxed) {
                if !self.poll() {
                    thread::sleep(REST);
                }
            }
            self.end()
        })
    }
}

impl std::fmt::Debug for Spill {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Spill").field("shards", &self.desks.len()).finish_non_exhaustive()
    }
}

/// A file in `folder` that has no name any more: it is gone when it is closed.
fn nameless(folder: &Path, shard: usize) -> std::io::Result<File> {
    let path = folder.join(format!(".tapeline-spill-{}-{shard}", std::process::id()));
    let file = OpenOptions::new().read(true).write(true).create_new(true).open(&path)?;
    fs::remove_file(&path)?;
    Ok(file)
}
