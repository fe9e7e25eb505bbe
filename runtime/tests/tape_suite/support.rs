//! Seeded random events, tapes of them, and the places of their blocks.

use tapeline_core::catalog::{Catalog, SeqRule};
use tapeline_core::event::payload::{Cause, Epoch, News, Quote, Tick, Trade};
use tapeline_core::event::{EventBuf, Flags, Lane, Slot};
use tapeline_core::limits::SPAN_SLOTS_MAX;
use tapeline_core::units::{SourceId, SymbolId, UnixNanos};
use tapeline_runtime::tape::format::BlockHeader;
use tapeline_runtime::tape::{Codec, TapeError, TapeOptions, TapeReader, TapeWriter};

/// splitmix64: every word of a seed's stream, in order.
pub(crate) struct Prng(pub(crate) u64);

impl Prng {
    pub(crate) fn word(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.word() % bound
    }

    pub(crate) fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

/// A catalog of `symbols` symbols and `sources` sources.
pub(crate) fn catalog(symbols: u32, sources: u8) -> Catalog {
    let mut catalog = Catalog::new(1 << 12);
    for i in 1..=symbols {
        catalog.symbol(format!("VENUE{}:SYMBOL-{i}", i % 3).as_bytes()).unwrap();
    }
    for i in 1..=sources {
        catalog.source(format!("venue.stream-{i}").as_bytes(), SeqRule::from_u8(i % 4)).unwrap();
    }
    catalog
}

/// A random event whose names are in `catalog`: one slot mostly, now and then up to 64, derived ones and control too.
pub(crate) fn event(prng: &mut Prng, catalog: &Catalog, now: &mut u64) -> EventBuf {
    *now += prng.below(1_000);
    let symbol = |prng: &mut Prng| SymbolId(prng.below(catalog.symbols() as u64) as u32);
    let source = |prng: &mut Prng| SourceId(prng.below(catalog.sources() as u64) as u8);
    let mut event = match prng.below(40) {
        0 => EventBuf::new(&Tick { last: 0, reserved: [0; 2] }),
        1 => EventBuf::new(&Epoch { number: prng.below(9), reserved: [0; 2] }),
        2..6 => {
            let mut event = EventBuf::new(&News { id: prng.word(), ..News::default() });
            let most = SPAN_SLOTS_MAX as u64 - 1;
            let tail = if prng.one_in(3) { most } else { 1 + prng.below(most) };
            for _ in 0..tail {
                event.push_words([prng.word(); 7]).unwrap();
            }
            event
        }
        6..10 => {
            let mut event = EventBuf::new(&Quote { bid_px: prng.word() as i64, ..Quote::default() });
            let mut cause = Cause { index: prng.below(9) as u32, ..Cause::default() };
            cause.root.symbol = symbol(prng);
            cause.root.source = source(prng);
            event.push_value(&cause).unwrap();
            event.flag(Flags::DERIVED);
            event
        }
        _ => EventBuf::new(&Trade { price: prng.word() as i64, size: prng.below(100), ..Trade::default() }),
    };
    let head = event.head_mut();
    // Capture times go back now and then.
    head.ts_recv = UnixNanos(if prng.one_in(20) { now.saturating_sub(5_000) } else { *now });
    head.ts_event = UnixNanos(prng.word());
    head.seq = prng.word();
    head.symbol = symbol(prng);
    head.source = source(prng);
    head.part = prng.below(4) as u16;
    head.scale = prng.below(20) as u8;
    head.set_lane(Lane::from_bits(prng.below(4) as u8));
    if !head.kind().is_control() && !prng.one_in(3) {
        event.flag(Flags::LAST);
    }
    event
}

/// Random events, each as its slots.
pub(crate) fn random_events(seed: u64, count: usize, catalog: &Catalog) -> Vec<Vec<Slot>> {
    let (mut prng, mut now) = (Prng(seed), 1_700_000_000_000_000_000);
    (0..count).map(|_| event(&mut prng, catalog, &mut now).slots().to_vec()).collect()
}

/// A tape of `events` with a group ended every so many events, so that a small tape has several blocks.
pub(crate) fn tape(catalog: &Catalog, events: &[Vec<Slot>], codec: Codec, group: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    let options = TapeOptions { codec, made_by: "test".into(), ..TapeOptions::default() };
    let mut writer = TapeWriter::new(&mut bytes, options).unwrap();
    for group in events.chunks(group) {
        writer.write(catalog, &group.concat()).unwrap();
        writer.end_group().unwrap();
    }
    writer.finish().unwrap();
    bytes
}

/// Where each block begins, and its header.
pub(crate) type Blocks = Vec<(u64, BlockHeader)>;

/// All slots that a reader delivers, definitions included, where each block begins, and how it ended.
pub(crate) fn read_all(bytes: &[u8]) -> (Vec<Slot>, Blocks, Result<(), TapeError>) {
    let (mut slots, mut blocks) = (Vec::new(), Vec::new());
    let mut reader = match TapeReader::new(bytes) {
        Ok(reader) => reader,
        Err(error) => return (slots, blocks, Err(error)),
    };
    loop {
        match reader.next_block() {
            Ok(Some(block)) => {
                blocks.push((block.offset, block.header));
                slots.extend_from_slice(block.slots);
            }
            Ok(None) => {
                assert!(reader.seal().is_some(), "a tape that ends well is sealed");
                return (slots, blocks, Ok(()));
            }
            Err(error) => {
                assert!(matches!(reader.next_block(), Ok(None)), "nothing follows an error");
                return (slots, blocks, Err(error));
            }
        }
    }
}
