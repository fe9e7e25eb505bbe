//! One dead letter: which handler failed on which event, how often, and what it waits for.

use crate::event::Kind;
use crate::limits::KIND_ROWS;
use crate::units::{SymbolId, UnixNanos};
use crate::wheel::TimerHandle;
use bytemuck::{Pod, Zeroable};

/// Error code of a handler that panicked.
pub const ERROR_PANIC: u16 = u16::MAX;

/// What an entry waits for.
#[repr(u8)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum State {
    /// For its retry: it has a deadline, and the timer that the caller set for it.
    Waiting = 0,
    /// Behind an earlier event of its symbol, or for its turn now that it is the first.
    Held = 1,
    /// For a person: the handler gave up.
    Parked = 2,
}

impl State {
    /// Every state, by number.
    pub const ALL: [Self; 3] = [Self::Waiting, Self::Held, Self::Parked];

    /// Name in JSON and tables.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Held => "held",
            Self::Parked => "parked",
        }
    }

    const fn of(code: u8) -> Self {
        match code {
            0 => Self::Waiting,
            1 => Self::Held,
            _ => Self::Parked,
        }
    }
}

/// Why an entry is parked.
#[repr(u8)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[non_exhaustive]
pub enum Cause {
    /// Every attempt of its policy failed.
    Attempts = 0,
    /// The handler gave up at once.
    Failed = 1,
    /// The handler panicked.
    Panicked = 2,
    /// More events of its symbol came than may be held behind it.
    HoldFull = 3,
    /// The caller had no timer for its retry.
    TimersFull = 4,
    /// The caller parked it: the handler is quarantined or gone, or the shard stops.
    Stopped = 5,
}

impl Cause {
    /// Every cause, by number.
    pub const ALL: [Self; 6] =
        [Self::Attempts, Self::Failed, Self::Panicked, Self::HoldFull, Self::TimersFull, Self::Stopped];

    /// Name in JSON and tables.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Attempts => "attempts",
            Self::Failed => "failed",
            Self::Panicked => "panicked",
            Self::HoldFull => "hold_full",
            Self::TimersFull => "timers_full",
            Self::Stopped => "stopped",
        }
    }

    fn of(code: u8) -> Option<Self> {
        Self::ALL.get(usize::from(code)).copied()
    }
}

/// Code of no cause.
pub(super) const NO_CAUSE: u8 = u8::MAX;

/// A dead letter without its event: 64 bytes, one cache line.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Pod, Zeroable)]
#[repr(C, align(64))]
pub struct Entry {
    /// Place in the order of last failures, from 1. Every failure gives a new one.
    pub(super) seq: u64,
    pub(super) first_ns: UnixNanos,
    pub(super) last_ns: UnixNanos,
    /// Deadline of the retry; 0 unless waiting.
    pub(super) due_ns: UnixNanos,
    /// The caller's timer; none unless waiting.
    pub(super) timer: TimerHandle,
    /// Index of the event's record.
    pub(super) event: u32,
    /// All failures, saturating.
    pub(super) failures: u32,
    pub(super) symbol: SymbolId,
    pub(super) handler: u16,
    pub(super) kind: Kind,
    /// Of the last failure; 0 while there was none.
    pub(super) error: u16,
    /// Failures since the entry was made or redriven.
    pub(super) attempts: u16,
    pub(super) policy: u8,
    pub(super) state: u8,
    pub(super) cause: u8,
    /// Saturating.
    pub(super) redrives: u8,
}

const _: () = assert!(size_of::<Entry>() == 64, "P20: an entry is one cache line beside its event");

impl Entry {
    /// Place in the order of last failures. An entry that fails again gets a new one.
    #[must_use]
    pub const fn seq(&self) -> u64 {
        self.seq
    }

    /// First failure; when it was held, if it has not failed yet.
    #[must_use]
    pub const fn first_failure(&self) -> UnixNanos {
        self.first_ns
    }

    /// Last failure; when it was held, if it has not failed yet.
    #[must_use]
    pub const fn last_failure(&self) -> UnixNanos {
        self.last_ns
    }

    /// Deadline of its retry.
    #[must_use]
    pub fn due(&self) -> Option<UnixNanos> {
        (self.state() == State::Waiting).then_some(self.due_ns)
    }

    /// The timer that [`DeadLetters::set_timer`](super::DeadLetters::set_timer) gave it.
    #[must_use]
    pub const fn timer(&self) -> TimerHandle {
        self.timer
    }

    /// Failures in all, those before a redrive included. Ends at `u32::MAX`.
    #[must_use]
    pub const fn failures(&self) -> u32 {
        self.failures
    }

    /// Failures since it was made or last redriven: what its policy counts.
    #[must_use]
    pub const fn attempts(&self) -> u16 {
        self.attempts
    }

    /// How often it was redriven. Ends at 255.
    #[must_use]
    pub const fn redrives(&self) -> u8 {
        self.redrives
    }

    /// Symbol of the event.
    #[must_use]
    pub const fn symbol(&self) -> SymbolId {
        self.symbol
    }

    /// Kind of the event.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// The handler that failed or that the event waits for, as the bus numbers it.
    #[must_use]
    pub const fn handler(&self) -> u16 {
        self.handler
    }

    /// Number of its retry policy.
    #[must_use]
    pub const fn policy(&self) -> u8 {
        self.policy
    }

    /// Code of the last failure. `None` while there was none.
    #[must_use]
    pub const fn error(&self) -> Option<u16> {
        if self.failures == 0 { None } else { Some(self.error) }
    }

    /// What it waits for.
    #[must_use]
    pub const fn state(&self) -> State {
        State::of(self.state)
    }

    /// Why it is parked.
    #[must_use]
    pub fn cause(&self) -> Option<Cause> {
        Cause::of(self.cause)
    }

    /// Row of its kind in tables by kind.
    pub(super) const fn kind_row(&self) -> u32 {
        const { assert!(KIND_ROWS <= u32::MAX as usize) };
        self.kind.row() as u32
    }

    pub(super) const fn set_state(&mut self, state: State) {
        self.state = state as u8;
        self.cause = NO_CAUSE;
        self.due_ns = UnixNanos::ZERO;
        self.timer = TimerHandle::NONE;
    }

    pub(super) const fn wait_until(&mut self, due: UnixNanos) {
        self.set_state(State::Waiting);
        self.due_ns = due;
    }

    pub(super) const fn park(&mut self, cause: Cause) {
        self.set_state(State::Parked);
        self.cause = cause as u8;
    }
}
