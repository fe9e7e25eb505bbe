//! The features against a naive twin that keeps every event and computes every vector anew from the whole past.

mod features_twin;
#[path = "common/market.rs"]
mod market;
#[path = "common/mini_shard.rs"]
mod mini_shard;

use features_twin::Bar;
use market::{At, DAY, Market, Prng, SECOND, stream};
use mini_shard::MiniShard;
use tapeline_core::event::payload::{Cause, Features};
use tapeline_core::features::{Engine, Feature, SET, SET_2, SET_LEN, names};
use tapeline_core::units::{SymbolId, UnixNanos};

/// A usable event as the twin keeps it: shard time and values in whole units.
#[derive(Clone, Copy, Debug)]
enum Seen {
    Trade { now: u64, price: f64, size: f64, px: i64, side: u8 },
    Quote { now: u64, bid: f64, ask: f64, bid_sz: f64, ask_sz: f64 },
}

impl Seen {
    fn now(&self) -> u64 {
        match *self {
            Self::Trade { now, .. } | Self::Quote { now, .. } => now,
        }
    }
}

/// The whole past of one symbol.
#[derive(Default)]
struct Twin {
    seen: Vec<Seen>,
    skipped: (u64, u64),
}

fn ten_to(scale: u8) -> f64 {
    format!("1e{}", scale.min(19)).parse().unwrap()
}

impl Twin {
    fn event(&mut self, at: &At, now: u64) {
        let (unit, ten) = (1e9, ten_to(at.scale));
        match at.what {
            Market::Trade { price, size, side } => {
                if price <= 0 || price == i64::MAX || size == 0 {
                    self.skipped.0 += 1;
                } else {
                    self.seen.push(Seen::Trade {
                        now,
                        price: price as f64 / unit,
                        size: size as f64 / ten,
                        px: price,
                        side,
                    });
                }
            }
            Market::Quote { bid_px, ask_px, bid_sz, ask_sz } => {
                let told = bid_px > 0 && ask_px > 0 && bid_px != i64::MAX && ask_px != i64::MAX;
                if !told || bid_px > ask_px || (bid_sz == 0 && ask_sz == 0) {
                    self.skipped.1 += 1;
                } else {
                    let (bid, ask) = (bid_px as f64 / unit, ask_px as f64 / unit);
                    let (bid_sz, ask_sz) = (bid_sz as f64 / ten, ask_sz as f64 / ten);
                    self.seen.push(Seen::Quote { now, bid, ask, bid_sz, ask_sz });
                }
            }
        }
    }

    /// Ends of the bars that had an event, in order.
    fn ends(&self) -> Vec<u64> {
        let mut ends: Vec<u64> = self.seen.iter().map(|seen| (seen.now() / SECOND + 1) * SECOND).collect();
        ends.dedup();
        ends
    }

    /// The vector at the bar that ends at `end`: per feature the value and the magnitude that its error is relative to.
    fn vector(&self, end: u64) -> [Option<(f64, f64)>; SET_LEN] {
        let mut values = [None; SET_LEN];
        let past: Vec<Seen> = self.seen.iter().copied().filter(|seen| seen.now() < end).collect();
        let day = (end - 1) / DAY;
        let trades: Vec<(u64, f64, f64)> = past
            .iter()
            .filter_map(|seen| match *seen {
                Seen::Trade { now, price, size, .. } => Some((now, price, size)),
                Seen::Quote { .. } => None,
            })
            .collect();
        let in_bar = |now: u64| now >= end - SECOND;
        let bar: Vec<_> = trades.iter().filter(|trade| in_bar(trade.0)).collect();
        let session: Vec<_> = trades.iter().filter(|trade| trade.0 / DAY == day).collect();
        let mut put = |feature: Feature, value: f64| values[feature as usize] = Some((value, value.abs()));

        put(Feature::VolumeBar, bar.iter().map(|trade| trade.2).sum());
        put(Feature::VolumeSession, session.iter().map(|trade| trade.2).sum());
        put(Feature::TradesBar, bar.len() as f64);
        let vwap = |of: &[&(u64, f64, f64)]| {
            of.iter().map(|trade| trade.1 * trade.2).sum::<f64>() / of.iter().map(|trade| trade.2).sum::<f64>()
        };
        if let Some(&(_, last, _)) = trades.last() {
            put(Feature::LastPrice, last);
            put(Feature::BarOpen, bar.first().map_or(last, |trade| trade.1));
            put(Feature::BarHigh, bar.iter().map(|trade| trade.1).reduce(f64::max).unwrap_or(last));
            put(Feature::BarLow, bar.iter().map(|trade| trade.1).reduce(f64::min).unwrap_or(last));
            put(Feature::VwapBar, if bar.is_empty() { last } else { vwap(&bar) });
            if !session.is_empty() {
                put(Feature::VwapSession, vwap(&session));
                put(Feature::ReturnSession, libm::log(last / session[0].1));
            }
        }
        // The close of each bar with a trade, with its bar's start.
        let mut closes: Vec<(u64, f64)> = Vec::new();
        for &(now, price, _) in &trades {
            let start = now / SECOND * SECOND;
            match closes.last_mut() {
                Some(last) if last.0 == start => last.1 = price,
                _ => closes.push((start, price)),
            }
        }
        for (feature, n) in [(Feature::EmaFast, 12usize), (Feature::EmaSlow, 26)] {
            if closes.len() >= n {
                // The weighted sum, written out: (1 - a)^k for the seed, a (1 - a)^j for the close j bars ago.
                let alpha = 2.0 / (n as f64 + 1.0);
                let weight = |age: usize| libm::pow(1.0 - alpha, age as f64);
                let last = closes.len() - 1;
                let later = closes[1..].iter().enumerate().map(|(i, close)| alpha * weight(last - 1 - i) * close.1);
                put(feature, later.sum::<f64>() + weight(last) * closes[0].1);
            }
        }
        let returns: Vec<(u64, f64)> =
            closes.windows(2).map(|pair| (pair[1].0, libm::log(pair[1].1 / pair[0].1))).collect();
        if let Some(&(start, r)) = returns.last() {
            put(Feature::ReturnBar, if in_bar(start) { r } else { 0.0 });
        }
        let of_session: Vec<f64> = returns.iter().filter(|(start, _)| start / DAY == day).map(|(_, r)| r * r).collect();
        if of_session.len() >= 20 {
            put(Feature::RealisedVolatility, of_session.iter().sum::<f64>().sqrt());
        }
        if returns.len() >= 33 {
            let variance = returns[1..].iter().fold(returns[0].1 * returns[0].1, |v, (_, r)| 0.94 * v + 0.06 * r * r);
            put(Feature::EwmaVolatility, variance.sqrt());
        }
        let quotes: Vec<_> = past
            .iter()
            .filter_map(|seen| match *seen {
                Seen::Quote { now, bid, ask, bid_sz, ask_sz } => Some((now, bid, ask, bid_sz, ask_sz)),
                Seen::Trade { .. } => None,
            })
            .collect();
        if let Some(&(_, bid, ask, bid_sz, ask_sz)) = quotes.last() {
            let mid = (ask + bid) / 2.0;
            put(Feature::MidPrice, mid);
            put(Feature::TopImbalance, (bid_sz - ask_sz) / (bid_sz + ask_sz));
            put(Feature::Microprice, (bid * ask_sz + ask * bid_sz) / (ask_sz + bid_sz));
            // Differences of prices: their rounding is that of the prices.
            values[Feature::Spread as usize] = Some((ask - bid, 1e-6 * mid));
            values[Feature::SpreadBps as usize] = Some(((ask - bid) / mid * 1e4, 1e-2));
        }
        if quotes.len() >= 2 {
            let (mut sum, mut gross) = (0.0, 0.0);
            for pair in quotes.windows(2) {
                let ((_, b0, a0, bs0, as0), (now, b1, a1, bs1, as1)) = (pair[0], pair[1]);
                if !in_bar(now) {
                    continue;
                }
                let bid = match b1.total_cmp(&b0) {
                    std::cmp::Ordering::Greater => bs1,
                    std::cmp::Ordering::Equal => bs1 - bs0,
                    std::cmp::Ordering::Less => -bs0,
                };
                let ask = match a1.total_cmp(&a0) {
                    std::cmp::Ordering::Less => as1,
                    std::cmp::Ordering::Equal => as1 - as0,
                    std::cmp::Ordering::Greater => -as0,
                };
                sum += bid - ask;
                gross += bs0 + bs1 + as0 + as1;
            }
            values[Feature::OrderFlowImbalance as usize] = Some((sum, gross));
        }
        let mut bars: Vec<Bar> = Vec::new();
        for seen in &past {
            if let Seen::Trade { now, size, px, side, .. } = *seen {
                Bar::take(&mut bars, now, px, size, side);
            }
        }
        features_twin::put(&bars, end, &mut values);
        values
    }
}

/// Plays `events` into the engine and into twins, and compares every vector.
///
/// Returns how many values were compared, by feature.
fn check(events: &[At], symbols: u64, label: &str) -> [usize; SET_LEN] {
    let mut shard = MiniShard::new(Engine::new(), symbols as usize + 1);
    let mut twins: Vec<Twin> = (0..=symbols).map(|_| Twin::default()).collect();
    for at in events {
        shard.event(&at.slots());
        if !at.is_past {
            twins[at.symbol.index()].event(at, shard.now().0);
        }
    }
    shard.drain();
    assert_eq!(shard.timers(), 0);

    let mut checked = [0; SET_LEN];
    for (id, twin) in twins.iter().enumerate().skip(1) {
        let symbol = SymbolId(id as u32);
        assert_eq!(shard.state(symbol).skipped(), twin.skipped, "{label}, symbol {id}");
        assert_eq!(shard.state(symbol).unpublished(), 0);
        let published = shard.state(symbol).published();
        let made: Vec<_> = shard.outputs().filter(|event| event.head().symbol == symbol).collect();
        assert_eq!(published, made.len() as u64, "req_w3: counts are of what was made");
        let ends: Vec<u64> = made.iter().map(|event| event.head().ts_recv.0).collect();
        assert_eq!(ends, twin.ends(), "{label}, symbol {id}: one vector at the end of each active second");
        let mut ready_before = (0, 0);
        for event in made {
            let end = event.head().ts_recv.0;
            let head = event.get::<Features>().unwrap();
            assert_eq!((head.set, head.count as usize, head.interval_ns), (SET_2, SET_LEN, SECOND));
            assert_eq!((event.head().ts_event.0, Cause::of(event).unwrap().timer_ns), (end, end));
            let values: Vec<f64> = Features::values_of(event).collect();
            let expected = twin.vector(end);
            for (i, def) in names(head.set).unwrap().iter().enumerate() {
                let place = format!("{label}, symbol {id}, end {end}, {}", def.name);
                let ready = head.ready >> i & 1 == 1;
                assert_eq!(ready, expected[i].is_some(), "{place}: ready");
                match expected[i] {
                    None => assert_eq!(values[i].to_bits(), 0, "{place}: not ready is +0.0"),
                    Some((value, magnitude)) => {
                        assert!(values[i].is_finite(), "{place}: {}", values[i]);
                        // 1e-13: returns of almost equal prices, which the twin takes of rounded quotients.
                        let error = (values[i] - value).abs();
                        assert!(error <= 1e-9 * magnitude + 1e-13, "{place}: {} and {value}", values[i]);
                        checked[i] += 1;
                    }
                }
            }
            assert_eq!(head.ready >> SET_LEN, 0);
            let day = (end - 1) / DAY;
            if ready_before.0 == day {
                // The seasonal average goes by the half-hour.
                let seasonal = 1 << Feature::SeasonalVolume as usize;
                let lost = ready_before.1 & !head.ready & !seasonal;
                assert_eq!(lost, 0, "{label}, symbol {id}, end {end}: no longer ready within a session");
            }
            ready_before = (day, head.ready);
        }
    }
    checked
}

#[test]
fn req_w3_features_vectors_equal_those_of_a_twin_that_starts_from_the_whole_past() {
    let mut seasonal = 0;
    for seed in 0..60 {
        let events = stream(seed, 2_000, 3, 0);
        let checked = check(&events, 3, &format!("seed {seed}"));
        for (feature, checked) in Feature::ALL.iter().zip(checked) {
            // There are no books here.
            if *feature == Feature::DepthImbalance {
                continue;
            }
            // Which needs a session that comes back to the same half-hour.
            let is_seasonal = *feature == Feature::SeasonalVolume;
            seasonal += if is_seasonal { checked } else { 0 };
            assert!(is_seasonal || checked > 50, "seed {seed}: {feature:?} was ready {checked} times only");
        }
    }
    assert!(seasonal > 1_000, "{seasonal}");
}

#[test]
fn req_s1_nasty_values_neither_poison_nor_stop_the_features() {
    for seed in 0..80 {
        for nasty in [3, 12, 60] {
            check(&stream(seed, 600, 2, nasty), 2, &format!("seed {seed}, nasty {nasty}"));
        }
    }
}

/// How input is cut into polls shows in when timers fire: all at the next event, or at ticks in between.
#[test]
fn outputs_do_not_depend_on_polls_or_on_other_symbols() {
    for seed in 100..120 {
        let events = stream(seed, 1_000, 3, 20);
        let mut plain = MiniShard::new(Engine::new(), 4);
        let mut polled = MiniShard::new(Engine::new(), 4);
        let mut alone: Vec<_> = (0..4).map(|_| MiniShard::new(Engine::new(), 4)).collect();
        let mut prng = Prng::new(seed);
        for at in &events {
            let before = polled.now().0;
            plain.event(&at.slots());
            if at.ts_recv > before {
                polled.tick(UnixNanos(before + prng.below(at.ts_recv - before)));
            }
            polled.event(&at.slots());
            // The shard of one symbol alone still has the clock of the whole: ticks carry it.
            for shard in &mut alone {
                shard.tick(UnixNanos(at.ts_recv));
            }
            alone[at.symbol.index()].event(&at.slots());
        }
        for shard in alone.iter_mut().chain([&mut plain, &mut polled]) {
            shard.drain();
        }
        assert!(!plain.output_slots().is_empty());
        assert!(plain.output_slots() == polled.output_slots(), "seed {seed}");
        for (id, shard) in alone.iter().enumerate() {
            let of_symbol: Vec<_> =
                plain.output_slots().iter().filter(|slots| slots[0].symbol.index() == id).cloned().collect();
            assert!(of_symbol == shard.output_slots(), "seed {seed}, symbol {id}");
        }
    }
}

#[test]
fn the_state_moves_as_bytes_in_the_middle_of_a_stream() {
    let events = stream(7, 800, 1, 0);
    let mut whole = MiniShard::new(Engine::new(), 2);
    let mut moved = MiniShard::new(Engine::new(), 2);
    for (i, at) in events.iter().enumerate() {
        whole.event(&at.slots());
        if i % 50 == 0 {
            let bytes = bytemuck::bytes_of(moved.state(SymbolId(1))).to_vec();
            *moved.state(SymbolId(1)) = bytemuck::pod_read_unaligned(&bytes);
        }
        moved.event(&at.slots());
    }
    assert!(whole.output_slots().len() > 50);
    assert!(whole.output_slots() == moved.output_slots());
    assert_eq!(SET.len(), SET_LEN);
}
