//! How far an engine is: what whoever started it, or watches it from outside, may ask at any time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

/// How far an engine is. It only ever goes forward.
#[repr(u8)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub enum Phase {
    /// Nothing was started yet.
    #[default]
    Created = 0,
    /// Placement, rings and threads are made.
    Starting = 1,
    /// Its cores' loops turn.
    Running = 2,
    /// Its loops have ended; what they left is written and told.
    Stopping = 3,
    /// Nothing of it is left: it came to its end, could not be started, or died.
    Stopped = 4,
}

impl Phase {
    const ALL: [Self; 5] = [Self::Created, Self::Starting, Self::Running, Self::Stopping, Self::Stopped];

    /// Name in messages.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
        }
    }
}

/// A view of the phase; clones see the same engine.
#[derive(Clone, Debug, Default)]
pub struct Lifecycle(Arc<AtomicU8>);

impl Lifecycle {
    /// How far the engine is.
    #[must_use]
    pub fn phase(&self) -> Phase {
        Phase::ALL[usize::from(self.0.load(Ordering::Acquire)).min(Phase::ALL.len() - 1)]
    }

    /// Starts: says stopped when the guard goes, on whatever way.
    pub(crate) fn begin(&self) -> Guard {
        self.0.store(Phase::Starting as u8, Ordering::Release);
        Guard(self.clone())
    }
}

/// An engine under way.
pub(crate) struct Guard(Lifecycle);

impl Guard {
    pub(crate) fn turn(&self, phase: Phase) {
        let before = self.0.0.fetch_max(phase as u8, Ordering::AcqRel);
        debug_assert!(before < phase as u8, "Invariant: phases only go forward");
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.0.store(Phase::Stopped as u8, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guard_that_goes_says_stopped_whatever_happened() {
        let lifecycle = Lifecycle::default();
        assert_eq!(lifecycle.phase(), Phase::Created);
        let guard = lifecycle.begin();
        assert_eq!(lifecycle.phase(), Phase::Starting);
        guard.turn(Phase::Running);
        assert_eq!(lifecycle.clone().phase(), Phase::Running);
        let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
            let _guard = guard;
            std::panic::resume_unwind(Box::new(()));
        }));
        assert_eq!(lifecycle.phase(), Phase::Stopped);
    }
}
