//! Redrive and purge of many at once: what was parked when the sweep began, once each, a few at a time.

use super::query::{Cursor, Direction, Filter};
use super::{DeadLetters, Handle, Redriven, Refused, Removed, State};
use crate::units::UnixNanos;

/// How much a call may do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Budget {
    /// Entries redriven or purged at most: the rate, as what is left of it at the time of the call.
    pub moves: usize,
    /// Entries looked at at most.
    pub visits: usize,
}

impl Budget {
    /// No bound.
    pub const UNLIMITED: Self = Self { moves: usize::MAX, visits: usize::MAX };
}

/// A redrive or purge under way: a plain value, kept by the caller between calls.
///
/// It meets what was parked when it began, and nothing that failed since: an event that fails again after its redrive is parked
/// behind the sweep's end, so that no sweep can go in circles with it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sweep {
    filter: Filter,
    cursor: Option<Cursor>,
    /// First place that is not the sweep's.
    end_seq: u64,
    is_done: bool,
}

impl Sweep {
    /// Where it goes on. `None` at the beginning, and when it is done.
    #[must_use]
    pub const fn cursor(&self) -> Option<Cursor> {
        self.cursor
    }

    /// Whether every entry was met.
    #[must_use]
    pub const fn is_done(&self) -> bool {
        self.is_done
    }
}

/// What a call did.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[must_use]
pub struct Swept {
    /// Entries redriven or purged.
    pub moved: usize,
    /// Entries that could not be redriven: no room to hold their symbol, or too many held. They stay parked.
    pub refused: usize,
}

impl DeadLetters {
    /// A sweep over the parked entries of `filter`, whatever state that names. Nothing moves yet.
    #[must_use]
    pub const fn sweep(&self, filter: &Filter) -> Sweep {
        let filter = Filter { state: Some(State::Parked), ..*filter };
        Sweep { filter, cursor: None, end_seq: self.next_seq, is_done: false }
    }

    /// Dry run: entries that `sweep` has still to meet. O(length of the chain that is walked).
    #[must_use]
    pub fn left(&self, sweep: &Sweep) -> usize {
        if sweep.is_done {
            return 0;
        }
        let page = self.list(&sweep.filter, Direction::OldestFirst, sweep.cursor, usize::MAX);
        page.filter(|(_, entry)| entry.seq < sweep.end_seq).count()
    }

    /// Redrives the next entries of `sweep`, oldest first, as [`DeadLetters::redrive`]; `each` is told of every one.
    pub fn redrive_next(
        &mut self,
        sweep: &mut Sweep,
        budget: Budget,
        now: UnixNanos,
        mut each: impl FnMut(Result<Redriven, Refused>),
    ) -> Swept {
        self.sweep_next(sweep, budget, |letters, handle| {
            let redriven = letters.redrive(handle, now);
            each(redriven);
            redriven.is_ok()
        })
    }

    /// Removes the next entries of `sweep`, oldest first, as [`DeadLetters::remove`]; `each` is told of every one.
    pub fn purge_next(&mut self, sweep: &mut Sweep, budget: Budget, mut each: impl FnMut(Removed)) -> Swept {
        self.sweep_next(sweep, budget, |letters, handle| letters.remove(handle).map(&mut each).is_some())
    }

    fn sweep_next(
        &mut self,
        sweep: &mut Sweep,
        mut budget: Budget,
        mut act: impl FnMut(&mut Self, Handle) -> bool,
    ) -> Swept {
        let mut swept = Swept::default();
        while !sweep.is_done && budget.moves > 0 && budget.visits > 0 {
            let mut page = self.list(&sweep.filter, Direction::OldestFirst, sweep.cursor, budget.visits);
            let found = page.next();
            budget.visits = page.visits_left();
            sweep.cursor = page.cursor();
            let is_mine = found.is_none_or(|(_, entry)| entry.seq < sweep.end_seq);
            sweep.is_done = sweep.cursor.is_none_or(|next| next.seq() >= sweep.end_seq) || !is_mine;
            if sweep.is_done {
                sweep.cursor = None;
            }
            if let Some((handle, _)) = found
                && is_mine
            {
                budget.moves -= 1;
                if act(self, handle) { swept.moved += 1 } else { swept.refused += 1 }
            }
        }
        swept
    }
}
