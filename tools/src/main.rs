//! The `tapeline` command with the default pipeline.

use std::process::ExitCode;

fn main() -> ExitCode {
    tapeline::main_with(tapeline_runtime::pipeline::default_pipeline)
}
