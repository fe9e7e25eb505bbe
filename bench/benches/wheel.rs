//! The timing wheel: for changes of our own code; comparisons are the duels' business.

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use tapeline_bench::stats::Rng;
use tapeline_bench::timers::{BATCH, Ours, Population, delays_ns};
use tapeline_core::limits::TICK_NS;
use tapeline_core::units::UnixNanos;
use tapeline_core::wheel::Wheel;

/// Timers that stay pending.
const PENDING: usize = 10_000;

fn wheel(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("wheel");
    group.throughput(Throughput::Elements(BATCH as u64));
    let delays = delays_ns(1 << 16, &mut Rng::new(1));

    group.bench_function("schedule and cancel", |bencher| {
        let mut wheel = Wheel::<u64>::new(PENDING + BATCH, TICK_NS);
        for delay in &delays[..PENDING] {
            wheel.schedule(UnixNanos(*delay), 0).expect("there is room");
        }
        let mut batches = delays.chunks(BATCH).cycle();
        let mut handles = Vec::with_capacity(BATCH);
        bencher.iter(|| {
            let batch = batches.next().expect("a cycle");
            handles.extend(batch.iter().map(|delay| wheel.schedule(UnixNanos(*delay), 7).expect("there is room")));
            for handle in handles.drain(..) {
                assert_eq!(wheel.cancel(handle), Some(7));
            }
        });
    });

    group.bench_function("churn: 64 scheduled, 57 cancelled, the rest fire", |bencher| {
        let mut population = Population::<Ours>::new(PENDING, 1);
        bencher.iter(|| {
            population.schedule_batch(BATCH, None);
            population.cancel_batch(BATCH * 9 / 10, None);
            population.pass_time(None);
        });
    });

    group.throughput(Throughput::Elements(PENDING as u64));
    group.bench_function("10,000 due at once", |bencher| {
        let full = || {
            let mut wheel = Wheel::<u64>::new(PENDING, TICK_NS);
            for delay in &delays[..PENDING] {
                wheel.schedule(UnixNanos(*delay), *delay).expect("there is room");
            }
            wheel
        };
        let fire = |mut wheel: Wheel<u64>| {
            let mut sum = 0u64;
            while let Some((_, value)) = wheel.pop_due(UnixNanos(600_000 * TICK_NS)) {
                sum = sum.wrapping_add(value);
            }
            assert!(wheel.is_empty());
            black_box(sum)
        };
        bencher.iter_batched(full, fire, BatchSize::LargeInput);
    });

    group.throughput(Throughput::Elements(1));
    group.bench_function("empty tick", |bencher| {
        let mut wheel = Wheel::<u64>::new(1, TICK_NS);
        wheel.schedule(UnixNanos(u64::MAX), 0).expect("there is room");
        let mut now_ns = 0;
        bencher.iter(|| {
            now_ns += TICK_NS;
            black_box(wheel.pop_due(UnixNanos(now_ns)))
        });
    });
    group.finish();
}

criterion_group!(benches, wheel);
criterion_main!(benches);
