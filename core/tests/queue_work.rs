//! What the operations of the request queue cost, in elements looked at: the same on every machine, and beside each the design that it
//! replaces, which must fail the bound.

use tapeline_core::queue::{Config, Pending, Priority, Pushed, Request, RequestQueue};
use tapeline_core::slab::Handle;
use tapeline_core::testing::{Prng, steps_of};
use tapeline_core::units::{SymbolId, UnixNanos};

const SIZES: [usize; 3] = [1_000, 10_000, 100_000];
const NOW: UnixNanos = UnixNanos(1_000_000_000_000);

/// Looks that an operation in O(log n) may take in two heaps of n: a path in each, four children a line, and what surrounds them.
fn log_bound(n: usize) -> u64 {
    let levels = u64::from(n.ilog2()) / 2 + 2;
    40 + 2 * 3 * levels
}

fn config(symbols: usize, capacity: usize) -> Config {
    Config {
        symbols,
        capacity,
        per_symbol: u32::MAX,
        in_flight_per_symbol: u32::MAX,
        merge_window_ns: 0,
        ..Config::default()
    }
}

fn request(symbol: usize, class: usize) -> Request<u64> {
    let priority = Priority::new(class as u8).unwrap();
    Request { symbol: SymbolId(symbol as u32), groups: 1, priority, expires_at: UnixNanos(u64::MAX / 2), payload: 7 }
}

/// A queue of `n` requests: of one symbol, one of each symbol, or spread by a law of squares. Times and classes at random.
fn filled(prng: &mut Prng, spread: usize, n: usize) -> (RequestQueue<u64>, Vec<Handle>, u64) {
    let symbols = if spread == 0 { 1 } else { n };
    let mut queue = RequestQueue::new(&config(symbols, n + 1));
    let mut now = NOW.0;
    let handles = (0..n).map(|at| {
        now += prng.log_uniform(30);
        let of = prng.index(n);
        let symbol = [0, at, of * of / n][spread];
        match queue.push(UnixNanos(now), request(symbol, prng.index(8))) {
            Pushed::Queued(handle) => handle,
            refused => panic!("{refused:?}"),
        }
    });
    let handles = handles.collect();
    (queue, handles, now)
}

/// The most looks that `operation` took, of 200 times.
fn most(mut operation: impl FnMut()) -> u64 {
    (0..200).map(|_| steps_of(&mut operation).1).max().unwrap()
}

#[test]
fn req_q1_push_pop_reprioritise_and_remove_look_at_a_path_and_a_search_through_a_list_looks_at_all() {
    let mut prng = Prng::new(1);
    for (spread, n) in (0..3).flat_map(|spread| SIZES.map(|n| (spread, n))) {
        let (mut queue, mut handles, now) = filled(&mut prng, spread, n);
        let bound = log_bound(n);
        let now = UnixNanos(now);
        let popped = most(|| {
            let pending = queue.pop(now).unwrap();
            assert!(matches!(queue.push(now, pending.request), Pushed::Queued(_)));
        });
        assert!(popped <= 2 * bound, "spread {spread}, {n}: pop and push took {popped}");
        let changed = most(|| {
            let handle = handles[prng.index(n)];
            let _ = queue.reprioritise(handle, Priority::new(prng.index(8) as u8).unwrap());
        });
        assert!(changed <= bound, "spread {spread}, {n}: reprioritise took {changed}");
        let removed = most(|| {
            let at = prng.index(handles.len());
            let _ = queue.remove(handles.swap_remove(at));
        });
        assert!(removed <= bound, "spread {spread}, {n}: remove took {removed}");
        queue.assert_invariants();

        // The old design, a list that is searched: the next is found by a look at all of them, and so is one by its id.
        let (next, steps) =
            steps_of(|| queue.iter().min_by_key(|pending| (pending.request.priority, pending.queued_at)));
        assert!(next.is_some() && steps > 2 * bound, "a search for the next took {steps}");
        let last = queue.iter().last().unwrap().handle;
        let (found, steps) = steps_of(|| queue.iter().find(|pending| pending.handle == last));
        assert!(found.is_some() && steps > bound, "a search for an id took {steps}");
    }
}

#[test]
fn req_q2_a_clear_looks_at_the_requests_of_the_symbol_and_a_rebuild_looks_at_all() {
    let mut prng = Prng::new(2);
    for n in SIZES {
        let mut queue = RequestQueue::new(&config(n, n + 100));
        for at in 0..n {
            let _ = queue.push(NOW, request(at % (n - 3), prng.index(8)));
        }
        for own in [0, 1, 10, 90] {
            let symbol = SymbolId(n as u32 - 1);
            for _ in 0..own {
                let _ = queue.push(NOW, request(n - 1, prng.index(8)));
            }
            let (cleared, steps) = steps_of(|| queue.clear(symbol, |_| ()));
            assert_eq!(cleared, own);
            assert!(steps <= log_bound(n) + 12 * own as u64, "{own} of {n}: {steps}");
        }
        queue.assert_invariants();
        // The old design keeps what is of other symbols, and makes a heap of it.
        let (kept, steps) =
            steps_of(|| queue.iter().filter(|pending| pending.request.symbol != SymbolId(n as u32 - 1)).count());
        assert!(kept == n && steps > log_bound(n) + 12 * 90, "a rebuild took {steps}");
    }
}

/// All symbols but one are at their limit in flight, with the more urgent requests.
#[test]
fn req_q3_the_next_that_may_run_is_found_without_a_look_at_those_that_may_not() {
    for n in SIZES {
        let config = Config { in_flight_per_symbol: 1, ..config(n, 2 * n) };
        let mut queue = RequestQueue::new(&config);
        for symbol in 0..n - 1 {
            let _ = queue.push(NOW, request(symbol, 0));
            let _ = queue.push(NOW, request(symbol, 0));
        }
        while queue.pop(NOW).is_some() {}
        assert_eq!(queue.len(), n - 1, "one of each runs, and one of each waits");
        let pop = |queue: &mut RequestQueue<u64>| {
            let Pushed::Queued(handle) = queue.push(NOW, request(n - 1, 7)) else { panic!("there is room") };
            let (next, steps) = steps_of(|| queue.pop(NOW));
            assert_eq!(next.map(|pending| pending.handle), Some(handle));
            assert!(queue.finish(SymbolId(n as u32 - 1)));
            steps
        };
        let steps = (0..50).map(|_| pop(&mut queue)).max().unwrap();
        assert!(steps <= log_bound(n), "{n}: {steps}");
        // And when none may run, that is known at once.
        let (none, steps) = steps_of(|| queue.pop(NOW));
        assert!(none.is_none() && steps <= 4, "{n}: {steps}");
        // A symbol that is through comes back, and no other is looked at.
        let (finished, steps) = steps_of(|| queue.finish(SymbolId(0)));
        assert!(finished && steps <= log_bound(n), "{n}: {steps}");

        // The old design takes the first off the heap again and again, and puts back what may not run.
        let _ = queue.push(NOW, request(n - 1, 7));
        let mut in_order: Vec<Pending<u64>> =
            queue.iter().filter(|pending| pending.request.symbol != SymbolId(0)).collect();
        in_order.sort_by_key(|pending| (pending.request.priority, pending.queued_at));
        let mut looks = 0;
        let next = in_order.iter().find(|pending| {
            looks += 1;
            queue.in_flight(pending.request.symbol) == 0
        });
        assert!(next.is_some_and(|next| next.request.symbol == SymbolId(n as u32 - 1)) && looks > log_bound(n));
    }
}

/// What a push may merge with is sought among the requests of its symbol inside the window, of which there are 65 at most.
#[test]
fn req_3382_a_merge_looks_at_the_symbols_own_window_and_at_nothing_else() {
    const SECOND: u64 = 1_000_000_000;
    for n in SIZES {
        let mut queue = RequestQueue::new(&Config { merge_window_ns: SECOND, ..config(n, 3 * n) });
        // Others' requests, and as many of its own from before the window.
        for at in 0..n {
            let _ = queue.push(NOW, request(at, 3));
        }
        for at in 0..n as u64 {
            let _ = queue.push(NOW.saturating_add(at * 2 * SECOND), request(0, 3));
        }
        assert_eq!(queue.pending(SymbolId(0)), n, "each of its own is older than the window of the next, but for one");
        let now = NOW.saturating_add(4 * n as u64 * SECOND);
        let groups = |groups| Request { groups, ..request(0, 3) };
        for bit in 0..64 {
            assert!(matches!(queue.push(now, groups(1 << bit)), Pushed::Queued(_)));
        }
        let (merged, steps) = steps_of(|| queue.push(now, groups(1)));
        assert!(matches!(merged, Pushed::Merged(_)) && steps <= 3 * 65 + log_bound(n), "{n}: {steps}");
        let (joined, steps) = steps_of(|| queue.push(now, groups(3)));
        assert!(matches!(joined, Pushed::Joined(_)) && steps <= 3 * 65 + log_bound(n), "{n}: {steps}");
        let (queued, steps) = steps_of(|| queue.push(now, Request { groups: 1 << 5, ..request(n - 1, 3) }));
        assert!(matches!(queued, Pushed::Queued(_)) && steps <= log_bound(n), "{n}: {steps}");
        queue.assert_invariants();
        // The old design compares with everything that is pending.
        let equal = |pending: &Pending<u64>| pending.request.symbol == SymbolId(0) && pending.request.groups == 1 << 63;
        let (_, steps) = steps_of(|| queue.iter().filter(equal).count());
        assert!(steps > 3 * 65 + log_bound(n), "{n}: {steps}");
    }
}
