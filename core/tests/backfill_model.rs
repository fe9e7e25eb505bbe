//! The backfill manager against a twin whose ranges are sets of instants, after every call; and its rows of the requirements.

use proptest::prelude::*;
use tapeline_core::backfill::{Asked, Asker, Backfills, Config, End, Range, Refused, Taken, Told, Want};
use tapeline_core::event::{Kind, KindSet};
use tapeline_core::handler::RequestId;
use tapeline_core::queue::Priority;
use tapeline_core::slab::Handle;
use tapeline_core::testing::{
    CountingAlloc, PrintOnPanic, Prng, every_cut_and_flip_is_refused, sealed_damage, without_allocation,
};
use tapeline_core::units::{SymbolId, UnixNanos};

#[global_allocator]
static ALLOC: CountingAlloc = CountingAlloc;

const KINDS: [Kind; 3] = [Kind::TRADE, Kind::QUOTE, Kind::BAR];
/// Instants that there are: ranges are bits of a word.
const INSTANTS: u64 = 40;

fn set(from: u64, to: u64) -> u64 {
    (from..to.min(INSTANTS)).fold(0, |set, at| set | 1 << at)
}

fn kinds_of(bits: u64) -> impl Iterator<Item = Kind> {
    KINDS.into_iter().filter(move |kind| KindSet::from_bits(bits).contains(*kind))
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum State {
    Pending,
    Ordered,
    Replying,
    Cancelled,
}

#[derive(Clone, Debug)]
struct TwinJob {
    symbol: u32,
    kinds: u64,
    set: u64,
    class: u64,
    queued_at: u64,
    number: u64,
    state: State,
    handle: Handle,
    /// Who asked, by id, and which instants of the job are theirs.
    askers: Vec<(u64, u64)>,
}

#[derive(Clone, Debug)]
struct TwinAsk {
    id: u64,
    symbol: u32,
    kinds: u64,
    handle: Handle,
    /// Instants that are to come.
    owed: u64,
    got: Vec<(u64, Kind)>,
    failed: Option<u16>,
}

#[derive(Default)]
struct Twin {
    jobs: Vec<TwinJob>,
    asks: Vec<TwinAsk>,
    done: Vec<(u32, u64, u64, u64)>,
    number: u64,
    now: u64,
}

#[derive(Debug, PartialEq, Eq)]
enum Expected {
    Completed,
    Joined,
    Merged,
    Queued,
    Refused(Refused),
}

impl Twin {
    fn forget(&mut self, config: &Config, now: u64) {
        self.now = self.now.max(now);
        let now = self.now;
        self.done.retain(|(.., at)| at + config.remember_ns > now);
    }

    fn ask(&mut self, config: &Config, now: u64, want: &Want, id: u64) -> Expected {
        self.forget(config, now);
        let (symbol, kinds, class) = (want.symbol.0, want.kinds.bits(), u64::from(want.priority.class()));
        let mut rest = set(want.range.from.0, want.range.to.0);
        if rest == 0 || kinds == 0 {
            return Expected::Refused(Refused::Empty);
        }
        let owed_all = rest;
        let (mut parts, mut after) = (Vec::new(), 0);
        while rest != 0 {
            let first = 1 << rest.trailing_zeros();
            let reads = |job_symbol: u32, job_kinds: u64, job_set: u64| {
                job_symbol == symbol && job_kinds & kinds == kinds && job_set & first != 0
            };
            if let Some((_, _, done, _)) = self.done.iter().find(|(s, k, set, _)| reads(*s, *k, *set)) {
                rest &= !done;
                continue;
            }
            let mut flying: Vec<&TwinJob> = self.jobs.iter().filter(|job| job.state == State::Ordered).collect();
            flying.sort_by_key(|job| job.number);
            let next = flying.iter().find(|job| job.number >= after && reads(job.symbol, job.kinds, job.set));
            let Some(job) = next else { break };
            parts.push((job.number, rest & job.set));
            after = job.number + 1;
            rest &= !job.set;
        }
        if rest == 0 && parts.is_empty() {
            return Expected::Completed;
        }
        if self.asks.len() == config.asks {
            return Expected::Refused(Refused::AsksFull);
        }
        let pending = |job: &&TwinJob| job.state == State::Pending && job.symbol == symbol;
        let touches = |a: u64, b: u64| (a | a << 1 | a >> 1) & b != 0;
        let touching: Vec<u64> = self
            .jobs
            .iter()
            .filter(pending)
            .filter(|job| job.kinds == kinds && touches(job.set, rest))
            .map(|job| job.number)
            .collect();
        let covering =
            self.jobs.iter().filter(pending).filter(|job| job.kinds & kinds == kinds && job.set & rest == rest);
        let into = touching.iter().copied().min().or_else(|| covering.map(|job| job.number).min());
        if rest != 0 && into.is_none() {
            if self.jobs.iter().filter(pending).count() >= config.jobs_per_symbol {
                return Expected::Refused(Refused::SymbolFull);
            }
            if self.jobs.len() == config.jobs {
                return Expected::Refused(Refused::JobsFull);
            }
        }
        let owed = parts.iter().fold(rest, |owed, (_, part)| owed | part);
        assert_eq!(owed & !owed_all, 0);
        let (kinds_, handle) = (kinds, Handle::NULL);
        self.asks.push(TwinAsk { id, symbol, kinds: kinds_, handle, owed, got: Vec::new(), failed: None });
        for (number, part) in parts {
            let job = self.jobs.iter_mut().find(|job| job.number == number).unwrap();
            job.askers.push((id, part));
        }
        if rest == 0 {
            return Expected::Joined;
        }
        let Some(into) = into else {
            let (state, askers) = (State::Pending, vec![(id, rest)]);
            let (number, queued_at) = (self.number, self.now);
            self.number += 1;
            self.jobs.push(TwinJob { symbol, kinds, set: rest, class, queued_at, number, state, handle, askers });
            return Expected::Queued;
        };
        let at = self.jobs.iter().position(|job| job.number == into && job.state == State::Pending).unwrap();
        let mut job = self.jobs.remove(at);
        job.class = job.class.min(class);
        if job.kinds == kinds {
            job.set |= rest;
            // One job of all that touch now, the oldest first.
            while let Some(at) = (0..self.jobs.len())
                .filter(|at| {
                    let other = &self.jobs[*at];
                    other.state == State::Pending
                        && (other.symbol, other.kinds) == (symbol, kinds)
                        && touches(job.set, other.set)
                })
                .min_by_key(|at| self.jobs[*at].number)
            {
                let other = self.jobs.remove(at);
                job.set |= other.set;
                job.class = job.class.min(other.class);
                let older = (job.queued_at, job.number).min((other.queued_at, other.number));
                (job.queued_at, job.number) = older;
                job.askers.extend(other.askers);
            }
        }
        job.askers.push((id, rest));
        self.jobs.push(job);
        Expected::Merged
    }

    fn begin(&mut self, config: &Config, now: u64) -> Option<usize> {
        self.now = self.now.max(now);
        let flying: Vec<u32> =
            self.jobs.iter().filter(|job| job.state != State::Pending).map(|job| job.symbol).collect();
        if flying.len() == config.in_flight {
            return None;
        }
        let may = |job: &TwinJob| {
            job.state == State::Pending
                && flying.iter().filter(|symbol| **symbol == job.symbol).count() < config.in_flight_per_symbol
        };
        let at = (0..self.jobs.len()).filter(|at| may(&self.jobs[*at])).min_by_key(|at| {
            let job = &self.jobs[*at];
            (job.queued_at + job.class * config.aging_step_ns, job.number)
        })?;
        (self.jobs[at].state, self.jobs[at].number) = (State::Ordered, self.number);
        self.number += 1;
        Some(at)
    }

    /// The job whose reply comes next.
    fn head(&self) -> Option<usize> {
        let flying = (0..self.jobs.len()).filter(|at| self.jobs[*at].state != State::Pending);
        flying.min_by_key(|at| self.jobs[*at].number)
    }
}

#[derive(Default, Debug)]
struct Seen {
    outcomes: [u64; 4],
    refused: [u64; 4],
    absorbed: u64,
    served: u64,
    failed: u64,
    cancelled_pending: u64,
    cancelled_in_flight: u64,
    shared_in_flight: u64,
    late: u64,
    events: u64,
    forgotten: [u64; 2],
    restarts: u64,
}

struct Pair {
    config: Config,
    manager: Backfills,
    twin: Twin,
    now: u64,
    id: u64,
    /// Instants of the job at the head whose events have come.
    given: u64,
}

impl Pair {
    fn new(config: Config) -> Self {
        Self { manager: Backfills::new(&config), config, twin: Twin::default(), now: 1_000, id: 0, given: 0 }
    }

    fn ask(&mut self, symbol: u32, kinds: u64, from: u64, to: u64, class: u8, seen: &mut Seen) {
        self.id += 1;
        let want = Want {
            symbol: SymbolId(symbol),
            kinds: KindSet::from_bits(kinds),
            range: Range::new(UnixNanos(from), UnixNanos(to)),
            priority: Priority::new(class).unwrap(),
        };
        let asker = Asker { id: RequestId(self.id), handler: symbol as u16, ..Asker::default() };
        let asked = without_allocation(|| self.manager.ask(UnixNanos(self.now), &want, asker));
        let expected = self.twin.ask(&self.config, self.now, &want, self.id);
        let (is, handle) = match asked {
            Asked::Completed => (Expected::Completed, None),
            Asked::Joined(handle) => (Expected::Joined, Some(handle)),
            Asked::Merged(handle) => (Expected::Merged, Some(handle)),
            Asked::Queued(handle) => (Expected::Queued, Some(handle)),
            Asked::Refused(reason) => (Expected::Refused(reason), None),
        };
        assert_eq!(is, expected, "ask {want:?}");
        match &expected {
            Expected::Refused(reason) => seen.refused[*reason as usize] += 1,
            Expected::Completed => seen.outcomes[0] += 1,
            Expected::Joined => seen.outcomes[1] += 1,
            Expected::Merged => seen.outcomes[2] += 1,
            Expected::Queued => seen.outcomes[3] += 1,
        }
        if let Some(handle) = handle {
            self.twin.asks.last_mut().unwrap().handle = handle;
            assert_eq!(self.manager.find(SymbolId(symbol), RequestId(self.id)), Some(handle));
        }
    }

    fn begin(&mut self) {
        let order = without_allocation(|| self.manager.begin(UnixNanos(self.now)));
        let expected = self.twin.begin(&self.config, self.now);
        assert_eq!(order.is_some(), expected.is_some(), "{order:?}");
        if let (Some(order), Some(at)) = (order, expected) {
            let job = &mut self.twin.jobs[at];
            let want = order.want;
            assert_eq!((want.symbol.0, want.kinds.bits()), (job.symbol, job.kinds));
            assert_eq!(
                (set(want.range.from.0, want.range.to.0), u64::from(want.priority.class())),
                (job.set, job.class)
            );
            job.handle = order.job;
        }
    }

    /// The next instant of the reply at the head, of all kinds; or its end.
    fn reply(&mut self, prng: &mut Prng, seen: &mut Seen) {
        let Some(at) = self.twin.head() else { return };
        let job = self.twin.jobs[at].clone();
        let left = job.set & !self.given;
        let is_wanted = job.state != State::Cancelled;
        if left == 0 || prng.one_in(12) {
            let code = (left != 0 || prng.one_in(20)).then_some(7);
            self.end(at, code, seen);
            return;
        }
        if prng.one_in(10) {
            let stranger = [Kind::NEWS, Kind::TRADE][prng.index(2)];
            let symbol = SymbolId(if stranger == Kind::NEWS { job.symbol } else { job.symbol + 100 });
            let taken = self.manager.take(job.handle, symbol, stranger, UnixNanos(left.trailing_zeros().into()));
            assert_eq!(taken, if is_wanted { Taken::Unfit } else { Taken::Late });
        }
        let instant = u64::from(left.trailing_zeros());
        self.given |= 1 << instant;
        for kind in kinds_of(job.kinds) {
            let taken =
                without_allocation(|| self.manager.take(job.handle, SymbolId(job.symbol), kind, UnixNanos(instant)));
            assert_eq!(taken, if is_wanted { Taken::Next } else { Taken::Late });
            if !is_wanted {
                seen.late += 1;
                continue;
            }
            seen.events += 1;
            self.twin.jobs[at].state = State::Replying;
            let mut next = self.manager.first_link(job.handle, kind);
            while let Some(link) = next {
                let (asker, following) = self.manager.asker(job.handle, link, kind);
                next = following;
                let ask = self.twin.asks.iter_mut().find(|ask| ask.id == asker.id.0).expect("who has asked");
                ask.got.push((instant, kind));
            }
        }
    }

    fn end(&mut self, at: usize, code: Option<u16>, seen: &mut Seen) {
        let job = self.twin.jobs.remove(at);
        self.given = 0;
        let mut told = Vec::with_capacity(self.twin.asks.len());
        let is_known =
            without_allocation(|| self.manager.end(UnixNanos(self.now), job.handle, code, |one: Told| told.push(one)));
        assert!(is_known && !self.manager.end(UnixNanos(self.now), job.handle, code, |_| ()), "each job ends once");
        self.twin.forget(&self.config, self.now);
        if job.state != State::Cancelled && code.is_none() && self.config.remembered > 0 {
            if self.twin.done.len() == self.config.remembered {
                self.twin.done.remove(0);
            }
            self.twin.done.push((job.symbol, job.kinds, job.set, self.now));
        }
        let mut expected = Vec::new();
        for (id, _) in &job.askers {
            let ask = self.twin.asks.iter_mut().find(|ask| ask.id == *id).unwrap();
            ask.failed = ask.failed.or(code);
            if self.twin.jobs.iter().any(|job| job.askers.iter().any(|(other, _)| other == id)) {
                continue;
            }
            let at = self.twin.asks.iter().position(|ask| ask.id == *id).unwrap();
            let ask = self.twin.asks.remove(at);
            expected.push((ask.id, ask.failed.map_or(End::Served, End::Failed)));
            assert!(ask.got.windows(2).all(|pair| pair[0] < pair[1] || pair[0].0 == pair[1].0), "in order: {ask:?}");
            let mut got = ask.got.clone();
            got.sort_by_key(|(instant, kind)| (*instant, kind.0));
            got.dedup();
            assert_eq!(got.len(), ask.got.len(), "each event once: {ask:?}");
            if ask.failed.is_none() {
                let want: Vec<(u64, Kind)> = (0..INSTANTS)
                    .filter(|instant| ask.owed >> instant & 1 == 1)
                    .flat_map(|instant| kinds_of(ask.kinds).map(move |kind| (instant, kind)))
                    .collect();
                assert_eq!(got, want, "all that was asked for and had not come: {ask:?}");
                seen.served += 1;
            } else {
                seen.failed += 1;
            }
        }
        let told: Vec<(u64, End)> = told.iter().map(|told| (told.asker.id.0, told.end)).collect();
        assert_eq!(told, expected);
    }

    fn cancel(&mut self, prng: &mut Prng, seen: &mut Seen) {
        if self.twin.asks.is_empty() {
            return;
        }
        let ask = self.twin.asks.remove(prng.index(self.twin.asks.len()));
        let mut stopped = Vec::with_capacity(self.twin.jobs.len());
        let told = without_allocation(|| self.manager.cancel(ask.handle, |job| stopped.push(job)));
        let told = told.expect("it waits");
        assert_eq!((told.asker.id.0, told.symbol.0, told.end), (ask.id, ask.symbol, End::Cancelled));
        assert_eq!(self.manager.cancel(ask.handle, |_| ()), None, "once");
        let mut expected = Vec::new();
        self.twin.jobs.retain_mut(|job| {
            let before = job.askers.len();
            job.askers.retain(|(id, _)| *id != ask.id);
            if before == job.askers.len() {
                return true;
            }
            if !job.askers.is_empty() {
                seen.shared_in_flight += u64::from(job.state != State::Pending);
                return true;
            }
            if job.state == State::Pending {
                seen.cancelled_pending += 1;
                return false;
            }
            seen.cancelled_in_flight += 1;
            job.state = State::Cancelled;
            expected.push(job.handle);
            true
        });
        stopped.sort_unstable();
        expected.sort_unstable();
        assert_eq!(stopped, expected);
    }

    fn restart(&mut self) {
        let mut bytes = Vec::new();
        self.manager.snapshot(&mut bytes);
        assert_eq!(bytes.len(), self.manager.snapshot_bytes());
        self.manager = Backfills::restore(&self.config, &bytes).expect("its own snapshot");
        let mut again = Vec::new();
        self.manager.snapshot(&mut again);
        assert!(again == bytes, "equal managers give equal bytes");
    }

    fn step(&mut self, prng: &mut Prng, seen: &mut Seen) {
        match prng.index(100) {
            0..35 => {
                let kinds = KindSet::of(match prng.index(6) {
                    0 => &KINDS[..],
                    1 => &KINDS[..2],
                    2 => &KINDS[1..2],
                    _ => &KINDS[..1],
                });
                let kinds = if prng.one_in(50) { KindSet::EMPTY } else { kinds };
                let from = prng.in_range(0..INSTANTS - 1);
                let length = if prng.one_in(50) { 0 } else { prng.in_range(1..9) };
                let to = (from + length).min(INSTANTS);
                self.ask(prng.index(3) as u32 + 1, kinds.bits(), from, to, prng.index(8) as u8, seen);
            }
            35..50 => self.begin(),
            50..90 => self.reply(prng, seen),
            90..95 => self.cancel(prng, seen),
            95..99 => self.now += prng.in_range(0..60),
            _ => {
                self.manager.forget(UnixNanos(self.now));
                self.twin.forget(&self.config, self.now);
                if prng.one_in(8) {
                    self.restart();
                    seen.restarts += 1;
                }
            }
        }
        let counters = self.manager.counters();
        assert!(counters.is_balanced(), "{counters:?}");
        assert_eq!(self.manager.remembered(), self.twin.done.len());
        assert_eq!(counters.waiting, self.twin.asks.len() as u64);
        assert_eq!(counters.pending + counters.in_flight, self.twin.jobs.len() as u64);
        assert_eq!(self.manager.is_idle(), self.twin.asks.is_empty() && self.twin.jobs.is_empty());
    }
}

fn run(seed: u64, config: Config, operations: u64, invariants_every: u64, seen: &mut Seen) {
    let _named = PrintOnPanic(format_args!("seed {seed}, {config:?}"));
    let mut prng = Prng::new(seed);
    let mut pair = Pair::new(config);
    for operation in 0..operations {
        pair.step(&mut prng, seen);
        if operation % invariants_every == 0 {
            pair.manager.assert_invariants();
        }
    }
    pair.manager.assert_invariants();
    let counters = pair.manager.counters();
    seen.absorbed += counters.jobs_absorbed;
    seen.forgotten[0] += counters.forgotten_by_age;
    seen.forgotten[1] += counters.forgotten_by_count;
}

fn config(seed: u64) -> Config {
    let pick = |salt: u64, of: &[usize]| of[(seed / salt) as usize % of.len()];
    Config {
        jobs: pick(1, &[1, 8, 40, 100]),
        asks: pick(3, &[2, 60, 200]),
        jobs_per_symbol: pick(2, &[1, 20, 40]),
        in_flight: pick(1, &[1, 2, 5]),
        in_flight_per_symbol: pick(2, &[1, 2, 3]),
        aging_step_ns: pick(1, &[0, 30, 1_000]) as u64,
        remembered: pick(2, &[0, 1, 4, 100]),
        remember_ns: pick(3, &[1, 100, 2_000]) as u64,
        instance: seed as u32,
    }
}

fn assert_all_happened(seen: &Seen, least: u64) {
    let Seen { outcomes, refused, absorbed, served, failed, .. } = seen;
    let all = [outcomes, refused].into_iter().flatten().chain([absorbed, served, failed]);
    let rest = [seen.cancelled_pending, seen.cancelled_in_flight, seen.shared_in_flight, seen.late, seen.events];
    for count in all.chain(&rest).chain(&seen.forgotten).chain([&seen.restarts]) {
        assert!(*count >= least, "{seen:?}");
    }
}

#[test]
fn agrees_with_its_twin_with_full_invariants_after_each_operation() {
    let mut seen = Seen::default();
    for seed in 0..72 {
        run(seed, config(seed), 1_000, 1, &mut seen);
    }
    assert_all_happened(&seen, 20);
}

#[test]
fn agrees_with_its_twin_over_many_operations() {
    let mut seen = Seen::default();
    for seed in 100..172 {
        run(seed, config(seed), 4_000, 64, &mut seen);
    }
    assert_all_happened(&seen, 80);
}

#[test]
#[ignore = "soak: 50 million operations; cargo test -p tapeline-core --test backfill_model -- --ignored"]
fn soak_agrees_with_its_twin_over_fifty_million_operations() {
    let mut seen = Seen::default();
    for seed in 0..1_000 {
        run(1 << 32 | seed, config(seed), 50_000, 512, &mut seen);
    }
    assert_all_happened(&seen, 5_000);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_asks_agree_with_the_twin(
        seed in 0u64..1_000_000,
        asks in prop::collection::vec((1u32..3, 1usize..4, 0u64..INSTANTS, 0u64..20, 0u8..8), 1..30),
    ) {
        let (mut pair, mut seen, mut prng) = (Pair::new(config(seed)), Seen::default(), Prng::new(seed));
        for (symbol, kinds, from, length, class) in asks {
            let kinds = KindSet::of(&KINDS[..kinds]).bits();
            pair.ask(symbol, kinds, from, (from + length).min(INSTANTS), class, &mut seen);
            pair.manager.assert_invariants();
            if prng.one_in(3) {
                pair.begin();
                (0..prng.index(12)).for_each(|_| pair.reply(&mut prng, &mut seen));
                pair.manager.assert_invariants();
            }
        }
    }
}

#[test]
fn damage_is_refused_or_harmless() {
    let config = Config { jobs: 6, asks: 9, in_flight: 3, in_flight_per_symbol: 2, remembered: 3, ..config(2) };
    let mut pair = Pair::new(config);
    let (mut prng, mut seen) = (Prng::new(5), Seen::default());
    let is_rich = |pair: &Pair| {
        let counters = pair.manager.counters();
        counters.pending > 1 && counters.in_flight > 1 && pair.manager.remembered() > 1
    };
    while !is_rich(&pair) {
        pair.step(&mut prng, &mut seen);
    }
    let mut bytes = Vec::new();
    pair.manager.snapshot(&mut bytes);
    every_cut_and_flip_is_refused(&bytes, |bytes| Backfills::restore(&config, bytes).is_ok());
    let (refused, taken) = sealed_damage(0..10, 300, &bytes, |bytes| {
        Backfills::restore(&config, bytes).is_ok_and(|mut manager| {
            let want = Want {
                symbol: SymbolId(1),
                kinds: KindSet::of(&KINDS),
                range: Range::new(UnixNanos(0), UnixNanos(INSTANTS)),
                priority: Priority::FIRST,
            };
            let _ = manager.ask(UnixNanos(pair.now), &want, Asker::default());
            while let Some(order) = manager.begin(UnixNanos(pair.now)) {
                let _ = manager.take(order.job, order.want.symbol, Kind::TRADE, order.want.range.from);
                manager.end(UnixNanos(pair.now), order.job, None, |_| ());
            }
            while let Some(ask) = manager.find(SymbolId(1), RequestId::NONE) {
                manager.cancel(ask, |_| ());
            }
            manager.assert_invariants();
            true
        })
    });
    assert!(refused > 500 && taken > 50, "{refused} {taken}");
}

/// A manager with room, at second 1,000.
fn manager(change: impl FnOnce(&mut Config)) -> (Backfills, UnixNanos) {
    let mut config = Config::default();
    change(&mut config);
    (Backfills::new(&config), UnixNanos(1_000 * SECOND))
}

const SECOND: u64 = 1_000_000_000;

fn trades(symbol: u32, from_s: u64, to_s: u64) -> Want {
    Want {
        symbol: SymbolId(symbol),
        kinds: KindSet::of(&[Kind::TRADE]),
        range: Range::new(UnixNanos(from_s * SECOND), UnixNanos(to_s * SECOND)),
        priority: Priority::LAST,
    }
}

fn by(id: u64) -> Asker {
    Asker { id: RequestId(id), ..Asker::default() }
}

#[test]
fn req_3379_what_was_completed_is_remembered_within_a_bound_and_forgotten_by_age_even_when_idle() {
    let (mut manager, now) = manager(|config| (config.remembered, config.remember_ns) = (2, 60 * SECOND));
    let bytes = manager.bytes();
    let complete = |manager: &mut Backfills, now: UnixNanos, want: &Want| {
        assert!(matches!(manager.ask(now, want, by(1)), Asked::Queued(_)), "{want:?}");
        let order = manager.begin(now).unwrap();
        assert!(manager.end(now, order.job, None, |_| ()));
    };
    complete(&mut manager, now, &trades(1, 0, 10));
    assert_eq!(manager.ask(now, &trades(1, 2, 9), by(2)), Asked::Completed, "a repeat, and a part of it");
    complete(&mut manager, now, &trades(1, 10, 20));
    assert_eq!(manager.ask(now, &trades(1, 5, 20), by(2)), Asked::Completed, "of two that follow each other");
    // By count: the oldest goes.
    complete(&mut manager, now, &trades(2, 0, 10));
    assert_eq!((manager.remembered(), manager.counters().forgotten_by_count), (2, 1));
    complete(&mut manager, now, &trades(1, 0, 10));
    // By age, also where nobody asks for anything.
    manager.forget(UnixNanos(now.0 + 60 * SECOND - 1));
    assert_eq!(manager.remembered(), 2);
    manager.forget(UnixNanos(now.0 + 60 * SECOND));
    assert_eq!((manager.remembered(), manager.counters().forgotten_by_age), (0, 2));
    // A thousand symbols leave no more behind than two.
    for symbol in 1..1_000 {
        complete(&mut manager, now, &trades(symbol, 0, 10));
    }
    assert_eq!((manager.remembered(), manager.bytes()), (2, bytes));
    // What failed is not remembered.
    let _ = manager.ask(now, &trades(1, 70, 80), by(3));
    let order = manager.begin(now).unwrap();
    manager.end(now, order.job, Some(9), |told| assert_eq!(told.end, End::Failed(9)));
    assert!(matches!(manager.ask(now, &trades(1, 70, 80), by(4)), Asked::Queued(_)));
}

#[test]
fn req_3382b_overlapping_backfills_are_merged_and_those_in_flight_are_joined() {
    let (mut manager, now) = manager(|config| config.in_flight_per_symbol = 2);
    assert!(matches!(manager.ask(now, &trades(1, 0, 10), by(1)), Asked::Queued(_)));
    assert!(matches!(manager.ask(now, &trades(1, 20, 30), by(2)), Asked::Queued(_)));
    assert!(matches!(manager.ask(now, &trades(1, 8, 20), by(3)), Asked::Merged(_)), "it makes one of the two");
    assert!(matches!(manager.ask(now, &trades(2, 8, 20), by(4)), Asked::Queued(_)), "another symbol");
    let quotes = Want { kinds: KindSet::of(&[Kind::QUOTE]), ..trades(1, 8, 20) };
    assert!(matches!(manager.ask(now, &quotes, by(5)), Asked::Queued(_)), "another layer");
    let order = manager.begin(now).unwrap();
    assert_eq!(order.want.range, trades(1, 0, 30).range);
    assert!(matches!(manager.ask(now, &trades(1, 5, 30), by(6)), Asked::Joined(_)));
    assert!(matches!(manager.ask(now, &trades(1, 25, 40), by(7)), Asked::Queued(_)), "joined, and the rest queued");
    // 3 wants 8 to 20, 7 from 25 on; 6 what is from 5.
    let wanted = |manager: &mut Backfills, second: u64| {
        assert_eq!(manager.take(order.job, SymbolId(1), Kind::TRADE, UnixNanos(second * SECOND)), Taken::Next);
        let mut askers = Vec::new();
        let mut next = manager.first_link(order.job, Kind::TRADE);
        while let Some(link) = next {
            let (asker, following) = manager.asker(order.job, link, Kind::TRADE);
            askers.push(asker.id.0);
            next = following;
        }
        askers
    };
    assert_eq!(wanted(&mut manager, 4), [1]);
    assert_eq!(wanted(&mut manager, 8), [1, 3, 6]);
    assert_eq!(wanted(&mut manager, 26), [2, 6, 7]);
    assert_eq!(wanted(&mut manager, 1), [2, 6, 7], "time went back in the capture: it comes now");
    assert_eq!(manager.take(order.job, SymbolId(1), Kind::TRADE, UnixNanos(30 * SECOND)), Taken::Unfit);
    assert!(matches!(manager.ask(now, &trades(1, 5, 30), by(8)), Asked::Merged(_)), "too late to join");
    let mut told = Vec::new();
    manager.end(now, order.job, None, |one| told.push((one.asker.id.0, one.end)));
    assert_eq!(told, [1, 2, 3, 6].map(|id| (id, End::Served)), "7 waits for the rest");
    assert_eq!(manager.counters().jobs_absorbed, 1);
    manager.assert_invariants();
}

#[test]
fn limits_hold_jobs_back_and_a_cancelled_one_stays_in_flight_until_its_reply_has_ended() {
    let (mut manager, now) = manager(|config| (config.in_flight, config.jobs, config.jobs_per_symbol) = (2, 5, 2));
    let mut asks = Vec::new();
    for (id, (symbol, from)) in [(1, 0), (1, 20), (2, 0), (3, 0), (4, 0)].into_iter().enumerate() {
        match manager.ask(now, &trades(symbol, from, from + 10), by(id as u64 + 1)) {
            Asked::Queued(ask) => asks.push(ask),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(manager.ask(now, &trades(1, 40, 50), by(6)), Asked::Refused(Refused::SymbolFull));
    assert_eq!(manager.ask(now, &trades(5, 40, 50), by(6)), Asked::Refused(Refused::JobsFull));
    assert_eq!(manager.ask(now, &trades(5, 50, 50), by(6)), Asked::Refused(Refused::Empty));
    let first = manager.begin(now).unwrap();
    let second = manager.begin(now).unwrap();
    assert_eq!((first.want.symbol.0, second.want.symbol.0), (1, 2), "one of each symbol");
    assert_eq!((manager.begin(now), manager.counters().held_back), (None, 1));
    // Queued: it is gone. In flight: whoever reads is to be told, and what comes is dropped.
    let mut stopped = Vec::new();
    assert_eq!(manager.cancel(asks[3], |job| stopped.push(job)).unwrap().end, End::Cancelled);
    assert_eq!(manager.cancel(asks[0], |job| stopped.push(job)).unwrap().asker, by(1));
    assert_eq!(stopped, [first.job]);
    assert_eq!(manager.take(first.job, SymbolId(1), Kind::TRADE, UnixNanos(SECOND)), Taken::Late);
    assert_eq!(manager.begin(now), None, "its place is taken until then");
    assert!(manager.end(now, first.job, None, |told| panic!("{told:?}")));
    assert_eq!(manager.take(first.job, SymbolId(1), Kind::TRADE, UnixNanos(SECOND)), Taken::Stale);
    assert_eq!(manager.begin(now).unwrap().want, trades(1, 20, 30));
    let counters = manager.counters();
    assert_eq!((counters.late, counters.jobs_cancelled, counters.cancelled), (1, 2, 2));
    assert_eq!(manager.remembered(), 0, "what was cancelled has not come");
    manager.assert_invariants();
}
