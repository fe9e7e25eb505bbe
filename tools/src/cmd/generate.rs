//! `tapeline gen`.

use crate::cli::{GenArgs, GenFormat};
use crate::out;
use std::io::BufWriter;
use tapeline_core::catalog::Catalog;
use tapeline_runtime::input::generate::{Carried, Config, GenerateInput, ItchDay, binary_file, pcap};
use tapeline_runtime::input::itch::SessionDate;
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
    if args.format != GenFormat::Tape {
        return itch(args, &config);
    }
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

/// A day of ITCH.
fn itch(args: &GenArgs, config: &Config) -> u8 {
    let path = args.output.display();
    if args.compress {
        return out::fail(
            "--compress is for blocks of a tape: ITCH files are compressed as a whole, with gzip or zstd",
            2,
        );
    }
    let day = match ItchDay::new(config) {
        Ok(day) => day,
        Err(error) => return out::fail(error, 2),
    };
    let date = SessionDate::at(day.midnight_ns());
    let write = || {
        let file = create(&args.output, args.force).map_err(|error| error.to_string())?;
        let mut file = BufWriter::with_capacity(1 << 20, file);
        let written = if args.format == GenFormat::Itch { binary_file(day, &mut file) } else { pcap(day, &mut file) };
        written.map_err(|error| error.to_string())
    };
    match write() {
        Ok(Carried { messages, packets, bytes }) => {
            let packets = if packets > 0 { format!(" in {} packets", count(packets)) } else { String::new() };
            out::note(format_args!(
                "{path}: {} messages{packets}, {} bytes, of {date} ({})",
                count(messages),
                count(bytes),
                config.describe()
            ));
            // Packets have times; records count from midnight.
            if args.format == GenFormat::Itch && SessionDate::of_file_name(&args.output.to_string_lossy()) != Some(date)
            {
                out::note(format_args!("{path}: its name does not tell the day: read it with --date {date}"));
            }
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
