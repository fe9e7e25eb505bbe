//! IEX-TP: the IEX Transport Protocol, version 1 ("IEX Transport Specification", IEX Group, version 1.25), as it is multicast.
//!
//! ```text
//!  0 version u8 (1)   1 reserved   2 message protocol u16   4 channel u32   8 session u32
//! 12 payload bytes u16   14 messages u16   16 stream offset i64   24 number of the first message i64   32 send time i64 (ns since 1970)
//! 40 messages: length u16, so many bytes; and again
//! ```
//! Little-endian. A segment without messages is a heartbeat: its number is that of the message that will be next.

/// Bytes of a segment's header.
pub const HEADER_BYTES: usize = 40;
/// The version.
pub const VERSION: u8 = 1;

/// Message protocol of a segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Protocol {
    /// Top of book, version 1.6.
    Tops16,
    /// Depth of book, version 1.0.
    Deep10,
}

impl Protocol {
    /// The protocol of a number; `None` for one that is not decoded (0x8002 is TOPS 1.5).
    #[must_use]
    pub const fn from_number(number: u16) -> Option<Self> {
        match number {
            0x8003 => Some(Self::Tops16),
            0x8004 => Some(Self::Deep10),
            _ => None,
        }
    }

    /// `tops`, `deep`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tops16 => "tops",
            Self::Deep10 => "deep",
        }
    }
}

/// Header of a segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    /// Which messages follow.
    pub protocol: Protocol,
    /// Stream of bytes within the session.
    pub channel: u32,
    /// Session: another one each day.
    pub session: u32,
    /// Messages that follow.
    pub messages: u16,
    /// Bytes of messages, lengths included, that the session's channel carried before.
    pub stream_offset: i64,
    /// Number of the first message, from 1; of the next one in a heartbeat.
    pub first: u64,
    /// When it was sent, ns since the UNIX epoch.
    pub send_time: i64,
}

/// Why a payload is no segment of IEX-TP.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SegmentError {
    /// It is shorter than a header. Holds its length.
    #[error("an IEX-TP segment of {0} bytes is shorter than its header of {HEADER_BYTES}")]
    Short(usize),
    /// Another version.
    #[error("IEX-TP version {0} is not known")]
    Version(u8),
    /// Another message protocol.
    #[error("message protocol {0:#06x} over IEX-TP is not known")]
    Protocol(u16),
    /// The header's payload length, and the bytes that there are.
    #[error("an IEX-TP payload of {told} bytes has {has}")]
    Length {
        /// What the header says.
        told: u16,
        /// What there is.
        has: usize,
    },
    /// A number below zero.
    #[error("an IEX-TP message number of {0}")]
    Number(i64),
    /// The messages do not fill the payload.
    #[error("{told} messages do not fit {bytes} bytes of an IEX-TP payload: {found} do")]
    Messages {
        /// What the header says.
        told: u16,
        /// Bytes of the payload.
        bytes: usize,
        /// Messages whose lengths fit.
        found: u16,
    },
}

#[inline]
fn chunk<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut chunk = [0; N];
    chunk.copy_from_slice(&bytes[at..at + N]);
    chunk
}

/// A segment whose lengths agree.
#[derive(Clone, Copy, Debug)]
pub struct Segment<'a> {
    /// Its header.
    pub header: Header,
    body: &'a [u8],
}

impl<'a> Segment<'a> {
    /// The segment of a UDP payload. Header and all lengths are checked: O(messages), no allocation.
    ///
    /// # Errors
    /// [`SegmentError`] when it is none, or its lengths contradict each other.
    pub fn parse(payload: &'a [u8]) -> Result<Self, SegmentError> {
        let Some((header, body)) = payload.split_first_chunk::<HEADER_BYTES>() else {
            return Err(SegmentError::Short(payload.len()));
        };
        if header[0] != VERSION {
            return Err(SegmentError::Version(header[0]));
        }
        let number = u16::from_le_bytes(chunk(header, 2));
        let protocol = Protocol::from_number(number).ok_or(SegmentError::Protocol(number))?;
        let told = u16::from_le_bytes(chunk(header, 12));
        if usize::from(told) != body.len() {
            return Err(SegmentError::Length { told, has: body.len() });
        }
        let first = i64::from_le_bytes(chunk(header, 24));
        let first = u64::try_from(first).map_err(|_| SegmentError::Number(first))?;
        let messages = u16::from_le_bytes(chunk(header, 14));
        let header = Header {
            protocol,
            channel: u32::from_le_bytes(chunk(header, 4)),
            session: u32::from_le_bytes(chunk(header, 8)),
            messages,
            stream_offset: i64::from_le_bytes(chunk(header, 16)),
            first,
            send_time: i64::from_le_bytes(chunk(header, 32)),
        };
        let (mut rest, mut found) = (body, 0u16);
        while found < messages
            && let Some((_, after)) = split(rest)
        {
            rest = after;
            found += 1;
        }
        if found < messages || !rest.is_empty() {
            return Err(SegmentError::Messages { told: messages, bytes: body.len(), found });
        }
        Ok(Self { header, body })
    }

    /// The messages, in order.
    #[inline]
    pub fn messages(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let mut rest = self.body;
        std::iter::from_fn(move || {
            let (message, after) = split(rest)?;
            rest = after;
            Some(message)
        })
    }
}

/// The first message and what follows it.
#[inline]
fn split(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<2>()?;
    rest.split_at_checked(usize::from(u16::from_le_bytes(*length)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A segment with these messages.
    fn segment(first: i64, messages: &[&[u8]]) -> Vec<u8> {
        let body: Vec<u8> = messages.iter().flat_map(|m| [&(m.len() as u16).to_le_bytes()[..], m].concat()).collect();
        let mut bytes = vec![1, 0, 4, 0x80, 7, 0, 0, 0];
        bytes.extend(0x4cb0_0000u32.to_le_bytes());
        bytes.extend((body.len() as u16).to_le_bytes());
        bytes.extend((messages.len() as u16).to_le_bytes());
        bytes.extend(1_413i64.to_le_bytes());
        bytes.extend(first.to_le_bytes());
        bytes.extend(1_696_246_475_036_666_998i64.to_le_bytes());
        bytes.extend(body);
        bytes
    }

    #[test]
    fn a_segment_gives_its_header_and_messages() {
        let bytes = segment(68, &[b"abc", b"", b"d"]);
        let parsed = Segment::parse(&bytes).unwrap();
        let header = Header {
            protocol: Protocol::Deep10,
            channel: 7,
            session: 0x4cb0_0000,
            messages: 3,
            stream_offset: 1_413,
            first: 68,
            send_time: 1_696_246_475_036_666_998,
        };
        assert_eq!(parsed.header, header);
        assert_eq!(parsed.messages().collect::<Vec<_>>(), [&b"abc"[..], b"", b"d"]);
        assert_eq!(Segment::parse(&segment(1, &[])).unwrap().messages().count(), 0, "a heartbeat");
    }

    #[test]
    fn no_cut_and_no_longer_segment_is_one() {
        let mut bytes = segment(1, &[b"abc", b"d"]);
        for cut in 0..bytes.len() {
            assert!(Segment::parse(&bytes[..cut]).is_err(), "{cut}");
        }
        bytes.push(0);
        assert_eq!(Segment::parse(&bytes).unwrap_err(), SegmentError::Length { told: 8, has: 9 });
        bytes[12] += 1;
        let error = Segment::parse(&bytes).unwrap_err();
        assert_eq!(error, SegmentError::Messages { told: 2, bytes: 9, found: 2 });
        bytes[14] += 1;
        let error = Segment::parse(&bytes).unwrap_err();
        assert_eq!(error.to_string(), "3 messages do not fit 9 bytes of an IEX-TP payload: 2 do");
        bytes[2] = 2;
        assert_eq!(Segment::parse(&bytes).unwrap_err(), SegmentError::Protocol(0x8002));
        bytes[0] = 2;
        assert_eq!(Segment::parse(&bytes).unwrap_err(), SegmentError::Version(2));
        assert_eq!(Segment::parse(&segment(-5, &[])).unwrap_err(), SegmentError::Number(-5));
    }
}
