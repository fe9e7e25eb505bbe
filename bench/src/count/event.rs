//! A small event's whole way: route, pop, admission, dedup, a static handler with two averages (P19).

use super::Row;
#[cfg(feature = "runtime")]
use crate::whole::Feed;
use crate::whole::{BATCH, Bare, Rig, Turns, route, router};
use std::hint::black_box;
#[cfg(feature = "runtime")]
use tapeline_core::bus::Chain;
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

#[cfg(feature = "runtime")]
#[inline(never)]
fn count_pipeline<C: Chain, F: Feed>(rig: &mut Rig<C, (), F>) {
    rig.drain();
}

/// All of the default pipeline over a generated session of every kind, without route. Returns the events.
#[cfg(feature = "runtime")]
fn run_pipeline(rounds: usize) -> u64 {
    const WARM_UP: usize = 200;
    let mut rig = crate::whole::default_rig(1, ());
    let (mut warm, mut events) = (0, 0);
    for _ in 0..WARM_UP {
        warm += rig.fill(0);
        rig.drain();
    }
    for _ in 0..rounds {
        events += rig.fill(0);
        count_pipeline(black_box(&mut rig));
    }
    rig.check((warm + events) as u64);
    events as u64
}

pub(super) fn rows() -> Vec<Row> {
    let mut rows = vec![
        Row::new("event, whole way, two averages", &["event", "averages"], "count_event", true),
        Row::new("event, whole way, two averages and history", &["event", "history"], "count_event", true),
    ];
    if cfg!(feature = "runtime") {
        // Not kept: the record is made without the runtime.
        rows.push(Row::new("event, default pipeline", &["event", "pipeline"], "count_pipeline", false));
    }
    rows
}

/// Runs the way of `what` and returns the events.
pub(super) fn run_loop(what: &str, rounds: usize) -> Option<u64> {
    let history_slots = match what {
        "averages" => 0,
        "history" => HISTORY_SLOTS,
        #[cfg(feature = "runtime")]
        "pipeline" => return Some(run_pipeline(rounds)),
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
