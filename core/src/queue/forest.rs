//! Many indexed 4-ary heaps in one pool of lines: the requests of every symbol, each symbol's in a heap of its own.
//!
//! ```text
//! tree 5   root: least        first line ---------+        last line --------------+
//!                                                 v                                v
//! lines    ...          | 1 2 3 4 |  <- level order, linked ->  | 5 6 7 8 |  <->  | 9 . . . |
//!                         | | +-- down: none                      up: element 1     up: element 2
//!                         | +---- down: the line of 9
//!                         +------ down: the line of 5
//! ```
//! A tree has the shape of an array heap (complete, filled from the left), but its lines of four siblings come from a pool that all
//! trees share: memory grows with the requests and not with symbols times the limit of one. The lines of a tree are linked in
//! level order, so that the place behind the last element, and its parent, are found in O(1).
//!
//! Every operation names the tree; the id must be in that one.

use super::heap::{Element, Key, Line, elements, elements_mut};
use crate::invariant::{Broken, require};
use crate::slab::NONE;
use crate::steps::step;

/// Position of the first element of a tree, which stands in the tree itself.
const ROOT: u32 = NONE - 1;

#[derive(Clone, Copy, Debug)]
struct Tree {
    root: Element,
    len: u32,
    /// First and last line in level order, or [`NONE`].
    first: u32,
    last: u32,
}

const EMPTY: Tree = Tree { root: Element::EMPTY, len: 0, first: NONE, last: NONE };

/// Where a line hangs. Positions are `line * 4 + lane`, or [`ROOT`].
#[derive(Clone, Copy, Debug)]
struct Links {
    /// Position of the parent.
    up: u32,
    /// Lines before and after it in level order; free lines are linked by `next`.
    prev: u32,
    next: u32,
    /// Lines of the children, by lane.
    down: [u32; 4],
}

#[derive(Debug)]
pub(super) struct Forest {
    trees: Box<[Tree]>,
    lines: Box<[Line]>,
    links: Box<[Links]>,
    free: u32,
    /// By id: the position of its element, or [`NONE`].
    positions: Box<[u32]>,
}

impl Forest {
    pub(super) fn new(trees: usize, ids: usize) -> Self {
        // A tree of n elements needs (n - 1) / 4 lines, rounded up: at most one for each two elements.
        let lines = ids / 2;
        let links = |line: usize| {
            let next = if line + 1 < lines { line as u32 + 1 } else { NONE };
            Links { up: NONE, prev: NONE, next, down: [NONE; 4] }
        };
        Self {
            trees: vec![EMPTY; trees].into_boxed_slice(),
            lines: vec![Line::EMPTY; lines].into_boxed_slice(),
            links: (0..lines).map(links).collect(),
            free: if lines == 0 { NONE } else { 0 },
            positions: vec![NONE; ids].into_boxed_slice(),
        }
    }

    pub(super) fn bytes(&self) -> usize {
        size_of_val(&*self.trees)
            + size_of_val(&*self.lines)
            + size_of_val(&*self.links)
            + size_of_val(&*self.positions)
    }

    /// The id with the least key of a tree, and that key. O(1).
    #[inline]
    pub(super) fn peek(&self, tree: u32) -> Option<(u32, Key)> {
        step();
        let root = self.trees[tree as usize].root;
        (!root.is_empty()).then(|| (root.id(), root.key()))
    }

    /// Puts an id that is in no tree into `tree`. O(log n).
    #[inline]
    pub(super) fn push(&mut self, tree: u32, id: u32, key: Key) {
        debug_assert_eq!(self.positions[id as usize], NONE, "id {id} is in no tree");
        let element = Element::new(id, key);
        let len = self.trees[tree as usize].len;
        self.trees[tree as usize].len = len + 1;
        if len == 0 {
            self.put(tree, ROOT, element);
            return;
        }
        let lane = (len - 1) % 4;
        let line = if lane == 0 { self.add_line(tree) } else { self.trees[tree as usize].last };
        self.sift_up(tree, line * 4 + lane, element);
    }

    /// Takes an id out of its tree. O(log n).
    #[inline]
    pub(super) fn remove(&mut self, tree: u32, id: u32) {
        let position = core::mem::replace(&mut self.positions[id as usize], NONE);
        let last = self.take_last(tree);
        if last.id() != id {
            self.place(tree, position, last);
        }
    }

    /// Gives an id of `tree` another key. O(log n).
    #[inline]
    pub(super) fn change(&mut self, tree: u32, id: u32, key: Key) {
        self.place(tree, self.positions[id as usize], Element::new(id, key));
    }

    /// Takes everything out of a tree. O(n) for its n elements.
    pub(super) fn clear(&mut self, tree: u32) {
        let Tree { root, first, last, .. } = core::mem::replace(&mut self.trees[tree as usize], EMPTY);
        if !root.is_empty() {
            self.positions[root.id() as usize] = NONE;
        }
        let mut line = first;
        while line != NONE {
            step();
            for element in core::mem::replace(&mut self.lines[line as usize], Line::EMPTY).0 {
                if !element.is_empty() {
                    self.positions[element.id() as usize] = NONE;
                }
            }
            let links = &mut self.links[line as usize];
            (links.up, links.prev, links.down) = (NONE, NONE, [NONE; 4]);
            line = links.next;
        }
        if last != NONE {
            self.links[last as usize].next = self.free;
            self.free = first;
        }
    }

    #[inline]
    fn at(&self, tree: u32, position: u32) -> Element {
        step();
        if position == ROOT { self.trees[tree as usize].root } else { elements(&self.lines)[position as usize] }
    }

    #[inline]
    fn put(&mut self, tree: u32, position: u32, element: Element) {
        if position == ROOT {
            self.trees[tree as usize].root = element;
        } else {
            elements_mut(&mut self.lines)[position as usize] = element;
        }
        self.positions[element.id() as usize] = position;
    }

    /// Line of the children, or [`NONE`].
    #[inline]
    fn down(&self, tree: u32, position: u32) -> u32 {
        if position == ROOT {
            self.trees[tree as usize].first
        } else {
            self.links[position as usize / 4].down[position as usize % 4]
        }
    }

    #[inline]
    fn set_down(&mut self, tree: u32, position: u32, line: u32) {
        if position == ROOT {
            self.trees[tree as usize].first = line;
        } else {
            self.links[position as usize / 4].down[position as usize % 4] = line;
        }
    }

    /// The position after `position` in level order.
    #[inline]
    fn after(&self, tree: u32, position: u32) -> u32 {
        if position == ROOT {
            self.trees[tree as usize].first * 4
        } else if position % 4 < 3 {
            position + 1
        } else {
            self.links[position as usize / 4].next * 4
        }
    }

    /// An empty line behind the last of the tree, whose lines are full.
    fn add_line(&mut self, tree: u32) -> u32 {
        let line = self.free;
        self.free = self.links[line as usize].next;
        let last = core::mem::replace(&mut self.trees[tree as usize].last, line);
        let up = if last == NONE {
            ROOT
        } else {
            self.links[last as usize].next = line;
            self.after(tree, self.links[last as usize].up)
        };
        self.links[line as usize] = Links { up, prev: last, next: NONE, down: [NONE; 4] };
        self.set_down(tree, up, line);
        line
    }

    /// Takes the last place of a tree that is not empty away.
    #[inline]
    fn take_last(&mut self, tree: u32) -> Element {
        let Tree { len, last: line, .. } = self.trees[tree as usize];
        self.trees[tree as usize].len = len - 1;
        if len == 1 {
            return core::mem::replace(&mut self.trees[tree as usize].root, Element::EMPTY);
        }
        let lane = (len - 2) % 4;
        let last = core::mem::replace(&mut self.lines[line as usize].0[lane as usize], Element::EMPTY);
        if lane == 0 {
            let Links { up, prev, .. } = self.links[line as usize];
            self.set_down(tree, up, NONE);
            self.trees[tree as usize].last = prev;
            if prev != NONE {
                self.links[prev as usize].next = NONE;
            }
            self.links[line as usize] = Links { up: NONE, prev: NONE, next: self.free, down: [NONE; 4] };
            self.free = line;
        }
        last
    }

    /// Puts `element` into the hole at `position` or wherever it belongs above or below it.
    #[inline]
    fn place(&mut self, tree: u32, position: u32, element: Element) {
        if position != ROOT && element < self.at(tree, self.links[position as usize / 4].up) {
            self.sift_up(tree, position, element);
        } else {
            self.sift_down(tree, position, element);
        }
    }

    #[inline]
    fn sift_up(&mut self, tree: u32, mut hole: u32, element: Element) {
        while hole != ROOT {
            let up = self.links[hole as usize / 4].up;
            let above = self.at(tree, up);
            if above <= element {
                break;
            }
            self.put(tree, hole, above);
            hole = up;
        }
        self.put(tree, hole, element);
    }

    #[inline]
    fn sift_down(&mut self, tree: u32, mut hole: u32, element: Element) {
        let mut line = self.down(tree, hole);
        while line != NONE {
            let (least, lane) = self.lines[line as usize].least();
            if element <= least {
                break;
            }
            self.put(tree, hole, least);
            hole = line * 4 + lane as u32;
            line = self.links[line as usize].down[lane];
        }
        self.put(tree, hole, element);
    }

    /// Whether every tree is a heap of exactly the ids that `expected` gives it, with their keys, and every line is in one tree or
    /// free. O(trees + ids). For structures that were built by the operations above: these arrays are in no snapshot.
    pub(super) fn check(&self, expected: impl Fn(u32) -> Option<(u32, Key)>) -> Result<(), Broken> {
        let (mut elements, mut lines) = (0, 0);
        for tree in 0..self.trees.len() as u32 {
            let Tree { root, len, first, last } = self.trees[tree as usize];
            require(root.is_empty() == (len == 0), "a tree with elements has a root", tree)?;
            let (mut position, mut prev, mut up) = (ROOT, NONE, ROOT);
            for n in 0..len {
                let element = self.at(tree, position);
                let (id, key) = (element.id(), element.key());
                require(expected(id) == Some((tree, key)), "a tree holds what belongs into it", id)?;
                require(self.positions[id as usize] == position, "an id knows where its element is", id)?;
                if position != ROOT {
                    let line = position / 4;
                    let links = self.links[line as usize];
                    require(links.up == up, "a line hangs from its parent", line)?;
                    require(self.down(tree, up) == line, "a parent knows its children", line)?;
                    require(links.prev == prev, "lines are linked in level order", line)?;
                    require(self.at(tree, up) < element, "a parent comes before its children", id)?;
                    if position % 4 == 3 || n + 1 == len {
                        lines += 1;
                        prev = line;
                        up = self.after(tree, up);
                    }
                }
                if n + 1 < len {
                    position = self.after(tree, position);
                    require((position / 4) < self.lines.len() as u32, "a tree has a place for each element", tree)?;
                }
            }
            require(last == prev && (first == NONE) == (len < 2), "a tree knows its first and last line", tree)?;
            if last != NONE {
                require(self.links[last as usize].next == NONE, "the last line has none behind it", last)?;
                let behind = &self.lines[last as usize].0[((len - 2) % 4) as usize + 1..];
                require(behind.iter().all(|element| element.is_empty()), "places behind the last are empty", last)?;
            }
            elements += len as usize;
        }
        let placed = self.positions.iter().filter(|position| **position != NONE).count();
        require(placed == elements, "an id that has a place is in a tree", placed)?;
        let belong = (0..self.positions.len() as u32).filter(|id| expected(*id).is_some()).count();
        require(belong == elements, "everything that belongs into a tree is in it", belong)?;
        let (mut free, mut line) = (0, self.free);
        while line != NONE && free <= self.lines.len() {
            let empty = self.lines[line as usize].0.iter().all(|element| element.is_empty());
            require(empty, "a free line is empty", line)?;
            free += 1;
            line = self.links[line as usize].next;
        }
        require(free + lines == self.lines.len(), "every line is in a tree or free", free)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::for_seeds;
    use std::collections::BTreeSet;

    #[test]
    fn trees_are_what_sorted_sets_are() {
        for_seeds(0..60, |seed, prng| {
            let (trees, ids) = [(1, 40), (3, 64), (1, 1), (5, 2), (20, 41), (2, 300)][seed as usize % 6];
            let mut forest = Forest::new(trees, ids);
            let mut twin: Vec<BTreeSet<(Key, u32)>> = vec![BTreeSet::new(); trees];
            let mut of: Vec<Option<(u32, Key)>> = vec![None; ids];
            let mut changed = 0;
            for _ in 0..1_500 {
                let id = prng.index(ids) as u32;
                let key = Key::new(prng.in_range(0..30), prng.in_range(0..3) as u32);
                match of[id as usize] {
                    None => {
                        let tree = prng.index(trees) as u32;
                        forest.push(tree, id, key);
                        twin[tree as usize].insert((key, id));
                        of[id as usize] = Some((tree, key));
                    }
                    Some((tree, old)) if prng.one_in(2) => {
                        forest.change(tree, id, key);
                        twin[tree as usize].remove(&(old, id));
                        twin[tree as usize].insert((key, id));
                        of[id as usize] = Some((tree, key));
                        changed += 1;
                    }
                    Some((tree, _)) if prng.one_in(40) => {
                        forest.clear(tree);
                        for (_, id) in std::mem::take(&mut twin[tree as usize]) {
                            of[id as usize] = None;
                        }
                    }
                    Some((tree, old)) => {
                        forest.remove(tree, id);
                        twin[tree as usize].remove(&(old, id));
                        of[id as usize] = None;
                    }
                }
                for (tree, twin) in twin.iter().enumerate() {
                    assert_eq!(forest.peek(tree as u32), twin.first().map(|(key, id)| (*id, *key)));
                }
                forest.check(|id| of[id as usize]).unwrap();
            }
            assert!(changed > 100);
        });
    }
}
