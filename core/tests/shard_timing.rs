//! The time of each handler: a clock that only handlers and looks at it move gives exact times, shares and overruns, and times
//! reach no output.

#[path = "common/shard_rig.rs"]
mod shard_rig;

use shard_rig::{Recorder, START, SYMBOLS_MAX, feed, stream, tick};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use tapeline_core::bus::{Bus, BusBuilder, Chain, End, HandlerStats, Link};
use tapeline_core::catalog::Catalog;
use tapeline_core::event::payload::Signal;
use tapeline_core::event::{EventRef, Kind, KindSet, Slot};
use tapeline_core::handler::{Ctx, Handler, Verdict};
use tapeline_core::limits::{BATCH_SLOTS, TIMED_BATCHES};
use tapeline_core::ring;
use tapeline_core::shard::{Batch, Config, Probe, Shard, Stages, TimedBatches};
use tapeline_core::stats::Series;
use tapeline_core::units::{SymbolId, UnixNanos};

/// A clock that stands still but for who works with it.
type Clock = Arc<AtomicU64>;

/// What a look at the clock takes.
const STAMP_NS: u64 = 7;

struct Watch(Clock, Arc<Mutex<Vec<Stages>>>);

impl Probe for Watch {
    fn now(&mut self) -> u64 {
        // Half of the look lies before the reading.
        self.0.fetch_add(STAMP_NS, Ordering::Relaxed) + STAMP_NS
    }

    fn stamp_cost(&self) -> u64 {
        STAMP_NS
    }

    fn batch(&mut self, _batch: &Batch<'_>) {}

    fn stages(&mut self, stages: &Stages) {
        self.1.lock().unwrap().push(*stages);
    }
}

/// Takes `ns` for a trade and `slow_ns` for every tenth one; signals each.
struct Worker<const N: usize, const BUDGET: u64> {
    clock: Clock,
    ns: u64,
    slow_ns: u64,
}

impl<const N: usize, const BUDGET: u64> Handler for Worker<N, BUDGET> {
    type State = u64;
    const NAME: &'static str = ["plain", "with_budget", "dynamic"][N];
    const STATE_VERSION: u16 = 1;
    const BUDGET_NS: Option<u64> = if BUDGET == 0 { None } else { Some(BUDGET) };

    fn interests(&self) -> KindSet {
        KindSet::of(&[Kind::TRADE])
    }

    fn on_event(&self, calls: &mut u64, _event: EventRef<'_>, cx: &mut Ctx<'_>) -> Verdict {
        *calls += 1;
        self.clock.fetch_add(if calls.is_multiple_of(10) { self.slow_ns } else { self.ns }, Ordering::Relaxed);
        match cx.signal(&Signal { strength: *calls as f64, ..Signal::default() }) {
            Ok(()) => Verdict::Done,
            Err(_) => Verdict::Fail(1),
        }
    }
}

fn bus(clock: &Clock) -> impl Fn(&mut Catalog) -> Bus<Workers> {
    let clock = Arc::clone(clock);
    move |catalog| {
        let clock = || Arc::clone(&clock);
        BusBuilder::new(SYMBOLS_MAX)
            .then(Worker::<0, 0> { clock: clock(), ns: 100, slow_ns: 100 })
            .then(Worker::<1, 500> { clock: clock(), ns: 400, slow_ns: 501 })
            .dynamic(1, Worker::<2, 0> { clock: clock(), ns: 300, slow_ns: 900 })
            .build(catalog)
            .unwrap()
    }
}

type Workers = Link<Link<End, Worker<0, 0>>, Worker<1, 500>>;

/// Runs `events` through one shard with this probe, a whole batch at a time.
fn run<P: Probe>(clock: &Clock, probe: P, events: &[Slot]) -> (Vec<(&'static str, HandlerStats)>, TimedBatches, u64) {
    let bus = bus(clock);
    let catalog = shard_rig::authority(&bus);
    let (mut producer, consumer) = ring::channel(2 * BATCH_SLOTS);
    let handlers = bus(&mut catalog.clone());
    let mut shard = Shard::new(Config::single(), catalog, handlers, probe, consumer, vec![], vec![]);
    let mut out = Recorder::new(1 << 20);
    for batch in events.chunks(BATCH_SLOTS) {
        batch.iter().for_each(|slot| producer.push(&[*slot]).unwrap());
        let mut steps = 0;
        while shard.step(&mut out).work > 0 {
            steps += 1;
            assert!(steps < 100, "a batch ends");
        }
        out.take();
    }
    producer.push(tick(UnixNanos(START * 2), true).slots()).unwrap();
    while shard.step(&mut out).work > 0 {}
    assert!(shard.is_drained() && shard.ledger().is_balanced());
    one_call_reads_all(&mut shard, events.len() as u64);
    (shard.handlers(), shard.timed_batches(), shard.digest_total())
}

/// What one call reads is what each structure says by itself.
fn one_call_reads_all<C: Chain, P: Probe>(shard: &mut Shard<C, P>, offered: u64) {
    let (stats, letters) = (shard.stats(), shard.letters());
    assert_eq!((stats.counts[Series::Events as usize], stats.source), (offered, shard.ledger().total()));
    assert_eq!(
        (stats.counts[Series::Outputs as usize], stats.derived),
        (stats.derived.offered, shard.derived().total())
    );
    assert_eq!((stats.letters.parked, stats.letters.totals), (letters.parked(), *letters.stats()));
    assert_eq!((stats.now, stats.timers_fired, stats.shard), (shard.clock(), shard.timers_fired(), 0));
    assert_eq!(stats.timed, shard.timed_batches());
    assert_eq!(stats.ring_slots, (0, 2 * BATCH_SLOTS));
    let bytes = shard.bytes();
    assert_eq!(stats.bytes, bytes.iter().map(|(_, bytes)| bytes).sum::<usize>());
    assert!(bytes.iter().any(|(name, bytes)| *name == "rates" && *bytes < 500_000), "{bytes:?}");
}

/// Trades and narrow quotes, one slot each, by symbol 1: each batch of 64 begins a ring batch of its own.
fn events(count: usize) -> Vec<Slot> {
    let events = stream(3, 3 * count, 1_000_000, feed(3)).into_iter();
    let mut slots: Vec<Slot> = events.filter(|event| event.len() == 1).map(|event| event[0]).take(count).collect();
    slots.iter_mut().for_each(|slot| slot.symbol = SymbolId(1));
    slots
}

#[test]
fn req_3473_3550_3551_f1_each_handler_is_measured_overruns_are_counted_and_one_call_reads_all() {
    let batches = 3 * TIMED_BATCHES as usize + 5;
    let events = events(batches * BATCH_SLOTS);
    let is_trade = |slot: &&Slot| slot.kind() == Kind::TRADE;
    let trades = events.iter().filter(is_trade).count() as u64;
    let (clock, stages) = (Clock::default(), Arc::default());
    let (handlers, timed, digest) = run(&clock, Watch(Arc::clone(&clock), Arc::clone(&stages)), &events);
    let names: Vec<&str> = handlers.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, ["dynamic", "plain", "with_budget"]);
    let [dynamic, plain, budget] = [handlers[0].1, handlers[1].1, handlers[2].1];

    // Every call is counted; every call of the one with a budget is stamped, and its overruns are exact.
    assert_eq!([dynamic.calls, plain.calls, budget.calls], [trades; 3]);
    let slow = trades / 10;
    assert_eq!((budget.time.calls, budget.time.overruns), (trades, slow), "400 ns are within 500 ns, 501 ns are not");
    assert_eq!(budget.time.total_ns, 400 * (trades - slow) + 501 * slow, "the stamps' own cost is taken off");
    assert_eq!((budget.budget_ns, budget.time.longest_ns), (Some(500), 501));
    assert_eq!((plain.budget_ns, plain.time.overruns), (None, 0));

    // The others are stamped in one batch of 16, the first included.
    let sampled: Vec<&[Slot]> = events.chunks(BATCH_SLOTS).step_by(TIMED_BATCHES as usize).collect();
    let samples = sampled.iter().flat_map(|batch| batch.iter()).filter(is_trade).count() as u64;
    assert_eq!(timed.count, sampled.len() as u64);
    assert_eq!((plain.time.calls, plain.time.total_ns), (samples, 100 * samples));
    assert_eq!([dynamic, plain, budget].map(|stats| stats.time.sampled.calls), [samples; 3]);
    assert_eq!(dynamic.time.longest_ns, 900);

    // All that happens in a batch is the handlers' here: the shares add up to one.
    let sum: u64 = [dynamic, plain, budget].iter().map(|stats| stats.time.sampled.ns).sum();
    assert_eq!(timed.busy_ns, sum);

    // Each event of these batches says where its time went: to the handlers, as nothing else moves this clock but looks at it.
    let stages = stages.lock().unwrap();
    assert_eq!(stages.len() as u64, sampled.iter().map(|batch| batch.len() as u64).sum::<u64>());
    assert_eq!(stages.iter().filter_map(|stages| stages.handlers_ns).sum::<u64>(), sum);
    assert!(stages.iter().all(|stages| (stages.admission_ns, stages.dispatch_ns) == (0, 0)), "{stages:?}");
    let made =
        stages.iter().filter(|stages| stages.egress_ns == Some(0) && stages.handlers_ns > Some(0)).count() as u64;
    assert_eq!(made, samples, "trades are signalled, and quotes are not");
    assert!(stages.iter().all(|stages| stages.egress_ns.is_some() == stages.handlers_ns.is_some()));

    // Times reach no output: a shard that does not measure makes the same ones.
    let (unmeasured, none, same) = run(&clock, (), &events);
    assert_eq!((digest, none), (same, TimedBatches::default()));
    assert_eq!((unmeasured[2].1.calls, unmeasured[2].1.time.calls), (trades, 0));
}
