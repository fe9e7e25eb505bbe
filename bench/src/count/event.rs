//! A small event's whole way: route, pop, admission, dedup, a static handler with two averages (P19).

use super::Row;
use crate::whole::{BATCH, Bare, Rig, Turns, route, router};
use std::hint::black_box;
use tapeline_core::catalog::Catalog;
use tapeline_core::event::Slot;
use tapeline_core::route::RouteTable;

/// Slots of the history in the row that has one.
const HISTORY_SLOTS: usize = 4_096;
/// Batches before the first that is counted: every symbol has its state.
const WARM_UP: usize = 8;

#[inline(never)]
fn count_event(rig: &mut Rig<Bare, (), Turns>, catalog: &Catalog, routes: &RouteTable, slots: &[Slot]) -> usize {
    let shards = route(catalog, routes, slots);
    rig.drain();
    shards
}

pub(super) fn rows() -> Vec<Row> {
    [("two averages", "averages"), ("two averages and history", "history")]
        .map(|(name, what)| Row::new(&format!("event, whole way, {name}"), &["event", what], "count_event", true))
        .into()
}

/// Runs the way of `what` and returns the events.
pub(super) fn run_loop(what: &str, rounds: usize) -> Option<u64> {
    let history_slots = match what {
        "averages" => 0,
        "history" => HISTORY_SLOTS,
        _ => return None,
    };
    let mut rig = Rig::bare(history_slots, false, ());
    let (catalog, routes, slots) = router();
    for _ in 0..WARM_UP {
        rig.fill(0);
        rig.drain();
    }
    for _ in 0..rounds {
        rig.fill(0);
        black_box(count_event(&mut rig, black_box(&catalog), black_box(&routes), black_box(&slots)));
    }
    rig.check(((WARM_UP + rounds) * BATCH) as u64);
    Some((rounds * BATCH) as u64)
}
