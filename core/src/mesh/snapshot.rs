//! The waiting room as a [section](crate::section) of plain bytes, and back.
//!
//! Name "mesh waiting", version 1; an element is a slot. The body: arrivals so far; the arrival of each event in the order of the heap;
//! their slots in the same order, one behind the other. All is written as long as the capacity, zeros behind the last. Where the slots of an
//! event stood is not part of it: keys and links follow from the events and are built anew.

use super::Pending;
use super::heap::Key;
use crate::event::{EventRef, Flags, Kind, Slot};
use crate::invariant::{COUNT_MAX, require};
use crate::limits::SPAN_SLOTS_MAX;
use crate::section::{self, HEADER_BYTES, RestoreError, Section, Shape};

const NAME: &str = "mesh waiting";
const LAYOUT: &str =
    "u64: arrivals; arrival u64 * capacity; slots of 64 bytes * capacity, events whole and in the order of the heap";

fn shape(capacity: usize) -> Shape {
    Shape { name: NAME, version: 1, element: size_of::<Slot>() as u32, layout: LAYOUT, capacity: capacity as u64 }
}

impl Pending {
    fn body_bytes(&self) -> usize {
        8 + self.capacity() * (8 + size_of::<Slot>())
    }

    /// Bytes of a [`Pending::snapshot`] of this waiting room: always the same, whatever waits.
    #[must_use]
    pub fn snapshot_bytes(&self) -> usize {
        HEADER_BYTES + self.body_bytes()
    }

    /// Appends the waiting room as a section of plain bytes. O(capacity). Allocates only if `out` has less room than
    /// [`Pending::snapshot_bytes`].
    pub fn snapshot(&self, out: &mut Vec<u8>) {
        section::write(out, &shape(self.capacity()), self.len as u64, self.body_bytes(), |body| {
            body.u64(self.arrivals);
            let keys = &self.keys[..self.len];
            for key in keys {
                body.u64(key.arrival);
            }
            for _ in keys.len()..self.capacity() {
                body.u64(0);
            }
            let mut event = [Slot::ZERO; SPAN_SLOTS_MAX];
            for key in keys {
                let (span, _) = self.gather(key.first, &mut event);
                body.slice(&event[..span]);
            }
            for _ in 0..self.free_slots {
                body.slice(&[Slot::ZERO]);
            }
        });
    }

    /// The waiting room that [`Pending::snapshot`] wrote, of a shard that knows `symbols` symbols: it goes on as that one would.
    /// Allocates as [`Pending::new`] does. O(capacity + n log n).
    ///
    /// # Errors
    /// [`RestoreError`] when `section` is no such snapshot, of another capacity, or breaks a rule: what waits is a whole derived event of a
    /// known kind, of a symbol that is there.
    ///
    /// # Panics
    /// As [`Pending::new`], for the capacity that the caller asks for.
    pub fn restore(capacity: usize, symbols: usize, section: &[u8]) -> Result<Self, RestoreError> {
        let invalid = |broken| RestoreError::Invalid { name: NAME, broken };
        let section = Section::parse(section)?;
        let mut reader = section.expect(&shape(capacity))?;
        let mut pending = Self::new(capacity);
        pending.arrivals = reader.u64()?;
        require(pending.arrivals <= COUNT_MAX, "a count has room to grow", 0).map_err(invalid)?;
        let mut arrivals = vec![0; capacity];
        reader.fill(&mut arrivals)?;
        let mut slots = vec![Slot::ZERO; capacity];
        reader.fill(&mut slots)?;
        reader.finish()?;
        let len = usize::try_from(section.count()).unwrap_or(usize::MAX);
        require(len <= capacity, "there is room for every event", section.count()).map_err(invalid)?;
        let mut rest = slots.as_slice();
        for (index, &arrival) in arrivals[..len].iter().enumerate() {
            let event = EventRef::first(rest).filter(|event| {
                let head = event.head();
                let is_derived = head.flags.contains(Flags::DERIVED) && !event.tail().is_empty();
                is_derived
                    && head.tag == 0
                    && Kind::ALL.contains(&head.kind())
                    && head.kind() != Kind::TICK
                    && head.symbol.index() < symbols
            });
            let stored = event.and_then(|event| Some((event, pending.store(event).ok()?)));
            let Some((event, first)) = stored else {
                return Err(invalid(crate::invariant::Broken {
                    rule: "what waits is a derived event",
                    at: index as u64,
                }));
            };
            pending.keys[index] = Key::of(event, arrival, first);
            pending.len += 1;
            rest = &rest[event.slots().len()..];
        }
        let is_empty =
            arrivals[len..].iter().all(|arrival| *arrival == 0) && rest.iter().all(|slot| *slot == Slot::ZERO);
        require(is_empty, "nothing is behind the last event", len).and_then(|()| pending.check()).map_err(invalid)?;
        Ok(pending)
    }
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;
    use crate::testing::{Prng, every_cut_and_flip_is_refused, for_seeds, sealed_damage};

    const SYMBOLS: usize = 5;

    fn step(pending: &mut Pending, prng: &mut Prng) -> Vec<Slot> {
        if prng.in_range(0..20) < 11 {
            let mut event = sample(prng.in_range(0..16), prng.in_range(0..3), 0, prng.index(5));
            event.head_mut().symbol.0 = prng.index(SYMBOLS) as u32;
            let _ = pending.insert(EventRef::first(event.slots()).unwrap());
            return Vec::new();
        }
        let mut out = [Slot::ZERO; SPAN_SLOTS_MAX];
        let span = pending.pop(&mut out);
        out[..span].to_vec()
    }

    fn lived(seed: u64, capacity: usize) -> Pending {
        let (mut pending, mut prng) = (Pending::new(capacity), Prng::new(seed));
        for _ in 0..200 {
            step(&mut pending, &mut prng);
        }
        pending
    }

    fn snapshot(pending: &Pending) -> Vec<u8> {
        let mut out = Vec::with_capacity(pending.snapshot_bytes());
        let room = out.as_ptr();
        pending.snapshot(&mut out);
        assert_eq!((out.len(), out.as_ptr()), (pending.snapshot_bytes(), room));
        out
    }

    #[test]
    fn a_restored_room_goes_on_as_the_first_would() {
        let mut waited = 0;
        for_seeds(0..60, |seed, prng| {
            let capacity = [64, 70, 400][seed as usize % 3];
            let mut first = lived(seed, capacity);
            let bytes = snapshot(&first);
            let mut second = Pending::restore(capacity, SYMBOLS, &bytes).unwrap();
            second.assert_invariants();
            assert_eq!(snapshot(&second), bytes);
            waited += first.len();
            let mut same = prng.clone();
            for _ in 0..300 {
                assert_eq!(step(&mut first, prng), step(&mut second, &mut same));
                assert_eq!((first.next_due(), first.len()), (second.next_due(), second.len()));
            }
            assert_eq!(snapshot(&first), snapshot(&second));
        });
        assert!(waited > 300, "{waited}");
    }

    #[test]
    fn others_are_refused_by_name() {
        let bytes = snapshot(&lived(1, 64));
        let refused = Pending::restore(65, SYMBOLS, &bytes).unwrap_err().to_string();
        assert_eq!(refused, "the snapshot is of a mesh waiting for 64, this one is for 65");
        let refused = Pending::restore(64, 1, &bytes).unwrap_err().to_string();
        assert!(refused.contains("what waits is a derived event"), "{refused}");
    }

    #[test]
    fn every_cut_and_every_flipped_bit_is_refused() {
        let pending = lived(3, 64);
        assert!(!pending.is_empty());
        every_cut_and_flip_is_refused(&snapshot(&pending), |bytes| Pending::restore(64, SYMBOLS, bytes).is_ok());
    }

    #[test]
    fn sealed_damage_is_found_by_validation_or_harmless() {
        let (mut refused, mut taken) = (0, 0);
        for seed in 0..8 {
            let bytes = snapshot(&lived(seed, 64));
            let of = sealed_damage(seed * 10..seed * 10 + 5, 200, &bytes, |bytes| {
                Pending::restore(64, SYMBOLS, bytes).is_ok_and(|mut pending| {
                    let mut prng = Prng::new(7);
                    for _ in 0..60 {
                        step(&mut pending, &mut prng);
                        pending.assert_invariants();
                    }
                    let mut out = [Slot::ZERO; SPAN_SLOTS_MAX];
                    while pending.pop(&mut out) > 0 {}
                    pending.assert_invariants();
                    true
                })
            });
            refused += of.0;
            taken += of.1;
        }
        assert!(refused > 2_000 && taken > 200, "{refused} {taken}");
    }
}
