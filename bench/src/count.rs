//! `count`: instructions per event, counted by callgrind on one thread (P19).
//!
//! callgrind runs threads one after the other, so that waiting would be counted: one thread pushes 512 events and then
//! pops them. The count includes the loop, the refresh of the cached head once per lap, and the call, spread over 512
//! events.

use crate::contender::{Contender, Event, Item, Ours, Receiver, Sender};
use std::hint::black_box;
use std::process::Command;

/// Events per call of a counted function.
pub const EVENTS: usize = 512;
/// Slots of the queues.
const CAPACITY: usize = 1024;

/// The contenders by name.
pub const CONTENDERS: &[&str] = &[
    "tapeline",
    #[cfg(feature = "peers")]
    "rtrb",
    #[cfg(feature = "peers")]
    "nexus-queue",
    #[cfg(feature = "peers")]
    "disruptor",
    #[cfg(feature = "peers")]
    "crossbeam-channel",
    #[cfg(feature = "peers")]
    "yring",
];

/// Pushes all of `items`. Its name is what callgrind collects by.
#[inline(never)]
fn count_push<S: Sender<Event>>(tx: &mut S, items: &[Event], batch: usize) {
    if batch == 1 {
        for item in items {
            assert!(tx.send(item), "there is room");
        }
    } else {
        for items in items.chunks(batch) {
            assert!(tx.send_batch(items) == items.len(), "there is room");
        }
    }
}

/// Pops into all of `out`. Its name is what callgrind collects by.
#[inline(never)]
fn count_pop<R: Receiver<Event>>(rx: &mut R, out: &mut [Event], batch: usize) {
    if batch == 1 {
        for out in out {
            assert!(rx.receive(out), "all are there");
        }
    } else {
        for out in out.chunks_mut(batch) {
            assert!(rx.receive_batch(out) == out.len(), "all are there");
        }
    }
}

fn run<C: Contender<Event>>(batch: usize, rounds: usize) {
    let (mut tx, mut rx) = C::channel(CAPACITY);
    let mut items = vec![Event::default(); EVENTS];
    let mut out = vec![Event::default(); EVENTS];
    for round in 0..rounds {
        for (offset, item) in items.iter_mut().enumerate() {
            item.set((round * EVENTS + offset) as u64);
        }
        count_push(&mut tx, black_box(&items), batch);
        count_pop(&mut rx, black_box(&mut out), batch);
        assert!(items.iter().zip(&out).all(|(item, out)| item.0 == out.0), "what went in came out");
    }
}

/// The loop that is counted: `rounds` times 512 events through `contender`.
///
/// # Errors
/// When there is no such contender.
pub fn run_loop(contender: &str, batch: usize, rounds: usize) -> Result<(), String> {
    match contender {
        "tapeline" => run::<Ours>(batch, rounds),
        #[cfg(feature = "peers")]
        "rtrb" => run::<crate::peers::Rtrb>(batch, rounds),
        #[cfg(feature = "peers")]
        "nexus-queue" => run::<crate::peers::Nexus>(batch, rounds),
        #[cfg(feature = "peers")]
        "disruptor" => run::<crate::peers::Disruptor>(batch, rounds),
        #[cfg(feature = "peers")]
        "crossbeam-channel" => run::<crate::peers::Crossbeam>(batch, rounds),
        #[cfg(feature = "peers")]
        "yring" => run::<crate::peers::Yring>(batch, rounds),
        _ => return Err(format!("no contender `{contender}`; there are {}", CONTENDERS.join(", "))),
    }
    Ok(())
}

/// Instructions per event of `function` (`count_push` or `count_pop`), by running this program under callgrind.
///
/// # Errors
/// When valgrind cannot be started, fails (it knows no AVX-512: build for x86-64-v3), or collected nothing.
pub fn callgrind(contender: &str, batch: usize, function: &str) -> Result<f64, String> {
    const ROUNDS: usize = 40;
    let program = std::env::current_exe().map_err(|error| format!("this program's path: {error}"))?;
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(format!("--toggle-collect=*{function}*"))
        .arg(program)
        .args(["count-loop", contender, &batch.to_string(), &ROUNDS.to_string()])
        .output()
        .map_err(|error| format!("valgrind: {error}"))?;
    let log = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        return Err(format!("valgrind failed: {}", log.lines().last().unwrap_or_default()));
    }
    let collected = log.lines().find_map(|line| line.split_once("Collected :")?.1.trim().parse::<u64>().ok());
    match collected {
        Some(instructions) if instructions > 0 => Ok(instructions as f64 / (ROUNDS * EVENTS) as f64),
        _ => Err(format!("callgrind collected nothing for {function}: is the program built with symbols?")),
    }
}
