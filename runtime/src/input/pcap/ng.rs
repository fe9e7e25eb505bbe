//! pcapng: blocks of a type and a length (draft-ietf-opsawg-pcapng).
//!
//! ```text
//!  0 type u32   4 length of the block u32   8 body, padded to 4 bytes   length - 4: the length again
//! ```
//! Used are section headers (each may have another byte order), interface descriptions (`if_tsresol`, `if_tsoffset`), enhanced, simple
//! and old packets. All other blocks are read past and counted. A simple packet has no time.

use super::window::{RECORD_BYTES_MAX, Window};
use super::{Broken, Next, PACKET_BYTES_MAX, Packet, cut, nanos};
use tapeline_core::units::UnixNanos;

/// First bytes of a section header: the same in both byte orders.
pub(super) const MAGIC: [u8; 4] = [0x0a, 0x0d, 0x0d, 0x0a];
/// Interfaces of one section at most.
pub(super) const INTERFACES_MAX: usize = 4_096;

const SECTION: u32 = 0x0a0d_0d0a;
const INTERFACE: u32 = 1;
const OLD_PACKET: u32 = 2;
const SIMPLE_PACKET: u32 = 3;
const ENHANCED_PACKET: u32 = 6;
const ORDER_MAGIC: u32 = 0x1a2b_3c4d;
/// Type and length in front, length behind.
const FRAME_BYTES: usize = 12;
/// A section header without options.
const SECTION_BYTES_MIN: usize = 28;
const OPTION_TSRESOL: u16 = 9;
const OPTION_TSOFFSET: u16 = 14;

/// What the interface description says of its packets.
#[derive(Clone, Copy)]
struct Interface {
    linktype: u32,
    /// Bytes of a packet that were kept; 0 = all.
    snap: u32,
    /// Units of a second.
    resolution: Resolution,
    /// Seconds to add to every time.
    offset_s: i64,
}

/// How many units a second has.
#[derive(Clone, Copy)]
enum Resolution {
    PerSecond(u64),
    /// 2^n.
    PowerOfTwo(u32),
    /// 10^n, of more than fit 64 bits.
    PowerOfTen(u32),
}

impl Resolution {
    fn of(byte: u8) -> Self {
        let exponent = u32::from(byte & 0x7f);
        if byte & 0x80 != 0 {
            return Self::PowerOfTwo(exponent);
        }
        10u64.checked_pow(exponent).map_or(Self::PowerOfTen(exponent), Self::PerSecond)
    }

    fn nanos(self, count: u64) -> u64 {
        match self {
            Self::PerSecond(unit) => nanos(count, unit),
            Self::PowerOfTwo(exponent) => {
                u64::try_from((u128::from(count) * 1_000_000_000).checked_shr(exponent).unwrap_or(0))
                    .unwrap_or(u64::MAX)
            }
            Self::PowerOfTen(exponent) => 10u64.checked_pow(exponent - 9).map_or(0, |unit| count / unit),
        }
    }
}

impl Interface {
    fn time(&self, high: u32, low: u32) -> UnixNanos {
        let ns = i128::from(self.resolution.nanos(u64::from(high) << 32 | u64::from(low)));
        let shifted = ns + i128::from(self.offset_s) * 1_000_000_000;
        // All ones is the mark of an unknown time.
        UnixNanos(u64::try_from(shifted.max(0)).unwrap_or(u64::MAX).min(u64::MAX - 1))
    }
}

/// A file of pcapng.
pub(super) struct Ng {
    is_big: bool,
    interfaces: Vec<Interface>,
    /// Blocks that were read past.
    other_blocks: u64,
}

impl Ng {
    pub(super) fn open(window: &mut Window) -> Result<Self, Broken> {
        let mut ng = Self { is_big: false, interfaces: Vec::new(), other_blocks: 0 };
        ng.section(window)?;
        Ok(ng)
    }

    /// Blocks that were read past.
    pub(super) const fn other_blocks(&self) -> u64 {
        self.other_blocks
    }

    #[inline]
    fn u16(&self, bytes: &[u8], at: usize) -> u16 {
        let two = [bytes[at], bytes[at + 1]];
        if self.is_big { u16::from_be_bytes(two) } else { u16::from_le_bytes(two) }
    }

    #[inline]
    fn u32(&self, bytes: &[u8], at: usize) -> u32 {
        let four = [bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]];
        if self.is_big { u32::from_be_bytes(four) } else { u32::from_le_bytes(four) }
    }

    /// The section header at the window's start: byte order, and no interfaces.
    fn section(&mut self, window: &mut Window) -> Result<(), Broken> {
        let start = window.fill(SECTION_BYTES_MIN)?;
        if start.len() < SECTION_BYTES_MIN {
            return Err(cut("a section header", start.len(), SECTION_BYTES_MIN as u64));
        }
        self.is_big = false;
        if self.u32(start, 8) != ORDER_MAGIC {
            self.is_big = true;
            if self.u32(start, 8) != ORDER_MAGIC {
                return Err(Broken::Record("a section header without its byte-order magic".to_owned()));
            }
        }
        let (length, major) = (self.u32(start, 4), self.u16(start, 12));
        if major != 1 {
            return Err(Broken::Version(format!("it is pcapng version {major}: only version 1 is known")));
        }
        if (length as usize) < SECTION_BYTES_MIN {
            return Err(Broken::Record(format!("a section header of {length} bytes")));
        }
        self.interfaces.clear();
        self.pass(window, length, "a section header")
    }

    /// Reads past a block and compares its two lengths.
    fn pass(&self, window: &mut Window, length: u32, what: &str) -> Result<(), Broken> {
        if !length.is_multiple_of(4) || (length as usize) < FRAME_BYTES {
            return Err(Broken::Record(format!("{what} of {length} bytes")));
        }
        if length as usize <= RECORD_BYTES_MAX {
            // Whole in the window, so that an error stands at the block's start.
            let held = window.fill(length as usize)?;
            if held.len() < length as usize {
                return Err(cut(what, held.len(), u64::from(length)));
            }
            self.closed(held, length, what)?;
            window.consume(length as usize);
            return Ok(());
        }
        let start = window.offset();
        let body = u64::from(length) - 4;
        let passed = window.skip(body)?;
        if passed < body || window.fill(4)?.len() < 4 {
            return Err(Broken::Record(format!("{what} of {length} bytes at offset {start} is cut short here")));
        }
        let behind = self.u32(window.held(), 0);
        if behind != length {
            return Err(Broken::Record(format!(
                "{what} of {length} bytes at offset {start} ends with the length {behind}"
            )));
        }
        window.consume(4);
        Ok(())
    }

    /// Compares the length behind a whole block with the one in front.
    #[inline]
    fn closed(&self, block: &[u8], length: u32, what: &str) -> Result<(), Broken> {
        match self.u32(block, length as usize - 4) {
            behind if behind == length => Ok(()),
            behind => Err(Broken::Record(format!("{what} of {length} bytes ends with the length {behind}"))),
        }
    }

    pub(super) fn next(&mut self, window: &mut Window) -> Result<Next, Broken> {
        loop {
            let start = window.fill(8)?;
            if start.len() < 8 {
                return match start.len() {
                    0 => Ok(Next::End),
                    have => Err(cut("a block", have, 8)),
                };
            }
            let (kind, length) = (self.u32(start, 0), self.u32(start, 4));
            let what = match kind {
                SECTION => {
                    self.section(window)?;
                    continue;
                }
                INTERFACE => "an interface description",
                OLD_PACKET | SIMPLE_PACKET | ENHANCED_PACKET => "a packet block",
                _ => {
                    self.pass(window, length, "a block")?;
                    self.other_blocks += 1;
                    continue;
                }
            };
            if !length.is_multiple_of(4) || (length as usize) < FRAME_BYTES {
                return Err(Broken::Record(format!("{what} of {length} bytes")));
            }
            if length as usize > RECORD_BYTES_MAX {
                return Err(Broken::Record(format!("{what} of {length} bytes is longer than {RECORD_BYTES_MAX}")));
            }
            let held = window.fill(length as usize)?;
            if held.len() < length as usize {
                return Err(cut(what, held.len(), u64::from(length)));
            }
            self.closed(held, length, what)?;
            let body = &held[8..length as usize - 4];
            if kind == INTERFACE {
                let interface = self.interface(body)?;
                if self.interfaces.len() == INTERFACES_MAX {
                    return Err(Broken::Record(format!("more than {INTERFACES_MAX} interfaces in one section")));
                }
                self.interfaces.push(interface);
                window.consume(length as usize);
                continue;
            }
            let packet = self.packet(kind, body, length as usize)?;
            return Ok(Next::Packet(packet));
        }
    }

    fn interface(&self, body: &[u8]) -> Result<Interface, Broken> {
        if body.len() < 8 {
            return Err(Broken::Record(format!("an interface description with a body of {} bytes", body.len())));
        }
        let mut interface = Interface {
            linktype: u32::from(self.u16(body, 0)),
            snap: self.u32(body, 4),
            resolution: Resolution::PerSecond(1_000_000),
            offset_s: 0,
        };
        let mut options = &body[8..];
        while options.len() >= 4 {
            let (code, length) = (self.u16(options, 0), usize::from(self.u16(options, 2)));
            let padded = length.next_multiple_of(4);
            if code == 0 {
                break;
            }
            let Some(value) = options.get(4..4 + length).filter(|_| options.len() >= 4 + padded) else {
                return Err(Broken::Record("an option of an interface is longer than its block".to_owned()));
            };
            match (code, value) {
                (OPTION_TSRESOL, [byte]) => interface.resolution = Resolution::of(*byte),
                (OPTION_TSOFFSET, value) if value.len() == 8 => {
                    let (first, second) = (self.u32(value, 0), self.u32(value, 4));
                    let (high, low) = if self.is_big { (first, second) } else { (second, first) };
                    interface.offset_s = (u64::from(high) << 32 | u64::from(low)) as i64;
                }
                _ => {}
            }
            options = &options[4 + padded..];
        }
        Ok(interface)
    }

    fn packet(&self, kind: u32, body: &[u8], record: usize) -> Result<Packet, Broken> {
        let (header, number) = match kind {
            SIMPLE_PACKET => (4, 0),
            _ => (20, if body.len() < 20 { 0 } else { self.number(kind, body) }),
        };
        if body.len() < header {
            return Err(Broken::Record(format!("a packet block with a body of {} bytes", body.len())));
        }
        let Some(interface) = self.interfaces.get(number) else {
            return Err(Broken::Record(format!("a packet of interface {number}, which was not described")));
        };
        let room = body.len() - header;
        let (captured, original, ts) = if kind == SIMPLE_PACKET {
            let original = self.u32(body, 0);
            let snap = if interface.snap == 0 { original } else { original.min(interface.snap) };
            (room.min(snap as usize), original, UnixNanos::UNKNOWN)
        } else {
            let ts = interface.time(self.u32(body, 4), self.u32(body, 8));
            (self.u32(body, 12) as usize, self.u32(body, 16), ts)
        };
        if captured > room || captured > PACKET_BYTES_MAX {
            return Err(Broken::Record(format!("a packet of {captured} bytes in a block with room for {room}")));
        }
        let linktype = interface.linktype;
        Ok(Packet { linktype, ts, data: 8 + header..8 + header + captured, original, record })
    }

    /// Interface of an enhanced or an old packet.
    fn number(&self, kind: u32, body: &[u8]) -> usize {
        if kind == ENHANCED_PACKET { self.u32(body, 0) as usize } else { usize::from(self.u16(body, 0)) }
    }
}
