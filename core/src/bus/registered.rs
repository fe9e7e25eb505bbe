//! One handler with its states per symbol, and how it is called.

use super::{Call, Missed, sealed};
use crate::dead::{ERROR_PANIC, Failure};
use crate::event::{EventRef, Flags, KindSet};
use crate::handler::{Ask, Ctx, Handler, JobSet, RequestEnd, RequestId, TimerRequest, Verdict};
use crate::hash;
use crate::invariant::{Broken, require, require_counts};
use crate::limits::{HANDLER_COUNTS_MAX, STRIKES_MAX};
use crate::section::{Reader, RestoreError, Writer};
use crate::timing::HandlerTime;
use crate::units::{SourceId, SymbolId};
use bytemuck::Zeroable;
use bytemuck::allocation::zeroed_slice_box;

/// One handler with its states: what the chain is made of, and the dynamic table.
#[doc(hidden)]
pub struct Registered<H: Handler> {
    pub(super) handler: H,
    pub(super) kinds: KindSet,
    pub(super) number: u16,
    pub(super) source: SourceId,
    pub(super) states: Box<[H::State]>,
    /// The state as it was before the running call, or the running run.
    pub(super) before: H::State,
    pub(super) strikes: Box<[u8]>,
    pub(super) stats: HandlerStats,
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
    /// Calls that failed or panicked although the handler keeps no copy of its state ([`Handler::ROLLBACK`]): the state began anew.
    pub states_lost: u64,
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
    pub(super) fn new(handler: H, symbols_max: usize) -> Self {
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

    /// What has to be the same where states are put back: name, version and size.
    fn identity(&self) -> [u64; 3] {
        [hash::stable(H::NAME.as_bytes()), u64::from(H::STATE_VERSION), size_of::<H::State>() as u64]
    }

    /// Whether the handler is quarantined for `symbol`. One compare while nothing is quarantined at all.
    #[inline]
    pub(super) fn is_quarantined(&self, symbol: SymbolId) -> bool {
        self.stats.quarantined > 0 && self.strikes[symbol.index()] >= STRIKES_MAX
    }

    /// Whether the handler is quarantined for `symbol`; counts what it is not given then.
    pub(super) fn is_skipped(&mut self, symbol: SymbolId) -> bool {
        let is_skipped = self.is_quarantined(symbol);
        self.stats.skipped += u64::from(is_skipped);
        is_skipped
    }

    /// Calls the handler. What it staged stays when it is done; else nothing of the call is left, and the failure is returned.
    ///
    /// Always inlined, and so is [`Registered::give`]: left to the compiler, a static chain of ten takes 516 instructions an event in one build and 345 in another,
    /// by what else is in the program.
    #[inline(always)]
    pub(super) fn call(
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
    pub(super) fn undo(&mut self, call: &mut Call<'_>, code: u16, failure: Failure) -> Failure {
        call.cx.staging().roll_back();
        self.put_back(call.cx.symbol());
        self.stats.failed += 1;
        self.stats.last_code = code;
        failure
    }

    /// The state of `symbol` is what it was before the call; without a copy of that, it begins anew.
    pub(super) fn put_back(&mut self, symbol: SymbolId) {
        self.states[symbol.index()] = if H::ROLLBACK { self.before } else { H::State::zeroed() };
        self.stats.states_lost += u64::from(!H::ROLLBACK);
    }

    /// Gives the event to the handler, whatever is to be looked at before.
    #[inline(always)]
    pub(super) fn give(&mut self, event: EventRef<'_>, call: &mut Call<'_>) {
        if let Some(failure) = self.call(call, |handler, state, cx| handler.on_event(state, event, cx)) {
            call.unfinished.push(self.number, Missed::Failed(failure));
        }
    }
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
    fn stats(&self, symbols: usize) -> HandlerStats;
    fn calls(&self) -> u64;
    fn budget_ns(&self) -> Option<u64>;
    fn took(&mut self, ns: u64, is_sample: bool);
    fn bytes(&self) -> usize;
    /// Bytes of [`Subscriber::write`] for so many symbols.
    fn section_bytes(&self, symbols: usize) -> usize;
    /// Writes states and strikes of symbols `0..symbols`, and counts.
    fn write(&self, symbols: usize, body: &mut Writer<'_>);
    /// Reads what [`Subscriber::write`] wrote by the same handler. Returns for how many symbols it is quarantined.
    fn read(&mut self, symbols: usize, body: &mut Reader<'_>) -> Result<Result<u64, Broken>, RestoreError>;
}

/// What a handler declares.
#[doc(hidden)]
#[derive(Clone, Copy, Debug)]
pub struct About {
    pub(super) name: &'static str,
    pub(super) kinds: KindSet,
    pub(super) jobs: JobSet,
    pub(super) crosses_symbols: bool,
    pub(super) takes_runs: bool,
    pub(super) takes_history: bool,
    pub(super) has_budget: bool,
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
            takes_history: H::TAKES_HISTORY,
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
        self.put_back(symbol);
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

    /// O(symbols) for a handler with counts of its own: those with ids below `symbols`, so that the zero pages behind them stay untouched.
    fn stats(&self, symbols: usize) -> HandlerStats {
        let mut counts = const { Counts::new(H::COUNTS) };
        if !H::COUNTS.is_empty() {
            self.states.iter().take(symbols).for_each(|state| self.handler.count(state, counts.sums_mut()));
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

    fn section_bytes(&self, symbols: usize) -> usize {
        (3 + 7) * 8 + symbols * (size_of::<H::State>() + 1)
    }

    fn write(&self, symbols: usize, body: &mut Writer<'_>) {
        body.slice(&self.identity());
        let HandlerStats { calls, failed, last_code, panicked, states_lost, quarantined, skipped, .. } = self.stats;
        body.slice(&[calls, failed, u64::from(last_code), panicked, states_lost, quarantined, skipped]);
        body.slice(&self.states[..symbols]);
        body.slice(&self.strikes[..symbols]);
    }

    fn read(&mut self, symbols: usize, body: &mut Reader<'_>) -> Result<Result<u64, Broken>, RestoreError> {
        for (setting, here) in
            ["a handler called", "a version of its state of", "bytes of a state of"].into_iter().zip(self.identity())
        {
            body.setting(setting, here)?;
        }
        let mut counts = [0; 7];
        body.fill(&mut counts)?;
        body.fill(&mut self.states[..symbols])?;
        body.fill(&mut self.strikes[..symbols])?;
        let [calls, failed, last_code, panicked, states_lost, quarantined, skipped] = counts;
        self.stats = HandlerStats {
            calls,
            failed,
            last_code: last_code as u16,
            panicked,
            states_lost,
            quarantined,
            skipped,
            ..self.stats
        };
        let known = self.strikes.iter().filter(|strikes| **strikes >= STRIKES_MAX).count() as u64;
        Ok(require_counts(&counts)
            .and_then(|()| require(last_code <= u64::from(u16::MAX), "a code has 16 bits", last_code))
            .and_then(|()| require(known == quarantined, "who is quarantined has the strikes", quarantined))
            .map(|()| known))
    }
}
