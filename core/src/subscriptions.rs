//! Subscriptions: which handler is called for which topic, changed while the shard runs.
//!
//! Every handler begins with one subscription to all that it is interested in. A [`Subscription`](crate::event::payload::Subscription)
//! in the stream adds one or takes one away, from its place in the stream on: what came before it is handled as before, on every shard and in
//! every replay. A subscription is named by a handle, which goes stale with it; its place is used again.
//!
//! ```
//! use tapeline_core::event::{Kind, KindSet};
//! use tapeline_core::subscriptions::{Stale, Subscriptions};
//!
//! let both = KindSet::of(&[Kind::TRADE, Kind::QUOTE]);
//! let mut subscriptions = Subscriptions::new(&[both]);
//! let all = subscriptions.find(0, 0).unwrap();
//! let trades = subscriptions.subscribe(0, 77, KindSet::of(&[Kind::TRADE]))?;
//! subscriptions.unsubscribe(all)?;
//! assert_eq!(subscriptions.kinds(0), KindSet::of(&[Kind::TRADE]));
//! assert_eq!(subscriptions.unsubscribe(all), Err(Stale));
//! assert_eq!(subscriptions.unsubscribe(trades), Ok(0));
//! assert_eq!(subscriptions.kinds(0), KindSet::EMPTY);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use crate::chain::Chains;
use crate::event::KindSet;
use crate::invariant::{Broken, require};
use crate::limits::{HANDLERS_MAX, SUBSCRIPTIONS_MAX};
use crate::section::{Reader, RestoreError, Writer};
use crate::slab::{Handle, Slab, seed_of};
use bytemuck::{Pod, Zeroable};

/// A subscription of one handler. Refused once it has ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SubscriptionId(Handle);

/// The subscription has ended, or there never was one.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("there is no such subscription")]
pub struct Stale;

/// Why a handler was not subscribed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SubscribeError {
    /// There are [`SUBSCRIPTIONS_MAX`] already.
    #[error("there are {SUBSCRIPTIONS_MAX} subscriptions, as many as there may be")]
    Full,
    /// No handler of that number.
    #[error("there is no such handler")]
    NoHandler,
    /// The handler is interested in no kind of the topic.
    #[error("the handler is interested in no kind of the topic")]
    NoKinds,
}

#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
struct Record {
    /// Stable hash of the topic's name; 0 = every topic.
    topic: u64,
    kinds: u64,
    handler: u32,
    pad: u32,
}

/// See the [module](self). O(subscriptions of the handler) each; nothing is allocated after [`Subscriptions::new`].
#[derive(Debug)]
pub struct Subscriptions {
    records: Slab<Record>,
    by_handler: Chains,
    /// By handler: what it can take at all, and what it is subscribed to.
    interests: Box<[KindSet]>,
    kinds: Box<[KindSet]>,
}

impl Subscriptions {
    /// Handlers with these interests, each subscribed to every topic.
    ///
    /// # Panics
    /// When there are more than [`HANDLERS_MAX`] handlers.
    #[must_use]
    pub fn new(interests: &[KindSet]) -> Self {
        Self::numbered(interests, 0)
    }

    /// As [`Subscriptions::new`], as the table of that number (a shard gives its own): it refuses the handles of tables with other numbers,
    /// and they refuse its; of different numbers, one is taken once in 2^31.
    ///
    /// # Panics
    /// As [`Subscriptions::new`].
    #[must_use]
    pub fn numbered(interests: &[KindSet], instance: u32) -> Self {
        assert!(interests.len() <= HANDLERS_MAX, "at most {HANDLERS_MAX} handlers, not {}", interests.len());
        let mut subscriptions = Self {
            records: Slab::new(SUBSCRIPTIONS_MAX, seed_of("subscriptions", instance)),
            by_handler: Chains::new(interests.len(), SUBSCRIPTIONS_MAX),
            interests: interests.into(),
            kinds: vec![KindSet::EMPTY; interests.len()].into_boxed_slice(),
        };
        for handler in 0..interests.len() as u16 {
            // One that is interested in nothing has timers or jobs only.
            let _ = subscriptions.subscribe(handler, 0, KindSet::KNOWN);
        }
        subscriptions
    }

    /// Subscribes `handler` to the topic of that name's hash (0 = every topic), which has these kinds. The same one again when it is
    /// subscribed to it already.
    ///
    /// # Errors
    /// [`SubscribeError`]; nothing has changed then.
    pub fn subscribe(&mut self, handler: u16, topic: u64, kinds: KindSet) -> Result<SubscriptionId, SubscribeError> {
        let at = usize::from(handler);
        let interests = *self.interests.get(at).ok_or(SubscribeError::NoHandler)?;
        if let Some(there) = self.find(handler, topic) {
            return Ok(there);
        }
        let kinds = kinds.intersection(interests);
        if kinds == KindSet::EMPTY {
            return Err(SubscribeError::NoKinds);
        }
        let record = Record { topic, kinds: kinds.bits(), handler: u32::from(handler), pad: 0 };
        let handle = self.records.insert(record).map_err(|_| SubscribeError::Full)?;
        self.by_handler.push_back(u32::from(handler), handle.index());
        self.kinds[at] = self.kinds[at].union(kinds);
        Ok(SubscriptionId(handle))
    }

    /// Ends a subscription. Returns its handler, which keeps what its other ones give it.
    ///
    /// # Errors
    /// [`Stale`] when it has ended already.
    pub fn unsubscribe(&mut self, subscription: SubscriptionId) -> Result<u16, Stale> {
        let record = self.records.remove(subscription.0).ok_or(Stale)?;
        self.by_handler.unlink(record.handler, subscription.0.index());
        let left = self.by_handler.iter(record.handler);
        let left = left.fold(0, |kinds, index| kinds | self.records.at(index).kinds);
        self.kinds[record.handler as usize] = KindSet::from_bits(left);
        Ok(record.handler as u16)
    }

    /// The subscription of a handler to a topic.
    #[must_use]
    pub fn find(&self, handler: u16, topic: u64) -> Option<SubscriptionId> {
        let mut own = self.by_handler.iter(u32::from(handler));
        let index = own.find(|index| self.records.at(*index).topic == topic)?;
        Some(SubscriptionId(self.records.handle_at(index)))
    }

    /// What a handler is subscribed to.
    #[must_use]
    pub fn kinds(&self, handler: u16) -> KindSet {
        self.kinds.get(usize::from(handler)).copied().unwrap_or(KindSet::EMPTY)
    }

    /// Subscriptions in all.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether nobody is subscribed to anything.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Bytes on the heap.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.records.bytes() + self.by_handler.bytes() + size_of_val(&*self.interests) + size_of_val(&*self.kinds)
    }

    /// Bytes of [`Subscriptions::write`].
    pub(crate) fn section_bytes(&self) -> usize {
        self.records.section_bytes()
    }

    /// Writes them into the section of their bus.
    pub(crate) fn write(&self, body: &mut Writer<'_>) {
        self.records.write(body);
    }

    /// Reads what [`Subscriptions::write`] wrote, for handlers with the same interests.
    pub(crate) fn read(
        &mut self,
        body: &mut Reader<'_>,
        invalid: impl Fn(Broken) -> RestoreError,
    ) -> Result<(), RestoreError> {
        let handlers = self.interests.len();
        self.records = Slab::read(SUBSCRIPTIONS_MAX, body, &invalid)?;
        self.by_handler = Chains::new(handlers, SUBSCRIPTIONS_MAX);
        self.kinds.fill(KindSet::EMPTY);
        for (handle, record) in self.records.iter() {
            let (handler, kinds) = (record.handler as usize, KindSet::from_bits(record.kinds));
            let interests = self.interests.get(handler).copied().unwrap_or(KindSet::EMPTY);
            let is_known = kinds != KindSet::EMPTY && kinds.without(interests) == KindSet::EMPTY && record.pad == 0;
            require(is_known, "a subscription is of kinds that its handler knows", handle.index()).map_err(&invalid)?;
            let is_new = {
                let mut own = self.by_handler.iter(record.handler);
                !own.any(|index| self.records.at(index).topic == record.topic)
            };
            require(is_new, "a handler is subscribed to a topic once", handle.index()).map_err(&invalid)?;
            self.by_handler.push_back(record.handler, handle.index());
            self.kinds[handler] = self.kinds[handler].union(kinds);
        }
        self.check().map_err(invalid)
    }

    /// Checks every rule of the structure. O([`SUBSCRIPTIONS_MAX`]); for tests.
    ///
    /// # Panics
    /// When a rule does not hold, with the rule.
    pub fn assert_invariants(&self) {
        if let Err(broken) = self.check() {
            panic!("Invariant: {broken}; {} subscriptions", self.len());
        }
    }

    fn check(&self) -> Result<(), Broken> {
        self.records.check()?;
        self.by_handler.check(|index| self.records.is_used(index).then(|| self.records.at(index).handler))?;
        let mut kinds = [0_u64; HANDLERS_MAX];
        for (_, record) in self.records.iter() {
            kinds[record.handler as usize] |= record.kinds;
        }
        for (handler, (own, interests)) in self.kinds.iter().zip(&self.interests).enumerate() {
            require(own.bits() == kinds[handler], "a handler is called for what it is subscribed to", handler)?;
            require(own.without(*interests) == KindSet::EMPTY, "nobody is called for what it does not know", handler)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Kind;
    use crate::testing::for_seeds;
    use std::collections::BTreeMap;

    const KINDS: [Kind; 4] = [Kind::TRADE, Kind::QUOTE, Kind::NEWS, Kind::BAR];

    #[test]
    fn agrees_with_a_map_after_each_operation() {
        for_seeds(0..40, |_, prng| {
            let interests: Vec<KindSet> = (0..5)
                .map(|_| {
                    KINDS
                        .iter()
                        .filter(|_| prng.one_in(2))
                        .fold(KindSet::EMPTY, |set, kind| set.union(KindSet::one(*kind)))
                })
                .collect();
            let mut subscriptions = Subscriptions::new(&interests);
            let mut twin: BTreeMap<(u16, u64), (SubscriptionId, KindSet)> = BTreeMap::new();
            for (handler, interests) in interests.iter().enumerate() {
                if let Some(id) = subscriptions.find(handler as u16, 0) {
                    twin.insert((handler as u16, 0), (id, *interests));
                }
            }
            let mut ended = Vec::new();
            for _ in 0..2_000 {
                let (handler, topic) = (prng.index(6) as u16, prng.in_range(0..60));
                if prng.one_in(2) {
                    let kinds = KindSet::of(&[KINDS[prng.index(4)], KINDS[prng.index(4)]]);
                    let own = interests.get(usize::from(handler)).map(|own| kinds.intersection(*own));
                    match (subscriptions.subscribe(handler, topic, kinds), twin.get(&(handler, topic))) {
                        (Ok(id), Some((there, _))) => assert_eq!(id, *there, "asking twice gives the same"),
                        (Ok(id), None) => {
                            assert!(!ended.contains(&id), "a new life has a new handle");
                            twin.insert((handler, topic), (id, own.unwrap()));
                        }
                        (Err(SubscribeError::NoHandler), _) => assert_eq!(own, None),
                        (Err(SubscribeError::NoKinds), _) => assert_eq!(own, Some(KindSet::EMPTY)),
                        (Err(SubscribeError::Full), _) => assert_eq!(twin.len(), SUBSCRIPTIONS_MAX),
                    }
                } else if let Some((id, _)) = twin.remove(&(handler, topic)) {
                    assert_eq!(subscriptions.unsubscribe(id), Ok(handler));
                    ended.push(id);
                }
                for stale in ended.iter().rev().take(20) {
                    assert_eq!(subscriptions.unsubscribe(*stale), Err(Stale));
                }
                assert_eq!(subscriptions.len(), twin.len());
                for handler in 0..5 {
                    let kinds = twin.iter().filter(|((of, _), _)| *of == handler);
                    let kinds = kinds.fold(KindSet::EMPTY, |set, (_, (_, kinds))| set.union(*kinds));
                    assert_eq!(subscriptions.kinds(handler), kinds);
                }
                subscriptions.assert_invariants();
            }
        });
    }

    #[test]
    fn a_subscription_of_another_table_is_refused() {
        let trades = KindSet::one(Kind::TRADE);
        let mut taken = 0;
        for instance in 0..50 {
            let mut own = Subscriptions::numbered(&[trades, trades], 0);
            let mut other = Subscriptions::numbered(&[trades, trades], instance);
            for topic in 1..=50 {
                let id = own.subscribe(1, topic, trades).unwrap();
                let foreign = other.subscribe(1, topic, trades).unwrap();
                let is_taken = own.unsubscribe(foreign).is_ok();
                taken += u32::from(is_taken);
                assert_eq!(
                    (is_taken, own.unsubscribe(id).is_ok()),
                    (instance == 0, instance != 0),
                    "instance {instance}"
                );
                assert_eq!(other.unsubscribe(foreign), Ok(1));
            }
            own.assert_invariants();
        }
        assert_eq!(taken, 50, "those of the twin of the same number: what every other one would be without");
    }

    #[test]
    fn req_3451_ten_million_cycles_leave_memory_where_it_was_and_every_handle_goes_stale() {
        let trades = KindSet::one(Kind::TRADE);
        let mut subscriptions = Subscriptions::new(&[trades, trades]);
        let (bytes, len) = (subscriptions.bytes(), subscriptions.len());
        let mut last = None;
        for topic in 1..=10_000_000 {
            let id = subscriptions.subscribe(1, topic, trades).expect("slots are used again");
            if let Some(last) = last {
                assert_eq!(subscriptions.unsubscribe(last), Err(Stale));
            }
            assert_eq!(subscriptions.unsubscribe(id), Ok(1));
            last = Some(id);
        }
        assert_eq!((subscriptions.bytes(), subscriptions.len()), (bytes, len));
        subscriptions.assert_invariants();
    }
}
