//! Rings: 512 events are pushed and then popped. The refresh of the cached head once per lap is spread over them.

use super::Row;
use crate::contender::{Contender, Event, Item, Ours, Receiver, Sender};
use std::hint::black_box;

/// Events per call of a counted function.
pub(super) const EVENTS: usize = 512;
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
pub(super) fn run_loop(contender: &str, batch: usize, rounds: usize) -> Result<(), String> {
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

/// A push and a pop for every contender and size of a batch.
pub(super) fn rows(batches: &[usize]) -> Vec<Row> {
    let mut rows = Vec::new();
    for batch in batches {
        for contender in CONTENDERS {
            for (operation, function) in [("push", "count_push"), ("pop", "count_pop")] {
                let name = format!("ring {operation}, batch {batch}, {contender}");
                let arguments = ["ring", contender, &batch.to_string()];
                rows.push(Row::new(&name, &arguments, function, *contender == "tapeline"));
            }
        }
    }
    rows
}
