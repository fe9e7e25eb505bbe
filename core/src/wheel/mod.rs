//! A hashed timing wheel: timers by deadline, with O(1) schedule and cancel, that fire in the order (T, order of
//! scheduling).
//!
//! Promises:
//! - **Order.** A deadline is rounded up to a multiple of the tick; that is the timer's T. Timers fire strictly by T,
//!   and those of equal T in the order in which they were scheduled (a reschedule counts as scheduling anew).
//! - **Never early** (but for deadlines in the last tick of u64, which have no multiple of the tick behind them), and at most one tick after the deadline, as long as `now` is polled that often.
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
//! The slots of level 0 hold one tick each, and a block of it 4,096 slots; a block of the levels above has 64 slots, and
//! spans one slot of the next. With a tick of 1 ms, 7 levels hold every instant that u64 nanoseconds have; a tick of 1 ns
//! needs 10.
//!
//! ```text
//! level   slot spans   block
//!   0          1 ms       4.1 s      4,096 slots
//!   1        4.1 s        4.4 min       64 slots
//!   2        4.4 min      4.7 h
//!   3        4.7 h       12.4 days
//!   4       12.4 days     2.2 years
//!   5        2.2 years  139   years
//!   6      139   years  8,900 years (to the end of u64 nanoseconds, in 2554)
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
//! number. Each level keeps two blocks, the cursor's and the next, which lets a slot be moved down while the time before
//! it still runs.
//!
//! The *cursor* is the tick of the last fired timer, or a later one before which nothing is pending. It stands still while
//! there is nothing to do. A timer whose T lies even before it (a deadline that is already over) goes to a small heap by
//! (T, order of scheduling), and fires first.
//!
//! Nothing is looked at before two instants that are kept ready: `wake_ns`, before which no poll has anything to do, and
//! `look_ns`, before which no level above 0 has. Both are set when a slot becomes occupied, so that a timer that joins
//! others costs nothing there.
//!
//! # Complexity
//!
//! | operation | cost |
//! |---|---|
//! | [`schedule`](Wheel::schedule), [`reschedule`](Wheel::reschedule) | O(1); O(log n) for a T before the cursor |
//! | [`cancel`](Wheel::cancel) | O(1); O(log n) for a T before the cursor |
//! | [`is_due`](Wheel::is_due), [`pop_due`](Wheel::pop_due) when nothing is due | two comparisons |
//! | fire | O(1), and at most one move a level for each timer before that |
//! | empty time | O(levels) at any distance: bitmaps are skipped by bit scans |
//!
//! A schedule touches the timer's node, its slot's anchor of 8 bytes, and the last timer of the slot. A timer takes one
//! node: 24 bytes and the value, rounded up to a multiple of 32; the anchors take 80 KiB. Handles name a timer by
//! index and generation; a generation comes back after 2^31 timers in the same node.

mod check;
mod instance;
mod level;
mod node;
mod snapshot;

use crate::limits::TIMERS_MAX;
use crate::units::UnixNanos;
use bytemuck::{Pod, Zeroable};
use core::num::NonZeroU64;
use level::{
    Above, BASE_BITS, BASE_SLOTS, DRAINED, Occupancy, TickUnit, base_index, block_of, level_of, levels_for, slot_index,
    slot_number, slot_start,
};
use node::{ANCHORS, Anchor, LATE, Late, MARK, NONE, Node, append};

/// Least timers that a call may move down ahead of time, once nothing is due.
const LOOK_AHEAD_MOVES: u64 = 32;
/// Most timers that one call moves down ahead of time. What is left is moved when its slot begins, within the budget of
/// the call.
const LOOK_AHEAD_MOVES_MAX: usize = 1_024;

const _: () = {
    assert!(
        TIMERS_MAX <= (LATE & !MARK) as usize,
        "an index leaves the marks free, and so does a position in the heap"
    );
    assert!(ANCHORS < (LATE & !MARK) as usize, "a slot's mark is none of a late timer");
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

    /// Its place among the timers: below the capacity of the wheel, and of one pending timer at a time.
    #[inline]
    #[must_use]
    pub const fn index(self) -> u32 {
        self.index
    }

    #[inline]
    const fn to_bits(self) -> Option<NonZeroU64> {
        // Never none: the generation of a pending timer is odd.
        NonZeroU64::new((self.generation as u64) << 32 | self.index as u64)
    }

    #[inline]
    const fn from_bits(bits: NonZeroU64) -> Self {
        Self { index: bits.get() as u32, generation: (bits.get() >> 32) as u32 }
    }

    /// Free nodes have even generations: no handle that the wheel gave has one.
    #[inline]
    const fn may_be_live(self) -> bool {
        self.generation & 1 != 0
    }
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

/// What a call has to do next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Due {
    /// Fire the timers of the slot of level 0 that holds this tick, where the cursor stands now.
    Slot(u64),
    /// Fire this late timer.
    Late(u32),
    /// Nothing is due.
    Nothing,
    /// The budget ended before that was known.
    OutOfBudget,
}

/// The hashed timing wheel. See the [module](self).
#[derive(Clone)]
pub struct Wheel<T> {
    /// Until this instant in nanoseconds there is nothing to do. At or before the first T.
    wake_ns: u64,
    /// Latest `now` that was polled, ns.
    now_ns: u64,
    /// Until this instant in nanoseconds no timer above level 0 is due or may be moved ahead of time.
    look_ns: u64,
    /// Tick that no timer in a slot lies before. Only grows.
    cursor: u64,
    /// Lists of the timers, in the order of scheduling, by slot.
    ///
    /// An array with room for every level, so that the index of a slot needs no check.
    anchors: Box<[Anchor; ANCHORS]>,
    nodes: Box<[Node<T>]>,
    /// First free node, or [`NONE`].
    free: u32,
    len: u32,
    unit: TickUnit,
    /// By level, the number of the first slot that has not been moved down; all before it are empty. `[0]` is 0 and
    /// `[levels]` is `u64::MAX`: what is on level 0 stays there, and nothing comes from above the top.
    ///
    /// For the levels between: above the cursor's slot, at most 2 above it, and the slot starts grow with the level.
    drained: [u64; DRAINED],
    occupancy: Occupancy,
    levels: u32,
    late: Late,
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
        let node = |index: usize| {
            let next = if index + 1 < capacity { index as u32 + 1 } else { NONE };
            Node { tick: 0, prev: NONE, next, generation: 0, order: 0, value: T::zeroed() }
        };
        let mut drained = [1; DRAINED];
        drained[0] = 0;
        drained[levels] = u64::MAX;
        Self {
            wake_ns: u64::MAX,
            now_ns: 0,
            look_ns: u64::MAX,
            cursor: 0,
            anchors: node::anchors(),
            nodes: (0..capacity).map(node).collect(),
            free: if capacity == 0 { NONE } else { 0 },
            len: 0,
            unit,
            drained,
            occupancy: Occupancy::EMPTY,
            levels: levels as u32,
            late: Late::new(capacity),
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
        self.insert(self.unit.ceil(deadline.0), value).map(TimerHandle::from_bits).ok_or_else(|| self.full())
    }

    /// As [`Wheel::schedule`] for a T that the caller has in ticks since time 0: T in nanoseconds is the tick times
    /// [`Wheel::tick_ns`]. One after the last that u64 nanoseconds hold is that one.
    ///
    /// # Errors
    /// As [`Wheel::schedule`].
    #[inline]
    pub fn schedule_at_tick(&mut self, tick: u64, value: T) -> Result<TimerHandle, WheelFull> {
        self.insert(tick.min(self.unit.max), value).map(TimerHandle::from_bits).ok_or_else(|| self.full())
    }

    /// Schedules a timer at `tick`; `None` when the wheel is full.
    ///
    /// The handle is one number, which comes back in a register. A call is the last thing that is done, and gives what only the one called
    /// knows, so that it is a jump and nothing is saved for it.
    #[inline(never)]
    fn insert(&mut self, tick: u64, value: T) -> Option<NonZeroU64> {
        let index = self.free;
        // The end of the free list is no node.
        let node = self.nodes.get_mut(index as usize)?;
        self.free = node.next;
        self.len += 1;
        node.value = value;
        let generation = node.generation.wrapping_add(1);
        node.generation = generation;
        node.tick = tick;
        if tick < self.cursor {
            return self.insert_late(index, tick);
        }
        // What belongs above level 0 is not before the first slot of level 1 that has not been moved down.
        let slot = if tick >> BASE_BITS < self.drained[1] {
            base_index(tick)
        } else {
            let above = Above::between(tick, self.cursor);
            if above.number(tick) < self.drained[above.level()] {
                return self.insert_ahead(index, tick);
            }
            above.index(tick)
        };
        let last = append(&mut self.anchors, slot, index, node);
        if let Some(before) = self.nodes.get_mut(last as usize) {
            before.next = index;
            return TimerHandle { index, generation }.to_bits();
        }
        self.insert_first(index, slot, tick)
    }

    /// The end of [`Wheel::insert`] where slots were moved down ahead of time.
    #[cold]
    #[inline(never)]
    fn insert_ahead(&mut self, index: u32, tick: u64) -> Option<NonZeroU64> {
        self.place(index, tick);
        TimerHandle { index, generation: self.nodes[index as usize].generation }.to_bits()
    }

    /// The end of [`Wheel::insert`] for a T before the cursor.
    #[cold]
    #[inline(never)]
    fn insert_late(&mut self, index: u32, tick: u64) -> Option<NonZeroU64> {
        self.place_late(index, tick);
        TimerHandle { index, generation: self.nodes[index as usize].generation }.to_bits()
    }

    /// The end of [`Wheel::insert`] for the first timer of a slot.
    #[inline(never)]
    fn insert_first(&mut self, index: u32, slot: usize, tick: u64) -> Option<NonZeroU64> {
        let generation = self.nodes[index as usize].generation;
        self.begin(index, slot, tick);
        TimerHandle { index, generation }.to_bits()
    }

    /// Takes a timer out and gives its value back; `None` when the handle is stale. O(1).
    #[inline(always)]
    pub fn cancel(&mut self, handle: TimerHandle) -> Option<T> {
        let node = self.nodes.get_mut(handle.index as usize)?;
        if node.generation != handle.generation || !handle.may_be_live() {
            return None;
        }
        let (prev, next, value) = (node.prev, node.next, node.value);
        node.generation = handle.generation.wrapping_add(1);
        node.next = self.free;
        self.free = handle.index;
        self.len -= 1;
        self.unlink(prev, next);
        Some(value)
    }

    /// Moves a timer to another deadline, as if it were scheduled now; the handle stays valid. `false`, and nothing
    /// done, when the handle is stale. O(1).
    #[inline]
    pub fn reschedule(&mut self, handle: TimerHandle, deadline: UnixNanos) -> bool {
        let index = handle.index;
        let Some(node) = self.nodes.get_mut(index as usize) else {
            return false;
        };
        if node.generation != handle.generation || !handle.may_be_live() {
            return false;
        }
        let tick = self.unit.ceil(deadline.0);
        let (prev, next) = (node.prev, node.next);
        node.tick = tick;
        self.unlink(prev, next);
        if tick < self.cursor {
            self.place_late(index, tick);
        } else {
            self.place(index, tick);
        }
        true
    }

    /// Whether the handle names a pending timer. O(1).
    #[inline]
    #[must_use]
    pub fn is_pending(&self, handle: TimerHandle) -> bool {
        handle.may_be_live()
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

    /// Whether [`Wheel::pop_due`] has anything to do at `now`. Two comparisons.
    ///
    /// `false`: no timer is due. `true`: one may be due, or slots ahead want a few moves: call `pop_due`.
    #[inline]
    #[must_use]
    pub fn is_due(&self, now: UnixNanos) -> bool {
        now.0.max(self.now_ns) >= self.wake_ns
    }

    /// Fires the next due timer: takes it out and gives its T and value. `None` when none is due at `now`.
    ///
    /// Two comparisons when there is nothing to do. Else O(1), plus the moves of the timers that share a coarse slot
    /// with the next one: at most one a level for each timer. [`Wheel::pop_due_within`] bounds those.
    #[inline]
    pub fn pop_due(&mut self, now: UnixNanos) -> Option<(UnixNanos, T)> {
        let mut unbounded = usize::MAX;
        match self.pop_due_within(now, &mut unbounded) {
            Popped::Fired(at, value) => Some((at, value)),
            Popped::NothingDue | Popped::OutOfBudget => None,
        }
    }

    /// As [`Wheel::pop_due`], but takes from `budget` one for the timer fired and one for each move, and stops where
    /// it ends. So the work of one call is bounded whatever is pending.
    #[inline]
    pub fn pop_due_within(&mut self, now: UnixNanos, budget: &mut usize) -> Popped<T> {
        self.now_ns = self.now_ns.max(now.0);
        if self.now_ns < self.wake_ns {
            return Popped::NothingDue;
        }
        self.pop_one(budget)
    }

    /// The work behind [`Wheel::pop_due_within`], which has compared the time with `wake_ns`. Apart, so that a poll with
    /// nothing due saves no registers.
    #[inline(never)]
    fn pop_one(&mut self, budget: &mut usize) -> Popped<T> {
        let due = self.due(budget);
        match due {
            Due::Slot(_) | Due::Late(_) if *budget == 0 => Popped::OutOfBudget,
            Due::Slot(tick) => {
                *budget -= 1;
                Popped::Fired(UnixNanos(self.unit.ns(tick)), self.pop_first(tick))
            }
            Due::Late(index) => {
                *budget -= 1;
                let (at, value) = self.pop_late(index);
                Popped::Fired(at, value)
            }
            Due::Nothing => Popped::NothingDue,
            Due::OutOfBudget => Popped::OutOfBudget,
        }
    }

    /// Fires due timers in order, each by a call of `fire` with its T and value, until none is due or `budget` is used
    /// up. A timer fired and a timer moved down a level cost one each, so that the work of one call is bounded
    /// whatever is pending. With a budget of at least 1, every call makes progress.
    ///
    /// `fire` cannot reach the wheel; where handlers schedule while timers are due, use [`Wheel::pop_due`]. If it panics,
    /// the timer that it was called with has fired, and those after it are still pending.
    #[inline]
    pub fn poll(&mut self, now: UnixNanos, budget: usize, mut fire: impl FnMut(UnixNanos, T)) -> Polled {
        self.now_ns = self.now_ns.max(now.0);
        if self.now_ns < self.wake_ns {
            return Polled { fired: 0, more_due: false };
        }
        self.poll_due(budget, &mut fire)
    }

    /// The work behind [`Wheel::poll`], which has compared the time with `wake_ns`. Apart as [`Wheel::pop_one`] is.
    #[inline(never)]
    fn poll_due(&mut self, budget: usize, fire: &mut impl FnMut(UnixNanos, T)) -> Polled {
        let mut left = budget;
        let mut fired = 0;
        let more_due = loop {
            let due = self.due(&mut left);
            match due {
                Due::Slot(_) | Due::Late(_) if left == 0 => break true,
                Due::Slot(tick) => {
                    let swept = self.sweep(tick, left, fire);
                    fired += swept;
                    left -= swept;
                }
                Due::Late(index) => {
                    let (at, value) = self.pop_late(index);
                    fired += 1;
                    left -= 1;
                    fire(at, value);
                }
                Due::Nothing => break false,
                Due::OutOfBudget => break true,
            }
        };
        Polled { fired, more_due }
    }

    /// The first T, or an instant before it and after all that has fired; `None` when no timer is pending. O(levels), and
    /// O(1) when the first timer is on level 0.
    ///
    /// It is exact when the first timer is on level 0, or alone in its slot on the lowest level that has timers. Each
    /// poll at the instant that it gives makes it later or exact, so that time can be run forward by it.
    #[must_use]
    pub fn next_due_hint(&self) -> Option<UnixNanos> {
        if let Some(first) = self.late.first() {
            return Some(UnixNanos(self.unit.ns(self.nodes[first as usize].tick)));
        }
        let base = self.occupancy.first_base(self.cursor);
        if let Some(tick) = base.filter(|tick| tick >> BASE_BITS < self.drained[1]) {
            return Some(UnixNanos(self.unit.ns(tick)));
        }
        let tick = match self.first_above() {
            Some((level, number)) => {
                let lone = self.occupancy.levels_above_zero().next() == Some(level);
                let lone = lone.then(|| self.lone_tick(slot_index(number, level))).flatten();
                let above = lone.unwrap_or(slot_start(number, level));
                base.map_or(above, |tick| tick.min(above))
            }
            None => base?,
        };
        Some(UnixNanos(self.unit.ns(tick)))
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
        self.nodes.len()
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
        size_of_val(&*self.nodes) + size_of_val(&*self.anchors) + size_of_val(&*self.late.heap)
    }

    /// Moves of timers from one level to the next since the start. At most `levels - 1` for each timer scheduled.
    #[must_use]
    pub fn moves(&self) -> u64 {
        self.moves
    }

    /// Pending timers with their handles and T, in the order of the slab: not that of firing. O(capacity).
    pub fn iter(&self) -> impl Iterator<Item = (TimerHandle, UnixNanos, &T)> {
        self.nodes.iter().enumerate().filter(|(_, node)| node.is_live()).map(|(index, node)| {
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

    /// The timer is the first of a slot above level 0, and that slot could be moved down at once, though nothing is to be
    /// done at the time polled: the cursor has been standing still. It catches up, and the timer goes where it belongs
    /// then.
    #[cold]
    #[inline(never)]
    fn catch_up(&mut self, index: u32, slot: usize, tick: u64) {
        self.anchors[slot] = Anchor::empty(slot);
        self.advance(self.unit.floor(self.now_ns));
        self.pass_empty_slots();
        if tick < self.cursor {
            self.place_late(index, tick);
            return;
        }
        let slot = slot_for(&self.drained, self.cursor, tick);
        let last = append(&mut self.anchors, slot, index, &mut self.nodes[index as usize]);
        if let Some(before) = self.nodes.get_mut(last as usize) {
            before.next = index;
            return;
        }
        self.anchors[slot].first = index;
        if slot < BASE_SLOTS {
            self.occupy_base(slot, tick);
        } else {
            let level = level_of(slot);
            self.occupy_above(slot, level, self.begin_ns(level, slot_number(tick, level)));
        }
    }

    /// When the cursor comes to the slot before that one, and its timers may be moved down ahead of time, ns.
    #[inline]
    fn begin_ns(&self, level: usize, number: u64) -> u64 {
        // No timer is in slot 0 above level 0: the cursor began there.
        self.unit.ns(slot_start(number.saturating_sub(1), level))
    }

    /// Puts a timer whose T is not before the cursor behind the others of its slot.
    #[inline]
    fn place(&mut self, index: u32, tick: u64) {
        let slot = slot_for(&self.drained, self.cursor, tick);
        let last = append(&mut self.anchors, slot, index, &mut self.nodes[index as usize]);
        if let Some(before) = self.nodes.get_mut(last as usize) {
            before.next = index;
        } else {
            self.begin(index, slot, tick);
        }
    }

    /// The second half of [`append`], for a slot that was empty: it is occupied now.
    #[inline]
    fn begin(&mut self, index: u32, slot: usize, tick: u64) {
        self.anchors[slot].first = index;
        if slot < BASE_SLOTS {
            self.occupy_base(slot, tick);
        } else {
            self.begin_above(index, slot, tick);
        }
    }

    /// As [`Wheel::begin`], above level 0.
    #[inline(never)]
    fn begin_above(&mut self, index: u32, slot: usize, tick: u64) {
        let level = level_of(slot);
        let begin_ns = self.begin_ns(level, slot_number(tick, level));
        if begin_ns <= self.now_ns && self.now_ns < self.wake_ns {
            self.catch_up(index, slot, tick);
        } else {
            self.occupy_above(slot, level, begin_ns);
        }
    }

    /// A slot of level 0 has its first timer.
    #[inline]
    fn occupy_base(&mut self, slot: usize, tick: u64) {
        self.occupancy.set_base(slot);
        self.wake_ns = self.wake_ns.min(self.unit.ns(tick));
    }

    /// A slot above level 0 has its first timer.
    fn occupy_above(&mut self, slot: usize, level: usize, begin_ns: u64) {
        self.occupancy.set_above(slot, level);
        self.look_ns = self.look_ns.min(begin_ns);
        self.wake_ns = self.wake_ns.min(begin_ns);
    }

    /// Puts a timer whose T is before the cursor into the heap.
    #[cold]
    #[inline(never)]
    fn place_late(&mut self, index: u32, tick: u64) {
        self.wake_ns = self.wake_ns.min(self.unit.ns(tick));
        self.late.push(&mut self.nodes, index);
    }

    /// Takes a timer with these links out of its slot or of the heap.
    // NB: as a function of its own it costs a cancel 9 of 47 instructions, and so does a call of cancel (callgrind, x86-64-v3).
    #[inline(always)]
    fn unlink(&mut self, prev: u32, next: u32) {
        if let Some(before) = self.nodes.get_mut(prev as usize) {
            before.next = next;
        } else if prev & LATE == LATE {
            self.late.remove(&mut self.nodes, (prev & !LATE) as usize);
            return;
        } else {
            let slot = (prev & !MARK) as usize;
            self.anchors[slot].first = next;
            if next == prev {
                self.vacate(slot);
                return;
            }
        }
        if let Some(after) = self.nodes.get_mut(next as usize) {
            after.prev = prev;
        } else {
            self.anchors[(next & !MARK) as usize].last = prev;
        }
    }

    /// A slot has lost its last timer.
    #[inline]
    fn vacate(&mut self, slot: usize) {
        self.anchors[slot] = Anchor::empty(slot);
        if slot < BASE_SLOTS {
            self.occupancy.clear_base(slot);
        } else {
            self.occupancy.clear_above(slot, level_of(slot));
        }
    }

    /// What is to be done first, for a time polled that is not before `wake_ns`. Moves timers down, within the budget.
    #[inline]
    fn due(&mut self, budget: &mut usize) -> Due {
        if self.late.len == 0
            && let Some(tick) = self.occupancy.first_base(self.cursor)
            // What is above level 0 is not before the first slot of level 1 that has not been moved down.
            && tick >> BASE_BITS < self.drained[1]
        {
            let at_ns = self.unit.ns(tick);
            if at_ns <= self.now_ns {
                // No level's slot can have been left: their starts grow with the level.
                self.cursor = tick;
                return Due::Slot(tick);
            }
            if self.now_ns < self.look_ns {
                self.wake_ns = at_ns.min(self.look_ns);
                return Due::Nothing;
            }
        }
        self.due_above(budget)
    }

    /// As [`Wheel::due`], where it is not enough to look at level 0.
    #[cold]
    #[inline(never)]
    fn due_above(&mut self, budget: &mut usize) -> Due {
        if let Some(first) = self.late.first() {
            return Due::Late(first);
        }
        let now = self.unit.floor(self.now_ns);
        loop {
            let base = self.occupancy.first_base(self.cursor);
            if self.now_ns >= self.look_ns
                && let Some((mut level, mut number)) = self.first_above()
            {
                let start = slot_start(number, level);
                if start <= now && base.is_none_or(|tick| tick >= start) {
                    // A slot above that was half moved down, and whose other timers have been cancelled since, goes first.
                    while block_of(number, level) >= self.drained[level + 1] {
                        level += 1;
                        number = self.drained[level];
                    }
                    self.enter(level, number);
                    if !self.drain(level, budget) {
                        return Due::OutOfBudget;
                    }
                    continue;
                }
            }
            match base {
                Some(tick) if tick <= now => {
                    self.advance(tick);
                    return Due::Slot(tick);
                }
                _ => {
                    if self.now_ns >= self.look_ns {
                        self.look_ahead(now, budget);
                    }
                    let base = self.occupancy.first_base(self.cursor);
                    self.wake_ns = base.map_or(self.look_ns, |tick| self.unit.ns(tick).min(self.look_ns));
                    return Due::Nothing;
                }
            }
        }
    }

    /// Level and number of the first occupied slot above level 0; of slots that begin together, that of the highest level:
    /// it is only half moved down, and what is still there belongs before the rest.
    fn first_above(&self) -> Option<(usize, u64)> {
        let levels = self.occupancy.levels_above_zero();
        let slots = levels.filter_map(|level| Some((level, self.occupancy.first_slot(level, self.cursor)?)));
        slots.min_by_key(|&(level, number)| (slot_start(number, level), std::cmp::Reverse(level)))
    }

    /// T of the only timer of a slot in ticks; `None` when there are more.
    fn lone_tick(&self, slot: usize) -> Option<u64> {
        let Anchor { first, last } = self.anchors[slot];
        (first == last).then(|| self.nodes[first as usize].tick)
    }

    /// Fires the first timer of the slot of level 0 that holds `tick`.
    #[inline]
    fn pop_first(&mut self, tick: u64) -> T {
        let slot = base_index(tick);
        let index = self.anchors[slot].first;
        let node = &mut self.nodes[index as usize];
        let (next, value) = (node.next, node.value);
        node.generation = node.generation.wrapping_add(1);
        node.next = self.free;
        self.free = index;
        self.len -= 1;
        if let Some(after) = self.nodes.get_mut(next as usize) {
            after.prev = MARK | slot as u32;
            self.anchors[slot].first = next;
        } else {
            self.vacate(slot);
        }
        value
    }

    /// Fires a timer of the heap.
    fn pop_late(&mut self, index: u32) -> (UnixNanos, T) {
        let node = &mut self.nodes[index as usize];
        let (tick, prev, value) = (node.tick, node.prev, node.value);
        node.generation = node.generation.wrapping_add(1);
        node.next = self.free;
        self.free = index;
        self.len -= 1;
        self.late.remove(&mut self.nodes, (prev & !LATE) as usize);
        (UnixNanos(self.unit.ns(tick)), value)
    }

    /// Fires the timers of the slot of level 0 that holds `tick`, at most `budget`. Gives their number.
    #[inline]
    fn sweep(&mut self, tick: u64, budget: usize, fire: &mut impl FnMut(UnixNanos, T)) -> usize {
        let at = UnixNanos(self.unit.ns(tick));
        let slot = base_index(tick);
        let next = self.anchors[slot].first;
        let mut sweep = Sweep { wheel: self, slot, next, last: next, fired: 0 };
        while sweep.fired < budget
            && let Some(node) = sweep.wheel.nodes.get_mut(sweep.next as usize)
        {
            node.generation = node.generation.wrapping_add(1);
            let value = node.value;
            sweep.last = sweep.next;
            sweep.next = node.next;
            sweep.fired += 1;
            fire(at, value);
        }
        sweep.fired
    }

    /// Moves the cursor up to `tick`. No timer lies before it, and none is on a higher level in its slots, except one
    /// that is about to fire.
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
        let slot = slot_index(number, level);
        let mut index = self.anchors[slot].first;
        let before = *budget;
        while let Some(node) = self.nodes.get_mut(index as usize) {
            if *budget == 0 {
                node.prev = MARK | slot as u32;
                self.anchors[slot].first = index;
                self.moves += before as u64;
                return false;
            }
            *budget -= 1;
            let next = node.next;
            let below = slot_index(slot_number(node.tick, level - 1), level - 1);
            let last = append(&mut self.anchors, below, index, node);
            if let Some(before) = self.nodes.get_mut(last as usize) {
                before.next = index;
            } else {
                // When to look at it is known at the end of the call, which is before `wake_ns` and `look_ns`.
                self.anchors[below].first = index;
                if level == 1 {
                    self.occupancy.set_base(below);
                } else {
                    self.occupancy.set_above(below, level - 1);
                }
            }
            index = next;
        }
        self.moves += (before - *budget) as u64;
        if !self.occupancy.is_empty_at(slot) {
            self.vacate(slot);
        }
        self.drained[level] = number + 1;
        true
    }

    /// Nothing is due at tick `now`: moves the cursor there, moves timers down ahead of time, a bounded number, and sets
    /// when to look again.
    ///
    /// A slot may be moved down while the cursor is in the slot before it. Polled every tick, it is empty when it begins:
    /// a call moves the part of all pending timers that the ticks since the last call are of those that are left.
    fn look_ahead(&mut self, now: u64, budget: &mut usize) {
        let elapsed = now - self.cursor;
        self.advance(now);
        self.pass_empty_slots();
        let mut moves = LOOK_AHEAD_MOVES_MAX.min(*budget);
        // From the bottom: the lower the level, the sooner the cursor is there.
        for level in self.occupancy.levels_above_zero() {
            let number = self.drained[level];
            if self.is_next(level) && !self.occupancy.is_empty_at(slot_index(number, level)) {
                let left = slot_start(number, level) - now;
                let wanted = u64::from(self.len).saturating_mul(elapsed.max(1)).div_ceil(left).max(LOOK_AHEAD_MOVES);
                let allowed = moves.min(usize::try_from(wanted).unwrap_or(usize::MAX));
                let mut unused = allowed;
                self.drain(level, &mut unused);
                moves -= allowed - unused;
                *budget -= allowed - unused;
            }
        }
        let mut look_ns = u64::MAX;
        for level in self.occupancy.levels_above_zero() {
            if let Some(number) = self.occupancy.first_slot(level, self.cursor) {
                // Where work is left now, it goes on in the next tick.
                look_ns = look_ns.min(self.begin_ns(level, number).max(self.unit.ns(now) + self.unit.ns));
            }
        }
        self.look_ns = look_ns;
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

    /// Whether the slot right after the cursor's is the next that `level` may move down.
    fn is_next(&self, level: usize) -> bool {
        let number = self.drained[level];
        number == slot_number(self.cursor, level) + 1 && block_of(number, level) < self.drained[level + 1]
    }
}

/// The slot in which a timer belongs that is not before the cursor.
#[inline]
fn slot_for(drained: &[u64; DRAINED], cursor: u64, tick: u64) -> usize {
    // What belongs above level 0 is not before the first slot of level 1 that has not been moved down.
    if tick >> BASE_BITS < drained[1] {
        return base_index(tick);
    }
    // The block that a level shares with the cursor has been moved down to it, so that this level is never too
    // low. It is too high where slots were moved down ahead of time, and level 1 never is.
    let mut above = Above::between(tick, cursor);
    while above.number(tick) < drained[above.level()] {
        above = above.below();
    }
    above.index(tick)
}

/// The first timers of a slot while they fire: unlinked when it is dropped, also by a panic of what they fire into.
struct Sweep<'a, T: Pod> {
    wheel: &'a mut Wheel<T>,
    slot: usize,
    /// First timer that has not fired, or the mark of the slot.
    next: u32,
    /// Last timer that fired. Means nothing when none has.
    last: u32,
    fired: usize,
}

impl<T: Pod> Drop for Sweep<'_, T> {
    #[inline]
    fn drop(&mut self) {
        if self.fired == 0 {
            return;
        }
        let wheel = &mut *self.wheel;
        // The list is a list of free nodes as it stands.
        wheel.nodes[self.last as usize].next = wheel.free;
        wheel.free = wheel.anchors[self.slot].first;
        wheel.len -= self.fired as u32;
        if let Some(after) = wheel.nodes.get_mut(self.next as usize) {
            after.prev = MARK | self.slot as u32;
            wheel.anchors[self.slot].first = self.next;
        } else {
            wheel.vacate(self.slot);
        }
    }
}

impl<T> std::fmt::Debug for Wheel<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Wheel")
            .field("len", &self.len)
            .field("capacity", &self.nodes.len())
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
        // The cursor stands where the last timer has fired.
        wheel.schedule(UnixNanos(1_000), 9).unwrap();
        assert_eq!(wheel.pop_due(UnixNanos(1_000)), Some((UnixNanos(1_000), 9)));
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
        assert_eq!(Wheel::<u64>::new(1_000, 1_000_000).bytes(), 1_000 * 32 + ANCHORS * 8 + 4_000);
        const { assert!(ANCHORS * 8 <= 80 << 10, "the documented bound") };
    }

    #[test]
    fn a_tick_beyond_the_last_is_the_last() {
        let mut wheel = Wheel::<u64>::new(2, 1_000_000);
        let last = UnixNanos(u64::MAX / 1_000_000 * 1_000_000);
        for tick in [u64::MAX / 1_000_000 + 1, u64::MAX] {
            let handle = wheel.schedule_at_tick(tick, tick).unwrap();
            assert_eq!(wheel.get(handle), Some((last, &tick)));
        }
        assert_eq!(wheel.schedule_at_tick(0, 0), Err(WheelFull(2)));
        wheel.assert_invariants();
    }
}
