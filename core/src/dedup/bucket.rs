//! One cache line of the table: three entries, their stamps, and the mark of what went on to the next bucket.

use crate::event::{Identity, Slot};
use crate::units::SourceId;
use bytemuck::{Pod, Zeroable};

/// Entries of one bucket.
pub(super) const CELLS: usize = 3;

/// An identity as two words: seq; symbol, part << 32, source << 48, pad << 56.
pub(super) type Key = [u64; 2];

#[inline]
pub(super) const fn key(identity: Identity) -> Key {
    // Not a cast: the identity's fields come from registers or one by one from a slot.
    let low = identity.symbol.0 as u64 | (identity.part as u64) << 32;
    [identity.seq, low | (identity.source.0 as u64) << 48 | (identity.pad as u64) << 56]
}

/// The key of the event that begins in this slot, as it stands there: `seq`, and the word after it without the scale.
#[inline]
pub(super) fn key_of(slot: &Slot) -> Key {
    let words: &[u64; 8] = bytemuck::must_cast_ref(slot);
    [words[3], words[4] & u64::MAX >> 8]
}

#[inline]
pub(super) const fn source(key: Key) -> SourceId {
    SourceId((key[1] >> 48) as u8)
}

/// Whether stamp `a` is earlier than `b`. Right for stamps that are less than half of their range apart.
#[inline]
pub(super) const fn is_before(a: u32, b: u32) -> bool {
    (a.wrapping_sub(b) as i32) < 0
}

/// Three entries; any of them is free whose stamp is before the window's `live_from`.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub(super) struct Bucket {
    /// What is remembered. Free cells keep what they had.
    pub(super) keys: [Key; CELLS],
    /// When each was last written.
    pub(super) stamps: [u32; CELLS],
    /// Last stamp of an entry that went past this bucket, which was full then: a search goes on while it is alive.
    pub(super) passed: u32,
}

impl Bucket {
    pub(super) const FREE: Self = Self { keys: [[0; 2]; CELLS], stamps: [0; CELLS], passed: 0 };

    /// The cell that holds `seq`, alive or not, or the last one. Chosen without a branch, as nobody can foretell which it is.
    #[inline]
    pub(super) const fn cell_of(&self, seq: u64) -> usize {
        let mut cell = CELLS - 1;
        if self.keys[1][0] == seq {
            cell = 1;
        }
        if self.keys[0][0] == seq {
            cell = 0;
        }
        cell
    }

    /// Makes every dead stamp one that died just now, so that it stays dead for half of the range of stamps.
    pub(super) fn refresh_dead(&mut self, live_from: u32) {
        for stamp in self.stamps.iter_mut().chain([&mut self.passed]) {
            if is_before(*stamp, live_from) {
                *stamp = live_from.wrapping_sub(1);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::SymbolId;

    #[test]
    fn a_bucket_is_one_cache_line_and_a_key_is_the_identity_as_it_stands_in_memory() {
        assert_eq!((size_of::<Bucket>(), align_of::<Bucket>()), (64, 64));
        let identity =
            Identity { seq: 0x0102, symbol: SymbolId(0xffff_fffe), part: 0xfffd, source: SourceId(251), pad: 250 };
        assert_eq!(key(identity), bytemuck::must_cast::<Identity, Key>(identity));
        assert_eq!(source(key(identity)), SourceId(251));
        let slot =
            Slot { seq: 7, symbol: SymbolId(0xffff_fffe), part: 0xfffd, source: SourceId(251), scale: 9, ..Slot::ZERO };
        assert_eq!(key_of(&slot), key(slot.identity()), "a scale is no part of it");
    }

    #[test]
    fn stamps_are_compared_across_their_wrap() {
        assert!(is_before(u32::MAX, 0) && is_before(u32::MAX - 5, 7) && is_before(1, 2));
        assert!(!is_before(0, u32::MAX) && !is_before(2, 2));
    }
}
