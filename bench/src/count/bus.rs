//! The bus: events to static and dynamic handlers.

use super::Row;
use crate::dispatch::{Dispatcher, Dynamic, Static, Work};
use std::hint::black_box;

#[inline(never)]
fn count_dispatch_static(bus: &mut Static, sizes: &[u64]) {
    bus.dispatch(sizes);
}

#[inline(never)]
fn count_dispatch_dynamic(bus: &mut Dynamic, sizes: &[u64]) {
    bus.dispatch(sizes);
}

pub(super) fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    for handlers in ["1", "3", "10"] {
        let name = format!("dispatch, chain of {handlers}");
        rows.push(Row::new(&name, &["dispatch", "static", handlers], "count_dispatch_static", true));
        let name = format!("dispatch, {handlers} dynamic");
        rows.push(Row::new(&name, &["dispatch", "dynamic", handlers], "count_dispatch_dynamic", true));
    }
    rows
}

/// Dispatches events and returns how many.
pub(super) fn run_loop(kind: &str, handlers: usize, rounds: usize) -> Option<u64> {
    fn run<D: Dispatcher>(handlers: usize, rounds: usize, count: fn(&mut D, &[u64])) -> u64 {
        let mut work = Work::<D>::new(handlers);
        let mut events = 0;
        for _ in 0..rounds {
            let (bus, sizes) = work.batch();
            events += sizes.len() as u64;
            count(bus, black_box(sizes));
        }
        events
    }
    match (kind, handlers) {
        ("static", 1 | 3 | 10) => Some(run(handlers, rounds, count_dispatch_static)),
        ("dynamic", 1..=64) => Some(run(handlers, rounds, count_dispatch_dynamic)),
        _ => None,
    }
}
