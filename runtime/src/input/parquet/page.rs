//! Pages: a header, and values that may be compressed.
//!
//! A header is believed only as far as the limits go: nothing is taken before what it says was checked against them and against the file.

use super::Damage;
use super::footer::Chunk;
use super::source::Source;
use super::thrift::{Malformed, Reader, Type};
use flate2::{Crc, Decompress, FlushDecompress};

/// Bytes of a page, compressed or not. Writers have pages of about 1 MiB.
pub(super) const PAGE_BYTES_MAX: usize = 48 << 20;
/// Bytes that pages and dictionaries of all columns may take at one time.
pub(super) const PAGES_BYTES_MAX: usize = 96 << 20;
/// Longest header of a page. It may hold the least and the largest value, which are not needed.
const HEADER_BYTES_MAX: usize = 1 << 20;
/// What is tried first.
const HEADER_BYTES: usize = 256;

/// Largest buffer that a column keeps between its pages: what it keeps is not counted as taken.
const KEPT_BYTES_MAX: usize = 1 << 20;

/// A buffer that was used, to be used again, empty; a large one is given back to the system.
pub(super) fn kept(mut buffer: Vec<u8>) -> Vec<u8> {
    if buffer.capacity() > KEPT_BYTES_MAX {
        return Vec::new();
    }
    buffer.clear();
    buffer
}

/// Bytes that may still be taken for pages.
#[derive(Debug)]
pub(super) struct Budget(usize);

impl Default for Budget {
    fn default() -> Self {
        Self(PAGES_BYTES_MAX)
    }
}

impl Budget {
    fn take(&mut self, bytes: usize, at: u64) -> Result<(), Damage> {
        self.0 = self.0.checked_sub(bytes).ok_or_else(|| {
            let why = format!(
                "a page of {bytes} bytes: with those of the other columns, more than {PAGES_BYTES_MAX} at one time"
            );
            Damage::new(at, why)
        })?;
        Ok(())
    }

    /// Gives back what was taken.
    pub(super) fn give(&mut self, bytes: usize) {
        self.0 += bytes;
    }

    /// Takes some more for a page that is there.
    pub(super) fn also(&mut self, bytes: usize, at: u64) -> Result<(), Damage> {
        self.take(bytes, at)
    }
}

/// What a page holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Holds {
    /// A dictionary, in PLAIN.
    Dictionary,
    /// Levels and values, one after the other.
    Data {
        /// Bytes of the levels, where the header tells (version 2); else they say it themselves.
        levels: Option<(usize, usize)>,
        /// Encoding of the levels where they say it themselves.
        level_encoding: i32,
    },
}

/// A page, decompressed.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) holds: Holds,
    pub(super) values: usize,
    pub(super) encoding: i32,
    pub(super) bytes: Vec<u8>,
    /// Where it begins in the file.
    pub(super) at: u64,
}

#[derive(Default)]
struct Header {
    kind: i32,
    uncompressed: i32,
    compressed: i32,
    crc: Option<i32>,
    data: Option<Data>,
    dictionary: Option<(i32, i32)>,
    bytes: usize,
}

#[derive(Default)]
struct Data {
    values: i32,
    encoding: i32,
    level_encoding: i32,
    levels: Option<(i32, i32)>,
    is_plain: bool,
}

/// Goes over the pages of a chunk.
#[derive(Clone, Debug)]
pub(super) struct Pages {
    at: u64,
    end: u64,
    codec: i32,
    compressed: Vec<u8>,
}

impl Pages {
    pub(super) fn new(chunk: Chunk) -> Self {
        Self { at: chunk.start, end: chunk.end, codec: chunk.codec, compressed: Vec::new() }
    }

    /// Goes over another chunk.
    pub(super) fn restart(&mut self, chunk: Chunk) {
        (self.at, self.end, self.codec) = (chunk.start, chunk.end, chunk.codec);
    }

    /// Where the next page begins.
    pub(super) fn at(&self) -> u64 {
        self.at
    }

    /// The next page with values or a dictionary; `None` after the last one. What it takes is taken from `budget`. `spare` is used for it.
    pub(super) fn next(
        &mut self,
        source: &mut Source,
        budget: &mut Budget,
        spare: Vec<u8>,
    ) -> Result<Option<Page>, Damage> {
        while self.at < self.end {
            let at = self.at;
            let header = self.header(source)?;
            let size = |bytes: i32, name: &str| {
                let size =
                    usize::try_from(bytes).map_err(|_| Damage::new(at, format!("a page of {bytes} {name} bytes")))?;
                if size > PAGE_BYTES_MAX {
                    let why =
                        format!("a page of {size} {name} bytes is longer than {PAGE_BYTES_MAX}, the most that is read");
                    return Err(Damage::new(at, why));
                }
                Ok(size)
            };
            let (uncompressed, compressed) =
                (size(header.uncompressed, "uncompressed")?, size(header.compressed, "compressed")?);
            let from = at + header.bytes as u64;
            if compressed as u64 > self.end - from {
                let why =
                    format!("a page of {compressed} bytes goes beyond its column, which has {} left", self.end - from);
                return Err(Damage::new(at, why));
            }
            self.at = from + compressed as u64;
            let count = |values: i32| {
                usize::try_from(values).map_err(|_| Damage::new(at, format!("a page of {values} values")))
            };
            let (holds, values, encoding, plain, is_plain) = match (header.kind, header.data, header.dictionary) {
                (0 | 3, Some(data), _) => {
                    let levels = match data.levels {
                        Some((repetition, definition)) => {
                            let sizes = usize::try_from(repetition).ok().zip(usize::try_from(definition).ok());
                            let fits = |sizes: &(usize, usize)| {
                                sizes.0.saturating_add(sizes.1) <= uncompressed.min(compressed)
                            };
                            let why = "a page's levels are longer than the page";
                            Some(sizes.filter(fits).ok_or_else(|| Damage::new(at, why))?)
                        }
                        None => None,
                    };
                    let holds = Holds::Data { levels, level_encoding: data.level_encoding };
                    let plain = levels.map_or(0, |(repetition, definition)| repetition + definition);
                    (holds, count(data.values)?, data.encoding, plain, data.is_plain)
                }
                (2, _, Some((values, encoding))) => (Holds::Dictionary, count(values)?, encoding, 0, false),
                // An index, or what only later readers know.
                (1 | 4.., _, _) => continue,
                _ => return Err(Damage::new(at, "a page whose header does not say what it holds")),
            };
            budget.take(uncompressed, at)?;
            let mut bytes = spare;
            bytes.clear();
            bytes.resize(uncompressed, 0);
            self.fill(source, from, compressed, plain, is_plain, header.crc, &mut bytes)
                .map_err(|damage| Damage { at, ..damage })?;
            return Ok(Some(Page { holds, values, encoding, bytes, at }));
        }
        Ok(None)
    }

    /// Reads the bytes of a page and decompresses all after the first `plain` ones.
    fn fill(
        &mut self,
        source: &mut Source,
        from: u64,
        compressed: usize,
        plain: usize,
        is_plain: bool,
        crc: Option<i32>,
        bytes: &mut [u8],
    ) -> Result<(), Damage> {
        let check = |bytes: &[u8]| {
            let Some(crc) = crc else { return Ok(()) };
            let mut found = Crc::new();
            found.update(bytes);
            if found.sum() == crc as u32 { Ok(()) } else { Err(Damage::new(from, "a page does not have its checksum")) }
        };
        if self.codec == 0 || is_plain {
            if compressed != bytes.len() {
                return Err(Damage::new(
                    from,
                    format!("a page of {} bytes in {compressed} that are not compressed", bytes.len()),
                ));
            }
            source.read_at(from, bytes)?;
            return check(bytes);
        }
        self.compressed.clear();
        self.compressed.resize(compressed, 0);
        source.read_at(from, &mut self.compressed)?;
        check(&self.compressed)?;
        let (levels, values) = bytes.split_at_mut(plain);
        levels.copy_from_slice(&self.compressed[..plain]);
        let done = if values.is_empty() { Ok(()) } else { decompress(self.codec, &self.compressed[plain..], values) };
        self.compressed = kept(std::mem::take(&mut self.compressed));
        done.map_err(|why| Damage::new(from, why))
    }

    fn header(&self, source: &mut Source) -> Result<Header, Damage> {
        let left = self.end - self.at;
        let mut some = HEADER_BYTES;
        loop {
            let have = left.min(some as u64) as usize;
            let mut bytes = vec![0; have];
            source.read_at(self.at, &mut bytes)?;
            match header(&bytes) {
                Ok(header) => return Ok(header),
                Err(error) if have as u64 == left || some >= HEADER_BYTES_MAX => {
                    let at = self.at + error.at as u64;
                    return Err(Damage::new(at, format!("a page's header is damaged: {}", error.why)));
                }
                Err(_) => some *= 16,
            }
        }
    }
}

fn header(bytes: &[u8]) -> Result<Header, Malformed> {
    let mut header = Header::default();
    let mut reader = Reader::new(bytes, 0);
    reader.structure(|reader, field| {
        match (field.id, field.kind) {
            (1, Type::I32) => header.kind = reader.int32()?,
            (2, Type::I32) => header.uncompressed = reader.int32()?,
            (3, Type::I32) => header.compressed = reader.int32()?,
            (4, Type::I32) => header.crc = Some(reader.int32()?),
            (5, Type::Struct) => {
                let mut data = Data { level_encoding: 3, ..Data::default() };
                reader.structure(|reader, field| {
                    match (field.id, field.kind) {
                        (1, Type::I32) => data.values = reader.int32()?,
                        (2, Type::I32) => data.encoding = reader.int32()?,
                        (3, Type::I32) => data.level_encoding = reader.int32()?,
                        _ => return Ok(false),
                    }
                    Ok(true)
                })?;
                header.data = Some(data);
            }
            (7, Type::Struct) => {
                let (mut values, mut encoding) = (0, 0);
                reader.structure(|reader, field| {
                    match (field.id, field.kind) {
                        (1, Type::I32) => values = reader.int32()?,
                        (2, Type::I32) => encoding = reader.int32()?,
                        _ => return Ok(false),
                    }
                    Ok(true)
                })?;
                header.dictionary = Some((values, encoding));
            }
            (8, Type::Struct) => {
                let mut data = Data { level_encoding: 3, ..Data::default() };
                let (mut repetition, mut definition) = (0, 0);
                reader.structure(|reader, field| {
                    match (field.id, field.kind) {
                        (1, Type::I32) => data.values = reader.int32()?,
                        (4, Type::I32) => data.encoding = reader.int32()?,
                        (5, Type::I32) => definition = reader.int32()?,
                        (6, Type::I32) => repetition = reader.int32()?,
                        (7, Type::False) => data.is_plain = true,
                        _ => return Ok(false),
                    }
                    Ok(true)
                })?;
                data.levels = Some((repetition, definition));
                header.data = Some(data);
            }
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    header.bytes = reader.at();
    Ok(header)
}

/// Decompresses `from` into `to`, which it has to fill.
fn decompress(codec: i32, from: &[u8], to: &mut [u8]) -> Result<(), String> {
    let length = to.len();
    let wrong = |name: &str, error: &dyn std::fmt::Display| format!("{name}: {error}");
    let got = match codec {
        1 => {
            let said = snap::raw::decompress_len(from).map_err(|error| wrong("snappy", &error))?;
            if said != length {
                return Err(format!("snappy: {said} bytes where the page has {length}"));
            }
            snap::raw::Decoder::new().decompress(from, to).map_err(|error| wrong("snappy", &error))?
        }
        2 => {
            let mut inflater = Decompress::new_gzip(15);
            inflater.decompress(from, to, FlushDecompress::Finish).map_err(|error| wrong("gzip", &error))?;
            inflater.total_out() as usize
        }
        6 => zstd::bulk::decompress_to_buffer(from, to).map_err(|error| wrong("zstd", &error))?,
        7 => lz4_flex::block::decompress_into(from, to).map_err(|error| wrong("lz4", &error))?,
        3 => return Err("pages compressed with LZO are not read: write the file with zstd or snappy".to_owned()),
        4 => return Err("pages compressed with brotli are not read: write the file with zstd or snappy".to_owned()),
        5 => {
            return Err("pages compressed with Hadoop's LZ4 are not read: write the file with LZ4_RAW, zstd or snappy"
                .to_owned());
        }
        codec => return Err(format!("pages are compressed with something unknown ({codec})")),
    };
    if got == length { Ok(()) } else { Err(format!("{got} bytes come out of a page of {length}")) }
}
