//! `hop`: how long an event takes from one thread to another and back, one in flight (P1).

use crate::clock::{Disturbance, Farewell, GapDetector, Waiter, Watch, pin};
use crate::contender::{Contender, Event, Item, Ours, Receiver, Sender};
use crate::controls::{OneLine, TwoLines};
use crate::duel::{self, Entry, Length, Options, Role, Slice};
use crate::report::{Claim, Rival, Table};
use crate::stats::percentile;
use std::sync::Barrier;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

/// The metrics of a slice, all in nanoseconds of half a round trip.
pub const METRICS: [&str; 7] = ["min", "p50", "p90", "p99", "p99_9", "p99_99", "max"];

/// Round trips before a slice is measured.
const WARM_UP: usize = 1_000;

/// About what a round trip takes.
const ROUND_TRIP: Duration = Duration::from_nanos(400);

/// One slice: ping-pong of events that are checked on both sides.
///
/// # Panics
/// When an event is lost, repeated, reordered or changed.
#[must_use]
pub fn slice<C: Contender<Event>>(options: &Options) -> Slice {
    let (mut there_tx, mut there_rx) = C::channel(options.capacity);
    let (mut back_tx, mut back_rx) = C::channel(options.capacity);
    let warm_up = WARM_UP.min(options.round_trips);
    let total = warm_up + options.round_trips;
    let mut samples = vec![0.0; options.round_trips];
    let (barrier, gone) = (Barrier::new(2), AtomicBool::new(false));
    let disturbance = std::thread::scope(|scope| {
        let pong = scope.spawn(|| -> Disturbance {
            let _farewell = Farewell(&gone);
            options.core(1).map(pin);
            let mut event = Event::default();
            let mut waiter = Waiter::new(&gone);
            let watch = Watch::start(options.core(1));
            barrier.wait();
            let gap = GapDetector::start();
            for seq in 0..total as u64 {
                while !there_rx.receive(&mut event) {
                    waiter.failed();
                }
                check(&event, seq);
                while !back_tx.send(&event) {
                    waiter.failed();
                }
            }
            watch.stop(&gap, &options.clock)
        });
        let ping = scope.spawn(|| -> Disturbance {
            let _farewell = Farewell(&gone);
            options.core(0).map(pin);
            let mut event = Event::default();
            let mut waiter = Waiter::new(&gone);
            let watch = Watch::start(options.core(0));
            barrier.wait();
            let mut gap = GapDetector::start();
            for seq in 0..total {
                event.set(seq as u64);
                while !there_tx.send(&event) {
                    waiter.failed();
                }
                while !back_rx.receive(&mut event) {
                    waiter.failed();
                }
                let ticks = gap.look();
                check(&event, seq as u64);
                if seq >= warm_up {
                    samples[seq - warm_up] = ticks as f64;
                } else if seq + 1 == warm_up {
                    gap = GapDetector::start();
                }
            }
            watch.stop(&gap, &options.clock)
        });
        let pong = pong.join().expect("the answering thread passed its checks");
        ping.join().expect("the asking thread passed its checks").with(&pong)
    });
    for sample in &mut samples {
        *sample *= options.clock.ns_per_tick / 2.0;
    }
    samples.sort_by(f64::total_cmp);
    let at = |p: f64| percentile(&samples, p).unwrap_or(f64::NAN);
    Slice { values: vec![at(0.0), at(0.5), at(0.9), at(0.99), at(0.999), at(0.9999), at(1.0)], disturbance }
}

/// Checks that `event` is the one of sequence `seq`, whole.
#[inline(always)]
fn check(event: &Event, seq: u64) {
    assert!(event.seq() == seq, "event {} where {seq} was expected", event.seq());
    assert!(event.sum() == u64::MAX, "event {seq} was changed on the way");
}

/// All contenders.
#[must_use]
pub fn entries(options: &Options) -> Vec<Entry<'_>> {
    fn entry<'a, C: Contender<Event>>(name: &'static str, role: Role, options: &'a Options) -> Entry<'a> {
        Entry {
            name,
            role,
            length: Length::Fixed(options.round_trips as u32 * ROUND_TRIP),
            run: Box::new(|| slice::<C>(options)),
        }
    }
    #[allow(unused_mut)]
    let mut entries = vec![
        entry::<Ours>("tapeline", Role::Ours, options),
        entry::<OneLine>("C1 one line", Role::Control, options),
        entry::<TwoLines>("C1 two lines", Role::Control, options),
    ];
    #[cfg(feature = "peers")]
    {
        use crate::peers::{Crossbeam, Disruptor, Nexus, Rtrb, Yring};
        entries.push(entry::<Rtrb>("rtrb", Role::Peer, options));
        entries.push(entry::<Nexus>("nexus-queue", Role::Peer, options));
        entries.push(entry::<Disruptor>("disruptor", Role::Peer, options));
        entries.push(entry::<Crossbeam>("crossbeam-channel", Role::Peer, options));
        entries.push(entry::<Yring>("yring", Role::Peer, options));
    }
    entries
}

/// Runs the duel.
#[must_use]
pub fn run(options: &Options) -> Table {
    let entries = entries(options);
    let records = duel::run(&entries, options);
    let claims = [
        Claim::at_most("P1 p50 against C1", 1, Rival::Control, 1.1, 1.0),
        Claim::at_most("P1 p99 against C1", 3, Rival::Control, 1.5, 1.5),
        Claim::at_most("P1 p50 against the best peer", 1, Rival::Best, 0.8, 0.8),
    ];
    Table::new(
        "hop",
        "ns of half a round trip; closed loop, 1 event in flight, 64-byte event checked on both sides; the time brackets \
         send, two hops and receive; medians over the rounds of each round's percentile, least and largest for min and max",
        &METRICS,
        &entries,
        records,
        &claims,
        options,
    )
}
