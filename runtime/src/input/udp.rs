//! UDP: which feed a datagram is of, and what the datagrams are that are of none.
//!
//! A [`Feed`] decodes the datagrams of one transport (IEX-TP, MoldUDP64) into events. [`Feeds`] knows the flows (destination address
//! and port) of a capture or a socket, gives each datagram to the feed that recognised its flow, and counts all others by port, with a
//! guess at their protocol: an unknown payload is never an error.
//!
//! A flow is bound to a feed by the first datagram that the feed [recognises](Feed::recognises), and stays bound. Flows whose datagrams
//! nobody recognises are looked at again with each one, since a feed may follow. Several flows may be bound to one feed: the lines A
//! and B of a feed go into the same sequence numbers there. It is told the flow of each datagram, since one decoder may have several feeds of its
//! protocol at once.

mod guess;
mod hold;
mod numbers;
mod sessions;

pub use guess::guess;
pub use hold::{HELD_BYTES_MAX, HELD_NS_MAX, HELD_PACKETS_MAX, Hold, Offer, SWAPPED_NS_MAX, SWAPPED_PACKETS_MAX};
pub use numbers::{Contiguous, Fresh, GAP_PART};
pub use sessions::{Judged, RETURNS_MAX, Sessions};

use super::iex::IexFeed;
use super::itch::ItchConfig;
use super::mold::MoldFeed;
use super::{MESSAGE_SLOTS_MAX, SlotBuf, Tally};
use std::collections::BTreeMap;
use std::net::IpAddr;
use tapeline_core::catalog::{Catalog, CatalogError};
use tapeline_core::units::UnixNanos;
use tapeline_core::wire::net::Udp;

/// Flows that are remembered. The datagrams of further ones are offered to all feeds each time, and counted as `other flows`.
pub const FLOWS_MAX: usize = 256;

/// Destination of datagrams: for a feed, its multicast group and port.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Flow {
    /// Destination address.
    pub address: IpAddr,
    /// Destination port.
    pub port: u16,
}

/// One datagram, as it was captured or received.
#[derive(Clone, Copy, Debug)]
pub struct Datagram<'a> {
    /// What it carries.
    pub payload: &'a [u8],
    /// Where it was sent to.
    pub flow: Flow,
    /// When it was captured; [`UnixNanos::UNKNOWN`] where the capture does not tell: events take their `ts_event` then.
    pub ts_recv: UnixNanos,
}

/// What became of a datagram that a feed took.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum Fed {
    /// It is through: its events, if it has any, are appended.
    Done,
    /// There is too little room. The feed wants the same datagram again, with more room; part of its events may be appended.
    NoRoom,
}

/// Why a datagram gave not all its events.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FeedError {
    /// It is damaged, or not what its flow carries. What could be decoded of it is appended.
    #[error("{0}")]
    Malformed(String),
    /// A table is full: nothing that follows can be trusted to fit. What was appended of the datagram is to be taken back.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
}

/// A decoder of the datagrams of one transport protocol.
///
/// It finds gaps, drops duplicates and begins epochs by the numbers of its packets: [`Contiguous`] does that for numbers that follow
/// each other.
pub trait Feed: Send {
    /// Name of the protocol, under which its datagrams are counted: `iex-tp`.
    fn name(&self) -> &'static str;

    /// Whether this payload is one of the feed's, so surely that its flow can be bound to it: header, lengths and counts must agree.
    fn recognises(&self, payload: &[u8]) -> bool;

    /// Decodes a datagram of a bound flow, and appends its events to `out`, as [`Input::read`](super::Input::read) has it. With an empty `out`, which
    /// has room for [`MESSAGE_SLOTS_MAX`] slots, each call appends at least one slot or is not [`Fed::NoRoom`].
    ///
    /// # Errors
    /// [`FeedError`]. After one that is malformed, the next datagram can be given.
    fn datagram(&mut self, datagram: &Datagram<'_>, catalog: &mut Catalog, out: &mut SlotBuf)
    -> Result<Fed, FeedError>;

    /// No datagram will follow: appends the events of those that the feed still keeps, until it says [`Fed::Done`].
    ///
    /// # Errors
    /// [`FeedError`]. After one that is malformed, it can be called again.
    fn finish(&mut self, _catalog: &mut Catalog, _out: &mut SlotBuf) -> Result<Fed, FeedError> {
        Ok(Fed::Done)
    }

    /// Adds what the feed has counted: messages by name, messages without a kind, heartbeats, duplicates, gaps.
    fn tally(&self, into: &mut Tally);
}

/// Every feed that this build knows, in the order in which they are asked.
#[must_use]
pub fn all_feeds(itch: &ItchConfig) -> Vec<Box<dyn Feed>> {
    vec![Box::new(IexFeed::new()), Box::new(MoldFeed::new(*itch))]
}

/// What is known of a flow.
struct Known {
    flow: Flow,
    /// Index of the feed that it is bound to.
    feed: Option<usize>,
    /// Datagrams that nobody recognised.
    unknown: u64,
    /// What the first of them looked like.
    guess: &'static str,
}

/// The feeds of one input, and the flows bound to them. Allocates for the first datagram of a flow only.
pub struct Feeds {
    feeds: Vec<Box<dyn Feed>>,
    /// Datagrams by feed.
    datagrams: Vec<u64>,
    flows: Vec<Known>,
    /// Index of the flow of the last datagram.
    last: usize,
    /// Datagrams of flows beyond [`FLOWS_MAX`].
    beyond: u64,
    /// The feed has asked for the same datagram again.
    is_again: bool,
}

impl Feeds {
    /// No flow is known yet.
    #[must_use]
    pub fn new(feeds: Vec<Box<dyn Feed>>) -> Self {
        let datagrams = vec![0; feeds.len()];
        Self { feeds, datagrams, flows: Vec::with_capacity(FLOWS_MAX), last: 0, beyond: 0, is_again: false }
    }

    /// Takes a datagram: see [`Feed::datagram`]. One that is of no feed is counted and [`Fed::Done`]. O(flows) in the worst case, O(1)
    /// while datagrams of one flow follow each other.
    ///
    /// # Errors
    /// Those of the feed.
    pub fn datagram(
        &mut self,
        udp: &Udp<'_>,
        ts_recv: UnixNanos,
        catalog: &mut Catalog,
        out: &mut SlotBuf,
    ) -> Result<Fed, FeedError> {
        let is_again = std::mem::take(&mut self.is_again);
        let Some(feed) = self.feed_of(udp, is_again) else { return Ok(Fed::Done) };
        self.datagrams[feed] += u64::from(!is_again);
        let flow = Flow { address: udp.destination, port: udp.port };
        let fed = self.feeds[feed].datagram(&Datagram { payload: udp.payload, flow, ts_recv }, catalog, out);
        self.is_again = matches!(fed, Ok(Fed::NoRoom));
        fed
    }

    /// No datagram will follow: see [`Feed::finish`].
    ///
    /// # Errors
    /// Those of the feeds.
    pub fn finish(&mut self, catalog: &mut Catalog, out: &mut SlotBuf) -> Result<Fed, FeedError> {
        for feed in &mut self.feeds {
            if feed.finish(catalog, out)? == Fed::NoRoom {
                return Ok(Fed::NoRoom);
            }
        }
        Ok(Fed::Done)
    }

    /// The feed of a datagram; a datagram without one is counted.
    #[inline]
    fn feed_of(&mut self, udp: &Udp<'_>, is_again: bool) -> Option<usize> {
        let flow = Flow { address: udp.destination, port: udp.port };
        if self.flows.get(self.last).is_none_or(|known| known.flow != flow) {
            match self.flows.iter().position(|known| known.flow == flow) {
                Some(at) => self.last = at,
                None if self.flows.len() < FLOWS_MAX => {
                    self.last = self.flows.len();
                    self.flows.push(Known { flow, feed: None, unknown: 0, guess: "" });
                }
                None => {
                    let feed = self.recognising(udp.payload);
                    self.beyond += u64::from(feed.is_none() && !is_again);
                    return feed;
                }
            }
        }
        if let Some(feed) = self.flows[self.last].feed {
            return Some(feed);
        }
        let feed = self.recognising(udp.payload);
        let known = &mut self.flows[self.last];
        known.feed = feed;
        if feed.is_none() {
            known.unknown += 1;
            if known.unknown == 1 {
                known.guess = guess(udp.source_port, udp.port, udp.payload);
            }
        }
        feed
    }

    fn recognising(&self, payload: &[u8]) -> Option<usize> {
        self.feeds.iter().position(|feed| feed.recognises(payload))
    }

    /// Adds what the feeds have counted, and the datagrams that are of none of them: `udp port 53 (dns)`.
    pub fn tally(&self, into: &mut Tally) {
        for (feed, datagrams) in self.feeds.iter().zip(&self.datagrams) {
            if *datagrams > 0 {
                *into.packets.entry(feed.name().to_owned()).or_default() += datagrams;
            }
            feed.tally(into);
        }
        let mut ports: BTreeMap<(u16, &str), u64> = BTreeMap::new();
        for known in self.flows.iter().filter(|known| known.unknown > 0) {
            *ports.entry((known.flow.port, known.guess)).or_default() += known.unknown;
        }
        for ((port, guess), count) in ports {
            let name = if guess.is_empty() { format!("udp port {port}") } else { format!("udp port {port} ({guess})") };
            *into.packets.entry(name).or_default() += count;
        }
        if self.beyond > 0 {
            *into.packets.entry("udp, other flows".to_owned()).or_default() += self.beyond;
        }
    }
}

/// [`Feed::datagram`] promises progress in a buffer of this size.
const _: () = assert!(MESSAGE_SLOTS_MAX >= 1 << 14);

#[cfg(test)]
mod tests;
