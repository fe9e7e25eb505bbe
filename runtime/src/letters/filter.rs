//! Which dead letters of a file.

use super::Letter;
use tapeline_core::event::Kind;
use tapeline_core::units::UnixNanos;

/// Which letters. What is `None` does not matter; the default is all of them.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Filter {
    /// Number in the file.
    pub id: Option<u64>,
    /// Kind of the event.
    pub kind: Option<Kind>,
    /// Symbol of the event.
    pub symbol: Option<String>,
    /// Code of the last failure.
    pub error: Option<u16>,
    /// Handler that failed.
    pub handler: Option<String>,
    /// Earliest last failure.
    pub since: Option<UnixNanos>,
    /// Last failures are before this.
    pub until: Option<UnixNanos>,
}

impl Filter {
    /// Whether `letter` is one of them.
    #[must_use]
    pub fn matches(&self, letter: &Letter) -> bool {
        self.id.is_none_or(|id| id == letter.id)
            && self.kind.is_none_or(|kind| kind == letter.kind)
            && self.symbol.as_ref().is_none_or(|symbol| *symbol == letter.symbol)
            && self.error.is_none_or(|error| Some(error) == letter.error)
            && self.handler.as_ref().is_none_or(|handler| *handler == letter.handler)
            && self.since.is_none_or(|since| letter.last_failure >= since)
            && self.until.is_none_or(|until| letter.last_failure < until)
    }
}

/// Letters of a listing.
#[derive(Clone, Debug)]
pub struct Page<'a> {
    /// At most as many as were asked for, in the order of last failures.
    pub letters: Vec<&'a Letter>,
    /// Letters of the filter in the whole file.
    pub total: usize,
    /// Where the next page begins: after this number. `None` = there is none.
    pub next: Option<u64>,
}
