//! Decimal texts as exact integers: prices in units of 1e-9, sizes as a mantissa and a decimal exponent.
//!
//! A decimal is `-? digits ( . digits )?` in ASCII, both parts non-empty. Trailing zeros after the point carry no value
//! and are dropped, so that `3.02920000` and `3.0292` are the same number in the same form. Nothing is ever rounded: a
//! text that does not fit exactly is refused. No float, no allocation; O(length).

use tapeline_core::units::{PRICE_ONE, PRICE_UNDEFINED, SCALE_MAX};

/// Decimals of a price: [`PRICE_ONE`] is 10^9.
pub const PRICE_DECIMALS: u8 = 9;

const POW10: [u64; 20] = {
    let mut powers = [1; 20];
    let mut index = 1;
    while index < powers.len() {
        powers[index] = powers[index - 1] * 10;
        index += 1;
    }
    powers
};

const _: () = {
    assert!(POW10[PRICE_DECIMALS as usize] == PRICE_ONE as u64, "prices have nine decimals");
    assert!(POW10.len() == SCALE_MAX as usize + 1, "a power for every scale");
};

/// Why a text is no number that fits.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DecimalError {
    /// There is nothing, or nothing before or after the point.
    #[error("digits are missing")]
    NoDigits,
    /// A byte that does not belong there. Holds its index.
    #[error("byte {0} is no digit")]
    NotDigit(usize),
    /// More decimals than can be kept, trailing zeros not counted. Holds the most that can be kept.
    #[error("more than {0} decimals")]
    TooFine(u8),
    /// Beyond the range of the integer.
    #[error("out of range")]
    OutOfRange,
    /// A size below zero.
    #[error("negative")]
    Negative,
}

/// A number `integer + fraction * 10^-fraction_digits`, with the sign apart and no trailing zero in the fraction.
#[derive(Clone, Copy)]
struct Parts {
    negative: bool,
    integer: u64,
    fraction: u64,
    fraction_digits: u8,
}

/// A price in units of 1e-9.
///
/// The result is never [`PRICE_UNDEFINED`]: the text of that number is out of range.
///
/// # Errors
/// When `text` is no decimal, has more than nine significant decimals, or is out of range.
#[inline]
pub fn price(text: &[u8]) -> Result<i64, DecimalError> {
    let parts = parts(text, PRICE_DECIMALS)?;
    let fraction = parts.fraction * POW10[(PRICE_DECIMALS - parts.fraction_digits) as usize];
    let units = parts
        .integer
        .checked_mul(PRICE_ONE as u64)
        .and_then(|units| units.checked_add(fraction))
        .ok_or(DecimalError::OutOfRange)?;
    let price = if parts.negative { 0i64.checked_sub_unsigned(units) } else { i64::try_from(units).ok() };
    price.filter(|&price| price != PRICE_UNDEFINED).ok_or(DecimalError::OutOfRange)
}

/// A size as (mantissa, scale): the number is mantissa * 10^-scale, and the scale is the smallest that holds it exactly.
/// Zero is (0, 0).
///
/// # Errors
/// When `text` is no decimal, is below zero, has more than [`SCALE_MAX`] significant decimals, or its mantissa is beyond
/// 64 bits.
#[inline]
pub fn size(text: &[u8]) -> Result<(u64, u8), DecimalError> {
    let parts = parts(text, SCALE_MAX)?;
    let mantissa = parts
        .integer
        .checked_mul(POW10[parts.fraction_digits as usize])
        .and_then(|mantissa| mantissa.checked_add(parts.fraction))
        .ok_or(DecimalError::OutOfRange)?;
    if parts.negative && mantissa != 0 {
        return Err(DecimalError::Negative);
    }
    Ok((mantissa, parts.fraction_digits))
}

/// As [`price`], also with an exponent (`1.5e-7`), as programs write numbers that they hold as floats.
///
/// # Errors
/// As [`price`], of the number written out.
#[inline]
pub fn number_price(text: &[u8]) -> Result<i64, DecimalError> {
    match exponent_at(text) {
        None => price(text),
        Some(at) => price(written_out(text, at, &mut [0; WRITTEN_OUT_BYTES])?),
    }
}

/// As [`size`], also with an exponent.
///
/// # Errors
/// As [`size`], of the number written out.
#[inline]
pub fn number_size(text: &[u8]) -> Result<(u64, u8), DecimalError> {
    match exponent_at(text) {
        None => size(text),
        Some(at) => size(written_out(text, at, &mut [0; WRITTEN_OUT_BYTES])?),
    }
}

/// An unsigned decimal in units of 10^-`decimals`: `fixed(b"1.5", 3)` is 1,500.
///
/// # Errors
/// When `text` is no decimal, is below zero, has more than `decimals` significant decimals, or is beyond 64 bits.
///
/// # Panics
/// When `decimals` is above [`SCALE_MAX`].
#[inline]
pub fn fixed(text: &[u8], decimals: u8) -> Result<u64, DecimalError> {
    let parts = parts(text, decimals)?;
    let fraction = parts.fraction * POW10[(decimals - parts.fraction_digits) as usize];
    let units = parts.integer.checked_mul(POW10[decimals as usize]).and_then(|units| units.checked_add(fraction));
    if parts.negative && units != Some(0) {
        return Err(DecimalError::Negative);
    }
    units.ok_or(DecimalError::OutOfRange)
}

/// Digits of a number with an exponent that are looked at: f64 have 17.
const MANTISSA_BYTES_MAX: usize = 40;
/// Largest exponent that is written out, either way: no number that fits has more digits.
const EXPONENT_MAX: usize = 40;
/// Bytes of the longest number that is written out: sign, zeros, point, digits.
const WRITTEN_OUT_BYTES: usize = MANTISSA_BYTES_MAX + EXPONENT_MAX + 4;

#[inline]
fn exponent_at(text: &[u8]) -> Option<usize> {
    text.iter().position(|byte| matches!(byte, b'e' | b'E'))
}

/// `-1.25e3` as `-1250`: the same number without its exponent, which begins at `at`.
#[cold]
fn written_out<'a>(text: &[u8], at: usize, out: &'a mut [u8; WRITTEN_OUT_BYTES]) -> Result<&'a [u8], DecimalError> {
    let (mantissa, exponent) = (&text[..at], &text[at + 1..]);
    let (is_down, digits) = match exponent.split_first() {
        Some((b'-', digits)) => (true, digits),
        Some((b'+', digits)) => (false, digits),
        _ => (false, exponent),
    };
    let shift = integer(digits).map_err(|error| match error {
        DecimalError::NotDigit(index) => DecimalError::NotDigit(text.len() - digits.len() + index),
        other => other,
    })?;
    let body = mantissa.strip_prefix(b"-").unwrap_or(mantissa);
    let (whole, fraction) = match body.iter().position(|byte| *byte == b'.') {
        Some(point) => (&body[..point], &body[point + 1..]),
        None => (body, &[][..]),
    };
    // What is malformed without its exponent is so with it.
    let is_malformed = whole.is_empty()
        || whole.len() + 1 == body.len()
        || leading_digits(whole) < whole.len()
        || leading_digits(fraction) < fraction.len();
    if is_malformed {
        return Err(malformed(mantissa));
    }
    if whole.iter().chain(fraction).all(|digit| *digit == b'0') {
        return Ok(b"0");
    }
    let shift = usize::try_from(shift).unwrap_or(usize::MAX);
    if body.len() > MANTISSA_BYTES_MAX || shift > EXPONENT_MAX {
        return Err(if is_down { DecimalError::TooFine(SCALE_MAX) } else { DecimalError::OutOfRange });
    }
    // Digits before the point, counted from the first of them.
    let point = if is_down { whole.len() as isize - shift as isize } else { (whole.len() + shift) as isize };
    let digits = whole.len() + fraction.len();
    let mut length = 0;
    let mut push = |byte: u8| {
        out[length] = byte;
        length += 1;
    };
    if mantissa.len() > body.len() {
        push(b'-');
    }
    if point <= 0 {
        push(b'0');
        push(b'.');
        (point..0).for_each(|_| push(b'0'));
    }
    for (index, digit) in whole.iter().chain(fraction).enumerate() {
        if index as isize == point && index > 0 {
            push(b'.');
        }
        push(*digit);
    }
    (digits as isize..point).for_each(|_| push(b'0'));
    Ok(&out[..length])
}

/// Two sizes under the larger of their scales: (mantissa of `a`, mantissa of `b`, scale).
///
/// # Errors
/// [`DecimalError::OutOfRange`] when a mantissa leaves 64 bits, or a scale is above [`SCALE_MAX`].
#[inline]
pub fn common(a: (u64, u8), b: (u64, u8)) -> Result<(u64, u64, u8), DecimalError> {
    let scale = a.1.max(b.1);
    let raise = |(mantissa, from): (u64, u8)| {
        let power = POW10.get(usize::from(scale - from)).filter(|_| scale <= SCALE_MAX);
        power.and_then(|power| mantissa.checked_mul(*power)).ok_or(DecimalError::OutOfRange)
    };
    Ok((raise(a)?, raise(b)?, scale))
}

/// An unsigned integer of digits only.
///
/// # Errors
/// When `text` is empty, holds another byte than a digit, or is beyond 64 bits.
#[inline]
pub fn integer(text: &[u8]) -> Result<u64, DecimalError> {
    match leading_digits(text) {
        0 if text.is_empty() => Err(DecimalError::NoDigits),
        digits if digits < text.len() => Err(DecimalError::NotDigit(digits)),
        _ => value(text),
    }
}

/// A decimal of at most seven digits before the point and eight after it: nearly every price and size there is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Short {
    integer: u32,
    fraction: u32,
    fraction_digits: u8,
}

impl Short {
    /// The one at the start of `text`, and its length. It ends before the first other byte, and is found only where that
    /// is within 16 bytes and as many are there: `None` says no more than that the long way must be taken.
    ///
    /// Two words of eight bytes instead of a loop over digits, whose end no branch predictor can tell.
    #[inline]
    #[must_use]
    pub fn at_start(text: &[u8]) -> Option<(Self, usize)> {
        let (whole, whole_digits) = leading_eight(*text.first_chunk::<8>()?);
        if whole_digits == 0 || whole_digits == 8 {
            return None;
        }
        let integer = eight_digits(whole) as u32;
        if text[whole_digits] != b'.' {
            return Some((Self { integer, fraction: 0, fraction_digits: 0 }, whole_digits));
        }
        let rest = &text[whole_digits + 1..];
        let (fraction, digits) = leading_eight(*rest.first_chunk::<8>()?);
        if digits == 0 || digits == 8 && rest.get(8).is_none_or(u8::is_ascii_digit) {
            return None;
        }
        // The last digit stands in the highest byte: zeros there are dropped by moving the others up.
        let zeros = (fraction.leading_zeros() as usize / 8).min(digits);
        let fraction = fraction.checked_shl(zeros as u32 * 8).unwrap_or(0);
        let short = Self { integer, fraction: eight_digits(fraction) as u32, fraction_digits: (digits - zeros) as u8 };
        Some((short, whole_digits + 1 + digits))
    }

    /// As [`price`]. Always fits.
    #[inline]
    #[must_use]
    pub fn price(self) -> i64 {
        let fraction = u64::from(self.fraction) * POW10[(PRICE_DECIMALS - self.fraction_digits) as usize];
        (u64::from(self.integer) * PRICE_ONE as u64 + fraction) as i64
    }

    /// As [`size`]. Always fits.
    #[inline]
    #[must_use]
    pub fn size(self) -> (u64, u8) {
        let mantissa = u64::from(self.integer) * POW10[self.fraction_digits as usize] + u64::from(self.fraction);
        (mantissa, self.fraction_digits)
    }
}

/// The digits at the start of `chunk` and their number: their values in the highest bytes of a word, zeros below.
#[inline]
const fn leading_eight(chunk: [u8; 8]) -> (u64, usize) {
    let values = u64::from_le_bytes(chunk) ^ 0x3030_3030_3030_3030;
    // The high bit of a byte is set where its value is above 9; no carry leaves a byte.
    let others = (((values & 0x7f7f_7f7f_7f7f_7f7f) + 0x7676_7676_7676_7676) | values) & 0x8080_8080_8080_8080;
    let digits = others.trailing_zeros() as usize / 8;
    (if digits == 0 { 0 } else { values << ((8 - digits) * 8) }, digits)
}

#[inline]
fn parts(text: &[u8], decimals_max: u8) -> Result<Parts, DecimalError> {
    let (negative, body) = match text.split_first() {
        Some((b'-', rest)) => (true, rest),
        _ => (false, text),
    };
    let digits = leading_digits(body);
    let (whole, rest) = body.split_at(digits);
    if whole.is_empty() {
        return Err(malformed(text));
    }
    let fraction = match rest.split_first() {
        None => &[][..],
        Some((b'.', fraction)) if !fraction.is_empty() => without_trailing_zeros(fraction),
        Some(_) => return Err(malformed(text)),
    };
    if leading_digits(fraction) < fraction.len() {
        return Err(malformed(text));
    }
    if fraction.len() > decimals_max as usize {
        return Err(DecimalError::TooFine(decimals_max));
    }
    let fraction_value = if fraction.is_empty() { 0 } else { value(fraction)? };
    Ok(Parts { negative, integer: value(whole)?, fraction: fraction_value, fraction_digits: fraction.len() as u8 })
}

/// Number of digits at the start of `text`.
#[inline]
fn leading_digits(text: &[u8]) -> usize {
    let mut at = 0;
    while let Some(chunk) = text[at..].first_chunk::<8>() {
        if !are_digits(u64::from_le_bytes(*chunk)) {
            break;
        }
        at += 8;
    }
    while text.get(at).is_some_and(u8::is_ascii_digit) {
        at += 1;
    }
    at
}

#[inline]
fn without_trailing_zeros(mut digits: &[u8]) -> &[u8] {
    while let Some(chunk) = digits.last_chunk::<8>() {
        // The last byte is the highest of a little-endian word.
        let zeros = (u64::from_le_bytes(*chunk) ^ 0x3030_3030_3030_3030).leading_zeros() as usize / 8;
        digits = &digits[..digits.len() - zeros];
        if zeros < 8 {
            return digits;
        }
    }
    while let Some((b'0', rest)) = digits.split_last() {
        digits = rest;
    }
    digits
}

/// The value of a text that is digits only.
#[inline]
fn value(digits: &[u8]) -> Result<u64, DecimalError> {
    let mut value = 0u64;
    let mut rest = digits;
    // 16 digits cannot leave 64 bits.
    if digits.len() <= 16 {
        while let Some((chunk, after)) = rest.split_first_chunk::<8>() {
            value = value * 100_000_000 + eight_digits(u64::from_le_bytes(*chunk));
            rest = after;
        }
        return Ok(rest.iter().fold(value, |value, digit| value * 10 + u64::from(digit - b'0')));
    }
    for digit in rest {
        let next = value.checked_mul(10).and_then(|tens| tens.checked_add(u64::from(digit - b'0')));
        value = next.ok_or(DecimalError::OutOfRange)?;
    }
    Ok(value)
}

/// Whether all eight bytes are `0` to `9`: the high nibble is 3 and stays 3 when 6 is added.
#[inline]
const fn are_digits(chunk: u64) -> bool {
    const HIGH: u64 = 0xf0f0_f0f0_f0f0_f0f0;
    (chunk & HIGH) | ((chunk.wrapping_add(0x0606_0606_0606_0606) & HIGH) >> 4) == 0x3333_3333_3333_3333
}

/// The value of eight digits, the first in the lowest byte: pairs, then fours, then all eight, side by side in one word
/// (D. Lemire, "Quickly parsing eight digits", 2018).
#[inline]
const fn eight_digits(chunk: u64) -> u64 {
    let pairs = ((chunk & 0x0f0f_0f0f_0f0f_0f0f).wrapping_mul(10 << 8 | 1)) >> 8;
    let fours = ((pairs & 0x00ff_00ff_00ff_00ff).wrapping_mul(100 << 16 | 1)) >> 16;
    ((fours & 0x0000_ffff_0000_ffff).wrapping_mul(10_000 << 32 | 1)) >> 32
}

/// Which of the two ways `text` is no decimal; off the fast path.
#[cold]
fn malformed(text: &[u8]) -> DecimalError {
    let mut point_seen = false;
    let mut digits = 0;
    for (index, byte) in text.iter().enumerate() {
        match byte {
            b'0'..=b'9' => digits += 1,
            b'-' if index == 0 => {}
            b'.' if !point_seen && digits > 0 => (point_seen, digits) = (true, 0),
            _ => return DecimalError::NotDigit(index),
        }
    }
    DecimalError::NoDigits
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The naive twin: one byte at a time in 128 bits.
    mod naive {
        /// (mantissa, scale) of any decimal whose digits fit 128 bits, trailing zeros of the fraction dropped.
        pub(super) fn decimal(text: &str) -> Option<(i128, u8)> {
            let (sign, body) = text.strip_prefix('-').map_or((1, text), |body| (-1, body));
            let (whole, fraction) = body.split_once('.').map_or((body, None), |(whole, rest)| (whole, Some(rest)));
            let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
            if !digits(whole) || !fraction.is_none_or(digits) {
                return None;
            }
            let fraction = fraction.unwrap_or("").trim_end_matches('0');
            let mantissa: i128 = format!("{whole}{fraction}").parse().ok()?;
            Some((sign * mantissa, fraction.len() as u8))
        }

        pub(super) fn price(text: &str) -> Option<i64> {
            let (mantissa, scale) = decimal(text)?;
            let units = mantissa.checked_mul(10i128.checked_pow(9u32.checked_sub(scale.into())?)?)?;
            i64::try_from(units).ok().filter(|&units| units != i64::MAX)
        }

        pub(super) fn size(text: &str) -> Option<(u64, u8)> {
            let (mantissa, scale) = decimal(text)?;
            (scale <= 19).then_some(())?;
            Some((u64::try_from(mantissa).ok()?, scale))
        }
    }

    #[test]
    fn exponents_are_written_out_exactly() {
        for (text, same) in [
            ("1e3", "1000"),
            ("1.5e-7", "0.00000015"),
            ("-1.25e3", "-1250"),
            ("12.5E+1", "125.0"),
            ("1.2345e2", "123.45"),
            ("100e-2", "1.00"),
            ("0e999", "0"),
            ("-0.0e-9", "0"),
            ("5e0", "5"),
            ("0.001e3", "1"),
            ("4.2e-9", "0.0000000042"),
        ] {
            assert_eq!(number_price(text.as_bytes()), price(same.as_bytes()), "{text}");
            assert_eq!(number_size(text.as_bytes()), size(same.as_bytes()), "{text}");
        }
        assert_eq!(number_size(b"1.5e-8"), Ok((15, 9)));
        assert_eq!(number_price(b"1e10"), Err(DecimalError::OutOfRange));
        assert_eq!(number_price(b"1e9999999999999999999999"), Err(DecimalError::OutOfRange));
        assert_eq!(number_price(b"1e-10"), Err(DecimalError::TooFine(9)));
        for bad in ["e3", "1e", "1e+", "1e-", ".5e1", "5.e1", "1e1.5", "1e1e1", "--1e1", "1.2.3e1", "+1e1", "1e 1"] {
            assert!(number_price(bad.as_bytes()).is_err() && number_size(bad.as_bytes()).is_err(), "{bad}");
        }
        // Every number of six digits at most, as its exponent moves the point.
        let mut random = Random(7);
        for round in 0..20_000 {
            let (mantissa, shift) = (random.below(1_000_000), random.below(19) as usize);
            let digits = format!("{mantissa:0>width$}", width = shift + 1);
            let plain = format!("{}.{}0", &digits[..digits.len() - shift], &digits[digits.len() - shift..]);
            let text = format!("{mantissa}e-{shift}");
            assert_eq!(number_size(text.as_bytes()), size(plain.as_bytes()), "round {round}: {text}, {plain}");
        }
    }

    #[test]
    fn fixed_decimals() {
        assert_eq!(fixed(b"1626993368.0018098", 9), Ok(1_626_993_368_001_809_800));
        assert_eq!(fixed(b"1.5", 3), Ok(1_500));
        assert_eq!(fixed(b"7", 0), Ok(7));
        assert_eq!(fixed(b"7.0", 0), Ok(7));
        assert_eq!(fixed(b"-0", 3), Ok(0));
        assert_eq!(fixed(b"-1", 3), Err(DecimalError::Negative));
        assert_eq!(fixed(b"7.5", 0), Err(DecimalError::TooFine(0)));
        assert_eq!(fixed(b"18446744073709551615", 0), Ok(u64::MAX));
        assert_eq!(fixed(b"18446744073709551.616", 3), Err(DecimalError::OutOfRange));
        assert_eq!(fixed(b"", 3), Err(DecimalError::NoDigits));
    }

    /// splitmix64 (S. Vigna), so that a seed names a run.
    struct Random(u64);

    impl Random {
        fn below(&mut self, bound: u64) -> u64 {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = self.0;
            z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
            (z ^ z >> 31) % bound
        }
    }

    fn agrees(text: &str, seed: u64) {
        assert_eq!(price(text.as_bytes()).ok(), naive::price(text), "price of {text:?}, seed {seed}");
        assert_eq!(size(text.as_bytes()).ok(), naive::size(text), "size of {text:?}, seed {seed}");
    }

    #[test]
    fn prices_and_sizes_are_exact() {
        assert_eq!(price(b"61837.63000000"), Ok(61_837_630_000_000));
        assert_eq!(price(b"0.000000001"), Ok(1));
        assert_eq!(price(b"-0.5"), Ok(-500_000_000));
        assert_eq!(price(b"0.0000000010000000000000000000"), Ok(1));
        assert_eq!(size(b"3.02920000"), Ok((30_292, 4)));
        assert_eq!(size(b"0.00000000"), Ok((0, 0)));
        assert_eq!(size(b"-0.0"), Ok((0, 0)));
        assert_eq!(size(b"1001"), Ok((1001, 0)));
        assert_eq!(size(b"18446744073709551615"), Ok((u64::MAX, 0)));
    }

    #[test]
    fn what_does_not_fit_is_refused_with_the_reason_and_never_rounded() {
        use DecimalError::{Negative, NoDigits, NotDigit, OutOfRange, TooFine};
        for (text, error) in [
            ("", NoDigits),
            ("-", NoDigits),
            ("1.", NoDigits),
            (".5", NotDigit(0)),
            ("+1", NotDigit(0)),
            ("1e5", NotDigit(1)),
            ("1.2.3", NotDigit(3)),
            ("12345678x", NotDigit(8)),
            ("0x1000000", NotDigit(1)),
            ("1 ", NotDigit(1)),
            ("0.0000000001", TooFine(9)),
            ("9223372036.854775807", OutOfRange),
            ("9223372036.854775808", OutOfRange),
            ("99999999999999999999999", OutOfRange),
        ] {
            assert_eq!(price(text.as_bytes()), Err(error), "{text:?}");
        }
        assert_eq!(price(b"9223372036.854775806"), Ok(i64::MAX - 1));
        assert_eq!(price(b"-9223372036.854775808"), Ok(i64::MIN));
        assert_eq!(price(b"-9223372036.854775809"), Err(OutOfRange));
        assert_eq!(size(b"-1"), Err(Negative));
        assert_eq!(size(b"0.00000000000000000001"), Err(TooFine(19)));
        assert_eq!(size(b"0.0000000000000000001"), Ok((1, 19)));
        assert_eq!(size(b"18446744073709551616"), Err(OutOfRange));
        assert_eq!(size(b"1844674407370955161.6"), Err(OutOfRange));
        assert_eq!(size(b"1844674407370955161.5"), Ok((u64::MAX, 1)));
        assert_eq!(integer(b"18446744073709551615"), Ok(u64::MAX));
        assert_eq!(integer(b"18446744073709551616"), Err(OutOfRange));
        assert_eq!(integer(b""), Err(NoDigits));
        assert_eq!(integer(b"12a"), Err(NotDigit(2)));
        assert_eq!(integer(b"-1"), Err(NotDigit(0)));
        assert_eq!(integer(b"1.0"), Err(NotDigit(1)));
    }

    #[test]
    fn sizes_come_to_a_common_scale_or_are_refused() {
        assert_eq!(common((30_292, 4), (5, 0)), Ok((30_292, 50_000, 4)));
        assert_eq!(common((0, 0), (1, 8)), Ok((0, 1, 8)));
        assert_eq!(common((u64::MAX, 0), (1, 1)), Err(DecimalError::OutOfRange));
        assert_eq!(common((1, 0), (1, 20)), Err(DecimalError::OutOfRange));
        assert_eq!(common((1, 0), (1, 19)), Ok((10_000_000_000_000_000_000, 1, 19)));
    }

    #[test]
    fn random_decimals_agree_with_the_naive_twin() {
        for seed in 0..8u64 {
            let mut random = Random(seed);
            for _ in 0..40_000 {
                let mut text = String::new();
                if random.below(12) == 0 {
                    text.push('-');
                }
                let whole_max = if random.below(4) == 0 { 24 } else { 9 };
                for _ in 0..random.below(whole_max) {
                    text.push(char::from(b'0' + random.below(10) as u8));
                }
                if random.below(3) > 0 {
                    text.push('.');
                    let fraction_max = if random.below(4) == 0 { 24 } else { 10 };
                    for _ in 0..random.below(fraction_max) {
                        text.push(if random.below(3) == 0 { '0' } else { char::from(b'0' + random.below(10) as u8) });
                    }
                    text.extend(std::iter::repeat_n('0', random.below(20) as usize));
                }
                // Half of the damaged ones lie inside a word of eight.
                if random.below(8) == 0 && !text.is_empty() {
                    let at = random.below(text.len() as u64) as usize;
                    let byte = char::from(random.below(128) as u8);
                    text.replace_range(at..=at, byte.encode_utf8(&mut [0; 4]));
                }
                agrees(&text, seed);
            }
        }
    }

    /// The short way takes what it may take, and then gives what the long way gives.
    #[test]
    fn short_decimals_are_those_of_the_long_way() {
        let mut taken = 0;
        for seed in 0..8u64 {
            let mut random = Random(seed);
            for _ in 0..40_000 {
                let mut text: Vec<u8> = Vec::new();
                let mut digits = |text: &mut Vec<u8>, max: u64| {
                    for _ in 0..random.below(max) {
                        text.push(if random.below(3) == 0 { b'0' } else { b'0' + random.below(10) as u8 });
                    }
                };
                digits(&mut text, 10);
                let whole = text.len();
                text.push(b'.');
                digits(&mut text, 11);
                let fraction = text.len() - whole - 1;
                if fraction == 0 {
                    text.pop();
                }
                let length = text.len();
                text.push([b'"', b'x', b'/', b':', b'-', 0x00, 0xff, 0xb0][random.below(8) as usize]);
                text.extend(std::iter::repeat_n(b'7', 16));
                let expected = (1..8).contains(&whole) && fraction <= 8;
                let short = Short::at_start(&text);
                assert_eq!(short.is_some(), expected, "seed {seed}, {:?}", text.escape_ascii().to_string());
                if let Some((short, used)) = short {
                    taken += 1;
                    assert_eq!(used, length);
                    assert_eq!(Ok(short.price()), price(&text[..length]));
                    assert_eq!(Ok(short.size()), size(&text[..length]));
                }
            }
        }
        assert!(taken > 100_000, "{taken}");
        for text in
            ["", "1", "1234567", "1.5", "12345678\"       ", "1.\"             ", "1.5\"123", ".5\"              "]
        {
            assert_eq!(Short::at_start(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn every_byte_in_a_word_of_eight_is_told_from_a_digit() {
        for at in 0..8 {
            for byte in 0..=255u8 {
                let mut text = *b"12345678";
                text[at] = byte;
                assert_eq!(are_digits(u64::from_le_bytes(text)), byte.is_ascii_digit(), "byte {byte} at {at}");
            }
        }
        assert_eq!(eight_digits(u64::from_le_bytes(*b"12345678")), 12_345_678);
        assert_eq!(eight_digits(u64::from_le_bytes(*b"99999999")), 99_999_999);
        assert_eq!(eight_digits(u64::from_le_bytes(*b"00000001")), 1);
    }
}
