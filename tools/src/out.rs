//! Data on stdout, the rest on stderr. A reader that has gone away ends the output, not the program; data that could not be
//! written for any other reason is an error.

use std::fmt::Display;
use std::io::{self, Write};

/// Writes data to stdout. Returns the exit code: 0, or 2 when it could not be written.
pub(crate) fn data(text: &str) -> u8 {
    let mut stdout = io::stdout().lock();
    written(stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()))
}

/// The exit code after writing to stdout: 0, or 2 with a line of error. A closed pipe is the reader's choice and no error:
/// `head` goes away like that.
pub(crate) fn written(result: io::Result<()>) -> u8 {
    match result {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            fail(format_args!("cannot write to stdout: {error}"), 2)
        }
        _ => 0,
    }
}

/// The exit code of a verb: what could not be written (2) comes before what else was wrong, as what could not be read does.
pub(crate) fn code(written: u8, other: u8) -> u8 {
    if written == 0 { other } else { written }
}

/// Writes one line of notice to stderr.
pub(crate) fn note(text: impl Display) {
    // Nobody can be told that stderr is closed.
    let _ = writeln!(io::stderr().lock(), "tapeline: {text}");
}

/// Writes one line of error to stderr and returns the exit code.
pub(crate) fn fail(text: impl Display, code: u8) -> u8 {
    let _ = writeln!(io::stderr().lock(), "tapeline: error: {text}");
    code
}
