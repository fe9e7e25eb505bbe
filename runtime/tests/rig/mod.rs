//! Replays of small tapes through the engine, for tests: a folder, a tape of trades, a setup from a configuration, a report that balances.

#![allow(dead_code)] // each test binary uses a part of it

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use tapeline_core::bus::{BusBuilder, End};
use tapeline_core::catalog::{Catalog, SeqRule};
use tapeline_core::event::payload::Trade;
use tapeline_core::event::{EventBuf, Flags};
use tapeline_core::units::UnixNanos;
use tapeline_runtime::config::Layers;
use tapeline_runtime::driver::Driver;
use tapeline_runtime::engine::{EngineError, Setup, run};
use tapeline_runtime::ingest::Capture;
use tapeline_runtime::input::detect::{OpenOptions, open};
use tapeline_runtime::pacer::Pace;
use tapeline_runtime::pipeline::Assembly;
use tapeline_runtime::replay::{Request, tell};
use tapeline_runtime::report::Report;
use tapeline_runtime::tape::{TapeOptions, TapeWriter};

pub(crate) const MILLI: u64 = 1_000_000;
pub(crate) const SECOND: u64 = 1_000 * MILLI;

/// A folder of its own, gone with the test.
pub(crate) struct Folder(pub(crate) PathBuf);

impl Folder {
    pub(crate) fn new(name: &str) -> Self {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    /// The path of a file in it.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A tape of a trade of each symbol at each of these (time, sequence number); symbols in this order of ids.
pub(crate) fn write_tape(
    path: &Path,
    times: impl IntoIterator<Item = (u64, u64)>,
    symbols: &[&str],
    source: &str,
    trade: impl Fn(u64) -> Trade,
) {
    let mut catalog = Catalog::new(64);
    let source = catalog.source(source.as_bytes(), SeqRule::Increasing).unwrap();
    let mut tape = TapeWriter::new(File::create(path).unwrap(), TapeOptions::default()).unwrap();
    for (at, seq) in times {
        for symbol in symbols {
            let mut event = EventBuf::new(&trade(at));
            event.flag(Flags::LAST);
            let (head, at) = (event.head_mut(), UnixNanos(at));
            (head.ts_recv, head.ts_event, head.seq) = (at, at, seq);
            (head.symbol, head.source) = (catalog.symbol(symbol.as_bytes()).unwrap(), source);
            tape.write(&catalog, event.slots()).unwrap();
        }
    }
    tape.finish().unwrap();
}

/// A replay of a tape with this configuration beside `engine.symbols_max`, on threads that are not pinned.
pub(crate) fn setup(tape: &Path, configuration: &str, shards: usize) -> Setup {
    let path = tape.to_str().unwrap().to_owned();
    let name = path.clone();
    let mut layers = Layers::default();
    layers.file("test.toml", &format!("[engine]\nsymbols_max = 64\n{configuration}"));
    let config = layers.finish().unwrap().config;
    let mut setup = config.setup(vec![Capture { path, open: Box::new(move || open(&name, &OpenOptions::default())) }]);
    (setup.shards, setup.driver, setup.is_pinned) = (Some(shards), Some(Driver::Threads), false);
    setup
}

/// Runs it; its ledger balances.
pub(crate) fn report<A: Assembly>(
    setup: Setup,
    pipeline: impl Fn(BusBuilder<End>) -> A,
) -> Result<Report, EngineError> {
    let request = Request::of(&setup, "test");
    let report = tell(run(setup, pipeline, |_, _, _| {})?, &request).report;
    assert!(report.ledger_balanced, "{report:?}");
    Ok(report)
}

/// The same, as fast as it goes.
pub(crate) fn unpaced(mut setup: Setup) -> Setup {
    setup.pace = Pace::Max;
    setup
}
