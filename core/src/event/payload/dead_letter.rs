//! A dead letter as an event: why a handler gave up, and the whole event that it gave up on.
//!
//! ```text
//! head      ts_event, seq, symbol, part, source, scale, lane   those of the event
//!           ts_recv     the last failure                    flags   LAST, UNSEQUENCED
//!           payload     DeadLetter: what else the event's head had, and the length
//! slot 1    DeadLetterRest: the event's payload, and the record of its failures
//! slot 2..  the event's own continuations, those of a derived event's cause included
//! ```
//!
//! It is one slot longer than the event. It is UNSEQUENCED, because it shares its numbers with the event: next to it on a
//! tape, it would be a duplicate. It is not derived, so that it stands for itself on any tape.

use super::{EventBuf, EventRef, Flags, Kind, KindVersion, Slot, Tick};
use crate::event::SpanTooLong;
use crate::limits::CONTINUATION_BYTES;
use crate::units::UnixNanos;
use bytemuck::{Pod, Zeroable};

/// [`DeadLetterRest::cause`] of a letter that is not parked.
pub const DEAD_CAUSE_NONE: u8 = u8::MAX;

/// The head of an exported dead letter; [`DeadLetterRest`] and the event's continuations follow.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Pod, Zeroable)]
pub struct DeadLetter {
    /// `ts_recv` of the event, ns since the UNIX epoch.
    pub event_ts_recv: u64,
    /// First failure, ns since the UNIX epoch.
    pub first_failure_ns: u64,
    /// Bytes that follow: 56, and 56 for each continuation of the event.
    pub tail_bytes: u32,
    /// Kind and version of the event: see [`KindVersion`].
    pub event_kind: u16,
    /// Flags of the event.
    pub event_flags: u8,
    /// Always 0.
    pub reserved: u8,
}

/// The first continuation of a [`DeadLetter`].
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Pod, Zeroable)]
pub struct DeadLetterRest {
    /// The 24 bytes of the event's own kind.
    pub event_payload: [u64; 3],
    /// Stable hash of the name of the handler that gave up.
    pub handler: u64,
    /// Place in the order of last failures of its shard.
    pub order: u64,
    /// Failures in all, those before a redrive included.
    pub failures: u32,
    /// Code of the last failure: see [`crate::dead::ERROR_PANIC`].
    pub error: u16,
    /// Failures since it was made or last redriven.
    pub attempts: u16,
    /// Why it is parked: the number of a [`crate::dead::Cause`], or [`DEAD_CAUSE_NONE`].
    pub cause: u8,
    /// How often it was redriven.
    pub redrives: u8,
    /// Number of its retry policy.
    pub policy: u8,
    /// Always 0.
    pub reserved: [u8; 5],
}

impl DeadLetter {
    /// Packs `event` with the record of its failures into `into`. `rest.event_payload` is filled in. O(length).
    ///
    /// # Errors
    /// [`SpanTooLong`] for an event of 64 slots: there is no room for its record. `into` is undefined then.
    pub fn pack(
        event: EventRef<'_>,
        first_failure: UnixNanos,
        last_failure: UnixNanos,
        rest: &DeadLetterRest,
        into: &mut EventBuf,
    ) -> Result<(), SpanTooLong> {
        let head = event.head();
        into.reset(&Self {
            event_ts_recv: head.ts_recv.0,
            first_failure_ns: first_failure.0,
            tail_bytes: (event.slots().len() * CONTINUATION_BYTES) as u32,
            event_kind: head.kind.0,
            event_flags: head.flags.0,
            reserved: 0,
        });
        let letter = into.head_mut();
        *letter = Slot {
            tag: 0,
            kind: letter.kind,
            payload: letter.payload,
            flags: Flags::LAST.with(Flags::UNSEQUENCED),
            ts_recv: last_failure,
            ..*head
        };
        letter.set_span(1);
        into.push_value(&DeadLetterRest { event_payload: head.payload, ..*rest })?;
        event.tail().iter().try_for_each(|slot| into.push_words(*slot.continuation_words()))
    }

    /// The event that a dead letter holds, as it was, into `into`; `false`, and `into` undefined, when `letter` is none or parts of it
    /// are missing. O(length).
    pub fn unpack(letter: EventRef<'_>, into: &mut EventBuf) -> bool {
        let (Some(record), Some(rest)) = (letter.get::<Self>(), DeadLetterRest::of(letter)) else { return false };
        if record.tail_bytes as usize != letter.tail().len() * CONTINUATION_BYTES {
            return false;
        }
        into.reset(&Tick::default());
        let head = into.head_mut();
        *head = Slot {
            tag: 0,
            kind: KindVersion(record.event_kind),
            flags: Flags(record.event_flags),
            ts_recv: UnixNanos(record.event_ts_recv),
            payload: rest.event_payload,
            ..*letter.head()
        };
        head.set_span(1);
        letter.tail()[1..].iter().all(|slot| into.push_words(*slot.continuation_words()).is_ok())
    }
}

impl DeadLetterRest {
    /// The record of `event`, if it is a dead letter with one.
    #[inline]
    #[must_use]
    pub fn of(event: EventRef<'_>) -> Option<&Self> {
        let slot = (event.kind() == Kind::DEAD_LETTER).then(|| event.tail().first()).flatten()?;
        Some(bytemuck::must_cast_ref(slot.continuation_words()))
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Cause, News};
    use super::*;
    use crate::event::Lane;
    use crate::limits::SPAN_SLOTS_MAX;
    use crate::units::{SourceId, SymbolId};

    fn news(text_bytes: usize) -> EventBuf {
        let mut event = EventBuf::new(&News { id: 7, text_bytes: text_bytes as u32, ..News::default() });
        let head = event.head_mut();
        (head.ts_recv, head.ts_event, head.seq) = (UnixNanos(11), UnixNanos(10), 12);
        (head.symbol, head.part, head.source, head.scale) = (SymbolId(3), 4, SourceId(5), 2);
        head.set_lane(Lane::High);
        event.push_bytes(&vec![0xcd; text_bytes]).unwrap();
        event.push_value(&Cause { index: 9, ..Cause::default() }).unwrap();
        event.flag(Flags::DERIVED.with(Flags::LAST));
        event
    }

    #[test]
    fn an_event_comes_back_from_its_dead_letter_as_it_was() {
        let rest = DeadLetterRest { handler: 1, failures: 3, attempts: 2, error: 77, ..DeadLetterRest::default() };
        let (mut letter, mut back) = (EventBuf::new(&Tick::default()), EventBuf::new(&Tick::default()));
        for slots in 1..SPAN_SLOTS_MAX - 2 {
            let event = news(slots * CONTINUATION_BYTES - 1);
            let whole = EventRef::first(event.slots()).unwrap();
            DeadLetter::pack(whole, UnixNanos(20), UnixNanos(30), &rest, &mut letter).unwrap();
            let packed = EventRef::first(letter.slots()).unwrap();
            assert_eq!(packed.slots().len(), event.slots().len() + 1);
            let head = packed.head();
            assert_eq!(
                (head.kind(), head.ts_recv, head.identity()),
                (Kind::DEAD_LETTER, UnixNanos(30), whole.head().identity())
            );
            assert!(head.flags.contains(Flags::UNSEQUENCED) && Cause::of(packed).is_none());
            let record = DeadLetterRest::of(packed).unwrap();
            assert_eq!((record.error, record.failures, record.handler), (77, 3, 1));
            assert!(DeadLetter::unpack(packed, &mut back));
            assert_eq!(back.slots(), event.slots());
        }
        let longest = news((SPAN_SLOTS_MAX - 2) * CONTINUATION_BYTES);
        assert_eq!(longest.slots().len(), SPAN_SLOTS_MAX);
        let longest = EventRef::first(longest.slots()).unwrap();
        let refused = DeadLetter::pack(longest, UnixNanos(20), UnixNanos(30), &rest, &mut letter);
        assert_eq!(refused, Err(SpanTooLong(SPAN_SLOTS_MAX + 1)));
    }

    #[test]
    fn a_letter_with_parts_missing_gives_nothing() {
        let (mut letter, mut back) = (EventBuf::new(&Tick::default()), EventBuf::new(&Tick::default()));
        assert!(!DeadLetter::unpack(EventRef::first(letter.slots()).unwrap(), &mut back), "a tick is none");
        let event = news(100);
        let event = EventRef::first(event.slots()).unwrap();
        DeadLetter::pack(event, UnixNanos(1), UnixNanos(2), &DeadLetterRest::default(), &mut letter).unwrap();
        let mut cut = letter.slots()[..letter.slots().len() - 1].to_vec();
        let span = cut.len();
        cut[0].set_span(span);
        assert!(!DeadLetter::unpack(EventRef::first(&cut).unwrap(), &mut back));
    }

    /// Golden bytes, as those of market data: a change here is a change of the format.
    #[test]
    fn golden_bytes() {
        fn hex(value: &impl Pod) -> String {
            bytemuck::bytes_of(value).iter().map(|byte| format!("{byte:02x}")).collect()
        }
        let letter = DeadLetter {
            event_ts_recv: 1,
            first_failure_ns: 2,
            tail_bytes: 3,
            event_kind: 4,
            event_flags: 5,
            reserved: 0,
        };
        assert_eq!(hex(&letter), "010000000000000002000000000000000300000004000500");
        let rest = DeadLetterRest {
            event_payload: [1, 2, 3],
            handler: 4,
            order: 5,
            failures: 6,
            error: 7,
            attempts: 8,
            cause: 9,
            redrives: 10,
            policy: 11,
            reserved: [0; 5],
        };
        let words = ["01", "02", "03", "04", "05"].map(|byte| format!("{byte}00000000000000"));
        assert_eq!(hex(&rest), format!("{}0600000007000800090a0b0000000000", words.concat()));
    }
}
