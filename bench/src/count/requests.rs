//! The request queue: what [`Mutate`] does with 10,000 queued, an operation a row.

use super::Row;
use crate::requests::{Mutable, Mutate, Ours, Whole};
use crate::single::Meter;

/// Requests that stay queued.
const QUEUED: usize = 10_000;
/// Operations of a round, by [`OPERATIONS`].
const PER_ROUND: [u64; 4] = [64, 48, 32, 16];
/// The operations and the functions that do them.
const OPERATIONS: [(&str, &str); 4] =
    [("push", "mutate_push"), ("pop", "mutate_pop"), ("change", "mutate_change"), ("remove", "mutate_remove")];

/// The contenders: name in the table, name as an argument, and whether it is ours.
const CONTENDERS: &[(&str, &str, bool)] = &[
    ("heap", "heap", true),
    ("queue", "whole", true),
    #[cfg(feature = "peers")]
    ("orx heap", "orx", false),
];

pub(super) fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    for (name, contender, is_ours) in CONTENDERS {
        for (operation, function) in OPERATIONS {
            rows.push(Row::new(&format!("{name} {operation}"), &["queue", contender, operation], function, *is_ours));
        }
    }
    rows
}

/// Runs all operations, of which one is counted, and returns how often that one.
pub(super) fn run_loop(contender: &str, operation: &str, rounds: usize) -> Option<u64> {
    fn run<Q: Mutable>(rounds: usize) {
        let (mut work, mut meter) = (Mutate::<Q>::new(QUEUED, 1), Meter::new(PER_ROUND.len()));
        (0..rounds).for_each(|_| work.step(&mut meter));
    }
    let index = OPERATIONS.iter().position(|(name, _)| *name == operation)?;
    match contender {
        "heap" => run::<Ours>(rounds),
        "whole" => run::<Whole<true>>(rounds),
        #[cfg(feature = "peers")]
        "orx" => run::<crate::requests::Orx>(rounds),
        _ => return None,
    }
    Some(PER_ROUND[index] * rounds as u64)
}
