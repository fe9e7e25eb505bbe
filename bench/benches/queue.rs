//! The request queue: for changes of our own code; comparisons are the duels' business.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use tapeline_bench::requests::{Clear, Hold, Keys, Mutable, Mutate, Ours, Whole};
use tapeline_bench::single::Meter;

/// Requests that stay queued.
const QUEUED: usize = 10_000;

fn queue(criterion: &mut Criterion) {
    fn bench<Q: Mutable>(criterion: &mut Criterion, name: &str) {
        let mut group = criterion.benchmark_group("queue");
        group.throughput(Throughput::Elements(64));
        group.bench_function(BenchmarkId::new("pairs of push and pop", name), |bencher| {
            let (mut work, mut meter) = (Hold::<Q>::new(QUEUED, Keys::Aged, 1), Meter::new(1));
            bencher.iter(|| work.step(&mut meter));
        });
        group.throughput(Throughput::Elements(160));
        group.bench_function(BenchmarkId::new("64 pushes, 48 pops, 32 changes, 16 removals", name), |bencher| {
            let (mut work, mut meter) = (Mutate::<Q>::new(QUEUED, 1), Meter::new(4));
            bencher.iter(|| work.step(&mut meter));
        });
        group.finish();
    }
    bench::<Ours>(criterion, "heap");
    bench::<Whole<true>>(criterion, "whole queue");
    criterion.bench_function("queue/a symbol of 10 is cleared and queued again, of 10,000", |bencher| {
        let (mut work, mut meter) = (Clear::<Whole<true>>::new(QUEUED / 10, 1), Meter::new(1));
        bencher.iter(|| work.step(&mut meter));
    });
}

criterion_group!(benches, queue);
criterion_main!(benches);
