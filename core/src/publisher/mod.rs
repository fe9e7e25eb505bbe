//! The publisher: which symbols are worth a closer look, told to whoever listens.
//!
//! A symbol's **score** is the sum of the weights of the conditions that hold for its latest feature vector; those that are replies to
//! requests are not looked at. A symbol **qualifies** when its score reaches [`Config::enter`] while an alert of the last
//! [`Config::alert_ns`] names it, and ceases to when the score falls below [`Config::leave`] or no alert counts any more: for that a timer
//! looks, since a symbol that has gone quiet has no more vectors. A qualified symbol is **promoted** through tiers, by its score and by how
//! long it has been qualified. Everything has two thresholds, and changes for the better a cooldown, so that nothing flaps; changes for the
//! worse are told at once. A value that has not warmed up fulfils no condition.
//!
//! Changes leave as [`SymbolQualified`] and [`SymbolPromoted`] through a [`Sink`], by default the bus itself, behind a breaker for each symbol
//! ([`crate::breaker`]). What the sink does not take is offered again; when it has failed often enough the breaker opens, and
//! what it refuses is kept or dead-lettered ([`OnRefusal`]).

mod config;

pub use config::{Condition, Config, ConfigError, OnRefusal, Tier};

use crate::breaker::Breaker;
use crate::event::payload::{Alert, Features, SymbolPromoted, SymbolQualified};
use crate::event::{EventRef, Kind, KindSet};
use crate::features;
use crate::handler::{Ctx, Full, Handler, Verdict};
use crate::limits::TICK_NS;
use crate::units::UnixNanos;
use bytemuck::{Pod, Zeroable};

/// Code of [`Verdict::Fail`] for a vector whose change the breaker refused, under [`OnRefusal::DeadLetter`].
pub const FAIL_REFUSED: u16 = 1;
/// Sets of features that are looked up by number: those below this.
const SETS: u32 = 16;
/// Rules that alerts can count for.
const RULES: usize = u32::BITS as usize;

/// Where changes go. It may fail: what it does not take is offered again.
pub trait Sink: Send + Sync + 'static {
    /// Takes a change of the symbol at hand.
    ///
    /// # Errors
    /// [`Full`] when it cannot take it now.
    fn qualified(&self, change: &SymbolQualified, cx: &mut Ctx<'_>) -> Result<(), Full>;
    /// Takes a change of the symbol at hand.
    ///
    /// # Errors
    /// [`Full`] when it cannot take it now.
    fn promoted(&self, change: &SymbolPromoted, cx: &mut Ctx<'_>) -> Result<(), Full>;
}

/// The bus of the shard, and so its outbox: outputs like any other.
#[derive(Clone, Copy, Debug, Default)]
pub struct ToBus;

impl Sink for ToBus {
    fn qualified(&self, change: &SymbolQualified, cx: &mut Ctx<'_>) -> Result<(), Full> {
        cx.publish(change, 0, &[])
    }

    fn promoted(&self, change: &SymbolPromoted, cx: &mut Ctx<'_>) -> Result<(), Full> {
        cx.publish(change, 0, &[])
    }
}

/// Tells which symbols qualify and are promoted; see the [module](self).
#[derive(Clone, Debug)]
pub struct Publisher<S: Sink = ToBus> {
    config: Config,
    /// By number of the set, the index of each condition's feature in a vector; `None` for sets that lack one.
    places: Box<[Option<Box<[u8]>>]>,
    sink: S,
}

impl Publisher {
    /// A publisher to the bus.
    ///
    /// # Errors
    /// [`ConfigError`] that names the first fault.
    pub fn new(config: &Config) -> Result<Self, ConfigError> {
        Self::to(config, ToBus)
    }
}

impl Default for Publisher {
    fn default() -> Self {
        Self::new(&Config::default()).expect("Invariant: the default configuration is in order")
    }
}

impl<S: Sink> Publisher<S> {
    /// A publisher to `sink`.
    ///
    /// # Errors
    /// [`ConfigError`] that names the first fault.
    pub fn to(config: &Config, sink: S) -> Result<Self, ConfigError> {
        config.check()?;
        let places: Vec<Option<Box<[u8]>>> = (0..SETS)
            .map(|set| {
                let names = features::names(set)?;
                let find = |name: &str| names.iter().position(|def| def.name == name).map(|at| at as u8);
                config.conditions.iter().map(|condition| find(&condition.feature)).collect()
            })
            .collect();
        if places.iter().all(Option::is_none) {
            let known = |name: &str| (0..SETS).filter_map(features::names).flatten().any(|def| def.name == name);
            let names = || config.conditions.iter().map(|condition| condition.feature.clone());
            return Err(match names().find(|name| !known(name)) {
                Some(unknown) => ConfigError::Feature(unknown),
                None => ConfigError::Apart(names().collect()),
            });
        }
        Ok(Self { config: config.clone(), places: places.into(), sink })
    }

    /// What of the vector `ev` fulfils conditions, given those that were fulfilled before: a bit each, and the score. `None` when it does
    /// not tell.
    fn score(&self, before: u32, features: &Features, ev: EventRef<'_>) -> Option<(u32, f64)> {
        // A reply to a request is of the middle of a bar, and has the groups that were asked for.
        if features.interval_ns == 0 {
            return None;
        }
        let places = self.places.get(features.set as usize)?.as_ref()?;
        let (mut held, mut score) = (0, 0.0);
        for (index, (condition, place)) in self.config.conditions.iter().zip(places).enumerate() {
            let Some(value) = Features::value_of(ev, usize::from(*place)) else { continue };
            let threshold = if before >> index & 1 == 1 { condition.leave() } else { condition.enter };
            let holds = if condition.is_above { value >= threshold } else { value <= threshold };
            if holds {
                held |= 1 << index;
                score += condition.weight;
            }
        }
        Some((held, score))
    }

    /// The tier of a symbol that has been qualified for `held_ns`.
    fn tier(&self, now: u8, score: f64, held_ns: u64, may_rise: bool) -> u8 {
        let stays = |(index, tier): &(usize, &Tier)| {
            if *index < usize::from(now) {
                score >= tier.leave
            } else {
                may_rise && score >= tier.enter && held_ns >= tier.after_ns
            }
        };
        self.config.tiers.iter().enumerate().take_while(stays).count() as u8
    }

    /// Offers what waits to the sink, as far as the breaker allows. Returns whether nothing waits any more.
    fn offer(&self, st: &mut State, cx: &mut Ctx<'_>) -> bool {
        let (config, now) = (&self.config.breaker, cx.now());
        while st.waiting != 0 {
            let era = match st.breaker.admit(config, now) {
                Ok(era) => era,
                Err(until) => {
                    st.counts.refused += 1;
                    st.wake(until, cx);
                    return false;
                }
            };
            let is_first = st.waiting & QUALIFIED != 0;
            let taken =
                if is_first { self.sink.qualified(&st.qualified, cx) } else { self.sink.promoted(&st.promoted, cx) };
            if taken.is_err() {
                st.counts.failed += 1;
                let _ = st.breaker.failure(config, era, now);
                st.wake(now.saturating_add(self.config.retry_ns), cx);
                return false;
            }
            let _ = st.breaker.success(config, era, now);
            st.counts.published += 1;
            st.waiting &= if is_first { !QUALIFIED } else { !PROMOTED };
        }
        st.wake_ns = 0;
        true
    }
}

/// Bits of [`State::waiting`].
const QUALIFIED: u8 = 1;
const PROMOTED: u8 = 2;

/// What a publisher has done for a symbol.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Pod, Zeroable)]
pub struct Counts {
    /// Vectors that were looked at.
    pub vectors: u64,
    /// Vectors that do not tell: replies to requests, and sets that lack a feature of a condition.
    pub unusable: u64,
    /// Changes of the symbol: the sum of the next four.
    pub changes: u64,
    /// Times that it began to qualify.
    pub qualified: u64,
    /// Times that it ceased to.
    pub disqualified: u64,
    /// Times that it went up a tier, or several at once.
    pub promoted: u64,
    /// Times that it came down.
    pub demoted: u64,
    /// Changes that the sink took.
    pub published: u64,
    /// Changes that a newer one took the place of while they waited.
    pub replaced: u64,
    /// Times that the sink took a change not.
    pub failed: u64,
    /// Times that the breaker refused to ask it.
    pub refused: u64,
}

/// What [`Publisher`] remembers of one symbol.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct State {
    /// Since when it is qualified, ns; 0 = it is not.
    since_ns: u64,
    /// Its last change, ns; 0 = none yet.
    changed_ns: u64,
    /// T of the timer that offers what waits again, ns, also its token; 0 = none.
    wake_ns: u64,
    /// T of the timer that looks whether an alert still counts, ns, in its token with all bits turned; 0 = none.
    expires_ns: u64,
    /// Score of the last vector that told.
    score: f64,
    /// By rule, the last alert that counts, ns; meaningless where its bit of `rules` is 0.
    alert_ns: [u64; RULES],
    /// Rules of the alerts that count.
    rules: u32,
    /// Conditions that hold.
    held: u32,
    /// Its tier.
    tier: u8,
    /// Changes that wait for the sink.
    waiting: u8,
    /// Always 0.
    reserved: [u8; 6],
    /// The change that waits.
    qualified: SymbolQualified,
    /// The change that waits.
    promoted: SymbolPromoted,
    counts: Counts,
    breaker: Breaker,
}

impl State {
    /// What was done for the symbol, since the state began.
    #[must_use]
    pub const fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Whether the symbol is qualified, and its tier.
    #[must_use]
    pub const fn standing(&self) -> (bool, u8) {
        (self.since_ns != 0, self.tier)
    }

    /// Its breaker.
    #[must_use]
    pub const fn breaker(&self) -> &Breaker {
        &self.breaker
    }

    fn wake(&mut self, at: UnixNanos, cx: &mut Ctx<'_>) {
        // Where no timer is to be had, the next vector offers it again.
        self.wake_ns = if cx.timer_at(at, at.0).is_ok() { at.0 } else { 0 };
    }

    /// Forgets the alerts that do not count at `now` any more.
    fn expire(&mut self, config: &Config, now: u64) {
        for (rule, at) in self.alert_ns.iter().enumerate() {
            let is_over = self.rules >> rule & 1 == 1 && now - at >= config.alert_ns;
            self.rules &= !(u32::from(is_over) << rule);
        }
    }

    /// Sets the timer that looks after a qualified symbol when the last alert that counts now will not, unless there is one. Where none
    /// is to be had, or it was lost, the next vector sets it.
    fn watch(&mut self, config: &Config, cx: &mut Ctx<'_>) {
        if self.since_ns == 0 || UnixNanos(self.expires_ns).round_up(TICK_NS) > cx.now() {
            return;
        }
        let counting = self.alert_ns.iter().enumerate().filter(|(rule, _)| self.rules >> rule & 1 == 1);
        let last = counting.map(|(_, at)| *at).max().unwrap_or(0);
        let at = UnixNanos(last).saturating_add(config.alert_ns);
        self.expires_ns = if cx.timer_at(at, !at.0).is_ok() { at.0 } else { 0 };
    }

    fn change(&mut self, kind: u8) {
        self.counts.changes += 1;
        self.counts.replaced += u64::from(self.waiting & kind != 0);
        self.waiting |= kind;
    }

    /// Takes the score of a vector at `now` in: the changes that it brings about wait from now on.
    fn settle<S: Sink>(&mut self, publisher: &Publisher<S>, score: f64, now: u64) {
        let config = &publisher.config;
        self.expire(config, now);
        self.score = score;
        let is_qualified = self.since_ns != 0;
        let may_rise = self.changed_ns == 0 || now - self.changed_ns >= config.cooldown_ns;
        let threshold = if is_qualified { config.leave() } else { config.enter };
        let qualifies = self.rules != 0 && score >= threshold && (is_qualified || may_rise);
        let held_ns = if is_qualified { now - self.since_ns } else { 0 };
        let tier = if qualifies && is_qualified { publisher.tier(self.tier, score, held_ns, may_rise) } else { 0 };
        if tier != self.tier {
            self.promoted = SymbolPromoted {
                score,
                qualified_ns: held_ns,
                rules: self.rules,
                from_tier: self.tier,
                tier,
                reserved: [0; 2],
            };
            self.change(PROMOTED);
            *(if tier > self.tier { &mut self.counts.promoted } else { &mut self.counts.demoted }) += 1;
            (self.tier, self.changed_ns) = (tier, now);
        }
        if qualifies != is_qualified {
            let qualified = u8::from(qualifies);
            self.qualified = SymbolQualified { score, threshold, rules: self.rules, qualified, reserved: [0; 3] };
            self.change(QUALIFIED);
            *(if qualifies { &mut self.counts.qualified } else { &mut self.counts.disqualified }) += 1;
            (self.since_ns, self.changed_ns) = (if qualifies { now } else { 0 }, now);
        }
    }
}

impl<S: Sink> Handler for Publisher<S> {
    type State = State;
    const NAME: &'static str = "publisher";
    const STATE_VERSION: u16 = 2;
    const TAKES_HISTORY: bool = false;
    const COUNTS: &'static [&'static str] = &[
        "vectors",
        "unusable",
        "qualified",
        "disqualified",
        "promoted",
        "demoted",
        "published",
        "replaced",
        "sink_failures",
        "breaker_refusals",
        "breaker_trips",
        "breaker_reopens",
        "breaker_closes",
    ];

    fn count(&self, st: &State, sums: &mut [u64]) {
        let Counts { vectors, unusable, qualified, disqualified, promoted, demoted, .. } = st.counts;
        let Counts { published, replaced, failed, refused, .. } = st.counts;
        let breaker = st.breaker.counts();
        let counts =
            [vectors, unusable, qualified, disqualified, promoted, demoted, published, replaced, failed, refused]
                .into_iter()
                .chain([breaker.trips, breaker.reopens, breaker.closes]);
        sums.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
    }

    fn interests(&self) -> KindSet {
        const { KindSet::of(&[Kind::ALERT, Kind::FEATURES]) }
    }

    fn on_event(&self, st: &mut State, ev: EventRef<'_>, cx: &mut Ctx<'_>) -> Verdict {
        let now = cx.now();
        if let Some(alert) = ev.get::<Alert>() {
            let bit = 1u32.checked_shl(alert.rule.into()).unwrap_or(0) & self.config.rules;
            if let Some(at) = st.alert_ns.get_mut(usize::from(alert.rule)).filter(|_| bit != 0) {
                *at = now.0;
                st.rules |= bit;
            }
            return Verdict::Done;
        }
        let Some(features) = ev.get::<Features>() else { return Verdict::Done };
        st.counts.vectors += 1;
        let Some((held, score)) = self.score(st.held, features, ev) else {
            st.counts.unusable += 1;
            return Verdict::Done;
        };
        st.held = held;
        let before = st.counts.changes;
        st.settle(self, score, now.0);
        st.watch(&self.config, cx);
        if st.waiting == 0 {
            return Verdict::Done;
        }
        let is_open = st.breaker.state(&self.config.breaker, now) == crate::breaker::State::Open;
        if st.counts.changes != before && is_open && self.config.on_refusal == OnRefusal::DeadLetter {
            // The engine puts the state back: the change comes about again when the vector is redriven, or with the next one.
            return Verdict::Fail(FAIL_REFUSED);
        }
        // What waits for a timer is offered by that.
        if st.wake_ns == 0 || st.wake_ns < now.0 {
            let _ = self.offer(st, cx);
        }
        Verdict::Done
    }

    fn on_timer(&self, st: &mut State, token: u64, cx: &mut Ctx<'_>) -> Verdict {
        if token == st.wake_ns && token != 0 {
            st.wake_ns = 0;
            let _ = self.offer(st, cx);
        } else if !token == st.expires_ns && st.expires_ns != 0 {
            st.expires_ns = 0;
            st.expire(&self.config, cx.now().0);
            if st.rules == 0 && st.since_ns != 0 {
                st.settle(self, st.score, cx.now().0);
                if st.wake_ns == 0 || st.wake_ns < cx.now().0 {
                    let _ = self.offer(st, cx);
                }
            }
            st.watch(&self.config, cx);
        }
        Verdict::Done
    }
}
