//! Many events at once: claim and commit, push and pop of runs of whole events.

use super::storage::Dues;
use super::{Consumer, Full, Producer, event_slots};
use crate::event::Slot;
use crate::limits::BATCH_SLOTS;

impl Producer {
    /// Takes the next slots for an event and writes it there. The consumer sees it after [`Producer::commit`], together
    /// with all that is claimed until then. Claimed slots are occupied: whoever claims must commit. A later `push` or
    /// the drop of the producer commits too.
    ///
    /// O(slots): nothing that orders memory, but for one Acquire load when the slots that are known to be free are used
    /// up.
    ///
    /// ```
    /// use tapeline_core::event::Slot;
    ///
    /// let (mut producer, mut consumer) = tapeline_core::ring::channel(64);
    /// producer.claim(&[Slot::ZERO]).unwrap();
    /// producer.claim(&[Slot::ZERO]).unwrap();
    /// assert!(consumer.is_empty());
    /// producer.commit();
    /// assert_eq!(consumer.pop_batch(&mut [Slot::ZERO; 64], None), 2);
    /// ```
    ///
    /// # Errors
    /// [`Full`] when it does not fit; what was claimed before stays claimed.
    ///
    /// # Panics
    /// As [`Producer::push`].
    #[inline]
    pub fn claim(&mut self, event: &[Slot]) -> Result<(), Full> {
        if let [slot] = event
            && self.writer.claim_singles(core::slice::from_ref(slot), Dues::None) == 1
        {
            return Ok(());
        }
        self.claim_long(event, Dues::None)
    }

    /// As [`Producer::claim`], with the due time of the event. On a ring without due times, `due` is dropped.
    ///
    /// # Errors
    /// As [`Producer::claim`].
    ///
    /// # Panics
    /// As [`Producer::push`].
    #[inline]
    pub fn claim_due(&mut self, event: &[Slot], due: u64) -> Result<(), Full> {
        self.claim_long(event, Dues::Same(due))
    }

    /// Publishes all that is claimed with one Release store. Nothing when nothing is.
    #[inline]
    pub fn commit(&mut self) {
        self.writer.commit();
    }

    /// Slots that are claimed and not yet published.
    #[inline]
    #[must_use]
    pub fn claimed_slots(&self) -> usize {
        self.writer.claimed()
    }

    /// Publishes as many whole events from the front of `slots` as fit, in groups of [`BATCH_SLOTS`] slots or a span
    /// more, and before them all that is claimed. Returns the slots that went in: the caller goes on from there. The
    /// slots' tags do not matter. `dues` gives the due time of each slot; it is dropped on a ring without due times.
    ///
    /// O(slots): one Release store per group, and at most two Acquire loads per event that does not fit.
    ///
    /// # Panics
    /// When `slots` are not whole events (an event's span runs past the end), or when `dues` has another length. What
    /// stands before the bad event is claimed or published then.
    pub fn push_batch(&mut self, slots: &[Slot], dues: Option<&[u64]>) -> usize {
        let dues_from = |from: usize| dues.map_or(Dues::None, |dues| Dues::Each(&dues[from..]));
        assert!(dues.is_none_or(|dues| dues.len() == slots.len()), "one due time for each slot");
        let mut done = 0;
        while done < slots.len() {
            let group = &slots[done..slots.len().min(done + BATCH_SLOTS)];
            let singles = if self.writer.claimed() == 0 {
                self.writer.push_singles(group, dues_from(done))
            } else {
                self.writer.claim_singles(group, dues_from(done))
            };
            debug_assert!(
                group[..singles].iter().all(|slot| slot.kind() != crate::event::Kind::CONTINUATION),
                "Invariant: an event begins with its head"
            );
            done += singles;
            if singles < group.len() {
                // A span, a slot with a tag, or no room: one event the long way tells.
                let event = &slots[done..done + event_slots(&slots[done..])];
                if !self.writer.claim_run(event, dues_from(done)) {
                    break;
                }
                done += event.len();
            }
            if self.writer.claimed() >= BATCH_SLOTS {
                self.writer.commit();
            }
        }
        self.writer.commit();
        done
    }
}

impl Consumer {
    /// Takes whole events into the front of `out` until it is full or nothing more is there, and gives their slots back
    /// to the producer. Returns the slots taken, tags 0. An event that is longer than what is left of `out` stays in
    /// the ring; with [`BATCH_SLOTS`] slots or more, 0 means that the ring is empty. `dues` receives the due time of
    /// each slot, [`DUE_NONE`](super::DUE_NONE) where there is none.
    ///
    /// O(slots): one Acquire load per slot and one Release store in all.
    ///
    /// # Panics
    /// When `dues` is shorter than `out`.
    pub fn pop_batch(&mut self, out: &mut [Slot], mut dues: Option<&mut [u64]>) -> usize {
        assert!(dues.as_ref().is_none_or(|dues| dues.len() >= out.len()), "room for one due time for each slot");
        let mut done = 0;
        loop {
            let dues_left = dues.as_mut().map(|dues| &mut dues[done..]);
            done += self.reader.take_singles(&mut out[done..], dues_left);
            if done == out.len() {
                break;
            }
            let dues_left = dues.as_mut().map(|dues| &mut dues[done..]);
            let span = self.reader.take_span(&mut out[done..], dues_left);
            if span == 0 {
                break;
            }
            done += span;
        }
        if done != 0 {
            self.reader.give_back();
        }
        done
    }
}
