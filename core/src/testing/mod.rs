//! What the tests of every crate share: seeded numbers, an allocator that counts, damaged snapshots, steps, ITCH messages.
//! Feature `testing`.

mod alloc;
mod damage;
pub mod itch;
mod prng;
mod steps;

pub use alloc::{CountingAlloc, allocations, without_allocation};
pub use damage::{every_cut_and_flip_is_refused, sealed_damage};
pub use prng::{PrintOnPanic, Prng, for_seeds};
pub(crate) use steps::count_step;
pub use steps::steps_of;
