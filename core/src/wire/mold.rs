//! MoldUDP64: the packets that carry ITCH and other streams of messages by UDP.
//!
//! Source: *MoldUDP64 Protocol Specification* 1.00 (Nasdaq). A downstream packet, all integers big-endian:
//! ```text
//!  0 session 10 bytes   a text, the same all day
//! 10 sequence u64       number of the first message here; in a packet without messages, of the next one
//! 18 count u16          messages here; 0 = heartbeat, 0xffff = end of session
//! 20 message blocks     length u16, then that many bytes, `count` times
//! ```
//! Messages have no numbers of their own: the first has the packet's, each other one the number after the one before. A packet can be cut
//! anywhere: what is whole is given first, then the error with its offset, once.

/// Bytes before the message blocks.
pub const HEADER_BYTES: usize = 20;
/// Bytes of a session's name.
pub const SESSION_BYTES: usize = 10;
/// Count that marks the end of a session.
pub const END_OF_SESSION: u16 = 0xffff;

/// Why bytes are no downstream packet, or not to the end.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Error {
    /// Shorter than a header. Holds the length.
    #[error("a MoldUDP64 packet of {0} bytes is shorter than its header of 20")]
    Header(usize),
    /// The number after the last message's does not fit 64 bits.
    #[error("a MoldUDP64 packet of {count} messages from number {sequence} on runs past the last number")]
    Sequence {
        /// Number of the first message.
        sequence: u64,
        /// Messages.
        count: u16,
    },
    /// The packet ends inside a message block.
    #[error("message {index} of {count} is cut short at offset {at}: {bytes} of {expected} bytes")]
    Cut {
        /// Index of the message in the packet.
        index: u16,
        /// Messages that the header tells of.
        count: u16,
        /// Offset of the block in the packet.
        at: usize,
        /// Bytes of the block that are there, its length field included.
        bytes: usize,
        /// Bytes that it has by its length, or the 2 of the length itself.
        expected: usize,
    },
    /// There are bytes after the last message.
    #[error("{bytes} bytes after the last message, at offset {at}")]
    Trailing {
        /// Offset of the first.
        at: usize,
        /// How many.
        bytes: usize,
    },
}

/// What a packet is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Content {
    /// Messages, 1 to 65,534.
    Messages(u16),
    /// Nothing: it tells the next number.
    Heartbeat,
    /// The session is over: the next number will not come.
    EndOfSession,
}

/// A downstream packet whose header is whole.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Packet<'a> {
    session: &'a [u8; SESSION_BYTES],
    sequence: u64,
    count: u16,
    bytes: &'a [u8],
}

impl<'a> Packet<'a> {
    /// The packet that `bytes` begin. O(1), no allocation. The message blocks are looked at by [`Packet::messages`].
    ///
    /// # Errors
    /// [`Error::Header`] or [`Error::Sequence`].
    #[inline]
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Error> {
        let (Some(session), Some(sequence), Some(count)) = (
            bytes.first_chunk(),
            bytes.get(SESSION_BYTES..).and_then(|rest| rest.first_chunk()),
            bytes.get(SESSION_BYTES + 8..).and_then(|rest| rest.first_chunk()),
        ) else {
            return Err(Error::Header(bytes.len()));
        };
        let packet =
            Self { session, sequence: u64::from_be_bytes(*sequence), count: u16::from_be_bytes(*count), bytes };
        match packet.sequence.checked_add(u64::from(packet.messages_told())) {
            Some(_) => Ok(packet),
            None => Err(Error::Sequence { sequence: packet.sequence, count: packet.count }),
        }
    }

    /// Name of the session, padded.
    #[inline]
    #[must_use]
    pub const fn session(&self) -> &'a [u8; SESSION_BYTES] {
        self.session
    }

    /// The session as [`GapDetector::session`](crate::gaps::GapDetector::session) takes it.
    #[inline]
    #[must_use]
    pub fn session_words(&self) -> [u64; 2] {
        let mut bytes = [0; 16];
        bytes[..SESSION_BYTES].copy_from_slice(self.session);
        bytemuck::must_cast(bytes)
    }

    /// Number of the first message; in a packet without messages, of the next one.
    #[inline]
    #[must_use]
    pub const fn sequence(&self) -> u64 {
        self.sequence
    }

    /// What the packet is for.
    #[inline]
    #[must_use]
    pub const fn content(&self) -> Content {
        match self.count {
            0 => Content::Heartbeat,
            END_OF_SESSION => Content::EndOfSession,
            count => Content::Messages(count),
        }
    }

    const fn messages_told(&self) -> u16 {
        match self.content() {
            Content::Messages(count) => count,
            Content::Heartbeat | Content::EndOfSession => 0,
        }
    }

    /// Number and bytes of each message, in order; an error ends them.
    #[inline]
    #[must_use]
    pub const fn messages(&self) -> Messages<'a> {
        Messages { bytes: self.bytes, at: HEADER_BYTES, first: self.sequence, index: 0, count: self.messages_told() }
    }
}

/// The messages of a packet: see [`Packet::messages`].
#[derive(Clone, Debug)]
pub struct Messages<'a> {
    bytes: &'a [u8],
    at: usize,
    first: u64,
    index: u16,
    count: u16,
}

impl Messages<'_> {
    #[cold]
    fn end(&mut self, error: Error) -> Error {
        (self.at, self.index) = (self.bytes.len(), self.count);
        error
    }
}

impl<'a> Iterator for Messages<'a> {
    type Item = Result<(u64, &'a [u8]), Error>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let rest = &self.bytes[self.at..];
        if self.index == self.count {
            let trailing = Error::Trailing { at: self.at, bytes: rest.len() };
            return (!rest.is_empty()).then(|| Err(self.end(trailing)));
        }
        let expected = rest.first_chunk().map_or(2, |length| 2 + usize::from(u16::from_be_bytes(*length)));
        let Some(message) = rest.get(2..expected).filter(|_| rest.len() >= 2) else {
            let (index, count) = (self.index, self.count);
            return Some(Err(self.end(Error::Cut { index, count, at: self.at, bytes: rest.len(), expected })));
        };
        let number = self.first + u64::from(self.index);
        self.at += expected;
        self.index += 1;
        Some(Ok((number, message)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::for_seeds;

    fn packet(sequence: u64, count: u16, messages: &[&[u8]]) -> Vec<u8> {
        let mut bytes = b"SESSION  1".to_vec();
        bytes.extend(sequence.to_be_bytes());
        bytes.extend(count.to_be_bytes());
        for message in messages {
            bytes.extend((message.len() as u16).to_be_bytes());
            bytes.extend(*message);
        }
        bytes
    }

    #[test]
    fn the_layout_is_that_of_the_specification() {
        let bytes = b"0000012345\x00\x00\x00\x00\x00\x01\xe2\x40\x00\x02\x00\x03abc\x00\x00";
        let packet = Packet::parse(bytes).unwrap();
        assert_eq!((packet.session(), packet.sequence()), (b"0000012345", 123_456));
        assert_eq!(packet.content(), Content::Messages(2));
        let messages: Vec<_> = packet.messages().collect();
        assert_eq!(messages, [Ok((123_456, &b"abc"[..])), Ok((123_457, &b""[..]))]);
        let mut words = [0; 16];
        words[..10].copy_from_slice(b"0000012345");
        assert_eq!(bytemuck::bytes_of(&packet.session_words()), words);
    }

    #[test]
    fn heartbeats_and_ends_hold_no_messages() {
        for (count, content) in [(0, Content::Heartbeat), (END_OF_SESSION, Content::EndOfSession)] {
            let bytes = packet(u64::MAX, count, &[]);
            let whole = Packet::parse(&bytes).unwrap();
            assert_eq!((whole.content(), whole.sequence(), whole.messages().next()), (content, u64::MAX, None));
            let bytes = packet(7, count, &[b"more"]);
            let mut messages = Packet::parse(&bytes).unwrap().messages();
            assert_eq!(messages.next(), Some(Err(Error::Trailing { at: 20, bytes: 6 })));
            assert_eq!(messages.next(), None);
        }
        let bytes = packet(u64::MAX, 1, &[b"x"]);
        assert_eq!(Packet::parse(&bytes), Err(Error::Sequence { sequence: u64::MAX, count: 1 }));
        assert!(Packet::parse(&packet(u64::MAX - 1, 1, &[b"x"])).is_ok(), "there is a next number");
    }

    #[test]
    fn cut_at_every_byte_gives_what_is_whole_and_one_error_with_its_offset() {
        let all: [&[u8]; 4] = [b"first", b"", b"third message", b"4"];
        let bytes = packet(10, 4, &all);
        for cut in 0..=bytes.len() {
            let Ok(packet) = Packet::parse(&bytes[..cut]) else {
                assert!(cut < HEADER_BYTES);
                assert_eq!(Packet::parse(&bytes[..cut]), Err(Error::Header(cut)));
                continue;
            };
            let (mut end, mut whole) = (HEADER_BYTES, 0);
            while whole < 4 && end + 2 + all[whole].len() <= cut {
                end += 2 + all[whole].len();
                whole += 1;
            }
            let got: Vec<_> = packet.messages().collect();
            for (index, message) in all[..whole].iter().enumerate() {
                assert_eq!(got[index], Ok((10 + index as u64, *message)), "cut at {cut}");
            }
            if whole == 4 {
                assert_eq!(got.len(), 4, "cut at {cut}");
                continue;
            }
            assert_eq!(got.len(), whole + 1, "cut at {cut}");
            let expected = if cut - end < 2 { 2 } else { 2 + all[whole].len() };
            let cut_short = Error::Cut { index: whole as u16, count: 4, at: end, bytes: cut - end, expected };
            assert_eq!(got[whole], Err(cut_short), "cut at {cut}");
        }
    }

    #[test]
    fn random_bytes_never_panic_and_never_give_more_than_there_is() {
        for_seeds(0..2_000, |_, prng| {
            let mut bytes: Vec<u8> = (0..prng.index(200)).map(|_| prng.next_u64() as u8).collect();
            if bytes.len() >= HEADER_BYTES && !prng.one_in(4) {
                // A count and lengths that are small enough to be right now and then.
                (bytes[18], bytes[19]) = (0, prng.index(6) as u8);
                for byte in bytes[20..].iter_mut().filter(|_| prng.one_in(2)) {
                    *byte = 0;
                }
            }
            let Ok(packet) = Packet::parse(&bytes) else { return };
            let (mut used, mut errors) = (HEADER_BYTES, 0);
            for message in packet.messages() {
                match message {
                    Ok((_, message)) => used += 2 + message.len(),
                    Err(_) => errors += 1,
                }
            }
            assert!(used <= bytes.len() && errors <= 1);
            assert_eq!(errors == 0, used == bytes.len() && packet.messages().count() == packet.messages_told().into());
        });
    }
}
