//! Which frames are answers.

use super::*;

const OWN: Mac = [2, 0, 0, 0, 0, 1];
const OTHER: Mac = [2, 0, 0, 0, 0, 9];
const TARGET: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 254);

/// An ARP reply of the target, to a station.
fn reply(to: Mac, sender: Ipv4Addr) -> Vec<u8> {
    let mut frame = wire::announcement(OTHER, IpAddr::V4(sender));
    frame[..6].copy_from_slice(&to);
    // The operation: reply instead of request.
    frame[21] = 2;
    frame
}

#[test]
fn only_what_a_target_says_to_this_station_is_an_answer() {
    let is_answer = |frame: &[u8]| is_answer_to(OWN, &[TARGET], frame);
    assert!(is_answer(&reply(OWN, TARGET)));
    assert!(!is_answer(&reply([0xff; 6], TARGET)), "said to all, whoever hears it");
    assert!(!is_answer(&reply(OTHER, TARGET)), "to somebody else");
    assert!(!is_answer(&reply(OWN, Ipv4Addr::new(10, 0, 0, 9))), "no target's");
    assert!(!is_answer(&reply(OWN, TARGET)[..20]), "cut short");
    assert!(!is_answer(&wire::probe(OTHER, IpAddr::V4(TARGET))), "a question of another");
    assert!(!is_answer(&[]));
}
