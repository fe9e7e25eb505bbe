//! `duel itch`: ITCH 5.0 messages out of a BinaryFILE (for P12: what decoding leaves of an event's time).
//!
//! A stream of orders in about the shares of a real day (adds, deletes, replaces, executions, cancels, hidden trades; up to 100,000 live
//! orders of 1,000 symbols) is read again and again, a batch of records at a time. At its end all orders are deleted, so that each
//! pass begins with none. Before anything is measured, all contenders have read the whole stream, and their sums over order numbers and
//! shares are equal.

use crate::duel::{self, Entry, Options, Role};
#[cfg(feature = "peers")]
use crate::report::Rival;
use crate::report::{Claim, Table};
use crate::single;
use crate::stats::Rng;
use std::hint::black_box;
use tapeline_core::wire::itch::Message;

/// Metrics of a slice.
pub const METRICS: [&str; 1] = ["message_ns"];
/// Records of a measured batch.
pub const BATCH: usize = 4_096;
/// Records of the stream before all is deleted.
const RECORDS: usize = 600_000;
const LIVE_MAX: usize = 100_000;
const SYMBOLS: u16 = 1_000;

/// What a reader made of records.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Sum {
    /// Messages.
    pub messages: u64,
    /// Over order numbers and shares, in order.
    pub hash: u64,
}

impl Sum {
    #[inline]
    fn take(&mut self, reference: u64, shares: u32) {
        self.hash = self.hash.wrapping_mul(31).wrapping_add(reference ^ u64::from(shares) << 40);
    }
}

/// Who reads records: 2 bytes of length, then a message, whole.
pub trait Reader {
    /// Ready to read.
    fn new() -> Self;

    /// Reads whole records. What cannot tell leaves the hash as it is.
    fn read(&mut self, records: &[u8], sum: &mut Sum);
}

/// A record of that type, its fields after the header in order.
fn record(into: &mut Vec<u8>, letter: u8, locate: u16, timestamp: u64, fields: &[&[u8]]) {
    let length = 11 + fields.iter().map(|field| field.len()).sum::<usize>();
    into.extend((length as u16).to_be_bytes());
    into.push(letter);
    into.extend(locate.to_be_bytes());
    into.extend([0, 0]);
    into.extend(&timestamp.to_be_bytes()[2..]);
    fields.iter().for_each(|field| into.extend(*field));
}

/// The stream, in batches of [`BATCH`] records and a rest.
#[must_use]
pub fn stream(seed: u64) -> Vec<Box<[u8]>> {
    let mut rng = Rng::new(seed);
    let (mut live, mut next, mut at) = (Vec::<(u64, u16)>::new(), 0u64, 14_400_000_000_000u64);
    let (mut batches, mut batch, mut count) = (Vec::new(), Vec::new(), 0);
    for index in 0.. {
        let is_closing = index >= RECORDS;
        if is_closing && live.is_empty() {
            break;
        }
        at += rng.index(100_000) as u64;
        let roll = if is_closing { 500 } else { rng.index(1_000) };
        let (shares, price) =
            ((1 + rng.index(20) as u32).to_be_bytes(), (10_000 + rng.index(10_000) as u32).to_be_bytes());
        if live.is_empty() || roll < 430 && live.len() < LIVE_MAX {
            let locate = 1 + rng.index(usize::from(SYMBOLS)) as u16;
            next += 1 + rng.index(4) as u64;
            live.push((next, locate));
            let stock = format!("S{locate:<7}");
            let side = [b"B", b"S"][rng.index(2)];
            let fields: [&[u8]; 5] = [&next.to_be_bytes(), side, &[0, 0, 8, 0], stock.as_bytes(), &price];
            record(&mut batch, b'A', locate, at, &fields);
        } else {
            // Most orders go soon after they came.
            let bits = rng.index(17);
            let back = rng.index(1 << bits).min(live.len() - 1);
            let which = live.len() - 1 - back;
            let (reference, locate) = live[which];
            let id = reference.to_be_bytes();
            match roll {
                0..860 => {
                    live.swap_remove(which);
                    record(&mut batch, b'D', locate, at, &[&id]);
                }
                860..930 => {
                    next += 1 + rng.index(4) as u64;
                    live[which].0 = next;
                    record(&mut batch, b'U', locate, at, &[&id, &next.to_be_bytes(), &[0, 0, 8, 0], &price]);
                }
                930..970 => record(&mut batch, b'E', locate, at, &[&id, &shares, &at.to_be_bytes()]),
                970..990 => record(&mut batch, b'X', locate, at, &[&id, &shares]),
                _ => {
                    let stock = format!("S{locate:<7}");
                    let fields: [&[u8]; 6] = [&[0; 8], b"B", &shares, stock.as_bytes(), &price, &at.to_be_bytes()];
                    record(&mut batch, b'P', locate, at, &fields);
                }
            }
        }
        count += 1;
        if count == BATCH {
            batches.push(std::mem::take(&mut batch).into_boxed_slice());
            count = 0;
        }
    }
    batches.push(batch.into_boxed_slice());
    batches
}

/// `tapeline_core::wire::itch`: every message, and the fields that a peer decodes into its own.
pub struct Decode;

impl Reader for Decode {
    fn new() -> Self {
        Self
    }

    fn read(&mut self, records: &[u8], sum: &mut Sum) {
        let mut rest = records;
        while let Some((length, after)) = rest.split_first_chunk() {
            let (message, after) = after.split_at(usize::from(u16::from_be_bytes(*length)));
            rest = after;
            sum.messages += 1;
            match Message::parse(message).expect("the stream is whole") {
                Message::AddOrder(add) => {
                    black_box((add.stock(), add.price(), add.buy_sell_indicator(), add.timestamp()));
                    sum.take(add.order_reference_number(), add.shares());
                }
                Message::OrderDelete(delete) => sum.take(delete.order_reference_number(), 0),
                Message::OrderExecuted(done) => sum.take(done.order_reference_number(), done.executed_shares()),
                Message::OrderCancel(cancel) => sum.take(cancel.order_reference_number(), cancel.cancelled_shares()),
                Message::OrderReplace(replace) => sum.take(replace.new_order_reference_number(), replace.shares()),
                other => {
                    black_box(other.timestamp());
                }
            }
        }
    }
}

#[cfg(feature = "runtime")]
mod mapped {
    use super::{Reader, Sum};
    use std::hint::black_box;
    use tapeline_core::catalog::Catalog;
    use tapeline_runtime::input::SlotBuf;
    use tapeline_runtime::input::itch::{ITCH_MESSAGE_SLOTS, ItchMapper};

    /// The runtime's mapper: orders by number, symbols, events of 64 bytes.
    pub struct Map {
        mapper: ItchMapper,
        catalog: Catalog,
        out: SlotBuf,
        seq: u64,
    }

    impl Reader for Map {
        fn new() -> Self {
            let (catalog, out) = (Catalog::new(1 << 12), SlotBuf::with_capacity(1 << 12));
            Self { mapper: ItchMapper::new(3 << 20, Some(0)), catalog, out, seq: 0 }
        }

        fn read(&mut self, records: &[u8], sum: &mut Sum) {
            let mut rest = records;
            while let Some((length, after)) = rest.split_first_chunk() {
                let (message, after) = after.split_at(usize::from(u16::from_be_bytes(*length)));
                rest = after;
                self.seq += 1;
                let Self { mapper, catalog, out, seq } = self;
                mapper.message(message, *seq, None, catalog, out).expect("the stream is whole");
                if self.out.remaining() < ITCH_MESSAGE_SLOTS {
                    black_box(self.out.slots());
                    self.out.clear();
                }
                sum.messages += 1;
            }
        }
    }
}
#[cfg(feature = "runtime")]
pub use mapped::Map;

#[cfg(feature = "peers")]
mod peers {
    use super::{Reader, Sum};
    use std::hint::black_box;

    /// `itchy`: its stream over the bytes of a batch.
    pub struct Itchy;

    impl Reader for Itchy {
        fn new() -> Self {
            Self
        }

        fn read(&mut self, records: &[u8], sum: &mut Sum) {
            use itchy::Body;
            for message in itchy::MessageStream::from_reader(records) {
                sum.messages += 1;
                match message.expect("the stream is whole").body {
                    Body::AddOrder(add) => sum.take(add.reference, add.shares),
                    Body::DeleteOrder { reference } => sum.take(reference, 0),
                    Body::OrderExecuted { reference, executed, .. } => sum.take(reference, executed),
                    Body::OrderCancelled { reference, cancelled } => sum.take(reference, cancelled),
                    Body::ReplaceOrder(replace) => sum.take(replace.new_reference, replace.shares),
                    other => {
                        black_box(other);
                    }
                }
            }
        }
    }
}
#[cfg(feature = "peers")]
pub use peers::Itchy;

/// The sum of a reader over the whole stream, which it reads twice.
fn sum<R: Reader>(stream: &[Box<[u8]>]) -> Sum {
    let (mut reader, mut sum) = (R::new(), Sum::default());
    stream.iter().chain(stream).for_each(|batch| reader.read(batch, &mut sum));
    sum
}

fn entry<'a, R: Reader + 'a>(
    name: &'static str,
    role: Role,
    stream: &'a [Box<[u8]>],
    options: &'a Options,
) -> Entry<'a> {
    let build = || (R::new(), 0);
    single::entry(name, role, options, METRICS.len(), build, move |(reader, at), meter| {
        let (batch, mut sum) = (&stream[*at], Sum::default());
        *at = (*at + 1) % stream.len();
        meter.time(0, || reader.read(black_box(batch), &mut sum));
        meter.count(0, sum.messages as usize);
        black_box(sum);
    })
}

/// Runs the duel and gives its table to `done`.
///
/// # Panics
/// When contenders do not read the same.
pub fn duel(options: &Options, done: &mut dyn FnMut(Table)) {
    let stream = stream(options.seed);
    let expected = sum::<Decode>(&stream);
    #[allow(unused_mut)]
    let mut entries = vec![entry::<Decode>("tapeline decode", Role::Ours, &stream, options)];
    #[allow(unused_mut)]
    let mut claims: Vec<Claim> = Vec::new();
    #[cfg(feature = "runtime")]
    {
        assert_eq!(sum::<Map>(&stream).messages, expected.messages, "every message is mapped");
        entries.push(entry::<Map>("tapeline decode and map", Role::Variant, &stream, options));
    }
    #[cfg(feature = "peers")]
    {
        assert_eq!(sum::<Itchy>(&stream), expected, "itchy reads the same");
        entries.push(entry::<Itchy>("itchy", Role::Peer, &stream, options));
        claims.push(Claim::at_most("decoding against itchy", 0, Rival::Named("itchy"), 1.0, 0.5));
    }
    assert!(expected.messages > 2 * RECORDS as u64, "all orders are deleted at the end");
    let records = duel::run(&entries, options);
    done(Table::new(
        "itch, messages of a BinaryFILE",
        "ns a message, one thread. itchy makes a value of every message with all its fields; ours reads fields in place, those of the same \
         sum, and of orders all. `decode and map` is what an import does: live orders by number, symbols, events of 64 bytes",
        &METRICS,
        &entries,
        records,
        &claims,
        options,
    ));
}
