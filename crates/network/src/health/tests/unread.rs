//! Looks that the kernel does not answer.

use super::*;

#[test]
fn a_card_of_which_nobody_tells_hides_no_other_one() {
    let mut world = World::settled(&[3], Detection::InOut);
    world.noise = true;
    world.object(0, 0).is_unread = true;
    world.object(0, 1).card.carrier = false;
    world.kill(0, 2);
    world.pass(LOOK);
    assert_eq!(world.said(0), [("eth1".to_owned(), down(Fault::NoCarrier))]);
    // Nobody else is proven to hear anything, so the third is only in doubt.
    world.rounds(POLLS + 1);
    assert_eq!(world.said(0), [("eth2".to_owned(), SILENT)]);
    world.object(0, 1).card.carrier = true;
    world.rounds(2 * POLLS + 2);
    assert_eq!(world.verdict(0, 2), down(Fault::NoTraffic));
    assert_eq!(world.verdict(0, 0), Verdict::Up, "as it was when it was seen last");
}

#[test]
fn its_lost_carrier_is_seen_all_the_same() {
    let mut world = World::settled(&[2], Detection::InOut);
    world.noise = true;
    for card in 0..2 {
        world.object(0, card).is_unread = true;
    }
    world.rounds(10);
    assert_eq!(world.said(0), [], "and nothing else is concluded");
    let unread = 2 * 10 * (INTERVAL.as_millis() / LOOK.as_millis()) as u64;
    assert_eq!(world.status(0).counters.unread, unread);
    world.object(0, 0).card.carrier = false;
    world.pass(LOOK);
    assert_eq!(world.said(0), [("eth0".to_owned(), down(Fault::NoCarrier))]);
    world.object(0, 0).card.carrier = true;
    world.pass(LOOK);
    assert_eq!(world.said(0), [("eth0".to_owned(), UNPROVEN)]);
    world.rounds(10);
    assert_eq!(world.said(0), []);
    for card in 0..2 {
        world.object(0, card).is_unread = false;
    }
    world.rounds(POLLS + 2);
    assert_eq!(world.said(0), [("eth0".to_owned(), Verdict::Up)]);
}

#[test]
fn a_look_that_is_missed_now_and_then_says_nothing() {
    let mut world = World::settled(&[2], Detection::InOut);
    world.kill(0, 0);
    world.noise = true;
    let mut looks = 0;
    while world.verdict(0, 0) == Verdict::Up {
        looks += 1;
        world.object(0, 0).is_unread = looks % 3 != 0;
        world.pass(LOOK);
    }
    assert_eq!(world.verdict(0, 0), down(Fault::NoTraffic));
    let took = LOOK * looks;
    assert!(took <= INTERVAL * (POLLS + 1), "found after {took:?}");
}

#[test]
fn what_nobody_could_look_at_yet_is_not_gone() {
    let mut world = World::new(&[2], Detection::InOut);
    world.object(0, 0).is_unread = true;
    world.rounds(2);
    assert_eq!((world.verdict(0, 0), world.said(0)), (UNPROVEN, Vec::new()));
    world.feed(0, Input::Disable { card: "eth0".into(), on: true });
    assert_eq!(world.said(0), [("eth0".to_owned(), down(Fault::Disabled))]);
}
