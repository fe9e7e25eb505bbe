//! `ring`: events per second through a queue whose two ends never rest (P2).

use crate::clock::{Disturbance, Farewell, GapDetector, Waiter, Watch, pin};
use crate::contender::{Contender, Event, Item, Ours, Receiver, Sender};
use crate::controls::line_stream;
use crate::duel::{self, Entry, Options, Role, Slice};
use crate::report::{Claim, Limit, Rival, Table};
use std::cell::Cell;
use std::sync::Barrier;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

/// The metrics of a slice.
pub const METRICS: [&str; 1] = ["events_per_second"];

/// Batch sizes of the duel.
pub const BATCHES: [usize; 4] = [1, 8, 64, 256];

/// Largest batch.
const BATCH_MAX: usize = 256;

/// Events between two looks of the gap detector: far less than its bound takes.
const LOOK_EVERY: u64 = 64;

/// One slice: `count` items in batches of `batch`, order and content checked.
///
/// # Panics
/// When an item is lost, repeated, reordered or changed, or when `batch` is 0 or above 256.
#[must_use]
pub fn slice<T: Item, C: Contender<T>>(options: &Options, batch: usize, count: u64) -> Slice {
    assert!((1..=BATCH_MAX).contains(&batch), "batches of 1 to {BATCH_MAX}");
    let (mut tx, mut rx) = C::channel(options.capacity);
    two_threads(
        options,
        count,
        |waiter, gap| {
            let mut items = [T::default(); BATCH_MAX];
            let (mut seq, mut looked) = (0, 0);
            while seq < count {
                let sent = if batch == 1 {
                    items[0].set(seq);
                    while !tx.send(&items[0]) {
                        waiter.failed();
                    }
                    1
                } else {
                    let items = &mut items[..batch.min((count - seq) as usize)];
                    for (offset, item) in items.iter_mut().enumerate() {
                        item.set(seq + offset as u64);
                    }
                    let mut sent = 0;
                    while sent < items.len() {
                        match tx.send_batch(&items[sent..]) {
                            0 => waiter.failed(),
                            more => sent += more,
                        }
                    }
                    sent
                };
                seq += sent as u64;
                if seq - looked >= LOOK_EVERY {
                    looked = seq;
                    gap.look();
                }
            }
        },
        |waiter, gap| {
            let mut items = [T::default(); BATCH_MAX];
            let (mut seq, mut looked) = (0, 0);
            while seq < count {
                let received = if batch == 1 {
                    while !rx.receive(&mut items[0]) {
                        waiter.failed();
                    }
                    1
                } else {
                    rx.receive_batch(&mut items[..batch])
                };
                if received == 0 {
                    waiter.failed();
                }
                for item in &items[..received] {
                    assert!(item.seq() == seq, "item {} where {seq} was expected", item.seq());
                    assert!(item.sum() == u64::MAX, "item {seq} was changed on the way");
                    seq += 1;
                }
                if seq - looked >= LOOK_EVERY {
                    looked = seq;
                    gap.look();
                }
            }
        },
    )
}

/// One slice of control C2.
///
/// # Panics
/// When the sum of the lines is wrong.
#[must_use]
pub fn line_slice(options: &Options, batch: usize, count: u64) -> Slice {
    let (mut writer, mut reader) = line_stream();
    let batch = batch as u64;
    two_threads(
        options,
        count,
        |waiter, gap| {
            let (mut seq, mut looked) = (0, 0);
            while seq < count {
                let lines = batch.min(count - seq);
                while !writer.fill(seq, lines) {
                    waiter.failed();
                }
                seq += lines;
                if seq - looked >= LOOK_EVERY {
                    looked = seq;
                    gap.look();
                }
            }
        },
        |waiter, gap| {
            let (mut seq, mut looked, mut sum) = (0, 0, 0u64);
            while seq < count {
                let (lines, part) = reader.sum(batch);
                if lines == 0 {
                    waiter.failed();
                }
                seq += lines;
                sum = sum.wrapping_add(part);
                if seq - looked >= LOOK_EVERY {
                    looked = seq;
                    gap.look();
                }
            }
            // A line holds s, 1 to 6 and !s: s + !s = u64::MAX, and 21.
            assert!(sum == count.wrapping_mul(u64::MAX.wrapping_add(21)), "the lines' sum");
        },
    )
}

/// Runs both sides on pinned threads and times the second from the common start to its end.
fn two_threads(
    options: &Options,
    count: u64,
    produce: impl FnOnce(&mut Waiter<'_>, &mut GapDetector) + Send,
    consume: impl FnOnce(&mut Waiter<'_>, &mut GapDetector) + Send,
) -> Slice {
    let (barrier, gone) = (Barrier::new(2), AtomicBool::new(false));
    let (elapsed, disturbance) = std::thread::scope(|scope| {
        let (barrier, gone) = (&barrier, &gone);
        let producer = scope.spawn(move || -> Disturbance {
            let _farewell = Farewell(gone);
            options.core(0).map(pin);
            let mut waiter = Waiter::new(gone);
            barrier.wait();
            let watch = Watch::start(options.core(0));
            let mut gap = GapDetector::start();
            produce(&mut waiter, &mut gap);
            watch.stop(&gap, &options.clock)
        });
        let consumer = scope.spawn(move || -> (Duration, Disturbance) {
            let _farewell = Farewell(gone);
            options.core(1).map(pin);
            let mut waiter = Waiter::new(gone);
            barrier.wait();
            let watch = Watch::start(options.core(1));
            let (start, mut gap) = (Instant::now(), GapDetector::start());
            consume(&mut waiter, &mut gap);
            (start.elapsed(), watch.stop(&gap, &options.clock))
        });
        let produced = producer.join().expect("the producing thread passed its checks");
        let (elapsed, consumed) = consumer.join().expect("the consuming thread passed its checks");
        (elapsed, produced.with(&consumed))
    });
    Slice { values: vec![count as f64 / elapsed.as_secs_f64()], disturbance }
}

/// A contender whose slices take about as long as the options ask for: the first slice finds out how many events that is.
fn sized<'a>(name: &'static str, role: Role, options: &'a Options, slice: impl Fn(u64) -> Slice + 'a) -> Entry<'a> {
    let count = Cell::new(0u64);
    let run = move || {
        if count.get() == 0 {
            let trial = if options.quick { 2_000 } else { 500_000 };
            let rate = slice(trial).values[0];
            count.set(if options.quick { 5_000 } else { ((rate * options.slice_ms as f64 / 1e3) as u64).max(trial) });
        }
        slice(count.get())
    };
    Entry { name, role, run: Box::new(run) }
}

/// All contenders for one payload and batch. The control, C2, is the second.
#[must_use]
pub fn entries<'a, T: Item>(options: &'a Options, batch: usize) -> Vec<Entry<'a>>
where
    Ours: Contender<T>,
{
    fn entry<'a, T: Item, C: Contender<T>>(
        name: &'static str,
        role: Role,
        options: &'a Options,
        batch: usize,
    ) -> Entry<'a> {
        sized(name, role, options, move |count| slice::<T, C>(options, batch, count))
    }
    #[allow(unused_mut)]
    let mut entries = vec![
        entry::<T, Ours>("tapeline", Role::Ours, options, batch),
        sized("C2 line stream", Role::Control, options, move |count| line_slice(options, batch, count)),
    ];
    #[cfg(feature = "peers")]
    {
        use crate::peers::{Crossbeam, Disruptor, Nexus, Rtrb, Yring};
        entries.push(entry::<T, Rtrb>("rtrb", Role::Peer, options, batch));
        entries.push(entry::<T, Nexus>("nexus-queue", Role::Peer, options, batch));
        entries.push(entry::<T, Disruptor>("disruptor", Role::Peer, options, batch));
        entries.push(entry::<T, Crossbeam>("crossbeam-channel", Role::Peer, options, batch));
        entries.push(entry::<T, Yring>("yring", Role::Peer, options, batch));
    }
    entries
}

/// Runs the duel for one payload and batch.
#[must_use]
pub fn run<T: Item>(options: &Options, batch: usize) -> Table
where
    Ours: Contender<T>,
{
    let entries = entries::<T>(options, batch);
    let records = duel::run(&entries, 1, options);
    let claim = |name, rival, floor, stretch| Claim { name, metric: 0, rival, limit: Limit::AtLeast(floor), stretch };
    let claims = match (T::BYTES, batch) {
        (64, 1) => vec![claim("P2 batch 1 against the best peer", Rival::Best, 1.0, 1.3)],
        (64, 64) => vec![claim("P2 batch 64 against C2", Rival::Control, 0.9, 0.97)],
        (64, 256) => vec![claim("P2 batch 256 against yring", Rival::Named("yring"), 1.0, 1.0)],
        _ => Vec::new(),
    };
    Table::new(
        &format!("ring, {} bytes, batch {batch}", T::BYTES),
        "events per second, both ends saturated, every item's order and content checked; medians over the rounds; C2 is in \
         64-byte lines whatever the payload",
        &METRICS,
        &entries,
        records,
        &claims,
        options,
    )
}

/// Runs the duel for the 64-byte event (or, when `small`, for u64) and these batches.
#[must_use]
pub fn run_all(options: &Options, small: bool, batches: &[usize]) -> Vec<Table> {
    batches
        .iter()
        .map(|batch| if small { run::<u64>(options, *batch) } else { run::<Event>(options, *batch) })
        .collect()
}
