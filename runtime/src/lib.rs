//! The tapeline runtime: drivers, placement, sources, tape, report. It moves bytes and time into the shards of
//! `tapeline-core` and what they make out of them. See `ARCHITECTURE.md` for the map.

pub mod backfill;
pub mod background;
pub mod clock;
pub mod config;
pub mod diff;
pub mod doctor;
pub mod driver;
mod ending;
pub mod engine;
pub mod ingest;
pub mod input;
pub mod jitter;
pub mod jobs;
pub mod lab;
pub mod layouts;
pub mod letters;
pub mod lifecycle;
pub mod log;
pub mod machine;
mod market;
pub mod memory;
pub mod ndjson;
pub mod pacer;
pub mod pipeline;
pub mod placement;
pub mod replay;
pub mod report;
pub mod resident;
pub mod sink;
pub mod slowest;
pub mod spill;
pub mod stamp;
pub mod station;
pub mod tape;
pub mod timeline;
