//! Numbers packed into bits: the three codings that Parquet's levels, indices and integers have.
//!
//! Source: *Parquet encodings* (apache/parquet-format, Encodings.md). All of them put the lowest bit first.
//!
//! Every reader goes forward over bytes that are there, holds a few words, and says what is wrong instead of reading on.

/// Why values cannot be decoded.
pub(super) type Why = &'static str;

const CUT: Why = "its values are cut short";

/// `width` bits (64 at most) from bit `at` on. `None` beyond the end.
fn bits(bytes: &[u8], at: usize, width: u32) -> Option<u64> {
    if width == 0 {
        return Some(0);
    }
    let (from, shift) = (at / 8, (at % 8) as u32);
    if at + width as usize > bytes.len() * 8 {
        return None;
    }
    let mask = u64::MAX >> (64 - width);
    if let Some(word) = bytes.get(from..from + 8) {
        let word = u64::from_le_bytes(word.try_into().expect("eight bytes"));
        let low = word >> shift;
        let high = if shift + width > 64 { u64::from(bytes[from + 8]) << (64 - shift) } else { 0 };
        return Some((low | high) & mask);
    }
    let mut word = 0u128;
    for (index, byte) in bytes[from..].iter().enumerate() {
        word |= u128::from(*byte) << (8 * index);
    }
    Some((word >> shift) as u64 & mask)
}

fn varint(bytes: &[u8], at: &mut usize) -> Result<u64, Why> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let byte = *bytes.get(*at).ok_or(CUT)?;
        *at += 1;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok(value);
        }
    }
    Err("a number is longer than 64 bits")
}

fn zigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

/// RLE and bit packing by turns: levels, indices of a dictionary, booleans.
///
/// ```text
/// varint header; even: header / 2 times the value that follows, in whole bytes; odd: header / 2 groups of eight packed values
/// ```
#[derive(Clone, Debug)]
pub(super) struct Hybrid {
    width: u32,
    at: usize,
    /// Values left of the run at hand.
    left: u64,
    run: Run,
}

#[derive(Clone, Copy, Debug)]
enum Run {
    /// The same value.
    Same(u64),
    /// Packed from this bit on.
    Packed(usize),
}

impl Hybrid {
    /// A reader of values of `width` bits, 32 at most, from `at` on.
    pub(super) fn new(width: u32, at: usize) -> Result<Self, Why> {
        if width > 32 {
            return Err("its indices are wider than 32 bits");
        }
        Ok(Self { width, at, left: 0, run: Run::Same(0) })
    }

    /// Calls `take` with runs of the next `count` values: a value, and how often it comes.
    pub(super) fn read(
        &mut self,
        bytes: &[u8],
        count: usize,
        mut take: impl FnMut(u32, usize) -> Result<(), Why>,
    ) -> Result<(), Why> {
        let mut count = count;
        while count > 0 {
            if self.left == 0 {
                self.next_run(bytes)?;
                continue;
            }
            let some = self.left.min(count as u64) as usize;
            match &mut self.run {
                Run::Same(value) => take(*value as u32, some)?,
                Run::Packed(bit) => {
                    for _ in 0..some {
                        take(bits(bytes, *bit, self.width).ok_or(CUT)? as u32, 1)?;
                        *bit += self.width as usize;
                    }
                }
            }
            self.left -= some as u64;
            count -= some;
        }
        Ok(())
    }

    fn next_run(&mut self, bytes: &[u8]) -> Result<(), Why> {
        let header = varint(bytes, &mut self.at)?;
        if header & 1 == 0 {
            let whole = self.width.div_ceil(8) as usize;
            let value = bytes.get(self.at..self.at + whole).ok_or(CUT)?;
            self.run = Run::Same(value.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte)));
            self.left = header >> 1;
            self.at += whole;
        } else {
            // The last group may be cut where nobody needs its values: they are looked for when they are read.
            let groups = usize::try_from(header >> 1).map_err(|_| CUT)?;
            let most = if self.width == 0 { groups } else { bytes.len() };
            let groups = groups.min(most);
            self.run = Run::Packed(self.at * 8);
            self.left = groups as u64 * 8;
            self.at = (self.at + groups * self.width as usize).min(bytes.len());
        }
        if self.left == 0 && self.at >= bytes.len() {
            return Err(CUT);
        }
        Ok(())
    }
}

/// DELTA_BINARY_PACKED: integers as differences, in blocks of miniblocks of a width each.
///
/// ```text
/// header  values of a block, miniblocks of a block, number of values: varints; first value: zigzag varint
/// block   least difference: zigzag varint; a byte of width for each miniblock; miniblocks, packed
/// ```
#[derive(Clone, Debug)]
pub(super) struct Delta {
    /// Values of a miniblock.
    mini: u64,
    minis: usize,
    /// Values that are still to be read.
    left: u64,
    value: i64,
    /// The first value was not given out yet.
    is_first: bool,
    least: i64,
    /// Where the widths of the block stand, the miniblock at hand, its next bit, and its values that are left.
    widths: usize,
    mini_index: usize,
    bit: usize,
    mini_left: u64,
    /// Where the next block begins, or the next miniblock of this one.
    at: usize,
}

impl Delta {
    /// Values of a block that may be at most: what writers have is 128 to 4,096.
    const BLOCK_MAX: u64 = 1 << 20;

    pub(super) fn new(bytes: &[u8], at: usize) -> Result<Self, Why> {
        let mut at = at;
        let (block, minis) = (varint(bytes, &mut at)?, varint(bytes, &mut at)?);
        let (left, first) = (varint(bytes, &mut at)?, zigzag(varint(bytes, &mut at)?));
        let mini = block.checked_div(minis).unwrap_or(0);
        if block > Self::BLOCK_MAX || mini == 0 || mini * minis != block || !mini.is_multiple_of(8) {
            return Err("its blocks of differences have a size that cannot be");
        }
        let minis = minis as usize;
        Ok(Self {
            mini,
            minis,
            left,
            value: first,
            is_first: true,
            least: 0,
            widths: 0,
            mini_index: minis,
            bit: 0,
            mini_left: 0,
            at,
        })
    }

    /// Calls `take` for each of the next `count` values.
    pub(super) fn read(
        &mut self,
        bytes: &[u8],
        count: usize,
        mut take: impl FnMut(i64) -> Result<(), Why>,
    ) -> Result<(), Why> {
        for _ in 0..count {
            take(self.next(bytes)?)?;
        }
        Ok(())
    }

    pub(super) fn next(&mut self, bytes: &[u8]) -> Result<i64, Why> {
        if self.left == 0 {
            return Err(CUT);
        }
        self.left -= 1;
        if self.is_first {
            self.is_first = false;
            return Ok(self.value);
        }
        if self.mini_left == 0 {
            self.next_mini(bytes)?;
        }
        self.mini_left -= 1;
        let width = u32::from(bytes[self.widths + self.mini_index - 1]);
        let difference = bits(bytes, self.bit, width).ok_or(CUT)?;
        self.bit += width as usize;
        self.value = self.value.wrapping_add(self.least).wrapping_add(difference as i64);
        Ok(self.value)
    }

    fn next_mini(&mut self, bytes: &[u8]) -> Result<(), Why> {
        if self.mini_index == self.minis {
            let mut at = self.at;
            self.least = zigzag(varint(bytes, &mut at)?);
            self.widths = at;
            self.at = at + self.minis;
            if self.at > bytes.len() {
                return Err(CUT);
            }
            self.mini_index = 0;
        }
        let width = u32::from(bytes[self.widths + self.mini_index]);
        if width > 64 {
            return Err("its differences are wider than 64 bits");
        }
        self.mini_index += 1;
        self.bit = self.at * 8;
        self.mini_left = self.mini;
        self.at += (self.mini * u64::from(width) / 8) as usize;
        Ok(())
    }

    /// Where the bytes after all values are. O(miniblocks).
    pub(super) fn end(mut self, bytes: &[u8]) -> Result<usize, Why> {
        self.left = self.left.saturating_sub(1);
        while self.left > 0 {
            self.next_mini(bytes)?;
            if self.at > bytes.len() {
                return Err(CUT);
            }
            self.left = self.left.saturating_sub(self.mini);
        }
        Ok(self.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hybrid(bytes: &[u8], width: u32, count: usize) -> Result<Vec<u32>, Why> {
        let mut values = Vec::new();
        Hybrid::new(width, 0)?.read(bytes, count, |value, times| {
            values.extend(std::iter::repeat_n(value, times));
            Ok(())
        })?;
        Ok(values)
    }

    #[test]
    fn runs_and_packed_groups_as_the_specification_has_them() {
        // Its example: 0 to 7 in three bits.
        assert_eq!(hybrid(&[0x03, 0x88, 0xc6, 0xfa], 3, 8), Ok((0..8).collect()));
        // Five times 2, then 0 to 7.
        assert_eq!(
            hybrid(&[0x0a, 2, 0x03, 0x88, 0xc6, 0xfa], 3, 13),
            Ok([2; 5].into_iter().chain(0..8).collect::<Vec<_>>())
        );
        assert_eq!(hybrid(&[0x04, 0x34, 0x12], 12, 2), Ok(vec![0x1234; 2]));
        assert_eq!(hybrid(&[0x06], 0, 3), Ok(vec![0; 3]));
        // Nobody needs what is cut.
        assert_eq!(hybrid(&[0x03, 0x88], 3, 2), Ok(vec![0, 1]));
        assert_eq!(hybrid(&[0x03, 0x88], 3, 3), Err(CUT));
        assert_eq!(hybrid(&[0], 3, 1), Err(CUT), "a run of nothing at the end");
        assert_eq!(hybrid(&[], 1, 1), Err(CUT));
        assert_eq!(Hybrid::new(33, 0).unwrap_err(), "its indices are wider than 32 bits");
    }

    #[test]
    fn bits_of_every_width_at_every_place() {
        let mut state = 7u64;
        let bytes: Vec<u8> = (0..24)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (state >> 33) as u8
            })
            .collect();
        let bit = |at: usize| u64::from(bytes[at / 8] >> (at % 8) & 1);
        for width in 1..=64u32 {
            for at in 0..bytes.len() * 8 {
                let expected = (at + width as usize <= bytes.len() * 8)
                    .then(|| (0..width as usize).fold(0, |value, index| value | bit(at + index) << index));
                assert_eq!(bits(&bytes, at, width), expected, "{width} bits at {at}");
            }
        }
    }

    #[test]
    fn differences_as_the_specification_has_them() {
        let read = |bytes: &[u8], count: usize| {
            let mut values = Vec::new();
            Delta::new(bytes, 0)?.read(bytes, count, |value| {
                values.push(value);
                Ok(())
            })?;
            Ok::<_, Why>(values)
        };
        // Its example: 1 to 5 are one block with nothing but the least difference 1.
        let header = [0x80, 0x01, 4, 5, 2];
        let one = [&header[..], &[2, 0, 0, 0, 0]].concat();
        assert_eq!(read(&one, 5), Ok(vec![1, 2, 3, 4, 5]));
        assert_eq!(Delta::new(&one, 0).unwrap().end(&one), Ok(10));
        assert_eq!(read(&one, 6), Err(CUT), "there are five");
        // 7 5 3 1 2 3 4 5: least -2, two bits each, in one miniblock of 32.
        let bytes = [&[0x80, 0x01, 4, 8, 14][..], &[3, 2, 0, 0, 0], &[0xc0, 0x3f, 0, 0, 0, 0, 0, 0]].concat();
        assert_eq!(read(&bytes, 8), Ok(vec![7, 5, 3, 1, 2, 3, 4, 5]));
        assert_eq!(Delta::new(&bytes, 0).unwrap().end(&bytes), Ok(18));
        for cut in 0..bytes.len() - 7 {
            assert!(read(&bytes[..cut], 8).is_err(), "cut at {cut}");
        }
        for sizes in [[0, 4], [0x80, 0], [8, 16], [0x7f, 4]] {
            assert!(Delta::new(&[&sizes[..], &[5, 2]].concat(), 0).is_err(), "{sizes:?}");
        }
    }
}
