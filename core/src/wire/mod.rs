//! Wire formats of exchanges: decoders as pure functions over bytes. No I/O, no clock, no allocation, no panic whatever the bytes are.
//!
//! What a message means to the engine (its kind, its symbol, its time) is the runtime's to say, in `input/`.

pub mod itch;
pub mod mold;
