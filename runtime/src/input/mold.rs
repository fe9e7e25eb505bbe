//! ITCH 5.0 over MoldUDP64, from datagrams to events.
//!
//! - The messages become events as [`itch`](super::itch) has it, with the numbers that MoldUDP64 gives them.
//! - **Lines A and B** are two flows with the packets of one session: what comes first is taken, what came before is dropped and counted
//!   (`mold duplicate`). What is beyond a hole waits for the other line, not for long: see [`Hold`]; its `ts_recv` is when it can be used.
//! - **Gaps** are told before the packet that shows them, to every symbol that has had an event: see [`Contiguous`]. A heartbeat, and the
//!   end of a session, show one, too. Messages that come late, from the other line or sent again, are taken as long as they are waited for.
//! - **A session** is a day of one feed, and a printable text. Another one is an `epoch` event of the source: numbers, orders and books
//!   begin anew. One strange packet begins none: see [`Sessions`], which drops and counts what is late or of another feed; a packet with messages
//!   that is dropped so is a bad one.
//! - **Several feeds** (Nasdaq and BX, say) are several sessions at once, each in flows of its own. A flow whose first session no other has is another
//!   feed: its source and its symbols have the port in their names, since the stocks are the same ones. What follows goes where
//!   its session is the present one, else with its flow. Two sessions within one flow cannot be told from a new session: see above.
//! - A message of a wrong length makes its packet bad; the others of the packet stand. Of a packet that is cut short, the
//!   messages that are whole are taken, and the others are missing until they come by another line.

use super::itch::{ITCH_MESSAGE_SLOTS, ItchConfig, ItchError, ItchMapper};
use super::udp::{Contiguous, Datagram, FLOWS_MAX, Fed, Feed, FeedError, Flow, Fresh, Hold, Judged, Offer, Sessions};
use super::{MESSAGE_SLOTS_MAX, SlotBuf, Tally};
use tapeline_core::catalog::Catalog;
use tapeline_core::event::payload::Epoch;
use tapeline_core::event::{Flags, KindVersion, Payload, Slot};
use tapeline_core::units::{SourceId, SymbolId, UnixNanos};
use tapeline_core::wire::itch::{self, Message};
use tapeline_core::wire::mold::{Content, Packet, SESSION_BYTES};

/// Feeds of one input at most: packets of further ones are bad.
pub const MOLD_STREAMS_MAX: usize = 16;
/// Bytes of the shortest message, its length included.
const MESSAGE_BYTES_MIN: usize = 14;
const _: () =
    assert!(ITCH_MESSAGE_SLOTS * (u16::MAX as usize / MESSAGE_BYTES_MIN) < MESSAGE_SLOTS_MAX, "a datagram always fits");

/// What is known of one of the feeds once its first packet has come.
struct Stream {
    /// Port of its first packet.
    port: u16,
    mapper: ItchMapper,
    numbers: Contiguous,
    sessions: Sessions<[u8; SESSION_BYTES]>,
    /// Sessions after the first.
    epochs: u64,
    heartbeats: u64,
    ends: u64,
    /// The packet whose gap is being told, or that waits for room; and the same for the first of those that are held.
    pending: [Option<Fresh>; 2],
    /// Packets beyond a hole.
    hold: Hold,
    /// The datagram at hand is through; what was held is on its way.
    is_through: bool,
    /// What is bad of the datagram at hand, or of those that were held.
    fault: Option<String>,
    /// `ts_recv` of the last event, for a capture without times.
    latest: UnixNanos,
}

/// The feeds of ITCH 5.0 over MoldUDP64. Allocates for the first packet of each, and for bad ones; nothing for the others.
pub struct MoldFeed {
    config: ItchConfig,
    streams: Vec<Stream>,
    /// Where the last packet of each flow went.
    flows: Vec<(Flow, usize)>,
    /// The flow of the last packet.
    last: usize,
}

impl MoldFeed {
    /// Nothing has come yet. The day of `config` is for captures without times of their own.
    #[must_use]
    pub const fn new(config: ItchConfig) -> Self {
        Self { config, streams: Vec::new(), flows: Vec::new(), last: 0 }
    }

    /// Index of the stream that a packet is of. O(1) while packets of one flow and session follow each other, else O(flows + streams).
    #[inline]
    fn route(&mut self, session: [u8; SESSION_BYTES], flow: Flow, symbols: usize) -> Result<usize, FeedError> {
        match self.flows.get(self.last) {
            Some((last, stream)) if *last == flow && self.streams[*stream].sessions.is_present(session) => Ok(*stream),
            _ => self.find(session, flow, symbols),
        }
    }

    #[cold]
    fn find(&mut self, session: [u8; SESSION_BYTES], flow: Flow, symbols: usize) -> Result<usize, FeedError> {
        let known = self.flows.iter().position(|(known, _)| *known == flow);
        let with = |is_its: fn(&Sessions<_>, [u8; SESSION_BYTES]) -> bool| {
            self.streams.iter().position(|stream| is_its(&stream.sessions, session))
        };
        // Its session first: a line that changes its session after the other one follows it.
        let stream =
            with(Sessions::is_present).or(known.map(|at| self.flows[at].1)).or_else(|| with(Sessions::has_seen));
        let stream = match stream {
            Some(stream) => stream,
            None => self.begin(session, flow, symbols)?,
        };
        match known {
            Some(at) => (self.flows[at].1, self.last) = (stream, at),
            None if self.flows.len() < FLOWS_MAX => {
                self.last = self.flows.len();
                self.flows.push((flow, stream));
            }
            // By its session only.
            None => {}
        }
        Ok(stream)
    }

    fn begin(&mut self, session: [u8; SESSION_BYTES], flow: Flow, symbols: usize) -> Result<usize, FeedError> {
        if self.streams.len() == MOLD_STREAMS_MAX {
            let why = format!("session {}: more than {MOLD_STREAMS_MAX} feeds of MoldUDP64", text(session));
            return Err(FeedError::Malformed(why));
        }
        let mut stream = Stream::new(session, flow.port, &self.config, symbols);
        if !self.streams.is_empty() {
            let of_port = self.streams.iter().filter(|stream| stream.port == flow.port).count();
            stream.mapper = stream.mapper.beside(flow.port, of_port + 1);
        }
        self.streams.push(stream);
        Ok(self.streams.len() - 1)
    }
}

impl Default for MoldFeed {
    fn default() -> Self {
        Self::new(ItchConfig::default())
    }
}

/// What an epoch event of the source says.
fn epoch(number: u64, source: SourceId, at: UnixNanos) -> Slot {
    let mut slot = Slot {
        kind: KindVersion::new(Epoch::KIND, Epoch::VERSION),
        flags: Flags::LAST,
        ts_recv: at,
        ts_event: at,
        source,
        ..Slot::ZERO
    };
    *slot.payload_mut() = Epoch { number, ..Epoch::default() };
    slot
}

/// What is to be done with a packet that has just come.
enum Arrival {
    /// Nothing more: it is counted, or held.
    Through,
    /// It is next, or tells a gap.
    Now,
    /// The same, after all that is held.
    AfterAll,
    /// Nothing more: its messages are not used.
    Bad(String),
}

impl Stream {
    fn new(session: [u8; SESSION_BYTES], port: u16, config: &ItchConfig, symbols: usize) -> Self {
        Self {
            port,
            mapper: ItchMapper::new(config.orders_max, config.date.map(|date| date.midnight_ns())),
            numbers: Contiguous::new(symbols),
            sessions: Sessions::new(session),
            epochs: 0,
            heartbeats: 0,
            ends: 0,
            pending: [None, None],
            hold: Hold::new(),
            is_through: false,
            fault: None,
            latest: UnixNanos::ZERO,
        }
    }

    /// Takes session and numbers of a packet with `whole` messages. There is room for one slot. `None` for one that is not used.
    fn observe(
        &mut self,
        packet: &Packet<'_>,
        which: usize,
        whole: u64,
        (at, source): (UnixNanos, SourceId),
        out: &mut SlotBuf,
    ) -> Result<Option<Fresh>, FeedError> {
        let next = self.numbers.next();
        let (session, is_arrival) = (*packet.session(), which == 0);
        match self.sessions.judge(session, (packet.sequence(), whole), next, is_arrival, || is_itch(packet)) {
            Judged::Present => {}
            Judged::Stale | Judged::Foreign => return Ok(None),
            Judged::Begins { from } => {
                self.sessions.begin(*packet.session(), next);
                self.numbers.begin_epoch();
                self.mapper.begin_session();
                self.epochs += 1;
                out.extend(&[epoch(self.epochs, source, at)]);
                if let Some(from) = from {
                    self.numbers.observe(from, 0, at, at, source);
                }
            }
        }
        self.count(packet.content());
        let fresh = self.numbers.observe(packet.sequence(), whole, at, at, source);
        fresh.map(Some).ok_or_else(|| FeedError::Malformed(format!("message numbers from {}", packet.sequence())))
    }

    const fn count(&mut self, content: Content) {
        match content {
            Content::Heartbeat => self.heartbeats += 1,
            Content::EndOfSession => self.ends += 1,
            Content::Messages(_) => {}
        }
    }

    /// What is to be done with a packet that has just come.
    fn arrive(&mut self, packet: &Packet<'_>, payload: &[u8]) -> Arrival {
        if self.pending[0].is_some() {
            return Arrival::Now;
        }
        let whole = packet.messages().map_while(Result::ok).count() as u64;
        let numbers = (packet.sequence(), whole);
        match self.sessions.judge(*packet.session(), numbers, self.numbers.next(), true, || is_itch(packet)) {
            Judged::Stale => Arrival::Through,
            Judged::Foreign if whole == 0 => Arrival::Through,
            Judged::Foreign => {
                let (other, present) = (text(*packet.session()), text(self.sessions.present()));
                Arrival::Bad(format!("a packet of session {other}, while {present} goes on"))
            }
            Judged::Begins { .. } => Arrival::AfterAll,
            Judged::Present if !self.numbers.is_beyond_hole(packet.sequence()) => Arrival::Now,
            Judged::Present => match self.hold.offer(packet.sequence(), payload) {
                Offer::Kept => Arrival::Through,
                Offer::Twin => {
                    self.numbers.count_duplicates(whole);
                    self.count(packet.content());
                    Arrival::Through
                }
                Offer::Full => Arrival::AfterAll,
            },
        }
    }

    /// Takes packets that were held: those that follow or have waited for too long, or all. Those that are malformed are through, too.
    fn release(&mut self, all: bool, catalog: &mut Catalog, out: &mut SlotBuf) -> Result<Fed, FeedError> {
        if self.hold.is_empty() {
            return Ok(Fed::Done);
        }
        let mut hold = std::mem::take(&mut self.hold);
        let fed = loop {
            let held = if all { hold.front() } else { hold.due(self.numbers.next(), self.numbers.has_pair()) };
            let Some(payload) = held else { break Ok(Fed::Done) };
            match self.take((payload, hold.now()), 1, catalog, out) {
                Ok(Fed::Done) => {}
                Err(FeedError::Malformed(why)) => drop(self.fault.get_or_insert(why)),
                other => break other,
            }
            hold.pop();
        };
        self.hold = hold;
        fed
    }

    /// Takes a packet, and tells the gap before it. `which` is its place in what is pending.
    fn take(
        &mut self,
        (payload, ts_recv): (&[u8], UnixNanos),
        which: usize,
        catalog: &mut Catalog,
        out: &mut SlotBuf,
    ) -> Result<Fed, FeedError> {
        let packet = Packet::parse(payload).map_err(|error| FeedError::Malformed(error.to_string()))?;
        let source = self.mapper.define_source(catalog)?;
        let ts_recv = (ts_recv != UnixNanos::UNKNOWN).then_some(ts_recv);
        let mut whole = 0;
        let mut fault = packet.messages().find_map(|message| {
            whole += u64::from(message.is_ok());
            message.err().map(|error| error.to_string())
        });
        let fresh = match self.pending[which].take() {
            Some(fresh) => fresh,
            None if out.remaining() == 0 => return Ok(Fed::NoRoom),
            None => match self.observe(&packet, which, whole, (ts_recv.unwrap_or(self.latest), source), out)? {
                Some(fresh) => fresh,
                None => return Ok(Fed::Done),
            },
        };
        // Shorter messages than the shortest give no event.
        let messages = (whole as usize).min(payload.len() / MESSAGE_BYTES_MIN);
        if !self.numbers.tell(out) || out.remaining() < ITCH_MESSAGE_SLOTS * messages {
            self.pending[which] = Some(fresh);
            return Ok(Fed::NoRoom);
        }
        for (seq, bytes) in packet.messages().map_while(Result::ok).filter(|(seq, _)| fresh.contains(*seq)) {
            let from = out.slots().len();
            match self.mapper.message(bytes, seq, ts_recv, catalog, out) {
                Ok(()) => {}
                Err(ItchError::Message(error)) => {
                    fault.get_or_insert_with(|| format!("message {seq}: {error}"));
                }
                Err(ItchError::Catalog(error)) => return Err(error.into()),
            }
            if let Some(slot) = out.slots().get(from) {
                self.latest = slot.ts_recv;
                if slot.symbol != SymbolId::NONE {
                    self.numbers.show(slot.symbol);
                }
            }
        }
        match fault {
            Some(why) => Err(FeedError::Malformed(why)),
            None => Ok(Fed::Done),
        }
    }
}

/// Whether the blocks of a packet fill it, with messages of which one at least is ITCH and none is of a wrong length.
fn is_itch(packet: &Packet<'_>) -> bool {
    let mut known = 0;
    let is_itch = packet.messages().all(|message| match message.map(|(_, bytes)| Message::parse(bytes)) {
        Ok(Ok(_)) => {
            known += 1;
            true
        }
        Ok(Err(itch::Error::Unknown(_))) => true,
        Ok(Err(_)) | Err(_) => false,
    });
    is_itch && known > 0
}

/// A session as text.
fn text(session: [u8; SESSION_BYTES]) -> String {
    format!("\"{}\"", session.escape_ascii())
}

fn is_text(session: &[u8]) -> bool {
    session.iter().all(|byte| matches!(byte, b' '..=b'~'))
}

impl Feed for MoldFeed {
    fn name(&self) -> &'static str {
        "moldudp64"
    }

    /// A packet whose blocks fill it, with messages of which one at least is ITCH and none is of a wrong length; or any of a session that
    /// is known.
    fn recognises(&self, payload: &[u8]) -> bool {
        let Ok(packet) = Packet::parse(payload) else { return false };
        if self.streams.iter().any(|stream| stream.sessions.is_present(*packet.session())) {
            return packet.messages().all(|message| message.is_ok());
        }
        is_text(packet.session()) && is_itch(&packet)
    }

    fn datagram(
        &mut self,
        datagram: &Datagram<'_>,
        catalog: &mut Catalog,
        out: &mut SlotBuf,
    ) -> Result<Fed, FeedError> {
        let packet = Packet::parse(datagram.payload).map_err(|error| FeedError::Malformed(error.to_string()))?;
        if !is_text(packet.session()) {
            return Err(FeedError::Malformed(format!("session {} is no text", text(*packet.session()))));
        }
        let stream = self.route(*packet.session(), datagram.flow, catalog.symbols_max())?;
        let stream = &mut self.streams[stream];
        stream.mapper.define_source(catalog)?;
        if !stream.is_through {
            stream.hold.arrive(datagram.ts_recv);
            let fed = match stream.arrive(&packet, datagram.payload) {
                Arrival::Through => Ok(Fed::Done),
                Arrival::Bad(why) => Err(FeedError::Malformed(why)),
                Arrival::Now => stream.take((datagram.payload, datagram.ts_recv), 0, catalog, out),
                Arrival::AfterAll => match stream.release(true, catalog, out)? {
                    Fed::NoRoom => return Ok(Fed::NoRoom),
                    Fed::Done => stream.take((datagram.payload, datagram.ts_recv), 0, catalog, out),
                },
            };
            match fed {
                Ok(Fed::NoRoom) => return Ok(Fed::NoRoom),
                Err(FeedError::Malformed(why)) => drop(stream.fault.get_or_insert(why)),
                other => drop(other?),
            }
            stream.is_through = true;
        }
        if stream.release(false, catalog, out)? == Fed::NoRoom {
            return Ok(Fed::NoRoom);
        }
        stream.is_through = false;
        stream.fault.take().map_or(Ok(Fed::Done), |why| Err(FeedError::Malformed(why)))
    }

    fn finish(&mut self, catalog: &mut Catalog, out: &mut SlotBuf) -> Result<Fed, FeedError> {
        for stream in &mut self.streams {
            if stream.release(true, catalog, out)? == Fed::NoRoom {
                return Ok(Fed::NoRoom);
            }
            if let Some(why) = stream.fault.take() {
                return Err(FeedError::Malformed(why));
            }
        }
        Ok(Fed::Done)
    }

    fn tally(&self, into: &mut Tally) {
        self.streams.iter().for_each(|stream| stream.tally(into));
    }
}

impl Stream {
    fn tally(&self, into: &mut Tally) {
        let itch = self.mapper.tally();
        for (from, into) in [(itch.messages, &mut into.messages), (itch.skipped, &mut into.skipped)] {
            for (name, count) in from {
                *into.entry(name).or_default() += count;
            }
        }
        let counts = self.numbers.counts();
        for (name, count) in [
            ("mold heartbeat", self.heartbeats),
            ("mold end of session", self.ends),
            ("mold duplicate", self.numbers.duplicates()),
            ("mold too late", self.numbers.too_late()),
            ("mold missing", counts.open + counts.given_up),
        ] {
            if count > 0 {
                *into.skipped.entry(name.to_owned()).or_default() += count;
            }
        }
        self.sessions.tally("mold", "packet", into);
        if self.epochs > 0 {
            *into.messages.entry("mold epoch".to_owned()).or_default() += self.epochs;
        }
    }
}
