//! Runs the real binary, each test in a folder of its own.
#![allow(dead_code)] // every test binary uses a part of it

use serde_json::Value;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// No test here runs longer than a few seconds: what takes this long hangs.
const HANGS_AFTER: Duration = Duration::from_secs(120);

/// What a run of the binary left behind.
pub(crate) struct Ran {
    /// The command line, for messages.
    line: String,
    /// Exit code; `None` when a signal ended it.
    pub(crate) code: Option<i32>,
    /// What went to stdout.
    pub(crate) stdout: String,
    /// What went to stderr.
    pub(crate) stderr: String,
}

impl Ran {
    /// Fails the test unless the run ended with this code, and without a panic.
    #[track_caller]
    pub(crate) fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{}\nstdout: {}\nstderr: {}", self.line, self.stdout, self.stderr);
        assert!(!self.stderr.contains("panicked"), "{}\n{}", self.line, self.stderr);
        self
    }

    /// The object on the last line of stdout.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        let last = self.stdout.lines().last().unwrap_or_default();
        serde_json::from_str(last).unwrap_or_else(|error| panic!("{}: {error}: {last}\n{}", self.line, self.stderr))
    }

    /// The lines of error on stderr.
    pub(crate) fn errors(&self) -> Vec<&str> {
        self.stderr.lines().filter(|line| line.contains("error")).collect()
    }

    /// Fails the test unless exactly one line of stderr tells of an error and holds all of `parts`.
    #[track_caller]
    pub(crate) fn says_once(self, parts: &[&str]) -> Self {
        let errors = self.errors();
        assert_eq!(errors.len(), 1, "{}\n{}", self.line, self.stderr);
        for part in parts {
            assert!(errors[0].contains(part), "{}: no {part:?} in {:?}", self.line, errors[0]);
        }
        self
    }
}

/// A folder of a test's own, in which the binary runs.
pub(crate) struct Place(TempDir);

impl Place {
    pub(crate) fn new() -> Self {
        Self(TempDir::new().expect("a temporary folder"))
    }

    /// The path of a file in it.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Writes a file into it.
    pub(crate) fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        std::fs::write(self.path(name), bytes).expect("a file in a temporary folder");
    }

    /// A file of it, whole.
    #[track_caller]
    pub(crate) fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// The binary with these arguments, separated by spaces, and all its streams piped.
    pub(crate) fn command(&self, line: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tapeline"));
        command.args(line.split_whitespace()).current_dir(self.0.path());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Runs the binary with these arguments, separated by spaces, to its end.
    pub(crate) fn run(&self, line: &str) -> Ran {
        wait(self.command(line).spawn().expect("the binary starts"), line)
    }

    /// A replay without a schedule, as JSON.
    #[track_caller]
    pub(crate) fn replay(&self, rest: &str) -> Value {
        let report = self.run(&format!("replay --speed max --format json {rest}")).exits(0).json();
        assert_balanced(&report);
        report
    }
}

/// Collects what a child says until it ends.
pub(crate) fn wait(mut child: Child, line: &str) -> Ran {
    let collect = |stream: Option<Box<dyn Read + Send>>| {
        thread::spawn(move || {
            let mut bytes = Vec::new();
            if let Some(mut stream) = stream {
                stream.read_to_end(&mut bytes).expect("a pipe can be read");
            }
            String::from_utf8(bytes).expect("output is UTF-8")
        })
    };
    let stdout = collect(child.stdout.take().map(|stream| Box::new(stream) as Box<dyn Read + Send>));
    let stderr = collect(child.stderr.take().map(|stream| Box::new(stream) as Box<dyn Read + Send>));
    let begun = Instant::now();
    let mut pause = Duration::from_micros(500);
    let status = loop {
        if let Some(status) = child.try_wait().expect("a child can be waited for") {
            break status;
        }
        if begun.elapsed() > HANGS_AFTER {
            child.kill().expect("a child can be killed");
            panic!("hangs: {line}\n{}", stderr.join().unwrap_or_default());
        }
        thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(10));
    };
    let text = |thread: thread::JoinHandle<String>| thread.join().expect("the pipe's reader ends");
    Ran { line: line.to_owned(), code: status.code(), stdout: text(stdout), stderr: text(stderr) }
}

/// The folder of real captures, or `None` with a line that says so.
pub(crate) fn captures(folder: &str) -> Option<PathBuf> {
    let folder = std::env::var_os("TAPELINE_TEST_DATA").map(|data| Path::new(&data).join(folder));
    let folder = folder.filter(|folder| folder.is_dir());
    if folder.is_none() {
        eprintln!("skipped: no capture data");
    }
    folder
}

/// Fails the test unless the ledger of a report adds up, as the design has it.
#[track_caller]
pub(crate) fn assert_balanced(report: &Value) {
    let count = |name: &str| report["events"][name].as_u64().unwrap_or_else(|| panic!("no {name}: {report}"));
    assert_eq!(report["ledger_balanced"], true, "{report}");
    assert_eq!(count("offered"), count("accepted") + count("refused"), "{report}");
    let states = ["delivered", "coalesced", "expired", "refused_after_admission", "dead_lettered", "in_flight"];
    assert_eq!(count("accepted"), states.iter().map(|state| count(state)).sum::<u64>(), "{report}");
    let by_reason = report["events"]["refused_by"].as_object().expect("reasons by name");
    assert_eq!(count("refused"), by_reason.values().filter_map(Value::as_u64).sum::<u64>(), "{report}");
    let kinds = report["kinds"].as_object().expect("kinds by name");
    assert_eq!(count("offered"), kinds.values().filter_map(Value::as_u64).sum::<u64>(), "{report}");
}

/// A small Binance capture: for each of `times` (ns) a quote, and for every third a trade and a depth message, of one symbol.
pub(crate) fn binance_lines(times: impl IntoIterator<Item = u64>, symbol: &str, first: u64) -> String {
    let (lower, mut text) = (symbol.to_ascii_lowercase(), String::new());
    for (index, ns) in times.into_iter().enumerate() {
        let (n, ms) = (first + index as u64, ns / 1_000_000);
        let price = 2_683 + (n * 7) % 11;
        text += &format!(
            "{ns} {{\"stream\":\"{lower}@bookTicker\",\"data\":{{\"u\":{n},\"s\":\"{symbol}\",\"b\":\"{price}.80000000\",\
             \"B\":\"3.02920000\",\"a\":\"{price}.81000000\",\"A\":\"31.4395{}\"}}}}\n",
            n % 10
        );
        if index % 3 == 0 {
            text += &format!(
                "{ns} {{\"stream\":\"{lower}@trade\",\"data\":{{\"e\":\"trade\",\"E\":{ms},\"s\":\"{symbol}\",\"t\":{n},\
                 \"p\":\"{price}.80000000\",\"q\":\"0.0{}\",\"T\":{ms},\"m\":true,\"M\":true}}}}\n",
                n % 90 + 10
            );
            text += &format!(
                "{ns} {{\"stream\":\"{lower}@depth@100ms\",\"data\":{{\"e\":\"depthUpdate\",\"E\":{ms},\"s\":\"{symbol}\",\
                 \"U\":{},\"u\":{n},\"b\":[[\"{price}.80000000\",\"3.02\"],[\"2679.00\",\"28.2\"]],\
                 \"a\":[[\"2733.70\",\"0.00\"]]}}}}\n",
                // Right behind the one before: nothing is missing between them.
                n.saturating_sub(2)
            );
        }
    }
    text
}

/// A moment in August 2024, ns since the UNIX epoch.
pub(crate) const AUGUST: u64 = 1_723_161_254_000_000_000;
