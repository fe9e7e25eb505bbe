//! Old events made new, one version after the other.

use super::{Layout, SchemaError, Schemas};
use crate::event::payload::Tick;
use crate::event::{EventBuf, EventRef, Flags, Kind, KindVersion, Slot, SpanTooLong};

/// Makes an event of a version from one of the version before.
///
/// It is given the old head, the old continuations (the cause of a derived event left out) and the new event with the old header and a
/// payload of zeros. It writes the payload ([`Slot::payload_mut`] of [`EventBuf::head_mut`]), pushes continuations, and may set the
/// scale and [`Flags::WIDE`]. Kind, version, identity, times and the other flags are put right behind it, and the cause is carried
/// over.
pub type Upgrade = fn(old: &Slot, tail: &[Slot], new: &mut EventBuf) -> Result<(), UpgradeRefused>;

/// An old event that cannot be made new, with the reason.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0}")]
pub struct UpgradeRefused(pub &'static str);

impl From<SpanTooLong> for UpgradeRefused {
    fn from(_: SpanTooLong) -> Self {
        Self("the new event is longer than a span")
    }
}

/// Why an event was not upgraded.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UpgradeError {
    /// The event itself is refused; also for a kind or version that is not known.
    #[error(transparent)]
    Old(SchemaError),
    /// The upgrade function refused it.
    #[error("an event of {name}.v{version} could not be made the next version: {reason}")]
    Refused {
        /// Name of the kind.
        name: &'static str,
        /// The version that it had then.
        version: u8,
        /// What the function says.
        reason: UpgradeRefused,
    },
    /// The upgrade function made an event that its own version refuses: a mistake in the function.
    #[error("the upgrade of {name}.v{version} made a bad event: {error}")]
    Bad {
        /// Name of the kind.
        name: &'static str,
        /// The version that it had then.
        version: u8,
        /// What is wrong with the new event.
        error: SchemaError,
    },
}

/// Room for an event while it is upgraded: two of the longest, 8 KiB. Make it once.
#[derive(Clone, Debug)]
pub struct UpgradeBuf {
    events: [EventBuf; 2],
}

impl Default for UpgradeBuf {
    fn default() -> Self {
        Self { events: [EventBuf::new(&Tick::default()), EventBuf::new(&Tick::default())] }
    }
}

impl Schemas {
    /// The event in the newest version of its kind: itself, or what the upgrades make of it, in `buf`. Every event on the way is
    /// validated, the first included. O(versions * slots), no allocation.
    ///
    /// # Errors
    /// [`UpgradeError`]; an unknown version is named with its number.
    pub fn upgrade<'a>(&self, event: EventRef<'a>, buf: &'a mut UpgradeBuf) -> Result<EventRef<'a>, UpgradeError> {
        self.validate(event).map_err(UpgradeError::Old)?;
        let kind = event.kind();
        let version = event.head().kind.version();
        let newest = self.newest(kind).unwrap_or(version);
        if version == newest {
            return Ok(event);
        }
        let [a, b] = &mut buf.events;
        let (mut from, mut to) = (a, b);
        self.step(kind, version, event, to)?;
        for version in version + 1..newest {
            std::mem::swap(&mut from, &mut to);
            self.step(kind, version, whole(from), to)?;
        }
        Ok(whole(to))
    }

    /// One version up.
    fn step(&self, kind: Kind, version: u8, old: EventRef<'_>, new: &mut EventBuf) -> Result<(), UpgradeError> {
        let layout = self.layout(kind, version + 1).expect("Invariant: versions have no gaps");
        let Layout { name, .. } = *layout;
        let upgrade = layout.upgrade.expect("Invariant: every version but the first has an upgrade");
        let (head, tail) = (old.head(), old.tail());
        let derived = usize::from(head.flags.contains(Flags::DERIVED));
        let (own, cause) = tail.split_at(tail.len() - derived);

        new.reset(&Tick::default());
        *new.head_mut() = Slot { kind: KindVersion::new(kind, version + 1), span_lane: 0, payload: [0; 3], ..*head };
        let refused = |reason| UpgradeError::Refused { name, version, reason };
        upgrade(head, own, new).map_err(refused)?;
        for slot in cause {
            new.push_words(*slot.continuation_words()).map_err(|error| refused(error.into()))?;
        }
        let slots = new.slots().len();
        let made = new.head_mut();
        let wide = Flags(made.flags.0 & Flags::WIDE.0);
        *made = Slot {
            tag: 0,
            kind: KindVersion::new(kind, version + 1),
            flags: head.flags.without(Flags::WIDE).with(wide),
            scale: made.scale,
            payload: made.payload,
            ..*head
        };
        made.set_span(slots);
        self.validate(whole(new)).map_err(|error| UpgradeError::Bad { name, version, error })
    }
}

fn whole(event: &EventBuf) -> EventRef<'_> {
    EventRef::first(event.slots()).expect("Invariant: an event under construction is whole")
}
