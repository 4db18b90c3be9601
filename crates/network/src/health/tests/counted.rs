//! What is counted, with several cards in one node.

use super::*;

/// The rounds from a fault to the verdict, and the verdict.
fn rounds_until_said(world: &mut World, node: usize) -> (u32, Vec<(String, Verdict)>) {
    for round in 1..=10 {
        world.rounds(1);
        let said = world.said(node);
        if !said.is_empty() {
            return (round, said);
        }
    }
    (11, Vec::new())
}

#[test]
fn a_dead_primary_is_found_in_as_many_polls_when_anything_is_heard() {
    for (cards, noise) in [(&[2][..], true), (&[2, 2], false), (&[2, 1], false), (&[3], false)] {
        for detection in [Detection::InOut, Detection::InOnlyOrInOut] {
            let mut world = World::settled(cards, detection);
            world.noise = noise;
            world.rounds(1);
            world.kill(0, 0);
            // The round in which it died may still look good.
            let (rounds, said) = rounds_until_said(&mut world, 0);
            assert_eq!(said, [("eth0".to_owned(), down(Fault::NoTraffic))], "{cards:?}");
            assert!(rounds == POLLS || rounds == POLLS + 1, "{rounds} rounds");
            world.heal(0, 0);
            let (rounds, said) = rounds_until_said(&mut world, 0);
            assert_eq!(said, [("eth0".to_owned(), Verdict::Up)], "{cards:?}");
            assert!(rounds == POLLS || rounds == POLLS + 1, "{rounds} rounds");
        }
    }
}

#[test]
fn a_poller_that_hears_nobody_accuses_itself() {
    let mut world = World::settled(&[2], Detection::InOut);
    world.noise = true;
    assert_eq!(world.status(0).nets[0].poller.as_deref(), Some("eth1"));
    world.kill(0, 1);
    world.rounds(POLLS + 2);
    assert_eq!(world.said(0), [("eth1".to_owned(), down(Fault::NoTraffic))]);
    assert_eq!(world.status(0).nets[0].poller.as_deref(), Some("eth0"), "the other one polls");
}

#[test]
fn where_nobody_else_talks_two_silent_cards_are_doubted_both() {
    let mut world = World::settled(&[2], Detection::InOut);
    world.kill(0, 0);
    world.rounds(POLLS + 1);
    // Whether this one or that one is dead, nobody can tell.
    let silent = |card: &str| (card.to_owned(), SILENT);
    assert_eq!(world.said(0), [silent("eth0"), silent("eth1")]);
    // Now somebody talks, and one of them hears it.
    world.noise = true;
    world.rounds(POLLS + 1);
    assert_eq!(world.verdict(0, 0), down(Fault::NoTraffic));
    assert_eq!(world.verdict(0, 1), Verdict::Up, "it hears, and nobody is there to hear it");
    world.heal(0, 0);
    world.rounds(POLLS + 1);
    assert_eq!((world.verdict(0, 0), world.verdict(0, 1)), (Verdict::Up, Verdict::Up));
}

#[test]
fn a_dead_switch_moves_nothing_and_its_return_neither() {
    for detection in [Detection::InOut, Detection::InOnlyOrInOut] {
        let mut world = World::settled(&[2, 3, 1], detection);
        world.noise = true;
        world.switches[0] = false;
        world.rounds(20);
        for (node, cards) in [(0, 2), (1, 3), (2, 1)] {
            let said = world.said(node);
            assert_eq!(said.len(), cards, "{said:?}");
            assert!(said.iter().all(|(_, verdict)| *verdict == SILENT), "{said:?}");
        }
        world.switches[0] = true;
        world.rounds(POLLS + 1);
        for (node, cards) in [(0, 2), (1, 3), (2, 1)] {
            let said = world.said(node);
            assert_eq!(said.len(), cards, "{said:?}");
            assert!(said.iter().all(|(_, verdict)| *verdict == Verdict::Up), "{said:?}");
        }
    }
}

#[test]
fn all_cards_of_one_node_dead_look_like_a_dead_switch_to_it_and_not_to_others() {
    let mut world = World::settled(&[2, 2], Detection::InOut);
    world.kill(0, 0);
    world.kill(0, 1);
    world.rounds(POLLS + 2);
    assert_eq!((world.verdict(0, 0), world.verdict(0, 1)), (SILENT, SILENT));
    assert_eq!(world.said(1), []);
}

#[test]
fn a_deaf_card_is_found_by_a_second_witness_alone() {
    // Three cards: the third hears what the deaf one does not.
    for cards in [&[3][..], &[2, 1]] {
        let mut world = World::settled(cards, Detection::InOnlyOrInOut);
        assert_eq!(world.status(0).nets[0].effective, Detection::InOnlyOrInOut);
        world.object(0, 0).deaf = true;
        world.rounds(POLLS + 1);
        assert_eq!(world.said(0), [("eth0".to_owned(), down(Fault::Deaf))], "{cards:?}");
        world.object(0, 0).deaf = false;
        world.rounds(POLLS + 1);
        assert_eq!(world.said(0), [("eth0".to_owned(), Verdict::Up)]);
    }
    // Not in `inout`, as documented.
    let mut world = World::settled(&[3], Detection::InOut);
    world.object(0, 0).deaf = true;
    world.rounds(10);
    assert_eq!(world.said(0), []);
    let card = &world.status(0).nets[0].cards[0];
    assert_eq!((card.came_in, card.was_heard), (Some(false), Some(true)));
}

#[test]
fn with_two_cards_a_deaf_one_is_not_told_from_a_dumb_other() {
    for fault in ["deaf", "dumb"] {
        let mut world = World::settled(&[2], Detection::InOnlyOrInOut);
        assert_eq!(world.status(0).nets[0].detection, Detection::InOnlyOrInOut);
        assert_eq!(world.status(0).nets[0].effective, Detection::InOut, "and it says so");
        match fault {
            "deaf" => world.object(0, 0).deaf = true,
            _ => world.object(0, 1).dumb = true,
        }
        world.rounds(10);
        assert_eq!(world.said(0), [], "{fault}");
    }
}

#[test]
fn a_card_that_is_not_heard_stays_up_unless_a_target_tells() {
    let mut world = World::settled(&[2, 2], Detection::InOnlyOrInOut);
    world.object(0, 0).dumb = true;
    world.rounds(10);
    assert_eq!(world.said(0), []);
    assert_eq!(world.status(0).nets[0].cards[0].was_heard, Some(false));

    for card in 0..2 {
        world.object(0, card).asks_target = true;
    }
    world.rounds(POLLS + 1);
    assert_eq!(world.said(0), [("eth0".to_owned(), down(Fault::NoTarget))]);
    world.object(0, 0).dumb = false;
    world.rounds(POLLS + 1);
    assert_eq!(world.said(0), [("eth0".to_owned(), Verdict::Up)]);
    // A target that answers nobody is its own trouble.
    world.target = false;
    world.rounds(10);
    assert_eq!(world.said(0), []);
    assert_eq!(world.status(0).nets[0].cards[0].target, Some(false));
}

#[test]
fn a_card_that_came_up_without_being_heard_is_not_trusted() {
    let mut world = World::new(&[2, 1], Detection::InOut);
    world.object(0, 0).dumb = true;
    world.rounds(10);
    assert_eq!(world.verdict(0, 0), UNPROVEN);
    assert_eq!(world.verdict(0, 1), Verdict::Up);
}

#[test]
fn a_pause_of_the_whole_process_accuses_nobody() {
    let mut world = World::settled(&[2, 2], Detection::InOut);
    world.noise = true;
    for length in [600, 1_100, 4_000, 60_000] {
        world.machines[0].is_paused = true;
        // What it would hear meanwhile is lost.
        for card in 0..2 {
            world.object(0, card).deaf = true;
        }
        world.pass(Duration::from_millis(length));
        world.machines[0].waiting.clear();
        for card in 0..2 {
            world.object(0, card).deaf = false;
        }
        world.machines[0].is_paused = false;
        world.rounds(4);
        assert_eq!((world.said(0), world.said(1)), (vec![], vec![]), "{length} ms");
    }
    assert!(world.status(0).counters.void >= 4);
}

#[test]
fn counters_that_begin_anew_are_no_silence() {
    let mut world = World::settled(&[3], Detection::InOut);
    for _ in 0..10 {
        world.object(0, 0).card.rx = 0;
        world.pass(INTERVAL);
        assert_eq!(world.said(0), []);
    }
}

#[test]
fn one_dead_card_of_three_and_then_the_second() {
    let mut world = World::settled(&[3], Detection::InOut);
    world.noise = true;
    world.kill(0, 2);
    world.rounds(POLLS + 1);
    world.kill(0, 1);
    world.rounds(POLLS + 1);
    let dead = |card: &str| (card.to_owned(), down(Fault::NoTraffic));
    assert_eq!(world.said(0), [dead("eth2"), dead("eth1")]);
    assert_eq!(world.status(0).nets[0].poller.as_deref(), Some("eth0"));
}

#[test]
fn a_card_in_another_segment_with_traffic_is_found_by_a_second_witness_alone() {
    for detection in [Detection::InOut, Detection::InOnlyOrInOut] {
        let mut world = World::settled(&[2, 1], detection);
        world.noise = true;
        world.uplink = false;
        world.switches.push(true);
        world.object(0, 0).switch = 1;
        world.rounds(POLLS + 1);
        let found = [("eth0".to_owned(), down(Fault::Apart))];
        match detection {
            Detection::InOut => assert_eq!(world.said(0), [], "as documented"),
            Detection::InOnlyOrInOut => assert_eq!(world.said(0), found),
        }
        assert_eq!(world.said(1), []);
        world.object(0, 0).switch = 0;
        world.rounds(POLLS + 1);
        assert_eq!(world.verdict(0, 0), Verdict::Up);
    }
    // Of two cards in two segments, nobody can tell which one is in the wrong one.
    let mut world = World::settled(&[3], Detection::InOnlyOrInOut);
    world.noise = true;
    world.uplink = false;
    world.switches.extend([true, true]);
    for card in 0..3 {
        world.object(0, card).switch = card;
    }
    world.rounds(10);
    assert_eq!(world.said(0), []);
}

#[test]
fn a_card_that_shares_addresses_is_judged_as_the_others_and_asks_only_after_them() {
    let mut world = World::settled(&[3], Detection::InOut);
    let net = Net {
        number: NET,
        cards: vec!["eth0".into(), "eth1".into()],
        sharing: vec!["eth2".into(), "eth0".into()],
        poll_interval: INTERVAL,
        polls: POLLS,
        detection: Detection::InOut,
    };
    let config = Config { cluster: 7, node: NodeId(0), life: 100, nets: vec![net] };
    world.feed(0, Input::Configure(config));
    world.rounds(POLLS + 1);
    let status = world.status(0);
    let roles: Vec<(&str, Role)> =
        status.nets[0].cards.iter().map(|card| (card.name.as_str(), card.role)).collect();
    let expected = [("eth0", Role::Primary), ("eth1", Role::Standby), ("eth2", Role::Sharing)];
    assert_eq!(roles, expected);
    assert_eq!(status.nets[0].poller.as_deref(), Some("eth1"), "the standby asks");
    // The one that shares loses everything.
    world.said(0);
    world.kill(0, 2);
    world.rounds(POLLS + 1);
    assert_eq!(world.said(0), [("eth2".to_owned(), Verdict::Down(Fault::NoTraffic))]);
    // All of them do.
    for card in [0, 1] {
        world.kill(0, card);
    }
    world.rounds(POLLS + 1);
    let silent = |card: &str| (card.to_owned(), SILENT);
    assert_eq!(world.said(0), [silent("eth0"), silent("eth1")]);
    assert_eq!(world.status(0).nets[0].poller.as_deref(), Some("eth1"));
    // Without primary and standby it asks itself.
    for card in ["eth0", "eth1"] {
        world.feed(0, Input::Disable { card: card.into(), on: true });
    }
    world.heal(0, 2);
    world.noise = true;
    world.rounds(POLLS + 2);
    assert_eq!(world.status(0).nets[0].poller.as_deref(), Some("eth2"));
}
