//! A seeded day of ITCH 5.0 messages: what a venue would send of a session.
//!
//! ```text
//!   S(O)  for each symbol R, H, Y, L  S(S) S(Q)  for each symbol Q   orders and the rest, until all are made   S(M) S(E) S(C)
//! ```
//! Between the crosses of the open and the end of market hours messages come in about the shares of a real day: of 1,000, some 450 adds,
//! 430 deletes, 76 replaces, 22 executions, 14 cancels, 4 hidden trades, 4 imbalances. Their times are the model's arrivals, their symbols
//! its Zipf's law. Each is about an order that is there; executions take the best order of a side; a new order never crosses
//! the book, so that prices move as sides are eaten up. Equal parameters give equal bytes on every machine.

use super::arrivals::Arrivals;
use super::config::{Config, ConfigError};
use super::prng::Prng;
use super::zipf::Zipf;
use crate::input::itch::SessionDate;

/// Symbols that a stock locate can number, and four letters name.
pub const ITCH_SYMBOLS_MAX: u32 = 50_000;
/// Messages of each symbol before and at the open.
const PRELUDE: u64 = 5;
/// System events of a day.
const SYSTEM_EVENTS: u64 = 6;
/// Live orders of one symbol.
const LIVE_MAX: usize = 256;
/// One price unit of ITCH is 1e-4; a cent is a tick.
const CENT: u32 = 100;
/// Messages that a halt lasts.
const HALT_MESSAGES: u64 = 2_000;

/// A message: its bytes as they go over the wire.
#[derive(Clone, Copy, Debug)]
pub struct ItchMessage {
    bytes: [u8; 50],
    length: usize,
}

impl ItchMessage {
    fn new(letter: u8, locate: u16, timestamp: u64) -> Self {
        let mut message = Self { bytes: [0; 50], length: 0 };
        message.put(&[letter]).put(&locate.to_be_bytes()).put(&[0, 0]).put(&timestamp.to_be_bytes()[2..]);
        message
    }

    fn put(&mut self, bytes: &[u8]) -> &mut Self {
        self.bytes[self.length..self.length + bytes.len()].copy_from_slice(bytes);
        self.length += bytes.len();
        self
    }

    /// The message.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }

    /// When it is sent, in ns since midnight in New York.
    #[must_use]
    pub fn timestamp(&self) -> u64 {
        self.bytes[5..11].iter().fold(0, |time, byte| time << 8 | u64::from(*byte))
    }
}

/// An order of a book.
#[derive(Clone, Copy, Debug)]
struct Order {
    reference: u64,
    price: u32,
    shares: u32,
    is_bid: bool,
}

#[derive(Clone, Debug)]
struct Book {
    stock: [u8; 8],
    orders: Vec<Order>,
    /// Price of the last trade.
    last: u32,
}

impl Book {
    /// The best price of a side, with the place of its first order.
    fn best(&self, is_bid: bool) -> Option<(u32, usize)> {
        let side = self.orders.iter().enumerate().filter(|(_, order)| order.is_bid == is_bid);
        let best = side.min_by_key(|(_, order)| if is_bid { u32::MAX - order.price } else { order.price });
        best.map(|(at, order)| (order.price, at))
    }
}

/// A generated day, one message at a time.
#[derive(Clone, Debug)]
pub struct ItchDay {
    midnight_ns: u64,
    start: u64,
    arrivals: Arrivals,
    zipf: Zipf,
    flow: Prng,
    books: Vec<Book>,
    messages: u64,
    made: u64,
    timestamp: u64,
    reference: u64,
    match_number: u64,
    /// The symbol that is halted, and with which message it trades again.
    halted: Option<(usize, u64)>,
}

impl ItchDay {
    /// The day of these parameters: `events` messages of `symbols` symbols, from `start` on for `duration_ns`.
    ///
    /// # Errors
    /// A parameter that is out of range: at most 50,000 symbols, and messages for the directory of all of them.
    pub fn new(config: &Config) -> Result<Self, ConfigError> {
        config.check()?;
        let wrong = |field, value: u64, range| ConfigError { field, value: value.to_string(), range };
        if config.symbols > ITCH_SYMBOLS_MAX {
            return Err(wrong("symbols", config.symbols.into(), "1 to 50000 for ITCH"));
        }
        if config.events < PRELUDE * u64::from(config.symbols) + SYSTEM_EVENTS + 1 {
            let range = "at least 5 of each symbol and 7 more for ITCH, whose day begins with their directory";
            return Err(wrong("events", config.events, range));
        }
        // The day whose noon is nearest.
        let midnight_ns = SessionDate::midnight_near(config.start, 43_200_000_000_000);
        let mut flow = Prng::new(config.seed, 40);
        let books = (0..config.symbols)
            .map(|number| {
                let last = (5 + flow.below(400) as u32) * 100 * CENT;
                Book { stock: stock(number), orders: Vec::with_capacity(LIVE_MAX), last }
            })
            .collect();
        Ok(Self {
            midnight_ns,
            start: config.start.0.saturating_sub(midnight_ns),
            arrivals: Arrivals::new(config, Prng::new(config.seed, 41), Prng::new(config.seed, 42)),
            zipf: Zipf::new(config.symbols, config.zipf_exponent),
            flow,
            books,
            messages: config.events,
            made: 0,
            timestamp: config.start.0.saturating_sub(midnight_ns),
            reference: 0,
            match_number: 0,
            halted: None,
        })
    }

    /// Midnight in New York at the day's start, ns since the UNIX epoch.
    #[must_use]
    pub fn midnight_ns(&self) -> u64 {
        self.midnight_ns
    }

    fn system(&self, code: u8) -> ItchMessage {
        let mut message = ItchMessage::new(b'S', 0, self.timestamp);
        message.put(&[code]);
        message
    }

    fn prelude(&mut self, index: u64) -> ItchMessage {
        let symbols = self.books.len() as u64;
        let (number, what) = (index % symbols, index / symbols);
        let (locate, stock) = (number as u16 + 1, self.books[number as usize].stock);
        let letter = b"RHYLQ"[what as usize];
        let mut message = ItchMessage::new(letter, locate, self.timestamp);
        match letter {
            b'R' => {
                message.put(&stock).put(b"QN").put(&100u32.to_be_bytes()).put(b"NCZ PN 1N").put(&[0; 4]).put(b"N");
            }
            b'H' => {
                message.put(&stock).put(b"T ").put(b"    ");
            }
            b'Y' => {
                message.put(&stock).put(b"0");
            }
            b'L' => {
                message.put(b"NSDQ").put(&stock).put(b"YNA");
            }
            _ => {
                let shares = self.flow.below(2_000) * 100;
                let price = if shares == 0 { 0 } else { self.books[number as usize].last };
                let match_number = self.next_match();
                let bytes = (shares.to_be_bytes(), price.to_be_bytes(), match_number.to_be_bytes());
                message.put(&bytes.0).put(&stock).put(&bytes.1).put(&bytes.2).put(b"O");
            }
        }
        message
    }

    fn next_match(&mut self) -> u64 {
        self.match_number += 1;
        self.match_number
    }

    /// A price for an order of that side that does not cross the book.
    fn price(&mut self, symbol: usize, is_bid: bool) -> u32 {
        let book = &self.books[symbol];
        let (own, other) = (book.best(is_bid), book.best(!is_bid));
        let reference = own.map_or(book.last, |best| best.0);
        // Mostly at or behind the best price, now and then before it.
        let behind = (self.flow.below(12) * self.flow.below(4)) as u32 * CENT;
        let better = if self.flow.below(8) == 0 { CENT } else { 0 };
        let least = 10 * CENT;
        if is_bid {
            let most = other.map_or(u32::MAX / 2, |best| best.0 - CENT);
            (reference.saturating_sub(behind) + better).min(most).max(CENT)
        } else {
            let most = other.map_or(least, |best| best.0 + CENT);
            (reference + behind).saturating_sub(better).max(most).min(u32::MAX / 2)
        }
    }

    fn add(&mut self, symbol: usize) -> ItchMessage {
        let is_bid = self.flow.below(2) == 0;
        let price = self.price(symbol, is_bid);
        let most = self.flow.below(20);
        let shares = 100 * (1 + self.flow.below(1 + most) as u32);
        self.reference += 1 + self.flow.below(8);
        let (reference, stock) = (self.reference, self.books[symbol].stock);
        self.books[symbol].orders.push(Order { reference, price, shares, is_bid });
        let is_attributed = self.flow.below(60) == 0;
        let mut message = ItchMessage::new(if is_attributed { b'F' } else { b'A' }, symbol as u16 + 1, self.timestamp);
        message.put(&reference.to_be_bytes()).put(if is_bid { b"B" } else { b"S" }).put(&shares.to_be_bytes());
        message.put(&stock).put(&price.to_be_bytes());
        if is_attributed {
            message.put(b"NSDQ");
        }
        message
    }

    /// An order of the symbol: most go soon after they came.
    fn pick(&mut self, symbol: usize) -> usize {
        let orders = self.books[symbol].orders.len();
        let bits = self.flow.below(9);
        let back = self.flow.below(1 << bits) as usize;
        orders - 1 - back.min(orders - 1)
    }

    fn order(&mut self) -> ItchMessage {
        let symbol = self.zipf.rank(self.flow.next()) as usize;
        let locate = symbol as u16 + 1;
        let orders = self.books[symbol].orders.len();
        let roll = self.flow.below(1_000);
        if orders == 0 || roll < 454 && orders < LIVE_MAX {
            return self.add(symbol);
        }
        let (timestamp, stock) = (self.timestamp, self.books[symbol].stock);
        let message = |letter: u8| ItchMessage::new(letter, locate, timestamp);
        match roll {
            0..884 => {
                let at = self.pick(symbol);
                let order = self.books[symbol].orders.swap_remove(at);
                *message(b'D').put(&order.reference.to_be_bytes())
            }
            884..960 => {
                let at = self.pick(symbol);
                let Order { reference, is_bid, .. } = self.books[symbol].orders.swap_remove(at);
                let price = self.price(symbol, is_bid);
                let shares = 100 * (1 + self.flow.below(20) as u32);
                self.reference += 1 + self.flow.below(8);
                self.books[symbol].orders.push(Order { reference: self.reference, price, shares, is_bid });
                let new = self.reference.to_be_bytes();
                *message(b'U')
                    .put(&reference.to_be_bytes())
                    .put(&new)
                    .put(&shares.to_be_bytes())
                    .put(&price.to_be_bytes())
            }
            960..982 => {
                let is_bid = self.flow.below(2) == 0;
                let best = self.books[symbol].best(is_bid).or_else(|| self.books[symbol].best(!is_bid));
                let at = best.expect("there is an order").1;
                let Order { reference, price, shares, .. } = self.books[symbol].orders[at];
                let part = if self.flow.below(2) == 0 { shares } else { 1 + self.flow.below(shares.into()) as u32 };
                self.books[symbol].orders[at].shares -= part;
                if part == shares {
                    self.books[symbol].orders.remove(at);
                }
                self.books[symbol].last = price;
                let is_priced = self.flow.below(50) == 0;
                let mut done = message(if is_priced { b'C' } else { b'E' });
                done.put(&reference.to_be_bytes()).put(&part.to_be_bytes()).put(&self.next_match().to_be_bytes());
                if is_priced {
                    done.put(b"Y").put(&price.to_be_bytes());
                }
                done
            }
            982..992 => {
                let at = self.pick(symbol);
                let order = &mut self.books[symbol].orders[at];
                // Of an order of one share there is no part.
                if order.shares == 1 {
                    let order = self.books[symbol].orders.swap_remove(at);
                    return *message(b'D').put(&order.reference.to_be_bytes());
                }
                let part = 1 + self.flow.below(u64::from(order.shares) - 1) as u32;
                order.shares -= part;
                *message(b'X').put(&order.reference.to_be_bytes()).put(&part.to_be_bytes())
            }
            992..996 => {
                let (price, shares) = (self.books[symbol].last, 1 + self.flow.below(500) as u32);
                let mut trade = message(b'P');
                trade.put(&[0; 8]).put(b"B").put(&shares.to_be_bytes()).put(&stock).put(&price.to_be_bytes());
                *trade.put(&self.next_match().to_be_bytes())
            }
            _ => {
                let price = self.books[symbol].last.to_be_bytes();
                let (paired, imbalance) = (self.flow.below(100_000), self.flow.below(10_000));
                let side: &[u8] = if imbalance == 0 {
                    b"N"
                } else if imbalance & 1 == 0 {
                    b"B"
                } else {
                    b"S"
                };
                let mut noii = message(b'I');
                noii.put(&paired.to_be_bytes()).put(&imbalance.to_be_bytes()).put(side).put(&stock);
                *noii.put(&price).put(&price).put(&price).put(b"C").put(b"1")
            }
        }
    }

    fn halt(&mut self, symbol: usize, state: &[u8], reason: &[u8]) -> ItchMessage {
        let mut message = ItchMessage::new(b'H', symbol as u16 + 1, self.timestamp);
        *message.put(&self.books[symbol].stock).put(state).put(b" ").put(reason)
    }
}

impl Iterator for ItchDay {
    type Item = ItchMessage;

    fn next(&mut self) -> Option<ItchMessage> {
        let (made, left) = (self.made, self.messages - self.made);
        if left == 0 {
            return None;
        }
        self.made += 1;
        let directory = (PRELUDE - 1) * self.books.len() as u64;
        let open = PRELUDE * self.books.len() as u64 + 3;
        Some(match made {
            0 => self.system(b'O'),
            _ if left <= 3 => {
                self.timestamp += 1_000;
                self.system([b'C', b'E', b'M'][left as usize - 1])
            }
            made if made <= directory => self.prelude(made - 1),
            made if made == directory + 1 => self.system(b'S'),
            made if made == directory + 2 => self.system(b'Q'),
            made if made < open => self.prelude(made - 3),
            made => {
                self.timestamp = self.start + self.arrivals.next(1, left - 4);
                match self.halted {
                    Some((symbol, until)) if made >= until => {
                        self.halted = None;
                        self.halt(symbol, b"T", b"    ")
                    }
                    None if self.flow.below(100_000) == 0 => {
                        let symbol = self.flow.below(self.books.len() as u64) as usize;
                        self.halted = Some((symbol, made + HALT_MESSAGES));
                        self.halt(symbol, b"P", b"LUDP")
                    }
                    _ => self.order(),
                }
            }
        })
    }
}

/// The stock of that number: `A` to `ZZZZ`, as the columns of a spreadsheet.
fn stock(number: u32) -> [u8; 8] {
    let (mut letters, mut left) = (Vec::new(), number + 1);
    while left > 0 {
        letters.insert(0, b'A' + ((left - 1) % 26) as u8);
        left = (left - 1) / 26;
    }
    let mut text = [b' '; 8];
    text[..letters.len()].copy_from_slice(&letters);
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::{BTreeMap, HashMap};
    use tapeline_core::wire::itch::Message;

    fn day(seed: u64, events: u64, symbols: u32) -> ItchDay {
        ItchDay::new(&Config { seed, events, symbols, ..Config::default() }).unwrap()
    }

    /// Live orders by number.
    #[derive(Default)]
    struct Live(HashMap<u64, Alive>);

    #[derive(Clone, Copy)]
    struct Alive {
        locate: u16,
        shares: u32,
        side: u8,
        price: u32,
    }

    impl Live {
        fn add(&mut self, reference: u64, new: Alive) {
            let crosses = self.0.values().any(|old| {
                let is_through = if new.side == b'B' { old.price <= new.price } else { old.price >= new.price };
                old.locate == new.locate && old.side != new.side && is_through
            });
            assert!(!crosses, "order {reference} crosses the book");
            assert!(self.0.insert(reference, new).is_none(), "a number is used once");
        }

        fn take(&mut self, reference: u64, shares: u32) {
            let order = self.0.get_mut(&reference).expect("it is there");
            order.shares = order.shares.checked_sub(shares).expect("it has so many");
            if order.shares == 0 {
                self.0.remove(&reference);
            }
        }
    }

    #[test]
    fn every_message_is_one_and_about_an_order_that_is_there() {
        for seed in 0..3 {
            let messages = 12_000;
            let (mut live, mut letters) = (Live::default(), BTreeMap::new());
            let (mut count, mut before) = (0, 0);
            for message in day(seed, messages, 8) {
                count += 1;
                assert!(message.timestamp() >= before, "times rise");
                before = message.timestamp();
                *letters.entry(message.bytes()[0]).or_insert(0u64) += 1;
                match Message::parse(message.bytes()).expect("a message of the specification") {
                    Message::AddOrder(order) => {
                        let (locate, shares) = (order.stock_locate(), order.shares());
                        let (side, price) = (order.buy_sell_indicator(), order.price().0);
                        live.add(order.order_reference_number(), Alive { locate, shares, side, price });
                    }
                    Message::AddOrderMpid(order) => {
                        let (locate, shares) = (order.stock_locate(), order.shares());
                        let (side, price) = (order.buy_sell_indicator(), order.price().0);
                        live.add(order.order_reference_number(), Alive { locate, shares, side, price });
                    }
                    Message::OrderDelete(gone) => {
                        let order = live.0.remove(&gone.order_reference_number()).expect("it is there");
                        assert_eq!(order.locate, gone.stock_locate());
                    }
                    Message::OrderReplace(new) => {
                        let old = live.0.remove(&new.original_order_reference_number()).expect("it is there");
                        let order = Alive { shares: new.shares(), price: new.price().0, ..old };
                        live.add(new.new_order_reference_number(), order);
                    }
                    Message::OrderExecuted(done) => live.take(done.order_reference_number(), done.executed_shares()),
                    Message::OrderExecutedWithPrice(done) => {
                        live.take(done.order_reference_number(), done.executed_shares());
                    }
                    Message::OrderCancel(less) => {
                        live.take(less.order_reference_number(), less.cancelled_shares());
                        assert!(live.0.contains_key(&less.order_reference_number()), "a cancel leaves some");
                    }
                    _ => {}
                }
            }
            assert_eq!(count, messages);
            let share = |letter: u8| letters.get(&letter).copied().unwrap_or(0) as f64 / messages as f64;
            assert_eq!((letters[&b'R'], letters[&b'S'], letters[&b'Q']), (8, 6, 8));
            let shares = [(b'A', 0.40, 0.48), (b'D', 0.38, 0.47), (b'U', 0.06, 0.09), (b'E', 0.015, 0.03)];
            for (letter, least, most) in shares {
                assert!((least..most).contains(&share(letter)), "{}: {}", char::from(letter), share(letter));
            }
        }
    }

    #[test]
    fn equal_parameters_give_equal_days_and_others_do_not() {
        let all = |seed| day(seed, 20_000, 10).flat_map(|message| message.bytes().to_vec()).collect::<Vec<u8>>();
        assert_eq!(all(1), all(1));
        assert_ne!(all(1), all(2));
    }

    #[test]
    fn what_is_out_of_range_is_refused_by_name() {
        let refused = |events, symbols| {
            let config = Config { events, symbols, ..Config::default() };
            ItchDay::new(&config).map(drop).unwrap_err().to_string()
        };
        assert_eq!(refused(1_000_000, 50_001), "symbols = 50001: must be 1 to 50000 for ITCH");
        assert!(refused(56, 10).starts_with("events = 56: must be at least 5 of each symbol"));
        assert_eq!(day(1, 57, 10).count(), 57);
    }

    #[test]
    fn stocks_have_letters() {
        let text = |number| String::from_utf8(stock(number).to_vec()).unwrap();
        assert_eq!(
            [text(0), text(25), text(26), text(701), text(702)],
            ["A       ", "Z       ", "AA      ", "ZZ      ", "AAA     "]
        );
    }
}
