//! The `tapeline` command line as a library: parse, call, print.
//!
//! A binary of one's own gets every verb with one's own handlers in it:
//!
//! ```no_run
//! use std::process::ExitCode;
//! use tapeline::prelude::*;
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
//!     tapeline::main(|r| r.handler(|| Contrarian))
//! }
//! ```
//!
//! A whole crate of that kind, with a strategy on news and features, stands in `tools/examples/strategy`.

#![forbid(unsafe_code)]

mod child;
mod cli;
mod cmd;
mod files;
mod out;

use clap::Parser;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use tapeline_core::bus::{BusBuilder, Chain, End};
use tapeline_runtime::pipeline::{Defaults, Parameters, Pipeline};

pub use {tapeline_core, tapeline_runtime};

/// What a handler needs, in one line.
pub mod prelude {
    pub use tapeline_core::event::payload::*;
    pub use tapeline_core::event::{EventRef, Flags, Identity, Kind, KindSet};
    pub use tapeline_core::features::{Feature, SET_1, SET_2};
    pub use tapeline_core::handler::{Ctx, Full, Handler, Verdict};
    pub use tapeline_core::units::{PRICE_ONE, PRICE_UNDEFINED, Side, SourceId, SymbolId, UnixNanos, price_f64};
}

/// The program, with handlers of one's own: `tapeline::main(|r| r.handler(MyStrategy::new))`. Every verb of `tapeline` is in it. `r`
/// begins as the default pipeline; see [`Pipeline`] for what it takes. It is called once for each shard.
///
/// Returns the exit code, as [`main_with`].
pub fn main<C: Chain + 'static>(handlers: impl Fn(Pipeline<Defaults>) -> Pipeline<C>) -> ExitCode {
    main_with(|bus, parameters| handlers(Pipeline::new(bus, parameters)).into_bus())
}

/// The layer below [`main`]: parses the command line, runs the verb with this pipeline on every shard, and returns the exit code. The pipeline is given the
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
        cli::Verb::Compare(args) => cmd::compare::run(&args),
        cli::Verb::Capacity(args) => cmd::capacity::run(&args),
        cli::Verb::Doctor(args) => cmd::doctor::run(&args),
        cli::Verb::Dlq(args) => cmd::dlq::run(&args),
        cli::Verb::Schema(args) => cmd::schema::run(&args),
        cli::Verb::Completions(args) => cmd::completions::run(&args),
        cli::Verb::Config(verb) => cmd::config::run(&verb),
        cli::Verb::Init(args) => cmd::init::run(&args),
    }));
    ExitCode::from(code.unwrap_or(1))
}
