//! Dead letters: events that a handler failed on, until a retry succeeds or a person decides.
//!
//! ```text
//!                 fail                        the caller's timer, then the handler again
//!   event --------------------> waiting <------------------------------+
//!     |                         |  |  ^                                |
//!     | hold (symbol is held)   |  |  +--- fail_again: next attempt ---+
//!     v                         |  |
//!    held ---- its turn --------+  +----- success ----> gone: nothing is left
//!     |  (ready, then as waiting)  |
//!     |                            +----- last attempt, Fail, panic, hold_full ----> parked
//!     +---- success --> gone                                                        |  |
//!                                 waiting or held <-- redrive ----------------------+  +-- remove, purge --> gone
//! ```
//!
//! Promises:
//! - **Nothing is lost.** An event is here as it came, until its handler is done with it or someone removes it. Full is a value
//!   ([`Refused`]), counted by reason; nothing is evicted.
//! - **Order.** Under [`Order::Held`] the later events of the symbol wait for that handler, and are handed out in the order in
//!   which they came ([`DeadLetters::ready`]). Beyond `held_per_symbol` the first is parked ([`Cause::HoldFull`]) and the others go on.
//!   Where the first is ready to run already, the newcomer waits beyond that number: it is the next to go down.
//! - **Nobody else waits.** A delay is a deadline of one entry; other symbols, other handlers and, under [`Order::Released`], other
//!   events of the symbol go on.
//! - **One event, one copy.** Several handlers may fail on one event: they share its slots, and its [`Fate`] is one, so that a ledger
//!   counts it once. Each call that changes it says from what to what ([`Change`]).
//! - **History.** First and last failure, all failures, attempts since the last redrive, error code. A redriven entry keeps them, and
//!   its policy.
//! - **No allocation** after construction.
//!
//! What it does not do: it keeps no timer. Deadlines are returned, and the handle of the caller's timer is kept
//! ([`DeadLetters::set_timer`]): a shard fires all of its timers in one order, from one wheel, and a second wheel in here would
//! have an order of its own. It calls no handler, and it knows no policy but the table that it is given.
//!
//! Times are clamped: a `now` before an earlier one is taken as that one.
//!
//! # Complexity
//! All operations are O(1) (hash lookups expected) and O(slots) where an event is copied in or out, listings as
//! [`DeadLetters::list`] says. An entry takes 64 bytes and 8 of its place, 64 of links and its event's record, and 68 for each slot
//! of its event.
//!
//! ```
//! use tapeline_core::dead::{Config, DeadLetters, Failure, Outcome, Site, Subject};
//! use tapeline_core::event::{EventBuf, EventRef, payload::News};
//! use tapeline_core::retry::{Backoff, Jitter, Names, Order, Policy, RetryConfig};
//! use tapeline_core::units::UnixNanos;
//!
//! let twice = Policy::new(RetryConfig {
//!     attempts_max: 2,
//!     backoff: Backoff::Fixed { delay_ns: 500 },
//!     jitter: Jitter::None,
//!     order: Order::Held,
//! })?;
//! let mut letters = DeadLetters::new(&Config { symbols: 8, ..Config::default() }, &[twice]);
//! let mut news = EventBuf::new(&News::default());
//! news.push_bytes(b"a text of some slots").unwrap();
//! let event = Subject::New(EventRef::first(news.slots()).unwrap());
//!
//! let (site, names) = (Site { handler: 3, policy: 0 }, Names::default());
//! let failed = letters.fail(event, site, Failure::Retry(7), names, UnixNanos(1_000)).unwrap();
//! assert_eq!(failed.outcome, Outcome::RetryAt(UnixNanos(1_500)));
//! // The next event of the symbol waits for that handler.
//! assert!(letters.is_holding(3, news.slots()[0].symbol));
//! let held = letters.hold(event, site, UnixNanos(1_200)).unwrap();
//! assert_eq!(letters.ready(), None, "not before the first is done");
//! letters.success(failed.handle).unwrap();
//! assert_eq!(letters.ready(), Some(held.handle));
//! # Ok::<(), tapeline_core::retry::RetryError>(())
//! ```

mod check;
mod entry;
mod hold;
mod index;
mod query;
mod snapshot;
mod sweep;

pub use crate::slab::Handle;
pub use entry::{Cause, ERROR_PANIC, Entry, State};
pub use query::{Cursor, Direction, Filter, Page};
pub use sweep::{Budget, Sweep, Swept};

use crate::arena::Arena;
use crate::event::{EventRef, Flags, Kind, Slot};
use crate::limits::{
    DEAD_LETTER_SLOTS_DEFAULT, DEAD_LETTERS_DEFAULT, ERROR_CODES_DEFAULT, HELD_PER_SYMBOL_DEFAULT, HOLDS_DEFAULT,
    KIND_ROWS, RETRY_POLICIES_MAX, SPAN_SLOTS_MAX, SYMBOLS_DEFAULT,
};
use crate::retry::{Names, Order, Policy};
use crate::slab::{Slab, seed_of};
use crate::units::{SymbolId, UnixNanos};
use crate::wheel::TimerHandle;
use bytemuck::{Pod, Zeroable};
use entry::NO_CAUSE;
use hold::{Holds, Key};
use index::Index;

/// Capacities and limits of [`DeadLetters`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Config {
    /// Entries: waiting, held and parked together.
    pub entries: usize,
    /// Slots of their events.
    pub slots: usize,
    /// Pairs of handler and symbol that may be held at one time.
    pub holds: usize,
    /// Events that may wait behind the first of a pair.
    pub held_per_symbol: usize,
    /// Symbols, id 0 included.
    pub symbols: usize,
    /// Registered error codes: those below have rows of their own, all others share one. At most 65,536.
    pub errors: usize,
    /// Seed of jitter and of the table of holds.
    pub seed: u64,
    /// Which of several dead letter slabs of one engine this is: handles and cursors of one are refused by another that has another number.
    /// Not part of a snapshot's settings: a restored slab takes the handles of the one that was written.
    pub instance: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            entries: DEAD_LETTERS_DEFAULT,
            slots: DEAD_LETTER_SLOTS_DEFAULT,
            holds: HOLDS_DEFAULT,
            held_per_symbol: HELD_PER_SYMBOL_DEFAULT,
            symbols: SYMBOLS_DEFAULT,
            errors: ERROR_CODES_DEFAULT,
            seed: 0,
            instance: 0,
        }
    }
}

/// The event that a call is about.
#[derive(Clone, Copy, Debug)]
pub enum Subject<'a> {
    /// One that is not here yet.
    New(EventRef<'a>),
    /// One that is here for another handler: [`Failed::event`] and [`Held::event`] name it.
    Stored(Handle),
}

/// Who failed, and what was agreed on for that.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Site {
    /// The handler, as the bus numbers it.
    pub handler: u16,
    /// Number of the retry policy, below the number of policies.
    pub policy: u8,
}

/// How a handler failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Failure {
    /// It asks to be called again, with a code of its own.
    Retry(u16),
    /// It gave up, with a code of its own.
    Fail(u16),
    /// It panicked: parked at once, with [`ERROR_PANIC`].
    Panic,
}

impl Failure {
    const fn code(self) -> u16 {
        match self {
            Self::Retry(code) | Self::Fail(code) => code,
            Self::Panic => ERROR_PANIC,
        }
    }
}

/// What became of a failure.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// Call the handler again at this time: set a timer, and tell it to [`DeadLetters::set_timer`].
    RetryAt(UnixNanos),
    /// No further attempt.
    Parked(Cause),
}

/// An entry after a failure.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Failed {
    /// The entry.
    pub handle: Handle,
    /// Its event, for other handlers that fail on it.
    pub event: Handle,
    /// Retry or parked.
    pub outcome: Outcome,
    /// What that means for the event.
    pub change: Change,
}

/// An entry that waits behind others of its symbol.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Held {
    /// The entry.
    pub handle: Handle,
    /// Its event.
    pub event: Handle,
    /// What that means for the event.
    pub change: Change,
    /// The first of its symbol, which made room: cancel its timer.
    pub parked: Option<Parked>,
}

/// An entry that was parked without a failure.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Parked {
    /// The entry.
    pub handle: Handle,
    /// The timer that it had.
    pub timer: TimerHandle,
    /// What that means for the event.
    pub change: Change,
}

/// An entry on its way again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Redriven {
    /// The entry.
    pub handle: Handle,
    /// When to call its handler. `None`: it waits behind others of its symbol.
    pub due: Option<UnixNanos>,
    /// What that means for the event.
    pub change: Change,
}

/// An entry that was taken out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Removed {
    /// As it was.
    pub entry: Entry,
    /// What that means for the event.
    pub change: Change,
}

/// Where an event stands, over all handlers that failed on it or wait for it.
#[repr(u8)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fate {
    /// No entry has it: not here yet, or every handler is done with it.
    Clear = 0,
    /// A handler has still to be called: for a ledger, in flight.
    InFlight = 1,
    /// A handler gave up, and it is still parked: dead-lettered.
    DeadLettered = 2,
    /// A handler gave up, and its entry was removed. No handler will be called.
    Removed = 3,
}

/// How the fate of one event changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Change {
    /// Kind of the event: the row of the ledger.
    pub kind: Kind,
    /// Flags of the event: derived ones have a ledger of their own.
    pub flags: Flags,
    /// Before the call.
    pub from: Fate,
    /// After it.
    pub to: Fate,
}

/// Why a call did nothing. Counted by reason.
#[repr(usize)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Refused {
    /// Every entry is in use.
    #[error("the dead letters are full: no entry is free")]
    EntriesFull = 0,
    /// Too few slots are left for the event.
    #[error("the dead letters are full: no room for the event's slots")]
    SlotsFull = 1,
    /// No further pair of handler and symbol can be held.
    #[error("no further symbol can be held for a handler")]
    HoldsFull = 2,
    /// As many events are held for the pair as may be: a redriven one finds no room behind them.
    #[error("as many events of the symbol are held as may be")]
    HoldBusy = 3,
    /// The handle is stale, or was used before.
    #[error("the handle names nothing")]
    Stale = 4,
    /// The pair is held: its events wait their turn ([`DeadLetters::hold`]), and none may fail before.
    #[error("the symbol is held for the handler: its events wait")]
    IsHeld = 5,
    /// The pair is not held: its events go on.
    #[error("the symbol is not held for the handler")]
    NotHeld = 6,
    /// The entry is parked, or held behind others: its handler was not to be called.
    #[error("the entry is not to be run")]
    NotRunnable = 7,
    /// The entry is not parked.
    #[error("the entry is not parked")]
    NotParked = 8,
    /// No symbol of that id.
    #[error("there is no such symbol")]
    UnknownSymbol = 9,
    /// No policy of that number.
    #[error("there is no such retry policy")]
    UnknownPolicy = 10,
    /// The event breaks its schema, which is what it was when it was parked.
    #[error("the event breaks its schema: redrive it from a file, with a build whose schemas take it")]
    Invalid = 11,
}

impl Refused {
    /// Every reason, by number.
    pub const ALL: [Self; 12] = [
        Self::EntriesFull,
        Self::SlotsFull,
        Self::HoldsFull,
        Self::HoldBusy,
        Self::Stale,
        Self::IsHeld,
        Self::NotHeld,
        Self::NotRunnable,
        Self::NotParked,
        Self::UnknownSymbol,
        Self::UnknownPolicy,
        Self::Invalid,
    ];

    /// Name in JSON and tables.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::EntriesFull => "entries_full",
            Self::SlotsFull => "slots_full",
            Self::HoldsFull => "holds_full",
            Self::HoldBusy => "hold_busy",
            Self::Stale => "stale",
            Self::IsHeld => "is_held",
            Self::NotHeld => "not_held",
            Self::NotRunnable => "not_runnable",
            Self::NotParked => "not_parked",
            Self::UnknownSymbol => "unknown_symbol",
            Self::UnknownPolicy => "unknown_policy",
            Self::Invalid => "invalid",
        }
    }
}

/// Counts since the start.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Pod, Zeroable)]
#[repr(C)]
pub struct Stats {
    /// Failures of handlers, refused entries included.
    pub failures: u64,
    /// Retries that were given a time.
    pub retries: u64,
    /// Events held behind others.
    pub held: u64,
    /// Entries whose handler was done in the end.
    pub succeeded: u64,
    /// Entries redriven, or released to be.
    pub redriven: u64,
    /// Entries removed, in any state.
    pub removed: u64,
    /// Retries put off by the caller.
    pub postponed: u64,
    /// Entries parked, by [`Cause`].
    pub parked_by: [u64; Cause::ALL.len()],
    /// Calls refused, by [`Refused`].
    pub refused_by: [u64; Refused::ALL.len()],
}

/// An event, once for all entries that have it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Pod, Zeroable)]
#[repr(C)]
struct Record {
    /// First of its slots.
    first: u32,
    /// Entries that wait or are held.
    in_flight: u32,
    /// Entries that are parked.
    parked: u32,
    slots: u16,
    /// 1 when an entry of it was removed.
    removed: u16,
}

impl Record {
    const fn fate(&self) -> Fate {
        match (self.in_flight, self.parked, self.removed) {
            (0, 0, 0) => Fate::Clear,
            (0, 0, _) => Fate::Removed,
            (0, _, _) => Fate::DeadLettered,
            _ => Fate::InFlight,
        }
    }

    const fn entries(&mut self, state: State) -> &mut u32 {
        match state {
            State::Waiting | State::Held => &mut self.in_flight,
            State::Parked => &mut self.parked,
        }
    }
}

/// See the [module](self).
#[derive(Debug)]
pub struct DeadLetters {
    config: Config,
    policies: Box<[Policy]>,
    entries: Slab<Entry>,
    events: Slab<Record>,
    arena: Arena,
    index: Index,
    holds: Holds,
    /// Failures by kind and registered code.
    failures: Box<[u64]>,
    /// Entries by state.
    by_state: [u32; 3],
    /// Events by fate; those of fates that keep no entry are not counted.
    by_fate: [u32; 4],
    next_seq: u64,
    now: UnixNanos,
    stats: Stats,
}

impl DeadLetters {
    /// Room for `config`, and the table of retry policies that sites name. O(capacities).
    ///
    /// # Panics
    /// When a capacity is above 2^30, there are more than 65,536 registered error codes, or no policy or more than
    /// [`RETRY_POLICIES_MAX`].
    #[must_use]
    pub fn new(config: &Config, policies: &[Policy]) -> Self {
        assert!(
            !policies.is_empty() && policies.len() <= RETRY_POLICIES_MAX,
            "1 to {RETRY_POLICIES_MAX} retry policies, not {}",
            policies.len()
        );
        assert!(config.errors <= 1 << 16, "at most 65536 registered error codes, not {}", config.errors);
        Self {
            config: *config,
            policies: policies.into(),
            entries: Slab::new(config.entries, seed_of("dead letters", config.instance)),
            events: Slab::new(config.entries, seed_of("events of dead letters", config.instance)),
            arena: Arena::new(config.slots),
            index: Index::new(config.symbols, config.errors, config.entries),
            holds: Holds::new(config.holds, config.entries, config.seed),
            failures: vec![0; KIND_ROWS * (config.errors + 1)].into_boxed_slice(),
            by_state: [0; 3],
            by_fate: [0; 4],
            next_seq: 1,
            now: UnixNanos::ZERO,
            stats: Stats::default(),
        }
    }

    /// Capacities and limits.
    #[must_use]
    pub const fn config(&self) -> &Config {
        &self.config
    }

    /// Entries in all.
    #[inline]
    #[must_use]
    pub const fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is no entry.
    #[inline]
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Entries that wait for a retry.
    #[must_use]
    pub const fn waiting(&self) -> usize {
        self.by_state[State::Waiting as usize] as usize
    }

    /// Entries that are held behind others, or ready to run after them.
    #[must_use]
    pub const fn held(&self) -> usize {
        self.by_state[State::Held as usize] as usize
    }

    /// Entries whose handler gave up.
    #[must_use]
    pub const fn parked(&self) -> usize {
        self.by_state[State::Parked as usize] as usize
    }

    /// Events of which an entry is waiting or held: what a ledger calls in flight.
    #[must_use]
    pub const fn events_in_flight(&self) -> usize {
        self.by_fate[Fate::InFlight as usize] as usize
    }

    /// Events that are parked and not in flight: what a ledger calls dead-lettered.
    #[must_use]
    pub const fn events_dead_lettered(&self) -> usize {
        self.by_fate[Fate::DeadLettered as usize] as usize
    }

    /// Slots of events in use.
    #[must_use]
    pub const fn slots_used(&self) -> usize {
        self.arena.used()
    }

    /// Pairs of handler and symbol that are held.
    #[must_use]
    pub const fn holds(&self) -> usize {
        self.holds.len()
    }

    /// Counts since the start.
    #[must_use]
    pub const fn stats(&self) -> &Stats {
        &self.stats
    }

    /// Failures since the start, by kind of the event and code. Kinds that this build does not know share a row, and so do codes
    /// that are not registered: the table never grows.
    #[must_use]
    pub fn failures_of(&self, kind: Kind, error: u16) -> u64 {
        self.failures[self.failure_row(kind, error)]
    }

    /// Bytes on the heap.
    #[must_use]
    pub fn bytes(&self) -> usize {
        size_of_val(&*self.policies)
            + self.entries.bytes()
            + self.events.bytes()
            + self.arena.bytes()
            + self.index.bytes()
            + self.holds.bytes()
            + size_of_val(&*self.failures)
    }

    /// The entry, unless the handle is stale.
    #[inline]
    #[must_use]
    pub fn get(&self, handle: Handle) -> Option<&Entry> {
        self.entries.get(handle)
    }

    /// The event of an entry, for [`Subject::Stored`].
    #[must_use]
    pub fn event_of(&self, handle: Handle) -> Option<Handle> {
        Some(self.events.handle_at(self.entries.get(handle)?.event))
    }

    /// The event of an entry as it came (ring positions are 0), copied to `to`. O(slots).
    #[must_use]
    pub fn event<'a>(&self, handle: Handle, to: &'a mut [Slot; SPAN_SLOTS_MAX]) -> Option<EventRef<'a>> {
        let record = self.events.at(self.entries.get(handle)?.event);
        let slots = self.arena.load(record.first, usize::from(record.slots), to);
        if let [slot] = slots { Some(EventRef::single(slot)) } else { EventRef::first(slots) }
    }

    /// First slot of an entry's event. O(1).
    #[must_use]
    pub fn head(&self, handle: Handle) -> Option<&Slot> {
        Some(self.arena.head(self.events.at(self.entries.get(handle)?.event).first))
    }

    /// Where the event of an entry stands.
    #[must_use]
    pub fn fate(&self, event: Handle) -> Fate {
        self.events.get(event).map_or(Fate::Clear, Record::fate)
    }

    /// All entries, in no useful order. O(capacity).
    pub fn iter(&self) -> impl Iterator<Item = (Handle, &Entry)> {
        self.entries.iter()
    }

    /// A handler failed on an event for the first time. `names` are those of the event's symbol and source.
    ///
    /// # Errors
    /// Nothing is kept then, and the failure is counted all the same: no room for the entry, the event or the hold;
    /// [`Refused::IsHeld`] when the event should have waited; a handle, symbol or policy that does not exist.
    pub fn fail(
        &mut self,
        subject: Subject<'_>,
        site: Site,
        failure: Failure,
        names: Names,
        now: UnixNanos,
    ) -> Result<Failed, Refused> {
        let now = self.advance(now);
        let head = *self.head_of(&subject)?;
        self.count_failure(head.kind(), failure);
        let key = Key::new(site.handler, head.symbol);
        self.check_site(&head, site)?;
        if self.holds.find(key).is_some() {
            return self.refuse(Refused::IsHeld);
        }
        let outcome = self.outcome(&head, site.policy, failure, 1, names, now);
        let holds = matches!(outcome, Outcome::RetryAt(_)) && self.order(site.policy) == Order::Held;
        self.check_room(&subject, holds)?;
        let mut entry = self.new_entry(&head, site, now);
        entry.failures = 1;
        entry.attempts = 1;
        entry.error = failure.code();
        match outcome {
            Outcome::RetryAt(due) => entry.wait_until(due),
            Outcome::Parked(cause) => entry.park(cause),
        }
        self.count_outcome(outcome);
        let (handle, event, change) = self.add(subject, entry);
        if holds {
            let hold = self.holds.add(key);
            self.join(hold, handle.index());
        }
        Ok(Failed { handle, event, outcome, change })
    }

    /// Whether the symbol's events wait for the handler: then [`DeadLetters::hold`] them instead of calling it. One comparison
    /// while nothing at all is held.
    #[inline]
    #[must_use]
    pub fn is_holding(&self, handler: u16, symbol: SymbolId) -> bool {
        self.holds.find(Key::new(handler, symbol)).is_some()
    }

    /// Whether `events` events of the symbol, or more, are held for the handler, the one that failed included. O(1).
    #[inline]
    #[must_use]
    pub fn holds_at_least(&self, handler: u16, symbol: SymbolId, events: usize) -> bool {
        self.holds.find(Key::new(handler, symbol)).is_some_and(|hold| self.holds.queues.len(hold) >= events)
    }

    /// An event comes while its symbol is held for the handler: it waits behind the others. When as many are held as may be, the
    /// first is parked ([`Held::parked`]) and the next is ready.
    ///
    /// When the first is ready already, it is not parked: it runs before anything new. One event may cause others that are held at the
    /// same instant; they wait beyond the limit, within that of all entries.
    ///
    /// # Errors
    /// Nothing is kept or parked then: no room for the entry or the event; [`Refused::NotHeld`]; a handle, symbol or policy that does
    /// not exist.
    pub fn hold(&mut self, subject: Subject<'_>, site: Site, now: UnixNanos) -> Result<Held, Refused> {
        let now = self.advance(now);
        let head = *self.head_of(&subject)?;
        self.check_site(&head, site)?;
        let key = Key::new(site.handler, head.symbol);
        let Some(hold) = self.holds.find(key) else {
            return self.refuse(Refused::NotHeld);
        };
        let first = self.holds.queues.first(hold).expect("a hold has an entry");
        let is_full = self.is_hold_full(hold) && self.entries.at(first).state() != State::Held;
        self.check_room(&subject, false)?;
        let mut entry = self.new_entry(&head, site, now);
        entry.set_state(State::Held);
        let parked = is_full.then(|| self.park_at(first, Cause::HoldFull));
        let (handle, event, change) = self.add(subject, entry);
        // The pair is held no more if the one that was parked was alone.
        let hold = self.holds.find(key).unwrap_or_else(|| self.holds.add(key));
        self.join(hold, handle.index());
        self.stats.held += 1;
        Ok(Held { handle, event, change, parked })
    }

    /// The next entry that was held and whose turn has come: call its handler, then say [`DeadLetters::success`] or
    /// [`DeadLetters::fail_again`]. It stays the next until then. Run all that are ready before anything new: `None` means that
    /// whoever is held waits for a timer. O(1).
    #[inline]
    #[must_use]
    pub fn ready(&self) -> Option<Handle> {
        Some(self.entries.handle_at(self.holds.first_ready()?))
    }

    /// Keeps the caller's timer for the retry of a waiting entry. `false` when it is stale or not waiting.
    pub fn set_timer(&mut self, handle: Handle, timer: TimerHandle) -> bool {
        self.entries
            .get_mut(handle)
            .filter(|entry| entry.state() == State::Waiting)
            .map(|entry| entry.timer = timer)
            .is_some()
    }

    /// Puts the retry of a waiting entry off to `due`, without an attempt: its share is used up. The timer is forgotten.
    /// `false` when it is stale or not waiting.
    pub fn postpone(&mut self, handle: Handle, due: UnixNanos) -> bool {
        let entry = self.entries.get_mut(handle).filter(|entry| entry.state() == State::Waiting);
        let is_waiting = entry.map(|entry| entry.wait_until(due)).is_some();
        self.stats.postponed += u64::from(is_waiting);
        is_waiting
    }

    /// The handler was called for a waiting or ready entry and failed again.
    ///
    /// # Errors
    /// [`Refused::Stale`] and [`Refused::NotRunnable`].
    pub fn fail_again(
        &mut self,
        handle: Handle,
        failure: Failure,
        names: Names,
        now: UnixNanos,
    ) -> Result<Failed, Refused> {
        let now = self.advance(now);
        let mut entry = self.runnable(handle)?;
        let record = *self.events.at(entry.event);
        let head = *self.arena.head(record.first);
        self.count_failure(head.kind(), failure);
        let index = handle.index();
        let before = entry;
        if entry.failures == 0 {
            entry.first_ns = now;
        }
        entry.failures = entry.failures.saturating_add(1);
        entry.attempts = entry.attempts.saturating_add(1);
        entry.error = failure.code();
        entry.last_ns = now;
        let outcome = self.outcome(&head, entry.policy, failure, entry.attempts, names, now);
        match outcome {
            Outcome::RetryAt(due) => entry.wait_until(due),
            Outcome::Parked(cause) => entry.park(cause),
        }
        self.count_outcome(outcome);
        // It becomes the newest in every list.
        entry.seq = self.take_seq();
        self.index.unlink(index, &before);
        self.index.link(index, &entry);
        *self.entries.at_mut(index) = entry;
        let stays = entry.state() == State::Waiting && self.order(entry.policy) == Order::Held;
        self.after_change(index, &before, stays);
        let change = self.recount(entry.event, Some(before.state()), Some(entry.state()));
        Ok(Failed { handle, event: self.events.handle_at(entry.event), outcome, change })
    }

    /// The handler was called for a waiting or ready entry and is done: nothing of it is left.
    ///
    /// # Errors
    /// [`Refused::Stale`] and [`Refused::NotRunnable`].
    pub fn success(&mut self, handle: Handle) -> Result<Removed, Refused> {
        self.runnable(handle)?;
        self.stats.succeeded += 1;
        Ok(self.take_out(handle, false))
    }

    /// Parks a waiting or held entry: there is no timer for it, its handler is quarantined, the shard stops.
    ///
    /// # Errors
    /// [`Refused::Stale`], and [`Refused::NotRunnable`] when it is parked already.
    pub fn park(&mut self, handle: Handle, cause: Cause) -> Result<Parked, Refused> {
        match self.entries.get(handle) {
            None => self.refuse(Refused::Stale),
            Some(entry) if entry.state() == State::Parked => self.refuse(Refused::NotRunnable),
            Some(_) => Ok(self.park_at(handle.index(), cause)),
        }
    }

    /// Sends a parked entry on its way again, at `now`, with its policy from the first attempt on and its history of failures. Under
    /// [`Order::Held`] it is as if it came now: it waits behind those of its symbol that are held, or they will wait for it.
    ///
    /// # Errors
    /// [`Refused::Stale`], [`Refused::NotParked`], and no room to hold: [`Refused::HoldsFull`], [`Refused::HoldBusy`]. It
    /// stays parked.
    pub fn redrive(&mut self, handle: Handle, now: UnixNanos) -> Result<Redriven, Refused> {
        let now = self.advance(now);
        let Some(&before) = self.entries.get(handle) else {
            return self.refuse(Refused::Stale);
        };
        if before.state() != State::Parked {
            return self.refuse(Refused::NotParked);
        }
        let mut entry = before;
        entry.attempts = 0;
        entry.redrives = entry.redrives.saturating_add(1);
        entry.wait_until(now);
        let key = Key::new(entry.handler, entry.symbol);
        let mut hold = None;
        if self.order(entry.policy) == Order::Held {
            hold = self.holds.find(key);
            match hold {
                Some(hold) if self.is_hold_full(hold) => return self.refuse(Refused::HoldBusy),
                Some(_) => entry.set_state(State::Held),
                None if self.holds.is_full() => return self.refuse(Refused::HoldsFull),
                None => hold = Some(self.holds.add(key)),
            }
        }
        self.stats.redriven += 1;
        *self.entries.at_mut(handle.index()) = entry;
        if let Some(hold) = hold {
            self.join(hold, handle.index());
        }
        self.count_state(State::Parked, entry.state());
        let change = self.recount(entry.event, Some(State::Parked), Some(entry.state()));
        Ok(Redriven { handle, due: entry.due(), change })
    }

    /// Lets a parked entry go whose event takes its way anew elsewhere, so that it has neither to wait here nor to hold others: it counts as
    /// redriven, and nothing of it is left.
    ///
    /// # Errors
    /// [`Refused::Stale`] and [`Refused::NotParked`].
    pub fn release(&mut self, handle: Handle) -> Result<Removed, Refused> {
        match self.entries.get(handle) {
            None => self.refuse(Refused::Stale),
            Some(entry) if entry.state() != State::Parked => self.refuse(Refused::NotParked),
            Some(_) => {
                self.stats.redriven += 1;
                Ok(self.take_out(handle, false))
            }
        }
    }

    /// Takes an entry out in any state. If it had a timer, cancel it; if others were held behind it, they are ready.
    /// `None` when the handle is stale.
    pub fn remove(&mut self, handle: Handle) -> Option<Removed> {
        self.entries.get(handle)?;
        self.stats.removed += 1;
        Some(self.take_out(handle, true))
    }

    fn order(&self, policy: u8) -> Order {
        self.policies[usize::from(policy)].order()
    }

    fn advance(&mut self, now: UnixNanos) -> UnixNanos {
        self.now = self.now.max(now);
        self.now
    }

    fn take_seq(&mut self) -> u64 {
        let seq = self.next_seq;
        self.next_seq += 1;
        seq
    }

    #[cold]
    pub(crate) fn refuse<T>(&mut self, reason: Refused) -> Result<T, Refused> {
        self.stats.refused_by[reason as usize] += 1;
        Err(reason)
    }

    fn failure_row(&self, kind: Kind, error: u16) -> usize {
        kind.row() * (self.config.errors + 1) + self.index.error_row(error) as usize
    }

    fn count_failure(&mut self, kind: Kind, failure: Failure) {
        self.stats.failures += 1;
        self.failures[self.failure_row(kind, failure.code())] += 1;
    }

    fn count_outcome(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::RetryAt(_) => self.stats.retries += 1,
            Outcome::Parked(cause) => self.stats.parked_by[cause as usize] += 1,
        }
    }

    fn count_state(&mut self, from: State, to: State) {
        self.by_state[from as usize] -= 1;
        self.by_state[to as usize] += 1;
    }

    fn head_of<'a>(&'a mut self, subject: &'a Subject<'_>) -> Result<&'a Slot, Refused> {
        match subject {
            Subject::New(event) => Ok(event.head()),
            Subject::Stored(event) if self.events.contains(*event) => {
                Ok(self.arena.head(self.events.at(event.index()).first))
            }
            Subject::Stored(_) => {
                self.stats.refused_by[Refused::Stale as usize] += 1;
                Err(Refused::Stale)
            }
        }
    }

    fn check_site(&mut self, head: &Slot, site: Site) -> Result<(), Refused> {
        if head.symbol.index() >= self.index.symbols() {
            return self.refuse(Refused::UnknownSymbol);
        }
        if usize::from(site.policy) >= self.policies.len() {
            return self.refuse(Refused::UnknownPolicy);
        }
        Ok(())
    }

    fn check_room(&mut self, subject: &Subject<'_>, needs_hold: bool) -> Result<(), Refused> {
        if self.entries.is_full() {
            return self.refuse(Refused::EntriesFull);
        }
        if let Subject::New(event) = subject
            && !self.arena.has_room(event.slots().len())
        {
            return self.refuse(Refused::SlotsFull);
        }
        if needs_hold && self.holds.is_full() {
            return self.refuse(Refused::HoldsFull);
        }
        Ok(())
    }

    fn is_hold_full(&self, hold: u32) -> bool {
        self.holds.queues.len(hold) > self.config.held_per_symbol
    }

    /// The entry, if its handler may have been called: it waits for its retry, or it was held and is the first now.
    fn runnable(&mut self, handle: Handle) -> Result<Entry, Refused> {
        let Some(&entry) = self.entries.get(handle) else {
            return self.refuse(Refused::Stale);
        };
        let is_first = match entry.state() {
            State::Waiting => true,
            State::Held => self.holds.queues.prev(handle.index()).is_none(),
            State::Parked => false,
        };
        if is_first { Ok(entry) } else { self.refuse(Refused::NotRunnable) }
    }

    fn outcome(
        &self,
        head: &Slot,
        policy: u8,
        failure: Failure,
        attempt: u16,
        names: Names,
        now: UnixNanos,
    ) -> Outcome {
        match failure {
            Failure::Fail(_) => Outcome::Parked(Cause::Failed),
            Failure::Panic => Outcome::Parked(Cause::Panicked),
            Failure::Retry(_) => {
                let policy = &self.policies[usize::from(policy)];
                let due = policy.next(self.config.seed, &head.identity(), names, attempt, now);
                due.map_or(Outcome::Parked(Cause::Attempts), Outcome::RetryAt)
            }
        }
    }

    fn new_entry(&self, head: &Slot, site: Site, now: UnixNanos) -> Entry {
        Entry {
            seq: 0,
            first_ns: now,
            last_ns: now,
            due_ns: UnixNanos::ZERO,
            timer: TimerHandle::NONE,
            event: 0,
            failures: 0,
            symbol: head.symbol,
            handler: site.handler,
            kind: head.kind(),
            error: 0,
            attempts: 0,
            policy: site.policy,
            state: State::Held as u8,
            cause: NO_CAUSE,
            redrives: 0,
        }
    }

    /// Stores entry and event, for which there is room.
    fn add(&mut self, subject: Subject<'_>, mut entry: Entry) -> (Handle, Handle, Change) {
        let event = match subject {
            Subject::Stored(event) => event,
            Subject::New(event) => {
                let slots = event.slots();
                let record = Record { slots: slots.len() as u16, first: self.arena.store(slots), ..Record::zeroed() };
                self.events.insert(record).expect("an event for each entry")
            }
        };
        entry.event = event.index();
        entry.seq = self.take_seq();
        let handle = self.entries.insert(entry).expect("there is room");
        self.index.link(handle.index(), &entry);
        self.by_state[usize::from(entry.state)] += 1;
        let change = self.recount(entry.event, None, Some(entry.state()));
        (handle, event, change)
    }

    /// Appends the entry to the queue of a hold.
    fn join(&mut self, hold: u32, index: u32) {
        self.holds.queues.push_back(hold, index);
        self.settle(hold);
    }

    fn settle(&mut self, hold: u32) {
        let first = self.holds.queues.first(hold);
        self.holds.settle(hold, first.map(|first| self.entries.at(first).state() == State::Held));
    }

    /// The entry was `before`, and stays in its hold or leaves it, if it was in one.
    fn after_change(&mut self, index: u32, before: &Entry, stays: bool) {
        self.count_state(before.state(), self.entries.at(index).state());
        self.leave_hold(index, before, stays);
    }

    fn leave_hold(&mut self, index: u32, before: &Entry, stays: bool) {
        if self.holds.queues.is_linked(index) {
            let hold = self.holds.find(Key::new(before.handler, before.symbol)).expect("it is in its hold");
            if !stays {
                self.holds.queues.unlink(hold, index);
            }
            self.settle(hold);
        }
    }

    fn park_at(&mut self, index: u32, cause: Cause) -> Parked {
        let before = *self.entries.at(index);
        self.stats.parked_by[cause as usize] += 1;
        self.entries.at_mut(index).park(cause);
        self.after_change(index, &before, false);
        let change = self.recount(before.event, Some(before.state()), Some(State::Parked));
        Parked { handle: self.entries.handle_at(index), timer: before.timer, change }
    }

    /// Removes the entry of a handle that is good.
    fn take_out(&mut self, handle: Handle, is_removed: bool) -> Removed {
        let index = handle.index();
        let entry = *self.entries.at(index);
        self.index.unlink(index, &entry);
        self.leave_hold(index, &entry, false);
        self.entries.remove(handle);
        self.by_state[usize::from(entry.state)] -= 1;
        if is_removed {
            self.events.at_mut(entry.event).removed = 1;
        }
        let change = self.recount(entry.event, Some(entry.state()), None);
        Removed { entry, change }
    }

    /// Moves an entry of the event from one state to another, and frees the event after its last entry.
    fn recount(&mut self, event: u32, from: Option<State>, to: Option<State>) -> Change {
        let record = self.events.at_mut(event);
        // A removal was noted before; it did not change the fate, since the entry was still counted.
        let fate = record.fate();
        if let Some(from) = from {
            *record.entries(from) -= 1;
        }
        if let Some(to) = to {
            *record.entries(to) += 1;
        }
        let record = *record;
        let head = self.arena.head(record.first);
        let change = Change { kind: head.kind(), flags: head.flags, from: fate, to: record.fate() };
        self.by_fate[change.from as usize] = self.by_fate[change.from as usize].wrapping_sub(1);
        self.by_fate[change.to as usize] = self.by_fate[change.to as usize].wrapping_add(1);
        if record.in_flight + record.parked == 0 {
            self.arena.free(record.first, usize::from(record.slots));
            self.events.remove(self.events.handle_at(event));
        }
        change
    }
}
