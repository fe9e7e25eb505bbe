//! How fast captures of IEX are read: from the bytes of a pcap, in memory or in a file, to events of 64 bytes, on one thread.
//!
//! ```text
//! cargo run --release -p tapeline-runtime --example iex_speed                  10 million messages, 5 rounds
//! cargo run --release -p tapeline-runtime --example iex_speed -- 2000000 3     of 2 million, 3 rounds
//! cargo run --release -p tapeline-runtime --example iex_speed -- 20000000 5 deep.pcap    from a file that is written first: from the page cache
//! ```
//!
//! The capture is DEEP 1.0 in UDP over IPv4 and Ethernet: price level updates of 8,000 symbols in no order, one trade report in 16
//! messages; 1, 13 and 40 messages a segment in turn (40 are the most that fit a frame of 1,500 bytes), and 40 in a file. Each round
//! decodes all of it, as `tapeline import` does: container, frame, flow, segment, numbers, symbols, events. Nobody reads the fields of
//! the events, which are written to memory. What is printed is the median of the rounds, the least and the most.

use std::io::Cursor;
use std::time::Instant;
use tapeline_core::catalog::Catalog;
use tapeline_core::testing::Prng;
use tapeline_runtime::input::bytes::ByteSource;
use tapeline_runtime::input::pcap::PcapInput;
use tapeline_runtime::input::{Input, MESSAGE_SLOTS_MAX, SlotBuf, Status};

const SYMBOLS: u64 = 8_000;
/// Messages a segment: a quiet feed, the mean of IEX's own captures, and the most that fit a frame of 1,500 bytes.
const MESSAGES_A_SEGMENT: [u64; 3] = [1, 13, 40];
const START_NS: u64 = 1_696_246_475_000_000_000;

/// One message with its length before it.
fn message(into: &mut Vec<u8>, prng: &mut Prng, ns: u64) {
    let is_trade = prng.one_in(16);
    let kind = if is_trade { b'T' } else { b"85"[prng.index(2)] };
    into.extend((if is_trade { 38u16 } else { 30 }).to_le_bytes());
    into.extend([kind, 1]);
    into.extend(ns.to_le_bytes());
    into.extend(format!("{:<8}", format!("S{}", prng.in_range(0..SYMBOLS))).as_bytes());
    into.extend((prng.in_range(0..20) as u32 * 100).to_le_bytes());
    into.extend((990_000 + prng.in_range(0..1_000) * 100).to_le_bytes());
    if is_trade {
        into.extend(ns.to_le_bytes());
    }
}

/// A capture of so many messages.
fn capture(messages: u64, length: u64) -> Vec<u8> {
    let mut prng = Prng::new(1);
    let mut file = [&0xa1b2_3c4du32.to_le_bytes()[..], &[2, 0, 4, 0], &[0; 8], &[0, 0, 1, 0], &[1, 0, 0, 0]].concat();
    let (mut first, mut body) = (1, Vec::new());
    while first <= messages {
        let ns = START_NS + first * 1_000;
        let count = length.min(messages + 1 - first);
        body.clear();
        (0..count).for_each(|_| message(&mut body, &mut prng, ns));
        let udp_bytes = 8 + 40 + body.len();
        let frame_bytes = 14 + 20 + udp_bytes;
        for field in [ns / 1_000_000_000, ns % 1_000_000_000, frame_bytes as u64, frame_bytes as u64] {
            file.extend((field as u32).to_le_bytes());
        }
        file.extend([1, 0, 0x5e, 0x57, 0x15, 4, 2, 0, 0, 0, 0, 1, 8, 0, 0x45, 0]);
        file.extend((20 + udp_bytes as u16).to_be_bytes());
        file.extend([0, 0, 0x40, 0, 64, 17, 0, 0, 10, 0, 0, 1, 233, 215, 21, 4]);
        file.extend(
            [10_378u16.to_be_bytes(), 10_378u16.to_be_bytes(), (udp_bytes as u16).to_be_bytes(), [0; 2]].concat(),
        );
        file.extend([1, 0, 4, 0x80, 1, 0, 0, 0, 7, 0, 0, 0]);
        file.extend((body.len() as u16).to_le_bytes());
        file.extend((count as u16).to_le_bytes());
        file.extend([0; 8]);
        file.extend(first.to_le_bytes());
        file.extend(ns.to_le_bytes());
        file.extend(&body);
        first += count;
    }
    file
}

/// Messages and events.
fn decode(source: ByteSource) -> (u64, u64) {
    let mut input = PcapInput::new(source).expect("a capture");
    let (mut catalog, mut out) = (Catalog::new(1 << 16), SlotBuf::with_capacity(MESSAGE_SLOTS_MAX));
    let mut events = 0;
    loop {
        out.clear();
        let status = input.read(&mut catalog, &mut out).expect("the capture is whole");
        events += std::hint::black_box(out.slots()).len() as u64;
        if status == Status::End {
            let tally = input.tally();
            assert_eq!(tally.bad_packets, 0, "the capture is whole");
            return (tally.messages.values().sum(), events);
        }
    }
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let mut number = |default: u64| arguments.next().map_or(default, |text| text.parse().expect("a number"));
    let (messages, rounds) = (number(10_000_000), number(5) as usize);
    let path = arguments.next();
    if cfg!(debug_assertions) {
        println!("NOT OPTIMISED: built without --release");
    }
    let lengths = if path.is_some() { &MESSAGES_A_SEGMENT[2..] } else { &MESSAGES_A_SEGMENT[..] };
    for length in lengths {
        measure(messages, *length, rounds, path.as_deref());
    }
}

fn measure(messages: u64, length: u64, rounds: usize, path: Option<&str>) {
    let bytes = capture(messages, length);
    if let Some(path) = path {
        std::fs::write(path, &bytes).expect("a file that can be written");
    }
    let mut rates = Vec::new();
    for _ in 0..rounds {
        let source = match path {
            Some(path) => ByteSource::open(path, None).expect("it was written"),
            None => ByteSource::new(Box::new(Cursor::new(bytes.clone())), "deep.pcap", None).expect("memory is read"),
        };
        let begun = Instant::now();
        let (read, events) = decode(source);
        rates.push(read as f64 / begun.elapsed().as_secs_f64() / 1e6);
        assert_eq!(read, messages, "every message is read");
        assert!(events >= messages);
    }
    rates.sort_by(f64::total_cmp);
    if let (Some(least), Some(most)) = (rates.first(), rates.last()) {
        let median = rates[rates.len() / 2];
        println!(
            "{messages} messages, {length} a segment, in {} bytes: {median:.2} M messages/s  ({least:.2} to {most:.2})",
            bytes.len()
        );
    }
}
