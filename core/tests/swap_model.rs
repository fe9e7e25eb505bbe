//! The swap of two blocks against two counts, and between two real threads. Its races are models of loom-tests.

use std::ops::Range;
use tapeline_core::swap;
use tapeline_core::testing::{CountingAlloc, allocations, for_seeds, without_allocation};

#[global_allocator]
static ALLOC: CountingAlloc = CountingAlloc;

fn run(seeds: Range<u64>, operations: u64) {
    let (mut answered, mut refused, mut abandoned) = (0, 0, 0);
    for_seeds(seeds, |_, prng| {
        let before = allocations();
        let (recorder, mut collector) = swap::pair(0u64, 0u64);
        assert!(allocations() > before, "the allocator counts");
        let mut recorder = Some(recorder);
        // The twin: what each side's block holds, and whether a swap was asked for.
        let (mut recording, mut held, mut is_pending) = (0u64, 0u64, false);
        for operation in 0..operations {
            match (prng.index(5), &mut recorder) {
                (0 | 1, Some(recorder)) => {
                    let value = prng.in_range(1..100);
                    without_allocation(|| recorder.with(|sum| *sum += value));
                    recording += value;
                }
                (2, Some(recorder)) => {
                    assert_eq!(without_allocation(|| recorder.pass()), is_pending);
                    if is_pending {
                        std::mem::swap(&mut recording, &mut held);
                        is_pending = false;
                        answered += 1;
                    }
                }
                (3, _) => {
                    // With the recorder gone every request is answered at once.
                    assert_eq!(without_allocation(|| collector.request()), !is_pending);
                    refused += u64::from(is_pending);
                    is_pending = recorder.is_some();
                    if recorder.is_none() {
                        std::mem::swap(&mut recording, &mut held);
                    }
                }
                _ => {
                    let seen = without_allocation(|| collector.with_held(std::mem::take));
                    assert_eq!(seen, (!is_pending).then_some(held));
                    assert_eq!(collector.is_held(), !is_pending);
                    if !is_pending {
                        held = 0;
                    }
                }
            }
            if operation == operations / 50 * 49 {
                recorder = None;
                abandoned += u64::from(is_pending);
                if std::mem::take(&mut is_pending) {
                    std::mem::swap(&mut recording, &mut held);
                }
            }
            assert_eq!(collector.is_abandoned(), recorder.is_none());
        }
    });
    assert!(answered > 10_000 && refused > 10_000 && abandoned > 10, "{answered} {refused} {abandoned}");
}

#[test]
fn agrees_with_its_twin_over_ten_million_operations() {
    run(0..2_000, 5_000);
}

#[test]
#[ignore = "soak: 100 million operations; cargo test -p tapeline-core --test swap_model -- --ignored"]
fn soak_agrees_with_its_twin_over_a_hundred_million_operations() {
    run(10_000..10_200, 500_000);
}

#[test]
fn two_threads_lose_no_value() {
    const VALUES: u64 = 200_000;
    let (mut recorder, mut collector) = swap::pair(vec![0u64; 64], vec![0u64; 64]);
    std::thread::scope(|scope| {
        scope.spawn(move || {
            for value in 0..VALUES {
                recorder.with(|counts| counts[value as usize % 64] += value);
                recorder.pass();
            }
        });
        let mut total = vec![0u64; 64];
        let mut gone = 0;
        // The recorder's last block, and the one before, are there by two more requests.
        while gone < 2 {
            gone += u32::from(collector.is_abandoned());
            collector.request();
            while !collector.is_held() {
                std::thread::yield_now();
            }
            collector.with_held(|counts| {
                total.iter_mut().zip(counts).for_each(|(total, count)| *total += std::mem::take(count));
            });
        }
        assert_eq!(total.iter().sum::<u64>(), VALUES * (VALUES - 1) / 2);
        for (index, sum) in total.iter().enumerate() {
            assert_eq!(*sum, (index as u64..VALUES).step_by(64).sum::<u64>(), "count {index}");
        }
    });
}
