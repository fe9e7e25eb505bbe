//! pcap and pcapng in every form: the same packets give the same events, a cut anywhere loses nothing before it, damage never panics,
//! and lengths that are lies ask for no memory.

mod pcap_twin;

use pcap_parser::traits::PcapReaderIterator;
use pcap_parser::{Block, LegacyPcapReader, PcapBlockOwned, PcapError, PcapNGReader};
use pcap_twin::*;
use std::io::{Cursor, Read};
use std::time::{Duration, Instant};
use tapeline_core::testing::Prng;

/// Every container and byte order around these packets.
fn containers(linktype: u32, packets: &[Captured]) -> Vec<(String, Vec<u8>)> {
    let mut all = Vec::new();
    for order in [Order::Little, Order::Big] {
        for unit_ns in [1_000, 1] {
            all.push((format!("classic {order:?} {unit_ns} ns"), classic(order, unit_ns, linktype, packets)));
        }
        all.push((format!("ng {order:?}"), ng(order, linktype, packets)));
    }
    all
}

#[test]
fn the_same_packets_give_the_same_events_in_every_container_and_link_layer() {
    let datagrams = deep_segments(12);
    let expected = decode(&classic(Order::Little, 1, 1, &packets(Wrap::Ethernet, false, &datagrams)));
    assert!(expected.error.is_none() && expected.events.len() > 25, "{:?}", expected.tally);
    assert_eq!(expected.events[0].2[0].ts_recv.0, START, "{:?}", expected.events[0]);
    for wrap in Wrap::ALL {
        for is_v6 in [false, true] {
            for (name, file) in containers(wrap.linktype(), &packets(wrap, is_v6, &datagrams)) {
                let decoded = decode(&file);
                assert_eq!(decoded.events, expected.events, "{wrap:?}, {name}");
                assert_eq!(decoded.error, None, "{wrap:?}, {name}");
                assert_eq!(decoded.tally.messages, expected.tally.messages, "{wrap:?}, {name}");
            }
        }
    }
}

#[test]
fn small_buffers_give_the_same_events() {
    let file = ng(Order::Big, 1, &packets(Wrap::Vlan, false, &deep_segments(30)));
    let expected = decode(&file);
    for slots in [6, 7, 13, 100] {
        assert_eq!(decode_with(&file, 1 << 10, slots), expected, "{slots}");
    }
}

/// Offsets at which a record begins, and the end: where a cut leaves a whole file.
fn boundaries(file: &[u8]) -> Vec<usize> {
    let little = |at: usize| u32::from_le_bytes(file[at..at + 4].try_into().unwrap());
    let big = |at: usize| u32::from_be_bytes(file[at..at + 4].try_into().unwrap());
    let is_ng = file.starts_with(&[0x0a, 0x0d, 0x0d, 0x0a]);
    let is_big = if is_ng { big(8) == 0x1a2b_3c4d } else { [0xa1b2_c3d4, 0xa1b2_3c4d].contains(&big(0)) };
    let u32_at = |at: usize| if is_big { big(at) } else { little(at) } as usize;
    let mut at = if is_ng { u32_at(4) } else { 24 };
    let mut all = Vec::new();
    while at <= file.len() {
        all.push(at);
        if at == file.len() {
            break;
        }
        at += if is_ng { u32_at(at + 4) } else { 16 + u32_at(at + 8) };
    }
    all
}

#[test]
fn a_cut_at_every_byte_delivers_all_before_it_and_says_where_it_is() {
    for (name, file) in containers(1, &packets(Wrap::Ethernet, false, &deep_segments(6))) {
        let (whole, boundaries) = (decode(&file), boundaries(&file));
        assert_eq!(whole.error, None, "{name}");
        let (mut longest, first) = (0, boundaries[0]);
        for cut in 4..file.len() {
            let part = decode(&file[..cut]);
            assert_eq!(part.events, whole.events[..part.events.len()], "{name} cut at {cut}");
            assert!(part.events.len() >= longest, "{name} cut at {cut}");
            longest = part.events.len();
            if boundaries.contains(&cut) {
                assert_eq!(part.error, None, "{name} cut at {cut}");
                continue;
            }
            let (code, text) = part.error.expect("a cut record");
            let record = boundaries.iter().rev().find(|at| **at <= cut).copied().unwrap_or(0);
            assert_eq!(code, 3, "{name} cut at {cut}: {text}");
            assert!(text.starts_with(&format!("capture: offset {record}: ")), "{name} cut at {cut}: {text}");
            assert!(text.contains("cut short"), "{name} cut at {cut}: {text}");
            assert!(cut > first || part.events.is_empty());
        }
        // All but the last record's events came before it.
        assert!(longest > 0);
    }
}

#[test]
fn a_compressed_capture_that_is_cut_delivers_what_was_there() {
    let file = classic(Order::Little, 1_000, 1, &packets(Wrap::Ethernet, false, &deep_segments(60)));
    let whole = decode(&file);
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    std::io::Write::write_all(&mut gz, &file).unwrap();
    let zst = zstd::encode_all(&file[..], 1).unwrap();
    for packed in [gz.finish().unwrap(), zst] {
        assert_eq!(decode(&packed), whole);
        for cut in (40..packed.len()).step_by(7) {
            let part = decode(&packed[..cut]);
            assert_eq!(part.events, whole.events[..part.events.len()], "cut at {cut}");
            let (code, text) = part.error.expect("a stream cut short");
            assert!(code == 3 && text.contains("offset") && text.contains("cut short"), "cut at {cut}: {text}");
        }
    }
}

#[test]
fn lengths_that_are_lies_are_damage_at_their_record() {
    let frames = packets(Wrap::Ethernet, false, &deep_segments(3));
    for order in [Order::Little, Order::Big] {
        let mut file = classic(order, 1_000, 1, &frames);
        let at = file.len();
        file.extend([order.u32(1), order.u32(0), order.u32(u32::MAX), order.u32(u32::MAX)].concat());
        let decoded = decode(&file);
        assert_eq!(decoded.events.len(), decode(&file[..at]).events.len());
        let why = format!("capture: offset {at}: a packet of 4294967295 bytes is longer than 262144");
        assert_eq!(decoded.error, Some((3, why)));

        let good = ng(order, 1, &frames);
        let at = good.len();
        for (kind, length, why) in [
            (6, 0xffff_fff0, format!("capture: offset {at}: a packet block of 4294967280 bytes is longer than 327680")),
            (99, 13, format!("capture: offset {at}: a block of 13 bytes")),
            (6, 8, format!("capture: offset {at}: a packet block of 8 bytes")),
            (1, 16, format!("capture: offset {at}: an interface description is cut short: 8 of 16 bytes")),
        ] {
            let decoded = decode(&[&good[..], &order.u32(kind), &order.u32(length)].concat());
            assert_eq!(decoded.error, Some((3, why)));
        }
        // Nobody knows what it is, and it is not there: the file has 8 bytes of 4 GiB.
        let decoded = decode(&[&good[..], &order.u32(99), &order.u32(0xffff_fff0)].concat());
        let (code, text) = decoded.error.unwrap();
        assert!(code == 3 && text.contains("4294967280 bytes") && text.contains("cut short"), "{text}");
        let twice = [&order.u32(99)[..], &order.u32(16), &[0; 4], &order.u32(20)].concat();
        let decoded = decode(&[&good[..], &twice].concat());
        let why = format!("capture: offset {at}: a block of 16 bytes ends with the length 20");
        assert_eq!(decoded.error, Some((3, why)));
    }
}

#[test]
fn a_block_longer_than_the_window_is_read_past() {
    let frames = packets(Wrap::Ethernet, false, &deep_segments(4));
    let file = ng(Order::Little, 1, &frames);
    let mut long = section(Order::Little);
    long.extend(interface(Order::Little, 1, Some(9), 0));
    for (index, packet) in frames.iter().enumerate() {
        long.extend(block(Order::Little, 0x0bad, &vec![index as u8; 3 << 20]));
        long.extend(packet_block(Order::Little, 6, 0, packet.ns, packet));
    }
    assert_eq!(decode(&long).events, decode(&file).events);
    let tail = block(Order::Little, 0x0bad, &vec![0; 3 << 20]);
    let cut = [&long[..], &tail[..tail.len() - 2]].concat();
    assert!(decode(&cut).error.unwrap().1.contains("is cut short here"));
}

#[test]
fn time_units_and_offsets_of_interfaces_are_kept() {
    let frame = &packets(Wrap::Ethernet, false, &deep_segments(2))[1];
    for (resolution, units, offset_s, expected) in [
        (None, START / 1_000 + 7, 0, START + 7_000),
        (Some(3), START / 1_000_000, 0, START),
        (Some(9), START + 1, 0, START + 1),
        (Some(12), 5_000_000_000_999, 1_000_000_000, 1_000_000_005_000_000_000),
        (Some(0x80 | 20), (1_696_246_475 << 20) + (1 << 19), 0, START + 500_000_000),
        (Some(6), 3_000_000, -2, 1_000_000_000),
        (Some(6), 1_000_000, -2, 0),
        (Some(127), u64::MAX, 0, 0),
        (Some(0xff), u64::MAX, 0, 0),
        (Some(0), u64::MAX, 0, u64::MAX - 1),
    ] {
        for order in [Order::Little, Order::Big] {
            let mut file = [section(order), interface(order, 1, resolution, offset_s)].concat();
            file.extend(packet_block(order, 6, 0, units, frame));
            let decoded = decode(&file);
            assert_eq!(decoded.events[0].2[0].ts_recv.0, expected, "{resolution:?}, {units}");
        }
    }
}

#[test]
fn a_simple_packet_has_the_time_of_its_messages() {
    let order = Order::Little;
    let frame = &packets(Wrap::Ethernet, false, &deep_segments(2))[1];
    let body = [&order.u32(frame.frame.len() as u32)[..], &frame.frame].concat();
    let file = [section(order), interface(order, 1, None, 0), block(order, 3, &body)].concat();
    let decoded = decode(&file);
    assert!(decoded.events.len() >= 3);
    assert!(decoded.events.iter().all(|(.., slots)| slots[0].ts_recv == slots[0].ts_event));
    assert_eq!(decoded.tally.skipped["times of simple packets: not captured"], 1);
}

#[test]
fn sections_may_change_the_byte_order_and_forget_the_interfaces() {
    let frames = packets(Wrap::Ethernet, false, &deep_segments(6));
    let file = [ng(Order::Little, 1, &frames[..3]), ng(Order::Big, 1, &frames[3..])].concat();
    let expected = decode(&classic(Order::Big, 1, 1, &frames));
    assert_eq!(decode(&file).events, expected.events);
    let bare = [section(Order::Big), packet_block(Order::Big, 6, 0, 0, &frames[0])].concat();
    let (code, text) = decode(&bare).error.unwrap();
    assert!(code == 3 && text.ends_with("a packet of interface 0, which was not described"), "{text}");
}

#[test]
fn versions_that_are_not_known_exit_2() {
    let mut file = classic(Order::Big, 1_000, 1, &[]);
    file[5] = 3;
    let why = "capture: format not recognised at offset 0: it is pcap version 3: only version 2 is known";
    assert_eq!(decode(&file).error, Some((2, why.to_owned())));
    let mut file = section(Order::Little);
    file[12] = 2;
    let why = "capture: format not recognised at offset 0: it is pcapng version 2: only version 1 is known";
    assert_eq!(decode(&file).error, Some((2, why.to_owned())));
}

#[test]
fn what_is_not_decoded_is_counted_by_what_it_is() {
    let captured = |frame: Vec<u8>| Captured { ns: START, original: frame.len(), frame };
    let ethernet = |ip: Vec<u8>| captured(Wrap::Ethernet.frame(&ip));
    let with_type = |kind: [u8; 2]| captured([&[0; 12][..], &kind, &[0; 46]].concat());
    let mut fragment = ipv4(17, 0, &udp(1, b"abc"));
    fragment[6] = 0x20;
    let mut v6_fragment = vec![0; 8];
    v6_fragment[3] = 0x08;
    let segment = deep_segments(2).remove(1).1;
    let mut short = ethernet(ipv4(17, 0, &udp(10_378, &segment)));
    short.frame.truncate(100);
    let mut lying = short.clone();
    lying.original = lying.frame.len();
    let frames = vec![
        with_type([0x08, 0x06]),
        with_type([0x88, 0xcc]),
        with_type([0x00, 0x26]),
        ethernet(ipv4(6, 0, &[0; 20])),
        ethernet(ipv4(1, 8, &[0; 20])),
        ethernet(ipv6(58, &[(0, vec![0; 8])], &[0; 20])),
        ethernet(ipv4(2, 0, &[0; 8])),
        ethernet(ipv4(89, 0, &[0; 8])),
        ethernet(fragment),
        ethernet(ipv6(17, &[(44, v6_fragment)], &udp(1, b"abc"))),
        ethernet(ipv4(17, 0, &udp(53, &[0xff; 20]))),
        ethernet(ipv4(17, 0, &udp(9_999, &[0xff; 20]))),
        short,
        lying,
        ethernet(vec![0x55; 40]),
        ethernet(ipv4(17, 40, &udp(10_378, &segment))),
    ];
    let decoded = decode(&classic(Order::Little, 1_000, 1, &frames));
    let packets: Vec<_> = decoded.tally.packets.iter().map(|(name, count)| (name.as_str(), *count)).collect();
    let expected = [
        ("arp", 1),
        ("cut by the snap length", 1),
        ("ethertype 0x88cc", 1),
        ("icmp", 2),
        ("iex-tp", 1),
        ("igmp", 1),
        ("ip fragment (unsupported)", 2),
        ("ip protocol 89", 1),
        ("llc", 1),
        ("malformed: neither IPv4 nor IPv6", 1),
        ("malformed: shorter than its headers say", 1),
        ("tcp", 1),
        ("udp port 53 (dns)", 1),
        ("udp port 9999", 1),
    ];
    assert_eq!(packets, expected);
    assert_eq!((decoded.error, decoded.tally.bad_packets), (None, 0));
    assert!(!decoded.events.is_empty());
    let decoded = decode(&classic(Order::Little, 1_000, 147, &frames));
    assert_eq!(decoded.tally.packets["linktype 147"], frames.len() as u64);
}

#[test]
fn a_damaged_packet_of_a_feed_is_bad_and_the_others_stand() {
    let datagrams = deep_segments(6);
    let mut frames = packets(Wrap::Ethernet, false, &datagrams);
    // The length of the first message of the third segment.
    let at = frames[2].frame.len() - datagrams[2].1.len() + 40;
    frames[2].frame[at] = 0xff;
    let decoded = decode(&classic(Order::Little, 1_000, 1, &frames));
    let offset = 24 + 32 + frames[0].frame.len() + frames[1].frame.len();
    let bad = &decoded.tally.first_bad_packets[0];
    assert_eq!((decoded.tally.bad_packets, bad.packet, bad.offset), (1, 3, offset as u64), "{bad:?}");
    assert!(bad.why.contains("messages do not fit"), "{bad:?}");
    let gaps = decoded.events.iter().filter(|(.., slots)| slots[0].kind().name() == "gap").count();
    assert!(gaps > 0, "what was lost with it is a gap");
}

/// What another parser finds in a file: time in ns and bytes of each packet.
fn by_pcap_parser(file: &[u8]) -> Vec<(u64, Vec<u8>)> {
    let mut packets = Vec::new();
    let mut collect = |reader: &mut dyn PcapReaderIterator| {
        let (mut unit_ns, mut resolutions) = (1_000, Vec::new());
        loop {
            match reader.next() {
                Ok((used, block)) => {
                    match block {
                        PcapBlockOwned::LegacyHeader(header) => {
                            unit_ns = if header.is_nanosecond_precision() { 1 } else { 1_000 };
                        }
                        PcapBlockOwned::Legacy(packet) => {
                            let ns = u64::from(packet.ts_sec) * 1_000_000_000 + u64::from(packet.ts_usec) * unit_ns;
                            packets.push((ns, packet.data.to_vec()));
                        }
                        PcapBlockOwned::NG(Block::SectionHeader(_)) => resolutions.clear(),
                        PcapBlockOwned::NG(Block::InterfaceDescription(interface)) => {
                            resolutions.push(interface.ts_resolution().expect("a resolution"));
                        }
                        PcapBlockOwned::NG(Block::EnhancedPacket(packet)) => {
                            let units = u64::from(packet.ts_high) << 32 | u64::from(packet.ts_low);
                            let ns = units * (1_000_000_000 / resolutions[packet.if_id as usize]);
                            packets.push((ns, packet.data[..packet.caplen as usize].to_vec()));
                        }
                        PcapBlockOwned::NG(_) => {}
                    }
                    reader.consume(used);
                }
                Err(PcapError::Eof) => break,
                Err(PcapError::Incomplete(_)) => reader.refill().expect("more"),
                Err(error) => panic!("{error:?}"),
            }
        }
    };
    if file.starts_with(&[0x0a, 0x0d, 0x0d, 0x0a]) {
        collect(&mut PcapNGReader::new(1 << 20, Cursor::new(file)).expect("pcapng"));
    } else {
        collect(&mut LegacyPcapReader::new(1 << 20, Cursor::new(file)).expect("pcap"));
    }
    packets
}

#[test]
fn another_parser_finds_the_same_packets() {
    let datagrams = deep_segments(20);
    let frames = packets(Wrap::Cooked, false, &datagrams);
    for order in [Order::Little, Order::Big] {
        let mut enhanced = [section(order), interface(order, 113, Some(9), 0)].concat();
        frames.iter().for_each(|packet| enhanced.extend(packet_block(order, 6, 0, packet.ns, packet)));
        for file in [classic(order, 1_000, 113, &frames), classic(order, 1, 113, &frames), enhanced] {
            let theirs = by_pcap_parser(&file);
            assert_eq!(theirs.len(), frames.len());
            for (packet, (ns, bytes)) in frames.iter().zip(&theirs) {
                assert_eq!((packet.ns, &packet.frame), (*ns, bytes), "the captures made here are none");
            }
            let times: Vec<u64> = decode(&file).events.iter().map(|(.., slots)| slots[0].ts_recv.0).collect();
            let mut expected: Vec<u64> = theirs.iter().map(|(ns, _)| *ns).filter(|ns| times.contains(ns)).collect();
            expected.dedup();
            let mut times = times;
            times.dedup();
            assert_eq!(times, expected);
        }
    }
}

/// The capture of IEX, where there is one.
fn iex_capture() -> Option<Vec<u8>> {
    let folder = std::env::var_os("TAPELINE_TEST_DATA")?;
    let file = std::fs::File::open(std::path::Path::new(&folder).join("iex/iex_cppparser_test.pcap.gz")).ok()?;
    let mut bytes = Vec::new();
    flate2::read::MultiGzDecoder::new(file).read_to_end(&mut bytes).expect("gzip");
    Some(bytes)
}

/// Real packets in another form: classic pcap made pcapng, cut at every record, gives the same.
#[test]
fn the_capture_of_iex_as_pcapng_is_the_same() {
    let Some(file) = iex_capture() else {
        eprintln!("skipped: no capture data");
        return;
    };
    let packets = by_pcap_parser(&file);
    assert_eq!(packets.len(), 5_000);
    let captured: Vec<_> =
        packets.into_iter().map(|(ns, frame)| Captured { ns, original: frame.len(), frame }).collect();
    let expected = decode_with(&file, 1 << 15, 1 << 14);
    assert_eq!(expected.error, None);
    let other = decode_with(&ng(Order::Big, 1, &captured), 1 << 15, 1 << 14);
    assert!(other.events == expected.events && other.tally.messages == expected.tally.messages);
}

/// Mutations of small captures for two seconds, and for ten minutes when asked: nothing panics, every read makes progress, and what comes before the first changed byte
/// comes out unchanged.
#[test]
fn damage_never_panics() {
    damage(Duration::from_secs(2));
}

#[test]
#[ignore = "soak: cargo test --release -p tapeline-runtime --test pcap_containers -- --ignored"]
fn damage_soak() {
    damage(Duration::from_secs(600));
}

fn damage(length: Duration) {
    let mut samples = Vec::new();
    for wrap in Wrap::ALL {
        for (_, file) in containers(wrap.linktype(), &packets(wrap, wrap == Wrap::Raw, &deep_segments(6))) {
            let events = decode(&file).events;
            samples.push((file, events));
        }
    }
    let (begun, mut rounds) = (Instant::now(), 0u64);
    while begun.elapsed() < length || rounds < 200 {
        let mut prng = Prng::new(rounds);
        let (sample, whole) = &samples[prng.index(samples.len())];
        let mut file = sample.clone();
        let mut first = file.len();
        for _ in 0..prng.in_range(1..6) {
            let at = prng.index(file.len());
            first = first.min(at);
            match prng.in_range(0..6) {
                0 => file[at] ^= 1 << prng.in_range(0..8),
                1 => file[at] = [0, 0xff, 0x7f, 0x80][prng.index(4)],
                2 => file.truncate(at.max(1)),
                3 => {
                    let end = (at + prng.index(64)).min(file.len());
                    file.drain(at..end);
                    file.push(0);
                }
                4 => {
                    let number = prng.log_uniform(32) as u32;
                    let end = (at + 4).min(file.len());
                    file[at..end].copy_from_slice(&number.to_le_bytes()[..end - at]);
                }
                _ => {
                    let copy = file[at..(at + 40).min(file.len())].to_vec();
                    file.splice(at..at, copy);
                }
            }
        }
        let decoded = decode_with(&file, [8, 1 << 10][prng.index(2)], 1 << 14);
        let before = boundaries(sample).iter().rev().find(|at| **at <= first).copied().unwrap_or(0);
        let kept = if before == 0 { 0 } else { decode(&sample[..before]).events.len() };
        let is_prefix = decoded.events.len() >= kept && decoded.events[..kept] == whole[..kept];
        let is_full = decoded.error.as_ref().is_some_and(|(code, _)| *code == 2);
        assert!(is_prefix || is_full, "round {rounds}: what came before byte {first} changed");
        rounds += 1;
    }
    eprintln!("{rounds} damaged captures");
}
