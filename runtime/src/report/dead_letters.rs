//! Dead letters that were left at the end.

use serde::Serialize;
use std::collections::BTreeMap;
use tapeline_core::dead;
use tapeline_core::event::Kind;

/// Dead letters that were left at the end, by who failed on what with which code. Sums over the shards.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct DeadLetterCount {
    /// Handler that failed.
    pub handler: String,
    /// Kind of the event.
    pub kind: &'static str,
    /// Code of the last failure; `null` for a panic, and where nothing failed yet.
    pub error: Option<u16>,
    /// Whether it was a panic.
    pub panicked: bool,
    /// Letters.
    pub count: u64,
}

/// Letters of one shard: handler, kind, code of the last failure, how many.
pub type Left = (&'static str, Kind, Option<u16>, u64);

/// Dead letters that are left, over all shards, by handler, kind and code.
#[must_use]
pub fn sum<'a>(shards: impl Iterator<Item = &'a [Left]>) -> Vec<DeadLetterCount> {
    let mut sums = BTreeMap::<_, u64>::new();
    for (handler, kind, error, count) in shards.flatten() {
        *sums.entry((*handler, kind.name(), *error)).or_default() += count;
    }
    let count = |((handler, kind, error), count): ((&'static str, &'static str, Option<u16>), u64)| {
        let panicked = error == Some(dead::ERROR_PANIC);
        DeadLetterCount { handler: handler.to_owned(), kind, error: error.filter(|_| !panicked), panicked, count }
    };
    sums.into_iter().map(count).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_of_all_shards_add_up_and_a_panic_is_no_code() {
        let one = [("a", Kind::NEWS, Some(7), 2), ("a", Kind::NEWS, Some(dead::ERROR_PANIC), 1)];
        let other = [("a", Kind::NEWS, Some(7), 3), ("a", Kind::TRADE, None, 4)];
        let told: Vec<_> = sum([&one[..], &other[..]].into_iter())
            .into_iter()
            .map(|left| (left.kind, left.error, left.panicked, left.count))
            .collect();
        assert_eq!(told, [("news", Some(7), false, 5), ("news", None, true, 1), ("trade", None, false, 4)]);
    }
}
