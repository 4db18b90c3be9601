//! Nodes with a single card in the net: cards of other nodes are polled.

use super::*;

#[test]
fn single_cards_prove_each_other() {
    let mut world = World::settled(&[1, 1, 1], Detection::InOnlyOrInOut);
    let status = world.status(0);
    let net = &status.nets[0];
    assert_eq!(net.poller.as_deref(), Some("eth0"), "there is no standby");
    let remotes: Vec<Station> = net.remotes.iter().map(|remote| remote.station).collect();
    assert_eq!(remotes, [station(1, 2), station(2, 2)]);
    assert_eq!((net.cards[0].came_in, net.cards[0].was_heard), (Some(true), Some(true)));
    assert!(status.counters.answers >= 2 * u64::from(POLLS));
    assert!(status.counters.answered >= 2 * u64::from(POLLS));
    world.rounds(20);
    assert_eq!(world.said(0), []);
}

#[test]
fn a_lone_dead_card_can_only_be_doubted() {
    let mut world = World::settled(&[1, 1, 1], Detection::InOut);
    world.kill(0, 0);
    world.rounds(POLLS + 2);
    assert_eq!(world.said(0), [("eth0".to_owned(), SILENT)], "mine or theirs: it cannot tell");
    assert_eq!((world.said(1), world.said(2)), (vec![], vec![]), "the others hear each other");
    world.heal(0, 0);
    world.rounds(POLLS + 2);
    assert_eq!(world.said(0), [("eth0".to_owned(), Verdict::Up)]);
}

#[test]
fn the_last_of_two_is_doubted_when_the_other_machine_is_off() {
    let mut world = World::settled(&[1, 1], Detection::InOut);
    world.machines[1].is_paused = true;
    world.rounds(30);
    assert_eq!(world.said(0), [("eth0".to_owned(), SILENT)]);
    assert_eq!(world.status(0).nets[0].remotes, [], "after a while it is forgotten");
    // A target outside proves the card.
    world.object(0, 0).asks_target = true;
    world.rounds(POLLS + 1);
    assert_eq!(world.said(0), [("eth0".to_owned(), Verdict::Up)]);
}

#[test]
fn alone_with_a_talking_switch_traffic_is_enough() {
    let mut world = World::new(&[1], Detection::InOut);
    world.noise = true;
    world.rounds(POLLS + 1);
    assert_eq!(world.said(0), [("eth0".to_owned(), Verdict::Up)]);
    assert_eq!(world.status(0).nets[0].cards[0].was_heard, None, "nobody could have");
}

#[test]
fn a_lone_card_that_is_not_heard_is_not_proven() {
    let mut world = World::new(&[1, 1, 1], Detection::InOut);
    world.object(0, 0).dumb = true;
    world.rounds(10);
    assert_eq!(world.verdict(0, 0), UNPROVEN);
    assert_eq!(world.verdict(1, 0), Verdict::Up);
}

#[test]
fn of_many_nodes_some_are_asked_in_turn() {
    let mut world = World::settled(&[1; 20], Detection::InOut);
    let before = world.status(0).counters.answers;
    world.rounds(19);
    let answers = world.status(0).counters.answers - before;
    assert_eq!(answers, 19 * 8, "eight in each round");
    for node in 0..20 {
        assert_eq!(world.said(node), []);
        let answered = world.status(node).counters.answered;
        assert!(answered >= 100, "all have their turn: {answered}");
    }
}
