//! The scanner against a naive twin that keeps every trade and looks at the whole past for each.

#[path = "common/market.rs"]
mod market;
#[path = "common/mini_shard.rs"]
mod mini_shard;

use bytemuck::Zeroable;
use market::{At, Market, Prng, SECOND, stream};
use mini_shard::MiniShard;
use tapeline_core::event::payload::{Alert, Status};
use tapeline_core::event::{EventBuf, Kind, KindSet};
use tapeline_core::features::returns::log_return;
use tapeline_core::handler::Handler;
use tapeline_core::scanner::{Config, ConfigError, Rule, Scanner, State};
use tapeline_core::units::{Side, SymbolId, UnixNanos};

const ETH: SymbolId = SymbolId(1);
const NOON: u64 = 1_723_118_400 * SECOND;

/// A usable trade: shard time, price in 1e-9, size, side.
type Seen = (u64, i64, f64, u8);

/// An alert as the twin finds it: rule, side, severity, value, reference.
type Found = (Rule, u8, u8, f64, f64);

/// The trades of each second that had one, in order.
fn bars(trades: &[Seen]) -> Vec<&[Seen]> {
    trades.chunk_by(|a, b| a.0 / SECOND == b.0 / SECOND).collect()
}

/// A usable quote: shard time, bid and ask in 1e-9.
type Quoted = (u64, i64, i64);

/// The EMA of length `n` of all of `inputs`, as it is documented; `None` before `n` of them.
fn ema(n: u32, inputs: impl IntoIterator<Item = f64>) -> Option<f64> {
    let alpha = 2.0 / (f64::from(n) + 1.0);
    let inputs: Vec<f64> = inputs.into_iter().collect();
    let step = |value: f64, x: f64| if alpha >= 1.0 { x } else { value + alpha * (x - value) };
    (inputs.len() >= n as usize).then(|| inputs.iter().copied().reduce(step).unwrap())
}

fn multiple(of: f64) -> u8 {
    1 + u8::from(of >= 2.0) + u8::from(of >= 4.0)
}

/// What the first trade of each bar brings about: the rules that look at closes. In the order of the engine.
fn naive_closes(config: &Config, trades: &[Seen]) -> Vec<(usize, Found)> {
    let bars = bars(trades);
    let closes: Vec<i64> = bars.iter().map(|bar| bar.last().unwrap().1).collect();
    let returns = closes.windows(2).map(|pair| log_return(pair[0], pair[1]));
    let squares: Vec<f64> = returns.map(|r| r * r).collect();
    let mut found = Vec::new();
    let mut raised = false;
    let (mut above, mut below) = (0, 0);
    let mut index = 0;
    for (bar, of_bar) in bars.iter().enumerate() {
        if bar > 0 {
            let closed = bar - 1;
            let usual = ema(config.volatility_slow_bars, squares[..closed.saturating_sub(1)].iter().copied());
            let usual = usual.filter(|usual| *usual > 0.0);
            let now = ema(config.volatility_fast_bars, squares[..closed].iter().copied());
            if let (Some(now), Some(usual), true) = (now, usual, closed > 0) {
                raised &= now > usual;
                let threshold = config.volatility_factor * config.volatility_factor * usual;
                if !raised && now > threshold {
                    raised = true;
                    let severity = multiple((now / threshold).sqrt());
                    found.push((index, (Rule::Volatility, 0, severity, now.sqrt(), usual.sqrt())));
                }
            }
            let bars = config.momentum_bars as usize;
            if let (true, Some(usual)) = (closed >= bars, usual) {
                let r = log_return(closes[closed - bars], closes[closed]);
                let threshold =
                    config.momentum_factor * config.momentum_factor * usual * f64::from(config.momentum_bars);
                let (rest, side) = if r > 0.0 { (&mut above, Side::Bid) } else { (&mut below, Side::Ask) };
                if r * r > threshold && closed >= *rest {
                    *rest = closed + config.momentum_cooldown_bars as usize;
                    let severity = multiple((r * r / threshold).sqrt());
                    found.push((index, (Rule::Momentum, side as u8, severity, r, threshold.sqrt())));
                }
            }
            let (close, open) = (i128::from(closes[closed]), i128::from(of_bar[0].1));
            let (excess, threshold) = ((open - close).abs() * 10_000, close * i128::from(config.gap_bps));
            if excess > threshold {
                let side = if open > close { Side::Bid } else { Side::Ask } as u8;
                let severity = multiple(excess as f64 / threshold as f64);
                found.push((index, (Rule::Gap, side, severity, open as f64 / 1e9, close as f64 / 1e9)));
            }
        }
        index += of_bar.len();
    }
    found
}

/// Alerts of one symbol's quotes, each with the index of the quote that brought it about.
fn naive_spreads(config: &Config, quotes: &[Quoted]) -> Vec<(usize, Found)> {
    let bars: Vec<&[Quoted]> = quotes.chunk_by(|a, b| a.0 / SECOND == b.0 / SECOND).collect();
    let spread = |quote: &Quoted| (quote.2 - quote.1) as f64;
    let mut found = Vec::new();
    let (mut rest, mut index) = (0, 0);
    for (bar, of_bar) in bars.iter().enumerate() {
        let usual = ema(config.spread_bars, bars[..bar].iter().map(|bar| spread(bar.last().unwrap())));
        if let (Some(usual), true) = (usual, bar >= rest) {
            let last = bars[bar - 1].last().unwrap();
            let mid = last.1 as f64 * 0.5 + last.2 as f64 * 0.5;
            let threshold = (config.spread_factor * usual).max(config.spread_bps_min * 1e-4 * mid);
            if let Some((at, quote)) = of_bar.iter().enumerate().find(|(_, quote)| spread(quote) > threshold) {
                rest = bar + config.spread_cooldown_bars as usize;
                let severity = multiple(spread(quote) / threshold);
                found.push((index + at, (Rule::Spread, 0, severity, spread(quote) / 1e9, usual / 1e9)));
            }
        }
        index += of_bar.len();
    }
    found
}

/// Breakouts and volume spikes of one symbol's trades, each with the index of the trade that brought it about.
fn naive(config: &Config, trades: &[Seen]) -> Vec<(usize, Found)> {
    let bars = bars(trades);
    let mut found = Vec::new();
    let (mut above, mut below): (Option<usize>, Option<usize>) = (None, None);
    let mut index = 0;
    for (bar, of_bar) in bars.iter().enumerate() {
        let range = (config.breakout_bars as usize <= bar).then(|| {
            let prices = bars[bar - config.breakout_bars as usize..bar].iter().flat_map(|bar| bar.iter().map(|t| t.1));
            (prices.clone().max().unwrap(), prices.min().unwrap())
        });
        let alpha = 2.0 / (f64::from(config.spike_bars) + 1.0);
        let volume = |bar: &[Seen]| bar.iter().map(|trade| trade.2).sum::<f64>();
        let usual = (config.spike_bars as usize <= bar).then(|| {
            let first = volume(bars[0]);
            bars[1..bar].iter().fold(first, |ema, bar| (1.0 - alpha) * ema + alpha * volume(bar))
        });
        let mut spiked = false;
        for (i, trade) in of_bar.iter().enumerate() {
            let rested = |last: Option<usize>| last.is_none_or(|l| bar >= l + config.breakout_cooldown_bars as usize);
            if let Some((high, low)) = range {
                let (price, width) = (i128::from(trade.1), i128::from(high) - i128::from(low));
                let severity = |excess: i128| match () {
                    () if width == 0 => 1,
                    () if excess >= width => 3,
                    () if 2 * excess >= width => 2,
                    () => 1,
                };
                if trade.1 > high && rested(above) {
                    above = Some(bar);
                    let severity = severity(price - i128::from(high));
                    let alert = (Rule::Breakout, Side::Bid as u8, severity, trade.1 as f64 / 1e9, high as f64 / 1e9);
                    found.push((index + i, alert));
                }
                if trade.1 < low && rested(below) {
                    below = Some(bar);
                    let severity = severity(i128::from(low) - price);
                    let alert = (Rule::Breakout, Side::Ask as u8, severity, trade.1 as f64 / 1e9, low as f64 / 1e9);
                    found.push((index + i, alert));
                }
            }
            if let Some(usual) = usual {
                let so_far = volume(&of_bar[..=i]);
                let threshold = config.spike_factor * usual;
                if so_far > threshold && !spiked {
                    spiked = true;
                    let severity = 1 + u8::from(so_far >= 2.0 * threshold) + u8::from(so_far >= 4.0 * threshold);
                    let side = if trade.3 <= 2 { trade.3 } else { 0 };
                    found.push((index + i, (Rule::VolumeSpike, side, severity, so_far, usual)));
                }
            }
        }
        index += of_bar.len();
    }
    found
}

/// Plays `events` into a scanner and into the twin. Returns the alerts compared, by number of the rule.
fn check(config: Config, events: &[At], symbols: u64, label: &str) -> [usize; 9] {
    let mut shard = MiniShard::new(Scanner::new(config).unwrap(), symbols as usize + 1);
    let mut trades: Vec<Vec<(u64, Seen)>> = vec![Vec::new(); symbols as usize + 1];
    let mut quotes: Vec<Vec<(u64, Quoted)>> = vec![Vec::new(); symbols as usize + 1];
    let mut skipped = vec![0; symbols as usize + 1];
    for at in events {
        shard.event(&at.slots());
        let now = shard.now().0;
        if at.is_past {
            continue;
        }
        match at.what {
            Market::Trade { price, size, .. } if price <= 0 || price == i64::MAX || size == 0 => {
                skipped[at.symbol.index()] += 1;
            }
            Market::Trade { price, size, side } => {
                let ten: f64 = format!("1e{}", at.scale.min(19)).parse().unwrap();
                trades[at.symbol.index()].push((at.seq, (now, price, size as f64 / ten, side)));
            }
            Market::Quote { bid_px, ask_px, .. } if bid_px <= 0 || ask_px < bid_px || ask_px == i64::MAX => {
                skipped[at.symbol.index()] += 1;
            }
            Market::Quote { bid_px, ask_px, .. } => quotes[at.symbol.index()].push((at.seq, (now, bid_px, ask_px))),
        }
    }
    assert_eq!(shard.timers(), 0);
    let mut compared = [0; 9];
    for id in 1..=symbols as usize {
        let symbol = SymbolId(id as u32);
        assert_eq!(shard.state(symbol).skipped(), skipped[id], "{label}, symbol {id}");
        assert_eq!(shard.state(symbol).unpublished(), 0);
        let (seqs, seen): (Vec<u64>, Vec<Seen>) = trades[id].iter().copied().unzip();
        let (quote_seqs, quoted): (Vec<u64>, Vec<Quoted>) = quotes[id].iter().copied().unzip();
        // By the event that brought it about; of one trade, those of the bar that it closes come first.
        let of_closes = naive_closes(&config, &seen).into_iter().chain(naive(&config, &seen));
        let of_trades = of_closes.map(|(trade, found)| (seqs[trade], found));
        let of_quotes = naive_spreads(&config, &quoted).into_iter().map(|(quote, found)| (quote_seqs[quote], found));
        let mut expected: Vec<(u64, Found)> = of_trades.chain(of_quotes).collect();
        expected.sort_by_key(|(seq, _)| *seq);
        let made: Vec<_> = shard.outputs().filter(|event| event.head().symbol == symbol).collect();
        for (event, (seq, (rule, side, severity, value, reference))) in made.iter().zip(&expected) {
            let place = format!("{label}, symbol {id}, event {seq} ({rule:?})");
            assert_eq!(event.head().seq, *seq, "{place}: by that event");
            let alert = event.get::<Alert>().unwrap();
            let got = (Rule::from_u16(alert.rule), alert.side, alert.severity);
            assert_eq!(got, (Some(*rule), *side, *severity), "{place}");
            assert!(alert.value.is_finite() && alert.reference.is_finite(), "{place}: {alert:?}");
            assert!((alert.value - value).abs() <= 1e-9 * value.abs(), "{place}: {alert:?}, value {value}");
            assert!((alert.reference - reference).abs() <= 1e-9 * reference.abs(), "{place}: {alert:?}, {reference}");
            compared[*rule as usize] += 1;
        }
        assert_eq!(made.len(), expected.len(), "{label}, symbol {id}");
    }
    compared
}

fn configs() -> [Config; 4] {
    [
        Config::default(),
        Config {
            breakout_bars: 1,
            spike_bars: 1,
            spike_factor: 1.0,
            volatility_fast_bars: 1,
            volatility_slow_bars: 1,
            volatility_factor: 1.0,
            momentum_bars: 1,
            momentum_factor: 1.0,
            momentum_cooldown_bars: 1,
            gap_bps: 1,
            spread_bars: 1,
            spread_factor: 1.0,
            spread_bps_min: 0.0,
            spread_cooldown_bars: 1,
            ..Config::default()
        },
        Config {
            breakout_bars: 32,
            breakout_cooldown_bars: 5,
            spike_bars: 3,
            spike_factor: 2.5,
            volatility_fast_bars: 3,
            volatility_slow_bars: 30,
            volatility_factor: 1.5,
            momentum_bars: 32,
            momentum_factor: 1.2,
            momentum_cooldown_bars: 3,
            gap_bps: 20,
            spread_bars: 5,
            spread_factor: 1.5,
            spread_cooldown_bars: 2,
            ..Config::default()
        },
        Config {
            breakout_bars: 7,
            breakout_cooldown_bars: 40,
            spike_bars: 60,
            spike_factor: 10.0,
            volatility_fast_bars: 20,
            volatility_slow_bars: 60,
            volatility_factor: 1.2,
            momentum_bars: 7,
            momentum_factor: 2.0,
            momentum_cooldown_bars: 20,
            gap_bps: 10,
            spread_bars: 20,
            spread_factor: 1.1,
            spread_bps_min: 2.0,
            spread_cooldown_bars: 1,
        },
    ]
}

#[test]
fn alerts_equal_those_of_a_twin_that_looks_at_the_whole_past() {
    for (c, config) in configs().into_iter().enumerate() {
        let mut total = [0; 9];
        for seed in 0..25 {
            let compared = check(config, &stream(seed, 4_000, 2, 0), 2, &format!("config {c}, seed {seed}"));
            total.iter_mut().zip(compared).for_each(|(total, compared)| *total += compared);
        }
        // The default is made for markets, not for this stream.
        let of_rules = if c == 0 { &total[1..=2] } else { &total[1..=6] };
        assert!(of_rules.iter().all(|count| *count > 100), "config {c}: {total:?} alerts only");
    }
}

#[test]
fn req_s1_nasty_values_neither_poison_nor_stop_the_scanner() {
    for (c, config) in configs().into_iter().enumerate() {
        for seed in 0..25 {
            for nasty in [3, 12, 60] {
                let label = format!("config {c}, seed {seed}, nasty {nasty}");
                check(config, &stream(seed, 1_000, 2, nasty), 2, &label);
            }
        }
    }
}

#[test]
fn outputs_do_not_depend_on_polls_or_on_other_symbols() {
    for seed in 100..120 {
        let events = stream(seed, 3_000, 3, 30);
        let mut plain = MiniShard::new(Scanner::default(), 4);
        let mut polled = MiniShard::new(Scanner::default(), 4);
        let mut alone: Vec<_> = (0..4).map(|_| MiniShard::new(Scanner::default(), 4)).collect();
        let mut prng = Prng::new(seed);
        for at in &events {
            let before = polled.now().0;
            plain.event(&at.slots());
            if at.ts_recv > before {
                polled.tick(UnixNanos(before + prng.below(at.ts_recv - before)));
            }
            polled.event(&at.slots());
            for shard in &mut alone {
                shard.tick(UnixNanos(at.ts_recv));
            }
            alone[at.symbol.index()].event(&at.slots());
        }
        assert!(!plain.output_slots().is_empty(), "seed {seed}");
        assert!(plain.output_slots() == polled.output_slots(), "seed {seed}");
        for (id, shard) in alone.iter().enumerate() {
            let of_symbol: Vec<_> =
                plain.output_slots().iter().filter(|slots| slots[0].symbol.index() == id).cloned().collect();
            assert!(of_symbol == shard.output_slots(), "seed {seed}, symbol {id}");
        }
    }
}

fn trade(second: u64, price: i64, size: u64, side: Side) -> At {
    let what = Market::Trade { price: price * 1_000_000_000, size, side: side as u8 };
    At { ts_recv: NOON + second * SECOND, symbol: ETH, scale: 0, seq: second, is_past: false, what }
}

fn alerts(config: Config, events: &[At]) -> Vec<(u64, Alert)> {
    let mut shard = MiniShard::new(Scanner::new(config).unwrap(), 2);
    events.iter().for_each(|at| shard.event(&at.slots()));
    shard.outputs().map(|event| (event.head().seq, *event.get::<Alert>().unwrap())).collect()
}

#[test]
fn breakouts_by_hand() {
    let config = Config { breakout_bars: 3, spike_factor: 1e6, gap_bps: 10_000, ..Config::default() };
    let up = |value: f64, reference: f64, severity| {
        let (rule, side) = (Rule::Breakout as u16, Side::Bid as u8);
        Alert { value, reference, rule, severity, side, reserved: 0 }
    };
    let down = |value, reference, severity| Alert { side: Side::Ask as u8, ..up(value, reference, severity) };
    let found = alerts(
        config,
        &[
            trade(0, 100, 1, Side::None),
            trade(1, 104, 1, Side::None),
            // Two bars have closed: not ready, whatever the price.
            trade(5, 96, 1, Side::None),
            // Range 96 to 104: its edges are inside.
            trade(6, 104, 1, Side::None),
            trade(6, 96, 1, Side::None),
            trade(6, 105, 1, Side::None),
            trade(6, 106, 1, Side::None),
            trade(6, 92, 1, Side::None),
            trade(6, 80, 1, Side::None),
            // The range is now 80 to 106, of the bars at 1, 5 and 6.
            trade(7, 106, 1, Side::None),
            trade(9, 132, 1, Side::None),
            // 80 to 132; then 92 leaves with the bar at 6 only after two more.
            trade(10, 79, 1, Side::None),
            trade(11, 79, 1, Side::None),
        ],
    );
    let expected =
        [(6, up(105.0, 104.0, 1)), (6, down(92.0, 96.0, 2)), (9, up(132.0, 106.0, 3)), (10, down(79.0, 80.0, 1))];
    assert_eq!(found, expected);
}

#[test]
fn volume_spikes_by_hand() {
    let config = Config { spike_bars: 2, spike_factor: 2.0, breakout_bars: 32, ..Config::default() };
    let spike = |value, reference, severity, side: Side| {
        let (rule, side) = (Rule::VolumeSpike as u16, side as u8);
        Alert { value, reference, rule, severity, side, reserved: 0 }
    };
    let found = alerts(
        config,
        &[
            trade(0, 100, 30, Side::Bid),
            // One bar has closed: not ready.
            trade(1, 100, 300, Side::Bid),
            // EMA 30 + 2/3 (300 - 30) = 210: 420 is not above twice that, 421 is; once a bar.
            trade(2, 100, 420, Side::Bid),
            trade(2, 100, 1, Side::Ask),
            trade(2, 100, 5_000, Side::Bid),
            // EMA 210 + 2/3 (5421 - 210) = 3684.
            trade(3, 100, 4 * 2 * 3_684, Side::Bid),
        ],
    );
    assert_eq!(found, [(2, spike(421.0, 210.0, 1, Side::Ask)), (3, spike(29_472.0, 3_684.0, 3, Side::Bid))]);
}

#[test]
fn halts_by_hand() {
    let mut shard = MiniShard::new(Scanner::default(), 2);
    for (second, action) in [(0, 7), (1, 8), (2, 8), (5, 7)] {
        let mut event = EventBuf::new(&Status { action, reason: 2, ..Status::default() });
        let head = event.head_mut();
        (head.ts_recv, head.seq, head.symbol) = (UnixNanos(NOON + second * SECOND), second, ETH);
        shard.event(event.slots());
    }
    let found: Vec<(u64, Alert)> =
        shard.outputs().map(|event| (event.head().seq, *event.get::<Alert>().unwrap())).collect();
    let halt = Alert { value: 8.0, reference: 2.0, rule: Rule::Halt as u16, severity: 3, ..Alert::default() };
    let resume = Alert { value: 7.0, reference: 4.0, rule: Rule::Resume as u16, severity: 1, ..Alert::default() };
    assert_eq!(found, [(1, halt), (5, resume)]);
}

#[test]
fn a_bad_configuration_is_refused_and_the_state_is_zero_when_new() {
    let bad = Config { breakout_bars: 33, ..Config::default() };
    assert!(matches!(Scanner::new(bad), Err(ConfigError::BreakoutBars(33))));
    assert_eq!(Scanner::default().config().check(), Ok(()));
    assert_eq!(Scanner::default().interests(), KindSet::of(&[Kind::TRADE, Kind::QUOTE, Kind::STATUS]));
    assert_eq!(State::default(), State::zeroed());
    assert_eq!((size_of::<State>(), align_of::<State>()), (18 * 64, 64));
    const { assert!(!Scanner::ROLLBACK) };
}
