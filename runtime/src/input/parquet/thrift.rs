//! Thrift's compact protocol, as far as Parquet's footer and page headers use it: reading, in place, nothing allocated.
//!
//! Source: *Thrift compact protocol encoding* (Apache Thrift, doc/specs/thrift-compact-protocol.md).
//! ```text
//! field   high nibble: field id minus the last one (0 = the id follows as a zigzag varint); low nibble: type; 0x00 ends a struct
//! list    high nibble: size (15 = it follows as a varint); low nibble: type of its elements
//! number  varint of 7 bits a byte, the lowest first; signed ones zigzag
//! bytes   length as a varint, then so many bytes
//! ```
//! Whatever the bytes say, a reader goes no further than they do, nests no deeper than [`DEPTH_MAX`] and ends: each step takes a byte.

/// Deepest nesting of structs, lists and maps that is skipped.
const DEPTH_MAX: usize = 32;

/// Where, and why, bytes are no thrift.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Malformed {
    /// Offset in the bytes that were read.
    pub(super) at: usize,
    pub(super) why: &'static str,
}

/// Type of a field or element.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Type {
    True,
    False,
    Byte,
    I16,
    I32,
    I64,
    Double,
    Binary,
    List,
    Set,
    Map,
    Struct,
}

/// A field's id and type.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Field {
    pub(super) id: i16,
    pub(super) kind: Type,
}

/// A place in bytes of the compact protocol.
#[derive(Clone, Debug)]
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    pub(super) const fn new(bytes: &'a [u8], at: usize) -> Self {
        Self { bytes, at }
    }

    /// Offset of the next byte.
    pub(super) const fn at(&self) -> usize {
        self.at
    }

    fn malformed(&self, why: &'static str) -> Malformed {
        Malformed { at: self.at.min(self.bytes.len()), why }
    }

    fn byte(&mut self) -> Result<u8, Malformed> {
        let byte = *self.bytes.get(self.at).ok_or_else(|| self.malformed("it is cut short"))?;
        self.at += 1;
        Ok(byte)
    }

    fn varint(&mut self) -> Result<u64, Malformed> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(self.malformed("a number is longer than 64 bits"))
    }

    /// A signed number of any width.
    pub(super) fn int(&mut self) -> Result<i64, Malformed> {
        let value = self.varint()?;
        Ok((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    /// A number that has to fit 32 bits.
    pub(super) fn int32(&mut self) -> Result<i32, Malformed> {
        let value = self.int()?;
        i32::try_from(value).map_err(|_| self.malformed("a number is longer than 32 bits"))
    }

    pub(super) fn binary(&mut self) -> Result<&'a [u8], Malformed> {
        let length = self.varint()?;
        let end = usize::try_from(length).ok().and_then(|length| self.at.checked_add(length));
        let text = end.and_then(|end| self.bytes.get(self.at..end));
        let text = text.ok_or_else(|| self.malformed("a text is longer than what is there"))?;
        self.at += text.len();
        Ok(text)
    }

    fn kind(&self, nibble: u8) -> Result<Type, Malformed> {
        Ok(match nibble {
            1 => Type::True,
            2 => Type::False,
            3 => Type::Byte,
            4 => Type::I16,
            5 => Type::I32,
            6 => Type::I64,
            7 => Type::Double,
            8 => Type::Binary,
            9 => Type::List,
            10 => Type::Set,
            11 => Type::Map,
            12 => Type::Struct,
            _ => return Err(self.malformed("a type that there is not")),
        })
    }

    /// The next field of a struct whose last field was `last`; `None` at its end.
    pub(super) fn field(&mut self, last: &mut i16) -> Result<Option<Field>, Malformed> {
        let byte = self.byte()?;
        if byte == 0 {
            return Ok(None);
        }
        let id = match i16::from(byte >> 4) {
            0 => i16::try_from(self.int()?).map_err(|_| self.malformed("a field id of more than 16 bits"))?,
            delta => last.checked_add(delta).ok_or_else(|| self.malformed("a field id of more than 16 bits"))?,
        };
        *last = id;
        Ok(Some(Field { id, kind: self.kind(byte & 0x0f)? }))
    }

    /// Size of a list, and the type of its elements. A list has no more elements than there are bytes left.
    pub(super) fn list(&mut self) -> Result<(usize, Type), Malformed> {
        let byte = self.byte()?;
        let size = match byte >> 4 {
            15 => self.varint()?,
            size => u64::from(size),
        };
        let left = (self.bytes.len() - self.at) as u64;
        if size > left {
            return Err(self.malformed("a list is longer than what is there"));
        }
        // Some writers have no type for the elements of a list that has none.
        let kind = if size == 0 { Type::Struct } else { self.kind(byte & 0x0f)? };
        Ok((size as usize, kind))
    }

    /// Calls `each` for every field of a struct, with the reader before its value; true says that it was read, else it is skipped.
    pub(super) fn structure(
        &mut self,
        mut each: impl FnMut(&mut Self, Field) -> Result<bool, Malformed>,
    ) -> Result<(), Malformed> {
        let mut last = 0;
        while let Some(field) = self.field(&mut last)? {
            if !each(self, field)? {
                self.skip(field.kind, 0)?;
            }
        }
        Ok(())
    }

    /// Skips the value of a field.
    pub(super) fn skip_value(&mut self, kind: Type) -> Result<(), Malformed> {
        self.skip(kind, 0)
    }

    fn skip(&mut self, kind: Type, depth: usize) -> Result<(), Malformed> {
        if depth == DEPTH_MAX {
            return Err(self.malformed("it is nested too deep"));
        }
        match kind {
            Type::True | Type::False => {}
            Type::Byte => drop(self.byte()?),
            Type::I16 | Type::I32 | Type::I64 => drop(self.varint()?),
            Type::Double => {
                if self.bytes.len() - self.at < 8 {
                    return Err(self.malformed("it is cut short"));
                }
                self.at += 8;
            }
            Type::Binary => drop(self.binary()?),
            Type::List | Type::Set => {
                let (size, kind) = self.list()?;
                for _ in 0..size {
                    self.skip_element(kind, depth + 1)?;
                }
            }
            Type::Map => {
                let size = self.varint()?;
                if size > 0 {
                    let kinds = self.byte()?;
                    let (key, value) = (self.kind(kinds >> 4)?, self.kind(kinds & 0x0f)?);
                    for _ in 0..size {
                        self.skip_element(key, depth + 1)?;
                        self.skip_element(value, depth + 1)?;
                    }
                }
            }
            Type::Struct => {
                let mut last = 0;
                while let Some(field) = self.field(&mut last)? {
                    self.skip(field.kind, depth + 1)?;
                }
            }
        }
        Ok(())
    }

    /// As a field, but for booleans, which take a byte in lists and maps.
    fn skip_element(&mut self, kind: Type, depth: usize) -> Result<(), Malformed> {
        if matches!(kind, Type::True | Type::False) {
            return self.byte().map(drop);
        }
        self.skip(kind, depth)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_texts_lists_and_structs() {
        // 1: i32 -3; 2: binary "ab"; 5: list<i64> [1, 300]; 6: true; end.
        let bytes = [0x15, 0x05, 0x18, 2, b'a', b'b', 0x39, 0x26, 0x02, 0xd8, 0x04, 0x11, 0];
        let (mut number, mut text, mut list, mut flag) = (0, &b""[..], Vec::new(), false);
        let mut reader = Reader::new(&bytes, 0);
        let all = reader.structure(|reader, field| {
            match (field.id, field.kind) {
                (1, Type::I32) => number = reader.int32()?,
                (2, Type::Binary) => text = reader.binary()?,
                (5, Type::List) => {
                    let (size, kind) = reader.list()?;
                    assert_eq!((size, kind), (2, Type::I64));
                    list = (0..size).map(|_| reader.int()).collect::<Result<_, _>>()?;
                }
                (6, Type::True) => flag = true,
                _ => return Ok(false),
            }
            Ok(true)
        });
        assert_eq!((all, number, text, list, flag, reader.at()), (Ok(()), -3, &b"ab"[..], vec![1, 300], true, 13));
        // Skipped as a whole, and cut at every byte.
        assert_eq!(Reader::new(&bytes, 0).skip_value(Type::Struct), Ok(()));
        for cut in 0..bytes.len() {
            let error = Reader::new(&bytes[..cut], 0).skip_value(Type::Struct).expect_err("it is cut");
            assert!(error.at <= cut, "{error:?} at {cut}");
        }
    }

    #[test]
    fn what_is_longer_than_the_bytes_is_refused() {
        let error = |bytes: &[u8], kind| Reader::new(bytes, 0).skip_value(kind).expect_err("it is no thrift").why;
        assert_eq!(error(&[0xf8, 0xff, 0xff, 0xff, 0x0f], Type::List), "a list is longer than what is there");
        assert_eq!(error(&[0xff, 0xff, 0xff, 0xff, 0x0f, 1], Type::Binary), "a text is longer than what is there");
        assert_eq!(error(&[0xff; 12], Type::I64), "a number is longer than 64 bits");
        assert_eq!(error(&[0x1c; 100], Type::Struct), "it is nested too deep");
        assert_eq!(error(&[0x1e, 0], Type::Struct), "a type that there is not");
        // A map of very many entries of nothing: each takes a byte, so that it ends.
        assert_eq!(error(&[0xff, 0xff, 0xff, 0xff, 0x0f, 0x11, 1, 1, 1], Type::Map), "it is cut short");
    }
}
