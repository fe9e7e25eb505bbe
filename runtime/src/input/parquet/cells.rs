//! The values of one column, row by row.

use super::Damage;
use super::bits::{Delta, Hybrid, Why};
use super::footer::{Chunk, Column, Physical};
use super::page::{Budget, Holds, Page, Pages, kept};
use super::source::Source;

/// Days from Julian day 0 to 1970-01-01.
const JULIAN_EPOCH_DAYS: i64 = 2_440_588;
const DAY_NS: i64 = 86_400_000_000_000;
const CUT: Why = "its values are cut short";

/// A text or number in bytes: from, length. In the page's bytes, or in the dictionary's.
type Range = (u32, u32);

/// Values of one physical type.
#[derive(Clone, Debug)]
pub(super) enum Values {
    /// Integers and booleans; of a 96-bit time, its ns since the epoch.
    Int(Vec<i64>),
    Single(Vec<f32>),
    Double(Vec<f64>),
    /// Ranges of [`Cells::arena`].
    Bytes(Vec<Range>),
}

impl Values {
    fn new(physical: Physical) -> Self {
        match physical {
            Physical::Bool | Physical::Int32 | Physical::Int64 | Physical::Int96 => Self::Int(Vec::new()),
            Physical::Float => Self::Single(Vec::new()),
            Physical::Double => Self::Double(Vec::new()),
            Physical::Bytes | Physical::Fixed(_) => Self::Bytes(Vec::new()),
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::Int(values) => values.len(),
            Self::Single(values) => values.len(),
            Self::Double(values) => values.len(),
            Self::Bytes(values) => values.len(),
        }
    }

    fn clear(&mut self) {
        match self {
            Self::Int(values) => values.clear(),
            Self::Single(values) => values.clear(),
            Self::Double(values) => values.clear(),
            Self::Bytes(values) => values.clear(),
        }
    }

    /// Moves values from `from` on to the rows that have one; the others get nothing of meaning.
    fn spread(&mut self, from: usize, has: &[bool]) {
        fn spread<T: Copy + Default>(values: &mut Vec<T>, from: usize, has: &[bool]) {
            let mut next = values.len();
            values.resize(from + has.len(), T::default());
            for (row, has) in has.iter().enumerate().rev().filter(|(_, has)| **has) {
                next -= 1;
                values[from + row] = values[next];
                debug_assert!(*has);
            }
            debug_assert_eq!(next, from, "Invariant: as many values as rows that have one");
        }
        match self {
            Self::Int(values) => spread(values, from, has),
            Self::Single(values) => spread(values, from, has),
            Self::Double(values) => spread(values, from, has),
            Self::Bytes(values) => spread(values, from, has),
        }
    }
}

/// Rows of a column.
#[derive(Debug)]
pub(super) struct Cells {
    pub(super) values: Values,
    /// Whether the row has a value.
    pub(super) has: Vec<bool>,
    pub(super) arena: Vec<u8>,
}

impl Cells {
    pub(super) fn clear(&mut self) {
        self.values.clear();
        self.has.clear();
        self.arena.clear();
    }

    pub(super) fn rows(&self) -> usize {
        self.has.len()
    }

    /// The text of a row of bytes.
    pub(super) fn bytes(&self, row: usize) -> &[u8] {
        match &self.values {
            Values::Bytes(ranges) => {
                let (from, length) = ranges[row];
                &self.arena[from as usize..(from + length) as usize]
            }
            _ => &[],
        }
    }
}

/// How the values of the page at hand are stored.
enum Coding {
    /// One after the other, from this byte on.
    Plain(usize),
    /// A bit each, from this bit on.
    Bits(usize),
    /// Booleans by runs.
    Runs(Hybrid),
    /// Numbers of values of the dictionary.
    Indices(Hybrid),
    Deltas(Delta),
    /// Lengths, then all texts from this byte on.
    Lengths(Delta, usize),
    /// Bytes shared with the text before, bytes that are new, then these from this byte on; the text before.
    Prefixes(Delta, Delta, usize, Vec<u8>),
    /// All first bytes, then all second ones, and so on: values of the page, the next one, where they begin.
    Split {
        values: usize,
        next: usize,
        at: usize,
    },
}

/// The page at hand.
struct Open {
    page: Page,
    levels: Option<Hybrid>,
    coding: Coding,
    rows_left: usize,
}

/// The dictionary of a chunk.
struct Dictionary {
    values: Values,
    bytes: Vec<u8>,
    taken: usize,
}

/// A column that is being read. See the [module](self).
pub(super) struct Reader {
    pub(super) column: Column,
    pages: Option<Pages>,
    dictionary: Option<Dictionary>,
    open: Option<Open>,
    spare: Vec<u8>,
    pub(super) cells: Cells,
}

impl Reader {
    pub(super) fn new(column: Column) -> Self {
        let cells = Cells { values: Values::new(column.physical), has: Vec::new(), arena: Vec::new() };
        Self { column, pages: None, dictionary: None, open: None, spare: Vec::new(), cells }
    }

    /// Goes on with the values of another row group.
    pub(super) fn start(&mut self, chunk: Chunk, budget: &mut Budget) {
        self.close(budget);
        if let Some(dictionary) = self.dictionary.take() {
            budget.give(dictionary.taken);
        }
        match &mut self.pages {
            Some(pages) => pages.restart(chunk),
            none => *none = Some(Pages::new(chunk)),
        }
    }

    fn close(&mut self, budget: &mut Budget) {
        if let Some(open) = self.open.take() {
            budget.give(open.page.bytes.len());
            self.spare = kept(open.page.bytes);
        }
    }

    /// Where the next page begins.
    pub(super) fn at(&self) -> u64 {
        self.pages.as_ref().map_or(0, Pages::at)
    }

    /// Reads until there are `upto` rows, or fewer where the row group has no more. What was read before an error stands.
    pub(super) fn read(&mut self, upto: usize, source: &mut Source, budget: &mut Budget) -> Result<(), Damage> {
        while self.cells.rows() < upto {
            let Some(open) = self.open.as_mut().filter(|open| open.rows_left > 0) else {
                self.close(budget);
                if !self.next_page(source, budget)? {
                    return Ok(());
                }
                continue;
            };
            let rows = (upto - self.cells.rows()).min(open.rows_left);
            let (from, from_rows) = (self.cells.values.len(), self.cells.rows());
            let levels = match &mut open.levels {
                None => {
                    self.cells.has.resize(from_rows + rows, true);
                    Ok(rows)
                }
                Some(levels) => {
                    let has = &mut self.cells.has;
                    let mut values = 0;
                    let read = levels.read(&open.page.bytes, rows, |level, times| {
                        has.resize(has.len() + times, level > 0);
                        values += if level > 0 { times } else { 0 };
                        Ok(())
                    });
                    read.map(|()| values)
                }
            };
            let wanted = self.cells.has[from_rows..].iter().filter(|has| **has).count();
            let read = values(open, self.dictionary.as_ref(), self.column.physical, wanted, &mut self.cells);
            if let Err(why) = levels.map(drop).and(read) {
                // The rows up to the first value that could not be read.
                let got = self.cells.values.len() - from;
                let mut values = 0;
                let whole = self.cells.has[from_rows..].iter().take_while(|has| {
                    values += usize::from(**has);
                    values <= got
                });
                let whole = whole.count();
                self.cells.has.truncate(from_rows + whole);
                self.cells.values.spread(from, &self.cells.has[from_rows..]);
                return Err(Damage::new(open.page.at, why));
            }
            if wanted < rows {
                self.cells.values.spread(from, &self.cells.has[from_rows..]);
            }
            open.rows_left -= rows;
        }
        Ok(())
    }

    fn next_page(&mut self, source: &mut Source, budget: &mut Budget) -> Result<bool, Damage> {
        loop {
            let Some(pages) = &mut self.pages else { return Ok(false) };
            let Some(page) = pages.next(source, budget, std::mem::take(&mut self.spare))? else { return Ok(false) };
            let (at, taken) = (page.at, page.bytes.len());
            if page.holds == Holds::Dictionary {
                let dictionary = self.dictionary(page, budget).map_err(|why| {
                    budget.give(taken);
                    Damage::new(at, why)
                })?;
                if let Some(old) = self.dictionary.replace(dictionary) {
                    budget.give(old.taken);
                }
                continue;
            }
            let open = self.open(page).map_err(|why| {
                budget.give(taken);
                Damage::new(at, why)
            })?;
            self.open = Some(open);
            return Ok(true);
        }
    }

    fn dictionary(&self, page: Page, budget: &mut Budget) -> Result<Dictionary, String> {
        let physical = self.column.physical;
        let least = match physical {
            Physical::Bool => return Err("a dictionary of booleans".to_owned()),
            Physical::Int32 | Physical::Float | Physical::Bytes => 4,
            Physical::Int64 | Physical::Double => 8,
            Physical::Int96 => 12,
            Physical::Fixed(length) => length,
        };
        if !matches!(page.encoding, 0 | 2) {
            return Err(format!("a dictionary in encoding {}", page.encoding));
        }
        // A dictionary has no more values than its bytes have room for.
        if page.values > page.bytes.len() / least {
            return Err(format!("a dictionary of {} values in {} bytes", page.values, page.bytes.len()));
        }
        let more = page.values * 8;
        let taken = page.bytes.len() + more;
        budget.also(more, page.at).map_err(|damage| damage.why)?;
        let mut values = Values::new(physical);
        let (mut at, mut bytes) = (0, Vec::new());
        if let Err(why) = plain(&page.bytes, &mut at, physical, page.values, &mut values, None) {
            budget.give(more);
            return Err(why.to_owned());
        }
        if matches!(values, Values::Bytes(_)) {
            bytes = page.bytes;
        }
        Ok(Dictionary { values, bytes, taken })
    }

    /// Finds levels and values in a page.
    fn open(&self, page: Page) -> Result<Open, String> {
        let Holds::Data { levels, level_encoding } = page.holds else { return Err("a page of no values".to_owned()) };
        let bytes = &page.bytes;
        let (level_at, at) = match levels {
            Some((repetition, definition)) => (repetition, repetition + definition),
            None if !self.column.is_optional => (0, 0),
            None => {
                if level_encoding != 3 {
                    return Err(format!("levels in encoding {level_encoding}"));
                }
                let length = bytes.first_chunk::<4>().ok_or("its levels are cut short")?;
                let at = (u32::from_le_bytes(*length) as usize).checked_add(4).filter(|at| *at <= bytes.len());
                (4, at.ok_or("its levels are longer than the page")?)
            }
        };
        let levels = if self.column.is_optional { Some(Hybrid::new(1, level_at)?) } else { None };
        let physical = self.column.physical;
        let is_bytes = matches!(physical, Physical::Bytes | Physical::Fixed(_));
        let coding = match page.encoding {
            0 if physical == Physical::Bool => Coding::Bits(at * 8),
            0 => Coding::Plain(at),
            2 | 8 => {
                if self.dictionary.is_none() {
                    return Err("numbers of a dictionary that is missing".to_owned());
                }
                // A page of nothing but nulls may be empty.
                match bytes.get(at) {
                    Some(width) => Coding::Indices(Hybrid::new(u32::from(*width), at + 1)?),
                    None => Coding::Plain(at),
                }
            }
            3 if physical == Physical::Bool => Coding::Runs(Hybrid::new(1, at + 4)?),
            5 if matches!(physical, Physical::Int32 | Physical::Int64) => {
                if at == bytes.len() {
                    Coding::Plain(at)
                } else {
                    Coding::Deltas(Delta::new(bytes, at)?)
                }
            }
            6 | 7 if is_bytes && at == bytes.len() => Coding::Plain(at),
            6 if physical == Physical::Bytes => {
                let lengths = Delta::new(bytes, at)?;
                let at = lengths.clone().end(bytes)?;
                Coding::Lengths(lengths, at)
            }
            7 if is_bytes => {
                let prefixes = Delta::new(bytes, at)?;
                let lengths = Delta::new(bytes, prefixes.clone().end(bytes)?)?;
                let at = lengths.clone().end(bytes)?;
                Coding::Prefixes(prefixes, lengths, at, Vec::new())
            }
            9 if !matches!(physical, Physical::Bool | Physical::Bytes | Physical::Int96) => {
                let size = size(physical);
                let length = bytes.len() - at;
                if !length.is_multiple_of(size) || length / size > page.values {
                    return Err("its values are no whole number of bytes each".to_owned());
                }
                Coding::Split { values: length / size, next: 0, at }
            }
            encoding => return Err(format!("values of this type in encoding {encoding}")),
        };
        let rows_left = page.values;
        Ok(Open { page, levels, coding, rows_left })
    }
}

/// Bytes of a value of fixed size.
const fn size(physical: Physical) -> usize {
    match physical {
        Physical::Bool => 1,
        Physical::Int32 | Physical::Float | Physical::Bytes => 4,
        Physical::Int64 | Physical::Double => 8,
        Physical::Int96 => 12,
        Physical::Fixed(length) => length,
    }
}

/// Appends the next `count` values of a page. What was appended before an error stands.
fn values(
    open: &mut Open,
    dictionary: Option<&Dictionary>,
    physical: Physical,
    count: usize,
    cells: &mut Cells,
) -> Result<(), Why> {
    let (bytes, arena) = (&open.page.bytes, &mut cells.arena);
    match (&mut open.coding, &mut cells.values) {
        (Coding::Plain(at), values) => plain(bytes, at, physical, count, values, Some(arena)),
        (Coding::Bits(bit), Values::Int(values)) => {
            for _ in 0..count {
                let byte = bytes.get(*bit / 8).ok_or(CUT)?;
                values.push(i64::from(byte >> (*bit % 8) & 1));
                *bit += 1;
            }
            Ok(())
        }
        (Coding::Runs(runs), Values::Int(values)) => runs.read(bytes, count, |value, times| {
            values.resize(values.len() + times, i64::from(value));
            Ok(())
        }),
        (Coding::Indices(indices), values) => {
            let dictionary = dictionary.ok_or("its dictionary is missing")?;
            const BEYOND: Why = "a number beyond its dictionary";
            match (values, &dictionary.values) {
                (Values::Int(values), Values::Int(known)) => indices.read(bytes, count, |index, times| {
                    let value = *known.get(index as usize).ok_or(BEYOND)?;
                    if times == 1 {
                        values.push(value)
                    } else {
                        values.resize(values.len() + times, value)
                    }
                    Ok(())
                }),
                (Values::Double(values), Values::Double(known)) => indices.read(bytes, count, |index, times| {
                    let value = *known.get(index as usize).ok_or(BEYOND)?;
                    if times == 1 {
                        values.push(value)
                    } else {
                        values.resize(values.len() + times, value)
                    }
                    Ok(())
                }),
                (Values::Single(values), Values::Single(known)) => indices.read(bytes, count, |index, times| {
                    let value = *known.get(index as usize).ok_or(BEYOND)?;
                    values.resize(values.len() + times, value);
                    Ok(())
                }),
                (Values::Bytes(values), Values::Bytes(known)) => indices.read(bytes, count, |index, times| {
                    let (from, length) = *known.get(index as usize).ok_or(BEYOND)?;
                    let text = &dictionary.bytes[from as usize..(from + length) as usize];
                    let range = keep(text, arena)?;
                    values.resize(values.len() + times, range);
                    Ok(())
                }),
                _ => Err("a dictionary of another type"),
            }
        }
        (Coding::Deltas(deltas), Values::Int(values)) => deltas.read(bytes, count, |value| {
            values.push(if physical == Physical::Int32 { i64::from(value as i32) } else { value });
            Ok(())
        }),
        (Coding::Lengths(lengths, at), Values::Bytes(values)) => lengths.read(bytes, count, |length| {
            let text = usize::try_from(length).ok().and_then(|length| bytes.get(*at..at.checked_add(length)?));
            let text = text.ok_or(CUT)?;
            *at += text.len();
            values.push(keep(text, arena)?);
            Ok(())
        }),
        (Coding::Prefixes(prefixes, lengths, at, before), Values::Bytes(values)) => {
            for _ in 0..count {
                let (prefix, length) = (prefixes.next(bytes)?, lengths.next(bytes)?);
                let text = usize::try_from(length).ok().and_then(|length| bytes.get(*at..at.checked_add(length)?));
                let text = text.ok_or(CUT)?;
                let prefix = usize::try_from(prefix).ok().filter(|prefix| *prefix <= before.len());
                before.truncate(prefix.ok_or("more bytes of the text before than it has")?);
                before.extend_from_slice(text);
                *at += text.len();
                values.push(keep(before, arena)?);
            }
            Ok(())
        }
        (Coding::Split { values: all, next, at }, values) => {
            let size = size(physical);
            let mut buffer = [0u8; 16];
            for _ in 0..count {
                if next == all {
                    return Err(CUT);
                }
                let byte = |index: usize| bytes[*at + index * *all + *next];
                let mut from = 0;
                if size <= buffer.len() {
                    for (index, to) in buffer[..size].iter_mut().enumerate() {
                        *to = byte(index);
                    }
                    plain(&buffer[..size], &mut from, physical, 1, values, Some(arena))?;
                } else {
                    let text: Vec<u8> = (0..size).map(byte).collect();
                    plain(&text, &mut from, physical, 1, values, Some(arena))?;
                }
                *next += 1;
            }
            Ok(())
        }
        _ => Err("values of another type"),
    }
}

/// Most bytes of texts of one batch of rows: far more than names and numbers in words are.
const ARENA_BYTES_MAX: usize = 16 << 20;

/// Puts a text into the arena.
fn keep(text: &[u8], arena: &mut Vec<u8>) -> Result<Range, Why> {
    if arena.len() + text.len() > ARENA_BYTES_MAX {
        return Err("its texts are longer than names and numbers are");
    }
    // A text that comes again and again stands there once.
    if arena.ends_with(text) {
        return Ok(((arena.len() - text.len()) as u32, text.len() as u32));
    }
    let from = arena.len() as u32;
    arena.extend_from_slice(text);
    Ok((from, text.len() as u32))
}

/// Appends `count` values that stand one after the other. Texts go to `arena`; without one, their ranges are those of `bytes`.
fn plain(
    bytes: &[u8],
    at: &mut usize,
    physical: Physical,
    count: usize,
    values: &mut Values,
    mut arena: Option<&mut Vec<u8>>,
) -> Result<(), Why> {
    fn fixed<const N: usize, T>(
        bytes: &[u8],
        at: &mut usize,
        count: usize,
        values: &mut Vec<T>,
        value: impl Fn([u8; N]) -> T,
    ) -> Result<(), Why> {
        let rest = &bytes[(*at).min(bytes.len())..];
        let have = count.min(rest.len() / N);
        let (chunks, _) = rest[..have * N].as_chunks::<N>();
        values.extend(chunks.iter().map(|chunk| value(*chunk)));
        *at += have * N;
        if have == count { Ok(()) } else { Err(CUT) }
    }
    match (physical, values) {
        (Physical::Int32, Values::Int(values)) => {
            fixed(bytes, at, count, values, |chunk| i64::from(i32::from_le_bytes(chunk)))
        }
        (Physical::Int64, Values::Int(values)) => fixed(bytes, at, count, values, i64::from_le_bytes),
        (Physical::Int96, Values::Int(values)) => fixed(bytes, at, count, values, int96),
        (Physical::Float, Values::Single(values)) => fixed(bytes, at, count, values, f32::from_le_bytes),
        (Physical::Double, Values::Double(values)) => fixed(bytes, at, count, values, f64::from_le_bytes),
        (Physical::Bytes | Physical::Fixed(_), Values::Bytes(values)) => {
            for _ in 0..count {
                let length = match physical {
                    Physical::Fixed(length) => length,
                    _ => {
                        let length = bytes.get(*at..).and_then(|rest| rest.first_chunk::<4>()).ok_or(CUT)?;
                        *at += 4;
                        u32::from_le_bytes(*length) as usize
                    }
                };
                let text = at.checked_add(length).and_then(|end| bytes.get(*at..end)).ok_or(CUT)?;
                values.push(match &mut arena {
                    Some(arena) => keep(text, arena)?,
                    None => (*at as u32, length as u32),
                });
                *at += length;
            }
            Ok(())
        }
        _ if count == 0 => Ok(()),
        _ => Err("values of another type"),
    }
}

/// A time of Impala and old Spark: ns of the day, and the Julian day. One that does not fit is the least there is, which is no time.
fn int96(chunk: [u8; 12]) -> i64 {
    let (nanos, day) = chunk.split_at(8);
    let nanos = i64::from_le_bytes(nanos.try_into().expect("eight bytes"));
    let day = i64::from(i32::from_le_bytes(day.try_into().expect("four bytes")));
    let days = (day - JULIAN_EPOCH_DAYS).checked_mul(DAY_NS);
    days.and_then(|days| days.checked_add(nanos)).unwrap_or(i64::MIN)
}
