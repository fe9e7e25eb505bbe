//! A seeded stream of trades and quotes, most of them sound and some of them nasty.

// Each test file that includes this module uses a part of it.
#![allow(dead_code)]

use tapeline_core::event::payload::{Quote, QuoteWide, Trade};
use tapeline_core::event::{EventBuf, Flags, Slot};
use tapeline_core::units::{SourceId, SymbolId, UnixNanos};

pub(crate) const SECOND: u64 = 1_000_000_000;
pub(crate) const DAY: u64 = 86_400 * SECOND;

/// splitmix64.
#[derive(Clone, Debug)]
pub(crate) struct Prng(u64);

impl Prng {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    /// 0 to `n` - 1.
    pub(crate) fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    pub(crate) fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    pub(crate) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
    }
}

/// One market event, in plain words.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Market {
    Trade { price: i64, size: u64, side: u8 },
    Quote { bid_px: i64, ask_px: i64, bid_sz: u64, ask_sz: u64 },
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct At {
    pub(crate) ts_recv: u64,
    pub(crate) symbol: SymbolId,
    pub(crate) scale: u8,
    pub(crate) seq: u64,
    /// Whether it is history, which live features and rules do not look at.
    pub(crate) is_past: bool,
    pub(crate) what: Market,
}

impl At {
    /// The event as its slots; sizes beyond 32 bits (and, by `seq`, some others) in the wide layout.
    pub(crate) fn slots(&self) -> Vec<Slot> {
        let mut event = match self.what {
            Market::Trade { price, size, side } => EventBuf::new(&Trade { price, size, side, ..Trade::default() }),
            Market::Quote { bid_px, ask_px, bid_sz, ask_sz } => match (u32::try_from(bid_sz), u32::try_from(ask_sz)) {
                (Ok(bid_sz), Ok(ask_sz)) if !self.seq.is_multiple_of(5) => {
                    EventBuf::new(&Quote { bid_px, ask_px, bid_sz, ask_sz })
                }
                _ => {
                    let mut event = EventBuf::new(&Quote { bid_px, ask_px, bid_sz: 0, ask_sz: 0 });
                    event.flag(Flags::WIDE);
                    event.push_value(&QuoteWide { bid_sz, ask_sz, ..QuoteWide::default() }).unwrap();
                    event
                }
            },
        };
        let head = event.head_mut();
        head.ts_recv = UnixNanos(self.ts_recv);
        head.ts_event = UnixNanos::UNKNOWN;
        head.seq = self.seq;
        head.symbol = self.symbol;
        head.source = SourceId(1);
        head.scale = self.scale;
        if self.is_past {
            event.flag(Flags::HISTORICAL);
        }
        event.slots().to_vec()
    }
}

const NASTY_PRICES: [i64; 10] =
    [i64::MAX, i64::MAX - 1, i64::MIN, -1, 0, 1, 2, -1_000_000_000, 4_000_000_000_000_000_000, 1_000_000_000];
const NASTY_SIZES: [u64; 5] = [0, 1, u64::MAX, 1 << 32, u32::MAX as u64];
const NASTY_SCALES: [u8; 4] = [0, 18, 19, 255];

/// `count` events of `symbols` symbols (ids from 1). With `nasty` = n, about one value in n is a nasty one; 0 = none.
/// The stream begins a little before a session's end, and its clock stands, runs, jumps, and goes back at times.
pub(crate) fn stream(seed: u64, count: usize, symbols: u64, nasty: u64) -> Vec<At> {
    let mut prng = Prng::new(seed);
    let mut now = 19_943 * DAY - 20 * SECOND;
    let mut mid = vec![100_000_000_000i64; symbols as usize + 1];
    (0..count as u64)
        .map(|seq| {
            now += match prng.below(400) {
                0 => DAY - prng.below(40 * SECOND),
                1..=12 => prng.below(5 * SECOND),
                13..=20 => SECOND - now % SECOND,
                21..=28 => SECOND - now % SECOND - 1,
                29..=60 => 0,
                _ => prng.below(300_000_000),
            };
            let ts_recv = if prng.one_in(20) { now - prng.below(3 * SECOND) } else { now };
            let symbol = SymbolId(1 + prng.below(symbols) as u32);
            let mid = &mut mid[symbol.index()];
            *mid = (*mid + prng.below(200_001) as i64 * 1_000 - 100_000_000).clamp(1_000_000_000, 1_000_000_000_000);
            let bad = |prng: &mut Prng| nasty != 0 && prng.one_in(nasty);
            let price = |prng: &mut Prng, near: i64| if bad(prng) { prng.pick(&NASTY_PRICES) } else { near };
            let what = if prng.one_in(3) {
                Market::Trade { price: price(&mut prng, *mid), size: 0, side: prng.below(4) as u8 }
            } else {
                let half = prng.below(5) as i64 * 5_000_000;
                let (bid_px, ask_px) = (price(&mut prng, *mid - half), price(&mut prng, *mid + half));
                Market::Quote { bid_px, ask_px, bid_sz: 0, ask_sz: 0 }
            };
            let bad = |prng: &mut Prng| nasty != 0 && prng.one_in(nasty);
            let size = |prng: &mut Prng| if bad(prng) { prng.pick(&NASTY_SIZES) } else { 1 + prng.below(1_000_000) };
            let what = match what {
                Market::Trade { price, side, .. } => {
                    // Now and then a burst, for the scanner.
                    let burst = if prng.one_in(60) { 50 } else { 1 };
                    Market::Trade { price, size: size(&mut prng).saturating_mul(burst), side }
                }
                Market::Quote { bid_px, ask_px, .. } => {
                    Market::Quote { bid_px, ask_px, bid_sz: size(&mut prng), ask_sz: size(&mut prng) }
                }
            };
            let scale = if bad(&mut prng) { prng.pick(&NASTY_SCALES) } else { 4 };
            At { ts_recv, symbol, scale, seq, is_past: seq.is_multiple_of(7), what }
        })
        .collect()
}
