//! What the default pipeline decides: which symbols qualify and are promoted, behind a sink that may fail; and when a trend turns.

#[path = "common/market.rs"]
mod market;
#[path = "common/mini_shard.rs"]
mod mini_shard;

use market::{Prng, SECOND};
use mini_shard::MiniShard;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tapeline_core::breaker;
use tapeline_core::event::payload::{Alert, Features, News, Payload, Signal, SymbolPromoted, SymbolQualified};
use tapeline_core::event::{EventBuf, EventRef, Identity, Kind, Slot};
use tapeline_core::features::{SET, SET_2, SET_LEN};
use tapeline_core::handler::{CallSite, Ctx, Full, Handler, Staging, Verdict};
use tapeline_core::limits::TICK_NS;
use tapeline_core::publisher::{Condition, Config, ConfigError, FAIL_REFUSED, OnRefusal, Publisher, Sink, Tier, ToBus};
use tapeline_core::scanner::Rule;
use tapeline_core::signals::{self, Crossover, numbers};
use tapeline_core::units::{SourceId, SymbolId, UnixNanos};

const START: u64 = 1_700_000_000 * SECOND;
const SYMBOL: SymbolId = SymbolId(1);

fn event<P: Payload>(payload: &P, now: u64, seq: u64, tail: &[f64]) -> Vec<Slot> {
    let mut event = EventBuf::new(payload);
    event.push_bytes(bytemuck::cast_slice(tail)).unwrap();
    let head = event.head_mut();
    (head.ts_recv, head.seq, head.symbol) = (UnixNanos(now), seq, SYMBOL);
    event.slots().to_vec()
}

/// A vector in which these values are ready, by name.
fn vector(now: u64, seq: u64, interval_ns: u64, values: &[(&str, f64)]) -> Vec<Slot> {
    let mut all = [0.0; SET_LEN];
    let mut ready = 0;
    for (name, value) in values {
        let place = SET.iter().position(|def| def.name == *name).unwrap();
        (all[place], ready) = (*value, ready | 1u64 << place);
    }
    event(&Features { ready, interval_ns, count: SET_LEN as u32, set: SET_2 }, now, seq, &all)
}

fn alert(now: u64, seq: u64, rule: u16) -> Vec<Slot> {
    event(&Alert { rule, ..Alert::default() }, now, seq, &[])
}

fn condition(feature: &str, is_above: bool, enter: f64, leave: f64, weight: f64) -> Condition {
    Condition { feature: feature.to_owned(), is_above, enter, leave, weight }
}

fn config() -> Config {
    Config {
        conditions: vec![condition("trades_bar", true, 10.0, 5.0, 2.0), condition("spread_bps", false, 3.0, 6.0, 1.0)],
        rules: Rule::Breakout.bit() | Rule::Gap.bit(),
        alert_ns: 20 * SECOND,
        enter: 3.0,
        leave: 2.0,
        cooldown_ns: 3 * SECOND,
        tiers: vec![
            Tier { enter: 3.0, leave: 2.0, after_ns: 4 * SECOND },
            Tier { enter: 3.0, leave: 3.0, after_ns: 9 * SECOND },
        ],
        ..Config::default()
    }
}

/// A change of a symbol: when, whether it qualifies from then on or not, and from which tier to which; each with the rules that
/// counted.
type Change = (u64, Option<(bool, u32)>, Option<(u8, u8, u32)>);

/// What a twin makes of alerts and values.
fn naive(config: &Config, seen: &[(u64, Seen)]) -> Vec<Change> {
    let mut changes = Vec::new();
    let (mut since, mut tier, mut changed): (Option<u64>, u8, Option<u64>) = (None, 0, None);
    let mut held = vec![false; config.conditions.len()];
    let counted = |what: &Seen| matches!(what, Seen::Alert(rule) if *rule < 32 && config.rules >> rule & 1 == 1);
    let end = (u64::MAX, Seen::Values([None; 2]));
    for (index, (now, what)) in seen.iter().chain([&end]).enumerate() {
        // The symbol ceases to qualify at the first tick at which no alert counts, whether or not anything comes.
        let last = seen[..index].iter().rfind(|(_, what)| counted(what));
        let until = last.map_or(0, |(at, _)| (at + config.alert_ns).div_ceil(TICK_NS) * TICK_NS);
        if since.is_some() && until <= *now {
            changes.push((until, Some((false, 0)), (tier != 0).then_some((tier, 0, 0))));
            (since, tier, changed) = (None, 0, Some(until));
        }
        if *now == u64::MAX {
            break;
        }
        let Seen::Values(values) = what else { continue };
        let mut score = 0.0;
        for ((condition, held), value) in config.conditions.iter().zip(&mut held).zip(values) {
            let threshold = if *held { condition.leave } else { condition.enter };
            let holds = |value: &f64| if condition.is_above { *value >= threshold } else { *value <= threshold };
            *held = value.as_ref().is_some_and(holds);
            score += if *held { condition.weight } else { 0.0 };
        }
        let rules = seen[..index].iter().fold(0, |rules, (at, what)| match what {
            Seen::Alert(rule) if counted(what) && now - at < config.alert_ns => rules | 1u32 << rule,
            _ => rules,
        });
        let is_named = rules != 0;
        let rested = changed.is_none_or(|at| now - at >= config.cooldown_ns);
        let is_enough = if since.is_some() { score >= config.leave } else { score >= config.enter && rested };
        let qualifies = is_named && is_enough;
        let mut next = 0;
        if let (Some(since), true) = (since, qualifies) {
            for (index, of) in config.tiers.iter().enumerate() {
                let up = rested && score >= of.enter && now - since >= of.after_ns;
                let stays = if index < usize::from(tier) { score >= of.leave } else { up };
                next += u8::from(usize::from(next) == index && stays);
            }
        }
        let promoted = (next != tier).then_some((tier, next, rules));
        let qualified = (qualifies != since.is_some()).then_some((qualifies, rules));
        if promoted.is_some() || qualified.is_some() {
            changes.push((*now, qualified, promoted));
            changed = Some(*now);
        }
        tier = next;
        if qualifies != since.is_some() {
            since = qualifies.then_some(*now);
        }
    }
    changes
}

/// An alert's rule, or the values of the conditions' features.
#[derive(Clone, Debug)]
enum Seen {
    Alert(u16),
    Values([Option<f64>; 2]),
}

fn random(seed: u64) -> Vec<(u64, Seen)> {
    let mut prng = Prng::new(seed);
    let mut now = START;
    let (mut trades, mut spread) = (8.0, 4.0);
    (0..400)
        .map(|_| {
            now += SECOND / 4 * prng.below(6);
            // Longer than an alert counts.
            now += if prng.one_in(60) { 15 * SECOND + prng.below(10 * SECOND) } else { 0 };
            if prng.one_in(8) {
                return (now, Seen::Alert(prng.pick(&[1, 2, 5, 99])));
            }
            trades = f64::clamp(trades + prng.below(9) as f64 - 4.0, 0.0, 30.0);
            spread = f64::clamp(spread + prng.below(5) as f64 / 2.0 - 1.0, 1.0, 9.0);
            let told = |prng: &mut Prng, value| (!prng.one_in(40)).then_some(value);
            (now, Seen::Values([told(&mut prng, trades), told(&mut prng, spread)]))
        })
        .collect()
}

fn slots(seen: &[(u64, Seen)]) -> Vec<Vec<Slot>> {
    let names = ["trades_bar", "spread_bps"];
    let numbered = seen.iter().enumerate();
    let slots = numbered.map(|(seq, (now, what))| match what {
        Seen::Alert(rule) => alert(*now, seq as u64, *rule),
        Seen::Values(values) => {
            let told: Vec<(&str, f64)> =
                names.iter().zip(values).filter_map(|(name, value)| Some((*name, (*value)?))).collect();
            vector(*now, seq as u64, SECOND, &told)
        }
    });
    slots.collect()
}

/// What a publisher has published: changes as the twin has them.
fn published<'a>(events: impl Iterator<Item = EventRef<'a>>) -> Vec<Change> {
    let mut changes: Vec<Change> = Vec::new();
    for event in events {
        let now = event.head().ts_recv.0;
        if changes.last().is_none_or(|(at, ..)| *at != now) {
            changes.push((now, None, None));
        }
        let last = changes.last_mut().unwrap();
        if let Some(of) = event.get::<SymbolQualified>() {
            last.1 = Some((of.qualified == 1, of.rules));
        }
        if let Some(of) = event.get::<SymbolPromoted>() {
            last.2 = Some((of.from_tier, of.tier, of.rules));
        }
    }
    changes
}

#[test]
fn changes_equal_those_of_a_twin() {
    let (mut rises, mut falls, mut tiers, mut lapses, mut partly) = (0, 0, 0, 0, 0);
    for seed in 0..200 {
        let seen = random(seed);
        let mut shard = MiniShard::new(Publisher::new(&config()).unwrap(), 2);
        slots(&seen).iter().for_each(|slots| shard.event(slots));
        shard.drain();
        // Two vectors of one instant can both bring something about: the twin's are joined as the outputs are.
        let mut want: Vec<Change> = Vec::new();
        for (now, qualified, promoted) in naive(&config(), &seen) {
            match want.last_mut().filter(|last| last.0 == now) {
                Some(last) => (last.1, last.2) = (qualified.or(last.1), promoted.or(last.2)),
                None => want.push((now, qualified, promoted)),
            }
        }
        assert_eq!(published(shard.outputs()), want, "seed {seed}");
        let count = |of: &dyn Fn(&Change) -> bool| want.iter().filter(|change| of(change)).count();
        rises += count(&|(_, qualified, _)| matches!(qualified, Some((true, _))));
        falls += count(&|(_, qualified, _)| matches!(qualified, Some((false, 1..))));
        tiers += count(&|(_, _, tier)| matches!(tier, Some((_, 2, _))));
        lapses += count(&|(at, qualified, _)| {
            *qualified == Some((false, 0)) && seen.iter().all(|(now, what)| now != at || matches!(what, Seen::Alert(_)))
        });
        // One rule's alert is over, another one's is not.
        partly += count(&|(_, qualified, _)| matches!(qualified, Some((_, rules)) if rules.count_ones() == 1));
        let counts = *shard.state(SYMBOL).counts();
        assert_eq!((counts.changes, counts.failed, counts.refused), (counts.published, 0, 0), "seed {seed}");
    }
    assert!(rises > 100 && falls > 100 && tiers > 20, "{rises} rises, {falls} falls, {tiers} in tier 2");
    assert!(lapses > 50 && partly > 100, "{lapses} ceased without a vector, {partly} with one rule of two");
}

/// A qualified symbol that goes quiet ceases to qualify when its last alert is over; a lost timer is set anew by the next vector.
#[test]
fn a_quiet_symbol_ceases_to_qualify_when_its_alerts_are_over() {
    let mut shard = MiniShard::new(Publisher::new(&config()).unwrap(), 2);
    let good = [("trades_bar", 20.0), ("spread_bps", 1.0)];
    shard.event(&alert(START, 0, 1));
    shard.event(&vector(START + SECOND, 1, SECOND, &good));
    shard.event(&alert(START + 7 * SECOND + 1, 2, 5));
    assert_eq!(shard.state(SYMBOL).standing(), (true, 0));
    shard.tick(UnixNanos(START + 27 * SECOND));
    assert_eq!(shard.state(SYMBOL).standing(), (true, 0), "the second alert counts");
    shard.tick(UnixNanos(START + 27 * SECOND + TICK_NS));
    assert_eq!((shard.state(SYMBOL).standing(), shard.timers()), ((false, 0), 0));
    let last = published(shard.outputs()).pop().unwrap();
    assert_eq!(last, (START + 27 * SECOND + TICK_NS, Some((false, 0)), None));

    let again = START + 60 * SECOND;
    shard.event(&alert(again, 3, 1));
    shard.event(&vector(again + SECOND, 4, SECOND, &good));
    shard.lose_timers();
    shard.event(&alert(again + 15 * SECOND, 5, 1));
    shard.event(&vector(again + 21 * SECOND, 6, SECOND, &good));
    assert_eq!((shard.state(SYMBOL).standing().0, shard.timers()), (true, 1));
    shard.drain();
    assert_eq!(published(shard.outputs()).pop().unwrap().0, again + 35 * SECOND);
}

/// It is of the middle of a bar, and who asks for features must not change who qualifies.
#[test]
fn a_reply_to_a_request_says_nothing() {
    let mut shard = MiniShard::new(Publisher::new(&config()).unwrap(), 2);
    let good = [("trades_bar", 20.0), ("spread_bps", 1.0)];
    shard.event(&alert(START, 0, 1));
    shard.event(&vector(START + 1, 1, 0, &good[..1]));
    assert_eq!(shard.state(SYMBOL).standing(), (false, 0));
    shard.event(&vector(START + 2, 2, 0, &good));
    assert_eq!(shard.state(SYMBOL).standing(), (false, 0));
    shard.event(&vector(START + 3, 3, SECOND, &good));
    assert_eq!(shard.state(SYMBOL).standing(), (true, 0));
    shard.event(&vector(START + 4, 4, 0, &[("trades_bar", 0.0), ("spread_bps", 9.0)]));
    assert_eq!(shard.state(SYMBOL).standing(), (true, 0));
    assert_eq!(shard.state(SYMBOL).counts().unusable, 3);
}

/// Takes nothing from one instant to another, and counts how often it was asked.
struct Flaky {
    from: u64,
    to: u64,
    asked: Arc<AtomicU64>,
}

impl Flaky {
    fn take(&self, cx: &Ctx<'_>) -> Result<(), Full> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        if (self.from..self.to).contains(&cx.now().0) { Err(Full) } else { Ok(()) }
    }
}

impl Sink for Flaky {
    fn qualified(&self, change: &SymbolQualified, cx: &mut Ctx<'_>) -> Result<(), Full> {
        self.take(cx)?;
        ToBus.qualified(change, cx)
    }

    fn promoted(&self, change: &SymbolPromoted, cx: &mut Ctx<'_>) -> Result<(), Full> {
        self.take(cx)?;
        ToBus.promoted(change, cx)
    }
}

#[test]
fn req_3395_a_failing_sink_trips_the_breaker_and_what_it_refuses_is_kept() {
    let breaker =
        breaker::Config { failures_in_row: 3, open_ns: SECOND, open_ns_max: 4 * SECOND, ..breaker::Config::default() };
    let config = Config { breaker, cooldown_ns: 0, tiers: Vec::new(), ..config() };
    let asked = Arc::new(AtomicU64::new(0));
    let sink = Flaky { from: START, to: START + 60 * SECOND, asked: Arc::clone(&asked) };
    let mut shard = MiniShard::new(Publisher::to(&config, sink).unwrap(), 2);
    for second in 0..60 {
        if second % 10 == 0 {
            shard.event(&alert(START + second * SECOND, 2 * second, 1));
        }
        // It qualifies, and ceases to, every second.
        let trades = if second % 2 == 0 { 20.0 } else { 1.0 };
        let spread = if second % 2 == 0 { 1.0 } else { 9.0 };
        shard.event(&vector(
            START + second * SECOND,
            2 * second + 1,
            SECOND,
            &[("trades_bar", trades), ("spread_bps", spread)],
        ));
    }
    assert_eq!(shard.outputs().count(), 0);
    let state = shard.state(SYMBOL);
    assert!(
        state.breaker().counts().trips == 1 && state.breaker().counts().reopens > 5,
        "{:?}",
        state.breaker().counts()
    );
    // Open most of the time, it is asked by probes alone. Without a breaker it would be asked ten times a second.
    assert!(asked.load(Ordering::Relaxed) < 30, "asked {} times", asked.load(Ordering::Relaxed));
    shard.tick(UnixNanos(START + 70 * SECOND));
    let state = *shard.state(SYMBOL);
    // The sink is back: the newest change has come, the others were counted as replaced by it.
    let out = published(shard.outputs());
    assert_eq!(out.len(), 1);
    assert!(matches!(out[0].1, Some((false, _))));
    let counts = state.counts();
    assert_eq!((counts.changes, counts.published + counts.replaced), (60, 60));
    assert!(counts.failed >= 3 && counts.refused > 0);
}

#[test]
fn req_3395_what_the_breaker_refuses_is_dead_lettered_where_the_policy_says_so() {
    let breaker = breaker::Config {
        failures_in_row: 1,
        open_ns: 10 * SECOND,
        open_ns_max: 10 * SECOND,
        ..breaker::Config::default()
    };
    let config = Config { breaker, cooldown_ns: 0, tiers: Vec::new(), on_refusal: OnRefusal::DeadLetter, ..config() };
    let sink = Flaky { from: START, to: START + SECOND, asked: Arc::default() };
    let publisher = Publisher::to(&config, sink).unwrap();
    let mut st = bytemuck::Zeroable::zeroed();
    let mut staging = Staging::new();
    let mut call = |slots: &[Slot]| {
        let event = EventRef::first(slots).unwrap();
        let site = CallSite {
            now: event.head().ts_recv,
            tick_ns: TICK_NS,
            symbol: SYMBOL,
            ts_event: event.head().ts_event,
            root: Identity::default(),
            timer_ns: 0,
            timer: 0,
            seed: 0,
            handler: 0,
            source: SourceId(1),
            crosses_symbols: false,
        };
        publisher.on_event(&mut st, event, &mut Ctx::new(site, &mut staging))
    };
    let (good, bad) = ([("trades_bar", 20.0), ("spread_bps", 1.0)], [("trades_bar", 0.0), ("spread_bps", 9.0)]);
    assert_eq!(call(&alert(START, 0, 1)), Verdict::Done);
    assert_eq!(call(&vector(START + 1, 1, SECOND, &good)), Verdict::Done, "the sink fails, and the breaker opens");
    assert_eq!(call(&vector(START + 2 * SECOND, 2, SECOND, &good)), Verdict::Done, "nothing has changed");
    let refused = call(&vector(START + 3 * SECOND, 3, SECOND, &bad));
    assert_eq!(refused, Verdict::Fail(FAIL_REFUSED), "an open breaker, and a change");
}

#[test]
fn bad_configurations_of_a_publisher_are_refused() {
    let with = |change: fn(&mut Config)| {
        let mut config = Config::default();
        change(&mut config);
        Publisher::new(&config).err()
    };
    assert_eq!(with(|_| {}), None);
    assert_eq!(with(|c| c.conditions[0].feature = "luck".to_owned()), Some(ConfigError::Feature("luck".to_owned())));
    let apart = with(|c| c.conditions[0].feature = "benchmark_price".to_owned()).unwrap();
    assert_eq!(apart.to_string(), "no set of features has all of benchmark_price, ewma_volatility, spread_bps");
    assert!(matches!(with(|c| c.conditions[0].leave = 99.0), Some(ConfigError::Condition { .. })));
    assert!(matches!(with(|c| c.conditions[1].weight = f64::NAN), Some(ConfigError::Condition { .. })));
    assert!(matches!(with(|c| c.conditions[1].enter = f64::INFINITY), Some(ConfigError::Condition { .. })));
    assert_eq!(with(|c| c.tiers = vec![c.tiers[0]; 9]), Some(ConfigError::TooMany));
    assert!(matches!(with(|c| c.tiers.swap(0, 1)), Some(ConfigError::Rule(_))));
    assert!(matches!(with(|c| c.leave = 4.0), Some(ConfigError::Rule(_))));
    assert!(matches!(with(|c| c.retry_ns = 0), Some(ConfigError::Rule(_))));
    assert!(matches!(with(|c| c.breaker.open_ns = 0), Some(ConfigError::Rule(_))));
}

/// A vector with these EMAs, price 100 and a volatility that makes the band 0.1 wide.
fn trend(second: u64, fast: f64, slow: f64) -> Vec<Slot> {
    let values = [("ema_fast", fast), ("ema_slow", slow), ("last_price", 100.0), ("ewma_volatility", 0.002)];
    vector(START + second * SECOND, second, SECOND, &values)
}

fn signals(events: &[Vec<Slot>]) -> (Vec<(u64, f64, i64)>, u64) {
    let mut shard = MiniShard::new(Crossover::default(), 2);
    events.iter().for_each(|slots| shard.event(slots));
    let of = |event: EventRef<'_>| {
        let signal: Signal = *event.get().unwrap();
        assert_eq!(
            (event.kind(), signal.strategy, signal.side),
            (Kind::SIGNAL, numbers::CROSSOVER, if signal.strength > 0.0 { 1 } else { 2 })
        );
        (event.head().seq, signal.strength, signal.price)
    };
    let out = shard.outputs().map(of).collect();
    (out, shard.state(SYMBOL).held_back())
}

#[test]
fn crossovers_by_hand() {
    let price = 100_000_000_000;
    // What came before the first is not known; inside the band nothing turns.
    let turns = [
        trend(0, 101.0, 100.0),
        trend(1, 100.05, 100.0),
        trend(2, 99.95, 100.0),
        trend(3, 99.8, 100.0),
        trend(4, 99.0, 100.0),
    ];
    let (out, _) = signals(&turns);
    assert_eq!(out.len(), 1);
    assert_eq!((out[0].0, out[0].2), (3, price));
    assert!((out[0].1 + 0.5).abs() < 1e-9, "two bands of four: {}", out[0].1);
    let news = |second: u64, sentiment| {
        event(&News { sentiment, ..News::default() }, START + second * SECOND, 100 + second, &[])
    };
    // News against the turn holds it back, for it doubles it, and old or weak news does neither.
    let with = |sentiment, at| signals(&[trend(0, 101.0, 100.0), news(at, sentiment), trend(100, 99.8, 100.0)]);
    assert_eq!((with(80, 50).0.len(), with(80, 50).1), (0, 1));
    assert!((with(-80, 50).0[0].1 + 1.0).abs() < 1e-9);
    for (sentiment, at) in [(80, 30), (49, 90), (-49, 90)] {
        assert!((with(sentiment, at).0[0].1 + 0.5).abs() < 1e-9, "{sentiment} at {at}");
    }
    // What has not warmed up is not zero.
    let cold = vector(START, 0, SECOND, &[("ema_fast", 1.0), ("last_price", 100.0)]);
    assert!(signals(&[trend(0, 101.0, 100.0), cold, trend(3, 101.0, 100.0)]).0.is_empty());
    assert!(Crossover::new(signals::Config { band: -1.0, ..signals::Config::default() }).is_err());
    assert!(Crossover::new(signals::Config { sentiment_min: 0, ..signals::Config::default() }).is_err());
}
