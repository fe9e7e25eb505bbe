//! The ring on one thread: cost of the calls themselves, without a second core's cache misses. For changes of our own
//! code; comparisons are the duels' business.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use tapeline_core::event::Slot;
use tapeline_core::ring;

/// Events per iteration.
const EVENTS: usize = 64;

fn ring(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("ring");
    group.throughput(Throughput::Elements(EVENTS as u64));
    let slots: Vec<Slot> = (0..EVENTS as u64).map(|seq| Slot { seq, ..Slot::ZERO }).collect();
    let mut out = vec![Slot::ZERO; EVENTS];

    group.bench_function("push and pop one by one", |bencher| {
        let (mut producer, mut consumer) = ring::channel(1024);
        bencher.iter(|| {
            for slot in black_box(&slots) {
                producer.push(std::slice::from_ref(slot)).expect("there is room");
            }
            for out in &mut out {
                assert_eq!(consumer.pop(std::slice::from_mut(out)), 1);
            }
            black_box(&out);
        });
    });

    group.bench_function("push_batch and pop_batch", |bencher| {
        let (mut producer, mut consumer) = ring::channel(1024);
        bencher.iter(|| {
            assert_eq!(producer.push_batch(black_box(&slots), None), EVENTS);
            assert_eq!(consumer.pop_batch(&mut out, None), EVENTS);
            black_box(&out);
        });
    });

    group.bench_function("push_batch and pop_batch with dues", |bencher| {
        let (mut producer, mut consumer) = ring::channel_with_dues(1024);
        let dues = vec![7; EVENTS];
        let mut out_dues = vec![0; EVENTS];
        bencher.iter(|| {
            assert_eq!(producer.push_batch(black_box(&slots), Some(&dues)), EVENTS);
            assert_eq!(consumer.pop_batch(&mut out, Some(&mut out_dues)), EVENTS);
            black_box((&out, &out_dues));
        });
    });

    let mut span: Vec<Slot> = vec![Slot::continuation([5; 7]); 4];
    span[0] = Slot::ZERO;
    span[0].set_span(4);
    group.throughput(Throughput::Elements(1));
    group.bench_function("a span of four slots", |bencher| {
        let (mut producer, mut consumer) = ring::channel(1024);
        bencher.iter(|| {
            producer.push(black_box(&span)).expect("there is room");
            assert_eq!(consumer.pop(&mut out), 4);
            black_box(&out);
        });
    });
    group.finish();
}

criterion_group!(benches, ring);
criterion_main!(benches);
