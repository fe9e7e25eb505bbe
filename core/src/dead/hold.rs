//! Which pairs of handler and symbol are held, and the events that wait there in order.
//!
//! ```text
//! buckets   hash of (handler, symbol) -> holds with that hash
//! queues    hold -> entries: the one that waits for its retry, then those held behind it
//! ready     holds whose first entry is not waiting for anything any more
//! ```

use crate::chain::Chains;
use crate::hash;
use crate::invariant::{Broken, require};
use crate::section::{Reader, RestoreError, Writer};
use crate::slab::Slab;
use crate::units::SymbolId;
use bytemuck::{Pod, Zeroable};

/// A pair of handler and symbol that is held.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Pod, Zeroable)]
#[repr(C)]
pub(super) struct Key {
    pub(super) symbol: SymbolId,
    pub(super) handler: u16,
    pad: u16,
}

impl Key {
    pub(super) const fn new(handler: u16, symbol: SymbolId) -> Self {
        Self { symbol, handler, pad: 0 }
    }
}

#[derive(Debug)]
pub(super) struct Holds {
    keys: Slab<Key>,
    /// Chains of holds, by hash.
    buckets: Chains,
    /// Chains of entries, by hold.
    pub(super) queues: Chains,
    /// One chain of holds.
    ready: Chains,
    seed: u64,
}

const READY: u32 = 0;

impl Holds {
    pub(super) fn new(holds: usize, entries: usize, seed: u64) -> Self {
        Self {
            keys: Slab::new(holds, seed),
            buckets: Chains::new(Self::buckets_for(holds), holds),
            queues: Chains::new(holds, entries),
            ready: Chains::new(1, holds),
            seed,
        }
    }

    const fn buckets_for(holds: usize) -> usize {
        holds.next_power_of_two()
    }

    pub(super) const fn len(&self) -> usize {
        self.keys.len()
    }

    pub(super) const fn is_full(&self) -> bool {
        self.keys.is_full()
    }

    pub(super) fn bytes(&self) -> usize {
        self.keys.bytes() + self.buckets.bytes() + self.queues.bytes() + self.ready.bytes()
    }

    fn bucket(&self, key: Key) -> u32 {
        // Equal words are equal keys, and the pad is always 0.
        let words = [self.seed, u64::from(key.symbol.0) << 16 | u64::from(key.handler)];
        hash::stable(bytemuck::bytes_of(&words)) as u32 & (self.buckets.chains() as u32 - 1)
    }

    /// The hold of `key`. One comparison when nothing is held at all; else O(1) expected.
    #[inline]
    pub(super) fn find(&self, key: Key) -> Option<u32> {
        if self.keys.is_empty() {
            return None;
        }
        self.buckets.iter(self.bucket(key)).find(|hold| *self.keys.at(*hold) == key)
    }

    /// A new hold, without entries yet. There is room, and none of that key.
    pub(super) fn add(&mut self, key: Key) -> u32 {
        let hold = self.keys.insert(key).expect("there is room").index();
        self.buckets.push_back(self.bucket(key), hold);
        hold
    }

    /// The first entry has changed, `is_held` says what it is now; `None` = there is no entry any more.
    pub(super) fn settle(&mut self, hold: u32, is_held: Option<bool>) {
        let is_ready = is_held == Some(true);
        if is_ready != self.ready.is_linked(hold) {
            if is_ready {
                self.ready.push_back(READY, hold);
            } else {
                self.ready.unlink(READY, hold);
            }
        }
        if is_held.is_none() {
            self.buckets.unlink(self.bucket(*self.keys.at(hold)), hold);
            self.keys.remove(self.keys.handle_at(hold));
        }
    }

    /// The first entry of the hold that has been ready for longest.
    #[inline]
    pub(super) fn first_ready(&self) -> Option<u32> {
        self.queues.first(self.ready.first(READY)?)
    }

    pub(super) fn section_bytes(&self) -> usize {
        self.keys.section_bytes()
            + self.buckets.section_bytes()
            + self.queues.section_bytes()
            + self.ready.section_bytes()
    }

    pub(super) fn write(&self, body: &mut Writer<'_>) {
        self.keys.write(body);
        self.buckets.write(body);
        self.queues.write(body);
        self.ready.write(body);
    }

    pub(super) fn read(
        holds: usize,
        entries: usize,
        seed: u64,
        body: &mut Reader<'_>,
        invalid: impl FnOnce(Broken) -> RestoreError,
    ) -> Result<Self, RestoreError> {
        Ok(Self {
            keys: Slab::read(holds, body, invalid)?,
            buckets: Chains::read(Self::buckets_for(holds), holds, body)?,
            queues: Chains::read(holds, entries, body)?,
            ready: Chains::read(1, holds, body)?,
            seed,
        })
    }

    /// Whether holds and queues are whole. `key_of` says for an entry which hold it waits in, `is_held` whether it is held.
    pub(super) fn check(
        &self,
        key_of: impl Fn(u32) -> Option<Key>,
        is_held: impl Fn(u32) -> bool,
    ) -> Result<(), Broken> {
        self.keys.check()?;
        self.buckets.check(|hold| self.keys.is_used(hold).then(|| self.bucket(*self.keys.at(hold))))?;
        for (handle, key) in self.keys.iter() {
            require(key.pad == 0, "a pair is a handler and a symbol", handle.index())?;
            require(self.find(*key) == Some(handle.index()), "a pair is held once", handle.index())?;
            require(!self.queues.is_empty(handle.index()), "a hold has an entry", handle.index())?;
        }
        self.queues.check(|entry| self.find(key_of(entry)?))?;
        for (handle, _) in self.keys.iter() {
            let are_held = self.queues.iter(handle.index()).skip(1).all(&is_held);
            require(are_held, "only the first of a hold waits for a retry", handle.index())?;
        }
        self.ready.check(|hold| {
            let first = if self.keys.is_used(hold) { self.queues.first(hold) } else { None };
            first.filter(|entry| is_held(*entry)).map(|_| READY)
        })
    }
}
