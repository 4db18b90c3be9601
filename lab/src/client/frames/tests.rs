use super::*;

#[test]
fn checksum_of_rfc_1071() {
    assert_eq!(checksum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]), !0xddf2);
}

#[test]
fn only_replies_about_the_target_count() {
    let target = Ipv4Addr::new(10, 77, 0, 100);
    let mut reply = [0, 1, 8, 0, 6, 4, 0, 2, 2, 0x4d, 0x53, 0, 0, 3, 10, 77, 0, 100].to_vec();
    assert_eq!(arp_reply(&reply, target), Some([2, 0x4d, 0x53, 0, 0, 3]));
    assert_eq!(spec::hardware_owner([2, 0x4d, 0x53, 0, 0, 3]), "n3");
    reply[7] = 1;
    assert_eq!(arp_reply(&reply, target), None);
    assert_eq!(arp_reply(&reply[..9], target), None);
}

#[test]
fn an_announcement_names_its_sender_as_the_target() {
    let frame = |operation: u8, target: u8| {
        let head = [0, 1, 8, 0, 6, 4, 0, operation, 2, 0x4d, 0x53, 0, 0, 3, 10, 77, 0, 100];
        [&head[..], &[0, 0, 0, 0, 0, 0, 10, 77, 0, target]].concat()
    };
    let expected = Some(([2, 0x4d, 0x53, 0, 0, 3], Ipv4Addr::new(10, 77, 0, 100)));
    assert_eq!(announced(&frame(1, 100)), expected);
    assert_eq!(announced(&frame(2, 100)), expected);
    assert_eq!(announced(&frame(1, 101)), None);
    assert_eq!(announced(&frame(3, 100)), None);
    assert_eq!(announced(&frame(1, 100)[..27]), None);
}
