//! The tape as an input: whole messages only, the catalog's ids, no definitions.

use crate::support::{Prng, catalog, random_events, tape};
use std::io::Cursor;
use tapeline_core::catalog::{Catalog, SeqRule};
use tapeline_core::event::payload::{Cause, Tick, Trade};
use tapeline_core::event::{EventBuf, EventRef, Flags, Kind, KindVersion, Slot, events};
use tapeline_core::schema::{Bounds, Field, Layout, Schemas, Tail, Type, UpgradeBuf, UpgradeRefused};
use tapeline_core::units::{SourceId, SymbolId};
use tapeline_runtime::input::bytes::ByteSource;
use tapeline_runtime::input::detect::{OpenOptions, open_source};
use tapeline_runtime::input::tape::TapeInput;
use tapeline_runtime::input::{Input, InputError, MESSAGE_SLOTS_MAX, Position, SlotBuf, Status};
use tapeline_runtime::tape::{Codec, TapeOptions, TapeWriter};

fn input(bytes: &[u8]) -> TapeInput {
    TapeInput::new("some.tape", Box::new(Cursor::new(bytes.to_vec()))).unwrap()
}

/// An event with names instead of ids.
type Named = (Vec<Slot>, [Vec<u8>; 4]);

fn named(event: EventRef<'_>, catalog: &Catalog) -> Named {
    let mut slots = event.slots().to_vec();
    let root = Cause::of(event).map_or_else(Default::default, |cause| cause.root);
    (slots[0].symbol, slots[0].source) = (SymbolId(0), SourceId(0));
    if let Some(cause) = Cause::of(event) {
        let mut cause = *cause;
        (cause.root.symbol, cause.root.source) = (SymbolId(0), SourceId(0));
        *slots.last_mut().unwrap() = Slot::continuation(bytemuck::must_cast(cause));
    }
    let names = [
        catalog.symbol_text(event.head().symbol),
        catalog.source_name(event.head().source),
        catalog.symbol_text(root.symbol),
        catalog.source_name(root.source),
    ];
    (slots, names.map(<[u8]>::to_vec))
}

#[test]
fn req_3458_ids_become_the_catalogs_and_messages_stay_whole_whatever_room_there_is() {
    let authority = catalog(200, 9);
    for (seed, codec, other) in [(1, Codec::None, false), (2, Codec::None, true), (3, Codec::Zstd, true)] {
        let written = random_events(seed, 20_000, &authority);
        let bytes = tape(&authority, &written, codec, 3_000);
        let mut mine = Catalog::new(1 << 12);
        if other {
            // Another input has taken the first ids, some of the names among them in another order.
            for i in (1..=100u32).rev() {
                mine.symbol(format!("VENUE{}:SYMBOL-{i}", i % 3).as_bytes()).unwrap();
                mine.symbol(format!("OTHER:{i}").as_bytes()).unwrap();
            }
            mine.source(b"venue.stream-3", SeqRule::None).unwrap();
        }
        let mut input = input(&bytes);
        let mut prng = Prng(seed);
        let mut out = SlotBuf::with_capacity(MESSAGE_SLOTS_MAX);
        let mut read: Vec<Slot> = Vec::new();
        let filler = vec![Slot::ZERO; MESSAGE_SLOTS_MAX];
        loop {
            out.clear();
            let taken = if prng.one_in(2) { 0 } else { prng.below(MESSAGE_SLOTS_MAX as u64 + 1) as usize };
            out.extend(&filler[..taken]);
            let status = input.read(&mut mine, &mut out).unwrap();
            let new = &out.slots()[taken..];
            read.extend_from_slice(new);
            if status == Status::End {
                break;
            }
            assert!(!new.is_empty() || taken > 0, "seed {seed}: no progress with an empty buffer");
            if let Some(last) = events(new).last() {
                let head = last.head();
                assert!(head.flags.contains(Flags::LAST) || head.kind().is_control(), "seed {seed}");
            }
        }
        let all = written.concat();
        assert_eq!(read.len(), all.len(), "seed {seed}");
        for (got, expected) in events(&read).zip(events(&all)) {
            assert_eq!(named(got, &mine), named(expected, &authority), "seed {seed}");
        }
        assert_eq!(read == all, !other, "seed {seed}: ids are equal only where the catalog was empty");
        let messages = written.iter().filter(|event| event[0].flags.contains(Flags::LAST)).count() as u64;
        let tally = input.tally();
        assert_eq!(tally.messages.get("message"), Some(&messages), "seed {seed}");
    }
}

#[test]
fn sources_alone_may_have_other_ids() {
    let authority = catalog(3, 5);
    let written = random_events(4, 500, &authority);
    let mut mine = Catalog::new(16);
    mine.source(b"another", SeqRule::None).unwrap();
    let mut out = SlotBuf::with_capacity(MESSAGE_SLOTS_MAX);
    let mut input = input(&tape(&authority, &written, Codec::None, 100));
    assert_eq!(input.read(&mut mine, &mut out).unwrap(), Status::End);
    let all = written.concat();
    assert_eq!(out.slots().len(), all.len());
    for (got, expected) in events(out.slots()).zip(events(&all)) {
        assert_eq!(named(got, &mine), named(expected, &authority));
    }
}

fn trades(count: usize, last: impl Fn(usize) -> bool) -> Vec<Vec<Slot>> {
    (0..count)
        .map(|i| {
            let mut event = EventBuf::new(&Trade { price: i as i64, ..Trade::default() });
            if last(i) {
                event.flag(Flags::LAST);
            }
            event.slots().to_vec()
        })
        .collect()
}

fn read_once(input: &mut TapeInput) -> (usize, Result<Status, InputError>) {
    let mut out = SlotBuf::with_capacity(MESSAGE_SLOTS_MAX);
    let status = input.read(&mut Catalog::new(16), &mut out);
    (out.slots().len(), status)
}

#[test]
fn a_message_over_blocks_is_given_out_whole() {
    let catalog = Catalog::new(16);
    let events = trades(20_000, |i| i % 10_000 == 9_999);
    let mut input = input(&tape(&catalog, &events, Codec::None, usize::MAX));
    assert_eq!(read_once(&mut input).0, 10_000);
    assert_eq!(read_once(&mut input).0, 10_000);
    assert!(matches!(read_once(&mut input), (0, Ok(Status::End))));
    assert_eq!(input.tally().messages, [("message".to_owned(), 2)].into());
}

#[test]
fn a_message_as_long_as_the_limit_passes_and_a_longer_one_is_refused_with_its_place() {
    let catalog = Catalog::new(16);
    for (length, fits) in [(MESSAGE_SLOTS_MAX, true), (MESSAGE_SLOTS_MAX + 1, false)] {
        let events = trades(10 + length + 5, |i| i < 10 || i == 9 + length || i > 9 + length);
        let mut input = input(&tape(&catalog, &events, Codec::None, usize::MAX));
        let mut total = 0;
        let end = loop {
            let (slots, status) = read_once(&mut input);
            total += slots;
            match status {
                Ok(Status::More) => {}
                Ok(Status::End) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        if fits {
            end.unwrap();
            assert_eq!(total, events.len());
        } else {
            assert_eq!(total, 10, "what is before the message stands");
            assert!(matches!(end, Err(InputError::Damaged { at: Position::Offset(4096), .. })), "{end:?}");
            assert!(matches!(read_once(&mut input), (0, Ok(Status::End))));
        }
    }
}

#[test]
fn what_has_no_end_is_given_out_at_the_end_and_counted() {
    let catalog = Catalog::new(16);
    let events = trades(100, |i| i < 50);
    let mut input = input(&tape(&catalog, &events, Codec::None, 7));
    assert!(matches!(read_once(&mut input), (100, Ok(Status::End))));
    assert_eq!(input.tally().messages, [("message".to_owned(), 50), ("without_end".to_owned(), 1)].into());
}

#[test]
fn control_events_between_messages_wait_for_nothing() {
    let catalog = Catalog::new(16);
    let mut events = trades(4, |_| true);
    let tick = EventBuf::new(&Tick { last: 1, reserved: [0; 2] }).slots().to_vec();
    events.insert(0, tick.clone());
    events.push(tick);
    let mut input = input(&tape(&catalog, &events, Codec::None, 1));
    assert!(matches!(read_once(&mut input), (6, Ok(Status::End))));
    assert_eq!(input.tally().messages, [("message".to_owned(), 4)].into());
}

#[test]
fn a_full_catalog_is_an_error_of_its_own_and_what_is_before_stands() {
    let authority = catalog(100, 1);
    let mut written = Vec::new();
    for i in 1..=100u32 {
        let mut event = EventBuf::new(&Trade::default());
        event.head_mut().symbol = SymbolId(i);
        event.flag(Flags::LAST);
        written.push(event.slots().to_vec());
    }
    let mut input = input(&tape(&authority, &written, Codec::None, usize::MAX));
    let (mut small, mut out) = (Catalog::new(41), SlotBuf::with_capacity(MESSAGE_SLOTS_MAX));
    let error = input.read(&mut small, &mut out).unwrap_err();
    assert!(matches!(error, InputError::Catalog { at: Position::Offset(4096), .. }), "{error}");
    assert_eq!(out.slots().len(), 40);
    assert_eq!(input.tally().messages, [("message".to_owned(), 40)].into());
}

#[test]
fn the_header_tells_what_made_the_tape() {
    let mut bytes = Vec::new();
    let options = TapeOptions { generated: true, made_by: "generated: seed 5".into(), ..TapeOptions::default() };
    TapeWriter::new(&mut bytes, options).unwrap().finish().unwrap();
    let mut input = input(&bytes);
    assert!(input.generated());
    assert_eq!((input.made_by(), input.format()), ("generated: seed 5", "tape"));
    assert!(matches!(read_once(&mut input), (0, Ok(Status::End))));
    let error = TapeInput::new("x.tape", Box::new(Cursor::new(b"PAR1".to_vec()))).unwrap_err();
    assert_eq!(error.exit_code(), 2);
    assert_eq!(error.to_string(), "x.tape: format not recognised at offset 0: the first bytes are not those of a tape");
}

/// A second version of trades, one slot longer, as a later build may have one.
fn two_versions_of_trades() -> Schemas {
    const NOTE: &[Field] = &[Field { name: "note", offset: 0, ty: Type::Bytes(56), unit: "", bounds: Bounds::Any }];
    fn upgrade(old: &Slot, _tail: &[Slot], new: &mut EventBuf) -> Result<(), UpgradeRefused> {
        let trade = *old.payload_as::<Trade>();
        if trade.price == 13 {
            return Err(UpgradeRefused("thirteen brings bad luck"));
        }
        *new.head_mut().payload_mut() = Trade { depth: 9, ..trade };
        new.push_words([trade.size; 7])?;
        Ok(())
    }
    let first = *Schemas::builtin().layout(Kind::TRADE, 0).unwrap();
    let mut builder = Schemas::builder().with_builtin();
    builder.register(Layout { version: 1, tail: Tail::One(NOTE), ..first }.upgraded_by(upgrade)).unwrap();
    builder.freeze()
}

#[test]
fn req_3398_events_of_an_older_version_are_upgraded_as_a_tape_is_read() {
    let authority = catalog(200, 9);
    let schemas = two_versions_of_trades();
    for (codec, block_slots) in [(Codec::None, 100), (Codec::Zstd, 3_000)] {
        let mut written = random_events(5, 5_000, &authority);
        // One that cannot be upgraded, and one of a version that nobody knows: they pass as they are, for admission to refuse and count.
        let mut trades = written.iter_mut().filter(|event| event[0].kind() == Kind::TRADE && event.len() == 1);
        trades.next().unwrap()[0].payload_mut::<Trade>().price = 13;
        trades.next().unwrap()[0].kind = KindVersion::new(Kind::TRADE, 7);
        let bytes = tape(&authority, &written, codec, block_slots);
        let read = |mut input: Box<dyn Input>| {
            let (mut mine, mut out) = (Catalog::new(1 << 12), SlotBuf::with_capacity(MESSAGE_SLOTS_MAX));
            let mut read: Vec<Slot> = Vec::new();
            loop {
                out.clear();
                let status = input.read(&mut mine, &mut out).unwrap();
                read.extend_from_slice(out.slots());
                if status == Status::End {
                    return (read, input.tally().messages);
                }
            }
        };
        // As the program opens a capture, whatever it is.
        let opened = |schemas: &Schemas| {
            let source = ByteSource::new(Box::new(Cursor::new(bytes.clone())), "some.tape", None).unwrap();
            open_source(source, &OpenOptions { schemas: schemas.clone(), ..OpenOptions::default() }).unwrap()
        };
        let (new, messages) = read(opened(&schemas));
        assert!((new.clone(), messages.clone()) == read(Box::new(input(&bytes).with_schemas(schemas.clone()))));
        let mut buf = UpgradeBuf::default();
        let (mut expected, mut upgraded) = (Vec::new(), 0);
        for event in written.iter().map(|slots| EventRef::first(slots).unwrap()) {
            let made = schemas.upgrade(event, &mut buf).unwrap_or(event);
            upgraded += usize::from(made.slots().len() > event.slots().len());
            expected.extend_from_slice(made.slots());
        }
        assert!(upgraded > 500, "{upgraded}");
        assert_eq!(new.len(), expected.len());
        for (got, expected) in events(&new).zip(events(&expected)) {
            assert_eq!(named(got, &authority), named(expected, &authority));
        }
        // Where there is one version, or nobody says otherwise, everything passes as it is.
        let old = read(Box::new(input(&bytes)));
        assert_eq!(old.1, messages, "messages are those of the tape");
        assert_eq!(old, read(opened(&Schemas::builtin())));
        assert_eq!(old.0.len(), written.concat().len());
    }
}
