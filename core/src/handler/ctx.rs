//! What a handler may ask of its shard, and where a call of it stands.

use super::staging::{StagedCancel, StagedHistory, StagedWish};
use super::{Full, History, HistoryAct, RequestId, Staging, TimerId, TimerRequest, Wish};
use crate::book::{BookView, Books};
use crate::catalog::Catalog;
use crate::event::payload::{Alert, Cause, Features, Payload, Signal};
use crate::event::{EventRef, Flags, Identity, KindVersion, Slot};
use crate::hash;
use crate::limits::{
    CONTINUATION_BYTES, MESH_DELAY_NS, SPAN_SLOTS_MAX, STAGED_REQUESTS_MAX, STAGED_SLOTS_MAX, STAGED_TIMERS_MAX,
};
use crate::units::{SourceId, SymbolId, UnixNanos};

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
    books: Option<&'a Books>,
    catalog: Option<&'a Catalog>,
}

impl<'a> Ctx<'a> {
    /// The context of one call. Made by the bus; public so that a handler can be tested alone.
    #[inline]
    #[must_use]
    pub fn new(site: CallSite, staging: &'a mut Staging) -> Self {
        Self { site, staging, books: None, catalog: None }
    }

    /// As [`Ctx::new`], with the names and the books of the shard.
    #[inline]
    #[must_use]
    pub fn on_shard(site: CallSite, staging: &'a mut Staging, catalog: &'a Catalog, books: Option<&'a Books>) -> Self {
        Self { site, staging, books, catalog: Some(catalog) }
    }

    /// The order book of the symbol at hand, as of the source events admitted so far, the one at hand included. `None` when no
    /// books are kept, or this one is not known from its beginning, gapped, crossed or in the middle of a message. An event that was
    /// held or is retried meets the book as it is now.
    #[inline]
    #[must_use]
    pub fn book(&self) -> Option<BookView<'a>> {
        self.books.and_then(|books| books.view(self.site.symbol))
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

    /// Whether this call has staged an effect.
    #[inline]
    #[must_use]
    pub fn has_staged(&self) -> bool {
        self.staging.is_touched()
    }

    /// In a run ([`super::Handler::on_run`]): goes on to `event`, which is the next one of it. Time and the cause of effects are
    /// this event's from then on.
    #[inline]
    pub fn turn_to(&mut self, event: EventRef<'_>) {
        let head = event.head();
        self.site.now = self.site.now.max(head.ts_recv);
        (self.site.root, self.site.ts_event) = (head.identity(), head.ts_event);
    }

    /// The event that effects are put down to: the root, or the event during which the timer was set.
    #[inline]
    #[must_use]
    pub fn root(&self) -> Identity {
        self.site.root
    }

    /// The next calls are for this root event.
    #[inline]
    pub(crate) fn turn_to_root(&mut self, now: UnixNanos, root: &Slot) {
        (self.site.now, self.site.symbol) = (now, root.symbol);
        (self.site.root, self.site.ts_event) = (root.identity(), root.ts_event);
    }

    /// The next call is one of this handler.
    #[inline]
    pub(crate) fn turn_to_handler(&mut self, handler: u16, source: SourceId, crosses_symbols: bool) {
        (self.site.handler, self.site.source, self.site.crosses_symbols) = (handler, source, crosses_symbols);
    }

    /// Effects so far.
    #[inline]
    pub(crate) fn staging(&mut self) -> &mut Staging {
        self.staging
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

    /// As [`Ctx::publish`], with a `ts_event` of the handler's choice: of what is made later, by a timer say, but tells of what happened
    /// then. Else it is that of the event at hand, or T of the timer.
    ///
    /// # Errors
    /// [`Full`] as [`Ctx::publish`].
    pub fn publish_as_of<P: Payload>(
        &mut self,
        ts_event: UnixNanos,
        payload: &P,
        scale: u8,
        tail: &[u64],
    ) -> Result<(), Full> {
        let at_hand = core::mem::replace(&mut self.site.ts_event, ts_event);
        let result = self.publish(payload, scale, tail);
        self.site.ts_event = at_hand;
        result
    }

    /// Publishes an event for `symbol`. For another symbol than the one at hand it falls due one mesh delay later,
    /// whether or not that symbol lives on this shard.
    ///
    /// # Errors
    /// [`Full`] as [`Ctx::publish`], and for another symbol when the handler does not declare
    /// [`Handler::CROSSES_SYMBOLS`](crate::handler::Handler::CROSSES_SYMBOLS).
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
        self.staging.is_touched = true;
        Ok(())
    }

    /// Sets a one-shot timer for this handler and symbol. It fires with `token` once shard time reaches `at`, rounded
    /// up to a multiple of the tick; never early, and before any event of a later time. Its name can be kept in the state, to
    /// [`Ctx::cancel`] it.
    ///
    /// # Errors
    /// [`Full`] when the handlers of the root event have set [`STAGED_TIMERS_MAX`] timers already; counted.
    pub fn timer_at(&mut self, at: UnixNanos, token: u64) -> Result<TimerId, Full> {
        if self.staging.timers.len() == STAGED_TIMERS_MAX {
            self.staging.refused += 1;
            return Err(Full);
        }
        let due = at.round_up(self.site.tick_ns);
        let id = [self.site.timer, due.0, self.staging.timers.len() as u64];
        let serial = self.staging.next_timer(self.site.symbol);
        self.staging.timers.push(TimerRequest {
            due,
            token,
            id: hash::stable(bytemuck::bytes_of(&id)),
            serial,
            cause: self.site.root,
            symbol: self.site.symbol,
            handler: self.site.handler,
            pad: 0,
        });
        self.staging.is_touched = true;
        Ok(serial)
    }

    /// Takes a timer of this handler and symbol back, as an effect: it does not fire once this call is done. A name of a timer
    /// that has fired, was cancelled or is another handler's does nothing and is counted.
    ///
    /// # Errors
    /// [`Full`] when the handlers of the root event have cancelled [`STAGED_TIMERS_MAX`] timers already; counted.
    pub fn cancel(&mut self, timer: TimerId) -> Result<(), Full> {
        if self.staging.cancels.len() == STAGED_TIMERS_MAX {
            self.staging.refused += 1;
            return Err(Full);
        }
        self.staging.cancels.push(StagedCancel { serial: timer, handler: self.site.handler });
        self.staging.is_touched = true;
        Ok(())
    }

    /// Asks for a job for the symbol at hand, as an effect: it is queued once this call is done. Whoever serves the job does it at
    /// a later multiple of the service interval; then come [`super::Handler::on_reply`], for each event of the reply, and
    /// [`super::Handler::on_request_end`], once, also when the request was not queued or not served.
    ///
    /// # Errors
    /// [`Full`] when the handlers of the root event have asked for [`STAGED_REQUESTS_MAX`] jobs already; counted.
    pub fn request(&mut self, wish: &Wish) -> Result<RequestId, Full> {
        if self.staging.wishes.len() == STAGED_REQUESTS_MAX {
            self.staging.refused += 1;
            return Err(Full);
        }
        let id = self.staging.next_request(self.site.symbol);
        let (handler, cause) = (self.site.handler, self.site.root);
        self.staging.wishes.push(StagedWish { id, wish: *wish, handler, cause });
        self.staging.is_touched = true;
        Ok(id)
    }

    /// Asks for history of the symbol at hand, as an effect. It is read off the core and comes one job delay after the next instant of
    /// service, in order of time, as events marked [`Flags::HISTORICAL`]: to all who are interested in their kinds, and to this handler as
    /// [`super::Handler::on_reply`]; at last an event of [`crate::event::Kind::BACKFILL_DONE`], and
    /// [`super::Handler::on_request_end`], once, also when it was refused. What has come before and is remembered does not come again
    /// ([`super::RequestEnd::Completed`]): see [`crate::backfill`].
    ///
    /// # Errors
    /// [`Full`] when the handlers of the root event have asked for history, or taken asks back, [`STAGED_REQUESTS_MAX`] times already; counted.
    pub fn backfill(&mut self, history: &History) -> Result<RequestId, Full> {
        self.stage_history(HistoryAct::Ask(*history))
    }

    /// Takes an ask of this handler for history of this symbol back, as an effect: no event of it comes any more, and its end
    /// is [`super::RequestEnd::Cancelled`]. One that has ended, or that is another handler's, is left alone and counted.
    ///
    /// # Errors
    /// [`Full`] as [`Ctx::backfill`].
    pub fn cancel_backfill(&mut self, request: RequestId) -> Result<(), Full> {
        self.stage_history(HistoryAct::Cancel(request)).map(|_| ())
    }

    fn stage_history(&mut self, act: HistoryAct) -> Result<RequestId, Full> {
        if self.staging.histories.len() == STAGED_REQUESTS_MAX {
            self.staging.refused += 1;
            return Err(Full);
        }
        let id = self.staging.next_request(self.site.symbol);
        let (handler, cause) = (self.site.handler, self.site.root);
        self.staging.histories.push(StagedHistory { id, act, handler, cause });
        self.staging.is_touched = true;
        Ok(id)
    }

    /// A word that looks random and is a function of the seed, the root event, the attempt or timer, the handler and `salt` alone. Symbol, source
    /// and handler count by their names, whatever numbers they have (in a context made by [`Ctx::new`], which knows no names, by their
    /// numbers). O(1): a hash of 72 bytes.
    #[must_use]
    pub fn rand(&self, salt: u64) -> u64 {
        let CallSite { root, source, handler, .. } = self.site;
        let [symbol, root_source, handler] = match self.catalog {
            Some(names) => [names.symbol_hash(root.symbol), names.source_hash(root.source), names.source_hash(source)],
            None => [u64::from(root.symbol.0), u64::from(root.source.0), u64::from(handler)],
        };
        let words = [
            self.site.seed,
            root.seq,
            u64::from(root.part),
            symbol,
            root_source,
            handler,
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
    use crate::handler::{Job, Wish};
    use crate::queue::Priority;

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

    fn wish() -> Wish {
        let priority = Priority::new(3).unwrap();
        Wish { job: Job::FEATURES, groups: 1, priority, expires_at: UnixNanos::ZERO, token: 0 }
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

        staging.keep();
        let mut cx = Ctx::new(site(), &mut staging);
        assert!(!cx.has_staged(), "a new call");
        cx.publish_as_of(UnixNanos(2), &Alert::default(), 0, &[]).unwrap();
        cx.publish(&Alert::default(), 0, &[]).unwrap();
        let times = |staging: &Staging| events(staging.slots()).map(|of| of.head().ts_event.0).collect::<Vec<_>>();
        assert_eq!(times(&staging), [7, 7, 2, 7]);
        staging.roll_back();
        let mut cx = Ctx::new(site(), &mut staging);
        cx.signal(&Signal::default()).unwrap();
        cx.cancel(TimerId(1)).unwrap();
        assert_eq!(cx.request(&wish()), Ok(RequestId(1)));
        assert_eq!(cx.timer_at(UnixNanos(5), 78), Ok(TimerId(2)));
        assert!(cx.has_staged());
        assert_eq!((staging.cancels().len(), staging.wishes()[0].id), (1, RequestId(1)));
        assert_eq!(events(staging.slots()).count(), 3);
        staging.roll_back();
        assert_eq!(events(staging.slots()).count(), 2);
        assert_eq!((staging.timers().len(), staging.cancels().len(), staging.wishes().len()), (1, 0, 0));
    }

    #[test]
    fn names_of_a_symbol_go_on_where_effects_took_place() {
        let mut staging = Staging::for_symbols(4);
        assert_eq!(Ctx::new(site(), &mut staging).timer_at(UnixNanos(5), 0), Ok(TimerId(1)));
        staging.clear();
        let mut cx = Ctx::new(site(), &mut staging);
        assert_eq!(cx.timer_at(UnixNanos(5), 0), Ok(TimerId(1)), "the first never took place");
        cx.request(&wish()).unwrap();
        staging.advance_serials(SymbolId(3));
        staging.clear();
        let mut cx = Ctx::new(site(), &mut staging);
        assert_eq!((cx.timer_at(UnixNanos(5), 0), cx.request(&wish())), (Ok(TimerId(2)), Ok(RequestId(2))));
        let other = CallSite { symbol: SymbolId(2), ..site() };
        staging.clear();
        assert_eq!(Ctx::new(other, &mut staging).timer_at(UnixNanos(5), 0), Ok(TimerId(1)));
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
        for serial in 0..STAGED_TIMERS_MAX as u64 {
            cx.cancel(TimerId(serial)).unwrap();
        }
        assert_eq!(cx.cancel(TimerId(1)), Err(Full));
        for number in 1..=STAGED_REQUESTS_MAX as u64 {
            assert_eq!(cx.request(&wish()), Ok(RequestId(number)));
        }
        assert_eq!(cx.request(&wish()), Err(Full));
        assert_eq!(staging.refused(), 5);
    }
}
