//! Files of dead letters: what is refused of them, what a redrive makes of them, and what a redriven event keeps.

use super::*;
use std::collections::BTreeMap;
use std::io::Cursor;
use tapeline_core::catalog::SeqRule;
use tapeline_core::event::Identity;
use tapeline_core::event::payload::{Cause as Origin, News, Payload, Trade};
use tapeline_core::testing::for_seeds;
use tapeline_core::units::SymbolId;

/// Two symbols, a source, and two handlers, `a` and `b`.
fn catalog() -> Catalog {
    let mut catalog = Catalog::new(16);
    catalog.symbol(b"AAPL").unwrap();
    catalog.symbol(b"MSFT").unwrap();
    for name in ["feed", "handler.a", "handler.b"] {
        catalog.source(name.as_bytes(), SeqRule::None).unwrap();
    }
    catalog
}

/// A trade of `symbol` at `ns`.
fn trade(symbol: u32, ns: u64) -> EventBuf {
    event(&Trade { price: 5, ..Trade::default() }, symbol, ns)
}

fn event(payload: &impl Payload, symbol: u32, ns: u64) -> EventBuf {
    let mut event = EventBuf::new(payload);
    let head = event.head_mut();
    (head.symbol, head.source, head.ts_recv, head.flags) =
        (SymbolId(symbol), SourceId(1), UnixNanos(ns), Flags::UNSEQUENCED);
    event
}

/// The record of one failure of `handler`.
fn failed(handler: &str) -> DeadLetterRest {
    let handler = hash::stable(handler.as_bytes());
    DeadLetterRest {
        handler,
        failures: 1,
        attempts: 1,
        error: 7,
        cause: Cause::Failed as u8,
        ..DeadLetterRest::default()
    }
}

/// A letter that failed at `ns` for the first and the last time.
fn packed(event: &EventBuf, rest: &DeadLetterRest, ns: u64) -> EventBuf {
    let (whole, mut letter) = (EventRef::first(event.slots()).unwrap(), EventBuf::new(&Tick::default()));
    DeadLetter::pack(whole, UnixNanos(ns), UnixNanos(ns), rest, &mut letter).unwrap();
    letter
}

/// A file of these letters, numbered as they stand.
fn file(letters: &[(EventBuf, DeadLetterRest)]) -> Vec<u8> {
    let numbered = letters
        .iter()
        .zip(1..)
        .map(|((event, rest), order)| packed(event, &DeadLetterRest { order, ..*rest }, 1_000 + order));
    bytes(&numbered.collect::<Vec<_>>())
}

fn bytes(letters: &[EventBuf]) -> Vec<u8> {
    let (mut out, catalog) = (Vec::new(), catalog());
    let mut tape = TapeWriter::new(&mut out, TapeOptions::default()).unwrap();
    tape.define_all(&catalog).unwrap();
    letters.iter().for_each(|letter| tape.write(&catalog, letter.slots()).unwrap());
    tape.finish().unwrap();
    out
}

fn read(bytes: Vec<u8>) -> Result<Letters, LetterError> {
    Letters::read_source(ByteSource::new(Box::new(Cursor::new(bytes)), "dead.tape", None).unwrap(), 16)
}

#[test]
fn req_s1_a_letter_that_cannot_be_used_is_refused_with_its_offset() {
    let good = |rest: DeadLetterRest, order| packed(&trade(1, 5), &DeadLetterRest { order, ..rest }, 9);
    let first = good(failed("a"), 1);
    let mut derived = event(&News::default(), 1, 5);
    derived
        .push_value(&Origin { root: Identity { symbol: SymbolId(3), ..Identity::default() }, ..Origin::default() })
        .unwrap();
    derived.flag(Flags::DERIVED);
    let of_symbol = packed(&derived, &DeadLetterRest { order: 2, ..failed("a") }, 9);
    let mut derived = event(&News::default(), 1, 5);
    derived
        .push_value(&Origin { root: Identity { source: SourceId(9), ..Identity::default() }, ..Origin::default() })
        .unwrap();
    derived.flag(Flags::DERIVED);
    let of_source = packed(&derived, &DeadLetterRest { order: 2, ..failed("a") }, 9);
    let tick = packed(&event(&Tick::default(), 1, 5), &DeadLetterRest { order: 2, ..failed("a") }, 9);
    for (second, expected) in [
        (good(failed("a"), 1), LetterFault::Number(1, 1)),
        (good(failed("a"), 0), LetterFault::Number(0, 1)),
        (good(DeadLetterRest { cause: 77, ..failed("a") }, 2), LetterFault::Cause(77)),
        (of_symbol, LetterFault::Symbol(3)),
        (of_source, LetterFault::Source(9)),
        (tick, LetterFault::Kind("tick")),
    ] {
        let told = read(bytes(&[first.clone(), second])).unwrap_err();
        let LetterError::Broken { offset, number, fault, .. } = &told else { panic!("{told}") };
        assert_eq!((*fault, *number), (expected, 2), "{told}");
        // The only block stands behind the header of the segment.
        assert_eq!(*offset, 4_096, "{told}");
        assert!(told.to_string().starts_with("dead.tape: offset 4096: dead letter 2 of the file: "), "{told}");
        assert_eq!(told.exit_code(), 3);
    }
    // In another block the offset is another one.
    let many: Vec<EventBuf> = (1..5_000).map(|order| good(failed("a"), order)).collect();
    let told = read(bytes(&[&many[..], &[good(failed("a"), 7)]].concat())).unwrap_err();
    let LetterError::Broken { offset, number: 5_000, fault: LetterFault::Number(7, 4_999), .. } = told else {
        panic!("{told}")
    };
    assert!(offset > 100_000, "{offset}");
    let all = read(bytes(&many)).unwrap();
    assert_eq!(all.all().len(), 4_999);
    assert!((1..5_000).all(|id| all.get(id).is_some_and(|letter| letter.id == id)));
}

/// What a redrive has to give: of each event as many copies as the handler has letters that failed on it most often.
fn twin(letters: &[(EventBuf, DeadLetterRest)]) -> BTreeMap<Vec<u8>, u64> {
    let mut by_handler = BTreeMap::<(Vec<u8>, u64), u64>::new();
    for (event, rest) in letters {
        *by_handler.entry((bytemuck::cast_slice(event.slots()).to_vec(), rest.handler)).or_default() += 1;
    }
    let mut most = BTreeMap::<Vec<u8>, u64>::new();
    for ((event, _), count) in by_handler {
        let most = most.entry(event).or_default();
        *most = count.max(*most);
    }
    most
}

#[test]
fn req_redrive_equal_events_without_a_number_are_all_redriven() {
    for_seeds(0..50, |_, prng| {
        let letters: Vec<_> = (0..prng.index(40))
            .map(|_| {
                let event = trade(1 + prng.index(2) as u32, 1 + prng.index(3) as u64);
                (event, failed(["a", "b"][prng.index(2)]))
            })
            .collect();
        let read = read(file(&letters)).unwrap();
        let redrive = read.redrive(&Filter::default(), None).unwrap();
        let mut given = BTreeMap::<Vec<u8>, u64>::new();
        for event in events(&redrive.slots) {
            let mut slots = event.slots().to_vec();
            slots[0].flags = slots[0].flags.without(Flags::LAST);
            *given.entry(bytemuck::cast_slice(&slots).to_vec()).or_default() += 1;
        }
        assert_eq!(given, twin(&letters));
        assert_eq!((redrive.events, redrive.letters), (given.values().sum(), letters.len() as u64));
        assert!(redrive.slots.is_sorted_by_key(|head| head.ts_recv));
    });
}

#[test]
fn a_rate_that_leaves_time_is_refused() {
    let letters: Vec<_> = (0..4).map(|at| (trade(1, 10 + at), failed("a"))).collect();
    let read = read(file(&letters)).unwrap();
    let times = |rate| {
        let redrive = read.redrive(&Filter::default(), Some(rate));
        redrive.map(|redrive| redrive.slots.iter().map(|head| head.ts_recv.0).collect::<Vec<_>>())
    };
    assert_eq!(times(1.0), Ok(vec![10, 1_000_000_010, 2_000_000_010, 3_000_000_010]));
    assert_eq!(times(f64::MAX), Ok(vec![10; 4]));
    for (rate, event) in [(f64::MIN_POSITIVE, 2), (1e-300, 2), (1e-10, 3)] {
        assert_eq!(times(rate), Err(RateTooLow { rate, event }));
    }
    let one = Filter { id: Some(1), ..Filter::default() };
    assert_eq!(read.redrive(&one, Some(1e-300)).map(|redrive| redrive.events), Ok(1), "the first one keeps its time");
}

#[test]
fn req_redrive_what_fails_again_keeps_its_history() {
    let (first, second) = (trade(1, 10), trade(2, 20));
    let old = |failures, redrives, handler: &str| DeadLetterRest { failures, redrives, ..failed(handler) };
    let before = read(file(&[
        (first.clone(), old(5, 2, "a")),
        (first.clone(), old(3, 0, "b")),
        (second.clone(), old(9, 255, "a")),
        (second.clone(), old(1, 0, "a")),
    ]))
    .unwrap();
    // The same names with other ids, another time of receipt, and the mark that a redrive sets.
    let mut names = Catalog::new(16);
    names.symbol(b"MSFT").unwrap();
    names.symbol(b"AAPL").unwrap();
    for name in ["other", "feed", "handler.a", "handler.b"] {
        names.source(name.as_bytes(), SeqRule::None).unwrap();
    }
    let again = |event: &EventBuf| {
        let mut event = event.clone();
        let head = event.head_mut();
        (head.symbol, head.source, head.ts_recv) = (SymbolId(3 - head.symbol.0), SourceId(2), UnixNanos(77));
        head.flags = head.flags.with(Flags::LAST);
        event
    };
    let failed_again = |event: &EventBuf, handler: &str, ns| packed(&again(event), &failed(handler), ns);
    let slots: Vec<Slot> = [
        failed_again(&first, "a", 2_001),
        failed_again(&second, "a", 2_002),
        failed_again(&second, "a", 2_003),
        failed_again(&second, "b", 2_004),
        failed_again(&trade(1, 11), "b", 2_005),
        // As often as it was redriven, and no more.
        failed_again(&first, "a", 2_006),
    ]
    .iter()
    .flat_map(|letter| letter.slots().to_vec())
    .collect();
    let parked = [Parked::new(slots, names)];
    let exported = |past: Option<&Letters>| {
        let mut out = Vec::new();
        let exported = export(&parked, past, false, &mut out).unwrap();
        (exported.redriven, read(out).unwrap())
    };
    let told = |letters: &Letters| -> Vec<(u32, u8, u64, u16)> {
        let told = |letter: &Letter| (letter.failures, letter.redrives, letter.first_failure.0, letter.attempts);
        letters.all().iter().map(told).collect()
    };
    let (redriven, letters) = exported(Some(&before));
    assert_eq!(redriven, 4);
    assert_eq!(
        told(&letters),
        [
            (6, 3, 1_001, 1),
            (10, 255, 1_003, 1),
            (2, 1, 1_004, 1),
            (1, 0, 2_004, 1),
            // The trade at 11 differs from the first one in its time of receipt only, which a redrive may change.
            (4, 1, 1_002, 1),
            (1, 0, 2_006, 1)
        ]
    );
    let (redriven, letters) = exported(None);
    assert_eq!(redriven, 0);
    assert!(told(&letters).iter().all(|letter| (letter.0, letter.1) == (1, 0)));
}

#[test]
fn a_handlers_own_code_is_a_number_whatever_the_engine_means_by_it() {
    let text = |handler: &str, error| {
        let letters = read(file(&[(trade(1, 5), DeadLetterRest { error, ..failed(handler) })])).unwrap();
        letters.all()[0].error_text()
    };
    for (error, of_engine) in [(ERROR_NO_ROOM, (NO_ROOM_NAME, "no_room")), (0xff00 + 4, (INVALID_NAME, ""))] {
        let named = schema_reason(error).map_or(of_engine.1, |reason| reason.name());
        assert_eq!((text("a", error), text(of_engine.0, error).as_str()), (error.to_string(), named));
    }
}
