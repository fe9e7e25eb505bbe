//! The schema table: for every kind and version its layout, bounds and upgrade, frozen when the engine starts.
//!
//! Promises:
//! - **Compiled once.** [`Builder::freeze`] turns layouts into flat arrays; there is no way to change them afterwards. To validate an
//!   event is two lookups, its number of slots, and a comparison for each field that has bounds at all. Nothing is
//!   compiled, loaded or allocated for an event.
//! - **Every fault has a name.** An unknown version is refused with its number, a field out of bounds with its name, a span with
//!   the slots that it should have.
//! - **Old events are read.** Versions of a kind have no gaps, and each but the first knows how to be made from the one before:
//!   [`Schemas::upgrade`] goes up the chain.
//! - **Listed.** Names, types, offsets, units and bounds of all fields ([`Layout`]), a hash over all of them for headers
//!   ([`Schemas::layout_hash`]), and what two versions are to each other ([`compatibility`]).
//!
//! What it does not do: it knows nothing of symbols and sources, and does not look at a [`Cause`](crate::event::payload::Cause)
//! (the engine's own last slot of a derived event) except that it is there.
//!
//! ```
//! use tapeline_core::event::payload::{BookLevel, Trade};
//! use tapeline_core::event::{EventBuf, EventRef, Kind, KindVersion};
//! use tapeline_core::schema::{SchemaError, Schemas};
//!
//! let schemas = Schemas::builtin();
//! let mut event = EventBuf::new(&BookLevel { price: 1, action: 3, ..BookLevel::default() });
//! let error = schemas.validate(EventRef::first(event.slots()).unwrap()).unwrap_err();
//! assert_eq!(error.to_string(), "field action of book_level.v0 is 3, it may be 0 to 2");
//!
//! let mut event = EventBuf::new(&Trade { price: 1, size: 2, ..Trade::default() });
//! assert_eq!(schemas.validate(EventRef::first(event.slots()).unwrap()), Ok(()));
//! event.head_mut().kind = KindVersion::new(Kind::TRADE, 4);
//! let error = schemas.validate(EventRef::first(event.slots()).unwrap()).unwrap_err();
//! assert_eq!(error, SchemaError::UnknownVersion { name: "trade", version: 4, newest: 0 });
//! ```

mod build;
mod builtin;
mod compatibility;
mod field;
mod upgrade;

pub use build::{Builder, RegisterError};
pub use compatibility::{Compatibility, Difference, compatibility};
pub use field::{Bounds, Field, Scalar, Type};
#[doc(hidden)]
pub use field::{kind_of, type_of};
pub use upgrade::{Upgrade, UpgradeBuf, UpgradeError, UpgradeRefused};

use crate::event::payload::Payload;
use crate::event::{EventRef, Flags, Kind, KindVersion, Slot};
use crate::ledger::Refusal;
use crate::limits::{CONTINUATION_BYTES, SPAN_SLOTS_MAX, TIME_NS_MAX};
use crate::units::SCALE_MAX;
use field::Check;

/// What follows an event's head, its cause apart.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Tail {
    /// Nothing.
    None,
    /// One continuation with these fields.
    One(&'static [Field]),
    /// One continuation with these fields if the event carries [`Flags::WIDE`], else nothing.
    Wide(&'static [Field]),
    /// Elements one after the other, the last continuation filled up with zeros.
    Repeated {
        /// Unsigned field of the head that counts them; its bounds keep them within a span.
        count: &'static str,
        /// Bytes of one element: 1 (a text), or a multiple of 8 of which an element begins at each multiple.
        element_bytes: u16,
        /// Fields of one element; none for a text.
        fields: &'static [Field],
    },
}

/// A layout to register, and how registered ones are listed.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    /// The kind.
    pub kind: Kind,
    /// Name of the kind: letters, digits and underscores.
    pub name: &'static str,
    /// Version of the layout, 0 to 15.
    pub version: u8,
    /// Fields of the head's payload: each of its 24 bytes belongs to one, in rising order.
    pub head: &'static [Field],
    /// What follows.
    pub tail: Tail,
    /// Makes an event of this version from one of the version before: `None` for version 0, and only there.
    pub upgrade: Option<Upgrade>,
}

impl Layout {
    /// A layout for the kind and version of `P`.
    #[must_use]
    pub const fn of<P: Payload>(name: &'static str, head: &'static [Field], tail: Tail) -> Self {
        let (kind, version) = kind_of::<P>();
        Self { kind, name, version, head, tail, upgrade: None }
    }

    /// The same layout, made from the version before by `upgrade`.
    #[must_use]
    pub const fn upgraded_by(self, upgrade: Upgrade) -> Self {
        Self { upgrade: Some(upgrade), ..self }
    }

    /// Fields of the continuations.
    #[must_use]
    pub const fn tail_fields(&self) -> &'static [Field] {
        match self.tail {
            Tail::None => &[],
            Tail::One(fields) | Tail::Wide(fields) | Tail::Repeated { fields, .. } => fields,
        }
    }

    /// Every field: those of the head, then those of the continuations.
    pub fn fields(&self) -> impl Iterator<Item = &'static Field> + use<> {
        self.head.iter().chain(self.tail_fields())
    }
}

/// Why an event was refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SchemaError {
    /// No layout of that kind is registered.
    #[error("kind {0} is not known")]
    UnknownKind(u16),
    /// The kind is known, its version is not.
    #[error("version {version} of {name} is not known, the newest is {newest}")]
    UnknownVersion {
        /// Name of the kind.
        name: &'static str,
        /// The version of the event.
        version: u8,
        /// The newest version that is registered.
        newest: u8,
    },
    /// A field of the header, the head or a continuation is out of bounds.
    #[error("field {field} of {name}.v{version} is {value}, it may be {from} to {to}")]
    OutOfBounds {
        /// Name of the kind.
        name: &'static str,
        /// The version of the event.
        version: u8,
        /// Name of the field.
        field: &'static str,
        /// What it is.
        value: Bits,
        /// The lowest that it may be.
        from: Bits,
        /// The highest that it may be.
        to: Bits,
    },
    /// Continuations are missing or too many.
    #[error("an event of {name}.v{version} with this head has {need} slots, not {have}")]
    Span {
        /// Name of the kind.
        name: &'static str,
        /// The version of the event.
        version: u8,
        /// Slots that it has.
        have: u8,
        /// Slots that it should have.
        need: u8,
    },
}

impl SchemaError {
    /// The reason under which the ledger counts it.
    #[must_use]
    pub const fn refusal(&self) -> Refusal {
        match self {
            Self::UnknownKind(_) => Refusal::UnknownKind,
            Self::UnknownVersion { .. } => Refusal::UnknownVersion,
            Self::OutOfBounds { .. } => Refusal::OutOfRange,
            Self::Span { .. } => Refusal::BrokenSpan,
        }
    }
}

/// A number of a field with how to show it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Bits {
    /// Unsigned.
    Unsigned(u64),
    /// Signed.
    Signed(i64),
    /// A double's bits.
    Float(u64),
}

impl std::fmt::Display for Bits {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unsigned(value) => write!(f, "{value}"),
            Self::Signed(value) => write!(f, "{value}"),
            Self::Float(bits) => write!(f, "{}", f64::from_bits(*bits)),
        }
    }
}

/// How many slots follow the head of a version, its cause apart.
#[derive(Clone, Copy, Debug)]
enum Span {
    None,
    One,
    Wide,
    /// Elements counted by an unsigned field of the head: its word of 8 bytes, the bits below it there, its bits.
    Repeated {
        word: u8,
        shift: u8,
        mask: u64,
        element_bytes: u16,
    },
}

/// One version of one kind, compiled.
#[derive(Clone, Copy, Debug)]
struct Row {
    span: Span,
    /// One slot may be a whole event of this version...
    single: bool,
    /// ...if it carries none of these flags.
    long_flags: u8,
    /// Range of the head's checks, then of the continuations', in `checks`.
    head: (u32, u32),
    tail: (u32, u32),
}

/// What an event of one kind has to be so that [`Schemas::is_plain`] is all that is to be known of it.
#[derive(Clone, Copy, Debug, Default)]
struct Plain {
    /// Kind, version, span and flags as [`Slot::shape`] has them, where `mask` has ones. A kind without such events has a kind here that
    /// no event of it has.
    shape: u32,
    mask: u32,
    /// Range of the head's checks in `checks`.
    head: (u32, u32),
}

impl Plain {
    /// Bits of a shape that do not matter: the lane.
    const LANE: u32 = 0xc0 << 16;
    /// None of these.
    const NEVER: Self = Self { shape: 1, mask: 0, head: (0, 0) };

    /// Events of the version `kind` that are one slot, and of now.
    fn of(kind: KindVersion, row: &Row) -> Self {
        if !row.single {
            return Self::NEVER;
        }
        let flags = row.long_flags | Flags::HISTORICAL.0 | Flags::DERIVED.0;
        let mask = !Self::LANE & (0x00ff_ffff | u32::from(flags) << 24);
        Self { shape: u32::from(kind.0), mask, head: row.head }
    }
}

/// Words of 8 bytes in a continuation.
const CONTINUATION_WORDS: usize = CONTINUATION_BYTES / 8;

/// Versions of one kind: its rows in the table.
#[derive(Clone, Copy, Debug, Default)]
struct Versions {
    first: u16,
    count: u16,
}

/// The frozen table. Made by [`Builder::freeze`]; see the [module](self).
#[derive(Clone, Debug)]
pub struct Schemas {
    /// By number of the kind, up to the highest registered.
    kinds: Box<[Versions]>,
    /// By kind and version, as `layouts`.
    rows: Box<[Row]>,
    checks: Box<[Check]>,
    /// By number of the kind.
    plain: Box<[Plain]>,
    /// Every layout, by kind and version.
    layouts: Box<[Layout]>,
    layout_hash: u64,
}

impl Schemas {
    /// A table without layouts, to register them.
    #[must_use]
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// The table of all kinds that the engine itself has.
    #[must_use]
    pub fn builtin() -> Self {
        Self::builder().with_builtin().freeze()
    }

    /// Checks an event against the layout of its kind and version. O(fields with bounds), and for a kind whose elements have bounds
    /// O(elements); no allocation.
    ///
    /// # Errors
    /// The first fault in this order: kind, version, bounds of the header, bounds of the head, slots, bounds of the continuations.
    #[inline]
    pub fn validate(&self, event: EventRef<'_>) -> Result<(), SchemaError> {
        let head = event.head();
        let Some(index) = self.index(head.kind) else { return Err(self.unknown(head.kind)) };
        let row = &self.rows[index];
        if head.scale > SCALE_MAX || head.ts_recv.0 > TIME_NS_MAX {
            return Err(self.header_out_of_bounds(index, head));
        }
        for check in &self.checks[row.head.0 as usize..row.head.1 as usize] {
            let word = head.payload[usize::from(check.word)];
            if !check.holds(word) {
                return Err(self.out_of_bounds(index, check, word));
            }
        }
        // A single slot is the whole event for most kinds.
        if event.tail().is_empty() && row.single && head.flags.0 & row.long_flags == 0 {
            return Ok(());
        }
        self.validate_tail(index, event)
    }

    /// Whether this slot is a whole event of the newest version of its kind, neither derived nor from the past, which [`Schemas::validate`] would let pass,
    /// but for its time. Says no rather than look far: what is longer is for `validate`. O(fields with bounds).
    #[inline]
    pub(crate) fn is_plain(&self, head: &Slot) -> bool {
        let shape = head.shape();
        let Some(plain) = self.plain.get((shape & 0xfff) as usize) else { return false };
        shape & plain.mask == plain.shape
            && head.scale <= SCALE_MAX
            && self.checks[plain.head.0 as usize..plain.head.1 as usize]
                .iter()
                .all(|check| check.holds(head.payload[usize::from(check.word)]))
    }

    /// Slots and continuations, once the head is in bounds.
    #[inline(never)]
    fn validate_tail(&self, index: usize, event: EventRef<'_>) -> Result<(), SchemaError> {
        let (row, head, tail) = (&self.rows[index], event.head(), event.tail());
        let elements = row.span.elements(head);
        let own = row.span.slots(elements);
        let derived = usize::from(head.flags.contains(Flags::DERIVED));
        if tail.len() != own + derived {
            let Layout { name, version, .. } = self.layouts[index];
            let (have, need) = (tail.len() as u8 + 1, (own + derived) as u8 + 1);
            return Err(SchemaError::Span { name, version, have, need });
        }
        let checks = &self.checks[row.tail.0 as usize..row.tail.1 as usize];
        if checks.is_empty() {
            return Ok(());
        }
        for element in 0..elements {
            for check in checks {
                // Elements begin at words, and every number lies within one: registration has seen to that.
                let at = element * row.span.element_bytes() / 8 + usize::from(check.word);
                let word = tail[at / CONTINUATION_WORDS].continuation_words()[at % CONTINUATION_WORDS];
                if !check.holds(word) {
                    return Err(self.out_of_bounds(index, check, word));
                }
            }
        }
        Ok(())
    }

    /// Index of the layout of that kind and version.
    #[inline]
    fn index(&self, kind: KindVersion) -> Option<usize> {
        let versions = self.kinds.get(usize::from(kind.kind().0))?;
        let version = u16::from(kind.version());
        (version < versions.count).then(|| usize::from(versions.first + version))
    }

    #[cold]
    #[inline(never)]
    fn unknown(&self, kind: KindVersion) -> SchemaError {
        match (self.newest(kind.kind()), self.layout(kind.kind(), 0)) {
            (Some(newest), Some(layout)) => {
                SchemaError::UnknownVersion { name: layout.name, version: kind.version(), newest }
            }
            _ => SchemaError::UnknownKind(kind.kind().0),
        }
    }

    #[cold]
    #[inline(never)]
    fn header_out_of_bounds(&self, index: usize, head: &Slot) -> SchemaError {
        let Layout { name, version, .. } = self.layouts[index];
        let (field, value, to) = if head.scale > SCALE_MAX {
            ("scale", u64::from(head.scale), u64::from(SCALE_MAX))
        } else {
            ("ts_recv", head.ts_recv.0, TIME_NS_MAX)
        };
        let (value, from, to) = (Bits::Unsigned(value), Bits::Unsigned(0), Bits::Unsigned(to));
        SchemaError::OutOfBounds { name, version, field, value, from, to }
    }

    #[cold]
    #[inline(never)]
    fn out_of_bounds(&self, index: usize, check: &Check, word: u64) -> SchemaError {
        let layout = &self.layouts[index];
        let Layout { name, version, .. } = *layout;
        let field = layout.fields().nth(usize::from(check.field)).map_or("", |field| field.name);
        let [value, from, to] = check.shown(word);
        SchemaError::OutOfBounds { name, version, field, value, from, to }
    }

    /// The newest version of a kind; `None` when the kind is not known.
    #[inline]
    #[must_use]
    pub fn newest(&self, kind: Kind) -> Option<u8> {
        let versions = self.kinds.get(usize::from(kind.0)).filter(|versions| versions.count > 0)?;
        Some((versions.count - 1) as u8)
    }

    /// Whether the event of this head is of an older version than the newest of its kind: [`Schemas::upgrade`] has something to do.
    #[inline]
    #[must_use]
    pub fn is_old(&self, head: &Slot) -> bool {
        self.newest(head.kind()).is_some_and(|newest| head.kind.version() < newest)
    }

    /// The layout of a kind and version.
    #[must_use]
    pub fn layout(&self, kind: Kind, version: u8) -> Option<&Layout> {
        let versions = self.kinds.get(usize::from(kind.0)).filter(|versions| u16::from(version) < versions.count)?;
        self.layouts.get(usize::from(versions.first) + usize::from(version))
    }

    /// Every layout, by number of the kind and version.
    #[must_use]
    pub fn layouts(&self) -> &[Layout] {
        &self.layouts
    }

    /// Stable hash of all layouts: kinds, names, versions, fields with their places, types, units and bounds, what follows the
    /// heads. Equal on every machine; another order of registration gives the same.
    #[must_use]
    pub fn layout_hash(&self) -> u64 {
        self.layout_hash
    }

    /// Bytes held on the heap.
    #[must_use]
    pub fn bytes(&self) -> usize {
        size_of_val(&*self.kinds) + size_of_val(&*self.rows) + size_of_val(&*self.checks) + size_of_val(&*self.layouts)
    }
}

impl Span {
    /// Elements that follow `head`: parts that are checked field by field.
    #[inline]
    fn elements(self, head: &Slot) -> usize {
        match self {
            Self::None => 0,
            Self::One => 1,
            Self::Wide => usize::from(head.flags.contains(Flags::WIDE)),
            Self::Repeated { word, shift, mask, .. } => {
                (head.payload[usize::from(word)] >> shift) as usize & mask as usize
            }
        }
    }

    /// Bytes of one element.
    #[inline]
    fn element_bytes(self) -> usize {
        match self {
            Self::Repeated { element_bytes, .. } => usize::from(element_bytes),
            Self::None | Self::One | Self::Wide => CONTINUATION_BYTES,
        }
    }

    /// Continuations of so many elements. The bounds of the head keep them within a span.
    #[inline]
    fn slots(self, elements: usize) -> usize {
        debug_assert!(elements <= SPAN_SLOTS_MAX * CONTINUATION_BYTES, "Invariant: the head is in bounds");
        (elements * self.element_bytes()).div_ceil(CONTINUATION_BYTES)
    }
}
