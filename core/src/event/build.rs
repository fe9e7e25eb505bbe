//! Making an event of several slots.

use super::{Flags, KindVersion, Payload, Slot};
use crate::limits::{CONTINUATION_BYTES, SPAN_SLOTS_MAX};
use core::fmt;

/// An event under construction: its head and up to 63 continuations, without an allocation.
///
/// ```
/// use tapeline_core::event::{EventBuf, Slot, payload::News};
///
/// let mut event = EventBuf::new(&News { id: 7, text_bytes: 5, ..News::default() });
/// event.push_bytes(b"hello").unwrap();
/// assert_eq!(event.slots().len(), 2);
/// assert_eq!(event.slots()[0].span(), 2);
/// ```
#[derive(Clone)]
pub struct EventBuf {
    slots: [Slot; SPAN_SLOTS_MAX],
    len: usize,
}

/// An event would need more slots than [`SPAN_SLOTS_MAX`]. Holds the slots that it would need.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("an event of {0} slots is longer than the {SPAN_SLOTS_MAX} that a span may have")]
pub struct SpanTooLong(pub usize);

impl EventBuf {
    /// An event of `payload`'s kind, with every header field but the kind zero.
    #[must_use]
    pub fn new<P: Payload>(payload: &P) -> Self {
        let mut buf = Self { slots: [Slot::ZERO; SPAN_SLOTS_MAX], len: 1 };
        buf.reset(payload);
        buf
    }

    /// Begins again with another payload. Does not clear continuation slots that are no longer used.
    pub fn reset<P: Payload>(&mut self, payload: &P) {
        self.slots[0] = Slot::ZERO;
        self.slots[0].kind = KindVersion::new(P::KIND, P::VERSION);
        *self.slots[0].payload_mut::<P>() = *payload;
        self.len = 1;
    }

    /// The head, to fill in times, sequence, symbol and flags. Its span is kept up by this type.
    #[inline]
    pub fn head_mut(&mut self) -> &mut Slot {
        &mut self.slots[0]
    }

    /// Appends one continuation.
    ///
    /// # Errors
    /// [`SpanTooLong`] when the event has 64 slots already; it is unchanged then.
    #[inline]
    pub fn push_words(&mut self, words: [u64; 7]) -> Result<(), SpanTooLong> {
        if self.len == SPAN_SLOTS_MAX {
            return Err(SpanTooLong(self.len + 1));
        }
        self.slots[self.len] = Slot::continuation(words);
        self.len += 1;
        self.slots[0].set_span(self.len);
        Ok(())
    }

    /// Appends one continuation that holds `value`.
    ///
    /// # Errors
    /// As [`EventBuf::push_words`].
    #[inline]
    pub fn push_value<T: bytemuck::Pod>(&mut self, value: &T) -> Result<(), SpanTooLong> {
        const { assert!(size_of::<T>() == CONTINUATION_BYTES) };
        let mut words = [0u64; 7];
        bytemuck::bytes_of_mut(&mut words).copy_from_slice(bytemuck::bytes_of(value));
        self.push_words(words)
    }

    /// Appends as many continuations as `bytes` needs, the last one padded with zeros.
    ///
    /// # Errors
    /// [`SpanTooLong`] with the slots that the event would need; it is unchanged then.
    pub fn push_bytes(&mut self, bytes: &[u8]) -> Result<(), SpanTooLong> {
        let slots = self.len + bytes.len().div_ceil(CONTINUATION_BYTES);
        if slots > SPAN_SLOTS_MAX {
            return Err(SpanTooLong(slots));
        }
        for chunk in bytes.chunks(CONTINUATION_BYTES) {
            let mut words = [0u64; 7];
            bytemuck::bytes_of_mut(&mut words)[..chunk.len()].copy_from_slice(chunk);
            self.push_words(words)?;
        }
        Ok(())
    }

    /// Adds `flags` to the head.
    #[inline]
    pub fn flag(&mut self, flags: Flags) {
        self.slots[0].flags = self.slots[0].flags.with(flags);
    }

    /// The event so far.
    #[inline]
    #[must_use]
    pub fn slots(&self) -> &[Slot] {
        &self.slots[..self.len]
    }
}

impl fmt::Debug for EventBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.slots()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::super::payload::News;
    use super::*;
    use crate::event::EventRef;
    use crate::limits::{PAYLOAD_BYTES, SPAN_BYTES_MAX};

    #[test]
    fn the_longest_event_fits_and_one_byte_more_is_refused_with_its_length() {
        let most = vec![0xab; SPAN_BYTES_MAX - PAYLOAD_BYTES];
        let mut event = EventBuf::new(&News::default());
        event.push_bytes(&most).unwrap();
        assert_eq!(event.slots().len(), SPAN_SLOTS_MAX);
        let bytes: Vec<u8> = EventRef::first(event.slots()).unwrap().tail_words().flat_map(u64::to_le_bytes).collect();
        assert_eq!(bytes, most);

        let mut event = EventBuf::new(&News::default());
        let more = vec![0; SPAN_BYTES_MAX - PAYLOAD_BYTES + 1];
        assert_eq!(event.push_bytes(&more), Err(SpanTooLong(SPAN_SLOTS_MAX + 1)));
        assert_eq!(event.slots().len(), 1);
    }
}
