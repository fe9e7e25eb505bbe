//! Wire formats: decoders as pure functions over bytes. They allocate nothing, keep nothing, and never panic, whatever the bytes are.
//!
//! What the numbers of a feed mean (gaps, duplicates, sessions) is for who keeps state: the runtime's inputs.

pub mod iex;
pub mod iex_tp;
pub mod net;
