//! `tapeline doctor`.

use crate::cli::{DoctorArgs, Format};
use crate::out;
use tapeline_runtime::doctor::{self, Looked};
use tapeline_runtime::machine::Machine;
use tapeline_runtime::{core_lines, jitter};

pub(crate) fn run(args: &DoctorArgs) -> u8 {
    let machine = Machine::here();
    let cores = machine.limits.affinity.as_deref().unwrap_or_default();
    let idle = if args.probe.is_zero() { Vec::new() } else { jitter::idle_probes(cores, args.probe) };
    let lines = (!args.matrix.is_zero()).then(|| core_lines::measure(cores, args.matrix));
    let diagnosis = doctor::examine(&machine, &Looked { idle, lines });
    match args.format {
        Format::Text => out::data(&doctor::text(&diagnosis)),
        Format::Json => out::data(&format!("{}\n", doctor::json(&diagnosis).trim_end())),
    }
}
