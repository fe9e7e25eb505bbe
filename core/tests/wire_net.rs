//! Frames to datagrams, against `etherparse`: built by its builder, taken apart by both, and damaged.

use etherparse::{NetSlice, PacketBuilder, PacketBuilderStep, SlicedPacket, TransportSlice, UdpHeader, VlanId};
use tapeline_core::testing::Prng;
use tapeline_core::wire::net::{Link, Other, Udp, udp};

const FROM: [u8; 4] = [10, 0, 0, 1];
const GROUP: [u8; 4] = [233, 215, 21, 4];
const FROM6: [u8; 16] = [0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
const GROUP6: [u8; 16] = [0xff, 0x0e, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x15, 4];

fn written(builder: PacketBuilderStep<UdpHeader>, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    builder.write(&mut frame, payload).expect("a frame");
    frame
}

/// A frame in each form that `etherparse` can build.
fn frames(payload: &[u8]) -> Vec<(Link, Vec<u8>)> {
    let ethernet = || PacketBuilder::ethernet2([1; 6], [2; 6]);
    let vlan = |id| VlanId::try_new(id).expect("a VLAN");
    vec![
        (Link::Ethernet, written(ethernet().ipv4(FROM, GROUP, 9).udp(7, 10_378), payload)),
        (Link::Ethernet, written(ethernet().ipv6(FROM6, GROUP6, 9).udp(7, 10_378), payload)),
        (Link::Ethernet, written(ethernet().single_vlan(vlan(5)).ipv4(FROM, GROUP, 9).udp(7, 10_378), payload)),
        (
            Link::Ethernet,
            written(ethernet().double_vlan(vlan(5), vlan(6)).ipv6(FROM6, GROUP6, 9).udp(7, 10_378), payload),
        ),
        (Link::Ip, written(PacketBuilder::ipv4(FROM, GROUP, 9).udp(7, 10_378), payload)),
        (Link::Ip, written(PacketBuilder::ipv6(FROM6, GROUP6, 9).udp(7, 10_378), payload)),
    ]
}

fn sliced(link: Link, frame: &[u8]) -> Option<SlicedPacket<'_>> {
    match link {
        Link::Ethernet => SlicedPacket::from_ethernet(frame).ok(),
        _ => SlicedPacket::from_ip(frame).ok(),
    }
}

/// What `etherparse` finds: ports, addresses and payload of a whole UDP datagram that is no fragment.
fn theirs(link: Link, frame: &[u8]) -> Option<(u16, u16, Vec<u8>, Vec<u8>)> {
    let packet = sliced(link, frame)?;
    let addresses = match packet.net.as_ref()? {
        NetSlice::Ipv4(ip) if !ip.is_payload_fragmented() => {
            [ip.header().source().to_vec(), ip.header().destination().to_vec()].concat()
        }
        NetSlice::Ipv6(ip) if !ip.is_payload_fragmented() => {
            [ip.header().source().to_vec(), ip.header().destination().to_vec()].concat()
        }
        _ => return None,
    };
    let Some(TransportSlice::Udp(datagram)) = &packet.transport else { return None };
    Some((datagram.source_port(), datagram.destination_port(), addresses, datagram.payload().to_vec()))
}

fn ours(found: &Udp<'_>) -> (u16, u16, Vec<u8>, Vec<u8>) {
    let bytes = |address| match address {
        std::net::IpAddr::V4(address) => std::net::Ipv4Addr::octets(&address).to_vec(),
        std::net::IpAddr::V6(address) => std::net::Ipv6Addr::octets(&address).to_vec(),
    };
    let addresses = [bytes(found.source), bytes(found.destination)].concat();
    (found.source_port, found.port, addresses, found.payload.to_vec())
}

#[test]
fn what_another_library_builds_is_found() {
    for (link, frame) in frames(b"a payload") {
        let found = udp(link, &frame).unwrap();
        assert_eq!((found.source_port, found.port, found.payload), (7, 10_378, &b"a payload"[..]));
        assert_eq!(theirs(link, &frame), Some(ours(&found)));
        // Padding behind it is none of it.
        let padded = [&frame[..], &[0; 30]].concat();
        assert_eq!(udp(link, &padded), Ok(found));
        for cut in 0..frame.len() {
            assert!(udp(link, &frame[..cut]).is_err(), "cut at {cut}");
        }
    }
}

/// What both take apart is the same, whatever was damaged. (Each refuses some things that the other takes: lengths of 0, checksums.)
#[test]
fn damaged_frames_are_taken_apart_as_another_library_does() {
    let (mut both, mut rounds) = (0, 0);
    for seed in 0..60_000 {
        let mut prng = Prng::new(seed);
        let all = frames(&[0xab; 60][..prng.index(60)]);
        let (link, mut frame) = all[prng.index(all.len())].clone();
        for _ in 0..prng.in_range(1..4) {
            let at = prng.index(frame.len().min(70));
            frame[at] ^= 1 << prng.in_range(0..8);
        }
        rounds += 1;
        let (ours, theirs) = (udp(link, &frame).ok().map(|found| ours(&found)), theirs(link, &frame));
        if let (Some(ours), Some(theirs)) = (&ours, &theirs) {
            assert_eq!(ours, theirs, "seed {seed}");
            both += 1;
        }
    }
    assert!(both > rounds / 2, "{both} of {rounds}");
}

#[test]
fn noise_never_panics() {
    for seed in 0..200_000 {
        let mut prng = Prng::new(seed);
        let mut frame: Vec<u8> = (0..prng.index(90)).map(|_| prng.next_u64() as u8).collect();
        // A start that leads further in.
        let starts: [&[u8]; 5] = [&[0x45, 0, 0, 40], &[0x60], &[0x4f], &[2, 0, 0, 0, 0x45], &[]];
        let start = starts[prng.index(starts.len())];
        let keep = start.len().min(frame.len());
        frame[..keep].copy_from_slice(&start[..keep]);
        for link in [Link::Ethernet, Link::Loopback, Link::Ip, Link::LinuxCooked, Link::LinuxCooked2] {
            let _ = udp(link, &frame);
        }
    }
}

#[test]
fn options_extensions_and_fragments() {
    let datagram = [&7u16.to_be_bytes()[..], &9u16.to_be_bytes(), &11u16.to_be_bytes(), &[0, 0], b"abc"].concat();
    let ipv4 = |options: usize, fragment: u16| {
        let mut packet = vec![0x45 + options as u8 / 4, 0, 0, (20 + options + 11) as u8, 0, 0];
        packet.extend(fragment.to_be_bytes());
        packet.extend([64, 17, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8]);
        packet.extend(vec![1; options]);
        packet.extend(&datagram);
        packet
    };
    for options in (0..=40).step_by(4) {
        assert_eq!(udp(Link::Ip, &ipv4(options, 0x4000)).unwrap().payload, b"abc", "{options}");
    }
    for fragment in [0x2000, 0x0001, 0x3fff] {
        assert_eq!(udp(Link::Ip, &ipv4(0, fragment)), Err(Other::Fragment));
    }
    // A card that splits packets itself shows a length of 0.
    let mut zero = ipv4(0, 0);
    (zero[2], zero[3], zero[24], zero[25]) = (0, 0, 0, 0);
    assert_eq!(udp(Link::Ip, &zero).unwrap().payload, b"abc");
    zero[0] = 0x44;
    assert!(matches!(udp(Link::Ip, &zero), Err(Other::Malformed(_))));

    let ipv6 = |extensions: &[(u8, &[u8])]| {
        let body: usize = extensions.iter().map(|(_, bytes)| bytes.len()).sum::<usize>() + 11;
        let mut packet = vec![0x60, 0, 0, 0, 0, body as u8, extensions.first().map_or(17, |first| first.0), 64];
        packet.extend([0; 32]);
        for (index, (_, bytes)) in extensions.iter().enumerate() {
            packet.push(extensions.get(index + 1).map_or(17, |next| next.0));
            packet.extend(&bytes[1..]);
        }
        packet.extend(&datagram);
        packet
    };
    let (hop, routing, auth): (&[u8], &[u8], &[u8]) =
        (&[0; 8], &[0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], &[0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    let (whole, part): (&[u8], &[u8]) = (&[0; 8], &[0, 0, 0, 1, 0, 0, 0, 0]);
    let all = ipv6(&[(0, hop), (43, routing), (44, whole), (60, hop), (51, auth), (135, hop)]);
    assert_eq!(udp(Link::Ip, &all).unwrap().payload, b"abc");
    assert_eq!(udp(Link::Ip, &ipv6(&[(0, hop), (44, part)])), Err(Other::Fragment));
    let many = [(60u8, hop); 17];
    assert!(matches!(udp(Link::Ip, &ipv6(&many)), Err(Other::Malformed(_))));
    assert_eq!(udp(Link::Ip, &ipv6(&many[..16])).err(), Some(Other::Malformed("too many IPv6 extension headers")));
    assert_eq!(udp(Link::Ip, &ipv6(&many[..15])).unwrap().payload, b"abc");
}

#[test]
fn tags_and_other_types() {
    let frame = |tags: &[[u8; 4]], kind: [u8; 2]| [&[0; 12][..], &tags.concat(), &kind, &[0; 40]].concat();
    let tag = [0x81, 0, 0, 1];
    assert_eq!(udp(Link::Ethernet, &frame(&[tag; 4], [8, 6])), Err(Other::Arp));
    assert!(matches!(udp(Link::Ethernet, &frame(&[tag; 5], [8, 6])), Err(Other::Malformed(_))));
    assert_eq!(udp(Link::Ethernet, &frame(&[], [0x88, 0xcc])), Err(Other::EtherType(0x88cc)));
    assert_eq!(udp(Link::Ethernet, &frame(&[], [0, 0x26])), Err(Other::Llc));
    assert_eq!(udp(Link::Loopback, &[7, 0, 0, 0, 1]), Err(Other::Family(7)));
    assert_eq!(udp(Link::LinuxCooked, &[0; 15]), Err(Other::Cut));
    let mut name = String::new();
    Other::EtherType(0x88cc).name(&mut name).unwrap();
    assert_eq!(name, "ethertype 0x88cc");
}
