//! Captures of packets: pcap and pcapng, and the feeds in them.
//!
//! ```text
//!   ByteSource --> Window --> Container --> net::udp --> Feeds --> events
//!   (gzip, zstd)   (1 MiB)    (classic, ng)  (core)      (udp.rs)
//! ```
//!
//! A packet that is not decoded is counted by what it is (`arp`, `tcp`, `udp port 53 (dns)`), and is no error. A packet of a feed that is
//! damaged is *bad*: counted, named with its number and offset (the first ten), and the reading goes on (exit code 3). A record of the
//! container that is damaged or cut short ends the reading: [`InputError::Damaged`] with the record's offset, all before it delivered.
//! Neither format has an end mark: a file that ends between two records is a whole one.
//!
//! `ts_recv` of all events of a packet is the packet's time.
//!
//! **Memory**: the window of 1 MiB, whatever lengths the file claims; longer packets than [`PACKET_BYTES_MAX`] are damage, longer blocks
//! that are not looked at are read past.
//!
//! Why not the crate `pcap-parser`: it hands out blocks that stand in its buffer whole, so that one long block that nobody wants asks for
//! as much memory or ends the reading; and the two formats are some 300 lines. The tests compare with it.

mod classic;
mod ng;
mod window;

use super::bytes::ByteSource;
use super::itch::ItchConfig;
use super::udp::{Fed, FeedError, Feeds, all_feeds};
use super::{BAD_LINES_NAMED_MAX, BadPacket, Input, InputError, Position, SlotBuf, Status, Tally};
use classic::Classic;
use ng::Ng;
use std::collections::BTreeMap;
use std::ops::Range;
use tapeline_core::catalog::Catalog;
use tapeline_core::units::UnixNanos;
use tapeline_core::wire::net::{self, Link, Other};
use window::Window;

/// Longest packet in bytes: tcpdump's and Wireshark's own limit.
pub const PACKET_BYTES_MAX: usize = 256 << 10;
/// What the packets are not, by name: so many are counted apart, further ones as `other`.
const NAMES_MAX: usize = 256;

/// A packet in the window.
#[derive(Clone, Debug)]
struct Packet {
    /// Link layer, as the capture numbers them.
    linktype: u32,
    ts: UnixNanos,
    /// Its bytes in what the window holds.
    data: Range<usize>,
    /// Bytes that it had on the wire.
    original: u32,
    /// Bytes of its record.
    record: usize,
}

/// Where the next packet is.
enum Next {
    Packet(Packet),
    End,
}

/// Why no further packet can be found.
enum Broken {
    /// The record at the window's offset.
    Record(String),
    /// A version of the format that is not known.
    Version(String),
    /// What the stream says.
    Stream(std::io::Error),
}

impl From<std::io::Error> for Broken {
    fn from(error: std::io::Error) -> Self {
        Self::Stream(error)
    }
}

fn cut(what: &str, have: usize, needs: u64) -> Broken {
    Broken::Record(format!("{what} is cut short: {have} of {needs} bytes"))
}

/// 10^9 parts, or fewer: `count` units of 1/`unit` s as ns.
fn nanos(count: u64, unit: u64) -> u64 {
    u64::try_from(u128::from(count) * 1_000_000_000 / u128::from(unit)).unwrap_or(u64::MAX)
}

enum Container {
    Classic(Classic),
    Ng(Ng),
}

/// A capture of packets that is being decoded.
pub struct PcapInput {
    window: Window,
    container: Container,
    feeds: Feeds,
    /// Packets taken.
    packets: u64,
    /// Packets without a time.
    timeless: u64,
    /// Packets that are no datagram of a feed, by what they are.
    others: BTreeMap<String, u64>,
    /// Name under construction.
    name: String,
    bad_packets: u64,
    first_bad: Vec<BadPacket>,
    /// No packet follows: what is still kept is on its way, then this is told.
    closing: Option<Result<(), InputError>>,
    ended: bool,
}

impl PcapInput {
    /// Reads the file's header.
    ///
    /// # Errors
    /// [`InputError::Damaged`] when the header is cut short or damaged, [`InputError::Unrecognised`] when it is neither format, or of a
    /// version that is not known.
    pub fn new(source: ByteSource) -> Result<Self, InputError> {
        Self::with_feeds(source, Feeds::new(all_feeds(&ItchConfig::default())))
    }

    /// As [`PcapInput::new`], with these feeds.
    ///
    /// # Errors
    /// As [`PcapInput::new`].
    pub fn with_feeds(source: ByteSource, feeds: Feeds) -> Result<Self, InputError> {
        let mut window = Window::new(source);
        let opened = match window.fill(4) {
            Ok(start) if start.starts_with(&ng::MAGIC) => Ng::open(&mut window).map(Container::Ng),
            Ok(_) => Classic::open(&mut window).map(Container::Classic),
            Err(error) => Err(Broken::Stream(error)),
        };
        let container = opened.map_err(|broken| match broken {
            Broken::Version(why) => InputError::Unrecognised { path: window.path().to_owned(), why },
            other => window.damage(other),
        })?;
        Ok(Self {
            window,
            container,
            feeds,
            packets: 0,
            timeless: 0,
            others: BTreeMap::new(),
            name: String::with_capacity(64),
            bad_packets: 0,
            first_bad: Vec::new(),
            closing: None,
            ended: false,
        })
    }

    /// Whether a file that begins with `start` is pcap or pcapng.
    #[must_use]
    pub fn recognises(start: &[u8]) -> bool {
        start.starts_with(&ng::MAGIC) || classic::is_magic(start)
    }

    fn next(&mut self) -> Result<Next, Broken> {
        match &mut self.container {
            Container::Classic(classic) => classic.next(&mut self.window),
            Container::Ng(ng) => ng.next(&mut self.window),
        }
    }

    /// Counts a packet that is no datagram of a feed.
    fn other(&mut self, linktype: u32, other: Option<Other>, was_cut: bool) {
        use std::fmt::Write;
        self.name.clear();
        // Writing to a string cannot fail.
        let _ = match other {
            None => write!(self.name, "linktype {linktype}"),
            Some(Other::Cut) if !was_cut => self.name.write_str("malformed: shorter than its headers say"),
            Some(other) => other.name(&mut self.name),
        };
        if let Some(count) = self.others.get_mut(self.name.as_str()) {
            *count += 1;
            return;
        }
        let name = if self.others.len() < NAMES_MAX { &self.name } else { "other" };
        *self.others.entry(name.to_owned()).or_default() += 1;
    }

    #[cold]
    fn bad(&mut self, why: String) {
        self.bad_packets += 1;
        if self.first_bad.len() < BAD_LINES_NAMED_MAX {
            self.first_bad.push(BadPacket { packet: self.packets + 1, offset: self.window.offset(), why });
        }
    }

    /// Takes the packet at hand. `false` when it must come again with more room.
    fn take(&mut self, packet: &Packet, catalog: &mut Catalog, out: &mut SlotBuf) -> Result<bool, InputError> {
        let data = &self.window.held()[packet.data.clone()];
        let was_cut = data.len() < packet.original as usize;
        let Some(link) = Link::from_linktype(packet.linktype) else {
            self.other(packet.linktype, None, was_cut);
            return Ok(true);
        };
        let udp = match net::udp(link, data) {
            Ok(udp) => udp,
            Err(other) => {
                self.other(packet.linktype, Some(other), was_cut);
                return Ok(true);
            }
        };
        let before = out.slots().len();
        match self.feeds.datagram(&udp, packet.ts, catalog, out) {
            Ok(Fed::Done) => {}
            Ok(Fed::NoRoom) if before > 0 || !out.slots().is_empty() => return Ok(false),
            Ok(Fed::NoRoom) => self.bad("more events than a packet may have".to_owned()),
            Err(FeedError::Malformed(why)) => self.bad(why),
            Err(FeedError::Catalog(error)) => {
                // All of the datagram or nothing: its last message may lack the end that others wait for.
                out.truncate(before);
                let path = self.window.path().to_owned();
                return Err(InputError::Catalog { path, at: Position::Offset(self.window.offset()), error });
            }
        }
        Ok(true)
    }
}

impl PcapInput {
    /// Takes what the feeds keep after the last packet. `false` when it must go on with more room.
    fn finish(&mut self, catalog: &mut Catalog, out: &mut SlotBuf) -> Result<bool, InputError> {
        loop {
            let before = out.slots().len();
            match self.feeds.finish(catalog, out) {
                Ok(Fed::Done) => return Ok(true),
                Ok(Fed::NoRoom) if before > 0 || !out.slots().is_empty() => return Ok(false),
                Ok(Fed::NoRoom) => {
                    self.bad("more events than a packet may have".to_owned());
                    return Ok(true);
                }
                Err(FeedError::Malformed(why)) => self.bad(why),
                Err(FeedError::Catalog(error)) => {
                    out.truncate(before);
                    self.ended = true;
                    let path = self.window.path().to_owned();
                    return Err(InputError::Catalog { path, at: Position::Offset(self.window.offset()), error });
                }
            }
        }
    }
}

impl Input for PcapInput {
    fn format(&self) -> &'static str {
        match self.container {
            Container::Classic(_) => "pcap",
            Container::Ng(_) => "pcapng",
        }
    }

    fn read(&mut self, catalog: &mut Catalog, out: &mut SlotBuf) -> Result<Status, InputError> {
        while !self.ended && self.closing.is_none() {
            let packet = match self.next() {
                Ok(Next::Packet(packet)) => packet,
                Ok(Next::End) => {
                    self.closing = Some(Ok(()));
                    break;
                }
                Err(broken) => {
                    self.closing = Some(Err(self.window.damage(broken)));
                    break;
                }
            };
            match self.take(&packet, catalog, out) {
                Ok(true) => {}
                Ok(false) => return Ok(Status::More),
                Err(error) => {
                    self.ended = true;
                    return Err(error);
                }
            }
            self.packets += 1;
            self.timeless += u64::from(packet.ts == UnixNanos::UNKNOWN);
            self.window.consume(packet.record);
        }
        if !self.ended && !self.finish(catalog, out)? {
            return Ok(Status::More);
        }
        self.ended = true;
        self.closing.take().unwrap_or(Ok(())).map(|()| Status::End)
    }

    fn tally(&self) -> Tally {
        let mut tally = Tally {
            packets: self.others.clone(),
            bad_packets: self.bad_packets,
            first_bad_packets: self.first_bad.clone(),
            ..Tally::default()
        };
        if self.timeless > 0 {
            tally.skipped.insert("times of simple packets: not captured".to_owned(), self.timeless);
        }
        if let Container::Ng(ng) = &self.container
            && ng.other_blocks() > 0
        {
            tally.skipped.insert("other pcapng blocks".to_owned(), ng.other_blocks());
        }
        self.feeds.tally(&mut tally);
        tally
    }
}
