//! The request queue: what symbols want done, most urgent first, within limits, equal wishes merged.
//!
//! Promises:
//! - **Order.** See [below](#order): priority classes that age, FIFO among equals, turns between symbols.
//! - **Limits.** Pending requests of a symbol, of all symbols, and requests of a symbol that run at the same time. What does not fit
//!   is an answer ([`Pushed::SymbolFull`], [`Pushed::QueueFull`]) and counted. A symbol at its limit in flight leaves the heap of
//!   symbols, so that [`RequestQueue::pop`] never looks at what may not run, and comes back with [`RequestQueue::finish`].
//! - **Merging.** A push for the same symbol and groups as a pending request, within a window, is [`Pushed::Merged`] into that one;
//!   one that shares some groups with it is [`Pushed::Joined`] to it.
//! - **Nothing is left behind** by a request that was popped, expired, removed or cleared: its place is free, its handle stale.
//! - **No allocation** after construction, and no recursion. Every call is O(log n) or less unless it says otherwise.
//!
//! What it does not do: it reads no clock (`now` is an argument; an earlier one is taken as the latest given), runs nothing, and
//! keeps nothing of a request in flight but the count of its symbol. Requests expire in [`RequestQueue::expire`] only: call it
//! with `now` before popping at `now`.
//!
//! ```
//! use tapeline_core::queue::{Config, Priority, Pushed, Request, RequestQueue};
//! use tapeline_core::units::{SymbolId, UnixNanos};
//!
//! let mut queue = RequestQueue::<u64>::new(&Config { symbols: 100, capacity: 1_000, ..Config::default() });
//! let now = UnixNanos(1_000_000_000);
//! let request = |symbol, groups, class| Request {
//!     symbol: SymbolId(symbol),
//!     groups,
//!     priority: Priority::new(class).unwrap(),
//!     expires_at: UnixNanos::ZERO,
//!     payload: 7,
//! };
//! let Pushed::Queued(first) = queue.push(now, request(1, 0b011, 3)) else { panic!() };
//! assert_eq!(queue.push(now, request(1, 0b011, 5)), Pushed::Merged(first));
//! assert_eq!(queue.push(now, request(1, 0b110, 5)), Pushed::Joined(first));
//! let urgent = queue.push(now, request(2, 0b001, 0)).handle();
//!
//! let popped = queue.pop(now).unwrap();
//! assert_eq!(Some(popped.handle), urgent);
//! assert!(queue.finish(SymbolId(2)));
//! let popped = queue.pop(now).unwrap();
//! assert_eq!((popped.request.groups, popped.asked), (0b111, 3));
//! assert!(queue.get(first).is_none(), "popped: the handle is stale");
//! ```
//!
//! # Order
//!
//! A request queued at `t` with class `c` has the *effective time* `t + c * aging_step`, and the least goes first. So a class is a head
//! start of one step over the next class, and waiting makes up for it, without a touch of what waits: once a request of class `c` has
//! waited for `c` steps, nothing that is queued from then on goes before it, whatever its class. Equal effective times go in the
//! order of queueing. A merged request keeps the time of its first push, so that merging never costs it its place.
//!
//! That holds among the requests of one symbol. Between symbols, effective time is cut into *spans* of 2^`turn_bits` ns, about a
//! millisecond. Spans go in order; within one, symbols take turns (the one that had fewest turns in it first, up to 255), and those with
//! equally many go by effective time and order of queueing. So of what a hot symbol queued in a span, one request at most goes before
//! another symbol's first, and what it queues later than that span, plus the head start of its class, goes behind.
//!
//! # Shape
//!
//! ```text
//!  symbols that may run       heap of each symbol's requests       slab of requests       wheel
//!  (IndexedHeap)              (4-ary, lines from one pool)         + payloads             of expiries
//!      symbol 7 ------------->  r12                                 r12: symbol 7, ... ---> timer
//!     /    |    \              / | | \                              chains: requests of a symbol
//!   ..    ..    ..           r3 r9 r4 r8                            in the order of queueing
//! ```
//!
//! | operation | cost |
//! |---|---|
//! | [`push`](RequestQueue::push) | O(log n of the symbol + log symbols), and at most 65 steps to look for what it merges with |
//! | [`pop`](RequestQueue::pop), [`remove`](RequestQueue::remove), [`reprioritise`](RequestQueue::reprioritise) | O(log n of the symbol + log symbols) |
//! | [`finish`](RequestQueue::finish) | O(log symbols) at the limit in flight, else O(1) |
//! | [`clear`](RequestQueue::clear) | O(requests of the symbol + log symbols) |
//! | [`expire`](RequestQueue::expire) | as `remove` for each expired, within a budget; one comparison when nothing is due |

mod check;
mod config;
mod entry;
mod forest;
pub mod heap;
mod merge;
mod order;
mod request;
mod snapshot;
mod waits;

pub use config::Config;
pub use request::{Counters, PRIORITIES, Pending, Priority, Pushed, Request};
pub use waits::Waits;

use crate::chain::Chains;
use crate::slab::{Handle, Slab, seed_of};
use crate::units::{SymbolId, UnixNanos};
use crate::wheel::{Polled, Popped, TimerHandle, Wheel};
use bytemuck::{Pod, Zeroable};
use entry::{Entry, SymbolState};
use forest::Forest;
use heap::IndexedHeap;
use order::{Clock, Order};

/// See the [module](self).
#[derive(Debug)]
pub struct RequestQueue<T> {
    config: Config,
    order: Order,
    clock: Clock,
    entries: Slab<Entry>,
    /// By index of the entry.
    payloads: Box<[T]>,
    /// Pending requests by symbol, in the order of queueing.
    chains: Chains,
    /// Pending requests by symbol, by their keys.
    forest: Forest,
    /// Symbols that have a pending request and may run one, by the key of their first and their turns.
    eligible: IndexedHeap,
    symbols: Box<[SymbolState]>,
    /// Indices of entries, by expiry.
    wheel: Wheel<u32>,
    counters: Counters,
    waits: Waits,
}

/// The requests of a symbol that have left its heap and are on their way out. Dropped by a panic of the caller's code, it takes out the
/// rest, which would be in no heap else.
struct Cleared<'a, T: Pod> {
    queue: &'a mut RequestQueue<T>,
    symbol: u32,
}

impl<T: Pod> Iterator for Cleared<'_, T> {
    type Item = Pending<T>;

    fn next(&mut self) -> Option<Pending<T>> {
        let index = self.queue.chains.first(self.symbol)?;
        Some(self.queue.release(index))
    }
}

impl<T: Pod> Drop for Cleared<'_, T> {
    fn drop(&mut self) {
        while self.next().is_some() {}
    }
}

impl<T: Pod> RequestQueue<T> {
    /// An empty queue. Allocates all that it will ever need: O(symbols + capacity).
    ///
    /// # Panics
    /// When a setting is out of its range: see [`Config`].
    #[must_use]
    pub fn new(config: &Config) -> Self {
        config.assert_valid();
        let Config { symbols, capacity, aging_step_ns, turn_bits, .. } = *config;
        Self {
            config: *config,
            order: Order { aging_step_ns, turn_bits },
            clock: Clock::new(aging_step_ns),
            entries: Slab::new(capacity, seed_of("request queue", config.instance)),
            payloads: vec![T::zeroed(); capacity].into_boxed_slice(),
            chains: Chains::new(symbols, capacity),
            forest: Forest::new(symbols, capacity),
            eligible: IndexedHeap::new(symbols),
            symbols: vec![SymbolState::zeroed(); symbols].into_boxed_slice(),
            wheel: Wheel::new(capacity, config.tick_ns),
            counters: Counters::default(),
            waits: Waits::new(),
        }
    }

    /// Queues a request, or merges it into a pending one, or refuses it.
    ///
    /// Within [`Config::merge_window_ns`] of the first push of a pending request of the same symbol, a push with equal groups
    /// ([`Pushed::Merged`]), or else one that shares a group with it ([`Pushed::Joined`]; where several do, the one queued last), is not
    /// queued: the pending request gets the groups of both, the better priority and the later expiry (never is latest), and keeps its
    /// payload, its place in time and its handle. That needs no room, so that it is tried before the limits are.
    #[inline]
    pub fn push(&mut self, now: UnixNanos, request: Request<T>) -> Pushed {
        self.clock.advance(now.0);
        if request.symbol.index() >= self.symbols.len() {
            self.counters.unknown_symbol += 1;
            return Pushed::UnknownSymbol;
        }
        if let Some(merged) = self.try_merge(&request, |_| true) {
            return merged;
        }
        self.push_new(request)
    }

    /// The first half of [`RequestQueue::push`]: merges the request into a pending one of those whose payload `may`, if there is one
    /// to merge with. At most as many steps as requests of the symbol are pending.
    #[inline]
    pub fn merge_if(&mut self, now: UnixNanos, request: &Request<T>, may: impl Fn(&T) -> bool) -> Option<Pushed> {
        self.clock.advance(now.0);
        if request.symbol.index() >= self.symbols.len() { None } else { self.try_merge(request, may) }
    }

    /// The second half of [`RequestQueue::push`]: queues a request that is not to be merged, or refuses it.
    #[inline]
    pub fn push_unmerged(&mut self, now: UnixNanos, request: Request<T>) -> Pushed {
        self.clock.advance(now.0);
        if request.symbol.index() >= self.symbols.len() {
            self.counters.unknown_symbol += 1;
            return Pushed::UnknownSymbol;
        }
        self.push_new(request)
    }

    #[inline]
    fn push_new(&mut self, request: Request<T>) -> Pushed {
        let symbol = request.symbol.0;
        if self.chains.len(symbol) >= self.config.per_symbol as usize {
            self.counters.symbol_full += 1;
            return Pushed::SymbolFull;
        }
        if self.entries.is_full() {
            self.counters.queue_full += 1;
            return Pushed::QueueFull;
        }
        let stamp = self.clock.stamp();
        let entry = Entry {
            queued_ns: stamp.ns,
            expires_ns: request.expires_at.0,
            groups: request.groups,
            timer: TimerHandle::NONE,
            symbol,
            sequence: stamp.sequence,
            class: u32::from(request.priority.class()),
            asked: 1,
        };
        let Ok(handle) = self.entries.insert(entry) else {
            unreachable!("the slab is not full");
        };
        let index = handle.index();
        self.payloads[index as usize] = request.payload;
        self.set_timer(index);
        self.chains.push_back(symbol, index);
        self.forest.push(symbol, index, self.order.request_key(stamp, request.priority));
        if self.forest.peek(symbol).is_some_and(|(first, _)| first == index) {
            self.refresh(symbol);
        }
        self.counters.queued += 1;
        Pushed::Queued(handle)
    }

    /// Takes out the first request of those that may run, and counts it as in flight until [`RequestQueue::finish`]. `None` when no
    /// symbol below its limit in flight has a request.
    #[inline]
    pub fn pop(&mut self, now: UnixNanos) -> Option<Pending<T>> {
        self.clock.advance(now.0);
        let (symbol, _) = self.eligible.peek()?;
        let (index, key) = self.forest.peek(symbol)?;
        self.forest.remove(symbol, index);
        let pending = self.release(index);
        let span = self.order.span(key);
        let state = &mut self.symbols[symbol as usize];
        state.turns = if state.span == span { (state.turns + 1).min(u32::from(u8::MAX)) } else { 1 };
        state.span = span;
        state.in_flight += 1;
        self.refresh(symbol);
        self.counters.popped += 1;
        self.waits.record(pending.waited_ns);
        Some(pending)
    }

    /// Pops up to `most` requests, each given to `take` in order. Returns how many.
    pub fn pop_batch(&mut self, now: UnixNanos, most: usize, mut take: impl FnMut(Pending<T>)) -> usize {
        self.clock.advance(now.0);
        let mut popped = 0;
        while popped < most {
            let Some(pending) = self.pop(now) else {
                break;
            };
            take(pending);
            popped += 1;
        }
        popped
    }

    /// One of the symbol's requests in flight is done, well or not. `false`, and nothing done, when none is in flight.
    #[inline]
    pub fn finish(&mut self, symbol: SymbolId) -> bool {
        let Some(state) = self.symbols.get_mut(symbol.index()) else {
            return false;
        };
        if state.in_flight == 0 {
            return false;
        }
        let was_at_limit = state.in_flight == self.config.in_flight_per_symbol;
        state.in_flight -= 1;
        self.counters.finished += 1;
        if was_at_limit {
            self.refresh(symbol.0);
        }
        true
    }

    /// Gives a pending request another priority; the time that it has waited counts on. `false`, and nothing done, when the handle is stale.
    #[inline]
    pub fn reprioritise(&mut self, handle: Handle, priority: Priority) -> bool {
        if !self.entries.contains(handle) {
            return false;
        }
        self.set_priority(handle.index(), priority);
        true
    }

    /// Takes a pending request out. `None` when the handle is stale.
    #[inline]
    pub fn remove(&mut self, handle: Handle) -> Option<Pending<T>> {
        if !self.entries.contains(handle) {
            return None;
        }
        self.counters.removed += 1;
        Some(self.take_out(handle.index()))
    }

    /// Takes out all pending requests of a symbol, each given to `dropped` in the order of queueing. Returns how many. What is in
    /// flight stays so. If `dropped` panics, those after it are taken out all the same, and not given to it.
    pub fn clear(&mut self, symbol: SymbolId, mut dropped: impl FnMut(Pending<T>)) -> usize {
        let requests = self.chains.len(symbol.0);
        if requests == 0 {
            return 0;
        }
        self.forest.clear(symbol.0);
        self.eligible.remove(symbol.0);
        self.counters.cleared += requests as u64;
        for pending in &mut (Cleared { queue: self, symbol: symbol.0 }) {
            dropped(pending);
        }
        requests
    }

    /// Takes out the requests whose time is over, each given to `expired`, in the order of their expiry. A request taken out and a step of
    /// the wheel cost 1 of the budget each; with a budget of at least 1, every call gets on.
    ///
    /// A request never expires before its time, and at most one tick after it if this is called that often. With a budget above what is due,
    /// no request whose time, rounded up to a tick, is `now` or before is left.
    pub fn expire(&mut self, now: UnixNanos, budget: usize, mut expired: impl FnMut(Pending<T>)) -> Polled {
        self.clock.advance(now.0);
        let now = UnixNanos(self.clock.seen_ns());
        let mut left = budget;
        let mut fired = 0;
        loop {
            match self.wheel.pop_due_within(now, &mut left) {
                Popped::Fired(_, index) => {
                    self.counters.expired += 1;
                    fired += 1;
                    expired(self.take_out(index));
                }
                Popped::NothingDue => return Polled { fired, more_due: false },
                Popped::OutOfBudget => return Polled { fired, more_due: true },
            }
        }
    }

    /// The first expiry, or an instant before it: when to call [`RequestQueue::expire`]. `None` when nothing pending expires.
    #[must_use]
    pub fn next_expiry_hint(&self) -> Option<UnixNanos> {
        self.wheel.next_due_hint()
    }

    /// A pending request; `None` when the handle is stale. O(1).
    #[inline]
    #[must_use]
    pub fn get(&self, handle: Handle) -> Option<Pending<T>> {
        self.entries.contains(handle).then(|| self.pending_at(handle.index()))
    }

    /// The payload of a pending request, to be changed: after a merge, for example. `None` when the handle is stale. O(1).
    #[inline]
    pub fn payload_mut(&mut self, handle: Handle) -> Option<&mut T> {
        if self.entries.contains(handle) { self.payloads.get_mut(handle.index() as usize) } else { None }
    }

    /// What [`RequestQueue::pop`] would take out. O(1).
    #[inline]
    #[must_use]
    pub fn peek(&self) -> Option<Pending<T>> {
        let (symbol, _) = self.eligible.peek()?;
        self.forest.peek(symbol).map(|(index, _)| self.pending_at(index))
    }

    /// All pending requests, by place. O(capacity).
    pub fn iter(&self) -> impl Iterator<Item = Pending<T>> {
        self.entries.iter().map(|(handle, _)| self.pending_at(handle.index()))
    }

    /// Pending requests.
    #[inline]
    #[must_use]
    pub const fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether no request is pending.
    #[inline]
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Pending requests of a symbol; 0 for an unknown one. O(1).
    #[inline]
    #[must_use]
    pub fn pending(&self, symbol: SymbolId) -> usize {
        self.chains.len(symbol.0)
    }

    /// Requests of a symbol that were popped and are not finished; 0 for an unknown one. O(1).
    #[inline]
    #[must_use]
    pub fn in_flight(&self, symbol: SymbolId) -> u32 {
        self.symbols.get(symbol.index()).map_or(0, |state| state.in_flight)
    }

    /// The symbol with the most pending requests, and how many; of several the one with the least id. `None` when nothing is pending.
    /// O(symbols): for reports.
    #[must_use]
    pub fn hottest(&self) -> Option<(SymbolId, usize)> {
        let symbols = 0..self.symbols.len() as u32;
        let (most, symbol) = symbols
            .map(|symbol| (self.chains.len(symbol), symbol))
            .max_by_key(|(len, symbol)| (*len, u32::MAX - symbol))?;
        (most > 0).then_some((SymbolId(symbol), most))
    }

    /// What happened so far.
    #[inline]
    #[must_use]
    pub const fn counters(&self) -> &Counters {
        &self.counters
    }

    /// How long popped requests had waited. Begins anew when a queue is restored.
    #[inline]
    #[must_use]
    pub const fn waits(&self) -> &Waits {
        &self.waits
    }

    /// As [`RequestQueue::waits`], to reset it.
    #[inline]
    pub const fn waits_mut(&mut self) -> &mut Waits {
        &mut self.waits
    }

    /// The settings.
    #[inline]
    #[must_use]
    pub const fn config(&self) -> &Config {
        &self.config
    }

    /// Bytes on the heap.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.entries.bytes()
            + size_of_val(&*self.payloads)
            + self.chains.bytes()
            + self.forest.bytes()
            + self.eligible.bytes()
            + size_of_val(&*self.symbols)
            + self.wheel.bytes()
            + self.waits.bytes()
    }

    /// Puts the symbol where it belongs in the heap of those that may run, or takes it out, after its first request, its turns or its
    /// number in flight have changed.
    #[inline]
    fn refresh(&mut self, symbol: u32) {
        match self.symbol_key(symbol) {
            Some(key) => {
                if !self.eligible.change(symbol, key) {
                    self.eligible.push(symbol, key);
                }
            }
            None => {
                self.eligible.remove(symbol);
            }
        }
    }

    /// The key of a symbol that may run a request.
    #[inline]
    fn symbol_key(&self, symbol: u32) -> Option<heap::Key> {
        let state = &self.symbols[symbol as usize];
        if state.in_flight >= self.config.in_flight_per_symbol {
            return None;
        }
        let (_, key) = self.forest.peek(symbol)?;
        let turns = if state.span == self.order.span(key) { state.turns as u8 } else { 0 };
        Some(self.order.symbol_key(key, turns))
    }

    /// Takes a request out of everything, its symbol's heap included.
    #[inline]
    fn take_out(&mut self, index: u32) -> Pending<T> {
        let symbol = self.entries.at(index).symbol;
        let was_first = self.forest.peek(symbol).is_some_and(|(first, _)| first == index);
        self.forest.remove(symbol, index);
        let pending = self.release(index);
        if was_first {
            self.refresh(symbol);
        }
        pending
    }

    /// Frees a request that has left its symbol's heap.
    #[inline]
    fn release(&mut self, index: u32) -> Pending<T> {
        let pending = self.pending_at(index);
        let Entry { timer, symbol, .. } = *self.entries.at(index);
        if timer != TimerHandle::NONE {
            self.wheel.cancel(timer);
        }
        self.chains.unlink(symbol, index);
        self.entries.remove(pending.handle);
        pending
    }

    #[inline]
    fn pending_at(&self, index: u32) -> Pending<T> {
        let entry = self.entries.at(index);
        Pending {
            handle: self.entries.handle_at(index),
            request: Request {
                symbol: SymbolId(entry.symbol),
                groups: entry.groups,
                priority: entry.priority(),
                expires_at: UnixNanos(entry.expires_ns),
                payload: self.payloads[index as usize],
            },
            queued_at: UnixNanos(entry.queued_ns),
            waited_ns: self.clock.now_ns() - entry.queued_ns,
            asked: entry.asked,
        }
    }

    fn set_priority(&mut self, index: u32, priority: Priority) {
        let entry = self.entries.at_mut(index);
        entry.class = u32::from(priority.class());
        let (symbol, key) = (entry.symbol, self.order.request_key(entry.stamp(), priority));
        let was_first = self.forest.peek(symbol).is_some_and(|(first, _)| first == index);
        self.forest.change(symbol, index, key);
        if was_first || self.forest.peek(symbol).is_some_and(|(first, _)| first == index) {
            self.refresh(symbol);
        }
    }

    /// Makes the timer of a request fit its expiry.
    #[inline]
    fn set_timer(&mut self, index: u32) {
        let entry = self.entries.at_mut(index);
        if entry.expires_ns == 0 {
            if entry.timer != TimerHandle::NONE {
                self.wheel.cancel(entry.timer);
                entry.timer = TimerHandle::NONE;
            }
        } else if !self.wheel.reschedule(entry.timer, UnixNanos(entry.expires_ns)) {
            // There are as many timers as places for requests: the wheel has room.
            entry.timer = self.wheel.schedule(UnixNanos(entry.expires_ns), index).unwrap_or(TimerHandle::NONE);
        }
    }
}
