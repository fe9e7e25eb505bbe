//! What runs on every shard: by default features per symbol, the scanner, the bridge from its alerts to requests for features, the
//! mapper that turns these into jobs, the publisher of symbols that qualify, and a strategy; and whatever a program of one's own adds
//! to them or puts in their place.

use crate::jobs::{Worker, Workers};
use tapeline_core::bridge::{self, Bridge};
use tapeline_core::bus::{BusBuilder, Chain, End, Link};
use tapeline_core::features::correlation::{Correlation, CorrelationError};
use tapeline_core::features::{self, Engine};
use tapeline_core::handler::{Handler, Job};
use tapeline_core::mapper::{self, Mapper};
use tapeline_core::publisher::{self, Publisher};
use tapeline_core::scanner::{self, Scanner};
use tapeline_core::signals::{self, Crossover};
use tapeline_core::units::SymbolId;

/// Parameters of the default handlers: what the configuration says about them. The default is what runs without one.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Parameters {
    /// The features.
    pub features: features::Config,
    /// The scanner's rules.
    pub scanner: scanner::Config,
    /// How alerts become requests.
    pub bridge: bridge::Config,
    /// What requests ask for.
    pub mapper: mapper::Config,
    /// Which symbols qualify and are promoted.
    pub publisher: publisher::Config,
    /// The strategy.
    pub crossover: signals::Config,
    /// Correlation with a benchmark.
    pub correlation: Benchmark,
}

/// A benchmark, and the symbols that are correlated with it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Benchmark {
    /// Its text; `None` = nothing is correlated, and the handler is not on the bus.
    pub symbol: Option<String>,
    /// Texts of the others, none of which is named twice.
    pub followers: Vec<String>,
}

impl Benchmark {
    /// The symbols in the order of the ids that the handler knows them by, from 1 on: they have to be the first of the engine's catalog
    /// ([`crate::engine::Setup::symbols`]). None without a benchmark.
    #[must_use]
    pub fn symbols(&self) -> Vec<String> {
        self.symbol.iter().flat_map(|symbol| std::iter::once(symbol).chain(&self.followers)).cloned().collect()
    }

    /// Checks that they are different, and not too many.
    ///
    /// # Errors
    /// A line that names the first that is wrong.
    pub fn check(&self) -> Result<(), String> {
        let symbols = self.symbols();
        if let Some((_, twice)) = symbols.iter().enumerate().find(|(index, symbol)| symbols[..*index].contains(symbol))
        {
            return Err(format!("{twice} is named twice: a benchmark and its followers are different symbols"));
        }
        if self.symbol.is_none() && !self.followers.is_empty() {
            return Err("there is no correlation.benchmark that they could follow".to_owned());
        }
        self.handler().map(|_| ()).map_err(|error| error.to_string())
    }

    fn handler(&self) -> Result<Option<Correlation>, CorrelationError> {
        let followers: Vec<SymbolId> = (2..).take(self.followers.len()).map(SymbolId).collect();
        self.symbol.as_ref().map(|_| Correlation::new(SymbolId(1), &followers)).transpose()
    }
}

impl Parameters {
    /// Checks every parameter of every handler.
    ///
    /// # Errors
    /// A line that names the first parameter out of its range.
    pub fn check(&self) -> Result<(), String> {
        let Self { features: _, scanner, bridge, mapper, publisher, crossover, correlation } = self;
        correlation.check().map_err(|error| format!("correlation: {error}"))?;
        scanner.check().map_err(|error| format!("scanner: {error}"))?;
        bridge.check().map_err(|error| format!("bridge: {error}"))?;
        Mapper::new(mapper).map_err(|error| format!("mapper: {error}"))?;
        Publisher::new(publisher).map_err(|error| format!("publisher: {error}"))?;
        crossover.check().map_err(|error| format!("crossover: {error}"))
    }
}

/// The default handlers, in dispatch order.
pub type Defaults = Link<Link<Link<Link<Link<Link<End, Engine>, Scanner>, Bridge>, Mapper>, Publisher>, Crossover>;

/// Appends the default handlers to a bus: a replay of a bare capture then has outputs.
///
/// # Panics
/// When a parameter is out of its range: see [`Parameters::check`].
#[must_use]
pub fn default_pipeline(bus: BusBuilder<End>, parameters: &Parameters) -> BusBuilder<Defaults> {
    // Without `..`: a parameter that no handler takes does not compile.
    let Parameters { features, scanner, bridge, mapper, publisher, crossover, correlation } = parameters;
    let correlation = correlation.handler().unwrap_or_else(|error| panic!("correlation: {error}"));
    let scanner = Scanner::new(*scanner).unwrap_or_else(|error| panic!("scanner: {error}"));
    let bridge = Bridge::new(*bridge).unwrap_or_else(|error| panic!("bridge: {error}"));
    let mapper = Mapper::new(mapper).unwrap_or_else(|error| panic!("mapper: {error}"));
    let publisher = Publisher::new(publisher).unwrap_or_else(|error| panic!("publisher: {error}"));
    let crossover = Crossover::new(*crossover).unwrap_or_else(|error| panic!("crossover: {error}"));
    let features = Engine::with(features.clone());
    let bus = bus.then(features).then(scanner).then(bridge).then(mapper).then(publisher).then(crossover);
    // In the table beside the chain, since it is there by configuration only; behind the features, whose vectors it takes.
    match correlation {
        Some(correlation) => bus.dynamic(-1, correlation),
        None => bus,
    }
}

/// The handlers of one shard under construction. Begins as the default ones; the engine asks for one on each shard, so that they come
/// out the same everywhere.
///
/// ```
/// use tapeline_core::bus::Chain;
/// use tapeline_runtime::pipeline::{Defaults, Pipeline};
/// # use tapeline_core::event::{EventRef, KindSet};
/// # use tapeline_core::handler::{Ctx, Handler, Verdict};
/// # struct Mine;
/// # impl Handler for Mine {
/// #     type State = u64;
/// #     const NAME: &'static str = "mine";
/// #     const STATE_VERSION: u16 = 1;
/// #     fn interests(&self) -> KindSet { KindSet::EMPTY }
/// #     fn on_event(&self, _: &mut u64, _: EventRef<'_>, _: &mut Ctx<'_>) -> Verdict { Verdict::Done }
/// # }
/// # impl Mine { fn new() -> Self { Self } }
///
/// fn behind_the_defaults(r: Pipeline<Defaults>) -> Pipeline<impl Chain> {
///     r.handler(Mine::new)
/// }
/// fn alone(r: Pipeline<Defaults>) -> Pipeline<impl Chain> {
///     r.bare().handler(Mine::new)
/// }
/// ```
pub struct Pipeline<C: Chain = Defaults> {
    bus: BusBuilder<C>,
    workers: Workers,
}

/// What an engine is made of: handlers, and workers for their jobs off the core. A bus alone has none.
pub trait Assembly {
    /// The static part of the bus.
    type Chain: Chain + 'static;

    /// The handlers, and the workers.
    fn into_parts(self) -> (BusBuilder<Self::Chain>, Workers);
}

impl<C: Chain + 'static> Assembly for BusBuilder<C> {
    type Chain = C;

    fn into_parts(self) -> (Self, Workers) {
        (self, Workers::default())
    }
}

impl<C: Chain + 'static> Assembly for Pipeline<C> {
    type Chain = C;

    fn into_parts(self) -> (BusBuilder<C>, Workers) {
        (self.bus, self.workers)
    }
}

impl Pipeline {
    /// The default handlers with these parameters, on `bus`.
    ///
    /// # Panics
    /// As [`default_pipeline`].
    #[must_use]
    pub fn new(bus: BusBuilder<End>, parameters: &Parameters) -> Self {
        Self { bus: default_pipeline(bus, parameters), workers: Workers::default() }
    }
}

impl<C: Chain> Pipeline<C> {
    /// Adds a handler behind those that are there. `make` is called once for each shard: handlers share nothing, and each must come out
    /// the same. The compiler sees through the chain of handlers and may inline them.
    #[must_use]
    pub fn handler<H: Handler>(self, make: impl FnOnce() -> H) -> Pipeline<Link<C, H>> {
        Pipeline { bus: self.bus.then(make()), workers: self.workers }
    }

    /// Adds a handler to the table beside the chain: above priority 0 before it, else behind it; higher priorities first, equal ones in
    /// the order in which they were added. It costs a virtual call, and the type stays: for handlers that are chosen at run time.
    #[must_use]
    pub fn dynamic<H: Handler>(self, priority: i32, make: impl FnOnce() -> H) -> Self {
        Self { bus: self.bus.dynamic(priority, make()), ..self }
    }

    /// Adds a worker, which does `job` off the hot cores when a handler asks for it: see [`crate::jobs`]. `make` is called on each thread of workers that does
    /// such a job, and again after a panic or an overrun. A job has one worker, and no handler that serves it; users' numbers begin at
    /// [`Job::USER`].
    #[must_use]
    pub fn job<W: Worker>(mut self, job: Job, make: impl Fn() -> W + Send + Sync + 'static) -> Self {
        self.workers.add(job, make);
        self
    }

    /// No handler at all: what was there is gone, the default ones included. Workers stay.
    #[must_use]
    pub fn bare(self) -> Pipeline<End> {
        Pipeline { bus: BusBuilder::new(self.bus.symbols_max()), workers: self.workers }
    }

    /// The bus that the engine builds.
    #[must_use]
    pub fn into_bus(self) -> BusBuilder<C> {
        self.bus
    }
}

impl<C: Chain> std::fmt::Debug for Pipeline<C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pipeline").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tapeline_core::catalog::Catalog;
    use tapeline_core::event::{EventRef, KindSet};
    use tapeline_core::handler::{Ctx, Verdict};

    struct Mine<const N: usize>;

    impl<const N: usize> Handler for Mine<N> {
        type State = u64;
        const NAME: &'static str = ["first", "second", "third"][N];
        const STATE_VERSION: u16 = 1;

        fn interests(&self) -> KindSet {
            KindSet::EMPTY
        }

        fn on_event(&self, _: &mut u64, _: EventRef<'_>, _: &mut Ctx<'_>) -> Verdict {
            Verdict::Done
        }
    }

    fn names<C: Chain>(pipeline: Pipeline<C>) -> Vec<&'static str> {
        pipeline.into_bus().build(&mut Catalog::new(16)).expect("it builds").names().to_vec()
    }

    #[test]
    fn handlers_stand_behind_the_defaults_before_them_or_in_their_place() {
        let new = || Pipeline::new(BusBuilder::new(16), &Parameters::default());
        let defaults = names(new());
        assert!(defaults.len() >= 2, "{defaults:?}");
        let all = names(new().handler(|| Mine::<0>).dynamic(1, || Mine::<1>).dynamic(-1, || Mine::<2>));
        assert_eq!(all, [&["second"], &defaults[..], &["first", "third"]].concat());
        assert_eq!(names(new().bare().handler(|| Mine::<0>)), ["first"]);
        assert_eq!(names(new().handler(|| Mine::<1>).bare()), [""; 0]);
    }
}
