//! One field of a layout: name, place, type, unit, bounds; and its check as plain numbers.

use super::Bits;
use crate::event::payload::Payload;

/// Type of a field. All numbers are little-endian.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Type {
    /// Unsigned, 8 bits.
    U8,
    /// Unsigned, 16 bits.
    U16,
    /// Unsigned, 32 bits.
    U32,
    /// Unsigned, 64 bits.
    U64,
    /// Signed, 8 bits.
    I8,
    /// Signed, 16 bits.
    I16,
    /// Signed, 32 bits.
    I32,
    /// Signed, 64 bits.
    I64,
    /// IEEE 754 double.
    F64,
    /// That many bytes without a number in them.
    Bytes(u8),
}

impl Type {
    /// Bytes that it takes.
    #[must_use]
    pub const fn bytes(self) -> usize {
        match self {
            Self::U8 | Self::I8 => 1,
            Self::U16 | Self::I16 => 2,
            Self::U32 | Self::I32 => 4,
            Self::U64 | Self::I64 | Self::F64 => 8,
            Self::Bytes(bytes) => bytes as usize,
        }
    }

    /// Name in lists: `u64`, `bytes`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::U8 => "u8",
            Self::U16 => "u16",
            Self::U32 => "u32",
            Self::U64 => "u64",
            Self::I8 => "i8",
            Self::I16 => "i16",
            Self::I32 => "i32",
            Self::I64 => "i64",
            Self::F64 => "f64",
            Self::Bytes(_) => "bytes",
        }
    }
}

/// A Rust type that a field may have.
pub trait Scalar {
    /// Its name here.
    const TYPE: Type;
}

macro_rules! scalars {
    ($($rust:ty = $name:ident;)*) => { $(impl Scalar for $rust { const TYPE: Type = Type::$name; })* };
}

scalars! { u8 = U8; u16 = U16; u32 = U32; u64 = U64; i8 = I8; i16 = I16; i32 = I32; i64 = I64; f64 = F64; }

impl<T: Scalar, const N: usize> Scalar for [T; N] {
    const TYPE: Type = Type::Bytes((size_of::<T>() * N) as u8);
}

/// Type of the field that `_get` gives: lets [`schema_fields!`](crate::schema_fields) take it from the structure.
#[doc(hidden)]
#[must_use]
pub const fn type_of<P, T: Scalar>(_get: fn(&P) -> &T) -> Type {
    T::TYPE
}

/// Kind and version of a payload: lets a definition name its structure once.
#[doc(hidden)]
#[must_use]
pub const fn kind_of<P: Payload>() -> (crate::event::Kind, u8) {
    (P::KIND, P::VERSION)
}

/// Values that a field may have.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Bounds {
    /// All that its type has; of an `f64`, also infinities and NaN.
    Any,
    /// Only zero bytes: room for later versions.
    Zero,
    /// Unsigned, from and to.
    Unsigned(u64, u64),
    /// Signed, from and to.
    Signed(i64, i64),
    /// Double, from and to; never NaN.
    Float(f64, f64),
}

impl Bounds {
    /// Any double that is a number: no infinity, no NaN.
    pub const FINITE: Self = Self::Float(f64::MIN, f64::MAX);
}

/// One field of a layout.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Field {
    /// Name, as in the payload's structure.
    pub name: &'static str,
    /// Bytes before it in its part.
    pub offset: u16,
    /// Type.
    pub ty: Type,
    /// Unit, in words: `1e-9`, `ns`, `mantissa`; empty for plain numbers and codes.
    pub unit: &'static str,
    /// Values that it may have.
    pub bounds: Bounds,
}

impl Field {
    /// First byte behind it.
    #[must_use]
    pub const fn end(&self) -> usize {
        self.offset as usize + self.ty.bytes()
    }

    /// Lowest and highest value mapped so that their order is that of u64 (signed: 2^63 more), or `None` when the bounds do not suit the type or are the wrong way round.
    pub(super) fn range(&self) -> Option<(u64, u64)> {
        const SIGN: u64 = 1 << 63;
        let bits = self.ty.bytes() as u32 * 8;
        let (lowest, highest) = match self.ty {
            Type::U8 | Type::U16 | Type::U32 | Type::U64 => (0, u64::MAX >> (64 - bits)),
            Type::I8 | Type::I16 | Type::I32 | Type::I64 => (SIGN - (1 << (bits - 1)), SIGN + ((1 << (bits - 1)) - 1)),
            Type::F64 | Type::Bytes(_) => (0, u64::MAX),
        };
        let (from, to) = match (self.bounds, self.ty) {
            (Bounds::Any, _) => (lowest, highest),
            (Bounds::Zero, Type::F64) => (SIGN, SIGN),
            (Bounds::Zero, Type::I8 | Type::I16 | Type::I32 | Type::I64) => (SIGN, SIGN),
            (Bounds::Zero, _) => (0, 0),
            (Bounds::Unsigned(from, to), Type::U8 | Type::U16 | Type::U32 | Type::U64) => (from, to),
            (Bounds::Signed(from, to), Type::I8 | Type::I16 | Type::I32 | Type::I64) => {
                (from as u64 ^ SIGN, to as u64 ^ SIGN)
            }
            (Bounds::Float(from, to), Type::F64) if !from.is_nan() && !to.is_nan() => {
                // Minus zero is not below zero.
                let from = if from == 0.0 { -0.0 } else { from };
                let to = if to == 0.0 { 0.0 } else { to };
                (float_order(from.to_bits()), float_order(to.to_bits()))
            }
            _ => return None,
        };
        (lowest <= from && from <= to && to <= highest).then_some((from, to))
    }

    /// Whether zero bytes are a value in bounds.
    pub(super) fn allows_zero(&self) -> bool {
        let zero = Self { bounds: Bounds::Zero, ..*self }.range();
        matches!((self.range(), zero), (Some((from, to)), Some((zero, _))) if from <= zero && zero <= to)
    }

    /// Whether every value of the type is in bounds, so that there is nothing to check.
    pub(super) fn is_free(&self) -> bool {
        self.bounds == Bounds::Any || self.range() == Self { bounds: Bounds::Any, ..*self }.range()
    }
}

/// Turns a double's bits into a number of the same order (IEEE 754 totalOrder).
const fn float_order(bits: u64) -> u64 {
    if bits >> 63 == 1 { !bits } else { bits | 1 << 63 }
}

/// How a check reads its number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Read {
    Unsigned,
    Signed,
    Float,
}

/// One field's bounds as plain numbers: what is left of a schema on the hot path. Numbers are mapped so that the order of all
/// values of their type is that of u64.
#[derive(Clone, Copy, Debug)]
pub(super) struct Check {
    /// The lowest number.
    from: u64,
    /// The highest number less the lowest.
    span: u64,
    /// The number's bits, shifted down.
    mask: u64,
    /// Sign bit of a signed number, else 0: flipped, negative numbers come first.
    flip: u64,
    /// Words of 8 bytes before the one that the number lies in.
    pub(super) word: u8,
    /// Bits below the number in that word.
    shift: u8,
    read: Read,
    /// Index of the field among those of its layout.
    pub(super) field: u8,
}

impl Check {
    /// The checks of a field: none when nothing can be out of bounds, several when it is longer than a number.
    pub(super) fn of(field: &Field, index: u8) -> impl Iterator<Item = Self> {
        let (from, to) = field.range().expect("Invariant: bounds are checked when a layout is registered");
        let read = match field.ty {
            Type::I8 | Type::I16 | Type::I32 | Type::I64 => Read::Signed,
            Type::F64 => Read::Float,
            _ => Read::Unsigned,
        };
        let mut at = field.offset as usize;
        let end = if field.is_free() { at } else { field.end() };
        std::iter::from_fn(move || {
            let left = end - at;
            if left == 0 {
                return None;
            }
            // The largest of 8, 4, 2, 1 that is left and aligned: a number never lies across two words.
            let width = (1usize << left.min(8).ilog2()).min(1 << (at | 8).trailing_zeros());
            let mask = u64::MAX >> (64 - 8 * width as u32);
            let flip = if read == Read::Signed { mask ^ mask >> 1 } else { 0 };
            // A range is given for 64 bits; a narrow signed number has its own sign bit.
            let lift = if read == Read::Signed { (1 << 63) - flip } else { 0 };
            let (word, shift) = ((at / 8) as u8, (at % 8 * 8) as u8);
            at += width;
            Some(Self { from: from - lift, span: to - from, mask, flip, word, shift, read, field: index })
        })
    }

    /// The number in its word.
    #[inline]
    fn load(&self, word: u64) -> u64 {
        let raw = (word >> self.shift & self.mask) ^ self.flip;
        if self.read == Read::Float { float_order(raw) } else { raw }
    }

    /// Whether the number in its word is in bounds.
    #[inline]
    pub(super) fn holds(&self, word: u64) -> bool {
        self.load(word).wrapping_sub(self.from) <= self.span
    }

    /// The number in its word, the lowest and the highest that it may be, as they are shown.
    pub(super) fn shown(&self, word: u64) -> [Bits; 3] {
        [self.load(word), self.from, self.from + self.span].map(|number| match self.read {
            Read::Unsigned => Bits::Unsigned(number),
            Read::Signed => Bits::Signed(number.wrapping_sub(self.flip) as i64),
            Read::Float => Bits::Float(if number >> 63 == 1 { number & !(1 << 63) } else { !number }),
        })
    }
}

/// Fields of a plain structure, each with its offset and type as the compiler has them:
/// `schema_fields!(Trade: price "1e-9" = Bounds::Any, ...)`.
#[macro_export]
macro_rules! schema_fields {
    ($part:ty: $($name:ident $unit:literal = $bounds:expr),* $(,)?) => {
        &[$($crate::schema::Field {
            name: stringify!($name),
            offset: core::mem::offset_of!($part, $name) as u16,
            ty: $crate::schema::type_of(|part: &$part| &part.$name),
            unit: $unit,
            bounds: $bounds,
        }),*]
    };
}
