//! What the tests of every crate share: a seeded generator and an allocator that counts. Feature `testing`.

mod alloc;
mod prng;

pub use alloc::{CountingAlloc, allocations};
pub use prng::{Prng, for_seeds};
