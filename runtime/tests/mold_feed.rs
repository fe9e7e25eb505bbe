//! ITCH over MoldUDP64: both lines merged, gaps, sessions, damage; against a naive set of numbers and the messages themselves.

use std::collections::BTreeSet;
use std::io::Cursor;
use tapeline_core::catalog::Catalog;
use tapeline_core::event::payload::{Epoch, Gap};
use tapeline_core::event::{Flags, Kind, Slot};
use tapeline_core::testing::itch::{Draft, Session, mold_packet};
use tapeline_core::testing::{Prng, for_seeds};
use tapeline_core::units::{SourceId, SymbolId, UnixNanos};
use tapeline_core::wire::mold::END_OF_SESSION;
use tapeline_runtime::input::bytes::ByteSource;
use tapeline_runtime::input::detect::{OpenOptions, open_source};
use tapeline_runtime::input::itch::{ItchConfig, ItchMapper};
use tapeline_runtime::input::mold::MoldFeed;
use tapeline_runtime::input::udp::{Datagram, Fed, Feed, FeedError, Flow};
use tapeline_runtime::input::{MESSAGE_SLOTS_MAX, SlotBuf, Status, Tally};

/// 2020-01-30 10:00 in New York, ns since the UNIX epoch.
const TEN: u64 = 1_580_360_400_000_000_000 + 10 * 3_600_000_000_000;
const DAY: &[u8; 10] = b"000012345A";

/// A feed with its names, and what came of it.
struct Rig {
    feed: MoldFeed,
    catalog: Catalog,
    slots: Vec<Slot>,
    /// Room that each call is given first; it grows until the datagram is through.
    room: usize,
    bad: Vec<String>,
}

impl Rig {
    fn new(room: usize) -> Self {
        let catalog = Catalog::new(1 << 10);
        Self {
            feed: MoldFeed::new(ItchConfig { orders_max: 1 << 12, ..ItchConfig::default() }),
            catalog,
            slots: Vec::new(),
            room,
            bad: Vec::new(),
        }
    }

    fn give_at(&mut self, payload: &[u8], ts_recv: UnixNanos) {
        self.give_on(26_400, payload, ts_recv);
    }

    fn give_on(&mut self, port: u16, payload: &[u8], ts_recv: UnixNanos) {
        let flow = Flow { address: [233, 54, 12, 1].into(), port };
        let mut room = self.room;
        loop {
            let mut out = SlotBuf::with_capacity(room);
            let fed = self.feed.datagram(&Datagram { payload, flow, ts_recv }, &mut self.catalog, &mut out);
            self.slots.extend_from_slice(out.slots());
            match fed {
                Ok(Fed::Done) => return,
                Ok(Fed::NoRoom) => {
                    assert!(
                        room < MESSAGE_SLOTS_MAX || !out.slots().is_empty(),
                        "an empty buffer is room for progress"
                    );
                    room = MESSAGE_SLOTS_MAX;
                }
                Err(FeedError::Malformed(why)) => return self.bad.push(why),
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// No packet follows.
    fn finish(&mut self) {
        loop {
            let mut out = SlotBuf::with_capacity(MESSAGE_SLOTS_MAX);
            let fed = self.feed.finish(&mut self.catalog, &mut out);
            self.slots.extend_from_slice(out.slots());
            match fed {
                Ok(Fed::Done) => return,
                Ok(Fed::NoRoom) => assert!(!out.slots().is_empty()),
                Err(error) => panic!("{error}"),
            }
        }
    }

    fn give(&mut self, payload: &[u8]) {
        self.give_at(payload, UnixNanos(TEN));
    }

    /// Numbers of the messages that gave events, in order, each once.
    fn numbers(&self) -> Vec<u64> {
        let mut numbers: Vec<u64> = self.events().map(|slot| slot.seq).collect();
        numbers.dedup();
        numbers
    }

    /// Events of messages.
    fn events(&self) -> impl Iterator<Item = &Slot> {
        self.slots.iter().filter(|slot| ![Kind::GAP, Kind::EPOCH].contains(&slot.kind()))
    }

    fn gaps(&self) -> Vec<(u32, Gap)> {
        let gaps = self.slots.iter().filter(|slot| slot.kind() == Kind::GAP);
        gaps.map(|slot| (slot.symbol.0, *slot.payload_as::<Gap>())).collect()
    }

    fn tally(&self) -> Tally {
        let mut tally = Tally::default();
        self.feed.tally(&mut tally);
        tally
    }
}

fn add(id: u64) -> Draft {
    let locate = 1 + (id % 3) as u16;
    let draft = Draft::new(b'A').head(locate, 0, 36_000_000_000_000).number("order_reference_number", id);
    let draft = draft.text("stock", [&b"AA"[..], b"BB", b"CC"][usize::from(locate) - 1]);
    draft.number("buy_sell_indicator", u64::from(b'B')).number("shares", 100).number("price", 10_000)
}

/// A packet of orders that are numbered as their messages.
fn packet(session: &[u8; 10], first: u64, count: u64) -> Vec<u8> {
    let drafts: Vec<Draft> = (first..first + count).map(add).collect();
    let messages: Vec<&[u8]> = drafts.iter().map(Draft::bytes).collect();
    mold_packet(session, first, &messages, None)
}

#[test]
fn a_session_over_packets_is_the_session() {
    for_seeds(0..6, |seed, prng| {
        let drafts: Vec<Draft> = Session::new(seed, 3_000, 40).collect();
        let mut rig = Rig::new([3, 40, MESSAGE_SLOTS_MAX][seed as usize % 3]);
        let (mut at, mut lines) = (0, 0);
        while at < drafts.len() {
            let count = (1 + prng.index(20)).min(drafts.len() - at);
            let messages: Vec<&[u8]> = drafts[at..at + count].iter().map(Draft::bytes).collect();
            let bytes = mold_packet(DAY, at as u64 + 1, &messages, None);
            // Each line loses packets, never both the same one.
            let lost = prng.index(6);
            for line in 0..2 {
                if lost != line {
                    rig.give(&bytes);
                    lines += 1;
                }
            }
            at += count;
        }
        // The same messages without packets.
        let (mut catalog, mut out) = (Catalog::new(1 << 10), SlotBuf::with_capacity(MESSAGE_SLOTS_MAX));
        let mut mapper = ItchMapper::new(1 << 12, None);
        for (index, draft) in drafts.iter().enumerate() {
            mapper.message(draft.bytes(), index as u64 + 1, Some(UnixNanos(TEN)), &mut catalog, &mut out).unwrap();
        }
        assert!(lines > 150 && rig.bad.is_empty());
        assert_eq!(rig.slots, out.slots());
        let tally = rig.tally();
        assert_eq!(tally.messages, mapper.tally().messages);
        assert!(tally.skipped["mold duplicate"] > 500);
        assert!(!tally.skipped.contains_key("mold missing"));
    });
}

#[test]
fn a_gap_is_told_to_every_symbol_that_was_shown_before_what_shows_it() {
    for room in [1, 2, 3, 100] {
        let mut rig = Rig::new(room);
        rig.give(&packet(DAY, 1, 3));
        rig.give(&packet(DAY, 7, 1));
        assert_eq!(rig.gaps(), [], "it may be late");
        let later = UnixNanos(TEN + 1_000_001);
        rig.give_at(&mold_packet(DAY, 8, &[], Some(0)), later);
        let gap = Gap { expected: 4, received: 7, missing: 3 };
        assert_eq!(rig.gaps(), [(1, gap), (2, gap), (3, gap)]);
        let kinds: Vec<_> = rig.slots.iter().map(|slot| slot.kind().name()).collect();
        assert_eq!(kinds, ["book_order", "book_order", "book_order", "gap", "gap", "gap", "book_order"]);
        assert!(
            rig.slots
                .iter()
                .filter(|slot| slot.kind() == Kind::GAP)
                .all(|slot| { slot.flags == Flags::UNSEQUENCED.with(Flags::LAST) && slot.ts_recv == later })
        );
        // Late, but waited for; then again.
        rig.give(&packet(DAY, 3, 3));
        rig.give(&packet(DAY, 4, 2));
        rig.give(&packet(DAY, 6, 3));
        assert_eq!(rig.numbers(), [1, 2, 3, 7, 4, 5, 6, 8]);
        let skipped = rig.tally().skipped;
        assert_eq!((skipped["mold duplicate"], skipped.get("mold missing")), (1 + 2 + 1, None));
    }
}

#[test]
fn heartbeats_and_the_end_of_a_session_are_counted_and_show_gaps() {
    let mut rig = Rig::new(100);
    rig.give(&packet(DAY, 1, 2));
    rig.give(&mold_packet(DAY, 3, &[], Some(0)));
    assert_eq!(rig.gaps(), []);
    rig.give(&mold_packet(DAY, 5, &[], Some(0)));
    rig.give_at(&mold_packet(DAY, 5, &[], Some(END_OF_SESSION)), UnixNanos(TEN + 2_000_000));
    assert_eq!(rig.gaps().len(), 2, "two symbols were shown");
    rig.give(&mold_packet(DAY, 6, &[], Some(END_OF_SESSION)));
    rig.finish();
    assert_eq!(rig.gaps().len(), 4);
    let skipped = rig.tally().skipped;
    assert_eq!((skipped["mold heartbeat"], skipped["mold end of session"], skipped["mold missing"]), (2, 2, 3));
}

#[test]
fn another_session_is_an_epoch_and_the_one_before_is_late() {
    const NEXT: &[u8; 10] = b"000012346A";
    let mut rig = Rig::new(100);
    rig.give(&packet(DAY, 1, 3));
    rig.give(&packet(NEXT, 1, 2));
    rig.give(&packet(DAY, 2, 2));
    rig.give(&packet(NEXT, 3, 1));
    assert_eq!(rig.numbers(), [1, 2, 3, 1, 2, 3]);
    assert_eq!(rig.gaps(), []);
    let epochs: Vec<_> = rig.slots.iter().filter(|slot| slot.kind() == Kind::EPOCH).collect();
    assert_eq!(epochs.len(), 1);
    assert_eq!((epochs[0].payload_as::<Epoch>().number, epochs[0].source), (1, rig.slots[0].source));
    assert_eq!(rig.slots[3].kind(), Kind::EPOCH);
    let tally = rig.tally();
    assert_eq!((tally.skipped["mold packet of the session before"], tally.messages["mold epoch"]), (1, 1));
    // Orders of the session before are forgotten: nothing is known of the one that is deleted here.
    let delete = Draft::new(b'D').head(1, 0, 36_000_000_000_001).number("order_reference_number", 3);
    rig.give(&mold_packet(NEXT, 4, &[delete.bytes()], None));
    let known = Draft::new(b'D').head(1, 0, 36_000_000_000_001).number("order_reference_number", 2);
    rig.give(&mold_packet(NEXT, 5, &[known.bytes()], None));
    assert_eq!(rig.tally().skipped.get("order_delete of an unknown order"), None, "3 came again in this session");
    let old = Draft::new(b'D').head(1, 0, 36_000_000_000_001).number("order_reference_number", 9);
    rig.give(&mold_packet(NEXT, 6, &[old.bytes()], None));
    assert_eq!(rig.tally().skipped["order_delete of an unknown order"], 1);
}

/// Packets of two lines in the order in which they come. B lags by `lag` packets, and each loses some, never both the same one. Both bring the first, and A loses nothing before B has brought it.
fn lagging(prng: &mut Prng, packets: usize, lag: usize) -> Vec<usize> {
    let lost: Vec<usize> = (0..packets).map(|_| prng.index(5)).collect();
    let mut come = Vec::new();
    for step in 0..packets + lag {
        if step < packets && (lost[step] != 0 || step <= lag) {
            come.push(step);
        }
        if step >= lag && (lost[step - lag] != 1 || step == lag) {
            come.push(step - lag);
        }
    }
    come
}

#[test]
fn a_lossless_union_of_two_lines_is_the_lossless_stream_and_no_gap_is_told() {
    for_seeds(0..80, |seed, prng| {
        let lag = 1 + seed as usize % 8;
        let drafts: Vec<Draft> = Session::new(seed, 900, 20).collect();
        let (mut packets, mut at) = (Vec::new(), 0);
        while at < drafts.len() {
            let count = (1 + prng.index(6)).min(drafts.len() - at);
            let messages: Vec<&[u8]> = drafts[at..at + count].iter().map(Draft::bytes).collect();
            packets.push(mold_packet(DAY, at as u64 + 1, &messages, None));
            at += count;
        }
        let room = [3, 40, MESSAGE_SLOTS_MAX][seed as usize % 3];
        let (mut union, mut whole) = (Rig::new(room), Rig::new(room));
        let come = lagging(prng, packets.len(), lag);
        assert!(come.len() < 2 * packets.len() - 20);
        for (step, packet) in come.iter().enumerate() {
            union.give_at(&packets[*packet], UnixNanos(TEN + step as u64 * 1_000));
        }
        packets.iter().for_each(|packet| whole.give(packet));
        union.finish();
        assert_eq!((union.gaps(), union.bad.len()), (vec![], 0), "seed {seed}");
        assert!(union.slots.windows(2).all(|two| two[0].ts_recv <= two[1].ts_recv), "seed {seed}");
        union.slots.iter_mut().for_each(|slot| slot.ts_recv = UnixNanos(TEN));
        assert_eq!(union.slots, whole.slots, "seed {seed}");
        let skipped = union.tally().skipped;
        assert_eq!((skipped.get("mold missing"), skipped.get("mold too late")), (None, None));
    });
}

#[test]
fn a_hole_that_neither_line_fills_is_told_after_the_time_that_is_set() {
    let mut rig = Rig::new(100);
    let at = |ms: u64| UnixNanos(TEN + ms * 1_000_000);
    for ms in [0, 1] {
        rig.give_at(&packet(DAY, 1, 2), at(ms));
    }
    for ms in [2, 3] {
        rig.give_at(&packet(DAY, 5, 2), at(ms));
        rig.give_at(&packet(DAY, 7, 2), at(ms));
    }
    assert_eq!((rig.numbers(), rig.gaps().len()), (vec![1, 2], 0));
    rig.give_at(&mold_packet(DAY, 9, &[], Some(0)), at(52));
    assert_eq!((rig.numbers(), rig.gaps().len()), (vec![1, 2], 0));
    rig.give_at(&packet(DAY, 9, 1), at(53));
    let gap = Gap { expected: 3, received: 5, missing: 2 };
    assert_eq!(rig.gaps(), [(1, gap), (2, gap)]);
    assert_eq!(rig.numbers(), [1, 2, 5, 6, 7, 8, 9]);
    let skipped = rig.tally().skipped;
    assert_eq!((skipped["mold missing"], skipped["mold duplicate"], skipped["mold heartbeat"]), (2, 6, 1));
    // What is held at the end of the capture comes then, and at once where no second line was seen.
    rig.give_at(&packet(DAY, 12, 1), at(54));
    assert_eq!(rig.numbers().last(), Some(&9));
    rig.finish();
    assert_eq!((rig.numbers().last(), rig.gaps().len()), (Some(&12), 5));
}

fn epochs(rig: &Rig) -> usize {
    rig.slots.iter().filter(|slot| slot.kind() == Kind::EPOCH).count()
}

#[test]
fn packets_of_a_strange_session_end_none() {
    for_seeds(0..40, |seed, prng| {
        let (mut rig, mut strange) = (Rig::new(200), 0);
        let mut numbers = Vec::new();
        for first in (1..200).step_by(2) {
            let mut bytes = packet(DAY, first, 2);
            if prng.one_in(4) && first > 1 {
                // Damaged on one line, in one byte or all, at the number that is next or another.
                let mut damaged = bytes.clone();
                let (at, letter) = (prng.index(10), b'B' + prng.index(20) as u8);
                if prng.one_in(2) {
                    damaged[..10].fill(letter)
                } else {
                    damaged[at] = letter
                }
                rig.give(&damaged);
                strange += 1;
            }
            rig.give(&bytes);
            numbers.extend([first, first + 1]);
            bytes[0] = 0x80;
            rig.give(&bytes);
        }
        assert_eq!((rig.numbers(), rig.gaps(), epochs(&rig)), (numbers, vec![], 0), "seed {seed}");
        let skipped = rig.tally().skipped;
        assert_eq!(skipped.get("mold packet of another session").copied().unwrap_or(0), strange);
        let no_text = "session \"\\x8000012345A\" is no text";
        assert_eq!(rig.bad.iter().filter(|why| *why == no_text).count(), 100);
        let is_foreign = |why: &&String| {
            why.starts_with("a packet of session \"") && why.ends_with(", while \"000012345A\" goes on")
        };
        assert_eq!(
            (rig.bad.iter().filter(is_foreign).count(), rig.bad.len()),
            (strange as usize, 100 + strange as usize)
        );
    });
}

#[test]
fn a_session_that_began_by_damage_gives_way_where_the_true_one_goes_on() {
    // The first packet of all is damaged: the true session takes two packets, and what came of the first is missing, and told.
    let mut rig = Rig::new(200);
    rig.give(&packet(b"?00012345A", 1, 2));
    for first in [3, 5, 7] {
        rig.give(&packet(DAY, first, 2));
    }
    assert_eq!((rig.numbers(), epochs(&rig)), (vec![1, 2, 5, 6, 7, 8], 1));
    assert_eq!(rig.gaps(), [(0, Gap { expected: 3, received: 5, missing: 2 })]);
    // The other line fills it.
    rig.give(&packet(DAY, 3, 2));
    assert_eq!(rig.tally().skipped.get("mold missing"), None);
    // A whole packet 1 of a strange session is a session; the one before comes back where it goes on, and its gaps are known.
    let mut rig = Rig::new(200);
    rig.give(&packet(DAY, 1, 4));
    rig.give(&packet(b"OTHER     ", 1, 1));
    rig.give(&packet(DAY, 3, 2));
    rig.give(&packet(DAY, 7, 2));
    rig.give(&packet(DAY, 9, 2));
    assert_eq!((rig.numbers(), epochs(&rig)), (vec![1, 2, 3, 4, 1, 7, 8, 9, 10], 2));
    assert_eq!(rig.gaps(), [(0, Gap { expected: 5, received: 7, missing: 2 })]);
    let skipped = rig.tally().skipped;
    assert_eq!((skipped["mold packet of the session before"], skipped["mold return to the session before"]), (1, 1));
}

#[test]
fn of_two_feeds_in_one_flow_each_packet_is_used_or_counted() {
    for_seeds(0..40, |seed, prng| {
        let (mut rig, mut next, mut packets) = (Rig::new(200), [1, 1], 0);
        for _ in 0..400 {
            let feed = prng.index(2);
            rig.give(&packet([DAY, b"OTHER     "][feed], next[feed], 1));
            next[feed] += 1;
            packets += 1;
        }
        rig.finish();
        let skipped = rig.tally().skipped;
        let count = |name: &str| skipped.get(name).copied().unwrap_or(0);
        let counted = count("mold packet of another session") + count("mold packet of the session before");
        assert_eq!(rig.events().count() as u64 + counted, packets, "seed {seed}: {skipped:?}");
        assert!(count("mold packet of another session") > 0, "they do not take turns for ever");
        assert_eq!(
            rig.bad.len() as u64,
            count("mold packet of another session"),
            "and nobody is told that all is well"
        );
    });
}

/// A hole is open, and what is beyond it is held, while another session goes on whose first packet was lost.
#[test]
fn a_session_begins_while_packets_of_the_one_before_are_held() {
    const NEXT: &[u8; 10] = b"000012346A";
    let mut rig = Rig::new(200);
    for (session, first) in [(DAY, 1), (DAY, 1), (DAY, 5), (NEXT, 3), (NEXT, 5), (NEXT, 7)] {
        rig.give(&packet(session, first, 2));
    }
    assert_eq!((rig.numbers(), epochs(&rig)), (vec![1, 2, 5, 6, 5, 6, 7, 8], 1));
    let gaps: Vec<Gap> = rig.gaps().into_iter().map(|(_, gap)| gap).collect();
    assert_eq!(
        gaps.last(),
        Some(&Gap { expected: 3, received: 5, missing: 2 }),
        "the packet that showed the session first"
    );
    assert_eq!(rig.bad, ["a packet of session \"000012346A\", while \"000012345A\" goes on"]);
}

#[test]
fn feeds_in_flows_of_their_own_are_feeds_of_their_own() {
    const OTHER: &[u8; 10] = b"OTHER00001";
    for_seeds(0..20, |seed, prng| {
        let mut rig = Rig::new(200);
        // Lines A and B of two feeds; in the midst of it each begins another session, which line B brings first or last.
        let sessions = [[DAY, b"000012346A"], [OTHER, b"OTHER00002"]];
        let mut due: Vec<Vec<(u16, Vec<u8>)>> = Vec::new();
        for (feed, days) in sessions.iter().enumerate() {
            for line in 0..2 {
                let port = 26_400 + 10 * feed as u16 + line;
                let of_day = |day: &&[u8; 10]| (1..=300).map(|first| (port, packet(day, first, 1))).collect::<Vec<_>>();
                due.push(days.iter().flat_map(of_day).rev().collect());
            }
        }
        // The first packet of all is of the first feed: it has the plain names.
        let (port, bytes) = due[0].pop().unwrap();
        rig.give_on(port, &bytes, UnixNanos(TEN));
        while due.iter().any(|line| !line.is_empty()) {
            let line = prng.index(4);
            // A line is no more than a few packets behind the other.
            if due[line].len() + 20 < due[line ^ 1].len() {
                continue;
            }
            if let Some((port, bytes)) = due[line].pop() {
                rig.give_on(port, &bytes, UnixNanos(TEN));
            }
        }
        rig.finish();
        assert_eq!((rig.bad.len(), rig.gaps(), epochs(&rig)), (0, vec![], 2), "seed {seed}: {:?}", rig.bad);
        for source in 1..=2 {
            let numbers: Vec<u64> = rig.events().filter(|slot| slot.source.0 == source).map(|slot| slot.seq).collect();
            assert!(numbers.iter().copied().eq((1..=300).chain(1..=300)), "seed {seed}: {numbers:?}");
        }
        let name = |source| String::from_utf8(rig.catalog.source_name(SourceId(source)).to_vec()).unwrap();
        let others: BTreeSet<String> =
            rig.events().filter(|slot| slot.source.0 == 2).map(|slot| symbol(&rig, slot)).collect();
        assert!(name(1) == "nasdaq.itch" && ["nasdaq.itch.26410", "nasdaq.itch.26411"].contains(&name(2).as_str()));
        let port = name(2)["nasdaq.itch.".len()..].to_owned();
        assert!(others.iter().eq(&[
            format!("NASDAQ.{port}:AA"),
            format!("NASDAQ.{port}:BB"),
            format!("NASDAQ.{port}:CC")
        ]));
    });
}

fn symbol(rig: &Rig, slot: &Slot) -> String {
    String::from_utf8(rig.catalog.symbol_text(slot.symbol).to_vec()).unwrap()
}

/// Orders and their executions, a packet each, of which some change places on the way. On one line nothing comes twice.
#[test]
fn packets_of_one_line_that_change_places_lose_no_trade() {
    let execute = |id: u64| {
        let draft = Draft::new(b'E').head(1 + (id % 3) as u16, 0, 36_000_000_000_000);
        draft.number("order_reference_number", id).number("executed_shares", 100).number("match_number", id)
    };
    let messages: Vec<Draft> = (1..=500).flat_map(|id| [add(id), execute(id)]).collect();
    let mut order: Vec<usize> = (0..messages.len()).collect();
    order.chunks_mut(20).for_each(|some| some[..4].rotate_left(1));
    // The numbers begin with the second message, so that the first order is unknown. Where packets are far apart nobody waits for the late ones.
    for (apart_ns, trades) in [(10_000, 499), (600_000, 450)] {
        let mut rig = Rig::new(200);
        for (step, at) in order.iter().enumerate() {
            let bytes = mold_packet(DAY, *at as u64 + 1, &[messages[*at].bytes()], None);
            rig.give_at(&bytes, UnixNanos(TEN + step as u64 * apart_ns));
        }
        rig.finish();
        let traded = rig.events().filter(|slot| slot.kind() == Kind::TRADE).count();
        assert_eq!((traded, rig.gaps().is_empty()), (trades, trades == 499), "{apart_ns} ns apart");
    }
}

#[test]
fn a_day_that_is_told_is_that_of_captures_without_times() {
    let config = ItchConfig { date: Some("2020-01-30".parse().unwrap()), orders_max: 64 };
    let mut rig = Rig { feed: MoldFeed::new(config), ..Rig::new(100) };
    rig.give_at(&packet(DAY, 1, 1), UnixNanos::UNKNOWN);
    assert_eq!(rig.slots[0].ts_event, UnixNanos(TEN - 5 * 3_600_000_000_000 + 5 * 3_600_000_000_000));
}

#[test]
fn lines_that_lose_repeat_and_delay_give_each_message_once() {
    for_seeds(0..60, |_, prng| {
        let (mut rig, mut given) = (Rig::new(200), BTreeSet::new());
        let (mut next, mut late, mut begin) = (1, Vec::<(u64, u64)>::new(), None);
        for _ in 0..150 {
            let count = prng.in_range(1..6);
            let this = (next, count);
            next += count;
            match prng.index(10) {
                0 => {}
                1 => late.push(this),
                2 => late.extend([this, this]),
                _ => {
                    begin.get_or_insert(this.0);
                    rig.give(&packet(DAY, this.0, this.1));
                    given.extend(this.0..this.0 + this.1);
                }
            }
            if begin.is_some() && !late.is_empty() && prng.one_in(3) {
                let (first, count) = late.remove(0);
                rig.give(&packet(DAY, first, count));
                given.extend(first..first + count);
            }
        }
        rig.finish();
        let numbers = rig.numbers();
        let distinct: BTreeSet<u64> = numbers.iter().copied().collect();
        assert_eq!(distinct.len(), numbers.len(), "none twice");
        let lost: Vec<u64> = given.difference(&distinct).copied().collect();
        assert!(distinct.is_subset(&given));
        // What came so late that it was not waited for any more is missing, counted, and nothing else.
        let skipped = rig.tally().skipped;
        let missing = skipped.get("mold missing").copied().unwrap_or(0);
        // Before the first that came, nothing is waited for.
        let first = begin.unwrap();
        let never = (first..rig.feed_next()).filter(|number| !given.contains(number)).count() as u64;
        assert_eq!(missing, never + lost.iter().filter(|number| **number >= first).count() as u64);
    });
}

impl Rig {
    /// The number after the highest that came.
    fn feed_next(&self) -> u64 {
        self.numbers().into_iter().max().map_or(0, |last| last + 1)
    }
}

#[test]
fn what_is_bad_in_a_packet_does_not_take_the_rest_with_it() {
    let mut rig = Rig::new(100);
    let (one, three) = (add(1), add(3));
    rig.give(&mold_packet(DAY, 1, &[one.bytes(), b"Ashort", three.bytes(), b"Zunknown"], None));
    assert_eq!(rig.numbers(), [1, 3]);
    assert_eq!(rig.bad, ["message 2: an ITCH message of type 'A' has 36 bytes, not 6"]);
    assert_eq!(rig.tally().skipped["type 'Z'"], 1);
    // Cut at every byte: what is whole is taken, what is not is missing until another line brings it.
    let whole = packet(DAY, 5, 4);
    for cut in 0..whole.len() {
        let mut rig = Rig::new(100);
        rig.give(&packet(DAY, 1, 4));
        rig.give(&whole[..cut]);
        assert_eq!(rig.bad.len(), 1, "cut at {cut}");
        rig.give(&whole);
        rig.give(&packet(DAY, 9, 1));
        assert_eq!(rig.numbers(), [1, 2, 3, 4, 5, 6, 7, 8, 9], "cut at {cut}");
        assert_eq!(rig.gaps(), [], "cut at {cut}");
    }
    // Bytes after the last message.
    let mut rig = Rig::new(100);
    rig.give(&[packet(DAY, 1, 2), vec![0; 3]].concat());
    assert_eq!((rig.numbers(), rig.bad), (vec![1, 2], vec!["3 bytes after the last message, at offset 96".to_owned()]));
}

#[test]
fn a_flow_is_recognised_by_whole_messages_of_itch() {
    let mut rig = Rig::new(100);
    let whole = packet(DAY, 1, 2);
    assert!(rig.feed.recognises(&whole));
    assert!(!rig.feed.recognises(&whole[..whole.len() - 1]));
    assert!(!rig.feed.recognises(&[&whole[..], b"x"].concat()));
    assert!(!rig.feed.recognises(&packet(b"\x0112345678A", 1, 2)), "a session is a text");
    assert!(!rig.feed.recognises(&mold_packet(DAY, 1, &[b"Zother"], None)), "nothing of it is known");
    assert!(rig.feed.recognises(&mold_packet(DAY, 1, &[add(1).bytes(), b"Zother"], None)));
    assert!(!rig.feed.recognises(&mold_packet(DAY, 1, &[add(1).bytes(), b"Ashort"], None)));
    let heartbeat = mold_packet(DAY, 1, &[], Some(0));
    assert!(!rig.feed.recognises(&heartbeat), "nothing tells what it carries");
    rig.give(&whole);
    assert!(rig.feed.recognises(&heartbeat), "its session is known");
    assert!(!rig.feed.recognises(&mold_packet(b"OTHER12345", 1, &[], Some(0))));
    for_seeds(0..2_000, |_, prng: &mut Prng| {
        let bytes: Vec<u8> = (0..prng.index(300)).map(|_| prng.next_u64() as u8).collect();
        assert!(!MoldFeed::default().recognises(&bytes));
    });
}

#[test]
fn without_times_of_capture_events_take_their_own() {
    let mut rig = Rig::new(100);
    rig.give_at(&packet(DAY, 1, 1), UnixNanos::UNKNOWN);
    rig.give_at(&packet(DAY, 3, 1), UnixNanos::UNKNOWN);
    rig.finish();
    let times: BTreeSet<_> = rig.slots.iter().map(|slot| slot.ts_recv).collect();
    assert_eq!(times.len(), 1, "the gap takes the time of the event before it");
    assert_ne!(times.first(), Some(&UnixNanos::UNKNOWN));
    assert_eq!(rig.gaps(), [(1, Gap { expected: 2, received: 3, missing: 1 })]);
    assert!(rig.catalog.symbols() > 1 && rig.slots.iter().all(|slot| slot.symbol != SymbolId::NONE));
}

/// A record of a pcap (ns): Ethernet, IPv4, UDP to a multicast group.
fn record(into: &mut Vec<u8>, ts: u64, group: u8, payload: &[u8]) {
    let (udp_bytes, port) = (8 + payload.len() as u16, 26_400u16);
    let mut frame = vec![1, 0, 0x5e, 1, 1, group, 2, 0, 0, 0, 0, 1, 8, 0];
    frame.extend([0x45, 0]);
    frame.extend((20 + udp_bytes).to_be_bytes());
    frame.extend([0, 0, 0x40, 0, 16, 17, 0, 0, 10, 0, 0, 1, 233, 54, 12, group]);
    frame.extend([40_000u16.to_be_bytes(), port.to_be_bytes(), udp_bytes.to_be_bytes(), [0, 0]].concat());
    frame.extend(payload);
    for number in [ts / 1_000_000_000, ts % 1_000_000_000, frame.len() as u64, frame.len() as u64] {
        into.extend((number as u32).to_le_bytes());
    }
    into.extend(frame);
}

#[test]
fn both_lines_of_a_capture_of_packets_are_one_session() {
    let drafts: Vec<Draft> = Session::new(11, 4_000, 50).collect();
    let mut pcap = vec![0x4d, 0x3c, 0xb2, 0xa1, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 1, 0, 0, 0];
    let mut prng = Prng::new(11);
    let (mut at, mut packets, mut twice) = (0, 0, 0);
    while at < drafts.len() {
        let count = (1 + prng.index(12)).min(drafts.len() - at);
        let messages: Vec<&[u8]> = drafts[at..at + count].iter().map(Draft::bytes).collect();
        let bytes = mold_packet(DAY, at as u64 + 1, &messages, None);
        let ts = TEN + at as u64 * 1_000;
        let lost = prng.index(5);
        for line in 0..2 {
            if lost != line {
                record(&mut pcap, ts + line as u64, 100 + line as u8, &bytes);
                packets += 1;
            }
        }
        twice += if lost > 1 { count as u64 } else { 0 };
        at += count;
    }
    record(&mut pcap, TEN + 4_000_000, 100, &mold_packet(DAY, 4_001, &[], Some(END_OF_SESSION)));
    let source = ByteSource::new(Box::new(Cursor::new(pcap)), "day.pcap", None).unwrap();
    let mut input = open_source(source, &OpenOptions::default()).unwrap();
    let (mut catalog, mut out) = (Catalog::new(1 << 10), SlotBuf::with_capacity(MESSAGE_SLOTS_MAX));
    assert!(matches!(input.read(&mut catalog, &mut out), Ok(Status::End)));
    let (mut expected_catalog, mut expected) = (Catalog::new(1 << 10), SlotBuf::with_capacity(MESSAGE_SLOTS_MAX));
    let mut mapper = ItchMapper::new(1 << 12, None);
    for (index, draft) in drafts.iter().enumerate() {
        let number = index as u64 + 1;
        // The time of whichever packet came first: checked on its own below.
        mapper.message(draft.bytes(), number, Some(UnixNanos(TEN)), &mut expected_catalog, &mut expected).unwrap();
    }
    assert_eq!(out.slots().len(), expected.slots().len());
    for (got, expected) in out.slots().iter().zip(expected.slots()) {
        assert_eq!(Slot { ts_recv: expected.ts_recv, ..*got }, *expected);
        assert!((TEN..TEN + 4_000_000).contains(&got.ts_recv.0));
    }
    let tally = input.tally();
    assert_eq!((tally.packets["moldudp64"], tally.bad_packets), (packets + 1, 0));
    assert_eq!((tally.skipped["mold duplicate"], tally.skipped["mold end of session"]), (twice, 1));
    assert_eq!(tally.messages.values().sum::<u64>(), 4_000);
}

#[test]
fn random_damage_never_panics_and_what_comes_before_it_stays() {
    random_damage(1_500);
}

#[test]
#[ignore = "soak: cargo test --release -p tapeline-runtime --test mold_feed -- --ignored"]
fn random_damage_soak() {
    random_damage(200_000);
}

fn random_damage(seeds: u64) {
    let mut bad = 0;
    for_seeds(0..seeds, |_, prng| {
        let mut rig = Rig::new(1 + prng.index(300));
        let (mut before, mut is_whole) = (0, true);
        for first in (1..60).step_by(6) {
            let mut bytes = packet(DAY, first, 6);
            if prng.one_in(5) {
                is_whole = false;
                for _ in 0..1 + prng.index(3) {
                    match prng.index(4) {
                        0 => bytes.truncate(prng.index(bytes.len() + 1)),
                        1 => bytes.extend((0..prng.index(80)).map(|at| at as u8)),
                        _ if bytes.is_empty() => {}
                        _ => {
                            let at =
                                if prng.one_in(2) { prng.index(bytes.len().min(60)) } else { prng.index(bytes.len()) };
                            bytes[at] = prng.next_u64() as u8;
                        }
                    }
                }
            }
            rig.give(&bytes);
            if is_whole {
                before = first + 5;
            }
        }
        let numbers = rig.numbers();
        assert!(numbers.iter().copied().take(before as usize).eq(1..=before), "{numbers:?}");
        bad += rig.bad.len();
    });
    assert!(bad > 500, "{bad} packets were found bad");
}
