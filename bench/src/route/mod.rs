//! `duel route`: from a symbol's text to its shard and slot (P10).

use crate::duel::{self, Entry, Options, Role};
use crate::memory::RandomStore;
use crate::report::{Claim, Rival, Table};
use crate::single;
use crate::stats::Rng;
use std::collections::{HashMap, HashSet};
use tapeline_core::catalog::Catalog;
use tapeline_core::route::{FieldRoutes, RouteTable, slot_of};

/// A symbol's text: 8 bytes.
pub type Text = [u8; 8];

/// Metrics of a slice.
pub const METRICS: [&str; 1] = ["route_ns"];
/// Symbols.
pub const SYMBOLS: usize = 10_000;
/// Shards that the symbols are dealt out to.
const SHARDS: usize = 4;
/// Messages of a measured batch.
const BATCH: usize = 512;
/// Messages in the order in which they come, again and again.
const MESSAGES: usize = 1 << 16;

/// Finds the shard and the slot of a symbol that is known.
pub trait Router {
    /// For these symbols.
    fn new(symbols: &[Text]) -> Self;

    /// Shard and slot.
    fn route(&self, text: &Text) -> (usize, u16);
}

/// Shard and slot, as the engine computes them.
#[must_use]
pub fn expected(text: &Text) -> (usize, u16) {
    let slot = slot_of(text);
    (RouteTable::new(SHARDS).shard(slot), slot)
}

/// `tapeline_core`'s routes of fields of 8 bytes: a perfect hash that is built at start. The id comes out too.
pub struct Ours(FieldRoutes);

impl Router for Ours {
    fn new(symbols: &[Text]) -> Self {
        let ByCatalog { catalog, routes } = ByCatalog::new(symbols);
        Self(FieldRoutes::new(&catalog, &routes))
    }

    #[inline]
    fn route(&self, text: &Text) -> (usize, u16) {
        let route = self.0.find(text).expect("the symbol is known");
        (usize::from(route.shard), route.slot)
    }
}

/// `tapeline_core`'s catalog and routing table: from a text of any length to the symbol's id, from there to slot and shard. It knows a symbol
/// as soon as it is defined.
pub struct ByCatalog {
    catalog: Catalog,
    routes: RouteTable,
}

impl Router for ByCatalog {
    fn new(symbols: &[Text]) -> Self {
        let mut catalog = Catalog::new(symbols.len() + 1);
        for text in symbols {
            catalog.symbol(text).expect("there is room");
        }
        Self { catalog, routes: RouteTable::new(SHARDS) }
    }

    #[inline]
    fn route(&self, text: &Text) -> (usize, u16) {
        let slot = self.catalog.route_slot(self.catalog.find_symbol(text).expect("the symbol is known"));
        (self.routes.shard(slot), slot)
    }
}

/// As [`ByCatalog`], for a message that carries a number which the decoder has mapped to the id: what happens per event in the
/// engine.
pub struct ById {
    catalog: Catalog,
    routes: RouteTable,
    /// By the last four bytes of the text, which number the symbols.
    base: u32,
}

impl Router for ById {
    fn new(symbols: &[Text]) -> Self {
        let ByCatalog { catalog, routes } = ByCatalog::new(symbols);
        Self { catalog, routes, base: number(&symbols[0]) }
    }

    #[inline]
    fn route(&self, text: &Text) -> (usize, u16) {
        let slot = self.catalog.route_slot(tapeline_core::units::SymbolId(number(text) - self.base + 1));
        (self.routes.shard(slot), slot)
    }
}

/// The number in a symbol's last bytes.
#[inline]
fn number(text: &Text) -> u32 {
    u32::from_le_bytes([text[4], text[5], text[6], text[7]])
}

/// std's `HashMap` by string.
pub struct Std(HashMap<Box<[u8]>, (usize, u16)>);

impl Router for Std {
    fn new(symbols: &[Text]) -> Self {
        Self(symbols.iter().map(|text| (text[..].into(), expected(text))).collect())
    }

    #[inline]
    fn route(&self, text: &Text) -> (usize, u16) {
        self.0[&text[..]]
    }
}

/// `hashbrown` with `foldhash` by string.
#[cfg(feature = "peers")]
pub struct Hashbrown(hashbrown::HashMap<Box<[u8]>, (usize, u16), foldhash::fast::RandomState>);

#[cfg(feature = "peers")]
impl Router for Hashbrown {
    fn new(symbols: &[Text]) -> Self {
        Self(symbols.iter().map(|text| (text[..].into(), expected(text))).collect())
    }

    #[inline]
    fn route(&self, text: &Text) -> (usize, u16) {
        self.0[&text[..]]
    }
}

/// `hashbrown` with `foldhash` by the text as a u64, which only works where every text has 8 bytes.
#[cfg(feature = "peers")]
pub struct HashbrownPacked(hashbrown::HashMap<u64, (usize, u16), foldhash::fast::RandomState>);

#[cfg(feature = "peers")]
impl Router for HashbrownPacked {
    fn new(symbols: &[Text]) -> Self {
        Self(symbols.iter().map(|text| (u64::from_le_bytes(*text), expected(text))).collect())
    }

    #[inline]
    fn route(&self, text: &Text) -> (usize, u16) {
        self.0[&u64::from_le_bytes(*text)]
    }
}

/// Distinct symbols: four letters, and a number in binary.
#[must_use]
pub fn symbols(count: usize, rng: &mut Rng) -> Vec<Text> {
    let base = 1u32 << 24;
    let symbols: Vec<Text> = (0..count as u32)
        .map(|number| {
            let mut text = [0; 8];
            text[..4].fill_with(|| b'A' + rng.index(26) as u8);
            text[4..].copy_from_slice(&(base + number).to_le_bytes());
            text
        })
        .collect();
    debug_assert_eq!(symbols.iter().collect::<HashSet<_>>().len(), count);
    symbols
}

/// A router and the messages that it routes.
pub struct Work<R> {
    router: R,
    messages: Box<[Text]>,
    at: usize,
    expected_sum: u64,
    sum: u64,
}

impl<R: Router> Work<R> {
    /// Messages for random symbols, the same for every router.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let symbols = symbols(SYMBOLS, &mut rng);
        let messages: Box<[Text]> = (0..MESSAGES).map(|_| symbols[rng.index(SYMBOLS)]).collect();
        let expected_sum = messages.iter().map(|text| digest(expected(text))).fold(0, u64::wrapping_add);
        Self { router: R::new(&symbols), messages, at: 0, expected_sum, sum: 0 }
    }

    /// The router, and the next messages.
    #[inline]
    pub fn batch(&mut self, count: usize) -> (&R, &[Text]) {
        let from = self.at;
        self.at = (from + count) % self.messages.len();
        (&self.router, &self.messages[from..from + count])
    }

    fn add(&mut self, sum: u64) {
        self.sum = self.sum.wrapping_add(sum);
        if self.at == 0 {
            assert_eq!(self.sum, self.expected_sum, "a message was routed wrongly");
            self.sum = 0;
        }
    }
}

#[inline(always)]
fn digest((shard, slot): (usize, u16)) -> u64 {
    (shard as u64) << 16 | u64::from(slot)
}

/// Routes a batch, and sums up where to.
#[inline(always)]
pub fn route_all<R: Router>(router: &R, messages: &[Text]) -> u64 {
    messages.iter().fold(0, |sum, text| sum.wrapping_add(digest(router.route(text))))
}

fn entry<'a, R: Router + 'a>(name: &'static str, role: Role, options: &'a Options) -> Entry<'a> {
    single::entry(
        name,
        role,
        options,
        METRICS.len(),
        || Work::<R>::new(options.seed),
        |work, meter| {
            let (router, messages) = work.batch(BATCH);
            let sum = meter.time(0, || route_all(router, messages));
            meter.count(0, BATCH);
            work.add(sum);
        },
    )
}

/// Runs the duel.
#[must_use]
pub fn run(options: &Options) -> Table {
    #[allow(unused_mut)]
    let mut entries = vec![
        entry::<Ours>("tapeline", Role::Ours, options),
        entry::<ByCatalog>("tapeline, by catalog", Role::Variant, options),
        entry::<ById>("tapeline, by id", Role::Variant, options),
        single::entry(
            "C3 random store",
            Role::Control,
            options,
            METRICS.len(),
            // A text and what it leads to, for each symbol.
            || RandomStore::new(SYMBOLS * 16),
            |control, meter| control.step(meter, 0, BATCH),
        ),
        entry::<Std>("std HashMap", Role::Peer, options),
    ];
    #[cfg(feature = "peers")]
    {
        entries.push(entry::<Hashbrown>("hashbrown+foldhash", Role::Peer, options));
        entries.push(entry::<HashbrownPacked>("hashbrown+foldhash u64", Role::Peer, options));
    }
    let records = duel::run(&entries, options);
    let claims = [
        Claim::at_most("P10 against C3", 0, Rival::Control, 2.0, 2.0),
        Claim::at_most("P10 against hashbrown by string", 0, Rival::Named("hashbrown+foldhash"), 0.4, 0.4),
    ];
    Table::new(
        "route",
        "ns a message, one thread; 10,000 symbols of 8 bytes, texts in random order from a buffer of 512 KiB; shard and slot \
         are summed and the sum is checked",
        &METRICS,
        &entries,
        records,
        &claims,
        options,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_router_finds_every_symbol() {
        fn check<R: Router>(symbols: &[Text]) {
            let router = R::new(symbols);
            for text in symbols {
                assert_eq!(router.route(text), expected(text));
            }
        }
        let symbols = symbols(1_000, &mut Rng::new(5));
        check::<Ours>(&symbols);
        check::<ByCatalog>(&symbols);
        check::<ById>(&symbols);
        check::<Std>(&symbols);
        #[cfg(feature = "peers")]
        {
            check::<Hashbrown>(&symbols);
            check::<HashbrownPacked>(&symbols);
        }
    }
}
