//! `tapeline completions`.

use crate::cli::{Cli, CompletionsArgs};
use crate::out;
use clap::CommandFactory;

pub(crate) fn run(args: &CompletionsArgs) -> u8 {
    let mut script = Vec::new();
    let mut command = Cli::command();
    // The program may have another name: a binary of one's own.
    let name = std::env::args_os()
        .next()
        .and_then(|path| std::path::Path::new(&path).file_name().map(|name| name.to_string_lossy().into_owned()));
    let name = name.unwrap_or_else(|| command.get_name().to_owned());
    clap_complete::generate(args.shell, &mut command, name, &mut script);
    out::data(&String::from_utf8_lossy(&script))
}
