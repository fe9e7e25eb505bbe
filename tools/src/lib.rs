//! The `tapeline` command line as a library: parse, call, print.
//!
//! A binary of one's own gets every verb with one's own handlers in it:
//!
//! ```no_run
//! use std::process::ExitCode;
//! use tapeline_core::event::payload::{Signal, Trade};
//! use tapeline_core::event::{EventRef, Kind, KindSet};
//! use tapeline_core::handler::{Ctx, Handler, Verdict};
//! use tapeline_runtime::pipeline::default_pipeline;
//!
//! /// Buys whatever trades at a lower price than before.
//! struct Contrarian;
//!
//! impl Handler for Contrarian {
//!     type State = i64; // the last price; 0 = none yet
//!     const NAME: &'static str = "contrarian";
//!     const STATE_VERSION: u16 = 1;
//!
//!     fn interests(&self) -> KindSet {
//!         KindSet::of(&[Kind::TRADE])
//!     }
//!
//!     fn on_event(&self, last: &mut i64, event: EventRef<'_>, cx: &mut Ctx<'_>) -> Verdict {
//!         let Some(trade) = event.get::<Trade>() else { return Verdict::Done };
//!         if trade.price < *last && cx.signal(&Signal { strength: 1.0, price: trade.price, ..Signal::default() }).is_err() {
//!             return Verdict::Fail(1);
//!         }
//!         *last = trade.price;
//!         Verdict::Done
//!     }
//! }
//!
//! fn main() -> ExitCode {
//!     tapeline::main_with(|bus, parameters| default_pipeline(bus, parameters).then(Contrarian))
//! }
//! ```

#![forbid(unsafe_code)]

mod cli;
mod cmd;
mod files;
mod out;

use clap::Parser;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use tapeline_core::bus::{BusBuilder, Chain, End};
use tapeline_runtime::pipeline::Parameters;

/// Parses the command line, runs the verb with this pipeline on every shard, and returns the exit code. The pipeline is given the
/// parameters that the configuration sets.
///
/// The codes: 0 done; 1 a check failed; 2 wrong usage, could not open, or format not recognised; 3 damaged or cut short;
/// 130 interrupted. A panic is a bug of ours and ends with 1, never with Rust's 101.
pub fn main_with<C: Chain + 'static>(pipeline: impl Fn(BusBuilder<End>, &Parameters) -> BusBuilder<C>) -> ExitCode {
    let cli = cli::Cli::parse();
    let code = catch_unwind(AssertUnwindSafe(|| match cli.verb {
        cli::Verb::Replay(args) => cmd::replay::run(&args, pipeline),
        cli::Verb::Gen(args) => cmd::generate::run(&args),
        cli::Verb::Import(args) => cmd::import::run(&args),
        cli::Verb::Info(args) => cmd::info::run(&args),
        cli::Verb::Verify(args) => cmd::verify::run(&args),
        cli::Verb::Dump(args) => cmd::dump::run(&args),
        cli::Verb::Diff(args) => cmd::diff::run(&args),
        cli::Verb::Doctor(args) => cmd::doctor::run(&args),
        cli::Verb::Config(verb) => cmd::config::run(&verb),
        cli::Verb::Init(args) => cmd::init::run(&args),
    }));
    ExitCode::from(code.unwrap_or(1))
}
