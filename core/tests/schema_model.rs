//! The compiled schema table against a naive reading of the same layouts, over random events and random damage.

use proptest::prelude::*;
use std::collections::BTreeMap;
use tapeline_core::event::payload::{BarRest, BookDepth, DepthLevel, Features, News, Quote, QuoteWide, Tick, Trade};
use tapeline_core::event::{EventBuf, EventRef, Flags, Kind, KindVersion, Slot};
use tapeline_core::ledger::Refusal;
use tapeline_core::limits::{CONTINUATION_BYTES, SPAN_SLOTS_MAX, TIME_NS_MAX};
use tapeline_core::schema::{Bounds, Field, Layout, SchemaError, Schemas, Tail, Type};
use tapeline_core::testing::{CountingAlloc, PrintOnPanic, Prng, without_allocation};
use tapeline_core::units::{SCALE_MAX, UnixNanos};

#[global_allocator]
static ALLOC: CountingAlloc = CountingAlloc;

/// Whether the field at its place in `part` is in bounds, by its type, one type after the other.
fn holds(field: &Field, part: &[u8]) -> bool {
    let bytes = &part[usize::from(field.offset)..][..field.ty.bytes()];
    let unsigned = || bytes.iter().rev().fold(0u64, |number, byte| number << 8 | u64::from(*byte));
    let signed = || match field.ty {
        Type::I8 => i64::from(unsigned() as u8 as i8),
        Type::I16 => i64::from(unsigned() as u16 as i16),
        Type::I32 => i64::from(unsigned() as u32 as i32),
        _ => unsigned() as i64,
    };
    match field.bounds {
        Bounds::Any => true,
        Bounds::Zero => bytes.iter().all(|byte| *byte == 0),
        Bounds::Unsigned(from, to) => (from..=to).contains(&unsigned()),
        Bounds::Signed(from, to) => (from..=to).contains(&signed()),
        Bounds::Float(from, to) => (from..=to).contains(&f64::from_bits(unsigned())),
    }
}

fn number(layout: &Layout, name: &str, payload: &[u8]) -> usize {
    let field = layout.head.iter().find(|field| field.name == name).expect("it counts");
    let bytes = &payload[usize::from(field.offset)..][..field.ty.bytes()];
    bytes.iter().rev().fold(0, |number, byte| number << 8 | usize::from(*byte))
}

/// What the layouts say of an event: the reason to refuse it, and the field.
fn naive(layouts: &BTreeMap<(u16, u8), Layout>, event: EventRef<'_>) -> Result<(), (Refusal, &'static str)> {
    let head = event.head();
    let Some(layout) = layouts.get(&(head.kind().0, head.kind.version())) else {
        let known = layouts.keys().any(|(kind, _)| *kind == head.kind().0);
        return Err((if known { Refusal::UnknownVersion } else { Refusal::UnknownKind }, ""));
    };
    if head.scale > SCALE_MAX {
        return Err((Refusal::OutOfRange, "scale"));
    }
    if head.ts_recv.0 > TIME_NS_MAX {
        return Err((Refusal::OutOfRange, "ts_recv"));
    }
    let payload = bytemuck::bytes_of(&head.payload);
    if let Some(field) = layout.head.iter().find(|field| !holds(field, payload)) {
        return Err((Refusal::OutOfRange, field.name));
    }
    let wide = head.flags.contains(Flags::WIDE);
    let (elements, bytes) = match layout.tail {
        Tail::None => (0, 0),
        Tail::One(_) => (1, CONTINUATION_BYTES),
        Tail::Wide(_) => (usize::from(wide), CONTINUATION_BYTES),
        Tail::Repeated { count, element_bytes, .. } => (number(layout, count, payload), usize::from(element_bytes)),
    };
    let derived = usize::from(head.flags.contains(Flags::DERIVED));
    if event.tail().len() != (elements * bytes).div_ceil(CONTINUATION_BYTES) + derived {
        return Err((Refusal::BrokenSpan, ""));
    }
    let tail: Vec<u8> = event.tail_words().flat_map(u64::to_le_bytes).collect();
    for element in tail.chunks(bytes.max(1)).take(elements) {
        if let Some(field) = layout.tail_fields().iter().find(|field| !holds(field, element)) {
            return Err((Refusal::OutOfRange, field.name));
        }
    }
    Ok(())
}

/// A random event, mostly whole and in bounds.
fn event(prng: &mut Prng, layouts: &[Layout], into: &mut EventBuf) {
    let layout = &layouts[prng.index(layouts.len())];
    into.reset(&Tick::default());
    let head = into.head_mut();
    head.kind = KindVersion::new(layout.kind, layout.version);
    match prng.index(80) {
        0 => head.kind = KindVersion::new(Kind(prng.in_range(0..0xfff) as u16), layout.version),
        1 => head.kind = KindVersion::new(layout.kind, 1 + prng.index(15) as u8),
        _ => {}
    }
    let scales = if prng.one_in(50) { 256 } else { 20 };
    head.scale = prng.index(scales) as u8;
    head.ts_recv =
        UnixNanos(if prng.one_in(50) { TIME_NS_MAX - 3 + prng.in_range(0..6) } else { prng.log_uniform(63) });
    head.flags = Flags(prng.next_u64() as u8 & prng.next_u64() as u8);
    let flags = head.flags;
    let draw = |prng: &mut Prng, field: &Field, part: &mut [u8]| {
        let number = match field.bounds {
            _ if prng.one_in(60) => prng.next_u64() & prng.next_u64(),
            Bounds::Any => prng.log_uniform(64),
            Bounds::Zero => 0,
            // One beyond, now and then.
            Bounds::Unsigned(from, to) => {
                (from + prng.in_range(0..to - from + 1)).wrapping_add(u64::from(prng.one_in(60)))
            }
            Bounds::Signed(from, to) => {
                (from + prng.in_range(0..(to - from) as u64 + 1) as i64 + i64::from(prng.one_in(60))) as u64
            }
            Bounds::Float(from, to) => {
                let values =
                    [from, to, 0.0, -0.0, f64::NAN, f64::INFINITY, -f64::NAN, f64::NEG_INFINITY, to * 2.0, 1e-300];
                let most = if prng.one_in(60) { values.len() } else { 4 };
                values[prng.index(most)].to_bits()
            }
        };
        let bytes = number.to_le_bytes();
        let to = &mut part[usize::from(field.offset)..][..field.ty.bytes()];
        for (at, byte) in to.iter_mut().enumerate() {
            *byte = bytes.get(at).copied().unwrap_or(0);
        }
    };
    let mut payload = [0u8; 24];
    for field in layout.head {
        draw(prng, field, &mut payload);
    }
    if let Tail::Repeated { count, .. } = layout.tail
        && !prng.one_in(30)
    {
        let field = layout.head.iter().find(|field| field.name == count).unwrap();
        let few = prng.in_range(0..30) as u8;
        payload[usize::from(field.offset)..][..field.ty.bytes()].fill(0);
        payload[usize::from(field.offset)] = few;
    }
    into.head_mut().payload = bytemuck::cast(payload);
    let (elements, bytes) = match layout.tail {
        Tail::None => (0, 1),
        Tail::One(_) => (1, CONTINUATION_BYTES),
        Tail::Wide(_) => (usize::from(flags.contains(Flags::WIDE)), CONTINUATION_BYTES),
        Tail::Repeated { count, element_bytes, .. } => (number(layout, count, &payload), usize::from(element_bytes)),
    };
    let mut tail = vec![0u8; (elements.min(1_000) * bytes).min((SPAN_SLOTS_MAX - 2) * CONTINUATION_BYTES)];
    for element in tail.chunks_exact_mut(bytes) {
        for field in layout.tail_fields() {
            draw(prng, field, element);
        }
    }
    into.push_bytes(&tail).unwrap();
    if flags.contains(Flags::DERIVED) != prng.one_in(40) {
        into.push_words([prng.next_u64(); 7]).unwrap();
    }
}

/// How many events were judged how.
fn run(seed: u64, events: usize) -> BTreeMap<String, u64> {
    let _named = PrintOnPanic(format_args!("seed={seed}"));
    let mut prng = Prng::new(seed);
    let schemas = Schemas::builtin();
    let layouts: BTreeMap<_, _> =
        schemas.layouts().iter().map(|layout| ((layout.kind.0, layout.version), *layout)).collect();
    let mut buf = EventBuf::new(&Tick::default());
    let mut seen: BTreeMap<String, u64> = BTreeMap::new();
    for _ in 0..events {
        event(&mut prng, schemas.layouts(), &mut buf);
        let Some(event) = EventRef::first(buf.slots()) else { panic!("{:?}", buf.slots()[0]) };
        let result = without_allocation(|| schemas.validate(event));
        let expected = naive(&layouts, event);
        let got = result.map_err(|error| {
            let field = if let SchemaError::OutOfBounds { field, .. } = error { field } else { "" };
            (error.refusal(), field)
        });
        assert_eq!(got, expected, "{event:?}: {result:?}");
        let name = got.err().map_or("fine", |(refusal, _)| refusal.name());
        *seen.entry(name.to_owned()).or_default() += 1;
    }
    seen
}

fn run_and_see_all(seed: u64, events: usize) {
    let seen = run(seed, events);
    for name in ["fine", "unknown_kind", "unknown_version", "out_of_range", "broken_span"] {
        assert!(seen.get(name).is_some_and(|count| *count > events as u64 / 1_000), "{name}: {seen:?}");
    }
}

#[test]
fn ten_million_events_are_judged_as_the_layouts_say_first_half() {
    for seed in 0..50 {
        run_and_see_all(seed, 100_000);
    }
}

#[test]
fn ten_million_events_are_judged_as_the_layouts_say_second_half() {
    for seed in 50..100 {
        run_and_see_all(seed, 100_000);
    }
}

#[test]
#[ignore = "soak: 100 million events; cargo test -p tapeline-core --test schema_model -- --ignored"]
fn soak_a_hundred_million_events_are_judged_as_the_layouts_say() {
    for seed in 0..100 {
        run_and_see_all(1 << 32 | seed, 1_000_000);
    }
}

/// Every event that the engine's own sources can make of these is accepted, however large.
#[test]
fn the_longest_events_of_every_kind_are_accepted() {
    let schemas = Schemas::builtin();
    let accepts = |event: &EventBuf| schemas.validate(EventRef::first(event.slots()).unwrap());
    let most = (SPAN_SLOTS_MAX - 1) * CONTINUATION_BYTES;

    let mut news = EventBuf::new(&News { text_bytes: most as u32, ..News::default() });
    news.push_bytes(&vec![b'x'; most]).unwrap();
    assert_eq!(accepts(&news), Ok(()));
    let mut news = EventBuf::new(&News { text_bytes: most as u32 + 1, ..News::default() });
    news.push_bytes(&vec![b'x'; most]).unwrap();
    let error = accepts(&news).unwrap_err();
    assert_eq!(error.to_string(), "field text_bytes of news.v0 is 3529, it may be 0 to 3528");

    let levels = most / size_of::<DepthLevel>();
    let mut depth = EventBuf::new(&BookDepth { levels: levels as u16, ..BookDepth::default() });
    depth.push_bytes(&vec![0xff; levels * size_of::<DepthLevel>()]).unwrap();
    assert_eq!(accepts(&depth), Ok(()));

    let mut features = EventBuf::new(&Features { count: (most / 8) as u32, ..Features::default() });
    features.push_bytes(&vec![0; most]).unwrap();
    assert_eq!(accepts(&features), Ok(()));
    let mut features = EventBuf::new(&Features { count: 8, ..Features::default() });
    features.push_words([0, 0, 0, 0, 0, 0, f64::MAX.to_bits()]).unwrap();
    features.push_words([f64::NAN.to_bits(), 0, 0, 0, 0, 0, 0]).unwrap();
    assert_eq!(
        accepts(&features).unwrap_err().to_string(),
        format!("field value of features.v0 is NaN, it may be {} to {}", f64::MIN, f64::MAX)
    );

    let mut quote = EventBuf::new(&Quote { bid_px: i64::MAX, ask_px: i64::MIN, ..Quote::default() });
    assert_eq!(accepts(&quote), Ok(()));
    quote.flag(Flags::WIDE);
    assert_eq!(accepts(&quote).unwrap_err().to_string(), "an event of quote.v0 with this head has 2 slots, not 1");
    quote.push_value(&QuoteWide { side: 2, ..QuoteWide::default() }).unwrap();
    assert_eq!(accepts(&quote), Ok(()));
    quote.flag(Flags::DERIVED);
    assert_eq!(accepts(&quote).unwrap_err().to_string(), "an event of quote.v0 with this head has 3 slots, not 2");

    let mut bar = EventBuf::new(&tapeline_core::event::payload::Bar::default());
    bar.push_value(&BarRest { reserved: [0, 1], ..BarRest::default() }).unwrap();
    assert_eq!(accepts(&bar).unwrap_err().to_string(), "field reserved of bar.v0 is 1, it may be 0 to 0");

    let mut trade = EventBuf::new(&Trade::default());
    *trade.head_mut() = Slot { scale: SCALE_MAX + 1, ..*trade.head_mut() };
    assert_eq!(accepts(&trade).unwrap_err().to_string(), "field scale of trade.v0 is 20, it may be 0 to 19");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    /// Shrinks to the fewest events that are judged otherwise.
    #[test]
    fn any_events_are_judged_as_the_layouts_say(seed in any::<u64>(), events in 1usize..40) {
        run(seed, events);
    }

    /// Bytes that nothing has made, in the shape of an event: one judgement, the twin's, and no panic.
    #[test]
    fn any_bytes_are_judged_as_the_layouts_say(
        kind in prop_oneof![0u16..64, any::<u16>()],
        words in prop::collection::vec(any::<u64>(), 8),
        tail in prop::collection::vec(any::<[u64; 7]>(), 0..9),
    ) {
        let schemas = Schemas::builtin();
        let layouts: BTreeMap<_, _> =
            schemas.layouts().iter().map(|layout| ((layout.kind.0, layout.version), *layout)).collect();
        let mut head: Slot = bytemuck::must_cast([words[0], words[1], words[2], words[3], words[4], words[5], words[6], words[7]]);
        head.kind = KindVersion(kind);
        head.set_span(1 + tail.len());
        let slots: Vec<Slot> = std::iter::once(head).chain(tail.into_iter().map(Slot::continuation)).collect();
        if let Some(event) = EventRef::first(&slots) {
            let got = schemas.validate(event).map_err(|error| error.refusal());
            prop_assert_eq!(got, naive(&layouts, event).map_err(|(refusal, _)| refusal));
        }
    }
}
