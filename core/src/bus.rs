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
use crate::dead::{DeadLetters, ERROR_PANIC, Failure};
use crate::event::payload::Subscription;
use crate::event::{EventRef, Flags, Kind, KindSet};
use crate::handler::{Ask, Ctx, Handler, Job, JobSet, RequestEnd, RequestId, TimerRequest, Verdict};
use crate::hash;
use crate::limits::{HANDLER_COUNTS_MAX, HANDLERS_MAX, KIND_ROWS, STRIKES_MAX};
use crate::subscriptions::{Stale, SubscribeError, SubscriptionId, Subscriptions};
use crate::timing::{HandlerTime, Timing, Untimed};
use crate::units::{SourceId, SymbolId};
use bytemuck::Zeroable;
use bytemuck::allocation::zeroed_slice_box;

/// What the bus knows while it walks its handlers for one event or timer.
#[derive(Debug)]
pub struct Call<'a> {
    /// What handlers are given: time, symbol, cause, and where effects go.
    pub cx: Ctx<'a>,
    /// Where the walk stands; lives outside the call so that it survives a panic.
    pub progress: &'a mut Progress,
    /// Handlers that are not done with the event.
    pub unfinished: &'a mut Unfinished,
    /// Who waits for a retry, where that is anybody at all.
    pub letters: Option<&'a DeadLetters>,
}

/// No handler.
const NOBODY: u16 = u16::MAX;

/// How far the walk over the handlers has come. Survives the unwinding of a panic.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// The handler that is running.
    running: u16,
    /// Handlers below this number have had the event.
    next: u16,
}

impl Progress {
    /// Nobody has had the event, which is [`Progress::default`], or everybody has.
    #[must_use]
    pub const fn done() -> Self {
        Self { running: NOBODY, next: u16::MAX }
    }

    /// The handler that is running.
    #[must_use]
    pub fn running(&self) -> Option<u16> {
        (self.running != NOBODY).then_some(self.running)
    }

    /// After a panic: the handler that was running has had the event. `None` when none was.
    pub fn pass(&mut self) -> Option<u16> {
        let running = self.running()?;
        *self = Self { running: NOBODY, next: running + 1 };
        Some(running)
    }

    /// Whether no handler has had the event.
    #[inline]
    #[must_use]
    pub const fn is_new(&self) -> bool {
        self.next == 0
    }
}

impl Default for Progress {
    #[inline]
    fn default() -> Self {
        Self { running: NOBODY, next: 0 }
    }
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
    /// The state as it was before the running call, or the running run.
    before: H::State,
    strikes: Box<[u8]>,
    stats: HandlerStats,
}

/// Counts of one handler.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HandlerStats {
    /// Calls of any kind; a run is one.
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
    /// What it counts of its own, over all symbols.
    pub counts: Counts,
}

/// What a handler counts of its own: [`Handler::COUNTS`] and their sums.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    names: &'static [&'static str],
    sums: [u64; HANDLER_COUNTS_MAX],
}

impl Counts {
    /// Counts of these names, all 0.
    ///
    /// # Panics
    /// With more than [`HANDLER_COUNTS_MAX`] names.
    #[must_use]
    pub const fn new(names: &'static [&'static str]) -> Self {
        assert!(names.len() <= HANDLER_COUNTS_MAX, "a handler has at most 16 counts of its own");
        Self { names, sums: [0; HANDLER_COUNTS_MAX] }
    }

    /// The sums, one for each name.
    #[must_use]
    pub fn sums_mut(&mut self) -> &mut [u64] {
        &mut self.sums[..self.names.len()]
    }

    /// Name and sum of each, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        self.names.iter().copied().zip(self.sums)
    }

    /// Adds those of the same handler on another shard.
    pub fn add(&mut self, other: &Self) {
        self.sums.iter_mut().zip(other.sums).for_each(|(sum, more)| *sum = sum.saturating_add(more));
    }
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

    /// Whether the handler is quarantined for `symbol`; counts what it is not given then.
    fn is_skipped(&mut self, symbol: SymbolId) -> bool {
        let is_skipped = self.is_quarantined(symbol);
        self.stats.skipped += u64::from(is_skipped);
        is_skipped
    }

    /// Calls the handler. What it staged stays when it is done; else nothing of the call is left, and the failure is returned.
    #[inline]
    fn call(
        &mut self,
        call: &mut Call<'_>,
        run: impl FnOnce(&H, &mut H::State, &mut Ctx<'_>) -> Verdict,
    ) -> Option<Failure> {
        call.progress.running = self.number;
        self.stats.calls += 1;
        let state = &mut self.states[call.cx.symbol().index()];
        if H::ROLLBACK {
            self.before = *state;
        }
        call.cx.turn_to_handler(self.number, self.source, H::CROSSES_SYMBOLS);
        match run(&self.handler, state, &mut call.cx) {
            Verdict::Done => {
                call.cx.staging().keep();
                None
            }
            Verdict::Retry(code) => Some(self.undo(call, code, Failure::Retry(code))),
            Verdict::Fail(code) => Some(self.undo(call, code, Failure::Fail(code))),
        }
    }

    #[cold]
    #[inline(never)]
    fn undo(&mut self, call: &mut Call<'_>, code: u16, failure: Failure) -> Failure {
        debug_assert!(H::ROLLBACK, "Invariant: {} said that it never fails", H::NAME);
        call.cx.staging().roll_back();
        self.states[call.cx.symbol().index()] = self.before;
        self.stats.failed += 1;
        self.stats.last_code = code;
        failure
    }

    /// Gives the event to the handler, whatever is to be looked at before.
    #[inline]
    fn give(&mut self, event: EventRef<'_>, call: &mut Call<'_>) {
        if let Some(failure) = self.call(call, |handler, state, cx| handler.on_event(state, event, cx)) {
            call.unfinished.push(self.number, Missed::Failed(failure));
        }
    }
}

mod sealed {
    pub trait Sealed {}
}

/// A handler as the bus sees it, whatever its type. Only the bus makes and calls it.
#[doc(hidden)]
pub trait Subscriber: Send + sealed::Sealed {
    fn about(&self) -> About;
    fn number(&self) -> u16;
    fn set_number(&mut self, number: u16, source: SourceId);
    fn set_kinds(&mut self, kinds: KindSet);
    fn on_event(&mut self, event: EventRef<'_>, call: &mut Call<'_>);
    fn on_event_with_care(&mut self, event: EventRef<'_>, call: &mut Call<'_>);
    fn on_run(&mut self, run: &[EventRef<'_>], call: &mut Call<'_>) -> usize;
    fn on_retry(&mut self, event: EventRef<'_>, call: &mut Call<'_>) -> bool;
    fn on_timer(&mut self, timer: &TimerRequest, call: &mut Call<'_>);
    fn on_request(&mut self, ask: &Ask, call: &mut Call<'_>) -> Option<Failure>;
    fn on_reply(&mut self, request: RequestId, event: EventRef<'_>, call: &mut Call<'_>) -> Option<Failure>;
    fn on_request_end(&mut self, request: RequestId, end: RequestEnd, call: &mut Call<'_>) -> Option<Failure>;
    fn recover(&mut self, symbol: SymbolId) -> bool;
    fn undo_run(&mut self, symbol: SymbolId);
    fn stats(&self) -> HandlerStats;
    fn calls(&self) -> u64;
    fn budget_ns(&self) -> Option<u64>;
    fn took(&mut self, ns: u64, is_sample: bool);
    fn bytes(&self) -> usize;
}

/// What a handler declares.
#[doc(hidden)]
#[derive(Clone, Copy, Debug)]
pub struct About {
    name: &'static str,
    kinds: KindSet,
    jobs: JobSet,
    crosses_symbols: bool,
    takes_runs: bool,
    has_budget: bool,
}

impl<H: Handler> sealed::Sealed for Registered<H> {}
impl<H: Handler> Subscriber for Registered<H> {
    fn about(&self) -> About {
        About {
            name: H::NAME,
            kinds: self.kinds,
            jobs: self.handler.serves(),
            crosses_symbols: H::CROSSES_SYMBOLS,
            takes_runs: H::TAKES_RUNS,
            has_budget: H::BUDGET_NS.is_some(),
        }
    }

    fn number(&self) -> u16 {
        self.number
    }

    fn set_number(&mut self, number: u16, source: SourceId) {
        (self.number, self.source) = (number, source);
    }

    fn set_kinds(&mut self, kinds: KindSet) {
        self.kinds = kinds;
    }

    #[inline]
    fn on_event(&mut self, event: EventRef<'_>, call: &mut Call<'_>) {
        self.give(event, call);
    }

    fn on_event_with_care(&mut self, event: EventRef<'_>, call: &mut Call<'_>) {
        let symbol = call.cx.symbol();
        let is_for_others = !H::TAKES_HISTORY && event.head().flags.contains(Flags::HISTORICAL);
        if is_for_others || self.number < call.progress.next || self.is_skipped(symbol) {
            return;
        }
        if call.letters.is_some_and(|letters| letters.is_holding(self.number, symbol)) {
            call.unfinished.push(self.number, Missed::Held);
            return;
        }
        self.give(event, call);
    }

    /// Returns how many events were consumed; 0 = nothing is left of the run.
    fn on_run(&mut self, run: &[EventRef<'_>], call: &mut Call<'_>) -> usize {
        call.progress.running = self.number;
        self.stats.calls += 1;
        let state = &mut self.states[call.cx.symbol().index()];
        // Also without `ROLLBACK`: which event of a run a panic came from is found out one by one.
        self.before = *state;
        call.cx.turn_to_handler(self.number, self.source, H::CROSSES_SYMBOLS);
        let (consumed, verdict) = self.handler.on_run(state, run, &mut call.cx);
        let last = consumed.checked_sub(1).and_then(|last| run.get(last));
        let is_kept = verdict == Verdict::Done
            && last.is_some_and(|last| !call.cx.has_staged() || call.cx.root() == last.head().identity());
        if is_kept {
            call.cx.staging().keep();
            return consumed;
        }
        call.cx.staging().roll_back();
        *state = self.before;
        0
    }

    fn on_retry(&mut self, event: EventRef<'_>, call: &mut Call<'_>) -> bool {
        let is_skipped = self.is_skipped(call.cx.symbol());
        if !is_skipped {
            self.give(event, call);
        }
        !is_skipped
    }

    fn on_timer(&mut self, timer: &TimerRequest, call: &mut Call<'_>) {
        if !self.is_skipped(timer.symbol) {
            // It is counted, and there is no event that could come again.
            let _ = self.call(call, |handler, state, cx| handler.on_timer(state, timer.token, cx));
        }
    }

    fn on_request(&mut self, ask: &Ask, call: &mut Call<'_>) -> Option<Failure> {
        if self.is_skipped(ask.symbol) {
            return Some(Failure::Fail(ERROR_PANIC));
        }
        self.call(call, |handler, state, cx| handler.on_request(state, ask, cx))
    }

    fn on_reply(&mut self, request: RequestId, event: EventRef<'_>, call: &mut Call<'_>) -> Option<Failure> {
        if self.is_skipped(call.cx.symbol()) {
            return None;
        }
        self.call(call, |handler, state, cx| handler.on_reply(state, request, event, cx))
    }

    fn on_request_end(&mut self, request: RequestId, end: RequestEnd, call: &mut Call<'_>) -> Option<Failure> {
        if self.is_skipped(call.cx.symbol()) {
            return None;
        }
        self.call(call, |handler, state, cx| handler.on_request_end(state, request, end, cx))
    }

    /// Returns whether that was the last strike: it is quarantined from now on.
    fn recover(&mut self, symbol: SymbolId) -> bool {
        let state = &mut self.states[symbol.index()];
        *state = if H::ROLLBACK { self.before } else { H::State::zeroed() };
        self.stats.panicked += 1;
        let strikes = &mut self.strikes[symbol.index()];
        *strikes = strikes.saturating_add(1);
        let is_last = *strikes == STRIKES_MAX;
        self.stats.quarantined += u64::from(is_last);
        is_last
    }

    fn undo_run(&mut self, symbol: SymbolId) {
        self.states[symbol.index()] = self.before;
    }

    /// O(symbols) for a handler with counts of its own.
    fn stats(&self) -> HandlerStats {
        let mut counts = const { Counts::new(H::COUNTS) };
        if !H::COUNTS.is_empty() {
            self.states.iter().for_each(|state| self.handler.count(state, counts.sums_mut()));
        }
        HandlerStats { counts, ..self.stats }
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
    /// Gives the event to those who want one of `kinds`, which is its kind.
    #[doc(hidden)]
    fn on_event<T: Timing>(&mut self, kinds: KindSet, event: EventRef<'_>, call: &mut Call<'_>, timing: &mut T);
    /// The same, where something may keep a handler from it.
    #[doc(hidden)]
    fn on_event_with_care<T: Timing>(
        &mut self,
        kinds: KindSet,
        event: EventRef<'_>,
        call: &mut Call<'_>,
        timing: &mut T,
    );
    #[doc(hidden)]
    fn each(&mut self, visit: &mut dyn FnMut(&mut dyn Subscriber));
}

/// The empty chain.
#[derive(Debug, Clone, Copy)]
pub struct End;

impl sealed::Sealed for End {}
impl Chain for End {
    #[inline]
    fn on_event<T: Timing>(&mut self, _: KindSet, _: EventRef<'_>, _: &mut Call<'_>, _: &mut T) {}
    #[inline]
    fn on_event_with_care<T: Timing>(&mut self, _: KindSet, _: EventRef<'_>, _: &mut Call<'_>, _: &mut T) {}
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
    fn on_event<T: Timing>(&mut self, kinds: KindSet, event: EventRef<'_>, call: &mut Call<'_>, timing: &mut T) {
        self.before.on_event(kinds, event, call, timing);
        if self.last.kinds.intersects(kinds) {
            timing.call(&mut self.last, |last| last.on_event(event, call));
        }
    }

    #[inline]
    fn on_event_with_care<T: Timing>(
        &mut self,
        kinds: KindSet,
        event: EventRef<'_>,
        call: &mut Call<'_>,
        timing: &mut T,
    ) {
        self.before.on_event_with_care(kinds, event, call, timing);
        if self.last.kinds.intersects(kinds) {
            timing.call(&mut self.last, |last| last.on_event_with_care(event, call));
        }
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
    /// Two handlers serve one job. Holds its number and the second of them.
    #[error("handler {1}: job {0} is served already")]
    JobTaken(u8, &'static str),
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
        let listed = |handlers: Vec<Box<dyn Subscriber>>| -> Vec<Listed> {
            handlers.into_iter().map(|handler| Listed { kinds: handler.about().kinds, handler }).collect()
        };
        let mut bus = Bus {
            before: listed(before),
            chain: self.chain,
            after: listed(after),
            interests: KindSet::EMPTY,
            jobs: JobSet::EMPTY,
            servers: Box::new([NOBODY; Job::MAX]),
            run_kinds: Box::new([KindSet::EMPTY; KIND_ROWS]),
            runners: Box::new([NOBODY; KIND_ROWS]),
            quarantined: 0,
            crosses_symbols: false,
            has_budgets: false,
            names: Vec::new(),
            sources: Vec::new(),
            subscriptions: Subscriptions::new(&[]),
        };
        let (mut handlers, mut sources, mut error) = (Vec::<About>::new(), Vec::new(), None);
        bus.each(&mut |handler| {
            let about = handler.about();
            if handlers.iter().any(|other| other.name == about.name) {
                error.get_or_insert(BusError::NameTaken(about.name));
            }
            let source = format!("handler.{}", about.name);
            let source = catalog.source(source.as_bytes(), SeqRule::None).unwrap_or_else(|full| {
                error.get_or_insert(BusError::Source(about.name, full));
                SourceId::NONE
            });
            handler.set_number(handlers.len() as u16, source);
            handlers.push(about);
            sources.push(source);
        });
        bus.sources = sources;
        if handlers.len() > HANDLERS_MAX {
            error.get_or_insert(BusError::TooMany(handlers.len()));
        }
        for (number, about) in handlers.iter().enumerate() {
            bus.crosses_symbols |= about.crosses_symbols;
            bus.has_budgets |= about.has_budget;
            bus.jobs = bus.jobs.union(about.jobs);
            for job in (0..Job::MAX as u8).filter(|job| about.jobs.contains(Job(*job))) {
                let server = &mut bus.servers[usize::from(job)];
                if *server != NOBODY {
                    error.get_or_insert(BusError::JobTaken(job, about.name));
                }
                *server = number as u16;
            }
        }
        let interests: Vec<KindSet> = handlers.iter().take(HANDLERS_MAX).map(|about| about.kinds).collect();
        bus.subscriptions = Subscriptions::new(&interests);
        bus.find_runners();
        bus.names = handlers.iter().map(|about| about.name).collect();
        error.map_or(Ok(bus), Err)
    }
}

/// A dynamic handler, and what it is asked for most beside it.
struct Listed {
    kinds: KindSet,
    handler: Box<dyn Subscriber>,
}

/// Handlers in dispatch order. See the module's documentation.
pub struct Bus<C: Chain> {
    before: Vec<Listed>,
    chain: C,
    after: Vec<Listed>,
    interests: KindSet,
    /// Jobs that a handler serves, and who serves each.
    jobs: JobSet,
    servers: Box<[u16; Job::MAX]>,
    /// By row of a kind: the kinds that its only handler has to itself, if that takes runs; and that handler.
    run_kinds: Box<[KindSet; KIND_ROWS]>,
    runners: Box<[u16; KIND_ROWS]>,
    /// Pairs of handler and symbol that are quarantined.
    quarantined: u64,
    crosses_symbols: bool,
    has_budgets: bool,
    names: Vec<&'static str>,
    /// By number of the handler, the source of what it makes.
    sources: Vec<SourceId>,
    subscriptions: Subscriptions,
}

impl<C: Chain> Bus<C> {
    fn each(&mut self, visit: &mut dyn FnMut(&mut dyn Subscriber)) {
        self.before.iter_mut().for_each(|listed| visit(&mut *listed.handler));
        self.chain.each(visit);
        self.after.iter_mut().for_each(|listed| visit(&mut *listed.handler));
    }

    /// Calls `visit` for handler `number`. `None` when there is none. O(handlers).
    fn with<T>(&mut self, number: u16, visit: impl FnOnce(&mut dyn Subscriber) -> T) -> Option<T> {
        let (mut visit, mut result) = (Some(visit), None);
        self.each(&mut |handler| {
            if handler.number() == number
                && let Some(visit) = visit.take()
            {
                result = Some(visit(handler));
            }
        });
        result
    }

    /// Sets what all handlers together are called for, and who takes runs: one that is alone with its kinds. O(handlers squared).
    fn find_runners(&mut self) {
        let (mut abouts, mut count) = ([None; HANDLERS_MAX], 0);
        self.each(&mut |handler| {
            if let Some(place) = abouts.get_mut(count) {
                *place = Some(handler.about());
            }
            count += 1;
        });
        let abouts = || abouts.iter().flatten().enumerate();
        self.interests = abouts().fold(KindSet::EMPTY, |kinds, (_, about)| kinds.union(about.kinds));
        self.run_kinds.fill(KindSet::EMPTY);
        self.runners.fill(NOBODY);
        // A budget is for one event.
        for (number, about) in abouts().filter(|(_, about)| about.takes_runs && !about.has_budget) {
            let others = abouts().filter(|(other, _)| *other != number);
            let others = others.fold(KindSet::EMPTY, |kinds, (_, other)| kinds.union(other.kinds));
            let alone = about.kinds.without(others);
            for row in (0..KIND_ROWS).filter(|row| alone.contains(Kind(*row as u16))) {
                (self.run_kinds[row], self.runners[row]) = (alone, number as u16);
            }
        }
    }

    /// Which handler is subscribed to what.
    #[must_use]
    pub fn subscriptions(&self) -> &Subscriptions {
        &self.subscriptions
    }

    /// Subscribes a handler to a topic, from the next event on. See [`Subscriptions::subscribe`]. O(handlers squared), no allocation.
    ///
    /// # Errors
    /// As [`Subscriptions::subscribe`].
    pub fn subscribe(&mut self, handler: u16, topic: u64, kinds: KindSet) -> Result<SubscriptionId, SubscribeError> {
        let id = self.subscriptions.subscribe(handler, topic, kinds)?;
        self.follow(handler);
        Ok(id)
    }

    /// Ends a subscription: its handler is not called for it from the next event on. What waits for a retry, and timers, go on. O(handlers
    /// squared), no allocation.
    ///
    /// # Errors
    /// As [`Subscriptions::unsubscribe`].
    pub fn unsubscribe(&mut self, subscription: SubscriptionId) -> Result<(), Stale> {
        let handler = self.subscriptions.unsubscribe(subscription)?;
        self.follow(handler);
        Ok(())
    }

    /// Calls `handler` for what it is subscribed to.
    fn follow(&mut self, handler: u16) {
        let kinds = self.subscriptions.kinds(handler);
        for listed in self.before.iter_mut().chain(&mut self.after).filter(|listed| listed.handler.number() == handler)
        {
            listed.kinds = kinds;
        }
        self.with(handler, |handler| handler.set_kinds(kinds));
        self.find_runners();
    }

    /// Does what a control event says: the handler of that name's hash is subscribed to the topic of that name's hash, which has `kinds`, or it
    /// is no longer. False when that cannot be: an unknown handler, no kind that it knows, no room.
    pub fn apply(&mut self, change: &Subscription, kinds: KindSet) -> bool {
        let handler = self.names.iter().position(|name| hash::stable(name.as_bytes()) == change.handler);
        let Some(handler) = handler.map(|handler| handler as u16) else { return false };
        if change.subscribed != 0 {
            return self.subscribe(handler, change.topic, kinds).is_ok();
        }
        self.subscriptions.find(handler, change.topic).is_some_and(|there| self.unsubscribe(there).is_ok())
    }

    /// Gives the event to every interested handler that has not had it.
    #[inline]
    pub fn on_event(&mut self, event: EventRef<'_>, call: &mut Call<'_>) {
        self.on_event_timed(event, call, &mut Untimed);
    }

    /// As [`Bus::on_event`]; `timing` stamps the calls.
    #[inline]
    pub fn on_event_timed<T: Timing>(&mut self, event: EventRef<'_>, call: &mut Call<'_>, timing: &mut T) {
        // What may keep a handler from an event is looked at once for all of them.
        let is_past = event.head().flags.contains(Flags::HISTORICAL);
        if call.letters.is_some() || self.quarantined > 0 || !call.progress.is_new() || is_past {
            self.on_event_with_care(event, call, timing);
            return;
        }
        let kinds = KindSet::one(event.kind());
        for listed in &mut self.before {
            if listed.kinds.intersects(kinds) {
                timing.call(&mut *listed.handler, |handler| handler.on_event(event, call));
            }
        }
        self.chain.on_event(kinds, event, call, timing);
        for listed in &mut self.after {
            if listed.kinds.intersects(kinds) {
                timing.call(&mut *listed.handler, |handler| handler.on_event(event, call));
            }
        }
        call.progress.running = NOBODY;
    }

    /// As [`Bus::on_event`] where a panic cut the walk short, somebody is quarantined, events are held, or the event is of the past.
    #[cold]
    #[inline(never)]
    fn on_event_with_care<T: Timing>(&mut self, event: EventRef<'_>, call: &mut Call<'_>, timing: &mut T) {
        let kinds = KindSet::one(event.kind());
        for listed in self.before.iter_mut().filter(|listed| listed.kinds.intersects(kinds)) {
            timing.call(&mut *listed.handler, |handler| handler.on_event_with_care(event, call));
        }
        self.chain.on_event_with_care(kinds, event, call, timing);
        for listed in self.after.iter_mut().filter(|listed| listed.kinds.intersects(kinds)) {
            timing.call(&mut *listed.handler, |handler| handler.on_event_with_care(event, call));
        }
        call.progress.running = NOBODY;
    }

    /// Gives a run of events of one symbol, of kinds of one [`Bus::run_kinds`], to their handler. Returns how many it has consumed;
    /// 0 = nothing of the call is left, and the events are to be given out one by one. O(handlers).
    pub fn on_run<T: Timing>(&mut self, run: &[EventRef<'_>], call: &mut Call<'_>, timing: &mut T) -> usize {
        let runner = run.first().map_or(NOBODY, |first| self.runners[first.kind().row()]);
        self.call(runner, call, timing, |handler, call| handler.on_run(run, call)).unwrap_or(0)
    }

    /// Gives the timer to the handler that set it. O(handlers).
    pub fn on_timer<T: Timing>(&mut self, timer: &TimerRequest, call: &mut Call<'_>, timing: &mut T) {
        if call.progress.next <= timer.handler {
            self.call(timer.handler, call, timing, |handler, call| handler.on_timer(timer, call));
        }
    }

    /// Gives the event to handler `number` alone, again. False when that is quarantined for the symbol. O(handlers).
    pub fn on_retry<T: Timing>(
        &mut self,
        number: u16,
        event: EventRef<'_>,
        call: &mut Call<'_>,
        timing: &mut T,
    ) -> bool {
        self.call(number, call, timing, |handler, call| handler.on_retry(event, call)).unwrap_or(false)
    }

    /// Gives the request to the handler that serves its job. A failure when it could not do it, or is quarantined. O(handlers).
    pub fn on_request<T: Timing>(&mut self, ask: &Ask, call: &mut Call<'_>, timing: &mut T) -> Option<Failure> {
        let server = self.servers.get(usize::from(ask.job.0)).copied().unwrap_or(NOBODY);
        let failure = self.call(server, call, timing, |handler, call| handler.on_request(ask, call));
        failure.unwrap_or(Some(Failure::Fail(0)))
    }

    /// Gives an event of a reply to handler `number`, whose request it answers. O(handlers).
    pub fn on_reply<T: Timing>(
        &mut self,
        (number, request): (u16, RequestId),
        event: EventRef<'_>,
        call: &mut Call<'_>,
        timing: &mut T,
    ) -> Option<Failure> {
        self.call(number, call, timing, |handler, call| handler.on_reply(request, event, call)).flatten()
    }

    /// Tells handler `number` how its request ended. O(handlers).
    pub fn on_request_end<T: Timing>(
        &mut self,
        (number, request): (u16, RequestId),
        end: RequestEnd,
        call: &mut Call<'_>,
        timing: &mut T,
    ) -> Option<Failure> {
        self.call(number, call, timing, |handler, call| handler.on_request_end(request, end, call)).flatten()
    }

    /// Calls one handler for what only it gets. `None` when there is none of that number. O(handlers).
    fn call<T: Timing, R>(
        &mut self,
        number: u16,
        call: &mut Call<'_>,
        timing: &mut T,
        run: impl FnOnce(&mut dyn Subscriber, &mut Call<'_>) -> R,
    ) -> Option<R> {
        let result = self.with(number, |handler| timing.call(handler, |handler| run(handler, call)));
        call.progress.running = NOBODY;
        result
    }

    /// After a panic in handler `number`: puts its state for `symbol` back and counts a strike. True when that was the last one: it
    /// is quarantined for the symbol from now on. O(handlers).
    #[cold]
    pub fn recover(&mut self, number: u16, symbol: SymbolId) -> bool {
        let is_last = self.with(number, |handler| handler.recover(symbol)).unwrap_or(false);
        self.quarantined += u64::from(is_last);
        is_last
    }

    /// After a panic of handler `number` in a run: puts its state for `symbol` back to before the run. No strike: the events are
    /// given out one by one, and it shows which of them it was. O(handlers).
    #[cold]
    pub fn undo_run(&mut self, number: u16, symbol: SymbolId) {
        self.with(number, |handler| handler.undo_run(symbol));
    }

    /// The kinds that events of a run with one of this kind may have: those that its only handler has to itself, where that
    /// takes runs; else none.
    #[inline]
    #[must_use]
    pub fn run_kinds(&self, kind: Kind) -> KindSet {
        self.run_kinds[kind.row()]
    }

    /// Whether a handler is quarantined for any symbol.
    #[inline]
    #[must_use]
    pub fn has_quarantined(&self) -> bool {
        self.quarantined > 0
    }

    /// Whether any handler has a budget, so that each of its calls is stamped.
    #[inline]
    #[must_use]
    pub fn has_budgets(&self) -> bool {
        self.has_budgets
    }

    /// Jobs that handlers of this bus serve.
    #[must_use]
    pub fn jobs(&self) -> JobSet {
        self.jobs
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

    /// Names in dispatch order: the index is the handler's number.
    #[must_use]
    pub fn names(&self) -> &[&'static str] {
        &self.names
    }

    /// The source that stands for handler `number` in the events it makes; [`SourceId::NONE`] when there is none of that number.
    #[must_use]
    pub fn source(&self, number: u16) -> SourceId {
        self.sources.get(usize::from(number)).copied().unwrap_or(SourceId::NONE)
    }

    /// Counts of each handler, in dispatch order, with those of its own. O(handlers * symbols), allocates: for reports.
    #[must_use]
    pub fn stats(&mut self) -> Vec<(&'static str, HandlerStats)> {
        let mut stats = Vec::new();
        self.each(&mut |handler| stats.push((handler.about().name, handler.stats())));
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
