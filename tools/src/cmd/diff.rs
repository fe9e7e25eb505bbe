//! `tapeline diff`.

use crate::cli::DiffArgs;
use crate::{files, out};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;
use tapeline_runtime::diff::{Opened, diff};
use tapeline_runtime::input::InputError;
use tapeline_runtime::input::detect::{OpenOptions, open};

pub(crate) fn run(args: &DiffArgs) -> u8 {
    for path in [&args.a, &args.b] {
        if path == "-" || Path::new(path).exists() && !Path::new(path).is_dir() && !files::is_regular(path) {
            return out::fail(
                format_args!("{path}: diff reads its files more than once: a pipe cannot be one of them"),
                2,
            );
        }
    }
    match diff(|| opened(&args.a), || opened(&args.b), args.symbols_max) {
        Ok(report) => {
            let written = out::data(&format!("{}\n", report.to_string().trim_end()));
            out::code(written, report.exit_code())
        }
        Err(error) => out::fail(&error, error.exit_code()),
    }
}

/// Outputs as NDJSON are told by their first byte.
fn opened(path: &str) -> Result<Opened, InputError> {
    let fail = |error| InputError::Open { path: path.to_owned(), error };
    let mut reader = BufReader::new(File::open(path).map_err(fail)?);
    // A directory opens, and fails here.
    if reader.fill_buf().map_err(fail)?.first() == Some(&b'{') {
        return Ok(Opened::Ndjson { reader: Box::new(reader), path: path.to_owned() });
    }
    open(path, &OpenOptions::default()).map(Opened::Events)
}
