//! All arguments and their help.

use clap::{Args, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;
use std::time::Duration;
use tapeline_core::dead::ERROR_PANIC;
use tapeline_core::event::Kind;
use tapeline_core::ledger::Refusal;
use tapeline_core::limits::{SYMBOLS_DEFAULT, SYMBOLS_MAX};
use tapeline_core::log::Follow;
use tapeline_core::shard::{ERROR_NO_ROOM, schema_error};
use tapeline_core::units::UnixNanos;
use tapeline_runtime::config::{self, Config, Form, Raw, Value};
use tapeline_runtime::input::detect::OpenOptions;
use tapeline_runtime::input::itch::{ItchConfig, SessionDate};

const EXIT_CODES: &str = "Exit codes: 0 done; 1 a check failed; 2 wrong usage, or a file that could not be opened, \
    recognised or written; 3 a capture that is damaged, cut short or has bad lines: what could be read was processed; \
    130 stopped by SIGINT, after the report.";

/// Replays captured market data through a pinned, deterministic event engine, and tells its latency honestly.
#[derive(Parser, Debug)]
#[command(name = "tapeline", version, max_term_width = 100, after_help = EXIT_CODES)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

#[derive(Subcommand, Debug)]
pub(crate) enum Verb {
    /// Replay captures through the engine and report latency, with a verdict on the run
    Replay(Box<ReplayArgs>),
    /// Generate a session from the seeded market model, as a tape or as NASDAQ ITCH 5.0
    Gen(GenArgs),
    /// Decode captures, merge them in time order, and write a tape
    #[command(visible_alias = "merge")]
    Import(ImportArgs),
    /// Write a part of a tape as a tape: a range of time, some symbols, some kinds; found by its index
    Cut(CutArgs),
    /// Write a tape in pieces of equal length of time, one file each
    Split(SplitArgs),
    /// Count what a capture holds
    Info(InfoArgs),
    /// Check a tape: every block, the chain, the definitions and the seal
    Verify(VerifyArgs),
    /// Print every event of a capture as a line of JSON
    Dump(DumpArgs),
    /// Compare two outputs, and name the first difference of each symbol
    Diff(DiffArgs),
    /// Compare the results of replays, or of two configurations or binaries: faster, slower, the same, or cannot tell
    Compare(Box<CompareArgs>),
    /// Find the highest rate at which response times hold an SLO, with the whole curve
    Capacity(Box<CapacityArgs>),
    /// Say what this machine lacks for low latency, and which driver will run
    Doctor(DoctorArgs),
    /// List, show, redrive or purge dead letters, as `replay --dead-letters` writes them
    Dlq(DlqArgs),
    /// List and show the layouts of events, and check whether two tables of them read each other
    Schema(SchemaArgs),
    /// Write a shell's completions to stdout
    Completions(CompletionsArgs),
    /// Check a configuration, or list all its keys
    #[command(subcommand)]
    Config(ConfigVerb),
    /// Write a sample configuration in which every key is explained
    Init(InitArgs),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Format {
    /// For people
    Text,
    /// One object on one line, at the end of stdout
    Json,
}

/// What a capture does not say of itself.
#[derive(Args, Clone, Debug)]
pub(crate) struct CaptureArgs {
    /// Day of an ITCH BinaryFILE in New York, as 2020-01-30; default: the day in its name (01302020..., S013020-...)
    #[arg(long, value_name = "DAY")]
    pub(crate) date: Option<SessionDate>,
}

impl CaptureArgs {
    /// How captures are to be opened, with the maps of columns of that configuration.
    pub(crate) fn options(&self, config: &Config) -> OpenOptions {
        OpenOptions {
            itch: ItchConfig { date: self.date, ..ItchConfig::default() },
            csv: config.csv_map(),
            parquet: config.parquet.clone(),
            ..OpenOptions::default()
        }
    }
}

/// Where the map of the columns of CSVs is told.
#[derive(Args, Clone, Debug)]
pub(crate) struct MapArgs {
    /// Configuration: a file of TOML, of which [csv] and [parquet] say what columns are; default: the file that TAPELINE_CONFIG names
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Set any key of the configuration; may be repeated. `tapeline config reference` lists the keys
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
}

#[derive(Args, Debug)]
pub(crate) struct ReplayArgs {
    /// Captures (tape, pcap, Binance and cryptofeed lines, DBN, ITCH, CSV; also gzip or zstd), merged in time order; - is stdin. Without one: a built-in
    /// session, generated
    pub(crate) captures: Vec<String>,
    #[command(flatten)]
    pub(crate) capture_args: CaptureArgs,
    /// Configuration: a file of TOML. The environment goes over it, flags over both; default: the file that
    /// TAPELINE_CONFIG names
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Set any key of the configuration; may be repeated. `tapeline config reference` lists the keys
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
    /// Print the effective configuration, and where each value came from, instead of replaying
    #[arg(long)]
    pub(crate) print_config: bool,
    #[arg(long, value_name = "N", help = about("engine.shards"))]
    pub(crate) shards: Option<String>,
    #[arg(long, value_name = "LIST", help = about("engine.cores"))]
    pub(crate) cores: Option<String>,
    /// Do not pin threads to cores
    #[arg(long)]
    pub(crate) no_pin: bool,
    #[arg(long, value_name = "DRIVER", help = about("engine.driver"))]
    pub(crate) driver: Option<String>,
    #[arg(long, value_name = "X|max", help = about("replay.speed"), allow_hyphen_values = true)]
    pub(crate) speed: Option<String>,
    #[arg(long, value_name = "N", help = about("replay.rate"), allow_hyphen_values = true)]
    pub(crate) rate: Option<String>,
    #[arg(long, value_name = "TIME", help = about("replay.max_gap"))]
    pub(crate) max_gap: Option<String>,
    #[arg(long, value_name = "HOW", help = about("replay.arrivals"))]
    pub(crate) arrivals: Option<String>,
    #[arg(long, value_name = "TIME", help = about("replay.warmup"))]
    pub(crate) warmup: Option<String>,
    /// Replay these symbols only, with what has no symbol: a list with commas
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub(crate) symbols: Vec<String>,
    #[arg(long, value_name = "WHEN", help = about("replay.start"))]
    pub(crate) start: Option<String>,
    #[arg(long, value_name = "WHEN", help = about("replay.end"))]
    pub(crate) end: Option<String>,
    #[arg(long = "loop", value_name = "N", help = about("replay.loop"))]
    pub(crate) passes: Option<String>,
    /// Messages of all captures and passes together, after which they are taken to have ended
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) messages: Option<u64>,
    #[arg(long, value_name = "POLICY", help = about("replay.overload"))]
    pub(crate) overload: Option<String>,
    #[arg(long, value_name = "LEVEL", help = about("log.level"))]
    pub(crate) log_level: Option<String>,
    #[arg(long, value_name = "FORMAT", help = about("log.format"))]
    pub(crate) log_format: Option<String>,
    /// Log the way of one event through the engine, and of what it causes: SEQ@SOURCE or SEQ@SOURCE/SYMBOL, with names
    /// as dump prints them
    #[arg(long, value_name = "EVENT")]
    pub(crate) follow: Option<Follow>,
    /// Write every output with its cause: NDJSON for a name in .ndjson, else a tape
    #[arg(long, value_name = "FILE")]
    pub(crate) outputs: Option<PathBuf>,
    /// Write the dead letters that are left at the end, whole events with the record of their failures, as a tape: see dlq
    #[arg(long, value_name = "FILE")]
    pub(crate) dead_letters: Option<PathBuf>,
    /// Dead letters whose events this replays again, as dlq redrive wrote them: those that fail again keep the history of
    /// their failures in --dead-letters
    #[arg(long, value_name = "FILE", requires = "dead_letters")]
    pub(crate) redriven: Option<String>,
    /// Write the response times (unpaced: service times) as a percentile distribution that HdrHistogram's plotter reads
    #[arg(long, value_name = "FILE")]
    pub(crate) hgrm: Option<PathBuf>,
    /// Write every histogram in full, tagged by stage and shard, as an HdrHistogram log
    #[arg(long, value_name = "FILE")]
    pub(crate) hlog: Option<PathBuf>,
    /// Write the percentiles of every histogram as CSV
    #[arg(long, value_name = "FILE")]
    pub(crate) csv: Option<PathBuf>,
    /// Write the report as one page of HTML, with plots
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,
    /// Keep the N slowest events, with where their time went and what their core was doing
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u16).range(0..=1_000))]
    pub(crate) trace: u16,
    /// Overwrite files that exist
    #[arg(long)]
    pub(crate) force: bool,
    /// Exit with 1 when the run is invalid
    #[arg(long)]
    pub(crate) strict: bool,
    /// Form of the report
    #[arg(long, default_value = "text")]
    pub(crate) format: Format,
    #[arg(long, value_name = "N", help = about("engine.symbols_max"))]
    pub(crate) symbols_max: Option<String>,
    #[arg(long, value_name = "N", help = about("engine.ring_slots"))]
    pub(crate) ring_slots: Option<String>,
    /// Leave the captures' SHA-256 out of the JSON: for a run of many over one file
    #[arg(long, hide = true)]
    pub(crate) no_sha256: bool,
    /// Say more on stderr: memory per structure
    #[arg(long, short)]
    pub(crate) verbose: bool,
}

#[derive(Args, Debug)]
pub(crate) struct GenArgs {
    /// File to write
    #[arg(long, short, value_name = "FILE")]
    pub(crate) output: PathBuf,
    /// What to write: a tape of the market model, or a day of NASDAQ ITCH 5.0 as a BinaryFILE or in packets
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t = GenFormat::Tape)]
    pub(crate) format: GenFormat,
    /// Seed: the same seed and parameters give the same bytes
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// Events; of ITCH, messages
    #[arg(long, default_value_t = 1_000_000)]
    pub(crate) events: u64,
    /// Symbols
    #[arg(long, default_value_t = 1_000)]
    pub(crate) symbols: u32,
    /// Length of the session; the shape of a whole day is pressed into it
    #[arg(long, value_name = "TIME", default_value = "20s", value_parser = duration)]
    pub(crate) duration: Duration,
    /// Start of the session (RFC 3339 or ns since the epoch)
    #[arg(long, value_name = "WHEN", value_parser = instant)]
    pub(crate) start: Option<UnixNanos>,
    /// Exponent of Zipf's law over the symbols
    #[arg(long, default_value_t = 1.1)]
    pub(crate) zipf: f64,
    /// Compress blocks of a tape with zstd
    #[arg(long)]
    pub(crate) compress: bool,
    /// Overwrite a file that exists
    #[arg(long)]
    pub(crate) force: bool,
}

/// What `gen` writes.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum GenFormat {
    /// A tape of every kind of event
    Tape,
    /// ITCH 5.0 in a BinaryFILE, as Nasdaq offers its days for download
    Itch,
    /// ITCH 5.0 over MoldUDP64, UDP and Ethernet, in a pcap of ns
    ItchPcap,
}

/// What is wanted of a tape.
#[derive(Args, Debug)]
pub(crate) struct PartArgs {
    /// From this capture time on (RFC 3339, or ns since the epoch)
    #[arg(long, value_name = "WHEN", value_parser = instant)]
    pub(crate) start: Option<UnixNanos>,
    /// Up to this capture time, exclusive
    #[arg(long, value_name = "WHEN", value_parser = instant)]
    pub(crate) end: Option<UnixNanos>,
    /// These symbols only, with what has no symbol: a list with commas
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub(crate) symbols: Vec<String>,
    /// These kinds only, with ticks and epochs: a list with commas
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = kind)]
    pub(crate) kinds: Vec<Kind>,
    /// Symbols that fit
    #[arg(long, value_name = "N", default_value_t = SYMBOLS_DEFAULT, value_parser = symbols_max)]
    pub(crate) symbols_max: usize,
}

#[derive(Args, Debug)]
pub(crate) struct CutArgs {
    /// Tape
    pub(crate) tape: PathBuf,
    #[command(flatten)]
    pub(crate) part: PartArgs,
    /// Tape to write
    #[arg(long, short, value_name = "FILE", required_unless_present = "dry_run")]
    pub(crate) output: Option<PathBuf>,
    /// Count what would be written
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Compress blocks with zstd
    #[arg(long)]
    pub(crate) compress: bool,
    /// Overwrite a file that exists
    #[arg(long)]
    pub(crate) force: bool,
}

#[derive(Args, Debug)]
pub(crate) struct SplitArgs {
    /// Tape
    pub(crate) tape: PathBuf,
    #[command(flatten)]
    pub(crate) part: PartArgs,
    /// Length of a piece; pieces begin at multiples of it since the epoch
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(crate) every: Duration,
    /// Beginning of the files' names: PREFIX-<UTC of the piece's beginning>.tape
    #[arg(long, short, value_name = "PREFIX")]
    pub(crate) output: PathBuf,
    /// Count what would be written
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Compress blocks with zstd
    #[arg(long)]
    pub(crate) compress: bool,
    /// Overwrite files that exist
    #[arg(long)]
    pub(crate) force: bool,
}

#[derive(Args, Debug)]
pub(crate) struct ImportArgs {
    /// Captures, merged in time order; - is stdin
    #[arg(required = true)]
    pub(crate) captures: Vec<String>,
    #[command(flatten)]
    pub(crate) capture_args: CaptureArgs,
    #[command(flatten)]
    pub(crate) map_args: MapArgs,
    /// Tape to write
    #[arg(long, short, value_name = "FILE")]
    pub(crate) output: PathBuf,
    /// Compress blocks with zstd
    #[arg(long)]
    pub(crate) compress: bool,
    /// Overwrite a file that exists
    #[arg(long)]
    pub(crate) force: bool,
    /// Say how fast it went: rows (of formats with one a line), messages, events and bytes a second, and the most memory that was resident
    #[arg(long)]
    pub(crate) stats: bool,
    /// Symbols that fit
    #[arg(long, value_name = "N", default_value_t = SYMBOLS_DEFAULT, value_parser = symbols_max)]
    pub(crate) symbols_max: usize,
}

#[derive(Args, Debug)]
pub(crate) struct InfoArgs {
    /// Capture; - is stdin
    pub(crate) capture: String,
    #[command(flatten)]
    pub(crate) capture_args: CaptureArgs,
    #[command(flatten)]
    pub(crate) map_args: MapArgs,
    /// Form of the answer
    #[arg(long, default_value = "text")]
    pub(crate) format: Format,
    /// Symbols that fit
    #[arg(long, value_name = "N", default_value_t = SYMBOLS_DEFAULT, value_parser = symbols_max)]
    pub(crate) symbols_max: usize,
}

#[derive(Args, Debug)]
pub(crate) struct VerifyArgs {
    /// Tape
    pub(crate) tape: PathBuf,
}

#[derive(Args, Debug)]
pub(crate) struct DumpArgs {
    /// Capture; - is stdin
    pub(crate) capture: String,
    #[command(flatten)]
    pub(crate) capture_args: CaptureArgs,
    #[command(flatten)]
    pub(crate) map_args: MapArgs,
    /// Stop after this many events
    #[arg(long, value_name = "N")]
    pub(crate) limit: Option<u64>,
    /// Symbols that fit
    #[arg(long, value_name = "N", default_value_t = SYMBOLS_DEFAULT, value_parser = symbols_max)]
    pub(crate) symbols_max: usize,
}

#[derive(Args, Debug)]
pub(crate) struct DiffArgs {
    /// Outputs of one run: tape or NDJSON
    pub(crate) a: String,
    /// Outputs of another
    pub(crate) b: String,
    /// Symbols that fit
    #[arg(long, value_name = "N", default_value_t = SYMBOLS_DEFAULT, value_parser = symbols_max)]
    pub(crate) symbols_max: usize,
}

/// Flags of replay that say how the engine is put together.
#[derive(Args, Debug)]
pub(crate) struct EngineFlags {
    /// Configuration of every replay, as for replay
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Set any key of the configuration of every replay; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
    #[arg(long, value_name = "N", help = about("engine.shards"))]
    pub(crate) shards: Option<String>,
    #[arg(long, value_name = "LIST", help = about("engine.cores"))]
    pub(crate) cores: Option<String>,
    /// Do not pin threads to cores
    #[arg(long)]
    pub(crate) no_pin: bool,
    #[arg(long, value_name = "DRIVER", help = about("engine.driver"))]
    pub(crate) driver: Option<String>,
    #[arg(long, value_name = "POLICY", help = about("replay.overload"))]
    pub(crate) overload: Option<String>,
    #[arg(long, value_name = "N", help = about("engine.symbols_max"))]
    pub(crate) symbols_max: Option<String>,
    #[arg(long, value_name = "N", help = about("engine.ring_slots"))]
    pub(crate) ring_slots: Option<String>,
    /// Day of an ITCH BinaryFILE, as for replay
    #[arg(long, value_name = "DAY")]
    pub(crate) date: Option<String>,
}

/// Flags of replay that say what is replayed when.
#[derive(Args, Debug)]
pub(crate) struct ScheduleFlags {
    #[arg(long, value_name = "X|max", help = about("replay.speed"), allow_hyphen_values = true)]
    pub(crate) speed: Option<String>,
    #[arg(long, value_name = "N", help = about("replay.rate"), allow_hyphen_values = true)]
    pub(crate) rate: Option<String>,
    #[arg(long, value_name = "TIME", help = about("replay.max_gap"))]
    pub(crate) max_gap: Option<String>,
    #[arg(long, value_name = "WHEN", help = about("replay.start"))]
    pub(crate) start: Option<String>,
    #[arg(long, value_name = "WHEN", help = about("replay.end"))]
    pub(crate) end: Option<String>,
    #[arg(long = "loop", value_name = "N", help = about("replay.loop"))]
    pub(crate) passes: Option<String>,
    /// Messages of all captures and passes together, after which they are taken to have ended
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) messages: Option<u64>,
}

#[derive(Args, Debug)]
pub(crate) struct CompareArgs {
    /// Results of A and of B, as replay --format json printed them, a line each (- is stdin); with --run: captures, as for
    /// replay
    pub(crate) inputs: Vec<String>,
    /// Replay the captures with A and B in turn (A B B A ..) and compare these results
    #[arg(long)]
    pub(crate) run: bool,
    /// With --run: replays of each side
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = at_least_one)]
    pub(crate) repeats: usize,
    /// Configuration of A
    #[arg(long, value_name = "FILE", requires = "run", conflicts_with = "config")]
    pub(crate) a_config: Option<PathBuf>,
    /// Configuration of B
    #[arg(long, value_name = "FILE", requires = "run", conflicts_with = "config")]
    pub(crate) b_config: Option<PathBuf>,
    /// Key of A's configuration; may be repeated
    #[arg(long, value_name = "KEY=VALUE", requires = "run")]
    pub(crate) a_set: Vec<String>,
    /// Key of B's configuration; may be repeated
    #[arg(long, value_name = "KEY=VALUE", requires = "run")]
    pub(crate) b_set: Vec<String>,
    /// Binary of A; default: this one
    #[arg(long, value_name = "FILE", requires = "run")]
    pub(crate) a_binary: Option<PathBuf>,
    /// Binary of B; default: this one
    #[arg(long, value_name = "FILE", requires = "run")]
    pub(crate) b_binary: Option<PathBuf>,
    /// Changes that are no regressions: of the median, of p99 and above, of throughput
    #[arg(long, value_name = "NAME=SHARE", default_value = "p50=3%,p99=10%,throughput=3%")]
    pub(crate) gate: String,
    /// Take runs that the machine disturbed as well
    #[arg(long)]
    pub(crate) allow_invalid: bool,
    /// Outputs that differ are no failure
    #[arg(long)]
    pub(crate) allow_different_outputs: bool,
    /// Form of the answer
    #[arg(long, default_value = "text")]
    pub(crate) format: Format,
    #[command(flatten, next_help_heading = "Every replay of --run")]
    pub(crate) engine: EngineFlags,
    #[command(flatten, next_help_heading = "Every replay of --run")]
    pub(crate) schedule: ScheduleFlags,
}

#[derive(Args, Debug)]
pub(crate) struct CapacityArgs {
    /// Captures, as for replay; without one: a built-in session, generated
    pub(crate) captures: Vec<String>,
    /// What has to hold: bounds of response times, as in p99.9<200us or p50<5us,p99<50us,max<10ms
    #[arg(long, value_name = "SLO")]
    pub(crate) slo: String,
    /// Lowest rate, messages a second; default: a 64th of the highest, and enough for the SLO's percentiles
    #[arg(long, value_name = "RATE", value_parser = positive)]
    pub(crate) from: Option<f64>,
    /// Highest rate, messages a second; default: what the engine takes without a schedule
    #[arg(long, value_name = "RATE", value_parser = positive)]
    pub(crate) to: Option<f64>,
    /// Length of each run
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = duration)]
    pub(crate) time: Duration,
    /// Runs at each rate
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = at_least_one)]
    pub(crate) repeats: usize,
    /// Only a valid run proves that a rate holds
    #[arg(long)]
    pub(crate) strict: bool,
    /// Write the curve as CSV
    #[arg(long, value_name = "FILE")]
    pub(crate) csv: Option<PathBuf>,
    /// Write the curve as a page with a plot: response times against load, what has to hold, the knee
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,
    /// Overwrite a file that exists
    #[arg(long)]
    pub(crate) force: bool,
    /// Form of the answer
    #[arg(long, default_value = "text")]
    pub(crate) format: Format,
    #[command(flatten)]
    pub(crate) engine: EngineFlags,
}

#[derive(Args, Debug)]
pub(crate) struct DoctorArgs {
    /// Form of the answer
    #[arg(long, default_value = "text")]
    pub(crate) format: Format,
    /// Watch every core for scheduler gaps this long, all at once; 0s leaves it out
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = duration)]
    pub(crate) probe: Duration,
    /// Measure how long a cache line takes between every two cores, in this time at most; 0s leaves it out
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = duration)]
    pub(crate) matrix: Duration,
}

#[derive(Args, Debug)]
pub(crate) struct DlqArgs {
    #[command(subcommand)]
    pub(crate) verb: DlqVerb,
}

#[derive(Subcommand, Debug)]
pub(crate) enum DlqVerb {
    /// List dead letters, by their last failure
    List(DlqListArgs),
    /// Show one dead letter with its event
    Show(DlqShowArgs),
    /// Write the events of dead letters as a tape that replay takes
    Redrive(DlqRedriveArgs),
    /// Remove dead letters from their file
    Purge(DlqPurgeArgs),
}

/// Which dead letters: all that are given must fit.
#[derive(Args, Debug)]
pub(crate) struct DlqFilter {
    /// Kind of the event: trade, quote, news, ...
    #[arg(long, value_name = "KIND", value_parser = kind)]
    pub(crate) kind: Option<Kind>,
    /// Symbol of the event
    #[arg(long)]
    pub(crate) symbol: Option<String>,
    /// Code of the last failure, panic, or no_room for what its topic had no room for
    #[arg(long, value_name = "CODE|panic|no_room", value_parser = error_code)]
    pub(crate) error: Option<u16>,
    /// Handler that failed
    #[arg(long, value_name = "NAME")]
    pub(crate) handler: Option<String>,
    /// Last failure at or after this (RFC 3339 or ns since the epoch)
    #[arg(long, value_name = "WHEN", value_parser = instant)]
    pub(crate) since: Option<UnixNanos>,
    /// Last failure before this
    #[arg(long, value_name = "WHEN", value_parser = instant)]
    pub(crate) until: Option<UnixNanos>,
}

#[derive(Args, Debug)]
pub(crate) struct DlqListArgs {
    /// File of replay --dead-letters
    pub(crate) file: String,
    #[command(flatten)]
    pub(crate) filter: DlqFilter,
    /// Letters at most
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = at_least_one)]
    pub(crate) limit: usize,
    /// Begin after this letter: where the page before ended
    #[arg(long, value_name = "ID", default_value_t = 0)]
    pub(crate) after: u64,
    /// Form of the answer
    #[arg(long, default_value = "text")]
    pub(crate) format: Format,
    /// Symbols that fit
    #[arg(long, value_name = "N", default_value_t = SYMBOLS_DEFAULT, value_parser = symbols_max)]
    pub(crate) symbols_max: usize,
}

#[derive(Args, Debug)]
pub(crate) struct DlqShowArgs {
    /// File of replay --dead-letters
    pub(crate) file: String,
    /// Number of the letter, as list gives it
    pub(crate) id: u64,
    /// Form of the answer
    #[arg(long, default_value = "text")]
    pub(crate) format: Format,
    /// Symbols that fit
    #[arg(long, value_name = "N", default_value_t = SYMBOLS_DEFAULT, value_parser = symbols_max)]
    pub(crate) symbols_max: usize,
}

#[derive(Args, Debug)]
pub(crate) struct DlqRedriveArgs {
    /// File of replay --dead-letters
    pub(crate) file: String,
    #[command(flatten)]
    pub(crate) filter: DlqFilter,
    /// This letter only
    #[arg(long)]
    pub(crate) id: Option<u64>,
    /// Tape to write; its events are as they were, in time order
    #[arg(long, short, value_name = "FILE", required_unless_present = "dry_run")]
    pub(crate) output: Option<PathBuf>,
    /// Events a second: their receive times are spaced so, from the first one on
    #[arg(long, value_name = "N", value_parser = positive)]
    pub(crate) rate: Option<f64>,
    /// Say what would be redriven, and write nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Overwrite a file that exists
    #[arg(long)]
    pub(crate) force: bool,
    /// Symbols that fit
    #[arg(long, value_name = "N", default_value_t = SYMBOLS_DEFAULT, value_parser = symbols_max)]
    pub(crate) symbols_max: usize,
}

#[derive(Args, Debug)]
pub(crate) struct DlqPurgeArgs {
    /// File of replay --dead-letters
    pub(crate) file: String,
    #[command(flatten)]
    pub(crate) filter: DlqFilter,
    /// This letter only
    #[arg(long)]
    pub(crate) id: Option<u64>,
    /// Every letter, where no filter is given
    #[arg(long)]
    pub(crate) all: bool,
    /// Say how many would go, and remove nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Symbols that fit
    #[arg(long, value_name = "N", default_value_t = SYMBOLS_DEFAULT, value_parser = symbols_max)]
    pub(crate) symbols_max: usize,
}

#[derive(Args, Debug)]
pub(crate) struct SchemaArgs {
    #[command(subcommand)]
    pub(crate) verb: SchemaVerb,
}

#[derive(Subcommand, Debug)]
pub(crate) enum SchemaVerb {
    /// List every kind and version
    List {
        /// Form of the answer; JSON is what check reads
        #[arg(long, default_value = "text")]
        format: Format,
    },
    /// Show the fields of a kind
    Show(SchemaShowArgs),
    /// Compare two tables of layouts; exit code 1 when the new one does not read what the old one wrote
    Check(SchemaCheckArgs),
}

#[derive(Args, Debug)]
pub(crate) struct SchemaShowArgs {
    /// Kind: trade, quote, ...
    pub(crate) kind: String,
    /// Version; default: every one
    #[arg(long, value_name = "N")]
    pub(crate) version: Option<u8>,
    /// Form of the answer
    #[arg(long, default_value = "text")]
    pub(crate) format: Format,
}

#[derive(Args, Debug)]
pub(crate) struct SchemaCheckArgs {
    /// A file of `schema list --format json` or `schema show KIND --format json`; KIND or KIND@VERSION of this build; builtin
    pub(crate) old: String,
    /// The same
    pub(crate) new: String,
    /// What is asked for
    #[arg(long, default_value = "backward")]
    pub(crate) require: Require,
    /// Form of the answer
    #[arg(long, default_value = "text")]
    pub(crate) format: Format,
}

/// Who must read whose events.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Require {
    /// The new one those of the old one
    Backward,
    /// The old one those of the new one
    Forward,
    /// Each those of the other
    Full,
}

#[derive(Args, Debug)]
pub(crate) struct CompletionsArgs {
    /// Shell
    pub(crate) shell: clap_complete::Shell,
}

#[derive(Subcommand, Debug)]
pub(crate) enum ConfigVerb {
    /// List every key: default, what is allowed, variable, flag, and what it sets
    Reference(ReferenceArgs),
    /// Check a configuration file; the environment is not looked at
    Check(CheckArgs),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum ReferenceStyle {
    /// For a terminal
    Text,
    /// For a page
    Markdown,
}

#[derive(Args, Debug)]
pub(crate) struct ReferenceArgs {
    /// Form of the list
    #[arg(long, default_value = "text")]
    pub(crate) format: ReferenceStyle,
}

#[derive(Args, Debug)]
pub(crate) struct CheckArgs {
    /// Configuration; - is stdin
    pub(crate) file: PathBuf,
}

#[derive(Args, Debug)]
pub(crate) struct InitArgs {
    /// File to write; - is stdout
    #[arg(default_value = "tapeline.toml")]
    pub(crate) file: PathBuf,
    /// Overwrite a file that exists
    #[arg(long)]
    pub(crate) force: bool,
}

/// Help of a flag that sets a key of the configuration: what the table of keys says.
fn about(path: &str) -> String {
    let setting = config::setting(path).expect("Invariant: the flag's key is in the table");
    let default = setting.key.show(&setting.value(&Config::default()));
    let doc = setting.key.doc.trim_end_matches('.');
    format!("{doc} [default: {}] [{}]", default.trim_matches('"'), setting.key.allowed())
}

fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|error| error.to_string())
}

fn instant(text: &str) -> Result<UnixNanos, String> {
    config::instant(text).ok_or_else(|| Form::Instant.allowed())
}

fn positive(text: &str) -> Result<f64, String> {
    match Form::Positive.read(&Raw::Text(text.to_owned())) {
        Some(Value::Number(number)) => Ok(number),
        _ => Err(Form::Positive.allowed()),
    }
}

fn kind(text: &str) -> Result<Kind, String> {
    Kind::from_name(text).ok_or_else(|| "no kind is named so; see `tapeline schema list`".to_owned())
}

/// Reasons for which an event is kept as a dead letter that no handler has seen.
const SCHEMA_REASONS: [Refusal; 3] = [Refusal::UnknownVersion, Refusal::OutOfRange, Refusal::BrokenSpan];

fn error_code(text: &str) -> Result<u16, String> {
    match text {
        "panic" => Ok(ERROR_PANIC),
        "no_room" => Ok(ERROR_NO_ROOM),
        _ => {
            let known = SCHEMA_REASONS.iter().find(|reason| reason.name() == text).map(|reason| schema_error(*reason));
            let told = || format!("0 to 65535, panic, no_room or {}", SCHEMA_REASONS.map(Refusal::name).join(", "));
            known.map_or_else(|| text.parse().map_err(|_| told()), Ok)
        }
    }
}

fn at_least_one(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|number| *number > 0).ok_or_else(|| "1 or more".to_owned())
}

fn symbols_max(text: &str) -> Result<usize, String> {
    let number: usize = text.parse().map_err(|_| format!("{text} is not a number"))?;
    if (2..=SYMBOLS_MAX).contains(&number) { Ok(number) } else { Err(format!("2 to {SYMBOLS_MAX}")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn arguments_are_consistent_and_units_are_humane() {
        Cli::command().debug_assert();
        assert_eq!(instant("2024-08-08T23:54:14Z"), Ok(UnixNanos(1_723_161_254_000_000_000)));
        assert_eq!(instant("17"), Ok(UnixNanos(17)));
        assert!(instant("yesterday").is_err());
        assert_eq!(duration("5ms"), Ok(Duration::from_millis(5)));
        assert!(symbols_max("1").is_err());
        assert_eq!(error_code("no_room"), Ok(ERROR_NO_ROOM));
        assert_eq!((error_code("panic"), error_code("7")), (Ok(ERROR_PANIC), Ok(7)));
        assert!(error_code("room").unwrap_err().contains("no_room or unknown_version, out_of_range"));
        assert_eq!(error_code("out_of_range"), Ok(schema_error(Refusal::OutOfRange)));
    }

    #[test]
    fn every_flag_that_a_key_names_is_there() {
        let command = Cli::command();
        let replay = command.find_subcommand("replay").unwrap();
        for section in config::SECTIONS {
            for key in section.keys {
                let Some(flag) = key.flag else { continue };
                assert!(replay.get_arguments().any(|arg| arg.get_long() == Some(flag)), "--{flag} of {}", key.name);
            }
        }
    }
}
