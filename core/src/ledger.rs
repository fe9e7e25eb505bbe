//! The ledger: where every event went, counted once, by kind and final state.
//!
//! At every instant, for every kind:
//!
//! ```text
//! offered  = accepted + refused (by reason)
//! accepted = delivered + coalesced + expired + refused_after_admission + dead_lettered + in_flight
//! ```
//!
//! No count but `in_flight` and, where a letter is redriven, `dead_lettered` ever goes down. With `--overload live`, an event is offered and
//! accepted as it is taken into the lanes, and is in flight while it waits; a gap event that is made there is offered and accepted as it leaves.
//!
//! A shard has two: one for source events, one for the events that its handlers derive. Ticks, definitions and epochs
//! are counted apart, as `control`.

use crate::event::{Kind, KindSet};
use crate::invariant::{COUNT_MAX, require_counts};
use crate::limits::KIND_ROWS;
use crate::section::{Reader, RestoreError, Writer};
use bytemuck::{Pod, Zeroable};

/// Why an event was refused at admission.
#[repr(usize)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Refusal {
    /// The kind is not known to this build.
    UnknownKind = 0,
    /// The version of the kind's layout is not known to this build.
    UnknownVersion = 1,
    /// The symbol was not defined.
    UnknownSymbol = 2,
    /// The source was not defined.
    UnknownSource = 3,
    /// A field is outside its range.
    OutOfRange = 4,
    /// Continuations are missing or too many for the kind.
    BrokenSpan = 5,
    /// Cross-symbol events that found no room to wait.
    MeshFull = 6,
    /// Its topic had no room, and refuses what finds none (`--overload live`).
    TopicFull = 7,
    /// Its identity was seen already.
    Duplicate = 8,
    /// No open bus has a topic for its kind (`--overload live`).
    NoTopic = 9,
    /// It came in the reply of a job off the core and cannot be of it: it is of another symbol than the job, or market data that is not
    /// marked as historical.
    StrayReply = 10,
}

impl Refusal {
    /// Every reason, by number.
    pub const ALL: [Self; 11] = [
        Self::UnknownKind,
        Self::UnknownVersion,
        Self::UnknownSymbol,
        Self::UnknownSource,
        Self::OutOfRange,
        Self::BrokenSpan,
        Self::MeshFull,
        Self::TopicFull,
        Self::Duplicate,
        Self::NoTopic,
        Self::StrayReply,
    ];

    /// Name in JSON (`refused_by`).
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::UnknownKind => "unknown_kind",
            Self::UnknownVersion => "unknown_version",
            Self::UnknownSymbol => "unknown_symbol",
            Self::UnknownSource => "unknown_source",
            Self::OutOfRange => "out_of_range",
            Self::BrokenSpan => "broken_span",
            Self::MeshFull => "mesh_full",
            Self::TopicFull => "topic_full",
            Self::Duplicate => "duplicate",
            Self::NoTopic => "no_topic",
            Self::StrayReply => "stray_reply",
        }
    }
}

/// Counts of one kind, or of all kinds together. Refusals by reason are in [`Ledger::refused_by`].
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Pod, Zeroable)]
pub struct Row {
    /// Taken from a ring, or made in the lanes: gap events that tell what a topic's policy has lost.
    pub offered: u64,
    /// Passed admission.
    pub accepted: u64,
    /// Refused at admission.
    pub refused: u64,
    /// Every live handler (also none) has finished with it.
    pub delivered: u64,
    /// Merged away into a newer event of its key.
    pub coalesced: u64,
    /// Expired while it waited.
    pub expired: u64,
    /// Refused after admission, by a topic's policy.
    pub refused_after_admission: u64,
    /// A handler gave up on it.
    pub dead_lettered: u64,
    /// Being handled, or waiting for a retry, a hold or a spill.
    pub in_flight: u64,
}

impl Row {
    /// Whether both equations hold.
    #[must_use]
    pub const fn is_balanced(&self) -> bool {
        let settled =
            self.delivered + self.coalesced + self.expired + self.refused_after_admission + self.dead_lettered;
        self.offered == self.accepted + self.refused && self.accepted == settled + self.in_flight
    }

    /// Adds `other`, field by field.
    pub fn add(&mut self, other: &Self) {
        self.offered += other.offered;
        self.accepted += other.accepted;
        self.refused += other.refused;
        self.delivered += other.delivered;
        self.coalesced += other.coalesced;
        self.expired += other.expired;
        self.refused_after_admission += other.refused_after_admission;
        self.dead_lettered += other.dead_lettered;
        self.in_flight += other.in_flight;
    }
}

/// Final state of an event that was accepted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// Every live handler has finished.
    Delivered,
    /// A handler gave up, or its topic parks what finds no room.
    DeadLettered,
    /// A newer event of its key has come while it waited.
    Coalesced,
    /// It waited for longer than its topic allows.
    Expired,
    /// Its topic dropped it.
    RefusedAfterAdmission,
}

/// Counts by kind, and by reason of refusal.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ledger {
    rows: Box<[Row; KIND_ROWS]>,
    refused_by: [u64; Refusal::ALL.len()],
    control: u64,
}

impl Ledger {
    /// A ledger of zeros.
    #[must_use]
    pub fn new() -> Self {
        Self { rows: Box::new([Row::default(); KIND_ROWS]), refused_by: [0; Refusal::ALL.len()], control: 0 }
    }

    /// Bytes of [`Ledger::write`].
    pub(crate) const SECTION_BYTES: usize = KIND_ROWS * size_of::<Row>() + (Refusal::ALL.len() + 1) * 8;

    /// Writes it into the section of its shard.
    pub(crate) fn write(&self, body: &mut Writer<'_>) {
        body.slice(&self.rows[..]);
        body.slice(&self.refused_by);
        body.u64(self.control);
    }

    /// Reads what [`Ledger::write`] wrote: see [`Ledger::is_sound`].
    pub(crate) fn read(body: &mut Reader<'_>) -> Result<Self, RestoreError> {
        let mut ledger = Self::new();
        body.fill(&mut ledger.rows[..])?;
        body.fill(&mut ledger.refused_by)?;
        ledger.control = body.u64()?;
        Ok(ledger)
    }

    /// Whether it balances, and its counts have room to grow: for what was read.
    pub(crate) fn is_sound(&self) -> bool {
        let has_room = |counts: &[u64]| require_counts(counts).is_ok();
        let counts: &[u64] = bytemuck::cast_slice(&self.rows[..]);
        // Sums of counts that are below 2^62 / 64 kinds do not wrap.
        let is_small = counts.iter().chain(&self.refused_by).all(|count| *count < COUNT_MAX >> 8);
        is_small && has_room(&[self.control]) && self.is_balanced()
    }

    /// An event was accepted, and is being handled.
    #[inline]
    pub fn accept(&mut self, kind: Kind) {
        let row = &mut self.rows[kind.row()];
        row.offered += 1;
        row.accepted += 1;
        row.in_flight += 1;
    }

    /// An event was accepted, and every handler has finished with it already: [`Ledger::accept`] and [`Ledger::settle`] in one.
    #[inline]
    pub fn deliver(&mut self, kind: Kind) {
        let row = &mut self.rows[kind.row()];
        row.offered += 1;
        row.accepted += 1;
        row.delivered += 1;
    }

    /// An event was refused.
    #[cold]
    pub fn refuse(&mut self, kind: Kind, reason: Refusal) {
        let row = &mut self.rows[kind.row()];
        row.offered += 1;
        row.refused += 1;
        self.refused_by[reason as usize] += 1;
    }

    /// An accepted event has come to its end.
    #[inline]
    pub fn settle(&mut self, kind: Kind, outcome: Outcome) {
        let row = &mut self.rows[kind.row()];
        debug_assert!(row.in_flight > 0, "Invariant: only an accepted event is settled");
        // Should that ever be broken, the equations show it: nothing wraps around to where they hold.
        row.in_flight = row.in_flight.saturating_sub(1);
        match outcome {
            Outcome::Delivered => row.delivered += 1,
            Outcome::DeadLettered => row.dead_lettered += 1,
            Outcome::Coalesced => row.coalesced += 1,
            Outcome::Expired => row.expired += 1,
            Outcome::RefusedAfterAdmission => row.refused_after_admission += 1,
        }
    }

    /// Counts of the kinds of a topic together.
    #[must_use]
    pub fn sum(&self, kinds: KindSet) -> Row {
        let mut sum = Row::default();
        Kind::ALL.iter().filter(|kind| kinds.contains(**kind)).for_each(|kind| sum.add(self.row(*kind)));
        sum
    }

    /// A dead letter is on its way again.
    #[cold]
    pub fn reopen(&mut self, kind: Kind) {
        let row = &mut self.rows[kind.row()];
        debug_assert!(row.dead_lettered > 0, "Invariant: only a dead letter is opened again");
        row.dead_lettered = row.dead_lettered.saturating_sub(1);
        row.in_flight += 1;
    }

    /// A tick, definition or epoch passed.
    #[inline]
    pub fn control(&mut self) {
        self.control += 1;
    }

    /// Control events so far.
    #[must_use]
    pub fn controls(&self) -> u64 {
        self.control
    }

    /// Counts of one kind; kinds too high for a row of their own share one.
    #[must_use]
    pub fn row(&self, kind: Kind) -> &Row {
        &self.rows[kind.row()]
    }

    /// Counts of all kinds together.
    #[must_use]
    pub fn total(&self) -> Row {
        let mut total = Row::default();
        self.rows.iter().for_each(|row| total.add(row));
        total
    }

    /// Refusals for `reason`.
    #[must_use]
    pub fn refused_by(&self, reason: Refusal) -> u64 {
        self.refused_by[reason as usize]
    }

    /// Events offered of kinds that this build does not know.
    #[must_use]
    pub fn unknown_offered(&self) -> u64 {
        let known = |row: usize| Kind(row as u16).is_known();
        self.rows.iter().enumerate().filter(|(row, _)| !known(*row)).map(|(_, row)| row.offered).sum()
    }

    /// Whether every row balances and the reasons add up to the refusals.
    #[must_use]
    pub fn is_balanced(&self) -> bool {
        let reasons: u64 = self.refused_by.iter().sum();
        self.rows.iter().all(Row::is_balanced) && reasons == self.total().refused
    }

    /// Adds another shard's ledger.
    pub fn add(&mut self, other: &Self) {
        self.rows.iter_mut().zip(other.rows.iter()).for_each(|(mine, theirs)| mine.add(theirs));
        self.refused_by.iter_mut().zip(other.refused_by).for_each(|(mine, theirs)| *mine += theirs);
        self.control += other.control;
    }
}

impl Default for Ledger {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_event_is_counted_once_and_an_imbalance_shows() {
        let mut ledger = Ledger::new();
        ledger.accept(Kind::TRADE);
        assert!(ledger.is_balanced(), "while it is in flight, too");
        ledger.settle(Kind::TRADE, Outcome::Delivered);
        ledger.accept(Kind::QUOTE);
        ledger.settle(Kind::QUOTE, Outcome::DeadLettered);
        ledger.refuse(Kind(63), Refusal::UnknownKind);
        ledger.control();
        let total = ledger.total();
        assert_eq!((total.offered, total.accepted, total.refused), (3, 2, 1));
        assert_eq!((total.delivered, total.dead_lettered, total.in_flight), (1, 1, 0));
        assert_eq!((ledger.controls(), ledger.unknown_offered()), (1, 1));
        assert!(ledger.is_balanced());

        let mut sum = Ledger::new();
        sum.add(&ledger);
        sum.add(&ledger);
        assert_eq!(sum.total().offered, 6);
        assert!(sum.is_balanced());

        sum.rows[Kind::TRADE.row()].delivered += 1;
        assert!(!sum.is_balanced(), "an event delivered twice");
        let mut lost = ledger.clone();
        lost.rows[Kind::QUOTE.row()].dead_lettered -= 1;
        assert!(!lost.is_balanced(), "an event lost");
        ledger.refused_by[0] += 1;
        assert!(!ledger.is_balanced(), "a refusal with two reasons");
    }
}
