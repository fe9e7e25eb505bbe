//! The plain way is the long one, with nothing left out: the same events, cut in the same way, through two shards of which one may go the
//! plain way and one may not (it follows an event in its log that never comes), show the same outputs, counts, history, books and samples.

#[path = "common/panics.rs"]
mod panics;

use panics::{BOOM, silence};
use tapeline_core::bus::{BusBuilder, Chain};
use tapeline_core::catalog::{Catalog, SeqRule};
use tapeline_core::dead;
use tapeline_core::event::payload::{
    Alert, BookLevel, BookOrder, Epoch, News, Quote, QuoteWide, Signal, Status, Subscription, Tick, Trade,
};
use tapeline_core::event::{EventBuf, EventRef, Flags, Kind, KindSet, KindVersion, Slot};
use tapeline_core::features;
use tapeline_core::handler::{Ctx, Handler, Verdict};
use tapeline_core::hash;
use tapeline_core::history::{Cursor, PageLimits, Query};
use tapeline_core::limits::TIME_NS_MAX;
use tapeline_core::log::{Filter, Follow, Record};
use tapeline_core::retry::{Backoff, Jitter, Order, Policy, RetryConfig};
use tapeline_core::ring::{self, Producer};
use tapeline_core::scanner::Scanner;
use tapeline_core::shard::{Batch, Config, DUE_NONE, Outbox, Probe, Shard};
use tapeline_core::testing::{Prng, for_seeds};
use tapeline_core::units::{SourceId, SymbolId, UnixNanos};

const SYMBOLS: u64 = 9;
const SYMBOLS_MAX: usize = 16;
const START: u64 = 1_700_000_000_000_000_000;
const MILLI: u64 = 1_000_000;

/// A chain over all calls; fails, panics, publishes and sets timers now and then, by event.
struct Moody {
    /// One call in so many goes wrong.
    trouble: u64,
}

impl Handler for Moody {
    type State = [u64; 2];
    const NAME: &'static str = "moody";
    const STATE_VERSION: u16 = 1;

    fn interests(&self) -> KindSet {
        KindSet::KNOWN.without(KindSet::of(&[Kind::BOOK_ORDER, Kind::GAP]))
    }

    fn on_event(&self, state: &mut [u64; 2], event: EventRef<'_>, cx: &mut Ctx<'_>) -> Verdict {
        let head = event.head();
        let book = cx.book().and_then(|book| book.bid()).map_or(0, |bid| bid.price as u64);
        state[0] = hash::stable(bytemuck::bytes_of(&[state[0], head.seq, cx.now().0, book]));
        state[1] += 1;
        let rand = cx.rand(state[1]);
        if head.flags.contains(Flags::DERIVED) || !rand.is_multiple_of(self.trouble) {
            return Verdict::Done;
        }
        match rand >> 32 & 7 {
            0 => std::panic::panic_any(BOOM),
            1 => return Verdict::Fail(3),
            2 => return Verdict::Retry(4),
            3 => {
                let _ = cx.timer_at(cx.now().saturating_add(rand & 0xff_ffff), rand);
            }
            4 => cx.alert(&Alert { value: 1.0, rule: 9, ..Alert::default() }).unwrap(),
            _ => cx.signal(&Signal { strength: (state[0] >> 12) as f64, strategy: 9, ..Signal::default() }).unwrap(),
        }
        Verdict::Done
    }

    fn on_timer(&self, state: &mut [u64; 2], token: u64, _: &mut Ctx<'_>) -> Verdict {
        state[0] = hash::stable(bytemuck::bytes_of(&[state[0], token]));
        Verdict::Done
    }
}

/// Takes runs of a kind that it has to itself.
struct Runner;

impl Handler for Runner {
    type State = [u64; 2];
    const NAME: &'static str = "runner";
    const STATE_VERSION: u16 = 1;
    const TAKES_RUNS: bool = true;

    fn interests(&self) -> KindSet {
        KindSet::one(Kind::GAP)
    }

    fn on_event(&self, state: &mut [u64; 2], event: EventRef<'_>, _: &mut Ctx<'_>) -> Verdict {
        state[0] = hash::stable(bytemuck::bytes_of(&[state[0], event.head().seq]));
        Verdict::Done
    }
}

/// Every output, in full.
#[derive(Default, PartialEq, Eq, Debug)]
struct Outputs {
    slots: Vec<Slot>,
    /// Looks at the room, and whether there was any: some are answered with no.
    looks: u64,
}

impl Outbox for Outputs {
    fn has_room(&mut self) -> bool {
        self.looks += 1;
        true
    }

    fn put(&mut self, output: EventRef<'_>) {
        self.slots.extend_from_slice(output.slots());
    }
}

/// What a probe is told of samples. Logs, so that an event can be followed.
#[derive(Default, PartialEq, Eq, Debug)]
struct Samples {
    now: u64,
    dues: Vec<u64>,
    count: usize,
}

impl Probe for Samples {
    const LOGS: bool = true;

    fn now(&mut self) -> u64 {
        self.now += 1;
        self.now
    }

    fn batch(&mut self, batch: &Batch<'_>) {
        self.dues.extend_from_slice(batch.dues);
        self.count += batch.samples;
    }

    fn log(&mut self, _: &Record) {}
}

struct Settings {
    trouble: u64,
    has_books: bool,
    dedup_capacity: usize,
    history_slots: usize,
    history_age_ns: u64,
    order: Order,
}

fn shard(settings: &Settings, follows: bool) -> (Producer, Shard<impl Chain + use<>, Samples>, SourceId) {
    let mut catalog = Catalog::new(SYMBOLS_MAX);
    for symbol in 0..SYMBOLS {
        catalog.symbol(format!("S{symbol}").as_bytes()).unwrap();
    }
    let bus = BusBuilder::new(SYMBOLS_MAX)
        .dynamic(5, Moody { trouble: settings.trouble })
        .then(features::Engine::default())
        .then(Scanner::default())
        .then(Runner);
    let bus = bus.build(&mut catalog).unwrap();
    let source = catalog.source(b"feed", SeqRule::Contiguous).unwrap();
    let backoff = Backoff::Fixed { delay_ns: 3 * MILLI };
    let retry = RetryConfig { attempts_max: 3, backoff, jitter: Jitter::None, order: settings.order };
    let (input, consumer) = ring::channel_with_dues(1_024);
    let follow = Follow { seq: u64::MAX, source: 1, symbol: None };
    let config = Config {
        retry: vec![Policy::new(retry).unwrap()],
        has_dues: true,
        book_pages: if settings.has_books { 64 } else { 0 },
        dedup_capacity: settings.dedup_capacity,
        history_slots: settings.history_slots,
        history_age_ns: settings.history_age_ns,
        log: Filter { follow: follows.then_some(follow), ..Filter::default() },
        letters: dead::Config { entries: 64, ..Config::single().letters },
        ..Config::single()
    };
    (input, Shard::new(config, catalog, bus, Samples::default(), consumer, Vec::new(), Vec::new()), source)
}

/// Mostly plain events; a few of each that are not.
fn event(prng: &mut Prng, seq: u64, now: u64, source: SourceId) -> EventBuf {
    let price = 100_000_000_000 + prng.in_range(0..1_000) as i64 * 10_000_000;
    let mut event = match prng.in_range(0..40) {
        0..=11 => EventBuf::new(&Trade { price, size: 1 + prng.in_range(0..1_000), side: 1, ..Trade::default() }),
        12..=21 => EventBuf::new(&Quote { bid_px: price, ask_px: price + 10_000_000, bid_sz: 3, ask_sz: 4 }),
        22..=29 => {
            EventBuf::new(&BookLevel { price, size: prng.in_range(0..9), side: 1, action: 1, ..BookLevel::default() })
        }
        30..=32 => {
            EventBuf::new(&BookOrder { order_id: seq, price, size: 7, side: 1, action: 1, ..BookOrder::default() })
        }
        33 => EventBuf::new(&Status { is_trading: 1, ..Status::default() }),
        34 => {
            let mut event = EventBuf::new(&Quote { bid_px: price, ask_px: price + 1, ..Quote::default() });
            event.push_value(&QuoteWide { bid_sz: 1 << 40, ask_sz: 5, ..QuoteWide::default() }).unwrap();
            event.flag(Flags::WIDE);
            event
        }
        35 => {
            let mut event = EventBuf::new(&News { id: seq, text_bytes: 80, ..News::default() });
            event.push_bytes(&[b'n'; 80]).unwrap();
            event
        }
        36 => EventBuf::new(&tapeline_core::event::payload::Gap { expected: 5, received: 9, missing: 4 }),
        37 => EventBuf::new(&Tick::default()),
        38 if prng.one_in(4) => EventBuf::new(&Epoch { number: seq, ..Epoch::default() }),
        39 if prng.one_in(4) => EventBuf::new(&Subscription {
            handler: hash::stable(b"scanner"),
            topic: hash::stable(b"trades"),
            subscribed: (seq & 1) as u8,
            ..Subscription::default()
        }),
        _ => EventBuf::new(&Trade { price, size: 5, ..Trade::default() }),
    };
    let late = if prng.one_in(12) { prng.in_range(0..20 * MILLI) } else { 0 };
    let is_again = prng.one_in(15);
    let head = event.head_mut();
    (head.ts_recv, head.ts_event) = (UnixNanos(now - late), UnixNanos(now));
    head.seq = if is_again { seq.saturating_sub(prng.in_range(0..20)) } else { seq };
    (head.symbol, head.source) = (SymbolId(1 + (seq % SYMBOLS) as u32), source);
    if prng.one_in(30) {
        match prng.in_range(0..9) {
            0 => head.kind = KindVersion::new(Kind(62), 0),
            1 => head.kind = KindVersion::new(head.kind(), 9),
            2 => head.symbol = SymbolId(SYMBOLS_MAX as u32 - 1),
            3 => head.source = SourceId(200),
            4 => head.scale = 200,
            5 => head.ts_recv = UnixNanos(TIME_NS_MAX + 1),
            6 if head.span() == 1 => head.flags = head.flags.with(Flags::HISTORICAL),
            7 => head.flags = head.flags.with(Flags::UNSEQUENCED),
            // A field that is out of bounds, in a trade or a level.
            _ => head.payload[2] |= 0xff00,
        }
    }
    event
}

fn pages<C: Chain>(shard: &Shard<C, Samples>) -> Vec<(u64, Slot)> {
    let mut all = Vec::new();
    let Some(history) = shard.history() else { return all };
    history.assert_invariants();
    for symbol in 0..SYMBOLS {
        let query = Query { symbol: Some(SymbolId(1 + symbol as u32)), ..Query::ALL };
        let mut cursor: Option<Cursor> = None;
        loop {
            let limits = PageLimits { events: 100, looks: 1_000 };
            let visit = |time: UnixNanos, event: EventRef<'_>| all.push((time.0, *event.head()));
            cursor = history.page(&query, cursor, limits, visit).unwrap().next;
            if cursor.is_none() {
                break;
            }
        }
    }
    all
}

#[test]
fn the_plain_way_shows_what_the_long_way_shows() {
    silence();
    let (mut plain, mut others, mut panicked, mut failed, mut outputs) = (0, 0, 0, 0, 0);
    for_seeds(0..150, |_, prng| {
        let settings = Settings {
            trouble: [7, 40, 400, u64::MAX][prng.index(4)],
            has_books: prng.one_in(2),
            dedup_capacity: [0, 16, 4_096][prng.index(3)],
            history_slots: [0, 64, 1_024][prng.index(3)],
            history_age_ns: [u64::MAX, 5 * MILLI][prng.index(2)],
            order: if prng.one_in(2) { Order::Held } else { Order::Released },
        };
        let (mut ring, mut short, source) = shard(&settings, false);
        let (mut twin_ring, mut long, _) = shard(&settings, true);
        let (mut out, mut twin_out) = (Outputs::default(), Outputs::default());
        let (mut now, mut seq) = (START, 0);
        let step_ns = [0, 1_000, 2 * MILLI][prng.index(3)];
        for round in 0..60 {
            let (mut slots, mut dues) = (Vec::new(), Vec::new());
            for _ in 0..prng.in_range(0..80) {
                seq += 1;
                now += prng.in_range(0..2 * step_ns + 1);
                let event = event(prng, seq, now, source);
                let due = if prng.one_in(30) { DUE_NONE } else { seq };
                dues.extend(event.slots().iter().map(|_| due));
                slots.extend_from_slice(event.slots());
            }
            if round == 59 {
                // The end: time runs on, by timers alone.
                let mut last = EventBuf::new(&Tick { last: 1, ..Tick::default() });
                last.head_mut().ts_recv = UnixNanos(now);
                dues.push(DUE_NONE);
                slots.extend_from_slice(last.slots());
            }
            assert_eq!(ring.push_batch(&slots, Some(&dues)), slots.len());
            assert_eq!(twin_ring.push_batch(&slots, Some(&dues)), slots.len());
            loop {
                let (one, other) = (short.step(&mut out), long.step(&mut twin_out));
                assert_eq!(one, other, "a step does the same");
                assert_eq!((short.clock(), short.is_drained()), (long.clock(), long.is_drained()));
                assert_eq!(short.ledger(), long.ledger());
                assert!(short.ledger().is_balanced() && short.derived().is_balanced());
                if one.work == 0 {
                    break;
                }
            }
        }
        assert!(short.is_drained(), "everything ends");
        assert_eq!(out.slots, twin_out.slots);
        assert_eq!(short.digest_total(), long.digest_total());
        assert_eq!(short.derived(), long.derived());
        assert_eq!((short.clock(), short.clamped()), (long.clock(), long.clamped()));
        assert_eq!(short.timers_fired(), long.timers_fired());
        assert_eq!(short.handlers(), long.handlers());
        assert_eq!(short.dedup().map(|dedup| *dedup.counts()), long.dedup().map(|dedup| *dedup.counts()));
        assert_eq!(short.history().map(|history| history.counts()), long.history().map(|history| history.counts()));
        assert_eq!(pages(&short), pages(&long));
        assert_eq!(short.letters().stats(), long.letters().stats());
        let (samples, twin) = (std::mem::take(short.probe()), std::mem::take(long.probe()));
        assert_eq!((samples.count, samples.dues), (twin.count, twin.dues));
        assert_eq!(long.plain(), 0, "who follows an event goes the long way");
        plain += short.plain();
        others += short.ledger().total().offered - short.plain();
        let moody = short.handlers()[0].1;
        (panicked, failed) = (panicked + moody.panicked, failed + moody.failed);
        outputs += out.slots.len();
    });
    // What did not come shows nothing.
    assert!(plain > 20_000 && others > 20_000, "{plain} plain, {others} not");
    assert!(panicked > 100 && failed > 100 && outputs > 1_000, "{panicked} {failed} {outputs}");
}
