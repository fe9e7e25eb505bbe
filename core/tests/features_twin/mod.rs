//! The naive twin of what goes by closed bars: every value from the whole past, each formula written out.

use super::market::{DAY, SECOND};
use tapeline_core::features::{Feature, SET_LEN};

/// A bar of trades.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bar {
    start: u64,
    open: i64,
    high: i64,
    low: i64,
    close: i64,
    volume: f64,
    turnover: f64,
    flow: f64,
}

/// In whole units.
fn whole(price: i64) -> f64 {
    price as f64 / 1e9
}

impl Bar {
    /// Puts a trade into the last of `bars`, or into a new one.
    pub(super) fn take(bars: &mut Vec<Self>, now: u64, px: i64, size: f64, side: u8) {
        let start = now / SECOND * SECOND;
        if bars.last().is_none_or(|bar| bar.start != start) {
            let prices = (px, px, px, px);
            let (open, high, low, close) = prices;
            bars.push(Self { start, open, high, low, close, volume: 0.0, turnover: 0.0, flow: 0.0 });
        }
        let bar = bars.last_mut().unwrap();
        (bar.high, bar.low, bar.close) = (bar.high.max(px), bar.low.min(px), px);
        bar.volume += size;
        bar.turnover += whole(px) * size;
        bar.flow += match side {
            1 => size,
            2 => -size,
            _ => 0.0,
        };
    }

    fn typical(&self) -> f64 {
        (whole(self.high) + whole(self.low) + whole(self.close)) / 3.0
    }
}

/// A step from one bar to the next.
type Step = [Bar];

fn true_range(step: &Step) -> f64 {
    let (before, bar) = (&step[0], &step[1]);
    let ranges = [bar.high - bar.low, (bar.high - before.close).abs(), (bar.low - before.close).abs()];
    whole(*ranges.iter().max().unwrap())
}

fn change(step: &Step) -> f64 {
    whole(step[1].close - step[0].close)
}

/// Wilder's smoothing of a whole series.
fn wilder(series: &[f64], n: usize) -> Option<f64> {
    let first = series.get(..n)?.iter().sum::<f64>() / n as f64;
    Some(series[n..].iter().fold(first, |smoothed, x| smoothed + (x - smoothed) / n as f64))
}

/// EMA of a whole series, as it was after each input.
fn emas(series: &[f64], n: usize) -> Vec<f64> {
    let alpha = 2.0 / (n as f64 + 1.0);
    let mut ema = series.first().copied().unwrap_or(0.0);
    let next = |x: &f64| {
        ema = (1.0 - alpha) * ema + alpha * x;
        ema
    };
    series.iter().map(next).collect()
}

/// +DM and -DM of a step.
fn movements(step: &Step) -> (f64, f64) {
    let (up, down) = (step[1].high - step[0].high, step[0].low - step[1].low);
    (if up > down.max(0) { whole(up) } else { 0.0 }, if down > up.max(0) { whole(down) } else { 0.0 })
}

/// +DI, -DI and ADX.
fn directional(steps: &[&Step]) -> (Option<(f64, f64)>, Option<f64>) {
    // The smoothed sums: N - 1 steps are summed up, then each step takes a fourteenth off.
    let smoothed = |of: &dyn Fn(&Step) -> f64| -> Vec<f64> {
        let Some(first) = steps.get(..13) else { return Vec::new() };
        let mut sum = first.iter().map(|step| of(step)).sum::<f64>();
        steps[13..]
            .iter()
            .map(|step| {
                sum = sum * 13.0 / 14.0 + of(step);
                sum
            })
            .collect()
    };
    let plus = smoothed(&|step| movements(step).0);
    let minus = smoothed(&|step| movements(step).1);
    let range = smoothed(&true_range);
    let index: Vec<(f64, f64)> = (0..range.len())
        .map(|i| if range[i] > 0.0 { (100.0 * plus[i] / range[i], 100.0 * minus[i] / range[i]) } else { (0.0, 0.0) })
        .collect();
    let dx: Vec<Option<f64>> = index
        .iter()
        .map(|(plus, minus)| (plus + minus > 0.0).then(|| 100.0 * (plus - minus).abs() / (plus + minus)))
        .collect();
    let adx = dx.get(..14).map(|first| {
        let first = first.iter().map(|dx| dx.unwrap_or(0.0)).sum::<f64>() / 14.0;
        dx[14..].iter().fold(first, |adx, dx| dx.map_or(adx, |dx| (adx * 13.0 + dx) / 14.0))
    });
    (index.last().copied(), adx)
}

/// Mean volume a bar of the slot that ends with or after `end`, over sessions before.
fn seasonal(bars: &[Bar], end: u64) -> Option<f64> {
    let slot_of = |start: u64| start / (1_800 * SECOND);
    let (first, now) = (slot_of(bars.first()?.start), slot_of(end - 1));
    // What has ended by the time of the latest trade is known to have ended.
    let known = slot_of(bars.last()?.start);
    let mut days: Vec<u64> = bars.iter().map(|bar| bar.start / DAY).collect();
    days.dedup();
    let slots = days.iter().map(|day| day * 48 + now % 48).filter(|slot| *slot > first && *slot < known);
    let volumes: Vec<f64> = slots
        .map(|slot| bars.iter().filter(|bar| slot_of(bar.start) == slot).map(|bar| bar.volume).sum::<f64>())
        .collect();
    let mean = volumes.iter().sum::<f64>() / volumes.len() as f64 / 1_800.0;
    (mean > 0.0).then_some(mean)
}

/// Puts the values at `end` in: per feature the value and the magnitude that its error is relative to.
pub(super) fn put(bars: &[Bar], end: u64, values: &mut [Option<(f64, f64)>; SET_LEN]) {
    let mut put = |feature: Feature, value: f64, beside: f64| {
        values[feature as usize] = Some((value, value.abs() + beside));
    };
    let in_bar = bars.last().filter(|bar| bar.start + SECOND == end);
    let volume = in_bar.map_or(0.0, |bar| bar.volume);
    put(Feature::TurnoverBar, in_bar.map_or(0.0, |bar| bar.turnover), 0.0);
    let session: Vec<&Bar> = bars.iter().filter(|bar| bar.start / DAY == (end - 1) / DAY).collect();
    let turnover = session.iter().map(|bar| bar.turnover).sum::<f64>();
    put(Feature::TurnoverSession, turnover, 0.0);
    let Some(last) = bars.last() else { return };
    let close = whole(last.close);

    put(Feature::TypicalPrice, in_bar.map_or(close, Bar::typical), 0.0);
    put(Feature::TradeImbalance, in_bar.map_or(0.0, |bar| bar.flow / bar.volume), 1e-3);
    if !session.is_empty() {
        let vwap = turnover / session.iter().map(|bar| bar.volume).sum::<f64>();
        put(Feature::VwapDeviation, (close - vwap) / vwap * 1e4, 1.0);
    }
    if let Some(mean) = seasonal(bars, end) {
        put(Feature::SeasonalVolume, volume / mean, 0.0);
    }
    let signed = bars.windows(2).map(|step| match step[1].close.cmp(&step[0].close) {
        std::cmp::Ordering::Less => -step[1].volume,
        std::cmp::Ordering::Equal => 0.0,
        std::cmp::Ordering::Greater => step[1].volume,
    });
    let gross = bars.iter().map(|bar| bar.volume).sum::<f64>();
    put(Feature::OnBalanceVolume, bars[0].volume + signed.sum::<f64>(), gross);

    let closes: Vec<f64> = bars.iter().map(|bar| whole(bar.close)).collect();
    let highest = |n: usize| whole(bars[bars.len() - n..].iter().map(|bar| bar.high).max().unwrap());
    let lowest = |n: usize| whole(bars[bars.len() - n..].iter().map(|bar| bar.low).min().unwrap());
    if bars.len() >= 11 {
        let before = closes[closes.len() - 11];
        put(Feature::Roc, (close - before) / before * 100.0, 1e-3);
    }
    let k = |bars: &[Bar]| {
        let bars = &bars[bars.len() - 14..];
        let (high, low) =
            (bars.iter().map(|bar| bar.high).max().unwrap(), bars.iter().map(|bar| bar.low).min().unwrap());
        if high == low { 50.0 } else { whole(bars[13].close - low) / whole(high - low) * 100.0 }
    };
    if bars.len() >= 14 {
        put(Feature::StochasticK, k(bars), 1.0);
        put(Feature::WilliamsR, k(bars) - 100.0, 1.0);
    }
    if bars.len() >= 16 {
        let mean = (0..3).map(|ago| k(&bars[..bars.len() - ago])).sum::<f64>() / 3.0;
        put(Feature::StochasticD, mean, 1.0);
    }
    if bars.len() >= 20 {
        let window = &bars[bars.len() - 20..];
        put(Feature::RelativeVolume, volume / (window.iter().map(|bar| bar.volume).sum::<f64>() / 20.0), 0.0);
        put(Feature::DonchianUpper, highest(20), 0.0);
        put(Feature::DonchianLower, lowest(20), 0.0);
        let square = |x: f64| x * x;
        let ln = |from: i64, to: i64| libm::log(whole(to) / whole(from));
        let ranges = window.iter().map(|bar| square(ln(bar.low, bar.high))).sum::<f64>() / 20.0;
        put(Feature::ParkinsonVolatility, (ranges / (4.0 * std::f64::consts::LN_2)).sqrt(), 1e-6);
        let bodies = window.iter().map(|bar| square(ln(bar.open, bar.close))).sum::<f64>() / 20.0;
        let variance = 0.5 * ranges - (2.0 * std::f64::consts::LN_2 - 1.0) * bodies;
        put(Feature::GarmanKlassVolatility, variance.sqrt(), 1e-6);

        let typical: Vec<f64> = window.iter().map(Bar::typical).collect();
        let mean = typical.iter().sum::<f64>() / 20.0;
        let deviation = typical.iter().map(|t| (t - mean).abs()).sum::<f64>() / 20.0;
        let same = typical.iter().all(|t| *t == typical[0]);
        put(Feature::Cci, if same { 0.0 } else { (typical[19] - mean) / (0.015 * deviation) }, 1.0);

        let window = &closes[closes.len() - 20..];
        let mean = window.iter().sum::<f64>() / 20.0;
        let same = window.iter().all(|close| *close == window[0]);
        let variance = window.iter().map(|close| (close - mean) * (close - mean)).sum::<f64>() / 20.0;
        let sigma = if same { 0.0 } else { variance.sqrt() };
        put(Feature::Sma, mean, 0.0);
        put(Feature::BollingerUpper, mean + 2.0 * sigma, 0.0);
        put(Feature::BollingerLower, mean - 2.0 * sigma, mean);
        let b = if same { 0.5 } else { (close - (mean - 2.0 * sigma)) / (4.0 * sigma) };
        put(Feature::BollingerPercentB, b, 1.0);
        put(Feature::BollingerBandwidth, 4.0 * sigma / mean, 1e-3);
        let slope = window.iter().enumerate().map(|(i, close)| (i as f64 - 9.5) * close).sum::<f64>() / 665.0;
        put(Feature::RegressionSlope, slope, mean * 1e-3);
    }
    if bars.len() >= 34 {
        let (fast, slow) = (emas(&closes, 12), emas(&closes, 26));
        let lines: Vec<f64> = fast.iter().zip(&slow).map(|(fast, slow)| fast - slow).collect();
        let (line, signal) = (*lines.last().unwrap(), *emas(&lines, 9).last().unwrap());
        let beside = *slow.last().unwrap();
        put(Feature::Macd, line, beside);
        put(Feature::MacdSignal, signal, beside);
        put(Feature::MacdHistogram, line - signal, beside);
    }

    let steps: Vec<&Step> = bars.windows(2).collect();
    let ranges: Vec<f64> = steps.iter().map(|step| true_range(step)).collect();
    if let Some(atr) = wilder(&ranges, 14) {
        put(Feature::Atr, atr, 0.0);
    }
    if bars.len() >= 20 {
        let (middle, range) = (*emas(&closes, 20).last().unwrap(), wilder(&ranges, 10).unwrap());
        put(Feature::KeltnerUpper, middle + 2.0 * range, 0.0);
        put(Feature::KeltnerLower, middle - 2.0 * range, middle + range);
    }
    let rises: Vec<f64> = steps.iter().map(|step| change(step).max(0.0)).collect();
    let falls: Vec<f64> = steps.iter().map(|step| (-change(step)).max(0.0)).collect();
    if let (Some(rises), Some(falls)) = (wilder(&rises, 14), wilder(&falls, 14)) {
        let rsi = if rises == 0.0 && falls == 0.0 { 50.0 } else { 100.0 - 100.0 / (1.0 + rises / falls) };
        put(Feature::Rsi, rsi, 1.0);
    }
    let (directional, adx) = directional(&steps);
    if let Some((plus, minus)) = directional {
        put(Feature::PlusDi, plus, 1.0);
        put(Feature::MinusDi, minus, 1.0);
    }
    if let Some(adx) = adx {
        put(Feature::Adx, adx, 1.0);
    }
    if steps.len() >= 20 {
        let window = &steps[steps.len() - 20..];
        let ratio = |step: &&Step, beside: f64| {
            let r = libm::log(whole(step[1].close) / whole(step[0].close));
            (r.abs() + beside) / (step[1].turnover / 1e6)
        };
        let mean = |beside: f64| window.iter().map(|step| ratio(step, beside)).sum::<f64>() / 20.0;
        put(Feature::AmihudIlliquidity, mean(0.0), mean(1e-6));
        let above = window.iter().map(|step| change(step) * step[1].flow).sum::<f64>();
        let gross = window.iter().map(|step| (change(step) * step[1].flow).abs()).sum::<f64>();
        let below = window.iter().map(|step| step[1].flow * step[1].flow).sum::<f64>();
        let lambda = if below > 0.0 { (above / below, gross / below) } else { (0.0, 0.0) };
        put(Feature::KyleLambda, lambda.0, lambda.1);
    }
}
