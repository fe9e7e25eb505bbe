//! What runs on every shard by default: features per symbol, then the scanner.

use tapeline_core::bus::{BusBuilder, Chain, End};
use tapeline_core::features;
use tapeline_core::scanner::{self, Scanner};

/// Parameters of the default handlers: what the configuration says about them. The default is what runs without one.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Parameters {
    /// The scanner's rules.
    pub scanner: scanner::Config,
}

impl Parameters {
    /// Checks every parameter of every handler.
    ///
    /// # Errors
    /// A line that names the first parameter out of its range.
    pub fn check(&self) -> Result<(), String> {
        let Self { scanner } = self;
        scanner.check().map_err(|error| format!("scanner: {error}"))
    }
}

/// Appends the default handlers to a bus: a replay of a bare capture then has outputs.
///
/// # Panics
/// When a parameter is out of its range: see [`Parameters::check`].
#[must_use]
pub fn default_pipeline(bus: BusBuilder<End>, parameters: &Parameters) -> BusBuilder<impl Chain + 'static + use<>> {
    // Without `..`: a parameter that no handler takes does not compile.
    let Parameters { scanner } = parameters;
    let scanner = Scanner::new(*scanner).unwrap_or_else(|error| panic!("scanner: {error}"));
    bus.then(features::Engine::default()).then(scanner)
}
