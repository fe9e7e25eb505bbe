//! The ledger: every event that was pushed is offered once, refusals by reason, and no input makes a shard panic or stand.

#[path = "common/shard_rig.rs"]
mod shard_rig;

use shard_rig::{START, SYMBOLS, SYMBOLS_MAX, tick};
use tapeline_core::bus::{Bus, BusBuilder, Chain};
use tapeline_core::catalog::Catalog;
use tapeline_core::event::payload::{
    Bar, BarRest, BookDepth, BookLevel, DepthLevel, Features, News, Quote, QuoteWide, Trade,
};
use tapeline_core::event::{EventBuf, EventRef, Flags, Kind, KindVersion, Payload, Slot};
use tapeline_core::features::Engine;
use tapeline_core::ledger::Refusal;
use tapeline_core::limits::{RING_SLOTS_DEFAULT, TIME_NS_MAX};
use tapeline_core::ring::{self, Producer};
use tapeline_core::scanner::Scanner;
use tapeline_core::schema::{Layout, SchemaError, Schemas, UpgradeBuf, UpgradeRefused};
use tapeline_core::shard::{Config, Shard};
use tapeline_core::testing::{Prng, for_seeds};
use tapeline_core::units::{SCALE_MAX, SourceId, SymbolId, UnixNanos};

fn bus(catalog: &mut Catalog) -> Bus<impl Chain + use<>> {
    BusBuilder::new(SYMBOLS_MAX).then(Engine::new()).then(Scanner::default()).build(catalog).unwrap()
}

/// A shard that knows the names, and the producer of its ring.
fn shard() -> (Shard<impl Chain>, Producer) {
    shard_with(Schemas::builtin())
}

fn shard_with(schemas: Schemas) -> (Shard<impl Chain>, Producer) {
    let (mut producer, consumer) = ring::channel(RING_SLOTS_DEFAULT);
    let mut catalog = Catalog::new(SYMBOLS_MAX);
    let handlers = bus(&mut catalog);
    let authority = shard_rig::authority(&bus);
    let mut shard = Shard::new(Config { schemas, ..Config::single() }, catalog, handlers, (), consumer, vec![], vec![]);
    for id in 1..authority.symbols() as u32 {
        producer.push(authority.symbol_def(SymbolId(id)).slots()).unwrap();
    }
    for id in 1..authority.sources() as u8 {
        producer.push(authority.source_def(SourceId(id)).slots()).unwrap();
    }
    settle(&mut shard);
    assert_eq!(shard.catalog().symbols(), 1 + SYMBOLS as usize);
    (shard, producer)
}

fn settle(shard: &mut Shard<impl Chain>) {
    while shard.step(&mut ()).work > 0 {
        assert!(shard.ledger().is_balanced());
        assert!(shard.derived().is_balanced());
    }
    assert_eq!((shard.backlog(), shard.ledger().total().in_flight), (0, 0));
}

/// A sound event of `payload`, with `tail` continuations.
fn sound<P: Payload>(payload: &P, tail: usize) -> EventBuf {
    let mut event = EventBuf::new(payload);
    for _ in 0..tail {
        event.push_words([1; 7]).unwrap();
    }
    let head = event.head_mut();
    (head.ts_recv, head.symbol, head.source) = (UnixNanos(START), SymbolId(1), SourceId(3));
    event
}

fn changed(event: &EventBuf, change: impl Fn(&mut Slot)) -> EventBuf {
    let mut event = event.clone();
    change(event.head_mut());
    event
}

fn flagged(event: &EventBuf, flags: Flags) -> EventBuf {
    changed(event, |head| head.flags = head.flags.with(flags))
}

#[test]
fn req_3464_3476_each_refusal_is_counted_by_its_reason() {
    let trade = sound(&Trade { price: 1, size: 1, ..Trade::default() }, 0);
    let depth = |levels: u16| BookDepth { levels, ..BookDepth::default() };
    let depth_slots = |levels: usize| (levels * size_of::<DepthLevel>()).div_ceil(56);
    let news = |text_bytes: u32| News { text_bytes, ..News::default() };
    let features = |count: u32| Features { count, ..Features::default() };
    let mut bar = sound(&Bar::default(), 0);
    bar.push_value(&BarRest::default()).unwrap();
    let wide_with_side = |side: u8| {
        let mut wide = sound(&Quote::default(), 0);
        wide.push_value(&QuoteWide { side, ..QuoteWide::default() }).unwrap();
        flagged(&wide, Flags::WIDE)
    };

    let accepted = [
        trade.clone(),
        changed(&trade, |head| head.scale = SCALE_MAX),
        changed(&trade, |head| head.symbol = SymbolId::NONE),
        changed(&trade, |head| head.source = SourceId::NONE),
        changed(&trade, |head| head.ts_event = UnixNanos::UNKNOWN),
        flagged(&sound(&Trade::default(), 1), Flags::DERIVED),
        bar,
        wide_with_side(2),
        sound(&Quote::default(), 0),
        sound(&depth(0), 0),
        sound(&depth(10), depth_slots(10)),
        sound(&news(0), 0),
        sound(&news(56), 1),
        sound(&news(57), 2),
        sound(&features(8), 2),
    ];
    use Refusal::{BrokenSpan, OutOfRange, UnknownKind, UnknownSource, UnknownSymbol, UnknownVersion};
    let refused = [
        (changed(&trade, |head| head.kind = KindVersion::new(Kind(30), 0)), UnknownKind),
        (changed(&trade, |head| head.kind = KindVersion::new(Kind(0xffe), 0)), UnknownKind),
        (changed(&trade, |head| head.kind = KindVersion::new(Kind::TRADE, 1)), UnknownVersion),
        (changed(&trade, |head| head.symbol = SymbolId(1 + SYMBOLS)), UnknownSymbol),
        (changed(&trade, |head| head.symbol = SymbolId(u32::MAX)), UnknownSymbol),
        (changed(&trade, |head| head.source = SourceId(4)), UnknownSource),
        (changed(&trade, |head| head.scale = SCALE_MAX + 1), OutOfRange),
        (changed(&trade, |head| head.ts_recv = UnixNanos(TIME_NS_MAX + 1)), OutOfRange),
        (changed(&trade, |head| head.ts_recv = UnixNanos::UNKNOWN), OutOfRange),
        (sound(&Trade::default(), 1), BrokenSpan),
        (flagged(&trade, Flags::DERIVED), BrokenSpan),
        (sound(&Bar::default(), 0), BrokenSpan),
        (sound(&Bar::default(), 2), BrokenSpan),
        (flagged(&sound(&Quote::default(), 0), Flags::WIDE), BrokenSpan),
        (sound(&Quote::default(), 1), BrokenSpan),
        (sound(&depth(10), depth_slots(10) - 1), BrokenSpan),
        (sound(&depth(u16::MAX), 0), OutOfRange),
        (sound(&news(57), 1), BrokenSpan),
        (sound(&news(1), 0), BrokenSpan),
        (sound(&news(u32::MAX), 63), OutOfRange),
        (sound(&features(8), 1), BrokenSpan),
        (sound(&features(1), 0), BrokenSpan),
        (sound(&features(u32::MAX), 63), OutOfRange),
        // The bounds of a kind's own fields, in the head and in a continuation.
        (sound(&Trade { side: 3, ..Trade::default() }, 0), OutOfRange),
        (sound(&BookLevel { action: 3, ..BookLevel::default() }, 0), OutOfRange),
        (wide_with_side(3), OutOfRange),
    ];
    let (mut shard, mut producer) = shard();
    for (seq, event) in accepted.iter().enumerate() {
        // Numbers of their own: none repeats another.
        let mut event = event.clone();
        event.head_mut().seq = seq as u64;
        producer.push(event.slots()).unwrap();
    }
    settle(&mut shard);
    let total = shard.ledger().total();
    assert_eq!((total.delivered, total.refused), (accepted.len() as u64, 0));
    for (event, reason) in &refused {
        let (row, by) = (*shard.ledger().row(event.slots()[0].kind()), shard.ledger().refused_by(*reason));
        producer.push(event.slots()).unwrap();
        settle(&mut shard);
        let now = shard.ledger().row(event.slots()[0].kind());
        assert_eq!((now.refused, now.offered), (row.refused + 1, row.offered + 1), "{reason:?}: {event:?}");
        assert_eq!(shard.ledger().refused_by(*reason), by + 1, "{reason:?}: {event:?}");
    }
    assert_eq!(shard.clock(), UnixNanos(START), "a time that no clock shows moves nothing");
    assert_eq!(shard.ledger().unknown_offered(), 2);
}

#[test]
fn a_damaged_definition_is_refused_and_the_shard_goes_on() {
    let (mut shard, mut producer) = shard();
    let catalog = shard.catalog().clone();
    let good = catalog.symbol_def(SymbolId(2));
    let damaged = changed(&good, |head| head.payload[0] ^= 1);
    let skips = changed(&good, |head| head.symbol = SymbolId(40));
    let source = changed(&catalog.source_def(SourceId(3)), |head| head.source = SourceId(200));
    let controls = shard.ledger().controls();
    for event in [&good, &damaged, &skips, &source] {
        producer.push(event.slots()).unwrap();
    }
    settle(&mut shard);
    assert_eq!(shard.ledger().controls(), controls + 1, "the good one was known already");
    assert_eq!(shard.ledger().refused_by(Refusal::OutOfRange), 3);
    assert_eq!(shard.catalog().symbols(), catalog.symbols());
    producer.push(sound(&Trade::default(), 0).slots()).unwrap();
    settle(&mut shard);
    assert_eq!(shard.ledger().total().delivered, 1);
}

/// Random bytes with a span that a ring takes; now and then what random bytes would never hit.
fn random_event(prng: &mut Prng) -> Vec<Slot> {
    let span = if prng.one_in(4) { 1 + prng.index(64) } else { 1 + prng.index(3) };
    let mut slots: Vec<Slot> = (0..span)
        .map(|at| {
            let words: [u64; 8] = std::array::from_fn(|_| prng.next_u64());
            let slot: Slot = bytemuck::cast(words);
            if at > 0 && !prng.one_in(50) { Slot::continuation(words[1..].try_into().unwrap()) } else { slot }
        })
        .collect();
    let head = &mut slots[0];
    head.set_span(span);
    if !prng.one_in(8) {
        let kinds = Kind::ALL;
        head.kind = KindVersion::new(kinds[prng.index(kinds.len())], u8::from(prng.one_in(20)));
    }
    if head.kind() == Kind::CONTINUATION {
        head.kind = KindVersion::new(Kind::TRADE, 0);
    }
    if head.kind() == Kind::TICK {
        head.payload[0] = 0; // the last tick is not this test's
    }
    if !prng.one_in(20) {
        head.ts_recv = UnixNanos(START + prng.in_range(0..100_000_000_000));
    }
    if !prng.one_in(10) {
        head.symbol = SymbolId(prng.in_range(0..u64::from(SYMBOLS) + 1) as u32);
    }
    if !prng.one_in(10) {
        head.source = SourceId(prng.in_range(0..4) as u8);
    }
    if !prng.one_in(10) {
        head.scale = prng.in_range(0..20) as u8;
    }
    if prng.one_in(2) {
        head.flags = head.flags.without(Flags::DERIVED.with(Flags::WIDE));
        head.payload[2] &= 0xffff_ffff_0000_0003;
    }
    // Few random payloads are in the bounds of their fields; zeros are, of most kinds.
    if prng.one_in(6) {
        head.payload = [0; 3];
    }
    slots
}

/// Whether a ring takes it: no head of another event stands inside.
fn is_whole(slots: &[Slot]) -> bool {
    slots[1..].iter().all(|slot| slot.kind() == Kind::CONTINUATION)
}

#[test]
fn req_s1_random_events_are_counted_and_never_a_panic() {
    for_seeds(0..40, |seed, prng| {
        let (mut shard, mut producer) = shard();
        let (mut offered, mut controls) = (0, shard.ledger().controls());
        let mut kinds = std::collections::BTreeSet::new();
        for _ in 0..1_500 {
            let event = random_event(prng);
            if !is_whole(&event) || producer.push(&event).is_err() {
                settle(&mut shard);
                continue;
            }
            // A random definition is always damaged, and a random subscription names no handler; every other kind below the first of an
            // event is control.
            let is_definition = [Kind::SYMBOL_DEF, Kind::SOURCE_DEF, Kind::SUBSCRIPTION].contains(&event[0].kind());
            let is_control = event[0].kind().is_control() && !is_definition;
            controls += u64::from(is_control);
            offered += u64::from(!is_control);
            kinds.insert(event[0].kind());
            if prng.one_in(3) {
                let _ = shard.step(&mut ());
                assert!(shard.ledger().is_balanced(), "seed {seed}");
            }
        }
        settle(&mut shard);
        let total = shard.ledger().total();
        assert_eq!((total.offered, shard.ledger().controls()), (offered, controls), "seed {seed}");
        assert!(total.delivered > 20 && total.refused > 100 && kinds.len() > 16, "seed {seed}: {total:?}");
        let last = tick(UnixNanos(START + 200_000_000_000), true);
        producer.push(last.slots()).unwrap();
        settle(&mut shard);
        assert!(shard.is_drained(), "seed {seed}: {shard:?}");
    });
}

#[test]
fn req_3464_3476_3477_admission_and_the_schema_table_agree() {
    let schemas = Schemas::builtin();
    let mut seen = [0; 3];
    for_seeds(0..20, |seed, prng| {
        let (mut shard, mut producer) = shard();
        for _ in 0..1_000 {
            let mut event = random_event(prng);
            let head = &mut event[0];
            (head.symbol, head.source) = (SymbolId(1), SourceId(1));
            head.flags = head.flags.with(Flags::UNSEQUENCED);
            if head.kind().is_control() || !is_whole(&event) {
                continue;
            }
            let before = Refusal::ALL.map(|reason| shard.ledger().refused_by(reason));
            producer.push(&event).unwrap();
            settle(&mut shard);
            let is_more = |(at, reason): &(usize, Refusal)| shard.ledger().refused_by(*reason) > before[*at];
            let refused = Refusal::ALL.into_iter().enumerate().find(is_more).map(|(_, reason)| reason);
            match schemas.validate(EventRef::first(&event).unwrap()) {
                Ok(()) => {
                    seen[0] += 1;
                    assert_eq!(refused, None, "seed {seed}: {event:?}");
                }
                Err(error) => {
                    let is_own = |field| !["scale", "ts_recv"].contains(&field);
                    let of_field = matches!(error, SchemaError::OutOfBounds { field, .. } if is_own(field));
                    seen[if of_field { 1 } else { 2 }] += 1;
                    assert_eq!(refused, Some(error.refusal()), "seed {seed}: {error}, {event:?}");
                }
            }
        }
    });
    assert!(seen.iter().all(|count| *count > 200), "{seen:?}");
}

#[test]
fn req_3398_an_older_version_is_admitted_once_it_is_upgraded_and_not_before() {
    fn upgrade(old: &Slot, _tail: &[Slot], new: &mut EventBuf) -> Result<(), UpgradeRefused> {
        // What had no number of its own before has one now.
        *new.head_mut().payload_mut() = Trade { depth: 7, ..*old.payload_as::<Trade>() };
        Ok(())
    }
    let mut builder = Schemas::builder().with_builtin();
    let first = *Schemas::builtin().layout(Kind::TRADE, 0).unwrap();
    builder.register(Layout { version: 1, ..first }.upgraded_by(upgrade)).unwrap();
    let schemas = builder.freeze();
    let (mut shard, mut producer) = shard_with(schemas.clone());
    let old = sound(&Trade { price: 5, size: 6, ..Trade::default() }, 0);
    producer.push(old.slots()).unwrap();
    settle(&mut shard);
    assert_eq!(shard.ledger().refused_by(Refusal::UnknownVersion), 1);
    let mut buf = UpgradeBuf::default();
    let new = schemas.upgrade(EventRef::first(old.slots()).unwrap(), &mut buf).unwrap();
    assert_eq!((new.head().kind, new.head().payload_as::<Trade>().depth), (KindVersion::new(Kind::TRADE, 1), 7));
    producer.push(new.slots()).unwrap();
    settle(&mut shard);
    assert_eq!(shard.ledger().row(Kind::TRADE).delivered, 1);
}
