//! Source events that break their schema: refused, or kept as dead letters where their topic's policy says so.

#[path = "common/shard_rig.rs"]
mod shard_rig;

use shard_rig::{MILLI, Rig, SYMBOLS_MAX, Sizes, feed, stream};
use tapeline_core::bus::{Bus, BusBuilder, Chain};
use tapeline_core::catalog::Catalog;
use tapeline_core::dead;
use tapeline_core::event::{EventRef, Kind, KindSet, KindVersion, Slot};
use tapeline_core::handler::{Ctx, Handler, Verdict};
use tapeline_core::ledger::Refusal;
use tapeline_core::limits::SPAN_SLOTS_MAX;
use tapeline_core::shard::{Config, INVALID, Limit, schema_error, schema_reason};
use tapeline_core::testing::{Prng, for_seeds};
use tapeline_core::topics::{Bus as TopicBus, Topic};
use tapeline_core::units::SourceId;

/// Takes what passes; what breaks its schema must not come to it.
struct Picky;

impl Handler for Picky {
    type State = u64;
    const NAME: &'static str = "picky";
    const STATE_VERSION: u16 = 1;

    fn interests(&self) -> KindSet {
        KindSet::of(&[Kind::TRADE, Kind::QUOTE])
    }

    fn on_event(&self, st: &mut u64, ev: EventRef<'_>, _cx: &mut Ctx<'_>) -> Verdict {
        assert!(ev.head().scale == 2 && ev.head().kind.version() < 7);
        *st += 1;
        Verdict::Done
    }
}

/// Breaks an event in one of the ways that its schema knows, and returns the reason.
fn spoil(event: &mut [Slot], way: u64) -> Refusal {
    match way {
        0 => {
            event[0].scale = 0x7f;
            Refusal::OutOfRange
        }
        1 => {
            event[0].kind = KindVersion::new(event[0].kind(), 7);
            Refusal::UnknownVersion
        }
        _ => {
            event[0].source = SourceId(200);
            Refusal::UnknownSource
        }
    }
}

fn bus(catalog: &mut Catalog) -> Bus<impl Chain + use<>> {
    BusBuilder::new(SYMBOLS_MAX).then(Picky).build(catalog).unwrap()
}

/// Spoiled events and what is wrong with each.
type Bad = Vec<(Vec<Slot>, Refusal)>;

/// A stream of which a tenth is spoiled.
fn spoiled(seed: u64, prng: &mut Prng) -> (Vec<Vec<Slot>>, Bad) {
    let mut events = stream(seed, 1_000, MILLI, feed(1));
    let mut bad = Vec::new();
    for event in &mut events {
        if prng.one_in(10) {
            let reason = spoil(event, prng.in_range(0..3));
            bad.push((event.clone(), reason));
        }
    }
    (events, bad)
}

#[test]
fn schema_faults_are_kept_by_policy_and_the_ledger_stays_exact() {
    for_seeds(0..8, |seed, prng| {
        let (events, bad) = spoiled(seed, prng);
        let is_kept = |event: &[Slot], reason: Refusal| {
            event[0].kind() == Kind::TRADE && matches!(reason, Refusal::OutOfRange | Refusal::UnknownVersion)
        };
        let kept: Vec<_> = bad.iter().filter(|(event, reason)| is_kept(event, *reason)).collect();
        assert!(kept.len() > 5 && bad.len() - kept.len() > 20, "seed {seed}: {} of {}", kept.len(), bad.len());
        for (shards, is_live) in [(1, false), (2, false), (3, false), (1, true), (2, true)] {
            let place = format!("seed {seed}, {shards} shards, live {is_live}");
            let set = |config: &mut Config| {
                config.invalid_kept = KindSet::of(&[Kind::TRADE]);
                let all = Topic::new("all", KindSet::of(&[Kind::TRADE, Kind::QUOTE]), 1 << 12);
                config.live = is_live.then(|| vec![TopicBus::new("bus", vec![all])]);
            };
            let mut rig = Rig::configured(bus, events.clone(), Sizes::of(shards), &set);
            rig.run(prng, 200_000);
            let result = rig.result();
            let total = result.ledger.total();
            let (dead, refused) = (kept.len() as u64, (bad.len() - kept.len()) as u64);
            assert_eq!((total.offered, total.refused, total.dead_lettered), (1_000, refused, dead), "{place}");
            assert_eq!(
                (total.accepted, total.delivered, total.in_flight),
                (1_000 - refused, 1_000 - refused - dead, 0)
            );
            for reason in Refusal::ALL {
                let count = bad.iter().filter(|(event, why)| *why == reason && !is_kept(event, *why)).count() as u64;
                assert_eq!(result.ledger.refused_by(reason), count, "{place}: {}", reason.name());
            }
            // Each of them is there as it came, with its reason.
            let mut found = Vec::new();
            for shard in &rig.shards {
                for (handle, entry) in shard.letters().iter() {
                    assert_eq!((entry.handler(), entry.state()), (INVALID, dead::State::Parked), "{place}");
                    let reason = schema_reason(entry.error().unwrap()).unwrap();
                    let mut slots = [Slot::ZERO; SPAN_SLOTS_MAX];
                    let event = shard.letters().event(handle, &mut slots).unwrap();
                    found.push((event.slots().to_vec(), reason));
                }
            }
            let key = |(event, _): &(Vec<Slot>, Refusal)| (event[0].symbol, event[0].seq, event[0].part);
            let mut expected: Vec<_> = kept.iter().map(|kept| (*kept).clone()).collect();
            found.sort_by_key(key);
            expected.sort_by_key(key);
            assert!(found == expected, "{place}");
            assert_eq!(rig.shards.iter().map(|shard| shard.limit_hits(Limit::DeadLetters)).sum::<u64>(), 0);
            // In this run its schema stays what it is.
            for shard in &mut rig.shards {
                let letters: Vec<_> = shard.letters().iter().map(|(handle, _)| handle).collect();
                for letter in letters {
                    assert_eq!(shard.redrive(letter), Err(dead::Refused::Invalid), "{place}");
                }
            }
            assert_eq!(rig.result().ledger.total(), total, "{place}: nothing has moved");
        }
    });
}

#[test]
fn without_the_policy_or_without_room_they_are_refused() {
    let mut prng = Prng::new(3);
    let (events, bad) = spoiled(3, &mut prng);
    let mut plain = Rig::new(bus, events.clone(), Sizes::of(1));
    plain.run(&mut prng, 200_000);
    let total = plain.result().ledger.total();
    assert_eq!((total.refused, total.dead_lettered), (bad.len() as u64, 0));
    // Room for two.
    let set = |config: &mut Config| {
        config.invalid_kept = KindSet::of(&[Kind::TRADE, Kind::QUOTE]);
        config.letters.entries = 2;
    };
    let mut rig = Rig::configured(bus, events, Sizes::of(1), &set);
    rig.run(&mut prng, 200_000);
    let total = rig.result().ledger.total();
    assert_eq!((total.refused, total.dead_lettered), (bad.len() as u64 - 2, 2));
    let of_schema = bad.iter().filter(|(_, reason)| schema_reason(schema_error(*reason)).is_some()).count() as u64;
    assert_eq!(rig.shards[0].limit_hits(Limit::DeadLetters), of_schema - 2, "each that found no room is told");
}
