//! What is written is what is read, byte for byte the same for the same input.

use crate::support::{Prng, catalog, event, random_events, read_all, tape};
use std::io::{self, Read, Write};
use tapeline_core::catalog::{Catalog, SeqRule};
use tapeline_core::event::payload::{News, SymbolDef, Trade};
use tapeline_core::event::{EventBuf, EventRef, Flags, Kind, Slot, events};
use tapeline_core::units::{SourceId, SymbolId, UnixNanos};
use tapeline_runtime::tape::format::{BLOCK_SLOTS_MAX, BlockHeader, GROUP_BYTES, SEGMENT_HEADER_BYTES, SlotFault};
use tapeline_runtime::tape::{Codec, TapeOptions, TapeReader, TapeWriteError, TapeWriter};

fn without_definitions(slots: &[Slot]) -> Vec<Slot> {
    let kept = |event: &EventRef<'_>| !matches!(event.kind(), Kind::SYMBOL_DEF | Kind::SOURCE_DEF);
    events(slots).filter(kept).flat_map(|event| event.slots().to_vec()).collect()
}

#[test]
fn req_3485_random_events_survive_slot_for_slot() {
    let catalog = catalog(300, 20);
    for (seed, codec) in [(1, Codec::None), (2, Codec::Zstd), (3, Codec::None), (4, Codec::Zstd)] {
        let events = random_events(seed, 30_000, &catalog);
        let mut bytes = Vec::new();
        let mut writer = TapeWriter::new(&mut bytes, TapeOptions { codec, ..TapeOptions::default() }).unwrap();
        let mut prng = Prng(seed ^ 0xff);
        let mut rest = &events[..];
        while !rest.is_empty() {
            let (run, after) = rest.split_at(prng.below(500).min(rest.len() as u64) as usize);
            // What comes from a ring has tags.
            let mut run = run.concat();
            run.iter_mut().for_each(|slot| slot.tag = prng.word() as u32);
            writer.write(&catalog, &run).unwrap();
            rest = after;
        }
        let counts = writer.finish().unwrap();
        let (slots, blocks, end) = read_all(&bytes);
        end.unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        assert!(without_definitions(&slots) == events.concat(), "seed {seed}");
        assert_eq!(counts.events, 30_000, "seed {seed}");
        assert_eq!(counts.definitions, 320, "seed {seed}: 300 symbols and 20 sources");
        assert_eq!(counts.slots, slots.len() as u64, "seed {seed}");
        assert_eq!(counts.blocks, blocks.len() as u64, "seed {seed}");
        assert_eq!(counts.bytes, bytes.len() as u64, "seed {seed}");
        assert!(blocks.iter().all(|(_, header)| header.codec == u8::from(codec == Codec::Zstd)), "seed {seed}");

        // Every name is defined before its first use, with its own text.
        let mut known = Catalog::new(1 << 12);
        for event in events_of(&slots) {
            known.apply(event).unwrap();
            assert!(event.head().symbol.index() < known.symbols() && event.head().source.index() < known.sources());
        }
        assert_eq!(known.symbol_text(SymbolId(300)), catalog.symbol_text(SymbolId(300)));
        assert_eq!(known.seq_rule(SourceId(3)), catalog.seq_rule(SourceId(3)));
    }
}

fn events_of(slots: &[Slot]) -> impl Iterator<Item = EventRef<'_>> {
    events(slots)
}

#[test]
fn equal_input_gives_equal_bytes_however_it_is_cut_into_calls() {
    let catalog = catalog(50, 5);
    let events = random_events(7, 5_000, &catalog);
    for codec in [Codec::None, Codec::Zstd] {
        let made = |run: usize| {
            let mut bytes = Vec::new();
            let mut writer = TapeWriter::new(&mut bytes, TapeOptions { codec, ..TapeOptions::default() }).unwrap();
            events.chunks(run).for_each(|run| writer.write(&catalog, &run.concat()).unwrap());
            writer.finish().unwrap();
            bytes
        };
        let whole = made(usize::MAX);
        assert!(whole == made(1));
        assert!(whole == made(97));
    }
}

#[test]
fn no_event_spans_blocks() {
    let catalog = catalog(1, 1);
    let mut long = EventBuf::new(&News::default());
    (0..63).for_each(|i| long.push_words([i; 7]).unwrap());
    let mut bytes = Vec::new();
    let mut writer = TapeWriter::new(&mut bytes, TapeOptions::default()).unwrap();
    let one = EventBuf::new(&Trade::default());
    // One slot, then events of 64: the 64th would end one slot beyond the block.
    writer.write(&catalog, one.slots()).unwrap();
    (0..200).for_each(|_| writer.write(&catalog, long.slots()).unwrap());
    writer.finish().unwrap();
    let (slots, blocks, end) = read_all(&bytes);
    end.unwrap();
    assert_eq!(slots.len(), 1 + 200 * 64);
    assert_eq!(blocks[0].1.slots as usize, BLOCK_SLOTS_MAX - 63);
    assert_eq!(blocks[1].1.slots as usize, BLOCK_SLOTS_MAX);
    assert!(blocks.iter().all(|(_, header)| header.slots as usize <= BLOCK_SLOTS_MAX));
}

#[test]
fn a_group_ends_with_zeros_up_to_a_sector_and_the_next_begins_a_new_one() {
    let catalog = catalog(20, 2);
    for codec in [Codec::None, Codec::Zstd] {
        let events = random_events(9, 600, &catalog);
        let bytes = tape(&catalog, &events, codec, 50);
        let (slots, blocks, end) = read_all(&bytes);
        end.unwrap();
        assert_eq!(blocks.len(), 12);
        assert!(blocks.iter().all(|(offset, _)| offset % GROUP_BYTES as u64 == 0));
        assert!(blocks.iter().all(|(_, header)| header.flags & BlockHeader::PADDED != 0));
        assert!(without_definitions(&slots) == events.concat());
    }
}

#[test]
fn a_block_that_does_not_become_smaller_is_stored_as_it_is() {
    let catalog = Catalog::new(16);
    let (mut bytes, mut prng) = (Vec::new(), Prng(6));
    let mut writer = TapeWriter::new(&mut bytes, TapeOptions { codec: Codec::Zstd, ..TapeOptions::default() }).unwrap();
    let mut written = Vec::new();
    for block in 0..4 {
        for _ in 0..10 {
            let mut event = EventBuf::new(&News::default());
            for _ in 0..63 {
                event.push_words(std::array::from_fn(|_| if block % 2 == 0 { prng.word() } else { 7 })).unwrap();
            }
            writer.write(&catalog, event.slots()).unwrap();
            written.extend_from_slice(event.slots());
        }
        writer.end_group().unwrap();
    }
    // A short event of random words: the frame would be longer than the slot.
    let mut short = EventBuf::new(&Trade { price: prng.word() as i64, size: prng.word(), ..Trade::default() });
    let head = short.head_mut();
    (head.ts_recv, head.ts_event, head.seq) = (UnixNanos(prng.word()), UnixNanos(prng.word()), prng.word());
    writer.write(&catalog, short.slots()).unwrap();
    written.extend_from_slice(short.slots());
    let counts = writer.finish().unwrap();
    let (slots, blocks, end) = read_all(&bytes);
    end.unwrap();
    assert!(slots == written);
    assert_eq!(counts.blocks, 5);
    let stored: Vec<_> = blocks.iter().map(|(_, header)| (header.codec, header.stored_bytes)).collect();
    assert!(stored[..4].iter().all(|&(codec, _)| codec == 1), "{stored:?}");
    assert_eq!(stored[4], (0, 64), "{stored:?}");
    assert!(stored[1].1 < stored[0].1, "{stored:?}");
}

#[test]
fn golden_bytes_of_a_tiny_tape() {
    let mut catalog = Catalog::new(16);
    let symbol = catalog.symbol(b"BINANCE_SPOT:ETHUSDT").unwrap();
    let source = catalog.source(b"binance.spot.trade", SeqRule::Increasing).unwrap();
    let mut trade = EventBuf::new(&Trade { price: 2_500_000_000_000, size: 3, side: 1, ..Trade::default() });
    let head = trade.head_mut();
    head.ts_recv = UnixNanos(0x1122_3344_5566_7788);
    head.ts_event = UnixNanos::UNKNOWN;
    (head.seq, head.symbol, head.source, head.scale, head.tag) = (42, symbol, source, 8, 99);
    trade.flag(Flags::LAST);
    let mut bytes = Vec::new();
    let options = TapeOptions { generated: true, made_by: "generated: seed 1".into(), ..TapeOptions::default() };
    let mut writer = TapeWriter::new(&mut bytes, options).unwrap();
    writer.write(&catalog, trade.slots()).unwrap();
    writer.finish().unwrap();

    // 64 bytes a line; lines of zeros are left out. A change here is a change of the format.
    let lines: Vec<String> = bytes
        .chunks(64)
        .enumerate()
        .filter(|(_, line)| line.iter().any(|&byte| byte != 0))
        .map(|(index, line)| {
            format!("{:5} {}", index * 64, line.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
        })
        .collect();
    assert_eq!(bytes.len(), SEGMENT_HEADER_BYTES + 64 + 5 * 64 + 64);
    assert_eq!(lines.join("\n"), include_str!("golden.txt").trim_end());
}

#[test]
fn header_words_survive_and_stand_for_everyone_to_see() {
    let mut bytes = Vec::new();
    let options = TapeOptions {
        generated: true,
        made_by: "generated: seed 1, 100 symbols".into(),
        codec: Codec::Zstd,
        shard: 2,
        shard_count: 4,
        segment: 9,
        base_sequence: 1_000,
        epoch: 77,
    };
    let mut writer = TapeWriter::new(&mut bytes, options).unwrap();
    let catalog = catalog(3, 2);
    writer.define_all(&catalog).unwrap();
    assert_eq!(writer.sequence_written(), 1_000);
    writer.end_group().unwrap();
    assert_eq!(writer.sequence_written(), 1_005);
    writer.set_durable(1_005);
    writer.write(&catalog, EventBuf::new(&Trade::default()).slots()).unwrap();
    let counts = writer.finish().unwrap();
    assert_eq!((counts.events, counts.definitions), (1, 5));

    let mut reader = TapeReader::new(bytes.as_slice()).unwrap();
    assert!(reader.header().generated);
    assert_eq!(reader.header().made_by, "generated: seed 1, 100 symbols");
    assert_eq!((reader.header().shard, reader.header().shard_count, reader.header().segment), (2, 4, 9));
    let first = reader.next_block().unwrap().unwrap();
    assert_eq!((first.header.first_sequence, first.header.durable, first.summary.definitions), (1_000, 0, 5));
    let second = reader.next_block().unwrap().unwrap();
    assert_eq!((second.header.first_sequence, second.header.durable), (1_005, 1_005));
    assert!(reader.next_block().unwrap().is_none());
    assert_eq!(reader.seal().unwrap().end_sequence, 1_006);
}

#[test]
fn an_empty_tape_is_a_header_and_a_seal() {
    let mut bytes = Vec::new();
    let counts = TapeWriter::new(&mut bytes, TapeOptions::default()).unwrap().finish().unwrap();
    assert_eq!((counts.events, counts.blocks, counts.bytes), (0, 0, 4096 + 64));
    let (slots, blocks, end) = read_all(&bytes);
    end.unwrap();
    assert!(slots.is_empty() && blocks.is_empty());
}

#[test]
fn slots_that_are_no_events_and_unknown_names_are_refused_and_nothing_of_the_run_is_taken() {
    let catalog = catalog(2, 1);
    let mut bytes = Vec::new();
    let mut writer = TapeWriter::new(&mut bytes, TapeOptions::default()).unwrap();
    let good = EventBuf::new(&Trade::default()).slots()[0];
    let with = |symbol: u32, source: u8| {
        let mut slot = good;
        (slot.symbol, slot.source) = (SymbolId(symbol), SourceId(source));
        slot
    };
    let mut cut = good;
    cut.set_span(2);
    let mut undefined = EventBuf::new(&SymbolDef::default());
    undefined.head_mut().symbol = SymbolId(9);
    for (bad, expected) in [
        (with(3, 0), SlotFault::Symbol(3)),
        (with(0, 2), SlotFault::Source(2)),
        (Slot::continuation([0; 7]), SlotFault::Stray),
        (cut, SlotFault::Span(2)),
        (undefined.slots()[0], SlotFault::Symbol(9)),
    ] {
        match writer.write(&catalog, &[good, bad]) {
            Err(TapeWriteError::Slot { index: 1, fault }) => assert_eq!(fault, expected),
            other => panic!("{expected:?}: {other:?}"),
        }
    }
    // Definitions in a run are the writer's own business.
    writer.write(&catalog, catalog.symbol_def(SymbolId(1)).slots()).unwrap();
    let counts = writer.finish().unwrap();
    assert_eq!((counts.events, counts.slots), (0, 0));
}

/// Takes so many bytes and then fails, once; what comes later would go through.
struct Failing {
    bytes: Vec<u8>,
    fails_at: usize,
    failed: bool,
}

impl Write for Failing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if !self.failed && self.bytes.len() + bytes.len() > self.fails_at {
            let fits = self.fails_at - self.bytes.len();
            if fits == 0 {
                self.failed = true;
                return Err(io::Error::other("disk full"));
            }
            self.bytes.extend_from_slice(&bytes[..fits]);
            return Ok(fits);
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_failed_write_poisons_the_writer_and_leaves_a_tape_that_ends_before_it() {
    let catalog = catalog(5, 2);
    let events = random_events(3, 3_000, &catalog);
    let whole = tape(&catalog, &events, Codec::None, usize::MAX);
    let (_, blocks, _) = read_all(&whole);
    for fails_at in [0, 100, 4096, 4096 + 10, blocks[1].0 as usize, blocks[1].0 as usize + 100_000] {
        let mut out = Failing { bytes: Vec::new(), fails_at, failed: false };
        let failed = match TapeWriter::new(&mut out, TapeOptions::default()) {
            Err(error) => {
                assert!(matches!(error, TapeWriteError::Io { offset: 0, .. }));
                continue;
            }
            Ok(mut writer) => {
                let error = writer.write(&catalog, &events.concat()).unwrap_err();
                let TapeWriteError::Io { offset, .. } = error else { panic!("{error}") };
                assert!(
                    matches!(writer.write(&catalog, &events[0]), Err(TapeWriteError::Poisoned(at)) if at == offset)
                );
                assert!(matches!(writer.end_group(), Err(TapeWriteError::Poisoned(_))));
                assert!(matches!(writer.finish(), Err(TapeWriteError::Poisoned(_))));
                offset
            }
        };
        let (_, read, end) = read_all(&out.bytes);
        assert_eq!(end.unwrap_err().offset(), failed, "fails at {fails_at}");
        assert_eq!(read.len(), blocks.iter().filter(|(offset, _)| *offset < failed).count());
    }
}

/// Gives one to a few bytes a call, and an interruption now and then.
struct Trickle<'a>(&'a [u8], Prng);

impl Read for Trickle<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.1.one_in(5) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let most = 1 + self.1.below(3_000) as usize;
        let most = most.min(into.len());
        self.0.read(&mut into[..most])
    }
}

#[test]
fn short_reads_and_interruptions_change_nothing() {
    let catalog = catalog(5, 2);
    let mut prng = Prng(5);
    let mut now = 0;
    let events: Vec<_> = (0..2_000).map(|_| event(&mut prng, &catalog, &mut now).slots().to_vec()).collect();
    for codec in [Codec::None, Codec::Zstd] {
        let bytes = tape(&catalog, &events, codec, 100);
        let mut reader = TapeReader::new(Trickle(&bytes, Prng(1))).unwrap();
        let mut slots = Vec::new();
        while let Some(block) = reader.next_block().unwrap() {
            slots.extend_from_slice(block.slots);
        }
        assert!(slots == read_all(&bytes).0);
    }
}
