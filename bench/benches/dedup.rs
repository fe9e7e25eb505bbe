//! The dedup window: for changes of our own code; comparisons are the duels' business.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use tapeline_bench::dedup::{METRICS, Ours, Stream};
use tapeline_bench::single::Meter;

fn dedup(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("dedup");
    for population in [1_000, 100_000] {
        let (mut stream, mut meter) = (Stream::<Ours>::new(population, 1), Meter::new(METRICS.len()));
        group.throughput(Throughput::Elements(64));
        group.bench_function(BenchmarkId::new("stream with 5 % duplicates", population), |bencher| {
            bencher.iter(|| stream.step(&mut meter));
        });
        group.throughput(Throughput::Elements(128));
        group.bench_function(BenchmarkId::new("hits, 64 one by one and 64 in calls of 16", population), |bencher| {
            bencher.iter(|| stream.hits(&mut meter));
        });
    }
    group.finish();
}

criterion_group!(benches, dedup);
criterion_main!(benches);
