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

/// Of several exit codes the one that is told: 130, then 2, then 3, then 1. An unbalanced ledger's 1 comes before 3, which who knows of it has to say.
pub(crate) fn first_of(codes: &[u8]) -> u8 {
    [130, 2, 3, 1].into_iter().find(|code| codes.contains(code)).unwrap_or(0)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interrupt_comes_first_then_what_could_not_be_done_then_damage() {
        assert_eq!(first_of(&[3, 130, 2]), 130);
        assert_eq!(first_of(&[3, 1, 2, 0]), 2);
        assert_eq!(first_of(&[1, 3]), 3);
        assert_eq!((first_of(&[0, 1]), first_of(&[0, 0]), first_of(&[])), (1, 0, 0));
    }
}
