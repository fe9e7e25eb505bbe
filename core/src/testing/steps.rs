//! How many elements an operation looks at.

use std::cell::Cell;

thread_local! {
    /// Steps of this thread.
    static STEPS: Cell<u64> = const { Cell::new(0) };
}

pub(crate) fn count_step() {
    STEPS.set(STEPS.get() + 1);
}

/// Runs `f` and says how many elements of slabs, chains and heaps it looked at: a measure of its work that is the same on every
/// machine, in every profile and under any load.
///
/// ```
/// use tapeline_core::slab::Slab;
/// use tapeline_core::testing::steps_of;
///
/// let mut slab = Slab::new(100, 0);
/// let handle = slab.insert(7_u32).unwrap();
/// while slab.insert(8).is_ok() {}
/// let (found, steps) = steps_of(|| slab.get(handle).copied());
/// assert!(found == Some(7) && steps <= 2);
/// let (found, steps) = steps_of(|| slab.iter().find(|(_, value)| **value == 9).is_some());
/// assert!(!found && steps >= 100);
/// ```
pub fn steps_of<R>(f: impl FnOnce() -> R) -> (R, u64) {
    let before = STEPS.get();
    let result = f();
    (result, STEPS.get() - before)
}
