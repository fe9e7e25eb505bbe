//! The same values by `yata` and by `kand`, each driven as its documentation recommends for streams.

use super::{Indicators, Tick, Values};
use kand::ohlcv::{atr, bbands, cci, ema, macd, roc, rsi, sma};
use kand::stats::{max, min, stddev};
use yata::core::{Candle, Method};
use yata::methods::{CCI, EMA, Highest, Lowest, RMA, RateOfChange, SMA, StDev, TR};

/// Bars of the longest window.
const WINDOW: usize = 20;
/// `yata`'s deviation is that of a sample, ours and `kand`'s that of the population.
const OF_POPULATION: f64 = 0.974_679_434_480_896_3;

/// `yata::methods`, one after the other. Its windows begin full of the first value, and RSI is put together from two RMAs: the
/// ready-made indicators compute signals beside their values.
pub struct Yata {
    before: f64,
    sma: SMA,
    fast: EMA,
    slow: EMA,
    signal: EMA,
    middle: EMA,
    gains: RMA,
    losses: RMA,
    roc: RateOfChange,
    sigma: StDev,
    highest: Highest,
    lowest: Lowest,
    k_highest: Highest,
    k_lowest: Lowest,
    d: SMA,
    range: TR,
    atr: RMA,
    keltner: RMA,
    cci: CCI,
}

fn candle(tick: &Tick) -> Candle {
    Candle { open: tick.open, high: tick.high, low: tick.low, close: tick.close, volume: tick.volume }
}

impl Indicators for Yata {
    fn new(first: &Tick) -> Self {
        const GOOD: &str = "a length above 1";
        let close = &first.close;
        let typical = (first.high + first.low + first.close) / 3.0;
        Self {
            before: first.close,
            sma: SMA::new(20, close).expect(GOOD),
            fast: EMA::new(12, close).expect(GOOD),
            slow: EMA::new(26, close).expect(GOOD),
            signal: EMA::new(9, &0.0).expect(GOOD),
            middle: EMA::new(20, close).expect(GOOD),
            gains: RMA::new(14, &0.0).expect(GOOD),
            losses: RMA::new(14, &0.0).expect(GOOD),
            roc: RateOfChange::new(10, close).expect(GOOD),
            sigma: StDev::new(20, close).expect(GOOD),
            highest: Highest::new(20, &first.high).expect(GOOD),
            lowest: Lowest::new(20, &first.low).expect(GOOD),
            k_highest: Highest::new(14, &first.high).expect(GOOD),
            k_lowest: Lowest::new(14, &first.low).expect(GOOD),
            d: SMA::new(3, &50.0).expect(GOOD),
            range: TR::new(&candle(first)).expect("a candle"),
            atr: RMA::new(14, &0.0).expect(GOOD),
            keltner: RMA::new(10, &0.0).expect(GOOD),
            cci: CCI::new(20, &typical).expect(GOOD),
        }
    }

    #[inline]
    fn next(&mut self, tick: &Tick) -> Values {
        let close = &tick.close;
        let sma = self.sma.next(close);
        let (fast, slow) = (self.fast.next(close), self.slow.next(close));
        let line = fast - slow;
        let signal = self.signal.next(&line);
        let change = close - self.before;
        self.before = *close;
        let (gain, loss) = (self.gains.next(&change.max(0.0)), self.losses.next(&(-change).max(0.0)));
        let sigma = self.sigma.next(close) * OF_POPULATION;
        let (high, low) = (self.k_highest.next(&tick.high), self.k_lowest.next(&tick.low));
        let k = (close - low) / (high - low) * 100.0;
        let range = self.range.next(&candle(tick));
        let (middle, keltner) = (self.middle.next(close), self.keltner.next(&range));
        [
            sma,
            fast,
            slow,
            line,
            signal,
            line - signal,
            100.0 * gain / (gain + loss),
            self.roc.next(close) * 100.0,
            sigma,
            sma + 2.0 * sigma,
            sma - 2.0 * sigma,
            self.highest.next(&tick.high),
            self.lowest.next(&tick.low),
            k,
            self.d.next(&k),
            k - 100.0,
            self.atr.next(&range),
            self.cci.next(&((tick.high + tick.low + tick.close) / 3.0)) / 0.015,
            middle + 2.0 * keltner,
            middle - 2.0 * keltner,
        ]
    }
}

/// `kand`'s incremental functions, one after the other. They keep nothing: windows and the values before are the caller's, and so
/// is the pass over the window when an extreme leaves it (`min_inc` says so by an error; `max_inc` and `willr_inc` do not, so that
/// %R is computed from the two extremes).
pub struct Kand {
    ticks: [Tick; WINDOW],
    at: usize,
    before: f64,
    sma: f64,
    fast: f64,
    slow: f64,
    signal: f64,
    middle: f64,
    gain: f64,
    loss: f64,
    sum: f64,
    squares: f64,
    bands: (f64, f64, f64),
    highest: f64,
    lowest: f64,
    k_highest: f64,
    k_lowest: f64,
    k: [f64; 3],
    d: f64,
    atr: f64,
    keltner: f64,
    typical: f64,
    typicals: Vec<f64>,
}

impl Kand {
    /// The tick of `ago` before the latest, which is in the window already.
    #[inline]
    fn ago(&self, ago: usize) -> &Tick {
        &self.ticks[(self.at + 2 * WINDOW - 1 - ago) % WINDOW]
    }

    /// Highest of the last `n` highs, of which `leaves` was one before the latest came.
    #[inline]
    fn highest(&self, n: usize, before: f64, high: f64, leaves: f64) -> f64 {
        if leaves >= before && high < before {
            return (0..n).fold(f64::MIN, |highest, ago| highest.max(self.ago(ago).high));
        }
        max::max_inc(high, before, leaves, n).expect("a length above 1")
    }

    /// Lowest of the last `n` lows.
    #[inline]
    fn lowest(&self, n: usize, before: f64, low: f64, leaves: f64) -> f64 {
        min::min_inc(low, before, leaves, n)
            .unwrap_or_else(|_| (0..n).fold(f64::MAX, |lowest, ago| lowest.min(self.ago(ago).low)))
    }
}

impl Indicators for Kand {
    fn new(first: &Tick) -> Self {
        let close = first.close;
        let typical = (first.high + first.low + first.close) / 3.0;
        let (sum, squares) = (close * WINDOW as f64, close * close * WINDOW as f64);
        Self {
            ticks: [*first; WINDOW],
            at: 0,
            before: close,
            sma: close,
            fast: close,
            slow: close,
            signal: 0.0,
            middle: close,
            gain: 0.0,
            loss: 0.0,
            sum,
            squares,
            bands: (close, sum, squares),
            highest: first.high,
            lowest: first.low,
            k_highest: first.high,
            k_lowest: first.low,
            k: [50.0; 3],
            d: 50.0,
            atr: 0.0,
            keltner: 0.0,
            typical,
            typicals: vec![typical; WINDOW],
        }
    }

    #[inline]
    fn next(&mut self, tick: &Tick) -> Values {
        const GOOD: &str = "lengths above 1";
        let close = tick.close;
        let (old, old_of_range) = (self.ticks[self.at], *self.ago(13));
        let ten_ago = self.ago(9).close;
        self.ticks[self.at] = *tick;
        self.at = (self.at + 1) % WINDOW;

        self.sma = sma::sma_inc(self.sma, close, old.close, WINDOW).expect(GOOD);
        let (line, signal, histogram) =
            macd::macd_inc(close, self.fast, self.slow, self.signal, 12, 26, 9).expect(GOOD);
        self.signal = signal;
        self.fast = ema::ema_inc(close, self.fast, 12, None).expect(GOOD);
        self.slow = ema::ema_inc(close, self.slow, 26, None).expect(GOOD);
        let (rsi, gain, loss) = rsi::rsi_inc(close, self.before, self.gain, self.loss, 14).expect(GOOD);
        (self.gain, self.loss) = (gain, loss);
        let (sigma, sum, squares) = stddev::stddev_inc(close, self.sum, self.squares, old.close, WINDOW).expect(GOOD);
        (self.sum, self.squares) = (sum, squares);
        let (mean, sum, squares) = self.bands;
        let (upper, _, lower, mean, sum, squares) =
            bbands::bbands_inc(close, mean, sum, squares, old.close, WINDOW, 2.0, 2.0).expect(GOOD);
        self.bands = (mean, sum, squares);
        self.highest = self.highest(WINDOW, self.highest, tick.high, old.high);
        self.lowest = self.lowest(WINDOW, self.lowest, tick.low, old.low);
        self.k_highest = self.highest(14, self.k_highest, tick.high, old_of_range.high);
        self.k_lowest = self.lowest(14, self.k_lowest, tick.low, old_of_range.low);
        let k = (close - self.k_lowest) / (self.k_highest - self.k_lowest) * 100.0;
        self.d = sma::sma_inc(self.d, k, self.k[2], 3).expect(GOOD);
        self.k = [k, self.k[0], self.k[1]];
        self.atr = atr::atr_inc(tick.high, tick.low, self.before, self.atr, 14).expect(GOOD);
        self.keltner = atr::atr_inc(tick.high, tick.low, self.before, self.keltner, 10).expect(GOOD);
        let cci = cci::cci_inc(
            self.typical,
            tick.high,
            tick.low,
            close,
            old.high,
            old.low,
            old.close,
            WINDOW,
            &mut self.typicals,
        )
        .expect(GOOD);
        let typical = |tick: &Tick| (tick.high + tick.low + tick.close) / 3.0;
        self.typical = sma::sma_inc(self.typical, typical(tick), typical(&old), WINDOW).expect(GOOD);
        self.middle = ema::ema_inc(close, self.middle, WINDOW, None).expect(GOOD);
        self.before = close;
        [
            self.sma,
            self.fast,
            self.slow,
            line,
            signal,
            histogram,
            rsi,
            roc::roc_inc(close, ten_ago).expect(GOOD),
            sigma,
            upper,
            lower,
            self.highest,
            self.lowest,
            k,
            self.d,
            k - 100.0,
            self.atr,
            cci,
            self.middle + 2.0 * self.keltner,
            self.middle - 2.0 * self.keltner,
        ]
    }
}
