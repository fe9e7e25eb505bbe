//! `duel queue`: indexed priority queues (P7, P8).
//!
//! To add a contender, implement [`PriorityQueueContender`], and [`Mutable`] and [`ClearSymbol`] where it can, and give it a row
//! in `hold_entries`, `mutate_entries`, `clear_entries` and `capped_entries`. [`check`] is its test.

mod capped;
mod ours;
#[cfg(feature = "peers")]
mod peers;
mod standard;
mod whole;
mod work;

use crate::duel::{self, Entry, Options, Role};
use crate::report::{Claim, Rival, Table};
use crate::single;
pub use capped::{Capped, CappedPops, Limited, SetAside};
pub use ours::Ours;
#[cfg(feature = "peers-avx2")]
pub use peers::Quick;
#[cfg(feature = "peers")]
pub use peers::{Dary, Keyed, Nexus, Orx, PriorityQueue};
pub use standard::Std;
pub use whole::{Whole, check_whole};
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

    /// Takes the first request by key: its id and key. Among equal keys any. (Only [`Whole`] has an order of its own.)
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
/// Metrics of `queue capped`.
pub const CAPPED_METRICS: [&str; 2] = ["pop_ns", "capped_ns"];

fn hold_entry<'a, Q: PriorityQueueContender + 'a>(
    name: &'static str,
    role: Role,
    size: usize,
    keys: Keys,
    options: &'a Options,
) -> Entry<'a> {
    let build = move || Hold::<Q>::new(size, keys, options.seed);
    single::entry(name, role, options, HOLD_METRICS.len(), build, |work, meter| work.step(meter))
}

fn hold_entries(size: usize, keys: Keys, options: &Options) -> Vec<Entry<'_>> {
    let whole = match keys {
        Keys::Aged => hold_entry::<Whole<true>>,
        Keys::Classes => hold_entry::<Whole<false>>,
    };
    #[allow(unused_mut)]
    let mut entries = vec![
        hold_entry::<Ours>("tapeline heap", Role::Ours, size, keys, options),
        whole("tapeline whole queue", Role::Variant, size, keys, options),
        hold_entry::<Std>("std BinaryHeap", Role::Peer, size, keys, options),
    ];
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
        "ns a pair of push and pop, one thread, at a steady size; std, dary_heap and quickheap know no \
         ids: they can neither change nor remove a request. The whole queue: two levels, FIFO, turns, limits, a timer a request; \
         it makes its keys of class and time itself",
        &HOLD_METRICS,
        &entries,
        records,
        &claims,
        options,
    )
}

fn mutate_entry<'a, Q: Mutable + 'a>(name: &'static str, role: Role, size: usize, options: &'a Options) -> Entry<'a> {
    let build = move || Mutate::<Q>::new(size, options.seed);
    single::entry(name, role, options, MUTATE_METRICS.len(), build, |work, meter| work.step(meter))
}

fn mutate_entries(size: usize, options: &Options) -> Vec<Entry<'_>> {
    #[allow(unused_mut)]
    let mut entries = vec![
        mutate_entry::<Ours>("tapeline heap", Role::Ours, size, options),
        mutate_entry::<Whole<true>>("tapeline whole queue", Role::Variant, size, options),
    ];
    #[cfg(feature = "peers")]
    {
        entries.push(mutate_entry::<Orx>("orx 4-ary of indices", Role::Peer, size, options));
        entries.push(mutate_entry::<PriorityQueue>("priority-queue", Role::Peer, size, options));
        entries.push(mutate_entry::<Keyed>("keyed_priority_queue", Role::Peer, size, options));
        entries.push(mutate_entry::<Nexus>("nexus pairing heap", Role::Peer, size, options));
    }
    entries
}

/// P8: of the operations 40 % push, 30 % pop, 20 % change a key and 10 % remove.
#[must_use]
pub fn mutate(options: &Options, size: usize) -> Table {
    let entries = mutate_entries(size, options);
    let records = duel::run(&entries, options);
    let claims = [
        Claim::at_most("P8 change against our pop", 2, Rival::Own(1), 0.5, 0.5),
        Claim::at_most("P8 remove against our pop", 3, Rival::Own(1), 0.5, 0.5),
    ];
    Table::new(
        &format!("queue mutate, {size} queued"),
        "ns an operation, one thread; batches of 64 pushes, 48 pops, 32 changes, 16 removals of random requests; symbols by \
         Zipf 1.1 over 5,000; nexus changes a key by unlink and push; the whole queue changes the class",
        &MUTATE_METRICS,
        &entries,
        records,
        &claims,
        options,
    )
}

fn clear_entry<'a, Q: ClearSymbol + 'a>(name: &'static str, role: Role, options: &'a Options) -> Entry<'a> {
    let build = move || Clear::<Q>::new(if options.is_check() { 200 } else { 1_000 }, options.seed);
    single::entry(name, role, options, CLEAR_METRICS.len(), build, |work, meter| work.step(meter))
}

fn clear_entries(options: &Options) -> Vec<Entry<'_>> {
    #[allow(unused_mut)]
    let mut entries = vec![
        clear_entry::<Whole<true>>("tapeline whole queue", Role::Ours, options),
        clear_entry::<Ours>("tapeline heap, 10 removals", Role::Variant, options),
        clear_entry::<Std>("std rebuild", Role::Peer, options),
    ];
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
         again; orx and our heap are told the ids, which their owner would have to keep by symbol",
        &CLEAR_METRICS,
        &entries,
        records,
        &claims,
        options,
    )
}

fn capped_entry<'a, C: Capped + 'a>(name: &'static str, role: Role, size: usize, options: &'a Options) -> Entry<'a> {
    let build = move || CappedPops::<C>::new(size);
    single::entry(name, role, options, CAPPED_METRICS.len(), build, |work, meter| work.step(meter))
}

fn capped_entries(size: usize, options: &Options) -> Vec<Entry<'_>> {
    #[allow(unused_mut)]
    let mut entries = vec![
        capped_entry::<Limited>("tapeline whole queue", Role::Ours, size, options),
        capped_entry::<SetAside<Ours>>("tapeline heap, set aside", Role::Variant, size, options),
        capped_entry::<SetAside<Std>>("std, set aside", Role::Peer, size, options),
    ];
    #[cfg(feature = "peers")]
    entries.push(capped_entry::<SetAside<Orx>>("orx, set aside", Role::Peer, size, options));
    entries
}

/// P8: half of the requests, the most urgent ones, are of a symbol that may run no more.
#[must_use]
pub fn capped(options: &Options, size: usize) -> Table {
    let entries = capped_entries(size, options);
    let records = duel::run(&entries, options);
    let claims = [Claim::at_most("P8 capped against our pop", 1, Rival::Own(0), 2.0, 2.0)];
    Table::new(
        &format!("queue capped, {size} queued"),
        "ns a pop, one thread; half of the requests are of one symbol and come first; capped: it has as many in flight as it may, and the \
         next request of another symbol is wanted. A queue without limits pops what may not run, sets it aside and pushes it again",
        &CAPPED_METRICS,
        &entries,
        records,
        &claims,
        options,
    )
}

/// Gives every table of the subject to `done` as it is ready.
pub fn run(options: &Options, done: &mut dyn FnMut(Table)) {
    if options.is_check() {
        check_all();
    }
    let sizes: &[usize] = if options.is_check() { &[100] } else { &[1_000, 10_000, 100_000] };
    for keys in [Keys::Aged, Keys::Classes] {
        sizes.iter().for_each(|size| done(hold(options, *size, keys)));
    }
    sizes.iter().for_each(|size| done(mutate(options, *size)));
    done(clear(options));
    sizes.iter().for_each(|size| done(capped(options, *size)));
}

/// Compares every contender with a naive one.
///
/// # Panics
/// When one is wrong.
pub fn check_all() {
    check::<Ours>("our heap");
    check_mutable::<Ours>("our heap");
    check_clear::<Ours>("our heap");
    check_whole();
    check_clear::<Whole<true>>("the whole queue");
    check::<Std>("std");
    check_clear::<Std>("std");
    #[cfg(feature = "peers")]
    {
        check::<Orx>("orx");
        check::<PriorityQueue>("priority-queue");
        check::<Keyed>("keyed_priority_queue");
        check::<Dary>("dary_heap");
        check::<Nexus>("nexus");
        check_mutable::<Orx>("orx");
        check_mutable::<PriorityQueue>("priority-queue");
        check_mutable::<Keyed>("keyed_priority_queue");
        check_mutable::<Nexus>("nexus");
        check_clear::<Orx>("orx");
    }
    #[cfg(feature = "peers-avx2")]
    check::<Quick>("quickheap");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::single::Meter;

    #[test]
    fn every_queue_is_its_naive_twin() {
        check_all();
    }

    #[test]
    fn a_capped_symbol_is_passed_over_and_comes_again() {
        fn run<C: Capped>() {
            let (mut work, mut meter) = (CappedPops::<C>::new(200), Meter::new(2));
            (0..100).for_each(|_| work.step(&mut meter));
        }
        run::<Limited>();
        run::<SetAside<Ours>>();
        run::<SetAside<Std>>();
    }

    #[test]
    fn words_sort_as_keys_do() {
        let low = Key { priority: 1, deadline: u64::MAX >> 3 };
        let high = Key { priority: 2, deadline: 0 };
        assert!(low < high && low.word() < high.word());
        assert_eq!(Key::from_word(low.word()), low);
    }
}
