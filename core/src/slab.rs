//! Plain values in a flat array, found by handles that go stale: the storage of what is linked by `u32`.
//!
//! ```text
//! values   | v0 | v1 | v2 | v3 |        a value keeps its index as long as it lives
//! marks    | m0 | m1 | m2 | m3 |        odd = in use, even = free; one more at each insertion and removal
//! next     | -  | 3  | -  | -  |        free list through the free ones: last freed, first used
//! ```
//! A [`Handle`] is the index and the mark at insertion. Once the value is removed, the mark differs and the handle is refused,
//! whatever lives at the index by then. A mark wraps after 2^31 lives of one index: a handle that was kept that long
//! could be taken for a newer one.
//!
//! **Handles of another slab** are refused, too: marks do not begin at 0, but at a number that follows from the slab's seed and the
//! index. A foreign handle is taken only if the mark of its place came to the same of 2^31 numbers here: by chance once in
//! 2^31, for each handle. That takes seeds that differ: owners make theirs by [`seed_of`], of their name and of which of their kind they
//! are. It costs nothing but at construction, and a restored slab goes on with the marks that it had.

use crate::hash;
use crate::invariant::{Broken, require};
use crate::section::{Reader, RestoreError, Writer};
use crate::steps::step;
use bytemuck::{Pod, Zeroable};

/// Most values of one slab: indices have 32 bits, and the highest are marks.
pub const SLAB_MAX: usize = 1 << 30;
/// No index.
pub const NONE: u32 = u32::MAX;

/// The seed of the marks of a slab that is called `name` in the `instance`th of the structures that have one: the number of their shard,
/// for example. The same on every machine.
#[must_use]
pub const fn seed_of(name: &str, instance: u32) -> u64 {
    hash::stable(name.as_bytes()) ^ instance as u64
}

/// The mark of a place before its first life: even. For one index, two seeds give the same once in 2^31.
#[must_use]
pub(crate) const fn first_mark(seed: u64, index: u32) -> u32 {
    // The output function of SplitMix64 (Steele, Lea, Flood, 2014), which is a bijection: for one index no two seeds give the same 64 bits.
    let bits = seed.wrapping_add((index as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let bits = (bits ^ bits >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let bits = (bits ^ bits >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((bits ^ bits >> 31) >> 32) as u32 & !1
}

/// Where a value is, and which life of that place it was. Refused once the value is gone.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct Handle {
    index: u32,
    mark: u32,
}

impl Handle {
    /// A handle that no slab ever gave.
    pub const NULL: Self = Self { index: NONE, mark: 0 };

    /// Index of the value in its slab.
    #[inline]
    #[must_use]
    pub const fn index(self) -> u32 {
        self.index
    }

    /// The handle as one number, for payloads and logs.
    #[inline]
    #[must_use]
    pub const fn to_bits(self) -> u64 {
        (self.mark as u64) << 32 | self.index as u64
    }

    /// The handle of [`Handle::to_bits`]. Any number gives a handle; one that no slab gave is refused when it is used.
    #[inline]
    #[must_use]
    pub const fn from_bits(bits: u64) -> Self {
        Self { index: bits as u32, mark: (bits >> 32) as u32 }
    }
}

#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
struct Place {
    mark: u32,
    next: u32,
}

/// See the [module](self). All operations are O(1) unless they say otherwise; nothing is allocated after [`Slab::new`].
#[derive(Debug)]
pub struct Slab<T> {
    values: Box<[T]>,
    places: Box<[Place]>,
    free: u32,
    len: u32,
}

impl<T: Pod> Slab<T> {
    /// A slab for `capacity` values, whose marks begin by `seed`: see [`seed_of`]. O(capacity).
    ///
    /// # Panics
    /// When `capacity` is above [`SLAB_MAX`].
    #[must_use]
    pub fn new(capacity: usize, seed: u64) -> Self {
        assert!(capacity <= SLAB_MAX, "a slab holds at most {SLAB_MAX} values, not {capacity}");
        let next = |index: u32| if index as usize + 1 == capacity { NONE } else { index + 1 };
        Self {
            values: vec![T::zeroed(); capacity].into_boxed_slice(),
            places: (0..capacity as u32)
                .map(|index| Place { mark: first_mark(seed, index), next: next(index) })
                .collect(),
            free: if capacity == 0 { NONE } else { 0 },
            len: 0,
        }
    }

    /// Values that there is room for.
    #[inline]
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.values.len()
    }

    /// Values in use.
    #[inline]
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len as usize
    }

    /// Whether no value is in use.
    #[inline]
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether there is no room for another value.
    #[inline]
    #[must_use]
    pub const fn is_full(&self) -> bool {
        self.free == NONE
    }

    /// Bytes on the heap.
    #[must_use]
    pub fn bytes(&self) -> usize {
        size_of_val(&*self.values) + size_of_val(&*self.places)
    }

    /// Puts `value` into the place that was freed last.
    ///
    /// # Errors
    /// Hands the value back when the slab is full.
    #[inline]
    pub fn insert(&mut self, value: T) -> Result<Handle, T> {
        let index = self.free;
        let Some(place) = self.places.get_mut(index as usize) else {
            return Err(value);
        };
        self.free = place.next;
        place.next = NONE;
        place.mark = place.mark.wrapping_add(1);
        self.values[index as usize] = value;
        self.len += 1;
        Ok(Handle { index, mark: place.mark })
    }

    /// Takes the value out. `None` when the handle is stale or of another slab.
    #[inline]
    pub fn remove(&mut self, handle: Handle) -> Option<T> {
        if !self.contains(handle) {
            return None;
        }
        let place = &mut self.places[handle.index as usize];
        place.mark = place.mark.wrapping_add(1);
        place.next = self.free;
        self.free = handle.index;
        self.len -= 1;
        Some(self.values[handle.index as usize])
    }

    /// Whether the handle's value is still there.
    #[inline]
    #[must_use]
    pub fn contains(&self, handle: Handle) -> bool {
        step();
        // A mark that is even was never given.
        handle.mark & 1 == 1 && self.places.get(handle.index as usize).is_some_and(|place| place.mark == handle.mark)
    }

    /// The value, unless the handle is stale or of another slab.
    #[inline]
    #[must_use]
    pub fn get(&self, handle: Handle) -> Option<&T> {
        if self.contains(handle) { self.values.get(handle.index as usize) } else { None }
    }

    /// The value, unless the handle is stale or of another slab.
    #[inline]
    pub fn get_mut(&mut self, handle: Handle) -> Option<&mut T> {
        if self.contains(handle) { self.values.get_mut(handle.index as usize) } else { None }
    }

    /// The value at an index that a link of the owning structure holds, and which is therefore in use.
    ///
    /// # Panics
    /// When `index` is outside the slab; with debug assertions also when it is free.
    #[inline]
    #[must_use]
    pub fn at(&self, index: u32) -> &T {
        step();
        debug_assert!(self.is_used(index), "index {index} is in use");
        &self.values[index as usize]
    }

    /// As [`Slab::at`].
    ///
    /// # Panics
    /// As [`Slab::at`].
    #[inline]
    pub fn at_mut(&mut self, index: u32) -> &mut T {
        step();
        debug_assert!(self.is_used(index), "index {index} is in use");
        &mut self.values[index as usize]
    }

    /// The handle of the value at an index in use.
    ///
    /// # Panics
    /// As [`Slab::at`].
    #[inline]
    #[must_use]
    pub fn handle_at(&self, index: u32) -> Handle {
        step();
        debug_assert!(self.is_used(index), "index {index} is in use");
        Handle { index, mark: self.places[index as usize].mark }
    }

    /// Whether a value lives at `index`.
    #[inline]
    #[must_use]
    pub fn is_used(&self, index: u32) -> bool {
        self.places.get(index as usize).is_some_and(|place| place.mark & 1 == 1)
    }

    /// All values by index. O(capacity).
    pub fn iter(&self) -> impl Iterator<Item = (Handle, &T)> {
        let all = self.places.iter().enumerate().inspect(|_| step());
        let used = all.filter(|(_, place)| place.mark & 1 == 1);
        used.map(|(index, place)| (Handle { index: index as u32, mark: place.mark }, &self.values[index]))
    }

    /// Bytes that [`Slab::write`] writes.
    #[must_use]
    pub fn section_bytes(&self) -> usize {
        8 + self.bytes()
    }

    /// Writes all of the slab into the section of the structure that owns it. O(capacity).
    pub fn write(&self, body: &mut Writer<'_>) {
        body.slice(&[self.free, self.len]);
        body.slice(&self.places);
        for (place, value) in self.places.iter().zip(&self.values) {
            // What is left of a value that is gone is nobody's business, and equal slabs give equal bytes.
            body.slice(&[if place.mark & 1 == 1 { *value } else { T::zeroed() }]);
        }
    }

    /// Reads what [`Slab::write`] wrote by a slab of the same capacity, and checks it. O(capacity).
    ///
    /// # Errors
    /// [`RestoreError::Length`] when there is less, and the first rule that does not hold, as `invalid` words it.
    pub fn read(
        capacity: usize,
        body: &mut Reader<'_>,
        invalid: impl FnOnce(Broken) -> RestoreError,
    ) -> Result<Self, RestoreError> {
        // All marks are read.
        let mut slab = Self::new(capacity, 0);
        slab.free = body.u32()?;
        slab.len = body.u32()?;
        body.fill(&mut slab.places)?;
        body.fill(&mut slab.values)?;
        slab.check().map_err(invalid)?;
        Ok(slab)
    }

    /// Whether count, marks and free list agree. O(capacity).
    ///
    /// # Errors
    /// The first rule that does not hold.
    pub fn check(&self) -> Result<(), Broken> {
        let mut used = 0;
        for (index, place) in self.places.iter().enumerate() {
            if place.mark & 1 == 1 {
                used += 1;
                require(place.next == NONE, "a place in use is not in the free list", index)?;
            }
        }
        require(used == self.len(), "the count is that of the places in use", self.len)?;
        let mut free = self.free;
        for _ in self.len()..self.capacity() {
            require((free as usize) < self.capacity(), "the free list holds every free place", free)?;
            require(!self.is_used(free), "the free list holds free places only", free)?;
            free = self.places[free as usize].next;
        }
        // A list of as many steps as there are free places that ends there has visited each of them once.
        require(free == NONE, "the free list ends after the last free place", free)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::section::{self, Section, Shape};
    use crate::testing::{Prng, every_cut_and_flip_is_refused, for_seeds, sealed_damage};

    fn shape(capacity: usize) -> Shape {
        Shape { name: "slab", version: 1, element: 8, layout: "slab of u64", capacity: capacity as u64 }
    }

    fn snapshot(slab: &Slab<u64>) -> Vec<u8> {
        let mut out = Vec::new();
        section::write(&mut out, &shape(slab.capacity()), slab.len() as u64, slab.section_bytes(), |body| {
            slab.write(body)
        });
        out
    }

    fn restore(capacity: usize, bytes: &[u8]) -> Result<Slab<u64>, RestoreError> {
        let mut body = Section::parse(bytes)?.expect(&shape(capacity))?;
        let slab = Slab::read(capacity, &mut body, |broken| RestoreError::Invalid { name: "slab", broken })?;
        body.finish()?;
        Ok(slab)
    }

    /// Random life beside a plain list of what is in it; returns every handle ever given.
    fn live(prng: &mut Prng, slab: &mut Slab<u64>, operations: usize) -> Vec<(Handle, Option<u64>)> {
        let mut given: Vec<(Handle, Option<u64>)> = Vec::new();
        for operation in 0..operations {
            let pending = given.iter().filter(|(_, value)| value.is_some()).count();
            if prng.one_in(2) {
                let value = prng.next_u64();
                match slab.insert(value) {
                    Ok(handle) => given.push((handle, Some(value))),
                    Err(back) => assert_eq!((back, pending), (value, slab.capacity()), "full at operation {operation}"),
                }
            } else if !given.is_empty() {
                let at = prng.index(given.len());
                let (handle, value) = &mut given[at];
                assert_eq!(slab.remove(*handle), value.take());
            }
            for (handle, value) in &given {
                assert_eq!(slab.get(*handle), value.as_ref());
            }
            slab.check().unwrap();
        }
        given
    }

    #[test]
    fn values_are_found_by_their_handles_and_by_no_stale_one() {
        for_seeds(0..40, |seed, prng| {
            let mut slab = Slab::new([0, 1, 2, 9][seed as usize % 4], seed);
            live(prng, &mut slab, 300);
            for handle in
                [Handle::NULL, Handle::from_bits(0), Handle::from_bits(u64::MAX), Handle::from_bits(1 << 32 | 9)]
            {
                assert_eq!(slab.get(handle), None);
            }
        });
    }

    #[test]
    fn a_restored_slab_goes_on_as_the_first_would() {
        for_seeds(0..20, |_, prng| {
            let mut first = Slab::new(7, 1);
            let given = live(prng, &mut first, 100);
            let mut second = restore(7, &snapshot(&first)).unwrap();
            assert_eq!(snapshot(&second), snapshot(&first));
            for (handle, value) in given {
                assert_eq!(second.get(handle), value.as_ref());
            }
            assert_eq!(first.insert(1), second.insert(1));
        });
    }

    /// Two slabs that live the same life, so that their handles would be the same if their marks began at the same number.
    #[test]
    fn handles_of_another_slab_are_refused() {
        let mut taken = 0;
        for instance in 0..50 {
            let (mut first, mut second) = (Slab::new(64, seed_of("slab", 0)), Slab::new(64, seed_of("slab", instance)));
            for life in 0..100 {
                let handles: Vec<(Handle, Handle)> =
                    (0..64).map(|value| (first.insert(value).unwrap(), second.insert(value).unwrap())).collect();
                for (own, foreign) in handles {
                    assert_eq!(own.index(), foreign.index(), "life {life}");
                    taken += u64::from(first.contains(foreign));
                    let removed = first.remove(foreign);
                    assert_eq!(removed.is_some(), instance == 0, "instance {instance}, life {life}");
                    assert_eq!(first.remove(own).is_some(), instance != 0);
                    assert!(second.remove(foreign).is_some() && second.remove(foreign).is_none());
                }
            }
        }
        assert_eq!(taken, 6_400, "those of the twin with the same seed: what every other one would be without");
    }

    #[test]
    fn marks_begin_even_apart_and_the_same_everywhere() {
        let mut marks: Vec<u32> =
            (0..1_000).flat_map(|seed| (0..20).map(move |index| first_mark(seed, index))).collect();
        assert!(marks.iter().all(|mark| mark & 1 == 0));
        // By the generator of the tests, whose seed goes up by the same step.
        let mut prng = Prng::new(1);
        let third = (0..3).map(|_| prng.next_u64()).last().unwrap();
        assert_eq!(first_mark(1, 2), (third >> 32) as u32 & !1);
        marks.sort_unstable();
        marks.dedup();
        // Of 20,000 numbers of 31 bits, 0.09 pairs are equal on average.
        assert!(marks.len() >= 19_998, "{}", marks.len());
    }

    #[test]
    fn damage_is_refused_or_harmless() {
        let mut slab = Slab::new(5, 2);
        live(&mut Prng::new(1), &mut slab, 40);
        let bytes = snapshot(&slab);
        every_cut_and_flip_is_refused(&bytes, |bytes| restore(5, bytes).is_ok());
        let (refused, taken) = sealed_damage(0..10, 200, &bytes, |bytes| {
            restore(5, bytes).is_ok_and(|mut slab| {
                while slab.insert(3).is_ok() {}
                assert_eq!((slab.len(), slab.iter().count()), (5, 5));
                slab.check().unwrap();
                true
            })
        });
        assert!(refused > 100 && taken > 100, "{refused} {taken}");
    }

    #[test]
    #[should_panic(expected = "a slab holds at most")]
    fn a_capacity_beyond_the_limit_panics() {
        let _ = Slab::<u8>::new(SLAB_MAX + 1, 0);
    }
}
