//! Fields of what the engine says of itself, and of requests and what comes of them.

use super::has_own_tail;
use super::line::Line;
use tapeline_core::dead::Cause as DeadCause;
use tapeline_core::event::payload::{
    BackfillDone, BackfillNeeded, BackfillReason, BackfillRest, BackfillStatus, CloseReason, Component,
    DEAD_CAUSE_NONE, DeadLetter, DeadLetterRest, ErrorReport, FeatureRequest, Health, HealthReason, HealthState,
    PRIORITY_UNSET, SymbolPromoted, SymbolQualified, System, SystemPhase, SystemReason,
};
use tapeline_core::event::{EventRef, Kind};
use tapeline_core::scanner::Rule;

impl Line<'_> {
    /// What the engine says of itself.
    pub(super) fn of_the_engine(&mut self, event: EventRef<'_>) {
        let head = event.head();
        match event.kind() {
            Kind::SYSTEM => {
                let system: &System = head.payload_as();
                self.code("phase", system.phase, SystemPhase::from_u8(system.phase).map(SystemPhase::name));
                self.code("reason", system.reason, SystemReason::from_u8(system.reason).map(SystemReason::name));
                self.hash("engine", system.engine);
                self.number("uptime_ns", system.uptime_ns);
                self.number("shards", system.shards);
                self.tail_text(event, system.text_bytes);
            }
            Kind::HEALTH => {
                let health: &Health = head.payload_as();
                self.code("state", health.state, HealthState::from_u8(health.state).map(HealthState::name));
                self.component(health.component);
                self.number("number", health.number);
                self.code("reason", health.reason, HealthReason::from_u8(health.reason).map(HealthReason::name));
                self.float("value", health.value);
                self.float("threshold", health.threshold);
                self.tail_text(event, health.text_bytes);
            }
            Kind::ERROR => {
                let error: &ErrorReport = head.payload_as();
                self.number("code", error.code);
                self.number("severity", error.severity);
                self.component(error.component);
                self.hash("origin", error.origin);
                self.number("count", error.count);
                self.tail_text(event, error.text_bytes);
            }
            Kind::DEAD_LETTER => {
                let letter: &DeadLetter = head.payload_as();
                let rest = DeadLetterRest::of(event).copied().unwrap_or_default();
                self.hash("handler", rest.handler);
                self.number("error", rest.error);
                self.number("attempts", rest.attempts);
                self.number("failures", rest.failures);
                self.number("first_failure_ns", letter.first_failure_ns);
                let name = DeadCause::ALL.get(usize::from(rest.cause)).map(|cause| cause.name());
                if rest.cause == DEAD_CAUSE_NONE {
                    self.key("cause");
                    self.raw("null");
                } else {
                    self.code("cause", rest.cause, name);
                }
                self.number("redrives", rest.redrives);
                self.number("policy", rest.policy);
                self.number("order", rest.order);
            }
            other => unreachable!("{other:?} is not the engine's"),
        }
    }

    /// Requests, and what comes of them.
    pub(super) fn pipeline(&mut self, event: EventRef<'_>) {
        let head = event.head();
        match event.kind() {
            Kind::FEATURE_REQUEST => {
                let request: &FeatureRequest = head.payload_as();
                self.hash("groups", request.groups);
                self.rules(request.rules);
                self.number("alerts", request.alerts);
                self.number("duplicates", request.duplicates);
                self.number("severity", request.severity);
                let name = CloseReason::from_u8(request.closed_by).map(CloseReason::name);
                self.code("closed_by", request.closed_by, name);
                self.key("priority");
                self.optional((request.priority != PRIORITY_UNSET).then_some(request.priority.into()));
                self.number("waited_us", request.waited_us);
            }
            Kind::SYMBOL_QUALIFIED => {
                let symbol: &SymbolQualified = head.payload_as();
                self.flag("qualified", symbol.qualified);
                self.float("score", symbol.score);
                self.float("threshold", symbol.threshold);
                self.rules(symbol.rules);
            }
            Kind::SYMBOL_PROMOTED => {
                let symbol: &SymbolPromoted = head.payload_as();
                self.number("from_tier", symbol.from_tier);
                self.number("tier", symbol.tier);
                self.float("score", symbol.score);
                self.number("qualified_ns", symbol.qualified_ns);
                self.rules(symbol.rules);
            }
            Kind::BACKFILL_NEEDED => {
                let needed: &BackfillNeeded = head.payload_as();
                self.range(needed.layer, needed.interval_s, needed.from_ns, needed.to_ns);
                let name = BackfillReason::from_u8(needed.reason).map(BackfillReason::name);
                self.code("reason", needed.reason, name);
                self.number("priority", needed.priority);
            }
            Kind::BACKFILL_DONE => {
                let done: &BackfillDone = head.payload_as();
                self.range(done.layer, done.interval_s, done.from_ns, done.to_ns);
                self.code("status", done.status, BackfillStatus::from_u8(done.status).map(BackfillStatus::name));
                let rest = BackfillRest::of(event).filter(|_| has_own_tail(event));
                self.key("events");
                self.optional(rest.map(|rest| rest.events));
                self.key("first_ns");
                self.optional(rest.map(|rest| rest.first_ns).filter(|first| *first != 0));
                self.key("last_ns");
                self.optional(rest.map(|rest| rest.last_ns).filter(|last| *last != 0));
                self.hash("origin", rest.map_or(0, |rest| rest.origin));
            }
            other => unreachable!("{other:?} is known and has no fields here"),
        }
    }

    fn component(&mut self, component: u8) {
        self.code("component", component, Component::from_u8(component).map(Component::name));
    }

    /// What a backfill is of.
    fn range(&mut self, layer: u16, interval_s: u32, from_ns: u64, to_ns: u64) {
        self.key("layer");
        match Kind(layer) {
            kind if kind.is_known() => self.quoted(kind.name()),
            _ => self.value(layer),
        }
        self.number("interval_s", interval_s);
        self.number("from_ns", from_ns);
        self.number("to_ns", to_ns);
    }

    /// A set of rules, by name; bits without a rule as `bit31`.
    fn rules(&mut self, rules: u32) {
        self.key("rules");
        let set = (0..u32::BITS as u16).filter(|bit| rules >> bit & 1 == 1);
        self.list(set, |line, bit| match Rule::from_u16(bit) {
            Some(rule) => line.quoted(rule.name()),
            None => {
                line.raw("\"bit");
                line.value(bit);
                line.raw("\"");
            }
        });
    }
}
