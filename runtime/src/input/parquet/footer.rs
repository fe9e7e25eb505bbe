//! The footer: which columns a file has, and where the parts of them are.
//!
//! Source: *Parquet thrift definition* (apache/parquet-format, parquet.thrift). A file ends with
//! ```text
//! FileMetaData   thrift, so long as is said next
//! length u32     little-endian
//! "PAR1"         "PARE" where the footer is encrypted
//! ```
//! The footer's bytes are kept, [`FOOTER_BYTES_MAX`] of them at most, and its row groups are read from them one by one: those of a file of
//! very many small ones would take ten times as much as structures.

use super::Damage;
use super::source::Source;
use super::thrift::{Malformed, Reader, Type};

/// Longest footer that is read: some 79,000 row groups of six columns with statistics, as pyarrow writes them (633 bytes each).
pub(super) const FOOTER_BYTES_MAX: u64 = 48 << 20;
/// Columns that a file may have.
const COLUMNS_MAX: usize = 10_000;
/// Bytes after the footer: its length and the mark.
const TAIL_BYTES: u64 = 8;
const MAGIC: &[u8; 4] = b"PAR1";

/// How the bytes of a value are stored.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Physical {
    Bool,
    Int32,
    Int64,
    Int96,
    Float,
    Double,
    Bytes,
    /// So many bytes each.
    Fixed(usize),
}

/// Unit of a time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Unit {
    Seconds,
    Millis,
    Micros,
    Nanos,
}

impl Unit {
    pub(super) const fn nanos(self) -> u64 {
        match self {
            Self::Seconds => 1_000_000_000,
            Self::Millis => 1_000_000,
            Self::Micros => 1_000,
            Self::Nanos => 1,
        }
    }
}

/// What values mean.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Meaning {
    /// What its bytes are: numbers, and texts where they are bytes.
    Plain,
    /// An integer without a sign.
    Unsigned,
    /// An integer times 10^-scale.
    Decimal(u32),
    /// Days since 1970-01-01.
    Date,
    /// Time since midnight.
    TimeOfDay(Unit),
    /// Time since the UNIX epoch.
    Timestamp(Unit),
    /// None of these: an interval, a UUID, a half-precision float.
    Other,
}

/// A column that is no part of another one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Column {
    pub(super) name: String,
    /// Its number among all columns that have values.
    pub(super) leaf: usize,
    pub(super) physical: Physical,
    pub(super) meaning: Meaning,
    /// Whether values may be missing.
    pub(super) is_optional: bool,
}

/// The part of a column in a row group.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Chunk {
    pub(super) codec: i32,
    pub(super) values: u64,
    /// Where its first page is, and where it ends.
    pub(super) start: u64,
    pub(super) end: u64,
}

/// A row group: rows, and where the wanted columns' values for them are.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Group {
    pub(super) rows: u64,
    /// As the wanted leaves that were asked for.
    pub(super) chunks: Vec<Chunk>,
}

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Footer {
    bytes: Vec<u8>,
    /// Where they are in the file: all values are before.
    start: u64,
    pub(super) columns: Vec<Column>,
    /// Columns that have values, parts of others too.
    leaves: usize,
    /// Row groups that were not read yet, and where the next one is.
    left: usize,
    at: usize,
    /// Number of the next one.
    pub(super) next: usize,
}

impl Footer {
    /// Reads the footer of a file.
    pub(super) fn read(source: &mut Source) -> Result<Self, Damage> {
        let length = source.length();
        let cut = || {
            Damage::new(
                length,
                "the file is cut short: a Parquet file ends with its footer, which tells where everything is",
            )
        };
        if length < MAGIC.len() as u64 + TAIL_BYTES {
            return Err(cut());
        }
        let mut tail = [0; TAIL_BYTES as usize];
        source.read_at(length - TAIL_BYTES, &mut tail)?;
        match &tail[4..] {
            b"PAR1" => {}
            b"PARE" => return Err(Damage::new(length - 4, "its footer is encrypted")),
            _ => return Err(cut()),
        }
        let said = u64::from(u32::from_le_bytes([tail[0], tail[1], tail[2], tail[3]]));
        let at = length - TAIL_BYTES;
        if said > FOOTER_BYTES_MAX {
            let why = format!("a footer of {said} bytes is longer than {FOOTER_BYTES_MAX}, the most that is read");
            return Err(Damage::new(at, why));
        }
        let Some(start) = at.checked_sub(said).filter(|start| *start >= MAGIC.len() as u64) else {
            return Err(Damage::new(at, format!("a footer of {said} bytes is longer than the file")));
        };
        let mut bytes = vec![0; said as usize];
        source.read_at(start, &mut bytes)?;
        let (mut schema, mut groups) = (None, None);
        let parsed = Reader::new(&bytes, 0).structure(|reader, field| {
            match (field.id, field.kind) {
                (2, Type::List) => schema = Some(columns(reader)?),
                (4, Type::List) => {
                    let (size, kind) = reader.list()?;
                    groups = Some((size, reader.at()));
                    for _ in 0..size {
                        reader.skip_value(kind)?;
                    }
                    if size > 0 && kind != Type::Struct {
                        return Err(Malformed { at: reader.at(), why: "its row groups are no structures" });
                    }
                }
                _ => return Ok(false),
            }
            Ok(true)
        });
        parsed.map_err(|error| in_footer(start, error))?;
        let missing = |what| Damage::new(start, format!("the footer has no {what}"));
        let (columns, leaves) = schema.ok_or_else(|| missing("schema"))?;
        let (left, at) = groups.ok_or_else(|| missing("row groups"))?;
        Ok(Self { bytes, start, columns, leaves, left, at, next: 0 })
    }

    /// Where the next row group is, for [`Footer::go_to`].
    pub(super) fn place(&self) -> (usize, usize, usize) {
        (self.left, self.at, self.next)
    }

    /// Goes back, or on, to where a row group is.
    pub(super) fn go_to(&mut self, place: (usize, usize, usize)) {
        (self.left, self.at, self.next) = place;
    }

    /// Reads the next row group into `group`; false after the last one. `wanted` are the leaves, in their order.
    pub(super) fn next_group(&mut self, wanted: &[usize], group: &mut Group) -> Result<bool, Damage> {
        if self.left == 0 {
            return Ok(false);
        }
        let mut reader = Reader::new(&self.bytes, self.at);
        let (mut rows, mut leaves) = (None, None);
        group.chunks.clear();
        let chunks = &mut group.chunks;
        let mut fault = None;
        let (start, number) = (self.start, self.next);
        let parsed = reader.structure(|reader, field| {
            match (field.id, field.kind) {
                (1, Type::List) => {
                    let (size, _) = reader.list()?;
                    leaves = Some(size);
                    for leaf in 0..size {
                        if wanted.contains(&leaf) {
                            let at = start + reader.at() as u64;
                            match chunk(reader)?.check(start) {
                                Ok(chunk) => chunks.push(chunk),
                                Err(why) => {
                                    let why = format!("row group {number}, column {leaf}: {why}");
                                    fault.get_or_insert(Damage::new(at, why));
                                }
                            }
                        } else {
                            reader.skip_value(Type::Struct)?;
                        }
                    }
                }
                (3, Type::I64) => rows = u64::try_from(reader.int()?).ok(),
                _ => return Ok(false),
            }
            Ok(true)
        });
        parsed.map_err(|error| in_footer(start, error))?;
        if let Some(fault) = fault {
            return Err(fault);
        }
        let at = start + self.at as u64;
        if leaves != Some(self.leaves) {
            let has = leaves.unwrap_or(0);
            let why = format!("row group {number} has {has} columns, and the schema {}", self.leaves);
            return Err(Damage::new(at, why));
        }
        let Some(rows) = rows else {
            return Err(Damage::new(at, format!("row group {number} does not say how many rows it has")));
        };
        group.rows = rows;
        self.at = reader.at();
        self.left -= 1;
        self.next += 1;
        Ok(true)
    }
}

fn in_footer(start: u64, error: Malformed) -> Damage {
    Damage::new(start + error.at as u64, format!("the footer is damaged: {}", error.why))
}

/// An element of the schema.
#[derive(Default)]
struct Element {
    physical: Option<i32>,
    length: i32,
    repetition: i32,
    name: String,
    children: Option<i32>,
    converted: Option<i32>,
    scale: i32,
    logical: Option<Meaning>,
}

/// The columns that are no part of another one, and the number of all that have values.
fn columns(reader: &mut Reader<'_>) -> Result<(Vec<Column>, usize), Malformed> {
    let (size, _) = reader.list()?;
    let mut columns = Vec::new();
    // Children that are still to come, of the root and of what is open in it.
    let mut open: Vec<i32> = Vec::new();
    let mut leaves = 0;
    for index in 0..size {
        let at = reader.at();
        let element = element(reader)?;
        if index == 0 {
            open.push(element.children.unwrap_or(0));
            continue;
        }
        while open.last() == Some(&0) {
            open.pop();
        }
        let Some(children) = open.last_mut() else {
            return Err(Malformed { at, why: "the schema has more elements than its groups have children" });
        };
        *children -= 1;
        let is_top = open.len() == 1;
        if let Some(children) = element.children.filter(|_| element.physical.is_none()) {
            if open.len() > 64 {
                return Err(Malformed { at, why: "the schema is nested too deep" });
            }
            open.push(children.max(0));
            continue;
        }
        let physical = match element.physical {
            Some(0) => Physical::Bool,
            Some(1) => Physical::Int32,
            Some(2) => Physical::Int64,
            Some(3) => Physical::Int96,
            Some(4) => Physical::Float,
            Some(5) => Physical::Double,
            Some(6) => Physical::Bytes,
            Some(7) if element.length > 0 => Physical::Fixed(element.length as usize),
            _ => return Err(Malformed { at, why: "a column of a type that there is not" }),
        };
        if leaves == COLUMNS_MAX {
            return Err(Malformed { at, why: "it has more than 10,000 columns" });
        }
        // Repeated ones have several values a row.
        if is_top && element.repetition != 2 {
            let meaning = element.meaning();
            let is_optional = element.repetition == 1;
            columns.push(Column { name: element.name, leaf: leaves, physical, meaning, is_optional });
        }
        leaves += 1;
    }
    Ok((columns, leaves))
}

impl Element {
    /// What it says it means; what older writers say counts where there is nothing newer.
    fn meaning(&self) -> Meaning {
        let scale = u32::try_from(self.scale).unwrap_or(u32::MAX);
        match (self.logical, self.converted) {
            (Some(Meaning::Decimal(_)), _) | (None, Some(5)) => Meaning::Decimal(scale),
            (Some(meaning), _) => meaning,
            (None, None | Some(0 | 4 | 15..=19)) => Meaning::Plain,
            (None, Some(6)) => Meaning::Date,
            (None, Some(7)) => Meaning::TimeOfDay(Unit::Millis),
            (None, Some(8)) => Meaning::TimeOfDay(Unit::Micros),
            (None, Some(9)) => Meaning::Timestamp(Unit::Millis),
            (None, Some(10)) => Meaning::Timestamp(Unit::Micros),
            (None, Some(11..=14)) => Meaning::Unsigned,
            (None, Some(_)) => Meaning::Other,
        }
    }
}

fn element(reader: &mut Reader<'_>) -> Result<Element, Malformed> {
    let mut element = Element::default();
    reader.structure(|reader, field| {
        match (field.id, field.kind) {
            (1, Type::I32) => element.physical = Some(reader.int32()?),
            (2, Type::I32) => element.length = reader.int32()?,
            (3, Type::I32) => element.repetition = reader.int32()?,
            (4, Type::Binary) => element.name = String::from_utf8_lossy(reader.binary()?).into_owned(),
            (5, Type::I32) => element.children = Some(reader.int32()?),
            (6, Type::I32) => element.converted = Some(reader.int32()?),
            (7, Type::I32) => element.scale = reader.int32()?,
            (10, Type::Struct) => element.logical = logical(reader)?,
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    Ok(element)
}

/// The union of logical types.
fn logical(reader: &mut Reader<'_>) -> Result<Option<Meaning>, Malformed> {
    let mut meaning = None;
    reader.structure(|reader, field| {
        if field.kind != Type::Struct {
            return Ok(false);
        }
        meaning = Some(match field.id {
            // String, enum, JSON and a column of nothing but nulls.
            1 | 4 | 11 | 12 => Meaning::Plain,
            // The scale stands in the element, too.
            5 => Meaning::Decimal(0),
            6 => Meaning::Date,
            7 | 8 => {
                let unit = time_unit(reader)?;
                meaning =
                    unit.map(|unit| if field.id == 7 { Meaning::TimeOfDay(unit) } else { Meaning::Timestamp(unit) });
                return Ok(true);
            }
            10 => {
                let mut is_signed = true;
                reader.structure(|_, field| {
                    is_signed &= (field.id, field.kind) != (2, Type::False);
                    Ok(false)
                })?;
                meaning = Some(if is_signed { Meaning::Plain } else { Meaning::Unsigned });
                return Ok(true);
            }
            _ => Meaning::Other,
        });
        Ok(false)
    })?;
    Ok(meaning)
}

fn time_unit(reader: &mut Reader<'_>) -> Result<Option<Unit>, Malformed> {
    let mut unit = None;
    reader.structure(|reader, field| {
        if (field.id, field.kind) != (2, Type::Struct) {
            return Ok(false);
        }
        reader.structure(|_, field| {
            unit = match field.id {
                1 => Some(Unit::Millis),
                2 => Some(Unit::Micros),
                3 => Some(Unit::Nanos),
                _ => None,
            };
            Ok(false)
        })?;
        Ok(true)
    })?;
    Ok(unit)
}

/// A chunk as the footer says it.
#[derive(Default)]
struct Said {
    is_elsewhere: bool,
    is_encrypted: bool,
    has_metadata: bool,
    codec: i32,
    values: i64,
    bytes: i64,
    data: i64,
    dictionary: Option<i64>,
}

impl Said {
    /// A chunk whose bytes are all before the footer.
    fn check(&self, end: u64) -> Result<Chunk, &'static str> {
        if self.is_elsewhere {
            return Err("its values are in another file");
        }
        if self.is_encrypted || !self.has_metadata {
            return Err("it is encrypted, or the footer does not say where it is");
        }
        // Some writers say 0, or something behind the data, where there is no dictionary.
        let start = self.dictionary.filter(|at| *at > 0 && *at < self.data).unwrap_or(self.data);
        let values = u64::try_from(self.values).map_err(|_| "it has fewer than no values")?;
        let (start, bytes) = (u64::try_from(start).ok(), u64::try_from(self.bytes).ok());
        let place = start.zip(bytes).and_then(|(start, bytes)| Some((start, start.checked_add(bytes)?)));
        match place {
            Some((start, upto)) if start >= MAGIC.len() as u64 && upto <= end => {
                Ok(Chunk { codec: self.codec, values, start, end: upto })
            }
            _ => Err("it is not within the file"),
        }
    }
}

fn chunk(reader: &mut Reader<'_>) -> Result<Said, Malformed> {
    let mut said = Said::default();
    reader.structure(|reader, field| {
        match (field.id, field.kind) {
            (1, Type::Binary) => said.is_elsewhere = !reader.binary()?.is_empty(),
            (3, Type::Struct) => {
                said.has_metadata = true;
                reader.structure(|reader, field| {
                    match (field.id, field.kind) {
                        (4, Type::I32) => said.codec = reader.int32()?,
                        (5, Type::I64) => said.values = reader.int()?,
                        (7, Type::I64) => said.bytes = reader.int()?,
                        (9, Type::I64) => said.data = reader.int()?,
                        (11, Type::I64) => said.dictionary = Some(reader.int()?),
                        _ => return Ok(false),
                    }
                    Ok(true)
                })?;
            }
            (8, Type::Struct) => {
                said.is_encrypted = true;
                return Ok(false);
            }
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    Ok(said)
}
