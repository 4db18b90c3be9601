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
