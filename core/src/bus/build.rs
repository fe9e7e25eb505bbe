//! From handlers to a bus.

use super::{About, Bus, Chain, End, Link, Listed, NOBODY, Registered, Subscriber};
use crate::catalog::{Catalog, CatalogError, SeqRule};
use crate::event::KindSet;
use crate::handler::{Handler, Job, JobSet};
use crate::limits::{HANDLERS_MAX, KIND_ROWS};
use crate::subscriptions::Subscriptions;
use crate::units::SourceId;

/// Handlers under construction; [`BusBuilder::build`] makes the [`Bus`].
pub struct BusBuilder<C: Chain> {
    pub(super) chain: C,
    /// Priority and handler, in order of registration.
    pub(super) dynamic: Vec<(i32, Box<dyn Subscriber>)>,
    pub(super) symbols_max: usize,
    pub(super) instance: u32,
}

/// Why a bus could not be built.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BusError {
    /// Two handlers have this name.
    #[error("two handlers are named {0}")]
    NameTaken(&'static str),
    /// More handlers than [`HANDLERS_MAX`]. Holds their number.
    #[error("{0} handlers are more than the {HANDLERS_MAX} that a bus takes")]
    TooMany(usize),
    /// Two handlers serve one job. Holds its number and the second of them.
    #[error("handler {1}: job {0} is served already")]
    JobTaken(u8, &'static str),
    /// The handler's source did not fit the catalog.
    #[error("handler {0}: {1}")]
    Source(&'static str, CatalogError),
}

impl BusBuilder<End> {
    /// A bus without handlers, for symbols `0..symbols_max`.
    #[must_use]
    pub fn new(symbols_max: usize) -> Self {
        Self { chain: End, dynamic: Vec::new(), symbols_max, instance: 0 }
    }
}

impl<C: Chain> BusBuilder<C> {
    /// Appends a handler to the static chain, which has priority 0.
    #[must_use]
    pub fn then<H: Handler>(self, handler: H) -> BusBuilder<Link<C, H>> {
        let last = Registered::new(handler, self.symbols_max);
        let Self { chain, dynamic, symbols_max, instance } = self;
        BusBuilder { chain: Link { before: chain, last }, dynamic, symbols_max, instance }
    }

    /// Adds a handler to the dynamic table. Above 0 it comes before the chain, else after it; higher priorities first.
    #[must_use]
    pub fn dynamic<H: Handler>(mut self, priority: i32, handler: H) -> Self {
        self.dynamic.push((priority, Box::new(Registered::new(handler, self.symbols_max))));
        self
    }

    /// The bus of that number, mostly its shard's: it refuses the subscriptions of buses with other numbers
    /// ([`Subscriptions::numbered`]).
    #[must_use]
    pub fn instance(mut self, instance: u32) -> Self {
        self.instance = instance;
        self
    }

    /// Symbols that the handlers have states for, id 0 included.
    #[must_use]
    pub fn symbols_max(&self) -> usize {
        self.symbols_max
    }

    /// Numbers the handlers in dispatch order and interns their sources in `catalog`.
    ///
    /// # Errors
    /// When names collide, there are too many handlers, or the catalog is full.
    pub fn build(mut self, catalog: &mut Catalog) -> Result<Bus<C>, BusError> {
        // The sort is stable: equal priorities keep the order of registration.
        self.dynamic.sort_by_key(|(priority, _)| std::cmp::Reverse(*priority));
        let after = self.dynamic.iter().position(|(priority, _)| *priority <= 0).unwrap_or(self.dynamic.len());
        let after: Vec<_> = self.dynamic.split_off(after).into_iter().map(|(_, handler)| handler).collect();
        let before: Vec<_> = self.dynamic.into_iter().map(|(_, handler)| handler).collect();
        let listed = |handlers: Vec<Box<dyn Subscriber>>| -> Vec<Listed> {
            handlers.into_iter().map(|handler| Listed { kinds: handler.about().kinds, handler }).collect()
        };
        let mut bus = Bus {
            before: listed(before),
            chain: self.chain,
            after: listed(after),
            interests: KindSet::EMPTY,
            jobs: JobSet::EMPTY,
            servers: Box::new([NOBODY; Job::MAX]),
            run_kinds: Box::new([KindSet::EMPTY; KIND_ROWS]),
            all_run_kinds: KindSet::EMPTY,
            budget_kinds: KindSet::EMPTY,
            runners: Box::new([NOBODY; KIND_ROWS]),
            quarantined: 0,
            crosses_symbols: false,
            has_budgets: false,
            names: Vec::new(),
            sources: Vec::new(),
            subscriptions: Subscriptions::new(&[]),
        };
        let (mut handlers, mut sources, mut error) = (Vec::<About>::new(), Vec::new(), None);
        bus.each(&mut |handler| {
            let about = handler.about();
            if handlers.iter().any(|other| other.name == about.name) {
                error.get_or_insert(BusError::NameTaken(about.name));
            }
            let source = format!("handler.{}", about.name);
            let source = catalog.source(source.as_bytes(), SeqRule::None).unwrap_or_else(|full| {
                error.get_or_insert(BusError::Source(about.name, full));
                SourceId::NONE
            });
            handler.set_number(handlers.len() as u16, source);
            handlers.push(about);
            sources.push(source);
        });
        bus.sources = sources;
        if handlers.len() > HANDLERS_MAX {
            error.get_or_insert(BusError::TooMany(handlers.len()));
        }
        for (number, about) in handlers.iter().enumerate() {
            bus.crosses_symbols |= about.crosses_symbols;
            bus.has_budgets |= about.has_budget;
            bus.jobs = bus.jobs.union(about.jobs);
            for job in (0..Job::MAX as u8).filter(|job| about.jobs.contains(Job(*job))) {
                let server = &mut bus.servers[usize::from(job)];
                if *server != NOBODY {
                    error.get_or_insert(BusError::JobTaken(job, about.name));
                }
                *server = number as u16;
            }
        }
        let interests: Vec<KindSet> = handlers.iter().take(HANDLERS_MAX).map(|about| about.kinds).collect();
        bus.subscriptions = Subscriptions::numbered(&interests, self.instance);
        bus.find_runners();
        bus.names = handlers.iter().map(|about| about.name).collect();
        error.map_or(Ok(bus), Err)
    }
}
