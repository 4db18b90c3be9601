//! Short stories of the lease model: why a rule is as it is, step by step.
//!
//! Each story breaks one rule and ends with two owners; told with the rule in place, it comes to a
//! step that is not possible.

use models::lease::{Action, Entry, HeardFrom, Lease, Life, Mutant, NODES_MAX};
use models::set::{NodeId, NodeSet};
use models::walk::{Limits, Swarm, walk};
use stateright::Model;

/// `nodes` nodes, majorities only, and nothing that a story does not need.
fn plain(nodes: u8, lease: u8) -> Lease {
    Lease {
        nodes,
        founders: NodeSet::first(nodes),
        lease,
        wait: lease,
        newest_only: false,
        ..Lease::smallest()
    }
}

fn set(nodes: &[NodeId]) -> NodeSet {
    nodes.iter().copied().collect()
}

fn first_life(node: NodeId) -> Life {
    Life { node, incarnation: 1 }
}

fn tick() -> Action {
    Action::Tick([1; NODES_MAX])
}

/// `node` hears a stamp of `from` as it is sent, and the echo arrives at once.
fn echo(node: NodeId, from: NodeId) -> [Action; 2] {
    [Action::Hear { node, from, age: 0 }, Action::Confirm { node: from, by: node, age: 0 }]
}

/// The hub frees what `lost` held in the view that `since` begins, and becomes the holder; the
/// others acknowledge.
fn take_over(hub: NodeId, lost: NodeId, since: u8, others: &[NodeId]) -> Vec<Action> {
    let mut actions = vec![
        Action::Order(hub, Entry::Free(first_life(lost), since)),
        Action::Order(hub, Entry::Start(first_life(hub))),
    ];
    for other in others {
        actions.extend([Action::Acknowledge(*other), Action::Acknowledge(*other)]);
    }
    actions.extend([Action::Deliver(hub), Action::Deliver(hub), Action::Start(hub)]);
    actions
}

/// Takes these actions, each of which must be possible, and returns whether two nodes end up
/// owners.
fn ends_in_violation(model: &Lease, story: &[Action]) -> bool {
    let mut state = model.init_states().remove(0);
    for action in story {
        let mut possible = Vec::new();
        model.actions(&state, &mut possible);
        if !possible.contains(action) {
            return false;
        }
        state = model.next_state(&state, action.clone()).expect("the action changes something");
    }
    model.violation(&state).is_some()
}

/// The members of a new view must not count as heard from one's own promise on. Nodes 1 and 2
/// promise early; node 0, the holder, gains evidence from 3 and 4 until it promises too. The new
/// view is {0, 1, 2}, and its majority {1, 2} goes on without the holder at once. Neither heard it
/// after its own promise, and those who did have no voice any more.
#[test]
fn heard_at_promise_is_not_safe() {
    let mut story = vec![Action::Promise(1), Action::Promise(2), tick(), tick()];
    story.extend(echo(3, 0));
    story.extend(echo(4, 0));
    story.extend([
        Action::Start(0),
        Action::Promise(0),
        Action::Decide {
            generation: 1,
            promises: set(&[0, 1, 2]),
            hub: 1,
            joiners: NodeSet::EMPTY,
        },
        Action::Enter(1, 2),
        Action::Enter(2, 2),
        Action::Promise(1),
        Action::Promise(2),
        Action::Decide { generation: 2, promises: set(&[1, 2]), hub: 1, joiners: NodeSet::EMPTY },
        Action::Enter(1, 3),
        Action::Enter(2, 3),
    ]);
    story.extend(echo(2, 1));
    story.extend(take_over(1, 0, 3, &[2]));
    let model = |heard_from| Lease { heard_from, ..plain(5, 2) };
    assert!(ends_in_violation(&model(HeardFrom::Promise), &story));
    assert!(!ends_in_violation(&model(HeardFrom::Decision), &story));
    assert!(!ends_in_violation(&model(HeardFrom::Entry), &story));
}

/// A sealed node must not gain evidence: the holder promises a view and never enters it; 2 is not
/// in it, knows nothing of it, and would keep the holder's lease alive while the next view but one
/// frees the service.
#[test]
fn a_sealed_node_must_not_gain_evidence() {
    let mut story = vec![
        Action::Promise(0),
        Action::Promise(1),
        Action::Decide { generation: 1, promises: set(&[0, 1]), hub: 1, joiners: NodeSet::EMPTY },
        Action::Enter(1, 2),
        Action::Promise(1),
        tick(),
    ];
    story.extend(echo(2, 0));
    story.extend([
        Action::Decide { generation: 2, promises: set(&[1]), hub: 1, joiners: NodeSet::EMPTY },
        Action::Enter(1, 3),
        Action::Confirm { node: 1, by: 1, age: 0 },
        tick(),
    ]);
    story.extend(echo(2, 0));
    story.push(Action::Confirm { node: 1, by: 1, age: 0 });
    story.extend(take_over(1, 0, 3, &[]));
    let model = |mutant| Lease { tie_breaker: true, mutant, ..plain(3, 2) };
    assert!(ends_in_violation(&model(Some(Mutant::SealedGains)), &story));
    assert!(!ends_in_violation(&model(None), &story));
}

/// At a return nobody's age may shorten a wait: nodes 0 and 1 kept each other's lease alive until
/// their daemons restarted a moment ago, and the guard of 0 still runs the service. Node 2, the
/// only one that lived through it, has heard neither for long.
#[test]
fn at_a_return_everybody_is_waited_for_in_full() {
    let mut story = vec![];
    for _ in 0..2 {
        story.push(tick());
        story.extend(echo(1, 0));
    }
    story.extend([
        Action::Promise(2),
        Action::Restart(0, false),
        Action::Restart(1, false),
        Action::Return(1),
        Action::Enter(0, 3),
        Action::Enter(1, 3),
    ]);
    story.extend(echo(1, 2));
    story.extend(take_over(2, 0, 3, &[0, 1]));
    let model = |mutant| Lease { restarts: 2, refounding: true, mutant, ..plain(3, 2) };
    assert!(ends_in_violation(&model(Some(Mutant::ReturnTrustsAges)), &story));
    assert!(!ends_in_violation(&model(None), &story));
}

/// Three clocks take part: the holder's runs its lease, that of the last one who heard it measures
/// the age, the hub's counts the rest. Each may err by the bound, so the wait is `L + 3 drift`.
#[test]
fn three_clocks_take_part_in_a_wait() {
    const HOLDER: NodeId = 0;
    const HEARER: NodeId = 1;
    const HUB: NodeId = 2;
    let wrong_tick = |wrong: &[(NodeId, u8)]| {
        let mut steps = [1; NODES_MAX];
        for (node, step) in wrong {
            steps[*node as usize] = *step;
        }
        Action::Tick(steps)
    };
    // One tick after everybody heard the holder, only the hearer does.
    let mut story = vec![tick()];
    story.extend(echo(HEARER, HOLDER));
    story.extend([
        // The hearer's clock is fast: two ticks seem to have passed since, for both.
        wrong_tick(&[(HEARER, 2)]),
        Action::Promise(HEARER),
        Action::Promise(HUB),
        Action::Decide {
            generation: 1,
            promises: set(&[HEARER, HUB]),
            hub: HUB,
            joiners: NodeSet::EMPTY,
        },
        Action::Enter(HUB, 2),
        Action::Enter(HEARER, 2),
        // Four ticks to wait; the hub's clock is fast, the holder's slow.
        wrong_tick(&[(HUB, 2), (HOLDER, 0)]),
        tick(),
        tick(),
    ]);
    story.extend(echo(HEARER, HUB));
    story.extend(take_over(HUB, HOLDER, 2, &[HEARER]));
    let model = |wait| Lease { wait, drift: 1, ..plain(3, 4) };
    assert!(ends_in_violation(&model(4 + 2), &story), "L + 2 drift is too short");
    assert!(!ends_in_violation(&model(4 + 3), &story), "with L + 3 drift the hub still waits");
    let tally = walk(&model(4 + 3), Limits { seed: 1, steps: 200_000, length: 200 });
    assert!(tally.counterexample.is_none(), "{tally:?}");
}
