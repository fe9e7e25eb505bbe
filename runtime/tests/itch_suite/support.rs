//! Reading ITCH whole, and events in a form that is compared and printed.

use std::io::Cursor;
use tapeline_core::catalog::Catalog;
use tapeline_core::event::payload::{BookOrder, Status, Trade};
use tapeline_core::event::{Flags, Slot};
use tapeline_core::testing::itch::frame;
use tapeline_runtime::input::bytes::ByteSource;
use tapeline_runtime::input::detect::{OpenOptions, open_source};
use tapeline_runtime::input::itch::ItchConfig;
use tapeline_runtime::input::{Input, InputError, SlotBuf, Status as InputStatus, Tally};

/// 2020-01-30 00:00 in New York, ns since the UNIX epoch.
pub(crate) const MIDNIGHT: u64 = 1_580_360_400_000_000_000;
/// A name that says so.
pub(crate) const NAME: &str = "01302020.NASDAQ_ITCH50";

/// What an event says, but for its ids.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Event {
    pub(crate) symbol: String,
    pub(crate) seq: u64,
    pub(crate) part: u16,
    pub(crate) ts_event: u64,
    pub(crate) ts_recv: u64,
    pub(crate) is_last: bool,
    pub(crate) what: What,
}

#[derive(Clone, PartialEq, Debug)]
pub(crate) enum What {
    Order(BookOrder),
    Trade(Trade),
    Status(Status),
}

pub(crate) fn event_of(slot: &Slot, catalog: &Catalog) -> Event {
    assert_eq!((slot.span(), slot.scale), (1, 0));
    assert_eq!(catalog.source_name(slot.source), b"nasdaq.itch");
    assert!(slot.flags == Flags::LAST || slot.flags == Flags::NONE);
    Event {
        symbol: String::from_utf8(catalog.symbol_text(slot.symbol).to_vec()).unwrap(),
        seq: slot.seq,
        part: slot.part,
        ts_event: slot.ts_event.0,
        ts_recv: slot.ts_recv.0,
        is_last: slot.flags.contains(Flags::LAST),
        what: match slot.kind().name() {
            "book_order" => What::Order(*slot.payload_as()),
            "trade" => What::Trade(*slot.payload_as()),
            "status" => What::Status(*slot.payload_as()),
            other => panic!("an event of {other}"),
        },
    }
}

/// All that came of a file.
pub(crate) struct Decoded {
    pub(crate) events: Vec<Event>,
    pub(crate) slots: Vec<Slot>,
    pub(crate) tally: Tally,
    pub(crate) error: Option<InputError>,
}

pub(crate) fn open(bytes: &[u8], name: &str, itch: ItchConfig) -> Result<Box<dyn Input>, InputError> {
    let source = ByteSource::new(Box::new(Cursor::new(bytes.to_vec())), name, None)?;
    open_source(source, &OpenOptions { itch, ..OpenOptions::default() })
}

/// Reads a file whole, in buffers of `room` slots.
pub(crate) fn decode(bytes: &[u8], room: usize) -> Result<Decoded, InputError> {
    let mut input = open(bytes, NAME, ItchConfig { orders_max: 1 << 14, ..ItchConfig::default() })?;
    assert_eq!(input.format(), "itch");
    let mut catalog = Catalog::new(1 << 12);
    let mut out = SlotBuf::with_capacity(room);
    let (mut events, mut slots, mut error) = (Vec::new(), Vec::new(), None);
    loop {
        out.clear();
        let status = input.read(&mut catalog, &mut out);
        events.extend(out.slots().iter().map(|slot| event_of(slot, &catalog)));
        slots.extend_from_slice(out.slots());
        match status {
            Ok(InputStatus::More) => assert!(!out.slots().is_empty(), "a call that is not the last appends"),
            Ok(InputStatus::End) => break,
            Err(found) => {
                assert!(error.is_none(), "an error comes once");
                error = Some(found);
            }
        }
    }
    Ok(Decoded { events, slots, tally: input.tally(), error })
}

/// Messages as a file, without the mark of the end.
pub(crate) fn file<'a>(messages: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut bytes = Vec::new();
    messages.into_iter().for_each(|message| frame(&mut bytes, message));
    bytes
}
