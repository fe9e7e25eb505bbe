//! The tape: round trips, golden bytes, every kind of damage, the tape as an input, the index.

mod cut;
mod damage;
mod index;
mod input;
mod round_trip;
mod support;
