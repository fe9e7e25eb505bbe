//! EMA and VWAP against an established library.

#[path = "common/market.rs"]
mod market;

use market::{Market, stream};
use tapeline_core::features::ema::Ema;
use tapeline_core::features::vwap::Vwap;
use tapeline_core::units::{price_f64, size_f64};
use yata::core::Method;
use yata::methods::{EMA, VWMA};

/// Price (1e-9) and size of the trades of a random stream.
fn trades(seed: u64, count: usize) -> Vec<(i64, f64)> {
    let trade = |at: &market::At| match at.what {
        Market::Trade { price, size, .. } => Some((price, size_f64(size, at.scale))),
        Market::Quote { .. } => None,
    };
    stream(seed, count, 1, 0).iter().filter_map(trade).collect()
}

#[test]
fn emas_equal_those_of_yata() {
    for seed in 0..10 {
        let prices: Vec<f64> = trades(seed, 3_000).iter().map(|trade| price_f64(trade.0)).collect();
        assert!(prices.len() > 500);
        for n in [1, 2, 3, 12, 26, 200] {
            let mut ours = Ema::default();
            // yata's value is seeded with the value it is made with, and the first value is then taken in once more,
            // which changes nothing.
            let mut theirs = EMA::new(n, &prices[0]).unwrap();
            for (i, price) in prices.iter().enumerate() {
                ours.update(Ema::alpha(n), *price);
                let expected = theirs.next(price);
                match ours.value(n) {
                    None => assert!(i + 1 < n as usize),
                    Some(value) => {
                        assert!((value - expected).abs() <= 1e-12 * expected, "seed {seed}, N {n}, input {i}");
                    }
                }
            }
        }
    }
}

#[test]
fn vwap_equals_the_volume_weighted_average_of_yata_over_the_same_trades() {
    for seed in 0..10 {
        let trades = trades(seed, 3_000);
        let all: Vec<(f64, f64)> = trades.iter().map(|trade| (price_f64(trade.0), trade.1)).collect();
        // A window as long as the whole series holds exactly the series once all of it has gone in.
        let mut theirs = VWMA::new(all.len() as u32, &all[0]).unwrap();
        let expected = all.iter().map(|trade| theirs.next(trade)).last().unwrap();
        let mut session = Vwap::default();
        for bar in trades.chunks(17) {
            let mut part = Vwap::default();
            for (price, size) in bar {
                part.update(*price, *size);
            }
            session.merge(&part);
        }
        let value = session.value().unwrap();
        assert!((value - expected).abs() <= 1e-9 * expected, "seed {seed}: {value} and {expected}");
    }
}
