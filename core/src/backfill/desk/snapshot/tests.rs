//! A desk that is put back from its snapshot again and again goes on as one that never was; damage is refused, or does no harm.

use super::*;
use crate::backfill::Config;
use crate::backfill::desk::Reply;
use crate::event::payload::Trade;
use crate::event::{EventBuf, Flags, Kind};
use crate::testing::{Prng, every_cut_and_flip_is_refused, for_seeds, sealed_damage};
use std::collections::BTreeMap;

const SYMBOLS: usize = 4;
const HANDLERS: usize = 3;
const MILLI: u64 = 1_000_000;
const START: u64 = 1_700_000_000 * 1_000 * MILLI;

fn config(prng: &mut Prng) -> DeskConfig {
    let manager = Config {
        jobs: 1 + prng.index(8),
        asks: 1 + prng.index(12),
        jobs_per_symbol: 1 + prng.index(4),
        in_flight: 1 + prng.index(4),
        in_flight_per_symbol: 1 + prng.index(2),
        remembered: prng.index(6),
        remember_ns: 40 * MILLI,
        ..Config::default()
    };
    DeskConfig { manager, delay_ns: 4 * MILLI, ..DeskConfig::default() }
}

fn snapshot(desk: &Desk) -> Vec<u8> {
    let mut out = Vec::new();
    desk.snapshot(&mut out);
    assert_eq!(out.len(), desk.snapshot_bytes());
    out
}

/// One who asks and reads: two that are given the same numbers do the same as long as their desks are the same.
struct Driver {
    prng: Prng,
    now: u64,
    asked: u64,
    /// Orders that were taken and whose reply has not ended, and the time of the next event.
    taken: Vec<HistoryOrder>,
    at: u64,
    told: Vec<String>,
}

impl Driver {
    fn new(seed: u64) -> Self {
        Self { prng: Prng::new(seed), now: START, asked: 0, taken: Vec::new(), at: 0, told: Vec::new() }
    }

    fn ask(&mut self, desk: &mut Desk) {
        self.asked += 1;
        let from = START - self.prng.in_range(0..20) * 10 * MILLI;
        let range = Range::new(UnixNanos(from), UnixNanos(from + self.prng.in_range(0..9) * 10 * MILLI));
        let kinds =
            if self.prng.one_in(3) { KindSet::of(&[Kind::TRADE, Kind::QUOTE]) } else { KindSet::one(Kind::TRADE) };
        let act = if self.prng.one_in(6) {
            HistoryAct::Cancel(RequestId(self.prng.in_range(0..self.asked + 1)))
        } else {
            HistoryAct::Ask(History { kinds, range, priority: Priority::new(self.prng.index(3) as u8).unwrap() })
        };
        let handler = self.prng.index(HANDLERS) as u16;
        let cause = Identity { seq: self.asked, ..Identity::default() };
        let staged = StagedHistory { id: RequestId(self.asked), act, handler, cause };
        let symbol = SymbolId(self.prng.index(SYMBOLS) as u32);
        desk.arrive(UnixNanos(self.now), symbol, &staged, self.prng.one_in(3));
    }

    fn take(&mut self, desk: &mut Desk) {
        while let Some(order) = desk.take_order() {
            self.told.push(format!("{order:?}"));
            self.taken.push(order);
        }
        while let Some(stop) = desk.take_stop() {
            self.told.push(format!("stop {stop}"));
        }
    }

    fn reply(&mut self, desk: &mut Desk, now: UnixNanos) {
        self.take(desk);
        let order = self.taken[0];
        self.at = self.at.max(order.range.from.0);
        if self.at < order.range.to.0 && !self.prng.one_in(6) {
            let mut event = EventBuf::new(&Trade::default());
            event.flag(Flags::HISTORICAL);
            (event.head_mut().symbol, event.head_mut().ts_recv) = (order.symbol, UnixNanos(self.at));
            let head = event.slots()[0];
            let reply = desk.take_reply(&head);
            let first = desk.first_asker(Kind::TRADE).map(|link| desk.asker(link, Kind::TRADE));
            let is_again = desk.reads_again();
            if let Reply::Next(..) = reply {
                self.told.push(format!("{first:?} {is_again}"));
            }
            self.told.push(format!("{reply:?}"));
            self.at += 10 * MILLI;
            return;
        }
        self.at = 0;
        match self.prng.index(8) {
            0 => {
                desk.lose_reply(now);
                self.taken.remove(0);
            }
            1 => desk.end_reply(now, 1 << 40, None),
            2 => {
                let number = self.taken[self.prng.index(self.taken.len())].number;
                desk.end_reply(now, number, None);
                self.taken.retain(|order| order.number > number);
            }
            3 => desk.end_reply(now, self.taken.remove(0).number, Some(77)),
            _ => desk.end_reply(now, self.taken.remove(0).number, None),
        }
    }

    fn step(&mut self, desk: &mut Desk) {
        match self.prng.index(10) {
            0..=5 => self.ask(desk),
            6 => {
                let cleared = desk.clear(UnixNanos(self.now), SymbolId(self.prng.index(SYMBOLS) as u32));
                self.told.push(format!("cleared {cleared}"));
            }
            7 => self.take(desk),
            _ => {}
        }
        self.now += self.prng.in_range(0..2 * MILLI);
        // In order of time; a step ends in the middle of an instant now and then.
        while !self.prng.one_in(20) {
            let (turn, reply) = (desk.due().0, desk.reply_due().0);
            let next = turn.min(reply);
            if next > self.now {
                return;
            }
            if turn == next {
                let turn = desk.turn(UnixNanos(next));
                self.told.push(format!("{turn:?}"));
            } else {
                self.reply(desk, UnixNanos(next));
            }
        }
    }
}

#[test]
fn a_desk_that_was_put_back_goes_on_as_one_that_never_was() {
    let mut met = BTreeMap::new();
    for_seeds(0..120, |seed, prng| {
        let config = config(prng);
        let (mut one, mut other) = (Desk::new(&config), Desk::new(&config));
        let (mut first, mut second) = (Driver::new(seed), Driver::new(seed));
        for step in 0..400 {
            first.step(&mut one);
            second.step(&mut other);
            assert_eq!(first.told, second.told, "seed {seed} step {step}");
            first.told.clear();
            second.told.clear();
            assert_eq!(one.counters(), other.counters(), "seed {seed} step {step}");
            if prng.one_in(5) {
                for (name, length) in [
                    ("arrivals", other.arrivals.len()),
                    ("orders", other.orders.len()),
                    ("stops", other.stops.len()),
                    ("under way", other.under_way.len()),
                    ("ends", other.ends.len()),
                ] {
                    *met.entry(name).or_insert(0) += length;
                }
                let bytes = snapshot(&other);
                other = Desk::restore(&config, SYMBOLS, HANDLERS, &bytes)
                    .unwrap_or_else(|error| panic!("seed {seed} step {step}: {error}"));
                assert!(snapshot(&other) == bytes, "seed {seed} step {step}: equal desks, equal bytes");
                assert!(snapshot(&one) == bytes, "seed {seed} step {step}");
            }
        }
    });
    for (name, count) in &met {
        assert!(*count > 0, "no snapshot had any {name}: {met:?}");
    }
}

#[test]
fn damage_is_refused_with_the_name_of_the_section_or_does_no_harm() {
    let mut prng = Prng::new(3);
    let config = DeskConfig {
        manager: Config { jobs: 6, asks: 8, in_flight: 3, jobs_per_symbol: 3, remembered: 4, ..Config::default() },
        ..DeskConfig::default()
    };
    let mut desk = Desk::new(&config);
    let mut driver = Driver::new(prng.next_u64());
    while desk.under_way.is_empty() || desk.arrivals.is_empty() || desk.orders.is_empty() || desk.ends.is_empty() {
        driver.step(&mut desk);
    }
    let good = snapshot(&desk);
    let restore = |bytes: &[u8]| Desk::restore(&config, SYMBOLS, HANDLERS, bytes);
    // The manager's own section is tried where it is made.
    let (own, manager) = good.split_at(HEADER_BYTES + desk.body_bytes());
    let whole = |own: &[u8]| [own, manager].concat();
    every_cut_and_flip_is_refused(own, |own| restore(&whole(own)).is_ok());
    let (refused, taken) = sealed_damage(0..40, 40, own, |own| match restore(&whole(own)) {
        Err(error) => {
            // A length that is another one is found by the check.
            let is_length = matches!(error, RestoreError::Damaged | RestoreError::Length { .. });
            assert!(is_length || error.to_string().contains(NAME), "{error}");
            false
        }
        Ok(mut desk) => {
            let mut driver = Driver::new(5);
            for _ in 0..200 {
                driver.ask(&mut desk);
                driver.now += MILLI;
                let now = UnixNanos(driver.now);
                if desk.due() <= now {
                    let _ = desk.turn(desk.due());
                }
                if desk.reply_due() <= now {
                    desk.lose_reply(now);
                }
            }
            true
        }
    });
    assert!(refused > taken, "{refused} refused, {taken} taken");

    let told = |error: Result<Desk, RestoreError>| error.unwrap_err().to_string();
    assert!(
        told(Desk::restore(&config, SYMBOLS, 0, &good)).starts_with("the snapshot of the history desk breaks a rule")
    );
    let other = Desk::restore(&DeskConfig { delay_ns: MILLI, ..config }, SYMBOLS, HANDLERS, &good);
    assert!(told(other).starts_with("the snapshot is of a history desk with a delay in ns of"));
    assert!(restore(&[&good[..], &[0]].concat()).is_err());
}
