//! The command queue against a `VecDeque`, and between two real threads. Its races are models of loom-tests.

use proptest::prelude::*;
use std::collections::VecDeque;
use std::ops::Range;
use tapeline_core::commands::{self, COMMAND_BYTES_MAX, SendError};
use tapeline_core::testing::{CountingAlloc, for_seeds, without_allocation};

#[global_allocator]
static ALLOC: CountingAlloc = CountingAlloc;

fn run(seeds: Range<u64>, operations: u64, invariants_every: u64) {
    let (mut full, mut empty) = (0, 0);
    for_seeds(seeds, |seed, prng| {
        let capacity = 1 << (seed % 7);
        let (mut sender, mut receiver) = commands::channel::<[u64; 7]>(capacity);
        assert_eq!(sender.capacity(), capacity);
        let mut twin = VecDeque::with_capacity(capacity);
        for number in 0..operations {
            let command = [number, !number, 2, 3, 4, 5, number << 7];
            if prng.one_in(2) {
                let expected = if twin.len() == capacity { Err(SendError::Full) } else { Ok(()) };
                assert_eq!(without_allocation(|| sender.send(command)), expected);
                match expected {
                    Ok(()) => twin.push_back(command),
                    Err(_) => full += 1,
                }
            } else {
                let taken = without_allocation(|| receiver.receive());
                assert_eq!(taken, twin.pop_front());
                empty += u64::from(taken.is_none());
            }
            assert_eq!(sender.waiting(), twin.len());
            if number % invariants_every == 0 {
                sender.assert_invariants();
                receiver.assert_invariants();
            }
        }
        drop(receiver);
        assert!(sender.is_abandoned());
        assert_eq!(sender.send([0; 7]), Err(SendError::Gone));
        assert_eq!(sender.waiting(), twin.len(), "what was never taken is counted");
    });
    assert!(full > 1_000 && empty > 1_000, "{full} {empty}");
}

#[test]
fn agrees_with_its_twin_with_full_invariants_after_each_operation() {
    run(0..70, 10_000, 1);
}

#[test]
fn agrees_with_its_twin_over_ten_million_operations() {
    run(100..110, 1_000_000, 4_096);
}

#[test]
#[ignore = "soak: 100 million operations; cargo test -p tapeline-core --test commands_model -- --ignored"]
fn soak_agrees_with_its_twin_over_a_hundred_million_operations() {
    run(1_000..1_100, 1_000_000, 4_096);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

    /// Sends and receives: shrinks to the fewest that break the order.
    #[test]
    fn any_operations_agree_with_a_vec_deque(shift in 0u32..4, sends in prop::collection::vec(any::<bool>(), 1..60)) {
        let (mut sender, mut receiver) = commands::channel::<u64>(1 << shift);
        let mut twin = VecDeque::new();
        for (number, send) in (0..).zip(sends) {
            if send {
                let has_room = twin.len() < 1 << shift;
                prop_assert_eq!(sender.send(number).is_ok(), has_room);
                twin.extend(has_room.then_some(number));
            } else {
                prop_assert_eq!(receiver.receive(), twin.pop_front());
            }
            sender.assert_invariants();
            receiver.assert_invariants();
        }
    }
}

#[test]
fn commands_of_every_size_keep_their_bytes() {
    fn round_trip<const N: usize>() {
        let (mut sender, mut receiver) = commands::channel::<[[u8; N]; 1]>(1);
        let command = [std::array::from_fn(|at| at as u8 ^ 0xa5)];
        sender.send(command).unwrap();
        assert_eq!(receiver.receive(), Some(command));
    }
    round_trip::<0>();
    round_trip::<1>();
    round_trip::<8>();
    round_trip::<13>();
    round_trip::<32>();
    round_trip::<COMMAND_BYTES_MAX>();
}

#[test]
fn a_capacity_that_is_no_power_of_two_is_refused() {
    for capacity in [0, 3, 6, 1 << 25, 1 << 32, usize::MAX] {
        let made = std::panic::catch_unwind(|| _ = commands::channel::<u64>(capacity));
        assert!(made.is_err(), "{capacity}");
    }
    assert!(commands::channel::<u64>(1).0.bytes() > 0);
}

#[test]
fn two_threads_keep_order_and_lose_nothing() {
    const COMMANDS: u64 = 20_000;
    let (mut sender, mut receiver) = commands::channel::<[u64; 2]>(4);
    std::thread::scope(|scope| {
        scope.spawn(move || {
            for number in 0..COMMANDS {
                while let Err(error) = sender.send([number, !number]) {
                    assert_eq!(error, SendError::Full);
                    std::thread::yield_now();
                }
            }
        });
        let mut next = 0;
        loop {
            let is_last = receiver.is_abandoned();
            match receiver.receive() {
                Some(command) => {
                    assert_eq!(command, [next, !next]);
                    next += 1;
                }
                None if is_last => break,
                None => std::thread::yield_now(),
            }
        }
        assert_eq!(next, COMMANDS);
    });
}
