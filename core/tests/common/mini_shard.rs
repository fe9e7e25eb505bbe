//! The least that a handler needs of a shard: one handler, a state per symbol, shard time and timers.
//!
//! It follows DESIGN's rules of time: the clock is the running maximum of `ts_recv`, and before an event of time t is
//! handled every timer with T <= t has fired, in the order (T, order of setting).

// Each test file that includes this module uses a part of it.
#![allow(dead_code)]

use std::collections::BTreeMap;
use tapeline_core::event::{EventRef, Flags, Identity, Slot, events};
use tapeline_core::handler::{CallSite, Ctx, Handler, Staging, TimerRequest, Verdict};
use tapeline_core::limits::TICK_NS;
use tapeline_core::units::{SourceId, SymbolId, UnixNanos};

/// Source of what the handler makes.
pub(crate) const MADE_BY: SourceId = SourceId(200);

/// A shard with the one handler `H`.
pub(crate) struct MiniShard<H: Handler> {
    handler: H,
    states: Vec<H::State>,
    now: UnixNanos,
    timers: BTreeMap<(UnixNanos, u64), TimerRequest>,
    timers_set: u64,
    staging: Staging,
    outputs: Vec<Vec<Slot>>,
}

impl<H: Handler> MiniShard<H> {
    pub(crate) fn new(handler: H, symbols: usize) -> Self {
        Self {
            handler,
            states: vec![bytemuck::Zeroable::zeroed(); symbols],
            now: UnixNanos::ZERO,
            timers: BTreeMap::new(),
            timers_set: 0,
            staging: Staging::new(),
            outputs: Vec::new(),
        }
    }

    /// An event: fires what is due before it, then hands it to the handler.
    pub(crate) fn event(&mut self, slots: &[Slot]) {
        let event = EventRef::first(slots).expect("a whole event");
        let head = event.head();
        self.tick(head.ts_recv);
        let is_past = head.flags.contains(Flags::HISTORICAL);
        if !self.handler.interests().contains(event.kind()) || is_past && !H::TAKES_HISTORY {
            return;
        }
        let site = self.site(head.symbol, head.ts_event, head.identity(), 0);
        let state = &mut self.states[head.symbol.index()];
        let verdict = self.handler.on_event(state, event, &mut Ctx::new(site, &mut self.staging));
        self.commit(verdict);
    }

    /// Shard time moves to `now` (never back): fires what is due.
    pub(crate) fn tick(&mut self, now: UnixNanos) {
        let now = self.now.max(now);
        while let Some(timer) = self.timers.first_entry()
            && timer.key().0 <= now
        {
            let timer = timer.remove();
            self.now = self.now.max(timer.due);
            let site = self.site(timer.symbol, timer.due, timer.cause, timer.due.0);
            let state = &mut self.states[timer.symbol.index()];
            let verdict = self.handler.on_timer(state, timer.token, &mut Ctx::new(site, &mut self.staging));
            self.commit(verdict);
        }
        self.now = now;
    }

    /// Fires every timer that is pending.
    pub(crate) fn drain(&mut self) {
        while let Some((&(due, _), _)) = self.timers.last_key_value() {
            self.tick(due);
        }
    }

    /// Forgets the timers, as no shard does.
    pub(crate) fn lose_timers(&mut self) {
        self.timers.clear();
    }

    pub(crate) fn now(&self) -> UnixNanos {
        self.now
    }

    pub(crate) fn timers(&self) -> usize {
        self.timers.len()
    }

    pub(crate) fn state(&mut self, symbol: SymbolId) -> &mut H::State {
        &mut self.states[symbol.index()]
    }

    /// What the handler has published, in order, each as its span.
    pub(crate) fn outputs(&self) -> impl Iterator<Item = EventRef<'_>> {
        self.outputs.iter().map(|slots| EventRef::first(slots).expect("a whole event"))
    }

    /// The outputs as slots, to compare runs.
    pub(crate) fn output_slots(&self) -> &[Vec<Slot>] {
        &self.outputs
    }

    fn site(&self, symbol: SymbolId, ts_event: UnixNanos, root: Identity, timer_ns: u64) -> CallSite {
        let (now, tick_ns) = (self.now, TICK_NS);
        CallSite {
            now,
            tick_ns,
            symbol,
            ts_event,
            root,
            timer_ns,
            timer: timer_ns,
            seed: 1,
            handler: 0,
            source: MADE_BY,
            crosses_symbols: false,
        }
    }

    fn commit(&mut self, verdict: Verdict) {
        assert_eq!(verdict, Verdict::Done);
        assert_eq!(self.staging.refused(), 0);
        for timer in self.staging.timers() {
            assert!(timer.due >= self.now, "a timer in the past: {timer:?}, now {:?}", self.now);
            self.timers.insert((timer.due, self.timers_set), *timer);
            self.timers_set += 1;
        }
        self.outputs.extend(events(self.staging.slots()).map(|event| event.slots().to_vec()));
        self.staging.clear();
    }
}
