//! What the tests of line formats share: bytes in, events by their names out; damage; seeds.

use serde_json::Value;
use std::collections::BTreeMap;
use std::io::{Cursor, Write};
use tapeline_core::catalog::Catalog;
use tapeline_core::event::events;
use tapeline_runtime::input::bytes::ByteSource;
use tapeline_runtime::input::detect::{OpenOptions, open_source};
use tapeline_runtime::input::{Input, InputError, MESSAGE_SLOTS_MAX, Position, SlotBuf, Status, Tally};
use tapeline_runtime::ndjson;

/// All that an input gave.
pub(crate) struct Read {
    /// Each event as its NDJSON line says it.
    pub(crate) events: Vec<Value>,
    pub(crate) tally: Tally,
    pub(crate) error: Option<InputError>,
    pub(crate) format: &'static str,
}

/// Reads `input` to its end into buffers of `slots` slots.
pub(crate) fn drain(input: &mut dyn Input, slots: usize) -> Read {
    let (mut catalog, mut out, mut all) = (Catalog::new(1 << 10), SlotBuf::with_capacity(slots), Vec::new());
    let mut line = Vec::new();
    let error = loop {
        let status = input.read(&mut catalog, &mut out);
        let mut whole = 0;
        for event in events(out.slots()) {
            whole += event.slots().len();
            line.clear();
            ndjson::write_event(&catalog, event, &mut line);
            all.push(serde_json::from_slice(&line).unwrap());
        }
        assert_eq!(whole, out.slots().len(), "only whole events are appended");
        let last = out.slots().is_empty() || all.last().is_some_and(|event| has_flag(event, "last"));
        assert!(last, "only whole messages are appended");
        match status {
            Ok(Status::More) => assert!(!out.slots().is_empty(), "`More` with nothing in an empty buffer never ends"),
            Ok(Status::End) => break None,
            Err(error) => {
                out.clear();
                let again = input.read(&mut catalog, &mut out);
                assert!(matches!(again, Ok(Status::End)) && out.slots().is_empty(), "after an error comes the end");
                break Some(error);
            }
        }
        out.clear();
    };
    Read { events: all, tally: input.tally(), error, format: input.format() }
}

pub(crate) fn has_flag(event: &Value, flag: &str) -> bool {
    event["flags"].as_array().unwrap().iter().any(|known| known == flag)
}

/// Opens bytes, compressed or not, that come as one file.
pub(crate) fn open(bytes: &[u8], options: &OpenOptions) -> Result<Box<dyn Input>, InputError> {
    open_source(ByteSource::new(Box::new(Cursor::new(bytes.to_vec())), "f", None)?, options)
}

/// Reads bytes that are a capture.
pub(crate) fn read(bytes: &[u8], options: &OpenOptions) -> Read {
    let mut input = open(bytes, options).unwrap_or_else(|error| panic!("{error}"));
    drain(&mut *input, MESSAGE_SLOTS_MAX)
}

pub(crate) fn gz(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A frame whose blocks end inside lines.
pub(crate) fn zst(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
    for part in bytes.chunks(100) {
        encoder.write_all(part).unwrap();
        encoder.flush().unwrap();
    }
    encoder.finish().unwrap()
}

/// The whole lines at the start of `text`.
pub(crate) fn whole_lines(text: &[u8]) -> &[u8] {
    &text[..text.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1)]
}

/// Compares one by one, so that a difference is found in what is printed.
pub(crate) fn same(got: &[Value], expected: &[Value], hint: &str) {
    for (index, (got, expected)) in got.iter().zip(expected).enumerate() {
        assert_eq!(got, expected, "{hint}, event {index}");
    }
    assert_eq!(got.len(), expected.len(), "{hint}");
}

/// Without what depends on where a message ends: the flag `last`.
pub(crate) fn unended(events: &[Value]) -> Vec<Value> {
    let mut events = events.to_vec();
    for event in &mut events {
        event["flags"].as_array_mut().unwrap().retain(|flag| flag != "last");
    }
    events
}

/// Cuts `text` at every byte, plain and compressed. `expect` gives the events of whole lines of it; `header` are the bytes that tell the
/// format; `ends` says whether a line without its end is bad.
pub(crate) fn cut_everywhere(text: &[u8], header: usize, options: &OpenOptions) {
    let expect = |part: &[u8]| if part.len() < header { Vec::new() } else { read(part, options).events };
    for cut in 0..text.len() {
        let part = &text[..cut];
        match open(part, options) {
            Err(error) => {
                assert!(cut < header && error.exit_code() == 2, "cut at {cut}: {error}");
            }
            Ok(mut input) => {
                let got = drain(&mut *input, MESSAGE_SLOTS_MAX);
                assert!(got.error.is_none(), "cut at {cut}");
                let whole = whole_lines(part);
                let in_line = !part[whole.len()..].trim_ascii().is_empty();
                if whole.len() >= header {
                    let is_bad = got.tally.bad_lines == 1;
                    assert!(got.tally.bad_lines == 0 || is_bad && in_line, "cut at {cut}: {:?}", got.tally);
                    let expected = unended(&expect(whole));
                    assert!(unended(&got.events).starts_with(&expected), "cut at {cut}");
                    assert!(
                        !is_bad || got.events.len() == expected.len(),
                        "cut at {cut}: nothing of a bad line is kept"
                    );
                }
            }
        }
    }
    for (name, bytes) in [("gz", gz(text)), ("zst", zst(text))] {
        let mut most = 0;
        for cut in 12..bytes.len() {
            let error = match open(&bytes[..cut], options) {
                Err(error) => error,
                Ok(mut input) => {
                    let got = drain(&mut *input, MESSAGE_SLOTS_MAX);
                    let error = got.error.expect("a cut stream is an error");
                    let InputError::Damaged { at: Position::Offset(offset), .. } = error else { panic!("{error}") };
                    // All lines up to the offset are there, and the line that the cut went through is no bad line.
                    // One that lacks its end only is one where half of it could not be taken for a whole one.
                    let part = &text[..offset as usize];
                    let is_right = got.events == expect(whole_lines(part)) || got.events == expect(part);
                    assert!(is_right, "{name} cut at {cut}");
                    assert_eq!(got.tally.bad_lines, 0, "{name} cut at {cut}");
                    most = most.max(got.events.len());
                    error
                }
            };
            assert_eq!(error.exit_code(), 3, "{name} cut at {cut}: {error}");
            assert!(error.to_string().contains("cut short"), "{name} cut at {cut}: {error}");
        }
        assert!(most > 0, "{name}: no event before any cut");
    }
}

/// Flips bytes of `text`, each in turn and then several at random: never a panic, and the lines before the first of them are as they were.
pub(crate) fn flip_everywhere(text: &[u8], header: usize, options: &OpenOptions, seed: u64) {
    let mut random = Random(seed);
    // By the end of each whole line: the events up to there.
    let ends = text.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at + 1);
    let events_up_to: BTreeMap<usize, Vec<Value>> =
        ends.filter(|end| *end >= header).map(|end| (end, unended(&read(&text[..end], options).events))).collect();
    let check = |bytes: &[u8], first: usize, hint: &str| {
        let Ok(mut input) = open(bytes, options) else {
            assert!(first <= header, "{hint}: not recognised");
            return;
        };
        let got = drain(&mut *input, MESSAGE_SLOTS_MAX);
        if let Some(expected) = events_up_to.get(&whole_lines(&text[..first]).len()) {
            assert!(unended(&got.events).starts_with(expected), "{hint}");
        }
    };
    let mut bytes = text.to_vec();
    for at in 0..bytes.len() {
        for mask in [0x01, 0x80, bytes[at] ^ b'\n', bytes[at] ^ b'"'] {
            bytes[at] ^= mask;
            check(&bytes, at, &format!("byte {at} flipped by {mask:#x}"));
            bytes[at] ^= mask;
        }
    }
    for round in 0..500 {
        let mut bytes = text.to_vec();
        let mut first = bytes.len();
        for _ in 0..=random.below(8) {
            let at = random.below(bytes.len() as u64) as usize;
            first = first.min(at);
            match random.below(4) {
                0 => drop(bytes.remove(at)),
                1 => bytes.insert(at, random.below(256) as u8),
                2 => bytes.truncate(at),
                _ => bytes[at] = random.below(256) as u8,
            }
            if bytes.is_empty() {
                break;
            }
        }
        check(&bytes, first, &format!("seed {seed}, round {round}"));
    }
}

/// splitmix64 (S. Vigna), so that a seed names a run.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ z >> 31) % bound
    }
}
