//! `tapeline dump`.

use crate::cli::DumpArgs;
use crate::out;
use std::io::{self, BufWriter, Write};
use tapeline_core::catalog::Catalog;
use tapeline_core::event::events;
use tapeline_runtime::input::detect::open;
use tapeline_runtime::input::{MESSAGE_SLOTS_MAX, SlotBuf, Status};
use tapeline_runtime::ndjson;

pub(crate) fn run(args: &DumpArgs) -> u8 {
    let options = match super::config::open_options(&args.capture_args, &args.map_args) {
        Ok(options) => options,
        Err(code) => return code,
    };
    let mut input = match open(&args.capture, &options) {
        Ok(input) => input,
        Err(error) => return out::fail(&error, error.exit_code()),
    };
    let mut catalog = Catalog::new(args.symbols_max);
    let mut slots = SlotBuf::with_capacity(MESSAGE_SLOTS_MAX);
    let mut stdout = BufWriter::with_capacity(1 << 16, io::stdout().lock());
    let (mut line, mut left, mut code) = (Vec::new(), args.limit.unwrap_or(u64::MAX), 0);
    loop {
        slots.clear();
        let status = input.read(&mut catalog, &mut slots);
        for event in events(slots.slots()).filter(|event| !event.kind().is_control()) {
            if left == 0 {
                break;
            }
            left -= 1;
            line.clear();
            ndjson::write_event(&catalog, event, &mut line);
            if let Err(error) = stdout.write_all(&line) {
                return out::written(Err(error));
            }
        }
        match status {
            Ok(Status::More) if left > 0 => {}
            Ok(_) => break,
            Err(error) => {
                code = out::fail(&error, error.exit_code());
                break;
            }
        }
    }
    let written = out::written(stdout.flush());
    let bad = super::info::complain(&args.capture, &input.tally());
    // What could not be read at all (2) comes before what is damaged (3).
    out::code(written, if code == 0 { bad } else { code })
}
