//! Which format a capture has: told by its first bytes after decompression, never by its name.

use super::binance::BinanceInput;
use super::binaryfile::{BinaryFileInput, starts_with_itch};
use super::bytes::{ByteSource, LINE_BYTES_DEFAULT, PEEK_BYTES_MAX, RawSha256, is_dbz};
use super::cryptofeed::CryptofeedInput;
use super::csv::{ColumnMap, CsvInput};
use super::dbn::DbnInput;
use super::itch::ItchConfig;
use super::parquet::{self, ParquetConfig, ParquetInput};
use super::pcap::PcapInput;
use super::tape::TapeInput;
use super::udp::{Feeds, all_feeds};
use super::{Input, InputError};
use std::sync::Arc;
use tapeline_core::schema::Schemas;

/// Bytes that tell most formats; more are asked for only when they do not, so that a slow pipe is opened at once.
const FIRST_BYTES: usize = 64;
/// First bytes of a tape.
const TAPE_MAGIC: &[u8] = &crate::tape::format::MAGIC;

/// A format that a capture may have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Format {
    /// tapeline's own.
    Tape,
    /// Databento Binary Encoding.
    Dbn,
    /// What came before DBN: zstd frames after a header in a skippable frame. Its bytes come as they are stored.
    Dbz,
    /// Packets: pcap or pcapng.
    Pcap,
    /// Lines of a Binance websocket capture.
    Binance,
    /// Lines of websockets as cryptofeed writes them.
    Cryptofeed,
    /// A BinaryFILE of ITCH 5.0.
    Itch,
    /// Columns of trades, quotes or bars.
    Parquet,
}

/// How an input is to be opened.
#[derive(Clone, Debug)]
pub struct OpenOptions {
    /// Longest line of a line format in bytes; a longer one is a bad line.
    pub line_bytes_max: usize,
    /// Where the SHA-256 of the raw file shall appear once it was read to its end.
    pub sha256: Option<RawSha256>,
    /// The layouts of who reads: events of a tape that are of an older version of their kind are made the newest ([`TapeInput::with_schemas`]).
    /// An engine with layouts of its own needs the same ones here, or its older tapes are refused at admission, event by event.
    pub schemas: Schemas,
    /// How ITCH is read.
    pub itch: ItchConfig,
    /// How Parquet is read.
    pub parquet: ParquetConfig,
    /// What the columns of a CSV are that does not say it itself.
    pub csv: Option<Arc<ColumnMap>>,
}

impl Default for OpenOptions {
    fn default() -> Self {
        Self {
            line_bytes_max: LINE_BYTES_DEFAULT,
            sha256: None,
            schemas: Schemas::builtin(),
            itch: ItchConfig::default(),
            parquet: ParquetConfig::default(),
            csv: None,
        }
    }
}

/// Opens the capture at `path`, or on standard input where that is `-`.
///
/// # Errors
/// [`InputError::Open`] when it cannot be opened, [`InputError::Unrecognised`] when it is empty or of no format that this
/// build reads, [`InputError::Damaged`] when its compression broke off before its format could be told.
pub fn open(path: &str, options: &OpenOptions) -> Result<Box<dyn Input>, InputError> {
    open_source(ByteSource::open(path, options.sha256.clone())?, options)
}

/// As [`open`], for bytes from anywhere.
///
/// # Errors
/// As [`open`].
pub fn open_source(mut source: ByteSource, options: &OpenOptions) -> Result<Box<dyn Input>, InputError> {
    let format = match format_of(source.peek(FIRST_BYTES)) {
        Some(format) => Some(format),
        None => format_of(source.peek(PEEK_BYTES_MAX)),
    };
    let unrecognised = |source: &ByteSource, why| InputError::Unrecognised { path: source.path().to_owned(), why };
    match format {
        Some(Format::Binance) => Ok(Box::new(BinanceInput::new(source, options.line_bytes_max))),
        Some(Format::Cryptofeed) => Ok(Box::new(CryptofeedInput::new(source, options.line_bytes_max))),
        Some(Format::Pcap) => Ok(Box::new(PcapInput::with_feeds(source, Feeds::new(all_feeds(&options.itch)))?)),
        Some(Format::Itch) => Ok(Box::new(BinaryFileInput::new(source, &options.itch))),
        Some(Format::Tape) => {
            let path = source.path().to_owned();
            Ok(Box::new(TapeInput::new(path, Box::new(source))?.with_schemas(options.schemas.clone())))
        }
        Some(Format::Dbn | Format::Dbz) => {
            let path = source.path().to_owned();
            Ok(Box::new(DbnInput::new(Box::new(source), &path)?))
        }
        Some(Format::Parquet) => Ok(Box::new(ParquetInput::new(source, &options.parquet)?)),
        None => {
            let why = match CsvInput::recognise(source.peek(PEEK_BYTES_MAX), options.csv.as_deref()) {
                Ok(Some(layout)) => return Ok(Box::new(CsvInput::new(source, layout, options.line_bytes_max))),
                Ok(None) => describe(source.peek(FIRST_BYTES)),
                Err(why) => why,
            };
            Err(source.broken().unwrap_or_else(|| unrecognised(&source, why)))
        }
    }
}

/// The format of a file that begins with `start` once it is decompressed.
#[must_use]
pub fn format_of(start: &[u8]) -> Option<Format> {
    if start.starts_with(TAPE_MAGIC) {
        Some(Format::Tape)
    } else if start.starts_with(b"DBN") && start.get(3).is_some_and(|version| *version < b' ') {
        Some(Format::Dbn)
    } else if PcapInput::recognises(start) {
        Some(Format::Pcap)
    } else if start.starts_with(parquet::MAGIC) {
        Some(Format::Parquet)
    } else if is_dbz(start) {
        Some(Format::Dbz)
    } else if starts_with_itch(start) {
        Some(Format::Itch)
    } else {
        let cryptofeed = || CryptofeedInput::recognises(start).then_some(Format::Cryptofeed);
        BinanceInput::recognises(start).then_some(Format::Binance).or_else(cryptofeed)
    }
}

/// What the first bytes of a file of no known format look like.
fn describe(start: &[u8]) -> String {
    const KNOWN: [(&[u8], &str); 9] = [
        (b"PARE", "Parquet that is encrypted"),
        (b"PK\x03\x04", "a zip archive: unpack it first"),
        (b"BZh", "bzip2: only gzip and zstd are unpacked"),
        (b"\xfd7zXZ\0", "xz: only gzip and zstd are unpacked"),
        (b"\x04\x22\x4d\x18", "lz4: only gzip and zstd are unpacked"),
        (b"\x1f\x8b", "gzip inside gzip or zstd: unpack it first"),
        (b"\x28\xb5\x2f\xfd", "zstd inside gzip or zstd: unpack it first"),
        (b"\x7fELF", "a program"),
        (b"TBLK", "a tape without its first 4,096 bytes"),
    ];
    if start.is_empty() {
        return "the file is empty".to_owned();
    }
    if let Some((_, name)) = KNOWN.iter().find(|(magic, _)| start.starts_with(magic)) {
        return format!("it looks like {name}");
    }
    let line = start.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let shown = &line[..line.len().min(40)];
    let is_text = |byte: &u8| matches!(byte, b'\t' | b'\r' | b' '..=b'~');
    if !shown.is_empty() && shown.iter().all(is_text) {
        let hint =
            if line.contains(&b',') { "; of a CSV, [csv] in the configuration says what its columns are" } else { "" };
        format!("no known format is text that begins with \"{}\"{hint}", shown.escape_ascii())
    } else {
        let bytes: Vec<String> = start.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        format!("no known format begins with the bytes {}", bytes.join(" "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn opened(bytes: &[u8]) -> Result<Box<dyn Input>, InputError> {
        let source = ByteSource::new(Box::new(std::io::Cursor::new(bytes.to_vec())), "f", None)?;
        open_source(source, &OpenOptions::default())
    }

    #[test]
    fn formats_are_told_by_content() {
        let delete = [&b"\0\x13D\0\x01"[..], &[0; 16]].concat();
        let late = [vec![b'x'; 3_000], b"\n1723161254024619568 {\"a\":1}\n".to_vec()].concat();
        for (start, format) in [
            (&b"\x89TAPE\r\n\x1a\x01"[..], Some(Format::Tape)),
            (b"DBN\x03\x00", Some(Format::Dbn)),
            (b"DBN\x01", Some(Format::Dbn)),
            (b"DBNX", None),
            (b"DBN", None),
            (b"\x50\x2a\x4d\x18\x90\0\0\0DBZ\x01", Some(Format::Dbz)),
            (b"\x50\x2a\x4d\x18\x90\0\0\0XYZ\x01", None),
            (b"\xd4\xc3\xb2\xa1\x02\0", Some(Format::Pcap)),
            (b"\xa1\xb2\xc3\xd4", Some(Format::Pcap)),
            (b"\x4d\x3c\xb2\xa1", Some(Format::Pcap)),
            (b"\xa1\xb2\x3c\x4d", Some(Format::Pcap)),
            (b"\x0a\x0d\x0d\x0a\x1c\0\0\0", Some(Format::Pcap)),
            (b"1723161254024619568 {\"u\":1}", Some(Format::Binance)),
            (b"1 {", Some(Format::Binance)),
            (b"1\t {", Some(Format::Binance)),
            (b"1{", None),
            (b"1723161254024619568", None),
            (b"1618200000.123456: {\"a\":1}", Some(Format::Cryptofeed)),
            (b"1618200000: {", Some(Format::Cryptofeed)),
            (b"1618200000.1:{", None),
            (b"wss://ws-feed.pro.coinbase.com <-> 1618677816.8434298\n", Some(Format::Cryptofeed)),
            (b"wss://ws-feed.pro.coinbase.com 1618677816.8434298\n", None),
            (b"{\"u\":1}", None),
            (&late, Some(Format::Binance)),
            (b"", None),
            (b"\n\n", None),
            (b"\0\x0cS", Some(Format::Itch)),
            (b"\0\x0c", None),
            (b"\0\x0dS", None),
            (&delete, Some(Format::Itch)),
            (&delete[..20], None),
            (&[&delete[..], b"\0\0"].concat(), Some(Format::Itch)),
            (&[&delete[..], b"\0\x13D"].concat(), Some(Format::Itch)),
            (&[&delete[..], b"\0\x14D"].concat(), None),
            (b"\0\0", None),
        ] {
            assert_eq!(format_of(start), format, "{:?}", start.escape_ascii().to_string());
        }
    }

    #[test]
    fn what_is_not_recognised_is_described_and_exits_2() {
        for (bytes, why) in [
            (&b""[..], "f: format not recognised at offset 0: the file is empty"),
            (b"PARE", "f: format not recognised at offset 0: it looks like Parquet that is encrypted"),
            (
                b"time,price\n1,2\n",
                "f: format not recognised at offset 0: no known format is text that begins with \"time,price\"; \
                 of a CSV, [csv] in the configuration says what its columns are",
            ),
            (b"\x00\x01\x02", "f: format not recognised at offset 0: no known format begins with the bytes 00 01 02"),
            (b"\n", "f: format not recognised at offset 0: no known format begins with the bytes 0a"),
        ] {
            let error = opened(bytes).err().unwrap();
            assert_eq!((error.to_string().as_str(), error.exit_code()), (why, 2));
        }
    }

    #[test]
    fn compression_does_not_hide_a_format_and_its_damage_comes_first() {
        let line = b"1723161254024619568 {\"result\":null,\"id\":1}\n";
        let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        gz.write_all(line).unwrap();
        let gz = gz.finish().unwrap();
        let zst = zstd::encode_all(&line[..], 1).unwrap();
        for bytes in [&gz, &zst] {
            assert_eq!(opened(bytes).unwrap().format(), "binance");
            let error = opened(&bytes[..6]).err().unwrap();
            assert!(matches!(error, InputError::Damaged { .. }), "{error}");
            assert_eq!(error.exit_code(), 3);
        }
        let nested = zstd::encode_all(&gz[..], 1).unwrap();
        let error = opened(&nested).err().unwrap().to_string();
        assert!(error.contains("gzip inside gzip or zstd"), "{error}");
        let empty = zstd::encode_all(&b""[..], 1).unwrap();
        assert!(opened(&empty).err().unwrap().to_string().ends_with("the file is empty"));
    }
}
