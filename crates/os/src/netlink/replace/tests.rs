//! What is kept and what is left to others.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::{Kept, RTA_DST, RTA_GATEWAY, RTA_PREFSRC, addresses_of};

fn attribute(body: &mut Vec<u8>, kind: u16, octets: [u8; 4]) {
    body.extend(8_u16.to_ne_bytes());
    body.extend(kind.to_ne_bytes());
    body.extend(octets);
}

/// `struct ifaddrmsg` and `IFA_LOCAL` (rtnetlink(7)).
fn address(octets: [u8; 4]) -> Vec<u8> {
    let mut body = vec![2, 24, 0x80, 0];
    body.extend(3_u32.to_ne_bytes());
    attribute(&mut body, 2, octets);
    body
}

/// `struct rtmsg` and some of its attributes.
fn route(attributes: &[(u16, [u8; 4])]) -> Vec<u8> {
    let mut body = vec![2, 24, 0, 0, 254, 4, 0, 1, 0, 0, 0, 0];
    for (kind, octets) in attributes {
        attribute(&mut body, *kind, *octets);
    }
    body
}

#[test]
fn what_is_anothers_stays_away_and_so_do_the_routes_that_need_it() {
    let ours = [10, 0, 1, 1];
    let theirs = [10, 0, 2, 1];
    let far = (RTA_DST, [10, 9, 0, 0]);
    let over = |third| (RTA_GATEWAY, [10, 0, third, 254]);
    let stay = [route(&[far]), route(&[far, over(1)]), route(&[far, (RTA_PREFSRC, ours)])];
    let go = [route(&[far, over(2)]), route(&[far, over(1), (RTA_PREFSRC, theirs)])];
    let mut kept = Kept {
        addresses: vec![address(theirs), address(ours)],
        routes: [&stay[..], &go[..]].concat(),
    };
    let whole = kept.clone();
    assert_eq!(kept.leave_to(&BTreeSet::from(["10.0.1.2".parse().unwrap()])), [] as [IpAddr; 0]);
    assert_eq!(kept, whole);
    assert_eq!(kept.leave_to(&BTreeSet::from([theirs.into()])), [IpAddr::from(theirs)]);
    assert_eq!(addresses_of(&kept), [(ours.into(), 24)]);
    assert_eq!(kept.routes, stay);
}
