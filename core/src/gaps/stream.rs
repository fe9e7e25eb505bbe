//! One stream of numbers: the next one, and the ranges that are missing before it.

use super::{GapCounts, Verdict};
use crate::catalog::SeqRule;
use crate::units::{SourceId, SymbolId};
use bytemuck::{Pod, Zeroable};

/// Ranges of one stream that are waited for. When there is one more, the oldest is given up.
pub const GAP_RANGES_MAX: usize = 3;

/// Number of the symbol, and the source << 32.
#[inline]
pub(super) const fn key(source: SourceId, symbol: SymbolId, rule: SeqRule) -> u64 {
    let symbol = if matches!(rule, SeqRule::Contiguous) { SymbolId::NONE } else { symbol };
    (source.0 as u64) << 32 | symbol.0 as u64
}

/// First number and the one after the last.
type Range = [u64; 2];

/// What is known of one stream.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Pod, Zeroable)]
pub(super) struct Stream {
    /// See [`key`].
    pub(super) key: u64,
    /// The number after the highest that came.
    pub(super) next: u64,
    /// The number after the last that was given up; 0 = none was.
    pub(super) lost_end: u64,
    /// The source's epoch in which this was.
    pub(super) epoch: u32,
    /// 1 once a number came in this epoch.
    pub(super) begun: u8,
    /// Ranges that are missing.
    pub(super) open: u8,
    pub(super) pad: [u8; 2],
    /// The first `open` are missing: ascending, apart, below `next`. The others are zero.
    pub(super) ranges: [Range; GAP_RANGES_MAX],
}

impl Stream {
    #[inline]
    pub(super) const fn source(&self) -> SourceId {
        SourceId((self.key >> 32) as u8)
    }

    #[inline]
    pub(super) const fn has_begun(&self) -> bool {
        self.begun != 0
    }

    #[inline]
    pub(super) const fn is_synchronised(&self) -> bool {
        self.has_begun() && self.open == 0 && self.lost_end == 0
    }

    #[inline]
    pub(super) fn ranges(&self) -> &[Range] {
        &self.ranges[..self.open as usize]
    }

    /// Forgets everything but its name.
    #[cold]
    pub(super) fn restart(&mut self, epoch: u32) {
        *self = Self { key: self.key, epoch, ..Self::zeroed() };
    }

    /// Takes the numbers from `first` to before `end`; none when they are equal.
    #[inline]
    pub(super) fn observe(&mut self, counts: &mut GapCounts, first: u64, end: u64, skips: bool) -> Verdict {
        let next = self.next;
        if !self.has_begun() {
            (self.begun, self.next) = (1, end);
            return Verdict::First;
        }
        if first == next || (skips && first > next) {
            self.next = end;
            return Verdict::InOrder;
        }
        if first > next {
            self.open_range(counts, [next, first]);
            self.next = end;
            return Verdict::Gap { from: next, to: first - 1 };
        }
        let filled = self.take(first, end.min(next), counts);
        counts.filled = counts.filled.wrapping_add(filled);
        if end > next {
            self.next = end;
            return Verdict::Overlap { from: next };
        }
        if filled > 0 { Verdict::Late { filled } } else { Verdict::Old }
    }

    /// Everything before `end` is known.
    pub(super) fn settle(&mut self, counts: &mut GapCounts, end: u64) {
        let settled = self.take(0, end, counts);
        counts.settled = counts.settled.wrapping_add(settled);
        if self.lost_end <= end {
            self.lost_end = 0;
        }
        if !self.has_begun() || self.next < end {
            (self.begun, self.next) = (1, end);
        }
    }

    /// From now on `range`, which is above all others, is missing.
    #[cold]
    fn open_range(&mut self, counts: &mut GapCounts, range: Range) {
        let missing = range[1] - range[0];
        counts.missing = counts.missing.wrapping_add(missing);
        counts.open = counts.open.wrapping_add(missing);
        let mut all = [[0; 2]; GAP_RANGES_MAX + 1];
        let open = self.open as usize;
        all[..open].copy_from_slice(self.ranges());
        match all[..open].last_mut() {
            // Two heartbeats and nothing between them.
            Some(last) if last[1] == range[0] => {
                last[1] = range[1];
                self.keep(counts, &all[..open]);
            }
            _ => {
                all[open] = range;
                self.keep(counts, &all[..=open]);
            }
        }
    }

    /// The numbers from `first` to before `end` are missing no more. Returns how many were.
    #[inline]
    fn take(&mut self, first: u64, end: u64, counts: &mut GapCounts) -> u64 {
        if self.open == 0 { 0 } else { self.take_from_ranges(first, end, counts) }
    }

    #[cold]
    fn take_from_ranges(&mut self, first: u64, end: u64, counts: &mut GapCounts) -> u64 {
        // Only a range that is larger on both sides becomes two.
        let mut left = [[0; 2]; GAP_RANGES_MAX + 1];
        let (mut open, mut taken) = (0, 0);
        for &[from, to] in self.ranges() {
            let mut rest = 0;
            for part in [[from, to.min(first)], [from.max(end), to]] {
                if part[0] < part[1] {
                    left[open] = part;
                    open += 1;
                    rest += part[1] - part[0];
                }
            }
            taken += (to - from) - rest;
        }
        if taken > 0 {
            counts.open = counts.open.wrapping_sub(taken);
            self.keep(counts, &left[..open]);
        }
        taken
    }

    /// Keeps the last of these ranges that there is room for, and gives up the first.
    fn keep(&mut self, counts: &mut GapCounts, ranges: &[Range]) {
        let (given_up, kept) = ranges.split_at(ranges.len().saturating_sub(GAP_RANGES_MAX));
        for [from, end] in given_up {
            self.lost_end = *end;
            counts.open = counts.open.wrapping_sub(end - from);
            counts.given_up = counts.given_up.wrapping_add(end - from);
        }
        self.ranges = [[0; 2]; GAP_RANGES_MAX];
        self.ranges[..kept.len()].copy_from_slice(kept);
        self.open = kept.len() as u8;
    }
}
