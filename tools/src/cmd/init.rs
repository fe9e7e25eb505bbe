//! `tapeline init`.

use crate::cli::InitArgs;
use crate::out;
use std::io::Write;
use std::path::Path;
use tapeline_runtime::config::sample;
use tapeline_runtime::sink::create;

pub(crate) fn run(args: &InitArgs) -> u8 {
    if args.file == Path::new("-") {
        return out::data(&sample());
    }
    let written = create(&args.file, args.force).and_then(|mut file| file.write_all(sample().as_bytes()));
    match written {
        Ok(()) => {
            out::note(format_args!("{} written: every key, commented out", args.file.display()));
            0
        }
        Err(error) => out::fail(format_args!("{}: {error}", args.file.display()), 2),
    }
}
