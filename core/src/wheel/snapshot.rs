//! The wheel as a [section](crate::section) of plain bytes, and back.
//!
//! Name "timing wheel", version 3; an element is a node and its value. The body: 20 numbers of 8 bytes (see `LAYOUT`), the
//! nodes, the heap's indices as u32. The first and the last timer of a slot name the slot, so that the slots need not be
//! written.

use super::Wheel;
use super::level::{BASE_SLOTS, LEVELS_MAX, level_of, slots_of};
use super::node::{LATE, MARK};
use crate::invariant::Broken;
use crate::section::{self, Reader, RestoreError, Section, Shape};
use bytemuck::Pod;

const NAME: &str = "timing wheel";
const NUMBERS: usize = 9 + LEVELS_MAX + 1;
const NODE_BYTES: usize = 24;
const LAYOUT: &str = "u64: tick_ns now_ns wake_ns look_ns cursor moves free late_len late_next_order drained*11; \
    node: tick u64, prev next generation order u32, value; late u32";

fn shape<T>(capacity: usize) -> Shape {
    let element = (NODE_BYTES + size_of::<T>()) as u32;
    Shape { name: NAME, version: 3, element, layout: LAYOUT, capacity: capacity as u64 }
}

fn invalid(rule: &'static str, at: u64) -> RestoreError {
    RestoreError::Invalid { name: NAME, broken: Broken { rule, at } }
}

impl<T: Pod> Wheel<T> {
    fn body_bytes(&self) -> usize {
        NUMBERS * 8 + self.nodes.len() * (NODE_BYTES + size_of::<T>()) + self.late.heap.len() * 4
    }

    /// Bytes of a [`Wheel::snapshot`] of this wheel: always the same, whatever is pending.
    #[must_use]
    pub fn snapshot_bytes(&self) -> usize {
        section::HEADER_BYTES + self.body_bytes()
    }

    /// Appends the whole wheel as a section of plain bytes: time, timers, handles, order. O(capacity).
    ///
    /// Allocates only if `out` has less room than [`Wheel::snapshot_bytes`].
    pub fn snapshot(&self, out: &mut Vec<u8>) {
        section::write(out, &shape::<T>(self.capacity()), u64::from(self.len), self.body_bytes(), |body| {
            let numbers = [
                self.unit.ns,
                self.now_ns,
                self.wake_ns,
                self.look_ns,
                self.cursor,
                self.moves,
                u64::from(self.free),
                self.late.len as u64,
                u64::from(self.late.next_order),
            ];
            body.slice(&numbers);
            body.slice(&self.drained[..=LEVELS_MAX]);
            for node in &*self.nodes {
                body.u64(node.tick);
                body.slice(&[node.prev, node.next, node.generation, node.order]);
                body.slice(&[node.value]);
            }
            body.slice(&self.late.heap);
        });
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
        let section = Section::parse(section)?;
        let mut reader = section.expect(&shape::<T>(capacity))?;
        reader.setting("a tick in ns of", tick_ns)?;
        let mut wheel = Self::new(capacity, tick_ns);
        wheel.read_body(&mut reader, section.count())?;
        reader.finish()?;
        wheel.check().map_err(|broken| RestoreError::Invalid { name: NAME, broken })?;
        Ok(wheel)
    }

    /// Fills a new wheel, without a look at what the numbers mean, except where they would not fit.
    fn read_body(&mut self, reader: &mut Reader<'_>, count: u64) -> Result<(), RestoreError> {
        let narrow = |number: u64, what| u32::try_from(number).map_err(|_| invalid(what, number));
        self.len = narrow(count, "the count fits 32 bits")?;
        self.now_ns = reader.u64()?;
        self.wake_ns = reader.u64()?;
        self.look_ns = reader.u64()?;
        self.cursor = reader.u64()?;
        self.moves = reader.u64()?;
        self.free = narrow(reader.u64()?, "the first free node fits 32 bits")?;
        self.late.len = narrow(reader.u64()?, "the heap's length fits 32 bits")? as usize;
        self.late.next_order = narrow(reader.u64()?, "the heap's next order fits 32 bits")?;
        reader.fill(&mut self.drained[..=LEVELS_MAX])?;
        for node in &mut self.nodes {
            node.tick = reader.u64()?;
            node.prev = reader.u32()?;
            node.next = reader.u32()?;
            node.generation = reader.u32()?;
            node.order = reader.u32()?;
            reader.fill(std::slice::from_mut(&mut node.value))?;
        }
        reader.fill(&mut self.late.heap)?;
        self.anchor_lists()
    }

    /// Finds the ends of the slots' lists, and which slots have any.
    fn anchor_lists(&mut self) -> Result<(), RestoreError> {
        let slots = slots_of(self.levels());
        for (index, node) in self.nodes.iter().enumerate() {
            if !node.is_live() || node.prev & LATE == LATE {
                continue;
            }
            let end = |link: u32| (link & MARK != 0).then_some((link & !MARK) as usize);
            for (slot, is_first) in [(end(node.prev), true), (end(node.next), false)] {
                let Some(slot) = slot else { continue };
                if slot >= slots {
                    return Err(invalid("a slot that is named exists", index as u64));
                }
                let anchor = &mut self.anchors[slot];
                if is_first {
                    anchor.first = index as u32;
                } else {
                    anchor.last = index as u32;
                }
                if slot < BASE_SLOTS {
                    self.occupancy.set_base(slot);
                } else {
                    self.occupancy.set_above(slot, level_of(slot));
                }
            }
        }
        Ok(())
    }
}
