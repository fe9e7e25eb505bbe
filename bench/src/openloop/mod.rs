//! `openloop`: response times from the intended time of sending, at 10 % to 95 % of what each contender can do (P15).
//!
//! A thread sends events at times that were drawn before (Poisson arrivals), whether or not the other end keeps up; a second one takes them
//! and calls the same handler, two averages of each symbol's price. The response time of an event is the end of its batch less the time at
//! which it was to be sent, so that waiting in a queue, or in front of a full one, is part of it. A closed loop, in which one waits for the
//! other, would send less where it is slow and report the better times for it.
//!
//! Each contender's own maximum is measured first, with the same loop and every event due at once. Then every load of every contender is
//! run in pieces of some milliseconds, in random order; a piece in which the machine took a core away is void, and run again.
//!
//! To add a contender, implement [`Engine`] and give it a row in `run`. [`check`] is its test.

mod contenders;
mod report;

#[cfg(feature = "peers")]
pub use contenders::TokioMpsc;
pub use contenders::{Lines, Queue, Tapeline};
pub use report::Curves;

use crate::clock::{Clock, Disturbance, Farewell, GapDetector, Waiter, Watch, pin, ticks};
use crate::duel::{Mode, Options};
use crate::stats::{Rng, median};
use hdrhistogram::Histogram;
use std::sync::Barrier;
use std::sync::atomic::AtomicBool;
use tapeline_core::event::Slot;
use tapeline_core::event::payload::Trade;
use tapeline_core::units::{PRICE_ONE, SourceId, SymbolId, UnixNanos};

/// Loads, in percent of the contender's own maximum.
pub const LOADS: [u32; 18] = [10, 15, 20, 25, 30, 35, 40, 45, 50, 55, 60, 65, 70, 75, 80, 85, 90, 95];
/// Slots of every queue.
pub const CAPACITY: usize = 1_024;
/// Symbols of the events, in turn.
pub const SYMBOLS: usize = 100;
/// Largest number of events that a worker takes at once.
pub const BATCH: usize = 64;
/// Time between the start of a piece and the first event that is due, in ns: both threads are there by then.
const LEAD_NS: f64 = 20_000.0;
/// Attempts at one piece.
const ATTEMPTS_MAX: usize = 12;

/// What stands between a feed and a handler.
pub trait Engine {
    /// Where events go in.
    type Tx: Tx;
    /// Where they are handled.
    type Worker: Worker;

    /// For events of the symbols 1 to [`SYMBOLS`] and of `source`, with a queue of [`CAPACITY`].
    fn new() -> (Self::Tx, Self::Worker);
}

/// The end of the thread that sends.
pub trait Tx: Send {
    /// Sends an event that was due at `due`, in ticks; `false` when there is no room.
    fn send(&mut self, event: &Slot, due: u64) -> bool;
}

/// The end of the thread that handles.
pub trait Worker: Send {
    /// Handles `events` events and tells when each batch was done.
    fn run(&mut self, events: u64, told: &mut Told, waiter: &mut Waiter<'_>);

    /// Events that the handler has seen since it was made.
    fn handled(&self) -> u64;
}

/// What a worker tells.
#[derive(Debug)]
pub struct Told {
    clock: Clock,
    /// Response times, ns.
    pub responses: Histogram<u64>,
    gap: GapDetector,
    /// When the last batch was done, ticks.
    pub last: u64,
}

impl Told {
    fn new(clock: Clock) -> Self {
        let responses = Histogram::new_with_bounds(1, 60_000_000_000, 3).expect("the bounds are constants");
        Self { clock, responses, gap: GapDetector::start(), last: 0 }
    }

    /// A batch is done: the events that were due then have their response times.
    #[inline]
    pub fn batch(&mut self, dues: impl Iterator<Item = u64>) {
        self.gap.look();
        let now = ticks();
        for due in dues {
            self.responses.saturating_record((self.clock.ns(now.saturating_sub(due)) as u64).max(1));
        }
        self.last = now;
    }

    /// There was nothing to do.
    #[inline]
    pub fn idle(&mut self) {
        self.gap.look();
    }

    /// The worker has slept, as it does when there is nothing to do.
    #[inline]
    pub fn wake(&mut self) {
        self.gap.skip();
    }
}

/// Trades of a hundred symbols in turn, none of them twice.
#[derive(Clone, Debug)]
pub struct Feed {
    number: u64,
    event: Slot,
}

impl Feed {
    /// From the first event on.
    #[must_use]
    pub fn new() -> Self {
        let mut event =
            tapeline_core::event::EventBuf::new(&Trade { price: 100 * PRICE_ONE, size: 1, ..Trade::default() });
        event.head_mut().source = SourceId(1);
        Self { number: 0, event: event.slots()[0] }
    }

    /// The next event.
    #[inline]
    pub fn next_event(&mut self) -> &Slot {
        let number = self.number;
        self.number += 1;
        let price = (100 + (number * 7 % 11 + number / 1_000 % 5) as i64) * PRICE_ONE;
        let event = &mut self.event;
        (event.symbol, event.seq) = (SymbolId(1 + (number % SYMBOLS as u64) as u32), number + 1);
        event.ts_recv = UnixNanos(1_700_000_000_000_000_000 + number * 1_000);
        event.payload[0] = price as u64;
        event
    }
}

impl Default for Feed {
    fn default() -> Self {
        Self::new()
    }
}

/// When events are due, in ticks after the start: the times of a Poisson process of `rate` events a second. Rate 0: all at once.
#[must_use]
pub fn arrivals(events: usize, rate: f64, clock: &Clock, rng: &mut Rng) -> Vec<u64> {
    let mean_ticks = if rate > 0.0 { 1e9 / rate / clock.ns_per_tick } else { 0.0 };
    let mut at = 0.0;
    (0..events)
        .map(|_| {
            let uniform = (rng.index(1 << 30) as f64 + 0.5) / f64::from(1 << 30);
            at -= mean_ticks * uniform.ln();
            at as u64
        })
        .collect()
}

/// One piece of a run.
#[derive(Debug)]
pub struct Piece {
    /// Response times, ns.
    pub responses: Histogram<u64>,
    /// Events a second from the first due time to the end of the last batch.
    pub achieved: f64,
    /// What disturbed either thread.
    pub disturbance: Disturbance,
}

/// A contender with its events, from piece to piece.
struct Lane<E: Engine> {
    ends: (E::Tx, E::Worker),
    feed: Feed,
    sent: u64,
}

impl<E: Engine> Lane<E> {
    fn new() -> Self {
        Self { ends: E::new(), feed: Feed::new(), sent: 0 }
    }

    /// Sends events at these times and measures their response times.
    fn piece(&mut self, dues: &[u64], options: &Options) -> Piece {
        let (barrier, gone) = (Barrier::new(2), AtomicBool::new(false));
        let clock = options.clock;
        let (tx, worker) = (&mut self.ends.0, &mut self.ends.1);
        let (feed, barrier, gone) = (&mut self.feed, &barrier, &gone);
        let lead = (LEAD_NS / clock.ns_per_tick) as u64;
        let (start, sent, told, handled) = std::thread::scope(|scope| {
            let handler = scope.spawn(move || {
                let _farewell = Farewell(gone);
                options.core(1).map(pin);
                let mut waiter = Waiter::new(gone);
                let mut told = Told::new(clock);
                let watch = Watch::start(options.core(1));
                barrier.wait();
                told.gap = GapDetector::start();
                worker.run(dues.len() as u64, &mut told, &mut waiter);
                let disturbance = watch.stop(&told.gap, &clock);
                (told, disturbance)
            });
            let sender = scope.spawn(move || {
                let _farewell = Farewell(gone);
                options.core(0).map(pin);
                let mut waiter = Waiter::new(gone);
                let watch = Watch::start(options.core(0));
                barrier.wait();
                let start = ticks() + lead;
                let mut gap = GapDetector::start();
                let mut now = ticks();
                for due in dues {
                    let due = start + due;
                    while now < due {
                        gap.look();
                        now = ticks();
                    }
                    let event = feed.next_event();
                    while !tx.send(event, due) {
                        waiter.failed();
                    }
                    // A full queue is the other end's doing, and so is what comes of it.
                    gap.look();
                    now = ticks();
                }
                (start, watch.stop(&gap, &clock))
            });
            let (told, handled) = handler.join().expect("the handling thread passed its checks");
            let (start, sent) = sender.join().expect("the sending thread passed its checks");
            (start, sent, told, handled)
        });
        self.sent += dues.len() as u64;
        assert_eq!(self.ends.1.handled(), self.sent, "every event was handled once");
        let seconds = clock.ns(told.last.saturating_sub(start)) / 1e9;
        Piece {
            responses: told.responses,
            achieved: dues.len() as f64 / seconds.max(1e-9),
            disturbance: sent.with(&handled),
        }
    }
}

/// What runs a piece of a contender.
type RunPiece<'a> = Box<dyn FnMut(&[u64], &Options) -> Piece + 'a>;

/// A contender of a run.
pub(crate) struct Contestant<'a> {
    pub(crate) name: &'static str,
    /// The physical control: it runs at the rates of the first contender.
    pub(crate) is_control: bool,
    run: RunPiece<'a>,
}

fn contestant<'a, E: Engine + 'a>(name: &'static str, is_control: bool) -> Contestant<'a> {
    let mut lane = Lane::<E>::new();
    Contestant { name, is_control, run: Box::new(move |dues, options| lane.piece(dues, options)) }
}

/// What was measured of one contender at one load.
#[derive(Debug)]
pub struct Point {
    /// Events a second that were to be sent.
    pub offered: f64,
    /// Events a second that were handled: the median of the pieces.
    pub achieved: Option<f64>,
    /// Response times of all pieces that count, ns.
    pub responses: Histogram<u64>,
    /// Pieces run, and how many of them were void.
    pub pieces: (usize, usize),
}

/// How long a piece is, and how many a load has.
fn plan(mode: Mode) -> (f64, usize) {
    match mode {
        Mode::Full => (0.005, 40),
        Mode::Quick => (0.003, 5),
        Mode::Check => (0.000_2, 1),
    }
}

/// Pieces until `count` of them count, or each has had its attempts: those that do, and how many were void.
fn pieces(
    contestant: &mut Contestant<'_>,
    count: usize,
    options: &Options,
    mut dues: impl FnMut() -> Vec<u64>,
) -> (Vec<Piece>, usize) {
    let (mut good, mut void) = (Vec::new(), 0);
    while good.len() < count && void < count * ATTEMPTS_MAX {
        let piece = (contestant.run)(&dues(), options);
        if piece.disturbance.is_void() && !options.is_check() {
            void += 1;
        } else {
            good.push(piece);
        }
    }
    (good, void)
}

/// What a contender can do, events a second: the median over pieces in which every event is due at once. `None` when all were void.
fn maximum(contestant: &mut Contestant<'_>, options: &Options, rng: &mut Rng) -> Option<f64> {
    let (seconds, count) = plan(options.mode);
    // The first guess is short, and warms everything up.
    let (first, _) = pieces(contestant, 1, options, || arrivals(20_000, 0.0, &options.clock, rng));
    let events = first.first().map_or(20_000.0, |piece| piece.achieved * seconds).max(1_000.0) as usize;
    let (good, _) = pieces(contestant, count.div_ceil(2), options, || arrivals(events, 0.0, &options.clock, rng));
    median(&good.iter().map(|piece| piece.achieved).collect::<Vec<_>>())
}

/// Runs the whole of it.
#[must_use]
pub fn run(options: &Options) -> Curves {
    let mut rng = Rng::new(options.seed);
    let mut all = contestants();
    let maxima: Vec<Option<f64>> =
        all.iter_mut().map(|one| if one.is_control { None } else { maximum(one, options, &mut rng) }).collect();
    let (seconds, count) = plan(options.mode);
    let mut points: Vec<Vec<Point>> = all.iter().map(|_| Vec::new()).collect();
    for load in LOADS {
        let share = f64::from(load) / 100.0;
        for ((one, maximum), points) in all.iter().zip(&maxima).zip(&mut points) {
            let own = if one.is_control { maxima[0] } else { *maximum };
            points.push(Point {
                offered: own.unwrap_or(0.0) * share,
                achieved: None,
                responses: Told::new(options.clock).responses,
                pieces: (0, 0),
            });
        }
        let mut rates: Vec<Vec<f64>> = vec![Vec::new(); all.len()];
        for _ in 0..count {
            for index in rng.order(all.len()) {
                let point = points[index].last_mut().expect("it was pushed above");
                if point.offered <= 0.0 {
                    continue;
                }
                let events = (point.offered * seconds).max(100.0) as usize;
                let (offered, clock) = (point.offered, options.clock);
                let (good, void) = pieces(&mut all[index], 1, options, || arrivals(events, offered, &clock, &mut rng));
                point.pieces.0 += good.len() + void;
                point.pieces.1 += void;
                for piece in good {
                    point.responses += &piece.responses;
                    rates[index].push(piece.achieved);
                }
            }
        }
        for (points, rates) in points.iter_mut().zip(&rates) {
            points.last_mut().expect("it was pushed above").achieved = median(rates);
        }
        if !options.is_check() {
            eprint!("\r{load} % of the maximum");
        }
    }
    if !options.is_check() {
        eprintln!();
    }
    let names = all.iter().map(|one| (one.name, one.is_control)).collect();
    Curves::new(names, maxima, points, options)
}

/// Ours first, then the control, then the others.
fn contestants<'a>() -> Vec<Contestant<'a>> {
    #[allow(unused_mut)]
    let mut all = vec![contestant::<Tapeline>("tapeline", false), contestant::<Lines>("C2 line stream", true)];
    #[cfg(feature = "peers")]
    {
        use crate::peers::{Crossbeam, Disruptor, Rtrb};
        all.push(contestant::<Queue<Disruptor>>("disruptor", false));
        all.push(contestant::<Queue<Rtrb>>("rtrb", false));
        all.push(contestant::<Queue<Crossbeam>>("crossbeam-channel", false));
        all.push(contestant::<TokioMpsc>("tokio mpsc", false));
    }
    all
}

/// Every contender handles every event once, and a late event has a long response time.
///
/// # Panics
/// When one does not.
pub fn check<E: Engine>(name: &str) {
    let options = Options::check();
    let mut lane = Lane::<E>::new();
    let mut rng = Rng::new(3);
    for rate in [0.0, 100_000.0] {
        let dues = arrivals(2_000, rate, &options.clock, &mut rng);
        let piece = lane.piece(&dues, &options);
        assert_eq!(piece.responses.len(), 2_000, "{name}: each event has one response time");
        assert!(piece.achieved > 0.0, "{name}");
    }
    // All are due at once: the last waits for all before it, and says so.
    let dues = arrivals(20_000, 0.0, &options.clock, &mut rng);
    let piece = lane.piece(&dues, &options);
    let (first, last) = (piece.responses.min(), piece.responses.max());
    let took = 20_000.0 / piece.achieved * 1e9;
    assert!(last as f64 > took * 0.9 && first < last, "{name}: {first} to {last} ns in {took} ns");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_contender_handles_every_event_and_waiting_is_part_of_its_response() {
        check::<Tapeline>("tapeline");
        check::<Lines>("C2");
        #[cfg(feature = "peers")]
        {
            use crate::peers::{Crossbeam, Disruptor, Rtrb};
            check::<Queue<Disruptor>>("disruptor");
            check::<Queue<Rtrb>>("rtrb");
            check::<Queue<Crossbeam>>("crossbeam");
            check::<TokioMpsc>("tokio");
        }
    }

    #[test]
    fn arrivals_are_of_the_rate_that_was_asked_for_and_never_go_back() {
        let clock = Clock { ns_per_tick: 0.5, read_ns: 1.0, fenced_read_ns: 1.0 };
        let dues = arrivals(100_000, 1e6, &clock, &mut Rng::new(9));
        assert!(dues.is_sorted());
        let seconds = clock.ns(*dues.last().unwrap()) / 1e9;
        assert!((seconds - 0.1).abs() < 0.002, "{seconds}");
        let gaps: Vec<f64> = dues.windows(2).map(|pair| clock.ns(pair[1] - pair[0])).collect();
        let longer = gaps.iter().filter(|gap| **gap > 1_000.0).count() as f64 / gaps.len() as f64;
        assert!((longer - (-1.0_f64).exp()).abs() < 0.01, "exponential: {longer}");
        assert!(arrivals(10, 0.0, &clock, &mut Rng::new(1)).iter().all(|due| *due == 0));
    }

    #[test]
    fn a_run_has_a_point_for_each_load_of_each_contender() {
        let curves = run(&Options::check());
        let json = curves.json();
        for one in json["contenders"].as_array().unwrap() {
            assert_eq!(one["points"].as_array().unwrap().len(), LOADS.len(), "{one}");
            assert!(
                one["points"].as_array().unwrap().iter().all(|point| point["count"].as_u64().unwrap() >= 100),
                "{one}"
            );
        }
        assert!(curves.to_string().contains("tapeline"));
    }
}
