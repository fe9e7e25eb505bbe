//! What a configuration's capacities take in memory, told before any of it is taken: an allocation that fails ends the process without a
//! word about the key that asked for it.
//!
//! Nothing here knows the size of a structure. Small shards are made, and what each of them says of its bytes, once with a capacity
//! and once with twice as much, is what one unit of that capacity takes.

use crate::log::definition_slots;
use std::path::Path;
use tapeline_core::bus::{BusBuilder, BusError, Chain, End};
use tapeline_core::catalog::Catalog;
use tapeline_core::limits::{MESH_RING_SLOTS_DEFAULT, RING_SLOTS_DEFAULT, SLOT_BYTES, SYMBOLS_DEFAULT};
use tapeline_core::ring;
use tapeline_core::shard::{Config, Shard};

/// Capacity of the small shards: a power of two, as some have to be.
const SMALL: usize = 1 << 10;
/// A slot of a ring, and the due stamp beside it.
const RING_SLOT_BYTES: u64 = SLOT_BYTES as u64 + 8;

/// Everything whose size an engine can be told.
#[derive(Clone, Debug)]
pub struct Sizes {
    /// As [`crate::engine::Setup::symbols_max`].
    pub symbols_max: usize,
    /// As [`crate::engine::Setup::ring_slots`].
    pub ring_slots: usize,
    /// As [`crate::engine::Setup::mesh_ring_slots`].
    pub mesh_ring_slots: usize,
    /// As [`crate::backfill::Settings::ring_slots`]; `None` = nobody reads history.
    pub history_ring_slots: Option<usize>,
    /// Whether anything is logged.
    pub has_log: bool,
    /// Parameters of one shard.
    pub shard: Config,
}

/// A capacity: its key in a configuration, and where it stands.
struct Capacity {
    key: &'static str,
    field: fn(&mut Sizes) -> &mut usize,
}

/// All of them but the room of topics and of rings.
const CAPACITIES: [Capacity; 11] = [
    Capacity { key: "engine.symbols_max", field: |sizes| &mut sizes.symbols_max },
    Capacity { key: "engine.timers_max", field: |sizes| &mut sizes.shard.timers_max },
    Capacity { key: "engine.mesh_pending_slots", field: |sizes| &mut sizes.shard.mesh_pending_slots },
    Capacity { key: "dedup.capacity", field: |sizes| &mut sizes.shard.dedup_capacity },
    Capacity { key: "history.size", field: |sizes| &mut sizes.shard.history_slots },
    Capacity { key: "dead_letters.entries", field: |sizes| &mut sizes.shard.letters.entries },
    Capacity { key: "dead_letters.size", field: |sizes| &mut sizes.shard.letters.slots },
    Capacity { key: "dead_letters.holds", field: |sizes| &mut sizes.shard.letters.holds },
    Capacity { key: "requests.capacity", field: |sizes| &mut sizes.shard.requests.queue.capacity },
    Capacity { key: "books.pages", field: |sizes| &mut sizes.shard.book_pages },
    Capacity { key: "books.orders", field: |sizes| &mut sizes.shard.book_orders },
];

/// The capacities take more than the machine has.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "{key}: takes {} on {shards} shards, and all capacities together take {}; there is {}",
    gib(*bytes),
    gib(*all_bytes),
    gib(*machine_bytes)
)]
pub struct TooLarge {
    /// The key that takes most.
    pub key: String,
    /// What it takes on all shards.
    pub bytes: u64,
    /// Shards.
    pub shards: usize,
    /// What all of them take.
    pub all_bytes: u64,
    /// What the machine has.
    pub machine_bytes: u64,
}

fn gib(bytes: u64) -> String {
    format!("{:.1} GiB", bytes as f64 / f64::from(1 << 30))
}

/// Whether an engine of these sizes fits into `machine_bytes`. Sizes that are no larger than those that are there by default are not
/// looked at. Otherwise some small shards are made, each with the handlers that `pipeline` gives.
///
/// # Errors
/// [`TooLarge`] with the key that takes most. The outer error is that of a bus that cannot be built.
pub fn check<C: Chain + 'static>(
    sizes: &Sizes,
    shards: usize,
    machine_bytes: u64,
    pipeline: impl Fn(BusBuilder<End>) -> BusBuilder<C>,
) -> Result<Result<(), TooLarge>, BusError> {
    if is_small(sizes) {
        return Ok(Ok(()));
    }
    let needs = needs(sizes, shards, pipeline)?;
    let all_bytes = needs.iter().fold(0_u64, |sum, (_, bytes)| sum.saturating_add(*bytes));
    if all_bytes <= machine_bytes {
        return Ok(Ok(()));
    }
    let (key, bytes) = needs.into_iter().max_by_key(|(_, bytes)| *bytes).expect("Invariant: there are capacities");
    Ok(Err(TooLarge { key, bytes, shards, all_bytes, machine_bytes }))
}

/// Whether nothing is larger than it is by default.
fn is_small(sizes: &Sizes) -> bool {
    let mut sizes = sizes.clone();
    let mut default = default_sizes();
    let is_fine = |capacity: &Capacity| *(capacity.field)(&mut sizes) <= *(capacity.field)(&mut default);
    let are_fine = CAPACITIES.iter().all(is_fine);
    let rings = [
        (sizes.ring_slots, RING_SLOTS_DEFAULT),
        (sizes.mesh_ring_slots, MESH_RING_SLOTS_DEFAULT),
        (sizes.history_ring_slots.unwrap_or(0), crate::backfill::RING_SLOTS_DEFAULT),
    ];
    are_fine && rings.iter().all(|(slots, default)| slots <= default) && topic_slots(&sizes.shard) <= 1 << 16
}

fn default_sizes() -> Sizes {
    Sizes {
        symbols_max: SYMBOLS_DEFAULT,
        ring_slots: RING_SLOTS_DEFAULT,
        mesh_ring_slots: MESH_RING_SLOTS_DEFAULT,
        history_ring_slots: None,
        has_log: false,
        shard: Config::single(),
    }
}

fn topic_slots(shard: &Config) -> usize {
    shard.live.iter().flatten().map(|bus| bus.slots).sum()
}

/// What each capacity takes on so many shards, bytes.
///
/// # Errors
/// The bus cannot be built.
pub fn needs<C: Chain + 'static>(
    sizes: &Sizes,
    shards: usize,
    pipeline: impl Fn(BusBuilder<End>) -> BusBuilder<C>,
) -> Result<Vec<(String, u64)>, BusError> {
    let (mut asked, mut small) = (sizes.clone(), sizes.clone());
    for capacity in &CAPACITIES {
        *(capacity.field)(&mut small) = SMALL;
    }
    small.shard.letters.held_per_symbol = 1;
    small.shard.live = None;
    let base = bytes(&small, &pipeline)?;
    let mut needs = Vec::new();
    for capacity in &CAPACITIES {
        let mut larger = small.clone();
        *(capacity.field)(&mut larger) = 2 * SMALL;
        let more = bytes(&larger, &pipeline)?.saturating_sub(base);
        // Without pages there are no books.
        let is_off = capacity.key.starts_with("books.") && asked.shard.book_pages == 0;
        let units = if is_off { 0 } else { *(capacity.field)(&mut asked) as u128 };
        let mut bytes = u128::from(more) * units / SMALL as u128 * shards as u128;
        if sizes.has_log && capacity.key == "engine.symbols_max" {
            // One for all shards: the names for the log.
            bytes += (SLOT_BYTES * definition_slots(sizes.symbols_max)) as u128;
        }
        needs.push((capacity.key.to_owned(), u64::try_from(bytes).unwrap_or(u64::MAX)));
    }
    // One ring to each shard, one between every two of them where a handler crosses symbols, one for the history of each.
    let is_meshed = pipeline(BusBuilder::new(SMALL)).build(&mut Catalog::new(SMALL))?.crosses_symbols();
    let mesh_rings = if is_meshed { shards.saturating_mul(shards - 1) } else { 0 };
    let rings = [
        ("engine.ring_slots", RING_SLOT_BYTES, sizes.ring_slots, shards),
        ("engine.mesh_ring_slots", RING_SLOT_BYTES, sizes.mesh_ring_slots, mesh_rings),
        ("backfill.ring_slots", SLOT_BYTES as u64, sizes.history_ring_slots.unwrap_or(0), shards),
    ];
    for (key, slot_bytes, slots, count) in rings {
        needs.push((key.to_owned(), slot_bytes.saturating_mul(slots as u64).saturating_mul(count as u64)));
    }
    if let Some(buses) = &sizes.shard.live {
        let mut one = buses.clone();
        one.truncate(1);
        let mut of = |capacity: usize| {
            let bus = one.first_mut()?;
            bus.topics.truncate(1);
            let topic = bus.topics.first_mut()?;
            (topic.capacity, topic.high, topic.low) = (capacity, capacity, 0);
            bus.slots = capacity;
            let shard = Config { live: Some(one.clone()), ..small.shard.clone() };
            Some(bytes(&Sizes { shard, ..small.clone() }, &pipeline))
        };
        if let (Some(half), Some(whole)) = (of(SMALL), of(2 * SMALL)) {
            let more = whole?.saturating_sub(half?);
            for topic in buses.iter().flat_map(|bus| &bus.topics) {
                let bytes = u128::from(more) * topic.capacity as u128 / SMALL as u128 * shards as u128;
                needs.push((format!("topics.{}.capacity", topic.name), u64::try_from(bytes).unwrap_or(u64::MAX)));
            }
        }
    }
    Ok(needs)
}

/// Bytes of a shard of these sizes, which is made for the question.
fn bytes<C: Chain + 'static>(
    sizes: &Sizes,
    pipeline: impl Fn(BusBuilder<End>) -> BusBuilder<C>,
) -> Result<u64, BusError> {
    let mut catalog = Catalog::new(sizes.symbols_max);
    let bus = pipeline(BusBuilder::new(sizes.symbols_max)).build(&mut catalog)?;
    let ring = if sizes.shard.has_dues { ring::channel_with_dues(256) } else { ring::channel(256) };
    let mut shard = Shard::new(sizes.shard.clone(), catalog, bus, (), ring.1, Vec::new(), Vec::new());
    Ok(shard.bytes().iter().map(|(_, bytes)| *bytes as u64).sum())
}

/// Memory that this process may take, bytes: that of the machine, or what its control groups leave it. `None` where neither can be read.
#[must_use]
pub fn machine_bytes() -> Option<u64> {
    machine_bytes_at(Path::new("/"))
}

fn machine_bytes_at(root: &Path) -> Option<u64> {
    let text = |path: &Path| std::fs::read_to_string(path).ok();
    let info = text(&root.join("proc/meminfo"))?;
    let total = info.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let mut bytes = total.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1 << 10)?;
    let groups = text(&root.join("proc/self/cgroup")).unwrap_or_default();
    if let Some(path) = groups.lines().find_map(|line| line.strip_prefix("0::/")) {
        for group in Path::new(path).ancestors() {
            let limit = text(&root.join("sys/fs/cgroup").join(group).join("memory.max"));
            // "max" is no number.
            if let Some(limit) = limit.and_then(|limit| limit.trim().parse().ok()) {
                bytes = bytes.min(limit);
            }
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::{Parameters, default_pipeline};
    use tapeline_core::event::{EventRef, Kind, KindSet};
    use tapeline_core::handler::{Ctx, Handler, Verdict};
    use tapeline_core::topics::Bus;

    fn pipeline(bus: BusBuilder<End>) -> BusBuilder<crate::pipeline::Defaults> {
        default_pipeline(bus, &Parameters::default())
    }

    struct Crosses;

    impl Handler for Crosses {
        type State = ();
        const NAME: &'static str = "crosses";
        const STATE_VERSION: u16 = 1;
        const CROSSES_SYMBOLS: bool = true;
        fn interests(&self) -> KindSet {
            KindSet::one(Kind::TRADE)
        }
        fn on_event(&self, (): &mut (), _: EventRef<'_>, _: &mut Ctx<'_>) -> Verdict {
            Verdict::Done
        }
    }

    fn moderate() -> Sizes {
        let mut sizes = default_sizes();
        for capacity in &CAPACITIES {
            *(capacity.field)(&mut sizes) = 1 << 13;
        }
        sizes
    }

    #[test]
    fn what_is_told_of_each_capacity_is_what_a_shard_of_it_takes() {
        let sizes = moderate();
        let base = bytes(&sizes, pipeline).unwrap();
        let needs = needs(&sizes, 1, pipeline).unwrap();
        for (capacity, (key, told)) in CAPACITIES.iter().zip(&needs) {
            assert_eq!(capacity.key, key);
            let mut twice = sizes.clone();
            *(capacity.field)(&mut twice) *= 2;
            let taken = bytes(&twice, pipeline).unwrap() - base;
            if key == "engine.mesh_pending_slots" {
                assert_eq!((*told, taken), (0, 0), "none of the default handlers publishes for other symbols");
                continue;
            }
            // Hash tables have powers of two.
            assert!(taken > 0 && taken / 2 <= *told && *told <= 2 * taken, "{key}: {told} told, {taken} taken");
        }
        let all: u64 = needs[..CAPACITIES.len()].iter().map(|(_, bytes)| bytes).sum();
        assert!(all / 2 <= base && base <= 2 * all + (8 << 20), "{all} told, {base} taken");
    }

    #[test]
    fn req_3387_what_does_not_fit_is_told_by_its_key_before_it_is_taken() {
        let gib = 1_u64 << 30;
        for capacity in CAPACITIES.iter().filter(|capacity| capacity.key != "engine.mesh_pending_slots") {
            let mut sizes = default_sizes();
            sizes.shard.book_pages = SMALL;
            *(capacity.field)(&mut sizes) = 1 << 28;
            let told = check(&sizes, 2, 4 * gib, pipeline).unwrap().unwrap_err();
            assert_eq!(told.key, capacity.key, "{told}");
            assert!(
                told.bytes > 2 * gib && told.all_bytes >= told.bytes && told.to_string().contains("4.0 GiB"),
                "{told}"
            );
        }
        let mut sizes = default_sizes();
        sizes.ring_slots = 1 << 24;
        assert_eq!(check(&sizes, 64, 64 * gib, pipeline).unwrap().unwrap_err().key, "engine.ring_slots");
        let mut sizes = default_sizes();
        sizes.history_ring_slots = Some(1 << 24);
        assert_eq!(check(&sizes, 8, 8 * gib, pipeline).unwrap().unwrap_err().key, "backfill.ring_slots");
        let mut sizes = default_sizes();
        sizes.mesh_ring_slots = 1 << 20;
        assert_eq!(check(&sizes, 64, 64 * gib, pipeline).unwrap(), Ok(()), "no handler of it crosses symbols");
        let crossing = |bus: BusBuilder<End>| pipeline(bus).then(Crosses);
        assert_eq!(check(&sizes, 1, 2 * gib, crossing).unwrap(), Ok(()), "one shard has no other");
        let told = check(&sizes, 64, 64 * gib, crossing).unwrap().unwrap_err();
        assert_eq!((&*told.key, told.bytes), ("engine.mesh_ring_slots", (64 * 63 * RING_SLOT_BYTES) << 20));
        let names = |has_log| {
            let sizes = Sizes { has_log, ..default_sizes() };
            needs(&sizes, 3, pipeline).unwrap().iter().map(|(_, bytes)| bytes).sum::<u64>()
        };
        assert_eq!(
            names(true) - names(false),
            (64 * 4) << 17,
            "one ring of four slots a name, for all shards together"
        );
        let mut sizes = default_sizes();
        let mut bus = Bus::market();
        bus.topics[1].capacity = 1 << 24;
        bus.slots = bus.topics.iter().map(|topic| topic.capacity).sum();
        sizes.shard.live = Some(vec![bus]);
        assert_eq!(check(&sizes, 8, 8 * gib, pipeline).unwrap().unwrap_err().key, "topics.trades.capacity");
        assert_eq!(check(&default_sizes(), 1, 0, pipeline).unwrap(), Ok(()), "the defaults are not looked at");
        assert_eq!(check(&moderate(), 1, 16 * gib, pipeline).unwrap(), Ok(()));
    }

    #[test]
    fn the_memory_is_the_least_of_machine_and_control_groups() {
        let root = std::env::temp_dir().join(format!("tapeline-memory-{}", std::process::id()));
        let root = root.as_path();
        let write = |path: &str, text: &str| {
            let path = root.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        assert_eq!(machine_bytes_at(root), None);
        write("proc/meminfo", "MemTotal:       16384 kB\nMemFree: 1 kB\n");
        assert_eq!(machine_bytes_at(root), Some(16 << 20));
        write("proc/self/cgroup", "0::/a/b\n");
        write("sys/fs/cgroup/a/b/memory.max", "max\n");
        write("sys/fs/cgroup/a/memory.max", "1048576\n");
        assert_eq!(machine_bytes_at(root), Some(1 << 20));
        std::fs::remove_dir_all(root).unwrap();
    }
}
