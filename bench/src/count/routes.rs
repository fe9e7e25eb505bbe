//! Routing: from texts to shards and slots.

use super::Row;
use crate::route::{ByCatalog, ById, Ours, Router, Text, Work, route_all};
use std::hint::black_box;

/// Messages per call of a counted function.
const MESSAGES: usize = 512;

#[inline(never)]
fn count_route_text(router: &Ours, messages: &[Text]) -> u64 {
    route_all(router, messages)
}

#[inline(never)]
fn count_route_catalog(router: &ByCatalog, messages: &[Text]) -> u64 {
    route_all(router, messages)
}

#[inline(never)]
fn count_route_id(router: &ById, messages: &[Text]) -> u64 {
    route_all(router, messages)
}

pub(super) fn rows() -> Vec<Row> {
    vec![
        Row::new("route by text", &["route", "text"], "count_route_text", true),
        Row::new("route by text, catalog", &["route", "catalog"], "count_route_catalog", true),
        Row::new("route by id", &["route", "id"], "count_route_id", true),
    ]
}

/// Routes `how` and returns how often.
pub(super) fn run_loop(how: &str, rounds: usize) -> Option<u64> {
    fn run<R: Router>(rounds: usize, count: fn(&R, &[Text]) -> u64) -> u64 {
        let mut work = Work::<R>::new(1);
        for _ in 0..rounds {
            let (router, messages) = work.batch(MESSAGES);
            black_box(count(router, black_box(messages)));
        }
        (rounds * MESSAGES) as u64
    }
    match how {
        "text" => Some(run(rounds, count_route_text)),
        "catalog" => Some(run(rounds, count_route_catalog)),
        "id" => Some(run(rounds, count_route_id)),
        _ => None,
    }
}
