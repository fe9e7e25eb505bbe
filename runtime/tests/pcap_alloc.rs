//! A capture of packets allocates nothing once its stream has begun: not for packets of a feed, not for what is not decoded, not for a gap.

mod pcap_twin;

use pcap_twin::*;
use std::io::Cursor;
use tapeline_core::catalog::Catalog;
use tapeline_runtime::input::bytes::ByteSource;
use tapeline_runtime::input::pcap::PcapInput;
use tapeline_runtime::input::{Input, SlotBuf, Status};

#[test]
fn nothing_is_allocated_once_the_stream_has_begun() {
    let mut datagrams = deep_segments(4_000);
    // A gap in the second half, which is told to every symbol; it stays one, since nothing fills it.
    datagrams.remove(3_001);
    let mut frames = packets(Wrap::DoubleVlan, false, &datagrams);
    let arp = Captured { ns: START, original: 60, frame: [&[0; 12][..], &[8, 6], &[0; 46]].concat() };
    for at in (0..frames.len()).step_by(50) {
        frames.insert(at, arp.clone());
    }
    for file in [classic(Order::Big, 1_000, 1, &frames), ng(Order::Little, 1, &frames)] {
        let source = ByteSource::new(Box::new(Cursor::new(file)), "capture", None).unwrap();
        let mut input = PcapInput::new(source).unwrap();
        let (mut catalog, mut out) = (Catalog::new(64), SlotBuf::with_capacity(256));
        for _ in 0..4 {
            out.clear();
            assert_eq!(input.read(&mut catalog, &mut out).unwrap(), Status::More);
        }
        let (mut events, mut reads) = (0, 0);
        let counted = allocation_counter::measure(|| {
            loop {
                out.clear();
                let status = input.read(&mut catalog, &mut out).expect("a whole capture");
                (events, reads) = (events + out.slots().len(), reads + 1);
                if status == Status::End {
                    break;
                }
            }
        });
        assert!(events > 5_000 && reads > 20, "{events} events in {reads} reads");
        assert_eq!(counted.count_total, 0, "{events} events: {counted:?}");
        let tally = input.tally();
        assert!(tally.packets["arp"] > 70 && tally.skipped["deep missing"] > 0, "{tally:?}");
    }
}
