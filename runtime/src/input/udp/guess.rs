//! What an unknown datagram looks like: a word for the count, never a decision.

/// Largest number of seconds since 1970 whose nanoseconds are taken for the time of a feed: the year 2100.
const LATEST_NS: u64 = 4_102_444_800 * 1_000_000_000;
/// The year 2000.
const EARLIEST_NS: u64 = 946_684_800 * 1_000_000_000;

/// A guess at the protocol of a datagram, by its ports and its first bytes; empty when it looks like nothing known.
///
/// Market data first: `sequenced unit` is Cboe's PITCH transport, `xdp` the NYSE's, `sbe` CME's MDP 3.0 and its kin.
#[must_use]
pub fn guess(source_port: u16, port: u16, payload: &[u8]) -> &'static str {
    let well_known = |port: u16| match port {
        53 => "dns",
        67 | 68 => "dhcp",
        69 => "tftp",
        123 => "ntp",
        137 | 138 => "netbios",
        161 | 162 => "snmp",
        319 | 320 => "ptp",
        443 => "quic",
        514 => "syslog",
        546 | 547 => "dhcpv6",
        1900 => "ssdp",
        3702 => "ws-discovery",
        4789 => "vxlan",
        5353 => "mdns",
        5355 => "llmnr",
        _ => "",
    };
    let by_port = if well_known(port).is_empty() { well_known(source_port) } else { well_known(port) };
    if !by_port.is_empty() {
        return by_port;
    }
    if payload.is_empty() {
        return "empty";
    }
    let u16_le = |at: usize| payload.get(at..at + 2).map(|two| u16::from_le_bytes([two[0], two[1]]));
    let u16_be = |at: usize| payload.get(at..at + 2).map(|two| u16::from_be_bytes([two[0], two[1]]));
    let u64_le = |at: usize| payload.get(at..at + 8).and_then(|eight| eight.try_into().ok()).map(u64::from_le_bytes);
    let length = payload.len() as u64;
    let is_length = |found: Option<u16>| found.is_some_and(|found| u64::from(found) == length);
    // Version 1, reserved 0, and the payload's length: another protocol over IEX-TP.
    if payload.len() >= 40 && payload[0] == 1 && u16_le(12).is_some_and(|bytes| u64::from(bytes) + 40 == length) {
        return "iex-tp";
    }
    if is_length(u16_le(0)) && payload.len() >= 8 {
        return "sequenced unit";
    }
    if is_length(u16_be(0)) && payload.len() >= 16 {
        return "xdp";
    }
    let is_time = |ns: u64| (EARLIEST_NS..LATEST_NS).contains(&ns);
    if u64_le(4).is_some_and(is_time) && u16_le(12).is_some_and(|bytes| u64::from(bytes) + 12 <= length) {
        return "sbe";
    }
    if payload.iter().take(64).all(|byte| matches!(byte, b'\t' | b'\r' | b'\n' | b' '..=b'~')) {
        return "text";
    }
    ""
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_well_known_has_a_name() {
        assert_eq!(guess(40_000, 53, b"x"), "dns");
        assert_eq!(guess(53, 40_000, b"x"), "dns");
        assert_eq!(guess(1, 2, b""), "empty");
        assert_eq!(guess(1, 2, b"<13>hello"), "text");
        assert_eq!(guess(1, 2, &[0xff; 30]), "");
        let mut unit = vec![12, 0, 1, 1, 5, 0, 0, 0];
        unit.extend([4, 0x20, 0, 0]);
        assert_eq!(guess(1, 2, &unit), "sequenced unit");
        let mut xdp = vec![0; 16];
        xdp[1] = 16;
        assert_eq!(guess(1, 2, &xdp), "xdp");
        let mut sbe = vec![7, 0, 0, 0];
        sbe.extend(1_700_000_000_000_000_000u64.to_le_bytes());
        sbe.extend([20, 0, 11, 0]);
        sbe.resize(40, 0x90);
        assert_eq!(guess(1, 2, &sbe), "sbe");
    }
}
