//! Requests that are put back from their snapshot again and again go on as those that never were; damage is refused, or does no harm.

use super::*;
use crate::requests::{Replying, Turn};
use crate::retry::Names;
use crate::testing::{Prng, every_cut_and_flip_is_refused, for_seeds, sealed_damage};
use std::collections::BTreeMap;

const SYMBOLS: usize = 5;
const HANDLERS_MAX: usize = 4;
const SERVED: Job = Job(16);
const SLOW: Job = Job(17);
const NOBODYS: Job = Job(18);
const MILLI: u64 = 1_000_000;

fn config(prng: &mut Prng) -> (Config, JobSet) {
    let mut config = Config { jobs_max: 1 + prng.index(4), service_budget: 1 + prng.index(4), ..Config::default() };
    config.off_core = if prng.one_in(5) { JobSet::EMPTY } else { JobSet::of(&[SLOW]) };
    config.jobs_min = 1;
    config.job_delay_ns = 3 * MILLI;
    config.queue.capacity = 1 + prng.index(12);
    config.queue.per_symbol = 1 + prng.index(6) as u32;
    let jobs = if prng.one_in(5) && !config.off_core.is_empty() { JobSet::EMPTY } else { JobSet::of(&[SERVED]) };
    (config, jobs)
}

fn snapshot(requests: &Requests) -> Vec<u8> {
    let mut out = Vec::new();
    requests.snapshot(&mut out);
    assert_eq!(out.len(), requests.snapshot_bytes());
    out
}

/// One who drives requests: what it does depends on its own numbers and on what the requests say, so that two that are given the same numbers do the
/// same as long as their requests are the same.
struct Driver {
    prng: Prng,
    now: u64,
    asked: u64,
    again: BTreeMap<(u64, u64), Handle>,
    /// Orders that were taken and not ended.
    taken: Vec<u64>,
    told: Vec<String>,
}

impl Driver {
    fn new(seed: u64) -> Self {
        let now = 1_700_000_000 * 1_000 * MILLI;
        Self { prng: Prng::new(seed), now, asked: 0, again: BTreeMap::new(), taken: Vec::new(), told: Vec::new() }
    }

    fn ask(&mut self, requests: &mut Requests) {
        self.asked += 1;
        let job = [SERVED, SLOW, SLOW, NOBODYS][self.prng.index(4)];
        let wish = Wish {
            job,
            groups: self.prng.in_range(0..4),
            priority: Priority::new(self.prng.index(3) as u8).unwrap(),
            expires_at: UnixNanos(if self.prng.one_in(3) { self.now + self.prng.in_range(0..9 * MILLI) } else { 0 }),
            token: self.prng.in_range(0..2),
        };
        let handler = self.prng.index(HANDLERS_MAX) as u16;
        let cause = Identity { seq: self.asked, ..Identity::default() };
        let staged = StagedWish { id: RequestId(self.asked), wish, handler, cause };
        requests.ask(UnixNanos(self.now), SymbolId(self.prng.index(SYMBOLS) as u32), &staged);
    }

    /// Everything up to `now`, in order of time.
    fn advance(&mut self, requests: &mut Requests) {
        loop {
            let again = self.again.first_key_value().map_or(u64::MAX, |((at, _), _)| *at);
            let (turn, reply) = (requests.due().0, requests.reply_due().0);
            let next = again.min(turn).min(reply);
            if next > self.now {
                return;
            }
            if again == next {
                let (_, request) = self.again.pop_first().unwrap();
                requests.retry(UnixNanos(next), request);
            } else if turn == next {
                self.turn(requests, UnixNanos(next));
            } else {
                self.reply(requests, UnixNanos(next));
            }
        }
    }

    fn turn(&mut self, requests: &mut Requests, at: UnixNanos) {
        match requests.turn(at) {
            Turn::Serve(request) => {
                self.told.push(format!("{:?}", requests.ask_of(request)));
                match self.prng.index(4) {
                    0 => requests.failed(request, 7),
                    1 => {
                        let names = Names { symbol_hash: 1, source_hash: 2 };
                        if let Some(due) = requests.again(request, 9, 3, names, at) {
                            self.again.insert((due.0, self.told.len() as u64), request);
                        }
                    }
                    _ => requests.served(request),
                }
            }
            turn => self.told.push(format!("{turn:?}")),
        }
    }

    fn reply(&mut self, requests: &mut Requests, at: UnixNanos) {
        while let Some(order) = requests.take_order() {
            self.told.push(format!("{order:?}"));
            self.taken.push(order.number);
        }
        let Some(Replying { events, first, .. }) = requests.replying() else { panic!("an order is of a request") };
        self.told.push(format!("{events} {first:?}"));
        match self.prng.index(6) {
            0 if events < 3 => requests.note_reply_event(crate::event::Kind::TRADE),
            1 => {
                requests.lose_reply(at);
                self.taken.remove(0);
            }
            // The end of a later one, or of none.
            2 => {
                let number = self.taken[self.prng.index(self.taken.len())];
                requests.end_reply(at, number, None);
                self.taken.retain(|other| *other > number);
            }
            3 => requests.end_reply(at, 1 << 40, None),
            4 => requests.end_reply(at, self.taken.remove(0), Some(5)),
            _ => requests.end_reply(at, self.taken.remove(0), None),
        }
    }

    fn step(&mut self, requests: &mut Requests) {
        match self.prng.index(8) {
            0..=4 => self.ask(requests),
            5 => {
                let _ = requests.clear(UnixNanos(self.now), SymbolId(self.prng.index(SYMBOLS) as u32));
            }
            6 => {
                // Orders may be taken long before their replies are due.
                if let Some(order) = requests.take_order() {
                    self.taken.push(order.number);
                }
            }
            _ => {}
        }
        self.now += self.prng.in_range(0..2 * MILLI);
        self.advance(requests);
    }
}

fn begin(config: &Config, jobs: JobSet, has_ring: bool) -> Requests {
    let mut requests = Requests::new(config, SYMBOLS, jobs);
    if has_ring {
        requests.accept_off_core();
    }
    requests
}

#[test]
fn what_was_put_back_goes_on_as_what_never_was() {
    let mut met = BTreeMap::new();
    for_seeds(0..120, |seed, prng| {
        let (config, jobs) = config(prng);
        let has_ring = !prng.one_in(4);
        let (mut one, mut other) = (begin(&config, jobs, has_ring), begin(&config, jobs, has_ring));
        let (mut first, mut second) = (Driver::new(seed), Driver::new(seed));
        for step in 0..400 {
            first.step(&mut one);
            second.step(&mut other);
            assert_eq!(first.told, second.told, "seed {seed} step {step}");
            first.told.clear();
            second.told.clear();
            assert_eq!(one.counters(), other.counters(), "seed {seed} step {step}");
            if prng.one_in(5) {
                let bytes = snapshot(&other);
                let lengths = other.lengths();
                other = Requests::restore(&config, SYMBOLS, jobs, HANDLERS_MAX, &bytes)
                    .unwrap_or_else(|error| panic!("seed {seed} step {step}: {error}; {:?}", one.counters()));
                assert!(snapshot(&other) == bytes, "seed {seed} step {step}: equal requests, equal bytes");
                assert!(snapshot(&one) == bytes, "seed {seed} step {step}");
                let waiting = other.waiting_for_retry();
                let mut expected: Vec<_> = second.again.values().copied().collect();
                expected.sort_by_key(|request| request.index());
                assert_eq!(waiting, expected, "seed {seed} step {step}");
                let names = ["arrivals", "serving", "orders", "under way", "ends"];
                names.into_iter().zip(lengths).for_each(|(name, length)| *met.entry(name).or_insert(0) += length);
                *met.entry("waiting").or_insert(0) += waiting.len();
            }
        }
    });
    // Between instants nothing is being served: all else has to have waited across a snapshot.
    for (name, count) in &met {
        assert!(*count > 0 || *name == "serving" || *name == "ends", "no snapshot had any {name}: {met:?}");
    }
}

#[test]
fn damage_is_refused_with_the_name_of_the_section_or_does_no_harm() {
    let mut prng = Prng::new(11);
    let (mut config, jobs) = (Config::default(), JobSet::of(&[SERVED]));
    (config.off_core, config.jobs_max, config.queue.capacity) = (JobSet::of(&[SLOW]), 2, 6);
    let mut requests = begin(&config, jobs, true);
    let mut driver = Driver::new(prng.next_u64());
    while requests.under_way.is_empty() || requests.arrivals.is_empty() || requests.orders.is_empty() {
        driver.step(&mut requests);
    }
    let good = snapshot(&requests);
    let restore = |bytes: &[u8]| Requests::restore(&config, SYMBOLS, jobs, HANDLERS_MAX, bytes);
    // The queues' own sections are tried where they are made.
    let body = HEADER_BYTES + requests.body_bytes();
    let (own, queues) = good.split_at(body);
    let whole = |own: &[u8]| [own, queues].concat();
    every_cut_and_flip_is_refused(own, |own| restore(&whole(own)).is_ok());
    let (refused, taken) = sealed_damage(0..40, 40, own, |own| match restore(&whole(own)) {
        Err(error) => {
            assert!(!error.to_string().is_empty());
            false
        }
        Ok(mut requests) => {
            let mut driver = Driver::new(5);
            (0..40).for_each(|_| driver.ask(&mut requests));
            for _ in 0..200 {
                driver.now += MILLI;
                let now = UnixNanos(driver.now);
                if requests.due() <= now {
                    let at = requests.due();
                    if let Turn::Serve(request) = requests.turn(at) {
                        requests.served(request);
                    }
                }
                if requests.reply_due() <= now {
                    requests.lose_reply(now);
                }
            }
            true
        }
    });
    assert!(refused > taken, "{refused} refused, {taken} taken");

    // Of another engine.
    let told = |error: Result<Requests, RestoreError>| error.unwrap_err().to_string();
    let fewer = Requests::restore(&config, SYMBOLS, jobs, 1, &good);
    assert!(told(fewer).starts_with("the snapshot of the requests breaks a rule"));
    let other = Requests::restore(&Config { jobs_max: 3, ..config.clone() }, SYMBOLS, jobs, HANDLERS_MAX, &good);
    assert_eq!(told(other), "the snapshot is of a requests with jobs under way of at most 2, this one has 3");
    let long = [&good[..], &[0]].concat();
    assert!(restore(&long).is_err());
}
