//! The ring against a `VecDeque`, and the bugs of other rings as tests.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use tapeline_core::event::{EventRef, Kind, KindVersion, Lane, Slot, events};
use tapeline_core::limits::{BATCH_SLOTS, SPAN_SLOTS_MAX};
use tapeline_core::ring::{self, CAPACITY_MIN, Consumer, DUE_NONE, Full, Producer};
use tapeline_core::testing::{CountingAlloc, Prng, allocations, for_seeds};

#[global_allocator]
static ALLOC: CountingAlloc = CountingAlloc;

/// Positions at which something wraps: the tag, the position itself, nothing.
const STARTS: [u64; 6] =
    [0, u32::MAX as u64 - 70, u32::MAX as u64, u64::MAX - 70, u64::MAX, (7 << 32) + u32::MAX as u64 - 3];

/// An event of `span` slots, every byte of which depends on `id`. Its tags are garbage now and then: a ring must not
/// care.
fn event(id: u64, span: usize, prng: &mut Prng) -> Vec<Slot> {
    let mut words = Prng::new(id);
    let mut slots = Vec::with_capacity(span);
    for offset in 0..span {
        let mut slot = Slot::continuation(std::array::from_fn(|_| words.next_u64()));
        if offset == 0 {
            slot.kind = KindVersion::new(Kind::NEWS, (id % 16) as u8);
            slot.set_span(span);
            slot.set_lane(Lane::from_bits(id as u8));
            slot.seq = id;
        }
        if prng.one_in(8) {
            slot.tag = prng.next_u64() as u32;
        }
        slots.push(slot);
    }
    slots
}

fn untagged(slots: &[Slot]) -> Vec<Slot> {
    slots.iter().map(|slot| Slot { tag: 0, ..*slot }).collect()
}

/// The naive twin: slots in order, with their dues, and how many of the last ones are claimed.
struct Model {
    slots: VecDeque<(Slot, u64)>,
    claimed: usize,
    capacity: usize,
    has_dues: bool,
}

impl Model {
    fn free(&self) -> usize {
        self.capacity - self.slots.len()
    }

    fn published(&self) -> usize {
        self.slots.len() - self.claimed
    }

    fn add(&mut self, slots: &[Slot], dues: &[u64]) {
        for (slot, due) in untagged(slots).into_iter().zip(dues) {
            self.slots.push_back((slot, if self.has_dues { *due } else { DUE_NONE }));
        }
    }

    /// Slots of whole published events that fit `room`.
    fn takes(&self, room: usize, events_max: usize) -> usize {
        let mut slots = 0;
        for _ in 0..events_max {
            if slots == self.published() || slots + self.slots[slots].0.span() > room {
                break;
            }
            slots += self.slots[slots].0.span();
        }
        slots
    }
}

/// Runs `ops` seeded operations on a ring and its twin.
fn run(capacity: usize, start: u64, has_dues: bool, ops: usize, prng: &mut Prng) {
    let (mut producer, mut consumer) = ring::channel_at(capacity, start, has_dues);
    let mut model = Model { slots: VecDeque::new(), claimed: 0, capacity, has_dues };
    let (mut next_id, mut popped) = (1u64, 0u64);
    // Phases that fill and phases that drain, so that full and empty both happen.
    let mut push_bias = 5;
    for _ in 0..ops {
        if prng.one_in(64) {
            push_bias = 2 + prng.in_range(0..7);
        }
        let span_max = if prng.one_in(3) { SPAN_SLOTS_MAX } else { 3 } as u64;
        let span = 1 + prng.index(span_max as usize);
        if prng.in_range(0..10) < push_bias {
            let slots = event(next_id, span, prng);
            let due = prng.next_u64() >> 1;
            let fits = span <= model.free();
            let expected = if fits { Ok(()) } else { Err(Full { shortfall: span - model.free() }) };
            match prng.in_range(0..6) {
                0 | 1 => {
                    assert_eq!(producer.push(&slots), expected);
                    if fits {
                        model.add(&slots, &vec![DUE_NONE; span]);
                        model.claimed = 0;
                    }
                }
                2 => {
                    assert_eq!(producer.push_due(&slots, due), expected);
                    if fits {
                        model.add(&slots, &vec![due; span]);
                        model.claimed = 0;
                    }
                }
                3 => {
                    assert_eq!(producer.claim(&slots), expected);
                    if fits {
                        model.add(&slots, &vec![DUE_NONE; span]);
                        model.claimed += span;
                    }
                }
                4 => {
                    assert_eq!(producer.claim_due(&slots, due), expected);
                    if fits {
                        model.add(&slots, &vec![due; span]);
                        model.claimed += span;
                    }
                }
                _ => {
                    let (mut run, mut whole) = (Vec::new(), 0);
                    for offset in 0..prng.in_range(0..100) {
                        let span = if prng.one_in(6) { 1 + prng.index(span_max as usize) } else { 1 };
                        run.extend(event(next_id + offset, span, prng));
                        if run.len() <= model.free() {
                            whole = run.len();
                        }
                    }
                    let dues: Vec<u64> = run.iter().map(|_| prng.next_u64() >> 1).collect();
                    let with_dues = prng.one_in(2);
                    assert_eq!(producer.push_batch(&run, with_dues.then_some(&dues[..])), whole);
                    let dues = if with_dues { dues } else { vec![DUE_NONE; run.len()] };
                    model.add(&run[..whole], &dues[..whole]);
                    model.claimed = 0;
                    next_id += 100;
                }
            }
            next_id += 1;
        } else if prng.one_in(6) {
            producer.commit();
            model.claimed = 0;
        } else {
            let mut out = vec![Slot { seq: 77, tag: 77, ..Slot::ZERO }; 1 + prng.index(100)];
            let mut dues = vec![77u64; out.len()];
            let single = prng.one_in(2);
            let expected = model.takes(out.len(), if single { 1 } else { usize::MAX });
            let with_dues = !single && prng.one_in(2);
            if let Some(head) = consumer.peek() {
                assert_eq!(head, model.slots[0].0);
                assert_eq!(consumer.peek_due(), Some(model.slots[0].1));
            } else {
                assert_eq!((model.published(), consumer.peek_due()), (0, None));
            }
            let taken = match (single, with_dues) {
                (true, _) => consumer.pop(&mut out),
                (false, true) => consumer.pop_batch(&mut out, Some(&mut dues)),
                (false, false) => consumer.pop_batch(&mut out, None),
            };
            assert_eq!(taken, expected, "slots taken into a buffer of {}", out.len());
            for (slot, due) in out[..taken].iter().zip(&dues) {
                let (slot_expected, due_expected) = model.slots.pop_front().unwrap();
                assert_eq!(*slot, slot_expected);
                assert!(!with_dues || *due == due_expected, "due {due}, not {due_expected}");
            }
            assert_eq!(events(&out[..taken]).map(|event| event.slots().len()).sum::<usize>(), taken, "whole events");
            popped += taken as u64;
        }
        // Invariants after each operation.
        assert_eq!(consumer.len(), model.published());
        assert_eq!(consumer.is_empty(), model.published() == 0);
        assert_eq!(producer.claimed_slots(), model.claimed);
        assert_eq!(producer.position(), start.wrapping_add(popped + model.slots.len() as u64));
        assert_eq!(consumer.position(), start.wrapping_add(popped));
        if prng.one_in(3) {
            assert_eq!(producer.free_slots(), model.free());
            assert_eq!(producer.occupied_slots(), model.slots.len());
        }
    }
    assert!(popped > 2 * capacity as u64, "the run went around the ring");
    drop(producer);
    let mut out = [Slot::ZERO; SPAN_SLOTS_MAX];
    assert!(consumer.is_abandoned());
    let mut left = 0;
    loop {
        match consumer.pop(&mut out) {
            0 => break,
            slots => left += slots,
        }
    }
    assert_eq!(left, model.slots.len(), "dropping the producer publishes what was claimed");
}

#[test]
fn the_ring_does_what_a_vec_deque_does() {
    let capacities = [1, 2, 4, 8, 16, 32, 64, 128, 1024];
    for_seeds(0..18, |seed, prng| {
        for start in STARTS {
            let capacity = capacities[seed as usize % capacities.len()];
            run(capacity, start, seed % 2 == 1, 1_500, prng);
        }
    });
}

#[test]
fn every_span_at_every_offset_comes_out_whole() {
    let mut prng = Prng::new(1);
    for start in [0, u64::MAX - 40] {
        let (mut producer, mut consumer) = ring::channel_at(CAPACITY_MIN, start, true);
        let mut out = [Slot::ZERO; SPAN_SLOTS_MAX];
        let mut dues = [0; SPAN_SLOTS_MAX];
        for offset in 0..CAPACITY_MIN as u64 {
            for span in 1..=SPAN_SLOTS_MAX {
                let slots = event(offset * 64 + span as u64, span, &mut prng);
                producer.push_due(&slots, offset).unwrap();
                if span < SPAN_SLOTS_MAX {
                    let free = CAPACITY_MIN - span;
                    let longest = event(9, SPAN_SLOTS_MAX, &mut prng);
                    assert_eq!(producer.push(&longest), Err(Full { shortfall: SPAN_SLOTS_MAX - free }));
                }
                assert_eq!(consumer.pop(&mut out[..span - 1]), 0, "a buffer too short by one leaves the event");
                assert_eq!(consumer.pop_batch(&mut out[..span - 1], None), 0);
                assert_eq!(consumer.pop_batch(&mut out, Some(&mut dues)), span);
                assert_eq!(&out[..span], untagged(&slots));
                assert_eq!(&dues[..span], vec![offset; span]);
                assert_eq!(EventRef::first(&out).unwrap().slots().len(), span);
            }
            // Move on by one slot, so that the next round begins at another cell.
            producer.push(&event(0, 1, &mut prng)).unwrap();
            assert_eq!(consumer.pop(&mut out), 1);
        }
    }
}

/// Events of the two-thread tests: an id in `seq`, a span and contents that follow from it.
fn expected_span(id: u64) -> usize {
    if id % 7 == 3 { 1 + (id as usize * 31) % SPAN_SLOTS_MAX } else { 1 }
}

fn produce(mut producer: Producer, events: u64, stop: &AtomicBool) {
    let mut prng = Prng::new(5);
    let mut id = 0;
    let mut held: Vec<Slot> = Vec::new();
    let mut dues: Vec<u64> = Vec::new();
    while id < events || !held.is_empty() {
        assert!(!stop.load(Ordering::Relaxed), "the consumer gave up");
        while id < events && held.len() < 200 {
            let slots = event(id, expected_span(id), &mut prng);
            dues.extend(slots.iter().map(|_| id));
            held.extend(slots);
            id += 1;
        }
        let span = held[0].span();
        let done = match prng.in_range(0..4) {
            0 => producer.push_batch(&held, Some(&dues)),
            1 => {
                let mut end = 0;
                while end < held.len() {
                    let span = held[end].span();
                    if end > 40 || producer.claim_due(&held[end..end + span], dues[end]).is_err() {
                        break;
                    }
                    end += span;
                }
                producer.commit();
                end
            }
            _ if producer.push_due(&held[..span], dues[0]).is_ok() => span,
            _ => 0,
        };
        if done == 0 {
            std::thread::yield_now();
        }
        held.drain(..done);
        dues.drain(..done);
    }
}

fn consume(mut consumer: Consumer, stop: &AtomicBool) -> u64 {
    struct Stop<'a>(&'a AtomicBool);
    impl Drop for Stop<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let stop = Stop(stop);
    let mut prng = Prng::new(6);
    let mut out = vec![Slot::ZERO; 150];
    let mut dues = vec![0; 150];
    let mut next = 0;
    loop {
        let abandoned = consumer.is_abandoned();
        let len = SPAN_SLOTS_MAX + prng.index(86);
        let taken = if prng.one_in(3) {
            dues.fill(u64::MAX);
            consumer.pop(&mut out[..len])
        } else {
            consumer.pop_batch(&mut out[..len], Some(&mut dues))
        };
        if taken == 0 {
            if abandoned {
                std::mem::forget(stop);
                return next;
            }
            std::thread::yield_now();
            continue;
        }
        let mut offset = 0;
        for slots in events(&out[..taken]) {
            let slots = slots.slots();
            assert_eq!(slots[0].seq, next, "order");
            assert_eq!(slots, untagged(&event(next, expected_span(next), &mut prng)), "content of event {next}");
            assert!(dues[offset] == u64::MAX || dues[offset] == next, "due of event {next}");
            offset += slots.len();
            next += 1;
        }
        assert_eq!(offset, taken, "whole events only");
    }
}

fn two_threads(capacity: usize, start: u64, count: u64) {
    let (producer, consumer) = ring::channel_at(capacity, start, true);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let stop = &stop;
        scope.spawn(move || produce(producer, count, stop));
        assert_eq!(consume(consumer, stop), count, "the consumer had every event before it saw the end");
    });
}

#[test]
fn two_threads_keep_order_content_and_count() {
    for (capacity, start) in [(64, 0), (64, u64::MAX - 1_000), (128, u32::MAX as u64 - 9_999), (1024, 17)] {
        two_threads(capacity, start, 60_000);
    }
}

#[test]
#[ignore = "soak: cargo test -p tapeline-core --test ring_model -- --ignored"]
fn soak_two_threads_for_minutes() {
    for capacity in [64, 128, 1024, 4096] {
        for start in STARTS {
            two_threads(capacity, start, 5_000_000);
        }
    }
}

#[test]
fn nothing_is_allocated_after_the_ring_is_made() {
    let before = allocations();
    let (mut producer, mut consumer) = ring::channel_with_dues(256);
    assert!(allocations() > before, "the allocator counts");
    let mut prng = Prng::new(3);
    let (single, span) = (event(1, 1, &mut prng), event(2, 64, &mut prng));
    let run: Vec<Slot> = (0..100).flat_map(|id| event(id, 1, &mut prng)).collect();
    let dues = vec![9; run.len()];
    let mut out = vec![Slot::ZERO; 256];
    let mut out_dues = vec![0; 256];
    let before = allocations();
    for _ in 0..1_000 {
        producer.push(&single).unwrap();
        producer.push_due(&span, 4).unwrap();
        producer.claim(&single).unwrap();
        producer.commit();
        assert_eq!(producer.push_batch(&run, Some(&dues)), 100);
        assert!(producer.push_batch(&run, None) < 100);
        producer.push(&span).unwrap_err();
        assert!(consumer.peek().is_some() && consumer.peek_due().is_some() && !consumer.is_empty());
        assert_eq!(consumer.pop(&mut out), 1);
        while consumer.pop_batch(&mut out, Some(&mut out_dues)) > 0 {}
    }
    assert_eq!(allocations(), before);
}

#[test]
fn a_new_ring_is_empty_at_any_position_and_a_lap_later() {
    // A tag that is right by chance: zeroed cells at position u32::MAX, or a start that is no multiple of the capacity.
    let mut prng = Prng::new(4);
    for capacity in [1, 2, 4, 64] {
        for start in (0..200).chain(u32::MAX as u64 - 100..u32::MAX as u64 + 100).chain(u64::MAX - 100..=u64::MAX) {
            let (mut producer, mut consumer) = ring::channel_at(capacity, start, false);
            assert!(consumer.is_empty() && consumer.peek().is_none());
            assert_eq!(consumer.len(), 0);
            assert_eq!(producer.free_slots(), capacity);
            for id in 0..capacity as u64 * 2 + 1 {
                producer.push(&event(id, 1, &mut prng)).unwrap();
                let mut out = [Slot::ZERO];
                assert_eq!((consumer.pop(&mut out), out[0].seq), (1, id));
                assert!(consumer.is_empty(), "the slot after position {id} from {start}");
            }
        }
    }
}

/// A continuation without a tag of its own: its payload is taken for an event of the next lap.
#[test]
fn a_continuation_that_looks_like_the_next_laps_tag_is_not_an_event() {
    let (mut producer, mut consumer) = ring::channel_at(4, 0, false);
    let mut prng = Prng::new(8);
    let mut out = [Slot::ZERO; 4];
    let mut slots = event(1, 3, &mut prng);
    slots[1].tag = 6; // position 5's
    slots[2].tag = 7; // position 6's
    producer.push(&slots).unwrap();
    assert_eq!(consumer.pop(&mut out), 3);
    producer.push(&event(2, 1, &mut prng)).unwrap();
    producer.push(&event(3, 1, &mut prng)).unwrap();
    assert_eq!(consumer.pop_batch(&mut out, None), 2);
    assert!(consumer.is_empty());
    assert_eq!(consumer.len(), 0);
}

/// agrona#160, rtrb's and heapless' off-by-one class: exactly full, then one out and one in, at every offset.
#[test]
fn exactly_full_is_full_and_one_free_slot_is_enough() {
    let mut prng = Prng::new(2);
    for start in STARTS {
        let (mut producer, mut consumer) = ring::channel_at(8, start, false);
        for id in 0..8 {
            producer.push(&event(id, 1, &mut prng)).unwrap();
        }
        for id in 8..100 {
            assert_eq!(producer.push(&event(id, 1, &mut prng)), Err(Full { shortfall: 1 }));
            assert_eq!(producer.push(&event(id, 4, &mut prng)), Err(Full { shortfall: 4 }));
            let mut out = [Slot::ZERO];
            assert_eq!((consumer.pop(&mut out), out[0].seq), (1, id - 8));
            assert_eq!(producer.push(&event(id, 2, &mut prng)), Err(Full { shortfall: 1 }));
            producer.push(&event(id, 1, &mut prng)).unwrap();
            assert_eq!((producer.occupied_slots(), consumer.len()), (8, 8));
        }
    }
}

/// crossbeam#523: a length that underflows while the other side moves.
#[test]
fn lengths_stay_within_the_capacity_while_the_other_end_moves() {
    let (mut producer, mut consumer) = ring::channel_at(64, u64::MAX - 500, false);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut prng = Prng::new(1);
            let slot = event(1, 1, &mut prng);
            for _ in 0..200_000 {
                let _ = producer.push(&slot);
                let (free, occupied) = (producer.free_slots(), producer.occupied_slots());
                assert!(free <= 64 && occupied <= 64);
            }
            done.store(true, Ordering::Relaxed);
        });
        let mut out = [Slot::ZERO; 3];
        while !done.load(Ordering::Relaxed) {
            assert!(consumer.len() <= 64);
            consumer.pop_batch(&mut out, None);
        }
    });
}

/// camunda#770: a read that returns 0 at a wrap though there is more.
#[test]
fn a_pop_at_the_wrap_is_not_mistaken_for_empty() {
    let mut prng = Prng::new(2);
    for offset in 0..64 {
        let (mut producer, mut consumer) = ring::channel_at(64, offset, false);
        let run: Vec<Slot> = (0..64).flat_map(|id| event(id, 1, &mut prng)).collect();
        assert_eq!(producer.push_batch(&run, None), 64);
        let mut out = [Slot::ZERO; BATCH_SLOTS];
        assert_eq!(consumer.pop_batch(&mut out, None), 64, "offset {offset}");
    }
}

/// disruptor#286 and the drop races of other rings: what was pushed or claimed before an end is dropped stays readable,
/// and the consumer knows when it has had all.
#[test]
fn dropping_the_producer_loses_nothing_and_dropping_the_consumer_is_seen() {
    let mut prng = Prng::new(2);
    let (mut producer, mut consumer) = ring::channel(64);
    producer.push(&event(1, 5, &mut prng)).unwrap();
    producer.claim(&event(2, 2, &mut prng)).unwrap();
    producer.claim(&event(3, 1, &mut prng)).unwrap();
    assert!(!consumer.is_abandoned() && !producer.is_abandoned());
    drop(producer);
    assert!(consumer.is_abandoned());
    assert_eq!(consumer.pop_batch(&mut [Slot::ZERO; 64], None), 8);
    assert!(consumer.is_empty());

    let (mut producer, consumer) = ring::channel(64);
    producer.push(&event(1, 64, &mut prng)).unwrap();
    drop(consumer);
    assert!(producer.is_abandoned());
    assert_eq!(producer.push(&event(2, 1, &mut prng)), Err(Full { shortfall: 1 }), "an abandoned ring only fills up");
}

/// What is claimed is not visible, takes room, and is published as one.
#[test]
fn claims_are_published_together_and_before_what_is_pushed_after_them() {
    let mut prng = Prng::new(2);
    let (mut producer, mut consumer) = ring::channel_at(8, 6, false);
    producer.claim(&event(1, 1, &mut prng)).unwrap();
    producer.claim(&event(2, 3, &mut prng)).unwrap();
    producer.claim(&event(3, 1, &mut prng)).unwrap();
    assert!(consumer.is_empty());
    assert_eq!(consumer.len(), 0);
    assert_eq!(producer.claim(&event(4, 4, &mut prng)), Err(Full { shortfall: 1 }));
    assert_eq!((producer.claimed_slots(), producer.free_slots()), (5, 3));
    producer.push(&event(5, 1, &mut prng)).unwrap();
    assert_eq!(consumer.len(), 6);
    let mut out = [Slot::ZERO; 8];
    assert_eq!(consumer.pop_batch(&mut out, None), 6);
    assert_eq!(events(&out[..6]).map(|event| event.head().seq).collect::<Vec<_>>(), [1, 2, 3, 5]);
}

#[test]
fn what_is_not_one_event_is_refused_loudly() {
    let panics = |attempt: &dyn Fn()| std::panic::catch_unwind(std::panic::AssertUnwindSafe(attempt)).is_err();
    let mut prng = Prng::new(2);
    let (long, one) = (event(1, 3, &mut prng), event(2, 1, &mut prng));
    let pair = [one[0], one[0]];
    assert!(panics(&|| _ = ring::channel(64).0.push(&[])));
    assert!(panics(&|| _ = ring::channel(64).0.push(&long[..2])));
    assert!(panics(&|| _ = ring::channel(64).0.push(&long[..1])));
    assert!(panics(&|| _ = ring::channel(64).0.push(&pair)));
    assert!(panics(&|| _ = ring::channel(64).0.claim(&long[..1])));
    assert!(panics(&|| _ = ring::channel(64).0.push_batch(&long[..2], None)));
    assert!(panics(&|| _ = ring::channel(64).0.push_batch(&one, Some(&[]))));
    assert!(panics(&|| _ = ring::channel(64).1.pop_batch(&mut [Slot::ZERO; 2], Some(&mut [0]))));
    assert!(panics(&|| _ = ring::channel(63)));
    assert!(panics(&|| _ = ring::channel(32)));
    assert!(panics(&|| _ = ring::channel(96)));
    assert!(panics(&|| _ = ring::channel_with_dues(1 << 25)));
}

#[test]
fn empty_arguments_do_nothing() {
    let (mut producer, mut consumer) = ring::channel(64);
    assert_eq!(producer.push_batch(&[], None), 0);
    assert_eq!(producer.push_batch(&[], Some(&[])), 0);
    producer.commit();
    producer.push(&[Slot::ZERO]).unwrap();
    assert_eq!(consumer.pop(&mut []), 0);
    assert_eq!(consumer.pop_batch(&mut [], None), 0);
    assert_eq!(consumer.len(), 1);
}
