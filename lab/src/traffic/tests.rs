//! The kernel's words, as they are.

use super::*;

#[test]
fn counters_of_an_interface() {
    let text = "Inter-|   Receive                                                |  Transmit\n \
        face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs\n    \
        lo:       0       0    0    0    0     0          0         0        0       0    0\n  \
        net0:  1234      12    0    1    0     0          0         3     5678      56    0\n";
    let found = parse_traffic(text, "net0");
    let expected =
        Traffic { received_bytes: 1234, received_packets: 12, sent_bytes: 5678, sent_packets: 56 };
    assert_eq!(found, Some(expected));
    assert_eq!(parse_traffic(text, "net1"), None);
}

#[test]
fn datagrams_without_room() {
    let text = "Ip: Forwarding DefaultTTL\nIp: 1 64\n\
        Udp: InDatagrams NoPorts InErrors OutDatagrams RcvbufErrors SndbufErrors\n\
        Udp: 10 0 7 3 7 0\nUdpLite: InDatagrams\nUdpLite: 0\n";
    assert_eq!(parse_dropped(text), Some(7));
    assert_eq!(parse_dropped("Ip: 1\n"), None);
}
