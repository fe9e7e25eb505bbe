//! Duels: tapeline's structures against their peers and against physical controls, in one process, side by side.
//!
//! Absolute times do not carry over between machines. What a duel reports is the ratio to a peer or a control measured
//! in the same round, with its interval. See the README of this crate for how to run it and how to read it.

pub mod budget;
pub mod clock;
pub mod contender;
pub mod controls;
pub mod count;
pub mod dedup;
pub mod dispatch;
pub mod duel;
pub mod features;
pub mod hop;
pub mod itch;
pub mod machine;
pub mod memory;
pub mod openloop;
#[cfg(feature = "peers")]
pub mod peers;
pub mod report;
pub mod requests;
pub mod ring;
pub mod route;
pub mod single;
pub mod stats;
pub mod subject;
pub mod timers;
pub mod whole;
