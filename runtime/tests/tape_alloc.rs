//! A reader of an uncompressed tape allocates nothing once it stands, whatever the file says.

use allocation_counter::measure;
use std::io::Cursor;
use tapeline_core::catalog::{Catalog, SeqRule};
use tapeline_core::event::payload::{News, Trade};
use tapeline_core::event::{EventBuf, Flags};
use tapeline_core::units::{SourceId, SymbolId, UnixNanos};
use tapeline_runtime::input::tape::TapeInput;
use tapeline_runtime::input::{Input, MESSAGE_SLOTS_MAX, SlotBuf, Status};
use tapeline_runtime::tape::format::{BLOCK_HEADER_BYTES, BlockHeader, SEGMENT_HEADER_BYTES};
use tapeline_runtime::tape::{Codec, TapeOptions, TapeReader, TapeWriter};

/// A tape whose symbols are defined throughout.
fn tape(events: u32, codec: Codec) -> Vec<u8> {
    let mut catalog = Catalog::new(1 << 12);
    for i in 1..1000 {
        catalog.symbol(format!("SYMBOL-{i}").as_bytes()).unwrap();
    }
    catalog.source(b"source", SeqRule::Increasing).unwrap();
    let mut bytes = Vec::new();
    let mut writer = TapeWriter::new(&mut bytes, TapeOptions { codec, ..TapeOptions::default() }).unwrap();
    for i in 0..events {
        let mut event = EventBuf::new(&Trade { price: i64::from(i), ..Trade::default() });
        if i % 100 == 0 {
            event = EventBuf::new(&News { text_bytes: 100, ..News::default() });
            event.push_bytes(&[1; 100]).unwrap();
        }
        let head = event.head_mut();
        (head.ts_recv, head.symbol) = (UnixNanos(u64::from(i)), SymbolId((i / 100 % 1000).max(1)));
        head.source = SourceId(1);
        if i % 3 == 0 {
            event.flag(Flags::LAST);
        }
        writer.write(&catalog, event.slots()).unwrap();
    }
    writer.finish().unwrap();
    bytes
}

#[test]
fn a_reader_allocates_nothing_after_it_is_made() {
    let bytes = tape(100_000, Codec::None);
    let mut reader = TapeReader::new(bytes.as_slice()).unwrap();
    let mut events = 0;
    let info = measure(|| {
        while let Some(block) = reader.next_block().unwrap() {
            events += block.summary.events - block.summary.definitions;
        }
    });
    assert_eq!((info.count_total, events), (0, 100_000));
}

#[test]
fn the_input_allocates_in_its_first_call_only_with_equal_ids_and_with_others() {
    let bytes = tape(100_000, Codec::None);
    for taken in [0, 7] {
        let mut catalog = Catalog::new(1 << 12);
        (0..taken).for_each(|i| assert!(catalog.symbol(format!("OTHER-{i}").as_bytes()).is_ok()));
        let mut out = SlotBuf::with_capacity(MESSAGE_SLOTS_MAX);
        let mut input = TapeInput::new("some.tape", Box::new(Cursor::new(bytes.clone()))).unwrap();
        assert_eq!(input.read(&mut catalog, &mut out).unwrap(), Status::More);
        let mut slots = out.slots().len();
        let info = measure(|| {
            loop {
                out.clear();
                let status = input.read(&mut catalog, &mut out).unwrap();
                slots += out.slots().len();
                if status == Status::End {
                    break;
                }
            }
        });
        assert_eq!((info.count_total, slots), (0, 100_000 + 2_000), "{taken} names taken");
    }
}

#[test]
fn the_writer_allocates_in_its_constructor_only() {
    let mut catalog = Catalog::new(16);
    let mut event = EventBuf::new(&Trade::default());
    event.head_mut().symbol = catalog.symbol(b"A").unwrap();
    for codec in [Codec::None, Codec::Zstd] {
        let mut writer = TapeWriter::new(std::io::sink(), TapeOptions { codec, ..TapeOptions::default() }).unwrap();
        let info = measure(|| (0..50_000).for_each(|_| writer.write(&catalog, event.slots()).unwrap()));
        assert_eq!(info.count_total, 0, "{codec:?}");
    }
}

#[test]
fn a_length_of_gigabytes_is_refused_before_anything_is_allocated() {
    for codec in [Codec::None, Codec::Zstd] {
        let mut bytes = tape(1_000, codec);
        let at = SEGMENT_HEADER_BYTES;
        let mut header: BlockHeader = bytemuck::pod_read_unaligned(&bytes[at..at + BLOCK_HEADER_BYTES]);
        (header.plain_bytes, header.slots) = (u32::MAX - 63, u32::MAX / 64);
        header.crc = header.checksum(&bytes[at + BLOCK_HEADER_BYTES..][..header.stored_bytes as usize]);
        bytes[at..at + BLOCK_HEADER_BYTES].copy_from_slice(bytemuck::bytes_of(&header));
        let mut reader = TapeReader::new(bytes.as_slice()).unwrap();
        let info = measure(|| assert_eq!(reader.next_block().unwrap_err().offset(), 4096));
        assert_eq!(info.bytes_max, 0, "{codec:?}");
    }
}
