//! Numbers of columns as exact integers: prices in units of 1e-9, sizes as a mantissa and a scale, times in ns.
//!
//! A float stands for the shortest decimal that reads back as the same float: 0.1 is 0.1, whatever its bits are. That decimal is taken
//! exactly or not at all.

use super::cells::{Cells, Values};
use super::footer::{Column, Meaning, Unit};
use crate::input::decimal::{self, DecimalError, PRICE_DECIMALS};
use std::io::Write;
use tapeline_core::units::{PRICE_ONE, PRICE_UNDEFINED, SCALE_MAX};

/// Floats below this have at most one multiple of 1e-9 that reads back as them, and the product with 1e9 finds it: its error is below
/// a half, as 2e6 * 1e9 is below 2^51.
const FAST_BELOW: f64 = 2e6;
/// Longest decimal of a float: sign, point, and 324 decimals with 17 digits.
const TEXT_BYTES: usize = 400;

/// Why a value is no number of its role.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum NumberError {
    Decimal(DecimalError),
    /// A time before 1970.
    Before1970,
    /// A time beyond 64 bits of ns, or a float with a fraction of a ns.
    NoTime,
    /// Not a number at all.
    NotFinite,
}

impl From<DecimalError> for NumberError {
    fn from(error: DecimalError) -> Self {
        Self::Decimal(error)
    }
}

impl std::fmt::Display for NumberError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Decimal(error) => error.fmt(f),
            Self::Before1970 => f.write_str("a time before 1970"),
            Self::NoTime => f.write_str("no time in whole ns within 584 years of 1970"),
            Self::NotFinite => f.write_str("no finite number"),
        }
    }
}

/// The shortest decimal of a float, as a text.
fn shortest(value: impl std::fmt::Display, buffer: &mut [u8; TEXT_BYTES]) -> &[u8] {
    let mut rest = &mut buffer[..];
    // The longest one fits.
    let _ = write!(rest, "{value}");
    let left = rest.len();
    &buffer[..TEXT_BYTES - left]
}

/// `value` in units of 1e-9, where that is exact and can be told at once.
fn fast(value: f64) -> Option<i64> {
    if value.abs() >= FAST_BELOW {
        return None;
    }
    let units = (value * 1e9).round_ties_even();
    // Both are whole numbers below 2^53, so that the quotient is the float nearest to that decimal.
    (units / 1e9 == value).then_some(units as i64)
}

/// A price of a 64-bit float.
pub(super) fn price_of_double(value: f64) -> Result<i64, NumberError> {
    if let Some(units) = fast(value) {
        return Ok(units);
    }
    if !value.is_finite() {
        return Err(NumberError::NotFinite);
    }
    Ok(decimal::price(shortest(value, &mut [0; TEXT_BYTES]))?)
}

/// A size of a 64-bit float.
pub(super) fn size_of_double(value: f64) -> Result<(u64, u8), NumberError> {
    if (0.0..FAST_BELOW).contains(&value) && value.trunc() == value {
        return Ok((value as u64, 0));
    }
    if let Some(units) = fast(value) {
        let units = u64::try_from(units).map_err(|_| DecimalError::Negative)?;
        return Ok(without_zeros(units, PRICE_DECIMALS));
    }
    if !value.is_finite() {
        return Err(NumberError::NotFinite);
    }
    Ok(decimal::size(shortest(value, &mut [0; TEXT_BYTES]))?)
}

/// The same number with the smallest scale.
fn without_zeros(mut mantissa: u64, mut scale: u8) -> (u64, u8) {
    if mantissa == 0 {
        return (0, 0);
    }
    while scale > 0 && mantissa.is_multiple_of(10) {
        mantissa /= 10;
        scale -= 1;
    }
    (mantissa, scale)
}

/// A price of an integer times 10^-scale.
fn price_of_decimal(value: i128, scale: u32) -> Result<i64, NumberError> {
    let decimals = u32::from(PRICE_DECIMALS);
    let units = if scale <= decimals {
        value.checked_mul(10i128.pow(decimals - scale)).ok_or(DecimalError::OutOfRange)?
    } else {
        let power = 10i128.checked_pow(scale - decimals);
        match power {
            Some(power) if value % power == 0 => value / power,
            None if value == 0 => 0,
            _ => return Err(DecimalError::TooFine(PRICE_DECIMALS).into()),
        }
    };
    let price = i64::try_from(units).ok().filter(|price| *price != PRICE_UNDEFINED);
    Ok(price.ok_or(DecimalError::OutOfRange)?)
}

/// A size of an integer times 10^-scale.
fn size_of_decimal(value: i128, scale: u32) -> Result<(u64, u8), NumberError> {
    let mut mantissa = u128::try_from(value).map_err(|_| DecimalError::Negative)?;
    let mut scale = if mantissa == 0 { 0 } else { scale };
    while scale > 0 && mantissa.is_multiple_of(10) {
        mantissa /= 10;
        scale -= 1;
    }
    if scale > u32::from(SCALE_MAX) {
        return Err(DecimalError::TooFine(SCALE_MAX).into());
    }
    Ok((u64::try_from(mantissa).map_err(|_| DecimalError::OutOfRange)?, scale as u8))
}

/// A number of bytes, the highest first, in two's complement. `None` where it has more than 128 bits.
fn big_endian(bytes: &[u8]) -> Option<i128> {
    let negative = bytes.first().is_some_and(|byte| *byte >= 0x80);
    let fill = if negative { 0xff } else { 0 };
    let skip = bytes.len().saturating_sub(16);
    if bytes[..skip].iter().any(|byte| *byte != fill) {
        return None;
    }
    let value =
        bytes[skip..].iter().fold(if negative { -1i128 } else { 0 }, |value, byte| value << 8 | i128::from(*byte));
    Some(value)
}

/// What an integer of a column stands for.
fn whole(column: &Column, value: i64) -> i128 {
    match (column.meaning, column.physical) {
        (Meaning::Unsigned, super::footer::Physical::Int32) => i128::from(value as u32),
        (Meaning::Unsigned, _) => i128::from(value as u64),
        _ => i128::from(value),
    }
}

fn trim(text: &[u8]) -> &[u8] {
    text.trim_ascii()
}

/// The price in a row; `None` where there is none. Integers without a scale are in units of 1e-9 where `is_fixed`, else whole.
pub(super) fn price(column: &Column, cells: &Cells, row: usize, is_fixed: bool) -> Result<Option<i64>, NumberError> {
    if !cells.has[row] {
        return Ok(None);
    }
    let price = match (&cells.values, column.meaning) {
        (Values::Double(values), _) if values[row].is_nan() => return Ok(None),
        (Values::Double(values), _) => price_of_double(values[row])?,
        (Values::Single(values), _) if values[row].is_nan() => return Ok(None),
        (Values::Single(values), _) => single(values[row], decimal::price)?,
        (Values::Int(values), Meaning::Decimal(scale)) => price_of_decimal(values[row].into(), scale)?,
        (Values::Int(values), _) if is_fixed => return Ok(Some(values[row]).filter(|price| *price != PRICE_UNDEFINED)),
        (Values::Int(values), _) => match values[row].checked_mul(PRICE_ONE) {
            Some(price) if column.meaning != Meaning::Unsigned => price,
            _ => price_of_decimal(whole(column, values[row]), 0)?,
        },
        (Values::Bytes(_), Meaning::Decimal(scale)) => {
            price_of_decimal(big_endian(cells.bytes(row)).ok_or(DecimalError::OutOfRange)?, scale)?
        }
        (Values::Bytes(_), _) => match trim(cells.bytes(row)) {
            b"" => return Ok(None),
            text => decimal::price(text)?,
        },
    };
    Ok(Some(price))
}

/// The size in a row; `None` where there is none.
pub(super) fn size(column: &Column, cells: &Cells, row: usize) -> Result<Option<(u64, u8)>, NumberError> {
    if !cells.has[row] {
        return Ok(None);
    }
    let size = match (&cells.values, column.meaning) {
        (Values::Double(values), _) if values[row].is_nan() => return Ok(None),
        (Values::Double(values), _) => size_of_double(values[row])?,
        (Values::Single(values), _) if values[row].is_nan() => return Ok(None),
        (Values::Single(values), _) => single(values[row], decimal::size)?,
        (Values::Int(values), Meaning::Decimal(scale)) => size_of_decimal(values[row].into(), scale)?,
        (Values::Int(values), _) => size_of_decimal(whole(column, values[row]), 0)?,
        (Values::Bytes(_), Meaning::Decimal(scale)) => {
            size_of_decimal(big_endian(cells.bytes(row)).ok_or(DecimalError::OutOfRange)?, scale)?
        }
        (Values::Bytes(_), _) => match trim(cells.bytes(row)) {
            b"" => return Ok(None),
            text => decimal::size(text)?,
        },
    };
    Ok(Some(size))
}

fn single<T>(value: f32, read: fn(&[u8]) -> Result<T, DecimalError>) -> Result<T, NumberError> {
    if !value.is_finite() {
        return Err(NumberError::NotFinite);
    }
    Ok(read(shortest(value, &mut [0; TEXT_BYTES]))?)
}

/// A whole number that is no price and no size, such as a sequence number; `None` where there is none, or it is negative.
pub(super) fn count(column: &Column, cells: &Cells, row: usize) -> Option<u64> {
    match &cells.values {
        Values::Int(values) if cells.has[row] => u64::try_from(whole(column, values[row])).ok(),
        _ => None,
    }
}

/// Unit of times of which nothing tells it: by the magnitude of one of them. Each reaches from 1973 to the year 5138 but ns, which are the
/// rest.
pub(super) fn unit_of(value: f64) -> Unit {
    match value.abs() {
        value if value < 1e11 => Unit::Seconds,
        value if value < 1e14 => Unit::Millis,
        value if value < 1e17 => Unit::Micros,
        _ => Unit::Nanos,
    }
}

/// The time in a row in ns; `None` where there is none. `unit` is used where the column does not say it, and kept once it was told.
pub(super) fn time(
    column: &Column,
    cells: &Cells,
    row: usize,
    unit: &mut Option<Unit>,
) -> Result<Option<u64>, NumberError> {
    if !cells.has[row] {
        return Ok(None);
    }
    match &cells.values {
        Values::Int(values) => {
            let value = values[row];
            let nanos = match (column.meaning, column.physical) {
                (Meaning::Timestamp(unit) | Meaning::TimeOfDay(unit), _) => unit.nanos(),
                (Meaning::Date, _) => 86_400 * Unit::Seconds.nanos(),
                (_, super::footer::Physical::Int96) => 1,
                // What a missing time is for pandas, and for DBN.
                _ if matches!(value, i64::MIN | -1) && column.meaning == Meaning::Unsigned => return Ok(None),
                // No magnitude to go by: 0 is 0 in every unit, and what is below it is refused.
                _ if value <= 0 => 1,
                _ => unit.get_or_insert_with(|| unit_of(value as f64)).nanos(),
            };
            let value = u64::try_from(value).map_err(|_| NumberError::Before1970)?;
            value.checked_mul(nanos).filter(|time| *time != u64::MAX).map(Some).ok_or(NumberError::NoTime)
        }
        Values::Double(values) if values[row].is_nan() => Ok(None),
        Values::Double(values) => {
            let value = values[row];
            if value < 0.0 {
                return Err(NumberError::Before1970);
            }
            if value == 0.0 {
                return Ok(Some(0));
            }
            if value.is_infinite() {
                return Err(NumberError::NoTime);
            }
            let unit = *unit.get_or_insert_with(|| unit_of(value));
            // In units of 1e-9 seconds are ns.
            let time = match unit {
                Unit::Seconds => price_of_double(value).ok().and_then(|time| u64::try_from(time).ok()),
                unit if value.trunc() == value && value < u64::MAX as f64 => (value as u64).checked_mul(unit.nanos()),
                _ => None,
            };
            time.map(Some).ok_or(NumberError::NoTime)
        }
        Values::Single(_) | Values::Bytes(_) => Err(NumberError::NoTime),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// splitmix64 (S. Vigna).
    fn random(state: &mut u64) -> u64 {
        *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = *state;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    /// The twin: always by the text.
    fn twin_price(value: f64) -> Option<i64> {
        decimal::price(format!("{value}").as_bytes()).ok()
    }

    #[test]
    fn floats_are_their_shortest_decimals_or_refused() {
        let mut state = 11;
        for round in 0..400_000u64 {
            let word = random(&mut state);
            let value = match round % 5 {
                0 => f64::from_bits(word),
                1 => (word % 4_000_000_000_000_000) as f64 / 1e9,
                2 => (word % 10_000_000) as f64 / 100.0,
                3 => f64::from_bits(((word % 10_000_000) as f64 / 100.0).to_bits() + 1),
                _ => (word % 1_000_000_000) as f64 / 1e9 + (word >> 40) as f64,
            };
            let value = if word & 1 << 62 == 0 { value } else { -value };
            assert_eq!(price_of_double(value).ok(), twin_price(value), "{value:?}");
            let size = decimal::size(format!("{value}").as_bytes()).ok();
            assert_eq!(size_of_double(value).ok(), size, "{value:?}");
        }
        for (value, price) in [
            (0.1, Some(100_000_000)),
            (0.1 + 0.2, None),
            (60_000.5, Some(60_000_500_000_000)),
            (-3.25, Some(-3_250_000_000)),
            (9_223_372_036.0, Some(9_223_372_036_000_000_000)),
            (1e10, None),
            (1e-9, Some(1)),
            (1e-10, None),
            (-0.0, Some(0)),
            (f64::INFINITY, None),
            (f64::NAN, None),
        ] {
            assert_eq!(price_of_double(value).ok(), price, "{value}");
        }
        assert_eq!(size_of_double(1e-10), Ok((1, 10)));
        assert_eq!(size_of_double(0.5), Ok((5, 1)));
        assert_eq!(size_of_double(-1.5), Err(DecimalError::Negative.into()));
    }

    #[test]
    fn decimals_of_every_scale() {
        for (value, scale, price, size) in [
            (12_345, 2, Some(123_450_000_000), Some((12_345, 2))),
            (-1, 0, Some(-1_000_000_000), None),
            (1_500_000_000_000, 12, Some(1_500_000_000), Some((15, 1))),
            (1, 12, None, Some((1, 12))),
            (1, 20, None, None),
            (0, 40, Some(0), Some((0, 0))),
            (i128::from(i64::MAX), 9, None, Some((i64::MAX as u64, 9))),
            (i128::MAX, 0, None, None),
        ] {
            assert_eq!(price_of_decimal(value, scale).ok(), price, "{value} {scale}");
            assert_eq!(size_of_decimal(value, scale).ok(), size, "{value} {scale}");
        }
        for value in [0, 1, -1, 127, 128, -128, -129, 1 << 40, i128::MIN, i128::MAX] {
            let bytes = value.to_be_bytes();
            assert_eq!(big_endian(&bytes), Some(value));
            let longer = [&[if value < 0 { 0xff } else { 0 }; 4][..], &bytes].concat();
            assert_eq!(big_endian(&longer), Some(value));
        }
        assert_eq!(big_endian(&[0xff, 0x38]), Some(-200));
        assert_eq!(big_endian(&[1; 17]), None);
    }
}
