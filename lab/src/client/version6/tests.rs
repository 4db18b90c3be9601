//! Packets written and read by hand.

use super::*;

#[test]
fn a_solicitation_is_for_the_group_of_its_target() {
    let own: Ipv6Addr = "fd77:3::fe".parse().unwrap();
    let target: Ipv6Addr = "fd77:3::12:3456".parse().unwrap();
    let packet = solicitation((own, [2, 0, 0, 0, 0, 9]), target);
    assert_eq!(spec::network_of(target.into()), 3);
    let group: Ipv6Addr = "ff02::1:ff12:3456".parse().unwrap();
    assert_eq!(packet[24..40], group.octets());
    let (source, body) = message(&packet).unwrap();
    assert_eq!((source, body.len()), (own, 32));
    let pseudo = [&packet[8..40], &[0, 0, 0, 32, 0, 0, 0, ICMPV6], body].concat();
    assert_eq!(checksum(&pseudo), 0, "the checksum is right");
}

#[test]
fn only_answers_to_the_question_count() {
    let own: Ipv6Addr = "fd77::fe".parse().unwrap();
    let target: Ipv6Addr = "fd77::100".parse().unwrap();
    let mut packet = solicitation((own, [2, 0, 0, 0, 0, 9]), target);
    assert_eq!(advertised(&packet), None, "a question");
    packet[HEADER] = ADVERTISEMENT;
    assert_eq!(advertised(&packet), None, "nobody asked for it");
    packet[HEADER + 4] = 0x60;
    assert_eq!(advertised(&packet), Some(target));
    assert_eq!(advertised(&packet[..50]), None, "cut short");

    let mut reply = packet[..HEADER].to_vec();
    reply.extend([ECHO_REPLY, 0, 0, 0, 0, 7, 0, 1]);
    reply.extend(9_u64.to_be_bytes());
    assert_eq!(echo_reply(&reply, own, 7), Some(9));
    assert_eq!(echo_reply(&reply, target, 7), None, "from another one");
    assert_eq!(echo_reply(&reply, own, 8), None, "to another one");
}
