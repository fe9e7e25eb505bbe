//! The laboratory: what is concluded from many replays. Pure statistics and searches; whoever calls runs the replays.
//!
//! - [`result`]: the JSON of a replay, read back.
//! - [`stats`]: medians, bootstrap intervals, the noise floor. Seeded: equal input gives equal output.
//! - [`compare`]: two sets of results against each other; its text is in [`compare_text`].
//! - [`slo`]: what has to hold, as text.
//! - [`capacity`]: the highest rate that holds it: a search that says which rate to run next, and what it found;
//!   its text is in [`capacity_text`].

pub mod capacity;
pub mod capacity_text;
pub mod compare;
pub mod compare_text;
mod page;
pub mod result;
pub mod slo;
pub mod stats;
