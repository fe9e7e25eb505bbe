//! A generated session allocates in its constructor and never again. One test in this file: it owns the allocator.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use tapeline_core::catalog::Catalog;
use tapeline_core::event::events;
use tapeline_runtime::input::generate::{Config, GenerateInput, Mix};
use tapeline_runtime::input::{Input, SlotBuf, Status};

/// The system's allocator, and how often it was asked.
struct Counting;

thread_local! {
    /// Calls of this thread: the test harness has threads of its own, which allocate when they like.
    static CALLS: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: every call is handed on unchanged to the system's allocator; the counter, a cell without a
// destructor that needs no allocation, has no part in what is returned.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        CALLS.set(CALLS.get() + 1);
        // SAFETY: the caller's promises are those that the system's allocator asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: as above; `ptr` came from the system's allocator.
        unsafe { System.dealloc(ptr, layout) }
    }

    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        CALLS.set(CALLS.get() + 1);
        // SAFETY: as above; `ptr` came from the system's allocator.
        unsafe { System.realloc(ptr, layout, new_size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn nothing_is_allocated_after_construction() {
    let mix = Mix { news: 5_000, status: 5_000, gap: 5_000, ..Mix::default() };
    let config = Config { events: 1_000_000, mix, ..Config::default() };
    let before = CALLS.get();
    let mut input = GenerateInput::new(&config).unwrap();
    let mut catalog = Catalog::new(2_000);
    let mut out = SlotBuf::with_capacity(4_096);
    assert!(CALLS.get() > before, "the counter counts");

    let before = CALLS.get();
    let mut count = 0;
    loop {
        out.clear();
        let status = input.read(&mut catalog, &mut out);
        count += events(out.slots()).count();
        match status {
            Ok(Status::More) => {}
            Ok(Status::End) => break,
            Err(_) => unreachable!("the catalog has room"),
        }
    }
    let calls = CALLS.get() - before;
    assert_eq!((count, calls), (1_000_000, 0), "events, allocations");
}
