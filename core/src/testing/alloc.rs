//! An allocator that counts, to prove that nothing is allocated where nothing may be.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    /// Allocations of this thread. Constant and without a destructor, so that reading it allocates nothing.
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

/// The system's allocator, with a count per thread of what asks for memory (`alloc`, `alloc_zeroed`, `realloc`).
///
/// ```
/// use tapeline_core::testing::{CountingAlloc, allocations};
///
/// #[global_allocator]
/// static ALLOC: CountingAlloc = CountingAlloc;
///
/// let before = allocations();
/// drop(vec![0u8; 100]);
/// assert!(allocations() > before);
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct CountingAlloc;

/// Allocations that the calling thread has made so far; always 0 where [`CountingAlloc`] is not the global allocator,
/// so that a test must also see it move.
#[must_use]
pub fn allocations() -> u64 {
    ALLOCATIONS.with(Cell::get)
}

/// Runs `f`, which must not allocate. Proves something only where [`CountingAlloc`] is the global allocator.
///
/// # Panics
/// When `f` allocates.
#[track_caller]
pub fn without_allocation<R>(f: impl FnOnce() -> R) -> R {
    let before = allocations();
    let result = f();
    assert_eq!(allocations() - before, 0, "allocations in a call that must not allocate");
    result
}

fn count() {
    // A thread that is being torn down has no cell any more, and no test that counts.
    let _ = ALLOCATIONS.try_with(|allocations| allocations.set(allocations.get() + 1));
}

// SAFETY: every method passes its arguments on to `System`, which keeps the trait's promises; counting neither
// allocates nor unwinds.
unsafe impl GlobalAlloc for CountingAlloc {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller keeps the promises that `System` asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: as in `alloc`.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        count();
        // SAFETY: as in `alloc`.
        unsafe { System.realloc(block, layout, bytes) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: as in `alloc`.
        unsafe { System.dealloc(block, layout) }
    }
}
