//! The bridge against a naive twin that has no timers: it knows when a batch closes once it has seen what comes after.

#[path = "common/market.rs"]
mod market;
#[path = "common/mini_shard.rs"]
mod mini_shard;

use market::{Prng, SECOND};
use mini_shard::MiniShard;
use tapeline_core::bridge::{Bridge, Config, Counts, Rate};
use tapeline_core::bucket::{Buckets, Limit, Take};
use tapeline_core::event::payload::{Alert, CloseReason, FeatureRequest, PRIORITY_UNSET};
use tapeline_core::event::{EventBuf, Slot};
use tapeline_core::limits::TICK_NS;
use tapeline_core::units::{SymbolId, UnixNanos};

const START: u64 = 1_700_000_000 * SECOND;
const SYMBOLS: usize = 3;

/// One alert: shard time, symbol, rule, side, severity.
#[derive(Clone, Copy, Debug)]
struct At {
    now: u64,
    symbol: SymbolId,
    rule: u16,
    side: u8,
    severity: u8,
}

impl At {
    fn slots(&self, seq: u64) -> Vec<Slot> {
        let alert = Alert { rule: self.rule, side: self.side, severity: self.severity, ..Alert::default() };
        let mut event = EventBuf::new(&alert);
        let head = event.head_mut();
        (head.ts_recv, head.seq, head.symbol) = (UnixNanos(self.now), seq, self.symbol);
        event.slots().to_vec()
    }
}

/// Bursts of a few rules, with pauses around the bridge's intervals.
fn alerts(seed: u64, count: usize) -> Vec<At> {
    let mut prng = Prng::new(seed);
    let mut now = START + prng.below(SECOND);
    (0..count)
        .map(|_| {
            now += match prng.below(40) {
                0 => prng.below(5 * SECOND),
                1..=3 => prng.below(300_000_000),
                4..=9 => prng.below(3 * TICK_NS),
                10..=12 => TICK_NS - now % TICK_NS,
                13..=24 => prng.below(TICK_NS / 2),
                _ => 0,
            };
            At {
                now,
                symbol: SymbolId(1 + prng.below(SYMBOLS as u64) as u32),
                rule: if prng.one_in(40) { prng.pick(&[31, 32, 999]) } else { 1 + prng.below(8) as u16 },
                side: prng.below(3) as u8,
                severity: prng.below(4) as u8,
            }
        })
        .collect()
}

/// The open batch as the twin keeps it: all of its alerts.
#[derive(Default)]
struct Open {
    alerts: Vec<At>,
    duplicates: u16,
    /// What closed it and when a token is there, once it waits for one.
    waits: Option<(CloseReason, u64)>,
}

/// What the twin makes of the alerts of one symbol: requests with their times, and counts.
struct Twin {
    config: Config,
    buckets: Buckets,
    said: Vec<(At, u64)>,
    open: Open,
    made: Vec<(u64, FeatureRequest)>,
    counts: Counts,
}

fn round_up(ns: u64) -> u64 {
    ns.div_ceil(TICK_NS) * TICK_NS
}

impl Twin {
    fn new(config: Config) -> Self {
        let Rate { tokens, per_ns, burst } = config.rate;
        Self {
            config,
            buckets: Buckets::new(1, &[Limit::new(tokens, per_ns, burst).unwrap()]),
            said: Vec::new(),
            open: Open::default(),
            made: Vec::new(),
            counts: Counts::default(),
        }
    }

    /// When time alone closes the open batch, or lets it pass, and why.
    fn ends(&self) -> Option<(u64, CloseReason)> {
        if let Some((reason, at)) = self.open.waits {
            return Some((round_up(at), reason));
        }
        let (first, last) = (self.open.alerts.first()?, self.open.alerts.last()?);
        let (timer, idle) = (first.now + self.config.batch_ns, last.now + self.config.idle_ns);
        let at = round_up(timer.min(idle));
        Some((at, if at >= timer { CloseReason::Timer } else { CloseReason::Idle }))
    }

    fn pass_time(&mut self, until: u64) {
        while let Some((at, reason)) = self.ends()
            && at <= until
        {
            self.close(at, reason);
        }
    }

    fn close(&mut self, now: u64, reason: CloseReason) {
        let first_try = self.open.waits.is_none();
        match self.buckets.try_take(0, 1, UnixNanos(now)) {
            Take::Taken => {
                self.counts.hits += u64::from(first_try);
                let Open { alerts, duplicates, .. } = std::mem::take(&mut self.open);
                let waited = now - alerts[0].now;
                self.made.push((
                    now,
                    FeatureRequest {
                        groups: 0,
                        rules: alerts.iter().fold(0, |rules, alert| rules | 1 << alert.rule),
                        waited_us: (waited / 1_000) as u32,
                        alerts: u16::try_from(alerts.len()).unwrap_or(u16::MAX),
                        duplicates,
                        severity: alerts.iter().map(|alert| alert.severity).max().unwrap(),
                        closed_by: reason as u8,
                        priority: PRIORITY_UNSET,
                        reserved: 0,
                    },
                ));
                self.counts.batched += alerts.len() as u64;
                self.counts.closed_by[reason as usize] += 1;
                self.counts.waited_ns += waited;
                self.counts.waited_ns_max = self.counts.waited_ns_max.max(waited);
            }
            Take::Delay { at } if at.0 - now <= self.config.delay_ns_max => {
                self.counts.delays += u64::from(first_try);
                self.open.waits = Some((reason, at.0));
            }
            _ => {
                self.counts.refusals += 1;
                self.counts.lost += self.open.alerts.len() as u64;
                self.open = Open::default();
            }
        }
    }

    fn alert(&mut self, alert: At) {
        self.pass_time(alert.now);
        self.counts.alerts += 1;
        if alert.rule >= 32 {
            self.counts.foreign += 1;
            return;
        }
        let last = self.said.iter().rev().find(|(said, _)| said.rule == alert.rule);
        let again = last.is_some_and(|(said, at)| {
            said.side == alert.side && alert.severity <= said.severity && alert.now - at < self.config.dedup_ns
        });
        if again {
            self.counts.duplicates += 1;
            self.open.duplicates += u16::from(!self.open.alerts.is_empty());
            return;
        }
        self.said.push((alert, alert.now));
        self.open.alerts.push(alert);
        if self.open.waits.is_none() && self.open.alerts.len() >= usize::from(self.config.batch_alerts) {
            self.close(alert.now, CloseReason::Full);
        }
    }
}

fn configs() -> [Config; 5] {
    let base = Config::default();
    [
        base,
        Config { dedup_ns: 0, batch_alerts: 3, idle_ns: 50 * TICK_NS, batch_ns: 7 * TICK_NS + 1, ..base },
        Config { batch_alerts: 1, rate: Rate { tokens: 1, per_ns: SECOND, burst: 1 }, ..base },
        Config {
            dedup_ns: 20 * TICK_NS,
            batch_alerts: 4,
            idle_ns: 5 * TICK_NS / 2,
            rate: Rate { tokens: 3, per_ns: SECOND, burst: 2 },
            delay_ns_max: 200_000_000,
            ..base
        },
        Config { rate: Rate { tokens: 1, per_ns: SECOND, burst: 1 }, delay_ns_max: 0, dedup_ns: 1, ..base },
    ]
}

/// Plays `alerts` into the bridge, with the shard's time moved in steps of its own in between where `polls` says so.
fn play(config: Config, alerts: &[At], polls: Option<u64>) -> MiniShard<Bridge> {
    let mut shard = MiniShard::new(Bridge::new(config).unwrap(), SYMBOLS + 1);
    let mut prng = Prng::new(polls.unwrap_or(0));
    for (seq, at) in alerts.iter().enumerate() {
        let before = shard.now().0;
        if polls.is_some() && at.now > before {
            shard.tick(UnixNanos(before + prng.below(at.now - before)));
        }
        shard.event(&at.slots(seq as u64));
    }
    shard.drain();
    shard
}

#[test]
fn req_3383_3388b_3389_3390_3391_3391b_3394_a_batch_is_one_event_and_is_in_the_metrics_once() {
    let mut seen = [Counts::default(); 5];
    for (c, config) in configs().into_iter().enumerate() {
        for seed in 0..60 {
            let alerts = alerts(seed, 1_500);
            let mut shard = play(config, &alerts, None);
            for id in 1..=SYMBOLS {
                let symbol = SymbolId(id as u32);
                let mut twin = Twin::new(config);
                alerts.iter().filter(|alert| alert.symbol == symbol).for_each(|alert| twin.alert(*alert));
                twin.pass_time(u64::MAX);
                let place = format!("config {c}, seed {seed}, symbol {id}");
                let made: Vec<(u64, FeatureRequest)> = (shard.outputs().filter(|event| event.head().symbol == symbol))
                    .map(|event| (event.head().ts_recv.0, *event.get().unwrap()))
                    .collect();
                for (index, (got, want)) in made.iter().zip(&twin.made).enumerate() {
                    assert_eq!(got, want, "{place}, request {index}");
                }
                assert_eq!(made.len(), twin.made.len(), "{place}");
                let state = shard.state(symbol);
                assert_eq!((*state.counts(), state.waiting()), (twin.counts, 0), "{place}");
                // Each batch is in the metrics once: what they say is what came out.
                let counts = state.counts();
                let sum = |of: fn(&FeatureRequest) -> u64| made.iter().map(|(_, request)| of(request)).sum::<u64>();
                assert_eq!(counts.batched, sum(|request| request.alerts.into()), "{place}");
                assert_eq!(counts.closed_by.iter().sum::<u64>(), made.len() as u64, "{place}");
                let ended = counts.duplicates + counts.foreign + counts.batched + counts.lost;
                assert_eq!(counts.alerts, ended, "{place}");
                let all = &mut seen[c];
                all.closed_by.iter_mut().zip(counts.closed_by).for_each(|(all, one)| *all += one);
                all.hits += counts.hits;
                all.delays += counts.delays;
                all.refusals += counts.refusals;
                all.duplicates += counts.duplicates;
            }
        }
    }
    assert!(seen[0].closed_by[0] > 0 && seen[0].closed_by[2] > 100 && seen[0].duplicates > 100, "{seen:?}");
    assert!(seen[1].closed_by[0] > 100 && seen[1].closed_by[1] > 100, "{seen:?}");
    assert!(seen[3].closed_by.iter().all(|count| *count > 10) || seen[3].closed_by[1] == 0, "{seen:?}");
    assert!(seen[3].hits > 100 && seen[3].delays > 100 && seen[3].refusals > 100, "{seen:?}");
    assert!(seen[4].delays == 0 && seen[4].refusals > 100, "{seen:?}");
}

#[test]
fn outputs_do_not_depend_on_polls_or_on_other_symbols() {
    for (c, config) in configs().into_iter().enumerate() {
        for seed in 100..110 {
            let alerts = alerts(seed, 1_000);
            let plain = play(config, &alerts, None);
            let polled = play(config, &alerts, Some(seed));
            assert!(plain.output_slots() == polled.output_slots(), "config {c}, seed {seed}");
            for id in 1..=SYMBOLS as u32 {
                let own = |slots: &&Vec<Slot>| slots[0].symbol == SymbolId(id);
                // Numbers are those of the whole stream.
                let mut alone = MiniShard::new(Bridge::new(config).unwrap(), SYMBOLS + 1);
                for (seq, at) in alerts.iter().enumerate().filter(|(_, at)| at.symbol == SymbolId(id)) {
                    alone.event(&at.slots(seq as u64));
                }
                alone.drain();
                let of_symbol: Vec<_> = plain.output_slots().iter().filter(own).cloned().collect();
                assert!(of_symbol == alone.output_slots(), "config {c}, seed {seed}, symbol {id}");
            }
        }
    }
}

#[test]
fn a_batch_whose_timers_are_lost_is_closed_by_the_next_alert() {
    let config = Config { dedup_ns: 0, ..Config::default() };
    let mut shard = MiniShard::new(Bridge::new(config).unwrap(), 2);
    let at = |now: u64| At { now: START + now, symbol: SymbolId(1), rule: 1, side: 1, severity: 1 };
    shard.event(&at(0).slots(0));
    shard.event(&at(10).slots(1));
    shard.lose_timers();
    assert_eq!(shard.state(SymbolId(1)).waiting(), 2);
    shard.event(&at(3 * SECOND).slots(2));
    let made: Vec<FeatureRequest> = shard.outputs().map(|event| *event.get().unwrap()).collect();
    assert_eq!((made.len(), made[0].alerts, made[0].waited_us), (1, 2, 3_000_000));
    assert_eq!(shard.state(SymbolId(1)).waiting(), 1);
    shard.drain();
    assert_eq!(shard.outputs().count(), 2);
}

#[test]
fn a_delayed_batch_of_more_alerts_than_16_bits_hold_loses_none() {
    let rate = Rate { tokens: 1, per_ns: 10 * SECOND, burst: 1 };
    let config = Config { dedup_ns: 0, batch_alerts: 1, rate, delay_ns_max: 20 * SECOND, ..Config::default() };
    let mut shard = MiniShard::new(Bridge::new(config).unwrap(), 2);
    let alerts = 1 + 40 + 65_536;
    for seq in 0..alerts {
        let at = At { now: START + seq, symbol: SymbolId(1), rule: 1, side: 1, severity: 1 };
        shard.event(&at.slots(seq));
    }
    assert_eq!(u64::from(shard.state(SymbolId(1)).waiting()), alerts - 1, "the first took the token");
    shard.drain();
    let made: Vec<FeatureRequest> = shard.outputs().map(|event| *event.get().unwrap()).collect();
    assert_eq!((made.len(), made[0].alerts, made[1].alerts), (2, 1, u16::MAX), "the payload's count ends there");
    let counts = shard.state(SymbolId(1)).counts();
    assert_eq!((counts.alerts, counts.batched, counts.lost), (alerts, alerts, 0));
}

#[test]
fn a_timer_that_is_set_anew_for_a_lost_one_ends_the_batch_in_its_time() {
    let config = Config { dedup_ns: 0, idle_ns: 50 * TICK_NS, batch_ns: 100 * TICK_NS, ..Config::default() };
    let mut shard = MiniShard::new(Bridge::new(config).unwrap(), 2);
    let at = |ticks: u64| At { now: START + ticks * TICK_NS, symbol: SymbolId(1), rule: 1, side: 1, severity: 1 };
    shard.event(&at(0).slots(0));
    shard.event(&at(40).slots(1));
    shard.lose_timers();
    // Its timer was due at 50. It is not over at 60: the last alert came at 40.
    shard.event(&at(60).slots(2));
    assert_eq!(shard.state(SymbolId(1)).waiting(), 3);
    shard.event(&at(99).slots(3));
    shard.drain();
    let made: Vec<_> = shard.outputs().map(|event| (event.head().ts_recv.0, *event.get().unwrap())).collect();
    let (ended, request): (u64, FeatureRequest) = made[0];
    assert_eq!((ended, request.alerts, request.closed_by), (START + 100 * TICK_NS, 4, CloseReason::Timer as u8));
}
