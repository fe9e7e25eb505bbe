//! Layouts as a file: the schema table in JSON, read back and compared with another.
//!
//! `tapeline schema list --format json` writes it, `tapeline schema check OLD NEW` reads two of them. A file of an earlier build, kept with
//! the tapes that it wrote, tells whether this build still reads them.

use serde::{Deserialize, Serialize};
use tapeline_core::event::Kind;
use tapeline_core::schema::{Bounds, Compatibility, Field, Layout, Schemas, Tail, Type, compatibility};

/// The schema table of one build.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct LayoutFile {
    /// [`Schemas::layout_hash`], 16 hex digits; empty for a part of a table.
    pub layout_hash: String,
    /// By number of the kind and version.
    pub layouts: Vec<LayoutText>,
}

/// One version of one kind.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct LayoutText {
    /// Number of the kind.
    pub number: u16,
    /// Name of the kind.
    pub kind: String,
    /// Version, from 0.
    pub version: u8,
    /// Fields of the head's 24 bytes.
    pub head: Vec<FieldText>,
    /// What follows: `none`, `one` continuation, `wide` = one if the event says so, `repeated` elements.
    pub tail: String,
    /// Field of the head that counts the elements; `null` unless repeated.
    pub count: Option<String>,
    /// Bytes of one element; `null` unless repeated.
    pub element_bytes: Option<u16>,
    /// Fields of what follows, or of one element.
    pub tail_fields: Vec<FieldText>,
}

/// One field.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct FieldText {
    /// Name.
    pub name: String,
    /// Bytes before it in its part.
    pub offset: u16,
    /// `u8` to `u64`, `i8` to `i64`, `f64`, `bytes`.
    #[serde(rename = "type")]
    pub ty: String,
    /// Bytes that it takes.
    pub bytes: u16,
    /// Unit in words; empty for plain numbers and codes.
    pub unit: String,
    /// Lowest value, as text; `null` = the type's own, or the field has to be zero.
    pub from: Option<String>,
    /// Highest value, as text.
    pub to: Option<String>,
    /// Whether it has to be zero: room for later versions.
    pub reserved: bool,
}

/// Why a file is no file of layouts.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LayoutError {
    /// It is no JSON, or other names are in it.
    #[error("this is no file of `schema list --format json`: {0}")]
    Json(#[from] serde_json::Error),
    /// A word or number that no layout has.
    #[error("{kind} version {version}: {what}")]
    Layout {
        /// Name of the kind.
        kind: String,
        /// Version.
        version: u8,
        /// What is wrong.
        what: String,
    },
}

impl From<&Schemas> for LayoutFile {
    fn from(schemas: &Schemas) -> Self {
        Self {
            layout_hash: format!("{:016x}", schemas.layout_hash()),
            layouts: schemas.layouts().iter().map(LayoutText::from).collect(),
        }
    }
}

impl From<&Layout> for LayoutText {
    fn from(layout: &Layout) -> Self {
        let (tail, count, element_bytes) = match layout.tail {
            Tail::None => ("none", None, None),
            Tail::One(_) => ("one", None, None),
            Tail::Wide(_) => ("wide", None, None),
            Tail::Repeated { count, element_bytes, .. } => ("repeated", Some(count.to_owned()), Some(element_bytes)),
        };
        let fields = |fields: &[Field]| fields.iter().map(FieldText::from).collect();
        Self {
            number: layout.kind.0,
            kind: layout.name.to_owned(),
            version: layout.version,
            head: fields(layout.head),
            tail: tail.to_owned(),
            count,
            element_bytes,
            tail_fields: fields(layout.tail_fields()),
        }
    }
}

impl From<&Field> for FieldText {
    fn from(field: &Field) -> Self {
        let (from, to) = match field.bounds {
            Bounds::Any | Bounds::Zero => (None, None),
            Bounds::Unsigned(from, to) => (Some(from.to_string()), Some(to.to_string())),
            Bounds::Signed(from, to) => (Some(from.to_string()), Some(to.to_string())),
            Bounds::Float(from, to) => (Some(from.to_string()), Some(to.to_string())),
        };
        Self {
            name: field.name.to_owned(),
            offset: field.offset,
            ty: field.ty.name().to_owned(),
            bytes: field.ty.bytes() as u16,
            unit: field.unit.to_owned(),
            from,
            to,
            reserved: field.bounds == Bounds::Zero,
        }
    }
}

impl FieldText {
    fn field(&self) -> Option<Field> {
        let ty = match self.ty.as_str() {
            "u8" => Type::U8,
            "u16" => Type::U16,
            "u32" => Type::U32,
            "u64" => Type::U64,
            "i8" => Type::I8,
            "i16" => Type::I16,
            "i32" => Type::I32,
            "i64" => Type::I64,
            "f64" => Type::F64,
            "bytes" => Type::Bytes(u8::try_from(self.bytes).ok()?),
            _ => return None,
        };
        let bounds = match (&self.from, &self.to) {
            (None, None) if self.reserved => Bounds::Zero,
            (None, None) => Bounds::Any,
            (Some(from), Some(to)) => match ty {
                Type::I8 | Type::I16 | Type::I32 | Type::I64 => Bounds::Signed(from.parse().ok()?, to.parse().ok()?),
                Type::F64 => Bounds::Float(from.parse().ok()?, to.parse().ok()?),
                _ => Bounds::Unsigned(from.parse().ok()?, to.parse().ok()?),
            },
            _ => return None,
        };
        let (name, unit) = (leak(&self.name), leak(&self.unit));
        Some(Field { name, offset: self.offset, ty, unit, bounds })
    }
}

impl LayoutText {
    /// The layout that this text stands for. Its names live as long as the program: a comparison reads two files, once.
    fn layout(&self) -> Result<Layout, LayoutError> {
        let fail = |what: String| LayoutError::Layout { kind: self.kind.clone(), version: self.version, what };
        let fields = |texts: &[FieldText]| -> Result<&'static [Field], LayoutError> {
            let fields = texts.iter().map(|text| {
                text.field().ok_or_else(|| fail(format!("field {}: type, length or bounds are none", text.name)))
            });
            Ok(Vec::leak(fields.collect::<Result<_, _>>()?))
        };
        let tail = match (self.tail.as_str(), &self.count, self.element_bytes) {
            ("none", ..) => Tail::None,
            ("one", ..) => Tail::One(fields(&self.tail_fields)?),
            ("wide", ..) => Tail::Wide(fields(&self.tail_fields)?),
            ("repeated", Some(count), Some(element_bytes)) => {
                Tail::Repeated { count: leak(count), element_bytes, fields: fields(&self.tail_fields)? }
            }
            (other, ..) => return Err(fail(format!("what follows the head cannot be {other:?}"))),
        };
        Ok(Layout {
            kind: Kind(self.number),
            name: leak(&self.kind),
            version: self.version,
            head: fields(&self.head)?,
            tail,
            upgrade: None,
        })
    }
}

fn leak(text: &str) -> &'static str {
    String::leak(text.to_owned())
}

impl LayoutFile {
    /// Reads a file.
    ///
    /// # Errors
    /// When it is no file of layouts.
    pub fn read(json: &str) -> Result<Self, LayoutError> {
        let file: Self = serde_json::from_str(json)?;
        // What cannot be compared is told here, with its name.
        file.layouts.iter().try_for_each(|text| text.layout().map(drop))?;
        Ok(file)
    }

    /// The part of the table that is of one kind, and one version where that is given.
    #[must_use]
    pub fn only(&self, kind: &str, version: Option<u8>) -> Self {
        let is_it =
            |layout: &&LayoutText| layout.kind == kind && version.is_none_or(|version| version == layout.version);
        Self { layout_hash: String::new(), layouts: self.layouts.iter().filter(is_it).cloned().collect() }
    }
}

/// A change from one table to another.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Change {
    /// Name of the kind.
    pub kind: String,
    /// Version in the old table; `null` = it is new.
    pub old_version: Option<u8>,
    /// Version in the new table; `null` = it is gone.
    pub new_version: Option<u8>,
    /// Field; empty for the layout as a whole.
    pub field: String,
    /// What is different, as a sentence about it.
    pub what: String,
    /// The new build does not read every event of the old one.
    pub breaks_backward: bool,
    /// The old build does not read every event of the new one.
    pub breaks_forward: bool,
}

/// What two tables are to each other.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Comparison {
    /// `full`, `backward` (new reads old), `forward` (old reads new) or `none`.
    pub compatibility: &'static str,
    /// Layouts that both have.
    pub compared: usize,
    /// Every difference.
    pub changes: Vec<Change>,
}

impl Comparison {
    /// Whether the new build reads every event of the old one.
    #[must_use]
    pub fn is_backward(&self) -> bool {
        self.changes.iter().all(|change| !change.breaks_backward)
    }

    /// Whether the old build reads every event of the new one.
    #[must_use]
    pub fn is_forward(&self) -> bool {
        self.changes.iter().all(|change| !change.breaks_forward)
    }
}

/// Compares two tables: a version of a kind with the same version of it. A version that only the new table has is forward-breaking (the
/// old build refuses it by its number); one that only the old table has is backward-breaking. Where each side has one layout, these two are
/// compared whatever their versions: how a new version is tried before it is added.
///
/// # Errors
/// When a text stands for no layout.
pub fn compare(old: &LayoutFile, new: &LayoutFile) -> Result<Comparison, LayoutError> {
    let (mut changes, mut compared) = (Vec::new(), 0);
    let mut pair = |before: &LayoutText, after: &LayoutText| -> Result<(), LayoutError> {
        compared += 1;
        compatibility(&before.layout()?, &after.layout()?, |difference| {
            changes.push(Change {
                kind: after.kind.clone(),
                old_version: Some(before.version),
                new_version: Some(after.version),
                field: difference.field.to_owned(),
                what: difference.what.to_owned(),
                breaks_backward: difference.breaks_backward,
                breaks_forward: difference.breaks_forward,
            });
        });
        Ok(())
    };
    if let ([before], [after]) = (&old.layouts[..], &new.layouts[..]) {
        pair(before, after)?;
        return Ok(told(changes, compared));
    }
    let same = |a: &LayoutText, b: &LayoutText| a.number == b.number && a.version == b.version;
    for before in &old.layouts {
        if let Some(after) = new.layouts.iter().find(|after| same(before, after)) {
            pair(before, after)?;
        }
    }
    let missing = |of: &LayoutText, versions: (Option<u8>, Option<u8>), what: &str| Change {
        kind: of.kind.clone(),
        old_version: versions.0,
        new_version: versions.1,
        field: String::new(),
        what: what.to_owned(),
        breaks_backward: versions.1.is_none(),
        breaks_forward: versions.0.is_none(),
    };
    let gone = old.layouts.iter().filter(|before| !new.layouts.iter().any(|after| same(before, after)));
    changes.extend(gone.map(|before| missing(before, (Some(before.version), None), "is gone")));
    let added = new.layouts.iter().filter(|after| !old.layouts.iter().any(|before| same(before, after)));
    changes.extend(added.map(|after| missing(after, (None, Some(after.version)), "is new")));
    Ok(told(changes, compared))
}

fn told(changes: Vec<Change>, compared: usize) -> Comparison {
    let comparison = Comparison { compatibility: "", compared, changes };
    let compatibility = match (comparison.is_backward(), comparison.is_forward()) {
        (true, true) => Compatibility::Full,
        (true, false) => Compatibility::Backward,
        (false, true) => Compatibility::Forward,
        (false, false) => Compatibility::None,
    };
    Comparison { compatibility: compatibility.name(), ..comparison }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn builtin() -> LayoutFile {
        LayoutFile::from(&Schemas::builtin())
    }

    fn field<'a>(file: &'a mut LayoutFile, kind: &str, name: &str) -> &'a mut FieldText {
        let layout = file.layouts.iter_mut().find(|layout| layout.kind == kind).expect("the kind is there");
        layout.head.iter_mut().find(|field| field.name == name).expect("the field is there")
    }

    #[test]
    fn a_table_comes_back_from_its_text_as_it_was() {
        let file = builtin();
        let json = serde_json::to_string(&file).unwrap();
        assert_eq!(LayoutFile::read(&json).unwrap(), file);
        for (text, layout) in file.layouts.iter().zip(Schemas::builtin().layouts()) {
            let back = text.layout().unwrap();
            assert_eq!((back.kind, back.name, back.version), (layout.kind, layout.name, layout.version));
            assert_eq!((back.head, back.tail), (layout.head, layout.tail), "{}", layout.name);
        }
        let same = compare(&file, &file).unwrap();
        assert_eq!((same.compatibility, same.changes.len()), ("full", 0));
        assert_eq!(same.compared, file.layouts.len());
    }

    #[test]
    fn req_3398_compatibility_of_two_versions_is_told_by_kind_field_and_direction() {
        // Wider bounds: the new build reads the old events, not the other way round.
        let (old, mut new) = (builtin(), builtin());
        field(&mut new, "book_level", "side").to = Some("9".to_owned());
        let wider = compare(&old, &new).unwrap();
        assert_eq!((wider.compatibility, wider.changes.len()), ("backward", 1));
        assert_eq!((wider.changes[0].kind.as_str(), wider.changes[0].field.as_str()), ("book_level", "side"));
        assert_eq!(compare(&new, &old).unwrap().compatibility, "forward");

        // A moved or retyped field is read by nobody.
        let mut moved = builtin();
        field(&mut moved, "trade", "price").ty = "u64".to_owned();
        assert_eq!(compare(&old, &moved).unwrap().compatibility, "none");

        // A kind that is gone, and one that is new.
        let mut fewer = builtin();
        fewer.layouts.retain(|layout| layout.kind != "news");
        let gone = compare(&old, &fewer).unwrap();
        assert_eq!((gone.compatibility, gone.changes[0].what.as_str()), ("forward", "is gone"));
        assert_eq!(compare(&fewer, &old).unwrap().compatibility, "backward");

        // One layout on each side: versions may differ.
        let mut next = old.only("trade", Some(0));
        next.layouts[0].version = 1;
        let tried = compare(&old.only("trade", None), &next).unwrap();
        assert_eq!((tried.compatibility, tried.compared), ("full", 1));
    }

    #[test]
    fn what_is_no_table_is_refused_with_what_is_wrong() {
        assert!(LayoutFile::read("{}").is_err() && LayoutFile::read("").is_err());
        let mut file = builtin();
        field(&mut file, "trade", "price").ty = "i128".to_owned();
        let error = LayoutFile::read(&serde_json::to_string(&file).unwrap()).unwrap_err();
        assert!(error.to_string().contains("trade version 0: field price"), "{error}");
    }
}
