//! What holds for every generated session, seen from outside: through the input that replay and `gen` use.

use std::collections::{BTreeMap, BTreeSet};
use tapeline_core::catalog::{Catalog, SeqRule};
use tapeline_core::event::payload::{
    Bar, BarRest, BookDepth, BookLevel, BookOrder, Gap, LevelAction, News, Quote, QuoteWide, Status as Trading, Trade,
};
use tapeline_core::event::{EventRef, Flags, Kind, Slot, events};
use tapeline_core::hash;
use tapeline_core::units::{SymbolId, UnixNanos};
use tapeline_runtime::input::generate::{Burst, Config, GenerateInput, Mix};
use tapeline_runtime::input::{Input, InputError, MESSAGE_SLOTS_MAX, SlotBuf, Status};

/// Reads a session to its end in buffers of `capacity` slots.
fn read(config: &Config, capacity: usize) -> (Vec<Slot>, Catalog) {
    let mut input = GenerateInput::new(config).unwrap();
    let mut catalog = Catalog::new(config.symbols as usize + 1);
    let mut out = SlotBuf::with_capacity(capacity);
    let mut all = Vec::new();
    loop {
        out.clear();
        let status = input.read(&mut catalog, &mut out).unwrap();
        all.extend_from_slice(out.slots());
        if status == Status::End {
            assert_eq!(input.read(&mut catalog, &mut out).unwrap(), Status::End, "it stays ended");
            return (all, catalog);
        }
        assert!(!out.slots().is_empty(), "each call gives a message");
    }
}

fn session(config: &Config) -> (Vec<Slot>, Catalog) {
    read(config, MESSAGE_SLOTS_MAX)
}

/// Sessions of all sorts, small enough for a debug build.
fn configs() -> Vec<Config> {
    let small = Config { events: 60_000, symbols: 50, duration_ns: 5_000_000_000, ..Config::default() };
    let rare = Mix { news: 20_000, status: 20_000, gap: 20_000, ..Mix::default() };
    let mut configs = vec![
        small.clone(),
        Config { seed: 2, mix: rare, ..small.clone() },
        Config { seed: 3, symbols: 1, zipf_exponent: 0.0, mix: rare, ..small.clone() },
        Config { seed: 4, burst: Burst { factor: 64, focus_percent: 100, ..Burst::default() }, ..small.clone() },
        Config {
            seed: 5,
            start: UnixNanos(1_000_000_123),
            duration_ns: 3_333_333_333,
            bar_symbols: 50,
            ..small.clone()
        },
        // A day at its own pace: halts end, and bars fall due, between two arrivals.
        Config { seed: 6, duration_ns: 24 * 3600 * 1_000_000_000, mix: rare, ..small.clone() },
    ];
    configs.extend((0..20).map(|seed| Config { seed, events: 1 + seed * 7, duration_ns: 1_000_000, ..small.clone() }));
    configs
}

fn name(catalog: &Catalog, head: &Slot) -> String {
    String::from_utf8(catalog.source_name(head.source).to_vec()).unwrap()
}

fn digest(slots: &[Slot]) -> u64 {
    hash::stable(bytemuck::cast_slice(slots))
}

#[test]
fn equal_parameters_give_these_bytes_on_every_machine() {
    // Golden: a change here changes what every written seed stands for.
    let config = Config { events: 20_000, symbols: 100, duration_ns: 2_000_000_000, ..Config::default() };
    assert_eq!(format!("{:016x}", digest(&session(&config).0)), "8cc977c8443ff9fa");
    let mix = Mix { news: 30_000, status: 30_000, gap: 30_000, book_depth: 100_000, ..Mix::default() };
    let config = Config { seed: u64::MAX, events: 20_000, symbols: 7, zipf_exponent: 0.7, mix, ..config };
    assert_eq!(format!("{:016x}", digest(&session(&config).0)), "d45d3249e7012098");
}

#[test]
fn another_seed_gives_another_session() {
    let config = Config { events: 1_000, ..Config::default() };
    let digests: BTreeSet<u64> = (0..20).map(|seed| digest(&session(&Config { seed, ..config.clone() }).0)).collect();
    assert_eq!(digests.len(), 20);
}

#[test]
fn the_stream_does_not_depend_on_the_buffer() {
    for config in configs().into_iter().take(3) {
        let config = Config { events: 20_000, ..config };
        let (expected, _) = session(&config);
        for capacity in [40, 41, 64, 1_000, 1 << 20] {
            let (slots, _) = read(&config, capacity);
            assert!(slots == expected, "seed {}: capacity {capacity}", config.seed);
        }
    }
}

#[test]
fn a_longer_session_needs_no_more_memory() {
    let bytes = |events| GenerateInput::new(&Config { events, ..Config::default() }).unwrap().bytes();
    assert_eq!(bytes(1_000), bytes(1 << 40));
    // What the documentation says: 700 bytes a symbol, and what does not grow with them.
    assert!(bytes(1_000) < 1_000 * 700 + 20_000, "{}", bytes(1_000));
}

#[test]
#[ignore = "soak: cargo test -p tapeline-runtime --test generate_stream -- --ignored"]
fn a_hundred_million_events_are_made_to_the_last() {
    let mix = Mix { news: 5_000, status: 5_000, gap: 5_000, ..Mix::default() };
    let config = Config { events: 100_000_000, duration_ns: 23_400_000_000_000, mix, ..Config::default() };
    let mut input = GenerateInput::new(&config).unwrap();
    let (mut catalog, mut out) = (Catalog::new(2_000), SlotBuf::with_capacity(MESSAGE_SLOTS_MAX));
    let (mut count, mut clock) = (0, config.start);
    loop {
        out.clear();
        let status = input.read(&mut catalog, &mut out).unwrap();
        for event in events(out.slots()) {
            assert!(event.head().ts_recv >= clock);
            clock = event.head().ts_recv;
            count += 1;
        }
        if status == Status::End {
            break;
        }
    }
    assert_eq!(count, config.events);
}

#[test]
fn counts_times_flags_and_names_hold_for_every_event() {
    for config in configs() {
        let (slots, catalog) = session(&config);
        let seed = config.seed;
        let mut count = 0;
        let mut slot_count = 0;
        let mut clock = config.start;
        let mut source_clock = vec![UnixNanos::ZERO; catalog.symbols()];
        for event in events(&slots) {
            let head = event.head();
            count += 1;
            slot_count += event.slots().len();
            assert!(head.flags.contains(Flags::GENERATED));
            assert!(head.kind.version() == 0 && head.kind().is_known() && !head.kind().is_control());
            assert!(head.ts_recv >= clock && head.ts_recv.0 <= config.start.0 + config.duration_ns, "seed {seed}");
            clock = head.ts_recv;
            let delay = head.ts_recv.0 - head.ts_event.0;
            match head.kind() {
                Kind::BAR => assert_eq!(delay, 1_000_000_000),
                _ => {
                    assert!((5_000..=200_000).contains(&delay), "seed {seed}: {delay} ns");
                    let before = std::mem::replace(&mut source_clock[head.symbol.index()], head.ts_event);
                    assert!(before <= head.ts_event, "seed {seed}: the source's time of a symbol never falls");
                }
            }
            assert_ne!(head.symbol, SymbolId::NONE);
            assert!(catalog.symbol_text(head.symbol).starts_with(b"GEN:SYM"));
            let unsequenced = catalog.seq_rule(head.source) == SeqRule::None;
            assert_eq!(head.flags.contains(Flags::UNSEQUENCED), unsequenced);
            match head.kind() {
                Kind::GAP => {}
                kind => assert_eq!(name(&catalog, head), format!("generated.{}", kind.name())),
            }
        }
        assert_eq!(count, config.events, "seed {seed}: exactly as many events as asked for");
        assert_eq!(slot_count, slots.len(), "seed {seed}: every slot belongs to a whole event");
    }
}

#[test]
fn messages_are_whole_and_end_with_last() {
    for config in configs() {
        let (slots, catalog) = session(&config);
        let mut first: Option<Slot> = None;
        let mut part = 0;
        for event in events(&slots) {
            let head = event.head();
            let begun = *first.get_or_insert(*head);
            assert_eq!(head.part, part, "seed {}", config.seed);
            assert_eq!(
                (head.source, head.symbol, head.seq, head.ts_recv, head.ts_event),
                (begun.source, begun.symbol, begun.seq, begun.ts_recv, begun.ts_event)
            );
            part += 1;
            if head.flags.contains(Flags::LAST) {
                let many = matches!(begun.kind(), Kind::BOOK_LEVEL | Kind::BOOK_ORDER);
                assert!(many || part == 1, "seed {}: {:?}", config.seed, name(&catalog, &begun));
                (first, part) = (None, 0);
            }
        }
        assert_eq!(first, None, "seed {}: the last message is complete", config.seed);
    }
}

#[test]
fn identities_are_unique_and_sequences_follow_their_rules() {
    for config in configs() {
        let (slots, catalog) = session(&config);
        let mut seen = BTreeSet::new();
        let mut next: BTreeMap<(String, u32), u64> = BTreeMap::new();
        let mut gap: Option<(Slot, Gap)> = None;
        for event in events(&slots) {
            let head = event.head();
            let id = head.identity();
            assert!(seen.insert((id.source.0, id.symbol.0, id.seq, id.part)), "seed {}: {id:?} twice", config.seed);
            let rule = catalog.seq_rule(head.source);
            let per_symbol = if rule == SeqRule::ContiguousPerSymbol { head.symbol.0 } else { 0 };
            let last = next.entry((name(&catalog, head), per_symbol)).or_insert(0);
            if let Some(missing) = event.get::<Gap>() {
                assert_eq!(rule, SeqRule::ContiguousPerSymbol);
                assert_eq!((head.seq, missing.expected), (*last + 1, *last + 1));
                assert_eq!(missing.received, missing.expected + missing.missing);
                assert!(missing.missing > 0);
                *last += missing.missing;
                gap = Some((*head, *missing));
                continue;
            }
            if let Some((at, missing)) = gap.take() {
                // The message that shows the gap follows it at once.
                assert_eq!((head.source, head.symbol, head.ts_recv), (at.source, at.symbol, at.ts_recv));
                assert_eq!(head.seq, missing.received);
            }
            if head.part == 0 {
                match rule {
                    SeqRule::Contiguous | SeqRule::ContiguousPerSymbol => assert_eq!(head.seq, *last + 1),
                    SeqRule::Increasing => assert!(head.seq > *last),
                    SeqRule::None => {}
                }
                *last = head.seq;
            }
        }
    }
}

/// What a reader of all streams knows of one symbol.
#[derive(Default)]
struct Known {
    quote: Option<Quote>,
    levels: Option<BTreeMap<(u8, i64), u64>>,
    orders: Option<BTreeMap<u64, (u8, i64, u32)>>,
    halted: bool,
}

impl Known {
    /// `of_levels`: the event is of the stream of level changes.
    fn take(&mut self, event: EventRef<'_>, of_levels: bool) {
        let head = event.head();
        if let Some(quote) = event.get::<Quote>() {
            assert!(quote.bid_px > 0 && quote.bid_px < quote.ask_px, "{quote:?}");
            assert!(quote.bid_px % 10_000_000 == 0 && quote.ask_px % 10_000_000 == 0, "on the tick grid");
            let (bid, ask) = Quote::sizes(event);
            assert!(bid > 0 && ask > 0);
            assert_eq!(QuoteWide::of(event).is_some(), event.slots().len() == 2);
            self.quote = Some(*quote);
        } else if let Some(trade) = event.get::<Trade>() {
            let quote = self.quote.expect("the first price is a quote");
            assert!(!self.halted && trade.size > 0);
            assert_eq!(trade.price, if trade.side == 1 { quote.ask_px } else { quote.bid_px });
        } else if let Some(level) = event.get::<BookLevel>() {
            self.level(head, level);
        } else if let Some(order) = event.get::<BookOrder>() {
            self.order(head, order);
        } else if event.get::<BookDepth>().is_some() {
            let quote = self.quote.unwrap();
            let levels: Vec<_> = BookDepth::levels_of(event).collect();
            assert_eq!(levels.len(), 10);
            assert_eq!((levels[0].bid_px, levels[0].ask_px), (quote.bid_px, quote.ask_px));
            assert!(levels.is_sorted_by(|a, b| a.bid_px > b.bid_px && a.ask_px < b.ask_px));
            assert!(levels.iter().all(|level| level.bid_px > 0 && level.bid_sz > 0 && level.ask_sz > 0));
        } else if let Some(status) = event.get::<Trading>() {
            assert_eq!(status.action, if self.halted { 7 } else { 8 }, "halts and ends of halts alternate");
            self.halted = !self.halted;
        } else if event.get::<Gap>().is_some() && of_levels {
            self.levels.take().expect("levels that nobody was told of cannot go missing");
        }
    }

    fn level(&mut self, head: &Slot, level: &BookLevel) {
        let action = LevelAction::from_u8(level.action);
        assert_eq!(action == LevelAction::Clear, head.part == 0 && head.flags.contains(Flags::SNAPSHOT));
        if action == LevelAction::Clear {
            self.levels = Some(BTreeMap::new());
            return;
        }
        let levels = self.levels.as_mut().expect("a snapshot comes first");
        assert!(level.price > 0 && (level.side == 1 || level.side == 2));
        if action == LevelAction::Delete {
            assert!(levels.remove(&(level.side, level.price)).is_some(), "a level that is there is deleted");
        } else {
            assert!(level.size > 0 && level.order_count > 0);
            levels.insert((level.side, level.price), level.size);
        }
        if head.flags.contains(Flags::LAST) {
            let quote = self.quote.unwrap();
            let bids: Vec<i64> = levels.keys().filter(|(side, _)| *side == 1).map(|(_, price)| *price).collect();
            let asks: Vec<i64> = levels.keys().filter(|(side, _)| *side == 2).map(|(_, price)| *price).collect();
            assert_eq!((bids.len(), asks.len()), (10, 10));
            assert_eq!((bids[9], asks[0]), (quote.bid_px, quote.ask_px), "the best levels are the quote's");
        }
    }

    fn order(&mut self, head: &Slot, order: &BookOrder) {
        if order.action == b'R' {
            assert!(self.orders.is_none() && head.part == 0, "one clear, at the beginning");
            self.orders = Some(BTreeMap::new());
            return;
        }
        let orders = self.orders.as_mut().expect("a clear comes first");
        match order.action {
            b'A' => {
                assert!(order.size > 0 && order.price > 0);
                let known = orders.insert(order.order_id, (order.side, order.price, order.size));
                assert!(known.is_none(), "order {} is added twice", order.order_id);
            }
            action => {
                let live = orders.get_mut(&order.order_id).expect("only live orders change");
                assert_eq!((live.0, live.1), (order.side, order.price));
                assert!(order.size > 0);
                match action {
                    b'M' => live.2 = order.size,
                    b'F' => {
                        assert!(order.size <= live.2 && !self.halted);
                        assert!(!head.flags.contains(Flags::LAST), "the cancel that takes a fill away follows");
                    }
                    b'C' => {
                        live.2 = live.2.checked_sub(order.size).expect("no more is taken than is there");
                        if live.2 == 0 {
                            orders.remove(&order.order_id);
                        }
                    }
                    other => panic!("action {other}"),
                }
            }
        }
        assert!(orders.len() <= 16);
        if head.flags.contains(Flags::LAST) {
            let quote = self.quote.unwrap();
            for (side, price, _) in orders.values() {
                assert!(if *side == 1 { *price <= quote.bid_px } else { *price >= quote.ask_px }, "an order is passed");
            }
        }
    }
}

#[test]
fn quotes_trades_levels_and_orders_of_a_symbol_agree() {
    for config in configs() {
        let (slots, catalog) = session(&config);
        let mut known: Vec<Known> = (0..catalog.symbols()).map(|_| Known::default()).collect();
        for event in events(&slots) {
            let at = event.head();
            let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                known[at.symbol.index()].take(event, catalog.source_name(at.source) == b"generated.book_level");
            }));
            assert!(outcome.is_ok(), "seed {}: {:?}", config.seed, event);
        }
    }
}

#[test]
fn bars_are_those_of_the_trades() {
    #[derive(Default, PartialEq, Debug)]
    struct Sum {
        open: i64,
        high: i64,
        low: i64,
        close: i64,
        volume: u64,
        trades: u64,
        notional: i128,
    }
    let mut bars = 0;
    for config in configs().into_iter().take(5) {
        let (slots, catalog) = session(&config);
        let mut running: BTreeMap<(u64, String), Sum> = BTreeMap::new();
        for event in events(&slots) {
            let head = event.head();
            let symbol = String::from_utf8(catalog.symbol_text(head.symbol).to_vec()).unwrap();
            let number: u32 = symbol["GEN:SYM".len()..].parse().unwrap();
            if let Some(trade) = event.get::<Trade>() {
                if number > config.bar_symbols {
                    continue;
                }
                let bar = running.entry((head.ts_recv.0 / 1_000_000_000, symbol)).or_insert_with(|| Sum {
                    open: trade.price,
                    high: trade.price,
                    low: trade.price,
                    ..Sum::default()
                });
                bar.high = bar.high.max(trade.price);
                bar.low = bar.low.min(trade.price);
                bar.close = trade.price;
                bar.volume += trade.size;
                bar.trades += 1;
                bar.notional += i128::from(trade.price) * i128::from(trade.size);
            } else if let Some(bar) = event.get::<Bar>() {
                let rest = BarRest::of(event).unwrap();
                let interval = head.ts_event.0 / 1_000_000_000;
                assert_eq!((head.ts_event.0, rest.interval_ns), (interval * 1_000_000_000, 1_000_000_000));
                let sum = running.remove(&(interval, symbol)).expect("a bar of trades, once");
                assert_eq!(rest.vwap, i64::try_from(sum.notional / i128::from(sum.volume)).unwrap());
                let given = Sum {
                    open: bar.open,
                    high: bar.high,
                    low: bar.low,
                    close: rest.close,
                    volume: rest.volume,
                    trades: rest.trades,
                    notional: sum.notional,
                };
                assert_eq!(given, sum);
                bars += 1;
            }
        }
        let last = slots.last().unwrap().ts_recv.0 / 1_000_000_000;
        for (interval, symbol) in running.keys() {
            assert!(*interval >= last, "seed {}: {symbol} has no bar of second {interval}", config.seed);
        }
    }
    assert!(bars > 300, "{bars} bars");
}

#[test]
fn the_default_session_has_every_kind_a_rush_a_u_and_bursts() {
    let config = Config { events: 200_000, ..Config::default() };
    let (slots, _) = session(&config);
    let mut kinds: BTreeMap<&str, u64> = BTreeMap::new();
    let mut tenth = [0u32; 10];
    let mut fiftieth = [0u32; 50];
    let mut millisecond = vec![0u32; 20_000];
    for event in events(&slots) {
        *kinds.entry(event.kind().name()).or_default() += 1;
        let at = event.head().ts_recv.0 - config.start.0;
        tenth[(at * 10 / config.duration_ns) as usize] += 1;
        fiftieth[(at * 50 / config.duration_ns) as usize] += 1;
        millisecond[(at / 1_000_000) as usize] += 1;
    }
    // What markets send; what an engine says of itself is not generated.
    for kind in Kind::ALL.iter().filter(|kind| (8..=Kind::GAP.0).contains(&kind.0)) {
        assert!(kinds.contains_key(kind.name()), "no {}: {kinds:?}", kind.name());
    }
    // In calm the first tenth has 3.0 times the activity of the middle ones, the last 2.5 times; bursts of the fixed
    // seed change these.
    let middle = (tenth[4] + tenth[5]) / 2;
    assert!(tenth[0] > 2 * middle && tenth[9] * 10 > 15 * middle, "{tenth:?}");
    assert!(fiftieth[0] > 3 * middle / 5, "the first fiftieth is three times the middle's: {fiftieth:?}");
    // A Poisson process of this mean (10 a ms) has an index of dispersion of 1; the U alone gives about 3.
    let mean = f64::from(millisecond.iter().sum::<u32>()) / 20_000.0;
    let variance = millisecond.iter().map(|n| (f64::from(*n) - mean) * (f64::from(*n) - mean)).sum::<f64>() / 20_000.0;
    assert!(variance / mean > 10.0, "index of dispersion {}", variance / mean);
}

#[test]
fn the_share_of_symbols_is_zipfs() {
    let burst = Burst { focus_percent: 0, ..Burst::default() };
    let config = Config { seed: 12, events: 200_000, burst, ..Config::default() };
    let (slots, catalog) = session(&config);
    // Messages, not events: some messages have many parts.
    let mut messages = vec![0u32; catalog.symbols()];
    let mut total = 0u32;
    for event in events(&slots).filter(|event| event.kind() != Kind::BAR && event.head().flags.contains(Flags::LAST)) {
        messages[event.head().symbol.index()] += 1;
        total += 1;
    }
    let weight = |rank: u32| libm::pow(f64::from(rank), -1.1);
    let all: f64 = (1..=1_000).map(weight).sum();
    for rank in [1u32, 2, 3, 10, 100] {
        let id = catalog.find_symbol(format!("GEN:SYM{rank:05}").as_bytes()).unwrap();
        let (share, law) = (f64::from(messages[id.index()]) / f64::from(total), weight(rank) / all);
        // Five standard deviations of a binomial count, and 1 % for the messages that follow gaps and end halts.
        let tolerance = 5.0 * (law / f64::from(total)).sqrt() + law / 100.0;
        assert!((share - law).abs() < tolerance, "rank {rank}: {share}, by the law {law} +- {tolerance}");
    }
}

#[test]
fn bursts_have_a_leader() {
    let with = Config { seed: 13, events: 100_000, zipf_exponent: 0.0, ..Config::default() };
    let without = Config { burst: Burst { focus_percent: 0, ..with.burst }, ..with.clone() };
    // Pairs of neighbouring messages of one symbol: 1 in 1,000 by chance.
    let pairs = |config: &Config| {
        let (slots, _) = session(config);
        let heads: Vec<SymbolId> =
            events(&slots).filter(|e| e.head().flags.contains(Flags::LAST)).map(|e| e.head().symbol).collect();
        heads.windows(2).filter(|pair| pair[0] == pair[1]).count() as f64 / heads.len() as f64
    };
    let (with, without) = (pairs(&with), pairs(&without));
    // About 0.37 of the messages are in bursts; a quarter of a quarter of their pairs are both the leader's.
    assert!(without < 0.004, "{without}");
    assert!((0.01..0.04).contains(&with), "{with}");
}

#[test]
fn news_have_texts_about_their_symbol() {
    let config = Config { events: 5_000, mix: Mix { news: 500_000, ..Mix::default() }, ..Config::default() };
    let (slots, catalog) = session(&config);
    let mut texts = BTreeSet::new();
    for event in events(&slots) {
        let Some(news) = event.get::<News>() else { continue };
        let mut text = [0; 200];
        let bytes = News::text_into(event, &mut text);
        assert_eq!(bytes, news.text_bytes as usize);
        let text = std::str::from_utf8(&text[..bytes]).unwrap();
        let symbol = std::str::from_utf8(catalog.symbol_text(event.head().symbol)).unwrap();
        let words = text.strip_prefix(symbol).and_then(|rest| rest.strip_prefix(' ')).unwrap();
        assert_eq!(news.provider, hash::stable(b"generated.news"));
        texts.insert(words.to_owned());
    }
    assert_eq!(texts.len(), 12);
}

#[test]
fn a_catalog_that_is_full_ends_the_session_with_a_reason() {
    let config = Config { events: 1_000, ..Config::default() };
    let mut input = GenerateInput::new(&config).unwrap();
    let (mut catalog, mut out) = (Catalog::new(11), SlotBuf::with_capacity(MESSAGE_SLOTS_MAX));
    let error = input.read(&mut catalog, &mut out).unwrap_err();
    let given = events(out.slots()).count();
    assert!(given >= 10, "what was appended before stands");
    assert!(matches!(error, InputError::Catalog { .. }) && error.exit_code() == 2);
    assert_eq!(
        error.to_string(),
        format!(
            "generated: seed 1, 1000 symbols, 1000 events, 20 s: offset {given}: the symbol table is full (11 \
             symbols); raise it by --symbols-max (engine.symbols_max)"
        )
    );
    let before = out.slots().len();
    assert_eq!(input.read(&mut catalog, &mut out).unwrap(), Status::End);
    assert_eq!(out.slots().len(), before);
}

#[test]
fn the_tally_counts_messages_by_kind() {
    let config = Config { events: 20_000, ..Config::default() };
    let mut input = GenerateInput::new(&config).unwrap();
    let (mut catalog, mut out) = (Catalog::new(2_000), SlotBuf::with_capacity(1 << 16));
    assert_eq!(input.read(&mut catalog, &mut out).unwrap(), Status::End);
    let mut expected: BTreeMap<String, u64> = BTreeMap::new();
    for event in events(out.slots()).filter(|event| event.head().flags.contains(Flags::LAST)) {
        *expected.entry(event.kind().name().to_owned()).or_default() += 1;
    }
    let tally = input.tally();
    assert_eq!(tally.messages, expected);
    assert!(tally.skipped.is_empty() && tally.bad_lines == 0);
    assert_eq!(input.format(), "generated");
}
