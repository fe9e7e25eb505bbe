//! A handler of one's own on the engine: a signal when a quote's spread is a multiple of what is usual for its symbol.
//!
//! ```sh
//! cargo run --release -p tapeline-runtime --example wide_spread            # a generated session
//! cargo run --release -p tapeline-runtime --example wide_spread CAPTURE... # one's own
//! ```

use bytemuck::{Pod, Zeroable};
use std::process::ExitCode;
use tapeline_core::event::payload::{Quote, Signal};
use tapeline_core::event::{EventRef, Kind, KindSet};
use tapeline_core::handler::{Ctx, Handler, Verdict};
use tapeline_core::units::{PRICE_UNDEFINED, price_f64};
use tapeline_runtime::engine::{self, Setup};
use tapeline_runtime::ingest::Capture;
use tapeline_runtime::input::detect::{self, OpenOptions};
use tapeline_runtime::input::generate::{Config, GenerateInput};
use tapeline_runtime::input::{Input, InputError};
use tapeline_runtime::pacer::Pace;
use tapeline_runtime::pipeline::{Parameters, default_pipeline};
use tapeline_runtime::replay::{self, Request};
use tapeline_runtime::report::text;

/// Signals a spread of `times` the usual one. Parameters are the handler's own, what it learns is in its state.
struct WideSpread {
    times: f64,
}

/// What it remembers of one symbol. Zero bytes = nothing yet.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Usual {
    spread: f64,
    quotes: u64,
}

impl Handler for WideSpread {
    type State = Usual;
    const NAME: &'static str = "wide_spread";
    const STATE_VERSION: u16 = 1;

    fn interests(&self) -> KindSet {
        KindSet::of(&[Kind::QUOTE])
    }

    fn on_event(&self, usual: &mut Usual, event: EventRef<'_>, cx: &mut Ctx<'_>) -> Verdict {
        let Some(quote) = event.get::<Quote>() else { return Verdict::Done };
        if quote.bid_px == PRICE_UNDEFINED || quote.ask_px == PRICE_UNDEFINED {
            return Verdict::Done;
        }
        let spread = price_f64(quote.ask_px) - price_f64(quote.bid_px);
        if usual.quotes >= 100 && spread > self.times * usual.spread {
            let signal = Signal { strength: -1.0, price: quote.bid_px, ..Signal::default() };
            if cx.signal(&signal).is_err() {
                return Verdict::Fail(1); // no room: the event counts as dead-lettered, the state is as before
            }
        }
        usual.quotes += 1;
        usual.spread += (spread - usual.spread) / usual.quotes.min(1_000) as f64;
        Verdict::Done
    }
}

/// A capture that opens the file of that name.
fn file(path: String) -> Capture {
    let name = path.clone();
    Capture { path, open: Box::new(move || detect::open(&name, &OpenOptions::default())) }
}

/// A session that a model makes.
fn generated() -> Capture {
    let open = || -> Result<Box<dyn Input>, InputError> {
        let config = Config { events: 1_000_000, ..Config::default() };
        Ok(Box::new(GenerateInput::new(&config).expect("the default is in range")))
    };
    Capture { path: "a generated session".to_owned(), open: Box::new(open) }
}

fn main() -> ExitCode {
    let mut captures: Vec<Capture> = std::env::args().skip(1).map(file).collect();
    if captures.is_empty() {
        captures.push(generated());
    }
    let setup = Setup { pace: Pace::Max, ..Setup::new(captures) };
    let request = Request::of(&setup, env!("CARGO_PKG_VERSION"));
    // The default handlers, and ours behind them.
    let pipeline = |bus| default_pipeline(bus, &Parameters::default()).then(WideSpread { times: 2.0 });
    let notice = |plan: &_, driver, why: &str| eprintln!("{plan}; driver {driver}: {why}");
    match engine::run(setup, pipeline, notice) {
        Ok(run) => {
            let told = replay::tell(run, &request);
            print!("{}", text::table(&told.report));
            ExitCode::from(told.report.exit_code(told.input_exit, false))
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(2)
        }
    }
}
