//! What is seen without counting.

use super::*;

#[test]
fn a_lost_carrier_is_down_at_once_and_returns_after_as_many_polls() {
    let mut world = World::settled(&[2], Detection::InOut);
    world.noise = true;
    world.object(0, 0).card.carrier = false;
    world.pass(LOOK);
    assert_eq!(world.said(0), [("eth0".to_owned(), down(Fault::NoCarrier))]);

    world.rounds(5);
    assert_eq!(world.verdict(0, 0), down(Fault::NoCarrier));
    world.object(0, 0).card.carrier = true;
    world.pass(LOOK);
    assert_eq!(world.said(0), [("eth0".to_owned(), UNPROVEN)], "works, but nobody is to go there");
    // The round that is under way does not count, and then so many more.
    world.rounds(POLLS);
    assert_eq!(world.verdict(0, 0), UNPROVEN);
    world.rounds(1);
    assert_eq!(world.said(0), [("eth0".to_owned(), Verdict::Up)]);
}

#[test]
fn switched_off_gone_and_another_interface_of_the_same_name() {
    let mut world = World::settled(&[2], Detection::InOut);
    world.object(0, 1).card.up = false;
    world.pass(LOOK);
    assert_eq!(world.verdict(0, 1), down(Fault::SwitchedOff));
    let gone = world.machines[0].cards.remove(1);
    world.pass(LOOK);
    assert_eq!(world.machines[0].health.verdict("eth1"), Some(down(Fault::Gone)));
    let mut again = gone;
    again.card.index = 40;
    again.card.up = true;
    world.machines[0].cards.push(again);
    world.rounds(POLLS + 1);
    assert_eq!(world.verdict(0, 1), Verdict::Up);
    assert_eq!(world.status(0).nets[0].cards[1].seen.as_ref().map(|seen| seen.index), Some(40));
}

#[test]
fn a_disabled_card_is_down_until_it_is_enabled() {
    let mut world = World::settled(&[2], Detection::InOut);
    world.feed(0, Input::Disable { card: "eth1".into(), on: true });
    assert_eq!(world.said(0), [("eth1".to_owned(), down(Fault::Disabled))]);
    world.rounds(6);
    assert_eq!(world.verdict(0, 1), down(Fault::Disabled), "however well it works");
    assert_eq!(world.status(0).nets[0].poller.as_deref(), Some("eth0"));
    world.feed(0, Input::Disable { card: "eth1".into(), on: false });
    assert_eq!(world.verdict(0, 1), UNPROVEN);
    world.rounds(POLLS + 1);
    assert_eq!(world.verdict(0, 1), Verdict::Up);
    assert_eq!(world.status(0).nets[0].poller.as_deref(), Some("eth1"), "a standby polls");
}

#[test]
fn a_driver_error_needs_no_counting() {
    let mut world = World::settled(&[2], Detection::InOut);
    world.noise = true;
    world.object(0, 0).broken = true;
    world.rounds(2);
    assert_eq!(world.said(0), [("eth0".to_owned(), down(Fault::DriverError))]);
    // One lost frame among many is none.
    world.object(0, 1).card.errors += 1;
    world.rounds(2);
    assert_eq!(world.verdict(0, 1), Verdict::Up);
    world.object(0, 0).broken = false;
    world.rounds(POLLS + 1);
    assert_eq!(world.verdict(0, 0), Verdict::Up);
}

#[test]
fn errors_without_a_sent_frame_in_between_are_seen_within_a_look() {
    let mut world = World::settled(&[2], Detection::InOut);
    world.noise = true;
    world.rounds(1);
    world.pass(LOOK * 3);
    world.object(0, 0).card.errors += 3;
    world.pass(LOOK);
    assert_eq!(world.said(0), [("eth0".to_owned(), down(Fault::DriverError))]);
    // It sends again: proven by as many polls as any.
    world.rounds(POLLS - 1);
    assert_eq!(world.said(0), []);
    world.rounds(2);
    assert_eq!(world.said(0), [("eth0".to_owned(), Verdict::Up)]);
}

#[test]
fn errors_among_sent_frames_take_no_card_down() {
    let mut world = World::settled(&[2], Detection::InOut);
    world.noise = true;
    // Two, and then one, each before a frame that is sent: in each round one is.
    for look in 0..200 {
        world.object(0, 0).card.errors += u64::from(look % 20 == 4) * 2;
        world.pass(LOOK);
    }
    // As many as anybody likes, on a card that sends.
    for _ in 0..100 {
        let card = &mut world.object(0, 0).card;
        (card.errors, card.tx) = (card.errors + 50, card.tx + 1);
        world.pass(LOOK);
    }
    assert_eq!(world.said(0), []);
    // What was counted before the carrier was lost, or by another interface, says nothing.
    world.object(0, 0).card.carrier = false;
    world.object(0, 1).card.index = 40;
    for card in 0..2 {
        world.object(0, card).card.errors += 100;
    }
    world.pass(LOOK);
    world.object(0, 0).card.carrier = true;
    world.pass(LOOK);
    world.rounds(POLLS + 1);
    let faults = world.said(0).into_iter().filter_map(|(_, verdict)| match verdict {
        Verdict::Down(fault) => Some(fault),
        _ => None,
    });
    assert_eq!(faults.collect::<Vec<_>>(), [Fault::NoCarrier]);
}

#[test]
fn a_driver_that_counts_what_failed_as_sent_is_found_by_who_hears_nothing() {
    for detection in [Detection::InOut, Detection::InOnlyOrInOut] {
        let mut world = World::settled(&[2, 1], detection);
        world.noise = true;
        world.object(0, 0).dumb = true;
        // Without an error it is as good as well, in `inout` at least.
        world.rounds(2 * POLLS);
        assert_eq!(world.said(0), []);
        for rounds in 0.. {
            assert!(rounds <= POLLS + 1, "not found after {rounds} polls");
            world.object(0, 0).card.errors += 1;
            world.rounds(1);
            if world.verdict(0, 0) != Verdict::Up {
                assert!(rounds + 1 >= POLLS, "found after {rounds} polls, which is no counting");
                break;
            }
        }
        assert_eq!(world.said(0), [("eth0".to_owned(), down(Fault::SendErrors))]);
        world.object(0, 0).dumb = false;
        world.rounds(POLLS + 2);
        assert_eq!(world.said(0), [("eth0".to_owned(), Verdict::Up)]);
    }
}

#[test]
fn a_card_that_takes_no_frames_while_another_does() {
    let mut world = World::settled(&[2], Detection::InOut);
    world.object(0, 0).refuses = true;
    world.object(0, 0).deaf = true;
    world.rounds(POLLS + 1);
    assert_eq!(world.verdict(0, 0), down(Fault::Refuses));
    assert_eq!(world.status(0).counters.refused, u64::from(POLLS) + 1);
}

#[test]
fn a_process_that_may_send_nothing_accuses_nobody() {
    let mut world = World::settled(&[2], Detection::InOut);
    world.object(0, 0).refuses = true;
    world.object(0, 1).refuses = true;
    world.rounds(10);
    assert_eq!(world.said(0), []);
}

#[test]
fn nothing_is_said_before_it_is_known() {
    let mut world = World::new(&[2], Detection::InOut);
    assert_eq!(world.verdict(0, 0), UNPROVEN);
    world.rounds(POLLS);
    assert_eq!(world.said(0), []);
    world.rounds(1);
    let up = |card: &str| (card.to_owned(), Verdict::Up);
    assert_eq!(world.said(0), [up("eth0"), up("eth1")]);
}

#[test]
fn another_configuration_keeps_what_is_known() {
    let mut world = World::settled(&[3], Detection::InOut);
    world.feed(0, Input::Disable { card: "eth0".into(), on: true });
    let net = Net {
        number: NET,
        cards: vec!["eth1".into(), "eth0".into(), "eth9".into()],
        sharing: Vec::new(),
        poll_interval: INTERVAL,
        polls: 2,
        detection: Detection::InOnlyOrInOut,
    };
    // A second net that names a card of the first does not get it.
    let second = Net { number: NetworkId(1), cards: vec!["eth1".into()], ..net.clone() };
    let config = Config { cluster: 7, node: NodeId(0), life: 100, nets: vec![net, second] };
    world.said(0);
    world.feed(0, Input::Configure(config));
    assert_eq!(world.verdict(0, 0), down(Fault::Disabled));
    assert_eq!(world.verdict(0, 1), Verdict::Up);
    assert_eq!(world.machines[0].health.verdict("eth2"), None);
    world.rounds(4);
    assert_eq!(world.said(0), [("eth9".to_owned(), down(Fault::Gone))]);
    let status = world.status(0);
    assert_eq!(status.nets[1].cards, []);
    assert_eq!(status.nets[0].cards[0].role, Role::Primary);
    assert_eq!(status.nets[0].cards[1].role, Role::Standby);
    assert_eq!(status.nets[0].effective, Detection::InOut, "two cards are too few");
}
