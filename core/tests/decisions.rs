//! What the default pipeline decides: which symbols qualify and are promoted, behind a sink that may fail; and when a trend turns.

#[path = "decisions/crossover.rs"]
mod crossover;
#[path = "common/market.rs"]
mod market;
#[path = "common/mini_shard.rs"]
mod mini_shard;
#[path = "common/shard_rig.rs"]
mod shard_rig;

use market::{Prng, SECOND};
use mini_shard::MiniShard;
use shard_rig::{Rig, SYMBOLS_MAX, Sizes, feed};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tapeline_core::breaker;
use tapeline_core::bus::{BusBuilder, Chain};
use tapeline_core::catalog::Catalog;
use tapeline_core::event::payload::{Alert, Features, Payload, SymbolPromoted, SymbolQualified};
use tapeline_core::event::{EventBuf, EventRef, Kind, Slot};
use tapeline_core::features::{SET, SET_2, SET_LEN};
use tapeline_core::handler::{Ctx, Full};
use tapeline_core::limits::TICK_NS;
use tapeline_core::publisher::{Condition, Config, ConfigError, FAIL_REFUSED, OnRefusal, Publisher, Sink, Tier, ToBus};
use tapeline_core::scanner::Rule;
use tapeline_core::testing::Prng as Dice;
use tapeline_core::units::{SymbolId, UnixNanos};

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
    Condition { feature: feature.to_owned(), is_above, enter, margin: (enter - leave).abs(), weight }
}

fn config() -> Config {
    Config {
        conditions: vec![condition("trades_bar", true, 10.0, 5.0, 2.0), condition("spread_bps", false, 3.0, 6.0, 1.0)],
        rules: Rule::Breakout.bit() | Rule::Gap.bit(),
        alert_ns: 20 * SECOND,
        enter: 3.0,
        margin: 1.0,
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
            let threshold = if *held { condition.leave() } else { condition.enter };
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
        let is_enough = if since.is_some() { score >= config.leave() } else { score >= config.enter && rested };
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

/// What a sink that fails from `from` to `to` makes of these events: on shards, through bus, wheel and dead letters.
fn on_shards(config: &Config, sink: (u64, u64), events: &[Vec<Slot>], shards: usize) -> (Rig<impl Chain + use<>>, u64) {
    let asked = Arc::new(AtomicU64::new(0));
    let bus = |catalog: &mut Catalog| {
        let sink = Flaky { from: sink.0, to: sink.1, asked: Arc::clone(&asked) };
        BusBuilder::new(SYMBOLS_MAX).then(Publisher::to(config, sink).unwrap()).build(catalog).unwrap()
    };
    let mut events = events.to_vec();
    events.iter_mut().for_each(|event| event[0].source = feed(1));
    let mut rig = Rig::new(bus, events, Sizes::of(shards));
    rig.run(&mut Dice::new(1), 1_000_000);
    (rig, asked.load(Ordering::Relaxed))
}

/// What the publishers of all shards have counted under this name.
fn counted(rig: &mut Rig<impl Chain>, name: &str) -> u64 {
    rig.shards.iter_mut().map(|shard| shard.stats().count_of("publisher", name).unwrap()).sum()
}

#[test]
fn req_3395_a_failing_sink_trips_the_breaker_and_what_it_refuses_is_kept() {
    let breaker =
        breaker::Config { failures_in_row: 3, open_ns: SECOND, open_ns_max: 4 * SECOND, ..breaker::Config::default() };
    let config = Config { breaker, cooldown_ns: 0, tiers: Vec::new(), ..config() };
    let mut events = Vec::new();
    for second in 0..60 {
        let now = START + second * SECOND;
        if second % 10 == 0 {
            events.push(alert(now, 2 * second, 1));
        }
        // It qualifies, and ceases to, every second.
        let trades = if second % 2 == 0 { 20.0 } else { 1.0 };
        let spread = if second % 2 == 0 { 1.0 } else { 9.0 };
        events.push(vector(now, 2 * second + 1, SECOND, &[("trades_bar", trades), ("spread_bps", spread)]));
    }
    let fails = (START, START + 60 * SECOND);
    let (mut rig, asked) = on_shards(&config, fails, &events, 1);
    let counts = ["qualified", "disqualified", "published", "replaced", "sink_failures", "breaker_refusals"];
    let [qualified, disqualified, published_count, replaced, failures, refusals] =
        counts.map(|name| counted(&mut rig, name));
    assert_eq!((qualified, disqualified), (30, 30));
    assert_eq!((published_count, replaced), (1, 59), "the newest change is kept, the others count as replaced by it");
    let (trips, reopens) = (counted(&mut rig, "breaker_trips"), counted(&mut rig, "breaker_reopens"));
    assert!(trips == 1 && reopens > 5, "{trips} trips, {reopens} times open again");
    assert_eq!(counted(&mut rig, "breaker_closes"), 1, "the sink is back: no breaker is open");
    // Open most of the time, it is asked by probes alone. Without a breaker it would be asked ten times a second.
    assert!(asked < 30 && failures == asked - 1 && refusals > 0, "asked {asked} times, {failures} failed");
    let outputs = rig.result().outputs;
    let out = published(outputs.0[&SYMBOL.0].iter().map(|slots| EventRef::first(slots).unwrap()));
    // The sink is back at 60 s, and is asked when the breaker lets a probe through.
    assert!(out.len() == 1 && (START + 60 * SECOND..START + 65 * SECOND).contains(&out[0].0), "{out:?}");
    assert!(matches!(out[0].1, Some((false, _))));
    let (other, _) = on_shards(&config, fails, &events, 2);
    rig.result().assert_same(&other.result(), "two shards");
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
    let (good, bad) = ([("trades_bar", 20.0), ("spread_bps", 1.0)], [("trades_bar", 0.0), ("spread_bps", 9.0)]);
    let events = [
        alert(START, 0, 1),
        // The sink fails, and the breaker opens.
        vector(START + 1, 1, SECOND, &good),
        // Nothing has changed.
        vector(START + 2 * SECOND, 2, SECOND, &good),
        // An open breaker, and a change.
        vector(START + 3 * SECOND, 3, SECOND, &bad),
    ];
    for shards in 1..=2 {
        let (mut rig, _) = on_shards(&config, (START, START + SECOND), &events, shards);
        let total = rig.result().ledger.total();
        assert_eq!((total.delivered, total.dead_lettered, total.in_flight), (3, 1, 0));
        let at = rig.source.shard_of(SYMBOL);
        let parked: Vec<_> = rig.shards[at].letters().iter().map(|(handle, entry)| (handle, *entry)).collect();
        let [(letter, entry)] = parked[..] else { panic!("one letter: {parked:?}") };
        assert_eq!((entry.handler(), entry.kind(), entry.error()), (0, Kind::FEATURES, Some(FAIL_REFUSED)));
        // The first change was kept and has come with the breaker's probe; time alone has ended the qualification.
        let out = published(rig.result().outputs.0[&SYMBOL.0].iter().map(|slots| EventRef::first(slots).unwrap()));
        let rise = (START + 10 * SECOND..START + 11 * SECOND).contains(&out[0].0);
        assert!(rise && matches!(out[0].1, Some((true, 2))), "{out:?}");
        assert_eq!((out.len(), out[1]), (2, (START + 20 * SECOND, Some((false, 0)), None)));
        rig.shards[at].redrive(letter).unwrap();
        rig.run(&mut Dice::new(2), 1_000_000);
        let total = rig.result().ledger.total();
        assert_eq!((total.delivered, total.dead_lettered, total.in_flight), (4, 0, 0));
    }
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
    assert!(matches!(with(|c| c.conditions[0].margin = -0.1), Some(ConfigError::Condition { .. })));
    assert!(matches!(with(|c| c.conditions[1].weight = f64::NAN), Some(ConfigError::Condition { .. })));
    assert!(matches!(with(|c| c.conditions[1].enter = f64::INFINITY), Some(ConfigError::Condition { .. })));
    assert_eq!(with(|c| c.tiers = vec![c.tiers[0]; 9]), Some(ConfigError::TooMany));
    assert!(matches!(with(|c| c.tiers.swap(0, 1)), Some(ConfigError::Rule(_))));
    assert!(matches!(with(|c| c.margin = -1.0), Some(ConfigError::Rule(_))));
    assert!(matches!(with(|c| c.retry_ns = 0), Some(ConfigError::Rule(_))));
    assert!(matches!(with(|c| c.breaker.open_ns = 0), Some(ConfigError::Rule(_))));
}
