//! Data on stdout, the rest on stderr. A reader that has gone away ends the output, not the program.

use std::fmt::Display;
use std::io::{self, Write};

/// Writes data to stdout. A closed pipe is the reader's choice and no error.
pub(crate) fn data(text: &str) {
    let mut stdout = io::stdout().lock();
    // The reader may have gone away, as `head` does.
    let _ = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
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
