//! The wheel as a section of plain bytes, and back.
//!
//! ```text
//!  0 name 16 bytes       "timing wheel", zero-filled
//! 16 version u32         20 element u32: bytes of one node, 24 and the value
//! 24 layout u64          stable hash of the text that describes the body, with the size of the value
//! 32 capacity u64        40 count u64: pending timers
//! 48 body u64            bytes that follow the header
//! 56 check u64           stable hash of bytes 0..56 and the stable hash of the body
//! 64 body: 23 numbers of 8 bytes (see `LAYOUT`), the nodes and anchors, the heap's indices as u32
//! ```
//! All numbers are little-endian. Equal wheels give equal bytes.

use super::check::Broken;
use super::level::{LEVEL_SLOTS, LEVELS_MAX, Occupancy, levels_for};
use super::{TickUnit, Wheel};
use crate::hash;
use bytemuck::Pod;

const NAME: [u8; 16] = *b"timing wheel\0\0\0\0";
const VERSION: u32 = 1;
const HEADER_BYTES: usize = 64;
/// Where the check stands in the header.
const CHECK_AT: usize = 56;
const NUMBERS: usize = 11 + LEVELS_MAX + 1;
const NODE_BYTES: usize = 24;
const LAYOUT: &[u8] =
    b"u64: tick_ns now_ns wake_ns look_ns look cursor recent moves free late_len late_next_order drained*12; \
    node: tick u64, prev next generation order u32, value; late u32";

/// Why a snapshot was refused. Nothing of it was used.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RestoreError {
    /// The bytes do not begin with the name of this section.
    #[error("this is no snapshot of a timing wheel")]
    OtherSection,
    /// Another version of the format.
    #[error("the snapshot has version {0}, this build reads version {VERSION}")]
    OtherVersion(u32),
    /// Values of another size.
    #[error("the snapshot's nodes have {snapshot} bytes, this wheel's {wheel}")]
    OtherElement {
        /// Bytes of a node in the snapshot.
        snapshot: u32,
        /// Bytes of a node in this wheel.
        wheel: u32,
    },
    /// Fields in another order or of other types.
    #[error("the snapshot has another layout of the same version")]
    OtherLayout,
    /// A wheel of another capacity.
    #[error("the snapshot is of a wheel for {snapshot} timers, this one is for {wheel}")]
    OtherCapacity {
        /// Capacity in the snapshot.
        snapshot: u64,
        /// Capacity that was asked for.
        wheel: u64,
    },
    /// A wheel with another tick.
    #[error("the snapshot is of a wheel with a tick of {snapshot} ns, this one has {wheel} ns")]
    OtherTick {
        /// Tick in the snapshot, ns.
        snapshot: u64,
        /// Tick that was asked for, ns.
        wheel: u64,
    },
    /// More or fewer bytes than the header and the capacity give.
    #[error("the snapshot has {have} bytes, it should have {need}")]
    Length {
        /// Bytes given.
        have: usize,
        /// Bytes that there should be.
        need: usize,
    },
    /// The check of the header and the body does not match.
    #[error("the snapshot is damaged: its check does not match")]
    Damaged,
    /// The check matches, and a rule of the structure does not hold. Holds the rule and where.
    #[error("the snapshot is no valid wheel: {0} (at {1})")]
    Invalid(&'static str, u64),
}

fn check_of(header: &[u8], body: &[u8]) -> u64 {
    let mut checked = [0; CHECK_AT + 8];
    checked[..CHECK_AT].copy_from_slice(&header[..CHECK_AT]);
    checked[CHECK_AT..].copy_from_slice(&hash::stable(body).to_le_bytes());
    hash::stable(&checked)
}

fn layout_of<T>() -> u64 {
    let mut text = [0; LAYOUT.len() + 8];
    text[..LAYOUT.len()].copy_from_slice(LAYOUT);
    text[LAYOUT.len()..].copy_from_slice(&(size_of::<T>() as u64).to_le_bytes());
    hash::stable(&text)
}

fn section_bytes<T>(capacity: usize, levels: usize) -> usize {
    let nodes = capacity + levels * LEVEL_SLOTS;
    HEADER_BYTES + NUMBERS * 8 + nodes * (NODE_BYTES + size_of::<T>()) + capacity * 4
}

/// Takes numbers off the front of bytes whose length was checked.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn bytes(&mut self, bytes: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(bytes);
        self.0 = rest;
        taken
    }

    fn u64(&mut self) -> u64 {
        bytemuck::pod_read_unaligned(self.bytes(8))
    }

    fn u32(&mut self) -> u32 {
        bytemuck::pod_read_unaligned(self.bytes(4))
    }
}

impl<T: Pod> Wheel<T> {
    /// Bytes of a [`Wheel::snapshot`] of this wheel: always the same, whatever is pending.
    #[must_use]
    pub fn snapshot_bytes(&self) -> usize {
        section_bytes::<T>(self.capacity(), self.levels())
    }

    /// Appends the whole wheel as a section of plain bytes: time, timers, handles, order. O(capacity).
    ///
    /// Allocates only if `out` has less room than [`Wheel::snapshot_bytes`].
    pub fn snapshot(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.reserve(self.snapshot_bytes());
        out.extend_from_slice(&NAME);
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&((NODE_BYTES + size_of::<T>()) as u32).to_le_bytes());
        let body_bytes = self.snapshot_bytes() - HEADER_BYTES;
        for number in [layout_of::<T>(), u64::from(self.capacity), u64::from(self.len), body_bytes as u64, 0] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        let numbers = [
            self.unit.ns,
            self.now_ns,
            self.wake_ns,
            self.look_ns,
            self.look,
            self.cursor,
            self.recent as u64,
            self.moves,
            u64::from(self.free),
            self.late.len as u64,
            u64::from(self.late.next_order),
        ];
        for number in numbers.into_iter().chain(self.drained) {
            out.extend_from_slice(&number.to_le_bytes());
        }
        for node in &self.nodes {
            out.extend_from_slice(&node.tick.to_le_bytes());
            for word in [node.prev, node.next, node.generation, node.order] {
                out.extend_from_slice(&word.to_le_bytes());
            }
            out.extend_from_slice(bytemuck::bytes_of(&node.value));
        }
        for index in &self.late.heap {
            out.extend_from_slice(&index.to_le_bytes());
        }
        let section = &mut out[start..];
        debug_assert_eq!(section.len(), HEADER_BYTES + body_bytes);
        let (header, body) = section.split_at_mut(HEADER_BYTES);
        let check = check_of(header, body);
        header[CHECK_AT..].copy_from_slice(&check.to_le_bytes());
    }

    /// The wheel that [`Wheel::snapshot`] wrote: it goes on as that one would, and takes its handles. Allocates as
    /// [`Wheel::new`] does. O(capacity).
    ///
    /// Everything is checked before it is used: header, length, check, and then every link, list, generation and
    /// position, so that no bytes whatever make a wheel that could lose a timer, panic or loop.
    ///
    /// # Errors
    /// [`RestoreError`] when `section` is no such snapshot, or of a wheel with another capacity, tick or value.
    ///
    /// # Panics
    /// As [`Wheel::new`], for the capacity and the tick that the caller asks for.
    pub fn restore(capacity: usize, tick_ns: u64, section: &[u8]) -> Result<Self, RestoreError> {
        let Some((header, body)) = section.split_at_checked(HEADER_BYTES) else {
            return Err(RestoreError::Length { have: section.len(), need: HEADER_BYTES });
        };
        let mut reader = Reader(header);
        if reader.bytes(NAME.len()) != NAME {
            return Err(RestoreError::OtherSection);
        }
        let version = reader.u32();
        if version != VERSION {
            return Err(RestoreError::OtherVersion(version));
        }
        let (element, wheel_element) = (reader.u32(), (NODE_BYTES + size_of::<T>()) as u32);
        if element != wheel_element {
            return Err(RestoreError::OtherElement { snapshot: element, wheel: wheel_element });
        }
        if reader.u64() != layout_of::<T>() {
            return Err(RestoreError::OtherLayout);
        }
        let snapshot_capacity = reader.u64();
        if snapshot_capacity != capacity as u64 {
            return Err(RestoreError::OtherCapacity { snapshot: snapshot_capacity, wheel: capacity as u64 });
        }
        let count = reader.u64();
        let body_bytes = reader.u64();
        // The tick is the first number of the body. It gives the number of levels, and so the length.
        let Some(tick) = body.first_chunk::<8>() else {
            return Err(RestoreError::Length { have: section.len(), need: HEADER_BYTES + 8 });
        };
        let snapshot_tick_ns = u64::from_le_bytes(*tick);
        if snapshot_tick_ns != tick_ns {
            return Err(RestoreError::OtherTick { snapshot: snapshot_tick_ns, wheel: tick_ns });
        }
        let need = section_bytes::<T>(capacity, levels_for(TickUnit::new(tick_ns).max));
        if section.len() != need || body_bytes != (need - HEADER_BYTES) as u64 {
            return Err(RestoreError::Length { have: section.len(), need });
        }
        if reader.u64() != check_of(header, body) {
            return Err(RestoreError::Damaged);
        }
        let mut wheel = Self::new(capacity, tick_ns);
        wheel.read_body(&mut Reader(body), count)?;
        match wheel.check() {
            Ok(()) => Ok(wheel),
            Err(Broken { rule, at }) => Err(RestoreError::Invalid(rule, at)),
        }
    }

    /// Fills a new wheel, without a look at what the numbers mean, except where they would not fit.
    fn read_body(&mut self, reader: &mut Reader<'_>, count: u64) -> Result<(), RestoreError> {
        let narrow = |number: u64, what| u32::try_from(number).map_err(|_| RestoreError::Invalid(what, number));
        self.len = narrow(count, "the count fits 32 bits")?;
        reader.u64();
        self.now_ns = reader.u64();
        self.wake_ns = reader.u64();
        self.look_ns = reader.u64();
        self.look = reader.u64();
        self.cursor = reader.u64();
        self.recent = reader.u64() as usize;
        self.moves = reader.u64();
        self.free = narrow(reader.u64(), "the first free node fits 32 bits")?;
        self.late.len = narrow(reader.u64(), "the heap's length fits 32 bits")? as usize;
        self.late.next_order = narrow(reader.u64(), "the heap's next order fits 32 bits")?;
        for drained in &mut self.drained {
            *drained = reader.u64();
        }
        for node in &mut self.nodes {
            node.tick = reader.u64();
            node.prev = reader.u32();
            node.next = reader.u32();
            node.generation = reader.u32();
            node.order = reader.u32();
            node.value = bytemuck::pod_read_unaligned(reader.bytes(size_of::<T>()));
        }
        for index in &mut self.late.heap {
            *index = reader.u32();
        }
        // The bitmaps say what the lists say.
        self.occupancy = Occupancy::EMPTY;
        for slot in 0..self.levels() * LEVEL_SLOTS {
            let anchor = self.anchor(slot);
            if self.nodes[anchor as usize].next != anchor {
                self.occupancy.set(slot);
            }
        }
        Ok(())
    }
}
