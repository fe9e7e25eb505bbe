//! Captures made by hand: frames, containers and IEX-TP segments, written field by field from the formats' descriptions, with nothing of
//! the code under test.
#![allow(dead_code)] // every test binary uses a part of it

use std::io::Cursor;
use tapeline_core::catalog::Catalog;
use tapeline_core::event::{Slot, events};
use tapeline_runtime::input::bytes::ByteSource;
use tapeline_runtime::input::pcap::PcapInput;
use tapeline_runtime::input::{Input, InputError, MESSAGE_SLOTS_MAX, SlotBuf, Status, Tally};

/// 2023-10-02 11:34:35 UTC, ns.
pub(crate) const START: u64 = 1_696_246_475_000_000_000;
/// Session of the segments.
pub(crate) const SESSION: u32 = 1_286_602_752;

/// Little- or big-endian.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Order {
    Little,
    Big,
}

impl Order {
    pub(crate) fn u16(self, value: u16) -> [u8; 2] {
        if self == Self::Little { value.to_le_bytes() } else { value.to_be_bytes() }
    }

    pub(crate) fn u32(self, value: u32) -> [u8; 4] {
        if self == Self::Little { value.to_le_bytes() } else { value.to_be_bytes() }
    }

    pub(crate) fn u64(self, value: u64) -> [u8; 8] {
        if self == Self::Little { value.to_le_bytes() } else { value.to_be_bytes() }
    }
}

/// A captured packet: when, and its bytes from the link layer on.
#[derive(Clone, Debug)]
pub(crate) struct Captured {
    pub(crate) ns: u64,
    pub(crate) frame: Vec<u8>,
    /// Bytes on the wire.
    pub(crate) original: usize,
}

/// Classic pcap. `unit_ns` is 1,000 or 1.
pub(crate) fn classic(order: Order, unit_ns: u64, linktype: u32, packets: &[Captured]) -> Vec<u8> {
    let magic = if unit_ns == 1 { 0xa1b2_3c4d } else { 0xa1b2_c3d4 };
    let mut file = [&order.u32(magic)[..], &order.u16(2), &order.u16(4), &[0; 8]].concat();
    file.extend([order.u32(65_535), order.u32(linktype)].concat());
    for packet in packets {
        let (seconds, part) = (packet.ns / 1_000_000_000, packet.ns % 1_000_000_000 / unit_ns);
        for field in [seconds as u32, part as u32, packet.frame.len() as u32, packet.original as u32] {
            file.extend(order.u32(field));
        }
        file.extend(&packet.frame);
    }
    file
}

/// A block of pcapng.
pub(crate) fn block(order: Order, kind: u32, body: &[u8]) -> Vec<u8> {
    let padded = body.len().next_multiple_of(4);
    let length = order.u32(padded as u32 + 12);
    [&order.u32(kind)[..], &length, body, &vec![0; padded - body.len()], &length].concat()
}

pub(crate) fn section(order: Order) -> Vec<u8> {
    let body = [&order.u32(0x1a2b_3c4d)[..], &order.u16(1), &order.u16(0), &[0xff; 8]].concat();
    block(order, 0x0a0d_0d0a, &body)
}

/// An interface description; `resolution` is the byte of `if_tsresol`.
pub(crate) fn interface(order: Order, linktype: u32, resolution: Option<u8>, offset_s: i64) -> Vec<u8> {
    let mut body = [&order.u16(linktype as u16)[..], &[0; 2], &order.u32(0)].concat();
    // if_name, which nobody reads, of an odd length.
    body.extend([&order.u16(2)[..], &order.u16(5), b"eth10\0\0\0"].concat());
    if let Some(byte) = resolution {
        body.extend([&order.u16(9)[..], &order.u16(1), &[byte, 0, 0, 0]].concat());
    }
    if offset_s != 0 {
        body.extend([&order.u16(14)[..], &order.u16(8), &order.u64(offset_s as u64)].concat());
    }
    body.extend([0; 4]);
    block(order, 1, &body)
}

/// An enhanced (6) or old (2) packet block of the interface with this number, its time in units.
pub(crate) fn packet_block(order: Order, kind: u32, number: u32, units: u64, packet: &Captured) -> Vec<u8> {
    let mut body =
        if kind == 6 { order.u32(number).to_vec() } else { [order.u16(number as u16), order.u16(7)].concat() };
    body.extend([order.u32((units >> 32) as u32), order.u32(units as u32)].concat());
    body.extend([order.u32(packet.frame.len() as u32), order.u32(packet.original as u32)].concat());
    body.extend(&packet.frame);
    block(order, kind, &body)
}

/// pcapng with a block of statistics in between, packets as enhanced and old blocks in turn, times in units of 10^-9 s.
pub(crate) fn ng(order: Order, linktype: u32, packets: &[Captured]) -> Vec<u8> {
    let mut file = [section(order), interface(order, 1, None, 0), interface(order, linktype, Some(9), 0)].concat();
    for (index, packet) in packets.iter().enumerate() {
        file.extend(packet_block(order, if index % 3 == 2 { 2 } else { 6 }, 1, packet.ns, packet));
        if index % 2 == 0 {
            file.extend(block(order, 5, &[0; 12]));
        }
    }
    file
}

/// How a UDP datagram is wrapped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Wrap {
    Ethernet,
    Vlan,
    DoubleVlan,
    Cooked,
    Cooked2,
    Raw,
    Loopback,
    LoopbackBig,
}

impl Wrap {
    pub(crate) const ALL: [Self; 8] = [
        Self::Ethernet,
        Self::Vlan,
        Self::DoubleVlan,
        Self::Cooked,
        Self::Cooked2,
        Self::Raw,
        Self::Loopback,
        Self::LoopbackBig,
    ];

    pub(crate) const fn linktype(self) -> u32 {
        match self {
            Self::Ethernet | Self::Vlan | Self::DoubleVlan => 1,
            Self::Cooked => 113,
            Self::Cooked2 => 276,
            Self::Raw => 101,
            Self::Loopback => 0,
            Self::LoopbackBig => 108,
        }
    }

    /// A frame with this IP packet.
    pub(crate) fn frame(self, ip: &[u8]) -> Vec<u8> {
        let is_v6 = ip[0] >> 4 == 6;
        let kind: [u8; 2] = if is_v6 { [0x86, 0xdd] } else { [0x08, 0x00] };
        let macs = [1, 0, 0x5e, 0x57, 0x15, 4, 2, 0, 0, 0, 0, 1];
        match self {
            Self::Ethernet => [&macs[..], &kind, ip].concat(),
            Self::Vlan => [&macs[..], &[0x81, 0, 0x20, 7], &kind, ip].concat(),
            Self::DoubleVlan => [&macs[..], &[0x88, 0xa8, 0, 9, 0x81, 0, 0x20, 7], &kind, ip].concat(),
            Self::Cooked => [&[0, 2, 0, 1, 0, 6, 2, 0, 0, 0, 0, 1, 0, 0][..], &kind, ip].concat(),
            Self::Cooked2 => [&kind[..], &[0, 0, 0, 0, 0, 3, 0, 1, 2, 6, 2, 0, 0, 0, 0, 1, 0, 0], ip].concat(),
            Self::Raw => ip.to_vec(),
            Self::Loopback => [&[if is_v6 { 30 } else { 2 }, 0, 0, 0][..], ip].concat(),
            Self::LoopbackBig => [&[0, 0, 0, if is_v6 { 30 } else { 2 }][..], ip].concat(),
        }
    }
}

/// A UDP header and payload.
pub(crate) fn udp(port: u16, payload: &[u8]) -> Vec<u8> {
    let ports = [10_378u16.to_be_bytes(), port.to_be_bytes()].concat();
    [&ports[..], &(payload.len() as u16 + 8).to_be_bytes(), &[0; 2], payload].concat()
}

/// An IPv4 packet of this protocol, with `options` bytes of options.
pub(crate) fn ipv4(protocol: u8, options: usize, body: &[u8]) -> Vec<u8> {
    let total = (20 + options + body.len()) as u16;
    let mut packet = vec![0x45 + (options / 4) as u8, 0];
    packet.extend(total.to_be_bytes());
    packet.extend([0, 0, 0x40, 0, 64, protocol, 0, 0, 10, 0, 0, 1, 233, 215, 21, 4]);
    packet.extend(vec![1; options]);
    packet.extend(body);
    packet
}

/// An IPv6 packet with these extension headers (type and body, whose second byte is their length).
pub(crate) fn ipv6(protocol: u8, extensions: &[(u8, Vec<u8>)], body: &[u8]) -> Vec<u8> {
    let length = extensions.iter().map(|(_, bytes)| bytes.len()).sum::<usize>() + body.len();
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend((length as u16).to_be_bytes());
    packet.extend([extensions.first().map_or(protocol, |first| first.0), 64]);
    packet.extend([0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    packet.extend([0xff, 0x0e, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x15, 4]);
    for (index, (_, bytes)) in extensions.iter().enumerate() {
        packet.push(extensions.get(index + 1).map_or(protocol, |next| next.0));
        packet.extend(&bytes[1..]);
    }
    packet.extend(body);
    packet
}

/// A segment of IEX-TP: protocol, session, number of the first message, send time.
pub(crate) fn segment(protocol: u16, session: u32, first: i64, sent: u64, messages: &[Vec<u8>]) -> Vec<u8> {
    let body: Vec<u8> =
        messages.iter().flat_map(|message| [&(message.len() as u16).to_le_bytes()[..], message].concat()).collect();
    let mut bytes = vec![1, 0];
    bytes.extend(protocol.to_le_bytes());
    bytes.extend(1u32.to_le_bytes());
    bytes.extend(session.to_le_bytes());
    bytes.extend((body.len() as u16).to_le_bytes());
    bytes.extend((messages.len() as u16).to_le_bytes());
    bytes.extend(((first - 1) * 32).to_le_bytes());
    bytes.extend(first.to_le_bytes());
    bytes.extend((sent as i64).to_le_bytes());
    bytes.extend(body);
    bytes
}

/// Type, own byte, time, symbol.
pub(crate) fn message(kind: u8, own: u8, ns: u64, symbol: &str, rest: &[&[u8]]) -> Vec<u8> {
    let mut bytes = vec![kind, own];
    bytes.extend(ns.to_le_bytes());
    bytes.extend(format!("{symbol:<8}").as_bytes());
    rest.iter().for_each(|field| bytes.extend_from_slice(field));
    bytes
}

/// A price level update; `price` in 1e-4.
pub(crate) fn level(kind: u8, flags: u8, ns: u64, symbol: &str, size: u32, price: i64) -> Vec<u8> {
    message(kind, flags, ns, symbol, &[&size.to_le_bytes(), &price.to_le_bytes()])
}

/// A trade report (`T`) or break (`B`).
pub(crate) fn trade(kind: u8, ns: u64, symbol: &str, size: u32, price: i64, id: i64) -> Vec<u8> {
    message(kind, 0x20, ns, symbol, &[&size.to_le_bytes(), &price.to_le_bytes(), &id.to_le_bytes()])
}

pub(crate) const DEEP: u16 = 0x8004;
pub(crate) const TOPS: u16 = 0x8003;

/// What came of a capture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Decoded {
    /// Events of which the ids of symbols and sources are replaced by their names, in order.
    pub(crate) events: Vec<(String, String, Vec<Slot>)>,
    pub(crate) tally: Tally,
    pub(crate) error: Option<(u8, String)>,
}

impl Decoded {
    /// Kind, symbol, number of each event.
    pub(crate) fn summary(&self) -> Vec<(&'static str, &str, u64)> {
        self.events.iter().map(|(symbol, _, slots)| (slots[0].kind().name(), symbol.as_str(), slots[0].seq)).collect()
    }
}

pub(crate) fn decode(bytes: &[u8]) -> Decoded {
    decode_with(bytes, 1 << 10, MESSAGE_SLOTS_MAX)
}

pub(crate) fn decode_with(bytes: &[u8], symbols: usize, slots: usize) -> Decoded {
    let mut decoded = Decoded { events: Vec::new(), tally: Tally::default(), error: None };
    let tell = |error: InputError| Some((error.exit_code(), error.to_string()));
    let source = match ByteSource::new(Box::new(Cursor::new(bytes.to_vec())), "capture", None) {
        Ok(source) => source,
        Err(error) => return Decoded { error: tell(error), ..decoded },
    };
    let mut input = match PcapInput::new(source) {
        Ok(input) => input,
        Err(error) => return Decoded { error: tell(error), ..decoded },
    };
    let (mut catalog, mut out) = (Catalog::new(symbols), SlotBuf::with_capacity(slots));
    loop {
        out.clear();
        let status = input.read(&mut catalog, &mut out);
        let mut total = 0;
        for event in events(out.slots()) {
            let head = event.head();
            let symbol = String::from_utf8(catalog.symbol_text(head.symbol).to_vec()).unwrap();
            let source = String::from_utf8(catalog.source_name(head.source).to_vec()).unwrap();
            let mut slots = event.slots().to_vec();
            total += slots.len();
            (slots[0].symbol.0, slots[0].source.0) = (0, 0);
            decoded.events.push((symbol, source, slots));
        }
        assert_eq!(total, out.slots().len(), "whole events only");
        match status {
            Ok(Status::More) => assert!(!out.slots().is_empty(), "each read makes progress"),
            Ok(Status::End) => break,
            Err(error) => {
                decoded.error = tell(error);
                assert_eq!(input.read(&mut catalog, &mut out).unwrap(), Status::End, "an error ends it");
                break;
            }
        }
    }
    decoded.tally = input.tally();
    decoded
}

/// Segments of DEEP with a bit of everything, `count` of them from number 1 on.
pub(crate) fn deep_segments(count: u64) -> Vec<(u64, Vec<u8>)> {
    let symbols = ["AAPL", "ZIEXT", "BRK.A", "MSFT"];
    let mut next = 1;
    (0..count)
        .map(|index| {
            let ns = START + index * 1_000_000;
            let at = |offset: u64| ns - 100_000 + offset;
            let symbol = symbols[index as usize % symbols.len()];
            let messages = match index % 5 {
                0 => vec![
                    message(b'D', 0, at(0), symbol, &[&100u32.to_le_bytes(), &990_500i64.to_le_bytes(), &[1]]),
                    message(b'H', b'T', at(1), symbol, &[b"    "]),
                ],
                4 => vec![],
                _ => vec![
                    level(b'8', 0, at(2), symbol, 100 + index as u32, 1_000_000 - 100 * index as i64),
                    level(b'5', 1, at(3), symbol, 200, 1_000_100 + 100 * index as i64),
                    trade(b'T', at(4), symbol, 7, 1_000_050, index as i64),
                ],
            };
            let bytes = segment(DEEP, SESSION, next, ns, &messages);
            next += messages.len() as i64;
            (ns, bytes)
        })
        .collect()
}

/// These datagrams as a capture's packets.
pub(crate) fn packets(wrap: Wrap, is_v6: bool, datagrams: &[(u64, Vec<u8>)]) -> Vec<Captured> {
    let packet = |(ns, payload): &(u64, Vec<u8>)| {
        let udp = udp(10_378, payload);
        let frame = wrap.frame(&if is_v6 { ipv6(17, &[], &udp) } else { ipv4(17, 0, &udp) });
        Captured { ns: *ns, original: frame.len(), frame }
    };
    datagrams.iter().map(packet).collect()
}
