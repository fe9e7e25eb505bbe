//! The `tapeline` command with the default pipeline.

use std::process::ExitCode;

fn main() -> ExitCode {
    tapeline::main(|r| r)
}
