//! Files that are cut at every byte, have bytes changed, or are no ITCH at all.

use crate::support::{Decoded, decode, file};
use crate::twin::Twin;
use std::io::Write;
use std::time::{Duration, Instant};
use tapeline_core::testing::itch::{Draft, Session};
use tapeline_core::testing::{PrintOnPanic, Prng};
use tapeline_core::wire::itch::MESSAGE_BYTES_MAX;
use tapeline_runtime::input::{InputError, Position};

fn offset_of(decoded: &Decoded) -> Option<u64> {
    match &decoded.error {
        Some(InputError::Damaged { at: Position::Offset(offset), .. }) => Some(*offset),
        Some(error) => panic!("{error}"),
        None => None,
    }
}

#[test]
fn cut_at_every_byte() {
    let bytes = Session::new(1, 60, 5).binary_file();
    for cut in 0..bytes.len() {
        let start = &bytes[..cut];
        let decoded = match decode(start, 100) {
            Ok(decoded) => decoded,
            Err(error) => {
                assert!(cut < 3 && error.exit_code() == 2, "cut at {cut}: {error}");
                continue;
            }
        };
        assert!(cut >= 3);
        let (expected, end) = Twin::default().read(start);
        assert_eq!(decoded.events, expected, "cut at {cut}");
        if end == cut {
            assert!(decoded.error.is_none(), "cut at {cut}: a cut at a record's end is a whole file");
        } else {
            assert_eq!(offset_of(&decoded), Some(end as u64), "cut at {cut}");
            let error = decoded.error.unwrap();
            assert_eq!(error.exit_code(), 3);
            assert!(error.to_string().contains("cut short"), "{error}");
        }
    }
}

#[test]
fn cut_compressed_files_give_what_is_before_the_cut() {
    let plain = Session::new(2, 20_000, 50).binary_file();
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gz.write_all(&plain).unwrap();
    for packed in [gz.finish().unwrap(), zstd::encode_all(&plain[..], 1).unwrap()] {
        assert!(decode(&packed, 1_000).unwrap().error.is_none());
        let mut most = 0;
        for cut in (packed.len() / 3..packed.len()).step_by(packed.len() / 40) {
            let Ok(decoded) = decode(&packed[..cut], 1_000) else { continue };
            let offset = offset_of(&decoded).expect("a cut stream is an error") as usize;
            let (expected, _) = Twin::default().read(&plain[..offset]);
            assert_eq!(decoded.events, expected, "cut at {cut}");
            most = most.max(expected.len());
        }
        assert!(most > 1_000, "{most} events before a cut");
    }
}

#[test]
fn damage_is_told_with_its_offset_and_nothing_before_it_is_lost() {
    let start = Draft::new(b'S').number("event_code", u64::from(b'O'));
    let whole = file([start.bytes(), start.bytes()]);
    let told = |tail: &[u8], offset: u64, why: &str| {
        let decoded = decode(&[&whole, tail].concat(), 10).unwrap();
        assert_eq!(decoded.tally.messages["system_event"], 2);
        let error = decoded.error.unwrap_or_else(|| panic!("no error: {why}"));
        assert_eq!(
            (error.exit_code(), error.to_string()),
            (3, format!("01302020.NASDAQ_ITCH50: offset {offset}: {why}"))
        );
    };
    told(b"\0", 28, "the last record is cut short: 1 byte of its length");
    told(b"\0\x05", 28, "the last message is cut short: 0 of 5 bytes");
    told(b"\0\x05S23", 28, "the last message is cut short: 3 of 5 bytes");
    told(b"\0\x05S2345", 28, "an ITCH message of type 'S' has 12 bytes, not 5");
    told(b"\xff\xffS2345", 28, "the last message is cut short: 5 of 65535 bytes");
    told(b"\0\0x", 30, "there are bytes after the end of the session");
    told(b"\0\0\0\0", 30, "there are bytes after the end of the session");
    let decoded = decode(&[&whole[..], b"\0\0"].concat(), 10).unwrap();
    assert!(decoded.error.is_none());
    // The longest record of a type that nobody knows is no damage.
    let unknown = [&[0xff, 0xff, b'Z'][..], &[7; 65_534]].concat();
    let decoded = decode(&[&whole[..], &unknown, &unknown, &whole].concat(), 10).unwrap();
    assert!(decoded.error.is_none());
    assert_eq!((decoded.tally.messages["system_event"], decoded.tally.skipped["type 'Z'"]), (4, 2));
}

/// A fuzz target within a budget of time, from samples that are whole: bytes are flipped, cut out, doubled and put in.
#[test]
fn random_damage_never_panics_and_what_is_before_it_stays() {
    const BUDGET: Duration = Duration::from_secs(2);
    let corpus: Vec<Vec<u8>> = (0..8).map(|seed| Session::new(seed, 120, 6).binary_file()).collect();
    let begun = Instant::now();
    let (mut rounds, mut broken) = (0u64, 0u64);
    while begun.elapsed() < BUDGET || rounds < 200 {
        let seed = rounds;
        let _named = PrintOnPanic(format_args!("seed {seed}"));
        let mut prng = Prng::new(seed);
        let sample = &corpus[prng.index(corpus.len())];
        let mut bytes = sample.clone();
        // Behind the first two records, by which the format is told.
        let first = 14 + prng.index(bytes.len() - 14);
        let mut least = first;
        for _ in 0..1 + prng.index(4) {
            let at = 14 + prng.index(bytes.len() - 14);
            least = least.min(at);
            match prng.index(5) {
                0 => bytes[at] ^= 1 << prng.index(8),
                1 => bytes[at] = prng.next_u64() as u8,
                2 => bytes.truncate(at.max(15)),
                3 => {
                    let end = (at + prng.index(MESSAGE_BYTES_MAX)).min(bytes.len());
                    bytes.drain(at..end);
                }
                _ => {
                    let end = (at + prng.index(MESSAGE_BYTES_MAX)).min(bytes.len());
                    let again = bytes[at..end].to_vec();
                    bytes.splice(at..at, again);
                }
            }
            if bytes.len() < 15 {
                break;
            }
        }
        rounds += 1;
        let Ok(decoded) = decode(&bytes, 16 + prng.index(100)) else { continue };
        let (before, _) = Twin::default().read(&sample[..least.min(sample.len())]);
        assert!(decoded.events.len() >= before.len());
        assert_eq!(decoded.events[..before.len()], before);
        broken += u64::from(offset_of(&decoded).is_some());
    }
    assert!(broken * 4 > rounds, "{broken} of {rounds} were found broken");
}
