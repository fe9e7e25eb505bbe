//! A naive second reading of a BinaryFILE, by offsets from the specification, with a map of orders; and that both agree.

use crate::support::{Event, MIDNIGHT, What, decode};
use std::collections::BTreeMap;
use tapeline_core::event::payload::{BookOrder, Status, Trade};
use tapeline_core::testing::for_seeds;
use tapeline_core::testing::itch::{Session, all_letters, random_message};

const NO_PRICE: i64 = i64::MAX;

struct Order {
    side: u8,
    price: i64,
    shares: u64,
}

/// See the module.
#[derive(Default)]
pub(crate) struct Twin {
    orders: BTreeMap<u64, Order>,
    symbols: BTreeMap<u16, String>,
    begun: BTreeMap<u16, bool>,
    pub(crate) messages: BTreeMap<char, u64>,
    pub(crate) without_event: u64,
}

fn number(bytes: &[u8], from: usize, to: usize) -> u64 {
    bytes[from..to].iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

impl Twin {
    /// Events of all whole records at the start of `bytes`, and the offset behind them.
    pub(crate) fn read(&mut self, bytes: &[u8]) -> (Vec<Event>, usize) {
        let (mut events, mut at, mut seq) = (Vec::new(), 0, 0);
        while let Some(head) = bytes.get(at..at + 2) {
            let length = number(head, 0, 2) as usize;
            let Some(message) = bytes.get(at + 2..at + 2 + length) else { break };
            at += 2 + length;
            if length == 0 {
                break;
            }
            seq += 1;
            let whats = self.message(message);
            self.without_event += u64::from(whats.is_empty());
            let ts = MIDNIGHT + number(message, 5, 11);
            let symbol = match message[0] {
                b'S' | b'W' => String::new(),
                _ => self.symbols.get(&(number(message, 1, 3) as u16)).cloned().unwrap_or_default(),
            };
            let count = whats.len();
            events.extend(whats.into_iter().enumerate().map(|(part, what)| Event {
                symbol: symbol.clone(),
                seq,
                part: part as u16,
                ts_event: ts,
                ts_recv: ts,
                is_last: part + 1 == count,
                what,
            }));
        }
        (events, at)
    }

    fn message(&mut self, m: &[u8]) -> Vec<What> {
        *self.messages.entry(m[0] as char).or_default() += 1;
        let locate = number(m, 1, 3) as u16;
        let stock_at = match m[0] {
            b'R' | b'H' | b'Y' | b'h' => Some(11),
            b'A' | b'F' | b'P' => Some(24),
            b'Q' => Some(19),
            _ => None,
        };
        if let Some(at) = stock_at {
            let name = String::from_utf8(m[at..at + 8].to_vec()).unwrap();
            let symbol = format!("NASDAQ:{}", name.trim_end_matches(' '));
            if self.symbols.insert(locate, symbol.clone()) != Some(symbol) {
                self.begun.remove(&locate);
            }
        }
        if b"EXDUC".contains(&m[0]) && !self.symbols.contains_key(&locate) {
            return Vec::new();
        }
        let id = if m.len() >= 19 { number(m, 11, 19) } else { 0 };
        let order = |action, id, side, price, size| {
            What::Order(BookOrder { order_id: id, price, size, side, action, ..BookOrder::default() })
        };
        let trade = |price, size, side, source_flags| {
            What::Trade(Trade { price, size, side, action: m[0], source_flags, ..Trade::default() })
        };
        let price = |at: usize| number(m, at, at + 4) as i64 * 100_000;
        match m[0] {
            b'R' => match self.begun.insert(locate, true) {
                Some(true) => Vec::new(),
                _ => vec![order(b'R', 0, 0, NO_PRICE, 0)],
            },
            b'A' | b'F' => {
                self.begun.insert(locate, true);
                let side = if m[19] == b'B' { 1 } else { 2 };
                let shares = number(m, 20, 24);
                self.add(id, side, price(32), shares);
                vec![order(b'A', id, side, price(32), shares as u32)]
            }
            b'X' => {
                let shares = number(m, 19, 23);
                let (side, at, _) = self.take(id, shares);
                vec![order(b'C', id, side, at, shares as u32)]
            }
            b'D' => {
                let (side, at, left) = self.take(id, u64::MAX);
                vec![order(b'C', id, side, at, left)]
            }
            b'U' => {
                self.begun.insert(locate, true);
                let (side, at, left) = self.take(id, u64::MAX);
                let (new, shares) = (number(m, 19, 27), number(m, 27, 31));
                self.add(new, side, price(31), shares);
                vec![order(b'C', id, side, at, left), order(b'A', new, side, price(31), shares as u32)]
            }
            b'E' | b'C' => {
                let shares = number(m, 19, 23);
                let (side, at, _) = self.take(id, shares);
                let fill_at = if m[0] == b'C' { price(32) } else { at };
                let is_printed = m[0] == b'E' || m[31] == b'Y';
                let mut events = Vec::new();
                if is_printed && fill_at != NO_PRICE {
                    events.push(trade(fill_at, shares, [0, 2, 1][usize::from(side)], 0));
                }
                events.push(order(b'F', id, side, fill_at, shares as u32));
                events.push(order(b'C', id, side, at, shares as u32));
                events
            }
            b'P' => vec![trade(price(32), number(m, 20, 24), 0, 0)],
            b'Q' if id > 0 => vec![trade(price(27), id, 0, m[39])],
            b'S' if m[11] == b'O' => {
                self.orders.clear();
                self.begun.clear();
                Vec::new()
            }
            _ => self.status(m).into_iter().map(What::Status).collect(),
        }
    }

    fn status(&self, m: &[u8]) -> Option<Status> {
        let told = |action, reason, is_trading, is_quoting, restricted| {
            Some(Status {
                action,
                reason,
                is_trading,
                is_quoting,
                is_short_sell_restricted: restricted,
                ..Status::default()
            })
        };
        match (m[0], m[11]) {
            (b'S', b'S') => told(1, 1, b'~', b'Y', b'~'),
            (b'S', b'Q') => told(7, 1, b'Y', b'Y', b'~'),
            (b'S', b'M') => told(13, 1, b'~', b'Y', b'~'),
            (b'S', b'E') => told(12, 1, b'N', b'N', b'~'),
            (b'W', level) => told(8, 120 + u16::from(level - b'1'), b'N', b'~', b'~'),
            (b'Y', _) => told(14, 0, b'~', b'~', if m[19] == b'0' { b'N' } else { b'Y' }),
            (b'h', _) if m[19] == b'Q' => match m[20] {
                b'H' => told(8, 60, b'N', b'~', b'~'),
                _ => told(7, 60, b'Y', b'~', b'~'),
            },
            (b'H', _) => {
                let reason = match &m[21..25] {
                    b"T1  " => 30,
                    b"LUDP" => 50,
                    b"MWC1" => 120,
                    b"IPO1" => 15,
                    _ => 0,
                };
                let (action, is_trading, is_quoting) = match m[19] {
                    b'H' => (8, b'N', b'N'),
                    b'P' => (9, b'N', b'N'),
                    b'Q' => (3, b'N', b'Y'),
                    _ => (7, b'Y', b'Y'),
                };
                told(action, reason, is_trading, is_quoting, b'~')
            }
            _ => None,
        }
    }

    fn add(&mut self, id: u64, side: u8, price: i64, shares: u64) {
        self.orders.remove(&id);
        if shares > 0 && side > 0 && id < 1 << 63 {
            self.orders.insert(id, Order { side, price, shares });
        }
    }

    /// Side and price of an order, and what was left of it, before so many shares are taken off.
    fn take(&mut self, id: u64, shares: u64) -> (u8, i64, u32) {
        let Some(order) = self.orders.get_mut(&id) else { return (0, NO_PRICE, u32::MAX) };
        let told = (order.side, order.price, order.shares as u32);
        order.shares = order.shares.saturating_sub(shares);
        if order.shares == 0 {
            self.orders.remove(&id);
        }
        told
    }
}

fn agree(bytes: &[u8], room: usize) -> usize {
    let mut twin = Twin::default();
    let (expected, _) = twin.read(bytes);
    let decoded = decode(bytes, room).unwrap();
    assert!(decoded.error.is_none(), "{:?}", decoded.error);
    for (got, expected) in decoded.events.iter().zip(&expected) {
        assert_eq!(got, expected);
    }
    assert_eq!(decoded.events.len(), expected.len());
    let messages: u64 = decoded.tally.messages.values().sum();
    assert_eq!(messages, twin.messages.values().sum::<u64>());
    expected.len()
}

#[test]
fn sessions_give_the_events_that_the_twin_gives() {
    for_seeds(0..12, |seed, prng| {
        let session = Session::new(seed, 20_000, 1 + prng.index(60) as u16).live_max(1 + prng.index(5_000));
        let room = [3, 4, 7, 16_384][seed as usize % 4];
        assert!(agree(&session.binary_file(), room) > 15_000);
    });
}

#[test]
fn random_messages_about_anything_give_the_events_that_the_twin_gives() {
    let letters = all_letters();
    for_seeds(0..40, |seed, prng| {
        let mut bytes = Vec::new();
        for _ in 0..2_000 {
            let mut message = random_message(&letters, prng);
            // Few stock locates and few orders, so that they meet.
            message = message.head(prng.index(6) as u16, 0, prng.log_uniform(48));
            for name in ["order_reference_number", "original_order_reference_number", "new_order_reference_number"] {
                if tapeline_core::wire::itch::Layout::of(message.bytes()[0])
                    .is_some_and(|layout| layout.fields.iter().any(|field| field.name == name))
                {
                    message = message.number(name, prng.in_range(0..12));
                }
            }
            tapeline_core::testing::itch::frame(&mut bytes, message.bytes());
        }
        assert!(agree(&bytes, [3, 100][seed as usize % 2]) > 500);
    });
}
