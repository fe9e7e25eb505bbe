//! Correlation with a benchmark across shards, against pairs put together from what the engine published.

#[path = "common/shard_rig.rs"]
mod shard_rig;

use shard_rig::{MILLI, Rig, Sizes, feed, stream};
use tapeline_core::bus::{Bus, BusBuilder, End, Link};
use tapeline_core::catalog::Catalog;
use tapeline_core::event::payload::Features;
use tapeline_core::event::{EventRef, Kind, Slot};
use tapeline_core::features::correlation::{Correlation, SET_BENCHMARK, SET_CORRELATION};
use tapeline_core::features::{Engine, Feature, SET_2, names};
use tapeline_core::limits::MESH_DELAY_NS;
use tapeline_core::testing::{Prng, for_seeds};
use tapeline_core::units::SymbolId;

const BENCHMARK: SymbolId = SymbolId(1);
const FOLLOWERS: [SymbolId; 3] = [SymbolId(2), SymbolId(5), SymbolId(7)];

fn bus(catalog: &mut Catalog) -> Bus<Link<Link<End, Engine>, Correlation>> {
    let correlation = Correlation::new(BENCHMARK, &FOLLOWERS).unwrap();
    BusBuilder::new(shard_rig::SYMBOLS_MAX).then(Engine::new()).then(correlation).build(catalog).unwrap()
}

/// Time, ready mask and values of the vectors of a set among a symbol's outputs.
fn vectors(outputs: &[Vec<Slot>], set: u32) -> Vec<(u64, u64, Vec<f64>)> {
    let events = outputs.iter().map(|slots| EventRef::first(slots).unwrap());
    let of_set = events.filter_map(|event| {
        let features = event.get::<Features>().filter(|features| features.set == set)?;
        Some((event.head().ts_recv.0, features.ready, Features::values_of(event).collect()))
    });
    of_set.collect()
}

/// Time and price of each traded bar.
fn closes(outputs: &[Vec<Slot>], with_flat: bool) -> Vec<(u64, f64)> {
    vectors(outputs, SET_2)
        .into_iter()
        .filter(|(_, ready, values)| ready & 1 == 1 && (with_flat || values[Feature::TradesBar as usize] > 0.0))
        .map(|(end, _, values)| (end, values[Feature::LastPrice as usize]))
        .collect()
}

#[test]
fn req_features_correlation_equals_that_of_sampled_prices_for_any_number_of_shards() {
    for_seeds(0..3, |seed, _| {
        let mut prng = Prng::new(seed);
        let events = stream(seed, 4_000, 50 * MILLI, feed(2));
        let mut one = Rig::new(bus, events.clone(), Sizes::of(1));
        one.run(&mut prng, 2_000_000);
        let one = one.result();
        let outputs = |symbol: SymbolId| one.outputs.0[&symbol.0].as_slice();
        let benchmark = closes(outputs(BENCHMARK), false);
        assert!(benchmark.len() > 60, "{}", benchmark.len());
        for follower in FOLLOWERS {
            let own = closes(outputs(follower), true);
            // The price that stood at each close of the benchmark.
            let samples: Vec<(u64, f64, f64)> = benchmark
                .iter()
                .filter_map(|(end, price)| {
                    own.iter().rev().find(|close| close.0 <= *end).map(|close| (*end, close.1, *price))
                })
                .collect();
            let made = vectors(outputs(follower), SET_CORRELATION);
            assert_eq!(made.len() + 1, samples.len(), "a vector for each pair");
            let (mut own, mut theirs, mut both) = (0.0, 0.0, 0.0);
            for (i, (pair, (time, ready, values))) in samples.windows(2).zip(&made).enumerate() {
                assert_eq!(*time, pair[1].0 + MESH_DELAY_NS);
                let (r, b) = (libm::log(pair[1].1 / pair[0].1), libm::log(pair[1].2 / pair[0].2));
                let weight = if i == 0 { 1.0 } else { 0.06 };
                let mix = |old: f64, x: f64| (1.0 - weight) * old + weight * x;
                (own, theirs, both) = (mix(own, r * r), mix(theirs, b * b), mix(both, r * b));
                assert_eq!(*ready, if i + 1 >= 33 { 0b11 } else { 0 }, "pair {i}");
                let expected = if i + 1 >= 33 { [both / (own * theirs).sqrt(), both / theirs] } else { [0.0; 2] };
                let error = values.iter().zip(expected).map(|(value, expected)| (value - expected).abs());
                assert!(error.fold(0.0, f64::max) < 1e-9, "pair {i}: {values:?} and {expected:?}");
            }
            assert!(made.iter().filter(|vector| vector.1 != 0).count() > 30);
        }
        for other in [BENCHMARK, SymbolId(3)] {
            assert!(
                vectors(outputs(other), SET_CORRELATION).is_empty()
                    && vectors(outputs(other), SET_BENCHMARK).is_empty()
            );
        }
        for shards in 2..=3 {
            let mut rig = Rig::new(bus, events.clone(), Sizes::of(shards));
            rig.run(&mut prng, 4_000_000);
            one.assert_same(&rig.result(), &format!("seed {seed}, {shards} shards"));
        }
        assert!(one.derived.row(Kind::FEATURES).delivered > 0);
    });
}

#[test]
fn its_sets_have_names() {
    assert_eq!(names(SET_CORRELATION).unwrap().iter().map(|def| def.name).collect::<Vec<_>>(), ["correlation", "beta"]);
    assert_eq!(names(SET_BENCHMARK).unwrap().len(), 1);
}
