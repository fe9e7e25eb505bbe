//! A structure as a section of plain bytes, and back: the header that all snapshots share, and its checks.
//!
//! ```text
//!  0 name 16 bytes       ASCII, zero-filled
//! 16 version u32         20 element u32: bytes of one element
//! 24 layout u64          stable hash of the text that describes the body, with the element's size
//! 32 capacity u64        40 count u64: elements in use
//! 48 body u64            bytes that follow the header
//! 56 check u64           stable hash of bytes 0..56 and the stable hash of the body
//! 64 body
//! ```
//! All numbers are little-endian. A snapshot is a list of sections, one after the other: [`Section::split_first`] walks it.
//!
//! What a structure writes into the body is its own business. Equal structures give equal bytes. A structure is
//! rebuilt in three steps, so that no bytes whatever make a bad one: [`Section::parse`] proves that the bytes are as they were
//! written, [`Section::expect`] that they are of a structure of this kind and capacity, and the structure's own check that what they
//! say can be: every link, list and position.

use crate::hash;
use crate::invariant::Broken;
use bytemuck::Pod;

/// Bytes of a section before its body.
pub const HEADER_BYTES: usize = 64;
const NAME_BYTES: usize = 16;
/// Where the check stands in the header.
const CHECK_AT: usize = 56;

/// What a section is of: the part of its header that does not change while a structure lives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Shape {
    /// Name of the structure: 1 to 16 bytes of ASCII.
    pub name: &'static str,
    /// Version of the body's format. A change of meaning that `layout` does not show needs another one.
    pub version: u32,
    /// Bytes of one element.
    pub element: u32,
    /// Describes the body: fields in order, with their types.
    pub layout: &'static str,
    /// Elements that the structure has room for.
    pub capacity: u64,
}

impl Shape {
    fn name_bytes(&self) -> [u8; NAME_BYTES] {
        let mut name = [0; NAME_BYTES];
        name[..self.name.len()].copy_from_slice(self.name.as_bytes());
        name
    }

    fn layout_hash(&self) -> u64 {
        let mut words = [0; 16];
        words[..8].copy_from_slice(&hash::stable(self.layout.as_bytes()).to_le_bytes());
        words[8..].copy_from_slice(&u64::from(self.element).to_le_bytes());
        hash::stable(&words)
    }
}

/// Why a snapshot was refused. Nothing of it was used.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RestoreError {
    /// Fewer bytes than the header and what it announces, or more than the structure has.
    #[error("the section has {have} bytes, it should have {need}")]
    Length {
        /// Bytes given.
        have: usize,
        /// Bytes that there should be.
        need: usize,
    },
    /// The check of the header and the body does not match.
    #[error("the section is damaged: its check does not match")]
    Damaged,
    /// The section is of another structure.
    #[error("this is no snapshot of a {expected}")]
    OtherSection {
        /// What was asked for.
        expected: &'static str,
    },
    /// Another version of the format.
    #[error("the snapshot of the {name} has version {snapshot}, this build reads version {here}")]
    OtherVersion {
        /// Name of the structure.
        name: &'static str,
        /// Version in the snapshot.
        snapshot: u32,
        /// Version of this build.
        here: u32,
    },
    /// Elements of another size.
    #[error("elements of the snapshot of the {name} have {snapshot} bytes, here they have {here}")]
    OtherElement {
        /// Name of the structure.
        name: &'static str,
        /// Bytes of an element in the snapshot.
        snapshot: u32,
        /// Bytes of an element here.
        here: u32,
    },
    /// Fields in another order or of other types.
    #[error("the snapshot of the {name} has another layout of the same version")]
    OtherLayout {
        /// Name of the structure.
        name: &'static str,
    },
    /// A structure of another capacity.
    #[error("the snapshot is of a {name} for {snapshot}, this one is for {here}")]
    OtherCapacity {
        /// Name of the structure.
        name: &'static str,
        /// Capacity in the snapshot.
        snapshot: u64,
        /// Capacity that was asked for.
        here: u64,
    },
    /// A structure with another setting: its tick, its window, its seed.
    #[error("the snapshot is of a {name} with {setting} {snapshot}, this one has {here}")]
    OtherSetting {
        /// Name of the structure.
        name: &'static str,
        /// Name of the setting.
        setting: &'static str,
        /// Its value in the snapshot.
        snapshot: u64,
        /// Its value here.
        here: u64,
    },
    /// The check matches, and a rule of the structure does not hold.
    #[error("the snapshot of the {name} breaks a rule: {broken}")]
    Invalid {
        /// Name of the structure.
        name: &'static str,
        /// The rule and where.
        broken: Broken,
    },
}

/// Writes the body of a section.
#[derive(Debug)]
pub struct Writer<'a>(&'a mut Vec<u8>);

impl Writer<'_> {
    /// Appends a number.
    #[inline]
    pub fn u64(&mut self, value: u64) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    /// Appends a number.
    #[inline]
    pub fn u32(&mut self, value: u32) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    /// Appends plain values as they stand in memory.
    #[inline]
    pub fn slice<T: Pod>(&mut self, values: &[T]) {
        self.0.extend_from_slice(bytemuck::cast_slice(values));
    }
}

/// Appends a section to `out`: the header, `body_bytes` bytes that `fill` writes, and the check.
///
/// Allocates only if `out` has less room than [`HEADER_BYTES`] and `body_bytes`.
///
/// # Panics
/// When the name is empty or longer than 16 bytes, or `fill` writes another number of bytes: mistakes of the structure.
pub fn write(out: &mut Vec<u8>, shape: &Shape, count: u64, body_bytes: usize, fill: impl FnOnce(&mut Writer<'_>)) {
    assert!(!shape.name.is_empty() && shape.name.len() <= NAME_BYTES, "a section's name has 1 to 16 bytes");
    let start = out.len();
    out.reserve(HEADER_BYTES + body_bytes);
    out.extend_from_slice(&shape.name_bytes());
    let mut header = Writer(out);
    header.u32(shape.version);
    header.u32(shape.element);
    for number in [shape.layout_hash(), shape.capacity, count, body_bytes as u64, 0] {
        header.u64(number);
    }
    fill(&mut Writer(out));
    let section = &mut out[start..];
    assert_eq!(section.len(), HEADER_BYTES + body_bytes, "the section of a {} has the bytes announced", shape.name);
    seal(section);
}

/// Writes the check of a section anew. For tests, which damage what only a structure's own rules can find.
///
/// # Panics
/// When there are fewer than [`HEADER_BYTES`] bytes.
pub fn seal(section: &mut [u8]) {
    let (header, body) = section.split_at_mut(HEADER_BYTES);
    let check = check_of(header, body);
    header[CHECK_AT..].copy_from_slice(&check.to_le_bytes());
}

fn check_of(header: &[u8], body: &[u8]) -> u64 {
    let mut checked = [0; CHECK_AT + 8];
    checked[..CHECK_AT].copy_from_slice(&header[..CHECK_AT]);
    checked[CHECK_AT..].copy_from_slice(&hash::stable(body).to_le_bytes());
    hash::stable(&checked)
}

/// A section whose length and check are right.
#[derive(Clone, Copy, Debug)]
pub struct Section<'a> {
    header: &'a [u8; HEADER_BYTES],
    body: &'a [u8],
}

impl<'a> Section<'a> {
    /// The one section that `bytes` are.
    ///
    /// # Errors
    /// [`RestoreError::Length`] and [`RestoreError::Damaged`].
    pub fn parse(bytes: &'a [u8]) -> Result<Self, RestoreError> {
        let (section, rest) = Self::split_first(bytes)?;
        if !rest.is_empty() {
            return Err(RestoreError::Length { have: bytes.len(), need: bytes.len() - rest.len() });
        }
        Ok(section)
    }

    /// The first section of a list, and the bytes behind it.
    ///
    /// # Errors
    /// [`RestoreError::Length`] and [`RestoreError::Damaged`].
    pub fn split_first(bytes: &'a [u8]) -> Result<(Self, &'a [u8]), RestoreError> {
        let Some((header, rest)) = bytes.split_first_chunk::<HEADER_BYTES>() else {
            return Err(RestoreError::Length { have: bytes.len(), need: HEADER_BYTES });
        };
        let announced = usize::try_from(number_at(header, 48)).unwrap_or(usize::MAX);
        let Some((body, rest)) = rest.split_at_checked(announced) else {
            return Err(RestoreError::Length { have: bytes.len(), need: announced.saturating_add(HEADER_BYTES) });
        };
        if number_at(header, CHECK_AT) != check_of(header, body) {
            return Err(RestoreError::Damaged);
        }
        Ok((Self { header, body }, rest))
    }

    /// Name of the structure, without the zeros behind it.
    #[must_use]
    pub fn name(&self) -> &'a [u8] {
        let name = &self.header[..NAME_BYTES];
        &name[..name.iter().position(|byte| *byte == 0).unwrap_or(NAME_BYTES)]
    }

    /// Elements in use. Not proven by anything but the check.
    #[must_use]
    pub fn count(&self) -> u64 {
        number_at(self.header, 40)
    }

    /// Elements that the structure had room for.
    #[must_use]
    pub fn capacity(&self) -> u64 {
        number_at(self.header, 32)
    }

    /// The body, once the header says what the caller expects.
    ///
    /// # Errors
    /// The first difference: name, version, element size, layout, capacity.
    pub fn expect(&self, shape: &Shape) -> Result<Reader<'a>, RestoreError> {
        let name = shape.name;
        if self.header[..NAME_BYTES] != shape.name_bytes() {
            return Err(RestoreError::OtherSection { expected: name });
        }
        let version = number_at(self.header, 16) as u32;
        if version != shape.version {
            return Err(RestoreError::OtherVersion { name, snapshot: version, here: shape.version });
        }
        let element = (number_at(self.header, 16) >> 32) as u32;
        if element != shape.element {
            return Err(RestoreError::OtherElement { name, snapshot: element, here: shape.element });
        }
        if number_at(self.header, 24) != shape.layout_hash() {
            return Err(RestoreError::OtherLayout { name });
        }
        if self.capacity() != shape.capacity {
            return Err(RestoreError::OtherCapacity { name, snapshot: self.capacity(), here: shape.capacity });
        }
        Ok(Reader { name, all: self.body.len(), rest: self.body })
    }
}

fn number_at(header: &[u8; HEADER_BYTES], at: usize) -> u64 {
    bytemuck::pod_read_unaligned(&header[at..at + 8])
}

/// Takes values off the front of a body. Every read says when there is too little.
#[derive(Debug)]
pub struct Reader<'a> {
    name: &'static str,
    all: usize,
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// The next `bytes` bytes.
    ///
    /// # Errors
    /// [`RestoreError::Length`] when there are fewer.
    pub fn bytes(&mut self, bytes: usize) -> Result<&'a [u8], RestoreError> {
        let Some((taken, rest)) = self.rest.split_at_checked(bytes) else {
            let used = self.all - self.rest.len();
            let need = HEADER_BYTES.saturating_add(used).saturating_add(bytes);
            return Err(RestoreError::Length { have: HEADER_BYTES + self.all, need });
        };
        self.rest = rest;
        Ok(taken)
    }

    /// The next number.
    ///
    /// # Errors
    /// [`RestoreError::Length`] when fewer than 8 bytes are left.
    pub fn u64(&mut self) -> Result<u64, RestoreError> {
        Ok(bytemuck::pod_read_unaligned(self.bytes(8)?))
    }

    /// The next number.
    ///
    /// # Errors
    /// [`RestoreError::Length`] when fewer than 4 bytes are left.
    pub fn u32(&mut self) -> Result<u32, RestoreError> {
        Ok(bytemuck::pod_read_unaligned(self.bytes(4)?))
    }

    /// Fills `values` with what [`Writer::slice`] wrote.
    ///
    /// # Errors
    /// [`RestoreError::Length`] when there is less.
    pub fn fill<T: Pod>(&mut self, values: &mut [T]) -> Result<(), RestoreError> {
        let bytes = self.bytes(size_of_val(values))?;
        bytemuck::cast_slice_mut(values).copy_from_slice(bytes);
        Ok(())
    }

    /// The next number, which has to be the caller's own setting.
    ///
    /// # Errors
    /// [`RestoreError::OtherSetting`] when it is not, [`RestoreError::Length`] when there is none.
    pub fn setting(&mut self, setting: &'static str, here: u64) -> Result<(), RestoreError> {
        let snapshot = self.u64()?;
        if snapshot != here {
            return Err(RestoreError::OtherSetting { name: self.name, setting, snapshot, here });
        }
        Ok(())
    }

    /// Ends the reading.
    ///
    /// # Errors
    /// [`RestoreError::Length`] when bytes are left.
    pub fn finish(self) -> Result<(), RestoreError> {
        if self.rest.is_empty() {
            return Ok(());
        }
        let have = HEADER_BYTES + self.all;
        Err(RestoreError::Length { have, need: have - self.rest.len() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: Shape = Shape { name: "pair of numbers", version: 3, element: 8, layout: "u64 u64", capacity: 2 };

    fn section() -> Vec<u8> {
        let mut out = Vec::new();
        write(&mut out, &SHAPE, 2, 16, |writer| {
            writer.u64(7);
            writer.slice(&[8_u32, 9]);
        });
        out
    }

    #[test]
    fn what_was_written_is_read() {
        let bytes = section();
        let section = Section::parse(&bytes).unwrap();
        assert_eq!((section.name(), section.count(), section.capacity()), (&b"pair of numbers"[..], 2, 2));
        let mut reader = section.expect(&SHAPE).unwrap();
        let mut words = [0_u32; 2];
        assert_eq!(reader.u64(), Ok(7));
        reader.fill(&mut words).unwrap();
        assert_eq!(words, [8, 9]);
        reader.finish().unwrap();
    }

    #[test]
    fn golden_header() {
        let bytes = section();
        assert_eq!(&bytes[..16], b"pair of numbers\0");
        assert_eq!(&bytes[16..24], [3, 0, 0, 0, 8, 0, 0, 0]);
        assert_eq!(&bytes[32..56], [2, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 16, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(bytes.len(), HEADER_BYTES + 16);
    }

    #[test]
    fn a_list_of_sections_is_walked_and_a_single_one_has_nothing_behind_it() {
        let mut bytes = section();
        bytes.extend(section());
        let (_, rest) = Section::split_first(&bytes).unwrap();
        assert!(Section::parse(rest).is_ok());
        assert_eq!(Section::parse(&bytes).unwrap_err(), RestoreError::Length { have: 160, need: 80 });
    }

    #[test]
    fn every_cut_and_every_flipped_bit_is_refused() {
        let mut bytes = section();
        for length in 0..bytes.len() {
            assert!(Section::parse(&bytes[..length]).is_err(), "cut to {length}");
        }
        for bit in 0..bytes.len() * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(Section::parse(&bytes).is_err(), "bit {bit}");
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
    }

    #[test]
    fn the_first_difference_is_named() {
        let bytes = section();
        let section = Section::parse(&bytes).unwrap();
        let refused = |shape: Shape| section.expect(&shape).unwrap_err();
        let name = SHAPE.name;
        assert_eq!(refused(Shape { name: "pair", ..SHAPE }), RestoreError::OtherSection { expected: "pair" });
        let error = refused(Shape { version: 4, ..SHAPE });
        assert_eq!(error, RestoreError::OtherVersion { name, snapshot: 3, here: 4 });
        let error = refused(Shape { element: 4, ..SHAPE });
        assert_eq!(error, RestoreError::OtherElement { name, snapshot: 8, here: 4 });
        assert_eq!(refused(Shape { layout: "u64 u32", ..SHAPE }), RestoreError::OtherLayout { name });
        let error = refused(Shape { capacity: 5, ..SHAPE });
        assert_eq!(error, RestoreError::OtherCapacity { name, snapshot: 2, here: 5 });
        assert_eq!(error.to_string(), "the snapshot is of a pair of numbers for 2, this one is for 5");
    }

    #[test]
    fn settings_and_ends_are_checked() {
        let bytes = section();
        let section = Section::parse(&bytes).unwrap();
        let mut reader = section.expect(&SHAPE).unwrap();
        let error = reader.setting("a seed of", 6).unwrap_err();
        assert_eq!(error.to_string(), "the snapshot is of a pair of numbers with a seed of 7, this one has 6");
        assert_eq!(reader.bytes(9).unwrap_err(), RestoreError::Length { have: 80, need: 81 });
        assert_eq!(reader.finish().unwrap_err(), RestoreError::Length { have: 80, need: 72 });
    }

    #[test]
    #[should_panic(expected = "has the bytes announced")]
    fn a_structure_that_writes_another_number_of_bytes_is_a_mistake() {
        write(&mut Vec::new(), &SHAPE, 0, 9, |writer| writer.u64(1));
    }
}
