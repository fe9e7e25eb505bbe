//! The members of one object, by name, over the scanner of this crate.

use super::Fault;
use crate::input::decimal::{self, DecimalError};
use crate::input::json::{JsonError, Scanner, Value};
use jiff::Timestamp;
use tapeline_core::units::{PRICE_UNDEFINED, Side, UnixNanos};

/// Members that are kept of an object; further ones are passed.
const MEMBERS_MAX: usize = 32;
/// No number that fits is longer when its escapes are undone.
const SCRATCH_BYTES: usize = 64;

/// One member: its key, its value, and the scanner before the value.
#[derive(Clone, Copy)]
struct Member<'a> {
    key: &'a [u8],
    value: Value<'a>,
    at: Scanner<'a>,
}

/// The members of an object.
pub(super) struct Members<'a> {
    members: [Option<Member<'a>>; MEMBERS_MAX],
}

impl<'a> Members<'a> {
    /// Reads an object; what is nested in it is passed as a whole. Of equal keys the first counts.
    pub(super) fn read(scanner: &mut Scanner<'a>) -> Result<Self, JsonError> {
        let mut members = [None; MEMBERS_MAX];
        let (mut count, mut first) = (0, true);
        scanner.expect(b'{')?;
        while let Some(key) = scanner.key(&mut first)? {
            let at = *scanner;
            let value = scanner.value()?;
            if let (Some(member), Some(key)) = (members.get_mut(count), key.plain()) {
                *member = Some(Member { key, value, at });
                count += 1;
            }
        }
        Ok(Self { members })
    }

    fn find(&self, name: &str) -> Option<&Member<'a>> {
        self.members.iter().map_while(Option::as_ref).find(|member| member.key == name.as_bytes())
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.find(name).is_some()
    }

    /// Whether it is there and not null.
    pub(super) fn has_value(&self, name: &str) -> bool {
        self.find(name).is_some_and(|member| member.value != Value::Null)
    }

    /// A text without escapes, if it is one.
    pub(super) fn plain(&self, name: &str) -> Option<&'a [u8]> {
        match self.find(name)?.value {
            Value::Text(text) => text.plain(),
            _ => None,
        }
    }

    /// A text without escapes that must be there.
    pub(super) fn text(&self, name: &'static str) -> Result<&'a [u8], Fault> {
        self.find(name).ok_or(Fault::Missing(name))?;
        self.plain(name).ok_or(Fault::WrongType(name))
    }

    fn value(&self, name: &'static str) -> Result<Value<'a>, Fault> {
        self.find(name).map(|member| member.value).ok_or(Fault::Missing(name))
    }

    /// A price, as a number or in a text.
    pub(super) fn price(&self, name: &'static str) -> Result<i64, Fault> {
        price(name, self.value(name)?)
    }

    /// A price that is undefined where it is missing or null.
    pub(super) fn optional_price(&self, name: &'static str) -> Result<i64, Fault> {
        if self.has_value(name) { self.price(name) } else { Ok(PRICE_UNDEFINED) }
    }

    /// A size, as a number or in a text.
    pub(super) fn size(&self, name: &'static str) -> Result<(u64, u8), Fault> {
        size(name, self.value(name)?)
    }

    /// A size that is 0 where it is missing or null.
    pub(super) fn optional_size(&self, name: &'static str) -> Result<(u64, u8), Fault> {
        if self.has_value(name) { self.size(name) } else { Ok((0, 0)) }
    }

    /// An unsigned number.
    pub(super) fn integer(&self, name: &'static str) -> Result<u64, Fault> {
        match self.value(name)? {
            Value::Number(digits) => decimal::integer(digits).map_err(|error| Fault::Decimal(name, error)),
            _ => Err(Fault::WrongType(name)),
        }
    }

    /// A time in ms since 1970; unknown where it is missing or null.
    pub(super) fn millis(&self, name: &'static str) -> Result<UnixNanos, Fault> {
        if !self.has_value(name) {
            return Ok(UnixNanos::UNKNOWN);
        }
        match self.value(name)? {
            Value::Number(digits) => decimal::fixed(digits, 6).map(UnixNanos).map_err(|_| Fault::Time(name)),
            _ => Err(Fault::Time(name)),
        }
    }

    /// A time of RFC 3339; unknown where it is missing or null.
    pub(super) fn instant(&self, name: &'static str) -> Result<UnixNanos, Fault> {
        if !self.has_value(name) {
            return Ok(UnixNanos::UNKNOWN);
        }
        let text = std::str::from_utf8(self.text(name)?).map_err(|_| Fault::Time(name))?;
        let at: Timestamp = text.parse().map_err(|_| Fault::Time(name))?;
        u64::try_from(at.as_nanosecond()).ok().filter(|ns| *ns < u64::MAX).map(UnixNanos).ok_or(Fault::Time(name))
    }

    /// A side by the exchanges' words.
    pub(super) fn side(&self, name: &'static str) -> Result<Side, Fault> {
        side(name, self.text(name)?)
    }

    /// The elements of an array: each is handed the scanner before it, which it has to pass.
    pub(super) fn each<E: From<JsonError> + From<Fault>>(
        &self,
        name: &'static str,
        mut element: impl FnMut(&mut Scanner<'a>) -> Result<(), E>,
    ) -> Result<(), E> {
        let member = self.find(name).ok_or(Fault::Missing(name))?;
        let mut scanner = member.at;
        if !scanner.take(b'[') {
            return Err(Fault::WrongType(name).into());
        }
        let mut first = true;
        while scanner.more(b']', &mut first)? {
            element(&mut scanner)?;
        }
        Ok(())
    }
}

/// A side by the exchanges' words.
pub(super) fn side(name: &'static str, text: &[u8]) -> Result<Side, Fault> {
    match text {
        b"buy" | b"Buy" => Ok(Side::Bid),
        b"sell" | b"Sell" => Ok(Side::Ask),
        _ => Err(Fault::Side(name)),
    }
}

/// A price, as a number or in a text.
pub(super) fn price(name: &'static str, value: Value<'_>) -> Result<i64, Fault> {
    written(name, value, decimal::number_price)
}

/// A size, as a number or in a text.
pub(super) fn size(name: &'static str, value: Value<'_>) -> Result<(u64, u8), Fault> {
    written(name, value, decimal::number_size)
}

fn written<T>(
    name: &'static str,
    value: Value<'_>,
    read: impl FnOnce(&[u8]) -> Result<T, DecimalError>,
) -> Result<T, Fault> {
    let told = |error| Fault::Decimal(name, error);
    match value {
        Value::Number(digits) => read(digits).map_err(told),
        Value::Text(text) => {
            let mut scratch = [0; SCRATCH_BYTES];
            read(text.bytes(&mut scratch).ok_or(told(DecimalError::OutOfRange))?).map_err(told)
        }
        _ => Err(Fault::WrongType(name)),
    }
}
