//! Damaged snapshots: what every `restore` has to refuse, or to survive.

use super::{PrintOnPanic, Prng};
use crate::section;
use std::ops::Range;

/// Asserts that a section is refused when it is cut anywhere, when any bit of it is flipped, and when bytes follow it.
/// `accepts` says whether the structure takes the bytes.
///
/// # Panics
/// When damage is accepted, with the place.
pub fn every_cut_and_flip_is_refused(section: &[u8], mut accepts: impl FnMut(&[u8]) -> bool) {
    assert!(accepts(section), "the section is good before it is damaged");
    let mut bytes = section.to_vec();
    for length in 0..bytes.len() {
        assert!(!accepts(&bytes[..length]), "cut to {length}");
    }
    for bit in 0..bytes.len() * 8 {
        bytes[bit / 8] ^= 1 << (bit % 8);
        assert!(!accepts(&bytes), "bit {bit}");
        bytes[bit / 8] ^= 1 << (bit % 8);
    }
    bytes.push(0);
    assert!(!accepts(&bytes), "a byte behind the section");
}

/// Gives `restore` copies of a section in which one to three words of 4 bytes, from the count in the header on, are changed to values
/// that indices and generations might have, under a check that is right again: damage that only a structure's own rules can find.
/// `restore` says whether it took the bytes, after it used what it took. Returns (refused, taken).
pub fn sealed_damage(
    seeds: Range<u64>,
    copies: usize,
    section: &[u8],
    mut restore: impl FnMut(&[u8]) -> bool,
) -> (u64, u64) {
    let (mut refused, mut taken) = (0, 0);
    for seed in seeds {
        let _named = PrintOnPanic(format_args!("damage of seed {seed}"));
        let mut prng = Prng::new(seed);
        for _ in 0..copies {
            let mut damaged = section.to_vec();
            for _ in 0..=prng.index(3) {
                let at = 40 + prng.index((damaged.len() - 44) / 4 + 1) * 4;
                let old = u32::from_le_bytes([damaged[at], damaged[at + 1], damaged[at + 2], damaged[at + 3]]);
                let word = match prng.index(4) {
                    0 => prng.next_u64() as u32,
                    1 => {
                        // With its neighbour: a count that has no room to grow.
                        if prng.one_in(2) && at + 8 <= damaged.len() {
                            damaged[at + 4..at + 8].fill(0xff);
                        }
                        u32::MAX
                    }
                    2 => prng.index(300) as u32,
                    _ => old ^ 1 << prng.index(32),
                };
                damaged[at..at + 4].copy_from_slice(&word.to_le_bytes());
            }
            section::seal(&mut damaged);
            if restore(&damaged) { taken += 1 } else { refused += 1 }
        }
    }
    (refused, taken)
}
