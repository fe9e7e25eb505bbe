//! Source and shard threads allocate nothing once a replay has warmed up, whatever the format: tape, Binance lines, DBN. One
//! test in this file: it owns the allocator.

use dbn::encode::{DbnEncoder, EncodeRecord};
use dbn::{Metadata, RecordHeader, SType, Schema, TradeMsg, rtype};
use std::alloc::{GlobalAlloc, Layout, System};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use tapeline_core::catalog::Catalog;
use tapeline_core::event::{EventRef, Kind, KindSet};
use tapeline_core::handler::{Ctx, Handler, Verdict};
use tapeline_runtime::driver::Driver;
use tapeline_runtime::engine::{Run, Setup, run};
use tapeline_runtime::ingest::Capture;
use tapeline_runtime::input::detect::{OpenOptions, open};
use tapeline_runtime::input::generate::{Config, GenerateInput};
use tapeline_runtime::input::{Input, MESSAGE_SLOTS_MAX, SlotBuf, Status};
use tapeline_runtime::pacer::Pace;
use tapeline_runtime::pipeline::{Parameters, default_pipeline};
use tapeline_runtime::station::StationReport;
use tapeline_runtime::tape::{Codec, TapeOptions, TapeWriter};

/// Events of the tape.
const EVENTS: u64 = 1_200_000;
/// Events of the captures in other formats, at least.
const CAPTURE_EVENTS: u64 = 400_000;
/// Events that a run may take to warm up.
const WARM_UP: u64 = 100_000;
/// Events at the end of a run that are not counted: the end itself may allocate.
const UNCOUNTED: u64 = 50_000;

/// Whether allocations of hot threads are counted now.
static ARMED: AtomicBool = AtomicBool::new(false);
/// Allocations of hot threads while counted.
static CALLS: AtomicU64 = AtomicU64::new(0);
/// Size of the last of them in bytes, for the message.
static LAST_BYTES: AtomicU64 = AtomicU64::new(0);
/// Events that handlers have seen.
static SEEN: AtomicU64 = AtomicU64::new(0);
/// The event at which the counting ends.
static UNTIL: AtomicU64 = AtomicU64::new(0);

/// The system's allocator, and how often source and shard threads asked it while [`ARMED`].
struct Counting;

/// Threads of the driver are called by their core. Neither allocates nor waits: the name is in the thread's own handle.
fn is_hot() -> bool {
    let thread = thread::current();
    thread.name().is_some_and(|name| name.starts_with("core ") || name.starts_with("unpinned core"))
}

fn count(bytes: usize) {
    if ARMED.load(Ordering::Relaxed) && is_hot() {
        CALLS.fetch_add(1, Ordering::Relaxed);
        LAST_BYTES.store(bytes as u64, Ordering::Relaxed);
    }
}

// SAFETY: every call is handed on unchanged to the system's allocator; counting neither allocates nor unwinds, and has no
// part in what is returned.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller's promises are those that the system's allocator asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        count(new_size);
        // SAFETY: as above; `ptr` came from the system's allocator.
        unsafe { System.realloc(ptr, layout, new_size) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: as above; `ptr` came from the system's allocator.
        unsafe { System.dealloc(ptr, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Begins to count after the warm-up and ends in time; the last handler of the bus.
struct Watch;

impl Handler for Watch {
    type State = u64;
    const NAME: &'static str = "watch";
    const STATE_VERSION: u16 = 1;

    fn interests(&self) -> KindSet {
        KindSet::of(&[
            Kind::TRADE,
            Kind::QUOTE,
            Kind::BOOK_LEVEL,
            Kind::BOOK_ORDER,
            Kind::BOOK_DEPTH,
            Kind::BAR,
            Kind::NEWS,
            Kind::STATUS,
            Kind::GAP,
        ])
    }

    fn on_event(&self, _: &mut u64, _: EventRef<'_>, _: &mut Ctx<'_>) -> Verdict {
        match SEEN.fetch_add(1, Ordering::Relaxed) + 1 {
            WARM_UP => ARMED.store(true, Ordering::Relaxed),
            seen if seen == UNTIL.load(Ordering::Relaxed) => ARMED.store(false, Ordering::Relaxed),
            _ => {}
        }
        Verdict::Done
    }
}

fn write_tape(path: &Path) {
    let config = Config { events: EVENTS, symbols: 500, duration_ns: 60_000_000_000, ..Config::default() };
    let mut input = GenerateInput::new(&config).unwrap();
    let (mut catalog, mut slots) = (Catalog::new(1_024), SlotBuf::with_capacity(MESSAGE_SLOTS_MAX));
    let options = TapeOptions { generated: true, codec: Codec::None, ..TapeOptions::default() };
    let mut tape = TapeWriter::new(BufWriter::new(File::create(path).unwrap()), options).unwrap();
    loop {
        slots.clear();
        let status = input.read(&mut catalog, &mut slots).unwrap();
        tape.write(&catalog, slots.slots()).unwrap();
        if status == Status::End {
            tape.finish().unwrap();
            return;
        }
    }
}

/// Binance lines of three symbols, as spot sends them: a quote a line, now and then a trade, and a book update of two levels.
/// Returns the events that they are.
fn write_binance(path: &Path) -> u64 {
    let mut file = BufWriter::new(File::create(path).unwrap());
    let mut events = 0;
    for n in 0_u64.. {
        if events >= CAPTURE_EVENTS {
            break;
        }
        let (ns, ms) = (1_723_161_254_000_000_000 + n * 300_000, 1_723_161_254_000 + n * 3 / 10);
        let (upper, lower) = [("BTCUSDT", "btcusdt"), ("ETHUSDT", "ethusdt"), ("SOLUSDT", "solusdt")][n as usize % 3];
        let price = 2_683 + n * 7 % 11;
        writeln!(
            file,
            r#"{ns} {{"stream":"{lower}@bookTicker","data":{{"u":{n},"s":"{upper}","b":"{price}.80","B":"3.0{}","a":"{price}.81","A":"31.4"}}}}"#,
            n % 10
        )
        .unwrap();
        events += 1;
        if n % 4 == 0 {
            writeln!(
                file,
                r#"{ns} {{"stream":"{lower}@trade","data":{{"e":"trade","E":{ms},"s":"{upper}","t":{n},"p":"{price}.80","q":"0.1{}","T":{ms},"m":true,"M":true}}}}"#,
                n % 90
            )
            .unwrap();
            // Every twelfth number is a book update of the same symbol: no gaps.
            let first = n.saturating_sub(11);
            writeln!(
                file,
                r#"{ns} {{"stream":"{lower}@depth@100ms","data":{{"e":"depthUpdate","E":{ms},"s":"{upper}","U":{first},"u":{n},"b":[["{price}.80","3.02"]],"a":[["2733.70","0.00"]]}}}}"#
            )
            .unwrap();
            events += 3;
        }
    }
    file.flush().unwrap();
    events
}

/// Trades of twenty instruments in DBN, by the `dbn` crate's own encoder. Returns how many.
fn write_dbn(path: &Path) -> u64 {
    let metadata = Metadata::builder()
        .dataset("TEST.SET".to_owned())
        .schema(Some(Schema::Trades))
        .start(0)
        .stype_in(Some(SType::RawSymbol))
        .stype_out(SType::InstrumentId)
        .build();
    let file = BufWriter::new(File::create(path).unwrap());
    let mut encoder = DbnEncoder::new(file, &metadata).unwrap();
    for n in 0..CAPTURE_EVENTS {
        let ts = 1_723_161_254_000_000_000 + n * 100_000;
        let trade = TradeMsg {
            hd: RecordHeader::new::<TradeMsg>(rtype::MBP_0, 1, 1 + n as u32 % 20, ts),
            price: (100 + n as i64 * 7 % 11) * 1_000_000_000,
            size: 1 + n as u32 % 90,
            ts_recv: ts + 1_000,
            sequence: n as u32,
            ..TradeMsg::default()
        };
        encoder.encode_record(&trade).unwrap();
    }
    encoder.get_mut().flush().unwrap();
    CAPTURE_EVENTS
}

/// Replays `events` events of a capture.
fn replay(capture: &Path, events: u64, shards: usize, pace: Pace, outputs: Option<PathBuf>) -> Run {
    let path = capture.to_str().unwrap().to_owned();
    let name = path.clone();
    let open = Box::new(move || open(&name, &OpenOptions::default()));
    let mut setup = Setup::new(vec![Capture { path, open }]);
    (setup.shards, setup.pace, setup.driver) = (Some(shards), pace, Some(Driver::Threads));
    setup.is_pinned = false;
    setup.outputs = outputs.map(|path| (path, true));
    SEEN.store(0, Ordering::Relaxed);
    UNTIL.store(events - UNCOUNTED, Ordering::Relaxed);
    CALLS.store(0, Ordering::Relaxed);
    let pipeline = |bus| default_pipeline(bus, &Parameters::default()).then(Watch);
    let run = run(setup, pipeline, |_, _, _| {}).unwrap();
    assert!(!ARMED.load(Ordering::Relaxed), "the counting ended before the run did");
    assert_eq!(SEEN.load(Ordering::Relaxed), events, "the watch saw every event");
    run
}

#[test]
fn source_and_shards_allocate_nothing_after_warm_up() {
    // The counter counts, and only what it should.
    let allocating = |name: &str| {
        let before = CALLS.load(Ordering::Relaxed);
        let named = thread::Builder::new().name(name.to_owned());
        named.spawn(|| std::hint::black_box(vec![1_u8; 100])).unwrap().join().unwrap();
        CALLS.load(Ordering::Relaxed) - before
    };
    assert_eq!(allocating("core 0"), 0);
    ARMED.store(true, Ordering::Relaxed);
    assert!(allocating("core 0") > 0 && allocating("unpinned core") > 0);
    assert_eq!(allocating("reader"), 0);
    ARMED.store(false, Ordering::Relaxed);

    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let name = |end: &str| folder.join(format!("no_alloc-{}.{end}", std::process::id()));
    let (tape, binance, dbn, outputs) = (name("tape"), name("lines"), name("dbn"), name("ndjson"));
    write_tape(&tape);
    let (lines, trades) = (write_binance(&binance), write_dbn(&dbn));
    for (capture, events, shards, pace, outputs) in [
        (&tape, EVENTS, 1, Pace::Max, None),
        (&tape, EVENTS, 2, Pace::Max, None),
        (&tape, EVENTS, 3, Pace::Max, Some(outputs.clone())),
        // Faster than it can go: due stamps, late events, and rings that are full.
        (&tape, EVENTS, 2, Pace::Rate(1e9), None),
        (&binance, lines, 1, Pace::Max, None),
        (&binance, lines, 2, Pace::Rate(1e9), None),
        (&dbn, trades, 1, Pace::Max, None),
        (&dbn, trades, 2, Pace::Rate(1e9), None),
    ] {
        let run = replay(capture, events, shards, pace, outputs);
        let what = format!("{}, {shards} shards, {pace:?}", capture.extension().unwrap().display());
        let calls = CALLS.load(Ordering::Relaxed);
        let bytes = LAST_BYTES.load(Ordering::Relaxed);
        assert_eq!(calls, 0, "{what}: allocations, the last of {bytes} bytes");
        let made: u64 = run
            .cores
            .iter()
            .flat_map(|core| &core.stations)
            .map(|station| if let StationReport::Shard(shard) = station { shard.outputs } else { 0 })
            .sum();
        assert!(made > 100, "{what}: {made} outputs: the run did what a run does");
    }
    for file in [&tape, &binance, &dbn, &outputs] {
        std::fs::remove_file(file).unwrap();
    }
}
