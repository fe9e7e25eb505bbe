//! Events for the tests of the ring: contents follow from a number, positions are those at which something wraps.
#![allow(dead_code)]

use tapeline_core::event::{Kind, KindVersion, Lane, Slot};
use tapeline_core::testing::Prng;

/// Positions at which something wraps: the tag, the position itself, nothing.
pub(crate) const STARTS: [u64; 6] =
    [0, u32::MAX as u64 - 70, u32::MAX as u64, u64::MAX - 70, u64::MAX, (7 << 32) + u32::MAX as u64 - 3];

/// An event of `span` slots, every byte of which depends on `id`. Its tags are garbage now and then: a ring must not
/// care.
pub(crate) fn event(id: u64, span: usize, prng: &mut Prng) -> Vec<Slot> {
    let mut words = Prng::new(id);
    let mut slots = Vec::with_capacity(span);
    for offset in 0..span {
        let mut slot = Slot::continuation(std::array::from_fn(|_| words.next_u64()));
        if offset == 0 {
            slot.kind = KindVersion::new(Kind::NEWS, (id % 16) as u8);
            slot.set_span(span);
            slot.set_lane(Lane::from_bits(id as u8));
            slot.seq = id;
        }
        if prng.one_in(8) {
            slot.tag = prng.next_u64() as u32;
        }
        slots.push(slot);
    }
    slots
}

pub(crate) fn untagged(slots: &[Slot]) -> Vec<Slot> {
    slots.iter().map(|slot| Slot { tag: 0, ..*slot }).collect()
}
