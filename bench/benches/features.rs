//! Twenty indicators a tick: for changes of our own code; comparisons are the duels' business.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use tapeline_bench::features::{BATCH, Ours, Work, run};

fn features(criterion: &mut Criterion) {
    let mut work = Work::<Ours>::new(1);
    let mut group = criterion.benchmark_group("features");
    group.throughput(Throughput::Elements(BATCH as u64));
    group.bench_function("twenty indicators", |bencher| {
        bencher.iter(|| {
            let (indicators, ticks) = work.batch();
            run(indicators, black_box(ticks));
        });
    });
    group.finish();
}

criterion_group!(benches, features);
criterion_main!(benches);
