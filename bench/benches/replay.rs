//! Whole-engine replay: from decoded blocks to the last handler, unpaced, default pipeline, on plain threads.
//!
//! A control runs beside it: the same slots through a bare ring between two threads. What is between the two is the engine.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;
use tapeline_core::bus::BusBuilder;
use tapeline_core::catalog::Catalog;
use tapeline_core::event::Slot;
use tapeline_core::ring;
use tapeline_runtime::driver::Driver;
use tapeline_runtime::engine::{self, Setup};
use tapeline_runtime::ingest::Capture;
use tapeline_runtime::input::generate::{Config, GenerateInput};
use tapeline_runtime::input::{Input, MESSAGE_SLOTS_MAX, SlotBuf, Status};
use tapeline_runtime::pacer::Pace;
use tapeline_runtime::pipeline::{Parameters, default_pipeline};

const EVENTS: u64 = 500_000;

fn config() -> Config {
    Config { events: EVENTS, symbols: 500, ..Config::default() }
}

/// A session from memory, so that decoding is no part of the measurement.
struct Memory {
    slots: Arc<Vec<Slot>>,
    at: usize,
    names: Arc<Catalog>,
}

impl Input for Memory {
    fn format(&self) -> &'static str {
        "memory"
    }

    fn read(
        &mut self,
        catalog: &mut Catalog,
        out: &mut SlotBuf,
    ) -> Result<Status, tapeline_runtime::input::InputError> {
        if self.at == 0 {
            // The engine has interned its handlers' sources already, as `session` did: the ids come out the same.
            for id in 1..self.names.symbols() as u32 {
                let text = self.names.symbol_text(tapeline_core::units::SymbolId(id));
                catalog.symbol(text).expect("the catalog has room");
            }
            for id in 1..self.names.sources() as u8 {
                let id = tapeline_core::units::SourceId(id);
                catalog.source(self.names.source_name(id), self.names.seq_rule(id)).expect("the catalog has room");
            }
        }
        // Whole messages: up to the last event that ends one.
        let rest = &self.slots[self.at..];
        let mut take = rest.len().min(out.remaining());
        while take < rest.len() && take > 0 && rest[take].kind() == tapeline_core::event::Kind::CONTINUATION {
            take -= 1;
        }
        out.extend(&rest[..take]);
        self.at += take;
        Ok(if self.at == self.slots.len() { Status::End } else { Status::More })
    }

    fn tally(&self) -> tapeline_runtime::input::Tally {
        tapeline_runtime::input::Tally::default()
    }
}

fn session() -> (Arc<Vec<Slot>>, Arc<Catalog>) {
    let mut input = GenerateInput::new(&config()).expect("the configuration is in range");
    let mut catalog = Catalog::new(1 << 12);
    default_pipeline(BusBuilder::new(2), &Parameters::default()).build(&mut catalog).expect("the catalog has room");
    let (mut all, mut buf) = (Vec::new(), SlotBuf::with_capacity(MESSAGE_SLOTS_MAX));
    loop {
        buf.clear();
        let status = input.read(&mut catalog, &mut buf).expect("a generated session reads");
        all.extend_from_slice(buf.slots());
        if status == Status::End {
            return (all.into(), catalog.into());
        }
    }
}

/// Replays the session once. Returns the wall time of the loops in ns.
fn run(slots: &Arc<Vec<Slot>>, names: &Arc<Catalog>, shards: usize) -> u64 {
    let (slots, names) = (Arc::clone(slots), Arc::clone(names));
    let open = Box::new(move || {
        let memory = Memory { slots: Arc::clone(&slots), at: 0, names: Arc::clone(&names) };
        Ok(Box::new(memory) as Box<dyn Input>)
    });
    let mut setup = Setup::new(vec![Capture { path: "memory".to_owned(), open }]);
    setup.pace = Pace::Max;
    setup.driver = Some(Driver::Threads);
    setup.shards = Some(shards);
    setup.symbols_max = 1 << 12;
    let pipeline = |bus| default_pipeline(bus, &Parameters::default());
    let run = engine::run(setup, pipeline, |_, _, _| {}).expect("the engine runs");
    black_box(run).elapsed_ns
}

fn replay(criterion: &mut Criterion) {
    let (slots, names) = session();
    let mut group = criterion.benchmark_group("replay");
    group.throughput(Throughput::Elements(EVENTS)).sample_size(10);
    for shards in [1, 2] {
        group.bench_function(format!("default pipeline, shards {shards}"), |bencher| {
            bencher.iter_custom(|runs| {
                // The loops alone: neither the start of the engine, nor its first touch of memory.
                (0..runs).map(|_| Duration::from_nanos(run(&slots, &names, shards))).sum()
            });
        });
    }
    group.bench_function("control: a bare ring", |bencher| {
        bencher.iter(|| {
            let (mut producer, mut consumer) = ring::channel(4096);
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    let mut rest = &slots[..];
                    while !rest.is_empty() {
                        let sent = producer.push_batch(rest, None);
                        rest = &rest[sent..];
                        if sent == 0 {
                            std::thread::yield_now();
                        }
                    }
                });
                let (mut batch, mut taken, mut sum) = ([Slot::ZERO; 64], 0, 0u64);
                while taken < slots.len() {
                    let count = consumer.pop_batch(&mut batch, None);
                    sum = batch[..count].iter().fold(sum, |sum, slot| sum.wrapping_add(slot.seq));
                    taken += count;
                    if count == 0 {
                        std::thread::yield_now();
                    }
                }
                black_box(sum)
            })
        });
    });
    group.finish();
}

criterion_group!(benches, replay);
criterion_main!(benches);
