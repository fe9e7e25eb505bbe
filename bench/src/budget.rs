//! A whole run of the protocol within a given time: every table keeps its rounds, and slices are as long as there is time for.
//!
//! The subjects run twice. In the first pass nothing is measured: each table says how many contenders it has and what its
//! slices cost where their length is not for us to choose. In the second one, each table gets its share of what is left, so
//! that a table that took longer than it should makes the next slices shorter, and the run ends in time.

use crate::duel::{Entry, Length, Role};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Longest slice: that of the protocol.
pub const SLICE_MAX: Duration = Duration::from_millis(100);
/// Shortest slice: below it a slice is start and end only.
pub const SLICE_MIN: Duration = Duration::from_millis(2);
/// What a slice costs beside its length: a fifth of warm-up, and slices that are void and repeated.
const OVERHEAD: f64 = 1.35;
/// By how much a table may exceed its share before its void slices are no longer repeated.
const PATIENCE: f64 = 1.5;

/// Rounds and contenders of one table.
#[derive(Clone, Copy, PartialEq, Debug)]
struct Planned {
    /// Slices whose length can be chosen.
    timed: usize,
    /// What the others take.
    fixed: Duration,
}

#[derive(Debug)]
struct State {
    /// Tables in the order in which they run.
    tables: Vec<Planned>,
    /// The first table that has not begun; `None` while the plan is made.
    next: Option<usize>,
    /// When the whole run shall be over.
    end: Instant,
    slice: Duration,
    /// When the present table stops to repeat void slices.
    patience: Instant,
}

/// See the [module](self). Shared by all copies of the options of a run.
#[derive(Debug)]
pub struct Budget {
    total: Duration,
    state: Mutex<State>,
}

impl Budget {
    /// A budget whose plan is still to be made.
    #[must_use]
    pub fn new(total: Duration) -> Self {
        let now = Instant::now();
        let state = State { tables: Vec::new(), next: None, end: now, slice: SLICE_MAX, patience: now };
        Self { total, state: Mutex::new(state) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The whole budget.
    #[must_use]
    pub fn total(&self) -> Duration {
        self.total
    }

    /// Ends the plan: from now on tables run, and the time does. Gives the length of the slices that it begins with.
    pub fn start(&self) -> Duration {
        let mut state = self.state();
        state.next = Some(0);
        state.end = Instant::now() + self.total;
        share(&state.tables, self.total).0
    }

    /// A table begins. `false` when it is only planned, and shall not run.
    pub fn begin(&self, entries: &[Entry<'_>], rounds: usize) -> bool {
        let state = &mut *self.state();
        let Some(next) = state.next else {
            state.tables.push(plan(entries, rounds));
            return false;
        };
        let now = Instant::now();
        let (slice, patience) =
            share(&state.tables[next.min(state.tables.len())..], state.end.saturating_duration_since(now));
        (state.next, state.slice, state.patience) = (Some(next + 1), slice, now + patience);
        true
    }

    /// Length of the present table's slices.
    #[must_use]
    pub fn slice(&self) -> Duration {
        self.state().slice
    }

    /// Whether a void slice may still be repeated.
    #[must_use]
    pub fn is_patient(&self) -> bool {
        Instant::now() < self.state().patience
    }
}

/// What a table will take. A control's slice is repeated with each void one, which [`OVERHEAD`] holds.
fn plan(entries: &[Entry<'_>], rounds: usize) -> Planned {
    let fixed = entries.iter().filter_map(|entry| match entry.length {
        Length::Chosen => None,
        Length::Fixed(length) => Some(length * rounds as u32),
    });
    let timed = entries.iter().filter(|entry| entry.length == Length::Chosen).count() * rounds;
    debug_assert!(entries.iter().any(|entry| entry.role == Role::Ours), "a duel has ours in it");
    Planned { timed, fixed: fixed.sum() }
}

/// Length of a slice when these tables have `left` to run, and how long the first of them may take.
fn share(tables: &[Planned], left: Duration) -> (Duration, Duration) {
    let fixed: Duration = tables.iter().map(|table| table.fixed).sum();
    let timed: usize = tables.iter().map(|table| table.timed).sum();
    let slice = left.saturating_sub(fixed).div_f64((timed.max(1)) as f64 * OVERHEAD).clamp(SLICE_MIN, SLICE_MAX);
    let first =
        tables.first().map_or(Duration::ZERO, |table| table.fixed + slice.mul_f64(table.timed as f64 * OVERHEAD));
    (slice, first.mul_f64(PATIENCE))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::duel::{self, Options, Slice};
    use std::cell::Cell;
    use std::sync::Arc;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn slices_fill_the_time_that_is_left_and_stay_within_their_bounds() {
        let table = |timed, fixed_ms| Planned { timed, fixed: MS * fixed_ms };
        let (slice, first) = share(&[table(100, 0), table(300, 1_000)], Duration::from_secs(28));
        assert_eq!(slice, 50 * MS);
        assert_eq!(first, (100 * 50 * MS).mul_f64(OVERHEAD * PATIENCE));
        assert_eq!(share(&[table(10, 0)], Duration::from_secs(60)).0, SLICE_MAX, "not longer than the protocol's");
        assert_eq!(share(&[table(10, 5_000)], Duration::from_secs(1)).0, SLICE_MIN, "what is left is not enough");
        assert_eq!(share(&[], Duration::from_secs(1)).0, SLICE_MAX);
    }

    #[test]
    fn a_planned_table_runs_nothing_and_its_time_is_taken_from_the_others() {
        let runs = Cell::new(0);
        let entry = |length, role| Entry {
            name: "entry",
            role,
            length,
            run: Box::new(|| {
                runs.set(runs.get() + 1);
                Slice { values: vec![1.0], disturbance: Default::default() }
            }),
        };
        let entries = [entry(Length::Chosen, Role::Ours), entry(Length::Fixed(10 * MS), Role::Peer)];
        let budget = Arc::new(Budget::new(Duration::from_secs(2)));
        let options = Options { rounds: 40, budget: Some(budget.clone()), ..Options::check() };
        let planned = duel::run(&entries, &options);
        assert!(planned.iter().all(|record| record.rounds.is_empty()) && runs.get() == 0);
        // 40 rounds of 10 ms are taken off; the rest is for 40 slices.
        assert_eq!(budget.start(), (1_600 * MS).div_f64(40.0 * OVERHEAD));
        let records = duel::run(&entries, &options);
        assert_eq!((records[0].rounds.len(), runs.get()), (40, 80));
        assert!(budget.slice() <= budget.start() && budget.is_patient());
    }
}
