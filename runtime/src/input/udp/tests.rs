//! Flows, bindings and counts, with feeds of one letter.

use super::*;
use tapeline_core::event::Slot;

/// Takes payloads that begin with its letter, and needs as much room as the second byte says.
struct Letter(u8, &'static str, u64);

impl Feed for Letter {
    fn name(&self) -> &'static str {
        self.1
    }

    fn recognises(&self, payload: &[u8]) -> bool {
        payload.first() == Some(&self.0)
    }

    fn datagram(&mut self, datagram: &Datagram<'_>, _: &mut Catalog, out: &mut SlotBuf) -> Result<Fed, FeedError> {
        if datagram.payload.first() != Some(&self.0) {
            return Err(FeedError::Malformed("another letter".to_owned()));
        }
        if out.remaining() < usize::from(datagram.payload[1]) {
            return Ok(Fed::NoRoom);
        }
        out.extend(&vec![Slot::ZERO; usize::from(datagram.payload[1])]);
        self.2 += 1;
        Ok(Fed::Done)
    }

    fn tally(&self, into: &mut Tally) {
        into.messages.insert(self.1.to_owned(), self.2);
    }
}

fn udp(port: u16, payload: &[u8]) -> Udp<'_> {
    let address: IpAddr = [239, 1, 1, 1].into();
    Udp { source: address, source_port: 9, destination: address, port, payload }
}

#[test]
fn flows_are_bound_by_what_is_recognised_and_all_else_is_counted() {
    let mut feeds = Feeds::new(vec![Box::new(Letter(b'a', "alpha", 0)), Box::new(Letter(b'b', "beta", 0))]);
    let (mut catalog, mut out) = (Catalog::new(8), SlotBuf::with_capacity(3));
    let mut give = |port, payload: &[u8]| feeds.datagram(&udp(port, payload), UnixNanos(1), &mut catalog, &mut out);
    assert!(matches!(give(1, b"a\x01"), Ok(Fed::Done)));
    assert!(matches!(give(2, b"b\x01"), Ok(Fed::Done)));
    assert!(matches!(give(3, b"\xff\xff"), Ok(Fed::Done)));
    assert!(matches!(give(53, b"\xff\xff"), Ok(Fed::Done)));
    // Both lines of one feed.
    assert!(matches!(give(4, b"a\x00"), Ok(Fed::Done)));
    // A bound flow stays bound.
    assert!(matches!(give(1, b"b\x00"), Err(FeedError::Malformed(_))));
    // An unknown one may become known.
    assert!(matches!(give(3, b"b\x01"), Ok(Fed::Done)));
    // Asked for again, a datagram is counted once.
    assert!(matches!(give(1, b"a\x02"), Ok(Fed::NoRoom)));
    assert!(matches!(give(1, b"a\x02"), Ok(Fed::NoRoom)));
    out.clear();
    let mut give = |port, payload: &[u8]| feeds.datagram(&udp(port, payload), UnixNanos(1), &mut catalog, &mut out);
    assert!(matches!(give(1, b"a\x02"), Ok(Fed::Done)));
    let mut tally = Tally::default();
    feeds.tally(&mut tally);
    let packets: Vec<_> = tally.packets.iter().map(|(name, count)| (name.as_str(), *count)).collect();
    assert_eq!(packets, [("alpha", 4), ("beta", 2), ("udp port 3", 1), ("udp port 53 (dns)", 1)]);
    assert_eq!((tally.messages["alpha"], tally.messages["beta"]), (3, 2));
}

#[test]
fn flows_beyond_the_limit_are_decoded_and_counted_all_the_same() {
    let mut feeds = Feeds::new(vec![Box::new(Letter(b'a', "alpha", 0))]);
    let (mut catalog, mut out) = (Catalog::new(8), SlotBuf::with_capacity(3));
    for port in 0..FLOWS_MAX as u16 + 10 {
        assert!(matches!(feeds.datagram(&udp(port, b"?"), UnixNanos(1), &mut catalog, &mut out), Ok(Fed::Done)));
    }
    assert!(matches!(feeds.datagram(&udp(9_999, b"a\x01"), UnixNanos(1), &mut catalog, &mut out), Ok(Fed::Done)));
    let mut tally = Tally::default();
    feeds.tally(&mut tally);
    assert_eq!((tally.packets["udp, other flows"], tally.packets["alpha"]), (10, 1));
    assert_eq!(tally.packets.values().sum::<u64>(), FLOWS_MAX as u64 + 11);
}
