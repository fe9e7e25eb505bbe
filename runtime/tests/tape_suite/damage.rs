//! Every kind of damage is found where it is, and nothing before it is lost.

use crate::support::{Prng, catalog, random_events, read_all, tape};
use std::io::Cursor;
use tapeline_core::catalog::Catalog;
use tapeline_core::event::{Kind, Slot, events};
use tapeline_runtime::input::tape::TapeInput;
use tapeline_runtime::input::{Input, InputError, MESSAGE_SLOTS_MAX, Position, SlotBuf, Status};
use tapeline_runtime::tape::format::{
    BLOCK_HEADER_BYTES, BLOCK_MAGIC, BlockFault, BlockHeader, SEAL_MAGIC, SEGMENT_HEADER_BYTES, Seal, SlotFault,
};
use tapeline_runtime::tape::verify::{DamageKind, verify_tape};
use tapeline_runtime::tape::{Codec, TapeError};

/// A tape, the slots of each of its blocks, and where the header, each block and the seal begin and the seal ends.
struct Sample {
    bytes: Vec<u8>,
    blocks: Vec<Vec<Slot>>,
    starts: Vec<u64>,
}

impl Sample {
    fn new(seed: u64, events: usize, group: usize, codec: Codec) -> Self {
        let catalog = catalog(30, 4);
        let bytes = tape(&catalog, &random_events(seed, events, &catalog), codec, group);
        let (slots, blocks, end) = read_all(&bytes);
        end.unwrap();
        let mut rest = &slots[..];
        let mut split = Vec::new();
        for (_, header) in &blocks {
            let (block, after) = rest.split_at(header.slots as usize);
            split.push(block.to_vec());
            rest = after;
        }
        let seal = bytes.len() as u64 - 64;
        let starts = std::iter::once(0)
            .chain(blocks.iter().map(|(offset, _)| *offset))
            .chain([seal, bytes.len() as u64])
            .collect();
        Self { bytes, blocks: split, starts }
    }

    /// Index into `starts` of the part in which byte `at` lies: 0 = header, then blocks, then the seal.
    fn part_of(&self, at: usize) -> usize {
        self.starts.partition_point(|&start| start <= at as u64) - 1
    }

    /// Slots of the blocks before part `part`.
    fn slots_before(&self, part: usize) -> Vec<Slot> {
        self.blocks[..part.saturating_sub(1).min(self.blocks.len())].concat()
    }
}

fn flip(sample: &mut Sample, bit: usize, with_verify: bool) {
    let part = sample.part_of(bit / 8);
    sample.bytes[bit / 8] ^= 1 << (bit % 8);
    let (slots, _, end) = read_all(&sample.bytes);
    let error = end.expect_err("a flipped bit was not seen");
    assert_eq!(error.offset(), sample.starts[part], "bit {bit}: {error}");
    assert!(slots == sample.slots_before(part), "bit {bit}: {error}");
    if with_verify {
        let report = verify_tape(Cursor::new(&sample.bytes)).unwrap();
        let damage = &report.first_damages[0];
        assert!(!report.is_whole());
        assert_eq!((report.damages, damage.offset), (1, sample.starts[part]), "bit {bit}: {report}");
        let last_part = sample.starts.len() - 2;
        match damage.kind {
            DamageKind::Header => assert_eq!(part, 0, "bit {bit}"),
            DamageKind::TornTail { bytes } => assert_eq!((part, bytes), (last_part, 64), "bit {bit}"),
            DamageKind::Inside { next } => assert_eq!(next, sample.starts[part + 1], "bit {bit}"),
            other => panic!("bit {bit}: {other:?}"),
        }
    }
    sample.bytes[bit / 8] ^= 1 << (bit % 8);
}

/// A tape of 64 KiB with 7 or more blocks.
fn sample_64k(codec: Codec) -> Sample {
    let mut sample = Sample::new(11, 300, 40, codec);
    for events in (300..).step_by(20) {
        if sample.bytes.len() >= 65_536 {
            break;
        }
        sample = Sample::new(11, events, 40, codec);
    }
    assert!(sample.blocks.len() >= 7);
    sample
}

#[test]
fn every_flipped_bit_of_headers_and_a_sample_of_the_others_is_found_at_its_block() {
    for codec in [Codec::None, Codec::Zstd] {
        let mut sample = sample_64k(codec);
        let mut bits: Vec<usize> = (SEGMENT_HEADER_BYTES * 8..sample.bytes.len() * 8).step_by(131).collect();
        bits.extend((0..SEGMENT_HEADER_BYTES * 8).step_by(131));
        for &start in &sample.starts[..sample.starts.len() - 1] {
            bits.extend((start as usize * 8..).take(BLOCK_HEADER_BYTES * 8));
        }
        for (index, bit) in bits.into_iter().enumerate() {
            flip(&mut sample, bit, index % 19 == 0);
        }
    }
}

#[test]
#[ignore = "soak: two times 524,288 tapes, a minute or two: cargo test -p tapeline-runtime --test tape_suite -- --ignored"]
fn every_flipped_bit_of_a_tape_of_64_kib_is_found_at_its_block() {
    for codec in [Codec::None, Codec::Zstd] {
        let mut sample = sample_64k(codec);
        for bit in 0..sample.bytes.len() * 8 {
            flip(&mut sample, bit, bit % 101 == 0);
        }
    }
}

/// What [`TapeInput`] delivers, and how it ended.
fn input_all(bytes: &[u8]) -> (Vec<Slot>, Result<(), InputError>) {
    let (mut catalog, mut slots) = (Catalog::new(1 << 12), Vec::new());
    let mut input = match TapeInput::new("some.tape", Box::new(Cursor::new(bytes.to_vec()))) {
        Ok(input) => input,
        Err(error) => return (slots, Err(error)),
    };
    let mut out = SlotBuf::with_capacity(MESSAGE_SLOTS_MAX);
    loop {
        out.clear();
        let status = input.read(&mut catalog, &mut out);
        slots.extend_from_slice(out.slots());
        match status {
            Ok(Status::More) => {}
            Ok(Status::End) => return (slots, Ok(())),
            Err(error) => {
                out.clear();
                assert_eq!(input.read(&mut catalog, &mut out).unwrap(), Status::End);
                assert!(out.slots().is_empty());
                return (slots, Err(error));
            }
        }
    }
}

fn without_definitions(slots: &[Slot]) -> Vec<Slot> {
    let kept = events(slots).filter(|event| !matches!(event.kind(), Kind::SYMBOL_DEF | Kind::SOURCE_DEF));
    kept.flat_map(|event| event.slots().to_vec()).collect()
}

#[test]
fn a_tape_cut_at_any_byte_gives_all_whole_blocks_before_the_cut_and_the_offset() {
    for codec in [Codec::None, Codec::Zstd] {
        let sample = Sample::new(12, 40, 12, codec);
        for cut in 0..sample.bytes.len() {
            let bytes = &sample.bytes[..cut];
            let part = sample.part_of(cut);
            let (slots, _, end) = read_all(bytes);
            let error = end.expect_err("a cut tape has no seal");
            assert_eq!(error.offset(), sample.starts[part], "cut {cut}: {error}");
            assert!(slots == sample.slots_before(part), "cut {cut}: {error}");
            assert_eq!(matches!(error, TapeError::Unrecognised(_)), cut < 8, "cut {cut}: {error}");
            if cut % 17 != 0 && !sample.starts.contains(&(cut as u64)) {
                continue;
            }
            let (slots, end) = input_all(bytes);
            assert!(slots == without_definitions(&sample.slots_before(part)), "cut {cut}");
            match end.unwrap_err() {
                InputError::Damaged { at, .. } => assert_eq!(at, Position::Offset(sample.starts[part]), "cut {cut}"),
                error => assert!(cut < 8 && error.exit_code() == 2, "cut {cut}: {error}"),
            }
            let report = verify_tape(Cursor::new(bytes)).unwrap();
            let damage = &report.first_damages[0];
            assert_eq!((report.damages, damage.offset), (1, sample.starts[part]), "cut {cut}: {report}");
            let expected = match cut as u64 - sample.starts[part] {
                _ if part == 0 => DamageKind::Header,
                0 => DamageKind::NoSeal,
                bytes => DamageKind::TornTail { bytes },
            };
            assert_eq!(damage.kind, expected, "cut {cut}: {report}");
        }
    }
}

#[test]
fn swapped_repeated_and_dropped_blocks_break_the_chain() {
    for codec in [Codec::None, Codec::Zstd] {
        let sample = Sample::new(13, 200, 20, codec);
        let (starts, blocks) = (&sample.starts, sample.blocks.len());
        let bytes_of = |block: usize| &sample.bytes[starts[block + 1] as usize..starts[block + 2] as usize];
        let built = |order: &[usize]| {
            let mut bytes = sample.bytes[..SEGMENT_HEADER_BYTES].to_vec();
            order.iter().for_each(|&block| bytes.extend_from_slice(bytes_of(block)));
            bytes.extend_from_slice(&sample.bytes[starts[blocks + 1] as usize..]);
            bytes
        };
        let all: Vec<usize> = (0..blocks).collect();
        assert!(built(&all) == sample.bytes);
        for k in 0..blocks {
            let mut dropped = all.clone();
            dropped.remove(k);
            let mut repeated = all.clone();
            repeated.insert(k, k);
            let mut cases = vec![(dropped, k), (repeated, k + 1)];
            if k + 1 < blocks {
                let mut swapped = all.clone();
                swapped.swap(k, k + 1);
                cases.push((swapped, k));
            }
            for (order, good) in cases {
                let bytes = built(&order);
                let (slots, read, end) = read_all(&bytes);
                let error = end.unwrap_err();
                assert!(slots == sample.blocks[..good].concat(), "{order:?}");
                let next =
                    read.last().map_or(SEGMENT_HEADER_BYTES as u64, |(at, header)| at + header.bytes_in_file(*at));
                assert!(
                    matches!(error, TapeError::Damaged { offset, fault: BlockFault::Chain { .. } } if offset == next),
                    "{order:?}: {error}"
                );
                let report = verify_tape(Cursor::new(&bytes)).unwrap();
                assert_eq!(report.first_damages[0].kind, DamageKind::Inside { next }, "{order:?}: {report}");
                assert_eq!(report.blocks, order.len() as u64, "every block verifies alone: {report}");
            }
        }
    }
}

/// Overwrites the header of the block at `offset`, with a sum that is right.
fn forge(bytes: &mut [u8], offset: usize, change: impl FnOnce(&mut BlockHeader)) {
    let mut header: BlockHeader = bytemuck::pod_read_unaligned(&bytes[offset..offset + BLOCK_HEADER_BYTES]);
    let stored = header.stored_bytes as usize;
    change(&mut header);
    let stored = &bytes[offset + BLOCK_HEADER_BYTES..offset + BLOCK_HEADER_BYTES + stored];
    header.crc = header.checksum(stored);
    bytes[offset..offset + BLOCK_HEADER_BYTES].copy_from_slice(bytemuck::bytes_of(&header));
}

#[test]
fn a_header_with_a_right_sum_and_wrong_words_is_refused_by_name() {
    type Change = fn(&mut BlockHeader);
    type Expected = fn(&BlockFault) -> bool;
    let changes: [(Change, Expected); 14] = [
        (|h| h.stored_bytes = u32::MAX, |f| matches!(f, BlockFault::Lengths { stored: u32::MAX, .. })),
        (|h| (h.plain_bytes, h.slots) = (u32::MAX - 63, u32::MAX / 64), |f| matches!(f, BlockFault::Lengths { .. })),
        (
            |h| (h.codec, h.plain_bytes, h.slots) = (1, 0x8000_0000, 1 << 25),
            |f| matches!(f, BlockFault::Lengths { .. }),
        ),
        (|h| (h.stored_bytes, h.plain_bytes, h.slots) = (0, 0, 0), |f| matches!(f, BlockFault::Lengths { .. })),
        (|h| h.codec = 1, |f| matches!(f, BlockFault::Decompress(_))),
        (|h| h.codec = 2, |f| matches!(f, BlockFault::Codec(2))),
        (|h| h.slots -= 1, |f| matches!(f, BlockFault::Fields)),
        (|h| h.reserved = 1, |f| matches!(f, BlockFault::Fields)),
        (|h| h.flags |= 128, |f| matches!(f, BlockFault::Fields)),
        (|h| h.epoch = 1, |f| matches!(f, BlockFault::Epoch { found: 1, expected: 0 })),
        (|h| h.first_sequence += 1, |f| matches!(f, BlockFault::Sequence { .. })),
        (|h| h.durable = 1 << 40, |f| matches!(f, BlockFault::Durable { .. })),
        (|h| h.events += 1, |f| matches!(f, BlockFault::Summary(_))),
        (|h| h.ts_recv_max += 1, |f| matches!(f, BlockFault::Summary(_))),
    ];
    let sample = Sample::new(14, 100, 20, Codec::None);
    let at = sample.starts[3] as usize;
    for (index, (change, expected)) in changes.into_iter().enumerate() {
        let mut bytes = sample.bytes.clone();
        forge(&mut bytes, at, change);
        let (slots, _, end) = read_all(&bytes);
        match end.unwrap_err() {
            TapeError::Damaged { offset, fault } if offset == at as u64 && expected(&fault) => {}
            error => panic!("change {index}: {error:?}"),
        }
        assert!(slots == sample.slots_before(3));
        assert!(!verify_tape(Cursor::new(&bytes)).unwrap().is_whole(), "change {index}");
    }
}

#[test]
fn a_slot_with_a_right_sum_that_no_writer_makes_is_refused() {
    let sample = Sample::new(15, 100, 20, Codec::None);
    let at = sample.starts[2] as usize;
    let mut bytes = sample.bytes.clone();
    // The tag of the block's first slot.
    bytes[at + BLOCK_HEADER_BYTES] = 1;
    forge(&mut bytes, at, |_| {});
    let (slots, _, end) = read_all(&bytes);
    let error = end.unwrap_err();
    assert!(
        matches!(error, TapeError::Damaged { fault: BlockFault::Slot { index: 0, what: SlotFault::Tag }, .. }),
        "{error}"
    );
    assert!(slots == sample.slots_before(2));
}

/// Gives every block and the seal the sums and the chain that they would have if they had been written so.
fn rechain(bytes: &mut [u8]) {
    let mut prev_crc: u32 = bytemuck::pod_read_unaligned(&bytes[SEGMENT_HEADER_BYTES - 4..SEGMENT_HEADER_BYTES]);
    let mut at = SEGMENT_HEADER_BYTES;
    while bytes[at..].starts_with(&BLOCK_MAGIC) {
        forge(bytes, at, |header| header.prev_crc = prev_crc);
        let header: BlockHeader = bytemuck::pod_read_unaligned(&bytes[at..at + BLOCK_HEADER_BYTES]);
        prev_crc = header.crc;
        at += header.bytes_in_file(at as u64) as usize;
    }
    let mut seal: Seal = bytemuck::pod_read_unaligned(&bytes[at..]);
    seal.prev_crc = prev_crc;
    seal.crc = seal.checksum();
    bytes[at..].copy_from_slice(bytemuck::bytes_of(&seal));
}

#[test]
fn names_that_are_not_defined_or_defined_twice_are_damage_though_every_sum_is_right() {
    let sample = Sample::new(20, 100, 20, Codec::None);
    let mut whole = sample.bytes.clone();
    rechain(&mut whole);
    assert!(whole == sample.bytes, "the helper changes nothing that is right");

    let block = 3;
    let slots = &sample.blocks[block];
    let position_of = |found: &dyn Fn(&Slot) -> bool| slots.iter().position(found).expect("the sample has one");
    let plain = position_of(&|slot| slot.kind() == Kind::TRADE);
    let definition = sample.blocks[0].iter().position(|slot| slot.kind() == Kind::SYMBOL_DEF).unwrap();
    for (part, index, byte, value, what) in [
        (block, plain, 32 + 1, 1, SlotFault::Symbol(u32::from(slots[plain].symbol.0 as u8) + 256)),
        (block, plain, 38, 99, SlotFault::Source(99)),
        // The first definition of a symbol says that it is the second, and one letter of its text is another.
        (0, definition, 32, 2, SlotFault::Definition(2)),
        (0, definition + 1, 8, b'X', SlotFault::Definition(1)),
    ] {
        let mut bytes = sample.bytes.clone();
        let at = sample.starts[part + 1];
        bytes[at as usize + BLOCK_HEADER_BYTES + index * 64 + byte] = value;
        rechain(&mut bytes);
        assert!(read_all(&bytes).2.is_ok(), "{what}: every block verifies");
        let (slots, end) = input_all(&bytes);
        let error = end.unwrap_err();
        assert!(matches!(error, InputError::Damaged { at: Position::Offset(offset), .. } if offset == at), "{error}");
        assert!(error.to_string().ends_with(&what.to_string()), "{error}: {what}");
        let before = without_definitions(&sample.blocks[..part].concat()).len();
        let within = without_definitions(&sample.blocks[part][..index]).len();
        assert_eq!(slots.len(), before + within, "{what}: what is before stands, and nothing else");
        let report = verify_tape(Cursor::new(&bytes)).unwrap();
        let damage = &report.first_damages[0];
        assert_eq!((report.damages, damage.offset, damage.kind), (1, at, DamageKind::Content), "{report}");
    }
}

#[test]
fn a_frame_that_holds_more_or_less_than_the_plain_length_is_refused() {
    let sample = Sample::new(16, 400, 100, Codec::Zstd);
    let at = sample.starts[2] as usize;
    for more in [1, u32::MAX] {
        let mut bytes = sample.bytes.clone();
        forge(&mut bytes, at, |header| {
            header.slots = header.slots.wrapping_add(more);
            header.plain_bytes = header.slots * 64;
        });
        let (_, _, end) = read_all(&bytes);
        let error = end.unwrap_err();
        assert!(matches!(error, TapeError::Damaged { fault: BlockFault::Decompress(_), .. }), "{more}: {error}");
    }
}

#[test]
fn a_seal_with_a_right_sum_and_wrong_words_is_refused_by_name() {
    type Change = fn(&mut Seal);
    type Expected = fn(&BlockFault) -> bool;
    let changes: [(Change, Expected); 8] = [
        (|s| s.epoch = 1, |f| matches!(f, BlockFault::Epoch { .. })),
        (|s| s.prev_crc ^= 1, |f| matches!(f, BlockFault::Chain { .. })),
        (|s| s.end_sequence += 1, |f| matches!(f, BlockFault::Sequence { .. })),
        (|s| s.durable = s.end_sequence + 1, |f| matches!(f, BlockFault::Durable { .. })),
        (|s| s.reserved = 1, |f| matches!(f, BlockFault::Fields)),
        (|s| s.slots += 1, |f| matches!(f, BlockFault::Seal("counts"))),
        (|s| s.blocks -= 1, |f| matches!(f, BlockFault::Seal("counts"))),
        (|s| s.ts_recv_max += 1, |f| matches!(f, BlockFault::Seal("times"))),
    ];
    let sample = Sample::new(24, 100, 20, Codec::None);
    let at = sample.bytes.len() - 64;
    for (index, (change, expected)) in changes.into_iter().enumerate() {
        let mut bytes = sample.bytes.clone();
        let mut seal: Seal = bytemuck::pod_read_unaligned(&bytes[at..]);
        change(&mut seal);
        seal.crc = seal.checksum();
        bytes[at..].copy_from_slice(bytemuck::bytes_of(&seal));
        let (slots, _, end) = read_all(&bytes);
        match end.unwrap_err() {
            TapeError::Damaged { offset, fault } if offset == at as u64 && expected(&fault) => {}
            error => panic!("change {index}: {error:?}"),
        }
        assert!(slots == sample.blocks.concat());
        let report = verify_tape(Cursor::new(&bytes)).unwrap();
        assert!(!report.is_whole(), "change {index}: {report}");
        assert_eq!(report.first_damages[0].offset, at as u64, "change {index}: {report}");
    }
}

#[test]
fn an_older_block_behind_a_torn_tail_is_none_that_follows() {
    let sample = Sample::new(25, 200, 20, Codec::None);
    let block = |part: usize| &sample.bytes[sample.starts[part] as usize..sample.starts[part + 1] as usize];
    let mut bytes = sample.bytes[..sample.starts[6] as usize].to_vec();
    bytes.extend_from_slice(&block(6)[..block(6).len() / 2 / 64 * 64]);
    let torn = bytes.len() as u64 - sample.starts[6];
    bytes.extend_from_slice(block(2));
    let report = verify_tape(Cursor::new(&bytes)).unwrap();
    let damage = &report.first_damages[0];
    let bytes = torn + block(2).len() as u64;
    assert_eq!((damage.offset, damage.kind), (sample.starts[6], DamageKind::TornTail { bytes }), "{report}");
}

#[test]
fn zeros_instead_of_a_block_and_bytes_after_the_seal_are_named_with_their_length() {
    let sample = Sample::new(17, 100, 20, Codec::None);
    let seal = sample.starts[sample.starts.len() - 2] as usize;
    assert_eq!(&sample.bytes[seal..seal + 4], &SEAL_MAGIC);
    // A segment that was filled ahead and never closed.
    let mut ahead = sample.bytes[..seal].to_vec();
    ahead.resize(seal + 300_000, 0);
    let (slots, _, end) = read_all(&ahead);
    assert!(slots == sample.blocks.concat());
    let error = end.unwrap_err();
    let TapeError::Damaged { offset, fault: BlockFault::Zeros { zeros: 300_000, to_end: true } } = error else {
        panic!("{error}")
    };
    assert_eq!(offset, seal as u64);
    let report = verify_tape(Cursor::new(&ahead)).unwrap();
    assert_eq!(report.first_damages[0].kind, DamageKind::TornTail { bytes: 300_000 });

    // A hole inside: the same first sight, and no torn tail.
    let mut hole = sample.bytes.clone();
    hole[sample.starts[2] as usize..sample.starts[3] as usize].fill(0);
    let error = read_all(&hole).2.unwrap_err();
    assert!(matches!(error, TapeError::Damaged { fault: BlockFault::Zeros { to_end: false, .. }, .. }), "{error}");
    let report = verify_tape(Cursor::new(&hole)).unwrap();
    assert_eq!(report.first_damages[0].kind, DamageKind::Inside { next: sample.starts[3] }, "{report}");
    assert!(report.sealed && report.damages == 1, "{report}");

    let mut after = sample.bytes.clone();
    after.extend_from_slice(b"abc");
    let (slots, _, end) = read_all(&after);
    assert!(slots == sample.blocks.concat());
    assert_eq!(end.unwrap_err().offset(), sample.bytes.len() as u64);
    let report = verify_tape(Cursor::new(&after)).unwrap();
    assert_eq!(report.first_damages[0].kind, DamageKind::AfterSeal { bytes: 3 });
}

#[test]
fn several_damaged_places_are_all_reported_and_lost_or_inserted_bytes_are_damage_inside() {
    let sample = Sample::new(18, 400, 20, Codec::Zstd);
    let mut bytes = sample.bytes.clone();
    for part in [3, 7, 8, 15] {
        bytes[sample.starts[part] as usize + 70] ^= 0x10;
    }
    let report = verify_tape(Cursor::new(&bytes)).unwrap();
    let found: Vec<_> = report.first_damages.iter().map(|damage| damage.offset).collect();
    // Neighbours are one place: what is looked for is the next thing that verifies.
    assert_eq!(found, [3, 7, 15].map(|part| sample.starts[part]));
    assert_eq!(report.blocks, sample.blocks.len() as u64 - 4);
    assert!(report.sealed && !report.is_whole());

    let mut lost = sample.bytes.clone();
    lost.drain(sample.starts[5] as usize + 10..sample.starts[5] as usize + 17);
    let report = verify_tape(Cursor::new(&lost)).unwrap();
    assert_eq!(report.first_damages[0].kind, DamageKind::Inside { next: sample.starts[6] - 7 }, "{report}");
}

#[test]
fn a_file_of_false_beginnings_costs_a_few_readings_and_no_more() {
    let sample = Sample::new(19, 100, 20, Codec::None);
    let mut bytes = sample.bytes[..sample.starts[2] as usize].to_vec();
    let mut header: BlockHeader =
        bytemuck::pod_read_unaligned(&sample.bytes[sample.starts[1] as usize..][..BLOCK_HEADER_BYTES]);
    (header.stored_bytes, header.plain_bytes, header.slots) = (262_144, 262_144, 4096);
    header.first_sequence = 1 << 30;
    (0..64 << 10).for_each(|_| bytes.extend_from_slice(bytemuck::bytes_of(&header)));
    let report = verify_tape(Cursor::new(&bytes)).unwrap();
    assert!(report.search_given_up && report.blocks == 1, "{report}");
}

#[test]
fn random_bytes_never_panic() {
    for seed in 0..300 {
        let mut prng = Prng(seed);
        let sample = Sample::new(seed, 40, 10, if seed % 2 == 0 { Codec::None } else { Codec::Zstd });
        let mut bytes = sample.bytes;
        for _ in 0..1 + prng.below(20) {
            let at = prng.below(bytes.len() as u64) as usize;
            match prng.below(4) {
                0 => bytes[at] = prng.word() as u8,
                1 => bytes.truncate(at.max(SEGMENT_HEADER_BYTES)),
                2 => bytes.insert(at, prng.word() as u8),
                _ => {
                    // Damage that the sums do not show: what a bug in a writer could do.
                    let block = sample.starts[1 + prng.below(sample.blocks.len() as u64) as usize] as usize;
                    let word = block + 64 + prng.below(640) as usize;
                    if word < bytes.len() && block + 64 + 4096 < bytes.len() && bytes[block..].starts_with(b"TBLK") {
                        bytes[word] = prng.word() as u8;
                        let stored: u32 = bytemuck::pod_read_unaligned(&bytes[block + 36..block + 40]);
                        if block + 64 + stored as usize <= bytes.len() {
                            forge(&mut bytes, block, |_| {});
                        }
                    }
                }
            }
        }
        let (slots, _, _) = read_all(&bytes);
        let (input, _) = input_all(&bytes);
        assert!(input.len() <= slots.len(), "seed {seed}");
        let _ = verify_tape(Cursor::new(&bytes)).unwrap().to_string();
    }
}
