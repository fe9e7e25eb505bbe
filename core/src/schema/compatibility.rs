//! What two versions of a layout are to each other, field by field.

use super::{Bounds, Field, Layout, Tail};

/// What readers and events of two versions can do with each other, without an upgrade.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Compatibility {
    /// Each reads what the other writes.
    Full,
    /// The new version reads old events.
    Backward,
    /// The old version reads new events.
    Forward,
    /// Neither.
    None,
}

impl Compatibility {
    /// Name in JSON and tables.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Backward => "backward",
            Self::Forward => "forward",
            Self::None => "none",
        }
    }
}

/// One difference between two versions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Difference {
    /// The field; empty when it is of the whole layout.
    pub field: &'static str,
    /// What is different, as a sentence about the field or the layout.
    pub what: &'static str,
    /// The new version does not read every old event.
    pub breaks_backward: bool,
    /// The old version does not read every new event.
    pub breaks_forward: bool,
}

/// Compares two versions of a layout, gives every difference to `report`, and says what they add up to. O(fields^2), no allocation.
///
/// A version *reads* an event when the event is in its bounds and every field means the same: same name, place, type and unit.
/// Bytes that have to be zero ([`Bounds::Zero`]) are room for fields: a field that is put there, and may be zero, leaves old events
/// readable.
pub fn compatibility(old: &Layout, new: &Layout, mut report: impl FnMut(Difference)) -> Compatibility {
    let (mut backward, mut forward) = (true, true);
    let mut note = |field, what, breaks_backward: bool, breaks_forward: bool| {
        backward &= !breaks_backward;
        forward &= !breaks_forward;
        report(Difference { field, what, breaks_backward, breaks_forward });
    };
    if old.kind != new.kind {
        note("", "the layouts are of different kinds", true, true);
    }
    compare_part(old.head, new.head, &mut note);
    match (old.tail, new.tail) {
        (Tail::None, Tail::None) => {}
        (Tail::One(old), Tail::One(new)) | (Tail::Wide(old), Tail::Wide(new)) => compare_part(old, new, &mut note),
        (
            Tail::Repeated { count, element_bytes, fields },
            Tail::Repeated { count: new_count, element_bytes: new_bytes, fields: new },
        ) if count == new_count && element_bytes == new_bytes => compare_part(fields, new, &mut note),
        (Tail::None, Tail::Wide(_)) => note("", "there is a wide part now", false, true),
        (Tail::Wide(_), Tail::None) => note("", "the wide part is gone", true, false),
        _ => note("", "what follows the head is different", true, true),
    }
    match (backward, forward) {
        (true, true) => Compatibility::Full,
        (true, false) => Compatibility::Backward,
        (false, true) => Compatibility::Forward,
        (false, false) => Compatibility::None,
    }
}

/// Fields that mean something, of that name.
fn find<'a>(fields: &'a [Field], name: &str) -> Option<&'a Field> {
    fields.iter().find(|field| field.bounds != Bounds::Zero && field.name == name)
}

/// Whether every byte of `field` is a byte of `fields` that has to be zero.
fn is_in_reserve(field: &Field, fields: &[Field]) -> bool {
    let reserve = |byte: usize| {
        let covers = |other: &&Field| (usize::from(other.offset)..other.end()).contains(&byte);
        fields.iter().find(covers).is_some_and(|other| other.bounds == Bounds::Zero)
    };
    (usize::from(field.offset)..field.end()).all(reserve)
}

fn compare_part(
    old: &'static [Field],
    new: &'static [Field],
    note: &mut impl FnMut(&'static str, &'static str, bool, bool),
) {
    for before in old.iter().filter(|field| field.bounds != Bounds::Zero) {
        let Some(now) = find(new, before.name) else {
            if is_in_reserve(before, new) {
                note(before.name, "is gone, its bytes have to be zero", true, !before.allows_zero());
            } else {
                note(before.name, "is gone, others have its bytes", true, true);
            }
            continue;
        };
        if now.offset != before.offset {
            note(before.name, "has moved", true, true);
        }
        if now.ty != before.ty {
            note(before.name, "has another type", true, true);
            continue;
        }
        if now.unit != before.unit {
            note(before.name, "has another unit", true, true);
        }
        let ((from, to), (new_from, new_to)) = match (before.range(), now.range()) {
            (Some(before), Some(now)) => (before, now),
            _ => {
                note(before.name, "has bounds that are none of its type", true, true);
                continue;
            }
        };
        let (narrower, wider) = (new_from > from || new_to < to, new_from < from || new_to > to);
        match (narrower, wider) {
            (false, false) => {}
            (true, false) => note(before.name, "has narrower bounds", true, false),
            (false, true) => note(before.name, "has wider bounds", false, true),
            (true, true) => note(before.name, "has other bounds", true, true),
        }
    }
    for now in new.iter().filter(|field| field.bounds != Bounds::Zero && find(old, field.name).is_none()) {
        if is_in_reserve(now, old) {
            note(now.name, "is new, its bytes had to be zero", !now.allows_zero(), true);
        } else {
            note(now.name, "is new, others had its bytes", true, true);
        }
    }
}
