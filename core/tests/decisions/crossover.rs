//! When a trend turns.

use super::{START, SYMBOL, event, vector};
use crate::market::SECOND;
use crate::mini_shard::MiniShard;
use tapeline_core::event::payload::{News, Signal};
use tapeline_core::event::{EventRef, Kind, Slot};
use tapeline_core::signals::{self, Crossover, numbers};

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
