//! Handlers ask for jobs that workers of the program do on threads of their own, in the middle of a replay.

mod rig;

use rig::{Folder, MILLI, SECOND, report, setup, unpaced, write_tape};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;
use tapeline_core::bus::{BusBuilder, Chain, End};
use tapeline_core::dead::ERROR_PANIC;
use tapeline_core::event::payload::{Alert, Quote, Signal, Trade};
use tapeline_core::event::{EventBuf, EventRef, Kind, KindSet};
use tapeline_core::handler::{Ask, Ctx, Handler, Job, JobSet, RequestEnd, RequestId, Verdict, Wish};
use tapeline_core::hash;
use tapeline_core::queue::Priority;
use tapeline_core::units::UnixNanos;
use tapeline_runtime::engine::EngineError;
use tapeline_runtime::jobs::{FAILED_OVERRUN, JobAsk, KindReport, Reply, Worker};
use tapeline_runtime::pipeline::{Defaults, Parameters, Pipeline};
use tapeline_runtime::report::{DigestScope, Report};

const START: u64 = 1_700_000_000 * SECOND;
const SYMBOLS: [&str; 5] = ["J:ONE", "J:TWO", "J:THREE", "J:FOUR", "J:FIVE"];
const PRICE: Job = Job(16);
/// Trades of each symbol, one every 10 ms; a request with every tenth.
const TRADES: u64 = 400;
const ASKS: u64 = TRADES / 10 * SYMBOLS.len() as u64;

/// The tape of a test, in a folder of its own.
struct Tape(Folder);

impl Tape {
    fn new(name: &str) -> Self {
        let folder = Folder::new(&format!("jobs-{name}"));
        let times = (0..TRADES).map(|seq| (START + seq * 10 * MILLI, seq));
        let trade =
            |at: u64| Trade { price: 1_000 + ((at - START) / (10 * MILLI)) as i64, size: 1, ..Trade::default() };
        write_tape(&folder.path("a.tape"), times, &SYMBOLS, "feed", trade);
        Self(folder)
    }
}

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct State {
    trades: u64,
    replies: u64,
    /// Order-sensitive, over all that comes.
    chain: u64,
}

type Log = Arc<Mutex<Vec<RequestEnd>>>;

/// Asks with every tenth trade; signals what has come of it.
struct Asker(Log);

impl Handler for Asker {
    type State = State;
    const NAME: &'static str = "asker";
    const STATE_VERSION: u16 = 1;
    const TAKES_HISTORY: bool = false;

    fn interests(&self) -> KindSet {
        KindSet::of(&[Kind::TRADE])
    }

    fn on_event(&self, st: &mut State, ev: EventRef<'_>, cx: &mut Ctx<'_>) -> Verdict {
        st.trades += 1;
        st.chain = hash::stable(bytemuck::bytes_of(&[st.chain, ev.head().seq]));
        if st.trades.is_multiple_of(10) {
            let (priority, expires_at) = (Priority::FIRST, UnixNanos::ZERO);
            cx.request(&Wish { job: PRICE, groups: 0, priority, expires_at, token: st.trades }).unwrap();
        }
        Verdict::Done
    }

    fn on_reply(&self, st: &mut State, request: RequestId, ev: EventRef<'_>, cx: &mut Ctx<'_>) -> Verdict {
        let head = ev.head();
        assert!(head.seq == request.0 && head.symbol == cx.symbol() && head.kind() == Kind::QUOTE);
        st.replies += 1;
        let words = [st.chain, head.seq, head.part.into(), ev.get::<Quote>().unwrap().bid_px as u64, cx.now().0];
        st.chain = hash::stable(bytemuck::bytes_of(&words));
        cx.signal(&Signal { strength: (st.chain >> 12) as f64, ..Signal::default() }).unwrap();
        Verdict::Done
    }

    fn on_request_end(&self, st: &mut State, request: RequestId, end: RequestEnd, cx: &mut Ctx<'_>) -> Verdict {
        self.0.lock().unwrap().push(end);
        let code = if let RequestEnd::Failed(code) = end { u64::from(code) } else { 0 };
        st.chain = hash::stable(bytemuck::bytes_of(&[st.chain, request.0, code]));
        cx.alert(&Alert { value: (st.chain >> 12) as f64, ..Alert::default() }).unwrap();
        Verdict::Done
    }
}

#[derive(Default)]
struct Watch {
    jobs: AtomicU64,
    at_once: AtomicU64,
    most: AtomicU64,
}

/// What a worker does beside replying two quotes.
#[derive(Clone, Copy, PartialEq)]
enum Manner {
    /// It takes its time, each time another.
    Slow,
    /// With every seventh request of a symbol it panics.
    Panics,
    /// It gives up on every ninth.
    Fails,
    /// Never comes back from the twentieth request of one symbol, as far as the test goes.
    Hangs,
}

struct Pricer(Manner, Arc<Watch>);

impl Worker for Pricer {
    const NAME: &'static str = "pricer";

    fn run(&mut self, ask: &JobAsk<'_>, reply: &mut Reply) -> Result<(), u16> {
        let at_once = self.1.at_once.fetch_add(1, Ordering::Relaxed) + 1;
        self.1.most.fetch_max(at_once, Ordering::Relaxed);
        // It depends on the run, not on the ask.
        let nth = self.1.jobs.fetch_add(1, Ordering::Relaxed);
        thread::sleep(Duration::from_micros(nth * 7_919 % 3_000));
        self.1.at_once.fetch_sub(1, Ordering::Relaxed);
        let symbol = hash::stable(ask.symbol) >> 40;
        for part in 0..2 {
            let bid_px = (symbol + ask.token * 10 + part) as i64;
            let quote = Quote { bid_px, ask_px: bid_px + 1, bid_sz: 1, ask_sz: 1 };
            reply.push(&EventBuf::new(&quote)).map_err(|_| 1_u16)?;
        }
        match self.0 {
            Manner::Panics if ask.request.0.is_multiple_of(7) => {
                std::panic::resume_unwind(Box::new("wanted by a test"))
            }
            Manner::Fails if ask.request.0.is_multiple_of(9) => Err(900),
            Manner::Hangs if ask.request.0 == 20 && ask.symbol == b"J:TWO" => {
                thread::sleep(Duration::from_secs(3_600));
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

/// Replays with this `[requests]` section and pipeline.
fn replay<C: Chain + 'static>(
    tape: &Tape,
    section: &str,
    shards: usize,
    pipeline: impl Fn(Pipeline<Defaults>) -> Pipeline<C>,
) -> Result<Report, EngineError> {
    let setup = unpaced(setup(&tape.0.path("a.tape"), &format!("[requests]\n{section}"), shards));
    report(setup, |bus: BusBuilder<End>| pipeline(Pipeline::new(bus, &Parameters::default())))
}

fn priced(tape: &Tape, section: &str, shards: usize, manner: Manner) -> (Report, Vec<RequestEnd>, Arc<Watch>) {
    let (log, watch) = (Log::default(), Arc::<Watch>::default());
    let report = replay(tape, section, shards, |r| {
        let watch = Arc::clone(&watch);
        r.bare().handler(|| Asker(log.clone())).job(PRICE, move || Pricer(manner, Arc::clone(&watch)))
    });
    let ends = log.lock().unwrap().clone();
    (report.unwrap(), ends, watch)
}

fn worker(report: &Report) -> KindReport {
    let workers = report.requests.workers.as_ref().unwrap();
    let [kind] = &workers.kinds[..] else { panic!("one kind: {workers:?}") };
    kind.clone()
}

#[test]
fn jobs_off_the_core_come_to_the_same_for_any_number_of_shards_and_workers() {
    let tape = Tape::new("same");
    for manner in [Manner::Slow, Manner::Panics, Manner::Fails] {
        let mut first: Option<Report> = None;
        for (shards, workers) in [(1, 1), (2, 4), (1, 4), (2, 1)] {
            let place = format!("{shards} shards, {workers} workers");
            let (report, ends, watch) = priced(&tape, &format!("workers = {workers}"), shards, manner);
            // Forty requests of each symbol: every 7th of them is 5, every 9th 4.
            let bad = match manner {
                Manner::Panics => 5 * SYMBOLS.len() as u64,
                Manner::Fails => 4 * SYMBOLS.len() as u64,
                _ => 0,
            };
            let code = if manner == Manner::Panics { ERROR_PANIC } else { 900 };
            let count = |end: RequestEnd| ends.iter().filter(|other| **other == end).count() as u64;
            assert_eq!((count(RequestEnd::Served), count(RequestEnd::Failed(code))), (ASKS - bad, bad), "{place}");
            let requests = &report.requests;
            assert_eq!((requests.asked, requests.served, requests.failed), (ASKS, ASKS - bad, bad), "{place}");
            let kind = worker(&report);
            assert_eq!((kind.done, kind.failed + kind.panicked, kind.overran), (ASKS - bad, bad, 0), "{place}");
            assert_eq!(kind.events, 2 * (ASKS - bad), "{place}: nothing of a job that failed");
            assert_eq!(kind.replaced, if manner == Manner::Panics { bad } else { 0 }, "{place}");
            assert!(watch.most.load(Ordering::Relaxed) <= workers, "{place}");
            assert_eq!(report.outputs.get("signal"), Some(&(2 * (ASKS - bad))), "{place}");
            assert_eq!(report.outputs.get("quote"), None, "{place}: replies are no outputs");
            assert_eq!(report.digest_scope, DigestScope::Any, "{place}");
            match &first {
                None => first = Some(report),
                Some(other) => assert_eq!(report.digest, other.digest, "{place}"),
            }
        }
    }
}

/// A job that does not come back keeps nobody: its request fails, all others are served.
#[test]
fn req_3385_a_worker_that_hangs_is_replaced_and_the_replay_goes_on() {
    let tape = Tape::new("hangs");
    let (report, ends, _) = priced(&tape, "workers = 1\njob_deadline = \"1s\"", 2, Manner::Hangs);
    let overran = ends.iter().filter(|end| **end == RequestEnd::Failed(FAILED_OVERRUN)).count();
    assert_eq!((overran, ends.len() as u64), (1, ASKS));
    let kind = worker(&report);
    assert_eq!((kind.done, kind.overran, kind.replaced), (ASKS - 1, 1, 1));
    assert_eq!(report.digest_scope, DigestScope::ThisRun, "the machine's speed has decided");
    let workers = report.requests.workers.as_ref().unwrap();
    assert_eq!((workers.threads, workers.left_behind), (1, 1));
    assert!(workers.reasons[0].contains("worker pricer, job 16: took longer than requests.job_deadline = 1s"));
}

/// The limit follows the backlog between the bounds of the configuration: that is what `jobs_min` and `jobs_max` do.
#[test]
fn the_bounds_of_the_configuration_bound_what_is_under_way() {
    let tape = Tape::new("bounds");
    let most = |section: &str| {
        let (report, ends, watch) = priced(&tape, section, 1, Manner::Slow);
        assert_eq!(ends.len() as u64, ASKS);
        (watch.most.load(Ordering::Relaxed), report)
    };
    // Five symbols ask at one instant, and a job is under way for 100 ms of shard time, in which they ask again.
    let base = "workers = 8\nin_flight_per_symbol = 8\njob_delay = \"100ms\"\n";
    let (few, report) = most(&format!("{base}jobs_min = 1\njobs_max = 2"));
    assert!(few <= 2, "{few} jobs at once");
    let jobs = report.requests.jobs.unwrap();
    assert!(jobs.grown > 0 && jobs.full > 0, "{jobs:?}");
    let (many, report) = most(&format!("{base}jobs_min = 8\njobs_max = 8"));
    assert!((3..=8).contains(&many), "{many} jobs at once");
    assert_eq!(report.requests.jobs.unwrap().grown, 0);
}

#[test]
fn workers_that_cannot_be_end_the_start_with_a_word() {
    struct Server;
    impl Handler for Server {
        type State = u64;
        const NAME: &'static str = "server";
        const STATE_VERSION: u16 = 1;
        fn interests(&self) -> KindSet {
            KindSet::EMPTY
        }
        fn serves(&self) -> JobSet {
            JobSet::of(&[PRICE])
        }
        fn on_event(&self, _: &mut u64, _: EventRef<'_>, _: &mut Ctx<'_>) -> Verdict {
            Verdict::Done
        }
        fn on_request(&self, _: &mut u64, _: &Ask, _: &mut Ctx<'_>) -> Verdict {
            Verdict::Done
        }
    }
    let tape = Tape::new("refused");
    let pricer = || Pricer(Manner::Slow, Arc::default());
    let told = |result: Result<Report, EngineError>| result.unwrap_err().to_string();
    let both = replay(&tape, "", 1, |r| r.handler(|| Server).job(PRICE, pricer));
    assert_eq!(told(both), "worker pricer: job 16 is served by a handler, too");
    let low = replay(&tape, "", 1, |r| r.job(Job::FEATURES, pricer));
    assert_eq!(told(low), "worker pricer: job 1 is not one of 16 to 63, which are for users");
    // Nobody asks: the workers are there, and nothing is told of them.
    let idle = replay(&tape, "", 2, |r| r.job(PRICE, pricer)).unwrap();
    assert_eq!(idle.requests.workers.unwrap().kinds[0].made, 0);
}
