//! DBN, Databento's binary encoding: versions 1 to 3, and the legacy DBZ that came before them.
//!
//! The bytes are those of the uncompressed stream; who opens a `.dbn.zst` unpacks it first. The metadata and the records
//! are decoded by the `dbn` crate. What is checked before the crate sees it: the length of the metadata, which is read
//! no further than the file goes, and the length of each record, which must be a multiple of 8 (the crate would lay the
//! next record on an address that is no multiple of 8 otherwise).
//!
//! DBZ is a zstd stream whose metadata stands in a skippable frame in front. It is rewritten as DBN version 1, whose
//! records it has, while it is read; offsets in errors are those of that DBN stream. *Fragments* (`*.dbn.frag`) are
//! records without metadata: they have no mark that tells them, their version or their dataset, and are not recognised.
//! Version 4 and later are refused by their number.
//!
//! # What each DBN schema keeps and drops
//!
//! | records | kind | keeps | drops |
//! |---|---|---|---|
//! | `mbo` | book_order | order_id, price, size, side, action, flags, channel_id, ts_recv, ts_event, sequence | ts_in_delta |
//! | `trades` | trade | price, size, side, action, flags, depth, ts_in_delta, ts_recv, ts_event, sequence | |
//! | `mbp-1` | quote (wide) | both sides with size and count; price, size, side, action, flags, depth, ts_in_delta; ts_recv, ts_event, sequence | |
//! | `tbbo` | trade, then quote (wide) | the trade as of `trades`, the quote before it as of `mbp-1`, in two parts of one message | |
//! | `bbo-1s`, `bbo-1m` | quote (wide) | as `mbp-1`, price, size and side of the last trade, and the interval | (they have no action, depth, ts_in_delta) |
//! | `cmbp-1` | quote (wide) | as `mbp-1`; `bid_ct` and `ask_ct` are the publishers of bid and ask | (no sequence, depth) |
//! | `tcbbo` | trade, then quote (wide) | as `tbbo` with the quote as of `cmbp-1` | (no sequence, depth) |
//! | `cbbo-1s`, `cbbo-1m` | quote (wide) | as `bbo-1s` with publishers for counts | (no sequence, action, depth, ts_in_delta) |
//! | `mbp-10` | book_depth | ten levels of both sides with counts; price, size, side, action, flags, depth, ts_in_delta; ts_recv, ts_event, sequence | |
//! | `ohlcv-1s` to `ohlcv-1d`, `ohlcv-eod` | bar | open, high, low, close, volume, interval, ts_event (start) | |
//! | `status` | status | action, reason, trading_event, the three tri-states, ts_recv, ts_event | |
//! | `definition`, `statistics`, `imbalance`, `error`, `system` | none | counted in [`Tally::skipped`] by name | all |
//! | `symbol-mapping` | none | names its instrument from there on; counted in [`Tally::skipped`] | its times |
//! | any other rtype | none | counted in [`Tally::skipped`] as `rtype 0xNN` | all |
//!
//! Of every record the publisher is in the source's name, the instrument number is in the symbol only when no text is
//! known for it, and `ts_out` (the gateway's sending time, where a file has it) is dropped. Prices stay fixed-point
//! 1e-9, undefined ones `i64::MAX`; sizes have scale 0; DBN's flag byte is `source_flags`, whole. A side other than `A`
//! and `B` becomes [`Side::None`].
//!
//! `ohlcv-eod` has no fixed interval: a day is assumed, so that `ts_recv` is not before the session's end. A bar of the
//! old rtype 0x11 takes its interval from the metadata's schema; where that tells none it is skipped as
//! `ohlcv-deprecated`. A record of rtype `mbp-1` is a `tbbo` only where the metadata says so.
//!
//! # Times, numbers, messages
//!
//! - `ts_recv` is the record's where its schema has one, and its `ts_event` where that is undefined; for bars it is the
//!   end of the interval. `ts_event` stays as it is, undefined included. A record without either time cannot be placed
//!   and is counted in [`Tally::skipped`] as `<schema> without a time`.
//! - `seq` is the record's `sequence`; its source counts [`SeqRule::Increasing`]. Records that follow each other in the
//!   file with the same source, symbol and sequence get the parts 0, 1, 2, .... The last sequence is remembered for each
//!   source and symbol, no more: a number that comes back after another one begins at part 0 again. From the 65,537th
//!   record that shares a number on, events carry `UNSEQUENCED`, so that dedup cannot take them for copies. Schemas without
//!   a sequence (bars, status, consolidated ones) carry `UNSEQUENCED` and a running count of their source and symbol, from
//!   1, so that they still differ.
//! - A message is: for `mbo`, `mbp-1` and `mbp-10` the records in a row with one source, symbol, sequence and `ts_recv`, up
//!   to one that has DBN's `F_LAST`, and at most [`MESSAGE_SLOTS_MAX`] slots; for all others each record.
//! - A source is `dbn.<dataset>.<publisher id>.<schema>`, in small letters: `dbn.glbx.mdp3.1.mbo`. A symbol is
//!   `<DATASET>:<text>`: the text that a symbol-mapping record gave the instrument last, else the text of the mapping
//!   in the metadata that starts last at or before the record's time and has not ended, else `#<instrument id>`.
//!   Mappings whose instrument is no number are not used.
//!
//! # Damage
//!
//! All before the damage is delivered. DBN has no end mark: a file that ends between two records is a whole file.

use super::{Input, InputError, MESSAGE_SLOTS_MAX, Position, SlotBuf, Status, Tally};
use ::dbn::decode::dbn::fsm::{DbnFsm, ProcessResult};
use ::dbn::{
    BboMsg, BidAskPair, CbboMsg, Cmbp1Msg, ConsolidatedBidAskPair, FlagSet, HasRType, MboMsg, Mbp1Msg, Mbp10Msg,
    Metadata, OhlcvMsg, RType, RecordRef, SType, Schema, StatusMsg, SymbolMappingMsg, TradeMsg, UNDEF_TIMESTAMP,
    VersionUpgradePolicy, v1,
};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io::{self, BufRead, BufReader, Cursor, Read};
use tapeline_core::catalog::{Catalog, CatalogError, SeqRule};
use tapeline_core::event::payload::{
    Bar, BarRest, BookDepth, BookOrder, DepthLevel, Quote, QuoteWide, Status as StatusPayload, Trade,
};
use tapeline_core::event::{EventBuf, Flags, Slot};
use tapeline_core::units::{Side, SourceId, SymbolId, UnixNanos};

/// Longest metadata that is read: room for 400,000 symbols that are mapped once each.
pub const METADATA_BYTES_MAX: usize = 64 << 20;

/// Magic, version and length of the metadata.
const PRELUDE_BYTES: usize = 8;
/// Shortest metadata of versions 1 to 3.
const METADATA_BYTES_MIN: usize = 100;
/// Where the length of a symbol stands in the metadata of version 2 and later.
const SYMBOL_LEN_AT: usize = 45;
/// Length of a symbol in version 1, the shortest there was. A shorter one would let few bytes of metadata stand for
/// very many symbols.
const SYMBOL_LEN_MIN: u16 = 22;
/// Fixed part of DBZ's metadata.
const DBZ_FIXED_BYTES: usize = 96;
/// Header of a record.
const RECORD_HEADER_BYTES: usize = 16;
/// Unit of a record's length.
const RECORD_WORD_BYTES: usize = 4;
const RECORD_ALIGN_BYTES: usize = 8;
/// Bytes read at a time.
const BUFFER_BYTES: usize = 64 << 10;
const SECOND_NS: u64 = 1_000_000_000;
/// Records that can share a sequence number and still have a part of their own.
const PARTS_MAX: u32 = 1 << 16;

/// Whether a file that begins with these bytes is DBN or DBZ. 12 bytes are enough to tell.
#[must_use]
pub fn starts_with_dbn(bytes: &[u8]) -> bool {
    bytes.starts_with(b"DBN") || is_dbz(bytes)
}

fn is_dbz(bytes: &[u8]) -> bool {
    is_skippable_frame(bytes) && bytes.get(8..12) == Some(b"DBZ\x01")
}

/// Whether `bytes` begin with the magic number of a skippable zstd frame, 0x184D2A50 to 0x184D2A5F.
fn is_skippable_frame(bytes: &[u8]) -> bool {
    bytes.len() >= 4 && bytes[0] & 0xf0 == 0x50 && bytes[1..4] == [0x2a, 0x4d, 0x18]
}

/// A DBN or DBZ capture.
///
/// Memory: 1 MiB for the open message, 64 KiB of input, the mappings of the metadata, and less than 64 bytes for each
/// instrument (at most as many as the catalog holds symbols) and for each pair of source and symbol.
pub struct DbnInput {
    path: String,
    reader: Box<dyn Read + Send>,
    fsm: DbnFsm,
    mapper: Mapper,
    message: Message,
    /// Offset of the record at hand, or of the next one.
    offset: u64,
    /// The state machine holds a record that was not taken yet.
    has_record: bool,
    at_end: bool,
    fate: Fate,
}

/// Whether there is more to decode, and if not, what to say once all that was decoded is out.
enum Fate {
    Running,
    Ended,
    Failed(InputError),
}

impl DbnInput {
    /// Reads the metadata. `path` is the file as the user named it, for errors.
    ///
    /// # Errors
    /// [`InputError::Unrecognised`] when it is neither DBN of versions 1 to 3 nor DBZ; [`InputError::Damaged`] when the
    /// metadata is cut short, longer than [`METADATA_BYTES_MAX`] or cannot be decoded.
    pub fn new(mut reader: Box<dyn Read + Send>, path: &str) -> Result<Self, InputError> {
        let mut prelude = [0; PRELUDE_BYTES];
        let read =
            read_up_to(&mut reader, &mut prelude).map_err(|(read, error)| damaged(path, read, error.to_string()))?;
        if is_skippable_frame(&prelude[..read]) {
            reader = dbz_as_dbn(reader, &prelude[..read], path)?;
            let read = read_up_to(&mut reader, &mut prelude)
                .map_err(|(read, error)| damaged(path, read, error.to_string()))?;
            debug_assert_eq!(read, PRELUDE_BYTES, "the header was made here");
        } else if !prelude[..read].starts_with(b"DBN") {
            let why = if read == 0 { "the file is empty" } else { "it is neither DBN nor DBZ" };
            return Err(unrecognised(path, why.to_owned()));
        } else if read < PRELUDE_BYTES {
            return Err(damaged(path, read, format!("the DBN header is cut short: {read} of {PRELUDE_BYTES} bytes")));
        }
        let version = prelude[3];
        if !(1..=3).contains(&version) {
            return Err(unrecognised(path, format!("it is DBN version {version}; versions 1 to 3 can be read")));
        }
        let (metadata, length) = read_metadata(&mut reader, prelude, path)?;
        let fsm = DbnFsm::builder()
            .skip_metadata(true)
            .input_dbn_version(Some(version))
            .map(|builder| builder.upgrade_policy(VersionUpgradePolicy::AsIs).buffer_size(BUFFER_BYTES).compat_size(0))
            .and_then(|builder| builder.build())
            .map_err(|error| damaged(path, 0, one_line(&error.to_string())))?;
        Ok(Self {
            path: path.to_owned(),
            reader,
            fsm,
            mapper: Mapper::new(metadata),
            message: Message::new(),
            offset: (PRELUDE_BYTES + length) as u64,
            has_record: false,
            at_end: false,
            fate: Fate::Running,
        })
    }

    /// Moves to the next record, which is then [`DbnFsm::last_record`]. `false` at the end of the file.
    fn next_record(&mut self) -> Result<bool, InputError> {
        loop {
            let data = self.fsm.data();
            let have = data.len();
            if let Some(&words) = data.first() {
                let length = usize::from(words) * RECORD_WORD_BYTES;
                if length < RECORD_HEADER_BYTES {
                    return Err(self.damage(format!("a record of {length} bytes is shorter than its header")));
                }
                if !length.is_multiple_of(RECORD_ALIGN_BYTES) {
                    return Err(self.damage(format!("a record of {length} bytes: no record has such a length")));
                }
                if have >= length {
                    return match self.fsm.process() {
                        ProcessResult::Record(()) => Ok(true),
                        ProcessResult::Err(error) => Err(self.damage(one_line(&error.to_string()))),
                        _ => Err(self.damage("the decoder found no record in a whole one".to_owned())),
                    };
                }
                if self.at_end {
                    return Err(self.damage(format!("the last record is cut short: {have} of {length} bytes")));
                }
            } else if self.at_end {
                return Ok(false);
            }
            match self.reader.read(self.fsm.space()) {
                Ok(0) => self.at_end = true,
                Ok(read) => self.fsm.fill(read),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(damaged(&self.path, self.offset + have as u64, error.to_string())),
            }
        }
    }

    fn damage(&self, why: String) -> InputError {
        damaged(&self.path, self.offset, why)
    }

    /// Takes the record at hand into the open message, unless the message has to be sent first.
    fn take_record(&mut self, catalog: &mut Catalog) -> Result<(), InputError> {
        let Some(record) = self.fsm.last_record() else {
            self.has_record = false;
            return Ok(());
        };
        match self.mapper.apply(record, catalog, &mut self.message) {
            Ok(Applied::Taken) => {
                self.offset += record.header().record_size() as u64;
                self.has_record = false;
                Ok(())
            }
            Ok(Applied::SendFirst) => Ok(()),
            Err(Refused::TooShort { name, has, needs }) => {
                Err(self.damage(format!("a record of {name} has {has} bytes and needs {needs}")))
            }
            Err(Refused::Catalog(error)) => {
                Err(InputError::Catalog { path: self.path.clone(), at: Position::Offset(self.offset), error })
            }
        }
    }
}

impl Input for DbnInput {
    fn format(&self) -> &'static str {
        "dbn"
    }

    fn read(&mut self, catalog: &mut Catalog, out: &mut SlotBuf) -> Result<Status, InputError> {
        loop {
            if self.message.closed {
                if self.message.slots.len() > out.remaining() {
                    return Ok(Status::More);
                }
                out.extend(&self.message.slots);
                self.message.clear();
            }
            if !matches!(self.fate, Fate::Running) {
                if !self.message.slots.is_empty() {
                    self.message.close();
                    continue;
                }
                return match std::mem::replace(&mut self.fate, Fate::Ended) {
                    Fate::Failed(error) => Err(error),
                    Fate::Running | Fate::Ended => Ok(Status::End),
                };
            }
            let step = if self.has_record {
                self.take_record(catalog)
            } else {
                self.next_record().map(|more| {
                    self.has_record = more;
                    if !more {
                        self.fate = Fate::Ended;
                    }
                })
            };
            if let Err(error) = step {
                self.fate = Fate::Failed(error);
            }
        }
    }

    fn tally(&self) -> Tally {
        self.mapper.tally()
    }
}

impl std::fmt::Debug for DbnInput {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DbnInput")
            .field("path", &self.path)
            .field("dataset", &self.mapper.dataset)
            .field("schema", &self.mapper.schema)
            .field("offset", &self.offset)
            .finish_non_exhaustive()
    }
}

/// Events of the message that is being gathered.
struct Message {
    slots: Vec<Slot>,
    /// Index of the head of the last event.
    last_head: usize,
    /// What records of the same message have in common; none when the message is its one record.
    key: Option<MessageKey>,
    /// Nothing more belongs to it.
    closed: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct MessageKey {
    rtype: u8,
    publisher: u16,
    instrument: u32,
    sequence: u32,
    ts_recv: u64,
}

impl Message {
    fn new() -> Self {
        Self { slots: Vec::with_capacity(MESSAGE_SLOTS_MAX), last_head: 0, key: None, closed: false }
    }

    /// Whether a record with this key and this many slots can go in.
    fn takes(&self, key: Option<MessageKey>, slots: usize) -> bool {
        self.slots.is_empty()
            || (!self.closed && key.is_some() && self.key == key && self.slots.len() + slots <= MESSAGE_SLOTS_MAX)
    }

    fn push(&mut self, slots: &[Slot]) {
        self.last_head = self.slots.len();
        self.slots.extend_from_slice(slots);
    }

    fn close(&mut self) {
        let head = &mut self.slots[self.last_head];
        head.flags = head.flags.with(Flags::LAST);
        self.closed = true;
    }

    fn clear(&mut self) {
        self.slots.clear();
        self.key = None;
        self.closed = false;
    }
}

/// What became of a record.
enum Applied {
    /// In the message, or counted.
    Taken,
    /// It belongs to the next message. Nothing was counted or changed but the open message, which is closed.
    SendFirst,
}

/// Why a record could not be used.
enum Refused {
    TooShort { name: &'static str, has: usize, needs: usize },
    Catalog(CatalogError),
}

impl From<CatalogError> for Refused {
    fn from(error: CatalogError) -> Self {
        Self::Catalog(error)
    }
}

/// What all events of one record share.
struct Common {
    ts_recv: u64,
    ts_event: u64,
    sequence: Option<u32>,
    flags: FlagSet,
    /// Records with `F_LAST` end a message; without, each record is one.
    grouped: bool,
}

/// One or two events of a record, under construction.
struct Events {
    first: EventBuf,
    second: Option<EventBuf>,
}

/// Turns records into events: names, parts, counts.
struct Mapper {
    dataset: String,
    schema: Option<Schema>,
    mappings: Mappings,
    instruments: HashMap<u32, Instrument>,
    sources: HashMap<(u16, u8), SourceId>,
    last_seq: HashMap<(SourceId, SymbolId), LastSeq>,
    /// Records by rtype: all, those without a kind, those without a time.
    messages: Box<[u64; 256]>,
    skipped: Box<[u64; 256]>,
    timeless: Box<[u64; 256]>,
    text: String,
}

/// The symbol of an instrument for record times `from..=to`.
struct Instrument {
    symbol: SymbolId,
    from: u64,
    to: u64,
}

#[derive(Default)]
struct LastSeq {
    seq: u64,
    /// Part of the next record with that number; [`PARTS_MAX`] = none is left.
    next_part: u32,
}

impl Mapper {
    fn new(metadata: Metadata) -> Self {
        Self {
            mappings: Mappings::new(&metadata),
            dataset: metadata.dataset,
            schema: metadata.schema,
            instruments: HashMap::new(),
            sources: HashMap::new(),
            last_seq: HashMap::new(),
            messages: Box::new([0; 256]),
            skipped: Box::new([0; 256]),
            timeless: Box::new([0; 256]),
            text: String::new(),
        }
    }

    fn apply(
        &mut self,
        record: RecordRef<'_>,
        catalog: &mut Catalog,
        message: &mut Message,
    ) -> Result<Applied, Refused> {
        let header = record.header();
        let name = self.name(header.rtype);
        let Some((mut common, mut events)) = self.events(record, name)? else {
            if header.rtype == RType::SymbolMapping as u8 {
                self.learn(record, catalog)?;
            }
            self.messages[usize::from(header.rtype)] += 1;
            self.skipped[usize::from(header.rtype)] += 1;
            return Ok(Applied::Taken);
        };
        // The map's dates count from the time that DBN indexes the record by: the start of a bar, else `ts_recv`.
        let mut ts_index = common.ts_recv;
        if let Some(interval_ns) = self.bar_interval_ns(header.rtype) {
            ts_index = common.ts_event;
            common.ts_recv = match common.ts_event {
                UNDEF_TIMESTAMP => UNDEF_TIMESTAMP,
                start => start.saturating_add(interval_ns),
            };
        } else if common.ts_recv == UNDEF_TIMESTAMP {
            common.ts_recv = common.ts_event;
            ts_index = common.ts_event;
        }
        if common.ts_recv == UNDEF_TIMESTAMP {
            self.messages[usize::from(header.rtype)] += 1;
            self.timeless[usize::from(header.rtype)] += 1;
            return Ok(Applied::Taken);
        }

        let key = common.grouped.then_some(MessageKey {
            rtype: header.rtype,
            publisher: header.publisher_id,
            instrument: header.instrument_id,
            sequence: common.sequence.unwrap_or(0),
            ts_recv: common.ts_recv,
        });
        let slots = events.first.slots().len() + events.second.as_ref().map_or(0, |second| second.slots().len());
        if !message.takes(key, slots) {
            message.close();
            return Ok(Applied::SendFirst);
        }

        let symbol = self.symbol(header.instrument_id, ts_index, catalog)?;
        let source = self.source(header.publisher_id, header.rtype, name, common.sequence.is_some(), catalog)?;
        let parts = 1 + u32::from(events.second.is_some());
        let (seq, first_part, sequenced) = self.number(source, symbol, common.sequence, parts);
        let mut flags = Flags::NONE;
        if !sequenced {
            flags = flags.with(Flags::UNSEQUENCED);
        }
        if common.flags.is_snapshot() {
            flags = flags.with(Flags::SNAPSHOT);
        }
        let events = [Some(&mut events.first), events.second.as_mut()].into_iter().flatten();
        for (event, part) in events.zip(first_part..) {
            event.flag(flags);
            let head = event.head_mut();
            head.ts_recv = UnixNanos(common.ts_recv);
            head.ts_event = UnixNanos(common.ts_event);
            head.seq = seq;
            head.symbol = symbol;
            head.part = part.min(PARTS_MAX - 1) as u16;
            head.source = source;
            message.push(event.slots());
        }
        message.key = key;
        if key.is_none() || common.flags.is_last() {
            message.close();
        }
        self.messages[usize::from(header.rtype)] += 1;
        Ok(Applied::Taken)
    }

    /// The events of a record, without names, times and numbers. `None` for a record that has no kind here.
    fn events(&self, record: RecordRef<'_>, name: &'static str) -> Result<Option<(Common, Events)>, Refused> {
        let Ok(rtype) = RType::try_from(record.header().rtype) else { return Ok(None) };
        let ts_event = record.header().ts_event;
        let unflagged = FlagSet::empty();
        let one = |first| Events { first, second: None };
        let single = |ts_recv, sequence, flags| Common { ts_recv, ts_event, sequence, flags, grouped: false };
        let grouped = |ts_recv, sequence, flags| Common { ts_recv, ts_event, sequence, flags, grouped: true };
        Ok(Some(match rtype {
            RType::Mbo => {
                let mbo: &MboMsg = get(record, name)?;
                let event = EventBuf::new(&BookOrder {
                    order_id: mbo.order_id,
                    price: mbo.price,
                    size: mbo.size,
                    side: side(mbo.side as u8),
                    action: mbo.action as u8,
                    source_flags: mbo.flags.raw(),
                    channel_id: mbo.channel_id,
                });
                (grouped(mbo.ts_recv, Some(mbo.sequence), mbo.flags), one(event))
            }
            RType::Mbp0 => {
                let trade: &TradeMsg = get(record, name)?;
                let event = EventBuf::new(&Trade {
                    price: trade.price,
                    size: u64::from(trade.size),
                    side: side(trade.side as u8),
                    action: trade.action as u8,
                    source_flags: trade.flags.raw(),
                    depth: trade.depth,
                    ts_in_delta: trade.ts_in_delta,
                });
                (single(trade.ts_recv, Some(trade.sequence), trade.flags), one(event))
            }
            RType::Mbp1 => {
                let mbp: &Mbp1Msg = get(record, name)?;
                let update = QuoteWide {
                    price: mbp.price,
                    size: u64::from(mbp.size),
                    action: mbp.action as u8,
                    side: side(mbp.side as u8),
                    source_flags: mbp.flags.raw(),
                    depth: mbp.depth,
                    ts_in_delta: mbp.ts_in_delta,
                    ..QuoteWide::default()
                };
                let with_trade = self.schema == Some(Schema::Tbbo);
                (
                    Common { grouped: !with_trade, ..single(mbp.ts_recv, Some(mbp.sequence), mbp.flags) },
                    quote_events(level(&mbp.levels[0]), update, with_trade),
                )
            }
            RType::Mbp10 => {
                let mbp: &Mbp10Msg = get(record, name)?;
                let mut event = EventBuf::new(&BookDepth {
                    price: mbp.price,
                    size: mbp.size,
                    ts_in_delta: mbp.ts_in_delta,
                    levels: mbp.levels.len() as u16,
                    action: mbp.action as u8,
                    side: side(mbp.side as u8),
                    source_flags: mbp.flags.raw(),
                    depth: mbp.depth,
                    reserved: [0; 2],
                });
                let levels: [DepthLevel; 10] = std::array::from_fn(|index| level(&mbp.levels[index]));
                event.push_bytes(bytemuck::cast_slice(&levels)).expect("ten levels fit six continuations");
                (grouped(mbp.ts_recv, Some(mbp.sequence), mbp.flags), one(event))
            }
            RType::Bbo1S | RType::Bbo1M => {
                let bbo: &BboMsg = get(record, name)?;
                let update = QuoteWide {
                    price: bbo.price,
                    size: u64::from(bbo.size),
                    side: side(bbo.side as u8),
                    source_flags: bbo.flags.raw(),
                    interval_ns: if rtype == RType::Bbo1S { SECOND_NS } else { 60 * SECOND_NS },
                    ..QuoteWide::default()
                };
                (single(bbo.ts_recv, Some(bbo.sequence), bbo.flags), quote_events(level(&bbo.levels[0]), update, false))
            }
            RType::Cmbp1 | RType::Tcbbo => {
                let cmbp: &Cmbp1Msg = get(record, name)?;
                let update = QuoteWide {
                    price: cmbp.price,
                    size: u64::from(cmbp.size),
                    action: cmbp.action as u8,
                    side: side(cmbp.side as u8),
                    source_flags: cmbp.flags.raw(),
                    ts_in_delta: cmbp.ts_in_delta,
                    ..QuoteWide::default()
                };
                (
                    single(cmbp.ts_recv, None, cmbp.flags),
                    quote_events(consolidated_level(&cmbp.levels[0]), update, rtype == RType::Tcbbo),
                )
            }
            RType::Cbbo1S | RType::Cbbo1M => {
                let cbbo: &CbboMsg = get(record, name)?;
                let update = QuoteWide {
                    price: cbbo.price,
                    size: u64::from(cbbo.size),
                    side: side(cbbo.side as u8),
                    source_flags: cbbo.flags.raw(),
                    interval_ns: if rtype == RType::Cbbo1S { SECOND_NS } else { 60 * SECOND_NS },
                    ..QuoteWide::default()
                };
                (
                    single(cbbo.ts_recv, None, cbbo.flags),
                    quote_events(consolidated_level(&cbbo.levels[0]), update, false),
                )
            }
            RType::Status => {
                let status: &StatusMsg = get(record, name)?;
                let event = EventBuf::new(&StatusPayload {
                    action: status.action,
                    reason: status.reason,
                    trading_event: status.trading_event,
                    is_trading: status.is_trading as u8,
                    is_quoting: status.is_quoting as u8,
                    is_short_sell_restricted: status.is_short_sell_restricted as u8,
                    reserved: [0; 15],
                });
                (single(status.ts_recv, None, unflagged), one(event))
            }
            _ => {
                let Some(interval_ns) = self.bar_interval_ns(record.header().rtype) else { return Ok(None) };
                let bar: &OhlcvMsg = get(record, name)?;
                let mut event = EventBuf::new(&Bar { open: bar.open, high: bar.high, low: bar.low });
                let rest = BarRest { close: bar.close, volume: bar.volume, interval_ns, ..BarRest::default() };
                event.push_value(&rest).expect("a bar has two slots");
                (single(UNDEF_TIMESTAMP, None, unflagged), one(event))
            }
        }))
    }

    /// Interval of the bars of that rtype; `None` for other records and where nothing tells it.
    fn bar_interval_ns(&self, rtype: u8) -> Option<u64> {
        const MINUTE: u64 = 60 * SECOND_NS;
        #[expect(deprecated, reason = "files of version 1 and DBZ have it")]
        match RType::try_from(rtype).ok()? {
            RType::Ohlcv1S => Some(SECOND_NS),
            RType::Ohlcv1M => Some(MINUTE),
            RType::Ohlcv1H => Some(60 * MINUTE),
            RType::Ohlcv1D | RType::OhlcvEod => Some(24 * 60 * MINUTE),
            RType::OhlcvDeprecated => match self.schema? {
                Schema::Ohlcv1S => Some(SECOND_NS),
                Schema::Ohlcv1M => Some(MINUTE),
                Schema::Ohlcv1H => Some(60 * MINUTE),
                Schema::Ohlcv1D | Schema::OhlcvEod => Some(24 * 60 * MINUTE),
                _ => None,
            },
            _ => None,
        }
    }

    /// Name of the schema of records of that rtype; `rtype` for one that has no name.
    fn name(&self, rtype: u8) -> &'static str {
        let Ok(known) = RType::try_from(rtype) else { return "rtype" };
        #[expect(deprecated, reason = "files of version 1 and DBZ have it")]
        match (known, self.schema) {
            (RType::Mbp0, _) => "trades",
            (RType::Mbp1, Some(Schema::Tbbo)) => "tbbo",
            (RType::OhlcvDeprecated, Some(schema)) if self.bar_interval_ns(rtype).is_some() => schema.as_str(),
            (RType::InstrumentDef, _) => "definition",
            // Version 4 gave it a number of its own: in an earlier file it is no known record.
            (RType::Tbbo, _) => "rtype",
            (known, _) => known.as_str(),
        }
    }

    /// The symbol of an instrument at that time. O(1) while the time stays within one mapping.
    fn symbol(&mut self, id: u32, ts: u64, catalog: &mut Catalog) -> Result<SymbolId, CatalogError> {
        if let Some(known) = self.instruments.get(&id)
            && (known.from..=known.to).contains(&ts)
        {
            return Ok(known.symbol);
        }
        let (text, from, to) = self.mappings.find(id, ts);
        let symbol = intern(&self.dataset, id, text, &mut self.text, catalog)?;
        self.remember(id, Instrument { symbol, from, to }, catalog.symbols_max())?;
        Ok(symbol)
    }

    /// Takes over the name that a symbol-mapping record gives to its instrument.
    fn learn(&mut self, record: RecordRef<'_>, catalog: &mut Catalog) -> Result<(), Refused> {
        // Version 1 has a shorter record of the same rtype.
        let text = match record.try_get::<SymbolMappingMsg>() {
            Ok(mapping) => mapping.stype_out_symbol(),
            Err(_) => get::<v1::SymbolMappingMsg>(record, "symbol-mapping")?.stype_out_symbol(),
        };
        // An empty text, or one that is no UTF-8, names nothing.
        if let Ok(text) = text
            && !text.is_empty()
        {
            let id = record.header().instrument_id;
            let symbol = intern(&self.dataset, id, Some(text), &mut self.text, catalog)?;
            self.remember(id, Instrument { symbol, from: 0, to: u64::MAX }, catalog.symbols_max())?;
        }
        Ok(())
    }

    /// Bounded by the capacity of the symbol table: several instruments can have one symbol.
    fn remember(&mut self, id: u32, instrument: Instrument, instruments_max: usize) -> Result<(), CatalogError> {
        let len = self.instruments.len();
        match self.instruments.entry(id) {
            Entry::Occupied(mut entry) => {
                entry.insert(instrument);
            }
            Entry::Vacant(_) if len >= instruments_max => return Err(CatalogError::SymbolsFull(instruments_max)),
            Entry::Vacant(entry) => {
                entry.insert(instrument);
            }
        }
        Ok(())
    }

    fn source(
        &mut self,
        publisher: u16,
        rtype: u8,
        name: &str,
        sequenced: bool,
        catalog: &mut Catalog,
    ) -> Result<SourceId, CatalogError> {
        if let Some(source) = self.sources.get(&(publisher, rtype)) {
            return Ok(*source);
        }
        let text = format!("dbn.{}.{publisher}.{name}", self.dataset.to_ascii_lowercase());
        let rule = if sequenced { SeqRule::Increasing } else { SeqRule::None };
        let source = catalog.source(text.as_bytes(), rule)?;
        self.sources.insert((publisher, rtype), source);
        Ok(source)
    }

    /// `seq`, first part, and whether these make an identity.
    fn number(&mut self, source: SourceId, symbol: SymbolId, sequence: Option<u32>, parts: u32) -> (u64, u32, bool) {
        let last = self.last_seq.entry((source, symbol)).or_default();
        let Some(sequence) = sequence else {
            last.seq += 1;
            return (last.seq, 0, false);
        };
        let sequence = u64::from(sequence);
        if last.seq != sequence {
            *last = LastSeq { seq: sequence, next_part: 0 };
        }
        let first = last.next_part;
        last.next_part = (first + parts).min(PARTS_MAX);
        (sequence, first, first + parts <= PARTS_MAX)
    }

    fn tally(&self) -> Tally {
        let mut tally = Tally::default();
        for rtype in 0..=255u8 {
            let index = usize::from(rtype);
            let name = match self.name(rtype) {
                "rtype" => format!("rtype {rtype:#04x}"),
                name => name.to_owned(),
            };
            if self.timeless[index] > 0 {
                *tally.skipped.entry(format!("{name} without a time")).or_default() += self.timeless[index];
            }
            if self.skipped[index] > 0 {
                *tally.skipped.entry(name.clone()).or_default() += self.skipped[index];
            }
            if self.messages[index] > 0 {
                *tally.messages.entry(name).or_default() += self.messages[index];
            }
        }
        tally
    }
}

/// The mappings of the metadata, by instrument and start.
struct Mappings {
    /// Sorted by (instrument, start), later ones of the file last.
    intervals: Vec<Interval>,
    texts: Vec<String>,
}

struct Interval {
    instrument: u32,
    text: u32,
    from: u64,
    /// First instant after it.
    end: u64,
}

impl Mappings {
    fn new(metadata: &Metadata) -> Self {
        let inverse = match (metadata.stype_in, metadata.stype_out) {
            (_, SType::InstrumentId) => false,
            (Some(SType::InstrumentId), _) => true,
            _ => return Self { intervals: Vec::new(), texts: Vec::new() },
        };
        let (mut intervals, mut texts) = (Vec::new(), Vec::new());
        for mapping in &metadata.mappings {
            if !inverse {
                texts.push(mapping.raw_symbol.clone());
            }
            for interval in &mapping.intervals {
                let number = if inverse { &mapping.raw_symbol } else { &interval.symbol };
                let Ok(instrument) = number.parse() else { continue };
                if inverse {
                    texts.push(interval.symbol.clone());
                }
                intervals.push(Interval {
                    instrument,
                    text: (texts.len() - 1) as u32,
                    from: midnight_ns(interval.start_date.to_julian_day()),
                    end: midnight_ns(interval.end_date.to_julian_day()),
                });
            }
        }
        intervals.sort_by_key(|interval| (interval.instrument, interval.from));
        Self { intervals, texts }
    }

    /// Text of an instrument at that time, and the first and last time for which the answer is the same. O(log n).
    fn find(&self, instrument: u32, ts: u64) -> (Option<&str>, u64, u64) {
        let next = self.intervals.partition_point(|interval| (interval.instrument, interval.from) <= (instrument, ts));
        let before_next = match self.intervals.get(next) {
            Some(interval) if interval.instrument == instrument => interval.from - 1,
            _ => u64::MAX,
        };
        match next.checked_sub(1).map(|at| &self.intervals[at]) {
            Some(at) if at.instrument == instrument && ts < at.end => {
                let text = self.texts[at.text as usize].as_str();
                ((!text.is_empty()).then_some(text), at.from, before_next.min(at.end - 1))
            }
            Some(at) if at.instrument == instrument => (None, at.end, before_next),
            _ => (None, 0, before_next),
        }
    }
}

/// Nanoseconds since the UNIX epoch at which a day begins, within what u64 holds.
fn midnight_ns(julian_day: i32) -> u64 {
    /// 1970-01-01.
    const EPOCH_JULIAN_DAY: i64 = 2_440_588;
    let days = i64::from(julian_day) - EPOCH_JULIAN_DAY;
    u64::try_from(days).map_or(0, |days| days.saturating_mul(24 * 3600 * SECOND_NS))
}

/// Interns `<dataset>:<text>`, or `<dataset>:#<id>` where there is no text.
fn intern(
    dataset: &str,
    id: u32,
    text: Option<&str>,
    buffer: &mut String,
    catalog: &mut Catalog,
) -> Result<SymbolId, CatalogError> {
    buffer.clear();
    buffer.push_str(dataset);
    buffer.push(':');
    match text {
        Some(text) => buffer.push_str(text),
        None => {
            buffer.push('#');
            buffer.push_str(&id.to_string());
        }
    }
    catalog.symbol(buffer.as_bytes())
}

/// The record as `T`, whose rtype it has.
fn get<'a, T: HasRType<Header = ::dbn::RecordHeader>>(
    record: RecordRef<'a>,
    name: &'static str,
) -> Result<&'a T, Refused> {
    record.try_get().map_err(|_| Refused::TooShort { name, has: record.header().record_size(), needs: size_of::<T>() })
}

/// A wide quote, and before it the trade that `update` tells of.
fn quote_events(top: DepthLevel, update: QuoteWide, with_trade: bool) -> Events {
    let mut quote = EventBuf::new(&Quote { bid_px: top.bid_px, ask_px: top.ask_px, bid_sz: 0, ask_sz: 0 });
    quote.flag(Flags::WIDE);
    let wide = QuoteWide {
        bid_sz: u64::from(top.bid_sz),
        ask_sz: u64::from(top.ask_sz),
        bid_ct: top.bid_ct,
        ask_ct: top.ask_ct,
        ..update
    };
    quote.push_value(&wide).expect("a wide quote has two slots");
    if !with_trade {
        return Events { first: quote, second: None };
    }
    let trade = EventBuf::new(&Trade {
        price: update.price,
        size: update.size,
        side: update.side,
        action: update.action,
        source_flags: update.source_flags,
        depth: update.depth,
        ts_in_delta: update.ts_in_delta,
    });
    Events { first: trade, second: Some(quote) }
}

fn level(pair: &BidAskPair) -> DepthLevel {
    DepthLevel {
        bid_px: pair.bid_px,
        ask_px: pair.ask_px,
        bid_sz: pair.bid_sz,
        ask_sz: pair.ask_sz,
        bid_ct: pair.bid_ct,
        ask_ct: pair.ask_ct,
    }
}

/// The counts are the publishers of bid and ask.
fn consolidated_level(pair: &ConsolidatedBidAskPair) -> DepthLevel {
    DepthLevel {
        bid_px: pair.bid_px,
        ask_px: pair.ask_px,
        bid_sz: pair.bid_sz,
        ask_sz: pair.ask_sz,
        bid_ct: u32::from(pair.bid_pb),
        ask_ct: u32::from(pair.ask_pb),
    }
}

fn side(byte: u8) -> u8 {
    let side = match byte {
        b'A' => Side::Ask,
        b'B' => Side::Bid,
        _ => Side::None,
    };
    side as u8
}

/// Reads and decodes the metadata after `prelude`; returns it with its length in bytes.
fn read_metadata(
    reader: &mut dyn Read,
    prelude: [u8; PRELUDE_BYTES],
    path: &str,
) -> Result<(Metadata, usize), InputError> {
    let version = prelude[3];
    let length = u32::from_le_bytes([prelude[4], prelude[5], prelude[6], prelude[7]]) as usize;
    if length < METADATA_BYTES_MIN {
        let why = format!("metadata of {length} bytes: it has at least {METADATA_BYTES_MIN}");
        return Err(damaged(path, 4u64, why));
    }
    let bytes = read_exactly(reader, length, PRELUDE_BYTES, path)?;
    if version > 1 {
        let symbol_len = u16::from_le_bytes([bytes[SYMBOL_LEN_AT], bytes[SYMBOL_LEN_AT + 1]]);
        if symbol_len < SYMBOL_LEN_MIN {
            let why = format!("metadata with symbols of {symbol_len} bytes: they have at least {SYMBOL_LEN_MIN}");
            return Err(damaged(path, PRELUDE_BYTES + SYMBOL_LEN_AT, why));
        }
    }
    // A state machine of its own: its buffer grows to the length of the metadata, and goes with it.
    let failed =
        |error: ::dbn::Error| damaged(path, PRELUDE_BYTES, format!("metadata: {}", one_line(&error.to_string())));
    let mut fsm = DbnFsm::builder().upgrade_policy(VersionUpgradePolicy::AsIs).build().map_err(failed)?;
    fsm.write_all(&prelude);
    fsm.write_all(&bytes);
    match fsm.process() {
        ProcessResult::Metadata(metadata) => Ok((metadata, length)),
        ProcessResult::Err(error) => Err(failed(error)),
        _ => Err(damaged(path, PRELUDE_BYTES, "the metadata is not whole".to_owned())),
    }
}

/// Turns a DBZ file, of which `start` is read already, into the DBN version 1 that it stands for.
fn dbz_as_dbn(mut reader: Box<dyn Read + Send>, start: &[u8], path: &str) -> Result<Box<dyn Read + Send>, InputError> {
    let neither = || unrecognised(path, "it begins with a skippable zstd frame that is no DBZ metadata".to_owned());
    let &[_, _, _, _, l0, l1, l2, l3] = start else { return Err(neither()) };
    let length = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
    let mut magic = [0; 4];
    let read = read_up_to(&mut reader, &mut magic)
        .map_err(|(read, error)| damaged(path, start.len() + read, error.to_string()))?;
    if &magic[..read] != b"DBZ\x01" {
        return Err(neither());
    }
    if length < DBZ_FIXED_BYTES {
        return Err(damaged(path, 4u64, format!("DBZ metadata of {length} bytes: it has at least {DBZ_FIXED_BYTES}")));
    }
    let rest = read_exactly(&mut reader, length - magic.len(), start.len() + magic.len(), path)?;
    // After the magic: dataset 16, schema 2, start, end, limit and record count 8 each, compression 1, stype_in 1,
    // stype_out 1, reserved 39. DBN version 1 has the same without the compression.
    const COMPRESSION_AT: usize = 50;
    let (fixed, compressed) = rest.split_at(DBZ_FIXED_BYTES - magic.len());
    let mut lists = Vec::new();
    zstd::Decoder::new(compressed)
        .and_then(|decoder| decoder.take(METADATA_BYTES_MAX as u64).read_to_end(&mut lists))
        .map_err(|error| damaged(path, start.len() + DBZ_FIXED_BYTES, format!("DBZ metadata: {error}")))?;
    if lists.len() + METADATA_BYTES_MIN > METADATA_BYTES_MAX {
        let why = format!("DBZ metadata is longer than {METADATA_BYTES_MAX} bytes when unpacked");
        return Err(damaged(path, start.len() + DBZ_FIXED_BYTES, why));
    }
    let mut header = b"DBN\x01".to_vec();
    header.extend_from_slice(&((METADATA_BYTES_MIN + lists.len()) as u32).to_le_bytes());
    header.extend_from_slice(&fixed[..COMPRESSION_AT]);
    header.extend_from_slice(&fixed[COMPRESSION_AT + 1..COMPRESSION_AT + 3]);
    // DBZ has no ts_out, and version 1 has 47 reserved bytes.
    header.resize(PRELUDE_BYTES + METADATA_BYTES_MIN, 0);
    header.extend_from_slice(&lists);
    let mut body = BufReader::new(reader);
    let failed = |error: io::Error| damaged(path, start.len() + length, error.to_string());
    // A file without records ends here, without a frame.
    if body.fill_buf().map_err(failed)?.is_empty() {
        return Ok(Box::new(Cursor::new(header)));
    }
    let records = zstd::Decoder::with_buffer(body).map_err(failed)?;
    Ok(Box::new(Cursor::new(header).chain(records)))
}

/// Reads `length` bytes that begin at offset `at`, in memory that grows with what the file has.
fn read_exactly(reader: &mut dyn Read, length: usize, at: usize, path: &str) -> Result<Vec<u8>, InputError> {
    if length > METADATA_BYTES_MAX {
        return Err(damaged(path, 4u64, format!("metadata of {length} bytes is longer than {METADATA_BYTES_MAX}")));
    }
    let mut bytes = Vec::new();
    let read = reader.take(length as u64).read_to_end(&mut bytes);
    if let Err(error) = read {
        return Err(damaged(path, at + bytes.len(), format!("metadata: {error}")));
    }
    if bytes.len() < length {
        let why = format!("the metadata is cut short: {} of {length} bytes", bytes.len());
        return Err(damaged(path, at + bytes.len(), why));
    }
    Ok(bytes)
}

/// Fills `into` as far as the input goes; an error comes with the bytes read before it.
fn read_up_to(reader: &mut dyn Read, into: &mut [u8]) -> Result<usize, (usize, io::Error)> {
    let mut read = 0;
    while read < into.len() {
        match reader.read(&mut into[read..]) {
            Ok(0) => break,
            Ok(more) => read += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err((read, error)),
        }
    }
    Ok(read)
}

fn damaged(path: &str, at: impl TryInto<u64>, why: String) -> InputError {
    InputError::Damaged { path: path.to_owned(), at: Position::Offset(at.try_into().unwrap_or(u64::MAX)), why }
}

fn unrecognised(path: &str, why: String) -> InputError {
    InputError::Unrecognised { path: path.to_owned(), why }
}

/// The text of an error with control characters shown: a text of the file may stand in it.
fn one_line(text: &str) -> String {
    text.chars().flat_map(|c| if c.is_control() { c.escape_default().collect::<Vec<_>>() } else { vec![c] }).collect()
}
