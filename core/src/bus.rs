//! The bus: handlers in priority order, their states per symbol, and the containment of their failures.
//!
//! The built-in pipeline is a static chain that the compiler sees through; handlers that are known at run time only
//! stand in a table beside it. Both are one list in dispatch order: dynamic handlers of a priority above 0, the chain,
//! the other dynamic handlers; equal priorities keep the order of registration. The position in that list is the
//! handler's *number*, and the source `handler.<NAME>` stands for it in the events that it makes.
//!
//! A handler that panics is met at the next handler: [`Bus::recover`] puts its state for that symbol back, discards
//! what the call had staged, and counts a strike. After [`STRIKES_MAX`] strikes it is quarantined for that symbol.

use crate::catalog::{Catalog, CatalogError, SeqRule};
use crate::dead::{DeadLetters, Failure};
use crate::event::{EventRef, Identity, Kind, KindSet};
use crate::handler::{CallSite, Ctx, Handler, Staging, StagingMark, TimerRequest, Verdict};
use crate::limits::{HANDLERS_MAX, STRIKES_MAX, TICK_NS};
use crate::timing::{HandlerTime, Timing, Untimed};
use crate::units::{SourceId, SymbolId, UnixNanos};
use bytemuck::Zeroable;
use bytemuck::allocation::zeroed_slice_box;

/// What the bus knows while it walks its handlers for one event or timer.
#[derive(Debug)]
pub struct Call<'a> {
    /// Shard time.
    pub now: UnixNanos,
    /// `ts_event` for what is made.
    pub ts_event: UnixNanos,
    /// The root event.
    pub root: Identity,
    /// T of the timer, 0 for an event.
    pub timer_ns: u64,
    /// [`TimerRequest::id`] of the timer, 0 for an event.
    pub timer: u64,
    /// Seed of the engine.
    pub seed: u64,
    /// Where effects go.
    pub staging: &'a mut Staging,
    /// Where the walk stands; lives outside the call so that it survives a panic.
    pub progress: &'a mut Progress,
    /// Handlers that are not done with the event.
    pub unfinished: &'a mut Unfinished,
    /// Who waits for a retry, where that is anybody at all.
    pub letters: Option<&'a DeadLetters>,
}

/// How far the walk over the handlers has come. Survives the unwinding of a panic.
#[derive(Clone, Copy, Debug, Default)]
pub struct Progress {
    /// The handler that is running.
    pub running: Option<(u16, StagingMark)>,
    /// Handlers below this number have had the event.
    pub next: u16,
}

/// Why a handler is not done with an event.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Missed {
    /// It failed.
    Failed(Failure),
    /// It was not called: an earlier event of the symbol waits for its retry there.
    Held,
}

/// The handlers that are not done with the active event, in dispatch order. Fixed memory.
#[derive(Debug)]
pub struct Unfinished(Vec<(u16, Missed)>);

impl Unfinished {
    /// None. Allocates room for all handlers of a bus.
    #[must_use]
    pub fn new() -> Self {
        Self(Vec::with_capacity(HANDLERS_MAX))
    }

    /// Whether every handler is done.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Handlers and what they missed.
    #[must_use]
    pub fn as_slice(&self) -> &[(u16, Missed)] {
        &self.0
    }

    /// Another event begins.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// One handler more. Each has one at most, so that there is room.
    #[cold]
    pub fn push(&mut self, handler: u16, missed: Missed) {
        debug_assert!(self.0.len() < HANDLERS_MAX, "Invariant: a handler misses an event once");
        self.0.push((handler, missed));
    }
}

impl Default for Unfinished {
    fn default() -> Self {
        Self::new()
    }
}

/// One handler with its states: what the chain is made of, and the dynamic table.
#[doc(hidden)]
pub struct Registered<H: Handler> {
    handler: H,
    kinds: KindSet,
    number: u16,
    source: SourceId,
    states: Box<[H::State]>,
    /// The state as it was before the running call.
    before: H::State,
    strikes: Box<[u8]>,
    stats: HandlerStats,
}

/// Counts of one handler.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HandlerStats {
    /// Calls, for events, retries and timers.
    pub calls: u64,
    /// Calls that gave up.
    pub failed: u64,
    /// Code of the last failure.
    pub last_code: u16,
    /// Calls that panicked.
    pub panicked: u64,
    /// Symbols for which it is quarantined.
    pub quarantined: u64,
    /// Events that it was not given because of quarantine.
    pub skipped: u64,
    /// [`Handler::BUDGET_NS`].
    pub budget_ns: Option<u64>,
    /// What its stamped calls took.
    pub time: HandlerTime,
}

impl<H: Handler> Registered<H> {
    fn new(handler: H, symbols_max: usize) -> Self {
        let kinds = handler.interests();
        Self {
            handler,
            kinds,
            number: 0,
            source: SourceId::NONE,
            states: zeroed_slice_box(symbols_max),
            before: H::State::zeroed(),
            strikes: zeroed_slice_box(symbols_max),
            stats: HandlerStats { budget_ns: H::BUDGET_NS, ..HandlerStats::default() },
        }
    }

    /// Whether the handler is quarantined for `symbol`. One compare while nothing is quarantined at all.
    #[inline]
    fn is_quarantined(&self, symbol: SymbolId) -> bool {
        self.stats.quarantined > 0 && self.strikes[symbol.index()] >= STRIKES_MAX
    }

    #[inline]
    fn call(
        &mut self,
        symbol: SymbolId,
        call: &mut Call<'_>,
        run: impl FnOnce(&H, &mut H::State, &mut Ctx<'_>) -> Verdict,
    ) {
        let mark = call.staging.mark();
        call.progress.running = Some((self.number, mark));
        self.stats.calls += 1;
        let state = &mut self.states[symbol.index()];
        if H::ROLLBACK {
            self.before = *state;
        }
        let site = CallSite {
            now: call.now,
            tick_ns: TICK_NS,
            symbol,
            ts_event: call.ts_event,
            root: call.root,
            timer_ns: call.timer_ns,
            timer: call.timer,
            seed: call.seed,
            handler: self.number,
            source: self.source,
            crosses_symbols: H::CROSSES_SYMBOLS,
        };
        match run(&self.handler, state, &mut Ctx::new(site, call.staging)) {
            Verdict::Done => {}
            verdict @ (Verdict::Retry(code) | Verdict::Fail(code)) => {
                debug_assert!(H::ROLLBACK, "Invariant: {} said that it never fails", H::NAME);
                call.staging.roll_back(mark);
                *state = self.before;
                self.stats.failed += 1;
                self.stats.last_code = code;
                let failure = if let Verdict::Retry(_) = verdict { Failure::Retry(code) } else { Failure::Fail(code) };
                call.unfinished.push(self.number, Missed::Failed(failure));
            }
        }
        call.progress.running = None;
        call.progress.next = self.number + 1;
    }
}

mod sealed {
    pub trait Sealed {}
}

/// A handler as the bus sees it, whatever its type. Only the bus makes and calls it.
#[doc(hidden)]
pub trait Subscriber: Send + sealed::Sealed {
    fn name(&self) -> &'static str;
    fn kinds(&self) -> KindSet;
    fn crosses_symbols(&self) -> bool;
    fn number(&self) -> u16;
    fn set_number(&mut self, number: u16, source: SourceId);
    fn on_event(&mut self, event: EventRef<'_>, call: &mut Call<'_>);
    fn on_retry(&mut self, event: EventRef<'_>, call: &mut Call<'_>) -> bool;
    fn on_timer(&mut self, timer: &TimerRequest, call: &mut Call<'_>);
    fn recover(&mut self, symbol: SymbolId);
    fn stats(&self) -> HandlerStats;
    fn calls(&self) -> u64;
    fn budget_ns(&self) -> Option<u64>;
    fn took(&mut self, ns: u64, is_sample: bool);
    fn bytes(&self) -> usize;
}

impl<H: Handler> sealed::Sealed for Registered<H> {}
impl<H: Handler> Subscriber for Registered<H> {
    fn name(&self) -> &'static str {
        H::NAME
    }

    fn kinds(&self) -> KindSet {
        self.kinds
    }

    fn crosses_symbols(&self) -> bool {
        H::CROSSES_SYMBOLS
    }

    fn number(&self) -> u16 {
        self.number
    }

    fn set_number(&mut self, number: u16, source: SourceId) {
        (self.number, self.source) = (number, source);
    }

    #[inline]
    fn on_event(&mut self, event: EventRef<'_>, call: &mut Call<'_>) {
        if !self.kinds.contains(event.kind()) || self.number < call.progress.next {
            return;
        }
        let symbol = event.head().symbol;
        if self.is_quarantined(symbol) {
            self.stats.skipped += 1;
            return;
        }
        if call.letters.is_some_and(|letters| letters.is_holding(self.number, symbol)) {
            call.unfinished.push(self.number, Missed::Held);
            call.progress.next = self.number + 1;
            return;
        }
        self.call(symbol, call, |handler, state, cx| handler.on_event(state, event, cx));
    }

    fn on_retry(&mut self, event: EventRef<'_>, call: &mut Call<'_>) -> bool {
        let symbol = event.head().symbol;
        if self.is_quarantined(symbol) {
            self.stats.skipped += 1;
            return false;
        }
        self.call(symbol, call, |handler, state, cx| handler.on_event(state, event, cx));
        true
    }

    fn on_timer(&mut self, timer: &TimerRequest, call: &mut Call<'_>) {
        if self.is_quarantined(timer.symbol) {
            self.stats.skipped += 1;
            return;
        }
        self.call(timer.symbol, call, |handler, state, cx| handler.on_timer(state, timer.token, cx));
    }

    fn recover(&mut self, symbol: SymbolId) {
        let state = &mut self.states[symbol.index()];
        *state = if H::ROLLBACK { self.before } else { H::State::zeroed() };
        self.stats.panicked += 1;
        let strikes = &mut self.strikes[symbol.index()];
        *strikes = strikes.saturating_add(1);
        if *strikes == STRIKES_MAX {
            self.stats.quarantined += 1;
        }
    }

    fn stats(&self) -> HandlerStats {
        self.stats
    }

    fn calls(&self) -> u64 {
        self.stats.calls
    }

    fn budget_ns(&self) -> Option<u64> {
        H::BUDGET_NS
    }

    fn took(&mut self, ns: u64, is_sample: bool) {
        self.stats.time.add(ns, H::BUDGET_NS, is_sample);
    }

    fn bytes(&self) -> usize {
        std::mem::size_of_val(&*self.states) + self.strikes.len()
    }
}

/// The static part of a bus: [`End`], or a [`Link`] of a chain and one handler more.
pub trait Chain: Send + sealed::Sealed {
    #[doc(hidden)]
    fn on_event<T: Timing>(&mut self, event: EventRef<'_>, call: &mut Call<'_>, timing: &mut T);
    #[doc(hidden)]
    fn each(&mut self, visit: &mut dyn FnMut(&mut dyn Subscriber));
}

/// The empty chain.
#[derive(Debug, Clone, Copy)]
pub struct End;

impl sealed::Sealed for End {}
impl Chain for End {
    #[inline]
    fn on_event<T: Timing>(&mut self, _event: EventRef<'_>, _call: &mut Call<'_>, _timing: &mut T) {}
    fn each(&mut self, _visit: &mut dyn FnMut(&mut dyn Subscriber)) {}
}

/// A chain and the handler after it.
pub struct Link<C: Chain, H: Handler> {
    before: C,
    last: Registered<H>,
}

impl<C: Chain, H: Handler> sealed::Sealed for Link<C, H> {}
impl<C: Chain, H: Handler> Chain for Link<C, H> {
    #[inline]
    fn on_event<T: Timing>(&mut self, event: EventRef<'_>, call: &mut Call<'_>, timing: &mut T) {
        self.before.on_event(event, call, timing);
        timing.call(&mut self.last, Some(event.kind()), |last| last.on_event(event, call));
    }

    fn each(&mut self, visit: &mut dyn FnMut(&mut dyn Subscriber)) {
        self.before.each(visit);
        visit(&mut self.last);
    }
}

/// Handlers under construction; [`BusBuilder::build`] makes the [`Bus`].
pub struct BusBuilder<C: Chain> {
    chain: C,
    /// Priority and handler, in order of registration.
    dynamic: Vec<(i32, Box<dyn Subscriber>)>,
    symbols_max: usize,
}

/// Why a bus could not be built.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BusError {
    /// Two handlers have this name.
    #[error("two handlers are named {0}")]
    NameTaken(&'static str),
    /// More handlers than [`HANDLERS_MAX`]. Holds their number.
    #[error("{0} handlers are more than the {HANDLERS_MAX} that a bus takes")]
    TooMany(usize),
    /// The handler's source did not fit the catalog.
    #[error("handler {0}: {1}")]
    Source(&'static str, CatalogError),
}

impl BusBuilder<End> {
    /// A bus without handlers, for symbols `0..symbols_max`.
    #[must_use]
    pub fn new(symbols_max: usize) -> Self {
        Self { chain: End, dynamic: Vec::new(), symbols_max }
    }
}

impl<C: Chain> BusBuilder<C> {
    /// Appends a handler to the static chain, which has priority 0.
    #[must_use]
    pub fn then<H: Handler>(self, handler: H) -> BusBuilder<Link<C, H>> {
        let last = Registered::new(handler, self.symbols_max);
        BusBuilder { chain: Link { before: self.chain, last }, dynamic: self.dynamic, symbols_max: self.symbols_max }
    }

    /// Adds a handler to the dynamic table. Above 0 it comes before the chain, else after it; higher priorities first.
    #[must_use]
    pub fn dynamic<H: Handler>(mut self, priority: i32, handler: H) -> Self {
        self.dynamic.push((priority, Box::new(Registered::new(handler, self.symbols_max))));
        self
    }

    /// Symbols that the handlers have states for, id 0 included.
    #[must_use]
    pub fn symbols_max(&self) -> usize {
        self.symbols_max
    }

    /// Numbers the handlers in dispatch order and interns their sources in `catalog`.
    ///
    /// # Errors
    /// When names collide, there are too many handlers, or the catalog is full.
    pub fn build(mut self, catalog: &mut Catalog) -> Result<Bus<C>, BusError> {
        // The sort is stable: equal priorities keep the order of registration.
        self.dynamic.sort_by_key(|(priority, _)| std::cmp::Reverse(*priority));
        let after = self.dynamic.iter().position(|(priority, _)| *priority <= 0).unwrap_or(self.dynamic.len());
        let after: Vec<_> = self.dynamic.split_off(after).into_iter().map(|(_, handler)| handler).collect();
        let before: Vec<_> = self.dynamic.into_iter().map(|(_, handler)| handler).collect();
        let mut bus = Bus {
            before,
            chain: self.chain,
            after,
            interests: KindSet::EMPTY,
            crosses_symbols: false,
            has_budgets: false,
            names: Vec::new(),
        };
        let (mut names, mut error) = (Vec::<&'static str>::new(), None);
        let (mut interests, mut crosses, mut has_budgets) = (KindSet::EMPTY, false, false);
        bus.each(&mut |handler| {
            let name = handler.name();
            if names.contains(&name) {
                error.get_or_insert(BusError::NameTaken(name));
            }
            let source = catalog.source(format!("handler.{name}").as_bytes(), SeqRule::None).unwrap_or_else(|full| {
                error.get_or_insert(BusError::Source(name, full));
                SourceId::NONE
            });
            handler.set_number(names.len() as u16, source);
            names.push(name);
            interests = interests.union(handler.kinds());
            crosses |= handler.crosses_symbols();
            has_budgets |= handler.budget_ns().is_some();
        });
        if names.len() > HANDLERS_MAX {
            error.get_or_insert(BusError::TooMany(names.len()));
        }
        (bus.names, bus.interests, bus.crosses_symbols) = (names, interests, crosses);
        bus.has_budgets = has_budgets;
        error.map_or(Ok(bus), Err)
    }
}

/// Handlers in dispatch order. See the module's documentation.
pub struct Bus<C: Chain> {
    before: Vec<Box<dyn Subscriber>>,
    chain: C,
    after: Vec<Box<dyn Subscriber>>,
    interests: KindSet,
    crosses_symbols: bool,
    has_budgets: bool,
    names: Vec<&'static str>,
}

impl<C: Chain> Bus<C> {
    fn each(&mut self, visit: &mut dyn FnMut(&mut dyn Subscriber)) {
        self.before.iter_mut().for_each(|handler| visit(&mut **handler));
        self.chain.each(visit);
        self.after.iter_mut().for_each(|handler| visit(&mut **handler));
    }

    /// Gives the event to every interested handler from number `call.progress.next` on.
    #[inline]
    pub fn on_event(&mut self, event: EventRef<'_>, call: &mut Call<'_>) {
        self.on_event_timed(event, call, &mut Untimed);
    }

    /// As [`Bus::on_event`]; `timing` stamps the calls.
    #[inline]
    pub fn on_event_timed<T: Timing>(&mut self, event: EventRef<'_>, call: &mut Call<'_>, timing: &mut T) {
        for handler in &mut self.before {
            timing.call(&mut **handler, Some(event.kind()), |handler| handler.on_event(event, call));
        }
        self.chain.on_event(event, call, timing);
        for handler in &mut self.after {
            timing.call(&mut **handler, Some(event.kind()), |handler| handler.on_event(event, call));
        }
    }

    /// Gives the timer to the handler that set it. O(handlers).
    pub fn on_timer<T: Timing>(&mut self, timer: &TimerRequest, call: &mut Call<'_>, timing: &mut T) {
        self.each(&mut |handler| {
            if handler.number() == timer.handler && call.progress.next <= timer.handler {
                timing.call(handler, None, |handler| handler.on_timer(timer, call));
            }
        });
    }

    /// Gives the event to handler `number` alone, again. False when that is quarantined for the symbol. O(handlers).
    pub fn on_retry<T: Timing>(
        &mut self,
        number: u16,
        event: EventRef<'_>,
        call: &mut Call<'_>,
        timing: &mut T,
    ) -> bool {
        let mut is_called = false;
        self.each(&mut |handler| {
            if handler.number() == number {
                is_called = timing.call(handler, None, |handler| handler.on_retry(event, call));
            }
        });
        is_called
    }

    /// After a panic in handler `number`: puts its state for `symbol` back and counts a strike. O(handlers).
    #[cold]
    pub fn recover(&mut self, number: u16, symbol: SymbolId) {
        self.each(&mut |handler| {
            if handler.number() == number {
                handler.recover(symbol);
            }
        });
    }

    /// Whether any handler wants this kind.
    #[inline]
    #[must_use]
    pub fn wants(&self, kind: Kind) -> bool {
        self.interests.contains(kind)
    }

    /// Whether any handler publishes for other symbols than the one at hand.
    #[must_use]
    pub fn crosses_symbols(&self) -> bool {
        self.crosses_symbols
    }

    /// Whether any handler has a budget, so that each of its calls is stamped.
    #[inline]
    #[must_use]
    pub fn has_budgets(&self) -> bool {
        self.has_budgets
    }

    /// Names in dispatch order: the index is the handler's number.
    #[must_use]
    pub fn names(&self) -> &[&'static str] {
        &self.names
    }

    /// Counts of each handler, in dispatch order. Allocates: for reports.
    #[must_use]
    pub fn stats(&mut self) -> Vec<(&'static str, HandlerStats)> {
        let mut stats = Vec::new();
        self.each(&mut |handler| stats.push((handler.name(), handler.stats())));
        stats
    }

    /// Bytes of each handler's states, in dispatch order. Zero pages until a symbol is used.
    #[must_use]
    pub fn bytes(&mut self) -> usize {
        let mut bytes = 0;
        self.each(&mut |handler| bytes += handler.bytes());
        bytes
    }
}

impl<C: Chain> std::fmt::Debug for Bus<C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bus").field("handlers", &self.names).finish_non_exhaustive()
    }
}
