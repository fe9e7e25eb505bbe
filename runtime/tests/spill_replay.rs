//! Bursts that a topic has no room for: spilled to a file, and back in order, with nothing lost.

mod rig;

use bytemuck::{Pod, Zeroable};
use rig::{Folder, MILLI, SECOND, report, setup, write_tape};
use std::time::{Duration, Instant};
use tapeline_core::bus::BusBuilder;
use tapeline_core::event::payload::{Signal, Trade};
use tapeline_core::event::{EventRef, Kind, KindSet};
use tapeline_core::handler::{Ctx, Handler, Verdict};
use tapeline_core::hash;
use tapeline_runtime::pacer::Pace;
use tapeline_runtime::report::{DigestScope, Report};
use tapeline_runtime::spill::PLACE_BYTES;

const START: u64 = 1_700_000_000 * SECOND;
const SYMBOLS: [&str; 5] = ["S:ONE", "S:TWO", "S:THREE", "S:FOUR", "S:FIVE"];
/// Trades of each symbol.
const TRADES: u64 = 8_000;
/// What a call takes.
const CALL: Duration = Duration::from_micros(12);

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct State {
    last: u64,
    chain: u64,
}

/// Takes its time with each trade; every order of them makes other signals.
struct Slow(Duration);

impl Handler for Slow {
    type State = State;
    const NAME: &'static str = "slow";
    const STATE_VERSION: u16 = 1;

    fn interests(&self) -> KindSet {
        KindSet::of(&[Kind::TRADE])
    }

    fn on_event(&self, st: &mut State, ev: EventRef<'_>, cx: &mut Ctx<'_>) -> Verdict {
        let begun = Instant::now();
        let seq = ev.head().seq;
        assert!(seq > st.last, "{seq} behind {}", st.last);
        st.last = seq;
        st.chain = hash::stable(bytemuck::bytes_of(&[st.chain, seq, ev.get::<Trade>().unwrap().price as u64]));
        if seq.is_multiple_of(16) {
            cx.signal(&Signal { strength: (st.chain >> 12) as f64, ..Signal::default() }).unwrap();
        }
        while begun.elapsed() < self.0 {
            std::hint::spin_loop();
        }
        Verdict::Done
    }
}

fn tape(folder: &Folder) -> std::path::PathBuf {
    let path = folder.path("burst.tape");
    let trade = |at: u64| Trade { price: (at - START) as i64 + 1, size: 1, ..Trade::default() };
    write_tape(&path, (1..=TRADES).map(|seq| (START + seq * MILLI, seq)), &SYMBOLS, "feed", trade);
    path
}

/// Replays at so many events a second into topics with room for `capacity` slots.
fn live(folder: &Folder, limit: u64, shards: usize, rate: f64, call: Duration) -> Report {
    let configuration = format!(
        "[topics.trades]\npolicy = \"spill\"\ncapacity = 256\nhigh = 200\nlow = 50\n\
         [spill]\nfolders = [{:?}]\nlimit = \"{limit}B\"\n[replay]\noverload = \"live\"\n",
        folder.0.to_str().unwrap()
    );
    let mut setup = setup(&folder.path("burst.tape"), &configuration, shards);
    setup.pace = Pace::Rate(rate);
    report(setup, |bus: BusBuilder<_>| bus.then(Slow(call))).unwrap()
}

#[test]
fn req_3454_a_burst_at_twice_the_capacity_spills_and_comes_back_with_nothing_lost_and_in_order() {
    let folder = Folder::new("spill-burst");
    tape(&folder);
    let mut calm = setup(&folder.path("burst.tape"), "", 1);
    calm.pace = Pace::Max;
    let calm = report(calm, |bus: BusBuilder<_>| bus.then(Slow(Duration::ZERO))).unwrap();
    for shards in [1, 2] {
        // Twice what one shard can take, at least: the machine may be slower than the handler says.
        let rate = 2.0 * shards as f64 / CALL.as_secs_f64();
        let report = live(&folder, 64 * PLACE_BYTES, shards, rate, CALL);
        let (events, spill) = (&report.events, report.spill.clone().unwrap());
        assert_eq!(events.offered, TRADES * SYMBOLS.len() as u64);
        assert_eq!(
            (events.accepted, events.delivered, events.in_flight),
            (events.offered, events.offered, 0),
            "{spill:?}"
        );
        assert!(spill.spilled > 5_000, "{spill:?}");
        assert_eq!((spill.returned, spill.refused_full, spill.refused_failed), (spill.spilled, 0, 0), "{spill:?}");
        assert_eq!(spill.files.blocks_written, spill.files.blocks_read, "{spill:?}");
        let topic = report.topics.iter().find(|topic| topic.spilled > 0).expect("the topic says so");
        assert_eq!(topic.spilled, spill.spilled);
        // One topic, whose events stay in order: the outputs are those of a run in which nothing waited.
        assert_eq!(report.digest, calm.digest, "{shards} shards");
        assert_eq!(report.digest_scope, DigestScope::ThisRun, "load decided when each was handled");
        assert!(calm.spill.is_none());
    }
    assert_eq!(std::fs::read_dir(&folder.0).unwrap().count(), 1, "files without names");
}

#[test]
fn what_finds_no_room_in_the_store_is_refused_and_the_ledger_says_so() {
    let folder = Folder::new("spill-full");
    tape(&folder);
    // One block of file: what is beyond it, the memory at either end and the rings is refused. Each step takes a ring and handles a batch.
    let report = live(&folder, PLACE_BYTES, 1, 10e6, Duration::from_micros(40));
    let (events, spill) = (&report.events, report.spill.clone().unwrap());
    assert_eq!(events.offered, TRADES * SYMBOLS.len() as u64);
    assert_eq!(events.accepted, events.delivered + events.refused_after_admission, "{events:?}");
    assert_eq!(events.refused_after_admission, spill.refused_full, "{spill:?}");
    assert_eq!((spill.returned, spill.files.blocks_most.min(2)), (spill.spilled, spill.files.blocks_most), "{spill:?}");
}
