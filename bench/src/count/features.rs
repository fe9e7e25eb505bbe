//! The features engine: what a trade, a quote and the close of a bar cost; twenty indicators, ours and the peers'.

use super::Row;
use crate::features::{self, BATCH, Indicators, Tick, Work};
use std::hint::black_box;
use tapeline_core::event::payload::{Quote, Trade};
use tapeline_core::event::{EventBuf, EventRef, Identity, Slot};
use tapeline_core::features::{Engine, State};
use tapeline_core::handler::{CallSite, Ctx, Handler, Staging, Verdict};
use tapeline_core::limits::TICK_NS;
use tapeline_core::units::{PRICE_ONE, SourceId, SymbolId, UnixNanos};

/// Operations per call of a counted function.
const OPERATIONS: usize = 512;
/// Start of the first bar.
const START_NS: u64 = 1_700_000_000_000_000_000;
const SECOND_NS: u64 = 1_000_000_000;
/// Bars before the first that is counted: everything but the seasonal average has warmed up.
const WARM_UP_BARS: u64 = 100;

/// One symbol's features, and what a call of a handler needs.
struct Rig {
    engine: Engine,
    state: State,
    staging: Staging,
    trades: Vec<Slot>,
    quotes: Vec<Slot>,
    /// Bars that were closed.
    bars: u64,
}

fn site(now_ns: u64, timer_ns: u64) -> CallSite {
    CallSite {
        now: UnixNanos(now_ns),
        tick_ns: TICK_NS,
        symbol: SymbolId(1),
        ts_event: UnixNanos(now_ns),
        root: Identity::default(),
        timer_ns,
        timer: timer_ns,
        seed: 1,
        handler: 0,
        source: SourceId(1),
        crosses_symbols: false,
    }
}

impl Rig {
    /// Features that have warmed up.
    fn new() -> Self {
        // Prices that walk up and down by a tick or two, sizes of two digits.
        let wave = |i: i64| (i * 7 % 11 + i * 3 % 5) * PRICE_ONE / 100;
        let slot = |event: EventBuf| {
            let mut slot = event.slots()[0];
            slot.scale = 2;
            slot
        };
        let trade = |i: i64| {
            let trade = Trade { price: 100 * PRICE_ONE + wave(i), size: 10 + (i % 7) as u64, ..Trade::default() };
            slot(EventBuf::new(&trade))
        };
        let quote = |i: i64| {
            let (bid_px, ask_px) = (99 * PRICE_ONE + wave(i), 101 * PRICE_ONE + wave(i));
            slot(EventBuf::new(&Quote { bid_px, ask_px, bid_sz: 10 + (i % 7) as u32, ask_sz: 9 }))
        };
        let mut rig = Self {
            engine: Engine::new(),
            state: State::default(),
            staging: Staging::new(),
            trades: (0..OPERATIONS as i64).map(trade).collect(),
            quotes: (0..OPERATIONS as i64).map(quote).collect(),
            bars: 0,
        };
        for _ in 0..WARM_UP_BARS {
            rig.event(false, 0);
            rig.event(true, 0);
            rig.close();
        }
        rig
    }

    /// A trade or a quote, in the open bar.
    #[inline(always)]
    fn event(&mut self, is_quote: bool, index: usize) {
        let now_ns = START_NS + self.bars * SECOND_NS + 1 + index as u64;
        let slots = if is_quote { &self.quotes } else { &self.trades };
        let event = EventRef::single(&slots[(index + self.bars as usize) % OPERATIONS]);
        let verdict =
            self.engine.on_event(&mut self.state, black_box(event), &mut Ctx::new(site(now_ns, 0), &mut self.staging));
        assert!(verdict == Verdict::Done, "the engine never fails");
    }

    /// The open bar ends.
    #[inline(always)]
    fn close(&mut self) {
        self.bars += 1;
        let end_ns = START_NS + self.bars * SECOND_NS;
        let cx = &mut Ctx::new(site(end_ns, end_ns), &mut self.staging);
        assert!(self.engine.on_timer(&mut self.state, end_ns, cx) == Verdict::Done, "the engine never fails");
        self.staging.clear();
    }
}

#[inline(never)]
fn count_features_trade(rig: &mut Rig) {
    for index in 0..OPERATIONS {
        rig.event(false, index);
    }
}

#[inline(never)]
fn count_features_quote(rig: &mut Rig) {
    for index in 0..OPERATIONS {
        rig.event(true, index);
    }
}

#[inline(never)]
fn count_features_bar(rig: &mut Rig) {
    for _ in 0..OPERATIONS {
        rig.event(false, 0);
        rig.close();
    }
}

#[inline(never)]
fn count_features_indicators<I: Indicators>(indicators: &mut I, ticks: &[Tick]) {
    features::run(indicators, ticks);
}

pub(super) fn rows() -> Vec<Row> {
    let row = |contender: &str| {
        let name = format!("features, twenty indicators, {contender}");
        let arguments = ["features", "indicators", contender];
        Row::new(&name, &arguments, "count_features_indicators", contender == "tapeline")
    };
    let mut rows = vec![row("tapeline")];
    if cfg!(feature = "peers") {
        rows.extend(["yata", "kand"].map(row));
    }
    rows.extend(engine_rows());
    rows
}

fn engine_rows() -> [Row; 3] {
    [
        ("features, a trade", "trade", "count_features_trade"),
        ("features, a quote", "quote", "count_features_quote"),
        ("features, a trade and its bar's close", "bar", "count_features_bar"),
    ]
    .map(|(name, operation, function)| Row::new(name, &["features", operation], function, true))
}

/// Runs the twenty indicators of `contender` and returns how many ticks.
pub(super) fn run_indicators(contender: &str, rounds: usize) -> Option<u64> {
    fn run<I: Indicators>(rounds: usize) {
        let mut work = Work::<I>::new(1);
        for _ in 0..rounds {
            let (indicators, ticks) = work.batch();
            count_features_indicators(indicators, ticks);
        }
    }
    match contender {
        "tapeline" => run::<features::Ours>(rounds),
        #[cfg(feature = "peers")]
        "yata" => run::<features::Yata>(rounds),
        #[cfg(feature = "peers")]
        "kand" => run::<features::Kand>(rounds),
        _ => return None,
    }
    Some((rounds * BATCH) as u64)
}

/// Runs `operation` and returns how often.
pub(super) fn run_loop(operation: &str, rounds: usize) -> Option<u64> {
    let counted = match operation {
        "trade" => count_features_trade,
        "quote" => count_features_quote,
        "bar" => count_features_bar,
        _ => return None,
    };
    let mut rig = Rig::new();
    (0..rounds).for_each(|_| counted(&mut rig));
    Some((rounds * OPERATIONS) as u64)
}
