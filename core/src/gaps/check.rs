//! What must hold of a gap detector between calls, in full.

use super::stream::{GAP_RANGES_MAX, Stream, key};
use super::{GapDetector, SeqRule};
use crate::invariant::{Broken, require};
use crate::limits::SOURCES_MAX;
use crate::units::SymbolId;
use bytemuck::Zeroable;

impl GapDetector {
    /// Checks every rule of the structure: streams, ranges, the table, and the counts. O(capacity); for tests.
    ///
    /// # Panics
    /// When a rule does not hold, with the rule.
    pub fn assert_invariants(&self) {
        if let Err(broken) = self.check() {
            panic!("Invariant: {broken}; {self:?}");
        }
    }

    /// As [`GapDetector::assert_invariants`], as a value. Never panics or loops, whatever streams and sources hold, if the cells are those
    /// of the streams.
    pub(super) fn check(&self) -> Result<(), Broken> {
        require(self.len <= self.capacity(), "there are no more streams than fit", self.len)?;
        let mut open = [0u64; SOURCES_MAX];
        for (at, stream) in self.streams.iter().enumerate() {
            if at >= self.len {
                require(*stream == Stream::zeroed(), "a stream that is not in use is zero", at)?;
                continue;
            }
            check_stream(stream, at)?;
            require(stream.key >> 40 == 0, "a key is a source and a symbol", at)?;
            require(self.find(stream.key) == Ok(at), "a stream is found, and found once", at)?;
            let (source, rule) = (stream.source(), self.rule(stream.source()));
            require(rule != SeqRule::None, "streams are of sources that count", at)?;
            let symbol = SymbolId(stream.key as u32);
            require(stream.key == key(source, symbol, rule), "one rule has one stream for all symbols", at)?;
            if stream.epoch == self.sources[source.index()].epoch {
                let open = &mut open[source.index()];
                *open = stream.ranges().iter().fold(*open, |sum, [from, end]| sum.wrapping_add(end - from));
            }
        }
        for (at, source) in self.sources.iter().enumerate() {
            let counts = &source.counts;
            require(SeqRule::from_u8(source.rule) as u8 == source.rule, "a source counts by a rule", at)?;
            require(source.sessions <= 2 && source.pad == [0; 2], "two sessions are known", at)?;
            require(source.sessions >= 1 || source.session == [0; 2], "an unknown session is zero", at)?;
            require(source.sessions == 2 || source.before == [0; 2], "an unknown session is zero", at)?;
            require(counts.open == open[at], "what is waited for is counted", at)?;
            let gone = counts.filled.wrapping_add(counts.settled).wrapping_add(counts.given_up);
            require(
                counts.missing == gone.wrapping_add(counts.open),
                "missing = filled + settled + given up + open",
                at,
            )?;
        }
        Ok(())
    }
}

fn check_stream(stream: &Stream, at: usize) -> Result<(), Broken> {
    let open = stream.open as usize;
    require(stream.begun <= 1 && stream.pad == [0; 2], "a stream has begun or not", at)?;
    require(open <= GAP_RANGES_MAX, "a stream has room for its ranges", at)?;
    require(
        stream.has_begun() || (stream.next, stream.lost_end, open) == (0, 0, 0),
        "what has not begun knows nothing",
        at,
    )?;
    // The next range may begin where the last lost one ended, and must be apart from the one before it.
    let mut from = stream.lost_end;
    for (number, range) in stream.ranges.iter().enumerate() {
        if number >= open {
            require(*range == [0; 2], "a range that is not in use is zero", at)?;
            continue;
        }
        require(from <= range[0] && range[0] < range[1], "ranges ascend and are apart", at)?;
        from = range[1].saturating_add(1);
    }
    let end = stream.ranges().last().map_or(stream.lost_end, |range| range[1]);
    require(end <= stream.next, "what is missing is before what is next", at)
}
