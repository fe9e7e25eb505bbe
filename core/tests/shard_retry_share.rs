//! Retries as a share of live traffic: what fails does not crowd out what still works.

#[path = "common/shard_rig.rs"]
mod shard_rig;

use shard_rig::{MILLI, Rig, SYMBOLS_MAX, Sizes, feed, stream};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use tapeline_core::bus::{Bus, BusBuilder, End, Link};
use tapeline_core::catalog::Catalog;
use tapeline_core::event::payload::Alert;
use tapeline_core::event::{EventRef, Kind, KindSet};
use tapeline_core::handler::{Ctx, Handler, Verdict};
use tapeline_core::retry::{Backoff, Jitter, Order, Policy, RetryConfig, ShareConfig};
use tapeline_core::shard::Config;
use tapeline_core::testing::for_seeds;

/// Calls by symbol: when, and the event's number.
type Calls = Arc<Mutex<BTreeMap<u32, Vec<(u64, u64)>>>>;

/// Asks for another try of every third event for 40 ms, and says when it was called.
struct Stubborn(Calls);

impl Handler for Stubborn {
    type State = u64;
    const NAME: &'static str = "stubborn";
    const STATE_VERSION: u16 = 1;

    fn interests(&self) -> KindSet {
        KindSet::of(&[Kind::TRADE, Kind::QUOTE])
    }

    fn on_event(&self, st: &mut u64, ev: EventRef<'_>, cx: &mut Ctx<'_>) -> Verdict {
        let head = ev.head();
        self.0.lock().unwrap().entry(head.symbol.0).or_default().push((cx.now().0, head.seq));
        if head.seq.is_multiple_of(3) && cx.now().0 < head.ts_recv.0 + 40 * MILLI {
            return Verdict::Retry(1);
        }
        *st += 1;
        cx.alert(&Alert { value: *st as f64, ..Alert::default() }).unwrap();
        Verdict::Done
    }
}

const WINDOW_NS: u64 = 100 * MILLI;

fn run(seed: u64, shards: usize, order: Order, share: Option<ShareConfig>) -> (shard_rig::Result, Calls, u64) {
    let calls = Calls::default();
    let bus = |catalog: &mut Catalog| -> Bus<Link<End, Stubborn>> {
        BusBuilder::new(SYMBOLS_MAX).then(Stubborn(Arc::clone(&calls))).build(catalog).unwrap()
    };
    let config =
        RetryConfig { attempts_max: 200, backoff: Backoff::Fixed { delay_ns: 5 * MILLI }, jitter: Jitter::None, order };
    let policy = Policy::new(config).unwrap();
    let set = |config: &mut Config| (config.retry, config.retry_share) = (vec![policy], share);
    let mut rig = Rig::configured(bus, stream(seed, 900, 3 * MILLI, feed(1)), Sizes::of(shards), &set);
    rig.run(&mut tapeline_core::testing::Prng::new(seed), 3_000_000);
    let postponed = rig.shards.iter().map(|shard| shard.letters().stats().postponed).sum();
    rig.shards.iter().for_each(|shard| shard.letters().assert_invariants());
    (rig.result(), calls, postponed)
}

/// Retries of a symbol in its busiest window; and of each symbol its retries, the windows that had any, and its events.
fn retries(calls: &Calls) -> (usize, Vec<[usize; 3]>) {
    let calls = calls.lock().unwrap();
    let (mut most, mut sums) = (0, Vec::new());
    for calls in calls.values() {
        let (mut windows, mut seen) = (BTreeMap::<u64, usize>::new(), BTreeSet::new());
        for (now, seq) in calls {
            if !seen.insert(seq) {
                *windows.entry(now / WINDOW_NS).or_default() += 1;
            }
        }
        most = most.max(windows.values().copied().max().unwrap_or(0));
        sums.push([calls.len() - seen.len(), windows.len(), seen.len()]);
    }
    (most, sums)
}

#[test]
fn req_retry_retries_of_a_symbol_stay_within_their_share_on_any_number_of_shards() {
    for_seeds(0..3, |seed, _| {
        for order in [Order::Held, Order::Released] {
            let (unbound, calls, postponed) = run(seed, 1, order, None);
            let (free_most, sums) = retries(&calls);
            assert!(free_most > 10 && postponed == 0, "without a share there are {free_most} in a window");
            let is_within = |[retries, windows, events]: &[usize; 3]| *retries <= windows + events / 4 + 4;
            assert!(!sums.iter().all(is_within), "the bound below would not hold without a share: {sums:?}");
            // Three in a window, whatever the traffic.
            let only_free = ShareConfig { parts: 0, free_per_window: 3, window_ns: WINDOW_NS, burst: 0 };
            // One in a window, and a quarter of the live events.
            let quarter = ShareConfig { parts: 256, free_per_window: 1, window_ns: WINDOW_NS, burst: 4 };
            for share in [only_free, quarter] {
                let mut first = None;
                for shards in 1..=3 {
                    let (result, calls, postponed) = run(seed, shards, order, Some(share));
                    let (most, sums) = retries(&calls);
                    assert!(postponed > 0);
                    if share.parts == 0 {
                        assert!(most <= 3, "{most} in one window");
                    } else {
                        assert!(sums.iter().all(is_within), "{sums:?}");
                    }
                    let total = result.ledger.total();
                    assert_eq!((total.offered, total.delivered, total.in_flight), (900, 900, 0), "{total:?}");
                    match &first {
                        None => first = Some(result),
                        Some(first) => first.assert_same(&result, &format!("seed {seed}, {shards} shards, {share:?}")),
                    }
                }
            }
            assert_eq!(unbound.ledger.total().delivered, 900);
        }
    });
}
