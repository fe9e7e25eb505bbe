//! How fast ITCH is read: ours and `itchy` over the same bytes in one run, on one thread.
//!
//! ```text
//! cargo run --release -p tapeline-runtime --example itch_speed                        a session of 10 million messages, 5 rounds
//! cargo run --release -p tapeline-runtime --example itch_speed -- 2000000 3           of 2 million, 3 rounds
//! cargo run --release -p tapeline-runtime --example itch_speed -- 20000000 0 day.itch only writes the session into a file
//! ```
//!
//! A generated session (8,000 symbols, up to 200,000 live orders) stands in memory as a BinaryFILE. Every round runs each of three
//! once, in an order that turns:
//! - `itchy`: its `MessageStream`, every message looked at;
//! - `decode`: our `Message::parse` on each record, and the fields that `itchy` makes of it;
//! - `decode + map`: our input as `tapeline import` uses it: records, messages, orders, symbols, events of 64 bytes.
//!
//! What is printed is the median of the rounds, and the least and the most: by the clock, and by the time that the thread was on a core (from
//! the kernel, which counts in steps of some ms), as a shared machine takes the core away. `itchy` panics on types `h` and `O`, which are left
//! out of its bytes and of ours.

use itchy::{Body, MessageStream};
use std::io::Cursor;
use std::time::Instant;
use tapeline_core::catalog::Catalog;
use tapeline_core::testing::itch::{Session, frame};
use tapeline_core::wire::itch::Message;
use tapeline_runtime::input::binaryfile::BinaryFileInput;
use tapeline_runtime::input::bytes::ByteSource;
use tapeline_runtime::input::itch::ItchConfig;
use tapeline_runtime::input::{Input, MESSAGE_SLOTS_MAX, SlotBuf, Status};

const SYMBOLS: u16 = 8_000;

/// What a reader made of the bytes: messages, and a sum over order numbers and shares, so that nothing can be left out.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Read {
    messages: u64,
    sum: u64,
}

impl Read {
    fn take(&mut self, reference: u64, shares: u32) {
        self.sum = self.sum.wrapping_mul(31).wrapping_add(reference ^ u64::from(shares) << 40);
    }
}

fn itchy(bytes: &[u8]) -> Read {
    let mut read = Read::default();
    for message in MessageStream::from_reader(bytes) {
        read.messages += 1;
        match message.expect("the session is whole").body {
            Body::AddOrder(add) => read.take(add.reference, add.shares),
            Body::DeleteOrder { reference } => read.take(reference, 0),
            Body::OrderExecuted { reference, executed, .. } => read.take(reference, executed),
            Body::OrderExecutedWithPrice { reference, executed, .. } => read.take(reference, executed),
            Body::OrderCancelled { reference, cancelled } => read.take(reference, cancelled),
            Body::ReplaceOrder(replace) => read.take(replace.new_reference, replace.shares),
            _ => {}
        }
    }
    read
}

fn decode(bytes: &[u8]) -> Read {
    let (mut read, mut rest) = (Read::default(), bytes);
    while let Some((length, after)) = rest.split_first_chunk() {
        let (message, after) = after.split_at(usize::from(u16::from_be_bytes(*length)));
        rest = after;
        read.messages += 1;
        match Message::parse(message).expect("the session is whole") {
            Message::AddOrder(add) => read.take(add.order_reference_number(), add.shares()),
            Message::AddOrderMpid(add) => read.take(add.order_reference_number(), add.shares()),
            Message::OrderDelete(delete) => read.take(delete.order_reference_number(), 0),
            Message::OrderExecuted(done) => read.take(done.order_reference_number(), done.executed_shares()),
            Message::OrderExecutedWithPrice(done) => read.take(done.order_reference_number(), done.executed_shares()),
            Message::OrderCancel(cancel) => read.take(cancel.order_reference_number(), cancel.cancelled_shares()),
            Message::OrderReplace(replace) => read.take(replace.new_order_reference_number(), replace.shares()),
            _ => {}
        }
    }
    read
}

/// Messages and events.
fn decode_and_map(bytes: Vec<u8>) -> (u64, u64) {
    let source = ByteSource::new(Box::new(Cursor::new(bytes)), "01302020.NASDAQ_ITCH50", None).expect("memory is read");
    let mut input = BinaryFileInput::new(source, &ItchConfig::default());
    let (mut catalog, mut out) = (Catalog::new(1 << 16), SlotBuf::with_capacity(MESSAGE_SLOTS_MAX));
    let mut events = 0;
    loop {
        out.clear();
        let status = input.read(&mut catalog, &mut out).expect("the session is whole");
        events += std::hint::black_box(out.slots()).len() as u64;
        if status == Status::End {
            return (input.tally().messages.values().sum(), events);
        }
    }
}

/// Nanoseconds that this thread was on a core; `None` where the kernel does not tell.
fn on_core_ns() -> Option<u64> {
    std::fs::read_to_string("/proc/thread-self/schedstat").ok()?.split_whitespace().next()?.parse().ok()
}

/// Median, least and most.
fn print(name: &str, what: &str, rates: &mut [f64]) {
    rates.sort_by(f64::total_cmp);
    if let (Some(least), Some(most)) = (rates.first(), rates.last()) {
        println!("{name:<14} {:>8.2} M messages/s {what}  ({least:.2} to {most:.2})", rates[rates.len() / 2]);
    }
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let mut number = |default: u64| arguments.next().map_or(default, |text| text.parse().expect("a number"));
    let (messages, rounds) = (number(10_000_000), number(5) as usize);
    let mut bytes = Vec::new();
    for message in Session::new(1, messages, SYMBOLS).filter(|message| !b"hO".contains(&message.bytes()[0])) {
        frame(&mut bytes, message.bytes());
    }
    if let Some(path) = arguments.next() {
        std::fs::write(&path, &bytes).expect("a file that can be written");
        println!("{path}: {} bytes", bytes.len());
        return;
    }
    let expected = decode(&bytes);
    assert_eq!(expected, itchy(&bytes), "both read the same");
    let (read, events) = decode_and_map(bytes.clone());
    assert_eq!(read, expected.messages, "every message is mapped");
    println!("{} messages in {} bytes, {events} events, {rounds} rounds", expected.messages, bytes.len());
    if cfg!(debug_assertions) {
        println!("NOT OPTIMISED: built without --release");
    }
    let mut rates = ["itchy", "decode", "decode + map"].map(|name| (name, Vec::new(), Vec::new()));
    for round in 0..rounds {
        for turn in 0..3 {
            let which = (round + turn) % 3;
            let copy = if which == 2 { bytes.clone() } else { Vec::new() };
            let (begun, on_core) = (Instant::now(), on_core_ns());
            let read = match which {
                0 => itchy(&bytes).messages,
                1 => decode(&bytes).messages,
                _ => decode_and_map(copy).0,
            };
            let (_, by_clock, by_core) = &mut rates[which];
            by_clock.push(read as f64 / begun.elapsed().as_secs_f64() / 1e6);
            if let (Some(before), Some(after)) = (on_core, on_core_ns()) {
                by_core.push(read as f64 * 1e3 / (after - before).max(1) as f64);
            }
        }
    }
    for (name, by_clock, by_core) in &mut rates {
        print(name, "by the clock", by_clock);
        print(name, "on the core ", by_core);
    }
}
