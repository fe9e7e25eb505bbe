//! Replays in processes of their own: the same engine again and again, each time without anything of the run before.

use crate::cli::{EngineFlags, ScheduleFlags};
use std::ffi::OsString;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;
use tapeline_runtime::lab::result::{Outcome, outcome};

/// How often it is looked whether a replay has ended: seldom enough that it is not measured.
const LOOK: Duration = Duration::from_millis(50);

/// A replay that came to its end.
pub(crate) struct Replayed {
    /// Its result.
    pub(crate) outcome: Outcome,
    /// Its exit code: 0, 1 for a ledger that does not balance, 3 for a capture that is damaged.
    pub(crate) code: u8,
}

/// Why there is no result.
pub(crate) enum Failure {
    /// SIGINT ended it.
    Interrupted,
    /// It says why, and with what code.
    Failed(String, u8),
}

/// This program.
pub(crate) fn this() -> Result<PathBuf, Failure> {
    std::env::current_exe().map_err(|error| Failure::Failed(format!("cannot find this program again: {error}"), 2))
}

/// Runs `binary replay ARGS --format json` to its end.
pub(crate) fn replay(binary: &Path, args: &[OsString], interrupt: &AtomicBool) -> Result<Replayed, Failure> {
    let failed = |why: &dyn std::fmt::Display, code| Failure::Failed(format!("{}: {why}", binary.display()), code);
    let mut command = Command::new(binary);
    command.arg("replay").args(["--format", "json"]).args(args);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| failed(&error, 2))?;
    let stdout = collect(child.stdout.take());
    let stderr = collect(child.stderr.take());
    let status = wait(&mut child, interrupt).map_err(|error| failed(&error, 2))?;
    let (stdout, stderr) = (text(stdout), text(stderr));
    if interrupt.load(Ordering::Relaxed) || status.code() == Some(130) {
        return Err(Failure::Interrupted);
    }
    let said = || {
        let errors: Vec<&str> = stderr.lines().filter(|line| line.contains("error")).collect();
        let lines = if errors.is_empty() { stderr.lines().last().into_iter().collect() } else { errors };
        lines.join("\n")
    };
    match status.code() {
        Some(code @ (0 | 1 | 3)) => match stdout.lines().last().map(outcome) {
            Some(Ok(outcome)) => Ok(Replayed { outcome, code: code as u8 }),
            Some(Err(why)) => Err(failed(&format_args!("its result cannot be read: {why}\n{}", said()), 2)),
            None => Err(failed(&format_args!("ended with {code} and no result\n{}", said()), code.max(1) as u8)),
        },
        Some(code) => Err(failed(&format_args!("ended with {code}\n{}", said()), 2)),
        None => Err(failed(&format_args!("{status}\n{}", said()), 1)),
    }
}

/// Waits until it ends. Once interrupted, it is ended: a run that is cut short is not looked at.
fn wait(child: &mut Child, interrupt: &AtomicBool) -> io::Result<std::process::ExitStatus> {
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        if interrupt.load(Ordering::Relaxed) {
            child.kill()?;
            return child.wait();
        }
        thread::sleep(LOOK);
    }
}

/// Reads a stream to its end, so that the process never waits for room in a pipe.
fn collect(stream: Option<impl Read + Send + 'static>) -> JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut stream) = stream {
            // What cannot be read is missing in the result, which is told.
            let _ = stream.read_to_end(&mut bytes);
        }
        bytes
    })
}

fn text(thread: JoinHandle<Vec<u8>>) -> String {
    String::from_utf8_lossy(&thread.join().unwrap_or_default()).into_owned()
}

/// `--name value`, where there is one.
fn flag(args: &mut Vec<OsString>, name: &str, value: Option<impl Into<OsString>>) {
    if let Some(value) = value {
        // With `=`, so that a value may begin with a dash.
        let mut arg = OsString::from(name);
        arg.push("=");
        arg.push(value.into());
        args.push(arg);
    }
}

impl EngineFlags {
    /// As replay takes them.
    pub(crate) fn args(&self) -> Vec<OsString> {
        let Self { config, set, shards, cores, no_pin, driver, overload, symbols_max, ring_slots } = self;
        let mut args = Vec::new();
        flag(&mut args, "--config", config.as_deref());
        set.iter().for_each(|set| flag(&mut args, "--set", Some(set)));
        flag(&mut args, "--shards", shards.as_deref());
        flag(&mut args, "--cores", cores.as_deref());
        args.extend(no_pin.then(|| OsString::from("--no-pin")));
        flag(&mut args, "--driver", driver.as_deref());
        flag(&mut args, "--overload", overload.as_deref());
        flag(&mut args, "--symbols-max", symbols_max.as_deref());
        flag(&mut args, "--ring-slots", ring_slots.as_deref());
        args
    }
}

impl ScheduleFlags {
    /// As replay takes them.
    pub(crate) fn args(&self) -> Vec<OsString> {
        let Self { speed, rate, max_gap, start, end, passes, messages } = self;
        let mut args = Vec::new();
        flag(&mut args, "--speed", speed.as_deref());
        flag(&mut args, "--rate", rate.as_deref());
        flag(&mut args, "--max-gap", max_gap.as_deref());
        flag(&mut args, "--start", start.as_deref());
        flag(&mut args, "--end", end.as_deref());
        flag(&mut args, "--loop", passes.as_deref());
        flag(&mut args, "--messages", messages.map(|messages| messages.to_string()));
        args
    }
}

/// What one side of a comparison has beyond what both have.
pub(crate) fn side_args(config: Option<&Path>, set: &[String]) -> Vec<OsString> {
    let mut args = Vec::new();
    flag(&mut args, "--config", config);
    set.iter().for_each(|set| flag(&mut args, "--set", Some(set)));
    args
}

/// The captures, behind everything else: none of them is taken for a flag.
pub(crate) fn captures(args: &mut Vec<OsString>, captures: &[String]) {
    if !captures.is_empty() {
        args.push("--".into());
        args.extend(captures.iter().map(OsString::from));
    }
}

/// The line of a capture that cannot be read again and again.
pub(crate) fn refuse_pipes(captures: &[String]) -> Result<(), String> {
    let is_pipe = |path: &&String| *path == "-" || Path::new(path).exists() && !crate::files::is_regular(path);
    match captures.iter().find(is_pipe) {
        Some(path) => Err(format!("{path}: is read by many replays: it has to be a file")),
        None => Ok(()),
    }
}
