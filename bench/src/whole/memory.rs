//! P20: what stands behind ten thousand events, by the shard's own account and by the operating system's.

use super::{Rig, SYMBOLS, Turns};
use tapeline_core::bus::BusBuilder;
use tapeline_core::catalog::{Catalog, SeqRule};
use tapeline_core::shard::Config;
use tapeline_core::{dead, queue, requests};

/// Events that the shard is sized for.
pub const EVENTS: usize = 10_000;
/// What P20 allows for them, bytes.
pub const LIMIT: usize = 2_500_000;

/// What was counted.
#[derive(Clone, Debug)]
pub struct Memory {
    /// Bytes of each structure, largest first.
    pub structures: Vec<(&'static str, usize)>,
    /// Resident bytes that the process gained from before the shard was made to after its events.
    pub resident: Option<usize>,
    /// Resident bytes gained in the second half of the events: 0 = flat.
    pub growth: Option<usize>,
    /// Events that were handled.
    pub events: u64,
}

impl Memory {
    /// All structures together.
    #[must_use]
    pub fn total(&self) -> usize {
        self.structures.iter().map(|(_, bytes)| bytes).sum()
    }
}

/// A shard for [`EVENTS`] events at a time: so many in its history, identities in each generation of dedup, and timers; a tenth of them among the
/// dead letters and in the request queue, as many symbols as [`SYMBOLS`].
fn config() -> Config {
    let tenth = EVENTS / 10;
    let letters = dead::Config {
        entries: tenth,
        slots: tenth,
        holds: tenth / 10,
        held_per_symbol: 100,
        ..dead::Config::default()
    };
    let queue = queue::Config { capacity: tenth, ..queue::Config::default() };
    Config {
        history_slots: EVENTS.next_power_of_two(),
        dedup_capacity: EVENTS,
        timers_max: EVENTS,
        mesh_pending_slots: tenth,
        letters,
        requests: requests::Config { queue, ..requests::Config::default() },
        ..Config::single()
    }
}

/// Makes the shard, sends `events` events through it and counts its bytes.
///
/// # Panics
/// When an event was not handled.
#[must_use]
pub fn memory(events: usize) -> Memory {
    let before = resident();
    let mut catalog = Catalog::new(SYMBOLS + 1);
    for number in 0..SYMBOLS {
        catalog.symbol(format!("S{number}").as_bytes()).expect("there is room");
    }
    let source = catalog.source(b"turns", SeqRule::Contiguous).expect("there is room");
    let bus = BusBuilder::new(SYMBOLS + 1).then(super::TwoAverages).build(&mut catalog).expect("one handler");
    let mut rig = Rig::new(config(), catalog, bus, (), Turns { number: 0, source });
    let (mut sent, mut half) = (0, None);
    while sent < events {
        sent += rig.fill(0);
        rig.drain();
        if sent >= events / 2 && half.is_none() {
            half = Some(resident());
        }
    }
    rig.check(sent as u64);
    let after = resident();
    let mut structures = rig.shard().bytes().to_vec();
    structures.push(("ring", rig.ring.bytes()));
    structures.sort_unstable_by_key(|(_, bytes)| std::cmp::Reverse(*bytes));
    let gain = |from: Option<usize>| Some(after?.saturating_sub(from?));
    Memory { structures, resident: gain(before), growth: gain(half.flatten()), events: sent as u64 }
}

/// Resident bytes of this process; `None` where the kernel does not say.
fn resident() -> Option<usize> {
    let text = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: usize = text.split_whitespace().nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size())
}

#[cfg(test)]
mod tests {
    use super::super::BATCH;
    use super::*;

    #[test]
    fn every_structure_is_counted_and_memory_stays_flat() {
        let small = memory(4 * EVENTS);
        assert!(small.structures.iter().any(|(name, bytes)| *name == "history" && *bytes >= EVENTS * 64), "{small:?}");
        assert_eq!(small.events as usize % BATCH, 0);
        let large = memory(8 * EVENTS);
        assert_eq!(small.structures, large.structures, "no structure grows with its events");
    }
}
