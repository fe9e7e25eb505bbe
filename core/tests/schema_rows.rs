//! The rows of the requirements that the schema table shows: frozen, versioned, upgraded, compared; and bad registrations.

use bytemuck::{Pod, Zeroable};
use tapeline_core::event::payload::{Cause, Payload, SystemPhase, Trade};
use tapeline_core::event::{EventBuf, EventRef, Flags, Identity, Kind, KindVersion, Lane, Slot};
use tapeline_core::limits::{SCHEMA_FIELDS_MAX, SCHEMAS_MAX};
use tapeline_core::scanner::Rule;
use tapeline_core::schema::{
    Bounds, Builder, Compatibility, Field, Layout, RegisterError, SchemaError, Schemas, Tail, Type, UpgradeBuf,
    UpgradeError, UpgradeRefused, compatibility,
};
use tapeline_core::schema_fields;
use tapeline_core::testing::{CountingAlloc, allocations, without_allocation};
use tapeline_core::units::{SourceId, SymbolId, UnixNanos};

#[global_allocator]
static ALLOC: CountingAlloc = CountingAlloc;

/// A kind of a user's own, in three versions.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Pod, Zeroable)]
struct Fill0 {
    price: i64,
    size: u32,
    reserved: [u8; 12],
}

/// Version 1 has a fee where there was room.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Pod, Zeroable)]
struct Fill1 {
    price: i64,
    size: u32,
    fee: u32,
    reserved: [u8; 8],
}

/// Version 2 has a larger size, and a note behind.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Pod, Zeroable)]
struct Fill2 {
    price: i64,
    size: u64,
    fee: u32,
    note_bytes: u32,
}

const FILL: Kind = Kind(40);

impl Payload for Fill0 {
    const KIND: Kind = FILL;
}
impl Payload for Fill1 {
    const KIND: Kind = FILL;
    const VERSION: u8 = 1;
}
impl Payload for Fill2 {
    const KIND: Kind = FILL;
    const VERSION: u8 = 2;
}

const FILL_0: Layout = Layout::of::<Fill0>(
    "fill",
    schema_fields!(Fill0: price "1e-9" = Bounds::Any, size "mantissa" = Bounds::Unsigned(1, 1_000), reserved "" = Bounds::Zero),
    Tail::None,
);
const FILL_1: Layout = Layout::of::<Fill1>(
    "fill",
    schema_fields!(Fill1:
        price "1e-9" = Bounds::Any,
        size "mantissa" = Bounds::Unsigned(1, 1_000),
        fee "1e-9" = Bounds::Unsigned(0, 50),
        reserved "" = Bounds::Zero,
    ),
    Tail::None,
)
.upgraded_by(upgrade_1);
const FILL_2: Layout = Layout::of::<Fill2>(
    "fill",
    schema_fields!(Fill2:
        price "1e-9" = Bounds::Any,
        size "mantissa" = Bounds::Unsigned(1, 5_000),
        fee "1e-9" = Bounds::Unsigned(0, 50),
        note_bytes "bytes" = Bounds::Unsigned(0, 100),
    ),
    Tail::Repeated { count: "note_bytes", element_bytes: 1, fields: &[] },
)
.upgraded_by(upgrade_2);

fn upgrade_1(old: &Slot, tail: &[Slot], new: &mut EventBuf) -> Result<(), UpgradeRefused> {
    assert!(tail.is_empty(), "the cause is not shown");
    let Fill0 { price, size, .. } = *old.payload_as::<Fill0>();
    *new.head_mut().payload_mut() = Fill1 { price, size, fee: size / 100, ..Fill1::default() };
    Ok(())
}

fn upgrade_2(old: &Slot, _tail: &[Slot], new: &mut EventBuf) -> Result<(), UpgradeRefused> {
    let Fill1 { price, size, fee, .. } = *old.payload_as::<Fill1>();
    match size {
        13 => return Err(UpgradeRefused("thirteen brings bad luck")),
        // A mistake: what it makes is out of bounds.
        14 => *new.head_mut().payload_mut() = Fill2 { price, size: 0, ..Fill2::default() },
        _ => {
            *new.head_mut().payload_mut() = Fill2 { price, size: size.into(), fee, note_bytes: 60 };
            new.head_mut().scale += 1;
            // Meddling with what is not its own changes nothing.
            new.head_mut().symbol = SymbolId(99);
            new.head_mut().set_span(1);
            new.push_bytes(&[b'n'; 60])?;
        }
    }
    Ok(())
}

fn fills() -> Builder {
    let mut builder = Schemas::builder();
    builder.register(FILL_0).unwrap().register(FILL_1).unwrap().register(FILL_2).unwrap();
    builder
}

fn fill(size: u32) -> EventBuf {
    let mut event = EventBuf::new(&Fill0 { price: 7, size, ..Fill0::default() });
    let head = event.head_mut();
    (head.ts_recv, head.ts_event, head.seq) = (UnixNanos(11), UnixNanos(10), 12);
    (head.symbol, head.part, head.source, head.scale) = (SymbolId(3), 4, SourceId(5), 2);
    head.set_lane(Lane::High);
    event
}

fn whole(event: &EventBuf) -> EventRef<'_> {
    EventRef::first(event.slots()).unwrap()
}

#[test]
fn req_3397_the_table_is_frozen_and_holds_every_kind_of_the_engine() {
    let schemas = Schemas::builtin();
    assert_eq!(schemas.layouts().len(), Kind::ALL.len());
    for (layout, kind) in schemas.layouts().iter().zip(Kind::ALL) {
        assert_eq!((layout.kind, layout.name, layout.version), (*kind, kind.name(), 0));
        assert_eq!(schemas.newest(*kind), Some(0));
        assert_eq!(schemas.layout(*kind, 0).map(|layout| layout.name), Some(kind.name()));
    }
    assert_eq!((schemas.newest(Kind(63)), schemas.newest(Kind(4_000))), (None, None));
    assert!(schemas.layout(Kind::TRADE, 1).is_none() && schemas.bytes() > 0);
}

/// Row `types` of the requirements: every type of event that they list is a kind with a schema of its own, and an event of it passes.
#[test]
fn req_types_every_type_of_event_is_a_kind_with_a_schema() {
    let schemas = Schemas::builtin();
    let types = [
        ("trade", Kind::TRADE),
        ("quote (BBO)", Kind::QUOTE),
        ("book order add/modify/cancel/execute", Kind::BOOK_ORDER),
        ("OHLCV bar", Kind::BAR),
        ("news", Kind::NEWS),
        ("scanner alert", Kind::ALERT),
        ("feature request", Kind::FEATURE_REQUEST),
        ("features computed", Kind::FEATURES),
        ("symbol qualified", Kind::SYMBOL_QUALIFIED),
        ("symbol promoted", Kind::SYMBOL_PROMOTED),
        ("backfill needed", Kind::BACKFILL_NEEDED),
        ("backfill done", Kind::BACKFILL_DONE),
        ("signal", Kind::SIGNAL),
        ("system startup/shutdown", Kind::SYSTEM),
        ("health", Kind::HEALTH),
        ("error", Kind::ERROR),
        ("gap in a feed", Kind::GAP),
    ];
    for (what, kind) in types {
        assert!(kind.is_known() && !kind.is_control(), "{what}");
        let layout = schemas.layout(kind, 0).unwrap_or_else(|| panic!("{what} has no layout"));
        // The smallest event in bounds: zeros, but where a field says otherwise.
        let mut head = Slot { kind: KindVersion::new(kind, 0), ..Slot::ZERO };
        if kind == Kind::ERROR {
            head.payload[1] = 1;
        }
        if matches!(kind, Kind::BACKFILL_NEEDED | Kind::BACKFILL_DONE) {
            head.payload[2] = u64::from(Kind::TRADE.0) << 32;
        }
        let own = usize::from(matches!(layout.tail, Tail::One(_)));
        head.set_span(1 + own);
        let slots = [head, Slot::continuation([0; 7])];
        let event = EventRef::first(&slots[..=own]).unwrap();
        assert_eq!(schemas.validate(event), Ok(()), "{what}");
    }
    let phases = [SystemPhase::Starting, SystemPhase::Stopping].map(SystemPhase::name);
    assert_eq!(phases, ["starting", "stopping"]);
    for alert in ["breakout", "volume_spike", "gap", "momentum", "volatility", "halt"] {
        assert!(Rule::from_name(alert).is_some(), "alerts of {alert}");
    }
}

/// A change here is a change of the formats: tapes, journals and snapshots carry this hash.
#[test]
fn req_3397_the_hash_of_the_layouts_is_golden_and_depends_on_every_part() {
    assert_eq!(Schemas::builtin().layout_hash(), GOLDEN_HASH, "{:#x}", Schemas::builtin().layout_hash());
    assert_eq!(Schemas::builder().freeze().layout_hash(), tapeline_core::hash::stable(b"tapeline layouts 1\n"));
    let hash = |layout: Layout| {
        let mut builder = Schemas::builder();
        builder.register(layout).unwrap();
        builder.freeze().layout_hash()
    };
    const A: &[Field] = &[field("a", 0, Type::U64, Bounds::Any), REST];
    const REST: Field = field("rest", 8, Type::Bytes(16), Bounds::Zero);
    const NAME: &[Field] = &[field("b", 0, Type::U64, Bounds::Any), REST];
    const TYPE: &[Field] = &[field("a", 0, Type::I64, Bounds::Any), REST];
    const BOUNDS: &[Field] = &[field("a", 0, Type::U64, Bounds::Unsigned(0, 9)), REST];
    const UNIT: &[Field] = &[Field { unit: "ns", ..field("a", 0, Type::U64, Bounds::Any) }, REST];
    const PLACE: &[Field] = &[field("rest", 0, Type::Bytes(16), Bounds::Zero), field("a", 16, Type::U64, Bounds::Any)];
    let layout = |head| Layout { kind: Kind(50), name: "own", version: 0, head, tail: Tail::None, upgrade: None };
    let mut hashes: Vec<u64> = [A, NAME, TYPE, BOUNDS, UNIT, PLACE].map(layout).map(hash).to_vec();
    hashes.push(hash(Layout { kind: Kind(51), ..layout(A) }));
    hashes.push(hash(Layout { name: "other", ..layout(A) }));
    let count = hashes.len();
    hashes.sort_unstable();
    hashes.dedup();
    assert_eq!(hashes.len(), count);
    // The order of registration is none of them.
    let mut other_way = Schemas::builder();
    other_way.register(Layout { kind: Kind(51), name: "more", ..layout(A) }).unwrap();
    let one = other_way.with_builtin().freeze();
    let mut builder = Schemas::builder().with_builtin();
    builder.register(Layout { kind: Kind(51), name: "more", ..layout(A) }).unwrap();
    assert_eq!(one.layout_hash(), builder.freeze().layout_hash());
}

const GOLDEN_HASH: u64 = 0xbfda_23e8_6efb_c3be;

/// The listing of one kind, as a command will print it.
#[test]
fn names_types_offsets_and_units_are_listed() {
    let schemas = Schemas::builtin();
    let list = |kind| -> Vec<String> {
        let layout = schemas.layout(kind, 0).unwrap();
        let line = |field: &Field| format!("{} {} {} {}", field.offset, field.name, field.ty.name(), field.unit);
        layout.fields().map(line).collect()
    };
    assert_eq!(
        list(Kind::TRADE),
        [
            "0 price i64 1e-9",
            "8 size u64 mantissa",
            "16 side u8 ",
            "17 action u8 ",
            "18 source_flags u8 ",
            "19 depth u8 ",
            "20 ts_in_delta i32 ns",
        ]
    );
    assert_eq!(
        list(Kind::BAR)[2..6],
        ["16 low i64 1e-9", "0 close i64 1e-9", "8 volume u64 mantissa", "16 interval_ns u64 ns"]
    );
    assert_eq!(list(Kind::SIGNAL)[0], "0 strength f64 ");
    assert_eq!(list(Kind::FEATURES).last().unwrap(), "0 value f64 ");
}

#[test]
fn req_3396_3399_3464_3477_nothing_is_compiled_or_allocated_for_an_event() {
    let before = allocations();
    let schemas = Schemas::builtin();
    assert!(allocations() > before, "layouts are compiled when the table is made");
    let mut event = EventBuf::new(&Trade { side: 2, ..Trade::default() });
    without_allocation(|| {
        for side in 0..=255 {
            event.head_mut().payload_mut::<Trade>().side = side;
            let refused = schemas.validate(whole(&event));
            assert_eq!(refused.is_err(), side > 2, "{refused:?}");
        }
        event.head_mut().kind = KindVersion::new(Kind::TRADE, 9);
        assert!(schemas.validate(whole(&event)).is_err());
    });
}

#[test]
fn req_3398_an_old_version_is_upgraded_on_read_and_an_unknown_one_is_refused_with_its_number() {
    let schemas = fills().freeze();
    let mut buf = UpgradeBuf::default();
    let old = fill(200);
    let new = without_allocation(|| schemas.upgrade(whole(&old), &mut buf)).unwrap();
    assert_eq!(schemas.validate(new), Ok(()));
    assert_eq!(new.get::<Fill2>(), Some(&Fill2 { price: 7, size: 200, fee: 2, note_bytes: 60 }));
    assert_eq!(new.slots().len(), 3);
    let (head, before) = (new.head(), old.slots()[0]);
    assert_eq!(head.identity(), before.identity());
    assert_eq!((head.ts_recv, head.ts_event, head.lane()), (before.ts_recv, before.ts_event, Lane::High));
    assert_eq!((head.kind, head.scale, head.tag), (KindVersion::new(FILL, 2), 3, 0));

    let mut unknown = fill(1);
    unknown.head_mut().kind = KindVersion::new(FILL, 3);
    let error = schemas.upgrade(whole(&unknown), &mut buf).unwrap_err();
    assert_eq!(error, UpgradeError::Old(SchemaError::UnknownVersion { name: "fill", version: 3, newest: 2 }));
    assert_eq!(error.to_string(), "version 3 of fill is not known, the newest is 2");
    assert_eq!(schemas.validate(whole(&EventBuf::new(&Trade::default()))), Err(SchemaError::UnknownKind(8)));
}

#[test]
fn the_newest_version_is_given_back_as_it_is() {
    let schemas = Schemas::builtin();
    let event = EventBuf::new(&Trade::default());
    let mut buf = UpgradeBuf::default();
    let same = schemas.upgrade(whole(&event), &mut buf).unwrap();
    assert!(std::ptr::eq(same.head(), &event.slots()[0]));
}

#[test]
fn a_derived_event_keeps_its_cause_through_an_upgrade() {
    let schemas = fills().freeze();
    let mut old = fill(200);
    old.flag(Flags::DERIVED);
    old.flag(Flags::LAST);
    let cause = Cause { root: Identity { seq: 77, ..Identity::default() }, index: 5, ..Cause::default() };
    old.push_value(&cause).unwrap();
    let mut buf = UpgradeBuf::default();
    let new = schemas.upgrade(whole(&old), &mut buf).unwrap();
    assert_eq!(Cause::of(new), Some(&cause));
    assert_eq!((new.slots().len(), new.head().flags), (4, Flags::DERIVED.with(Flags::LAST)));
}

#[test]
fn bad_events_refusing_upgrades_and_bad_upgrades_are_told_apart() {
    let schemas = fills().freeze();
    let mut buf = UpgradeBuf::default();
    let error = |size: u32, buf: &mut UpgradeBuf| schemas.upgrade(whole(&fill(size)), buf).unwrap_err().to_string();
    assert_eq!(error(1_001, &mut buf), "field size of fill.v0 is 1001, it may be 1 to 1000");
    let refused = "an event of fill.v1 could not be made the next version: thirteen brings bad luck";
    assert_eq!(error(13, &mut buf), refused);
    let bad = "the upgrade of fill.v1 made a bad event: field size of fill.v2 is 0, it may be 1 to 5000";
    assert_eq!(error(14, &mut buf), bad);
}

const fn field(name: &'static str, offset: u16, ty: Type, bounds: Bounds) -> Field {
    Field { name, offset, ty, unit: "", bounds }
}

#[test]
fn req_3398_compatibility_of_two_versions_is_told_with_its_reasons() {
    let compare = |old: &Layout, new: &Layout| {
        let mut reasons = Vec::new();
        let level = compatibility(old, new, |difference| {
            reasons.push(format!("{} {}", difference.field, difference.what));
        });
        (level.name(), reasons)
    };
    assert_eq!(compare(&FILL_0, &FILL_0), ("full", vec![]));
    let reasons = vec!["fee is new, its bytes had to be zero".to_owned()];
    assert_eq!(compare(&FILL_0, &FILL_1), ("backward", reasons));
    let reasons = vec!["fee is gone, its bytes have to be zero".to_owned()];
    assert_eq!(compare(&FILL_1, &FILL_0), ("forward", reasons));
    let (level, reasons) = compare(&FILL_1, &FILL_2);
    assert_eq!(level, "none");
    let expected = [
        "size has another type",
        "fee has moved",
        "note_bytes is new, its bytes had to be zero",
        " what follows the head is different",
    ];
    assert!(expected.iter().all(|reason| reasons.iter().any(|is| is == reason)), "{reasons:?}");
}

#[test]
fn each_kind_of_difference_has_its_level() {
    const fn layout(head: &'static [Field]) -> Layout {
        Layout { kind: FILL, name: "fill", version: 0, head, tail: Tail::None, upgrade: None }
    }
    const REST: Field = field("rest", 8, Type::Bytes(16), Bounds::Zero);
    const OLD: &[Field] = &[field("a", 0, Type::I64, Bounds::Signed(-5, 5)), REST];
    const NARROW: &[Field] = &[field("a", 0, Type::I64, Bounds::Signed(-5, 4)), REST];
    const WIDE: &[Field] = &[field("a", 0, Type::I64, Bounds::Any), REST];
    const OTHER: &[Field] = &[field("a", 0, Type::I64, Bounds::Signed(0, 6)), REST];
    const UNIT: &[Field] = &[Field { unit: "ns", ..field("a", 0, Type::I64, Bounds::Signed(-5, 5)) }, REST];
    const TYPE: &[Field] = &[field("a", 0, Type::U64, Bounds::Unsigned(0, 5)), REST];
    const RENAMED: &[Field] = &[field("b", 0, Type::I64, Bounds::Signed(-5, 5)), REST];
    const GONE: &[Field] = &[field("rest", 0, Type::Bytes(24), Bounds::Zero)];
    const NOT_ZERO: &[Field] = &[
        field("a", 0, Type::I64, Bounds::Signed(-5, 5)),
        field("b", 8, Type::U64, Bounds::Unsigned(1, 2)),
        field("rest", 16, Type::Bytes(8), Bounds::Zero),
    ];
    let level = |new, old| compatibility(&layout(old), &layout(new), |_| {});
    assert_eq!(level(OLD, OLD), Compatibility::Full);
    assert_eq!(level(NARROW, OLD), Compatibility::Forward);
    assert_eq!(level(WIDE, OLD), Compatibility::Backward);
    assert_eq!(level(OTHER, OLD), Compatibility::None);
    assert_eq!(level(UNIT, OLD), Compatibility::None);
    assert_eq!(level(TYPE, OLD), Compatibility::None);
    assert_eq!(level(RENAMED, OLD), Compatibility::None);
    assert_eq!(level(GONE, OLD), Compatibility::Forward);
    assert_eq!(level(OLD, GONE), Compatibility::Backward);
    assert_eq!(level(NOT_ZERO, OLD), Compatibility::None, "old events have a zero there, which is out of bounds");
    const PART: &[Field] = &[field("part", 0, Type::Bytes(56), Bounds::Any)];
    let wide = Layout { tail: Tail::Wide(PART), ..layout(OLD) };
    assert_eq!(compatibility(&layout(OLD), &wide, |_| {}), Compatibility::Backward);
    assert_eq!(compatibility(&wide, &layout(OLD), |_| {}), Compatibility::Forward);
    let other_kind = Layout { kind: Kind(41), ..layout(OLD) };
    assert_eq!(compatibility(&layout(OLD), &other_kind, |_| {}), Compatibility::None);
}

#[test]
fn bad_registrations_are_refused_by_name_and_leave_the_builder_as_it_was() {
    const ANY: Bounds = Bounds::Any;
    const HEAD: &[Field] = &[field("a", 0, Type::U64, ANY), field("rest", 8, Type::Bytes(16), Bounds::Zero)];
    let own = |head| Layout { kind: Kind(50), name: "own", version: 0, head, tail: Tail::None, upgrade: None };
    let mut builder = fills();
    let hash = builder.clone().freeze().layout_hash();
    let mut refused = |layout: Layout| builder.register(layout).map(|_| ()).unwrap_err();
    let name = "own";
    assert_eq!(refused(FILL_1), RegisterError::Duplicate { name: "fill", version: 1 });
    let gap = Layout { version: 4, ..FILL_2 };
    assert_eq!(refused(gap), RegisterError::VersionGap { name: "fill", version: 4, expected: 3 });
    assert_eq!(refused(Layout { version: 16, ..FILL_2 }), RegisterError::Version { name: "fill", version: 16 });
    assert_eq!(
        refused(Layout { version: 3, upgrade: None, ..FILL_2 }),
        RegisterError::NoUpgrade { name: "fill", version: 3 }
    );
    assert_eq!(refused(own(HEAD).upgraded_by(upgrade_1)), RegisterError::UpgradeOfNothing(name));
    for kind in [0, 0xfff, 0x1000, u16::MAX] {
        assert_eq!(refused(Layout { kind: Kind(kind), ..own(HEAD) }), RegisterError::Kind(kind));
    }
    for name in ["", "Own", "own kind"] {
        assert_eq!(refused(Layout { name, ..own(HEAD) }), RegisterError::Name(name));
    }
    assert_eq!(refused(Layout { name: "fill", ..own(HEAD) }), RegisterError::OtherName { kind: 50, name: "fill" });
    assert_eq!(refused(Layout { name, version: 3, ..FILL_2 }), RegisterError::OtherName { kind: 40, name });

    const TWICE: &[Field] = &[field("a", 0, Type::U64, ANY), field("a", 8, Type::Bytes(16), ANY)];
    assert_eq!(refused(own(TWICE)), RegisterError::DuplicateField { name, field: "a" });
    const HOLE: &[Field] = &[field("a", 0, Type::U64, ANY), field("b", 9, Type::Bytes(15), ANY)];
    assert_eq!(refused(own(HOLE)), RegisterError::Place { name, field: "b", offset: 9, expected: 8 });
    const OVER: &[Field] = &[field("a", 0, Type::U64, ANY), field("b", 4, Type::Bytes(20), ANY)];
    assert_eq!(refused(own(OVER)), RegisterError::Place { name, field: "b", offset: 4, expected: 8 });
    const UNALIGNED: &[Field] =
        &[field("a", 0, Type::U8, ANY), field("b", 1, Type::U64, ANY), field("c", 9, Type::Bytes(15), ANY)];
    assert_eq!(refused(own(UNALIGNED)), RegisterError::Place { name, field: "b", offset: 1, expected: 8 });
    const SHORT: &[Field] = &[field("a", 0, Type::U64, ANY), field("b", 8, Type::Bytes(15), ANY)];
    assert_eq!(refused(own(SHORT)), RegisterError::Length { name, have: 23, need: 24 });
    const LONG: &[Field] = &[field("a", 0, Type::U64, ANY), field("b", 8, Type::Bytes(17), ANY)];
    assert_eq!(refused(own(LONG)), RegisterError::Length { name, have: 25, need: 24 });
    for bounds in [Bounds::Unsigned(2, 1), Bounds::Unsigned(0, 1 << 32), Bounds::Signed(0, 1), Bounds::Float(0.0, 1.0)]
    {
        let head = vec![field("a", 0, Type::U32, bounds), field("rest", 4, Type::Bytes(20), Bounds::Zero)];
        assert_eq!(refused(own(head.leak())), RegisterError::Bounds { name, field: "a" });
    }
    for bounds in [Bounds::Float(f64::NAN, 1.0), Bounds::Float(1.0, -1.0), Bounds::Unsigned(0, 1)] {
        let head = vec![field("a", 0, Type::F64, bounds), field("rest", 8, Type::Bytes(16), Bounds::Zero)];
        assert_eq!(refused(own(head.leak())), RegisterError::Bounds { name, field: "a" });
    }
    let repeated =
        |count, element_bytes, fields| Layout { tail: Tail::Repeated { count, element_bytes, fields }, ..own(HEAD) };
    for bytes in [0, 4, 12] {
        assert_eq!(refused(repeated("a", bytes, &[])), RegisterError::Element { name, bytes });
    }
    assert_eq!(refused(repeated("b", 1, &[])), RegisterError::Count { name, count: "b" });
    assert_eq!(refused(repeated("a", 1, &[])), RegisterError::Count { name, count: "a" }, "it may count beyond a span");
    assert_eq!(refused(repeated("rest", 1, &[])), RegisterError::Count { name, count: "rest" });
    let many: Vec<Field> = (0..SCHEMA_FIELDS_MAX as u16 + 1)
        .map(|at| field(Box::leak(format!("f{at}").into_boxed_str()), at, Type::U8, ANY))
        .collect();
    assert_eq!(refused(Layout { tail: Tail::One(many.leak()), ..own(&[]) }), RegisterError::TooManyFields(name));

    assert_eq!(builder.freeze().layout_hash(), hash, "nothing of it was registered");
}

#[test]
fn as_many_layouts_as_the_limit_are_registered_and_one_more_is_refused() {
    const HEAD: &[Field] = &[field("a", 0, Type::Bytes(24), Bounds::Any)];
    let mut builder = Schemas::builder();
    for kind in 1..=SCHEMAS_MAX as u16 + 1 {
        let name: &'static str = Box::leak(format!("k{kind}").into_boxed_str());
        let layout = Layout { kind: Kind(kind), name, version: 0, head: HEAD, tail: Tail::None, upgrade: None };
        let registered = builder.register(layout).map(|_| ());
        let expected = if kind as usize <= SCHEMAS_MAX { Ok(()) } else { Err(RegisterError::TooMany) };
        assert_eq!(registered, expected);
    }
    assert_eq!(builder.freeze().newest(Kind(SCHEMAS_MAX as u16)), Some(0));
    // Sixteen versions of one kind.
    let mut builder = fills();
    for version in 3..16 {
        builder.register(Layout { version, ..FILL_2 }).unwrap();
    }
    assert_eq!(builder.freeze().newest(FILL), Some(15));
    assert_eq!(Schemas::builder().freeze().validate(whole(&fill(1))), Err(SchemaError::UnknownKind(40)));
}

#[test]
#[should_panic(expected = "the engine's own layouts come before others of their kinds and names")]
fn a_kind_of_the_engine_that_is_taken_is_a_panic() {
    let mut builder = Schemas::builder();
    builder.register(Layout { kind: Kind::TRADE, name: "own", ..FILL_0 }).unwrap();
    let _ = builder.with_builtin();
}
