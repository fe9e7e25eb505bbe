//! Transitions of watermarks: when a topic became crowded, and when it was no longer.

use crate::limits::TRANSITIONS_MAX;
use crate::topics::TopicId;
use crate::units::UnixNanos;

/// A topic passed one of its watermarks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Transition {
    /// Source time.
    pub at: UnixNanos,
    /// The topic.
    pub topic: TopicId,
    /// It has reached its high watermark, or is back at the low one.
    pub is_high: bool,
    /// Slots that wait in it then.
    pub waiting: u32,
}

/// The last [`TRANSITIONS_MAX`] transitions, in order.
#[derive(Debug)]
pub struct Transitions {
    kept: Box<[Transition; TRANSITIONS_MAX]>,
    /// Since the start.
    count: u64,
}

impl Transitions {
    pub(super) fn new() -> Self {
        let none = Transition { at: UnixNanos::ZERO, topic: TopicId(0), is_high: false, waiting: 0 };
        Self { kept: Box::new([none; TRANSITIONS_MAX]), count: 0 }
    }

    pub(super) fn push(&mut self, transition: Transition) {
        self.kept[(self.count % TRANSITIONS_MAX as u64) as usize] = transition;
        self.count += 1;
    }

    /// Transitions since the start.
    #[must_use]
    pub const fn count(&self) -> u64 {
        self.count
    }

    /// Those that are kept, from the oldest on, from number `seen` on (0 = the first since the start): a reader that remembers
    /// [`Transitions::count`] gets each one once, as long as it comes by often enough.
    pub fn since(&self, seen: u64) -> impl Iterator<Item = &Transition> {
        let oldest = self.count.saturating_sub(TRANSITIONS_MAX as u64).max(seen.min(self.count));
        (oldest..self.count).map(|number| &self.kept[(number % TRANSITIONS_MAX as u64) as usize])
    }
}
