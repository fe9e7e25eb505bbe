//! Strategies: features and news in, signals out.
//!
//! A strategy is a [`Handler`](crate::handler::Handler) like any other, and this is what it takes to be one:
//! - It is interested in [`Kind::FEATURES`](crate::event::Kind::FEATURES), and in [`Kind::NEWS`](crate::event::Kind::NEWS) or whatever else it
//!   decides by, and publishes [`Signal`](crate::event::payload::Signal)s. It sends no orders: who listens to signals does.
//! - It has a number of its own in its signals ([`numbers`]), so that several can run side by side.
//! - What it remembers is plain data, one state for each symbol; its outputs follow from its inputs and parameters alone.
//! - It takes a value only when its `ready` bit is set: what has not warmed up is not zero.
//! - It declares a budget ([`Handler::BUDGET_NS`](crate::handler::Handler::BUDGET_NS)): each call is measured, those over it are counted and reported,
//!   and nothing else happens to them.
//!
//! [`Crossover`] is the one that runs by default.

mod crossover;

pub use crossover::{Config, ConfigError, Crossover, State};

/// Numbers of strategies, as [`Signal::strategy`](crate::event::payload::Signal::strategy) has them. Those from [`numbers::ENGINE`] on are the
/// engine's, all below are for strategies of users' own.
pub mod numbers {
    /// First number of the engine's own.
    pub const ENGINE: u32 = 1 << 31;
    /// [`Crossover`](super::Crossover).
    pub const CROSSOVER: u32 = ENGINE + 1;
}
