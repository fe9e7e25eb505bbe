//! Listing: by kind, symbol, error and time, in pages that go on where the last one ended.

use super::entry::{Cause, Entry, State};
use super::index::By;
use super::{DeadLetters, Handle};
use crate::event::Kind;
use crate::units::{SymbolId, UnixNanos};

/// Which entries. What is `None` does not matter; the default is all of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Filter {
    /// Kind of the event.
    pub kind: Option<Kind>,
    /// Symbol of the event.
    pub symbol: Option<SymbolId>,
    /// Code of the last failure.
    pub error: Option<u16>,
    /// Handler that failed.
    pub handler: Option<u16>,
    /// What the entry waits for.
    pub state: Option<State>,
    /// Why it is parked.
    pub cause: Option<Cause>,
    /// Earliest last failure.
    pub from: UnixNanos,
    /// Last failures are before this; [`UnixNanos::UNKNOWN`] = no bound, also for the last instant itself.
    pub until: UnixNanos,
}

impl Filter {
    /// Every entry.
    pub const ALL: Self = Self {
        kind: None,
        symbol: None,
        error: None,
        handler: None,
        state: None,
        cause: None,
        from: UnixNanos::ZERO,
        until: UnixNanos::UNKNOWN,
    };

    /// Every parked entry.
    pub const PARKED: Self = Self { state: Some(State::Parked), ..Self::ALL };

    /// Whether `entry` is one of them.
    #[must_use]
    pub fn matches(&self, entry: &Entry) -> bool {
        self.kind.is_none_or(|kind| kind == entry.kind())
            && self.symbol.is_none_or(|symbol| symbol == entry.symbol())
            && self.error.is_none_or(|error| Some(error) == entry.error())
            && self.handler.is_none_or(|handler| handler == entry.handler())
            && self.state.is_none_or(|state| state == entry.state())
            && self.cause.is_none_or(|cause| Some(cause) == entry.cause())
            && !self.is_before(entry)
            && !self.is_after(entry)
    }

    fn is_before(&self, entry: &Entry) -> bool {
        entry.last_failure() < self.from
    }

    fn is_after(&self, entry: &Entry) -> bool {
        self.until != UnixNanos::UNKNOWN && entry.last_failure() >= self.until
    }
}

impl Default for Filter {
    fn default() -> Self {
        Self::ALL
    }
}

/// Direction of a listing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Direction {
    /// By the last failure, earliest first.
    OldestFirst,
    /// By the last failure, latest first.
    NewestFirst,
}

/// Where a listing goes on: a place in the order of last failures. Plain numbers: it survives whatever happens to the entries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cursor {
    /// The next entry has this place or a later one (an earlier one, newest first).
    seq: u64,
    /// The entry that had that place; found at once if it still has it.
    at: Handle,
}

impl Cursor {
    pub(super) const fn seq(self) -> u64 {
        self.seq
    }

    /// As two numbers, for a query from outside.
    #[must_use]
    pub const fn to_bits(self) -> (u64, u64) {
        (self.seq, self.at.to_bits())
    }

    /// The cursor of [`Cursor::to_bits`]. Any numbers give a cursor; they can only name a place.
    #[must_use]
    pub const fn from_bits((seq, at): (u64, u64)) -> Self {
        Self { seq, at: Handle::from_bits(at) }
    }
}

/// A listing: an iterator over the entries of a [`Filter`]. See [`DeadLetters::list`].
#[derive(Debug)]
pub struct Page<'a> {
    letters: &'a DeadLetters,
    filter: Filter,
    direction: Direction,
    by: By,
    next: Option<u32>,
    /// Entries that may still be looked at.
    visits: usize,
}

impl DeadLetters {
    /// The entries of `filter`, from the beginning or from where a page before ended. At most `visits` entries are looked at, whether
    /// they match or not, so that a query does not stop a shard; [`Page::cursor`] says where to go on.
    ///
    /// The shortest chain that holds all of them is walked: all, by kind, by symbol or by error. Finding the first one costs O(1)
    /// from the beginning and from a cursor whose entry is where it was; else a walk from the nearer end of the chain, which is
    /// not counted in `visits`.
    ///
    /// An entry that does not fail in the meantime is listed once over all pages, whatever is added or removed. One that fails
    /// again has a new place as the newest.
    #[must_use]
    pub fn list(&self, filter: &Filter, direction: Direction, from: Option<Cursor>, visits: usize) -> Page<'_> {
        let by = self.narrowest(filter);
        let next = self.begin(filter, direction, from, by);
        Page { letters: self, filter: *filter, direction, by, next, visits }
    }

    /// Number of entries of `filter`: the dry run of a sweep. O(length of the chain that is walked).
    #[must_use]
    pub fn count(&self, filter: &Filter) -> usize {
        self.list(filter, Direction::OldestFirst, None, usize::MAX).count()
    }

    fn narrowest(&self, filter: &Filter) -> By {
        let kind = filter.kind.map(|kind| By::Kind(kind.row() as u32));
        let symbol = filter.symbol.map(|symbol| By::Symbol(symbol.0));
        let error = filter.error.map(|error| By::Error(self.index.error_row(error)));
        let chains = [Some(By::All), kind, symbol, error].into_iter().flatten();
        chains.min_by_key(|by| self.index.len(*by)).unwrap_or(By::All)
    }

    fn begin(&self, filter: &Filter, direction: Direction, from: Option<Cursor>, by: By) -> Option<u32> {
        if let Some(cursor) = from
            && let Some(entry) = self.entries.get(cursor.at)
            && entry.seq == cursor.seq
            && self.index.holds(by, entry)
            && match direction {
                Direction::OldestFirst => !filter.is_before(entry),
                Direction::NewestFirst => !filter.is_after(entry),
            }
        {
            return Some(cursor.at.index());
        }
        match direction {
            Direction::OldestFirst => {
                let seq = from.map_or(0, |cursor| cursor.seq);
                self.first_in(by, |entry| entry.seq < seq || filter.is_before(entry))
            }
            Direction::NewestFirst => {
                let seq = from.map_or(u64::MAX, |cursor| cursor.seq);
                let (chains, chain) = self.index.chain(by);
                match self.first_in(by, |entry| entry.seq <= seq && !filter.is_after(entry)) {
                    Some(after) => chains.prev(after),
                    None => chains.last(chain),
                }
            }
        }
    }

    /// The first entry of a chain that is not before a place: `is_before` holds up to there and no further. Walks from both ends.
    fn first_in(&self, by: By, is_before: impl Fn(&Entry) -> bool) -> Option<u32> {
        let (chains, chain) = self.index.chain(by);
        let mut front = chains.first(chain)?;
        let mut back = chains.last(chain)?;
        let mut found = None;
        loop {
            if !is_before(self.entries.at(front)) {
                return Some(front);
            }
            if is_before(self.entries.at(back)) {
                return found;
            }
            found = Some(back);
            // The first is before and the last is not, so that they differ and there is a next and a previous one.
            front = chains.next(front)?;
            back = chains.prev(back)?;
        }
    }
}

impl Page<'_> {
    pub(super) const fn visits_left(&self) -> usize {
        self.visits
    }

    /// Where the next page begins. `None` when there is none: all was listed. (Oldest first, what fails later is not in it; begin
    /// a listing with [`Filter::from`] to follow.)
    #[must_use]
    pub fn cursor(&self) -> Option<Cursor> {
        let at = self.next?;
        Some(Cursor { seq: self.letters.entries.at(at).seq, at: self.letters.entries.handle_at(at) })
    }
}

impl<'a> Iterator for Page<'a> {
    type Item = (Handle, &'a Entry);

    fn next(&mut self) -> Option<Self::Item> {
        let entries = &self.letters.entries;
        while let Some(index) = self.next
            && self.visits > 0
        {
            let entry = entries.at(index);
            let (chains, _) = self.letters.index.chain(self.by);
            let (is_over, next) = match self.direction {
                Direction::OldestFirst => (self.filter.is_after(entry), chains.next(index)),
                Direction::NewestFirst => (self.filter.is_before(entry), chains.prev(index)),
            };
            if is_over {
                self.next = None;
                break;
            }
            self.visits -= 1;
            self.next = next;
            if self.filter.matches(entry) {
                return Some((entries.handle_at(index), entry));
            }
        }
        None
    }
}
