//! A hashed timing wheel: timers by deadline, with O(1) schedule and cancel, that fire in the order (T, order of
//! scheduling).
//!
//! Promises:
//! - **Order.** A deadline is rounded up to a multiple of the tick; that is the timer's T. Timers fire strictly by T,
//!   and those of equal T in the order in which they were scheduled (a reschedule counts as scheduling anew).
//! - **Never early**, and at most one tick after the deadline, as long as `now` is polled that often.
//! - **Any time.** `now` and deadlines may be any u64, also near 0 and near `u64::MAX`. Time may stand still; a `now`
//!   before one already polled is taken as that one. Nothing wraps: the levels cover all of u64.
//! - **No storm.** A far timer moves towards its slot at most once a level. Moves are counted in the budget of a poll,
//!   as fired timers are, and crowded slots are worked on ahead of time, a few timers a tick.
//! - **No allocation** after construction. Full is a value ([`WheelFull`]). A stale handle is refused.
//!
//! What it does not do: it reads no clock, wakes nobody and runs no code of the caller's other than the closure of
//! [`Wheel::poll`], which cannot reach the wheel.
//!
//! ```
//! use tapeline_core::units::UnixNanos;
//! use tapeline_core::wheel::Wheel;
//!
//! let ms = |ms: u64| UnixNanos(ms * 1_000_000);
//! let mut wheel = Wheel::<u64>::new(1024, 1_000_000);
//! let retry = wheel.schedule(ms(20), 7)?;
//! wheel.schedule(UnixNanos(10_000_001), 8)?;
//! assert_eq!(wheel.pop_due(ms(10)), None, "never early");
//! assert_eq!(wheel.pop_due(ms(25)), Some((ms(11), 8)), "rounded up to the tick");
//! assert_eq!(wheel.cancel(retry), Some(7));
//! assert_eq!(wheel.cancel(retry), None, "the handle is stale");
//! # Ok::<(), tapeline_core::wheel::WheelFull>(())
//! ```
//!
//! # Levels
//!
//! The slots of level 0 hold one tick each, those of level `l` 64^l ticks. With a tick of 1 ms, 8 levels hold every
//! instant that u64 nanoseconds have; a tick of 1 ns needs 11.
//!
//! ```text
//! level   slot spans   block of 64 slots
//!   0          1 ms           64 ms
//!   1         64 ms          4.1 s
//!   2        4.1 s           4.4 min
//!   3        4.4 min         4.7 h
//!   4        4.7 h          12.4 days
//!   5       12.4 days        2.2 years
//!   6        2.2 years     139   years
//!   7      139   years    8,900  years (to the end of u64 nanoseconds, in 2554)
//!
//!                    cursor
//!                      v
//!  level 1   . . . . . . . | - - - # - - # - - - - # |            each - spans one block of level 0
//!                      ^  drained[1]
//!  level 0           . . - - # - - - # |                          each - is one tick
//!
//!  . behind   - empty   # occupied (a bit in the block's word)
//! ```
//!
//! `drained[l]` is the first slot of level `l` whose timers are still there: all before it have moved down one level. A
//! timer with T lives on the highest level `l` with T at or after the start of `drained[l]`. So all timers of one T are
//! in one slot at any time, in the order of scheduling, and a slot that is only half moved down takes newcomers at its
//! tail, behind those that they must not overtake. That is all the order that is needed: no sorting and no sequence
//! number. Each level keeps two blocks, the cursor's and the next, which lets a crowded slot be moved down while the
//! time before it still runs.
//!
//! The *cursor* is the tick of the last fired timer, or a later one before which nothing is pending. A timer whose T
//! lies even before it (a deadline that is already over) goes to a small heap by (T, order of scheduling), and fires
//! first.
//!
//! # Complexity
//!
//! | operation | cost |
//! |---|---|
//! | [`schedule`](Wheel::schedule), [`reschedule`](Wheel::reschedule) | O(1); O(log n) for a T before the cursor |
//! | [`cancel`](Wheel::cancel) | O(1); O(log n) for a T before the cursor |
//! | [`is_due`](Wheel::is_due), [`pop_due`](Wheel::pop_due) when nothing is due | one comparison |
//! | fire | O(1), and at most one move a level for each timer before that |
//! | empty time | O(levels) at any distance: bitmaps are skipped by bit scans |
//!
//! A timer takes one node: 24 bytes and the value, rounded up to 32. Handles name it by index and generation; a
//! generation comes back after 2^31 timers in the same node.

mod check;
mod level;
mod node;
mod snapshot;

use crate::limits::TIMERS_MAX;
use crate::units::UnixNanos;
use bytemuck::{Pod, Zeroable};
use level::{
    BLOCK_BITS, BLOCK_SLOTS, LEVEL_SLOTS, LEVELS_MAX, Occupancy, TickUnit, level_between, levels_for, slot_index,
    slot_number, slot_start,
};
use node::{LATE_BIT, Late, Node};

/// No node.
const NONE: u32 = u32::MAX;
/// Timers that a call moves down ahead of time when nothing is due, beside [`LOOK_AHEAD_PER_TIMER`].
///
/// While there is such work it happens once a tick: 32 a millisecond are two million in a quarter of a slot of level 3.
const LOOK_AHEAD_MOVES: usize = 32;
/// Timers moved down ahead of time for each scheduled or fired since: what a steady rate needs, one a level in use.
const LOOK_AHEAD_PER_TIMER: usize = 4;
/// Most timers that one call moves down ahead of time. At higher rates than this allows, the rest is moved when its slot
/// begins, within the budget of the call.
const LOOK_AHEAD_MOVES_MAX: usize = 1_024;

const _: () = {
    assert!(TIMERS_MAX + LEVELS_MAX * LEVEL_SLOTS < LATE_BIT as usize, "an index leaves the mark of late timers free");
    assert!((NONE as usize) > TIMERS_MAX + LEVELS_MAX * LEVEL_SLOTS);
};

/// Names one pending timer. Goes stale when it fires or is cancelled; a reschedule keeps it.
///
/// All zero bytes are a handle that never names a timer.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Pod, Zeroable)]
pub struct TimerHandle {
    index: u32,
    generation: u32,
}

impl TimerHandle {
    /// A handle that never names a timer.
    pub const NONE: Self = Self { index: 0, generation: 0 };
}

/// Every node holds a timer: nothing was scheduled. Holds the capacity.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the timing wheel is full ({0} timers)")]
pub struct WheelFull(pub usize);

/// What a call of [`Wheel::poll`] did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub struct Polled {
    /// Timers fired.
    pub fired: usize,
    /// The budget ended first: a timer may be due still. When `false`, none is.
    pub more_due: bool,
}

/// What a call of [`Wheel::pop_due_within`] did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum Popped<T> {
    /// This timer fired; its T.
    Fired(UnixNanos, T),
    /// No timer is due.
    NothingDue,
    /// The budget ended before it was known whether a timer is due. Call again before time moves on.
    OutOfBudget,
}

/// Where the search for the next timer stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Front {
    /// No timers.
    Empty,
    /// This timer, on that level.
    Timer { index: u32, tick: u64, level: usize },
    /// The first timers are somewhere in this slot.
    Slot { level: usize, number: u64 },
}

/// The hashed timing wheel. See the [module](self).
#[derive(Clone)]
pub struct Wheel<T> {
    /// Until this instant in nanoseconds there is nothing to do. At or before the first T; 0 while work is left.
    wake_ns: u64,
    /// Latest `now` that was polled, ns.
    now_ns: u64,
    /// When to look for crowded slots again, ns: at the cursor's next slot of level 1, or earlier where work is left.
    look_ns: u64,
    /// Tick at which work on a crowded slot may begin or go on; `u64::MAX` when there was none at the last look.
    look: u64,
    /// Tick that no timer in a slot lies before. Only grows.
    cursor: u64,
    /// By level, the number of the first slot that has not been moved down; all before it are empty. `[0]` is 0 and
    /// `[levels]` is `u64::MAX`: what is on level 0 stays there, and nothing comes from above the top.
    ///
    /// For the levels between: above the cursor's slot, at most 2 above it, and the slot starts grow with the level.
    drained: [u64; LEVELS_MAX + 1],
    occupancy: Occupancy,
    /// `capacity` timers, then the anchors of the slots.
    nodes: Box<[Node<T>]>,
    late: Late,
    /// First free node, or [`NONE`].
    free: u32,
    len: u32,
    capacity: u32,
    levels: u32,
    unit: TickUnit,
    /// Timers scheduled and timers fired since the last look ahead.
    recent: usize,
    /// See [`Wheel::moves`].
    moves: u64,
}

impl<T: Pod> Wheel<T> {
    /// An empty wheel for `capacity` timers, at time 0. Allocates, and touches, all that it will ever need: O(capacity).
    ///
    /// A capacity of 0 makes a wheel that is always full.
    ///
    /// # Panics
    /// When `tick_ns` is 0, or `capacity` above [`TIMERS_MAX`].
    #[must_use]
    pub fn new(capacity: usize, tick_ns: u64) -> Self {
        assert!(capacity <= TIMERS_MAX, "at most {TIMERS_MAX} timers, not {capacity}");
        let unit = TickUnit::new(tick_ns);
        let levels = levels_for(unit.max);
        let nodes = capacity + levels * LEVEL_SLOTS;
        let node = |index: usize| {
            let (prev, next) = if index >= capacity {
                (index as u32, index as u32)
            } else {
                (0, if index + 1 < capacity { index as u32 + 1 } else { NONE })
            };
            Node { tick: 0, prev, next, generation: 0, order: 0, value: T::zeroed() }
        };
        let mut drained = [1; LEVELS_MAX + 1];
        drained[0] = 0;
        drained[levels] = u64::MAX;
        Self {
            wake_ns: u64::MAX,
            now_ns: 0,
            look_ns: 0,
            look: u64::MAX,
            cursor: 0,
            drained,
            occupancy: Occupancy::EMPTY,
            nodes: (0..nodes).map(node).collect(),
            late: Late::new(capacity),
            free: if capacity == 0 { NONE } else { 0 },
            len: 0,
            capacity: capacity as u32,
            levels: levels as u32,
            unit,
            recent: 0,
            moves: 0,
        }
    }

    /// Schedules a timer at `deadline` rounded up to a multiple of the tick, its T. O(1), no allocation.
    ///
    /// A T that is already over is due at once, in its place by (T, order of scheduling) among those that have not
    /// fired. A deadline after the last multiple of the tick that u64 nanoseconds hold (in the year 2554) is due then.
    ///
    /// # Errors
    /// [`WheelFull`] when there are `capacity` timers.
    #[inline]
    pub fn schedule(&mut self, deadline: UnixNanos, value: T) -> Result<TimerHandle, WheelFull> {
        let index = self.free;
        if index == NONE {
            return Err(self.full());
        }
        let node = &mut self.nodes[index as usize];
        self.free = node.next;
        node.value = value;
        node.generation = node.generation.wrapping_add(1);
        let generation = node.generation;
        self.len += 1;
        self.place(index, deadline);
        Ok(TimerHandle { index, generation })
    }

    /// Takes a timer out and gives its value back; `None` when the handle is stale. O(1).
    #[inline]
    pub fn cancel(&mut self, handle: TimerHandle) -> Option<T> {
        if !self.is_pending(handle) {
            return None;
        }
        self.unlink(handle.index);
        Some(self.release(handle.index))
    }

    /// Moves a timer to another deadline, as if it were scheduled now; the handle stays valid. `false`, and nothing
    /// done, when the handle is stale. O(1).
    #[inline]
    pub fn reschedule(&mut self, handle: TimerHandle, deadline: UnixNanos) -> bool {
        if !self.is_pending(handle) {
            return false;
        }
        self.unlink(handle.index);
        self.place(handle.index, deadline);
        true
    }

    /// Whether the handle names a pending timer. O(1).
    #[inline]
    #[must_use]
    pub fn is_pending(&self, handle: TimerHandle) -> bool {
        // Only cells have odd generations: an index among the anchors, or a free cell, cannot match.
        handle.generation & 1 != 0
            && self.nodes.get(handle.index as usize).is_some_and(|node| node.generation == handle.generation)
    }

    /// T and value of a pending timer. O(1).
    #[inline]
    #[must_use]
    pub fn get(&self, handle: TimerHandle) -> Option<(UnixNanos, &T)> {
        self.is_pending(handle).then(|| {
            let node = &self.nodes[handle.index as usize];
            (UnixNanos(self.unit.ns(node.tick)), &node.value)
        })
    }

    /// Whether [`Wheel::pop_due`] has anything to do at `now`. One comparison.
    ///
    /// `false`: no timer is due. `true`: one may be due, or crowded slots ahead want a few moves: call `pop_due`.
    #[inline]
    #[must_use]
    pub fn is_due(&self, now: UnixNanos) -> bool {
        now.0 >= self.wake_ns
    }

    /// Fires the next due timer: takes it out and gives its T and value. `None` when none is due at `now`.
    ///
    /// One comparison when there is nothing to do. Else O(1), plus the moves of the timers that share a coarse slot
    /// with the next one: at most one a level for each timer. [`Wheel::pop_due_within`] bounds those.
    #[inline]
    pub fn pop_due(&mut self, now: UnixNanos) -> Option<(UnixNanos, T)> {
        self.now_ns = self.now_ns.max(now.0);
        if now.0 < self.wake_ns {
            return None;
        }
        let mut unbounded = usize::MAX;
        match self.pop(&mut unbounded) {
            Popped::Fired(at, value) => Some((at, value)),
            Popped::NothingDue | Popped::OutOfBudget => None,
        }
    }

    /// As [`Wheel::pop_due`], but takes from `budget` one for the timer fired and one for each move, and stops where
    /// it ends. So the work of one call is bounded whatever is pending.
    #[inline]
    pub fn pop_due_within(&mut self, now: UnixNanos, budget: &mut usize) -> Popped<T> {
        self.now_ns = self.now_ns.max(now.0);
        if now.0 < self.wake_ns {
            return Popped::NothingDue;
        }
        self.pop(budget)
    }

    /// Fires due timers in order, each by a call of `fire` with its T and value, until none is due or `budget` is used
    /// up. A timer fired and a timer moved down a level cost one each, so that the work of one call is bounded
    /// whatever is pending. With a budget of at least 1, every call makes progress.
    ///
    /// `fire` cannot reach the wheel; where handlers schedule while timers are due, use [`Wheel::pop_due`].
    pub fn poll(&mut self, now: UnixNanos, budget: usize, mut fire: impl FnMut(UnixNanos, T)) -> Polled {
        let mut left = budget;
        let mut fired = 0;
        loop {
            match self.pop_due_within(now, &mut left) {
                Popped::Fired(at, value) => {
                    fired += 1;
                    fire(at, value);
                }
                Popped::NothingDue => return Polled { fired, more_due: false },
                Popped::OutOfBudget => return Polled { fired, more_due: true },
            }
        }
    }

    /// The first T, or an instant before it and after all that has fired; `None` when no timer is pending. O(levels).
    ///
    /// It is exact when the first timer is alone in its slot, or within the blocks of level 0. Each poll at the instant
    /// that it gives makes it later or exact, so that time can be run forward by it.
    #[must_use]
    pub fn next_due_hint(&self) -> Option<UnixNanos> {
        if let Some(first) = self.late.first() {
            return Some(UnixNanos(self.unit.ns(self.nodes[first as usize].tick)));
        }
        let front_ns = self.unit.ns(self.front_tick(self.front())?);
        // Before the wheel wakes a poll would not look, and there would be no progress.
        Some(UnixNanos(front_ns.max(self.wake_ns)))
    }

    /// Pending timers.
    #[inline]
    #[must_use]
    pub fn len(&self) -> usize {
        self.len as usize
    }

    /// Whether no timer is pending.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Timers that fit.
    #[inline]
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.capacity as usize
    }

    /// The tick in nanoseconds.
    #[inline]
    #[must_use]
    pub fn tick_ns(&self) -> u64 {
        self.unit.ns
    }

    /// Bytes held on the heap.
    #[must_use]
    pub fn bytes(&self) -> usize {
        size_of_val(&*self.nodes) + size_of_val(&*self.late.heap)
    }

    /// Moves of timers from one level to the next since the start. At most `levels - 1` for each timer scheduled.
    #[must_use]
    pub fn moves(&self) -> u64 {
        self.moves
    }

    /// Pending timers with their handles and T, in the order of the slab: not that of firing. O(capacity).
    pub fn iter(&self) -> impl Iterator<Item = (TimerHandle, UnixNanos, &T)> {
        self.nodes[..self.capacity()].iter().enumerate().filter(|(_, node)| node.is_live()).map(|(index, node)| {
            let handle = TimerHandle { index: index as u32, generation: node.generation };
            (handle, UnixNanos(self.unit.ns(node.tick)), &node.value)
        })
    }

    #[cold]
    #[inline(never)]
    fn full(&self) -> WheelFull {
        WheelFull(self.capacity())
    }

    fn levels(&self) -> usize {
        self.levels as usize
    }

    /// Index of a slot's anchor.
    #[inline]
    fn anchor(&self, slot_index: usize) -> u32 {
        self.capacity + slot_index as u32
    }

    /// Puts a timer that is in no list where its deadline belongs.
    #[inline]
    fn place(&mut self, index: u32, deadline: UnixNanos) {
        let (tick, at_ns) = self.unit.ceil(deadline.0);
        self.nodes[index as usize].tick = tick;
        self.recent = self.recent.wrapping_add(1);
        // A timer that is due by the time already polled must not wait for a later one.
        let wake_ns = if at_ns <= self.now_ns { 0 } else { at_ns.min(self.look_ns) };
        self.wake_ns = self.wake_ns.min(wake_ns);
        if self.occupancy.is_empty() {
            self.catch_up();
        }
        if tick < self.cursor {
            self.late.push(&mut self.nodes, index);
            return;
        }
        self.link_by_tick(index, tick);
    }

    /// Appends a timer that is not before the cursor to the slot where its tick belongs.
    #[inline]
    fn link_by_tick(&mut self, index: u32, tick: u64) {
        // The block that a level shares with the cursor has been moved down to it, so that this level is never too
        // low. It is too high where slots were moved down ahead of time.
        let mut level = level_between(tick, self.cursor);
        while slot_number(tick, level) < self.drained[level] {
            level -= 1;
        }
        self.link(index, level, tick);
    }

    /// Appends a timer to its slot on `level`.
    #[inline]
    fn link(&mut self, index: u32, level: usize, tick: u64) {
        let slot_index = slot_index(slot_number(tick, level), level);
        let anchor = self.anchor(slot_index);
        let last = std::mem::replace(&mut self.nodes[anchor as usize].prev, index);
        self.nodes[last as usize].next = index;
        let node = &mut self.nodes[index as usize];
        node.prev = last;
        node.next = anchor;
        self.occupancy.set(slot_index);
    }

    /// Takes a timer out of its slot or of the heap.
    #[inline]
    fn unlink(&mut self, index: u32) {
        let Node { prev, next, .. } = self.nodes[index as usize];
        if prev & LATE_BIT != 0 {
            self.late.remove(&mut self.nodes, (prev & !LATE_BIT) as usize);
            return;
        }
        self.nodes[prev as usize].next = next;
        self.nodes[next as usize].prev = prev;
        // Equal neighbours are the anchor on both sides: the slot is empty now.
        if prev == next {
            self.occupancy.clear((prev - self.capacity) as usize);
        }
    }

    /// Gives a node that is in no list back.
    #[inline]
    fn release(&mut self, index: u32) -> T {
        let node = &mut self.nodes[index as usize];
        node.generation = node.generation.wrapping_add(1);
        node.next = self.free;
        let value = node.value;
        self.free = index;
        self.len -= 1;
        value
    }

    /// The first slot with timers, or the first timer where that is known, those of the heap apart.
    fn front(&self) -> Front {
        let Some(lowest) = self.occupancy.lowest_level() else {
            return Front::Empty;
        };
        let mut level = lowest;
        let mut number = self.occupancy.first_slot(level, self.cursor).expect("the level has a timer");
        // Timers at or after what a higher level has still to move down are the first of a half moved slot.
        while number >> BLOCK_BITS >= self.drained[level + 1] {
            level += 1;
            number = self.drained[level];
        }
        let first = self.nodes[self.anchor(slot_index(number, level)) as usize].next;
        if level == 0 || (level == lowest && self.is_lone(level, number)) {
            return Front::Timer { index: first, tick: self.nodes[first as usize].tick, level };
        }
        Front::Slot { level, number }
    }

    /// T of the front in ticks, or a tick before it.
    fn front_tick(&self, front: Front) -> Option<u64> {
        match front {
            Front::Empty => None,
            Front::Timer { tick, .. } => Some(tick),
            Front::Slot { level, number } => Some(slot_start(number, level)),
        }
    }

    /// Whether a slot holds more than one timer. Looks at the anchor only.
    fn is_crowded(&self, level: usize, number: u64) -> bool {
        let node = &self.nodes[self.anchor(slot_index(number, level)) as usize];
        node.prev != node.next
    }

    /// Whether a slot holds one timer. Looks at the anchor only.
    fn is_lone(&self, level: usize, number: u64) -> bool {
        let anchor = self.anchor(slot_index(number, level));
        let node = &self.nodes[anchor as usize];
        node.prev == node.next && node.next != anchor
    }

    /// The work behind [`Wheel::pop_due`], which has compared `now` with `wake_ns`.
    fn pop(&mut self, budget: &mut usize) -> Popped<T> {
        // Whatever happens below, the next call comes here, unless nothing is due.
        self.wake_ns = 0;
        let first = self.late.first().unwrap_or_else(|| {
            // More timers of the T that fired last, most often. Their T is the cursor, which no time polled is before.
            self.nodes[self.anchor(slot_index(self.cursor, 0)) as usize].next
        });
        if first < self.capacity {
            if *budget == 0 {
                return Popped::OutOfBudget;
            }
            *budget -= 1;
            return self.fire(first);
        }
        let now = self.unit.floor(self.now_ns);
        loop {
            let front = self.front();
            match front {
                Front::Timer { index, tick, .. } if tick <= now => {
                    if *budget == 0 {
                        return Popped::OutOfBudget;
                    }
                    *budget -= 1;
                    self.advance(tick);
                    return self.fire(index);
                }
                Front::Timer { index, tick, level }
                    if slot_number(tick, level) <= slot_number(now, level) && level > 0 =>
                {
                    // The cursor would enter the slot of a lone timer: it goes all the way down in one move.
                    if *budget == 0 {
                        return Popped::NothingDue;
                    }
                    *budget -= 1;
                    self.moves += 1;
                    self.unlink(index);
                    self.advance(now);
                    self.link_by_tick(index, tick);
                }
                Front::Slot { level, number } if slot_start(number, level) <= now => {
                    self.enter(level, number);
                    if !self.drain(level, budget) {
                        return Popped::OutOfBudget;
                    }
                }
                Front::Empty | Front::Timer { .. } | Front::Slot { .. } => {
                    self.rest(now, budget);
                    return Popped::NothingDue;
                }
            }
        }
    }

    #[inline]
    fn fire(&mut self, index: u32) -> Popped<T> {
        let at = UnixNanos(self.unit.ns(self.nodes[index as usize].tick));
        self.unlink(index);
        self.recent = self.recent.wrapping_add(1);
        Popped::Fired(at, self.release(index))
    }

    /// Moves the cursor up to `tick`. No timer lies before it, and none is on a higher level in its slots, except one
    /// that is about to fire.
    #[inline]
    fn advance(&mut self, tick: u64) {
        if tick <= self.cursor {
            return;
        }
        self.cursor = tick;
        for level in 1..self.levels() {
            let number = slot_number(tick, level);
            // The slots of all higher levels hold this one: they were passed before.
            if self.drained[level] > number {
                break;
            }
            self.drained[level] = number + 1;
        }
    }

    /// Prepares the slot, the first with timers, to be moved down: the cursor stands right before it, so that what is
    /// scheduled into it meanwhile goes behind those that are still there.
    fn enter(&mut self, level: usize, number: u64) {
        // A slot above level 0 that has not been moved down never begins at tick 0.
        let before = slot_start(number, level) - 1;
        self.cursor = self.cursor.max(before);
        for below in 1..=level {
            let number = slot_number(before, below) + 1;
            self.drained[below] = self.drained[below].max(number);
        }
    }

    /// Moves the timers of slot `drained[level]` down one level, first to last, and then counts the slot as drained.
    /// `false` when the budget ended before.
    fn drain(&mut self, level: usize, budget: &mut usize) -> bool {
        let number = self.drained[level];
        let anchor = self.anchor(slot_index(number, level));
        loop {
            let first = self.nodes[anchor as usize].next;
            if first == anchor {
                self.drained[level] = number + 1;
                return true;
            }
            if *budget == 0 {
                return false;
            }
            *budget -= 1;
            self.moves += 1;
            let tick = self.nodes[first as usize].tick;
            self.unlink(first);
            self.link(first, level - 1, tick);
        }
    }

    /// Nothing is due at tick `now`: moves the cursor there, works ahead a little, and sets the time of the next call.
    fn rest(&mut self, now: u64, budget: &mut usize) {
        self.advance(now);
        if self.now_ns >= self.look_ns {
            self.pass_empty_slots();
            self.look = self.look_ahead(now, budget);
            // A tick that u64 nanoseconds do not have is never reached.
            let next_slot = (slot_number(now, 1) + 1).saturating_mul(BLOCK_SLOTS as u64);
            self.look_ns = self.unit.ns(next_slot.min(self.look));
        }
        self.wake_ns = match self.front_tick(self.front()) {
            Some(tick) => self.unit.ns(tick.min(self.look)),
            None => u64::MAX,
        };
    }

    /// Moves timers of crowded slots down before their time comes, a bounded number. Gives the tick at which to go on.
    ///
    /// A slot may be moved down while the cursor is in the slot before it. Lone timers stay: they fire from where they
    /// are.
    fn look_ahead(&mut self, now: u64, budget: &mut usize) -> u64 {
        let wanted = self.recent.saturating_mul(LOOK_AHEAD_PER_TIMER).saturating_add(LOOK_AHEAD_MOVES);
        let allowed = wanted.min(LOOK_AHEAD_MOVES_MAX).min(*budget);
        let mut moves = allowed;
        self.recent = 0;
        // From the bottom: the lower the level, the sooner the cursor is there.
        let mut look = u64::MAX;
        for level in self.occupancy.levels_above_zero() {
            if self.is_next(level) && self.is_crowded(level, self.drained[level]) {
                self.drain(level, &mut moves);
            }
            let next = slot_number(self.cursor, level) + 1;
            if let Some(number) = self.occupancy.first_slot(level, self.cursor)
                && self.is_crowded(level, number)
            {
                look = look.min(if number <= next { now + 1 } else { slot_start(number - 1, level) });
            }
        }
        *budget -= allowed - moves;
        look
    }

    /// Counts the slots right after the cursor's as moved down where they are empty: what is scheduled there then
    /// begins a level lower.
    fn pass_empty_slots(&mut self) {
        // From the top: what a higher level has not moved down cannot be moved on.
        for level in (1..self.levels()).rev() {
            if self.is_next(level) && self.occupancy.is_empty_at(slot_index(self.drained[level], level)) {
                self.drained[level] += 1;
            }
        }
    }

    /// The first timer comes into empty slots: the cursor, which stands still while there is nothing to do, catches up
    /// with the time polled.
    #[inline(never)]
    fn catch_up(&mut self) {
        let now = self.unit.floor(self.now_ns);
        if now > self.cursor {
            self.advance(now);
            self.pass_empty_slots();
        }
    }

    /// Whether the slot right after the cursor's is the next that `level` may move down.
    fn is_next(&self, level: usize) -> bool {
        let number = self.drained[level];
        number == slot_number(self.cursor, level) + 1 && number >> BLOCK_BITS < self.drained[level + 1]
    }
}

impl<T> std::fmt::Debug for Wheel<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Wheel")
            .field("len", &self.len)
            .field("capacity", &self.capacity)
            .field("tick_ns", &self.unit.ns)
            .field("cursor", &self.cursor)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The order of late timers must survive the end of its numbers, which no test reaches by counting.
    #[test]
    fn late_timers_keep_their_order_when_its_numbers_run_out() {
        let mut wheel = Wheel::<u64>::new(64, 1);
        assert_eq!(wheel.pop_due(UnixNanos(1_000)), None);
        wheel.schedule(UnixNanos(500), 0).unwrap();
        wheel.late.next_order = u32::MAX - 5;
        for i in 1..40 {
            wheel.schedule(UnixNanos(500 - i % 3), i).unwrap();
            wheel.assert_invariants();
        }
        assert!(wheel.late.next_order < 100, "the numbers ran out: {}", wheel.late.next_order);
        let mut expected: Vec<_> = (0..40).map(|i| (500 - i % 3, i)).collect();
        expected.sort_unstable();
        for expected in expected {
            assert_eq!(wheel.pop_due(UnixNanos(0)).map(|(at, value)| (at.0, value)), Some(expected));
            wheel.assert_invariants();
        }
    }

    /// A generation that wraps stays odd for pending timers.
    #[test]
    fn generations_wrap() {
        let mut wheel = Wheel::<u64>::new(1, 1);
        wheel.nodes[0].generation = u32::MAX - 1;
        let last = wheel.schedule(UnixNanos(5), 1).unwrap();
        assert_eq!(last.generation, u32::MAX);
        assert_eq!(wheel.cancel(last), Some(1));
        let first = wheel.schedule(UnixNanos(5), 2).unwrap();
        assert_eq!(first.generation, 1);
        wheel.assert_invariants();
        assert_eq!(wheel.cancel(last), None);
        assert_eq!(wheel.cancel(first), Some(2));
    }

    #[test]
    fn a_timer_with_a_value_of_one_word_takes_half_a_cache_line() {
        assert_eq!(size_of::<Node<u64>>(), 32);
        assert_eq!(Wheel::<u64>::new(1_000, 1_000_000).bytes(), (1_000 + 8 * LEVEL_SLOTS) * 32 + 4_000);
    }
}
