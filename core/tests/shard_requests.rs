//! Requests on a whole shard: served in order at their instants, replies and ends to who asked, and nothing that depends on cuts.

#[path = "common/lone.rs"]
mod lone;
#[path = "common/panics.rs"]
mod panics;
#[path = "common/shard_rig.rs"]
mod shard_rig;

use bytemuck::{Pod, Zeroable};
use lone::Lone;
use panics::{BOOM, silence};
use shard_rig::{MILLI, Rig, SECOND, START, SYMBOLS_MAX, Sizes, feed, stream, tick};
use std::sync::{Arc, Mutex};
use tapeline_core::book::Books;
use tapeline_core::bus::{Bus, BusBuilder, BusError, Chain};
use tapeline_core::catalog::Catalog;
use tapeline_core::dead::ERROR_PANIC;
use tapeline_core::event::payload::{Alert, BookLevel, Epoch, Features, Gap, LevelAction, Quarantine, Signal, Trade};
use tapeline_core::event::{EventBuf, EventRef, Flags, Kind, KindSet};
use tapeline_core::features::{Engine, Feature};
use tapeline_core::handler::{
    Ask, Ctx, Handler, Job, JobSet, RequestEnd, RequestId, RequestRefusal, TimerId, Verdict, Wish,
};
use tapeline_core::ledger::Refusal;
use tapeline_core::queue::Priority;
use tapeline_core::requests::JobOrder;
use tapeline_core::ring::{self, Producer};
use tapeline_core::shard::{Config, Limit, Shard};
use tapeline_core::testing::{Prng, for_seeds};
use tapeline_core::units::{PRICE_ONE, Side, SourceId, SymbolId, UnixNanos};

const WORK: Job = Job::USER;
/// A chain over all calls, so that any change of order shows.
#[repr(C)]
#[derive(Clone, Copy, Default, Pod, Zeroable)]
struct Seen {
    chain: u64,
    asked: u64,
    ended: u64,
    timer: TimerId,
}

impl Seen {
    fn take(&mut self, words: [u64; 3]) {
        let all = [self.chain, words[0], words[1], words[2]];
        self.chain = tapeline_core::hash::stable(bytemuck::bytes_of(&all));
    }
}

/// Asks for work now and then, sets timers and takes them back, and says what came of it.
struct Asker<const N: usize>;

impl<const N: usize> Asker<N> {
    fn ask(st: &mut Seen, rand: u64, cx: &mut Ctx<'_>) {
        let now = cx.now();
        let wish = Wish {
            job: if rand.is_multiple_of(40) { Job(40) } else { WORK },
            groups: [1, 1, 3, 6, 0][(rand >> 8) as usize % 5],
            priority: Priority::new((rand >> 16) as u8 & 7).unwrap(),
            expires_at: if rand >> 20 & 3 == 0 { now.saturating_add(rand >> 24 & 0x7f_ffff) } else { UnixNanos::ZERO },
            token: rand >> 50 & 1,
        };
        st.take([cx.request(&wish).unwrap().0, now.0, 1]);
        st.asked += 1;
    }
}

impl<const N: usize> Handler for Asker<N> {
    type State = Seen;
    const NAME: &'static str = ["asker.a", "asker.b"][N];
    const STATE_VERSION: u16 = 1;

    fn interests(&self) -> KindSet {
        KindSet::of(&[Kind::TRADE, Kind::QUOTE])
    }

    fn on_event(&self, st: &mut Seen, ev: EventRef<'_>, cx: &mut Ctx<'_>) -> Verdict {
        st.take([ev.head().seq, cx.now().0, 0]);
        let rand = cx.rand(st.chain);
        match rand % 5 {
            0 | 1 => Self::ask(st, rand >> 3, cx),
            2 => {
                // The timer before is taken back, if it has not fired.
                cx.cancel(st.timer).unwrap();
                st.timer = cx.timer_at(cx.now().saturating_add((rand >> 8) % (40 * MILLI)), rand).unwrap();
            }
            _ => {}
        }
        match rand % 31 {
            7 => Verdict::Retry(7),
            8 => Verdict::Fail(8),
            _ => Verdict::Done,
        }
    }

    fn on_timer(&self, st: &mut Seen, token: u64, cx: &mut Ctx<'_>) -> Verdict {
        st.take([token, cx.now().0, 2]);
        Self::ask(st, token >> 5, cx);
        Verdict::Done
    }

    fn on_reply(&self, st: &mut Seen, request: RequestId, ev: EventRef<'_>, cx: &mut Ctx<'_>) -> Verdict {
        let signal = ev.get::<Signal>().expect("a reply is of signals");
        st.take([request.0, signal.strength.to_bits(), cx.now().0]);
        let rand = cx.rand(st.chain);
        match rand % 16 {
            0 => Self::ask(st, rand >> 4, cx),
            1 => return Verdict::Fail(1),
            2 if rand.is_multiple_of(22) => std::panic::panic_any(BOOM),
            _ => {}
        }
        Verdict::Done
    }

    fn on_request_end(&self, st: &mut Seen, request: RequestId, end: RequestEnd, cx: &mut Ctx<'_>) -> Verdict {
        let code = match end {
            RequestEnd::Served => 0,
            RequestEnd::Refused(reason) => 1 + reason as u64,
            RequestEnd::Expired => 10,
            RequestEnd::Failed(code) => 1_000 + u64::from(code),
            _ => 11,
        };
        st.take([request.0, code, cx.now().0]);
        st.ended += 1;
        let alert = Alert { value: request.0 as f64, reference: code as f64, rule: N as u16, ..Alert::default() };
        cx.alert(&alert).unwrap();
        Verdict::Done
    }
}

/// Does the work: some signals that are the reply, or a retry, a failure, a panic.
struct Server;

impl Handler for Server {
    type State = Seen;
    const NAME: &'static str = "server";
    const STATE_VERSION: u16 = 1;

    fn interests(&self) -> KindSet {
        KindSet::of(&[Kind::TRADE])
    }

    fn serves(&self) -> JobSet {
        JobSet::of(&[WORK])
    }

    fn on_event(&self, st: &mut Seen, ev: EventRef<'_>, cx: &mut Ctx<'_>) -> Verdict {
        st.take([ev.head().seq, cx.now().0, 0]);
        Verdict::Done
    }

    fn on_request(&self, st: &mut Seen, ask: &Ask, cx: &mut Ctx<'_>) -> Verdict {
        assert_eq!((ask.job, ask.symbol), (WORK, cx.symbol()));
        assert!(ask.queued_at < cx.now() && cx.now().0.is_multiple_of(MILLI));
        st.take([ask.request.0, ask.groups << 8 | u64::from(ask.priority.class()), cx.now().0]);
        st.take([u64::from(ask.asked), ask.queued_at.0, u64::from(ask.attempt)]);
        let rand = cx.rand(st.chain);
        for _ in 0..rand % 3 {
            let strength = (st.chain >> 12) as f64;
            cx.signal(&Signal { strength, ..Signal::default() }).unwrap();
        }
        match rand >> 8 & 15 {
            0 | 1 => Verdict::Retry(3),
            2 => Verdict::Fail(4),
            3 if rand >> 16 & 7 == 0 => std::panic::panic_any(BOOM),
            _ => Verdict::Done,
        }
    }
}

/// Listens to what servers reply, as anybody may.
struct Listener;

impl Handler for Listener {
    type State = Seen;
    const NAME: &'static str = "listener";
    const STATE_VERSION: u16 = 1;

    fn interests(&self) -> KindSet {
        KindSet::of(&[Kind::SIGNAL])
    }

    fn on_event(&self, st: &mut Seen, ev: EventRef<'_>, cx: &mut Ctx<'_>) -> Verdict {
        st.take([ev.head().seq, u64::from(ev.head().part), cx.now().0]);
        if st.chain.is_multiple_of(9) { Verdict::Retry(9) } else { Verdict::Done }
    }
}

#[test]
fn req_3479_requests_do_not_depend_on_cuts_or_shards() {
    silence();
    let bus = |catalog: &mut Catalog| -> Bus<_> {
        let bus = BusBuilder::new(SYMBOLS_MAX).then(Asker::<0>).then(Server).then(Listener);
        bus.dynamic(0, Asker::<1>).build(catalog).unwrap()
    };
    for_seeds(0..6, |seed, prng| {
        let events = stream(seed, 900, [MILLI / 10, 3 * MILLI, SECOND][seed as usize % 3], feed(4));
        let mut first: Option<shard_rig::Result> = None;
        for shards in 1..=3 {
            for ring in [64, 1024] {
                let sizes = Sizes { source_ring: ring, ..Sizes::of(shards) };
                let mut rig = Rig::new(bus, events.clone(), sizes);
                rig.run(prng, 1_000_000);
                let result = rig.result();
                let requests = &result.requests;
                assert!(rig.shards.iter().all(|shard| shard.requests().is_idle()), "a drain serves all");
                assert!(requests.served > 50 && requests.merged + requests.joined > 5, "seed {seed}: {requests:?}");
                assert!(requests.retries > 10 && requests.failed > 5 && requests.replies_failed > 0, "{requests:?}");
                assert!(seed != 1 || requests.expired > 0, "seed {seed}: {requests:?}");
                assert_eq!(requests.untold + requests.pending + requests.in_flight + requests.waiting, 0);
                match &first {
                    None => first = Some(result),
                    Some(first) => first.assert_same(&result, &format!("seed {seed}, {sizes:?}")),
                }
            }
        }
        // Each wish has one end, told in an alert unless its asker was quarantined meanwhile.
        let first = first.unwrap();
        let mut ends: Vec<(u32, u64)> = Vec::new();
        for (symbol, outputs) in &first.outputs.0 {
            let alerts = outputs.iter().filter_map(|slots| EventRef::first(slots).unwrap().get::<Alert>().copied());
            ends.extend(alerts.map(|alert| (*symbol, alert.value as u64)));
        }
        let told = ends.len() as u64;
        ends.sort_unstable();
        ends.dedup();
        assert_eq!(ends.len() as u64, told, "an end was told twice");
        assert!(told <= first.requests.asked && told > first.requests.asked * 9 / 10, "{told}: {:?}", first.requests);
    });
}

/// What a [`Desk`] was called with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Call {
    Event(u64, u64),
    /// Request, groups, askers, attempt, ms.
    Serve(u64, u64, u32, u16, u64),
    /// Request, number of the reply, ms.
    Reply(u64, u64, u64),
    End(u64, RequestEnd, u64),
}

type Log = Arc<Mutex<Vec<Call>>>;

/// Asks and serves by itself: a trade asks for its price's groups, with its size as token and its depth as priority, for
/// `ts_in_delta` ms.
///
/// The token says what becomes of it: 0 to 9 are that many signals, 10 is a retry without end, 11 a failure, 12 a panic, 13 another
/// request when the end is told, 20 and more a job that nobody serves.
struct Desk(Log);

impl Handler for Desk {
    type State = u64;
    const NAME: &'static str = "desk";
    const STATE_VERSION: u16 = 1;

    fn interests(&self) -> KindSet {
        KindSet::of(&[Kind::TRADE])
    }

    fn serves(&self) -> JobSet {
        JobSet::of(&[WORK])
    }

    fn on_event(&self, _st: &mut u64, ev: EventRef<'_>, cx: &mut Ctx<'_>) -> Verdict {
        let trade = ev.get::<Trade>().unwrap();
        self.0.lock().unwrap().push(Call::Event(ev.head().seq, ms(cx)));
        if trade.price >= 0 {
            let expires_at = match trade.ts_in_delta {
                0 => UnixNanos::ZERO,
                expiry => cx.now().saturating_add(expiry as u64 * MILLI),
            };
            let job = if trade.size < 20 { WORK } else { Job(trade.size as u8) };
            let priority = Priority::new(trade.depth).unwrap();
            let wish = Wish { job, groups: trade.price as u64, priority, expires_at, token: trade.size };
            cx.request(&wish).unwrap();
        }
        Verdict::Done
    }

    fn on_request(&self, st: &mut u64, ask: &Ask, cx: &mut Ctx<'_>) -> Verdict {
        *st += 1;
        self.0.lock().unwrap().push(Call::Serve(ask.request.0, ask.groups, ask.asked, ask.attempt, ms(cx)));
        for number in 0..ask.token.min(9) {
            cx.signal(&Signal { strength: number as f64, ..Signal::default() }).unwrap();
        }
        match ask.token {
            10 => Verdict::Retry(10),
            11 => Verdict::Fail(11),
            12 => std::panic::panic_any(BOOM),
            _ => Verdict::Done,
        }
    }

    fn on_reply(&self, _st: &mut u64, request: RequestId, ev: EventRef<'_>, cx: &mut Ctx<'_>) -> Verdict {
        let number = ev.get::<Signal>().unwrap().strength as u64;
        self.0.lock().unwrap().push(Call::Reply(request.0, number, ms(cx)));
        Verdict::Done
    }

    fn on_request_end(&self, _st: &mut u64, request: RequestId, end: RequestEnd, cx: &mut Ctx<'_>) -> Verdict {
        self.0.lock().unwrap().push(Call::End(request.0, end, ms(cx)));
        Verdict::Done
    }
}

fn ms(cx: &Ctx<'_>) -> u64 {
    (cx.now().0 - START) / MILLI
}

/// One shard with one desk.
struct Office {
    lone: Lone<()>,
    log: Log,
    seq: u64,
}

impl std::ops::Deref for Office {
    type Target = Lone<()>;

    fn deref(&self) -> &Lone<()> {
        &self.lone
    }
}

impl std::ops::DerefMut for Office {
    fn deref_mut(&mut self) -> &mut Lone<()> {
        &mut self.lone
    }
}

impl Office {
    fn new(change: impl FnOnce(&mut Config)) -> Self {
        let log = Log::default();
        let mut config = Config::single();
        change(&mut config);
        Self { lone: Lone::new(config, Desk(log.clone()), (), |_| {}), log, seq: 0 }
    }

    /// A trade at `us` microseconds: see [`Desk`].
    fn send(&mut self, symbol: u32, us: u64, groups: i64, token: u64, priority: u8, expires_ms: i32) {
        let trade = Trade { price: groups, size: token, depth: priority, ts_in_delta: expires_ms, ..Trade::default() };
        self.seq += 1;
        self.lone.push(symbol, self.seq, us, &trade);
    }

    /// What was called since the last time, events left out.
    fn calls(&self) -> Vec<Call> {
        let calls = std::mem::take(&mut *self.log.lock().unwrap());
        calls.into_iter().filter(|call| !matches!(call, Call::Event(..))).collect()
    }
}

#[test]
fn a_request_is_served_at_the_next_instant_before_later_events_and_its_reply_comes_back() {
    let mut office = Office::new(|_| {});
    office.send(1, 300, 1, 2, 3, 0);
    // Exactly at an instant: what is asked then is for the next one.
    office.send(2, 1_000, 1, 1, 3, 0);
    office.send(1, 1_000, -1, 0, 0, 0);
    office.send(1, 2_000, -1, 0, 0, 0);
    let all = std::mem::take(&mut *office.log.lock().unwrap());
    let expected = [
        Call::Event(1, 0),
        Call::Serve(1, 1, 1, 1, 1),
        Call::Reply(1, 0, 1),
        Call::Reply(1, 1, 1),
        Call::End(1, RequestEnd::Served, 1),
        Call::Event(2, 1),
        Call::Event(3, 1),
        Call::Serve(1, 1, 1, 1, 2),
        Call::Reply(1, 0, 2),
        Call::End(1, RequestEnd::Served, 2),
        Call::Event(4, 2),
    ];
    assert_eq!(all, expected);
    assert_eq!(office.shard.derived().row(Kind::SIGNAL).delivered, 3, "a reply is an output like any other");
    assert!(office.shard.requests().is_idle());
}

#[test]
fn req_3382_equal_requests_are_served_once_and_all_who_asked_get_the_reply() {
    let mut office = Office::new(|_| {});
    office.send(1, 100, 0b01, 1, 3, 0);
    office.send(1, 200, 0b01, 1, 3, 0);
    office.send(1, 300, 0b11, 1, 3, 0);
    // Another token is another request.
    office.send(1, 400, 0b01, 0, 3, 0);
    office.pass(5);
    let expected = [
        Call::Serve(1, 0b11, 3, 1, 1),
        Call::Reply(1, 0, 1),
        Call::Reply(2, 0, 1),
        Call::Reply(3, 0, 1),
        Call::End(1, RequestEnd::Served, 1),
        Call::End(2, RequestEnd::Served, 1),
        Call::End(3, RequestEnd::Served, 1),
        Call::Serve(4, 0b01, 1, 1, 1),
        Call::End(4, RequestEnd::Served, 1),
    ];
    assert_eq!(office.calls(), expected);
    let counters = *office.shard.requests().counters();
    assert_eq!((counters.asked, counters.queued, counters.merged, counters.joined, counters.served), (4, 2, 1, 1, 2));
    // A request takes so many of those who ask; the next one is a request of its own, not lost.
    for number in 0..20 {
        office.send(1, 10_100 + number, 1, 1, 3, 0);
    }
    office.pass(20);
    let calls = office.calls();
    let askers: Vec<u32> = calls
        .iter()
        .filter_map(|call| if let Call::Serve(_, _, asked, ..) = call { Some(*asked) } else { None })
        .collect();
    assert_eq!(askers, [16, 4]);
    assert_eq!(calls.iter().filter(|call| matches!(call, Call::Reply(..))).count(), 20);
}

#[test]
fn req_q7_urgent_requests_of_a_symbol_go_first_and_equal_ones_in_order() {
    let mut office = Office::new(|_| {});
    for (number, class) in [5, 2, 5, 2].into_iter().enumerate() {
        office.send(1, 100 + number as u64, 1 << number, 0, class, 0);
    }
    office.pass(5);
    let served: Vec<u64> = office
        .calls()
        .iter()
        .filter_map(|call| if let Call::Serve(id, ..) = call { Some(*id) } else { None })
        .collect();
    assert_eq!(served, [2, 4, 1, 3]);
}

#[test]
fn req_q4_q5_limits_refuse_and_expiry_ends_and_who_asked_is_told() {
    let mut office = Office::new(|config| {
        config.requests.queue.per_symbol = 2;
        config.requests.queue.capacity = 3;
    });
    for number in 0..3 {
        office.send(1, 100 + number, 1 << number, 0, 3, 0);
    }
    office.send(2, 200, 1, 0, 3, 0);
    office.send(3, 300, 1, 0, 3, 0);
    office.pass(2);
    let refused = |reason| RequestEnd::Refused(reason);
    let calls = office.calls();
    assert_eq!(calls[0], Call::End(3, refused(RequestRefusal::SymbolFull), 1));
    assert_eq!(calls[1], Call::End(1, refused(RequestRefusal::QueueFull), 1));
    assert_eq!(calls.iter().filter(|call| matches!(call, Call::Serve(..))).count(), 3);
    assert_eq!(office.shard.limit_hits(Limit::Requests), 1, "of the two limits, the queue's is shared");
    assert!(office.shard.requests().is_idle());

    // Of three at one instant the budget serves one; the others wait, and one of them no longer than until its time is over.
    let mut office = Office::new(|config| config.requests.service_budget = 1);
    office.send(1, 100, 1, 0, 0, 0);
    office.send(2, 200, 1, 0, 1, 0);
    office.send(3, 300, 1, 1, 7, 2);
    office.pass(9);
    let end = |call: &&Call| matches!(call, Call::End(..));
    let ends: Vec<Call> = office.calls().iter().filter(end).copied().collect();
    let served = |at| Call::End(1, RequestEnd::Served, at);
    assert_eq!(ends, [served(1), served(2), Call::End(1, RequestEnd::Expired, 3)], "2.3 ms, rounded up to the tick");
    let counters = *office.shard.requests().counters();
    assert_eq!((counters.served, counters.expired, counters.pending), (2, 1, 0));
    assert_eq!(office.shard.derived().row(Kind::SIGNAL).offered, 0, "what has expired is not served");
}

#[test]
fn a_budget_leaves_requests_for_the_next_instant_and_says_so() {
    let mut office = Office::new(|config| config.requests.service_budget = 3);
    for symbol in 1..=8 {
        office.send(symbol, 100, 1, 0, 3, 0);
    }
    office.pass(10);
    let served: Vec<u64> = office
        .calls()
        .iter()
        .filter_map(|call| if let Call::Serve(.., at) = call { Some(*at) } else { None })
        .collect();
    assert_eq!(served, [1, 1, 1, 2, 2, 2, 3, 3]);
    assert_eq!(office.shard.limit_hits(Limit::ServiceBudget), 2);
}

#[test]
fn req_3455_retries_end_and_a_finished_request_leaves_nothing() {
    silence();
    let mut office = Office::new(|_| {});
    office.send(1, 100, 1, 10, 3, 0);
    office.send(2, 100, 1, 11, 3, 0);
    office.send(3, 100, 1, 25, 3, 0);
    office.pass(1);
    assert_eq!(office.shard.requests().counters().waiting, 1);
    office.pass(60_000);
    let calls = office.calls();
    let attempts: Vec<u16> = calls
        .iter()
        .filter_map(|call| if let Call::Serve(1, _, _, attempt, _) = call { Some(*attempt) } else { None })
        .collect();
    assert_eq!(attempts, [1, 1, 2, 3, 4, 5], "the request of symbol 2 fails at once");
    assert!(calls.contains(&Call::End(1, RequestEnd::Refused(RequestRefusal::Unserved), 1)));
    assert!(calls.contains(&Call::End(1, RequestEnd::Failed(11), 1)));
    assert!(matches!(calls.last(), Some(Call::End(1, RequestEnd::Failed(10), _))), "{calls:?}");
    // A failed attempt leaves no signal: 10 asks for nine of them.
    assert_eq!(office.shard.derived().row(Kind::SIGNAL).offered, 0);
    for round in 0..3_000u64 {
        office.send(1 + (round % 9) as u32, 70_000_000 + round * 700, 1 << (round % 5), round % 4, 3, 0);
    }
    office.pass(200_000);
    assert!(office.shard.requests().is_idle());
    let counters = office.shard.requests().counters();
    assert_eq!((counters.served + counters.merged, counters.pending), (3_000, 0));
}

#[test]
fn req_3385_a_panic_in_a_request_fails_it_and_three_quarantine_the_handler() {
    silence();
    let mut office = Office::new(|_| {});
    for number in 0..4 {
        office.send(1, 100 + 5_000 * number, 1, 12, 3, 0);
    }
    office.send(2, 100 + 5_000 * 4, 1, 1, 3, 0);
    office.pass(100);
    let calls = office.calls();
    let serves = calls.iter().filter(|call| matches!(call, Call::Serve(_, _, _, _, at) if *at < 20)).count();
    assert_eq!(serves, 3, "the fourth is not even asked for: {calls:?}");
    assert_eq!(calls.iter().filter(|call| matches!(call, Call::End(_, RequestEnd::Failed(ERROR_PANIC), _))).count(), 2);
    assert_eq!(calls.last(), Some(&Call::End(1, RequestEnd::Served, 21)), "for another symbol it serves on");
    let stats = office.shard.handlers()[0].1;
    assert_eq!((stats.panicked, stats.quarantined), (3, 1));
    assert_eq!(office.shard.requests().counters().failed, 3);
}

#[test]
fn req_q2_requests_of_a_symbol_are_cleared_and_who_asked_is_told() {
    let mut office = Office::new(|_| {});
    for number in 0..5 {
        office.send(1, 100 + number, 1 << number, 1, 3, 0);
        office.send(2, 100 + number, 1 << number, 1, 3, 0);
    }
    // They are in the queue from the first instant of service on; the symbol's limit in flight leaves one there.
    office.pass(1);
    assert_eq!(office.shard.requests().counters().pending, 2);
    assert_eq!(office.shard.clear_requests(SymbolId(1)), 1);
    let _ = office.calls();
    office.pass(5);
    let calls = office.calls();
    assert_eq!(calls[0], Call::End(5, RequestEnd::Cleared, 2));
    assert_eq!(calls.iter().filter(|call| matches!(call, Call::Serve(..))).count(), 1, "{calls:?}");
}

#[test]
fn two_handlers_that_serve_one_job_are_refused_by_name() {
    let mut catalog = Catalog::new(8);
    let bus = BusBuilder::new(8).then(Server).dynamic(0, Desk(Log::default()));
    assert_eq!(bus.build(&mut catalog).unwrap_err(), BusError::JobTaken(WORK.0, "desk"));
}

/// Asks for features at each trade of size 7, and notes what comes.
struct Curious(Arc<Mutex<Vec<(u64, u64, f64)>>>);

impl Handler for Curious {
    type State = u64;
    const NAME: &'static str = "curious";
    const STATE_VERSION: u16 = 1;

    fn interests(&self) -> KindSet {
        KindSet::of(&[Kind::TRADE])
    }

    fn on_event(&self, _st: &mut u64, ev: EventRef<'_>, cx: &mut Ctx<'_>) -> Verdict {
        if ev.get::<Trade>().unwrap().size == 7 {
            let (priority, expires_at) = (Priority::FIRST, UnixNanos::ZERO);
            cx.request(&Wish { job: Job::FEATURES, groups: 0, priority, expires_at, token: 0 }).unwrap();
        }
        Verdict::Done
    }

    fn on_reply(&self, _st: &mut u64, _request: RequestId, ev: EventRef<'_>, cx: &mut Ctx<'_>) -> Verdict {
        let features = ev.get::<Features>().expect("a vector");
        let last = Features::values_of(ev).nth(Feature::LastPrice as usize).unwrap();
        self.0.lock().unwrap().push((ms(cx), features.interval_ns, last));
        Verdict::Done
    }
}

#[test]
fn features_are_given_on_request_as_they_stand_and_the_bar_goes_on() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let build = |catalog: &mut Catalog| {
        BusBuilder::new(SYMBOLS_MAX).then(Engine::new()).then(Curious(seen.clone())).build(catalog).unwrap()
    };
    let mut catalog = shard_rig::authority(&build);
    let bus = build(&mut catalog);
    let (mut ring, consumer) = ring::channel(1024);
    let mut shard = Shard::new(Config::single(), catalog, bus, (), consumer, vec![], vec![]);
    for (seq, (at_ms, price, size)) in [(1, 100, 1), (2, 101, 7), (3, 102, 1), (500, 103, 7)].into_iter().enumerate() {
        let mut event = EventBuf::new(&Trade { price: price * PRICE_ONE, size, ..Trade::default() });
        let head = event.head_mut();
        (head.ts_recv, head.seq) = (UnixNanos(START + at_ms * MILLI + 300_000), seq as u64 + 1);
        (head.symbol, head.source) = (SymbolId(1), feed(2));
        ring.push(event.slots()).unwrap();
    }
    ring.push(tick(UnixNanos(START + 2_000 * MILLI), true).slots()).unwrap();
    while shard.step(&mut ()).work > 0 {}
    assert_eq!(*seen.lock().unwrap(), [(3, 0, 101.0), (501, 0, 103.0)]);
    assert_eq!(shard.derived().row(Kind::FEATURES).delivered, 3, "two on request, one at the bar's close");
}

/// Notes what the book of the symbol at hand says at each event: best prices, imbalance of three levels, depth.
type Looks = Arc<Mutex<Vec<Option<(u64, i64, i64, f64, f64)>>>>;

struct Looker(Looks);

impl Handler for Looker {
    type State = u64;
    const NAME: &'static str = "looker";
    const STATE_VERSION: u16 = 1;
    // A book changes between the events of a run: there is none of its kinds.
    const TAKES_RUNS: bool = true;

    fn interests(&self) -> KindSet {
        KindSet::of(&[Kind::BOOK_LEVEL, Kind::GAP, Kind::TRADE])
    }

    fn on_event(&self, _st: &mut u64, _ev: EventRef<'_>, cx: &mut Ctx<'_>) -> Verdict {
        self.0.lock().unwrap().push(cx.book().map(|book| {
            let price = |best: Option<tapeline_core::book::Best>| best.map_or(0, |best| best.price);
            let imbalance = book.imbalance(3).unwrap_or(9.0);
            (book.seq(), price(book.bid()), price(book.ask()), imbalance, book.depth(Side::Bid, 2))
        }));
        Verdict::Done
    }
}

#[test]
fn handlers_see_the_book_with_the_event_at_hand_in_it_and_none_that_is_not_to_be_used() {
    let looks = Looks::default();
    let build =
        |catalog: &mut Catalog| BusBuilder::new(SYMBOLS_MAX).then(Looker(looks.clone())).build(catalog).unwrap();
    let mut catalog = shard_rig::authority(&build);
    let bus = build(&mut catalog);
    let (mut ring, consumer) = ring::channel(4096);
    let config = Config { book_pages: 64, book_orders: 0, dedup_capacity: 0, ..Config::single() };
    let mut shard = Shard::new(config, catalog, bus, (), consumer, vec![], vec![]);
    let mut twin = Books::new(SYMBOLS_MAX, 64, 0, 1);
    let mut expected = Vec::new();
    let mut prng = Prng::new(5);
    let mut seen_none = 0;
    for seq in 1..2_000u64 {
        let symbol = SymbolId(1 + prng.in_range(0..2) as u32);
        let mut event = match prng.in_range(0..200) {
            0 => EventBuf::new(&Gap { expected: seq, received: seq + 1, missing: 1 }),
            1 => EventBuf::new(&Epoch::default()),
            2..=9 => EventBuf::new(&BookLevel { action: LevelAction::Clear as u8, ..BookLevel::default() }),
            10..=20 => EventBuf::new(&Trade { price: 1, size: 1, ..Trade::default() }),
            _ => {
                let side = if prng.one_in(2) { Side::Bid } else { Side::Ask };
                // Now and then the best prices meet: the book is crossed.
                let price =
                    if side == Side::Bid { 100 - prng.in_range(0..9) as i64 } else { 100 + prng.in_range(0..9) as i64 };
                let size = prng.in_range(0..5);
                EventBuf::new(&BookLevel { price, size, side: side as u8, ..BookLevel::default() })
            }
        };
        let is_control = event.head_mut().kind().is_control();
        event.flag(if prng.one_in(10) && !is_control { Flags::NONE } else { Flags::LAST });
        let head = event.head_mut();
        (head.ts_recv, head.seq) = (UnixNanos(START + seq * 1_000), seq);
        if !is_control {
            (head.symbol, head.source) = (symbol, feed(1));
        }
        let whole = EventRef::first(event.slots()).unwrap();
        let _ = twin.apply(whole);
        if !is_control {
            expected.push(twin.top(symbol).ok().map(|top| {
                let sums = [Side::Bid, Side::Ask].map(|side| -> f64 {
                    twin.levels(symbol, side).unwrap().take(3).map(|(_, level)| level.size as f64).sum()
                });
                let both = sums[0] + sums[1];
                let imbalance = if both > 0.0 { (sums[0] - sums[1]) / both } else { 9.0 };
                let depth = twin.levels(symbol, Side::Bid).unwrap().take(2).map(|(_, level)| level.size as f64).sum();
                (top.seq, top.bid.map_or(0, |bid| bid.price), top.ask.map_or(0, |ask| ask.price), imbalance, depth)
            }));
            seen_none += usize::from(expected.last() == Some(&None));
        }
        ring.push(event.slots()).unwrap();
        while shard.step(&mut ()).work > 0 {}
    }
    assert_eq!(*looks.lock().unwrap(), expected);
    assert!(seen_none > 300 && expected.len() - seen_none > 300, "{seen_none} of {}", expected.len());
    assert_eq!(shard.books().unwrap().counts(), twin.counts());
}

#[test]
fn req_3385_a_quarantine_is_an_event_of_its_symbol_and_is_heard() {
    /// Panics at every trade of symbol 2; hears of quarantines.
    struct Shaky;
    impl Handler for Shaky {
        type State = u64;
        const NAME: &'static str = "shaky";
        const STATE_VERSION: u16 = 1;
        fn interests(&self) -> KindSet {
            KindSet::of(&[Kind::TRADE])
        }
        fn on_event(&self, _st: &mut u64, _ev: EventRef<'_>, cx: &mut Ctx<'_>) -> Verdict {
            if cx.symbol() == SymbolId(2) {
                std::panic::panic_any(BOOM);
            }
            Verdict::Done
        }
    }
    struct Ear(Arc<Mutex<Vec<(u32, Quarantine)>>>);
    impl Handler for Ear {
        type State = u64;
        const NAME: &'static str = "ear";
        const STATE_VERSION: u16 = 1;
        fn interests(&self) -> KindSet {
            KindSet::of(&[Kind::QUARANTINE])
        }
        fn on_event(&self, _st: &mut u64, ev: EventRef<'_>, cx: &mut Ctx<'_>) -> Verdict {
            self.0.lock().unwrap().push((cx.symbol().0, *ev.get::<Quarantine>().unwrap()));
            Verdict::Done
        }
    }
    silence();
    let heard = Arc::new(Mutex::new(Vec::new()));
    let bus = |catalog: &mut Catalog| {
        let bus = BusBuilder::new(SYMBOLS_MAX).then(Ear(heard.clone())).then(Shaky);
        bus.build(catalog).unwrap()
    };
    let mut first: Option<shard_rig::Result> = None;
    for shards in 1..=3 {
        let mut rig = Rig::new(bus, stream(3, 300, MILLI, feed(2)), Sizes::of(shards));
        rig.run(&mut Prng::new(shards as u64), 100_000);
        let result = rig.result();
        let outputs: Vec<_> =
            result.outputs.0.iter().flat_map(|(symbol, all)| all.iter().map(move |slots| (*symbol, slots))).collect();
        assert_eq!(outputs.len(), 1);
        assert_eq!((outputs[0].0, outputs[0].1[0].kind()), (2, Kind::QUARANTINE));
        first.get_or_insert_with(|| result.clone()).assert_same(&result, "shards");
    }
    let handler = tapeline_core::hash::stable(b"shaky");
    let expected = Quarantine { handler, strikes: 3, quarantined: 1, ..Quarantine::default() };
    assert_eq!(*heard.lock().unwrap(), [(2, expected); 3]);
}

const ARCHIVE: Job = Job(17);

/// Asks for history now and then, and takes it both as an event like any other and as a reply.
struct Historian;

impl Handler for Historian {
    type State = Seen;
    const NAME: &'static str = "historian";
    const STATE_VERSION: u16 = 1;

    fn interests(&self) -> KindSet {
        KindSet::of(&[Kind::TRADE, Kind::QUOTE])
    }

    fn on_event(&self, st: &mut Seen, ev: EventRef<'_>, cx: &mut Ctx<'_>) -> Verdict {
        let head = ev.head();
        st.take([head.seq, cx.now().0, u64::from(head.flags.0)]);
        cx.signal(&Signal { strength: (st.chain >> 13) as f64, ..Signal::default() }).unwrap();
        let rand = cx.rand(st.chain);
        if !head.flags.contains(Flags::HISTORICAL) && rand.is_multiple_of(12) {
            let wish = Wish {
                job: ARCHIVE,
                groups: 1,
                priority: Priority::FIRST,
                expires_at: UnixNanos::ZERO,
                token: rand >> 8 & 3,
            };
            cx.request(&wish).unwrap();
        }
        if rand.is_multiple_of(40) { Verdict::Retry(40) } else { Verdict::Done }
    }

    fn on_reply(&self, st: &mut Seen, request: RequestId, ev: EventRef<'_>, cx: &mut Ctx<'_>) -> Verdict {
        assert!(ev.head().flags.contains(Flags::HISTORICAL) && ev.head().ts_recv < cx.now());
        st.take([request.0, ev.head().seq, cx.now().0]);
        cx.signal(&Signal { strength: (st.chain >> 12) as f64, ..Signal::default() }).unwrap();
        Verdict::Done
    }

    fn on_request_end(&self, st: &mut Seen, request: RequestId, end: RequestEnd, cx: &mut Ctx<'_>) -> Verdict {
        st.take([request.0, u64::from(end == RequestEnd::Served), cx.now().0]);
        cx.alert(&Alert { value: request.0 as f64, ..Alert::default() }).unwrap();
        Verdict::Done
    }
}

/// Does the jobs of one shard, in its own time: replies of `number % 5` historical trades, every seventh of a failure.
struct Archive {
    replies: Producer,
    todo: std::collections::VecDeque<tapeline_core::requests::JobOrder>,
    source: SourceId,
}

impl Archive {
    fn work(&mut self, shard: &mut Shard<impl Chain>, prng: &mut Prng) {
        while let Some(order) = shard.take_job() {
            assert!(order.due.0 >= order.ordered_at.0 + 10 * MILLI && order.job == ARCHIVE);
            self.todo.push_back(order);
        }
        if prng.one_in(3) {
            return;
        }
        let Some(order) = self.todo.pop_front() else { return };
        for number in 0..order.token * 2 {
            let mut event = EventBuf::new(&Trade { price: 1, size: 1 + number, ..Trade::default() });
            event.flag(Flags::HISTORICAL);
            let head = event.head_mut();
            (head.ts_recv, head.seq) = (UnixNanos(order.ordered_at.0 - SECOND + number), number + 1);
            (head.symbol, head.source) = (order.symbol, self.source);
            self.replies.push(event.slots()).unwrap();
        }
        let mut end = tick(UnixNanos::ZERO, false);
        end.head_mut().seq = order.number;
        end.head_mut().payload[1] = if order.token == 3 { 1 + 77 } else { 0 };
        self.replies.push(end.slots()).unwrap();
    }
}

#[test]
fn req_3380_history_comes_back_in_order_at_its_time_however_long_the_job_takes() {
    let bus = |catalog: &mut Catalog| BusBuilder::new(SYMBOLS_MAX).then(Historian).build(catalog).unwrap();
    for_seeds(0..5, |seed, prng| {
        let events = stream(seed, 600, [MILLI / 10, 3 * MILLI, SECOND][seed as usize % 3], feed(1));
        let mut first: Option<shard_rig::Result> = None;
        for shards in 1..=3 {
            for ring_slots in [64, 1024] {
                let off_core = JobSet::of(&[ARCHIVE]);
                let sizes = Sizes { source_ring: ring_slots, off_core, ..Sizes::of(shards) };
                let mut rig = Rig::new(bus, events.clone(), sizes);
                let mut archives: Vec<Archive> = rig
                    .shards
                    .iter_mut()
                    .map(|shard| {
                        let (replies, consumer) = ring::channel(4096);
                        shard.attach_jobs(consumer);
                        Archive { replies, todo: Default::default(), source: feed(1) }
                    })
                    .collect();
                while !rig.is_drained() {
                    if prng.one_in(3) {
                        rig.source.send(1 + prng.in_range(0..40) as usize);
                    }
                    let at = prng.index(shards);
                    let _ = rig.step(at);
                    if prng.one_in(4) {
                        archives[at].work(&mut rig.shards[at], prng);
                    }
                    assert!(rig.steps < 200_000, "not drained: {:?}", rig.shards);
                }
                let result = rig.result();
                let requests = &result.requests;
                assert!(requests.served > 5 && requests.failed > 1 && requests.is_balanced(), "{requests:?}");
                assert_eq!((requests.stray_ends, requests.replies_lost), (0, 0));
                // The same events come again and again, as the archive numbers them: what is made of them is never the same event.
                for (symbol, outputs) in &result.outputs.0 {
                    let mut identities = std::collections::BTreeSet::new();
                    for head in outputs.iter().map(|slots| slots[0]) {
                        assert!(
                            identities.insert((head.source, head.seq, head.part)),
                            "symbol {symbol}: {head:?} twice"
                        );
                    }
                }
                assert_eq!(result.ledger.total().offered, 600, "the source's events are the source's");
                assert!(result.derived.row(Kind::TRADE).delivered > 10);
                match &first {
                    None => first = Some(result),
                    Some(first) => first.assert_same(&result, &format!("seed {seed}, {sizes:?}")),
                }
            }
        }
    });
}

#[test]
fn jobs_off_the_core_are_bounded_wait_their_turn_and_are_refused_without_a_ring() {
    let mut office = Office::new(|config| {
        config.requests.off_core = JobSet::of(&[Job(25)]);
        config.requests.jobs_max = 2;
    });
    office.send(1, 100, 1, 25, 3, 0);
    office.pass(2);
    assert_eq!(office.calls(), [Call::End(1, RequestEnd::Refused(RequestRefusal::Unserved), 1)]);
    let (mut replies, consumer) = ring::channel(64);
    office.shard.attach_jobs(consumer);
    for symbol in 1..=3 {
        office.send(symbol, 2_100, 1, 25, 3, 0);
    }
    office.pass(12);
    let orders: Vec<_> = std::iter::from_fn(|| office.shard.take_job()).collect();
    assert_eq!(orders.iter().map(|order| (order.number, order.symbol.0)).collect::<Vec<_>>(), [(1, 1), (2, 2)]);
    assert_eq!((orders[0].ordered_at.0 - START, orders[0].due.0 - START), (3 * MILLI, 13 * MILLI));
    // Nothing later is begun without the reply.
    office.send(9, 13_000, -1, 0, 0, 0);
    assert_eq!(*office.log.lock().unwrap().last().unwrap(), Call::Event(4, 2), "the trade of 13 ms waits");
    let mut end = tick(UnixNanos::ZERO, false);
    for number in 1..=2 {
        end.head_mut().seq = number;
        replies.push(end.slots()).unwrap();
    }
    office.step();
    assert_eq!(*office.log.lock().unwrap().last().unwrap(), Call::Event(5, 13));
    office.pass(15);
    assert_eq!(office.calls()[..2], [Call::End(2, RequestEnd::Served, 14), Call::End(1, RequestEnd::Served, 14)]);
    let last: Vec<_> = std::iter::from_fn(|| office.shard.take_job()).collect();
    assert_eq!((last.len(), last[0].symbol), (1, SymbolId(3)));
    assert!(office.shard.requests().counters().jobs_full > 0);
}

/// A shard with a desk whose job 25 is done off the core, and the ring for replies.
fn office_with_jobs(change: impl FnOnce(&mut Config)) -> (Office, Producer) {
    let mut office = Office::new(|config| {
        config.requests.off_core = JobSet::of(&[Job(25)]);
        change(config);
    });
    let (replies, consumer) = ring::channel(64);
    office.shard.attach_jobs(consumer);
    (office, replies)
}

fn end_of(number: u64) -> EventBuf {
    let mut end = tick(UnixNanos::ZERO, false);
    end.head_mut().seq = number;
    end
}

#[test]
fn what_waits_for_a_place_off_the_core_keeps_its_age_expires_and_holds_up_nobody() {
    let (mut office, mut replies) = office_with_jobs(|config| {
        config.requests.jobs_max = 1;
        config.requests.job_delay_ns = 2 * SECOND;
        config.requests.service_budget = 1;
    });
    let mut ordered = Vec::new();
    let mut take = |office: &mut Office| {
        ordered.extend(std::iter::from_fn(|| office.shard.take_job()).map(|order| order.symbol.0));
        ordered.clone()
    };
    office.send(1, 100, 1, 25, 3, 0);
    office.send(2, 1_100, 1, 25, 3, 0);
    office.send(5, 1_200, 1, 25, 3, 100);
    office.send(6, 1_300, 1, 25, 3, 0);
    office.pass(50);
    assert_eq!(take(&mut office), [1]);
    assert_eq!(office.shard.requests().counters().pending, 3);
    assert_eq!(office.shard.requests().hottest(), Some((SymbolId(2), 1)));
    assert_eq!(office.shard.clear_requests(SymbolId(6)), 1, "what waits for a place can be taken out");
    // More urgent by one class, which is a head start of one second, and 1.5 s younger.
    office.send(3, 1_500_000, 1, 25, 2, 0);
    // Least urgent of all, and served by a handler: a full station off the core is none of its business.
    office.send(4, 1_500_100, 1, 1, 7, 0);
    office.pass(1_510);
    let calls = office.calls();
    assert!(calls.contains(&Call::Serve(1, 1, 1, 1, 1_501)), "{calls:?}");
    assert!(calls.contains(&Call::End(1, RequestEnd::Expired, 102)), "{calls:?}");
    assert_eq!(take(&mut office), [1]);
    replies.push(end_of(1).slots()).unwrap();
    office.pass(2_010);
    assert_eq!(take(&mut office), [1, 2], "the older one goes first");
    replies.push(end_of(2).slots()).unwrap();
    office.pass(4_010);
    assert_eq!(take(&mut office), [1, 2, 3]);
    let counters = office.shard.requests().counters();
    assert_eq!((counters.served, counters.expired, counters.cleared, counters.over_budget), (3, 1, 1, 0));
    assert!(counters.jobs_full > 1_000, "at each instant at which something waited");
    assert_eq!(office.shard.limit_hits(Limit::JobsFull), counters.jobs_full, "a shared limit acted, and says so");
}

#[test]
fn replies_from_outside_are_not_trusted() {
    let (mut office, mut replies) = office_with_jobs(|_| {});
    for symbol in 1..=3 {
        office.send(symbol, 100, 1, 25, 3, 0);
    }
    office.pass(5);
    assert_eq!(std::iter::from_fn(|| office.shard.take_job()).count(), 3);
    let mut push = |symbol: u32, event: &mut EventBuf, flags: Flags| {
        event.flag(flags);
        let head = event.head_mut();
        (head.ts_recv, head.seq) = (UnixNanos(START), 1);
        (head.symbol, head.source) = (SymbolId(symbol), office.source);
        replies.push(event.slots()).unwrap();
    };
    let trade = Trade { price: -1, size: 1, ..Trade::default() };
    // One that breaks its schema, another symbol's, one that is not marked as past, one that nobody defined, a definition; then a good one.
    push(1, &mut EventBuf::new(&Signal { strength: 9.0, ..Signal::default() }), Flags::NONE);
    push(2, &mut EventBuf::new(&Signal::default()), Flags::NONE);
    push(1, &mut EventBuf::new(&trade), Flags::NONE);
    push(60, &mut EventBuf::new(&Signal::default()), Flags::NONE);
    push(1, &mut EventBuf::new(&Epoch::default()), Flags::NONE);
    push(1, &mut EventBuf::new(&Signal { strength: 1.0, ..Signal::default() }), Flags::NONE);
    // Ends of no job, the end of the second in place of the first's, that once more, and the third's. What came of the second's reply was taken
    // for the first's, and refused: it has failed as well.
    for number in [0, 99, u64::MAX, 2, 2, 3] {
        replies.push(end_of(number).slots()).unwrap();
    }
    office.pass(20);
    assert!(office.shard.requests().is_idle(), "nothing waits for ever");
    let lost = RequestEnd::Failed(tapeline_core::requests::ERROR_REPLY_LOST);
    let (lost, served) = (Call::End(1, lost, 12), Call::End(1, RequestEnd::Served, 12));
    assert_eq!(office.calls(), [Call::Reply(1, 1, 11), lost, lost, served]);
    let derived = office.shard.derived();
    assert_eq!(derived.refused_by(Refusal::StrayReply), 2);
    assert_eq!((derived.refused_by(Refusal::UnknownSymbol), derived.refused_by(Refusal::UnknownKind)), (1, 1));
    assert_eq!(derived.refused_by(Refusal::OutOfRange), 1);
    let counters = office.shard.requests().counters();
    assert_eq!((counters.stray_ends, counters.replies_lost, counters.failed, counters.served), (4, 2, 2, 1));
}

#[test]
fn a_reply_fails_whose_office_is_gone_and_the_shard_goes_on() {
    let (mut office, replies) = office_with_jobs(|_| {});
    for symbol in 1..=2 {
        office.send(symbol, 100, 1, 25, 3, 0);
    }
    office.pass(5);
    assert_eq!(std::iter::from_fn(|| office.shard.take_job()).count(), 2);
    drop(replies);
    office.pass(20);
    assert!(office.shard.requests().is_idle(), "nothing waits for ever");
    let lost = Call::End(1, RequestEnd::Failed(tapeline_core::requests::ERROR_REPLY_LOST), 12);
    assert_eq!(office.calls(), [lost, lost]);
    let counters = office.shard.requests().counters();
    assert_eq!((counters.replies_lost, counters.failed, counters.stray_ends), (2, 2, 0));
}

#[test]
fn req_3483_jobs_off_the_core_grow_with_the_backlog_and_shrink_when_it_is_gone_within_limits_of_a_symbol() {
    let orders = |leap_ms: usize| {
        let (mut office, mut replies) = office_with_jobs(|config| {
            (config.requests.jobs_min, config.requests.jobs_max) = (1, 8);
            config.requests.queue.in_flight_per_symbol = 2;
        });
        assert_eq!(office.shard.requests().jobs().map(|jobs| jobs.limit), Some(1));
        // 36 requests, no two of which are merged.
        for bit in 0..4 {
            for symbol in 1..=9 {
                office.send(symbol, 100, 1 << bit, 25, 3, 0);
            }
        }
        let mut seen = Vec::new();
        for ms in (0..400).step_by(leap_ms).skip(1) {
            office.pass(ms as u64);
            // Done at once, and due all the same ten milliseconds after they were ordered.
            while let Some(order) = office.shard.take_job() {
                replies.push(end_of(order.number).slots()).unwrap();
                seen.push(order);
            }
            office.step();
        }
        let jobs = office.shard.requests().jobs().unwrap();
        assert_eq!((jobs.under_way, jobs.pending), (0, 0));
        assert!(jobs.grown >= 5, "{jobs:?}");
        let stats = office.shard.stats();
        assert_eq!((stats.jobs, stats.requests.served), (Some(jobs), 36));
        (seen, office, replies)
    };
    let (seen, mut office, mut replies) = orders(1);
    assert_eq!(seen.len(), 36);
    let mut most = 0;
    for order in &seen {
        let under_way = |other: &&JobOrder| other.ordered_at <= order.ordered_at && order.ordered_at < other.due;
        let at_once = seen.iter().filter(under_way).count();
        most = most.max(at_once);
        assert!(at_once <= 8, "{at_once} jobs at once");
        let of_symbol = seen.iter().filter(under_way).filter(|other| other.symbol == order.symbol).count();
        assert!(of_symbol <= 2, "{of_symbol} jobs of {} at once", order.symbol.0);
    }
    assert_eq!(most, 8, "as many as may, and not at first");
    assert_eq!(
        seen[1].ordered_at.0 - seen[0].ordered_at.0,
        3 * MILLI,
        "one, until three samples in a row show a backlog"
    );
    // Idle instants count, whether they came about or not.
    office.send(1, 2_000_000, 1, 25, 3, 0);
    office.pass(2_005);
    replies.push(end_of(37).slots()).unwrap();
    office.pass(2_020);
    let jobs = office.shard.requests().jobs().unwrap();
    assert_eq!(jobs.limit, 1, "{jobs:?}");
    assert!(jobs.shrunk >= 3);
    // Time that comes in leaps makes the same orders.
    assert_eq!(orders(10).0, seen);
}

#[test]
fn the_end_of_a_job_that_nobody_has_taken_is_nobodys() {
    let (mut office, mut replies) = office_with_jobs(|config| config.requests.jobs_max = 1);
    office.send(1, 100, 1, 25, 3, 0);
    office.send(2, 200, 1, 25, 3, 0);
    // The order is made, and due; whoever sends these ends has not seen it.
    [1, 2, 1].into_iter().for_each(|number| replies.push(end_of(number).slots()).unwrap());
    office.pass(20);
    assert_eq!((office.shard.requests().counters().stray_ends, office.calls()), (3, Vec::new()));
    let orders: Vec<_> = std::iter::from_fn(|| office.shard.take_job()).map(|order| order.number).collect();
    assert_eq!(orders, [1], "as many as may be under way");
    replies.push(end_of(1).slots()).unwrap();
    office.pass(21);
    assert_eq!(office.calls(), [Call::End(1, RequestEnd::Served, 12)]);
    assert_eq!(office.shard.take_job().map(|order| order.number), Some(2));
    // Whoever does the jobs is gone before it has taken the next one.
    office.send(3, 21_000, 1, 25, 3, 0);
    drop(replies);
    office.pass(60);
    let counters = office.shard.requests().counters();
    assert_eq!((counters.served, counters.failed, counters.stray_ends), (1, 2, 3));
    assert!(office.shard.take_job().is_none() && office.shard.requests().is_idle());
}
