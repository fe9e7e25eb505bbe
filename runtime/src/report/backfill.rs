//! What became of what handlers asked of the past.

use super::Named;
use crate::backfill::ReaderReport;
use serde::Serialize;
use tapeline_core::backfill::{Counters, DeskCounters, Refused};

/// What became of what handlers asked of the past, over all shards. See [`Counters`] for the equations between the counts.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct BackfillReport {
    /// Asks: calls of `Ctx::backfill` that were looked at.
    pub asked: u64,
    /// Asks that were not taken, by reason.
    pub refused_by: Named<u64>,
    /// Asks for what had come before.
    pub completed: u64,
    /// Asks that became a reading.
    pub queued: u64,
    /// Asks that a reading takes with it that had not begun.
    pub merged: u64,
    /// Asks that wait for readings under way only.
    pub joined: u64,
    /// Asks that got all.
    pub served: u64,
    /// Asks of whose readings one failed.
    pub failed: u64,
    /// Asks that were taken back.
    pub cancelled: u64,
    /// Asks that waited when the run ended.
    pub unfinished: u64,
    /// Readings that were begun or merged into others.
    pub jobs: u64,
    /// Of these, readings of what had come before, for handlers that get it by replies alone.
    pub jobs_again: u64,
    /// Historical events that were taken, marks of ends included.
    pub events: u64,
    /// Historical events that came after nobody wanted them any more. Depends on the machine's speed.
    pub late: u64,
    /// Historical events that were not what was ordered, and ends of no order.
    pub stray: u64,
    /// Ticks by which replies came later, since a handler's retry held up their symbol.
    pub postponed: u64,
    /// Completed ranges that were forgotten, for their age or for want of room.
    pub forgotten: u64,
    /// Blocks of tapes that were read.
    pub blocks_read: u64,
    /// Why readings failed, each reason once, the first ones.
    pub reasons: Vec<String>,
}

impl BackfillReport {
    /// The report of these counts of the shards, and of whoever read.
    #[must_use]
    pub fn of(counters: &Counters, desk: &DeskCounters, reader: &ReaderReport) -> Self {
        let mut refused: Vec<(&'static str, u64)> =
            Refused::ALL.iter().map(|reason| (reason.name(), counters.refused_by[*reason as usize])).collect();
        refused.push(("turned_away", desk.turned_away));
        Self {
            asked: counters.asked + desk.turned_away,
            refused_by: refused.into_iter().filter(|(_, count)| *count > 0).collect(),
            completed: counters.completed,
            queued: counters.queued,
            merged: counters.merged,
            joined: counters.joined,
            served: counters.served,
            failed: counters.failed,
            cancelled: counters.cancelled,
            unfinished: counters.waiting,
            jobs: counters.jobs,
            jobs_again: counters.jobs_again,
            events: counters.events,
            late: counters.late,
            stray: counters.unfit + desk.stray_ends + desk.replies_lost,
            postponed: desk.postponed,
            forgotten: counters.forgotten_by_age + counters.forgotten_by_count,
            blocks_read: reader.blocks,
            reasons: reader.reasons.clone(),
        }
    }
}
