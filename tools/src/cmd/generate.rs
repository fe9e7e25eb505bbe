//! `tapeline gen`.

use crate::cli::GenArgs;
use crate::out;
use std::io::BufWriter;
use tapeline_core::catalog::Catalog;
use tapeline_runtime::input::generate::{Config, GenerateInput};
use tapeline_runtime::input::{Input, MESSAGE_SLOTS_MAX, SlotBuf, Status};
use tapeline_runtime::report::text::count;
use tapeline_runtime::sink::create;
use tapeline_runtime::tape::{Codec, TapeOptions, TapeWriter};

pub(crate) fn run(args: &GenArgs) -> u8 {
    let default = Config::default();
    let config = Config {
        seed: args.seed,
        events: args.events,
        symbols: args.symbols,
        duration_ns: u64::try_from(args.duration.as_nanos()).unwrap_or(u64::MAX),
        start: args.start.unwrap_or(default.start),
        zipf_exponent: args.zipf,
        ..default
    };
    let mut input = match GenerateInput::new(&config) {
        Ok(input) => input,
        Err(error) => return out::fail(error, 2),
    };
    let path = args.output.display();
    match write(&mut input, args) {
        Ok(counts) => {
            out::note(format_args!(
                "{path}: {} events in {} bytes ({})",
                count(counts.events),
                count(counts.bytes),
                input.describe()
            ));
            0
        }
        Err(why) => out::fail(format_args!("{path}: {why}"), 2),
    }
}

fn write(input: &mut GenerateInput, args: &GenArgs) -> Result<tapeline_runtime::tape::TapeCounts, String> {
    let file = create(&args.output, args.force).map_err(|error| error.to_string())?;
    let options = TapeOptions {
        generated: true,
        made_by: input.describe(),
        codec: if args.compress { Codec::Zstd } else { Codec::None },
        ..TapeOptions::default()
    };
    let mut catalog = Catalog::new((args.symbols as usize + 1).next_power_of_two().max(2));
    let mut tape = TapeWriter::new(BufWriter::with_capacity(1 << 20, file), options).map_err(|e| e.to_string())?;
    let mut slots = SlotBuf::with_capacity(MESSAGE_SLOTS_MAX);
    loop {
        slots.clear();
        let status = input.read(&mut catalog, &mut slots).map_err(|error| error.to_string())?;
        tape.write(&catalog, slots.slots()).map_err(|error| error.to_string())?;
        if status == Status::End {
            return tape.finish().map_err(|error| error.to_string());
        }
    }
}
