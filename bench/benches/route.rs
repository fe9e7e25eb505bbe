//! From a symbol to its shard: for changes of our own code; comparisons are the duels' business.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use tapeline_bench::route::{ById, Ours, Work, route_all};

/// Messages per iteration.
const MESSAGES: usize = 512;

fn route(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("route");
    group.throughput(Throughput::Elements(MESSAGES as u64));
    group.bench_function("by text, 10,000 symbols", |bencher| {
        let mut work = Work::<Ours>::new(1);
        bencher.iter(|| {
            let (router, messages) = work.batch(MESSAGES);
            black_box(route_all(router, black_box(messages)))
        });
    });
    group.bench_function("by id, 10,000 symbols", |bencher| {
        let mut work = Work::<ById>::new(1);
        bencher.iter(|| {
            let (router, messages) = work.batch(MESSAGES);
            black_box(route_all(router, black_box(messages)))
        });
    });
    group.finish();
}

criterion_group!(benches, route);
criterion_main!(benches);
