//! `count`: instructions per operation, counted by callgrind on one thread (P19).
//!
//! callgrind runs threads one after the other, so that waiting would be counted: each row has one thread. Counted is one function
//! of the program's, in which a loop does the operation on a few hundred items; the loop and the call are part of the count.
//!
//! To add a row, write a function with a name of its own that is never inlined, call it in the `run_loop` of its file, and
//! put the row into [`rows`].

mod bus;
mod dedup;
mod event;
mod features;
mod record;
mod requests;
mod rings;
mod routes;
mod shard;
mod timers;

pub use record::{Comparison, Record};
pub use rings::CONTENDERS;
use std::process::Command;

/// One count.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Row {
    /// Name in the table and in the record.
    pub name: String,
    /// What is run: the arguments of `count-loop`.
    pub arguments: Vec<String>,
    /// Function that is counted.
    pub function: &'static str,
    /// Whether it is ours, and kept in the record.
    pub is_ours: bool,
}

impl Row {
    fn new(name: &str, arguments: &[&str], function: &'static str, is_ours: bool) -> Self {
        let arguments = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        Self { name: name.into(), arguments, function, is_ours }
    }
}

/// Every row: the rings' for these batch sizes, and the others.
#[must_use]
pub fn rows(batches: &[usize]) -> Vec<Row> {
    let mut rows = rings::rows(batches);
    rows.extend(timers::rows());
    rows.extend(routes::rows());
    rows.extend(bus::rows());
    rows.extend(requests::rows());
    rows.extend(dedup::rows());
    rows.extend(shard::rows());
    rows.extend(event::rows());
    rows.extend(features::rows());
    rows
}

/// Runs what a row counts, `rounds` times, and returns the operations of its function.
///
/// # Errors
/// When the arguments name no loop.
pub fn run_loop(arguments: &[&str], rounds: usize) -> Result<u64, String> {
    let operations = match arguments {
        ["ring", contender, batch] => {
            let batch = batch.parse().map_err(|_| format!("`{batch}` is no size of a batch"))?;
            return rings::run_loop(contender, batch, rounds).map(|()| (rounds * rings::EVENTS) as u64);
        }
        ["wheel", operation] => timers::run_loop(operation, rounds),
        ["route", how] => routes::run_loop(how, rounds),
        ["dispatch", kind, handlers] => bus::run_loop(kind, handlers.parse().unwrap_or(0), rounds),
        ["queue", contender, operation] => requests::run_loop(contender, operation, rounds),
        ["dedup", operation] => dedup::run_loop(operation, rounds),
        ["shard", operation] => shard::run_loop(operation, rounds),
        ["event", what] => event::run_loop(what, rounds),
        ["features", "indicators", contender] => features::run_indicators(contender, rounds),
        ["features", operation] => features::run_loop(operation, rounds),
        _ => None,
    };
    operations.ok_or_else(|| format!("no loop `{}`", arguments.join(" ")))
}

/// Whether valgrind can be started.
#[must_use]
pub fn has_valgrind() -> bool {
    Command::new("valgrind").arg("--version").output().is_ok_and(|output| output.status.success())
}

/// Instructions per operation of a row, by running this program under callgrind.
///
/// # Errors
/// When valgrind cannot be started, fails (it knows no AVX-512: build for x86-64-v3), or collected nothing.
pub fn callgrind(row: &Row) -> Result<f64, String> {
    const ROUNDS: usize = 40;
    let program = std::env::current_exe().map_err(|error| format!("this program's path: {error}"))?;
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(format!("--toggle-collect=*{}*", row.function))
        .arg(program)
        .args(["count-loop", &ROUNDS.to_string()])
        .args(&row.arguments)
        .output()
        .map_err(|error| format!("valgrind: {error}"))?;
    let log = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        return Err(format!("{}: valgrind failed: {}", row.name, log.lines().last().unwrap_or_default()));
    }
    let operations: f64 = String::from_utf8_lossy(&output.stdout).trim().parse().unwrap_or(f64::NAN);
    let collected = log.lines().find_map(|line| line.split_once("Collected :")?.1.trim().parse::<u64>().ok());
    match collected {
        Some(instructions) if instructions > 0 && operations > 0.0 => Ok(instructions as f64 / operations),
        _ => Err(format!("callgrind collected nothing for {}: is the program built with symbols?", row.function)),
    }
}
