//! The graph of feature groups: which groups a group needs, checked when it is loaded.
//!
//! Promises:
//! - **Told apart when loaded**: a name that nobody registered, a group that needs itself, and a cycle, which is printed
//!   (`a -> b -> a`), are errors. A diamond (a needs b and c, both need d) is legal, and can be listed.
//! - **One order.** [`Graph::order`] has every group behind all that it needs; where several orders would do, it is the one that
//!   takes the group registered first. The same on every machine.
//! - **No recursion**: how deep groups are nested costs memory that was taken at start, never stack.
//! - **Frozen.** A graph cannot be changed. What is asked per request ([`Graph::closure`]) allocates nothing.
//!
//! ```
//! use tapeline_core::graph::{Graph, GraphError};
//!
//! let graph = Graph::new(&[("signal", &["trend", "volume"]), ("trend", &["price"]), ("volume", &["price"]), ("price", &[])])?;
//! let names: Vec<_> = graph.order().map(|group| graph.name(group)).collect();
//! assert_eq!(names, ["price", "trend", "volume", "signal"]);
//! let wanted = graph.closure(graph.set(&["volume"])?);
//! assert_eq!(graph.in_order(wanted).map(|group| graph.name(group)).collect::<Vec<_>>(), ["price", "volume"]);
//!
//! let error = Graph::new(&[("a", &["b"]), ("b", &["a"])]).unwrap_err();
//! assert_eq!(error.to_string(), "feature groups need one another in a circle: a -> b -> a");
//! # Ok::<(), GraphError>(())
//! ```

use crate::limits::{GROUP_NEEDS_MAX, GROUPS_MAX, NAME_BYTES_MAX};
use std::fmt;

const WORDS: usize = GROUPS_MAX / 64;

/// Index of a group, in the order of registration.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct GroupId(pub u16);

impl GroupId {
    const fn index(self) -> usize {
        self.0 as usize
    }
}

/// A set of groups of one graph.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct GroupSet([u64; WORDS]);

impl GroupSet {
    /// No group.
    pub const EMPTY: Self = Self([0; WORDS]);

    /// Whether `group` is in the set.
    #[inline]
    #[must_use]
    pub const fn contains(&self, group: GroupId) -> bool {
        group.index() < GROUPS_MAX && self.0[group.index() / 64] >> (group.0 % 64) & 1 == 1
    }

    /// The set with `group`; the same set for an index that no graph has.
    #[inline]
    #[must_use]
    pub const fn with(mut self, group: GroupId) -> Self {
        if group.index() < GROUPS_MAX {
            self.0[group.index() / 64] |= 1 << (group.0 % 64);
        }
        self
    }

    /// Groups of either set.
    #[inline]
    #[must_use]
    pub fn union(self, other: Self) -> Self {
        Self(std::array::from_fn(|word| self.0[word] | other.0[word]))
    }

    /// Groups of both sets.
    #[inline]
    #[must_use]
    pub fn intersection(self, other: Self) -> Self {
        Self(std::array::from_fn(|word| self.0[word] & other.0[word]))
    }

    /// Whether it is empty.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0 == [0; WORDS]
    }

    /// Groups in the set.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// The groups, in the order of registration.
    pub fn iter(self) -> impl Iterator<Item = GroupId> {
        let mut words = self.0;
        std::iter::from_fn(move || {
            let word = words.iter().position(|word| *word != 0)?;
            let bit = words[word].trailing_zeros();
            words[word] &= words[word] - 1;
            Some(GroupId((word * 64) as u16 + bit as u16))
        })
    }
}

/// The groups of a circle: each needs the next, and the last needs the first. Begins with the one registered first.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Cycle(Vec<String>);

impl Cycle {
    /// The groups, each once.
    #[must_use]
    pub fn names(&self) -> &[String] {
        &self.0
    }
}

impl fmt::Display for Cycle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for name in &self.0 {
            write!(f, "{name} -> ")?;
        }
        f.write_str(self.0.first().map_or("", |name| name))
    }
}

/// Why groups make no graph, or a set of names no set of groups.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GraphError {
    /// More groups than [`GROUPS_MAX`].
    #[error("at most {GROUPS_MAX} feature groups, not {0}")]
    TooManyGroups(usize),
    /// More dependencies than [`GROUP_NEEDS_MAX`].
    #[error("at most {GROUP_NEEDS_MAX} dependencies of feature groups, not {0}")]
    TooManyNeeds(usize),
    /// A name that is empty or too long.
    #[error("a feature group's name has 1 to {NAME_BYTES_MAX} bytes: {0:?}")]
    Name(String),
    /// Two groups of one name.
    #[error("there are two feature groups named {0:?}")]
    Duplicate(String),
    /// A group that nobody registered is asked for.
    #[error("there is no feature group {0:?}")]
    NoGroup(String),
    /// A group needs one that nobody registered.
    #[error("feature group {group:?} needs {needs:?}, which there is not")]
    Unknown {
        /// The group that needs it.
        group: String,
        /// The name that is not known.
        needs: String,
    },
    /// A group names the same dependency twice.
    #[error("feature group {group:?} needs {needs:?} twice")]
    Twice {
        /// The group.
        group: String,
        /// What it names twice.
        needs: String,
    },
    /// A group needs itself.
    #[error("feature group {0:?} needs itself")]
    SelfEdge(String),
    /// Two or more groups need one another.
    #[error("feature groups need one another in a circle: {0}")]
    Cycle(Cycle),
}

/// One group reaches another on two ways, which is legal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Diamond {
    /// The group above.
    pub top: GroupId,
    /// Two groups that it needs directly, in the order in which it names them.
    pub sides: [GroupId; 2],
    /// The group that both of them are or need: of several, the one first in the graph's order.
    pub bottom: GroupId,
}

/// Feature groups and what they need. See the [module](self).
#[derive(Clone, Debug)]
pub struct Graph {
    names: Box<[Box<str>]>,
    /// Dependencies of group i: `needs[start[i]..start[i + 1]]`, in the order given.
    start: Box<[u16]>,
    needs: Box<[GroupId]>,
    order: Box<[GroupId]>,
    /// By group, the group and all that it needs, directly or not.
    closure: Box<[GroupSet]>,
}

impl Graph {
    /// The graph of these groups: name, and names of the groups that it needs, in any order. No groups at all are fine.
    /// O((groups + dependencies) * groups), at start.
    ///
    /// # Errors
    /// [`GraphError`]: the first fault found, in this order: limits, names, dependencies by group, circles.
    pub fn new(groups: &[(&str, &[&str])]) -> Result<Self, GraphError> {
        if groups.len() > GROUPS_MAX {
            return Err(GraphError::TooManyGroups(groups.len()));
        }
        let edges: usize = groups.iter().map(|(_, needs)| needs.len()).sum();
        if edges > GROUP_NEEDS_MAX {
            return Err(GraphError::TooManyNeeds(edges));
        }
        for (index, (name, _)) in groups.iter().enumerate() {
            if name.is_empty() || name.len() > NAME_BYTES_MAX {
                return Err(GraphError::Name((*name).to_owned()));
            }
            if groups[..index].iter().any(|(other, _)| other == name) {
                return Err(GraphError::Duplicate((*name).to_owned()));
            }
        }
        let mut start = Vec::with_capacity(groups.len() + 1);
        let mut needs = Vec::with_capacity(edges);
        start.push(0);
        for (group, named) in groups {
            for (index, name) in named.iter().enumerate() {
                let owned = || ((*group).to_owned(), (*name).to_owned());
                let Some(found) = groups.iter().position(|(other, _)| other == name) else {
                    let (group, needs) = owned();
                    return Err(GraphError::Unknown { group, needs });
                };
                if group == name {
                    return Err(GraphError::SelfEdge(owned().0));
                }
                if named[..index].contains(name) {
                    let (group, needs) = owned();
                    return Err(GraphError::Twice { group, needs });
                }
                needs.push(GroupId(found as u16));
            }
            start.push(needs.len() as u16);
        }
        let mut graph = Self {
            names: groups.iter().map(|(name, _)| Box::from(*name)).collect(),
            start: start.into(),
            needs: needs.into(),
            order: Box::default(),
            closure: vec![GroupSet::EMPTY; groups.len()].into(),
        };
        if let Some(cycle) = graph.find_cycle() {
            return Err(GraphError::Cycle(cycle));
        }
        graph.order = graph.sorted();
        for index in 0..graph.order.len() {
            let group = graph.order[index];
            let own = GroupSet::EMPTY.with(group);
            let all = graph.needs(group).iter().fold(own, |all, needed| all.union(graph.closure[needed.index()]));
            graph.closure[group.index()] = all;
        }
        Ok(graph)
    }

    /// The first circle that a depth-first search in three colours meets. A group is *grey* while the search is below it: a way
    /// that comes back to a grey one is a circle. A *black* one was left behind, and to meet it again is only a diamond.
    fn find_cycle(&self) -> Option<Cycle> {
        #[derive(Clone, Copy, PartialEq)]
        enum Colour {
            White,
            Grey,
            Black,
        }
        let mut colours = vec![Colour::White; self.len()];
        // The grey groups from the root down, each with the number of its dependencies that were looked at.
        let mut path: Vec<(GroupId, usize)> = Vec::with_capacity(self.len());
        for root in self.ids() {
            if colours[root.index()] != Colour::White {
                continue;
            }
            colours[root.index()] = Colour::Grey;
            path.push((root, 0));
            while let Some((group, looked_at)) = path.last_mut() {
                let Some(&next) = self.needs(*group).get(*looked_at) else {
                    colours[group.index()] = Colour::Black;
                    path.pop();
                    continue;
                };
                *looked_at += 1;
                match colours[next.index()] {
                    Colour::White => {
                        colours[next.index()] = Colour::Grey;
                        path.push((next, 0));
                    }
                    Colour::Grey => {
                        let from = path.iter().position(|(group, _)| *group == next);
                        let circle = &path[from.expect("Invariant: grey groups are on the path")..];
                        let first = (0..circle.len()).min_by_key(|at| circle[*at].0).unwrap_or(0);
                        let names = circle.iter().cycle().skip(first).take(circle.len());
                        return Some(Cycle(names.map(|(group, _)| self.name(*group).to_owned()).collect()));
                    }
                    Colour::Black => {}
                }
            }
        }
        None
    }

    /// Every group behind what it needs, the one registered first where several could follow. There is no circle.
    fn sorted(&self) -> Box<[GroupId]> {
        let mut order = Vec::with_capacity(self.len());
        let mut done = GroupSet::EMPTY;
        while order.len() < self.len() {
            let next = self
                .ids()
                .find(|group| !done.contains(*group) && self.needs(*group).iter().all(|needed| done.contains(*needed)));
            let next = next.expect("Invariant: without a circle, some group has all that it needs");
            done = done.with(next);
            order.push(next);
        }
        order.into()
    }

    /// Groups in the graph.
    #[must_use]
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// Every group, in the order of registration.
    pub fn ids(&self) -> impl ExactSizeIterator<Item = GroupId> + use<> {
        (0..self.names.len() as u16).map(GroupId)
    }

    /// Name of a group; empty for one of another graph.
    #[must_use]
    pub fn name(&self, group: GroupId) -> &str {
        self.names.get(group.index()).map_or("", |name| name)
    }

    /// The group of that name. O(n).
    #[must_use]
    pub fn find(&self, name: &str) -> Option<GroupId> {
        self.names.iter().position(|known| &**known == name).map(|index| GroupId(index as u16))
    }

    /// The set of the groups named.
    ///
    /// # Errors
    /// [`GraphError::NoGroup`] with the first name that is not known.
    pub fn set(&self, names: &[&str]) -> Result<GroupSet, GraphError> {
        names.iter().try_fold(GroupSet::EMPTY, |set, name| {
            self.find(name).map(|group| set.with(group)).ok_or_else(|| GraphError::NoGroup((*name).to_owned()))
        })
    }

    /// What `group` needs directly, in the order in which it was named; nothing for a group of another graph.
    #[must_use]
    pub fn needs(&self, group: GroupId) -> &[GroupId] {
        match (self.start.get(group.index()), self.start.get(group.index() + 1)) {
            (Some(&from), Some(&to)) => &self.needs[usize::from(from)..usize::from(to)],
            _ => &[],
        }
    }

    /// Every group, behind all that it needs.
    pub fn order(&self) -> impl ExactSizeIterator<Item = GroupId> + '_ {
        self.order.iter().copied()
    }

    /// The groups of `set`, behind all of them that they need.
    pub fn in_order(&self, set: GroupSet) -> impl Iterator<Item = GroupId> + '_ {
        self.order().filter(move |group| set.contains(*group))
    }

    /// `set` and all that its groups need, directly or not. O(groups in the set), no allocation. Groups of another graph are left out.
    #[inline]
    #[must_use]
    pub fn closure(&self, set: GroupSet) -> GroupSet {
        set.iter().filter_map(|group| self.closure.get(group.index())).fold(GroupSet::EMPTY, |all, own| all.union(*own))
    }

    /// A diamond below each group that has one, in the order of registration: the first pair of its dependencies that meet.
    pub fn diamonds(&self) -> impl Iterator<Item = Diamond> + '_ {
        self.ids().filter_map(|top| {
            let needs = self.needs(top);
            let pairs = (0..needs.len()).flat_map(|left| (left + 1..needs.len()).map(move |right| (left, right)));
            pairs.into_iter().find_map(|(left, right)| {
                let (left, right) = (needs[left], needs[right]);
                let shared = self.closure[left.index()].intersection(self.closure[right.index()]);
                let bottom = self.in_order(shared).next()?;
                Some(Diamond { top, sides: [left, right], bottom })
            })
        })
    }

    /// Bytes held on the heap.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let names: usize = self.names.iter().map(|name| name.len()).sum();
        names
            + size_of_val(&*self.names)
            + size_of_val(&*self.start)
            + size_of_val(&*self.needs)
            + size_of_val(&*self.order)
            + size_of_val(&*self.closure)
    }
}
