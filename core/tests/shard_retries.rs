//! Retries, held events and dead letters on a whole shard: order, ledgers, and outputs that depend on no cut.

#[path = "common/lone.rs"]
mod lone;
#[path = "common/panics.rs"]
mod panics;
#[path = "common/shard_rig.rs"]
mod shard_rig;

use bytemuck::{Pod, Zeroable};
use lone::Lone;
use panics::{BOOM, silence};
use shard_rig::{MILLI, Rig, SECOND, START, SYMBOLS_MAX, Sizes, feed, stream, tick};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use tapeline_core::bus::{Bus, BusBuilder, Chain};
use tapeline_core::catalog::{Catalog, SeqRule};
use tapeline_core::dead::{Cause as Parked, Direction, Filter, State};
use tapeline_core::event::payload::{Alert, Cause, Signal, Trade};
use tapeline_core::event::{EventBuf, EventRef, Flags, Kind, KindSet, Slot};
use tapeline_core::handler::{Ctx, Handler, Verdict};
use tapeline_core::ring;
use tapeline_core::shard::{Config, Limit, Outbox, Shard};
use tapeline_core::testing::for_seeds;
use tapeline_core::units::{SymbolId, UnixNanos};

/// What a handler has seen of a symbol.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Pod, Zeroable)]
struct Calls {
    done: u64,
}

/// Is done with an event once its time of trouble is over; says so with an alert that carries the event's number.
///
/// The trouble is in the event's number: `seq % 10 == 7` takes 150 ms, 8 never ends, 9 is given up at once, and
/// `seq % 100 == 50` panics.
struct Troubled<const ALL: bool>;

impl<const ALL: bool> Handler for Troubled<ALL> {
    type State = Calls;
    const NAME: &'static str = if ALL { "troubled" } else { "troubled_too" };
    const STATE_VERSION: u16 = 1;

    fn interests(&self) -> KindSet {
        KindSet::of(&[Kind::TRADE, Kind::QUOTE])
    }

    fn on_event(&self, st: &mut Calls, ev: EventRef<'_>, cx: &mut Ctx<'_>) -> Verdict {
        let seq = ev.head().seq;
        st.done += 1;
        let alert = Alert { value: seq as f64, reference: st.done as f64, ..Alert::default() };
        cx.alert(&alert).unwrap();
        match seq % 10 {
            7 if ALL || seq % 20 == 7 => {
                if cx.now().0 >= ev.head().ts_recv.0 + 150 * MILLI {
                    Verdict::Done
                } else {
                    Verdict::Retry(7)
                }
            }
            8 if ALL => Verdict::Retry(8),
            9 if !ALL => Verdict::Fail(9),
            0 if ALL && seq % 100 == 50 => std::panic::panic_any(BOOM),
            _ => Verdict::Done,
        }
    }
}

/// Answers each alert with a signal, and fails on some of them first: derived events are retried, too.
struct Answers;

impl Handler for Answers {
    type State = Calls;
    const NAME: &'static str = "answers";
    const STATE_VERSION: u16 = 1;

    fn interests(&self) -> KindSet {
        KindSet::of(&[Kind::ALERT])
    }

    fn on_event(&self, st: &mut Calls, ev: EventRef<'_>, cx: &mut Ctx<'_>) -> Verdict {
        let alert = ev.get::<Alert>().unwrap();
        st.done += 1;
        cx.signal(&Signal::default()).unwrap();
        if alert.value as u64 % 30 == 3 && cx.now().0 < ev.head().ts_recv.0 + 60 * MILLI {
            return Verdict::Retry(3);
        }
        Verdict::Done
    }
}

fn bus(catalog: &mut Catalog) -> Bus<impl Chain + use<>> {
    let bus = BusBuilder::new(SYMBOLS_MAX).then(Troubled::<true>).then(Troubled::<false>).then(Answers);
    bus.build(catalog).unwrap()
}

#[test]
fn req_retry_outputs_and_ledgers_do_not_depend_on_cuts_or_shards() {
    silence();

    for_seeds(0..8, |seed, prng| {
        let events = stream(seed, 1_200, [MILLI / 10, 20 * MILLI, SECOND][seed as usize % 3], feed(3));
        let mut first: Option<shard_rig::Result> = None;
        for shards in 1..=3 {
            for ring in [64, 1024] {
                let sizes = Sizes { source_ring: ring, ..Sizes::of(shards) };
                let mut rig = Rig::new(bus, events.clone(), sizes);
                rig.run(prng, 1_000_000);
                for shard in &rig.shards {
                    shard.letters().assert_invariants();
                    assert_eq!((shard.letters().waiting(), shard.letters().held()), (0, 0), "a drain ends all retries");
                }
                let result = rig.result();
                let total = result.ledger.total();
                assert_eq!((total.offered, total.in_flight), (1_200, 0));
                assert_eq!(total.delivered + total.dead_lettered, total.accepted);
                // 8 and 9, each once, and 50, which panics until its handler is quarantined for the symbol; then 8 is not seen.
                assert!((220..=252).contains(&total.dead_lettered), "{total:?}");
                let parked: usize = rig.shards.iter().map(|shard| shard.letters().events_dead_lettered()).sum();
                assert_eq!(parked as u64, total.dead_lettered + result.derived.total().dead_lettered);
                let stats = |get: fn(&tapeline_core::dead::Stats) -> u64| -> u64 {
                    rig.shards.iter().map(|shard| get(shard.letters().stats())).sum()
                };
                assert!(stats(|stats| stats.retries) > 400 && stats(|stats| stats.held) > 100);
                match &first {
                    None => first = Some(result),
                    Some(first) => first.assert_same(&result, &format!("seed {seed}, {sizes:?}")),
                }
            }
        }
        let first = first.unwrap();
        // Under the order that holds, each handler says its alerts in the order of the symbol's events.
        for outputs in first.outputs.0.values() {
            let mut last = BTreeMap::new();
            let mut identities = BTreeSet::new();
            for slots in outputs {
                let event = EventRef::first(slots).unwrap();
                let head = event.head();
                assert!(identities.insert((head.source, head.seq, head.part)), "{head:?} is there twice");
                let Some(alert) = event.get::<Alert>() else { continue };
                let cause = Cause::of(event).unwrap();
                let before = last.insert(cause.handler, alert.value).unwrap_or(-1.0);
                assert!(before < alert.value, "handler {}: {before} before {}", cause.handler, alert.value);
                assert_eq!(alert.value, cause.root.seq as f64);
            }
        }
        let mut seqs: Vec<f64> = Vec::new();
        for slots in first.outputs.0.values().flatten() {
            let event = EventRef::first(slots).unwrap();
            if let Some(alert) = event.get::<Alert>().filter(|_| Cause::of(event).unwrap().handler == 1) {
                seqs.push(alert.value);
            }
        }
        // The second handler is not bothered by what the first one fails on: everything but 9 comes out.
        assert_eq!(seqs.len(), 1_200 - 120);
    });
}

#[derive(Default)]
struct Kept(Vec<(u64, u64, u64)>);

impl Outbox for Kept {
    fn has_room(&mut self) -> bool {
        true
    }

    fn put(&mut self, output: EventRef<'_>) {
        if let Some(alert) = output.get::<Alert>() {
            self.0.push((alert.value as u64, output.head().ts_recv.0 - START, alert.reference as u64));
        }
    }
}

type Alone = Lone<Kept>;

fn alone(config: Config) -> Alone {
    Lone::new(config, Troubled::<true>, Kept::default(), |shard| shard.letters().assert_invariants())
}

impl Alone {
    /// A trade at `ms` after the start.
    fn send(&mut self, symbol: u32, seq: u64, ms: u64) {
        self.push(symbol, seq, 1_000 * ms, &Trade { price: 1, size: 1, side: 1, ..Trade::default() });
    }

    fn total(&self) -> (u64, u64, u64) {
        let total = self.shard.ledger().total();
        (total.delivered, total.dead_lettered, total.in_flight)
    }

    fn numbers(&self) -> Vec<u64> {
        self.out.0.iter().map(|(seq, ..)| *seq).collect()
    }
}

#[test]
fn req_3540_a_symbol_is_held_in_order_and_no_other_waits() {
    let mut alone = alone(Config::single());
    alone.send(1, 7, 0);
    for seq in 10..15 {
        alone.send(1, seq, 1);
        alone.send(2, seq + 10, 1);
    }
    assert_eq!(alone.numbers(), [20, 21, 22, 23, 24], "symbol 1 waits, symbol 2 does not");
    assert_eq!(alone.total(), (5, 0, 6));
    alone.pass(1_000);
    assert_eq!(alone.numbers()[5..], [7, 10, 11, 12, 13, 14]);
    assert_eq!(alone.total(), (11, 0, 0));
    // The retry's time is that of the policy, and what was held is handled in that same instant.
    let times: BTreeSet<u64> = alone.out.0[5..].iter().map(|(_, at, _)| *at).collect();
    assert!(times.len() == 1 && *times.first().unwrap() >= 150 * MILLI, "{times:?}");
    // A failed attempt leaves nothing: the state has counted the calls that were done.
    let counts: Vec<u64> = alone.out.0[5..].iter().map(|(.., done)| *done).collect();
    assert_eq!(counts, [1, 2, 3, 4, 5, 6]);
    assert!(alone.shard.letters().is_empty());
}

#[test]
fn req_3537_a_finished_retry_leaves_nothing() {
    let mut alone = alone(Config::single());
    for round in 0..2_000 {
        alone.send(1 + (round % 9) as u32, round * 10 + 7, round * 1_000);
    }
    alone.pass(3_000_000);
    assert_eq!(alone.total(), (2_000, 0, 0));
    assert!(alone.shard.letters().is_empty());
    assert_eq!((alone.shard.letters().slots_used(), alone.shard.letters().holds()), (0, 0));
}

#[test]
fn req_redrive_a_parked_event_keeps_its_history_and_is_in_flight_again() {
    let mut alone = alone(Config::single());
    alone.send(1, 8, 0);
    alone.send(1, 10, 1);
    alone.pass(60_000);
    assert_eq!((alone.total(), alone.numbers()), ((1, 1, 0), vec![10]), "five attempts, then the others go on");
    let page = |alone: &Alone| {
        let found: Vec<_> = alone.shard.letters().list(&Filter::default(), Direction::OldestFirst, None, 10).collect();
        assert_eq!(found.len(), 1);
        let (handle, entry) = found[0];
        (handle, *entry)
    };
    let (letter, entry) = page(&alone);
    assert_eq!((entry.attempts(), entry.failures(), entry.error()), (5, 5, Some(8)));
    assert_eq!((entry.state(), entry.cause()), (State::Parked, Some(Parked::Attempts)));
    assert_eq!(entry.first_failure(), UnixNanos(START));
    alone.shard.redrive(letter).unwrap();
    assert_eq!(alone.total(), (1, 0, 1));
    alone.pass(120_000);
    let (_, entry) = page(&alone);
    assert_eq!((alone.total(), entry.failures(), entry.redrives()), ((1, 1, 0), 10, 1));
    assert!(alone.shard.redrive(tapeline_core::dead::Handle::NULL).is_err());
}

#[test]
fn a_panic_is_parked_at_once_and_a_quarantined_handler_gets_no_retry() {
    silence();

    let mut alone = alone(Config::single());
    alone.send(1, 7, 0);
    alone.send(2, 50, 1);
    assert_eq!(alone.total(), (0, 1, 1));
    for (index, seq) in [150, 250].into_iter().enumerate() {
        alone.send(2, seq, 2 + index as u64);
    }
    assert_eq!(alone.total(), (0, 3, 1));
    alone.send(2, 57, 9);
    assert_eq!(alone.total(), (1, 3, 1), "the handler is quarantined for symbol 2: nobody has to see it");
}

#[test]
fn req_3534_full_dead_letters_are_a_limit_that_says_so() {
    let letters = tapeline_core::dead::Config { entries: 3, slots: 8, ..Config::single().letters };
    let mut alone = alone(Config { letters, ..Config::single() });
    for symbol in 1..=8 {
        alone.send(symbol, u64::from(symbol) * 10 + 7, 0);
    }
    assert_eq!(alone.total(), (0, 5, 3));
    assert_eq!(alone.shard.limit_hits(Limit::DeadLetters), 5);
    alone.pass(1_000);
    assert_eq!(alone.total(), (3, 5, 0));
}

#[test]
fn a_full_wheel_parks_what_it_cannot_retry() {
    let mut alone = alone(Config { timers_max: 1, ..Config::single() });
    alone.send(1, 7, 0);
    alone.send(2, 17, 0);
    assert_eq!((alone.total(), alone.shard.limit_hits(Limit::Timers)), ((0, 1, 1), 1));
    alone.pass(1_000);
    assert_eq!(alone.total(), (1, 1, 0));
}

#[test]
fn req_d1_duplicates_are_refused_and_counted_and_a_new_epoch_begins_anew() {
    use tapeline_core::event::payload::Epoch;
    use tapeline_core::ledger::Refusal;
    let mut alone = alone(Config::single());
    for _ in 0..3 {
        alone.send(1, 1, 0);
        alone.send(1, 2, 0);
    }
    let epoch = EventBuf::new(&Epoch::default());
    alone.ring.push(epoch.slots()).unwrap();
    alone.send(1, 1, 0);
    let total = alone.shard.ledger().total();
    assert_eq!((total.offered, total.accepted, alone.shard.ledger().refused_by(Refusal::Duplicate)), (7, 3, 4));
    // What has no number of its own is never a duplicate.
    for _ in 0..2 {
        let mut event = EventBuf::new(&Trade::default());
        event.flag(Flags::UNSEQUENCED);
        (event.head_mut().symbol, event.head_mut().source) = (SymbolId(1), alone.source);
        alone.ring.push(event.slots()).unwrap();
    }
    alone.step();
    assert_eq!(alone.shard.ledger().total().accepted, 5);
}

#[test]
fn req_3485_the_history_has_the_bytes_of_the_ring_and_of_the_outputs() {
    use tapeline_core::history::{PageLimits, Query};
    let mut alone = alone(Config::single());
    for seq in 0..7 {
        alone.send(1, seq, seq);
    }
    let history = alone.shard.history().unwrap();
    let limits = PageLimits { events: 100, looks: 100 };
    let mut kinds: BTreeMap<Kind, Vec<(u64, Vec<Slot>)>> = BTreeMap::new();
    let page = history.page(&Query::ALL, None, limits, |time, event| {
        kinds.entry(event.kind()).or_default().push((time.0, event.slots().to_vec()));
    });
    assert_eq!(page.unwrap().events, 14);
    let trades = &kinds[&Kind::TRADE];
    assert_eq!(trades.iter().map(|(_, slots)| slots[0].seq).collect::<Vec<_>>(), [6, 5, 4, 3, 2, 1, 0]);
    assert!(trades.iter().all(|(time, slots)| slots[0].ts_recv.0 == *time && slots[0].tag == 0));
    assert_eq!(kinds[&Kind::ALERT].len(), 7);
}

/// Draws whenever it is called, and says what: for events, retries and timers.
struct Drawer;

impl Handler for Drawer {
    type State = Calls;
    const NAME: &'static str = "drawer";
    const STATE_VERSION: u16 = 1;

    fn interests(&self) -> KindSet {
        KindSet::of(&[Kind::TRADE])
    }

    fn on_event(&self, _st: &mut Calls, ev: EventRef<'_>, cx: &mut Ctx<'_>) -> Verdict {
        let draw = cx.rand(1);
        cx.alert(&Alert { value: (draw >> 11) as f64, ..Alert::default() }).unwrap();
        if draw.is_multiple_of(3) {
            let due = cx.now().saturating_add(draw >> 40);
            cx.timer_at(due, draw).unwrap();
        }
        if draw % 5 == 1 && cx.now() == ev.head().ts_recv { Verdict::Retry(5) } else { Verdict::Done }
    }

    fn on_timer(&self, _st: &mut Calls, _token: u64, cx: &mut Ctx<'_>) -> Verdict {
        let value = (cx.rand(2) >> 11) as f64;
        cx.alert(&Alert { value, ..Alert::default() }).unwrap();
        Verdict::Done
    }
}

/// Stands on the bus and does nothing.
struct Bystander<const N: usize>;

impl<const N: usize> Handler for Bystander<N> {
    type State = u64;
    const NAME: &'static str = ["bystander.a", "bystander.b"][N];
    const STATE_VERSION: u16 = 1;

    fn interests(&self) -> KindSet {
        KindSet::of(&[Kind::STATUS])
    }

    fn on_event(&self, _st: &mut u64, _ev: EventRef<'_>, _cx: &mut Ctx<'_>) -> Verdict {
        Verdict::Done
    }
}

/// Numbers of symbols, sources and handlers are dense ids that differ between a capture and a tape of it, or with what else is configured.
#[test]
fn what_is_drawn_depends_on_names_and_not_on_numbers() {
    /// Draws by name of the symbol, and the digest.
    fn draws<C: Chain>(
        symbols: [&str; 3],
        others: &[&str],
        bus: impl FnOnce(&mut Catalog) -> Bus<C>,
    ) -> (u64, BTreeMap<String, Vec<u64>>) {
        let mut catalog = Catalog::new(SYMBOLS_MAX);
        for other in others {
            catalog.source(other.as_bytes(), SeqRule::None).unwrap();
        }
        let bus = bus(&mut catalog);
        let source = catalog.source(b"test.feed", SeqRule::Increasing).unwrap();
        let ids = symbols.map(|symbol| (catalog.symbol(symbol.as_bytes()).unwrap(), symbol));
        let (mut ring, consumer) = ring::channel(1024);
        let mut shard = Shard::new(Config::single(), catalog, bus, (), consumer, vec![], vec![]);
        let mut out = shard_rig::Recorder::new(1 << 20);
        for seq in 0..100 {
            for name in ["AAA", "BBB", "CCC"] {
                let (id, _) = ids.iter().find(|(_, symbol)| *symbol == name).unwrap();
                let mut event = EventBuf::new(&Trade { price: 1, size: 1, ..Trade::default() });
                let head = event.head_mut();
                (head.ts_recv, head.seq) = (UnixNanos(START + 50 * seq * MILLI), seq);
                (head.symbol, head.source) = (*id, source);
                ring.push(event.slots()).unwrap();
            }
            while shard.step(&mut out).work > 0 {}
        }
        ring.push(tick(UnixNanos(START + 6 * SECOND), true).slots()).unwrap();
        while shard.step(&mut out).work > 0 {}
        let (retries, fired) = (shard.letters().stats().retries, shard.timers_fired());
        assert!(retries > 10 && fired > 80, "{retries} retries, {fired} timers");
        let of = |id: SymbolId| -> Vec<u64> {
            let alerts =
                out.outputs.0[&id.0].iter().filter_map(|slots| EventRef::first(slots)?.get::<Alert>().copied());
            alerts.map(|alert| alert.value as u64).collect()
        };
        (shard.digest_total(), ids.iter().map(|(id, symbol)| ((*symbol).to_owned(), of(*id))).collect())
    }
    let first =
        draws(["AAA", "BBB", "CCC"], &[], |catalog| BusBuilder::new(SYMBOLS_MAX).then(Drawer).build(catalog).unwrap());
    let other = draws(["CCC", "AAA", "BBB"], &["x", "y"], |catalog| {
        let bus = BusBuilder::new(SYMBOLS_MAX).then(Bystander::<0>).then(Drawer).dynamic(3, Bystander::<1>);
        bus.build(catalog).unwrap()
    });
    assert_eq!(first, other);
    // Symbols with equal events draw differently.
    let [a, b, c] = ["AAA", "BBB", "CCC"].map(|symbol| &first.1[symbol][..20]);
    assert!(a != b && b != c && a != c, "{a:?}");
}

/// Says that it never fails, takes runs, and fails.
struct Liar(Arc<Mutex<Vec<(u32, u64)>>>);

impl Handler for Liar {
    type State = Calls;
    const NAME: &'static str = "liar";
    const STATE_VERSION: u16 = 1;
    const ROLLBACK: bool = false;
    const TAKES_RUNS: bool = true;

    fn interests(&self) -> KindSet {
        KindSet::of(&[Kind::TRADE])
    }

    fn on_event(&self, st: &mut Calls, ev: EventRef<'_>, cx: &mut Ctx<'_>) -> Verdict {
        self.0.lock().unwrap().push((cx.symbol().0, st.done));
        st.done += 1;
        if ev.head().seq % 10 == 9 { Verdict::Fail(9) } else { Verdict::Done }
    }
}

#[test]
fn a_handler_that_fails_without_a_copy_of_its_state_begins_anew_and_is_counted() {
    let calls = Arc::default();
    let mut catalog = Catalog::new(SYMBOLS_MAX);
    let bus = BusBuilder::new(SYMBOLS_MAX).then(Liar(Arc::clone(&calls))).build(&mut catalog).unwrap();
    let source = catalog.source(b"test.feed", SeqRule::Increasing).unwrap();
    let symbols = [b"A", b"B"].map(|symbol| catalog.symbol(symbol).unwrap());
    let (mut ring, consumer) = ring::channel(1024);
    let mut shard = Shard::new(Config::single(), catalog, bus, (), consumer, vec![], vec![]);
    // Runs of A are given whole, and leave a copy of A's state; then B fails alone.
    for (symbol, seq) in [(0, 1), (0, 2), (0, 3), (1, 5), (0, 6), (0, 7), (1, 9), (1, 10), (0, 11)] {
        let mut event = EventBuf::new(&Trade { price: 1, size: 1, ..Trade::default() });
        let head = event.head_mut();
        (head.ts_recv, head.seq) = (UnixNanos(START + seq), seq);
        (head.symbol, head.source) = (symbols[symbol], source);
        ring.push(event.slots()).unwrap();
    }
    while shard.step(&mut ()).work > 0 {}
    let (a, b) = (symbols[0].0, symbols[1].0);
    // The run of 9 and 10 failed at its first event and was given out one by one.
    let expected = [(a, 0), (a, 1), (a, 2), (b, 0), (a, 3), (a, 4), (b, 1), (b, 1), (b, 0), (a, 5)];
    assert_eq!(*calls.lock().unwrap(), expected);
    let (_, stats) = shard.handlers()[0];
    assert_eq!((stats.failed, stats.states_lost, stats.panicked), (1, 1, 0));
    assert_eq!(shard.letters().parked(), 1);
}
