//! `tapeline cut` and `tapeline split`.

use crate::cli::{CutArgs, PartArgs, SplitArgs};
use crate::{files, out};
use std::fs::File;
use std::io::{BufWriter, Read};
use std::path::{Path, PathBuf};
use tapeline_core::event::{KindSet, events};
use tapeline_runtime::report::text::{count, utc};
use tapeline_runtime::sink::create;
use tapeline_runtime::tape::cut::{CutError, Found, Part, read};
use tapeline_runtime::tape::format::is_tape;
use tapeline_runtime::tape::{Codec, TapeError, TapeOptions, TapeReader, TapeWriteError, TapeWriter};

type Writer = TapeWriter<BufWriter<File>>;

/// `tapeline cut`.
pub(crate) fn cut(args: &CutArgs) -> u8 {
    let written: Vec<&Path> = args.output.iter().map(PathBuf::as_path).collect();
    let generated = match begin(&args.tape, &written) {
        Ok(generated) => generated,
        Err(code) => return code,
    };
    let mut out = None;
    if let Some(path) = args.output.as_deref().filter(|_| !args.dry_run) {
        match open(path, args.force, args.compress, generated) {
            Ok(writer) => out = Some(writer),
            Err(why) => return out::fail(format_args!("{}: {why}", path.display()), 2),
        }
    }
    let mut found = Found::default();
    let done =
        read(&args.tape, &part(&args.part), args.part.symbols_max, &mut found, |catalog, _, slots| match &mut out {
            Some(out) => Ok(out.write(catalog, slots)?),
            None => Ok(()),
        });
    // What came before a fault stands.
    let finished = out.map(Writer::finish).transpose();
    let name = args.output.as_ref().map_or_else(|| "would be written".to_owned(), |path| path.display().to_string());
    let fault = done.map_or_else(|error| fault(&args.tape, &name, &error), |()| 0);
    let bytes = match finished {
        // Where a write failed before, that was told, and is why.
        Err(_) if fault == 2 => return 2,
        Err(error) => return out::fail(format_args!("{name}: {error}"), 2),
        Ok(counts) => counts.map(|counts| counts.bytes),
    };
    if fault == 0 || found.kept > 0 {
        out::note(format_args!("{name}: {}", told(&found, bytes)));
    }
    // A whole tape of nothing would look like an answer.
    if fault != 0
        && found.kept == 0
        && let Some(path) = args.output.as_deref().filter(|_| !args.dry_run)
        && std::fs::symlink_metadata(path).is_ok_and(|found| found.is_file())
    {
        let _ = std::fs::remove_file(path);
    }
    out::code(fault, missing(&args.part, &found, fault))
}

/// `tapeline split`.
pub(crate) fn split(args: &SplitArgs) -> u8 {
    let every_ns = u64::try_from(args.every.as_nanos()).unwrap_or(u64::MAX);
    if every_ns == 0 {
        return out::fail("--every: a piece is longer than nothing", 2);
    }
    let generated = match begin(&args.tape, &[]) {
        Ok(generated) => generated,
        Err(code) => return code,
    };
    let mut piece: Option<Piece> = None;
    // The file at which a write failed.
    let mut at = PathBuf::new();
    let mut found = Found::default();
    let done = read(&args.tape, &part(&args.part), args.part.symbols_max, &mut found, |catalog, time, slots| {
        let number = time.0 / every_ns;
        if piece.as_ref().is_none_or(|piece| piece.number != number) {
            if let Some(piece) = piece.take() {
                at.clone_from(&piece.path);
                piece.end()?;
            }
            let path = name(&args.output, number.saturating_mul(every_ns), every_ns);
            at.clone_from(&path);
            let io = |error| TapeWriteError::Io { offset: 0, error };
            if std::fs::canonicalize(&path).ok() == std::fs::canonicalize(&args.tape).ok() && path.exists() {
                return Err(io(std::io::Error::other("it is what is read")).into());
            }
            let writer = if args.dry_run {
                None
            } else {
                Some(writer(create(&path, args.force).map_err(io)?, args.compress, generated)?)
            };
            piece = Some(Piece { number, path, kept: 0, writer });
        }
        let Some(piece) = &mut piece else { return Ok(()) };
        piece.kept += events(slots).count() as u64;
        match &mut piece.writer {
            Some(writer) => Ok(writer.write(catalog, slots)?),
            None => Ok(()),
        }
    });
    let fault = done.map_or_else(|error| fault(&args.tape, &at.display().to_string(), &error), |()| 0);
    if fault == 2 {
        // A piece that could not be written has no end.
        return 2;
    }
    if let Some(piece) = piece {
        let path = piece.path.clone();
        if let Err(error) = piece.end() {
            return out::fail(format_args!("{}: {error}", path.display()), 2);
        }
    }
    out::note(told(&found, None));
    out::code(fault, missing(&args.part, &found, fault))
}

/// A piece that is being written.
struct Piece {
    number: u64,
    path: PathBuf,
    kept: u64,
    writer: Option<Writer>,
}

impl Piece {
    /// Ends it, and says what is in it.
    fn end(self) -> Result<(), TapeWriteError> {
        let counts = self.writer.map(Writer::finish).transpose()?;
        let bytes = counts.map_or_else(String::new, |counts| format!(" in {} bytes", count(counts.bytes)));
        out::note(format_args!("{}: {} events{bytes}", self.path.display(), count(self.kept)));
        Ok(())
    }
}

/// The file of the piece that begins at `at` ns: its time without what file systems do not like, to the ns where pieces do not begin at whole ms.
fn name(prefix: &Path, at: u64, every_ns: u64) -> PathBuf {
    let mut time: String = utc(at).chars().filter(|c| !matches!(c, ':' | '-')).collect();
    if !every_ns.is_multiple_of(1_000_000) {
        time.push_str(&format!("{:06}", at % 1_000_000));
    }
    let mut name = prefix.as_os_str().to_owned();
    name.push(format!("-{}.tape", time.replace(' ', "T")));
    PathBuf::from(name)
}

fn part(args: &PartArgs) -> Part {
    Part {
        start: args.start,
        end: args.end,
        symbols: (!args.symbols.is_empty()).then(|| args.symbols.iter().cloned().collect()),
        kinds: (!args.kinds.is_empty()).then(|| KindSet::of(&args.kinds)),
    }
}

/// Looks at the tape before anything is written. Returns whether a model made it, or the exit code.
fn begin(tape: &Path, written: &[&Path]) -> Result<bool, u8> {
    let path = tape.display();
    let mut first = Vec::new();
    match File::open(tape).and_then(|file| file.take(64).read_to_end(&mut first)) {
        Err(error) => return Err(out::fail(format_args!("{path}: cannot open: {error}"), 2)),
        Ok(_) if !is_tape(&first) => {
            return Err(out::fail(format_args!("{path}: not a tape at offset 0: `tapeline import` makes one"), 2));
        }
        Ok(_) => {}
    }
    files::spare(&[path.to_string()], written).map_err(|why| out::fail(why, 2))?;
    let reader = File::open(tape).map_err(|error| out::fail(format_args!("{path}: {error}"), 2))?;
    match TapeReader::new(reader) {
        Ok(reader) => Ok(reader.header().generated),
        Err(error) => Err(fault(tape, "", &CutError::Tape(error))),
    }
}

fn open(path: &Path, force: bool, compress: bool, generated: bool) -> Result<Writer, String> {
    let file = create(path, force).map_err(|error| error.to_string())?;
    writer(file, compress, generated).map_err(|error| error.to_string())
}

fn writer(file: File, compress: bool, generated: bool) -> Result<Writer, TapeWriteError> {
    let options = TapeOptions {
        generated,
        made_by: "tapeline cut".to_owned(),
        codec: if compress { Codec::Zstd } else { Codec::None },
        ..TapeOptions::default()
    };
    TapeWriter::new(BufWriter::with_capacity(1 << 20, file), options)
}

fn told(found: &Found, bytes: Option<u64>) -> String {
    let bytes = bytes.map_or_else(String::new, |bytes| format!(" in {} bytes", count(bytes)));
    format!(
        "{} events{bytes}; {} blocks read, {} events in them left out",
        count(found.kept),
        count(found.blocks),
        count(found.left_out)
    )
}

/// Symbols that are not on the tape are told: 1 where none of those that were asked for is. Of a tape that is damaged nobody knows.
fn missing(args: &PartArgs, found: &Found, fault: u8) -> u8 {
    let asked = args.symbols.len() as u64;
    if found.symbols < asked {
        let before = if fault == 0 { "" } else { " before the damage" };
        out::note(format_args!("{} of {asked} symbols are on the tape{before}", found.symbols));
    }
    u8::from(asked > 0 && found.symbols == 0)
}

/// Tells the fault, of the tape or of what is written: 3 where the tape is damaged, else 2.
fn fault(tape: &Path, written: &str, error: &CutError) -> u8 {
    match error {
        CutError::Write(error) => out::fail(format_args!("{written}: {error}"), 2),
        CutError::Message { .. } | CutError::Tape(TapeError::Header(_) | TapeError::Damaged { .. }) => {
            out::fail(format_args!("{}: {error}", tape.display()), 3)
        }
        error => out::fail(format_args!("{}: {error}", tape.display()), 2),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_named_by_their_beginning() {
        let at = 1_704_205_800_000_000_000;
        let named = |at, every_ns| name(Path::new("a/day"), at, every_ns);
        assert_eq!(named(at, 60_000_000_000), Path::new("a/day-20240102T143000.000.tape"));
        assert_eq!(named(at + 250_001, 250_001), Path::new("a/day-20240102T143000.000250001.tape"));
        assert_eq!(named(at + 5_000_000, 1_000_000), Path::new("a/day-20240102T143000.005.tape"));
    }
}
