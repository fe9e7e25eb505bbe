//! One shard with one handler, in the dynamic table, and the ring that feeds it.

use crate::shard_rig::{MILLI, START, SYMBOLS, SYMBOLS_MAX, tick};
use tapeline_core::bus::{BusBuilder, End};
use tapeline_core::catalog::{Catalog, SeqRule};
use tapeline_core::event::{EventBuf, Payload};
use tapeline_core::handler::Handler;
use tapeline_core::ring::{self, Producer};
use tapeline_core::shard::{Config, Outbox, Shard};
use tapeline_core::units::{SourceId, SymbolId, UnixNanos};

pub(crate) struct Lone<O> {
    pub(crate) shard: Shard<End>,
    pub(crate) ring: Producer,
    pub(crate) out: O,
    pub(crate) source: SourceId,
    /// What must hold after each step, beside the ledger and the requests.
    check: fn(&Shard<End>),
}

impl<O: Outbox> Lone<O> {
    pub(crate) fn new(config: Config, handler: impl Handler, out: O, check: fn(&Shard<End>)) -> Self {
        let mut catalog = Catalog::new(SYMBOLS_MAX);
        for symbol in 1..=SYMBOLS {
            catalog.symbol(format!("SYM{symbol}").as_bytes()).unwrap();
        }
        let bus = BusBuilder::new(SYMBOLS_MAX).dynamic(0, handler).build(&mut catalog).unwrap();
        let source = catalog.source(b"test.feed", SeqRule::Increasing).unwrap();
        let (ring, consumer) = ring::channel(1024);
        Self { shard: Shard::new(config, catalog, bus, (), consumer, vec![], vec![]), ring, out, source, check }
    }

    /// Steps until nothing happens.
    pub(crate) fn step(&mut self) {
        while self.shard.step(&mut self.out).work > 0 {
            assert!(self.shard.ledger().is_balanced());
            assert!(self.shard.requests().counters().is_balanced(), "{:?}", self.shard.requests().counters());
            (self.check)(&self.shard);
        }
    }

    /// An event of `payload` at `us` microseconds after the start.
    pub(crate) fn push(&mut self, symbol: u32, seq: u64, us: u64, payload: &impl Payload) {
        let mut event = EventBuf::new(payload);
        let head = event.head_mut();
        (head.ts_recv, head.seq) = (UnixNanos(START + us * 1_000), seq);
        (head.symbol, head.source) = (SymbolId(symbol), self.source);
        self.ring.push(event.slots()).unwrap();
        self.step();
    }

    /// Time passes to `ms` after the start.
    pub(crate) fn pass(&mut self, ms: u64) {
        self.ring.push(tick(UnixNanos(START + ms * MILLI), false).slots()).unwrap();
        self.step();
    }
}
