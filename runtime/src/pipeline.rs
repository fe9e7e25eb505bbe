//! What runs on every shard by default: features per symbol, then the scanner.

use tapeline_core::bus::{BusBuilder, Chain, End};
use tapeline_core::features;
use tapeline_core::scanner::Scanner;

/// Appends the default handlers to a bus: a replay of a bare capture then has outputs.
#[must_use]
pub fn default_pipeline(bus: BusBuilder<End>) -> BusBuilder<impl Chain + 'static> {
    bus.then(features::Engine::default()).then(Scanner::default())
}
