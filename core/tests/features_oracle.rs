//! Every feature that goes by closed bars against TA-Lib or pandas, on bars that both sides make by one integer formula.
//!
//! `bench/features/oracle.py` wrote the expected values, with the versions of the libraries in the file's first line.

#[path = "common/market.rs"]
mod market;
#[path = "common/mini_shard.rs"]
mod mini_shard;

use market::{At, DAY, Market, SECOND};
use mini_shard::MiniShard;
use tapeline_core::event::payload::Features;
use tapeline_core::features::{ClosedBar, Engine, Feature, Indicators, SET, Vector};
use tapeline_core::units::{PRICE_ONE, SymbolId};
use tapeline_core::zone::Zone;

const EXPECTED: &str = include_str!("data/features_oracle.csv");
const BARS: usize = 300;
/// 2024-08-08 12:00 UTC.
const START: u64 = 19_943 * DAY + DAY / 2;

/// Open, high, low, close in 1e-9; bought and sold sizes in 1e-2.
type Row = ([i64; 4], [u64; 2]);

/// The bars of the script.
fn rows() -> Vec<Row> {
    let mut state = 20_240_808u64;
    let mut draw = |n: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((state >> 33) % n) as i64
    };
    let mut close = 100 * PRICE_ONE;
    (0..BARS)
        .map(|i| {
            let drift = if i / 100 % 2 == 0 { 20_000_000 } else { -20_000_000 };
            let open = close + (draw(101) - 50) * 1_000_000;
            close = open + drift + (draw(501) - 250) * 1_000_000;
            let high = open.max(close) + draw(150) * 1_000_000;
            let low = open.min(close) - draw(150) * 1_000_000;
            ([open, high, low, close], [1 + draw(5_000) as u64, 1 + draw(5_000) as u64])
        })
        .collect()
}

/// The vector of each bar. A bar is eight trades: at each of its four prices a quarter of what was bought and of what was sold.
fn vectors(rows: &[Row]) -> Vec<Vector> {
    let mut shard = MiniShard::new(Engine::new(), 2);
    for (i, (prices, sizes)) in rows.iter().enumerate() {
        for (j, price) in prices.iter().enumerate() {
            for (side, size) in [1, 2].into_iter().zip(sizes) {
                let ts_recv = START + i as u64 * SECOND + j as u64;
                let what = Market::Trade { price: *price, size: size * 25, side };
                shard.event(&At { ts_recv, symbol: SymbolId(1), scale: 4, seq: 1, is_past: false, what }.slots());
            }
        }
    }
    shard.drain();
    let vector = |event: tapeline_core::event::EventRef<'_>| {
        let mut vector = Vector { ready: event.get::<Features>().unwrap().ready, ..Vector::EMPTY };
        vector.values.iter_mut().zip(Features::values_of(event)).for_each(|(to, value)| *to = value);
        vector
    };
    shard.outputs().map(vector).collect()
}

#[test]
fn req_features_values_equal_those_of_established_libraries() {
    let made = vectors(&rows());
    let mut lines = EXPECTED.lines().skip_while(|line| line.starts_with('#'));
    let columns: Vec<Feature> = lines
        .next()
        .unwrap()
        .split(',')
        .map(|name| Feature::ALL[SET.iter().position(|def| def.name == name).unwrap_or_else(|| panic!("no {name}"))])
        .collect();
    assert_eq!((made.len(), columns.len()), (BARS, 40));
    let mut compared = vec![0; columns.len()];
    for (bar, (vector, line)) in made.iter().zip(lines.by_ref()).enumerate() {
        for (column, (feature, cell)) in columns.iter().zip(line.split(',')).enumerate() {
            let value = vector.get(*feature);
            assert_eq!(value.is_some(), !cell.is_empty(), "bar {bar}, {feature:?}: ready");
            let Some(value) = value else { continue };
            let expected: f64 = cell.parse().unwrap();
            // 1e-12: differences of prices of about 100, next to 0.
            let error = (value - expected).abs();
            assert!(error <= 1e-9 * expected.abs() + 1e-12, "bar {bar}, {feature:?}: {value} and {expected}");
            compared[column] += 1;
        }
    }
    assert_eq!(lines.next(), None);
    assert!(compared.iter().all(|compared| *compared >= 250), "{compared:?}");
}

/// B8: what a batch computes of closed bars has the bits of what the engine published live.
#[test]
fn req_b8_live_and_batch_give_the_same_bits() {
    let rows = rows();
    let live = vectors(&rows);
    let mut batch = Indicators::default();
    for (i, ((prices, sizes), live)) in rows.iter().zip(&live).enumerate() {
        let [open, high, low, close] = *prices;
        // As trades add up, in their order.
        let trades = prices.iter().flat_map(|price| sizes.map(|size| (*price, (size * 25) as f64 / 1e4)));
        let (volume, notional) = trades
            .fold((0.0, 0.0), |(volume, notional), (price, size)| (volume + size, notional + price as f64 * size));
        let flow = (0..4).fold(0.0, |flow, _| {
            let [bought, sold] = sizes.map(|size| (size * 25) as f64 / 1e4);
            flow + bought - sold
        });
        let end_ns = START + (i as u64 + 1) * SECOND;
        let bar = ClosedBar { end_ns, open, high, low, close, volume, notional, flow };
        batch.update(&Zone::utc(), &bar);
        let mut vector = Vector::EMPTY;
        batch.write(end_ns, Some(&bar), &mut vector);
        for feature in Feature::ALL.iter().filter(|feature| vector.get(**feature).is_some()) {
            let (batch, live) = (vector.get(*feature).unwrap(), live.get(*feature).unwrap_or(f64::NAN));
            assert_eq!(batch.to_bits(), live.to_bits(), "bar {i}, {feature:?}: {batch} and {live}");
        }
        assert!(i < 40 || vector.ready.count_ones() >= 40, "bar {i}");
    }
}
