//! Whole vectors computed by hand, and the corners of the engine's rules.

#[path = "common/market.rs"]
mod market;
#[path = "common/mini_shard.rs"]
mod mini_shard;

use bytemuck::Zeroable;
use market::{At, DAY, Market, SECOND};
use mini_shard::MiniShard;
use tapeline_core::book::Books;
use tapeline_core::event::payload::{Alert, BookLevel, Features, LevelAction};
use tapeline_core::event::{EventBuf, EventRef, Flags, Identity, Kind, KindSet};
use tapeline_core::features::groups::{self, Group};
use tapeline_core::features::{Config, Engine, Feature, State, Vector};
use tapeline_core::handler::{CallSite, Ctx, Handler, Staging, Verdict};
use tapeline_core::limits::{STAGED_TIMERS_MAX, TICK_NS};
use tapeline_core::units::{Side, SourceId, SymbolId, UnixNanos};
use tapeline_core::zone::Zone;

const ETH: SymbolId = SymbolId(1);
/// 2024-08-08 12:00 UTC.
const NOON: u64 = 19_943 * DAY + DAY / 2;

fn trade(ts_recv: u64, price: i64, size: u64) -> At {
    let what = Market::Trade { price: price * 1_000_000_000, size, side: 1 };
    At { ts_recv, symbol: ETH, scale: 1, seq: 1, is_past: false, what }
}

fn quote(ts_recv: u64, bid: (i64, u64), ask: (i64, u64)) -> At {
    let (bid_px, ask_px) = (bid.0 * 1_000_000_000, ask.0 * 1_000_000_000);
    let what = Market::Quote { bid_px, ask_px, bid_sz: bid.1, ask_sz: ask.1 };
    At { ts_recv, symbol: ETH, scale: 0, seq: 1, is_past: false, what }
}

fn play(events: &[At]) -> MiniShard<Engine> {
    let mut shard = MiniShard::new(Engine::new(), 2);
    for at in events {
        shard.event(&at.slots());
    }
    shard.drain();
    shard
}

/// End, ready mask and values of each vector.
fn vectors(shard: &MiniShard<Engine>) -> Vec<(u64, u64, Vec<f64>)> {
    let of = |event: EventRef<'_>| {
        let ready = event.get::<Features>().unwrap().ready;
        (event.head().ts_recv.0, ready, Features::values_of(event).collect())
    };
    shard.outputs().map(of).collect()
}

fn mask(features: &[Feature]) -> u64 {
    features.iter().fold(0, |mask, feature| mask | 1 << *feature as usize)
}

const VOLUMES: [Feature; 5] =
    [Feature::VolumeBar, Feature::VolumeSession, Feature::TradesBar, Feature::TurnoverBar, Feature::TurnoverSession];
const TOP: [Feature; 5] =
    [Feature::MidPrice, Feature::Spread, Feature::SpreadBps, Feature::TopImbalance, Feature::Microprice];

#[test]
fn three_seconds_by_hand() {
    let shard = play(&[
        // A quote alone.
        quote(NOON + 10, (99, 3), (101, 1)),
        // 10 * 0.1 at 100, 30 * 0.1 at 104; the bid rises with 2, the ask grows to 5.
        trade(NOON + SECOND, 100, 10),
        quote(NOON + SECOND + 1, (100, 2), (101, 5)),
        trade(NOON + 2 * SECOND - 1, 104, 30),
        // A trade alone, at half the price, two idle seconds later.
        trade(NOON + 4 * SECOND, 52, 40),
    ]);
    let made = vectors(&shard);
    assert_eq!(made.iter().map(|v| v.0 - NOON).collect::<Vec<_>>(), [SECOND, 2 * SECOND, 5 * SECOND]);

    let (_, ready, values) = &made[0];
    assert_eq!(*ready, mask(&VOLUMES) | mask(&TOP));
    assert_eq!(values[15..=19], [100.0, 2.0, 200.0, 0.5, 100.5]);
    assert!(values[..15].iter().chain(&values[20..]).all(|value| value.to_bits() == 0));

    let (_, ready, values) = &made[1];
    let prices = [Feature::LastPrice, Feature::BarOpen, Feature::BarHigh, Feature::BarLow, Feature::VwapBar];
    let bar = [Feature::TypicalPrice, Feature::TradeImbalance, Feature::OnBalanceVolume, Feature::VwapDeviation];
    let traded = mask(&prices) | mask(&bar) | mask(&[Feature::VwapSession, Feature::ReturnSession]);
    assert_eq!(*ready, mask(&VOLUMES) | mask(&TOP) | traded | mask(&[Feature::OrderFlowImbalance]));
    assert_eq!(values[0..4], [104.0, 100.0, 104.0, 100.0]);
    assert_eq!(values[Feature::ReturnBar as usize].to_bits(), 0, "there is one close only");
    assert!((values[Feature::ReturnSession as usize] - 0.039_220_713_153_281_3).abs() < 1e-15, "ln 1.04");
    assert_eq!(values[6..=10], [4.0, 4.0, 2.0, 103.0, 103.0]);
    assert_eq!(values[Feature::TopImbalance as usize], -3.0 / 7.0);
    assert_eq!(values[Feature::OrderFlowImbalance as usize], 2.0 - (5.0 - 1.0));
    assert_eq!(values[Feature::TypicalPrice as usize], 308.0 / 3.0);
    assert_eq!(values[Feature::TradeImbalance as usize], 1.0, "buyers began both");
    assert_eq!(values[Feature::OnBalanceVolume as usize], 4.0);
    assert_eq!(values[Feature::TurnoverBar as usize], 412.0);
    assert!((values[Feature::VwapDeviation as usize] - 1e4 / 103.0).abs() < 1e-9);

    let (_, ready, values) = &made[2];
    assert_eq!(*ready, made[1].1 | mask(&[Feature::ReturnBar]));
    assert_eq!(values[0..4], [52.0; 4]);
    assert_eq!(values[Feature::ReturnBar as usize], -std::f64::consts::LN_2);
    assert!((values[Feature::ReturnSession as usize] + 0.653_926_467_406_664).abs() < 1e-15, "ln 0.52");
    assert_eq!(values[6..=10], [4.0, 8.0, 1.0, 52.0, 77.5]);
    assert_eq!(values[Feature::OnBalanceVolume as usize].to_bits(), 0, "4 up, 4 down");
    assert_eq!((values[Feature::TurnoverBar as usize], values[Feature::TurnoverSession as usize]), (208.0, 620.0));
    assert_eq!(values[Feature::OrderFlowImbalance as usize].to_bits(), 0, "no quote in the bar");
}

#[test]
fn emas_are_seeded_with_the_first_close_and_ready_after_n_traded_bars() {
    let mut events = Vec::new();
    for i in 0..30u64 {
        // The close of bar i is 100 for the first, else 230; quotes between do not count as closes.
        events.push(trade(NOON + 2 * i * SECOND, 7, 1));
        events.push(trade(NOON + 2 * i * SECOND + 5, if i == 0 { 100 } else { 230 }, 1));
        events.push(quote(NOON + (2 * i + 1) * SECOND, (99, 1), (101, 1)));
    }
    let made = vectors(&play(&events));
    assert_eq!(made.len(), 60);
    for (bar, (_, ready, values)) in made.iter().enumerate() {
        let closes = bar / 2 + 1;
        for (feature, n) in [(Feature::EmaFast, 12), (Feature::EmaSlow, 26)] {
            assert_eq!(ready & mask(&[feature]) != 0, closes >= n, "{feature:?} after {closes} closes");
            // 230 - 130 (1 - alpha)^(closes - 1)
            let left = libm::pow(1.0 - 2.0 / (n as f64 + 1.0), closes as f64 - 1.0);
            let expected = if closes >= n { 230.0 - 130.0 * left } else { 0.0 };
            assert!((values[feature as usize] - expected).abs() < 1e-12, "{feature:?} after {closes} closes");
        }
    }
}

#[test]
fn sums_of_a_session_begin_anew_at_midnight_utc_and_the_rest_goes_on() {
    let midnight = 19_944 * DAY;
    let made = vectors(&play(&[
        trade(midnight - SECOND, 100, 10),
        trade(midnight - 1, 100, 10),
        quote(midnight, (99, 1), (101, 1)),
        trade(midnight + SECOND, 200, 30),
    ]));
    assert_eq!(
        made.iter().map(|v| v.0 as i64 - midnight as i64).collect::<Vec<_>>(),
        [0, SECOND as i64, 2_000_000_000]
    );
    let volume = |i: usize| made[i].2[Feature::VolumeSession as usize];
    assert_eq!((volume(0), volume(1), volume(2)), (2.0, 0.0, 3.0));
    let of_session = mask(&[Feature::VwapSession, Feature::ReturnSession]);
    assert_eq!((made[0].1 & of_session, made[1].1 & of_session, made[2].1 & of_session), (of_session, 0, of_session));
    assert_eq!(made[1].2[..4], [100.0; 4], "the last price goes on");
    assert_eq!(made[2].2[Feature::VwapSession as usize], 200.0);
    assert_eq!(made[2].2[Feature::ReturnSession as usize].to_bits(), 0, "from the first price of the session");
    assert_eq!(made[2].2[Feature::ReturnBar as usize], std::f64::consts::LN_2, "from the close before midnight");
}

#[test]
fn a_bar_belongs_to_shard_time_and_ends_before_an_event_of_its_end() {
    // Captured half a second before the shard's clock: it counts in the bar of the clock.
    let made = vectors(&play(&[
        trade(NOON, 100, 10),
        trade(NOON - SECOND / 2, 101, 10),
        trade(NOON + SECOND, 102, 10),
        trade(NOON + SECOND - 1, 103, 10),
    ]));
    assert_eq!(made.len(), 2);
    assert_eq!((made[0].0, made[1].0), (NOON + SECOND, NOON + 2 * SECOND));
    assert_eq!(made.iter().map(|v| v.2[Feature::LastPrice as usize]).collect::<Vec<_>>(), [101.0, 103.0]);
}

#[test]
fn unusable_events_make_no_bar_and_are_counted() {
    let none = i64::MAX;
    let raw = |bid_px, ask_px, bid_sz, ask_sz| At {
        what: Market::Quote { bid_px, ask_px, bid_sz, ask_sz },
        ..quote(NOON, (0, 0), (0, 0))
    };
    let at_price = |price, size| At { what: Market::Trade { price, size, side: 0 }, ..trade(NOON, 0, 0) };
    let mut shard = play(&[
        raw(none, 5, 1, 1),
        raw(5, none, 1, 1),
        raw(none, none, 1, 1),
        raw(0, 5, 1, 1),
        raw(-1, 5, 1, 1),
        raw(6, 5, 1, 1),
        raw(5, 6, 0, 0),
        at_price(0, 1),
        at_price(-1, 1),
        at_price(none, 1),
        at_price(5, 0),
    ]);
    assert_eq!((shard.outputs().count(), shard.timers()), (0, 0));
    assert_eq!(shard.state(ETH).skipped(), (4, 7));

    // Locked, and one side without size, are usable.
    let made = vectors(&play(&[raw(5, 5, 0, 8)]));
    assert_eq!(made[0].2[15..=19], [5e-9, 0.0, 0.0, -1.0, 5e-9]);
}

#[test]
fn a_state_that_began_anew_ignores_the_timers_of_the_old_one() {
    let mut shard = MiniShard::new(Engine::new(), 2);
    shard.event(&trade(NOON, 100, 10).slots());
    // As after a panic.
    *shard.state(ETH) = State::zeroed();
    shard.tick(UnixNanos(NOON + 3 * SECOND));
    assert_eq!(shard.outputs().count(), 0);
    shard.event(&trade(NOON + 3 * SECOND, 100, 10).slots());
    *shard.state(ETH) = State::zeroed();
    // Two timers of one end: the bar closes once.
    shard.event(&trade(NOON + 3 * SECOND + 1, 200, 10).slots());
    assert_eq!(shard.timers(), 2);
    shard.drain();
    assert_eq!(vectors(&shard).len(), 1);
    assert_eq!(vectors(&shard)[0].2[Feature::TradesBar as usize], 1.0);
}

#[test]
fn the_last_second_of_time_is_no_trap() {
    let last = u64::MAX / SECOND * SECOND;
    let shard = play(&[trade(last - 1, 100, 10), trade(last, 101, 10), trade(u64::MAX - 1, 102, 10)]);
    assert_eq!(vectors(&shard).len(), 1, "it has no end that u64 holds");
    let shard = play(&[trade(0, 100, 10), trade(SECOND, 101, 10)]);
    assert_eq!(vectors(&shard).iter().map(|v| v.0).collect::<Vec<_>>(), [SECOND, 2 * SECOND]);
}

#[test]
fn a_bar_whose_timer_was_lost_is_closed_by_the_next_event() {
    let mut shard = MiniShard::new(Engine::new(), 2);
    shard.event(&trade(NOON, 100, 10).slots());
    shard.lose_timers();
    shard.event(&trade(NOON + 3 * SECOND, 101, 20).slots());
    shard.drain();
    let made = vectors(&shard);
    assert_eq!(made.iter().map(|v| v.0 - NOON).collect::<Vec<_>>(), [3 * SECOND, 4 * SECOND]);
    assert_eq!(made.iter().map(|v| v.2[Feature::VolumeBar as usize]).collect::<Vec<_>>(), [1.0, 2.0]);
}

/// The bus may run other handlers of the same event before this one, which can fill the staging area.
#[test]
fn a_full_staging_area_delays_the_bar_or_costs_the_vector_and_says_so() {
    let site = |now: u64, timer_ns: u64| CallSite {
        now: UnixNanos(now),
        tick_ns: TICK_NS,
        symbol: ETH,
        ts_event: UnixNanos(now),
        root: Identity::default(),
        timer_ns,
        timer: timer_ns,
        seed: 1,
        handler: 0,
        source: SourceId(9),
        crosses_symbols: false,
    };
    let engine = Engine::new();
    let mut state = State::zeroed();
    let mut staging = Staging::new();
    let event = |engine: &Engine, state: &mut State, staging: &mut Staging, at: At| {
        let slots = at.slots();
        let cx = &mut Ctx::new(site(at.ts_recv, 0), staging);
        assert_eq!(engine.on_event(state, EventRef::first(&slots).unwrap(), cx), Verdict::Done);
    };

    // No timer is to be had: the trade counts all the same, and the next event tries again.
    for token in 0..STAGED_TIMERS_MAX as u64 {
        Ctx::new(site(NOON, 0), &mut staging).timer_at(UnixNanos(NOON), token).unwrap();
    }
    event(&engine, &mut state, &mut staging, trade(NOON, 100, 10));
    assert_eq!(staging.refused(), 1);
    staging.clear();
    event(&engine, &mut state, &mut staging, trade(NOON + 1, 102, 10));
    let end = NOON + SECOND;
    assert_eq!((staging.timers().len(), staging.timers()[0].due), (1, UnixNanos(end)));
    event(&engine, &mut state, &mut staging, trade(NOON + 2, 101, 10));
    assert_eq!(staging.timers().len(), 1, "one timer a bar");

    // No room for the vector: the bar closes all the same.
    while Ctx::new(site(NOON, 0), &mut staging).alert(&Alert::default()).is_ok() {}
    let cx = &mut Ctx::new(site(end, end), &mut staging);
    assert_eq!(engine.on_timer(&mut state, end, cx), Verdict::Done);
    assert_eq!(state.unpublished(), 1);
    staging.clear();
    event(&engine, &mut state, &mut staging, trade(end, 104, 10));
    let cx = &mut Ctx::new(site(end + SECOND, end + SECOND), &mut staging);
    assert_eq!(engine.on_timer(&mut state, end + SECOND, cx), Verdict::Done);
    let made: Vec<f64> = Features::values_of(EventRef::first(staging.slots()).unwrap()).collect();
    assert_eq!((made[Feature::TradesBar as usize], made[Feature::VolumeSession as usize]), (1.0, 4.0));
    assert_eq!(state.unpublished(), 1);
}

/// In New York's winter a session begins at 5:00 UTC.
#[test]
fn a_session_is_a_day_in_the_configured_zone() {
    let of = |zone: Zone| {
        let mut shard = MiniShard::new(Engine::with(Config { zone }), 2);
        let day = NOON / DAY * DAY;
        for second in [4 * 3_600, 5 * 3_600 - 1, 5 * 3_600, 24 * 3_600 - 1, 24 * 3_600] {
            shard.event(&trade(day + second * SECOND, 100, 10).slots());
        }
        shard.drain();
        let volume = |event: EventRef<'_>| Features::value_of(event, Feature::VolumeSession as usize).unwrap();
        shard.outputs().map(volume).collect::<Vec<_>>()
    };
    assert_eq!(of(Zone::utc()), [1.0, 2.0, 3.0, 4.0, 1.0]);
    assert_eq!(of(Zone::new(-5 * 3_600, &[]).unwrap()), [1.0, 2.0, 1.0, 2.0, 3.0]);
}

/// What a request is answered with.
#[test]
fn a_vector_of_groups_shows_the_open_bar_and_the_last_close() {
    let mut shard = MiniShard::new(Engine::new(), 2);
    let ask = |shard: &mut MiniShard<Engine>, groups: &[Group]| {
        shard.state(ETH).vector(groups.iter().fold(0, |set, group| set | group.bit()), None)
    };
    assert_eq!(ask(&mut shard, Group::ALL).ready, mask(&VOLUMES));
    for i in 0..60u64 {
        shard.event(&trade(NOON + i * SECOND, 100 + (i % 7) as i64, 10).slots());
    }
    shard.event(&trade(NOON + 59 * SECOND + 1, 250, 30).slots());
    let open = ask(&mut shard, Group::ALL);
    assert_eq!((open.get(Feature::LastPrice), open.get(Feature::VolumeBar)), (Some(250.0), Some(4.0)));
    assert_eq!((open.get(Feature::TradesBar), open.get(Feature::VolumeSession)), (Some(2.0), Some(59.0)));
    assert_eq!(open.get(Feature::Roc), Some((102.0 - 106.0) / 106.0 * 100.0), "59 bars have closed");
    let volume = ask(&mut shard, &[Group::Volume]);
    assert_eq!(volume.ready, groups::features(Group::Volume.bit()));
    assert_eq!((volume.get(Feature::VolumeBar), volume.get(Feature::Rsi)), (Some(4.0), None));
    assert_eq!(ask(&mut shard, &[]).ready, 0);
    // Asked at the close, it is what was published, but for the bar, which is the next one then.
    shard.drain();
    let (_, ready, values) = vectors(&shard).pop().unwrap();
    let closed = ask(&mut shard, Group::ALL);
    let of_bar = mask(&VOLUMES[..1]) | mask(&[Feature::TradesBar, Feature::TurnoverBar]);
    for feature in
        Feature::ALL.iter().filter(|feature| groups::features(Group::Trend.bit()) >> **feature as usize & 1 == 1)
    {
        assert_eq!(closed.values[*feature as usize], values[*feature as usize], "{feature:?}");
    }
    assert_eq!((closed.ready, closed.ready & of_bar), (ready, of_bar));
}

/// Six levels of each side: bids of 1 to 6, offers of 2 each, from the best on.
fn book() -> Books {
    let mut books = Books::new(2, 64, 0, 1);
    let mut apply = |side: Side, index: i64, size: u64, action: LevelAction, flags: Flags| {
        let price = if side == Side::Bid { 1_000 - index } else { 1_001 + index };
        let level = BookLevel { price, size, side: side as u8, action: action as u8, ..BookLevel::default() };
        let mut event = EventBuf::new(&level);
        let head = event.head_mut();
        (head.symbol, head.source, head.seq, head.flags) = (ETH, SourceId(2), 1, flags);
        let _ = books.apply(EventRef::first(event.slots()).unwrap());
    };
    apply(Side::None, 0, 0, LevelAction::Clear, Flags::SNAPSHOT);
    for index in 0..6 {
        apply(Side::Bid, index, index as u64 + 1, LevelAction::Set, Flags::SNAPSHOT);
        let last = if index == 5 { Flags::SNAPSHOT.with(Flags::LAST) } else { Flags::SNAPSHOT };
        apply(Side::Ask, index, 2, LevelAction::Set, last);
    }
    books
}

#[test]
fn depth_imbalance_is_that_of_the_best_five_levels_of_a_usable_book() {
    let books = book();
    assert!(books.view(ETH).is_some());
    let state = State::default();
    let of = |vector: Vector| vector.get(Feature::DepthImbalance);
    assert_eq!(of(state.vector(groups::ALL, books.view(ETH))), Some((15.0 - 10.0) / 25.0));
    assert_eq!(of(state.vector(groups::ALL, None)), None);
    assert_eq!(of(state.vector(Group::Price.bit(), books.view(ETH))), None);
}

#[test]
fn the_state_is_small_and_zero_is_new() {
    assert_eq!((size_of::<State>(), align_of::<State>()), (3_072, 64));
    assert_eq!(State::default(), State::zeroed());
    assert_eq!(Engine::new().interests(), KindSet::of(&[Kind::TRADE, Kind::QUOTE]));
    const { assert!(!Engine::ROLLBACK) };
}
