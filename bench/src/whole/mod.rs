//! A whole shard on one thread: what an event takes from the pop out of its ring to the return of its last handler (P19), what the
//! measurement adds to it (P21), and the bytes that stand behind it (P20).
//!
//! The shard's events are put into its ring in batches outside of what is measured, and handled until the ring is empty.

mod memory;
#[cfg(feature = "runtime")]
mod observed;

pub use memory::{EVENTS, LIMIT, Memory, memory};
#[cfg(feature = "runtime")]
pub(crate) use observed::default_rig;
#[cfg(feature = "runtime")]
pub use observed::{Defaults, Observed, duel};

use bytemuck::{Pod, Zeroable};
use tapeline_core::bus::{BusBuilder, Chain, End, Link};
use tapeline_core::catalog::{Catalog, SeqRule};
use tapeline_core::event::payload::{Quote, Trade};
use tapeline_core::event::{EventBuf, EventRef, Kind, KindSet, Slot};
use tapeline_core::handler::{Ctx, Handler, Verdict};
use tapeline_core::ring::{self, Producer};
use tapeline_core::route::RouteTable;
use tapeline_core::shard::{Config, Probe, Shard};
use tapeline_core::units::{PRICE_ONE, SourceId, SymbolId, UnixNanos, price_f64};

/// Events of a batch: what is put into the ring at once.
pub const BATCH: usize = 512;
/// Symbols of the events, in turn.
const SYMBOLS: usize = 100;
/// Slots of the ring.
const RING_SLOTS: usize = 1_024;
/// Time of the first event.
const START_NS: u64 = 1_700_000_000_000_000_000;
/// Capture time between two events.
const STEP_NS: u64 = 1_000;
/// Weights of a new price in the averages over 12 and 26.
const FAST: f64 = 2.0 / 13.0;
const SLOW: f64 = 2.0 / 27.0;

/// Two averages of a symbol's price, and how often they crossed.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Pod, Zeroable)]
pub struct Averages {
    fast: f64,
    slow: f64,
    prices: u64,
    crossings: u64,
}

impl Averages {
    /// The next price.
    #[inline]
    pub fn take(&mut self, price: f64) {
        if self.prices == 0 {
            (self.fast, self.slow) = (price, price);
        }
        let was_above = self.fast > self.slow;
        self.fast += FAST * (price - self.fast);
        self.slow += SLOW * (price - self.slow);
        self.prices += 1;
        self.crossings += u64::from(was_above != (self.fast > self.slow));
    }
}

/// Two averages of each price and a comparison: the least that a handler of this field does. It never fails, so that no copy of its
/// state is kept.
#[derive(Debug)]
pub struct TwoAverages;

impl Handler for TwoAverages {
    type State = Averages;
    const NAME: &'static str = "two-averages";
    const STATE_VERSION: u16 = 1;
    const ROLLBACK: bool = false;

    fn interests(&self) -> KindSet {
        KindSet::of(&[Kind::TRADE, Kind::QUOTE])
    }

    #[inline]
    fn on_event(&self, state: &mut Averages, event: EventRef<'_>, _cx: &mut Ctx<'_>) -> Verdict {
        let price = if let Some(trade) = event.get::<Trade>() {
            price_f64(trade.price)
        } else if let Some(quote) = event.get::<Quote>() {
            (price_f64(quote.bid_px) + price_f64(quote.ask_px)) * 0.5
        } else {
            return Verdict::Done;
        };
        state.take(price);
        Verdict::Done
    }
}

/// The bus with nothing but [`TwoAverages`].
pub type Bare = Link<End, TwoAverages>;

/// Where a rig's events come from.
pub trait Feed {
    /// Puts the next whole events into `out`, at most [`BATCH`] slots, and returns how many.
    fn next(&mut self, out: &mut Vec<Slot>) -> usize;
}

/// Trades and quotes of a hundred symbols in turn, a microsecond apart, none of them twice.
#[derive(Debug)]
pub struct Turns {
    number: u64,
    source: SourceId,
}

impl Feed for Turns {
    fn next(&mut self, out: &mut Vec<Slot>) -> usize {
        for _ in 0..BATCH {
            let number = self.number;
            // Prices that walk up and down by a few ticks.
            let price = (100 + (number * 7 % 11 + number / 1_000 % 5) as i64) * PRICE_ONE;
            let mut event = if number.is_multiple_of(4) {
                EventBuf::new(&Trade { price, size: 1 + number % 9, ..Trade::default() })
            } else {
                let (bid_px, ask_px) = (price - PRICE_ONE / 100, price + PRICE_ONE / 100);
                EventBuf::new(&Quote { bid_px, ask_px, bid_sz: 5, ask_sz: 7 })
            };
            let head = event.head_mut();
            (head.symbol, head.source) = (SymbolId(1 + (number % SYMBOLS as u64) as u32), self.source);
            (head.seq, head.ts_recv) = (number + 1, UnixNanos(START_NS + number * STEP_NS));
            head.ts_event = head.ts_recv;
            out.extend_from_slice(event.slots());
            self.number += 1;
        }
        BATCH
    }
}

/// A shard, its ring, and its events.
pub struct Rig<C: Chain, P: Probe, F> {
    ring: Producer,
    shard: Shard<C, P>,
    feed: F,
    slots: Vec<Slot>,
    dues: Option<Vec<u64>>,
}

impl<P: Probe> Rig<Bare, P, Turns> {
    /// Two averages behind admission, dedup and, with `history_slots`, the history.
    #[must_use]
    pub fn bare(history_slots: usize, has_dues: bool, probe: P) -> Self {
        let mut catalog = Catalog::new(SYMBOLS + 1);
        for number in 0..SYMBOLS {
            catalog.symbol(format!("S{number}").as_bytes()).expect("there is room");
        }
        let source = catalog.source(b"turns", SeqRule::Contiguous).expect("there is room");
        let bus = BusBuilder::new(SYMBOLS + 1).then(TwoAverages).build(&mut catalog).expect("one handler");
        let config = Config { history_slots, has_dues, ..Config::single() };
        Self::new(config, catalog, bus, probe, Turns { number: 0, source })
    }
}

impl<C: Chain, P: Probe, F: Feed> Rig<C, P, F> {
    fn new(config: Config, catalog: Catalog, bus: tapeline_core::bus::Bus<C>, probe: P, feed: F) -> Self {
        let has_dues = config.has_dues;
        let (ring, consumer) = if has_dues { ring::channel_with_dues(RING_SLOTS) } else { ring::channel(RING_SLOTS) };
        let shard = Shard::new(config, catalog, bus, probe, consumer, Vec::new(), Vec::new());
        let slots = Vec::with_capacity(RING_SLOTS);
        Self { ring, shard, feed, slots, dues: has_dues.then(|| vec![0; RING_SLOTS]) }
    }

    /// Puts the next batch into the ring, due at `due` where due times are carried. Returns its events.
    pub fn fill(&mut self, due: u64) -> usize {
        self.slots.clear();
        let events = self.feed.next(&mut self.slots);
        let dues = self.dues.as_mut().map(|dues| {
            dues.fill(due);
            &dues[..self.slots.len()]
        });
        let pushed = self.ring.push_batch(&self.slots, dues);
        assert_eq!(pushed, self.slots.len(), "the ring was emptied");
        events
    }

    /// Handles all that is in the ring.
    #[inline]
    pub fn drain(&mut self) {
        while self.shard.step(&mut ()).work > 0 {}
    }

    /// The shard.
    pub fn shard(&mut self) -> &mut Shard<C, P> {
        &mut self.shard
    }

    /// # Panics
    /// When an event was refused, or is on its way still.
    pub fn check(&self, events: u64) {
        let total = self.shard.ledger().total();
        assert_eq!((total.offered, total.accepted, total.in_flight), (events, events, 0), "{total:?}");
    }
}

/// From a symbol to its shard, as the source does it for each event. Sums the shards so that nothing is left out.
#[inline]
pub(crate) fn route(catalog: &Catalog, routes: &RouteTable, slots: &[Slot]) -> usize {
    slots.iter().map(|slot| routes.shard(catalog.route_slot(slot.symbol))).sum()
}

/// A slot's worth of what a counted loop needs beside the rig.
pub(crate) fn router() -> (Catalog, RouteTable, Vec<Slot>) {
    let mut catalog = Catalog::new(SYMBOLS + 1);
    for number in 0..SYMBOLS {
        catalog.symbol(format!("S{number}").as_bytes()).expect("there is room");
    }
    let mut slots = Vec::with_capacity(BATCH);
    Turns { number: 0, source: SourceId(1) }.next(&mut slots);
    (catalog, RouteTable::new(2), slots)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_averages_are_those_of_every_price() {
        let mut rig = Rig::bare(0, false, ());
        let mut events = 0;
        for _ in 0..20 {
            events += rig.fill(0) as u64;
            rig.drain();
        }
        rig.check(events);
        assert_eq!(events, 20 * BATCH as u64);
    }

    #[test]
    fn an_event_that_is_still_in_the_ring_is_noticed() {
        let mut rig = Rig::bare(0, false, ());
        let events = rig.fill(0) as u64;
        let missing = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| rig.check(events)));
        assert!(missing.is_err());
    }
}
