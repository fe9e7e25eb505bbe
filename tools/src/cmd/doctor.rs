//! `tapeline doctor`.

use crate::cli::{DoctorArgs, Format};
use crate::out;
use tapeline_runtime::doctor;
use tapeline_runtime::jitter::idle_probe;
use tapeline_runtime::machine::Machine;

pub(crate) fn run(args: &DoctorArgs) -> u8 {
    let probe = (!args.probe.is_zero()).then(|| idle_probe(args.probe));
    let diagnosis = doctor::examine(&Machine::here(), probe.as_ref());
    match args.format {
        Format::Text => out::data(&doctor::text(&diagnosis)),
        Format::Json => out::data(&format!("{}\n", doctor::json(&diagnosis).trim_end())),
    }
}
