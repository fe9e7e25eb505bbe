//! Handlers that are subscribed and unsubscribed while the shard runs, at a place of the stream.

#[path = "common/shard_rig.rs"]
mod shard_rig;

use shard_rig::{START, SYMBOLS_MAX, tick};
use tapeline_core::bus::{Bus, BusBuilder, End, Link};
use tapeline_core::catalog::{Catalog, SeqRule};
use tapeline_core::event::payload::{Quote, Signal, Subscription, Trade};
use tapeline_core::event::{EventBuf, EventRef, Kind, KindSet, Slot};
use tapeline_core::handler::{Ctx, Handler, Verdict};
use tapeline_core::hash;
use tapeline_core::ledger::Refusal;
use tapeline_core::ring::{self, Producer};
use tapeline_core::shard::{Config, Outbox, Shard};
use tapeline_core::testing::{CountingAlloc, Prng, allocations};
use tapeline_core::topics::Bus as TopicBus;
use tapeline_core::units::{SourceId, SymbolId, UnixNanos};

#[global_allocator]
static ALLOC: CountingAlloc = CountingAlloc;

macro_rules! listener {
    ($name:ident, $text:literal, $number:literal) => {
        /// Says of every event that it saw it.
        struct $name;

        impl Handler for $name {
            type State = [u64; 1];
            const NAME: &'static str = $text;
            const STATE_VERSION: u16 = 1;
            const ROLLBACK: bool = false;

            fn interests(&self) -> KindSet {
                KindSet::of(&[Kind::TRADE, Kind::QUOTE])
            }

            fn on_event(&self, _: &mut [u64; 1], ev: EventRef<'_>, cx: &mut Ctx<'_>) -> Verdict {
                let seen = Signal { strategy: $number, price: ev.head().seq as i64, ..Signal::default() };
                let _ = cx.signal(&seen);
                Verdict::Done
            }
        }
    };
}

listener!(First, "first", 1);
listener!(Second, "second", 2);

/// Number of the handler and of the event, in order.
struct Out(Vec<(u32, u64)>);

impl Outbox for Out {
    fn has_room(&mut self) -> bool {
        true
    }

    fn put(&mut self, output: EventRef<'_>) {
        if let Some(signal) = output.get::<Signal>() {
            self.0.push((signal.strategy, signal.price as u64));
        }
    }
}

struct Rig {
    shard: Shard<Link<End, First>>,
    ring: Producer,
    out: Out,
}

fn bus(catalog: &mut Catalog) -> Bus<Link<End, First>> {
    BusBuilder::new(SYMBOLS_MAX).then(First).dynamic(-1, Second).build(catalog).unwrap()
}

impl Rig {
    fn new(live: bool) -> Self {
        let mut catalog = Catalog::new(SYMBOLS_MAX);
        let bus = bus(&mut catalog);
        catalog.symbol(b"SYM").unwrap();
        assert_eq!(catalog.source(b"test.feed", SeqRule::Increasing), Ok(SourceId(3)));
        let (ring, consumer) = ring::channel(1 << 12);
        let config = Config { live: live.then(|| vec![TopicBus::market()]), ..Config::single() };
        let shard = Shard::new(config, catalog, bus, (), consumer, vec![], vec![]);
        Self { shard, ring, out: Out(Vec::with_capacity(1 << 16)) }
    }

    fn step(&mut self) {
        let _ = self.shard.step(&mut self.out);
        assert!(self.shard.ledger().is_balanced());
    }
}

fn trade(seq: u64) -> EventBuf {
    let mut event = EventBuf::new(&Trade { price: 1, size: 1, ..Trade::default() });
    place(&mut event, seq);
    event
}

fn quote(seq: u64) -> EventBuf {
    let mut event = EventBuf::new(&Quote { bid_px: 1, ask_px: 2, ..Quote::default() });
    place(&mut event, seq);
    event
}

fn place(event: &mut EventBuf, seq: u64) {
    let head = event.head_mut();
    (head.seq, head.ts_recv) = (seq, UnixNanos(START + seq * 1_000));
    (head.symbol, head.source) = (SymbolId(1), SourceId(3));
}

fn change(handler: &str, topic: &str, subscribed: u8, seq: u64) -> EventBuf {
    let topic = if topic.is_empty() { 0 } else { hash::stable(topic.as_bytes()) };
    let change =
        Subscription { handler: hash::stable(handler.as_bytes()), topic, subscribed, ..Subscription::default() };
    let mut event = EventBuf::new(&change);
    event.head_mut().ts_recv = UnixNanos(START + seq * 1_000);
    event
}

#[test]
fn req_3386_a_subscription_takes_effect_at_its_place_in_the_stream_however_that_is_cut() {
    let mut stream: Vec<Vec<Slot>> = Vec::new();
    let mut wanted = Vec::new();
    for seq in 1..=1_000 {
        match seq {
            300 => stream.push(change("second", "", 0, seq).slots().to_vec()),
            500 => stream.push(change("second", "trades", 1, seq).slots().to_vec()),
            700 => stream.push(change("second", "quotes", 1, seq).slots().to_vec()),
            900 => stream.push(change("first", "", 0, seq).slots().to_vec()),
            _ => {}
        }
        let is_trade = seq % 2 == 0;
        stream.push(if is_trade { trade(seq) } else { quote(seq) }.slots().to_vec());
        if seq < 900 {
            wanted.push((1, seq));
        }
        if !(300..500).contains(&seq) && (is_trade || !(500..700).contains(&seq)) {
            wanted.push((2, seq));
        }
    }
    let mut digests = Vec::new();
    // In live mode quotes of one symbol are conflated while they wait: there every event has a step of its own.
    for (live, most) in [(false, 1), (false, 7), (false, 2_000), (true, 1)] {
        let mut rig = Rig::new(live);
        let mut prng = Prng::new(most);
        let mut rest = &stream[..];
        while !rest.is_empty() {
            let (now, later) = rest.split_at((1 + prng.in_range(0..most) as usize).min(rest.len()));
            now.iter().for_each(|event| rig.ring.push(event).unwrap());
            rest = later;
            rig.step();
            rig.step();
        }
        rig.ring.push(tick(UnixNanos(START * 2), true).slots()).unwrap();
        while !rig.shard.is_drained() {
            rig.step();
        }
        assert_eq!(rig.out.0, wanted, "live {live}, at most {most} at once");
        digests.push(rig.shard.digest_total());
    }
    assert!(digests.windows(2).all(|pair| pair[0] == pair[1]), "{digests:?}");
}

#[test]
fn what_cannot_be_subscribed_is_refused_and_changes_nothing() {
    let mut rig = Rig::new(false);
    let changes = [
        change("third", "", 1, 1),
        change("first", "no such topic", 1, 2),
        change("first", "news", 1, 3),
        change("first", "trades", 0, 4),
    ];
    changes.iter().for_each(|change| rig.ring.push(change.slots()).unwrap());
    rig.step();
    assert_eq!(rig.shard.ledger().refused_by(Refusal::OutOfRange), 4);
    assert_eq!(rig.shard.subscriptions().len(), 2);
    rig.ring.push(trade(5).slots()).unwrap();
    rig.step();
    assert_eq!(rig.out.0, [(1, 5), (2, 5)]);
}

#[test]
fn req_3451_a_hundred_thousand_changes_in_the_stream_allocate_nothing() {
    let mut rig = Rig::new(false);
    let [off, on] = [0, 1].map(|subscribed| change("second", "", subscribed, 1));
    let bytes = rig.shard.bytes();
    let before = allocations();
    assert!(before > 0);
    for _ in 0..50_000 {
        rig.ring.push(off.slots()).unwrap();
        rig.ring.push(on.slots()).unwrap();
        rig.step();
    }
    assert_eq!(allocations(), before);
    assert_eq!((rig.shard.bytes(), rig.shard.subscriptions().len()), (bytes, 2));
    rig.shard.subscriptions().assert_invariants();
    rig.ring.push(trade(2).slots()).unwrap();
    rig.step();
    assert_eq!(rig.out.0, [(1, 2), (2, 2)]);
}
