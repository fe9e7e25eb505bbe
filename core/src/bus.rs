//! The bus: handlers in priority order, their states per symbol, and the containment of their failures.
//!
//! The built-in pipeline is a static chain that the compiler sees through; handlers that are known at run time only
//! stand in a table beside it. Both are one list in dispatch order: dynamic handlers of a priority above 0, the chain,
//! the other dynamic handlers; equal priorities keep the order of registration. The position in that list is the
//! handler's *number*, and the source `handler.<NAME>` stands for it in the events that it makes.
//!
//! A handler that panics is met at the next handler: [`Bus::recover`] puts its state for that symbol back, discards
//! what the call had staged, and counts a strike. After [`crate::limits::STRIKES_MAX`] strikes it is quarantined for that symbol.

use crate::dead::{DeadLetters, Failure};
use crate::event::payload::Subscription;
use crate::event::{EventRef, Flags, Kind, KindSet};
use crate::handler::{Ask, Ctx, Job, JobSet, RequestEnd, RequestId, TimerRequest};
use crate::hash;
use crate::limits::{HANDLERS_MAX, KIND_ROWS};
use crate::subscriptions::{Stale, SubscribeError, SubscriptionId, Subscriptions};
use crate::timing::{Timing, Untimed};
use crate::units::{SourceId, SymbolId};

mod build;
mod chain;
mod registered;
mod snapshot;

pub use build::{BusBuilder, BusError};
pub use chain::{Chain, End, Link};
pub use registered::{About, Counts, HandlerStats, Registered, Subscriber};

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

    /// Whether everybody has had the event.
    #[inline]
    #[must_use]
    pub const fn is_done(&self) -> bool {
        self.next == u16::MAX
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

/// The handlers that are not done with the active event, in dispatch order, and how many calls failed that nobody makes again. Fixed memory.
#[derive(Debug)]
pub struct Unfinished {
    handlers: Vec<(u16, Missed)>,
    calls: u64,
}

impl Unfinished {
    /// None. Allocates room for all handlers of a bus.
    #[must_use]
    pub fn new() -> Self {
        Self { handlers: Vec::with_capacity(HANDLERS_MAX), calls: 0 }
    }

    /// Whether every handler is done.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.handlers.is_empty()
    }

    /// Handlers and what they missed.
    #[must_use]
    pub fn as_slice(&self) -> &[(u16, Missed)] {
        &self.handlers
    }

    /// Another event begins.
    pub fn clear(&mut self) {
        self.handlers.clear();
    }

    /// One handler more. Each has one at most, so that there is room.
    #[cold]
    pub fn push(&mut self, handler: u16, missed: Missed) {
        debug_assert!(self.handlers.len() < HANDLERS_MAX, "Invariant: a handler misses an event once");
        self.handlers.push((handler, missed));
    }

    /// A call that told who asked has failed: it cannot come again. One handler may have asked often, so these are counted and not kept.
    #[cold]
    pub fn count_call(&mut self) {
        self.calls += 1;
    }

    /// Calls that failed and cannot come again, since the last time.
    pub fn take_calls(&mut self) -> u64 {
        std::mem::take(&mut self.calls)
    }
}

impl Default for Unfinished {
    fn default() -> Self {
        Self::new()
    }
}

mod sealed {
    pub trait Sealed {}
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
    all_run_kinds: KindSet,
    /// Kinds that handlers with a budget are called for.
    budget_kinds: KindSet,
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
        self.all_run_kinds = KindSet::EMPTY;
        let with_budget = abouts().filter(|(_, about)| about.has_budget);
        self.budget_kinds = with_budget.fold(KindSet::EMPTY, |kinds, (_, about)| kinds.union(about.kinds));
        // A budget is for one event.
        for (number, about) in abouts().filter(|(_, about)| about.takes_runs && !about.has_budget) {
            let others = abouts().filter(|(other, _)| *other != number);
            let others = others.fold(KindSet::EMPTY, |kinds, (_, other)| kinds.union(other.kinds));
            let alone = about.kinds.without(others);
            self.all_run_kinds = self.all_run_kinds.union(alone);
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
        self.walk(event, call, timing);
    }

    /// Gives an event to every interested handler where nothing may keep one from it: nothing is held, nobody is quarantined, nobody has had it,
    /// and it is not of the past.
    #[inline]
    pub fn on_plain(&mut self, event: EventRef<'_>, call: &mut Call<'_>) {
        self.walk(event, call, &mut Untimed);
    }

    #[inline]
    fn walk<T: Timing>(&mut self, event: EventRef<'_>, call: &mut Call<'_>, timing: &mut T) {
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

    /// Kinds of which events may be in a run.
    #[inline]
    #[must_use]
    pub const fn all_run_kinds(&self) -> KindSet {
        self.all_run_kinds
    }

    /// Kinds of which each call of some handler is stamped, as it has a budget.
    #[inline]
    #[must_use]
    pub const fn budget_kinds(&self) -> KindSet {
        self.budget_kinds
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

    /// Whether handler `number` is given events of the past of all these kinds as they come by ([`Handler::TAKES_HISTORY`](crate::handler::Handler::TAKES_HISTORY)). O(handlers).
    #[must_use]
    pub fn takes_history(&mut self, number: u16, kinds: KindSet) -> bool {
        let about = self.with(number, |handler| handler.about());
        about.is_some_and(|about| about.takes_history && kinds.without(about.kinds) == KindSet::EMPTY)
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

    /// Puts the counts of each handler into `stats`, in dispatch order, with those of its own for symbols with ids below `symbols`. O(handlers *
    /// symbols); no allocation where `stats` has room for [`HANDLERS_MAX`].
    pub fn stats_into(&mut self, symbols: usize, stats: &mut Vec<(&'static str, HandlerStats)>) {
        stats.clear();
        self.each(&mut |handler| stats.push((handler.about().name, handler.stats(symbols))));
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
