//! The tapeline runtime: drivers, placement, sources, tape, report. It moves bytes and time into the shards of
//! `tapeline-core` and what they make out of them. See `ARCHITECTURE.md` for the map.

pub mod diff;
pub mod input;
pub mod ndjson;
