//! ITCH 5.0 messages for tests: one by one by its fields, random ones of every type, and sessions whose orders make sense.

use super::Prng;
use crate::wire::itch::{LAYOUTS, Layout, MESSAGE_BYTES_MAX};

/// A message under construction. Fields that are not set are 0; texts are padded with spaces.
#[derive(Clone, Copy, Debug)]
pub struct Draft {
    bytes: [u8; MESSAGE_BYTES_MAX],
    layout: &'static Layout,
}

impl Draft {
    /// A message of that type.
    ///
    /// # Panics
    /// When the specification has no such type.
    #[must_use]
    pub fn new(letter: u8) -> Self {
        let layout = Layout::of(letter).expect("a type of the specification");
        let mut bytes = [0; MESSAGE_BYTES_MAX];
        bytes[0] = letter;
        Self { bytes, layout }
    }

    /// Sets what all messages begin with: stock locate, tracking number, ns since midnight.
    #[must_use]
    pub fn head(mut self, stock_locate: u16, tracking_number: u16, timestamp: u64) -> Self {
        self.bytes[1..3].copy_from_slice(&stock_locate.to_be_bytes());
        self.bytes[3..5].copy_from_slice(&tracking_number.to_be_bytes());
        self.bytes[5..11].copy_from_slice(&timestamp.to_be_bytes()[2..]);
        self
    }

    fn field(&mut self, name: &str) -> &mut [u8] {
        let field = self.layout.fields.iter().find(|field| field.name == name);
        let field = field.unwrap_or_else(|| panic!("{} has no field {name}", self.layout.name));
        &mut self.bytes[field.at..field.at + field.bytes]
    }

    /// Sets a number, a price or a letter.
    ///
    /// # Panics
    /// When there is no such field, or the number does not fit it.
    #[must_use]
    pub fn number(mut self, name: &str, value: u64) -> Self {
        let field = self.field(name);
        let bytes = value.to_be_bytes();
        let (zeros, digits) = bytes.split_at(8 - field.len());
        assert!(zeros.iter().all(|byte| *byte == 0), "{name} has no room for {value}");
        field.copy_from_slice(digits);
        self
    }

    /// Sets a text.
    ///
    /// # Panics
    /// When there is no such field, or the text is longer.
    #[must_use]
    pub fn text(mut self, name: &str, text: &[u8]) -> Self {
        let field = self.field(name);
        assert!(text.len() <= field.len(), "{name} has no room for {}", text.escape_ascii());
        field.fill(b' ');
        field[..text.len()].copy_from_slice(text);
        self
    }

    /// The message.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..self.layout.bytes]
    }
}

/// The letters that a field of one byte, or a text of few, can have by the specification.
const LETTERS: &[(&str, &[u8])] = &[
    ("event_code", b"OSQMEC"),
    ("market_category", b"QGSNAPZV "),
    ("financial_status_indicator", b"DEQSGHJKCN "),
    ("round_lots_only", b"YN"),
    ("issue_classification", b"ABCFILNOPQRSTUVW"),
    ("authenticity", b"PT"),
    ("short_sale_threshold_indicator", b"YN "),
    ("ipo_flag", b"YN "),
    ("luld_reference_price_tier", b"12 "),
    ("etp_flag", b"YN "),
    ("inverse_indicator", b"YN"),
    ("trading_state", b"HPQT"),
    ("reg_sho_action", b"012"),
    ("primary_market_maker", b"YN"),
    ("market_maker_mode", b"NPSRL"),
    ("market_participant_state", b"AEWSD"),
    ("breached_level", b"123"),
    ("ipo_quotation_release_qualifier", b"AC"),
    ("market_code", b"QBX"),
    ("operational_halt_action", b"HT"),
    ("buy_sell_indicator", b"BS"),
    ("printable", b"YN"),
    ("cross_type", b"OCH"),
    ("imbalance_direction", b"BSNO"),
    ("price_variation_indicator", b"L123456789ABC "),
    ("interest_flag", b"BSAN"),
    ("open_eligibility_status", b"YN"),
];

/// A random message of a random type of `letters`, with values that the specification allows and numbers of every length.
///
/// # Panics
/// When `letters` is empty or has a type that the specification does not.
#[must_use]
pub fn random_message(letters: &[u8], prng: &mut Prng) -> Draft {
    let mut draft = Draft::new(letters[prng.index(letters.len())]);
    draft = draft.head(prng.next_u64() as u16, prng.next_u64() as u16, prng.log_uniform(48));
    for field in draft.layout.fields {
        let listed = LETTERS.iter().find(|(name, _)| *name == field.name);
        draft = match (field.name, listed) {
            (_, Some((_, letters))) => draft.number(field.name, u64::from(letters[prng.index(letters.len())])),
            ("stock", _) => draft.text(field.name, &symbol(prng.index(4_000))),
            ("mpid" | "attribution", _) => draft.text(field.name, [&b"NSDQ"[..], b"ABC", b"Z"][prng.index(3)]),
            ("issue_sub_type", _) => draft.text(field.name, [&b"A"[..], b"AI", b"Z", b"C"][prng.index(4)]),
            ("reason", _) => draft.text(field.name, [&b""[..], b"T1", b"LUDP", b"MWC1", b"IPO1"][prng.index(5)]),
            ("reserved", _) => draft,
            _ => draft.number(field.name, prng.log_uniform(8 * field.bytes as u32)),
        };
    }
    draft
}

/// Types of all messages.
#[must_use]
pub fn all_letters() -> Vec<u8> {
    LAYOUTS.iter().map(|layout| layout.letter).collect()
}

/// The name of a symbol by number: `A` to `ZZZZ` as the columns of a spreadsheet, some with a suffix.
fn symbol(number: usize) -> Vec<u8> {
    let (mut text, mut left) = (Vec::new(), number + 1);
    while left > 0 {
        text.insert(0, b'A' + ((left - 1) % 26) as u8);
        left = (left - 1) / 26;
    }
    if number.is_multiple_of(17) {
        text.extend(b".B");
    }
    text
}

/// One live order of a [`Session`].
#[derive(Clone, Copy, Debug)]
struct Order {
    reference: u64,
    locate: u16,
    shares: u32,
    /// `B` or `S`.
    side: u8,
}

/// A seeded trading session: start of messages, the directory, then orders that are added, executed, cancelled, deleted and replaced in
/// about the shares of a real day, and now and then everything else; end of messages. Each message stands for itself and is about
/// orders that are there.
#[derive(Clone, Debug)]
pub struct Session {
    prng: Prng,
    symbols: u16,
    /// Messages to make, and made.
    messages: u64,
    made: u64,
    timestamp: u64,
    reference: u64,
    match_number: u64,
    live: Vec<Order>,
    live_max: usize,
}

impl Session {
    /// A session of that many messages over that many symbols (stock locate 1 to `symbols`).
    ///
    /// # Panics
    /// When there is no symbol, or no room for the directory beside the first and the last message.
    #[must_use]
    pub fn new(seed: u64, messages: u64, symbols: u16) -> Self {
        assert!(symbols > 0 && messages >= u64::from(symbols) + 2, "room for the directory");
        Self {
            prng: Prng::new(seed),
            symbols,
            messages,
            made: 0,
            timestamp: 4 * 3_600 * 1_000_000_000,
            reference: 0,
            match_number: 0,
            live: Vec::new(),
            live_max: 200_000,
        }
    }

    /// At most so many orders live at once; 200,000 unless told.
    #[must_use]
    pub const fn live_max(mut self, orders: usize) -> Self {
        self.live_max = orders;
        self
    }

    fn next_reference(&mut self) -> u64 {
        self.reference += 1 + self.prng.log_uniform(3);
        self.reference
    }

    fn next_match(&mut self) -> u64 {
        self.match_number += 1;
        self.match_number
    }

    /// A price on that side of the symbol's middle, which does not move: books never cross.
    fn price(&mut self, locate: u16, side: u8) -> u64 {
        let (middle, distance) = (100_000 + u64::from(locate) * 1_000, 100 * self.prng.in_range(1..100));
        if side == b'B' { middle - distance } else { middle + distance }
    }

    fn add(&mut self, letter: u8, locate: u16) -> Draft {
        let (reference, shares) = (self.next_reference(), 100 * self.prng.in_range(1..20));
        let side = if self.prng.one_in(2) { b'B' } else { b'S' };
        let price = self.price(locate, side);
        self.live.push(Order { reference, locate, shares: shares as u32, side });
        let draft = Draft::new(letter)
            .number("order_reference_number", reference)
            .number("buy_sell_indicator", u64::from(side))
            .number("shares", shares)
            .text("stock", &symbol(usize::from(locate) - 1))
            .number("price", price);
        if letter == b'F' { draft.text("attribution", b"NSDQ") } else { draft }
    }

    /// The next message; `None` after the last one.
    fn next_draft(&mut self) -> Option<Draft> {
        let (made, symbols) = (self.made, u64::from(self.symbols));
        if made == self.messages {
            return None;
        }
        self.made += 1;
        self.timestamp += self.prng.log_uniform(18);
        let timestamp = self.timestamp;
        let system = |code: u8| Draft::new(b'S').number("event_code", u64::from(code)).head(0, 0, timestamp);
        if made == 0 {
            return Some(system(b'O'));
        }
        if made + 1 == self.messages {
            return Some(system(b'C'));
        }
        if made <= symbols {
            let draft = random_message(b"R", &mut self.prng).text("stock", &symbol(made as usize - 1));
            return Some(draft.head(made as u16, 0, timestamp));
        }
        let draft = self.order_or_other();
        let locate = u16::from_be_bytes([draft.bytes[1], draft.bytes[2]]);
        Some(draft.head(locate, made as u16, timestamp))
    }

    fn order_or_other(&mut self) -> Draft {
        let locate = 1 + self.prng.index(usize::from(self.symbols)) as u16;
        let roll = self.prng.in_range(0..1_000);
        if self.live.is_empty() || (roll < 440 && self.live.len() < self.live_max) {
            return self.add(if roll.is_multiple_of(50) { b'F' } else { b'A' }, locate).head(locate, 0, 0);
        }
        // Most orders go soon after they came.
        let back = self.prng.log_uniform(17).min(self.live.len() as u64 - 1) as usize;
        let at = self.live.len() - 1 - back;
        let Order { reference, locate: own, shares, side } = self.live[at];
        let part = 1 + self.prng.in_range(0..u64::from(shares));
        match roll {
            0..850 => {
                self.live.swap_remove(at);
                Draft::new(b'D').number("order_reference_number", reference).head(own, 0, 0)
            }
            850..925 => {
                self.live.swap_remove(at);
                let (new, new_shares, price) =
                    (self.next_reference(), self.prng.in_range(1..2_000), self.price(own, side));
                self.live.push(Order { reference: new, locate: own, shares: new_shares as u32, side });
                Draft::new(b'U')
                    .number("original_order_reference_number", reference)
                    .number("new_order_reference_number", new)
                    .number("shares", new_shares)
                    .number("price", price)
                    .head(own, 0, 0)
            }
            925..970 => {
                self.take(at, part);
                let draft = if roll.is_multiple_of(10) {
                    let price = self.price(own, side);
                    let printable = if self.prng.one_in(4) { b'N' } else { b'Y' };
                    Draft::new(b'C').number("printable", u64::from(printable)).number("execution_price", price)
                } else {
                    Draft::new(b'E')
                };
                draft
                    .number("order_reference_number", reference)
                    .number("executed_shares", part)
                    .number("match_number", self.next_match())
                    .head(own, 0, 0)
            }
            970..980 if shares > 1 => {
                let part = part.min(u64::from(shares) - 1);
                self.take(at, part);
                Draft::new(b'X')
                    .number("order_reference_number", reference)
                    .number("cancelled_shares", part)
                    .head(own, 0, 0)
            }
            970..990 => {
                let (price, shares, match_number) =
                    (self.price(locate, b'B'), self.prng.in_range(1..500), self.next_match());
                Draft::new(b'P')
                    .number("buy_sell_indicator", u64::from(b'B'))
                    .number("shares", shares)
                    .text("stock", &symbol(usize::from(locate) - 1))
                    .number("price", price)
                    .number("match_number", match_number)
                    .head(locate, 0, 0)
            }
            _ => {
                let draft = random_message(b"HYLVWKJhQBINO", &mut self.prng);
                let has_stock = draft.layout.fields.iter().any(|field| field.name == "stock");
                if has_stock {
                    draft.text("stock", &symbol(usize::from(locate) - 1)).head(locate, 0, 0)
                } else {
                    draft.head(0, 0, 0)
                }
            }
        }
    }

    fn take(&mut self, at: usize, part: u64) {
        self.live[at].shares -= part as u32;
        if self.live[at].shares == 0 {
            self.live.swap_remove(at);
        }
    }

    /// The rest of the session as a BinaryFILE: each message after its length, and at last a length of 0.
    #[must_use]
    pub fn binary_file(self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for message in self {
            frame(&mut bytes, message.bytes());
        }
        frame(&mut bytes, b"");
        bytes
    }
}

impl Iterator for Session {
    type Item = Draft;

    fn next(&mut self) -> Option<Draft> {
        self.next_draft()
    }
}

/// Appends a message after its length, big-endian, as BinaryFILE and MoldUDP64 have it.
///
/// # Panics
/// When it is longer than 65,535 bytes.
pub fn frame(into: &mut Vec<u8>, message: &[u8]) {
    let length = u16::try_from(message.len()).expect("a length of 16 bits");
    into.extend(length.to_be_bytes());
    into.extend(message);
}

/// A MoldUDP64 packet with these messages; `count` says what its header tells instead of their number.
#[must_use]
pub fn mold_packet(session: &[u8; 10], sequence: u64, messages: &[&[u8]], count: Option<u16>) -> Vec<u8> {
    let mut bytes = session.to_vec();
    bytes.extend(sequence.to_be_bytes());
    bytes.extend(count.unwrap_or(messages.len() as u16).to_be_bytes());
    for message in messages {
        frame(&mut bytes, message);
    }
    bytes
}
