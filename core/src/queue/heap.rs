//! An indexed 4-ary heap: keys of dense ids, the least first, each id found in O(1) and changed or removed in O(log n).
//!
//! ```text
//!  line 0     . . . 0        element 3 is the root           positions   id 7 -> 3, id 2 -> 4, ...
//!  line 1     1 2 3 4        its children                    (NONE: the id is not in the heap)
//!  line 2     5 6 7 8        the children of element 4, which is the first of line 1
//!  line 3     9 ...          the children of element 5
//! ```
//! An element is 16 bytes, the key and the id, so that the four children of a node are one cache line; those of element `i` are line
//! `i - 2`, and the parent of line `l` is element `l + 2`. (Four children in one line: LaMarca and Ladner, "The influence of caches
//! on the performance of heaps", 1996.) Places behind the last element hold a value that is above all keys, so that the least of
//! four needs no bounds. Sifting moves a hole and writes each element once.
//!
//! ```
//! use tapeline_core::queue::heap::{IndexedHeap, Key};
//!
//! let mut heap = IndexedHeap::new(8);
//! for (id, order) in [(5, 30), (2, 10), (7, 20)] {
//!     assert!(heap.push(id, Key::new(order, 0)));
//! }
//! assert!(heap.change(5, Key::new(5, 0)));
//! assert_eq!(heap.remove(2), Some(Key::new(10, 0)));
//! assert_eq!(heap.pop(), Some((5, Key::new(5, 0))));
//! assert_eq!(heap.pop(), Some((7, Key::new(20, 0))));
//! assert_eq!(heap.pop(), None);
//! ```

use crate::invariant::{Broken, require};
use crate::slab::{NONE, SLAB_MAX};
use crate::steps::step;
use bytemuck::{Pod, Zeroable, must_cast_slice, must_cast_slice_mut};

/// Elements above which a pop asks for lines ahead of time: what a core's own cache of 256 KiB holds. Below, it costs five
/// nanoseconds a pop; with 100,000 elements it takes off half.
const AHEAD_FROM: usize = 1 << 14;
/// Place of the root: the one that makes every family of children a line.
const ROOT: usize = 3;

/// What a heap orders by: 96 bits, compared as (major, minor). The least comes first; equal keys come in the order of their ids.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Key(u128);

impl Key {
    /// The key (major, minor).
    #[inline]
    #[must_use]
    pub const fn new(major: u64, minor: u32) -> Self {
        Self((major as u128) << 64 | (minor as u128) << 32)
    }

    /// The first 64 bits.
    #[inline]
    #[must_use]
    pub const fn major(self) -> u64 {
        (self.0 >> 64) as u64
    }

    /// The last 32 bits.
    #[inline]
    #[must_use]
    pub const fn minor(self) -> u32 {
        (self.0 >> 32) as u32
    }
}

/// A key and its id, in one number, whose order is that of (key, id).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Pod, Zeroable)]
#[repr(transparent)]
pub(super) struct Element(u128);

impl Element {
    /// Above every key with every id.
    pub(super) const EMPTY: Self = Self(u128::MAX);

    #[inline]
    pub(super) const fn new(id: u32, key: Key) -> Self {
        Self(key.0 | id as u128)
    }

    #[inline]
    pub(super) const fn id(self) -> u32 {
        self.0 as u32
    }

    #[inline]
    pub(super) const fn key(self) -> Key {
        Key(self.0 >> 32 << 32)
    }

    #[inline]
    pub(super) fn is_empty(self) -> bool {
        self == Self::EMPTY
    }
}

/// Four siblings.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C, align(64))]
pub(super) struct Line(pub(super) [Element; 4]);

impl Line {
    pub(super) const EMPTY: Self = Self([Element::EMPTY; 4]);

    /// The least of the four, and its place.
    ///
    /// By the majors alone, without a branch, since which one it is nobody can foretell; only where two of them are equal, which can be
    /// foretold most often, by all of the element.
    #[inline]
    pub(super) fn least(&self) -> (Element, usize) {
        step();
        let [a, b, c, d] = self.0.map(|element| element.key().major());
        let (left, left_lane) = if b < a { (b, 1) } else { (a, 0) };
        let (right, right_lane) = if d < c { (d, 3) } else { (c, 2) };
        let lane = if right < left { right_lane } else { left_lane };
        if a == b || c == d || left == right {
            return self.least_of_equal();
        }
        (self.0[lane & 3], lane)
    }

    #[inline(never)]
    fn least_of_equal(&self) -> (Element, usize) {
        let [a, b, c, d] = self.0;
        let left = if b < a { (b, 1) } else { (a, 0) };
        let right = if d < c { (d, 3) } else { (c, 2) };
        if right.0 < left.0 { right } else { left }
    }
}

/// The places of all lines, one after the other: a position without a division into line and lane.
#[inline]
pub(super) fn elements(lines: &[Line]) -> &[Element] {
    must_cast_slice(lines)
}

/// As [`elements`].
#[inline]
pub(super) fn elements_mut(lines: &mut [Line]) -> &mut [Element] {
    must_cast_slice_mut(lines)
}

/// See the [module](self). Nothing is allocated after [`IndexedHeap::new`].
#[derive(Clone, Debug)]
pub struct IndexedHeap {
    lines: Box<[Line]>,
    /// By id: the place of its element, or [`NONE`].
    positions: Box<[u32]>,
    len: usize,
}

impl IndexedHeap {
    /// An empty heap for the ids below `ids`. O(ids).
    ///
    /// # Panics
    /// When `ids` is above [`SLAB_MAX`].
    #[must_use]
    pub fn new(ids: usize) -> Self {
        assert!(ids <= SLAB_MAX, "an indexed heap holds at most {SLAB_MAX} ids, not {ids}");
        let lines = vec![Line::EMPTY; (ROOT + ids).div_ceil(4)].into_boxed_slice();
        Self { lines, positions: vec![NONE; ids].into_boxed_slice(), len: 0 }
    }

    /// Ids that there is room for.
    #[inline]
    #[must_use]
    pub fn ids(&self) -> usize {
        self.positions.len()
    }

    /// Ids in the heap.
    #[inline]
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether no id is in the heap.
    #[inline]
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes on the heap of the process.
    #[must_use]
    pub fn bytes(&self) -> usize {
        size_of_val(&*self.lines) + size_of_val(&*self.positions)
    }

    /// The id with the least key, and that key. O(1).
    #[inline]
    #[must_use]
    pub fn peek(&self) -> Option<(u32, Key)> {
        (self.len > 0).then(|| (self.at(ROOT).id(), self.at(ROOT).key()))
    }

    /// Whether `id` is in the heap; `false` for one that is out of range. O(1).
    #[inline]
    #[must_use]
    pub fn contains(&self, id: u32) -> bool {
        self.position(id).is_some()
    }

    /// The key of `id`; `None` when it is not in the heap. O(1).
    #[inline]
    #[must_use]
    pub fn key(&self, id: u32) -> Option<Key> {
        self.position(id).map(|position| self.at(position).key())
    }

    /// Puts `id` in. `false`, and nothing done, when it is in already or out of range. O(log n).
    #[inline]
    pub fn push(&mut self, id: u32, key: Key) -> bool {
        if self.positions.get(id as usize) != Some(&NONE) {
            return false;
        }
        self.len += 1;
        self.sift_up(ROOT + self.len - 1, Element::new(id, key));
        true
    }

    /// Takes out the id with the least key. O(log n).
    #[inline]
    pub fn pop(&mut self) -> Option<(u32, Key)> {
        if self.len == 0 {
            return None;
        }
        let first = self.at(ROOT);
        self.positions[first.id() as usize] = NONE;
        let last = self.take_last();
        if self.len > 0 {
            self.refill(ROOT, last);
        }
        Some((first.id(), first.key()))
    }

    /// Takes `id` out and gives its key; `None` when it is not in the heap. O(log n).
    #[inline]
    pub fn remove(&mut self, id: u32) -> Option<Key> {
        let position = self.position(id)?;
        let removed = self.at(position);
        self.positions[id as usize] = NONE;
        let last = self.take_last();
        if last != removed {
            self.place(position, last);
        }
        Some(removed.key())
    }

    /// Gives `id` another key, lower or higher. `false`, and nothing done, when it is not in the heap. O(log n).
    #[inline]
    pub fn change(&mut self, id: u32, key: Key) -> bool {
        let Some(position) = self.position(id) else {
            return false;
        };
        self.place(position, Element::new(id, key));
        true
    }

    /// Takes everything out. O(n).
    pub fn clear(&mut self) {
        for position in ROOT..ROOT + self.len {
            let id = self.at(position).id();
            self.positions[id as usize] = NONE;
            self.set(position, Element::EMPTY);
        }
        self.len = 0;
    }

    /// All ids with their keys, in no order. O(n).
    pub fn iter(&self) -> impl Iterator<Item = (u32, Key)> {
        (ROOT..ROOT + self.len).map(|position| {
            let element = self.at(position);
            (element.id(), element.key())
        })
    }

    #[inline]
    fn position(&self, id: u32) -> Option<usize> {
        let position = *self.positions.get(id as usize)?;
        (position != NONE).then_some(position as usize)
    }

    #[inline]
    fn at(&self, position: usize) -> Element {
        step();
        elements(&self.lines)[position]
    }

    #[inline]
    fn set(&mut self, position: usize, element: Element) {
        elements_mut(&mut self.lines)[position] = element;
    }

    /// Writes an element and where it is.
    #[inline]
    fn put(&mut self, position: usize, element: Element) {
        self.set(position, element);
        self.positions[element.id() as usize] = position as u32;
    }

    /// Takes the last place away.
    #[inline]
    fn take_last(&mut self) -> Element {
        self.len -= 1;
        let position = ROOT + self.len;
        let last = self.at(position);
        self.set(position, Element::EMPTY);
        last
    }

    /// Puts `element` into the hole at `position` or wherever it belongs above or below it.
    ///
    /// Both ways: what comes into the hole is the last element, of another branch, or a key that was changed, and either
    /// may be below the parent of the hole.
    #[inline]
    fn place(&mut self, position: usize, element: Element) {
        if position > ROOT && element < self.at(parent(position)) {
            self.sift_up(position, element);
        } else {
            self.sift_down(position, element);
        }
    }

    #[inline]
    fn sift_up(&mut self, mut hole: usize, element: Element) {
        let places = elements_mut(&mut self.lines);
        while hole > ROOT {
            step();
            let above = places[parent(hole)];
            if above <= element {
                break;
            }
            places[hole] = above;
            self.positions[above.id() as usize] = hole as u32;
            hole = parent(hole);
        }
        places[hole] = element;
        self.positions[element.id() as usize] = hole as u32;
    }

    #[inline]
    fn sift_down(&mut self, mut hole: usize, element: Element) {
        let lines = &mut self.lines[..(ROOT + self.len).div_ceil(4)];
        while let Some(line) = lines.get(hole - 2) {
            let (least, lane) = line.least();
            if element <= least {
                break;
            }
            elements_mut(lines)[hole] = least;
            self.positions[least.id() as usize] = hole as u32;
            hole = (hole - 2) * 4 + lane;
        }
        self.put(hole, element);
    }

    /// Fills the hole at `position` with the last element, which belongs near the bottom most often: the hole goes all the way
    /// down without a look at it, and it then goes up, seldom more than one level.
    ///
    /// Which line is next is known only when the least of this one is, so that each level waits for its own cache miss. In a heap
    /// that no near cache holds, the four lines that may be next, which stand side by side, are asked for before.
    #[inline]
    fn refill(&mut self, hole: usize, last: Element) {
        if self.len > AHEAD_FROM {
            self.refill_by::<true>(hole, last);
        } else {
            self.refill_by::<false>(hole, last);
        }
    }

    #[inline]
    fn refill_by<const AHEAD: bool>(&mut self, mut hole: usize, last: Element) {
        // No line behind these has an element, and the places of the last that are behind its elements are above all keys.
        let lines = &mut self.lines[..(ROOT + self.len).div_ceil(4)];
        let mut below = hole - 2;
        let mut touched = 0;
        while let Some(line) = lines.get(below) {
            if AHEAD && let Some(next) = lines.get(below * 4 - 2..below * 4 + 2) {
                touched = next.iter().fold(touched, |touched, line| touched ^ line.0[0].id());
            }
            let (least, lane) = line.least();
            elements_mut(lines)[hole] = least;
            self.positions[least.id() as usize] = hole as u32;
            hole = below * 4 + lane;
            below = hole - 2;
        }
        // The loads are wanted for the lines that they bring, not for what they read.
        core::hint::black_box(touched);
        self.sift_up(hole, last);
    }

    /// Whether parents come before their children, positions are those of the elements, and all else is empty. O(ids).
    ///
    /// # Errors
    /// The first rule that does not hold.
    pub fn check(&self) -> Result<(), Broken> {
        let places = self.lines.len() * 4;
        require(self.len <= self.ids(), "the heap has room for every id", self.len)?;
        for position in 0..places {
            let element = self.at(position);
            if !(ROOT..ROOT + self.len).contains(&position) {
                require(element.is_empty(), "places outside the heap are empty", position)?;
                continue;
            }
            let known = self.positions.get(element.id() as usize).copied();
            require(known == Some(position as u32), "an id knows where its element is", element.id())?;
            let in_order = position == ROOT || self.at(parent(position)) < element;
            require(in_order, "a parent comes before its children", position)?;
        }
        let known = self.positions.iter().filter(|position| **position != NONE).count();
        require(known == self.len, "an id that has a place is in the heap", known)
    }

    /// As [`IndexedHeap::check`], for tests.
    ///
    /// # Panics
    /// When a rule does not hold, with the rule.
    pub fn assert_invariants(&self) {
        if let Err(broken) = self.check() {
            panic!("Invariant: {broken}; {} of {} ids are in", self.len, self.ids());
        }
    }
}

/// Place of the parent of the element at `position`, which is not the root.
#[inline]
const fn parent(position: usize) -> usize {
    position / 4 + 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn four_children_fill_one_cache_line() {
        assert_eq!((size_of::<Line>(), align_of::<Line>()), (64, 64));
        for position in ROOT..1_000 {
            let children = (position - 2) * 4..(position - 2) * 4 + 4;
            assert!(children.clone().all(|child| child / 4 == position - 2 && parent(child) == position));
        }
    }

    #[test]
    fn the_children_of_a_line_stand_side_by_side() {
        for line in 1..1_000 {
            let children = (line * 4 - 2) * 4..(line * 4 + 2) * 4;
            assert!(children.clone().all(|child| parent(child) / 4 == line), "what `refill_by` asks for");
            assert!(parent(children.start - 1) / 4 < line && parent(children.end) / 4 > line);
        }
    }

    /// More elements than [`AHEAD_FROM`], so that both ways down are taken.
    #[test]
    fn a_large_heap_is_emptied_in_order() {
        let ids = 3 * AHEAD_FROM as u32;
        let mut heap = IndexedHeap::new(ids as usize);
        let key = |id: u32| Key::new(u64::from(id.wrapping_mul(0x9e37_79b1) >> 12), id % 3);
        assert!((0..ids).all(|id| heap.push(id, key(id))));
        heap.assert_invariants();
        let mut sorted: Vec<(Key, u32)> = (0..ids).map(|id| (key(id), id)).collect();
        sorted.sort_unstable();
        for (popped, (key, id)) in sorted.into_iter().enumerate() {
            assert_eq!(heap.pop(), Some((id, key)));
            if popped % 8_192 == 0 {
                heap.assert_invariants();
            }
        }
        assert!(heap.is_empty());
    }

    #[test]
    fn the_least_of_a_line_is_found_at_every_place() {
        let element = |key| Element::new(1, Key::new(key, 0));
        for least in 0..4 {
            let mut line = Line([element(9), element(8), element(7), element(6)]);
            line.0[least] = element(5);
            assert_eq!(line.least(), (element(5), least));
        }
        assert!(Line::EMPTY.least().0.is_empty());
    }

    #[test]
    fn keys_compare_by_major_and_minor_and_give_both_back() {
        let keys = [Key::new(0, 0), Key::new(0, u32::MAX), Key::new(1, 0), Key::new(u64::MAX, u32::MAX)];
        assert!(keys.is_sorted());
        assert_eq!((keys[3].major(), keys[3].minor()), (u64::MAX, u32::MAX));
        // Even the highest key, with the highest id that a heap takes, is below the mark of an empty place.
        assert!(Element::new(SLAB_MAX as u32, keys[3]) < Element::EMPTY);
    }
}
