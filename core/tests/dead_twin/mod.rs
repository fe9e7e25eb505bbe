//! The naive twin of the dead letters: maps and lists, obviously right; and the two side by side, compared after every operation.

#![allow(dead_code, unreachable_pub, reason = "shared by several test binaries, each of which uses a part")]

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, VecDeque};
use tapeline_core::dead::Entry as DeadLetter;
use tapeline_core::dead::{
    Budget, Cause, Change, Config, Cursor, DeadLetters, Direction, ERROR_PANIC, Failed, Failure, Fate, Filter, Handle,
    Outcome, Refused, Removed, Site, State, Stats, Subject, Sweep,
};
use tapeline_core::event::{EventRef, Flags, Kind, KindVersion, Slot};
use tapeline_core::limits::SPAN_SLOTS_MAX;
use tapeline_core::retry::{Backoff, Factor, Jitter, Names, Order, Policy, RetryConfig};
use tapeline_core::testing::{Prng, without_allocation};
use tapeline_core::units::{SymbolId, UnixNanos};
use tapeline_core::wheel::{TimerHandle, Wheel};

pub const SYMBOLS: usize = 6;
pub const HANDLERS: u16 = 3;
pub const ERRORS: usize = 3;
const KINDS: [Kind; 3] = [Kind::TRADE, Kind::NEWS, Kind(1_000)];

/// Never; released; held; with and without jitter; with a delay of nothing.
pub fn policies() -> Vec<Policy> {
    let exponential = Backoff::Exponential { base_ns: 10, factor: Factor { numerator: 3, denominator: 2 }, cap_ns: 40 };
    let policy = |attempts_max, backoff, jitter, order| {
        Policy::new(RetryConfig { attempts_max, backoff, jitter, order }).unwrap()
    };
    vec![
        Policy::never(),
        policy(3, Backoff::Fixed { delay_ns: 10 }, Jitter::None, Order::Released),
        policy(4, exponential, Jitter::Full { parts: 1_024 }, Order::Held),
        policy(2, exponential, Jitter::Equal { parts: 512 }, Order::Held),
        policy(255, Backoff::Fixed { delay_ns: 0 }, Jitter::None, Order::Held),
    ]
}

pub fn names(symbol: SymbolId) -> Names {
    Names { symbol_hash: u64::from(symbol.0) << 32 | 7, source_hash: 9 }
}

/// An event of 1 to 64 slots, different for each `seq`.
pub fn event(seq: u64, symbol: u32, kind: Kind, slots: usize) -> Vec<Slot> {
    let mut head = Slot::ZERO;
    head.tag = seq as u32 | 1;
    head.kind = KindVersion::new(kind, 1);
    head.flags = Flags((seq % 3) as u8);
    head.seq = seq;
    head.symbol = SymbolId(symbol);
    head.payload = [seq ^ 5, 6, 7];
    head.set_span(slots);
    let mut event = vec![head];
    event.extend((1..slots as u64).map(|at| Slot { tag: 77, ..Slot::continuation([seq, at, 3, 4, 5, 6, 7]) }));
    event
}

#[derive(Clone, Debug)]
struct TwinEntry {
    event: u64,
    seq: u64,
    first: UnixNanos,
    last: UnixNanos,
    due: Option<UnixNanos>,
    timer: TimerHandle,
    failures: u32,
    symbol: SymbolId,
    handler: u16,
    kind: Kind,
    error: Option<u16>,
    attempts: u16,
    policy: u8,
    state: State,
    cause: Option<Cause>,
    redrives: u8,
}

struct TwinEvent {
    slots: Vec<Slot>,
    is_removed: bool,
    entries: Vec<u64>,
}

type Pairing = (u16, u32);

struct Twin {
    config: Config,
    policies: Vec<Policy>,
    entries: BTreeMap<u64, TwinEntry>,
    events: BTreeMap<u64, TwinEvent>,
    holds: BTreeMap<Pairing, VecDeque<u64>>,
    ready: VecDeque<Pairing>,
    failures: BTreeMap<(usize, u16), u64>,
    stats: Stats,
    now: UnixNanos,
    next_seq: u64,
    next_id: u64,
    slots_used: usize,
}

impl Twin {
    fn fate(&self, event: u64) -> Fate {
        let Some(stored) = self.events.get(&event) else { return Fate::Clear };
        let mut states = stored.entries.iter().map(|id| self.entries[id].state);
        if states.any(|state| state != State::Parked) {
            Fate::InFlight
        } else if !stored.entries.is_empty() {
            Fate::DeadLettered
        } else if stored.is_removed {
            Fate::Removed
        } else {
            Fate::Clear
        }
    }

    fn change(&self, event: u64, from: Fate) -> Change {
        let head = &self.events[&event].slots[0];
        Change { kind: head.kind(), flags: head.flags, from, to: self.fate(event) }
    }

    /// Forgets an event that has no entry any more.
    fn collect(&mut self, event: u64) {
        if self.events[&event].entries.is_empty() {
            self.slots_used -= self.events.remove(&event).unwrap().slots.len();
        }
    }

    fn refuse<T>(&mut self, reason: Refused) -> Result<T, Refused> {
        self.stats.refused_by[reason as usize] += 1;
        Err(reason)
    }

    fn count_failure(&mut self, kind: Kind, code: u16) {
        self.stats.failures += 1;
        *self.failures.entry((kind.row(), code.min(self.config.errors as u16))).or_default() += 1;
    }

    fn outcome(&mut self, head: &Slot, policy: u8, failure: Failure, attempt: u16) -> Outcome {
        let outcome = match failure {
            Failure::Fail(_) => Outcome::Parked(Cause::Failed),
            Failure::Panic => Outcome::Parked(Cause::Panicked),
            Failure::Retry(_) => {
                let policy = &self.policies[policy as usize];
                match policy.next(self.config.seed, &head.identity(), names(head.symbol), attempt, self.now) {
                    Some(due) => Outcome::RetryAt(due),
                    None => Outcome::Parked(Cause::Attempts),
                }
            }
        };
        match outcome {
            Outcome::RetryAt(due) => assert!(due >= self.now),
            Outcome::Parked(_) => (),
        }
        outcome
    }

    fn count_outcome(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::RetryAt(_) => self.stats.retries += 1,
            Outcome::Parked(cause) => self.stats.parked_by[cause as usize] += 1,
        }
    }

    /// Brings the list of pairs whose turn has come up to date for one pair.
    fn settle(&mut self, pairing: Pairing) {
        let first = self.holds.get(&pairing).and_then(|queue| queue.front());
        let is_ready = first.is_some_and(|id| self.entries[id].state == State::Held);
        let listed = self.ready.iter().position(|other| *other == pairing);
        match (is_ready, listed) {
            (true, None) => self.ready.push_back(pairing),
            (false, Some(at)) => drop(self.ready.remove(at)),
            _ => (),
        }
        if first.is_none() {
            self.holds.remove(&pairing);
        }
    }

    fn leave(&mut self, id: u64) {
        let entry = &self.entries[&id];
        let pairing = (entry.handler, entry.symbol.0);
        if let Some(queue) = self.holds.get_mut(&pairing) {
            queue.retain(|other| *other != id);
            self.settle(pairing);
        }
    }

    fn is_in_hold(&self, id: u64) -> bool {
        self.holds.values().any(|queue| queue.contains(&id))
    }

    /// What a new entry begins with.
    fn enter(&mut self, event: u64, site: Site) -> TwinEntry {
        let head = self.events[&event].slots[0];
        let seq = self.next_seq;
        self.next_seq += 1;
        TwinEntry {
            event,
            seq,
            first: self.now,
            last: self.now,
            due: None,
            timer: TimerHandle::NONE,
            failures: 0,
            symbol: head.symbol,
            handler: site.handler,
            kind: head.kind(),
            error: None,
            attempts: 0,
            policy: site.policy,
            state: State::Held,
            cause: None,
            redrives: 0,
        }
    }

    fn apply(entry: &mut TwinEntry, outcome: Outcome) {
        entry.timer = TimerHandle::NONE;
        match outcome {
            Outcome::RetryAt(due) => (entry.state, entry.due, entry.cause) = (State::Waiting, Some(due), None),
            Outcome::Parked(cause) => (entry.state, entry.due, entry.cause) = (State::Parked, None, Some(cause)),
        }
    }

    fn check_site(&mut self, head: &Slot, site: Site) -> Result<(), Refused> {
        if head.symbol.0 as usize >= self.config.symbols {
            return self.refuse(Refused::UnknownSymbol);
        }
        if site.policy as usize >= self.policies.len() {
            return self.refuse(Refused::UnknownPolicy);
        }
        Ok(())
    }

    fn check_room(&mut self, new_slots: usize, needs_hold: bool) -> Result<(), Refused> {
        if self.entries.len() == self.config.entries {
            return self.refuse(Refused::EntriesFull);
        }
        if self.slots_used + new_slots > self.config.slots {
            return self.refuse(Refused::SlotsFull);
        }
        if needs_hold && self.holds.len() == self.config.holds {
            return self.refuse(Refused::HoldsFull);
        }
        Ok(())
    }

    /// Stores a new event, without the ring's positions.
    fn store(&mut self, id: u64, slots: &[Slot]) {
        if let Entry::Vacant(vacant) = self.events.entry(id) {
            let slots: Vec<_> = slots.iter().map(|slot| Slot { tag: 0, ..*slot }).collect();
            self.slots_used += slots.len();
            vacant.insert(TwinEvent { slots, is_removed: false, entries: Vec::new() });
        }
    }

    fn fail(&mut self, event: u64, slots: &[Slot], site: Site, failure: Failure) -> Result<TwinFailed, Refused> {
        let head = slots[0];
        let code = code_of(failure);
        self.count_failure(head.kind(), code);
        self.check_site(&head, site)?;
        let pairing = (site.handler, head.symbol.0);
        if self.holds.contains_key(&pairing) {
            return self.refuse(Refused::IsHeld);
        }
        let outcome = self.outcome(&head, site.policy, failure, 1);
        let holds =
            matches!(outcome, Outcome::RetryAt(_)) && self.policies[site.policy as usize].order() == Order::Held;
        let new_slots = if self.events.contains_key(&event) { 0 } else { slots.len() };
        self.check_room(new_slots, holds)?;
        self.count_outcome(outcome);
        let from = self.fate(event);
        self.store(event, slots);
        let mut entry = self.enter(event, site);
        (entry.failures, entry.attempts, entry.error) = (1, 1, Some(code));
        Self::apply(&mut entry, outcome);
        let id = self.insert(entry);
        if holds {
            self.holds.insert(pairing, VecDeque::from([id]));
        }
        Ok(TwinFailed { id, event, outcome, change: self.change(event, from) })
    }

    fn insert(&mut self, entry: TwinEntry) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        self.events.get_mut(&entry.event).unwrap().entries.push(id);
        self.entries.insert(id, entry);
        id
    }

    /// Returns the entry, and the one that was parked for it.
    fn hold(&mut self, event: u64, slots: &[Slot], site: Site) -> Result<TwinHeld, Refused> {
        let head = slots[0];
        self.check_site(&head, site)?;
        let pairing = (site.handler, head.symbol.0);
        let Some(queue) = self.holds.get(&pairing) else { return self.refuse(Refused::NotHeld) };
        let first = queue[0];
        // The first of them may be ready: then it is the next to go.
        let is_full = queue.len() > self.config.held_per_symbol && self.entries[&first].state != State::Held;
        let new_slots = if self.events.contains_key(&event) { 0 } else { slots.len() };
        self.check_room(new_slots, false)?;
        let parked = is_full.then(|| self.park(first, Cause::HoldFull));
        let from = self.fate(event);
        self.store(event, slots);
        let entry = self.enter(event, site);
        let id = self.insert(entry);
        self.holds.entry(pairing).or_default().push_back(id);
        self.settle(pairing);
        self.stats.held += 1;
        Ok(TwinHeld { id, event, change: self.change(event, from), parked })
    }

    fn park(&mut self, id: u64, cause: Cause) -> (u64, TimerHandle, Change) {
        self.stats.parked_by[cause as usize] += 1;
        let event = self.entries[&id].event;
        let from = self.fate(event);
        let entry = self.entries.get_mut(&id).unwrap();
        let timer = entry.timer;
        Self::apply(entry, Outcome::Parked(cause));
        self.leave(id);
        (id, timer, self.change(event, from))
    }

    fn runnable(&mut self, id: Option<u64>) -> Result<u64, Refused> {
        let Some((id, entry)) = id.and_then(|id| Some((id, self.entries.get(&id)?))) else {
            return self.refuse(Refused::Stale);
        };
        let is_first = self.holds.get(&(entry.handler, entry.symbol.0)).is_some_and(|queue| queue[0] == id);
        match entry.state {
            State::Waiting => Ok(id),
            State::Held if is_first => Ok(id),
            _ => self.refuse(Refused::NotRunnable),
        }
    }

    fn fail_again(&mut self, id: Option<u64>, failure: Failure) -> Result<TwinFailed, Refused> {
        let id = self.runnable(id)?;
        let code = code_of(failure);
        let mut entry = self.entries[&id].clone();
        let head = self.events[&entry.event].slots[0];
        self.count_failure(head.kind(), code);
        if entry.failures == 0 {
            entry.first = self.now;
        }
        entry.failures += 1;
        entry.attempts += 1;
        entry.error = Some(code);
        entry.last = self.now;
        entry.seq = self.next_seq;
        self.next_seq += 1;
        let outcome = self.outcome(&head, entry.policy, failure, entry.attempts);
        self.count_outcome(outcome);
        let from = self.fate(entry.event);
        Self::apply(&mut entry, outcome);
        let (event, pairing) = (entry.event, (entry.handler, entry.symbol.0));
        let stays = entry.state == State::Waiting && self.policies[entry.policy as usize].order() == Order::Held;
        self.entries.insert(id, entry);
        if !stays {
            self.leave(id);
        } else {
            self.settle(pairing);
        }
        Ok(TwinFailed { id, event, outcome, change: self.change(event, from) })
    }

    fn take_out(&mut self, id: u64, is_removed: bool) -> (TwinEntry, Change) {
        let event = self.entries[&id].event;
        let from = self.fate(event);
        self.leave(id);
        let entry = self.entries.remove(&id).unwrap();
        let stored = self.events.get_mut(&event).unwrap();
        stored.entries.retain(|other| *other != id);
        stored.is_removed |= is_removed;
        let change = self.change(event, from);
        self.collect(event);
        (entry, change)
    }

    fn redrive(&mut self, id: Option<u64>) -> Result<(u64, Option<UnixNanos>, Change), Refused> {
        let Some((id, mut entry)) = id.and_then(|id| Some((id, self.entries.get(&id)?.clone()))) else {
            return self.refuse(Refused::Stale);
        };
        if entry.state != State::Parked {
            return self.refuse(Refused::NotParked);
        }
        let from = self.fate(entry.event);
        entry.attempts = 0;
        entry.redrives = entry.redrives.saturating_add(1);
        Self::apply(&mut entry, Outcome::RetryAt(self.now));
        let pairing = (entry.handler, entry.symbol.0);
        if self.policies[entry.policy as usize].order() == Order::Held {
            match self.holds.get(&pairing).map(VecDeque::len) {
                Some(len) if len > self.config.held_per_symbol => return self.refuse(Refused::HoldBusy),
                Some(_) => (entry.state, entry.due) = (State::Held, None),
                None if self.holds.len() == self.config.holds => return self.refuse(Refused::HoldsFull),
                None => (),
            }
            self.holds.entry(pairing).or_default().push_back(id);
        }
        self.stats.redriven += 1;
        let (due, event) = (entry.due, entry.event);
        self.entries.insert(id, entry);
        if self.is_in_hold(id) {
            self.settle(pairing);
        }
        Ok((id, due, self.change(event, from)))
    }

    fn matching(&self, filter: &Filter) -> Vec<(u64, u64)> {
        let mut list: Vec<(u64, u64)> = self
            .entries
            .iter()
            .filter(|(_, e)| {
                filter.kind.is_none_or(|kind| kind == e.kind)
                    && filter.symbol.is_none_or(|symbol| symbol == e.symbol)
                    && filter.error.is_none_or(|error| Some(error) == e.error)
                    && filter.handler.is_none_or(|handler| handler == e.handler)
                    && filter.state.is_none_or(|state| state == e.state)
                    && filter.cause.is_none_or(|cause| Some(cause) == e.cause)
                    && e.last >= filter.from
                    && (filter.until == UnixNanos::UNKNOWN || e.last < filter.until)
            })
            .map(|(id, e)| (e.seq, *id))
            .collect();
        list.sort_unstable();
        list
    }
}

struct TwinFailed {
    id: u64,
    event: u64,
    outcome: Outcome,
    change: Change,
}

struct TwinHeld {
    id: u64,
    event: u64,
    change: Change,
    parked: Option<(u64, TimerHandle, Change)>,
}

fn code_of(failure: Failure) -> u16 {
    match failure {
        Failure::Retry(code) | Failure::Fail(code) => code,
        Failure::Panic => ERROR_PANIC,
    }
}

/// What a redrive said about one entry.
type Met = (Handle, Result<(Option<UnixNanos>, Change), Refused>);

/// The dead letters and their twin.
pub struct Pair {
    pub letters: DeadLetters,
    twin: Twin,
    /// Of live entries, by the twin's id, and back.
    handles: BTreeMap<u64, Handle>,
    ids: BTreeMap<u64, u64>,
    event_handles: BTreeMap<u64, Handle>,
    /// Handles given lately, stale ones included.
    given: VecDeque<Handle>,
    /// Real timers' handles for `set_timer`.
    timers: Wheel<u64>,
    next_event: u64,
    start: u64,
    listing: Option<(Filter, Direction, Cursor)>,
    sweep: Option<(Sweep, Filter, u64)>,
    found: Vec<Met>,
    pub seen: Seen,
}

/// What happened, so that tests can show that it did.
#[derive(Clone, Copy, Debug, Default)]
pub struct Seen {
    pub stats: Stats,
    pub pages: u64,
    pub resumed: u64,
    pub swept: u64,
    pub shared: u64,
}

impl Seen {
    pub fn add(&mut self, other: &Self) {
        let (stats, others) = (&mut self.stats, &other.stats);
        let to = bytemuck::cast_slice_mut::<_, u64>(core::slice::from_mut(stats));
        for (to, from) in to.iter_mut().zip(bytemuck::cast_slice::<_, u64>(core::slice::from_ref(others))) {
            *to += from;
        }
        self.pages += other.pages;
        self.resumed += other.resumed;
        self.swept += other.swept;
        self.shared += other.shared;
    }
}

impl Pair {
    pub fn new(config: Config, start: u64) -> Self {
        let policies = policies();
        let letters = DeadLetters::new(&config, &policies);
        let bytes = letters.bytes();
        assert!(bytes >= config.entries * 64 + config.slots * 68);
        Self {
            letters,
            twin: Twin {
                config,
                policies,
                entries: BTreeMap::new(),
                events: BTreeMap::new(),
                holds: BTreeMap::new(),
                ready: VecDeque::new(),
                failures: BTreeMap::new(),
                stats: Stats::default(),
                now: UnixNanos::ZERO,
                next_seq: 1,
                next_id: 0,
                slots_used: 0,
            },
            handles: BTreeMap::new(),
            ids: BTreeMap::new(),
            event_handles: BTreeMap::new(),
            given: VecDeque::new(),
            timers: Wheel::new(4, 1),
            start,
            next_event: 0,
            listing: None,
            sweep: None,
            found: Vec::with_capacity(1 << 12),
            seen: Seen::default(),
        }
    }

    /// Seen so far, with the counts of the structure.
    pub fn seen(&self) -> Seen {
        Seen { stats: *self.letters.stats(), ..self.seen }
    }

    fn given(&mut self, id: u64, handle: Handle) {
        assert_eq!(self.handles.insert(id, handle), None);
        assert_eq!(self.ids.insert(handle.to_bits(), id), None, "a handle names one entry");
        self.given.push_back(handle);
        if self.given.len() > 32 {
            self.given.pop_front();
        }
    }

    fn gone(&mut self, id: u64, event: u64) {
        if !self.twin.events.contains_key(&event) {
            self.event_handles.remove(&event);
        }
        let handle = self.handles.remove(&id).unwrap();
        self.ids.remove(&handle.to_bits());
        assert_eq!(self.letters.get(handle), None);
    }

    fn event_given(&mut self, event: u64, handle: Handle) {
        assert_eq!(*self.event_handles.entry(event).or_insert(handle), handle);
    }

    fn id(&self, handle: Handle) -> Option<u64> {
        self.ids.get(&handle.to_bits()).copied()
    }

    /// A live entry of that state, or any handle.
    fn pick(&self, prng: &mut Prng, state: State) -> Handle {
        if prng.one_in(16) || self.handles.is_empty() {
            return match prng.index(3) {
                0 => Handle::from_bits(prng.next_u64() & 0x3_0000_003f),
                1 => Handle::NULL,
                _ if self.given.is_empty() => Handle::NULL,
                _ => self.given[prng.index(self.given.len())],
            };
        }
        let from = prng.in_range(0..self.twin.next_id);
        let near = self.twin.entries.range(from..).chain(self.twin.entries.range(..from));
        let mut near = near.take(12);
        let first = near.clone().next().map(|(id, _)| *id);
        let id = near.find(|(_, entry)| entry.state == state).map(|(id, _)| *id).or(first);
        id.map_or(Handle::NULL, |id| self.handles[&id])
    }

    fn move_time(&mut self, prng: &mut Prng) -> UnixNanos {
        let now = self.twin.now.0.max(self.start);
        let given = match prng.index(8) {
            0 => now.saturating_sub(prng.log_uniform(40)),
            1 => now.saturating_add(prng.log_uniform(34)),
            2..4 => now,
            _ => now.saturating_add(prng.in_range(1..30)),
        };
        UnixNanos(given)
    }

    fn failure(prng: &mut Prng) -> Failure {
        let code = prng.index(ERRORS + 2) as u16;
        match prng.index(12) {
            0 => Failure::Panic,
            1 => Failure::Fail(code),
            _ => Failure::Retry(code),
        }
    }

    fn filter(&self, prng: &mut Prng) -> Filter {
        let mut filter = Filter::ALL;
        if prng.one_in(3) {
            filter.kind = Some(KINDS[prng.index(3)]);
        }
        if prng.one_in(3) {
            filter.symbol = Some(SymbolId(prng.index(SYMBOLS + 1) as u32));
        }
        if prng.one_in(3) {
            filter.error = Some(if prng.one_in(5) { ERROR_PANIC } else { prng.index(ERRORS + 2) as u16 });
        }
        if prng.one_in(5) {
            filter.handler = Some(prng.index(3) as u16);
        }
        if prng.one_in(5) {
            filter.state = Some(State::ALL[prng.index(3)]);
        }
        if prng.one_in(8) {
            filter.cause = Some(Cause::ALL[prng.index(Cause::ALL.len())]);
        }
        if prng.one_in(4) {
            filter.from = UnixNanos(self.twin.now.0.saturating_sub(prng.log_uniform(12)));
        }
        if prng.one_in(4) {
            filter.until = UnixNanos(self.twin.now.0.saturating_sub(prng.log_uniform(11)));
        }
        filter
    }

    /// One weighted random operation, its result compared.
    pub fn step(&mut self, prng: &mut Prng, is_filling: bool) {
        match prng.index(if is_filling { 24 } else { 32 }) {
            0..12 if is_filling => self.come(prng),
            0..9 => self.come(prng),
            9..15 => self.run_ready(prng),
            15..18 => self.run(prng, State::Waiting),
            18 => self.run(prng, State::Held),
            19 => self.touch_waiting(prng),
            20 => self.list(prng),
            21 => self.resume(prng),
            22 | 23 => self.redrive(prng),
            24 => self.park(prng),
            25 => self.remove(prng),
            26 => self.release(prng),
            27 => self.sweep(prng),
            28 => self.run(prng, State::Parked),
            _ => self.run(prng, State::Waiting),
        }
        self.compare();
    }

    /// An event comes for a handler: it fails, or waits because its symbol is held.
    fn come(&mut self, prng: &mut Prng) {
        let symbol = if prng.one_in(50) { SYMBOLS as u32 + 3 } else { prng.index(SYMBOLS) as u32 };
        let policy = if prng.one_in(50) { 99 } else { prng.index(self.twin.policies.len()) as u8 };
        let slots = match prng.index(12) {
            0 => 1 + prng.index(SPAN_SLOTS_MAX),
            1..3 => 2 + prng.index(3),
            _ => 1,
        };
        let now = self.move_time(prng);
        let stored = if prng.one_in(6) && !self.event_handles.is_empty() {
            let from = self.next_event - prng.in_range(0..self.next_event.min(400));
            let near = self.event_handles.range(from..).chain(self.event_handles.range(..from)).next();
            near.map(|(event, handle)| (*event, *handle))
        } else {
            None
        };
        let slots = match stored {
            Some((event, _)) => self.twin.events[&event].slots.clone(),
            None => event(self.next_event, symbol, KINDS[prng.index(3)], slots),
        };
        let id = stored.map_or(self.next_event, |(event, _)| event);
        self.next_event += u64::from(stored.is_none());
        self.seen.shared += u64::from(stored.is_some());
        let subject = match stored {
            Some((_, handle)) => Subject::Stored(handle),
            None => Subject::New(EventRef::first(&slots).unwrap()),
        };
        if prng.one_in(200) {
            // A foreign event.
            let site = Site { handler: 0, policy: 0 };
            let refused = self.letters.hold(Subject::Stored(Handle::from_bits(0x7_0000_ffff)), site, now);
            self.twin.now = self.twin.now.max(now);
            let expected = self.twin.refuse::<()>(Refused::Stale);
            assert_eq!(refused.unwrap_err(), expected.unwrap_err());
        }
        let site = Site { handler: prng.index(HANDLERS as usize) as u16, policy };
        let symbol = slots[0].symbol;
        let is_held = self.letters.is_holding(site.handler, symbol);
        assert_eq!(is_held, self.twin.holds.contains_key(&(site.handler, symbol.0)));
        self.twin.now = self.twin.now.max(now);
        // Once in a while the wrong of the two.
        if is_held ^ prng.one_in(20) {
            let held = without_allocation(|| self.letters.hold(subject, site, now));
            match (held, self.twin.hold(id, &slots, site)) {
                (Ok(held), Ok(expected)) => {
                    assert_eq!((held.change, expected.event), (expected.change, id));
                    let parked =
                        held.parked.map(|parked| (self.id(parked.handle).unwrap(), parked.timer, parked.change));
                    assert_eq!(parked, expected.parked);
                    self.given(expected.id, held.handle);
                    self.event_given(expected.event, held.event);
                }
                (held, expected) => assert_eq!(held.unwrap_err(), expected.err().unwrap()),
            }
        } else {
            let failure = Self::failure(prng);
            let failed = without_allocation(|| self.letters.fail(subject, site, failure, names(symbol), now));
            let expected = self.twin.fail(id, &slots, site, failure);
            if let Some(handle) = self.compare_failed(failed, &expected) {
                self.given(expected.unwrap_or_else(|_| unreachable!()).id, handle);
            }
        }
    }

    fn compare_failed(
        &mut self,
        failed: Result<Failed, Refused>,
        expected: &Result<TwinFailed, Refused>,
    ) -> Option<Handle> {
        match (failed, expected) {
            (Ok(failed), Ok(expected)) => {
                assert_eq!((failed.outcome, failed.change), (expected.outcome, expected.change));
                self.event_given(expected.event, failed.event);
                Some(failed.handle)
            }
            (failed, expected) => {
                assert_eq!(failed.unwrap_err(), *expected.as_ref().err().unwrap());
                None
            }
        }
    }

    fn run_ready(&mut self, prng: &mut Prng) {
        let Some(handle) = self.letters.ready() else {
            return self.run(prng, State::Waiting);
        };
        self.run_one(prng, handle);
    }

    fn run(&mut self, prng: &mut Prng, state: State) {
        let handle = self.pick(prng, state);
        self.run_one(prng, handle);
    }

    /// The handler is called: it is done, or fails again.
    fn run_one(&mut self, prng: &mut Prng, handle: Handle) {
        let now = self.move_time(prng);
        let id = self.id(handle);
        if prng.one_in(2) {
            let done = without_allocation(|| self.letters.success(handle));
            match (done, self.twin.runnable(id)) {
                (Ok(removed), Ok(id)) => {
                    self.twin.stats.succeeded += 1;
                    self.removed(id, &removed, false);
                }
                (done, expected) => assert_eq!(done.unwrap_err(), expected.unwrap_err()),
            }
        } else {
            let failure = Self::failure(prng);
            let symbol = self.letters.head(handle).map_or(SymbolId::NONE, |head| head.symbol);
            let failed = without_allocation(|| self.letters.fail_again(handle, failure, names(symbol), now));
            self.twin.now = self.twin.now.max(now);
            let expected = self.twin.fail_again(id, failure);
            assert!(self.compare_failed(failed, &expected).is_none_or(|same| same == handle));
        }
    }

    fn removed(&mut self, id: u64, removed: &Removed, is_removed: bool) {
        let (entry, change) = self.twin.take_out(id, is_removed);
        let event = entry.event;
        Self::compare_entry(&removed.entry, &entry);
        assert_eq!(removed.change, change);
        self.gone(id, event);
    }

    fn touch_waiting(&mut self, prng: &mut Prng) {
        let handle = self.pick(prng, State::Waiting);
        let waiting = self.id(handle).and_then(|id| self.twin.entries.get_mut(&id));
        let waiting = waiting.filter(|entry| entry.state == State::Waiting);
        let is_waiting = waiting.is_some();
        if prng.one_in(2) {
            let timer = self.timers.schedule(UnixNanos(5), 1).unwrap();
            self.timers.cancel(timer).unwrap();
            if let Some(entry) = waiting {
                entry.timer = timer;
            }
            assert_eq!(without_allocation(|| self.letters.set_timer(handle, timer)), is_waiting);
        } else {
            let due = UnixNanos(prng.next_u64());
            if let Some(entry) = waiting {
                (entry.due, entry.timer) = (Some(due), TimerHandle::NONE);
            }
            self.twin.stats.postponed += u64::from(is_waiting);
            assert_eq!(without_allocation(|| self.letters.postpone(handle, due)), is_waiting);
        }
    }

    fn redrive(&mut self, prng: &mut Prng) {
        let handle = self.pick(prng, State::Parked);
        let now = self.move_time(prng);
        let redriven = without_allocation(|| self.letters.redrive(handle, now));
        self.twin.now = self.twin.now.max(now);
        let expected = self.twin.redrive(self.id(handle));
        let redriven = redriven.map(|redriven| (self.id(redriven.handle).unwrap(), redriven.due, redriven.change));
        assert_eq!(redriven, expected);
    }

    fn park(&mut self, prng: &mut Prng) {
        let handle = self.pick(prng, State::ALL[prng.clone().index(2)]);
        let cause = Cause::ALL[prng.index(Cause::ALL.len())];
        let parked = without_allocation(|| self.letters.park(handle, cause));
        let expected = match self.id(handle) {
            None => self.twin.refuse(Refused::Stale),
            Some(id) if self.twin.entries[&id].state == State::Parked => self.twin.refuse(Refused::NotRunnable),
            Some(id) => Ok(self.twin.park(id, cause)),
        };
        assert_eq!(parked.map(|parked| (self.id(parked.handle).unwrap(), parked.timer, parked.change)), expected);
    }

    fn remove(&mut self, prng: &mut Prng) {
        let handle = self.pick(prng, State::ALL[prng.clone().index(3)]);
        let removed = without_allocation(|| self.letters.remove(handle));
        let id = self.id(handle);
        assert_eq!(removed.is_some(), id.is_some());
        if let (Some(id), Some(removed)) = (id, removed) {
            self.twin.stats.removed += 1;
            self.removed(id, &removed, true);
        }
    }

    fn release(&mut self, prng: &mut Prng) {
        let handle = self.pick(prng, if prng.clone().one_in(4) { State::Waiting } else { State::Parked });
        let released = without_allocation(|| self.letters.release(handle));
        let id = self.id(handle);
        match (released, id.map(|id| (id, self.twin.entries[&id].state))) {
            (Ok(released), Some((id, State::Parked))) => {
                self.twin.stats.redriven += 1;
                self.removed(id, &released, false);
            }
            (released, None) => assert_eq!(released.err(), self.twin.refuse::<()>(Refused::Stale).err()),
            (released, _) => assert_eq!(released.err(), self.twin.refuse::<()>(Refused::NotParked).err()),
        }
    }

    /// A page of a new listing.
    fn list(&mut self, prng: &mut Prng) {
        let filter = self.filter(prng);
        let direction = if prng.one_in(2) { Direction::OldestFirst } else { Direction::NewestFirst };
        self.page(prng, filter, direction, None);
    }

    /// The next page of the listing that was begun last, whatever has happened since.
    fn resume(&mut self, prng: &mut Prng) {
        if let Some((filter, direction, cursor)) = self.listing {
            self.seen.resumed += 1;
            let (seq, _) = cursor.to_bits();
            let cursor = if prng.one_in(4) { Cursor::from_bits((seq, prng.next_u64())) } else { cursor };
            assert_eq!(Cursor::from_bits(cursor.to_bits()), cursor);
            self.page(prng, filter, direction, Some(cursor));
        }
    }

    fn page(&mut self, prng: &mut Prng, filter: Filter, direction: Direction, from: Option<Cursor>) {
        let visits = match prng.index(3) {
            0 => usize::MAX,
            _ => prng.index(12),
        };
        let wanted = prng.index(6) + 1;
        let mut listed = [None; 6];
        let cursor = without_allocation(|| {
            let mut page = self.letters.list(&filter, direction, from, visits);
            for (to, found) in listed.iter_mut().zip(page.by_ref().take(wanted)) {
                *to = Some((found.0, found.1.seq()));
            }
            page.cursor()
        });
        let mut expected = self.twin.matching(&filter);
        if let Some(cursor) = from {
            let seq = cursor.to_bits().0;
            expected.retain(|(other, _)| match direction {
                Direction::OldestFirst => *other >= seq,
                Direction::NewestFirst => *other <= seq,
            });
        }
        if direction == Direction::NewestFirst {
            expected.reverse();
        }
        let listed: Vec<_> =
            listed.into_iter().flatten().map(|(handle, seq)| (seq, self.id(handle).unwrap())).collect();
        assert!(expected.starts_with(&listed), "{listed:?} begins {expected:?}");
        if visits == usize::MAX {
            assert_eq!(listed.len(), wanted.min(expected.len()));
        }
        match cursor {
            None => assert_eq!(listed.len(), expected.len(), "a listing that ends is whole"),
            Some(cursor) => {
                let seq = cursor.to_bits().0;
                let is_before =
                    |other: u64| if direction == Direction::OldestFirst { other < seq } else { other > seq };
                let before = expected.iter().filter(|(other, _)| is_before(*other)).count();
                assert_eq!(before, listed.len(), "what lies before the cursor was listed");
            }
        }
        self.listing = cursor.map(|cursor| (filter, direction, cursor));
        self.seen.pages += 1;
    }

    fn place(sweep: &Sweep) -> u64 {
        if sweep.is_done() { u64::MAX } else { sweep.cursor().map_or(0, |cursor| cursor.to_bits().0) }
    }

    /// Some more of a redrive or purge of many.
    fn sweep(&mut self, prng: &mut Prng) {
        if self.sweep.is_none_or(|(sweep, ..)| sweep.is_done()) || prng.one_in(10) {
            let filter = Filter { state: Some(State::Parked), ..self.filter(prng) };
            let sweep = self.letters.sweep(&Filter { state: None, ..filter });
            self.sweep = Some((sweep, filter, self.twin.next_seq));
        }
        let (mut sweep, filter, end) = self.sweep.unwrap();
        let from = Self::place(&sweep);
        let mut expected = self.twin.matching(&filter);
        expected.retain(|(seq, _)| *seq >= from && *seq < end);
        assert_eq!(without_allocation(|| self.letters.left(&sweep)), expected.len());
        let visits = if prng.one_in(2) { usize::MAX } else { prng.index(8) };
        let budget = Budget { moves: prng.index(5), visits };
        let now = self.move_time(prng);
        let is_purge = prng.one_in(4);
        let mut found = core::mem::take(&mut self.found);
        let mut purged = [None; 8];
        let swept = without_allocation(|| {
            let mut at = 0;
            if is_purge {
                self.letters.purge_next(&mut sweep, budget, |removed| {
                    purged[at] = Some(removed);
                    at += 1;
                })
            } else {
                self.letters.redrive_next(&mut sweep, budget, now, |redriven| {
                    let handle = redriven.map_or(Handle::NULL, |redriven| redriven.handle);
                    found.push((handle, redriven.map(|redriven| (redriven.due, redriven.change))));
                })
            }
        });
        let met = if is_purge { swept.moved } else { found.len() };
        assert_eq!(swept.moved + swept.refused, met);
        if visits == usize::MAX {
            assert_eq!(met, expected.len().min(budget.moves));
        }
        let next = Self::place(&sweep);
        assert!(expected.iter().skip(met).all(|(seq, _)| *seq >= next), "what lies before the cursor was met");
        for (at, (seq, id)) in expected.iter().take(met).enumerate() {
            assert!(next > *seq, "the cursor is behind what was met");
            if is_purge {
                self.twin.stats.removed += 1;
                self.removed(*id, &purged[at].unwrap(), true);
            } else {
                self.twin.now = self.twin.now.max(now);
                let redriven = self.twin.redrive(Some(*id));
                assert_eq!(found[at].1, redriven.map(|(_, due, change)| (due, change)));
                assert!(found[at].1.is_err() || self.id(found[at].0) == Some(*id));
            }
        }
        self.seen.swept += met as u64;
        found.clear();
        self.found = found;
        if sweep.is_done() {
            assert_eq!(met, expected.len(), "a sweep that is done met everything");
        }
        self.sweep = Some((sweep, filter, end));
    }

    /// What is cheap to compare after every operation.
    fn compare(&self) {
        let (letters, twin) = (&self.letters, &self.twin);
        assert_eq!(letters.len(), twin.entries.len());
        assert_eq!(letters.waiting() + letters.held() + letters.parked(), twin.entries.len());
        assert_eq!(letters.holds(), twin.holds.len());
        assert_eq!(letters.ready().map(|handle| self.id(handle).unwrap()), self.first_ready());
        assert_eq!(letters.stats(), &twin.stats);
    }

    fn first_ready(&self) -> Option<u64> {
        Some(self.twin.holds[self.twin.ready.front()?][0])
    }

    fn compare_entry(entry: &DeadLetter, expected: &TwinEntry) {
        let found = TwinEntry {
            event: expected.event,
            seq: entry.seq(),
            first: entry.first_failure(),
            last: entry.last_failure(),
            due: entry.due(),
            timer: entry.timer(),
            failures: entry.failures(),
            symbol: entry.symbol(),
            handler: entry.handler(),
            kind: entry.kind(),
            error: entry.error(),
            attempts: entry.attempts(),
            policy: entry.policy(),
            state: entry.state(),
            cause: entry.cause(),
            redrives: entry.redrives(),
        };
        assert_eq!(format!("{found:?}"), format!("{expected:?}"));
    }

    /// The whole content, and every rule of the structure.
    pub fn compare_all(&self) {
        let (letters, twin) = (&self.letters, &self.twin);
        letters.assert_invariants();
        let count = |state| twin.entries.values().filter(|entry| entry.state == state).count();
        assert_eq!(letters.waiting(), count(State::Waiting));
        assert_eq!(letters.held(), count(State::Held));
        assert_eq!(letters.parked(), count(State::Parked));
        let count = |fate| twin.events.keys().filter(|event| twin.fate(**event) == fate).count();
        assert_eq!(letters.events_in_flight(), count(Fate::InFlight));
        assert_eq!(letters.events_dead_lettered(), count(Fate::DeadLettered));
        assert_eq!(letters.slots_used(), twin.events.values().map(|event| event.slots.len()).sum());
        assert_eq!(self.event_handles.len(), twin.events.len());
        let mut slots = [Slot::ZERO; SPAN_SLOTS_MAX];
        for (id, expected) in &twin.entries {
            let handle = self.handles[id];
            Self::compare_entry(letters.get(handle).unwrap(), expected);
            let event = letters.event(handle, &mut slots).unwrap();
            assert_eq!(event.slots(), twin.events[&expected.event].slots);
            assert_eq!(letters.head(handle), Some(&event.slots()[0]));
            let event = letters.event_of(handle).unwrap();
            assert_eq!(event, self.event_handles[&expected.event]);
            assert_eq!(letters.fate(event), twin.fate(expected.event));
        }
        for (pairing, queue) in &twin.holds {
            assert!(letters.is_holding(pairing.0, SymbolId(pairing.1)) && !queue.is_empty());
        }
        for kind in KINDS {
            for error in 0..=ERRORS as u16 + 1 {
                let row = (kind.row(), error.min(ERRORS as u16));
                assert_eq!(letters.failures_of(kind, error), twin.failures.get(&row).copied().unwrap_or(0));
            }
        }
        let every = twin.matching(&Filter::ALL);
        let listed = letters.list(&Filter::ALL, Direction::OldestFirst, None, usize::MAX);
        assert!(listed.map(|(handle, entry)| (entry.seq(), self.id(handle).unwrap())).eq(every));
        assert_eq!(letters.iter().count(), twin.entries.len());
    }

    /// Replaces the structure by what its snapshot restores, which goes on with the same handles.
    pub fn restart(&mut self) {
        let mut bytes = Vec::new();
        self.letters.snapshot(&mut bytes);
        assert_eq!(bytes.len(), self.letters.snapshot_bytes());
        let restored = DeadLetters::restore(&self.twin.config, &self.twin.policies, &bytes).unwrap();
        let mut again = Vec::new();
        restored.snapshot(&mut again);
        assert!(bytes == again, "equal structures give equal bytes");
        self.letters = restored;
    }
}
