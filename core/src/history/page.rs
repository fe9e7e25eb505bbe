//! Queries: by kind, symbol and time, in pages.

use super::History;
use super::links::{By, Chain};
use crate::event::{EventRef, Kind, Slot};
use crate::limits::SPAN_SLOTS_MAX;
use crate::units::{SymbolId, UnixNanos};

/// Which end comes first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Order {
    /// The last recorded first.
    NewestFirst,
    /// The first recorded first.
    OldestFirst,
}

/// What to look for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Query {
    /// Only this kind.
    pub kind: Option<Kind>,
    /// Only this symbol.
    pub symbol: Option<SymbolId>,
    /// Recorded at this shard time or later.
    pub from: UnixNanos,
    /// Recorded before this shard time.
    pub until: UnixNanos,
    /// Which end comes first.
    pub order: Order,
}

impl Query {
    /// Everything, the newest first.
    pub const ALL: Self =
        Self { kind: None, symbol: None, from: UnixNanos(0), until: UnixNanos(u64::MAX), order: Order::NewestFirst };
}

/// Where the next page begins. Good for the query that it came from, also after a restart; what is forgotten in between is left out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cursor {
    position: u64,
    walk: Walk,
}

/// Bounds of one page.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PageLimits {
    /// Most events to return.
    pub events: usize,
    /// Most events to look at, so that a page is bounded work even where little of what it looks at matches.
    pub looks: usize,
}

/// How a page ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Page {
    /// Events returned.
    pub events: usize,
    /// Events looked at.
    pub looks: usize,
    /// Where the next page begins; `None` at the end.
    pub next: Option<Cursor>,
    /// Whether events that this page would have begun with were forgotten since the last one.
    pub lost: bool,
}

/// A cursor that belongs to no event of the query.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the cursor does not belong to this query of this history")]
pub struct BadCursor;

/// What a query goes along.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Walk {
    Ring,
    Kind(u32),
    Symbol(u32),
}

impl History {
    /// Calls `visit` with the shard time and the event for each match of the next page of `query`.
    ///
    /// O(looks). Without a limit, a query looks at as many events as the shortest of these holds: the kind's chain, the
    /// symbol's chain, the slots of the time range. Starting takes O(log capacity) where it goes along the time range.
    ///
    /// # Errors
    /// [`BadCursor`] when `cursor` came from another query or another history.
    pub fn page(
        &self,
        query: &Query,
        cursor: Option<Cursor>,
        limits: PageLimits,
        mut visit: impl FnMut(UnixNanos, EventRef<'_>),
    ) -> Result<Page, BadCursor> {
        let mut page = Page { events: 0, looks: 0, next: None, lost: false };
        let from = query.from.0.max(self.oldest_time_ns());
        let (walk, mut at) = match cursor {
            None => {
                let walk = self.plan(query, from);
                (walk, self.begin(query, walk, from))
            }
            Some(cursor) => {
                self.check_cursor(query, cursor)?;
                page.lost = cursor.position < self.oldest;
                (cursor.walk, self.resume(query, cursor))
            }
        };
        let mut gather = [Slot::ZERO; SPAN_SLOTS_MAX];
        while let Some(position) = at {
            let time = self.nodes[self.index(position)].time;
            let (too_new, too_old) = (time >= query.until.0, time < from);
            if match query.order {
                Order::NewestFirst => too_old,
                Order::OldestFirst => too_new,
            } {
                break;
            }
            if page.looks == limits.looks || page.events == limits.events {
                page.next = Some(Cursor { position, walk });
                break;
            }
            page.looks += 1;
            let head = &self.slots[self.index(position)];
            let matches = query.kind.is_none_or(|kind| kind == head.kind())
                && query.symbol.is_none_or(|symbol| symbol == head.symbol);
            if matches && !too_new && !too_old {
                visit(UnixNanos(time), self.event_at(position, &mut gather));
                page.events += 1;
            }
            at = self.step(query.order, walk, position);
        }
        Ok(page)
    }

    /// The shortest way: slots stand for events where they are counted, which is never fewer.
    fn plan(&self, query: &Query, from: u64) -> Walk {
        let mut shortest = (Walk::Ring, (self.first_at(query.until.0).saturating_sub(self.first_at(from))) as usize);
        let chains = [
            query.symbol.map(|symbol| Walk::Symbol(symbol.0)),
            // A kind that nobody knows was never recorded, and has no chain.
            query.kind.map(|kind| Walk::Kind(if kind.is_known() { kind.row() as u32 } else { u32::MAX })),
        ];
        for walk in chains.into_iter().flatten() {
            let len = self.chain(walk).map_or(0, |chain| chain.ends.len());
            if len <= shortest.1 {
                shortest = (walk, len);
            }
        }
        shortest.0
    }

    fn begin(&self, query: &Query, walk: Walk, from: u64) -> Option<u64> {
        match (walk, query.order) {
            (Walk::Ring, Order::NewestFirst) => self.head_before(self.first_at(query.until.0)),
            (Walk::Ring, Order::OldestFirst) => Some(self.first_at(from)).filter(|position| *position < self.next),
            (_, Order::NewestFirst) => Some(self.position(self.chain(walk)?.ends.last()? as usize)),
            (_, Order::OldestFirst) => Some(self.position(self.chain(walk)?.ends.first()? as usize)),
        }
    }

    /// What was forgotten is older than all that is kept.
    fn resume(&self, query: &Query, cursor: Cursor) -> Option<u64> {
        if cursor.position >= self.oldest {
            return Some(cursor.position);
        }
        match query.order {
            Order::NewestFirst => None,
            Order::OldestFirst => self.begin(query, cursor.walk, 0),
        }
    }

    fn step(&self, order: Order, walk: Walk, position: u64) -> Option<u64> {
        let index = self.index(position) as u32;
        match (walk, order) {
            (Walk::Ring, Order::NewestFirst) => self.head_before(position),
            (Walk::Ring, Order::OldestFirst) => {
                let after = position + self.slots[index as usize].span() as u64;
                Some(after).filter(|after| *after < self.next)
            }
            (_, Order::NewestFirst) => Some(self.position(self.chain(walk)?.prev(index)? as usize)),
            (_, Order::OldestFirst) => Some(self.position(self.chain(walk)?.next(index)? as usize)),
        }
    }

    /// The chain that a walk goes along; `None` where there is none.
    fn chain(&self, walk: Walk) -> Option<Chain<'_>> {
        let (by, ends) = match walk {
            Walk::Ring => return None,
            Walk::Kind(row) => (By::Kind, self.kinds.get(row as usize)?),
            Walk::Symbol(symbol) => (By::Symbol, self.symbols.get(symbol as usize)?),
        };
        Some(Chain { by, ends, nodes: &self.nodes })
    }

    fn check_cursor(&self, query: &Query, cursor: Cursor) -> Result<(), BadCursor> {
        let of_the_query = match cursor.walk {
            Walk::Ring => true,
            Walk::Kind(row) => query.kind.is_some_and(|kind| kind.is_known() && kind.row() as u32 == row),
            Walk::Symbol(id) => query.symbol.is_some_and(|symbol| symbol.0 == id),
        };
        if !of_the_query || cursor.position >= self.next {
            return Err(BadCursor);
        }
        if cursor.position < self.oldest {
            return Ok(());
        }
        let head = &self.slots[self.index(cursor.position)];
        let on_the_way = match cursor.walk {
            Walk::Ring => true,
            Walk::Kind(row) => head.kind().row() as u32 == row,
            Walk::Symbol(id) => head.symbol.0 == id,
        };
        if self.is_head(cursor.position) && on_the_way { Ok(()) } else { Err(BadCursor) }
    }

    /// Position of the first event that was recorded at `time` or later; `next` where there is none. O(log capacity).
    fn first_at(&self, time: u64) -> u64 {
        let (mut low, mut high) = (self.oldest, self.next);
        while low < high {
            let middle = low + (high - low) / 2;
            // All slots of an event have its time, so that the border is never inside of one.
            if self.nodes[self.index(middle)].time < time {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }

    fn head_before(&self, position: u64) -> Option<u64> {
        let mut at = position;
        while at > self.oldest {
            at -= 1;
            if self.is_head(at) {
                return Some(at);
            }
        }
        None
    }
}
