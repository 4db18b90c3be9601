//! Who answers an echo, in a namespace of its own.

use std::net::IpAddr;
use std::time::Duration;

use os::clock;
use os::echo::{Heard, Question, answers, any_answers};
use os::netlink::Netlink;
use rustix::thread::UnshareFlags;

use crate::scene::{cable, isolate, set_up, wait_for};

const PATIENCE: Duration = Duration::from_millis(200);
/// ... and where an answer comes, on a machine with other things to do.
const GENEROUS: Duration = Duration::from_secs(5);

#[test]
fn a_machine_answers_and_an_address_that_nobody_has_does_not() {
    if !isolate(UnshareFlags::NEWNET) {
        return;
    }
    let (end, _) = cable("eth0", "eth1");
    let mut netlink = Netlink::open().unwrap();
    // The loopback interface, which is what carries a word to oneself.
    set_up(1, true);
    let ours = ["10.1.0.1", "fd01::1"].map(|text| text.parse::<IpAddr>().unwrap());
    let nobody = ["10.1.0.9", "fd01::9"].map(|text| text.parse::<IpAddr>().unwrap());
    let far = ["10.9.0.9", "fd09::9"].map(|text| text.parse::<IpAddr>().unwrap());
    for (family, prefix) in [24, 64].into_iter().enumerate() {
        let (ours, nobody, far) = (ours[family], nobody[family], far[family]);
        netlink.add_address(end, ours, prefix, None).unwrap();
        // An IPv6 address is looked for on the wire before it may be used.
        wait_for("an answer", || {
            any_answers(ours, &[nobody, ours], 7, PATIENCE).unwrap().then_some(())
        });
        let before = clock::boottime();
        assert!(!any_answers(ours, &[nobody], 8, PATIENCE).unwrap());
        let took = clock::boottime().since(before);
        assert!(took >= PATIENCE, "it was waited for: {took:?}");
        assert!(!any_answers(ours, &[far], 9, PATIENCE).unwrap(), "there is no way");
        assert!(!any_answers(nobody, &[ours], 10, PATIENCE).unwrap(), "no such address here");
        assert!(!any_answers(ours, &[], 11, PATIENCE).unwrap());
        // Each on its own, over the interface that is named.
        let home: IpAddr = ["127.0.0.1", "::1"][family].parse().unwrap();
        let ask = |local, interface: Option<&str>, target| Question {
            local,
            interface: interface.map(str::to_owned),
            target,
        };
        let questions = [
            ask(home, Some("lo"), home),
            ask(ours, None, nobody),
            ask(ours, Some("eth9"), ours),
            ask(nobody, None, ours),
            ask(ours, None, ours),
        ];
        let [answer, nothing, unsent] = [Heard::Answer, Heard::Nothing, Heard::Unsent];
        let expected = [answer, nothing, unsent, unsent, answer];
        assert_eq!(answers(&questions, 12, GENEROUS).unwrap(), expected);
        let before = clock::boottime();
        assert_eq!(answers(&questions[..1], 13, GENEROUS).unwrap(), [Heard::Answer]);
        assert!(clock::boottime().since(before) < GENEROUS, "nobody else is waited for");
    }
}
