//! Registration: layouts are checked one by one, and compiled into the frozen table.

use super::field::Check;
use super::{Bounds, Field, Layout, Plain, Row, Schemas, Span, Tail, Type, Versions};
use crate::event::{Flags, Kind, KindVersion};
use crate::hash;
use crate::limits::{
    CONTINUATION_BYTES, PAYLOAD_BYTES, SCHEMA_FIELDS_MAX, SCHEMA_VERSIONS_MAX, SCHEMAS_MAX, SPAN_SLOTS_MAX,
};
use std::fmt::Write;

/// Why a layout was not registered. The builder is as it was.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegisterError {
    /// More layouts than [`SCHEMAS_MAX`].
    #[error("at most {SCHEMAS_MAX} layouts")]
    TooMany,
    /// The number of the kind is 0, or that of continuations, or beyond twelve bits.
    #[error("an event's kind is 1 to 4094, not {0}")]
    Kind(u16),
    /// A name that is no name.
    #[error("a kind's name is of lower-case letters, digits and underscores, not {0:?}")]
    Name(&'static str),
    /// The name is that of another kind, or the kind has another name.
    #[error("kind {kind} cannot be named {name:?}: one kind has one name")]
    OtherName {
        /// Number of the kind.
        kind: u16,
        /// The name.
        name: &'static str,
    },
    /// The version of the kind is registered.
    #[error("version {version} of {name} is registered already")]
    Duplicate {
        /// Name of the kind.
        name: &'static str,
        /// The version.
        version: u8,
    },
    /// Versions of a kind are registered one after the other, from 0.
    #[error("version {version} of {name} leaves a gap, {expected} comes next")]
    VersionGap {
        /// Name of the kind.
        name: &'static str,
        /// The version.
        version: u8,
        /// The version that comes next.
        expected: u8,
    },
    /// A version has four bits.
    #[error("version {version} of {name} is beyond 15")]
    Version {
        /// Name of the kind.
        name: &'static str,
        /// The version.
        version: u8,
    },
    /// A version above 0 has no way to be made from the one before.
    #[error("version {version} of {name} has no upgrade from the version before")]
    NoUpgrade {
        /// Name of the kind.
        name: &'static str,
        /// The version.
        version: u8,
    },
    /// Version 0 has an upgrade, and nothing that it could be made from.
    #[error("version 0 of {0} has no version before that it could be upgraded from")]
    UpgradeOfNothing(&'static str),
    /// More fields than [`SCHEMA_FIELDS_MAX`].
    #[error("a layout of {0} has at most {SCHEMA_FIELDS_MAX} fields")]
    TooManyFields(&'static str),
    /// Two fields of one name.
    #[error("{name} has two fields named {field}")]
    DuplicateField {
        /// Name of the kind.
        name: &'static str,
        /// Name of the fields.
        field: &'static str,
    },
    /// A field does not begin where the one before ends, or not at a multiple of its own size.
    #[error("field {field} of {name} begins at {offset}, it should begin at {expected}")]
    Place {
        /// Name of the kind.
        name: &'static str,
        /// Name of the field.
        field: &'static str,
        /// Where it begins.
        offset: u16,
        /// Where it should begin.
        expected: u16,
    },
    /// The fields do not fill their part.
    #[error("the fields of {name} take {have} bytes of a part of {need}")]
    Length {
        /// Name of the kind.
        name: &'static str,
        /// Bytes of the fields.
        have: usize,
        /// Bytes of the part.
        need: usize,
    },
    /// Bounds of another type, the wrong way round, or beyond what the type holds.
    #[error("the bounds of field {field} of {name} are none of its type")]
    Bounds {
        /// Name of the kind.
        name: &'static str,
        /// Name of the field.
        field: &'static str,
    },
    /// An element that is neither one byte without fields nor a multiple of 8 bytes.
    #[error("an element of {name} has 1 byte or a multiple of 8, not {bytes}")]
    Element {
        /// Name of the kind.
        name: &'static str,
        /// Bytes of an element.
        bytes: u16,
    },
    /// The field that counts elements is not there, not unsigned, or may count more than fit a span.
    #[error(
        "field {count} of {name} cannot count elements: it is an unsigned field of the head, and they fit 63 slots"
    )]
    Count {
        /// Name of the kind.
        name: &'static str,
        /// Name of the field.
        count: &'static str,
    },
}

/// Layouts that are being registered. [`Builder::freeze`] makes the table of them.
#[derive(Clone, Debug, Default)]
pub struct Builder {
    layouts: Vec<Layout>,
}

impl Builder {
    /// Registers a layout. Versions of a kind come in order, from 0.
    ///
    /// # Errors
    /// [`RegisterError`]; the builder is as it was.
    pub fn register(&mut self, layout: Layout) -> Result<&mut Self, RegisterError> {
        if self.layouts.len() == SCHEMAS_MAX {
            return Err(RegisterError::TooMany);
        }
        self.check_name(&layout)?;
        self.check_version(&layout)?;
        check_fields(&layout)?;
        self.layouts.push(layout);
        Ok(self)
    }

    fn check_name(&self, layout: &Layout) -> Result<(), RegisterError> {
        let (kind, name) = (layout.kind.0, layout.name);
        if kind == 0 || kind >= Kind::CONTINUATION.0 {
            return Err(RegisterError::Kind(kind));
        }
        let is_name = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        if name.is_empty() || !name.bytes().all(is_name) {
            return Err(RegisterError::Name(name));
        }
        if self.layouts.iter().any(|other| (other.kind == layout.kind) != (other.name == name)) {
            return Err(RegisterError::OtherName { kind, name });
        }
        Ok(())
    }

    fn check_version(&self, layout: &Layout) -> Result<(), RegisterError> {
        let Layout { name, version, .. } = *layout;
        if usize::from(version) >= SCHEMA_VERSIONS_MAX {
            return Err(RegisterError::Version { name, version });
        }
        let expected = self.layouts.iter().filter(|other| other.kind == layout.kind).count() as u8;
        if version < expected {
            return Err(RegisterError::Duplicate { name, version });
        }
        if version > expected {
            return Err(RegisterError::VersionGap { name, version, expected });
        }
        match (version, layout.upgrade) {
            (0, Some(_)) => Err(RegisterError::UpgradeOfNothing(name)),
            (1.., None) => Err(RegisterError::NoUpgrade { name, version }),
            _ => Ok(()),
        }
    }

    /// Every layout of the engine's own kinds, after what was registered before.
    ///
    /// # Panics
    /// When one of those kinds or names has been registered by another.
    #[must_use]
    pub fn with_builtin(mut self) -> Self {
        for layout in super::builtin::LAYOUTS {
            if let Err(error) = self.register(*layout) {
                panic!("the engine's own layouts come before others of their kinds and names: {error}");
            }
        }
        self
    }

    /// The table of all that was registered. It cannot be changed.
    #[must_use]
    pub fn freeze(self) -> Schemas {
        let mut layouts = self.layouts;
        layouts.sort_by_key(|layout| (layout.kind, layout.version));
        let kinds = layouts.last().map_or(0, |layout| usize::from(layout.kind.0) + 1);
        let mut kinds = vec![Versions::default(); kinds];
        let mut rows = Vec::with_capacity(layouts.len());
        let mut checks = Vec::new();
        for (index, layout) in layouts.iter().enumerate() {
            let versions = &mut kinds[usize::from(layout.kind.0)];
            if versions.count == 0 {
                versions.first = index as u16;
            }
            versions.count += 1;
            let mut compile = |fields: &[Field], first: usize| {
                let start = checks.len() as u32;
                for (index, field) in fields.iter().enumerate() {
                    checks.extend(Check::of(field, (first + index) as u8));
                }
                (start, checks.len() as u32)
            };
            let head = compile(layout.head, 0);
            let tail = compile(layout.tail_fields(), layout.head.len());
            let (single, long_flags) = match layout.tail {
                Tail::None => (true, Flags::DERIVED),
                Tail::Wide(_) => (true, Flags::DERIVED.with(Flags::WIDE)),
                Tail::One(_) | Tail::Repeated { .. } => (false, Flags::NONE),
            };
            rows.push(Row { span: span_of(layout), single, long_flags: long_flags.0, head, tail });
        }
        let newest = |kind: usize| {
            let Versions { first, count } = kinds[kind];
            let index = usize::from(first + count).checked_sub(1).filter(|_| count > 0)?;
            Some(Plain::of(KindVersion::new(layouts[index].kind, layouts[index].version), &rows[index]))
        };
        let plain = (0..kinds.len()).map(|kind| newest(kind).unwrap_or(Plain::NEVER)).collect();
        let layout_hash = hash::stable(describe(&layouts).as_bytes());
        Schemas {
            plain,
            kinds: kinds.into(),
            rows: rows.into(),
            checks: checks.into(),
            layouts: layouts.into(),
            layout_hash,
        }
    }
}

fn span_of(layout: &Layout) -> Span {
    match layout.tail {
        Tail::None => Span::None,
        Tail::One(_) => Span::One,
        Tail::Wide(_) => Span::Wide,
        Tail::Repeated { count, element_bytes, .. } => {
            let field = layout.head.iter().find(|field| field.name == count);
            let field = field.expect("Invariant: registration has found the field that counts");
            let (word, shift) = ((field.offset / 8) as u8, (field.offset % 8 * 8) as u8);
            Span::Repeated { word, shift, mask: u64::MAX >> (64 - 8 * field.ty.bytes()), element_bytes }
        }
    }
}

fn check_fields(layout: &Layout) -> Result<(), RegisterError> {
    let name = layout.name;
    if layout.fields().count() > SCHEMA_FIELDS_MAX {
        return Err(RegisterError::TooManyFields(name));
    }
    check_part(name, layout.head, PAYLOAD_BYTES)?;
    match layout.tail {
        Tail::None => Ok(()),
        Tail::One(fields) | Tail::Wide(fields) => check_part(name, fields, CONTINUATION_BYTES),
        Tail::Repeated { count, element_bytes, fields } => {
            let is_text = element_bytes == 1 && fields.is_empty();
            if !is_text && (element_bytes == 0 || !element_bytes.is_multiple_of(8)) {
                return Err(RegisterError::Element { name, bytes: element_bytes });
            }
            if !is_text {
                check_part(name, fields, usize::from(element_bytes))?;
            }
            let field = layout.head.iter().find(|field| field.name == count);
            let most = field.filter(|field| matches!(field.ty, Type::U8 | Type::U16 | Type::U32 | Type::U64));
            let most = most.and_then(|field| field.range()).map(|(_, to)| to);
            let room = ((SPAN_SLOTS_MAX - 1) * CONTINUATION_BYTES) as u64 / u64::from(element_bytes);
            if most.is_none_or(|most| most > room) {
                return Err(RegisterError::Count { name, count });
            }
            Ok(())
        }
    }
}

/// Checks that every byte of a part belongs to one field, and that the bounds are those of the types.
fn check_part(name: &'static str, fields: &'static [Field], bytes: usize) -> Result<(), RegisterError> {
    let mut end = 0usize;
    for (index, field) in fields.iter().enumerate() {
        if fields[..index].iter().any(|other| other.name == field.name) {
            return Err(RegisterError::DuplicateField { name, field: field.name });
        }
        let own = if let Type::Bytes(_) = field.ty { 1 } else { field.ty.bytes() };
        let expected = end.next_multiple_of(own);
        if usize::from(field.offset) != end || end != expected {
            let (field, offset) = (field.name, field.offset);
            return Err(RegisterError::Place { name, field, offset, expected: expected as u16 });
        }
        end = field.end();
        if field.range().is_none() {
            return Err(RegisterError::Bounds { name, field: field.name });
        }
    }
    if end != bytes {
        return Err(RegisterError::Length { name, have: end, need: bytes });
    }
    Ok(())
}

/// The text that the hash of the layouts is of. A change of it changes every hash.
fn describe(layouts: &[Layout]) -> String {
    let mut text = String::from("tapeline layouts 1\n");
    let mut line = |layout: std::fmt::Arguments<'_>| text.write_fmt(layout).expect("a String takes any text");
    for layout in layouts {
        line(format_args!("{} {} v{}\n", layout.kind.0, layout.name, layout.version));
        match layout.tail {
            Tail::None => {}
            Tail::One(_) => line(format_args!(" one\n")),
            Tail::Wide(_) => line(format_args!(" wide\n")),
            Tail::Repeated { count, element_bytes, .. } => line(format_args!(" {element_bytes} * {count}\n")),
        }
        for Field { name, offset, ty, unit, bounds } in layout.fields() {
            line(format_args!("  {offset} {} {} {name} [{unit}] ", ty.name(), ty.bytes()));
            match bounds {
                Bounds::Any => line(format_args!("any\n")),
                Bounds::Zero => line(format_args!("zero\n")),
                Bounds::Unsigned(from, to) => line(format_args!("{from}..={to}\n")),
                Bounds::Signed(from, to) => line(format_args!("{from}..={to}\n")),
                // Bits: how a double is printed is not part of a format.
                Bounds::Float(from, to) => line(format_args!("{:x}..={:x}\n", from.to_bits(), to.to_bits())),
            }
        }
    }
    text
}
