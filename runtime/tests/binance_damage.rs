//! Damaged captures: cut at every byte, plain and compressed; lines with bytes changed at random. Never a panic, never
//! half a message, and nothing before the damage lost.

#[allow(dead_code)]
mod binance_twin;

use binance_twin::{Event, decode, decode_in, expect};
use std::io::{Cursor, Write};
use tapeline_runtime::input::bytes::ByteSource;
use tapeline_runtime::input::detect::{OpenOptions, open_source};
use tapeline_runtime::input::{InputError, MESSAGE_SLOTS_MAX, Position};

/// One line of each type and market, shaped as in the real captures.
const SAMPLE: &str = r#"1723161254024619568 {"stream":"ethusdt@bookTicker","data":{"u":35346513501,"s":"ETHUSDT","b":"2683.80000000","B":"3.02920000","a":"2683.81000000","A":"31.43950000"}}
1723161254036052868 {"stream":"ethusdt@depth@100ms","data":{"e":"depthUpdate","E":1723161255308,"s":"ETHUSDT","U":35346513499,"u":35346513505,"b":[["2683.80000000","3.02920000"],["2500.00000000","0.00000000"]],"a":[["2733.70000000","1.00000000"]]}}
1723161254152322667 {"lastUpdateId":35346513512,"bids":[["2683.80000000","3.02920000"]],"asks":[["2683.81000000","1.50000000"]]}
1723161254340863867 {"stream":"ethusdt@trade","data":{"e":"trade","E":1723161255612,"s":"ETHUSDT","t":1520538925,"p":"2683.80000000","q":"0.00200000","T":1723161255611,"m":true,"M":true}}
1723161255088165267 {"stream":"ethusdt@bookTicker","data":{"e":"bookTicker","u":5123107838717,"s":"ETHUSDT","b":"2681.62","B":"1.165","a":"2681.63","A":"73.077","T":1723161256310,"E":1723161256311}}
1723161256419684465 {"stream":"btcusd_perp@trade","data":{"e":"trade","E":1723161257687,"T":1723161257679,"s":"BTCUSD_PERP","t":849714402,"p":"61804.8","q":"4","X":"MARKET","m":false}}
1723161256609369665 {"lastUpdateId":1007198635033,"E":1723161257835,"T":1723161257823,"symbol":"BTCUSD_PERP","pair":"BTCUSD","bids":[["61804.7","35"]],"asks":[["61804.8","1645"]]}
1723161256609369666 {"result":null,"id":1}
"#;

fn gz(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A frame whose blocks end inside lines.
fn zst(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
    for part in bytes.chunks(100) {
        encoder.write_all(part).unwrap();
        encoder.flush().unwrap();
    }
    encoder.finish().unwrap()
}

/// The events of the whole lines at the start of `text`, and of the last one without its end if it parses.
fn events_of(text: &[u8]) -> Vec<Event> {
    expect(text).events
}

#[test]
fn the_sample_has_every_message() {
    let decoded = decode(SAMPLE.as_bytes());
    assert_eq!(decoded.events, events_of(SAMPLE.as_bytes()));
    assert_eq!((decoded.tally.bad_lines, decoded.events.len()), (0, 13));
    assert_eq!(decoded.tally.messages.values().sum::<u64>(), 7);
}

#[test]
fn a_plain_file_cut_at_every_byte() {
    for cut in 0..SAMPLE.len() {
        let text = &SAMPLE.as_bytes()[..cut];
        let source = ByteSource::new(Box::new(Cursor::new(text.to_vec())), "cut", None).unwrap();
        match open_source(source, &OpenOptions::default()) {
            // Before the brace of the first line nothing tells the format.
            Err(error) => {
                assert!(cut <= 20 && matches!(error, InputError::Unrecognised { .. }), "cut at {cut}: {error}");
                assert_eq!(error.exit_code(), 2);
            }
            Ok(mut input) => {
                assert!(cut > 20);
                let decoded = binance_twin::drain(&mut *input, MESSAGE_SLOTS_MAX);
                assert!(decoded.error.is_none());
                let expected = expect(text);
                assert_eq!(decoded.events, expected.events, "cut at {cut}");
                assert_eq!(decoded.tally.bad_lines, expected.bad_lines.len() as u64, "cut at {cut}");
                let whole_line = matches!(SAMPLE.as_bytes()[cut], b'\n') || text.ends_with(b"\n");
                assert_eq!(decoded.tally.bad_lines, u64::from(!whole_line), "cut at {cut}");
            }
        }
    }
}

#[test]
fn a_compressed_file_cut_at_every_byte() {
    for (name, bytes) in [("gz", gz(SAMPLE.as_bytes())), ("zst", zst(SAMPLE.as_bytes()))] {
        let mut most = 0;
        for cut in 12..bytes.len() {
            let source = ByteSource::new(Box::new(Cursor::new(bytes[..cut].to_vec())), "cut", None).unwrap();
            let error = match open_source(source, &OpenOptions::default()) {
                Err(error) => error,
                Ok(mut input) => {
                    let decoded = binance_twin::drain(&mut *input, MESSAGE_SLOTS_MAX);
                    let error = decoded.error.expect("a cut stream is an error");
                    let InputError::Damaged { at: Position::Offset(offset), .. } = error else { panic!("{error}") };
                    // All lines up to the offset are there, and the line that the cut went through is no bad line.
                    assert_eq!(decoded.events, events_of(&SAMPLE.as_bytes()[..offset as usize]), "{name} cut at {cut}");
                    assert_eq!(decoded.tally.bad_lines, 0, "{name} cut at {cut}");
                    assert!(decoded.events.len() >= most, "{name} cut at {cut}");
                    most = decoded.events.len();
                    error
                }
            };
            assert_eq!(error.exit_code(), 3, "{name} cut at {cut}: {error}");
            assert!(error.to_string().contains("cut short"), "{name} cut at {cut}: {error}");
        }
        assert!(most > 4, "{name}: only {most} events before the cut");
    }
}

#[test]
fn a_compressed_file_with_every_byte_flipped_never_panics_and_starts_right() {
    for mut bytes in [gz(SAMPLE.as_bytes()), zst(SAMPLE.as_bytes())] {
        let read = |bytes: &[u8]| {
            let source = ByteSource::new(Box::new(Cursor::new(bytes.to_vec())), "flipped", None).unwrap();
            match open_source(source, &OpenOptions::default()) {
                Ok(mut input) => {
                    let decoded = binance_twin::drain(&mut *input, MESSAGE_SLOTS_MAX);
                    (decoded.events, decoded.error)
                }
                Err(error) => (Vec::new(), Some(error)),
            }
        };
        for at in 12..bytes.len() {
            let Some(InputError::Damaged { at: Position::Offset(offset), .. }) = read(&bytes[..at]).1 else {
                panic!("cut at {at}")
            };
            let text = &SAMPLE.as_bytes()[..offset as usize];
            let whole_lines = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
            bytes[at] ^= 0x55;
            // What is decompressed wrongly after the flip may still parse, as other events.
            assert!(read(&bytes).0.starts_with(&events_of(&text[..whole_lines])), "byte {at} flipped");
            bytes[at] ^= 0x55;
        }
    }
}

struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % bound
    }
}

/// One to four bytes changed, inserted, removed, or a piece repeated; ends of lines are not touched.
fn mutate(line: &mut Vec<u8>, random: &mut Random) {
    for _ in 0..=random.below(3) {
        let at = random.below(line.len().max(1));
        let byte = match random.below(3) {
            0 => b"{}[]\",:\\0.-eubaTEsX "[random.below(20)],
            1 => line.get(at).map_or(b'0', |byte| byte ^ 1 << random.below(8)),
            _ => random.below(256) as u8,
        };
        let byte = if byte == b'\n' { b' ' } else { byte };
        match random.below(4) {
            0 if at < line.len() => line[at] = byte,
            1 if at < line.len() => drop(line.remove(at)),
            2 if at < line.len() => {
                let piece = line[at..(at + 1 + random.below(12)).min(line.len())].to_vec();
                line.splice(at..at, piece);
            }
            _ => line.insert(at.min(line.len()), byte),
        }
    }
}

/// A file of three lines, the one in the middle mutated: the others are unharmed, and the middle is what the twin makes
/// of it. False where the twin cannot tell all.
fn check_mutation(first: &[u8], line: &[u8], last: &[u8], hint: &str) -> bool {
    let text = [first, b"\n", line, b"\n", last, b"\n"].concat();
    let expected = expect(&text);
    let decoded = decode(&text);
    let shown = String::from_utf8_lossy(line);
    assert!(decoded.error.is_none(), "{hint}: {shown}");
    let around = |events: &[Event]| (events.first().cloned(), events.last().cloned());
    assert_eq!(around(&decoded.events), around(&expected.events), "{hint}: {shown}");
    // The tree keeps the last of two equal keys, where the decoder refuses; and it refuses some numbers.
    let repeated = decoded.tally.first_bad_lines.iter().any(|(_, why)| why.contains("given twice"));
    if repeated {
        let without = decode(&[first, b"\n", last, b"\n"].concat());
        assert_eq!(decoded.events, without.events, "{hint}: {shown}");
        return false;
    }
    if !expected.unknown.is_empty() {
        return false;
    }
    assert_eq!(decoded.events, expected.events, "{hint}: {shown}");
    let named: Vec<u64> = decoded.tally.first_bad_lines.iter().map(|(line, _)| *line).collect();
    assert_eq!(named, expected.bad_lines, "{hint}: {shown}: {:?}", decoded.tally.first_bad_lines);
    assert_eq!(decoded.tally.messages, expected.messages, "{hint}: {shown}");
    assert_eq!(decoded.tally.skipped, expected.skipped, "{hint}: {shown}");
    true
}

#[test]
fn mutated_lines_are_what_the_twin_makes_of_them() {
    let lines: Vec<&[u8]> = SAMPLE.as_bytes().split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).collect();
    // A first line of the same market, so that a snapshot without a name has its one symbol.
    let first_of = |index: usize| if index < 4 { lines[0] } else { lines[4] };
    let mut compared = 0;
    for seed in 0..40_000u64 {
        let mut random = Random(seed);
        let index = random.below(lines.len());
        let mut line = lines[index].to_vec();
        mutate(&mut line, &mut random);
        compared += u32::from(check_mutation(first_of(index), &line, lines[3], &format!("seed {seed}")));
    }
    assert!(compared > 38_000, "only {compared} lines were compared in full");
}

#[test]
fn mutated_lines_of_the_real_captures_are_what_the_twin_makes_of_them() {
    let Some(folder) = binance_twin::captures() else { return };
    for name in ["spot_btcusdt_20240808.gz", "usdm_ethusdt_20240808.gz", "cm_btcusd_perp_20240808.gz"] {
        let text = binance_twin::first_lines(&folder.join(name), 300);
        let lines: Vec<&[u8]> =
            text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty() && line.len() < 4_000).collect();
        let mut compared = 0;
        for seed in 0..6_000u64 {
            let mut random = Random(seed);
            let mut line = lines[random.below(lines.len())].to_vec();
            mutate(&mut line, &mut random);
            compared += u32::from(check_mutation(lines[0], &line, lines[1], &format!("{name}, seed {seed}")));
        }
        assert!(compared > 5_700, "{name}: only {compared} lines were compared in full");
    }
}

#[test]
fn a_mutated_file_read_through_small_buffers_gives_the_same() {
    for seed in 0..300u64 {
        let mut random = Random(seed);
        let mut text = SAMPLE.as_bytes().repeat(3);
        for _ in 0..6 {
            let at = random.below(text.len());
            text[at] ^= 1 << random.below(8);
        }
        let whole = decode(&text);
        // The longest message of the sample has three slots, and four behind a gap; a mutated quote may be wide.
        for slots in [4, 5, 7] {
            let small = decode_in(&text, slots);
            assert_eq!(small.events, whole.events, "seed {seed}, {slots} slots");
            assert_eq!(small.tally, whole.tally, "seed {seed}, {slots} slots");
        }
    }
}

#[test]
fn random_bytes_never_panic() {
    for seed in 0..400u64 {
        let mut random = Random(seed);
        let mut bytes: Vec<u8> = (0..random.below(5_000)).map(|_| random.below(256) as u8).collect();
        let magic: &[u8] = [&b""[..], b"\x1f\x8b\x08\0\0\0\0\0\0\0", b"\x28\xb5\x2f\xfd", b"1 {", b"\x50\x2a\x4d\x18"]
            [seed as usize % 5];
        bytes.splice(0..0, magic.iter().copied());
        let Ok(source) = ByteSource::new(Box::new(Cursor::new(bytes)), "random", None) else { continue };
        if let Ok(mut input) = open_source(source, &OpenOptions::default()) {
            binance_twin::drain(&mut *input, MESSAGE_SLOTS_MAX);
        }
    }
}
