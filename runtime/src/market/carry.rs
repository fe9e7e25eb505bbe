//! How a generated day of ITCH goes into a file: as records, or in packets.

use super::itch::{ItchDay, ItchMessage};
use std::io::{self, Write};
use tapeline_core::wire::mold::END_OF_SESSION;

/// Name of the session in MoldUDP64.
const SESSION: &[u8; 10] = b"GENERATED1";
/// Bytes of the messages of a packet: with all headers it stays within an Ethernet frame.
const BLOCKS_BYTES_MAX: usize = 1_400;
/// Messages that are sent within this time of the first one go into its packet.
const PACKET_NS: u64 = 10_000;
/// Time from the sending of a packet's last message to its capture.
const CAPTURE_NS: u64 = 20_000;
/// Ethernet to the group's address, from one that no maker has, with IPv4.
const ETHERNET: [u8; 14] = [0x01, 0, 0x5e, 0x40, 0, 1, 0x02, 0, 0, 0, 0, 1, 0x08, 0];
/// Addresses for documentation: RFC 5737 and, for the group, RFC 6676.
const FROM: [u8; 4] = [192, 0, 2, 1];
const TO: [u8; 4] = [233, 252, 0, 1];
const PORT: u16 = 26_400;

/// What was written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Carried {
    /// Messages.
    pub messages: u64,
    /// Packets; 0 in a file of records.
    pub packets: u64,
    /// Bytes.
    pub bytes: u64,
}

/// Writes a day as a BinaryFILE: each message after its length, and a length of 0 at its end.
///
/// # Errors
/// What the writer says.
pub fn binary_file(day: ItchDay, to: &mut impl Write) -> io::Result<Carried> {
    let mut carried = Carried { bytes: 2, ..Carried::default() };
    for message in day {
        let bytes = message.bytes();
        to.write_all(&(bytes.len() as u16).to_be_bytes())?;
        to.write_all(bytes)?;
        carried.messages += 1;
        carried.bytes += 2 + bytes.len() as u64;
    }
    to.write_all(&[0, 0])?;
    to.flush()?;
    Ok(carried)
}

/// Writes a day as a pcap of ns: MoldUDP64 over UDP, IPv4 and Ethernet. Messages that are sent within 10 µs share a packet; the end of the
/// session is one of its own.
///
/// # Errors
/// What the writer says.
pub fn pcap(day: ItchDay, to: &mut impl Write) -> io::Result<Carried> {
    let midnight_ns = day.midnight_ns();
    let mut header = Vec::new();
    for word in [0xa1b2_3c4d_u32, 2 | 4 << 16, 0, 0, 65_535, 1] {
        header.extend(word.to_le_bytes());
    }
    to.write_all(&header)?;
    let carried = Carried { bytes: header.len() as u64, ..Carried::default() };
    let mut packets = Packets { to, midnight_ns, carried, packet: Vec::new() };
    let (mut blocks, mut count, mut first, mut last) = (Vec::with_capacity(BLOCKS_BYTES_MAX), 0u16, 0, 0);
    for message in day {
        let (time, bytes) = (message.timestamp(), ItchMessage::bytes(&message));
        if count > 0 && (time > first + PACKET_NS || blocks.len() + 2 + bytes.len() > BLOCKS_BYTES_MAX) {
            packets.write(last, count, &blocks)?;
            blocks.clear();
            count = 0;
        }
        if count == 0 {
            first = time;
        }
        last = time;
        blocks.extend((bytes.len() as u16).to_be_bytes());
        blocks.extend(bytes);
        count += 1;
    }
    if count > 0 {
        packets.write(last, count, &blocks)?;
    }
    packets.write(last + 1_000_000, END_OF_SESSION, b"")?;
    packets.to.flush()?;
    Ok(packets.carried)
}

struct Packets<'a, W> {
    to: &'a mut W,
    midnight_ns: u64,
    carried: Carried,
    packet: Vec<u8>,
}

impl<W: Write> Packets<'_, W> {
    /// Writes a packet whose last message was sent at that time.
    fn write(&mut self, sent: u64, count: u16, blocks: &[u8]) -> io::Result<()> {
        let udp_bytes = (8 + 20 + blocks.len()) as u16;
        let bytes = ETHERNET.len() as u32 + 20 + u32::from(udp_bytes);
        let time = self.midnight_ns + sent + CAPTURE_NS;
        let packet = &mut self.packet;
        packet.clear();
        for word in [(time / 1_000_000_000) as u32, (time % 1_000_000_000) as u32, bytes, bytes] {
            packet.extend(word.to_le_bytes());
        }
        packet.extend(ETHERNET);
        let ip = packet.len();
        packet.extend([0x45, 0]);
        packet.extend((20 + udp_bytes).to_be_bytes());
        packet.extend((self.carried.packets as u16).to_be_bytes());
        packet.extend([0x40, 0, 16, 17, 0, 0]); // not to be fragmented, 16 hops, UDP
        packet.extend(FROM);
        packet.extend(TO);
        let checksum = checksum(&packet[ip..]);
        packet[ip + 10..ip + 12].copy_from_slice(&checksum.to_be_bytes());
        for word in [PORT, PORT, udp_bytes, 0] {
            packet.extend(word.to_be_bytes());
        }
        packet.extend(SESSION);
        packet.extend((self.carried.messages + 1).to_be_bytes());
        packet.extend(count.to_be_bytes());
        packet.extend(blocks);
        self.to.write_all(packet)?;
        self.carried.packets += 1;
        self.carried.bytes += packet.len() as u64;
        if count != END_OF_SESSION {
            self.carried.messages += u64::from(count);
        }
        Ok(())
    }
}

/// The checksum of an IPv4 header (RFC 791).
fn checksum(header: &[u8]) -> u16 {
    let sum: u32 = header.chunks_exact(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    let sum = (sum & 0xffff) + (sum >> 16);
    !(((sum & 0xffff) + (sum >> 16)) as u16)
}
