//! The shape of user logic: [`Handler`], what it may do ([`Ctx`]) and what it answers ([`Verdict`]).

use crate::event::payload::{Alert, Cause, Features, Payload, Signal};
use crate::event::{EventRef, Flags, Identity, KindSet, KindVersion, Slot};
use crate::hash;
use crate::limits::{CONTINUATION_BYTES, MESH_DELAY_NS, SPAN_SLOTS_MAX, STAGED_SLOTS_MAX, STAGED_TIMERS_MAX};
use crate::units::{SourceId, SymbolId, UnixNanos};
use bytemuck::{Pod, Zeroable};

/// Logic on the event path of a shard.
///
/// A handler is shared and immutable; what it remembers is its `State`, plain data, one for each symbol, owned by the
/// engine: it starts as zero bytes, moves with its symbol and takes part in snapshots. Effects that a handler asks of
/// [`Ctx`] are staged: they take place when it answers [`Verdict::Done`], and are discarded, with the state put back
/// as it was, when it fails or panics.
///
/// Outputs must depend on nothing but the events of the symbol, their times and the handler's own parameters.
pub trait Handler: Send + Sync + 'static {
    /// What the handler remembers of one symbol. Zero bytes = nothing yet.
    type State: Pod + Send;
    /// Name in reports, dead letters and snapshots. Unique on its bus.
    const NAME: &'static str;
    /// Version of the layout of `State`.
    const STATE_VERSION: u16;
    /// Whether the engine keeps a copy of the state during each call, to put it back after a failure or panic.
    ///
    /// A handler that always answers [`Verdict::Done`] may say `false` and save the copy; should it panic all the same,
    /// its state for that symbol begins anew from zero.
    const ROLLBACK: bool = true;

    /// Whether the handler publishes for other symbols than the one at hand. Shards pay for it by keeping step with each
    /// other, so it is declared; [`Ctx::publish_to`] refuses another symbol when it is not.
    const CROSSES_SYMBOLS: bool = false;

    /// What one call may take, in ns; `None` = no budget. Of a handler with a budget each call is stamped and those that overrun are
    /// counted and told by name. That acts on nothing: what a machine took is no input of the engine.
    const BUDGET_NS: Option<u64> = None;

    /// Kinds of events that this handler wants.
    fn interests(&self) -> KindSet;

    /// An event of a kind among [`Handler::interests`], for the symbol of `st`.
    fn on_event(&self, st: &mut Self::State, ev: EventRef<'_>, cx: &mut Ctx<'_>) -> Verdict;

    /// A timer that this handler set for this symbol with [`Ctx::timer_at`] is due. `cx.now()` is its T.
    fn on_timer(&self, _st: &mut Self::State, _token: u64, _cx: &mut Ctx<'_>) -> Verdict {
        Verdict::Done
    }
}

/// What became of a call of a handler.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
#[non_exhaustive]
pub enum Verdict {
    /// Handled: staged effects take place.
    Done,
    /// Not now, with a code of the handler's own: effects are discarded, and this handler alone is called again with the same
    /// event, when the retry policy of the event's kind says so. After the last attempt the event is dead-lettered. A timer
    /// has no event that could come again: there it means [`Verdict::Fail`].
    Retry(u16),
    /// Given up, with a code of the handler's own: effects are discarded, the event is dead-lettered.
    Fail(u16),
}

/// A staging area is full: the effect was not taken. The handler decides what that means.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the staging area of this step is full")]
pub struct Full;

/// A one-shot timer that a handler asked for.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Pod, Zeroable)]
pub struct TimerRequest {
    /// Instant at which it falls due, a multiple of the tick.
    pub due: UnixNanos,
    /// The handler's own word.
    pub token: u64,
    /// Which of its cause's timers it is: a stable hash of the timer that set it (0 = the event did), of T, and of its number
    /// among those that were set with it.
    pub id: u64,
    /// Event during whose handling it was set.
    pub cause: Identity,
    /// Symbol whose state the timer is for.
    pub symbol: SymbolId,
    /// Handler that asked, as the bus numbers them.
    pub handler: u16,
    /// Always 0.
    pub pad: u16,
}

/// Effects of the running event, in fixed memory.
///
/// Derived events follow each other as spans; those for other symbols carry their own symbol in the head.
pub struct Staging {
    slots: Vec<Slot>,
    timers: Vec<TimerRequest>,
    /// Next [`Cause::index`] of the running root.
    next_index: u32,
    /// Slots that the running root does not have.
    reserved: usize,
    /// Effects that found no room, since the start.
    refused: u64,
}

/// A point to roll back to.
#[derive(Clone, Copy, Debug)]
pub struct StagingMark {
    slots: usize,
    timers: usize,
    next_index: u32,
}

impl Staging {
    /// An empty area. Allocates its fixed memory.
    #[must_use]
    pub fn new() -> Self {
        Self {
            slots: Vec::with_capacity(STAGED_SLOTS_MAX),
            timers: Vec::with_capacity(STAGED_TIMERS_MAX),
            next_index: 0,
            reserved: 0,
            refused: 0,
        }
    }

    /// Forgets everything: a new root event begins.
    #[inline]
    pub fn clear(&mut self) {
        self.slots.clear();
        self.timers.clear();
        self.next_index = 0;
        self.reserved = 0;
    }

    /// Leaves `slots` less to the running root: it is an output itself.
    pub(crate) fn reserve(&mut self, slots: usize) {
        self.reserved = slots;
    }

    /// Where things stand now.
    #[inline]
    #[must_use]
    pub fn mark(&self) -> StagingMark {
        StagingMark { slots: self.slots.len(), timers: self.timers.len(), next_index: self.next_index }
    }

    /// Discards what was staged after `mark`.
    pub fn roll_back(&mut self, mark: StagingMark) {
        self.slots.truncate(mark.slots);
        self.timers.truncate(mark.timers);
        self.next_index = mark.next_index;
    }

    /// Derived events so far, as spans.
    #[inline]
    #[must_use]
    pub fn slots(&self) -> &[Slot] {
        &self.slots
    }

    /// Timers asked for so far.
    #[inline]
    #[must_use]
    pub fn timers(&self) -> &[TimerRequest] {
        &self.timers
    }

    /// Whether nothing is staged.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty() && self.timers.is_empty()
    }

    /// Writes the hashes of the root's symbol and source into every staged event's [`Cause`]. What a timer made gets a
    /// number of its own: timers of one event would give the root's to several events.
    pub(crate) fn sign(&mut self, (symbol_hash, source_hash): (u64, u64)) {
        let mut at = 0;
        while at < self.slots.len() {
            let head = at;
            at += self.slots[head].span();
            let last = &mut self.slots[at - 1];
            let cause: Cause = bytemuck::must_cast(*last.continuation_words());
            *last = Slot::continuation(bytemuck::must_cast(Cause { symbol_hash, source_hash, ..cause }));
            if cause.by_timer != 0 {
                let words = [cause.timer, cause.root.seq, u64::from(cause.root.part), symbol_hash, source_hash];
                self.slots[head].seq = hash::stable(bytemuck::bytes_of(&words));
            }
        }
    }

    /// Effects that found no room, since the start.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.refused
    }

    /// Bytes held.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.slots.capacity() * size_of::<Slot>() + self.timers.capacity() * size_of::<TimerRequest>()
    }
}

impl Default for Staging {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for Staging {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Staging")
            .field("slots", &self.slots.len())
            .field("timers", &self.timers.len())
            .field("refused", &self.refused)
            .finish()
    }
}

/// Where a call of a handler stands: fixed for the call.
#[derive(Clone, Copy, Debug)]
pub struct CallSite {
    /// Shard time.
    pub now: UnixNanos,
    /// Tick of the shard's timers, ns.
    pub tick_ns: u64,
    /// Symbol whose state the handler is given.
    pub symbol: SymbolId,
    /// `ts_event` for what the handler makes: the event's, or T of the timer.
    pub ts_event: UnixNanos,
    /// The root event, or the event during which the timer was set.
    pub root: Identity,
    /// T of the timer, 0 when the call is for an event.
    pub timer_ns: u64,
    /// [`TimerRequest::id`] of the timer, 0 when the call is for an event.
    pub timer: u64,
    /// Seed of [`Ctx::rand`].
    pub seed: u64,
    /// Handler, as the bus numbers them.
    pub handler: u16,
    /// Source that stands for the handler in the events it makes.
    pub source: SourceId,
    /// Whether the handler may publish for other symbols.
    pub crosses_symbols: bool,
}

/// What a handler may ask of its shard during a call. Nothing waits and nothing allocates: full is [`Full`].
#[derive(Debug)]
pub struct Ctx<'a> {
    site: CallSite,
    staging: &'a mut Staging,
}

impl<'a> Ctx<'a> {
    /// The context of one call. Made by the bus; public so that a handler can be tested alone.
    #[inline]
    #[must_use]
    pub fn new(site: CallSite, staging: &'a mut Staging) -> Self {
        Self { site, staging }
    }

    /// Shard time.
    #[inline]
    #[must_use]
    pub fn now(&self) -> UnixNanos {
        self.site.now
    }

    /// The symbol at hand.
    #[inline]
    #[must_use]
    pub fn symbol(&self) -> SymbolId {
        self.site.symbol
    }

    /// Publishes an alert for the symbol at hand.
    ///
    /// # Errors
    /// [`Full`] as [`Ctx::publish`].
    pub fn alert(&mut self, alert: &Alert) -> Result<(), Full> {
        self.publish(alert, 0, &[])
    }

    /// Publishes a signal for the symbol at hand.
    ///
    /// # Errors
    /// [`Full`] as [`Ctx::publish`].
    pub fn signal(&mut self, signal: &Signal) -> Result<(), Full> {
        self.publish(signal, 0, &[])
    }

    /// Publishes a feature vector for the symbol at hand. `features.count` is set to the number of `values`.
    ///
    /// # Errors
    /// [`Full`] as [`Ctx::publish`], and when there are more values than a span holds.
    pub fn features(&mut self, features: &Features, values: &[f64]) -> Result<(), Full> {
        let features = Features { count: values.len() as u32, ..*features };
        self.publish(&features, 0, bytemuck::cast_slice(values))
    }

    /// Publishes an event of `payload`'s kind for the symbol at hand, in this same step. `tail` goes on in
    /// continuations. O(length), no allocation.
    ///
    /// # Errors
    /// [`Full`] when the staging area has no room or the event would be longer than a span; counted.
    #[inline]
    pub fn publish<P: Payload>(&mut self, payload: &P, scale: u8, tail: &[u64]) -> Result<(), Full> {
        self.publish_to(self.site.symbol, payload, scale, tail)
    }

    /// Publishes an event for `symbol`. For another symbol than the one at hand it falls due one mesh delay later,
    /// whether or not that symbol lives on this shard.
    ///
    /// # Errors
    /// [`Full`] as [`Ctx::publish`], and for another symbol when the handler does not declare
    /// [`Handler::CROSSES_SYMBOLS`].
    pub fn publish_to<P: Payload>(
        &mut self,
        symbol: SymbolId,
        payload: &P,
        scale: u8,
        tail: &[u64],
    ) -> Result<(), Full> {
        const WORDS: usize = CONTINUATION_BYTES / 8;
        // Ticks between shards are theirs alone, and definitions the authority's.
        const { assert!(!P::KIND.is_control(), "handlers publish events, not control") };
        let span = 1 + tail.len().div_ceil(WORDS) + 1;
        if symbol != self.site.symbol && !self.site.crosses_symbols {
            self.staging.refused += 1;
            return Err(Full);
        }
        if span > SPAN_SLOTS_MAX || self.staging.slots.len() + span > STAGED_SLOTS_MAX - self.staging.reserved {
            self.staging.refused += 1;
            return Err(Full);
        }
        let mut head = Slot::ZERO;
        head.kind = KindVersion::new(P::KIND, P::VERSION);
        head.set_span(span);
        head.flags = Flags::LAST.with(Flags::DERIVED);
        // Another symbol hears of it one mesh delay later, wherever it lives.
        let delay_ns = if symbol == self.site.symbol { 0 } else { MESH_DELAY_NS };
        head.ts_recv = self.site.now.saturating_add(delay_ns);
        head.ts_event = self.site.ts_event;
        head.seq = self.site.root.seq;
        head.symbol = symbol;
        head.part = self.staging.next_index as u16;
        head.source = self.site.source;
        head.scale = scale;
        *head.payload_mut::<P>() = *payload;
        self.staging.slots.push(head);
        for chunk in tail.chunks(WORDS) {
            let mut words = [0; WORDS];
            words[..chunk.len()].copy_from_slice(chunk);
            self.staging.slots.push(Slot::continuation(words));
        }
        let cause = Cause {
            root: self.site.root,
            index: self.staging.next_index,
            handler: self.site.handler,
            by_timer: u16::from(self.site.timer != 0),
            timer_ns: self.site.timer_ns,
            timer: self.site.timer,
            // The shard fills in the hashes when the effect takes place: names are its business.
            ..Cause::default()
        };
        self.staging.slots.push(Slot::continuation(bytemuck::must_cast(cause)));
        self.staging.next_index += 1;
        Ok(())
    }

    /// Sets a one-shot timer for this handler and symbol. It fires with `token` once shard time reaches `at`, rounded
    /// up to a multiple of the tick; never early, and before any event of a later time.
    ///
    /// # Errors
    /// [`Full`] when the handlers of the root event have set [`STAGED_TIMERS_MAX`] timers already; counted.
    pub fn timer_at(&mut self, at: UnixNanos, token: u64) -> Result<(), Full> {
        if self.staging.timers.len() == STAGED_TIMERS_MAX {
            self.staging.refused += 1;
            return Err(Full);
        }
        let due = at.round_up(self.site.tick_ns);
        let id = [self.site.timer, due.0, self.staging.timers.len() as u64];
        self.staging.timers.push(TimerRequest {
            due,
            token,
            id: hash::stable(bytemuck::bytes_of(&id)),
            cause: self.site.root,
            symbol: self.site.symbol,
            handler: self.site.handler,
            pad: 0,
        });
        Ok(())
    }

    /// A word that looks random and is a function of the seed, the root event, the attempt or timer, the handler and `salt` alone.
    #[must_use]
    pub fn rand(&self, salt: u64) -> u64 {
        let words = [
            self.site.seed,
            self.site.root.seq,
            u64::from(self.site.root.part) << 32 | u64::from(self.site.root.source.0),
            u64::from(self.site.handler),
            // Another one for each timer, and for each attempt.
            self.site.timer,
            salt,
        ];
        hash::stable(bytemuck::bytes_of(&words))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::events;

    fn site() -> CallSite {
        CallSite {
            now: UnixNanos(1_500_000),
            tick_ns: 1_000_000,
            symbol: SymbolId(3),
            ts_event: UnixNanos(7),
            root: Identity { seq: 9, symbol: SymbolId(3), part: 1, source: SourceId(2), pad: 0 },
            timer_ns: 0,
            timer: 0,
            seed: 1,
            handler: 4,
            source: SourceId(5),
            crosses_symbols: false,
        }
    }

    #[test]
    fn effects_are_staged_with_their_cause_and_roll_back() {
        let mut staging = Staging::new();
        let mut cx = Ctx::new(site(), &mut staging);
        cx.alert(&Alert { rule: 1, ..Alert::default() }).unwrap();
        cx.features(&Features::default(), &[1.0; 8]).unwrap();
        cx.timer_at(UnixNanos(1_500_001), 77).unwrap();
        assert_eq!(staging.timers()[0].due, UnixNanos(2_000_000));
        let made: Vec<_> = events(staging.slots()).collect();
        assert_eq!(made.len(), 2);
        assert_eq!(made[1].slots().len(), 1 + 2 + 1);
        let cause = Cause::of(made[1]).unwrap();
        assert_eq!((cause.root, cause.index, cause.handler), (site().root, 1, 4));
        assert_eq!(Features::values_of(made[1]).collect::<Vec<_>>(), [1.0; 8]);

        let mark = staging.mark();
        Ctx::new(site(), &mut staging).signal(&Signal::default()).unwrap();
        assert_eq!(events(staging.slots()).count(), 3);
        staging.roll_back(mark);
        assert_eq!(events(staging.slots()).count(), 2);
    }

    #[test]
    fn a_full_staging_area_says_so_and_counts() {
        let mut staging = Staging::new();
        let mut cx = Ctx::new(site(), &mut staging);
        let mut published = 0;
        while cx.alert(&Alert::default()).is_ok() {
            published += 1;
        }
        assert_eq!(published, STAGED_SLOTS_MAX / 2);
        assert_eq!(cx.features(&Features::default(), &[0.0; 7 * 63]), Err(Full), "longer than a span");
        for _ in 0..STAGED_TIMERS_MAX {
            cx.timer_at(UnixNanos(0), 0).unwrap();
        }
        assert_eq!(cx.timer_at(UnixNanos(0), 0), Err(Full));
        assert_eq!(staging.refused(), 3);
    }
}
