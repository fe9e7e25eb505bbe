//! Snapshots of the request queue: a restored queue goes on as the first would, and no bytes make a bad one.

use tapeline_core::queue::{Config, Pending, Priority, Request, RequestQueue};
use tapeline_core::section::RestoreError;
use tapeline_core::slab::Handle;
use tapeline_core::testing::{Prng, every_cut_and_flip_is_refused, for_seeds, sealed_damage};
use tapeline_core::units::{SymbolId, UnixNanos};

fn config(capacity: usize) -> Config {
    Config {
        symbols: 4,
        capacity,
        per_symbol: 30,
        in_flight_per_symbol: 2,
        aging_step_ns: 1_000_000,
        merge_window_ns: 2_000_000,
        turn_bits: 18,
        tick_ns: 1 << 50,
        instance: 0,
    }
}

/// One random operation; what it gave.
fn step(queue: &mut RequestQueue<u64>, prng: &mut Prng, now: &mut u64, handles: &mut Vec<Handle>) -> Vec<Pending<u64>> {
    *now += prng.log_uniform(21);
    let at = UnixNanos(*now);
    let handle = if handles.is_empty() { Handle::NULL } else { handles[prng.index(handles.len())] };
    let symbol = SymbolId(prng.index(4) as u32);
    let mut out = Vec::new();
    match prng.index(12) {
        0..6 => {
            let request = Request {
                symbol,
                groups: 1 << prng.index(20) | 1 << prng.index(20),
                priority: Priority::new(prng.index(8) as u8).unwrap(),
                expires_at: UnixNanos(if prng.one_in(2) { 0 } else { *now + prng.log_uniform(52) }),
                payload: prng.next_u64(),
            };
            handles.extend(queue.push(at, request).handle());
        }
        6 | 7 => out.extend(queue.pop(at)),
        8 => assert!(queue.finish(symbol) || queue.in_flight(symbol) == 0),
        9 => out.extend(queue.remove(handle)),
        10 => assert_eq!(queue.reprioritise(handle, Priority::FIRST), queue.get(handle).is_some()),
        _ => {
            let _ = queue.expire(at, prng.index(4), |pending| out.push(pending));
        }
    }
    out
}

fn lived(seed: u64, capacity: usize, steps: usize) -> (RequestQueue<u64>, Vec<Handle>, u64) {
    let mut prng = Prng::new(seed);
    let mut queue = RequestQueue::new(&config(capacity));
    let (mut now, mut handles) = (1 << 55, Vec::new());
    for _ in 0..steps {
        step(&mut queue, &mut prng, &mut now, &mut handles);
    }
    (queue, handles, now)
}

fn snapshot(queue: &RequestQueue<u64>) -> Vec<u8> {
    let mut out = b"before".to_vec();
    queue.snapshot(&mut out);
    assert_eq!(out.len() - 6, queue.snapshot_bytes());
    out.split_off(6)
}

#[test]
fn req_q9_pending_requests_survive_a_restart_and_the_queue_goes_on_as_before() {
    let mut pending = 0;
    for_seeds(0..100, |seed, prng| {
        let capacity = [0, 1, 5, 40, 200][seed as usize % 5];
        let (mut first, mut handles, mut now) = lived(seed, capacity, 400);
        let bytes = snapshot(&first);
        let mut second = RequestQueue::<u64>::restore(&config(capacity), &bytes).unwrap();
        second.assert_invariants();
        assert_eq!(snapshot(&second), bytes);
        pending += first.len();
        for handle in &handles {
            assert_eq!(first.get(*handle), second.get(*handle));
        }
        let mut twin_handles = handles.clone();
        let mut twin_now = now;
        for _ in 0..400 {
            let mut same = prng.clone();
            let of_first = step(&mut first, prng, &mut now, &mut handles);
            assert_eq!(of_first, step(&mut second, &mut same, &mut twin_now, &mut twin_handles));
        }
        assert_eq!(handles, twin_handles);
        assert_eq!(snapshot(&first), snapshot(&second));
    });
    assert!(pending > 500, "{pending}");
}

#[test]
fn a_snapshot_allocates_nothing_where_there_is_room() {
    let (queue, ..) = lived(1, 20, 100);
    let mut out = Vec::with_capacity(queue.snapshot_bytes());
    let room = out.as_ptr();
    queue.snapshot(&mut out);
    assert_eq!((out.as_ptr(), out.len()), (room, out.capacity()));
}

#[test]
fn other_settings_are_refused_by_name() {
    let (queue, ..) = lived(3, 20, 100);
    let bytes = snapshot(&queue);
    let refused = |config: &Config| RequestQueue::<u64>::restore(config, &bytes).unwrap_err().to_string();
    let here = config(20);
    assert_eq!(refused(&config(21)), "the snapshot is of a request queue for 20, this one is for 21");
    for (other, name) in [
        (Config { symbols: 5, ..here }, "symbols 4"),
        (Config { per_symbol: 31, ..here }, "a limit per symbol of 30"),
        (Config { in_flight_per_symbol: 3, ..here }, "a limit in flight of 2"),
        (Config { aging_step_ns: 7, ..here }, "an aging step in ns of 1000000"),
        (Config { merge_window_ns: 7, ..here }, "a merge window in ns of 2000000"),
        (Config { turn_bits: 7, ..here }, "bits of turns 18"),
        (Config { tick_ns: 7, ..here }, "a tick in ns of"),
    ] {
        let refused = refused(&other);
        assert!(refused.contains(name), "{refused}");
    }
    let payload = RequestQueue::<u32>::restore(&here, &bytes).unwrap_err();
    assert_eq!(payload, RestoreError::OtherElement { name: "request queue", snapshot: 56, here: 52 });
}

#[test]
fn every_cut_and_every_flipped_bit_is_refused() {
    let (queue, ..) = lived(5, 3, 60);
    assert!(!queue.is_empty());
    every_cut_and_flip_is_refused(&snapshot(&queue), |bytes| RequestQueue::<u64>::restore(&config(3), bytes).is_ok());
}

/// Whatever was taken works: it can be filled, drained and cleared, and holds every rule after that.
fn works(mut queue: RequestQueue<u64>) {
    queue.assert_invariants();
    let mut prng = Prng::new(9);
    let (mut now, mut handles) = (1 << 56, queue.iter().map(|pending| pending.handle).collect());
    for _ in 0..60 {
        step(&mut queue, &mut prng, &mut now, &mut handles);
    }
    queue.assert_invariants();
    let _ = queue.expire(UnixNanos(u64::MAX), usize::MAX, |_| ());
    for symbol in 0..4 {
        queue.clear(SymbolId(symbol), |_| ());
        while queue.finish(SymbolId(symbol)) {}
    }
    assert!(queue.is_empty());
    queue.assert_invariants();
}

#[test]
fn sealed_damage_is_found_by_validation_or_harmless() {
    let (mut refused, mut taken) = (0, 0);
    for seed in 0..12 {
        let (queue, ..) = lived(seed, 8, 300);
        let bytes = snapshot(&queue);
        // Each of the two sections is damaged and sealed for itself.
        let body = u64::from_le_bytes(bytes[48..56].try_into().unwrap());
        let (own, wheel) = bytes.split_at(64 + body as usize);
        let restore = |bytes: &[u8]| match RequestQueue::restore(&config(8), bytes) {
            Ok(queue) => {
                works(queue);
                true
            }
            Err(_) => false,
        };
        let of_own = sealed_damage(seed * 10..seed * 10 + 5, 200, own, |own| restore(&[own, wheel].concat()));
        let of_wheel = sealed_damage(seed * 10..seed * 10 + 1, 200, wheel, |wheel| restore(&[own, wheel].concat()));
        refused += of_own.0 + of_wheel.0;
        taken += of_own.1 + of_wheel.1;
    }
    assert!(refused > 3_000 && taken > 300, "{refused} {taken}");
}
