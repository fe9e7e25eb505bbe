//! What went through the store of spilled events.

use crate::spill::{SpillCounts, SpillReport};
use serde::Serialize;

/// What went through the store of spilled events, over all shards; see [`crate::spill`].
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Spilled {
    /// Events that were taken.
    pub spilled: u64,
    /// Events that came back.
    pub returned: u64,
    /// Events that were refused after admission, as there was no room or not soon enough.
    pub refused_full: u64,
    /// The same, as a write had failed.
    pub refused_failed: u64,
    /// What the thread says.
    #[serde(flatten)]
    pub files: SpillReport,
}

impl Spilled {
    /// Of a run that has ended.
    #[must_use]
    pub fn of(counts: &SpillCounts, files: &SpillReport) -> Self {
        let SpillCounts { spilled, returned, refused_full, refused_failed } = *counts;
        Self { spilled, returned, refused_full, refused_failed, files: files.clone() }
    }
}
