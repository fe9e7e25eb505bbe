//! `ring`: events per second through a queue whose two ends never rest (P2).

use crate::clock::{Disturbance, Farewell, GapDetector, Waiter, Watch, pin};
use crate::contender::{Contender, Item, Ours, Receiver, Sender};
use crate::controls::line_stream;
use crate::duel::{self, Entry, Length, Options, Role, Slice};
use crate::report::{Claim, Rival, Table};
use std::cell::Cell;
use std::sync::Barrier;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

/// The metrics of a slice.
pub const METRICS: [&str; 1] = ["events_per_second"];

/// Batch sizes of the duel.
pub const BATCHES: [usize; 4] = [1, 8, 64, 256];

/// Largest batch.
const BATCH_MAX: usize = 256;

/// Events between two looks of the gap detector: far less than its bound takes.
const LOOK_EVERY: u64 = 64;

/// Items before a slice is timed and watched: the second thread has been woken by then, and every slot was used once.
const WARM_UP: u64 = 4_096;

/// What a thread of a slice notes while it works.
struct Progress {
    warm_up: u64,
    looked: u64,
    gap: GapDetector,
    start: Instant,
}

impl Progress {
    /// For a slice of `count` items.
    fn new(count: u64) -> Self {
        Self { warm_up: WARM_UP.min(count / 2), looked: 0, gap: GapDetector::start(), start: Instant::now() }
    }

    /// After items up to `seq`. The first call at the end of the warm-up starts the time.
    #[inline(always)]
    fn at(&mut self, seq: u64) {
        if seq - self.looked >= LOOK_EVERY {
            if self.looked < self.warm_up {
                self.gap = GapDetector::start();
                self.start = Instant::now();
                if seq >= self.warm_up {
                    // The items of the warm-up end here, where the time begins.
                    self.warm_up = seq;
                }
            } else {
                self.gap.look();
            }
            self.looked = seq;
        }
    }
}

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
        |waiter, progress| {
            let mut items = [T::default(); BATCH_MAX];
            let mut seq = 0;
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
                progress.at(seq);
            }
        },
        |waiter, progress| {
            let mut items = [T::default(); BATCH_MAX];
            let mut seq = 0;
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
                progress.at(seq);
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
        |waiter, progress| {
            let mut seq = 0;
            while seq < count {
                let lines = batch.min(count - seq);
                while !writer.fill(seq, lines) {
                    waiter.failed();
                }
                seq += lines;
                progress.at(seq);
            }
        },
        |waiter, progress| {
            let (mut seq, mut sum) = (0, 0u64);
            while seq < count {
                let (lines, part) = reader.sum(batch);
                if lines == 0 {
                    waiter.failed();
                }
                seq += lines;
                sum = sum.wrapping_add(part);
                progress.at(seq);
            }
            // A line holds s, 1 to 6 and !s: s + !s = u64::MAX, and 21.
            assert!(sum == count.wrapping_mul(u64::MAX.wrapping_add(21)), "the lines' sum");
        },
    )
}

/// Runs both sides on pinned threads and times the second from the end of its warm-up to the end.
fn two_threads(
    options: &Options,
    count: u64,
    produce: impl FnOnce(&mut Waiter<'_>, &mut Progress) + Send,
    consume: impl FnOnce(&mut Waiter<'_>, &mut Progress) + Send,
) -> Slice {
    let (barrier, gone) = (Barrier::new(2), AtomicBool::new(false));
    // Pins, watches and waits for the other thread; what is read from /proc is read outside of the timed part.
    let side = |index: usize, work: &mut dyn FnMut(&mut Waiter<'_>, &mut Progress)| -> (f64, Disturbance) {
        let _farewell = Farewell(&gone);
        options.core(index).map(pin);
        let mut waiter = Waiter::new(&gone);
        let watch = Watch::start(options.core(index));
        barrier.wait();
        let mut progress = Progress::new(count);
        work(&mut waiter, &mut progress);
        let rate = (count - progress.warm_up) as f64 / progress.start.elapsed().as_secs_f64();
        (rate, watch.stop(&progress.gap, &options.clock))
    };
    let (mut produce, mut consume) = (Some(produce), Some(consume));
    let (rate, disturbance) = std::thread::scope(|scope| {
        let side = &side;
        let producer = scope.spawn(move || side(0, &mut |w, p| produce.take().expect("runs once")(w, p)));
        let consumer = scope.spawn(move || side(1, &mut |w, p| consume.take().expect("runs once")(w, p)));
        let (_, produced) = producer.join().expect("the producing thread passed its checks");
        let (rate, consumed) = consumer.join().expect("the consuming thread passed its checks");
        (rate, produced.with(&consumed))
    });
    Slice { values: vec![rate], disturbance }
}

/// A contender whose slices take about as long as the options ask for: the first slice finds out how many events that
/// is.
fn sized<'a>(name: &'static str, role: Role, options: &'a Options, slice: impl Fn(u64) -> Slice + 'a) -> Entry<'a> {
    let count = Cell::new(0u64);
    let run = move || {
        if count.get() == 0 {
            let trial = if options.is_check() { 2_000 } else { 100_000 };
            let rate = slice(trial).values[0];
            let wanted = (rate * options.slice().as_secs_f64()) as u64;
            count.set(if options.is_check() { 5_000 } else { wanted.max(8 * WARM_UP) });
        }
        slice(count.get())
    };
    Entry { name, role, length: Length::Chosen, run: Box::new(run) }
}

/// All contenders for one payload and batch.
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
    let records = duel::run(&entries, options);
    let claim = |name, rival, floor, stretch| Claim::at_least(name, 0, rival, floor, stretch);
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
