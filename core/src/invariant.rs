//! A rule of a structure that does not hold: what `assert_invariants` panics with and what `restore` refuses with.

/// A rule that does not hold, and where: a node, a slot or a chain, as the rule says.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{rule} (at {at})")]
pub struct Broken {
    /// The rule, as a sentence that should be true.
    pub rule: &'static str,
    /// Index of what breaks it; 0 where the rule is of the whole structure.
    pub at: u64,
}

/// Most that a count of a snapshot may say: far above what a structure counts in its life, and far enough below 2^64 that it goes on.
pub const COUNT_MAX: u64 = 1 << 62;

/// `Ok` when no count is above [`COUNT_MAX`].
///
/// # Errors
/// [`Broken`] with the index of the first one that is.
pub fn require_counts(counts: &[u64]) -> Result<(), Broken> {
    let wild = counts.iter().position(|count| *count > COUNT_MAX);
    require(wild.is_none(), "a count has room to grow", wild.unwrap_or(0))
}

/// `Ok` when the rule holds.
///
/// # Errors
/// [`Broken`] with the rule and the place when it does not.
#[inline]
pub fn require(holds: bool, rule: &'static str, at: impl TryInto<u64>) -> Result<(), Broken> {
    if holds { Ok(()) } else { Err(Broken { rule, at: at.try_into().unwrap_or(u64::MAX) }) }
}
