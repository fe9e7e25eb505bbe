//! Nothing is allocated after construction. The model tests check every call; here are large wheels and long runs.

use tapeline_core::testing::{CountingAlloc, Prng, allocations};
use tapeline_core::units::UnixNanos;
use tapeline_core::wheel::{TimerHandle, Wheel};

#[global_allocator]
static ALLOC: CountingAlloc = CountingAlloc;

#[test]
fn nothing_is_allocated_after_construction() {
    let before = allocations();
    let mut wheel = Wheel::<[u64; 4]>::new(10_000, 1_000);
    let constructed = allocations();
    assert!(constructed > before, "the counter counts");

    let mut rng = Prng::new(1);
    let mut handles = [TimerHandle::NONE; 20_000];
    let (mut now, mut fired, mut refused) = (0u64, 0usize, 0usize);
    for i in 0..2_000_000u64 {
        let slot = rng.index(handles.len());
        let deadline = UnixNanos((now + rng.log_uniform(30)).saturating_sub(rng.log_uniform(20)));
        match rng.in_range(0..8) {
            0..4 => match wheel.schedule(deadline, [i; 4]) {
                Ok(handle) => handles[slot] = handle,
                Err(_) => refused += 1,
            },
            4 => _ = wheel.cancel(handles[slot]),
            5 => _ = wheel.reschedule(handles[slot], deadline),
            6 => fired += wheel.poll(UnixNanos(now), 64, |_, _| ()).fired,
            _ => fired += usize::from(wheel.pop_due(UnixNanos(now)).is_some()),
        }
        now += rng.in_range(0..40);
    }
    assert!(fired > 10_000 && refused > 10_000, "fired={fired} refused={refused}");
    fired += wheel.poll(UnixNanos(u64::MAX), usize::MAX, |_, _| ()).fired;
    let after = allocations();
    assert_eq!(after - constructed, 0, "allocations after construction; fired={fired}");
    wheel.assert_invariants();
}
