//! Fuzz targets: one for each format that a capture may have, as plain tests with a budget of time.
//!
//! A target takes a sample of its format (generated here, or the start of a real capture from `TAPELINE_TEST_DATA`), damages it as
//! [`bolero`] says, and reads it. Whatever the bytes are: no panic; whole events; nothing after the end; an error that names its place;
//! and the same events, counts and error however the bytes came in.
//!
//! Each has a second, or what `BOLERO_RANDOM_TEST_TIME_MS` says. A failure prints the seed that repeats it: `BOLERO_RANDOM_SEED=...`. With
//! `cargo-bolero` the same targets run under libFuzzer, guided by coverage: `cargo bolero test -p tapeline-runtime fuzz_tape`.

mod pcap_twin;

use bolero::TypeGenerator;
use pcap_twin::{Order, Wrap, classic, deep_segments, ng, packets};
use std::io::{self, Cursor, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{env, fs};
use tapeline_core::catalog::Catalog;
use tapeline_core::event::{Kind, Slot, events};
use tapeline_runtime::input::bytes::ByteSource;
use tapeline_runtime::input::detect::{OpenOptions, open_source};
use tapeline_runtime::input::generate::{Config, GenerateInput, ItchDay, binary_file, pcap};
use tapeline_runtime::input::{Input, InputError, MESSAGE_SLOTS_MAX, SlotBuf, Status, Tally};
use tapeline_runtime::tape::{Codec, TapeOptions, TapeWriter};

/// Time of a target, where bolero's own variable says none.
const TIME: Duration = Duration::from_secs(1);
/// Bytes that are taken of the start of a real capture.
const SAMPLE_BYTES: usize = 48 << 10;
/// Messages that a damaged sample may give for each byte that it has: a file of nothing but nulls has many rows in few bytes, and is cut off.
const READS_MAX: usize = 200;

/// One change of a sample. Places are shares of its length.
#[derive(Clone, Copy, Debug, TypeGenerator)]
enum Change {
    /// Another byte there.
    Byte(u16, u8),
    /// One bit is turned.
    Bit(u16, u8),
    /// Numbers that are too large are the most likely to hurt.
    Ones(u16, u8),
    Zeros(u16, u8),
    /// What follows is gone.
    Cut(u16),
    /// Some bytes are missing there.
    Remove(u16, u8),
    /// Some bytes come twice there.
    Repeat(u16, u8),
    /// Some bytes of elsewhere stand there.
    Copy(u16, u16, u8),
}

/// A damaged sample: which one, how its bytes come in, and what is done to it.
#[derive(Clone, Debug, TypeGenerator)]
struct Damaged {
    sample: u8,
    piece: u8,
    changes: Vec<Change>,
}

impl Damaged {
    fn bytes(&self, samples: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = samples[usize::from(self.sample) % samples.len()].clone();
        for change in self.changes.iter().take(8) {
            let length = bytes.len();
            if length == 0 {
                break;
            }
            let place = |share: u16| length * usize::from(share) / (usize::from(u16::MAX) + 1);
            let range = |share: u16, count: u8| place(share)..(place(share) + usize::from(count)).min(length);
            match *change {
                Change::Byte(at, byte) => bytes[place(at)] = byte,
                Change::Bit(at, bit) => bytes[place(at)] ^= 1 << (bit % 8),
                Change::Ones(at, count) => bytes[range(at, count % 9)].fill(0xff),
                Change::Zeros(at, count) => bytes[range(at, count)].fill(0),
                Change::Cut(at) => bytes.truncate(place(at)),
                Change::Remove(at, count) => drop(bytes.drain(range(at, count))),
                Change::Repeat(at, count) => {
                    let again = bytes[range(at, count)].to_vec();
                    let at = place(at);
                    bytes.splice(at..at, again);
                }
                Change::Copy(from, to, count) => {
                    let some = bytes[range(from, count)].to_vec();
                    let to = place(to);
                    let end = (to + some.len()).min(length);
                    bytes[to..end].copy_from_slice(&some[..end - to]);
                }
            }
        }
        bytes
    }
}

/// Gives its bytes in pieces.
struct Pieces(Cursor<Vec<u8>>, usize);

impl Read for Pieces {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let some = into.len().min(self.1);
        self.0.read(&mut into[..some])
    }
}

#[derive(PartialEq, Debug)]
struct Outcome {
    slots: Vec<Slot>,
    tally: Tally,
    error: Option<String>,
    /// It was given up: it gives far more than it has.
    is_cut_off: bool,
}

fn read(bytes: &[u8], piece: usize) -> Outcome {
    let source = Box::new(Pieces(Cursor::new(bytes.to_vec()), piece));
    let mut outcome = Outcome { slots: Vec::new(), tally: Tally::default(), error: None, is_cut_off: false };
    let opened =
        ByteSource::new(source, "sample", None).and_then(|source| open_source(source, &OpenOptions::default()));
    let mut input = match opened {
        Ok(input) => input,
        Err(error) => {
            outcome.error = Some(told(&error));
            return outcome;
        }
    };
    let (mut catalog, mut out) = (Catalog::new(1 << 10), SlotBuf::with_capacity(MESSAGE_SLOTS_MAX));
    for _ in 0..READS_MAX {
        out.clear();
        let status = input.read(&mut catalog, &mut out);
        check(out.slots(), &catalog);
        outcome.slots.extend_from_slice(out.slots());
        match status {
            Ok(Status::More) => continue,
            Ok(Status::End) => {}
            Err(error) => {
                outcome.error = Some(told(&error));
                out.clear();
                let after = input.read(&mut catalog, &mut out).expect("an error is told once");
                assert!(after == Status::End && out.slots().is_empty(), "after an error there is nothing");
            }
        }
        outcome.tally = input.tally();
        return outcome;
    }
    outcome.is_cut_off = true;
    outcome
}

/// An error names its file and has a code that is allowed.
fn told(error: &InputError) -> String {
    let text = error.to_string();
    assert!(text.starts_with("sample: ") && !text.contains('\n'), "{text}");
    assert!(matches!(error.exit_code(), 2 | 3), "{text}");
    text
}

/// Events are whole, their names known.
fn check(slots: &[Slot], catalog: &Catalog) {
    let mut taken = 0;
    for event in events(slots) {
        let head = event.head();
        assert!(head.kind() != Kind::CONTINUATION, "an event begins with its head");
        assert!(head.symbol.index() < catalog.symbols() && head.source.index() < catalog.sources(), "{head:?}");
        taken += event.slots().len();
    }
    assert_eq!(taken, slots.len(), "events are whole");
}

fn target(damaged: &Damaged, samples: &[Vec<u8>]) {
    let bytes = damaged.bytes(samples);
    let whole = read(&bytes, usize::MAX);
    // Small pieces are slow: not each time.
    if damaged.piece.is_multiple_of(4) {
        let piece = 1 + usize::from(damaged.piece / 4) * 7;
        assert_eq!(read(&bytes, piece), whole, "in pieces of {piece} bytes");
    }
}

/// The folder of real captures, if there is one.
fn data() -> Option<PathBuf> {
    let folder = env::var_os("TAPELINE_TEST_DATA").map(PathBuf::from);
    let folder = folder.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data"));
    if folder.is_dir() {
        return Some(folder);
    }
    println!("skipped: no capture data; generated samples only");
    None
}

/// The starts of real captures, unpacked, of files that are named so; none where there are no captures.
fn real(folder: &str, ends: &[&str]) -> Vec<Vec<u8>> {
    let Some(data) = data() else { return Vec::new() };
    let Ok(found) = fs::read_dir(data.join(folder)) else { return Vec::new() };
    let mut paths: Vec<PathBuf> = found.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    let is_meant = |path: &&PathBuf| ends.iter().any(|end| path.to_string_lossy().ends_with(end));
    let start = |path: &PathBuf| {
        let mut bytes = vec![0; SAMPLE_BYTES];
        let mut source = ByteSource::open(path.to_str()?, None).ok()?;
        let mut have = 0;
        while let Ok(some @ 1..) = source.read(&mut bytes[have..]) {
            have += some;
        }
        bytes.truncate(have);
        Some(bytes)
    };
    paths.iter().filter(is_meant).filter_map(start).collect()
}

/// Makes the target of a format. Samples are whole: each is read without an error, or nothing would be tried that lies deep in it.
macro_rules! targets {
    ($($name:ident = $samples:expr;)*) => {
        $(
            #[test]
            fn $name() {
                let samples: Vec<Vec<u8>> = $samples;
                for (index, sample) in samples.iter().enumerate() {
                    let outcome = read(sample, usize::MAX);
                    let is_known = outcome.error.as_ref().is_none_or(|error| !error.contains("not recognised"));
                    assert!(is_known && !outcome.slots.is_empty(), "sample {index}: {:?}", outcome.error);
                }
                bolero::check!()
                    .with_type::<Damaged>()
                    .with_iterations(usize::MAX)
                    .with_test_time(TIME)
                    .for_each(|damaged| target(damaged, &samples));
            }
        )*
    };
}

targets! {
    fuzz_itch = itch_files();
    fuzz_itch_in_packets = itch_packets();
    fuzz_iex = iex();
    fuzz_packets = containers();
    fuzz_binance = binance();
    fuzz_dbn = dbn();
    fuzz_tape = tapes();
    fuzz_parquet = parquet();
    fuzz_compressed = compressed();
}

fn day(seed: u64) -> ItchDay {
    ItchDay::new(&Config { seed, events: 600, symbols: 5, ..Config::default() }).unwrap()
}

fn itch_files() -> Vec<Vec<u8>> {
    let file = |seed| {
        let mut bytes = Vec::new();
        binary_file(day(seed), &mut bytes).unwrap();
        bytes
    };
    (0..4).map(file).collect()
}

fn itch_packets() -> Vec<Vec<u8>> {
    let file = |seed| {
        let mut bytes = Vec::new();
        pcap(day(seed), &mut bytes).unwrap();
        bytes
    };
    (0..4).map(file).collect()
}

/// DEEP; the real capture has TOPS' messages, too.
fn iex() -> Vec<Vec<u8>> {
    let mut samples = real("iex", &[".pcap.gz"]);
    samples.push(classic(Order::Little, 1, 1, &packets(Wrap::Ethernet, false, &deep_segments(200))));
    samples
}

/// Every container and link layer.
fn containers() -> Vec<Vec<u8>> {
    let datagrams = deep_segments(12);
    let mut samples = Vec::new();
    for wrap in Wrap::ALL {
        for order in [Order::Little, Order::Big] {
            let packets = packets(wrap, order == Order::Big && wrap != Wrap::Loopback, &datagrams);
            samples.push(classic(order, 1_000, wrap.linktype(), &packets));
            samples.push(ng(order, wrap.linktype(), &packets));
        }
    }
    samples
}

fn binance() -> Vec<Vec<u8>> {
    let mut samples = real("binance", &[".gz"]);
    let lines = [
        r#"{"stream":"btcusdt@bookTicker","data":{"u":400900217,"s":"BTCUSDT","b":"61000.10","B":"1.5","a":"61000.20","A":"0.25"}}"#,
        r#"{"stream":"btcusdt@trade","data":{"e":"trade","E":1723161254000,"s":"BTCUSDT","t":12345,"p":"61000.15","q":"0.002","T":1723161253999,"m":true,"M":true}}"#,
        r#"{"stream":"btcusdt@depth@100ms","data":{"e":"depthUpdate","E":1723161254100,"s":"BTCUSDT","U":157,"u":160,"b":[["61000.00","10"]],"a":[["61000.30","0"]]}}"#,
    ];
    let line =
        |index: usize| format!("{} {}\n", 1_723_161_254_024_619_568 + index as u64 * 1_000, lines[index % lines.len()]);
    samples.push((0..60).map(line).collect::<String>().into_bytes());
    samples
}

fn dbn() -> Vec<Vec<u8>> {
    use ::dbn::encode::{DbnMetadataEncoder, DbnRecordEncoder, EncodeRecord};
    use ::dbn::{MboMsg, MetadataBuilder, OhlcvMsg, RecordHeader, SType, Schema, TradeMsg, rtype};
    let mut bytes = Vec::new();
    let metadata = MetadataBuilder::new()
        .dataset("GLBX.MDP3".to_owned())
        .schema(None::<Schema>)
        .start(1_609_160_400_000_000_000)
        .stype_in(None::<SType>)
        .stype_out(SType::InstrumentId)
        .build();
    DbnMetadataEncoder::new(&mut bytes).encode(&metadata).unwrap();
    let mut encoder = DbnRecordEncoder::new(&mut bytes);
    for index in 0..40u32 {
        let time = 1_609_160_400_000_429_831 + u64::from(index) * 1_000;
        let mbo = MboMsg {
            hd: RecordHeader::new::<MboMsg>(rtype::MBO, 1, 5_482, time),
            order_id: index.into(),
            price: 3_720_250_000_000,
            size: 11,
            ts_recv: time + 100,
            sequence: index,
            ..MboMsg::default()
        };
        encoder.encode_record(&mbo).unwrap();
        let trade = TradeMsg {
            hd: RecordHeader::new::<TradeMsg>(rtype::MBP_0, 1, 5_482, time),
            price: 3_720_250_000_000,
            size: 5,
            ts_recv: time + 100,
            sequence: index,
            ..TradeMsg::default()
        };
        encoder.encode_record(&trade).unwrap();
        let bar = OhlcvMsg {
            hd: RecordHeader::new::<OhlcvMsg>(rtype::OHLCV_1S, 1, 5_482, time),
            ..OhlcvMsg::default_for_schema(Schema::Ohlcv1S)
        };
        encoder.encode_record(&bar).unwrap();
    }
    let mut samples = vec![bytes];
    // Those of schemas without a kind here give no event.
    samples.extend(real(
        "databento/dbn",
        &["mbo.v3.dbn.zst", "mbp-10.v2.dbn.zst", "trades.v1.dbn.zst", "bbo-1s.dbn.zst", "mbo.dbz"],
    ));
    samples.retain(|sample| !read(sample, usize::MAX).slots.is_empty());
    samples
}

fn tapes() -> Vec<Vec<u8>> {
    let tape = |codec| {
        let mut input = GenerateInput::new(&Config { events: 400, symbols: 5, ..Config::default() }).unwrap();
        let (mut catalog, mut out) = (Catalog::new(1 << 6), SlotBuf::with_capacity(MESSAGE_SLOTS_MAX));
        assert_eq!(input.read(&mut catalog, &mut out).unwrap(), Status::End);
        let mut bytes = Vec::new();
        let options = TapeOptions { generated: true, codec, ..TapeOptions::default() };
        let mut writer = TapeWriter::new(&mut bytes, options).unwrap();
        writer.write(&catalog, out.slots()).unwrap();
        writer.finish().unwrap();
        bytes
    };
    vec![tape(Codec::None), tape(Codec::Zstd)]
}

/// Files of other writers: see `bench/parquet/make.py`.
fn parquet() -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/parquet");
    let mut paths: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "parquet"));
    paths.iter().map(|path| fs::read(path).unwrap()).collect()
}

/// gzip and zstd around a format: their damage is the stream's.
fn compressed() -> Vec<Vec<u8>> {
    use std::io::Write;
    let plain = &itch_files()[0];
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(plain).unwrap();
    let zstd = zstd::bulk::compress(plain, 1).unwrap();
    vec![gzip.finish().unwrap(), zstd]
}
