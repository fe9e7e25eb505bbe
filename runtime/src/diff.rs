//! Comparing two outputs: the first difference of each symbol.
//!
//! Two runs of the engine give the same events for each symbol, in the same order; how the symbols lie between each
//! other may differ. So the events of each symbol are compared in their order, and only these. An event is compared as
//! its line of NDJSON ([`crate::ndjson`]), which has names and no ids, so that a tape can be compared with a tape, with
//! NDJSON that was written earlier, or with a capture. Control events (ticks, definitions, epochs) are left out: they
//! say how the engine was fed, not what it made.
//!
//! # Cost
//!
//! Memory does not grow with the number of events. The first pass over both files keeps a count and a chained hash for
//! each symbol (rapidhash v3: c = hash(c ++ line)). Where all agree that was all. For up to [`NAMED_MAX`] symbols that
//! differ, further passes keep [`CHECKPOINTS`] chain values each, spread over the stretch that holds the first
//! difference, until it is one event wide, and the last pass takes the two lines: ceil(log(events) / log(4096)) + 1
//! further passes, which is 2 below 4,096 events of a symbol and 3 below 16 million. Each pass is O(bytes). Two
//! different events whose hashes agree would be overlooked with a chance of 2^-64 each.
//!
//! A file that is damaged is compared as far as it goes; the damage is in the report.

use crate::input::{Input, InputError, MESSAGE_SLOTS_MAX, Position, SlotBuf, Status};
use crate::ndjson;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::io::{BufRead, Read};
use tapeline_core::catalog::{Catalog, CatalogError};
use tapeline_core::event::{EventRef, Kind};
use tapeline_core::hash;

/// Symbols whose first difference is named; more are only counted.
pub const NAMED_MAX: usize = 100;
/// Chain values that are kept for one symbol and file in one pass.
pub const CHECKPOINTS: u64 = 4096;
/// Longest line of NDJSON that is read. The longest that [`ndjson::write_event`] writes is shorter.
pub const LINE_BYTES_MAX: usize = 128 << 10;

/// A file to compare, opened at its beginning.
pub enum Opened {
    /// Anything that decodes to events.
    Events(Box<dyn Input>),
    /// Lines that [`ndjson::write_event`] wrote.
    Ndjson {
        /// The lines.
        reader: Box<dyn BufRead>,
        /// The file as the user named it, for errors.
        path: String,
    },
}

impl fmt::Debug for Opened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Events(input) => f.debug_tuple("Events").field(&input.format()).finish(),
            Self::Ndjson { path, .. } => f.debug_tuple("Ndjson").field(path).finish(),
        }
    }
}

/// The first difference of one symbol.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Difference {
    /// The symbol, as in NDJSON: JSON's escapes in it stay.
    pub symbol: String,
    /// Index of the first event that differs, among those of the symbol, from 0.
    pub index: u64,
    /// The event in A, as a line without its end; `None` = A has no event of this symbol left.
    pub a: Option<String>,
    /// The event in B.
    pub b: Option<String>,
    /// Events of this symbol in A.
    pub count_a: u64,
    /// Events of this symbol in B.
    pub count_b: u64,
}

/// What [`diff`] found. Prints as text for people, without an end of line.
#[derive(Debug)]
pub struct DiffReport {
    /// No symbol differs.
    pub equal: bool,
    /// Events compared in A, control events left out.
    pub events_a: u64,
    /// Events compared in B.
    pub events_b: u64,
    /// Symbols of either file.
    pub symbols: usize,
    /// Symbols that differ.
    pub symbols_differ: usize,
    /// The first difference of the first [`NAMED_MAX`] symbols that differ, by symbol.
    pub differences: Vec<Difference>,
    /// Why A could not be read to its end.
    pub damage_a: Option<InputError>,
    /// Why B could not be read to its end.
    pub damage_b: Option<InputError>,
}

impl DiffReport {
    /// Exit code of the command line: 0 equal, 1 different; 2 or 3 where a file could not be read to its end.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        let codes = [&self.damage_a, &self.damage_b].into_iter().flatten().map(InputError::exit_code);
        codes.min().unwrap_or(u8::from(!self.equal))
    }
}

impl fmt::Display for DiffReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, damage) in [("A", &self.damage_a), ("B", &self.damage_b)] {
            if let Some(damage) = damage {
                writeln!(f, "{name} was compared up to its damage: {damage}")?;
            }
        }
        for difference in &self.differences {
            let Difference { symbol, index, a, b, count_a, count_b } = difference;
            let symbol = if symbol.is_empty() { "(no symbol)" } else { symbol };
            writeln!(f, "{symbol}: event {index} differs (A has {count_a}, B has {count_b})")?;
            for (name, line) in [("A", a), ("B", b)] {
                match line {
                    Some(line) => writeln!(f, "  {name}: {line}")?,
                    None => writeln!(f, "  {name} ends")?,
                }
            }
        }
        let unnamed = self.symbols_differ - self.differences.len();
        if unnamed > 0 {
            writeln!(f, "and {unnamed} more symbols that differ")?;
        }
        let (a, b, symbols) = (self.events_a, self.events_b, self.symbols);
        if self.equal {
            write!(f, "equal: {a} events of {symbols} symbols")
        } else {
            write!(f, "different: {} of {symbols} symbols; A has {a} events, B has {b}", self.symbols_differ)
        }
    }
}

/// Compares two files. `open_a` and `open_b` are called once for each pass and must give the same bytes each time.
/// `symbols_max` is the most symbols that a file may have, the empty one included.
///
/// # Errors
/// When a file cannot be opened. What is wrong further on in a file is in the report.
///
/// # Panics
/// As [`Catalog::new`] for that `symbols_max`.
pub fn diff(
    open_a: impl FnMut() -> Result<Opened, InputError>,
    open_b: impl FnMut() -> Result<Opened, InputError>,
    symbols_max: usize,
) -> Result<DiffReport, InputError> {
    diff_with(open_a, open_b, symbols_max, CHECKPOINTS)
}

/// Events so far of one symbol in one file, and their chained hash.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Chain {
    count: u64,
    hash: u64,
}

impl Chain {
    fn add(&mut self, line: &mut LineBuf) {
        self.count += 1;
        self.hash = line.hash_after(self.hash);
    }
}

/// The search for one symbol's first difference: the chains agree after `from` events, and not after `to`.
struct Search {
    total: [u64; 2],
    from: u64,
    to: u64,
    /// Whether the chains are known to differ after `to` events.
    to_differs: bool,
    step: u64,
    running: [Chain; 2],
    seen: [Vec<u64>; 2],
    lines: [Option<String>; 2],
}

impl Search {
    fn new(total: [u64; 2]) -> Self {
        let to = total[0].min(total[1]);
        Self {
            total,
            from: 0,
            to,
            to_differs: false,
            step: 1,
            running: Default::default(),
            seen: Default::default(),
            lines: Default::default(),
        }
    }

    /// Whether the first difference is the event `from`.
    fn is_found(&self) -> bool {
        self.from == self.to || (self.to_differs && self.to - self.from == 1)
    }

    /// With 2 or more checkpoints each pass narrows the stretch: its end is one of them, and known to differ.
    fn start(&mut self, checkpoints: u64) {
        assert!(checkpoints >= 2, "one checkpoint narrows nothing");
        self.step = (self.to - self.from).div_ceil(checkpoints).max(1);
        self.running = Default::default();
        self.seen = Default::default();
    }

    fn event(&mut self, file: usize, line: &mut LineBuf) {
        let chain = &mut self.running[file];
        if chain.count < self.to {
            chain.add(line);
            let at = chain.count;
            if at > self.from && ((at - self.from).is_multiple_of(self.step) || at == self.to) {
                self.seen[file].push(chain.hash);
            }
        }
    }

    fn finish(&mut self) {
        let agree = self.seen[0].iter().zip(&self.seen[1]).take_while(|(a, b)| a == b).count() as u64;
        let all = self.seen[0].len().min(self.seen[1].len()) as u64;
        let from = self.from;
        self.from = (from + agree * self.step).min(self.to);
        if agree < all {
            self.to = (from + (agree + 1) * self.step).min(self.to);
            self.to_differs = true;
        } else {
            // All that both have agrees: the shorter one ends here. (Or a file changed meanwhile: the search ends.)
            self.to = self.from;
        }
    }
}

fn diff_with(
    mut open_a: impl FnMut() -> Result<Opened, InputError>,
    mut open_b: impl FnMut() -> Result<Opened, InputError>,
    symbols_max: usize,
    checkpoints: u64,
) -> Result<DiffReport, InputError> {
    let mut chains: HashMap<Box<[u8]>, [Chain; 2]> = HashMap::new();
    let mut damage = [None, None];
    for (file, damage) in damage.iter_mut().enumerate() {
        let opened = if file == 0 { open_a()? } else { open_b()? };
        *damage = for_each_line(opened, symbols_max, |symbol, line| {
            if let Some(pair) = chains.get_mut(symbol) {
                pair[file].add(line);
            } else {
                let mut pair = [Chain::default(); 2];
                pair[file].add(line);
                chains.insert(symbol.into(), pair);
            }
        });
    }
    let [damage_a, damage_b] = damage;
    let events = |file: usize| chains.values().map(|pair| pair[file].count).sum();
    let mut report = DiffReport {
        equal: true,
        events_a: events(0),
        events_b: events(1),
        symbols: chains.len(),
        symbols_differ: 0,
        differences: Vec::new(),
        damage_a,
        damage_b,
    };
    let mut differ: Vec<(&[u8], [Chain; 2])> =
        chains.iter().filter(|(_, [a, b])| a != b).map(|(symbol, pair)| (&**symbol, *pair)).collect();
    report.symbols_differ = differ.len();
    report.equal = differ.is_empty();
    if report.equal {
        return Ok(report);
    }
    differ.sort_unstable_by_key(|(symbol, _)| *symbol);
    differ.truncate(NAMED_MAX);
    let mut searches: BTreeMap<&[u8], Search> =
        differ.iter().map(|(symbol, pair)| (*symbol, Search::new(pair.map(|chain| chain.count)))).collect();

    while !searches.values().all(Search::is_found) {
        searches.values_mut().for_each(|search| search.start(checkpoints));
        for file in 0..2 {
            let opened = if file == 0 { open_a()? } else { open_b()? };
            for_each_line(opened, symbols_max, |symbol, line| {
                if let Some(search) = searches.get_mut(symbol)
                    && !search.is_found()
                {
                    search.event(file, line);
                }
            });
        }
        searches.values_mut().filter(|search| !search.is_found()).for_each(Search::finish);
    }
    for file in 0..2 {
        let opened = if file == 0 { open_a()? } else { open_b()? };
        searches.values_mut().for_each(|search| search.running[file].count = 0);
        for_each_line(opened, symbols_max, |symbol, line| {
            if let Some(search) = searches.get_mut(symbol) {
                if search.running[file].count == search.from {
                    search.lines[file] = Some(String::from_utf8_lossy(line.text()).into_owned());
                }
                search.running[file].count += 1;
            }
        });
    }
    report.differences = searches
        .into_iter()
        .map(|(symbol, search)| {
            let [a, b] = search.lines;
            let [count_a, count_b] = search.total;
            let symbol = String::from_utf8_lossy(symbol).into_owned();
            Difference { symbol, index: search.from, a, b, count_a, count_b }
        })
        .collect();
    Ok(report)
}

/// A line behind eight bytes for the chain's hash, so that both are hashed as one.
struct LineBuf {
    bytes: Vec<u8>,
}

impl LineBuf {
    const HASH_BYTES: usize = size_of::<u64>();

    fn new() -> Self {
        Self { bytes: vec![0; Self::HASH_BYTES] }
    }

    /// Empty, to write a line behind.
    fn cleared(&mut self) -> &mut Vec<u8> {
        self.bytes.truncate(Self::HASH_BYTES);
        &mut self.bytes
    }

    /// The line without its end.
    fn text(&self) -> &[u8] {
        let line = &self.bytes[Self::HASH_BYTES..];
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        line.strip_suffix(b"\r").unwrap_or(line)
    }

    fn hash_after(&mut self, chain: u64) -> u64 {
        let len = Self::HASH_BYTES + self.text().len();
        self.bytes[..Self::HASH_BYTES].copy_from_slice(&chain.to_le_bytes());
        hash::stable(&self.bytes[..len])
    }
}

/// Calls `each` with symbol and line of every event that is compared. Returns what ended the file early.
fn for_each_line(opened: Opened, symbols_max: usize, each: impl FnMut(&[u8], &mut LineBuf)) -> Option<InputError> {
    match opened {
        Opened::Events(input) => each_event(input, symbols_max, each),
        Opened::Ndjson { reader, path } => each_ndjson(reader, &path, symbols_max, each),
    }
    .err()
}

fn each_event(
    mut input: Box<dyn Input>,
    symbols_max: usize,
    mut each: impl FnMut(&[u8], &mut LineBuf),
) -> Result<(), InputError> {
    let mut catalog = Catalog::new(symbols_max);
    let mut slots = SlotBuf::with_capacity(MESSAGE_SLOTS_MAX);
    let mut line = LineBuf::new();
    let mut symbol = Vec::new();
    loop {
        let status = input.read(&mut catalog, &mut slots);
        let mut rest = slots.slots();
        while let Some(event) = EventRef::first(rest) {
            rest = &rest[event.slots().len()..];
            if event.kind().is_control() {
                continue;
            }
            ndjson::write_event(&catalog, event, line.cleared());
            let parts = parts_of(line.text()).expect("the line was written here");
            symbol.clear();
            symbol.extend_from_slice(parts.symbol);
            each(&symbol, &mut line);
        }
        match status? {
            Status::End => return Ok(()),
            Status::More => assert!(!slots.slots().is_empty(), "an empty buffer takes a message of any input"),
        }
        slots.clear();
    }
}

fn each_ndjson(
    mut reader: Box<dyn BufRead>,
    path: &str,
    symbols_max: usize,
    mut each: impl FnMut(&[u8], &mut LineBuf),
) -> Result<(), InputError> {
    let mut line = LineBuf::new();
    // No symbol and each of a line; what is new is counted against the limit.
    let mut symbols: HashMap<Box<[u8]>, ()> = HashMap::new();
    let mut symbol = Vec::new();
    for number in 1.. {
        let at = Position::Line(number);
        let damaged = |why: String| InputError::Damaged { path: path.to_owned(), at, why };
        let mut limited = reader.by_ref().take(LINE_BYTES_MAX as u64);
        let read = limited.read_until(b'\n', line.cleared()).map_err(|error| damaged(error.to_string()))?;
        if read == 0 {
            break;
        }
        let text = line.text();
        if text.is_empty() {
            continue;
        }
        if read == LINE_BYTES_MAX && !line.bytes.ends_with(b"\n") {
            return Err(damaged(format!("the line is longer than {LINE_BYTES_MAX} bytes")));
        }
        if !text.ends_with(b"}") {
            return Err(damaged("the line is cut short".to_owned()));
        }
        let Some(parts) = parts_of(text) else {
            return Err(damaged("no event as tapeline writes them".to_owned()));
        };
        if Kind::from_name(parts.kind).is_some_and(Kind::is_control) {
            continue;
        }
        symbol.clear();
        symbol.extend_from_slice(parts.symbol);
        if !symbols.contains_key(&symbol[..]) {
            if symbols.len() >= symbols_max {
                let error = CatalogError::SymbolsFull(symbols_max);
                return Err(InputError::Catalog { path: path.to_owned(), at, error });
            }
            symbols.insert(symbol[..].into(), ());
        }
        each(&symbol, &mut line);
    }
    Ok(())
}

/// What a line is compared by.
struct Parts<'a> {
    kind: &'a str,
    /// As it stands in the line, escapes included.
    symbol: &'a [u8],
}

/// Kind and symbol of a line, which [`ndjson::write_event`] puts first and second. `None` for a line of another make.
fn parts_of(line: &[u8]) -> Option<Parts<'_>> {
    let line = line.strip_prefix(b"{\"kind\":\"")?;
    let end = line.iter().position(|byte| *byte == b'"')?;
    let kind = std::str::from_utf8(&line[..end]).ok()?;
    let line = line[end..].strip_prefix(b"\",\"symbol\":\"")?;
    let mut escaped = false;
    let end = line.iter().position(|byte| {
        let is_end = *byte == b'"' && !escaped;
        escaped = *byte == b'\\' && !escaped;
        is_end
    })?;
    Some(Parts { kind, symbol: &line[..end] })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::input::Tally;
    use std::cell::Cell;
    use std::io::Cursor;
    use tapeline_core::catalog::SeqRule;
    use tapeline_core::event::payload::{Tick, Trade};
    use tapeline_core::event::{EventBuf, Flags};

    /// (symbol, value) of one trade.
    type Event = (String, i64);

    /// An input of trades, in buffers of a few, with a tick now and then.
    struct Trades {
        events: Vec<Event>,
        at: usize,
        damage: bool,
    }

    impl Input for Trades {
        fn format(&self) -> &'static str {
            "test"
        }

        fn read(&mut self, catalog: &mut Catalog, out: &mut SlotBuf) -> Result<Status, InputError> {
            for _ in 0..7 {
                let Some((symbol, value)) = self.events.get(self.at) else {
                    if self.damage {
                        self.damage = false;
                        let at = Position::Offset(9);
                        return Err(InputError::Damaged { path: "t".to_owned(), at, why: "cut".to_owned() });
                    }
                    return Ok(Status::End);
                };
                if self.at % 5 == 2 {
                    out.extend(EventBuf::new(&Tick::default()).slots());
                }
                let mut event = EventBuf::new(&Trade { price: *value, size: 1, ..Trade::default() });
                event.flag(Flags::LAST);
                if !symbol.is_empty() {
                    event.head_mut().symbol = catalog.symbol(symbol.as_bytes()).unwrap();
                }
                event.head_mut().source = catalog.source(b"test", SeqRule::Increasing).unwrap();
                out.extend(event.slots());
                self.at += 1;
            }
            Ok(Status::More)
        }

        fn tally(&self) -> Tally {
            Tally::default()
        }
    }

    fn as_events(events: &[Event]) -> Opened {
        Opened::Events(Box::new(Trades { events: events.to_vec(), at: 0, damage: false }))
    }

    fn as_ndjson(events: &[Event]) -> Opened {
        let mut text = Vec::new();
        each_event(Box::new(Trades { events: events.to_vec(), at: 0, damage: false }), 1000, |_, line| {
            text.extend_from_slice(&line.bytes[LineBuf::HASH_BYTES..]);
        })
        .unwrap();
        // A control line and an empty one, which are not compared.
        text.extend_from_slice(b"{\"kind\":\"tick\",\"symbol\":\"\",\"source\":\"\"}\n\n");
        Opened::Ndjson { reader: Box::new(Cursor::new(text)), path: "x.ndjson".to_owned() }
    }

    /// The naive twin: all in memory.
    fn naive(a: &[Event], b: &[Event]) -> Vec<(String, u64, u64, u64)> {
        let mut symbols: BTreeMap<&str, [Vec<i64>; 2]> = BTreeMap::new();
        for (file, events) in [a, b].into_iter().enumerate() {
            for (symbol, value) in events {
                symbols.entry(symbol).or_default()[file].push(*value);
            }
        }
        let differ = symbols.into_iter().filter(|(_, [a, b])| a != b);
        differ
            .map(|(symbol, [a, b])| {
                let index = a.iter().zip(&b).take_while(|(a, b)| a == b).count();
                (symbol.to_owned(), index as u64, a.len() as u64, b.len() as u64)
            })
            .collect()
    }

    struct Random(u64);

    impl Random {
        fn below(&mut self, n: u64) -> u64 {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = self.0;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            (z ^ (z >> 31)) % n
        }
    }

    /// The same events with another interleaving of the symbols.
    fn interleaved(events: &[Event], random: &mut Random) -> Vec<Event> {
        let mut queues: BTreeMap<&str, std::collections::VecDeque<&Event>> = BTreeMap::new();
        for event in events {
            queues.entry(&event.0).or_default().push_back(event);
        }
        let mut out = Vec::new();
        while !queues.is_empty() {
            let symbol = *queues.keys().nth(random.below(queues.len() as u64) as usize).unwrap();
            let queue = queues.get_mut(symbol).unwrap();
            out.push(queue.pop_front().unwrap().clone());
            if queue.is_empty() {
                queues.remove(symbol);
            }
        }
        out
    }

    #[test]
    fn agrees_with_the_naive_twin_on_random_files() {
        for seed in 0..400 {
            let mut random = Random(seed);
            let names = ["", "A", "B:quo\"te\\", "C\u{7}", "Ünï", "E"];
            let len = random.below(300);
            let a: Vec<Event> = (0..len)
                .map(|_| (names[random.below(1 + seed % 6) as usize].to_owned(), random.below(4) as i64))
                .collect();
            let mut b = interleaved(&a, &mut random);
            for _ in 0..random.below(4) {
                let at = random.below(b.len().max(1) as u64) as usize;
                match random.below(4) {
                    0 if at < b.len() => drop(b.remove(at)),
                    1 => b.insert(at, (names[random.below(6) as usize].to_owned(), 1)),
                    2 if at < b.len() => b[at].1 += 1,
                    _ => b.truncate(b.len() - random.below(b.len() as u64 / 4 + 1) as usize),
                }
            }
            let want = naive(&a, &b);
            for (checkpoints, ndjson) in [(5, false), (2, true), (3, false), (CHECKPOINTS, true)] {
                let report = diff_with(
                    || Ok(as_events(&a)),
                    || Ok(if ndjson { as_ndjson(&b) } else { as_events(&b) }),
                    100,
                    checkpoints,
                )
                .unwrap();
                let found: Vec<_> = report
                    .differences
                    .iter()
                    .map(|d| {
                        // The symbol is as JSON shows it.
                        let symbol: String = serde_json::from_str(&format!("\"{}\"", d.symbol)).unwrap();
                        assert_eq!(d.a.is_some(), d.index < d.count_a, "seed {seed}");
                        assert_eq!(d.b.is_some(), d.index < d.count_b, "seed {seed}");
                        assert_ne!(d.a, d.b, "seed {seed}");
                        (symbol, d.index, d.count_a, d.count_b)
                    })
                    .collect();
                let mut want = want.clone();
                want.sort();
                let mut found = found;
                found.sort();
                assert_eq!(found, want, "seed {seed}, {checkpoints} checkpoints, ndjson {ndjson}");
                assert_eq!(report.equal, want.is_empty(), "seed {seed}");
                assert_eq!((report.events_a, report.events_b), (a.len() as u64, b.len() as u64));
                assert_eq!(report.exit_code(), u8::from(!want.is_empty()));
                assert!(report.damage_a.is_none() && report.damage_b.is_none());
            }
        }
    }

    #[test]
    fn equal_files_take_one_pass_and_others_few() {
        let a: Vec<Event> = (0..10_000).map(|i| ("A".to_owned(), i)).collect();
        let mut b = a.clone();
        let passes = |a: &[Event], b: &[Event]| {
            let opened = Cell::new(0);
            let open = |events: &[Event]| {
                opened.set(opened.get() + 1);
                Ok(as_events(events))
            };
            let report = diff(|| open(a), || open(b), 10).unwrap();
            (opened.get(), report)
        };
        let (opened, report) = passes(&a, &b);
        assert_eq!(opened, 2);
        assert_eq!(report.to_string(), "equal: 10000 events of 1 symbols");
        b[8_191].1 = -5;
        let (opened, report) = passes(&a, &b);
        assert_eq!(opened, 2 * (1 + 2 + 1), "two to narrow 10,000 events down, one for the lines");
        let text = report.to_string();
        assert!(
            text.starts_with("A: event 8191 differs (A has 10000, B has 10000)\n  A: {\"kind\":\"trade\""),
            "{text}"
        );
        assert!(text.contains("\"price\":\"-0.000000005\""));
        assert!(text.ends_with("different: 1 of 1 symbols; A has 10000 events, B has 10000"));
        b.truncate(8_191);
        let (_, report) = passes(&a, &b);
        assert_eq!((report.differences[0].index, report.differences[0].b.clone()), (8_191, None));
        assert!(report.to_string().contains("\n  B ends\n"));
    }

    #[test]
    fn many_symbols_are_counted_and_the_first_named() {
        let a: Vec<Event> = (0..150).map(|i| (format!("S{i:03}"), 1)).collect();
        let report = diff(|| Ok(as_events(&a)), || Ok(as_events(&[])), 1000).unwrap();
        assert_eq!((report.symbols_differ, report.differences.len()), (150, NAMED_MAX));
        assert_eq!(report.differences[99].symbol, "S099");
        assert!(report.to_string().contains("\nand 50 more symbols that differ\n"));
    }

    #[test]
    fn damage_is_reported_beside_what_was_compared() {
        let a: Vec<Event> = (0..9).map(|i| ("A".to_owned(), i)).collect();
        let damaged = || Ok(Opened::Events(Box::new(Trades { events: a[..5].to_vec(), at: 0, damage: true })));
        let report = diff(|| Ok(as_events(&a)), damaged, 10).unwrap();
        assert_eq!((report.differences[0].index, report.exit_code()), (5, 3));
        assert!(report.to_string().starts_with("B was compared up to its damage: t: offset 9: cut\n"));

        let lines = |text: &str| {
            let reader = Box::new(Cursor::new(text.as_bytes().to_vec()));
            Ok(Opened::Ndjson { reader, path: "x".to_owned() })
        };
        let line = "{\"kind\":\"trade\",\"symbol\":\"A\"}\n";
        let long = format!("{line}{}", "x".repeat(LINE_BYTES_MAX));
        for (text, why) in [
            (format!("{line}{{\"kind\":\"tra"), "x: line 2: the line is cut short"),
            (format!("{line}{line}{{\"a\":1}}\n"), "x: line 3: no event as tapeline writes them"),
            (long, "x: line 2: the line is longer than 131072 bytes"),
        ] {
            let report = diff(|| lines(&text), || lines(line), 10).unwrap();
            assert_eq!(report.damage_a.as_ref().map(ToString::to_string).as_deref(), Some(why));
            assert_eq!(report.exit_code(), 3);
        }
        let many = "{\"kind\":\"trade\",\"symbol\":\"A\"}\n{\"kind\":\"trade\",\"symbol\":\"B\"}\n\
                    {\"kind\":\"trade\",\"symbol\":\"C\"}\n";
        let report = diff(|| lines(many), || lines(many), 2).unwrap();
        assert_eq!((report.events_a, report.exit_code()), (2, 2));
        let missing = || Err(InputError::Open { path: "y".to_owned(), error: std::io::ErrorKind::NotFound.into() });
        assert_eq!(diff(|| lines(line), missing, 10).unwrap_err().exit_code(), 2);
    }
}
