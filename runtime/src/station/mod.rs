//! Stations: what a core polls. A station never waits; what does not fit is kept, and 0 is returned.

mod lag;
pub mod shard;
pub mod source;

pub use shard::{ShardReport, ShardStation, StageTimes};
pub use source::{Overload, SourceConfig, SourceReport, SourceStation};

/// A part of the engine that a core polls.
pub trait Station: Send {
    /// Does a bounded piece of work. Returns how much; 0 = idle or stuck. Never waits.
    ///
    /// `now_ns` is the run clock at the start of the turn.
    fn poll(&mut self, now_ns: u64) -> usize;

    /// A turn in which stations worked has ended at `now_ns`: it took as long as it took, which is no scheduler gap.
    fn rest(&mut self, now_ns: u64);

    /// Whether there is nothing left to do, for good.
    fn is_done(&self) -> bool;

    /// Events sent to and received from other shards.
    fn mesh_counts(&self) -> (u64, u64) {
        (0, 0)
    }

    /// What it has to say at the end.
    fn report(self: Box<Self>) -> StationReport;
}

/// What a station has to say at the end.
#[derive(Debug)]
pub enum StationReport {
    /// The source's.
    Source(Box<SourceReport>),
    /// A shard's.
    Shard(Box<ShardReport>),
}
