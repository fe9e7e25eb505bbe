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
use tapeline_runtime::tape::{Codec, TapeOptions, TapeReader, TapeWriter};

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
    let done = read(&args.tape, &part(&args.part), args.part.symbols_max, |catalog, _, slots| match &mut out {
        Some(out) => Ok(out.write(catalog, slots)?),
        None => Ok(()),
    });
    // What came before a fault stands.
    let finished = out.map(Writer::finish).transpose();
    match (done, finished) {
        (_, Err(error)) => out::fail(error, 2),
        (Err(error), _) => fail(&args.tape, &error),
        (Ok(found), Ok(counts)) => {
            let name =
                args.output.as_ref().map_or_else(|| "would be written".to_owned(), |path| path.display().to_string());
            out::note(format_args!("{name}: {}", told(&found, counts.map(|counts| counts.bytes))));
            out::code(0, missing(&args.part, &found))
        }
    }
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
    let mut piece: Option<(u64, PathBuf, u64, Option<Writer>)> = None;
    let done = read(&args.tape, &part(&args.part), args.part.symbols_max, |catalog, time, slots| {
        let number = time.0 / every_ns;
        if piece.as_ref().is_none_or(|(at, ..)| *at != number) {
            if let Some(piece) = piece.take() {
                end(piece).map_err(CutError::Write)?;
            }
            let path = name(&args.output, number.saturating_mul(every_ns));
            let io = |error| CutError::Write(tapeline_runtime::tape::TapeWriteError::Io { offset: 0, error });
            if std::fs::canonicalize(&path).ok() == std::fs::canonicalize(&args.tape).ok() && path.exists() {
                return Err(io(std::io::Error::other(format!("{}: it is what is read", path.display()))));
            }
            let writer = if args.dry_run {
                None
            } else {
                let file = create(&path, args.force);
                let file = file.map_err(|error| io(std::io::Error::other(format!("{}: {error}", path.display()))))?;
                Some(writer(file, args.compress, generated)?)
            };
            piece = Some((number, path, 0, writer));
        }
        let Some((_, _, kept, writer)) = &mut piece else { return Ok(()) };
        *kept += events(slots).count() as u64;
        match writer {
            Some(writer) => Ok(writer.write(catalog, slots)?),
            None => Ok(()),
        }
    });
    let ended = piece.map_or(Ok(()), end);
    match (done, ended) {
        (_, Err(error)) => out::fail(error, 2),
        (Err(error), _) => fail(&args.tape, &error),
        (Ok(found), Ok(())) => {
            out::note(told(&found, None));
            out::code(0, missing(&args.part, &found))
        }
    }
}

/// Ends a piece, and says what is in it.
fn end(
    (_, path, kept, writer): (u64, PathBuf, u64, Option<Writer>),
) -> Result<(), tapeline_runtime::tape::TapeWriteError> {
    let counts = writer.map(Writer::finish).transpose()?;
    let bytes = counts.map_or_else(String::new, |counts| format!(" in {} bytes", count(counts.bytes)));
    out::note(format_args!("{}: {} events{bytes}", path.display(), count(kept)));
    Ok(())
}

/// The file of the piece that begins at `at` ns: its time without what file systems do not like.
fn name(prefix: &Path, at: u64) -> PathBuf {
    let time: String = utc(at).chars().filter(|c| !matches!(c, ':' | '-')).collect();
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
        Err(error) => Err(fail(tape, &CutError::Tape(error))),
    }
}

fn open(path: &Path, force: bool, compress: bool, generated: bool) -> Result<Writer, String> {
    let file = create(path, force).map_err(|error| error.to_string())?;
    writer(file, compress, generated).map_err(|error| error.to_string())
}

fn writer(file: File, compress: bool, generated: bool) -> Result<Writer, tapeline_runtime::tape::TapeWriteError> {
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

/// Symbols that are not on the tape are told: 1 where none of those that were asked for is.
fn missing(args: &PartArgs, found: &Found) -> u8 {
    let asked = args.symbols.len() as u64;
    if found.symbols < asked {
        out::note(format_args!("{} of {asked} symbols are on the tape", found.symbols));
    }
    u8::from(asked > 0 && found.symbols == 0)
}

/// 3 where the tape is damaged, else 2.
fn fail(tape: &Path, error: &CutError) -> u8 {
    let code = match error {
        CutError::Tape(
            tapeline_runtime::tape::TapeError::Io { .. } | tapeline_runtime::tape::TapeError::Unrecognised(_),
        ) => 2,
        CutError::Tape(_) => 3,
        _ => 2,
    };
    out::fail(format_args!("{}: {error}", tape.display()), code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_named_by_their_beginning() {
        let at = 1_704_205_800_000_000_000;
        assert_eq!(name(Path::new("a/day"), at), Path::new("a/day-20240102T143000.000.tape"));
    }
}
