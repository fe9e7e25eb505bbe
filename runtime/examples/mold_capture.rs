//! Writes a capture of a made-up ITCH 5.0 session over MoldUDP64, lines A and B, for measuring imports:
//!
//! ```text
//! cargo run --release -p tapeline-runtime --example mold_capture -- whole.pcap 5000000            nothing is lost
//! cargo run --release -p tapeline-runtime --example mold_capture -- lossy.pcap 5000000 100        A lacks one packet in 100, which B brings later
//! cargo run --release -p tapeline-runtime --example mold_capture -- holes.pcap 5000000 100 both   neither line has it
//! ```
//!
//! A packet has 20 messages; packets of a line are 20 µs apart, and line B is 30 packets behind line A. The same arguments give the same bytes.

use std::collections::VecDeque;
use std::env;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::process::ExitCode;
use tapeline_core::testing::itch::{Draft, Session, mold_packet};

const SYMBOLS: u16 = 4_000;
const PACKET_MESSAGES: usize = 20;
/// Packets that line B is behind.
const LAG: usize = 30;
const PACKET_NS: u64 = 20_000;
/// 2020-01-30 14:30 UTC, ns.
const START_NS: u64 = 1_580_394_600_000_000_000;

fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).collect();
    let number = |at: usize| args.get(at).map(|text| text.parse::<u64>());
    let (Some(path), Some(Ok(messages)), None | Some(Ok(_))) = (args.first(), number(1), number(2)) else {
        eprintln!("usage: mold_capture FILE.pcap MESSAGES [ONE-PACKET-IN-N-IS-LOST [both]]");
        return ExitCode::from(2);
    };
    let lost_every = number(2).and_then(Result::ok).unwrap_or(0);
    let is_lost_by_both = args.get(3).is_some_and(|text| text == "both");
    match write(path, messages, lost_every, is_lost_by_both) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{path}: {error}");
            ExitCode::from(2)
        }
    }
}

fn write(path: &str, messages: u64, lost_every: u64, is_lost_by_both: bool) -> io::Result<()> {
    let mut out = BufWriter::new(File::create(path)?);
    let mut session = Session::new(1, messages, SYMBOLS);
    out.write_all(&[0x4d, 0x3c, 0xb2, 0xa1, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 1, 0, 0, 0])?;
    let (mut behind, mut first, mut number) = (VecDeque::new(), 1, 0u64);
    loop {
        let some: Vec<Draft> = session.by_ref().take(PACKET_MESSAGES).collect();
        let ts = START_NS + number * PACKET_NS;
        let is_lost = lost_every > 0 && number % lost_every == lost_every - 1;
        if !some.is_empty() {
            let messages: Vec<&[u8]> = some.iter().map(Draft::bytes).collect();
            let packet = mold_packet(b"000012345A", first, &messages, None);
            first += some.len() as u64;
            if !is_lost {
                record(&mut out, ts, 111, &packet)?;
            }
            behind.push_back((!(is_lost && is_lost_by_both)).then_some(packet));
        }
        if (behind.len() > LAG || some.is_empty())
            && let Some(packet) = behind.pop_front().flatten()
        {
            record(&mut out, ts + PACKET_NS / 2, 112, &packet)?;
        }
        if some.is_empty() && behind.is_empty() {
            return out.flush();
        }
        number += 1;
    }
}

/// A record of a pcap of ns: Ethernet, IPv4, UDP to a multicast group.
fn record(out: &mut impl Write, ts: u64, group: u8, payload: &[u8]) -> io::Result<()> {
    let (udp_bytes, port) = (8 + payload.len() as u16, 26_400u16);
    let mut frame = vec![1, 0, 0x5e, 1, 1, group, 2, 0, 0, 0, 0, 1, 8, 0];
    frame.extend([0x45, 0]);
    frame.extend((20 + udp_bytes).to_be_bytes());
    frame.extend([0, 0, 0x40, 0, 16, 17, 0, 0, 10, 0, 0, 1, 233, 54, 12, group]);
    frame.extend([40_000u16.to_be_bytes(), port.to_be_bytes(), udp_bytes.to_be_bytes(), [0, 0]].concat());
    let bytes = (frame.len() + payload.len()) as u64;
    for number in [ts / 1_000_000_000, ts % 1_000_000_000, bytes, bytes] {
        out.write_all(&(number as u32).to_le_bytes())?;
    }
    out.write_all(&frame)?;
    out.write_all(payload)
}
