//! A file or standard input as a stream of decompressed bytes, and that stream as lines.
//!
//! Compression is told by the first bytes, never by the name: gzip (RFC 1952, any number of members) and zstd (RFC 8878,
//! any number of frames, windows up to 2^[`ZSTD_WINDOW_LOG_MAX`] bytes). Memory is bounded whatever the file holds, and
//! what was decompressed before some damage is delivered before the damage is reported: the decoders are driven block
//! by block, because the usual readers drop the output of the call that fails.
//!
//! ```text
//!   file --> raw buffer --> gzip | zstd | as it is --> peeked bytes --> Read, LineReader
//!            (SHA-256)
//! ```

use super::{InputError, Position};
use flate2::{Decompress, FlushDecompress};
use sha2::{Digest, Sha256};
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read};
use std::sync::{Arc, OnceLock};
use zstd::stream::raw::{DParameter, Decoder, InBuffer, Operation, OutBuffer};

/// Raw bytes that are read from the file at a time.
const RAW_BYTES: usize = 128 << 10;
/// Largest zstd window, as the power of two in bytes (128 MiB, zstd's own default): a frame that wants more is refused.
pub const ZSTD_WINDOW_LOG_MAX: u32 = 27;
/// Most bytes that [`ByteSource::peek`] shows.
pub const PEEK_BYTES_MAX: usize = 64 << 10;
/// Longest line in bytes, without its end, unless told otherwise. A longer one is counted as bad and not kept.
pub const LINE_BYTES_DEFAULT: usize = 16 << 20;
/// Bytes that a line reader begins with; it grows up to its longest line.
const LINE_BUFFER_BYTES: usize = 256 << 10;

const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// zstd's skippable frames begin with `5? 2A 4D 18`.
const ZSTD_SKIPPABLE_MAGIC: [u8; 3] = [0x2a, 0x4d, 0x18];
/// Bytes that tell the compression, and DBZ from other skippable frames.
const SNIFF_BYTES: usize = 12;
/// Input that zstd asks for at the start of a frame.
const ZSTD_FRAME_START_BYTES: usize = 5;

/// How a file is compressed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Compression {
    /// Not at all, as far as its first bytes tell.
    None,
    /// gzip members.
    Gzip,
    /// zstd frames.
    Zstd,
}

/// Where the SHA-256 of a whole input appears, once its last raw (still compressed) byte was read.
///
/// It stays empty when reading stopped earlier: a run that was interrupted, a damaged stream.
#[derive(Clone, Debug, Default)]
pub struct RawSha256(Arc<OnceLock<[u8; 32]>>);

impl RawSha256 {
    /// The hash, if the input was read to its end.
    #[must_use]
    pub fn get(&self) -> Option<[u8; 32]> {
        self.0.get().copied()
    }
}

/// What an [`io::Error`] of a [`ByteSource`] carries: where the stream of decompressed bytes broke off, and why.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("at byte {offset}: {why}")]
pub struct StreamBroken {
    /// Decompressed bytes that were delivered.
    pub offset: u64,
    /// What is wrong there.
    pub why: String,
}

/// The error of an input whose reader failed with `error`: the place is the stream's own where a [`ByteSource`] stands
/// behind the reader, else `offset`.
#[must_use]
pub fn damaged(path: &str, error: &io::Error, offset: u64) -> InputError {
    let (offset, why) = match error.get_ref().and_then(|inner| inner.downcast_ref::<StreamBroken>()) {
        Some(broken) => (broken.offset, broken.why.clone()),
        None => (offset, format!("cannot read: {error}")),
    };
    InputError::Damaged { path: path.to_owned(), at: Position::Offset(offset), why }
}

/// The decompressed bytes of one input.
///
/// Its [`Read`] fails with a [`StreamBroken`] inside the error, again at each further call, and only after everything
/// that could be decompressed was delivered; [`damaged`] makes an [`InputError`] of it.
pub struct ByteSource {
    path: String,
    raw: Raw,
    codec: Codec,
    /// Bytes that were decompressed for a peek: `ahead[ahead_from..]` are still to be read.
    ahead: Vec<u8>,
    ahead_from: usize,
    /// Bytes decompressed.
    produced: u64,
    broken: Option<(ErrorKind, String)>,
    /// A regular file: for formats that are not read from their start on.
    file: Option<File>,
}

impl ByteSource {
    /// Opens a file, or standard input where `path` is `-`.
    ///
    /// # Errors
    /// [`InputError::Open`] when it is missing, a directory or not permitted; [`InputError::Damaged`] when its first
    /// bytes cannot be read.
    pub fn open(path: &str, sha256: Option<RawSha256>) -> Result<Self, InputError> {
        if path == "-" {
            return Self::new(Box::new(io::stdin()), path, sha256);
        }
        let cannot_open = |error| InputError::Open { path: path.to_owned(), error };
        let file = File::open(path).map_err(cannot_open)?;
        // Linux opens a directory and fails at the first read.
        if file.metadata().map_err(cannot_open)?.is_dir() {
            return Err(cannot_open(io::Error::new(ErrorKind::IsADirectory, "is a directory")));
        }
        let again = file.metadata().ok().filter(fs::Metadata::is_file).and_then(|_| file.try_clone().ok());
        Ok(Self { file: again, ..Self::new(Box::new(file), path, sha256)? })
    }

    /// The file itself, to be read at any offset (not from its place, which is that of this source): where it is a regular one and not
    /// compressed as a whole.
    #[must_use]
    pub fn file(&self) -> Option<io::Result<File>> {
        self.file.as_ref().filter(|_| matches!(self.codec, Codec::Plain)).map(File::try_clone)
    }

    /// Whether the SHA-256 of the whole input is wanted.
    #[must_use]
    pub fn is_hashed(&self) -> bool {
        self.raw.hash.is_some()
    }

    /// A source over any reader; `path` names it in errors.
    ///
    /// # Errors
    /// [`InputError::Damaged`] when the first bytes cannot be read.
    pub fn new(reader: Box<dyn Read + Send>, path: &str, sha256: Option<RawSha256>) -> Result<Self, InputError> {
        let mut raw = Raw {
            reader,
            buffer: vec![0; RAW_BYTES].into_boxed_slice(),
            from: 0,
            to: 0,
            ended: false,
            hash: sha256.map(|result| (Sha256::new(), result)),
        };
        let start = raw.at_least(SNIFF_BYTES).map_err(|error| damaged(path, &error, 0))?;
        let codec = match compression_of(start) {
            Compression::None => Codec::Plain,
            Compression::Gzip => Codec::Gzip(GzipState::Between),
            Compression::Zstd => Codec::Zstd(Zstd::new().map_err(|error| damaged(path, &error, 0))?),
        };
        Ok(Self {
            path: path.to_owned(),
            raw,
            codec,
            ahead: Vec::new(),
            ahead_from: 0,
            produced: 0,
            broken: None,
            file: None,
        })
    }

    /// The input's name in errors.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// How the input is compressed.
    #[must_use]
    pub fn compression(&self) -> Compression {
        match self.codec {
            Codec::Plain => Compression::None,
            Codec::Gzip(_) => Compression::Gzip,
            Codec::Zstd(_) => Compression::Zstd,
        }
    }

    /// Decompressed bytes read so far: the offset of the next one.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.produced - (self.ahead.len() - self.ahead_from) as u64
    }

    /// SHA-256 of the raw bytes, once they were read to their end; `None` also when nobody asked for it.
    #[must_use]
    pub fn raw_sha256(&self) -> Option<[u8; 32]> {
        self.raw.hash.as_ref().and_then(|(_, result)| result.get())
    }

    /// The next `count` decompressed bytes, or fewer where the stream ends or breaks off before; they stay to be read.
    /// A break is not reported here but by the read that comes to it, or by [`ByteSource::broken`].
    ///
    /// # Panics
    /// When `count` is above [`PEEK_BYTES_MAX`].
    pub fn peek(&mut self, count: usize) -> &[u8] {
        assert!(count <= PEEK_BYTES_MAX, "a peek of {count} bytes is longer than {PEEK_BYTES_MAX}");
        self.ahead.drain(..self.ahead_from);
        self.ahead_from = 0;
        let mut filled = self.ahead.len();
        self.ahead.resize(filled.max(count), 0);
        let mut ahead = std::mem::take(&mut self.ahead);
        while filled < count {
            match self.produce(&mut ahead[filled..count]) {
                Ok(0) | Err(_) => break,
                Ok(more) => filled += more,
            }
        }
        ahead.truncate(filled);
        self.ahead = ahead;
        &self.ahead[..filled.min(count)]
    }

    /// The error with which reading will end, if decompression has come to it already.
    #[must_use]
    pub fn broken(&self) -> Option<InputError> {
        self.broken.as_ref().map(|_| damaged(&self.path, &self.broken_error(), self.produced))
    }

    fn broken_error(&self) -> io::Error {
        let (kind, why) = self.broken.clone().unwrap_or((ErrorKind::Other, String::new()));
        io::Error::new(kind, StreamBroken { offset: self.produced, why })
    }

    /// Decompresses into `out`, past what was peeked at. Ok(0) is the end.
    fn produce(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if out.is_empty() {
            return Ok(0);
        }
        if self.broken.is_none() {
            let (count, outcome) = match &mut self.codec {
                Codec::Plain => match self.raw.read(out) {
                    Ok(count) => (count, Ok(())),
                    Err(error) => (0, Err(Broken::Io(error))),
                },
                Codec::Gzip(state) => state.decompress(&mut self.raw, out),
                Codec::Zstd(zstd) => zstd.decompress(&mut self.raw, out),
            };
            self.produced += count as u64;
            self.broken = outcome.err().map(|broken| match broken {
                Broken::Io(error) => (error.kind(), format!("cannot read: {error}")),
                Broken::Cut(what) => (ErrorKind::UnexpectedEof, format!("the {what} stream is cut short")),
                Broken::Damaged(why) => (ErrorKind::InvalidData, why),
            });
            if count > 0 || self.broken.is_none() {
                return Ok(count);
            }
        }
        Err(self.broken_error())
    }
}

impl Read for ByteSource {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let ahead = &self.ahead[self.ahead_from..];
        if ahead.is_empty() {
            return self.produce(out);
        }
        let count = ahead.len().min(out.len());
        out[..count].copy_from_slice(&ahead[..count]);
        self.ahead_from += count;
        if self.ahead_from == self.ahead.len() {
            // A peek is for the start of a file: what it took is given back.
            (self.ahead, self.ahead_from) = (Vec::new(), 0);
        }
        Ok(count)
    }
}

fn compression_of(start: &[u8]) -> Compression {
    if start.starts_with(&GZIP_MAGIC) {
        return Compression::Gzip;
    }
    let skippable = start.len() >= 4 && start[0] & 0xf0 == 0x50 && start[1..4] == ZSTD_SKIPPABLE_MAGIC;
    if start.starts_with(&ZSTD_MAGIC) || skippable && !is_dbz(start) {
        return Compression::Zstd;
    }
    Compression::None
}

/// Whether a file begins as DBZ, the format before DBN: a skippable zstd frame with its header, then zstd frames. It is
/// not decompressed here, because its decoder must see that header.
pub(super) fn is_dbz(start: &[u8]) -> bool {
    start.len() >= 11 && start[0] & 0xf0 == 0x50 && start[1..4] == ZSTD_SKIPPABLE_MAGIC && start[8..11] == *b"DBZ"
}

/// Why decompression stopped before the end.
enum Broken {
    Io(io::Error),
    /// The raw bytes ended inside a stream of this name.
    Cut(&'static str),
    Damaged(String),
}

/// Bytes decompressed, and whether the stream broke off after them.
type Decompressed = (usize, Result<(), Broken>);

/// The file as it is stored.
struct Raw {
    reader: Box<dyn Read + Send>,
    buffer: Box<[u8]>,
    /// `buffer[from..to]` is still to be used.
    from: usize,
    to: usize,
    ended: bool,
    hash: Option<(Sha256, RawSha256)>,
}

impl Raw {
    /// Bytes to use; empty only at the end.
    fn fill(&mut self) -> io::Result<&[u8]> {
        self.at_least(1)
    }

    /// At least `count` bytes to use, or all there are before the end.
    fn at_least(&mut self, count: usize) -> io::Result<&[u8]> {
        while self.to - self.from < count && !self.ended {
            if self.from == self.to {
                (self.from, self.to) = (0, 0);
            } else if self.buffer.len() - self.from < count {
                self.buffer.copy_within(self.from..self.to, 0);
                (self.from, self.to) = (0, self.to - self.from);
            }
            let read = read_retried(&mut self.reader, &mut self.buffer[self.to..])?;
            Self::note(&mut self.hash, &mut self.ended, &self.buffer[self.to..self.to + read]);
            self.to += read;
        }
        Ok(&self.buffer[self.from..self.to])
    }

    fn consume(&mut self, count: usize) {
        self.from += count;
        debug_assert!(self.from <= self.to, "Invariant: only what is there is used");
    }

    /// Copies what is buffered, or reads past the buffer. Ok(0) is the end.
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.from < self.to {
            let count = out.len().min(self.to - self.from);
            out[..count].copy_from_slice(&self.buffer[self.from..self.from + count]);
            self.from += count;
            return Ok(count);
        }
        if self.ended {
            return Ok(0);
        }
        let read = read_retried(&mut self.reader, out)?;
        Self::note(&mut self.hash, &mut self.ended, &out[..read]);
        Ok(read)
    }

    fn note(hash: &mut Option<(Sha256, RawSha256)>, ended: &mut bool, bytes: &[u8]) {
        *ended = bytes.is_empty();
        if let Some((hasher, result)) = hash {
            hasher.update(bytes);
            if *ended {
                // Set once: `ended` turns true once.
                let _ = result.0.set(hasher.finalize_reset().into());
            }
        }
    }
}

fn read_retried(reader: &mut dyn Read, out: &mut [u8]) -> io::Result<usize> {
    loop {
        match reader.read(out) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

enum Codec {
    Plain,
    Gzip(GzipState),
    Zstd(Zstd),
}

/// Where in a gzip file decompression stands. One inflater a member: its memory is some 40 KiB.
enum GzipState {
    /// Before a member, or at the end.
    Between,
    Member(Decompress),
}

impl GzipState {
    fn decompress(&mut self, raw: &mut Raw, out: &mut [u8]) -> Decompressed {
        loop {
            match self {
                Self::Between => match Self::next_member(raw) {
                    Ok(true) => *self = Self::Member(Decompress::new_gzip(15)),
                    Ok(false) => return (0, Ok(())),
                    Err(broken) => return (0, Err(broken)),
                },
                Self::Member(inflater) => {
                    let input = match raw.fill() {
                        Ok(input) => input,
                        Err(error) => return (0, Err(Broken::Io(error))),
                    };
                    let (in_before, out_before, at_end) = (inflater.total_in(), inflater.total_out(), input.is_empty());
                    let result = inflater.decompress(input, out, FlushDecompress::None);
                    let consumed = (inflater.total_in() - in_before) as usize;
                    let produced = (inflater.total_out() - out_before) as usize;
                    raw.consume(consumed);
                    match result {
                        Err(_) => {
                            let what = if inflater.total_out() == 0 { "header or data" } else { "data or checksum" };
                            return (produced, Err(Broken::Damaged(format!("gzip: damaged {what}"))));
                        }
                        Ok(flate2::Status::StreamEnd) => *self = Self::Between,
                        Ok(_) if produced > 0 => {}
                        Ok(_) if at_end => return (0, Err(Broken::Cut("gzip"))),
                        Ok(_) if consumed == 0 => {
                            return (0, Err(Broken::Damaged("gzip: the decoder makes no progress".to_owned())));
                        }
                        Ok(_) => {}
                    }
                    if produced > 0 {
                        return (produced, Ok(()));
                    }
                }
            }
        }
    }

    /// Whether a member follows. Zeros up to the end are padding, as for `gzip`; anything else there is damage.
    fn next_member(raw: &mut Raw) -> Result<bool, Broken> {
        loop {
            let start = raw.at_least(2).map_err(Broken::Io)?;
            match start {
                [] => return Ok(false),
                [first, second, ..] if [*first, *second] == GZIP_MAGIC => return Ok(true),
                [0x1f] => return Err(Broken::Cut("gzip")),
                [0, ..] => {
                    let zeros = start.iter().take_while(|byte| **byte == 0).count();
                    raw.consume(zeros);
                    // What follows padding is not looked at as a member: `gzip` does not either.
                    if !raw.fill().map_err(Broken::Io)?.iter().all(|byte| *byte == 0) {
                        return Err(Broken::Damaged("gzip: other bytes follow the last member".to_owned()));
                    }
                }
                _ => return Err(Broken::Damaged("gzip: other bytes follow the last member".to_owned())),
            }
        }
    }
}

struct Zstd {
    decoder: Decoder<'static>,
    in_frame: bool,
    /// Bytes that the decoder would like next.
    wanted: usize,
    /// The last call filled `out`: the decoder may hold more output.
    filled: bool,
}

/// Bytes of a zstd block header.
const ZSTD_BLOCK_HEADER_BYTES: usize = 3;

impl Zstd {
    fn new() -> io::Result<Self> {
        let mut decoder = Decoder::new()?;
        decoder.set_parameter(DParameter::WindowLogMax(ZSTD_WINDOW_LOG_MAX))?;
        Ok(Self { decoder, in_frame: false, wanted: ZSTD_FRAME_START_BYTES, filled: false })
    }

    /// A call of the decoder that fails forgets the output that it had written. So no call does two things of which
    /// the second could fail: one that may hold output gets no input, and what the decoder would like next (the rest of
    /// a block and the header of the next one) is given in two.
    fn decompress(&mut self, raw: &mut Raw, out: &mut [u8]) -> Decompressed {
        loop {
            let input = match raw.fill() {
                Ok(input) => input,
                Err(error) => return (0, Err(Broken::Io(error))),
            };
            let at_end = input.is_empty();
            if at_end && !self.in_frame {
                return (0, Ok(()));
            }
            let only_flush = std::mem::take(&mut self.filled);
            let take = match self.wanted {
                _ if only_flush => 0,
                wanted if wanted > ZSTD_BLOCK_HEADER_BYTES => wanted - ZSTD_BLOCK_HEADER_BYTES,
                wanted => wanted,
            };
            let mut from = InBuffer::around(&input[..input.len().min(take)]);
            let mut into = OutBuffer::around(&mut *out);
            let result = self.decoder.run(&mut from, &mut into);
            let (consumed, produced, was_in_frame) = (from.pos(), into.pos(), self.in_frame);
            raw.consume(consumed);
            match result {
                Err(error) => return (produced, Err(Broken::Damaged(format!("zstd: {error}")))),
                Ok(0) => (self.in_frame, self.wanted) = (false, ZSTD_FRAME_START_BYTES),
                Ok(wanted) => (self.in_frame, self.wanted) = (true, wanted),
            }
            if produced > 0 {
                self.filled = produced == out.len();
                return (produced, Ok(()));
            }
            if consumed == 0 && self.in_frame == was_in_frame && !only_flush {
                let broken = if at_end {
                    Broken::Cut("zstd")
                } else {
                    Broken::Damaged("zstd: the decoder makes no progress".to_owned())
                };
                return (0, Err(broken));
            }
        }
    }
}

/// One line of a stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Line<'a> {
    /// Number of the line, from 1.
    pub number: u64,
    /// Offset of its first byte in the decompressed stream.
    pub offset: u64,
    /// The line without its `\n`, or its length where it is longer than the limit and was not kept.
    pub text: Result<&'a [u8], LineTooLong>,
    /// The stream broke off inside this line; the error follows it.
    pub cut: bool,
    /// Its `\n` was there: it is no line that the file ends in the middle of.
    pub ended: bool,
}

/// A line longer than the limit. Holds its length in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("a line of {0} bytes is longer than the limit")]
pub struct LineTooLong(pub u64);

/// A [`ByteSource`] as lines. Its buffer grows up to the longest line that it may keep and no further.
pub struct LineReader {
    source: ByteSource,
    line_bytes_max: usize,
    buffer: Vec<u8>,
    /// `buffer[from..to]` is read and not yet used; the current line begins at `from`.
    from: usize,
    to: usize,
    /// The line at `from`, once it was found.
    found: Option<Found>,
    /// Lines before the one at `from`.
    lines_before: u64,
    /// Offset of `buffer[from]` in the stream.
    offset: u64,
    ended: bool,
    broken: Option<InputError>,
}

/// Extent of a line in the buffer.
struct Found {
    /// Bytes from `from` that are used with the line.
    used: usize,
    /// Bytes from `from` that are its text.
    text: Result<usize, LineTooLong>,
    /// Bytes of the line that were dropped before `from`.
    dropped: u64,
    cut: bool,
    ended: bool,
}

impl LineReader {
    /// Lines of at most `line_bytes_max` bytes; longer ones are skipped and told by their length.
    #[must_use]
    pub fn new(source: ByteSource, line_bytes_max: usize) -> Self {
        let offset = source.offset();
        Self {
            source,
            line_bytes_max,
            buffer: vec![0; LINE_BUFFER_BYTES],
            from: 0,
            to: 0,
            found: None,
            lines_before: 0,
            offset,
            ended: false,
            broken: None,
        }
    }

    /// The current line, the same one until [`LineReader::advance`]; `None` at the end. The last line needs no `\n`.
    ///
    /// # Errors
    /// Once, after the last line that could be read, when the stream broke off.
    pub fn line(&mut self) -> Result<Option<Line<'_>>, InputError> {
        if self.found.is_none() {
            self.find();
        }
        let Some(found) = &self.found else {
            return self.broken.take().map_or(Ok(None), Err);
        };
        Ok(Some(Line {
            number: self.lines_before + 1,
            offset: self.offset,
            text: found.text.map(|length| &self.buffer[self.from..self.from + length]),
            cut: found.cut,
            ended: found.ended,
        }))
    }

    /// Goes on to the next line. Does nothing before [`LineReader::line`] found one.
    pub fn advance(&mut self) {
        if let Some(found) = self.found.take() {
            self.from += found.used;
            self.offset += found.used as u64 + found.dropped;
            self.lines_before += 1;
        }
    }

    /// Lines that were passed.
    #[must_use]
    pub fn lines(&self) -> u64 {
        self.lines_before
    }

    /// The source behind the lines.
    #[must_use]
    pub fn source(&self) -> &ByteSource {
        &self.source
    }

    /// Finds the end of the line at `from`.
    fn find(&mut self) {
        let mut dropped = 0u64;
        let mut searched = 0;
        loop {
            let rest = &self.buffer[self.from..self.to];
            let end = memchr::memchr(b'\n', &rest[searched..]).map(|at| at + searched);
            if end.is_none() && !self.ended {
                if rest.len() > self.line_bytes_max {
                    dropped += rest.len() as u64;
                    (self.from, self.to) = (0, 0);
                }
                searched = self.to - self.from;
                self.fill();
                continue;
            }
            let text = end.unwrap_or(rest.len());
            let length = dropped + text as u64;
            if end.is_none() && length == 0 {
                return;
            }
            self.found = Some(Found {
                used: text + usize::from(end.is_some()),
                text: if length > self.line_bytes_max as u64 { Err(LineTooLong(length)) } else { Ok(text) },
                dropped,
                cut: end.is_none() && self.broken.is_some(),
                ended: end.is_some(),
            });
            return;
        }
    }

    fn fill(&mut self) {
        if self.from > 0 {
            self.buffer.copy_within(self.from..self.to, 0);
            (self.from, self.to) = (0, self.to - self.from);
        }
        if self.to == self.buffer.len() {
            // Full of one line that is not too long yet: at most `line_bytes_max` bytes.
            let bytes = (self.buffer.len() * 2).min(self.line_bytes_max + LINE_BUFFER_BYTES);
            self.buffer.resize(bytes, 0);
        }
        match self.source.read(&mut self.buffer[self.to..]) {
            Ok(0) => self.ended = true,
            Ok(count) => self.to += count,
            Err(error) => {
                self.ended = true;
                self.broken = Some(damaged(self.source.path(), &error, self.source.offset()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::write::GzEncoder;
    use std::io::Write;

    fn gz(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    /// With the checksum and in blocks of `block` bytes.
    fn zst(bytes: &[u8], block: usize) -> Vec<u8> {
        let mut encoder = zstd::Encoder::new(Vec::new(), 3).unwrap();
        encoder.include_checksum(true).unwrap();
        for part in bytes.chunks(block) {
            encoder.write_all(part).unwrap();
            encoder.flush().unwrap();
        }
        encoder.finish().unwrap()
    }

    /// Hands out at most `step` bytes a call, like a pipe.
    struct Slow(Vec<u8>, usize, usize);

    impl Read for Slow {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            let count = out.len().min(self.2).min(self.0.len() - self.1);
            out[..count].copy_from_slice(&self.0[self.1..self.1 + count]);
            self.1 += count;
            Ok(count)
        }
    }

    fn source(bytes: &[u8], step: usize) -> ByteSource {
        ByteSource::new(Box::new(Slow(bytes.to_vec(), 0, step)), "sample", None).unwrap()
    }

    /// All that comes out, and the error if it breaks off.
    fn drain(bytes: &[u8], step: usize, out_bytes: usize) -> (Vec<u8>, Option<StreamBroken>) {
        let mut source = source(bytes, step);
        let (mut all, mut out) = (Vec::new(), vec![0; out_bytes]);
        loop {
            assert_eq!(source.offset(), all.len() as u64);
            match source.read(&mut out) {
                Ok(0) => return (all, None),
                Ok(count) => all.extend_from_slice(&out[..count]),
                Err(error) => {
                    let broken = error.get_ref().unwrap().downcast_ref::<StreamBroken>().unwrap().clone();
                    let again = source.read(&mut out).unwrap_err();
                    assert_eq!(again.get_ref().unwrap().downcast_ref(), Some(&broken), "it stays broken");
                    return (all, Some(broken));
                }
            }
        }
    }

    fn text() -> Vec<u8> {
        (0..100u64).flat_map(|i| format!("{} line {}\n", i * 7919 % 1000, i * i).into_bytes()).collect()
    }

    /// Two members or frames of each compression, with what may stand between and after them.
    fn samples() -> Vec<(&'static str, Vec<u8>, Compression)> {
        let text = text();
        let (first, second) = text.split_at(text.len() / 3);
        let skippable = [&[0x53, 0x2a, 0x4d, 0x18, 5, 0, 0, 0][..], b"seek!"].concat();
        vec![
            ("plain", text.clone(), Compression::None),
            ("gzip", [gz(first), gz(second)].concat(), Compression::Gzip),
            ("gzip, an empty member, padding", [gz(&text), gz(b""), vec![0; 700]].concat(), Compression::Gzip),
            ("zstd", [zst(first, 1000), zst(second, 300)].concat(), Compression::Zstd),
            ("zstd, skippable first", [skippable.clone(), zst(&text, 500), skippable].concat(), Compression::Zstd),
        ]
    }

    #[test]
    fn every_compression_gives_the_same_bytes_whatever_the_reads() {
        for (name, bytes, compression) in samples() {
            assert_eq!(source(&bytes, 1).compression(), compression, "{name}");
            for step in [1, 7, 100_000] {
                for out_bytes in [1, 13, 100_000] {
                    assert_eq!(drain(&bytes, step, out_bytes), (text(), None), "{name}, {step}, {out_bytes}");
                }
            }
        }
    }

    #[test]
    fn a_stream_cut_anywhere_gives_what_was_there_and_then_says_where() {
        let text = text();
        for (name, bytes, compression) in samples() {
            let mut longest = 0;
            for cut in 13..bytes.len() {
                let (all, broken) = drain(&bytes[..cut], 100_000, 100_000);
                assert!(text.starts_with(&all) && all.len() >= longest, "{name} cut at {cut}");
                assert_eq!(drain(&bytes[..cut], 5, 3), (all.clone(), broken.clone()), "{name} cut at {cut}");
                longest = all.len();
                match broken {
                    Some(broken) => {
                        assert_eq!(broken.offset, all.len() as u64);
                        assert!(broken.why.contains("cut short"), "{name} cut at {cut}: {}", broken.why);
                    }
                    // Between members or frames, or in the padding, the rest is a whole file.
                    None => assert!(
                        compression == Compression::None || all.len() == text.len() || {
                            all.len() == text.len() / 3 || all.is_empty()
                        }
                    ),
                }
            }
        }
    }

    #[test]
    fn a_damaged_byte_takes_nothing_with_it_that_was_decompressed_before() {
        for (name, mut bytes, compression) in samples() {
            if compression == Compression::None {
                continue;
            }
            let text = text();
            for at in 13..bytes.len() {
                let (before, _) = drain(&bytes[..at], 100_000, 1 << 20);
                for flip in [0x01, 0x06, 0x80, 0xff] {
                    bytes[at] ^= flip;
                    let (large, small) = (drain(&bytes, 100_000, 1 << 20), drain(&bytes, 9, 1));
                    assert!(large == small, "{name}: byte {at} flipped by {flip:#x}");
                    assert!(large.0.starts_with(&before), "{name}: byte {at} flipped by {flip:#x}");
                    assert!(large.1.is_some() || large.0 == text, "{name}: byte {at} flipped by {flip:#x}");
                    bytes[at] ^= flip;
                }
            }
        }
    }

    #[test]
    fn damage_is_named() {
        let why = |bytes: &[u8]| drain(bytes, 100, 100).1.unwrap();
        let text = text();
        let mut checksum = gz(&text);
        let at = checksum.len() - 8;
        checksum[at] ^= 1;
        assert_eq!(why(&checksum).offset, text.len() as u64);
        assert_eq!(why(&checksum).why, "gzip: damaged data or checksum");
        assert_eq!(why(&[gz(&text), b"tail".to_vec()].concat()).why, "gzip: other bytes follow the last member");
        assert_eq!(why(&[gz(&text), b"\0\0x".to_vec()].concat()).why, "gzip: other bytes follow the last member");
        assert!(why(&[zst(&text, 100), b"tail!".to_vec()].concat()).why.starts_with("zstd: "));
        // A frame header that asks for a window of 2^31 bytes.
        let window = [0x28, 0xb5, 0x2f, 0xfd, 0x00, 21 << 3, 0x01, 0x00, 0x00];
        assert!(why(&window).why.starts_with("zstd: Frame requires too much memory"), "{}", why(&window).why);
        assert_eq!(why(b"\x1f\x8b").why, "the gzip stream is cut short");
    }

    #[test]
    fn a_peek_shows_what_follows_and_takes_nothing() {
        for (name, bytes, _) in samples() {
            let mut source = source(&bytes, 3);
            let text = text();
            assert_eq!(source.peek(5), &text[..5], "{name}");
            assert_eq!(source.peek(500), &text[..500], "{name}");
            assert_eq!(source.peek(2), &text[..2], "{name}");
            assert_eq!(source.offset(), 0);
            let mut first = [0; 10];
            source.read_exact(&mut first).unwrap();
            assert_eq!((&first[..], source.offset()), (&text[..10], 10), "{name}");
            assert_eq!(source.peek(5), &text[10..15], "{name}");
            assert_eq!(source.peek(PEEK_BYTES_MAX), &text[10..], "{name}");
            let mut rest = Vec::new();
            source.read_to_end(&mut rest).unwrap();
            assert_eq!((&rest[..], source.offset()), (&text[10..], text.len() as u64), "{name}");
        }
        let whole = gz(&text());
        let mut cut = source(&whole[..whole.len() / 2], 100);
        let shown = cut.peek(PEEK_BYTES_MAX).len();
        assert!(shown > 0 && shown < text().len());
        assert!(
            matches!(cut.broken(), Some(InputError::Damaged { at: Position::Offset(at), .. }) if at == shown as u64)
        );
        let mut all = Vec::new();
        assert!(cut.read_to_end(&mut all).is_err());
        assert_eq!(all.len(), shown);
    }

    #[test]
    fn the_hash_is_of_the_raw_bytes_and_only_of_all_of_them() {
        for (name, bytes, _) in samples() {
            let result = RawSha256::default();
            let mut source =
                ByteSource::new(Box::new(io::Cursor::new(bytes.clone())), "x", Some(result.clone())).unwrap();
            source.read_exact(&mut [0; 10]).unwrap();
            io::copy(&mut source, &mut io::sink()).unwrap();
            let expected: [u8; 32] = Sha256::digest(&bytes).into();
            assert_eq!((result.get(), source.raw_sha256()), (Some(expected), Some(expected)), "{name}");
        }
        let result = RawSha256::default();
        let bytes = vec![b'x'; RAW_BYTES * 3];
        let mut source = ByteSource::new(Box::new(io::Cursor::new(bytes)), "x", Some(result.clone())).unwrap();
        source.read_exact(&mut [0; 10]).unwrap();
        assert_eq!(result.get(), None);
        // FIPS 180-2, appendix B.1.
        let result = RawSha256::default();
        let mut abc = ByteSource::new(Box::new(&b"abc"[..]), "x", Some(result.clone())).unwrap();
        io::copy(&mut abc, &mut io::sink()).unwrap();
        assert_eq!(result.get().unwrap()[..4], [0xba, 0x78, 0x16, 0xbf]);
    }

    #[test]
    fn what_cannot_be_opened_says_why() {
        let error = ByteSource::open("no/such/file", None).err().unwrap();
        assert!(matches!(&error, InputError::Open { error, .. } if error.kind() == ErrorKind::NotFound), "{error}");
        assert!(error.to_string().starts_with("no/such/file: cannot open: "), "{error}");
        let error = ByteSource::open(".", None).err().unwrap();
        assert_eq!(error.to_string(), ".: cannot open: is a directory");
        assert_eq!(error.exit_code(), 2);
    }

    #[test]
    fn a_failing_reader_is_an_error_with_its_place() {
        struct Failing(u8);
        impl Read for Failing {
            fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
                self.0 += 1;
                match self.0 {
                    1 | 2 => Err(ErrorKind::Interrupted.into()),
                    3 => {
                        out[..20].copy_from_slice(&[b'x'; 20]);
                        Ok(20)
                    }
                    _ => Err(io::Error::other("the disk is gone")),
                }
            }
        }
        let mut source = ByteSource::new(Box::new(Failing(0)), "f", None).unwrap();
        let mut all = Vec::new();
        let error = source.read_to_end(&mut all).unwrap_err();
        assert_eq!(all.len(), 20);
        assert_eq!(damaged("f", &error, 0).to_string(), "f: offset 20: cannot read: the disk is gone");
    }

    /// Lines by `split`: the naive twin.
    fn naive_lines(bytes: &[u8], line_bytes_max: usize) -> Vec<(u64, u64, Result<Vec<u8>, LineTooLong>)> {
        let mut lines: Vec<&[u8]> = bytes.split(|byte| *byte == b'\n').collect();
        if lines.last().is_some_and(|last| last.is_empty()) {
            lines.pop();
        }
        let mut offset = 0;
        let mut result = Vec::new();
        for (index, line) in lines.into_iter().enumerate() {
            let kept = line.len() <= line_bytes_max;
            let text = if kept { Ok(line.to_vec()) } else { Err(LineTooLong(line.len() as u64)) };
            result.push((index as u64 + 1, offset, text));
            offset += line.len() as u64 + 1;
        }
        result
    }

    #[test]
    fn lines_are_those_of_the_naive_twin_whatever_the_reads_and_the_limit() {
        for seed in 0..300u64 {
            let mut state = seed;
            let mut below = |bound: u64| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (state >> 33) % bound
            };
            let mut bytes = Vec::new();
            for _ in 0..below(20) {
                let length = if below(8) == 0 { below(900_000) } else { below(60) };
                bytes.extend(std::iter::repeat_n(b'a' + below(26) as u8, length as usize));
                bytes.push(b'\n');
            }
            bytes.truncate(bytes.len().saturating_sub(below(2) as usize));
            let line_bytes_max = [0, 1, 30, 300_000, LINE_BYTES_DEFAULT][below(5) as usize];
            let step = [1_000, 65_536, 1 << 20][below(3) as usize];
            let mut lines = LineReader::new(source(&bytes, step), line_bytes_max);
            let mut seen = Vec::new();
            while let Some(line) = lines.line().unwrap() {
                seen.push((line.number, line.offset, line.text.map(<[u8]>::to_vec)));
                assert!(!line.cut);
                let again = (line.number, line.offset);
                let line = lines.line().unwrap().unwrap();
                assert_eq!((line.number, line.offset), again, "it stays until `advance`");
                lines.advance();
            }
            assert_eq!(seen, naive_lines(&bytes, line_bytes_max), "seed {seed}");
            assert_eq!(lines.lines(), seen.len() as u64);
            assert!(lines.buffer.len() <= LINE_BUFFER_BYTES.max(line_bytes_max + LINE_BUFFER_BYTES), "seed {seed}");
            assert_eq!(lines.line().unwrap(), None);
        }
    }

    #[test]
    fn a_line_of_a_gigabyte_is_skipped_without_being_kept() {
        let long = io::repeat(b'x').take(1 << 30);
        let reader = io::Cursor::new(b"one\n".to_vec()).chain(long).chain(io::Cursor::new(b"\nthree".to_vec()));
        let mut lines = LineReader::new(ByteSource::new(Box::new(reader), "x", None).unwrap(), 1 << 20);
        assert_eq!(lines.line().unwrap().unwrap().text, Ok(&b"one"[..]));
        lines.advance();
        assert_eq!(lines.line().unwrap().unwrap().text, Err(LineTooLong(1 << 30)));
        lines.advance();
        let last = lines.line().unwrap().unwrap();
        assert_eq!((last.number, last.offset, last.text), (3, (1 << 30) + 5, Ok(&b"three"[..])));
        assert!(lines.buffer.len() <= (1 << 20) + LINE_BUFFER_BYTES);
    }

    #[test]
    fn the_break_of_a_stream_comes_once_after_its_last_line() {
        let whole = zst(&text(), 100);
        let cut = &whole[..whole.len() / 2];
        let (all, _) = drain(cut, 100, 100);
        let mut lines = LineReader::new(source(cut, 100), LINE_BYTES_DEFAULT);
        let mut seen = Vec::new();
        let error = loop {
            match lines.line() {
                Ok(line) => {
                    let line = line.expect("the stream is broken");
                    seen.extend_from_slice(line.text.unwrap());
                    if !line.cut {
                        seen.push(b'\n');
                    }
                    lines.advance();
                }
                Err(error) => break error,
            }
        };
        assert_eq!(seen, all);
        assert_eq!(error.to_string(), format!("sample: offset {}: the zstd stream is cut short", all.len()));
        assert_eq!(lines.line().unwrap(), None);
    }
}
