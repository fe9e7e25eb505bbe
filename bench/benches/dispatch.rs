//! One event to its handlers: for changes of our own code; comparisons are the duels' business.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use tapeline_bench::dispatch::{Dispatcher, Dynamic, Static, Work};
use tapeline_core::limits::HANDLERS_MAX;

fn dispatch(criterion: &mut Criterion) {
    fn bench<D: Dispatcher>(criterion: &mut Criterion, name: &str, handlers: usize) {
        let mut work = Work::<D>::new(handlers);
        let mut group = criterion.benchmark_group("dispatch");
        group.throughput(Throughput::Elements((work.batch().1.len() * handlers) as u64));
        group.bench_function(BenchmarkId::new(name, handlers), |bencher| {
            bencher.iter(|| {
                let (bus, sizes) = work.batch();
                bus.dispatch(black_box(sizes));
            });
        });
        group.finish();
    }
    for handlers in [1, 3, 10] {
        bench::<Static>(criterion, "static chain", handlers);
    }
    for handlers in [1, 3, 10, HANDLERS_MAX] {
        bench::<Dynamic>(criterion, "dynamic", handlers);
    }
}

criterion_group!(benches, dispatch);
criterion_main!(benches);
