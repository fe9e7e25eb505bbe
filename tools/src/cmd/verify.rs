//! `tapeline verify`.

use crate::cli::VerifyArgs;
use crate::out;
use std::fs::File;
use std::io::Read;
use tapeline_runtime::tape::{format::is_tape, verify::verify};

pub(crate) fn run(args: &VerifyArgs) -> u8 {
    let path = args.tape.display();
    let mut first = Vec::new();
    match File::open(&args.tape).and_then(|file| file.take(64).read_to_end(&mut first)) {
        Err(error) => return out::fail(format_args!("{path}: cannot open: {error}"), 2),
        Ok(_) if !is_tape(&first) => return out::fail(format_args!("{path}: not a tape at offset 0"), 2),
        Ok(_) => {}
    }
    match verify(&args.tape) {
        Err(error) => out::fail(format_args!("{path}: cannot read: {error}"), 2),
        Ok(report) => {
            let written = out::data(&format!("{path}: {}\n", report.to_string().trim_end()));
            out::code(written, u8::from(!report.is_whole()))
        }
    }
}
