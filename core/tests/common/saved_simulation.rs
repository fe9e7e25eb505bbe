//! The whole engine, saved at random times and gone on with from a shard that is made anew and put back: timers, retries, requests and backfills are under
//! way, symbols are quarantined, handlers subscribed. It comes to what the engine that was never saved comes to.

use super::*;
use std::collections::VecDeque;
use tapeline_core::backfill::{DeskConfig, HistoryOrder, Range as Past};
use tapeline_core::event::payload::Subscription;
use tapeline_core::handler::History;
use tapeline_core::hash;
use tapeline_core::ring::{self, Producer};
use tapeline_core::shard::{NotAtRest, Shard};
use tapeline_core::testing::sealed_damage;

/// Asks for the past of its symbols, takes some of it back, and lets all that comes decide what it does.
struct Student;

impl Handler for Student {
    type State = Chained;
    const NAME: &'static str = "student";
    const STATE_VERSION: u16 = 1;

    fn interests(&self) -> KindSet {
        KindSet::of(&[Kind::TRADE, Kind::QUOTE])
    }

    fn on_event(&self, st: &mut Chained, ev: EventRef<'_>, cx: &mut Ctx<'_>) -> Verdict {
        let head = ev.head();
        st.take([head.seq, cx.now().0, 5]);
        let rand = cx.rand(st.chain);
        if !head.flags.contains(Flags::HISTORICAL) && rand.is_multiple_of(5) {
            let from = START - (rand >> 8 & 15) * SECOND / 4;
            let range = Past::new(UnixNanos(from), UnixNanos(from + (rand >> 12 & 7) * SECOND / 2));
            let kinds = KindSet::one(Kind::TRADE);
            let asked = cx.backfill(&History { kinds, range, priority: Priority::FIRST });
            st.done = asked.unwrap_or_default().0;
        }
        if rand.is_multiple_of(23) {
            let _ = cx.cancel_backfill(RequestId(st.done));
        }
        if rand.is_multiple_of(40) { Verdict::Retry(40) } else { Verdict::Done }
    }

    fn on_reply(&self, st: &mut Chained, request: RequestId, ev: EventRef<'_>, cx: &mut Ctx<'_>) -> Verdict {
        st.take([request.0, ev.head().seq, cx.now().0]);
        let _ = cx.signal(&Signal { strength: (st.chain >> 12) as f64, strategy: 9, ..Signal::default() });
        Verdict::Done
    }

    fn on_request_end(&self, st: &mut Chained, request: RequestId, _end: RequestEnd, cx: &mut Ctx<'_>) -> Verdict {
        st.take([request.0, cx.now().0, 6]);
        let _ = cx.alert(&Alert { value: request.0 as f64, rule: 11, ..Alert::default() });
        Verdict::Done
    }
}

/// Reads for the shard in its own time: a trade every 100 ms of every symbol's past. It knows nothing of the shard's being saved.
struct Reader {
    replies: Producer,
    todo: VecDeque<HistoryOrder>,
    at: u64,
}

impl Reader {
    fn work(&mut self, shard: &mut Shard<impl Chain>, prng: &mut Prng) {
        while let Some(order) = shard.take_history_order() {
            self.todo.push_back(order);
        }
        while shard.take_history_stop().is_some() {}
        let Some(order) = self.todo.front().copied() else { return };
        for _ in 0..prng.in_range(0..40) {
            self.at = self.at.max(order.range.from.0.next_multiple_of(100 * MILLI));
            if self.at < order.range.to.0 {
                let mut event = EventBuf::new(&Trade { price: 1, size: self.at / MILLI, ..Trade::default() });
                event.flag(Flags::HISTORICAL);
                let head = event.head_mut();
                (head.ts_recv, head.seq) = (UnixNanos(self.at), self.at / (100 * MILLI));
                (head.symbol, head.source) = (order.symbol, feed(HANDLERS + 1));
                if self.replies.push(event.slots()).is_err() {
                    return;
                }
                self.at += 100 * MILLI;
                continue;
            }
            let mut end = shard_rig::tick(UnixNanos::ZERO, false);
            end.head_mut().seq = order.number;
            end.head_mut().payload[1] = if order.number.is_multiple_of(7) { 1 + 77 } else { 0 };
            if self.replies.push(end.slots()).is_ok() {
                self.todo.pop_front();
                self.at = 0;
            }
            return;
        }
    }
}

/// A desk that is small enough to be full now and then.
fn desk() -> DeskConfig {
    let mut config = DeskConfig::default();
    let manager = &mut config.manager;
    (manager.jobs, manager.asks, manager.in_flight, manager.in_flight_per_symbol) = (30, 60, 4, 2);
    (manager.remembered, manager.remember_ns) = (8, 5 * SECOND);
    config
}

/// The events of a run, of the source behind one handler more, with changes of subscriptions among them.
fn events(prng: &mut Prng) -> Vec<Vec<Slot>> {
    let count = prng.in_range(50..400);
    let mut events = traffic(prng, count, 3);
    for event in &mut events {
        if event[0].source == feed(HANDLERS) {
            event[0].source = feed(HANDLERS + 1);
        }
    }
    for _ in 0..prng.index(6) {
        let handler = hash::stable([&b"flaky"[..], b"runner", b"student"][prng.index(3)]);
        let change = Subscription { handler, subscribed: prng.index(2) as u8, ..Subscription::default() };
        let at = prng.index(events.len());
        let mut event = EventBuf::new(&change);
        event.head_mut().ts_recv = UnixNanos(events[at][0].ts_recv.0.min(TIME_NS_MAX));
        events.insert(at, event.slots().to_vec());
    }
    events
}

struct Scene {
    sizes: Sizes,
    retry: Policy,
    capacity: usize,
    /// Requests served at one instant, and the time between two: few and long, so that some wait.
    budget: usize,
    interval_ns: u64,
    letters: dead::Config,
}

impl Scene {
    fn draw(prng: &mut Prng, order: Order) -> Self {
        let letters = dead::Config {
            entries: prng.in_range(2..200) as usize,
            slots: prng.in_range(70..600) as usize,
            holds: prng.in_range(1..30) as usize,
            held_per_symbol: prng.in_range(1..40) as usize,
            errors: 100,
            ..dead::Config::default()
        };
        let sizes = Sizes { timers_max: prng.in_range(4..300) as usize, pending: 128, ..Sizes::of(1) };
        Self {
            sizes,
            retry: policy(prng, order),
            capacity: 2 + prng.index(40),
            budget: 1 + prng.index(3),
            interval_ns: [1, 40][prng.index(2)] * MILLI,
            letters,
        }
    }

    /// A run of these events, and who reads for it.
    fn rig(&self, world: &Arc<World>, events: Vec<Vec<Slot>>) -> (Rig<impl Chain + use<>>, Reader) {
        let bus = |catalog: &mut Catalog| {
            let bus = BusBuilder::new(SYMBOLS_MAX)
                .dynamic(5, Witness(Arc::clone(world)))
                .then(features::Engine::default())
                .then(Scanner::default())
                .then(Flaky(Arc::clone(world)))
                .then(Runner)
                .dynamic(-1, Worker(Arc::clone(world)))
                .dynamic(-2, Crosser)
                .dynamic(-3, Student);
            bus.build(catalog).unwrap()
        };
        let mut rig = Rig::configured(bus, events, self.sizes, &|config| {
            (config.letters, config.retry) = (self.letters, vec![self.retry]);
            (config.dedup_capacity, config.history_slots) = (128, 256);
            (config.book_pages, config.book_orders) = (64, 256);
            (config.requests.queue.capacity, config.requests.retry) = (self.capacity, self.retry);
            (config.requests.service_budget, config.requests.service_interval_ns) = (self.budget, self.interval_ns);
        });
        let (replies, consumer) = ring::channel(64);
        rig.shards[0].attach_backfill(&desk(), consumer);
        (rig, Reader { replies, todo: VecDeque::new(), at: 0 })
    }
}

/// Runs to the end. `after` is asked after each step.
fn run<C: Chain>(
    rig: &mut Rig<C>,
    reader: &mut Reader,
    prng: &mut Prng,
    mut after: impl FnMut(&mut Rig<C>, &mut Prng),
) {
    while !rig.is_drained() {
        if prng.one_in(3) {
            rig.source.send(1 + prng.index(40));
        }
        let _ = rig.step(0);
        if prng.one_in(4) {
            rig.outs[0].take();
        }
        if prng.one_in(3) {
            reader.work(&mut rig.shards[0], prng);
        }
        after(rig, prng);
        assert!(rig.steps < 400_000, "not drained: {}", stuck(rig));
    }
}

pub(super) fn saved(seed: u64, prng: &mut Prng, met: &mut Met) {
    let order = if prng.one_in(3) { Order::Released } else { Order::Held };
    let trouble = Trouble::draw(prng);
    let scene = Scene::draw(prng, order);
    let events = events(prng);
    let through = {
        let world = World::new(trouble, order);
        let (mut rig, mut reader) = scene.rig(&world, events.clone());
        run(&mut rig, &mut reader, prng, |_, _| ());
        rig.result()
    };
    let world = World::new(trouble, order);
    let (mut rig, mut reader) = scene.rig(&world, events.clone());
    let often = 1 + prng.in_range(0..20);
    let (mut bytes, mut again) = (Vec::new(), Vec::new());
    run(&mut rig, &mut reader, prng, |rig, prng| {
        if !prng.one_in(often) {
            return;
        }
        bytes.clear();
        match rig.shards[0].snapshot(&mut bytes) {
            Ok(()) => {}
            Err(NotAtRest::Busy) => return met.note("busy", 1),
            Err(error) => panic!("{error}"),
        }
        let shard = &rig.shards[0];
        let (letters, requests) = (shard.letters(), shard.requests().counters());
        let history = shard.backfill().unwrap().manager().counters();
        for (what, count) in [
            ("saved", 1),
            ("saved letters that wait", letters.waiting()),
            ("saved held events", letters.held()),
            ("saved parked letters", letters.parked()),
            ("saved requests that wait", requests.waiting as usize),
            ("saved requests in the queue", requests.pending as usize),
            ("saved wishes", requests.arriving as usize),
            ("saved backfills in flight", history.in_flight as usize),
            ("saved backfills that wait", history.pending as usize),
        ] {
            met.note(what, count as u64);
        }
        let (mut fresh, _) = scene.rig(&world, Vec::new());
        let fresh = fresh.shards.pop().unwrap().restored(&bytes);
        let mut fresh = fresh.unwrap_or_else(|error| panic!("seed {seed}, step {}: {error}", rig.steps));
        again.clear();
        fresh.snapshot(&mut again).unwrap();
        assert!(again == bytes, "seed {seed}, step {}: equal shards, equal bytes", rig.steps);
        fresh.take_rings_of(&mut rig.shards[0]);
        rig.shards[0] = fresh;
    });
    through.assert_same(&rig.result(), &format!("seed {seed}"));
    met.note("timers fired", through.timers_fired);
    met.note("outputs", through.outputs.0.values().map(|outputs| outputs.len() as u64).sum());
}

#[test]
fn a_shard_that_is_saved_and_put_back_at_random_goes_on_as_one_that_never_was() {
    let all = seeds(0..150);
    let is_all = all.end - all.start > 1;
    let met = each_seed(all, saved);
    if is_all {
        met.assert_all();
    }
}

#[test]
fn a_snapshot_of_a_shard_that_is_damaged_or_of_another_is_refused_by_name() {
    silence();
    let mut prng = Prng::new(4);
    let (order, trouble) = (Order::Held, Trouble { retry: 60, fail: 20, panic: 10, ask: 100, timer: 100 });
    let scene = Scene::draw(&mut prng, order);
    let world = World::new(trouble, order);
    let (mut rig, mut reader) = scene.rig(&world, events(&mut prng));
    let mut good = Vec::new();
    run(&mut rig, &mut reader, &mut prng, |rig, prng| {
        let is_full = rig.shards[0].letters().waiting() > 0 && rig.shards[0].requests().counters().pending > 0;
        if good.is_empty() || is_full && prng.one_in(9) {
            good.clear();
            let _ = rig.shards[0].snapshot(&mut good);
        }
    });
    let restore = |scene: &Scene, bytes: &[u8]| {
        let (mut rig, _) = scene.rig(&world, Vec::new());
        rig.shards.pop().unwrap().restored(bytes).map(|_| ())
    };
    assert_eq!(restore(&scene, &good), Ok(()));
    // Anywhere in it.
    for _ in 0..200 {
        let mut bytes = good.clone();
        let at = prng.index(bytes.len());
        bytes[at] ^= 1 << prng.index(8);
        assert!(restore(&scene, &bytes).is_err(), "byte {at}");
        assert!(restore(&scene, &good[..at]).is_err(), "cut to {at}");
    }
    assert!(restore(&scene, &[&good[..], &[0]].concat()).is_err());
    // Damage that only the rules between the parts can find; whatever is taken makes no panic on its way in.
    let first = tapeline_core::section::Section::split_first(&good).unwrap().1;
    let (own, parts) = good.split_at(good.len() - first.len());
    let _ = sealed_damage(0..10, 20, own, |own| restore(&scene, &[own, parts].concat()).is_ok());
    // Of another shard.
    let other = Scene { sizes: Sizes { timers_max: scene.sizes.timers_max + 1, ..scene.sizes }, ..scene };
    let told = restore(&other, &good).unwrap_err().to_string();
    assert!(told.contains("timing wheel"), "{told}");
}
