//! Snapshots of the history: it goes on as the first one would, and no bytes make a bad one.

use tapeline_core::event::payload::Trade;
use tapeline_core::event::{EventBuf, EventRef};
use tapeline_core::history::{History, PageLimits, Query};
use tapeline_core::section::RestoreError;
use tapeline_core::testing::{Prng, every_cut_and_flip_is_refused, sealed_damage};
use tapeline_core::units::{SymbolId, UnixNanos};

const NO_LIMITS: PageLimits = PageLimits { events: usize::MAX, looks: usize::MAX };

fn record(history: &mut History, prng: &mut Prng, seq: u64, now: u64) {
    let mut event = EventBuf::new(&Trade { price: 1, ..bytemuck::Zeroable::zeroed() });
    let head = event.head_mut();
    (head.symbol, head.seq) = (SymbolId(prng.index(3) as u32), seq);
    for word in 0..prng.index(3) as u64 {
        event.push_words([word; 7]).unwrap();
    }
    history.record(EventRef::first(event.slots()).unwrap(), UnixNanos(now)).unwrap();
}

fn lived(slots: usize, events: u64) -> History {
    let mut prng = Prng::new(events);
    let mut history = History::new(slots, 3, 500);
    for number in 0..events {
        record(&mut history, &mut prng, number, number * 7);
    }
    history
}

fn snapshot(history: &History) -> Vec<u8> {
    let mut bytes = Vec::new();
    history.snapshot(&mut bytes);
    assert_eq!(bytes.len(), history.snapshot_bytes());
    bytes
}

#[test]
fn a_restored_history_goes_on_as_the_first_would() {
    for events in [0, 1, 20, 333] {
        let mut first = lived(32, events);
        let limits = PageLimits { events: 3, looks: 3 };
        let cursor = first.page(&Query::ALL, None, limits, |_, _| {}).unwrap().next;
        let bytes = snapshot(&first);
        let mut second = History::restore(32, 3, 500, &bytes).unwrap();
        assert_eq!(snapshot(&second), bytes);
        let rest = |history: &History| {
            let mut rest = Vec::new();
            history.page(&Query::ALL, cursor, NO_LIMITS, |time, event| rest.push((time, event.head().seq))).unwrap();
            rest
        };
        assert_eq!(rest(&first), rest(&second), "cursors outlive a restart");
        for history in [&mut first, &mut second] {
            let mut prng = Prng::new(9);
            for number in 0..50 {
                record(history, &mut prng, number, 5_000 + number);
            }
        }
        assert_eq!(snapshot(&first), snapshot(&second));
    }
}

#[test]
fn other_histories_are_refused_by_name() {
    let bytes = snapshot(&lived(32, 20));
    let refused = |slots, symbols, age| History::restore(slots, symbols, age, &bytes).unwrap_err();
    assert_eq!(refused(64, 3, 500), RestoreError::OtherCapacity { name: "history", snapshot: 32, here: 64 });
    assert_eq!(refused(32, 4, 500).to_string(), "the snapshot is of a history with symbols 3, this one has 4");
    assert_eq!(
        refused(32, 3, 7).to_string(),
        "the snapshot is of a history with a maximum age in ns of 500, this one has 7"
    );
}

#[test]
fn damage_is_refused_or_harmless() {
    let bytes = snapshot(&lived(8, 30));
    every_cut_and_flip_is_refused(&bytes, |bytes| History::restore(8, 3, 500, bytes).is_ok());
    let (refused, taken) = sealed_damage(0..20, 500, &bytes, |bytes| {
        History::restore(8, 3, 500, bytes).is_ok_and(|mut history| {
            let page = history.page(&Query::ALL, None, NO_LIMITS, |_, _| {}).unwrap();
            assert!(page.events <= history.len());
            let mut prng = Prng::new(1);
            for number in 0..20 {
                record(&mut history, &mut prng, number, u64::MAX - 100 + number);
                history.assert_invariants();
            }
            true
        })
    });
    assert!(refused > 1_000 && taken > 1_000, "{refused} {taken}");
}
