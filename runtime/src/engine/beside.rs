//! The threads beside the cores of a replay: ended, heard, or given up.

use super::EngineError;
use crate::backfill::{BackfillThread, ReaderReport};
use crate::driver::DriverError;
use crate::ending::GIVE_UP_AFTER;
use crate::ingest::{IngestReport, Progress};
use crate::jobs::{JobsThread, WorkersReport};
use crate::log::{LogReport, LogThread};
use crate::sink::{SinkError, SinkHandle};
use crate::spill::{SpillReport, SpillThread};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// How long the end of an interrupted run waits for a reader, which may itself wait for a pipe for ever.
const READER_LAST_WORDS_MAX: Duration = Duration::from_millis(200);

/// The threads beside the cores.
pub(super) struct Beside {
    pub(super) log: LogThread,
    pub(super) history: Option<BackfillThread>,
    pub(super) jobs: Option<JobsThread>,
    pub(super) spill: Option<SpillThread>,
    pub(super) sink: Option<SinkHandle>,
    pub(super) reader: JoinHandle<IngestReport>,
}

/// What they have to say.
pub(super) struct LastWords {
    pub(super) log: LogReport,
    pub(super) history: Option<ReaderReport>,
    pub(super) workers: Option<WorkersReport>,
    pub(super) spill: Option<SpillReport>,
    pub(super) outputs_written: Option<Result<u64, SinkError>>,
    pub(super) ingest: IngestReport,
}

impl Beside {
    /// The cores failed: all others are told to end, and have 2 s together. The error names who has not.
    fn give_up(self, error: DriverError) -> EngineError {
        let Self { mut log, mut history, mut jobs, mut spill, mut sink, reader: _ } = self;
        log.tell();
        history.iter().for_each(BackfillThread::tell);
        jobs.iter().for_each(JobsThread::tell);
        spill.iter().for_each(SpillThread::tell);
        sink.iter().for_each(SinkHandle::tell);
        let until = Instant::now() + GIVE_UP_AFTER;
        let ended = [
            ("log", log.give_up(until)),
            ("backfill", history.as_mut().is_none_or(|history| history.give_up(until))),
            ("jobs", jobs.as_mut().is_none_or(|jobs| jobs.give_up(until))),
            ("spill", spill.as_mut().is_none_or(|spill| spill.give_up(until))),
            ("sink", sink.as_mut().is_none_or(|sink| sink.give_up(until))),
        ];
        let left: Vec<&str> = ended.into_iter().filter(|(_, is_over)| !is_over).map(|(name, _)| name).collect();
        if left.is_empty() { EngineError::Run(error) } else { EngineError::RunAndLeft(error, left.join(", ")) }
    }

    /// What the cores and all others have to say. What went wrong on a core is told first, before what others say of themselves, which may
    /// follow from it: log, history and sink end by themselves then, and the reader is left behind, since it may wait for a pipe for
    /// ever. So is one that still waits for its input when the run was interrupted: it ends with the process, and what it handed over is
    /// known.
    pub(super) fn last_words<T>(
        self,
        cores: Result<T, DriverError>,
        interrupt: &AtomicBool,
        progress: &Progress,
    ) -> Result<(T, LastWords), EngineError> {
        let cores = match cores {
            Ok(cores) => cores,
            Err(error) => return Err(self.give_up(error)),
        };
        // Each may wait for a medium or a worker that does not answer.
        let until = || Instant::now() + 2 * GIVE_UP_AFTER;
        let log = self.log.finish();
        let history = self
            .history
            .map(|history| history.finish_until(until()).ok_or_else(|| EngineError::Backfill(GONE.to_owned())));
        let history = history.transpose()?;
        let workers =
            self.jobs.map(|jobs| jobs.finish_until(until()).ok_or_else(|| EngineError::Jobs(GONE.to_owned())));
        let workers = workers.transpose()?;
        let spill = self
            .spill
            .map(|spill| spill.finish_until(until()).ok_or_else(|| EngineError::Spill(format!("its thread {GONE}"))));
        let spill = spill.transpose()?;
        let outputs_written = self.sink.map(SinkHandle::finish);
        let ingest = ingested(self.reader, interrupt, progress)?;
        Ok((cores, LastWords { log, history, workers, spill, outputs_written, ingest }))
    }
}

/// Of a thread that has not said its last word.
const GONE: &str = "died, or does not answer and was left behind";

/// What the reader read.
fn ingested(
    reader: JoinHandle<IngestReport>,
    interrupt: &AtomicBool,
    progress: &Progress,
) -> Result<IngestReport, EngineError> {
    let begun = Instant::now();
    while !reader.is_finished() && interrupt.load(Ordering::Relaxed) {
        if begun.elapsed() > READER_LAST_WORDS_MAX {
            return Ok(progress.report());
        }
        thread::sleep(Duration::from_millis(1));
    }
    reader.join().map_err(|_| EngineError::Reader("died".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::background::Background;
    use crate::log::{Log, Names};
    use std::sync::mpsc;
    use tapeline_core::catalog::Catalog;

    fn dies<T>() -> T {
        std::panic::resume_unwind(Box::new("wanted by a test"))
    }

    #[test]
    fn req_3384_a_core_that_died_is_told_whatever_the_reader_does() {
        let died = || Err::<(), _>(DriverError::Died("core 1".to_owned(), "wanted by a test".to_owned()));
        let is_told = |words: Result<((), LastWords), EngineError>| matches!(words, Err(EngineError::Run(DriverError::Died(core, _))) if core == "core 1");
        let left = |words: Result<((), LastWords), EngineError>| match words {
            Err(EngineError::RunAndLeft(DriverError::Died(core, _), left)) if core == "core 1" => left,
            other => panic!("{:?}", other.map(|_| ())),
        };
        let (interrupt, progress) = (AtomicBool::new(false), Progress::default());
        let beside = |reader, history| {
            let names = Names { catalog: Catalog::new(4), handlers: Vec::new(), topics: Vec::new() };
            let (log, ..) = LogThread::start(Log::default(), names, 1, vec![0]).unwrap();
            Beside { log, history, jobs: None, spill: None, sink: None, reader }
        };
        let history = |work: fn()| {
            Some(
                Background::spawn("backfill", Vec::new(), move |_| {
                    work();
                    ReaderReport::default()
                })
                .unwrap(),
            )
        };
        // A reader that waits for its input for ever: nobody waits for it.
        let (input, waits) = mpsc::channel::<()>();
        let reader = thread::spawn(move || {
            let _ = waits.recv();
            Progress::default().report()
        });
        // Nor for history that waits for its file: the test comes to its end.
        let waits = history(|| {
            loop {
                thread::park();
            }
        });
        assert_eq!(left(beside(reader, waits).last_words(died(), &interrupt, &progress)), "backfill");
        drop(input);
        // Those that died do not hide it.
        assert!(is_told(beside(thread::spawn(dies::<IngestReport>), history(dies::<()>)).last_words(
            died(),
            &interrupt,
            &progress
        )));
        // Where all cores are well, history or a reader that died is told.
        let well = || thread::spawn(|| Progress::default().report());
        let words = beside(well(), history(dies::<()>)).last_words(Ok(()), &interrupt, &progress);
        assert!(matches!(words.map(|_| ()), Err(EngineError::Backfill(_))));
        let words =
            beside(thread::spawn(dies::<IngestReport>), history(|| ())).last_words(Ok(()), &interrupt, &progress);
        assert!(matches!(words.map(|_| ()), Err(EngineError::Reader(_))));
        assert!(beside(well(), history(|| ())).last_words(Ok(()), &interrupt, &progress).is_ok());
    }
}
