//! From a captured frame to the UDP datagram in it: link layers, VLAN tags, IPv4, IPv6, UDP.
//!
//! | link layer | `LINKTYPE` | source |
//! |---|---|---|
//! | BSD loopback | 0 (`NULL`, the capturing host's byte order), 108 (`LOOP`, network order) | tcpdump.org/linktypes |
//! | Ethernet II | 1, with up to [`TAGS_MAX`] VLAN tags (0x8100, 802.1ad 0x88a8, 0x9100, 0x9200) | IEEE 802.3, 802.1Q |
//! | raw IP | 12, 14, 101 by the version; 228 IPv4, 229 IPv6 | tcpdump.org/linktypes |
//! | Linux cooked | 113 (v1), 276 (v2) | tcpdump.org/linktypes/LINKTYPE_LINUX_SLL2 |
//!
//! - IPv4 (RFC 791) with options; IPv6 (RFC 8200) with hop-by-hop, routing, destination options, authentication and mobility headers
//!   walked. A fragment is [`Other::Fragment`]: nothing is put together. An IPv6 fragment header that says that there is only one
//!   fragment (RFC 6946) is none.
//! - Lengths are those of IP and UDP, so that padding of short frames and trailers are left out. An IP length of 0 is what a card that
//!   splits packets itself shows to the host: the rest of the frame counts.
//! - Checksums are not looked at: on the sending host they are not filled in yet.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// VLAN tags of one frame at most; a frame with more is [`Other::Malformed`].
pub const TAGS_MAX: usize = 4;
/// IPv6 extension headers of one packet at most.
pub const EXTENSIONS_MAX: usize = 16;

/// How the bytes of a frame begin.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Link {
    /// Ethernet II.
    Ethernet,
    /// BSD loopback: 4 bytes of address family in either byte order.
    Loopback,
    /// IPv4 or IPv6, by the version.
    Ip,
    /// Linux cooked capture, version 1.
    LinuxCooked,
    /// Linux cooked capture, version 2.
    LinuxCooked2,
}

impl Link {
    /// The link layer of a `LINKTYPE` number, as pcap and pcapng have it; `None` for one that is not decoded.
    #[must_use]
    pub const fn from_linktype(number: u32) -> Option<Self> {
        Some(match number {
            0 | 108 => Self::Loopback,
            1 => Self::Ethernet,
            12 | 14 | 101 | 228 | 229 => Self::Ip,
            113 => Self::LinuxCooked,
            276 => Self::LinuxCooked2,
            _ => return None,
        })
    }
}

/// A UDP datagram in a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Udp<'a> {
    /// Who sent it.
    pub source: IpAddr,
    /// From which port.
    pub source_port: u16,
    /// To whom: for a feed, its multicast group.
    pub destination: IpAddr,
    /// To which port.
    pub port: u16,
    /// What it carries.
    pub payload: &'a [u8],
}

/// What a frame is, where it is no whole UDP datagram.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Other {
    /// Address resolution.
    Arp,
    /// An Ethernet frame with a length in place of a type (spanning tree, for example).
    Llc,
    /// Another protocol than IP, by its Ethernet type.
    EtherType(u16),
    /// BSD loopback with another address family than IPv4 and IPv6.
    Family(u32),
    /// TCP.
    Tcp,
    /// ICMP, or ICMP for IPv6.
    Icmp,
    /// IGMP.
    Igmp,
    /// Another protocol over IP, by its number.
    IpProtocol(u8),
    /// A fragment of an IP packet.
    Fragment,
    /// The frame ends before what its headers promise: it was cut when it was captured, or is damaged.
    Cut,
    /// Headers that contradict themselves.
    Malformed(&'static str),
}

impl Other {
    /// Writes the name under which it is counted: `arp`, `tcp`, `ethertype 0x88cc`.
    ///
    /// # Errors
    /// Those of `to`.
    pub fn name(self, to: &mut dyn core::fmt::Write) -> core::fmt::Result {
        match self {
            Self::Arp => to.write_str("arp"),
            Self::Llc => to.write_str("llc"),
            Self::EtherType(number) => write!(to, "ethertype {number:#06x}"),
            Self::Family(number) => write!(to, "address family {number}"),
            Self::Tcp => to.write_str("tcp"),
            Self::Icmp => to.write_str("icmp"),
            Self::Igmp => to.write_str("igmp"),
            Self::IpProtocol(number) => write!(to, "ip protocol {number}"),
            Self::Fragment => to.write_str("ip fragment (unsupported)"),
            Self::Cut => to.write_str("cut by the snap length"),
            Self::Malformed(why) => write!(to, "malformed: {why}"),
        }
    }
}

const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
const UDP: u8 = 17;
const UDP_HEADER_BYTES: usize = 8;

#[inline]
fn u16_at(bytes: &[u8], at: usize) -> Result<u16, Other> {
    bytes.get(at..at + 2).and_then(|two| two.try_into().ok()).map(u16::from_be_bytes).ok_or(Other::Cut)
}

#[inline]
fn after(bytes: &[u8], count: usize) -> Result<&[u8], Other> {
    bytes.get(count..).ok_or(Other::Cut)
}

/// The UDP datagram of a frame. O(1), no allocation.
///
/// # Errors
/// What the frame is instead.
pub fn udp(link: Link, frame: &[u8]) -> Result<Udp<'_>, Other> {
    match link {
        Link::Ethernet => {
            let kind = u16_at(frame, 12)?;
            of_type(kind, after(frame, 14)?)
        }
        Link::LinuxCooked => of_type(u16_at(frame, 14)?, after(frame, 16)?),
        Link::LinuxCooked2 => of_type(u16_at(frame, 0)?, after(frame, 20)?),
        Link::Ip => ip(frame),
        Link::Loopback => {
            let family = frame.first_chunk().copied().map(u32::from_be_bytes).ok_or(Other::Cut)?;
            // Small in one of the byte orders.
            match family.min(family.swap_bytes()) {
                // AF_INET everywhere; AF_INET6 of Linux, of NetBSD and OpenBSD, of FreeBSD, of macOS.
                2 | 10 | 24 | 28 | 30 => ip(&frame[4..]),
                other => Err(Other::Family(other)),
            }
        }
    }
}

fn of_type(mut kind: u16, mut rest: &[u8]) -> Result<Udp<'_>, Other> {
    for _ in 0..=TAGS_MAX {
        match kind {
            IPV4 | IPV6 => return ip(rest),
            0x8100 | 0x88a8 | 0x9100 | 0x9200 => {
                kind = u16_at(rest, 2)?;
                rest = after(rest, 4)?;
            }
            0x0806 => return Err(Other::Arp),
            0..0x0600 => return Err(Other::Llc),
            other => return Err(Other::EtherType(other)),
        }
    }
    Err(Other::Malformed("too many VLAN tags"))
}

fn ip(packet: &[u8]) -> Result<Udp<'_>, Other> {
    match packet.first().ok_or(Other::Cut)? >> 4 {
        4 => ipv4(packet),
        6 => ipv6(packet),
        _ => Err(Other::Malformed("neither IPv4 nor IPv6")),
    }
}

fn ipv4(packet: &[u8]) -> Result<Udp<'_>, Other> {
    let header: &[u8; 20] = packet.first_chunk().ok_or(Other::Cut)?;
    let header_bytes = usize::from(header[0] & 0xf) * 4;
    let total = match u16::from_be_bytes([header[2], header[3]]) {
        0 => packet.len(),
        total => usize::from(total),
    };
    if header_bytes < 20 {
        return Err(Other::Malformed("an IPv4 header shorter than 20 bytes"));
    }
    if total < header_bytes {
        return Err(Other::Malformed("an IPv4 length shorter than its header"));
    }
    // More fragments, or not the first one.
    if u16::from_be_bytes([header[6], header[7]]) & 0x3fff != 0 {
        return Err(Other::Fragment);
    }
    let address = |at: usize| IpAddr::V4(Ipv4Addr::new(header[at], header[at + 1], header[at + 2], header[at + 3]));
    of_protocol(header[9], address(12), address(16), packet, header_bytes, total)
}

fn ipv6(packet: &[u8]) -> Result<Udp<'_>, Other> {
    let header: &[u8; 40] = packet.first_chunk().ok_or(Other::Cut)?;
    let total = match u16::from_be_bytes([header[4], header[5]]) {
        0 => packet.len(),
        payload => 40 + usize::from(payload),
    };
    let address = |at: usize| {
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&header[at..at + 16]);
        IpAddr::V6(Ipv6Addr::from(bytes))
    };
    let (mut next, mut at) = (header[6], 40);
    for _ in 0..EXTENSIONS_MAX {
        let units = |unit: usize, more: usize| packet.get(at + 1).map(|length| (usize::from(*length) + more) * unit);
        let bytes = match next {
            // Hop-by-hop, routing, destination options, mobility, HIP, shim6.
            0 | 43 | 60 | 135 | 139 | 140 => units(8, 1).ok_or(Other::Cut)?,
            // Authentication.
            51 => units(4, 2).ok_or(Other::Cut)?,
            44 => {
                if u16_at(packet, at + 2)? & 0xfff9 != 0 {
                    return Err(Other::Fragment);
                }
                8
            }
            _ => return of_protocol(next, address(8), address(24), packet, at, total),
        };
        next = *packet.get(at).ok_or(Other::Cut)?;
        at += bytes;
        if at > total {
            return Err(Other::Malformed("IPv6 extension headers longer than the packet"));
        }
    }
    Err(Other::Malformed("too many IPv6 extension headers"))
}

/// `packet[at..total]` is what the IP packet carries, if all of it was captured.
fn of_protocol(
    protocol: u8,
    source: IpAddr,
    destination: IpAddr,
    packet: &[u8],
    at: usize,
    total: usize,
) -> Result<Udp<'_>, Other> {
    match protocol {
        UDP => {}
        6 => return Err(Other::Tcp),
        1 | 58 => return Err(Other::Icmp),
        2 => return Err(Other::Igmp),
        other => return Err(Other::IpProtocol(other)),
    }
    let datagram = after(packet, at)?;
    let header: &[u8; UDP_HEADER_BYTES] = datagram.first_chunk().ok_or(Other::Cut)?;
    let room = total - at;
    let length = match u16::from_be_bytes([header[4], header[5]]) {
        0 => room,
        length => usize::from(length),
    };
    if length < UDP_HEADER_BYTES || length > room {
        return Err(Other::Malformed("a UDP length that does not fit its packet"));
    }
    Ok(Udp {
        source,
        source_port: u16::from_be_bytes([header[0], header[1]]),
        destination,
        port: u16::from_be_bytes([header[2], header[3]]),
        payload: datagram.get(UDP_HEADER_BYTES..length).ok_or(Other::Cut)?,
    })
}
