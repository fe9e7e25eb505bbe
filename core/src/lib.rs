//! The tapeline shard: a deterministic state machine and the structures it owns.
//!
//! Time, randomness and input are arguments; outputs go to an outbox that the caller owns. Nothing in this crate does
//! I/O, reads a clock, starts a thread, logs, or allocates after construction. See `ARCHITECTURE.md` for the map.

#![deny(unsafe_code)]

pub mod adaptive;
mod arena;
pub mod backfill;
pub mod book;
pub mod breaker;
pub mod bridge;
pub mod bucket;
pub mod bus;
pub mod catalog;
pub mod chain;
pub mod commands;
pub mod dead;
pub mod dedup;
pub mod digest;
pub mod event;
pub mod features;
pub mod gaps;
pub mod graph;
pub mod handler;
pub mod hash;
pub mod health;
pub mod history;
pub mod invariant;
pub mod lanes;
pub mod ledger;
pub mod limits;
pub mod log;
pub mod mapper;
pub mod mesh;
pub mod publisher;
pub mod queue;
pub mod requests;
pub mod retry;
pub mod ring;
pub mod route;
pub mod scanner;
pub mod schema;
pub mod section;
pub mod shard;
pub mod signals;
pub mod slab;
pub mod stats;
mod steps;
pub mod stop;
pub mod subscriptions;
pub mod swap;
pub mod sync;
#[cfg(feature = "testing")]
pub mod testing;
pub mod timing;
pub mod topics;
pub mod units;
pub mod wheel;
pub mod windows;
pub mod wire;
pub mod zone;
