//! Our half of the comparison with the old design, whose other half is `bench/baseline/baseline.py`: the same trace, the same
//! rules, the same counts. `bench/baseline/run.sh` runs both; `bench/README.md` gives the rules.
//!
//! ```sh
//! cargo run --release -p tapeline-runtime --example baseline -- FILE.tape [--priced] [PASSES]
//! ```
//!
//! One thread, one shard with its default limits and without a history, which the old design has none of. The time is from the first slot
//! that is pushed into the ring to the last event that the shard has handled: ring, admission, dedup, handler, dead letters, signals, digest
//! and request queue are in it; decoding the tape, making the trace, and building the shard are not. Each pass has a new shard; the median
//! pass counts. With `--priced` the trace is its trades and quotes alone: each event has a handler.

use bytemuck::{Pod, Zeroable};
use std::collections::{BTreeMap, VecDeque};
use std::process::ExitCode;
use std::time::{Duration, Instant};
use tapeline_core::bus::{BusBuilder, Chain};
use tapeline_core::catalog::Catalog;
use tapeline_core::event::payload::{Features, Quote, Signal, Trade};
use tapeline_core::event::{EventBuf, EventRef, Flags, Kind, KindSet, Slot, events};
use tapeline_core::handler::{Ctx, Handler, Verdict};
use tapeline_core::ledger::Refusal;
use tapeline_core::limits::{BATCH_SLOTS, RING_SLOTS_DEFAULT};
use tapeline_core::queue::{self, PRIORITIES, Priority, Request, RequestQueue};
use tapeline_core::ring::{self, Producer};
use tapeline_core::shard::{Config, Limit, Outbox, Shard};
use tapeline_core::units::{PRICE_UNDEFINED, Side, SourceId, SymbolId, UnixNanos, price_f64};
use tapeline_runtime::input::detect::{self, OpenOptions};
use tapeline_runtime::input::{Input, InputError, MESSAGE_SLOTS_MAX, SlotBuf, Status};

// The rules, as in baseline.py.
/// Weights of a new price in the averages over 12 and 26.
const FAST: f64 = 2.0 / (12.0 + 1.0);
const SLOW: f64 = 2.0 / (26.0 + 1.0);
/// The handler fails for good on every event whose number is a multiple of this.
const FAIL_EVERY: u64 = 100;
/// An event whose number leaves this rest comes again.
const AGAIN_EVERY: u64 = 20;
const AGAIN_REST: u64 = 7;
/// So many events of the tape lie between an event and its copy.
const AGAIN_AFTER: u64 = 64;
/// Requests that an upward crossing makes.
const REQUESTS: u64 = 3;
/// After each of so many crossings, so many requests are served.
const SERVE_EVERY: u64 = 16;
const SERVE: usize = 8;
/// Head start of one priority class over the next, ns.
const AGING_STEP_NS: u64 = 1_000_000_000;

/// What the handler is interested in.
const PRICED: KindSet = KindSet::of(&[Kind::TRADE, Kind::QUOTE]);
const PASSES_DEFAULT: usize = 5;
const MIX: u64 = 1_000_003;

/// Two averages of each symbol's price and which of them is above. A quote without any price asks for them.
struct Crossing;

/// Zero bytes = no price yet.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Averages {
    fast: f64,
    slow: f64,
    prices: u64,
    /// 0 = they were never apart, 1 = fast above slow, 2 = below.
    position: u64,
}

impl Handler for Crossing {
    type State = Averages;
    const NAME: &'static str = "crossing";
    const STATE_VERSION: u16 = 1;

    fn interests(&self) -> KindSet {
        PRICED
    }

    fn on_event(&self, averages: &mut Averages, event: EventRef<'_>, cx: &mut Ctx<'_>) -> Verdict {
        if event.head().seq.is_multiple_of(FAIL_EVERY) {
            return Verdict::Fail(1);
        }
        let price = if let Some(trade) = event.get::<Trade>() {
            if trade.price == PRICE_UNDEFINED {
                return Verdict::Done;
            }
            price_f64(trade.price)
        } else if let Some(quote) = event.get::<Quote>() {
            match (quote.bid_px, quote.ask_px) {
                (PRICE_UNDEFINED, PRICE_UNDEFINED) => return tell(averages, cx),
                (PRICE_UNDEFINED, _) | (_, PRICE_UNDEFINED) => return Verdict::Done,
                (bid, ask) => (price_f64(bid) + price_f64(ask)) * 0.5,
            }
        } else {
            return Verdict::Done;
        };
        averages.prices += 1;
        if averages.prices == 1 {
            (averages.fast, averages.slow) = (price, price);
            return Verdict::Done;
        }
        averages.fast += FAST * (price - averages.fast);
        averages.slow += SLOW * (price - averages.slow);
        let position = match averages.fast.partial_cmp(&averages.slow) {
            Some(std::cmp::Ordering::Greater) => 1,
            Some(std::cmp::Ordering::Less) => 2,
            _ => return Verdict::Done,
        };
        let before = std::mem::replace(&mut averages.position, position);
        if before == 0 || before == position {
            return Verdict::Done;
        }
        let side = if position == 1 { Side::Bid } else { Side::Ask };
        match cx.signal(&Signal { side: side as u8, ..Signal::default() }) {
            Ok(()) => Verdict::Done,
            Err(_) => Verdict::Fail(2),
        }
    }
}

/// Publishes the averages of a symbol that had a price.
fn tell(averages: &Averages, cx: &mut Ctx<'_>) -> Verdict {
    if averages.prices > 0 && cx.features(&Features::default(), &[averages.fast, averages.slow]).is_err() {
        return Verdict::Fail(2);
    }
    Verdict::Done
}

/// Takes the signals: requests of a symbol are queued on its upward crossings and cleared on its downward ones.
struct Requests {
    queue: RequestQueue<u64>,
    up: u64,
    down: u64,
    /// Hash over what was served, in order.
    served: u64,
    /// Averages that were asked for.
    averages: BTreeMap<SymbolId, [f64; 2]>,
}

impl Requests {
    fn new(symbols: usize) -> Self {
        let config = queue::Config {
            symbols,
            capacity: symbols * REQUESTS as usize,
            per_symbol: u32::MAX,
            in_flight_per_symbol: u32::MAX,
            aging_step_ns: AGING_STEP_NS,
            merge_window_ns: 0,
            turn_bits: 0,
            ..queue::Config::default()
        };
        Self { queue: RequestQueue::new(&config), up: 0, down: 0, served: 0, averages: BTreeMap::new() }
    }

    fn signal(&mut self, output: EventRef<'_>, side: u8) {
        let head = output.head();
        let now = head.ts_recv;
        if side == Side::Bid as u8 {
            self.up += 1;
            for number in 0..REQUESTS {
                let class = ((head.seq + number * 3) % PRIORITIES as u64) as u8;
                let priority = Priority::new(class).expect("a rest of 8 is below 8");
                let pushed = self.queue.push(
                    now,
                    Request {
                        symbol: head.symbol,
                        groups: 1 << number,
                        priority,
                        expires_at: UnixNanos::ZERO,
                        payload: head.seq * REQUESTS + number,
                    },
                );
                assert!(pushed.handle().is_some(), "at most {REQUESTS} requests of a symbol are pending");
            }
        } else {
            self.down += 1;
            self.queue.clear(head.symbol, |_| ());
        }
        if (self.up + self.down).is_multiple_of(SERVE_EVERY) {
            for _ in 0..SERVE {
                let Some(request) = self.queue.pop(now) else { break };
                self.served = self.served.wrapping_mul(MIX).wrapping_add(request.request.payload);
                self.queue.finish(request.request.symbol);
            }
        }
    }
}

impl Outbox for Requests {
    fn has_room(&mut self) -> bool {
        true
    }

    fn put(&mut self, output: EventRef<'_>) {
        if let Some(signal) = output.get::<Signal>() {
            self.signal(output, signal.side);
        } else if let Ok(averages) = <[f64; 2]>::try_from(Features::values_of(output).collect::<Vec<_>>()) {
            self.averages.insert(output.head().symbol, averages);
        }
    }
}

/// What both halves must agree on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Counts {
    events: u64,
    duplicates: u64,
    dead_letters: u64,
    up: u64,
    down: u64,
    queued: u64,
    served: u64,
    cleared: u64,
    left: u64,
    served_hash: u64,
    averages_hash: u64,
}

/// All events of the tape, or those with a price, with copies of some of them.
fn trace(input: &mut dyn Input, catalog: &mut Catalog, is_priced: bool) -> Result<Vec<Slot>, InputError> {
    let is_wanted = |kind: Kind| !kind.is_control() && (!is_priced || PRICED.contains(kind));
    let mut buf = SlotBuf::with_capacity(MESSAGE_SLOTS_MAX * 4);
    let (mut slots, mut copies) = (Vec::new(), VecDeque::<(u64, Vec<Slot>)>::new());
    let mut number = 0;
    loop {
        let status = input.read(catalog, &mut buf)?;
        for event in events(buf.slots()).filter(|event| is_wanted(event.kind())) {
            while let Some((_, copy)) = copies.pop_front_if(|(due, _)| *due <= number) {
                slots.extend(copy);
            }
            slots.extend_from_slice(event.slots());
            let head = event.head();
            if head.seq % AGAIN_EVERY == AGAIN_REST && !head.flags.contains(Flags::UNSEQUENCED) {
                copies.push_back((number + AGAIN_AFTER, event.slots().to_vec()));
            }
            number += 1;
        }
        buf.clear();
        if status == Status::End {
            slots.extend(copies.into_iter().flat_map(|(_, copy)| copy));
            return Ok(slots);
        }
    }
}

/// Sends `slots` through the ring into the shard, on this thread.
fn feed<C: Chain>(slots: &[Slot], ring: &mut Producer, shard: &mut Shard<C>, out: &mut Requests) {
    let mut at = 0;
    loop {
        // Whole events, at least one: a span is no longer than a batch.
        let mut end = at;
        while end < slots.len() && end - at < BATCH_SLOTS {
            end += slots[end].span();
        }
        at += ring.push_batch(&slots[at..end], None);
        if shard.step(out).work == 0 && at == slots.len() {
            return;
        }
    }
}

/// One pass over the trace with a new shard.
fn pass(slots: &[Slot], catalog: &Catalog, source: SourceId) -> Result<(Counts, Duration), String> {
    let mut catalog = catalog.clone();
    let symbols = catalog.symbols();
    let builder = BusBuilder::new(catalog.symbols_max()).then(Crossing);
    let bus = builder.build(&mut catalog).map_err(|error| error.to_string())?;
    let (mut ring, consumer) = ring::channel(RING_SLOTS_DEFAULT);
    let config = Config { history_slots: 0, ..Config::single() };
    let mut shard = Shard::new(config, catalog.clone(), bus, (), consumer, Vec::new(), Vec::new());
    let mut out = Requests::new(symbols);

    let start = Instant::now();
    feed(slots, &mut ring, &mut shard, &mut out);
    let elapsed = start.elapsed();

    let total = shard.ledger().total();
    let duplicates = shard.ledger().refused_by(Refusal::Duplicate);
    if total.refused != duplicates || total.in_flight != 0 || !shard.ledger().is_balanced() {
        return Err(format!("events were refused or are still in flight: {total:?}"));
    }
    for limit in [Limit::Dedup, Limit::DeadLetters, Limit::Staging] {
        if shard.limit_hits(limit) > 0 {
            return Err(format!("a limit acted, so that the halves cannot be compared: {}", limit.name()));
        }
    }
    let counters = *out.queue.counters();
    let (up, down, served_hash) = (out.up, out.down, out.served);

    // Asks for the averages, after the time was taken.
    let quote = Quote { bid_px: PRICE_UNDEFINED, ask_px: PRICE_UNDEFINED, ..Quote::default() };
    let mut questions = Vec::new();
    for symbol in 1..symbols {
        let mut event = EventBuf::new(&quote);
        let head = event.head_mut();
        (head.ts_recv, head.seq, head.symbol, head.source) = (shard.clock(), 1, SymbolId(symbol as u32), source);
        event.flag(Flags::LAST.with(Flags::UNSEQUENCED));
        questions.extend_from_slice(event.slots());
    }
    out.averages.clear();
    feed(&questions, &mut ring, &mut shard, &mut out);
    let mut averages: Vec<_> = out.averages.iter().map(|(symbol, pair)| (catalog.symbol_text(*symbol), pair)).collect();
    averages.sort_unstable_by_key(|(text, _)| *text);
    let rounded = averages.iter().flat_map(|(_, pair)| pair.map(|value| (value * 1e6 + 0.5).floor() as i64 as u64));
    let averages_hash = rounded.fold(0u64, |hash, value| hash.wrapping_mul(MIX).wrapping_add(value));

    let counts = Counts {
        events: total.offered,
        duplicates,
        dead_letters: total.dead_lettered,
        up,
        down,
        queued: counters.queued,
        served: counters.popped,
        cleared: counters.cleared,
        left: out.queue.len() as u64,
        served_hash,
        averages_hash,
    };
    Ok((counts, elapsed))
}

/// All passes; the line that is printed.
fn run(path: &str, is_priced: bool, passes: usize) -> Result<String, String> {
    let mut catalog = Catalog::new(tapeline_core::limits::SYMBOLS_DEFAULT);
    let mut input = detect::open(path, &OpenOptions::default()).map_err(|error| error.to_string())?;
    let slots = trace(&mut *input, &mut catalog, is_priced).map_err(|error| error.to_string())?;
    let source = slots.first().ok_or_else(|| format!("{path}: no events"))?.source;
    let mut runs = Vec::new();
    for _ in 0..passes {
        runs.push(pass(&slots, &catalog, source)?);
    }
    let counts = runs[0].0;
    if let Some((other, _)) = runs.iter().find(|(other, _)| *other != counts) {
        return Err(format!("passes differ: {counts:?} and {other:?}"));
    }
    let mut times: Vec<f64> = runs.iter().map(|(_, elapsed)| elapsed.as_secs_f64()).collect();
    times.sort_unstable_by(f64::total_cmp);
    let seconds = times[times.len() / 2];
    let Counts { events, duplicates, dead_letters, up, down, queued, served, cleared, left, .. } = counts;
    Ok(format!(
        "{{\"program\":\"tapeline\",\"events\":{events},\"duplicates\":{duplicates},\"dead_letters\":{dead_letters},\
         \"crossings_up\":{up},\"crossings_down\":{down},\"requests\":{queued},\"served\":{served},\"cleared\":{cleared},\
         \"left\":{left},\"served_hash\":\"{:016x}\",\"averages_hash\":\"{:016x}\",\"passes\":{passes},\
         \"seconds\":{seconds:.6},\"fastest\":{:.6},\"slowest\":{:.6},\"events_per_second\":{:.0}}}",
        counts.served_hash,
        counts.averages_hash,
        times[0],
        times[times.len() - 1],
        events as f64 / seconds,
    ))
}

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1).peekable();
    let path = args.next();
    let is_priced = args.next_if(|option| option == "--priced").is_some();
    let passes = args.next().map_or(Some(PASSES_DEFAULT), |text| text.parse().ok().filter(|passes| *passes > 0));
    let (Some(path), Some(passes), None) = (path, passes, args.next()) else {
        eprintln!("usage: baseline FILE.tape [--priced] [PASSES]");
        return ExitCode::from(2);
    };
    match run(&path, is_priced, passes) {
        Ok(line) => {
            println!("{line}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("baseline: {error}");
            ExitCode::FAILURE
        }
    }
}
