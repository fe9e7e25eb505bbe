//! The sink: writes every output with its cause, on a thread off the measured cores.
//!
//! Shards hand outputs over through rings; definitions come through one of their own, and are sent before the first output
//! that could need them. The outputs of one symbol are in order; how symbols interleave depends on the run where there are
//! several shards, and does not matter to `tapeline diff`.

use crate::background::keep_to;
use crate::ending::{GIVE_UP_AFTER, end_until};
use crate::ndjson;
use crate::tape::{Codec, TapeOptions, TapeWriter};
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use tapeline_core::catalog::Catalog;
use tapeline_core::event::{EventRef, Slot, events};
use tapeline_core::limits::STAGED_SLOTS_MAX;
use tapeline_core::ring::{self, Consumer, Producer};
use tapeline_core::stop::{Stop, StopWord};

/// Slots of the ring from a shard to the sink: several times what one event may make.
const EGRESS_SLOTS: usize = 4 * STAGED_SLOTS_MAX;
/// Slots that the sink takes at once.
const TAKE_SLOTS: usize = 256;

/// Why outputs could not be written.
#[derive(Debug, thiserror::Error)]
#[error("{path}: cannot write outputs: {why}")]
pub struct SinkError {
    /// File as the user named it.
    pub path: String,
    /// What went wrong.
    pub why: String,
}

/// A file of outputs that is open.
enum Out {
    Tape(Box<TapeWriter<BufWriter<File>>>),
    Ndjson(BufWriter<File>, Vec<u8>),
}

impl Out {
    fn write(&mut self, catalog: &Catalog, slots: &[Slot]) -> Result<(), String> {
        match self {
            Self::Tape(tape) => tape.write(catalog, slots).map_err(|error| error.to_string()),
            Self::Ndjson(file, line) => {
                for event in events(slots) {
                    line.clear();
                    ndjson::write_event(catalog, event, line);
                    file.write_all(line).map_err(|error| error.to_string())?;
                }
                Ok(())
            }
        }
    }

    fn finish(self) -> Result<(), String> {
        match self {
            Self::Tape(tape) => tape.finish().map(|_| ()).map_err(|error| error.to_string()),
            Self::Ndjson(mut file, _) => file.flush().map_err(|error| error.to_string()),
        }
    }
}

/// The sink's thread, and the ends of the rings that feed it.
pub struct Sink {
    handle: SinkHandle,
    /// By shard.
    pub shards: Vec<Producer>,
    /// For the source station.
    pub definitions: Producer,
}

impl Sink {
    /// Creates the file and starts the thread. `catalog` holds the handlers' sources. NDJSON for a path that ends in
    /// `.ndjson`, a tape for every other. The thread keeps to `cores`.
    ///
    /// # Errors
    /// When the file exists and `force` is not set, or cannot be created.
    pub fn start(
        path: &Path,
        force: bool,
        catalog: Catalog,
        shards: usize,
        cores: Vec<usize>,
    ) -> Result<Self, SinkError> {
        let fail = |why: String| SinkError { path: path.display().to_string(), why };
        let file = create(path, force).map_err(|error| fail(error.to_string()))?;
        let file = BufWriter::with_capacity(1 << 20, file);
        let out = if path.extension().is_some_and(|extension| extension == "ndjson") {
            Out::Ndjson(file, Vec::with_capacity(4 << 10))
        } else {
            let options = TapeOptions {
                made_by: "tapeline replay --outputs".to_owned(),
                codec: Codec::None,
                ..TapeOptions::default()
            };
            Out::Tape(Box::new(TapeWriter::new(file, options).map_err(|error| fail(error.to_string()))?))
        };
        let stop = Arc::new(StopWord::new());
        let (definitions, mut drain) = ring::channel(EGRESS_SLOTS);
        let (producers, mut consumers): (Vec<_>, Vec<_>) = (0..shards).map(|_| ring::channel(EGRESS_SLOTS)).unzip();
        let is_stopped = Arc::clone(&stop);
        let thread = thread::Builder::new()
            .name("sink".to_owned())
            .spawn(move || {
                keep_to(&cores);
                run(out, catalog, &mut drain, &mut consumers, &is_stopped)
            })
            .map_err(|error| fail(error.to_string()))?;
        let handle = SinkHandle { path: path.to_owned(), stop, thread: Some(thread) };
        Ok(Self { handle, shards: producers, definitions })
    }

    /// Gives the ring ends away, and keeps what is needed to end the sink.
    #[must_use]
    pub fn split(self) -> (Vec<Producer>, Producer, SinkHandle) {
        (self.shards, self.definitions, self.handle)
    }
}

/// A sink that is running. Dropped without [`SinkHandle::finish`], as by a start that fails, it ends and closes its file; or it is left behind after 2 s,
/// where it waits for a pipe that nobody reads.
pub struct SinkHandle {
    path: PathBuf,
    stop: Arc<StopWord>,
    thread: Option<JoinHandle<Result<u64, String>>>,
}

impl Drop for SinkHandle {
    fn drop(&mut self) {
        self.give_up(Instant::now() + GIVE_UP_AFTER);
    }
}

impl SinkHandle {
    /// Tells it to end, and goes on.
    pub(crate) fn tell(&self) {
        self.stop.request(Stop::Drain);
    }

    /// Ends it, or leaves it behind where it has not ended at `until`: false then.
    pub(crate) fn give_up(&mut self, until: Instant) -> bool {
        self.tell();
        self.thread.take().is_none_or(|thread| end_until(thread, until))
    }

    /// Writes what is left in the rings, closes the file, and returns the outputs written. Call after the shards have
    /// stopped.
    ///
    /// # Errors
    /// When anything could not be written.
    pub fn finish(mut self) -> Result<u64, SinkError> {
        self.stop.request(Stop::Drain);
        let died = || Err("the sink's thread died".to_owned());
        let written = self.thread.take().and_then(|thread| thread.join().ok()).unwrap_or_else(died);
        written.map_err(|why| SinkError { path: self.path.display().to_string(), why })
    }
}

/// Creates a file; refuses one that exists, unless forced.
///
/// # Errors
/// As the system says.
pub fn create(path: &Path, force: bool) -> io::Result<File> {
    if force {
        return File::create(path);
    }
    File::create_new(path).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => io::Error::new(error.kind(), "the file exists; --force overwrites it"),
        _ => error,
    })
}

fn run(
    mut out: Out,
    mut catalog: Catalog,
    definitions: &mut Consumer,
    shards: &mut [Consumer],
    stop: &StopWord,
) -> Result<u64, String> {
    let (mut slots, mut written, mut error) = (vec![Slot::ZERO; TAKE_SLOTS], 0, None);
    loop {
        // The word before the rings: what was put in before the request is seen.
        let is_last = stop.get() != Stop::Run;
        let mut taken = 0;
        for shard in shards.iter_mut() {
            let count = shard.pop_batch(&mut slots, None);
            if count == 0 {
                continue;
            }
            taken += count;
            // What these outputs need was defined before they were made.
            error = error.or(define(&mut catalog, definitions).err());
            written += events(&slots[..count]).count() as u64;
            if error.is_none() {
                // After a failure the rings are still drained: a full disk must not stop the shards.
                error = out.write(&catalog, &slots[..count]).err();
            }
        }
        if taken == 0 {
            // Or the ring of definitions would fill up, and the source wait for it, while there are no outputs.
            error = error.or(define(&mut catalog, definitions).err());
            if is_last {
                break;
            }
            thread::sleep(Duration::from_micros(200));
        }
    }
    let closed = out.finish();
    error.map_or(closed, Err)?;
    Ok(written)
}

fn define(catalog: &mut Catalog, ring: &mut Consumer) -> Result<(), String> {
    let mut slots = [Slot::ZERO; 64];
    loop {
        let count = ring.pop(&mut slots);
        let Some(event) = EventRef::first(&slots[..count]) else { return Ok(()) };
        catalog.apply(event).map_err(|error| error.to_string())?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::pipe;
    use std::os::fd::AsRawFd;
    use tapeline_core::catalog::SeqRule;
    use tapeline_core::event::EventBuf;
    use tapeline_core::event::payload::Signal;

    /// Outputs go to a pipe whose other end is open, and read by nobody.
    #[test]
    fn req_3384_a_sink_that_waits_for_a_pipe_is_left_behind_in_time() {
        let (_unread, pipe) = pipe().unwrap();
        let path = PathBuf::from(format!("/proc/self/fd/{}", pipe.as_raw_fd()));
        let mut catalog = Catalog::new(4);
        let symbol = catalog.symbol(b"ONE").unwrap();
        let source = catalog.source(b"feed", SeqRule::None).unwrap();
        let sink = Sink::start(&path, true, catalog, 1, vec![0]).unwrap();
        let (mut shards, definitions, mut handle) = sink.split();
        let mut event = EventBuf::new(&Signal::default());
        (event.head_mut().symbol, event.head_mut().source) = (symbol, source);
        // More than the sink's own buffer of 1 MiB and what a pipe holds: until its ring stays full.
        let begun = Instant::now();
        let mut full_since = None;
        while full_since.is_none_or(|since: Instant| since.elapsed() < Duration::from_millis(200)) {
            if shards[0].push(event.slots()).is_ok() {
                full_since = None;
            } else {
                full_since.get_or_insert_with(Instant::now);
                thread::sleep(Duration::from_micros(100));
            }
            assert!(begun.elapsed() < Duration::from_secs(60), "the pipe takes everything");
        }
        let begun = Instant::now();
        assert!(!handle.give_up(Instant::now() + Duration::from_millis(50)), "it is left behind");
        drop((handle, definitions));
        assert!(begun.elapsed() < Duration::from_secs(30), "and nobody waits for it: {:?}", begun.elapsed());
    }
}
