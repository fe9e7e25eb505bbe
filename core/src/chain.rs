//! Lists of indices in both directions, through one flat array: the order in which entries of one kind, symbol or error came.
//!
//! ```text
//! ends     chain 0: head 2, tail 0, 2 long     chain 1: head 1, tail 1, 1 long     chain 2: empty
//! links    | 0: prev 2 next - | 1: prev - next - | 2: prev - next 0 | 3: in no chain |
//! ```
//! An index is in at most one chain of one [`Chains`]; an entry that has a kind and a symbol is in two of them. Which chain it is
//! in, the owner knows: it says so whenever it links or unlinks.

use crate::invariant::{Broken, require};
use crate::section::{Reader, RestoreError, Writer};
use crate::slab::NONE;
use crate::steps::step;
use bytemuck::{Pod, Zeroable};

/// Most indices, and most chains, of one [`Chains`].
pub const CHAIN_MAX: usize = 1 << 30;

#[derive(Clone, Copy, PartialEq, Eq, Debug, Pod, Zeroable)]
#[repr(C)]
struct Ends {
    head: u32,
    tail: u32,
    len: u32,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Pod, Zeroable)]
#[repr(C)]
struct Link {
    prev: u32,
    next: u32,
}

const EMPTY: Ends = Ends { head: NONE, tail: NONE, len: 0 };
/// In no chain. (A link of a chain of one is `NONE, NONE`.)
const APART: Link = Link { prev: NONE - 1, next: NONE - 1 };

/// See the [module](self). All operations are O(1) unless they say otherwise; nothing is allocated after [`Chains::new`].
#[derive(Debug)]
pub struct Chains {
    ends: Box<[Ends]>,
    links: Box<[Link]>,
}

impl Chains {
    /// `chains` empty lists over the indices below `indices`. O(chains + indices).
    ///
    /// # Panics
    /// When one of them is above [`CHAIN_MAX`].
    #[must_use]
    pub fn new(chains: usize, indices: usize) -> Self {
        assert!(
            chains <= CHAIN_MAX && indices <= CHAIN_MAX,
            "at most {CHAIN_MAX} chains and indices, not {chains} and {indices}"
        );
        Self { ends: vec![EMPTY; chains].into_boxed_slice(), links: vec![APART; indices].into_boxed_slice() }
    }

    /// Number of chains.
    #[inline]
    #[must_use]
    pub fn chains(&self) -> usize {
        self.ends.len()
    }

    /// Bytes on the heap.
    #[must_use]
    pub fn bytes(&self) -> usize {
        size_of_val(&*self.ends) + size_of_val(&*self.links)
    }

    /// Number of indices in `chain`; 0 for one that does not exist.
    #[inline]
    #[must_use]
    pub fn len(&self, chain: u32) -> usize {
        step();
        self.ends.get(chain as usize).map_or(0, |ends| ends.len as usize)
    }

    /// Whether `chain` holds nothing or does not exist.
    #[inline]
    #[must_use]
    pub fn is_empty(&self, chain: u32) -> bool {
        self.len(chain) == 0
    }

    /// First index of `chain`: the oldest, where everything is pushed back.
    #[inline]
    #[must_use]
    pub fn first(&self, chain: u32) -> Option<u32> {
        step();
        some(self.ends.get(chain as usize)?.head)
    }

    /// Last index of `chain`.
    #[inline]
    #[must_use]
    pub fn last(&self, chain: u32) -> Option<u32> {
        step();
        some(self.ends.get(chain as usize)?.tail)
    }

    /// The index after `index` in its chain. `None` at the end and for an index in no chain.
    #[inline]
    #[must_use]
    pub fn next(&self, index: u32) -> Option<u32> {
        step();
        some(self.links.get(index as usize)?.next)
    }

    /// The index before `index` in its chain. `None` at the beginning and for an index in no chain.
    #[inline]
    #[must_use]
    pub fn prev(&self, index: u32) -> Option<u32> {
        step();
        some(self.links.get(index as usize)?.prev)
    }

    /// Whether `index` is in a chain.
    #[inline]
    #[must_use]
    pub fn is_linked(&self, index: u32) -> bool {
        self.links.get(index as usize).is_some_and(|link| *link != APART)
    }

    /// Appends `index` to `chain`.
    ///
    /// # Panics
    /// When one of them is out of range; with debug assertions also when `index` is in a chain already.
    #[inline]
    pub fn push_back(&mut self, chain: u32, index: u32) {
        self.insert_before(chain, index, NONE);
    }

    /// Puts `index` in front of `chain`.
    ///
    /// # Panics
    /// As [`Chains::push_back`].
    #[inline]
    pub fn push_front(&mut self, chain: u32, index: u32) {
        self.insert_before(chain, index, self.ends[chain as usize].head);
    }

    /// Puts `index` before `before`, which is in `chain`, or at the end when that is [`NONE`].
    ///
    /// # Panics
    /// As [`Chains::push_back`].
    #[inline]
    pub fn insert_before(&mut self, chain: u32, index: u32, before: u32) {
        debug_assert!(!self.is_linked(index), "index {index} is in no chain");
        let ends = &mut self.ends[chain as usize];
        let prev = if before == NONE {
            core::mem::replace(&mut ends.tail, index)
        } else {
            core::mem::replace(&mut self.links[before as usize].prev, index)
        };
        if prev == NONE {
            ends.head = index;
        } else {
            self.links[prev as usize].next = index;
        }
        ends.len += 1;
        self.links[index as usize] = Link { prev, next: before };
    }

    /// Takes `index` out of `chain`.
    ///
    /// # Panics
    /// When one of them is out of range; with debug assertions also when `index` is in no chain.
    #[inline]
    pub fn unlink(&mut self, chain: u32, index: u32) {
        debug_assert!(self.is_linked(index), "index {index} is in a chain");
        let Link { prev, next } = core::mem::replace(&mut self.links[index as usize], APART);
        let ends = &mut self.ends[chain as usize];
        if prev == NONE {
            ends.head = next;
        } else {
            self.links[prev as usize].next = next;
        }
        if next == NONE {
            ends.tail = prev;
        } else {
            self.links[next as usize].prev = prev;
        }
        ends.len -= 1;
    }

    /// The indices of `chain` from the first on.
    pub fn iter(&self, chain: u32) -> impl Iterator<Item = u32> {
        core::iter::successors(self.first(chain), |index| self.next(*index))
    }

    /// Bytes that [`Chains::write`] writes.
    #[must_use]
    pub fn section_bytes(&self) -> usize {
        self.bytes()
    }

    /// Writes all chains into the section of the structure that owns them.
    pub fn write(&self, body: &mut Writer<'_>) {
        body.slice(&self.ends);
        body.slice(&self.links);
    }

    /// Reads what [`Chains::write`] wrote. Nothing of it is checked yet: see [`Chains::check`].
    ///
    /// # Errors
    /// [`RestoreError::Length`] when there is less.
    pub fn read(chains: usize, indices: usize, body: &mut Reader<'_>) -> Result<Self, RestoreError> {
        let mut read = Self::new(chains, indices);
        body.fill(&mut read.ends)?;
        body.fill(&mut read.links)?;
        Ok(read)
    }

    /// Whether every chain is whole and holds exactly the indices that `chain_of` puts into it. O(chains + indices).
    ///
    /// # Errors
    /// The first rule that does not hold. Never panics or loops, whatever the arrays hold.
    pub fn check(&self, chain_of: impl Fn(u32) -> Option<u32>) -> Result<(), Broken> {
        let mut linked = 0;
        for (chain, ends) in self.ends.iter().enumerate() {
            let (mut prev, mut index) = (NONE, ends.head);
            for _ in 0..ends.len {
                let Some(link) = self.links.get(index as usize) else {
                    return require(false, "a chain is as long as it says", chain);
                };
                require(chain_of(index) == Some(chain as u32), "a chain holds what belongs into it", index)?;
                // Each index has one `prev` and one chain, so that a walk along equal ones meets no index twice.
                require(link.prev == prev, "a link points back to where the walk came from", index)?;
                (prev, index) = (index, link.next);
                linked += 1;
            }
            require(index == NONE && prev == ends.tail, "a chain ends at its tail", chain)?;
        }
        let belong = (0..self.links.len() as u32).filter(|index| chain_of(*index).is_some());
        require(belong.count() == linked, "everything that belongs into a chain is in it", linked)?;
        for (index, link) in self.links.iter().enumerate() {
            let apart = chain_of(index as u32).is_none();
            require(apart == (*link == APART), "what belongs into no chain is in none", index)?;
        }
        Ok(())
    }
}

#[inline]
const fn some(index: u32) -> Option<u32> {
    // The two highest are marks: the end of a chain, and in no chain.
    if index < NONE - 1 { Some(index) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::section::{self, Section, Shape};
    use crate::testing::{Prng, every_cut_and_flip_is_refused, for_seeds, sealed_damage};
    use std::collections::VecDeque;

    const SHAPE: Shape = Shape { name: "chains", version: 1, element: 8, layout: "chains", capacity: 8 };

    fn chain_of(twin: &[VecDeque<u32>], index: u32) -> Option<u32> {
        twin.iter().position(|chain| chain.contains(&index)).map(|chain| chain as u32)
    }

    fn live(prng: &mut Prng, chains: &mut Chains, twin: &mut [VecDeque<u32>], operations: usize) {
        for _ in 0..operations {
            let index = prng.index(8) as u32;
            let to = prng.index(twin.len());
            match chain_of(twin, index) {
                Some(chain) => {
                    chains.unlink(chain, index);
                    twin[chain as usize].retain(|other| *other != index);
                }
                None if prng.one_in(3) => {
                    chains.push_front(to as u32, index);
                    twin[to].push_front(index);
                }
                None if prng.one_in(3) && !twin[to].is_empty() => {
                    let at = prng.index(twin[to].len());
                    chains.insert_before(to as u32, index, twin[to][at]);
                    twin[to].insert(at, index);
                }
                None => {
                    chains.push_back(to as u32, index);
                    twin[to].push_back(index);
                }
            }
            for (chain, expected) in twin.iter().enumerate() {
                let chain = chain as u32;
                assert!(chains.iter(chain).eq(expected.iter().copied()));
                assert_eq!((chains.len(chain), chains.is_empty(chain)), (expected.len(), expected.is_empty()));
                assert_eq!(
                    (chains.first(chain), chains.last(chain)),
                    (expected.front().copied(), expected.back().copied())
                );
                let back = core::iter::successors(chains.last(chain), |index| chains.prev(*index));
                assert!(back.eq(expected.iter().rev().copied()));
            }
            chains.check(|index| chain_of(twin, index)).unwrap();
        }
    }

    #[test]
    fn chains_are_what_lists_of_indices_are() {
        for_seeds(0..50, |_, prng| {
            let mut twin = vec![VecDeque::new(); 3];
            live(prng, &mut Chains::new(3, 8), &mut twin, 300);
        });
    }

    #[test]
    fn chains_and_indices_that_do_not_exist_hold_nothing() {
        let chains = Chains::new(0, 0);
        assert_eq!((chains.len(0), chains.first(0), chains.next(0), chains.is_linked(0)), (0, None, None, false));
        chains.check(|_| None).unwrap();
    }

    #[test]
    #[should_panic(expected = "chains and indices, not 1073741825 and 1")]
    fn more_chains_than_the_limit_panic() {
        let _ = Chains::new(CHAIN_MAX + 1, 1);
    }

    #[test]
    #[should_panic(expected = "chains and indices, not 1 and 4294967296")]
    fn more_indices_than_32_bits_panic() {
        let _ = Chains::new(1, 1 << 32);
    }

    #[test]
    fn damage_is_refused_or_harmless() {
        let (mut chains, mut twin) = (Chains::new(3, 8), vec![VecDeque::new(); 3]);
        live(&mut Prng::new(5), &mut chains, &mut twin, 101);
        let mut bytes = Vec::new();
        section::write(&mut bytes, &SHAPE, 0, chains.section_bytes(), |body| chains.write(body));
        let restore = |bytes: &[u8]| -> Result<Chains, RestoreError> {
            let mut body = Section::parse(bytes)?.expect(&SHAPE)?;
            let chains = Chains::read(3, 8, &mut body)?;
            body.finish()?;
            let belong = |index| chain_of(&twin, index);
            chains.check(belong).map_err(|broken| RestoreError::Invalid { name: "chains", broken })?;
            Ok(chains)
        };
        every_cut_and_flip_is_refused(&bytes, |bytes| restore(bytes).is_ok());
        // Whatever passes holds what it should, in some order.
        let (refused, taken) = sealed_damage(0..10, 300, &bytes, |bytes| {
            restore(bytes).is_ok_and(|chains| {
                for (chain, expected) in twin.iter().enumerate() {
                    let mut indices: Vec<u32> = chains.iter(chain as u32).collect();
                    let mut expected: Vec<u32> = expected.iter().copied().collect();
                    indices.sort_unstable();
                    expected.sort_unstable();
                    assert_eq!(indices, expected);
                }
                true
            })
        });
        assert!(refused > 1_000 && taken > 0, "{refused} {taken}");
    }
}
