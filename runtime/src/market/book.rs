//! One symbol's market: ten levels on each side of a tick grid, and a few orders that are told one by one.
//!
//! The best prices change in [`Instrument::step`] alone, which a quote follows at once. So a symbol's quotes are the
//! full history of its best prices, and whatever else is told in between agrees with the last quote: trades happen at
//! its bid or ask, and no order rests beyond them.

use super::prng::Prng;
use tapeline_core::event::payload::LevelAction;
use tapeline_core::units::{PRICE_ONE, Side};

/// Levels on each side, without holes: level i is i ticks from the best.
pub(super) const LEVELS: usize = 10;
/// Orders of a symbol that live at one time.
pub(super) const ORDERS: usize = 16;
/// A tick: 0.01.
pub(super) const TICK: i64 = PRICE_ONE / 100;
/// Lowest bid in ticks: the lowest level has a price above 0.
const TICKS_MIN: i32 = 2 * LEVELS as i32;
/// Highest ask in ticks: 100,000.00.
const TICKS_MAX: i32 = 10_000_000;
/// Start prices: log-normal about 50.00, kept between 2.00 and 2,000.00.
const START_MEDIAN: f64 = 50.0;
/// Most lots of a level.
const LOTS_MAX: u32 = 1_000;

/// Chance of a step to move a price, in 1/65536, in a quiet market.
const MOVE_CHANCE: u32 = 2_000;
/// What recent moves, trades and bursts add to it at most.
const HEAT_MAX: u32 = 20_000;
/// What one move adds to the heat, which falls by a part in [`HEAT_STEPS`] with each step. A move causes 0.68 further
/// ones on average (1,400 * 32 / 65,536): below 1, so that excitement dies down.
const HEAT_MOVE: u32 = 1_400;
/// What one trade adds.
const HEAT_TRADE: u32 = 32;
/// What each step in a burst adds.
const HEAT_BURST: u32 = 256;
/// Steps in which the heat falls to 1/e.
const HEAT_STEPS: u32 = 32;
const _: () = assert!(HEAT_MOVE * HEAT_STEPS < 1 << 16, "a move causes less than one further move");
/// Bound on the pressure of recent trades, in trades.
const PRESSURE_MAX: i32 = 8;

const BID: usize = 0;
const ASK: usize = 1;
/// Ticks from a level to the next deeper one, and the side's name, by side.
const DEEPER: [i32; 2] = [-1, 1];
/// Names of the sides by index.
pub(super) const SIDES: [Side; 2] = [Side::Bid, Side::Ask];

/// A ladder of levels: best price in ticks, and the sizes from there on, by side.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Ladder {
    best: [i32; 2],
    size: [[u32; LEVELS]; 2],
}

impl Ladder {
    fn price(&self, side: usize, level: usize) -> i32 {
        self.best[side] + DEEPER[side] * level as i32
    }

    /// Size at a price; `None` outside the levels.
    fn size_at(&self, side: usize, ticks: i32) -> Option<u32> {
        let level = (ticks - self.best[side]) * DEEPER[side];
        usize::try_from(level).ok().and_then(|level| self.size[side].get(level)).copied()
    }
}

/// A live order.
#[derive(Clone, Copy, Debug, Default)]
struct Order {
    id: u64,
    ticks: i32,
    size: u32,
    side: usize,
}

/// A price level that changed.
#[derive(Clone, Copy, Debug)]
pub(super) struct LevelChange {
    pub(super) side: Side,
    pub(super) action: LevelAction,
    pub(super) ticks: i32,
    pub(super) size: u32,
    pub(super) orders: u32,
}

/// Something that happened to an order, in DBN's terms: `C` takes `size` away from it, `F` tells of a fill (whose
/// effect is the `C` that follows), `M` gives it this price and size, `R` empties the book.
#[derive(Clone, Copy, Debug)]
pub(super) struct OrderChange {
    pub(super) action: u8,
    pub(super) id: u64,
    /// `None` for `R`.
    pub(super) ticks: Option<i32>,
    pub(super) size: u32,
    pub(super) side: Side,
}

/// A trade.
#[derive(Clone, Copy, Debug)]
pub(super) struct Print {
    pub(super) ticks: i32,
    pub(super) size: u32,
    pub(super) aggressor: Side,
}

/// Everything that the model remembers of one symbol.
#[derive(Clone, Debug)]
pub(super) struct Instrument {
    now: Ladder,
    /// The levels as the stream of level changes has told them.
    told: Ladder,
    orders: [Order; ORDERS],
    orders_live: usize,
    /// Chance of a move beyond [`MOVE_CHANCE`]: rises with moves, trades and bursts, and falls back. Clusters volatility.
    heat: u32,
    /// Buys minus sells of late: moves the price their way.
    pressure: i32,
    /// Smallest spread, in ticks.
    spread: i32,
    /// A round lot, as a mantissa under `scale`.
    lot: u32,
    last_aggressor: usize,
    /// Decimal exponent of the sizes.
    pub(super) scale: u8,
    pub(super) quoted: bool,
    /// Whether `told` is known: a snapshot was sent, and no gap came since.
    pub(super) levels_told: bool,
    pub(super) orders_told: bool,
    pub(super) quote_seq: u64,
    pub(super) trade_seq: u64,
    pub(super) level_seq: u64,
    last_ts_event: u64,
}

impl Instrument {
    /// A symbol of this rank among `symbols`. The most active twentieth has a spread of one tick if its price is low.
    pub(super) fn new(rank: u32, symbols: u32, prng: &mut Prng) -> Self {
        // Box and Muller's normal number.
        let (u, v) = (prng.unit(), prng.unit());
        let normal = libm::sqrt(-2.0 * libm::log(u)) * libm::cos(std::f64::consts::TAU * v);
        let price = (START_MEDIAN * libm::exp(normal)).clamp(2.0, 2_000.0);
        let bid = (price * 100.0) as i32;
        let own = if rank < symbols.div_ceil(20) { 1 } else { 1 + prng.below(4) as i32 };
        let spread = own + bid / 20_000;
        let scale = if rank % 4 == 3 { 2 } else { 0 };
        let mut instrument = Self {
            now: Ladder { best: [bid, bid + spread], ..Ladder::default() },
            told: Ladder::default(),
            orders: [Order::default(); ORDERS],
            orders_live: 0,
            heat: 0,
            pressure: 0,
            spread,
            // 100 pieces; of what is traded in hundredths, a quarter.
            lot: if scale == 0 { 100 } else { 25 },
            last_aggressor: BID,
            scale,
            quoted: false,
            levels_told: false,
            orders_told: false,
            quote_seq: 0,
            trade_seq: 0,
            level_seq: 0,
            last_ts_event: 0,
        };
        for side in [BID, ASK] {
            for level in 0..LEVELS {
                instrument.now.size[side][level] = instrument.size(prng.next());
            }
        }
        instrument
    }

    /// The source's time for something received at `ts_recv`: `delay_ns` before it, but never before what the source
    /// said earlier of this symbol.
    #[inline]
    pub(super) fn ts_event(&mut self, ts_recv: u64, delay_ns: u64) -> u64 {
        self.last_ts_event = self.last_ts_event.max(ts_recv - delay_ns);
        self.last_ts_event
    }

    /// Best bid and ask: prices in ticks and sizes.
    #[inline]
    pub(super) fn top(&self) -> ([i32; 2], [u32; 2]) {
        (self.now.best, [self.now.size[BID][0], self.now.size[ASK][0]])
    }

    /// Price in ticks, size and orders of a level.
    pub(super) fn level(&self, side: usize, level: usize) -> (i32, u32, u32) {
        let size = self.now.size[side][level];
        (self.now.price(side, level), size, self.order_count(size))
    }

    /// A quote's worth of change: the size at one side's best, and at times a price. O(1).
    #[inline]
    pub(super) fn step(&mut self, prng: &mut Prng, burst: bool) {
        let bits = prng.next();
        self.heat -= self.heat / HEAT_STEPS;
        if burst {
            self.heat = (self.heat + HEAT_BURST).min(HEAT_MAX);
        }
        let (side, change) = ((bits & 1) as usize, self.size(bits >> 40));
        let best = &mut self.now.size[side][0];
        *best = if bits & 2 == 0 { (*best + change).min(self.lot * LOTS_MAX) } else { (*best / 2).max(self.lot) };
        if ((bits >> 8 & 0xffff) as u32) < MOVE_CHANCE + self.heat {
            self.step_price(bits >> 24 & 0xffff, bits & 4 == 0, prng.next());
        }
        self.pressure -= self.pressure.signum();
    }

    /// Moves one side's best by a tick: up with the weight of the bid and recent buys, else down.
    fn step_price(&mut self, draw: u64, narrow: bool, size_bits: u64) {
        self.heat = (self.heat + HEAT_MOVE).min(HEAT_MAX);
        let (best, [bid_size, ask_size]) = self.top();
        let weight = (i64::from(bid_size) - i64::from(ask_size)) * 8_192 / (i64::from(bid_size) + i64::from(ask_size));
        let chance_up = 32_768 + weight + i64::from(self.pressure) * 2_048;
        let up = best[BID] <= TICKS_MIN || best[ASK] < TICKS_MAX && (draw as i64) < chance_up;
        // A spread above the smallest may narrow, and one that is too wide for the heat does: never below the smallest.
        let spread = best[ASK] - best[BID];
        let narrows = spread > self.spread && (narrow || spread > self.spread + (self.heat >> 13) as i32);
        let size = self.size(size_bits);
        match (up, narrows) {
            (true, true) => self.improve(BID, size),
            (true, false) => self.retreat(ASK, size),
            (false, true) => self.improve(ASK, size),
            (false, false) => self.retreat(BID, size),
        }
    }

    /// A new best level; the deepest falls out of sight.
    fn improve(&mut self, side: usize, size: u32) {
        self.now.best[side] -= DEEPER[side];
        self.now.size[side].copy_within(..LEVELS - 1, 1);
        self.now.size[side][0] = size;
    }

    /// The best level is gone; another comes in sight at the bottom.
    fn retreat(&mut self, side: usize, size: u32) {
        self.now.best[side] += DEEPER[side];
        self.now.size[side].copy_within(1.., 0);
        self.now.size[side][LEVELS - 1] = size;
    }

    /// A trade at the bid or the ask, whose aggressor is mostly that of the trade before.
    #[inline]
    pub(super) fn trade(&mut self, prng: &mut Prng) -> Print {
        let bits = prng.next();
        // 45 in 64 keep the side: order flow is persistent.
        if bits & 63 >= 45 {
            self.last_aggressor ^= 1;
        }
        let (aggressor, passive) = (self.last_aggressor, self.last_aggressor ^ 1);
        let wanted = match bits >> 6 & 3 {
            0 => 1 + (bits >> 8) as u32 % self.lot,
            _ => self.lot * (1 + (bits >> 8 & 7) as u32),
        };
        let best = &mut self.now.size[passive][0];
        let size = wanted.min(*best);
        // Others stand ready behind: the level itself goes only in a step, which a quote tells.
        *best = (*best - size).max(self.lot);
        let push = if aggressor == BID { 1 } else { -1 };
        self.pressure = (self.pressure + push).clamp(-PRESSURE_MAX, PRESSURE_MAX);
        self.heat = (self.heat + HEAT_TRADE).min(HEAT_MAX);
        Print { ticks: self.now.best[passive], size, aggressor: SIDES[aggressor] }
    }

    /// All levels, best first, bids before asks, as a snapshot tells them after its clear.
    pub(super) fn levels_snapshot(&mut self, mut tell: impl FnMut(LevelChange)) {
        self.told = self.now;
        self.levels_told = true;
        for side in [BID, ASK] {
            for level in 0..LEVELS {
                let (ticks, size, orders) = self.level(side, level);
                tell(LevelChange { side: SIDES[side], action: LevelAction::Set, ticks, size, orders });
            }
        }
    }

    /// Changes one to three levels below the best and tells all that changed since the last telling: at least one
    /// change, at most 40, deletions first.
    pub(super) fn levels_changed(&mut self, prng: &mut Prng, mut tell: impl FnMut(LevelChange)) {
        let bits = prng.next();
        for i in 0..1 + (bits & 3) % 3 {
            let draw = bits >> (8 + 16 * i);
            let (side, level) = ((draw & 1) as usize, 1 + (draw >> 1) as usize % (LEVELS - 1));
            self.now.size[side][level] = self.size(prng.next());
        }
        if self.now == self.told {
            // The new sizes happen to be the old ones: so that there is something to tell in every case.
            let size = &mut self.now.size[BID][LEVELS - 1];
            *size = if *size > self.lot { *size - self.lot } else { *size + self.lot };
        }
        for side in [BID, ASK] {
            for level in 0..LEVELS {
                let ticks = self.told.price(side, level);
                if self.now.size_at(side, ticks).is_none() {
                    tell(LevelChange { side: SIDES[side], action: LevelAction::Delete, ticks, size: 0, orders: 0 });
                }
            }
        }
        for side in [BID, ASK] {
            for level in 0..LEVELS {
                let (ticks, size, orders) = self.level(side, level);
                if self.told.size_at(side, ticks) != Some(size) {
                    tell(LevelChange { side: SIDES[side], action: LevelAction::Set, ticks, size, orders });
                }
            }
        }
        self.told = self.now;
    }

    /// One message of the stream of orders: first those that the market has passed are filled (cancelled when
    /// trading is halted), then one order is added, modified, cancelled or partly filled. 1 to 34 changes.
    pub(super) fn orders_changed(
        &mut self,
        prng: &mut Prng,
        halted: bool,
        next_id: &mut u64,
        mut tell: impl FnMut(OrderChange),
    ) {
        if !self.orders_told {
            self.orders_told = true;
            tell(OrderChange { action: b'R', id: 0, ticks: None, size: 0, side: Side::None });
        }
        let best = self.now.best;
        let mut index = 0;
        while index < self.orders_live {
            let order = self.orders[index];
            if (order.ticks - best[order.side]) * DEEPER[order.side] < 0 {
                self.take(index, order.size, !halted, &mut tell);
            } else {
                index += 1;
            }
        }
        let bits = prng.next();
        let choice = bits & 0xff;
        if self.orders_live == 0 || self.orders_live < ORDERS && choice < 130 {
            let (side, level) = ((bits >> 8 & 1) as usize, (bits >> 9 & 0xff) as usize % LEVELS);
            let size = self.size(bits >> 40);
            *next_id += 1;
            let order = Order { id: *next_id, ticks: self.now.price(side, level), size, side };
            self.orders[self.orders_live] = order;
            self.orders_live += 1;
            tell(order.change(b'A', size));
            return;
        }
        let index = (bits >> 32) as usize % self.orders_live;
        let order = self.orders[index];
        if order.ticks == best[order.side] && choice.is_multiple_of(2) && !halted {
            let part = 1 + (bits >> 48) as u32 % order.size;
            self.take(index, part, true, &mut tell);
        } else if choice % 4 == 1 {
            let order = &mut self.orders[index];
            order.size = (order.size / 2).max(1);
            let (changed, size) = (*order, order.size);
            tell(changed.change(b'M', size));
        } else {
            self.take(index, order.size, false, &mut tell);
        }
    }

    /// Takes `size` of an order away, because it was filled or not; an order of which nothing is left is gone.
    fn take(&mut self, index: usize, size: u32, filled: bool, tell: &mut impl FnMut(OrderChange)) {
        let order = self.orders[index];
        if filled {
            tell(order.change(b'F', size));
        }
        tell(order.change(b'C', size));
        if size < order.size {
            self.orders[index].size -= size;
        } else {
            self.orders_live -= 1;
            self.orders[index] = self.orders[self.orders_live];
        }
    }

    /// A level's or order's size: mostly up to 32 lots, one in four up to 125.
    #[inline]
    fn size(&self, bits: u64) -> u32 {
        let lots = 1 + (bits & 31) as u32;
        self.lot * if bits >> 5 & 3 == 0 { lots * 4 - 3 } else { lots }
    }

    fn order_count(&self, size: u32) -> u32 {
        1 + size / (8 * self.lot)
    }
}

impl Order {
    fn change(&self, action: u8, size: u32) -> OrderChange {
        OrderChange { action, id: self.id, ticks: Some(self.ticks), size, side: SIDES[self.side] }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    /// What a reader of the level stream knows, by side and price.
    #[derive(Default)]
    struct Reader(BTreeMap<(u8, i32), u32>);

    impl Reader {
        fn take(&mut self, change: LevelChange) {
            let key = (change.side as u8, change.ticks);
            match change.action {
                LevelAction::Set => {
                    assert!(change.size > 0 && change.orders > 0);
                    self.0.insert(key, change.size);
                }
                LevelAction::Delete => assert!(self.0.remove(&key).is_some(), "deletes what it knows: {change:?}"),
                LevelAction::Clear => self.0.clear(),
            }
        }

        fn equals(&self, instrument: &Instrument) -> bool {
            let levels = (0..2).flat_map(|side| {
                (0..LEVELS).map(move |level| {
                    let (ticks, size, _) = instrument.level(side, level);
                    ((SIDES[side] as u8, ticks), size)
                })
            });
            levels.collect::<BTreeMap<_, _>>() == self.0
        }
    }

    #[test]
    fn a_reader_of_the_changes_has_the_levels_after_each_message() {
        for seed in 0..20 {
            let mut prng = Prng::new(seed, 0);
            let mut instrument = Instrument::new(seed as u32, 20, &mut prng);
            let mut reader = Reader::default();
            instrument.levels_snapshot(|change| reader.take(change));
            assert!(reader.equals(&instrument), "seed {seed}: snapshot");
            for round in 0..2_000 {
                // Now and then many steps in between: the market leaves all the levels that were told.
                for _ in 0..if round % 50 == 0 { 400 } else { prng.below(4) } {
                    instrument.step(&mut prng, round % 3 == 0);
                    instrument.trade(&mut prng);
                }
                let mut changes = 0;
                instrument.levels_changed(&mut prng, |change| {
                    changes += 1;
                    reader.take(change);
                });
                assert!((1..=4 * LEVELS).contains(&changes), "seed {seed}, round {round}: {changes} changes");
                assert!(reader.equals(&instrument), "seed {seed}, round {round}");
            }
        }
    }

    #[test]
    fn prices_stay_on_the_grid_between_the_bounds() {
        for (start, forced_pressure) in [(TICKS_MIN + 3, -PRESSURE_MAX), (TICKS_MAX - 3, PRESSURE_MAX)] {
            let mut prng = Prng::new(4, 0);
            let mut instrument = Instrument::new(0, 1, &mut prng);
            instrument.now.best = [start - 1, start];
            instrument.spread = 1;
            for _ in 0..200_000 {
                instrument.pressure = forced_pressure;
                instrument.step(&mut prng, true);
                let ([bid, ask], [bid_size, ask_size]) = instrument.top();
                assert!(bid < ask && bid_size > 0 && ask_size > 0);
                assert!(bid >= TICKS_MIN - 1 && ask <= TICKS_MAX + 1, "{bid} {ask}");
                assert!(instrument.level(BID, LEVELS - 1).0 > 0);
            }
        }
    }

    #[test]
    fn volatility_clusters() {
        // Lag-1 autocorrelation of the number of moves in blocks of steps; independent blocks would have
        // |r| < 3 / sqrt(4,000) = 0.05.
        let mut prng = Prng::new(8, 0);
        let mut instrument = Instrument::new(0, 1, &mut prng);
        let blocks: Vec<f64> = (0..4_000)
            .map(|_| {
                let mut moves = 0.0;
                for _ in 0..20 {
                    let before = instrument.now.best;
                    instrument.step(&mut prng, false);
                    moves += if instrument.now.best == before { 0.0 } else { 1.0 };
                }
                moves
            })
            .collect();
        let mean = blocks.iter().sum::<f64>() / blocks.len() as f64;
        let variance: f64 = blocks.iter().map(|x| (x - mean) * (x - mean)).sum();
        let covariance: f64 = blocks.windows(2).map(|pair| (pair[0] - mean) * (pair[1] - mean)).sum();
        assert!(covariance / variance > 0.1, "{}", covariance / variance);
    }
}
