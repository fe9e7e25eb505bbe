//! `duel features`: twenty indicators a tick (P23).
//!
//! Each contender computes the same twenty values ([`NAMES`]) of every tick, one indicator after the other, as its library is
//! meant to be used for streams. Before anything is measured the values are compared: they agree within 1e-9, once what the
//! contenders begin their averages with has faded.

mod ours;
#[cfg(feature = "peers")]
mod peers;

use crate::duel::{self, Entry, Options, Role};
#[cfg(feature = "peers")]
use crate::report::Rival;
use crate::report::{Claim, Table};
use crate::single;
use crate::stats::Rng;
use std::hint::black_box;
use tapeline_core::features::ClosedBar;
use tapeline_core::units::{PRICE_ONE, price_f64};

pub use ours::Ours;
#[cfg(feature = "peers")]
pub use peers::{Kand, Yata};

/// Metrics of a slice.
pub const METRICS: [&str; 1] = ["tick_ns"];
/// Ticks of a measured batch.
pub const BATCH: usize = 256;
/// Ticks that are played again and again; a multiple of the batch.
const TICKS: usize = 1 << 13;
/// Ticks after which averages have forgotten what they were begun with: (25/27)^1000 and (13/14)^1000 are below 1e-30.
const FADED: usize = 1_000;

/// The values of a tick, in order.
pub const NAMES: [&str; 20] = [
    "sma 20",
    "ema 12",
    "ema 26",
    "macd line",
    "macd signal 9",
    "macd histogram",
    "rsi 14",
    "roc 10",
    "sigma 20",
    "bollinger upper 20, 2",
    "bollinger lower 20, 2",
    "donchian upper 20",
    "donchian lower 20",
    "stochastic k 14",
    "stochastic d 3",
    "williams r 14",
    "atr 14",
    "cci 20",
    "keltner upper 20, 10, 2",
    "keltner lower 20, 10, 2",
];
/// One value of each.
pub type Values = [f64; NAMES.len()];

/// A tick as a bar: in fixed point, and in the floats that libraries take.
#[derive(Clone, Copy, Debug)]
pub struct Tick {
    /// For ours.
    pub bar: ClosedBar,
    /// Open.
    pub open: f64,
    /// High.
    pub high: f64,
    /// Low.
    pub low: f64,
    /// Close.
    pub close: f64,
    /// Volume.
    pub volume: f64,
}

/// Twenty indicators.
pub trait Indicators {
    /// Before the first tick, which is given for libraries that want to know it.
    fn new(first: &Tick) -> Self;

    /// The values at the next tick.
    fn next(&mut self, tick: &Tick) -> Values;
}

/// Ticks of a price that walks at random between 50 and 200.
#[must_use]
pub fn ticks(seed: u64) -> Box<[Tick]> {
    let mut rng = Rng::new(seed);
    let mut draw = move |n: usize| rng.index(n) as i64;
    let mut close = 100 * PRICE_ONE;
    (0..TICKS as u64)
        .map(|i| {
            let open = close;
            close = (open + (draw(1_001) - 500) * 1_000_000).clamp(50 * PRICE_ONE, 200 * PRICE_ONE);
            let (high, low) = (open.max(close) + draw(300) * 1_000_000, open.min(close) - draw(300) * 1_000_000);
            let volume = 1.0 + draw(1_000) as f64;
            let notional = close as f64 * volume;
            let bar =
                ClosedBar { end_ns: (i + 1) * 1_000_000_000, open, high, low, close, volume, notional, flow: 0.0 };
            let [open, high, low, close] = [open, high, low, close].map(price_f64);
            Tick { bar, open, high, low, close, volume }
        })
        .collect()
}

/// Compares the values of two contenders over all ticks but the first.
///
/// # Panics
/// When one of them differs by more than 1e-9 of its scale: a price's is the price, that of per cents and ratios is 1.
pub fn compare<A: Indicators, B: Indicators>(ticks: &[Tick]) {
    let (mut ours, mut theirs) = (A::new(&ticks[0]), B::new(&ticks[0]));
    for (i, tick) in ticks.iter().enumerate() {
        let (ours, theirs) = (ours.next(tick), theirs.next(tick));
        for (name, (ours, theirs)) in NAMES.iter().zip(ours.iter().zip(&theirs)).filter(|_| i >= FADED) {
            let error = (ours - theirs).abs();
            assert!(error <= 1e-9 * theirs.abs().max(1.0), "tick {i}, {name}: {ours} and {theirs}");
        }
    }
}

/// A contender and the ticks that it is given.
pub struct Work<I> {
    indicators: I,
    ticks: Box<[Tick]>,
    at: usize,
}

impl<I: Indicators> Work<I> {
    /// With every window full.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let ticks = ticks(seed);
        let mut work = Self { indicators: I::new(&ticks[0]), ticks, at: 0 };
        (0..FADED.div_ceil(BATCH)).for_each(|_| work.run_batch());
        work
    }

    /// The indicators and the ticks of the next batch.
    pub fn batch(&mut self) -> (&mut I, &[Tick]) {
        let from = self.at;
        self.at = (from + BATCH) % TICKS;
        (&mut self.indicators, &self.ticks[from..from + BATCH])
    }

    fn run_batch(&mut self) {
        let (indicators, ticks) = self.batch();
        run(indicators, ticks);
    }
}

/// Computes the values of each tick. None is left out: all of them leave by a `black_box`.
#[inline]
pub fn run<I: Indicators>(indicators: &mut I, ticks: &[Tick]) {
    for tick in ticks {
        black_box(indicators.next(black_box(tick)));
    }
}

fn entry<'a, I: Indicators + 'a>(name: &'static str, role: Role, options: &'a Options) -> Entry<'a> {
    let build = move || Work::<I>::new(options.seed);
    single::entry(name, role, options, METRICS.len(), build, |work, meter| {
        let (indicators, ticks) = work.batch();
        meter.time(0, || run(indicators, ticks));
        meter.count(0, BATCH);
    })
}

/// Runs the duel and gives its table to `done`.
///
/// # Panics
/// When contenders do not compute the same values.
pub fn duel(options: &Options, done: &mut dyn FnMut(Table)) {
    #[allow(unused_mut)]
    let mut entries = vec![entry::<Ours>("tapeline", Role::Ours, options)];
    #[allow(unused_mut)]
    let mut claims: Vec<Claim> = Vec::new();
    #[cfg(feature = "peers")]
    {
        let ticks = ticks(options.seed);
        compare::<Ours, Yata>(&ticks);
        compare::<Ours, Kand>(&ticks);
        entries.push(entry::<Yata>("yata", Role::Peer, options));
        entries.push(entry::<Kand>("kand", Role::Peer, options));
        claims.push(Claim::at_most("P23 twenty indicators against yata", 0, Rival::Named("yata"), 0.7, 0.7));
        claims.push(Claim::at_most("P23 twenty indicators against kand", 0, Rival::Named("kand"), 0.7, 0.7));
    }
    let records = duel::run(&entries, options);
    done(Table::new(
        "features, twenty indicators a tick",
        "ns a tick, one thread; every contender computes the same twenty values, one indicator after the other, and they agree \
         within 1e-9. yata and kand use fused multiply-add, which is a call of a function where the processor that the program is \
         built for has none: build for x86-64-v3",
        &METRICS,
        &entries,
        records,
        &claims,
        options,
    ));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_finite_and_the_peers_compute_the_same() {
        let ticks = ticks(7);
        let mut ours = Ours::new(&ticks[0]);
        for (i, tick) in ticks.iter().enumerate() {
            let values = ours.next(tick);
            assert!(values.iter().all(|value| value.is_finite()), "tick {i}: {values:?}");
            assert!(i < 40 || values.iter().filter(|value| **value != 0.0).count() >= 16, "tick {i}: {values:?}");
        }
        #[cfg(feature = "peers")]
        for seed in 1..4 {
            compare::<Ours, Yata>(&super::ticks(seed));
            compare::<Ours, Kand>(&super::ticks(seed));
        }
    }
}
