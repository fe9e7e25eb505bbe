//! Classic pcap: a file header, then a header of 16 bytes before each packet (draft-ietf-opsawg-pcap).
//!
//! ```text
//!  0 magic u32   a1b2c3d4 = µs, a1b23c4d = ns; its byte order is the file's
//!  4 version u16, u16 (2.4)   8 reserved u32, u32   16 snap length u32   20 link layer u32 (low 26 bits)
//!
//!  0 seconds u32   4 µs or ns u32   8 bytes captured u32   12 bytes on the wire u32   16 the packet
//! ```

use super::window::Window;
use super::{Broken, Next, PACKET_BYTES_MAX, Packet, cut};
use tapeline_core::units::UnixNanos;

const FILE_HEADER_BYTES: usize = 24;
const PACKET_HEADER_BYTES: usize = 16;
const MICROS: u32 = 0xa1b2_c3d4;
const NANOS: u32 = 0xa1b2_3c4d;
/// What is left of the link layer's field beside the length of a checksum behind each frame.
const LINKTYPE_MASK: u32 = 0x03ff_ffff;

/// Whether a file begins with one of the four magic numbers.
pub(super) fn is_magic(start: &[u8]) -> bool {
    start.first_chunk().is_some_and(|first| order(*first).is_some())
}

/// Whether the byte order is big-endian, and the ns of a unit of the packets' times.
fn order(first: [u8; 4]) -> Option<(bool, u32)> {
    match (u32::from_le_bytes(first), u32::from_be_bytes(first)) {
        (MICROS, _) => Some((false, 1_000)),
        (NANOS, _) => Some((false, 1)),
        (_, MICROS) => Some((true, 1_000)),
        (_, NANOS) => Some((true, 1)),
        _ => None,
    }
}

/// A file of classic pcap.
pub(super) struct Classic {
    is_big: bool,
    unit_ns: u32,
    linktype: u32,
}

impl Classic {
    pub(super) fn open(window: &mut Window) -> Result<Self, Broken> {
        let start = window.fill(FILE_HEADER_BYTES)?;
        let Some((is_big, unit_ns)) = start.first_chunk().and_then(|first| order(*first)) else {
            return Err(Broken::Record("it is neither pcap nor pcapng".to_owned()));
        };
        if start.len() < FILE_HEADER_BYTES {
            return Err(cut("the pcap header", start.len(), FILE_HEADER_BYTES as u64));
        }
        let mut classic = Self { is_big, unit_ns, linktype: 0 };
        let major = classic.u32(start, 4);
        let major = if is_big { major >> 16 } else { major & 0xffff };
        if major != 2 {
            return Err(Broken::Version(format!("it is pcap version {major}: only version 2 is known")));
        }
        classic.linktype = classic.u32(start, 20) & LINKTYPE_MASK;
        window.consume(FILE_HEADER_BYTES);
        Ok(classic)
    }

    #[inline]
    fn u32(&self, bytes: &[u8], at: usize) -> u32 {
        let four = [bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]];
        if self.is_big { u32::from_be_bytes(four) } else { u32::from_le_bytes(four) }
    }

    #[inline]
    pub(super) fn next(&self, window: &mut Window) -> Result<Next, Broken> {
        let header = window.fill(PACKET_HEADER_BYTES)?;
        if header.len() < PACKET_HEADER_BYTES {
            return match header.len() {
                0 => Ok(Next::End),
                have => Err(cut("a packet header", have, PACKET_HEADER_BYTES as u64)),
            };
        }
        let (seconds, part) = (self.u32(header, 0), self.u32(header, 4));
        let (captured, original) = (self.u32(header, 8), self.u32(header, 12));
        let bytes = captured as usize;
        if bytes > PACKET_BYTES_MAX {
            return Err(Broken::Record(format!("a packet of {bytes} bytes is longer than {PACKET_BYTES_MAX}")));
        }
        let record = PACKET_HEADER_BYTES + bytes;
        let held = window.fill(record)?.len();
        if held < record {
            return Err(cut("a packet", held, record as u64));
        }
        let ts = u64::from(seconds) * 1_000_000_000 + u64::from(part) * u64::from(self.unit_ns);
        Ok(Next::Packet(Packet {
            linktype: self.linktype,
            ts: UnixNanos(ts),
            data: PACKET_HEADER_BYTES..record,
            original,
            record,
        }))
    }
}
