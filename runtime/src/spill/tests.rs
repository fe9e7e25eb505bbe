//! The store beside a queue, with seeds; media that fail; rings that are full.

use super::store::{Disk, Store};
use super::*;
use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex};
use tapeline_core::event::payload::News;
use tapeline_core::event::{EventBuf, EventRef, Slot};
use tapeline_core::limits::SPAN_SLOTS_MAX;
use tapeline_core::testing::{Prng, for_seeds};
use tracing::Dispatch;

/// A medium in memory that may fail.
#[derive(Clone, Default)]
struct Medium(Arc<Mutex<Bytes>>);

#[derive(Default)]
struct Bytes {
    bytes: Vec<u8>,
    /// Writes that succeed before all others fail; `None` = all do.
    writes: Option<u64>,
    reads_fail: bool,
}

impl Disk for Medium {
    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        let mut medium = self.0.lock().unwrap();
        match &mut medium.writes {
            Some(0) => return Err(io::Error::from(io::ErrorKind::StorageFull)),
            Some(left) => *left -= 1,
            None => {}
        }
        let end = at as usize + bytes.len();
        if medium.bytes.len() < end {
            medium.bytes.resize(end, 0);
        }
        medium.bytes[at as usize..end].copy_from_slice(bytes);
        Ok(())
    }

    fn read_at(&self, bytes: &mut [u8], at: u64) -> io::Result<()> {
        let medium = self.0.lock().unwrap();
        if medium.reads_fail {
            return Err(io::Error::other("wanted by a test"));
        }
        bytes.copy_from_slice(&medium.bytes[at as usize..at as usize + bytes.len()]);
        Ok(())
    }
}

/// An event of 1 to 64 slots whose every word says which it is.
fn event(seq: u64, slots: usize) -> Vec<Slot> {
    let mut event = EventBuf::new(&News { id: seq, ..News::default() });
    event.head_mut().seq = seq;
    for _ in 1..slots {
        event.push_words([seq; 7]).unwrap();
    }
    event.slots().to_vec()
}

fn random_event(prng: &mut Prng, seq: u64) -> Vec<Slot> {
    let slots = if prng.one_in(3) { 1 + prng.index(SPAN_SLOTS_MAX) } else { 1 };
    event(seq, slots)
}

#[test]
fn the_store_is_a_queue_whatever_the_medium_does_to_writes() {
    let (mut written, mut full, mut failed) = (0, 0, 0);
    for_seeds(0..60, |seed, prng| {
        let medium = Medium::default();
        let fails = prng.one_in(2);
        medium.0.lock().unwrap().writes = fails.then(|| prng.in_range(0..6));
        let places = 1 + prng.in_range(0..5);
        let mut store = Store::new(Box::new(medium.clone()), places * PLACE_BYTES + 17);
        let (mut twin, mut seq, mut has_failed) = (VecDeque::new(), 0, false);
        for _ in 0..60 {
            // Phases of more coming than going, and the other way round.
            let (come, go) = if prng.one_in(2) { (900, 100) } else { (100, 900) };
            for _ in 0..prng.in_range(0..come) {
                match store.make_room() {
                    Ok(true) => {
                        let event = random_event(prng, seq);
                        store.put(&event);
                        twin.push_back(event);
                        seq += 1;
                    }
                    Ok(false) => full += 1,
                    Err(_) => {
                        assert!(fails && !has_failed, "seed {seed}: a failure is told once");
                        has_failed = true;
                        failed += 1;
                    }
                }
            }
            for _ in 0..prng.in_range(0..go) {
                let first = store.first().unwrap();
                assert_eq!(first.map(|event| event.slots()), twin.front().map(Vec::as_slice), "seed {seed}");
                store.pop();
                twin.pop_front();
            }
            assert_eq!(store.is_empty(), twin.is_empty(), "seed {seed}");
            assert!(medium.0.lock().unwrap().bytes.len() as u64 <= places * PLACE_BYTES, "seed {seed}: the limit");
        }
        while let Some(event) = twin.pop_front() {
            assert_eq!(store.first().unwrap().map(|event| event.slots()), Some(&event[..]), "seed {seed}");
            store.pop();
        }
        assert!(store.is_empty() && store.first().unwrap().is_none(), "seed {seed}");
        assert_eq!(store.written, store.read, "seed {seed}");
        written += store.written;
    });
    assert!(written > 100 && full > 100 && failed > 10, "{written} {full} {failed}");
}

/// A store with more than one block in its file.
fn filled(medium: &Medium) -> (Store, u64) {
    let mut store = Store::new(Box::new(medium.clone()), 8 * PLACE_BYTES);
    let mut seq = 0;
    while store.written < 3 {
        assert!(store.make_room().unwrap());
        store.put(&event(seq, 1));
        seq += 1;
    }
    (store, seq)
}

#[test]
fn a_block_that_was_changed_or_cannot_be_read_is_refused() {
    for at in (0..64).chain([64, 65, 1_000, 64 * 4_000]) {
        let medium = Medium::default();
        let (mut store, _) = filled(&medium);
        medium.0.lock().unwrap().bytes[at] ^= 1;
        // The first block was in memory before there was any in the file.
        let mut error = None;
        while error.is_none() {
            match store.first() {
                Ok(Some(_)) => store.pop(),
                Ok(None) => panic!("byte {at}: all of it came back"),
                Err(told) => error = Some(told),
            }
        }
        let told = error.unwrap().to_string();
        assert_eq!(told, "the block at 0 is not what was written there", "byte {at}");
    }
    let medium = Medium::default();
    let (mut store, _) = filled(&medium);
    medium.0.lock().unwrap().reads_fail = true;
    let told = loop {
        match store.first() {
            Ok(_) => store.pop(),
            Err(error) => break error.to_string(),
        }
    };
    assert_eq!(told, "wanted by a test");
}

/// Takes what is at hand.
fn take(port: &mut SpillPort) -> Option<u64> {
    let mut slots = [Slot::ZERO; SPAN_SLOTS_MAX];
    let span = port.unspill(&mut slots);
    EventRef::first(&slots[..span]).map(|event| event.head().seq)
}

#[test]
fn req_3454_what_is_spilled_comes_back_in_order_and_what_finds_no_room_is_refused_by_reason() {
    let mut spill = Spill::new(Dispatch::none());
    let store = Store::new(Box::new(Medium::default()), 2 * PLACE_BYTES);
    let mut port = spill.add(store, 1_024);
    let (mut sent, mut refused) = (0_u64, 0_u64);
    while refused < 2_000 {
        let slots = event(sent, 1);
        match port.spill(EventRef::first(&slots).unwrap()) {
            true => sent += 1,
            false => refused += 1,
        }
        let _ = spill.poll();
    }
    // Two blocks in the file, one in memory at either end, and the rings.
    assert!(sent > 4 * 4_000 && sent < 4 * 4_200 + 1_024 + BACK_RING_SLOTS as u64, "{sent}");
    assert_eq!(*port.counts(), SpillCounts { spilled: sent, refused_full: 2_000, ..SpillCounts::default() });
    for expected in 0..sent {
        let seq = loop {
            match take(&mut port) {
                Some(seq) => break seq,
                None => assert!(spill.poll(), "{expected} of {sent} came back"),
            }
        };
        assert_eq!(seq, expected);
    }
    assert!(take(&mut port).is_none() && !spill.poll());
    assert_eq!((port.counts().returned, port.counts().refused_failed), (sent, 0));
    // There is room again.
    assert!(port.spill(EventRef::first(&event(7, 3)).unwrap()));
    let report = spill.end();
    assert!(report.blocks_written >= 2 && report.blocks_written == report.blocks_read, "{report:?}");
    assert_eq!(report.blocks_most, 2);
    assert!(report.reasons.is_empty(), "{report:?}");
}

#[test]
fn a_write_that_fails_loses_nothing_and_is_counted_and_told() {
    let medium = Medium::default();
    medium.0.lock().unwrap().writes = Some(1);
    let mut spill = Spill::new(Dispatch::none());
    let mut port = spill.add(Store::new(Box::new(medium), 50 * PLACE_BYTES), 1_024);
    let (mut sent, mut refused) = (0_u64, 0_u64);
    while refused < 100 {
        let slots = event(sent, 1);
        match port.spill(EventRef::first(&slots).unwrap()) {
            true => sent += 1,
            false => refused += 1,
        }
        let _ = spill.poll();
    }
    assert_eq!((port.counts().refused_full, port.counts().refused_failed), (0, 100));
    for expected in 0..sent {
        let seq = loop {
            match take(&mut port) {
                Some(seq) => break seq,
                None => assert!(spill.poll(), "{expected} of {sent} came back"),
            }
        };
        assert_eq!(seq, expected);
    }
    assert!(take(&mut port).is_none());
    let report = spill.end();
    assert_eq!((report.writes_failed, report.blocks_written), (1, 1));
    assert_eq!(report.reasons.len(), 1);
    assert!(report.reasons[0].starts_with("spilled events could not be written: "), "{report:?}");
}

#[test]
#[should_panic(expected = "the store of spilled events: spilled events could not be read back: wanted by a test")]
fn what_cannot_come_back_ends_the_shard_with_the_reason() {
    let medium = Medium::default();
    let mut spill = Spill::new(Dispatch::none());
    let mut port = spill.add(Store::new(Box::new(medium.clone()), 50 * PLACE_BYTES), 1_024);
    for seq in 0..30_000 {
        let slots = event(seq, 1);
        while !port.spill(EventRef::first(&slots).unwrap()) {
            let _ = spill.poll();
        }
    }
    medium.0.lock().unwrap().reads_fail = true;
    loop {
        let _ = spill.poll();
        let _ = take(&mut port);
    }
}

#[test]
fn files_have_no_name_and_a_bad_folder_is_an_error() {
    let folder = std::env::temp_dir().join(format!("tapeline-spill-test-{}", std::process::id()));
    std::fs::create_dir(&folder).unwrap();
    let settings = Settings { folders: vec![folder.clone()], limit_bytes: PLACE_BYTES };
    let mut spill = Spill::new(Dispatch::none());
    let _ports = [spill.add_shard(&settings).unwrap(), spill.add_shard(&settings).unwrap()];
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 0);
    std::fs::remove_dir(&folder).unwrap();
    let error = spill.add_shard(&settings).unwrap_err().to_string();
    assert!(error.starts_with("spill.folders: ") && error.contains("tapeline-spill-test"), "{error}");
}
