//! A handler that asks for the past gets the same from a Parquet file as from the tape that it is imported to.

use parquet::data_type::{ByteArray, ByteArrayType, DoubleType, Int64Type};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use tapeline_core::backfill::Range;
use tapeline_core::catalog::Catalog;
use tapeline_core::event::payload::{Alert, Trade};
use tapeline_core::event::{EventRef, Flags, Kind, KindSet};
use tapeline_core::handler::{Ctx, Handler, History, RequestEnd, RequestId, Verdict};
use tapeline_core::queue::Priority;
use tapeline_core::units::UnixNanos;
use tapeline_runtime::config::Layers;
use tapeline_runtime::driver::Driver;
use tapeline_runtime::engine::run;
use tapeline_runtime::ingest::Capture;
use tapeline_runtime::input::detect::{OpenOptions, open};
use tapeline_runtime::input::{MESSAGE_SLOTS_MAX, SlotBuf, Status};
use tapeline_runtime::pacer::Pace;
use tapeline_runtime::replay::{Request, tell};
use tapeline_runtime::report::Report;
use tapeline_runtime::tape::{TapeOptions, TapeWriter};

const MILLI: i64 = 1_000_000;
const T0: i64 = 1_700_000_000_000 * MILLI;
/// The past ends and the capture begins.
const NOW: i64 = T0 + 60_000 * MILLI;
const SYMBOLS: [&str; 3] = ["ONE", "TWO", "THREE"];

/// A trade of each symbol every 10 ms, in row groups of 400; now and then one that was received late.
fn write_parquet(path: &Path, from: i64, to: i64, has_seq: bool) {
    let seq = if has_seq { "required int64 seq; " } else { "" };
    let schema = format!(
        "message rows {{ required int64 ts_event (TIMESTAMP(NANOS,true)); required binary symbol (STRING); \
         required double price; required double size; {seq}}}"
    );
    let properties = Arc::new(WriterProperties::builder().build());
    let schema = Arc::new(parse_message_type(&schema).unwrap());
    let mut writer = SerializedFileWriter::new(File::create(path).unwrap(), schema, properties).unwrap();
    let times: Vec<i64> = (from..to).step_by(10 * MILLI as usize).flat_map(|at| [at; SYMBOLS.len()]).collect();
    for (group, times) in times.chunks(400).enumerate() {
        let row = |index: usize| group * 400 + index;
        let rows = 0..times.len();
        let late: Vec<i64> = times
            .iter()
            .zip(rows.clone())
            .map(|(at, index)| at - 25 * MILLI * i64::from(row(index) % 97 == 0))
            .collect();
        let names: Vec<ByteArray> =
            rows.clone().map(|index| ByteArray::from(SYMBOLS[row(index) % SYMBOLS.len()])).collect();
        let prices: Vec<f64> = rows.clone().map(|index| (10_000 + row(index) % 321) as f64 / 100.0).collect();
        let sizes: Vec<f64> = rows.clone().map(|index| (row(index) % 50) as f64 / 10.0).collect();
        let numbers: Vec<i64> = rows.map(|index| row(index) as i64 + 1).collect();
        let mut columns = writer.next_row_group().unwrap();
        let mut index = 0;
        while let Some(mut column) = columns.next_column().unwrap() {
            match index {
                0 => column.typed::<Int64Type>().write_batch(&late, None, None),
                1 => column.typed::<ByteArrayType>().write_batch(&names, None, None),
                2 => column.typed::<DoubleType>().write_batch(&prices, None, None),
                3 => column.typed::<DoubleType>().write_batch(&sizes, None, None),
                _ => column.typed::<Int64Type>().write_batch(&numbers, None, None),
            }
            .unwrap();
            column.close().unwrap();
            index += 1;
        }
        columns.close().unwrap();
    }
    writer.close().unwrap();
}

/// The tape that a file is imported to.
fn import(from: &Path, to: &Path) {
    let mut input = open(from.to_str().unwrap(), &OpenOptions::default()).unwrap();
    let (mut catalog, mut out) = (Catalog::new(64), SlotBuf::with_capacity(MESSAGE_SLOTS_MAX));
    let mut tape = TapeWriter::new(File::create(to).unwrap(), TapeOptions::default()).unwrap();
    loop {
        out.clear();
        let status = input.read(&mut catalog, &mut out).unwrap();
        tape.write(&catalog, out.slots()).unwrap();
        if status == Status::End {
            tape.finish().unwrap();
            return;
        }
    }
}

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct State {
    live: u64,
    replies: u64,
    /// Over every reply, in order.
    chain: u64,
}

type Log = Arc<Mutex<Vec<String>>>;

/// Asks at its 50th live trade for the last 30 s, and at its 150th for 2 s in the middle of them.
struct Asker(Log);

impl Handler for Asker {
    type State = State;
    const NAME: &'static str = "asker";
    const STATE_VERSION: u16 = 1;

    fn interests(&self) -> KindSet {
        KindSet::of(&[Kind::TRADE])
    }

    fn on_event(&self, st: &mut State, ev: EventRef<'_>, cx: &mut Ctx<'_>) -> Verdict {
        if ev.head().flags.contains(Flags::HISTORICAL) {
            return Verdict::Done;
        }
        st.live += 1;
        let range = match st.live {
            50 => (NOW - 30_000 * MILLI, NOW),
            150 => (NOW - 16_000 * MILLI, NOW - 14_000 * MILLI),
            _ => return Verdict::Done,
        };
        let range = Range::new(UnixNanos(range.0 as u64), UnixNanos(range.1 as u64));
        cx.backfill(&History { kinds: KindSet::of(&[Kind::TRADE]), range, priority: Priority::FIRST }).unwrap();
        Verdict::Done
    }

    fn on_reply(&self, st: &mut State, _request: RequestId, ev: EventRef<'_>, cx: &mut Ctx<'_>) -> Verdict {
        let head = ev.head();
        if let Some(trade) = ev.get::<Trade>() {
            st.replies += 1;
            let words =
                [st.chain, head.ts_recv.0, head.seq, u64::from(head.part), trade.price as u64, trade.size, cx.now().0];
            st.chain = tapeline_core::hash::stable(bytemuck::bytes_of(&words));
        }
        Verdict::Done
    }

    fn on_request_end(&self, st: &mut State, _request: RequestId, end: RequestEnd, cx: &mut Ctx<'_>) -> Verdict {
        self.0
            .lock()
            .unwrap()
            .push(format!("{end:?} with {} live and {} replies: {:x}", st.live, st.replies, st.chain));
        cx.alert(&Alert { value: (st.chain >> 12) as f64, ..Alert::default() }).unwrap();
        Verdict::Done
    }
}

fn replay(live: &Path, past: &Path, shards: usize) -> (Report, Vec<String>) {
    let path = live.to_str().unwrap().to_owned();
    let name = path.clone();
    let mut layers = Layers::default();
    let text =
        format!("[engine]\nsymbols_max = 64\n[backfill]\ntapes = [{:?}]\nring_slots = 256\n", past.to_str().unwrap());
    layers.file("test.toml", &text);
    let config = layers.finish().unwrap().config;
    let mut setup = config.setup(vec![Capture { path, open: Box::new(move || open(&name, &OpenOptions::default())) }]);
    (setup.shards, setup.pace, setup.driver, setup.is_pinned) = (Some(shards), Pace::Max, Some(Driver::Threads), false);
    let log = Log::default();
    let request = Request::of(&setup, "test");
    let run = run(setup, |bus| bus.then(Asker(log.clone())), |_, _, _| {}).unwrap();
    let report = tell(run, &request).report;
    assert!(report.ledger_balanced, "{report:?}");
    let mut log = log.lock().unwrap().clone();
    log.sort();
    (report, log)
}

/// A folder of its own, gone with the test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("parquet-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn the_past_of_a_parquet_file_is_that_of_its_tape() {
    for has_seq in [true, false] {
        let folder = Folder::new(if has_seq { "numbered" } else { "counted" });
        let (past, tape) = (folder.0.join("past.parquet"), folder.0.join("past.tape"));
        write_parquet(&past, T0, NOW, has_seq);
        import(&past, &tape);
        let live = folder.0.join("live.parquet");
        write_parquet(&live, NOW, NOW + 3_000 * MILLI, has_seq);
        let (expected, log) = replay(&live, &tape, 1);
        assert_eq!(log.len(), 2 * SYMBOLS.len(), "{log:?}");
        assert!(log.iter().any(|line| line.starts_with("Served with")), "{log:?}");
        let backfill = expected.backfill.clone().unwrap();
        assert!(backfill.failed == 0 && backfill.events > 9_000, "{backfill:?}");
        for shards in [1, 2] {
            let (report, other) = replay(&live, &past, shards);
            assert_eq!(other, log, "{shards} shards");
            assert_eq!((report.digest, report.outputs.get("alert")), (expected.digest, expected.outputs.get("alert")));
            assert_eq!(report.backfill.unwrap().events, backfill.events);
            assert_eq!(report.manifest.backfill[0].events, Some(18_000));
        }
    }
}

#[test]
fn a_damaged_parquet_file_fails_who_asks_and_names_the_place() {
    let folder = Folder::new("damaged");
    let (past, live) = (folder.0.join("past.parquet"), folder.0.join("live.parquet"));
    write_parquet(&past, T0, NOW, true);
    write_parquet(&live, NOW, NOW + 3_000 * MILLI, true);
    let mut bytes = fs::read(&past).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..middle + 2_000].fill(0xff);
    fs::write(&past, bytes).unwrap();
    let (report, log) = replay(&live, &past, 1);
    let backfill = report.backfill.unwrap();
    assert!(backfill.failed > 0 && backfill.events == backfill.failed, "the ends alone: {backfill:?}");
    assert!(
        backfill.reasons[0].contains("past.parquet: offset ") && backfill.reasons[0].contains("row group"),
        "{backfill:?}"
    );
    assert!(log.iter().all(|line| line.starts_with("Failed(2)")), "{log:?}");
}
