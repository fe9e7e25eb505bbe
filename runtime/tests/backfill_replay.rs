//! A handler asks for the last minute of its symbol in the middle of a replay, and gets it from a tape on disk.

mod rig;

use rig::{Folder, MILLI, SECOND, report, setup, write_tape};
use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};
use tapeline_core::backfill::Range;
use tapeline_core::bus::BusBuilder;
use tapeline_core::event::payload::{Alert, BackfillDone, Signal, Trade};
use tapeline_core::event::{EventRef, Flags, Kind, KindSet};
use tapeline_core::handler::{Ctx, Handler, History, RequestEnd, RequestId, Verdict};
use tapeline_core::queue::Priority;
use tapeline_core::units::UnixNanos;
use tapeline_runtime::pacer::Pace;
use tapeline_runtime::report::{BackfillReport, Report};

const T0: u64 = 1_700_000_000 * SECOND;
/// The past ends and the capture begins.
const NOW: u64 = T0 + 60 * SECOND;
const SYMBOLS: [&str; 5] = ["V:ONE", "V:TWO", "V:THREE", "V:FOUR", "V:FIVE"];

/// A trade of each symbol every 10 ms; symbols in this order of ids.
fn write_trades(path: &Path, from: u64, to: u64, symbols: &[&str], source: &str) {
    let times = (from..to).step_by(10 * MILLI as usize).map(|at| (at, at / MILLI));
    write_tape(path, times, symbols, source, |at| Trade { price: 1_000, size: (at - T0) / MILLI, ..Trade::default() });
}

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct State {
    live: u64,
    past: u64,
    replies: u64,
    last_ns: u64,
    /// Order-sensitive.
    chain: u64,
}

type Log = Arc<Mutex<Vec<String>>>;

/// Asks at its 100th live trade for the last 30 s; at its 300th for the last 10 s before the capture once more.
struct Learner(Log);

impl Handler for Learner {
    type State = State;
    const NAME: &'static str = "learner";
    const STATE_VERSION: u16 = 1;

    fn interests(&self) -> KindSet {
        KindSet::of(&[Kind::TRADE])
    }

    fn on_event(&self, st: &mut State, ev: EventRef<'_>, cx: &mut Ctx<'_>) -> Verdict {
        let head = ev.head();
        if head.flags.contains(Flags::HISTORICAL) {
            st.past += 1;
            return Verdict::Done;
        }
        st.live += 1;
        st.chain = tapeline_core::hash::stable(bytemuck::bytes_of(&[st.chain, head.seq]));
        let back = match st.live {
            100 => 30 * SECOND,
            300 => 10 * SECOND,
            _ => return Verdict::Done,
        };
        let range = Range::new(UnixNanos(NOW - back), UnixNanos(NOW));
        cx.backfill(&History { kinds: KindSet::of(&[Kind::TRADE]), range, priority: Priority::FIRST }).unwrap();
        Verdict::Done
    }

    fn on_reply(&self, st: &mut State, _request: RequestId, ev: EventRef<'_>, cx: &mut Ctx<'_>) -> Verdict {
        let head = ev.head();
        if head.kind() == Kind::BACKFILL_DONE {
            assert_eq!(head.payload_as::<BackfillDone>().layer, Kind::TRADE.0);
            return Verdict::Done;
        }
        assert!(head.flags.contains(Flags::HISTORICAL) && head.ts_recv.0 < NOW && head.symbol == cx.symbol());
        assert!(head.ts_recv.0 > st.last_ns, "in order");
        (st.last_ns, st.replies) = (head.ts_recv.0, st.replies + 1);
        st.chain = tapeline_core::hash::stable(bytemuck::bytes_of(&[st.chain, head.ts_recv.0, cx.now().0]));
        if st.replies.is_multiple_of(500) {
            cx.signal(&Signal { strength: (st.chain >> 12) as f64, ..Signal::default() }).unwrap();
        }
        Verdict::Done
    }

    fn on_request_end(&self, st: &mut State, _request: RequestId, end: RequestEnd, cx: &mut Ctx<'_>) -> Verdict {
        let after = (cx.now().0 - NOW) / MILLI;
        let text = format!("{end:?} at {after} ms with {} live, {} past, {} replies", st.live, st.past, st.replies);
        self.0.lock().unwrap().push(text);
        cx.alert(&Alert { value: (st.chain >> 12) as f64, ..Alert::default() }).unwrap();
        Verdict::Done
    }
}

/// Replays the capture with this `[backfill]` section.
fn replay(folder: &Path, section: &str, shards: usize, pace: Pace) -> (Report, Vec<String>) {
    let mut setup = setup(&folder.join("live.tape"), &format!("[backfill]\n{section}"), shards);
    setup.pace = pace;
    let log = Log::default();
    let report = report(setup, |bus: BusBuilder<_>| bus.then(Learner(log.clone()))).unwrap();
    let mut log = log.lock().unwrap().clone();
    log.sort();
    (report, log)
}

/// The capture, and the past on two tapes that overlap in time: symbols by other ids, and a source that the capture does not have.
fn write_all(folder: &Path) {
    let past = folder.join("past");
    fs::create_dir(&past).unwrap();
    let [one, two, three, four, five] = SYMBOLS;
    write_trades(&past.join("a.tape"), T0, T0 + 40 * SECOND, &[five, three, one, two, four], "feed");
    write_trades(&past.join("b.tape"), T0 + 40 * SECOND, NOW, &[four, five, "V:NONE", one, two, three], "other.feed");
    write_trades(&folder.join("live.tape"), NOW, NOW + 5 * SECOND, &SYMBOLS, "feed");
}

#[test]
fn req_3380_a_handler_gets_the_past_of_its_symbol_in_order_while_the_replay_goes_on() {
    let folder = Folder::new("backfill-end-to-end");
    write_all(&folder.0);
    // One symbol at a time may be asked for many times; a ring that is full again and again.
    let section =
        format!("tapes = [{:?}]\nring_slots = 256\nin_flight = 16\n", folder.0.join("past").to_str().unwrap());
    let mut first: Option<(Report, Vec<String>)> = None;
    for (shards, pace) in [(1, Pace::Max), (2, Pace::Max), (1, Pace::Max), (3, Pace::Max), (2, Pace::Speed(50.0))] {
        let (report, log) = replay(&folder.0, &section, shards, pace);
        let backfill = report.backfill.clone().unwrap();
        let expected = BackfillReport {
            asked: 10,
            completed: 5,
            queued: 5,
            served: 5,
            jobs: 5,
            events: 5 * 3_001,
            blocks_read: backfill.blocks_read,
            ..BackfillReport::default()
        };
        assert_eq!(backfill, expected, "{shards} shards");
        assert!(backfill.blocks_read > 5, "{backfill:?}");
        // The 100th trade is of 990 ms: asked then, ordered at 991, come at 1,001, told at 1,002. Of 30 s, 3,000 trades.
        let served = "Served at 1002 ms with 101 live, 3000 past, 3000 replies";
        let completed = "Completed at 2991 ms with 300 live, 3000 past, 3000 replies";
        assert_eq!(log, [[completed; 5], [served; 5]].concat());
        assert_eq!((report.events.offered, report.kinds.get("trade")), (2_500, Some(&2_500)));
        assert_eq!(report.outputs.get("signal"), Some(&30));
        match &first {
            None => first = Some((report, log)),
            Some((other, _)) => {
                assert_eq!(report.digest, other.digest, "{shards} shards, {pace:?}");
                assert_eq!(report.digest_scope, other.digest_scope);
            }
        }
    }
    let (report, _) = first.unwrap();
    // What the digest depends on is in the manifest: 4,000 times of five symbols, 2,000 of six.
    let tapes: Vec<_> = report.manifest.backfill.iter().map(|tape| (tape.path.clone(), tape.events)).collect();
    let path = |name: &str| folder.0.join("past").join(name).to_str().unwrap().to_owned();
    assert_eq!(tapes, [(path("a.tape"), Some(20_000)), (path("b.tape"), Some(12_000))]);
    let json = serde_json::to_string(&report).unwrap();
    assert!(json.contains(r#""backfill":{"asked":10,"refused_by":{},"completed":5,"#), "{json}");
}

#[test]
fn history_that_cannot_be_read_fails_who_asks_and_nothing_else() {
    let folder = Folder::new("backfill-missing");
    write_all(&folder.0);
    let section = format!("tapes = {:?}\n", folder.0.join("nowhere").to_str().unwrap());
    let (report, log) = replay(&folder.0, &section, 2, Pace::Max);
    let backfill = report.backfill.clone().unwrap();
    assert_eq!((backfill.asked, backfill.failed, backfill.served), (10, 10, 0));
    assert!(backfill.reasons.len() == 1 && backfill.reasons[0].contains("nowhere: No such file"), "{backfill:?}");
    assert!(log.iter().all(|line| line.starts_with("Failed(1) at ")), "{log:?}");
    // Without a tape nobody reads, and the report says nothing of it.
    let (report, log) = replay(&folder.0, "", 1, Pace::Max);
    assert!(report.backfill.is_none() && log.len() == 10);
    assert!(log.iter().all(|line| line.starts_with("Refused(Unserved) at ")), "{log:?}");
}
