//! The rows of the requirements that the group mapper shows, against a naive merge that looks everything up anew.

#[path = "common/market.rs"]
mod market;
#[path = "common/mini_shard.rs"]
mod mini_shard;
#[path = "common/shard_rig.rs"]
mod shard_rig;

use market::{Prng, SECOND};
use mini_shard::MiniShard;
use shard_rig::{Rig, SYMBOLS_MAX, Sizes, feed};
use std::collections::BTreeSet;
use tapeline_core::bridge::{self, Bridge};
use tapeline_core::bus::BusBuilder;
use tapeline_core::catalog::Catalog;
use tapeline_core::event::payload::{Alert, CloseReason, FeatureRequest, PRIORITY_UNSET, Signal};
use tapeline_core::event::{EventBuf, EventRef, Kind, KindSet, Slot};
use tapeline_core::graph::GraphError;
use tapeline_core::handler::{Ask, Ctx, Handler, Job, JobSet, Verdict};
use tapeline_core::limits::TICK_NS;
use tapeline_core::mapper::{Config, ConfigError, Entry, Hours, Mapper, Plan};
use tapeline_core::queue::Priority;
use tapeline_core::scanner::Rule;
use tapeline_core::testing::{CountingAlloc, Prng as Dice, without_allocation};
use tapeline_core::units::{SymbolId, UnixNanos};
use tapeline_core::zone::{DAY_S, Zone};

#[global_allocator]
static ALLOC: CountingAlloc = CountingAlloc;

fn owned(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn groups(groups: &[(&str, &[&str])]) -> Vec<(String, Vec<String>)> {
    groups.iter().map(|(name, needs)| ((*name).to_owned(), owned(needs))).collect()
}

fn config(of: &[(&str, &[&str])]) -> Config {
    Config { groups: groups(of), base: Plan::default(), rules: Vec::new(), hours: Vec::new(), zone: Zone::utc() }
}

#[test]
fn req_m1_unknown_groups_circles_and_diamonds_are_told_apart() {
    let error = |of: &[(&str, &[&str])]| Mapper::new(&config(of)).unwrap_err().to_string();
    assert_eq!(error(&[("a", &["b"])]), "feature group \"a\" needs \"b\", which there is not");
    assert_eq!(
        error(&[("a", &["b"]), ("b", &["c"]), ("c", &["a"])]),
        "feature groups need one another in a circle: a -> b -> c -> a"
    );
    // A diamond, which a search that calls each second visit a circle would refuse.
    let mut diamond = config(&[("a", &["b", "c"]), ("b", &["d"]), ("c", &["d"]), ("d", &[])]);
    diamond.rules = vec![(1, Plan { groups: Some(owned(&["a"])), ..Plan::default() })];
    let mapper = Mapper::new(&diamond).unwrap();
    assert_eq!(mapper.entry(1, UnixNanos(0)).unwrap().groups, 0b1111);
    assert_eq!(mapper.entry(2, UnixNanos(0)).unwrap().groups, 0);
    diamond.rules[0].1.groups = Some(owned(&["e"]));
    let unknown = Mapper::new(&diamond).unwrap_err();
    assert_eq!(unknown, ConfigError::Groups(GraphError::NoGroup("e".to_owned())));
}

#[test]
fn bad_configurations_are_refused_by_name() {
    let with = |change: fn(&mut Config)| {
        let mut config = Config::default();
        change(&mut config);
        Mapper::new(&config).err().map(|error| error.to_string())
    };
    let hours = |from_s, to_s, days| Hours { days, from_s, to_s, rules: Vec::new(), plan: Plan::default() };
    assert_eq!(with(|_| {}), None);
    assert_eq!(with(|c| c.base.priority = Some(8)).unwrap(), "a priority is 0 to 7, not 8");
    assert_eq!(with(|c| c.rules[1].0 = 1).unwrap(), "there are two plans for rule 1");
    assert_eq!(with(|c| c.rules[0].0 = 32).unwrap(), "rule 32 is beyond the 31 of a set of rules");
    assert_eq!(
        with(|c| c.base.expires_ns = Some(u64::MAX)).unwrap(),
        "expires_ns is at most 3600000000000, not 18446744073709551615"
    );
    let of = |hours: Hours| Mapper::new(&Config { hours: vec![hours], ..Config::default() }).err();
    assert_eq!(of(hours(0, DAY_S, 127)), None);
    assert!(matches!(of(hours(0, DAY_S, 0)), Some(ConfigError::Hours { index: 0, .. })));
    assert!(matches!(of(hours(0, DAY_S, 128)), Some(ConfigError::Hours { .. })));
    assert!(matches!(of(hours(DAY_S, 1, 1)), Some(ConfigError::Hours { .. })));
    assert!(matches!(of(hours(7, 7, 1)), Some(ConfigError::Hours { .. })));
    let many = (0..65).map(|i| (format!("g{i}"), Vec::new())).collect();
    let many = Config { groups: many, ..config(&[]) };
    assert_eq!(Mapper::new(&many).unwrap_err(), ConfigError::TooManyGroups(65));
}

/// A random plan over the default groups.
fn plan(prng: &mut Prng, names: &[(String, Vec<String>)]) -> Plan {
    let some = |prng: &mut Prng| prng.one_in(2);
    let mut chosen: Vec<String> = names.iter().map(|(name, _)| name.clone()).collect();
    chosen.retain(|_| prng.one_in(4));
    Plan {
        groups: some(prng).then_some(chosen),
        priority: some(prng).then(|| prng.below(8) as u8),
        expires_ns: some(prng).then(|| prng.below(4) * SECOND),
        token: some(prng).then(|| prng.below(3)),
    }
}

/// What an alert of `rule` asks for at `at`: everything looked up and merged at that moment.
fn naive(config: &Config, rule: u16, at: UnixNanos) -> Entry {
    let mut plan = config.base.clone();
    let mut take = |other: &Plan| {
        plan.groups = other.groups.clone().or(plan.groups.take());
        plan.priority = other.priority.or(plan.priority);
        plan.expires_ns = other.expires_ns.or(plan.expires_ns);
        plan.token = other.token.or(plan.token);
    };
    if let Some((_, of_rule)) = config.rules.iter().find(|(number, _)| *number == rule) {
        take(of_rule);
    }
    let local = i128::from(at.0) + i128::from(config.zone.offset_s(at)) * i128::from(SECOND);
    let seconds = local.div_euclid(i128::from(SECOND));
    let (day, second) = ((seconds.div_euclid(86_400) + 3).rem_euclid(7) as u32, seconds.rem_euclid(86_400) as u32);
    let holds = |hours: &&Hours| {
        let on = |day: u32| hours.days >> (day % 7) & 1 == 1;
        if hours.from_s < hours.to_s {
            on(day) && hours.from_s <= second && second < hours.to_s
        } else {
            (on(day) && second >= hours.from_s) || (on(day + 6) && second < hours.to_s)
        }
    };
    if let Some(hours) = config.hours.iter().find(holds)
        && (hours.rules.is_empty() || hours.rules.contains(&rule))
    {
        take(&hours.plan);
    }
    let mut named: BTreeSet<String> = plan.groups.unwrap_or_default().into_iter().collect();
    loop {
        let needed = config.groups.iter().filter(|(name, _)| named.contains(name)).flat_map(|(_, needs)| needs);
        let all: BTreeSet<String> = named.iter().chain(needed).cloned().collect();
        if all == named {
            break;
        }
        named = all;
    }
    let bit = |(index, (name, _)): (usize, &(String, Vec<String>))| u64::from(named.contains(name)) << index;
    Entry {
        groups: config.groups.iter().enumerate().map(bit).sum(),
        priority: Priority::new(plan.priority.unwrap_or(7)).unwrap(),
        expires_ns: plan.expires_ns.unwrap_or(0),
        token: plan.token.unwrap_or(0),
    }
}

#[test]
fn req_m2_m3_w2_a_lookup_in_what_was_merged_at_load_equals_a_merge_at_each_request() {
    let mut by_time = 0;
    for seed in 0..60 {
        let mut prng = Prng::new(seed);
        let names = Config::default().groups;
        let base = plan(&mut prng, &names);
        let rules = (0..32)
            .filter(|rule| u64::from(*rule) % 3 != seed % 3)
            .map(|rule| (rule, plan(&mut prng, &names)))
            .collect();
        let hours = (0..prng.below(5)).map(|_| Hours {
            days: 1 + prng.below(127) as u8,
            from_s: prng.below(u64::from(DAY_S)) as u32,
            to_s: prng.pick(&[0, DAY_S, 43_200, 57_601]),
            rules: if prng.one_in(2) { Vec::new() } else { vec![prng.below(32) as u16, 3] },
            plan: plan(&mut prng, &names),
        });
        let hours: Vec<Hours> = hours.filter(|hours| hours.from_s != hours.to_s).collect();
        let zone = match seed % 3 {
            0 => Zone::utc(),
            1 => Zone::new(-18_000, &[(UnixNanos(1_700_300_000 * SECOND), -14_400)]).unwrap(),
            _ => Zone::new(20_700, &[]).unwrap(),
        };
        let config = Config { groups: names, base, rules, hours, zone };
        let mapper = Mapper::new(&config).unwrap();
        let mut seen = BTreeSet::new();
        for _ in 0..400 {
            // Around the edges of the hours, too.
            let edge = config.hours.first().map_or(0, |hours| u64::from(hours.from_s));
            let near = (19_670 + prng.below(9)) * 86_400 + edge;
            let second = if prng.one_in(3) { near } else { 1_699_900_000 + prng.below(900_000) };
            let at = UnixNanos((second * SECOND).saturating_sub(prng.below(2)));
            let rule = prng.below(32) as u16;
            let entry = without_allocation(|| *mapper.entry(rule, at).unwrap());
            assert_eq!(entry, naive(&config, rule, at), "seed {seed}, rule {rule}, {at:?}");
            seen.insert((rule, entry.groups, entry.priority, entry.expires_ns, entry.token));
        }
        by_time += usize::from(seen.len() > 32);
    }
    assert!(by_time > 10, "in {by_time} of the configurations the time of day makes a difference");
}

fn request(rules: &[Rule]) -> FeatureRequest {
    let rules = rules.iter().fold(0, |set, rule| set | rule.bit());
    FeatureRequest { rules, priority: PRIORITY_UNSET, ..FeatureRequest::default() }
}

#[test]
fn req_m2_the_time_of_day_is_the_events_own() {
    let at_noon = Hours {
        days: 127,
        from_s: 43_200,
        to_s: 43_260,
        rules: Vec::new(),
        plan: Plan { priority: Some(0), ..Plan::default() },
    };
    let mapper = Mapper::new(&Config { hours: vec![at_noon], ..Config::default() }).unwrap();
    let noon = UnixNanos((19_700 * 86_400 + 43_200) * SECOND);
    let later = UnixNanos(noon.0 + 3_600 * SECOND);
    let priority = |ts_event, ts_recv| {
        let head = Slot { ts_event, ts_recv, ..Slot::ZERO };
        mapper.map(&head, &request(&[Rule::Gap])).unwrap().priority.class()
    };
    assert_eq!(priority(noon, later), 0, "it happened at noon, whenever it came");
    assert_eq!(priority(later, noon), 2);
    assert_eq!(priority(UnixNanos::UNKNOWN, noon), 0, "without a time of its own, when it came");
}

#[test]
fn several_alerts_ask_once_and_named_groups_are_completed() {
    let mapper = Mapper::default();
    let bits = |names: &[&str]| {
        let at = |name: &&str| Config::default().groups.iter().position(|(group, _)| group == name).unwrap();
        names.iter().fold(0u64, |bits, name| bits | 1 << at(name))
    };
    let both = mapper.map(&Slot::ZERO, &request(&[Rule::VolumeSpike, Rule::Halt])).unwrap();
    assert_eq!(
        both.groups,
        bits(&["volume", "vwap", "liquidity", "seasonality", "price", "returns", "microstructure"])
    );
    assert_eq!((both.priority.class(), both.expires_ns), (0, SECOND));
    let named = FeatureRequest { groups: bits(&["bands"]) | 1 << 63, priority: 1, ..request(&[Rule::Halt]) };
    let named = mapper.map(&Slot::ZERO, &named).unwrap();
    assert_eq!(named.groups, bits(&["bands", "trend", "volatility", "returns", "price"]));
    assert_eq!(named.priority.class(), 1);
    assert_eq!(mapper.map(&Slot::ZERO, &FeatureRequest { groups: 1 << 63, ..request(&[]) }), None);
    assert_eq!(mapper.map(&Slot::ZERO, &request(&[])), None);

    let mut shard = MiniShard::new(mapper, 2);
    for (seq, payload) in [request(&[Rule::Breakout]), request(&[])].iter().enumerate() {
        let mut event = EventBuf::new(payload);
        let head = event.head_mut();
        (head.ts_recv, head.seq, head.symbol) = (UnixNanos(SECOND), seq as u64, SymbolId(1));
        shard.event(event.slots());
    }
    let state = shard.state(SymbolId(1));
    assert_eq!((state.requests, state.unmapped, state.asked, state.pending()), (2, 1, 1, 1));
}

/// Says how urgent each job is that it is asked for.
struct Worker;

impl Handler for Worker {
    type State = u64;
    const NAME: &'static str = "worker";
    const STATE_VERSION: u16 = 1;

    fn interests(&self) -> KindSet {
        KindSet::EMPTY
    }

    fn serves(&self) -> JobSet {
        JobSet::of(&[Job::FEATURES])
    }

    fn on_event(&self, _: &mut u64, _: EventRef<'_>, _: &mut Ctx<'_>) -> Verdict {
        Verdict::Done
    }

    fn on_request(&self, _: &mut u64, ask: &Ask, cx: &mut Ctx<'_>) -> Verdict {
        cx.signal(&Signal { strength: f64::from(ask.priority.class()), ..Signal::default() }).unwrap();
        Verdict::Done
    }
}

/// From alert to job: two batches that close at one instant, after the hour has ended, by timers; one began within it.
#[test]
fn req_m2_a_batch_that_a_timer_closes_after_the_hour_is_of_the_hour_in_which_it_began() {
    let noon = 19_700 * 86_400 * SECOND + 43_200 * SECOND;
    let urgent = Plan { priority: Some(0), ..Plan::default() };
    let morning = Hours { days: 127, from_s: 36_000, to_s: 43_200, rules: Vec::new(), plan: urgent };
    let config = Config { hours: vec![morning], ..Config::default() };
    let bus = |catalog: &mut Catalog| {
        let bridge = bridge::Config { batch_ns: 8 * TICK_NS, idle_ns: 6 * TICK_NS, ..bridge::Config::default() };
        let bus = BusBuilder::new(SYMBOLS_MAX).then(Bridge::new(bridge).unwrap());
        bus.then(Mapper::new(&config).unwrap()).then(Worker).build(catalog).unwrap()
    };
    let alert = |symbol, seq, at: u64, rule: Rule| {
        let mut event = EventBuf::new(&Alert { rule: rule as u16, ..Alert::default() });
        let head = event.head_mut();
        (head.ts_event, head.ts_recv, head.seq) = (UnixNanos(at), UnixNanos(at), seq);
        (head.symbol, head.source) = (SymbolId(symbol), feed(3));
        event.slots().to_vec()
    };
    let events = vec![
        alert(1, 0, noon - TICK_NS, Rule::Gap),
        alert(2, 1, noon + TICK_NS, Rule::Gap),
        // Joins the first one's batch, after noon.
        alert(1, 2, noon + 3 * TICK_NS, Rule::Spread),
    ];
    for shards in 1..=2 {
        let mut rig = Rig::new(bus, events.clone(), Sizes::of(shards));
        rig.run(&mut Dice::new(1), 100_000);
        let outputs = rig.result().outputs;
        let of = |symbol: u32, kind| {
            let of_symbol = outputs.0[&symbol].iter().map(|slots| EventRef::first(slots).unwrap());
            of_symbol.filter(move |event| event.kind() == kind).collect::<Vec<_>>()
        };
        for (symbol, began, reason, class) in
            [(1, noon - TICK_NS, CloseReason::Timer, 0.0), (2, noon + TICK_NS, CloseReason::Idle, 2.0)]
        {
            let requests = of(symbol, Kind::FEATURE_REQUEST);
            let (head, request) = (requests[0].head(), requests[0].get::<FeatureRequest>().unwrap());
            assert_eq!((requests.len(), request.closed_by), (1, reason as u8), "symbol {symbol}");
            assert_eq!((head.ts_event.0, head.ts_recv.0), (began, noon + 7 * TICK_NS), "symbol {symbol}");
            let jobs: Vec<f64> =
                of(symbol, Kind::SIGNAL).iter().map(|of| of.get::<Signal>().unwrap().strength).collect();
            assert_eq!(jobs, [class], "symbol {symbol}");
        }
    }
}
