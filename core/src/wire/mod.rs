//! Wire formats: decoders as pure functions over bytes. No I/O, no clock, no allocation, no panic whatever the bytes are.
//!
//! What a message means to the engine (its kind, its symbol, its time), and what the numbers of a feed do (gaps, duplicates, sessions), is
//! the runtime's to say, in `input/`.

pub mod iex;
pub mod iex_tp;
pub mod itch;
pub mod mold;
pub mod net;
