//! What a shard logs: the way of one event, failures, limits, gaps; and that logging reaches no output and waits for nobody.

#[path = "common/shard_rig.rs"]
mod shard_rig;

#[path = "common/panics.rs"]
mod panics;

use shard_rig::{MILLI, START, SYMBOLS_MAX, tick};
use tapeline_core::bus::{BusBuilder, End, Link};
use tapeline_core::catalog::{Catalog, SeqRule};
use tapeline_core::dead;
use tapeline_core::event::payload::{Gap, Signal, Trade};
use tapeline_core::event::{EventBuf, EventRef, Kind, KindSet, Payload, Slot};
use tapeline_core::handler::{Ctx, Handler, Verdict};
use tapeline_core::ledger::Refusal;
use tapeline_core::log::{Code, Filter, Level, Record};
use tapeline_core::ring::{self, Producer};
use tapeline_core::shard::{Batch, Config, Limit, Probe, Shard};
use tapeline_core::units::{SourceId, SymbolId, UnixNanos};

/// Signals each trade. Trade 13 comes again once, 17 is given up on and so are those from 101 on, 19 makes it panic; a signal of trade 23 goes to the other symbol.
struct Troubled;

impl Handler for Troubled {
    type State = u64;
    const NAME: &'static str = "troubled";
    const STATE_VERSION: u16 = 1;
    const CROSSES_SYMBOLS: bool = true;

    fn interests(&self) -> KindSet {
        KindSet::of(&[Kind::TRADE])
    }

    fn on_event(&self, _: &mut u64, event: EventRef<'_>, cx: &mut Ctx<'_>) -> Verdict {
        let head = event.head();
        match head.seq {
            13 if cx.now() == head.ts_recv => return Verdict::Retry(5),
            17 => return Verdict::Fail(6),
            19 => std::panic::panic_any(panics::BOOM),
            101.. => return Verdict::Fail(8),
            23 => cx.publish_to(SymbolId(2), &Signal::default(), 0, &[]).unwrap(),
            _ => {}
        }
        cx.signal(&Signal::default()).unwrap();
        Verdict::Done
    }
}

/// Counts signals.
struct Counter;

impl Handler for Counter {
    type State = u64;
    const NAME: &'static str = "counter";
    const STATE_VERSION: u16 = 1;

    fn interests(&self) -> KindSet {
        KindSet::of(&[Kind::TRADE, Kind::SIGNAL])
    }

    fn on_event(&self, count: &mut u64, _: EventRef<'_>, _: &mut Ctx<'_>) -> Verdict {
        *count += 1;
        Verdict::Done
    }
}

/// Keeps every record; a look at its clock takes a nanosecond.
#[derive(Default)]
struct Kept {
    now: u64,
    records: Vec<Record>,
}

impl Probe for Kept {
    const LOGS: bool = true;

    fn now(&mut self) -> u64 {
        self.now += 1;
        self.now
    }

    fn batch(&mut self, _: &Batch<'_>) {}

    fn log(&mut self, record: &Record) {
        self.records.push(*record);
    }
}

/// Hands records to a ring that nobody empties.
struct Stuck {
    ring: Producer,
    kept: u64,
    dropped: u64,
}

impl Probe for Stuck {
    const LOGS: bool = true;

    fn now(&mut self) -> u64 {
        0
    }

    fn batch(&mut self, _: &Batch<'_>) {}

    fn log(&mut self, record: &Record) {
        let is_kept = self.ring.push(&[*record.slot()]).is_ok();
        *(if is_kept { &mut self.kept } else { &mut self.dropped }) += 1;
    }
}

fn event(payload: &impl Payload, seq: u64, ms: u64) -> EventBuf {
    let mut event = EventBuf::new(payload);
    let head = event.head_mut();
    (head.symbol, head.source, head.seq) = (SymbolId(1), SourceId(3), seq);
    head.ts_recv = UnixNanos(START + ms * MILLI);
    event
}

fn trade(seq: u64) -> EventBuf {
    event(&Trade { price: 1, size: 1, side: 1, ..Trade::default() }, seq, seq)
}

/// Trades 1 to `last`, number 30 twice, a gap of 7 after them.
fn trace(last: u64) -> Vec<Slot> {
    let mut slots: Vec<Slot> = (1..=last).flat_map(|seq| trade(seq).slots().to_vec()).collect();
    slots.extend_from_slice(trade(30).slots());
    slots.extend_from_slice(event(&Gap { expected: 41, received: 48, missing: 7 }, 48, last + 1).slots());
    slots
}

/// Runs the trace through a shard with this filter and probe.
fn run<P: Probe>(log: Filter, letters: usize, probe: P) -> Shard<Bus, P> {
    run_trace(log, letters, probe, &trace(40))
}

fn run_trace<P: Probe>(log: Filter, letters: usize, probe: P, trace: &[Slot]) -> Shard<Bus, P> {
    panics::silence();
    let mut catalog = Catalog::new(SYMBOLS_MAX);
    catalog.symbol(b"A/B").unwrap();
    catalog.symbol(b"C").unwrap();
    let builder = BusBuilder::new(SYMBOLS_MAX).then(Troubled).then(Counter);
    let bus = builder.build(&mut catalog).unwrap();
    assert_eq!(catalog.source(b"test.feed", SeqRule::Contiguous).unwrap(), SourceId(3));
    let (mut ring, consumer) = ring::channel(1024);
    let letters =
        dead::Config { entries: letters, slots: letters, held_per_symbol: letters - 1, ..dead::Config::default() };
    let config = Config { log, letters, dedup_window_ns: 1_000 * MILLI, ..Config::single() };
    let mut shard = Shard::new(config, catalog, bus, probe, consumer, vec![], vec![]);
    assert_eq!(ring.push_batch(trace, None), trace.len());
    ring.push(tick(UnixNanos(START + 3_600_000 * MILLI), true).slots()).unwrap();
    assert!((0..10_000).any(|_| shard.step(&mut ()).work == 0), "the shard never comes to rest");
    assert!(shard.is_drained() && shard.ledger().is_balanced() && shard.derived().is_balanced());
    shard
}

fn follow(text: &str) -> Filter {
    Filter { level: Level::Off, follow: Some(text.parse().unwrap()) }
}

/// Code, handler and arguments of what was logged.
fn told(filter: Filter) -> Vec<(Code, u16, [u64; 2])> {
    let mut shard = run(filter, 64, Kept::default());
    let records = std::mem::take(&mut shard.probe().records);
    records.iter().map(|record| (record.code().unwrap(), record.handler(), record.arguments())).collect()
}

type Bus = Link<Link<End, Troubled>, Counter>;

const NONE: u16 = Record::NO_HANDLER;

/// Codes and handlers alone.
fn stages(filter: Filter) -> Vec<(Code, u16)> {
    told(filter).into_iter().map(|(code, handler, _)| (code, handler)).collect()
}

#[test]
fn req_l1_an_event_is_followed_through_all_stages_by_its_identity() {
    // Each handler in its order, the output, and who takes that.
    let way = [
        (Code::Admitted, NONE),
        (Code::Handled, 0),
        (Code::Handled, 1),
        (Code::Handled, 1),
        (Code::Output, NONE),
        (Code::Done, NONE),
    ];
    assert_eq!(stages(follow("12@test.feed")), way);
    assert_eq!(stages(follow("12@test.feed/A/B")), way);
    assert_eq!(stages(follow("12@test.feed/C")), [], "another symbol's");
    assert_eq!(stages(follow("12@test")), [], "another source's");
    assert_eq!(stages(follow("41@test.feed")), [], "it never came");

    let again = [
        (Code::Admitted, NONE),
        (Code::Handled, 0),
        (Code::Handled, 1),
        (Code::Failed, 0),
        (Code::Done, NONE),
        (Code::Retried, NONE),
        (Code::Handled, 0),
        (Code::Handled, 1),
        (Code::Output, NONE),
        (Code::Done, NONE),
    ];
    let records = told(follow("13@test.feed"));
    assert_eq!(records.iter().map(|(code, handler, _)| (*code, *handler)).collect::<Vec<_>>(), again);
    assert_eq!((records[3].2, records[4].2[0], records[9].2[0]), ([5, 1], 2, 0), "it waits, and then it is delivered");

    let records = told(follow("17@test.feed"));
    let end = &records[records.len() - 2..];
    assert_eq!(end, [(Code::Parked, 0, [6, 0]), (Code::Done, NONE, [1, 0])], "dead-lettered");
    assert!(told(follow("19@test.feed")).contains(&(Code::Parked, 0, [Record::NO_ERROR, 0])), "a panic has no code");

    // The copy of a duplicate is refused, by the same name.
    let records = told(follow("30@test.feed"));
    let refused: Vec<_> = records.iter().filter(|record| record.0 == Code::Refused).collect();
    assert_eq!(refused, [&(Code::Refused, NONE, [Refusal::Duplicate as u64, 0])]);

    // What it caused for the other symbol is followed there.
    let records = told(follow("23@test.feed"));
    let outputs: Vec<_> =
        records.iter().filter(|record| record.0 == Code::Output).map(|record| record.2[1] >> 32).collect();
    assert_eq!(outputs, [2, 1], "by symbol");
    let admitted: Vec<_> = records.iter().filter(|record| record.0 == Code::Admitted).collect();
    assert_eq!(admitted.len(), 2, "itself, and the signal for the other symbol: {records:?}");
}

#[test]
fn levels_say_what_is_told_and_nothing_of_it_reaches_an_output() {
    let silent = run(Filter::default(), 64, ());
    for (level, want) in [
        (Level::Off, vec![]),
        (Level::Error, vec![]),
        (Level::Warn, vec![Code::Gap]),
        (Level::Info, vec![Code::Failed, Code::Gap, Code::Parked, Code::Parked]),
        (Level::Trace, vec![Code::Failed, Code::Gap, Code::Parked, Code::Parked]),
    ] {
        let filter = Filter { level, follow: None };
        let codes: Vec<Code> = told(filter).into_iter().map(|(code, ..)| code).collect();
        assert_eq!(codes, want, "{level:?}");
        let shard = run(filter, 64, Kept::default());
        assert_eq!(shard.digest_total(), silent.digest_total(), "{level:?}");
    }
    let gap = told(Filter { level: Level::Warn, follow: None });
    assert_eq!(gap, [(Code::Gap, NONE, [41, 7])]);
    for seq in 1..=48 {
        let shard = run(follow(&format!("{seq}@test.feed")), 64, Kept::default());
        assert_eq!(shard.digest_total(), silent.digest_total(), "followed: {seq}");
        assert_eq!(shard.ledger().total(), silent.ledger().total());
    }
}

#[test]
fn a_limit_is_told_when_it_acts_and_not_every_time() {
    // Room for two letters: what follows finds none.
    let mut shard = run_trace(Filter { level: Level::Warn, follow: None }, 2, Kept::default(), &trace(600));
    let hits = shard.limit_hits(Limit::DeadLetters);
    let records = std::mem::take(&mut shard.probe().records);
    let counts: Vec<u64> = records
        .iter()
        .filter(|record| record.code() == Some(Code::LimitHit))
        .map(|record| {
            assert_eq!(record.arguments()[0], Limit::DeadLetters as u64);
            record.arguments()[1]
        })
        .collect();
    assert!(hits > 500 && counts.len() >= 2, "{hits}: {counts:?}");
    assert!(counts.windows(2).all(|pair| pair[1] >= 2 * pair[0]) && counts.last().unwrap() * 2 > hits, "{counts:?}");
}

#[test]
fn req_3393_a_log_that_nobody_reads_holds_nobody_up_and_counts_what_it_drops() {
    let everything = Filter { level: Level::Info, follow: Some("13@test.feed".parse().unwrap()) };
    let trace = trace(300);
    let want = run_trace(everything, 512, Kept::default(), &trace).probe().records.len() as u64;
    let (ring, _reader) = ring::channel(64);
    let mut shard = run_trace(everything, 512, Stuck { ring, kept: 0, dropped: 0 }, &trace);
    assert_eq!(shard.digest_total(), run_trace(Filter::default(), 512, (), &trace).digest_total());
    let Stuck { kept, dropped, .. } = shard.probe();
    assert!(want > 200, "{want}");
    assert_eq!((*kept, *dropped), (64, want - 64), "every record was kept or counted");
}
