//! Looks at single elements of a structure, which tests count to show what an operation costs whatever the machine.
//!
//! Slab, chains, heap and forest call [`step`] wherever they look at one element, their iterators too: a search through all of them
//! shows as such, whoever wrote it. It is nothing in a build without the feature `testing`.

/// Counts one look at an element, for [`testing::steps_of`](crate::testing).
#[inline(always)]
pub(crate) fn step() {
    #[cfg(feature = "testing")]
    crate::testing::count_step();
}
