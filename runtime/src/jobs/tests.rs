//! The pool alone: order, room, panics, overruns, the end. The way of a whole replay is in `tests/jobs_replay.rs`.

use super::*;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};
use tapeline_core::dead::ERROR_PANIC;
use tapeline_core::event::payload::{News, Signal, Tick, Trade};
use tapeline_core::event::{EventBuf, EventRef, Flags, Kind, Slot};
use tapeline_core::handler::{Job, JobSet, RequestId};
use tapeline_core::queue::Priority;
use tapeline_core::requests::JobOrder;
use tapeline_core::ring::Consumer;
use tapeline_core::testing::Prng;
use tapeline_core::units::{SourceId, SymbolId, UnixNanos};
use tracing::Dispatch;

const JOB: Job = Job(20);
const TOKEN_PANICS: u64 = 1 << 32;
const TOKEN_FAILS: u64 = 2 << 32;
const TOKEN_HANGS: u64 = 3 << 32;
const PATIENCE: Duration = Duration::from_secs(60);

/// A gate that workers hang at.
#[derive(Default)]
struct Gate(Mutex<bool>, Condvar);

impl Gate {
    fn open(&self) {
        *self.0.lock().unwrap() = true;
        self.1.notify_all();
    }

    fn wait(&self) {
        let mut is_open = self.0.lock().unwrap();
        while !*is_open {
            is_open = self.1.wait(is_open).unwrap();
        }
    }
}

#[derive(Default)]
struct Shared {
    made: AtomicU64,
    dropped: AtomicU64,
    at_once: AtomicU64,
    most: AtomicU64,
    gate: Gate,
}

/// Replies as many events as its token says, each with the token and its place in it.
struct Echo(Arc<Shared>, Prng);

impl Echo {
    fn new(shared: &Arc<Shared>) -> Self {
        let seed = shared.made.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(shared), Prng::new(seed))
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.0.dropped.fetch_add(1, Ordering::Relaxed);
    }
}

impl Worker for Echo {
    const NAME: &'static str = "echo";

    fn run(&mut self, ask: &JobAsk<'_>, reply: &mut Reply) -> Result<(), u16> {
        let at_once = self.0.at_once.fetch_add(1, Ordering::Relaxed) + 1;
        self.0.most.fetch_max(at_once, Ordering::Relaxed);
        thread::sleep(Duration::from_micros(self.1.in_range(0..400)));
        self.0.at_once.fetch_sub(1, Ordering::Relaxed);
        for place in 0..ask.token % 200 {
            let mut event = EventBuf::new(&News { id: ask.token, text_bytes: 8, ..News::default() });
            event.push_bytes(&place.to_le_bytes()).unwrap();
            reply.push(&event).unwrap();
        }
        match ask.token & !0xffff_ffff {
            // A panic without the hook's words on stderr.
            TOKEN_PANICS => std::panic::resume_unwind(Box::new("wanted by a test")),
            TOKEN_FAILS => Err(77),
            TOKEN_HANGS => {
                self.0.gate.wait();
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

fn order(number: u64, token: u64) -> JobOrder {
    JobOrder {
        number,
        symbol: SymbolId(1 + (number % 3) as u32),
        job: JOB,
        request: RequestId(number),
        groups: 0,
        token,
        priority: Priority::FIRST,
        ordered_at: UnixNanos(1_000 * number),
        due: UnixNanos(1_000 * number + 10),
    }
}

/// The next event of a ring, waited for.
fn next(replies: &mut Consumer, held: &mut Vec<Slot>) -> Vec<Slot> {
    let begun = Instant::now();
    loop {
        if let Some(event) = EventRef::first(held) {
            let span = event.slots().len();
            return held.drain(..span).collect();
        }
        assert!(begun.elapsed() < PATIENCE, "a reply did not come");
        let mut slots = [Slot::ZERO; 64];
        let len = replies.pop_batch(&mut slots, None);
        held.extend_from_slice(&slots[..len]);
        if len == 0 {
            thread::sleep(Duration::from_micros(50));
        }
    }
}

fn jobs(settings: Settings, shared: &Arc<Shared>) -> Jobs {
    let (mut workers, shared) = (Workers::default(), Arc::clone(shared));
    workers.add(JOB, move || Echo::new(&shared));
    Jobs::new(settings, workers, vec![SourceId(9)], Dispatch::none())
}

fn cores() -> Vec<usize> {
    (0..thread::available_parallelism().map_or(1, usize::from)).collect()
}

/// Random tokens on three shards, replies longer than the ring: each shard gets its own, whole, in the order of its orders, and where a job
/// fails nothing but its end.
#[test]
fn replies_are_whole_and_in_the_order_of_orders_whatever_threads_do() {
    for (seed, workers) in [(1, 1), (2, 2), (3, 7)] {
        let (shared, mut prng) = (Arc::new(Shared::default()), Prng::new(seed));
        let mut jobs = jobs(Settings { workers, deadline_ns: None }, &shared);
        let mut ends: Vec<_> = (0..3).map(|_| jobs.add_shard_with(8, 64)).collect();
        let thread = jobs.start(cores()).unwrap();
        let (mut held, mut counts) = (vec![Vec::new(); 3], [0_u64; 4]);
        for round in 0..20 {
            let tokens: Vec<Vec<u64>> = (0..3)
                .map(|_| {
                    let any = |prng: &mut Prng| match prng.in_range(0..10) {
                        0 => TOKEN_PANICS | prng.in_range(0..200),
                        1 => TOKEN_FAILS | prng.in_range(0..200),
                        _ => prng.in_range(0..200),
                    };
                    (0..8).map(|_| any(&mut prng)).collect()
                })
                .collect();
            for (shard, (port, _)) in ends.iter().enumerate() {
                for (at, token) in tokens[shard].iter().enumerate() {
                    port.order(order(round * 8 + at as u64 + 1, *token), b"V:ANY");
                }
            }
            for (shard, (_, replies)) in ends.iter_mut().enumerate() {
                for (at, token) in tokens[shard].iter().enumerate() {
                    let (number, place) =
                        (round * 8 + at as u64 + 1, format!("seed {seed}, shard {shard}, round {round}"));
                    let code = match token & !0xffff_ffff {
                        TOKEN_PANICS => 1 + u64::from(ERROR_PANIC),
                        TOKEN_FAILS => 78,
                        _ => 0,
                    };
                    counts[(token >> 32) as usize] += 1;
                    let count = if code == 0 { token % 200 } else { 0 };
                    for part in 0..count {
                        let event = next(replies, &mut held[shard]);
                        let head = event[0];
                        assert_eq!((head.kind(), head.part, head.seq), (Kind::NEWS, part as u16, number), "{place}");
                        assert_eq!((head.symbol, head.source), (order(number, 0).symbol, SourceId(9)), "{place}");
                        assert_eq!(
                            (head.ts_recv, head.ts_event),
                            (order(number, 0).due, UnixNanos::UNKNOWN),
                            "{place}"
                        );
                        assert!(head.flags.contains(Flags::HISTORICAL), "{place}: what is of a market is of the past");
                        assert_eq!(head.payload_as::<News>().id, *token, "{place}");
                    }
                    let end = next(replies, &mut held[shard]);
                    let tick = end[0].payload_as::<Tick>().reserved[0];
                    assert_eq!((end[0].kind(), end[0].seq, tick), (Kind::TICK, number, code), "{place}");
                }
            }
        }
        let report = thread.finish().unwrap();
        let [kind] = &report.kinds[..] else { panic!("one kind: {report:?}") };
        assert_eq!([kind.done, kind.panicked, kind.failed, kind.overran], [counts[0], counts[1], counts[2], 0]);
        assert!(counts.iter().take(3).all(|count| *count > 10), "{counts:?}");
        // Each panic had its worker thrown away, and none is left.
        assert_eq!((kind.replaced, report.left_behind, report.late), (counts[1], 0, 0));
        assert_eq!(kind.made, shared.made.load(Ordering::Relaxed));
        assert!(kind.made > counts[1] / 2 && kind.made <= counts[1] + workers as u64, "{report:?}");
        assert_eq!(shared.dropped.load(Ordering::Relaxed), kind.made, "each is dropped, by its own thread");
        assert!(shared.most.load(Ordering::Relaxed) <= workers as u64);
        assert!(
            report.reasons.len() == 2 && report.reasons.iter().any(|why| why.ends_with("wanted by a test")),
            "{report:?}"
        );
    }
}

#[test]
fn req_3385_a_worker_that_takes_too_long_is_given_up_and_another_takes_its_place() {
    let shared = Arc::new(Shared::default());
    let deadline_ns = Some(Duration::from_millis(400).as_nanos() as u64);
    let mut jobs = jobs(Settings { workers: 1, deadline_ns }, &shared);
    let (port, mut replies) = jobs.add_shard(4);
    let thread = jobs.start(cores()).unwrap();
    let (mut held, hangs) = (Vec::new(), TOKEN_HANGS | 5);
    for (number, token) in [(1, 0), (2, hangs), (3, 0), (4, 0)] {
        port.order(order(number, token), b"V:ANY");
    }
    for (number, code) in [(1, 0), (2, 1 + u64::from(FAILED_OVERRUN)), (3, 0), (4, 0)] {
        let end = next(&mut replies, &mut held);
        assert_eq!((end[0].seq, end[0].payload_as::<Tick>().reserved[0]), (number, code));
    }
    assert_eq!(shared.made.load(Ordering::Relaxed), 2, "a new one in its place");
    // What it says in the end nobody hears.
    shared.gate.open();
    while shared.dropped.load(Ordering::Relaxed) == 0 {
        thread::sleep(Duration::from_millis(1));
    }
    port.order(order(5, 0), b"V:ANY");
    assert_eq!(next(&mut replies, &mut held)[0].seq, 5);
    let report = thread.finish().unwrap();
    assert_eq!((report.kinds[0].overran, report.kinds[0].replaced, report.kinds[0].done), (1, 1, 4));
    assert_eq!(report.kinds[0].made, 2, "also the one that overran");
    assert_eq!((report.late, report.left_behind), (1, 0));
    assert!(
        report.has_overrun() && report.reasons[0].contains("took longer than requests.job_deadline = 400ms"),
        "{report:?}"
    );
}

/// As many threads are stuck as may be: no further one is started, and jobs fail instead of waiting for ever.
#[test]
fn without_any_worker_left_jobs_fail_with_a_word() {
    let shared = Arc::new(Shared::default());
    let mut jobs = jobs(Settings { workers: 32, deadline_ns: Some(2_000_000) }, &shared);
    let all = ABANDONED_MAX as u64 + 31;
    let (port, mut replies) = jobs.add_shard(256);
    let thread = jobs.start(cores()).unwrap();
    let mut held = Vec::new();
    // Enough for every seat to hang and stay empty: what is ordered after that finds nobody.
    (1..=all + 20).for_each(|number| port.order(order(number, TOKEN_HANGS), b"V:ANY"));
    let codes: Vec<u64> =
        (1..=all + 20).map(|_| next(&mut replies, &mut held)[0].payload_as::<Tick>().reserved[0]).collect();
    let overran = codes.iter().filter(|code| **code == 1 + u64::from(FAILED_OVERRUN)).count();
    let unserved = codes.iter().filter(|code| **code == 1 + u64::from(FAILED_NO_WORKER)).count();
    assert_eq!(overran + unserved, codes.len());
    assert!(
        (ABANDONED_MAX..ABANDONED_MAX + 32).contains(&overran) && unserved > 0,
        "{overran} overran, {unserved} unserved"
    );
    // Once they come back, there are workers again.
    shared.gate.open();
    let mut number = all + 20;
    let begun = Instant::now();
    loop {
        number += 1;
        port.order(order(number, 0), b"V:ANY");
        if next(&mut replies, &mut held)[0].payload_as::<Tick>().reserved[0] == 0 {
            break;
        }
        assert!(begun.elapsed() < PATIENCE, "no worker came back");
        thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(thread.finish().unwrap().left_behind, 0);
}

/// Hears a warning, and does not come back from it: stderr is a pipe that nobody reads.
struct Deaf(Arc<Gate>, Arc<AtomicU64>);

impl tracing::Subscriber for Deaf {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        true
    }
    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }
    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}
    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
    fn event(&self, _: &tracing::Event<'_>) {
        self.1.fetch_add(1, Ordering::Relaxed);
        self.0.wait();
    }
    fn enter(&self, _: &tracing::span::Id) {}
    fn exit(&self, _: &tracing::span::Id) {}
}

/// Whoever is told of a panic may wait for ever: jobs go on, none of them is given up for that, and the end comes.
#[test]
fn nobody_waits_for_who_is_told() {
    let shared = Arc::new(Shared::default());
    let (gate, heard) = (Arc::new(Gate::default()), Arc::new(AtomicU64::new(0)));
    let mut workers = Workers::default();
    let echo = Arc::clone(&shared);
    workers.add(JOB, move || Echo::new(&echo));
    let deadline_ns = Some(Duration::from_millis(600).as_nanos() as u64);
    let dispatch = Dispatch::new(Deaf(Arc::clone(&gate), Arc::clone(&heard)));
    let mut jobs = Jobs::new(Settings { workers: 2, deadline_ns }, workers, vec![SourceId(9)], dispatch);
    let (port, mut replies) = jobs.add_shard(8);
    let thread = jobs.start(cores()).unwrap();
    let (mut held, panics) = (Vec::new(), 100);
    for number in 1..=panics {
        port.order(order(2 * number - 1, TOKEN_PANICS), b"V:ANY");
        port.order(order(2 * number, 0), b"V:ANY");
        for (number, code) in [(2 * number - 1, 1 + u64::from(ERROR_PANIC)), (2 * number, 0)] {
            let end = next(&mut replies, &mut held);
            assert_eq!((end[0].seq, end[0].payload_as::<Tick>().reserved[0]), (number, code));
        }
    }
    let begun = Instant::now();
    let report = thread.finish().unwrap();
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    assert_eq!((report.kinds[0].panicked, report.kinds[0].done, report.kinds[0].overran), (panics, panics, 0));
    assert_eq!(heard.load(Ordering::Relaxed), 1, "it has not come back from the first");
    assert!((1..panics).contains(&report.untold), "{report:?}");
    gate.open();
}

/// The system has no thread for a while: jobs wait for it, and fail with its reason only where it stays so.
#[test]
fn jobs_outlast_a_moment_without_threads() {
    let shared = Arc::new(Shared::default());
    let refuses = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let deadline_ns = Some(Duration::from_millis(300).as_nanos() as u64);
    let mut jobs = jobs(Settings { workers: 1, deadline_ns }, &shared);
    let is_refused = Arc::clone(&refuses);
    jobs.spawn = Box::new(move |name, work| {
        if is_refused.load(Ordering::Relaxed) {
            return Err(std::io::Error::from(std::io::ErrorKind::WouldBlock));
        }
        thread::Builder::new().name(name).spawn(work)
    });
    let (port, mut replies) = jobs.add_shard(8);
    let thread = jobs.start(cores()).unwrap();
    let mut held = Vec::new();
    let mut code = |number| {
        let end = next(&mut replies, &mut held);
        assert_eq!(end[0].seq, number);
        end[0].payload_as::<Tick>().reserved[0]
    };
    refuses.store(true, Ordering::Relaxed);
    (1..=2).for_each(|number| port.order(order(number, if number == 1 { TOKEN_HANGS } else { 0 }), b"V:ANY"));
    assert_eq!(code(1), 1 + u64::from(FAILED_OVERRUN));
    thread::sleep(Duration::from_millis(100));
    refuses.store(false, Ordering::Relaxed);
    assert_eq!(code(2), 0, "it has waited for a thread");
    refuses.store(true, Ordering::Relaxed);
    (3..=4).for_each(|number| port.order(order(number, if number == 3 { TOKEN_HANGS } else { 0 }), b"V:ANY"));
    assert_eq!((code(3), code(4)), (1 + u64::from(FAILED_OVERRUN), 1 + u64::from(FAILED_NO_WORKER)));
    shared.gate.open();
    let report = thread.finish().unwrap();
    assert!(report.reasons.iter().any(|why| why.contains("the system starts no thread: ")), "{report:?}");
}

#[test]
fn the_end_waits_for_a_worker_no_longer_than_it_says() {
    let shared = Arc::new(Shared::default());
    let mut jobs = jobs(Settings { workers: 2, deadline_ns: None }, &shared);
    let (port, mut replies) = jobs.add_shard(4);
    let thread = jobs.start(cores()).unwrap();
    port.order(order(1, 0), b"V:ANY");
    port.order(order(2, TOKEN_HANGS), b"V:ANY");
    assert_eq!(next(&mut replies, &mut Vec::new())[0].seq, 1);
    let begun = Instant::now();
    let report = thread.finish().unwrap();
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    assert_eq!(report.left_behind, 1);
    // Nobody takes orders any more: the shard sees its ring abandoned.
    port.order(order(3, 0), b"V:ANY");
    assert!(replies.is_abandoned());
    shared.gate.open();
}

#[test]
fn a_reply_has_bounds_and_no_control_events() {
    struct Long;
    impl Worker for Long {
        const NAME: &'static str = "long";
        fn run(&mut self, ask: &JobAsk<'_>, reply: &mut Reply) -> Result<(), u16> {
            assert_eq!(reply.push(&EventBuf::new(&Tick::default())), Err(ReplyError::Control));
            let mut event = EventBuf::new(&Signal::default());
            (0..ask.token).for_each(|_| event.push_words([1; 7]).unwrap());
            while reply.push(&event).is_ok() {}
            assert_eq!(reply.push(&event), Err(ReplyError::Full));
            let most = REPLY_SLOTS_MAX as u32 / (ask.token as u32 + 1);
            if reply.events() == most { Ok(()) } else { Err(1) }
        }
    }
    let mut workers = Workers::default();
    workers.add(JOB, || Long);
    let mut jobs = Jobs::new(Settings::default(), workers, vec![SourceId(1)], Dispatch::none());
    let (port, mut replies) = jobs.add_shard(2);
    let thread = jobs.start(cores()).unwrap();
    port.order(order(1, 0), b"");
    port.order(order(2, 4), b"");
    let mut held = Vec::new();
    for most in [REPLY_SLOTS_MAX, REPLY_SLOTS_MAX / 5] {
        let last = (0..most).map(|_| next(&mut replies, &mut held)).last().unwrap();
        assert_eq!((last[0].kind(), usize::from(last[0].part)), (Kind::SIGNAL, most - 1));
        assert!(!last[0].flags.contains(Flags::HISTORICAL), "a signal is no market's");
        assert_eq!(next(&mut replies, &mut held)[0].kind(), Kind::TICK);
    }
    assert_eq!(thread.finish().unwrap().kinds[0].done, 2);
}

#[test]
fn times_of_the_workers_own_are_kept() {
    struct Old;
    impl Worker for Old {
        const NAME: &'static str = "old";
        fn run(&mut self, _: &JobAsk<'_>, reply: &mut Reply) -> Result<(), u16> {
            let mut event = EventBuf::new(&Trade::default());
            (event.head_mut().ts_recv, event.head_mut().ts_event) = (UnixNanos(7), UnixNanos(6));
            reply.push(&event).map_err(|_| 1)
        }
    }
    let mut workers = Workers::default();
    workers.add(JOB, || Old);
    let mut jobs = Jobs::new(Settings::default(), workers, vec![SourceId(1)], Dispatch::none());
    let (port, mut replies) = jobs.add_shard(2);
    let thread = jobs.start(cores()).unwrap();
    port.order(order(1, 0), b"");
    let head = next(&mut replies, &mut Vec::new())[0];
    assert_eq!((head.ts_recv, head.ts_event), (UnixNanos(7), UnixNanos(6)));
    drop(thread);
}

#[test]
fn workers_that_cannot_be_are_refused_by_name() {
    let with = |jobs: &[Job], served| {
        let mut workers = Workers::default();
        jobs.iter().for_each(|job| workers.add(*job, || Echo::new(&Arc::default())));
        workers.check(served)
    };
    assert_eq!(with(&[JOB], JobSet::EMPTY), Ok(()));
    assert_eq!(with(&[Job::FEATURES], JobSet::EMPTY), Err(WorkersError::Number(1, "echo")));
    assert_eq!(with(&[Job(64)], JobSet::EMPTY), Err(WorkersError::Number(64, "echo")));
    assert_eq!(with(&[JOB, JOB], JobSet::EMPTY), Err(WorkersError::Taken(20, "echo")));
    assert_eq!(with(&[JOB, Job(21)], JobSet::EMPTY), Err(WorkersError::Name("echo")));
    assert_eq!(with(&[JOB], JobSet::of(&[JOB])), Err(WorkersError::Served(20, "echo")));
    let told = WorkersError::Number(64, "echo").to_string();
    assert_eq!(told, "worker echo: job 64 is not one of 16 to 63, which are for users");
}
