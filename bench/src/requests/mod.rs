//! `duel queue`: indexed priority queues (P7, P8).
//!
//! To add a contender, implement [`PriorityQueueContender`], and [`Mutable`] and [`ClearSymbol`] where it can, and give it a row
//! in `hold_entries`, `mutate_entries` and `clear_entries`. [`check`] is its test.

#[cfg(feature = "peers")]
mod peers;
mod standard;
mod work;

use crate::duel::{self, Entry, Options, Role};
use crate::report::{Claim, Rival, Table};
use crate::single;
#[cfg(feature = "peers-avx2")]
pub use peers::Quick;
#[cfg(feature = "peers")]
pub use peers::{Dary, Keyed, Nexus, Orx, PriorityQueue};
pub use standard::Std;
pub use work::{Clear, Hold, Keys, Mutate, check, check_clear, check_mutable};

/// What a request is served by: the lower priority first, then the earlier deadline.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Key {
    /// 0 to 7.
    pub priority: u8,
    /// Below 2^61.
    pub deadline: u64,
}

impl Key {
    /// Of the word that sorts as the key does.
    #[must_use]
    pub const fn from_word(word: u64) -> Self {
        Self { priority: (word >> 61) as u8, deadline: word & ((1 << 61) - 1) }
    }

    /// A word that sorts as the key does.
    #[inline]
    #[must_use]
    pub const fn word(self) -> u64 {
        (self.priority as u64) << 61 | self.deadline
    }
}

/// A queue of requests. Ids are dense and name at most one queued request.
pub trait PriorityQueueContender {
    /// For `capacity` requests of symbols below `symbols`.
    fn new(capacity: usize, symbols: usize) -> Self;

    /// Queues a request.
    fn push(&mut self, id: u32, symbol: u32, key: Key);

    /// Takes the first request by key: its id and key. Among equal keys any.
    fn pop(&mut self) -> Option<(u32, Key)>;
}

/// A queue whose requests can be changed and taken out by id.
pub trait Mutable: PriorityQueueContender {
    /// Gives a queued request another key.
    fn change(&mut self, id: u32, key: Key);

    /// Takes a queued request out.
    fn remove(&mut self, id: u32);
}

/// A queue that can drop the requests of one symbol.
pub trait ClearSymbol: PriorityQueueContender {
    /// Drops the requests of `symbol`, whose ids are `ids`. Returns how many they were.
    fn clear_symbol(&mut self, symbol: u32, ids: &[u32]) -> usize;
}

/// Metrics of `queue hold`.
pub const HOLD_METRICS: [&str; 1] = ["pair_ns"];
/// Metrics of `queue mutate`.
pub const MUTATE_METRICS: [&str; 4] = ["push_ns", "pop_ns", "change_ns", "remove_ns"];
/// Metrics of `queue clear`.
pub const CLEAR_METRICS: [&str; 1] = ["clear_ns"];

fn hold_entry<'a, Q: PriorityQueueContender + 'a>(
    name: &'static str,
    role: Role,
    size: usize,
    keys: Keys,
    options: &'a Options,
) -> Entry<'a> {
    if options.is_check() {
        check::<Q>(name);
    }
    let build = move || Hold::<Q>::new(size, keys, options.seed);
    single::entry(name, role, options, HOLD_METRICS.len(), build, |work, meter| work.step(meter))
}

fn hold_entries(size: usize, keys: Keys, options: &Options) -> Vec<Entry<'_>> {
    #[allow(unused_mut)]
    let mut entries = vec![hold_entry::<Std>("std BinaryHeap", Role::Peer, size, keys, options)];
    #[cfg(feature = "peers")]
    {
        entries.push(hold_entry::<Orx>("orx 4-ary of indices", Role::Peer, size, keys, options));
        entries.push(hold_entry::<PriorityQueue>("priority-queue", Role::Peer, size, keys, options));
        entries.push(hold_entry::<Keyed>("keyed_priority_queue", Role::Peer, size, keys, options));
        entries.push(hold_entry::<Dary>("dary_heap, 4", Role::Peer, size, keys, options));
        entries.push(hold_entry::<Nexus>("nexus pairing heap", Role::Peer, size, keys, options));
    }
    #[cfg(feature = "peers-avx2")]
    entries.push(hold_entry::<Quick>("quickheap", Role::Peer, size, keys, options));
    entries
}

/// P7: pairs of push and pop at a steady size.
#[must_use]
pub fn hold(options: &Options, size: usize, keys: Keys) -> Table {
    let entries = hold_entries(size, keys, options);
    let records = duel::run(&entries, options);
    let claims = [
        Claim::at_most("P7 against orx", 0, Rival::Named("orx 4-ary of indices"), 0.8, 0.8),
        Claim::at_most("P7 against priority-queue", 0, Rival::Named("priority-queue"), 0.25, 0.25),
        Claim::at_most("P7 against quickheap", 0, Rival::Named("quickheap"), 3.0, 2.0),
    ];
    Table::new(
        &format!("queue hold, {size} queued, {}", keys.name()),
        "ns a pair of push and pop, one thread, at a steady size; the keys that come out are checked. std, dary_heap and \
         quickheap know no ids: they can neither change nor remove a request",
        &HOLD_METRICS,
        &entries,
        records,
        &claims,
        options,
    )
}

// Every queue that can be changed is a peer's so far.
#[cfg_attr(not(feature = "peers"), allow(dead_code))]
fn mutate_entry<'a, Q: Mutable + 'a>(name: &'static str, role: Role, size: usize, options: &'a Options) -> Entry<'a> {
    if options.is_check() {
        check_mutable::<Q>(name);
    }
    let build = move || Mutate::<Q>::new(size, options.seed);
    single::entry(name, role, options, MUTATE_METRICS.len(), build, |work, meter| work.step(meter))
}

fn mutate_entries(size: usize, options: &Options) -> Vec<Entry<'_>> {
    #[allow(unused_mut)]
    let mut entries = Vec::new();
    #[cfg(feature = "peers")]
    {
        entries.push(mutate_entry::<Orx>("orx 4-ary of indices", Role::Peer, size, options));
        entries.push(mutate_entry::<PriorityQueue>("priority-queue", Role::Peer, size, options));
        entries.push(mutate_entry::<Keyed>("keyed_priority_queue", Role::Peer, size, options));
        entries.push(mutate_entry::<Nexus>("nexus pairing heap", Role::Peer, size, options));
    }
    let _ = (size, options);
    entries
}

/// P8: of the operations 40 % push, 30 % pop, 20 % change a key and 10 % remove.
#[must_use]
pub fn mutate(options: &Options, size: usize) -> Table {
    let entries = mutate_entries(size, options);
    let records = duel::run(&entries, options);
    Table::new(
        &format!("queue mutate, {size} queued"),
        "ns an operation, one thread; batches of 64 pushes, 48 pops, 32 changes, 16 removals of random requests; symbols by \
         Zipf 1.1 over 5,000; nexus changes a key by unlink and push",
        &MUTATE_METRICS,
        &entries,
        records,
        &[],
        options,
    )
}

fn clear_entry<'a, Q: ClearSymbol + 'a>(name: &'static str, role: Role, options: &'a Options) -> Entry<'a> {
    let build = move || Clear::<Q>::new(if options.is_check() { 200 } else { 1_000 }, options.seed);
    single::entry(name, role, options, CLEAR_METRICS.len(), build, |work, meter| work.step(meter))
}

fn clear_entries(options: &Options) -> Vec<Entry<'_>> {
    #[allow(unused_mut)]
    let mut entries = vec![clear_entry::<Std>("std rebuild", Role::Peer, options)];
    #[cfg(feature = "peers")]
    entries.push(clear_entry::<Orx>("orx, 10 removals", Role::Peer, options));
    entries
}

/// P8: all requests of one symbol are dropped, 10 of 10,000.
#[must_use]
pub fn clear(options: &Options) -> Table {
    let entries = clear_entries(options);
    let records = duel::run(&entries, options);
    let claims = [Claim::at_most("P8 clear against rebuild", 0, Rival::Named("std rebuild"), 1.0 / 200.0, 1.0 / 200.0)];
    Table::new(
        "queue clear, 10 of 10,000",
        "ns a symbol cleared, one thread; 1,000 symbols of 10 requests each; std filters its vector and makes a heap of it \
         again; orx is told the ids, which its owner would have to keep by symbol",
        &CLEAR_METRICS,
        &entries,
        records,
        &claims,
        options,
    )
}

/// Gives every table of the subject to `done` as it is ready.
pub fn run(options: &Options, done: &mut dyn FnMut(Table)) {
    let sizes: &[usize] = if options.is_check() { &[100] } else { &[1_000, 10_000, 100_000] };
    for keys in [Keys::Aged, Keys::Classes] {
        sizes.iter().for_each(|size| done(hold(options, *size, keys)));
    }
    sizes.iter().for_each(|size| done(mutate(options, *size)));
    done(clear(options));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_queue_gives_the_keys_in_order() {
        check::<Std>("std");
        #[cfg(feature = "peers")]
        {
            check::<Orx>("orx");
            check::<PriorityQueue>("priority-queue");
            check::<Keyed>("keyed_priority_queue");
            check::<Dary>("dary_heap");
            check::<Nexus>("nexus");
        }
        #[cfg(feature = "peers-avx2")]
        check::<Quick>("quickheap");
    }

    #[cfg(feature = "peers")]
    #[test]
    fn every_mutable_queue_changes_and_removes() {
        check_mutable::<Orx>("orx");
        check_mutable::<PriorityQueue>("priority-queue");
        check_mutable::<Keyed>("keyed_priority_queue");
        check_mutable::<Nexus>("nexus");
    }

    #[test]
    fn a_cleared_symbol_is_gone_and_the_others_are_not() {
        check_clear::<Std>("std");
        #[cfg(feature = "peers")]
        check_clear::<Orx>("orx");
    }

    #[test]
    fn words_sort_as_keys_do() {
        let low = Key { priority: 1, deadline: u64::MAX >> 3 };
        let high = Key { priority: 2, deadline: 0 };
        assert!(low < high && low.word() < high.word());
        assert_eq!(Key::from_word(low.word()), low);
    }
}
