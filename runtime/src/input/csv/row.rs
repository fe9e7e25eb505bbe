//! A line of CSV as fields (RFC 4180): quoted or not, one line a row.
//!
//! A row ends with its line. RFC 4180 lets a quoted field go on in the next line; no market data does, and so a stray quote damages one row and
//! not the rest of the file. `csv`, the crate, reads the other way, and keeps a row of any length; it is the oracle of the tests.

use std::ops::Range;

/// Why a line is no row.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub(super) enum RowError {
    #[error("a quoted field does not end on its line")]
    Open,
    #[error("something follows the quote that ends a field, at byte {0}")]
    AfterQuote(usize),
}

/// The fields of one line. Its buffers are used again for the next one.
#[derive(Default)]
pub(super) struct Row {
    /// End of each field in the text, the delimiter not included.
    fields: Vec<Range<usize>>,
    /// The fields' text where one of them was quoted.
    unquoted: Vec<u8>,
    is_quoted: bool,
}

impl Row {
    /// Takes a line apart. O(length).
    pub(super) fn split(&mut self, line: &[u8], delimiter: u8) -> Result<(), RowError> {
        self.fields.clear();
        self.is_quoted = memchr::memchr(b'"', line).is_some();
        if self.is_quoted {
            return self.split_quoted(line, delimiter);
        }
        let mut from = 0;
        for at in memchr::memchr_iter(delimiter, line) {
            self.fields.push(from..at);
            from = at + 1;
        }
        self.fields.push(from..line.len());
        Ok(())
    }

    #[cold]
    fn split_quoted(&mut self, line: &[u8], delimiter: u8) -> Result<(), RowError> {
        self.unquoted.clear();
        let mut at = 0;
        loop {
            let from = self.unquoted.len();
            if line.get(at) == Some(&b'"') {
                at += 1;
                loop {
                    let quote = memchr::memchr(b'"', &line[at..]).ok_or(RowError::Open)?;
                    self.unquoted.extend_from_slice(&line[at..at + quote]);
                    at += quote + 1;
                    if line.get(at) != Some(&b'"') {
                        break;
                    }
                    // A quote within the field is written twice.
                    self.unquoted.push(b'"');
                    at += 1;
                }
                if line.get(at).is_some_and(|byte| *byte != delimiter) {
                    return Err(RowError::AfterQuote(at));
                }
            } else {
                let length = memchr::memchr(delimiter, &line[at..]).unwrap_or(line.len() - at);
                self.unquoted.extend_from_slice(&line[at..at + length]);
                at += length;
            }
            self.fields.push(from..self.unquoted.len());
            if at == line.len() {
                return Ok(());
            }
            at += 1;
        }
    }

    /// Number of fields.
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.fields.len()
    }

    /// A field without the white space around it; empty beyond the last. `line` is the one that was split.
    #[inline]
    pub(super) fn field<'a>(&'a self, line: &'a [u8], index: usize) -> &'a [u8] {
        let text = if self.is_quoted { &self.unquoted[..] } else { line };
        self.fields.get(index).map_or(&b""[..], |field| text[field.clone()].trim_ascii())
    }

    /// All fields, as [`Row::field`].
    pub(super) fn fields<'a>(&'a self, line: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
        (0..self.len()).map(move |index| self.field(line, index))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(line: &[u8]) -> Result<Vec<String>, RowError> {
        let mut row = Row::default();
        row.split(line, b',')?;
        Ok(row.fields(line).map(|field| String::from_utf8_lossy(field).into_owned()).collect())
    }

    #[test]
    fn fields_are_told_apart() {
        for (line, expected) in [
            (&b"a,b,c"[..], &["a", "b", "c"][..]),
            (b"", &[""]),
            (b",", &["", ""]),
            (b" a ,b\t", &["a", "b"]),
            (b"\"a,b\",c", &["a,b", "c"]),
            (b"\"a\"\"b\",\"\"", &["a\"b", ""]),
            (b"a\"b,c", &["a\"b", "c"]),
            (b"x,\"\"\"\"", &["x", "\""]),
        ] {
            assert_eq!(fields(line).unwrap(), expected, "{}", line.escape_ascii());
        }
        assert_eq!(fields(b"a,\"b"), Err(RowError::Open));
        assert_eq!(fields(b"a,\"b\"c,d"), Err(RowError::AfterQuote(5)));
    }

    /// Every line of up to seven of these bytes, against the `csv` crate where that reads it as one row and ours takes it.
    #[test]
    fn rows_are_those_of_the_csv_crate() {
        const BYTES: [u8; 4] = *b"a,\" ";
        let mut compared = 0;
        for length in 1..=7u32 {
            for number in 0..4usize.pow(length) {
                let line: Vec<u8> = (0..length).map(|at| BYTES[number >> (2 * at) & 3]).collect();
                let Ok(ours) = fields(&line) else { continue };
                let mut reader = csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(&line[..]);
                let mut record = csv::ByteRecord::new();
                assert!(reader.read_byte_record(&mut record).unwrap(), "{}", line.escape_ascii());
                let theirs: Vec<String> =
                    record.iter().map(|field| String::from_utf8_lossy(field.trim_ascii()).into_owned()).collect();
                assert_eq!(ours, theirs, "{}", line.escape_ascii());
                compared += 1;
            }
        }
        assert!(compared > 10_000, "{compared}");
    }
}
